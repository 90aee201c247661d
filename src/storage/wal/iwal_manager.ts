/**
 * The log as its users see it, and as consensus sees it.
 *
 * @module
 */

import type { Entry, HardState, LogIndex, LogReader } from "../../raft/types.ts";
import type { LogBase } from "./log_table.ts";

/** One operation in the log. */
export interface WALEntry {
  transactionId: string;
  /** Position over the whole log, dense, from 1; given by the manager. */
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

/** A point that a reader may start from. */
export interface WALCheckpoint {
  checkpointId: string;
  timestamp: number;
  sequenceNumber: number;
  /** Transactions that were under way. */
  transactionIds: string[];
}

/** What opening a log found. */
export interface RecoveryReport {
  /** Entries (batches) kept. */
  readonly entries: number;
  readonly lastSequence: number;
  /** Bytes of unsynced tail that were set aside; 0 when the log ended cleanly. */
  readonly tornBytes: number;
  readonly durationMs: number;
}

/**
 * A log of operations. `writeEntry` resolves when the entry is as durable as the log's mode says:
 * by default, on the disk.
 */
export interface IWALManager {
  /** Fills in `sequenceNumber` and `checksum` of the given entry. */
  writeEntry(entry: WALEntry): Promise<void>;
  /** Entries from a sequence number on (from the first kept one by default). */
  readEntries(fromSequence?: number): Promise<WALEntry[]>;
  /** Allows the log to forget what is older; whole files go, the rest is hidden. */
  truncate(beforeSequence: number): Promise<void>;
  /** Resolves when everything written so far is on the disk. */
  flush(): Promise<void>;
  /** What opening found; opens the log if that did not happen yet. */
  recover(): Promise<RecoveryReport>;
  createCheckpoint(): Promise<WALCheckpoint>;
  /** The last sequence number given out; 0 for an empty log. */
  getCurrentSequence(): number;
  close(): Promise<void>;
  /** All or none after a crash: one batch. */
  writeBatch?(entries: WALEntry[]): Promise<void>;
  /**
   * Drops entries behind a sequence number that ends a batch. Refused when consensus owns the log.
   */
  truncateAfter?(sequence: number): Promise<void>;
}

/** What consensus asks of a log: it decides the order, the log keeps it. */
export interface ReplicatedLog extends LogReader {
  readonly hardState: HardState;
  readonly base: LogBase;
  /** Highest commit index that any record mentions, at most the last index. */
  readonly recoveredCommit: LogIndex;
  /** Bytes of all segments on disk. */
  readonly sizeBytes: number;
  /** Entries about members and bindings that opening the log found, in order. */
  readonly clusterEntries: readonly Entry[];
  /** Bytes of the kept batches behind an index. */
  bytesBehind(index: LogIndex): number;
  /** Bytes of batches written since the log was opened. */
  readonly writtenBytes: number;
  /**
   * Writes term and vote, then entries; the first one supersedes what has its index or a higher
   * one. Nothing is durable before the sync that covers the returned record number ends.
   */
  write(change: {
    readonly hardState: HardState | undefined;
    readonly entries: readonly Entry[];
    readonly commitIndex: LogIndex;
  }): number;
  /**
   * Starts over, empty, behind a snapshot's last entry; what stands in the log goes. Nothing is
   * durable before the sync that covers the returned record number ends.
   */
  restartBehind(base: LogBase): number;
  /** Asks for a sync of everything written; `onSynced` hears of it. */
  requestSync(): void;
  /** When the sync that is under way began, on the monotonic clock; undefined without one. */
  readonly syncSinceMs: number | undefined;
  /** Highest record number that is durable. */
  readonly syncedThrough: number;
  /** Who hears when more became durable, and of the failure that ends the log. */
  listen(handlers: { synced(throughRecord: number): void; failed(cause: unknown): void }): void;
  /** Entries from disk, for a reader that is behind the memory. At least one. */
  readFromDisk(from: LogIndex, bytesMax: number): readonly Entry[];
  /** Forgets entries up to `base` once that is durable. */
  compactTo(base: LogBase): Promise<void>;
  close(): Promise<void>;
}
