/**
 * FileWALManager: the log in segment files. It serves two kinds of owner through the same records:
 * consensus, which decides the order of entries itself (`ReplicatedLog`), and a single user, for whom
 * every turn's `writeEntry` calls form one batch (`IWALManager`).
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { ByteReader, ByteWriter } from "../base/bytes.ts";
import { CStoreError, StorageError } from "../base/errors.ts";
import { LOG_CACHE_BYTES, SEGMENT_SIZE_BYTES } from "../base/limits.ts";
import { compress, decompress } from "../platform/compression.ts";
import { type Platform, systemPlatform } from "../platform/platform.ts";
import { batchCommands, decodeBatchHeader } from "../protocol/batch_codec.ts";
import type { Entry, HardState, LogIndex, Term } from "../raft/types.ts";
import { openDataDirectory } from "./data_directory.ts";
import { EntryWriter } from "./entry_writer.ts";
import { GroupCommit } from "./group_commit.ts";
import type {
  IWALManager,
  RecoveryReport,
  ReplicatedLog,
  WALCheckpoint,
  WALEntry,
} from "./iwal_manager.ts";
import { EMPTY_BASE, type LogBase, LogTable } from "./log_table.ts";
import { type LogIdentity, segmentNumberOf } from "./segment.ts";
import { type PendingRecord, SegmentWriter } from "./segment_writer.ts";
import { readEntryCommands } from "./wal_entry_codec.ts";
import {
  damagedRecord,
  MarkFile,
  type RecoveredRecord,
  recoverSegments,
  segmentPath,
} from "./wal_open.ts";

const COMPRESSOR = { compress, decompress };

/** Options of a {@link FileWALManager}. */
export interface FileWALOptions {
  /** Folder of the segments. */
  readonly directory: string;
  readonly identity: LogIdentity;
  readonly segmentSizeBytes?: number;
  /** Newest batches kept in memory. */
  readonly cacheBytes?: number;
  /** Who decides about entries; `truncateAfter` is refused to users of a log that consensus owns. */
  readonly owner?: "user" | "consensus";
  /** Frees what was opened with the log, for example a lock. */
  readonly onClose?: () => void;
}

interface Recovered {
  readonly table: LogTable;
  hardState: HardState;
  commitIndex: LogIndex;
}

/** The log in files. */
export class FileWALManager implements IWALManager, ReplicatedLog {
  readonly #platform: Platform;
  readonly #options: FileWALOptions;
  readonly #table: LogTable;
  readonly #writer: SegmentWriter;
  readonly #groupCommit: GroupCommit;
  readonly #mark: MarkFile;
  readonly #report: RecoveryReport;
  readonly #recoveredCommit: LogIndex;
  readonly #entryWriter: EntryWriter;
  #hardState: HardState;
  #commitIndex: LogIndex;
  #handlers: { synced(through: number): void; failed(cause: unknown): void } | undefined;
  #syncWaiters: { readonly record: number; resolve(): void; reject(cause: unknown): void }[] = [];
  #failure: CStoreError | undefined;
  #isClosed = false;

