/**
 * The messages between Raft nodes: a closed union on `type`. The inequalities of its indexes hold
 * between honest nodes; the receiver refuses messages that break them.
 *
 * @module
 */

import type { Entry, EntryId, LogIndex, NodeId, Term } from "./types.ts";

interface Envelope {
  readonly from: NodeId;
  readonly to: NodeId;
  /** The sender's term; in a granted pre-vote the term that would be campaigned for. */
  readonly term: Term;
}

/** RequestVote (paper figure 2), also as a pre-vote (thesis §9.6). */
export interface VoteRequest extends Envelope {
  readonly type: "VOTE_REQUEST";
  readonly last: EntryId;
  readonly preVote: boolean;
  /** Set in a leadership transfer: stickiness does not apply (thesis §3.10). */
  readonly transfer: boolean;
}

/** The answer to a {@link VoteRequest}. */
export interface VoteResponse extends Envelope {
  readonly type: "VOTE_RESPONSE";
  readonly granted: boolean;
  readonly preVote: boolean;
}

/** AppendEntries with or without entries (paper figure 2). */
export interface AppendEntries extends Envelope {
  readonly type: "APPEND_ENTRIES";
  /** The entry before the first of the entries. */
  readonly previous: EntryId;
  /** The leader's; it may lie before `previous` or beyond the last of the entries. */
  readonly commitIndex: LogIndex;
  /** `previous.index + 1`, `previous.index + 2` ... */
  readonly entries: readonly Entry[];
}

/** The answer to {@link AppendEntries}. */
export interface AppendEntriesResponse extends Envelope {
  readonly type: "APPEND_ENTRIES_RESPONSE";
  readonly rejected: boolean;
  /**
   * Accepted: the last index that the request verified, `index <= lastIndex` of the leader.
   * Rejected: the previous index that did not fit.
   */
  readonly index: LogIndex;
  /** Rejected: the follower's best guess of where both logs agree; `hint.index <= index`. */
  readonly hint: EntryId;
}

/** Keeps followers from campaigning and carries the read round; apart from bulk data. */
export interface Heartbeat extends Envelope {
  readonly type: "HEARTBEAT";
  /**
   * At most the receiver's match index, because a heartbeat proves nothing about its log:
   * `commitIndex <= lastIndex` of the receiver.
   */
  readonly commitIndex: LogIndex;
  readonly readRound: number;
  /**
   * Every voter's disk holds the log up to here: no node needs it again. `heldIndex <= lastIndex`
   * of the leader.
   */
  readonly heldIndex: LogIndex;
}

/** The answer to a {@link Heartbeat}. */
export interface HeartbeatResponse extends Envelope {
  readonly type: "HEARTBEAT_RESPONSE";
  readonly readRound: number;
}

/** A follower requests a read barrier (thesis §6.4). */
export interface ReadIndexRequest extends Envelope {
  readonly type: "READ_INDEX";
  readonly context: number;
}

/** The answer to a {@link ReadIndexRequest}; sent only when a quorum confirmed the leader. */
export interface ReadIndexResponse extends Envelope {
  readonly type: "READ_INDEX_RESPONSE";
  readonly context: number;
  /** The leader's commit index when the request arrived: `index <= committed` of the leader. */
  readonly index: LogIndex;
}

/** Makes a caught-up follower campaign at once (thesis §3.10). */
export interface TimeoutNow extends Envelope {
  readonly type: "TIMEOUT_NOW";
  /** The last entry of the leader that the follower holds. */
  readonly last: EntryId;
}

/** Every message between Raft nodes. */
export type RaftMessage =
  | VoteRequest
  | VoteResponse
  | AppendEntries
  | AppendEntriesResponse
  | Heartbeat
  | HeartbeatResponse
  | ReadIndexRequest
  | ReadIndexResponse
  | TimeoutNow;

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

/** A message without its envelope, as the roles write it. */
export type RaftMessageBody = DistributiveOmit<RaftMessage, "from" | "to" | "term">;
