/**
 * A node's folder: its identity, and its lock on the real file system.
 *
 * @module
 */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError, CorruptionError, LockedError, StorageError } from "../../src/base/errors.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { systemPlatform } from "../../src/platform/platform.ts";
import { encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import {
  bodyBehindChecksum,
  type ExpectedIdentity,
  openDataDirectory,
  parentOf,
  readIdentity,
  readIdentityFile,
  readSmallFile,
  syncNames,
  withChecksum,
  writeFileDurably,
  writeIdentityFile,
} from "../../src/storage/data_directory.ts";
import { SegmentLog } from "../../src/storage/wal/segment_log.ts";
import type { SimulatedDisk } from "./fake_disk.ts";
import {
  boundFiles,
  createLog,
  diskOf,
  errorOf,
  platformOn,
  settle,
  walEntry,
} from "./log_fixture.ts";

setDefaultTimeout(60_000);

const EXPECTED = { clusterId: "00112233445566aa", nodeId: "n1" };

async function openOn(disk: SimulatedDisk, path = "data/a/n1"): Promise<string> {
  const opened = await openDataDirectory(platformOn(disk), path, EXPECTED);
  opened.release();
  return opened.identity.incarnation;
}

describe("the identity", () => {
  test("is given once and comes back", async () => {
    const disk = diskOf(1);
    expect(readIdentity(disk.files, "data/a/n1")).toBeUndefined();
    const first = await openDataDirectory(platformOn(disk, 7), "data/a/n1", EXPECTED);
    expect([first.isNew, first.identity.nodeId]).toEqual([true, "n1"]);
    first.release();
    const second = await openDataDirectory(platformOn(disk, 8), "data/a/n1", EXPECTED);
    expect([second.isNew, second.identity]).toEqual([false, first.identity]);
    expect(readIdentity(disk.files, "data/a/n1")).toEqual(first.identity);
  });

  test("is durable, with its folders, before the folder is handed out", async () => {
    const disk = diskOf(1);
    const incarnation = await openOn(disk);
    disk.cutPower(() => "dropped");
    expect(await openOn(disk)).toBe(incarnation);
  });

  test("a power cut at any moment leaves none or the whole one", async () => {
    for (let operations = 1; operations < 16; operations += 1) {
      for (const fate of ["kept", "dropped", "garbled"] as const) {
        const disk = diskOf(1);
        const halted = disk.haltAfter(operations);
        await Promise.race([openOn(disk).catch(() => {}), halted]);
        disk.cutPower(({ sector }) => (sector === undefined ? "kept" : fate));
        const incarnation = await openOn(disk);
        expect(incarnation).toMatch(/^[0-9a-f]{16}$/);
      }
    }
  });

  // [identity checksum skipped]
  test("T30: any byte of it flipped or cut off: refused, naming the file", async () => {
    const disk = diskOf(1);
    await openOn(disk);
    const path = "data/a/n1/identity";
    const { byteLength } = disk.readFile(path);
    for (let byte = 0; byte < byteLength; byte += 1) {
      const copies = [disk.clone(), disk.clone()];
      copies[0]?.rot(path, byte, 1 << (byte % 8));
      copies[1]?.writeFile(path, disk.readFile(path).subarray(0, byte));
      for (const copy of copies) {
        const refused = await errorOf(openOn(copy));
        expect(refused).toBeInstanceOf(CorruptionError);
        expect(refused).toMatchObject({ file: path, byte: 0 });
        expect(await errorOf(openOn(copy))).toBeInstanceOf(CorruptionError);
      }
    }
  });

  test("T30: missing beside a log: refused, not given anew", async () => {
    const disk = diskOf(1);
    const log = await createLog(disk);
    await log.writeEntry(walEntry(1));
    await log.close();
    disk.deleteFile("data/n1/identity");
    expect(await errorOf(createLog(disk))).toBeInstanceOf(CorruptionError);
  });

  test.each([
    ["node", { ...EXPECTED, nodeId: "n2" }],
    ["cluster", { ...EXPECTED, clusterId: "0000000000000000" }],
  ])("of another %s: refused with a remedy", async (_what, expected) => {
    const disk = diskOf(1);
    await openOn(disk);
    const refused = await errorOf(openDataDirectory(platformOn(disk), "data/a/n1", expected));
    expect(refused).toBeInstanceOf(ConfigError);
    expect((refused as ConfigError).message).toContain("belongs to");
    // The lock was given back.
    expect(await openOn(disk)).toMatch(/^[0-9a-f]{16}$/);
  });

  // [data folder's names not synced]
  test("a log's first entry survives with all its folders", async () => {
    const disk = diskOf(1);
    const log = await createLog(disk, "data/x/y/n1");
    await log.writeEntry(walEntry("first"));
    disk.cutPower(() => "dropped");
    const again = await createLog(disk, "data/x/y/n1");
    expect((await again.readEntries()).map(({ data }) => data.newValue)).toEqual(["first"]);
    await again.close();
  });
});

describe("a new directory", () => {
  const open = (disk: SimulatedDisk, expected: ExpectedIdentity) =>
    openDataDirectory(platformOn(disk), "data/n1", expected);

  test("joins a cluster when its incarnation is given", async () => {
    const disk = diskOf(1);
    const incarnation = "1".repeat(16);
    const { identity, path } = await open(disk, { ...EXPECTED, incarnation });
    expect([path, identity]).toEqual(["data/n1", { ...EXPECTED, incarnation, isJoined: true }]);
    expect(readIdentity(disk.files, "data/n1")).toEqual(identity);
    expect(disk.openFiles).toEqual([]);
  });

  test("begins with a random incarnation, and joins none, without that", async () => {
    const disk = diskOf(1);
    const { identity } = await open(disk, EXPECTED);
    const incarnation = expect.stringMatching(/^[0-9a-f]{16}$/);
    expect(identity).toEqual({ ...EXPECTED, incarnation, isJoined: false });
  });

  test("needs a cluster; one that is there does not", async () => {
    const disk = diskOf(1);
    const unnamed = { ...EXPECTED, clusterId: undefined };
    const refused = await errorOf(open(disk, unnamed));
    expect(refused).toBeInstanceOf(ConfigError);
    expect((refused as ConfigError).message).toBe(
      'Cannot start: "data/n1" holds no node yet, and no cluster is named',
    );
    expect((refused as ConfigError).remedy).toContain("--join");
    (await open(disk, EXPECTED)).release();
    expect((await open(disk, unnamed)).identity.clusterId).toBe(EXPECTED.clusterId);
  });

  test("may not hold a log, not even one file of it", async () => {
    const disk = diskOf(1);
    disk.makeFolder("data/n1/wal");
    (await open(disk.clone(), EXPECTED)).release();
    disk.writeFile("data/n1/wal/mark", new Uint8Array(1));
    const refused = await errorOf(open(disk, EXPECTED));
    expect(refused).toBeInstanceOf(CorruptionError);
    expect(refused).toMatchObject({ file: "data/n1/identity", byte: 0 });
  });
});

describe("identity files", () => {
  test("of another disk format are refused", () => {
    const disk = diskOf(1);
    disk.writeFile("data/identity", withChecksum(encodeCbor({ format: 9, ...EXPECTED })));
    expect(() => readIdentity(disk.files, "data")).toThrow(
      'Cannot open "data/identity": it has disk format 9',
    );
  });

  test("have any name, and say whether the directory joined", async () => {
    const disk = diskOf(1);
    const own = { ...EXPECTED, incarnation: "2".repeat(16) };
    for (const identity of [own, { ...own, isJoined: true }]) {
      await writeIdentityFile(disk.files, "data", { name: "other", identity });
      const read = readIdentityFile(disk.files, "data/other");
      expect(read).toEqual({ isJoined: false, ...identity });
    }
    expect(readIdentityFile(disk.files, "data/none")).toBeUndefined();
  });
});

describe("small files", () => {
  test("a checksum covers any body, also none", () => {
    for (const size of [0, 1, 100]) {
      const body = new Uint8Array(size).fill(3);
      const bytes = withChecksum(body);
      expect([bytes.byteLength, bodyBehindChecksum(bytes)]).toEqual([8 + size, body]);
      for (let at = 0; at < bytes.byteLength; at += 1) {
        const damaged = bytes.slice();
        damaged[at]! ^= 1;
        expect(bodyBehindChecksum(damaged)).toBeUndefined();
        expect(bodyBehindChecksum(bytes.subarray(0, at))).toBeUndefined();
      }
    }
  });

  test("are read as a whole, of a larger one only the first 64 KiB", () => {
    const disk = diskOf(1);
    expect(readSmallFile(disk.files, "data/none")).toBeUndefined();
    for (const [size, read] of [
      [0, 0],
      [10, 10],
      [65_536, 65_536],
      [70_000, 65_536],
    ] as const) {
      disk.writeFile("data/f", new Uint8Array(size).fill(1));
      expect(readSmallFile(disk.files, "data/f")).toEqual(new Uint8Array(read).fill(1));
    }
    expect(disk.openFiles).toEqual([]);
  });

  test("are replaced durably, and left alone by a write that fails", async () => {
    const disk = diskOf(1);
    const write = (bytes: Uint8Array) =>
      writeFileDurably(disk.files, { directory: "data", name: "f", bytes });
    disk.writeFile("data/f.tmp", new Uint8Array(50));
    await write(new Uint8Array([1, 2]));
    disk.cutPower(() => "dropped");
    expect([disk.readFile("data/f"), disk.openFiles]).toEqual([new Uint8Array([1, 2]), []]);
    disk.faults = { sync: () => "failed" };
    expect(await errorOf(write(new Uint8Array([3])))).toBeInstanceOf(StorageError);
    expect([disk.readFile("data/f"), disk.openFiles]).toEqual([new Uint8Array([1, 2]), []]);
  });
});

test.each([
  ["a/b/c", "a/b"],
  ["/a/b", "/a"],
  ["/a", "/"],
  ["a", "."],
])("the directory that holds %s is %s", (path, parent) => {
  expect(parentOf(path)).toBe(parent);
});

test("the names of all directories above are synced, up to one that may not be read", async () => {
  const synced: string[] = [];
  const files = (unreadable: string): FileSystem => ({
    ...boundFiles(diskOf(1).files),
    syncDirectory: async (path: string) => {
      if (path === unreadable) throw new StorageError("EACCES");
      synced.push(path);
    },
  });
  await syncNames(files(""), "/a/b/c");
  expect(synced.splice(0)).toEqual(["/a/b", "/a", "/"]);
  await syncNames(files(""), "a/b/c");
  expect(synced.splice(0)).toEqual(["a/b", "a", "."]);
  await syncNames(files("/a"), "/a/b/c");
  expect(synced.splice(0)).toEqual(["/a/b"]);
  expect(await errorOf(syncNames(files("/a/b"), "/a/b/c"))).toBeInstanceOf(StorageError);
});

describe("the lock", () => {
  async function inFolder(run: (path: string, lock: string) => Promise<void>): Promise<void> {
    const path = mkdtempSync(join(tmpdir(), "cstore-lock-"));
    try {
      await run(path, join(path, "LOCK"));
    } finally {
      // The next segment may still be filled with zeros.
      await settle(2);
      rmSync(path, { recursive: true, force: true });
    }
  }

  function take(path: string): Promise<{ release(): void }> {
    return openDataDirectory(systemPlatform(), path, EXPECTED);
  }

  test("a second opener is refused, also in this process; after close it may", async () => {
    await inFolder(async (path) => {
      const log = await SegmentLog.create(path);
      expect(await errorOf(SegmentLog.create(path))).toBeInstanceOf(LockedError);
      await log.writeEntry(walEntry(1));
      await log.close();
      const again = await SegmentLog.create(path);
      expect(await again.recover()).toMatchObject({ entries: 1, lastSequence: 1 });
      await again.close();
      const { files } = systemPlatform();
      expect(readIdentity(files, path)).toMatchObject({ clusterId: "0".repeat(16), nodeId: "wal" });
      // A log that is refused gives the lock back, too.
      writeFileSync(join(path, "wal/0000000001.segment"), "rotten");
      expect(await errorOf(SegmentLog.create(path))).toBeInstanceOf(CorruptionError);
      expect(existsSync(join(path, "LOCK"))).toBe(false);
    });
  });

  test("of a process that is gone is taken over", async () => {
    await inFolder(async (path, lock) => {
      const { pid } = spawnSync("true");
      writeFileSync(lock, `${pid} 12345\n`);
      const taken = await take(path);
      expect(readFileSync(lock, "utf8")).toStartWith(`${process.pid} `);
      expect(await errorOf(take(path))).toBeInstanceOf(LockedError);
      taken.release();
      expect(existsSync(lock)).toBe(false);
    });
  });

  test("of a living process is respected, of an earlier one with its number is not", async () => {
    await inFolder(async (path, lock) => {
      const hasStartTimes = existsSync("/proc/self/stat");
      writeFileSync(lock, `${process.ppid}\n`);
      expect(await errorOf(take(path))).toBeInstanceOf(LockedError);
      writeFileSync(lock, `${process.ppid} 1\n`);
      const error = await errorOf(take(path).then((taken) => taken.release()));
      expect(error === undefined).toBe(hasStartTimes);
    });
  });

  test("a refused folder gives its lock back", async () => {
    await inFolder(async (path, lock) => {
      writeFileSync(join(path, "identity"), "rotten");
      expect(await errorOf(SegmentLog.create(path))).toBeInstanceOf(CorruptionError);
      expect(existsSync(lock)).toBe(false);
    });
  });
});
