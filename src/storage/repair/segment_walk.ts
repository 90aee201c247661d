/**
 * Reads a segment in pieces, and past damage: what verifies, what does not, and where. Decides
 * nothing, and keeps no more in memory than a piece or one record.
 *
 * `segment_scan.ts` stops at the first bad record, because a start needs no more. The scrubber and
 * the repair need to know what comes after it.
 *
 * @module
 */

import type { OpenFile } from "../../platform/file_system.ts";
import type { NextRecord } from "../wal/recovery_verdict.ts";
import { SEGMENT_DATA_START } from "../wal/segment.ts";
import {
  chainValue,
  RECORD_HEADER_SIZE,
  type RecordHeader,
  readRecordHeader,
  recordBodyMatches,
  recordSize,
} from "../wal/segment_record.ts";

/** Bytes that are read at once: nothing else runs meanwhile, and they may come from the disk. */
export const WALK_PIECE_SIZE = 64 * 1024;

/** What a walk meets, in order of place. */
export type WalkStep =
  /** Bytes were read: others may have a turn. */
  | { readonly kind: "read"; readonly size: number }
  /** A record that verifies. The body is valid until the next step. */
  | {
      readonly kind: "record";
      readonly at: number;
      readonly header: RecordHeader;
      readonly body: Uint8Array;
      /** Chain value of this record. */
      readonly chain: bigint;
    }
  /** A record whose header verifies and whose body does not. */
  | {
      readonly kind: "bad body";
      readonly at: number;
      readonly header: RecordHeader;
      readonly body: Uint8Array;
      readonly chain: bigint;
      readonly problem: string;
    }
  /** Bytes up to the next record that are none. */
  | { readonly kind: "unreadable"; readonly at: number; readonly problem: string };

/** How a walk ended. */
export interface WalkEnd {
  /** Byte behind the last record. */
  readonly at: number;
  /** Why no record stands there. */
  readonly problem: string;
  /** Number and chain value that the next record would have. */
  readonly next: NextRecord;
  /** Largest `syncedThrough` of any header that verifies by itself. */
  readonly syncedThrough: number;
}

/** Where a walk begins and ends. */
export interface WalkRange {
  readonly salt: bigint;
  /** What the first record must be; undefined if the segment's header does not tell. */
  readonly first: NextRecord | undefined;
  /** Number of the first record that stands in the next segment, if known. */
  readonly endNumber?: number;
}

/** Walks through the records of a segment. Throws StorageError when the disk does. */
export function* walkSegment(file: OpenFile, range: WalkRange): Generator<WalkStep, WalkEnd> {
  const { salt, endNumber = Number.POSITIVE_INFINITY } = range;
  const reader = new PieceReader(file);
  let at = SEGMENT_DATA_START;
  let expected = range.first;
  let last: NextRecord = range.first ?? { number: 1, chain: 0n };
  let problem = "";
  let syncedThrough = 0;
  while (last.number < endNumber) {
    const header = readRecordHeader(reader.view(at, RECORD_HEADER_SIZE), 0, salt);
    problem = headerProblem(header, { expected, least: last.number, room: reader.size - at });
    if (header === undefined || problem !== "") {
      const place = { from: at, least: last.number, salt };
      const found = yield* search(reader, place);
      syncedThrough = Math.max(syncedThrough, found.syncedThrough);
      if (found.at === undefined) break;
      yield { kind: "unreadable", at, problem };
      at = found.at;
      expected = undefined;
      continue;
    }
    const whole = reader.view(at, RECORD_HEADER_SIZE + header.bodySize);
    const body = whole.subarray(RECORD_HEADER_SIZE);
    const chain = chainValue(whole, 0, salt);
    if (recordBodyMatches(body, header, salt)) yield { kind: "record", at, header, body, chain };
    else {
      const why = "the record body's checksum does not match";
      yield { kind: "bad body", at, header, body, chain, problem: why };
    }
    syncedThrough = Math.max(syncedThrough, header.syncedThrough);
    at += recordSize(header.bodySize);
    last = { number: header.number + 1, chain };
    expected = last;
    yield* reader.report();
  }
  return { at, problem, next: last, syncedThrough };
}

function headerProblem(
  header: RecordHeader | undefined,
  place: {
    readonly expected: NextRecord | undefined;
    readonly least: number;
    readonly room: number;
  },
): string {
  if (header === undefined) return "the record header's checksum does not match";
  const { expected } = place;
  const number = expected?.number ?? header.number;
  if (header.number !== number || header.number < place.least) {
    return `record ${header.number} stands at the place of ${number}`;
  }
  if (expected !== undefined && header.previousChain !== expected.chain) {
    return "the chain to the record before is broken";
  }
  return RECORD_HEADER_SIZE + header.bodySize > place.room ? "the record is cut off" : "";
}

/** The next place with a header that may follow; what stood before it is lost. */
function* search(
  reader: PieceReader,
  place: { readonly from: number; readonly least: number; readonly salt: bigint },
): Generator<WalkStep, { at: number | undefined; syncedThrough: number }> {
  let syncedThrough = 0;
  for (let at = place.from; at + RECORD_HEADER_SIZE <= reader.size; at += RECORD_HEADER_SIZE) {
    const bytes = reader.view(at, RECORD_HEADER_SIZE);
    yield* reader.report();
    // Most of what is no record is zeros, and zero is no part of the magic.
    if (bytes[4] === 0) continue;
    const header = readRecordHeader(bytes, 0, place.salt);
    if (header === undefined) continue;
    syncedThrough = Math.max(syncedThrough, header.syncedThrough);
    const problem = headerProblem(header, {
      expected: undefined,
      least: place.least,
      room: reader.size - at,
    });
    if (problem === "") return { at, syncedThrough };
  }
  return { at: undefined, syncedThrough };
}

/** A window over a file that moves forward. */
class PieceReader {
  readonly size: number;
  readonly #file: OpenFile;
  #bytes = new Uint8Array(WALK_PIECE_SIZE);
  #start = 0;
  #end = 0;
  #unreported = 0;

  constructor(file: OpenFile) {
    this.#file = file;
    this.size = file.size();
  }

  /** Bytes from `at` on, fewer at the end of the file; valid until the next call. */
  view(at: number, size: number): Uint8Array {
    const end = Math.min(at + size, this.size);
    if (at < this.#start || end > this.#end) this.#read(at, Math.max(0, end - at));
    return this.#bytes.subarray(at - this.#start, Math.max(at, end) - this.#start);
  }

  /** Tells how much was read since the last time. */
  *report(): Generator<WalkStep, void> {
    const size = this.#unreported;
    this.#unreported = 0;
    if (size > 0) yield { kind: "read", size };
  }

  #read(at: number, sizeMin: number): void {
    if (sizeMin > this.#bytes.byteLength) this.#bytes = new Uint8Array(sizeMin);
    this.#start = at;
    this.#end = at + this.#file.read(at, this.#bytes);
    this.#unreported += this.#end - at;
  }
}
