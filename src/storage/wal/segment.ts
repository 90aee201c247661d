/**
 * One segment file: header, append, sync. A segment is filled with zeros before its first use,
 * because a write into existing blocks needs no journal commit. Integers are unsigned,
 * little-endian. Header, 128 bytes in a block of 512; records follow at byte 512:
 *
 * | offset | size | field         | meaning                                          |
 * | -----: | ---: | ------------- | ------------------------------------------------ |
 * |      0 |    4 | checksum      | xxh32 of bytes 4..128, seed 0                    |
 * |      4 |    4 | magic         | 0x47455343                                       |
 * |      8 |    2 | format        | disk format version, 1                           |
 * |     10 |    6 | reserved      | 0                                                |
 * |     16 |    8 | segmentNumber | 1, 2, 3 ...; also the file's name                |
 * |     24 |    8 | firstRecord   | number of its first record                       |
 * |     32 |    8 | previousChain | chain value of the record before that            |
 * |     40 |    8 | salt          | random                                           |
 * |     48 |    8 | clusterId     | the 16 hex digits as a number                    |
 * |     56 |    8 | incarnation   | the 16 hex digits as a number                    |
 * |     64 |    8 | nodeId        | xxh64 of the node id, seed 0                     |
 * |     72 |    8 | lastIndex     | last entry written before it; 0 for none         |
 * |     80 |   40 | reserved      | 0                                                |
 * |    120 |    8 | saltCopy      | the salt again                                   |
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { encodeText, readU64, viewOf, writeU64 } from "../../base/bytes.ts";
import { DISK_FORMAT_VERSION } from "../../base/version.ts";
import type { FileSystem, OpenFile } from "../../platform/file_system.ts";
import { checksum32, checksum64 } from "../../protocol/encoding/checksum.ts";
import type { LogIdentity } from "../identity.ts";
import { RECORD_HEADER_SIZE } from "./segment_record.ts";

/** Bytes of the header. */
export const SEGMENT_HEADER_SIZE = 128;
/** Byte of the first record: `SEGMENT_HEADER_SIZE <= SEGMENT_DATA_START`. */
export const SEGMENT_DATA_START = 512;
const SEGMENT_MAGIC = 0x47455343;
const ZEROS_SIZE = 1024 * 1024;
/** Pieces of zeros between two syncs. */
const SYNC_EVERY = 4;

/** A verified segment header. */
export interface SegmentHeader {
  /** `1 <= segmentNumber`, dense over the segments of a log. */
  readonly segmentNumber: number;
  /** Number of its first record: `firstRecord <= number of each of its records`. */
  readonly firstRecord: number;
  readonly previousChain: bigint;
  readonly salt: bigint;
  /**
   * The last entry of the segments before it: `lastIndex <= last index of the log` as of then.
   * These segments may be removed only when that entry may.
   */
  readonly lastIndex: number;
}

/** The reason why a header is not one of this log's. */
export interface SegmentRefusal {
  readonly refusal: string;
  /** Whether it was written as it is, so that no power cut can have left it. */
  readonly isWhole: boolean;
  /** The two copies of the salt, with which the records can be verified without the header. */
  readonly salts: readonly bigint[];
}

/** "0000000001.segment" */
export function segmentName(segmentNumber: number): string {
  const name = `${String(segmentNumber).padStart(10, "0")}.segment`;
  assert(segmentNumberOf(name) === segmentNumber, "the name leads back to the number");
  return name;
}

/** The number in a segment's name; undefined for other files. */
export function segmentNumberOf(name: string): number | undefined {
  const match = /^(\d{10})\.segment$/.exec(name);
  return match === null ? undefined : Number(match[1]);
}

/** The header's bytes. */
export function encodeSegmentHeader(header: SegmentHeader, identity: LogIdentity): Uint8Array {
  const bytes = new Uint8Array(SEGMENT_HEADER_SIZE);
  const view = viewOf(bytes);
  view.setUint32(4, SEGMENT_MAGIC, true);
  view.setUint16(8, DISK_FORMAT_VERSION, true);
  writeU64(view, 16, header.segmentNumber);
  writeU64(view, 24, header.firstRecord);
  view.setBigUint64(32, header.previousChain, true);
  view.setBigUint64(40, header.salt, true);
  view.setBigUint64(48, BigInt(`0x${identity.clusterId}`), true);
  view.setBigUint64(56, BigInt(`0x${identity.incarnation}`), true);
  view.setBigUint64(64, checksum64(encodeText(identity.nodeId)), true);
  writeU64(view, 72, header.lastIndex);
  view.setBigUint64(120, header.salt, true);
  view.setUint32(0, checksum32(bytes.subarray(4)), true);
  assert(view.byteLength === SEGMENT_HEADER_SIZE, "the header has its size");
  return bytes;
}

