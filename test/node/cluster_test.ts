/**
 * Three nodes over real sockets and files: what clients were told survives the loss of a leader, a
 * restart of everything and a snapshot; who does not belong stays out.
 *
 * @module
 */

import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import * as net from "node:net";
import { freePorts } from "../../cli/local/local_cluster.ts";
import type { Collection } from "../../src/mod.ts";
import { parseNodeConfig } from "../../src/node/config/node_config.ts";
import { Node } from "../../src/node/node.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import { decodeBatchHeader } from "../../src/protocol/encoding/batch_codec.ts";
import { expectSame, startWriter } from "./load.ts";
import { MortalPlatform } from "./mortal_platform.ts";
import { rejection, type Seat, type Settings, TestCluster, waitFor } from "./test_cluster.ts";

let cluster: TestCluster;

afterEach(async () => {
  await cluster.stop();
});

type Large = Collection<{ id: string; n: number; bytes: Uint8Array }>;

async function start(settings: Settings = {}, count = 3): Promise<TestCluster> {
  cluster = await TestCluster.start(count, settings);
  return cluster;
}

function nodeOf(seat: Seat): Node {
  if (seat.node === undefined) throw new RangeError(`${seat.id} runs`);
  return seat.node;
}

describe("failover", () => {
  test("a killed leader: the others go on, and every acknowledged write is there", async () => {
    await start();
    const database = await cluster.connect();
    const writer = startWriter(database, "load");
    await waitFor("some writes", () => writer.acknowledged.size > 100);
    for (let round = 0; round < 2; round += 1) {
      const old = await cluster.leader();
      await cluster.kill(old);
      const before = writer.acknowledged.size;
      await waitFor("writes under the next leader", () => writer.acknowledged.size > before + 100);
      await cluster.startNode(old);
    }
    await writer.stop();
    expect(writer.failed).toEqual([]);
    await expectSame(cluster);
    const collection = database.collection("load");
    expect(await collection.count()).toBe(writer.acknowledged.size);
    for (const [id, version] of writer.acknowledged) {
      expect((await collection.findVersioned(id))?.version).toBe(version);
    }
  });

  // A retried request that is applied twice would skip a version that nobody was told.
  test("each acknowledged change of a counter is applied exactly once", async () => {
    await start();
    const database = await cluster.connect();
    const counters = database.collection<{ id: string; n: number }>("counters");
    await counters.put({ id: "c", n: 0 });
    let isStopped = false;
    const versions: number[] = [];
    const loop = async (): Promise<void> => {
      while (!isStopped) {
        const now = await counters.findVersioned("c");
        if (now === undefined) throw new RangeError("the counter is there");
        const next = { id: "c", n: now.document.n + 1 };
        // With one writer a conflict could only come from its own earlier, repeated write.
        versions.push(await counters.put(next, { ifVersion: now.version }));
      }
    };
    const writer = loop();
    await waitFor("some changes", () => versions.length > 50);
    await cluster.kill(await cluster.leader());
    const before = versions.length;
    await waitFor("more changes", () => versions.length > before + 50);
    isStopped = true;
    await writer;
    expect(new Set(versions).size).toBe(versions.length);
    expect(versions).toEqual([...versions].sort((a, b) => a - b));
    const last = await counters.findVersioned("c");
    expect(last).toEqual({
      document: { id: "c", n: versions.length },
      version: versions.at(-1) ?? 0,
    });
  });

  test("promote moves the leader without a failed request, also to itself and to nobody", async () => {
    await start();
    const database = await cluster.connect();
    const writer = startWriter(database, "load");
    await waitFor("some writes", () => writer.acknowledged.size > 100);
    const old = await cluster.leader();
    const [next] = await cluster.followers();
    const changesOf = (): number[] =>
      cluster.seats.map(({ node }) => node?.status().leaderChanges ?? Number.NaN);
    const before = changesOf();
    const result = await database.promote(next?.id ?? "");
    await waitFor("each node's count", () =>
      changesOf().every((count, at) => count > (before[at] ?? Number.NaN)),
    );
    expect(result).toMatchObject({ from: old.id, to: next?.id });
    expect(result["stalledMs"]).toBeNumber();
    expect((await cluster.leader()).id).toBe(next?.id ?? "");
    expect(await database.promote(next?.id ?? "")).toMatchObject({ stalledMs: 0 });
    expect((await rejection(database.promote("n9"))).code).toBe("NOT_FOUND");
    await writer.stop();
    expect(writer.failed).toEqual([]);
    await expectSame(cluster);
  });

  test("promote to a dead node fails, and the old leader goes on", async () => {
    await start();
    const database = await cluster.connect();
    const [dead] = await cluster.followers();
    if (dead === undefined) throw new RangeError("three nodes run");
    await cluster.kill(dead);
    const error = await rejection(database.promote(dead.id));
    expect(["DEADLINE", "MEMBERSHIP"]).toContain(error.code);
    await database.collection("c").put({ id: 1 });
  });

  test("a node that stops hands over: no request fails", async () => {
    await start();
    const database = await cluster.connect();
    const writer = startWriter(database, "load");
    await waitFor("some writes", () => writer.acknowledged.size > 100);
    const old = await cluster.leader();
    await cluster.stopNode(old);
    const before = writer.acknowledged.size;
    await waitFor("more writes", () => writer.acknowledged.size > before + 100);
    await writer.stop();
    expect(writer.failed).toEqual([]);
    expect(existsSync(`${old.dataDirectory}/LOCK`)).toBe(false);
  });
});

