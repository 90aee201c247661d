/**
 * The log in files: durability, sharing of syncs, failures, and the numbers that it reports.
 *
 * @module
 */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { CorruptionError, StorageError } from "../../../src/base/errors.ts";
import type { Clock } from "../../../src/platform/clock.ts";
import type { Entry } from "../../../src/raft/types.ts";
import type { WALEntry } from "../../../src/storage/wal/iwal_manager.ts";
import { decodeSegmentHeader } from "../../../src/storage/wal/segment.ts";
import { SegmentLog } from "../../../src/storage/wal/segment_log.ts";
import { scanSegment } from "../../../src/storage/wal/segment_scan.ts";
import { readMark } from "../../../src/storage/wal/wal_open.ts";
import type { SimulatedDisk } from "../fake_disk.ts";
import {
  createLog,
  diskOf,
  entryAt,
  errorOf,
  IDENTITY,
  LOG_FOLDER,
  openLog,
  platformOn,
  settle,
  standingClock,
  walEntry,
} from "../log_fixture.ts";

setDefaultTimeout(60_000);

function values(entries: readonly WALEntry[]): unknown[] {
  return entries.map(({ data }) => data.newValue);
}

function numbers(entries: readonly WALEntry[]): number[] {
  return entries.map(({ sequenceNumber }) => sequenceNumber);
}

/** An entry of term 1 with two operations. */
function entry(index: number, text = "x"): Entry {
  return entryAt({ term: 1, index, firstSequence: index * 2 - 1 }, [text, "y"]);
}

function write(log: SegmentLog, ...entries: readonly Entry[]): number {
  return log.write({ hardState: undefined, entries, commitIndex: 0 });
}

function segmentsOn(disk: SimulatedDisk): string[] {
  return disk.files.list(LOG_FOLDER).filter((name) => name.endsWith(".segment"));
}

/** A log with this clock; segments of 1024 bytes. */
function openWith(disk: SimulatedDisk, clock: Clock): Promise<SegmentLog> {
  const options = { directory: LOG_FOLDER, identity: IDENTITY, segmentSizeBytes: 1024 };
  return SegmentLog.open({ ...platformOn(disk), clock }, options);
}

