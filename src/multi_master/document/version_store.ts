/**
 * Where the versions of documents are kept: the memory of a node, whatever its form.
 *
 * @module
 */

import type { CollectionId } from "../operation/dot.ts";

import type { DocumentVersion } from "../operation/operation.ts";
import type { VersionVector } from "../operation/version_vector.ts";

/** One document with its versions, as it travels in a seed. */
export interface StoredDocument {
  readonly collection: CollectionId;
  /** The document's id, encoded. */
  readonly key: Uint8Array;
  /** The newest last. */
  readonly versions: readonly DocumentVersion[];
}

/** A moment of a store, readable while writes go on. */
export interface FrozenVersions {
  /** Every document of that moment, the removed ones included; in no order. */
  documents(): IterableIterator<StoredDocument>;
  /** To be called once the moment is not needed any more. */
  release(): void;
}

/** Versions by collection and key. */
export interface VersionStore {
  /** Documents, the removed ones included. */
  readonly size: number;
  /** The versions of a document, the newest last; none if it was never written. */
  versions(collection: CollectionId, key: Uint8Array): readonly DocumentVersion[];
  /**
   * Keeps what `change` makes of the versions of a document; without any, it forgets the document.
   * The same array again changes nothing.
   */
  update(
    collection: CollectionId,
    key: Uint8Array,
    change: (before: readonly DocumentVersion[]) => readonly DocumentVersion[],
  ): void;
  /**
   * Every operation that comes has seen these: of a sole version at or below, the context is needed
   * no more, and may be given as empty.
   */
  settle(floor: VersionVector): void;
  /** Forgets a collection. */
  drop(collection: CollectionId): void;
  /** Every document, the removed ones included; in no order. */
  documents(): IterableIterator<StoredDocument>;
  freeze(): FrozenVersions;
}
