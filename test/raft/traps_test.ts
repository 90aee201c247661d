/**
 * The traps of a naive Raft, by number, as far as the core can fall into them. The comment above
 * each test names the change to the source that it was seen to fail against: a test that passes
 * with the wrong rule proves nothing.
 *
 * @module
 */

import { expect, test } from "bun:test";
import {
  Cluster,
  clusterWithLeader,
  configurationFrom,
  configurationWords,
  entryAt,
} from "./cluster.ts";
import { acknowledged, append, heartbeat, voteRequest, voteResponse } from "./messages.ts";

/** A candidate of term 1 in a cluster of `nodeCount`, all of whose pre-votes were granted. */
function candidate(nodeCount: number) {
  const n1 = new Cluster({ nodeCount }).node("n1");
  n1.campaign();
  for (let at = 2; at <= nodeCount; at += 1) n1.step(`n${at}`, 1, voteResponse(true, true));
  n1.sent();
  return n1;
}

// Seen to fail with `matches` in log.ts true for every kept index.
test("T1: logs match by term and index, not by place alone", () => {
  const n2 = new Cluster({ nodeCount: 3, logs: { n2: [1, 1] } }).node("n2");

  n2.step("n1", 3, append({ term: 2, index: 2 }, [entryAt(3, 3)]));

  expect(n2.sent()).toMatchObject([{ rejected: true, index: 2 }]);
  expect(n2.logIds).toBe("1:1 1:2");
});

// Seen to fail with `isUpToDate` in election.ts comparing lengths only, and with `term` in log.ts
// giving 0 before the first kept entry.
test("T2: the last term is the last entry's, also when only the snapshot has it", () => {
  const cluster = new Cluster({ nodeCount: 3, logs: { n1: [1, 2], n2: [1] } });
  const n1 = cluster.node("n1");
  n1.step("n3", 2, heartbeat(2));
  n1.compact(2);
  n1.crash();
  n1.restart();
  n1.sent();
  expect(n1.log.all()).toEqual([]);

  n1.step("n2", 3, voteRequest({ term: 1, index: 9 }));
  expect(n1.sent()).toMatchObject([{ granted: false }]);
  n1.campaign();
  expect(n1.sent()).toMatchObject([{ last: { term: 2, index: 2 } }, {}]);
});

// Seen to fail with `#changedHardState` in raft.ts giving nothing.
test("T3: term, vote and entries are handed out to be kept", () => {
  const cluster = clusterWithLeader(3);
  const n2 = cluster.node("n2");
  cluster.node("n1").propose("x");
  cluster.stabilize();

  n2.crash();
  n2.restart();

  expect(n2.raft.view).toMatchObject({ term: 1, vote: "n1", lastIndex: 2 });
});

// Seen to fail with the vote for itself counted in `campaign` in election.ts.
test("T4: a candidate counts its own vote only when it is on disk", () => {
  const n1 = new Cluster({ nodeCount: 3 }).node("n1");
  n1.isDiskHeld = true;
  n1.campaign();
  n1.step("n2", 1, voteResponse(true, true));
  n1.step("n2", 1, voteResponse(true));
  expect(n1.raft.role).toBe("candidate");

  n1.persist();

  expect(n1.raft.role).toBe("leader");
});

// Seen to fail with VOTE_RESPONSE left out of the promises in `send` in raft_state.ts.
test("T4: a vote leaves only when it is on disk", () => {
  const n1 = new Cluster({ nodeCount: 3 }).node("n1");
  n1.isDiskHeld = true;

  n1.step("n2", 1, voteRequest());

  expect(n1.sent()).toEqual([]);
});

// Seen to fail with VOTE_REQUEST left out of the promises in `send` in raft_state.ts.
test("T4: a candidate asks for votes only with a log that is on disk", () => {
  const n1 = new Cluster({ nodeCount: 3, logs: { n1: [1] } }).node("n1");
  n1.isDiskHeld = true;
  n1.step("n3", 1, append({ term: 1, index: 1 }, [entryAt(1, 2)]));
  n1.campaign();
  n1.step("n2", 2, voteResponse(true, true));
  expect(n1.sent().filter((message) => message.term === 2)).toMatchObject([
    { preVote: true },
    { preVote: true },
  ]);

  n1.persist();

  const asked = n1.sent().filter((message) => message.type === "VOTE_REQUEST");
  expect(asked).toMatchObject([{ preVote: false }, { preVote: false }]);
});

