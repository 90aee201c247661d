/**
 * What clients ask of a node that takes writes, and what they are told.
 *
 * @module
 */

import type { Resolution } from "./document/conflict_resolver.ts";
import type { WriteRefusal, WrittenDocument } from "./document/written_document.ts";
import type { Dot } from "./operation/dot.ts";
import type { Operation, RequestName } from "./operation/operation.ts";

/** What a client wants written: all of the documents or none. */
export interface WriteRequest {
  readonly documents: readonly WrittenDocument[];
  readonly request?: RequestName;
}

/** What became of a write. */
export type WriteResult =
  /** It is answered once that Ready is persisted. */
  | { readonly kind: "written"; readonly operation: Operation; readonly afterReady: number }
  /** The request was carried out before, here or on another node. */
  | { readonly kind: "known"; readonly dot: Dot; readonly afterReady: number }
  | { readonly kind: "refused"; readonly refusal: WriteRefusal };

/** A document as it is read here. */
export interface ReadResult extends Resolution {
  /**
   * It shows what is on disk once that Ready is persisted; 0: it is already. Before, a crash of
   * this node may take back what was read.
   */
  readonly afterReady: number;
}
