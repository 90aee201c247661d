/**
 * Histories that once went wrong. The comment above each test names the damage.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { Cluster, clusterWithLeader, configurationFrom, entryAt } from "./cluster.ts";

// A node campaigned with entries that its disk did not have yet and restarted without them; the
// votes that those entries had won it arrived late and made it leader without a committed entry.
// Thesis §3.8: state that other nodes rely on is on disk first, and a voter relies on the
// candidate's log.
test("vote: a campaign with unsynced entries waits for the disk", () => {
  const cluster = clusterWithLeader(5);
  const n2 = cluster.node("n2");
  n2.isDiskHeld = true;
  cluster.cut("n1", "n5");
  cluster.node("n1").propose("x");
  cluster.stabilize();
  expect(cluster.node("n1").committedTexts).toEqual(["x"]);
  cluster.node("n1").crash();

  // n2 wrote x but did not sync it. All grant it a pre-vote, n3 also a vote; both of n3's are late.
  for (const id of ["n2", "n3", "n4", "n5"]) cluster.node(id).tick(10);
  cluster.deliver({ from: "n2" });
  const late = [...cluster.take({ from: "n3" })];
  cluster.deliver();
  expect(n2.raft.role).toBe("candidate");
  cluster.deliver({ from: "n2", to: "n3" });
  late.push(...cluster.take({ from: "n3" }));
  cluster.drop();
  n2.crash();
  n2.isDiskHeld = false;
  n2.restart();
  expect(n2.logIds).toBe("1:1");

  // Without x it campaigns in the same term again, and n5, which lacks x too, grants.
  n2.campaign();
  cluster.deliver({ from: "n2", to: "n5" });
  cluster.deliver({ from: "n5" });
  for (const message of late) cluster.arrive(message);
  cluster.deliver({ from: "n2", to: "n5" });
  cluster.deliver({ from: "n5" });
  for (const message of late) cluster.arrive(message);

  expect(n2.raft.term).toBe(2);
  expect(n2.raft.role).toBe("candidate");
});

// A leader that was only reported as lost sent another heartbeat, but the shortened wait stayed,
// and the node campaigned between two heartbeats.
test("forgetLeader: a sign of life restores the wait", () => {
  const cluster = clusterWithLeader(3, { heartbeatTicks: 2 });
  const n2 = cluster.node("n2");
  n2.do((raft) => raft.forgetLeader("n1", 1));
  cluster.node("n1").tick(2);
  cluster.stabilize();

  n2.tick(9);

  expect(n2.raft.role).toBe("follower");
});

// The time that a silent leader had been silent was forgotten with every campaign that could not
// win, so one node with an old log kept the others from campaigning (T24).
test("vote: a refused campaign does not restart the wait", () => {
  const cluster = new Cluster({ nodeCount: 3, logs: { n1: [1], n2: [1, 1], n3: [1, 1] } });
  const n2 = cluster.node("n2");
  n2.tick(10);
  const body = { last: { term: 1, index: 1 }, preVote: false, transfer: false } as const;
  n2.step("n1", 2, { type: "VOTE_REQUEST", ...body });
  expect(n2.sent()).toMatchObject([{ type: "VOTE_RESPONSE", granted: false, term: 2 }]);

  n2.tick(1);

  expect(n2.raft.role).toBe("pre-candidate");
});

// An append whose entries do not follow its previous entry passed as long as the log held them, and
// the commit index then moved beyond the log: the node stopped on an assertion (T21).
test("append: known entries must follow the previous one too", () => {
  const cluster = new Cluster({ nodeCount: 3, logs: { n2: [1, 1] } });
  const n2 = cluster.node("n2");
  const previous = { term: 1, index: 2 };
  const entries = [entryAt(1, 2)];

  n2.step("n1", 1, { type: "APPEND_ENTRIES", previous, commitIndex: 3, entries });

  expect(n2.raft.commitIndex).toBe(0);
  expect(n2.events.at(-1)).toMatchObject({ type: "MESSAGE_REFUSED", from: "n1" });
  expect(n2.sent()).toEqual([]);
});

// The log's head was cut while a slow read for a peer was under way: the term of the entry before
// the first of them was not known any more.
test("catch-up: entries whose predecessor was cut meanwhile are not sent", () => {
  const cluster = clusterWithLeader(3, { appendBytesMax: 4 });
  const n1 = cluster.node("n1");
  cluster.isolate("n3");
  for (const text of ["a", "b", "c", "d", "e", "f"]) n1.propose(text);
  cluster.stabilize();
  n1.isReadHeld = true;
  n1.log.cachedFrom = 7;
  cluster.heal();
  n1.do((raft) => raft.peerUnreachable("n3"));
  n1.tick();
  cluster.stabilize();
  const wanted = n1.catchUps[0];
  expect(wanted).toMatchObject({ peer: "n3", from: 2 });
  const entries = n1.log.readFromDisk(2, 7, 4);

  n1.compact(4);
  n1.do((raft) => raft.supplyEntries("n3", entries));

  // Instead n3 is probed at the oldest place that is left, and refuses.
  expect(cluster.wire).toMatchObject([{ to: "n3", previous: { term: 1, index: 4 }, entries: [] }]);
  cluster.stabilize();
  expect(n1.snapshotPeers).toEqual(["n3"]);
});

// A leader that knew of no match - the acknowledgements were lost - and had cut its log took a node
// that lacked nothing as stranded, and went on only after the node had been re-seeded.
test("probe: a peer is probed at the log's head before it counts as stranded", () => {
  const cluster = clusterWithLeader(3);
  const n1 = cluster.node("n1");
  for (const text of ["a", "b"]) n1.propose(text);
  cluster.deliver({ type: "APPEND_ENTRIES" });
  cluster.drop({ from: "n3", to: "n1" });
  cluster.stabilize();
  n1.compact(3);
  n1.do((raft) => raft.peerUnreachable("n3"));
  expect(n1.raft.peers()[2]).toMatchObject({ match: 1, state: "probe" });

  n1.propose("c");
  cluster.stabilize();
  cluster.tick(2);

  expect(n1.raft.peers()[2]).toMatchObject({ match: 4, state: "replicate" });
});

// A peer that the log cannot serve is probed once, not in a loop, and gets nothing but a snapshot
// from then on; a snapshot that did not arrive is requested again once a heartbeat.
test("probe: a stranded peer is probed once a heartbeat", () => {
  const cluster = clusterWithLeader(3);
  const n1 = cluster.node("n1");
  cluster.isolate("n3");
  for (const text of ["a", "b"]) n1.propose(text);
  cluster.stabilize();
  n1.compact(3);
  cluster.heal();
  n1.do((raft) => raft.peerUnreachable("n3"));
  let asked = 0;
  cluster.watcher = {
    onReady: (_, { messages }) => {
      for (const { type, to } of messages) if (type === "APPEND_ENTRIES" && to === "n3") asked += 1;
    },
  };

  cluster.tick(3);
  expect(asked).toBe(1);
  expect(n1.snapshotPeers).toEqual(["n3"]);
  expect(n1.raft.peers()[2]).toMatchObject({ match: 1, state: "snapshot" });
  n1.do((raft) => raft.snapshotEnded("n3", false));
  n1.propose("c");
  cluster.stabilize();
  expect(asked).toBe(1);
  cluster.tick(3);
  expect(asked).toBe(2);
  expect(n1.snapshotPeers).toEqual(["n3", "n3"]);
});

// An entry without bytes was sent for ever: the window moved on by bytes, not by entries.
test("append: an entry without bytes is sent once", () => {
  const cluster = clusterWithLeader(3);

  cluster.node("n1").propose("");
  cluster.stabilize();

  expect(cluster.node("n3").raft.lastIndex).toBe(2);
});

// The caller of a hand-over waits for its end: a quorum that is lost meanwhile is no success, and
// the end of a target that another one replaced must be reported.
test("transfer: ended without the target is not done", () => {
  const cluster = clusterWithLeader(3);
  const n1 = cluster.node("n1");
  cluster.isolate("n1");
  n1.tick(5);
  n1.do((raft) => raft.transferLeadership("n2"));
  n1.do((raft) => raft.transferLeadership("n3"));
  expect(n1.events.at(-2)).toEqual({ type: "TRANSFER_ENDED", to: "n2", done: false });
  n1.tick(5);
  n1.tick(5);

  const ends = n1.events.filter((event) => event.type === "TRANSFER_ENDED");
  expect(ends).toEqual([
    { type: "TRANSFER_ENDED", to: "n2", done: false },
    { type: "TRANSFER_ENDED", to: "n3", done: false },
  ]);
});

// Entries found on disk at the start count as durable at once.
test("vote: a campaign with everything on disk does not wait", () => {
  const cluster = new Cluster({ nodeCount: 3, logs: { n1: [1], n2: [1], n3: [1] } });
  const n1 = cluster.node("n1");
  n1.isDiskHeld = true;
  n1.campaign();
  cluster.deliver({ type: "VOTE_REQUEST" });
  cluster.deliver({ type: "VOTE_RESPONSE" });

  expect(n1.raft.role).toBe("candidate");
  expect(cluster.take({ type: "VOTE_REQUEST" })).toHaveLength(2);
});

// A commit index below the snapshot made a node refuse appends at its leader's match for ever.
test("start: a commit index before the log's first entry is refused", () => {
  const cluster = clusterWithLeader(3);
  const n3 = cluster.node("n3");
  n3.compact(1);
  n3.crash();
  n3.durable.commitIndex = 0;

  expect(() => n3.restart()).toThrow("entries that were cut are committed");
});

// A follower whose leader was elected again, in a term without its vote, had no event of that: its
// requests of the term before stayed open for ever.
test("events: the same leader in a newer term is an event", () => {
  const cluster = clusterWithLeader(3);
  const n2 = cluster.node("n2");
  n2.events = [];

  const heartbeat = { type: "HEARTBEAT", commitIndex: 1, readRound: 0, heldIndex: 0 } as const;
  n2.step("n1", 3, heartbeat);
  n2.step("n1", 3, heartbeat);

  expect(n2.events).toEqual([{ type: "ROLE_CHANGED", role: "follower", term: 3, leader: "n1" }]);
});

// Configurations before the newest committed one counted again after a restart: a voter that had
// become a learner, and knew it, campaigned after every restart.
test("members: a restart does not bring committed configurations back", () => {
  const cluster = clusterWithLeader(3);
  const n3 = cluster.node("n3");
  expect(cluster.node("n1").proposeMembers(configurationFrom("n1 n2 ~n3"))).toBe("");
  cluster.stabilize();
  cluster.tick(2);
  n3.crash();
  expect(n3.durable.commitIndex).toBe(2);

  n3.restart();
  n3.tick(40);

  expect(n3.raft.role).toBe("follower");
  expect(cluster.wire).toEqual([]);
});

// A leader whose last silent voter was removed had all confirmations that it needed, and got no
// more answers on which it would have counted them.
test("read: a quorum that shrinks to the leader alone answers the waiting reads", () => {
  const cluster = clusterWithLeader(2);
  const n1 = cluster.node("n1");
  cluster.isolate("n2");
  n1.do((raft) => raft.requestRead(7));
  expect(n1.reads).toEqual([]);

  expect(n1.proposeMembers(configurationFrom("n1"))).toBe("");

  expect(n1.raft.commitIndex).toBe(2);
  expect(n1.reads).toEqual([{ context: 7, index: 1 }]);
});

// A voter whose data directory was lost became a learner under its old id, and the leader went on
// at the match of the lost one: it never sent the missing entries, took the node as caught up, and
// as a voter it would have counted for entries that it did not have.
test.each([
  ["a voter", "n1 n2 n3", "n1 n2 ~n3"],
  ["a voter with a known folder", "n1@a n2@b n3@c", "n1@a n2@b ~n3"],
  ["a learner", "n1 n2 ~n3", "n1 n2 ~n3"],
])(
  "members: acknowledgements of the lost data directory of %s do not count",
  (_, members, next) => {
    const cluster = new Cluster({ nodeCount: 3, members });
    const n1 = cluster.elect("n1");
    const n3 = cluster.node("n3");
    for (const text of ["a", "b"]) n1.propose(text);
    cluster.tick(2);
    expect(n1.raft.peers()[2]).toMatchObject({ id: "n3", match: 3 });
    n3.crash();
    n3.wipe();

    expect(n1.proposeMembers(configurationFrom(next))).toBe("");
    expect(n1.raft.peers().find(({ id }) => id === "n3")).toMatchObject({ match: 0 });
    cluster.stabilize();
    n3.restart();
    cluster.tick(3);

    expect(n1.raft.peers().find(({ id }) => id === "n3")).toMatchObject({ match: 4 });
    expect(n3.committedTexts).toEqual(["a", "b", `config ${next}`]);
  },
);

// The same goes for an id that gets another data directory while it does not vote; a voter's data
// directory is the one that it began with, and a change of other members resets no match.
test.each([
  ["n1 n2 ~n3@c", "n1 n2 ~n3@d", 0],
  ["n1 n2 ~n3", "n1 n2 ~n3@d", 0],
  ["n1 n2 ~n3", "n1 n2 n3@d", 0],
  ["n1 n2 ~n3@c", "n1 n2 n3@c", 1],
  ["n1 n2 n3", "n1@a n2@b n3@c", 1],
  ["n1 n2 n3@c", "n1 n2 n3@c ~n4", 1],
])("members: from %s to %s n3 keeps its place or begins anew", (members, next, match) => {
  const cluster = new Cluster({ nodeCount: 3, members });
  const n1 = cluster.elect("n1");

  expect(n1.proposeMembers(configurationFrom(next))).toBe("");

  expect(n1.raft.peers().find(({ id }) => id === "n3")).toMatchObject({ match });
});

// An outgoing voter was made a learner before joint consensus ended: that counted as its end, and
// the new voter stayed "incoming" for good.
test("members: a role of joint consensus does not outlive it", () => {
  const cluster = new Cluster({ nodeCount: 2, members: "n1 ~n2" });
  const n1 = cluster.elect("n1");
  n1.isLeaveHeld = true;
  expect(n1.proposeMembers(configurationFrom("-n1 +n2"))).toBe("");
  cluster.stabilize();
  expect(n1.commitIndex).toBe(2);

  expect(n1.proposeMembers(configurationFrom("~n1 +n2"))).not.toBe("");
  expect(n1.proposeMembers(configurationFrom("+n2"))).not.toBe("");
  expect(n1.proposeMembers(configurationFrom("n2"))).toBe("");
});

// A joining node restarted with entries that were not committed yet, its first configuration among
// them, and stopped when another leader's entries took their place.
test("members: a joining node may lose its first configuration", () => {
  const cluster = new Cluster({ nodeCount: 3, members: "n1 n2", joining: ["n3"] });
  const n3 = cluster.node("n3");
  const previous = { term: 0, index: 0 };
  const entries = [entryAt(1, 1), entryAt(1, 2, "config n1 n2 ~n3")];
  n3.step("n1", 1, { type: "APPEND_ENTRIES", previous, commitIndex: 0, entries });
  n3.crash();
  n3.restart();
  expect(n3.raft.configuration.ids).toEqual(["n1", "n2", "n3"]);

  const others = [entryAt(2, 1)];
  n3.step("n2", 2, { type: "APPEND_ENTRIES", previous, commitIndex: 0, entries: others });

  expect(n3.raft.configuration.ids).toEqual([]);
  expect(n3.logIds).toBe("2:1");
});

// A node that began alone lost its data directory. When it received the log again from the start,
// it found the configuration in which it was the only voter, elected itself, and took writes beside
// the real leader.
test("members: a node that is catching up does not campaign under an obsolete configuration", () => {
  const cluster = new Cluster({ nodeCount: 3, members: "~n1 n2 n3", joining: ["n1"] });
  const n1 = cluster.node("n1");
  const entries = [entryAt(1, 1, "config n1"), entryAt(1, 2)];
  const previous = { term: 0, index: 0 };
  n1.step("n2", 4, { type: "APPEND_ENTRIES", previous, commitIndex: 50, entries });
  expect(n1.raft.configuration.voters).toEqual(["n1"]);

  n1.tick(100);
  n1.campaign();
  n1.step("n2", 4, { type: "TIMEOUT_NOW", last: { term: 1, index: 2 } });
  n1.do((raft) => raft.forgetLeader("n2", 1));
  n1.tick(100);

  expect(n1.raft.view).toMatchObject({ role: "follower", term: 4 });
});
