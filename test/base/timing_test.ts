/**
 * The table of waits: every number is a wait, and no backoff shrinks.
 *
 * @module
 */

import { expect, test } from "bun:test";
import {
  ATTEMPTS_MAX,
  BACKOFF_MS,
  CLIENT_DIAL_MS,
  POLL_INTERVAL_MS,
  RETRY_AFTER_MS,
} from "../../src/base/timing.ts";

test("waits and attempts are whole, and at least one", () => {
  const backoffs = Object.values(BACKOFF_MS).flatMap(({ first, max }) => [first, max]);
  const tables = [ATTEMPTS_MAX, POLL_INTERVAL_MS, RETRY_AFTER_MS];
  const all = [...tables.flatMap((table) => Object.values(table)), ...backoffs, ...CLIENT_DIAL_MS];
  expect(all.filter((value) => !Number.isInteger(value) || value < 1)).toEqual([]);
});

test("backoffs grow", () => {
  expect(Object.values(BACKOFF_MS).filter(({ first, max }) => first > max)).toEqual([]);
  expect([...CLIENT_DIAL_MS].sort((a, b) => a - b)).toEqual([...CLIENT_DIAL_MS]);
});
