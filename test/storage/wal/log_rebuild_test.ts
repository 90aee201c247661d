/**
 * The table and the hard state that records give, taken one by one; and the bytes of this node's
 * own records.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { CorruptionError } from "../../../src/base/errors.ts";
import { sealBatch } from "../../../src/protocol/encoding/batch_codec.ts";
import { clusterBatch } from "../../../src/protocol/encoding/cluster_command.ts";
import type { LogBase } from "../../../src/raft/types.ts";
import {
  hardStateRecord,
  headRecord,
  headRecords,
  LogRebuild,
  tailRecord,
} from "../../../src/storage/wal/log_rebuild.ts";
import { EMPTY_BASE, LogTable } from "../../../src/storage/wal/log_table.ts";
import type { PendingRecord } from "../../../src/storage/wal/segment_writer.ts";
import { damagedRecord, type RecoveredRecord } from "../../../src/storage/wal/wal_open.ts";
import { entryAt } from "../log_fixture.ts";

/** A record as recovery shows it; each stands 1000 bytes behind the one before. */
function recovered({ kind, body }: PendingRecord, at = 1000): RecoveredRecord {
  const header = {
    ...{ kind, stream: 0, number: 1, bodySize: body.byteLength, bodyChecksum: 0n },
    ...{ previousChain: 0n, syncedThrough: 0, commitIndex: 0 },
  };
  return { header, at, body, segmentNumber: 1, path: "wal/1" };
}

function rebuilt(records: readonly PendingRecord[]): LogRebuild {
  const rebuild = new LogRebuild(new LogTable(10_000));
  for (const [i, record] of records.entries()) rebuild.take(recovered(record, 1000 * (i + 1)));
  return rebuild;
}

/** Two operations in entry `index` of that term. */
function batch(index: number, term = 1, firstSequence = index * 2 - 1): PendingRecord {
  const { bytes } = entryAt({ term, index, firstSequence }, ["x", "y"]);
  return { kind: "BATCH", body: bytes };
}

function members(index: number, term = 1, firstSequence = index * 2 - 1): PendingRecord {
  const prepared = clusterBatch("MEMBERSHIP", 5, () => {});
  return { kind: "BATCH", body: sealBatch(prepared, { term, index, firstSequence }) };
}

function head(index: number, term = 1, nextSequence = index * 2 + 1): PendingRecord {
  return headRecord({ index, term, nextSequence });
}

/** Base, and term and first byte of each kept entry. */
function shown({ table }: LogRebuild): { base: LogBase; entries: (number | undefined)[][] } {
  const entries: (number | undefined)[][] = [];
  for (let index = table.firstIndex(); index <= table.lastIndex(); index += 1) {
    entries.push([index, table.term(index), table.position(index).at]);
  }
  return { base: table.base, entries };
}

