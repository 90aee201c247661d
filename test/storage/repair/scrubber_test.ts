/**
 * The scrubber: each rotten byte in a sealed segment or a snapshot is reported with its place and
 * the entries there; nothing else is reported.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { StorageError } from "../../../src/base/errors.ts";
import type { Clock } from "../../../src/platform/clock.ts";
import type { FileSystem } from "../../../src/platform/file_system.ts";
import { decodeBatchHeader } from "../../../src/protocol/encoding/batch_codec.ts";
import {
  Scrubber,
  type ScrubDamage,
  type ScrubOptions,
} from "../../../src/storage/repair/scrubber.ts";
import { SnapshotStore } from "../../../src/storage/snapshot_store.ts";
import { tailRecord } from "../../../src/storage/wal/log_rebuild.ts";
import { decodeSegmentHeader } from "../../../src/storage/wal/segment.ts";
import { scanSegment } from "../../../src/storage/wal/segment_scan.ts";
import { seeded } from "../../protocol/fuzz_seed.ts";
import type { SimulatedDisk } from "../fake_disk.ts";
import {
  boundFiles,
  closedLog,
  diskOf,
  entryAt,
  IDENTITY,
  LOG_FOLDER,
  openLog,
  platformOn,
  settle,
} from "../log_fixture.ts";
import { batchRecord, NOTE, writeSegment } from "../segment_fixture.ts";

const SNAPSHOTS = "data/snapshots";

/** Time that advances by calls of {@link ManualClock.step}. */
class ManualClock implements Clock {
  now = 0;
  timers: { readonly atMs: number; readonly callback: () => void }[] = [];

  nowMs(): number {
    return this.now;
  }

  wallMs(): number {
    return Math.floor(1_700_000_000_000 + this.now);
  }

  setTimer(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.now + delayMs, callback };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((other) => other !== timer);
    };
  }

  soon(callback: () => void): void {
    queueMicrotask(callback);
  }

  /** Lets the next timer fire; false when there is none before `limitMs`. */
  async step(limitMs: number): Promise<boolean> {
    await settle(1);
    const next = this.timers.toSorted((a, b) => a.atMs - b.atMs)[0];
    if (next === undefined || next.atMs > limitMs) return false;
    this.timers = this.timers.filter((timer) => timer !== next);
    this.now = Math.max(this.now, next.atMs);
    next.callback();
    await settle(1);
    return true;
  }
}

interface Scrubbing {
  readonly scrubber: Scrubber;
  readonly clock: ManualClock;
  readonly damages: ScrubDamage[];
}

function scrubbing(
  disk: SimulatedDisk,
  options: Partial<ScrubOptions> & { readonly files?: FileSystem } = {},
): Scrubbing {
  const { files = disk.files, ...rest } = options;
  const clock = new ManualClock();
  const damages: ScrubDamage[] = [];
  const scrubber = new Scrubber(
    { ...platformOn(disk), files, clock },
    {
      logDirectory: LOG_FOLDER,
      snapshotDirectory: SNAPSHOTS,
      identity: IDENTITY,
      damaged: (damage) => damages.push(damage),
      ...rest,
    },
  );
  return { scrubber, clock, damages };
}

/** One full pass. */
async function scrubOnce(
  disk: SimulatedDisk,
  options: Parameters<typeof scrubbing>[1] = {},
): Promise<readonly ScrubDamage[]> {
  const { scrubber, clock, damages } = scrubbing(disk, options);
  scrubber.start();
  while (scrubber.status().fullPasses === 0) {
    if (!(await clock.step(1_000_000))) break;
  }
  expect(scrubber.status().fullPasses).toBe(1);
  expect(scrubber.status().lastPassDamages).toBe(damages.length);
  await scrubber.stop();
  expect(clock.timers).toEqual([]);
  return damages;
}

interface Placed {
  readonly path: string;
  readonly at: number;
  readonly size: number;
  readonly kind: string;
  readonly index: number | undefined;
}

/** Every record of the sealed segments. */
function sealedRecords(disk: SimulatedDisk): Placed[] {
  const placed: Placed[] = [];
  const names = disk.files.list(LOG_FOLDER).filter((name) => name.endsWith(".segment"));
  for (const name of names.slice(0, -1)) {
    const path = `${LOG_FOLDER}/${name}`;
    const bytes = disk.readFile(path);
    const header = decodeSegmentHeader(bytes, IDENTITY);
    if ("refusal" in header) throw new Error(header.refusal);
    scanSegment(bytes, header, ({ header: { kind }, at, body }) => {
      const index = kind === "BATCH" ? decodeBatchHeader(body).index : undefined;
      placed.push({ path, at, size: body.byteLength, kind, index });
    });
  }
  return placed;
}

