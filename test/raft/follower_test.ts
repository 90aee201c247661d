/**
 * A follower's answers, each with the whole state that it changes.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import {
  followLeader,
  handleAppendEntries,
  handleHeartbeat,
  handleTimeoutNow,
  installSnapshot,
} from "../../src/raft/follower.ts";
import type { AppendEntries, Heartbeat } from "../../src/raft/message.ts";
import { NO_ENTRY } from "../../src/raft/types.ts";
import { configurationFrom, configurationWords, entryAt, source } from "./cluster.ts";
import { type StateOptions, StateUnderTest, settledLeader } from "./state.ts";

/** A follower in term 4 without a leader; its log is 1 1 2, with the first entry committed. */
function followerOf(options: StateOptions = {}): StateUnderTest {
  const log = options.log ?? [1, 1, 2];
  const config = { commitIndex: Math.min(1, log.length), ...options.config };
  return new StateUnderTest({ hardState: { term: 4, vote: undefined }, ...options, log, config });
}

const FROM_N2 = { from: "n2", to: "n1", term: 4 } as const;

function appendOf(fields: Partial<AppendEntries>): AppendEntries {
  const nothing = { previous: { term: 2, index: 3 }, commitIndex: 0, entries: [] };
  return { type: "APPEND_ENTRIES", ...FROM_N2, ...nothing, ...fields };
}

function heartbeatOf(fields: Partial<Heartbeat> = {}): Heartbeat {
  const nothing = { commitIndex: 0, readRound: 0, heldIndex: 0 };
  return { type: "HEARTBEAT", ...FROM_N2, ...nothing, ...fields };
}

describe("the leader's messages", () => {
  test("the first one of a term names the leader, and restarts the wait", () => {
    const node = followerOf();
    node.state.electionElapsed = 7;
    node.state.electionWait = 99;
    expect(followLeader(node.state, "n2")).toBe(true);
    const { role, leader, electionElapsed, electionWait } = node.state;
    // T = 10; n1 is the first of the voters that could follow n2.
    expect({ role, leader, electionElapsed, electionWait }).toEqual({
      role: "follower",
      leader: "n2",
      electionElapsed: 0,
      electionWait: 10,
    });
  });

  test("the next ones keep the wait that was drawn", () => {
    const { state } = followerOf();
    followLeader(state, "n2");
    state.electionElapsed = 7;
    state.electionWait = 99;
    expect(followLeader(state, "n2")).toBe(true);
    const { electionElapsed, electionWait } = state;
    expect({ electionElapsed, electionWait }).toEqual({ electionElapsed: 0, electionWait: 99 });
  });

  test.each(["candidate", "pre-candidate"] as const)("a %s follows", (role) => {
    const { state } = followerOf();
    state.role = role;
    expect(followLeader(state, "n2")).toBe(true);
    expect([state.role as string, state.leader]).toEqual(["follower", "n2"]);
  });

  test("one that was forgotten is not forgotten any more, and a new wait is drawn", () => {
    const { state } = followerOf();
    followLeader(state, "n2");
    state.isLeaderForgotten = true;
    state.electionWait = 1;
    followLeader(state, "n2");
    const { isLeaderForgotten, electionWait } = state;
    expect({ isLeaderForgotten, electionWait }).toEqual({
      isLeaderForgotten: false,
      electionWait: 10,
    });
  });

  test("a second leader of the term is refused", () => {
    const node = followerOf();
    followLeader(node.state, "n2");
    node.takeEvents();
    expect(followLeader(node.state, "n3")).toBe(false);
    expect(node.state.leader).toBe("n2");
    expect(node.takeEvents()).toEqual([
      { type: "MESSAGE_REFUSED", from: "n3", reason: "a second leader in term 4" },
    ]);
  });

  test("a leader refuses another one", () => {
    const node = settledLeader();
    expect(followLeader(node.state, "n2")).toBe(false);
    expect(node.takeEvents()).toEqual([
      { type: "MESSAGE_REFUSED", from: "n2", reason: "a second leader in term 1" },
    ]);
  });

  // With bounds on the wait, late messages lengthen it: 10 ticks from the mean of 0, then again.
  test("the time between them is noted", () => {
    const { state } = followerOf({ config: { adaptiveTicksMax: 50 } });
    followLeader(state, "n2");
    expect(state.patience).toBe(0);
    state.electionElapsed = 20;
    followLeader(state, "n2");
    expect(state.patience).toBe(30);
  });
});

