/**
 * Replication to each peer, commit advance, quorum check, hand-over.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { type Configuration, changeProblem } from "./configuration.ts";
import type { AppendEntriesResponse, HeartbeatResponse } from "./message.ts";
import type { Progress } from "./progress.ts";
import { isQuorum, quorumValue } from "./quorum.ts";
import type { RaftState } from "./raft_state.ts";
import { releaseReads, startWaitingReads } from "./read_index.ts";
import type { Entry, EntrySource, NodeId, Role } from "./types.ts";

/** Why a proposal was not appended; nothing happened then. */
export type ProposalRefusal = "not leader" | "transferring" | "too many uncommitted bytes";

/** A proposal's place in the log, or why it has none. */
export type Proposal =
  | { readonly accepted: true; readonly entry: Entry }
  | { readonly accepted: false; readonly refusal: ProposalRefusal };

/** Takes office: every peer is probed, and an entry of the new term makes commits possible. */
export function becomeLeader(state: RaftState): void {
  assert(state.role === "candidate" && state.vote === state.id, "a leader was a candidate");
  const { config, log } = state;
  state.votes.clear();
  state.progress.clear();
  state.trackMembers();
  for (const progress of state.progress.values()) progress.isRecentlyActive = false;
  ownProgress(state).match = log.durableIndex;
  state.heartbeatElapsed = 0;
  state.quorumElapsed = 0;
  state.isLeaseVoid = false;
  state.isLeaderForgotten = false;
  state.uncommitted = [];
  state.uncommittedBytes = 0;
  state.setRole("leader", state.id);
  append(state, config.noop());
  broadcastAppend(state);
}

function ownProgress(state: RaftState): Progress {
  return progressOf(state, state.id);
}

/** What the leader knows of a voter. */
export function progressOf(state: RaftState, id: NodeId): Progress {
  const progress = state.progress.get(id);
  assert(progress !== undefined, "the leader tracks its peers");
  return progress;
}

function append(state: RaftState, source: EntrySource): Entry {
  const entry = state.log.appendNew(state.term, source);
  state.uncommitted.push({ index: entry.index, size: entry.bytes.byteLength });
  state.uncommittedBytes += entry.bytes.byteLength;
  state.noteAppended([entry]);
  return entry;
}

/** Appends a batch, or says why not. One that would break the uncommitted limit alone is let in. */
export function propose(state: RaftState, source: EntrySource): Proposal {
  if (state.role !== "leader") return { accepted: false, refusal: "not leader" };
  if (state.transferee !== undefined) return { accepted: false, refusal: "transferring" };
  const bytes = state.uncommittedBytes;
  if (bytes > 0 && bytes + source.size > state.config.uncommittedBytesMax) {
    return { accepted: false, refusal: "too many uncommitted bytes" };
  }
  const entry = append(state, source);
  broadcastAppend(state);
  return { accepted: true, entry };
}

/** Why a change of members was not appended; empty when it was. */
export function proposeConfiguration(
  state: RaftState,
  source: EntrySource,
  to: Configuration,
): string {
  if (state.role !== "leader") return "this node does not lead";
  if (state.transferee !== undefined) return "leadership is being handed over";
  // Before that an earlier leader's change may still be uncommitted somewhere, and two majorities
  // that know of different changes need not meet (the bug of 2015 in single-server changes).
  if (!state.hasCommittedOwnTerm) return "the leader has not committed an entry of its term yet";
  if (state.history.latest.index > state.log.committed) return "another change is under way";
  const problem = changeProblem(state.configuration, to);
  if (problem !== "") return problem;
  append(state, source);
  assert(state.configuration.ids.join(" ") === to.ids.join(" "), "the entry sets what was checked");
  broadcastAppend(state);
  // Who is left may have confirmed already, and a leader that is alone hears no more answers.
  releaseReads(state);
  return "";
}

/** Sends every peer what it may be sent. */
export function broadcastAppend(state: RaftState): void {
  for (const peer of state.peers) sendAppends(state, peer);
}

