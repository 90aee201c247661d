// Scenarios that need exact interleavings: the core alone, with every message and every sync under
// control. The numbers are those of the list of regression scenarios in docs/testing.md.

import { expect, test } from "bun:test";
import type { RaftMessage } from "../../src/raft/message.ts";
import { Cluster, clusterWithLeader, entryAt, type TestNode } from "../raft/cluster.ts";
import { Invariants } from "../raft/invariants.ts";
import { append, heartbeat, voteRequest } from "../raft/messages.ts";

/** Delivers everything that is not lost until nobody says anything more; checks after each step. */
function flow(
  cluster: Cluster,
  invariants: Invariants,
  isLost: (message: RaftMessage) => boolean = () => false,
): readonly RaftMessage[] {
  const arrived: RaftMessage[] = [];
  while (cluster.wire.length > 0) {
    for (const message of cluster.take()) {
      if (isLost(message) || !cluster.arrive(message)) continue;
      arrived.push(message);
      invariants.check();
    }
  }
  return arrived;
}

function carriesTerm(message: RaftMessage, term: number): boolean {
  return message.type === "APPEND_ENTRIES" && message.entries.some((entry) => entry.term === term);
}

/**
 * Figure 8 at (c): n1 wrote 2:2 in term 2, n5 wrote 3:2 in term 3 and is down; n1 is about to lead
 * term 4. An append holds one entry, so that 2:2 can reach n3 without the entry of term 4.
 */
function figure8(): { cluster: Cluster; invariants: Invariants; n1: TestNode; n5: TestNode } {
  const hardState = { term: 3, vote: undefined };
  const cluster = new Cluster({
    nodeCount: 5,
    config: { appendBytesMax: 1 },
    logs: { n1: [1, 2], n2: [1, 2], n3: [1], n4: [1], n5: [1, 3] },
    hardStates: { n1: hardState, n2: hardState, n3: hardState, n4: hardState, n5: hardState },
    commitIndex: 1,
  });
  const invariants = new Invariants(cluster);
  cluster.node("n5").crash();
  cluster.node("n1").campaign();
  return { cluster, invariants, n1: cluster.node("n1"), n5: cluster.node("n5") };
}

// Thesis figure 3.7.
test("S1: an old term's entry on a majority is not committed, and may still be overwritten", () => {
  const { cluster, invariants, n1, n5 } = figure8();
  // The first probe shows n3 and n4 what they lack; the entry of term 4 itself reaches nobody.
  const holdsOld = (id: string): boolean => cluster.node(id).log.term(2) === 2;
  flow(cluster, invariants, (message) => carriesTerm(message, 4) && holdsOld(message.to));

  expect(n1.raft.view).toMatchObject({ role: "leader", term: 4, commitIndex: 1 });
  const holders = cluster.nodes.filter((node) => node.durable.log.term(2) === 2);
  expect(holders.map((node) => node.id)).toEqual(["n1", "n2", "n3", "n4"]);
  expect(cluster.nodes.map((node) => node.commitIndex)).toEqual([1, 1, 1, 1, 1]);

  n1.crash();
  n5.restart();
  for (let round = 0; round < 3 && n5.raft.role !== "leader"; round += 1) {
    for (const id of ["n2", "n3", "n4"]) cluster.node(id).tick(10);
    n5.campaign();
    flow(cluster, invariants, (message) => message.from !== "n5" && message.to !== "n5");
  }
  n5.tick();
  flow(cluster, invariants);
  n1.restart();
  n5.tick();
  flow(cluster, invariants);

  for (const node of cluster.nodes) expect(node.logIds).toStartWith("1:1 3:2 ");
  expect(new Set(cluster.nodes.map((node) => node.logIds)).size).toBe(1);
  expect(cluster.nodes.map((node) => node.commitIndex)).toEqual([3, 3, 3, 3, 3]);
});

test("S1: with an entry of the leader's term on a majority the old one is committed for good", () => {
  const { cluster, invariants, n1, n5 } = figure8();
  flow(cluster, invariants);
  expect(n1.raft.view).toMatchObject({ role: "leader", term: 4, commitIndex: 3 });

  n1.crash();
  n5.restart();
  for (let round = 0; round < 20; round += 1) {
    n5.campaign();
    for (const node of cluster.nodes) if (node.isAlive) node.tick();
    flow(cluster, invariants);
  }
  n1.restart();
  cluster.tick(20);
  invariants.check();

  expect(cluster.leader?.id).not.toBe("n5");
  for (const node of cluster.nodes) expect(node.logIds).toStartWith("1:1 2:2 4:3");
});

