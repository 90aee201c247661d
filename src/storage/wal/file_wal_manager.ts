/**
 * FileWALManager: a log in files for one user, opened by its first use. `SegmentLog` is the log
 * itself, for whoever opens it and for consensus.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ClosedError, ConfigError, ValidationError } from "../../base/errors.ts";
import { checkConfig, type KnownNames } from "../../base/known_options.ts";
import type { IWALManager, RecoveryReport, WALCheckpoint, WALEntry } from "./iwal_manager.ts";
import { SegmentLog } from "./segment_log.ts";

/** Where a log is. */
export interface FileWALManagerOptions {
  /** Folder of its own; it is made if it is not there. */
  readonly walPath: string;
}

const FILE_OPTIONS: KnownNames = new Set(["walPath"]);

/**
 * A log in files. Every call that resolves later opens it first, and rejects with LockedError,
 * CorruptionError or StorageError when that fails.
 *
 * @example
 * const wal = new FileWALManager({ walPath: "./wal" });
 */
export class FileWALManager implements IWALManager {
  readonly #walPath: string;
  #opening: Promise<SegmentLog> | undefined;
  #log: SegmentLog | undefined;
  #isClosed = false;

  constructor(options: FileWALManagerOptions) {
    checkConfig("the log", options, FILE_OPTIONS);
    if (typeof options.walPath !== "string") {
      throw new ConfigError("Cannot use the log: walPath names no folder");
    }
    this.#walPath = options.walPath;
  }

  /** Opens a log that consensus can own, too. */
  static create(path: string): Promise<SegmentLog> {
    return SegmentLog.create(path);
  }

  async writeEntry(entry: WALEntry): Promise<void> {
    await (await this.#opened()).writeEntry(entry);
    assert(entry.sequenceNumber >= 1, "an entry that was written has a number");
  }

  async writeBatch(entries: WALEntry[]): Promise<void> {
    if (new Set(entries).size < entries.length) {
      throw new ValidationError("Cannot write the batch: one entry stands in it twice");
    }
    await (await this.#opened()).writeBatch(entries);
    const [first, last] = [entries[0]?.sequenceNumber ?? 1, entries.at(-1)?.sequenceNumber ?? 0];
    assert(first >= 1, "an entry that was written has a number");
    assert(last - first + 1 === entries.length, "the numbers of a batch have no gap");
  }

  async readEntries(fromSequence = 1): Promise<WALEntry[]> {
    if (Number.isNaN(fromSequence)) {
      throw new ValidationError("Cannot read entries: the number of the first one is no number");
    }
    const entries = await (await this.#opened()).readEntries(fromSequence);
    const [first, last] = [entries[0]?.sequenceNumber, entries.at(-1)?.sequenceNumber ?? 0];
    assert((first ?? fromSequence) >= fromSequence, "no entry stands before the wanted ones");
    assert(last >= entries.length, "every entry has a number of its own");
    return entries;
  }

  async truncate(beforeSequence: number): Promise<void> {
    await (await this.#opened()).truncate(beforeSequence);
  }

  async truncateAfter(sequence: number): Promise<void> {
    await (await this.#opened()).truncateAfter(sequence);
  }

  async flush(): Promise<void> {
    await (await this.#opened()).flush();
  }

  async recover(): Promise<RecoveryReport> {
    const report = await (await this.#opened()).recover();
    assert(report.entries <= report.lastSequence, "every batch has an entry, at least");
    assert(report.tornBytes >= 0, "bytes were set aside, or none");
    return report;
  }

  async createCheckpoint(): Promise<WALCheckpoint> {
    const checkpoint = await (await this.#opened()).createCheckpoint();
    assert(checkpoint.sequenceNumber >= 0, "it stands at the beginning, or behind an entry");
    return checkpoint;
  }

  /** The last sequence number in use; 0 before the log was opened. */
  getCurrentSequence(): number {
    const sequence = this.#log?.getCurrentSequence() ?? 0;
    assert(sequence >= 0, "numbers begin at 1");
    return sequence;
  }

  /** Closes the log if it was opened; no call opens it again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    // One that could not be opened holds nothing, and was reported by the call that opened it.
    await (await this.#opening?.catch(() => undefined))?.close();
  }

  #opened(): Promise<SegmentLog> {
    if (this.#isClosed) return Promise.reject(new ClosedError("Cannot use the log: it is closed"));
    this.#opening ??= SegmentLog.create(this.#walPath).then(
      (log) => {
        this.#log = log;
        return log;
      },
      (error: unknown) => {
        // Whoever held it may be gone when the next call comes.
        this.#opening = undefined;
        throw error;
      },
    );
    return this.#opening;
  }
}
