/**
 * Builds into dist/: `cstore`, the executable; `cli.js`, the same for Node, Bun and Deno from npm;
 * `mod.js` with `types/` and, for `require`, `mod.cjs` with `types-cjs/`: the library for programs
 * that do not read TypeScript.
 *
 *     bun scripts/build.ts                             all of it, the executable for this machine
 *     bun scripts/build.ts --library                   the package, without the executable
 *     bun scripts/build.ts --target bun-linux-arm64    only an executable for another machine
 *     bun scripts/build.ts --deno                      only the executable, made by `deno compile`
 *
 * @module
 */

import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
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

function packaged(): readonly Product[] {
  const bundle = [tool("bun"), "build", "--target=node", "--format=esm"];
  const cli = ["--minify", `--banner=${SHEBANG}`, `--outfile=${join(DIST, "cli.js")}`, CLI];
  const library = ["--packages=external", `--outfile=${join(DIST, "mod.js")}`, LIBRARY];
  return [
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

/** `mod.cjs`: a module that is required cannot wait for WebAssembly. */
async function buildForRequire(): Promise<boolean> {
  const outcome = await Bun.build({
    entrypoints: [LIBRARY],
    target: "node",
    format: "cjs",
    packages: "external",
    outdir: DIST,
    naming: "mod.cjs",
    throw: false,
    plugins: [
      {
        name: "require",
        setup: (build) => {
          build.onResolve({ filter: /\/hasher\.ts$/ }, () => {
            return { path: join(ROOT, "scripts", "package", "hasher_for_require.ts") };
          });
        },
      },
    ],
  });
  for (const log of outcome.logs) console.error(log);
  if (outcome.success) console.log(`dist/mod.cjs  ${statSync(join(DIST, "mod.cjs")).size} bytes`);
  return outcome.success;
}

/**
 * Types for readers that know no `.ts` in names: `types/` names the files `.js`, and `types-cjs/`
 * has the same for `require`.
 */
function finishTypes(): void {
  const [from, to] = [join(DIST, "types"), join(DIST, "types-cjs")];
  rmSync(to, { recursive: true, force: true });
  for (const name of readdirSync(from, { recursive: true }) as string[]) {
    if (!name.endsWith(".d.ts")) continue;
    const written = readFileSync(join(from, name), "utf8");
    // Databases can be disposed of: programs for an older library of types do not know the word.
    const text =
      name === "mod.d.ts" ? `/// <reference lib="esnext.disposable" />\n${written}` : written;
    const target = join(to, name.replace(/\.d\.ts$/, ".d.cts"));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, text.replace(IN_PROJECT, "$1.cjs$2"));
    writeFileSync(join(from, name), text.replace(IN_PROJECT, "$1.js$2"));
  }
}

/** The name of a file of the project, as the text of an import. */
const IN_PROJECT = /("\.{1,2}\/[^"\n]+)\.ts(")/g;

async function buildLibrary(): Promise<boolean> {
  rmSync(join(DIST, "types"), { recursive: true, force: true });
  const built = (await buildAll(packaged())) && (await buildForRequire());
  if (built) finishTypes();
  return built;
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
  options: {
    target: { type: "string" },
    deno: { type: "boolean", default: false },
    library: { type: "boolean", default: false },
  },
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
  built = await buildLibrary();
  if (built && !values.library) built = await buildAll([executable("cstore", undefined)]);
}
process.exitCode = built ? 0 : 1;
