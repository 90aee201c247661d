/**
 * Time that the compiler takes for a program of 200 calls on a typed collection, beside the same
 * program on documents of any type. The goal: at most twice as long.
 *
 *     bun bench/types.ts [--rounds 5]
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { median } from "../cli/measure/report.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const CALLS = 200;
const GOAL = 2;

const { values } = parseArgs({ options: { rounds: { type: "string", default: "5" } } });

const TYPES = `
interface Address { city: string; zip: number }
interface User {
  id: string; name: string; age: number; isActive: boolean; tags: string[]; born?: Date;
  address: Address; homes?: Address[]; nested?: { a: { b: { c: number } } };
}`;

const CALL: readonly ((n: number) => string)[] = [
  (n) => `users.find({ name: "a${n}", age: { $gt: ${n} } })`,
  (n) => `users.find({ "address.city": "x${n}" }, { sort: { age: 1 }, limit: ${n} })`,
  (n) => `users.update("a${n}", { $set: { name: "b" }, $inc: { age: ${n} } })`,
  (n) => `users.find({ tags: "t${n}" }, { projection: { name: 1, "address.zip": 1 } })`,
  (n) => `users.findOne({ $or: [{ name: "q${n}" }, { age: ${n} }] })`,
  (n) => `users.updateMany({ age: ${n} }, { $push: { tags: "z" }, $set: { "address.zip": 1 } })`,
  (n) => `users.distinct("homes.city", { "nested.a.b.c": ${n} })`,
  (n) => `users.createIndex("i${n}", { keys: { age: -1, "address.city": 1 } })`,
];

function program(type: string): string {
  const calls = Array.from({ length: CALLS }, (_, n) => `  await ${CALL[n % CALL.length]?.(n)};`);
  const head = `import type { AnyDocument, Collection } from "cstore";${TYPES}`;
  const body = `export async function run(users: Collection<${type}>) {\n${calls.join("\n")}\n}`;
  return `${head}\nexport type Any = AnyDocument;\n${body}\n`;
}

const folder = mkdtempSync(join(tmpdir(), "cstore-types-"));

/** Seconds that the compiler says it has checked for. */
function check(name: string): number {
  const flags = ["-p", join(folder, `${name}.json`), "--extendedDiagnostics"];
  const compiler = join(ROOT, "node_modules/.bin/tsc");
  const { stdout, status } = spawnSync(compiler, flags, { encoding: "utf8" });
  const seconds = /Check time:\s+([\d.]+)s/.exec(stdout)?.[1];
  if (status !== 0 || seconds === undefined) throw new Error(stdout);
  return Number(seconds);
}

try {
  for (const [name, type] of Object.entries({ typed: "User", untyped: "AnyDocument" })) {
    writeFileSync(join(folder, `${name}.ts`), program(type));
    const compilerOptions = {
      ...{ strict: true, noEmit: true, target: "esnext", module: "preserve" },
      ...{ moduleResolution: "bundler", allowImportingTsExtensions: true, skipLibCheck: true },
      paths: { cstore: [join(ROOT, "src/mod.ts")] },
      types: ["bun-types", "node"],
      typeRoots: [join(ROOT, "node_modules/@types"), join(ROOT, "node_modules")],
    };
    const config = { compilerOptions, files: [`${name}.ts`] };
    writeFileSync(join(folder, `${name}.json`), JSON.stringify(config));
  }
  const seconds = { typed: [] as number[], untyped: [] as number[] };
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const name of ["typed", "untyped"] as const) seconds[name].push(check(name));
  }
  const [typed, untyped] = [median(seconds.typed), median(seconds.untyped)];
  const ratio = typed / untyped;
  console.log(`typed ${typed} s, untyped ${untyped} s (medians of ${values.rounds} rounds)`);
  console.log(`ratio ${ratio.toFixed(2)}, goal at most ${GOAL}`);
  process.exitCode = ratio <= GOAL ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
