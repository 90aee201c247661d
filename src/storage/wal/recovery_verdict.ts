/**
 * From scans to a verdict: the log is whole, or ends in a tail that was never synced, or is
 * damaged.
 * Pure.
 *
 * A bad record alone says nothing: a power cut leaves any mixture of unsynced records. What decides
 * is the watermark W, the highest record number that is known to have been synced: from the
 * `syncedThrough` of every header that verifies by itself, and from the mark file. A bad record
 * at or
 * below W is damage, and the node refuses; above W it is unsynced tail, whatever it looks like and
 * whatever follows it.
 *
 * @module
 */

import { CorruptionError } from "../../base/errors.ts";
import type { SegmentHeader, SegmentRefusal } from "./segment.ts";
import type { SegmentScan } from "./segment_scan.ts";

/** One segment file as it was found. */
export interface FoundSegment {
  readonly path: string;
  readonly segmentNumber: number;
  readonly header: SegmentHeader | SegmentRefusal;
  /** Absent when the header was refused. */
  readonly scan: SegmentScan | undefined;
  /** Largest `syncedThrough` of any record header that verifies by itself. */
  readonly syncedThrough: number;
  /** Whether anything but zeros stands where records would. */
  readonly hasContent: boolean;
}

/** Where a segment must begin to follow the one before it. */
export interface NextRecord {
  readonly number: number;
  readonly chain: bigint;
}

/** What to keep. */
export interface RecoveryVerdict {
  /** Segments with valid records, in order; the last one may end in a tail. */
  readonly kept: readonly FoundSegment[];
  /** Byte in the last kept segment from which the tail is set aside and zeroed. */
  readonly tailStart: number;
  /** Segments behind it, set aside whole. */
  readonly dropped: readonly FoundSegment[];
  readonly nextNumber: number;
  readonly nextChain: bigint;
  readonly nextSegmentNumber: number;
  readonly watermark: number;
  readonly commitIndex: number;
}

/** Judges the segments of one log, in order of name. Throws {@link CorruptionError}. */
export function judgeSegments(
  found: readonly FoundSegment[],
  mark: number,
  directory = "",
): RecoveryVerdict {
  const watermark = found.reduce((w, { syncedThrough }) => Math.max(w, syncedThrough), mark);
  const kept: FoundSegment[] = [];
  let next = { number: found[0] === undefined ? 1 : firstRecordOf(found[0]), chain: 0n };
  let tailStart = 0;
  let commitIndex = 0;
  for (const segment of found) {
    const problem = segmentProblem(segment, kept.at(-1), next);
    if (problem !== "") {
      if (wasSynced(segment, found)) throw damaged(segment.path, 0, problem);
      // Records are missing at the end of the segment before: that is the one to name.
      const isBehind = "firstRecord" in segment.header && segment.header.firstRecord > next.number;
      if (next.number <= watermark && !isBehind) throw damaged(segment.path, 0, problem);
      break;
    }
    const { scan } = segment;
    if (scan === undefined) break;
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

function firstRecordOf(segment: FoundSegment): number {
  return "refusal" in segment.header ? 1 : segment.header.firstRecord;
}

/**
 * Whether a segment with a problem cannot be an unsynced one, whatever the watermark says: its
 * header is whole but not ours, or it is the oldest file. That one was synced before anything was
 * written behind its header.
 */
function wasSynced(segment: FoundSegment, found: readonly FoundSegment[]): boolean {
  const { header } = segment;
  if (!("refusal" in header)) return header.segmentNumber !== segment.segmentNumber;
  if (header.isWhole) return true;
  const isOldest = segment === found[0];
  return isOldest && (found.length > 1 || segment.segmentNumber > 1 || segment.hasContent);
}

/** Why a segment does not follow the one before it; empty when it does. */
export function segmentProblem(
  segment: FoundSegment,
  previous: FoundSegment | undefined,
  next: NextRecord,
): string {
  const { header } = segment;
  if ("refusal" in header) return header.refusal;
  if (header.segmentNumber !== segment.segmentNumber) return "the file's name and number differ";
  if (previous === undefined) return "";
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
