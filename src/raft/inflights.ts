/**
 * Window of unacknowledged appends to one peer, in messages and bytes.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import type { LogIndex } from "./types.ts";

/** First in, first out: the last index and the bytes of each append under way. */
export class Inflights {
  readonly #messagesMax: number;
  readonly #bytesMax: number;
  #lastIndexes: LogIndex[] = [];
  #sizes: number[] = [];
  #bytes = 0;

  constructor(messagesMax: number, bytesMax: number) {
    this.#messagesMax = messagesMax;
    this.#bytesMax = bytesMax;
  }

  get count(): number {
    return this.#lastIndexes.length;
  }

  get isFull(): boolean {
    return this.count >= this.#messagesMax || this.#bytes >= this.#bytesMax;
  }

  add(lastIndex: LogIndex, size: number): void {
    assert(!this.isFull, "the window has room");
    assert(this.count === 0 || lastIndex > this.#lastIndexes[this.count - 1]!, "appends move on");
    this.#lastIndexes.push(lastIndex);
    this.#sizes.push(size);
    this.#bytes += size;
  }

  /** Frees every append up to `index`. */
  freeThrough(index: LogIndex): void {
    let freed = 0;
    while (freed < this.count && this.#lastIndexes[freed]! <= index) {
      this.#bytes -= this.#sizes[freed]!;
      freed += 1;
    }
    if (freed === 0) return;
    this.#lastIndexes = this.#lastIndexes.slice(freed);
    this.#sizes = this.#sizes.slice(freed);
  }

  /** Frees the oldest append: its loss would otherwise stop the peer for ever. */
  freeFirst(): void {
    const first = this.#lastIndexes[0];
    if (first !== undefined) this.freeThrough(first);
  }

  clear(): void {
    this.#lastIndexes = [];
    this.#sizes = [];
    this.#bytes = 0;
  }
}