  private constructor(
    platform: Platform,
    options: FileWALOptions,
    opened: { recovered: Recovered; writer: SegmentWriter; report: RecoveryReport },
  ) {
    this.#platform = platform;
    this.#options = options;
    this.#table = opened.recovered.table;
    this.#hardState = opened.recovered.hardState;
    this.#commitIndex = opened.recovered.commitIndex;
    this.#recoveredCommit = opened.recovered.commitIndex;
    this.#writer = opened.writer;
    this.#report = opened.report;
    this.#mark = new MarkFile(platform.files, options.directory);
    this.#groupCommit = new GroupCommit(
      {
        lastRecord: () => this.#writer.lastNumber,
        sync: () => this.#writer.sync(),
        synced: (through) => this.#onSynced(through),
        failed: (cause) => this.#onFailed(cause),
      },
      this.#writer.lastNumber,
    );
    this.#entryWriter = new EntryWriter(this, platform.clock);
  }

  /**
   * Opens a log for one user: `path` is a folder of its own. Throws LockedError, CorruptionError,
   * StorageError.
   */
  static async create(path: string, platform = systemPlatform()): Promise<FileWALManager> {
    const expected = { clusterId: "0".repeat(16), nodeId: "wal" };
    const directory = await openDataDirectory(platform, path, expected);
    try {
      const { identity } = directory;
      const onClose = (): void => directory.release();
      return await FileWALManager.open(platform, { directory: `${path}/wal`, identity, onClose });
    } catch (error) {
      directory.release();
      throw error;
    }
  }

  /** Recovers the log, then returns it ready for appends. */
  static async open(platform: Platform, options: FileWALOptions): Promise<FileWALManager> {
    const startMs = platform.clock.nowMs();
    const recovered: Recovered = {
      table: new LogTable(options.cacheBytes ?? LOG_CACHE_BYTES),
      hardState: { term: 0, vote: undefined },
      commitIndex: 0,
    };
    const opened = await recoverSegments(platform.files, options, (record) =>
      takeRecord(recovered, record),
    );
    const { verdict, tornBytes } = opened;
    const { table } = recovered;
    recovered.commitIndex = Math.min(verdict.commitIndex, table.lastIndex());
    recovered.commitIndex = Math.max(recovered.commitIndex, table.base.index);
    const writer = new SegmentWriter(
      platform,
      {
        directory: options.directory,
        segmentSize: options.segmentSizeBytes ?? SEGMENT_SIZE_BYTES,
        identity: options.identity,
        headRecords: () => headRecords(manager?.hardState ?? recovered.hardState, table.base),
      },
      verdict,
    );
    let manager: FileWALManager | undefined;
    await writer.start({
      syncedThrough: verdict.nextNumber - 1,
      commitIndex: recovered.commitIndex,
    });
    const report: RecoveryReport = {
      entries: table.lastIndex() - table.base.index,
      lastSequence: table.sequenceAfter(table.lastIndex()) - 1,
      tornBytes,
      durationMs: platform.clock.nowMs() - startMs,
    };
    manager = new FileWALManager(platform, options, { recovered, writer, report });
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

  get syncedThrough(): number {
    return this.#groupCommit.syncedThrough;
  }

  get sizeBytes(): number {
    const oldest = this.#table.oldestSegment() ?? this.#writer.segmentNumber;
    const count = this.#writer.segmentNumber - oldest + 1;
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
    return this.#table.sequenceAfter(index);
  }

  entries(from: LogIndex, to: LogIndex, bytesMax: number): readonly Entry[] | undefined {
    return this.#table.entries(from, to, bytesMax);
  }

  listen(handlers: { synced(through: number): void; failed(cause: unknown): void }): void {
    this.#handlers = handlers;
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
      this.#hardState = change.hardState;
      records.push({ kind: "HARD_STATE", body: encodeHardState(change.hardState) });
    }
    for (const entry of change.entries) records.push({ kind: "BATCH", body: entry.bytes });
    const written = this.#append(records).slice(-change.entries.length);
    change.entries.forEach((entry, i) => {
      const { segmentNumber, bodyAt } = written[i]!;
      this.#table.append(entry, { segmentNumber, at: bodyAt, size: entry.bytes.byteLength });
    });
    return this.#writer.lastNumber;
  }

  requestSync(): void {
    this.#groupCommit.request();
  }

  readFromDisk(from: LogIndex, bytesMax: number): readonly Entry[] {
    const last = this.#table.lastIndex();
    assert(from >= this.#table.firstIndex() && from <= last, () => `entry ${from} is kept`);
    const entries: Entry[] = [];
    let bytes = 0;
    for (let index = from; index <= last; index += 1) {
      const { size } = this.#table.position(index);
      if (entries.length > 0 && bytes + size > bytesMax) break;
      entries.push(this.#readEntry(index));
      bytes += size;
    }
    return entries;
  }

  async compactTo(base: LogBase): Promise<void> {
    if (base.index <= this.#table.base.index) return;
    this.#table.compactTo(base);
    this.#append([{ kind: "HEAD", body: encodeBase(base) }]);
    // Only when the new head is durable may the files go that the old head needs.
    await this.flush();
    const oldest = this.#table.oldestSegment() ?? this.#writer.segmentNumber;
    const { files } = this.#platform;
    for (const name of files.list(this.#options.directory)) {
      const number = segmentNumberOf(name.replace(/\.torn$/, ""));
      if (number !== undefined && number < oldest)
        files.remove(`${this.#options.directory}/${name}`);
    }
  }

  async writeEntry(entry: WALEntry): Promise<void> {
    await this.#entryWriter.write([entry]);
  }

  async writeBatch(entries: WALEntry[]): Promise<void> {
    if (entries.length > 0) await this.#entryWriter.write(entries);
  }

  async readEntries(fromSequence = 1): Promise<WALEntry[]> {
    const found: WALEntry[] = [];
    let index = Math.max(this.firstIndex(), this.#table.indexOfSequence(fromSequence));
    if (
      this.#table.indexOfSequence(fromSequence) === 0 &&
      fromSequence > this.getCurrentSequence()
    ) {
      return [];
    }
    while (index <= this.lastIndex()) {
      for (const entry of this.readFromDisk(index, 1024 * 1024)) {
        const header = decodeBatchHeader(entry.bytes);
        const commands = batchCommands(entry.bytes, header, COMPRESSOR);
        for (const read of readEntryCommands(commands, header)) {
          if (read.sequenceNumber >= fromSequence) found.push(read);
        }
        index = entry.index + 1;
      }
      await new Promise<void>((resolve) => this.#platform.clock.soon(resolve));
    }
    return found;
  }

  async truncate(beforeSequence: number): Promise<void> {
    const index = this.#table.indexOfSequence(beforeSequence) - 1;
    const last = beforeSequence > this.getCurrentSequence() ? this.lastIndex() : index;
    const term = this.term(last);
    if (last <= this.base.index || term === undefined) return;
    await this.compactTo({ index: last, term, nextSequence: this.sequenceAfter(last) });
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
    this.#append([{ kind: "TAIL", body: new ByteWriter(8).u64(index).copy() }]);
    this.#table.truncateFrom(index);
    await this.flush();
  }

  flush(): Promise<void> {
    this.#assertUsable();
    const record = this.#writer.lastNumber;
    if (record <= this.syncedThrough) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#syncWaiters.push({ record, resolve, reject });
      this.#groupCommit.request();
    });
  }

  async recover(): Promise<RecoveryReport> {
    return this.#report;
  }

  /** A note of this node; it takes no sequence number. */
  async createCheckpoint(): Promise<WALCheckpoint> {
    const sequenceNumber = this.getCurrentSequence();
    const timestamp = this.#platform.clock.wallMs();
    const checkpointId = `checkpoint-${sequenceNumber}-${this.#writer.lastNumber + 1}`;
    const body = new ByteWriter().u64(sequenceNumber).u64(timestamp).text(checkpointId).copy();
    this.#append([{ kind: "CHECKPOINT", body }]);
    await this.flush();
    return { checkpointId, timestamp, sequenceNumber, transactionIds: [] };
  }

  getCurrentSequence(): number {
    return this.#table.sequenceAfter(this.#table.lastIndex()) - 1;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
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

  #readEntry(index: LogIndex): Entry {
    const cached = this.#table.entries(index, index, 1)?.[0];
    if (cached !== undefined) return cached;
    const { segmentNumber, at, size } = this.#table.position(index);
    const path = segmentPath(this.#options.directory, segmentNumber);
    const file = this.#platform.files.open(path, "read");
    const bytes = new Uint8Array(size);
    file.read(at, bytes);
    file.close();
    const { term, firstSequence, count } = decodeBatchHeader(bytes);
    return { term, index, firstSequence, count, bytes };
  }

  #onSynced(through: number): void {
    this.#mark.write(through);
    const done = this.#syncWaiters.filter((waiter) => waiter.record <= through);
    this.#syncWaiters = this.#syncWaiters.filter((waiter) => waiter.record > through);
    for (const waiter of done) waiter.resolve();
    this.#handlers?.synced(through);
  }

  /** What is on disk is unknown now: nothing is written or answered any more. */
  #onFailed(cause: unknown): void {
    if (this.#failure !== undefined || this.#isClosed) return;
    this.#failure =
      cause instanceof CStoreError ? cause : new StorageError("Cannot write the log", { cause });
    for (const waiter of this.#syncWaiters) waiter.reject(this.#failure);
    this.#syncWaiters = [];
    this.#handlers?.failed(this.#failure);
  }

  #assertUsable(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#isClosed) throw new StorageError("Cannot use the log: it is closed");
  }
}

/** Takes one valid record into the picture of the log. */
function takeRecord(recovered: Recovered, record: RecoveredRecord): void {
  const { table } = recovered;
  switch (record.header.kind) {
    case "HARD_STATE":
      recovered.hardState = decodeHardState(record.body);
      return;
    case "HEAD":
      table.compactTo(decodeBase(record.body));
      return;
    case "TAIL": {
      const index = new ByteReader(record.body).u64();
      if (index <= table.lastIndex()) table.truncateFrom(index);
      return;
    }
    case "CHECKPOINT":
      return;
    case "BATCH":
      takeBatch(table, record);
      return;
  }
}

function takeBatch(table: LogTable, record: RecoveredRecord): void {
  const { term, index, firstSequence, count } = decodeBatchHeader(record.body);
  if (index <= table.base.index) return;
  const expected = index <= table.lastIndex() + 1 ? table.sequenceAfter(index - 1) : -1;
  if (expected !== firstSequence) {
    throw damagedRecord(record, `entry ${index} does not follow entry ${table.lastIndex()}`);
  }
  const bytes = record.body.slice();
  const { segmentNumber, at } = record;
  table.append(
    { term, index, firstSequence, count, bytes },
    { segmentNumber, at: at + 64, size: bytes.byteLength },
  );
}

function headRecords(hardState: HardState, base: LogBase): PendingRecord[] {
  const records: PendingRecord[] = [];
  if (hardState.term > 0) records.push({ kind: "HARD_STATE", body: encodeHardState(hardState) });
  if (base !== EMPTY_BASE) records.push({ kind: "HEAD", body: encodeBase(base) });
  return records;
}

/** Term (8 bytes), then the vote as text; empty for none. */
function encodeHardState(hardState: HardState): Uint8Array {
  return new ByteWriter(64)
    .u64(hardState.term)
    .text(hardState.vote ?? "")
    .copy();
}

function decodeHardState(body: Uint8Array): HardState {
  const reader = new ByteReader(body);
  const term = reader.u64();
  const vote = reader.text();
  return { term, vote: vote === "" ? undefined : vote };
}

/** Index, term and next sequence number of the entry that the log may begin after (8 bytes each). */
function encodeBase(base: LogBase): Uint8Array {
  return new ByteWriter(24).u64(base.index).u64(base.term).u64(base.nextSequence).copy();
}

function decodeBase(body: Uint8Array): LogBase {
  const reader = new ByteReader(body);
  return { index: reader.u64(), term: reader.u64(), nextSequence: reader.u64() };
}