describe("restart", () => {
  test("all nodes killed at once: everything acknowledged is there again", async () => {
    await start();
    let database = await cluster.connect();
    await database
      .collection("kept")
      .insertMany(Array.from({ length: 500 }, (_, i) => ({ id: i, text: `document ${i}` })));
    await database.collection("kept").remove(7);
    const { version = 0 } = (await database.collection("kept").findVersioned(8)) ?? {};
    const clusterId = nodeOf(cluster.seats[0] as Seat).clusterId;
    await database.close();
    for (const seat of cluster.seats) await cluster.kill(seat);
    for (const seat of cluster.seats) await cluster.startNode(seat);
    database = await cluster.connect();
    const kept = database.collection("kept");
    expect(await kept.count()).toBe(499);
    expect(await kept.findById(7)).toBeUndefined();
    expect(await kept.findVersioned(8)).toEqual({
      document: { id: 8, text: "document 8" },
      version,
    });
    expect(nodeOf(cluster.seats[0] as Seat).clusterId).toBe(clusterId);
    await expectSame(cluster);
  });

  test("snapshots cut the log, and a restart starts from them", async () => {
    await start({ snapshotLogBytes: 256 * 1024, segmentSizeBytes: 128 * 1024 });
    let database = await cluster.connect();
    const text = "x".repeat(2000);
    for (let round = 0; round < 12; round += 1) {
      const documents = Array.from({ length: 100 }, (_, i) => ({ id: i, round, text }));
      await Promise.all(documents.map((item) => database.collection("kept").put(item)));
    }
    await waitFor("all logs to be cut", () =>
      cluster.nodes.every((node) => node.status().firstIndex > 2),
    );
    // While a new one is taken there are three for a moment.
    await waitFor("two snapshots on each node", () =>
      cluster.seats.every((seat) => {
        const names = readdirSync(`${seat.dataDirectory}/snapshots`);
        return names.filter((name) => name.endsWith(".snapshot")).length === 2;
      }),
    );
    await database.close();
    for (const seat of cluster.seats) await cluster.kill(seat);
    for (const seat of cluster.seats) await cluster.startNode(seat);
    database = await cluster.connect();
    expect(await database.collection("kept").count()).toBe(100);
    expect(await database.collection("kept").findById(42)).toEqual({ id: 42, round: 11, text });
    await database.collection("kept").put({ id: "new" });
    await expectSame(cluster);
  });

  test("T34: a follower that was away catches up from the log on disk", async () => {
    await start({ segmentSizeBytes: 128 * 1024 });
    const database = await cluster.connect();
    const [away] = await cluster.followers();
    if (away === undefined) throw new RangeError("three nodes run");
    await cluster.kill(away);
    const text = "y".repeat(1000);
    for (let round = 0; round < 10; round += 1) {
      const documents = Array.from({ length: 50 }, (_, i) => ({ id: `${round}-${i}`, text }));
      await database.collection("kept").insertMany(documents);
    }
    await cluster.startNode(away);
    await waitFor("the follower", () => nodeOf(away).machine.documentCount === 500);
    await expectSame(cluster);
  });

  test("compression with zstd: batches on disk are packed, and a restart reads them", async () => {
    await start({ compression: "zstd" });
    let database = await cluster.connect();
    const text = "compressible ".repeat(300);
    const documents = Array.from({ length: 50 }, (_, i) => ({ id: i, text }));
    await database.collection("kept").insertMany(documents);
    await expectSame(cluster);
    for (const { log } of cluster.nodes) {
      const codecs = log
        .readFromDisk(log.firstIndex(), 2 ** 30)
        .map(({ bytes }) => decodeBatchHeader(bytes).codec);
      expect(codecs).toContain("zstd");
    }
    await database.close();
    for (const seat of cluster.seats) await cluster.kill(seat);
    for (const seat of cluster.seats) await cluster.startNode(seat);
    database = await cluster.connect();
    expect(await database.collection("kept").findById(49)).toEqual({ id: 49, text });
  });
});

