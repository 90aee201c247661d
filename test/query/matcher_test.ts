/**
 * Queries: matching documents and values, refusals with their messages, and answers beside mingo
 * and sift.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Query } from "mingo";
import sift from "sift";
import { QueryError } from "../../src/base/errors.ts";
import type { Fields, Value } from "../../src/base/value.ts";
import { compileFilter, conditionsOf, type Filter } from "../../src/query/matcher.ts";
import { fuzz, seeded } from "../protocol/fuzz_seed.ts";

function matches(filter: Filter, document: Fields): boolean {
  return compileFilter(filter)(document);
}

// [query, documents that match, documents that do not]
const TABLE: readonly [Filter, readonly Fields[], readonly Fields[]][] = [
  [{}, [{}, { a: 1 }], []],
  [{ a: 1 }, [{ a: 1 }, { a: [2, 1] }, { a: 1n }], [{ a: 2 }, {}, { a: "1" }, { a: [[1]] }]],
  [{ a: null }, [{}, { a: null }, { a: [null] }], [{ a: 0 }, { a: false }, { a: [] }]],
  [{ a: [1, 2] }, [{ a: [1, 2] }, { a: [[1, 2]] }], [{ a: [2, 1] }, { a: 1 }, { a: [1, 2, 3] }]],
  [{ a: { b: 1 } }, [{ a: { b: 1, c: 2 } }, { a: [{ b: 1 }] }], [{ a: { b: 2 } }, { a: 1 }, {}]],
  [{ a: { $eq: { b: 1 } } }, [{ a: { b: 1 } }], [{ a: { b: 1, c: 2 } }]],
  [{ "a.b": 1 }, [{ a: { b: 1 } }, { a: [{ b: 2 }, { b: 1 }] }], [{ a: { b: 2 } }, { "a.b": 1 }]],
  [{ "a.1": 5 }, [{ a: [4, 5] }, { a: { "1": 5 } }], [{ a: [5, 4] }, { a: [5] }]],
  [{ "a.0.b": 5 }, [{ a: [{ b: 5 }] }], [{ a: [{ b: 4 }, { b: 5 }] }]],
  [{ a: { $ne: 1 } }, [{ a: 2 }, {}, { a: [2] }], [{ a: 1 }, { a: [1, 2] }]],
  [
    { a: { $gt: 1 } },
    [{ a: 2 }, { a: [0, 2] }, { a: 2n }],
    [{ a: 1 }, { a: "2" }, {}, { a: null }],
  ],
  [{ a: { $gte: null } }, [{ a: null }, {}], [{ a: 1 }]],
  [{ a: { $gt: 1, $lt: 3 } }, [{ a: 2 }, { a: [0, 4] }], [{ a: 3 }, { a: 1 }]],
  [{ a: { $lt: new Date(5) } }, [{ a: new Date(4) }], [{ a: new Date(5) }, { a: 4 }]],
  [{ a: { $lte: "b" } }, [{ a: "b" }, { a: "" }], [{ a: "c" }, { a: 1 }]],
  [{ a: { $in: [1, "x", null] } }, [{ a: 1 }, { a: ["x"] }, { a: null }], [{}, { a: 2 }]],
  [{ a: { $in: [/^x/] } }, [{ a: "xy" }], [{ a: "yx" }, { a: 1 }]],
  [{ a: { $nin: [1, 2] } }, [{ a: 3 }, {}], [{ a: 1 }, { a: [2, 3] }]],
  [{ a: { $exists: true } }, [{ a: null }, { a: [] }], [{}]],
  [{ a: { $exists: false } }, [{}], [{ a: null }]],
  [{ a: { $type: "number" } }, [{ a: 1 }, { a: 1n }, { a: ["x", 1] }], [{ a: "1" }, {}]],
  [{ a: { $type: ["array", "bool"] } }, [{ a: [] }, { a: true }], [{ a: 1 }]],
  [{ a: /^A/i }, [{ a: "abc" }, { a: ["x", "a"] }], [{ a: "ba" }, { a: 1 }]],
  [{ a: { $regex: "^a", $options: "i" } }, [{ a: "Ab" }], [{ a: "b" }]],
  [{ a: { $not: { $gt: 1 } } }, [{ a: 1 }, {}, { a: "x" }], [{ a: 2 }, { a: [0, 2] }]],
  [{ a: { $not: /x/ } }, [{ a: "y" }, {}], [{ a: "x" }]],
  [{ a: { $mod: [3, 1] } }, [{ a: 4 }, { a: 4n }, { a: 4.5 }], [{ a: 3 }, { a: "4" }]],
  [{ a: { $size: 2 } }, [{ a: [1, 2] }], [{ a: [1] }, { a: 2 }, {}]],
  [{ a: { $all: [1, 2] } }, [{ a: [2, 1, 3] }], [{ a: [1] }, { a: 1 }]],
  [{ a: { $all: [1] } }, [{ a: 1 }, { a: [1] }], [{ a: [] }]],
  [{ a: { $all: [] } }, [], [{ a: [] }, {}]],
  [{ a: { $elemMatch: { $gt: 1, $lt: 3 } } }, [{ a: [0, 2] }], [{ a: [0, 4] }, { a: 2 }]],
  [{ a: { $elemMatch: { b: 1, c: 2 } } }, [{ a: [{ b: 1, c: 2 }] }], [{ a: [{ b: 1 }, { c: 2 }] }]],
  [{ a: { $bitsAllSet: 5 } }, [{ a: 7 }, { a: 5n }], [{ a: 4 }, { a: 5.5 }]],
  [{ a: { $bitsAnySet: [0, 2] } }, [{ a: 4 }], [{ a: 2 }]],
  [{ a: { $bitsAllClear: 5 } }, [{ a: 2 }], [{ a: 1 }]],
  [{ a: { $bitsAnyClear: 5 } }, [{ a: 1 }], [{ a: 7 }, { a: -1 }]],
  [{ $and: [{ a: 1 }, { b: 2 }] }, [{ a: 1, b: 2 }], [{ a: 1 }]],
  [{ $or: [{ a: 1 }, { b: 2 }] }, [{ a: 1 }, { b: 2 }], [{ a: 2, b: 1 }]],
  [{ $nor: [{ a: 1 }, { b: 2 }] }, [{}], [{ a: 1 }, { b: 2 }]],
  [{ constructor: null, toString: null }, [{}], [{ toString: 1 }]],
];

describe("documents that match", () => {
  for (const [filter, yes, no] of TABLE) {
    test(Bun.inspect(filter, { compact: true }), () => {
      expect(yes.filter((document) => !matches(filter, document))).toEqual([]);
      expect(no.filter((document) => matches(filter, document))).toEqual([]);
    });
  }
});

const MISSING = Symbol("missing");

// Values of one field: below, at and above 5, in every type, alone and in arrays.
const VALUES: ReadonlyMap<string, Value | typeof MISSING> = new Map<string, Value | typeof MISSING>(
  [
    ["missing", MISSING],
    ["null", null],
    ["true", true],
    ["false", false],
    ["4", 4],
    ["4.5", 4.5],
    ["5", 5],
    ["5n", 5n],
    ["5.5", 5.5],
    ["6n", 6n],
    ["'4'", "4"],
    ["'5'", "5"],
    ["'6'", "6"],
    ["date 4", new Date(4)],
    ["date 5", new Date(5)],
    ["date 6", new Date(6)],
    ["bytes 5", Uint8Array.of(5)],
    ["[]", []],
    ["[null]", [null]],
    ["[4]", [4]],
    ["[5]", [5]],
    ["[6]", [6]],
    ["[4, 6]", [4, 6]],
    ["[[5]]", [[5]]],
    ["{}", {}],
    ["{b: 5}", { b: 5 }],
    ["{b: 5, c: 1}", { b: 5, c: 1 }],
    ["[{b: 5}]", [{ b: 5 }]],
  ],
);

// [condition, the values that match; behind "not" those that do not]
const CONDITIONS: readonly (readonly [unknown, string])[] = [
  [5, "5 | 5n | [5]"],
  [5n, "5 | 5n | [5]"],
  ["5", "'5'"],
  [null, "missing | null | [null]"],
  [true, "true"],
  [new Date(5), "date 5"],
  [[5], "[5] | [[5]]"],
  [[], "[]"],
  [{ b: 5 }, "{b: 5} | {b: 5, c: 1} | [{b: 5}]"],
  [{}, "{} | {b: 5} | {b: 5, c: 1} | [{b: 5}]"],
  [{ $eq: 5 }, "5 | 5n | [5]"],
  [{ $eq: null }, "missing | null | [null]"],
  [{ $eq: [5] }, "[5] | [[5]]"],
  [{ $eq: { b: 5 } }, "{b: 5} | [{b: 5}]"],
  [{ $ne: 5 }, "not 5 | 5n | [5]"],
  [{ $ne: null }, "not missing | null | [null]"],
  [{ $ne: { b: 5 } }, "not {b: 5} | [{b: 5}]"],
  [{ $ne: [5] }, "not [5] | [[5]]"],
  [{ $gt: 5 }, "5.5 | 6n | [6] | [4, 6]"],
  [{ $gte: 5 }, "5 | 5n | 5.5 | 6n | [5] | [6] | [4, 6]"],
  [{ $lt: 5 }, "4 | 4.5 | [4] | [4, 6]"],
  [{ $lte: 5 }, "4 | 4.5 | 5 | 5n | [4] | [5] | [4, 6]"],
  [{ $gt: "5" }, "'6'"],
  [{ $gte: "5" }, "'5' | '6'"],
  [{ $lt: "5" }, "'4'"],
  [{ $lte: "5" }, "'4' | '5'"],
  [{ $gt: new Date(5) }, "date 6"],
  [{ $gte: new Date(5) }, "date 5 | date 6"],
  [{ $lt: new Date(5) }, "date 4"],
  [{ $lte: new Date(5) }, "date 4 | date 5"],
  [{ $gt: null }, ""],
  [{ $gte: null }, "missing | null | [null]"],
  [{ $lt: null }, ""],
  [{ $lte: null }, "missing | null | [null]"],
  [{ $gt: false }, "true"],
  [{ $gte: true }, "true"],
  [{ $lt: true }, "false"],
  [{ $lte: false }, "false"],
  [{ $gt: [5] }, "[6] | [[5]] | [{b: 5}]"],
  [{ $gte: [5] }, "[5] | [6] | [[5]] | [{b: 5}]"],
  [{ $lt: [5] }, "[] | [null] | [4] | [4, 6]"],
  [{ $lte: [5] }, "[] | [null] | [4] | [5] | [4, 6] | [[5]]"],
  [{ $gte: { b: 5 } }, "{b: 5} | {b: 5, c: 1} | [{b: 5}]"],
  [{ $gt: {} }, "{b: 5} | {b: 5, c: 1} | [{b: 5}]"],
  [{ $lt: { b: 5 } }, "{}"],
  [{ $gt: 4, $lt: 6 }, "4.5 | 5 | 5n | 5.5 | [5] | [4, 6]"],
  [{ $gte: 5, $lte: 5 }, "5 | 5n | [5] | [4, 6]"],
  [{ $in: [5] }, "5 | 5n | [5]"],
  [{ $in: [5, "5"] }, "5 | 5n | '5' | [5]"],
  [{ $in: [null] }, "null | [null]"],
  [{ $in: [[5]] }, "[5] | [[5]]"],
  [{ $in: [{ b: 5 }] }, "{b: 5} | [{b: 5}]"],
  [{ $in: [] }, ""],
  [{ $in: [/5/] }, "'5'"],
  [{ $nin: [5] }, "not 5 | 5n | [5]"],
  [{ $nin: [5, null] }, "not null | 5 | 5n | [null] | [5]"],
  [{ $nin: [] }, "not "],
  [{ $nin: [/5/] }, "not '5'"],
  [{ $exists: true }, "not missing"],
  [{ $exists: false }, "missing"],
  [{ $exists: 1 }, "not missing"],
  [{ $exists: 0 }, "missing"],
  [{ $type: "null" }, "null | [null]"],
  [{ $type: "boolean" }, "true | false"],
  [{ $type: "bool" }, "true | false"],
  [{ $type: "number" }, "4 | 4.5 | 5 | 5n | 5.5 | 6n | [4] | [5] | [6] | [4, 6]"],
  [{ $type: "int" }, "4 | 4.5 | 5 | 5n | 5.5 | 6n | [4] | [5] | [6] | [4, 6]"],
  [{ $type: "long" }, "4 | 4.5 | 5 | 5n | 5.5 | 6n | [4] | [5] | [6] | [4, 6]"],
  [{ $type: "double" }, "4 | 4.5 | 5 | 5n | 5.5 | 6n | [4] | [5] | [6] | [4, 6]"],
  [{ $type: "bigint" }, "4 | 4.5 | 5 | 5n | 5.5 | 6n | [4] | [5] | [6] | [4, 6]"],
  [{ $type: "string" }, "'4' | '5' | '6'"],
  [{ $type: "date" }, "date 4 | date 5 | date 6"],
  [{ $type: "bytes" }, "bytes 5"],
  [{ $type: "binData" }, "bytes 5"],
  [{ $type: "array" }, "[] | [null] | [4] | [5] | [6] | [4, 6] | [[5]] | [{b: 5}]"],
  [{ $type: "object" }, "{} | {b: 5} | {b: 5, c: 1} | [{b: 5}]"],
  [{ $type: ["null", "date"] }, "null | date 4 | date 5 | date 6 | [null]"],
  [{ $type: [] }, ""],
  [{ $mod: [4, 1] }, "5 | 5n | 5.5 | [5]"],
  [{ $mod: [5, 0] }, "5 | 5n | 5.5 | [5]"],
  [{ $mod: [2n, 0n] }, "4 | 4.5 | 6n | [4] | [6] | [4, 6]"],
  [{ $mod: [-5, 0] }, "5 | 5n | 5.5 | [5]"],
  [{ $size: 0 }, "[]"],
  [{ $size: 1 }, "[null] | [4] | [5] | [6] | [[5]] | [{b: 5}]"],
  [{ $size: 2 }, "[4, 6]"],
  [{ $all: [5] }, "5 | 5n | [5]"],
  [{ $all: [4, 6] }, "[4, 6]"],
  [{ $all: [[5]] }, "[5] | [[5]]"],
  [{ $all: [] }, ""],
  [{ $all: [{ $elemMatch: { b: 5 } }] }, "[{b: 5}]"],
  [{ $all: [{ $elemMatch: { $gt: 4 } }, 5] }, "[5]"],
  [{ $elemMatch: { $gt: 4 } }, "[5] | [6] | [4, 6] | [[5]]"],
  [{ $elemMatch: { $gte: 5, $lt: 6 } }, "[5] | [[5]]"],
  [{ $elemMatch: { b: 5 } }, "[{b: 5}]"],
  [{ $elemMatch: {} }, "[{b: 5}]"],
  [{ $elemMatch: { $or: [{ b: 5 }] } }, "[{b: 5}]"],
  [{ $elemMatch: { $ne: 5 } }, "[null] | [4] | [6] | [4, 6] | [{b: 5}]"],
  [{ $not: { $gt: 5 } }, "not 5.5 | 6n | [6] | [4, 6]"],
  [{ $not: { $gt: 4, $lt: 6 } }, "not 4.5 | 5 | 5n | 5.5 | [5] | [4, 6]"],
  [{ $not: { $ne: 5 } }, "5 | 5n | [5]"],
  [{ $not: 5 }, "not 5 | 5n | [5]"],
  [{ $not: /5/ }, "not '5'"],
  [{ $not: { $not: { $eq: 5 } } }, "5 | 5n | [5]"],
  [{ $regex: "5" }, "'5'"],
  [/5/, "'5'"],
  [{ $bitsAllSet: 5 }, "5 | 5n | [5]"],
  [{ $bitsAnySet: 3 }, "5 | 5n | 6n | [5] | [6] | [4, 6]"],
  [{ $bitsAllClear: 3 }, "4 | [4] | [4, 6]"],
  [{ $bitsAnyClear: 5 }, "4 | 6n | [4] | [6] | [4, 6]"],
  [{ $bitsAllSet: [0, 2] }, "5 | 5n | [5]"],
  [{ $bitsAllSet: [] }, "4 | 5 | 5n | 6n | [4] | [5] | [6] | [4, 6]"],
  [{ $bitsAnySet: 4n }, "4 | 5 | 5n | 6n | [4] | [5] | [6] | [4, 6]"],
];

describe("values that a condition matches", () => {
  for (const [condition, expected] of CONDITIONS) {
    test(`${Bun.inspect(condition, { compact: true })}: ${expected || "none"}`, () => {
      const filter = compileFilter({ a: condition });
      const matching = [...VALUES].filter(([, value]) =>
        filter(value === MISSING ? {} : { a: value }),
      );
      const names = matching.map(([name]) => name);
      const others = [...VALUES.keys()].filter((name) => !names.includes(name));
      const isNegative = expected.startsWith("not");
      const shown = isNegative ? `not ${others.join(" | ")}` : names.join(" | ");
      expect(shown.trim()).toBe(expected.trim());
    });
  }
});

function nested(depth: number, wrap: (inner: Value) => unknown, inner: unknown): Filter {
  let filter = inner;
  for (let i = 0; i < depth; i += 1) filter = wrap(filter as Value);
  return filter as Filter;
}

function repeated(count: number, item: unknown): unknown[] {
  return Array(count).fill(item);
}

describe("refusals", () => {
  const refused: readonly (readonly [unknown, string])[] = [
    [null, "Cannot read the query: it is not an object"],
    [[], "it is not an object"],
    ["a", "it is not an object"],
    [new Date(0), "it is not an object"],
    [{ $or: [1] }, "it is not an object"],
    [{ $where: "this.a == 1" }, 'Cannot read the query: operator "$where" is unknown'],
    [{ a: { $unknown: 1 } }, 'operator "$unknown" is unknown'],
    [{ a: { $gt: 1, b: 1 } }, 'operator "b" is unknown'],
    [{ a: { b: 1, $gt: 1 } }, 'operator "b" is unknown'],
    [{ a: { $and: [{ b: 1 }] } }, 'operator "$and" is unknown'],
    [{ $and: [] }, "Cannot read the query: $and takes a list of conditions"],
    [{ $or: [] }, "$or takes a list of conditions"],
    [{ $nor: [] }, "$nor takes a list of conditions"],
    [{ $or: 1 }, "$or takes a list of conditions"],
    [{ $and: { a: 1 } }, "$and takes a list of conditions"],
    [{ a: { $in: 1 } }, "Cannot read the query: $in takes a list"],
    [{ a: { $nin: "ab" } }, "$nin takes a list"],
    [{ a: { $all: 1 } }, "$all takes a list"],
    [{ a: { $mod: 3 } }, "Cannot read the query: $mod takes a divisor and a remainder"],
    [{ a: { $mod: [] } }, "$mod takes a divisor and a remainder"],
    [{ a: { $mod: [3] } }, "$mod takes a divisor and a remainder"],
    [{ a: { $mod: [3, 1, 1] } }, "$mod takes a divisor and a remainder"],
    [{ a: { $mod: [0, 1] } }, "$mod takes a divisor and a remainder"],
    [{ a: { $mod: [0n, 1n] } }, "$mod takes a divisor and a remainder"],
    [{ a: { $mod: [1.5, 1] } }, "$mod takes a divisor and a remainder"],
    [{ a: { $mod: [3, 0.5] } }, "$mod takes a divisor and a remainder"],
    [{ a: { $mod: ["3", 1] } }, "$mod takes a divisor and a remainder"],
    [{ a: { $mod: [3, null] } }, "$mod takes a divisor and a remainder"],
    [{ a: { $mod: [2n ** 60n, 1] } }, "$mod takes a divisor and a remainder"],
    [{ a: { $mod: [{ valueOf: 1, toString: 1 }, 1] } }, "$mod takes a divisor and a remainder"],
    [{ a: { $type: "nothing" } }, 'Cannot read the query: type "nothing" is unknown'],
    [{ a: { $type: ["string", "x"] } }, 'type "x" is unknown'],
    [{ a: { $type: 1 } }, "Cannot read the query: a type is a text"],
    [{ a: { $type: { valueOf: 1 } } }, "a type is a text"],
    [{ a: { $type: repeated(9, "null") } }, "Cannot read the query: too many types"],
    [{ a: { $elemMatch: 1 } }, "Cannot read the query: $elemMatch takes an object"],
    [{ a: { $elemMatch: [1] } }, "$elemMatch takes an object"],
    [{ a: { $all: [{ $elemMatch: 1 }] } }, "$elemMatch takes an object"],
    [{ a: { $elemMatch: { $gt: 1, $or: [{ b: 1 }] } } }, 'operator "$gt" is unknown'],
    [{ a: { $regex: "(" } }, "Cannot use the pattern: a ( without its )"],
    [{ a: /(?=a)/ }, "Cannot use the pattern: looking ahead or behind"],
    [{ a: { $regex: /(?=a)/ } }, "Cannot use the pattern: looking ahead or behind"],
    [{ a: { $in: [/(?=a)/] } }, "Cannot use the pattern: looking ahead or behind"],
    [{ a: { $regex: "a", $options: "y" } }, 'Cannot use the pattern options "y"'],
    [{ a: { $regex: 1 } }, "Cannot read the query: $regex and $options are texts"],
    [{ a: { $regex: "a", $options: 1 } }, "$regex and $options are texts"],
    [{ a: { $regex: "a", $options: null } }, "$regex and $options are texts"],
    [{ a: { $options: "i" } }, "Cannot read the query: $options belong to a $regex"],
    [{ a: { $options: "i", $gt: 1 } }, "$options belong to a $regex"],
    [
      { a: { $bitsAllSet: -1 } },
      "Cannot read the query: $bitsAllSet takes a mask or a list of bits",
    ],
    [{ a: { $bitsAnySet: -1n } }, "$bitsAnySet takes a mask or a list of bits"],
    [{ a: { $bitsAllClear: 1.5 } }, "$bitsAllClear takes a mask or a list of bits"],
    [{ a: { $bitsAnyClear: "1" } }, "$bitsAnyClear takes a mask or a list of bits"],
    [{ a: { $bitsAllSet: [64] } }, "$bitsAllSet takes a mask or a list of bits"],
    [{ a: { $bitsAllSet: [0, -1] } }, "$bitsAllSet takes a mask or a list of bits"],
    [{ a: { $bitsAllSet: [0.5] } }, "$bitsAllSet takes a mask or a list of bits"],
    [{ a: { $bitsAllSet: ["1"] } }, "$bitsAllSet takes a mask or a list of bits"],
    [{ a: { $bitsAllSet: null } }, "$bitsAllSet takes a mask or a list of bits"],
    [{ a: () => true }, "Cannot read the query: a function is no value"],
    [{ a: { $gt: () => true } }, "a function is no value"],
    [{ a: { $ne: Symbol("a") } }, "a symbol is no value"],
    [{ "a.__proto__.b": 1 }, 'Cannot use the path "a.__proto__.b"'],
    [{ [repeated(40, "a").join(".")]: 1 }, "Cannot use a path of more than 32 segments"],
    [{ a: { $eq: /x/ } }, "Cannot read the query: $eq and $ne take no pattern; use $not"],
    [{ a: { $ne: /x/ } }, "$eq and $ne take no pattern; use $not"],
    [{ $not: { a: 1 } }, "Cannot read the query: $not stands at a field"],
    [{ a: { $size: "0" } }, "Cannot read the query: $size takes a whole number"],
    [{ a: { $size: 0.5 } }, "$size takes a whole number"],
  ];
  for (const [filter, message] of refused) {
    test(`${Bun.inspect(filter, { compact: true }).slice(0, 60)}: ${message}`, () => {
      expect(() => compileFilter(filter)).toThrow(QueryError);
      expect(() => compileFilter(filter)).toThrow(message);
    });
  }

  test("an unknown operator comes with a remedy", () => {
    const remedy = "docs/queries.md lists the operators";
    for (const filter of [{ $where: 1 }, { a: { $unknown: 1 } }]) {
      expect(() => compileFilter(filter)).toThrow(expect.objectContaining({ remedy }));
    }
  });

  // [form, wrapper, innermost condition, the most levels]: each kind of nesting counts its depth.
  test.each<readonly [string, (inner: Value) => unknown, unknown, number]>([
    ["$and", (inner) => ({ $and: [inner] }), { a: 1 }, 31],
    ["$or", (inner) => ({ $or: [inner] }), { a: { $gt: 1 } }, 30],
    ["$nor", (inner) => ({ $nor: [inner] }), { a: 1 }, 31],
    ["objects", (inner) => ({ a: inner }), { a: 1 }, 15],
    ["$elemMatch of fields", (inner) => ({ a: { $elemMatch: inner } }), { a: 1 }, 10],
  ])("%s nested deeper than the limit", (...[, wrap, inner, most]) => {
    compileFilter(nested(most, wrap, inner));
    expect(() => compileFilter(nested(most + 1, wrap, inner))).toThrow(
      new QueryError("Cannot read the query: it is nested deeper than 32"),
    );
  });

  test.each<readonly [string, (inner: Value) => unknown]>([
    ["$not", (inner) => ({ $not: inner })],
    ["$elemMatch", (inner) => ({ $elemMatch: inner })],
    ["$all", (inner) => ({ $all: [{ $elemMatch: inner }] })],
  ])("%s of operators nested deeper than the limit", (_name, wrap) => {
    compileFilter({ a: nested(30, wrap, { $gt: 1 }) });
    expect(() => compileFilter({ a: nested(31, wrap, { $gt: 1 }) })).toThrow("deeper than 32");
  });

  // [form, query with so many parts, the most parts]
  test.each<readonly [string, (count: number) => Filter, number]>([
    ["fields", (count) => ({ $or: [{}, ...repeated(count, { a: 1 })] }), 499],
    ["operators", (count) => ({ $or: [{}, ...repeated(count, { a: { $gt: 1 } })] }), 332],
    ["items of $all", (count) => ({ a: { $all: repeated(count, 1) } }), 996],
  ])("more %s than the limit of conditions", (_name, make, most) => {
    compileFilter(make(most));
    expect(() => compileFilter(make(most + 1))).toThrow(
      new QueryError("Cannot read the query: it has more than 1000 conditions"),
    );
  });

  test("more items in all lists together than the limit", () => {
    const lists = (a: number, b: number): Filter => {
      return { a: { $in: repeated(a, 1) }, b: { $nin: repeated(b, 1) } };
    };
    compileFilter(lists(10_000, 0));
    compileFilter(lists(4_000, 6_000));
    for (const filter of [lists(10_001, 0), lists(0, 10_001), lists(4_000, 6_001)]) {
      expect(() => compileFilter(filter)).toThrow(
        new QueryError("Cannot read the query: its lists have more than 10000 items"),
      );
    }
  });
});

describe("operands at their limits", () => {
  test("eight types are taken, all of them", () => {
    const types = ["null", "boolean", "number", "string", "date", "bytes", "array", "object"];
    expect(matches({ a: { $type: types } }, { a: 1 })).toBe(true);
    expect(matches({ a: { $type: types } }, { a: {} })).toBe(true);
    expect(matches({ a: { $type: types } }, {})).toBe(false);
  });

  test("bits: 0 and 63 are positions, and a negative number has its sign's bits", () => {
    expect(matches({ a: { $bitsAllSet: [63] } }, { a: -1 })).toBe(true);
    expect(matches({ a: { $bitsAllSet: 2n ** 64n } }, { a: -1 })).toBe(false);
    expect(matches({ a: { $bitsAllSet: [63] } }, { a: 1 })).toBe(false);
    expect(matches({ a: { $bitsAllSet: [0] } }, { a: 1 })).toBe(true);
    expect(matches({ a: { $bitsAllClear: 0 } }, { a: 7 })).toBe(true);
    expect(matches({ a: { $bitsAnySet: 0 } }, { a: 7 })).toBe(false);
    expect(matches({ a: { $bitsAnyClear: 0n } }, { a: 7 })).toBe(false);
    expect(matches({ a: { $bitsAllSet: 1n } }, { a: 2n ** 60n + 1n })).toBe(true);
    expect(matches({ a: { $bitsAllSet: 0 } }, { a: 1.5 })).toBe(false);
    expect(matches({ a: { $bitsAllSet: 0 } }, { a: 2 ** 53 })).toBe(false);
  });

  test("remainders have the sign of the number, and fractions are cut", () => {
    const filter = compileFilter({ a: { $mod: [3, -1] } });
    const values = [-1, -4, -4n, -4.9, 2, 1, -3, "-1", null, [5, -1]];
    expect(values.filter((a) => filter({ a: a as Value }))).toEqual([-1, -4, -4n, -4.9, [5, -1]]);
  });

  test("$regex takes options, a RegExp its flags, and both match items of arrays", () => {
    for (const condition of [{ $regex: "^AB", $options: "i" }, /^AB/i, { $regex: /^AB/i }]) {
      const filter = compileFilter({ a: condition });
      const values = ["abc", ["x", "abc"], "xab", 5, null, ["x"]];
      expect(values.filter((a) => filter({ a: a as Value }))).toEqual(["abc", ["x", "abc"]]);
    }
    expect(matches({ a: { $regex: "^AB" } }, { a: "abc" })).toBe(false);
    expect(matches({ a: { $in: [/^AB/i] } }, { a: ["x", "abc"] })).toBe(true);
  });

  test("$elemMatch of no conditions asks for an object in the array, not deeper", () => {
    const filter = compileFilter({ a: { $elemMatch: {} } });
    const values: readonly Value[] = [[{}], [{ b: 1 }], [[{}]], [1], [], {}];
    expect(values.filter((a) => filter({ a }))).toEqual([[{}], [{ b: 1 }]]);
  });

  test("matching adds to the cost that is given", () => {
    const cost = { steps: 0 };
    const filter = compileFilter({ a: /^ab/, b: { $regex: "c" } }, cost);
    expect(filter({ a: "ab", b: "xc" })).toBe(true);
    expect(cost.steps).toBe(3 * 4 + 2);
  });
});

// Without it documents have no prototype, which the others do not take for objects.
const PLAIN = { noNullPrototype: true };

describe("beside others", () => {
  const scalar = fc.constantFrom<Value>(null, 0, 1, 2, "a", "b", true, false);
  const value = fc.oneof(
    scalar,
    fc.array(scalar, { maxLength: 3 }),
    fc.record({ b: scalar }, PLAIN),
  );
  const document = fc.dictionary(fc.constantFrom("a", "b", "c"), value, PLAIN);
  const path = fc.constantFrom("a", "b", "a.b");
  const bound = fc.constantFrom<Value>(0, 1, 2, "a", "b");
  const operator = fc.oneof(
    fc.record({ $eq: scalar }, PLAIN),
    fc.record({ $ne: scalar }, PLAIN),
    ...["$gt", "$gte", "$lt", "$lte"].map((name) => fc.record({ [name]: bound }, PLAIN)),
    fc.record({ $gte: bound, $lt: bound }, PLAIN),
    fc.record({ $gt: bound, $lte: bound }, PLAIN),
    fc.record({ $elemMatch: fc.record({ $gte: bound }, PLAIN) }, PLAIN),
    fc.record({ $elemMatch: fc.record({ $lt: bound, $gt: bound }, PLAIN) }, PLAIN),
    fc.record({ $not: fc.record({ $gt: bound }, PLAIN) }, PLAIN),
    fc.record({ $not: fc.record({ $lte: bound, $gte: bound }, PLAIN) }, PLAIN),
    fc.record({ $regex: fc.constantFrom("a", "^b$", "[^a]", "a|b") }, PLAIN),
    fc.record({ $exists: fc.boolean() }, PLAIN),
    fc.record({ $size: fc.integer({ min: 0, max: 3 }) }, PLAIN),
    // They differ from us, and from each other, in whether null in a list finds a missing field.
    fc.record({ $in: fc.array(fc.constantFrom<Value>(0, 1, "a", true), { maxLength: 3 }) }, PLAIN),
    fc.record({ $nin: fc.array(fc.constantFrom<Value>(0, 1, "a", true), { maxLength: 3 }) }, PLAIN),
    // mingo finds no $all in a scalar, and takes null for 0 and true for 1 in $mod.
  );
  const one = fc
    .tuple(path, fc.oneof(scalar, operator))
    .map(([name, c]): Filter => ({ [name]: c }));
  const filter = fc.oneof(
    one,
    fc.array(one, { minLength: 1, maxLength: 3 }).map((parts): Filter => ({ $or: parts })),
    fc.array(one, { minLength: 1, maxLength: 3 }).map((parts): Filter => ({ $nor: parts })),
    fc.array(one, { minLength: 1, maxLength: 3 }).map((parts): Filter => ({ $and: parts })),
  );

  test(seeded("mingo gives the same answers"), () => {
    fc.assert(
      fc.property(filter, document, (query, fields) => {
        // mingo finds an empty array behind an empty array.
        if (JSON.stringify(query).includes('"a.b":{"$size"')) return;
        const expected = new Query(query).test(fields);
        expect({ query, fields, is: matches(query, fields) }).toEqual({
          query,
          fields,
          is: expected,
        });
      }),
      fuzz(4_000),
    );
  });

  test(seeded("sift gives the same answers where a path meets no array"), () => {
    const flat = fc.dictionary(
      fc.constantFrom("a", "b", "c"),
      fc.oneof(scalar, fc.record({ b: scalar }, PLAIN)),
    );
    fc.assert(
      fc.property(one, flat, (query, fields) => {
        // sift compares null as a number, and finds no missing field with it.
        if (/null|\$[gl]te?|\$size/.test(JSON.stringify(query))) return;
        const expected = sift(query as never)(fields as never);
        expect({ query, fields, is: matches(query, fields) }).toEqual({
          query,
          fields,
          is: expected,
        });
      }),
      fuzz(3_000),
    );
  });
});

test("conditions that all matching documents meet", () => {
  const pattern = /x/;
  const filter: Filter = {
    a: 1,
    b: { $gt: 2, $lt: 5, $ne: 3, $gte: 1, $lte: 6, $eq: 4, $exists: true },
    $or: [{ c: 1 }],
    $nor: [{ c: 1 }],
    $and: [{ d: { $in: [1] } }, { $and: [{ e: null }] }],
    f: pattern,
    g: { h: 1 },
    i: [1],
  };
  expect(conditionsOf(filter)).toEqual([
    { path: "a", operator: "$eq", operand: 1 },
    { path: "b", operator: "$gt", operand: 2 },
    { path: "b", operator: "$lt", operand: 5 },
    { path: "b", operator: "$gte", operand: 1 },
    { path: "b", operator: "$lte", operand: 6 },
    { path: "b", operator: "$eq", operand: 4 },
    { path: "d", operator: "$in", operand: [1] },
    { path: "e", operator: "$eq", operand: null },
    { path: "i", operator: "$eq", operand: [1] },
  ]);
});
