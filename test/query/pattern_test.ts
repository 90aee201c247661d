/**
 * Patterns: matched as JavaScript matches them, in bounded time, and refused when they cannot be.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { QueryError } from "../../src/base/errors.ts";
import { compileFilter } from "../../src/query/matcher.ts";
import { fuzz, seeded } from "../protocol/fuzz_seed.ts";

describe("refusals", () => {
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

  test(seeded("are matched as JavaScript does, at random"), () => {
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
      fuzz(5_000),
    );
  });
});
