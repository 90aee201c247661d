/**
 * Opens the files of a log: reads the segments, lets `recovery_verdict.ts` judge them, sets an
 * unsynced tail aside, and gives every verified record to its visitor.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteWriter, readU64, viewOf } from "../../base/bytes.ts";
import { CorruptionError } from "../../base/errors.ts";
import type { FileSystem, OpenFile } from "../../platform/file_system.ts";
import { checksum64 } from "../../protocol/encoding/checksum.ts";
import { parentOf, writeFileDurably } from "../data_directory.ts";
import type { LogIdentity } from "../identity.ts";
import {
  type FoundSegment,
  judgeSegments,
  type NextRecord,
  type RecoveryVerdict,
  segmentProblem,
} from "./recovery_verdict.ts";
import {
  decodeSegmentHeader,
  SEGMENT_DATA_START,
  segmentName,
  segmentNumberOf,
} from "./segment.ts";
import { type ScannedRecord, scanSegment, syncedThroughFrom } from "./segment_scan.ts";

const MARK_NAME = "mark";
const MARK_SLOT_SIZE = 512;
/** Bytes of a slot that are in use: record number, checksum. */
const MARK_ENTRY_SIZE = 16;
/** Bytes of zeros behind the last record that are not worth writing a segment again. */
const ZEROS_KEPT_MAX = 1024 * 1024;
const MARK_SIZE = 2 * MARK_SLOT_SIZE;

/** Suffix of a log's directory: the log that a repair puts in its place. */
export const REPAIRED_SUFFIX = ".repaired";

/** A record and the segment that holds it. */
export interface RecoveredRecord extends ScannedRecord {
  readonly segmentNumber: number;
  readonly path: string;
}

/** The result of opening a log's files. */
export interface OpenedFiles {
  readonly verdict: RecoveryVerdict;
  /** Bytes that were set aside: `0 <= tornBytes`. */
  readonly tornBytes: number;
}

/** Reads and judges the segments in a directory. Throws CorruptionError; changes nothing. */
export function inspectSegments(
  files: FileSystem,
  log: { readonly directory: string; readonly identity: LogIdentity | undefined },
  visit: (record: RecoveredRecord) => void,
): RecoveryVerdict {
  // First: a node that runs goes on writing, and what it marks as synced stands in the files then.
  const mark = readMark(files, log.directory);
  const found: FoundSegment[] = [];
  let next: NextRecord = { number: 1, chain: 0n };
  let isWhole = true;
  for (const name of files.list(log.directory)) {
    const segmentNumber = segmentNumberOf(name);
    if (segmentNumber === undefined) continue;
    const path = `${log.directory}/${name}`;
    const bytes = readWhole(files, path);
    const header = decodeSegmentHeader(bytes, log.identity);
    const hasContent = lastNonZero(bytes.subarray(SEGMENT_DATA_START)) >= 0;
    const place = { path, segmentNumber, header, hasContent };
    if ("refusal" in header) {
      const marks = header.salts.map((salt) => syncedThroughFrom(bytes, SEGMENT_DATA_START, salt));
      const syncedThrough = Math.max(0, ...marks);
      found.push({ ...place, scan: undefined, syncedThrough });
      isWhole = false;
      continue;
    }
    const unread = { ...place, scan: undefined, syncedThrough: 0 };
    // The verdict keeps the segments up to the first problem: only their records are visited.
    isWhole &&= segmentProblem(unread, found.at(-1), next) === "";
    const scan = scanSegment(bytes, header, (record) => {
      if (isWhole) visit({ ...record, segmentNumber, path });
    });
    assert(scan.nextNumber >= header.firstRecord, "record numbers do not go back");
    assert(segmentNumber > (found.at(-1)?.segmentNumber ?? -1), "names are listed in order");
    next = { number: scan.nextNumber, chain: scan.nextChain };
    found.push({ ...place, scan, syncedThrough: scan.syncedThrough });
  }
  const verdict = judgeSegments(found, mark, log.directory);
  assert(verdict.watermark >= mark, "the mark counts");
  assert(verdict.kept.length + verdict.dropped.length === found.length, "no segment is left out");
  return verdict;
}

function readWhole(files: FileSystem, path: string): Uint8Array {
  const file = files.open(path, "read");
  const bytes = new Uint8Array(file.size());
  const size = file.read(0, bytes);
  file.close();
  assert(size <= bytes.byteLength, "a read does not leave its target");
  return bytes.subarray(0, size);
}

