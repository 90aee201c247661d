/**
 * The conditions of a transaction: what it had read must still be so when it is applied.
 *
 * @module
 */

import { type CStoreError, ValidationError } from "../base/errors.ts";
import type { CollectionStore } from "./collection/collection_store.ts";
import { transactionConflict, wrongMode } from "./refusals.ts";

/** The state that conditions are compared with. */
export interface ReadState {
  readonly collections: ReadonlyMap<string, CollectionStore>;
  /** Sequence number of the command that dropped a collection last. */
  readonly droppedAt: number;
  /** By which documents expire, in milliseconds since 1970. */
  readonly nowMs: number;
}

/** Why the first of a transaction's conditions that does not hold refuses it. */
export function conflictOf(conditions: unknown, state: ReadState): CStoreError | undefined {
  if (!Array.isArray(conditions)) {
    return new ValidationError("Cannot execute the transaction: its conditions are no list");
  }
  for (const condition of conditions) {
    const [name, key, version] = Array.isArray(condition) ? condition : [];
    if (typeof name !== "string" || typeof version !== "number") {
      return new ValidationError("Cannot execute the transaction: a condition is not known");
    }
    const store = state.collections.get(name);
    if (store !== undefined && store.collectionId > 0) return wrongMode(store);
    if (key instanceof Uint8Array) {
      const now = store?.versionAt(store.locate(key), state.nowMs) ?? 0;
      if (now !== version) return transactionConflict(name);
    } else if (Math.max(store?.changedAt ?? 0, state.droppedAt) > version) {
      return transactionConflict(name);
    }
  }
  return undefined;
}
