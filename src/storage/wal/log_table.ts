/**
 * The place, term and sequence numbers of each kept entry, and the newest batches in memory up to a
 * bound.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import type { Entry, LogBase, LogIndex, LogReader, Term } from "../../raft/types.ts";

export type { LogBase };

/** Before the first entry of all. */
export const EMPTY_BASE: LogBase = { index: 0, term: 0, nextSequence: 1 };

/**
 * Place of a batch on disk. Of two kept entries the one with the higher index never stands before
 * the other: `segmentNumber` does not go back, nor does `at` within a segment.
 */
export interface BatchPosition {
  readonly segmentNumber: number;
  /** Byte of the batch, behind its record's header: `at + size <= size of the segment`. */
  readonly at: number;
  /** Bytes of the batch. */
  readonly size: number;
}

/** Index over the log: `base < firstIndex <= index of a kept entry <= lastIndex`. */
export class LogTable implements LogReader {
  readonly #cacheBytesMax: number;
  /** The entry before the first kept one: `base.index < firstIndex() <= lastIndex() + 1`. */
  #base: LogBase = EMPTY_BASE;
  /** One item for each kept entry; the entry at `base.index + 1 + i` has item `i`. */
  #terms: number[] = [];
  /** As long as `#terms`, and rising: `base.nextSequence < #nextSequences[i]`. */
  #nextSequences: number[] = [];
  /** As long as `#terms`. */
  #positions: BatchPosition[] = [];
  /**
   * The newest entries without a hole: `base.index < #cache[0].index`, the last is `lastIndex()`.
   */
  #cache: Entry[] = [];
  /** Bytes of the cached batches; above the bound only with one entry. */
  #cacheBytes = 0;
  #removals = 0;

  constructor(cacheBytesMax: number) {
    this.#cacheBytesMax = cacheBytesMax;
  }

  get base(): LogBase {
    return this.#base;
  }

  /** Rises whenever entries are removed: a reader must not join entries of before and after. */
  get removals(): number {
    return this.#removals;
  }

