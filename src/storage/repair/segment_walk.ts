/**
 * Reads a segment in pieces, and past damage: the records that verify, those that do not, and their
 * places. Decides nothing, and keeps no more in memory than a piece or one record.
 *
 * `segment_scan.ts` stops at the first bad record, because a start needs no more. The scrubber and
 * the repair need the records behind it, too.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
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

/** Bytes of one read, during which no other work runs: they may come from the disk. */
export const WALK_PIECE_SIZE = 64 * 1024;

/** A step of a walk; the steps come in order of their places. */
export type WalkStep =
  /** Bytes were read: other work may have its turn. */
  | { readonly kind: "read"; readonly size: number }
  /** A record that verifies. The body is valid until the next step. */
  | {
      readonly kind: "record";
      /** Byte of the header: `SEGMENT_DATA_START <= at`, rising over the records of a walk. */
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
  /** Bytes that are no record, up to the next one. */
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

/** The range of a walk. */
export interface WalkRange {
  readonly salt: bigint;
  /** Number and chain of the first record; undefined if the segment's header does not tell them. */
  readonly first: NextRecord | undefined;
  /** Number of the first record of the next segment, if known: `first.number <= endNumber`. */
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
      assert(found.at >= at, "the walk does not go back");
      yield { kind: "unreadable", at, problem };
      at = found.at;
      expected = undefined;
      continue;
    }
    const whole = reader.view(at, RECORD_HEADER_SIZE + header.bodySize);
    assert(whole.byteLength === RECORD_HEADER_SIZE + header.bodySize, "the record is whole");
    assert(header.number >= last.number, "record numbers do not go back");
    const body = whole.subarray(RECORD_HEADER_SIZE);
    const chain = chainValue(whole, 0, salt);
    if (recordBodyMatches(body, header, salt)) yield { kind: "record", at, header, body, chain };
    else {
      const why = "the record body's checksum does not match";
      yield { kind: "bad body", at, header, body, chain, problem: why };
    }
    syncedThrough = Math.max(syncedThrough, header.syncedThrough);
    at += recordSize(header.bodySize);
    assert(header.number < endNumber, "the next segment's records are not in this one");
    last = { number: header.number + 1, chain };
    expected = last;
    yield* reader.report();
  }
  assert(at >= SEGMENT_DATA_START, "the walk ends behind the segment's header");
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
  assert((expected?.number ?? place.least) === place.least, "the expected number is the least one");
  const number = expected?.number ?? header.number;
  if (header.number !== number || header.number < place.least) {
    return `record ${header.number} stands at the place of ${number}`;
  }
  if (expected !== undefined && header.previousChain !== expected.chain) {
    return "the chain to the record before is broken";
  }
  return RECORD_HEADER_SIZE + header.bodySize > place.room ? "the record is cut off" : "";
}

/** Finds the next place with a header that may follow; the bytes before it are lost. */
function* search(
  reader: PieceReader,
  place: { readonly from: number; readonly least: number; readonly salt: bigint },
): Generator<WalkStep, { at: number | undefined; syncedThrough: number }> {
  let syncedThrough = 0;
  for (let at = place.from; at + RECORD_HEADER_SIZE <= reader.size; at += RECORD_HEADER_SIZE) {
    const bytes = reader.view(at, RECORD_HEADER_SIZE);
    assert(bytes.byteLength === RECORD_HEADER_SIZE, "the place has room for a header");
    yield* reader.report();
    // Most bytes that are no record are zeros, and zero is no part of the magic.
    if (bytes[4] === 0) continue;
    const header = readRecordHeader(bytes, 0, place.salt);
    if (header === undefined) continue;
    syncedThrough = Math.max(syncedThrough, header.syncedThrough);
    const problem = headerProblem(header, {
      expected: undefined,
      least: place.least,
      room: reader.size - at,
    });
    if (problem !== "") continue;
    assert(header.number >= place.least, "record numbers do not go back");
    assert(at + RECORD_HEADER_SIZE + header.bodySize <= reader.size, "the record is whole");
    return { at, syncedThrough };
  }
  return { at: undefined, syncedThrough };
}

/** A window over a file that moves forward. */
class PieceReader {
  readonly size: number;
  readonly #file: OpenFile;
  #bytes = new Uint8Array(WALK_PIECE_SIZE);
  /** Byte of the file at which the window begins: `0 <= #start <= #end`. */
  #start = 0;
  /** Byte behind the window: `#end - #start <= size of #bytes`. */
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
    assert(at >= this.#start, "the range begins inside the window");
    assert(end - this.#start <= this.#bytes.byteLength, "the range ends inside the window");
    return this.#bytes.subarray(at - this.#start, Math.max(at, end) - this.#start);
  }

  /** Reports how many bytes were read since the last report. */
  *report(): Generator<WalkStep, void> {
    const size = this.#unreported;
    this.#unreported = 0;
    if (size > 0) yield { kind: "read", size };
  }

  #read(at: number, sizeMin: number): void {
    if (sizeMin > this.#bytes.byteLength) this.#bytes = new Uint8Array(sizeMin);
    this.#start = at;
    assert(sizeMin <= this.#bytes.byteLength, "the window has room for the wanted bytes");
    this.#end = at + this.#file.read(at, this.#bytes);
    assert(this.#end - at <= this.#bytes.byteLength, "a read does not leave its target");
    this.#unreported += this.#end - at;
  }
}
