/**
 * When a disk counts as hanging, and what its node does about it.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { DiskWatch } from "../../../src/replication/raft/disk_watch.ts";

const STALL_MS = 1000;
const HANDOVER_MS = 200;

describe("a sync that was issued at 5000", () => {
  test.each([
    [5000, false],
    [6000, false],
    [6001, true],
  ])("seen at %d: stalled %p", (nowMs, isStalled) => {
    const watch = new DiskWatch(STALL_MS, HANDOVER_MS);
    expect(watch.judge(nowMs, 5000)).toEqual({
      changedTo: isStalled ? true : undefined,
      leaderMust: isStalled ? "hand over" : "go on",
    });
    expect(watch.isStalled).toBe(isStalled);
  });

  test("a leader hands over for an election timeout, then steps down", () => {
    const watch = new DiskWatch(STALL_MS, HANDOVER_MS);
    const verdicts = [6500, 6700, 6701].map((nowMs) => watch.judge(nowMs, 5000));
    expect(verdicts).toEqual([
      { changedTo: true, leaderMust: "hand over" },
      { changedTo: undefined, leaderMust: "hand over" },
      { changedTo: undefined, leaderMust: "step down" },
    ]);
  });

  test("its end is the end of the stall, once", () => {
    const watch = new DiskWatch(STALL_MS, HANDOVER_MS);
    watch.judge(6500, 5000);
    expect(watch.judge(6600, undefined)).toEqual({ changedTo: false, leaderMust: "go on" });
    expect(watch.judge(6700, 6650)).toEqual({ changedTo: undefined, leaderMust: "go on" });
  });
});