describe("append", () => {
  interface Row {
    readonly name: string;
    readonly append: Partial<AppendEntries>;
    readonly index: number;
    readonly hint?: { readonly term: number; readonly index: number };
    readonly committed: number;
    readonly last: number;
  }
  const rows: readonly Row[] = [
    { name: "nothing at the end", append: {}, index: 3, committed: 1, last: 3 },
    {
      name: "one entry",
      append: { entries: [entryAt(4, 4)] },
      index: 4,
      committed: 1,
      last: 4,
    },
    {
      name: "one entry, committed",
      append: { entries: [entryAt(4, 4)], commitIndex: 9 },
      index: 4,
      committed: 4,
      last: 4,
    },
    {
      name: "a commit inside of the log",
      append: { commitIndex: 2 },
      index: 3,
      committed: 2,
      last: 3,
    },
    {
      name: "a commit of the past",
      append: { commitIndex: 0 },
      index: 3,
      committed: 1,
      last: 3,
    },
    {
      name: "a prefix, with a commit beyond it",
      append: { previous: { term: 1, index: 1 }, entries: [entryAt(1, 2)], commitIndex: 3 },
      index: 2,
      committed: 2,
      last: 3,
    },
    {
      name: "a conflict",
      append: { previous: { term: 1, index: 1 }, entries: [entryAt(4, 2)] },
      index: 2,
      committed: 1,
      last: 2,
    },
    {
      name: "before what is committed",
      append: { previous: NO_ENTRY, entries: [entryAt(9, 1)], commitIndex: 3 },
      index: 1,
      committed: 1,
      last: 3,
    },
    {
      name: "at what is committed",
      append: { previous: { term: 1, index: 1 } },
      index: 1,
      committed: 1,
      last: 3,
    },
    {
      name: "another term at the previous entry",
      append: { previous: { term: 3, index: 3 }, commitIndex: 3 },
      index: 3,
      hint: { term: 2, index: 3 },
      committed: 1,
      last: 3,
    },
    {
      name: "beyond the end",
      append: { previous: { term: 1, index: 7 }, commitIndex: 7 },
      index: 7,
      hint: { term: 1, index: 2 },
      committed: 1,
      last: 3,
    },
  ];
  test.each([...rows])("$name", ({ append, index, hint, committed, last }) => {
    const node = followerOf();
    handleAppendEntries(node.state, appendOf(append));

    const envelope = { type: "APPEND_ENTRIES_RESPONSE", from: "n1", to: "n2", term: 4 } as const;
    const accepted = { ...envelope, rejected: false, index, hint: NO_ENTRY };
    expect(node.takePromises()).toEqual(hint === undefined ? [accepted] : []);
    const rejected = { ...envelope, rejected: true, index, hint: hint ?? NO_ENTRY };
    expect(node.takeSent()).toEqual(hint === undefined ? [] : [rejected]);
    const { log, toldCommit } = node.state;
    expect({ committed: log.committed, last: log.lastIndex, toldCommit }).toEqual({
      committed,
      last,
      toldCommit: append.commitIndex ?? 0,
    });
  });

  test("the announced commit index does not go back", () => {
    const { state } = followerOf();
    handleAppendEntries(state, appendOf({ commitIndex: 9 }));
    handleAppendEntries(state, appendOf({ commitIndex: 5 }));
    expect(state.toldCommit).toBe(9);
  });

  test("impossible entries are refused without an answer", () => {
    const node = followerOf();
    handleAppendEntries(node.state, appendOf({ entries: [entryAt(4, 5)], commitIndex: 5 }));
    expect(node.takePromises()).toEqual([]);
    expect(node.takeSent()).toEqual([]);
    expect(node.state.log.committed).toBe(1);
    expect(node.takeEvents().at(-1)).toEqual({
      type: "MESSAGE_REFUSED",
      from: "n2",
      reason: "entries or sequence numbers have a gap",
    });
  });

  test("a second leader's entries are not looked at", () => {
    const node = followerOf();
    followLeader(node.state, "n3");
    handleAppendEntries(node.state, appendOf({ entries: [entryAt(4, 4)], commitIndex: 9 }));
    const { log, toldCommit, messagesAfterPersist } = node.state;
    expect({ last: log.lastIndex, toldCommit, messagesAfterPersist }).toEqual({
      last: 3,
      toldCommit: 0,
      messagesAfterPersist: [],
    });
  });

  test("a truncation is an event, and takes the configuration with it", () => {
    const node = followerOf();
    const change = entryAt(4, 4, "config n1 n2");
    handleAppendEntries(node.state, appendOf({ entries: [change] }));
    expect(configurationWords(node.state.configuration)).toBe("n1 n2");
    expect(node.state.peers).toEqual(["n2"]);
    node.takeEvents();
    node.state.becomeFollower(5, "n3");
    node.takeEvents();
    const other = { entries: [entryAt(5, 4)], from: "n3", term: 5 };
    handleAppendEntries(node.state, appendOf(other));
    expect(node.takeEvents()).toEqual([{ type: "LOG_TRUNCATED", fromIndex: 4 }]);
    expect(configurationWords(node.state.configuration)).toBe("n1 n2 n3");
    expect(node.state.peers).toEqual(["n2", "n3"]);
  });
});

