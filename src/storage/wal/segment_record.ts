/**
 * The record: the envelope in a segment around every batch and every note of this node. Records are
 * aligned to 64 bytes, so that a header never crosses a sector. Integers are unsigned,
 * little-endian. Header, 64 bytes:
 *
 * | offset | size | field          | meaning                                                   |
 * | -----: | ---: | -------------- | --------------------------------------------------------- |
 * |      0 |    4 | headerChecksum | xxh32 of bytes 4..64, seed = low 32 bits of the salt      |
 * |      4 |    2 | magic          | 0x5243                                                    |
 * |      6 |    1 | kind           | one of `RECORD_KINDS`                                     |
 * |      7 |    1 | stream         | 0 Raft; 1 operations of collections that every node writes |
 * |      8 |    8 | number         | dense in file order over all segments, from 1             |
 * |     16 |    4 | bodySize       | bytes after the header, then zeros up to 64               |
 * |     20 |    4 | reserved       | 0                                                         |
 * |     24 |    8 | bodyChecksum   | xxh64 of the body, seed = salt                            |
 * |     32 |    8 | previousChain  | chain value of the record before this one                 |
 * |     40 |    8 | syncedThrough  | highest record number known to be on disk at this time    |
 * |     48 |    8 | commitIndex    | the node's commit index at this time                      |
 * |     56 |    8 | reserved       | 0                                                         |
 *
 * The chain value of a record is the xxh64 of its header, seed = salt: it covers the body through
 * `bodyChecksum` and everything before through `previousChain`. The salt is random per segment, so
 * bytes from an earlier use of the disk never verify.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { readU64, viewOf, writeU64 } from "../../base/bytes.ts";
import { checksum32, checksum64 } from "../../protocol/encoding/checksum.ts";

/** Bytes of the header, and the alignment of records. */
export const RECORD_HEADER_SIZE = 64;
const RECORD_MAGIC = 0x5243;
const MASK_32 = 0xffff_ffffn;
const OPERATIONS_STREAM = 1;

/**
 * The kinds of records; the number on disk is the position in this list. BATCH: one log entry; it
 * supersedes all earlier ones of its stream with the same or a higher index. HARD_STATE: term and
 * vote; the latest counts. HEAD: the log may begin after this entry. TAIL: entries from an index on
 * are gone (only on logs without consensus). CHECKPOINT: a note of this node. OPERATIONS:
 * operations of collections that every node writes; nothing supersedes them.
 */
export const RECORD_KINDS = [
  ...(["NONE", "BATCH", "HARD_STATE", "HEAD", "TAIL", "CHECKPOINT", "OPERATIONS"] as const),
] as const;

/** One of {@link RECORD_KINDS}. */
export type RecordKind = Exclude<(typeof RECORD_KINDS)[number], "NONE">;

/** A header that verified by itself. */
export interface RecordHeader {
  readonly kind: RecordKind;
  readonly stream: number;
  /** `syncedThrough < number`, and one more than that of the record before. */
  readonly number: number;
  /** Bytes: `RECORD_HEADER_SIZE + bodySize <= size of the segment - place of the record`. */
  readonly bodySize: number;
  readonly bodyChecksum: bigint;
  readonly previousChain: bigint;
  /** `0 <= syncedThrough < number`. */
  readonly syncedThrough: number;
  /** `0 <= commitIndex`; it may lie behind the last entry of the log. */
  readonly commitIndex: number;
}

/** Fields of a record to write; the body's checksum is computed. */
export type NewRecord = Omit<RecordHeader, "bodySize" | "bodyChecksum" | "stream">;

/** Bytes that a record with such a body takes in a segment. */
export function recordSize(bodySize: number): number {
  const size = Math.ceil((RECORD_HEADER_SIZE + bodySize) / RECORD_HEADER_SIZE) * RECORD_HEADER_SIZE;
  assert(size >= RECORD_HEADER_SIZE + bodySize, "header and body fit into a record");
  assert(size - bodySize < 2 * RECORD_HEADER_SIZE, "the padding is shorter than a header");
  return size;
}

