/**
 * The hash functions for programs that load the library with `require`, which cannot wait for
 * WebAssembly: the same functions in JavaScript serve until it is loaded, a moment later.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import xxhash, { type XXHashAPI } from "xxhash-wasm";
import XXH from "xxhashjs";

type Hasher = Pick<XXHashAPI, "h32Raw" | "h64Raw" | "create64">;

/** Whole ranges collected, hashed at the end: only the first moments come here. */
class CollectedHash {
  readonly #seed: bigint;
  #bytes: Uint8Array = new Uint8Array(0);

  constructor(seed: bigint) {
    this.#seed = seed;
  }

  update(bytes: Uint8Array | string): this {
    this.#bytes = Buffer.concat([this.#bytes, Buffer.from(bytes as Uint8Array)]);
    return this;
  }

  digest(): bigint {
    return byJavaScript.h64Raw(this.#bytes, this.#seed);
  }
}

/** The same functions without WebAssembly. */
export const byJavaScript = {
  h32Raw: (bytes: Uint8Array, seed = 0): number => XXH.h32(Buffer.from(bytes), seed).toNumber(),
  h64Raw: (bytes: Uint8Array, seed = 0n): bigint => {
    // A seed may have 64 bits; it is read as a decimal text.
    const start = XXH.h64(String(seed) as never);
    return BigInt(`0x${start.update(Buffer.from(bytes)).digest().toString(16)}`);
  },
  create64: (seed = 0n) => new CollectedHash(seed),
};

let present = byJavaScript as unknown as Hasher;

/** The functions as they are now. */
export const hasher: Hasher = {
  h32Raw: (bytes, seed) => present.h32Raw(bytes, seed),
  h64Raw: (bytes, seed) => present.h64Raw(bytes, seed),
  create64: (seed) => present.create64(seed),
};

/** Resolves when WebAssembly has taken over. */
export const loaded: Promise<void> = xxhash().then((api) => {
  present = api;
});
