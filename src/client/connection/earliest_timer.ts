/**
 * One timer for many moments: it fires at the earliest of those requested, and its callback
 * requests the next. While nothing is due there is no timer.
 *
 * @module
 */

import type { CancelTimer, Clock } from "../../platform/clock.ts";

/** The longest that runtimes wait; a longer wait would end at once. */
const WAIT_MAX_MS = 2 ** 31 - 1;

/** Fires once for all moments up to the earliest. */
export class EarliestTimer {
  readonly #clock: Clock;
  readonly #fire: () => void;
  #atMs = Number.POSITIVE_INFINITY;
  #cancel: CancelTimer = () => undefined;

  constructor(clock: Clock, fire: () => void) {
    this.#clock = clock;
    this.#fire = fire;
  }

  /** Fires at `atMs` of the monotonic clock, or before. */
  by(atMs: number): void {
    if (!(atMs < this.#atMs)) return;
    this.#cancel();
    this.#atMs = atMs;
    const delayMs = Math.min(WAIT_MAX_MS, Math.max(0, atMs - this.#clock.nowMs()));
    this.#cancel = this.#clock.setTimer(delayMs, () => {
      this.#atMs = Number.POSITIVE_INFINITY;
      this.#fire();
    });
  }

  /** Fires no more. */
  stop(): void {
    this.#cancel();
    this.#atMs = Number.NEGATIVE_INFINITY;
  }
}
