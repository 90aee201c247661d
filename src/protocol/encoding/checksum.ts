/**
 * xxHash of a byte range, 32 and 64 bit: the one checksum of wire and disk. Pure functions.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { hasher } from "./hasher.ts";

const { h32Raw, h64Raw, create64 } = hasher;

/** Larger ranges are hashed in pieces, because the WASM memory never shrinks again. */
const PIECE_SIZE = 1024 * 1024;

/** xxh32. */
export function checksum32(bytes: Uint8Array, seed = 0): number {
  return h32Raw(bytes, seed) >>> 0;
}

/** xxh64. */
export function checksum64(bytes: Uint8Array, seed = 0n): bigint {
  if (bytes.byteLength <= PIECE_SIZE) return h64Raw(bytes, seed);
  const state = create64(seed);
  let hashed = 0;
  while (hashed < bytes.byteLength) {
    const piece = bytes.subarray(hashed, hashed + PIECE_SIZE);
    state.update(piece);
    hashed += piece.byteLength;
  }
  assert(hashed === bytes.byteLength, "the pieces cover the whole range");
  return state.digest();
}
