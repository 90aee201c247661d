/**
 * The digest of a state at one applied entry: equal on two nodes if and only if their states are
 * equal, but for collisions of a 64-bit hash. Nothing of the order in memory goes into it: not the
 * order of writes, compaction, a restore, nor the seed of the key index.
 *
 * A document's hash is the xxh64 of its bytes as they stand in a snapshot: version (8), keySize
 * (2), documentSize (4), key, document. The low 8 bits of the xxh32 of the key choose one of 256
 * ranges of its collection; a range's digest is the XOR (8) and the sum modulo 2^64 (8) of the
 * hashes of its documents. Two operators, because what cancels out in one does not in the other.
 * So two nodes whose digests differ find first the collection, then the ranges, then the documents.
 *
 * The work is cut into slices. The caller gives others a turn between two of them; entries that are
 * applied meanwhile do not show.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { ByteWriter, viewOf } from "../base/bytes.ts";
import { FIRST_RULES } from "../base/rules_version.ts";
import { encodeCbor } from "../protocol/encoding/cbor.ts";
import { checksum32, checksum64 } from "../protocol/encoding/checksum.ts";
import type {
  CollectionDigest,
  DocumentDigest,
  StateDigest,
  StatePosition,
} from "../protocol/wire/reply.ts";
import type { CollectionStore } from "./collection/collection_store.ts";
import type { FrozenSlabs, SlabRecord } from "./collection/document_slab.ts";
import type { DocumentStateMachine } from "./document_state_machine.ts";
import { catalogOf, mastersFields } from "./snapshot_codec.ts";

/** Ranges of a collection. */
export const DIGEST_RANGES = 256;
/** Bytes of a range's digest. */
export const RANGE_DIGEST_SIZE = 16;
/** Work of one slice: about half a millisecond. */
const SLICE_BYTES = 512 * 1024;
/** Cost of a document beside its bytes. */
const DOCUMENT_COST = 256;

/** Where two states differ. */
export type StateDifference =
  | { readonly part: "position" | "sessions" | "members" | "bindings" | "collections" }
  | { readonly part: "collection"; readonly name: string; readonly ranges: readonly number[] };

