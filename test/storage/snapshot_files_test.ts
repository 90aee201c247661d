/**
 * Snapshot files on their way, on a simulated disk: reading one while newer ones replace it, what
 * an earlier attempt left, and the mark of docs/disk_format.md.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { CStoreError } from "../../src/base/errors.ts";
import { checksum64 } from "../../src/protocol/encoding/checksum.ts";
import {
  IncomingSnapshot,
  OutgoingSnapshot,
  readInstallMark,
  removeInstallMark,
} from "../../src/storage/snapshot_files.ts";
import { SnapshotStore } from "../../src/storage/snapshot_store.ts";
import type { SimulatedDisk } from "./fake_disk.ts";
import { diskOf, errorOf, IDENTITY, platformOn } from "./log_fixture.ts";

const { clusterId } = IDENTITY;
const FOLDER = "data/snapshots";
const BASE = { index: 40, term: 3, nextSequence: 90 };
const BLOCKS = [1, 2, 3].map((value) => new Uint8Array(300).fill(value));

async function storeOn(disk: SimulatedDisk, ...indexes: readonly number[]): Promise<SnapshotStore> {
  const store = new SnapshotStore(platformOn(disk), FOLDER, clusterId);
  for (const index of indexes) await store.write({ ...BASE, index }, BLOCKS);
  return store;
}

function outgoing(disk: SimulatedDisk, store: SnapshotStore, index = BASE.index): OutgoingSnapshot {
  return new OutgoingSnapshot(disk.files, store.pathOf(index), clusterId);
}

function incoming(disk: SimulatedDisk, file: OutgoingSnapshot, fields: object = {}) {
  const { checksum, size } = file;
  const wanted = { index: BASE.index, checksum, size, ...fields };
  return new IncomingSnapshot(platformOn(disk), FOLDER, wanted);
}

function names(disk: SimulatedDisk): string[] {
  return [...disk.files.list(FOLDER)];
}

async function pair() {
  const from = diskOf(1);
  const file = outgoing(from, await storeOn(from, BASE.index));
  const disk = diskOf(2);
  const store = await storeOn(disk);
  return { from, file, disk, store };
}

function code(error: unknown): string {
  return error instanceof CStoreError ? error.code : String(error);
}

describe("outgoing", () => {
  test("it says where it stands, and gives its bytes in pieces, none behind its end", async () => {
    const disk = diskOf(1);
    const store = await storeOn(disk, BASE.index);
    const file = outgoing(disk, store);
    const whole = disk.readFile(store.pathOf(BASE.index));
    expect([file.base, file.size]).toEqual([BASE, whole.byteLength]);
    const end = new DataView(whole.buffer, whole.byteOffset + whole.byteLength - 8);
    expect(file.checksum).toBe(end.getBigUint64(0, true));
    const pieces: number[] = [];
    for (let at = 0; at < file.size; at += 100) pieces.push(...file.read(at, 100));
    expect(pieces).toEqual([...whole]);
    expect(file.read(file.size, 100)).toHaveLength(0);
    expect(file.read(2 ** 53 - 1, 100)).toHaveLength(0);
    expect(file.read(file.size - 1, 100)).toHaveLength(1);
    expect(disk.openFiles).toEqual([store.pathOf(BASE.index)]);
    file.close();
    expect(disk.openFiles).toEqual([]);
  });

  test("it stays readable when newer snapshots take its place", async () => {
    const disk = diskOf(1);
    const store = await storeOn(disk, BASE.index);
    const file = outgoing(disk, store);
    const before = file.read(0, file.size);
    for (const index of [41, 42]) await store.write({ ...BASE, index }, BLOCKS.slice(1));
    expect(names(disk)).toHaveLength(2);
    expect(file.read(0, file.size)).toEqual(before);
  });

  test("different contents at one index have different checksums", async () => {
    const files = await Promise.all(
      [BLOCKS, BLOCKS.slice(1), [...BLOCKS].reverse()].map(async (blocks, i) => {
        const disk = diskOf(i + 1);
        const store = await storeOn(disk);
        await store.write(BASE, blocks);
        return outgoing(disk, store).checksum;
      }),
    );
    expect(new Set(files).size).toBe(3);
  });

  test.each([0, 10, 47])("a file of %d bytes is no snapshot", async (size) => {
    const disk = diskOf(1);
    const store = await storeOn(disk, BASE.index);
    const path = store.pathOf(BASE.index);
    disk.writeFile(path, disk.readFile(path).subarray(0, size));
    const open = async (): Promise<unknown> => outgoing(disk, store);
    expect(code(await errorOf(open()))).toBe("CORRUPTION");
  });
});

describe("incoming", () => {
  test("chunks that follow are taken, others are not, and it verifies", async () => {
    const { file, disk, store } = await pair();
    const taken = incoming(disk, file);
    taken.write(1, file.read(1, 10));
    taken.write(0, file.read(0, 100));
    taken.write(0, file.read(0, 100));
    taken.write(200, file.read(200, 100));
    taken.write(100, new Uint8Array(file.size));
    expect([taken.received, taken.isWhole]).toEqual([100, false]);
    taken.write(100, file.read(100, file.size));
    expect(taken.isWhole).toBe(true);
    const blocks: Uint8Array[] = [];
    const base = await taken.verify(clusterId, (block) => void blocks.push(block));
    expect([base, blocks]).toEqual([BASE, BLOCKS.slice(0, 1)]);
    await taken.adopt(base, store.pathOf(base.index));
    expect(readInstallMark(disk.files, FOLDER)).toEqual(BASE);
    expect(names(disk)).toEqual(["0000000000000040.snapshot", "install"]);
    const loaded: Uint8Array[] = [];
    expect(await store.load((block) => void loaded.push(block.slice()))).toEqual(BASE);
    expect(loaded).toEqual(BLOCKS);
  });

  test("it goes on with what is left of the same file, and drops what is left of others", async () => {
    const { file, disk } = await pair();
    const first = incoming(disk, file);
    first.write(0, file.read(0, 100));
    first.close(false);
    const name = `40-${file.checksum.toString(16)}.partial`;
    expect(names(disk)).toEqual([name]);
    const second = incoming(disk, file);
    expect(second.received).toBe(100);
    second.close(false);
    const other = incoming(disk, file, { checksum: 1n });
    expect([other.received, names(disk)]).toEqual([0, ["40-1.partial"]]);
    other.close(true);
    other.close(true);
    expect(names(disk)).toEqual([]);
  });

  test("a whole file is whole at once; one that is too long begins anew", async () => {
    const { file, disk } = await pair();
    const first = incoming(disk, file);
    first.write(0, file.read(0, file.size));
    first.close(false);
    expect(disk.openFiles).toEqual([]);
    const second = incoming(disk, file);
    expect([second.received, second.isWhole]).toEqual([file.size, true]);
    second.close(false);
    const [partial = ""] = names(disk);
    disk.writeFile(`${FOLDER}/${partial}`, new Uint8Array(file.size + 1));
    const third = incoming(disk, file);
    expect([third.received, third.isWhole, third.id.index, third.size]).toEqual([
      0,
      false,
      BASE.index,
      file.size,
    ]);
    third.close(true);
    expect(disk.openFiles).toEqual([]);
  });

  // The announcement comes from another node: the file is believed, not it.
  test("a file that ends with another entry than announced is refused", async () => {
    const { file, disk } = await pair();
    const taken = incoming(disk, file, { index: 41 });
    taken.write(0, file.read(0, file.size));
    const error = await errorOf(taken.verify(clusterId, () => undefined));
    expect(code(error)).toBe("CORRUPTION");
    expect(error).toMatchObject({ byte: 16 });
    expect((error as Error).message).toContain("it ends with entry 40, not with entry 41");
  });

  test("an adopted file is durable under its name, and closed", async () => {
    const { file, disk, store } = await pair();
    await disk.files.syncDirectory("data");
    const taken = incoming(disk, file);
    taken.write(0, file.read(0, file.size));
    const base = await taken.verify(clusterId, () => undefined);
    await taken.adopt(base, store.pathOf(base.index));
    expect(disk.openFiles).toEqual([]);
    taken.close(false);
    disk.cutPower(() => "dropped");
    expect(names(disk)).toEqual(["0000000000000040.snapshot", "install"]);
    expect(readInstallMark(disk.files, FOLDER)).toEqual(BASE);
    await removeInstallMark(disk.files, FOLDER);
    disk.cutPower(() => "dropped");
    expect(names(disk)).toEqual(["0000000000000040.snapshot"]);
  });

  test("snapshots, marks and other files are not dropped", async () => {
    const { file, disk, store } = await pair();
    await store.write({ ...BASE, index: 7 }, BLOCKS);
    disk.writeFile(`${FOLDER}/install`, new Uint8Array(32));
    incoming(disk, file, { checksum: 1n }).close(false);
    incoming(disk, file).close(true);
    expect(names(disk)).toEqual(["0000000000000007.snapshot", "install"]);
  });

  // Bytes that were not synced may be anything behind a power cut: only the whole file is believed.
  test("every byte that differs is seen when the file is whole", async () => {
    const { file } = await pair();
    const whole = file.read(0, file.size);
    for (let at = 0; at < whole.byteLength; at += 1) {
      // Reserved bytes of the header are covered by its checksum, too.
      const disk = diskOf(3);
      await storeOn(disk);
      const bytes = whole.slice();
      bytes[at]! ^= 0x10;
      const taken = incoming(disk, file);
      taken.write(0, bytes);
      const error = await errorOf(taken.verify(clusterId, () => undefined));
      expect([at, code(error)]).toEqual([at, "CORRUPTION"]);
      taken.close(true);
      expect(names(disk)).toEqual([]);
    }
  });
});

describe("the mark", () => {
  test("it has the bytes that the document shows", async () => {
    const { file, disk, store } = await pair();
    const taken = incoming(disk, file);
    taken.write(0, file.read(0, file.size));
    const base = await taken.verify(clusterId, () => undefined);
    await taken.adopt(base, store.pathOf(base.index));
    const bytes = disk.readFile(`${FOLDER}/install`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const fields = [8, 16, 24].map((at) => Number(view.getBigUint64(at, true)));
    expect([bytes.byteLength, fields]).toEqual([32, [40, 3, 90]]);
    expect(view.getBigUint64(0, true)).toBe(checksum64(bytes.subarray(8)));
  });

  test("none is none; a damaged or short one is corruption", async () => {
    const { file, disk, store } = await pair();
    expect(readInstallMark(disk.files, FOLDER)).toBeUndefined();
    const taken = incoming(disk, file);
    taken.write(0, file.read(0, file.size));
    await taken.adopt(BASE, store.pathOf(40));
    const whole = disk.readFile(`${FOLDER}/install`);
    for (let at = 0; at < whole.byteLength; at += 1) {
      const bytes = whole.slice();
      bytes[at]! ^= 1;
      for (const wrong of [bytes, whole.subarray(0, at)]) {
        disk.writeFile(`${FOLDER}/install`, wrong);
        const read = async (): Promise<unknown> => readInstallMark(disk.files, FOLDER);
        expect([at, code(await errorOf(read()))]).toEqual([at, "CORRUPTION"]);
      }
    }
    await removeInstallMark(disk.files, FOLDER);
    expect(readInstallMark(disk.files, FOLDER)).toBeUndefined();
    await removeInstallMark(disk.files, FOLDER);
  });
});
