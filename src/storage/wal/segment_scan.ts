/**
 * Reads a segment: its records in order, and where and why valid bytes end. Decides nothing.
 *
 * @module
 */

import { SEGMENT_DATA_START, type SegmentHeader } from "./segment.ts";
import {
  chainValue,
  RECORD_HEADER_SIZE,
  type RecordHeader,
  readRecordHeader,
  recordBodyMatches,
  recordSize,
} from "./segment_record.ts";

/** A record that verified, in its place. */
export interface ScannedRecord {
  readonly header: RecordHeader;
  /** Byte of the record's header in its file. */
  readonly at: number;
  readonly body: Uint8Array;
}

/** What a segment's bytes hold. */
export interface SegmentScan {
  readonly recordCount: number;
  /** Byte where the first record stands that did not verify. */
  readonly end: number;
  /** Why it did not. */
  readonly reason: string;
  /** Number and chain value that the next record would have. */
  readonly nextNumber: number;
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
    visit({ header, at, body });
    syncedThrough = Math.max(syncedThrough, header.syncedThrough);
    commitIndex = Math.max(commitIndex, header.commitIndex);
    chain = chainValue(bytes, at, salt);
    number += 1;
    at += recordSize(header.bodySize);
  }
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
  if (header.number !== place.number)
    return `record ${header.number} stands at the place of ${place.number}`;
  if (header.previousChain !== place.chain) return "the chain to the record before is broken";
  const end = at + RECORD_HEADER_SIZE + header.bodySize;
  if (end > bytes.byteLength) return "the record is cut off";
  const body = bytes.subarray(at + RECORD_HEADER_SIZE, end);
  if (!recordBodyMatches(body, header, place.salt))
    return "the record body's checksum does not match";
  return "";
}

/** A header behind the end proves what was synced before it only through its own watermark. */
export function syncedThroughFrom(bytes: Uint8Array, from: number, salt: bigint): number {
  let highest = 0;
  for (let at = from; at + RECORD_HEADER_SIZE <= bytes.byteLength; at += RECORD_HEADER_SIZE) {
    const header = readRecordHeader(bytes, at, salt);
    if (header !== undefined) highest = Math.max(highest, header.syncedThrough || 0);
  }
  return highest;
}
