/**
 * Names of the options of calls, so that one that is misspelt is refused.
 *
 * @module
 */

import type { ReadOptions } from "../../api/query.ts";
import { ValidationError } from "../../base/errors.ts";
import { checkCallOptions, type KnownNames } from "../../base/known_options.ts";
import { readLevelNumber } from "../../protocol/wire/client_message.ts";

/** Of writes by id. */
export const WRITE_OPTIONS: KnownNames = new Set(["ifVersion", "merge", "ack"]);
/** Of changes of all documents that a query finds. */
export const CHANGE_OPTIONS: KnownNames = new Set(["merge"]);
/** Of calls that have none. */
export const NO_OPTIONS: KnownNames = new Set([]);
/** Of changes by id. */
export const UPDATE_OPTIONS: KnownNames = new Set(["ifVersion", "merge", "ack", "upsert"]);
/** Of `updateOne` and `replaceOne`. */
export const UPSERT_OPTIONS: KnownNames = new Set(["upsert"]);
/** Of `findOneAndUpdate`. */
export const FOUND_OPTIONS: KnownNames = new Set(["upsert", "sort", "collation", "returnDocument"]);
/** Of reads by id, and of `count`. */
export const READ_OPTIONS: KnownNames = new Set(["read", "timeoutMs", "signal"]);
/** Of queries. */
export const FIND_OPTIONS: KnownNames = new Set([
  ...["sort", "collation", "skip", "limit", "projection", "hint", "read", "timeoutMs", "signal"],
]);
/** Of `findPage`. */
export const PAGE_OPTIONS: KnownNames = new Set([
  ...["sort", "collation", "limit", "after", "read", "timeoutMs", "signal"],
]);
/** Of `createIndex`. */
export const INDEX_OPTIONS: KnownNames = new Set([
  ...["keys", "unique", "sparse", "ignoreCase", "collation", "where", "expireAfterMs"],
]);
/** Of a handle of a collection. */
export const COLLECTION_OPTIONS: KnownNames = new Set([
  ...["idField", "read", "timeoutMs", "isOutsideTransactions", "ids", "validator", "ack"],
]);
/** Of `createCollection`. */
export const SETTINGS: KnownNames = new Set([
  ...["ids", "validator", "documentSizeMax", "mode", "conflict"],
]);
/** Of `conflicts`. */
export const CONFLICT_OPTIONS: KnownNames = new Set(["id", "limit", "timeoutMs"]);
/** Of transactions. */
export const TRANSACTION_OPTIONS: KnownNames = new Set(["timeoutMs", "readOnly"]);
/** Of `watch`. */
export const WATCH_OPTIONS: KnownNames = new Set(["since", "collection", "signal", "onPosition"]);

/** Refuses names that are not known, and values of `read`, `timeoutMs` and `signal` that are none. */
export function checkReadOptions(call: string, options: ReadOptions, known: KnownNames): void {
  checkCallOptions(call, options, known);
  checkTimeout(options.timeoutMs);
  if (options.read !== undefined) readLevelNumber(options.read);
  if (options.signal !== undefined && !(options.signal instanceof AbortSignal)) {
    throw new ValidationError(`Cannot call ${call} with this signal: it is no AbortSignal`);
  }
}

/** Throws ValidationError for a time that is no number of milliseconds. */
export function checkTimeout(timeoutMs: unknown): void {
  if (timeoutMs === undefined) return;
  if (typeof timeoutMs === "number" && Number.isFinite(timeoutMs) && timeoutMs > 0) return;
  throw new ValidationError(
    `Cannot wait for timeoutMs ${String(timeoutMs)}: it is a number above 0`,
  );
}

/** Throws ValidationError for anything but the words of `returnDocument`. */
export function checkReturned(returnDocument: unknown): void {
  if ([undefined, "before", "after"].includes(returnDocument as string)) return;
  throw new ValidationError(
    `Cannot give back the document "${String(returnDocument)}": it is "before" or "after"`,
  );
}
