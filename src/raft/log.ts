/**
 * The log as consensus sees it: what the storage holds, and behind it the tail that no Ready has
 * carried yet. Also keeps, for each Ready that is being persisted, what becomes durable with it.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import type { Entry, EntryId, EntrySource, LogBase, LogIndex, LogReader, Term } from "./types.ts";

interface PendingPersist {
  readonly number: number;
  /** Last entry that is durable with this Ready; lowered when the tail is truncated. */
  lastIndex: LogIndex;
}

/** What a Ready takes from the log. */
export interface TakenTail {
  readonly restored: LogBase | undefined;
  readonly truncateFrom: LogIndex | undefined;
  readonly entries: readonly Entry[];
}

/** What an append did. */
export interface Appended {
  /** Why the entries are impossible; empty when they are not. */
  readonly refusal: string;
  readonly truncated: LogIndex;
  readonly fresh: readonly Entry[];
}

const NOTHING: Appended = { refusal: "", truncated: 0, fresh: [] };

/** Match, append, truncate, commit. */
export class RaftLog {
  readonly #reader: LogReader;
  #tail: Entry[] = [];
  /** Index of the first tail entry; last + 1 when the tail is empty. */
  #tailFirst: LogIndex;
  #truncateFrom: LogIndex | undefined;
  #durableIndex: LogIndex;
  /** A snapshot takes the place of what the reader holds; no Ready has carried it yet. */
  #restored: LogBase | undefined;
  #pending: PendingPersist[] = [];
  committed: LogIndex;

  constructor(reader: LogReader, commitIndex: LogIndex) {
    assert(commitIndex <= reader.lastIndex(), "what is committed was written");
    assert(commitIndex >= reader.firstIndex() - 1, "what was cut is committed");
    this.#reader = reader;
    this.#tailFirst = reader.lastIndex() + 1;
    this.#durableIndex = reader.lastIndex();
    this.committed = commitIndex;
  }

  get firstIndex(): LogIndex {
    return this.#restored === undefined ? this.#reader.firstIndex() : this.#restored.index + 1;
  }

  get lastIndex(): LogIndex {
    return this.#tailFirst + this.#tail.length - 1;
  }

  get last(): EntryId {
    const index = this.lastIndex;
    const term = this.term(index);
    assert(term !== undefined, "the last entry's term is kept");
    return { term, index };
  }

  /** Everything up to here is on this node's disk and was not truncated since. */
  get durableIndex(): LogIndex {
    return this.#durableIndex;
  }

  /** Whether a crash now would lose none of the entries. */
  get isDurable(): boolean {
    return this.#durableIndex === this.lastIndex;
  }

