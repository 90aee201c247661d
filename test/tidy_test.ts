/**
 * docs/architecture.md and docs/style.md, enforced over the sources. The first half holds the
 * project to the rules, the second half shows each rule a source that breaks it.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { SEAMS } from "../scripts/seams/suites.ts";
import { checkFunctionLengths, checkParameters, findFunctions } from "./tidy/function_rules.ts";
import {
  checkConsole,
  checkConstructs,
  checkDocComments,
  checkFileLength,
  checkFileName,
  checkLineWidth,
  checkModuleComment,
  checkModuleState,
  checkNonNull,
  checkReminders,
} from "./tidy/habit_rules.ts";
import {
  checkCycles,
  checkDeadFiles,
  checkMatrix,
  checkPackages,
  checkSpecifiers,
  type Packages,
} from "./tidy/import_rules.ts";
import { checkPurity, checkSynchronous } from "./tidy/purity_rules.ts";
import {
  checkAssertions,
  checkClosedTypes,
  checkErrorMessages,
  checkFolderSizes,
  checkLongFiles,
} from "./tidy/shape_rules.ts";
import {
  type Finding,
  parseSource,
  ROOT,
  readProject,
  resolveImport,
  type SourceFile,
} from "./tidy/source_file.ts";

const files = readProject();
const packages = readPackages();

function readPackages(): Packages {
  const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  return {
    dependencies: new Set(Object.keys(manifest.dependencies)),
    devDependencies: new Set(Object.keys(manifest.devDependencies)),
  };
}

/** One line a finding, so that a failure reads like a compiler's. */
function show(findings: readonly Finding[]): readonly string[] {
  return findings.map(({ path, line, message }) => `${path}:${line}: ${message}`);
}

type Rule = (file: SourceFile) => readonly Finding[];

const FILE_RULES: readonly (readonly [string, Rule])[] = [
  ["imports follow the matrix", checkMatrix],
  ["specifiers work on every runtime", checkSpecifiers],
  ["packages are dependencies", (file) => checkPackages(file, packages)],
  ["the outside world comes in through src/platform", checkPurity],
  ["the deciding folders never wait", checkSynchronous],
  ["functions are short", checkFunctionLengths],
  ["parameters are few", checkParameters],
  ["files are short", checkFileLength],
  ["lines are narrow", checkLineWidth],
  ["files say what their job is", checkModuleComment],
  ["exports have doc comments", checkDocComments],
  ["banned constructs are absent", checkConstructs],
  ["! stands after an index only", checkNonNull],
  ["console is the command line's", checkConsole],
  ["reminders have reasons", checkReminders],
  ["modules hold no state", checkModuleState],
  ["names say what is inside", (file) => checkFileName(file.path)],
  ["types are closed behind the decoders", checkClosedTypes],
  ["errors are told apart by code and fields", checkErrorMessages],
];

describe("the project", () => {
  for (const [name, rule] of FILE_RULES) {
    test(name, () => {
      expect(show(files.flatMap((file) => [...rule(file)]))).toEqual([]);
    });
  }

  // A scanner that took a regular expression for a division, say, would lose its place and then
  // miss everything after it without a word.
  test("the scanner keeps its place: all brackets close", () => {
    const lost = files.filter(({ code }) => {
      return (code.at(-1)?.depth ?? 0) !== 0 || code.some((token) => token.depth < 0);
    });
    expect(lost.map((file) => file.path)).toEqual([]);
  });

  test("no file imports itself in a circle", () => {
    expect(show(checkCycles(files))).toEqual([]);
  });

  test("no file is dead", () => {
    expect(show(checkDeadFiles(files))).toEqual([]);
  });

  test("folders are small, and long files have reasons", () => {
    expect(show([...checkFolderSizes(files), ...checkLongFiles(files)])).toEqual([]);
  });

  test("assertions only become more", () => {
    expect(show(checkAssertions(files))).toEqual([]);
  });
});

/** Runs a rule on a source that is on no disk, and gives back the lines it complains about. */
function lines(rule: Rule, path: string, source: string): readonly number[] {
  return rule(parseSource(path, source)).map((finding) => finding.line);
}

