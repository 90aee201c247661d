/**
 * Granting or refusing a vote or a pre-vote.
 *
 * @module
 */

import type { VoteRequest } from "./message.ts";
import type { RaftState } from "./raft_state.ts";
import type { EntryId } from "./types.ts";

/** Whether a candidate's log holds every entry a quorum may have committed (thesis §3.6.1). */
export function isUpToDate(candidate: EntryId, own: EntryId): boolean {
  if (candidate.term !== own.term) return candidate.term > own.term;
  return candidate.index >= own.index;
}

/**
 * Whether a live leader makes this node deaf to a campaign: a node that merely lost its link, or
 * was
 * removed, must not depose a leader that the others hear (thesis §4.2.3).
 */
export function isSticky(state: RaftState, request: VoteRequest): boolean {
  return state.hasLiveLeader && !request.transfer;
}

/**
 * Answers a request whose term was adopted already (a pre-vote adopts nothing). A granted pre-vote
 * carries the term that would be campaigned for, or the asker would drop it as old; a refusal
 * carries the own term, and the asker adopts it, or a node with a long log and a low term and one
 * with a short log and a high term would refuse each other for ever.
 */
export function answerVote(state: RaftState, request: VoteRequest): void {
  const isFree =
    state.vote === request.from || (state.vote === undefined && state.leader === undefined);
  const mayVote = request.preVote
    ? request.term > state.term
    : request.term === state.term && isFree;
  const isDeaf = isSticky(state, request) || state.quietTicks > 0;
  const granted = mayVote && !isDeaf && isUpToDate(request.last, state.log.last);
  if (granted && !request.preVote) {
    state.vote = request.from;
    state.electionElapsed = 0;
    state.electionWait = state.laterWait();
  }
  const answer = { type: "VOTE_RESPONSE", granted, preVote: request.preVote } as const;
  state.send(request.from, answer, granted ? request.term : state.term);
}
