/**
 * Row 35 against a running node: damaged, foreign and missing files, disks that are full, read-only
 * or fail. What was acknowledged is there after a restart, or the start is refused by name; nothing
 * is acknowledged after a failed sync.
 *
 * @module
 */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { StorageError } from "../../src/base/errors.ts";
import { parseNodeConfig } from "../../src/node/config/node_config.ts";
import { Node } from "../../src/node/node.ts";
import { MortalPlatform } from "./mortal_platform.ts";
import { rejection, type Seat, TestCluster, waitFor } from "./test_cluster.ts";

const SEGMENT_SIZE_BYTES = 64 * 1024;

let cluster: TestCluster;

beforeEach(async () => {
  cluster = await TestCluster.start(1, { segmentSizeBytes: SEGMENT_SIZE_BYTES });
});

afterEach(async () => {
  await cluster.stop();
});

function only(): Seat {
  const [seat] = cluster.seats;
  if (seat === undefined) throw new RangeError("the cluster has a seat");
  return seat;
}

async function put(from: number, count: number): Promise<void> {
  const database = await cluster.connect();
  const collection = database.collection("kept");
  const writes = Array.from({ length: count }, (_, i) => collection.put({ id: from + i, n: i }));
  await Promise.all(writes);
  await database.close();
}

async function countKept(): Promise<number> {
  const database = await cluster.connect();
  const count = await database.collection("kept").count();
  await database.close();
  return count;
}

/** Opening the seat's folder; fails if it is not refused. */
async function refusedStart(seat: Seat): Promise<{ code: string; message: string }> {
  const opening = Node.open(new MortalPlatform(), parseNodeConfig(cluster.options(seat)));
  const { code, message } = await rejection(opening);
  return { code, message };
}

function segments(seat: Seat): string[] {
  const folder = `${seat.dataDirectory}/wal`;
  return readdirSync(folder)
    .filter((name) => name.endsWith(".segment"))
    .sort()
    .map((name) => `${folder}/${name}`);
}

/** Changes bytes of a file in place. */
function damage(path: string, change: (bytes: Uint8Array) => Uint8Array): void {
  writeFileSync(path, change(new Uint8Array(readFileSync(path))));
}

describe("row 35: damaged logs", () => {
  test("row 35: a flipped byte in a synced record refuses the start, with file and offset", async () => {
    for (let i = 0; i < 20; i += 1) await put(i, 1);
    await cluster.stopNode(only());
    const [path = ""] = segments(only());
    const whole = readFileSync(path);
    for (const at of [0, 100, 520, 700, 1000, 1500, 2000]) {
      damage(path, (bytes) => {
        bytes[at] = (bytes[at] ?? 0) ^ 0x10;
        return bytes;
      });
      const { code, message } = await refusedStart(only());
      expect([at, code]).toEqual([at, "CORRUPTION"]);
      expect(message).toContain(path);
      expect(message).toMatch(/byte \d+/);
      expect(existsSync(`${only().dataDirectory}/LOCK`)).toBe(false);
      writeFileSync(path, whole);
    }
    await cluster.startNode(only());
    expect(await countKept()).toBe(20);
  });

  test("row 35: a torn tail is cut, and everything acknowledged is there", async () => {
    await put(0, 50);
    await cluster.kill(only());
    const path = segments(only()).at(-1) ?? "";
    damage(path, (bytes) => {
      const end = bytes.findLastIndex((byte) => byte !== 0) + 1;
      bytes.fill(0xee, end, Math.min(bytes.byteLength, end + 300));
      return bytes;
    });
    await cluster.startNode(only());
    expect(await countKept()).toBe(50);
    const folder = readdirSync(`${only().dataDirectory}/wal`);
    expect(folder.filter((name) => name.endsWith(".torn"))).toHaveLength(1);
    await put(50, 10);
    expect(await countKept()).toBe(60);
  });

  test("row 35: a missing segment in the middle refuses the start", async () => {
    const database = await cluster.connect();
    const collection = database.collection("kept");
    for (let i = 0; i < 8; i += 1) await collection.put({ id: i, text: "x".repeat(30_000) });
    await database.close();
    await cluster.stopNode(only());
    const [, second = ""] = segments(only());
    rmSync(second);
    const { code, message } = await refusedStart(only());
    expect(code).toBe("CORRUPTION");
    expect(message).toContain(`${only().dataDirectory}/wal`);
  });

  test("row 35: a log without an identity, and a damaged identity, refuse the start", async () => {
    await put(0, 3);
    await cluster.stopNode(only());
    const path = `${only().dataDirectory}/identity`;
    damage(path, (bytes) => bytes.fill(0, 8, 9));
    expect(await refusedStart(only())).toMatchObject({ code: "CORRUPTION" });
    rmSync(path);
    const { code, message } = await refusedStart(only());
    expect(code).toBe("CORRUPTION");
    expect(message).toContain("no identity");
  });

  test("row 35: files that nobody made there are left alone", async () => {
    await put(0, 3);
    await cluster.stopNode(only());
    const folder = only().dataDirectory;
    writeFileSync(`${folder}/wal/notes.txt`, "mine");
    writeFileSync(`${folder}/wal/9999999999.segment.tmp`, "rest");
    mkdirSync(`${folder}/own`);
    await cluster.startNode(only());
    expect(await countKept()).toBe(3);
    expect(readFileSync(`${folder}/wal/notes.txt`, "utf8")).toBe("mine");
  });
});

