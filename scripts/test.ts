/**
 * Runs the tests: `bun scripts/test.ts [file or folder ...] [options of bun test]`. The last line
 * on stdout is the plain line of `tally.ts`. A run that leaves no report, or ran nothing, failed.
 *
 * @module
 */

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { ROOT, run, tool } from "./run.ts";
import { formatTally, parseJUnit, settle } from "./tally.ts";

/** A test that hangs; a slow machine is no failure. */
const TEST_DEADLINE_MS = 300_000;
/** Options of the runner whose value is the next word. */
const TAKES_VALUE = new Set(["-t", "--test-name-pattern", "--preload", "--rerun-each"]);

const folder = mkdtempSync(join(tmpdir(), "cstore-test-"));
const report = join(folder, "junit.xml");
const given = process.argv.slice(2);
const paths = given.filter((argument, at) => {
  return !argument.startsWith("-") && !TAKES_VALUE.has(given[at - 1] ?? "");
});
const missing = paths.filter((path) => !existsSync(resolve(ROOT, path)));
if (missing.length > 0) {
  console.log(`Cannot test ${missing.join(", ")}: there is no such file or folder`);
  console.log(formatTally({ passed: 0, failed: missing.length, skipped: 0 }));
  process.exit(1);
}
// A bare path is a filter to the runner, and would also match names that contain it.
const options = given.map((argument) =>
  paths.includes(argument) ? resolve(ROOT, argument) : argument,
);

const outcome = await run(
  [
    tool("bun"),
    "test",
    // A worker a core, each file in a scope of its own: most tests wait for disks and timers.
    "--parallel",
    `--timeout=${TEST_DEADLINE_MS}`,
    "--reporter=junit",
    `--reporter-outfile=${report}`,
    ...options,
    ...(paths.length > 0 ? [] : ["./test"]),
  ],
  { capture: false },
);
const totals = existsSync(report) ? parseJUnit(readFileSync(report, "utf8")) : undefined;
rmSync(folder, { recursive: true, force: true });
if (totals === undefined) console.log("Cannot count the tests: the runner left no report");

const tally = settle(totals, outcome.ok);
console.log(formatTally(tally));
process.exitCode = tally.failed === 0 ? 0 : 1;
