/**
 * MemoryWALManager: the same contract without files. The log ends with its process, so in a cluster
 * such a node is a new incarnation at every start.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { StorageError } from "../../base/errors.ts";
import { type Clock, systemClock } from "../../platform/clock.ts";
import { zlibCompressor } from "../../platform/compression.ts";
import type { Entry, HardState, LogIndex, Term } from "../../raft/types.ts";
import { operationsIn } from "./entry_reader.ts";
import { checkpointNote, checkTruncation, EntryWriter, writeCheckpoint } from "./entry_writer.ts";
import type {
  IWALManager,
  RecoveryReport,
  ReplicatedLog,
  WALCheckpoint,
  WALEntry,
} from "./iwal_manager.ts";
import { type LogBase, LogTable } from "./log_table.ts";

/** A log in memory. */
export class MemoryWALManager implements IWALManager, ReplicatedLog {
  readonly #clock: Clock;
  readonly #table = new LogTable(Number.POSITIVE_INFINITY);
  readonly #entryWriter: EntryWriter;
  #hardState: HardState = { term: 0, vote: undefined };
  /** Number of the last write, which stands for a record's number. */
  #writes = 0;
  /** Highest write that counts as durable: `#synced <= #writes`, rising. */
  #synced = 0;
  #sizeBytes = 0;
  #checkpoints = 0;
  /** Operations before it are hidden, also inside of the first kept batch. */
  #hiddenBefore = 0;
  #handlers: { synced(through: number): void } | undefined;
  #isClosed = false;

  constructor(options: { readonly clock?: Clock } = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#entryWriter = new EntryWriter(this, this.#clock);
  }

  get hardState(): HardState {
    return this.#hardState;
  }

  get base(): LogBase {
    return this.#table.base;
  }

  get recoveredCommit(): LogIndex {
    return this.#table.base.index;
  }

  /** A log in memory begins empty. */
  get clusterEntries(): readonly Entry[] {
    return [];
  }

