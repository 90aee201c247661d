/**
 * The contract of IWALManager, held against the log in files and the log in memory.
 *
 * @module
 */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { ByteWriter, encodeText } from "../../../src/base/bytes.ts";
import { CStoreError, StorageError, ValidationError } from "../../../src/base/errors.ts";
import { BATCH_BODY_SIZE_MAX } from "../../../src/base/limits.ts";
import { zlibCompressor } from "../../../src/platform/compression.ts";
import {
  BATCH_HEADER_SIZE,
  prepareBatch,
  sealBatch,
} from "../../../src/protocol/encoding/batch_codec.ts";
import { encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import { checksum64 } from "../../../src/protocol/encoding/checksum.ts";
import { clusterBatch } from "../../../src/protocol/encoding/cluster_command.ts";
import {
  type DocumentOperation,
  writeDocumentsCommand,
} from "../../../src/protocol/encoding/command.ts";
import { encodeKey } from "../../../src/protocol/encoding/document_key.ts";
import type {
  IWALManager,
  ReplicatedLog,
  WALEntry,
} from "../../../src/storage/wal/iwal_manager.ts";
import {
  createLog,
  diskOf,
  errorOf,
  memoryLog,
  settle,
  standingClock,
  walEntry,
} from "../log_fixture.ts";

type Log = Required<IWALManager> & ReplicatedLog;

setDefaultTimeout(60_000);

const KINDS: readonly [string, () => Promise<Log>][] = [
  ["SegmentLog", () => createLog(diskOf(1))],
  ["MemoryWALManager", async () => memoryLog()],
];

function values(entries: readonly WALEntry[]): unknown[] {
  return entries.map(({ data }) => data.newValue);
}

function numbers(entries: readonly WALEntry[]): number[] {
  return entries.map(({ sequenceNumber }) => sequenceNumber);
}

/** Anything that cstore stores: the values of its documents. */
function storedValue(): fc.Arbitrary<unknown> {
  const scalar = fc.oneof(
    fc.constant(null),
    fc.boolean(),
    fc.integer(),
    fc.maxSafeInteger(),
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.string({ unit: "binary" }),
    fc.string({ unit: "grapheme" }),
    fc.uint8Array({ maxLength: 80 }).map((bytes) => new Uint8Array(bytes)),
    fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(4e12) }),
  );
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { maxDepth: 4 },
      scalar,
      fc.array(tie("tree"), { maxLength: 5 }),
      fc.dictionary(
        fc.string().filter((key) => key !== "__proto__"),
        tie("tree"),
        { maxKeys: 5 },
      ),
    ),
  }));
  return tree;
}

