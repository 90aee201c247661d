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
import type { Entry, EntrySource, LogIndex, NodeId, Role } from "./types.ts";

/** Why a proposal was not appended; nothing happened then. */
export type ProposalRefusal = "not leader" | "transferring" | "too many uncommitted bytes";

/** A proposal's place in the log, or why it has none. */
export type Proposal =
  | { readonly accepted: true; readonly entry: Entry }
  | { readonly accepted: false; readonly refusal: ProposalRefusal };

/** Takes office: every peer is probed, and an entry of the new term makes commits possible. */
export function becomeLeader(state: RaftState): void {
  assert(state.role === "candidate", "a leader was a candidate");
  assert(state.vote === state.id, "a candidate voted for itself");
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
  const { index } = append(state, config.noop());
  assert(index > log.committed, "the new term's first entry is not committed yet");
  state.owesAppends = true;
}

/** Sends what a leader has kept since it took office: before the first messages leave. */
export function payAppends(state: RaftState): void {
  if (!state.owesAppends) return;
  state.owesAppends = false;
  assert(state.role !== "leader" || state.leader === state.id, "a leader follows itself");
  if (state.role === "leader") broadcastAppend(state);
}

function ownProgress(state: RaftState): Progress {
  return progressOf(state, state.id);
}

/** The leader's view of a member. */
export function progressOf(state: RaftState, id: NodeId): Progress {
  const progress = state.progress.get(id);
  assert(progress !== undefined, "the leader tracks its peers");
  assert(progress.match < progress.next, "appends follow the entries that match");
  assert(progress.next <= state.log.lastIndex + 1, "appends begin inside the log or at its end");
  return progress;
}

function append(state: RaftState, source: EntrySource): Entry {
  const before = state.uncommitted.at(-1);
  const entry = state.log.appendNew(state.term, source);
  assert(before === undefined || before.index < entry.index, "proposals are in order of index");
  assert(entry.term === state.term, "a leader appends entries of its term");
  state.uncommitted.push({ index: entry.index, size: entry.bytes.byteLength });
  state.uncommittedBytes += entry.bytes.byteLength;
  state.noteAppended([entry]);
  assert(entry.index === state.log.lastIndex, "the entry ends the log");
  return entry;
}

/** Appends a batch or returns the refusal. A single batch above the uncommitted limit is taken. */
export function propose(state: RaftState, source: EntrySource): Proposal {
  if (state.role !== "leader") return { accepted: false, refusal: "not leader" };
  if (state.transferee !== undefined) return { accepted: false, refusal: "transferring" };
  const bytes = state.uncommittedBytes;
  if (bytes > 0 && bytes + source.size > state.config.uncommittedBytesMax) {
    return { accepted: false, refusal: "too many uncommitted bytes" };
  }
  const entry = append(state, source);
  if (!state.owesAppends) broadcastAppend(state);
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
  // Before that an earlier leader's change may still be uncommitted somewhere, and the majorities
  // of different changes need not have a node in common (the bug of 2015 in single-server changes).
  if (!state.hasCommittedOwnTerm) return "the leader has not committed an entry of its term yet";
  if (state.history.latest.index > state.log.committed) return "another change is under way";
  const problem = changeProblem(state.configuration, to);
  if (problem !== "") return problem;
  const { index } = append(state, source);
  assert(state.history.latest.index === index, "a configuration counts when it is appended");
  assert(
    state.configuration.ids.join(" ") === to.ids.join(" "),
    "the entry sets the checked members",
  );
  broadcastAppend(state);
  // The members that are left may have confirmed already, and a leader alone gets no more answers.
  releaseReads(state);
  return "";
}

/** Sends every peer the entries that its window admits. */
export function broadcastAppend(state: RaftState): void {
  assert(state.leader === state.id, "only the leader sends appends");
  for (const peer of state.peers) sendAppends(state, peer);
}

/** Fills the peer's window. In probe state one append, also an empty one. */
function sendAppends(state: RaftState, peer: NodeId): void {
  const progress = progressOf(state, peer);
  while (!progress.isPaused) {
    const isEmpty = progress.next > state.log.lastIndex;
    if (isEmpty && progress.state === "replicate") return;
    sendOneAppend(state, peer, progress);
  }
}

