/**
 * A leader's lease: four fifths of an election timeout from when the confirmed round was sent.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { Lease } from "../../../src/replication/raft/lease.ts";

const TIMEOUT_MS = 1000;

test("it holds for four fifths of the timeout after the round was sent, and not longer", () => {
  const lease = new Lease(TIMEOUT_MS);
  lease.sent(1, 5000);
  expect([5000, 5799, 5800].map((nowMs) => lease.holds(1, nowMs))).toEqual([true, true, false]);
});

test("no round, or one that was never sent, gives none", () => {
  const lease = new Lease(TIMEOUT_MS);
  expect(lease.holds(0, 0)).toBe(false);
  expect(lease.holds(1, 0)).toBe(false);
  lease.sent(2, 5000);
  expect(lease.holds(1, 5000)).toBe(false);
});

test("the newest confirmed round counts, and a round counts from its first message", () => {
  const lease = new Lease(TIMEOUT_MS);
  lease.sent(1, 5000);
  lease.sent(2, 5500);
  lease.sent(2, 5600);
  expect(lease.holds(1, 5900)).toBe(false);
  expect(lease.holds(2, 6299)).toBe(true);
  expect(lease.holds(2, 6300)).toBe(false);
});

test("another term forgets what was sent before", () => {
  const lease = new Lease(TIMEOUT_MS);
  lease.sent(1, 5000);
  lease.forget();
  expect(lease.holds(1, 5000)).toBe(false);
});
