/**
 * Steps over CBOR: every value ends where the encoder ended it.
 *
 * @module
 */

import { expect, test } from "bun:test";
import fc from "fast-check";
import { encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import { readHead, skipItem } from "../../../src/protocol/encoding/cbor_walk.ts";
import { values } from "../../query/values.ts";
import { fuzz, seeded } from "../fuzz_seed.ts";

// Mutations that this finds: a map that counts its entries once, a tag without its value.
test(seeded("an item ends with its bytes, wherever it stands"), () => {
  fc.assert(
    fc.property(values, values, (before, value) => {
      const [first, second] = [encodeCbor(before).slice(), encodeCbor(value).slice()];
      const bytes = new Uint8Array([...first, ...second]);
      expect(skipItem(bytes, 0)).toBe(first.byteLength);
      expect(skipItem(bytes, first.byteLength)).toBe(bytes.byteLength);
    }),
    fuzz(3_000),
  );
});

test.each<readonly [unknown, number, number, number]>([
  [0, 0, 0, 1],
  [23, 0, 23, 1],
  [24, 0, 24, 2],
  [255, 0, 255, 2],
  [256, 0, 256, 3],
  [65_536, 0, 65_536, 5],
  [-1, 1, 0, 1],
  ["", 3, 0, 1],
  ["x".repeat(40), 3, 40, 2],
  [[1, 2], 4, 2, 1],
  [new Uint8Array(3), 2, 3, 1],
])("the head of %j", (...[value, major, number, end]) => {
  expect(readHead(encodeCbor(value).slice(), 0)).toEqual({ major, value: number, end });
});
