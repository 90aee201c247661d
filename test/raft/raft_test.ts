/**
 * The core from outside: ticks, messages, and the Readies that they lead to.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import type { RaftConfig } from "../../src/raft/config.ts";
import type { RaftMessage, RaftMessageBody } from "../../src/raft/message.ts";
import { Raft, TERM_STEP_MAX } from "../../src/raft/raft.ts";
import type { PeerView, RaftView, Ready } from "../../src/raft/ready.ts";
import { NO_ENTRY } from "../../src/raft/types.ts";
import {
  Cluster,
  clusterWithLeader,
  configurationFrom,
  entriesOf,
  entryAt,
  MemoryLog,
  source,
} from "./cluster.ts";
import { acknowledged, append, heartbeat, voteRequest, voteResponse } from "./messages.ts";

/** n1 of three voters in term 4, with log 1 1 2 of which the first entry is committed. */
function nodeOf(config: Partial<RaftConfig> = {}, disk = new MemoryLog(entriesOf(1, 1, 2))): Raft {
  const defaults = new Cluster({ nodeCount: 3 }).configOf("n1", 1);
  const hardState = { term: 4, vote: undefined };
  return new Raft({ ...defaults, hardState, commitIndex: 1, ...config }, disk);
}

/** Hands n1 a message of that sender and term. */
function step(
  raft: Raft,
  [from, term]: readonly [from: string, term: number],
  body: RaftMessageBody,
): void {
  raft.step({ ...body, from, to: "n1", term } as RaftMessage);
}

/** A Ready with nothing in it. */
const EMPTY: Omit<Ready, "number" | "commitIndex"> = {
  messages: [],
  restored: undefined,
  hardState: undefined,
  truncateFrom: undefined,
  entries: [],
  mustSync: false,
  messagesAfterPersist: [],
  reads: [],
  catchUps: [],
  snapshotPeers: [],
  events: [],
};

const FOLLOWS_N2 = { type: "ROLE_CHANGED", role: "follower", term: 4, leader: "n2" } as const;

test("settings that make elections unsound stop the node at its start", () => {
  expect(() => nodeOf({ electionTicks: 4 })).toThrow("election timeout >= 5 heartbeats");
});

