/**
 * Sizes, comments, names and constructs: docs/architecture.md sections 3 and 11.
 *
 * @module
 */

import { findFunctions } from "./function_rules.ts";
import type { Finding, SourceFile } from "./source_file.ts";
import type { Token } from "./tokens.ts";

const FILE_LINES_MAX = 500;
const LINE_COLUMNS_MAX = 100;
const REASON_LENGTH_MIN = 10;

const VAGUE_NAMES = new Set([
  "utils",
  "util",
  "helpers",
  "helper",
  "common",
  "lib",
  "shared",
  "core",
]);
const ACCESS_WORDS = new Set(["public", "private", "protected", "readonly", "override"]);

/** Files that are too long. */
export function checkFileLength(file: SourceFile): readonly Finding[] {
  const count = file.text.endsWith("\n") ? file.lines.length - 1 : file.lines.length;
  if (!inSource(file) || count <= FILE_LINES_MAX) return [];
  return [finding(file, count, `${count} lines; the limit is ${FILE_LINES_MAX}`)];
}

/** Texts in quotes, which the formatter does not break. */
const QUOTED = /(["'`])(?:\\.|(?!\1).)*\1/g;

/** Lines that are too wide; rows of tables and the texts of messages do not count. */
export function checkLineWidth(file: SourceFile): readonly Finding[] {
  return file.lines.flatMap((line, at) => {
    const columns = [...line].length;
    if (columns <= LINE_COLUMNS_MAX || line.includes("https://")) return [];
    if (/^\s*\* \|/.test(line) || [...line.replace(QUOTED, '""')].length <= LINE_COLUMNS_MAX)
      return [];
    return [finding(file, at + 1, `${columns} columns; the limit is ${LINE_COLUMNS_MAX}`)];
  });
}

/** Files that do not begin by saying what their job is. */
export function checkModuleComment(file: SourceFile): readonly Finding[] {
  const first = file.comments[0]?.text ?? "";
  const opens = file.text.startsWith("/**") && /^ \* @module$/m.test(first);
  if (!inSource(file) || opens) return [];
  return [finding(file, 1, "does not open with a /** ... @module */ comment")];
}

/** Exported declarations without a doc comment. Re-exports have theirs where they are declared. */
export function checkDocComments(file: SourceFile): readonly Finding[] {
  if (!inSource(file)) return [];
  const ends = new Set<number>();
  for (const comment of file.comments) {
    const lines = comment.text.split("\n").length;
    if (comment.text.startsWith("/**")) ends.add(comment.line + lines - 1);
  }
  let lastName = "";
  return file.code.flatMap((token, at) => {
    if (token.text !== "export" || token.kind !== "word" || token.depth !== 0) return [];
    const name = exportedName(file.code, at + 1);
    const isOverload = name === lastName;
    lastName = name ?? "";
    if (name === undefined || isOverload || ends.has(token.line - 1)) return [];
    return [finding(file, token.line, `"${name}" is exported without a doc comment`)];
  });
}

function exportedName(code: readonly Token[], start: number): string | undefined {
  const declarations = [
    "abstract",
    "async",
    "class",
    "const",
    "function",
    "interface",
    "type",
    "*",
  ];
  let at = start;
  while (declarations.includes(code[at]?.text ?? "")) at += 1;
  const isDeclaration = at > start && code[at]?.kind === "word" && code[at]?.text !== "from";
  return isDeclaration ? code[at]?.text : undefined;
}

/** Types of the public forms in which a program's own values pass: one `any` each. */
const PUBLIC_ANY: ReadonlySet<string> = new Set([
  "src/api/database.ts",
  "src/client/database_base.ts",
  "src/protocol/wire/replication_message.ts",
]);

/** `any`, `enum`, `namespace`, default exports, parameter properties, `export *`. */
export function checkConstructs(file: SourceFile): readonly Finding[] {
  const findings = file.code.flatMap((token, at) => {
    const before = file.code[at - 1]?.text ?? "";
    const next = file.code[at + 1];
    if (token.kind !== "word" || before === "." || before === "?.") return [];
    const follows = next?.kind ?? "sign";
    const isPublic = PUBLIC_ANY.has(file.path) && [":", "<"].includes(before);
    const bad =
      (token.text === "any" && !isPublic && ![":", "(", "?"].includes(next?.text ?? "")) ||
      (token.text === "enum" && follows === "word") ||
      (["namespace", "module"].includes(token.text) && follows === "word") ||
      (token.text === "export" && next?.text === "default") ||
      (token.text === "export" && next?.text === "*");
    if (!bad) return [];
    const name = token.text === "export" ? `export ${next?.text}` : token.text;
    return [finding(file, token.line, `${name} is not used here`)];
  });
  for (const { name, parameters, firstLine } of findFunctions(file.code)) {
    const isProperty = parameters.some(([first]) => ACCESS_WORDS.has(first?.text ?? ""));
    if (name !== "constructor" || !isProperty) continue;
    findings.push(finding(file, firstLine, "a parameter property is not used here"));
  }
  return findings;
}

/** `!` after anything but an index: only a read of an array may be known to be there. */
export function checkNonNull(file: SourceFile): readonly Finding[] {
  if (!inSource(file)) return [];
  return file.code.flatMap((token, at) => {
    const before = file.code[at - 1];
    const next = file.code[at + 1]?.text ?? "";
    if (token.text !== "!" || token.kind !== "sign" || before === undefined) return [];
    const isPostfix = before.kind === "word" ? !isKeyword(before.text) : before.text === ")";
    if (!isPostfix || /^[\w$"'`([{]/.test(next)) return [];
    return [finding(file, token.line, "! stands only after an index into an array")];
  });
}

function isKeyword(word: string): boolean {
  return /^(return|case|typeof|await|yield|in|of|throw|else|do|delete|void|new)$/.test(word);
}

/** `console` outside of `cli/output.ts` and the tools. */
export function checkConsole(file: SourceFile): readonly Finding[] {
  const isProduct = file.path.startsWith("src/") || file.path.startsWith("cli/");
  if (!isProduct || file.path === "cli/output.ts") return [];
  return file.code.flatMap((token, at) => {
    const isUse = token.text === "console" && file.code[at + 1]?.text === ".";
    if (!isUse || file.code[at - 1]?.text === ".") return [];
    return [finding(file, token.line, "console is used only in cli/output.ts")];
  });
}

/** Reminders to come back: one of them never stands, the other only with its reason. */
export function checkReminders(file: SourceFile): readonly Finding[] {
  return file.comments.flatMap((comment) => {
    const findings: Finding[] = [];
    for (const [at, line] of comment.text.split("\n").entries()) {
      const reminder = /\b(FIXME|TODO)\b[:\s]*(.*?)\s*(?:\*\/)?$/.exec(line);
      if (reminder === null) continue;
      const reasoned = reminder[1] === "TODO" && (reminder[2]?.length ?? 0) >= REASON_LENGTH_MIN;
      if (reasoned) continue;
      findings.push(finding(file, comment.line + at, `${reminder[1]} without a reason`));
    }
    return findings;
  });
}

/** Variables, and collections made empty, at the top of a module: state that nobody owns. */
export function checkModuleState(file: SourceFile): readonly Finding[] {
  if (!inSource(file)) return [];
  return file.code.flatMap((token, at) => {
    if (token.depth !== 0 || token.kind !== "word") return [];
    const isVariable = token.text === "let" || token.text === "var";
    const isEmpty = token.text === "const" && isEmptyCollection(file.code, at + 1);
    if (!isVariable && !isEmpty) return [];
    return [finding(file, token.line, `mutable module state: ${file.code[at + 1]?.text ?? ""}`)];
  });
}

/** Whether the constant declared at `start` begins as an empty array, object, map or set. */
function isEmptyCollection(code: readonly Token[], start: number): boolean {
  let at = start;
  while (at < code.length && code[at]?.text !== "=" && code[at]?.text !== ";") at += 1;
  const value = code.slice(at + 1, at + 40).map((token) => token.text);
  if (value[0] !== "new") return /^(\[\]|\{\})/.test(value.slice(0, 2).join(""));
  if (!/^(Weak)?(Map|Set)$/.test(value[1] ?? "")) return false;
  const open = value.indexOf("(");
  return value[open + 1] === ")";
}

/** Names that say nothing of what is inside, and names in another style than snake_case. */
export function checkFileName(path: string): readonly Finding[] {
  const parts = path.replace(/\.ts$/, "").split("/");
  const vague = parts.find((part) => VAGUE_NAMES.has(part));
  if (vague !== undefined) return [{ path, line: 1, message: `"${vague}" names no job` }];
  const styled = parts.every((part) => /^[a-z0-9]+(_[a-z0-9]+)*(\.d)?$/.test(part));
  return styled ? [] : [{ path, line: 1, message: "the name is not snake_case" }];
}

function inSource(file: SourceFile): boolean {
  return file.path.startsWith("src/");
}

function finding(file: SourceFile, line: number, message: string): Finding {
  return { path: file.path, line, message };
}
