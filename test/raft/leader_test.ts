/**
 * The leader's functions on a bare state: each input with all that it sends and changes.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import {
  becomeLeader,
  broadcastAppend,
  handleAppendEntriesResponse,
  handleHeartbeatResponse,
  idleLeaderTicks,
  ownEntriesPersisted,
  payAppends,
  peerUnreachable,
  progressOf,
  propose,
  proposeConfiguration,
  sendHeartbeat,
  skipLeaderTicks,
  snapshotEnded,
  successorOf,
  supplyEntries,
  tickLeader,
  transferLeadership,
} from "../../src/raft/leader.ts";
import type {
  AppendEntriesResponse,
  HeartbeatResponse,
  RaftMessage,
} from "../../src/raft/message.ts";
import { addRead } from "../../src/raft/read_index.ts";
import type { NodeId } from "../../src/raft/types.ts";
import { configurationFrom, configurationWords, entriesOf, source } from "./cluster.ts";
import { leaderUnderTest, type StateOptions, StateUnderTest, settledLeader } from "./state.ts";

function wordOf(message: RaftMessage): string {
  switch (message.type) {
    case "APPEND_ENTRIES": {
      const { to, previous, entries, commitIndex } = message;
      const ids = entries.map(({ term, index }) => `${term}:${index}`).join(" ");
      return `${to} after ${previous.term}:${previous.index} [${ids}] commit ${commitIndex}`;
    }
    case "HEARTBEAT":
      return `${message.to} heartbeat ${message.commitIndex} round ${message.readRound}`;
    case "READ_INDEX_RESPONSE":
      return `${message.to} read ${message.context} at ${message.index}`;
    case "TIMEOUT_NOW":
      return `${message.to} campaign ${message.last.term}:${message.last.index}`;
    default:
      return `${message.to} ${message.type}`;
  }
}

/** The messages that were sent, one line each. */
function sentBy(node: StateUnderTest): readonly string[] {
  return node.takeSent().map(wordOf);
}

function peerOf(node: StateUnderTest, id: NodeId) {
  const { state, match, next, isProbeSent, isCatchingUp, inflights } = progressOf(node.state, id);
  return { state, match, next, isProbeSent, isCatchingUp, inflight: inflights.count };
}

const REPLICATING = { state: "replicate", isProbeSent: false, isCatchingUp: false } as const;
const PROBING = { state: "probe", isProbeSent: false, isCatchingUp: false, inflight: 0 } as const;

function acknowledge(node: StateUnderTest, from: NodeId, index: number): void {
  handleAppendEntriesResponse(node.state, responseOf({ from, index }));
}

/** n2 answers an append of the leader of term 1. */
function responseOf(fields: Partial<AppendEntriesResponse>): AppendEntriesResponse {
  const envelope = { from: "n2", to: "n1", term: 1 };
  const accepted = { rejected: false, index: 0, hint: { term: 0, index: 0 } };
  return { type: "APPEND_ENTRIES_RESPONSE", ...envelope, ...accepted, ...fields };
}

function heartbeatResponseOf(fields: Partial<HeartbeatResponse> = {}): HeartbeatResponse {
  return { type: "HEARTBEAT_RESPONSE", from: "n2", to: "n1", term: 1, readRound: 0, ...fields };
}

/** Appends that many entries of one byte, and drops the messages. */
function proposeQuietly(node: StateUnderTest, count: number): void {
  for (let at = 0; at < count; at += 1) {
    propose(node.state, source("a"));
  }
  node.takeSent();
}

describe("taking office", () => {
  test("an entry of the term is appended, and every peer is probed with it", () => {
    const node = leaderUnderTest({ log: [1, 1] });
    const { role, leader, uncommitted, uncommittedBytes } = node.state;
    expect({ role, leader, uncommitted, uncommittedBytes }).toEqual({
      role: "leader",
      leader: "n1",
      uncommitted: [{ index: 3, size: 4 }],
      uncommittedBytes: 4,
    });
    expect(sentBy(node)).toEqual(["n2 after 1:2 [2:3] commit 0", "n3 after 1:2 [2:3] commit 0"]);
    expect(peerOf(node, "n2")).toEqual({ ...PROBING, match: 0, next: 3, isProbeSent: true });
    expect(progressOf(node.state, "n1").match).toBe(2);
    expect(node.takeEvents().at(-1)).toEqual({
      type: "ROLE_CHANGED",
      role: "leader",
      term: 2,
      leader: "n1",
    });
  });

  // A round trip less for requests that waited for the next leader.
  test("what is proposed before the first messages leave travels with the first entry", () => {
    const node = new StateUnderTest({ hardState: { term: 1, vote: "n1" } });
    node.state.role = "candidate";
    becomeLeader(node.state);
    for (const text of ["a", "b"]) expect(propose(node.state, source(text)).accepted).toBe(true);
    expect(sentBy(node)).toEqual([]);
    payAppends(node.state);
    const sent = sentBy(node);
    expect(sent).toHaveLength(2);
    for (const text of sent) expect(text).toContain("[1:1 1:2 1:3]");
    payAppends(node.state);
    expect(sentBy(node)).toEqual([]);
  });

  test("who steps down before that sends nothing", () => {
    const node = new StateUnderTest({ hardState: { term: 1, vote: "n1" } });
    node.state.role = "candidate";
    becomeLeader(node.state);
    node.state.becomeFollower(2, undefined);
    payAppends(node.state);
    expect(sentBy(node)).toEqual([]);
  });

  // Only durable entries count: those that another leader left may not be durable yet.
  test("the own match is the durable index", () => {
    const node = new StateUnderTest({ hardState: { term: 3, vote: "n1" } });
    node.state.log.appendNew(2, source("a"));
    node.state.role = "candidate";
    becomeLeader(node.state);
    expect(progressOf(node.state, "n1").match).toBe(0);
  });

  test("nothing of an earlier term is left", () => {
    const node = settledLeader();
    const { state } = node;
    Object.assign(state, {
      heartbeatElapsed: 1,
      quorumElapsed: 7,
      isLeaseVoid: true,
      isLeaderForgotten: true,
      uncommitted: [{ index: 1, size: 9 }],
      uncommittedBytes: 9,
    });
    state.votes.set("n2", true);
    state.progress.get("n2")!.readRound = 5;
    state.role = "candidate";
    state.leader = undefined;
    becomeLeader(state);
    const { heartbeatElapsed, quorumElapsed, isLeaseVoid, isLeaderForgotten } = state;
    expect([heartbeatElapsed, quorumElapsed, isLeaseVoid, isLeaderForgotten]).toEqual([
      0,
      0,
      false,
      false,
    ]);
    expect([state.uncommitted, state.uncommittedBytes]).toEqual([[{ index: 2, size: 4 }], 4]);
    expect(state.votes.size).toBe(0);
    const { match, readRound, isRecentlyActive } = progressOf(state, "n2");
    expect({ match, readRound, isRecentlyActive }).toEqual({
      match: 0,
      readRound: 0,
      isRecentlyActive: false,
    });
  });

  test("a node that is no candidate, or voted for another, is a bug", () => {
    const follower = new StateUnderTest({ hardState: { term: 1, vote: "n1" } }).state;
    expect(() => becomeLeader(follower)).toThrow("a leader was a candidate");
    const voter = new StateUnderTest({ hardState: { term: 1, vote: "n2" } }).state;
    voter.role = "candidate";
    expect(() => becomeLeader(voter)).toThrow("voted for itself");
  });
});