describe("imports", () => {
  test.each([
    ["src/raft/a.ts", 'import { S } from "../storage/s.ts";'],
    ["src/raft/a.ts", 'import "cac";'],
    ["src/base/a.ts", 'import type { R } from "../raft/r.ts";'],
    ["src/storage/a.ts", 'import { R } from "../raft/r.ts";'],
    ["src/storage/a.ts", 'import { type R } from "../raft/r.ts";'],
    ["src/storage/a.ts", 'export { R } from "../raft/r.ts";'],
    ["src/storage/a.ts", 'const r = await import("../raft/r.ts");'],
    ["src/client/a.ts", 'import { N } from "../node/n.ts";'],
    ["src/node/a.ts", 'import { c } from "../../cli/main.ts";'],
    ["src/node/a.ts", 'import { c } from "../mod.ts";'],
    ["cli/a.ts", 'import { C } from "../src/raft/raft.ts";'],
    ["src/server/gateway/a.ts", 'import { H } from "../request_handler.ts";'],
    ["src/server/a.ts", 'import type { M } from "../cluster/members.ts";'],
    ["src/cluster/a.ts", 'import type { G } from "../server/request_gate.ts";'],
    ["src/protocol/encoding/a.ts", 'import type { F } from "../wire/frame_header.ts";'],
    ["src/node/recovery/a.ts", 'import { D } from "../embedded/wal_database.ts";'],
    ["src/extras/a.ts", "export {};"],
  ])("matrix: %s refuses %s", (path, source) => {
    expect(lines(checkMatrix, path, source)).toEqual([1]);
  });

  test.each([
    ["src/raft/a.ts", 'import { assert } from "../base/assert.ts";\nimport { b } from "./b.ts";'],
    ["src/storage/a.ts", 'import type { R } from "../raft/r.ts";'],
    ["src/storage/a.ts", 'export type { R } from "../raft/r.ts";'],
    ["src/protocol/encoding/a.ts", 'import { Encoder } from "cbor-x/encode";'],
    ["src/node/a.ts", 'import { N } from "../cluster/n.ts";'],
    ["src/server/gateway/a.ts", 'import { G } from "../request_gate.ts";'],
    ["cli/a.ts", 'import { exit } from "../src/platform/process.ts";'],
    ["src/raft/a.ts", '// import { S } from "../storage/s.ts";\nconst s = `import "cac";`;'],
  ])("matrix: %s allows %s", (path, source) => {
    expect(lines(checkMatrix, path, source)).toEqual([]);
  });

  test("specifiers: bare cbor-x and a missing extension are found", () => {
    const source = 'import { a } from "cbor-x";\nimport b from "cbor-x/decode";\nimport "./c";';
    expect(lines(checkSpecifiers, "src/protocol/a.ts", source)).toEqual([1, 2, 3]);
    expect(lines(checkSpecifiers, "src/protocol/a.ts", 'import "cbor-x/encode";')).toEqual([]);
  });

  test("packages: unknown ones, and tools in the product, are found", () => {
    const rule: Rule = (file) => checkPackages(file, packages);
    const source = 'import "left-pad";\nimport "@logtape/logtape/x";\nimport "fast-check";';
    expect(lines(rule, "src/node/a.ts", source)).toEqual([1, 3]);
    expect(lines(rule, "test/a_test.ts", source)).toEqual([1]);
  });

  test("cycles: a circle is found, also one that a type closes", () => {
    const a = parseSource("src/raft/a.ts", 'import { b } from "./b.ts";');
    const b = parseSource("src/raft/b.ts", 'import { c } from "./c.ts";');
    const value = parseSource("src/raft/c.ts", 'export { a } from "./a.ts";');
    const type = parseSource("src/raft/c.ts", 'import type { a } from "./a.ts";');
    expect(checkCycles([a, b, value])).toHaveLength(1);
    expect(checkCycles([a, b, type])).toHaveLength(1);
    expect(checkCycles([a, b])).toEqual([]);
  });

  test("dead files: a file that only dead files import is dead", () => {
    const entry = parseSource("src/mod.ts", 'export type { A } from "./base/a.ts";');
    const a = parseSource("src/base/a.ts", "");
    const b = parseSource("src/base/b.ts", 'import "./c.ts";');
    const c = parseSource("src/base/c.ts", 'import "./b.ts";');
    const dead = checkDeadFiles([entry, a, b, c]).map((finding) => finding.path);
    expect(dead).toEqual(["src/base/b.ts", "src/base/c.ts"]);
  });
});

