/**
 * Documents of one collection and their key index, kept together.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import type { CStoreError } from "../../base/errors.ts";
import type { Fields } from "../../base/value.ts";
import type { IndexDefinition } from "../../protocol/encoding/catalog_command.ts";
import { decodeCbor } from "../../protocol/encoding/cbor.ts";
import {
  type CollectionSettings,
  PLAIN_SETTINGS,
} from "../../protocol/encoding/collection_settings.ts";
import { encodeKey } from "../../protocol/encoding/document_key.ts";
import { CollectionIndexes } from "./collection_indexes.ts";
import { DocumentSlabs, type FrozenSlabs, type Moved, type SlabRecord } from "./document_slab.ts";
import { expiryAt } from "./expiry_rule.ts";
import { type ByteRange, KeyIndex } from "./key_index.ts";

/** State that a change replaced, so that it can be taken back. */
export interface Undo {
  readonly hash: number;
  /** Location that was there before; -1 for none. */
  readonly before: number;
  /** Location that is there now; -1 for none. */
  readonly after: number;
  readonly sequence: number;
}

/** A key and right behind it its document, in some buffer. */
export interface DocumentSource {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly keyEnd: number;
  readonly end: number;
  /** The document's version, if it is not the number of the operation. */
  readonly version?: number;
}

/** Where a document goes: its key's hash, and the location of what it replaces (-1 = nothing). */
export interface PutPlace {
  readonly hash: number;
  readonly before: number;
}

/** Ids in use that are passed one by one; behind them the steps double, up to a bound. */
const IDS_PASSED = 1000;
const ID_STEP_MAX = 2 ** 20;

/** One collection. */
export class CollectionStore {
  readonly name: string;
  readonly #slabs = new DocumentSlabs();
  readonly #index: KeyIndex;
  /** Indexes by name, the state of each included. */
  readonly indexes: CollectionIndexes;
  /** Sequence number of the last change; transactions compare it. */
  changedAt = 0;
  settings: CollectionSettings = PLAIN_SETTINGS;
  /**
   * Number in the agreement of a collection that every node writes: what is here is then what this
   * node shows, which is no part of the replicated state. 0 for any other.
   */
  collectionId = 0;
  /** The number to try first when an id is to be given out. */
  nextId = 0;
  readonly #moved: Moved = (from, to, place) => {
    this.#index.move(this.#index.hash(place.bytes, place), from, to);
    if (this.indexes.count === 0) return;
    const [key, document] = [this.#slabs.key(to), this.#slabs.document(to)];
    this.indexes.put(key, { before: document, after: document }, { before: from, after: to });
  };

  constructor(name: string, seed: number) {
    this.name = name;
    this.#index = new KeyIndex(this.#slabs, seed);
    this.indexes = new CollectionIndexes(name, seed);
  }

  /** Documents. */
  get count(): number {
    return this.#index.size;
  }

  get bytes(): number {
    return this.#slabs.bytes;
  }

  hash(bytes: Uint8Array, key: ByteRange): number {
    return this.#index.hash(bytes, key);
  }

  /** Location of a document; -1 when there is none. */
  find(hash: number, bytes: Uint8Array, key: ByteRange): number {
    return this.#index.find(hash, bytes, key);
  }

  /** Location of the document with exactly this key; -1 when there is none. */
  locate(key: Uint8Array): number {
    const range = { start: 0, end: key.byteLength };
    return this.find(this.hash(key, range), key, range);
  }

  /** Gives out numbers that are ids of no document, each once. Undefined when there are no more. */
  takeIds(count: number): number[] | undefined {
    const ids: number[] = [];
    let id = this.nextId;
    let step = 1;
    for (let passed = 0; ids.length < count; ) {
      if (id >= Number.MAX_SAFE_INTEGER) return undefined;
      if (this.locate(encodeKey(id)) === -1) {
        ids.push(id);
        passed = 0;
        step = 1;
      } else {
        passed += 1;
        if (passed > IDS_PASSED) step = Math.min(2 * step, ID_STEP_MAX);
      }
      id += step;
    }
    this.nextId = id;
    return ids;
  }

  /** Touches what `find` will read for the first `count` hashes; changes nothing. */
  lookAhead(hashes: Int32Array, count: number): void {
    this.#index.lookAhead(hashes, count);
  }

  /** Version of the document at a location; 0 for -1. */
  version(location: number): number {
    return location === -1 ? 0 : this.#slabs.version(location);
  }

  /** The same; 0 also for a document that has expired at `nowMs`. */
  versionAt(location: number, nowMs: number): number {
    return this.isOver(location, nowMs) ? 0 : this.version(location);
  }