describe("proposals", () => {
  test("one is appended, counted and sent to every peer", () => {
    const node = settledLeader();
    const proposal = propose(node.state, source("abc", 2));
    expect(proposal.accepted && { ...proposal.entry, bytes: undefined }).toEqual({
      term: 1,
      index: 2,
      firstSequence: 2,
      count: 2,
      bytes: undefined,
    });
    expect(node.state.uncommitted).toEqual([{ index: 2, size: 3 }]);
    expect(node.state.uncommittedBytes).toBe(3);
    expect(sentBy(node)).toEqual(["n2 after 1:1 [1:2] commit 1", "n3 after 1:1 [1:2] commit 1"]);
    expect(peerOf(node, "n2")).toEqual({ ...REPLICATING, match: 1, next: 3, inflight: 1 });
  });

  test("a node that does not lead, or hands over, refuses", () => {
    const follower = new StateUnderTest().state;
    expect(propose(follower, source("a"))).toEqual({ accepted: false, refusal: "not leader" });
    const { state } = settledLeader();
    state.transferee = "n2";
    expect(propose(state, source("a"))).toEqual({ accepted: false, refusal: "transferring" });
    expect(state.log.lastIndex).toBe(1);
  });

  // One proposal that breaks the limit alone is let in, or it could never be written.
  test.each([
    { before: [], size: 11, accepted: true },
    { before: [1], size: 9, accepted: true },
    { before: [1], size: 10, accepted: false },
    { before: [4, 4], size: 2, accepted: true },
    { before: [4, 4], size: 3, accepted: false },
  ])("of $size bytes behind $before of 10 bytes: $accepted", ({ before, size, accepted }) => {
    const { state } = settledLeader({ config: { uncommittedBytesMax: 10 } });
    for (const bytes of before) propose(state, source("x".repeat(bytes)));
    const proposal = propose(state, source("x".repeat(size)));
    expect(proposal.accepted).toBe(accepted);
    if (!proposal.accepted) expect(proposal.refusal).toBe("too many uncommitted bytes");
    expect(state.log.lastIndex).toBe(1 + before.length + (accepted ? 1 : 0));
  });

  test("a commit frees the bytes of the entries that it covers", () => {
    const node = settledLeader();
    for (const text of ["a", "bb", "cccc"]) propose(node.state, source(text));
    acknowledge(node, "n2", 3);
    acknowledge(node, "n3", 3);
    expect(node.state.log.committed).toBe(3);
    expect(node.state.uncommitted).toEqual([{ index: 4, size: 4 }]);
    expect(node.state.uncommittedBytes).toBe(4);
  });
});

describe("changes of members", () => {
  function change(node: StateUnderTest, words: string): string {
    const to = configurationFrom(words);
    return proposeConfiguration(node.state, source(`config ${configurationWords(to)}`), to);
  }

  test("a new member counts at once, and is probed from the end of the log", () => {
    const node = settledLeader();
    expect(change(node, "n1 n2 n3 ~n4")).toBe("");
    expect(node.state.peers).toEqual(["n2", "n3", "n4"]);
    expect(sentBy(node)).toEqual([
      "n2 after 1:1 [1:2] commit 1",
      "n3 after 1:1 [1:2] commit 1",
      "n4 after 1:2 [] commit 1",
    ]);
    expect(progressOf(node.state, "n4").isRecentlyActive).toBe(true);
  });

  test.each([
    {
      name: "a follower",
      node: () => new StateUnderTest(),
      problem: "this node does not lead",
    },
    {
      name: "a leader that hands over",
      node: () => {
        const node = settledLeader();
        node.state.transferee = "n2";
        return node;
      },
      problem: "leadership is being handed over",
    },
    {
      name: "a leader before its first commit",
      node: () => leaderUnderTest(),
      problem: "the leader has not committed an entry of its term yet",
    },
    {
      name: "a leader whose last change is not committed",
      node: () => {
        const node = settledLeader();
        change(node, "n1 n2 n3 ~n4");
        return node;
      },
      problem: "another change is under way",
    },
  ])("$name refuses: $problem", ({ node, problem }) => {
    const { state } = node();
    const last = state.log.lastIndex;
    const to = configurationFrom("n1 n2");
    expect(proposeConfiguration(state, source("config n1 n2"), to)).toBe(problem);
    expect(state.log.lastIndex).toBe(last);
  });

  test("a change that is not allowed is refused with its reason", () => {
    const node = settledLeader();
    const problem = "several voters change only through joint consensus";
    expect(change(node, "n1")).toBe(problem);
    expect(node.state.log.lastIndex).toBe(1);
  });

  // The members that are left may have confirmed already.
  test("reads that the rest has confirmed are answered with the change", () => {
    const node = settledLeader({ members: "n1 n2" });
    addRead(node.state, "n1", 7);
    expect(node.state.reads).toEqual([]);
    expect(change(node, "n1")).toBe("");
    expect(node.state.reads).toEqual([{ context: 7, index: 1 }]);
  });

  test("an entry that sets other members than were checked is a bug", () => {
    const { state } = settledLeader();
    const to = configurationFrom("n1 n2 n3 ~n4");
    const other = source("config n1 n2 n3 ~n5");
    expect(() => proposeConfiguration(state, other, to)).toThrow("sets the checked members");
  });

  test("a replaced data directory has acknowledged nothing", () => {
    const node = settledLeader({ members: "n1 n2 n3 ~n4@a" });
    expect(progressOf(node.state, "n4").match).toBe(1);
    expect(change(node, "n1 n2 n3 ~n4@b")).toBe("");
    expect(progressOf(node.state, "n4").match).toBe(0);
    expect(progressOf(node.state, "n3").match).toBe(1);
  });
});

