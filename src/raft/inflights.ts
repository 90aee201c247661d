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
  /** Last entry of each append, oldest first: each is greater than the one before it. */
  #lastIndexes: LogIndex[] = [];
  /** Bytes of each append: as many as `#lastIndexes`, and their sum is `#bytes`. */
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
    assert(this.#sizes.length === this.count, "each append under way has a size");
    assert(this.count <= this.#messagesMax, "the window's limit of messages holds");
    assert(this.#bytes >= size, "the window's bytes contain the newest append's");
  }

  /** Frees every append up to `index`. */
  freeThrough(index: LogIndex): void {
    let freed = 0;
    while (freed < this.count && this.#lastIndexes[freed]! <= index) {
      assert(this.#sizes[freed]! <= this.#bytes, "an append's bytes are part of the window's");
      this.#bytes -= this.#sizes[freed]!;
      freed += 1;
    }
    if (freed === 0) return;
    this.#lastIndexes = this.#lastIndexes.slice(freed);
    this.#sizes = this.#sizes.slice(freed);
    assert(this.#sizes.length === this.count, "each append under way has a size");
  }

  /** Frees the oldest append: its loss would otherwise stop the peer for ever. */
  freeFirst(): void {
    const before = this.count;
    const first = this.#lastIndexes[0];
    if (first !== undefined) this.freeThrough(first);
    assert(before === 0 || this.count === before - 1, "exactly the oldest append is freed");
  }

  clear(): void {
    this.#lastIndexes = [];
    this.#sizes = [];
    this.#bytes = 0;
  }
}