  /** Undefined outside the kept log. */
  term(index: LogIndex): Term | undefined {
    if (index > this.lastIndex) return undefined;
    if (index >= this.#tailFirst) return this.#tail[index - this.#tailFirst]!.term;
    if (this.#restored === undefined) return this.#reader.term(index);
    return index === this.#restored.index ? this.#restored.term : undefined;
  }

  matches(id: EntryId): boolean {
    return this.term(id.index) === id.term;
  }

  /** Places a new entry at the end, for a leader. */
  appendNew(term: Term, source: EntrySource): Entry {
    const index = this.lastIndex + 1;
    const firstSequence = this.#sequenceAfter(this.lastIndex);
    const place = { term, index, firstSequence };
    const entry: Entry = { ...place, count: source.count, bytes: source.seal(place) };
    assert(entry.bytes.byteLength === source.size, "a sealed entry has the announced size");
    this.#tail.push(entry);
    return entry;
  }

  /**
   * Takes a leader's entries. Entries that are here already are skipped, so a late or repeated
   * request never shortens the log; the tail goes only from the first real conflict on (paper
   * §5.3).
   * Returns why the entries are impossible, or the index truncated from (0 = none) and the entries
   * that were appended.
   */
  appendFrom(previous: EntryId, entries: readonly Entry[]): Appended {
    assert(this.matches(previous), "the caller checked the previous entry");
    if (!this.#follow(previous.index, entries)) {
      return { ...NOTHING, refusal: "entries or sequence numbers have a gap" };
    }
    let skipped = 0;
    while (skipped < entries.length && this.matches(entries[skipped]!)) skipped += 1;
    const fresh = entries.slice(skipped);
    const first = fresh[0];
    if (first === undefined) return NOTHING;
    if (first.index <= this.committed) {
      return { ...NOTHING, refusal: `entry ${first.index} conflicts with a committed one` };
    }
    const truncated = first.index <= this.lastIndex ? first.index : 0;
    if (truncated > 0) this.#truncate(truncated);
    for (const entry of fresh) this.#tail.push(entry);
    return { refusal: "", truncated, fresh };
  }

  /**
   * Starts over behind a snapshot, whose last entry is committed. What stands in the log does not
   * lead there, so all of it goes (paper figure 13).
   */
  restore(base: LogBase): void {
    assert(base.index > this.committed, "a snapshot is ahead of what is committed");
    this.#restored = base;
    this.#tail = [];
    this.#tailFirst = base.index + 1;
    this.#truncateFrom = undefined;
    this.#durableIndex = 0;
    for (const pending of this.#pending) pending.lastIndex = 0;
    this.committed = base.index;
  }

  /** Entries to send; undefined when they have to be read from disk. */
  entries(from: LogIndex, bytesMax: number): readonly Entry[] | undefined {
    assert(from >= this.firstIndex && from <= this.lastIndex, () => `entry ${from} is kept`);
    if (from < this.#tailFirst) return this.#reader.entries(from, this.#tailFirst - 1, bytesMax);
    const first = from - this.#tailFirst;
    let end = first;
    let bytes = 0;
    while (end < this.#tail.length) {
      bytes += this.#tail[end]!.bytes.byteLength;
      if (end > first && bytes > bytesMax) break;
      end += 1;
    }
    return this.#tail.slice(first, end);
  }

  /** Moves the commit index on; it never goes back. */
  commitTo(index: LogIndex): boolean {
    if (index <= this.committed) return false;
    assert(index <= this.lastIndex, () => `commit ${index} lies beyond the last entry`);
    this.committed = index;
    return true;
  }

  /**
   * The highest index <= `index` whose term is <= `term`: where two logs can agree at best. Both
   * sides use it, so that a whole term is skipped with one exchange (etcd's fast log rejection).
   */
  conflictHint(index: LogIndex, term: Term): EntryId {
    let at = Math.min(index, this.lastIndex);
    while (at > 0) {
      const own = this.term(at);
      if (own === undefined) return { term: 0, index: at };
      if (own <= term) return { term: own, index: at };
      at -= 1;
    }
    return { term: 0, index: 0 };
  }

  /** Hands the tail to a Ready. The driver writes it before it calls the core again. */
  takeTail(): TakenTail {
    const restored = this.#restored;
    const taken = { restored, truncateFrom: this.#truncateFrom, entries: this.#tail };
    this.#restored = undefined;
    this.#tailFirst = this.lastIndex + 1;
    this.#tail = [];
    this.#truncateFrom = undefined;
    return taken;
  }

  get hasTail(): boolean {
    return this.#tail.length > 0 || this.#restored !== undefined;
  }

  /** A Ready left with everything up to the present end of the log. */
  persisting(number: number): void {
    this.#pending.push({ number, lastIndex: this.#tailFirst - 1 });
  }

  /** That Ready and all before it are on disk. */
  persisted(number: number): void {
    while (this.#pending.length > 0 && this.#pending[0]!.number <= number) {
      this.#durableIndex = Math.max(this.#durableIndex, this.#pending[0]!.lastIndex);
      this.#pending.shift();
    }
    assert(this.#durableIndex < this.#tailFirst, "only written entries are durable");
  }

  #truncate(fromIndex: LogIndex): void {
    assert(
      fromIndex > this.committed,
      () => `truncation at ${fromIndex} would remove committed entry ${this.committed}`,
    );
    if (fromIndex >= this.#tailFirst) {
      this.#tail.length = fromIndex - this.#tailFirst;
    } else {
      this.#tail = [];
      this.#tailFirst = fromIndex;
      this.#truncateFrom = Math.min(fromIndex, this.#truncateFrom ?? fromIndex);
    }
    this.#durableIndex = Math.min(this.#durableIndex, fromIndex - 1);
    for (const pending of this.#pending) {
      pending.lastIndex = Math.min(pending.lastIndex, fromIndex - 1);
    }
  }

  #sequenceAfter(index: LogIndex): number {
    if (index === this.#restored?.index) return this.#restored.nextSequence;
    if (index < this.#tailFirst) return this.#reader.sequenceAfter(index);
    const entry = this.#tail[index - this.#tailFirst]!;
    return entry.firstSequence + entry.count;
  }

  /** Whether these are the next entries after `previous`, also those that are here already. */
  #follow(previous: LogIndex, entries: readonly Entry[]): boolean {
    if (entries.length === 0) return true;
    let index = previous + 1;
    let sequence = this.#sequenceAfter(previous);
    for (const entry of entries) {
      if (entry.index !== index || entry.firstSequence !== sequence || entry.count < 1)
        return false;
      index += 1;
      sequence += entry.count;
    }
    return true;
  }
}
