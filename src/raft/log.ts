/**
 * The log as consensus sees it: the part that the storage holds, and behind it the tail that no
 * Ready has carried yet. For each Ready that is being persisted, it keeps the index that becomes
 * durable with it.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import type { Entry, EntryId, EntrySource, LogBase, LogIndex, LogReader, Term } from "./types.ts";

interface PendingPersist {
  /** The Ready's number, greater than that of the one before it. */
  readonly number: number;
  /**
   * Last entry that is durable with this Ready: `0 <= lastIndex < tailFirst`; lowered when the tail
   * is truncated.
   */
  lastIndex: LogIndex;
}

/** The part of the log that a Ready takes along. */
export interface TakenTail {
  /** Comes directly before the first of the entries. */
  readonly restored: LogBase | undefined;
  /** Index of the first of the entries, `truncateFrom <= lastIndex`: older ones there are void. */
  readonly truncateFrom: LogIndex | undefined;
  readonly entries: readonly Entry[];
}

/** The result of an append. */
export interface Appended {
  /** Why the entries are impossible; empty when they are not. */
  readonly refusal: string;
  /** The first index that was truncated: `committed < truncated` at that time; 0 for none. */
  readonly truncated: LogIndex;
  /** The entries that were appended, up to the last index. */
  readonly fresh: readonly Entry[];
}

const NOTHING: Appended = { refusal: "", truncated: 0, fresh: [] };

/**
 * Match, append, truncate, commit: `firstIndex - 1 <= committed <= lastIndex` and
 * `firstIndex <= tailFirst <= lastIndex + 1`.
 */
export class RaftLog {
  readonly #reader: LogReader;
  /** The entries `tailFirst ... lastIndex`. */
  #tail: Entry[] = [];
  /** Index of the first tail entry; last + 1 when the tail is empty. */
  #tailFirst: LogIndex;
  /** Written entries from here on are superseded by the tail: `truncateFrom === tailFirst`. */
  #truncateFrom: LogIndex | undefined;
  /** `0 <= durableIndex < tailFirst`; before the log's first entry while a snapshot is written. */
  #durableIndex: LogIndex;
  /** A snapshot that replaces the reader's entries; no Ready has carried it yet. */
  #restored: LogBase | undefined;
  /** Readies that are being written, oldest first. */
  #pending: PendingPersist[] = [];
  /** `firstIndex - 1 <= committed <= lastIndex`; it never goes back. */
  committed: LogIndex;

  constructor(reader: LogReader, commitIndex: LogIndex) {
    assert(commitIndex <= reader.lastIndex(), "committed entries were written");
    assert(commitIndex >= reader.firstIndex() - 1, "entries that were cut are committed");
    this.#reader = reader;
    this.#tailFirst = reader.lastIndex() + 1;
    this.#durableIndex = reader.lastIndex();
    this.committed = commitIndex;
    this.#assertOrder();
  }

  get firstIndex(): LogIndex {
    return this.#restored === undefined ? this.#reader.firstIndex() : this.#restored.index + 1;
  }

  get lastIndex(): LogIndex {
    return this.#tailFirst + this.#tail.length - 1;
  }

  get last(): EntryId {
    const index = this.lastIndex;
    assert(index >= this.committed, "no committed entry lies beyond the log");
    const term = this.term(index);
    assert(term !== undefined, "the last entry's term is kept");
    return { term, index };
  }

