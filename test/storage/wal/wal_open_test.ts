/**
 * Opening the files of a log: what is shown, what is set aside, what is written again, and the
 * mark.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { CorruptionError } from "../../../src/base/errors.ts";
import { checksum32 } from "../../../src/protocol/encoding/checksum.ts";
import {
  encodeSegmentHeader,
  SEGMENT_DATA_START,
  segmentName,
} from "../../../src/storage/wal/segment.ts";
import { recordSize, writeRecord } from "../../../src/storage/wal/segment_record.ts";
import {
  inspectSegments,
  MarkFile,
  type RecordTaker,
  readMark,
  recoverSegments,
  segmentPath,
} from "../../../src/storage/wal/wal_open.ts";
import type { SimulatedDisk } from "../fake_disk.ts";
import { diskOf, errorOf, IDENTITY, LOG_FOLDER, openLog } from "../log_fixture.ts";

const SALT = 0xa1a2a3a4a5a6a7a8n;
const LOG = { directory: LOG_FOLDER, identity: IDENTITY };

interface SegmentShape {
  readonly number: number;
  readonly first: number;
  /** Body sizes. */
  readonly records: readonly number[];
  readonly chain?: bigint;
  readonly lastIndex?: number;
  /** `syncedThrough` of each record; one less than its number by default. */
  readonly synced?: number;
  readonly size?: number;
}

/** Writes a segment; gives the chain value of its last record. */
function segmentOn(disk: SimulatedDisk, shape: SegmentShape): bigint {
  const { number: segmentNumber, first, records, chain = 0n, lastIndex = 0, size = 0 } = shape;
  const end = SEGMENT_DATA_START + records.reduce((sum, body) => sum + recordSize(body), 0);
  const bytes = new Uint8Array(Math.max(end, size));
  const header = { segmentNumber, firstRecord: first, previousChain: chain, salt: SALT, lastIndex };
  bytes.set(encodeSegmentHeader(header, IDENTITY));
  let at = SEGMENT_DATA_START;
  let previousChain = chain;
  for (const [i, bodySize] of records.entries()) {
    const number = first + i;
    const syncedThrough = shape.synced ?? number - 1;
    const fields = { kind: "CHECKPOINT", number, previousChain, syncedThrough } as const;
    const body = new Uint8Array(bodySize).fill(number);
    previousChain = writeRecord(bytes, at, {
      fields: { ...fields, commitIndex: i },
      body,
      salt: SALT,
    });
    at += recordSize(bodySize);
  }
  disk.writeFile(`${LOG_FOLDER}/${segmentName(segmentNumber)}`, bytes);
  return previousChain;
}

function logDisk(): SimulatedDisk {
  const disk = diskOf(1);
  disk.makeFolder(LOG_FOLDER);
  return disk;
}

/** Two segments: records 1 and 2, then record 3. */
function twoSegments(more: Partial<SegmentShape> = {}): SimulatedDisk {
  const disk = logDisk();
  const chain = segmentOn(disk, { number: 1, first: 1, records: [10, 100] });
  segmentOn(disk, { number: 2, first: 3, records: [20], chain, lastIndex: 7, ...more });
  return disk;
}

/** Keeps the numbers of the records that it is shown. */
class Taker implements RecordTaker {
  readonly records: string[] = [];
  missing: ReturnType<RecordTaker["problem"]>;
  lastIndex: number | undefined;

  take({ header, segmentNumber, path, at }: Parameters<RecordTaker["take"]>[0]): void {
    this.records.push(`${header.number} ${segmentNumber} ${path} ${at}`);
  }

  problem(lastIndex: number): ReturnType<RecordTaker["problem"]> {
    this.lastIndex = lastIndex;
    return this.missing;
  }
}

function recover(disk: SimulatedDisk, taker = new Taker()) {
  return recoverSegments(disk.files, LOG, taker);
}

function path(number: number): string {
  return segmentPath(LOG_FOLDER, number);
}