describe("row 35: damaged snapshots", () => {
  async function twoSnapshots(): Promise<string[]> {
    for (let i = 0; i < 2; i += 1) {
      await put(10 * i, 10);
      await only().node?.takeSnapshot();
    }
    await put(20, 5);
    await cluster.stopNode(only());
    const folder = `${only().dataDirectory}/snapshots`;
    const names = readdirSync(folder).filter((name) => name.endsWith(".snapshot"));
    expect(names).toHaveLength(2);
    return names.sort().map((name) => `${folder}/${name}`);
  }

  test.each([
    ["cut in the middle", (bytes: Uint8Array) => bytes.slice(0, bytes.byteLength >> 1)],
    ["empty", () => new Uint8Array(0)],
    ["with a block of 4 GiB", (bytes: Uint8Array) => bytes.fill(0xff, 64, 68)],
    ["with one bit flipped", (bytes: Uint8Array) => bytes.fill((bytes[90] ?? 0) ^ 1, 90, 91)],
  ])("row 35: the newest one %s: the older one is used", async (_name, change) => {
    const [, newest = ""] = await twoSnapshots();
    damage(newest, change);
    await cluster.startNode(only());
    expect(await countKept()).toBe(25);
  });

  test("row 35: both damaged refuses the start and names a file", async () => {
    for (const path of await twoSnapshots()) damage(path, (bytes) => bytes.fill(0, 40, 80));
    const { code, message } = await refusedStart(only());
    expect(code).toBe("CORRUPTION");
    expect(message).toContain(".snapshot");
  });
});

