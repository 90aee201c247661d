/**
 * The picture of a cluster from the members' own answers and what the leader sees.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import {
  type ClusterPicture,
  isHealthy,
  leaderAmong,
  type MemberRow,
  quorumOf,
  rowOf,
} from "../../src/cluster/cluster_view.ts";
import type { MemberStatus, NodeStatus } from "../../src/protocol/wire/status.ts";

const SEEN: MemberStatus = {
  ...{ id: "n2", address: "h:2", role: "follower", membership: "voter", state: "healthy" },
  ...{ caughtUpPercent: null, waitsFor: null, lagBatches: 4, lagMs: 12.6, matchIndex: 6 },
  rttMs: 0.12345,
};

function status(fields: Partial<NodeStatus>): NodeStatus {
  return {
    ...{ clusterId: "aa", id: "n2", pid: 77, version: "0.1.0", runtime: "bun", role: "follower" },
    ...{ term: 3, leader: "n1", syncMode: "SYNC", commitIndex: 9, appliedIndex: 8, firstIndex: 1 },
    ...{ lastIndex: 10, committedSequence: 9, documents: 0, documentBytes: 0, logBytes: 0 },
    ...{ sessions: 0, rssBytes: 0, cpuMs: 0, uptimeMs: 0, isRestoring: false, alarms: [] },
    members: [SEEN],
    ...fields,
  };
}

function row(membership: string, state: MemberRow["state"] = "healthy"): MemberRow {
  return { ...rowOf(SEEN, undefined, undefined), membership, state };
}

describe("the leader", () => {
  test("is that of the highest term among the nodes that answered", () => {
    const old = status({ id: "n1", role: "leader", term: 3 });
    const present = status({ id: "n3", role: "leader", term: 4 });
    const known = new Map([old, present, status({ term: 9 })].map((one) => [one.id, one]));
    expect(leaderAmong(known)).toBe(present);
    expect(leaderAmong(new Map([["n2", status({})]]))).toBeUndefined();
  });
});

describe("the quorum", () => {
  test.each<readonly [string, readonly MemberRow[], readonly [number, number, number]]>([
    ["three voters", [row("voter"), row("voter"), row("voter")], [3, 3, 1]],
    ["one of them down", [row("voter"), row("voter"), row("voter", "down")], [3, 2, 0]],
    ["a suspect one does not", [row("voter"), row("voter"), row("voter", "suspect")], [3, 2, 0]],
    ["learners do not count", [row("voter"), row("learner"), row("standby")], [1, 1, 0]],
  ])("%s", (_what, members, [voters, reachable, canLose]) => {
    const quorum = { voters, reachable, canLose };
    expect(quorumOf(members)).toEqual({ quorum, hasQuorum: true, isJoint: false });
  });

  test.each<readonly [string, readonly MemberRow[], readonly [number, number]]>([
    ["two of three down", [row("voter"), row("voter", "down"), row("voter", "down")], [3, 1]],
    ["one of two down", [row("voter"), row("voter", "down")], [2, 1]],
    ["no members", [], [0, 0]],
  ])("lost: %s", (_what, members, [voters, reachable]) => {
    const quorum = { voters, reachable, canLose: 0 };
    expect(quorumOf(members)).toEqual({ quorum, hasQuorum: false, isJoint: false });
  });

  test("while a change is under way both configurations must have one", () => {
    const next = [row("voter"), row("incoming"), row("incoming"), row("outgoing", "down")];
    expect(quorumOf(next)).toEqual({
      quorum: { voters: 3, reachable: 3, canLose: 0 },
      ...{ hasQuorum: false, isJoint: true },
    });
    const both = [row("voter"), row("voter"), row("incoming"), row("outgoing", "down")];
    expect(quorumOf(both)).toMatchObject({ quorum: { voters: 3, canLose: 0 }, hasQuorum: true });
  });
});

describe("a row", () => {
  test("joins the member's own answer with what the leader sees", () => {
    const waits = { electionMs: 240, electionReason: "late timers", leaderChanges: 2 };
    expect(rowOf(SEEN, status(waits), status({ id: "n1" }))).toEqual({
      ...{ id: "n2", address: "h:2", pid: 77, role: "follower", membership: "voter" },
      ...{ state: "healthy", term: 3, commitIndex: 9, appliedIndex: 8, lagBatches: 4, lagMs: 13 },
      ...{ rttMs: 0.123, version: "0.1.0", caughtUpPercent: null, waitsFor: null },
      ...waits,
      ...{ isRestoring: false, alarms: [], masters: null },
    });
  });

  test("of a member without an answer is down, whatever the leader sees", () => {
    const silent = rowOf(SEEN, undefined, status({}));
    expect(silent).toMatchObject({ role: "unknown", state: "down", pid: null, version: null });
    expect(silent).toMatchObject({ lagBatches: 4, rttMs: 0.123 });
    expect(rowOf(SEEN, undefined, undefined)).toMatchObject({ lagMs: null, rttMs: null });
  });

  test("of one that answers and that the leader does not reach is suspect", () => {
    const members = [{ ...SEEN, state: "down" as const, lagMs: null, rttMs: null }];
    const seen = rowOf(SEEN, status({}), status({ members }));
    expect(seen).toMatchObject({ state: "suspect", lagMs: null, rttMs: null });
  });

  test.each(["learner", "standby"] as const)("of a %s is a learner's", (membership) => {
    expect(rowOf({ ...SEEN, membership }, status({}), undefined).role).toBe("learner");
  });
});

test("healthy is a quorum that is led", () => {
  const picture: ClusterPicture = {
    ...{ clusterId: "aa", term: 3, leader: "n1", syncMode: "SYNC", hasQuorum: true },
    ...{ quorum: { voters: 1, reachable: 1, canLose: 0 }, isJoint: false, members: [] },
  };
  expect(isHealthy(picture)).toBe(true);
  expect(isHealthy({ ...picture, leader: "" })).toBe(false);
  expect(isHealthy({ ...picture, hasQuorum: false })).toBe(false);
});