function sendOneAppend(state: RaftState, peer: NodeId, progress: Progress): void {
  const { log, config } = state;
  const from = progress.next;
  const isEmpty = from > log.lastIndex;
  if (from < log.firstIndex) {
    // Entries that the peer may lack are gone from this log. An append at the oldest place that is
    // left shows whether it lacks them.
    progress.becomeProbe();
    progress.next = log.firstIndex;
    assert(progress.match < progress.next, "the probed entry is beyond the match");
    sendEntries(state, peer, []);
    return;
  }
  const entries = isEmpty ? [] : log.entries(from, config.appendBytesMax);
  const first = entries?.[0];
  assert(
    first === undefined || first.index === from,
    "the entries begin where the peer needs them",
  );
  if (entries === undefined) {
    progress.isCatchingUp = true;
    state.catchUps.push({ peer, from, bytesMax: config.appendBytesMax });
    return;
  }
  sendEntries(state, peer, entries);
  assert(isEmpty || progress.isPaused || progress.next > from, "an append moves the peer on");
}

function sendEntries(state: RaftState, peer: NodeId, entries: readonly Entry[]): void {
  const progress = progressOf(state, peer);
  const index = progress.next - 1;
  const term = state.log.term(index);
  assert(term !== undefined, "the previous entry's term is kept");
  assert(index + entries.length <= state.log.lastIndex, "only entries of the log are sent");
  let size = 0;
  for (const entry of entries) size += entry.bytes.byteLength;
  const commitIndex = state.log.committed;
  progress.sentCommit = Math.min(commitIndex, index + entries.length);
  state.send(peer, { type: "APPEND_ENTRIES", previous: { term, index }, commitIndex, entries });
  progress.sent(index + entries.length, size);
}

/** Entries that were read from disk for a peer. Ignored if it does not need them any more. */
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
  assert(progress.next < state.log.firstIndex, "the entries that the peer needs are gone");
  state.snapshotPeers.push(peer);
}

/**
 * A snapshot's way to a peer has ended. Only the peer's answers show whether it arrived: the peer
 * is probed anew, after its next heartbeat response when the snapshot failed.
 */
export function snapshotEnded(state: RaftState, peer: NodeId, isDelivered: boolean): void {
  const progress = state.progress.get(peer);
  if (state.role !== "leader" || progress?.state !== "snapshot") return;
  progress.becomeProbe();
  progress.next = Math.max(progress.next, state.log.firstIndex);
  assert(progress.next <= state.log.lastIndex + 1, "the probe begins inside the log or at its end");
  progress.isProbeSent = !isDelivered;
  if (isDelivered) sendAppends(state, peer);
}

/** An answer to an append. */
export function handleAppendEntriesResponse(
  state: RaftState,
  message: AppendEntriesResponse,
): void {
  const progress = state.progress.get(message.from);
  assert(message.term === state.term, "answers of other terms were dropped or adopted");
  if (state.role !== "leader" || progress === undefined) return;
  progress.isRecentlyActive = true;
  if (message.rejected) {
    handleRejection(state, message, progress);
    return;
  }
  if (message.index > state.log.lastIndex) {
    state.refuse(message.from, `it acknowledged entry ${message.index}, which was never sent`);
    return;
  }
  const isNews = progress.acknowledged(message.index);
  assert(message.index <= progress.match, "the acknowledged entries match");
  assert(progress.match <= state.log.lastIndex, "only entries of the log match");
  const reconnects = progress.state !== "replicate" && progress.match >= state.log.firstIndex - 1;
  if (reconnects && message.index === progress.match) progress.becomeReplicate();
  progress.inflights.freeThrough(message.index);
  if (isNews) advanceCommit(state);
  // The commit may have been that of this leader's own removal.
  if ((state.role as Role) !== "leader") return;
  finishTransfer(state);
  sendAppends(state, message.from);
}

