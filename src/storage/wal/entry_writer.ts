/**
 * Collects the `writeEntry` calls of one turn into one batch, for a log without consensus.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteReader, ByteWriter } from "../../base/bytes.ts";
import { StorageError, ValidationError } from "../../base/errors.ts";
import { BATCH_BODY_SIZE_GOAL, BATCH_BODY_SIZE_MAX } from "../../base/limits.ts";
import type { Clock } from "../../platform/clock.ts";
import {
  BATCH_HEADER_SIZE,
  prepareBatch,
  sealBatch,
  UNCOMPRESSED,
} from "../../protocol/encoding/batch_codec.ts";
import type { Entry } from "../../raft/types.ts";
import type { IWALManager, WALCheckpoint, WALEntry } from "./iwal_manager.ts";
import { entryChecksum, writeEntryCommand } from "./wal_entry_codec.ts";

/** The term of a log with a single writer. */
const OWN_TERM = 1;

/** The log that the batches are written to. */
export interface EntryTarget {
  /** `0 <= lastIndex()`; a write of one entry raises it by one. */
  lastIndex(): number;
  /** Sequence number behind the entry at an index: `1 <= sequenceAfter(lastIndex())`. */
  sequenceAfter(index: number): number;
  write(change: {
    readonly hardState: undefined;
    readonly entries: readonly Entry[];
    readonly commitIndex: number;
  }): number;
  /** Resolves when everything written so far is durable. */
  flush(): Promise<void>;
}

interface Waiter {
  resolve(): void;
  reject(cause: unknown): void;
}

/** Entries in, one batch a turn out. */
export class EntryWriter {
  readonly #target: EntryTarget;
  readonly #clock: Clock;
  /** The open batch: room for its header, then the commands of `#entries`. */
  #open = new ByteWriter(4096);
  #entries: WALEntry[] = [];
  #waiters: Waiter[] = [];
  #isQueued = false;
  /** Batches that are written and not durable yet. */
  #underway = 0;
  #idleWaiters: (() => void)[] = [];

  constructor(target: EntryTarget, clock: Clock) {
    this.#target = target;
    this.#clock = clock;
    this.#open.reserve(BATCH_HEADER_SIZE);
  }

