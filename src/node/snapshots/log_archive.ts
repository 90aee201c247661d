/**
 * A log archive: a folder with the committed entries behind a backup, in the format of a node's
 * log. With both the state can be had as it was at any entry of the archive.
 *
 * @module
 */

import { ConfigError, CorruptionError } from "../../base/errors.ts";
import type { DocumentStateMachine } from "../../database/document_state_machine.ts";
import type { Platform } from "../../platform/platform.ts";
import { verifyBatch } from "../../protocol/encoding/batch_codec.ts";
import { NO_RESULTS } from "../../raft/state_machine.ts";
import type { Entry, EntryId, LogBase } from "../../raft/types.ts";
import { validateEntries } from "../../replication/raft/entry_validation.ts";
import {
  type DataDirectory,
  openDataDirectory,
  readIdentity,
} from "../../storage/data_directory.ts";
import { SegmentLog } from "../../storage/wal/segment_log.ts";
import { inspectSegments } from "../../storage/wal/wal_open.ts";

const NO_BOUND = Number.POSITIVE_INFINITY;
/** In place of a node's id, in the identity of the folder. */
const ARCHIVE = "archive";

/** The backup that an archive begins behind. */
export interface ArchiveStart {
  readonly clusterId: string;
  readonly base: LogBase;
}

/** How far a state is to be brought: one of the two, or without either as far as there is. */
export interface RecoveryTarget {
  /** The last entry. */
  readonly index?: number;
  /** Milliseconds since 1970, by the leaders' clocks: entries proposed later are left out. */
  readonly timeMs?: number;
}

/** One archive, locked. */
export class LogArchive {
  readonly clusterId: string;
  readonly #directory: DataDirectory;
  readonly #log: SegmentLog;
  readonly #folder: string;

  private constructor(folder: string, directory: DataDirectory, log: SegmentLog) {
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
    let log: SegmentLog | undefined;
    try {
      log = await SegmentLog.open(platform, {
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
    validateEntries(entries);
    this.#log.write({ hardState: undefined, entries, commitIndex: index });
    await this.#log.flush();
  }

  async close(): Promise<void> {
    try {
      await this.#log.close();
    } finally {
      this.#directory.release();
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
  log: SegmentLog,
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

/**
 * Applies the entries of an archive to the state of a backup, up to the target. Only reads: the
 * archive may be growing meanwhile. Throws ConfigError when it does not reach so far or does not
 * belong to the backup, CorruptionError when it is damaged.
 */
export function recoverFrom(
  platform: Platform,
  archive: { readonly folder: string; readonly clusterId: string } & RecoveryTarget,
  machine: DocumentStateMachine,
): void {
  const { files } = platform;
  const { folder, clusterId } = archive;
  const identity = readIdentity(files, folder);
  if (identity?.nodeId !== ARCHIVE) {
    throw new ConfigError(`Cannot recover from "${folder}": there is no archive`);
  }
  if (identity.clusterId !== clusterId) {
    throw new ConfigError(
      `Cannot recover: the backup is of cluster ${clusterId}, the archive of ${identity.clusterId}`,
    );
  }
  const recovery = new ArchiveRecovery(machine, archive);
  inspectSegments(files, { directory: `${folder}/wal`, identity }, (record) => {
    if (record.header.kind === "BATCH") recovery.take(record.body);
  });
  recovery.end();
}

/** The entries of an archive, one after the other, into a state. */
class ArchiveRecovery {
  readonly #machine: DocumentStateMachine;
  readonly #target: RecoveryTarget;
  readonly #begun: number;
  #last = { index: 0, timeMs: 0 };
  /** An entry was seen that the target leaves out. */
  #isPast = false;

  constructor(machine: DocumentStateMachine, target: RecoveryTarget) {
    const { index, timeMs } = machine.position;
    this.#machine = machine;
    this.#target = target;
    this.#begun = index;
    const { index: until = NO_BOUND, timeMs: untilMs = NO_BOUND } = target;
    if (index <= until && timeMs <= untilMs) return;
    throw new ConfigError(
      `Cannot recover a state before the backup's: that is of entry ${index}, of ${dateOf(timeMs)}`,
      { remedy: "Take an earlier backup, and the archive behind it" },
    );
  }

  take(bytes: Uint8Array): void {
    const machine = this.#machine;
    const { index, term, firstSequence, count, timeMs } = verifyBatch(bytes);
    this.#last = { index, timeMs: Math.max(this.#last.timeMs, timeMs) };
    if (index <= machine.appliedIndex || this.#isPast) return;
    const { nextSequence } = machine.position;
    if (index !== machine.appliedIndex + 1 || firstSequence !== nextSequence) throw this.#foreign();
    const { index: until = NO_BOUND, timeMs: untilMs = NO_BOUND } = this.#target;
    this.#isPast = index > until || Math.max(machine.position.timeMs, timeMs) > untilMs;
    if (!this.#isPast) machine.apply({ index, term, firstSequence, count, bytes }, NO_RESULTS);
  }

  /** Throws ConfigError when the archive ends before the target. */
  end(): void {
    const { index, timeMs } = this.#target;
    if (this.#last.index > 0 && this.#last.index < this.#begun) throw this.#foreign();
    const isShort = (index ?? 0) > this.#machine.appliedIndex;
    if (!isShort && (timeMs === undefined || this.#isPast)) return;
    const time = dateOf(Math.max(this.#last.timeMs, this.#machine.position.timeMs));
    throw new ConfigError(
      `Cannot recover so far: the last entry of the archive is entry ${Math.max(this.#begun, this.#last.index)}, of ${time}`,
      { remedy: "Leave out --until and --until-entry to recover all there is" },
    );
  }

  #foreign(): ConfigError {
    return new ConfigError(
      `Cannot recover: the archive does not hold the entries behind entry ${this.#machine.appliedIndex}`,
      { remedy: "Take the backup that it was begun behind, or a later one that it holds" },
    );
  }
}

function dateOf(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
