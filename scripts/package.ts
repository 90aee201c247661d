/**
 * The package as users get it: packed, checked for its shape, installed into an empty folder, and
 * used there from Node (import and require), Bun and Deno. Needs what `bun scripts/build.ts
 * --library` has built.
 *
 * @module
 */

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT, run, tool } from "./run.ts";

const USE = `
  const database = new WALDatabase({ name: "d", root: "./data" });
  const users = database.collection("users");
  await users.put({ id: "ada", age: 36 });
  const found = await users.find({ age: { $gt: 30 } });
  await database.close();
  console.log(JSON.stringify(found));`;
const EXPECTED = '[{"id":"ada","age":36}]';

const FILES: Readonly<Record<string, string>> = {
  "import.mjs": `import { WALDatabase } from "cstore";${USE}\n`,
  "require.cjs": `const { WALDatabase } = require("cstore");\n(async () => {${USE}\n})();\n`,
  "typed.ts": `import { WALDatabase } from "cstore";\ninterface User { id: string; age: number }\n${USE.replace('collection("users")', 'collection<User>("users")')}\n`,
  "wrong.ts":
    'import { WALDatabase } from "cstore";\n' +
    'const database = new WALDatabase({ name: "d", root: "./data" });\n' +
    'await database.collection<{ id: string }>("users").find({ idd: "1" });\n',
  "tsconfig.json": JSON.stringify({
    compilerOptions: { strict: true, noEmit: true, module: "nodenext", skipLibCheck: false },
    files: ["typed.ts"],
  }),
  "package.json": JSON.stringify({ name: "user", private: true, type: "module" }),
};

interface Check {
  readonly name: string;
  readonly command: readonly string[];
  /** Text that the output holds; or the check fails as it should. */
  readonly expected?: string;
  readonly fails?: boolean;
}

function checks(): readonly Check[] {
  const [bun, deno, tsc] = [tool("bun"), tool("deno"), tool("tsc")];
  const byHand = ["--node-modules-dir=manual", "--no-lock"];
  return [
    { name: "node, import", command: ["node", "import.mjs"], expected: EXPECTED },
    { name: "node, require", command: ["node", "require.cjs"], expected: EXPECTED },
    { name: "bun", command: [bun, "typed.ts"], expected: EXPECTED },
    { name: "deno", command: [deno, "run", "-A", ...byHand, "typed.ts"], expected: EXPECTED },
    { name: "command", command: ["node_modules/.bin/cstore", "--version"], expected: "cstore " },
    { name: "types", command: [tsc, "-p", "tsconfig.json"] },
    { name: "deno's types", command: [deno, "check", ...byHand, "typed.ts"] },
    {
      name: "a mistake is found",
      command: [deno, "check", ...byHand, "wrong.ts"],
      expected: "'idd' does not exist",
      fails: true,
    },
  ];
}

async function passes(check: Check, cwd: string): Promise<boolean> {
  const { ok, output } = await run(check.command, { capture: true, cwd });
  const hasText = check.expected === undefined || output.includes(check.expected);
  const isRight = ok !== (check.fails === true) && hasText;
  console.log(`${check.name}: ${isRight ? "ok" : `failed\n${output.trimEnd()}`}`);
  return isRight;
}

const folder = mkdtempSync(join(tmpdir(), "cstore-package-"));
try {
  const pack = ["npm", "pack", "--ignore-scripts", "--pack-destination", folder];
  let isRight = await passes({ name: "pack", command: pack }, ROOT);
  const tarball = join(folder, readdirSync(folder)[0] ?? "");
  for (const [name, text] of Object.entries(FILES)) writeFileSync(join(folder, name), text);
  const install = ["npm", "install", "--prefer-offline", "--no-audit", "--no-fund"];
  const all: readonly Check[] = [
    { name: "publint", command: [tool("publint"), tarball, "--strict"] },
    { name: "attw", command: [tool("attw"), tarball] },
    { name: "install", command: [...install, tarball, "@types/node@26.6.6"] },
    ...checks(),
  ];
  for (const check of all) {
    isRight = (await passes(check, folder)) && isRight;
    rmSync(join(folder, "data"), { recursive: true, force: true });
  }
  process.exitCode = isRight ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