async function snapshotsOn(disk: SimulatedDisk, indexes: readonly number[]): Promise<void> {
  const store = new SnapshotStore(platformOn(disk), SNAPSHOTS, IDENTITY.clusterId);
  for (const index of indexes) {
    const blocks = [1, 2, 3].map((fill) => new Uint8Array(100).fill(fill));
    await store.write({ index, term: 1, nextSequence: index * 2 + 1 }, blocks);
  }
}

describe("a log", () => {
  test("that is whole: nothing is reported, all sealed bytes are read", async () => {
    const { disk } = await closedLog();
    const { scrubber, clock, damages } = scrubbing(disk);
    scrubber.start();
    scrubber.start();
    while (await clock.step(1_000));
    const files = disk.files.list(LOG_FOLDER).filter((name) => name.endsWith(".segment"));
    const size = files.slice(0, -1).reduce((sum, name) => {
      return sum + disk.readFile(`${LOG_FOLDER}/${name}`).byteLength - 512;
    }, 0);
    expect(damages).toEqual([]);
    expect(scrubber.status()).toEqual({
      isRunning: true,
      bytesScrubbed: size,
      fullPasses: 1,
      lastPassMs: clock.wallMs(),
      lastPassDamages: 0,
      damages: 0,
    });
    await scrubber.stop();
    expect(scrubber.status().isRunning).toBe(false);
  });

  // Mutations that this finds: a checksum that is not compared, a chain that is not followed across
  // a segment's end, an entry range that is off by one.
  test("a flipped byte in each part of a record is reported with the record and its entry", async () => {
    const { disk } = await closedLog();
    const records = sealedRecords(disk);
    expect(records.filter(({ kind }) => kind === "BATCH").length).toBeGreaterThan(5);
    for (const record of records) {
      for (const offset of [0, 5, 9, 20, 33, 63, 64, 64 + record.size - 1]) {
        const copy = disk.clone();
        copy.rot(record.path, record.at + offset);
        const damages = await scrubOnce(copy);
        expect(damages.length).toBe(1);
        expect(damages[0]).toMatchObject({ file: record.path, byte: record.at });
        if (offset < 64 || record.index === undefined) continue;
        // The body is bad, so the record's own header says what it is; the batch's may be gone.
        const { entries } = damages[0]!;
        if (offset === 64) expect([undefined, record.index]).toContain(entries?.last);
        else expect(entries).toEqual({ first: record.index, last: record.index });
      }
    }
  });

  test("a hole of several entries is reported with all of them", async () => {
    const disk = diskOf(3);
    const log = await openLog(disk, { segmentSizeBytes: 4096 });
    for (let index = 1; index <= 30; index += 1) {
      const entry = entryAt({ term: 1, index, firstSequence: index });
      log.write({ hardState: undefined, entries: [entry], commitIndex: index - 1 });
    }
    await log.close();
    const batches = sealedRecords(disk).filter(({ kind }) => kind === "BATCH");
    const [from, to] = [batches[2]!, batches[5]!];
    expect(from.path).toBe(to.path);
    for (let byte = from.at; byte < to.at; byte += 1) disk.rot(from.path, byte);
    const [inside, ...rest] = await scrubOnce(disk);
    expect(rest).toEqual([]);
    expect(inside).toMatchObject({ byte: from.at, entries: { first: 3, last: 5 } });

    // The end of a segment: only the next one's header tells what stood there.
    const last = batches.findLastIndex(({ path }) => path === from.path);
    const { at, size } = batches[last]!;
    for (let byte = at; byte < at + 64 + size; byte += 1) disk.rot(from.path, byte);
    const [, atEnd] = await scrubOnce(disk);
    expect(atEnd).toMatchObject({ byte: at, entries: { first: last + 1, last: last + 1 } });
  });

  // A file that is bad throughout must not flood the log: 16 places of it are reported.
  test.each([
    ["bodies", 64 + 100],
    ["headers", 9],
  ])("many bad %s: a bounded number of places in one file is reported", async (_what, offset) => {
    const disk = diskOf(3);
    const log = await openLog(disk, { segmentSizeBytes: 16_384 });
    for (let index = 1; index <= 100; index += 1) {
      const entry = entryAt({ term: 1, index, firstSequence: index });
      log.write({ hardState: undefined, entries: [entry], commitIndex: index - 1 });
    }
    await log.close();
    const records = sealedRecords(disk);
    const inFirst = records.filter(({ path }) => path === records[0]!.path);
    expect(inFirst.length).toBeGreaterThan(2 * 17);
    // Every second one, so that each bad header is a place of its own.
    const bad = inFirst.filter((_record, i) => i % 2 === 0).slice(0, 17);
    for (const { path, at } of bad.slice(0, 16)) disk.rot(path, at + offset);
    expect((await scrubOnce(disk)).map(({ byte }) => byte)).toEqual(
      bad.slice(0, 16).map(({ at }) => at),
    );
    disk.rot(bad[16]!.path, bad[16]!.at + offset);
    expect(await scrubOnce(disk)).toHaveLength(16);
  });

  test("a segment's header, and a segment that is missing, are reported", async () => {
    const { disk } = await closedLog();
    const [first, second, third] = disk.files.list(LOG_FOLDER).filter((name) => {
      return name.endsWith(".segment");
    });
    const copy = disk.clone();
    copy.rot(`${LOG_FOLDER}/${second}`, 17);
    expect(await scrubOnce(copy)).toEqual([
      {
        file: `${LOG_FOLDER}/${second}`,
        byte: 0,
        problem: "the header's checksum does not match",
        entries: undefined,
      },
    ]);

    disk.deleteFile(`${LOG_FOLDER}/${second}`);
    const [missing, ...others] = await scrubOnce(disk);
    expect(others).toEqual([]);
    expect(missing).toMatchObject({ file: `${LOG_FOLDER}/${first}`, byte: 0 });
    expect(missing?.problem).toContain(`segment ${Number.parseInt(third!, 10) - 1} is missing`);
  });

  test("the segment that is written to is left alone", async () => {
    const { disk } = await closedLog();
    const last = disk.files.list(LOG_FOLDER).findLast((name) => name.endsWith(".segment"));
    for (let byte = 512; byte < 900; byte += 1) disk.rot(`${LOG_FOLDER}/${last}`, byte);
    expect(await scrubOnce(disk)).toEqual([]);
  });

  test("a file that the disk cannot read is reported, and the others are read", async () => {
    const { disk } = await closedLog();
    const { files } = disk;
    const broken = sealedRecords(disk)[0]!.path;
    const later = sealedRecords(disk).at(-1)!;
    disk.rot(later.path, later.at);
    const open: FileSystem["open"] = (path, mode) => {
      if (path === broken) throw new StorageError(`Cannot read "${path}": EIO`);
      return files.open(path, mode);
    };
    const failing = { ...boundFiles(files), open };
    const damages = await scrubOnce(disk, { files: failing });
    expect(damages.map(({ file }) => file)).toEqual([broken, later.path]);
    expect(damages[0]).toEqual({
      ...{ file: broken, byte: 0, entries: undefined },
      problem: expect.stringContaining("EIO"),
    });
  });

  // Entries behind a tail begin again with its index.
  test("a hole behind a tail is reported with the entries that came after it", async () => {
    const disk = diskOf(1);
    disk.makeFolder(LOG_FOLDER);
    const batches = [1, 2, 3].map((index) => batchRecord(index));
    const records = [...batches, tailRecord(2), batchRecord(2, 2), batchRecord(3, 2)];
    const first = writeSegment(disk, { number: 1, first: 1, records });
    const { chain } = first;
    writeSegment(disk, { number: 2, first: 7, records: [NOTE], chain, lastIndex: 3 });
    disk.rot(first.path, first.places[4]! + 9);
    expect(await scrubOnce(disk)).toMatchObject([
      { byte: first.places[4]!, entries: { first: 2, last: 2 } },
    ]);
  });

  test("a directory that the disk cannot list is reported, and the other one is read", async () => {
    const { disk } = await closedLog();
    await snapshotsOn(disk, [2]);
    const { files } = disk;
    const list: FileSystem["list"] = (path) => {
      if (path === LOG_FOLDER) throw new StorageError("Cannot list: EIO");
      return files.list(path);
    };
    disk.rot(`${SNAPSHOTS}/0000000000000002.snapshot`, 60);
    const damages = await scrubOnce(disk, { files: { ...boundFiles(files), list } });
    expect(damages.map(({ file, byte, problem }) => [file, byte, problem])).toEqual([
      [LOG_FOLDER, 0, "Cannot list: EIO"],
      [`${SNAPSHOTS}/0000000000000002.snapshot`, 48, expect.any(String)],
    ]);
  });

  test("the bytes of snapshots count as those of their blocks", async () => {
    const disk = diskOf(1);
    await snapshotsOn(disk, [2, 6]);
    const { scrubber, clock } = scrubbing(disk);
    scrubber.start();
    while (scrubber.status().fullPasses === 0) await clock.step(1_000);
    expect(scrubber.status().bytesScrubbed).toBe(2 * 3 * 100);
    await scrubber.stop();
  });

  test("segments and snapshots that are removed while they are read are no damage", async () => {
    const { disk } = await closedLog();
    await snapshotsOn(disk, [2, 6]);
    const names = disk.files.list(LOG_FOLDER).filter((name) => name.endsWith(".segment"));
    for (const path of [
      ...names.slice(0, -1).map((name) => `${LOG_FOLDER}/${name}`),
      ...disk.files.list(SNAPSHOTS).map((name) => `${SNAPSHOTS}/${name}`),
    ]) {
      const copy = disk.clone();
      copy.rot(path, 600 % copy.readFile(path).byteLength);
      // It goes in the first pause after it was opened.
      const { files } = copy;
      let isGone = false;
      const open: FileSystem["open"] = (name, mode) => {
        const file = files.open(name, mode);
        if (name === path && !isGone) queueMicrotask(() => copy.deleteFile(path));
        isGone ||= name === path;
        return file;
      };
      const { scrubber, clock, damages } = scrubbing(copy, {
        files: { ...boundFiles(files), open },
      });
      scrubber.start();
      while (scrubber.status().fullPasses === 0) await clock.step(1_000);
      await scrubber.stop();
      expect(isGone).toBe(true);
      expect(damages.filter(({ file }) => file === path)).toEqual([]);
    }
  });
});