// Seen to fail with `#adoptTerm` in raft.ts passing by requests whose log is behind.
test("T5: a newer term is adopted from a candidate that gets no vote", () => {
  const n1 = new Cluster({ nodeCount: 3, logs: { n1: [1, 1] } }).node("n1");
  n1.campaign();

  n1.step("n2", 7, voteRequest({ term: 1, index: 1 }));

  expect(n1.raft.view).toMatchObject({ role: "follower", term: 7, vote: undefined });
  expect(n1.sent().at(-1)).toMatchObject({ granted: false, term: 7 });
});

// Seen to fail with `#leaveRole` in raft_state.ts keeping pending reads.
test("T6: a node that stops leading stops its heartbeats, reads and proposals", () => {
  const cluster = clusterWithLeader(3);
  const n1 = cluster.node("n1");
  n1.do((raft) => raft.requestRead(7));
  cluster.drop();

  n1.step("n2", 2, heartbeat());
  n1.sent();
  n1.tick(5);
  expect(n1.sent()).toEqual([]);
  expect(n1.propose("x").accepted).toBe(false);
  n1.step("n3", 2, { type: "HEARTBEAT_RESPONSE", readRound: 9 });
  for (const node of cluster.nodes) node.tick(10);
  cluster.drop();
  cluster.elect("n1");
  n1.do((raft) => raft.requestRead(8));
  cluster.stabilize();

  expect(n1.reads.map(({ context }) => context)).toEqual([8]);
});

// Seen to fail with `followLeader` in follower.ts changing the role of followers only.
test("T7: an append of the same term makes a candidate a follower", () => {
  const n1 = candidate(3);

  n1.step("n2", 1, append({ term: 0, index: 0 }, [entryAt(1, 1)]));

  expect(n1.raft.view).toMatchObject({ role: "follower", leader: "n2", lastIndex: 1 });
});

// Seen to fail with `followLeader` in follower.ts without its check for a second leader.
test("T8: a second leader in a term is refused", () => {
  const cluster = clusterWithLeader(3);
  for (const id of ["n1", "n2"]) {
    const node = cluster.node(id);
    const before = node.raft.view;

    node.step("n3", 1, append({ term: 0, index: 0 }, [entryAt(1, 1, "other")], 1));
    node.step("n3", 1, heartbeat(1));

    expect(node.raft.view).toEqual(before);
    const refusal = { type: "MESSAGE_REFUSED", from: "n3", reason: "a second leader in term 1" };
    expect(node.events.at(-1)).toEqual(refusal as never);
    expect(node.sent()).toEqual([]);
  }
});

// Seen to fail with `campaign` in election.ts not clearing the votes of the round before.
test("T9: votes of an earlier round do not count", () => {
  const n1 = candidate(5);
  n1.step("n2", 1, voteResponse(true));
  n1.tick(20);
  expect(n1.raft.view).toMatchObject({ role: "pre-candidate", term: 1 });

  n1.step("n3", 2, voteResponse(true, true));
  n1.step("n2", 1, voteResponse(true));
  n1.step("n4", 1, voteResponse(true));

  expect(n1.raft.role).toBe("pre-candidate");
});

// Seen to fail with `voteResult` in quorum.ts waiting for every answer.
test("T10: an election is won with the majority's last answer, dead nodes or not", () => {
  const n1 = candidate(5);
  n1.step("n2", 1, voteResponse(true));
  n1.step("n3", 1, voteResponse(true));
  expect(n1.raft.role).toBe("leader");
});

// Seen to fail with `quorumValue` in quorum.ts giving the smallest value.
test("T11: a commit needs a majority, not the slowest", () => {
  const cluster = clusterWithLeader(5);
  const n1 = cluster.node("n1");
  n1.propose("x");
  n1.step("n2", 1, acknowledged(2));
  expect(n1.commitIndex).toBe(1);
  n1.step("n4", 1, acknowledged(2));
  expect(n1.commitIndex).toBe(2);
});

// Seen to fail with `handleAppendEntriesResponse` in leader.ts taking refusals as acknowledgements.
test("T12: a refusal is no acknowledgement", () => {
  const n1 = clusterWithLeader(3).node("n1");
  n1.propose("x");
  n1.step("n2", 1, { ...acknowledged(2), rejected: true } as never);
  expect(n1.commitIndex).toBe(1);
});

// Seen to fail with `handleAppendEntries` in follower.ts acknowledging its last index.
test("T12: an append acknowledges its own entries, not the whole log", () => {
  const n2 = new Cluster({ nodeCount: 3, logs: { n2: [1, 1, 1, 1] } }).node("n2");
  n2.step("n1", 2, append({ term: 1, index: 1 }, [entryAt(1, 2)]));
  expect(n2.sent()).toMatchObject([{ rejected: false, index: 2 }]);
});