describe("sending", () => {
  test("a window of three messages is filled, and no more", () => {
    const config = { inflightMessagesMax: 3, appendBytesMax: 2 };
    const node = settledLeader({ config, members: "n1 n2" });
    progressOf(node.state, "n2").isCatchingUp = true;
    proposeQuietly(node, 8);
    progressOf(node.state, "n2").isCatchingUp = false;
    broadcastAppend(node.state);
    expect(sentBy(node)).toEqual([
      "n2 after 1:1 [1:2 1:3] commit 1",
      "n2 after 1:3 [1:4 1:5] commit 1",
      "n2 after 1:5 [1:6 1:7] commit 1",
    ]);
    expect(peerOf(node, "n2")).toEqual({ ...REPLICATING, match: 1, next: 8, inflight: 3 });
  });

  test("a window of bytes counts the entries' bytes", () => {
    const config = { inflightBytesMax: 5, appendBytesMax: 4 };
    const node = settledLeader({ config, members: "n1 n2" });
    for (const text of ["aaa", "bbb", "ccc"]) propose(node.state, source(text));
    expect(sentBy(node)).toEqual(["n2 after 1:1 [1:2] commit 1", "n2 after 1:2 [1:3] commit 1"]);
  });

  test("in probe state one append is sent, also an empty one", () => {
    const node = settledLeader({ members: "n1 n2" });
    progressOf(node.state, "n2").becomeProbe();
    broadcastAppend(node.state);
    broadcastAppend(node.state);
    expect(sentBy(node)).toEqual(["n2 after 1:1 [] commit 1"]);
  });

  test("in replicate state nothing is sent when there is nothing new", () => {
    const node = settledLeader();
    broadcastAppend(node.state);
    expect(sentBy(node)).toEqual([]);
  });

  test("entries that are not in memory are requested from the disk, once", () => {
    const config = { appendBytesMax: 5 };
    const node = settledLeader({ members: "n1 n2", config });
    proposeQuietly(node, 3);
    node.sync();
    progressOf(node.state, "n2").becomeProbe();
    node.disk.cachedFrom = 4;
    broadcastAppend(node.state);
    broadcastAppend(node.state);
    expect(node.state.catchUps).toEqual([{ peer: "n2", from: 2, bytesMax: 5 }]);
    expect(sentBy(node)).toEqual([]);
    expect(peerOf(node, "n2").isCatchingUp).toBe(true);
  });

  // Only the peer's answer at the oldest place left shows whether it lacks the entries that are
  // gone.
  test("a peer whose entries are gone is probed at the head of the log", () => {
    const node = settledLeader({ members: "n1 n2", log: [1, 1, 1] });
    const progress = progressOf(node.state, "n2");
    progress.match = 1;
    progress.becomeReplicate();
    node.disk.compact(3);
    broadcastAppend(node.state);
    expect(sentBy(node)).toEqual(["n2 after 1:3 [] commit 4"]);
    expect(peerOf(node, "n2")).toEqual({ ...PROBING, match: 1, next: 4, isProbeSent: true });
  });

  test("a peer at the head of the log is sent entries", () => {
    const node = settledLeader({ members: "n1 n2", log: [1, 1, 1] });
    const progress = progressOf(node.state, "n2");
    progress.match = 3;
    progress.becomeReplicate();
    node.disk.compact(3);
    broadcastAppend(node.state);
    expect(sentBy(node)).toEqual(["n2 after 1:3 [2:4] commit 4"]);
  });

  // The log is 1 1 2 and committed; each append carries one entry. An append that ends before the
  // commit index proves, and so announces, no more than its own entries.
  test.each([
    { next: 1, sent: "n2 after 0:0 [1:1] commit 3", sentCommit: 1 },
    { next: 2, sent: "n2 after 1:1 [1:2] commit 3", sentCommit: 2 },
    { next: 3, sent: "n2 after 1:2 [2:3] commit 3", sentCommit: 3 },
    { next: 4, sent: "n2 after 2:3 [] commit 3", sentCommit: 3 },
  ])("an append at $next announces a commit of $sentCommit", ({ next, sent, sentCommit }) => {
    const config = { appendBytesMax: 1 };
    const node = settledLeader({ members: "n1 n2", log: [1, 1], config });
    const progress = progressOf(node.state, "n2");
    progress.match = 0;
    progress.becomeProbe();
    progress.next = next;
    broadcastAppend(node.state);
    expect(sentBy(node)).toEqual([sent]);
    expect(progress.sentCommit).toBe(sentCommit);
  });

  test("heartbeats announce no commit beyond the match", () => {
    const node = settledLeader();
    progressOf(node.state, "n3").match = 0;
    sendHeartbeat(node.state, "n2");
    sendHeartbeat(node.state, "n3");
    expect(sentBy(node)).toEqual(["n2 heartbeat 1 round 0", "n3 heartbeat 0 round 0"]);
    expect(progressOf(node.state, "n2").sentCommit).toBe(1);
    expect(progressOf(node.state, "n3").sentCommit).toBe(0);
  });
});