describe("SegmentLog", () => {
  test("what a truncation hides inside of a batch is hidden after a power cut, too", async () => {
    const disk = diskOf(1);
    const log = await createLog(disk);
    await log.writeBatch([walEntry(1), walEntry(2), walEntry(3)]);
    await log.writeBatch([walEntry(4), walEntry(5)]);
    await log.truncate(2);
    disk.cutPower(() => "dropped");
    const again = await createLog(disk);
    expect(values(await again.readEntries())).toEqual([2, 3, 4, 5]);
    await again.truncate(5);
    await again.close();
    const last = await createLog(disk);
    expect([values(await last.readEntries()), last.getCurrentSequence()]).toEqual([[5], 5]);
    await last.close();
  });

  test("a checkpoint on a log of consensus is a note without a number", async () => {
    const disk = diskOf(2);
    const log = await openLog(disk, { owner: "consensus" });
    expect(await log.createCheckpoint()).toMatchObject({ sequenceNumber: 0 });
    expect([log.getCurrentSequence(), log.lastIndex()]).toEqual([0, 0]);
    await log.close();
  });

  test("what was acknowledged is there after a power cut, and the numbers go on", async () => {
    const disk = diskOf(1);
    const log = await createLog(disk);
    await log.writeBatch([walEntry(1), walEntry(2)]);
    await log.writeEntry(walEntry(3));
    await log.truncateAfter(2);
    await log.writeEntry(walEntry("3 again"));
    await log.createCheckpoint();
    disk.cutPower(() => "dropped");
    const again = await createLog(disk);
    expect(await again.recover()).toMatchObject({ entries: 3, lastSequence: 4 });
    expect(values(await again.readEntries()).slice(0, 3)).toEqual([1, 2, "3 again"]);
    await again.truncate(5);
    await again.close();
    const empty = await createLog(disk);
    await empty.writeEntry(walEntry(4));
    expect(numbers(await empty.readEntries())).toEqual([5]);
    await empty.close();
  });

  // [TAIL not written]
  test("what truncateAfter dropped stays away, also without the older files", async () => {
    const disk = diskOf(1);
    const log = await createLog(disk);
    for (const value of [1, 2, 3, 4]) await log.writeEntry(walEntry(value));
    await log.truncateAfter(3);
    disk.cutPower(() => "dropped");
    const second = await createLog(disk);
    expect(values(await second.readEntries())).toEqual([1, 2, 3]);
    // The file that stays begins behind entry 3 and drops it again.
    await second.truncateAfter(2);
    await second.truncate(3);
    expect(disk.files.list("data/n1/wal").filter((name) => name.endsWith(".segment"))).toHaveLength(
      1,
    );
    disk.cutPower(() => "dropped");
    const third = await createLog(disk);
    expect([third.firstIndex(), third.getCurrentSequence()]).toEqual([3, 2]);
    await third.writeEntry(walEntry("3 again"));
    await third.close();
    const last = await createLog(disk);
    expect(values(await last.readEntries())).toEqual(["3 again"]);
    await last.close();
  });

  // [ack before sync]
  test("writeEntry does not resolve before its sync ended", async () => {
    const disk = diskOf(1);
    const log = await createLog(disk);
    disk.faults = { sync: () => "stalled" };
    let isDone = false;
    const written = log.writeEntry(walEntry(1)).then(() => {
      isDone = true;
    });
    await settle(5);
    expect(isDone).toBe(false);
    disk.faults = {};
    disk.releaseStalled();
    await written;
    await log.close();
  });

  test("writes of many turns share syncs", async () => {
    const disk = diskOf(1);
    const log = await createLog(disk);
    await settle(5);
    disk.faults = { sync: () => "stalled" };
    const written = Array.from({ length: 50 }, async (_, i) => {
      await settle(i % 5);
      await log.writeEntry(walEntry(i));
    });
    await settle(10);
    expect(disk.stalledCount).toBe(1);
    disk.faults = {};
    disk.releaseStalled();
    await Promise.all(written);
    await log.close();
  });

  test("a failed sync rejects all that wait, with one typed error", async () => {
    const disk = diskOf(1);
    const log = await createLog(disk);
    disk.faults = { sync: () => "failed" };
    const errors = await Promise.all(
      [1, 2].map((value) => errorOf(log.writeEntry(walEntry(value)))),
    );
    disk.faults = {};
    errors.push(await errorOf(log.writeEntry(walEntry(3))));
    errors.push(await errorOf(log.flush()));
    for (const error of errors) expect(error).toBeInstanceOf(StorageError);
    await log.close();
    const again = await createLog(disk);
    await again.close();
  });

  // [truncateAfter for consensus]
  test("a log that consensus owns does not drop its end for a user", async () => {
    const disk = diskOf(1);
    const directory = "data/wal";
    const identity = { clusterId: "1".repeat(16), nodeId: "n1", incarnation: "2".repeat(16) };
    const options = { directory, identity, segmentSizeBytes: 4096, owner: "consensus" } as const;
    const log = await SegmentLog.open(platformOn(disk), options);
    expect(await errorOf(log.truncateAfter(0))).toBeInstanceOf(StorageError);
    await log.close();
  });
});

