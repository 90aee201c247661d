/**
 * The seed of every fuzz test: fixed, so that a run can be repeated, and printed, so that it is
 * known which. `CSTORE_SEED=17` takes another one, `CSTORE_FUZZ_FACTOR=20` runs longer.
 *
 * @module
 */

import { SeededRandom } from "../../src/platform/random.ts";

/** The seed of this run. */
export const FUZZ_SEED = Number(process.env.CSTORE_SEED ?? 20_261);
const FACTOR = Number(process.env.CSTORE_FUZZ_FACTOR ?? 1);

/** Options of `fc.assert`. */
export function fuzz(numRuns: number): { readonly seed: number; readonly numRuns: number } {
  return { seed: FUZZ_SEED, numRuns: rounds(numRuns) };
}

/** How often a loop of its own runs. */
export function rounds(count: number): number {
  return Math.ceil(count * FACTOR);
}

/** A title that names the seed. */
export function seeded(title: string): string {
  return `${title} (seed ${FUZZ_SEED})`;
}

/** Numbers for loops that need more inputs than fast-check makes in the same time. */
export function fuzzRandom(): SeededRandom {
  return new SeededRandom(FUZZ_SEED);
}

/** A copy with a few bytes changed, cut off, doubled or put in. */
export function mutate(random: SeededRandom, bytes: Uint8Array): Uint8Array {
  let mutated = new Uint8Array(bytes);
  for (let left = 1 + random.below(3); left > 0; left -= 1) {
    const size = mutated.byteLength;
    const at = random.below(size + 1);
    switch (random.below(6)) {
      case 0:
        mutated = mutated.slice(0, at);
        break;
      case 1:
        mutated = joined(
          mutated.subarray(0, at),
          Uint8Array.of(random.below(256)),
          mutated.subarray(at),
        );
        break;
      case 2:
        mutated = joined(mutated.subarray(0, at), mutated.subarray(random.below(at + 1)));
        break;
      case 3:
        if (at < size) mutated[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][random.below(6)]!;
        break;
      default:
        if (at < size) mutated[at]! ^= 1 << random.below(8);
    }
  }
  return mutated;
}

function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(parts));
}