describe("entries from the disk", () => {
  /** n2 holds entry 1 of five and waits for the rest. */
  function waiting(): StateUnderTest {
    const node = settledLeader({ members: "n1 n2" });
    proposeQuietly(node, 4);
    node.sync();
    const progress = progressOf(node.state, "n2");
    progress.becomeReplicate();
    progress.isCatchingUp = true;
    return node;
  }

  const [, second, third, fourth] = entriesOf(1, 1, 1, 1);

  test("the wanted ones are sent, and those in memory follow", () => {
    const node = waiting();
    supplyEntries(node.state, "n2", [second!, third!]);
    expect(sentBy(node)).toEqual([
      "n2 after 1:1 [1:2 1:3] commit 1",
      "n2 after 1:3 [1:4 1:5] commit 1",
    ]);
    expect(peerOf(node, "n2")).toEqual({ ...REPLICATING, match: 1, next: 6, inflight: 2 });
  });

  // Others are ignored, and the peer is served from memory, or the disk is read again.
  test.each([
    { name: "none", entries: [] },
    { name: "later ones", entries: [third!, fourth!] },
    { name: "ones of another term", entries: [{ ...second!, term: 9 }] },
    { name: "ones that end in another term", entries: [second!, { ...third!, term: 9 }] },
  ])("$name are not the wanted ones", ({ entries }) => {
    const node = waiting();
    supplyEntries(node.state, "n2", entries);
    expect(sentBy(node)).toEqual(["n2 after 1:1 [1:2 1:3 1:4 1:5] commit 1"]);
    expect(peerOf(node, "n2").isCatchingUp).toBe(false);
  });

  test("entries whose predecessor is gone are not sent", () => {
    const node = waiting();
    node.state.commitTo(4);
    node.disk.compact(3);
    supplyEntries(node.state, "n2", [second!, third!, fourth!]);
    expect(sentBy(node)).toEqual(["n2 after 1:3 [] commit 4"]);
  });

  // The term of the entry before the log's first is known.
  test("entries at the head of the log are sent", () => {
    const node = waiting();
    node.disk.compact(1);
    supplyEntries(node.state, "n2", [second!, third!]);
    expect(sentBy(node)[0]).toBe("n2 after 1:1 [1:2 1:3] commit 1");
  });

  test("a full window takes none", () => {
    const node = waiting();
    const progress = progressOf(node.state, "n2");
    for (let at = 0; at < 8; at += 1) progress.inflights.add(at + 1, 1);
    supplyEntries(node.state, "n2", [second!]);
    expect(sentBy(node)).toEqual([]);
    expect(progress.isCatchingUp).toBe(false);
  });

  test("a peer that does not wait, a stranger and a follower take none", () => {
    const node = waiting();
    progressOf(node.state, "n2").isCatchingUp = false;
    supplyEntries(node.state, "n2", [second!]);
    supplyEntries(node.state, "n9", [second!]);
    expect(sentBy(node)).toEqual([]);
    const other = waiting();
    other.state.role = "follower";
    supplyEntries(other.state, "n2", [second!]);
    expect(sentBy(other)).toEqual([]);
  });
});

describe("acknowledgements", () => {
  test("the first one lets a probed peer replicate", () => {
    const node = leaderUnderTest({ members: "n1 n2 n3" });
    node.takeSent();
    propose(node.state, source("a"));
    acknowledge(node, "n2", 1);
    expect(sentBy(node)).toEqual(["n2 after 1:1 [1:2] commit 0"]);
    expect(peerOf(node, "n2")).toEqual({ ...REPLICATING, match: 1, next: 3, inflight: 1 });
    expect(progressOf(node.state, "n2").isRecentlyActive).toBe(true);
  });

  test("one of a probed peer that is known already lets it replicate, too", () => {
    const node = settledLeader();
    progressOf(node.state, "n2").becomeProbe();
    acknowledge(node, "n2", 1);
    expect(peerOf(node, "n2").state).toBe("replicate");
  });

  test("one of the past does not", () => {
    const node = settledLeader({ log: [1, 1] });
    progressOf(node.state, "n2").becomeProbe();
    handleAppendEntriesResponse(node.state, responseOf({ index: 2, term: 2 }));
    expect(peerOf(node, "n2").state).toBe("probe");
  });

  // The log goes on from where the peer stands, so the snapshot is not needed any more.
  test.each([
    { cut: 2, index: 2, state: "replicate" },
    { cut: 3, index: 2, state: "snapshot" },
  ])("one at $index ends a snapshot of a log cut at $cut: $state", ({ cut, index, state }) => {
    const node = settledLeader({ members: "n1 n2", log: [1, 1, 1] });
    const progress = progressOf(node.state, "n2");
    progress.match = 0;
    progress.becomeSnapshot();
    node.disk.compact(cut);
    handleAppendEntriesResponse(node.state, responseOf({ index, term: 2 }));
    expect(peerOf(node, "n2").state).toBe(state as "replicate");
  });

  test("it frees the window, and the next entries follow", () => {
    const node = settledLeader({ members: "n1 n2", config: { inflightMessagesMax: 2 } });
    for (const text of ["a", "b", "c"]) propose(node.state, source(text));
    expect(sentBy(node).length).toBe(2);
    acknowledge(node, "n2", 2);
    expect(sentBy(node)).toEqual(["n2 after 1:3 [1:4] commit 1"]);
    expect(peerOf(node, "n2")).toEqual({ ...REPLICATING, match: 2, next: 5, inflight: 2 });
  });

  test("one of an entry that was never sent is refused", () => {
    const node = settledLeader();
    acknowledge(node, "n2", 2);
    expect(node.takeEvents()).toEqual([
      {
        type: "MESSAGE_REFUSED",
        from: "n2",
        reason: "it acknowledged entry 2, which was never sent",
      },
    ]);
    expect(progressOf(node.state, "n2").match).toBe(1);
  });

  test.each([
    { name: "a follower", role: "follower" as const, from: "n2" },
    { name: "a leader, of a stranger", role: "leader" as const, from: "n9" },
  ])("$name ignores it", ({ role, from }) => {
    const node = settledLeader();
    proposeQuietly(node, 1);
    node.state.role = role;
    acknowledge(node, from, 2);
    handleHeartbeatResponse(node.state, heartbeatResponseOf({ from }));
    expect(progressOf(node.state, "n2").match).toBe(1);
    expect(progressOf(node.state, "n2").isRecentlyActive).toBe(false);
    expect(sentBy(node)).toEqual([]);
  });

  test("a majority commits an entry of the leader's term, and starts the reads that wait", () => {
    const node = leaderUnderTest();
    addRead(node.state, "n3", 5);
    node.takeSent();
    acknowledge(node, "n2", 1);
    expect(node.state.log.committed).toBe(0);
    acknowledge(node, "n3", 1);
    expect(node.state.log.committed).toBe(1);
    expect(node.state.waitingReads).toEqual([]);
    expect(node.state.pendingReads).toEqual([{ context: 5, from: "n3", index: 1, round: 1 }]);
    expect(sentBy(node)).toEqual(["n2 heartbeat 1 round 1", "n3 heartbeat 1 round 1"]);
  });

  test("a majority does not commit an entry of an older term", () => {
    const node = leaderUnderTest({ log: [1, 1] });
    for (const from of ["n2", "n3"]) {
      handleAppendEntriesResponse(node.state, responseOf({ from, index: 2, term: 2 }));
    }
    expect(node.state.log.committed).toBe(0);
    for (const from of ["n2", "n3"]) {
      handleAppendEntriesResponse(node.state, responseOf({ from, index: 3, term: 2 }));
    }
    expect(node.state.log.committed).toBe(3);
  });
});