describe("inspection", () => {
  test("shows the records of the segments that follow each other, and changes nothing", () => {
    const disk = twoSegments();
    disk.writeFile(`${LOG_FOLDER}/other`, new Uint8Array(3));
    const records: string[] = [];
    const verdict = inspectSegments(disk.files, LOG, ({ header, segmentNumber, path: file, at }) =>
      records.push(`${header.number} ${segmentNumber} ${file} ${at}`),
    );
    expect(records).toEqual([`1 1 ${path(1)} 512`, `2 1 ${path(1)} 640`, `3 2 ${path(2)} 512`]);
    expect(disk.openFiles).toEqual([]);
    const { kept, dropped, nextNumber, nextSegmentNumber, tailStart, watermark, commitIndex } =
      verdict;
    expect({ nextNumber, nextSegmentNumber, tailStart, watermark, commitIndex }).toEqual({
      ...{ nextNumber: 4, nextSegmentNumber: 3, tailStart: 640, watermark: 2, commitIndex: 1 },
    });
    expect([kept.map((found) => found.path), dropped]).toEqual([[path(1), path(2)], []]);
    expect(kept.map(({ hasContent, syncedThrough }) => [hasContent, syncedThrough])).toEqual([
      [true, 1],
      [true, 2],
    ]);
  });

  test("does not show records of a segment that does not follow", () => {
    const disk = twoSegments({ chain: 5n, synced: 0 });
    const records: number[] = [];
    const verdict = inspectSegments(disk.files, LOG, ({ header }) => records.push(header.number));
    expect([records, verdict.kept.length, verdict.dropped.length]).toEqual([[1, 2], 1, 1]);
  });

  test("does not show records behind a segment whose header is refused", () => {
    const disk = logDisk();
    const chain = segmentOn(disk, { number: 1, first: 1, records: [10], synced: 0 });
    disk.writeFile(path(2), new Uint8Array(600));
    segmentOn(disk, { number: 3, first: 2, records: [20], chain, synced: 0 });
    const records: number[] = [];
    const verdict = inspectSegments(disk.files, LOG, ({ header }) => records.push(header.number));
    expect([records, verdict.kept.length, verdict.dropped.length]).toEqual([[1], 1, 2]);
    expect(verdict.dropped[0]).toMatchObject({ hasContent: false, syncedThrough: 0 });
    const bytes = new Uint8Array(600);
    bytes[512] = 1;
    disk.writeFile(path(2), bytes);
    const { dropped } = inspectSegments(disk.files, LOG, () => {});
    expect(dropped[0]).toMatchObject({ hasContent: true, syncedThrough: 0 });
  });

  // Its records tell by themselves what was synced, with either copy of the salt.
  test.each([40, 120])("a refused header with a salt damaged at %i: its records count", (at) => {
    const disk = twoSegments();
    disk.rot(path(2), at);
    const { dropped, watermark } = inspectSegments(disk.files, LOG, () => {});
    expect([dropped[0]?.syncedThrough, watermark]).toEqual([2, 2]);
  });

  test("the mark counts as what was synced", () => {
    const disk = twoSegments();
    const mark = new MarkFile(disk.files, LOG_FOLDER);
    mark.write(3);
    expect(inspectSegments(disk.files, LOG, () => {}).watermark).toBe(3);
    mark.write(4);
    expect(() => inspectSegments(disk.files, LOG, () => {})).toThrow("record 4 was synced");
  });

  // `cstore wal verify` called a healthy node corrupt whose log went on meanwhile.
  test("a mark that moves on while the segments are read is no damage", () => {
    const disk = twoSegments();
    const running = disk.files;
    const list = running.list.bind(running);
    running.list = (folder) => {
      new MarkFile(running, LOG_FOLDER).write(9);
      return list(folder);
    };
    const verdict = inspectSegments(running, LOG, () => undefined);
    expect(verdict.nextNumber).toBe(4);
    expect(readMark(disk.files, LOG_FOLDER)).toBe(9);
  });

  test("a header that is ours but of an unknown format is refused", () => {
    const disk = twoSegments();
    const bytes = disk.readFile(path(1));
    bytes[8] = 9;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    view.setUint32(0, checksum32(bytes.subarray(4, 128)), true);
    disk.writeFile(path(1), bytes);
    expect(() => inspectSegments(disk.files, LOG, () => {})).toThrow("disk format 9 is unknown");
  });
});

