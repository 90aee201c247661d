/**
 * Names: of collections, of origins, and of operations, the dots.
 *
 * @module
 */

/** Where operations begin: an incarnation of a node, over when a part of its log is lost. */
export type Origin = string;

/** Position of an operation among those of its origin: dense. */
export type OriginSequence = number;

/**
 * Names a collection for good: dropping or clearing one and making another of the same name gives a
 * new number, so no operation that is under way fills the new one.
 */
export type CollectionId = number;

/** Names one operation, and each document version that it wrote. */
export interface Dot {
  readonly origin: Origin;
  readonly sequence: OriginSequence;
}

/** The origin of a node's incarnation. */
export function originOf(node: string, incarnation: string): Origin {
  return `${node}/${incarnation}`;
}

/** The node that an origin belongs to. */
export function nodeOf(origin: Origin): string {
  return origin.slice(0, origin.lastIndexOf("/"));
}

/** A text for a dot, to find it by. */
export function dotName({ origin, sequence }: Dot): string {
  return `${sequence} ${origin}`;
}

/** Below 0, 0 or above 0: by origin, then by sequence. */
export function compareDots(a: Dot, b: Dot): number {
  if (a.origin !== b.origin) return a.origin < b.origin ? -1 : 1;
  return a.sequence - b.sequence;
}