describe("refusals", () => {
  function reject(node: StateUnderTest, index: number, hint: { term: number; index: number }) {
    const response = { rejected: true, index, hint, term: node.state.term };
    handleAppendEntriesResponse(node.state, responseOf(response));
  }

  /** Log 1 1 1 2 2 3 and the term's first entry 4:7; n2 was probed at 6. */
  function probing(): StateUnderTest {
    const node = leaderUnderTest({ members: "n1 n2", log: [1, 1, 1, 2, 2, 3] });
    node.takeSent();
    return node;
  }

  test.each([
    { hint: { term: 3, index: 6 }, sent: "n2 after 2:5 [3:6 4:7] commit 0" },
    { hint: { term: 2, index: 4 }, sent: "n2 after 2:4 [2:5 3:6 4:7] commit 0" },
    { hint: { term: 1, index: 5 }, sent: "n2 after 1:3 [2:4 2:5 3:6 4:7] commit 0" },
    { hint: { term: 1, index: 2 }, sent: "n2 after 1:2 [1:3 2:4 2:5 3:6 4:7] commit 0" },
    { hint: { term: 0, index: 0 }, sent: "n2 after 0:0 [1:1 1:2 1:3 2:4 2:5 3:6 4:7] commit 0" },
  ])("the next probe begins where the logs agree at best: $hint", ({ hint, sent }) => {
    const node = probing();
    node.sync();
    reject(node, 6, hint);
    expect(sentBy(node)).toEqual([sent]);
    expect(peerOf(node, "n2").state).toBe("probe");
    expect(progressOf(node.state, "n2").isRecentlyActive).toBe(true);
  });

  test("one of an earlier probe changes nothing", () => {
    const node = probing();
    reject(node, 5, { term: 0, index: 0 });
    expect(sentBy(node)).toEqual([]);
    expect(peerOf(node, "n2")).toEqual({ ...PROBING, match: 0, next: 7, isProbeSent: true });
  });

  // A peer that lost acknowledged entries would refuse the same append for ever.
  test("a peer that lost acknowledged entries is not sent more at once", () => {
    const node = settledLeader({ members: "n1 n2" });
    progressOf(node.state, "n2").becomeProbe();
    reject(node, 1, { term: 0, index: 0 });
    expect(sentBy(node)).toEqual([]);
    expect(node.takeEvents()).toEqual([
      {
        type: "MESSAGE_REFUSED",
        from: "n2",
        reason: "it lost entry 1, which it had acknowledged",
      },
    ]);
  });

  // Such refusals are answers to appends of the past: the peer has acknowledged more since.
  test.each([
    { state: "replicate", next: 2, at: 1 },
    { state: "probe", next: 4, at: 1 },
  ] as const)("one at the match changes nothing: $state, next $next", ({ state, next, at }) => {
    const node = settledLeader({ members: "n1 n2", log: [1, 1] });
    const progress = progressOf(node.state, "n2");
    progress.match = 1;
    progress.state = state;
    progress.next = next;
    reject(node, at, { term: 0, index: 0 });
    expect([node.takeEvents(), sentBy(node), peerOf(node, "n2").next]).toEqual([[], [], next]);
  });

  test("a loss in the pipeline leads back to the match", () => {
    const node = settledLeader({ members: "n1 n2" });
    proposeQuietly(node, 2);
    reject(node, 2, { term: 1, index: 1 });
    expect(sentBy(node)).toEqual(["n2 after 1:1 [1:2 1:3] commit 1"]);
    expect(peerOf(node, "n2")).toEqual({ ...PROBING, match: 1, next: 2, isProbeSent: true });
  });

  // Log 1 1 1 2, cut at 3. A refusal at the oldest place shows that the peer lacks entries that are
  // gone.
  test.each([
    { next: 4, at: 3, snapshots: ["n2"], sent: [] },
    { next: 5, at: 4, snapshots: [], sent: ["n2 after 1:3 [] commit 4"] },
  ])("a refusal at $at of a log cut at 3: snapshots for $snapshots", (row) => {
    const node = settledLeader({ members: "n1 n2", log: [1, 1, 1] });
    const progress = progressOf(node.state, "n2");
    progress.match = 0;
    progress.becomeProbe();
    progress.next = row.next;
    node.disk.compact(3);
    reject(node, row.at, { term: 0, index: 0 });
    expect(node.state.snapshotPeers).toEqual([...row.snapshots]);
    expect(sentBy(node)).toEqual([...row.sent]);
    expect(progress.state).toBe(row.snapshots.length > 0 ? "snapshot" : "probe");
  });
});

describe("the end of a snapshot", () => {
  /** n2 is sent a snapshot: the log 1 1 1 2 is cut at 3. */
  function sending(match = 0): StateUnderTest {
    const node = settledLeader({ members: "n1 n2", log: [1, 1, 1] });
    const progress = progressOf(node.state, "n2");
    progress.match = match;
    progress.becomeSnapshot();
    node.disk.compact(3);
    return node;
  }

  test("delivered: the peer is probed at the head of the log", () => {
    const node = sending();
    snapshotEnded(node.state, "n2", true);
    expect(sentBy(node)).toEqual(["n2 after 1:3 [2:4] commit 4"]);
    expect(peerOf(node, "n2")).toEqual({ ...PROBING, match: 0, next: 4, isProbeSent: true });
  });

  test("failed: the peer is probed at its next heartbeat response", () => {
    const node = sending();
    snapshotEnded(node.state, "n2", false);
    expect(sentBy(node)).toEqual([]);
    expect(peerOf(node, "n2")).toEqual({ ...PROBING, match: 0, next: 4, isProbeSent: true });
    handleHeartbeatResponse(node.state, heartbeatResponseOf({ term: 2 }));
    expect(sentBy(node)).toEqual(["n2 after 1:3 [2:4] commit 4"]);
  });

  test("a peer that is not sent one, a stranger and a follower are left alone", () => {
    const node = settledLeader();
    snapshotEnded(node.state, "n2", true);
    snapshotEnded(node.state, "n9", true);
    expect(peerOf(node, "n2").state).toBe("replicate");
    const other = sending();
    other.state.role = "follower";
    snapshotEnded(other.state, "n2", true);
    expect(peerOf(other, "n2").state).toBe("snapshot");
    expect([...sentBy(node), ...sentBy(other)]).toEqual([]);
  });
});

