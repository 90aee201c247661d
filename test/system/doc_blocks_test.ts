/**
 * The code in README and docs. Every block has a tag behind its language: `run`, `check`, or `none`
 * with a reason; this does what the tag says, and counts.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseCommandLine } from "../../cli/command_line.ts";
import { COMMANDS } from "../../cli/specs.ts";
import { run as runProgram, tool } from "../../scripts/run.ts";
import { TestCluster } from "../node/test_cluster.ts";
import { run } from "./program.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const DOCS = readdirSync(join(ROOT, "docs")).filter((name) => name.endsWith(".md"));
const FILES = ["README.md", "CONTRIBUTING.md", ...DOCS.map((name) => `docs/${name}`)];

interface Block {
  /** FILE:LINE */
  readonly place: string;
  readonly tag: string;
  readonly text: string;
}

function blocksOf(file: string): Block[] {
  const found: Block[] = [];
  const lines = readFileSync(join(ROOT, file), "utf8").split("\n");
  let begun: { readonly at: number; readonly tag: string } | undefined;
  for (const [at, line] of lines.entries()) {
    if (!line.startsWith("```")) continue;
    if (begun === undefined) begun = { at, tag: line.slice(3) };
    else {
      const text = lines.slice(begun.at + 1, at).join("\n");
      found.push({ place: `${file}:${begun.at + 1}`, tag: begun.tag, text });
      begun = undefined;
    }
  }
  return found;
}

const BLOCKS = FILES.flatMap(blocksOf);
const tagged = (tag: string): Block[] => BLOCKS.filter((block) => block.tag === tag);

