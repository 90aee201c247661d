/**
 * How long refused requests wait, round by round.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { Backoff, NEAR } from "../../../src/client/connection/backoff.ts";
import type { Random } from "../../../src/platform/random.ts";

const SHORTEST: Random = { below: () => 0 };
const LONGEST: Random = { below: (bound) => bound };

const PLAIN = { isNear: false, namedMs: 0 };

/** Waits of so many rounds, each refused as soon as its wait is over. */
function waits(random: Random, rounds: number, refusal = PLAIN): number[] {
  const backoff = new Backoff(random);
  let nowMs = 1000;
  return Array.from({ length: rounds }, () => {
    const endMs = backoff.endMs(nowMs, refusal);
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
    expect(waits(LONGEST, 5, NEAR)).toEqual([1, 1, 10, 20, 40]);
  });

  test("a leader that is named ends a long wait, and what waits on goes on waiting", () => {
    const backoff = new Backoff(LONGEST);
    for (const nowMs of [0, 100, 200]) backoff.endMs(nowMs, PLAIN);
    expect(backoff.endMs(1000, PLAIN)).toBe(1080);
    expect(backoff.endMs(1010, NEAR)).toBe(1011);
    expect(backoff.endMs(1010.5, NEAR)).toBe(1011);
    expect(backoff.endMs(1012, PLAIN)).toBe(1080);
  });

  test("everything that is refused in a round waits for the same moment", () => {
    const backoff = new Backoff(LONGEST);
    expect(backoff.endMs(1000, PLAIN)).toBe(1010);
    expect(backoff.endMs(1001, PLAIN)).toBe(1010);
    expect(backoff.endMs(1010, PLAIN)).toBe(1030);
  });

  test("a wait that the node named is kept, and clients do not come back in step", () => {
    expect(waits(SHORTEST, 2, { isNear: false, namedMs: 200 })).toEqual([200, 200]);
    expect(waits(LONGEST, 2, { isNear: false, namedMs: 200 })).toEqual([300, 300]);
    expect(waits(LONGEST, 2, { isNear: false, namedMs: 1 })).toEqual([10, 20]);
  });

  test("an answer begins anew, also what waits already", () => {
    const backoff = new Backoff(LONGEST);
    for (const nowMs of [0, 100, 200, 300]) backoff.endMs(nowMs, PLAIN);
    for (const nowMs of [400, 500]) backoff.endMs(nowMs, NEAR);
    backoff.reset();
    expect(backoff.endMs(301, PLAIN)).toBe(311);
    expect(backoff.endMs(600, NEAR)).toBe(601);
  });
});
