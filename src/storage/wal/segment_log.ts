/**
 * SegmentLog: the log in segment files. It serves two kinds of owner through the same records:
 * consensus, which decides the order of entries itself (`ReplicatedLog`), and a single user, whose
 * `writeEntry` calls of one turn form one batch (`IWALManager`).
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { CStoreError, StorageError } from "../../base/errors.ts";
import { LOG_CACHE_BYTES, SEGMENT_SIZE_BYTES } from "../../base/limits.ts";
import { compress, decompress } from "../../platform/compression.ts";
import { type Platform, systemPlatform } from "../../platform/platform.ts";
import type { Entry, HardState, LogIndex, Term } from "../../raft/types.ts";
import { openDataDirectory } from "../data_directory.ts";
import type { LogIdentity } from "../identity.ts";
import { OperationLog } from "../operations/operation_log.ts";
import { OperationTable } from "../operations/operation_table.ts";
import { readBytesAt, readEntryAt, readOperations } from "./entry_reader.ts";
import {
  checkpointNote,
  checkTruncation,
  EntryWriter,
  hidingNote,
  writeCheckpoint,
} from "./entry_writer.ts";
import { GroupCommit, SyncWaiters } from "./group_commit.ts";
import type {
  IWALManager,
  RecoveryReport,
  ReplicatedLog,
  WALCheckpoint,
  WALEntry,
} from "./iwal_manager.ts";
import { hardStateRecord, headRecord, headRecords, LogRebuild, tailRecord } from "./log_rebuild.ts";
import { type LogBase, LogTable } from "./log_table.ts";
import { removeSegmentsBefore } from "./segment.ts";
import { type PendingRecord, SegmentWriter } from "./segment_writer.ts";
import { MarkFile, recoverSegments, segmentPath } from "./wal_open.ts";

const COMPRESSOR = { compress, decompress };
/** Bytes of entries that `readEntries` reads before other work gets its turn. */
const READ_PIECE_BYTES = 1024 * 1024;

/** Options of a {@link SegmentLog}. */
export interface FileWALOptions {
  /** Directory of the segments. */
  readonly directory: string;
  readonly identity: LogIdentity;
  readonly segmentSizeBytes?: number;
  /** Bytes of the newest batches that are kept in memory. */
  readonly cacheBytes?: number;
  /** The owner decides about entries: `truncateAfter` is refused when consensus owns the log. */
  readonly owner?: "user" | "consensus";
  /** Frees what was opened with the log, for example a lock. */
  readonly onClose?: () => void;
}

/** The log in files. */
export class SegmentLog implements IWALManager, ReplicatedLog {
  readonly #platform: Platform;
  readonly #options: FileWALOptions;
  readonly #table: LogTable;
  readonly #operationTable: OperationTable;
  /** Operations of collections that every node writes. */
  readonly operations: OperationLog;
  readonly #clusterEntries: readonly Entry[];
  readonly #writer: SegmentWriter;
  readonly #groupCommit: GroupCommit;
  readonly #mark: MarkFile;
  /** What the recovery of this log found. */
  readonly report: RecoveryReport;
  readonly #recoveredCommit: LogIndex;
  readonly #entryWriter: EntryWriter;
  #hardState: HardState;
  /** Highest commit index noted in a record; it does not go back. */
  #commitIndex: LogIndex;
  #syncSinceMs: number | undefined;
  readonly #handlers: { synced(through: number): void; failed(cause: unknown): void }[] = [];
  readonly #syncWaiters = new SyncWaiters();
  #failure: CStoreError | undefined;
  #isClosed = false;
  #closing: Promise<void> | undefined;
  #removal: Promise<void> = Promise.resolve();
  #writtenBytes = 0;
  /** Operations before it are hidden, also inside of the first kept batch. */
  #hiddenBefore: number;
  #checkpoints = 0;

