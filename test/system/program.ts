/**
 * The program as people start it: the executable if it was built from the present sources, else the
 * sources themselves.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { waitFor } from "../node/test_cluster.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const EXECUTABLE = join(ROOT, "dist/cstore");

/** What starts the program. */
export const PROGRAM = isBuilt()
  ? { program: EXECUTABLE, words: [] as string[] }
  : { program: process.execPath, words: [join(ROOT, "cli/main.ts")] };

function isBuilt(): boolean {
  if (!existsSync(EXECUTABLE)) return false;
  const builtMs = statSync(EXECUTABLE).mtimeMs;
  return ["src", "cli", "bench"].every((folder) => {
    const names = readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" });
    return names.every((name) => statSync(join(ROOT, folder, name)).mtimeMs <= builtMs);
  });
}

/** What a program left behind. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that runs. */
export class Running {
  readonly child: ChildProcess;
  stdout = "";
  stderr = "";
  code: number | null | undefined;

  constructor(words: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const all = [...PROGRAM.words, ...words];
    const clean = { ...process.env, NO_COLOR: "1", ...env };
    this.child = spawn(PROGRAM.program, all, { env: clean, stdio: ["pipe", "pipe", "pipe"] });
    this.child.stdout?.on("data", (chunk) => {
      this.stdout += String(chunk);
    });
    this.child.stderr?.on("data", (chunk) => {
      this.stderr += String(chunk);
    });
    this.child.on("close", (code) => {
      this.code = code;
    });
  }

  /** Waits for a text on stdout or stderr. */
  async says(text: string | RegExp): Promise<void> {
    await waitFor(`"${text}"`, () => {
      if (this.code !== undefined) throw new Error(`it ended: ${this.stdout}${this.stderr}`);
      return `${this.stdout}${this.stderr}`.match(text) !== null;
    });
  }

  async ended(): Promise<Ended> {
    await waitFor("its end", () => this.code !== undefined);
    return { code: this.code ?? null, stdout: this.stdout, stderr: this.stderr };
  }

  /** For the end of a test, whatever state it is in. */
  async stop(): Promise<void> {
    if (this.code === undefined) this.child.kill("SIGKILL");
    await this.ended();
  }
}

/** Runs the program to its end. */
export function run(words: readonly string[], env?: Readonly<Record<string, string>>) {
  const running = new Running(words, env);
  running.child.stdin?.end();
  return running.ended();
}

/** Runs a line of shell in which `cstore` is the program. */
export async function shell(line: string): Promise<Ended> {
  const words = [PROGRAM.program, ...PROGRAM.words].map((word) => `'${word}'`).join(" ");
  const child = spawn("bash", ["-c", `cstore() { ${words} "$@"; }\n${line}`]);
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => {
    stdout += String(chunk);
  });
  child.stderr.on("data", (chunk) => {
    stderr += String(chunk);
  });
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { code, stdout, stderr };
}