describe("heartbeat responses", () => {
  test("one confirms the rounds up to its own", () => {
    const node = settledLeader();
    node.state.readRound = 5;
    handleHeartbeatResponse(node.state, heartbeatResponseOf({ readRound: 5 }));
    handleHeartbeatResponse(node.state, heartbeatResponseOf({ readRound: 3 }));
    const { readRound, isRecentlyActive } = progressOf(node.state, "n2");
    expect({ readRound, isRecentlyActive }).toEqual({ readRound: 5, isRecentlyActive: true });
  });

  test("one releases the reads of its round", () => {
    const node = settledLeader();
    addRead(node.state, "n1", 7);
    expect(node.state.reads).toEqual([]);
    handleHeartbeatResponse(node.state, heartbeatResponseOf({ readRound: 1 }));
    expect(node.state.reads).toEqual([{ context: 7, index: 1 }]);
  });

  test("a round that was never started is refused", () => {
    const node = settledLeader();
    handleHeartbeatResponse(node.state, heartbeatResponseOf({ readRound: 1 }));
    expect(progressOf(node.state, "n2").readRound).toBe(0);
    expect(node.takeEvents()).toEqual([
      {
        type: "MESSAGE_REFUSED",
        from: "n2",
        reason: "it confirmed a read round that was never started",
      },
    ]);
  });

  // A window whose appends were all lost would otherwise stay full for ever.
  test("a full window loses its oldest append, and the peer is probed", () => {
    const node = settledLeader({ members: "n1 n2", config: { inflightMessagesMax: 2 } });
    proposeQuietly(node, 2);
    expect(peerOf(node, "n2").inflight).toBe(2);
    handleHeartbeatResponse(node.state, heartbeatResponseOf());
    expect(sentBy(node)).toEqual(["n2 after 1:3 [] commit 1"]);
    expect(peerOf(node, "n2")).toEqual({ ...REPLICATING, match: 1, next: 4, inflight: 1 });
  });

  test("a peer that was sent all entries is probed with an empty append", () => {
    const node = settledLeader({ members: "n1 n2" });
    proposeQuietly(node, 1);
    handleHeartbeatResponse(node.state, heartbeatResponseOf());
    expect(sentBy(node)).toEqual(["n2 after 1:2 [] commit 1"]);
    expect(peerOf(node, "n2").inflight).toBe(1);
  });

  test("a peer that waits for the disk is sent nothing", () => {
    const node = settledLeader({ members: "n1 n2" });
    proposeQuietly(node, 1);
    progressOf(node.state, "n2").isCatchingUp = true;
    handleHeartbeatResponse(node.state, heartbeatResponseOf());
    expect(sentBy(node)).toEqual([]);
  });

  test("a peer that was not sent the last entry gets it", () => {
    const node = settledLeader({ members: "n1 n2" });
    progressOf(node.state, "n2").isCatchingUp = true;
    proposeQuietly(node, 1);
    progressOf(node.state, "n2").isCatchingUp = false;
    handleHeartbeatResponse(node.state, heartbeatResponseOf());
    expect(sentBy(node)).toEqual(["n2 after 1:1 [1:2] commit 1"]);
  });

  test("a window with room and something left is filled", () => {
    const node = settledLeader({ members: "n1 n2", config: { inflightMessagesMax: 2 } });
    proposeQuietly(node, 4);
    handleHeartbeatResponse(node.state, heartbeatResponseOf());
    expect(sentBy(node)).toEqual(["n2 after 1:3 [1:4 1:5] commit 1"]);
  });

  test("a peer that has everything is sent nothing in replicate, and a probe in probe state", () => {
    const node = settledLeader({ members: "n1 n2" });
    handleHeartbeatResponse(node.state, heartbeatResponseOf());
    expect(sentBy(node)).toEqual([]);
    progressOf(node.state, "n2").becomeProbe();
    progressOf(node.state, "n2").isProbeSent = true;
    handleHeartbeatResponse(node.state, heartbeatResponseOf());
    expect(sentBy(node)).toEqual(["n2 after 1:1 [] commit 1"]);
  });

  test("a probed peer that lacks entries is probed again", () => {
    const node = settledLeader({ members: "n1 n2" });
    progressOf(node.state, "n2").becomeProbe();
    proposeQuietly(node, 1);
    handleHeartbeatResponse(node.state, heartbeatResponseOf());
    expect(sentBy(node)).toEqual(["n2 after 1:1 [1:2] commit 1"]);
  });
});

describe("own entries on disk", () => {
  test("a single voter commits by its disk alone", () => {
    const node = settledLeader({ members: "n1" });
    propose(node.state, source("a"));
    ownEntriesPersisted(node.state);
    expect(node.state.log.committed).toBe(1);
    node.sync();
    ownEntriesPersisted(node.state);
    expect(node.state.log.committed).toBe(2);
    expect(progressOf(node.state, "n1").match).toBe(2);
  });

  // The first TIMEOUT_NOW may be lost, and its repetition is harmless: the target campaigns once.
  test("a target that has everything is sent TIMEOUT_NOW again", () => {
    const node = settledLeader();
    proposeQuietly(node, 1);
    acknowledge(node, "n2", 2);
    transferLeadership(node.state, "n2");
    node.takeSent();
    node.sync();
    ownEntriesPersisted(node.state);
    expect(sentBy(node)).toEqual(["n2 campaign 1:2"]);
  });

  test("a follower counts nothing", () => {
    const node = settledLeader({ members: "n1" });
    propose(node.state, source("a"));
    node.sync();
    node.state.role = "follower";
    ownEntriesPersisted(node.state);
    expect(node.state.log.committed).toBe(1);
  });
});