  /** Bytes of all batches ever written. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get writtenBytes(): number {
    assert(
      this.#sizeBytes >= this.#table.bytesBehind(this.base.index),
      "kept batches were written",
    );
    return this.#sizeBytes;
  }

  bytesBehind(index: LogIndex): number {
    const bytes = this.#table.bytesBehind(index);
    assert(bytes <= this.#sizeBytes, "only written batches are kept");
    return bytes;
  }

  get syncSinceMs(): undefined {
    return undefined;
  }

  get syncedThrough(): number {
    assert(this.#synced <= this.#writes, "no write is durable before it is done");
    return this.#synced;
  }

  firstIndex(): LogIndex {
    assert(this.#table.firstIndex() === this.base.index + 1, "the log begins behind its base");
    return this.#table.firstIndex();
  }

  lastIndex(): LogIndex {
    assert(this.#table.lastIndex() + 1 >= this.firstIndex(), "the log has no hole");
    return this.#table.lastIndex();
  }

  term(index: LogIndex): Term | undefined {
    return this.#table.term(index);
  }

  sequenceAfter(index: LogIndex): number {
    const sequence = this.#table.sequenceAfter(index);
    assert(sequence >= 1, "the first operation has number 1");
    return sequence;
  }

  entries(from: LogIndex, to: LogIndex, bytesMax: number): readonly Entry[] | undefined {
    return this.#table.entries(from, to, bytesMax);
  }

  readFromDisk(from: LogIndex, bytesMax: number): readonly Entry[] {
    assert(from >= this.firstIndex(), "the first wanted entry is kept");
    const last = this.lastIndex();
    const entries = this.#table.entries(from, last, bytesMax) ?? [];
    assert(
      from + entries.length - 1 <= Math.max(last, from),
      "no entry behind the last one is given",
    );
    return entries;
  }

  listen(handlers: { synced(through: number): void; failed(cause: unknown): void }): void {
    this.#handlers = handlers;
  }

  write(change: {
    readonly hardState: HardState | undefined;
    readonly entries: readonly Entry[];
    readonly commitIndex: LogIndex;
  }): number {
    this.#assertOpen();
    const { term } = this.#hardState;
    assert((change.hardState?.term ?? term) >= term, "a term does not go back");
    this.#hardState = change.hardState ?? this.#hardState;
    for (const entry of change.entries) {
      assert(entry.term >= (this.term(entry.index - 1) ?? 0), "terms do not go back in a log");
      this.#table.append(entry, { segmentNumber: 0, at: 0, size: entry.bytes.byteLength });
      this.#sizeBytes += entry.bytes.byteLength;
      assert(this.lastIndex() === entry.index, "an entry becomes the last one");
    }
    assert((change.entries.at(-1)?.index ?? 0) <= this.lastIndex(), "the entries are in the log");
    this.#writes += 1;
    return this.#writes;
  }

  restartBehind(base: LogBase): number {
    this.#assertOpen();
    this.#table.startBehind(base);
    assert(this.lastIndex() === base.index, "the log is empty behind the snapshot");
    assert(this.getCurrentSequence() === base.nextSequence - 1, "sequence numbers go on");
    this.#writes += 1;
    return this.#writes;
  }

  /** Writes are durable at once, but that is reported later, as from a disk. */
  requestSync(): void {
    const through = this.#writes;
    assert(through >= this.#synced, "no write is durable before it is done");
    queueMicrotask(() => {
      if (through <= this.#synced) return;
      assert(through <= this.#writes, "write numbers do not go back");
      this.#synced = through;
      this.#handlers?.synced(through);
    });
  }

  async compactTo(base: LogBase): Promise<void> {
    this.#table.compactTo(base);
    assert(this.firstIndex() > base.index, "the log begins behind its new base");
    assert(this.firstIndex() <= this.lastIndex() + 1, "the log does not end before its base");
  }

  async writeEntry(entry: WALEntry): Promise<void> {
    await this.#entryWriter.write([entry]);
  }

  async writeBatch(entries: WALEntry[]): Promise<void> {
    if (entries.length > 0) await this.#entryWriter.write(entries);
  }

  async readEntries(fromSequence = 1): Promise<WALEntry[]> {
    await this.#entryWriter.idle();
    const found: WALEntry[] = [];
    const firstShown = Math.max(fromSequence, this.#hiddenBefore);
    const wanted = this.#table.indexOfSequence(fromSequence);
    if (wanted === 0 && fromSequence > this.getCurrentSequence()) return [];
    const from = Math.max(wanted, this.firstIndex());
    assert(from <= this.lastIndex() + 1, "the reading begins inside the log");
    for (const entry of this.readFromDisk(from, Number.POSITIVE_INFINITY)) {
      for (const read of operationsIn(entry, firstShown, zlibCompressor)) found.push(read);
    }
    return found;
  }

  async truncate(beforeSequence: number): Promise<void> {
    await this.#entryWriter.idle();
    const current = this.getCurrentSequence();
    checkTruncation(beforeSequence, current, await this.readEntries(current));
    const isAll = beforeSequence > current;
    const index = isAll ? this.lastIndex() : this.#table.indexOfSequence(beforeSequence) - 1;
    const term = this.term(index);
    if (!isAll) this.#hiddenBefore = Math.max(this.#hiddenBefore, beforeSequence);
    assert(this.#hiddenBefore <= current, "an operation behind the hidden ones is there");
    if (index <= this.base.index || term === undefined) return;
    assert(index <= this.lastIndex(), "entries behind the last one are not dropped");
    await this.compactTo({ index, term, nextSequence: this.sequenceAfter(index) });
  }

  async truncateAfter(sequence: number): Promise<void> {
    await this.#entryWriter.idle();
    const index = this.#table.indexOfSequence(sequence + 1);
    if (index === 0) return;
    if (this.sequenceAfter(index - 1) !== sequence + 1) {
      throw new StorageError(`Cannot drop entries behind ${sequence}: it does not end a batch`);
    }
    this.#table.truncateFrom(index);
    assert(this.getCurrentSequence() === sequence, "the log ends with the wanted operation");
  }

  async flush(): Promise<void> {
    this.#entryWriter.seal();
    this.#assertOpen();
    assert(this.#synced <= this.#writes, "no write is durable before it is done");
    this.#synced = this.#writes;
  }

  async recover(): Promise<RecoveryReport> {
    return { entries: 0, lastSequence: 0, tornBytes: 0, durationMs: 0 };
  }

  async createCheckpoint(): Promise<WALCheckpoint> {
    this.#assertOpen();
    this.#checkpoints += 1;
    const [name, timestamp] = [String(this.#checkpoints), this.#clock.wallMs()];
    if (this.#handlers === undefined) return writeCheckpoint(this, name, timestamp);
    return checkpointNote(this.getCurrentSequence(), name, timestamp).checkpoint;
  }

  getCurrentSequence(): number {
    const next = this.#table.sequenceAfter(this.#table.lastIndex());
    assert(next >= this.base.nextSequence, "sequence numbers do not go back");
    return next - 1;
  }

  async close(): Promise<void> {
    await this.#entryWriter.idle();
    this.#isClosed = true;
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new StorageError("Cannot use the log: it is closed");
  }
}
