/**
 * Verdicts over the segments that a start finds: whole, unsynced tail, or damage.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { CorruptionError } from "../../../src/base/errors.ts";
import {
  type FoundSegment,
  judgeSegments,
  segmentProblem,
} from "../../../src/storage/wal/recovery_verdict.ts";
import type { SegmentScan } from "../../../src/storage/wal/segment_scan.ts";

interface Shape {
  /** Number in the file's name; the header's unless `named` differs. */
  readonly is: number;
  readonly named?: number;
  /** First record, and how many are valid. */
  readonly first: number;
  readonly count: number;
  /** Largest `syncedThrough` that any of its records shows. */
  readonly synced?: number;
  readonly refused?: "rotten" | "foreign";
  readonly hasContent?: boolean;
  readonly chain?: bigint;
  readonly commit?: number;
}

/** The chain value after record n is n, so that segments fit by default. */
function segment(shape: Shape): FoundSegment {
  const { is, first, count, synced = 0, refused, hasContent = true, commit = 0 } = shape;
  const place = { path: `wal/${is}`, segmentNumber: is, hasContent, syncedThrough: synced };
  if (refused !== undefined) {
    const header = { refusal: refused, isWhole: refused === "foreign", salts: [] };
    return { ...place, header, scan: undefined };
  }
  const scan: SegmentScan = {
    recordCount: count,
    end: 512 + count * 64,
    reason: "the record header's checksum does not match",
    nextNumber: first + count,
    nextChain: BigInt(first + count - 1),
    syncedThrough: synced,
    commitIndex: commit,
  };
  const header = {
    segmentNumber: shape.named ?? is,
    firstRecord: first,
    previousChain: shape.chain ?? BigInt(first - 1),
    salt: 1n,
    lastIndex: 0,
  };
  return { ...place, header, scan };
}

const ONE: Shape = { is: 1, first: 1, count: 3, synced: 2 };
const TWO: Shape = { is: 2, first: 4, count: 3, synced: 5 };

describe("kept", () => {
  // [shapes, mark] gives [kept files, next record, next segment, tail's start]
  const rows: readonly [string, Shape[], number, number[]][] = [
    ["nothing at all", [], 0, [0, 1, 1, 0]],
    ["one segment", [ONE], 0, [1, 4, 2, 704]],
    ["one segment, all of it synced", [ONE], 3, [1, 4, 2, 704]],
    ["two segments", [ONE, TWO], 6, [2, 7, 3, 704]],
    ["a log whose head went", [{ ...TWO, is: 7 }], 6, [1, 7, 8, 704]],
    [
      "an empty segment between",
      [ONE, { is: 2, first: 4, count: 0 }, { ...TWO, is: 3 }],
      6,
      [3, 7, 4, 704],
    ],
    ["an empty new segment", [ONE, { is: 2, first: 4, count: 0 }], 3, [2, 4, 3, 512]],
    // Everything that follows was never synced, whatever it looks like.
    [
      "a tail in the first of two",
      [
        { ...ONE, count: 2 },
        { ...TWO, synced: 2 },
      ],
      2,
      [1, 3, 2, 640],
    ],
    ["a refused new segment", [ONE, { ...TWO, refused: "rotten", synced: 0 }], 3, [1, 4, 2, 704]],
    [
      "a missing segment before an unsynced one",
      [ONE, { ...TWO, is: 3, synced: 3 }],
      3,
      [1, 4, 2, 704],
    ],
    [
      "a segment of another chain, unsynced",
      [ONE, { ...TWO, chain: 9n, synced: 3 }],
      3,
      [1, 4, 2, 704],
    ],
    [
      "a first segment never written to",
      [{ is: 1, first: 1, count: 0, refused: "rotten", hasContent: false }],
      0,
      [0, 1, 1, 0],
    ],
  ];
  test.each(rows.map((row) => [row[0], row] as const))(
    "%s",
    (_name, [, shapes, mark, expected]) => {
      const found = shapes.map(segment);
      const verdict = judgeSegments(found, mark);
      const { kept, nextNumber, nextSegmentNumber, tailStart, dropped } = verdict;
      expect([kept.length, nextNumber, nextSegmentNumber, tailStart]).toEqual(expected);
      expect([...kept, ...dropped]).toEqual(found);
      expect(verdict.nextChain).toBe(BigInt(nextNumber - 1));
    },
  );
});