// Seen to fail with `advanceCommit` in leader.ts without its comparison of terms.
test("T13: a majority commits only an entry of the leader's own term", () => {
  const cluster = new Cluster({ nodeCount: 3, logs: { n1: [1, 2], n2: [1], n3: [1] } });
  const n1 = cluster.node("n1");
  n1.campaign();
  for (let round = 0; round < 4; round += 1) cluster.deliver();
  expect(n1.raft.view).toMatchObject({ role: "leader", term: 3, lastIndex: 3 });

  n1.step("n2", 3, acknowledged(2));
  expect(n1.commitIndex).toBe(0);
  n1.step("n2", 3, acknowledged(3));

  expect(n1.commitIndex).toBe(3);
});

// Seen to fail with `append` in leader.ts raising the leader's own match at once.
test("T14: a leader counts its own copy only when it is on disk", () => {
  const n1 = clusterWithLeader(3).node("n1");
  n1.isDiskHeld = true;
  n1.propose("x");

  n1.step("n2", 1, acknowledged(2));
  expect(n1.commitIndex).toBe(1);
  n1.persist();

  expect(n1.commitIndex).toBe(2);
});

// Seen to fail with `#leaveRole` in raft_state.ts truncating uncommitted entries.
test("T15: an entry whose leader lost its quorum is not lost, it may commit later", () => {
  const cluster = clusterWithLeader(3);
  const n1 = cluster.node("n1");
  cluster.isolate("n1");
  n1.propose("x");
  n1.tick(20);
  expect(n1.raft.role).toBe("follower");

  cluster.heal();
  cluster.drop();
  for (const id of ["n2", "n3"]) cluster.node(id).tick(10);
  cluster.drop();
  cluster.elect("n1");

  const texts = cluster.nodes.map((node) => node.committedTexts);
  expect(texts).toEqual([["x"], ["x"], ["x"]]);
});

// Seen to fail with `match` in progress.ts beginning at 1.
test("T16: before an acknowledgement nothing counts as replicated, also not entry 1", () => {
  const n1 = candidate(3);
  n1.step("n2", 1, voteResponse(true));
  expect(n1.logIds).toBe("1:1");
  expect(n1.commitIndex).toBe(0);
  const first = { previous: { term: 0, index: 0 }, entries: [{ term: 1, index: 1 }] };
  expect(n1.sent()).toMatchObject([{ ...first }, { ...first }]);
});

// Seen to fail with `becomeLeader` in leader.ts appending nothing.
test("T17: a new leader commits the entries that it found without waiting for a proposal", () => {
  const cluster = new Cluster({ nodeCount: 3, logs: { n1: [1, 1], n2: [1, 1], n3: [1] } });
  cluster.elect("n1");
  expect(cluster.node("n1").raft.view).toMatchObject({ commitIndex: 3, hasCommittedOwnTerm: true });
});

// Seen to fail with `handleAppendEntries` in follower.ts committing up to its last index.
test("T18: a follower commits only entries that the request verified", () => {
  const n2 = new Cluster({ nodeCount: 3, logs: { n2: [1, 1, 1, 1] } }).node("n2");
  n2.step("n1", 2, append({ term: 1, index: 2 }, [], 4));
  expect(n2.commitIndex).toBe(2);
});

// Seen to fail with `handleAppendEntries` in follower.ts and `appendFrom` in log.ts both without
// their look at the commit index: the node then stops on the assertion in `#truncate`.
test("T19: a committed entry is never truncated", () => {
  const n2 = new Cluster({ nodeCount: 3, logs: { n2: [1, 1] } }).node("n2");
  n2.step("n1", 2, heartbeat(1));
  n2.step("n1", 2, heartbeat(2));
  n2.sent();

  n2.step("n1", 2, append({ term: 1, index: 2 }, []));
  n2.step("n1", 2, append({ term: 0, index: 0 }, [entryAt(2, 1), entryAt(2, 2)]));
  expect(n2.logIds).toBe("1:1 1:2");
  const n3 = new Cluster({ nodeCount: 3, logs: { n3: [1, 1] }, commitIndex: 0 }).node("n3");
  n3.step("n1", 2, append({ term: 0, index: 0 }, [entryAt(1, 1)], 1));
  n3.step("n2", 3, append({ term: 1, index: 1 }, [entryAt(3, 2)], 1));
  expect(n3.logIds).toBe("1:1 3:2");
});