// Paper figure 7: the leader and the followers (a) to (f).
test("S2: the seven logs of figure 7 become one, with a rejection for each term at most", () => {
  const logs = {
    n1: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6],
    n2: [1, 1, 1, 4, 4, 5, 5, 6, 6],
    n3: [1, 1, 1, 4],
    n4: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    n5: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    n6: [1, 1, 1, 4, 4, 4, 4],
    n7: [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
  };
  const cluster = new Cluster({
    nodeCount: 7,
    logs,
    hardStates: { n1: { term: 7, vote: undefined } },
  });
  const invariants = new Invariants(cluster);
  cluster.node("n1").campaign();
  const arrived = flow(cluster, invariants);
  cluster.node("n1").tick();
  flow(cluster, invariants);

  expect(cluster.leader?.id).toBe("n1");
  for (const node of cluster.nodes) {
    expect(node.logIds).toBe(cluster.node("n1").logIds);
    expect(node.commitIndex).toBe(11);
    const rejections = arrived.filter(
      (m) => m.type === "APPEND_ENTRIES_RESPONSE" && m.rejected && m.from === node.id,
    );
    const terms = new Set(logs[node.id as keyof typeof logs]).size;
    expect(rejections.length).toBeLessThanOrEqual(terms + 1);
  }
});

test.each([
  { survivors: 1, granted: false },
  { survivors: 0, granted: true },
])("S3: after a crash before the reply a vote counts if it is on disk: %p", (outcome) => {
  const n1 = new Cluster({ nodeCount: 3 }).node("n1");
  n1.isDiskHeld = true;
  n1.step("n2", 1, voteRequest());
  n1.crash(outcome.survivors);
  expect(n1.sent()).toEqual([]);
  n1.restart();
  n1.isDiskHeld = false;

  n1.step("n3", 1, voteRequest({ term: 5, index: 5 }));

  expect(n1.sent()).toMatchObject([{ to: "n3", term: 1, granted: outcome.granted }]);
  expect(n1.durable.hardState).toEqual({ term: 1, vote: outcome.granted ? "n3" : "n2" });
});

// n3 hears of term 2 by an append: if the entry could become durable before the term, a crash
// between the two would let the leader of term 1 overwrite what term 2 has committed.
test("S4: no crash leaves an entry on disk without the term that protects it", () => {
  for (let survivors = 0; survivors <= 3; survivors += 1) {
    const hardStates = { n3: { term: 1, vote: "n1" } };
    const n3 = new Cluster({ nodeCount: 3, logs: { n3: [1] }, hardStates }).node("n3");
    n3.isDiskHeld = true;
    n3.step("n2", 2, append({ term: 1, index: 1 }, [entryAt(2, 2)], 1));
    n3.step("n2", 2, append({ term: 2, index: 2 }, [entryAt(2, 3)], 2));
    n3.crash(survivors);
    n3.restart();
    n3.isDiskHeld = false;
    const found = n3.durable.log.copy();
    n3.sent();

    n3.step("n1", 1, append({ term: 1, index: 1 }, [entryAt(1, 2)], 1));

    if (found.lastIndex() === 1) continue; // Nothing of term 2 was there to be protected.
    expect(n3.durable.hardState.term).toBe(2);
    expect(n3.durable.log.term(2)).toBe(2);
    expect(n3.sent()).toMatchObject([{ to: "n1", term: 2, rejected: true }]);
  }
});

test("S5: late, repeated and reordered appends shorten no log and lower no commit", () => {
  const cluster = clusterWithLeader(3);
  const [n1, n2] = [cluster.node("n1"), cluster.node("n2")];
  const appends: RaftMessage[] = [];
  for (const text of ["a", "b", "c"]) {
    n1.propose(text);
    appends.push(...cluster.take({ to: "n2", type: "APPEND_ENTRIES" }));
    flow(cluster, new Invariants(cluster));
  }
  expect(appends.length).toBe(3);
  for (const message of appends) cluster.arrive(message);
  cluster.tick(2);
  expect(n2.raft.view).toMatchObject({ lastIndex: 4, commitIndex: 4 });

  const [a, b, c] = appends as [RaftMessage, RaftMessage, RaftMessage];
  for (const order of [[a], [b, a], [c, b, a], [a, a], [b, c, a, b], [c, a]]) {
    for (const message of order) cluster.arrive(message);
    expect(n2.raft.view).toMatchObject({ lastIndex: 4, commitIndex: 4, durableIndex: 4 });
    expect(n2.logIds).toBe("1:1 1:2 1:3 1:4");
  }
});