describe("records", () => {
  test("batches follow each other, behind their records' headers", () => {
    const rebuild = rebuilt([batch(1), batch(2, 2)]);
    expect(shown(rebuild)).toEqual({
      base: EMPTY_BASE,
      entries: [
        [1, 1, 1064],
        [2, 2, 2064],
      ],
    });
    const { body } = batch(2, 2);
    expect(rebuild.table.position(2)).toEqual({
      segmentNumber: 1,
      at: 2064,
      size: body.byteLength,
    });
    expect(rebuild.table.entries(2, 2, 1)?.[0]?.bytes).toEqual(body);
    expect(rebuild.problem(0)).toBeUndefined();
  });

  test("the bytes of an entry are its own: the file's may change", () => {
    const record = batch(1);
    const rebuild = rebuilt([record]);
    record.body.fill(0);
    expect(rebuild.table.entries(1, 1, 1)?.[0]?.bytes).toEqual(batch(1).body);
  });

  test("a batch supersedes those with its index or a higher one", () => {
    const rebuild = rebuilt([batch(1), batch(2), batch(3), batch(2, 2)]);
    expect(shown(rebuild).entries).toEqual([
      [1, 1, 1064],
      [2, 2, 4064],
    ]);
  });

  test("the latest hard state counts, and a checkpoint changes nothing", () => {
    const rebuild = rebuilt([
      hardStateRecord({ term: 4, vote: "n1" }),
      hardStateRecord({ term: 5, vote: undefined }),
      { kind: "CHECKPOINT", body: new Uint8Array(3) },
    ]);
    expect(rebuild.hardState).toEqual({ term: 5, vote: undefined });
    expect(shown(rebuild)).toEqual({ base: EMPTY_BASE, entries: [] });
    expect(rebuilt([]).hardState).toEqual({ term: 0, vote: undefined });
    expect(rebuilt([hardStateRecord({ term: 3, vote: "n2" })]).hardState.vote).toBe("n2");
  });

  test("a head drops what is before it, and never goes back", () => {
    const rebuild = rebuilt([batch(1), batch(2), batch(3), head(2), head(1)]);
    expect(shown(rebuild)).toEqual({
      base: { index: 2, term: 1, nextSequence: 5 },
      entries: [[3, 1, 3064]],
    });
    // A batch up to the head is an old one.
    rebuild.take(recovered(batch(2), 9000));
    rebuild.take(recovered(batch(1), 9500));
    expect(shown(rebuild).entries).toEqual([[3, 1, 3064]]);
    expect(rebuild.problem(2)).toBeUndefined();
  });

  test("a later head at the same entry counts", () => {
    const rebuild = rebuilt([head(2), head(2, 7)]);
    expect(shown(rebuild).base).toEqual({ index: 2, term: 7, nextSequence: 5 });
  });

  test("a head of another history drops everything", () => {
    const rebuild = rebuilt([batch(1), batch(2), head(2, 7)]);
    expect(shown(rebuild)).toEqual({ base: { index: 2, term: 7, nextSequence: 5 }, entries: [] });
  });

  test("a tail drops its entry and those behind it, and none when none is there", () => {
    const records = [batch(1), batch(2), batch(3)];
    expect(shown(rebuilt([...records, tailRecord(2)])).entries).toEqual([[1, 1, 1064]]);
    expect(shown(rebuilt([...records, tailRecord(3)])).entries.length).toBe(2);
    expect(shown(rebuilt([...records, tailRecord(4)])).entries.length).toBe(3);
    expect(shown(rebuilt([...records, tailRecord(1)]))).toEqual({ base: EMPTY_BASE, entries: [] });
  });

  test("a tail right behind the head leaves the head", () => {
    const rebuild = rebuilt([batch(1), batch(2), head(1), tailRecord(2)]);
    expect(shown(rebuild)).toEqual({ base: { index: 1, term: 1, nextSequence: 3 }, entries: [] });
    rebuild.take(recovered(batch(2), 9000));
    expect(shown(rebuild).entries).toEqual([[2, 1, 9064]]);
  });
});

describe("a log that begins in the middle", () => {
  test("is refused until a head allows it", () => {
    const rebuild = rebuilt([batch(5), batch(6)]);
    expect(shown(rebuild)).toEqual({
      base: { index: 4, term: 0, nextSequence: 9 },
      entries: [
        [5, 1, 1064],
        [6, 1, 2064],
      ],
    });
    expect(rebuild.problem(0)).toEqual({
      text: "entries from 1 on are in no file",
      record: recovered(batch(5)),
    });
    rebuild.take(recovered(head(3), 3000));
    expect(rebuild.problem(0)?.text).toBe("entries from 4 on are in no file");
    rebuild.take(recovered(head(5), 4000));
    expect(rebuild.problem(0)).toBeUndefined();
    expect(shown(rebuild)).toEqual({
      base: { index: 5, term: 1, nextSequence: 11 },
      entries: [[6, 1, 2064]],
    });
  });

  test("a batch that does not follow begins anew, and is named as the gap", () => {
    const hole = rebuilt([batch(1), batch(3)]);
    expect(shown(hole)).toEqual({
      base: { index: 2, term: 0, nextSequence: 5 },
      entries: [[3, 1, 2064]],
    });
    expect(hole.problem(0)?.record?.at).toBe(2000);
    const numbers = rebuilt([batch(1), batch(2, 1, 9)]);
    expect(shown(numbers).base).toEqual({ index: 1, term: 0, nextSequence: 9 });
    // Back before its base: the batch of an older file's tail.
    const back = rebuilt([batch(5), batch(4)]);
    expect(shown(back)).toEqual({
      base: { index: 3, term: 0, nextSequence: 7 },
      entries: [[4, 1, 2064]],
    });
  });

  test("a batch right behind the head must have the head's number", () => {
    const rebuild = rebuilt([head(4)]);
    const wrong = recovered(batch(5, 1, 99), 7000);
    expect(() => rebuild.take(wrong)).toThrow(CorruptionError);
    expect(() => rebuild.take(wrong)).toThrow(
      "Cannot open the log: entry 5 does not follow entry 4",
    );
    rebuild.take(recovered(batch(5), 8000));
    expect(shown(rebuild).entries).toEqual([[5, 1, 8064]]);
  });

  test("a tail before the first batch is the base of what follows", () => {
    const rebuild = rebuilt([tailRecord(5), batch(5)]);
    expect(shown(rebuild).entries).toEqual([[5, 1, 2064]]);
    const dropped = rebuilt([batch(5), tailRecord(3)]);
    expect(shown(dropped)).toEqual({ base: { index: 2, term: 0, nextSequence: 0 }, entries: [] });
    // The entry before the first batch goes, too.
    const base = rebuilt([batch(5), tailRecord(4)]);
    expect(shown(base)).toEqual({ base: { index: 3, term: 0, nextSequence: 0 }, entries: [] });
    // Right behind the head everything is known again.
    const known = rebuilt([head(1), batch(5), tailRecord(2)]);
    expect(shown(known)).toEqual({ base: { index: 1, term: 1, nextSequence: 3 }, entries: [] });
  });

  test("older files are missed by the last index that the oldest one names", () => {
    const empty = rebuilt([]);
    expect(empty.problem(0)).toBeUndefined();
    expect(empty.problem(1)).toEqual({
      text: "entries 1 to 1 are in no file",
      record: undefined,
    });
    const behind = rebuilt([head(4)]);
    expect([behind.problem(4), behind.problem(5)?.text]).toEqual([
      undefined,
      "entries 5 to 5 are in no file",
    ]);
    // A batch or a tail tells itself what came before it.
    expect(rebuilt([head(4), batch(5)]).problem(9)).toBeUndefined();
    expect(rebuilt([head(4), tailRecord(5)]).problem(9)).toBeUndefined();
    expect(rebuilt([batch(1)]).problem(9)).toBeUndefined();
  });
});