  private constructor(
    platform: Platform,
    options: FileWALOptions,
    opened: {
      readonly rebuild: LogRebuild;
      readonly commitIndex: LogIndex;
      readonly writer: SegmentWriter;
      readonly mark: MarkFile;
      readonly report: RecoveryReport;
    },
  ) {
    this.#platform = platform;
    this.#options = options;
    this.#table = opened.rebuild.table;
    this.#operationTable = opened.rebuild.operations;
    this.operations = new OperationLog({
      table: this.#operationTable,
      append: (bodies) => this.#append(bodies.map((body) => ({ kind: "OPERATIONS", body }))),
      lastRecord: () => this.#writer.lastNumber,
      read: ({ segmentNumber, at, size }) => {
        const path = segmentPath(options.directory, segmentNumber);
        return { bytes: readBytesAt(platform.files, path, { at, size }), path };
      },
    });
    this.#clusterEntries = opened.rebuild.clusterEntries;
    this.#hardState = opened.rebuild.hardState;
    this.#hiddenBefore = opened.rebuild.hiddenBefore;
    this.#commitIndex = opened.commitIndex;
    this.#recoveredCommit = opened.commitIndex;
    this.#writer = opened.writer;
    this.report = opened.report;
    this.#mark = opened.mark;
    assert(this.#table.base.index <= opened.commitIndex, "a compacted entry is committed");
    assert(opened.commitIndex <= this.#table.lastIndex(), "a committed entry is in the log");
    this.#groupCommit = new GroupCommit(
      {
        lastRecord: () => this.#writer.lastNumber,
        sync: () => {
          this.#syncSinceMs = platform.clock.nowMs();
          return this.#writer.sync();
        },
        synced: (through) => this.#onSynced(through),
        failed: (cause) => this.#onFailed(cause),
      },
      this.#writer.lastNumber,
    );
    this.#entryWriter = new EntryWriter(this, platform.clock);
  }

  /**
   * Opens a log for one user: `path` is a directory of its own. Throws LockedError,
   * CorruptionError, StorageError.
   */
  static async create(path: string, platform = systemPlatform()): Promise<SegmentLog> {
    const expected = { clusterId: "0".repeat(16), nodeId: "wal" };
    const { identity, release } = await openDataDirectory(platform, path, expected);
    const options = { directory: `${path}/wal`, identity, onClose: release };
    return SegmentLog.open(platform, options).catch((error: unknown) => {
      release();
      throw error;
    });
  }

  /** Recovers the log, then returns it ready for appends. */
  static async open(platform: Platform, options: FileWALOptions): Promise<SegmentLog> {
    const startMs = platform.clock.nowMs();
    const cacheBytes = options.cacheBytes ?? LOG_CACHE_BYTES;
    const rebuild = new LogRebuild(new LogTable(cacheBytes), new OperationTable(cacheBytes));
    const { verdict, tornBytes } = await recoverSegments(platform.files, options, rebuild);
    const { table } = rebuild;
    const knownCommit = Math.min(verdict.commitIndex, table.lastIndex());
    const commitIndex = Math.max(knownCommit, table.base.index);
    const mark = new MarkFile(platform.files, options.directory);
    const writer = new SegmentWriter(
      platform,
      {
        directory: options.directory,
        segmentSize: options.segmentSizeBytes ?? SEGMENT_SIZE_BYTES,
        identity: options.identity,
        headRecords: () => headRecords(manager?.hardState ?? rebuild.hardState, table.base),
        lastIndex: () => table.lastIndex(),
      },
      verdict,
    );
    let manager: SegmentLog | undefined;
    await writer.start({ syncedThrough: verdict.nextNumber - 1, commitIndex });
    mark.write(writer.lastNumber);
    assert(writer.lastNumber >= verdict.nextNumber - 1, "record numbers go on");
    assert(writer.segmentNumber >= verdict.nextSegmentNumber, "segment numbers go on");
    const report: RecoveryReport = {
      entries: table.lastIndex() - table.base.index,
      lastSequence: table.sequenceAfter(table.lastIndex()) - 1,
      tornBytes,
      durationMs: platform.clock.nowMs() - startMs,
    };
    const opened = { rebuild, commitIndex, writer, mark, report };
    manager = new SegmentLog(platform, options, opened);
    return manager;
  }

  get hardState(): HardState {
    return this.#hardState;
  }

  get base(): LogBase {
    return this.#table.base;
  }

  get recoveredCommit(): LogIndex {
    return this.#recoveredCommit;
  }

  get clusterEntries(): readonly Entry[] {
    return this.#clusterEntries;
  }

  bytesBehind(index: LogIndex): number {
    return this.#table.bytesBehind(index);
  }

  get syncSinceMs(): number | undefined {
    return this.#syncSinceMs;
  }

  get syncedThrough(): number {
    return this.#groupCommit.syncedThrough;
  }

  get writtenBytes(): number {
    return this.#writtenBytes + this.operations.writtenBytes;
  }

  get sizeBytes(): number {
    const oldest = this.#table.oldestSegment() ?? this.#writer.segmentNumber;
    assert(oldest <= this.#writer.segmentNumber, "no entry lies behind the newest segment");
    const count = this.#writer.segmentNumber - oldest + 1;
    assert(count >= 1, "the segment written to is one of them");
    return count * (this.#options.segmentSizeBytes ?? SEGMENT_SIZE_BYTES);
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
    const sequence = this.#table.sequenceAfter(index);
    assert(sequence >= 1, "the first operation has number 1");
    return sequence;
  }

  entries(from: LogIndex, to: LogIndex, bytesMax: number): readonly Entry[] | undefined {
    return this.#table.entries(from, to, bytesMax);
  }

  listen(handlers: { synced(through: number): void; failed(cause: unknown): void }): void {
    this.#handlers.push(handlers);
  }

  write(change: {
    readonly hardState: HardState | undefined;
    readonly entries: readonly Entry[];
    readonly commitIndex: LogIndex;
  }): number {
    this.#assertUsable();
    this.#commitIndex = Math.max(this.#commitIndex, change.commitIndex);
    const records: PendingRecord[] = [];
    if (change.hardState !== undefined) {
      assert(change.hardState.term >= this.#hardState.term, "a term does not go back");
      this.#hardState = change.hardState;
      records.push(hardStateRecord(change.hardState));
    }
    for (const entry of change.entries) records.push({ kind: "BATCH", body: entry.bytes });
    const written = this.#append(records).slice(records.length - change.entries.length);
    assert(written.length === change.entries.length, "each entry has its place");
    change.entries.forEach((entry, i) => {
      const { segmentNumber, bodyAt } = written[i]!;
      const size = entry.bytes.byteLength;
      assert(entry.term >= (this.term(entry.index - 1) ?? 0), "terms do not go back in a log");
      this.#table.append(entry, { segmentNumber, at: bodyAt, size });
      this.#writtenBytes += size;
    });
    assert((change.entries.at(-1)?.index ?? 0) <= this.lastIndex(), "the entries are in the log");
    return this.#writer.lastNumber;
  }

  restartBehind(base: LogBase): number {
    this.#assertUsable();
    this.#table.startBehind(base);
    this.#commitIndex = Math.max(this.#commitIndex, base.index);
    this.#append([headRecord(base), tailRecord(base.index + 1)]);
    assert(this.lastIndex() === base.index, "the log is empty behind the snapshot");
    assert(this.getCurrentSequence() === base.nextSequence - 1, "sequence numbers go on");
    const oldest = this.#oldestSegment();
    this.#removal = this.#removal.catch(() => {}).then(() => this.#removeOnceDurable(oldest));
    // `listen` reports a failure; the next compaction removes files that are left.
    this.#removal.catch(() => {});
    return this.#writer.lastNumber;
  }

  /** Removes older files when the new head is durable. */
  async #removeOnceDurable(oldest: number): Promise<void> {
    await this.flush();
    await removeSegmentsBefore(this.#platform.files, this.#options.directory, oldest);
  }

  requestSync(): void {
    this.#groupCommit.request();
  }

  readFromDisk(from: LogIndex, bytesMax: number): readonly Entry[] {
    const last = this.#table.lastIndex();
    assert(from >= this.#table.firstIndex(), "the first wanted entry is kept");
    assert(from <= last, "the first wanted entry was written");
    const entries: Entry[] = [];
    let bytes = 0;
    for (let index = from; index <= last; index += 1) {
      const { size } = this.#table.position(index);
      if (entries.length > 0 && bytes + size > bytesMax) break;
      entries.push(this.#readEntry(index));
      bytes += size;
    }
    assert(from + entries.length - 1 <= last, "no entry behind the last one is given");
    return entries;
  }

  async compactTo(base: LogBase): Promise<void> {
    if (base.index <= this.#table.base.index) return;
    this.#table.compactTo(base);
    assert(this.firstIndex() === base.index + 1, "the log begins behind its new base");
    this.#append([headRecord(base)]);
    // Read before the flush: entries that are written during it are not durable after it.
    const oldest = this.#oldestSegment();
    // The files that the old head needs are removed only when the new head is durable.
    await this.flush();
    // Compactions may overlap, removals may not: see `removeSegmentsBefore`.
    const { files } = this.#platform;
    const remove = () => removeSegmentsBefore(files, this.#options.directory, oldest);
    this.#removal = this.#removal.catch(() => {}).then(remove);
    await this.#removal;
  }

  async writeEntry(entry: WALEntry): Promise<void> {
    await this.#entryWriter.write([entry]);
  }

  async writeBatch(entries: WALEntry[]): Promise<void> {
    if (entries.length > 0) await this.#entryWriter.write(entries);
  }

  readEntries(fromSequence = 1): Promise<WALEntry[]> {
    const soon = () => new Promise<void>((resolve) => this.#platform.clock.soon(resolve));
    const source = { table: this.#table, compressor: COMPRESSOR, soon };
    const read = (index: LogIndex) => this.readFromDisk(index, READ_PIECE_BYTES);
    const firstShown = Math.max(fromSequence, this.#hiddenBefore);
    return readOperations({ ...source, read }, fromSequence, firstShown);
  }

  async truncate(beforeSequence: number): Promise<void> {
    await this.#entryWriter.idle();
    const current = this.getCurrentSequence();
    checkTruncation(beforeSequence, current, await this.readEntries(current));
    const index = this.#table.indexOfSequence(beforeSequence) - 1;
    const last = beforeSequence > current ? this.lastIndex() : index;
    const term = this.term(last);
    if (last > this.base.index && term !== undefined) {
      assert(last <= this.lastIndex(), "entries behind the last one are not dropped");
      await this.compactTo({ index: last, term, nextSequence: this.sequenceAfter(last) });
    }
    const isInside = beforeSequence > this.base.nextSequence && beforeSequence <= current;
    if (!isInside || beforeSequence <= this.#hiddenBefore) return;
    assert(beforeSequence > this.#hiddenBefore, "hidden operations stay hidden");
    this.#hiddenBefore = beforeSequence;
    this.#append([{ kind: "CHECKPOINT", body: hidingNote(beforeSequence) }]);
    await this.flush();
  }

  async truncateAfter(sequence: number): Promise<void> {
    if (this.#options.owner === "consensus") {
      throw new StorageError("Cannot drop entries: consensus owns this log");
    }
    await this.#entryWriter.idle();
    const index = this.#table.indexOfSequence(sequence + 1);
    if (index === 0) return;
    if (this.sequenceAfter(index - 1) !== sequence + 1) {
      throw new StorageError(`Cannot drop entries behind ${sequence}: it does not end a batch`);
    }
    this.#append([tailRecord(index)]);
    this.#table.truncateFrom(index);
    assert(this.getCurrentSequence() === sequence, "the log ends with the wanted operation");
    await this.flush();
  }

  async flush(): Promise<void> {
    this.#entryWriter.seal();
    this.#assertUsable();
    const record = this.#writer.lastNumber;
    if (record <= this.syncedThrough) return;
    const done = this.#syncWaiters.wait(record);
    this.#groupCommit.request();
    await done;
    assert(this.syncedThrough >= record, "a flush ends when its records are durable");
  }

  async recover(): Promise<RecoveryReport> {
    return this.report;
  }

  /** On a log of consensus a note of this node, which takes no sequence number. */
  async createCheckpoint(): Promise<WALCheckpoint> {
    const timestamp = this.#platform.clock.wallMs();
    this.#checkpoints += 1;
    const record = String(this.#writer.lastNumber + 1);
    const isOwned = this.#options.owner === "consensus" || this.#handlers.length > 0;
    if (!isOwned) return writeCheckpoint(this, `${record}-${this.#checkpoints}`, timestamp);
    const { body, checkpoint } = checkpointNote(this.getCurrentSequence(), record, timestamp);
    this.#append([{ kind: "CHECKPOINT", body }]);
    await this.flush();
    return checkpoint;
  }

  getCurrentSequence(): number {
    return this.#table.sequenceAfter(this.#table.lastIndex()) - 1;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      if (this.#failure === undefined) {
        await this.#entryWriter.idle();
        await this.flush();
      }
    } finally {
      this.#isClosed = true;
      this.#writer.close();
      this.#mark.close();
      this.#options.onClose?.();
    }
  }

  #append(records: readonly PendingRecord[]): ReturnType<SegmentWriter["append"]> {
    this.#assertUsable();
    const { syncedThrough } = this.#groupCommit;
    try {
      return this.#writer.append(records, { syncedThrough, commitIndex: this.#commitIndex });
    } catch (cause) {
      this.#onFailed(cause);
      throw cause;
    }
  }

  /** The oldest segment with something that is kept. */
  #oldestSegment(): number {
    const newest = this.#writer.segmentNumber;
    const entries = this.#table.oldestSegment() ?? newest;
    const oldest = Math.min(entries, this.#operationTable.oldestSegment() ?? newest);
    assert(oldest <= newest, "nothing lies behind the newest segment");
    return oldest;
  }

  #readEntry(index: LogIndex): Entry {
    const cached = this.#table.entries(index, index, 1)?.[0];
    if (cached !== undefined) return cached;
    const position = this.#table.position(index);
    assert(position.segmentNumber <= this.#writer.segmentNumber, "the segment was written");
    const path = segmentPath(this.#options.directory, position.segmentNumber);
    const id = { term: this.term(index) ?? 0, index };
    return readEntryAt(this.#platform.files, path, { id, position });
  }

  #onSynced(through: number): void {
    assert(through <= this.syncedThrough, "a record is durable when that is reported");
    if (!this.#groupCommit.isSyncing) this.#syncSinceMs = undefined;
    try {
      this.#mark.write(through);
      const marked = this.#mark.syncFor(this.#writer.segmentNumber);
      marked?.catch((cause: unknown) => this.#onFailed(cause));
    } catch (cause) {
      this.#onFailed(cause);
      return;
    }
    this.#syncWaiters.wake(through);
    for (const handlers of this.#handlers) handlers.synced(through);
  }

  /** The content of the disk is unknown now: nothing is written or answered any more. */
  #onFailed(cause: unknown): void {
    if (this.#failure !== undefined || this.#isClosed) return;
    this.#failure =
      cause instanceof CStoreError ? cause : new StorageError("Cannot write the log", { cause });
    this.#syncWaiters.fail(this.#failure);
    for (const handlers of this.#handlers) handlers.failed(this.#failure);
  }

  #assertUsable(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#isClosed) throw new StorageError("Cannot use the log: it is closed");
  }
}
