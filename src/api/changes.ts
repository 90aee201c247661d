/**
 * Changes of documents as change streams give them.
 *
 * @module
 */

import type { DocumentId } from "../protocol/encoding/document_key.ts";

/** When and where a change took effect. */
export interface ChangePlace {
  /** Its place: a stream `since` this begins behind it. Also the document's version. */
  readonly sequence: number;
  /** When the leader logged it, in ms since 1970. */
  readonly timeMs: number;
  readonly collection: string;
}

/** A document was inserted, or put whether there was one or not. */
export interface PutChange<T = unknown> extends ChangePlace {
  readonly type: "insert" | "put";
  readonly id: DocumentId;
  readonly document: T;
  readonly change?: undefined;
}

/** A document was changed, or made by an upsert. */
export interface UpdateChange<T = unknown> extends ChangePlace {
  readonly type: "update";
  readonly id: DocumentId;
  /**
   * As this update left it; undefined when the node that answers has forgotten it: it was changed
   * since, and is not among the last 8 MiB of documents that updates made since the node's start.
   */
  readonly document?: T;
  /** Merged fields, or operators. */
  readonly change: unknown;
}

/** A document was removed; or, `drop`, a collection with all its documents. */
export interface RemoveChange extends ChangePlace {
  readonly type: "remove" | "drop";
  /** Undefined for `drop`. */
  readonly id?: DocumentId;
  readonly document?: undefined;
  readonly change?: undefined;
}

/** One change that took effect, in the order of all changes. */
export type Change<T = unknown> = PutChange<T> | UpdateChange<T> | RemoveChange;

/** Scope and starting place of a change stream. */
export interface WatchOptions {
  /** Sequence number of the last change that is known; from now on unless set. */
  readonly since?: number;
  /** Limits the stream to one collection. */
  readonly collection?: string;
  /** Ends the stream, also while it waits. */
  readonly signal?: AbortSignal;
  /** Called with each place that was reached, also when no change was delivered. */
  readonly onPosition?: (since: number) => void;
}
