/**
 * Linearizable reads without a log entry (thesis §6.4): the leader notes its commit index, and the
 * read may be served there once a quorum answered a heartbeat that was sent after the read arrived.
 * Rounds are counted by the leader; a number from a caller is never used to match an answer.
 *
 * @module
 */

import { quorumValue } from "./quorum.ts";
import type { RaftState } from "./raft_state.ts";
import type { LogIndex, NodeId } from "./types.ts";

/** A read arrived at the leader, from itself or from a follower. */
export function addRead(state: RaftState, from: NodeId, context: number): void {
  // While handing over, the next leader may be committing already.
  if (state.role !== "leader" || state.transferee !== undefined) return;
  if (!state.hasCommittedOwnTerm) {
    state.waitingReads.push({ context, from });
    return;
  }
  const index = state.log.committed;
  state.readRound += 1;
  state.pendingReads.push({ context, from, index, round: state.readRound });
  confirmRound(state);
}

/** The first entry of the own term is committed: reads that waited for it begin now. */
export function startWaitingReads(state: RaftState): void {
  const waiting = state.waitingReads;
  if (waiting.length === 0) return;
  state.waitingReads = [];
  state.readRound += 1;
  const index = state.log.committed;
  for (const read of waiting) state.pendingReads.push({ ...read, index, round: state.readRound });
  confirmRound(state);
}

function confirmRound(state: RaftState): void {
  for (const peer of state.peers) state.sendHeartbeat(peer);
  releaseReads(state);
}

/** Answers every read whose round a quorum has confirmed. */
export function releaseReads(state: RaftState): void {
  if (state.pendingReads.length === 0) return;
  const confirmed = confirmedRound(state);
  let released = 0;
  for (const read of state.pendingReads) {
    if (read.round > confirmed) break;
    answer(state, read.from, { context: read.context, index: read.index });
    released += 1;
  }
  state.pendingReads.splice(0, released);
}

/** The last round that a quorum has confirmed. */
export function confirmedRound(state: RaftState): number {
  return quorumValue(state.configuration, (id) =>
    id === state.id ? state.readRound : (state.progress.get(id)?.readRound ?? 0),
  );
}

function answer(
  state: RaftState,
  to: NodeId,
  read: { readonly context: number; readonly index: LogIndex },
): void {
  if (to === state.id) state.reads.push(read);
  else state.send(to, { type: "READ_INDEX_RESPONSE", ...read });
}
