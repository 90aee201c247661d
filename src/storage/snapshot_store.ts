/**
 * Snapshot files: written aside, synced, read back, renamed; the two newest are kept. Integers are
 * unsigned, little-endian. Name: `<index, 16 digits>.snapshot`.
 *
 * | part   | bytes                                                                            |
 * | ------ | -------------------------------------------------------------------------------- |
 * | header | checksum (4, xxh32 of the rest), magic 0x50414e53 (4), format (4), reserved 0 (4), index (8), term (8), next sequence number (8), cluster id (8) |
 * | blocks | size (4), xxh32 of the body (4), body: see `database/snapshot_codec.ts`          |
 * | end    | 0xffffffff (4), number of blocks (4), xxh64 over the blocks' xxh32 values (8)    |
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { readU64, viewOf, writeU64 } from "../base/bytes.ts";
import { CorruptionError } from "../base/errors.ts";
import { DOCUMENT_SIZE_MAX } from "../base/limits.ts";
import { DISK_FORMAT_VERSION } from "../base/version.ts";
import type { FileSystem, OpenFile } from "../platform/file_system.ts";
import type { Platform } from "../platform/platform.ts";
import { checksum32, checksum64 } from "../protocol/encoding/checksum.ts";
import type { LogBase } from "../raft/types.ts";

const MAGIC = 0x50414e53;
const HEADER_SIZE = 48;
const BLOCK_HEADER_SIZE = 8;
const END = 0xffff_ffff;
const END_SIZE = 16;
/** A block has a document at least, and its key. */
const BLOCK_SIZE_MAX = 2 * DOCUMENT_SIZE_MAX;
/** Snapshots that are kept. */
const KEPT = 2;

const INDEX_DIGITS = 16;
const SUFFIX = ".snapshot";

type Blocks = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** Snapshots of one node. */
export class SnapshotStore {
  readonly #platform: Platform;
  readonly #directory: string;
  readonly #clusterId: string;

  constructor(platform: Platform, directory: string, clusterId: string) {
    this.#platform = platform;
    this.#directory = directory;
    this.#clusterId = clusterId;
    platform.files.makeDirectory(directory);
  }

