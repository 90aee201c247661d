/**
 * The operations seen of each origin. Operations of an origin are seen in order, so one number for
 * each is enough.
 *
 * @module
 */

import type { Dot, Origin, OriginSequence } from "./dot.ts";

/** The last operation seen of each origin; one that is missing stands for 0. */
export type VersionVector = ReadonlyMap<Origin, OriginSequence>;

/** Nothing seen. */
export const NOTHING_SEEN: VersionVector = new Map<Origin, OriginSequence>([]);

/** The last operation seen of an origin. */
export function seen(vector: VersionVector, origin: Origin): OriginSequence {
  return vector.get(origin) ?? 0;
}

/** Whether the operation was seen. */
export function covers(vector: VersionVector, dot: Dot): boolean {
  return dot.sequence <= seen(vector, dot.origin);
}

/** Whether all that `b` has seen was seen by `a`. */
export function includes(a: VersionVector, b: VersionVector): boolean {
  for (const [origin, sequence] of b) if (seen(a, origin) < sequence) return false;
  return true;
}

/** The operations that at least one of them has seen. */
export function join(...vectors: readonly VersionVector[]): VersionVector {
  const joined = new Map<Origin, OriginSequence>();
  for (const vector of vectors) {
    for (const [origin, sequence] of vector) {
      if (sequence > seen(joined, origin)) joined.set(origin, sequence);
    }
  }
  return joined;
}

/** The operations that all of them have seen; of none at all, nothing. */
export function meet(...vectors: readonly VersionVector[]): VersionVector {
  const [first = NOTHING_SEEN, ...others] = vectors;
  const met = new Map<Origin, OriginSequence>();
  for (const [origin, sequence] of first) {
    const least = Math.min(sequence, ...others.map((other) => seen(other, origin)));
    if (least > 0) met.set(origin, least);
  }
  return met;
}