describe("ready", () => {
  test("there is none before anything is decided", () => {
    expect(nodeOf().takeReady()).toBeUndefined();
  });

  // Each part alone is worth a Ready, and is in no Ready after that.
  test.each([
    {
      name: "a message",
      act: (raft: Raft) => step(raft, ["n2", 3], append(NO_ENTRY, [])),
      ready: {
        messages: [
          {
            ...{ type: "APPEND_ENTRIES_RESPONSE", from: "n1", to: "n2", term: 4 },
            ...{ rejected: true, index: 0, hint: { term: 0, index: 0 } },
          },
        ],
      },
    },
    {
      name: "an event",
      act: (raft: Raft) => step(raft, ["n1", 4], heartbeat()),
      ready: {
        events: [{ type: "MESSAGE_REFUSED", from: "n1", reason: "it has this node's name" }],
      },
    },
    {
      name: "a promise and a vote",
      act: (raft: Raft) => step(raft, ["n2", 4], voteRequest({ term: 2, index: 3 })),
      ready: {
        hardState: { term: 4, vote: "n2" },
        mustSync: true,
        messagesAfterPersist: [
          {
            ...{ type: "VOTE_RESPONSE", from: "n1", to: "n2", term: 4 },
            ...{ granted: true, preVote: false },
          },
        ],
      },
    },
    {
      name: "a term",
      act: (raft: Raft) => step(raft, ["n2", 7], voteResponse(false)),
      ready: { hardState: { term: 7, vote: undefined }, mustSync: true },
    },
    {
      name: "a commit",
      act: (raft: Raft) => step(raft, ["n2", 4], heartbeat(2)),
      ready: {
        commitIndex: 2,
        messages: [{ type: "HEARTBEAT_RESPONSE", from: "n1", to: "n2", term: 4, readRound: 0 }],
        events: [FOLLOWS_N2],
      },
    },
    {
      name: "entries that replace a tail",
      act: (raft: Raft) =>
        step(raft, ["n2", 4], append({ term: 1, index: 2 }, [entryAt(4, 3), entryAt(4, 4)], 3)),
      ready: {
        commitIndex: 3,
        truncateFrom: 3,
        entries: [entryAt(4, 3), entryAt(4, 4)],
        mustSync: true,
        messagesAfterPersist: [
          {
            ...{ type: "APPEND_ENTRIES_RESPONSE", from: "n1", to: "n2", term: 4 },
            ...{ rejected: false, index: 4, hint: NO_ENTRY },
          },
        ],
        events: [FOLLOWS_N2, { type: "LOG_TRUNCATED", fromIndex: 3 }],
      },
    },
    {
      name: "a snapshot",
      act: (raft: Raft) => {
        const base = { term: 3, index: 9, nextSequence: 12 };
        const configuration = configurationFrom("n1 n2 n3");
        raft.installSnapshot({ leader: "n2", term: 4, base, configuration });
      },
      ready: {
        commitIndex: 9,
        restored: { term: 3, index: 9, nextSequence: 12 },
        mustSync: true,
        messagesAfterPersist: [
          {
            ...{ type: "APPEND_ENTRIES_RESPONSE", from: "n1", to: "n2", term: 4 },
            ...{ rejected: false, index: 9, hint: NO_ENTRY },
          },
        ],
        events: [FOLLOWS_N2],
      },
    },
  ])("$name is handed out once", ({ act, ready }) => {
    const disk = new MemoryLog(entriesOf(1, 1, 2));
    const raft = nodeOf({}, disk);
    act(raft);
    const taken = raft.takeReady()!;
    expect(taken as unknown).toEqual({ ...EMPTY, number: 1, commitIndex: 1, ...ready });
    if (taken.restored !== undefined) disk.restartBehind(taken.restored);
    disk.write(taken.entries);
    expect(raft.takeReady()).toBeUndefined();
    raft.persisted(1);
    expect(raft.takeReady()).toBeUndefined();
  });

  test("an answer to a read is handed out once", () => {
    const raft = nodeOf();
    step(raft, ["n2", 4], heartbeat());
    raft.takeReady();
    step(raft, ["n2", 4], { type: "READ_INDEX_RESPONSE", context: 7, index: 2 });
    step(raft, ["n3", 4], { type: "READ_INDEX_RESPONSE", context: 8, index: 2 });
    const reads = [{ context: 7, index: 2 }];
    expect(raft.takeReady()).toEqual({ ...EMPTY, number: 2, commitIndex: 1, reads });
    expect(raft.takeReady()).toBeUndefined();
  });

  // n2 needs entry 1, which is not in memory; n3 needs an entry that is gone from the log.
  test("catch-ups and peers that need a snapshot are handed out once", () => {
    const cluster = new Cluster({
      nodeCount: 3,
      logs: { n1: [1, 1], n2: [1, 1], n3: [1, 1] },
      commitIndex: 1,
    });
    const n1 = cluster.node("n1");
    n1.isReadHeld = true;
    n1.campaign();
    cluster.drop();
    n1.step("n2", 1, voteResponse(true, true));
    const { term } = n1.raft;
    n1.step("n2", term + 1, voteResponse(true, true));
    cluster.drop();
    n1.step("n2", n1.raft.term, voteResponse(true));
    expect(n1.raft.role).toBe("leader");
    n1.log.cachedFrom = 3;
    const refused = (index: number): RaftMessageBody => {
      return { type: "APPEND_ENTRIES_RESPONSE", rejected: true, index, hint: NO_ENTRY };
    };
    const { raft } = n1;
    step(raft, ["n2", raft.term], refused(2));
    const ready = raft.takeReady()!;
    expect(ready.catchUps).toEqual([{ peer: "n2", from: 1, bytesMax: 1_000 }]);
    n1.log.compact(1);
    step(raft, ["n3", raft.term], refused(2));
    expect(raft.takeReady()!.messages.map(({ to }) => to)).toEqual(["n3"]);
    step(raft, ["n3", raft.term], refused(1));
    const stranded = raft.takeReady()!;
    expect([stranded.snapshotPeers, stranded.catchUps]).toEqual([["n3"], []]);
    expect(raft.takeReady()).toBeUndefined();
  });

  test("Readies are on disk in order, and only those that were taken", () => {
    const raft = nodeOf();
    step(raft, ["n2", 5], heartbeat());
    raft.takeReady();
    expect(() => raft.persisted(2)).toThrow("was taken");
    raft.persisted(1);
    expect(() => raft.persisted(1)).toThrow("in order");
  });
});

