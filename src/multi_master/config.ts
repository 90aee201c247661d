/**
 * Configuration and first state of a node that takes part.
 *
 * @module
 */

import type { Fields } from "../base/value.ts";
import type { Base, DeltaCodec } from "./document/bases.ts";
import type { DocumentCodec } from "./document/conflict_resolver.ts";
import type { SeedRequests } from "./document/request_table.ts";
import type { StoredDocument, VersionStore } from "./document/version_store.ts";

import type { ConflictResolver } from "./operation/conflict_rule.ts";
import type { CollectionId, Origin, OriginSequence } from "./operation/dot.ts";
import { NO_STAMP } from "./operation/hybrid_clock.ts";
import type { Operation, PackedOperation, Stamp } from "./operation/operation.ts";
import { NOTHING_SEEN, type VersionVector } from "./operation/version_vector.ts";

/** How one node takes part. */
export interface MultiMasterConfig {
  readonly node: string;
  /** This node's incarnation: a new one after any part of its log was lost. */
  readonly origin: Origin;
  /** How far clocks may stand apart, in ms. */
  readonly driftMaxMs: number;
  /** Ticks between two pulls of missing operations from a member; at least 1. */
  readonly pullTicks: number;
  /** Ticks after which an operation that waits for another is worth an alarm. */
  readonly waitTicks: number;
  /** Bytes of documents at which a message is closed; its last operation may exceed them. */
  readonly messageBytes: number;
  /** Bytes of documents on their way to a peer whose disk has not answered. */
  readonly windowBytes: number;
  /** Resolvers of collections with a `custom` rule, by name. */
  readonly resolvers: ReadonlyMap<string, ConflictResolver>;
  readonly codec: DocumentCodec & DeltaCodec;
  /** When a document expires, ms since 1970; undefined: never. A function of the document alone. */
  readonly expiryOf?: (collection: CollectionId, body: Fields) => number | undefined;
  /** Checksum of an operation's fields, 32 bits, seeded with that of the one before. */
  readonly checksum: (operation: Omit<Operation, "chain">, previous: number) => number;
}

/** First state of a node: the content of its disk, or another member's state. */
export interface Seed {
  readonly cursor: VersionVector;
  /** Version of the agreement then: what the cursor leaves out was retired by it. */
  readonly version: number;
  /** Checksum of each origin's last operation in the cursor. */
  readonly chains: ReadonlyMap<Origin, number>;
  /** The largest stamp in it. */
  readonly lastStamp: Stamp;
  /** Round of the floor up to which removals are forgotten in it, and that floor. */
  readonly forgotten: { readonly round: number; readonly floor: VersionVector };
  readonly requests: SeedRequests;
  /** What later operations may be changes of. */
  readonly bases: readonly Base[];
}

/** A seed with its documents, frozen while writes go on. */
export interface FrozenSeed extends Seed {
  /** It may be used once this Ready is persisted: before, it may show what a crash takes back. */
  readonly afterReady: number;
  documents(): IterableIterator<StoredDocument>;
  /** To be called once it is not needed any more. */
  release(): void;
}

/** The state of a node that begins with nothing. */
export const EMPTY_SEED: Seed = {
  cursor: NOTHING_SEEN,
  version: 0,
  chains: new Map(),
  lastStamp: NO_STAMP,
  forgotten: { round: 0, floor: NOTHING_SEEN },
  requests: { noted: [], repeated: [] },
  bases: [],
};

/** What a read of the log gives. */
export type ReadOperations =
  /** At least one, from the wanted one on. */
  | { readonly kind: "operations"; readonly operations: readonly PackedOperation[] }
  /** They are on disk only; they are here when `loaded()` is called. */
  | { readonly kind: "loading" }
  /** They are cut off. */
  | { readonly kind: "gone" };

/** The operations on this node's disk. */
export interface OperationReader {
  /** Operations from `from` on, of about that many bytes of documents. */
  read(origin: Origin, from: OriginSequence, bytesMax: number): ReadOperations;
}

/** Where a node's state is kept. */
export interface MultiMasterStart {
  readonly store: VersionStore;
  readonly seed: Seed;
  /** What stands in the log behind the seed, each operation after all that its writer had. */
  readonly operations: Iterable<PackedOperation>;
  readonly log: OperationReader;
}
