/**
 * How the agreement changes: one step at a time, each proposed by the leader of consensus and
 * decided when its entry is applied, in the same way on every node.
 *
 * @module
 */

import {
  type Agreement,
  areEndsKnown,
  FIRST_FLOOR,
  type FloorProposal,
  isOpen,
  isRetired,
  type MemberProgress,
  proposeFloor,
  withFloor,
} from "./agreement.ts";
import type { ConflictConfig } from "./conflict_rule.ts";
import type { CollectionId, Origin, OriginSequence } from "./dot.ts";
import { seen } from "./version_vector.ts";

/** One step. */
export type AgreementChange =
  /** A node writes under a new incarnation; the one before is over. */
  | { readonly action: "open"; readonly node: string; readonly origin: Origin }
  /** A node is no member any more. */
  | { readonly action: "close"; readonly node: string }
  /** The last operations that count of incarnations that are over. */
  | {
      readonly action: "end";
      /** The agreement that it was made for: it counts only if that is still the one. */
      readonly version: number;
      readonly ends: ReadonlyMap<Origin, OriginSequence>;
    }
  | { readonly action: "floor"; readonly proposal: FloorProposal };

/** The agreement of a cluster in which every write goes through the leader. */
export const NO_AGREEMENT: Agreement = {
  version: 0,
  origins: new Map(),
  closed: new Map(),
  retired: new Map(),
  floor: FIRST_FLOOR,
  collections: new Map(),
};

/** The agreement after a step; the same one if the step changes nothing, or came too late. */
export function changeAgreement(agreement: Agreement, change: AgreementChange): Agreement {
  switch (change.action) {
    case "open":
      return opened(agreement, change);
    case "close":
      return closed(agreement, change.node);
    case "end":
      return ended(agreement, change);
    case "floor":
      return withFloor(agreement, change.proposal);
  }
}

/** The agreement with one more collection, whose number is that of the agreement. */
export function withCollection(agreement: Agreement, rule: ConflictConfig): Agreement {
  const version = agreement.version + 1;
  const collections = new Map(agreement.collections).set(version, rule);
  return { ...agreement, version, collections };
}

/** The agreement without a collection. */
export function withoutCollection(agreement: Agreement, id: CollectionId): Agreement {
  const collections = new Map(agreement.collections);
  if (!collections.delete(id)) return agreement;
  return { ...agreement, version: agreement.version + 1, collections };
}

/** What the leader knows when it looks for the step that is due. */
export interface KnownMembers {
  /** Whether a node is a member of the cluster. */
  has(node: string): boolean;
  /** The incarnations that nodes want to write under. */
  readonly wanted: ReadonlyMap<string, Origin>;
  /** How far each node of the agreement is; undefined where the leader does not take part yet. */
  progress(): readonly MemberProgress[] | undefined;
}

/**
 * The step that is due; undefined for none. Incarnations of nodes that are no members are closed
 * first, then new ones begin, then the ends of those that are over are agreed, then the floor
 * rises.
 */
export function dueChange(
  agreement: Agreement,
  members: KnownMembers,
): AgreementChange | undefined {
  for (const node of agreement.origins.keys()) {
    if (!members.has(node)) return { action: "close", node };
  }
  for (const [node, origin] of members.wanted) {
    if (members.has(node) && !isKnown(agreement, origin)) return { action: "open", node, origin };
  }
  const progress = members.progress();
  if (progress === undefined) return undefined;
  if (!areEndsKnown(agreement)) return dueEnds(agreement, progress);
  const proposal = proposeFloor(agreement, progress);
  return proposal && { action: "floor", proposal };
}

function dueEnds(
  { version, closed: over }: Agreement,
  progress: readonly MemberProgress[],
): AgreementChange | undefined {
  // Before all know it, a member may still take in what the incarnation itself sends.
  if (!progress.every((one) => one.version === version)) return undefined;
  const open = [...over].filter(([, end]) => end === undefined);
  const ends = open.map(([origin]): [Origin, OriginSequence] => {
    return [origin, Math.max(0, ...progress.map(({ cursor }) => seen(cursor, origin)))];
  });
  return { action: "end", version, ends: new Map(ends) };
}

/** Whether an incarnation takes part or took part: it begins once. */
function isKnown(agreement: Agreement, origin: Origin): boolean {
  return isOpen(agreement, origin) || agreement.closed.has(origin) || isRetired(agreement, origin);
}

function opened(
  agreement: Agreement,
  { node, origin }: { readonly node: string; readonly origin: Origin },
): Agreement {
  if (isKnown(agreement, origin)) return agreement;
  const before = closed(agreement, node);
  const origins = new Map(before.origins).set(node, origin);
  return { ...before, version: agreement.version + 1, origins };
}

function closed(agreement: Agreement, node: string): Agreement {
  const origin = agreement.origins.get(node);
  if (origin === undefined) return agreement;
  const origins = new Map(agreement.origins);
  origins.delete(node);
  const over = new Map(agreement.closed).set(origin, undefined);
  return { ...agreement, version: agreement.version + 1, origins, closed: over };
}

function ended(
  agreement: Agreement,
  {
    version,
    ends,
  }: { readonly version: number; readonly ends: ReadonlyMap<Origin, OriginSequence> },
): Agreement {
  if (version !== agreement.version) return agreement;
  const over = new Map(agreement.closed);
  for (const [origin, end] of ends) if (over.has(origin)) over.set(origin, end);
  return { ...agreement, version: version + 1, closed: over };
}