/** Fills the peer's window. In probe state one append, also an empty one. */
function sendAppends(state: RaftState, peer: NodeId): void {
  const progress = progressOf(state, peer);
  while (!progress.isPaused) {
    const isEmpty = progress.next > state.log.lastIndex;
    if (isEmpty && progress.state === "replicate") return;
    if (!sendOneAppend(state, peer, progress)) return;
  }
}

function sendOneAppend(state: RaftState, peer: NodeId, progress: Progress): boolean {
  const { log, config } = state;
  const from = progress.next;
  const isEmpty = from > log.lastIndex;
  if (from < log.firstIndex) {
    // What it may lack is gone from this log. Whether it lacks it is known only by asking, with the
    // oldest place that is left.
    progress.becomeProbe();
    progress.next = log.firstIndex;
    sendEntries(state, peer, []);
    return false;
  }
  const entries = isEmpty ? [] : log.entries(from, config.appendBytesMax);
  if (entries === undefined) {
    progress.isCatchingUp = true;
    state.catchUps.push({ peer, from, bytesMax: config.appendBytesMax });
    return false;
  }
  sendEntries(state, peer, entries);
  return true;
}

function sendEntries(state: RaftState, peer: NodeId, entries: readonly Entry[]): void {
  const progress = progressOf(state, peer);
  const index = progress.next - 1;
  const term = state.log.term(index);
  assert(term !== undefined, "the previous entry's term is kept");
  let size = 0;
  for (const entry of entries) size += entry.bytes.byteLength;
  const commitIndex = state.log.committed;
  progress.sentCommit = Math.min(commitIndex, index + entries.length);
  state.send(peer, { type: "APPEND_ENTRIES", previous: { term, index }, commitIndex, entries });
  progress.sent(index + entries.length, size);
}

/** Entries that were read from disk for a peer. Ignored if they are not what it needs any more. */
export function supplyEntries(state: RaftState, peer: NodeId, entries: readonly Entry[]): void {
  const progress = state.role === "leader" ? state.progress.get(peer) : undefined;
  if (progress === undefined || !progress.isCatchingUp) return;
  progress.isCatchingUp = false;
  const first = entries[0];
  const last = entries.at(-1);
  const isWanted =
    first !== undefined &&
    last !== undefined &&
    first.index === progress.next &&
    state.log.term(first.index - 1) !== undefined &&
    state.log.matches(last);
  if (isWanted && !progress.isPaused) sendEntries(state, peer, entries);
  sendAppends(state, peer);
}

/** Nothing in the log leads to where the peer stands. */
function sendSnapshot(state: RaftState, peer: NodeId, progress: Progress): void {
  progress.becomeSnapshot();
  state.snapshotPeers.push(peer);
}

/**
 * A snapshot's way to a peer has ended. Whether it arrived is seen from the peer's answers: it is
 * probed anew, after its next sign of life when it failed.
 */
export function snapshotEnded(state: RaftState, peer: NodeId, isDelivered: boolean): void {
  const progress = state.progress.get(peer);
  if (state.role !== "leader" || progress?.state !== "snapshot") return;
  progress.becomeProbe();
  progress.next = Math.max(progress.next, state.log.firstIndex);
  progress.isProbeSent = !isDelivered;
  if (isDelivered) sendAppends(state, peer);
}

/** An answer to an append. */
export function handleAppendEntriesResponse(
  state: RaftState,
  message: AppendEntriesResponse,
): void {
  const progress = state.progress.get(message.from);
  if (state.role !== "leader" || progress === undefined) return;
  progress.isRecentlyActive = true;
  if (message.rejected) {
    const isFresh = progress.state === "probe" && message.index === progress.next - 1;
    if (isFresh && message.index <= progress.match) {
      // Asked again at its next sign of life only: it would refuse for ever.
      state.refuse(message.from, `it lost entry ${message.index}, which it had acknowledged`);
      return;
    }
    const own = state.log.conflictHint(message.hint.index, message.hint.term);
    if (!progress.rejected(message.index, own)) return;
    const { firstIndex } = state.log;
    const isBehind = progress.next < firstIndex && message.index === firstIndex - 1;
    if (isBehind) sendSnapshot(state, message.from, progress);
    else sendAppends(state, message.from);
    return;
  }
  if (message.index > state.log.lastIndex) {
    state.refuse(message.from, `it acknowledged entry ${message.index}, which was never sent`);
    return;
  }
  const isNews = progress.acknowledged(message.index);
  const reconnects = progress.state !== "replicate" && progress.match >= state.log.firstIndex - 1;
  if (reconnects && message.index === progress.match) progress.becomeReplicate();
  progress.inflights.freeThrough(message.index);
  if (isNews) advanceCommit(state);
  // The commit may have been that of this leader's own removal.
  if ((state.role as Role) !== "leader") return;
  finishTransfer(state);
  sendAppends(state, message.from);
}