/** Reads a header from untrusted bytes: its fields, or the reason why it does not belong here. */
export function decodeSegmentHeader(
  bytes: Uint8Array,
  identity: LogIdentity | undefined,
): SegmentHeader | SegmentRefusal {
  if (bytes.byteLength < SEGMENT_HEADER_SIZE) {
    return { refusal: "the header is cut off", isWhole: false, salts: [] };
  }
  const view = viewOf(bytes);
  const salt = view.getBigUint64(40, true);
  const salts = [salt, view.getBigUint64(120, true)];
  const isWhole =
    view.getUint32(4, true) === SEGMENT_MAGIC &&
    view.getUint32(0, true) === checksum32(bytes.subarray(4, SEGMENT_HEADER_SIZE));
  if (!isWhole) return { refusal: "the header's checksum does not match", isWhole, salts };
  const format = view.getUint16(8, true);
  if (format !== DISK_FORMAT_VERSION) {
    return { refusal: `disk format ${format} is unknown`, isWhole, salts };
  }
  if (identity !== undefined) {
    const isOwn =
      view.getBigUint64(48, true) === BigInt(`0x${identity.clusterId}`) &&
      view.getBigUint64(56, true) === BigInt(`0x${identity.incarnation}`) &&
      view.getBigUint64(64, true) === checksum64(encodeText(identity.nodeId));
    if (!isOwn)
      return { refusal: "it belongs to another cluster, node or data directory", isWhole, salts };
  }
  const segmentNumber = readU64(view, 16);
  const firstRecord = readU64(view, 24);
  const lastIndex = readU64(view, 72);
  // A writer puts safe integers there; the sum of one that is none is NaN.
  if (Number.isNaN(segmentNumber + firstRecord + lastIndex)) {
    return { refusal: "a number in the header is out of range", isWhole, salts };
  }
  const previousChain = view.getBigUint64(32, true);
  return { segmentNumber, firstRecord, previousChain, salt, lastIndex };
}

/** Fills `file` with zeros up to `size`, in steps between which other work gets its turn. */
export async function fillWithZeros(
  file: OpenFile,
  size: number,
  pause: () => Promise<void>,
): Promise<void> {
  const zeros = new Uint8Array(Math.min(size, ZEROS_SIZE));
  assert(zeros.byteLength <= size, "no step is longer than the file");
  for (let at = 0; at < size; at += zeros.byteLength) {
    file.write(at, zeros.subarray(0, Math.min(zeros.byteLength, size - at)));
    // Several small syncs: one large sync at the end would keep the log's own syncs waiting.
    if ((at / zeros.byteLength) % SYNC_EVERY === SYNC_EVERY - 1) await file.sync();
    await pause();
  }
  assert(file.size() >= size, "the zeros reach the wanted size");
  await file.sync();
}

/** A segment that is written to. */
export class Segment {
  readonly header: SegmentHeader;
  readonly file: OpenFile;
  /** Bytes of the file as planned; a record longer than that makes the file longer. */
  readonly size: number;
  /** Byte of the next record: `SEGMENT_DATA_START <= end`, rising, a multiple of 64. */
  end = SEGMENT_DATA_START;

  constructor(file: OpenFile, header: SegmentHeader, size: number) {
    this.file = file;
    this.header = header;
    this.size = size;
  }

  /** Whether a record of that size still fits; the first one always does. */
  fits(size: number): boolean {
    assert(size >= RECORD_HEADER_SIZE, "a record has a header");
    assert(this.end >= SEGMENT_DATA_START, "records stand behind the segment's header");
    return this.end + size <= this.size || this.end === SEGMENT_DATA_START;
  }

  /** Writes whole records at the end. */
  append(bytes: Uint8Array): void {
    assert(bytes.byteLength >= RECORD_HEADER_SIZE, "at least one record is written");
    this.file.write(this.end, bytes);
    this.end += bytes.byteLength;
    assert(this.end % RECORD_HEADER_SIZE === SEGMENT_DATA_START % RECORD_HEADER_SIZE, "aligned");
  }
}

/** Opens a segment file for writing and puts its header in place. */
export function createSegment(
  files: FileSystem,
  path: string,
  segment: {
    readonly header: SegmentHeader;
    readonly identity: LogIdentity;
    readonly size: number;
  },
): Segment {
  const file = files.open(path, "write");
  const header = encodeSegmentHeader(segment.header, segment.identity);
  assert(header.byteLength <= SEGMENT_DATA_START, "the first record stands behind the header");
  file.write(0, header);
  return new Segment(file, segment.header, segment.size);
}

/** Removes file by file: a power cut that undid only an older removal would leave a hole. */
export async function removeSegmentsBefore(
  files: FileSystem,
  directory: string,
  oldest: number,
): Promise<void> {
  for (const name of files.list(directory)) {
    const number = segmentNumberOf(name.replace(/(\.\d+)?\.torn$/, ""));
    if (number === undefined || number >= oldest) continue;
    assert(number < oldest, "only files before the oldest kept one are removed");
    files.remove(`${directory}/${name}`);
    await files.syncDirectory(directory);
  }
}
