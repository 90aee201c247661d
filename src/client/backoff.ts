/**
 * How long refused requests wait before they are sent again: longer after each round of refusals,
 * so that a cluster without a leader is not flooded by those who wait for one, and never in step
 * with other clients.
 *
 * @module
 */

import type { Random } from "../platform/random.ts";

const WAIT_FIRST_MS = 10;
const WAIT_MAX_MS = 100;
/** A leader that was named is asked as soon as everything that it concerns has been refused. */
const WAIT_NEAR_MS = 1;
/** Rounds in which it is: names may go in a circle. */
const NEAR_ROUNDS_MAX = 2;

/** One client's waits. */
export class Backoff {
  readonly #random: Random;
  #rounds = 0;
  #untilMs = Number.NEGATIVE_INFINITY;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Something was answered, or somebody new leads. */
  reset(): void {
    this.#rounds = 0;
  }

  /**
   * When to send again what was refused now; all refusals of a round wait for the same moment.
   * `isLeaderNear`: it is known who leads, and there is a connection to it.
   */
  endMs(nowMs: number, isLeaderNear: boolean): number {
    if (nowMs < this.#untilMs) return this.#untilMs;
    const round = this.#rounds;
    this.#rounds += 1;
    const longestMs = Math.min(WAIT_MAX_MS, WAIT_FIRST_MS * 2 ** Math.min(round, 10));
    const isAtOnce = isLeaderNear && round < NEAR_ROUNDS_MAX;
    const waitMs = isAtOnce ? WAIT_NEAR_MS : longestMs / 2 + this.#random.below(longestMs / 2);
    this.#untilMs = nowMs + waitMs;
    return this.#untilMs;
  }
}
