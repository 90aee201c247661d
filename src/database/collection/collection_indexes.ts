/**
 * The indexes of one collection, kept equal to its documents; and the making of new ones in small
 * steps, while writes go on.
 *
 * @module
 */

import {
  type CStoreError,
  DuplicateKeyError,
  QueryError,
  ValidationError,
  withoutStack,
} from "../../base/errors.ts";
import { bytesOfLatin, latinText } from "../../base/order_key.ts";
import { type Fields, shortText } from "../../base/value.ts";
import { expiryOf, type IndexDefinition } from "../../protocol/encoding/catalog_command.ts";
import { decodeCbor } from "../../protocol/encoding/cbor.ts";
import { type DocumentId, decodeKey } from "../../protocol/encoding/document_key.ts";
import { parsePath, valueAt } from "../../query/path.ts";
import { CollectionIndex } from "./collection_index.ts";
import type { Location, SlabRecord } from "./document_slab.ts";

/** Work of one step of making an index, about two milliseconds: documents, and their KiB. */
const BUILD_STEP_DOCUMENTS = 500;

/** The rest of the work on a new index. */
interface Build {
  readonly index: CollectionIndex;
  readonly records: Generator<SlabRecord>;
  /** Called once, when nothing is left or the index is dropped. */
  end(): void;
}

/** Indexes by name. */
export class CollectionIndexes {
  readonly #indexes = new Map<string, CollectionIndex>();
  readonly #builds = new Map<string, Build>();
  readonly #collection: string;
  readonly #seed: number;

  /** `seed` hides the places of values; it is not part of the state. */
  constructor(collection: string, seed: number) {
    this.#collection = collection;
    this.#seed = seed;
  }

  get count(): number {
    return this.#indexes.size;
  }

  /** Whether documents expire by one of them. */
  get hasExpiry(): boolean {
    for (const { definition, isReady } of this.#indexes.values()) {
      if (expiryOf(definition) !== undefined && isReady) return true;
    }
    return false;
  }

  /** Whether an index is being made. */
  get isBuilding(): boolean {
    return this.#builds.size > 0;
  }

  all(): Iterable<CollectionIndex> {
    return this.#indexes.values();
  }

  get(name: string): CollectionIndex | undefined {
    return this.#indexes.get(name);
  }