describe("what the log reports", () => {
  test("an empty log: numbers begin at one, nothing is written", async () => {
    const log = await openLog(diskOf(1));
    const { base, hardState, recoveredCommit, sizeBytes, writtenBytes, syncedThrough } = log;
    expect({ base, hardState, recoveredCommit, sizeBytes, writtenBytes, syncedThrough }).toEqual({
      base: { index: 0, term: 0, nextSequence: 1 },
      hardState: { term: 0, vote: undefined },
      recoveredCommit: 0,
      sizeBytes: 4096,
      writtenBytes: 0,
      syncedThrough: 0,
    });
    expect([log.firstIndex(), log.lastIndex(), log.sequenceAfter(0)]).toEqual([1, 0, 1]);
    expect([log.getCurrentSequence(), log.clusterEntries, log.bytesBehind(0)]).toEqual([0, [], 0]);
  });

  test("a write: record numbers, entries, bytes, and nothing durable before the sync", async () => {
    const log = await openLog(diskOf(1));
    const entries = [entry(1), entry(2, "larger")];
    const size = entries[0]!.bytes.byteLength + entries[1]!.bytes.byteLength;
    const hardState = { term: 1, vote: "n1" };
    expect(log.write({ hardState, entries, commitIndex: 1 })).toBe(3);
    expect([log.syncedThrough, log.writtenBytes, log.bytesBehind(0)]).toEqual([0, size, size]);
    expect(log.bytesBehind(1)).toBe(entries[1]!.bytes.byteLength);
    expect([log.lastIndex(), log.term(2), log.term(3)]).toEqual([2, 1, undefined]);
    expect([log.sequenceAfter(1), log.sequenceAfter(2)]).toEqual([3, 5]);
    expect(log.getCurrentSequence()).toBe(4);
    expect(log.hardState).toEqual(hardState);
    expect(log.entries(1, 2, 1_000)).toEqual(entries);
    expect(log.write({ hardState: undefined, entries: [], commitIndex: 1 })).toBe(3);
    await log.flush();
    expect(log.syncedThrough).toBe(3);
  });

  test("reopened: entries, last sequence, commit index and the time it took", async () => {
    const disk = diskOf(1);
    const log = await openLog(disk);
    log.write({ hardState: { term: 2, vote: "n1" }, entries: [entry(1)], commitIndex: 0 });
    log.write({ hardState: undefined, entries: [entry(2), entry(3)], commitIndex: 2 });
    await log.close();
    let nowMs = 10;
    const clock: Clock = { ...standingClock, nowMs: () => nowMs++ };
    const again = await openWith(disk, clock);
    expect(await again.recover()).toEqual({
      entries: 3,
      lastSequence: 6,
      tornBytes: 0,
      durationMs: nowMs - 11,
    });
    expect([again.recoveredCommit, again.syncedThrough, again.writtenBytes]).toEqual([2, 5, 0]);
    expect(again.hardState).toEqual({ term: 2, vote: "n1" });
    await again.close();
  });

  test("a commit index is recovered as far as entries are there, and at least the base", async () => {
    const disk = diskOf(1);
    const log = await openLog(disk);
    log.write({ hardState: undefined, entries: [entry(1)], commitIndex: 9 });
    await log.close();
    const second = await openLog(disk);
    expect(second.recoveredCommit).toBe(1);
    second.restartBehind({ index: 7, term: 1, nextSequence: 15 });
    await second.flush();
    await second.close();
    const third = await openLog(disk);
    expect([third.recoveredCommit, third.base.index, third.lastIndex()]).toEqual([7, 7, 7]);
    expect(await third.recover()).toMatchObject({ entries: 0, lastSequence: 14 });
    await third.close();
  });

  test("the size counts the segments from the oldest kept entry on", async () => {
    const log = await openLog(diskOf(1), { segmentSizeBytes: 1024 });
    write(log, entry(1, "x".repeat(200)));
    write(log, entry(2, "x".repeat(200)));
    expect(log.sizeBytes).toBe(2 * 1024);
    await log.flush();
    // The new head begins a third segment.
    await log.compactTo({ index: 1, term: 1, nextSequence: 3 });
    expect(log.sizeBytes).toBe(2 * 1024);
    await log.compactTo({ index: 2, term: 1, nextSequence: 5 });
    expect(log.sizeBytes).toBe(1024);
  });

  test("a sync is under way since it was issued, and until no other follows", async () => {
    let nowMs = 100;
    const disk = diskOf(1);
    const log = await openWith(disk, { ...standingClock, nowMs: () => nowMs });
    await settle(5);
    expect(log.syncSinceMs).toBeUndefined();
    disk.faults = { sync: () => "stalled" };
    write(log, entry(1));
    nowMs = 250;
    log.requestSync();
    expect(log.syncSinceMs).toBe(250);
    write(log, entry(2));
    nowMs = 300;
    log.requestSync();
    expect(log.syncSinceMs).toBe(250);
    disk.releaseStalled();
    await settle();
    expect([log.syncSinceMs, log.syncedThrough]).toEqual([300, 1]);
    disk.faults = {};
    disk.releaseStalled();
    await settle();
    expect([log.syncSinceMs, log.syncedThrough]).toEqual([undefined, 2]);
  });
});