// The tail and its replacement are in one Ready, so that no crash comes between them. Seen to fail
// with `takeTail` in log.ts leaving `truncateFrom` out.
test("T19: a truncation is one act with the entries that replace the tail", () => {
  const cluster = new Cluster({ nodeCount: 3, logs: { n2: [1, 1, 1] } });
  const seen: unknown[] = [];
  cluster.watcher = {
    onReady: (_, { truncateFrom, entries }) => seen.push([truncateFrom, entries[0]?.index]),
  };

  cluster.node("n2").step("n1", 2, append({ term: 1, index: 1 }, [entryAt(2, 2)]));

  expect(seen).toEqual([[2, 2]]);
});

// Seen to fail with `truncate` in configuration.ts keeping everything.
test("T19: a truncation restores the configuration before the truncated one", () => {
  const cluster = new Cluster({ nodeCount: 3, members: "n1 n2", logs: { n2: [1] } });
  const n2 = cluster.node("n2");
  const grown = [
    entryAt(1, 2, "config n1 n2 ~n3"),
    entryAt(1, 3),
    entryAt(1, 4, "config n1 n2 n3"),
  ];
  n2.step("n1", 1, append({ term: 1, index: 1 }, grown));
  expect(configurationWords(n2.raft.configuration)).toBe("n1 n2 n3");

  n2.step("n1", 2, append({ term: 1, index: 3 }, [entryAt(2, 4)]));
  expect(configurationWords(n2.raft.configuration)).toBe("n1 n2 ~n3");
  n2.step("n1", 3, append({ term: 1, index: 1 }, [entryAt(3, 2)]));
  expect(configurationWords(n2.raft.configuration)).toBe("n1 n2");
  n2.crash();
  n2.restart();
  expect(configurationWords(n2.raft.configuration)).toBe("n1 n2");
});

// Seen to fail with `appendFrom` in log.ts skipping nothing.
test("T20: a late append of entries that are here does not shorten the log", () => {
  const cluster = clusterWithLeader(3);
  const [n1, n2] = [cluster.node("n1"), cluster.node("n2")];
  n1.propose("a");
  const late = cluster.wire.filter((message) => message.to === "n2");
  n1.propose("b");
  n1.propose("c");
  cluster.deliver({ to: "n2" });
  expect(n2.logIds).toBe("1:1 1:2 1:3 1:4");
  n2.sent();

  for (const message of late) cluster.arrive(message);

  expect(n2.logIds).toBe("1:1 1:2 1:3 1:4");
  expect(n2.events.map(({ type }) => type)).not.toContain("LOG_TRUNCATED");
  expect(n2.sent()).toMatchObject([{ rejected: false, index: 2 }]);
});

// Seen to fail with `#follow` in log.ts always true.
test.each([
  ["a gap behind the previous entry", [entryAt(1, 3)]],
  ["a gap between entries", [entryAt(1, 2), entryAt(1, 4)]],
  ["entries in the wrong order", [entryAt(1, 3), entryAt(1, 2)]],
  ["a sequence number too high", [{ ...entryAt(1, 2), firstSequence: 3 }]],
  ["an entry without operations", [{ ...entryAt(1, 2), count: 0 }]],
])("T21: an append with %s is refused", (_, entries) => {
  const n2 = new Cluster({ nodeCount: 3, logs: { n2: [1] } }).node("n2");

  n2.step("n1", 1, append({ term: 1, index: 1 }, entries));

  expect(n2.logIds).toBe("1:1");
  expect(n2.events.at(-1)).toMatchObject({ type: "MESSAGE_REFUSED", from: "n1" });
  expect(n2.sent()).toEqual([]);
});

// Seen to fail with `commitTo` in log.ts without its first line.
test("T22: the commit index never goes back", () => {
  const cluster = clusterWithLeader(3);
  const [n1, n2] = [cluster.node("n1"), cluster.node("n2")];
  n1.propose("x");
  cluster.stabilize();
  cluster.tick();
  expect(n2.commitIndex).toBe(2);

  n2.step("n1", 1, heartbeat(1));
  n2.step("n1", 1, append({ term: 1, index: 2 }, [], 1));

  expect(n2.commitIndex).toBe(2);
});

// Seen to fail with `tick` and `step` in raft.ts made async.
test("T23: every input is carried out when its call returns", () => {
  const n1 = new Cluster({ nodeCount: 3 }).node("n1");
  const results = n1.do((raft) => [raft.tick(), raft.campaign(), raft.peerUnreachable("n2")]);
  expect(results).toEqual([undefined, undefined, undefined]);
  const step = n1.do((raft) => {
    return raft.step({ ...heartbeat(), from: "n2", to: "n1", term: 1 });
  });
  expect(step).toBeUndefined();
  expect(n1.raft.view.leader).toBe("n2");
});