/** Takes the records of a log, and reports at the end which entries are missing. */
export interface RecordTaker {
  take(record: RecoveredRecord): void;
  problem(lastIndex: number): { text: string; record: RecoveredRecord | undefined } | undefined;
}

/** Opens the log for writing: after it the files hold the taken records and nothing else. */
export async function recoverSegments(
  files: FileSystem,
  log: { readonly directory: string; readonly identity: LogIdentity },
  taker: RecordTaker,
): Promise<OpenedFiles> {
  const repaired = `${log.directory}${REPAIRED_SUFFIX}`;
  if (files.exists(repaired) && !files.exists(log.directory)) {
    const problem = "Cannot open the log: a repair was broken off; run `cstore wal repair` again";
    throw new CorruptionError(problem, { file: repaired, byte: 0 });
  }
  files.makeDirectory(log.directory);
  await files.syncDirectory(parentOf(log.directory));
  const verdict = inspectSegments(files, log, (record) => taker.take(record));
  refuseMissing(verdict, taker);
  assert(verdict.watermark < verdict.nextNumber, "only unsynced records are set aside");
  let tornBytes = 0;
  for (const segment of verdict.dropped) {
    assert(segment.segmentNumber >= verdict.nextSegmentNumber, "it lies behind the kept ones");
    tornBytes += Math.max(0, (segment.scan?.end ?? SEGMENT_DATA_START) - SEGMENT_DATA_START);
    files.rename(segment.path, tornName(files, segment.path));
  }
  const last = verdict.kept.at(-1);
  if (last !== undefined) {
    assert(last.segmentNumber < verdict.nextSegmentNumber, "the next segment has another number");
    tornBytes += await setTailAside(files, { ...log, path: last.path }, verdict.tailStart);
  }
  const { watermark } = verdict;
  for (const segment of verdict.kept) {
    await saveKept(files, log.directory, { segment, watermark });
  }
  await files.syncDirectory(log.directory);
  return { verdict, tornBytes };
}

/** Refuses a log of which entries are missing that no other file holds. Throws CorruptionError. */
function refuseMissing(verdict: RecoveryVerdict, taker: RecordTaker): void {
  const oldest = verdict.kept[0];
  if (oldest === undefined || "refusal" in oldest.header) return;
  const problem = taker.problem(oldest.header.lastIndex);
  if (problem === undefined) return;
  const { path, at } = problem.record ?? { path: oldest.path, at: 0 };
  throw new CorruptionError(`Cannot open the log: ${problem.text}`, { file: path, byte: at });
}

/** A free name beside `path`: a copy of an earlier recovery is never overwritten. */
function tornName(files: FileSystem, path: string): string {
  let name = `${path}.torn`;
  for (let copy = 2; files.exists(name); copy += 1) name = `${path}.${copy}.torn`;
  assert(name.length > path.length, "the copy has another name than the segment");
  return name;
}

/**
 * Makes a kept segment durable. Records above the watermark may stand in the page cache only, and
 * votes and answers will rely on them. A sync alone does not help: after one that failed, the cache
 * shows pages as clean that the disk does not have. So the segment is written again, beside itself,
 * and renamed. A segment that is mostly zeros is written again, too: nothing is appended to it any
 * more, and every start would read the zeros.
 */
async function saveKept(
  files: FileSystem,
  directory: string,
  place: { readonly segment: FoundSegment; readonly watermark: number },
): Promise<void> {
  const { scan, path } = place.segment;
  if (scan === undefined) return;
  const isSynced = scan.recordCount > 0 && scan.nextNumber - 1 <= place.watermark;
  const whole = readWhole(files, path);
  if (isSynced && whole.byteLength < 2 * scan.end + ZEROS_KEPT_MAX) return;
  const name = path.slice(directory.length + 1);
  const bytes = whole.subarray(0, scan.end);
  assert(bytes.byteLength <= scan.end, "no byte behind the last record is kept");
  await writeFileDurably(files, { directory, name, bytes });
}

/**
 * Copies the bytes behind the last valid record to `.torn` and zeroes them, unless they are zero
 * already. Returns how many there are.
 */
