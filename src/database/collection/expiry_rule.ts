/**
 * When a document of a collection expires.
 *
 * @module
 */

import { INDEX_ENTRIES_MAX } from "../../base/limits.ts";
import type { Fields } from "../../base/value.ts";
import { expiryOf } from "../../protocol/encoding/catalog_command.ts";
import { parsePath, spreadAt } from "../../query/path.ts";
import type { CollectionIndexes } from "./collection_indexes.ts";

/** Which documents are expired at a time, in ms since 1970; undefined where none ever is. */
export function expiryAt(
  indexes: CollectionIndexes,
  nowMs: number,
): ((document: Fields) => boolean) | undefined {
  if (!indexes.hasExpiry) return undefined;
  const rules = [...indexes.all()].flatMap(({ definition, isReady }) => {
    const afterMs = expiryOf(definition);
    if (afterMs === undefined || !isReady) return [];
    return [{ path: parsePath(definition.paths[0]?.path ?? ""), beforeMs: nowMs - afterMs }];
  });
  return (document) =>
    rules.some(({ path, beforeMs }) => {
      const { values } = spreadAt(document, path, INDEX_ENTRIES_MAX);
      return values.some((value) => value instanceof Date && value.getTime() < beforeMs);
    });
}
