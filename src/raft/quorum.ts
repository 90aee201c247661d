/**
 * Majority quorums over a configuration: the committed index, and the result of a vote. In joint
 * consensus both the old and the new voters must agree (paper §6).
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import type { Configuration } from "./configuration.ts";
import type { NodeId } from "./types.ts";

/** How a vote stands. */
export type VoteResult = "won" | "lost" | "pending";

/** Voters that make a majority of `voterCount`. */
export function majority(voterCount: number): number {
  const needed = Math.floor(voterCount / 2) + 1;
  assert(2 * needed > voterCount, "two majorities have a voter in common");
  return needed;
}

/** The largest number that a majority of voters has reached. */
export function quorumValue(
  configuration: Configuration,
  progressValue: (id: NodeId) => number,
): number {
  const value = majorityValue(configuration.voters, progressValue);
  if (!configuration.isJoint) return value;
  return Math.min(value, majorityValue(configuration.outgoing, progressValue));
}

function majorityValue(voters: readonly NodeId[], progressValue: (id: NodeId) => number): number {
  const needed = majority(voters.length);
  assert(needed <= voters.length, "a cluster has voters");
  const values = voters.map(progressValue).sort((a, b) => b - a);
  const value = values[needed - 1]!;
  assert(value <= values[0]!, "the greatest value comes first");
  return value;
}

/** Whether the nodes for which `holds` is true are a quorum. */
export function isQuorum(configuration: Configuration, holds: (id: NodeId) => boolean): boolean {
  return quorumValue(configuration, (id) => (holds(id) ? 1 : 0)) === 1;
}

/** Counts answers; a voter without one is still open. */
export function voteResult(
  configuration: Configuration,
  answers: ReadonlyMap<NodeId, boolean>,
): VoteResult {
  const now = countVotes(configuration.voters, answers);
  if (!configuration.isJoint) return now;
  const before = countVotes(configuration.outgoing, answers);
  if (now === "lost" || before === "lost") return "lost";
  return now === "won" && before === "won" ? "won" : "pending";
}

function countVotes(voters: readonly NodeId[], answers: ReadonlyMap<NodeId, boolean>): VoteResult {
  let granted = 0;
  let refused = 0;
  for (const voter of voters) {
    const answer = answers.get(voter);
    if (answer === true) granted += 1;
    if (answer === false) refused += 1;
  }
  assert(granted + refused <= voters.length, "a voter answers at most once");
  assert(granted + refused <= answers.size, "only answers are counted");
  const needed = majority(voters.length);
  if (granted >= needed) return "won";
  return voters.length - refused < needed ? "lost" : "pending";
}
