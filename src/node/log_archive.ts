/**
 * A log archive: a folder with the committed entries behind a backup, in the format of a node's
 * log. With both the state can be had as it was at any entry of the archive.
 *
 * @module
 */

import { ConfigError, CorruptionError } from "../base/errors.ts";
import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import type { Platform } from "../platform/platform.ts";
import { decodeBatchHeader, verifyBatch } from "../protocol/batch_codec.ts";
import { NO_RESULTS } from "../raft/state_machine.ts";
import type { Entry, EntryId, LogBase } from "../raft/types.ts";
import { type DataDirectory, openDataDirectory, readIdentity } from "../storage/data_directory.ts";
import { FileWALManager } from "../storage/file_wal_manager.ts";
import { checkEntries } from "./entry_check.ts";

/** In place of a node's id, in the identity of the folder. */
const ARCHIVE = "archive";
const READ_SIZE = 1024 * 1024;

/** The backup that an archive begins behind. */
export interface ArchiveStart {
  readonly clusterId: string;
  readonly base: LogBase;
}

/** How far a state is to be brought: one of the two, or without either as far as there is. */
export interface RecoveryTarget {
  /** The last entry. */
  readonly index?: number;
  /** Milliseconds since 1970, by the leaders' clocks: what was proposed later is left out. */
  readonly timeMs?: number;
}

/** One archive, locked. */
export class LogArchive {
  readonly clusterId: string;
  readonly #directory: DataDirectory;
  readonly #log: FileWALManager;
  readonly #folder: string;

  private constructor(folder: string, directory: DataDirectory, log: FileWALManager) {
    this.#folder = folder;
    this.#directory = directory;
    this.#log = log;
    this.clusterId = directory.identity.clusterId;
  }

  /**
   * Opens the archive in a folder; `start` begins one if there is none. Rejects with ConfigError,
   * LockedError, CorruptionError, StorageError.
   */
  static async open(platform: Platform, folder: string, start?: ArchiveStart): Promise<LogArchive> {
    const known = readIdentity(platform.files, folder);
    if (known === undefined && start === undefined) {
      throw new ConfigError(`Cannot open "${folder}": there is no archive`, {
        remedy: "Begin one behind a backup, with --after",
      });
    }
    const clusterId = start?.clusterId;
    const directory = await openDataDirectory(platform, folder, { clusterId, nodeId: ARCHIVE });
    let log: FileWALManager | undefined;
    try {
      log = await FileWALManager.open(platform, {
        directory: `${folder}/wal`,
        identity: directory.identity,
        owner: "consensus",
      });
      if (log.lastIndex() === 0) await begin(log, folder, start);
      const archive = new LogArchive(folder, directory, log);
      if (start !== undefined) archive.#checkHolds(start.base);
      return archive;
    } catch (error) {
      await log?.close();
      directory.release();
      throw error;
    }
  }

  /** The last entry. */
  get end(): EntryId {
    const index = this.#log.lastIndex();
    return { index, term: this.#log.term(index) ?? this.#log.base.term };
  }

  /**
   * Appends batches as they stand in the cluster's log; resolves when they are on the disk. Rejects
   * with CorruptionError when they do not follow, ProtocolError when they are none.
   */
  async append(batches: readonly Uint8Array[]): Promise<void> {
    let { index, term } = this.end;
    let sequence = this.#log.sequenceAfter(index);
    const entries = batches.map((bytes): Entry => {
      const header = verifyBatch(bytes);
      const isNext = header.index === index + 1 && header.firstSequence === sequence;
      if (!isNext || header.term < term) {
        throw new CorruptionError(
          `Cannot archive entry ${header.index} of term ${header.term}: it does not follow entry ${index} of term ${term}`,
          { file: this.#folder, byte: 0 },
        );
      }
      ({ index, term } = header);
      sequence += header.count;
      const { firstSequence, count } = header;
      return { index, term, firstSequence, count, bytes };
    });
    checkEntries(entries);
    this.#log.write({ hardState: undefined, entries, commitIndex: index });
    await this.#log.flush();
  }

  /**
   * Applies entries to the state of a backup, up to the target. Gives the moment of the last one
   * that it has then, in ms since 1970. Throws ConfigError when the archive does not reach so far.
   */
  recover(machine: DocumentStateMachine, target: RecoveryTarget): number {
    const { index, term, nextSequence } = machine.position;
    this.#checkHolds({ index, term, nextSequence });
    const { index: until = Number.POSITIVE_INFINITY, timeMs = Number.POSITIVE_INFINITY } = target;
    if (index > until || machine.position.timeMs > timeMs) {
      throw new ConfigError(
        `Cannot recover a state before the backup's: that is of entry ${index}, of ${dateOf(machine.position.timeMs)}`,
        { remedy: "Take an earlier backup, and the archive behind it" },
      );
    }
    let isLater = false;
    for (const entry of this.#entriesBehind(index)) {
      const header = decodeBatchHeader(entry.bytes);
      isLater = Math.max(machine.position.timeMs, header.timeMs) > timeMs;
      if (isLater || entry.index > until) break;
      machine.apply(entry, NO_RESULTS);
    }
    const isShort =
      (target.index !== undefined && machine.appliedIndex < target.index) ||
      (target.timeMs !== undefined && !isLater);
    if (isShort) {
      throw new ConfigError(
        `Cannot recover so far: the archive ends at entry ${this.end.index}, of ${dateOf(machine.position.timeMs)}`,
        { remedy: "Leave out --until and --until-entry to recover all there is" },
      );
    }
    return machine.position.timeMs;
  }

  async close(): Promise<void> {
    try {
      await this.#log.close();
    } finally {
      this.#directory.release();
    }
  }

  *#entriesBehind(index: number): Generator<Entry> {
    for (let from = index + 1; from <= this.#log.lastIndex(); ) {
      const entries = this.#log.readFromDisk(from, READ_SIZE);
      yield* entries;
      from += entries.length;
    }
  }

  /** A backup's last entry must be one of the archive, or the one before its first. */
  #checkHolds({ index, term, nextSequence }: LogBase): void {
    const log = this.#log;
    const isWithin = index >= log.base.index && index <= log.lastIndex();
    const isSame = isWithin && (log.term(index) ?? log.base.term) === term;
    if (isSame && log.sequenceAfter(index) === nextSequence) return;
    throw new ConfigError(
      `Cannot use the archive in "${this.#folder}" with that backup: it holds the entries ${log.base.index + 1} to ${log.lastIndex()}, the backup ends at entry ${index} of term ${term}`,
    );
  }
}

async function begin(
  log: FileWALManager,
  folder: string,
  start: ArchiveStart | undefined,
): Promise<void> {
  if (start === undefined) {
    throw new ConfigError(`Cannot open "${folder}": the archive was not begun`, {
      remedy: "Name the backup again, with --after",
    });
  }
  log.restartBehind(start.base);
  await log.flush();
}

function dateOf(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