describe("purity", () => {
  test.each([
    "const now = Date.now();",
    "const now = new Date();",
    "const now = Date();",
    "const x = Math.random();",
    "const t = performance.now();",
    "setTimeout(f, 1);",
    "const id = crypto.randomUUID();",
    "if (a) process.exit(1);",
    "Bun.sleep(1);",
    "globalThis.x = 1;",
    'import { openSync } from "node:fs";',
    "const s = `at ${Date.now()}`;",
    "const ratio = a / b; const t = performance.now() / 2;",
  ])("world: %s is found", (source) => {
    expect(lines(checkPurity, "src/node/a.ts", source)).toEqual([1]);
    expect(lines(checkPurity, "src/platform/a.ts", source)).toEqual([]);
  });

  test.each([
    "clock.setTimeout(f, 1);",
    "interface A { readonly performance: number; process(entry: Entry): void }",
    "// Date.now() would be wrong here\nconst s = 'Date.now()' + `process.exit()`;",
    "if (value instanceof Date) return new Date(ms);",
    "const pattern = /Date.now()/;",
  ])("world: %s is allowed", (source) => {
    expect(lines(checkPurity, "src/raft/a.ts", source)).toEqual([]);
  });

  test("waiting: async, await and promises are found where they must not be", () => {
    const source = "async function f() {\n  await g();\n}\nlet p: Promise<void>;";
    expect(lines(checkSynchronous, "src/raft/a.ts", source)).toEqual([1, 2, 4]);
    expect(lines(checkSynchronous, "src/database/a.ts", source)).toEqual([1, 2]);
    expect(lines(checkSynchronous, "src/storage/a.ts", source)).toEqual([]);
  });

  test("waiting: only the hash functions may load once, at the top of its module", () => {
    const load = "const wasm = await xxhash();";
    expect(lines(checkSynchronous, "src/protocol/encoding/hasher.ts", load)).toEqual([]);
    expect(lines(checkSynchronous, "src/protocol/encoding/cbor.ts", load)).toEqual([1]);
    const late = "function f() {\n  await xxhash();\n}";
    expect(lines(checkSynchronous, "src/protocol/encoding/checksum.ts", late)).toEqual([2]);
  });
});

describe("functions", () => {
  const body = "  f();\n".repeat(69);

  test.each([
    `function long() {\n${body}}`,
    `const long = (): void => {\n${body}};`,
    `class A {\n  get long(): { a: number } {\n${body}  }\n}`,
    `const x = { async *long<T extends B<C>>(a: T): Promise<Map<A, B>> {\n${body}} };`,
    "function long() {\n  const s = `}${[1].map((x) => `}`)}`; // }\n" +
      `  const r = /[/}]/;\n${"  f();\n".repeat(67)}}`,
  ])("length: 71 lines are found in source %#", (source) => {
    expect(lines(checkFunctionLengths, "src/raft/a.ts", source)).toHaveLength(1);
    const shorter = source.replace("  f();\n", "");
    expect(lines(checkFunctionLengths, "src/raft/a.ts", shorter)).toEqual([]);
  });

  test.each([
    "function f(a: A, b: B, c: C, d: D) {}",
    "class X { constructor(a: A, b: B, c = [1, 2], d: D) {} }",
    "const f = (a: A, { b, c }: B, d: D, ...e: E[]): void => {};",
    "const f = async <T>(a: Map<string, T>, b: B, c: C, d: D) => a;",
    "type F = (a: A, b: B, c: C, d: D) => void;",
    "function f(a: A, b: B, c: C, d: D): asserts a is { x: 1 } {}",
  ])("parameters: four are found in %s", (source) => {
    expect(lines(checkParameters, "src/raft/a.ts", source)).toEqual([1]);
  });

  test.each([
    "function f(this: X, a: A, b: B, c: C) {}",
    "function f(a: Map<string, number>, { b, c, d }: B, e: [F, G]) {}",
    "if (a, b, c, d) { f(a, b, c, d); }",
    "const x = a ? f(a, b, c, d) : { y: 1 };",
    "for (const x of f(a, b, c, d)) { g(); }",
  ])("parameters: %s is allowed", (source) => {
    expect(lines(checkParameters, "src/raft/a.ts", source)).toEqual([]);
  });

  test("every form of function is seen once", () => {
    const source =
      "function a() {} class B { c() {} async d(): Promise<void> {} get e() { return 1; } }\n" +
      "const f = () => 1; const g = async (): Promise<void> => {}; h((i) => { if (i) { j(); } });";
    expect(findFunctions(parseSource("src/a.ts", source).code)).toHaveLength(7);
  });
});