// Seen to fail with `tick` in raft.ts going on after `tickLeader`.
test("T24: a leader does not campaign", () => {
  const cluster = clusterWithLeader(3);
  cluster.tick(50);
  const events = cluster.node("n1").events.map(({ type }) => type);
  expect(events.filter((type) => type === "ELECTION_STARTED")).toHaveLength(2);
});

// The wait restarts with any message of the present leader, also with an append that is rejected.
// Seen to fail with `handleAppendEntries` in follower.ts following only when the log matches.
test("T24: an append that is rejected for its place is a sign of life", () => {
  const cluster = clusterWithLeader(3);
  const n2 = cluster.node("n2");
  n2.tick(9);

  n2.step("n1", 1, append({ term: 1, index: 9 }, []));
  n2.tick(9);

  expect(n2.raft.role).toBe("follower");
});

// Seen to fail with `answerVote` in election.ts not restarting the wait.
test("T24: a vote that is given restarts the wait", () => {
  const n2 = new Cluster({ nodeCount: 3 }).node("n2");
  n2.tick(10);
  n2.step("n1", 1, voteRequest());
  n2.tick(9);
  expect(n2.raft.role).toBe("follower");
});

// Seen to fail with `becomeFollower` in raft_state.ts always restarting the wait.
test.each([
  ["a vote that is refused", 2, voteRequest()],
  ["a heartbeat of an old term", 0, heartbeat()],
  ["a pre-vote", 5, voteRequest({ term: 1, index: 1 }, { preVote: true })],
])("T24: %s does not restart the wait", (_, term, body) => {
  const n2 = new Cluster({ nodeCount: 3, logs: { n2: [1] } }).node("n2");
  n2.tick(10);

  n2.step("n1", term, body);
  n2.tick(1);

  expect(n2.raft.role).toBe("pre-candidate");
});

// Seen to fail with `laterWait` in raft_state.ts giving the election timeout alone.
test("T25: nodes whose campaigns collide campaign again after random ticks in [T, 2T)", () => {
  const waits = new Set<number>();
  for (let seed = 1; seed <= 40; seed += 1) {
    const cluster = new Cluster({ nodeCount: 2, config: { seed } });
    for (const node of cluster.nodes) node.campaign();
    cluster.drop();
    let ticks = 0;
    for (; cluster.wire.length === 0 && ticks < 100; ticks += 1) {
      for (const node of cluster.nodes) node.tick();
    }
    waits.add(ticks);
    expect(ticks).toBeWithin(10, 20);
  }
  expect(waits.size).toBeGreaterThan(5);
});

// Seen to fail with `tick` in raft.ts campaigning without a pre-vote.
test("T26: a node that comes back from isolation does not depose the leader", () => {
  const cluster = clusterWithLeader(3);
  cluster.isolate("n3");
  cluster.node("n3").tick(100);
  cluster.heal();
  cluster.drop();

  cluster.tick(3);

  expect(cluster.nodes.map((node) => node.raft.term)).toEqual([1, 1, 1]);
  expect(cluster.leader?.id).toBe("n1");
});

// Seen to fail with `checkQuorum` in leader.ts always true.
test("T26: a leader that is cut off stops leading", () => {
  const cluster = clusterWithLeader(3);
  cluster.isolate("n1");
  cluster.node("n1").tick(20);
  expect(cluster.node("n1").raft.role).toBe("follower");
});

// Seen to fail with `isSticky` in election.ts always false.
test("T26: a campaign against a live leader is refused", () => {
  const n2 = clusterWithLeader(3).node("n2");
  n2.step("n3", 9, voteRequest({ term: 9, index: 9 }));
  expect(n2.raft.view).toMatchObject({ term: 1, leader: "n1" });
});

// Seen to fail with the leader taking the follower's hint as it is (the second case), and with the
// follower's hint being the index before besides (both).
test.each([
  ["the follower's older term", Array<number>(30).fill(1), [1, ...Array<number>(19).fill(2)]],
  ["the leader's newer terms", [1, ...Array<number>(29).fill(3)], Array<number>(20).fill(2)],
])("T27: a refusal skips %s as a whole", (_, leaderTerms, followerTerms) => {
  const hardState = { term: 8, vote: undefined };
  const cluster = new Cluster({
    nodeCount: 3,
    logs: { n1: leaderTerms, n2: followerTerms, n3: [] },
    hardStates: { n1: hardState, n2: hardState, n3: hardState },
  });
  cluster.cut("n2", "n1");
  cluster.node("n1").campaign();
  cluster.stabilize();
  cluster.heal();
  let refusals = 0;
  cluster.watcher = {
    onReady: (node, { messages }) => {
      if (node.id !== "n2") return;
      for (const m of messages) if ("rejected" in m && m.rejected) refusals += 1;
    },
  };

  cluster.tick(2);

  expect(cluster.node("n2").logIds).toBe(cluster.node("n1").logIds);
  expect(refusals).toBeLessThanOrEqual(2);
});

