/**
 * Operations of collections that every node writes, in a log of segments on a simulated disk:
 * beside the entries of consensus, under the same syncs, through restarts, power cuts and
 * compaction.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { CorruptionError, StorageError } from "../../../src/base/errors.ts";
import type { Operation } from "../../../src/multi_master/operation/operation.ts";
import { encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import { surveyLog } from "../../../src/storage/repair/log_survey.ts";
import { judgeRepair } from "../../../src/storage/repair/wal_repair.ts";
import type { SegmentLog } from "../../../src/storage/wal/segment_log.ts";
import type { SimulatedDisk } from "../fake_disk.ts";
import { diskOf, entryAt, errorOf, IDENTITY, LOG_FOLDER, openLog } from "../log_fixture.ts";

const BODY = encodeCbor({ text: "x".repeat(400) });

function operation(origin: string, sequence: number): Operation {
  return {
    ...{ origin, sequence, stamp: { wallMs: 1, count: 0 }, chain: sequence, version: 1 },
    context: new Map(),
    changes: [
      { collection: 1, key: new Uint8Array([1]), content: { kind: "document", body: BODY } },
    ],
  };
}

function stream(origin: string, from: number, to: number): readonly Operation[] {
  return Array.from({ length: to - from + 1 }, (_, i) => operation(origin, from + i));
}

function names(operations: Iterable<{ readonly origin: string; readonly sequence: number }>) {
  return [...operations].map(({ origin, sequence }) => `${origin} ${sequence}`);
}

function segmentsOn(disk: SimulatedDisk): number {
  return disk.files.list(LOG_FOLDER).filter((name) => name.endsWith(".segment")).length;
}

function entry(index: number) {
  return entryAt({ term: 1, index, firstSequence: index * 2 - 1 }, ["x", "y"]);
}

function write(log: SegmentLog, index: number): void {
  log.write({ hardState: undefined, entries: [entry(index)], commitIndex: 0 });
}

describe("operations in the log", () => {
  test("come back after a restart, in their order, beside the entries of consensus", async () => {
    const disk = diskOf(1);
    const log = await openLog(disk);
    log.operations.append([operation("n1", 1), operation("n2", 4)]);
    write(log, 1);
    log.operations.append([operation("n2", 5), operation("n1", 2)]);
    await log.flush();
    const written = ["n1 1", "n2 4", "n2 5", "n1 2"];
    expect(names(log.operations.operations())).toEqual(written);
    await log.close();
    const again = await openLog(disk);
    expect(names(again.operations.operations())).toEqual(written);
    expect([...again.operations.operations()][2]).toEqual(operation("n2", 5));
    expect(again.operations.last("n1")).toBe(2);
    expect(again.lastIndex()).toBe(1);
    again.operations.append([operation("n1", 3)]);
    await again.close();
  });

  test("an entry that supersedes others leaves them", async () => {
    const disk = diskOf(2);
    const log = await openLog(disk);
    write(log, 1);
    log.operations.append([operation("n1", 1)]);
    const later = entryAt({ term: 2, index: 1, firstSequence: 1 }, ["z"]);
    log.write({ hardState: undefined, entries: [later], commitIndex: 0 });
    await log.flush();
    await log.close();
    const again = await openLog(disk);
    expect(names(again.operations.operations())).toEqual(["n1 1"]);
    await again.close();
  });

  test("are read from one on, as many as the bytes allow", async () => {
    const log = await openLog(diskOf(3));
    for (const sequence of [1, 2, 3]) log.operations.append([operation("n1", sequence)]);
    const read = (from: number, bytesMax = 1e6) => {
      const found = log.operations.read("n1", from, bytesMax);
      return found.kind === "operations" ? names(found.operations) : found.kind;
    };
    expect(read(2)).toEqual(["n1 2", "n1 3"]);
    expect(read(1, 600)).toEqual(["n1 1"]);
    expect([read(0), read(4)]).toEqual(["gone", "gone"]);
    expect(log.operations.read("n2", 1, 1e6).kind).toBe("gone");
    await log.close();
  });

  test("that are not in memory are loaded from the disk", async () => {
    const disk = diskOf(4);
    const log = await openLog(disk, { cacheBytes: 1000 });
    for (const one of stream("n1", 1, 8)) log.operations.append([one]);
    await log.flush();
    expect(log.operations.read("n1", 2, 1e6).kind).toBe("loading");
    log.operations.load({ origin: "n1", sequence: 2 });
    const found = log.operations.read("n1", 2, 600);
    expect(found.kind === "operations" && found.operations).toEqual([operation("n1", 2)]);
    // Those behind it come with it, until others of the origin are asked for.
    expect(log.operations.read("n1", 4, 1e6).kind).toBe("operations");
    log.operations.load({ origin: "n1", sequence: 1 });
    expect(log.operations.read("n1", 1, 600).kind).toBe("operations");
    expect(log.operations.read("n1", 4, 1e6).kind).toBe("loading");
    expect(names(log.operations.operations())).toHaveLength(8);
    log.operations.cut(new Map([["n1", 6]]));
    expect(names(log.operations.operations())).toEqual(["n1 7", "n1 8"]);
    await log.close();
  });

  test("an origin that goes on behind a gap begins anew there", async () => {
    const disk = diskOf(5);
    const log = await openLog(disk);
    log.operations.append(stream("n2", 1, 3));
    log.operations.append([operation("n2", 10)]);
    await log.flush();
    await log.close();
    const again = await openLog(disk);
    expect(again.operations.read("n2", 3, 1e6).kind).toBe("gone");
    expect(again.operations.read("n2", 10, 1e6).kind).toBe("operations");
    await again.close();
  });

  test.each([
    ["a number that is there", [2]],
    ["a gap inside of a record", [3, 5]],
    ["a number that stands twice", [3, 3]],
  ])("%s is refused before anything is written", async (_, sequences) => {
    const log = await openLog(diskOf(6));
    log.operations.append(stream("n1", 1, 2));
    const before = log.operations.append([operation("n2", 1)]);
    const more = sequences.map((sequence) => operation("n1", sequence));
    expect(() => log.operations.append(more)).toThrow(StorageError);
    expect(log.operations.append([operation("n2", 2)])).toBe(before + 1);
    await log.close();
  });

  test("leave as the bytes that stand in the log", async () => {
    const log = await openLog(diskOf(7));
    const one = operation("n1", 1);
    log.operations.append([one]);
    expect(log.operations.bytesOf(one)).toBe(log.operations.bytesOf(one));
    await log.close();
  });
});

describe("operations and compaction", () => {
  test("a segment stays as long as an operation or an entry in it is needed", async () => {
    const disk = diskOf(8);
    const log = await openLog(disk);
    for (let i = 1; i <= 40; i += 1) {
      write(log, i);
      log.operations.append([operation("n1", i)]);
    }
    await log.flush();
    const all = segmentsOn(disk);
    expect(all).toBeGreaterThan(4);
    await log.compactTo({ index: 40, term: 1, nextSequence: 81 });
    expect(segmentsOn(disk)).toBe(all);
    log.operations.cut(new Map([["n1", 39]]));
    write(log, 41);
    await log.compactTo({ index: 41, term: 1, nextSequence: 83 });
    expect(segmentsOn(disk)).toBeLessThan(4);
    expect(log.operations.read("n1", 39, 1e6).kind).toBe("gone");
    await log.close();
    const again = await openLog(disk);
    expect(names(again.operations.operations())).toContain("n1 40");
    await again.close();
  });

  test("of two origins the slower one keeps the segments", async () => {
    const disk = diskOf(9);
    const log = await openLog(disk);
    log.operations.append([operation("n2", 1)]);
    for (const one of stream("n1", 1, 40)) log.operations.append([one]);
    await log.flush();
    const all = segmentsOn(disk);
    log.operations.cut(new Map([["n1", 40]]));
    write(log, 1);
    await log.compactTo({ index: 1, term: 1, nextSequence: 3 });
    expect(segmentsOn(disk)).toBe(all);
    expect(log.operations.read("n2", 1, 1e6).kind).not.toBe("gone");
    await log.close();
  });

  test("a log that begins anew behind a snapshot keeps the operations", async () => {
    const disk = diskOf(10);
    const log = await openLog(disk);
    for (const one of stream("n1", 1, 20)) log.operations.append([one]);
    log.restartBehind({ index: 90, term: 3, nextSequence: 200 });
    await log.flush();
    await log.close();
    const again = await openLog(disk);
    expect(names(again.operations.operations())).toHaveLength(20);
    expect(again.base.index).toBe(90);
    await again.close();
  });
});

describe("operations and faults", () => {
  test("after a power cut what was synced is there, and the rest is whole or gone", async () => {
    for (let seed = 1; seed <= 40; seed += 1) {
      const disk = diskOf(seed);
      const log = await openLog(disk, { seed });
      log.operations.append(stream("n1", 1, 5));
      write(log, 1);
      await log.flush();
      log.operations.append(stream("n1", 6, 9));
      log.operations.append(stream("n2", 1, 2));
      disk.cutPower();
      const again = await openLog(disk, { seed });
      const found = names(again.operations.operations());
      expect(found.slice(0, 5)).toEqual(names(stream("n1", 1, 5)));
      expect([5, 9, 11]).toContain(found.length);
      expect(
        [...again.operations.operations()].every(({ chain, sequence }) => chain === sequence),
      ).toBe(true);
      await again.close();
    }
  });

  test("a record that is damaged is refused with its place, and so is one that is loaded", async () => {
    const disk = diskOf(11);
    const log = await openLog(disk, { cacheBytes: 0 });
    for (const one of stream("n1", 1, 12)) log.operations.append([one]);
    await log.flush();
    const path = `${LOG_FOLDER}/${disk.files.list(LOG_FOLDER).filter((name) => name.endsWith(".segment"))[0]}`;
    const file = disk.files.open(path, "write");
    const bytes = new Uint8Array(file.size());
    file.read(0, bytes);
    const at = bytes.lastIndexOf("x".charCodeAt(0));
    file.write(at, new Uint8Array([0]));
    await file.sync();
    file.close();
    const damaged = [1, 2, 3, 4, 5, 6].filter((sequence) => {
      try {
        log.operations.load({ origin: "n1", sequence });
        return false;
      } catch (error) {
        expect(error).toBeInstanceOf(CorruptionError);
        return true;
      }
    });
    expect(damaged).toHaveLength(1);
    await log.close();
    expect(await errorOf(openLog(disk))).toBeInstanceOf(CorruptionError);
  });

  test("a record that is damaged costs no entry, and no other operation", async () => {
    const disk = diskOf(12);
    const log = await openLog(disk, { segmentSizeBytes: 1 << 20 });
    log.write({ hardState: { term: 1, vote: undefined }, entries: [], commitIndex: 0 });
    for (let i = 1; i <= 20; i += 1) {
      write(log, i);
      log.operations.append([operation("n1", i)]);
    }
    await log.flush();
    await log.close();
    const [name] = disk.files.list(LOG_FOLDER).filter((one) => one.endsWith(".segment"));
    const path = `${LOG_FOLDER}/${name}`;
    const bytes = disk.readFile(path);
    bytes[bytes.indexOf("x".charCodeAt(0), 2000)] = 0;
    disk.writeFile(path, bytes);
    const place = { directory: LOG_FOLDER, identity: IDENTITY };
    const survey = surveyLog(disk.files, place);
    expect(survey.damages.map(({ problem }) => problem)).toEqual([
      "the record body's checksum does not match (OPERATIONS, no entry)",
    ]);
    const plan = judgeRepair(survey, [], IDENTITY);
    expect([plan.last.index, plan.lost, plan.isRaised]).toEqual([20, undefined, false]);
    const kept = survey.runs.flatMap(({ rebuild }) => rebuild.operations.records);
    expect(kept).toHaveLength(19);
  });
});