describe("shape", () => {
  test("types: maps of unknown fields and unchecked casts are found outside of the decoders", () => {
    const source =
      "let a: Record<string, unknown>;\nconst b = c as unknown as D;\n" +
      "let e: Readonly<Record<string, unknown>>;\nlet f: Record<string, number>;\nlet g: unknown;";
    expect(lines(checkClosedTypes, "src/node/a.ts", source)).toEqual([1, 2, 3]);
    expect(lines(checkClosedTypes, "src/protocol/wire/a.ts", source)).toEqual([]);
    expect(lines(checkClosedTypes, "test/a_test.ts", source)).toEqual([]);
  });

  test.each([
    'if (error.message.includes("x")) f();',
    'if (error?.message?.startsWith("x")) f();',
    "if (/x/.test(error.message)) f();",
    "const found = error.message.match(x);",
    'if (error.message === "x") f();',
    'if ("x" === error.message) f();',
  ])("messages: %s is found", (source) => {
    expect(lines(checkErrorMessages, "src/node/a.ts", source)).toEqual([1]);
    expect(lines(checkErrorMessages, "test/a_test.ts", source)).toEqual([]);
  });

  test.each([
    "print(error.message);",
    "const { message } = error;",
    'const shown = error.message.split("\\n")[0];',
    "if (typeof message === 'string') f();",
  ])("messages: %s is allowed", (source) => {
    expect(lines(checkErrorMessages, "src/node/a.ts", source)).toEqual([]);
  });

  test("sizes: the 17th file of a folder, and long files without a reason, are found", () => {
    const many = Array.from({ length: 17 }, (_, i) => parseSource(`src/raft/a${i}.ts`, ""));
    expect(checkFolderSizes(many)).toHaveLength(1);
    expect(checkFolderSizes(many.slice(1))).toEqual([]);
    const long = parseSource("src/raft/a.ts", "f();\n".repeat(401));
    expect(checkLongFiles([long], {})).toHaveLength(1);
    expect(checkLongFiles([long], { "src/raft/a.ts": "it is one thing, and not two" })).toEqual([]);
    expect(checkLongFiles([], { "src/raft/a.ts": "it is one thing, and not two" })).toHaveLength(1);
  });

  test("assertions: those that compare with a literal, and those taken away, do not count", () => {
    const text = "function f() { assert(a < b, ''); assert(a < 1, ''); assert(isOk(a), ''); }";
    const source = parseSource("src/raft/a.ts", text);
    expect(checkAssertions([source]).map(({ path }) => path)).toContain("src/raft");
  });
});

