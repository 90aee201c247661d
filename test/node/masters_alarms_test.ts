/**
 * Alarms from the events of a node's part in collections that every node writes.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { MastersAlarms } from "../../src/node/masters/masters_alarms.ts";
import type { AlarmKind } from "../../src/protocol/wire/status.ts";

function board() {
  const open = new Map<AlarmKind, string>();
  const alarms = new MastersAlarms({
    raise: (kind, detail) => void open.set(kind, detail),
    clear: (kind) => void open.delete(kind),
  });
  return { open, alarms };
}

test("an alarm stands as long as one of its causes does", () => {
  const { open, alarms } = board();
  alarms.event({ type: "CLOCK_SKEW", origin: "n1/a", aheadMs: 900 });
  alarms.event({ type: "CLOCK_SKEW", origin: "n2/b", aheadMs: 700 });
  expect(open.get("CLOCK_SKEW")).toContain("n1/a is 900 ms ahead");
  alarms.event({ type: "CLOCK_SKEW_ENDED", origin: "n1/a" });
  expect(open.get("CLOCK_SKEW")).toBe("the clock of n2/b is 700 ms ahead: its operations wait");
  alarms.event({ type: "CLOCK_SKEW_ENDED", origin: "n2/b" });
  expect(open.size).toBe(0);
  alarms.event({ type: "CLOCK_SKEW_ENDED", origin: "n2/b" });
});

test("a node's own clock and stamps are alarms of their own", () => {
  const { open, alarms } = board();
  alarms.event({ type: "OWN_CLOCK_BEHIND", byMs: 5000 });
  alarms.event({ type: "OWN_STAMPS_AHEAD", aheadMs: 60_000 });
  expect(open.get("CLOCK_SKEW")).toContain("5000 ms behind the others': set it");
  alarms.event({ type: "OWN_CLOCK_RIGHT" });
  expect(open.get("CLOCK_SKEW")).toContain("60000 ms ahead");
});

test("what waits, and what was given twice, is named", () => {
  const { open, alarms } = board();
  const [operation, missing] = [
    { origin: "n1/a", sequence: 5 },
    { origin: "n2/b", sequence: 3 },
  ];
  alarms.event({ type: "OPERATION_WAITS", operation, missing });
  expect(open.get("OPERATION_WAITS")).toContain("operation 5 of n1/a waits for 3 of n2/b");
  alarms.event({ type: "OPERATION_WAITS_ENDED", origin: "n1/a" });
  alarms.event({ type: "ORIGIN_FORKED", origin: "n1/a", sequence: 9 });
  expect([...open.keys()]).toEqual(["ORIGIN_FORKED"]);
});
