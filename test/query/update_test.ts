import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { CStoreError } from "../../src/base/errors.ts";
import type { Fields } from "../../src/base/value.ts";
import { compareBy, compileProjection } from "../../src/query/sort.ts";
import { CompiledUpdate, isOperatorUpdate, type UpdateOperators } from "../../src/query/update.ts";

const NOW_MS = 1_700_000_000_000;

function updated(document: Fields, operators: UpdateOperators, isInsert = false): Fields {
  return new CompiledUpdate(operators).apply(document, { nowMs: NOW_MS, isInsert });
}

// [operators, before, after]
const TABLE: readonly [UpdateOperators, Fields, Fields][] = [
  [{ $set: { a: 1, "b.c": 2 } }, { a: 0 }, { a: 1, b: { c: 2 } }],
  [{ $set: { "a.1": 9 } }, { a: [1, 2] }, { a: [1, 9] }],
  [{ $set: { "a.3": 9 } }, { a: [1] }, { a: [1, null, null, 9] }],
  [{ $set: { "a.0.b": 9 } }, { a: [{ b: 1, c: 2 }] }, { a: [{ b: 9, c: 2 }] }],
  [{ $set: { constructor: 1 } }, {}, { constructor: 1 }],
  [{ $unset: { a: "", "b.c": "", "d.e": "" } }, { a: 1, b: { c: 1, x: 2 } }, { b: { x: 2 } }],
  [{ $unset: { "a.0": "" } }, { a: [1, 2] }, { a: [null, 2] }],
  [{ $inc: { a: 2, b: -1, "c.d": 5 } }, { a: 1 }, { a: 3, b: -1, c: { d: 5 } }],
  [{ $inc: { a: 1 } }, { a: 2n ** 60n }, { a: 2n ** 60n + 1n }],
  [{ $mul: { a: 3, b: 3 } }, { a: 2 }, { a: 6, b: 0 }],
  [{ $min: { a: 1, b: 1, c: 1 } }, { a: 2, b: 0 }, { a: 1, b: 0, c: 1 }],
  [{ $max: { a: 1, b: 1, c: 1 } }, { a: 2, b: 0 }, { a: 2, b: 1, c: 1 }],
  [{ $rename: { a: "b", x: "y" } }, { a: 1, b: 0 }, { b: 1 }],
  [{ $rename: { "a.b": "c.d" } }, { a: { b: 1 } }, { a: {}, c: { d: 1 } }],
  [{ $currentDate: { a: true } }, {}, { a: new Date(NOW_MS) }],
  [{ $push: { a: 1, b: 2 } }, { a: [0] }, { a: [0, 1], b: [2] }],
  [{ $push: { a: { $each: [3, 1], $sort: 1, $slice: -2 } } }, { a: [2] }, { a: [2, 3] }],
  [{ $push: { a: { $each: [8, 9], $position: 1 } } }, { a: [1, 2] }, { a: [1, 8, 9, 2] }],
  [
    { $push: { a: { $each: [{ n: 1 }], $sort: { n: -1 } } } },
    { a: [{ n: 0 }, { n: 2 }] },
    { a: [{ n: 2 }, { n: 1 }, { n: 0 }] },
  ],
  [{ $addToSet: { a: 1, b: { $each: [1, 1, 2] } } }, { a: [1] }, { a: [1], b: [1, 2] }],
  [{ $addToSet: { a: { x: 1 } } }, { a: [{ x: 1 }] }, { a: [{ x: 1 }] }],
  [{ $pull: { a: 1 } }, { a: [1, 2, 1] }, { a: [2] }],
  [{ $pull: { a: { $gt: 1 } } }, { a: [1, 2, 3] }, { a: [1] }],
  [{ $pull: { a: { x: 1 } } }, { a: [{ x: 1, y: 1 }, { x: 2 }, 1] }, { a: [{ x: 2 }, 1] }],
  [{ $pull: { a: 1 } }, {}, {}],
  [{ $pullAll: { a: [1, 3] } }, { a: [1, 2, 3] }, { a: [2] }],
  [{ $pop: { a: 1, b: -1 } }, { a: [1, 2], b: [1, 2] }, { a: [1], b: [2] }],
  [{ $setOnInsert: { a: 1 } }, {}, {}],
];

