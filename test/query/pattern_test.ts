/**
 * Patterns: matched as JavaScript matches them, in bounded time, and refused when they cannot be.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { QueryError } from "../../src/base/errors.ts";
import { compileFilter } from "../../src/query/matcher.ts";
import { compilePattern } from "../../src/query/pattern.ts";
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

/** Whether the pattern matches, and the steps that this costs. */
function run(source: string, flags: string, text: string): readonly [boolean, number] {
  const cost = { steps: 0 };
  return [compilePattern(source, flags, cost)(text), cost.steps];
}

describe("limits", () => {
  test("a pattern of 1,000 characters is taken, one of 1,001 is refused", () => {
    expect(run("a".repeat(1000), "", "a".repeat(1000))[0]).toBe(true);
    expect(() => compilePattern("a".repeat(1001), "")).toThrow(
      new QueryError("Cannot use a pattern of more than 1000 characters"),
    );
  });

  test.each(["d", "g", "i", "m", "s", "u", "gimsud"])("the options %j are taken", (flags) => {
    expect(run("a.c", flags, "abc")[0]).toBe(true);
  });

  test.each(["y", "v", "x", "iy", " "])("the options %j are refused", (flags) => {
    expect(() => compilePattern("a", flags)).toThrow(
      new QueryError(`Cannot use the pattern options "${flags}": i, m, s and u are known`),
    );
  });

  // A text without signs of a pattern is found by the runtime, at a step a character.
  test.each<readonly [string, string, string, boolean, number]>([
    ["bc", "", "abcd", true, 4],
    ["bc", "", "", false, 0],
    ["bc", "ms", "abd", false, 3],
    ["bc", "i", "aBCd", true, 5 * 3],
    ["b.", "", "abcd", true, 5 * 3],
    ["^$", "", "", true, 1 * 3],
    ["a|b", "", "xxb", true, 4 * 5],
  ])("%j with %j in %j", (...[source, flags, text, isMatch, steps]) => {
    expect(run(source, flags, text)).toEqual([isMatch, steps]);
  });

  test.each([..."\\^$.*+?()[]{}|"])("%j is a sign of a pattern", (sign) => {
    const source = `\\${sign}`;
    expect(run(source, "", `x${sign}x`)).toEqual([true, 4 * 2]);
    expect(run(source, "", "xx")).toEqual([false, 3 * 2]);
  });

  test("5,000,000 steps are taken, more are refused", () => {
    const matches = compilePattern("a.c", "");
    // Four instructions: three characters and the match.
    expect(matches("x".repeat(1_249_999))).toBe(false);
    expect(() => matches("x".repeat(1_250_000))).toThrow(
      new QueryError(
        'Cannot match "a.c" with a text of 1250000 characters: that takes too many steps',
      ),
    );
    const long = compilePattern(`${"a".repeat(200)}.`, "");
    expect(() => long("x".repeat(100_000))).toThrow(`Cannot match "${"a".repeat(100)}" with`);
  });

  test("matching without a cost works, too", () => {
    expect(compilePattern("a.c", "")("xabc")).toBe(true);
    expect(compilePattern("abc", "")("xabc")).toBe(true);
  });
});

describe("positions", () => {
  test.each<readonly [string, string, string, boolean]>([
    ["^a", "", "a", true],
    ["^a", "", "ba", false],
    ["^a", "", "b\na", false],
    ["^a", "m", "b\na", true],
    ["^a", "m", "b\u2028a", true],
    ["^a", "m", "ba", false],
    ["a$", "", "a", true],
    ["a$", "", "ab", false],
    ["a$", "", "a\nb", false],
    ["a$", "m", "a\nb", true],
    ["a$", "m", "a\rb", true],
    ["a$", "m", "ab", false],
    ["\\ba", "", "a", true],
    ["\\ba", "", " a", true],
    ["\\ba", "", "ba", false],
    ["a\\b", "", "a", true],
    ["a\\b", "", "a ", true],
    ["a\\b", "", "ab", false],
    ["\\b", "", "", false],
    ["\\b", "", "a", true],
    ["\\b", "", " ", false],
    ["\\B", "", "", true],
    ["\\B", "", "a", false],
    ["\\B", "", " ", true],
    ["a\\Bb", "", "ab", true],
    ["a\\B-", "", "a-", false],
    ["^.$", "", "\u{1f600}", true],
    ["^..$", "", "\u{1f600}", false],
    ["^..$", "", "\u{1f600}a", true],
    ["^.$", "", "\uffff", true],
    ["^.a$", "", "\u{10000}a", true],
    ["\u{1f600}$", "", "a\u{1f600}", true],
    [".b", "", "\u{1f600}b", true],
  ])("%j with %j in %j: %j", (...[source, flags, text, isMatch]) => {
    expect(run(source, flags, text)[0]).toBe(isMatch);
    expect(new RegExp(source, `${flags}u`).test(text)).toBe(isMatch);
  });
});
