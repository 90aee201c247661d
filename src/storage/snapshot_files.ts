/**
 * Snapshot files on their way between nodes: an outgoing one is read piece by piece; an incoming
 * one grows beside the others as `<index>-<checksum>.partial`, so that a transfer can go on after a
 * restart, is verified when it is whole, and then takes the log's place in two steps that a crash
 * may separate: the file `install` says that a snapshot came from a leader, so that opening the
 * folder finishes what was begun instead of taking the short log for a loss.
 *
 * @module
 */

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

/** Which file it is: the state at an index, and the checksum over its blocks. */
export interface SnapshotId {
  readonly index: number;
  readonly checksum: bigint;
}

/** A snapshot that is being sent: it stays readable even when newer ones replace it. */
export class OutgoingSnapshot {
  readonly base: LogBase;
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
  }

  /** The bytes from `offset` on, at most `size` of them. */
  read(offset: number, size: number): Uint8Array {
    const bytes = new Uint8Array(Math.max(0, Math.min(size, this.size - offset)));
    return bytes.subarray(0, this.#file.read(offset, bytes));
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
  #received: number;
  #isClosed = false;

  /** Goes on with what an earlier attempt left of the same file; drops what is left of others. */
  constructor(platform: Platform, directory: string, file: SnapshotId & { size: number }) {
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
  }

  /** Bytes that are here, from the beginning. */
  get received(): number {
    return this.#received;
  }

  get isWhole(): boolean {
    return this.#received === this.size;
  }

  /** Takes a chunk that follows; others are ignored. */
  write(offset: number, bytes: Uint8Array): void {
    if (offset !== this.#received || offset + bytes.byteLength > this.size) return;
    this.#file.write(offset, bytes);
    this.#received += bytes.byteLength;
  }

  /** Makes it durable and verifies it; `first` gets its first block. Throws CorruptionError. */
  async verify(clusterId: string, first: (block: Uint8Array) => void): Promise<LogBase> {
    await this.#file.sync();
    const { files, clock } = this.#platform;
    const pause = (): Promise<void> => new Promise((resolve) => clock.soon(resolve));
    let isFirst = true;
    const visit = (block: Uint8Array): void => {
      if (isFirst) first(block);
      isFirst = false;
    };
    return await readSnapshot(files, this.#path, { clusterId, pause, visit });
  }

  /** Gives it its name among the snapshots, marked as one that takes the log's place. */
  async adopt(base: LogBase, name: string): Promise<void> {
    const { files } = this.#platform;
    const bytes = new Uint8Array(32);
    writeU64(viewOf(bytes), 8, base.index);
    writeU64(viewOf(bytes), 16, base.term);
    writeU64(viewOf(bytes), 24, base.nextSequence);
    viewOf(bytes).setBigUint64(0, checksum64(bytes.subarray(8)), true);
    await writeFileDurably(files, { directory: this.#directory, name: INSTALL_NAME, bytes });
    this.#closeFile();
    files.rename(this.#path, name);
    await files.syncDirectory(this.#directory);
  }

  /** Stops; what is here stays for a later attempt unless it is of no use. */
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
  return `${index}-${checksum.toString(16)}.partial`;
}

/** The snapshot that was about to take the log's place when the node stopped. */
export function readInstallMark(files: FileSystem, directory: string): LogBase | undefined {
  const path = `${directory}/${INSTALL_NAME}`;
  const bytes = readSmallFile(files, path)?.subarray(0, 32);
  if (bytes === undefined) return undefined;
  const view = viewOf(bytes);
  if (bytes.byteLength < 32 || view.getBigUint64(0, true) !== checksum64(bytes.subarray(8))) {
    throw new CorruptionError("Cannot read the mark of a snapshot", { file: path, byte: 0 });
  }
  return { index: readU64(view, 8), term: readU64(view, 16), nextSequence: readU64(view, 24) };
}

/** The log stands behind the snapshot now, durably. */
export async function removeInstallMark(files: FileSystem, directory: string): Promise<void> {
  files.remove(`${directory}/${INSTALL_NAME}`);
  await files.syncDirectory(directory);
}
