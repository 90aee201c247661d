/**
 * Documents that are to be removed because the date in them is long enough ago.
 *
 * @module
 */

import { encodeCbor } from "../protocol/cbor.ts";
import type { DocumentOperation } from "../protocol/command.ts";
import type { CollectionStore } from "./collection_store.ts";

/** Removals in one collection; each is for a document whose time is over when it is executed. */
export interface DueRemovals {
  readonly collection: string;
  readonly operations: readonly DocumentOperation[];
}

/** The first collection's removals that are due, `count` at most; undefined when there are none. */
export function dueRemovals(
  collections: Iterable<CollectionStore>,
  nowMs: number,
  count: number,
): DueRemovals | undefined {
  for (const store of collections) {
    const operations = expiredIn(store, nowMs, count);
    if (operations.length > 0) return { collection: store.name, operations };
  }
  return undefined;
}

function expiredIn(store: CollectionStore, nowMs: number, count: number): DocumentOperation[] {
  for (const index of store.indexes.all()) {
    const { expiresAfterMs, paths } = index.definition;
    if (expiresAfterMs === 0 || !index.isReady) continue;
    const timeMs = nowMs - expiresAfterMs;
    const found = index.before(timeMs, count);
    if (found.length === 0) continue;
    const filter = { [paths[0]?.path ?? ""]: { $lt: new Date(timeMs) } };
    const document = encodeCbor({ filter }).slice();
    return [...new Set(found)].map((location) => {
      return { kind: "REMOVE", key: store.key(location).slice(), document };
    });
  }
  return [];
}
