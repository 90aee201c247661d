/**
 * What a node says of a change of its leader.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { LeaderWatch } from "../../src/cluster/leader_watch.ts";
import type { RaftEvent } from "../../src/raft/ready.ts";

const follows = (leader: string | undefined, term: number, role = "follower"): RaftEvent =>
  ({ type: "ROLE_CHANGED", role, term, leader }) as RaftEvent;
const lost = (why: "gone" | "silent" | "handed over" | "superseded", silentTicks: number) =>
  ({ type: "LEADER_LOST", leader: "n1", silentTicks, why }) as const;

/** Events at their times; returns what is said of the last one. */
function last(events: readonly (readonly [number, RaftEvent])[]) {
  const watch = new LeaderWatch(5);
  const said = events.map(([nowMs, event]) => watch.event(event, nowMs));
  return { change: said.at(-1), before: said.slice(0, -1), count: watch.changes };
}

describe("a change of the leader", () => {
  const n2 = { leader: "n2", before: "n1", term: 3 };
  test.each<readonly [string, readonly (readonly [number, RaftEvent])[], string, number]>([
    [
      "its process ended",
      [
        [100, lost("gone", 4)],
        [100, follows(undefined, 2, "pre-candidate")],
        [107, follows("n2", 3, "leader")],
      ],
      "its connections closed",
      27,
    ],
    [
      "silence, and two rounds of votes",
      [
        [300, lost("silent", 40)],
        [300, follows(undefined, 2, "pre-candidate")],
        [310, follows(undefined, 3, "candidate")],
        [320, follows(undefined, 3)],
        [500, follows("n2", 3)],
      ],
      "it was silent",
      400,
    ],
    [
      "told to campaign",
      [
        [300, lost("handed over", 2)],
        [300, follows(undefined, 3, "candidate")],
        [304, follows("n2", 3, "leader")],
      ],
      "it handed over",
      14,
    ],
    [
      "another campaigned",
      [
        [300, lost("superseded", 2)],
        [300, follows(undefined, 3)],
        [304, follows("n2", 3)],
      ],
      "the others elected another",
      14,
    ],
  ])("%s", (...[, events, why, gapMs]) => {
    const { change, before, count } = last([[0, follows("n1", 2)], ...events]);
    expect(change as unknown).toEqual({ ...n2, why, gapMs });
    expect(before.every((said) => said === undefined)).toBe(true);
    expect(count).toBe(1);
  });

  test("seen by the old leader: no quorum, and a hand-over", () => {
    const leads = [0, follows("n1", 2, "leader")] as const;
    const noQuorum = last([
      leads,
      [200, { type: "QUORUM_LOST", term: 2 }],
      [200, follows(undefined, 2)],
      [900, follows("n2", 3)],
    ]);
    expect(noQuorum.change).toEqual({ ...n2, why: "it had no quorum", gapMs: 700 });
    const handover = last([
      leads,
      [200, { type: "TRANSFER_STARTED", to: "n2" }],
      [205, { type: "TRANSFER_ENDED", to: "n2", done: true }],
      [205, follows(undefined, 3)],
      [206, follows("n2", 3)],
    ]);
    expect(handover.change).toEqual({ ...n2, why: "it handed over", gapMs: 6 });
  });

  test("a hand-over that another won, and a leader that stepped down", () => {
    const leads = [0, follows("n1", 2, "leader")] as const;
    const another = last([
      leads,
      [200, { type: "TRANSFER_STARTED", to: "n3" }],
      [205, { type: "TRANSFER_ENDED", to: "n3", done: true }],
      [205, follows(undefined, 3)],
      [206, follows("n2", 3)],
    ]);
    expect(another.change).toEqual({ ...n2, why: "the others elected another", gapMs: 6 });
    const down = last([leads, [200, follows(undefined, 2)], [290, follows("n2", 3)]]);
    expect(down.change).toEqual({ ...n2, why: "it stepped down", gapMs: 90 });
  });

  test("a hand-over that failed is forgotten", () => {
    const { change } = last([
      [0, follows("n1", 2, "leader")],
      [200, { type: "TRANSFER_STARTED", to: "n2" }],
      [400, { type: "TRANSFER_ENDED", to: "n2", done: false }],
      [900, { type: "QUORUM_LOST", term: 2 }],
      [900, follows(undefined, 2)],
      [950, follows("n2", 3)],
    ]);
    expect(change).toEqual({ ...n2, why: "it had no quorum", gapMs: 50 });
  });

  test("the same leader in another term is one, the first leader and the same term are none", () => {
    const again = last([
      [0, follows("n1", 2)],
      [200, lost("silent", 40)],
      [210, follows("n1", 3)],
    ]);
    expect(again.change).toMatchObject({ leader: "n1", before: "n1", term: 3 });
    const none = last([
      [0, follows(undefined, 0)],
      [100, follows("n1", 2)],
      [300, lost("silent", 40)],
      [300, follows(undefined, 2, "pre-candidate")],
      [310, follows("n1", 2)],
    ]);
    expect({ change: none.change, count: none.count }).toEqual({ change: undefined, count: 0 });
  });
});
