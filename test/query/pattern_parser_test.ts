/**
 * Patterns as programs: exact instructions, sets of characters, and each refusal with its reason.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { QueryError } from "../../src/base/errors.ts";
import { compilePattern } from "../../src/query/pattern.ts";
import { isLineEnd, isWordCode, parsePattern } from "../../src/query/pattern_parser.ts";

const FLAGS = { ignoresCase: false, isMultiline: false, isDotAll: false };

/** The instructions as text: `char`, `split 1 3`, `jump 0`, `start` and so on. */
function programOf(source: string): string {
  const shown = parsePattern(source, FLAGS).map((instruction) => {
    if (instruction.kind === "split") return `split ${instruction.first} ${instruction.second}`;
    return instruction.kind === "jump" ? `jump ${instruction.to}` : instruction.kind;
  });
  return shown.join(", ");
}

/** First and last code points of ranges in which some set begins or ends. */
const RANGES: readonly (readonly [number, number])[] = [
  [0, 0x400],
  [0x1670, 0x1690],
  [0x1e9e, 0x1e9e],
  [0x1ff0, 0x2070],
  [0x2120, 0x2130],
  [0x2ff0, 0x3010],
  [0xfef0, 0xff10],
  [0xfff0, 0x1_0010],
  [0x1_f5f0, 0x1_f610],
  [0x10_fff0, 0x10_ffff],
];
const CODES = RANGES.flatMap(([first, last]) => {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
});

/** The code points that a pattern of one character matches. */
function matchedCodes(source: string, flags = ""): number[] {
  const matches = compilePattern(`^${source}$`, flags);
  return CODES.filter((code) => matches(String.fromCodePoint(code)));
}

function expectedCodes(source: string, flags = ""): number[] {
  const pattern = new RegExp(`^${source}$`, `${flags}u`);
  return CODES.filter((code) => pattern.test(String.fromCodePoint(code)));
}

describe("programs", () => {
  test.each<readonly [string, string]>([
    ["", "match"],
    ["a", "char, match"],
    ["^a$", "start, char, end, match"],
    ["\\b\\B", "boundary, inside, match"],
    ["(a)", "char, match"],
    ["(?:a)", "char, match"],
    ["(?<name>a)", "char, match"],
    ["a*", "split 1 3, char, jump 0, match"],
    ["a*?", "split 1 3, char, jump 0, match"],
    ["a+", "char, split 2 4, char, jump 1, match"],
    ["a?", "split 1 2, char, match"],
    ["a{2}", "char, char, match"],
    ["a{0}", "match"],
    ["a{1,}", "char, split 2 4, char, jump 1, match"],
    ["a{0,2}", "split 1 4, char, split 3 4, char, match"],
    ["a{1,2}", "char, split 2 3, char, match"],
    ["a|b", "split 1 3, char, jump 4, char, match"],
    ["a|b|c", "split 1 3, char, jump 7, split 4 6, char, jump 7, char, match"],
    ["a||", "split 1 3, char, jump 5, split 4 5, jump 5, match"],
    ["[ab]c", "char, char, match"],
    ["[^]$", "char, end, match"],
    ["(a|b)c", "split 1 3, char, jump 4, char, char, match"],
    ["x{", "char, char, match"],
    ["x{,2}", "char, char, char, char, char, match"],
    ["x{a}", "char, char, char, char, match"],
    ["}]", "char, char, match"],
  ])("%j", (source, program) => {
    expect(programOf(source)).toBe(program);
  });
});

describe("sets of characters", () => {
  test.each([
    ".",
    "\\d",
    "\\D",
    "\\w",
    "\\W",
    "\\s",
    "\\S",
    "[a-c]",
    "[a-a]",
    "[\\u{9}]",
    "\\u{9}",
    "[^a-c]",
    "[abc-]",
    "[-a]",
    "[a\\-c]",
    "[\\d-]",
    "[\\w.]",
    "[^\\s\\d]",
    "[\\b]",
    "[\\x41-\\x43]",
    "[\\u0391-\\u03a9]",
    "[\\u{1f600}]",
    "[.]",
    "[\\]]",
    "[^]",
    "\\t",
    "\\n",
    "\\v",
    "\\f",
    "\\r",
    "\\0",
    "\\x7f",
    "\\u00e4",
    "\\u{e4}",
    "\\u{10ffff}",
    "\\/",
    "\\.",
    "\u{1f600}",
  ])("%s matches what JavaScript matches", (source) => {
    expect(matchedCodes(source)).toEqual(expectedCodes(source));
    expect(matchedCodes(source, "s")).toEqual(expectedCodes(source, "s"));
  });

  // Other letters fold in another way with the flag u: the Kelvin sign is a k there.
  test.each<readonly [string, string]>([
    ["a", "Aa"],
    ["A", "Aa"],
    ["[a-c]", "ABCabc"],
    ["[A-C]", "ABCabc"],
    ["\u00e4", "\u00c4\u00e4"],
    ["\u00c4", "\u00c4\u00e4"],
    ["\u03a9", "\u03a9\u03c9"],
    ["1", "1"],
    ["\u00df", "\u00df\u1e9e"],
  ])("%s in either case", (source, characters) => {
    const texts = matchedCodes(source, "i").map((code) => String.fromCodePoint(code));
    expect(texts.join("")).toBe(characters);
  });

  test("a negated set leaves out both cases", () => {
    const texts = ["a", "A", "b", "B"].filter(compilePattern("^[^a]$", "i"));
    expect(texts).toEqual(["b", "B"]);
  });

  test("word characters and ends of lines", () => {
    const codes = Array.from({ length: 0x2100 }, (_, code) => code);
    const words = codes.filter(isWordCode).map((code) => String.fromCharCode(code));
    const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
    expect(words.join("")).toBe(`0123456789${letters}`);
    expect(codes.filter(isLineEnd)).toEqual([0x0a, 0x0d, 0x2028, 0x2029]);
  });
});

