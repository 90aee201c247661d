import { afterEach, expect, test } from "bun:test";
import { freePorts } from "../../../cli/local/local_cluster.ts";
import {
  FileWALManager,
  MemoryWALManager,
  NetworkManager,
  RaftConsensusManager,
  ReplicationWALManager,
  type WALEntry,
  WALReplicationManager,
} from "../../../src/mod.ts";
import { sleep, systemClock } from "../../../src/platform/clock.ts";

const closing: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

function entry(key: string): WALEntry {
  return {
    transactionId: "t",
    sequenceNumber: 0,
    timestamp: 1,
    type: "DATA",
    collectionName: "c",
    operation: "INSERT",
    data: { key, newValue: { key } },
    checksum: "",
  };
}

/** Three networks that know each other. */
async function networks(): Promise<NetworkManager[]> {
  const ports = await freePorts(3);
  const all = ports.map((port, i) => new NetworkManager(`n${i + 1}`, port));
  for (const network of all) await network.listen();
  for (const network of all) closing.push(() => network.close());
  for (const a of all) {
    for (const [i, b] of all.entries()) {
      if (a !== b) await a.connect(b.nodeId, "127.0.0.1", ports[i]);
    }
  }
  return all;
}

async function until(condition: () => boolean): Promise<void> {
  const endMs = systemClock.nowMs() + 10_000;
  while (!condition() && systemClock.nowMs() < endMs) await sleep(systemClock, 5);
  expect(condition()).toBe(true);
}

test("public: three replicated logs hold the same entries, written at any node", async () => {
  const members = ["n1", "n2", "n3"];
  const all = (await networks()).map((networkManager) => {
    const wal = new MemoryWALManager();
    return new ReplicationWALManager({
      nodeId: networkManager.nodeId,
      wal,
      networkManager,
      members,
    });
  });
  for (const log of all) closing.push(() => log.close());
  const leader = await all[0]!.consensus.electLeader();
  await until(() => all.every((log) => log.consensus.leaderId === leader));
  const shown: string[] = [];
  all[2]!.onEntryReplicated((e) => {
    if (e.type === "DATA" && e.collectionName === "c") shown.push(String(e.data.key));
  });

  const written = ["a", "b", "c"].map(entry);
  await all[0]!.writeEntry(written[0]!);
  await all[1]!.writeEntry(written[1]!);
  await all[2]!.writeEntry(written[2]!);

  const leading = all.find((log) => log.getRole() === "LEADER");
  for (const peer of members.filter((id) => id !== leader))
    await leading?.replication.syncWithNode(peer);
  await until(() => all.every((log) => log.getCurrentSequence() === leading?.getCurrentSequence()));
  const contents = await Promise.all(all.map((log) => log.readEntries()));
  const keys = contents.map((entries) =>
    entries.filter((e) => e.collectionName === "c").map((e) => e.data.key),
  );
  expect(keys).toEqual(
    [
      ["a", "b", "c"],
      ["a", "b", "c"],
      ["a", "b", "c"],
    ].map((k) => [...k]),
  );
  expect(written.map((e) => e.sequenceNumber)).toEqual(
    [...written.map((e) => e.sequenceNumber)].sort((x, y) => x - y),
  );
  expect(contents[1]).toEqual(contents[0]!);
  expect(shown).toEqual(["a", "b", "c"]);
  expect(leading?.getReplicationStatus()).toMatchObject({
    role: "LEADER",
    pendingEntries: 0,
    replicationLag: 0,
  });
});

// Paper figure 2: a vote once given in a term is not given again, and only to a log that is up to
// date.
test("public: requestVote and appendEntries follow figure 2", async () => {
  const [port = 0] = await freePorts(1);
  const network = new NetworkManager("n1", port);
  const consensus = new RaftConsensusManager("n1", network, {
    members: ["n1", "n2", "n3"],
    electionTimeoutMs: 60_000,
    heartbeatMs: 1000,
  });
  closing.push(
    () => network.close(),
    () => consensus.stop(),
  );

  const vote = { term: 5, candidateId: "n2", lastLogIndex: 1, lastLogTerm: 1 };
  expect(await consensus.requestVote(vote)).toEqual({ term: 5, voteGranted: true });
  expect(await consensus.requestVote({ ...vote, candidateId: "n3" })).toEqual({
    term: 5,
    voteGranted: false,
  });
  expect(
    await consensus.requestVote({ ...vote, term: 6, lastLogIndex: 0, lastLogTerm: 0 }),
  ).toEqual({
    term: 6,
    voteGranted: false,
  });
  expect(await consensus.requestVote({ ...vote, candidateId: "stranger", term: 9 })).toEqual({
    term: 6,
    voteGranted: false,
  });

  const append = {
    term: 6,
    leaderId: "n3",
    prevLogIndex: 1,
    prevLogTerm: 1,
    entries: [],
    leaderCommit: 1,
  };
  expect(await consensus.appendEntries(append)).toEqual({ term: 6, success: true, matchIndex: 1 });
  expect(consensus.leaderId).toBe("n3");
  expect(
    await consensus.appendEntries({ ...append, prevLogIndex: 4, prevLogTerm: 4 }),
  ).toMatchObject({ success: false });
  expect(await consensus.appendEntries({ ...append, term: 2 })).toMatchObject({
    term: 6,
    success: false,
  });
  await expect(consensus.replicateEntry(entry("x"))).rejects.toMatchObject({
    code: "NOT_LEADER",
    leaderId: "n3",
  });
});

