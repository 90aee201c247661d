/**
 * The merge on encoded bytes, against the merge of plain objects that it stands for.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { mergeDocuments } from "../../../src/database/collection/merge_documents.ts";
import { decodeUntrustedCbor, encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import { fuzz, seeded } from "../../protocol/fuzz_seed.ts";

type Fields = Readonly<Record<string, unknown>>;

function isFields(value: unknown): value is Fields {
  return (
    typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype
  );
}

/** What the merge means. */
function merge(base: Fields, change: Fields): Fields {
  const merged: [string, unknown][] = Object.entries(base).map(([key, value]) => {
    if (!Object.hasOwn(change, key)) return [key, value];
    const next = change[key];
    return [key, isFields(value) && isFields(next) ? merge(value, next) : next];
  });
  const added = Object.entries(change).filter(([key]) => !Object.hasOwn(base, key));
  return Object.fromEntries([...merged, ...added]);
}

function mergeEncoded(base: Fields, change: Fields): unknown {
  return decodeUntrustedCbor(mergeDocuments(encodeCbor(base), encodeCbor(change)));
}

function hex(digits: string): Uint8Array {
  return new Uint8Array(Buffer.from(digits.replaceAll(" ", ""), "hex"));
}

const key = fc.oneof(
  fc.constantFrom("a", "b", "c", "d", "", "constructor", "toString", "a.b", "\ufeffa", "ä", "0"),
  fc.string({ maxLength: 3 }).filter((text) => text !== "__proto__"),
);

const { fields } = fc.letrec<{ value: unknown; fields: Fields }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.oneof(
      fc.integer(),
      fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => n + 0),
      fc.string(),
      fc.boolean(),
      fc.constant(null),
      fc.date({ noInvalidDate: true, min: new Date(-1e15), max: new Date(1e15) }),
      fc.uint8Array({ maxLength: 30 }),
    ),
    fc.array(tie("value"), { maxLength: 4 }),
    tie("fields"),
    tie("fields"),
  ),
  fields: fc.dictionary(key, tie("value"), { maxKeys: 5, noNullPrototype: true }),
}));

describe("model", () => {
  // Mutations that this finds: arrays merged item by item, added fields lost, a shallow merge.
  test(seeded("merge: bytes give what objects give, in the same order"), () => {
    fc.assert(
      fc.property(fields, fields, (base, change) => {
        const merged = mergeEncoded(base, change);
        const expected = merge(base, change);
        expect(merged).toEqual(expected);
        expect(JSON.stringify(merged)).toBe(JSON.stringify(expected));
      }),
      fuzz(3_000),
    );
  });

  test(seeded("merge: with nothing nothing changes, with itself neither"), () => {
    fc.assert(
      fc.property(fields, (base) => {
        expect(mergeEncoded(base, {})).toEqual(base);
        expect(mergeEncoded({}, base)).toEqual(base);
        expect(mergeEncoded(base, base)).toEqual(base);
      }),
      fuzz(500),
    );
  });
});

describe("cases", () => {
  test("merge: arrays are replaced, maps in arrays too", () => {
    const base = { list: [1, 2, 3], maps: [{ a: 1 }] };
    expect(mergeEncoded(base, { list: [9], maps: [{ b: 2 }] })).toEqual({
      list: [9],
      maps: [{ b: 2 }],
    });
  });

  test("merge: null is a value, a map replaces a scalar and the other way round", () => {
    const base = { a: { b: 1 }, c: 2, d: { e: 3 } };
    const change = { a: null, c: { x: 1 }, d: 4 };
    expect(mergeEncoded(base, change)).toEqual({ a: null, c: { x: 1 }, d: 4 });
  });

  test("merge: what does not change keeps its bytes, what does takes the change's", () => {
    // A float16, an integer and a text, each in another form than our encoder's.
    const base = hex("b8 03 61 61 f9 3c00 61 62 1b 0000000000000001 61 63 78 01 78");
    const change = hex("a1 61 62 19 0002");
    const merged = mergeDocuments(base, change);
    expect(merged).toEqual(hex("a3 61 61 f9 3c00 61 62 19 0002 61 63 78 01 78"));
  });

  test("merge: a key in a longer head is the same key", () => {
    const merged = mergeDocuments(hex("a1 61 61 01"), hex("bb 0000000000000001 7a 00000001 61 02"));
    expect(merged).toEqual(hex("a1 61 61 02"));
  });

  // A reader takes the last of two: so must a merge, on both sides.
  test("merge: of keys that stand twice the last one counts", () => {
    const twice = hex("a2 61 61 01 61 61 a1 61 78 02");
    const merged = decodeUntrustedCbor(mergeDocuments(twice, hex("a1 61 61 a1 61 79 03")));
    expect(merged).toEqual({ a: { x: 2, y: 3 } });
    const changed = mergeDocuments(
      hex("a1 61 61 a1 61 78 01"),
      hex("a2 61 61 05 61 61 a1 61 79 02"),
    );
    expect(decodeUntrustedCbor(changed)).toEqual({ a: { x: 1, y: 2 } });
    const added = decodeUntrustedCbor(mergeDocuments(hex("a0"), hex("a2 61 62 01 61 62 02")));
    expect(added).toEqual({ b: 2 });
  });

  test.each([22, 23, 24, 255, 256, 65_534, 65_535, 65_536])(
    "merge: %i entries and one more",
    (n) => {
      const base = Object.fromEntries(Array.from({ length: n }, (_, i) => [i.toString(36), i]));
      const merged = mergeEncoded(base, { "0": -1, another: true }) as Fields;
      expect(Object.keys(merged)).toHaveLength(n + 1);
      expect(merged).toMatchObject({ "0": -1, another: true });
      expect(merged[(n - 1).toString(36)]).toBe(n - 1);
    },
  );

  // Each field of the change was looked for among all fields of the document: with 100,000 on both
  // sides, which two documents of 1 MiB have room for, every node stood still for minutes.
  test("merge: many fields on both sides take no time", () => {
    const of = (prefix: string): Fields =>
      Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [prefix + i.toString(36), 0]));
    const [base, change] = [encodeCbor(of("a")), encodeCbor({ ...of("b"), ...of("a") })];
    const before = performance.now();
    mergeDocuments(base, change);
    expect(performance.now() - before).toBeLessThan(3_000);
  });

  test("merge: 64 levels of maps", () => {
    const deep = (depth: number, leaf: Fields): Fields =>
      depth === 1 ? leaf : { a: deep(depth - 1, leaf) };
    const merged = mergeEncoded(deep(64, { x: 1 }), deep(64, { y: 2 }));
    expect(merged).toEqual(deep(64, { x: 1, y: 2 }));
  });
});
