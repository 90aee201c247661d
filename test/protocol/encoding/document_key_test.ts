/**
 * Keys: they sort as their ids, come back as their ids, and all other bytes are refused.
 *
 * @module
 */

import { expect, test } from "bun:test";
import fc from "fast-check";
import { equalBytes } from "../../../src/base/bytes.ts";
import { ValidationError } from "../../../src/base/errors.ts";
import { KEY_SIZE_MAX } from "../../../src/base/limits.ts";
import { encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import {
  checkKey,
  decodeKey,
  encodeKey,
  holdsKey,
} from "../../../src/protocol/encoding/document_key.ts";
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

test.each<readonly [string | number, string]>([
  ["", "03"],
  ["a", "0361"],
  ["\u007f", "037f"],
  ["\u0080", "03c280"],
  ["\u00e4", "03c3a4"],
  ["x".repeat(40), `03${"78".repeat(40)}`],
  [`${"x".repeat(39)}\u00e4`, `03${"78".repeat(39)}c3a4`],
  ["x".repeat(41), `03${"78".repeat(41)}`],
  [0, "028000000000000000"],
  [-0, "028000000000000000"],
  [1, "02bff0000000000000"],
  [-1, "02400fffffffffffff"],
  [Number.MAX_VALUE, "02ffefffffffffffff"],
  [-Number.MAX_VALUE, "020010000000000000"],
  [5e-324, "028000000000000001"],
  [-5e-324, "027ffffffffffffffe"],
])("keys: the id %j has exactly these bytes", (id, digits) => {
  expect(Buffer.from(encodeKey(id)).toString("hex")).toBe(digits);
  expect(decodeKey(encodeKey(id))).toBe(id === 0 ? 0 : id);
});

test.each<readonly [unknown, string]>([
  [null, "Cannot use an id of type object: use a string or a number"],
  [true, "Cannot use an id of type boolean: use a string or a number"],
  [Number.NaN, "Cannot use the id NaN: it is not finite"],
  [Number.NEGATIVE_INFINITY, "Cannot use the id -Infinity: it is not finite"],
  ["\ud800", "Cannot use an id with a lone surrogate"],
  ["x".repeat(KEY_SIZE_MAX), "Cannot use an id of 1025 bytes: it has at most 1024"],
])("keys: the id %j is refused", (id, message) => {
  expect(() => encodeKey(id as string)).toThrow(new ValidationError(message));
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

test("keys: values that are no ids are refused", () => {
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
  ["nothing", "", "a key has 1 to 1024 bytes"],
  ["type 0", "00", "the key's type is unknown"],
  ["type 1", "01 61", "the key's type is unknown"],
  ["type 4", "04 61", "the key's type is unknown"],
  ["type 4 with 8 bytes", "04 bff0000000000000", "the key's type is unknown"],
  ["a number of 7 bytes", "02 bff00000000000", "the key's type is unknown"],
  ["a number of 9 bytes", "02 bff0000000000000 00", "the key's type is unknown"],
  ["a number alone", "02", "the key's type is unknown"],
  ["NaN", "02 fff8000000000000", "the key is not a finite number"],
  ["infinity", "02 fff0000000000000", "the key is not a finite number"],
  ["-infinity", "02 000fffffffffffff", "the key is not a finite number"],
  ["-0", "02 7fffffffffffffff", "the key is not a finite number"],
  ["bad UTF-8", "03 ff", "the key is not valid UTF-8"],
  ["a surrogate", "03 eda080", "the key is not valid UTF-8"],
])("keys: %s is no key", (_name, digits, refusal) => {
  const key = new Uint8Array(Buffer.from(digits.replaceAll(" ", ""), "hex"));
  expect(check(key)).toBe(refusal);
  const around = new Uint8Array([3, ...key, 0x61]);
  expect(checkKey(around, 1, 1 + key.byteLength)).toBe(refusal);
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

function holds(document: object, id: string | number): boolean {
  return holdsWithin(encodeCbor(document), encodeKey(id), new Uint8Array(0));
}

function holdsWithin(document: Uint8Array, key: Uint8Array, behind: Uint8Array): boolean {
  const bytes = new Uint8Array([...key, ...document, ...behind]);
  const start = key.byteLength;
  const end = start + document.byteLength;
  return holdsKey({ bytes, start, end }, { bytes, start: 0, end: start });
}

// A map without fields was read on behind its end: a node ended by what a client sent there.
test.each(["a0", "b90000"])("an empty map, %s, holds no key, whatever stands behind it", (map) => {
  const document = new Uint8Array(Buffer.from(map, "hex"));
  for (const id of ["", "k", "k".repeat(20)]) {
    const key = encodeKey(id);
    const value = encodeCbor(id);
    for (let size = 0; size <= value.byteLength; size += 1) {
      const behind = new Uint8Array([0x60, ...value.subarray(0, size)]);
      expect(holdsWithin(document, key, behind)).toBe(false);
    }
  }
});

// Mutations that this finds: a value skipped too far, a key's own bytes taken for a value.
test.each<readonly [object, string | number, boolean]>([
  [{ id: "a" }, "a", true],
  [{ id: "a".repeat(23) }, "a".repeat(23), true],
  [{ id: "a".repeat(24) }, "a".repeat(24), true],
  [{ id: `${"a".repeat(22)}b` }, "a".repeat(23), false],
  [{ ["n".repeat(30)]: "a", z: 1 }, "a", true],
  [{ id: [1, 2] }, "\u0001\u0002", false],
  [{ id: "a" }, "b", false],
  [{ id: "ab" }, "a", false],
  [{ id: "" }, "", true],
  [{ a: 1 }, "a", false],
  [{}, "a", false],
  [{ n: { deep: [1, { id: "a" }] }, list: ["a"], id: "b" }, "a", false],
  [
    { n: { deep: [1, { id: "b" }] }, when: new Date(5), bytes: new Uint8Array(9), id: "a" },
    "a",
    true,
  ],
  [{ other: "x", name: "\u00e4" }, "\u00e4", true],
  [{ id: 7 }, 7, true],
  [{ id: 7 }, "7", false],
  [{ id: "7" }, 7, false],
  [{ id: -7 }, -7, true],
  [{ id: 1.5 }, 1.5, true],
  [{ id: 0.1 }, 0.1, true],
  [{ id: -0 }, 0, true],
  [{ id: 2 ** 40 }, 2 ** 40, true],
  [{ id: true }, 1, false],
  [{ id: null }, 0, false],
  [{ id: new Date(7) }, 7, false],
])("%j holds the key %j: %j", (document, id, isHeld) => {
  expect(holds(document, id)).toBe(isHeld);
});

test("an id as a float of 16 bits, which other encoders write, is the same number", () => {
  const document = Uint8Array.of(0xa1, 0x62, 0x69, 0x64, 0xf9, 0x3e, 0x00);
  const key = encodeKey(1.5);
  const bytes = new Uint8Array([...key, ...document]);
  const start = key.byteLength;
  const held = holdsKey({ bytes, start, end: bytes.byteLength }, { bytes, start: 0, end: start });
  expect(held).toBe(true);
});
