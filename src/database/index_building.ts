/**
 * The making of indexes for documents that are there already, little by little.
 *
 * @module
 */

import type { CollectionStore } from "./collection/collection_store.ts";

/** Whether an index is being made. */
export function isBuilding(collections: Iterable<CollectionStore>): boolean {
  for (const { indexes } of collections) if (indexes.isBuilding) return true;
  return false;
}

/**
 * Goes on with the making of indexes, a little. Gives those whose documents are all in: the leader
 * proposes that they serve.
 */
export function buildIndexes(
  collections: Iterable<CollectionStore>,
): { readonly collection: string; readonly index: string }[] {
  return [...collections].flatMap((store) => {
    if (!store.indexes.isBuilding) return [];
    return store.indexes.buildStep().map((index) => ({ collection: store.name, index }));
  });
}