test(seeded("snapshots: any flipped byte is reported"), async () => {
  const disk = diskOf(1);
  await snapshotsOn(disk, [2, 6]);
  expect(await scrubOnce(disk)).toEqual([]);
  for (const name of disk.files.list(SNAPSHOTS)) {
    const path = `${SNAPSHOTS}/${name}`;
    for (let byte = 0; byte < disk.readFile(path).byteLength; byte += 1) {
      const copy = disk.clone();
      copy.rot(path, byte);
      const damages = await scrubOnce(copy);
      expect(damages).toMatchObject([{ file: path, entries: undefined }]);
    }
  }
});

test("the rate is held, a pass begins after the interval, and damage is reported again", async () => {
  const { disk } = await closedLog();
  await snapshotsOn(disk, [2, 6]);
  const record = sealedRecords(disk)[1]!;
  disk.rot(record.path, record.at);
  const passIntervalMs = 3_600_000;
  const { scrubber, clock, damages } = scrubbing(disk, { bytesPerSecond: 1_000, passIntervalMs });
  scrubber.start();
  while (scrubber.status().fullPasses === 0) await clock.step(passIntervalMs);
  const { bytesScrubbed, lastPassMs } = scrubber.status();
  expect(bytesScrubbed).toBeGreaterThan(2_000);
  expect(lastPassMs).toBe(clock.wallMs());
  // As long as the bytes take, but for the last piece, which is waited for only once.
  expect(clock.now).toBeGreaterThanOrEqual(bytesScrubbed - 1);
  expect(clock.now).toBeLessThan(bytesScrubbed + 10);
  expect(damages.length).toBe(1);

  while (scrubber.status().fullPasses === 1) await clock.step(2 * passIntervalMs);
  expect(clock.now).toBeGreaterThanOrEqual(passIntervalMs + bytesScrubbed - 1);
  expect(clock.now).toBeLessThan(passIntervalMs + bytesScrubbed + 10);
  expect(scrubber.status()).toMatchObject({ damages: 2, lastPassDamages: 1 });
  await scrubber.stop();
});

