/**
 * A part of what a script could run: drawn by a seed, so that it can be drawn again.
 *
 * @module
 */

import { SeededRandom } from "../src/platform/random.ts";

/**
 * At most `count` of `all`, in a random order; the same seed draws the same. Throws RangeError for
 * a count below 1 and for a seed that is no whole number.
 */
export function draw<T>(all: readonly T[], count: number, seed: number): readonly T[] {
  if (!Number.isSafeInteger(count) || count < 1) throw new RangeError("draws 1 or more");
  if (!Number.isSafeInteger(seed)) throw new RangeError("a seed is a whole number");
  const random = new SeededRandom(seed);
  const rest = [...all];
  const drawn: T[] = [];
  while (drawn.length < count && rest.length > 0) {
    drawn.push(...rest.splice(random.below(rest.length), 1));
  }
  return drawn;
}
