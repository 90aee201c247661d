/**
 * Patterns as programs for {@link compilePattern}: Thompson's construction (1968, "Regular
 * Expression Search Algorithm"). The syntax is that of JavaScript without references to groups and
 * looking ahead or behind, which need backtracking, and without property escapes.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { QueryError } from "../base/errors.ts";
import { PATTERN_PROGRAM_MAX } from "../base/limits.ts";

/** Whether a character, as its code point, is one of a set. */
export type CharTest = (code: number) => boolean;

/** One step of a program. Places are positions in it. */
export type Instruction =
  | { readonly kind: "char"; readonly test: CharTest }
  | { readonly kind: "split"; first: number; second: number }
  | { readonly kind: "jump"; to: number }
  | { readonly kind: "start" | "end" | "boundary" | "inside" }
  | { readonly kind: "match" };

/** Options of a pattern. */
export interface PatternFlags {
  readonly ignoresCase: boolean;
  /** `^` and `$` also at the ends of lines. */
  readonly isMultiline: boolean;
  /** `.` also for the ends of lines. */
  readonly isDotAll: boolean;
}

/** Appends the program of a part. */
type Part = (program: Instruction[]) => void;

const LINE_ENDS: ReadonlySet<number> = new Set([0x0a, 0x0d, 0x2028, 0x2029]);

/** Whether a character is a letter, digit or underscore of ASCII. */
export function isWordCode(code: number): boolean {
  const isDigit = code >= 0x30 && code <= 0x39;
  const isUpper = code >= 0x41 && code <= 0x5a;
  return isDigit || isUpper || (code >= 0x61 && code <= 0x7a) || code === 0x5f;
}

/** Whether a line ends with this character. */
export function isLineEnd(code: number): boolean {
  return LINE_ENDS.has(code);
}

function isSpace(code: number): boolean {
  const isAscii = code === 0x20 || (code >= 0x09 && code <= 0x0d);
  const isWide = code === 0x1680 || (code >= 0x2000 && code <= 0x200a) || code === 0x202f;
  const isOther = code === 0xa0 || code === 0x205f || code === 0x3000 || code === 0xfeff;
  return isAscii || isWide || isOther || code === 0x2028 || code === 0x2029;
}

const CLASSES: Readonly<Record<string, CharTest>> = {
  d: (code) => code >= 0x30 && code <= 0x39,
  D: (code) => code < 0x30 || code > 0x39,
  w: isWordCode,
  W: (code) => !isWordCode(code),
  s: isSpace,
  S: (code) => !isSpace(code),
};

const CONTROLS: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, "0": 0 };

class Parser {
  readonly #chars: readonly string[];
  readonly #flags: PatternFlags;
  #at = 0;
  #depth = 0;

  constructor(source: string, flags: PatternFlags) {
    this.#chars = [...source];
    this.#flags = flags;
  }

