/**
 * The transitions that every role shares: waits, roles, members, and which messages wait for the
 * disk.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { transferLeadership } from "../../src/raft/leader.ts";
import type { RaftMessageBody } from "../../src/raft/message.ts";
import type { RaftState } from "../../src/raft/raft_state.ts";
import { type EntryId, NO_ENTRY } from "../../src/raft/types.ts";
import { configurationFrom, configurationWords, entryAt, source } from "./cluster.ts";
import { acknowledged, append, heartbeat, voteRequest, voteResponse } from "./messages.ts";
import { leaderUnderTest, type StateOptions, StateUnderTest, settledLeader } from "./state.ts";

describe("start", () => {
  test("a node follows no leader, with the state of its disk", () => {
    const hardState = { term: 4, vote: "n3" };
    const { state } = new StateUnderTest({ log: [1, 2], hardState, config: { commitIndex: 1 } });
    const { term, vote, role, leader, peers, quietTicks, electionWait } = state;
    expect([term, vote, role, leader, peers, quietTicks]).toEqual([
      4,
      "n3",
      "follower",
      undefined,
      ["n2", "n3"],
      0,
    ]);
    expect([state.log.lastIndex, state.log.committed, electionWait]).toEqual([2, 1, 10]);
  });

  test("all that counts starts at nothing", () => {
    const { state } = new StateUnderTest();
    const { electionElapsed, heartbeatElapsed, quorumElapsed, transferElapsed } = state;
    expect([electionElapsed, heartbeatElapsed, quorumElapsed, transferElapsed]).toEqual([
      0, 0, 0, 0,
    ]);
    const { readRound, heldIndex, toldCommit, uncommittedBytes } = state;
    expect([readRound, heldIndex, toldCommit, uncommittedBytes]).toEqual([0, 0, 0, 0]);
    const { isHeldBack, isLeaderForgotten, isLeaseVoid } = state;
    expect([isHeldBack, isLeaderForgotten, isLeaseVoid]).toEqual([false, false, false]);
  });

  // With leases, a promise of before the start may still run for T.
  test("with leases no vote is granted for T", () => {
    expect(new StateUnderTest({ config: { hasLeases: true } }).state.quietTicks).toBe(10);
  });

  test("configurations before the committed one do not come back", () => {
    const configurations = [
      { index: 0, configuration: configurationFrom("n1 n2 n3") },
      { index: 2, configuration: configurationFrom("n2 n3") },
    ];
    const log = [1, 1];
    const of = (commitIndex: number) =>
      new StateUnderTest({ log, config: { configurations, commitIndex } }).state.isPromotable;
    expect([of(1), of(2)]).toEqual([true, false]);
  });
});

describe("promotable", () => {
  test.each([
    { name: "a voter", options: {}, is: true },
    { name: "a learner", options: { members: "~n1 n2 n3" }, is: false },
    { name: "a node without members", options: { members: "" }, is: false },
  ])("$name: $is", ({ options, is }) => {
    expect(new StateUnderTest(options as StateOptions).state.isPromotable).toBe(is);
  });

  test.each([
    { toldCommit: 1, is: true },
    { toldCommit: 2, is: true },
    { toldCommit: 3, is: false },
  ])("with 2 entries, $toldCommit of them announced as committed: $is", ({ toldCommit, is }) => {
    const { state } = new StateUnderTest({ log: [1, 1] });
    state.toldCommit = toldCommit;
    expect(state.isPromotable).toBe(is);
  });

  test("not while it is held back", () => {
    const { state } = new StateUnderTest();
    state.isHeldBack = true;
    expect(state.isPromotable).toBe(false);
  });
});

describe("members", () => {
  test("a configuration of an appended entry counts, and the last of several", () => {
    const { state } = new StateUnderTest({ log: [] });
    const entries = [
      entryAt(1, 1, "a"),
      entryAt(1, 2, "config n1 n2"),
      entryAt(1, 3, "config n1 n2 ~n4"),
      entryAt(1, 4, "b"),
    ];
    state.log.appendFrom(NO_ENTRY, entries);
    state.noteAppended(entries);
    expect(configurationWords(state.configuration)).toBe("n1 n2 ~n4");
    expect(state.history.latest.index).toBe(3);
    expect(state.peers).toEqual(["n2", "n4"]);
    expect(state.progress.size).toBe(0);
  });

  test("a truncation is an event; without a configuration the peers stay", () => {
    const node = new StateUnderTest({ log: [1, 1] });
    node.state.noteTruncated(2);
    expect(node.takeEvents()).toEqual([{ type: "LOG_TRUNCATED", fromIndex: 2 }]);
    expect(node.state.peers).toEqual(["n2", "n3"]);
  });

  test("a snapshot's configuration takes the place of all before", () => {
    const { state } = new StateUnderTest({ log: [1, 1] });
    state.restore({ term: 2, index: 9, nextSequence: 12 }, configurationFrom("n1 n4"));
    expect(configurationWords(state.configuration)).toBe("n1 n4");
    expect([state.history.latest.index, state.log.committed, state.peers]).toEqual([9, 9, ["n4"]]);
  });

  // Itself first, so that the own disk counts; new members have an election timeout to answer.
  test("a leader tracks each member, and forgets a removed one", () => {
    const { state } = settledLeader({ members: "n1 n2 n3" });
    expect([...state.progress.keys()]).toEqual(["n1", "n2", "n3"]);
    state.noteAppended([state.log.appendNew(1, source("config n1 n2 ~n4"))]);
    expect([...state.progress.keys()]).toEqual(["n1", "n2", "n4"]);
    const { match, next, isRecentlyActive } = state.progress.get("n4")!;
    expect({ match, next, isRecentlyActive }).toEqual({
      match: 0,
      next: 3,
      isRecentlyActive: true,
    });
    expect(state.progress.get("n2")!.match).toBe(1);
  });

  test("a leader outside of its configuration tracks itself all the same", () => {
    const { state } = settledLeader({ members: "n1 n2" });
    state.noteAppended([state.log.appendNew(1, source("config n2"))]);
    expect([...state.progress.keys()]).toEqual(["n1", "n2"]);
    expect(state.peers).toEqual(["n2"]);
  });

  test("the window of a new peer has the configured limits", () => {
    const { state } = settledLeader({ config: { inflightMessagesMax: 2, inflightBytesMax: 9 } });
    const { inflights } = state.progress.get("n2")!;
    inflights.add(1, 8);
    expect(inflights.isFull).toBe(false);
    inflights.add(2, 0);
    expect(inflights.isFull).toBe(true);
    inflights.clear();
    inflights.add(1, 9);
    expect(inflights.isFull).toBe(true);
  });

  test("a commit drops the configurations before the committed one", () => {
    const { state } = new StateUnderTest({ log: [1] });
    const change = entryAt(1, 2, "config n2 n3");
    state.log.appendFrom({ term: 1, index: 1 }, [change]);
    state.noteAppended([change]);
    expect([state.commitTo(1), state.isPromotable]).toEqual([true, true]);
    expect([state.commitTo(1), state.isPromotable]).toEqual([false, true]);
    expect([state.commitTo(2), state.isPromotable]).toEqual([true, false]);
  });
});

describe("waits", () => {
  // xorshift32 from seed ^ 0x9e3779b9; the first number went into the first wait. The waits of a
  // seed are part of every recorded run: they must not change unnoticed.
  test("a seed decides every number", () => {
    const numbersOf = (seed: number, count: number): readonly number[] => {
      const { state } = new StateUnderTest({ config: { seed, jitterTicks: 1 } });
      return Array.from({ length: count }, () => state.random(1_000_000));
    };
    expect(numbersOf(1, 4)).toEqual([716927, 437631, 804602, 100174]);
    // The one seed whose state would be 0, from which xorshift never moves.
    expect(numbersOf(0x9e3779b9, 2)).toEqual([634689, 435461]);
    expect(numbersOf(0xffffffff, 2)).toEqual([492225, 795321]);
  });

  // T = 10, 2 ticks a rank, jitter of one value: ranks are among the voters but the leader.
  test.each([
    { id: "n1", leader: undefined, rank: 0, first: 10, repeat: 2 },
    { id: "n2", leader: undefined, rank: 1, first: 12, repeat: 4 },
    { id: "n3", leader: undefined, rank: 2, first: 14, repeat: 6 },
    { id: "n2", leader: "n1", rank: 0, first: 10, repeat: 2 },
    { id: "n3", leader: "n2", rank: 1, first: 12, repeat: 4 },
    { id: "n4", leader: "n2", rank: -1, first: 10, repeat: 2 },
  ])("$id with leader $leader: rank $rank, $first ticks, then $repeat", (row) => {
    const { state } = new StateUnderTest({
      id: row.id,
      members: "n1 n2 n3 ~n4",
      config: { rankTicks: 2 },
    });
    state.leader = row.leader;
    expect([state.rank, state.firstWait(), state.repeatWait()]).toEqual([
      row.rank,
      row.first,
      row.repeat,
    ]);
  });

  test("jitter is added in [0, jitterTicks)", () => {
    const { state } = new StateUnderTest({ config: { jitterTicks: 3, rankTicks: 5 } });
    const firsts = Array.from({ length: 200 }, () => state.firstWait());
    const repeats = Array.from({ length: 200 }, () => state.repeatWait());
    expect([...new Set(firsts)].sort()).toEqual([10, 11, 12]);
    expect([...new Set(repeats)].sort()).toEqual([5, 6, 7]);
  });

  test("later rounds wait in [T, 2T)", () => {
    const { state } = new StateUnderTest();
    const waits = Array.from({ length: 500 }, () => state.laterWait());
    expect([Math.min(...waits), Math.max(...waits)]).toEqual([10, 19]);
  });

  test("waits may grow beyond the configured ones, and come back", () => {
    const { state } = new StateUnderTest({ config: { rankTicks: 2 } });
    state.setPace({ electionTicks: 30, rankTicks: 9 });
    expect([state.electionWait, state.firstWait()]).toEqual([30, 30]);
    expect(state.repeatWait()).toBe(9);
    const later = Array.from({ length: 200 }, () => state.laterWait());
    expect([Math.min(...later) >= 30, Math.max(...later) < 60]).toEqual([true, true]);
    state.leader = "n2";
    state.electionElapsed = 29;
    expect(state.hasLiveLeader).toBe(true);
    state.setPace({ electionTicks: 10, rankTicks: 2 });
    expect([state.hasLiveLeader, state.electionWait, state.firstWait()]).toEqual([false, 30, 10]);
    expect(() => state.setPace({ electionTicks: 9, rankTicks: 2 })).toThrow("configured");
    expect(() => state.setPace({ electionTicks: 10, rankTicks: 1 })).toThrow("candidates");
  });

  test("a leader whose waits become shorter still makes each check", () => {
    const { state } = settledLeader();
    state.setPace({ electionTicks: 30, rankTicks: state.config.rankTicks });
    state.quorumElapsed = 29;
    state.transferElapsed = 25;
    state.setPace({ electionTicks: 10, rankTicks: state.config.rankTicks });
    expect([state.quorumElapsed, state.transferElapsed]).toEqual([9, 9]);
  });

  // Jacobson 1988: the mean moves by an eighth of the error, the deviation by a quarter.
  test.each([
    { arrivals: [], max: 50, patience: 0 },
    { arrivals: [8], max: 50, patience: 6 },
    { arrivals: [16], max: 50, patience: 22 },
    { arrivals: [16, 16], max: 50, patience: 28 },
    { arrivals: [16, 0], max: 50, patience: 22 },
    { arrivals: [16, 16, 16, 16], max: 50, patience: 40 },
    { arrivals: [16, 16, 16, 16], max: 40, patience: 30 },
    { arrivals: [16, 16, 16, 16], max: 0, patience: 0 },
    { arrivals: [2], max: 50, patience: 0 },
    // The longest wait counts half after a thousand ticks.
    { arrivals: [16, ...Array.from({ length: 500 }, () => 2)], max: 50, patience: 6 },
  ])("messages after $arrivals ticks, at most $max: $patience more", (row) => {
    const { state } = new StateUnderTest({ config: { adaptiveTicksMax: row.max } });
    state.leader = "n2";
    for (const ticks of row.arrivals) state.noteArrival(ticks);
    expect(state.patience).toBe(row.patience);
    state.isLeaderForgotten = true;
    expect(state.patience).toBe(0);
    state.isLeaderForgotten = false;
    state.leader = undefined;
    expect(state.patience).toBe(0);
  });
});

describe("sending", () => {
  const rejected = {
    type: "APPEND_ENTRIES_RESPONSE",
    rejected: true,
    index: 0,
    hint: NO_ENTRY,
  } as const;
  const readIndex = { type: "READ_INDEX", context: 1 } as const;

  // Promises wait: a vote, entries taken, and a campaign whose entries are not on disk yet.
  test.each([
    { name: "a vote", body: voteResponse(true), waits: true },
    { name: "a refused vote", body: voteResponse(false), waits: true },
    { name: "a pre-vote", body: voteResponse(true, true), waits: false },
    { name: "a campaign with a durable log", body: voteRequest(), waits: false },
    { name: "a campaign with a tail", body: voteRequest(), hasTail: true, waits: true },
    {
      name: "a pre-vote campaign with a tail",
      body: voteRequest(NO_ENTRY, { preVote: true }),
      hasTail: true,
      waits: false,
    },
    { name: "entries taken", body: acknowledged(1), waits: true },
    { name: "entries refused", body: rejected, waits: false },
    { name: "entries", body: append(NO_ENTRY, []), hasTail: true, waits: false },
    { name: "a heartbeat", body: heartbeat(), hasTail: true, waits: false },
    { name: "a read", body: readIndex, hasTail: true, waits: false },
  ])("$name waits for the disk: $waits", ({ body, hasTail = false, waits }) => {
    const node = new StateUnderTest({ hardState: { term: 4, vote: undefined } });
    if (hasTail) node.state.log.appendNew(4, source("a"));
    node.state.send("n2", body as RaftMessageBody);
    const message = { ...body, from: "n1", to: "n2", term: 4 };
    expect(node.takePromises() as readonly unknown[]).toEqual(waits ? [message] : []);
    expect(node.takeSent() as readonly unknown[]).toEqual(waits ? [] : [message]);
  });

  test("a message may have a later term, and never an old one or its own sender", () => {
    const node = new StateUnderTest({ hardState: { term: 4, vote: undefined } });
    node.state.send("n2", heartbeat(), 5);
    expect(node.takeSent().map(({ term }) => term)).toEqual([5]);
    expect(() => node.state.send("n2", heartbeat(), 3)).toThrow("old term");
    expect(() => node.state.send("n1", heartbeat())).toThrow("does not write to itself");
  });

  // Commits up to the peer's match are announced; the held index is that of the slowest member.
  test.each([
    { matches: [3, 2], commit: 3, held: 2 },
    { matches: [1, 3], commit: 1, held: 1 },
    { matches: [9, 9], commit: 3, held: 3 },
  ])("a heartbeat to n2 with matches $matches: commit $commit, held $held", (row) => {
    const node = settledLeader({ log: [1, 1] });
    propose3(node);
    for (const [at, match] of row.matches.entries()) {
      const progress = node.state.progress.get(`n${at + 2}`)!;
      progress.match = match;
      progress.next = match + 1;
    }
    node.state.readRound = 4;
    node.state.sendHeartbeat("n2");
    const [sent] = node.takeSent();
    expect(sent as unknown).toEqual({
      ...{ type: "HEARTBEAT", from: "n1", to: "n2", term: 2 },
      ...{ commitIndex: row.commit, readRound: 4, heldIndex: row.held },
    });
  });

  test("the held index does not go back", () => {
    const node = settledLeader({ log: [1, 1] });
    node.state.heldIndex = 3;
    node.state.progress.get("n3")!.match = 1;
    node.state.sendHeartbeat("n2");
    expect(node.takeSent().map((sent) => sent.type === "HEARTBEAT" && sent.heldIndex)).toEqual([3]);
  });

  function propose3(node: StateUnderTest): void {
    for (const text of ["a", "b", "c"]) node.state.log.appendNew(2, source(text));
  }
});

describe("roles", () => {
  test("a newer term has no vote; the present one keeps it", () => {
    const { state } = new StateUnderTest({ hardState: { term: 4, vote: "n3" } });
    state.becomeFollower(4, "n2");
    expect([state.term, state.vote, state.leader]).toEqual([4, "n3", "n2"]);
    state.becomeFollower(5, undefined);
    expect([state.term, state.vote, state.leader]).toEqual([5, undefined, undefined]);
    expect(() => state.becomeFollower(4, "n2")).toThrow("terms never go back");
  });

  // A newer term alone is no sign of a leader.
  test.each([
    { role: "follower", leader: undefined, elapsed: 7, wait: 99 },
    { role: "follower", leader: "n2", elapsed: 0, wait: 10 },
    { role: "candidate", leader: "n2", elapsed: 0, wait: 10 },
  ] as const)("a $role that follows $leader has waited $elapsed of $wait", (row) => {
    const { state } = new StateUnderTest({ hardState: { term: 4, vote: undefined } });
    state.role = row.role;
    state.electionElapsed = 7;
    state.electionWait = 99;
    state.becomeFollower(5, row.leader);
    expect([state.electionElapsed, state.electionWait]).toEqual([row.elapsed, row.wait]);
  });

  test("a candidate that becomes a follower without a leader draws the wait of a later round", () => {
    const { state } = new StateUnderTest({ hardState: { term: 4, vote: undefined } });
    state.role = "candidate";
    state.electionWait = 99;
    state.electionElapsed = 7;
    state.becomeFollower(5, undefined);
    expect(state.electionElapsed).toBe(0);
    expect(state.electionWait).toBeGreaterThanOrEqual(10);
    expect(state.electionWait).toBeLessThan(20);
  });

  test("a role that ends leaves nothing behind", () => {
    const { state } = settledLeader();
    state.votes.set("n2", true);
    state.waitingReads = [{ context: 1, from: "n2" }];
    state.pendingReads = [{ context: 1, from: "n2", index: 1, round: 1 }];
    state.uncommitted = [{ index: 2, size: 1 }];
    state.uncommittedBytes = 1;
    state.becomeFollower(1, undefined);
    const { votes, progress, waitingReads, pendingReads, uncommitted, uncommittedBytes } = state;
    expect([votes.size, progress.size]).toEqual([0, 0]);
    expect([waitingReads, pendingReads, uncommitted, uncommittedBytes]).toEqual([[], [], [], 0]);
  });

  // Only a newer term can mean that the target leads.
  test.each([
    { term: 1, done: false },
    { term: 2, done: true },
  ])("a hand-over that ends in term $term is done: $done", ({ term, done }) => {
    const node = settledLeader();
    transferLeadership(node.state, "n2");
    node.takeEvents();
    node.state.becomeFollower(term, undefined);
    expect(node.takeEvents()).toEqual([
      { type: "TRANSFER_ENDED", to: "n2", done },
      { type: "ROLE_CHANGED", role: "follower", term, leader: undefined },
    ]);
    expect(node.state.transferee).toBeUndefined();
  });

  test("a hand-over ends once", () => {
    const node = settledLeader();
    node.state.endTransfer(true);
    expect(node.takeEvents()).toEqual([]);
  });

  test("a role or leader is an event when it is new, or elected again", () => {
    const node = new StateUnderTest({ hardState: { term: 4, vote: undefined } });
    const { state } = node;
    const eventsAfter = (act: () => void): readonly string[] => {
      act();
      return node
        .takeEvents()
        .map((event) =>
          event.type === "ROLE_CHANGED"
            ? `${event.role} ${event.term} ${event.leader}`
            : JSON.stringify({ ...event, type: undefined }),
        );
    };
    expect(eventsAfter(() => state.setRole("follower", undefined))).toEqual([]);
    expect(eventsAfter(() => state.setRole("follower", "n2"))).toEqual(["follower 4 n2"]);
    expect(eventsAfter(() => state.setRole("follower", "n2"))).toEqual([]);
    expect(eventsAfter(() => state.becomeFollower(5, "n2"))).toEqual(["follower 5 n2"]);
    state.electionElapsed = 7;
    expect(eventsAfter(() => state.setRole("follower", undefined))).toEqual([
      '{"leader":"n2","silentTicks":7,"why":"superseded"}',
      "follower 5 undefined",
    ]);
    expect(eventsAfter(() => state.becomeFollower(6, undefined))).toEqual([]);
    state.vote = state.id;
    expect(eventsAfter(() => state.setRole("candidate", undefined))).toEqual([
      "candidate 6 undefined",
    ]);
  });

  test("a refused message is an event", () => {
    const node = new StateUnderTest();
    node.state.refuse("n2", "it is odd");
    expect(node.takeEvents()).toEqual([
      { type: "MESSAGE_REFUSED", from: "n2", reason: "it is odd" },
    ]);
  });

  test("only an entry of the own term makes a leader ready", () => {
    const state: RaftState = leaderUnderTest({ log: [1, 1] }).state;
    const ready = (last: EntryId): boolean => {
      state.commitTo(last.index);
      return state.hasCommittedOwnTerm;
    };
    expect([ready({ term: 1, index: 2 }), ready({ term: 2, index: 3 })]).toEqual([false, true]);
  });
});