test("public: a cluster of one leads itself, over a log in files that it finds again", async () => {
  const root = `${process.env["TMPDIR"] ?? "/tmp"}/cstore-public-${process.pid}-${Math.round(performance.now())}`;
  const [port = 0] = await freePorts(1);
  const network = new NetworkManager("n1", port);
  closing.push(() => network.close());
  const open = async (): Promise<ReplicationWALManager> =>
    new ReplicationWALManager({
      nodeId: "n1",
      wal: await FileWALManager.create(root),
      networkManager: network,
    });
  const first = await open();
  await first.consensus.electLeader();
  await first.writeEntry(entry("kept"));
  await first.close();

  const second = await open();
  await second.consensus.electLeader();
  await second.writeEntry(entry("more"));
  const keys = (await second.readEntries())
    .filter((e) => e.collectionName === "c")
    .map((e) => e.data.key);
  await second.close();
  await Bun.$`rm -rf ${root}`.quiet();
  expect(keys).toEqual(["kept", "more"]);
});

test("public: an entry without a leader is refused, not lost in silence", async () => {
  const [port = 0] = await freePorts(1);
  const network = new NetworkManager("n1", port);
  const consensus = new RaftConsensusManager("n1", network, {
    members: ["n1", "n2"],
    electionTimeoutMs: 60_000,
    heartbeatMs: 100,
  });
  const replication = new WALReplicationManager(consensus, network);
  closing.push(
    () => network.close(),
    () => consensus.stop(),
    () => replication.close(),
  );

  await expect(replication.streamWALEntry(entry("x"))).rejects.toMatchObject({
    code: "NOT_LEADER",
    retry: "safe",
  });
  await expect(replication.syncWithNode("n2")).rejects.toMatchObject({ code: "NOT_LEADER" });
});

test("public: without consensus nobody leads, and an entry that nobody else has is refused", async () => {
  const [port = 0] = await freePorts(1);
  const network = new NetworkManager("n1", port);
  const wal = new MemoryWALManager();
  const replication = new WALReplicationManager(wal, network, { mode: "MASTER_SLAVE" });
  closing.push(
    () => network.close(),
    () => replication.close(),
  );
  await expect(replication.streamWALEntry(entry("x"))).rejects.toMatchObject({ code: "NO_QUORUM" });
  expect(await wal.readEntries()).toHaveLength(1);
  expect(replication.getReplicationStatus()).toMatchObject({
    role: "FOLLOWER",
    pendingEntries: 0,
    lastReplicationTime: 0,
    connectedNodes: [],
  });
});

test("public: questions of one asker are answered in their order; wrong numbers are refused", async () => {
  const [port] = (await freePorts(1)) as [number];
  const network = new NetworkManager("n1", port);
  const members = ["n1", "n2", "n3"];
  const consensus = new RaftConsensusManager("n1", network, { members });
  const both = [50, 60].map((term) => consensus.requestVote(term, "n2", 10, 10));
  expect(await Promise.all(both)).toEqual([true, true]);
  const ask = consensus as unknown as Record<string, (...given: unknown[]) => Promise<unknown>>;
  for (const call of [
    () => ask["requestVote"]!(Number.NaN, "n2"),
    () => ask["requestVote"]!(-1, "n2"),
    () => ask["appendEntries"]!(null),
    () => ask["appendEntries"]!(70, "n2", 1, 1, [null], 1),
    () => ask["appendEntries"]!(70, "n2", 1.5, 1, [], 1),
  ]) {
    await expect(call()).rejects.toMatchObject({ code: "VALIDATION" });
  }
  await consensus.stop();
  await network.close();
  const typo = { member: members } as object;
  expect(() => new RaftConsensusManager("n1", network, typo)).toThrow("member");
});