  /** Adds an index whose documents are all still to come: one of a snapshot. */
  restore(definition: IndexDefinition, isReady: boolean): void {
    const index = new CollectionIndex(definition, this.#seed);
    index.isReady = isReady;
    this.#indexes.set(definition.name, index);
    // An unfinished index is complete when the documents are back; the leader settles it.
    const build = { index, records: noRecords(), end: () => undefined };
    if (!isReady) this.#builds.set(definition.name, build);
  }

  /** Adds an index over documents that are there. */
  begin(
    definition: IndexDefinition,
    source: { readonly records: Generator<SlabRecord>; end(): void },
  ): void {
    const index = new CollectionIndex(definition, this.#seed);
    this.#indexes.set(definition.name, index);
    this.#builds.set(definition.name, { index, ...source });
  }

  /** Puts some more documents into new indexes. Names of those that need no more. */
  buildStep(documents = BUILD_STEP_DOCUMENTS): readonly string[] {
    const done: string[] = [];
    for (const [name, build] of this.#builds) {
      if (isAtEnd(build, documents)) done.push(name);
    }
    return done;
  }

  /**
   * All documents are in the index from now on, for all nodes at the same entry: what this one has
   * not done yet it does now. Gives why the index cannot be; then it is gone. With `isOfState` the
   * documents are the same on all nodes; without, the index serves where it holds all of them.
   */
  settle(name: string, { isOfState }: { readonly isOfState: boolean }): CStoreError | undefined {
    const build = this.#builds.get(name);
    if (build === undefined) return undefined;
    while (!isAtEnd(build, BUILD_STEP_DOCUMENTS));
    build.end();
    this.#builds.delete(name);
    const { index } = build;
    const isDouble = index.definition.isUnique && index.hasDuplicates;
    const problem = isDouble
      ? notUnique(index, this.#collection)
      : isOfState && index.unfit.size > 0
        ? unfit(index, this.#collection)
        : undefined;
    if (problem === undefined) index.isReady = true;
    else this.#indexes.delete(name);
    return problem;
  }

  /** Whether there was one. */
  drop(name: string): boolean {
    this.#builds.get(name)?.end();
    this.#builds.delete(name);
    return this.#indexes.delete(name);
  }

  /** Drops all of them. */
  clear(): void {
    for (const name of [...this.#indexes.keys()]) this.drop(name);
  }

  /**
   * Why a document may not be written. `isDuplicateLast`: that another document has its value is
   * the answer only if nothing else is.
   */
  problem(key: Uint8Array, document: Uint8Array, isDuplicateLast = false): CStoreError | undefined {
    const fields = decodeCbor(document) as Fields;
    const documentKey = latinText(key);
    let double: CStoreError | undefined;
    try {
      for (const index of this.#indexes.values()) {
        const { definition } = index;
        const keys = index.keysOf(fields);
        if (!definition.isUnique || !index.isReady) continue;
        const taken = keys.find((one) => index.isTaken(one, documentKey));
        if (taken === undefined) continue;
        const values = definition.paths.map(({ path }) => valueAt(fields, parsePath(path)));
        const shared = index.valueOf(fields, taken);
        double ??= duplicate(index, {
          place: { collection: this.#collection, id: decodeKey(key) },
          holder: index.holderOf(taken, documentKey),
          value: shared === undefined ? values.map(shortText).join(", ") : shortText(shared),
        });
        if (!isDuplicateLast) return double;
      }
    } catch (error) {
      const isRefusal = error instanceof ValidationError || error instanceof QueryError;
      if (!isRefusal) throw error;
      return withPlace(error, { collection: this.#collection, id: decodeKey(key) });
    }
    return double;
  }

  /** A document is at another place, or is another one, or is gone. */
  put(
    key: Uint8Array,
    change: { readonly before: Uint8Array | undefined; readonly after: Uint8Array | undefined },
    place: { readonly before: Location; readonly after: Location },
  ): void {
    const documentKey = latinText(key);
    const { before, after } = change;
    const old = before && (decodeCbor(before) as Fields);
    const now = after === before ? old : after && (decodeCbor(after) as Fields);
    for (const index of this.#indexes.values()) {
      const gone = old === undefined || old === now ? [] : keysIn(index, old, documentKey);
      index.unfit.delete(documentKey);
      const keys = now === undefined ? [] : keysIn(index, now, documentKey);
      const kept = new Set(keys);
      index.remove(
        gone.filter((one) => !kept.has(one)),
        documentKey,
        place.before,
      );
      index.add(keys, documentKey, place);
    }
  }
}

/** A document that was there before the index may be one that it cannot hold: that is noted. */
function keysIn(index: CollectionIndex, document: Fields, documentKey: string): readonly string[] {
  try {
    return index.keysOf(document);
  } catch (error) {
    if (!(error instanceof ValidationError || error instanceof QueryError)) throw error;
    index.unfit.add(documentKey);
    return [];
  }
}

function isAtEnd(build: Build, documents: number): boolean {
  for (let work = 0; work < documents; ) {
    const next = build.records.next();
    if (next.done === true) return true;
    const { key, document, location } = next.value;
    work += 1 + (document.byteLength >> 10);
    const documentKey = latinText(key);
    const keys = keysIn(build.index, decodeCbor(document) as Fields, documentKey);
    build.index.add(keys, documentKey, { after: location });
  }
  return false;
}

function* noRecords(): Generator<SlabRecord> {
  // Nothing is left to do.
}

/** The remedy names value and holder: the message itself is kept with the session, and is state. */
function duplicate(
  { definition: { name: index, ignoresCase, collation } }: CollectionIndex,
  violation: {
    readonly place: { readonly collection: string; readonly id: DocumentId };
    /** Key of the document that has the value, as text. */
    readonly holder: string;
    readonly value: string;
  },
): CStoreError {
  const { place, holder, value } = violation;
  const message = `Cannot write the document: unique index ${index} already contains its value`;
  const other = shortText(decodeKey(bytesOfLatin(holder)));
  const isSame = !ignoresCase && collation === undefined;
  const what = isSame ? "the value" : "a value that counts as";
  const remedy = `Document ${other} has ${what} ${value}: give document ${shortText(place.id)} another one, or change that one`;
  return withoutStack(
    () => new DuplicateKeyError(message, { remedy, fields: { ...place, index } }),
  );
}

/** The same refusal, with the document that it is about. */
function withPlace(
  error: ValidationError | QueryError,
  place: { readonly collection: string; readonly id: DocumentId },
): CStoreError {
  const { message, fields } = error;
  const remedy = error.remedy ?? `The document is ${shortText(place.id)}`;
  const make = error instanceof QueryError ? QueryError : ValidationError;
  return withoutStack(() => new make(message, { remedy, fields: { ...place, ...fields } }));
}

function notUnique(
  { definition: { name: index } }: CollectionIndex,
  collection: string,
): CStoreError {
  return new DuplicateKeyError(
    `Cannot make the unique index ${index}: several documents have the same value`,
    { remedy: "Change all of them but one, and make it again", fields: { collection, index } },
  );
}

function unfit(
  { definition: { name: index }, unfit: keys }: CollectionIndex,
  collection: string,
): CStoreError {
  return new ValidationError(
    `Cannot make the index ${index}: ${keys.size} documents hold too much for it`,
    { fields: { collection, index } },
  );
}
