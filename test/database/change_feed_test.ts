/**
 * Which operations of the log had no effect, as ranges, up to a bound.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { IDLE_OPERATIONS_MAX, MADE_BYTES_MAX } from "../../src/base/limits.ts";
import { ChangeFeed } from "../../src/database/change_feed.ts";

function skipped(feed: ChangeFeed, last: number): number[] {
  return Array.from({ length: last }, (_, i) => i + 1).filter((n) => feed.isSkipped(n));
}

test("ranges that touch become one, and nothing else is skipped", () => {
  const feed = new ChangeFeed();
  feed.skip(3, 2);
  feed.skip(5, 1);
  feed.skip(8, 3);
  expect(skipped(feed, 12)).toEqual([3, 4, 5, 8, 9, 10]);
  expect(feed.start).toBe(1);
});

test("numbers only grow", () => {
  const feed = new ChangeFeed();
  feed.skip(3, 2);
  expect(() => feed.skip(4, 1)).toThrow("applied in order");
});

test("a state from elsewhere knows nothing of what is before it", () => {
  const feed = new ChangeFeed();
  feed.skip(3, 2);
  feed.restart(100);
  expect([feed.start, skipped(feed, 12)]).toEqual([100, []]);
  feed.skip(100, 1);
  expect(feed.isSkipped(100)).toBe(true);
});

test("above the bound the older half is forgotten, and the start says so", () => {
  const feed = new ChangeFeed();
  for (let i = 0; i <= IDLE_OPERATIONS_MAX; i += 1) feed.skip(1 + 2 * i, 1);
  const half = IDLE_OPERATIONS_MAX >> 1;
  expect(feed.start).toBe(1 + 2 * (half - 1) + 1);
  expect(feed.isSkipped(1 + 2 * (half - 1))).toBe(false);
  expect(feed.isSkipped(1 + 2 * half)).toBe(true);
  expect(feed.isSkipped(1 + 2 * IDLE_OPERATIONS_MAX)).toBe(true);
});

test("documents that updates made: the last ones, within a bound", () => {
  const feed = new ChangeFeed();
  const size = MADE_BYTES_MAX / 4;
  for (let sequence = 1; sequence <= 6; sequence += 1) {
    feed.keepMade(sequence, new Uint8Array(size).fill(sequence));
  }
  const kept = [1, 2, 3, 4, 5, 6].map((sequence) => feed.madeAt(sequence)?.[0]);
  expect(kept).toEqual([undefined, undefined, 3, 4, 5, 6]);
  feed.keepMade(7, new Uint8Array(MADE_BYTES_MAX + 1));
  expect([feed.madeAt(6), feed.madeAt(7)]).toEqual([undefined, undefined]);
  feed.keepMade(8, new Uint8Array(1));
  feed.restart(9);
  expect(feed.madeAt(8)).toBeUndefined();
});