  whole(): Part {
    const part = this.#alternatives();
    if (this.#at < this.#chars.length) throw refused("a ) without its (");
    return part;
  }

  #alternatives(): Part {
    this.#depth += 1;
    if (this.#depth > 100) throw refused("groups that are nested too deep");
    const parts = [this.#sequence()];
    while (this.#take("|")) parts.push(this.#sequence());
    this.#depth -= 1;
    return parts.reduceRight((rest, one) => either(one, rest));
  }

  #sequence(): Part {
    const parts: Part[] = [];
    while (this.#at < this.#chars.length && !this.#isNext("|") && !this.#isNext(")")) {
      parts.push(this.#quantified());
    }
    return (program) => {
      for (const part of parts) part(program);
    };
  }

  #quantified(): Part {
    const part = this.#atom();
    const range = this.#quantifier();
    if (range === undefined) return part;
    this.#take("?");
    if (this.#quantifier() !== undefined) throw refused("a quantifier behind another");
    return repeated(part, range.least, range.most);
  }

  #quantifier(): { readonly least: number; readonly most: number } | undefined {
    if (this.#take("*")) return { least: 0, most: Number.POSITIVE_INFINITY };
    if (this.#take("+")) return { least: 1, most: Number.POSITIVE_INFINITY };
    if (this.#take("?")) return { least: 0, most: 1 };
    const rest = this.#chars.slice(this.#at, this.#at + 24).join("");
    const match = /^\{(\d{1,9})(,(\d{0,9}))?\}/.exec(rest);
    if (match === null) return undefined;
    this.#at += match[0].length;
    const least = Number(match[1]);
    const most = match[2] === undefined ? least : Number(match[3] || Number.POSITIVE_INFINITY);
    if (most < least) throw refused("a range of repeats that ends before it begins");
    return { least, most };
  }

  #atom(): Part {
    const char = this.#chars[this.#at] ?? "";
    this.#at += 1;
    switch (char) {
      case "(":
        return this.#group();
      case "[":
        return this.#class();
      case "^":
        return one({ kind: "start" });
      case "$":
        return one({ kind: "end" });
      case ".":
        return this.#char(this.#flags.isDotAll ? () => true : (code) => !isLineEnd(code));
      case "\\":
        return this.#escape();
      case "*":
      case "+":
      case "?":
        throw refused("a quantifier with nothing before it");
      default:
        return this.#literal(char.codePointAt(0) ?? 0);
    }
  }

  #group(): Part {
    const rest = this.#chars.slice(this.#at, this.#at + 3).join("");
    if (/^\?(=|!|<=|<!)/.test(rest)) throw refused("looking ahead or behind");
    if (rest.startsWith("?:")) this.#at += 2;
    else if (rest.startsWith("?<")) this.#at = this.#chars.indexOf(">", this.#at) + 1 || 1e9;
    else if (rest.startsWith("?")) throw refused("a group of an unknown kind");
    const part = this.#alternatives();
    if (!this.#take(")")) throw refused("a ( without its )");
    return part;
  }

  #escape(): Part {
    const char = this.#chars[this.#at] ?? "";
    if (char === "b" || char === "B") {
      this.#at += 1;
      return one({ kind: char === "b" ? "boundary" : "inside" });
    }
    const test = this.#escaped();
    return typeof test === "number" ? this.#literal(test) : this.#char(test);
  }

  /** The character, or the set of characters, behind a backslash. */
  #escaped(): number | CharTest {
    const char = this.#chars[this.#at] ?? "";
    this.#at += 1;
    const set = Object.hasOwn(CLASSES, char) ? CLASSES[char] : undefined;
    if (set !== undefined) return set;
    if (char === "x") return this.#hex(2);
    if (char === "u") return this.#unicode();
    if (/[1-9k]/.test(char)) throw refused("a reference to a group");
    const control = Object.hasOwn(CONTROLS, char) ? CONTROLS[char] : undefined;
    if (control !== undefined) return control;
    if (char === "" || /[a-zA-Z]/.test(char)) throw refused(`the escape \\${char}`);
    return char.codePointAt(0) ?? 0;
  }

  #unicode(): number {
    if (!this.#take("{")) return this.#hex(4);
    const end = this.#chars.indexOf("}", this.#at);
    const size = end - this.#at;
    const code = size > 0 && size <= 6 ? this.#hex(size) : Number.NaN;
    this.#at += 1;
    if (!(code <= 0x10ffff)) throw refused("a character that does not exist");
    return code;
  }

  #hex(size: number): number {
    const digits = this.#chars.slice(this.#at, this.#at + size).join("");
    if (digits.length !== size || !/^[0-9a-fA-F]+$/.test(digits)) {
      throw refused("a character code that is cut off");
    }
    this.#at += size;
    return Number.parseInt(digits, 16);
  }

  #class(): Part {
    const isNegated = this.#take("^");
    const tests: CharTest[] = [];
    while (!this.#isNext("]")) {
      if (this.#at >= this.#chars.length) throw refused("a [ without its ]");
      const from = this.#classItem();
      const hasRange = this.#isNext("-") && !this.#isNext("]", 1);
      if (!hasRange || typeof from !== "number") {
        tests.push(typeof from === "number" ? (code) => code === from : from);
        continue;
      }
      this.#at += 1;
      const to = this.#classItem();
      if (typeof to !== "number" || to < from) throw refused("a range of characters");
      tests.push((code) => code >= from && code <= to);
    }
    this.#at += 1;
    const isOne = this.#folded((code) => tests.some((test) => test(code)));
    return one({ kind: "char", test: isNegated ? (code) => !isOne(code) : isOne });
  }

  #classItem(): number | CharTest {
    const char = this.#chars[this.#at] ?? "";
    this.#at += 1;
    if (char !== "\\") return char.codePointAt(0) ?? 0;
    if (this.#take("b")) return 8;
    if (this.#take("-")) return 0x2d;
    return this.#escaped();
  }

  #literal(code: number): Part {
    return this.#char((other) => other === code);
  }

  #char(test: CharTest): Part {
    return one({ kind: "char", test: this.#folded(test) });
  }

  /** The test for a character in either case. */
  #folded(test: CharTest): CharTest {
    if (!this.#flags.ignoresCase) return test;
    return (code) => test(code) || test(lowerOf(code)) || test(upperOf(code));
  }

  #isNext(char: string, behind = 0): boolean {
    return this.#chars[this.#at + behind] === char;
  }

  #take(char: string): boolean {
    if (!this.#isNext(char)) return false;
    this.#at += 1;
    return true;
  }
}

function lowerOf(code: number): number {
  const text = String.fromCodePoint(code).toLowerCase();
  const lower = text.codePointAt(0) ?? code;
  return String.fromCodePoint(lower) === text ? lower : code;
}

function upperOf(code: number): number {
  const text = String.fromCodePoint(code).toUpperCase();
  const upper = text.codePointAt(0) ?? code;
  return String.fromCodePoint(upper) === text ? upper : code;
}

function one(instruction: Instruction): Part {
  return (program) => add(program, instruction);
}

function add(program: Instruction[], instruction: Instruction): void {
  if (program.length >= PATTERN_PROGRAM_MAX) throw refused("too many repeats");
  program.push(instruction);
}

function either(a: Part, b: Part): Part {
  return (program) => {
    const split = { kind: "split" as const, first: program.length + 1, second: 0 };
    add(program, split);
    a(program);
    const jump = { kind: "jump" as const, to: 0 };
    add(program, jump);
    split.second = program.length;
    b(program);
    jump.to = program.length;
    assert(split.first < split.second, "the second way begins behind the first one");
    assert(split.second <= jump.to, "the first way goes on behind the second one");
  };
}

function repeated(part: Part, least: number, most: number): Part {
  assert(least <= most, "a range that ends before it begins was refused");
  return (program) => {
    for (let i = 0; i < least; i += 1) part(program);
    if (most === Number.POSITIVE_INFINITY) {
      const split = { kind: "split" as const, first: program.length + 1, second: 0 };
      const at = program.length;
      add(program, split);
      part(program);
      add(program, { kind: "jump", to: at });
      split.second = program.length;
      return;
    }
    const splits = [];
    for (let i = least; i < most; i += 1) {
      const split = { kind: "split" as const, first: program.length + 1, second: 0 };
      add(program, split);
      splits.push(split);
      part(program);
    }
    for (const split of splits) split.second = program.length;
  };
}

function refused(what: string): QueryError {
  return new QueryError(`Cannot use the pattern: ${what}`);
}

/** The program of a pattern. Throws QueryError. */
export function parsePattern(source: string, flags: PatternFlags): readonly Instruction[] {
  const part = new Parser(source, flags).whole();
  const program: Instruction[] = [];
  part(program);
  add(program, { kind: "match" });
  assert(program.length <= PATTERN_PROGRAM_MAX, "longer programs were refused");
  return program;
}
