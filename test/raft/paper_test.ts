/**
 * One test a rule of the Raft paper (sections 5.x) or of the thesis (all others). The section is in
 * the test's name, the sentence or its reason above it.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { NO_ENTRY, type Term } from "../../src/raft/types.ts";
import { Cluster, clusterWithLeader, entriesOf, entryAt } from "./cluster.ts";
import { acknowledged, append, heartbeat, voteRequest, voteResponse } from "./messages.ts";

describe("5.1 terms", () => {
  // "If one server's current term is smaller than the other's, it updates its current term to the
  // larger value. If a candidate or leader discovers that its term is out of date, it immediately
  // reverts to follower state."
  test("5.1: a leader that learns of a newer term follows, in that term and without a vote", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");

    n1.step("n2", 5, acknowledged(1));

    const { role, term, vote, leader } = n1.raft.view;
    expect({ role, term, vote, leader }).toEqual({
      role: "follower",
      term: 5,
      vote: undefined,
      leader: undefined,
    });
    expect(n1.durable.hardState).toEqual({ term: 5, vote: undefined });
  });

  test("5.1: a candidate that learns of a newer term follows", () => {
    const cluster = new Cluster({ nodeCount: 3 });
    const n1 = cluster.node("n1");
    n1.campaign();
    n1.step("n2", 1, voteResponse(true, true));
    expect(n1.raft.role).toBe("candidate");

    n1.step("n3", 2, voteResponse(false));

    expect(n1.raft.view).toMatchObject({ role: "follower", term: 2, vote: undefined });
  });

  // "If a server receives a request with a stale term number, it rejects the request."
  test.each([
    ["an append", append(NO_ENTRY, entriesOf(1), 1)],
    ["a heartbeat", heartbeat(0)],
  ])("5.1: %s of an old term is rejected with the present one", (_, body) => {
    const cluster = new Cluster({ nodeCount: 3, logs: { n1: [1, 2] } });
    const n1 = cluster.node("n1");
    const before = n1.raft.view;

    n1.step("n2", 1, body);

    expect(n1.raft.view).toEqual(before);
    const response = { type: "APPEND_ENTRIES_RESPONSE", to: "n2", term: 2, rejected: true };
    expect(n1.sent()).toMatchObject([response]);
  });

  test("5.1: a request for a vote in an old term is refused with the present one", () => {
    const cluster = new Cluster({ nodeCount: 3, logs: { n1: [3] } });
    const n1 = cluster.node("n1");

    n1.step("n2", 2, voteRequest({ term: 9, index: 9 }));

    expect(n1.sent()).toMatchObject([{ type: "VOTE_RESPONSE", granted: false, term: 3 }]);
    expect(n1.raft.view.vote).toBeUndefined();
  });

  // Figure 2: currentTerm and votedFor are persistent state on all servers.
  test("5.1: term and vote are found again after a restart", () => {
    const cluster = clusterWithLeader(3);
    const n2 = cluster.node("n2");

    n2.crash();
    n2.restart();

    expect(n2.raft.view).toMatchObject({ role: "follower", term: 1, vote: "n1" });
  });
});

describe("5.2 leader election", () => {
  test("5.2: a node starts as a follower without a leader", () => {
    const view = new Cluster({ nodeCount: 3 }).node("n1").raft.view;
    expect(view).toMatchObject({ role: "follower", term: 0, leader: undefined });
  });

  // "A server remains in follower state as long as it receives valid RPCs from a leader."
  test("5.2: a follower whose leader sends messages does not campaign", () => {
    const cluster = clusterWithLeader(3);

    cluster.tick(200);

    expect(cluster.nodes.map((node) => node.raft.role)).toEqual(["leader", "follower", "follower"]);
    expect(cluster.nodes.map((node) => node.raft.term)).toEqual([1, 1, 1]);
  });

  // "If a follower receives no communication over a period of time called the election timeout,
  // then it assumes there is no viable leader." Ranks make the waits of a 3-node cluster 10, 11
  // and 12.
  test.each([
    ["n1", 10],
    ["n2", 11],
    ["n3", 12],
  ])("5.2: %s campaigns after %i silent ticks, not before", (id, wait) => {
    const node = new Cluster({ nodeCount: 3 }).node(id);

    node.tick(wait - 1);
    expect(node.raft.role).toBe("follower");
    node.tick();
    expect(node.raft.role).toBe("pre-candidate");
  });

  // "To begin an election, a follower increments its current term and transitions to candidate
  // state. It then votes for itself and issues RequestVote RPCs in parallel to each of the other
  // servers."
  test("5.2: a candidate raises its term, votes for itself and requests all other votes", () => {
    const cluster = new Cluster({ nodeCount: 3, logs: { n1: [1, 1] } });
    const n1 = cluster.node("n1");
    n1.campaign();
    cluster.drop();

    n1.step("n2", 2, voteResponse(true, true));

    expect(n1.durable.hardState).toEqual({ term: 2, vote: "n1" });
    const last = { term: 1, index: 2 };
    const request = { type: "VOTE_REQUEST", from: "n1", term: 2, last, preVote: false };
    expect(n1.sent()).toMatchObject([
      { ...request, to: "n2" },
      { ...request, to: "n3" },
    ]);
  });

  // "A candidate wins an election if it receives votes from a majority of the servers in the full
  // cluster for the same term" - of all servers, whether they run or not.
  test.each([
    [3, [true], "leader"],
    [3, [false], "candidate"],
    [3, [false, false], "follower"],
    [3, [false, true], "leader"],
    [4, [true], "candidate"],
    [4, [true, true], "leader"],
    [4, [false, false], "follower"],
    [5, [true], "candidate"],
    [5, [true, true], "leader"],
    [5, [true, false, false], "candidate"],
    [5, [false, false, false], "follower"],
    [5, [true, false, false, true], "leader"],
  ] as const)("5.2: of %i nodes, answers %j make it a %s", (nodeCount, answers, role) => {
    const cluster = new Cluster({ nodeCount });
    const n1 = cluster.node("n1");
    n1.campaign();
    for (const { id } of cluster.nodes.slice(1)) n1.step(id, 1, voteResponse(true, true));
    expect(n1.raft.role).toBe("candidate");

    for (const [at, granted] of answers.entries()) n1.step(`n${at + 2}`, 1, voteResponse(granted));

    expect(n1.raft.role).toBe(role);
  });

  // A vote that comes twice is one vote.
  test("5.2: a repeated vote counts once", () => {
    const n1 = new Cluster({ nodeCount: 5 }).node("n1");
    n1.campaign();
    for (const id of ["n2", "n3"]) n1.step(id, 1, voteResponse(true, true));

    for (let times = 0; times < 3; times += 1) n1.step("n2", 1, voteResponse(true));

    expect(n1.raft.role).toBe("candidate");
  });

  // "Each server will vote for at most one candidate in a given term, on a first-come-first-served
  // basis."
  test("5.2: the first candidate of a term gets the vote, and gets it again", () => {
    const n1 = new Cluster({ nodeCount: 3 }).node("n1");

    n1.step("n2", 1, voteRequest());
    n1.step("n3", 1, voteRequest({ term: 7, index: 7 }));
    n1.step("n2", 1, voteRequest());

    expect(n1.sent()).toMatchObject([
      { to: "n2", granted: true },
      { to: "n3", granted: false },
      { to: "n2", granted: true },
    ]);
  });

  // "If the leader's term is at least as large as the candidate's current term, then the candidate
  // recognizes the leader as legitimate and returns to follower state."
  test.each([
    ["an append", append(NO_ENTRY, [])],
    ["a heartbeat", heartbeat()],
  ])("5.2: a candidate that gets %s of its own term follows the sender", (_, body) => {
    const n1 = new Cluster({ nodeCount: 3 }).node("n1");
    n1.campaign();
    n1.step("n2", 1, voteResponse(true, true));
    expect(n1.raft.role).toBe("candidate");

    n1.step("n3", 1, body);

    expect(n1.raft.view).toMatchObject({ role: "follower", term: 1, leader: "n3", vote: "n1" });
  });

  // "Each candidate restarts its randomized election timeout at the start of an election": the
  // waits of later rounds are spread over the whole of [T, 2T), or the same nodes would collide
  // again.
  test("5.2: the waits of later rounds are spread over [T, 2T)", () => {
    const waits = new Set<number>();
    for (let seed = 1; seed <= 300; seed += 1) {
      const node = new Cluster({ nodeCount: 3, config: { seed } }).node("n1");
      node.campaign();
      node.events = [];
      let wait = 0;
      while (node.events.length === 0 && wait < 100) {
        node.tick();
        wait += 1;
      }
      waits.add(wait);
    }

    expect([...waits].sort((a, b) => a - b)).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
  });

  // "It then sends heartbeat messages to all of the other servers to establish its authority and
  // prevent new elections." The first append does it at once.
  test("5.2: a new leader sends every peer an append at once", () => {
    const n1 = new Cluster({ nodeCount: 3 }).node("n1");
    n1.campaign();
    n1.step("n2", 1, voteResponse(true, true));
    n1.sent();

    n1.step("n2", 1, voteResponse(true));

    expect(n1.sent()).toMatchObject([
      { type: "APPEND_ENTRIES", to: "n2", term: 1 },
      { type: "APPEND_ENTRIES", to: "n3", term: 1 },
    ]);
  });

  // Figure 2, leaders: "repeat during idle periods to prevent election timeouts".
  test("5.2: a leader sends a heartbeat each interval", () => {
    const cluster = clusterWithLeader(3, { heartbeatTicks: 2 });
    const n1 = cluster.node("n1");
    n1.tick();
    cluster.drop();

    n1.tick();
    expect(n1.sent()).toEqual([]);
    n1.tick();
    expect(n1.sent()).toMatchObject([
      { type: "HEARTBEAT", to: "n2" },
      { type: "HEARTBEAT", to: "n3" },
    ]);
  });

  // Figure 2: "Updated on stable storage before responding to RPCs."
  test("5.2: a vote leaves the node only when it is on disk", () => {
    const n1 = new Cluster({ nodeCount: 3 }).node("n1");
    n1.isDiskHeld = true;

    n1.step("n2", 1, voteRequest());
    expect(n1.sent()).toEqual([]);
    n1.persist();

    expect(n1.durable.hardState).toEqual({ term: 1, vote: "n2" });
    expect(n1.sent()).toMatchObject([{ type: "VOTE_RESPONSE", to: "n2", granted: true }]);
  });

  // Thesis 3.8: a server that forgets its vote could vote twice in a term.
  test("5.2: a vote that was given is not given to another after a crash", () => {
    const n1 = new Cluster({ nodeCount: 3 }).node("n1");
    n1.step("n2", 1, voteRequest());
    n1.crash();
    n1.restart();
    n1.sent();

    n1.step("n3", 1, voteRequest({ term: 5, index: 5 }));

    expect(n1.sent()).toMatchObject([{ to: "n3", granted: false, term: 1 }]);
  });
});

describe("5.3 log replication", () => {
  // "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in
  // parallel to each of the other servers."
  test("5.3: a proposal is appended and sent to every peer", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");

    const proposal = n1.propose("x", 3);

    const entry = { term: 1, index: 2, firstSequence: 2, count: 3 };
    expect(proposal).toMatchObject({ accepted: true, entry });
    const message = { type: "APPEND_ENTRIES", previous: { term: 1, index: 1 }, entries: [entry] };
    expect(n1.sent()).toMatchObject([
      { ...message, to: "n2" },
      { ...message, to: "n3" },
    ]);
    expect(n1.propose("y")).toMatchObject({ entry: { index: 3, firstSequence: 5 } });
  });

  test("5.3: a follower appends nothing of its own", () => {
    const n2 = clusterWithLeader(3).node("n2");
    expect(n2.propose("x")).toEqual({ accepted: false, refusal: "not leader" });
    expect(n2.raft.lastIndex).toBe(1);
  });

  // "A log entry is committed once the leader that created the entry has replicated it on a
  // majority of the servers" - of all servers.
  test.each([
    [1, 0, true],
    [2, 0, false],
    [2, 1, true],
    [3, 0, false],
    [3, 1, true],
    [4, 1, false],
    [4, 2, true],
    [5, 1, false],
    [5, 2, true],
  ])("5.3: of %i nodes, %i acknowledgements commit: %p", (nodeCount, count, isCommitted) => {
    const cluster = clusterWithLeader(nodeCount);
    const n1 = cluster.node("n1");
    n1.propose("x");

    for (let at = 0; at < count; at += 1) n1.step(`n${at + 2}`, 1, acknowledged(2));

    expect(n1.commitIndex).toBe(isCommitted ? 2 : 1);
  });

  // "The leader keeps track of the highest index it knows to be committed, and it includes that
  // index in future AppendEntries RPCs so that the other servers eventually find out."
  test("5.3: followers learn of a commit with the next message", () => {
    const cluster = clusterWithLeader(3);
    cluster.node("n1").propose("x");
    cluster.stabilize();
    expect(cluster.node("n2").commitIndex).toBe(1);

    cluster.node("n1").propose("y");
    cluster.deliver({ to: "n2" });

    expect(cluster.node("n2").commitIndex).toBe(2);
  });

  // "When sending an AppendEntries RPC, the leader includes the index and term of the entry in its
  // log that immediately precedes the new entries. If the follower does not find an entry in its
  // log with the same index and term, then it refuses the new entries."
  test.each([
    [{ term: 0, index: 0 }, true],
    [{ term: 1, index: 1 }, true],
    [{ term: 2, index: 2 }, true],
    [{ term: 1, index: 2 }, false],
    [{ term: 3, index: 2 }, false],
    [{ term: 2, index: 3 }, false],
    [{ term: 3, index: 3 }, false],
  ])("5.3: behind %j a follower with 1:1 2:2 takes an append: %p", (previous, isTaken) => {
    const n2 = new Cluster({ nodeCount: 3, logs: { n2: [1, 2] } }).node("n2");
    const entry = entryAt(3, previous.index + 1);

    n2.step("n1", 3, append(previous, [{ ...entry, firstSequence: previous.index + 1 }]));

    expect(n2.sent()).toMatchObject([{ type: "APPEND_ENTRIES_RESPONSE", rejected: !isTaken }]);
    expect(n2.logIds.endsWith(`3:${previous.index + 1}`)).toBe(isTaken);
  });

  // Figure 2: "If an existing entry conflicts with a new one (same index but different terms),
  // delete the existing entry and all that follow it. Append any new entries not already in the
  // log."
  test.each([
    [[1, 1], 2, [2], "1:1 1:2 2:3"],
    [[1, 1, 1, 1], 2, [2], "1:1 1:2 2:3"],
    [[1, 1, 1, 1], 0, [1, 1], "1:1 1:2 1:3 1:4"],
    [[1, 1, 1, 1], 1, [1, 2, 2], "1:1 1:2 2:3 2:4"],
    [[1, 1, 2, 2], 2, [2, 2, 2], "1:1 1:2 2:3 2:4 2:5"],
    [[1], 1, [], "1:1"],
  ])("5.3: a log of terms %j takes, after index %i, terms %j", (...row) => {
    const [own, at, terms, result] = row;
    const n2 = new Cluster({ nodeCount: 3, logs: { n2: own } }).node("n2");
    const previous = { term: own[at - 1] ?? 0, index: at };
    const entries = terms.map((term, offset) => entryAt(term, at + 1 + offset));

    n2.step("n1", 5, append(previous, entries));

    expect(n2.logIds).toBe(result);
    expect(n2.durable.log.all()).toEqual(n2.log.all());
    const index = at + terms.length;
    expect(n2.sent()).toMatchObject([{ rejected: false, index }]);
  });

  // Figure 2: "If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new
  // entry)": the entries after the last new one may differ from the leader's log.
  test.each([
    [3, 2, [2], 3],
    [9, 2, [2], 3],
    [2, 2, [2], 2],
    [9, 1, [], 1],
    [9, 1, [1], 2],
  ])("5.3: commit %i after index %i and terms %j commits %i", (...row) => {
    const [commit, at, terms, expected] = row;
    const n2 = new Cluster({ nodeCount: 3, logs: { n2: [1, 1, 1, 1] } }).node("n2");
    const entries = terms.map((term, offset) => entryAt(term, at + 1 + offset));

    n2.step("n1", 2, append({ term: 1, index: at }, entries, commit));

    expect(n2.commitIndex).toBe(expected);
  });

  // "A leader never overwrites or deletes entries in its own log" (leader append-only property),
  // not even on a message of its own term.
  test("5.3: a leader keeps its log, whatever is sent to it in its term", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    n1.propose("x");

    n1.step("n2", 1, append(NO_ENTRY, [entryAt(1, 1, "other")], 1));

    expect(n1.logIds).toBe("1:1 1:2");
    expect(n1.raft.role).toBe("leader");
    expect(n1.events.at(-1)).toMatchObject({ type: "MESSAGE_REFUSED", from: "n2" });
  });

  // Figure 7: "The leader handles inconsistencies by forcing the followers' logs to duplicate its
  // own", and with one refusal a term ("if desired, the protocol can be optimized").
  test.each([
    ["a", [1, 1, 1, 4, 4, 5, 5, 6, 6]],
    ["b", [1, 1, 1, 4]],
    ["c", [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]],
    ["d", [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]],
    ["e", [1, 1, 1, 4, 4, 4, 4]],
    ["f", [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]],
  ] as [string, Term[]][])("5.3: figure 7 (%s) comes to the leader's log", (_, terms) => {
    const leader: Term[] = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    const logs = { n1: leader, n2: terms, n3: [] };
    const hardStates = { n1: { term: 7, vote: undefined }, n3: { term: 7, vote: undefined } };
    const cluster = new Cluster({ nodeCount: 3, logs, hardStates });
    let refusals = 0;
    cluster.watcher = {
      onReady: (node, ready) => {
        const isRefusal = (m: (typeof ready.messages)[number]) =>
          m.type === "APPEND_ENTRIES_RESPONSE" && m.rejected;
        if (node.id === "n2") refusals += ready.messages.filter(isRefusal).length;
      },
    };

    cluster.elect("n1");

    expect(cluster.node("n2").logIds).toBe(cluster.node("n1").logIds);
    expect(refusals).toBeLessThanOrEqual(2);
  });

  // "Only then may it answer": entries are persistent state, and an acknowledgement counts.
  test("5.3: an append is acknowledged only when it is on disk", () => {
    const cluster = clusterWithLeader(3);
    const n2 = cluster.node("n2");
    n2.isDiskHeld = true;
    cluster.node("n1").propose("x");
    cluster.deliver({ to: "n2" });
    expect(n2.logIds).toBe("1:1 1:2");
    expect(n2.sent()).toEqual([]);

    n2.persist();

    expect(n2.sent()).toMatchObject([{ rejected: false, index: 2 }]);
  });

  // "If followers crash or run slowly, or if network packets are lost, the leader retries
  // indefinitely (even after it has responded to the client)."
  test("5.3: a follower that was down gets everything when it is back", () => {
    const cluster = clusterWithLeader(3);
    cluster.node("n3").crash();
    for (const text of ["a", "b", "c"]) cluster.node("n1").propose(text);
    cluster.stabilize();
    expect(cluster.node("n1").committedTexts).toEqual(["a", "b", "c"]);

    cluster.node("n3").restart();
    cluster.tick(3);

    expect(cluster.node("n3").committedTexts).toEqual(["a", "b", "c"]);
  });
});

describe("5.4 safety", () => {
  // 5.4.1: "If the logs have last entries with different terms, then the log with the later term is
  // more up-to-date. If the logs end with the same term, then whichever log is longer."
  test.each([
    [{ term: 2, index: 2 }, true],
    [{ term: 2, index: 3 }, true],
    [{ term: 3, index: 1 }, true],
    [{ term: 2, index: 1 }, false],
    [{ term: 1, index: 9 }, false],
    [{ term: 0, index: 0 }, false],
  ])("5.4.1: a voter with 1:1 2:2 votes for a log that ends with %j: %p", (last, granted) => {
    const n1 = new Cluster({ nodeCount: 3, logs: { n1: [1, 2] } }).node("n1");

    n1.step("n2", 3, voteRequest(last));

    expect(n1.sent()).toMatchObject([{ type: "VOTE_RESPONSE", term: 3, granted }]);
  });

  // 5.4.2: "Raft never commits log entries from previous terms by counting replicas."
  test("5.4.2: an entry of an older term is not committed by counting", () => {
    const logs = { n1: [1, 2, 2], n2: [1], n3: [1], n4: [1], n5: [1] };
    const cluster = new Cluster({ nodeCount: 5, logs, config: { appendBytesMax: 1 } });
    const n1 = cluster.node("n1");
    n1.campaign();
    cluster.deliver();
    cluster.deliver();
    cluster.deliver();
    cluster.deliver();
    expect(n1.raft.view).toMatchObject({ role: "leader", term: 3, lastIndex: 4 });

    for (const id of ["n2", "n3", "n4"]) n1.step(id, 3, acknowledged(3));

    expect(n1.commitIndex).toBe(0);
  });

  // "Once an entry from the current term has been committed in this way, then all prior entries are
  // committed indirectly because of the Log Matching Property."
  test("5.4.2: older entries are committed with the first one of the leader's term", () => {
    const logs = { n1: [1, 2, 2], n2: [1, 2, 2], n3: [1] };
    const cluster = new Cluster({ nodeCount: 3, logs });
    cluster.cut("n1", "n3");
    const n1 = cluster.node("n1");
    n1.campaign();

    cluster.stabilize();

    expect(n1.raft.term).toBe(3);
    expect(n1.commitIndex).toBe(4);
  });

  // Paper 8, thesis 3.6.2: a leader commits "a blank no-op entry into the log at the start of its
  // term", or it could not know the commit index before the first proposal.
  test("5.4.2: a new leader appends an entry of its own", () => {
    const cluster = new Cluster({ nodeCount: 3, logs: { n1: [1], n2: [1], n3: [1] } });
    cluster.elect("n1");
    expect(cluster.nodes.map((node) => node.logIds)).toEqual(["1:1 2:2", "1:1 2:2", "1:1 2:2"]);
    expect(cluster.nodes.map((node) => node.commitIndex)).toEqual([2, 2, 2]);
  });

  // 5.4.3: "If a server has applied a log entry at a given index to its state machine, no other
  // server will ever apply a different log entry for the same index".
  test("5.4.3: a conflict with a committed entry is not followed", () => {
    const n2 = new Cluster({ nodeCount: 3, logs: { n2: [1, 1] } }).node("n2");
    n2.step("n1", 2, append({ term: 1, index: 2 }, [], 2));
    n2.sent();

    n2.step("n1", 2, append({ term: 1, index: 2 }, [entryAt(2, 3)], 2));
    n2.step("n1", 2, append({ term: 1, index: 1 }, [entryAt(2, 2)], 2));

    expect(n2.logIds).toBe("1:1 1:2 2:3");
  });

  // 5.5: "Raft RPCs are idempotent, so this causes no harm."
  test("5.5: a message that comes twice changes nothing the second time", () => {
    const cluster = clusterWithLeader(3);
    const [n1, n2] = [cluster.node("n1"), cluster.node("n2")];
    n1.propose("x");
    const messages = cluster.take();
    for (const message of messages) cluster.arrive(message);
    const log = n2.logIds;
    for (const message of messages) cluster.arrive(message);
    const answers = cluster.take();
    for (const message of [...answers, ...answers]) cluster.arrive(message);

    expect(n2.logIds).toBe(log);
    expect(n1.commitIndex).toBe(2);
    expect(n1.raft.peers()).toMatchObject([{ match: 2 }, { match: 2 }, { match: 2 }]);
  });

  // Thesis 3.8: "Raft servers must persist enough information to stable storage to survive server
  // restarts safely": here every server loses its power at once.
  test("5.5: committed entries survive a crash of all nodes", () => {
    const cluster = clusterWithLeader(3);
    cluster.node("n1").propose("x");
    cluster.stabilize();
    expect(cluster.node("n1").committedTexts).toEqual(["x"]);

    for (const node of cluster.nodes) node.crash();
    cluster.drop();
    for (const node of cluster.nodes) node.restart();
    cluster.tick(60);

    const texts = cluster.nodes.map((node) => node.committedTexts);
    expect(texts).toEqual([["x"], ["x"], ["x"]]);
  });
});

describe("6.2 check quorum", () => {
  // "A leader in Raft steps down if an election timeout elapses without a successful round of
  // heartbeats to a majority of its cluster."
  test("6.2: a leader without a quorum steps down", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    cluster.isolate("n1");

    n1.tick(20);

    expect(n1.raft.view).toMatchObject({ role: "follower", term: 1, leader: undefined });
    expect(n1.events).toContainEqual({ type: "QUORUM_LOST", term: 1 });
    expect(n1.propose("x")).toEqual({ accepted: false, refusal: "not leader" });
  });

  test("6.2: a leader with the answers of a quorum stays", () => {
    const cluster = clusterWithLeader(5);
    cluster.node("n4").crash();
    cluster.node("n5").crash();

    cluster.tick(100);

    expect(cluster.node("n1").raft.view).toMatchObject({ role: "leader", term: 1 });
  });

  test("6.2: a minority of answers does not keep a leader", () => {
    const cluster = clusterWithLeader(5);
    for (const id of ["n3", "n4", "n5"]) cluster.node(id).crash();

    cluster.tick(20);

    expect(cluster.node("n1").raft.role).not.toBe("leader");
  });
});

describe("6.4 read-only queries", () => {
  // Step 3: "It issues a new round of heartbeats and waits for their acknowledgments from a
  // majority."
  test("6.4: a read waits for a quorum", () => {
    const cluster = clusterWithLeader(5);
    const n1 = cluster.node("n1");
    n1.do((raft) => raft.requestRead(7));
    expect(n1.reads).toEqual([]);
    cluster.deliver({ from: "n1" });
    cluster.deliver({ from: "n2" });
    expect(n1.reads).toEqual([]);

    cluster.deliver({ from: "n3" });

    expect(n1.reads).toEqual([{ context: 7, index: 1 }]);
  });

  // Step 2: "The leader saves its current commit index in a local variable readIndex": a later
  // commit may be seen, but need not be waited for.
  test("6.4: a read is served at the commit index of its arrival", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    n1.do((raft) => raft.requestRead(7));
    const heartbeats = cluster.take({ from: "n1" });
    n1.propose("x");
    cluster.stabilize();
    expect(n1.commitIndex).toBe(2);

    for (const message of heartbeats) cluster.arrive(message);
    cluster.stabilize();

    expect(n1.reads).toEqual([{ context: 7, index: 1 }]);
  });

  // Step 1: "If the leader has not yet marked an entry from its current term committed, it waits."
  test("6.4: a new leader's reads wait for its first commit", () => {
    const cluster = new Cluster({ nodeCount: 3, logs: { n1: [1], n2: [1], n3: [1] } });
    const n1 = cluster.node("n1");
    n1.campaign();
    for (let round = 0; round < 4; round += 1) cluster.deliver();
    expect(n1.raft.view).toMatchObject({ role: "leader", commitIndex: 0 });

    n1.do((raft) => raft.requestRead(7));
    n1.step("n2", 2, { type: "HEARTBEAT_RESPONSE", readRound: 0 });
    expect(n1.reads).toEqual([]);
    cluster.stabilize();

    expect(n1.reads).toEqual([{ context: 7, index: 2 }]);
  });

  // "A new round": an answer to a heartbeat that left before the read came proves nothing.
  test("6.4: an answer to an earlier heartbeat does not confirm a read", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    n1.tick();
    cluster.deliver({ from: "n1" });

    n1.do((raft) => raft.requestRead(7));
    cluster.deliver({ type: "HEARTBEAT_RESPONSE" });
    expect(n1.reads).toEqual([]);
    cluster.stabilize();

    expect(n1.reads).toEqual([{ context: 7, index: 1 }]);
  });

  // "Followers can ask the leader for a current readIndex."
  test("6.4: a follower's read is confirmed by the leader", () => {
    const cluster = clusterWithLeader(3);
    const n2 = cluster.node("n2");
    cluster.node("n1").propose("x");
    cluster.stabilize();

    expect(n2.do((raft) => raft.requestRead(7))).toBe(true);
    cluster.stabilize();

    expect(n2.reads).toEqual([{ context: 7, index: 2 }]);
    expect(n2.commitIndex).toBe(2);
  });

  test("6.4: no read is requested while no leader is known", () => {
    const n1 = new Cluster({ nodeCount: 3 }).node("n1");
    expect(n1.do((raft) => raft.requestRead(7))).toBe(false);
  });

  // A read that is under way when leadership ends must not be confirmed by a later leadership.
  test("6.4: a leader that steps down forgets its reads", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    n1.do((raft) => raft.requestRead(7));
    cluster.drop();
    n1.step("n2", 5, acknowledged(0));

    n1.tick(20);
    cluster.tick(60);

    expect(n1.reads).toEqual([]);
  });
});

describe("9.6 pre-vote", () => {
  // A pre-vote promises nothing and changes nothing.
  test.each([true, false])("9.6: a pre-vote changes nothing, granted: %p", (granted) => {
    const n1 = new Cluster({ nodeCount: 3, logs: { n1: [1, 1] } }).node("n1");
    n1.tick(5);
    const before = n1.raft.view;
    const last = { term: 1, index: granted ? 2 : 1 };

    n1.step("n2", 9, voteRequest(last, { preVote: true }));

    expect(n1.raft.view).toEqual(before);
    expect(n1.durable.hardState).toEqual({ term: 1, vote: undefined });
    expect(n1.sent()).toMatchObject([{ preVote: true, granted, term: granted ? 9 : 1 }]);
    n1.tick(5);
    expect(n1.raft.role).toBe("pre-candidate");
  });

  // "The candidate only increments its term if it first learns from a majority of the cluster that
  // they would be willing."
  test("9.6: a node without answers does not raise its term", () => {
    const cluster = clusterWithLeader(3);
    cluster.isolate("n3");

    cluster.node("n3").tick(1_000);

    expect(cluster.node("n3").raft.term).toBe(1);
  });

  // Two candidates both get a pre-vote, because it uses no vote up.
  test("9.6: a pre-vote is granted to every candidate that could win", () => {
    const n1 = new Cluster({ nodeCount: 3 }).node("n1");
    n1.step("n2", 1, voteRequest(NO_ENTRY, { preVote: true }));
    n1.step("n3", 1, voteRequest(NO_ENTRY, { preVote: true }));
    expect(n1.sent()).toMatchObject([{ granted: true }, { granted: true }]);
  });

  // Not in the thesis, but needed: without the term in a refusal, a node with a long log and a low
  // term and one with a short log and a high term refuse each other for ever.
  test("9.6: a refused pre-vote tells the candidate the newer term", () => {
    const hardStates = { n2: { term: 9, vote: undefined }, n3: { term: 9, vote: undefined } };
    const cluster = new Cluster({
      nodeCount: 3,
      logs: { n1: [1, 1], n2: [1], n3: [1] },
      hardStates,
    });
    const n1 = cluster.node("n1");
    n1.campaign();
    cluster.stabilize();
    expect(n1.raft.term).toBe(9);

    n1.campaign();
    cluster.stabilize();

    expect(n1.raft.view).toMatchObject({ role: "leader", term: 10 });
  });
});

describe("4.2.3 disruptive servers", () => {
  // "If a server receives a RequestVote request within the minimum election timeout of hearing
  // from a current leader, it does not update its term or grant its vote."
  test.each([
    ["n1", "the leader"],
    ["n2", "a follower"],
  ])("4.2.3: %s, %s, refuses a campaign while the leader lives", (id) => {
    const cluster = clusterWithLeader(3);
    const node = cluster.node(id);
    if (id === "n2") node.tick(9);

    node.step("n3", 2, voteRequest({ term: 9, index: 9 }));
    node.step("n3", 2, voteRequest({ term: 9, index: 9 }, { preVote: true }));

    expect(node.raft.term).toBe(1);
    expect(node.sent()).toMatchObject([
      { granted: false, term: 1 },
      { granted: false, term: 1, preVote: true },
    ]);
  });

  test("4.2.3: after a silent minimum election timeout a follower votes again", () => {
    const n2 = clusterWithLeader(3).node("n2");
    n2.tick(10);

    n2.step("n3", 2, voteRequest({ term: 1, index: 1 }));

    expect(n2.sent()).toContainEqual(expect.objectContaining({ granted: true, term: 2 }));
  });
});

describe("3.10 leadership transfer", () => {
  // "1. The prior leader stops accepting new client requests. 2. The prior leader fully updates the
  // target server's log to match its own. 3. The prior leader sends a TimeoutNow request."
  test("3.10: the target is brought up to date, then leads within one exchange", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    n1.propose("x");
    cluster.drop({ to: "n2" });

    n1.do((raft) => raft.transferLeadership("n2"));
    expect(cluster.wire.map(({ type }) => type)).not.toContain("TIMEOUT_NOW");
    cluster.tick();

    expect(cluster.leader?.id).toBe("n2");
    expect(cluster.node("n2").raft.term).toBe(2);
    expect(cluster.node("n2").committedTexts).toEqual(["x"]);
  });

  test("3.10: nothing is proposed while leadership is handed over", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    n1.do((raft) => raft.transferLeadership("n2"));
    expect(n1.propose("x")).toEqual({ accepted: false, refusal: "transferring" });
    expect(n1.do((raft) => raft.requestRead(1))).toBe(false);
  });

  // "If leadership transfer does not complete after about an election timeout, the prior leader
  // aborts the transfer and resumes accepting client requests."
  test("3.10: a hand-over that does not end is given up", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    cluster.node("n2").crash();
    n1.do((raft) => raft.transferLeadership("n2"));

    cluster.tick(9);
    expect(n1.propose("x").accepted).toBe(false);
    cluster.tick(1);

    expect(n1.propose("x").accepted).toBe(true);
    expect(n1.events).toContainEqual({ type: "TRANSFER_ENDED", to: "n2", done: false });
  });

  // The target campaigns without a pre-vote, and its requests are marked as a transfer, or the
  // stickiness of the other voters would stop it.
  test("3.10: the target's campaign passes pre-vote and stickiness", () => {
    const cluster = clusterWithLeader(3);
    cluster.node("n1").do((raft) => raft.transferLeadership("n2"));
    cluster.deliver({ type: "TIMEOUT_NOW" });

    const request = { type: "VOTE_REQUEST", term: 2, preVote: false, transfer: true };
    expect(cluster.wire).toMatchObject([{ ...request }, { ...request }]);
    cluster.deliver({ to: "n3" });
    expect(cluster.take({ from: "n3" })).toMatchObject([{ granted: true, term: 2 }]);
  });

  // TimeoutNow names the last entry of its sender: a node with another log would campaign in vain.
  test("3.10: a target that is not up to date does not campaign", () => {
    const n2 = clusterWithLeader(3).node("n2");
    n2.step("n1", 1, { type: "TIMEOUT_NOW", last: { term: 1, index: 2 } });
    n2.step("n3", 1, { type: "TIMEOUT_NOW", last: { term: 1, index: 1 } });
    expect(n2.raft.role).toBe("follower");
  });
});

describe("10.2 performance", () => {
  // 10.2.1: "The leader can write to its disk in parallel with replicating to the followers": the
  // appends are on the wire before its own disk has anything.
  test("10.2.1: a leader sends entries before they are on its own disk", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    n1.isDiskHeld = true;
    n1.propose("x");
    expect(cluster.wire).toMatchObject([{ to: "n2" }, { to: "n3" }]);
  });

  // "The leader may even commit an entry before it has been written to its own disk, if a majority
  // of followers have written it to their disks; this is still safe."
  test("10.2.1: a majority of followers commits without the leader's disk", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    n1.isDiskHeld = true;
    n1.propose("x");
    cluster.deliver();
    cluster.deliver({ from: "n2" });
    expect(n1.commitIndex).toBe(1);

    cluster.deliver({ from: "n3" });

    expect(n1.commitIndex).toBe(2);
    expect(n1.raft.view.durableIndex).toBe(1);
  });

  test("10.2.1: a leader counts itself when the entries are on its disk", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    n1.isDiskHeld = true;
    n1.propose("x");
    n1.step("n2", 1, acknowledged(2));
    expect(n1.commitIndex).toBe(1);

    n1.persist();

    expect(n1.commitIndex).toBe(2);
  });

  // 10.2.2: "AppendEntries' consistency check guarantees that pipelining is safe": the next append
  // does not wait for the answer, up to the window.
  test("10.2.2: appends are sent without waiting, up to the window", () => {
    const cluster = clusterWithLeader(3, { inflightMessagesMax: 3 });
    const n1 = cluster.node("n1");

    for (const text of ["a", "b", "c", "d"]) n1.propose(text);

    const toN2 = cluster.take({ to: "n2" });
    expect(toN2).toMatchObject([1, 2, 3].map((index) => ({ previous: { term: 1, index } })));
    n1.step("n2", 1, acknowledged(2));
    expect(cluster.take({ to: "n2" })).toMatchObject([{ previous: { term: 1, index: 4 } }]);
  });

  // 10.2.2: "if a request is lost, the consistency check refuses the later ones": then probe again.
  test("10.2.2: a loss in the pipeline leads back to one append at a time", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    n1.propose("a");
    cluster.drop({ to: "n2" });
    n1.propose("b");
    n1.propose("c");
    cluster.deliver({ to: "n2" });
    cluster.deliver({ from: "n2" });

    expect(n1.raft.peers()[1]).toMatchObject({ state: "probe", match: 1 });
    cluster.stabilize();
    expect(n1.raft.peers()[1]).toMatchObject({ state: "replicate", match: 4 });
  });
});
