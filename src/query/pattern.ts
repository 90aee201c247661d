/**
 * Patterns that come over the network, matched in time that is linear in the text, in the same
 * number of steps on every runtime: all ways through the program are followed at once (Pike's form
 * of Thompson's algorithm; Cox 2009, "Regular Expression Matching: the Virtual Machine Approach").
 * The runtime's own engine tries one way after the other, which may take exponential time, and it
 * gives up where another runtime's does not: replicas would differ.
 *
 * @module
 */

import { QueryError } from "../base/errors.ts";
import { PATTERN_LENGTH_MAX, PATTERN_STEPS_MAX } from "../base/limits.ts";
import {
  type Instruction,
  isLineEnd,
  isWordCode,
  type PatternFlags,
  parsePattern,
} from "./pattern_parser.ts";

/** The work of matching, counted for callers that bound it. */
export interface MatchCost {
  steps: number;
}

/** Whether a text matches. Throws QueryError for a pattern that is refused, or too long a text. */
export function compilePattern(
  source: string,
  flags: string,
  cost: MatchCost = { steps: 0 },
): (text: string) => boolean {
  if (source.length > PATTERN_LENGTH_MAX) {
    throw new QueryError(`Cannot use a pattern of more than ${PATTERN_LENGTH_MAX} characters`);
  }
  if (!/^[dgimsu]*$/.test(flags)) {
    throw new QueryError(`Cannot use the pattern options "${flags}": i, m, s and u are known`);
  }
  const read = {
    ignoresCase: flags.includes("i"),
    isMultiline: flags.includes("m"),
    isDotAll: flags.includes("s"),
  };
  if (!read.ignoresCase && !/[\\^$.*+?()[\]{}|]/.test(source)) {
    return (text) => {
      cost.steps += text.length;
      return text.includes(source);
    };
  }
  const program = parsePattern(source, read);
  return (text) => {
    const steps = (text.length + 1) * program.length;
    cost.steps += steps;
    if (steps > PATTERN_STEPS_MAX) {
      throw new QueryError(
        `Cannot match "${source.slice(0, 100)}" with a text of ${text.length} characters: that takes too many steps`,
      );
    }
    return new Run(program, read, text).matches();
  };
}

/** One search in one text. */
class Run {
  readonly #program: readonly Instruction[];
  readonly #flags: PatternFlags;
  readonly #text: string;
  /** For each place of the program the position at which it was entered last, plus one. */
  readonly #entered: Int32Array;
  #isMatched = false;

  constructor(program: readonly Instruction[], flags: PatternFlags, text: string) {
    this.#program = program;
    this.#flags = flags;
    this.#text = text;
    this.#entered = new Int32Array(program.length);
  }

  matches(): boolean {
    const text = this.#text;
    let now: number[] = [];
    for (let at = 0; at <= text.length; ) {
      // A match may begin anywhere.
      this.#enter(0, at, now);
      if (this.#isMatched) return true;
      const code = text.codePointAt(at);
      if (code === undefined) return false;
      const size = code > 0xffff ? 2 : 1;
      const next: number[] = [];
      for (const place of now) {
        const instruction = this.#program[place]!;
        if (instruction.kind === "char" && instruction.test(code)) {
          this.#enter(place + 1, at + size, next);
        }
      }
      if (this.#isMatched) return true;
      now = next;
      at += size;
    }
    return false;
  }

  /** Adds the places that wait for a character at that position. */
  #enter(first: number, at: number, waiting: number[]): void {
    const open = [first];
    for (let place = open.pop(); place !== undefined; place = open.pop()) {
      if (this.#entered[place] === at + 1) continue;
      this.#entered[place] = at + 1;
      const instruction = this.#program[place]!;
      switch (instruction.kind) {
        case "char":
          waiting.push(place);
          break;
        case "match":
          this.#isMatched = true;
          return;
        case "jump":
          open.push(instruction.to);
          break;
        case "split":
          open.push(instruction.second, instruction.first);
          break;
        default:
          if (this.#holds(instruction.kind, at)) open.push(place + 1);
      }
    }
  }

  #holds(kind: "start" | "end" | "boundary" | "inside", at: number): boolean {
    const text = this.#text;
    const { isMultiline } = this.#flags;
    if (kind === "start") return at === 0 || (isMultiline && isLineEnd(text.charCodeAt(at - 1)));
    if (kind === "end") {
      return at === text.length || (isMultiline && isLineEnd(text.charCodeAt(at)));
    }
    const isWord = (place: number): boolean =>
      place >= 0 && place < text.length && isWordCode(text.charCodeAt(place));
    return (isWord(at - 1) !== isWord(at)) === (kind === "boundary");
  }
}