describe("view", () => {
  test("a follower", () => {
    const raft = nodeOf();
    step(raft, ["n2", 4], append({ term: 2, index: 3 }, [entryAt(4, 4)], 2));
    const { configuration, ...view } = raft.view;
    const expected: Omit<RaftView, "configuration"> = {
      id: "n1",
      role: "follower",
      term: 4,
      vote: undefined,
      leader: "n2",
      firstIndex: 1,
      lastIndex: 4,
      durableIndex: 3,
      commitIndex: 2,
      heldIndex: 0,
      transferee: undefined,
      hasCommittedOwnTerm: false,
      configurationIndex: 0,
    };
    expect(view).toEqual(expected);
    expect(configuration.ids).toEqual(["n1", "n2", "n3"]);
    expect([raft.role, raft.term, raft.commitIndex, raft.lastIndex]).toEqual(["follower", 4, 2, 4]);
    expect([raft.successor, raft.isTransferring, raft.peers()]).toEqual([undefined, false, []]);
    expect(raft.configuration).toBe(configuration);
  });

  test("a leader, with itself among the members that it tracks", () => {
    const { raft } = clusterWithLeader(2).node("n1");
    const peers: readonly PeerView[] = [
      { id: "n1", match: 1, next: 2, state: "probe" },
      { id: "n2", match: 1, next: 2, state: "replicate" },
    ];
    expect(raft.peers()).toEqual(peers);
    expect(raft.view.hasCommittedOwnTerm).toBe(true);
    expect(raft.successor).toBe("n2");
  });
});

