import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Query } from "mingo";
import sift from "sift";
import { QueryError } from "../../src/base/errors.ts";
import { compileFilter, conditionsOf, type Filter } from "../../src/query/matcher.ts";
import type { Fields, Value } from "../../src/query/value.ts";

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

describe("what matches", () => {
  for (const [filter, yes, no] of TABLE) {
    test(Bun.inspect(filter, { compact: true }), () => {
      expect(yes.filter((document) => !matches(filter, document))).toEqual([]);
      expect(no.filter((document) => matches(filter, document))).toEqual([]);
    });
  }
});

describe("what is refused", () => {
  let deep: Filter = { a: 1 };
  for (let i = 0; i < 40; i += 1) deep = { $and: [deep] };
  const refused: readonly unknown[] = [
    null,
    [],
    "a",
    { $where: "this.a == 1" },
    { $and: [] },
    { $or: 1 },
    { a: { $unknown: 1 } },
    { a: { $in: 1 } },
    { a: { $mod: [0, 1] } },
    { a: { $type: "nothing" } },
    { a: { $elemMatch: 1 } },
    { a: { $regex: "(" } },
    { a: { $regex: "a", $options: "y" } },
    { a: { $bitsAllSet: -1 } },
    { a: () => true },
    { "a.__proto__.b": 1 },
    { [Array(40).fill("a").join(".")]: 1 },
    { a: { $in: Array.from({ length: 2000 }, (_, i) => i) } },
    deep,
  ];
  for (const filter of refused) {
    test(Bun.inspect(filter, { compact: true }).slice(0, 60), () => {
      expect(() => compileFilter(filter)).toThrow(QueryError);
    });
  }

  test.each(["(a+)+$", "(a|a)*$", "(.*)\\1", "(?=a)", "((a*))*", "(a{1,}b?)+"])(
    "the pattern %s, which may take exponential time",
    (pattern) => {
      expect(() => compileFilter({ a: { $regex: pattern } })).toThrow(/too long/);
    },
  );

  test("a pattern that needs too many steps on a long text, and only there", () => {
    const filter = compileFilter({ a: { $regex: "a.*b.*c.*d" } });
    expect(filter({ a: "xaxbxcxd" })).toBe(true);
    expect(() => filter({ a: "a".repeat(10_000) })).toThrow(/too long/);
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
  const operator = fc.oneof(
    fc.record({ $eq: scalar }, PLAIN),
    fc.record({ $ne: scalar }, PLAIN),
    fc.record({ $gt: fc.constantFrom<Value>(0, 1, "a") }, PLAIN),
    fc.record({ $lte: fc.constantFrom<Value>(0, 1, "a") }, PLAIN),
    fc.record({ $exists: fc.boolean() }, PLAIN),
    fc.record({ $size: fc.integer({ min: 0, max: 3 }) }, PLAIN),
    // They differ from us, and from each other, in whether null in a list finds a missing field.
    fc.record({ $in: fc.array(fc.constantFrom<Value>(0, 1, "a", true), { maxLength: 3 }) }, PLAIN),
    fc.record({ $nin: fc.array(fc.constantFrom<Value>(0, 1, "a", true), { maxLength: 3 }) }, PLAIN),
    // mingo finds no $all in a scalar.
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

  test("mingo gives the same answers", () => {
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
      { numRuns: 5000 },
    );
  });

  test("sift gives the same answers where a path meets no array", () => {
    const flat = fc.dictionary(
      fc.constantFrom("a", "b", "c"),
      fc.oneof(scalar, fc.record({ b: scalar }, PLAIN)),
    );
    fc.assert(
      fc.property(one, flat, (query, fields) => {
        // sift compares null as a number, and finds no missing field with it.
        if (/null|\$lte|\$gt|\$size/.test(JSON.stringify(query))) return;
        const expected = sift(query as never)(fields as never);
        expect({ query, fields, is: matches(query, fields) }).toEqual({
          query,
          fields,
          is: expected,
        });
      }),
      { numRuns: 3000 },
    );
  });
});

test("conditions that all matching documents meet", () => {
  const filter = {
    a: 1,
    b: { $gt: 2, $lt: 5, $ne: 3 },
    $or: [{ c: 1 }],
    $and: [{ d: { $in: [1] } }],
  };
  expect(conditionsOf(filter)).toEqual([
    { path: "a", operator: "$eq", operand: 1 },
    { path: "b", operator: "$gt", operand: 2 },
    { path: "b", operator: "$lt", operand: 5 },
    { path: "d", operator: "$in", operand: [1] },
  ]);
});