describe("opening", () => {
  async function withVote() {
    const disk = diskOf(1);
    const log = await openLog(disk);
    log.write({ hardState: { term: 1, vote: "n1" }, entries: [entry(1)], commitIndex: 0 });
    await log.close();
    expect(disk.openFiles.filter((path) => !path.endsWith("spare.tmp"))).toEqual([]);
    return disk;
  }

  test("notes all recovered records as synced, in the new segment and in the mark", async () => {
    const disk = await withVote();
    const log = await openLog(disk);
    const bytes = disk.readFile(`${LOG_FOLDER}/0000000002.segment`);
    const header = decodeSegmentHeader(bytes, IDENTITY);
    if ("refusal" in header) throw new Error(header.refusal);
    const records: unknown[] = [];
    scanSegment(bytes, header, ({ header: { kind, number, syncedThrough } }) =>
      records.push([kind, number, syncedThrough]),
    );
    expect(records).toEqual([["HARD_STATE", 3, 2]]);
    expect(readMark(disk.files, LOG_FOLDER)).toBe(3);
    expect(log.syncedThrough).toBe(3);
  });

  test("the mark is synced once for each segment, after its first sync", async () => {
    const disk = diskOf(1);
    const log = await openLog(disk);
    await settle(5);
    const syncs: string[] = [];
    disk.faults = {
      sync: (path) => {
        if (path.endsWith("mark")) syncs.push(path);
        return "done";
      },
    };
    for (const [index, size, expected] of [
      [1, 10, 1],
      [2, 10, 1],
      // This one begins the second segment.
      [3, 3_500, 2],
    ] as const) {
      write(log, entry(index, "x".repeat(size)));
      await log.flush();
      expect([index, syncs.length]).toEqual([index, expected]);
    }
  });
});

test("a closed log changes nothing and refuses everything", async () => {
  const log = await openLog(diskOf(1));
  write(log, entry(1));
  await log.close();
  const change = { hardState: { term: 9, vote: "n9" }, entries: [entry(2)], commitIndex: 1 };
  expect(() => log.write(change)).toThrow("Cannot use the log: it is closed");
  const base = { index: 9, term: 2, nextSequence: 20 };
  expect(() => log.restartBehind(base)).toThrow("Cannot use the log: it is closed");
  expect([log.hardState.term, log.lastIndex(), log.base.index]).toEqual([0, 1, 0]);
});

