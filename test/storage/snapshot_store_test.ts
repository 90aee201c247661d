/**
 * Snapshot files: their bytes, which of them are kept, which one is loaded, and every way in which
 * one can be damaged.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { CorruptionError, StorageError } from "../../src/base/errors.ts";
import type { Platform } from "../../src/platform/platform.ts";
import { checksum32, checksum64 } from "../../src/protocol/encoding/checksum.ts";
import {
  readSnapshot,
  readSnapshotCluster,
  readSnapshotHeader,
  SnapshotStore,
} from "../../src/storage/snapshot_store.ts";
import type { SimulatedDisk } from "./fake_disk.ts";
import { boundFiles, diskOf, errorOf, IDENTITY, platformOn } from "./log_fixture.ts";

const { clusterId } = IDENTITY;
const FOLDER = "data/snapshots";
const BLOCKS = [[1, 2, 3], [], [4]].map((bytes) => new Uint8Array(bytes));

function at(index: number) {
  return { index, term: 3, nextSequence: index * 2 + 1 };
}

function storeOn(disk: SimulatedDisk, more: Partial<Platform> = {}): SnapshotStore {
  return new SnapshotStore({ ...platformOn(disk), ...more }, FOLDER, clusterId);
}

/** The blocks of a snapshot and its position. */
async function readOn(disk: SimulatedDisk, path: string) {
  const blocks: Uint8Array[] = [];
  let pauses = 0;
  const position = await readSnapshot(disk.files, path, {
    clusterId,
    visit: (block) => void blocks.push(block),
    pause: async () => {
      pauses += 1;
    },
  });
  expect(disk.openFiles).toEqual([]);
  return { position, blocks, pauses };
}

/** The bytes of a snapshot, as the table in the module describes them. */
function bytesOf(index: number, blocks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const header = new DataView(new ArrayBuffer(48));
  header.setUint32(4, 0x50414e53, true);
  header.setUint32(8, 1, true);
  header.setBigUint64(16, BigInt(index), true);
  header.setBigUint64(24, 3n, true);
  header.setBigUint64(32, BigInt(index * 2 + 1), true);
  header.setBigUint64(40, BigInt(`0x${clusterId}`), true);
  header.setUint32(0, checksum32(new Uint8Array(header.buffer, 4)), true);
  const parts: Uint8Array[] = [new Uint8Array(header.buffer)];
  const sums = new DataView(new ArrayBuffer(blocks.length * 4));
  for (const [i, body] of blocks.entries()) {
    const head = new DataView(new ArrayBuffer(8));
    head.setUint32(0, body.byteLength, true);
    head.setUint32(4, checksum32(body), true);
    sums.setUint32(i * 4, checksum32(body), true);
    parts.push(new Uint8Array(head.buffer), body);
  }
  const end = new DataView(new ArrayBuffer(16));
  end.setUint32(0, 0xffff_ffff, true);
  end.setUint32(4, blocks.length, true);
  end.setBigUint64(8, checksum64(new Uint8Array(sums.buffer)), true);
  return new Uint8Array(Buffer.concat([...parts, new Uint8Array(end.buffer)]));
}

/** Changes the header and makes its checksum right again. */
function patched(bytes: Uint8Array<ArrayBuffer>, patch: (view: DataView) => void): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  patch(view);
  view.setUint32(0, checksum32(copy.subarray(4, 48)), true);
  return copy;
}

