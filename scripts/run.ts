/**
 * Runs other programs for the scripts: inherits or captures their output, and gives back how they
 * ended. It never throws on a failing program; a program that cannot start counts as failed.
 *
 * @module
 */

import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder that holds package.json. */
export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

const BIN = join(ROOT, "node_modules", ".bin");
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** How a program ended. The two texts are empty unless they were captured. */
export interface Outcome {
  readonly ok: boolean;
  /** Everything it wrote, in the order it arrived. */
  readonly output: string;
  /** Its stdout alone: the order of two streams is luck, so a last line is looked for in one. */
  readonly stdout: string;
}

/** The path of a program that npm has installed, such as `bun` or `biome`. */
export function tool(name: string): string {
  return join(BIN, name);
}

/** Runs a program in the project's folder; `capture` keeps its output instead of showing it. */
export function run(
  command: readonly string[],
  options: {
    readonly capture: boolean;
    readonly env?: Readonly<Record<string, string>>;
    /** Folder to run in; the project's unless set. */
    readonly cwd?: string;
  },
): Promise<Outcome> {
  const [program = "", ...rest] = command;
  const path = `${BIN}:${process.env.PATH ?? ""}`;
  const child = spawn(program, rest, {
    cwd: options.cwd ?? ROOT,
    env: { ...process.env, PATH: path, DENO_NO_UPDATE_CHECK: "1", ...options.env },
    stdio: options.capture ? ["ignore", "pipe", "pipe"] : "inherit",
  });
  const all: string[] = [];
  const stdout: string[] = [];
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
    all.push(chunk);
    stdout.push(chunk);
  });
  child.stderr?.setEncoding("utf8").on("data", (chunk: string) => all.push(chunk));
  const forward = (signal: NodeJS.Signals) => void child.kill(signal);
  for (const signal of SIGNALS) process.on(signal, forward);
  const ended = new Promise<Outcome>((resolve) => {
    child.on("error", (error) => {
      resolve({ ok: false, output: `Cannot run ${program}: ${error.message}\n`, stdout: "" });
    });
    child.on("close", (code, signal) => {
      if (signal !== null) all.push(`${program} was ended by ${signal}\n`);
      resolve({ ok: code === 0, output: all.join(""), stdout: stdout.join("") });
    });
  });
  return ended.finally(() => {
    for (const signal of SIGNALS) process.off(signal, forward);
  });
}
