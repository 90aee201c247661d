/**
 * What the members have agreed upon through consensus. Every change has a version, and an operation
 * names the version that its writer knew: who takes it in knows that one first. So nobody meets a
 * collection, an origin or a floor that it has not heard of.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import type { ConflictConfig } from "./conflict_rule.ts";
import type { CollectionId, Dot, Origin, OriginSequence } from "./dot.ts";
import type { SeenToken } from "./operation.ts";
import { includes, join, meet, seen, type VersionVector } from "./version_vector.ts";

/** How far removals are forgotten. */
export interface Floor {
  /** 1, 2, 3 ...; 0 before the first. */
  readonly round: number;
  /** Every member's disk holds these operations. */
  readonly floor: VersionVector;
  /**
   * All that any member had by then. Who has these has every operation that was made in ignorance
   * of one at or below the floor, and may forget.
   */
  readonly barrier: VersionVector;
}

/** An incarnation that nobody keeps account of. */
export interface Retired {
  /** Operations that name this version of the agreement or a later one follow all of its own. */
  readonly version: number;
  readonly end: OriginSequence;
}

/** The agreed state. */
export interface Agreement {
  /** Grows with each change. */
  readonly version: number;
  /** Node id to its present incarnation. */
  readonly origins: ReadonlyMap<string, Origin>;
  /**
   * Incarnations that are over, with their last operation that counts. First without a number: from
   * then on no member takes operations from that incarnation itself. The number is the highest that
   * any member has on disk when all of them know the present version.
   */
  readonly closed: ReadonlyMap<Origin, OriginSequence | undefined>;
  /**
   * Incarnations whose operations every member has, and has forgotten as far as they are removals.
   * Nobody keeps account of them.
   */
  readonly retired: ReadonlyMap<Origin, Retired>;
  readonly floor: Floor;
  /** The collections that are there, and how each settles conflicts: the same for good. */
  readonly collections: ReadonlyMap<CollectionId, ConflictConfig>;
}

/** A floor to be agreed. It counts only if the agreement is still the one it was made for. */
export interface FloorProposal {
  readonly version: number;
  readonly floor: Floor;
  /** Closed incarnations that nobody needs to be told of any more. */
  readonly retired: readonly Origin[];
}

/** How far one member is. */
export interface MemberProgress {
  readonly origin: Origin;
  /** The operations on its disk. */
  readonly cursor: VersionVector;
  /** Version of the agreement that it knows, and round of the floor that it has forgotten by. */
  readonly version: number;
  readonly round: number;
}

/** No removal is forgotten yet. */
export const FIRST_FLOOR: Floor = { round: 0, floor: new Map(), barrier: new Map() };

/** Whether an incarnation takes part now. */
export function isOpen({ origins }: Agreement, origin: Origin): boolean {
  for (const member of origins.values()) if (member === origin) return true;
  return false;
}

/** Whether an incarnation is over, and every member has all its operations. */
export function isRetired(agreement: Agreement, origin: Origin): boolean {
  return agreement.retired.has(origin);
}

/** The last operation of an origin that a member may take in; of one that is not known, none. */
export function endOf(agreement: Agreement, origin: Origin): OriginSequence {
  if (isOpen(agreement, origin)) return Number.POSITIVE_INFINITY;
  if (!agreement.closed.has(origin)) return 0;
  // While the end is open, members hand on what they have: none of it comes from the closed one.
  return agreement.closed.get(origin) ?? Number.POSITIVE_INFINITY;
}

/** Whether a state of an earlier version lacks operations of incarnations that retired since. */
export function lacksRetired(
  { retired }: Agreement,
  version: number,
  cursor: VersionVector,
): boolean {
  return [...retired].some(([origin, over]) => {
    return over.version > version && seen(cursor, origin) < over.end;
  });
}

/**
 * The operations of a log that a state of that version and cursor does not hold. What the cursor
 * leaves out was retired by then: the state has all of it. Throws AssertionError if the agreement
 * is older than the state or an operation: a node goes on when it knows what it knew before.
 */
