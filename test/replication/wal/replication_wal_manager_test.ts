/**
 * A replicated log with one member: what is its own to answer, and what consensus refuses.
 *
 * @module
 */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { ReplicationWALManager } from "../../../src/replication/wal/replication_wal_manager.ts";
import type { WALEntry } from "../../../src/storage/wal/iwal_manager.ts";
import { MemoryWALManager } from "../../../src/storage/wal/memory_wal_manager.ts";
import { NetworkManager } from "../../../src/transport/network_manager.ts";

const ENTRY: WALEntry = {
  ...{ transactionId: "t", sequenceNumber: 0, timestamp: 1, type: "DATA", collectionName: "c" },
  ...{ operation: "INSERT", data: { key: "k" }, checksum: "" },
};

let network: NetworkManager;
let log: ReplicationWALManager;
beforeEach(async () => {
  network = new NetworkManager("n1", 0);
  await network.listen();
  const wal = new MemoryWALManager();
  log = new ReplicationWALManager({ nodeId: "n1", wal, networkManager: network, members: ["n1"] });
  await log.promoteToLeader();
});
afterEach(async () => {
  await log.close();
  await network.close();
});

test("it leads, and tells of what it wrote", async () => {
  const keys: unknown[] = [];
  const stop = log.onEntryReplicated(({ data }) => keys.push(data));
  await log.writeEntry(ENTRY);
  await log.flush();
  expect(log.getRole()).toBe("LEADER");
  expect(log.getReplicationStatus()).toMatchObject({ role: "LEADER", connectedNodes: [] });
  const entries = await log.readEntries();
  const own = entries.filter(({ collectionName }) => collectionName === "c");
  expect(own.map(({ data }) => data)).toEqual([{ key: "k" }]);
  expect(own[0]?.sequenceNumber).toBe(log.getCurrentSequence());
  expect(keys).toContainEqual({ key: "k" });
  stop();
});

test("consensus owns the tail: nobody else drops it", async () => {
  await expect(log.truncateAfter()).rejects.toMatchObject({ code: "STORAGE" });
  await log.writeEntry(ENTRY);
  const { sequenceNumber } = await log.createCheckpoint();
  expect(sequenceNumber).toBe(log.getCurrentSequence());
  await log.truncate(sequenceNumber + 100);
  expect(await log.readEntries()).toEqual([]);
});
