/**
 * Batches of `writeEntry` calls: which calls share one, when it is written, and which calls end
 * with it.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { ValidationError } from "../../../src/base/errors.ts";
import { BATCH_BODY_SIZE_GOAL, BATCH_BODY_SIZE_MAX } from "../../../src/base/limits.ts";
import type { Clock } from "../../../src/platform/clock.ts";
import {
  BATCH_HEADER_SIZE,
  batchCommands,
  UNCOMPRESSED,
  verifyBatch,
} from "../../../src/protocol/encoding/batch_codec.ts";
import type { Entry } from "../../../src/raft/types.ts";
import { type EntryTarget, EntryWriter } from "../../../src/storage/wal/entry_writer.ts";
import type { WALEntry } from "../../../src/storage/wal/iwal_manager.ts";
import { readEntryCommands } from "../../../src/storage/wal/wal_entry_codec.ts";
import { errorOf, settle, walEntry } from "../log_fixture.ts";

const WALL_MS = 1_700_000_000_000.75;

/**
 * A log that keeps what it is given; its flushes and its clock's turns end when the test says so.
 */
class Target implements EntryTarget {
  readonly written: Entry[] = [];
  readonly commits: number[] = [];
  readonly soon: (() => void)[] = [];
  readonly flushes: { resolve(): void; reject(cause: unknown): void }[] = [];
  refusal: Error | undefined;

  lastIndex(): number {
    return 7 + this.written.length;
  }

  sequenceAfter(index: number): number {
    const entry = this.written[index - 8];
    return entry === undefined ? 20 : entry.firstSequence + entry.count;
  }

  write(change: {
    readonly hardState: undefined;
    readonly entries: readonly Entry[];
    readonly commitIndex: number;
  }): number {
    if (this.refusal !== undefined) throw this.refusal;
    this.written.push(...change.entries);
    this.commits.push(change.commitIndex);
    return this.written.length;
  }

  flush(): Promise<void> {
    return new Promise((resolve, reject) => this.flushes.push({ resolve, reject }));
  }

  clock(): Clock {
    return {
      nowMs: () => 0,
      wallMs: () => WALL_MS,
      setTimer: () => () => {},
      soon: (run) => void this.soon.push(run),
    };
  }

  turn(): void {
    for (const run of this.soon.splice(0)) run();
  }
}

function pair(): { readonly target: Target; readonly writer: EntryWriter } {
  const target = new Target();
  return { target, writer: new EntryWriter(target, target.clock()) };
}

function valuesOf(entry: Entry): unknown[] {
  return readBatch(entry).map(({ data }) => data.newValue);
}

function readBatch(entry: Entry): WALEntry[] {
  const header = verifyBatch(entry.bytes);
  const commands = batchCommands(entry.bytes, header, UNCOMPRESSED.compressor);
  return readEntryCommands(commands, header);
}

/** Bytes of an entry's command whose value is a text of that many characters. */
function sizeOf(characters: number): number {
  const { target, writer } = pair();
  void writer.write([walEntry("x".repeat(characters))]);
  writer.seal();
  return target.written[0]!.bytes.byteLength - BATCH_HEADER_SIZE;
}

test("the calls of one turn are one batch at the end of the log", async () => {
  const { target, writer } = pair();
  const entries = [1, 2, 3].map((value) => walEntry(value));
  const written = [writer.write(entries.slice(0, 2)), writer.write(entries.slice(2))];
  expect([target.written.length, target.soon.length]).toEqual([0, 1]);
  target.turn();
  expect(target.written.map((entry) => ({ ...entry, bytes: valuesOf(entry) }))).toEqual([
    { term: 1, index: 8, firstSequence: 20, count: 3, bytes: [1, 2, 3] },
  ]);
  expect([target.commits, target.flushes.length]).toEqual([[8], 1]);
  expect(entries.map(({ sequenceNumber }) => sequenceNumber)).toEqual([20, 21, 22]);
  expect(readBatch(target.written[0]!)).toEqual(entries);
  const { term, index, firstSequence, count, timeMs } = verifyBatch(target.written[0]!.bytes);
  expect({ term, index, firstSequence, count, timeMs }).toEqual({
    ...{ term: 1, index: 8, firstSequence: 20, count: 3 },
    timeMs: Math.floor(WALL_MS),
  });
  target.flushes[0]?.resolve();
  await Promise.all(written);
});