test("S6: a divergent tail is not committed, however high the leader's commit index is", () => {
  const logs = { n1: [1, 2, 2, 2], n2: [1, 2, 2, 2], n3: [1, 1, 1, 1] };
  const cluster = new Cluster({ nodeCount: 3, logs, commitIndex: 1 });
  const invariants = new Invariants(cluster);
  const n3 = cluster.node("n3");
  cluster.cut("n1", "n3");
  cluster.elect("n1");
  expect(cluster.node("n1").commitIndex).toBe(5);
  cluster.heal();

  // Heartbeats first: they speak of nothing that n3 was not seen to hold.
  cluster.node("n1").tick();
  cluster.deliver({ type: "HEARTBEAT" });
  invariants.check();
  expect(n3.commitIndex).toBe(1);
  // An append that proves the first entry alone, with everything committed.
  n3.step("n1", 3, append({ term: 1, index: 1 }, [], 4));
  expect(n3.commitIndex).toBe(1);
  n3.step("n1", 3, heartbeat(1));
  expect(n3.commitIndex).toBe(1);

  cluster.tick(2);
  invariants.check();
  expect(n3.logIds).toBe(cluster.node("n1").logIds);
  expect(n3.commitIndex).toBe(5);
});

// Three leaders write at index 2 while the disk is busy with the first of these writes.
test("S7: the end of an early sync counts for no entry that was overwritten meanwhile", () => {
  const n3 = new Cluster({ nodeCount: 5, logs: { n3: [1] } }).node("n3");
  n3.isDiskHeld = true;
  n3.step("n1", 1, append({ term: 1, index: 1 }, [entryAt(1, 2)]));
  n3.step("n2", 2, append({ term: 1, index: 1 }, [entryAt(2, 2)]));
  n3.step("n4", 3, append({ term: 1, index: 1 }, [entryAt(1, 2), entryAt(3, 3)]));
  n3.sent();

  n3.persist(1);
  expect(n3.raft.view.durableIndex).toBe(1);
  n3.persist(1);
  expect(n3.raft.view.durableIndex).toBe(1);
  const early = n3.sent();
  expect(early.filter((message) => message.term === 3)).toEqual([]);
  n3.persist();

  expect(n3.raft.view.durableIndex).toBe(3);
  expect(n3.sent()).toMatchObject([{ to: "n4", term: 3, rejected: false, index: 3 }]);
  expect(n3.durable.log.all().map(({ term, index }) => `${term}:${index}`)).toEqual([
    "1:1",
    "1:2",
    "3:3",
  ]);
});

// (t1,2) is being synced, (t2,2) is queued, (t1,2) is there again and no Ready has taken it: a
// completion that is matched by entry id would acknowledge what the disk then overwrites.
test("S7: a sync that ends before the repeated entry was taken acknowledges nothing of it", () => {
  const n3 = new Cluster({ nodeCount: 5, logs: { n3: [1] } }).node("n3");
  n3.isDiskHeld = true;
  n3.step("n1", 1, append({ term: 1, index: 1 }, [entryAt(1, 2)]));
  n3.step("n2", 2, append({ term: 1, index: 1 }, [entryAt(2, 2)]));
  const again = append({ term: 1, index: 1 }, [entryAt(1, 2)]);
  n3.raft.step({ ...again, from: "n4", to: "n3", term: 3 });

  n3.persist(1);

  expect(n3.raft.view).toMatchObject({ lastIndex: 2, durableIndex: 1 });
  n3.crash(1);
  n3.restart();
  expect(n3.logIds).toBe("1:1 2:2");
});

test("S8: an acknowledgement that comes after the entry was overwritten counts nowhere", () => {
  const cluster = clusterWithLeader(5);
  const invariants = new Invariants(cluster);
  const [n1, n2] = [cluster.node("n1"), cluster.node("n2")];
  n1.propose("lost");
  cluster.deliver({ to: "n2" });
  const late = cluster.take({ from: "n2", type: "APPEND_ENTRIES_RESPONSE" });
  expect(late).toMatchObject([{ to: "n1", term: 1, rejected: false, index: 2 }]);
  cluster.drop();

  cluster.isolate("n1");
  for (const id of ["n2", "n3", "n4", "n5"]) cluster.node(id).tick(10);
  cluster.drop();
  cluster.elect("n3");
  expect(n2.logIds).toBe("1:1 2:2");
  cluster.heal();
  cluster.drop();

  // The leader of term 1 does not know that it was replaced: one more copy is no majority.
  for (const message of late) cluster.arrive(message);
  invariants.check();
  expect(n1.commitIndex).toBe(1);

  // It leads again, in a later term: the old answer says nothing about the new log.
  cluster.tick(2);
  cluster.node("n3").propose("kept");
  cluster.stabilize();
  for (const node of cluster.nodes) if (node.raft.role !== "leader") node.tick(10);
  cluster.drop();
  const leader = cluster.elect("n1");
  leader.propose("new");
  cluster.drop();
  const before = leader.raft.peers();
  for (const message of late) cluster.arrive(message);
  invariants.check();

  expect(leader.raft.peers()).toEqual(before);
  expect(leader.raft.view.role).toBe("leader");
  cluster.tick(2);
  invariants.check();
  expect(cluster.nodes.map((node) => node.committedTexts)).toEqual(
    cluster.nodes.map(() => ["kept", "new"]),
  );
});
