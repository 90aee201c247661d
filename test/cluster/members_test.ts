/**
 * Health of a link: its silence decides, and a broken connection counts sooner.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { healthOf } from "../../src/cluster/members.ts";

test.each([
  [true, 0, "healthy"],
  [true, 500, "healthy"],
  [true, 501, "suspect"],
  [true, 2000, "suspect"],
  [true, 2001, "down"],
  [false, 0, "suspect"],
  [false, 500, "suspect"],
  [false, 501, "down"],
  [false, 2001, "down"],
] as const)("up %p, silent for %d ms: %s", (isUp, silenceMs, state) => {
  expect(healthOf({ isUp, silenceMs })).toBe(state);
});