describe("ticks of a follower", () => {
  test("it campaigns at the end of its wait, with a pre-vote", () => {
    const raft = nodeOf();
    for (let at = 0; at < 9; at += 1) raft.tick();
    expect(raft.takeReady()).toBeUndefined();
    raft.tick();
    expect(raft.takeReady()!.events.at(-1)).toEqual({
      type: "ELECTION_STARTED",
      term: 5,
      preVote: true,
    });
  });

  test("one that is held back stays a follower, also when it is made to campaign", () => {
    const raft = nodeOf();
    raft.holdBack(true);
    for (let at = 0; at < 30; at += 1) raft.tick();
    raft.campaign();
    expect(raft.role).toBe("follower");
    raft.holdBack(false);
    raft.campaign();
    expect(raft.role).toBe("pre-candidate");
  });

  // Irregular messages of the leader lengthen the wait of T = 10.
  test("patience is part of the wait", () => {
    const raft = nodeOf({ adaptiveTicksMax: 15 });
    step(raft, ["n2", 4], heartbeat());
    for (let at = 0; at < 9; at += 1) raft.tick();
    step(raft, ["n2", 4], heartbeat());
    for (let at = 0; at < 9; at += 1) raft.tick();
    step(raft, ["n2", 4], heartbeat());
    raft.takeReady();
    expect(raft.idleTicks).toBe(14);
    raft.skipTicks(14);
    expect([raft.role, raft.idleTicks]).toEqual(["follower", 0]);
    raft.tick();
    expect(raft.role).toBe("pre-candidate");
  });

  // A batch over a thin line takes longer than T, and heartbeats stand behind it.
  test("bytes of the leader's next message are a sign of its life, those of others are not", () => {
    const raft = nodeOf();
    step(raft, ["n2", 4], heartbeat());
    for (let round = 0; round < 5; round += 1) {
      for (let at = 0; at < 9; at += 1) raft.tick();
      raft.peerSpeaks("n2");
    }
    expect([raft.role, raft.idleTicks]).toEqual(["follower", 9]);
    for (let at = 0; at < 9; at += 1) raft.tick();
    raft.peerSpeaks("n3");
    raft.tick();
    expect(raft.role).toBe("pre-candidate");
    raft.peerSpeaks("n2");
    expect(raft.role).toBe("pre-candidate");
  });

  test("a leader that is gone for certain gives no sign of life", () => {
    const raft = nodeOf();
    step(raft, ["n2", 4], heartbeat());
    raft.forgetLeader("n2", 3);
    raft.tick();
    raft.peerSpeaks("n2");
    for (let at = 0; at < 2; at += 1) raft.tick();
    expect(raft.role).toBe("pre-candidate");
  });

  test("longer waits hold for the running one", () => {
    const raft = nodeOf();
    step(raft, ["n2", 4], heartbeat());
    const { rankTicks } = new Cluster({ nodeCount: 3 }).configOf("n1", 1);
    raft.setPace({ electionTicks: 25, rankTicks });
    expect(raft.idleTicks).toBe(24);
    raft.skipTicks(24);
    raft.tick();
    expect(raft.role).toBe("pre-candidate");
  });

  test("idle ticks are those before the campaign, and are skipped as one", () => {
    const raft = nodeOf();
    expect(raft.idleTicks).toBe(9);
    raft.skipTicks(4);
    expect(raft.idleTicks).toBe(5);
    raft.tick();
    expect(raft.idleTicks).toBe(4);
    expect(() => raft.skipTicks(5)).toThrow("not skipped");
    raft.skipTicks(4);
    expect([raft.idleTicks, raft.takeReady()]).toEqual([0, undefined]);
    raft.tick();
    expect(raft.role).toBe("pre-candidate");
  });

  test("one that may not campaign is idle for T", () => {
    const raft = nodeOf();
    raft.holdBack(true);
    for (let at = 0; at < 30; at += 1) raft.tick();
    expect(raft.idleTicks).toBe(10);
  });

  test("a wait that is over leaves no idle ticks", () => {
    const raft = nodeOf();
    raft.holdBack(true);
    for (let at = 0; at < 30; at += 1) raft.tick();
    raft.holdBack(false);
    expect(raft.idleTicks).toBe(0);
  });

  // For T after the start a lease may still run; ticks end that, skipped or not.
  test.each([
    { ticks: 9, skipped: 0, granted: false },
    { ticks: 10, skipped: 0, granted: true },
    { ticks: 0, skipped: 9, granted: false },
    { ticks: 1, skipped: 9, granted: true },
    { ticks: 5, skipped: 4, granted: false },
    { ticks: 15, skipped: 0, granted: true },
  ])("after $ticks ticks and $skipped skipped ones a vote is granted: $granted", (row) => {
    const raft = nodeOf({ hasLeases: true });
    raft.skipTicks(row.skipped);
    raft.holdBack(true);
    for (let at = 0; at < row.ticks; at += 1) raft.tick();
    step(raft, ["n2", 4], voteRequest({ term: 2, index: 3 }));
    const [answer] = raft.takeReady()!.messagesAfterPersist;
    expect(answer?.type === "VOTE_RESPONSE" && answer.granted).toBe(row.granted);
  });

  test("without leases skipped ticks begin no time without votes", () => {
    const raft = nodeOf();
    raft.skipTicks(4);
    step(raft, ["n2", 4], voteRequest({ term: 2, index: 3 }));
    const [answer] = raft.takeReady()!.messagesAfterPersist;
    expect(answer?.type === "VOTE_RESPONSE" && answer.granted).toBe(true);
  });

  test("a leader's idle ticks are those before its heartbeat", () => {
    const cluster = clusterWithLeader(2, { heartbeatTicks: 2 });
    const { raft } = cluster.node("n1");
    cluster.node("n1").tick();
    cluster.stabilize();
    const { idleTicks } = raft;
    expect(idleTicks).toBeLessThan(2);
    raft.skipTicks(idleTicks);
    expect(raft.idleTicks).toBe(0);
    raft.tick();
    expect(raft.takeReady()!.messages.map(({ type }) => type)).toEqual(["HEARTBEAT"]);
    expect(raft.idleTicks).toBe(1);
  });
});