// Seen to fail with `isFull` in inflights.ts looking at messages only, at bytes only, at neither.
test.each([
  ["messages", { inflightMessagesMax: 2 }, 2],
  ["bytes", { inflightBytesMax: 5 }, 3],
])("T28: unacknowledged appends to a peer are bounded in %s", (_, config, sent) => {
  const cluster = clusterWithLeader(3, config);
  const n1 = cluster.node("n1");
  for (let at = 0; at < 6; at += 1) n1.propose("xx");
  expect(cluster.take({ to: "n2" })).toHaveLength(sent);
});

// Seen to fail with `sendOneAppend` in leader.ts asking the log for a million bytes.
test("T28: one message holds a bounded number of bytes", () => {
  const cluster = clusterWithLeader(3, { appendBytesMax: 5, inflightMessagesMax: 1 });
  const n1 = cluster.node("n1");
  for (let at = 0; at < 6; at += 1) n1.propose("xx");
  cluster.deliver({ to: "n2" });
  cluster.deliver({ from: "n2" });
  expect(cluster.take({ to: "n2" })).toMatchObject([{ entries: [{ index: 3 }, { index: 4 }] }]);
});

// Seen to fail with `term` in log.ts giving undefined or 0 before the first kept entry.
test("T29: the entry before the log's head can still be a previous entry", () => {
  const cluster = clusterWithLeader(3);
  const n1 = cluster.node("n1");
  n1.propose("x");
  cluster.drop({ to: "n3" });
  cluster.stabilize();
  n1.compact(1);
  n1.do((raft) => raft.peerUnreachable("n3"));

  cluster.tick(2);

  expect(cluster.node("n3").committedTexts).toEqual(["x"]);
});

// Seen to fail with `handleAppendEntriesResponse` in leader.ts asking for no snapshot, and with
// `term` in log.ts giving undefined before the first kept entry.
test("T29: a follower behind the log's head gets a snapshot, then entries again", () => {
  const cluster = clusterWithLeader(3);
  const [n1, n3] = [cluster.node("n1"), cluster.node("n3")];
  cluster.isolate("n3");
  for (const text of ["a", "b"]) n1.propose(text);
  cluster.stabilize();
  n1.compact(2);
  cluster.heal();
  n1.do((raft) => raft.peerUnreachable("n3"));
  cluster.tick(2);

  expect(n1.snapshotPeers).toEqual(["n3"]);
  n1.sendSnapshot(n3, 2);
  cluster.tick(2);

  expect(n3.raft.view).toMatchObject({ firstIndex: 3, lastIndex: 3, commitIndex: 3 });
  expect(n3.log.term(2)).toBe(1);
});

// Seen to fail with `quorumValue` in quorum.ts counting all members.
test("T32: a quorum is a majority of the voters; other members do not count", () => {
  const cluster = new Cluster({ nodeCount: 5, members: "n1 n2 n3 ~n4 !n5" });
  const n1 = cluster.elect("n1");
  for (const id of ["n2", "n3"]) cluster.node(id).crash();
  n1.propose("x");
  cluster.stabilize();
  expect(n1.raft.peers().filter(({ match }) => match === 2)).toHaveLength(3);
  expect(n1.commitIndex).toBe(1);

  cluster.tick(20);

  expect(n1.raft.role).toBe("follower");
});

// Seen to fail with `quorumValue` in quorum.ts counting only voters that hold an entry, and with
// `voteResult` needing a majority of the answers.
test("T32: a quorum is a majority of all voters, not of the live ones", () => {
  const cluster = clusterWithLeader(5);
  for (const id of ["n3", "n4", "n5"]) cluster.node(id).crash();
  cluster.node("n1").propose("x");
  cluster.stabilize();
  expect(cluster.node("n1").commitIndex).toBe(1);

  const n1 = candidate(5);
  n1.step("n2", 1, voteResponse(true));
  expect(n1.raft.role).toBe("candidate");
  expect(n1.commitIndex).toBe(0);
});

// Seen to fail with `takeReady` in raft.ts handing out the last index as the commit index.
test("T35: an entry is not handed out as committed when it is received", () => {
  const cluster = clusterWithLeader(3);
  cluster.cut("n2", "n1");
  cluster.cut("n3", "n1");
  cluster.node("n1").propose("x");
  cluster.stabilize();
  expect(cluster.nodes.map((node) => node.raft.lastIndex)).toEqual([2, 2, 2]);
  expect(cluster.nodes.map((node) => node.commitIndex)).toEqual([1, 1, 1]);
});