  /** Whether there is a document that has expired at `nowMs`. */
  isOver(location: number, nowMs: number): boolean {
    if (location === -1 || !this.indexes.hasExpiry) return false;
    return expiryAt(this.indexes, nowMs)?.(decodeCbor(this.document(location)) as Fields) === true;
  }

  /** A view, valid until the next change. */
  document(location: number): Uint8Array {
    return this.#slabs.document(location);
  }

  /** Inserts or replaces. */
  put(place: PutPlace, source: DocumentSource, sequence: number): Undo {
    const { hash, before } = place;
    const range = { start: source.start, keySize: source.keyEnd - source.start, end: source.end };
    const after = this.#slabs.append(source.bytes, range, source.version ?? sequence);
    if (before === -1) {
      this.#index.insert(hash, after);
    } else {
      this.#slabs.supersede(before, sequence);
      this.#index.move(hash, before, after);
    }
    if (this.indexes.count > 0) this.#reindex(before, after);
    this.changedAt = Math.max(this.changedAt, sequence);
    return { hash, before, after, sequence };
  }

  /** Entries follow the document: both places are readable until the next step of compaction. */
  #reindex(before: number, after: number): void {
    const key = this.#slabs.key(after === -1 ? before : after);
    const old = before === -1 ? undefined : this.#slabs.document(before);
    const now = after === -1 ? undefined : this.#slabs.document(after);
    this.indexes.put(key, { before: old, after: now }, { before, after });
  }

  /** Why a document may not be written: an index refuses it. */
  indexProblem(source: DocumentSource, isDuplicateLast = false): CStoreError | undefined {
    if (this.indexes.count === 0) return undefined;
    const { bytes, start, keyEnd, end } = source;
    const [key, document] = [bytes.subarray(start, keyEnd), bytes.subarray(keyEnd, end)];
    return this.indexes.problem(key, document, isDuplicateLast);
  }

  /** A put that is never taken back: it may write over the document that it replaces. */
  putForGood(place: PutPlace, source: DocumentSource, sequence: number): void {
    const { before } = place;
    assert(this.indexes.count === 0, "an indexed collection takes the general way");
    this.changedAt = Math.max(this.changedAt, sequence);
    const version = source.version ?? sequence;
    if (before !== -1 && this.#slabs.overwrite(before, source, version)) return;
    this.put(place, source, sequence);
  }

  remove(hash: number, before: number, sequence: number): Undo {
    assert(before !== -1, "what is removed is there");
    this.#slabs.supersede(before, sequence);
    this.#index.remove(hash, before);
    if (this.indexes.count > 0) this.#reindex(before, -1);
    this.changedAt = Math.max(this.changedAt, sequence);
    return { hash, before, after: -1, sequence };
  }

  /** Takes a change back; changes are taken back in reverse order. */
  undo(change: Undo): void {
    const { hash, before, after, sequence } = change;
    if (after !== -1) this.#slabs.supersede(after, sequence);
    if (before !== -1) this.#slabs.revive(before);
    if (before !== -1 && after !== -1) this.#index.move(hash, after, before);
    else if (before !== -1) this.#index.insert(hash, before);
    else this.#index.remove(hash, after);
    if (this.indexes.count > 0) this.#reindex(after, before);
  }

  /** Adds an index; {@link buildStep} makes its entries for documents that are there already. */
  addIndex(definition: IndexDefinition, sequence: number): void {
    const frozen = this.freeze(this.momentAt(sequence));
    const records = this.frozenRecords(frozen, "present");
    // The entries point to where documents lie now, so nothing may be moved before they are made.
    this.#slabs.hold();
    const end = (): void => {
      this.#slabs.release();
      this.thaw(frozen);
    };
    this.indexes.begin(definition, { records, end });
  }

  /** The last change that a reader sees who sees the operation of that number. */
  momentAt(sequence: number): number {
    return this.collectionId === 0 ? sequence : this.changedAt;
  }

  /** Moves a few live documents out of mostly dead slabs; documents' views end here. */
  compactStep(): void {
    this.#slabs.compactStep(this.#moved);
  }

  freeze(sequence: number): FrozenSlabs {
    return this.#slabs.freeze(sequence);
  }

  thaw(frozen: FrozenSlabs): void {
    this.#slabs.thaw(frozen);
  }

  /** Records alive at the frozen moment, or only those that still are. */
  frozenRecords(frozen: FrozenSlabs, which?: "present"): Generator<SlabRecord> {
    return this.#slabs.frozenRecords(frozen, which);
  }

  /** The document's key at a location: a view. */
  key(location: number): Uint8Array {
    return this.#slabs.key(location);
  }
}
