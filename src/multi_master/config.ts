/**
 * Configuration, members and first state of a node that takes part.
 *
 * @module
 */

import type { Fields } from "../base/value.ts";
import type { ConflictConfig, ConflictResolver } from "./conflict_resolver.ts";
import type { Origin, OriginSequence } from "./dot.ts";
import type { Operation, Stamp } from "./operation.ts";
import type { StoredDocument } from "./version_store.ts";
import type { VersionVector } from "./version_vector.ts";

/** How one node takes part. */
export interface MultiMasterConfig {
  readonly node: string;
  /** This node's incarnation: a new one after any part of its log was lost. */
  readonly origin: Origin;
  /** How far another node's stamp may be ahead of this node's clock, in ms. */
  readonly driftMaxMs: number;
  /** Ticks between two pulls of missing operations from a member. */
  readonly pullTicks: number;
  /** The rule of a collection. */
  readonly conflictOf: (collection: string) => ConflictConfig;
  /** Resolvers of collections with a `custom` rule, by name. */
  readonly resolvers: ReadonlyMap<string, ConflictResolver>;
}

/** The members, agreed upon through consensus. */
export interface Members {
  /** Grows with each change. */
  readonly version: number;
  /** Node id to its present incarnation. */
  readonly origins: ReadonlyMap<string, Origin>;
  /**
   * Every incarnation that is over, and its last operation that counts. First without a number:
   * from then on a member takes in nothing more of it. The number is the highest that any member
   * has when all of them know that, and comes with a later version.
   */
  readonly closed: ReadonlyMap<Origin, OriginSequence | undefined>;
}

/** First state of a node: the content of its disk, or another member's state. */
export interface Seed {
  readonly cursor: VersionVector;
  readonly documents: Iterable<StoredDocument>;
  /** The largest stamp in it. */
  readonly lastStamp: Stamp;
  /** Every member's disk held these: no member needs them to be kept. */
  readonly stable: VersionVector;
}

/** The operations on this node's disk. */
export interface OperationReader {
  /** At least one and at most `countMax` operations from `from` on, which is behind `stable`. */
  read(origin: Origin, from: OriginSequence, countMax: number): readonly Operation[];
}

/** One document to write. */
export interface WrittenDocument {
  readonly collection: string;
  readonly key: string;
  /** `undefined` removes it. */
  readonly body: Fields | undefined;
}

/** Whether an incarnation takes part now. */
export function isOpen({ origins }: Members, origin: Origin): boolean {
  for (const member of origins.values()) if (member === origin) return true;
  return false;
}

/** The last operation of an origin that a member may take in. */
export function endOf(members: Members, origin: Origin): OriginSequence {
  if (isOpen(members, origin)) return Number.POSITIVE_INFINITY;
  return members.closed.get(origin) ?? 0;
}

/** Whether nothing is still to be agreed about incarnations that are over. */
export function areEndsKnown({ closed }: Members): boolean {
  return [...closed.values()].every((end) => end !== undefined);
}