describe("reads", () => {
  test("stale reads are served by any node, linearizable ones see every answered write", async () => {
    await start();
    const writer = await cluster.connect();
    for (const seat of cluster.seats) {
      const reader = await cluster.connect(seat.address);
      for (let i = 0; i < 20; i += 1) {
        await writer.collection("c").put({ id: "x", i });
        expect(await reader.collection("c").findById("x")).toEqual({ id: "x", i });
      }
      const stale = reader.collection("c", { read: "stale" });
      await waitFor("the stale read", async () => Object(await stale.findById("x"))["i"] === 19);
      expect(await stale.count()).toBe(1);
      expect(await reader.collection("c", { read: "leader" }).findById("x")).toBeDefined();
    }
  });

  test.each([
    ["by id", (all: Large, id: string) => all.findById(id)],
    ["by query", (all: Large, id: string) => all.findOne({ id })],
    ["stale", (all: Large, id: string) => all.findById(id, { read: "stale" })],
    ["by scan", (all: Large, id: string) => all.find({ id, n: 0 }, { sort: { n: 1 }, limit: 1 })],
    ["of changed documents", (all: Large, id: string) => all.update(id, { $inc: { n: 1 } })],
  ])("80 large answers at once, %s, reach a client that takes them", async (_name, read) => {
    await start({}, 1);
    const database = await cluster.connect(cluster.addresses, { timeoutMs: 30_000 });
    const collection: Large = database.collection("large");
    const ids = Array.from({ length: 80 }, (_, i) => String(i));
    for (const id of ids) await collection.put({ id, n: 0, bytes: new Uint8Array(900_000) });
    const answers = await Promise.all(ids.map((id) => read(collection, id)));
    expect(answers.filter((answer) => answer === undefined)).toEqual([]);
    expect(await database.collection("large").count()).toBe(80);
  });

  test("without a quorum: stale reads go on, linearizable ones and writes end in time", async () => {
    await start();
    const database = await cluster.connect(cluster.addresses, { timeoutMs: 1500 });
    await database.collection("c").put({ id: "x" });
    await expectSame(cluster);
    for (const seat of await cluster.followers()) await cluster.kill(seat);
    const [left] = cluster.seats.filter((seat) => seat.node !== undefined);
    const lonely = await cluster.connect(left?.address, { timeoutMs: 1500 });
    const collection = lonely.collection("c");
    await waitFor("the leader to step down", () => left?.node?.isLeader === false);
    expect(await collection.findById("x", { read: "stale" })).toEqual({ id: "x" });
    // A try that is under way at the very end is in doubt, rightly.
    await waitFor("the refusal", async () => {
      return (await rejection(collection.put({ id: "y" }))).code === "NO_QUORUM";
    });
    expect(["NO_QUORUM", "NOT_LEADER"]).toContain(
      (await rejection(collection.findById("x", { read: "leader" }))).code,
    );
    const read = await rejection(collection.findById("x"));
    expect(["DEADLINE", "NO_QUORUM"]).toContain(read.code);
  });

  test("T33: a write that was logged and cannot be committed ends with an unknown outcome", async () => {
    await start({ requestTimeoutMs: 400, electionTimeoutMs: 300 });
    const database = await cluster.connect(cluster.addresses, { timeoutMs: 1200 });
    await database.collection("c").put({ id: "x" });
    const [one, two] = await cluster.followers();
    const leader = await cluster.leader();
    if (one === undefined || two === undefined) throw new RangeError("three nodes run");
    await cluster.kill(one);
    await cluster.kill(two);
    const error = await rejection(database.collection("c").put({ id: "y" }));
    expect(["DEADLINE", "UNKNOWN_OUTCOME", "NO_QUORUM"]).toContain(error.code);
    expect(leader.fatal).toBeUndefined();
    await cluster.startNode(one);
    await cluster.startNode(two);
    await database.collection("c").put({ id: "z" });
    expect(await database.collection("c").findById("x")).toEqual({ id: "x" });
  });
});

