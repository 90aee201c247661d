/**
 * Alarms of a node: one of each kind, since it was first raised, with its newest detail.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { Alarms } from "../../../src/node/recovery/alarms.ts";
import type { Clock } from "../../../src/platform/clock.ts";

test("an alarm stands from its first raise until it is cleared", () => {
  let wallMs = 1000.7;
  const alarms = new Alarms({ wallMs: () => wallMs } as Clock);
  expect(alarms.list()).toEqual([]);
  alarms.raise("CORRUPT", "one");
  wallMs = 2000;
  alarms.raise("CORRUPT", "two");
  alarms.raise("DISK_STALL", "slow");
  expect(alarms.list()).toEqual([
    { kind: "CORRUPT", sinceMs: 1000, detail: "two" },
    { kind: "DISK_STALL", sinceMs: 2000, detail: "slow" },
  ]);
  alarms.clear("CORRUPT");
  alarms.clear("CORRUPT");
  expect(alarms.list().map(({ kind }) => kind)).toEqual(["DISK_STALL"]);
});