describe("row 35: disks that fail", () => {
  test("row 35: after a failed sync nothing is acknowledged, and the node ends", async () => {
    await put(0, 5);
    const database = await cluster.connect(cluster.addresses, { timeoutMs: 1500 });
    only().platform.faults = {
      sync: (path) => {
        throw new StorageError(`Cannot sync "${path}": EIO: i/o error`);
      },
    };
    const writes = Array.from({ length: 10 }, (_, i) =>
      rejection(database.collection("kept").put({ id: 100 + i })),
    );
    for (const error of await Promise.all(writes)) {
      expect(["DEADLINE", "UNKNOWN_OUTCOME", "UNREACHABLE", "CLOSED"]).toContain(error.code);
    }
    const fatal = await waitFor("the node's end", () => only().fatal);
    expect([fatal.code, fatal.message]).toEqual(["STORAGE", expect.stringContaining("EIO")]);
    await cluster.startNode(only());
    expect(await countKept()).toBeGreaterThanOrEqual(5);
  });

  test("row 35: a full disk ends the node without a lost write and without a crash", async () => {
    await put(0, 5);
    const database = await cluster.connect(cluster.addresses, { timeoutMs: 1500 });
    only().platform.faults = {
      write: (path) => {
        throw new StorageError(`Cannot write "${path}": ENOSPC: no space left on device`);
      },
    };
    const error = await rejection(database.collection("kept").put({ id: 100 }));
    expect(["DEADLINE", "UNKNOWN_OUTCOME", "UNREACHABLE"]).toContain(error.code);
    const fatal = await waitFor("the node's end", () => only().fatal);
    expect([fatal.code, fatal.message]).toEqual(["STORAGE", expect.stringContaining("ENOSPC")]);
    await cluster.startNode(only());
    expect(await countKept()).toBeGreaterThanOrEqual(5);
  });

  // The log is whole and goes on: a snapshot that cannot be written is no reason to end, and must
  // not end the owner's process through a rejection that nobody listens to.
  test("row 35: a snapshot that cannot be written leaves the node serving, and able to stop", async () => {
    await cluster.stop();
    cluster = await TestCluster.start(1, { snapshotLogBytes: 64 * 1024 });
    only().platform.faults = {
      write: (path) => {
        if (path.includes("/snapshots/")) throw new StorageError(`Cannot write "${path}": ENOSPC`);
      },
    };
    const database = await cluster.connect();
    const collection = database.collection("kept");
    for (let i = 0; i < 20; i += 1) await collection.put({ id: i, text: "x".repeat(10_000) });
    expect(only().fatal).toBeUndefined();
    const alarms = () =>
      only()
        .node?.status()
        .alarms.map(({ kind }) => kind);
    await waitFor("an alarm", () => alarms()?.length === 1);
    expect(alarms()).toEqual(["SNAPSHOT_FAILED"]);
    only().platform.faults = {};
    for (let i = 20; i < 60; i += 1) await collection.put({ id: i, text: "x".repeat(10_000) });
    await waitFor("a snapshot", () => {
      const folder = `${only().dataDirectory}/snapshots`;
      return existsSync(folder) && readdirSync(folder).some((name) => name.endsWith(".snapshot"));
    });
    await waitFor("the alarm's end", () => alarms()?.length === 0);
    expect(await collection.count()).toBe(60);
    await database.close();
    await cluster.stopNode(only());
    expect(existsSync(`${only().dataDirectory}/LOCK`)).toBe(false);
    await cluster.startNode(only());
    expect(await countKept()).toBe(60);
  });

  test("row 35: a read-only disk refuses the start", async () => {
    await put(0, 3);
    await cluster.stopNode(only());
    const platform = new MortalPlatform();
    platform.faults = {
      write: (path) => {
        throw new StorageError(`Cannot write "${path}": EROFS: read-only file system`);
      },
    };
    const opening = Node.open(platform, parseNodeConfig(cluster.options(only())));
    expect((await rejection(opening)).code).toBe("STORAGE");
    await cluster.startNode(only());
    expect(await countKept()).toBe(3);
  });
});

describe("row 35: names that lead elsewhere", () => {
  test.each(["../n1", "a/b", "", ".", "..", "a\0b", "x".repeat(300)])(
    "row 35: the node id %j is refused",
    async (id) => {
      const options = { ...cluster.options(only()), id };
      const members = [{ id, address: "127.0.0.1:1" }];
      expect(() => parseNodeConfig({ ...options, members })).toThrow(
        expect.objectContaining({ code: "CONFIG" }),
      );
    },
  );

  test("row 35: a file where the folder should be is refused by name", async () => {
    const path = `${cluster.folder.path}/file`;
    copyFileSync(`${only().dataDirectory}/identity`, path);
    const options = { ...cluster.options(only()), listen: "127.0.0.1:0", dataDirectory: path };
    const error = await rejection(Node.open(new MortalPlatform(), parseNodeConfig(options)));
    expect([error.code, error.message]).toEqual(["STORAGE", expect.stringContaining(path)]);
    expect(statSync(path).isFile()).toBe(true);
  });
});
