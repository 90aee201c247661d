/**
 * Keys: they sort as their ids, come back as their ids, and nothing else is a key.
 *
 * @module
 */

import { expect, test } from "bun:test";
import fc from "fast-check";
import { equalBytes } from "../../../src/base/bytes.ts";
import { ValidationError } from "../../../src/base/errors.ts";
import { KEY_SIZE_MAX } from "../../../src/base/limits.ts";
import { checkKey, decodeKey, encodeKey } from "../../../src/protocol/encoding/document_key.ts";
import { fuzz, seeded } from "../fuzz_seed.ts";

function check(key: Uint8Array): string {
  return checkKey(key, 0, key.byteLength);
}

const finite = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.integer(),
  fc.maxSafeInteger(),
);

// Mutations that this finds: a sign bit that is not flipped, a negative one that is not inverted.
test(seeded("keys: bytes sort as numbers"), () => {
  fc.assert(
    fc.property(finite, finite, (a, b) => {
      const order = Buffer.compare(encodeKey(a), encodeKey(b));
      expect(order).toBe(a < b ? -1 : a > b ? 1 : 0);
    }),
    fuzz(3_000),
  );
});

test(seeded("keys: numbers come back, and -0 is 0"), () => {
  fc.assert(
    fc.property(finite, (id) => {
      const key = encodeKey(id);
      expect(check(key)).toBe("");
      expect(decodeKey(key)).toBe(id === 0 ? 0 : id);
    }),
    fuzz(2_000),
  );
});

test(seeded("keys: strings come back, and sort by code point"), () => {
  const text = fc.string({ unit: "binary", maxLength: 60 });
  fc.assert(
    fc.property(text, text, (a, b) => {
      expect(check(encodeKey(a))).toBe("");
      expect(decodeKey(encodeKey(a))).toBe(a);
      expect(equalBytes(encodeKey(a), encodeKey(b))).toBe(a === b);
      const points = Buffer.compare(Buffer.from(a), Buffer.from(b));
      expect(Buffer.compare(encodeKey(a), encodeKey(b))).toBe(points);
    }),
    fuzz(2_000),
  );
});

test("keys: 1 and '1' are different, and all numbers stand before all strings", () => {
  expect(encodeKey(1)).not.toEqual(encodeKey("1"));
  expect(Buffer.compare(encodeKey(Number.MAX_VALUE), encodeKey(""))).toBe(-1);
});

// U+FEFF is not a byte order mark here: "\ufeffa" and "a" are two documents.
test.each([
  "",
  "__proto__",
  "a.b.c",
  "\0",
  "\ufeff",
  "\ufeffa",
  "1",
  " ",
  "\u{1f980}",
  "x".repeat(41),
])("keys: the id %j comes back", (id) => {
  expect(check(encodeKey(id))).toBe("");
  expect(decodeKey(encodeKey(id))).toBe(id);
});

test("keys: ids that are none are refused", () => {
  const bad = [Number.NaN, Number.POSITIVE_INFINITY, "\ud800", `${"x".repeat(50)}\udc00`];
  for (const id of [...bad, "x".repeat(KEY_SIZE_MAX), "ä".repeat(KEY_SIZE_MAX / 2)]) {
    expect(() => encodeKey(id)).toThrow(ValidationError);
  }
  for (const id of [null, undefined, true, 1n, {}, [], new Date(0)]) {
    expect(() => encodeKey(id as unknown as string)).toThrow(ValidationError);
  }
  expect(encodeKey("x".repeat(KEY_SIZE_MAX - 1))).toHaveLength(KEY_SIZE_MAX);
});

test.each([
  ["nothing", ""],
  ["type 0", "00"],
  ["type 1", "01 61"],
  ["type 4", "04 61"],
  ["a number of 7 bytes", "02 bff00000000000"],
  ["a number of 9 bytes", "02 bff0000000000000 00"],
  ["a number alone", "02"],
  ["NaN", "02 fff8000000000000"],
  ["infinity", "02 fff0000000000000"],
  ["-infinity", "02 000fffffffffffff"],
  ["-0", "02 7fffffffffffffff"],
  ["bad UTF-8", "03 ff"],
  ["a surrogate", "03 eda080"],
])("keys: %s is none", (_name, digits) => {
  expect(check(new Uint8Array(Buffer.from(digits.replaceAll(" ", ""), "hex")))).not.toBe("");
});

test("keys: one byte too many is refused, in a range too", () => {
  const key = new Uint8Array(KEY_SIZE_MAX + 1).fill(0x61);
  key[0] = 3;
  expect(check(key)).not.toBe("");
  expect(checkKey(key, 0, KEY_SIZE_MAX)).toBe("");
});

// A frame's body was a Buffer, whose `slice` is a view: checking a number key flipped its sign bit
// in the command itself, and the document was stored under another id.
test("keys: to check or read a key in a Buffer does not change it", () => {
  for (const id of [1, -1, 0, 1e300]) {
    const key = Buffer.from(encodeKey(id));
    expect(check(key)).toBe("");
    expect(decodeKey(key)).toBe(id);
    expect(equalBytes(key, encodeKey(id))).toBe(true);
  }
});
