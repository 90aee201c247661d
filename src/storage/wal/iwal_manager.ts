/**
 * The interfaces of the log: for its users, and for consensus.
 *
 * @module
 */

import type { Entry, HardState, LogIndex, LogReader } from "../../raft/types.ts";
import type { LogBase } from "./log_table.ts";

/** One operation in the log. */
export interface WALEntry {
  transactionId: string;
  /** Position over the whole log, dense, given by the manager: `1 <= sequenceNumber`. */
  sequenceNumber: number;
  /** Milliseconds since 1970. */
  timestamp: number;
  type: "BEGIN" | "PREPARE" | "COMMIT" | "ROLLBACK" | "DATA";
  /** `*` for records that belong to a whole transaction. */
  collectionName: string;
  operation:
    | "INSERT"
    | "UPDATE"
    | "DELETE"
    | "INDEX_CHANGE"
    | "STORE"
    | "BEGIN"
    | "COMMIT"
    | "ROLLBACK"
    | "CHECKPOINT"
    | "CREATE"
    | "DROP"
    | "NOOP"
    | "CONFIG";
  data: { key: unknown; oldValue?: unknown; newValue?: unknown; [field: string]: unknown };
  /** xxh64 of the entry's CBOR without this field, 16 hex digits; computed when read or written. */
  checksum: string;
  term?: number;
  nodeId?: string;
}

/** A point at which a reader may start. */
export interface WALCheckpoint {
  checkpointId: string;
  timestamp: number;
  /** Its own number; of a note that of the last entry before it. */
  sequenceNumber: number;
  /** Transactions that were active. */
  transactionIds: string[];
}

/** The result of opening a log. */
export interface RecoveryReport {
  /** Entries (batches) kept. */
  readonly entries: number;
  /** The last sequence number of the kept entries; 0 for an empty log. */
  readonly lastSequence: number;
  /** Bytes of unsynced tail that were set aside; 0 when the log ended cleanly. */
  readonly tornBytes: number;
  readonly durationMs: number;
}

/**
 * A log of operations. `writeEntry` resolves when the entry is as durable as the log's mode
 * promises: by default, on the disk.
 */
export interface IWALManager {
  /** Fills in `sequenceNumber` and `checksum` of the given entry. */
  writeEntry(entry: WALEntry): Promise<void>;
  /** Entries from a sequence number on (from the first kept one by default). */
  readEntries(fromSequence?: number): Promise<WALEntry[]>;
  /**
   * Drops older entries: they are not read any more, and whole files of them are removed. Rejects
   * with StorageError for a number beyond the end of the log, unless its last entry is a
   * checkpoint.
   */
  truncate(beforeSequence: number): Promise<void>;
  /** Resolves when everything written so far is on the disk. */
  flush(): Promise<void>;
  /** The result of opening the log; opens it if it is not open yet. */
  recover(): Promise<RecoveryReport>;
  /**
   * Writes an entry of its own, with the next number; on a log that consensus owns a note of the
   * node, without one.
   */
  createCheckpoint(): Promise<WALCheckpoint>;
  /** The last sequence number in use; 0 for an empty log. */
  getCurrentSequence(): number;
  close(): Promise<void>;
  /** Writes one batch: after a crash all of its entries are there, or none. */
  writeBatch?(entries: WALEntry[]): Promise<void>;
  /**
   * Drops entries behind a sequence number that ends a batch. Refused when consensus owns the log.
   */
  truncateAfter?(sequence: number): Promise<void>;
}

/** The log of consensus, which decides the order of entries; the log keeps it. */
export interface ReplicatedLog extends LogReader {
  readonly hardState: HardState;
  readonly base: LogBase;
  /** Highest commit index in any record: `base.index <= recoveredCommit <= lastIndex()`. */
  readonly recoveredCommit: LogIndex;
  /** Bytes of the segments from the first that holds a kept entry on. */
  readonly sizeBytes: number;
  /** Entries about members and bindings that opening the log found, in order. */
  readonly clusterEntries: readonly Entry[];
  /** Bytes of the kept batches behind an index. */
  bytesBehind(index: LogIndex): number;
  /** Bytes of batches written since the log was opened. */
  readonly writtenBytes: number;
  /**
   * Writes term and vote, then entries; the first one supersedes all with its index or a higher
   * one. Nothing is durable before the sync that covers the returned record number ends.
   */
  write(change: {
    readonly hardState: HardState | undefined;
    readonly entries: readonly Entry[];
    readonly commitIndex: LogIndex;
  }): number;
  /**
   * Empties the log, which then begins behind a snapshot's last entry. Nothing is durable before
   * the sync that covers the returned record number ends.
   */
  restartBehind(base: LogBase): number;
  /** Requests a sync of everything written; its end is reported to `synced`. */
  requestSync(): void;
  /** Time at which the running sync began, on the monotonic clock; undefined without one. */
  readonly syncSinceMs: number | undefined;
  /** Highest durable record number: `syncedThrough <= number of the last record`. */
  readonly syncedThrough: number;
  /** Sets the handlers for more durable records, and for the failure that ends the log. */
  listen(handlers: { synced(throughRecord: number): void; failed(cause: unknown): void }): void;
  /** Entries from disk, at least one: `firstIndex() <= from <= lastIndex()`. */
  readFromDisk(from: LogIndex, bytesMax: number): readonly Entry[];
  /** Drops entries up to `base`, and their files once the new base is durable. */
  compactTo(base: LogBase): Promise<void>;
  close(): Promise<void>;
}