describe("recovery", () => {
  test("of a whole log takes every record, asks for the missing, and moves nothing", async () => {
    const disk = twoSegments();
    const mark = new MarkFile(disk.files, LOG_FOLDER);
    mark.write(3);
    mark.close();
    const before = [1, 2].map((number) => disk.readFile(path(number)));
    const taker = new Taker();
    const { verdict, tornBytes } = await recover(disk, taker);
    expect([tornBytes, verdict.nextNumber, taker.records.length]).toEqual([0, 4, 3]);
    expect(taker.lastIndex).toBe(0);
    expect([1, 2].map((number) => disk.readFile(path(number)))).toEqual(before);
    expect(disk.files.list(LOG_FOLDER)).toEqual([segmentName(1), segmentName(2), "mark"]);
    expect(disk.openFiles).toEqual([]);
  });

  test("of a new log makes its directory, durably", async () => {
    const disk = diskOf(1);
    const { verdict, tornBytes } = await recover(disk);
    expect([verdict.kept, verdict.nextSegmentNumber, tornBytes]).toEqual([[], 1, 0]);
    disk.cutPower(() => "dropped");
    expect(disk.files.exists(LOG_FOLDER)).toBe(true);
  });

  test("refuses a log whose repair was interrupted, unless the log is there", async () => {
    const disk = diskOf(1);
    disk.makeFolder(`${LOG_FOLDER}.repaired`);
    const refused = await errorOf(recover(disk));
    expect(refused).toBeInstanceOf(CorruptionError);
    expect(refused).toMatchObject({ file: `${LOG_FOLDER}.repaired`, byte: 0 });
    expect((refused as Error).message).toContain("run `cstore wal repair` again");
    expect(disk.files.exists(LOG_FOLDER)).toBe(false);
    disk.makeFolder(LOG_FOLDER);
    expect((await recover(disk)).verdict.kept).toEqual([]);
  });

  test("refuses a log of which entries are missing, naming the record that shows it", async () => {
    const disk = twoSegments();
    disk.deleteFile(path(1));
    const taker = new Taker();
    taker.missing = { text: "entries 1 to 7 are in no file", record: undefined };
    const oldest = await errorOf(recover(disk, taker));
    expect(oldest).toMatchObject({ file: path(2), byte: 0 });
    expect((oldest as Error).message).toContain("Cannot open the log: entries 1 to 7");
    expect(taker.lastIndex).toBe(7);
    const record = { path: path(9), at: 640 } as never;
    taker.missing = { text: "entries from 1 on are in no file", record };
    expect(await errorOf(recover(disk, taker))).toMatchObject({ file: path(9), byte: 640 });
  });

  test("a tail is copied beside the segment and zeroed; the copy is never replaced", async () => {
    const disk = twoSegments({ size: 2048, synced: 2 });
    const whole = disk.readFile(path(2));
    for (const [name, byte] of [
      ["0000000002.segment.torn", 700],
      ["0000000002.segment.2.torn", 1_999],
      ["0000000002.segment.3.torn", 640],
    ] as const) {
      const bytes = whole.slice();
      bytes[byte] = 7;
      disk.writeFile(path(2), bytes);
      const { tornBytes } = await recover(disk);
      expect([tornBytes, disk.openFiles]).toEqual([byte + 1 - 640, []]);
      expect(disk.readFile(`${LOG_FOLDER}/${name}`)).toEqual(bytes.slice(640, byte + 1));
      // The record above the watermark was written again without the zeros.
      expect(disk.readFile(path(2))).toEqual(whole.slice(0, 640));
    }
    disk.cutPower(() => "dropped");
    expect(disk.files.list(LOG_FOLDER).filter((name) => name.endsWith(".torn"))).toHaveLength(3);
  });

  test("the zeroed tail is durable, also in a segment that is not written again", async () => {
    const disk = twoSegments({ size: 2048 });
    const mark = new MarkFile(disk.files, LOG_FOLDER);
    mark.write(3);
    disk.rot(path(2), 1_500, 9);
    const { tornBytes } = await recover(disk);
    expect(tornBytes).toBe(1_501 - 640);
    disk.cutPower(() => "dropped");
    expect(disk.readFile(path(2)).byteLength).toBe(2048);
    expect(disk.readFile(path(2)).subarray(640)).toEqual(new Uint8Array(2048 - 640));
  });

  test("segments behind the verdict are renamed, and their records count as torn", async () => {
    const disk = twoSegments({ chain: 5n, synced: 0, size: 4096 });
    segmentOn(disk, { number: 3, first: 9, records: [], synced: 0 });
    disk.writeFile(path(4), new Uint8Array(600));
    const { verdict, tornBytes } = await recover(disk);
    expect([verdict.nextSegmentNumber, tornBytes]).toEqual([2, recordSize(20)]);
    expect(disk.files.list(LOG_FOLDER)).toEqual([
      segmentName(1),
      ...[2, 3, 4].map((number) => `${segmentName(number)}.torn`),
    ]);
    expect(disk.readFile(`${path(2)}.torn`).byteLength).toBe(4096);
    disk.cutPower(() => "dropped");
    expect(disk.files.exists(path(2))).toBe(false);
  });

  const MIB = 1024 * 1024;
  test.each<[string, { mark: number; records: number; size: number; cut: boolean }]>([
    ["synced and short: stays", { mark: 2, records: 2, size: 4096, cut: false }],
    ["not known as synced: is written again", { mark: 1, records: 2, size: 4096, cut: true }],
    ["without records: is written again", { mark: 0, records: 0, size: 4096, cut: true }],
    // The records end at byte 640 + 192; so many zeros behind them are kept.
    ["with few zeros: stays", { mark: 2, records: 2, size: 2 * 832 + MIB - 1, cut: false }],
    ["mostly zeros: is written again", { mark: 2, records: 2, size: 2 * 832 + MIB, cut: true }],
  ])("a kept segment %s", async (_what, { mark, records, size, cut }) => {
    const disk = logDisk();
    segmentOn(disk, { number: 1, first: 1, records: [10, 100].slice(0, records), synced: 0, size });
    new MarkFile(disk.files, LOG_FOLDER).write(mark);
    await recover(disk);
    const end = records === 0 ? 512 : 832;
    expect(disk.readFile(path(1)).byteLength).toBe(cut ? end : size);
  });
});

