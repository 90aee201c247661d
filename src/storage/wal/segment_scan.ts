/**
 * Reads a segment: its records in order, and where and why valid bytes end. Decides nothing.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { SEGMENT_DATA_START, type SegmentHeader } from "./segment.ts";
import {
  chainValue,
  RECORD_HEADER_SIZE,
  type RecordHeader,
  readRecordHeader,
  recordBodyMatches,
  recordSize,
} from "./segment_record.ts";

/** A verified record and its place. */
export interface ScannedRecord {
  readonly header: RecordHeader;
  /** Byte of the record's header: `SEGMENT_DATA_START <= at`, `at + record <= size of the file`. */
  readonly at: number;
  readonly body: Uint8Array;
}

/** The content of a segment's bytes. */
export interface SegmentScan {
  readonly recordCount: number;
  /** Byte of the first record that did not verify: `SEGMENT_DATA_START <= end`. */
  readonly end: number;
  /** The reason why that record did not verify. */
  readonly reason: string;
  /** Number that the next record would have: `firstRecord + recordCount === nextNumber`. */
  readonly nextNumber: number;
  /** Chain value that the next record would name. */
  readonly nextChain: bigint;
  /** Largest `syncedThrough` of any header that verifies by itself, also behind the end. */
  readonly syncedThrough: number;
  /** Largest commit index of the valid records. */
  readonly commitIndex: number;
}

/** Scans the whole segment; `bytes` is the file. Valid records are shown to `visit`, in order. */
export function scanSegment(
  bytes: Uint8Array,
  segment: SegmentHeader,
  visit: (record: ScannedRecord) => void,
): SegmentScan {
  const { salt } = segment;
  let at = SEGMENT_DATA_START;
  let number = segment.firstRecord;
  let chain = segment.previousChain;
  let syncedThrough = 0;
  let commitIndex = 0;
  let reason = "";
  while (reason === "") {
    const header = readRecordHeader(bytes, at, salt);
    if (header === undefined) {
      reason = "the record header's checksum does not match";
      break;
    }
    reason = refusal(bytes, { header, at, number, chain, salt });
    if (reason !== "") break;
    const body = bytes.subarray(at + RECORD_HEADER_SIZE, at + RECORD_HEADER_SIZE + header.bodySize);
    assert(body.byteLength === header.bodySize, "a verified body is whole");
    visit({ header, at, body });
    syncedThrough = Math.max(syncedThrough, header.syncedThrough);
    commitIndex = Math.max(commitIndex, header.commitIndex);
    chain = chainValue(bytes, at, salt);
    number += 1;
    at += recordSize(header.bodySize);
    assert(number === header.number + 1, "records are numbered without a hole");
  }
  assert(at >= SEGMENT_DATA_START, "the scan ends behind the segment's header");
  assert(number >= segment.firstRecord, "numbers do not go back");
  syncedThrough = Math.max(syncedThrough, syncedThroughFrom(bytes, at, salt));
  return {
    recordCount: number - segment.firstRecord,
    end: at,
    reason,
    nextNumber: number,
    nextChain: chain,
    syncedThrough,
    commitIndex,
  };
}

function refusal(
  bytes: Uint8Array,
  place: {
    readonly header: RecordHeader;
    readonly at: number;
    readonly number: number;
    readonly chain: bigint;
    readonly salt: bigint;
  },
): string {
  const { header, at } = place;
  assert(at + RECORD_HEADER_SIZE <= bytes.byteLength, "the header was read inside the bytes");
  if (header.number !== place.number)
    return `record ${header.number} stands at the place of ${place.number}`;
  if (header.previousChain !== place.chain) return "the chain to the record before is broken";
  const end = at + RECORD_HEADER_SIZE + header.bodySize;
  if (end > bytes.byteLength) return "the record is cut off";
  const body = bytes.subarray(at + RECORD_HEADER_SIZE, end);
  assert(body.byteLength === header.bodySize, "the body is whole");
  if (!recordBodyMatches(body, header, place.salt))
    return "the record body's checksum does not match";
  return "";
}

/**
 * Largest `syncedThrough` of the headers from a byte on, 0 without any. A header behind the end of
 * the log proves by its own watermark alone which records before it were synced.
 */
export function syncedThroughFrom(bytes: Uint8Array, from: number, salt: bigint): number {
  assert(from >= SEGMENT_DATA_START, "records stand behind the segment's header");
  let highest = 0;
  for (let at = from; at + RECORD_HEADER_SIZE <= bytes.byteLength; at += RECORD_HEADER_SIZE) {
    const header = readRecordHeader(bytes, at, salt);
    if (header !== undefined) highest = Math.max(highest, header.syncedThrough);
  }
  return highest;
}
