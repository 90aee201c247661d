/**
 * Update operators: documents before and after, and refusals with their messages.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { CStoreError, QueryError, ValidationError } from "../../src/base/errors.ts";
import type { Fields } from "../../src/base/value.ts";
import { CompiledUpdate, isOperatorUpdate, type UpdateOperators } from "../../src/query/update.ts";
import { fuzz, seeded } from "../protocol/fuzz_seed.ts";

const NOW_MS = 1_700_000_000_000;

function updated(document: Fields, operators: UpdateOperators, isInsert = false): Fields {
  return new CompiledUpdate(operators).apply(document, { nowMs: NOW_MS, isInsert });
}

// [operators, before, after]
const TABLE: readonly [UpdateOperators, Fields, Fields][] = [
  [{ $set: { a: 1, "b.c": 2 } }, { a: 0 }, { a: 1, b: { c: 2 } }],
  [{ $set: { "a.b": 1 } }, { a: { b: 0, c: 2 }, d: 3 }, { a: { b: 1, c: 2 }, d: 3 }],
  [{ $set: { "a.0": 9 } }, {}, { a: { "0": 9 } }],
  [{ $set: { "a.1": 9 } }, { a: [1, 2] }, { a: [1, 9] }],
  [{ $set: { "a.2": 9 } }, { a: [1, 2] }, { a: [1, 2, 9] }],
  [{ $set: { "a.3": 9 } }, { a: [1] }, { a: [1, null, null, 9] }],
  [{ $set: { "a.0.b": 9 } }, { a: [{ b: 1, c: 2 }] }, { a: [{ b: 9, c: 2 }] }],
  [{ $set: { "a.1.b": 9 } }, { a: [1] }, { a: [1, { b: 9 }] }],
  [{ $set: { constructor: 1 } }, {}, { constructor: 1 }],
  [{ $set: { a: { $inc: 1 } } }, {}, { a: { $inc: 1 } }],
  [{ $unset: { a: "", "b.c": "", "d.e": "" } }, { a: 1, b: { c: 1, x: 2 } }, { b: { x: 2 } }],
  [{ $unset: { "a.0": "" } }, { a: [1, 2] }, { a: [null, 2] }],
  [{ $unset: { "a.1": "" } }, { a: [1, 2] }, { a: [1, null] }],
  [{ $unset: { "a.2": "" } }, { a: [1, 2] }, { a: [1, 2] }],
  [{ $unset: { "a.b": "" } }, { a: 1 }, { a: 1 }],
  [{ $unset: { "a.0.b": "" } }, { a: [{ b: 1, c: 1 }] }, { a: [{ c: 1 }] }],
  [{ $inc: { a: 2, b: -1, "c.d": 5 } }, { a: 1 }, { a: 3, b: -1, c: { d: 5 } }],
  [{ $inc: { a: 1 } }, { a: 2n ** 60n }, { a: 2n ** 60n + 1n }],
  [{ $inc: { a: 2n } }, { a: 5 }, { a: 7n }],
  [{ $inc: { a: 0.5 } }, { a: 1 }, { a: 1.5 }],
  [{ $inc: { a: 3 }, $mul: { b: 3 } }, {}, { a: 3, b: 0 }],
  [{ $mul: { a: 3, b: 3 } }, { a: 2 }, { a: 6, b: 0 }],
  [{ $mul: { a: 3n } }, { a: 5n }, { a: 15n }],
  [{ $min: { a: 1, b: 1, c: 1 } }, { a: 2, b: 0 }, { a: 1, b: 0, c: 1 }],
  [{ $min: { a: 1, b: "x", c: 5 } }, { a: 1n, b: 5, c: "x" }, { a: 1n, b: 5, c: 5 }],
  [{ $max: { a: 1, b: 1, c: 1 } }, { a: 2, b: 0 }, { a: 2, b: 1, c: 1 }],
  [{ $max: { a: 1, b: "x", c: 5 } }, { a: 1n, b: 5, c: "x" }, { a: 1n, b: "x", c: "x" }],
  [{ $rename: { a: "b", x: "y" } }, { a: 1, b: 0 }, { b: 1 }],
  [{ $rename: { "a.b": "c.d" } }, { a: { b: 1 } }, { a: {}, c: { d: 1 } }],
  [{ $rename: { a: "b" } }, { a: null }, { b: null }],
  [{ $rename: { "a.0": "b" } }, { a: [1, 2] }, { a: [null, 2], b: 1 }],
  [{ $rename: { x: "y" } }, { y: 1 }, { y: 1 }],
  [{ $rename: { "a.5": "b" } }, { a: [1, 2] }, { a: [1, 2] }],
  [{ $rename: { a: "b" }, $set: { c: 1 } }, { a: 1 }, { b: 1, c: 1 }],
  [{ $currentDate: { a: true } }, {}, { a: new Date(NOW_MS) }],
  [{ $push: { a: 1, b: 2 } }, { a: [0] }, { a: [0, 1], b: [2] }],
  [{ $push: { a: [1, 2] } }, { a: [0] }, { a: [0, [1, 2]] }],
  [{ $push: { a: { b: 1 } } }, { a: [0] }, { a: [0, { b: 1 }] }],
  [{ $push: { a: { $each: [] } } }, {}, { a: [] }],
  [{ $push: { a: { $each: [3, 1], $sort: 1, $slice: -2 } } }, { a: [2] }, { a: [2, 3] }],
  [{ $push: { a: { $each: [3, 1], $sort: -1 } } }, { a: [2] }, { a: [3, 2, 1] }],
  [{ $push: { a: { $each: [3, 1], $slice: 2 } } }, { a: [2] }, { a: [2, 3] }],
  [{ $push: { a: { $each: [3, 1], $slice: 0 } } }, { a: [2] }, { a: [] }],
  [{ $push: { a: { $each: [3, 1], $slice: -1 } } }, { a: [2] }, { a: [1] }],
  [{ $push: { a: { $each: [8, 9], $position: 1 } } }, { a: [1, 2] }, { a: [1, 8, 9, 2] }],
  [{ $push: { a: { $each: [8, 9], $position: 0 } } }, { a: [1, 2] }, { a: [8, 9, 1, 2] }],
  [{ $push: { a: { $each: [8], $position: 9 } } }, { a: [1, 2] }, { a: [1, 2, 8] }],
  [{ $push: { a: { $each: [8], $position: -1 } } }, { a: [1, 2] }, { a: [1, 8, 2] }],
  [{ $push: { a: { $each: [8], $position: -2 } } }, { a: [1, 2] }, { a: [8, 1, 2] }],
  [{ $push: { a: { $each: [8], $position: -9 } } }, { a: [1, 2] }, { a: [8, 1, 2] }],
  [
    { $push: { a: { $each: [{ n: 1 }], $sort: { n: -1 } } } },
    { a: [{ n: 0 }, { n: 2 }] },
    { a: [{ n: 2 }, { n: 1 }, { n: 0 }] },
  ],
  [
    { $push: { a: { $each: [{ n: 1 }, 7], $sort: { n: 1 } } } },
    { a: [{ n: 0 }] },
    { a: [7, { n: 0 }, { n: 1 }] },
  ],
  [{ $addToSet: { a: 1, b: { $each: [1, 1, 2] } } }, { a: [1] }, { a: [1], b: [1, 2] }],
  [{ $addToSet: { a: 2 } }, { a: [1] }, { a: [1, 2] }],
  [{ $addToSet: { a: { x: 1 } } }, { a: [{ x: 1 }] }, { a: [{ x: 1 }] }],
  [{ $addToSet: { a: { x: 1 } } }, { a: [{ x: 1, y: 1 }] }, { a: [{ x: 1, y: 1 }, { x: 1 }] }],
  [{ $addToSet: { a: [1] } }, { a: [1] }, { a: [1, [1]] }],
  [{ $pull: { a: 1 } }, { a: [1, 2, 1] }, { a: [2] }],
  [{ $pull: { a: { $gt: 1 } } }, { a: [1, 2, 3] }, { a: [1] }],
  [{ $pull: { a: { $gte: 2 } } }, { a: [1, 2, 3] }, { a: [1] }],
  [{ $pull: { a: { x: 1 } } }, { a: [{ x: 1, y: 1 }, { x: 2 }, 1] }, { a: [{ x: 2 }, 1] }],
  [{ $pull: { a: { x: { $gt: 1 } } } }, { a: [{ x: 1 }, { x: 2 }, {}] }, { a: [{ x: 1 }, {}] }],
  [{ $pull: { a: null } }, { a: [null, 0, {}] }, { a: [0, {}] }],
  [{ $pull: { a: 1 } }, {}, {}],
  [{ $pull: { "a.0": 1 } }, { a: [[1, 2]] }, { a: [[2]] }],
  [{ $pullAll: { a: [1, 3] } }, { a: [1, 2, 3] }, { a: [2] }],
  [{ $pullAll: { a: [{ x: 1 }] } }, { a: [{ x: 1 }, { x: 1, y: 2 }] }, { a: [{ x: 1, y: 2 }] }],
  [{ $pullAll: { a: [] } }, { a: [1] }, { a: [1] }],
  [{ $pullAll: { a: [1] } }, {}, {}],
  [{ $pop: { a: 1, b: -1 } }, { a: [1, 2], b: [1, 2] }, { a: [1], b: [2] }],
  [{ $pop: { a: 1, b: -1 } }, { a: [], b: [] }, { a: [], b: [] }],
  [{ $pop: { a: 1 } }, {}, {}],
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
    const operators = { $setOnInsert: { a: 1 }, $set: { b: 2 } };
    expect(updated({}, operators, true)).toEqual({ a: 1, b: 2 });
    expect(updated({}, operators, false)).toEqual({ b: 2 });
  });
});

describe("refused", () => {
  const refused: readonly (readonly [UpdateOperators, Fields, string])[] = [
    [{ $set: { a: 1 }, $inc: { a: 1 } }, {}, '"a" and "a" overlap'],
    [{ $set: { a: 1, "a.b": 1 } }, {}, '"a" and "a.b" overlap'],
    [{ $set: { "a.b": 1, "a!": 1, a: 1 } }, {}, '"a" and "a.b" overlap'],
    [{ $set: { "a.b.c": 1 }, $unset: { "a.b": 1 } }, {}, '"a.b" and "a.b.c" overlap'],
    [{ $rename: { a: "b" }, $set: { b: 1 } }, {}, '"b" and "b" overlap'],
    [{ $rename: { a: "a.b" } }, {}, '"a" and "a.b" overlap'],
    [{ $rename: { a: 1 } }, {}, "$rename takes the new name as a text"],
    [{ $set: 1 }, {}, "$set takes an object of fields"],
    [{ $set: [1] }, {}, "$set takes an object of fields"],
    [{ $nothing: { a: 1 } }, {}, 'operator "$nothing" is unknown'],
    [{ $set: { "a.__proto__": 1 } }, {}, "no document has a field __proto__"],
    [{ $rename: { a: "b.__proto__" } }, {}, "no document has a field __proto__"],
    [{ $set: { "a.b": 1 } }, { a: 1 }, 'Cannot update "a.b": the parent of "b" is no object'],
    [{ $set: { "a.b": 1 } }, { a: null }, 'Cannot update "a.b": the parent of "b" is no object'],
    [
      { $set: { "a.b.c": 1 } },
      { a: { b: 1 } },
      'Cannot update "a.b.c": the parent of "c" is no object',
    ],
    [{ $set: { "a.x": 1 } }, { a: [] }, 'Cannot update "a.x": "x" is no position'],
    [{ $set: { "a.1x": 1 } }, { a: [] }, 'Cannot update "a.1x": "1x" is no position'],
    [
      { $set: { "a.1000000": 1 } },
      { a: [] },
      'Cannot update "a.1000000": "1000000" is no position',
    ],
    [{ $unset: { "a.x": 1 } }, { a: [] }, 'Cannot update "a.x": "x" is no position'],
    [{ $set: { "a.999999": 1 } }, { a: [] }, 'Cannot update "a.999999": the array is too short'],
    [{ $set: { "a.1002": 1 } }, { a: [0] }, 'Cannot update "a.1002": the array is too short'],
    [
      { $rename: { a: "b.c" } },
      { a: 1, b: 1 },
      'Cannot update "b.c": the parent of "c" is no object',
    ],
    [{ $inc: { a: 1 } }, { a: "1" }, "$inc needs a number, and the field holds none"],
    [{ $mul: { a: 1 } }, { a: true }, "$mul needs a number, and the field holds none"],
    [{ $inc: { a: "1" } }, { a: 1 }, "Cannot read the update: $inc takes a number"],
    [{ $mul: { a: null } }, { a: 1 }, "Cannot read the update: $mul takes a number"],
    [{ $inc: { a: 1.5 } }, { a: 1n }, "$inc mixes a bigint and a fraction"],
    [{ $mul: { a: 2n } }, { a: 0.5 }, "$mul mixes a bigint and a fraction"],
    [{ $inc: { a: 1e308 } }, { a: 1.7e308 }, "the result of $inc is not finite"],
    [{ $mul: { a: 1e308 } }, { a: -10 }, "the result of $mul is not finite"],
    [{ $push: { a: 1 } }, { a: 1 }, "$push needs an array, and the field holds none"],
    [{ $push: { a: 1 } }, { a: null }, "$push needs an array, and the field holds none"],
    [{ $addToSet: { a: 1 } }, { a: {} }, "$addToSet needs an array, and the field holds none"],
    [{ $pull: { a: 1 } }, { a: 1 }, "$pull needs an array, and the field holds none"],
    [{ $pullAll: { a: [1] } }, { a: 1 }, "$pullAll needs an array, and the field holds none"],
    [{ $pop: { a: 1 } }, { a: "ab" }, "$pop needs an array, and the field holds none"],
    [{ $push: { a: { $each: 1 } } }, {}, "$push with $each takes a list"],
    [{ $addToSet: { a: { $each: 1 } } }, {}, "$addToSet with $each takes a list"],
    [{ $push: { a: { $each: [], $nothing: 1 } } }, {}, '$push does not take "$nothing"'],
    [{ $addToSet: { a: { $each: [], $sort: 1 } } }, {}, '$addToSet does not take "$sort"'],
    [{ $push: { a: { $each: [], $position: 0.5 } } }, {}, "$position takes a whole number"],
    [{ $push: { a: { $each: [], $slice: "1" } } }, {}, "$slice takes a whole number"],
    [{ $push: { a: { $each: [], $sort: 2 } } }, {}, "$sort takes 1, -1 or fields"],
    [{ $push: { a: { $each: [], $sort: { n: 2 } } } }, {}, 'Cannot sort by "n"'],
    [{ $pop: { a: 2 } }, {}, "$pop takes 1 (last) or -1 (first)"],
    [{ $pop: { a: 0 } }, {}, "$pop takes 1 (last) or -1 (first)"],
    [{ $pullAll: { a: 1 } }, {}, "$pullAll takes a list"],
    [{ $pull: { a: { $nothing: 1 } } }, {}, 'operator "$nothing" is unknown'],
  ];
  for (const [operators, document, message] of refused) {
    test(`${Bun.inspect(operators, { compact: true })}: ${message}`, () => {
      expect(() => updated(document, operators)).toThrow(CStoreError);
      expect(() => updated(document, operators)).toThrow(message);
    });
  }

  test("an unknown operator comes with a remedy", () => {
    const remedy = "docs/queries.md lists the operators";
    expect(() => updated({}, { $nothing: { a: 1 } })).toThrow(expect.objectContaining({ remedy }));
  });

  test("paths beside each other are two places", () => {
    const sets = { a: 1, "b.c": 1, "b.d": 1, "b!": 1, ab: 1 };
    const after = { a: 1, b: { c: 1, d: 1 }, "b!": 1, ab: 1 };
    expect(updated({}, { $set: sets })).toEqual(after);
  });

  test("an array is filled up by 1,000 places and no more", () => {
    const { a } = updated({ a: [0] }, { $set: { "a.1001": 1 } });
    expect(a).toHaveLength(1002);
    expect((a as readonly unknown[]).slice(0, 3)).toEqual([0, null, null]);
    expect((a as readonly unknown[])[1001]).toBe(1);
  });

  test("more comparisons than the limit are refused", () => {
    const list = Array(2000).fill(0);
    expect(updated({ a: list }, { $pullAll: { a: list } })).toEqual({ a: [] });
    const longer = [...list, 0];
    expect(() => updated({ a: longer }, { $pullAll: { a: list } })).toThrow(
      new ValidationError("Cannot update: $pullAll would need 4002000 comparisons"),
    );
    const few = Array(1000).fill(0);
    const add = { $addToSet: { a: { $each: few } } };
    expect(updated({ a: Array(3000).fill(0) }, add)["a"]).toHaveLength(3000);
    expect(() => updated({ a: Array(3001).fill(0) }, add)).toThrow(
      new ValidationError("Cannot update: $addToSet would need 4001000 comparisons"),
    );
  });

  test("operators and fields in one change", () => {
    expect(isOperatorUpdate({ $set: { a: 1 } })).toBe(true);
    expect(isOperatorUpdate({ $set: { a: 1 }, $inc: { b: 1 } })).toBe(true);
    expect(isOperatorUpdate({ a: { $set: 1 } })).toBe(false);
    expect(isOperatorUpdate({})).toBe(false);
    expect(() => isOperatorUpdate({ $set: { a: 1 }, b: 2 })).toThrow(
      new QueryError("Cannot read the update: it mixes operators and fields"),
    );
  });
});

test(seeded("fields that an update does not name stay the same values"), () => {
  const fields = fc.dictionary(fc.constantFrom("a", "b", "c"), fc.jsonValue(), {
    noNullPrototype: true,
  });
  fc.assert(
    fc.property(fields, (document) => {
      const after = updated(document as Fields, { $set: { "x.y": 1 }, $unset: { a: "" } });
      for (const name of ["b", "c"]) expect(after[name]).toBe((document as Fields)[name]);
      expect(Object.hasOwn(after, "a")).toBe(false);
    }),
    fuzz(200),
  );
});
