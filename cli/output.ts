/**
 * Output for people and programs: data on stdout, messages on stderr, colour only on a terminal.
 *
 * @module
 */

import process from "node:process";
import pc from "picocolors";
import { CStoreError, type ErrorCode } from "../src/base/errors.ts";

/** Exit codes, as documented in docs/operations.md. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  refused: 4,
  unhealthy: 5,
  timeout: 6,
  damaged: 65,
  bug: 70,
  disk: 74,
  interrupted: 130,
} as const;

const CODES: Partial<Record<ErrorCode, number>> = {
  CONFIG: EXIT.usage,
  UNREACHABLE: EXIT.unreachable,
  HANDSHAKE: EXIT.refused,
  REMOVED: EXIT.refused,
  ROLLED_BACK: EXIT.refused,
  NOT_LEADER: EXIT.unhealthy,
  NO_QUORUM: EXIT.unhealthy,
  DEADLINE: EXIT.timeout,
  UNKNOWN_OUTCOME: EXIT.timeout,
  CORRUPTION: EXIT.damaged,
  STORAGE: EXIT.disk,
};

/** A wrong command line. */
export class UsageError extends Error {
  readonly remedy: string;

  constructor(message: string, remedy = "") {
    super(message);
    this.name = "UsageError";
    this.remedy = remedy;
  }
}

/** A command that ran and has bad news: its text was printed already. */
export class ExitError extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`exit ${exitCode}`);
    this.exitCode = exitCode;
  }
}

function wantsColour(): boolean {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env;
  if (NO_COLOR !== undefined && NO_COLOR !== "") return false;
  if (FORCE_COLOR !== undefined && FORCE_COLOR !== "" && FORCE_COLOR !== "0") return true;
  return process.stdout.isTTY === true && TERM !== "dumb";
}

/** Colours, or plain text where they would not show. */
export const colour = pc.createColors(wantsColour());

/** Whether a person watches. */
export function isTerminal(): boolean {
  return process.stdout.isTTY === true && process.env["TERM"] !== "dumb";
}

/** One line of data. */
export function print(line = ""): void {
  process.stdout.write(`${line}\n`);
}

/** One JSON value on a line of its own. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value, (_key, item) => (typeof item === "bigint" ? String(item) : item)));
}

/** A message for people. Where it cannot be written, nobody is there to tell; the work goes on. */
export function tell(line: string): void {
  try {
    process.stderr.write(`${line}\n`);
  } catch (error) {
    if (!isSystemError(error)) throw error;
  }
}

/** Replaces the live line on a terminal. */
export function live(line: string): void {
  if (isTerminal()) process.stdout.write(`\r\x1b[2K${line}`);
}

/** Columns as wide as their widest cell. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((name, column) => {
    return Math.max(name.length, ...rows.map((row) => (row[column] ?? "").length));
  });
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd();
  return [colour.bold(line(head)), ...rows.map(line)].join("\n");
}

/** Tells an error and gives the exit code. */
export function reportError(error: unknown, json: boolean): number {
  if (error instanceof ExitError) return error.exitCode;
  // The reader of stdout has had enough: `cstore ... | head -1`.
  if (error instanceof Error && "code" in error && error.code === "EPIPE") return EXIT.ok;
  if (error instanceof UsageError) {
    const { message, remedy } = error;
    if (json) printJson({ error: { code: "USAGE", message, remedy, retry: "never" } });
    tell(`${colour.red("error")}: ${error.message}`);
    if (error.remedy !== "") tell(error.remedy);
    return EXIT.usage;
  }
  if (error instanceof CStoreError) {
    if (json) {
      const { code, message, remedy, retry } = error;
      printJson({ error: { code, message, remedy, retry } });
    }
    tell(`${colour.red("error")}: ${error.message} [${error.code}]`);
    if (error.remedy !== undefined) tell(`  ${error.remedy}`);
    return CODES[error.code] ?? EXIT.failed;
  }
  if (isSystemError(error)) {
    tell(`${colour.red("error")}: ${error.message}`);
    return EXIT.disk;
  }
  tell(
    `${colour.red("bug")}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
  );
  return EXIT.bug;
}

/** An error of a file or stream that the system gave: a folder, no permission, a full disk. */
function isSystemError(error: unknown): error is Error {
  if (!(error instanceof Error) || !("code" in error)) return false;
  return typeof error.code === "string" && /^E[A-Z0-9]+$/.test(error.code);
}
