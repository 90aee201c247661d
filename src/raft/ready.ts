/**
 * Effects that the driver must carry out, in the order of the fields.
 *
 * @module
 */

import type { Configuration } from "./configuration.ts";
import type { RaftMessage } from "./message.ts";
import type { ProgressState } from "./progress.ts";
import type {
  Entry,
  HardState,
  LogBase,
  LogIndex,
  NodeId,
  ReadState,
  Role,
  Term,
} from "./types.ts";

/** Events for the log, the metrics and the driver's own bookkeeping of promises. */
export type RaftEvent =
  | {
      readonly type: "ROLE_CHANGED";
      readonly role: Role;
      readonly term: Term;
      readonly leader: NodeId | undefined;
    }
  /** A follower gives its leader up, from which nothing came for so many ticks. */
  | {
      readonly type: "LEADER_LOST";
      readonly leader: NodeId;
      readonly silentTicks: number;
      /** Its process is gone for certain; it was silent; it said so; another one was elected. */
      readonly why: "gone" | "silent" | "handed over" | "superseded";
    }
  | { readonly type: "ELECTION_STARTED"; readonly term: Term; readonly preVote: boolean }
  | { readonly type: "QUORUM_LOST"; readonly term: Term }
  | { readonly type: "TRANSFER_STARTED"; readonly to: NodeId }
  | { readonly type: "TRANSFER_ENDED"; readonly to: NodeId; readonly done: boolean }
  /** The entries from there on were not committed and are superseded. */
  | { readonly type: "LOG_TRUNCATED"; readonly fromIndex: LogIndex }
  | { readonly type: "MESSAGE_REFUSED"; readonly from: NodeId; readonly reason: string };

/** Entries that a peer needs and that are not in memory: the driver reads and sends them. */
export interface CatchUp {
  readonly peer: NodeId;
  /** `firstIndex <= from <= lastIndex` of the written log, when the Ready is taken. */
  readonly from: LogIndex;
  readonly bytesMax: number;
}

/** All decisions since the last Ready was taken. */
export interface Ready {
  /** 1, 2, 3 ...: the argument of `persisted()`. */
  readonly number: number;
  /** Send now, beside the writing. */
  readonly messages: readonly RaftMessage[];
  /**
   * The log starts over behind this: a snapshot takes its place. Comes before the rest;
   * `restored.index + 1` is the index of the first of the entries.
   */
  readonly restored: LogBase | undefined;
  /** Make durable before entries of that term. */
  readonly hardState: HardState | undefined;
  /**
   * The written entries from here on go: the first of the entries below has this index and
   * supersedes them on disk. It is greater than the commit index of the Ready before.
   */
  readonly truncateFrom: LogIndex | undefined;
  /** Make durable last, with one sync at the end. */
  readonly entries: readonly Entry[];
  /** Whether that sync is needed at all. */
  readonly mustSync: boolean;
  /** Send only after the above is on disk. */
  readonly messagesAfterPersist: readonly RaftMessage[];
  /**
   * The entries up to here are committed: apply them, in index order. It never goes back, and is at
   * most the last index, these entries included.
   */
  readonly commitIndex: LogIndex;
  /** Answer once applied >= their index. */
  readonly reads: readonly ReadState[];
  /** Read these from disk and hand them back with `supplyEntries`. */
  readonly catchUps: readonly CatchUp[];
  /** These need a snapshot: send them one, and report its end with `snapshotEnded`. */
  readonly snapshotPeers: readonly NodeId[];
  readonly events: readonly RaftEvent[];
}

/** A leader's view of one member, for status. */
export interface PeerView {
  readonly id: NodeId;
  /** The member's disk holds the leader's log up to here: `0 <= match < next`. */
  readonly match: LogIndex;
  /** The next append begins here: `match < next <= lastIndex + 1`. */
  readonly next: LogIndex;
  readonly state: ProgressState;
}

/** The node's state at a glance. */
export interface RaftView {
  readonly id: NodeId;
  readonly role: Role;
  readonly term: Term;
  readonly vote: NodeId | undefined;
  readonly leader: NodeId | undefined;
  /** `1 <= firstIndex <= lastIndex + 1`. */
  readonly firstIndex: LogIndex;
  /** `firstIndex - 1 <= lastIndex`. */
  readonly lastIndex: LogIndex;
  /** `0 <= durableIndex <= lastIndex`. */
  readonly durableIndex: LogIndex;
  /** `firstIndex - 1 <= commitIndex <= lastIndex`. */
  readonly commitIndex: LogIndex;
  /** Every voter holds the log up to here, as far as this node knows; a leader's <= lastIndex. */
  readonly heldIndex: LogIndex;
  readonly transferee: NodeId | undefined;
  readonly hasCommittedOwnTerm: boolean;
  /** The configuration that counts. */
  readonly configuration: Configuration;
  /** The entry that set it: `0 <= configurationIndex <= lastIndex`. */
  readonly configurationIndex: LogIndex;
}
