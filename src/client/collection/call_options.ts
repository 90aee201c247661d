/**
 * Names of the options of calls, so that one that is misspelt is refused.
 *
 * @module
 */

import type { KnownNames } from "../../base/known_options.ts";

/** Of writes by id. */
export const WRITE_OPTIONS: KnownNames = new Set(["ifVersion", "merge"]);
/** Of changes of all documents that a query finds. */
export const CHANGE_OPTIONS: KnownNames = new Set(["merge"]);
/** Of calls that have none. */
export const NO_OPTIONS: KnownNames = new Set([]);
/** Of changes by id. */
export const UPDATE_OPTIONS: KnownNames = new Set(["ifVersion", "merge", "upsert"]);
/** Of `updateOne` and `replaceOne`. */
export const UPSERT_OPTIONS: KnownNames = new Set(["upsert"]);
/** Of `findOneAndUpdate`. */
export const FOUND_OPTIONS: KnownNames = new Set(["upsert", "sort", "returnDocument"]);
/** Of reads by id, and of `count`. */
export const READ_OPTIONS: KnownNames = new Set(["read", "timeoutMs", "signal"]);
/** Of queries. */
export const FIND_OPTIONS: KnownNames = new Set([
  ...["sort", "skip", "limit", "projection", "hint", "read", "timeoutMs", "signal"],
]);
/** Of `findPage`. */
export const PAGE_OPTIONS: KnownNames = new Set([
  ...["sort", "limit", "after", "read", "timeoutMs", "signal"],
]);
/** Of `createIndex`. */
export const INDEX_OPTIONS: KnownNames = new Set([
  ...["keys", "unique", "sparse", "ignoreCase", "where", "expireAfterMs"],
]);
/** Of a handle of a collection. */
export const COLLECTION_OPTIONS: KnownNames = new Set([
  ...["idField", "read", "timeoutMs", "isOutsideTransactions", "ids", "validator"],
]);
/** Of `createCollection`. */
export const SETTINGS: KnownNames = new Set(["ids", "validator"]);
/** Of transactions. */
export const TRANSACTION_OPTIONS: KnownNames = new Set(["timeoutMs", "readOnly"]);
/** Of `watch`. */
export const WATCH_OPTIONS: KnownNames = new Set(["since", "collection", "signal", "onPosition"]);
