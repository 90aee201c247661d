/**
 * Random numbers: a seeded generator, and seeds from the system.
 *
 * @module
 */

import { randomBytes } from "node:crypto";

/** Where random numbers come from. */
export interface Random {
  /** Uniform in [0, bound), a whole number; bound up to 2^32. */
  below(bound: number): number;
}

/** xorshift128: the same seed gives the same numbers on every runtime. */
export class SeededRandom implements Random {
  readonly #state: Uint32Array;

  constructor(seed: number) {
    // splitmix32 spreads small seeds over the whole state.
    const state = new Uint32Array(4);
    let x = seed >>> 0;
    for (let i = 0; i < 4; i += 1) {
      x = (x + 0x9e3779b9) >>> 0;
      let z = x;
      z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
      state[i] = (z ^ (z >>> 16)) >>> 0;
    }
    this.#state = state;
  }

  /** Uniform in [0, 2^32). */
  u32(): number {
    const s = this.#state;
    let t = s[3]!;
    const first = s[0]!;
    s[3] = s[2]!;
    s[2] = s[1]!;
    s[1] = first;
    t ^= t << 11;
    t ^= t >>> 8;
    s[0] = t ^ first ^ (first >>> 19);
    return s[0]!;
  }

  below(bound: number): number {
    return Math.floor((this.u32() / 2 ** 32) * bound);
  }

  /** True with the given chance in [0, 1]. */
  chance(probability: number): boolean {
    return this.u32() / 2 ** 32 < probability;
  }
}

/** A generator seeded by the system. */
export function systemRandom(): Random {
  return new SeededRandom(randomBytes(4).readUInt32LE(0));
}

/** 16 lower-case hexadecimal digits. */
export function randomId(random: Random): string {
  let id = "";
  for (let i = 0; i < 4; i += 1) id += random.below(0x1_0000).toString(16).padStart(4, "0");
  return id;
}