/** A state that was frozen to be digested, and must be thawed. */
export class FrozenDigest {
  readonly position: StatePosition;
  readonly #sessions: Uint8Array;
  readonly #members: string;
  readonly #bindings: string;
  readonly #collections: readonly {
    store: CollectionStore;
    slabs: FrozenSlabs;
    /** Digest of its indexes. */
    catalog: string;
  }[];
  readonly #droppedAt: number;
  #isThawed = false;

  /**
   * Freezes the state as it is now. The table of sessions is copied at once, as it is for
   * a snapshot.
   */
  constructor(machine: DocumentStateMachine) {
    this.position = machine.position;
    this.#sessions = machine.sessions.encode();
    const { members, bindings, retired } = machine.memberTable.state();
    const rows = canonicalRows(members);
    const masters = mastersFields(machine.masters);
    const agreed = Object.keys(masters).length > 0 ? [masters] : [];
    const isFirst = machine.rules === FIRST_RULES;
    this.#members = digestOfValue(isFirst ? rows : [rows, machine.rules, ...agreed]);
    this.#bindings = digestOfValue([canonicalRows(bindings), retired]);
    const stores = [...machine.collections()].sort((a, b) => (a.name < b.name ? -1 : 1));
    const sequence = machine.position.nextSequence - 1;
    this.#droppedAt = machine.droppedAt;
    this.#collections = stores.map((store) => {
      const catalog = digestOfValue(catalogOf(store));
      return { store, catalog, slabs: store.freeze(sequence) };
    });
  }

  /** Digests the whole state, one slice for each `next`. */
  *digest(): Generator<undefined, StateDigest> {
    const collections: CollectionDigest[] = [];
    for (const { store, slabs, catalog } of this.#collections) {
      const ranges = new RangeDigests();
      for (const slice of this.#slices(store, slabs)) {
        for (const record of slice) ranges.add(record);
        yield;
      }
      collections.push({ ...ranges.end(store.name), catalog });
    }
    const sessions = hex(checksum64(this.#sessions));
    const parts = { sessions, members: this.#members, bindings: this.#bindings };
    const { position } = this;
    const digest = digestOfAll(position, { ...parts, droppedAt: this.#droppedAt }, collections);
    return { position, ...parts, collections, digest };
  }

  /**
   * Lists the documents of one range in order of key, one slice for each `next`: to be compared
   * with the list of another node at the same entry. None for a collection that does not exist.
   */
  *documents(collection: string, range: number): Generator<undefined, readonly DocumentDigest[]> {
    assert(range >= 0 && range < DIGEST_RANGES, "a collection has 256 ranges");
    const found: DocumentDigest[] = [];
    const frozen = this.#collections.find(({ store }) => store.name === collection);
    if (frozen === undefined) return found;
    const hasher = new DocumentHasher();
    for (const slice of this.#slices(frozen.store, frozen.slabs)) {
      for (const record of slice) {
        if (rangeOf(record.key) !== range) continue;
        const { key, version } = record;
        found.push({ key: key.slice(), version, hash: hex(hasher.hash(record)) });
      }
      yield;
    }
    return found.sort((a, b) => compareBytes(a.key, b.key));
  }

  /** Lets compaction go on; also when not every slice was taken. */
  thaw(): void {
    if (this.#isThawed) return;
    this.#isThawed = true;
    for (const { store, slabs } of this.#collections) store.thaw(slabs);
  }

  /** The records in portions of one slice's work. Each portion must be used up before the next. */
  *#slices(store: CollectionStore, slabs: FrozenSlabs): Generator<Iterable<SlabRecord>> {
    // What a node shows of a collection that every node writes is no part of the state.
    if (store.collectionId > 0) return;
    const records = store.frozenRecords(slabs);
    let next = records.next();
    const portion = function* (): Generator<SlabRecord> {
      let work = 0;
      while (next.done !== true && work < SLICE_BYTES) {
        const record = next.value;
        work += record.key.byteLength + record.document.byteLength + DOCUMENT_COST;
        yield record;
        next = records.next();
      }
    };
    while (next.done !== true) {
      assert(!this.#isThawed, "a frozen state is read");
      yield portion();
    }
  }
}

/** The first part in which two states differ; undefined when they are equal. */
export function stateDifference(a: StateDigest, b: StateDigest): StateDifference | undefined {
  if (a.digest === b.digest) return undefined;
  if (positionText(a.position) !== positionText(b.position)) return { part: "position" };
  if (a.sessions !== b.sessions) return { part: "sessions" };
  if (a.members !== b.members) return { part: "members" };
  if (a.bindings !== b.bindings) return { part: "bindings" };
  for (const one of a.collections) {
    const other = b.collections.find(({ name }) => name === one.name);
    if (other === undefined || other.digest === one.digest) continue; // Or only the catalog.
    return { part: "collection", name: one.name, ranges: differingRanges(one, other) };
  }
  return { part: "collections" };
}

/** Numbers of the ranges in which a collection differs between two nodes. */
export function differingRanges(a: CollectionDigest, b: CollectionDigest): number[] {
  const numbers = Array.from({ length: DIGEST_RANGES }, (_, range) => range);
  return numbers.filter((range) => {
    const start = range * RANGE_DIGEST_SIZE;
    const end = start + RANGE_DIGEST_SIZE;
    return compareBytes(a.ranges.subarray(start, end), b.ranges.subarray(start, end)) !== 0;
  });
}

/** The first document, in order of key, that one of two lists lacks or has otherwise. */
export function differingDocument(
  a: readonly DocumentDigest[],
  b: readonly DocumentDigest[],
): { readonly a: DocumentDigest | undefined; readonly b: DocumentDigest | undefined } | undefined {
  for (let at = 0; at < Math.max(a.length, b.length); at += 1) {
    const one = a[at];
    const other = b[at];
    if (one === undefined || other === undefined) return { a: one, b: other };
    const order = compareBytes(one.key, other.key);
    if (order < 0) return { a: one, b: undefined };
    if (order > 0) return { a: undefined, b: other };
    if (one.hash !== other.hash) return { a: one, b: other };
  }
  return undefined;
}

class DocumentHasher {
  readonly #writer = new ByteWriter(4096);

  hash({ key, document, version }: SlabRecord): bigint {
    const writer = this.#writer;
    writer.rewind(0);
    writer.u64(version).u16(key.byteLength).u32(document.byteLength).raw(key).raw(document);
    return checksum64(writer.written());
  }
}

class RangeDigests {
  readonly #hasher = new DocumentHasher();
  readonly #xors = new BigUint64Array(DIGEST_RANGES);
  readonly #sums = new BigUint64Array(DIGEST_RANGES);
  #count = 0;

  add(record: SlabRecord): void {
    const range = rangeOf(record.key);
    const hash = this.#hasher.hash(record);
    this.#xors[range] = this.#xors[range]! ^ hash;
    // The array keeps the low 64 bits.
    this.#sums[range] = this.#sums[range]! + hash;
    this.#count += 1;
  }

  end(name: string): Omit<CollectionDigest, "catalog"> {
    const ranges = new Uint8Array(DIGEST_RANGES * RANGE_DIGEST_SIZE);
    const view = viewOf(ranges);
    for (let range = 0; range < DIGEST_RANGES; range += 1) {
      view.setBigUint64(range * RANGE_DIGEST_SIZE, this.#xors[range]!, true);
      view.setBigUint64(range * RANGE_DIGEST_SIZE + 8, this.#sums[range]!, true);
    }
    return { name, count: this.#count, digest: hex(checksum64(ranges)), ranges };
  }
}

function rangeOf(key: Uint8Array): number {
  return checksum32(key) & (DIGEST_RANGES - 1);
}

/** Rows with an id, whatever their order and the order of their fields. */
function canonicalRows(rows: readonly { readonly id: string }[]): unknown {
  const sorted = [...rows].sort((a, b) => (a.id < b.id ? -1 : 1));
  return sorted.map((row) => Object.entries(row).sort());
}

function digestOfValue(value: unknown): string {
  return hex(checksum64(encodeCbor(value)));
}

function digestOfAll(
  position: StatePosition,
  parts: Pick<StateDigest, "sessions" | "members" | "bindings"> & { readonly droppedAt: number },
  collections: readonly CollectionDigest[],
): string {
  const writer = new ByteWriter(1024).text(positionText(position));
  writer.text(parts.sessions).text(parts.members).text(parts.bindings).u32(collections.length);
  writer.u64(parts.droppedAt);
  for (const { name, count, catalog, digest } of collections) {
    writer.text(name).u64(count).text(catalog).text(digest);
  }
  return hex(checksum64(writer.written()));
}

function positionText({ index, term, nextSequence, timeMs }: StatePosition): string {
  return `${index} ${term} ${nextSequence} ${timeMs}`;
}

function hex(value: bigint): string {
  return value.toString(16).padStart(16, "0");
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const size = Math.min(a.byteLength, b.byteLength);
  for (let i = 0; i < size; i += 1) {
    if (a[i] !== b[i]) return a[i]! - b[i]!;
  }
  return a.byteLength - b.byteLength;
}
