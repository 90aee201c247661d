/**
 * Whether one query implies another: it never says so for two that a document tells apart.
 *
 * @module
 */

import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Fields } from "../../src/base/value.ts";
import { implies } from "../../src/query/implication.ts";
import { compileFilter, type Filter } from "../../src/query/matcher.ts";

test.each<readonly [Filter, Filter, boolean]>([
  [{ a: 1 }, { a: 1 }, true],
  [{ a: 1, b: 2 }, { b: 2 }, true],
  [{ b: 2 }, { a: 1, b: 2 }, false],
  [{ $and: [{ a: 1 }, { b: 2 }] }, { b: 2 }, true],
  [{ a: { $gt: 5, $lt: 9 } }, { a: { $gt: 5 } }, true],
  [{ a: { $gt: 6 } }, { a: { $gt: 5 } }, false],
  [{ a: "x" }, { a: { $gt: "" } }, true],
  [{ a: "" }, { a: { $gt: "" } }, false],
  [{ a: 7 }, { a: { $exists: true } }, true],
  [{ a: 7 }, { a: { $exists: false } }, false],
  [{ a: 7 }, { a: { $type: "number" } }, true],
  [{ a: null }, { a: { $exists: true } }, false],
  [{ a: 7 }, { a: { $ne: 8 } }, false],
  [{ a: 7 }, { a: { $in: [7, 8] } }, true],
  [{ "a.b": 7 }, { "a.b": { $gte: 7 } }, true],
  [{ $or: [{ a: 1 }, { b: 1 }] }, { $or: [{ a: 1 }, { b: 1 }] }, true],
  [{ a: { $regex: "^x", $options: "i" } }, { a: { $regex: "^x" } }, false],
  [{ a: { b: 1 } }, { a: { b: 1 } }, true],
  [{}, { a: 1 }, false],
])("%j implies %j: %p", (filter, wanted, expected) => {
  expect(implies(filter, wanted)).toBe(expected);
});

const scalar = fc.constantFrom<unknown>(0, 1, 2, "", "x", true, null);
const condition = fc.oneof(
  scalar,
  fc.record({ $gt: scalar }),
  fc.record({ $lte: scalar }),
  fc.record({ $ne: scalar }),
  fc.record({ $in: fc.array(scalar, { maxLength: 3 }) }),
  fc.record({ $exists: fc.boolean() }),
  fc.record({ $gte: scalar, $lt: scalar }),
  fc.record({ $not: fc.record({ $gt: scalar }) }),
);
const query = fc.dictionary(fc.constantFrom("a", "b", "a.c"), condition, { maxKeys: 3 });
const value = fc.oneof(scalar, fc.array(scalar, { maxLength: 3 }), fc.record({ c: scalar }));
const document = fc.dictionary(fc.constantFrom("a", "b"), value, { maxKeys: 2 });

test("what it says holds for random documents", () => {
  let seen = 0;
  fc.assert(
    fc.property(
      query,
      query,
      fc.array(document, { minLength: 20, maxLength: 40 }),
      (one, two, all) => {
        if (!implies(one as Filter, two as Filter)) return;
        seen += 1;
        const [matches, wanted] = [compileFilter(one as Filter), compileFilter(two as Filter)];
        for (const each of all as Fields[]) if (matches(each)) expect(wanted(each)).toBe(true);
      },
    ),
    { numRuns: 3000 },
  );
  expect(seen).toBeGreaterThan(50);
});