describe("terms of messages", () => {
  const NAME = "it has this node's name";

  test("one from a node of the same name is refused", () => {
    const raft = nodeOf();
    step(raft, ["n1", 9], heartbeat());
    expect(raft.term).toBe(4);
    expect(raft.takeReady()!.events).toEqual([
      { type: "MESSAGE_REFUSED", from: "n1", reason: NAME },
    ]);
  });

  test("one for another node is a bug of the driver", () => {
    const message = { ...heartbeat(), from: "n2", to: "n3", term: 4 };
    expect(() => nodeOf().step(message)).toThrow("to their target");
  });

  test.each([
    { ahead: TERM_STEP_MAX, term: 4 + TERM_STEP_MAX },
    { ahead: TERM_STEP_MAX + 1, term: 4 },
  ])("one that is $ahead ahead leads to term $term", ({ ahead, term }) => {
    const raft = nodeOf();
    step(raft, ["n2", 4 + ahead], heartbeat());
    expect(raft.term).toBe(term);
    const { events } = raft.takeReady()!;
    const reason = `term ${4 + ahead} is out of reach`;
    const refused = { type: "MESSAGE_REFUSED", from: "n2", reason } as const;
    expect(events.at(-1)).toEqual(term === 4 ? refused : { ...FOLLOWS_N2, term });
  });

  test("a term may be one million ahead", () => {
    expect(TERM_STEP_MAX).toBe(1_000_000);
  });

  const newest = { term: 2, index: 3 };
  // A node of term 4 gets a message of term 6: the table has its term and leader after that.
  test.each([
    { name: "an append", body: append(newest, []), term: 6, leader: "n2" },
    { name: "a heartbeat", body: heartbeat(), term: 6, leader: "n2" },
    { name: "a campaign", body: voteRequest(newest), term: 6, leader: undefined },
    {
      name: "a pre-vote campaign",
      body: voteRequest(newest, { preVote: true }),
      term: 4,
      leader: undefined,
    },
    { name: "a vote", body: voteResponse(true), term: 6, leader: undefined },
    { name: "a refused vote", body: voteResponse(false), term: 6, leader: undefined },
    { name: "a pre-vote", body: voteResponse(true, true), term: 4, leader: undefined },
    { name: "a refused pre-vote", body: voteResponse(false, true), term: 6, leader: undefined },
    { name: "an acknowledgement", body: acknowledged(1), term: 6, leader: undefined },
  ])("$name of a newer term: term $term, leader $leader", ({ body, term, leader }) => {
    const raft = nodeOf();
    step(raft, ["n2", 6], body);
    expect([raft.term, raft.view.leader]).toEqual([term, leader]);
  });

  test("a campaign against a live leader is refused in the present term", () => {
    const raft = nodeOf();
    step(raft, ["n2", 4], heartbeat());
    raft.takeReady();
    step(raft, ["n3", 6], voteRequest(newest));
    expect(raft.term).toBe(4);
    const [answer] = raft.takeReady()!.messagesAfterPersist;
    expect(answer as unknown).toEqual({ ...voteResponse(false), from: "n1", to: "n3", term: 4 });
  });

  const present = { from: "n1", to: "n2", term: 4 };
  const outdated = { type: "APPEND_ENTRIES_RESPONSE", rejected: true, index: 0, hint: NO_ENTRY };
  test.each([
    { name: "an append", body: append(NO_ENTRY, []), answers: [{ ...outdated, ...present }] },
    { name: "a heartbeat", body: heartbeat(), answers: [{ ...outdated, ...present }] },
    {
      name: "a campaign",
      body: voteRequest(newest),
      answers: [{ ...voteResponse(false), ...present }],
    },
    {
      name: "a pre-vote campaign",
      body: voteRequest(newest, { preVote: true }),
      answers: [{ ...voteResponse(false, true), ...present }],
    },
    { name: "a vote", body: voteResponse(true), answers: [] },
    { name: "an acknowledgement", body: acknowledged(1), answers: [] },
  ])("$name of an old term is answered with the present one, or dropped", ({ body, answers }) => {
    const raft = nodeOf();
    step(raft, ["n2", 3], body);
    const ready = raft.takeReady();
    const sent = [...(ready?.messages ?? []), ...(ready?.messagesAfterPersist ?? [])];
    expect(sent as readonly unknown[]).toEqual(answers);
    expect(raft.term).toBe(4);
  });
});

describe("reads", () => {
  test("a follower sends them to its leader, and refuses them while it has none", () => {
    const raft = nodeOf();
    expect([raft.requestRead(7), raft.takeReady()]).toEqual([false, undefined]);
    step(raft, ["n2", 4], heartbeat());
    raft.takeReady();
    expect(raft.requestRead(7)).toBe(true);
    expect(raft.takeReady()!.messages as readonly unknown[]).toEqual([
      { type: "READ_INDEX", from: "n1", to: "n2", term: 4, context: 7 },
    ]);
  });

  test("a leader serves its own, and not while it hands over", () => {
    const { raft } = clusterWithLeader(1).node("n1");
    expect(raft.requestRead(7)).toBe(true);
    expect(raft.takeReady()!.reads).toEqual([{ context: 7, index: 1 }]);
    const two = clusterWithLeader(2).node("n1").raft;
    two.transferLeadership("n2");
    expect([two.isTransferring, two.requestRead(8)]).toEqual([true, false]);
  });

  // The follower can serve the read only when it knows of the commit.
  test("a follower's read is answered with a heartbeat beside it; a stranger gets none", () => {
    const { raft } = clusterWithLeader(3).node("n1");
    step(raft, ["n2", 1], { type: "READ_INDEX", context: 7 });
    const types = () => raft.takeReady()!.messages.map(({ to, type }) => `${to} ${type}`);
    expect(types()).toEqual(["n2 READ_INDEX_RESPONSE", "n2 HEARTBEAT"]);
    step(raft, ["n9", 1], { type: "READ_INDEX", context: 8 });
    expect(types()).toEqual(["n2 HEARTBEAT", "n3 HEARTBEAT"]);
  });
});

