/**
 * Finds functions and measures them: docs/architecture.md section 11.
 *
 * @module
 */

import { type Finding, folderOf, type SourceFile } from "./source_file.ts";
import type { Token } from "./tokens.ts";

const FUNCTION_LINES_MAX = 70;
const PARAMETERS_MAX = 3;

/** Words whose parentheses hold a condition, not parameters. */
const CONDITIONS = new Set("if for while switch catch with case return await extends".split(" "));

/** Signs and words in a type after which another part of that type must follow. */
const TYPE_JOINERS = new Set(
  "| & => extends ? : keyof typeof readonly infer is asserts unique . new".split(" "),
);

/** A function, method or arrow that has a body in braces, or an arrow without one. */
export interface FunctionSpan {
  readonly name: string;
  readonly firstLine: number;
  readonly lastLine: number;
  /** One list of tokens a parameter. */
  readonly parameters: readonly (readonly Token[])[];
}

/** Functions longer than the limit; in test/, a block of tests is a list and may be longer. */
export function checkFunctionLengths(file: SourceFile): readonly Finding[] {
  if (/^test\b/.test(folderOf(file.path))) return [];
  return findFunctions(file.code).flatMap(({ name, firstLine, lastLine }) => {
    const lines = lastLine - firstLine + 1;
    if (lines <= FUNCTION_LINES_MAX) return [];
    const message = `${name} has ${lines} lines; the limit is ${FUNCTION_LINES_MAX}`;
    return [{ path: file.path, line: firstLine, message }];
  });
}

/** Functions with more parameters than the limit; `this` is none. */
export function checkParameters(file: SourceFile): readonly Finding[] {
  return findFunctions(file.code).flatMap(({ name, firstLine, parameters }) => {
    const count = parameters.filter(([first]) => first?.text !== "this").length;
    if (count <= PARAMETERS_MAX) return [];
    const message = `${name} has ${count} parameters; the limit is ${PARAMETERS_MAX}`;
    return [{ path: file.path, line: firstLine, message }];
  });
}

/** Finds every function of a file, in the order of their parameter lists. */
export function findFunctions(code: readonly Token[]): readonly FunctionSpan[] {
  const functions: FunctionSpan[] = [];
  for (const [open, token] of code.entries()) {
    if (token.text !== "(" || token.kind !== "sign") continue;
    const close = closing(code, open);
    const body = bodyAfter(code, close + 1);
    const name = nameBefore(code, open);
    if (body === undefined || name === undefined) continue;
    const isBlock = code[body]?.text === "{";
    const last = isBlock ? code[closing(code, body)] : code[body];
    const firstLine = token.line;
    const parameters = splitParameters(code.slice(open + 1, close));
    functions.push({ name, firstLine, lastLine: last?.line ?? firstLine, parameters });
  }
  return functions;
}

/** The index of the bracket that closes the one at `open`, or the end. */
function closing(code: readonly Token[], open: number): number {
  const depth = code[open]?.depth ?? 0;
  for (let at = open + 1; at < code.length; at += 1) {
    const token = code[at];
    if (token?.depth === depth && token.kind === "sign" && ")]}".includes(token.text)) return at;
  }
  return code.length;
}

/** A name for messages; `undefined` when these parentheses belong to a condition or a call. */
function nameBefore(code: readonly Token[], open: number): string | undefined {
  let at = open - 1;
  if (code[at]?.text === ">") at = genericStart(code, at) - 1;
  const token = code[at];
  if (token === undefined) return "a function";
  if (token.kind !== "word") return token.text === "]" ? "a method" : "a function";
  if (code[at - 1]?.text === "extends") return undefined;
  if (CONDITIONS.has(token.text) && code[at - 1]?.text !== ".") {
    return token.text === "return" ? "a function" : undefined;
  }
  return token.text === "function" || token.text === "async" ? "a function" : token.text;
}

function genericStart(code: readonly Token[], end: number): number {
  let open = 0;
  for (let at = end; at > 0; at -= 1) {
    if (code[at]?.text === ">") open += 1;
    if (code[at]?.text === "<") open -= 1;
    if (open === 0) return at;
  }
  return end;
}

/** Where the body begins after a parameter list: its brace, or the token after `=>`. */
function bodyAfter(code: readonly Token[], start: number): number | undefined {
  const next = code[start]?.text;
  if (next === "{") return start;
  if (next === "=>") return start + 1;
  if (next !== ":") return undefined;
  let at = start + 1;
  let partExpected = true;
  while (at < code.length) {
    const token = code[at];
    const text = token?.kind === "sign" || token?.kind === "word" ? token.text : "";
    if (text === "{" && !partExpected) return at;
    if (text === "=>" && code[at - 1]?.text !== ")") return at + 1;
    if ([",", ";", ")", "]", "}", "="].includes(text)) return undefined;
    const opens = ["(", "[", "{"].includes(text);
    if (opens) at = closing(code, at);
    else if (text === "<") at = genericEnd(code, at);
    partExpected = TYPE_JOINERS.has(text);
    at += 1;
  }
  return undefined;
}

function genericEnd(code: readonly Token[], start: number): number {
  let open = 0;
  for (let at = start; at < code.length; at += 1) {
    if (code[at]?.text === "<") open += 1;
    if (code[at]?.text === ">") open -= 1;
    if (open === 0) return at;
  }
  return start;
}

/** Splits at the commas that are in no bracket, angle brackets of types included. */
function splitParameters(inside: readonly Token[]): readonly (readonly Token[])[] {
  const parameters: Token[][] = [[]];
  const depth = inside[0]?.depth ?? 0;
  let angles = 0;
  for (const token of inside) {
    if (token.text === "<") angles += 1;
    if (token.text === ">" && angles > 0) angles -= 1;
    if (token.text === "," && token.depth === depth && angles === 0) parameters.push([]);
    else parameters.at(-1)?.push(token);
  }
  return parameters.filter((parameter) => parameter.length > 0);
}