describe("writing", () => {
  test("gives the bytes of the table, under a name that sorts by index", async () => {
    const disk = diskOf(1);
    const store = storeOn(disk);
    expect([store.newest(), store.newestSize(), store.directory]).toEqual([undefined, 0, FOLDER]);
    expect(await store.write(at(40), BLOCKS)).toBeUndefined();
    const path = `${FOLDER}/0000000000000040.snapshot`;
    expect([store.pathOf(40), store.newest()]).toEqual([path, path]);
    expect(disk.readFile(path)).toEqual(bytesOf(40, BLOCKS));
    expect(store.newestSize()).toBe(bytesOf(40, BLOCKS).byteLength);
    expect(disk.openFiles).toEqual([]);
    expect(disk.files.list(FOLDER)).toEqual(["0000000000000040.snapshot"]);
  });

  test("gives other work a turn after each block, also while it is read back", async () => {
    let turns = 0;
    const disk = diskOf(1);
    const { clock } = platformOn(disk);
    const soon = (run: () => void): void => {
      turns += 1;
      queueMicrotask(run);
    };
    const counting = { ...clock, soon };
    await storeOn(disk, { clock: counting }).write(at(40), BLOCKS);
    expect(turns).toBe(2 * BLOCKS.length);
  });

  test("keeps the two newest and gives the position of the older one", async () => {
    const disk = diskOf(1);
    const store = storeOn(disk);
    disk.writeFile(`${FOLDER}/40.snapshot`, new Uint8Array(1));
    disk.writeFile(`${FOLDER}/0000000000000001.snapshot.damaged`, new Uint8Array(1));
    const cuts = [];
    for (const index of [3, 20, 100]) cuts.push(await store.write(at(index), BLOCKS));
    expect(cuts).toEqual([undefined, at(3), at(20)]);
    expect(disk.files.list(FOLDER)).toEqual([
      "0000000000000001.snapshot.damaged",
      "0000000000000020.snapshot",
      "0000000000000100.snapshot",
      "40.snapshot",
    ]);
  });

  test("is durable when it resolves", async () => {
    const disk = diskOf(1);
    await disk.files.syncDirectory("data");
    await storeOn(disk).write(at(40), BLOCKS);
    await disk.files.syncDirectory("data");
    disk.cutPower(() => "dropped");
    expect((await readOn(disk, `${FOLDER}/0000000000000040.snapshot`)).blocks).toEqual(BLOCKS);
  });

  test("replaces what a crash left, and leaves the others when it fails", async () => {
    const disk = diskOf(1);
    const store = storeOn(disk);
    await store.write(at(3), BLOCKS);
    const left = `${store.pathOf(40)}.tmp`;
    disk.writeFile(left, new Uint8Array(10_000).fill(7));
    await store.write(at(40), BLOCKS);
    expect(disk.readFile(store.pathOf(40))).toEqual(bytesOf(40, BLOCKS));
    disk.faults = { sync: () => "failed" };
    expect(await errorOf(store.write(at(50), BLOCKS))).toBeInstanceOf(StorageError);
    expect(store.newest()).toBe(store.pathOf(40));
    expect(disk.openFiles).toEqual([]);
  });

  // The file is read back before it takes its name: a disk that wrote something else is noticed.
  test("a file that cannot be read back is not taken for a snapshot", async () => {
    const disk = diskOf(1);
    const store = storeOn(disk);
    disk.faults = {
      sync: (path) => {
        if (path.endsWith(".tmp")) disk.rot(path, 50);
        return "done";
      },
    };
    expect(await errorOf(store.write(at(40), BLOCKS))).toBeInstanceOf(CorruptionError);
    expect(store.newest()).toBeUndefined();
  });

  test("blocks may come one after the other, or not at all", async () => {
    const disk = diskOf(1);
    const store = storeOn(disk);
    async function* later(): AsyncGenerator<Uint8Array> {
      for (const block of BLOCKS) {
        await Promise.resolve();
        yield block;
      }
    }
    await store.write(at(40), later());
    expect(disk.readFile(store.pathOf(40))).toEqual(bytesOf(40, BLOCKS));
    await store.write(at(41), []);
    expect(disk.readFile(store.pathOf(41))).toEqual(bytesOf(41, []));
    expect(await readOn(disk, store.pathOf(41))).toEqual({
      position: at(41),
      blocks: [],
      pauses: 0,
    });
  });
});

describe("loading", () => {
  async function loaded(store: SnapshotStore) {
    const blocks: Uint8Array[] = [];
    const position = await store.load((block) => void blocks.push(block));
    return { position, blocks };
  }

  test("gives nothing without a snapshot, else the newest", async () => {
    const disk = diskOf(1);
    const store = storeOn(disk);
    expect(await loaded(store)).toEqual({ position: undefined, blocks: [] });
    await store.write(at(3), BLOCKS.slice(1));
    await store.write(at(40), BLOCKS);
    expect(await loaded(store)).toEqual({ position: at(40), blocks: BLOCKS });
  });

  test("skips a damaged one without showing any of its blocks", async () => {
    const disk = diskOf(1);
    const store = storeOn(disk);
    await store.write(at(3), BLOCKS.slice(1));
    await store.write(at(40), BLOCKS);
    disk.rot(store.pathOf(40), bytesOf(40, BLOCKS).byteLength - 1);
    expect(await loaded(store)).toEqual({ position: at(3), blocks: BLOCKS.slice(1) });
  });

  test("refuses when all are damaged, naming the newest", async () => {
    const disk = diskOf(1);
    const store = storeOn(disk);
    for (const index of [3, 40]) await store.write(at(index), BLOCKS);
    for (const index of [3, 40]) disk.rot(store.pathOf(index), 20);
    const refused = await errorOf(loaded(store));
    expect(refused).toBeInstanceOf(CorruptionError);
    expect(refused).toMatchObject({ file: store.pathOf(40), byte: 0 });
  });

  test("an error of the disk is no damage", async () => {
    const disk = diskOf(1);
    const store = storeOn(disk);
    await store.write(at(40), BLOCKS);
    const { files } = platformOn(disk);
    const broken = new StorageError("EIO");
    // With an older snapshot that is whole, too: the newest one is not skipped.
    const failing = storeOn(disk, {
      files: {
        ...boundFiles(files),
        open: () => {
          throw broken;
        },
      },
    });
    expect(await errorOf(loaded(failing))).toBe(broken);
  });
});

