/**
 * Linearizable reads without a log entry (thesis §6.4): the leader notes its commit index, and the
 * read may be served there once a quorum answered a heartbeat that was sent after the read arrived.
 * Rounds are counted by the leader; a number from a caller is never used to match an answer.
 *
 * A follower's question says itself that its sender had voted in no later term when it was sent,
 * after the read began. If the leader and that follower are a quorum, no later leader was elected
 * before then, so whatever was acknowledged before the read is committed here: no round is needed.
 * Leases do not count from a question: it does not make its sender wait.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { isQuorum, quorumValue } from "./quorum.ts";
import type { RaftState } from "./raft_state.ts";
import type { NodeId, ReadState } from "./types.ts";

/** A read arrived at the leader, from itself or from a follower. */
export function addRead(state: RaftState, from: NodeId, context: number): void {
  // While handing over, the next leader may be committing already.
  if (state.role !== "leader" || state.transferee !== undefined) return;
  if (!state.hasCommittedOwnTerm) {
    state.waitingReads.push({ context, from });
    return;
  }
  assert(state.leader === state.id, "only the leader notes reads");
  if (from !== state.id && isQuorum(state.configuration, (id) => id === state.id || id === from)) {
    answer(state, from, { context, index: state.log.committed });
    return;
  }
  startRound(state, [{ context, from }]);
}

/** The first entry of the own term is committed: reads that waited for it begin now. */
export function startWaitingReads(state: RaftState): void {
  const waiting = state.waitingReads;
  if (waiting.length === 0) return;
  const { log } = state;
  assert(log.term(log.committed) === state.term, "an entry of the own term is committed");
  state.waitingReads = [];
  startRound(state, waiting);
}

/** Begins a round for reads at the present commit index, and asks every peer to confirm it. */
function startRound(
  state: RaftState,
  reads: readonly { readonly context: number; readonly from: NodeId }[],
): void {
  const before = state.pendingReads.at(-1);
  const index = state.log.committed;
  assert(before === undefined || before.index <= index, "reads are noted in order of index");
  assert(before === undefined || before.round <= state.readRound, "rounds go up");
  state.readRound += 1;
  for (const read of reads) state.pendingReads.push({ ...read, index, round: state.readRound });
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
  const oldest = state.pendingReads[0];
  assert(oldest === undefined || oldest.round > confirmed, "no confirmed read is left waiting");
}

/** The last round that a quorum has confirmed. */
export function confirmedRound(state: RaftState): number {
  const round = quorumValue(state.configuration, (id) =>
    id === state.id ? state.readRound : (state.progress.get(id)?.readRound ?? 0),
  );
  assert(round <= state.readRound, "only rounds that were started are confirmed");
  return round;
}

function answer(state: RaftState, to: NodeId, read: ReadState): void {
  assert(read.index <= state.log.committed, "a read is served at a committed index");
  if (to === state.id) state.reads.push(read);
  else state.send(to, { type: "READ_INDEX_RESPONSE", ...read });
}