describe("who belongs", () => {
  test("a wiped folder under an old id is refused with one clear line, and never votes", async () => {
    await start();
    const database = await cluster.connect();
    await database.collection("c").put({ id: "x" });
    await waitFor("all to be bound", () =>
      cluster.nodes.every((node) => node.machine.memberTable.bindings.size === 3),
    );
    const [wiped] = await cluster.followers();
    if (wiped === undefined) throw new RangeError("three nodes run");
    await cluster.kill(wiped);
    rmSync(wiped.dataDirectory, { recursive: true });
    await cluster.startNode(wiped);
    const fatal = await waitFor("the wiped node's end", () => wiped.fatal);
    expect(fatal.code).toBe("HANDSHAKE");
    expect(fatal.message).toMatch(new RegExp(`^Cannot let node "${wiped.id}" in: .* belongs to`));
    expect(fatal.message).not.toContain("\n");
    expect(existsSync(`${wiped.dataDirectory}/LOCK`)).toBe(false);
    await database.collection("c").put({ id: "y" });
    expect(await database.collection("c").count()).toBe(2);
  });

  // decisions.md section 4, the history that makes the binding necessary.
  test("a wiped follower and the one without the write elect nobody when the leader dies", async () => {
    await start();
    const database = await cluster.connect(cluster.addresses, { timeoutMs: 3000 });
    await waitFor("all to be bound", () =>
      cluster.nodes.every((node) => node.machine.memberTable.bindings.size === 3),
    );
    const [behind, wiped] = await cluster.followers();
    const leader = await cluster.leader();
    if (behind === undefined || wiped === undefined) throw new RangeError("three nodes run");
    await cluster.kill(behind);
    await database.collection("c").put({ id: "acknowledged" });
    await cluster.kill(wiped);
    rmSync(wiped.dataDirectory, { recursive: true });
    await cluster.kill(leader);
    await cluster.startNode(behind);
    await cluster.startNode(wiped);
    await sleep(systemClock, 1500);
    expect([behind.node?.isLeader, wiped.node?.isLeader]).toEqual([false, false]);
    const error = await rejection(database.collection("c").put({ id: "y" }));
    expect(["NO_QUORUM", "NOT_LEADER", "UNREACHABLE", "DEADLINE"]).toContain(error.code);
    await cluster.startNode(leader);
    await cluster.leader();
    expect(await database.collection("c").findById("acknowledged")).toBeDefined();
  });

  test("a folder of another node or another cluster is refused by name", async () => {
    await start({}, 1);
    const [seat] = cluster.seats;
    if (seat === undefined) throw new RangeError("one node runs");
    const { clusterId } = nodeOf(seat);
    await cluster.stopNode(seat);
    const options = cluster.options(seat);
    const [port] = await freePorts(1);
    const foreign = [
      { ...options, id: "n2", members: [{ id: "n2", address: seat.address }] },
      { ...options, members: [{ id: "n1", address: `127.0.0.1:${port}` }] },
    ];
    const texts = [/belongs to node "n1", not to "n2"/, new RegExp(`cluster ${clusterId}, not to`)];
    for (const [at, wrong] of foreign.entries()) {
      const error = await rejection(Node.open(new MortalPlatform(), parseNodeConfig(wrong)));
      expect([error.code, error.message]).toEqual([
        "CONFIG",
        expect.stringMatching(texts[at] ?? /$^/),
      ]);
    }
    await cluster.startNode(seat);
  });

  test("a node of another cluster at a member's address is refused both ways", async () => {
    await start();
    const other = await TestCluster.start(1);
    try {
      const [seat] = other.seats;
      const clusterId = nodeOf(cluster.seats[0] as Seat).clusterId;
      const wrong = cluster.connect(seat?.address, { clusterId, timeoutMs: 5000 });
      const error = await rejection(wrong);
      expect(error.code).toBe("HANDSHAKE");
      expect(error.message).toContain(clusterId);
      expect(error.message).toContain(seat?.node?.clusterId ?? "");
    } finally {
      await other.stop();
    }
  });

  test("a used port and a locked folder are refused, and nothing is left behind", async () => {
    await start({}, 1);
    const [seat] = cluster.seats;
    if (seat === undefined) throw new RangeError("one node runs");
    const locked = await rejection(
      Node.open(new MortalPlatform(), parseNodeConfig(cluster.options(seat))),
    );
    expect([locked.code, locked.message]).toEqual(["LOCKED", expect.stringContaining("LOCK")]);
    await cluster.stopNode(seat);
    const server = net.createServer();
    const port = Number(seat.address.split(":")[1]);
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    const used = await rejection(
      Node.open(new MortalPlatform(), parseNodeConfig(cluster.options(seat))),
    );
    expect([used.code, used.message]).toEqual(["UNREACHABLE", expect.stringContaining(`${port}`)]);
    expect(existsSync(`${seat.dataDirectory}/LOCK`)).toBe(false);
    await new Promise((resolve) => server.close(resolve));
    await cluster.startNode(seat);
  });
});

