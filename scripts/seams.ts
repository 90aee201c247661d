/**
 * Files of `src` that no test imports, and the suite that covers each:
 * `bun scripts/seams.ts [--sample N] [--seed S]`. Every suite, or N of them, runs alone, with
 * coverage; a file that its suite covers by less than 80 % of its lines fails.
 * `test/tidy_test.ts` holds that every file is imported by a test or listed here.
 *
 * @module
 */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ROOT, run, tool } from "./run.ts";
import { draw } from "./sample.ts";
import { SEAMS } from "./seams/suites.ts";

const COVERED_MIN = 0.8;
const TEST_DEADLINE_MS = 300_000;

/** Share of lines that ran, by file, from a report in the form of lcov. */
function coverageOf(report: string): ReadonlyMap<string, number> {
  const shares = new Map<string, number>();
  let [file, lines] = ["", 0];
  for (const line of report.split("\n")) {
    const [name = "", value = ""] = line.split(/:(.*)/s);
    if (name === "SF") file = value.replace(`${ROOT}/`, "");
    if (name === "LF") lines = Number(value);
    if (name === "LH") shares.set(file, lines === 0 ? 1 : Number(value) / lines);
  }
  return shares;
}

const { values } = parseArgs({ options: { sample: { type: "string" }, seed: { type: "string" } } });
const seed = Number(values.seed ?? Date.now() % 1_000_000);
const all = Object.entries(SEAMS);
const suites = draw(all, Number(values.sample ?? all.length), seed);
console.log(`seed ${seed}`);
let failed = 0;
const folder = mkdtempSync(join(tmpdir(), "cstore-seams-"));
try {
  for (const [suite, files] of suites) {
    const flags = ["--coverage", "--coverage-reporter=lcov", `--coverage-dir=${folder}`];
    const timeout = `--timeout=${TEST_DEADLINE_MS}`;
    const outcome = await run([tool("bun"), "test", timeout, ...flags, `./${suite}`], {
      capture: true,
    });
    if (!outcome.ok) {
      failed += 1;
      console.log(`${suite} fails:\n${outcome.output.trimEnd()}`);
      continue;
    }
    const shares = coverageOf(readFileSync(join(folder, "lcov.info"), "utf8"));
    for (const file of files) {
      const share = shares.get(file) ?? 0;
      if (share >= COVERED_MIN) continue;
      failed += 1;
      console.log(`${file}: ${suite} covers ${(100 * share).toFixed(0)} % of its lines`);
    }
    console.log(`${suite}: ${files.length} files`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = failed === 0 ? 0 : 1;