  /** Everything up to here is on this node's disk and was not truncated since; <= lastIndex. */
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
    assert(index > this.committed, "a new entry follows the committed ones");
    const place = { term, index, firstSequence };
    const entry: Entry = { ...place, count: source.count, bytes: source.seal(place) };
    assert(entry.bytes.byteLength === source.size, "a sealed entry has the announced size");
    this.#tail.push(entry);
    assert(this.lastIndex === index, "the entry ends the log");
    return entry;
  }

  /**
   * Takes a leader's entries. Entries that are here already are skipped, so a late or repeated
   * request never shortens the log; the tail goes only from the first real conflict on (paper
   * §5.3). Returns why the entries are impossible, or what was truncated and appended.
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
    assert(this.lastIndex === previous.index + entries.length, "the log ends with the new entries");
    this.#assertOrder();
    return { refusal: "", truncated, fresh };
  }

  /**
   * Starts over behind a snapshot, whose last entry is committed. The log's entries do not lead to
   * it, so all of them go (paper figure 13).
   */
  restore(base: LogBase): void {
    assert(base.index > this.committed, "a snapshot is ahead of the committed entries");
    this.#restored = base;
    this.#tail = [];
    this.#tailFirst = base.index + 1;
    this.#truncateFrom = undefined;
    this.#durableIndex = 0;
    for (const pending of this.#pending) pending.lastIndex = 0;
    this.committed = base.index;
    assert(this.lastIndex === this.committed, "nothing follows the snapshot");
    this.#assertOrder();
  }

  /** Entries to send; undefined when they have to be read from disk. */
  entries(from: LogIndex, bytesMax: number): readonly Entry[] | undefined {
    assert(from >= this.firstIndex, "the first entry to send is kept");
    assert(from <= this.lastIndex, "the first entry to send was appended");
    if (from < this.#tailFirst) return this.#reader.entries(from, this.#tailFirst - 1, bytesMax);
    const first = from - this.#tailFirst;
    let end = first;
    let bytes = 0;
    while (end < this.#tail.length) {
      bytes += this.#tail[end]!.bytes.byteLength;
      if (end > first && bytes > bytesMax) break;
      end += 1;
    }
    assert(end > first, "at least one entry is sent");
    assert(end <= this.#tail.length, "the entries end with the log");
    return this.#tail.slice(first, end);
  }

  /** Moves the commit index on; it never goes back. */
  commitTo(index: LogIndex): boolean {
    if (index <= this.committed) return false;
    assert(index <= this.lastIndex, "only entries of the log are committed");
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
      if (own === undefined) {
        assert(at < this.firstIndex, "only the head of the log is cut");
        return { term: 0, index: at };
      }
      if (own <= term) return { term: own, index: at };
      at -= 1;
    }
    return { term: 0, index: 0 };
  }

  /** Hands the tail to a Ready. The driver writes it before it calls the core again. */
  takeTail(): TakenTail {
    const restored = this.#restored;
    const from = this.#truncateFrom;
    assert(from === undefined || from <= this.lastIndex, "entries replace the truncated tail");
    assert(restored === undefined || restored.index < this.#tailFirst, "entries follow a snapshot");
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
    const before = this.#pending.at(-1);
    assert(before === undefined || before.number < number, "Readies are numbered in order");
    assert(this.#durableIndex < this.#tailFirst, "only written entries are durable");
    this.#pending.push({ number, lastIndex: this.#tailFirst - 1 });
  }

  /** That Ready and all before it are on disk. */
  persisted(number: number): void {
    while (this.#pending.length > 0 && this.#pending[0]!.number <= number) {
      this.#durableIndex = Math.max(this.#durableIndex, this.#pending[0]!.lastIndex);
      this.#pending.shift();
    }
    const oldest = this.#pending[0];
    assert(oldest === undefined || oldest.number > number, "later Readies are still being written");
    assert(this.#durableIndex < this.#tailFirst, "only written entries are durable");
  }

  #truncate(fromIndex: LogIndex): void {
    assert(fromIndex > this.committed, "no committed entry is truncated");
    assert(fromIndex <= this.lastIndex, "at least one entry is truncated");
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
    assert(this.lastIndex === fromIndex - 1, "the tail is gone and nothing else");
    this.#assertOrder();
  }

  /** The order of the log's indexes, which holds between any two calls. */
  #assertOrder(): void {
    const first = this.firstIndex;
    assert(first <= this.#tailFirst, "the tail begins inside the log");
    assert(first - 1 <= this.committed, "only committed entries are cut off the head");
    assert(this.committed <= this.lastIndex, "committed entries are in the log");
    assert(this.#durableIndex < this.#tailFirst, "only written entries are durable");
    const from = this.#truncateFrom;
    assert(from === undefined || from === this.#tailFirst, "new entries replace a truncated tail");
  }

  #sequenceAfter(index: LogIndex): number {
    assert(index <= this.lastIndex, "the entry before was appended");
    if (index === this.#restored?.index) return this.#restored.nextSequence;
    if (index < this.#tailFirst) return this.#reader.sequenceAfter(index);
    const entry = this.#tail[index - this.#tailFirst]!;
    return entry.firstSequence + entry.count;
  }

  /** Whether these are the next entries after `previous`, also those that are here already. */
  #follow(previous: LogIndex, entries: readonly Entry[]): boolean {
    if (entries.length === 0) return true;
    assert(previous >= this.firstIndex - 1, "the entry before is kept, or the log's base");
    let index = previous + 1;
    let sequence = this.#sequenceAfter(previous);
    for (const entry of entries) {
      const isNext = entry.index === index && entry.firstSequence === sequence;
      if (!isNext || entry.count < 1) return false;
      index += 1;
      sequence += entry.count;
    }
    return true;
  }
}