test("every block has a tag, and there are as many of each as were counted", () => {
  const known = /^(?:hex check|text check|sh check|toml check|ts (?:run|check)|text none: .{5,})$/;
  expect(BLOCKS.filter(({ tag }) => !known.test(tag)).map(({ place }) => place)).toEqual([]);
  const counts: { [tag: string]: number } = {};
  for (const { tag } of BLOCKS) {
    const kind = tag.replace(/:.*/, "");
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  // Vectors are read and compared by the tests of protocol and storage, the tree by the tidy test.
  expect(counts).toEqual({
    ...{ "hex check": 40, "text check": 1, "text none": 8 },
    ...{ "sh check": 28, "toml check": 1, "ts check": 7, "ts run": 1 },
  });
});

/** Words of a line as a shell gives them. */
function wordsOf(line: string): string[] {
  const words = line.match(/(?:'[^']*'|"[^"]*"|[^\s'"]+)+/g) ?? [];
  return words.map((word) => word.replace(/'([^']*)'|"([^"]*)"/g, "$1$2"));
}

/** Why a typed line cannot be right; empty when it can. */
function problemOf(line: string): string {
  const [program = "", ...words] = wordsOf(line.replace(/\s+#.*/, "").split(/\s[|>&]/)[0] ?? "");
  if (program === "cstore" || program.endsWith("/cstore")) {
    try {
      parseCommandLine(words, [...COMMANDS]);
      return "";
    } catch (error) {
      const isPlain = ["--version", "--help"].includes(words[0] ?? "");
      return isPlain ? "" : String(error);
    }
  }
  if (program === "npm") {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    const name = words[0] === "run" ? words[1] : words[0];
    return name !== undefined && name in scripts ? "" : `npm has no script "${name}"`;
  }
  if (program === "bun" || program.endsWith("/bun")) {
    return existsSync(join(ROOT, words[0] ?? "")) ? "" : `there is no file ${words[0]}`;
  }
  const isOther = ["ls", "alias", "cd", "kill"].includes(program) || /^[A-Z]=/.test(program);
  return isOther ? "" : `the program ${program} is unknown`;
}

describe("what is typed is understood", () => {
  test.each(tagged("sh check").map(({ place, text }) => [place, text] as const))(
    "%s",
    (_place, text) => {
      const lines = text.split("\n");
      const prompts = lines.flatMap((line) => /^[\d.]*\$ (.*)$/.exec(line)?.[1] ?? []);
      const typed = prompts.length > 0 ? prompts : lines;
      expect(typed.length).toBeGreaterThan(0);
      expect(typed.map(problemOf).filter((problem) => problem !== "")).toEqual([]);
    },
  );

  test("a wrong line is found", () => {
    expect(problemOf("cstore cluster status --wied")).toContain("--wied");
    expect(problemOf("npm run nothing")).toContain("nothing");
    expect(problemOf("bun scripts/nothing.ts")).toContain("nothing");
  });
});

/** Names that blocks use and do not declare. */
const PRELUDE = `import * as cstore from "cstore";
type Account = { id: string; balance: number };
declare const db: cstore.Database, cluster: cstore.Database;
declare const users: cstore.Collection<{ id: string; age: number }>;
declare const UserSchema: cstore.Validator, seats: cstore.ITransactionalStorageAdapter;
declare let lastSeen: number, timestamp: number;
`;

test("programs are accepted by the compiler", async () => {
  const folder = mkdtempSync(join(tmpdir(), "cstore-docs-"));
  const blocks = [...tagged("ts check"), ...tagged("ts run")];
  for (const [at, { text }] of blocks.entries()) {
    const lines = text.split("\n");
    const imports = lines.filter((line) => line.startsWith("import ")).join("\n");
    const rest = lines.filter((line) => !line.startsWith("import ")).join("\n");
    const body = `export async function block() {\n${rest}\n}\n`;
    const named = /\b(WALDatabase|WALTransactionManager|connect)\b/.exec(rest)?.[1];
    const lacking =
      imports === "" && named !== undefined ? `import { ${named} } from "cstore";\n` : "";
    writeFileSync(join(folder, `block${at}.ts`), `${PRELUDE}${imports}\n${lacking}${body}`);
  }
  const modules = join(ROOT, "node_modules");
  const config = {
    compilerOptions: {
      ...{ strict: true, noEmit: true, target: "esnext", module: "preserve" },
      ...{ moduleResolution: "bundler", allowImportingTsExtensions: true, skipLibCheck: true },
      paths: { cstore: [join(ROOT, "src/mod.ts")] },
      types: ["bun-types", "node"],
      typeRoots: [join(modules, "@types"), modules],
    },
    include: ["*.ts"],
  };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
  const { output, ok } = await runProgram([tool("tsc"), "-p", folder], { capture: true });
  expect(output).toBe("");
  expect([ok, blocks.length]).toEqual([true, 8]);
  rmSync(folder, { recursive: true });
}, 60_000);

test("configurations are understood", async () => {
  const folder = mkdtempSync(join(tmpdir(), "cstore-docs-"));
  for (const { text } of tagged("toml check")) {
    writeFileSync(join(folder, "n1.toml"), text);
    const words = ["node", "--config", join(folder, "n1.toml"), "--print-config"];
    const { code, stdout } = await run(words);
    expect([code, JSON.parse(stdout)]).toMatchObject([0, { heartbeatMs: 50 }]);
  }
  rmSync(folder, { recursive: true });
});

test("the first program does what it says", async () => {
  const cluster = await TestCluster.start(3);
  const [{ text = "" } = {}] = tagged("ts run");
  const address = /cstore:\/\/[^"]+/;
  expect(text).toMatch(address);
  const source = text
    .replace(address, `cstore://${cluster.addresses}`)
    .replace('"cstore"', JSON.stringify(join(ROOT, "src/mod.ts")));
  const folder = mkdtempSync(join(tmpdir(), "cstore-docs-"));
  writeFileSync(join(folder, "first.ts"), source);
  const { ok, output } = await runProgram([tool("bun"), join(folder, "first.ts")], {
    capture: true,
  });
  expect([ok, output.replace(/\s+/g, " ")]).toEqual([
    true,
    expect.stringContaining('{ id: "u2", name: "Grace", age: 36, }'),
  ]);
  rmSync(folder, { recursive: true });
  await cluster.stop();
}, 60_000);