describe("reading", () => {
  const PATH = `${FOLDER}/s`;
  const whole = bytesOf(40, BLOCKS);

  function on(bytes: Uint8Array): SimulatedDisk {
    const disk = diskOf(1);
    disk.makeFolder(FOLDER);
    disk.writeFile(PATH, bytes);
    return disk;
  }

  async function refusal(bytes: Uint8Array): Promise<unknown[]> {
    const disk = on(bytes);
    const error = await errorOf(readOn(disk, PATH));
    expect(disk.openFiles).toEqual([]);
    if (!(error instanceof CorruptionError)) throw new Error(`no damage: ${String(error)}`);
    return [error.message, error.byte];
  }

  const problem = (text: string): unknown =>
    expect.stringContaining(`Cannot read the snapshot: ${text}`);

  test("gives the position and the blocks, with a pause after each", async () => {
    const read = await readOn(on(whole), PATH);
    expect(read).toEqual({ position: at(40), blocks: BLOCKS, pauses: 3 });
    expect(readSnapshotHeader(on(whole).files, PATH, clusterId)).toEqual(at(40));
    expect(readSnapshotCluster(on(whole).files, PATH)).toBe(clusterId);
  });

  test("a cluster's id keeps the zeros in front", () => {
    const bytes = patched(whole, (view) => view.setBigUint64(40, 0xabn, true));
    expect(readSnapshotCluster(on(bytes).files, PATH)).toBe("00000000000000ab");
  });

  test("any changed byte is damage, and any cut", async () => {
    for (let byte = 0; byte < whole.byteLength; byte += 1) {
      const bytes = whole.slice();
      bytes[byte]! ^= 1;
      await refusal(bytes);
      await refusal(whole.subarray(0, byte));
    }
  });

  // The header takes 48 bytes; the blocks' headers stand at 48, 59 and 67, the end at 76.
  test.each<[string, Uint8Array, string, number]>([
    ["an empty file", new Uint8Array(0), "its header does not verify", 0],
    ["a cut header", whole.subarray(0, 47), "its header does not verify", 0],
    [
      "no magic",
      patched(whole, (view) => view.setUint32(4, 1, true)),
      "its header does not verify",
      0,
    ],
    [
      "another format",
      patched(whole, (view) => view.setUint32(8, 2, true)),
      "its header does not verify",
      0,
    ],
    [
      "another cluster",
      patched(whole, (view) => view.setBigUint64(40, 1n, true)),
      "it belongs to another cluster",
      40,
    ],
    // History: such a number was read as NaN and went on as an index.
    ...[16, 24, 32].map((byte): [string, Uint8Array, string, number] => [
      `a number at ${byte} that no writer puts there`,
      patched(whole, (view) => view.setBigUint64(byte, 2n ** 53n, true)),
      "a number in its header is out of range",
      16,
    ]),
    [
      "fewer sequence numbers than entries",
      patched(whole, (view) => view.setBigUint64(32, view.getBigUint64(16, true), true)),
      "its entries have more places than sequence numbers",
      32,
    ],
    ["no block and no end", whole.subarray(0, 48), "it is cut off", 48],
    ["a cut block's header", whole.subarray(0, 55), "it is cut off", 48],
    ["a block's header and no block", whole.subarray(0, 56), "it is cut off", 48],
    ["a cut block", whole.subarray(0, 58), "it is cut off", 48],
    ["no end", whole.subarray(0, 76), "it is cut off", 76],
    ["a cut end", whole.subarray(0, 91), "its end does not verify", 76],
    [
      "a wrong number of blocks",
      Uint8Array.from(whole, (byte, i) => (i === 80 ? 2 : byte)),
      "its end does not verify",
      76,
    ],
    [
      "a wrong checksum of all",
      Uint8Array.from(whole, (byte, i) => (i === 84 ? byte ^ 1 : byte)),
      "its end does not verify",
      76,
    ],
    [
      "a changed block",
      Uint8Array.from(whole, (byte, i) => (i === 57 ? 9 : byte)),
      "a block does not verify",
      48,
    ],
    [
      "a block that is too large",
      Uint8Array.from(whole, (byte, i) => [1, 0, 0, 2][i - 48] ?? byte),
      "a block of 33554433 bytes",
      48,
    ],
    [
      "a block that would be just large enough",
      Uint8Array.from(whole, (byte, i) => [0, 0, 0, 2][i - 48] ?? byte),
      "it is cut off",
      48,
    ],
  ])("%s", async (...row) => {
    const [, bytes, text, byte] = row;
    expect(await refusal(bytes)).toEqual([problem(text), byte]);
  });

  test("the cluster of a file that is cut off is unknown", () => {
    const read = (size: number) => readSnapshotCluster(on(whole.subarray(0, size)).files, PATH);
    expect(() => read(47)).toThrow("Cannot read the snapshot: it is cut off");
    expect(read(48)).toBe(clusterId);
    const disk = on(whole.subarray(0, 47));
    try {
      readSnapshotCluster(disk.files, PATH);
    } catch (error) {
      expect([(error as CorruptionError).byte, disk.openFiles]).toEqual([0, []]);
    }
  });
});