describe("a leader that is removed", () => {
  /** n1 leads, and its removal is in the log; n2 and n3 vote. */
  function removed(): StateUnderTest {
    const node = settledLeader();
    const to = configurationFrom("n2 n3");
    expect(proposeConfiguration(node.state, source("config n2 n3"), to)).toBe("");
    node.takeSent();
    return node;
  }

  test("it leads until its removal is committed, then makes the best voter campaign", () => {
    const node = removed();
    proposeQuietly(node, 1);
    acknowledge(node, "n2", 3);
    expect(node.state.role).toBe("leader");
    expect(node.takeEvents()).toEqual([]);
    acknowledge(node, "n3", 2);
    const { role, leader, term } = node.state;
    expect([role as string, leader, term]).toEqual(["follower", undefined, 1]);
    expect(sentBy(node)).toEqual([
      "n2 heartbeat 2 round 0",
      "n3 heartbeat 2 round 0",
      "n2 campaign 1:3",
    ]);
  });

  test.each([
    { members: "n1 n2 n3", matches: [9, 1, 3], successor: "n3" },
    { members: "n1 n2 n3", matches: [9, 3, 3], successor: "n2" },
    { members: "n1 n2 n3", matches: [9, 0, 0], successor: undefined },
    { members: "n1 n2 ~n3", matches: [9, 1, 3], successor: "n2" },
    { members: "n1", matches: [9], successor: undefined },
    { members: "n2 n3", matches: [9, 0, 1], successor: "n3" },
  ])("$members with matches $matches: the successor is $successor", (row) => {
    const node = settledLeader({ members: row.members, log: [1, 1] });
    for (const [at, match] of row.matches.entries()) {
      const progress = node.state.progress.get(`n${at + 1}`);
      if (at > 0 && progress !== undefined) progress.match = match;
    }
    expect(successorOf(node.state)).toBe(row.successor);
  });
});

describe("ticks", () => {
  // A heartbeat each 2 ticks, T = 10.
  const TICKS = { config: { heartbeatTicks: 2, electionTicks: 10 } };

  test("a heartbeat is sent each interval; without leases it begins no round", () => {
    const node = settledLeader(TICKS);
    tickLeader(node.state);
    node.takeSent();
    tickLeader(node.state);
    expect(sentBy(node)).toEqual(["n2 heartbeat 1 round 0", "n3 heartbeat 1 round 0"]);
    tickLeader(node.state);
    expect(sentBy(node)).toEqual([]);
    tickLeader(node.state);
    expect(sentBy(node).length).toBe(2);
  });

  test("with leases each heartbeat is a round", () => {
    const config = { ...TICKS.config, hasLeases: true };
    const node = settledLeader({ config });
    for (let at = 0; at < 4; at += 1) tickLeader(node.state);
    expect(node.state.readRound).toBe(2);
    expect(sentBy(node).at(-1)).toBe("n3 heartbeat 1 round 2");
  });

  // A follower with nothing under way learns of a commit within a tick, not a heartbeat.
  test("a commit that was not announced is announced within a tick, once", () => {
    const node = settledLeader({ config: { heartbeatTicks: 3, electionTicks: 15 } });
    progressOf(node.state, "n3").sentCommit = 1;
    tickLeader(node.state);
    expect(sentBy(node)).toEqual(["n2 heartbeat 1 round 0"]);
    tickLeader(node.state);
    expect(sentBy(node)).toEqual([]);
  });

  test("a leader without a quorum's answers stops leading after T, with one it stays", () => {
    const node = settledLeader(TICKS);
    for (let at = 0; at < 9; at += 1) tickLeader(node.state);
    progressOf(node.state, "n3").isRecentlyActive = true;
    tickLeader(node.state);
    expect(node.state.role).toBe("leader");
    expect([...node.state.progress.values()].map((p) => p.isRecentlyActive)).toEqual([
      false,
      false,
      false,
    ]);
    for (let at = 0; at < 9; at += 1) tickLeader(node.state);
    expect(node.state.role).toBe("leader");
    node.takeEvents();
    node.takeSent();
    tickLeader(node.state);
    expect(node.takeEvents()).toEqual([
      { type: "QUORUM_LOST", term: 1 },
      { type: "ROLE_CHANGED", role: "follower", term: 1, leader: undefined },
    ]);
    expect(sentBy(node)).toEqual([]);
  });

  test("with longer waits the quorum has more time, too", () => {
    const node = settledLeader(TICKS);
    node.state.setPace({ electionTicks: 25, rankTicks: node.state.config.rankTicks });
    for (let at = 0; at < 24; at += 1) tickLeader(node.state);
    progressOf(node.state, "n3").isRecentlyActive = true;
    tickLeader(node.state);
    expect(node.state.role).toBe("leader");
    for (let at = 0; at < 24; at += 1) tickLeader(node.state);
    expect(node.state.role).toBe("leader");
    tickLeader(node.state);
    expect(node.state.role).toBe("follower");
  });

  test("a hand-over is given up after T", () => {
    const node = settledLeader(TICKS);
    for (let at = 0; at < 5; at += 1) tickLeader(node.state);
    transferLeadership(node.state, "n2");
    for (let at = 0; at < 9; at += 1) {
      progressOf(node.state, "n2").isRecentlyActive = true;
      tickLeader(node.state);
      expect(node.state.transferee).toBe("n2");
    }
    node.takeEvents();
    tickLeader(node.state);
    expect(node.state.transferee).toBeUndefined();
    expect(node.takeEvents()).toEqual([{ type: "TRANSFER_ENDED", to: "n2", done: false }]);
  });

  // H = 2 ticks to the heartbeat, T = 10 to the quorum check and to the end of a hand-over.
  test.each([
    { heartbeat: 0, quorum: 0, transfer: undefined, idle: 4 },
    { heartbeat: 1, quorum: 0, transfer: undefined, idle: 3 },
    { heartbeat: 4, quorum: 0, transfer: undefined, idle: 0 },
    { heartbeat: 0, quorum: 23, transfer: undefined, idle: 1 },
    { heartbeat: 0, quorum: 24, transfer: undefined, idle: 0 },
    { heartbeat: 0, quorum: 0, transfer: 0, idle: 4 },
    { heartbeat: 0, quorum: 0, transfer: 22, idle: 2 },
    { heartbeat: 0, quorum: 0, transfer: 24, idle: 0 },
    { heartbeat: 0, quorum: 23, transfer: 22, idle: 1 },
  ])("idle after $heartbeat, $quorum and $transfer ticks: $idle", (row) => {
    const node = settledLeader({ config: { heartbeatTicks: 5, electionTicks: 25 } });
    const { state } = node;
    for (const id of state.peers) sendHeartbeat(state, id);
    for (const progress of state.progress.values()) progress.isRecentlyActive = true;
    state.heartbeatElapsed = row.heartbeat;
    state.quorumElapsed = row.quorum;
    if (row.transfer !== undefined) {
      state.transferee = "n2";
      state.transferElapsed = row.transfer;
    }
    node.takeSent();
    expect(idleLeaderTicks(state)).toBe(row.idle);

    skipLeaderTicks(state, row.idle);
    const { heartbeatElapsed, quorumElapsed, transferElapsed } = state;
    expect([heartbeatElapsed, quorumElapsed, transferElapsed]).toEqual([
      row.heartbeat + row.idle,
      row.quorum + row.idle,
      row.transfer === undefined ? 0 : row.transfer + row.idle,
    ]);
    tickLeader(state);
    const isHeartbeat = row.heartbeat + row.idle === 4;
    const isCheck = row.quorum + row.idle === 24;
    const isEnd = row.transfer !== undefined && row.transfer + row.idle === 24;
    expect(node.takeSent().length).toBe(isHeartbeat ? 2 : 0);
    expect(state.quorumElapsed === 0).toBe(isCheck);
    expect(state.transferee === undefined).toBe(isEnd || row.transfer === undefined);
  });

  test("a commit that was not announced leaves no idle ticks", () => {
    const node = settledLeader({ config: { heartbeatTicks: 5, electionTicks: 25 } });
    expect(idleLeaderTicks(node.state)).toBe(0);
  });
});

