/**
 * Expired documents, in which a date is long enough ago: no read finds them, and the leader
 * removes them.
 *
 * @module
 */

import type { RulesVersion } from "../base/rules_version.ts";
import { encodeCbor } from "../protocol/encoding/cbor.ts";
import type { DocumentOperation } from "../protocol/encoding/command.ts";
import { isSameInFilters } from "../query/path.ts";
import type { CollectionStore } from "./collection/collection_store.ts";
import { expiriesAt } from "./collection/expiry_rule.ts";

/** Expired documents that are counted at once. */
const OVERDUE_MAX = 5000;

/** Documents that are not over at a time; undefined when too many are, and not removed yet. */
export function countAt(store: CollectionStore, nowMs: number): number | undefined {
  if (!store.indexes.hasExpiry) return store.count;
  const overdue = new Set<number>();
  for (const { index, beforeMs } of expiriesAt(store.indexes, nowMs)) {
    const found = index.before(beforeMs, OVERDUE_MAX);
    if (found.length === OVERDUE_MAX) return undefined;
    for (const location of found) overdue.add(location);
  }
  return store.count - overdue.size;
}

/** Removals in one collection; each is for a document that has expired when it is executed. */
export interface DueRemovals {
  readonly collection: string;
  readonly operations: readonly DocumentOperation[];
}

/** The first collection's removals that are due, `count` at most; undefined when there are none. */
export function dueRemovals(
  collections: Iterable<CollectionStore>,
  at: { readonly nowMs: number; readonly rules: RulesVersion },
  count: number,
): DueRemovals | undefined {
  for (const store of collections) {
    // Each node drops what has expired there in its own time.
    if (store.collectionId > 0) continue;
    const operations = expiredIn(store, at, count);
    if (operations.length > 0) return { collection: store.name, operations };
  }
  return undefined;
}

function expiredIn(
  store: CollectionStore,
  { nowMs, rules }: { readonly nowMs: number; readonly rules: RulesVersion },
  count: number,
): DocumentOperation[] {
  for (const { index, path, beforeMs } of expiriesAt(store.indexes, nowMs)) {
    // Its removals would find nothing, again and again: what has expired stays hidden.
    if (!isSameInFilters(path, rules)) continue;
    const found = index.before(beforeMs, count);
    if (found.length === 0) continue;
    const filter = { [path]: { $lt: new Date(beforeMs) } };
    const document = encodeCbor({ filter }).slice();
    return [...new Set(found)].map((location) => {
      return { kind: "REMOVE", key: store.key(location).slice(), document };
    });
  }
  return [];
}