describe("ASYNC", () => {
  test("a deposed leader keeps what it answered early in lost/, and the client is told", async () => {
    await start({ syncMode: "ASYNC", electionTimeoutMs: 1000 });
    const lost: number[] = [];
    const database = await cluster.connect(cluster.addresses, {
      onLost: ({ version }) => lost.push(version),
      timeoutMs: 15_000,
    });
    await database.collection("c").put({ id: "safe" });
    await expectSame(cluster);
    const old = await cluster.leader();
    const others = await cluster.followers();
    const lonely = await cluster.connect(old.address, {
      onLost: ({ version }) => lost.push(version),
      timeoutMs: 2000,
    });
    await lonely.collection("c").put({ id: "warm" });
    await waitFor("it to be confirmed", () => lonely.client.inFlight === 0);
    for (const seat of others) await cluster.kill(seat);
    const isEarly = await lonely
      .collection("c")
      .put({ id: "early" })
      .then(() => true);
    expect(isEarly).toBe(true);
    await cluster.kill(old);
    await lonely.close();
    expect(lost.length).toBeGreaterThanOrEqual(1);
    for (const seat of others) await cluster.startNode(seat);
    const next = await cluster.leader();
    expect(next).not.toBe(old);
    await database.collection("c").put({ id: "after" });
    await cluster.startNode(old);
    await waitFor("the tail to be set aside", () => nodeOf(old).lostEntries > 0);
    const [name = ""] = readdirSync(`${old.dataDirectory}/lost`);
    const bytes = new Uint8Array(readFileSync(`${old.dataDirectory}/lost/${name}`));
    expect(decodeBatchHeader(bytes).count).toBeGreaterThan(0);
    expect(new TextDecoder().decode(bytes)).toContain("early");
    await expectSame(cluster);
    expect(await database.collection("c").findById("early")).toBeUndefined();
    expect(await database.collection("c").findById("safe")).toBeDefined();
    expect(nodeOf(old).status().syncMode).toBe("ASYNC");
  });

  test("a client that lives on sends early answered writes again to the next leader", async () => {
    await start({ syncMode: "ASYNC", electionTimeoutMs: 1000 });
    const lost: number[] = [];
    const database = await cluster.connect(cluster.addresses, {
      onLost: ({ version }) => lost.push(version),
      timeoutMs: 20_000,
    });
    await database.collection("c").put({ id: "safe" });
    await expectSame(cluster);
    const old = await cluster.leader();
    const others = await cluster.followers();
    for (const seat of others) await cluster.kill(seat);
    await Promise.all(
      Array.from({ length: 20 }, (_, i) => database.collection("c").put({ id: `early-${i}` })),
    );
    await cluster.kill(old);
    for (const seat of others) await cluster.startNode(seat);
    await cluster.leader();
    await waitFor("all of them to be committed", () => database.client.inFlight === 0);
    expect(await database.collection("c").count()).toBe(21);
    expect(lost).toEqual([]);
    await cluster.startNode(old);
    await expectSame(cluster);
  });

  test("what depends on the state waits for the commit, also in ASYNC", async () => {
    await start({ syncMode: "ASYNC" });
    const database = await cluster.connect();
    const collection = database.collection("c");
    await collection.insert({ id: "a", n: 1 });
    expect((await rejection(collection.insert({ id: "a", n: 2 }))).code).toBe("DUPLICATE_KEY");
    expect(await collection.update("a", { n: 3 })).toEqual({ id: "a", n: 3 });
    expect(await collection.remove("a")).toEqual({ id: "a", n: 3 });
    expect(await collection.delete("a")).toBe(false);
    const version = await collection.put({ id: "b" });
    const conflict = collection.put({ id: "b" }, { ifVersion: version + 1 });
    expect((await rejection(conflict)).code).toBe("VERSION_CONFLICT");
  });

  test.each(["SYNC", "ASYNC"] as const)("beside large results all go on: %s", async (syncMode) => {
    await start({ syncMode });
    const database = await cluster.connect();
    const large = database.collection<{ id: string; text: string; n?: number }>("large");
    const small = database.collection<{ id: string }>("small");
    await small.put({ id: "first" });
    const text = "x".repeat(900_000);
    for (let i = 0; i < 8; i += 1) await large.put({ id: `l${i}`, text });
    const updates = Array.from({ length: 8 }, (_, i) => large.update(`l${i}`, { n: i }));
    const puts = Array.from({ length: 40 }, (_, i) => small.put({ id: `k${i}` }));
    // The results that a session keeps are full before the last update; nothing else comes after.
    await Promise.all([...puts, ...updates]);
    expect(await small.count()).toBe(41);
    expect(await large.count({ n: { $gte: 0 } })).toBe(8);
  });

  test("large results that came out of turn do not keep out the one before them", async () => {
    await start({});
    const database = await cluster.connect();
    const large = database.collection<{ id: string; text: string; n?: number }>("large");
    const text = "x".repeat(400_000);
    for (let i = 0; i < 10; i += 1) await large.put({ id: `l${i}`, text });
    const updates = Array.from({ length: 80 }, (_, i) => large.update(`l${i % 10}`, { n: i }));
    await Promise.all(updates);
    expect(await large.count({ n: { $gte: 0 } })).toBe(10);
  });

  test("what an index or a validator may refuse waits for the commit, also in ASYNC", async () => {
    await start({ syncMode: "ASYNC" });
    const database = await cluster.connect();
    const unique = database.collection<{ id: string; v: number }>("unique");
    await unique.put({ id: "a", v: 1 });
    const making = unique.createIndex("v", { keys: "v", unique: true });
    // Some stand in the log behind the index, which is not in the state yet.
    const ids = Array.from({ length: 30 }, (_, i) => `b${i}`);
    const writes = await Promise.allSettled(ids.map((id) => unique.put({ id, v: 1 })));
    const made = await making.then(
      () => true,
      () => false,
    );
    const kept = new Set((await unique.find()).map(({ id }) => id));
    for (const [i, { status }] of writes.entries()) {
      expect([ids[i], status === "fulfilled"]).toEqual([ids[i], kept.has(ids[i]!)]);
    }
    expect(made).toBe(kept.size === 1);
    await unique.deleteMany({ id: { $ne: "a" } });
    if (!made) await unique.createIndex("v", { keys: "v", unique: true });
    expect((await rejection(unique.put({ id: "c", v: 1 }))).code).toBe("DUPLICATE_KEY");
    await database.createCollection("checked", { validator: "none" });
    const bytes = database.collection("checked").put({ id: "c" });
    expect((await rejection(bytes)).code).toBe("UNCHECKED");
    await database.dropCollection("unique");
    await unique.put({ id: "c", v: 1 });
    expect(await unique.put({ id: "d", v: 1 })).toBeGreaterThan(0);
  });
});