test("the next turn's calls are another batch, in a turn of its own", async () => {
  const { target, writer } = pair();
  void writer.write([walEntry(1)]);
  target.turn();
  void writer.write([walEntry(2)]);
  expect(target.soon.length).toBe(1);
  target.turn();
  expect(target.written.map(({ index, firstSequence }) => [index, firstSequence])).toEqual([
    [8, 20],
    [9, 21],
  ]);
  expect(target.written.map(valuesOf)).toEqual([[1], [2]]);
});

test("a sealed batch is written at once, and its turn then writes nothing", () => {
  const { target, writer } = pair();
  writer.seal();
  expect(target.written).toEqual([]);
  void writer.write([walEntry(1)]);
  writer.seal();
  expect(target.written.map(valuesOf)).toEqual([[1]]);
  void writer.write([walEntry(2)]);
  writer.seal();
  target.turn();
  expect(target.written.map(valuesOf)).toEqual([[1], [2]]);
  // A turn of an earlier batch does not cut a later one short.
  void writer.write([walEntry(3)]);
  expect(target.written.length).toBe(2);
});

test("a batch above the goal is written without waiting for the turn's end", () => {
  const own = sizeOf(0);
  const fits = BATCH_BODY_SIZE_GOAL - BATCH_HEADER_SIZE - own;
  // The text's length takes four more bytes in CBOR than that of the empty one.
  for (const [characters, count] of [
    [fits - 4, 0],
    [fits - 3, 1],
  ] as const) {
    const { target, writer } = pair();
    void writer.write([walEntry("x".repeat(characters))]);
    expect([characters, target.written.length]).toEqual([characters, count]);
  }
});

test("entries that do not fit any more begin the next batch; too large ones are refused", async () => {
  const large = BATCH_BODY_SIZE_GOAL - 2_000;
  const { target, writer } = pair();
  void writer.write([walEntry("x".repeat(large))]);
  const most = BATCH_BODY_SIZE_MAX - sizeOf(0) - 4;
  void writer.write([walEntry("y".repeat(most))]);
  expect(target.written.map(({ bytes }) => bytes.byteLength - BATCH_HEADER_SIZE)).toEqual([
    sizeOf(large),
    BATCH_BODY_SIZE_MAX,
  ]);
  expect(() => writer.write([walEntry("y".repeat(most + 1))])).toThrow(ValidationError);
  expect(() => writer.write([walEntry("y".repeat(most + 1))])).toThrow(
    "Cannot write entries: they do not fit into one batch",
  );
  void writer.write([walEntry("z")]);
  writer.seal();
  expect(valuesOf(target.written[2]!)).toEqual(["z"]);
});

test("an entry that cannot be encoded leaves nothing in the open batch", () => {
  const { target, writer } = pair();
  void writer.write([walEntry(1)]);
  expect(() => writer.write([walEntry(2), walEntry(() => 0)])).toThrow(ValidationError);
  void writer.write([walEntry(3)]);
  target.turn();
  expect(target.written.map(valuesOf)).toEqual([[1, 3]]);
});

test("each call resolves when its batch is durable, and idle when all are", async () => {
  const { target, writer } = pair();
  const events: string[] = [];
  void writer.write([walEntry(1)]).then(() => events.push("first"));
  writer.seal();
  void writer.write([walEntry(2)]).then(() => events.push("second"));
  void writer.idle().then(() => events.push("idle"));
  // The open batch was sealed.
  expect(target.written.length).toBe(2);
  await settle();
  expect(events).toEqual([]);
  target.flushes[0]?.resolve();
  await settle();
  expect(events).toEqual(["first"]);
  target.flushes[1]?.resolve();
  await settle();
  expect(events).toEqual(["first", "second", "idle"]);
  await writer.idle();
});

test("a failed flush rejects the calls of its batch only, and the writer is idle after it", async () => {
  const { target, writer } = pair();
  const failed = [errorOf(writer.write([walEntry(1)])), errorOf(writer.write([walEntry(2)]))];
  writer.seal();
  const fine = errorOf(writer.write([walEntry(3)]));
  writer.seal();
  const idle = writer.idle();
  const cause = new Error("EIO");
  target.flushes[0]?.reject(cause);
  target.flushes[1]?.resolve();
  expect(await Promise.all([...failed, fine])).toEqual([cause, cause, undefined]);
  await idle;
});

test("a log that refuses the write rejects the calls", async () => {
  const { target, writer } = pair();
  target.refusal = new Error("closed");
  const written = errorOf(writer.write([walEntry(1)]));
  target.turn();
  expect(await written).toBe(target.refusal);
  await writer.idle();
});
