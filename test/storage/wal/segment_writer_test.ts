/**
 * Writing: rolling from segment to segment, what stands at the head of each, the spare, and which
 * files a compaction takes.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import type { Clock } from "../../../src/platform/clock.ts";
import type { HardState } from "../../../src/raft/types.ts";
import { decodeSegmentHeader, type SegmentHeader } from "../../../src/storage/wal/segment.ts";
import type { SegmentLog } from "../../../src/storage/wal/segment_log.ts";
import { scanSegment } from "../../../src/storage/wal/segment_scan.ts";
import { type PendingRecord, SegmentWriter } from "../../../src/storage/wal/segment_writer.ts";
import { inspectSegments } from "../../../src/storage/wal/wal_open.ts";
import type { SimulatedDisk } from "../fake_disk.ts";
import {
  describeLog,
  diskOf,
  entryAt,
  errorOf,
  IDENTITY,
  LOG_FOLDER,
  openLog,
  platformOn,
  settle,
  standingClock,
} from "../log_fixture.ts";

interface Written {
  readonly header: SegmentHeader;
  readonly kinds: readonly string[];
  readonly syncedThrough: readonly number[];
  readonly size: number;
}

function segments(disk: SimulatedDisk): ReadonlyMap<string, Written> {
  const found = new Map<string, Written>();
  for (const name of disk.files.list(LOG_FOLDER)) {
    if (!name.endsWith(".segment")) continue;
    const bytes = disk.readFile(`${LOG_FOLDER}/${name}`);
    const header = decodeSegmentHeader(bytes, IDENTITY);
    if ("refusal" in header) throw new Error(`${name}: ${header.refusal}`);
    const kinds: string[] = [];
    const syncedThrough: number[] = [];
    scanSegment(bytes, header, (record) => {
      kinds.push(record.header.kind);
      syncedThrough.push(record.header.syncedThrough);
    });
    found.set(name.slice(0, 10).replace(/^0+/, ""), {
      header,
      kinds,
      syncedThrough,
      size: bytes.byteLength,
    });
  }
  return found;
}

function append(
  log: SegmentLog,
  index: number,
  more: { readonly size?: number; readonly hardState?: HardState } = {},
): number {
  const { size = 10, hardState } = more;
  const entries = [entryAt({ term: 1, index, firstSequence: index }, ["x".repeat(size)])];
  return log.write({ hardState, entries, commitIndex: 0 });
}

describe("rolling", () => {
  test("a record that does not fit begins the next segment; the chain goes on", async () => {
    const disk = diskOf(1);
    const log = await openLog(disk, { segmentSizeBytes: 1280 });
    for (let index = 1; index <= 5; index += 1) append(log, index);
    await log.flush();
    const found = segments(disk);
    expect([...found.keys()]).toEqual(["1", "2", "3"]);
    expect([...found.values()].map(({ kinds }) => kinds.length)).toEqual([2, 2, 1]);
    expect([...found.values()].map(({ header }) => header.firstRecord)).toEqual([1, 3, 5]);
    expect([...found.values()].map(({ header }) => header.lastIndex)).toEqual([0, 2, 4]);
    expect(new Set([...found.values()].map(({ header }) => header.salt)).size).toBe(3);
    const verdict = inspectSegments(
      disk.files,
      { directory: LOG_FOLDER, identity: IDENTITY },
      () => {},
    );
    expect([verdict.kept.length, verdict.nextNumber]).toEqual([3, 6]);
  });

  test("a record larger than a segment gets one of its own that is longer", async () => {
    const disk = diskOf(1);
    const log = await openLog(disk, { segmentSizeBytes: 1024 });
    append(log, 1);
    append(log, 2, { size: 5_000 });
    append(log, 3);
    await log.flush();
    const found = segments(disk);
    expect([...found.values()].map(({ kinds }) => kinds)).toEqual([
      ["BATCH"],
      ["BATCH"],
      ["BATCH"],
    ]);
    expect(found.get("2")?.size).toBeGreaterThan(5_000);
    const state = describeLog(log);
    await log.close();
    expect(describeLog(await openLog(disk, { segmentSizeBytes: 1024 }))).toBe(state);
  });

  // [no head records] [head not repeated]
  test("each segment begins with term and vote as they are then, and the log's head", async () => {
    const disk = diskOf(1);
    const log = await openLog(disk, { segmentSizeBytes: 1024 });
    append(log, 1, { hardState: { term: 4, vote: "n2" } });
    append(log, 2);
    append(log, 3, { hardState: { term: 5, vote: undefined } });
    await log.flush();
    await log.compactTo({ index: 1, term: 1, nextSequence: 2 });
    for (let index = 4; index <= 7; index += 1) append(log, index);
    await log.flush();
    const found = [...segments(disk).values()].map(({ kinds }) => kinds);
    expect(found[0]?.[0]).toBe("HARD_STATE");
    expect(found.slice(1).every(([first]) => first === "HARD_STATE")).toBe(true);
    expect(found.at(-1)?.slice(0, 2)).toEqual(["HARD_STATE", "HEAD"]);
    await log.close();
    const again = await openLog(disk);
    expect(again.hardState).toEqual({ term: 5, vote: undefined });
    expect(again.base).toEqual({ index: 1, term: 1, nextSequence: 2 });
  });

  // [syncedThrough off by one]
  test("a record says what was synced when it was written", async () => {
    const disk = diskOf(1);
    const log = await openLog(disk);
    append(log, 1);
    append(log, 2);
    await log.flush();
    append(log, 3);
    const flushed = log.flush();
    append(log, 4);
    await flushed;
    append(log, 5);
    expect(segments(disk).get("1")?.syncedThrough).toEqual([0, 0, 2, 2, 3]);
  });

  test("entries of one write that spread over segments are all there", async () => {
    const disk = diskOf(1);
    const log = await openLog(disk, { segmentSizeBytes: 1024 });
    const entries = Array.from({ length: 20 }, (_, i) =>
      entryAt({ term: 1, index: i + 1, firstSequence: i + 1 }, [i]),
    );
    const record = log.write({ hardState: { term: 1, vote: "n1" }, entries, commitIndex: 0 });
    expect(record).toBe(log.syncedThrough + record);
    await log.flush();
    expect(log.syncedThrough).toBe(record);
    const read = Array.from({ length: 20 }, (_, i) => log.readFromDisk(i + 1, 1)[0]?.bytes);
    expect(read).toEqual(entries.map(({ bytes }) => bytes));
  });
});

describe("the spare", () => {
  test("is filled with zeros and synced before it gets a name", async () => {
    const disk = diskOf(1);
    const log = await openLog(disk, { segmentSizeBytes: 4096 });
    await settle(5);
    expect(disk.readFile(`${LOG_FOLDER}/spare.tmp`)).toEqual(new Uint8Array(4096));
    for (let index = 1; index <= 12; index += 1) append(log, index, { size: 200 });
    expect(segments(disk).get("2")?.size).toBe(4096);
    await log.flush();
  });

  test("without one a segment grows, and one left behind by a crash is not used", async () => {
    const disk = diskOf(1);
    const log = await openLog(disk, { segmentSizeBytes: 4096 });
    await settle(5);
    disk.writeFile(`${LOG_FOLDER}/spare.tmp`, new Uint8Array(4096).fill(7));
    disk.killProcess();
    disk.faults = {
      write: (path) => (path.endsWith("spare.tmp") ? new Error("no room for it") : undefined),
    };
    const again = await openLog(disk, { segmentSizeBytes: 4096 });
    for (let index = 1; index <= 12; index += 1) append(again, index, { size: 200 });
    await again.flush();
    const sizes = [...segments(disk).values()].map(({ size }) => size);
    expect(sizes.at(-1)).toBeLessThan(4096);
    expect(again.lastIndex()).toBe(12);
    expect(log.lastIndex()).toBe(0);
  });
});

describe("a compaction", () => {
  async function tenEntries(
    segmentSizeBytes = 1024,
  ): Promise<{ disk: SimulatedDisk; log: SegmentLog }> {
    const disk = diskOf(1);
    const log = await openLog(disk, { segmentSizeBytes });
    append(log, 1, { hardState: { term: 2, vote: "n3" } });
    for (let index = 2; index <= 10; index += 1) append(log, index);
    await log.flush();
    return { disk, log };
  }

  // [compaction removes one file too many]
  test.each([0, 1, 2, 5, 9, 10])("to %i removes what is not needed, and no more", async (index) => {
    const { disk, log } = await tenEntries();
    const before = segments(disk);
    await log.compactTo({ index, term: 1, nextSequence: index + 1 });
    const after = [...segments(disk).keys()];
    // The oldest needed file holds the first kept entry; without one only the newest stays.
    const holds = [...before].filter(([, { header }]) => header.lastIndex <= index);
    const needed = index === 10 ? after.at(-1) : holds.at(-1)?.[0];
    expect(after[0]).toBe(needed);
    const state = describeLog(log);
    await log.close();
    const again = await openLog(disk, { segmentSizeBytes: 1024 });
    expect(describeLog(again)).toBe(state);
    expect(again.hardState).toEqual({ term: 2, vote: "n3" });
    expect([again.firstIndex(), again.lastIndex()]).toEqual([index + 1, 10]);
  });

  // History: the oldest kept file began in the middle, and the start was refused because its first
  // batch followed none.
  // [superseded in the oldest file lost]
  const sizes = [1024, 1536, 2048, 3072];
  test.each(sizes)("and again, over superseded entries, in files of %i bytes", async (size) => {
    const { disk, log } = await tenEntries(size);
    for (let index = 6; index <= 14; index += 1) {
      const entry = entryAt({ term: 3, index, firstSequence: index }, ["again"]);
      log.write({ hardState: undefined, entries: [entry], commitIndex: 0 });
    }
    for (const index of [3, 5, 6, 8, 13]) {
      const term = index > 5 ? 3 : 1;
      await log.compactTo({ index, term, nextSequence: index + 1 });
      const state = describeLog(log);
      const copy = disk.clone();
      copy.cutPower(() => "dropped");
      expect(describeLog(await openLog(copy, { segmentSizeBytes: 1024 }))).toBe(state);
    }
  });

  test("behind the last entry leaves an empty log that goes on there", async () => {
    const { disk, log } = await tenEntries();
    await log.compactTo({ index: 20, term: 2, nextSequence: 31 });
    expect([log.firstIndex(), log.lastIndex(), log.sequenceAfter(20)]).toEqual([21, 20, 31]);
    const entry = entryAt({ term: 2, index: 21, firstSequence: 31 }, ["next"]);
    log.write({ hardState: undefined, entries: [entry], commitIndex: 20 });
    await log.close();
    const again = await openLog(disk, { segmentSizeBytes: 1024 });
    expect([again.firstIndex(), again.lastIndex(), again.recoveredCommit]).toEqual([21, 21, 20]);
    expect(again.base).toEqual({ index: 20, term: 2, nextSequence: 31 });
  });

  // [HEAD after removal]
  test("removes nothing before its head is synced", async () => {
    const { disk, log } = await tenEntries();
    const before = [...segments(disk).keys()];
    disk.faults = { sync: () => "failed" };
    const refused = await errorOf(log.compactTo({ index: 9, term: 1, nextSequence: 10 }));
    expect(refused).toMatchObject({ code: "STORAGE" });
    expect([...segments(disk).keys()].slice(0, before.length)).toEqual(before);
  });

  // [oldest asked after the flush]
  // History: a compaction looked for its oldest file after it had waited for its sync, and found
  // entries that were written meanwhile and were not durable.
  test("does not count on entries written while it waits for its sync", async () => {
    const { disk, log } = await tenEntries();
    const done = log.compactTo({ index: 2, term: 1, nextSequence: 3 });
    const entry = entryAt({ term: 3, index: 3, firstSequence: 3 }, ["not synced"]);
    log.write({ hardState: undefined, entries: [entry], commitIndex: 0 });
    await done;
    disk.cutPower(() => "dropped");
    const again = await openLog(disk, { segmentSizeBytes: 1024 });
    expect([again.firstIndex(), again.lastIndex(), again.term(3)]).toEqual([3, 10, 1]);
  });
});

describe("the writer alone", () => {
  const NOTE = { kind: "CHECKPOINT", body: new Uint8Array(10) } as const;
  const STATE = { syncedThrough: 0, commitIndex: 0 };

  /** A writer over segments of 1024 bytes: four notes each. Its clock is set by the test. */
  async function written(headRecords: () => readonly PendingRecord[] = () => []) {
    const disk = diskOf(1);
    disk.makeFolder(LOG_FOLDER);
    const time = { nowMs: 0 };
    const timers: { delayMs: number; isCancelled: boolean; run(): void }[] = [];
    const clock: Clock = {
      ...standingClock,
      nowMs: () => time.nowMs,
      setTimer: (delayMs, run) => {
        const timer = { delayMs, isCancelled: false, run };
        timers.push(timer);
        return () => {
          timer.isCancelled = true;
        };
      },
    };
    const writer = new SegmentWriter(
      { ...platformOn(disk), clock },
      {
        ...{ directory: LOG_FOLDER, segmentSize: 1024, identity: IDENTITY },
        ...{ headRecords, lastIndex: () => 0 },
      },
      { nextNumber: 5, nextChain: 9n, nextSegmentNumber: 3 },
    );
    expect([writer.segmentNumber, writer.lastNumber]).toEqual([0, 4]);
    await writer.start({ syncedThrough: 4, commitIndex: 0 });
    const steps: string[] = [];
    const nameOf = (path: string): string => path.replace(`${LOG_FOLDER}/`, "").slice(-11);
    const watch = (): void => {
      disk.faults = {
        sync: (path) => {
          steps.push(`sync ${nameOf(path)}`);
          return "done";
        },
        write: (path, at, size) => {
          steps.push(`write ${nameOf(path)} ${at} ${size}`);
          return undefined;
        },
      };
    };
    await settle(5);
    return { disk, writer, time, timers, steps, watch };
  }

  test("starts with the given numbers, and with nothing to sync", async () => {
    const { disk, writer } = await written();
    expect([writer.segmentNumber, writer.lastNumber]).toEqual([3, 4]);
    const [header] = [...segments(disk).values()].map((segment) => segment.header);
    expect(header).toMatchObject({ segmentNumber: 3, firstRecord: 5, previousChain: 9n });
    disk.cutPower(() => "dropped");
    expect([...segments(disk).keys()]).toEqual(["3"]);
  });

  test("records that fit together are one write; their places are those on disk", async () => {
    const { disk, writer, steps, watch } = await written();
    watch();
    const more = { ...NOTE, body: new Uint8Array(100) };
    expect(writer.append([NOTE, more, NOTE], STATE)).toEqual([
      { number: 5, segmentNumber: 3, bodyAt: 512 + 64 },
      { number: 6, segmentNumber: 3, bodyAt: 512 + 128 + 64 },
      { number: 7, segmentNumber: 3, bodyAt: 512 + 128 + 192 + 64 },
    ]);
    expect(steps).toEqual(["write 003.segment 512 448"]);
    expect(writer.lastNumber).toBe(7);
    expect(segments(disk).get("3")?.kinds.length).toBe(3);
  });

  test("the bytes between a body and the next record are zero", async () => {
    const { disk, writer } = await written();
    writer.append([{ ...NOTE, body: new Uint8Array(64).fill(255) }], STATE);
    writer.append([{ ...NOTE, body: new Uint8Array(10).fill(255) }], STATE);
    const bytes = disk.readFile(`${LOG_FOLDER}/0000000003.segment`);
    expect(bytes.slice(640 + 74)).toEqual(new Uint8Array(1024 - 714));
  });

  test("records that do not fit begin the next segment, behind its head", async () => {
    const head = { kind: "HARD_STATE", body: new Uint8Array(9) } as const;
    const { disk, writer } = await written(() => [head]);
    // Three notes more fill the segment; the next ones come behind the head of the next.
    const places = writer.append([NOTE, NOTE, NOTE, NOTE, NOTE], STATE);
    expect(
      places.map(({ number, segmentNumber, bodyAt }) => [number, segmentNumber, bodyAt]),
    ).toEqual([
      [6, 3, 704],
      [7, 3, 832],
      [8, 3, 960],
      [10, 4, 704],
      [11, 4, 832],
    ]);
    const found = [...segments(disk).values()];
    expect(found.map(({ kinds }) => kinds)).toEqual([
      ["HARD_STATE", "CHECKPOINT", "CHECKPOINT", "CHECKPOINT"],
      ["HARD_STATE", "CHECKPOINT", "CHECKPOINT"],
    ]);
    expect(found.map(({ size }) => size)).toEqual([1024, 1024]);
    expect(found[1]?.header).toMatchObject({ firstRecord: 9 });
  });

  test("a sync takes one file as long as no segment was begun, then all and the directory", async () => {
    const { disk, writer, steps, watch } = await written();
    watch();
    writer.append([NOTE], STATE);
    await writer.sync();
    expect(steps.filter((step) => step.startsWith("sync"))).toEqual(["sync 003.segment"]);
    writer.append([NOTE, NOTE, NOTE, NOTE], STATE);
    steps.length = 0;
    // The spare of the next segment is filled beside it.
    await writer.sync();
    const own = steps.filter((step) => step.startsWith("sync") && !step.includes("spare"));
    expect(own).toEqual(["sync 003.segment", "sync 004.segment", "sync data/wal"]);
    await settle(5);
    expect(disk.openFiles.length).toBe(1);
    steps.length = 0;
    writer.append([NOTE], STATE);
    await writer.sync();
    expect(steps.filter((step) => step.startsWith("sync"))).toHaveLength(1);
  });

  test("a spare is filled at once when a segment lasted long enough, else later", async () => {
    const { disk, writer, time, timers } = await written();
    const spare = `${LOG_FOLDER}/spare.tmp`;
    const fill = (): void => void writer.append([NOTE, NOTE, NOTE, NOTE], STATE);
    expect([disk.files.exists(spare), timers.length]).toEqual([true, 0]);
    fill();
    time.nowMs = 4_999;
    fill();
    await settle(5);
    // The spare was used, and the next one waits for its timer.
    expect([disk.files.exists(spare), timers.length, timers[0]?.delayMs]).toEqual([
      false,
      1,
      5_000,
    ]);
    timers[0]?.run();
    await settle(5);
    expect(disk.files.exists(spare)).toBe(true);
    time.nowMs += 5_000;
    fill();
    await settle(5);
    expect([disk.files.exists(spare), timers.length, timers[0]?.isCancelled]).toEqual([
      true,
      1,
      true,
    ]);
  });

  test("close closes all its files, cancels the spare, and fills none after it", async () => {
    const { disk, writer, timers } = await written();
    for (let i = 0; i < 3; i += 1) writer.append([NOTE, NOTE, NOTE, NOTE], STATE);
    expect(disk.openFiles.length).toBeGreaterThan(2);
    writer.close();
    expect([disk.openFiles, timers.map(({ isCancelled }) => isCancelled)]).toEqual([
      [],
      timers.map(() => true),
    ]);
    timers.at(-1)?.run();
    await settle(5);
    expect(disk.files.exists(`${LOG_FOLDER}/spare.tmp`)).toBe(false);
    expect(() => writer.append([NOTE], STATE)).toThrow("an open log is written to");
  });
});
