/**
 * A follower's answers to its leader's messages.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import type { Configuration } from "./configuration.ts";
import { campaign } from "./election.ts";
import type { AppendEntries, Heartbeat, TimeoutNow } from "./message.ts";
import type { RaftState } from "./raft_state.ts";
import { type LogBase, NO_ENTRY, type NodeId, type Term } from "./types.ts";

/** A message of the current term's leader arrived. Returns false if that cannot be. */
export function followLeader(state: RaftState, leader: NodeId): boolean {
  if (state.role === "leader" || (state.leader !== undefined && state.leader !== leader)) {
    state.refuse(leader, `a second leader in term ${state.term}`);
    return false;
  }
  if (state.role !== "follower" || state.leader !== leader) {
    state.becomeFollower(state.term, leader);
  }
  state.noteArrival(state.electionElapsed);
  state.electionElapsed = 0;
  state.deferredPreVote = undefined;
  if (state.isLeaderForgotten) {
    state.isLeaderForgotten = false;
    state.electionWait = state.firstWait();
  }
  assert(state.leader === leader, "the sender is followed");
  return true;
}

/** AppendEntries (paper §5.3). */
export function handleAppendEntries(state: RaftState, message: AppendEntries): void {
  assert(message.term === state.term, "the leader's term was adopted");
  if (!followLeader(state, message.from)) return;
  const { log } = state;
  const { previous, entries } = message;
  state.toldCommit = Math.max(state.toldCommit, message.commitIndex);
  if (previous.index < log.committed) {
    accept(state, message.from, log.committed);
    return;
  }
  if (!log.matches(previous)) {
    const hint = log.conflictHint(previous.index, previous.term);
    assert(hint.index <= previous.index, "both logs agree at the previous entry at most");
    const body = { rejected: true, index: previous.index, hint } as const;
    state.send(message.from, { type: "APPEND_ENTRIES_RESPONSE", ...body });
    return;
  }
  const { refusal, truncated, fresh } = log.appendFrom(previous, entries);
  if (refusal !== "") {
    state.refuse(message.from, refusal);
    return;
  }
  assert(fresh.length <= entries.length, "only entries of the request are new");
  if (truncated > 0) state.noteTruncated(truncated);
  state.noteAppended(fresh);
  // Only the entries that this request verified: a longer log may end in a divergent tail (T18).
  const verified = previous.index + entries.length;
  assert(verified >= log.committed, "the request verified everything that is committed");
  assert(verified <= log.lastIndex, "verified entries are in the log");
  state.commitTo(Math.min(message.commitIndex, verified));
  accept(state, message.from, verified);
}

function accept(state: RaftState, leader: NodeId, index: number): void {
  assert(index >= state.log.committed, "committed entries are acknowledged");
  assert(index <= state.log.lastIndex, "acknowledged entries are in the log");
  const body = { rejected: false, index, hint: NO_ENTRY } as const;
  state.send(leader, { type: "APPEND_ENTRIES_RESPONSE", ...body });
}

/** The leader capped the commit index at this node's match (T45). */
export function handleHeartbeat(state: RaftState, message: Heartbeat): void {
  assert(message.term === state.term, "the leader's term was adopted");
  if (!followLeader(state, message.from)) return;
  if (message.commitIndex > state.log.lastIndex) {
    state.refuse(message.from, `commit ${message.commitIndex} lies beyond the log`);
    return;
  }
  state.commitTo(message.commitIndex);
  assert(message.commitIndex <= state.log.committed, "the leader's commit index is reached");
  state.heldIndex = Math.max(state.heldIndex, message.heldIndex);
  state.send(message.from, { type: "HEARTBEAT_RESPONSE", readRound: message.readRound });
}

/** A snapshot that arrived whole and is durable, and the leader that sent it. */
export interface ArrivedSnapshot {
  readonly leader: NodeId;
  readonly term: Term;
  /** The snapshot's last entry; `1 <= base.index`. */
  readonly base: LogBase;
  /** As of its last entry. */
  readonly configuration: Configuration;
}

/**
 * Puts a leader's snapshot in the place of the log (paper §7). A log that leads to the snapshot's
 * last entry is kept, with what follows; any other goes as a whole. Returns whether it went.
 */
export function installSnapshot(state: RaftState, snapshot: ArrivedSnapshot): boolean {
  const { leader, base, configuration } = snapshot;
  assert(snapshot.term === state.term, "the leader's term was adopted");
  if (!followLeader(state, leader)) return false;
  const isNews = base.index > state.log.committed;
  const isKept = state.log.matches(base);
  if (isNews && isKept) state.commitTo(base.index);
  else if (isNews) state.restore(base, configuration);
  assert(state.log.committed >= base.index, "the snapshot's entries are committed");
  accept(state, leader, state.log.committed);
  return isNews && !isKept;
}

/** The leader hands over: campaign at once, without a pre-vote (thesis §3.10). */
export function handleTimeoutNow(state: RaftState, message: TimeoutNow): void {
  assert(message.term === state.term, "the leader's term was adopted");
  if (state.role !== "follower" || state.leader !== message.from) return;
  if (!state.log.matches(message.last) || !state.isPromotable) return;
  campaign(state, { preVote: false, transfer: true });
}
