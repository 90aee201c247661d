/**
 * Pre-vote, campaign, counting votes.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { becomeLeader } from "./leader.ts";
import type { VoteRequest, VoteResponse } from "./message.ts";
import { voteResult } from "./quorum.ts";
import type { RaftState } from "./raft_state.ts";
import type { EntryId } from "./types.ts";

/** How to campaign. */
export interface Campaign {
  /** Ask first whether a campaign could win; nothing changes on any node (thesis §9.6). */
  readonly preVote: boolean;
  /** The present leader requested the campaign. */
  readonly transfer: boolean;
}

/** Starts a round. The own vote counts only when it is on disk: see {@link ownVotePersisted}. */
export function campaign(state: RaftState, kind: Campaign): void {
  const term = state.term + 1;
  assert(state.log.lastIndex >= state.toldCommit, "a candidate lacks no entry that is committed");
  state.votes.clear();
  // A pre-vote changes nothing, so after the leader's certain end it may be repeated soon: the
  // other nodes learn of that end a moment later, and refuse until then.
  const isCertain = kind.preVote && state.isLeaderForgotten;
  state.electionWait = isCertain ? state.repeatWait() : state.laterWait();
  if (kind.preVote) {
    // Without forgetting the leader, pre-vote and stickiness can refuse each other for ever.
    state.setRole("pre-candidate", undefined);
    state.votes.set(state.id, true);
  } else {
    state.term = term;
    state.vote = state.id;
    state.setRole("candidate", undefined);
  }
  state.electionElapsed = 0;
  state.events.push({ type: "ELECTION_STARTED", term, preVote: kind.preVote });
  for (const peer of state.configuration.electorate) {
    if (peer === state.id) continue;
    const body = { last: state.log.last, preVote: kind.preVote, transfer: kind.transfer };
    state.send(peer, { type: "VOTE_REQUEST", ...body }, term);
  }
  settle(state);
}

/** The Ready with this term and the vote for itself is on disk. */
export function ownVotePersisted(state: RaftState, term: number): void {
  assert(term <= state.term, "terms never go back");
  if (state.role !== "candidate" || state.term !== term) return;
  assert(state.vote === state.id, "a candidate votes for itself");
  state.votes.set(state.id, true);
  settle(state);
}

/** Counts an answer as it arrives: one dead peer delays nothing (thesis §3.4). */
export function handleVoteResponse(state: RaftState, message: VoteResponse): void {
  assert(message.term >= state.term, "answers of old terms were dropped");
  const expectedRole = message.preVote ? "pre-candidate" : "candidate";
  if (state.role !== expectedRole) return;
  const term = message.preVote && message.granted ? state.term + 1 : state.term;
  if (message.term !== term) return;
  state.votes.set(message.from, message.granted);
  settle(state);
}

function settle(state: RaftState): void {
  const result = voteResult(state.configuration, state.votes);
  if (result === "lost") {
    const wait = state.electionWait;
    state.becomeFollower(state.term, undefined);
    state.electionWait = wait;
    assert(state.leader !== state.id, "a loser does not lead");
    return;
  }
  if (result === "pending") return;
  if (state.role === "pre-candidate") {
    campaign(state, { preVote: false, transfer: false });
  } else if (state.votes.get(state.id) === true) {
    becomeLeader(state);
  }
}

/** Time passes for a node that does not lead. */
export function tickFollower(state: RaftState): void {
  assert(state.leader !== state.id, "only a leader follows itself");
  state.electionElapsed += 1;
  state.quietTicks = Math.max(0, state.quietTicks - 1);
  // Another one heard the leader's last word a moment earlier, and has asked already.
  if (!state.hasLiveLeader) answerDeferred(state);
  if (state.electionElapsed >= state.electionWait + state.patience && state.isPromotable) {
    campaign(state, { preVote: true, transfer: false });
  }
}

/** Ticks of such a node that would only be counted. */
export function idleFollowerTicks(state: RaftState): number {
  const { deferredPreVote, electionWait, electionElapsed, patience } = state;
  const isAsked = deferredPreVote !== undefined;
  const untilAnswer = isAsked ? state.pace.electionTicks : Number.POSITIVE_INFINITY;
  if (!state.isPromotable && !isAsked) return state.pace.electionTicks;
  const untilCampaign = state.isPromotable ? electionWait + patience : Number.POSITIVE_INFINITY;
  const due = Math.min(untilAnswer, untilCampaign);
  const idle = Math.max(0, due - electionElapsed - 1);
  assert(idle < due, "the tick that does something is none of them");
  return idle;
}

/** Whether a candidate's log holds every entry a quorum may have committed (thesis §3.6.1). */
export function isUpToDate(candidate: EntryId, own: EntryId): boolean {
  if (candidate.term !== own.term) return candidate.term > own.term;
  return candidate.index >= own.index;
}

/**
 * Whether a live leader makes this node ignore a campaign: a node that merely lost its link, or was
 * removed, must not depose a leader that the other nodes follow (thesis §4.2.3).
 */
export function isSticky(state: RaftState, request: VoteRequest): boolean {
  // A leader that campaigns does not lead any more, however lately it was heard.
  return state.hasLiveLeader && state.leader !== request.from && !request.transfer;
}

/** The leader is gone for certain: who asked too early for a pre-vote need not ask again. */
export function answerDeferred(state: RaftState): void {
  const request = state.deferredPreVote;
  state.deferredPreVote = undefined;
  if (request === undefined || request.term <= state.term) return;
  assert(!isSticky(state, request), "nothing is refused for a leader that is gone");
  answerVote(state, request);
}

/**
 * Answers a request whose term was adopted already (a pre-vote adopts nothing). A granted pre-vote
 * carries the term that would be campaigned for, or the candidate would drop it as old; a refusal
 * carries the own term, and the candidate adopts it, or a node with a long log and a low term and
 * one with a short log and a high term would refuse each other for ever.
 */
export function answerVote(state: RaftState, request: VoteRequest): void {
  assert(request.term >= state.term, "requests of old terms were answered");
  const isFree =
    state.vote === request.from || (state.vote === undefined && state.leader === undefined);
  const mayVote = request.preVote
    ? request.term > state.term
    : request.term === state.term && isFree;
  const isIgnored = isSticky(state, request) || state.quietTicks > 0;
  const isWhole = isUpToDate(request.last, state.log.last);
  const granted = mayVote && !isIgnored && isWhole;
  if (request.preVote && mayVote && !isWhole && !isIgnored && state.role === "follower") {
    // Who asks cannot win against this log: waiting for it is in vain.
    state.campaignSoon();
  }
  if (granted && !request.preVote) {
    assert(request.term === state.term, "a vote is given in the present term");
    state.vote = request.from;
    state.electionElapsed = 0;
    state.electionWait = state.laterWait();
  }
  // Both followers of a leader that ends hear of it at about the same time, one of them first.
  if (request.preVote && !granted && isSticky(state, request)) state.deferredPreVote = request;
  const answer = { type: "VOTE_RESPONSE", granted, preVote: request.preVote } as const;
  state.send(request.from, answer, granted ? request.term : state.term);
}