test("stop ends a pass in the middle; nothing is reported or left open after it", async () => {
  const { disk } = await closedLog();
  await snapshotsOn(disk, [2, 6]);
  for (const record of sealedRecords(disk)) disk.rot(record.path, record.at + 64);
  // It may stop at any of its waits.
  for (let waits = 0; waits < 12; waits += 1) {
    const { files } = disk.clone();
    let openFiles = 0;
    const open: FileSystem["open"] = (path, mode) => {
      const file = files.open(path, mode);
      openFiles += 1;
      const close = (): void => {
        openFiles -= 1;
        file.close();
      };
      const read = file.read.bind(file);
      return Object.assign(Object.create(file), { path, close, read, size: () => file.size() });
    };
    const options = { bytesPerSecond: 1_000, files: { ...boundFiles(files), open } };
    const { scrubber, clock, damages } = scrubbing(disk, options);
    scrubber.start();
    for (let left = waits; left > 0; left -= 1) await clock.step(1_000_000);
    const count = damages.length;
    await scrubber.stop();
    expect([openFiles, clock.timers]).toEqual([0, []]);
    expect(await clock.step(1e9)).toBe(false);
    expect(damages.length).toBe(count);
    expect(scrubber.status().isRunning).toBe(false);
  }
});

test("it can be started again after a stop", async () => {
  const { disk } = await closedLog();
  const { scrubber, clock } = scrubbing(disk, { bytesPerSecond: 100 });
  scrubber.start();
  await clock.step(1_000_000);
  await scrubber.stop();
  expect(scrubber.status().fullPasses).toBe(0);
  scrubber.start();
  while (scrubber.status().fullPasses === 0) await clock.step(1_000_000);
  await scrubber.stop();
  expect(scrubber.status().fullPasses).toBe(1);
});

test("a missing folder is nothing to scrub", async () => {
  expect(await scrubOnce(diskOf(1))).toEqual([]);
});