describe("entries about members", () => {
  const indexes = (records: readonly PendingRecord[]): number[] =>
    rebuilt(records).clusterEntries.map(({ index }) => index);

  test("are noted with all that the entry has, others are not", () => {
    const { clusterEntries } = rebuilt([members(1), batch(2, 1, 2), members(3, 2, 4)]);
    expect(clusterEntries.map(({ bytes: _bytes, ...place }) => place)).toEqual([
      { term: 1, index: 1, firstSequence: 1, count: 1 },
      { term: 2, index: 3, firstSequence: 4, count: 1 },
    ]);
    expect(clusterEntries[0]?.bytes).toEqual(members(1).body);
  });

  test("go when they are superseded, dropped, or before the head", () => {
    const three = [members(1, 1, 1), members(2, 1, 2), members(3, 1, 3)];
    expect(indexes(three)).toEqual([1, 2, 3]);
    expect(indexes([...three, members(2, 2, 2)])).toEqual([1, 2]);
    expect(indexes([...three, batch(2, 2, 2)])).toEqual([1]);
    expect(indexes([...three, tailRecord(2)])).toEqual([1]);
    expect(indexes([...three, tailRecord(3)])).toEqual([1, 2]);
    expect(indexes([...three, tailRecord(4)])).toEqual([1, 2, 3]);
    expect(indexes([...three, head(1, 1, 2)])).toEqual([2, 3]);
    expect(indexes([...three, head(2, 1, 3)])).toEqual([3]);
    expect(indexes([...three, head(3, 1, 4)])).toEqual([]);
    // A head of another history takes those behind it along.
    expect(indexes([...three, head(2, 9, 3)])).toEqual([]);
  });
});

test("the head of a file: term and vote once there is a term, the base once there is one", () => {
  const base = { index: 5, term: 2, nextSequence: 9 };
  const kinds = (term: number, at: LogBase): string[] =>
    headRecords({ term, vote: undefined }, at).map(({ kind }) => kind);
  expect(kinds(0, EMPTY_BASE)).toEqual([]);
  expect(kinds(1, EMPTY_BASE)).toEqual(["HARD_STATE"]);
  expect(kinds(0, base)).toEqual(["HEAD"]);
  expect(kinds(1, base)).toEqual(["HARD_STATE", "HEAD"]);
  const [, second] = headRecords({ term: 1, vote: "n1" }, base);
  expect(second).toEqual(headRecord(base));
});

test("the error for a record names its place", () => {
  const error = damagedRecord(recovered(batch(1), 4711), "why");
  expect(error).toMatchObject({ file: "wal/1", byte: 4711 });
  expect(error.message).toStartWith("Cannot open the log: why");
});