describe("leases", () => {
  test("a leader may count on a confirmed round, unless it sent TIMEOUT_NOW", () => {
    const cluster = new Cluster({ nodeCount: 3, config: { hasLeases: true } });
    cluster.tick(40);
    const { raft } = cluster.node("n1");
    const confirmed = raft.leaseRound;
    expect([raft.role, confirmed > 0, cluster.node("n2").raft.leaseRound]).toEqual([
      "leader",
      true,
      0,
    ]);
    raft.tick();
    expect(raft.leaseRound).toBe(confirmed);
    raft.transferLeadership("n2");
    expect(raft.leaseRound).toBe(0);
  });

  test("without leases there is none", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    n1.do((raft) => raft.requestRead(7));
    cluster.stabilize();
    expect(n1.reads).toEqual([{ context: 7, index: 1 }]);
    expect(n1.raft.leaseRound).toBe(0);
  });

  test("before the first commit of the term there is none", () => {
    const cluster = new Cluster({ nodeCount: 2, config: { hasLeases: true } });
    const [n1, n2] = cluster.nodes;
    n2!.tick(10);
    n1!.tick(10);
    while (n1!.raft.role !== "leader") cluster.deliver();
    cluster.drop();
    n1!.tick();
    n1!.step("n2", n1!.raft.term, { type: "HEARTBEAT_RESPONSE", readRound: 1 });
    expect([n1!.raft.view.hasCommittedOwnTerm, n1!.raft.leaseRound]).toEqual([false, 0]);
  });
});

describe("the end of a leader", () => {
  test("stepping down leaves a follower without a leader; a follower keeps its leader", () => {
    const cluster = clusterWithLeader(2);
    for (const node of cluster.nodes) node.raft.stepDown();
    const [n1, n2] = cluster.nodes.map(({ raft }) => [raft.role, raft.term, raft.view.leader]);
    expect([n1, n2]).toEqual([
      ["follower", 1, undefined],
      ["follower", 1, "n1"],
    ]);
  });

  test("a leader does not campaign", () => {
    const { raft } = clusterWithLeader(2).node("n1");
    raft.campaign();
    expect([raft.role, raft.term, raft.takeReady()]).toEqual(["leader", 1, undefined]);
  });

  // T = 10; n1 follows n2 and has waited for 3 ticks.
  test.each([
    { leader: "n2", wait: 0, idle: 0 },
    { leader: "n2", wait: 1, idle: 0 },
    { leader: "n2", wait: 2, idle: 1 },
    { leader: "n2", wait: 90, idle: 6 },
    { leader: "n3", wait: 2, idle: 6 },
  ])("$leader is gone: a follower of n2 campaigns $wait ticks later", ({ leader, wait, idle }) => {
    const raft = nodeOf();
    step(raft, ["n2", 4], heartbeat());
    for (let at = 0; at < 3; at += 1) raft.tick();
    raft.forgetLeader(leader, wait);
    expect(raft.idleTicks).toBe(idle);
    // Stickiness is lifted for the leader that is followed only.
    step(raft, ["n3", 6], voteRequest({ term: 2, index: 3 }));
    expect(raft.term).toBe(leader === "n2" ? 6 : 4);
  });

  test("a leader does not forget itself", () => {
    const { raft } = clusterWithLeader(2, { heartbeatTicks: 2 }).node("n1");
    raft.forgetLeader("n1", 1);
    step(raft, ["n2", 9], voteRequest({ term: 9, index: 9 }));
    expect([raft.role, raft.term]).toEqual(["leader", 1]);
  });
});

