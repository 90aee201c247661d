/**
 * Regular expressions that come over the network. The runtime's engine tries alternatives one by
 * one, so some patterns take exponential time; those that could are refused, and for the others the
 * steps on a text are bounded before it is tried.
 *
 * @module
 */

import { QueryError } from "../base/errors.ts";
import { PATTERN_LENGTH_MAX, PATTERN_STEPS_MAX } from "../base/limits.ts";

interface Shape {
  /** Quantifiers without an upper bound. */
  readonly unbounded: number;
  readonly isAnchored: boolean;
}

/** Whether a text matches. Throws QueryError for a pattern that is refused. */
export function compilePattern(source: string, flags: string): (text: string) => boolean {
  if (source.length > PATTERN_LENGTH_MAX) {
    throw new QueryError(`Cannot use a pattern of more than ${PATTERN_LENGTH_MAX} characters`);
  }
  if (!/^[imsux]*$/.test(flags) || flags.includes("x")) {
    throw new QueryError(`Cannot use the pattern options "${flags}": i, m, s and u are known`);
  }
  let regex: RegExp;
  try {
    regex = new RegExp(source, flags);
  } catch (cause) {
    throw new QueryError(`Cannot use the pattern "${source.slice(0, 100)}"`, { cause });
  }
  const shape = shapeOf(source);
  const isFixed = shape.isAnchored && !flags.includes("m");
  // Each open quantifier, and the place where a match begins, may be anywhere in the text.
  const power = shape.unbounded + (isFixed ? 0 : 1);
  return (text) => {
    if (text.length ** power * (source.length + 1) > PATTERN_STEPS_MAX && power > 1) {
      throw new QueryError(
        `Cannot match "${source.slice(0, 100)}" with a text of ${text.length} characters: it may take too long`,
        { remedy: "Begin the pattern with ^, or use fewer * and +" },
      );
    }
    return regex.test(text);
  };
}

/** Counts what may repeat. Throws QueryError for what may take exponential time. */
function shapeOf(source: string): Shape {
  /** For each open group whether it holds a quantifier or alternatives. */
  const groups: boolean[] = [];
  let unbounded = 0;
  /** Whether what was read last is a group that may match in several ways. */
  let isOpenGroup = false;
  let hasAlternatives = false;
  for (let at = 0; at < source.length; at += 1) {
    const char = source[at]!;
    let closes = false;
    if (char === "\\") {
      at += 1;
      if (/[1-9k]/.test(source[at] ?? "")) throw refused("a reference to a group");
    } else if (char === "[") {
      at = endOfClass(source, at);
    } else if (char === "(") {
      if (/^\(\?<?[=!]/.test(source.slice(at, at + 4))) throw refused("looking ahead or behind");
      groups.push(false);
    } else if (char === ")") {
      closes = groups.pop() === true;
      if (closes && groups.length > 0) groups[groups.length - 1] = true;
    } else if (char === "|") {
      if (groups.length > 0) groups[groups.length - 1] = true;
      else hasAlternatives = true;
    } else if (char === "*" || char === "+" || char === "{" || char === "?") {
      const range = char === "{" ? /^\{\d+(,\d*)?\}/.exec(source.slice(at)) : undefined;
      if (range === null) continue;
      if (isOpenGroup && char !== "?") throw refused("a quantified group with choices in it");
      if (char === "*" || char === "+" || range?.[0].endsWith(",}") === true) unbounded += 1;
      if (groups.length > 0 && char !== "?") groups[groups.length - 1] = true;
      if (range !== undefined) at += range[0].length - 1;
    }
    isOpenGroup = closes;
  }
  return { unbounded, isAnchored: source.startsWith("^") && !hasAlternatives };
}

function endOfClass(source: string, start: number): number {
  let at = start + 1;
  while (at < source.length && source[at] !== "]") at += source[at] === "\\" ? 2 : 1;
  return at;
}

function refused(what: string): QueryError {
  return new QueryError(`Cannot use the pattern: ${what} may take too long`);
}