/** A sign of life: what was lost on the way is sent again. */
export function handleHeartbeatResponse(state: RaftState, message: HeartbeatResponse): void {
  const progress = state.progress.get(message.from);
  if (state.role !== "leader" || progress === undefined) return;
  progress.isRecentlyActive = true;
  if (message.readRound > state.readRound) {
    state.refuse(message.from, "it confirmed a read round that was never started");
    return;
  }
  progress.readRound = Math.max(progress.readRound, message.readRound);
  progress.isProbeSent = false;
  if (progress.match < state.log.lastIndex) {
    // A window whose appends were all lost would otherwise stay full for ever (etcd #14633).
    if (progress.inflights.isFull) progress.inflights.freeFirst();
    if (progress.state === "replicate" && progress.next > state.log.lastIndex) {
      if (!progress.isPaused) sendEntries(state, message.from, []);
    } else {
      sendAppends(state, message.from);
    }
  } else if (progress.state === "probe") {
    sendAppends(state, message.from);
  }
  releaseReads(state);
}

/** Own entries are durable: only now does the leader count itself (thesis §10.2.1). */
export function ownEntriesPersisted(state: RaftState): void {
  if (state.role !== "leader") return;
  if (!ownProgress(state).acknowledged(state.log.durableIndex)) return;
  advanceCommit(state);
  finishTransfer(state);
}

/** Commits what a majority holds, if it is of the own term (paper §5.4.2, figure 8). */
function advanceCommit(state: RaftState): void {
  const { log } = state;
  const index = quorumValue(state.configuration, (id) => progressOf(state, id).match);
  if (index <= log.committed || log.term(index) !== state.term) return;
  const wasReady = state.hasCommittedOwnTerm;
  state.commitTo(index);
  let freed = 0;
  for (const proposal of state.uncommitted) {
    if (proposal.index > index) break;
    state.uncommittedBytes -= proposal.size;
    freed += 1;
  }
  state.uncommitted.splice(0, freed);
  if (!wasReady) startWaitingReads(state);
  leaveIfRemoved(state);
}

/**
 * A leader that is not a voter any more leads until its removal is committed, then hands over: the
 * voters need not wait for a timeout (thesis §4.2.2).
 */
function leaveIfRemoved(state: RaftState): void {
  const { configuration, index } = state.history.latest;
  if (configuration.mayVote(state.id) || index > state.log.committed) return;
  sendHeartbeats(state);
  // Under load nobody has the whole log at that moment; whoever has most is as good as any.
  const id = successorOf(state);
  assert(id !== undefined, "a majority of the voters has the change");
  const { match } = progressOf(state, id);
  const term = state.log.term(match);
  assert(match >= index && term !== undefined, "a majority of the voters has the change");
  state.send(id, { type: "TIMEOUT_NOW", last: { term, index: match } });
  state.becomeFollower(state.term, undefined);
}

/** The other voter that has the most; undefined when none has anything. */
export function successorOf(state: RaftState): NodeId | undefined {
  let best: { readonly id: NodeId | undefined; readonly match: number } = {
    id: undefined,
    match: 0,
  };
  for (const id of state.configuration.voters) {
    const match = id === state.id ? 0 : progressOf(state, id).match;
    if (match > best.match) best = { id, match };
  }
  return best.id;
}

/** Heartbeats are small and of their own kind, so that no bulk data is in front of them. */
function sendHeartbeats(state: RaftState): void {
  for (const peer of state.peers) sendHeartbeat(state, peer);
}

