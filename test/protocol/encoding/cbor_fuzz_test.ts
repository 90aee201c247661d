/**
 * The gate and our decoder beside other decoders: all read the same value from allowed bytes.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { Encoder } from "cbor-x/encode";
import { decode as decodeCborg } from "cborg";
import fc from "fast-check";
import { decodeCbor, encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import { checkCbor, isUtf8 } from "../../../src/protocol/encoding/cbor_gate.ts";
import { fuzz, fuzzRandom, mutate, rounds, seeded } from "../fuzz_seed.ts";

const CBOR_X = new Encoder({ useRecords: false, mapsAsObjects: true, tagUint8Array: false });
const CBORG_TAGS = {
  1: (decode: () => unknown) => new Date(Math.round(Number(decode()) * 1000)),
};

/** Makes what the decoders give comparable: bytes as arrays, dates to the ms, bigints by size. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return { bytes: [...value] };
  if (value instanceof Date) return { date: Math.round(value.getTime()) };
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.entries(value).map(([key, item]) => [key, plain(item)]);
}

function check(bytes: Uint8Array): string {
  return checkCbor(bytes, 0, bytes.byteLength);
}

/** cborg takes U+FEFF before a text for a byte order mark and drops it; we keep it. */
function withoutMark(value: unknown): unknown {
  if (typeof value === "string") return value.replace(/^\ufeff/, "");
  return Array.isArray(value) ? value.map(withoutMark) : value;
}

function expectAlike(bytes: Uint8Array): void {
  const theirs = decodeCborg(bytes, { tags: CBORG_TAGS, allowBigInt: true });
  expect(withoutMark(plain(decodeCbor(bytes)))).toEqual(withoutMark(plain(theirs)));
}

/** cbor-x cuts dates and eats U+FEFF, so it reads only values without them. */
function expectAlikeCborX(bytes: Uint8Array): void {
  expect(plain(CBOR_X.decode(bytes.slice()))).toEqual(plain(decodeCbor(bytes)));
}

const name = fc.string({ unit: "binary", maxLength: 12 }).filter((text) => text !== "__proto__");
const leaf = fc.oneof(
  fc.constantFrom<unknown>(null, true, false, "", "\ufeffx", 0, -1, 23, 24, 2 ** 32, 2 ** 53),
  fc.integer(),
  fc.maxSafeInteger(),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => number + 0),
  fc.string({ unit: "binary", maxLength: 70 }),
  fc.uint8Array({ maxLength: 40 }),
  fc.date({ noInvalidDate: true, min: new Date(-1e15), max: new Date(1e15) }),
);
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "medium", withCrossShrink: true },
    leaf,
    fc.array(tie("value"), { maxLength: 6 }),
    fc.dictionary(name, tie("value"), { maxKeys: 6, noNullPrototype: true }),
  ),
}));

test(seeded("values: everything that is stored comes back, and cborg reads the same"), () => {
  fc.assert(
    fc.property(value, (input) => {
      const bytes = encodeCbor(input);
      expect(check(bytes)).toBe("");
      expect(plain(decodeCbor(bytes))).toEqual(plain(input));
      expectAlike(bytes);
    }),
    fuzz(1_000),
  );
});

test(seeded("values: cbor-x reads the same, but for dates and U+FEFF"), () => {
  const json = fc.jsonValue({ maxDepth: 6 }).filter((input) => {
    return !/\ufeff|__proto__/.test(JSON.stringify(input));
  });
  fc.assert(
    fc.property(json, (input) => {
      expectAlikeCborX(encodeCbor(input));
    }),
    fuzz(1_500),
  );
});

/** Heads that are likely to make a value of many bytes whole. */
const HEADS = [0x00, 0x18, 0x19, 0x20, 0x38, 0x41, 0x58, 0x61, 0x62, 0x78, 0x80, 0x81, 0x82, 0x98];
const MORE_HEADS = [0xa0, 0xa1, 0xa2, 0xb8, 0xc1, 0xf4, 0xf6, 0xf9, 0xfa, 0xfb, 0x1b, 0x3b];

/** Changes keep the sizes, so that more than a few inputs pass. */
test(
  seeded("gate: every mutated value that it lets pass is read alike, and nothing throws"),
  () => {
    const random = fuzzRandom();
    const samples = fc.sample(value, fuzz(300)).map(encodeCbor);
    let passed = 0;
    for (let i = 0; i < rounds(8_000); i += 1) {
      const bytes = mutate(random, samples[i % samples.length]!);
      if (check(bytes) !== "") continue;
      passed += 1;
      const ours = decodeCbor(bytes);
      // Dates beyond the calendar are NaN, which equals nothing.
      const shown = JSON.stringify(plain(ours), (_, item) => `${item}`);
      if (shown.includes("NaN")) continue;
      expectAlike(bytes);
    }
    expect(passed).toBeGreaterThan(rounds(8_000) / 20);
  },
);

test(seeded("gate: random heads and bytes"), () => {
  const random = fuzzRandom();
  const heads = [...HEADS, ...MORE_HEADS];
  let passed = 0;
  for (let i = 0; i < rounds(150_000); i += 1) {
    const bytes = new Uint8Array(1 + random.below(10));
    for (let at = 0; at < bytes.byteLength; at += 1) {
      const isHead = random.chance(0.7);
      bytes[at] = isHead ? heads[random.below(heads.length)]! : random.below(256);
    }
    if (check(bytes) !== "") continue;
    passed += 1;
    const ours = JSON.stringify(plain(decodeCbor(bytes)), (_, item) => `${item}`);
    if (!ours.includes("NaN")) expectAlike(bytes);
  }
  expect(passed).toBeGreaterThan(rounds(150_000) / 150);
});

// The edges of each form stand in cbor_gate_test.ts.
test(seeded("gate: isUtf8 and TextDecoder agree on random bytes"), () => {
  const random = fuzzRandom();
  const strict = new TextDecoder("utf-8", { fatal: true });
  const accepts = (bytes: Uint8Array): boolean => {
    try {
      strict.decode(bytes);
      return true;
    } catch {
      return false;
    }
  };
  const disagreed: string[] = [];
  const compare = (bytes: Uint8Array): void => {
    if (isUtf8(bytes, 0, bytes.byteLength) === accepts(bytes)) return;
    disagreed.push(Buffer.from(bytes).toString("hex"));
  };
  for (let i = 0; i < rounds(20_000); i += 1) {
    const bytes = Uint8Array.from({ length: random.below(12) }, () => random.below(256));
    compare(bytes);
    const text = new TextEncoder().encode(String.fromCodePoint(random.below(0x11_0000)));
    compare(mutate(random, text));
  }
  expect(disagreed).toEqual([]);
});
