/**
 * Effects that the driver must carry out, in the order of the fields.
 *
 * @module
 */

import type { RaftMessage } from "./message.ts";
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

/** What happened, for the log, the metrics and the driver's own bookkeeping of promises. */
export type RaftEvent =
  | {
      readonly type: "ROLE_CHANGED";
      readonly role: Role;
      readonly term: Term;
      readonly leader: NodeId | undefined;
    }
  | { readonly type: "ELECTION_STARTED"; readonly term: Term; readonly preVote: boolean }
  | { readonly type: "QUORUM_LOST"; readonly term: Term }
  | { readonly type: "TRANSFER_STARTED"; readonly to: NodeId }
  | { readonly type: "TRANSFER_ENDED"; readonly to: NodeId; readonly done: boolean }
  | { readonly type: "LOG_TRUNCATED"; readonly fromIndex: LogIndex }
  | { readonly type: "MESSAGE_REFUSED"; readonly from: NodeId; readonly reason: string };

/** Entries that a peer needs and that are not in memory: the driver reads and sends them. */
export interface CatchUp {
  readonly peer: NodeId;
  readonly from: LogIndex;
  readonly bytesMax: number;
}

/** Everything decided since the last Ready was taken. */
export interface Ready {
  /** 1, 2, 3 ...: what `persisted()` answers with. */
  readonly number: number;
  /** Send now, beside the writing. */
  readonly messages: readonly RaftMessage[];
  /** The log starts over behind this: a snapshot takes its place. Comes before the rest. */
  readonly restored: LogBase | undefined;
  /** Make durable, in this order: term and vote before entries of that term, */
  readonly hardState: HardState | undefined;
  /** the conflicting tail goes (the first entry below supersedes it on disk), */
  readonly truncateFrom: LogIndex | undefined;
  /** then the new entries; one sync at the end. */
  readonly entries: readonly Entry[];
  /** Whether that sync is needed at all. */
  readonly mustSync: boolean;
  /** Send only after the above is on disk. */
  readonly messagesAfterPersist: readonly RaftMessage[];
  /** Everything up to here is committed: apply it, in index order. */
  readonly commitIndex: LogIndex;
  /** Answer once applied >= their index. */
  readonly reads: readonly ReadState[];
  /** Read these from disk and hand them back with `supplyEntries`. */
  readonly catchUps: readonly CatchUp[];
  /** These need a snapshot: send them one, and say how it ended with `snapshotEnded`. */
  readonly snapshotPeers: readonly NodeId[];
  readonly events: readonly RaftEvent[];
}
