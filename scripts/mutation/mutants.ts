/**
 * Small faults that can be made in a source, one at a time: a comparison, an operator, a constant,
 * a call left out; or, of assertions, a condition turned round.
 *
 * @module
 */

import { scan, type Token } from "../../test/tidy/tokens.ts";

/** One fault that can be made in one file. */
export interface Mutant {
  /** From the top of the project. */
  readonly file: string;
  readonly line: number;
  /** The source from `start` to `end` becomes `replacement`. */
  readonly start: number;
  readonly end: number;
  readonly original: string;
  readonly replacement: string;
}

const SWAPS: Readonly<Record<string, readonly string[]>> = {
  "<": ["<=", ">="],
  "<=": ["<", ">"],
  ">": [">=", "<="],
  ">=": [">", "<"],
  "===": ["!=="],
  "!==": ["==="],
  "&&": ["||"],
  "||": ["&&"],
  "+": ["-"],
  "-": ["+"],
  "*": ["/"],
  "/": ["*"],
  "%": ["*"],
  "+=": ["-="],
  "-=": ["+="],
  "&": ["|"],
};

/** All faults of a source that no type declaration, import, message or assertion holds. */
export function mutantsOf(file: string, source: string): readonly Mutant[] {
  const { code } = scan(source);
  const skipped = [...declarations(code), ...calls(code, isMessageOrAssertion)];
  const isSkipped = (token: Token): boolean =>
    skipped.some(([from, to]) => token.at >= from && token.at < to);
  const found: Mutant[] = [];
  for (const [i, token] of code.entries()) {
    if (isSkipped(token)) continue;
    for (const [end, replacement] of replacements(source, code, i)) {
      const original = source.slice(token.at, end);
      found.push({ file, line: token.line, start: token.at, end, original, replacement });
    }
  }
  return found;
}

/** Assertions that relate two values, each with its condition turned round. */
export function negatedAssertions(file: string, source: string): readonly Mutant[] {
  const { code } = scan(source);
  return assertions(code).flatMap(({ line, condition }) => {
    const [first, last] = [condition[0], condition.at(-1)];
    if (first === undefined || last === undefined || !relates(condition)) return [];
    const [start, end] = [first.at, last.at + last.text.length];
    const original = source.slice(start, end);
    return [{ file, line, start, end, original, replacement: `!(${original})` }];
  });
}

/** How many assertions of a source relate two values. */
export function countAssertions(source: string): number {
  return assertions(scan(source).code).filter(({ condition }) => relates(condition)).length;
}

function assertions(
  code: readonly Token[],
): readonly { readonly line: number; readonly condition: readonly Token[] }[] {
  return code.flatMap((token, i) => {
    const isCall = token.text === "assert" && code[i + 1]?.text === "(";
    if (!isCall || code[i - 1]?.text === "function") return [];
    const condition: Token[] = [];
    for (const inner of code.slice(i + 2)) {
      if (inner.depth <= token.depth || (inner.depth === token.depth + 1 && inner.text === ",")) {
        break;
      }
      condition.push(inner);
    }
    return [{ line: token.line, condition }];
  });
}

/** Whether a condition compares two values that are both no literal. */
function relates(condition: readonly Token[]): boolean {
  const at = condition.findIndex(({ text }) => /^(?:[<>]=?|[!=]==)$/.test(text));
  if (at <= 0) return condition.some(({ kind }) => kind === "word") && condition.length > 3;
  return condition.slice(0, at).some(isName) && condition.slice(at + 1).some(isName);
}

function isName({ kind, text }: Token): boolean {
  return kind === "word" && !["undefined", "null", "true", "false", "typeof"].includes(text);
}