describe.each(KINDS)("%s", (_name, open) => {
  test("writeEntry fills in a checksum and the next sequence number, from 1", async () => {
    const log = await open();
    expect([log.getCurrentSequence(), await log.readEntries()]).toEqual([0, []]);
    for (let i = 1; i <= 5; i += 1) {
      const entry = walEntry(i);
      await log.writeEntry(entry);
      expect(entry.sequenceNumber).toBe(i);
      expect(entry.checksum).toMatch(/^[0-9a-f]{16}$/);
      expect(log.getCurrentSequence()).toBe(i);
      expect((await log.readEntries(i))[0]).toEqual({ ...entry });
    }
    const { sequenceNumber: _number, checksum, ...fields } = (await log.readEntries(5))[0]!;
    expect(checksum).toBe(checksum64(encodeCbor(fields)).toString(16).padStart(16, "0"));
    await log.close();
  });

  // [one batch a call]
  test("the calls of one turn are one batch, those of another turn another one", async () => {
    const log = await open();
    await Promise.all([1, 2, 3].map((value) => log.writeEntry(walEntry(value))));
    expect(log.lastIndex()).toBe(1);
    await log.writeEntry(walEntry(4));
    expect([log.lastIndex(), log.sequenceAfter(1), log.sequenceAfter(2)]).toEqual([2, 4, 5]);
    expect(values(await log.readEntries())).toEqual([1, 2, 3, 4]);
    await log.close();
  });

  test("a batch stays in one log entry, between other writes of its turn", async () => {
    const log = await open();
    const batch = [2, 3, 4].map((value) => walEntry(value));
    await Promise.all([
      log.writeEntry(walEntry(1)),
      log.writeBatch(batch),
      log.writeEntry(walEntry(5)),
    ]);
    expect(numbers(batch)).toEqual([2, 3, 4]);
    expect(values(await log.readEntries())).toEqual([1, 2, 3, 4, 5]);
    await log.writeBatch([]);
    expect(log.getCurrentSequence()).toBe(5);
    await log.close();
  });

  // [refused entry stays]
  // History: what was encoded before the refused entry stayed in the open batch, which then held
  // more commands than sequence numbers.
  test("a refused entry leaves nothing behind, a refused batch neither", async () => {
    const log = await open();
    const first = log.writeEntry(walEntry(1));
    const bad = walEntry(() => 0);
    expect(await errorOf(log.writeEntry(bad))).toBeInstanceOf(ValidationError);
    expect(await errorOf(log.writeBatch([walEntry(2), bad]))).toBeInstanceOf(ValidationError);
    await Promise.all([first, log.writeEntry(walEntry(3))]);
    expect(values(await log.readEntries())).toEqual([1, 3]);
    await log.close();
  });

  test("an entry larger than a batch is refused for good, one that fills it is not", async () => {
    const log = await open();
    const large = walEntry(new Uint8Array(BATCH_BODY_SIZE_MAX));
    expect(await errorOf(log.writeEntry(large))).toMatchObject({ retry: "never" });
    const most = new Uint8Array(BATCH_BODY_SIZE_MAX - 400);
    // History: what the turn had written before made it too large.
    await Promise.all([
      log.writeEntry(walEntry("x".repeat(100_000))),
      log.writeEntry(walEntry(most)),
    ]);
    expect([log.lastIndex(), log.getCurrentSequence()]).toEqual([2, 2]);
    expect(values(await log.readEntries(2))).toEqual([most]);
    await log.close();
  });

  test("readEntries begins at any sequence number", async () => {
    const log = await open();
    for (const batch of [[1, 2, 3], [4], [5, 6]]) {
      await log.writeBatch(batch.map((value) => walEntry(value)));
    }
    for (let from = 0; from <= 8; from += 1) {
      const expected = [1, 2, 3, 4, 5, 6].filter((value) => value >= from);
      expect(values(await log.readEntries(from))).toEqual(expected);
      expect(numbers(await log.readEntries(from))).toEqual(expected);
    }
    await log.close();
  });

  test("entries read are copies, and entries written are taken as they were then", async () => {
    const log = await open();
    const entry = walEntry({ a: [1] });
    const written = log.writeEntry(entry);
    (entry.data.newValue as { a: number[] }).a.push(2);
    await written;
    const [first] = await log.readEntries();
    expect(first?.data.newValue).toEqual({ a: [1] });
    (first!.data.newValue as { a: number[] }).a.push(3);
    expect(values(await log.readEntries())).toEqual([{ a: [1] }]);
    await log.close();
  });

  test("truncate hides all before a sequence number, and the numbers go on", async () => {
    const log = await open();
    for (const batch of [[1, 2, 3], [4], [5, 6]]) {
      await log.writeBatch(batch.map((value) => walEntry(value)));
    }
    await log.truncate(1);
    expect(log.firstIndex()).toBe(1);
    await log.truncate(3);
    expect(values(await log.readEntries())).toEqual([3, 4, 5, 6]);
    await log.truncate(2);
    expect(values(await log.readEntries())).toEqual([3, 4, 5, 6]);
    await log.truncate(6);
    expect(values(await log.readEntries())).toEqual([6]);
    expect(values(await log.readEntries(2))).toEqual([6]);
    await log.truncate(7);
    expect([await log.readEntries(), log.getCurrentSequence()]).toEqual([[], 6]);
    await log.writeEntry(walEntry(7));
    expect(numbers(await log.readEntries())).toEqual([7]);
    await log.close();
  });

  test("truncate beyond the end is refused, unless a checkpoint is the last entry", async () => {
    const log = await open();
    await log.truncate(5);
    await log.writeBatch([walEntry(1), walEntry(2)]);
    const error = await errorOf(log.truncate(4));
    expect(error).toBeInstanceOf(StorageError);
    expect((error as StorageError).remedy).toContain("before 3");
    expect(values(await log.readEntries())).toEqual([1, 2]);
    const { sequenceNumber } = await log.createCheckpoint();
    await log.truncate(sequenceNumber + 10);
    expect([await log.readEntries(), log.getCurrentSequence()]).toEqual([[], 3]);
    await log.close();
  });

  // [truncateAfter inside a batch]
  test("truncateAfter drops whole batches from the end only", async () => {
    const log = await open();
    for (const batch of [[1, 2, 3], [4], [5, 6]]) {
      await log.writeBatch(batch.map((value) => walEntry(value)));
    }
    for (const inside of [1, 2, 5]) {
      expect(await errorOf(log.truncateAfter(inside))).toBeInstanceOf(StorageError);
    }
    await log.truncateAfter(6);
    await log.truncateAfter(99);
    expect(log.getCurrentSequence()).toBe(6);
    await log.truncateAfter(4);
    expect([values(await log.readEntries()), log.getCurrentSequence()]).toEqual([[1, 2, 3, 4], 4]);
    await log.writeEntry(walEntry("other"));
    expect(values(await log.readEntries(4))).toEqual([4, "other"]);
    await log.truncateAfter(0);
    expect([await log.readEntries(), log.getCurrentSequence()]).toEqual([[], 0]);
    await log.close();
  });

  test("truncateAfter waits for what is being written, and never cuts below the head", async () => {
    const log = await open();
    const written = [1, 2, 3].map((value) => log.writeEntry(walEntry(value)));
    await log.truncateAfter(0);
    await Promise.all(written);
    expect(log.getCurrentSequence()).toBe(0);
    await log.writeEntry(walEntry(1));
    await log.writeEntry(walEntry(2));
    await log.truncate(2);
    expect(await errorOf(log.truncateAfter(0))).toBeInstanceOf(StorageError);
    expect(values(await log.readEntries())).toEqual([2]);
    await log.close();
  });

  test("createCheckpoint is an entry with the next number; each has its own name", async () => {
    const log = await open();
    const empty = await log.createCheckpoint();
    expect(empty).toMatchObject({ sequenceNumber: 1, transactionIds: [] });
    await log.writeEntry(walEntry(1));
    const [one, two] = [await log.createCheckpoint(), await log.createCheckpoint()];
    expect([one.sequenceNumber, two.sequenceNumber, log.getCurrentSequence()]).toEqual([3, 4, 4]);
    expect(new Set([empty.checkpointId, one.checkpointId, two.checkpointId]).size).toBe(3);
    expect(one.timestamp).toBe(standingClock.wallMs());
    const [entry] = await log.readEntries(3);
    expect(entry).toMatchObject({
      ...{ operation: "CHECKPOINT", sequenceNumber: 3 },
      data: { checkpointId: one.checkpointId },
    });
    await log.close();
  });

  // [flush forgets the open batch]
  // History: the open batch was not written yet, and flush looked only at what was.
  test("flush resolves when all that was written before is durable", async () => {
    const log = await open();
    const written = log.writeEntry(walEntry(1));
    await log.flush();
    expect(log.getCurrentSequence()).toBe(1);
    expect(log.syncedThrough).toBeGreaterThan(0);
    await written;
    await log.flush();
    await log.close();
  });

  test("recover says what opening found", async () => {
    const log = await open();
    expect(await log.recover()).toMatchObject({ entries: 0, lastSequence: 0, tornBytes: 0 });
    await log.close();
  });

  // [close twice] History: two calls of close at once closed the same file twice.
  test("close waits for what was written, can be repeated, and ends the log", async () => {
    const log = await open();
    const written = [1, 2, 3].map((value) => log.writeEntry(walEntry(value)));
    await Promise.all([log.close(), log.close()]);
    await Promise.all(written);
    await log.close();
    expect(log.getCurrentSequence()).toBe(3);
    for (const call of [
      () => log.writeEntry(walEntry(4)),
      () => log.writeBatch([walEntry(4)]),
      () => log.flush(),
      () => log.createCheckpoint(),
    ]) {
      const error = await errorOf(call());
      expect(error).toBeInstanceOf(CStoreError);
      expect((error as CStoreError).message).toContain("closed");
    }
    expect(log.getCurrentSequence()).toBe(3);
  });

  test("readers beside writers see a prefix without holes", async () => {
    const log = await open();
    let acknowledged = 0;
    const writing = Array.from({ length: 60 }, async (_, i) => {
      await settle(1 + (i % 7));
      await log.writeEntry(walEntry("x".repeat((i % 5) * 1_000)));
      acknowledged += 1;
    });
    for (let round = 0; round < 12; round += 1) {
      const before = acknowledged;
      const read = numbers(await log.readEntries());
      expect(read).toEqual(Array.from({ length: read.length }, (_, i) => i + 1));
      expect(read.length).toBeGreaterThanOrEqual(before);
    }
    await Promise.all(writing);
    expect(await log.readEntries()).toHaveLength(60);
    await log.close();
  });

  // [reader ignores removals]
  // History: entries that went while a reader waited broke an assertion, or left a hole.
  test("a reader beside truncate and truncateAfter sees one log, not two", async () => {
    const log = await open();
    const text = "x".repeat(400_000);
    for (let i = 0; i < 12; i += 1) await log.writeEntry(walEntry([i, text]));
    const reading = log.readEntries();
    await log.truncate(7);
    expect(numbers(await reading)).toSatisfy((read) => read.length === 6 || read.length === 12);
    const again = log.readEntries();
    await log.truncateAfter(8);
    await log.writeBatch([1, 2, 3].map((value) => walEntry(value)));
    const read = numbers(await again);
    const sorted = [...new Set(read)].sort((a, b) => a - b);
    expect(read).toEqual(sorted);
    expect([2, 5, 6]).toContain(read.length);
    await log.close();
  });

  test("any value that is stored comes back", async () => {
    const log = await open();
    let last = 0;
    const property = fc.asyncProperty(
      fc.array(fc.tuple(storedValue(), storedValue(), fc.string({ unit: "grapheme" })), {
        minLength: 1,
        maxLength: 6,
      }),
      async (rows) => {
        const entries = rows.map(([key, newValue, collectionName], i) =>
          walEntry(newValue, {
            collectionName,
            data: { key, newValue, oldValue: i, extra: { [collectionName || "-"]: key } },
            type: "COMMIT",
            operation: "INDEX_CHANGE",
            nodeId: "n1",
            term: i,
          }),
        );
        await log.writeBatch(entries);
        const read = await log.readEntries(last + 1);
        expect(read).toEqual(entries);
        last += entries.length;
      },
    );
    await fc.assert(property, { numRuns: 150, seed: 4 });
    await log.close();
  });

  test("commands of consensus and clients read as entries, also compressed ones", async () => {
    const log = await open();
    const noop = sealBatch(
      clusterBatch("NOOP", 5, () => {}),
      {
        term: 3,
        index: 1,
        firstSequence: 1,
      },
    );
    const writer = new ByteWriter(64 * 1024);
    writer.reserve(BATCH_HEADER_SIZE);
    const operations: DocumentOperation[] = [
      {
        kind: "INSERT",
        key: encodeKey("a"),
        document: encodeCbor({ id: "a", n: "n".repeat(9_000) }),
      },
      { kind: "PUT", key: encodeKey(7), document: encodeCbor({ id: 7 }), ifVersion: 3 },
      { kind: "MERGE", key: encodeKey("a"), document: encodeCbor({}), returnDocument: true },
      { kind: "REMOVE", key: encodeKey(-1.5), document: new Uint8Array(0) },
    ];
    const identity = { sessionId: 9, requestNumber: 2, acknowledgedBelow: 1 };
    writeDocumentsCommand(writer, identity, { collection: encodeText("größe"), operations });
    const compression = { codec: "deflate-raw", compressor: zlibCompressor } as const;
    const prepared = prepareBatch(writer.copy(), { count: 4, timeMs: 77 }, compression);
    expect(prepared.codec).toBe("deflate-raw");
    const documents = sealBatch(prepared, { term: 4, index: 2, firstSequence: 2 });
    log.write({
      hardState: { term: 4, vote: "n1" },
      entries: [
        { term: 3, index: 1, firstSequence: 1, count: 1, bytes: noop },
        { term: 4, index: 2, firstSequence: 2, count: 4, bytes: documents },
      ],
      commitIndex: 0,
    });

    const read = await log.readEntries();
    const shown = read.map((entry) => [
      entry.sequenceNumber,
      entry.operation,
      entry.collectionName,
      entry.data.key,
      entry.term,
      entry.timestamp,
      entry.transactionId,
    ]);
    expect(shown).toEqual([
      [1, "NOOP", "*", "NOOP", 3, 5, ""],
      [2, "INSERT", "größe", "a", 4, 77, "9-2"],
      [3, "STORE", "größe", 7, 4, 77, "9-2"],
      [4, "UPDATE", "größe", "a", 4, 77, "9-2"],
      [5, "DELETE", "größe", -1.5, 4, 77, "9-2"],
    ]);
    expect(read[1]?.data.newValue).toEqual({ id: "a", n: "n".repeat(9_000) });
    expect("newValue" in read[4]!.data).toBe(false);
    for (const { sequenceNumber: _number, checksum, ...fields } of read) {
      expect(checksum).toBe(checksum64(encodeCbor(fields)).toString(16).padStart(16, "0"));
    }
    expect(numbers(await log.readEntries(4))).toEqual([4, 5]);
    await log.close();
  });
});
