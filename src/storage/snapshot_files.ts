/**
 * Snapshot files between nodes. An outgoing one is read piece by piece. An incoming one grows
 * beside the others as `<index>-<checksum>.partial`, so that a transfer can go on after a restart.
 * It is verified when it is whole, and then takes the log's place in two steps that a crash may
 * separate. The file `install` says that a snapshot came from a leader: opening the directory then
 * finishes the installation instead of taking the short log for a loss.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { readU64, viewOf, writeU64 } from "../base/bytes.ts";
import { CorruptionError } from "../base/errors.ts";
import type { FileSystem, OpenFile } from "../platform/file_system.ts";
import type { Platform } from "../platform/platform.ts";
import { checksum64 } from "../protocol/encoding/checksum.ts";
import type { LogBase } from "../raft/types.ts";
import { readSmallFile, writeFileDurably } from "./data_directory.ts";
import { readSnapshot, readSnapshotHeader } from "./snapshot_store.ts";

const INSTALL_NAME = "install";
const END_SIZE = 16;
/** Bytes of the file `install`: xxh64 of the rest (8), index (8), term (8), next sequence (8). */
const INSTALL_SIZE = 32;

/** Identifies a snapshot file: the index of its state, and the checksum over its blocks. */
export interface SnapshotId {
  /** Last entry in the state: `1 <= index <= commit index of its sender`. */
  readonly index: number;
  readonly checksum: bigint;
}

/** A file that is to be received. */
interface AnnouncedFile extends SnapshotId {
  /** Bytes: `0 <= received <= size`. */
  readonly size: number;
}

/** A snapshot that is being sent: it stays readable even when newer ones replace it. */
export class OutgoingSnapshot {
  /** The entry that the snapshot ends with. */
  readonly base: LogBase;
  /** Bytes: `END_SIZE <= size`. */
  readonly size: number;
  readonly checksum: bigint;
  readonly #file: OpenFile;

  /** Throws CorruptionError when the file is damaged at its ends. */
  constructor(files: FileSystem, path: string, clusterId: string) {
    this.base = readSnapshotHeader(files, path, clusterId);
    this.#file = files.open(path, "read");
    this.size = this.#file.size();
    const end = new Uint8Array(END_SIZE);
    if (this.size < END_SIZE || this.#file.read(this.size - END_SIZE, end) < END_SIZE) {
      throw new CorruptionError("Cannot read the snapshot: it is cut off", { file: path, byte: 0 });
    }
    this.checksum = viewOf(end).getBigUint64(8, true);
    assert(this.size >= END_SIZE, "the file holds its end");
  }

  /** The bytes from `offset` on, at most `size` of them. */
  read(offset: number, size: number): Uint8Array {
    const bytes = new Uint8Array(Math.max(0, Math.min(size, this.size - offset)));
    const count = this.#file.read(offset, bytes);
    assert(count <= bytes.byteLength, "a read does not leave its target");
    assert(offset + bytes.byteLength <= Math.max(this.size, offset), "it ends inside the file");
    return bytes.subarray(0, count);
  }

  close(): void {
    this.#file.close();
  }
}

/** A snapshot that is being received. */
export class IncomingSnapshot {
  readonly id: SnapshotId;
  readonly size: number;
  readonly #platform: Platform;
  readonly #directory: string;
  readonly #file: OpenFile;
  /** Bytes from the beginning that are here: `0 <= #received <= size`, rising. */
  #received: number;
  #isClosed = false;

