/**
 * The words of writing on every node. Sequences start at 1; 0 means "none yet".
 *
 * @module
 */

import type { Fields, Value } from "../base/value.ts";
import type { Dot } from "./dot.ts";
import type { VersionVector } from "./version_vector.ts";

/**
 * A time of the hybrid clock. Orders concurrent versions only: {@link VersionVector}s decide which
 * version came after which.
 */
export interface Stamp {
  /** ms since 1970. */
  readonly wallMs: number;
  /** Counts stamps of one millisecond. */
  readonly count: number;
}

/**
 * A part of a document that is settled by itself. `value`: a field, the newest counts. `count`:
 * what one origin added to a number. `item`: an element of an array that is a set.
 */
export interface Part {
  readonly field: string;
  readonly kind: "value" | "count" | "item";
  readonly dot: Dot;
  readonly stamp: Stamp;
  readonly value: Value;
}

/** Content of a version: a whole document, its parts, or the fact that it was removed. */
export type Content =
  | { readonly kind: "whole"; readonly body: Fields }
  | { readonly kind: "parts"; readonly parts: readonly Part[] }
  | { readonly kind: "removed" };

/** One version of a document, whole in itself: it needs no other to be read. */
export interface DocumentVersion {
  readonly dot: Dot;
  /** The operations that its writer had seen, `dot` apart. */
  readonly context: VersionVector;
  readonly stamp: Stamp;
  readonly content: Content;
}

/** One document in an operation. */
export interface Change {
  readonly collection: string;
  /** The document's id, encoded. */
  readonly key: string;
  readonly content: Content;
}

/** Changes that one origin logged at once: applied whole or not at all, everywhere. */
export interface Operation extends Dot {
  readonly stamp: Stamp;
  /**
   * All operations that its writer had seen. What it had seen of its documents alone would leave
   * out removals that it has forgotten, and others have not.
   */
  readonly context: VersionVector;
  readonly changes: readonly Change[];
}