describe("refused", () => {
  // [ignore watermark] [ignore mark] [watermark off by one] [foreign segment dropped]
  const rows: readonly [string, Shape[], number, string, number][] = [
    ["the mark proves a missing record", [ONE], 4, "wal/1", 704],
    [
      "a later record of the same segment proves it",
      [{ ...ONE, count: 1, synced: 2 }],
      0,
      "wal/1",
      576,
    ],
    [
      "a later segment proves it",
      [
        { ...ONE, count: 2 },
        { ...TWO, synced: 3 },
      ],
      0,
      "wal/1",
      640,
    ],
    [
      "a refused segment's records prove it",
      [ONE, { ...TWO, refused: "rotten", synced: 4 }],
      0,
      "wal/2",
      0,
    ],
    ["a segment is missing before a synced one", [ONE, { ...TWO, is: 3 }], 0, "wal/3", 0],
    ["the mark proves a missing last segment", [ONE], 6, "wal/1", 704],
    ["all segments are missing", [], 3, "the folder", 0],
    ["a synced segment has another chain", [ONE, { ...TWO, chain: 9n }], 4, "wal/2", 0],
    [
      "another log's segment, whatever was synced",
      [{ ...ONE, refused: "foreign", synced: 0 }],
      0,
      "wal/1",
      0,
    ],
    [
      "another log's segment behind ours",
      [ONE, { ...TWO, refused: "foreign", synced: 0 }],
      0,
      "wal/2",
      0,
    ],
    ["the file has another segment's name", [{ ...ONE, named: 2, synced: 0 }], 0, "wal/1", 0],
    [
      "a later file has another segment's name",
      [
        { ...ONE, synced: 0 },
        { ...TWO, named: 9, synced: 0 },
      ],
      0,
      "wal/2",
      0,
    ],
    [
      "the first of two is rotten, and nothing stands in it",
      [
        { ...ONE, refused: "rotten", synced: 0, hasContent: false },
        { ...TWO, synced: 0 },
      ],
      0,
      "wal/1",
      0,
    ],
    [
      "a second segment without its head is rotten, and nothing stands in it",
      [{ ...TWO, refused: "rotten", synced: 0, hasContent: false }],
      0,
      "wal/2",
      0,
    ],
    [
      "the oldest of several is rotten",
      [
        { ...ONE, refused: "rotten", synced: 0 },
        { ...TWO, synced: 0 },
      ],
      0,
      "wal/1",
      0,
    ],
    [
      "the oldest was not the first of all and is rotten",
      [{ ...TWO, refused: "rotten", synced: 0 }],
      0,
      "wal/2",
      0,
    ],
    [
      "the first is rotten but holds something",
      [{ ...ONE, refused: "rotten", synced: 0 }],
      0,
      "wal/1",
      0,
    ],
  ];
  test.each(rows.map((row) => [row[0], row] as const))("%s", (_name, row) => {
    const [, shapes, mark, file, byte] = row;
    let refusal: unknown;
    try {
      judgeSegments(shapes.map(segment), mark, "the folder");
    } catch (cause) {
      refusal = cause;
    }
    expect(refusal).toBeInstanceOf(CorruptionError);
    expect(refusal).toMatchObject({ file, byte });
  });
});

test("a record at the watermark was synced, the one after it need not be", () => {
  const cut: Shape = { ...ONE, count: 2, synced: 0 };
  expect(judgeSegments([segment(cut)], 2).nextNumber).toBe(3);
  expect(() => judgeSegments([segment(cut)], 3)).toThrow(CorruptionError);
  expect(judgeSegments([segment({ ...cut, synced: 2 })], 0).watermark).toBe(2);
  expect(() => judgeSegments([segment({ ...cut, synced: 3 })], 0)).toThrow(CorruptionError);
});

test("an empty log has no commit index and no watermark", () => {
  expect(judgeSegments([], 0)).toEqual({
    ...{ kept: [], dropped: [], tailStart: 0, watermark: 0, commitIndex: 0 },
    ...{ nextNumber: 1, nextChain: 0n, nextSegmentNumber: 1 },
  });
});

describe("a segment's problem", () => {
  const next = { number: 4, chain: 3n };
  test.each<[string, Shape, Shape | undefined, string]>([
    ["none", TWO, ONE, ""],
    ["none for the first one", TWO, undefined, ""],
    ["its refusal", { ...TWO, refused: "rotten" }, ONE, "rotten"],
    ["its name", { ...TWO, named: 3 }, ONE, "the file's name and number differ"],
    ["a hole", { ...TWO, is: 4 }, ONE, "segment 2 is missing before it"],
    [
      "its first record",
      { ...TWO, first: 5 },
      ONE,
      "it does not follow record 3 of the segment before it",
    ],
    [
      "its chain",
      { ...TWO, chain: 9n },
      ONE,
      "it does not follow record 3 of the segment before it",
    ],
  ])("%s", (...row) => {
    const [, shape, previous, problem] = row;
    const before = previous === undefined ? undefined : segment(previous);
    expect(segmentProblem(segment(shape), before, next)).toBe(problem);
  });
});

test("the error says which record was synced, and why it cannot be read", () => {
  expect(() => judgeSegments([segment({ ...ONE, count: 2 })], 3)).toThrow(
    "Cannot open the log: the record header's checksum does not match, but record 3 was synced",
  );
  expect(() => judgeSegments([], 3, "wal")).toThrow(
    "Cannot open the log: the segment is missing, but record 1 was synced",
  );
});

test("the commit index comes from kept segments only", () => {
  const tail = { ...TWO, commit: 9, synced: 0 };
  const found = [segment({ ...ONE, count: 2, synced: 0, commit: 1 }), segment(tail)];
  expect(judgeSegments(found, 0).commitIndex).toBe(1);
});