export function* operationsBehind<T extends Dot & { readonly version: number }>(
  operations: Iterable<T>,
  state: SeenToken,
  { retired, version }: Agreement,
): Generator<T> {
  assert(version >= state.version, "a node knows what it knew when it made its state");
  for (const operation of operations) {
    const { origin } = operation;
    assert(version >= operation.version, "a node knows what it knew when it logged that");
    if (operation.sequence <= seen(state.cursor, origin)) continue;
    const over = retired.get(origin);
    const isHeld = over !== undefined && over.version <= state.version;
    if (!isHeld || state.cursor.has(origin)) yield operation;
  }
}

/** Whether nothing is still to be agreed about incarnations that are over. */
export function areEndsKnown({ closed }: Agreement): boolean {
  for (const end of closed.values()) if (end === undefined) return false;
  return true;
}

/**
 * The next floor; undefined unless every member knows the present agreement, and has forgotten what
 * the last floor allows.
 */
export function proposeFloor(
  agreement: Agreement,
  members: readonly MemberProgress[],
): FloorProposal | undefined {
  const { version, floor, closed } = agreement;
  const isUpToDate = (one: MemberProgress): boolean =>
    one.version === version && one.round === floor.round;
  if (!members.every(isUpToDate) || !areEndsKnown(agreement)) return undefined;
  const cursors = members.map(({ cursor }) => cursor);
  const next = meet(...cursors);
  const isOver = ([origin, end]: [Origin, OriginSequence | undefined]): boolean =>
    end !== undefined && seen(floor.floor, origin) >= end;
  const retired = [...closed].filter(isOver).map(([origin]) => origin);
  if (retired.length === 0 && includes(floor.floor, next)) return undefined;
  // Of its own operations a member has all: nobody can claim more of them.
  const barrier = new Map(join(...cursors));
  for (const { origin, cursor } of members) barrier.set(origin, seen(cursor, origin));
  return { version, retired, floor: { round: floor.round + 1, floor: next, barrier } };
}

/** Whether a node with these operations on disk shows what a client has seen. */
export function coversToken(
  { version, cursor }: SeenToken,
  agreement: Agreement,
  durable: VersionVector,
): "yes" | "wait" | "lost" {
  if (version > agreement.version) return "wait";
  let answer: "yes" | "wait" = "yes";
  for (const [origin, sequence] of cursor) {
    if (seen(durable, origin) >= sequence) continue;
    const over = agreement.retired.get(origin);
    if (sequence > (over?.end ?? agreement.closed.get(origin) ?? sequence)) return "lost";
    if (over === undefined) answer = "wait";
  }
  return answer;
}

/** The agreement with a proposed floor; the same one if it was made for an earlier version. */
export function withFloor(agreement: Agreement, proposal: FloorProposal): Agreement {
  if (proposal.version !== agreement.version) return agreement;
  const version = agreement.version + 1;
  const [closed, retired] = [new Map(agreement.closed), new Map(agreement.retired)];
  for (const origin of proposal.retired) {
    retired.set(origin, { version, end: closed.get(origin) ?? 0 });
    closed.delete(origin);
  }
  const { round, floor, barrier } = proposal.floor;
  return {
    ...agreement,
    ...{ version, closed, retired },
    floor: {
      round,
      floor: without(join(agreement.floor.floor, floor), proposal.retired),
      barrier: without(barrier, proposal.retired),
    },
  };
}

/**
 * Holds what may change between two agreements: a collection's rule may not, for its documents were
 * written under it, and nodes that learn of the change at different times would read them apart.
 */
export function assertFollows(later: Agreement, earlier: Agreement): void {
  assert(later.version > earlier.version, "agreements follow each other");
  for (const [id, rule] of later.collections) {
    const before = earlier.collections.get(id);
    const isSame = before === undefined || JSON.stringify(before) === JSON.stringify(rule);
    assert(isSame, () => `the rule of collection ${id} stays as it was made`);
  }
  for (const [origin, sequence] of earlier.floor.floor) {
    const isKept = isRetired(later, origin) || seen(later.floor.floor, origin) >= sequence;
    assert(isKept, "a floor never sinks");
  }
}

function without(vector: VersionVector, origins: readonly Origin[]): VersionVector {
  const left = new Map(vector);
  for (const origin of origins) left.delete(origin);
  return left;
}