async function setTailAside(
  files: FileSystem,
  segment: { readonly directory: string; readonly path: string },
  start: number,
): Promise<number> {
  const { path } = segment;
  assert(start >= SEGMENT_DATA_START, "a tail begins behind the segment's header");
  const file = files.open(path, "write");
  const tail = new Uint8Array(Math.max(0, file.size() - start));
  file.read(start, tail);
  const used = lastNonZero(tail) + 1;
  assert(used <= tail.byteLength, "the used bytes lie inside the tail");
  if (used > 0) {
    const copy = files.open(tornName(files, path), "write");
    copy.write(0, tail.subarray(0, used));
    await copy.sync();
    copy.close();
    await files.syncDirectory(segment.directory);
    file.write(start, new Uint8Array(used));
    await file.sync();
  }
  file.close();
  return used;
}

/** Place of the last byte that is not zero: `-1 <= place < size`. */
function lastNonZero(bytes: Uint8Array): number {
  let last = bytes.byteLength - 1;
  while (last >= 0 && bytes[last] === 0) last -= 1;
  assert(last < bytes.byteLength, "the place lies inside the bytes");
  return last;
}

/**
 * The durable watermark outside the log: two slots, written in turn after each sync and not synced
 * themselves. A slot holds a record number (8 bytes), then the xxh64 of those bytes, seed = slot.
 */
export class MarkFile {
  readonly #file: OpenFile;
  #slot = 0;
  /** The number written last: `#recordNumber <= last record`, rising. */
  #recordNumber = 0;
  /** Segment for which the slots were last synced. */
  #segmentNumber = 0;

  constructor(files: FileSystem, directory: string) {
    this.#file = files.open(`${directory}/${MARK_NAME}`, "write");
    // Its space is taken at once, so that a disk that fills up does not end the log here.
    const size = this.#file.size();
    if (size < MARK_SIZE) this.#file.write(size, new Uint8Array(MARK_SIZE - size));
    assert(this.#file.size() >= MARK_SIZE, "the file has room for both slots");
  }

  /** Notes that every record up to this one is durable. */
  write(recordNumber: number): void {
    assert(recordNumber >= this.#recordNumber, "the watermark does not go back");
    const number = new ByteWriter(8).u64(recordNumber).written();
    const mark = new ByteWriter(MARK_ENTRY_SIZE)
      .raw(number)
      .big64(checksum64(number, BigInt(this.#slot)));
    assert(mark.size === MARK_ENTRY_SIZE, "a slot's entry has its size");
    this.#file.write(this.#slot * MARK_SLOT_SIZE, mark.written());
    this.#slot = 1 - this.#slot;
    this.#recordNumber = recordNumber;
  }

  /**
   * Makes the slots durable once for each segment, beside everything else. So the mark shows after
   * a power cut, too, that a segment whose first sector is damaged was not an unsynced one.
   */
  syncFor(segmentNumber: number): Promise<void> | undefined {
    if (segmentNumber === this.#segmentNumber) return undefined;
    assert(segmentNumber > this.#segmentNumber, "segment numbers rise");
    this.#segmentNumber = segmentNumber;
    return this.#file.sync();
  }

  close(): void {
    this.#file.close();
  }
}

/** The higher of the valid slots; 0 without any. */
export function readMark(files: FileSystem, directory: string): number {
  const path = `${directory}/${MARK_NAME}`;
  if (!files.exists(path)) return 0;
  const bytes = readWhole(files, path);
  let mark = 0;
  for (let slot = 0; slot < 2; slot += 1) {
    const at = slot * MARK_SLOT_SIZE;
    if (at + MARK_ENTRY_SIZE > bytes.byteLength) continue;
    const view = viewOf(bytes.subarray(at, at + MARK_ENTRY_SIZE));
    const checksum = checksum64(bytes.subarray(at, at + 8), BigInt(slot));
    if (view.getBigUint64(8, true) === checksum) mark = Math.max(mark, readU64(view, 0) || 0);
  }
  return mark;
}

/** Path of a segment. */
export function segmentPath(directory: string, segmentNumber: number): string {
  return `${directory}/${segmentName(segmentNumber)}`;
}

/** The error for a verified record that does not fit the log: it was written like that. */
export function damagedRecord(record: RecoveredRecord, problem: string): CorruptionError {
  return new CorruptionError(`Cannot open the log: ${problem}`, {
    file: record.path,
    byte: record.at,
  });
}