describe("handing over", () => {
  test("a target that has everything campaigns at once, and no lease holds any more", () => {
    const node = settledLeader();
    expect(transferLeadership(node.state, "n2")).toBe(true);
    expect(sentBy(node)).toEqual(["n2 campaign 1:1"]);
    const { transferee, isLeaseVoid } = node.state;
    expect({ transferee, isLeaseVoid }).toEqual({ transferee: "n2", isLeaseVoid: true });
    expect(node.takeEvents()).toEqual([{ type: "TRANSFER_STARTED", to: "n2" }]);
  });

  test("a target that lacks entries gets them first", () => {
    const node = settledLeader();
    progressOf(node.state, "n2").isCatchingUp = true;
    proposeQuietly(node, 1);
    progressOf(node.state, "n2").isCatchingUp = false;
    transferLeadership(node.state, "n2");
    expect(sentBy(node)).toEqual(["n2 after 1:1 [1:2] commit 1"]);
    expect(node.state.isLeaseVoid).toBe(false);
    acknowledge(node, "n2", 2);
    expect(sentBy(node)).toEqual(["n2 campaign 1:2"]);
    expect(node.state.isLeaseVoid).toBe(true);
  });

  test("another target replaces the first, the same one again is ignored", () => {
    const node = settledLeader();
    transferLeadership(node.state, "n2");
    node.state.transferElapsed = 5;
    node.takeSent();
    node.takeEvents();
    expect(transferLeadership(node.state, "n2")).toBe(true);
    expect([sentBy(node), node.takeEvents(), node.state.transferElapsed]).toEqual([[], [], 5]);
    expect(transferLeadership(node.state, "n3")).toBe(true);
    expect(sentBy(node)).toEqual(["n3 campaign 1:1"]);
    expect(node.state.transferElapsed).toBe(0);
    expect(node.takeEvents()).toEqual([
      { type: "TRANSFER_ENDED", to: "n2", done: false },
      { type: "TRANSFER_STARTED", to: "n3" },
    ]);
  });

  test.each([
    { name: "a follower", options: {}, to: "n2", lead: false },
    { name: "a leader, to itself", options: {}, to: "n1", lead: true },
    { name: "a leader, to a stranger", options: {}, to: "n9", lead: true },
    { name: "a leader, to a learner", options: { members: "n1 n2 ~n3" }, to: "n3", lead: true },
  ])("$name: no hand-over begins", ({ options, to, lead }) => {
    const node = lead ? settledLeader(options) : new StateUnderTest(options as StateOptions);
    expect(transferLeadership(node.state, to)).toBe(false);
    expect([node.state.transferee, node.takeEvents(), sentBy(node)]).toEqual([undefined, [], []]);
  });

  test.each([
    { words: "n1 n3 n4", transferee: undefined },
    { words: "n1 n2 n3", transferee: "n2" },
  ])("with the members $words the target n2 is then $transferee", ({ words, transferee }) => {
    const node = settledLeader({ members: "n1 n2 n3 n4" });
    progressOf(node.state, "n2").isCatchingUp = true;
    proposeQuietly(node, 1);
    transferLeadership(node.state, "n2");
    node.takeEvents();
    node.state.noteAppended([node.state.log.appendNew(1, source(`config ${words}`))]);
    expect(node.state.transferee).toBe(transferee);
    const ended = { type: "TRANSFER_ENDED", to: "n2", done: false } as const;
    expect(node.takeEvents()).toEqual(transferee === undefined ? [ended] : []);
  });
});

describe("a broken connection", () => {
  test("a peer that replicates is probed from its match", () => {
    const node = settledLeader();
    proposeQuietly(node, 2);
    peerUnreachable(node.state, "n2");
    expect(peerOf(node, "n2")).toEqual({ ...PROBING, match: 1, next: 2 });
  });

  test("a peer that is probed or sent a snapshot, a stranger and a follower are left alone", () => {
    const node = settledLeader();
    progressOf(node.state, "n2").becomeSnapshot();
    progressOf(node.state, "n3").becomeProbe();
    progressOf(node.state, "n3").isProbeSent = true;
    for (const id of ["n2", "n3", "n9"]) peerUnreachable(node.state, id);
    expect([peerOf(node, "n2").state, peerOf(node, "n3").isProbeSent]).toEqual(["snapshot", true]);
    const other = settledLeader();
    other.state.role = "follower";
    peerUnreachable(other.state, "n2");
    expect(peerOf(other, "n2").state).toBe("replicate");
  });
});
