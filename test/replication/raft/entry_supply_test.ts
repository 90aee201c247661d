/**
 * Entries from the disk for peers that are behind.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { RateLimit } from "../../../src/base/rate_limit.ts";
import type { Entry } from "../../../src/raft/types.ts";
import type { DriverParts } from "../../../src/replication/raft/driver_parts.ts";
import { EntrySupply } from "../../../src/replication/raft/entry_supply.ts";
import { FakeClock } from "../../transport/fake_socket.ts";

/** A log of the entries 5 to 9, read at 1,000 bytes a second. */
function setUp() {
  const clock = new FakeClock();
  const log = {
    firstIndex: () => 5,
    lastIndex: () => 9,
    readFromDisk: (from: number) => [{ index: from }] as unknown as Entry[],
  };
  const parts = { log, clock, catchUpRate: new RateLimit(1000) } as unknown as DriverParts;
  const supply = new EntrySupply(parts);
  const startMs = clock.nowMs();
  const given: string[] = [];
  const ask = (from: number, isVoter: boolean): void =>
    supply.give({ from, bytesMax: 500, isVoter }, (entries) => {
      given.push(`${clock.nowMs() - startMs} ms: ${entries.map(({ index }) => index)}`);
    });
  return { clock, given, ask };
}

test("a voter gets them at once, in another turn; a learner at the rate", () => {
  const { clock, given, ask } = setUp();
  for (let i = 0; i < 2; i += 1) ask(6, true);
  expect(given).toEqual([]);
  clock.advance(0);
  expect(given).toEqual(["0 ms: 6", "0 ms: 6"]);
  for (let i = 0; i < 3; i += 1) ask(7, false);
  clock.advance(2000);
  expect(given.slice(2)).toEqual(["0 ms: 7", "500 ms: 7", "1000 ms: 7"]);
});

test("none of those that are gone, or not there yet", () => {
  const { clock, given, ask } = setUp();
  for (const from of [4, 10]) ask(from, true);
  clock.advance(0);
  expect(given).toEqual(["0 ms: ", "0 ms: "]);
});
