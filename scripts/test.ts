/**
 * Runs the tests: `bun scripts/test.ts [file or folder ...] [options of bun test]`. The last line
 * on stdout is the plain line of `tally.ts`. A run that leaves no report, or ran nothing, failed.
 *
 * @module
 */

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run, tool } from "./run.ts";
import { formatTally, parseJUnit, settle } from "./tally.ts";

const TEST_DEADLINE_MS = 60_000;

const folder = mkdtempSync(join(tmpdir(), "cstore-test-"));
const report = join(folder, "junit.xml");
const given = process.argv.slice(2);
const hasFilter = given.some((argument) => !argument.startsWith("-"));

const outcome = await run(
  [
    tool("bun"),
    "test",
    "--isolate",
    `--timeout=${TEST_DEADLINE_MS}`,
    "--reporter=junit",
    `--reporter-outfile=${report}`,
    ...given,
    ...(hasFilter ? [] : ["./test"]),
  ],
  { capture: false },
);
const totals = existsSync(report) ? parseJUnit(readFileSync(report, "utf8")) : undefined;
rmSync(folder, { recursive: true, force: true });
if (totals === undefined) console.log("Cannot count the tests: the runner left no report");

const tally = settle(totals, outcome.ok);
console.log(formatTally(tally));
process.exitCode = tally.failed === 0 ? 0 : 1;