/**
 * Writes header, body and padding at `at` of `target` and returns the record's chain value. The
 * bytes after the body must be zero already.
 */
export function writeRecord(
  target: Uint8Array,
  at: number,
  record: { readonly fields: NewRecord; readonly body: Uint8Array; readonly salt: bigint },
): bigint {
  const { fields, body, salt } = record;
  const end = at + RECORD_HEADER_SIZE + body.byteLength;
  assert(end <= target.byteLength, "the record lies inside the target");
  assert(fields.syncedThrough < fields.number, "a record is not synced before it is written");
  const header = target.subarray(at, at + RECORD_HEADER_SIZE);
  const view = viewOf(header);
  view.setUint16(4, RECORD_MAGIC, true);
  view.setUint8(6, RECORD_KINDS.indexOf(fields.kind));
  view.setUint8(7, fields.kind === "OPERATIONS" ? OPERATIONS_STREAM : 0);
  writeU64(view, 8, fields.number);
  view.setUint32(16, body.byteLength, true);
  view.setUint32(20, 0, true);
  view.setBigUint64(24, checksum64(body, salt), true);
  view.setBigUint64(32, fields.previousChain, true);
  writeU64(view, 40, fields.syncedThrough);
  writeU64(view, 48, fields.commitIndex);
  view.setBigUint64(56, 0n, true);
  view.setUint32(0, checksum32(header.subarray(4), Number(salt & MASK_32)), true);
  target.set(body, at + RECORD_HEADER_SIZE);
  return checksum64(header, salt);
}

/** Reads the header at `at`; undefined when it does not verify by itself. */
export function readRecordHeader(
  bytes: Uint8Array,
  at: number,
  salt: bigint,
): RecordHeader | undefined {
  if (at + RECORD_HEADER_SIZE > bytes.byteLength) return undefined;
  // The magic comes first, and without a view: recovery looks at every place behind a log's end.
  if (bytes[at + 4] !== (RECORD_MAGIC & 0xff) || bytes[at + 5] !== RECORD_MAGIC >>> 8) {
    return undefined;
  }
  const header = bytes.subarray(at, at + RECORD_HEADER_SIZE);
  assert(header.byteLength === RECORD_HEADER_SIZE, "the header is whole");
  const view = viewOf(header);
  if (view.getUint32(0, true) !== checksum32(header.subarray(4), Number(salt & MASK_32))) {
    return undefined;
  }
  const kind = RECORD_KINDS[view.getUint8(6)];
  if (kind === undefined || kind === "NONE") return undefined;
  const number = readU64(view, 8);
  const syncedThrough = readU64(view, 40);
  const commitIndex = readU64(view, 48);
  // A writer puts safe integers there; the sum of one that is none is NaN.
  if (Number.isNaN(number + syncedThrough + commitIndex)) return undefined;
  return {
    kind,
    stream: view.getUint8(7),
    number,
    bodySize: view.getUint32(16, true),
    bodyChecksum: view.getBigUint64(24, true),
    previousChain: view.getBigUint64(32, true),
    syncedThrough,
    commitIndex,
  };
}

/** Chain value of the record whose header stands at `at`. */
export function chainValue(bytes: Uint8Array, at: number, salt: bigint): bigint {
  assert(at + RECORD_HEADER_SIZE <= bytes.byteLength, "a whole header stands there");
  return checksum64(bytes.subarray(at, at + RECORD_HEADER_SIZE), salt);
}

/** Whether the body is the one that the header was written for. */
export function recordBodyMatches(body: Uint8Array, header: RecordHeader, salt: bigint): boolean {
  assert(body.byteLength === header.bodySize, "the body is as long as its header says");
  return checksum64(body, salt) === header.bodyChecksum;
}