/** Tells one peer what is committed of what it is known to hold. */
export function sendHeartbeat(state: RaftState, peer: NodeId): void {
  const progress = progressOf(state, peer);
  const commitIndex = Math.min(progress.match, state.log.committed);
  progress.sentCommit = Math.max(progress.sentCommit, commitIndex);
  state.sendHeartbeat(peer);
}

/** Whether more of what a peer holds is committed than it was told. */
function hasUntoldCommit(state: RaftState, peer: NodeId): boolean {
  const { match, sentCommit } = progressOf(state, peer);
  return sentCommit < Math.min(match, state.log.committed);
}

/** Coming ticks that {@link tickLeader} would only count. */
export function idleLeaderTicks(state: RaftState): number {
  const { electionTicks, heartbeatTicks } = state.config;
  for (const peer of state.peers) {
    if (hasUntoldCommit(state, peer)) return 0;
  }
  const quorum = electionTicks - state.quorumElapsed;
  const transfer = state.transferee === undefined ? quorum : electionTicks - state.transferElapsed;
  return Math.max(0, Math.min(quorum, transfer, heartbeatTicks - state.heartbeatElapsed) - 1);
}

/** Counts ticks in which nothing is due. */
export function skipLeaderTicks(state: RaftState, count: number): void {
  state.heartbeatElapsed += count;
  state.quorumElapsed += count;
  if (state.transferee !== undefined) state.transferElapsed += count;
}

/** One tick in office. */
export function tickLeader(state: RaftState): void {
  state.heartbeatElapsed += 1;
  state.quorumElapsed += 1;
  if (state.quorumElapsed >= state.config.electionTicks && !checkQuorum(state)) return;
  if (state.transferee !== undefined) {
    state.transferElapsed += 1;
    if (state.transferElapsed >= state.config.electionTicks) state.endTransfer(false);
  }
  if (state.heartbeatElapsed >= state.config.heartbeatTicks) {
    state.heartbeatElapsed = 0;
    if (state.config.hasLeases) state.readRound += 1;
    sendHeartbeats(state);
    return;
  }
  // A follower with nothing under way learns of a commit within a tick, not a heartbeat.
  for (const peer of state.peers) {
    if (hasUntoldCommit(state, peer)) sendHeartbeat(state, peer);
  }
}

/** A leader that hears no quorum for an election timeout stops leading (thesis §6.2). */
function checkQuorum(state: RaftState): boolean {
  state.quorumElapsed = 0;
  const isActive = (id: NodeId): boolean =>
    id === state.id || progressOf(state, id).isRecentlyActive;
  const isHeard = isQuorum(state.configuration, isActive);
  for (const progress of state.progress.values()) progress.isRecentlyActive = false;
  if (isHeard) return true;
  state.events.push({ type: "QUORUM_LOST", term: state.term });
  state.becomeFollower(state.term, undefined);
  return false;
}

/**
 * Starts handing over: no proposals from now on, the target is brought up to date and then told to
 * campaign. Another target replaces the first; the same one again is ignored.
 */
export function transferLeadership(state: RaftState, to: NodeId): boolean {
  if (state.role !== "leader" || to === state.id) return false;
  if (!state.configuration.voters.includes(to)) return false;
  if (state.transferee === to) return true;
  state.endTransfer(false);
  state.transferee = to;
  state.transferElapsed = 0;
  state.events.push({ type: "TRANSFER_STARTED", to });
  finishTransfer(state);
  if (state.transferee !== undefined) sendAppends(state, to);
  return true;
}

/** Only a target that has everything on its disk may campaign. */
function finishTransfer(state: RaftState): void {
  const to = state.transferee;
  if (to === undefined || progressOf(state, to).match !== state.log.lastIndex) return;
  state.isLeaseVoid = true;
  state.send(to, { type: "TIMEOUT_NOW", last: state.log.last });
}

/** The connection to a peer broke: what was sent may be lost, so look where it stands. */
export function peerUnreachable(state: RaftState, peer: NodeId): void {
  if (state.role !== "leader") return;
  const progress = state.progress.get(peer);
  if (progress?.state === "replicate") progress.becomeProbe();
}
