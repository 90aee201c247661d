/**
 * Where each kept entry of the log stands, its term and sequence numbers, and the newest batches in
 * memory up to a bound.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import type { Entry, LogBase, LogIndex, LogReader, Term } from "../../raft/types.ts";

export type { LogBase };

/** Before the first entry of all. */
export const EMPTY_BASE: LogBase = { index: 0, term: 0, nextSequence: 1 };

/** Place of a batch on disk. */
export interface BatchPosition {
  readonly segmentNumber: number;
  /** Byte of the batch, behind its record's header. */
  readonly at: number;
  readonly size: number;
}

/** Index over the log. */
export class LogTable implements LogReader {
  readonly #cacheBytesMax: number;
  #base: LogBase = EMPTY_BASE;
  #terms: number[] = [];
  #nextSequences: number[] = [];
  #positions: BatchPosition[] = [];
  /** The newest entries; the first has index `#cacheFirst`. */
  #cache: Entry[] = [];
  #cacheBytes = 0;
  #removals = 0;

  constructor(cacheBytesMax: number) {
    this.#cacheBytesMax = cacheBytesMax;
  }

  get base(): LogBase {
    return this.#base;
  }

  /** Goes up whenever entries go: what was read before and what is read after do not fit. */
  get removals(): number {
    return this.#removals;
  }

  firstIndex(): LogIndex {
    return this.#base.index + 1;
  }

  lastIndex(): LogIndex {
    return this.#base.index + this.#terms.length;
  }

  term(index: LogIndex): Term | undefined {
    if (index === this.#base.index) return this.#base.term;
    return this.#terms[index - this.#base.index - 1];
  }

  sequenceAfter(index: LogIndex): number {
    if (index === this.#base.index) return this.#base.nextSequence;
    const next = this.#nextSequences[index - this.#base.index - 1];
    assert(next !== undefined, () => `entry ${index} is kept`);
    return next;
  }

  position(index: LogIndex): BatchPosition {
    const position = this.#positions[index - this.#base.index - 1];
    assert(position !== undefined, () => `entry ${index} is kept`);
    return position;
  }

  /** Adds an entry, superseding all with the same or a higher index. */
  append(entry: Entry, position: BatchPosition): void {
    assert(entry.index > this.#base.index, "an entry lies behind the base");
    assert(entry.index <= this.lastIndex() + 1, () => `entry ${entry.index} leaves no hole`);
    if (entry.index <= this.lastIndex()) this.truncateFrom(entry.index);
    assert(
      entry.firstSequence === this.sequenceAfter(entry.index - 1),
      () => `entry ${entry.index} continues the sequence numbers`,
    );
    this.#terms.push(entry.term);
    this.#nextSequences.push(entry.firstSequence + entry.count);
    this.#positions.push(position);
    this.#cache.push(entry);
    this.#cacheBytes += entry.bytes.byteLength;
    if (this.#cacheBytes > this.#cacheBytesMax) this.#shrinkCache();
  }

  /** Drops the tail. */
  truncateFrom(index: LogIndex): void {
    const kept = index - this.#base.index - 1;
    assert(kept >= 0 && kept < this.#terms.length, "the truncation starts inside the log");
    this.#removals += 1;
    this.#terms.length = kept;
    this.#nextSequences.length = kept;
    this.#positions.length = kept;
    const first = this.#cache[0]?.index ?? index;
    for (const entry of this.#cache.splice(Math.max(0, index - first))) {
      this.#cacheBytes -= entry.bytes.byteLength;
    }
  }

  /**
   * Drops the head up to `base`. What does not continue at `base` belongs to another history and
   * goes too (paper figure 13, step 7).
   */
  compactTo(base: LogBase): void {
    if (base.index < this.#base.index) return;
    const isSame = base.index === this.#base.index;
    if (!isSame && !this.#continuesAt(base)) {
      this.startBehind(base);
      return;
    }
    this.#removals += 1;
    const dropped = Math.min(base.index - this.#base.index, this.#terms.length);
    this.#terms = this.#terms.slice(dropped);
    this.#nextSequences = this.#nextSequences.slice(dropped);
    this.#positions = this.#positions.slice(dropped);
    this.#base = base;
    const stale = this.#cache.findIndex((entry) => entry.index > base.index);
    for (const entry of this.#cache.splice(0, stale === -1 ? this.#cache.length : stale)) {
      this.#cacheBytes -= entry.bytes.byteLength;
    }
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
  }

  #continuesAt({ index, term, nextSequence }: LogBase): boolean {
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
    return this.#cache.slice(start, stop);
  }

  /** Bytes of the kept batches behind an index. */
  bytesBehind(index: LogIndex): number {
    const from = Math.max(0, index - this.#base.index);
    let bytes = 0;
    for (let at = from; at < this.#positions.length; at += 1) bytes += this.#positions[at]!.size;
    return bytes;
  }

  /** Smallest segment number that holds a kept entry; undefined for an empty log. */
  oldestSegment(): number | undefined {
    return this.#positions[0]?.segmentNumber;
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
    return low < this.#nextSequences.length ? this.#base.index + 1 + low : 0;
  }

  /** Cuts a quarter at once, so that the work is spread over many appends. */
  #shrinkCache(): void {
    let dropped = 0;
    const goal = this.#cacheBytesMax * 0.75;
    while (dropped < this.#cache.length - 1 && this.#cacheBytes > goal) {
      this.#cacheBytes -= this.#cache[dropped]!.bytes.byteLength;
      dropped += 1;
    }
    this.#cache.splice(0, dropped);
  }
}
