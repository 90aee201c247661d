/**
 * What the log itself does not say of changes: which operations had no effect, because they were
 * refused, repeated or met no document; and the documents that the last updates made.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { IDLE_OPERATIONS_MAX, MADE_BYTES_MAX } from "../base/limits.ts";

/** Sequence numbers without effect, since a known one, and the last made documents. */
export class ChangeFeed {
  /** By sequence number of the update, the oldest first. */
  readonly #made = new Map<number, Uint8Array>();
  /** `0 <= #madeBytes <= MADE_BYTES_MAX` between calls. */
  #madeBytes = 0;
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
    this.#made.clear();
    this.#madeBytes = 0;
  }

  /** An update made a document, which must not change: the oldest ones are forgotten for it. */
  keepMade(sequence: number, document: Uint8Array): void {
    this.#made.set(sequence, document);
    this.#madeBytes += document.byteLength;
    for (const [oldest, { byteLength }] of this.#made) {
      if (this.#madeBytes <= MADE_BYTES_MAX) break;
      this.#made.delete(oldest);
      this.#madeBytes -= byteLength;
    }
    assert(this.#madeBytes <= MADE_BYTES_MAX, "made documents take a bounded memory");
  }

  /** The document that an update made; undefined when it is forgotten. */
  madeAt(sequence: number): Uint8Array | undefined {
    return this.#made.get(sequence);
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
