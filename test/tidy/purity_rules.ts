/**
 * Where the outside world may be touched and where code may wait: docs/architecture.md section 3.
 *
 * @module
 */

import { MASTER } from "./import_rules.ts";
import { type Finding, folderOf, type SourceFile } from "./source_file.ts";
import type { Token } from "./tokens.ts";

/** Globals that reach the clock, chance, the process or the runtime. */
const IMPURE = new Set(
  (
    "Date performance setTimeout setInterval setImmediate clearTimeout clearInterval " +
    "clearImmediate crypto process Bun Deno globalThis"
  ).split(" "),
);

/** Globals that are objects: a call `process(...)` or a method of that name is something else. */
const OBJECTS = new Set(["performance", "crypto", "process", "Bun", "Deno"]);

/** Folders that decide; they wait for nothing. */
const SYNCHRONOUS = new Set([
  ...["base", "raft", ...MASTER, "query", "protocol/encoding", "protocol/wire"],
  ...["database", "database/collection"],
]);

/** Consensus answers with effects, so even the word has no place there. */
const WITHOUT_PROMISES = new Set(["raft", ...MASTER]);

const HASHER = "src/protocol/encoding/hasher.ts";

/** Uses of the clock, chance, files, sockets or a runtime outside of `src/platform`. */
export function checkPurity(file: SourceFile): readonly Finding[] {
  if (!file.path.startsWith("src/") || folderOf(file.path) === "platform") return [];
  const findings: Finding[] = [];
  for (const { specifier, line } of file.imports) {
    if (!/^(node|bun):/.test(specifier)) continue;
    findings.push({ path: file.path, line, message: `"${specifier}" belongs in src/platform` });
  }
  for (const [at, token] of file.code.entries()) {
    const name = impureName(file.code, at);
    if (name === undefined) continue;
    findings.push({
      path: file.path,
      line: token.line,
      message: `${name} belongs in src/platform`,
    });
  }
  return findings;
}

function impureName(code: readonly Token[], at: number): string | undefined {
  const token = code[at];
  if (token?.kind !== "word" || isMember(code, at)) return undefined;
  const next = code[at + 1]?.text ?? "";
  if (token.text === "Math" && next === "." && code[at + 2]?.text === "random") {
    return "Math.random";
  }
  if (!IMPURE.has(token.text)) return undefined;
  if (OBJECTS.has(token.text) && next === "(") return undefined;
  if (token.text === "Date" && isDateValue(code, at)) return undefined;
  return token.text;
}

/** A date given as data, its type or a test for it: these read no clock. */
function isDateValue(code: readonly Token[], at: number): boolean {
  const before = code[at - 1]?.text ?? "";
  const next = code[at + 1]?.text ?? "";
  if (before === "new") return next === "(" && code[at + 2]?.text !== ")";
  return before === "instanceof" || (next !== "." && next !== "(");
}

/** Whether a word is a property: after a dot, or a key before its colon. */
function isMember(code: readonly Token[], at: number): boolean {
  const before = code[at - 1]?.text ?? "";
  const next = code[at + 1]?.text ?? "";
  if (before === "." || before === "?.") return true;
  const isKey = next === ":" || (next === "?" && code[at + 2]?.text === ":");
  return isKey && ["{", ",", ";", "}", "readonly", "("].includes(before);
}

/** `await` and `async` where code must not wait; promises where it must not even know of them. */
export function checkSynchronous(file: SourceFile): readonly Finding[] {
  const folder = folderOf(file.path);
  if (!file.path.startsWith("src/") || !SYNCHRONOUS.has(folder)) return [];
  return file.code.flatMap((token, at) => {
    const banned =
      token.text === "await" ||
      token.text === "async" ||
      (token.text === "Promise" && WITHOUT_PROMISES.has(folder));
    if (!banned || token.kind !== "word" || isMember(file.code, at)) return [];
    if (file.path === HASHER && token.text === "await" && token.depth === 0) return [];
    return [{ path: file.path, line: token.line, message: `${token.text} in ${folder}` }];
  });
}