/** The peer refused an append: probe further back, or send a snapshot if the log is cut there. */
function handleRejection(
  state: RaftState,
  message: AppendEntriesResponse,
  progress: Progress,
): void {
  const { log } = state;
  const isFresh = progress.state === "probe" && message.index === progress.next - 1;
  if (isFresh && message.index <= progress.match) {
    // Probed again at its next heartbeat response only: it would refuse for ever.
    state.refuse(message.from, `it lost entry ${message.index}, which it had acknowledged`);
    return;
  }
  const own = log.conflictHint(message.hint.index, message.hint.term);
  assert(own.index <= message.hint.index, "the logs agree at the peer's hint at most");
  if (!progress.rejected(message.index, own)) return;
  if (message.index === log.firstIndex - 1) sendSnapshot(state, message.from, progress);
  else sendAppends(state, message.from);
}

/** A sign of life: messages that were lost on the way are sent again. */
export function handleHeartbeatResponse(state: RaftState, message: HeartbeatResponse): void {
  const progress = state.progress.get(message.from);
  assert(message.term === state.term, "answers of other terms were dropped or adopted");
  if (state.role !== "leader" || progress === undefined) return;
  progress.isRecentlyActive = true;
  if (message.readRound > state.readRound) {
    state.refuse(message.from, "it confirmed a read round that was never started");
    return;
  }
  progress.readRound = Math.max(progress.readRound, message.readRound);
  assert(progress.readRound <= state.readRound, "only rounds that were started are confirmed");
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
  const progress = ownProgress(state);
  assert(progress.match <= state.log.durableIndex, "a leader's disk loses nothing");
  if (!progress.acknowledged(state.log.durableIndex)) return;
  advanceCommit(state);
  finishTransfer(state);
}

/** Commits the entries that a majority holds, if the last is of the own term (paper §5.4.2). */
function advanceCommit(state: RaftState): void {
  const { log } = state;
  const index = quorumValue(state.configuration, (id) => progressOf(state, id).match);
  if (index <= log.committed || log.term(index) !== state.term) return;
  assert(index <= log.lastIndex, "a majority holds entries of this log only");
  const wasReady = state.hasCommittedOwnTerm;
  state.commitTo(index);
  freeProposals(state, index);
  if (!wasReady) startWaitingReads(state);
  leaveIfRemoved(state);
}

/** Committed proposals leave room for new ones. */
function freeProposals(state: RaftState, index: LogIndex): void {
  let freed = 0;
  for (const proposal of state.uncommitted) {
    if (proposal.index > index) break;
    assert(proposal.size <= state.uncommittedBytes, "a proposal's bytes are part of the sum");
    state.uncommittedBytes -= proposal.size;
    freed += 1;
  }
  state.uncommitted.splice(0, freed);
  const oldest = state.uncommitted[0];
  assert(oldest === undefined || oldest.index > index, "no proposal that is left is committed");
}

/**
 * A leader that is not a voter any more leads until its removal is committed, then hands over: the
 * voters need not wait for a timeout (thesis §4.2.2).
 */
function leaveIfRemoved(state: RaftState): void {
  const { configuration, index } = state.history.latest;
  if (configuration.mayVote(state.id) || index > state.log.committed) return;
  sendHeartbeats(state);
  // Under load no voter has the whole log at that moment; the one that has most is as good as any.
  const id = successorOf(state);
  assert(id !== undefined, "a majority of the voters has the change");
  const { match } = progressOf(state, id);
  const term = state.log.term(match);
  assert(match >= index, "a majority of the voters has the change");
  assert(term !== undefined, "the successor's last entry is kept");
  state.send(id, { type: "TIMEOUT_NOW", last: { term, index: match } });
  state.becomeFollower(state.term, undefined);
}

/** The other voter that holds the most; undefined when none holds an entry. */
export function successorOf(state: RaftState): NodeId | undefined {
  let best: { readonly id: NodeId | undefined; readonly match: number } = {
    id: undefined,
    match: 0,
  };
  for (const id of state.configuration.voters) {
    const match = id === state.id ? 0 : progressOf(state, id).match;
    if (match > best.match) best = { id, match };
  }
  assert(best.id !== state.id, "a leader does not succeed itself");
  assert(best.match <= state.log.lastIndex, "the successor holds entries of this log only");
  return best.id;
}

