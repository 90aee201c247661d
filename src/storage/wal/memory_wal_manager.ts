/**
 * MemoryWALManager: the same contract without files. A process that ends has lost it all, so in a
 * cluster such a node is a new incarnation at every start.
 *
 * @module
 */

import { StorageError } from "../../base/errors.ts";
import type { Clock } from "../../platform/clock.ts";
import { systemClock } from "../../platform/clock.ts";
import { zlibCompressor } from "../../platform/compression.ts";
import { batchCommands, decodeBatchHeader } from "../../protocol/encoding/batch_codec.ts";
import type { Entry, HardState, LogIndex, Term } from "../../raft/types.ts";
import { EntryWriter } from "./entry_writer.ts";
import type {
  IWALManager,
  RecoveryReport,
  ReplicatedLog,
  WALCheckpoint,
  WALEntry,
} from "./iwal_manager.ts";
import { type LogBase, LogTable } from "./log_table.ts";
import { readEntryCommands } from "./wal_entry_codec.ts";

/** A log in memory. */
export class MemoryWALManager implements IWALManager, ReplicatedLog {
  readonly #clock: Clock;
  readonly #table = new LogTable(Number.POSITIVE_INFINITY);
  readonly #entryWriter: EntryWriter;
  #hardState: HardState = { term: 0, vote: undefined };
  #writes = 0;
  #synced = 0;
  #sizeBytes = 0;
  #checkpoints = 0;
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

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get writtenBytes(): number {
    return this.#sizeBytes;
  }

  bytesBehind(index: LogIndex): number {
    return this.#table.bytesBehind(index);
  }

  get syncSinceMs(): undefined {
    return undefined;
  }

  get syncedThrough(): number {
    return this.#synced;
  }

  firstIndex(): LogIndex {
    return this.#table.firstIndex();
  }

  lastIndex(): LogIndex {
    return this.#table.lastIndex();
  }

  term(index: LogIndex): Term | undefined {
    return this.#table.term(index);
  }

  sequenceAfter(index: LogIndex): number {
    return this.#table.sequenceAfter(index);
  }

  entries(from: LogIndex, to: LogIndex, bytesMax: number): readonly Entry[] | undefined {
    return this.#table.entries(from, to, bytesMax);
  }

  readFromDisk(from: LogIndex, bytesMax: number): readonly Entry[] {
    return this.#table.entries(from, this.lastIndex(), bytesMax) ?? [];
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
    this.#hardState = change.hardState ?? this.#hardState;
    for (const entry of change.entries) {
      this.#table.append(entry, { segmentNumber: 0, at: 0, size: entry.bytes.byteLength });
      this.#sizeBytes += entry.bytes.byteLength;
    }
    this.#writes += 1;
    return this.#writes;
  }

  restartBehind(base: LogBase): number {
    this.#assertOpen();
    this.#table.startBehind(base);
    this.#writes += 1;
    return this.#writes;
  }

  /** Nothing to wait for, but the answer comes later all the same, as from a disk. */
  requestSync(): void {
    const through = this.#writes;
    queueMicrotask(() => {
      if (through <= this.#synced) return;
      this.#synced = through;
      this.#handlers?.synced(through);
    });
  }

  async compactTo(base: LogBase): Promise<void> {
    this.#table.compactTo(base);
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
    const wanted = this.#table.indexOfSequence(fromSequence);
    if (wanted === 0 && fromSequence > this.getCurrentSequence()) return [];
    const from = Math.max(wanted, this.firstIndex());
    for (const { bytes } of this.readFromDisk(from, Number.POSITIVE_INFINITY)) {
      const header = decodeBatchHeader(bytes);
      const commands = batchCommands(bytes, header, zlibCompressor);
      for (const entry of readEntryCommands(commands, header)) {
        if (entry.sequenceNumber >= fromSequence) found.push(entry);
      }
    }
    return found;
  }

  async truncate(beforeSequence: number): Promise<void> {
    const isAll = beforeSequence > this.getCurrentSequence();
    const index = isAll ? this.lastIndex() : this.#table.indexOfSequence(beforeSequence) - 1;
    const term = this.term(index);
    if (index <= this.base.index || term === undefined) return;
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
  }

  async flush(): Promise<void> {
    this.#entryWriter.seal();
    this.#assertOpen();
    this.#synced = this.#writes;
  }

  async recover(): Promise<RecoveryReport> {
    return { entries: 0, lastSequence: 0, tornBytes: 0, durationMs: 0 };
  }

  async createCheckpoint(): Promise<WALCheckpoint> {
    this.#assertOpen();
    const sequenceNumber = this.getCurrentSequence();
    this.#checkpoints += 1;
    const checkpointId = `checkpoint-${sequenceNumber}-${this.#checkpoints}`;
    return { checkpointId, timestamp: this.#clock.wallMs(), sequenceNumber, transactionIds: [] };
  }

  getCurrentSequence(): number {
    return this.#table.sequenceAfter(this.#table.lastIndex()) - 1;
  }

  async close(): Promise<void> {
    await this.#entryWriter.idle();
    this.#isClosed = true;
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new StorageError("Cannot use the log: it is closed");
  }
}