describe("heartbeat", () => {
  test.each([
    { commitIndex: 0, committed: 1 },
    { commitIndex: 1, committed: 1 },
    { commitIndex: 3, committed: 3 },
  ])("commit $commitIndex of a log of three: $committed are committed", (row) => {
    const node = followerOf();
    handleHeartbeat(node.state, heartbeatOf({ commitIndex: row.commitIndex, readRound: 7 }));
    expect(node.state.log.committed).toBe(row.committed);
    expect(node.takeSent()).toEqual([
      { type: "HEARTBEAT_RESPONSE", from: "n1", to: "n2", term: 4, readRound: 7 },
    ]);
  });

  test("a commit beyond the log is refused without an answer", () => {
    const node = followerOf();
    handleHeartbeat(node.state, heartbeatOf({ commitIndex: 4, heldIndex: 4 }));
    expect(node.takeSent()).toEqual([]);
    expect({ committed: node.state.log.committed, held: node.state.heldIndex }).toEqual({
      committed: 1,
      held: 0,
    });
    expect(node.takeEvents().at(-1)).toEqual({
      type: "MESSAGE_REFUSED",
      from: "n2",
      reason: "commit 4 lies beyond the log",
    });
  });

  test("the index that all voters hold does not go back", () => {
    const { state } = followerOf();
    handleHeartbeat(state, heartbeatOf({ heldIndex: 2 }));
    handleHeartbeat(state, heartbeatOf({ heldIndex: 1 }));
    expect(state.heldIndex).toBe(2);
  });

  test("a second leader's is refused", () => {
    const node = followerOf();
    followLeader(node.state, "n3");
    handleHeartbeat(node.state, heartbeatOf({ commitIndex: 3 }));
    expect(node.state.log.committed).toBe(1);
    expect(node.takeSent()).toEqual([]);
  });
});

