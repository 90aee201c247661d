/**
 * Operations of the log without effect, because they were refused, repeated or met no document: the
 * log itself does not name them. Everything else in it is a change.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { IDLE_OPERATIONS_MAX } from "../base/limits.ts";

/** Sequence numbers without effect, since a known one. */
export class ChangeFeed {
  #start = 1;
  /** First and last numbers of ranges, ascending. */
  #froms: number[] = [];
  #tos: number[] = [];

  /** First sequence number of which it is known whether it had an effect. */
  get start(): number {
    return this.#start;
  }

  /** Forgets everything before a number: the state came from elsewhere. */
  restart(sequence: number): void {
    this.#start = sequence;
    this.#froms = [];
    this.#tos = [];
  }

  /** These operations had no effect. */
  skip(from: number, count: number): void {
    const last = this.#tos.at(-1) ?? 0;
    assert(from > last, "operations are applied in order");
    if (from === last + 1 && this.#tos.length > 0)
      this.#tos[this.#tos.length - 1] = from + count - 1;
    else {
      this.#froms.push(from);
      this.#tos.push(from + count - 1);
    }
    if (this.#froms.length <= IDLE_OPERATIONS_MAX) return;
    // Half at once: cutting off one by one would copy the list each time.
    const half = IDLE_OPERATIONS_MAX >> 1;
    this.#start = this.#tos[half - 1]! + 1;
    this.#froms = this.#froms.slice(half);
    this.#tos = this.#tos.slice(half);
  }

  /** Whether an operation since {@link start} had no effect. */
  isSkipped(sequence: number): boolean {
    let [low, high] = [0, this.#froms.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#tos[middle]! < sequence) low = middle + 1;
      else high = middle;
    }
    return low < this.#froms.length && this.#froms[low]! <= sequence;
  }
}
