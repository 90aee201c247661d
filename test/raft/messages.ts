/**
 * Bodies of messages with defaults for the fields that a test does not need.
 *
 * @module
 */

import type {
  AppendEntries,
  Heartbeat,
  RaftMessageBody,
  VoteRequest,
  VoteResponse,
} from "../../src/raft/message.ts";
import { type Entry, type EntryId, NO_ENTRY } from "../../src/raft/types.ts";

type Body<T> = Omit<T, "from" | "to" | "term"> & RaftMessageBody;

/** A request for a vote, with a log that ends with `last`. */
export function voteRequest(
  last: EntryId = NO_ENTRY,
  kind: { readonly preVote?: boolean; readonly transfer?: boolean } = {},
): Body<VoteRequest> {
  return { type: "VOTE_REQUEST", last, preVote: false, transfer: false, ...kind };
}

/** An answer that grants or refuses a vote. */
export function voteResponse(granted: boolean, preVote = false): Body<VoteResponse> {
  return { type: "VOTE_RESPONSE", granted, preVote };
}

/** An append of `entries` behind `previous`. */
export function append(
  previous: EntryId,
  entries: readonly Entry[],
  commitIndex = 0,
): Body<AppendEntries> {
  return { type: "APPEND_ENTRIES", previous, entries, commitIndex };
}

/** A heartbeat. */
export function heartbeat(commitIndex = 0, readRound = 0): Body<Heartbeat> {
  return { type: "HEARTBEAT", commitIndex, readRound, heldIndex: 0 };
}

/** An answer that acknowledges the entries up to `index`. */
export function acknowledged(index: number): RaftMessageBody {
  return { type: "APPEND_ENTRIES_RESPONSE", rejected: false, index, hint: NO_ENTRY };
}
