/**
 * The words of consensus. Terms and indexes start at 1; 0 means "none yet".
 *
 * @module
 */

/** A leadership period. */
export type Term = number;
/** Position of an entry in the log. */
export type LogIndex = number;
/** Name of a node, unique in its cluster. */
export type NodeId = string;
/** The four roles. */
export type Role = "follower" | "pre-candidate" | "candidate" | "leader";

/** Term and index together name an entry: equal ids mean equal entries (paper §5.3). */
export interface EntryId {
  readonly term: Term;
  /** `0 <= index`; 0 only for the entry before the log. */
  readonly index: LogIndex;
}

/** One log entry = one batch. */
export interface Entry extends EntryId {
  /**
   * Sequence number of its first operation, the next after the entry before: `index <=
   * firstSequence`, because every entry has an operation.
   */
  readonly firstSequence: number;
  /** Operations in it, at least 1. */
  readonly count: number;
  /** The sealed batch, header included. Consensus never looks inside. */
  readonly bytes: Uint8Array;
}

/** The entry before the log. */
export const NO_ENTRY: EntryId = { term: 0, index: 0 };

/** Where a log begins: the entry before its first, and the sequence number after it. */
export interface LogBase extends EntryId {
  /** `index < nextSequence`, because every entry has an operation. */
  readonly nextSequence: number;
}

/** The state that must be on disk before a node answers (paper figure 2: persistent state). */
export interface HardState {
  readonly term: Term;
  /** The candidate that got this term's vote. */
  readonly vote: NodeId | undefined;
}

/** The place that an entry gets in the log, from which its bytes are sealed. */
export interface EntryPlace extends EntryId {
  /** `index <= firstSequence`. */
  readonly firstSequence: number;
}

/** Something to append: its bytes are final once its place is known. */
export interface EntrySource {
  readonly count: number;
  /** Bytes that {@link seal} will give. */
  readonly size: number;
  /** Called once, synchronously, when the place is fixed. */
  seal(place: EntryPlace): Uint8Array;
}

/** A finished read barrier: the read may be served once `index` is applied here. */
export interface ReadState {
  readonly context: number;
  /** `index <= committed` of the leader, which may be beyond the commit index of this node. */
  readonly index: LogIndex;
}

/**
 * The written part of the log, durable or not, as the storage holds it. The driver writes a Ready's
 * entries before it hands the core anything else, so this is always up to the last Ready taken.
 */
export interface LogReader {
  /** Index of the first entry that is kept; last + 1 when none is. */
  firstIndex(): LogIndex;
  /** Index of the last entry: `firstIndex - 1 <= lastIndex`. */
  lastIndex(): LogIndex;
  /** Term of a kept entry or of the one before the first; undefined outside. */
  term(index: LogIndex): Term | undefined;
  /** Sequence number after the last operation of the entry at `index`; 1 for index 0. */
  sequenceAfter(index: LogIndex): number;
  /**
   * Entries from `from` on, at least one, at most `bytesMax` bytes; undefined if not in memory.
   * `firstIndex <= from <= to <= lastIndex`.
   */
  entries(from: LogIndex, to: LogIndex, bytesMax: number): readonly Entry[] | undefined;
}