  firstIndex(): LogIndex {
    assert(this.#base.index >= 0, "indexes begin at 1");
    return this.#base.index + 1;
  }

  lastIndex(): LogIndex {
    assert(this.#terms.length === this.#positions.length, "every kept entry has a place");
    return this.#base.index + this.#terms.length;
  }

  term(index: LogIndex): Term | undefined {
    if (index === this.#base.index) return this.#base.term;
    return this.#terms[index - this.#base.index - 1];
  }

  sequenceAfter(index: LogIndex): number {
    if (index === this.#base.index) return this.#base.nextSequence;
    assert(index > this.#base.index, "the entry lies behind the base");
    assert(index <= this.lastIndex(), "the entry is not behind the last one");
    const next = this.#nextSequences[index - this.#base.index - 1]!;
    assert(next > this.#base.nextSequence, "an entry takes at least one sequence number");
    return next;
  }

  position(index: LogIndex): BatchPosition {
    assert(index > this.#base.index, "the entry lies behind the base");
    assert(index <= this.lastIndex(), "the entry is not behind the last one");
    return this.#positions[index - this.#base.index - 1]!;
  }

  /** Adds an entry, superseding all with the same or a higher index. */
  append(entry: Entry, position: BatchPosition): void {
    assert(entry.index > this.#base.index, "an entry lies behind the base");
    assert(entry.index <= this.lastIndex() + 1, "an entry leaves no hole");
    assert(position.size === entry.bytes.byteLength, "an entry takes its batch's bytes on disk");
    if (entry.index <= this.lastIndex()) this.truncateFrom(entry.index);
    assert(
      entry.firstSequence === this.sequenceAfter(entry.index - 1),
      "an entry continues the sequence numbers",
    );
    this.#assertBehind(this.#positions.at(-1) ?? position, position);
    this.#terms.push(entry.term);
    this.#nextSequences.push(entry.firstSequence + entry.count);
    this.#positions.push(position);
    this.#cache.push(entry);
    this.#cacheBytes += entry.bytes.byteLength;
    if (this.#cacheBytes > this.#cacheBytesMax) this.#shrinkCache();
    assert(this.lastIndex() === entry.index, "an entry becomes the last one");
    assert(this.#cache.length <= this.#terms.length, "the memory holds kept entries only");
  }

  #assertBehind(before: BatchPosition, position: BatchPosition): void {
    const isSameSegment = position.segmentNumber === before.segmentNumber;
    assert(position.segmentNumber >= before.segmentNumber, "segments are filled in order");
    assert(!isSameSegment || position.at >= before.at, "a segment is filled from front to back");
  }

  /** Drops the tail from `index` on: `base.index < index <= lastIndex()`. */
  truncateFrom(index: LogIndex): void {
    assert(index > this.#base.index, "the truncation starts behind the base");
    assert(index <= this.lastIndex(), "the truncation removes at least one entry");
    const kept = index - this.#base.index - 1;
    this.#removals += 1;
    this.#terms.length = kept;
    this.#nextSequences.length = kept;
    this.#positions.length = kept;
    const first = this.#cache[0]?.index ?? index;
    for (const entry of this.#cache.splice(Math.max(0, index - first))) {
      this.#cacheBytes -= entry.bytes.byteLength;
    }
    assert(this.lastIndex() === index - 1, "the tail is gone and nothing else");
    assert(this.#nextSequences.length === this.#terms.length, "each entry has its next number");
    assert(this.#positions.length === this.#terms.length, "each entry has its place");
    assert(this.#cache.length <= this.#terms.length, "the memory holds kept entries only");
  }

  /**
   * Drops the head up to `base`. A log that does not continue at `base` belongs to another history
   * and is dropped as a whole (paper figure 13, step 7).
   */
  compactTo(base: LogBase): void {
    if (base.index < this.#base.index) return;
    const isSame = base.index === this.#base.index;
    if (!isSame && !this.#continuesAt(base)) {
      this.startBehind(base);
      return;
    }
    this.#removals += 1;
    const last = this.lastIndex();
    const dropped = base.index - this.#base.index;
    assert(dropped <= this.#terms.length, "a log that continues at the new base reaches it");
    this.#terms = this.#terms.slice(dropped);
    this.#nextSequences = this.#nextSequences.slice(dropped);
    this.#positions = this.#positions.slice(dropped);
    this.#base = base;
    const stale = this.#cache.findIndex((entry) => entry.index > base.index);
    for (const entry of this.#cache.splice(0, stale === -1 ? this.#cache.length : stale)) {
      this.#cacheBytes -= entry.bytes.byteLength;
    }
    assert(this.lastIndex() === last, "the head is gone and nothing else");
    assert(this.#nextSequences.length === this.#terms.length, "each entry has its next number");
    assert(this.#positions.length === this.#terms.length, "each entry has its place");
    assert(this.#cache.length <= this.#terms.length, "the memory holds kept entries only");
  }

  /** Starts over, empty, behind `base`. */
  startBehind(base: LogBase): void {
    this.#removals += 1;
    this.#base = base;
    this.#terms = [];
    this.#nextSequences = [];
    this.#positions = [];
    this.#cache = [];
    this.#cacheBytes = 0;
    assert(this.lastIndex() === base.index, "the log is empty behind its base");
  }

  #continuesAt({ index, term, nextSequence }: LogBase): boolean {
    assert(index > this.#base.index, "the base moves forward");
    return this.term(index) === term && this.sequenceAfter(index) === nextSequence;
  }

  entries(from: LogIndex, to: LogIndex, bytesMax: number): readonly Entry[] | undefined {
    const first = this.#cache[0];
    if (first === undefined || from < first.index) return undefined;
    const start = from - first.index;
    const end = Math.min(to - first.index + 1, this.#cache.length);
    let bytes = 0;
    let stop = start;
    while (stop < end) {
      bytes += this.#cache[stop]!.bytes.byteLength;
      if (stop > start && bytes > bytesMax) break;
      stop += 1;
    }
    assert(start <= stop, "a range does not end before it begins");
    if (stop > start) {
      assert(this.#cache[start]!.index === from, "the memory holds entries without a hole");
      assert(this.#cache[stop - 1]!.index <= to, "no entry behind the wanted ones is given");
    }
    return this.#cache.slice(start, stop);
  }

  /** Bytes of the kept batches behind an index; of all of them for an index before the base. */
  bytesBehind(index: LogIndex): number {
    const from = Math.max(0, index - this.#base.index);
    let bytes = 0;
    for (let at = from; at < this.#positions.length; at += 1) bytes += this.#positions[at]!.size;
    return bytes;
  }

  /** Smallest number of a segment that holds a kept entry; undefined for an empty log. */
  oldestSegment(): number | undefined {
    const [first] = this.#positions;
    const newest = this.#positions.at(-1);
    if (first === undefined || newest === undefined) return undefined;
    assert(first.segmentNumber <= newest.segmentNumber, "segments are filled in order");
    return first.segmentNumber;
  }

  /** Index of the entry that holds a sequence number; 0 when none is kept. */
  indexOfSequence(sequence: number): LogIndex {
    let low = 0;
    let high = this.#nextSequences.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#nextSequences[middle]! <= sequence) low = middle + 1;
      else high = middle;
    }
    assert(low === high, "the search ends at one place");
    if (low === this.#nextSequences.length) return 0;
    const index = this.#base.index + 1 + low;
    assert(index <= this.lastIndex(), "the entry is not behind the last one");
    assert(sequence < this.sequenceAfter(index), "the entry does not end before the number");
    return index;
  }

  /** Frees a quarter of the bound at once, so that the work is spread over many appends. */
  #shrinkCache(): void {
    let dropped = 0;
    const goal = this.#cacheBytesMax * 0.75;
    while (dropped < this.#cache.length - 1 && this.#cacheBytes > goal) {
      this.#cacheBytes -= this.#cache[dropped]!.bytes.byteLength;
      dropped += 1;
    }
    this.#cache.splice(0, dropped);
    assert(
      this.#cacheBytes <= this.#cacheBytesMax || this.#cache.length === 1,
      "one entry alone may exceed the bound",
    );
  }
}