describe("the mark", () => {
  test("none is zero; its two slots are written in turn, each with its own checksum", () => {
    const disk = logDisk();
    expect(readMark(disk.files, LOG_FOLDER)).toBe(0);
    const mark = new MarkFile(disk.files, LOG_FOLDER);
    expect(disk.readFile(`${LOG_FOLDER}/mark`)).toEqual(new Uint8Array(1024));
    expect(readMark(disk.files, LOG_FOLDER)).toBe(0);
    for (const number of [5, 6, 9]) {
      mark.write(number);
      expect(readMark(disk.files, LOG_FOLDER)).toBe(number);
    }
    const bytes = disk.readFile(`${LOG_FOLDER}/mark`);
    expect([bytes[0], bytes[512], bytes.byteLength]).toEqual([9, 6, 1024]);
    for (const [damaged, left] of [
      [0, 6],
      [8, 6],
      [512, 9],
      [527, 9],
      [16, 9],
    ] as const) {
      const copy = disk.clone();
      copy.rot(`${LOG_FOLDER}/mark`, damaged);
      expect([damaged, readMark(copy.files, LOG_FOLDER)]).toEqual([damaged, left]);
    }
    disk.writeFile(`${LOG_FOLDER}/mark`, bytes.subarray(0, 528));
    expect(readMark(disk.files, LOG_FOLDER)).toBe(9);
    disk.writeFile(`${LOG_FOLDER}/mark`, bytes.subarray(512));
    expect(readMark(disk.files, LOG_FOLDER)).toBe(0);
    disk.writeFile(`${LOG_FOLDER}/mark`, bytes.subarray(0, 16));
    expect(readMark(disk.files, LOG_FOLDER)).toBe(9);
    disk.writeFile(`${LOG_FOLDER}/mark`, bytes.subarray(0, 15));
    expect(readMark(disk.files, LOG_FOLDER)).toBe(0);
  });

  test("a short file is made as long as both slots, and one that is there stays", async () => {
    const disk = logDisk();
    const mark = new MarkFile(disk.files, LOG_FOLDER);
    mark.write(7);
    await mark.syncFor(1);
    mark.close();
    const bytes = disk.readFile(`${LOG_FOLDER}/mark`);
    new MarkFile(disk.files, LOG_FOLDER).close();
    expect(disk.openFiles).toEqual([]);
    expect(disk.readFile(`${LOG_FOLDER}/mark`)).toEqual(bytes);
    disk.writeFile(`${LOG_FOLDER}/mark`, bytes.subarray(0, 100));
    new MarkFile(disk.files, LOG_FOLDER).close();
    expect(disk.readFile(`${LOG_FOLDER}/mark`)).toEqual(bytes);
  });

  test("a number that is no safe integer does not count", () => {
    const disk = logDisk();
    const mark = new MarkFile(disk.files, LOG_FOLDER);
    mark.write(Number.MAX_SAFE_INTEGER);
    expect(readMark(disk.files, LOG_FOLDER)).toBe(Number.MAX_SAFE_INTEGER);
    expect(() => mark.write(3)).toThrow("the watermark does not go back");
  });

  test("is durable after its own sync only", async () => {
    const disk = logDisk();
    await disk.files.syncDirectory(LOG_FOLDER);
    const mark = new MarkFile(disk.files, LOG_FOLDER);
    await disk.files.syncDirectory(LOG_FOLDER);
    mark.write(3);
    const lost = disk.clone();
    lost.cutPower(() => "dropped");
    expect(readMark(lost.files, LOG_FOLDER)).toBe(0);
    await mark.syncFor(1);
    disk.cutPower(() => "dropped");
    expect(readMark(disk.files, LOG_FOLDER)).toBe(3);
  });
});

test("a log that was recovered goes on with dense segment numbers", async () => {
  const disk = twoSegments({ chain: 5n, synced: 0 });
  const log = await openLog(disk);
  expect(disk.files.list(LOG_FOLDER)).toContain(segmentName(2));
  expect(log.syncedThrough).toBe(2);
});