/** Replacements of the token, each with the offset where the replaced text ends. */
function replacements(
  source: string,
  code: readonly Token[],
  i: number,
): readonly (readonly [end: number, text: string])[] {
  const token = code[i]!;
  const end = token.at + token.text.length;
  const isSpaced = source[token.at - 1] === " " && /\s/.test(source[end] ?? "");
  const swaps = token.kind === "sign" && isSpaced ? SWAPS[token.text] : undefined;
  if (swaps !== undefined) return swaps.map((text) => [end, text]);
  const isKey = code[i + 1]?.text === ":" || code[i - 1]?.text === ".";
  if (token.kind === "word" && !isKey && /^(true|false)$/.test(token.text)) {
    return isInType(code, i) ? [] : [[end, token.text === "true" ? "false" : "true"]];
  }
  if (token.kind === "number" && !isInType(code, i)) {
    return [[end, `(${token.text} + 1)`]];
  }
  if (token.text === "!" && /[\w#(]/.test(source[end] ?? "") && !isPostfix(code, i)) {
    return [[end, ""]];
  }
  if (token.text === "if" && code[i + 1]?.text === "(") {
    const close = closeOf(code, i + 1);
    return close === undefined ? [] : [[close.at + 1, "if (false)"]];
  }
  return statementCall(code, i);
}

/** Words that begin a statement which is no call. */
const KEYWORDS = new RegExp(
  `^(?:${[
    "return const let if for while throw case default switch",
    "break continue else do try import export function class interface",
    "type get set static readonly async await constructor yield",
  ]
    .join(" ")
    .replaceAll(" ", "|")})$`,
);

/** Leaves a call out that stands alone as a statement. */
function statementCall(code: readonly Token[], i: number): readonly (readonly [number, string])[] {
  const token = code[i]!;
  const before = code[i - 1]?.text ?? "";
  const starts = token.text === "this" || token.text === "yield" || token.kind === "word";
  if (!starts || !["{", "}", ";"].includes(before)) return [];
  if (KEYWORDS.test(token.text)) {
    return [];
  }
  let sawCall = false;
  for (let at = i; at < code.length; at += 1) {
    const inner = code[at]!;
    if (inner.depth < token.depth) return [];
    if (inner.depth > token.depth) continue;
    if (inner.text === "(") sawCall = true;
    if (/^(=|\+=|-=|=>|\{|:)$/.test(inner.text)) return [];
    if (inner.text === ";") return sawCall ? [[inner.at, "void 0"]] : [];
  }
  return [];
}

function isPostfix(code: readonly Token[], i: number): boolean {
  const before = code[i - 1];
  return (
    before !== undefined &&
    (before.kind === "word" || /^[)\]]$/.test(before.text)) &&
    !/^(return|case|typeof|await|in|of)$/.test(before.text)
  );
}

/** Whether a literal is part of a type: behind a colon of a declaration, `as` or `|`. */
function isInType(code: readonly Token[], i: number): boolean {
  const before = code[i - 1]?.text ?? "";
  return before === "|" || code[i + 1]?.text === "|" || before === "<" || before === "as";
}

function closeOf(code: readonly Token[], open: number): Token | undefined {
  const depth = code[open]!.depth;
  return code.slice(open + 1).find((token) => token.depth === depth);
}

/** Ranges of imports, exports from, interfaces and types. */
function declarations(code: readonly Token[]): readonly (readonly [number, number])[] {
  const ranges: [number, number][] = [];
  for (const [i, token] of code.entries()) {
    if (token.depth !== 0 || token.kind !== "word") continue;
    const isType =
      token.text === "interface" || (token.text === "type" && code[i + 1]?.kind === "word");
    if (!isType && token.text !== "import") continue;
    const end = code.slice(i + 1).find((next, k) => {
      if (next.depth !== 0) return false;
      if (token.text === "interface") return next.text === "}";
      return next.text === ";" && k > 0;
    });
    ranges.push([token.at, (end?.at ?? token.at) + 1]);
  }
  return ranges;
}

function isMessageOrAssertion(code: readonly Token[], i: number): boolean {
  const { text } = code[i]!;
  const isCall = code[i + 1]?.text === "(";
  return isCall && (text === "assert" || text === "unreachable" || /Error$/.test(text));
}

function calls(
  code: readonly Token[],
  matches: (code: readonly Token[], i: number) => boolean,
): readonly (readonly [number, number])[] {
  return code.flatMap((token, i) => {
    if (!matches(code, i)) return [];
    const close = closeOf(code, i + 1);
    return close === undefined ? [] : [[token.at, close.at + 1] as const];
  });
}
