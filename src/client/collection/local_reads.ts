/**
 * Reads without a request.
 *
 * @module
 */

import type { WireQuery } from "./query_client.ts";

/** A document, decoded and private, and its version. */
export interface LocalDocument {
  /** 0: there is none. */
  readonly version: number;
  readonly document: unknown;
}

/** Reads of a database whose only node is in this process. */
export interface LocalReads {
  /** `key`: as `encodeKey` gives it. */
  read(collection: string, key: Uint8Array): LocalDocument;
  /**
   * Answers a query; undefined when it takes longer than a moment. Throws
   * QueryError, ValidationError.
   */
  find(
    collection: string,
    query: WireQuery & { readonly idField: string },
  ): readonly LocalDocument[] | undefined;
}
