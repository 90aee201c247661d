/**
 * Documents on their way in, and what readers see of them afterwards.
 *
 * @module
 */

import type { CollectionId } from "../operation/dot.ts";

import type { SeenToken, Stamp } from "../operation/operation.ts";

/** One document to write. */
export interface WrittenDocument {
  readonly collection: CollectionId;
  /** The document's id, encoded. */
  readonly key: Uint8Array;
  /**
   * The document, encoded; `undefined` removes it. A function is given the document as it is read
   * here, and what it gives is written: so that no two changes of one node lose each other.
   */
  readonly body:
    | Uint8Array
    | undefined
    | ((before: Uint8Array | undefined) => Uint8Array | undefined);
  /**
   * What the writer had seen when it was shown the document. Versions that came since stay beside
   * what is written. Without it, the write follows all that the node has.
   */
  readonly seen?: SeenToken;
}

/** Why a write is refused: nothing of it happened. */
export type WriteRefusal =
  /** This node's disk lacks a part of what the writer has seen, at another node. */
  | { readonly reason: "NOT_COVERED" }
  /** There is no such collection here. */
  | { readonly reason: "NO_COLLECTION"; readonly collection: CollectionId }
  /**
   * Removals that came after it was read are forgotten already, or the document has changed where
   * fields are settled one by one: to be read again.
   */
  | { readonly reason: "STALE_READ"; readonly collection: CollectionId; readonly key: Uint8Array };

/** One document that an operation changed, as readers see it. */
export interface VisibleChange {
  readonly collection: CollectionId;
  readonly key: Uint8Array;
  /** The document before and after, encoded; `undefined`: there was none. */
  readonly before: Uint8Array | undefined;
  readonly after: Uint8Array | undefined;
  /** Of the newest version; undefined where none is kept. */
  readonly stamp: Stamp | undefined;
  /** Whether several versions stand beside each other now. */
  readonly isConflict: boolean;
}
