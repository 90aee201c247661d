/**
 * Conflicts in collections that every node writes, as callers see them.
 *
 * @module
 */

import type { DocumentId } from "../protocol/encoding/document_key.ts";

/** Which conflicts are listed. */
export interface ConflictOptions {
  /** Of one document. */
  readonly id?: DocumentId;
  /** Documents at most; 100 unless set, and no more than 1000. */
  readonly limit?: number;
  /** Longest wait of the request, in milliseconds. */
  readonly timeoutMs?: number;
}

/** One version of a document that no other one follows. */
export interface ConflictSibling<T = unknown> {
  readonly document: T;
  /** The node that wrote it. */
  readonly nodeId: string;
  /** By that node's clock, in ms since 1970. */
  readonly writtenMs: number;
}

/** One document in conflict. */
export interface Conflict<T = unknown> {
  readonly id: DocumentId;
  /** What readers see, by the collection's rule; undefined: nothing. */
  readonly document: T | undefined;
  /** The newest comes last. */
  readonly siblings: readonly ConflictSibling<T>[];
  /** Why the collection's resolver gave no document; undefined unless it failed. */
  readonly failure: string | undefined;
}

/** Conflicts of a collection. */
export interface ConflictList<T = unknown> {
  /** All there are, also those that are not listed. */
  readonly total: number;
  readonly conflicts: readonly Conflict<T>[];
}
