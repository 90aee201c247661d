/**
 * The words of writing on every node. Sequences start at 1; 0 means "none yet".
 *
 * @module
 */

import type { Value } from "../../base/value.ts";

import type { CollectionId, Dot, OriginSequence } from "./dot.ts";
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

/** A client's request, which may reach several nodes and has one effect. */
export interface RequestName {
  readonly session: string;
  /** 1, 2, 3 ... */
  readonly number: number;
  /** The client has the answers to all requests up to this one, and repeats none of them. */
  readonly answered: number;
  /** Whether it was sent before, to whichever node. */
  readonly isRepeat: boolean;
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
  /** Of a count: added for a request that was sent again, so another part may say the same. */
  readonly isApart?: boolean;
  /** See {@link Source}. */
  readonly isSettled?: boolean;
}

/** Where and when parts of a document were written, if not by the version that holds them. */
export interface Source {
  readonly dot: Dot;
  readonly stamp: Stamp;
  /** The dot is that of a pruned version: other nodes may know the part by an earlier one. */
  readonly isSettled?: boolean;
}

/** A part that differs from what {@link Marks} say of all others. */
export interface Mark extends Source {
  readonly field: string;
  /** Of a set: the element. */
  readonly item?: Value;
  /** Of a counter: what the dot's origin added, and whether for a request that was sent again. */
  readonly count?: number;
  readonly isApart?: boolean;
}

/**
 * Which parts of a version's body are older than the version, or stand for several: what is not
 * marked comes from `rest`, and without that from the version itself.
 */
export interface Marks {
  readonly rest?: Source;
  readonly parts: readonly Mark[];
}

/** A document as its writer wrote it, encoded. */
export interface DocumentContent {
  readonly kind: "document";
  readonly body: Uint8Array;
  readonly marks?: Marks;
}

/** Content of a version: the document, or the fact that it was removed. */
export type Content = DocumentContent | { readonly kind: "removed" };

/** A document as a change of an earlier one. */
export interface Packed {
  /** The operation of the same origin that wrote that one. */
  readonly base: OriginSequence;
  /** Bytes of the document. */
  readonly size: number;
  readonly delta: Uint8Array;
}

/** What a client was shown: the state of a node's disk, carried to whatever node. */
export interface SeenToken {
  /** Version of the agreement at that node: what its cursor leaves out was retired by then. */
  readonly version: number;
  readonly cursor: VersionVector;
}

/** What a version is beside its content. */
interface Written {
  readonly content: Content;
  /** What the writer had seen, where that is less than all that its node had. */
  readonly seen?: SeenToken;
  /** Of a collection in which removals win: the removals that it follows, and others may not. */
  readonly removals?: readonly Dot[];
}

/** One version of a document, whole in itself: it needs no other to be read. */
export interface DocumentVersion extends Written {
  readonly dot: Dot;
  readonly stamp: Stamp;
  /** The operations of other origins that its node had. Of its own origin it had all before it. */
  readonly context: VersionVector;
  /** Version of the agreement that its writer knew. */
  readonly version: number;
  /** Checksum of the operation, and so of the content. */
  readonly chain: number;
  /**
   * Every later operation has seen it, and where its parts came from is not kept any more: they
   * count as its own.
   */
  readonly isPruned?: boolean;
}

/** One document in an operation. */
export interface Change extends Written {
  readonly collection: CollectionId;
  /** The document's id, encoded. */
  readonly key: Uint8Array;
  /** The same content, if there is a shorter form: that one is logged and sent. */
  readonly packed?: Packed;
  /** Later changes of its origin may be packed by this content: all keep it for a while. */
  readonly isBase?: boolean;
}

/** Changes that one origin logged at once: applied whole or not at all, everywhere. */
export interface Operation extends Dot {
  readonly stamp: Stamp;
  /** Operations of other origins that its writer had: those are applied before it. */
  readonly context: VersionVector;
  /** Version of the agreement that its writer knew. */
  readonly version: number;
  /** Checksum of this operation and of all before it of its origin, 32 bits. */
  readonly chain: number;
  readonly request?: RequestName;
  readonly changes: readonly Change[];
}

/** A change as it is logged and sent: without the content where there is a shorter form. */
export type PackedChange =
  | Change
  | (Omit<Change, "content" | "packed"> & {
      readonly content?: undefined;
      readonly packed: Packed;
    });

/** An operation as it is logged and sent. */
export interface PackedOperation extends Omit<Operation, "changes"> {
  readonly changes: readonly PackedChange[];
}
