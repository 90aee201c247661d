/**
 * How long refused requests wait, round by round.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { Backoff } from "../../src/client/backoff.ts";
import type { Random } from "../../src/platform/random.ts";

const SHORTEST: Random = { below: () => 0 };
const LONGEST: Random = { below: (bound) => bound };

/** Waits of so many rounds, each refused as soon as its wait is over. */
function waits(random: Random, rounds: number, isLeaderNear = false): number[] {
  const backoff = new Backoff(random);
  let nowMs = 1000;
  return Array.from({ length: rounds }, () => {
    const endMs = backoff.endMs(nowMs, isLeaderNear);
    const waitMs = endMs - nowMs;
    nowMs = endMs;
    return waitMs;
  });
}

describe("waits", () => {
  test("double up to a bound, and never come closer to each other than half of it", () => {
    expect(waits(LONGEST, 6)).toEqual([10, 20, 40, 80, 100, 100]);
    expect(waits(SHORTEST, 6)).toEqual([5, 10, 20, 40, 50, 50]);
    expect(waits(LONGEST, 2000).at(-1)).toBe(100);
  });

  test("a leader that is named and connected is asked at once, but not for ever", () => {
    expect(waits(LONGEST, 4, true)).toEqual([1, 1, 40, 80]);
  });

  test("everything that is refused in a round waits for the same moment", () => {
    const backoff = new Backoff(LONGEST);
    expect(backoff.endMs(1000, false)).toBe(1010);
    expect(backoff.endMs(1001, false)).toBe(1010);
    expect(backoff.endMs(1009.9, true)).toBe(1010);
    expect(backoff.endMs(1010, false)).toBe(1030);
  });

  test("an answer begins anew", () => {
    const backoff = new Backoff(LONGEST);
    for (const nowMs of [0, 100, 200, 300]) backoff.endMs(nowMs, false);
    backoff.reset();
    expect(backoff.endMs(1000, false)).toBe(1010);
  });
});
