/**
 * Streams between logs of their own, without consensus: what reaches whom, what SYNC waits for, and
 * what is sent twice.
 *
 * @module
 */

import { afterEach, expect, test } from "bun:test";
import { freePorts } from "../../../cli/local/local_cluster.ts";
import { StorageError } from "../../../src/base/errors.ts";
import {
  MemoryWALManager,
  NetworkManager,
  type ReplicationConfig,
  type WALEntry,
  WALReplicationManager,
} from "../../../src/mod.ts";

interface End {
  readonly id: string;
  readonly wal: MemoryWALManager;
  readonly network: NetworkManager;
  readonly manager: WALReplicationManager;
  readonly got: string[];
}

let ends: End[] = [];

afterEach(async () => {
  for (const { manager, network } of ends) {
    await manager.close();
    await network.close();
  }
  ends = [];
});

async function start(count: number, config: Partial<ReplicationConfig>): Promise<End[]> {
  const ports = await freePorts(count);
  ends = ports.map((port, i) => {
    const id = `n${i + 1}`;
    const wal = new MemoryWALManager();
    const network = new NetworkManager(id, port);
    const full = { mode: "MASTER_SLAVE", syncMode: "SYNC", asyncTimeout: 2000, ...config } as const;
    const manager = new WALReplicationManager(wal, network, full);
    const got: string[] = [];
    manager.on("entryReceived", ({ entry, from }) => got.push(`${from} ${entry.transactionId}`));
    return { id, wal, network, manager, got };
  });
  return ends;
}

async function connect(all: readonly End[], ports: readonly number[]): Promise<void> {
  for (const from of all) {
    for (const [i, to] of all.entries()) {
      if (to !== from) await from.network.connect(to.id, "127.0.0.1", ports[i]);
    }
  }
}

async function connected(count: number, config: Partial<ReplicationConfig>): Promise<End[]> {
  const all = await start(count, config);
  await Promise.all(all.map(({ network }) => network.listen()));
  await connect(
    all,
    all.map(({ network }) => network.endpoint.port),
  );
  return all;
}

function entry(transactionId: string): WALEntry {
  return {
    ...{ transactionId, sequenceNumber: 0, timestamp: 1, type: "DATA", collectionName: "c" },
    ...{ operation: "INSERT", data: { key: 1, newValue: 1 }, checksum: "" },
  } as WALEntry;
}

async function transactions({ wal }: End): Promise<string[]> {
  return (await wal.readEntries()).map(({ transactionId }) => transactionId).sort();
}

test("three nodes, three entries: six of six arrive, and every log has all three", async () => {
  const all = await connected(3, {});
  await Promise.all(all.map(({ id, manager }) => manager.streamWALEntry(entry(`t-${id}`))));
  // SYNC waits for one of the two others: the last may still be on its way.
  while (all.some(({ got }) => got.length < 2)) await Bun.sleep(5);
  expect(all.flatMap(({ got }) => got)).toHaveLength(6);
  for (const end of all) expect(await transactions(end)).toEqual(["t-n1", "t-n2", "t-n3"]);
});

test("SYNC with nobody connected is refused; ASYNC is not, and the own log has both", async () => {
  const [sync] = await start(1, {});
  await expect(sync!.manager.streamWALEntry(entry("s"))).rejects.toMatchObject({
    code: "NO_QUORUM",
  });
  expect(await transactions(sync!)).toEqual(["s"]);
  const [asynchronous] = await start(1, { syncMode: "ASYNC" });
  await asynchronous!.manager.streamWALEntry(entry("a"));
  await asynchronous!.manager.syncWithNode("n2", 0);
  expect(await transactions(asynchronous!)).toEqual(["a"]);
});

test("SYNC without a majority of acknowledgements is refused in time", async () => {
  const [one, two] = await connected(2, { asyncTimeout: 200, maxRetries: 1 });
  await two!.manager.close();
  await expect(one!.manager.streamWALEntry(entry("lost"))).rejects.toMatchObject({
    code: "DEADLINE",
    message: expect.stringContaining("0 of 1 nodes acknowledged it"),
  });
});