describe("habits", () => {
  test("sizes: a long file and a wide line are found", () => {
    expect(lines(checkFileLength, "src/raft/a.ts", "f();\n".repeat(501))).toEqual([501]);
    expect(lines(checkFileLength, "src/raft/a.ts", "f();\n".repeat(500))).toEqual([]);
    const wide = `// ${"x".repeat(98)}\n// ${"x".repeat(97)}\n// https://${"x".repeat(98)}`;
    expect(lines(checkLineWidth, "src/raft/a.ts", wide)).toEqual([1]);
  });

  test("module comment: one that is missing, late or without its tag is found", () => {
    const rule = checkModuleComment;
    expect(lines(rule, "src/raft/a.ts", "export {};")).toEqual([1]);
    expect(lines(rule, "src/raft/a.ts", "const a = 1;\n/**\n * A.\n *\n * @module\n */")).toEqual([
      1,
    ]);
    expect(lines(rule, "src/raft/a.ts", "/** A job. */\nexport {};")).toEqual([1]);
    expect(lines(rule, "src/raft/a.ts", "/**\n * A job.\n *\n * @module\n */\n")).toEqual([]);
  });

  test("doc comments: an export without one is found, a re-export needs none", () => {
    const source =
      "export const a = 1;\n/** Why. */\nexport const b = 2;\n// Not a doc.\nexport type C = 1;\n" +
      'export { d } from "./d.ts";\nexport type { E } from "./e.ts";\nexport async function f() {}';
    expect(lines(checkDocComments, "src/raft/a.ts", source)).toEqual([1, 5, 8]);
  });

  test.each([
    "let a: any;",
    "const a = b as any;",
    "enum Color { Red }",
    "namespace N {}",
    "export default 1;",
    'export * from "./a.ts";',
    "class A { constructor(private readonly b: B) {} }",
  ])("constructs: %s is found", (source) => {
    expect(lines(checkConstructs, "src/raft/a.ts", source)).toEqual([1]);
  });

  test("constructs: Promise.any, a key and a word in a comment are allowed", () => {
    const source = "/* any enum */ await Promise.any(x); const o = { any: 1, enum: 'any' };";
    expect(lines(checkConstructs, "src/raft/a.ts", source)).toEqual([]);
  });

  test("non-null: allowed after an index, found elsewhere", () => {
    const source = "a[0]! + 1;\nb!.c;\nd()!;\nif (!e) return !f;\nx !== y;\ng(!h, !(i));";
    expect(lines(checkNonNull, "src/raft/a.ts", source)).toEqual([2, 3]);
  });

  test("console, FIXME and a bare TODO are found", () => {
    expect(lines(checkConsole, "src/raft/a.ts", "console.log(1);")).toEqual([1]);
    expect(lines(checkConsole, "cli/main.ts", "console.log(1);")).toEqual([1]);
    expect(lines(checkConsole, "cli/output.ts", "console.log(1);")).toEqual([]);
    const [fix, todo] = ["FIX" + "ME", "TO" + "DO"];
    const source = `// ${fix}: later than now\n/*\n * ${todo}\n */\n// ${todo}: needs an origin`;
    expect(lines(checkReminders, "src/raft/a.ts", source)).toEqual([1, 3]);
  });

  test("module state: variables and empty collections at the top are found", () => {
    const source =
      "let a = 1;\nconst b = new Map<string, number>();\nconst c: string[] = [];\n" +
      "const d = new Set([1]);\nconst e = [1];\nfunction f() { let g = 1; const h = []; }";
    expect(lines(checkModuleState, "src/raft/a.ts", source)).toEqual([1, 2, 3]);
  });

  test("names: vague ones and other styles are found", () => {
    expect(checkFileName("src/utils/a.ts")).toHaveLength(1);
    expect(checkFileName("src/raft/helpers.ts")).toHaveLength(1);
    expect(checkFileName("src/raft/fooBar.ts")).toHaveLength(1);
    expect(checkFileName("src/raft/foo-bar.ts")).toHaveLength(1);
    expect(checkFileName("src/multi_master/version_vector.ts")).toEqual([]);
  });
});

// A file that no test imports by itself is covered by a suite: scripts/seams.ts holds by how much.
// An import of types alone runs nothing of the file and does not count.
test("every file of src has a test that imports it, or a suite that covers it", () => {
  const imported = new Set(
    files
      .filter(({ path }) => path.endsWith("_test.ts"))
      .flatMap(({ path, imports }) => {
        const run = imports.filter(({ typeOnly }) => !typeOnly);
        return run.map((one) => resolveImport(path, one.specifier));
      }),
  );
  const covered = new Set(Object.values(SEAMS).flat());
  const sources = files.filter(({ path }) => path.startsWith("src/") && path !== "src/mod.ts");
  const withCode = sources.filter(({ code }) =>
    // Of a type parameter `const` runs nothing.
    code.some(
      ({ text }, at) => /^(?:function|class|const)$/.test(text) && code[at - 1]?.text !== "<",
    ),
  );
  const alone = withCode.filter(({ path }) => !imported.has(path) && !covered.has(path));
  expect(alone.map(({ path }) => path)).toEqual([]);
  const known = new Set(sources.map(({ path }) => path));
  expect([...covered].filter((path) => !known.has(path) || imported.has(path))).toEqual([]);
});

// A page that leaves files out sends its reader astray.
test("docs/architecture.md lists every file of src", () => {
  const text = readFileSync(join(ROOT, "docs/architecture.md"), "utf8");
  const [block = ""] = /```text check\nsrc\/\n[\s\S]*?```/.exec(text) ?? [];
  const [sources = ""] = block.split("\ncli/");
  const listed = new Set(sources.match(/[a-z0-9_]+/g));
  const names = files.flatMap(({ path }) => {
    return path.startsWith("src/") ? [path.replace(/^.*\//, "").replace(".ts", "")] : [];
  });
  expect(names.filter((name) => !listed.has(name))).toEqual([]);
});
