/**
 * As `paper_test.ts`: one test a rule, here of cluster membership changes (thesis, chapter 4;
 * paper, section 6) and of log compaction (thesis, chapter 5; paper, section 7).
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { Configuration, changeProblem } from "../../src/raft/configuration.ts";
import { isQuorum, quorumValue, voteResult } from "../../src/raft/quorum.ts";
import {
  Cluster,
  clusterWithLeader,
  configurationFrom,
  configurationWords,
  entryAt,
  type TestNode,
} from "./cluster.ts";
import { acknowledged, append, heartbeat, voteRequest, voteResponse } from "./messages.ts";

function change(node: TestNode, words: string): string {
  return node.proposeMembers(configurationFrom(words));
}

function voters(node: TestNode): string {
  return node.raft.configuration.voters.join(" ");
}

describe("4.1 safety", () => {
  // A server uses the latest configuration in its log, whether that entry is committed or not.
  test("4.1: a configuration counts when it is appended, on the leader and on the others", () => {
    const cluster = new Cluster({ nodeCount: 3, members: "n1 n2 ~n3" });
    const n1 = cluster.elect("n1");

    expect(change(n1, "n1 n2 n3")).toBe("");
    expect(voters(n1)).toBe("n1 n2 n3");
    expect(n1.commitIndex).toBe(1);
    cluster.deliver({ to: "n2" });
    expect(voters(cluster.node("n2"))).toBe("n1 n2 n3");
    expect(cluster.node("n2").commitIndex).toBe(1);
  });

  // It is the new majority that commits it: of three, when the third was added.
  test("4.1: a configuration is committed by its own majority", () => {
    const cluster = new Cluster({ nodeCount: 4, members: "n1 n2 n3 ~n4" });
    const n1 = cluster.elect("n1");
    expect(change(n1, "n1 n2 n3 n4")).toBe("");

    n1.step("n2", 1, acknowledged(2));
    expect(n1.commitIndex).toBe(1);
    n1.step("n4", 1, acknowledged(2));
    expect(n1.commitIndex).toBe(2);
  });

  // An entry may be removed when leadership changes: the one before it in the log counts again.
  test("4.1: an entry that is truncated takes its configuration back with it", () => {
    const cluster = new Cluster({ nodeCount: 3, members: "n1 n2 ~n3", logs: { n2: [1] } });
    const n2 = cluster.node("n2");
    n2.step("n1", 1, append({ term: 1, index: 1 }, [entryAt(1, 2, "config n1 n2 n3")]));
    expect(voters(n2)).toBe("n1 n2 n3");

    n2.step("n3", 2, append({ term: 1, index: 1 }, [entryAt(2, 2), entryAt(2, 3, "config n1")]));
    expect(voters(n2)).toBe("n1");
    n2.step("n1", 3, append({ term: 2, index: 2 }, [entryAt(3, 3)]));

    expect(voters(n2)).toBe("n1 n2");
    expect(n2.raft.view.configurationIndex).toBe(0);
  });

  // "Single-server changes": any majority of one configuration meets any of the next. Of two, one
  // of the two may differ.
  test.each([
    ["n1 n2 n3", "n1 n2 n3 n4", true],
    ["n1 n2 n3", "n1 n2", true],
    ["n1 n2 n3", "n1 n2 ~n3", true],
    ["n1 n2 n3 ~n4", "n1 n2 n3 n4", true],
    ["n1 n2 n3", "n1 n2 n3 ~n4 !n5", true],
    ["n1 n2 n3", "n1 n2 n4", false],
    ["n1 n2 n3", "n1", false],
    ["n1 n2 n3", "n1 n2 n3 n4 n5", false],
    ["n1", "~n1", false],
    ["n1 n2 n3", "n1 n2 -n3 +n4", true],
    ["n1 n2 n3", "n1 -n2 -n3 +n4 +n5", true],
    ["n1 n2 n3", "-n1 -n2 -n3 +n4 +n5", true],
    ["n1 n2 n3", "-n1 -n2 -n3", false],
    ["n1 n2 n3", "n1 -n2 +n4", false],
    ["n1 n2 n3", "n1 n2 n3 n4 +n5", false],
    ["n1 n2 -n3 +n4", "n1 n2 n4", true],
    ["n1 n2 -n3 +n4", "n1 n2 n4 ~n3", true],
    ["n1 n2 -n3 +n4", "n1 n2 n3", false],
    ["n1 n2 -n3 +n4", "n1 n2 n3 n4", false],
    ["n1 n2 -n3 +n4", "n1 -n2 -n3 +n4", false],
  ])("4.1: from [%s] to [%s] may follow: %p", (from, to, mayFollow) => {
    const problem = changeProblem(configurationFrom(from), configurationFrom(to));
    expect(problem === "").toBe(mayFollow);
  });

  // The next change waits until the one before is committed.
  test("4.1: one change at a time", () => {
    const cluster = new Cluster({ nodeCount: 4, members: "n1 n2 n3", joining: ["n4"] });
    const n1 = cluster.elect("n1");
    expect(change(n1, "n1 n2 n3 ~n4")).toBe("");

    expect(change(n1, "n1 n2")).toBe("another change is under way");
    cluster.stabilize();
    expect(change(n1, "n1 n2")).toBe("");
  });

  // The correction of 2015: not before an entry of the leader's own term is committed.
  test("4.1: no change before the leader has committed an entry of its term", () => {
    const cluster = clusterWithLeader(3);
    const n2 = cluster.node("n2");
    for (const id of ["n1", "n3"]) cluster.node(id).crash();
    for (const id of ["n1", "n3"]) cluster.node(id).restart();
    n2.tick(10);
    cluster.drop();
    n2.campaign();
    for (let round = 0; round < 4; round += 1) cluster.deliver();
    expect(n2.raft.role).toBe("leader");

    expect(change(n2, "n1 n2")).toContain("has not committed an entry of its term");
    cluster.stabilize();
    expect(change(n2, "n1 n2")).toBe("");
  });

  // The caller's configuration decides, not the receiver's: a server answers a leader and a
  // candidate that are not in its latest configuration, also with an empty configuration.
  test("4.1: a server answers a leader that it does not count as a member", () => {
    const cluster = new Cluster({ nodeCount: 3, members: "n1 n2", joining: ["n3"] });
    const n3 = cluster.node("n3");

    n3.step("n9", 4, append({ term: 0, index: 0 }, [entryAt(4, 1)]));

    expect(n3.raft.view).toMatchObject({ leader: "n9", term: 4, lastIndex: 1 });
    expect(n3.sent()).toMatchObject([{ to: "n9", rejected: false, index: 1 }]);
  });

  test.each(["n2", "n3"])("4.1: %s votes for a candidate that it does not count", (id) => {
    const cluster = new Cluster({ nodeCount: 3, members: "n1 n2", joining: ["n3"] });

    cluster.node(id).step("n9", 4, voteRequest({ term: 3, index: 3 }));

    expect(cluster.node(id).sent()).toMatchObject([{ to: "n9", granted: true }]);
  });
});

describe("4.2.1 catching up new servers", () => {
  // A new server gets the log before it counts. Here: as a learner.
  test("4.2.1: a learner gets everything and counts for nothing", () => {
    const cluster = new Cluster({ nodeCount: 3, members: "n1 n2", joining: ["n3"] });
    const n1 = cluster.elect("n1");
    n1.propose("a");
    cluster.stabilize();
    expect(change(n1, "n1 n2 ~n3")).toBe("");
    cluster.stabilize();
    cluster.tick();
    expect(cluster.node("n3").committedTexts).toEqual(["a", "config n1 n2 ~n3"]);

    cluster.isolate("n2");
    n1.propose("b");
    cluster.stabilize();
    expect(n1.raft.peers().find(({ id }) => id === "n3")).toMatchObject({ match: 4 });
    expect(n1.commitIndex).toBe(3);
    cluster.node("n3").tick(100);
    expect(cluster.node("n3").raft.role).toBe("follower");
  });

  test("4.2.1: a server that is to be caught up is brought from nothing by one refusal", () => {
    const cluster = new Cluster({ nodeCount: 2, members: "n1", joining: ["n2"] });
    const n1 = cluster.elect("n1");
    for (let at = 0; at < 20; at += 1) n1.propose(`entry ${at}`);
    expect(change(n1, "n1 ~n2")).toBe("");
    let refusals = 0;
    cluster.watcher = {
      onReady: (_, { messages }) => {
        for (const m of messages) if ("rejected" in m && m.rejected) refusals += 1;
      },
    };

    cluster.stabilize();

    expect(refusals).toBe(1);
    expect(cluster.node("n2").raft.lastIndex).toBe(22);
  });
});

describe("4.2.2 removing the current leader", () => {
  // A leader that is not part of the new configuration does not count itself in its majorities.
  test("4.2.2: a leader that removes itself does not count itself", () => {
    const cluster = clusterWithLeader(5);
    const n1 = cluster.node("n1");
    expect(change(n1, "n2 n3 n4 n5")).toBe("");

    // Of four, three are needed; n1 and two others are none.
    for (const id of ["n2", "n3"]) n1.step(id, 1, acknowledged(2));
    expect(n1.commitIndex).toBe(1);
    expect(n1.raft.role).toBe("leader");
    n1.step("n4", 1, acknowledged(2));
    expect(n1.commitIndex).toBe(2);
  });

  // It steps down when Cnew is committed, and hands over, or the voters would wait for a timeout.
  test("4.2.2: it leads until its removal is committed, then hands over", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    expect(change(n1, "n2 n3")).toBe("");
    expect(n1.propose("x").accepted).toBe(true);

    cluster.stabilize();

    expect(n1.raft.role).toBe("follower");
    expect(cluster.leader?.id).not.toBe("n1");
    expect(cluster.leader?.raft.term).toBe(2);
    expect(cluster.leader?.committedTexts).toEqual(["config n2 n3", "x"]);
  });

  // A server that is not part of its own latest configuration still starts elections: the one that
  // is left may lack the very entry that makes it the only one.
  test("4.2.2: a server outside its latest configuration campaigns until that is committed", () => {
    const cluster = clusterWithLeader(2);
    const [n1, n2] = [cluster.node("n1"), cluster.node("n2")];
    expect(change(n1, "n2")).toBe("");
    cluster.drop();
    n1.crash();
    n1.restart();
    n2.tick(11);
    cluster.stabilize();
    expect(n2.raft.role).not.toBe("leader");

    n1.tick(20);
    cluster.stabilize();

    // n1 wins by n2's vote alone, brings it the change, and goes.
    expect(voters(n2)).toBe("n2");
    expect(n1.raft.role).toBe("follower");
    expect(n2.raft.role).toBe("leader");
    n1.tick(100);
    expect(cluster.wire).toEqual([]);
  });

  test("4.2.2: a removed candidate's own vote does not elect it", () => {
    const cluster = clusterWithLeader(4);
    const n1 = cluster.node("n1");
    expect(change(n1, "n2 n3 n4")).toBe("");
    n1.crash();
    n1.restart();
    n1.campaign();
    n1.step("n2", 2, voteResponse(true, true));
    expect(n1.raft.role).toBe("pre-candidate");
    n1.step("n3", 2, voteResponse(true, true));
    n1.sent();

    n1.step("n2", 2, voteResponse(true));
    expect(n1.raft.role).toBe("candidate");
    n1.step("n4", 2, voteResponse(true));
    expect(n1.raft.role).toBe("leader");
  });
});

describe("4.2.3 disruptive servers", () => {
  // "If a server receives a RequestVote request within the minimum election timeout of hearing from
  // a current leader, it does not update its term or grant its vote."
  test("4.2.3: a removed server's campaign changes no term", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    expect(change(n1, "n1 n2")).toBe("");
    cluster.stabilize();
    cluster.tick();

    for (const id of ["n1", "n2"]) {
      cluster.node(id).step("n3", 50, voteRequest({ term: 49, index: 49 }));
      expect(cluster.node(id).raft.view).toMatchObject({ term: 1, leader: "n1" });
    }
  });

  // A removed server is sent nothing, and its answers count for nothing.
  test("4.2.3: a removed server is forgotten with the entry that removes it", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    expect(change(n1, "n1 n2")).toBe("");

    n1.tick();
    n1.step("n3", 1, acknowledged(2));

    expect(cluster.wire.filter(({ to }) => to === "n3")).toEqual([]);
    expect(n1.raft.peers().map(({ id }) => id)).toEqual(["n1", "n2"]);
    expect(n1.commitIndex).toBe(1);
  });
});

describe("paper 6 joint consensus", () => {
  // "Agreement (for elections and entry commitment) requires separate majorities from both the old
  // and new configurations."
  const joint = configurationFrom("n1 -n2 -n3 +n4 +n5");

  test.each([
    [["n1", "n4"], false],
    [["n1", "n4", "n5"], false],
    [["n1", "n2", "n3"], false],
    [["n2", "n3", "n4", "n5"], true],
    [["n1", "n2", "n4"], true],
    [["n2", "n4", "n5"], false],
  ])("paper 6: %p are a quorum of both: %p", (ids, isBoth) => {
    const holds = (id: string): boolean => ids.includes(id);
    expect(isQuorum(joint, holds)).toBe(isBoth);
    expect(quorumValue(joint, (id) => (holds(id) ? 7 : 3))).toBe(isBoth ? 7 : 3);
    const answers = new Map(ids.map((id) => [id, true]));
    expect(voteResult(joint, answers)).toBe(isBoth ? "won" : "pending");
  });

  test.each([
    [["n2", "n3"], "lost"],
    [["n4", "n5"], "lost"],
    [["n1", "n2"], "lost"],
    [["n2", "n4"], "pending"],
    [["n1"], "pending"],
  ])("paper 6: an election that %p refuse is %s", (ids, result) => {
    const answers = new Map(ids.map((id) => [id, false]));
    expect(voteResult(joint, answers)).toBe(result as "lost" | "pending");
  });

  // The entry with Cnew follows when Cold,new is committed: not before, and once.
  test("paper 6: the leader ends joint consensus when it is committed, and once", () => {
    const cluster = new Cluster({ nodeCount: 4, members: "n1 n2 n3 ~n4" });
    const n1 = cluster.elect("n1");
    expect(change(n1, "n1 n2 -n3 +n4")).toBe("");
    expect(n1.raft.mayLeaveJoint).toBe(false);

    n1.isLeaveHeld = true;
    cluster.stabilize();
    expect(n1.raft.mayLeaveJoint).toBe(true);
    n1.isLeaveHeld = false;
    n1.carryOut();
    expect(n1.raft.mayLeaveJoint).toBe(false);
    cluster.stabilize();

    expect(n1.raft.view).toMatchObject({ lastIndex: 3, commitIndex: 3 });
    expect(configurationWords(n1.raft.configuration)).toBe("n1 n2 n4");
    expect(n1.raft.mayLeaveJoint).toBe(false);
  });

  // A leader of a later term may not end what an earlier one began before its own first commit.
  test("paper 6: a new leader ends joint consensus after its first commit", () => {
    const cluster = new Cluster({ nodeCount: 4, members: "n1 n2 -n3 +n4" });
    const n1 = cluster.node("n1");
    n1.campaign();
    for (let round = 0; round < 4; round += 1) cluster.deliver();
    expect(n1.raft.role).toBe("leader");
    expect(n1.raft.mayLeaveJoint).toBe(false);
    expect(n1.raft.lastIndex).toBe(1);

    cluster.stabilize();

    expect(configurationWords(n1.raft.configuration)).toBe("n1 n2 n4");
    expect(n1.commitIndex).toBe(2);
  });

  test("paper 6: reads are confirmed by both majorities", () => {
    const cluster = new Cluster({ nodeCount: 4, members: "n1 n2 n3 ~n4" });
    const n1 = cluster.elect("n1");
    n1.isLeaveHeld = true;
    expect(change(n1, "n1 -n2 -n3 +n4")).toBe("");
    cluster.stabilize();
    n1.do((raft) => raft.requestRead(5));

    n1.step("n4", 1, { type: "HEARTBEAT_RESPONSE", readRound: 1 });
    expect(n1.reads).toEqual([]);
    n1.step("n3", 1, { type: "HEARTBEAT_RESPONSE", readRound: 1 });

    expect(n1.reads).toMatchObject([{ context: 5 }]);
  });

  test("paper 6: a configuration knows its two groups and its end", () => {
    expect(joint.voters).toEqual(["n1", "n4", "n5"]);
    expect(joint.outgoing).toEqual(["n1", "n2", "n3"]);
    expect(joint.electorate).toEqual(["n1", "n2", "n3", "n4", "n5"]);
    expect(configurationWords(joint.leaveJoint())).toBe("n1 n4 n5");
    expect(new Configuration([]).isJoint).toBe(false);
  });
});

describe("paper 7 log compaction", () => {
  const base = { index: 3, term: 2, nextSequence: 4 };
  const snapshot = { leader: "n1", term: 5, base, configuration: configurationFrom("n1 n2 ~n3") };

  function follower(...terms: readonly number[]): TestNode {
    return new Cluster({ nodeCount: 3, logs: { n2: terms } }).node("n2");
  }

  // A snapshot of a prefix of the log: the entries that follow it are still valid and are kept.
  test("paper 7: a snapshot of a prefix of the log leaves the entries that follow", () => {
    const n2 = follower(1, 2, 2, 2, 4);

    expect(n2.takeSnapshot(snapshot)).toBe(false);

    expect(n2.logIds).toBe("1:1 2:2 2:3 2:4 4:5");
    expect(n2.commitIndex).toBe(3);
    expect(n2.sent()).toMatchObject([{ rejected: false, index: 3, term: 5 }]);
    expect(n2.raft.configuration.voters).toEqual(["n1", "n2", "n3"]);
  });

  // A snapshot with entries that are not in the log: the follower discards its entire log.
  test.each([
    ["ends before it", [1]],
    ["is empty", []],
    ["has another entry there", [1, 1, 1]],
    ["has another entry there, and more behind it", [1, 1, 1, 1, 1, 1]],
    ["has an entry of a newer term there", [1, 2, 4, 4]],
  ])("paper 7: a log that %s goes, all of it", (_, terms) => {
    const n2 = follower(...terms);

    expect(n2.takeSnapshot(snapshot)).toBe(true);

    expect(n2.raft.view).toMatchObject({ firstIndex: 4, lastIndex: 3, commitIndex: 3 });
    expect(n2.raft.view).toMatchObject({ durableIndex: 3, configurationIndex: 3 });
    expect(configurationWords(n2.raft.configuration)).toBe("n1 n2 ~n3");
    expect(n2.sent()).toMatchObject([{ rejected: false, index: 3 }]);
    // The entry before the first is known, and the sequence goes on from the snapshot's.
    n2.step("n1", 5, append({ term: 2, index: 3 }, [entryAt(5, 4)], 4));
    expect(n2.logIds).toBe("5:4");
    expect(n2.commitIndex).toBe(4);
    n2.campaign();
    expect(n2.sent().at(-1)).toMatchObject({ type: "VOTE_REQUEST", last: { term: 5, index: 4 } });
  });

  test("paper 7: nothing of a snapshot is promised before it is durable", () => {
    const n2 = follower(1, 1, 1, 1, 1, 1);
    n2.isDiskHeld = true;

    n2.takeSnapshot(snapshot);
    expect(n2.raft.view).toMatchObject({ lastIndex: 3, durableIndex: 0 });
    expect(n2.sent()).toEqual([]);
    n2.persist();

    expect(n2.sent()).toContainEqual(expect.objectContaining({ index: 3, rejected: false }));
    expect(n2.raft.view.durableIndex).toBe(3);
  });

  // Entries that were being written when the snapshot arrived are no part of the log any more.
  test("paper 7: a sync of entries that a snapshot replaced makes nothing durable", () => {
    const n2 = follower(1);
    n2.isDiskHeld = true;
    const tail = [2, 3, 4, 5, 6].map((index) => entryAt(4, index));
    n2.step("n3", 4, append({ term: 1, index: 1 }, tail));
    expect(n2.raft.lastIndex).toBe(6);
    expect(n2.takeSnapshot(snapshot)).toBe(true);

    n2.persist(1);
    expect(n2.raft.view).toMatchObject({ lastIndex: 3, durableIndex: 0 });
    n2.persist();

    expect(n2.raft.view.durableIndex).toBe(3);
  });

  // Figure 13: "Reply immediately if term < currentTerm."
  test("paper 7: a snapshot of an old term is ignored", () => {
    const n2 = follower(1, 1, 1);
    n2.step("n3", 6, voteRequest({ term: 1, index: 3 }));
    n2.sent();

    expect(n2.takeSnapshot(snapshot)).toBe(false);

    expect(n2.raft.view).toMatchObject({ term: 6, leader: undefined, lastIndex: 3 });
    expect(n2.commitIndex).toBe(0);
    expect(n2.sent()).toEqual([]);
  });

  // A snapshot that arrives late is behind the commit index.
  test.each([
    ["older than", [2, 2, 2, 2], 4],
    ["as old as", [2, 2, 2, 2], 3],
    ["another entry than", [1, 1, 1, 1], 3],
  ])("paper 7: a snapshot %s the commit index changes nothing", (_, terms, commitIndex) => {
    const n2 = follower(...terms);
    n2.step("n1", 5, heartbeat(commitIndex));
    n2.sent();

    expect(n2.takeSnapshot(snapshot)).toBe(false);

    expect(n2.raft.view).toMatchObject({ commitIndex, lastIndex: 4, firstIndex: 1 });
    expect(n2.raft.configuration.voters).toEqual(["n1", "n2", "n3"]);
    expect(n2.sent()).toMatchObject([{ rejected: false, index: commitIndex }]);
  });

  // A snapshot proves a leader as an append does: the node adopts the term, ends its campaign and
  // restarts the wait.
  test.each(["follower", "pre-candidate", "candidate"])(
    "paper 7: a %s follows its leader",
    (role) => {
      const n2 = follower(1);
      if (role !== "follower") n2.campaign();
      if (role === "candidate") n2.step("n3", 2, voteResponse(true, true));
      expect(n2.raft.role).toBe(role as typeof n2.raft.role);

      n2.tick(5);
      const { term } = n2.raft;
      n2.takeSnapshot({ ...snapshot, term });
      expect(n2.raft.view).toMatchObject({ role: "follower", leader: "n1", term });
      n2.tick(9);
      expect(n2.raft.role).toBe("follower");
    },
  );

  // A follower that lags too far behind is sent a snapshot, and nothing else meanwhile.
  test("paper 7: a peer that gets a snapshot gets no entries until that has ended", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    cluster.isolate("n3");
    for (const text of ["a", "b"]) n1.propose(text);
    cluster.stabilize();
    n1.compact(3);
    cluster.heal();
    n1.do((raft) => raft.peerUnreachable("n3"));
    cluster.tick(2);
    expect(n1.raft.peers()[2]).toMatchObject({ state: "snapshot" });

    n1.propose("c");
    n1.tick();
    expect(cluster.take({ to: "n3" }).map(({ type }) => type)).toEqual(["HEARTBEAT"]);
    n1.do((raft) => raft.snapshotEnded("n3", true));
    expect(cluster.take({ to: "n3" }).map(({ type }) => type)).toEqual(["APPEND_ENTRIES"]);
  });

  // A snapshot holds the latest configuration of the prefix that it replaces.
  test("paper 7: the members are found again behind a log that is cut", () => {
    const cluster = new Cluster({ nodeCount: 3, members: "n1 n2", joining: ["n3"] });
    const n1 = cluster.elect("n1");
    expect(change(n1, "n1 n2 ~n3")).toBe("");
    cluster.stabilize();
    n1.compact(2);
    n1.crash();

    n1.restart();

    expect(configurationWords(n1.raft.configuration)).toBe("n1 n2 ~n3");
    expect(n1.raft.view.configurationIndex).toBe(2);
  });
});