describe("listeners", () => {
  test("are notified of each sync, and once of the failure", async () => {
    const disk = diskOf(1);
    const log = await openLog(disk);
    await settle(5);
    const events: unknown[] = [];
    log.listen({
      synced: (through) => events.push(through),
      failed: (cause) => events.push(cause),
    });
    write(log, entry(1));
    log.requestSync();
    await settle();
    expect(events).toEqual([1]);
    disk.faults = { sync: () => "failed" };
    write(log, entry(2));
    log.requestSync();
    await settle();
    log.requestSync();
    await settle();
    expect(events).toHaveLength(2);
    expect(events[1]).toBeInstanceOf(StorageError);
    expect(() => write(log, entry(3))).toThrow(events[1] as StorageError);
    expect([log.lastIndex(), log.syncedThrough]).toEqual([2, 1]);
  });

  test("only the first failure counts, also when a running sync fails after it", async () => {
    const disk = diskOf(1);
    const log = await openLog(disk);
    await settle(5);
    const failures: unknown[] = [];
    log.listen({ synced: () => {}, failed: (cause) => failures.push(cause) });
    write(log, entry(1));
    const full = new StorageError("ENOSPC");
    disk.faults = { sync: () => "failed", write: () => full };
    log.requestSync();
    expect(() => write(log, entry(2))).toThrow(full);
    await settle();
    expect(failures).toEqual([full]);
    expect(await errorOf(log.flush())).toBe(full);
  });

  // An error that is none of ours gets a code, a cause and a message of its own.
  test("a foreign error of the disk becomes a StorageError that names it as its cause", async () => {
    const disk = diskOf(1);
    const log = await openLog(disk);
    await settle(5);
    const cause = new Error("EIO");
    disk.faults = { write: (path) => (path.endsWith(".segment") ? cause : undefined) };
    expect(() => write(log, entry(1))).toThrow(cause);
    const failure = await errorOf(log.flush());
    expect(failure).toBeInstanceOf(StorageError);
    expect(failure).toMatchObject({ message: "Cannot write the log", cause });
    await log.close();
  });

  test("a flush waits for its own records only", async () => {
    const disk = diskOf(1);
    const log = await openLog(disk);
    await settle(5);
    disk.faults = { sync: () => "stalled" };
    const done: string[] = [];
    write(log, entry(1));
    const first = log.flush().then(() => done.push("first"));
    write(log, entry(2));
    const second = log.flush().then(() => done.push("second"));
    disk.releaseStalled();
    await settle();
    expect(done).toEqual(["first"]);
    disk.faults = {};
    disk.releaseStalled();
    await Promise.all([first, second]);
    expect(done).toEqual(["first", "second"]);
    await log.flush();
    expect(log.syncedThrough).toBe(2);
  });
});

describe("entries from disk", () => {
  async function threeEntries(cacheBytes: number) {
    const disk = diskOf(1);
    const log = await openLog(disk, { cacheBytes });
    const entries = [1, 2, 3].map((index) => entry(index, "some text".repeat(10)));
    write(log, ...entries);
    await log.flush();
    return { disk, log, entries, size: entries[0]!.bytes.byteLength };
  }

  test.each([
    [1, 0, [1]],
    [1, 1, [1, 2]],
    [1, 2, [1, 2, 3]],
    [2, 0, [2]],
    [2, 1, [2, 3]],
    [3, 9, [3]],
  ])("from %i on, room for %i more: %j", async (from, more, indexes) => {
    const { log, size } = await threeEntries(1);
    const exact = (more + 1) * size;
    expect(log.readFromDisk(from, exact).map(({ index }) => index)).toEqual(indexes);
    expect(log.readFromDisk(from, 1).map(({ index }) => index)).toEqual([from]);
    const almost = log.readFromDisk(from, exact - 1).map(({ index }) => index);
    expect(almost).toEqual(more === 0 ? [from] : indexes.slice(0, Math.min(more, indexes.length)));
  });

  test("are those that were written, whether the memory holds them or not", async () => {
    for (const cacheBytes of [1, 10_000]) {
      const { log, entries } = await threeEntries(cacheBytes);
      expect(log.readFromDisk(1, 10_000)).toEqual(entries);
    }
    const { disk, log } = await threeEntries(10_000);
    disk.deleteFile(`${LOG_FOLDER}/0000000001.segment`);
    expect(log.readFromDisk(1, 10_000)).toHaveLength(3);
  });

  test("outside of the log are a mistake of the caller", async () => {
    const { log } = await threeEntries(1);
    expect(() => log.readFromDisk(0, 1)).toThrow("the first wanted entry is kept");
    expect(() => log.readFromDisk(4, 1)).toThrow("the first wanted entry was written");
  });

  // History: a batch that verified was taken for the wanted entry without a look at its index.
  test("another entry of the same size at that place is refused", async () => {
    const { disk, log, entries } = await threeEntries(1);
    const path = `${LOG_FOLDER}/0000000001.segment`;
    const bytes = disk.readFile(path);
    const [first, second] = entries.map(({ bytes: batch }) => Buffer.from(bytes).indexOf(batch));
    bytes.set(entries[1]!.bytes, first);
    disk.writeFile(path, bytes);
    expect(() => log.readFromDisk(1, 1)).toThrow(CorruptionError);
    expect(() => log.readFromDisk(1, 1)).toThrow("entry 2 of term 1 stands there");
    expect(log.readFromDisk(2, 1)).toEqual([entries[1]!]);
    expect(second).toBeGreaterThan(first!);
  });
});

