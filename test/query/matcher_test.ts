import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Query } from "mingo";
import sift from "sift";
import { QueryError } from "../../src/base/errors.ts";
import type { Fields, Value } from "../../src/base/value.ts";
import { compileFilter, conditionsOf, type Filter } from "../../src/query/matcher.ts";

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
    { a: { $in: Array.from({ length: 20_000 }, (_, i) => i) } },
    { a: { $eq: /x/ } },
    { a: { $size: "0" } },
    { a: { $options: "i" } },
    { a: { $type: { valueOf: 1 } } },
    { a: { $mod: [{ valueOf: 1, toString: 1 }, 1] } },
    deep,
  ];
  for (const filter of refused) {
    test(Bun.inspect(filter, { compact: true }).slice(0, 60), () => {
      expect(() => compileFilter(filter)).toThrow(QueryError);
    });
  }

  test.each([
    "(.)\\1",
    "(?=a)",
    "(?<!a)b",
    "(",
    ")",
    "a**",
    "[b-a]",
    "*a",
    "a{2,1}",
    "\\p{L}",
    "(a{99}){99}",
  ])("the pattern %s", (pattern) => {
    expect(() => compileFilter({ a: { $regex: pattern } })).toThrow(QueryError);
  });

  test("a pattern on a text that is too long for it", () => {
    const filter = compileFilter({ a: { $regex: "a.*b.*c.*d" } });
    expect(filter({ a: "xaxbxcxd" })).toBe(true);
    expect(() => filter({ a: "a".repeat(1_000_000) })).toThrow(/too many steps/);
  });

  test.each(["(a+)+$", "^(a?a?)*b", "(a|a)*$", "((a*))*c", `${"a?".repeat(30)}${"a".repeat(30)}`])(
    "no pattern takes exponential time: %s",
    (pattern) => {
      const cost = { steps: 0 };
      compileFilter({ a: { $regex: pattern } }, cost)({ a: `${"a".repeat(200)}!` });
      expect(cost.steps).toBeLessThan(50_000);
    },
  );
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

describe("patterns", () => {
  const TEXTS = [
    "",
    "a",
    "ab",
    "b\na",
    "aB1_",
    " a-b ",
    "aaa",
    "\u00e4\u00c4",
    "\u{1f600}x",
    "line\r\nend",
  ];

  const PATTERNS = [
    ...[
      "a",
      "^a",
      "a$",
      "^a$",
      "a|b",
      "(a|b)+",
      "(?:ab)*",
      "(?<n>a)b?",
      "a{2}",
      "a{2,}",
      "a{0,1}b",
      "a+?b",
    ],
    ...[
      "[ab]",
      "[^ab]",
      "[a-z]+\\d",
      "[\\w-]+",
      "[\\]\\-]",
      "\\bb",
      "\\Bb",
      "\\s",
      "\\S+\\s\\S+",
      "\\w\\W",
    ],
    ...[
      ".",
      "..",
      "^.$",
      "\\x61",
      "\\u0061",
      "\\u{1f600}",
      "\\.",
      "a.b",
      "end$",
      "^end",
      "",
      "()",
      "a||b",
      "\\n",
    ],
  ];

  test.each(["", "i", "m", "s", "ims"])("are matched as JavaScript does, flags %p", (flags) => {
    for (const source of PATTERNS) {
      const matches = compileFilter({ t: { $regex: source, $options: flags } });
      const theirs = new RegExp(source, `${flags}u`);
      for (const text of TEXTS) {
        expect({ source, text, is: matches({ t: text }) }).toEqual({
          source,
          text,
          is: theirs.test(text),
        });
      }
    }
  });

  test("at random", () => {
    const atom = fc.constantFrom("a", "b", ".", "[ab]", "[^a]", "\\w", "(a|b)", "(?:ab|a)", "(a|)");
    const piece = fc.tuple(atom, fc.constantFrom("", "", "*", "+", "?", "{0,2}", "{2}", "*?"));
    const anchor = fc.constantFrom("", "", "^", "$", "\\b");
    const part = fc.tuple(anchor, piece).map(([before, [one, many]]) => before + one + many);
    const pattern = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => parts.join(""));
    const text = fc
      .array(fc.constantFrom("a", "b", "c", "\n"), { maxLength: 8 })
      .map((all) => all.join(""));
    fc.assert(
      fc.property(pattern, text, (source, tested) => {
        const is = compileFilter({ t: { $regex: source } })({ t: tested });
        expect({ source, tested, is }).toEqual({
          source,
          tested,
          is: new RegExp(source, "u").test(tested),
        });
      }),
      { numRuns: 5000 },
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
