/**
 * Builds into dist/: `cstore`, the executable; `cli.js`, the same for Node, Bun and Deno from npm;
 * `mod.js` and `types/`, the library for programs that do not read TypeScript.
 *
 *     bun scripts/build.ts                             all of it, the executable for this machine
 *     bun scripts/build.ts --target bun-linux-arm64    only an executable for another machine
 *     bun scripts/build.ts --deno                      only the executable, made by `deno compile`
 *
 * @module
 */

import { mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ROOT, run, tool } from "./run.ts";

const DIST = join(ROOT, "dist");
const CLI = join(ROOT, "cli", "main.ts");
const LIBRARY = join(ROOT, "src", "mod.ts");
const SHEBANG = "#!/usr/bin/env node";

interface Product {
  /** Below dist/. */
  readonly name: string;
  readonly command: readonly string[];
}

function executable(name: string, target: string | undefined): Product {
  const flags = ["--compile", "--minify", "--bytecode", "--format=esm"];
  // The folder that a command is typed in has no say in it: no .env, no preloaded script.
  flags.push("--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig");
  if (target !== undefined) flags.push(`--target=${target}`);
  const outfile = `--outfile=${join(DIST, name)}`;
  return { name, command: [tool("bun"), "build", ...flags, outfile, CLI] };
}

function products(): readonly Product[] {
  const bundle = [tool("bun"), "build", "--target=node", "--format=esm"];
  const cli = ["--minify", `--banner=${SHEBANG}`, `--outfile=${join(DIST, "cli.js")}`, CLI];
  const library = ["--packages=external", `--outfile=${join(DIST, "mod.js")}`, LIBRARY];
  return [
    executable("cstore", undefined),
    { name: "cli.js", command: [...bundle, ...cli] },
    { name: "mod.js", command: [...bundle, ...library] },
    { name: "types/mod.d.ts", command: [tool("tsc"), "-p", "scripts/tsconfig.types.json"] },
  ];
}

async function build(product: Product): Promise<boolean> {
  const path = join(DIST, product.name);
  rmSync(path, { force: true });
  const outcome = await run(product.command, { capture: true });
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (outcome.ok && size > 0) {
    console.log(`dist/${product.name}  ${size} bytes`);
    return true;
  }
  console.error(`Cannot build dist/${product.name}:\n${outcome.output}`);
  return false;
}

async function buildAll(all: readonly Product[]): Promise<boolean> {
  let ok = true;
  for (const product of all) ok = (await build(product)) && ok;
  return ok;
}

/** `deno compile` fetches a runtime that npm does not carry; where that is refused, say so. */
async function buildWithDeno(): Promise<boolean> {
  const outfile = join(DIST, "cstore-deno");
  rmSync(outfile, { force: true });
  const flags = ["--allow-all", "--node-modules-dir=manual", "--no-lock", "--output", outfile];
  const outcome = await run([tool("deno"), "compile", ...flags, CLI], { capture: true });
  if (outcome.ok) {
    console.log(`dist/cstore-deno  ${statSync(outfile).size} bytes`);
    return true;
  }
  console.error(outcome.output.trimEnd());
  if (/denort/.test(outcome.output)) {
    console.error(
      "Cannot build with Deno: the download of its runtime (denort) was refused.\n" +
        "The program itself was accepted. Run this where dl.deno.land can be reached, or set\n" +
        "DENORT_BIN to a denort binary; `bun scripts/build.ts` needs no download",
    );
  }
  return false;
}

const { values } = parseArgs({
  options: { target: { type: "string" }, deno: { type: "boolean", default: false } },
});
mkdirSync(DIST, { recursive: true });
let built: boolean;
if (values.deno) {
  built = await buildWithDeno();
} else if (values.target !== undefined) {
  const suffix = values.target.replace(/^bun-/, "");
  const extension = suffix.includes("windows") ? ".exe" : "";
  built = await buildAll([executable(`cstore-${suffix}${extension}`, values.target)]);
} else {
  built = await buildAll(products());
}
process.exitCode = built ? 0 : 1;