// Seen to fail with `step` in raft.ts handling old terms like the present one.
test("T36: a deposed leader's appends are refused with the present term", () => {
  const cluster = clusterWithLeader(3);
  const [n1, n2] = [cluster.node("n1"), cluster.node("n2")];
  n1.propose("old");
  const late = cluster.take({ to: "n2" });
  n2.step("n3", 2, heartbeat());
  n2.sent();

  for (const message of late) cluster.arrive(message);

  expect(n2.logIds).toBe("1:1");
  expect(n2.raft.view).toMatchObject({ leader: "n3", term: 2 });
  expect(n2.sent()).toMatchObject([{ to: "n1", term: 2, rejected: true }]);
});

// Seen to fail with `releaseReads` in read_index.ts taking every round as confirmed.
test("T38: a leader that was replaced and does not know it serves no read", () => {
  const cluster = clusterWithLeader(3);
  cluster.isolate("n1");
  for (const id of ["n2", "n3"]) cluster.node(id).tick(10);
  cluster.stabilize();
  expect(cluster.node("n2").raft.view).toMatchObject({ role: "leader", term: 2 });
  cluster.node("n2").propose("x");
  cluster.stabilize();

  const n1 = cluster.node("n1");
  n1.do((raft) => raft.requestRead(7));
  cluster.stabilize();
  expect(n1.raft.role).toBe("leader");
  cluster.heal();
  cluster.tick(30);

  expect(n1.reads).toEqual([]);
});

// Seen to fail with `addRead` in read_index.ts not waiting for a commit of the own term.
test("T38: a new leader serves no read at the commit index of its time as a follower", () => {
  const cluster = clusterWithLeader(3);
  cluster.node("n1").propose("x");
  cluster.stabilize();
  expect(cluster.node("n2").commitIndex).toBe(1);
  cluster.node("n1").crash();
  cluster.node("n3").tick(10);
  const n2 = cluster.node("n2");
  n2.campaign();
  for (let round = 0; round < 4; round += 1) cluster.deliver();
  expect(n2.raft.role).toBe("leader");

  n2.do((raft) => raft.requestRead(7));
  cluster.stabilize();

  expect(n2.reads).toEqual([{ context: 7, index: 3 }]);
});

// Seen to fail with the changes of T4 and T14.
test("T40: a single node commits an entry only when it is on disk", () => {
  const n1 = new Cluster({ nodeCount: 1 }).node("n1");
  n1.isDiskHeld = true;
  n1.tick(10);
  expect(n1.raft.role).toBe("candidate");
  n1.persist();
  n1.propose("x");
  expect(n1.raft.view).toMatchObject({ role: "leader", lastIndex: 2, commitIndex: 0 });

  n1.persist();

  expect(n1.commitIndex).toBe(2);
  n1.crash();
  n1.restart();
  n1.isDiskHeld = false;
  n1.tick(10);
  expect(n1.committedTexts).toEqual(["x"]);
});

// Seen to fail with `configuration` in raft_state.ts giving the first one that was configured.
test("T41: the log decides the members, not the configuration of a restart", () => {
  const cluster = clusterWithLeader(3);
  const [n1, n2] = [cluster.node("n1"), cluster.node("n2")];
  expect(n1.proposeMembers(configurationFrom("n1 n2"))).toBe("");
  cluster.stabilize();
  n2.crash();
  n2.restart();
  expect(n2.raft.view).toMatchObject({ configurationIndex: 2 });
  expect(n2.raft.configuration.voters).toEqual(["n1", "n2"]);

  n1.compact(2);
  n1.crash();
  n1.restart();
  n1.tick(20);

  expect(n1.raft.configuration.voters).toEqual(["n1", "n2"]);
  const asked = n1.sent().filter(({ type }) => type === "VOTE_REQUEST");
  expect(asked.map(({ to }) => to)).toEqual(["n2"]);
});

// Seen to fail with `isPromotable` in raft_state.ts true for every node that is not held back.
test("T42: a node that has not joined never campaigns, not even on request", () => {
  const cluster = new Cluster({ nodeCount: 2, members: "n1", joining: ["n2"] });
  const n2 = cluster.node("n2");

  n2.tick(500);
  n2.campaign();
  n2.step("n1", 3, heartbeat());
  n2.step("n1", 3, { type: "TIMEOUT_NOW", last: { term: 0, index: 0 } });
  n2.do((raft) => raft.forgetLeader("n1", 1));
  n2.tick(500);

  expect(n2.raft.view).toMatchObject({ role: "follower", term: 3, vote: undefined });
  expect(n2.sent().filter(({ type }) => type === "VOTE_REQUEST")).toEqual([]);
});