describe("snapshot", () => {
  /** n2's, of term 4. */
  function install(node: StateUnderTest, term: number, index: number): boolean {
    const base = { term, index, nextSequence: index + 1 };
    const configuration = configurationFrom("n1 n2 n4");
    return installSnapshot(node.state, { leader: "n2", term: 4, base, configuration });
  }

  // The log is 1 1 2, its first entry committed.
  test.each([
    { at: "1:1", isTaken: false, committed: 1, last: 3, members: "n1 n2 n3" },
    { at: "1:2", isTaken: false, committed: 2, last: 3, members: "n1 n2 n3" },
    { at: "2:3", isTaken: false, committed: 3, last: 3, members: "n1 n2 n3" },
    { at: "3:3", isTaken: true, committed: 3, last: 3, members: "n1 n2 n4" },
    { at: "2:2", isTaken: true, committed: 2, last: 2, members: "n1 n2 n4" },
    { at: "4:9", isTaken: true, committed: 9, last: 9, members: "n1 n2 n4" },
  ])("at $at: takes the log's place $isTaken", ({ at, isTaken, committed, last, members }) => {
    const node = followerOf();
    const [term = 0, index = 0] = at.split(":").map(Number);
    expect(install(node, term, index)).toBe(isTaken);
    const { log, configuration } = node.state;
    expect({
      committed: log.committed,
      last: log.lastIndex,
      members: configurationWords(configuration),
    }).toEqual({ committed, last, members });
    expect(node.takePromises()).toEqual([
      {
        type: "APPEND_ENTRIES_RESPONSE",
        ...{ from: "n1", to: "n2", term: 4, rejected: false, index: committed, hint: NO_ENTRY },
      },
    ]);
  });

  test("a second leader's is not taken", () => {
    const node = followerOf();
    followLeader(node.state, "n3");
    expect(install(node, 4, 9)).toBe(false);
    expect(node.state.log.lastIndex).toBe(3);
    expect(node.takePromises()).toEqual([]);
  });
});

describe("timeout now", () => {
  /** n1 follows n2 in term 4. */
  function told(last: { term: number; index: number }, prepare?: (node: StateUnderTest) => void) {
    const node = followerOf();
    followLeader(node.state, "n2");
    prepare?.(node);
    handleTimeoutNow(node.state, { type: "TIMEOUT_NOW", ...FROM_N2, last });
    return node;
  }

  test("the target campaigns at once, without a pre-vote, past stickiness", () => {
    const node = told({ term: 2, index: 3 });
    expect({ role: node.state.role, term: node.state.term }).toEqual({
      role: "candidate",
      term: 5,
    });
    const requests = node.takeSent().map((message) => {
      if (message.type !== "VOTE_REQUEST") return message.type;
      const { to, term, preVote, transfer } = message;
      return { to, term, preVote, transfer };
    });
    const kind = { term: 5, preVote: false, transfer: true };
    expect(requests).toEqual([
      { to: "n2", ...kind },
      { to: "n3", ...kind },
    ]);
  });

  test.each([
    { name: "that lacks the leader's last entry", last: { term: 4, index: 4 } },
    { name: "with another entry there", last: { term: 1, index: 3 } },
    {
      name: "that follows another leader",
      prepare: ({ state }: StateUnderTest) => {
        state.leader = "n3";
      },
    },
    {
      name: "that campaigns already",
      prepare: ({ state }: StateUnderTest) => {
        state.role = "candidate";
      },
    },
    {
      name: "that is held back",
      prepare: ({ state }: StateUnderTest) => {
        state.isHeldBack = true;
      },
    },
  ])("a target $name does not campaign", ({ last = { term: 2, index: 3 }, prepare }) => {
    const node = told(last, prepare);
    expect(node.state.term).toBe(4);
    expect(node.takeSent()).toEqual([]);
  });

  test("a leader does not campaign", () => {
    const node = settledLeader();
    const last = node.state.log.last;
    const told = { type: "TIMEOUT_NOW", from: "n2", to: "n1", term: 1, last } as const;
    handleTimeoutNow(node.state, told);
    expect({ role: node.state.role, term: node.state.term }).toEqual({ role: "leader", term: 1 });
  });
});

// An entry of the tail is acknowledged only by a promise: it leaves when the disk has it.
test("an entry that is not written yet is acknowledged behind the disk", () => {
  const node = followerOf({ log: [] });
  node.state.log.appendNew(4, source("a"));
  handleAppendEntries(node.state, appendOf({ previous: { term: 4, index: 1 } }));
  expect(node.takeSent()).toEqual([]);
  expect(node.takePromises().length).toBe(1);
});