describe("removal of files", () => {
  async function segmented() {
    const disk = diskOf(1);
    const log = await openLog(disk, { segmentSizeBytes: 1024 });
    for (let index = 1; index <= 6; index += 1) write(log, entry(index, "x".repeat(200)));
    await log.flush();
    await settle(5);
    return { disk, log };
  }

  test("a restart behind a snapshot removes all files before the new head, durably", async () => {
    const { disk, log } = await segmented();
    expect(segmentsOn(disk)).toHaveLength(6);
    const record = log.restartBehind({ index: 9, term: 2, nextSequence: 20 });
    expect([log.firstIndex(), log.lastIndex(), log.getCurrentSequence()]).toEqual([10, 9, 19]);
    expect(segmentsOn(disk)).toHaveLength(7);
    await settle(20);
    expect(log.syncedThrough).toBe(record);
    expect(segmentsOn(disk)).toEqual(["0000000007.segment"]);
    disk.cutPower(() => "dropped");
    const again = await openLog(disk, { segmentSizeBytes: 1024 });
    expect([again.base, again.lastIndex()]).toEqual([{ index: 9, term: 2, nextSequence: 20 }, 9]);
  });

  test("a restart behind an entry of the log drops those behind it, also at the next start", async () => {
    const { disk, log } = await segmented();
    log.restartBehind({ index: 3, term: 1, nextSequence: 7 });
    // Without the removal of the older files.
    disk.faults = { sync: () => "stalled" };
    log.requestSync();
    disk.killProcess();
    disk.faults = {};
    const again = await openLog(disk, { segmentSizeBytes: 1024 });
    expect([again.firstIndex(), again.lastIndex(), again.getCurrentSequence()]).toEqual([4, 3, 6]);
  });

  test("a log that fails before its sync ends removes nothing", async () => {
    const { disk, log } = await segmented();
    disk.faults = { sync: () => "failed" };
    log.restartBehind({ index: 9, term: 2, nextSequence: 20 });
    expect(await errorOf(log.flush())).toBeInstanceOf(StorageError);
    await settle(20);
    expect(segmentsOn(disk)).toHaveLength(7);
  });

  test("copies of torn tails go with their segments", async () => {
    const { disk, log } = await segmented();
    for (const name of ["0000000001.segment.torn", "0000000002.segment.3.torn", "note.torn"]) {
      disk.writeFile(`${LOG_FOLDER}/${name}`, new Uint8Array(1));
    }
    disk.writeFile(`${LOG_FOLDER}/0000000006.segment.torn`, new Uint8Array(1));
    await log.compactTo({ index: 5, term: 1, nextSequence: 11 });
    const left = disk.files.list(LOG_FOLDER).filter((name) => /torn|segment/.test(name));
    expect(left).toEqual([
      "0000000006.segment",
      "0000000006.segment.torn",
      "0000000007.segment",
      "note.torn",
    ]);
  });

  test("a base that is not ahead changes nothing", async () => {
    const { disk, log } = await segmented();
    await log.compactTo({ index: 2, term: 1, nextSequence: 5 });
    const before = [segmentsOn(disk), log.syncedThrough];
    await log.compactTo({ index: 2, term: 1, nextSequence: 5 });
    await log.compactTo({ index: 1, term: 1, nextSequence: 3 });
    expect([segmentsOn(disk), log.syncedThrough]).toEqual(before);
    expect(log.base.index).toBe(2);
  });
});

test("a checkpoint is named by the operation and the record that it follows", async () => {
  const log = await openLog(diskOf(1), { owner: "consensus" });
  write(log, entry(1));
  expect(await log.createCheckpoint()).toEqual({
    checkpointId: "checkpoint-2-2",
    timestamp: standingClock.wallMs(),
    sequenceNumber: 2,
    transactionIds: [],
  });
  expect((await log.createCheckpoint()).checkpointId).toBe("checkpoint-2-3");
});