describe("refusals", () => {
  test.each<readonly [string, string]>([
    [")", "a ) without its ("],
    ["a)b", "a ) without its ("],
    ["(", "a ( without its )"],
    ["(a", "a ( without its )"],
    ["(?<name", "a ( without its )"],
    ["(?<name>", "a ( without its )"],
    ["(?=a)", "looking ahead or behind"],
    ["(?!a)", "looking ahead or behind"],
    ["(?<=a)", "looking ahead or behind"],
    ["(?<!a)", "looking ahead or behind"],
    ["(?a)", "a group of an unknown kind"],
    ["(?", "a group of an unknown kind"],
    ["*", "a quantifier with nothing before it"],
    ["+a", "a quantifier with nothing before it"],
    ["a|?", "a quantifier with nothing before it"],
    ["a**", "a quantifier behind another"],
    ["a+*", "a quantifier behind another"],
    ["a{2}{3}", "a quantifier behind another"],
    ["a*??", "a quantifier behind another"],
    ["a{2,1}", "a range of repeats that ends before it begins"],
    ["a{1,0}", "a range of repeats that ends before it begins"],
    ["[", "a [ without its ]"],
    ["[a", "a [ without its ]"],
    ["[a\\]", "a [ without its ]"],
    ["[b-a]", "a range of characters"],
    ["[a-\\d]", "a range of characters"],
    ["[\\x01-", "a range of characters"],
    ["(.)\\1", "a reference to a group"],
    ["\\9", "a reference to a group"],
    ["\\k<n>", "a reference to a group"],
    ["\\", "the escape \\"],
    ["\\p{L}", "the escape \\p"],
    ["\\c", "the escape \\c"],
    ["\\Z", "the escape \\Z"],
    ["\\x4", "a character code that is cut off"],
    ["\\xg0", "a character code that is cut off"],
    ["\\u004", "a character code that is cut off"],
    ["\\u{zz}", "a character code that is cut off"],
    ["\\u{}", "a character that does not exist"],
    ["\\u{110000}", "a character that does not exist"],
    ["\\u{0000041}", "a character that does not exist"],
    ["\\u{41", "a character that does not exist"],
    ["(a{99}){99}", "too many repeats"],
  ])("%j", (source, reason) => {
    expect(() => parsePattern(source, FLAGS)).toThrow(
      new QueryError(`Cannot use the pattern: ${reason}`),
    );
  });

  test("a program of 2,000 instructions is taken, one more is refused", () => {
    expect(parsePattern("a{1999}", FLAGS)).toHaveLength(2000);
    expect(() => parsePattern("a{2000}", FLAGS)).toThrow("too many repeats");
  });

  test("100 levels are taken, one more is refused", () => {
    const nested = (depth: number): string => "(".repeat(depth) + ")".repeat(depth);
    expect(parsePattern(nested(99), FLAGS)).toHaveLength(1);
    expect(() => parsePattern(nested(100), FLAGS)).toThrow(
      new QueryError("Cannot use the pattern: groups that are nested too deep"),
    );
    expect(parsePattern("()".repeat(200), FLAGS)).toHaveLength(1);
    expect(() => parsePattern("()".repeat(50) + nested(100), FLAGS)).toThrow("too deep");
  });

  // A number of repeats has at most nine digits; behind ten it is a text.
  test("a quantifier of too many digits is a text", () => {
    expect(parsePattern("a{0000000001}", FLAGS)).toHaveLength(14);
    expect(programOf("a{000000001}")).toBe("char, match");
    expect(programOf("a{000000000,000000001}")).toBe("split 1 2, char, match");
  });
});
