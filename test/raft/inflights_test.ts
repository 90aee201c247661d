/**
 * The window of unacknowledged appends.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { Inflights } from "../../src/raft/inflights.ts";

/** A window of 3 messages and 100 bytes with these appends under way. */
function windowWith(
  ...appends: readonly (readonly [lastIndex: number, size: number])[]
): Inflights {
  const window = new Inflights(3, 100);
  for (const [lastIndex, size] of appends) window.add(lastIndex, size);
  return window;
}

// Both limits are reached exactly, not passed: the last append that fits may exceed the bytes.
test.each([
  { appends: [], isFull: false },
  { appends: [[1, 10]], isFull: false },
  {
    appends: [
      [1, 10],
      [2, 10],
    ],
    isFull: false,
  },
  {
    appends: [
      [1, 10],
      [2, 10],
      [3, 10],
    ],
    isFull: true,
  },
  { appends: [[1, 99]], isFull: false },
  { appends: [[1, 100]], isFull: true },
  {
    appends: [
      [1, 99],
      [2, 1],
    ],
    isFull: true,
  },
  {
    appends: [
      [1, 99],
      [2, 900],
    ],
    isFull: true,
  },
  {
    appends: [
      [1, 0],
      [2, 0],
    ],
    isFull: false,
  },
] as const)("window: $appends is full: $isFull", ({ appends, isFull }) => {
  const window = windowWith(...appends);
  expect({ count: window.count, isFull: window.isFull }).toEqual({ count: appends.length, isFull });
});

test.each([
  { through: 4, count: 3 },
  { through: 5, count: 2 },
  { through: 6, count: 2 },
  { through: 7, count: 1 },
  { through: 8, count: 1 },
  { through: 9, count: 0 },
  { through: 10, count: 0 },
])(
  "free through $through: of appends up to 5, 7 and 9 there are $count left",
  ({ through, count }) => {
    const window = windowWith([5, 10], [7, 10], [9, 10]);
    window.freeThrough(through);
    expect(window.count).toBe(count);
  },
);

// The bytes that are freed are those of the appends that were freed, each once.
test("free through: the bytes of the freed appends make room, and no others", () => {
  const window = windowWith([5, 20], [7, 30], [9, 49]);
  window.freeThrough(7);
  window.add(10, 50);
  expect({ count: window.count, isFull: window.isFull }).toEqual({ count: 2, isFull: false });
  window.add(11, 1);
  expect(window.isFull).toBe(true);
  window.freeThrough(9);
  window.add(12, 49);
  expect({ count: window.count, isFull: window.isFull }).toEqual({ count: 3, isFull: true });
});

test("free first: the oldest append goes, and an empty window stays empty", () => {
  const window = windowWith([5, 10], [7, 90]);
  window.freeFirst();
  expect({ count: window.count, isFull: window.isFull }).toEqual({ count: 1, isFull: false });
  window.freeFirst();
  window.freeFirst();
  expect(window.count).toBe(0);
});

test("clear: nothing is under way, and the whole window is free", () => {
  const window = windowWith([5, 99]);
  window.clear();
  window.add(1, 99);
  expect({ count: window.count, isFull: window.isFull }).toEqual({ count: 1, isFull: false });
});

test("add: a full window and an append that does not move on are bugs", () => {
  expect(() => windowWith([1, 100], [2, 1])).toThrow("the window has room");
  expect(() => windowWith([3, 1], [3, 1])).toThrow("appends move on");
});
