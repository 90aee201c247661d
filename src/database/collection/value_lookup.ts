/**
 * The most frequent query of all, documents with one value at one indexed path, answered without
 * a plan.
 *
 * @module
 */

import type { Fields, Value } from "../../base/value.ts";
import { decodeCbor } from "../../protocol/encoding/cbor.ts";
import { hasEscapes } from "../../query/path.ts";
import type { CollectionIndex } from "./collection_index.ts";
import type { CollectionStore } from "./collection_store.ts";
import type { Location } from "./document_slab.ts";
import type { FoundNow } from "./query_run.ts";

/** Documents that are read without giving others a turn. */
const DOCUMENTS_MAX = 256;

/** A query for one value. */
export interface ValueQuery {
  readonly filter: Fields;
  readonly idField: string;
  /** 0: all. */
  readonly limit: number;
}

/** The documents, decoded and private; undefined when a plan is needed. */
export function lookUp(
  store: CollectionStore,
  { filter, idField, limit }: ValueQuery,
): FoundNow[] | undefined {
  const names = Object.keys(filter);
  const path = names[0];
  if (path === undefined || names.length > 1 || path === idField || path.startsWith("$")) return;
  const value = filter[path];
  if (!isPlain(value)) return undefined;
  const index = indexOf(store, path);
  if (index === undefined || store.indexes.hasExpiry) return undefined;
  const key = index.keyOf(value, index.definition.paths[0]?.order ?? 1);
  const found: FoundNow[] = [];
  const isField = !path.includes(".");
  const isDone = index.visitFew(key, (location) => {
    const document = decodeCbor(store.document(location)) as Fields;
    // Another value may have the same hash.
    const isIt = (isField && document[path] === value) || index.keysOf(document).includes(key);
    if (isIt) found.push({ version: store.version(location), document });
    return found.length === limit && limit > 0;
  });
  return isDone ? found : searched(store, index, { key, limit });
}

/** The same by the tree. */
function searched(
  store: CollectionStore,
  index: CollectionIndex,
  { key, limit }: { readonly key: string; readonly limit: number },
): FoundNow[] | undefined {
  const found: FoundNow[] = [];
  const locations: Location[] = [];
  const areFew = index.hasFew(key);
  let isTooMuch = false;
  index.forKey(key, (_entry, location) => {
    locations.push(location);
    const isEnough = found.length === limit && limit > 0;
    // Few are looked at to the end, so that the next search need not.
    if (isEnough) return areFew ? undefined : { break: true };
    isTooMuch = found.length === DOCUMENTS_MAX;
    if (isTooMuch) return { break: true };
    const document = decodeCbor(store.document(location)) as Fields;
    found.push({ version: store.version(location), document });
    return undefined;
  });
  if (areFew) index.noteAll(key, locations);
  return isTooMuch ? undefined : found;
}

/** Whether the value needs no plan; a plan refuses invalid values. */
function isPlain(value: Value): value is string | number | boolean {
  if (typeof value === "string") return value.isWellFormed();
  return typeof value === "boolean" || (typeof value === "number" && Number.isFinite(value));
}

/** An index of that path alone, in which every document has one entry, with its value as it is. */
function indexOf(store: CollectionStore, path: string): CollectionIndex | undefined {
  for (const index of store.indexes.all()) {
    const { paths, ignoresCase, collation, where } = index.definition;
    const isOnly = paths.length === 1 && paths[0]?.path === path && where === undefined;
    const isExact = !ignoresCase && collation === undefined;
    if (isOnly && !hasEscapes(path) && index.isWhole && !index.isMultiple && isExact) return index;
  }
  return undefined;
}
