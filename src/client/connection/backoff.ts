/**
 * How long refused requests wait before they are sent again: longer after each round of refusals,
 * so that a cluster without a leader is not flooded by waiting clients, and never in step with
 * other clients.
 *
 * @module
 */

import { BACKOFF_MS } from "../../base/timing.ts";
import type { Random } from "../../platform/random.ts";

/** A named leader is contacted as soon as all requests that it concerns have been refused. */
const WAIT_NEAR_MS = 1;
/** Rounds with that short wait: names may go in a circle. */
const NEAR_ROUNDS_MAX = 2;

/** A refusal that names a leader which can be contacted at once. */
export const NEAR = { isNear: true, namedMs: 0 };

/** One client's waits. */
export class Backoff {
  readonly #random: Random;
  #rounds = 0;
  #untilMs = Number.NEGATIVE_INFINITY;
  #nearRounds = 0;
  #nearUntilMs = Number.NEGATIVE_INFINITY;

  constructor(random: Random) {
    this.#random = random;
  }

  /** A leader has answered, or a new one is known. */
  reset(): void {
    this.#rounds = 0;
    this.#untilMs = Number.NEGATIVE_INFINITY;
    this.#nearRounds = 0;
  }

  /**
   * When to send again the requests refused now; all refusals of a round wait for the same moment.
   * `isNear`: the leader is known and connected. `namedMs`: the wait that the node named, or 0;
   * clients return spread out behind its end.
   */
  endMs(nowMs: number, refusal: { readonly isNear: boolean; readonly namedMs: number }): number {
    const { isNear, namedMs } = refusal;
    if (isNear && nowMs < this.#nearUntilMs) return this.#nearUntilMs;
    if (isNear && this.#nearRounds < NEAR_ROUNDS_MAX) {
      this.#nearRounds += 1;
      this.#nearUntilMs = nowMs + WAIT_NEAR_MS;
      return this.#nearUntilMs;
    }
    if (nowMs >= this.#untilMs) this.#beginRound(nowMs);
    const lateMs = namedMs === 0 ? 0 : namedMs + this.#random.below(namedMs / 2);
    return Math.max(this.#untilMs, nowMs + lateMs);
  }

  #beginRound(nowMs: number): void {
    const longestMs = Math.min(
      BACKOFF_MS.request.max,
      BACKOFF_MS.request.first * 2 ** Math.min(this.#rounds, 10),
    );
    this.#rounds += 1;
    this.#untilMs = nowMs + longestMs / 2 + this.#random.below(longestMs / 2);
  }
}
