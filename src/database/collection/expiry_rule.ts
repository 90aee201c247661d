/**
 * When a document of a collection expires.
 *
 * @module
 */

import { INDEX_ENTRIES_MAX } from "../../base/limits.ts";
import { FIRST_RULES } from "../../base/rules_version.ts";
import type { Fields } from "../../base/value.ts";
import { expiryOf } from "../../protocol/encoding/catalog_command.ts";
import { parsePath, spreadAt } from "../../query/path.ts";
import type { CollectionIndex } from "./collection_index.ts";
import type { CollectionIndexes } from "./collection_indexes.ts";

/** An index by which documents expire. */
export interface Expiry {
  readonly index: CollectionIndex;
  readonly path: string;
  /** Dates before it are over, in ms since 1970. */
  readonly beforeMs: number;
}

/** The indexes that serve by which documents expire. */
export function* expiriesAt(indexes: CollectionIndexes, nowMs: number): Generator<Expiry> {
  for (const index of indexes.all()) {
    const afterMs = expiryOf(index.definition);
    if (afterMs === undefined || !index.isReady) continue;
    yield { index, path: index.definition.paths[0]?.path ?? "", beforeMs: nowMs - afterMs };
  }
}

/** When a document expires, in ms since 1970; undefined where it never does. */
export function expiryTime(indexes: CollectionIndexes, document: Fields): number | undefined {
  if (!indexes.hasExpiry) return undefined;
  let earliest: number | undefined;
  for (const { path, beforeMs } of expiriesAt(indexes, 0)) {
    const { values } = spreadAt(document, parsePath(path, FIRST_RULES), INDEX_ENTRIES_MAX);
    for (const value of values) {
      if (!(value instanceof Date)) continue;
      // Dates before now less the time after which it expires are over.
      const timeMs = value.getTime() - beforeMs + 1;
      if (earliest === undefined || timeMs < earliest) earliest = timeMs;
    }
  }
  return earliest;
}

/** Which documents are expired at a time, in ms since 1970; undefined where none ever is. */
export function expiryAt(
  indexes: CollectionIndexes,
  nowMs: number,
): ((document: Fields) => boolean) | undefined {
  if (!indexes.hasExpiry) return undefined;
  const rules = [...expiriesAt(indexes, nowMs)].map(({ path, beforeMs }) => {
    return { path: parsePath(path, FIRST_RULES), beforeMs };
  });
  return (document) =>
    rules.some(({ path, beforeMs }) => {
      const { values } = spreadAt(document, path, INDEX_ENTRIES_MAX);
      return values.some((value) => value instanceof Date && value.getTime() < beforeMs);
    });
}