test("what is sent again is written once", async () => {
  const [one, two] = await connected(2, {});
  const sent: WALEntry = entry("twice");
  await one!.manager.streamWALEntry(sent);
  await one!.manager.syncWithNode("n2", 1);
  await one!.manager.syncWithNode("n2", 1);
  expect(await transactions(two!)).toEqual(["twice"]);
  expect(two!.got).toEqual(["n1 twice"]);
});

test("a node that was away catches up, in both directions", async () => {
  const all = await start(2, { syncMode: "ASYNC" });
  await Promise.all(all.map(({ network }) => network.listen()));
  for (const { id, manager } of all) await manager.streamWALEntry(entry(`before-${id}`));
  await connect(
    all,
    all.map(({ network }) => network.endpoint.port),
  );
  await all[0]!.manager.syncWithNode("n2", 0);
  for (const end of all) expect(await transactions(end)).toEqual(["before-n1", "before-n2"]);
});

test("a connection that the other side made is answered on", async () => {
  const [one, two] = await start(2, {});
  await Promise.all([one!.network.listen(), two!.network.listen()]);
  await one!.network.connect("n2", "127.0.0.1", two!.network.endpoint.port);
  expect([one!.network.isConnected("n2"), two!.network.isConnected("n1")]).toEqual([true, true]);
  await one!.manager.streamWALEntry(entry("there"));
  await two!.manager.streamWALEntry(entry("back"));
  expect([one!.got, two!.got]).toEqual([["n2 back"], ["n1 there"]]);
});

// A repeat was acknowledged while the first was still being written, and that failed.
test("an entry is acknowledged when it is written, not before, however often it is sent", async () => {
  const [one, two] = await connected(2, { asyncTimeout: 300, maxRetries: 3 });
  two!.wal.writeEntry = async () => {
    await Bun.sleep(200);
    throw new StorageError("Cannot write: the disk is full");
  };
  const failures: string[] = [];
  two!.manager.on("replicationError", ({ code }) => failures.push(code));
  await expect(one!.manager.streamWALEntry(entry("full"))).rejects.toMatchObject({
    code: "DEADLINE",
  });
  while (failures.length === 0) await Bun.sleep(5);
  expect(failures).toContain("STORAGE");
  expect(await transactions(two!)).toEqual([]);
});

// Entries were known by their places: a place that was written anew was acknowledged and dropped.
test("a place that is written anew, by the same node or by the next of its name, is another entry", async () => {
  const [one, two] = await connected(2, {});
  await one!.manager.streamWALEntry(entry("first"));
  await one!.wal.truncateAfter(0);
  await one!.manager.streamWALEntry(entry("second"));
  expect(await transactions(two!)).toEqual(["first", "second"]);

  await one!.manager.close();
  const again = new WALReplicationManager(new MemoryWALManager(), one!.network, {
    mode: "MASTER_SLAVE",
  });
  await again.streamWALEntry(entry("third"));
  await again.close();
  expect(await transactions(two!)).toEqual(["first", "second", "third"]);
});

test("close rejects what waits, and what was replicated is told at its sender too", async () => {
  const [one, two] = await connected(2, { asyncTimeout: 60_000 });
  const told: string[] = [];
  one!.manager.on("entryReplicated", ({ transactionId }) => told.push(transactionId));
  await one!.manager.streamWALEntry(entry("told"));
  expect(told).toEqual(["told"]);
  expect(one!.manager.getReplicationStatus().lastReplicationTime).toBeGreaterThan(0);
  await two!.manager.close();
  const waiting = one!.manager.streamWALEntry(entry("lost"));
  const synced = one!.manager.syncWithNode("n2");
  const ended = Promise.all(
    [waiting, synced].map((one) => one.catch((error: { readonly code: string }) => error.code)),
  );
  await Bun.sleep(20);
  await one!.manager.close();
  expect(await ended).toEqual(["CLOSED", "CLOSED"]);
});

test("a configuration is one without a mode too, and its misspelt names are refused", async () => {
  const [one] = await start(1, {});
  const { wal, network } = one!;
  const open = (config: object): WALReplicationManager =>
    new WALReplicationManager(wal, network, config as ReplicationConfig);
  expect(() => open({ mode: "MASTER_SLAVE", syncmode: "ASYNC" })).toThrow("syncmode");
  const manager = open({ syncMode: "ASYNC" });
  await manager.streamWALEntry(entry("a"));
  await manager.close();
  expect(await transactions(one!)).toEqual(["a"]);
});
