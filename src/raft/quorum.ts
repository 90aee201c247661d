/**
 * Majority quorums over a voter list: the committed index, and the result of a vote.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import type { NodeId } from "./types.ts";

/** How a vote stands. */
export type VoteResult = "won" | "lost" | "pending";

/** Voters that make a majority of `voterCount`. */
export function majority(voterCount: number): number {
  return Math.floor(voterCount / 2) + 1;
}

/** The largest number that a majority of voters has reached. */
export function quorumValue(
  voters: readonly NodeId[],
  progressValue: (id: NodeId) => number,
): number {
  assert(voters.length > 0, "a cluster has voters");
  const values = voters.map(progressValue).sort((a, b) => b - a);
  return values[majority(voters.length) - 1]!;
}

/** Counts answers; a voter without one is still open. */
export function voteResult(
  voters: readonly NodeId[],
  answers: ReadonlyMap<NodeId, boolean>,
): VoteResult {
  let granted = 0;
  let refused = 0;
  for (const voter of voters) {
    const answer = answers.get(voter);
    if (answer === true) granted += 1;
    if (answer === false) refused += 1;
  }
  const needed = majority(voters.length);
  if (granted >= needed) return "won";
  return voters.length - refused < needed ? "lost" : "pending";
}
