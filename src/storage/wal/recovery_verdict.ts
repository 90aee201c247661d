/**
 * From scans to a verdict: the log is whole, or ends in a tail that was never synced, or is
 * damaged. Pure.
 *
 * A bad record alone says nothing: a power cut leaves any mixture of unsynced records. The
 * watermark W decides, the highest record number that is known to have been synced: from the
 * `syncedThrough` of every header that verifies by itself, and from the mark file. A bad record at
 * or below W is damage, and the node refuses. Above W it is unsynced tail, whatever it looks like
 * and whatever follows it.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { CorruptionError } from "../../base/errors.ts";
import { SEGMENT_DATA_START, type SegmentHeader, type SegmentRefusal } from "./segment.ts";
import type { SegmentScan } from "./segment_scan.ts";

/** One segment file as it was found. */
export interface FoundSegment {
  readonly path: string;
  /** The number in the file's name; `segmentNumber < that of the next file`. */
  readonly segmentNumber: number;
  readonly header: SegmentHeader | SegmentRefusal;
  /** Absent when the header was refused. */
  readonly scan: SegmentScan | undefined;
  /** Largest `syncedThrough` of any record header that verifies by itself. */
  readonly syncedThrough: number;
  /** Whether the bytes behind the header are anything but zeros. */
  readonly hasContent: boolean;
}

/** The record with which a segment must begin to follow the one before it. */
export interface NextRecord {
  /** `number of the last record < number`. */
  readonly number: number;
  readonly chain: bigint;
}

/** The part of a log that a start keeps. */
export interface RecoveryVerdict {
  /** Segments with valid records, in order; the last one may end in a tail. */
  readonly kept: readonly FoundSegment[];
  /**
   * Byte in the last kept segment from which the tail is set aside and zeroed: `SEGMENT_DATA_START
   * <= tailStart`; 0 when no segment is kept.
   */
  readonly tailStart: number;
  /** Segments behind it, set aside whole. */
  readonly dropped: readonly FoundSegment[];
  /** Number of the next record: `watermark < nextNumber`. */
  readonly nextNumber: number;
  readonly nextChain: bigint;
  /** `number of the last kept segment < nextSegmentNumber`. */
  readonly nextSegmentNumber: number;
  /** Highest record that is known to have been synced: `watermark < nextNumber`. */
  readonly watermark: number;
  /** Highest commit index of the kept records. */
  readonly commitIndex: number;
}

/** Judges the segments of one log, in order of name. Throws {@link CorruptionError}. */
export function judgeSegments(
  found: readonly FoundSegment[],
  mark: number,
  directory = "",
): RecoveryVerdict {
  const watermark = found.reduce((w, { syncedThrough }) => Math.max(w, syncedThrough), mark);
  assert(watermark >= mark, "the mark counts");
  const kept: FoundSegment[] = [];
  let next = { number: found[0] === undefined ? 1 : firstRecordOf(found[0]), chain: 0n };
  let tailStart = 0;
  let commitIndex = 0;
  for (const segment of found) {
    const problem = segmentProblem(segment, kept.at(-1), next);
    if (problem !== "") {
      if (wasSynced(segment, found)) throw damaged(segment.path, 0, problem);
      // Records are missing at the end of the segment before: the error names that one.
      const isBehind = "firstRecord" in segment.header && segment.header.firstRecord > next.number;
      if (next.number <= watermark && !isBehind) throw damaged(segment.path, 0, problem);
      break;
    }
    const { scan } = segment;
    if (scan === undefined) break;
    assert(segment.segmentNumber > (kept.at(-1)?.segmentNumber ?? -1), "segments come in order");
    assert(scan.nextNumber >= next.number, "record numbers do not go back");
    assert(scan.end >= SEGMENT_DATA_START, "records stand behind the segment's header");
    kept.push(segment);
    next = { number: scan.nextNumber, chain: scan.nextChain };
    tailStart = scan.end;
    commitIndex = Math.max(commitIndex, scan.commitIndex);
  }
  if (next.number <= watermark) {
    const last = kept.at(-1);
    const reason = last?.scan?.reason ?? "the segment is missing";
    const problem = `${reason}, but record ${next.number} was synced`;
    throw damaged(last?.path ?? directory, tailStart, problem);
  }
  assert(watermark < next.number, "every synced record is kept");
  assert(kept.length <= found.length, "no segment is kept that was not found");
  assert(kept.at(-1) === found[kept.length - 1], "the kept segments are the first ones");
  return {
    kept,
    tailStart,
    dropped: found.slice(kept.length),
    nextNumber: next.number,
    nextChain: next.chain,
    // Dropped files get another name, so that the numbers stay dense.
    nextSegmentNumber: (kept.at(-1)?.segmentNumber ?? 0) + 1,
    watermark,
    commitIndex,
  };
}

/** Number of a segment's first record; 1 when its header does not tell. */
function firstRecordOf(segment: FoundSegment): number {
  return "refusal" in segment.header ? 1 : segment.header.firstRecord;
}

/**
 * Whether a segment with a problem cannot be an unsynced one, whatever the watermark says: its
 * header is whole but not ours, or it is the oldest file. The oldest file was synced before
 * anything was written behind its header.
 */
function wasSynced(segment: FoundSegment, found: readonly FoundSegment[]): boolean {
  const { header } = segment;
  if (!("refusal" in header)) return header.segmentNumber !== segment.segmentNumber;
  if (header.isWhole) return true;
  assert(segment.segmentNumber >= (found[0]?.segmentNumber ?? 0), "the first file is the oldest");
  const isOldest = segment === found[0];
  return isOldest && (found.length > 1 || segment.segmentNumber > 1 || segment.hasContent);
}

/** The reason why a segment does not follow the one before it; empty when it follows. */
export function segmentProblem(
  segment: FoundSegment,
  previous: FoundSegment | undefined,
  next: NextRecord,
): string {
  const { header } = segment;
  if ("refusal" in header) return header.refusal;
  if (header.segmentNumber !== segment.segmentNumber) return "the file's name and number differ";
  if (previous === undefined) return "";
  assert(segment.segmentNumber > previous.segmentNumber, "segments come in order of their names");
  if (segment.segmentNumber !== previous.segmentNumber + 1) {
    return `segment ${previous.segmentNumber + 1} is missing before it`;
  }
  if (header.firstRecord !== next.number || header.previousChain !== next.chain) {
    return `it does not follow record ${next.number - 1} of the segment before it`;
  }
  return "";
}

function damaged(file: string, byte: number, problem: string): CorruptionError {
  return new CorruptionError(`Cannot open the log: ${problem}`, { file, byte });
}
