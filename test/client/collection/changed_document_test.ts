/**
 * The document that an upsert begins with: its own filter finds it, unless the filter leaves a
 * choice or contradicts itself.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { QueryError } from "../../../src/base/errors.ts";
import type { Fields } from "../../../src/base/value.ts";
import { begunDocument } from "../../../src/client/collection/changed_document.ts";
import { compileFilter } from "../../../src/query/matcher.ts";

// [filter, what it begins with, whether the filter finds that]
test.each<readonly [object, Fields, boolean]>([
  [{}, {}, true],
  [{ a: 1 }, { a: 1 }, true],
  [{ a: null }, { a: null }, true],
  [{ a: { b: 1 } }, { a: { b: 1 } }, true],
  [{ a: { b: { c: 1 } } }, { a: { b: { c: 1 } } }, true],
  [{ a: {} }, { a: {} }, true],
  [{ a: {}, "a.b": 1 }, { a: { b: 1 } }, true],
  [{ "a.b": 1, a: { c: 1 } }, { a: { b: 1, c: 1 } }, true],
  [{ "a.b": { c: 1 } }, { a: { b: { c: 1 } } }, true],
  [{ $and: [{ a: { b: 1 } }, { "a.c": 2 }] }, { a: { b: 1, c: 2 } }, true],
  [{ $or: [{ a: 1 }] }, { a: 1 }, true],
  [{ $and: [{ a: 1 }, { a: 1 }] }, { a: 1 }, true],
  [{ a: { $eq: { b: 1 } } }, { a: { b: 1 } }, true],
  [{ a: { $eq: 1, $lt: 5 } }, { a: 1 }, true],
  [{ a: { $all: [1] } }, { a: 1 }, true],
  [{ a: { $in: [1] } }, { a: 1 }, true],
  [{ a: [1, 2] }, { a: [1, 2] }, true],
  [{ a: new Date(5) }, { a: new Date(5) }, true],
  [{ a: { b: 1, c: { $gt: 1 } } }, { a: { b: 1 } }, false],
  [{ a: { $in: [1, 2] } }, {}, false],
  [{ a: { $gt: 1 } }, {}, false],
  [{ a: /x/ }, {}, false],
  [{ a: { $in: [/x/] } }, {}, false],
  [{ $or: [{ a: 1 }, { b: 1 }] }, {}, false],
  [{ $nor: [{ a: 1 }] }, {}, true],
  [{ a: { $in: [{ b: 1 }] } }, { a: { b: 1 } }, true],
  [{ a: { $all: [{ b: 1 }] } }, { a: { b: 1 } }, true],
  [{ a: { $all: [{ $elemMatch: { b: 1 } }] } }, {}, false],
  [{ a: { $all: [1, 2], $in: [1] } }, { a: 1 }, false],
  [{ $and: [{ a: {} }, { a: { $eq: { x: 1 } } }] }, { a: { x: 1 } }, true],
  [{ a: { $eq: { x: 1 } }, "a.x": 1 }, { a: { x: 1 } }, true],
  [{ a: { $not: { $eq: 1 } } }, {}, true],
])("%j begins with %j", (filter, begun, isFound) => {
  expect(begunDocument(filter)).toEqual(begun);
  expect(compileFilter(filter)(begunDocument(filter))).toBe(isFound);
});

test.each([
  { $and: [{ a: 1 }, { a: 2 }] },
  { a: 1, "a.b": 2 },
  { a: { b: 1 }, "a.b": 2 },
  { a: 5, $and: [{ a: { b: 1 } }] },
  { a: { $eq: 1, $in: [2] } },
  { a: { $all: [1], $in: [2] } },
  { a: { $eq: { x: 1 } }, "a.x": 2 },
])("%j contradicts itself", (filter) => {
  expect(() => begunDocument(filter)).toThrow(QueryError);
});
