/**
 * The hash functions that serve a program which has loaded the library with `require` give what
 * WebAssembly gives.
 *
 * @module
 */

import { expect, test } from "bun:test";
import fc from "fast-check";
import { byJavaScript, hasher, loaded } from "../../../scripts/package/hasher_for_require.ts";
import { hasher as webAssembly } from "../../../src/protocol/encoding/hasher.ts";

const bytes = fc.uint8Array({ maxLength: 300 });
const seed64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const seed32 = fc.nat({ max: 2 ** 32 - 1 });
const unsigned = (value: bigint): bigint => BigInt.asUintN(64, value);

test("32 and 64 bits, with any seed", () => {
  fc.assert(
    fc.property(bytes, seed64, seed32, (input, long, short) => {
      expect(byJavaScript.h64Raw(input, long)).toBe(unsigned(webAssembly.h64Raw(input, long)));
      expect(byJavaScript.h32Raw(input, short) >>> 0).toBe(webAssembly.h32Raw(input, short) >>> 0);
    }),
  );
});

test("in pieces, and after WebAssembly has taken over", async () => {
  const pieces = [new Uint8Array(5), new Uint8Array([1, 2, 3]), new Uint8Array(40).fill(9)];
  const whole = Buffer.concat(pieces);
  const state = byJavaScript.create64(7n);
  for (const piece of pieces) state.update(piece);
  expect(state.digest()).toBe(unsigned(webAssembly.h64Raw(whole, 7n)));
  await loaded;
  expect(unsigned(hasher.h64Raw(whole, 7n))).toBe(unsigned(webAssembly.h64Raw(whole, 7n)));
  expect(hasher.h32Raw(whole, 7) >>> 0).toBe(webAssembly.h32Raw(whole, 7) >>> 0);
});