// Seen to fail with `checkQuorum` in leader.ts dropping silent peers from its view.
test("T43: a silent voter remains a voter", () => {
  const cluster = new Cluster({ nodeCount: 5, members: "n1 n2 n3 n4 ~n5" });
  const n1 = cluster.elect("n1");
  cluster.node("n4").crash();
  cluster.tick(500);

  const before = { configurationIndex: 0, lastIndex: 1 };
  expect(n1.raft.view).toMatchObject({ role: "leader", ...before });
  expect(n1.raft.peers().map(({ id }) => id)).toEqual(["n1", "n2", "n3", "n4", "n5"]);
  cluster.node("n3").crash();
  n1.propose("x");
  cluster.tick(100);
  expect(n1.commitIndex).toBe(1);
  expect(configurationWords(n1.raft.configuration)).toBe("n1 n2 n3 n4 ~n5");
});

// Seen to fail with `transferLeadership` in leader.ts accepting any id, and with
// `handleTimeoutNow` in follower.ts without its check of `isPromotable`.
test("T44: leadership goes to voters only", () => {
  const cluster = new Cluster({ nodeCount: 5, members: "n1 n2 ~n3 !n4", joining: ["n5"] });
  const n1 = cluster.elect("n1");
  for (const to of ["n1", "n3", "n4", "n5", "n9"]) {
    expect(n1.do((raft) => raft.transferLeadership(to))).toBe(false);
  }
  expect(cluster.wire).toEqual([]);

  const n3 = cluster.node("n3");
  n3.step("n1", 1, { type: "TIMEOUT_NOW", last: { term: 1, index: 1 } });

  expect(n3.raft.role).toBe("follower");
  expect(n3.sent()).toEqual([]);
});

// Seen to fail with `isUpToDate` in election.ts always true.
test("T44: a hand-over that arrives after its target was removed makes no leader of it", () => {
  const cluster = clusterWithLeader(4);
  const n1 = cluster.node("n1");
  n1.do((raft) => raft.transferLeadership("n4"));
  const late = cluster.take({ to: "n4" });
  expect(late).toMatchObject([{ type: "TIMEOUT_NOW" }]);
  cluster.isolate("n4");
  cluster.tick(10);
  expect(n1.proposeMembers(configurationFrom("n1 n2 n3"))).toBe("");
  cluster.stabilize();
  expect(n1.commitIndex).toBe(2);

  // The target does not know, and its campaign passes stickiness: one term is lost, nothing else.
  cluster.heal();
  for (const message of late) cluster.arrive(message);
  expect(cluster.node("n4").raft.role).toBe("candidate");
  cluster.tick(40);

  expect(cluster.node("n4").raft.role).not.toBe("leader");
  expect(cluster.leader?.raft.configuration.voters).toEqual(["n1", "n2", "n3"]);
  expect(cluster.leader?.raft.term).toBe(3);
});

// Seen to fail with `transferLeadership` in leader.ts naming the target leader at once.
test("T44: leadership moves only by an election", () => {
  const cluster = clusterWithLeader(3);
  const n1 = cluster.node("n1");

  n1.do((raft) => raft.transferLeadership("n2"));
  expect(cluster.nodes.map((node) => node.raft.role)).toEqual(["leader", "follower", "follower"]);
  cluster.stabilize();

  const views = cluster.nodes.map(({ raft: { view } }) => [view.term, view.vote, view.leader]);
  expect(views).toEqual(Array(3).fill([2, "n2", "n2"]));
});

// Seen to fail with `sendHeartbeat` in leader.ts, and then with `confirmRound` in read_index.ts,
// sending the leader's commit index as it is.
test("T45: a heartbeat announces no commit beyond its receiver's match", () => {
  const cluster = clusterWithLeader(3);
  const n1 = cluster.node("n1");
  n1.propose("x");
  cluster.drop({ to: "n3" });
  cluster.stabilize();
  expect(n1.commitIndex).toBe(2);

  n1.tick();
  n1.do((raft) => raft.requestRead(7));

  const heartbeats = { type: "HEARTBEAT", commitIndex: 1 };
  expect(cluster.take({ to: "n3" })).toMatchObject([{ ...heartbeats }, { ...heartbeats }]);
  const others = { type: "HEARTBEAT", commitIndex: 2 };
  expect(cluster.take({ to: "n2" })).toMatchObject([{ ...others }, { ...others }]);
});
