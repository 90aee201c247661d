/**
 * A walk through a segment goes on behind damage, and takes nothing for a record that is none.
 *
 * @module
 */

import { expect, test } from "bun:test";
import {
  type WalkEnd,
  type WalkRange,
  walkSegment,
} from "../../../src/storage/repair/segment_walk.ts";
import { recordSize, writeRecord } from "../../../src/storage/wal/segment_record.ts";
import { diskOf } from "../log_fixture.ts";

const SALT = 0x0102030405060708n;
const START = 512;

interface Written {
  readonly bytes: Uint8Array;
  /** Byte of each record, by number - 1. */
  readonly places: readonly number[];
  /** Chain value before each record, by number - 1; one more at the end. */
  readonly chains: readonly bigint[];
}

/** A segment with records of these body sizes, numbered from 1. */
function segmentOf(sizes: readonly number[], fileSize = 0): Written {
  const end = START + sizes.reduce((sum, size) => sum + recordSize(size), 0);
  const bytes = new Uint8Array(Math.max(fileSize, end));
  const places: number[] = [];
  const chains = [7n];
  let at = START;
  for (const [i, size] of sizes.entries()) {
    const body = new Uint8Array(size).fill(i + 1);
    const fields = {
      kind: "CHECKPOINT",
      number: i + 1,
      previousChain: chains[i]!,
      syncedThrough: i,
      commitIndex: 0,
    } as const;
    places.push(at);
    chains.push(writeRecord(bytes, at, { fields, body, salt: SALT }));
    at += recordSize(size);
  }
  return { bytes, places, chains };
}

function walk(
  bytes: Uint8Array,
  range: Partial<WalkRange> = {},
): { readonly steps: readonly string[]; readonly end: WalkEnd; readonly read: number } {
  const disk = diskOf(1);
  disk.writeFile("data/segment", bytes);
  const file = disk.files.open("data/segment", "read");
  const steps: string[] = [];
  let read = 0;
  const walking = walkSegment(file, { salt: SALT, first: { number: 1, chain: 7n }, ...range });
  for (let next = walking.next(); ; next = walking.next()) {
    if (next.done === true) return { steps, end: next.value, read };
    const step = next.value;
    if (step.kind === "read") read += step.size;
    else if (step.kind === "unreadable") steps.push(`- at ${step.at}: ${step.problem}`);
    else steps.push(`${step.kind} ${step.header.number} at ${step.at}`);
  }
}

test("a whole segment: every record, also ones longer than a piece, and the zeros behind", () => {
  const sizes = [10, 0, 300_000, 64, 600_000, 1];
  const { bytes, places, chains } = segmentOf(sizes, 2_000_000);
  const { steps, end, read } = walk(bytes);
  expect(steps).toEqual(places.map((at, i) => `record ${i + 1} at ${at}`));
  expect(end.next).toEqual({ number: 7, chain: chains.at(-1)! });
  expect(end.at).toBe(places.at(-1)! + 128);
  expect(end.syncedThrough).toBe(5);
  expect(read).toBeGreaterThanOrEqual(2_000_000 - START);
});

test("nothing is read behind the number at which the next segment begins", () => {
  const { bytes, places } = segmentOf([10, 20, 30], 2_000_000);
  const { steps, end, read } = walk(bytes, { endNumber: 3 });
  expect(steps).toEqual([`record 1 at ${places[0]}`, `record 2 at ${places[1]}`]);
  expect(end).toMatchObject({ at: places[2]!, problem: "", next: { number: 3 } });
  expect(read).toBeLessThanOrEqual(256 * 1024);
});

test("a bad body: the walk goes on with the next record, along the chain", () => {
  const { bytes, places } = segmentOf([10, 20, 30]);
  bytes[places[1]! + 64] = 99;
  expect(walk(bytes).steps).toEqual([
    `record 1 at ${places[0]}`,
    `bad body 2 at ${places[1]}`,
    `record 3 at ${places[2]}`,
  ]);
});

test("a bad header: the walk goes on at the next header", () => {
  const { bytes, places } = segmentOf([10, 300_000, 30]);
  bytes[places[1]! + 9] = 99;
  const { steps, end } = walk(bytes);
  expect(steps).toEqual([
    `record 1 at ${places[0]}`,
    `- at ${places[1]}: the record header's checksum does not match`,
    `record 3 at ${places[2]}`,
  ]);
  expect(end.next.number).toBe(4);
});

// A write that went to another place leaves a record that verifies by itself.
test("a record at the place of another one", () => {
  const { bytes, places } = segmentOf([10, 20, 30, 40]);
  const later = new Uint8Array(bytes);
  later.set(bytes.subarray(places[2]!, places[3]), places[1]!);
  expect(walk(later).steps).toEqual([
    `record 1 at ${places[0]}`,
    `- at ${places[1]}: record 3 stands at the place of 2`,
    `record 3 at ${places[1]}`,
    `- at ${places[2]}: record 3 stands at the place of 4`,
    `record 4 at ${places[3]}`,
  ]);

  const earlier = new Uint8Array(bytes);
  earlier.set(bytes.subarray(places[0]!, places[1]), places[2]!);
  expect(walk(earlier).steps).toEqual([
    `record 1 at ${places[0]}`,
    `record 2 at ${places[1]}`,
    `- at ${places[2]}: record 1 stands at the place of 3`,
    `record 4 at ${places[3]}`,
  ]);
});

test("a record of another history at the right place breaks the chain", () => {
  const { bytes, places } = segmentOf([10, 20, 30]);
  const fields = { number: 2, previousChain: 8n, syncedThrough: 0, commitIndex: 0 };
  const record = { fields: { kind: "CHECKPOINT", ...fields } as const, body: new Uint8Array(20) };
  bytes.fill(0, places[1], places[2]);
  writeRecord(bytes, places[1]!, { ...record, salt: SALT });
  expect(walk(bytes).steps).toEqual([
    `record 1 at ${places[0]}`,
    `- at ${places[1]}: the chain to the record before is broken`,
    `record 2 at ${places[1]}`,
    `- at ${places[2]}: the chain to the record before is broken`,
    `record 3 at ${places[2]}`,
  ]);
});

test("a file that is cut off in the middle of a record", () => {
  const { bytes, places, chains } = segmentOf([10, 200, 30]);
  const { steps, end } = walk(bytes.subarray(0, places[1]! + 100));
  expect(steps).toEqual([`record 1 at ${places[0]}`]);
  expect(end).toMatchObject({ at: places[1]!, problem: "the record is cut off" });
  expect(end.next).toEqual({ number: 2, chain: chains[1]! });
});

test("a segment whose header does not tell where it begins, and an empty one", () => {
  const { bytes, places } = segmentOf([10, 20]);
  expect(walk(bytes, { first: undefined }).steps).toEqual([
    `record 1 at ${places[0]}`,
    `record 2 at ${places[1]}`,
  ]);
  expect(walk(bytes, { salt: 1n }).steps).toEqual([]);
  expect(walk(new Uint8Array(START)).end).toEqual({
    ...{ at: START, next: { number: 1, chain: 7n }, syncedThrough: 0 },
    problem: "the record header's checksum does not match",
  });
  expect(walk(new Uint8Array(0)).end).toMatchObject({ at: START, next: { number: 1 } });
});
