/**
 * The count of tests, and the one plain line that reports it: `N passed, N failed`, with
 * `, N skipped` after it when some were.
 *
 * @module
 */

/** Counts of a run of the tests. */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Reads the totals of a JUnit file; `undefined` when there are none to be found. */
export function parseJUnit(xml: string): Tally | undefined {
  const header = /<testsuites\b[^>]*>/.exec(xml)?.[0];
  if (header === undefined) return undefined;
  const tests = attribute(header, "tests");
  const failures = attribute(header, "failures");
  const skipped = attribute(header, "skipped");
  if (tests === undefined || failures === undefined || skipped === undefined) return undefined;
  const failed = failures + (attribute(header, "errors") ?? 0);
  return { passed: Math.max(0, tests - failed - skipped), failed, skipped };
}

/**
 * Fails closed: no totals, no test at all, or a bad exit of the runner without a failed test (an
 * error outside of the tests, or a test that ended the process) count as one failure.
 */
export function settle(totals: Tally | undefined, exitedOk: boolean): Tally {
  if (totals === undefined) return { passed: 0, failed: 1, skipped: 0 };
  const none = totals.passed + totals.failed + totals.skipped === 0;
  if (totals.failed === 0 && (none || !exitedOk)) return { ...totals, failed: 1 };
  return totals;
}

/** The plain line. */
export function formatTally(tally: Tally): string {
  const skipped = tally.skipped > 0 ? `, ${tally.skipped} skipped` : "";
  return `${tally.passed} passed, ${tally.failed} failed${skipped}`;
}

/** Reads the plain line back from the end of some output. */
export function parseTally(output: string): Tally | undefined {
  const line = output.trimEnd().split("\n").at(-1) ?? "";
  const match = /^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/.exec(line);
  if (match === null) return undefined;
  const [, passed, failed, skipped] = match;
  return { passed: Number(passed), failed: Number(failed), skipped: Number(skipped ?? 0) };
}

function attribute(header: string, name: string): number | undefined {
  const match = new RegExp(`\\s${name}="(\\d+)"`).exec(header);
  return match === null ? undefined : Number(match[1]);
}