  /** Resolves when all the entries, which stay in one batch, are durable. */
  write(entries: readonly WALEntry[]): Promise<void> {
    const before = this.#open.size;
    assert(before >= BATCH_HEADER_SIZE, "the open batch has room for its header");
    this.#encode(entries);
    assert(before <= this.#open.size, "encoding appends to the open batch");
    if (this.#open.size - BATCH_HEADER_SIZE > BATCH_BODY_SIZE_MAX) {
      this.#open.rewind(before);
      assert(this.#open.size === before, "entries that do not fit leave nothing behind");
      if (before === BATCH_HEADER_SIZE) {
        throw new ValidationError("Cannot write entries: they do not fit into one batch");
      }
      this.seal();
      return this.write(entries);
    }
    return new Promise((resolve, reject) => {
      for (const entry of entries) this.#entries.push(entry);
      this.#waiters.push({ resolve, reject });
      assert(this.#waiters.length <= this.#entries.length, "each call brings an entry");
      if (this.#open.size > BATCH_BODY_SIZE_GOAL) this.seal();
      else this.#queue();
    });
  }

  /** A refused entry leaves nothing behind in the open batch. */
  #encode(entries: readonly WALEntry[]): void {
    const before = this.#open.size;
    try {
      for (const entry of entries) {
        entry.checksum = entryChecksum(writeEntryCommand(this.#open, entry));
      }
    } catch (cause) {
      this.#open.rewind(before);
      assert(this.#open.size === before, "a refused entry leaves nothing behind");
      throw cause;
    }
  }

  /** Resolves when every batch written so far is durable or has failed. */
  async idle(): Promise<void> {
    this.seal();
    if (this.#underway === 0) return;
    await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
  }

  #queue(): void {
    if (this.#isQueued) return;
    this.#isQueued = true;
    // No microtask: all callers that waited for one sync write their next entry before this runs.
    this.#clock.soon(() => {
      if (this.#isQueued) this.seal();
    });
  }

  /** Ends the open batch and writes it. */
  seal(): void {
    this.#isQueued = false;
    const waiters = this.#waiters;
    const entries = this.#entries;
    if (waiters.length === 0) return;
    assert(waiters.length <= entries.length, "each call brings an entry");
    assert(this.#open.size > BATCH_HEADER_SIZE, "entries take bytes");
    const body = this.#open.written();
    this.#open = new ByteWriter(body.byteLength + 256);
    this.#open.reserve(BATCH_HEADER_SIZE);
    this.#waiters = [];
    this.#entries = [];
    this.#underway += 1;
    this.#append(body, entries).then(
      () => this.#settle(() => waiters.forEach((waiter) => void waiter.resolve())),
      (cause: unknown) =>
        this.#settle(() => waiters.forEach((waiter) => void waiter.reject(cause))),
    );
  }

  async #append(body: Uint8Array, entries: readonly WALEntry[]): Promise<void> {
    const index = this.#target.lastIndex() + 1;
    const firstSequence = this.#target.sequenceAfter(index - 1);
    assert(firstSequence >= index, "each entry takes at least one sequence number");
    const count = entries.length;
    const batch = prepareBatch(
      body,
      { count, timeMs: Math.floor(this.#clock.wallMs()) },
      UNCOMPRESSED,
    );
    const bytes = sealBatch(batch, { term: OWN_TERM, index, firstSequence });
    assert(bytes.byteLength <= BATCH_HEADER_SIZE + BATCH_BODY_SIZE_MAX, "a batch has its bound");
    entries.forEach((entry, i) => {
      entry.sequenceNumber = firstSequence + i;
    });
    const entry = { term: OWN_TERM, index, firstSequence, count, bytes };
    this.#target.write({ hardState: undefined, entries: [entry], commitIndex: index });
    assert(this.#target.lastIndex() === index, "the entry is the last one");
    assert(this.#target.sequenceAfter(index) === firstSequence + count, "it takes its numbers");
    await this.#target.flush();
  }

  #settle(notify: () => void): void {
    this.#underway -= 1;
    notify();
    if (this.#underway > 0) return;
    for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }
}

/** The name of a note that operations before its number are hidden. */
const HIDING = "hidden";

/** The body of such a note: a CHECKPOINT record. */
export function hidingNote(beforeSequence: number): Uint8Array {
  const body = new ByteWriter().u64(beforeSequence).u64(0).text(HIDING).copy();
  assert(hiddenBeforeIn(body) === beforeSequence, "a reader finds the number");
  return body;
}

/** The number in a CHECKPOINT record that hides operations; 0 for any other. */
export function hiddenBeforeIn(body: Uint8Array): number {
  // Two numbers, and a text with its size.
  if (body.byteLength !== 18 + HIDING.length) return 0;
  const reader = new ByteReader(body);
  const [number] = [reader.big64(), reader.big64()];
  const isHiding = reader.text() === HIDING && number <= BigInt(Number.MAX_SAFE_INTEGER);
  assert(reader.offset <= body.byteLength, "the fields are inside of the note");
  return isHiding ? Number(number) : 0;
}

/** The body of a note of a node, and the checkpoint that it stands for: it takes no number. */
export function checkpointNote(
  sequenceNumber: number,
  name: string,
  timestamp: number,
): { readonly body: Uint8Array; readonly checkpoint: WALCheckpoint } {
  const checkpointId = `checkpoint-${sequenceNumber}-${name}`;
  const body = new ByteWriter().u64(sequenceNumber).u64(timestamp).text(checkpointId).copy();
  assert(hiddenBeforeIn(body) === 0, "a checkpoint hides nothing");
  const checkpoint = { checkpointId, timestamp, sequenceNumber, transactionIds: [] };
  return { body, checkpoint };
}

/** A checkpoint of a log that has no other owner: an entry of its own, durable when it resolves. */
export async function writeCheckpoint(
  log: Pick<IWALManager, "writeEntry" | "flush">,
  name: string,
  timestamp: number,
): Promise<WALCheckpoint> {
  const checkpointId = `checkpoint-${name}`;
  const entry: WALEntry = {
    ...{ transactionId: "", sequenceNumber: 0, timestamp, checksum: "" },
    ...{ type: "DATA", collectionName: "*", operation: "CHECKPOINT" },
    data: { key: checkpointId, checkpointId },
  };
  await log.writeEntry(entry);
  await log.flush();
  const { sequenceNumber } = entry;
  assert(sequenceNumber >= 1, "it took a number of its own");
  return { checkpointId, timestamp, sequenceNumber, transactionIds: [] };
}

/**
 * Throws StorageError for a truncation beyond the end, unless the last entry is a checkpoint: it
 * would drop what was written after the last one.
 */
export function checkTruncation(
  beforeSequence: number,
  current: number,
  [last]: readonly WALEntry[],
): void {
  if (beforeSequence <= current + 1 || last === undefined) return;
  assert(last.sequenceNumber <= current, "the last entry has the last number, at most");
  if (last.operation === "CHECKPOINT") return;
  throw new StorageError(
    `Cannot truncate before ${beforeSequence}: the log ends with ${current}, which no checkpoint covers`,
    { remedy: `Truncate before ${current + 1} to drop all of it` },
  );
}