describe("operators", () => {
  for (const [operators, before, after] of TABLE) {
    test(Bun.inspect(operators, { compact: true }), () => {
      const kept = structuredClone(before);
      expect(updated(before, operators)).toEqual(after);
      expect(before).toEqual(kept);
    });
  }

  test("$setOnInsert counts when the document is new", () => {
    expect(updated({}, { $setOnInsert: { a: 1 }, $set: { b: 2 } }, true)).toEqual({ a: 1, b: 2 });
  });
});

describe("refused", () => {
  const refused: readonly [UpdateOperators, Fields][] = [
    [{ $set: { a: 1 }, $inc: { a: 1 } }, {}],
    [{ $set: { a: 1, "a.b": 1 } }, {}],
    [{ $rename: { a: "b" }, $set: { b: 1 } }, {}],
    [{ $set: 1 }, {}],
    [{ $nothing: { a: 1 } }, {}],
    [{ $set: { "a.__proto__": 1 } }, {}],
    [{ $set: { "a.b": 1 } }, { a: 1 }],
    [{ $set: { "a.x": 1 } }, { a: [] }],
    [{ $set: { "a.999999": 1 } }, { a: [] }],
    [{ $inc: { a: 1 } }, { a: "1" }],
    [{ $inc: { a: "1" } }, { a: 1 }],
    [{ $inc: { a: 1.5 } }, { a: 1n }],
    [{ $inc: { a: 1e308 } }, { a: 1.7e308 }],
    [{ $push: { a: 1 } }, { a: 1 }],
    [{ $push: { a: { $each: 1 } } }, {}],
    [{ $push: { a: { $each: [], $nothing: 1 } } }, {}],
    [{ $pop: { a: 2 } }, {}],
    [{ $pullAll: { a: 1 } }, {}],
  ];
  for (const [operators, document] of refused) {
    test(Bun.inspect(operators, { compact: true }), () => {
      expect(() => updated(document, operators)).toThrow(CStoreError);
    });
  }

  test("operators and fields in one change", () => {
    expect(isOperatorUpdate({ $set: { a: 1 } })).toBe(true);
    expect(isOperatorUpdate({ a: { $set: 1 } })).toBe(false);
    expect(() => isOperatorUpdate({ $set: { a: 1 }, b: 2 })).toThrow(/do not go together/);
  });
});

describe("order and projection", () => {
  test("documents sort by several paths, and a missing field as null", () => {
    const documents = [{ a: 1, b: { c: 1 } }, { a: 1, b: { c: 2 } }, { b: { c: 0 } }, { a: 0 }];
    const sorted = [...documents].sort(compareBy({ a: 1, "b.c": -1 }));
    expect(sorted).toEqual([documents[2]!, documents[3]!, documents[1]!, documents[0]!]);
    expect(() => compareBy({ a: 2 as 1 })).toThrow(/1 or -1/);
  });

  const document = { id: 1, a: 1, b: { c: 1, d: [{ e: 1, f: 2 }, 3] } };
  const projected: readonly [Record<string, 0 | 1>, Fields][] = [
    [{}, document],
    [{ a: 1 }, { id: 1, a: 1 }],
    [{ a: 1, id: 0 }, { a: 1 }],
    [{ "b.d.e": 1 }, { id: 1, b: { d: [{ e: 1 }] } }],
    [{ b: 0 }, { id: 1, a: 1 }],
    [
      { "b.d.e": 0, id: 0 },
      { a: 1, b: { c: 1, d: [{ f: 2 }, 3] } },
    ],
    [{ nothing: 1 }, { id: 1 }],
  ];
  for (const [spec, after] of projected) {
    test(`projection ${JSON.stringify(spec)}`, () => {
      expect(compileProjection(spec, "id")(document)).toEqual(after);
    });
  }

  test("a projection of 0 and 1 is refused", () => {
    expect(() => compileProjection({ a: 1, b: 0 }, "id")).toThrow(/projection/);
  });
});

test("what an update does not name stays the same value", () => {
  const fields = fc.dictionary(fc.constantFrom("a", "b", "c"), fc.jsonValue(), {
    noNullPrototype: true,
  });
  fc.assert(
    fc.property(fields, (document) => {
      const after = updated(document as Fields, { $set: { "x.y": 1 }, $unset: { a: "" } });
      for (const name of ["b", "c"]) expect(after[name]).toBe((document as Fields)[name]);
      expect(Object.hasOwn(after, "a")).toBe(false);
    }),
  );
});
