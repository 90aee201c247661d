/**
 * Rules versions: what queries and updates give by the rules of an old log and by the newest, and
 * the laws of negation that the newest keep.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { QueryError, ValidationError } from "../../src/base/errors.ts";
import type { Fields } from "../../src/base/value.ts";
import { compileFilter } from "../../src/query/matcher.ts";
import { CompiledUpdate, type UpdateOperators } from "../../src/query/update.ts";
import { fuzz, seeded } from "../protocol/fuzz_seed.ts";
import { fields, scalars } from "./values.ts";

function matches(filter: object, document: Fields, rules: number): boolean {
  return compileFilter(filter, { steps: 0 }, rules)(document);
}

function updated(operators: UpdateOperators, document: Fields, rules: number): unknown {
  return new CompiledUpdate(operators, rules).apply(document, { nowMs: 0, isInsert: false });
}

const TWO = { a: [{ b: 3 }, { b: 12 }] };

// [filter, document, by rules 1, by rules 2]
test.each<readonly [object, Fields, boolean, boolean]>([
  [{ "a.b": { $not: { $gt: 5, $lt: 10 } } }, TWO, true, false],
  [{ "a.b": { $not: { $gt: 5 } } }, TWO, false, false],
  [{ "a.b": { $not: { $not: { $gt: 5, $lt: 10 } } } }, TWO, false, true],
  [{ "a.b": { $not: { $gt: 15 } } }, TWO, true, true],
  [{ "a.b": { $all: [3, 12] } }, TWO, false, true],
  [{ "a.b": { $all: [3, 4] } }, TWO, false, false],
  [{ "a.b": { $not: { $all: [3, 12] } } }, TWO, true, false],
  [{ a: { $all: [3, 12] } }, { a: [12, 3] }, true, true],
  [{ a: { $all: [] } }, { a: [] }, false, false],
  [{ a: { $all: [{ $elemMatch: { b: 3 } }, { $elemMatch: { b: 12 } }] } }, TWO, true, true],
  [{ a: { $elemMatch: { $not: { $gt: 5, $lt: 10 } } } }, { a: [3] }, true, true],
  [{ a: { $elemMatch: { $not: { $gt: 5, $lt: 10 } } } }, { a: [7] }, false, false],
  [{ a: { $all: [{ $regex: "^x" }] } }, { a: ["xy"] }, false, true],
  [{ a: { $in: [{ $regex: "^X", $options: "i" }] } }, { a: "xy" }, false, true],
  [{ a: { $nin: [{ $regex: "^x" }] } }, { a: "xy" }, true, false],
  [{ "a.01": 2 }, { a: [1, 2] }, true, false],
  [{ "a.01": 2 }, { a: { "01": 2 } }, true, true],
  [{ "a.1": 2 }, { a: [1, 2] }, true, true],
])("%j of %j", (...[filter, document, old, now]) => {
  expect([matches(filter, document, 1), matches(filter, document, 2)]).toEqual([old, now]);
});

test("patterns in $all", () => {
  const filter = { a: { $all: [/^x/, "y"] } };
  expect(matches(filter, { a: ["xx", "y"] }, 2)).toBe(true);
  expect(matches(filter, { a: ["zx", "y"] }, 2)).toBe(false);
});

// [operators, document, by rules 1, by rules 2: a document or the class of the refusal]
test.each<readonly [UpdateOperators, Fields, Fields, unknown]>([
  [{ $inc: { a: 1 } }, { a: null }, { a: 1 }, ValidationError],
  [{ $mul: { a: 2 } }, { a: null }, { a: 0 }, ValidationError],
  [{ $inc: { a: 1 } }, {}, { a: 1 }, { a: 1 }],
  [{ $inc: { "a.00": 1 } }, { a: [1] }, { a: [2] }, ValidationError],
  [{ $inc: { "a.0": 1 } }, { a: [1] }, { a: [2] }, { a: [2] }],
  [{ $set: { "a.00": 1 } }, { a: {} }, { a: { "00": 1 } }, { a: { "00": 1 } }],
  [{ $push: { a: { $slice: 1 } } }, { a: [] }, { a: [{ $slice: 1 }] }, QueryError],
  [{ $push: { a: { $ech: [1] } } }, { a: [] }, { a: [{ $ech: [1] }] }, QueryError],
  [{ $push: { a: { $sort: 1, v: 1 } } }, { a: [] }, { a: [{ $sort: 1, v: 1 }] }, QueryError],
  [{ $addToSet: { a: { $eech: [1] } } }, { a: [] }, { a: [{ $eech: [1] }] }, QueryError],
  [
    { $push: { a: { v: { $x: 1 } } } },
    { a: [] },
    { a: [{ v: { $x: 1 } }] },
    { a: [{ v: { $x: 1 } }] },
  ],
  [{ $pull: { a: { b: { $all: [1] } } } }, { a: [{ b: [1] }] }, { a: [] }, { a: [] }],
])("%j of %j", (...[operators, document, old, now]) => {
  expect(updated(operators, document, 1)).toEqual(old);
  const result = () => updated(operators, document, 2);
  if (typeof now === "function") expect(result).toThrow(now as never);
  else expect(result()).toEqual(now);
});

describe("$pull by a whole query", () => {
  const items = [{ x: 1, y: 2 }, { x: 2 }, { x: 3, y: 5 }, 7];
  test.each<readonly [object, readonly unknown[]]>([
    [{ $or: [{ x: 1 }, { x: 2 }] }, [items[2], 7]],
    [{ x: 1, $or: [{ y: 2 }] }, [items[1], items[2], 7]],
    [{ $nor: [{ x: 1 }] }, [items[0], 7]],
    [{ $and: [{ x: { $gt: 0 } }, { y: { $exists: true } }] }, [items[1], 7]],
  ])("%j", (condition, left) => {
    expect(updated({ $pull: { a: condition } }, { a: items as never }, 2)).toEqual({ a: left });
    expect(() => updated({ $pull: { a: condition } }, { a: items as never }, 1)).toThrow(
      QueryError,
    );
  });
});

const path = fc.constantFrom("a", "b", "a.b", "a.c.b", "a.0", "c.1.a");
const operand: fc.Arbitrary<object> = fc.oneof(
  fc.record({ $gt: scalars, $lt: scalars }),
  fc.record({ $eq: scalars }),
  fc.record({ $ne: scalars }),
  fc.record({ $in: fc.array(scalars, { maxLength: 2 }) }),
  fc.record({ $all: fc.array(scalars, { maxLength: 2 }) }),
  fc.record({ $exists: fc.boolean() }),
  fc.record({ $elemMatch: fc.record({ $gte: scalars, $ne: scalars }) }),
  fc.record({ $size: fc.integer({ min: 0, max: 2 }), $gte: scalars }),
);

// Mutations that this finds: a negation that each value meets by itself.
test(seeded("$not is the complement: of the two one matches, never both, never none"), () => {
  fc.assert(
    fc.property(fields, path, operand, (document, at, condition) => {
      const is = matches({ [at]: condition }, document, 2);
      expect(matches({ [at]: { $not: condition } }, document, 2)).toBe(!is);
      expect(matches({ [at]: { $not: { $not: condition } } }, document, 2)).toBe(is);
      expect(matches({ $nor: [{ [at]: condition }] }, document, 2)).toBe(!is);
    }),
    fuzz(3_000),
  );
});

test(seeded("De Morgan: $nor is $and of the negated, and the other way round"), () => {
  const one = fc.tuple(path, operand);
  fc.assert(
    fc.property(fields, one, one, (document, [p, f], [q, g]) => {
      const parts = [{ [p]: f }, { [q]: g }];
      const negated = [{ [p]: { $not: f } }, { [q]: { $not: g } }];
      const [nor, and] = [{ $nor: parts }, { $and: negated }];
      expect(matches(nor, document, 2)).toBe(matches(and, document, 2));
      const [or, nand] = [{ $or: negated }, { $nor: [{ $and: parts }] }];
      expect(matches(or, document, 2)).toBe(matches(nand, document, 2));
    }),
    fuzz(3_000),
  );
});