  /** Continues an earlier attempt at the same file; removes the partial files of others. */
  constructor(platform: Platform, directory: string, file: AnnouncedFile) {
    const { files } = platform;
    this.id = { index: file.index, checksum: file.checksum };
    this.size = file.size;
    this.#platform = platform;
    this.#directory = directory;
    const name = partialName(this.id);
    for (const other of files.list(directory)) {
      if (other.endsWith(".partial") && other !== name) files.remove(`${directory}/${other}`);
    }
    this.#file = files.open(`${directory}/${name}`, "write");
    this.#received = this.#file.size() <= file.size ? this.#file.size() : 0;
    assert(this.#received <= this.size, "no more is here than the whole file");
  }

  /** Bytes that are here, from the beginning: `received <= size`. */
  get received(): number {
    return this.#received;
  }

  get isWhole(): boolean {
    assert(this.#received <= this.size, "no more is here than the whole file");
    return this.#received === this.size;
  }

  /** Takes a chunk that follows; others are ignored. */
  write(offset: number, bytes: Uint8Array): void {
    if (offset !== this.#received || offset + bytes.byteLength > this.size) return;
    this.#file.write(offset, bytes);
    this.#received += bytes.byteLength;
    assert(this.#received <= this.size, "no more is here than the whole file");
    assert(this.#received === offset + bytes.byteLength, "the bytes here have no hole");
  }

  /** Makes it durable and verifies it; `first` is given its first block. Throws CorruptionError. */
  async verify(clusterId: string, first: (block: Uint8Array) => void): Promise<LogBase> {
    assert(this.#received === this.size, "only a whole file is verified");
    await this.#file.sync();
    const { files, clock } = this.#platform;
    const pause = (): Promise<void> => new Promise((resolve) => clock.soon(resolve));
    let isFirst = true;
    const visit = (block: Uint8Array): void => {
      if (isFirst) first(block);
      isFirst = false;
    };
    const base = await readSnapshot(files, this.#path, { clusterId, pause, visit });
    if (base.index === this.id.index) return base;
    const problem = `it ends with entry ${base.index}, not with entry ${this.id.index}`;
    throw new CorruptionError(`Cannot read the snapshot: ${problem}`, {
      file: this.#path,
      byte: 16,
    });
  }

  /** Gives it its name among the snapshots, marked as one that takes the log's place. */
  async adopt(base: LogBase, name: string): Promise<void> {
    assert(this.#received === this.size, "only a whole file is adopted");
    assert(base.index === this.id.index, "the file ends with the announced entry");
    const { files } = this.#platform;
    const bytes = new Uint8Array(INSTALL_SIZE);
    writeU64(viewOf(bytes), 8, base.index);
    writeU64(viewOf(bytes), 16, base.term);
    writeU64(viewOf(bytes), 24, base.nextSequence);
    viewOf(bytes).setBigUint64(0, checksum64(bytes.subarray(8)), true);
    await writeFileDurably(files, { directory: this.#directory, name: INSTALL_NAME, bytes });
    const mark = readInstallMark(files, this.#directory);
    assert(mark?.index === base.index, "the mark can be read back");
    this.#closeFile();
    files.rename(this.#path, name);
    await files.syncDirectory(this.#directory);
  }

  /** Stops; the received bytes stay for a later attempt unless they are useless. */
  close(isUseless: boolean): void {
    this.#closeFile();
    if (isUseless) this.#platform.files.remove(this.#path);
  }

  #closeFile(): void {
    if (!this.#isClosed) this.#file.close();
    this.#isClosed = true;
  }

  get #path(): string {
    return `${this.#directory}/${partialName(this.id)}`;
  }
}

function partialName({ index, checksum }: SnapshotId): string {
  const name = `${index}-${checksum.toString(16)}.partial`;
  assert(Number.parseInt(name, 10) === index, "the name leads back to the index");
  return name;
}

/** The position of the snapshot that was to take the log's place when the node stopped, if any. */
export function readInstallMark(files: FileSystem, directory: string): LogBase | undefined {
  const path = `${directory}/${INSTALL_NAME}`;
  const bytes = readSmallFile(files, path)?.subarray(0, INSTALL_SIZE);
  if (bytes === undefined) return undefined;
  const view = viewOf(bytes);
  if (
    bytes.byteLength < INSTALL_SIZE ||
    view.getBigUint64(0, true) !== checksum64(bytes.subarray(8))
  ) {
    throw new CorruptionError("Cannot read the mark of a snapshot", { file: path, byte: 0 });
  }
  return { index: readU64(view, 8), term: readU64(view, 16), nextSequence: readU64(view, 24) };
}

/** Removes the mark: the log begins behind the snapshot now, durably. */
export async function removeInstallMark(files: FileSystem, directory: string): Promise<void> {
  files.remove(`${directory}/${INSTALL_NAME}`);
  await files.syncDirectory(directory);
}