describe("close", () => {
  test("a closed node answers nobody, frees its port and folder, and closes twice", async () => {
    await start({}, 1);
    const [seat] = cluster.seats;
    if (seat === undefined) throw new RangeError("one node runs");
    const node = nodeOf(seat);
    await Promise.all([node.stop(), node.stop()]);
    await node.stop();
    expect(existsSync(`${seat.dataDirectory}/LOCK`)).toBe(false);
    seat.node = undefined;
    const error = await rejection(cluster.connect(seat.address, { timeoutMs: 300 }));
    expect(error.code).toBe("UNREACHABLE");
    expect(error.message).toContain(seat.address);
    await cluster.startNode(seat);
    await cluster.leader();
  });

  test("requests that wait are rejected when their client closes", async () => {
    await start({}, 1);
    const [seat] = cluster.seats;
    if (seat === undefined) throw new RangeError("one node runs");
    const database = await cluster.connect();
    await database.collection("c").put({ id: 1 });
    await cluster.kill(seat);
    const waiting = [
      rejection(database.collection("c").put({ id: 2 })),
      rejection(database.collection("c").findById(1)),
      rejection(database.status()),
    ];
    await database.close();
    for (const error of await Promise.all(waiting)) expect(error.code).toBe("CLOSED");
    expect((await rejection(database.collection("c").put({ id: 3 }))).code).toBe("CLOSED");
  });
});
