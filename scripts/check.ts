/**
 * The gate: `bun scripts/check.ts [--only step,step] [--fix]`. Every step runs, also after one that
 * failed. The last line is the plain line of the tests, to which each other failed step adds one
 * failure; the exit code is 0 only if nothing failed.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Outcome, ROOT, run, tool } from "./run.ts";
import { formatTally, parseTally, settle, type Tally } from "./tally.ts";

const SMOKE = "test/runtime/smoke.ts";

/** `--no-lock` keeps Deno from writing a lock file of its own: package-lock.json is the one. */
const DENO_FLAGS = ["--node-modules-dir=manual", "--no-lock"];

interface Step {
  readonly name: string;
  readonly command: readonly string[];
  /** The step is left out while this file does not exist. */
  readonly needs?: string;
}

function steps(fix: boolean): readonly Step[] {
  const bun = tool("bun");
  const deno = tool("deno");
  const style = ["check", "--error-on-warnings", ...(fix ? ["--write"] : [])];
  return [
    { name: "style", command: [tool("biome"), ...style] },
    { name: "types", command: [tool("tsc"), "-p", "tsconfig.json"] },
    {
      name: "deno",
      command: [deno, "check", ...DENO_FLAGS, "src/mod.ts", "cli/main.ts"],
      needs: "cli/main.ts",
    },
    { name: "build", command: [bun, "scripts/build.ts"], needs: "cli/main.ts" },
    { name: "package", command: [bun, "scripts/package.ts"], needs: "dist/mod.cjs" },
    { name: "test", command: [bun, "scripts/test.ts", "--only-failures"] },
    { name: "seams", command: [bun, "scripts/seams.ts", "--sample", "3"] },
    { name: "smoke-bun", command: [bun, SMOKE], needs: SMOKE },
    { name: "smoke-deno", command: [deno, "run", "-A", ...DENO_FLAGS, SMOKE], needs: SMOKE },
  ];
}

function select(all: readonly Step[], only: string | undefined): readonly Step[] {
  if (only === undefined) return all;
  const names = only.split(",");
  for (const name of names) {
    if (all.some((step) => step.name === name)) continue;
    const known = all.map((step) => step.name).join(", ");
    console.error(`Cannot run step "${name}": the steps are ${known}`);
    process.exit(2);
  }
  return all.filter((step) => names.includes(step.name));
}

async function runStep(step: Step): Promise<Outcome> {
  if (step.needs !== undefined && !existsSync(join(ROOT, step.needs))) {
    console.log(`${step.name.padEnd(12)}        left out: there is no ${step.needs}`);
    return { ok: true, output: "", stdout: "" };
  }
  const startedMs = performance.now();
  const outcome = await run(step.command, { capture: true });
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1).padStart(6);
  console.log(`${step.name.padEnd(12)} ${seconds} s  ${outcome.ok ? "ok" : "failed"}`);
  if (!outcome.ok) console.log(outcome.output.trimEnd());
  return outcome;
}

const { values } = parseArgs({
  options: { only: { type: "string" }, fix: { type: "boolean", default: false } },
});
let tests: Tally | undefined;
let failedSteps = 0;
for (const step of select(steps(values.fix), values.only)) {
  const outcome = await runStep(step);
  if (step.name === "test") tests = settle(parseTally(outcome.stdout), outcome.ok);
  else if (!outcome.ok) failedSteps += 1;
}
const tally = tests ?? { passed: 0, failed: 0, skipped: 0 };
console.log(formatTally({ ...tally, failed: tally.failed + failedSteps }));
process.exitCode = tally.failed + failedSteps === 0 ? 0 : 1;
