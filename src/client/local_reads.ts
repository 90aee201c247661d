/**
 * Reads without a request.
 *
 * @module
 */

/** A document, decoded and private, and its version. */
export interface LocalDocument {
  /** 0: there is none. */
  readonly version: number;
  readonly document: unknown;
}

/** What a database gives whose only node is in this process. */
export interface LocalReads {
  /** `key`: as `encodeKey` gives it. */
  read(collection: string, key: Uint8Array): LocalDocument;
  /**
   * Answers a query as it would go over the wire; undefined when it takes longer than a moment.
   * Throws QueryError, ValidationError.
   */
  find(
    collection: string,
    fields: Readonly<Record<string, unknown>>,
  ): readonly LocalDocument[] | undefined;
}
