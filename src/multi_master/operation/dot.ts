/**
 * Origins, and the dots that name one operation of one origin.
 *
 * @module
 */

/** Where operations begin: an incarnation of a node, over when a part of its log is lost. */
export type Origin = string;

/** Position of an operation among those of its origin: dense. */
export type OriginSequence = number;

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

/** Below 0, 0 or above 0: by origin, then by sequence. */
export function compareDots(a: Dot, b: Dot): number {
  if (a.origin !== b.origin) return a.origin < b.origin ? -1 : 1;
  return a.sequence - b.sequence;
}