describe("joint consensus", () => {
  test("its end is proposed by a leader, once it is committed", () => {
    const cluster = clusterWithLeader(3);
    const n1 = cluster.node("n1");
    n1.isLeaveHeld = true;
    expect(n1.raft.mayLeaveJoint).toBe(false);
    expect(n1.proposeMembers(configurationFrom("n1 n2 -n3"))).toBe("");
    expect(n1.raft.mayLeaveJoint).toBe(false);
    cluster.stabilize();
    expect(n1.raft.mayLeaveJoint).toBe(true);
    expect(cluster.node("n2").raft.mayLeaveJoint).toBe(false);
    n1.raft.transferLeadership("n2");
    expect(n1.raft.mayLeaveJoint).toBe(false);
  });
});

describe("snapshots", () => {
  const base = { term: 3, index: 9, nextSequence: 12 };
  const configuration = configurationFrom("n1 n2 n3");

  test.each([
    { term: 3, isTaken: false, now: 4, leader: undefined },
    { term: 4, isTaken: true, now: 4, leader: "n2" },
    { term: 5, isTaken: true, now: 5, leader: "n2" },
    { term: 4 + TERM_STEP_MAX, isTaken: true, now: 4 + TERM_STEP_MAX, leader: "n2" },
    { term: 5 + TERM_STEP_MAX, isTaken: false, now: 4, leader: undefined },
  ])("one of term $term is taken in term 4: $isTaken", ({ term, isTaken, now, leader }) => {
    const raft = nodeOf();
    expect(raft.installSnapshot({ leader: "n2", term, base, configuration })).toBe(isTaken);
    expect([raft.term, raft.view.leader]).toEqual([now, leader]);
    expect(raft.commitIndex).toBe(isTaken ? 9 : 1);
  });
});

// Random ticks for the driver come from the node's own sequence, so that a seed decides them, too.
test("random ticks: below the bound, and the same for the same seed", () => {
  const drawn = [1, 2].map(() => {
    const raft = nodeOf({ seed: 5 });
    return Array.from({ length: 100 }, () => raft.randomTicks(3));
  });
  expect(drawn[0]).toEqual(drawn[1]!);
  expect([...new Set(drawn[0])].sort()).toEqual([0, 1, 2]);
});

test("rank: the place among the voters that could follow the leader, 0 for all others", () => {
  const ranks = (leader: string) => {
    const defaults = new Cluster({ nodeCount: 3 });
    return ["n1", "n2", "n3"].map((id) => {
      const raft = new Raft(defaults.configOf(id, 1), new MemoryLog());
      if (leader !== "" && leader !== id) {
        raft.step({ ...heartbeat(), from: leader, to: id, term: 1 } as RaftMessage);
      }
      return raft.rank;
    });
  };
  expect(ranks("")).toEqual([0, 1, 2]);
  expect(ranks("n1").slice(1)).toEqual([0, 1]);
  const learner = { index: 0, configuration: configurationFrom("~n1 n2 n3") };
  expect(nodeOf({ configurations: [learner] }).rank).toBe(0);
});

test("a broken connection: the peer is probed anew", () => {
  const { raft } = clusterWithLeader(2).node("n1");
  raft.peerUnreachable("n2");
  expect(raft.peers()[1]).toEqual({ id: "n2", match: 1, next: 2, state: "probe" });
});

test("a snapshot's end: the peer is probed", () => {
  const cluster = clusterWithLeader(2);
  const { raft } = cluster.node("n1");
  raft.snapshotEnded("n2", true);
  expect(raft.peers()[1]!.state).toBe("replicate");
});

// The own vote counts only with the Ready that carries it, or it could be given twice in a term.
test("votes for itself: each counts when its own Ready is on disk", () => {
  const raft = nodeOf({ configurations: [{ index: 0, configuration: configurationFrom("n1") }] });
  raft.campaign();
  const first = raft.takeReady()!;
  expect([raft.role, first.hardState]).toEqual(["candidate", { term: 5, vote: "n1" }]);
  raft.requestRead(1);
  for (let at = 0; at < 25 && raft.term === 5; at += 1) raft.tick();
  const second = raft.takeReady()!;
  expect([raft.role, second.hardState]).toEqual(["candidate", { term: 6, vote: "n1" }]);
  raft.persisted(first.number);
  expect(raft.role).toBe("candidate");
  raft.persisted(second.number);
  expect(raft.role).toBe("leader");
  expect(raft.propose(source("a")).accepted).toBe(true);
});