  /**
   * Writes the blocks, verifies the file by reading it back, and removes all but the two newest;
   * other work gets its turn after each block. Returns the position that the log may be cut at:
   * that of the older kept snapshot; undefined while there is only one.
   */
  async write(position: LogBase, blocks: Blocks): Promise<LogBase | undefined> {
    const { files, clock } = this.#platform;
    const path = this.pathOf(position.index);
    const temporary = `${path}.tmp`;
    files.remove(temporary);
    const file = files.open(temporary, "write");
    try {
      await this.#writeBlocks(file, position, blocks);
      await file.sync();
    } finally {
      file.close();
    }
    const pause = (): Promise<void> => new Promise((resolve) => clock.soon(resolve));
    const written = await readSnapshot(files, temporary, {
      clusterId: this.#clusterId,
      pause,
      visit: () => undefined,
    });
    assert(
      written.index === position.index,
      "the file ends with the entry that it was written for",
    );
    assert(written.term === position.term, "the file names the entry's term");
    assert(written.nextSequence === position.nextSequence, "the file names its sequence number");
    files.rename(temporary, path);
    await files.syncDirectory(this.#directory);
    const names = this.#names();
    for (const old of names.slice(0, -KEPT)) files.remove(`${this.#directory}/${old}`);
    const older = names.at(-KEPT);
    if (names.length < KEPT || older === undefined) return undefined;
    assert(
      older < (names.at(-1) ?? ""),
      "the newest snapshot is not the one that the log is cut at",
    );
    return readSnapshotHeader(files, `${this.#directory}/${older}`, this.#clusterId);
  }

  /**
   * Gives the blocks of the newest snapshot that verifies to `visit`, and returns its position;
   * undefined when there is none at all. A damaged one is skipped if an older one is whole. The
   * caller checks that the log still reaches back to that one.
   */
  async load(visit: (block: Uint8Array) => void): Promise<LogBase | undefined> {
    const { files, clock } = this.#platform;
    const pause = (): Promise<void> => new Promise((resolve) => clock.soon(resolve));
    let damage: unknown;
    for (const name of this.#names().reverse()) {
      const path = `${this.#directory}/${name}`;
      const options = { clusterId: this.#clusterId, pause };
      let verified: LogBase;
      try {
        verified = await readSnapshot(files, path, { ...options, visit: () => undefined });
      } catch (error) {
        if (!(error instanceof CorruptionError)) throw error;
        damage ??= error;
        continue;
      }
      const loaded = await readSnapshot(files, path, { ...options, visit });
      assert(loaded.index === verified.index, "the file is the one that was verified");
      assert(loaded.nextSequence === verified.nextSequence, "the file did not change");
      return loaded;
    }
    if (damage !== undefined) throw damage;
    return undefined;
  }

  get directory(): string {
    return this.#directory;
  }

  /** Path of the snapshot at an index. */
  pathOf(index: number): string {
    const name = `${String(index).padStart(INDEX_DIGITS, "0")}${SUFFIX}`;
    assert(name.length === INDEX_DIGITS + SUFFIX.length, "names sort by index");
    return `${this.#directory}/${name}`;
  }

  /** Path of the newest snapshot; undefined without one. */
  newest(): string | undefined {
    const name = this.#names().at(-1);
    return name === undefined ? undefined : `${this.#directory}/${name}`;
  }

  /** Removes all of them. */
  async clear(): Promise<void> {
    const { files } = this.#platform;
    for (const name of files.list(this.#directory)) files.remove(`${this.#directory}/${name}`);
    await files.syncDirectory(this.#directory);
    assert(this.#names().length < 1, "nothing is left");
  }

  /** Index of the newest snapshot; 0 without one. */
  newestIndex(): number {
    const index = Number((this.#names().at(-1) ?? "0").slice(0, INDEX_DIGITS));
    assert(index <= Number.MAX_SAFE_INTEGER, "a name holds an index");
    return index;
  }

  /** Bytes of the newest snapshot; 0 without one. */
  newestSize(): number {
    const path = this.newest();
    if (path === undefined) return 0;
    const file = this.#platform.files.open(path, "read");
    const size = file.size();
    file.close();
    return size;
  }

  #names(): string[] {
    const names = this.#platform.files.list(this.#directory);
    const own = names.filter((name) => /^\d{16}\.snapshot$/.test(name));
    assert((own[0] ?? "") <= (own.at(-1) ?? ""), "names are listed in order of indexes");
    return own;
  }

  async #writeBlocks(file: OpenFile, position: LogBase, blocks: Blocks): Promise<void> {
    file.write(0, encodeHeader(position, this.#clusterId));
    let at = HEADER_SIZE;
    const checksums: number[] = [];
    for await (const body of blocks) {
      assert(body.byteLength <= BLOCK_SIZE_MAX, "a reader accepts the block");
      const block = new Uint8Array(BLOCK_HEADER_SIZE + body.byteLength);
      const checksum = checksum32(body);
      viewOf(block).setUint32(0, body.byteLength, true);
      viewOf(block).setUint32(4, checksum, true);
      block.set(body, BLOCK_HEADER_SIZE);
      file.write(at, block);
      at += block.byteLength;
      checksums.push(checksum);
      assert(at >= HEADER_SIZE + checksums.length * BLOCK_HEADER_SIZE, "each block has a header");
      await new Promise<void>((resolve) => this.#platform.clock.soon(resolve));
    }
    const end = encodeEnd(checksums);
    file.write(at, end);
    assert(file.size() === at + end.byteLength, "nothing stands behind the end");
  }
}

function encodeHeader(position: LogBase, clusterId: string): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE);
  const view = viewOf(bytes);
  view.setUint32(4, MAGIC, true);
  view.setUint32(8, DISK_FORMAT_VERSION, true);
  writeU64(view, 16, position.index);
  writeU64(view, 24, position.term);
  writeU64(view, 32, position.nextSequence);
  view.setBigUint64(40, BigInt(`0x${clusterId}`), true);
  view.setUint32(0, checksum32(bytes.subarray(4)), true);
  assert(position.index < position.nextSequence, "each entry takes a sequence number");
  return bytes;
}

function encodeEnd(checksums: readonly number[]): Uint8Array {
  assert(checksums.length < END, "the number of blocks has room");
  const bytes = new Uint8Array(END_SIZE);
  const view = viewOf(bytes);
  view.setUint32(0, END, true);
  view.setUint32(4, checksums.length, true);
  view.setBigUint64(8, wholeChecksum(checksums), true);
  return bytes;
}

function wholeChecksum(checksums: readonly number[]): bigint {
  const bytes = new Uint8Array(checksums.length * 4);
  const view = viewOf(bytes);
  for (const [i, checksum] of checksums.entries()) view.setUint32(i * 4, checksum, true);
  assert(view.byteLength === checksums.length * 4, "each checksum has its place");
  return checksum64(bytes);
}

/** Reads the position of a snapshot. Throws CorruptionError. */
export function readSnapshotHeader(files: FileSystem, path: string, clusterId: string): LogBase {
  const file = files.open(path, "read");
  const bytes = new Uint8Array(HEADER_SIZE);
  const size = file.read(0, bytes);
  file.close();
  assert(size <= bytes.byteLength, "a read does not leave its target");
  const view = viewOf(bytes);
  const isWhole =
    size === HEADER_SIZE &&
    view.getUint32(0, true) === checksum32(bytes.subarray(4)) &&
    view.getUint32(4, true) === MAGIC &&
    view.getUint32(8, true) === DISK_FORMAT_VERSION;
  if (!isWhole) throw damaged(path, 0, "its header does not verify");
  if (view.getBigUint64(40, true) !== BigInt(`0x${clusterId}`)) {
    throw damaged(path, 40, "it belongs to another cluster");
  }
  const index = readU64(view, 16);
  const term = readU64(view, 24);
  const nextSequence = readU64(view, 32);
  // A writer puts safe integers there; the sum of one that is none is NaN.
  if (Number.isNaN(index + term + nextSequence)) {
    throw damaged(path, 16, "a number in its header is out of range");
  }
  if (index > 0 && nextSequence <= index) {
    throw damaged(path, 32, "its entries have more places than sequence numbers");
  }
  return { index, term, nextSequence };
}

/** The cluster id in the header of a snapshot file; {@link readSnapshot} verifies the rest. */
export function readSnapshotCluster(files: FileSystem, path: string): string {
  const file = files.open(path, "read");
  const bytes = new Uint8Array(HEADER_SIZE);
  const size = file.read(0, bytes);
  file.close();
  if (size < HEADER_SIZE) throw damaged(path, 0, "it is cut off");
  assert(size === bytes.byteLength, "a read does not leave its target");
  return viewOf(bytes).getBigUint64(40, true).toString(16).padStart(16, "0");
}

/** Reads a whole snapshot, block by block. Throws CorruptionError. */
export async function readSnapshot(
  files: FileSystem,
  path: string,
  options: {
    readonly clusterId: string;
    readonly pause: () => Promise<void>;
    readonly visit: (block: Uint8Array) => void;
  },
): Promise<LogBase> {
  const position = readSnapshotHeader(files, path, options.clusterId);
  const file = files.open(path, "read");
  try {
    const checksums: number[] = [];
    const head = new Uint8Array(END_SIZE);
    let at = HEADER_SIZE;
    while (true) {
      const got = file.read(at, head);
      assert(got <= head.byteLength, "a read does not leave its target");
      if (got < BLOCK_HEADER_SIZE) throw damaged(path, at, "it is cut off");
      const size = viewOf(head).getUint32(0, true);
      const checksum = viewOf(head).getUint32(4, true);
      if (size === END) {
        const isWhole =
          got === END_SIZE &&
          checksum === checksums.length &&
          viewOf(head).getBigUint64(8, true) === wholeChecksum(checksums);
        if (!isWhole) throw damaged(path, at, "its end does not verify");
        assert(at >= HEADER_SIZE + checksums.length * BLOCK_HEADER_SIZE, "each block has a header");
        return position;
      }
      if (size > BLOCK_SIZE_MAX) throw damaged(path, at, `a block of ${size} bytes`);
      const body = new Uint8Array(size);
      const count = file.read(at + BLOCK_HEADER_SIZE, body);
      assert(count <= size, "a read does not leave its target");
      if (count < size) throw damaged(path, at, "it is cut off");
      if (checksum32(body) !== checksum) throw damaged(path, at, "a block does not verify");
      options.visit(body);
      checksums.push(checksum);
      at += BLOCK_HEADER_SIZE + size;
      await options.pause();
    }
  } finally {
    file.close();
  }
}

function damaged(file: string, byte: number, problem: string): CorruptionError {
  return new CorruptionError(`Cannot read the snapshot: ${problem}`, { file, byte });
}
