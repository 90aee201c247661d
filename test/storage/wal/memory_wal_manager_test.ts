/**
 * The log in memory, as consensus uses it.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { StorageError } from "../../../src/base/errors.ts";
import type { Entry } from "../../../src/raft/types.ts";
import { MemoryWALManager } from "../../../src/storage/wal/memory_wal_manager.ts";
import { entryAt, settle, standingClock, walEntry } from "../log_fixture.ts";

function open(): MemoryWALManager {
  return new MemoryWALManager({ clock: standingClock });
}

/** An entry of term 1 with two operations. */
function entry(index: number): Entry {
  return entryAt({ term: 1, index, firstSequence: index * 2 - 1 }, ["x", "y"]);
}

test("begins empty", async () => {
  const log = open();
  const { base, hardState, recoveredCommit, clusterEntries, syncSinceMs } = log;
  expect({ base, hardState, recoveredCommit, clusterEntries, syncSinceMs }).toEqual({
    base: { index: 0, term: 0, nextSequence: 1 },
    hardState: { term: 0, vote: undefined },
    recoveredCommit: 0,
    clusterEntries: [],
    syncSinceMs: undefined,
  });
  expect([log.firstIndex(), log.lastIndex(), log.sequenceAfter(0)]).toEqual([1, 0, 1]);
  expect([log.sizeBytes, log.writtenBytes, log.syncedThrough]).toEqual([0, 0, 0]);
  expect(await log.recover()).toEqual({ entries: 0, lastSequence: 0, tornBytes: 0, durationMs: 0 });
});

test("a write counts as a record; its entries, bytes and hard state are there at once", () => {
  const log = open();
  const entries = [1, 2, 3].map(entry);
  const size = entries.reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
  const hardState = { term: 1, vote: "n1" };
  expect(log.write({ hardState, entries, commitIndex: 0 })).toBe(1);
  expect(log.write({ hardState: undefined, entries: [], commitIndex: 0 })).toBe(2);
  expect([log.sizeBytes, log.writtenBytes, log.bytesBehind(0)]).toEqual([size, size, size]);
  expect(log.bytesBehind(2)).toBe(entries[2]!.bytes.byteLength);
  expect([log.lastIndex(), log.term(3), log.term(4)]).toEqual([3, 1, undefined]);
  expect([log.sequenceAfter(3), log.getCurrentSequence()]).toEqual([7, 6]);
  expect(log.hardState).toEqual(hardState);
  expect(log.entries(2, 3, 10_000)).toEqual(entries.slice(1));
  expect(log.readFromDisk(2, 10_000)).toEqual(entries.slice(1));
  expect(log.readFromDisk(1, 1)).toEqual(entries.slice(0, 1));
  expect(log.readFromDisk(4, 1)).toEqual([]);
});

test("a sync covers what was written before it, and is reported later and once", async () => {
  const log = open();
  const events: number[] = [];
  log.listen({ synced: (through) => events.push(through), failed: () => {} });
  log.write({ hardState: undefined, entries: [entry(1)], commitIndex: 0 });
  log.requestSync();
  log.write({ hardState: undefined, entries: [entry(2)], commitIndex: 0 });
  expect([log.syncedThrough, events]).toEqual([0, []]);
  await settle();
  expect([log.syncedThrough, events]).toEqual([1, [1]]);
  log.requestSync();
  log.requestSync();
  await settle();
  expect([log.syncedThrough, events]).toEqual([2, [1, 2]]);
  await log.flush();
  log.write({ hardState: undefined, entries: [entry(3)], commitIndex: 0 });
  await log.flush();
  expect([log.syncedThrough, events]).toEqual([3, [1, 2]]);
});

test("restarts behind a snapshot, and compacts to one", async () => {
  const log = open();
  log.write({ hardState: undefined, entries: [1, 2, 3].map(entry), commitIndex: 0 });
  await log.compactTo({ index: 1, term: 1, nextSequence: 3 });
  expect([log.base.index, log.firstIndex(), log.lastIndex(), log.recoveredCommit]).toEqual([
    1, 2, 3, 1,
  ]);
  expect(log.restartBehind({ index: 9, term: 2, nextSequence: 20 })).toBe(2);
  expect([log.base, log.lastIndex()]).toEqual([{ index: 9, term: 2, nextSequence: 20 }, 9]);
  expect(log.write({ hardState: undefined, entries: [], commitIndex: 0 })).toBe(3);
});

test("checkpoints count up", async () => {
  const log = open();
  await log.writeEntry(walEntry(1));
  expect(await log.createCheckpoint()).toEqual({
    checkpointId: "checkpoint-1",
    timestamp: standingClock.wallMs(),
    sequenceNumber: 2,
    transactionIds: [],
  });
  expect((await log.createCheckpoint()).checkpointId).toBe("checkpoint-2");
});

test("truncate forgets up to the last whole batch, and nothing twice", async () => {
  const log = open();
  for (const batch of [[1, 2], [3], [4, 5]]) {
    await log.writeBatch(batch.map((value) => walEntry(value)));
  }
  for (const [before, base] of [
    [0, 0],
    [2, 0],
    [3, 1],
    [3, 1],
    [4, 2],
    [5, 2],
    [6, 3],
  ] as const) {
    await log.truncate(before);
    expect([before, log.base.index]).toEqual([before, base]);
  }
  expect(log.base).toEqual({ index: 3, term: 1, nextSequence: 6 });
});

test("a closed log refuses writes, restarts and checkpoints", async () => {
  const log = open();
  await log.close();
  const base = { index: 9, term: 2, nextSequence: 20 };
  const refused = "Cannot use the log: it is closed";
  expect(() => log.write({ hardState: undefined, entries: [], commitIndex: 0 })).toThrow(refused);
  expect(() => log.restartBehind(base)).toThrow(StorageError);
  expect(log.createCheckpoint()).rejects.toThrow(refused);
  expect(log.flush()).rejects.toThrow(refused);
});

test("without options its clock is the system's", async () => {
  const log = new MemoryWALManager();
  const before = Date.now();
  await log.writeEntry(walEntry(1));
  const { timestamp } = await log.createCheckpoint();
  expect(timestamp).toBeGreaterThanOrEqual(before - 1);
  await log.close();
});
