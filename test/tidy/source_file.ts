/**
 * One source file as the rules of tidy see it: its path, its tokens and what it imports.
 *
 * @module
 */

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { type Scan, scan, type Token } from "./tokens.ts";

/** One `import` or `export ... from`. */
export interface Import {
  readonly specifier: string;
  /** Whether it disappears when the types are stripped. */
  readonly typeOnly: boolean;
  readonly line: number;
}

export interface SourceFile {
  /** From the top of the project, with slashes: `src/raft/raft.ts`. */
  readonly path: string;
  readonly text: string;
  readonly lines: readonly string[];
  readonly code: readonly Token[];
  readonly comments: readonly Token[];
  readonly imports: readonly Import[];
}

/** What a rule has found wrong. */
export interface Finding {
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

const FOLDERS = ["src", "cli", "bench", "test", "scripts"];

/** Reads every TypeScript file of the project, in order of path. */
export function readProject(): readonly SourceFile[] {
  const paths = FOLDERS.flatMap((folder) => listFolder(folder));
  return paths
    .filter((path) => path.endsWith(".ts"))
    .sort()
    .map((path) => parseSource(path, readFileSync(join(ROOT, path), "utf8")));
}

/** Makes a file from its text; tests of the rules use it for sources that are on no disk. */
export function parseSource(path: string, text: string): SourceFile {
  const scanned: Scan = scan(text);
  const imports = findImports(scanned.code);
  return { path, text, lines: text.split("\n"), ...scanned, imports };
}

/** The leaf folder of a file: below `src` without that word, "" for `src/mod.ts`. */
export function folderOf(path: string): string {
  const parts = path.split("/").slice(0, -1);
  return (parts[0] === "src" ? parts.slice(1) : parts).join("/");
}

/** The project's path that a relative import points at; `undefined` for a package. */
export function resolveImport(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  return posix.normalize(posix.join(posix.dirname(from), specifier));
}

function listFolder(folder: string): readonly string[] {
  try {
    const names = readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" });
    return names.map((name) => posix.join(folder, name.replaceAll("\\", "/")));
  } catch {
    return []; // A folder that is not there yet has no files.
  }
}

function findImports(code: readonly Token[]): readonly Import[] {
  const imports: Import[] = [];
  for (const [at, token] of code.entries()) {
    if (token.kind !== "word" || code[at - 1]?.text === ".") continue;
    if (token.text === "import" && code[at + 1]?.text === "(") {
      const argument = code[at + 2];
      if (argument?.kind === "string") imports.push(importOf(argument, false));
    } else if (token.depth === 0 && (token.text === "import" || token.text === "export")) {
      const found = findClause(code, at);
      if (found !== undefined) imports.push(found);
    }
  }
  return imports;
}

/** Reads `import ... from "x"`, `import "x"` and `export ... from "x"`; other exports give none. */
function findClause(code: readonly Token[], start: number): Import | undefined {
  const next = code[start + 1];
  if (next?.kind === "string") return importOf(next, false);
  const typeOnly = next?.text === "type" && code[start + 2]?.text !== "from";
  let at = start + (typeOnly ? 2 : 1);
  if (code[start]?.text === "export" && !["{", "*"].includes(code[at]?.text ?? "")) {
    return undefined;
  }
  for (; at < code.length; at += 1) {
    const token = code[at];
    if (token === undefined || (token.depth === 0 && token.text === ";")) return undefined;
    const from = token.depth === 0 && token.text === "from" ? code[at + 1] : undefined;
    if (from?.kind === "string") return importOf(from, typeOnly);
    if (token.depth === 0 && token.text === "}" && code[at + 1]?.text !== "from") return undefined;
  }
  return undefined;
}

function importOf(literal: Token, typeOnly: boolean): Import {
  return { specifier: literal.text.slice(1, -1), typeOnly, line: literal.line };
}