/** Heartbeats are small and of their own kind, so that no bulk data is in front of them. */
function sendHeartbeats(state: RaftState): void {
  for (const peer of state.peers) sendHeartbeat(state, peer);
}

/** Announces the commit index to one peer, up to what the peer is known to hold. */
export function sendHeartbeat(state: RaftState, peer: NodeId): void {
  const progress = progressOf(state, peer);
  const commitIndex = Math.min(progress.match, state.log.committed);
  progress.sentCommit = Math.max(progress.sentCommit, commitIndex);
  assert(progress.sentCommit <= state.log.committed, "only committed entries are announced so");
  state.sendHeartbeat(peer);
}

/** Whether more of a peer's entries are committed than was announced to it. */
function hasUntoldCommit(state: RaftState, peer: NodeId): boolean {
  const { match, sentCommit } = progressOf(state, peer);
  return sentCommit < Math.min(match, state.log.committed);
}

/** Coming ticks that {@link tickLeader} would only count. */
export function idleLeaderTicks(state: RaftState): number {
  const { heartbeatTicks } = state.config;
  const { electionTicks } = state.pace;
  assert(state.heartbeatElapsed < heartbeatTicks, "a heartbeat that is due was sent");
  assert(state.quorumElapsed < electionTicks, "a quorum check that is due was made");
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
  assert(state.heartbeatElapsed < state.config.heartbeatTicks, "no heartbeat is skipped");
  assert(state.quorumElapsed < state.pace.electionTicks, "no quorum check is skipped");
}

/** One tick in office. */
export function tickLeader(state: RaftState): void {
  state.heartbeatElapsed += 1;
  state.quorumElapsed += 1;
  if (state.quorumElapsed >= state.pace.electionTicks && !checkQuorum(state)) return;
  if (state.transferee !== undefined) {
    state.transferElapsed += 1;
    if (state.transferElapsed >= state.pace.electionTicks) state.endTransfer(false);
  }
  assert(state.quorumElapsed < state.pace.electionTicks, "a quorum check that is due was made");
  if (state.heartbeatElapsed >= state.config.heartbeatTicks) {
    state.heartbeatElapsed = 0;
    if (state.config.hasLeases) state.readRound += 1;
    sendHeartbeats(state);
    return;
  }
  assert(state.heartbeatElapsed < state.config.heartbeatTicks, "no heartbeat is due");
  // A follower with nothing under way learns of a commit within a tick, not a heartbeat.
  for (const peer of state.peers) {
    if (hasUntoldCommit(state, peer)) sendHeartbeat(state, peer);
  }
}

/** A leader without answers of a quorum for an election timeout stops leading (thesis §6.2). */
function checkQuorum(state: RaftState): boolean {
  state.quorumElapsed = 0;
  const isActive = (id: NodeId): boolean =>
    id === state.id || progressOf(state, id).isRecentlyActive;
  const hasQuorum = isQuorum(state.configuration, isActive);
  for (const progress of state.progress.values()) progress.isRecentlyActive = false;
  if (hasQuorum) return true;
  state.events.push({ type: "QUORUM_LOST", term: state.term });
  state.becomeFollower(state.term, undefined);
  assert(state.leader !== state.id, "this node does not lead any more");
  return false;
}

/**
 * Starts handing over: no proposals from now on, the target is brought up to date and then sent
 * `TIMEOUT_NOW`. Another target replaces the first; the same one again is ignored.
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
  assert(state.transferee === to, "the hand-over lasts until the target leads");
  sendAppends(state, to);
  return true;
}

/** Only a target that has the whole log on its disk may campaign. */
function finishTransfer(state: RaftState): void {
  const to = state.transferee;
  if (to === undefined || progressOf(state, to).match !== state.log.lastIndex) return;
  assert(to !== state.id, "a leader does not hand over to itself");
  state.isLeaseVoid = true;
  state.send(to, { type: "TIMEOUT_NOW", last: state.log.last });
}

/** The connection to a peer broke: appends under way may be lost, so the peer is probed anew. */
export function peerUnreachable(state: RaftState, peer: NodeId): void {
  if (state.role !== "leader") return;
  const progress = state.progress.get(peer);
  if (progress?.state === "replicate") progress.becomeProbe();
}
