/**
 * The program as people start it: the executable if it was built from the present sources, else the
 * sources themselves.
 *
 * @module
 */

import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { NodeProcess } from "../../cli/local/node_process.ts";
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
  readonly process: NodeProcess;
  stdout = "";
  stderr = "";
  #isOver = false;

  constructor(words: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.process = NodeProcess.start({
      command: PROGRAM,
      words,
      env: { ...process.env, NO_COLOR: "1", ...env },
      hasInput: true,
      output: (text, stream) => {
        this[stream] += text;
      },
      ended: () => {
        this.#isOver = true;
      },
    });
  }

  /** Waits for a text on stdout or stderr. */
  async says(text: string | RegExp): Promise<void> {
    await waitFor(`"${text}"`, () => {
      if (this.#isOver) throw new Error(`it ended: ${this.stdout}${this.stderr}`);
      return `${this.stdout}${this.stderr}`.match(text) !== null;
    });
  }

  async ended(): Promise<Ended> {
    await waitFor("its end", () => this.#isOver);
    const { end } = this.process;
    const code = typeof end === "number" ? end : null;
    return { code, stdout: this.stdout, stderr: this.stderr };
  }

  /** For the end of a test, whatever state it is in. */
  async stop(): Promise<void> {
    await this.process.stop("SIGKILL");
  }
}

/** Runs the program to its end. */
export function run(words: readonly string[], env?: Readonly<Record<string, string>>) {
  const running = new Running(words, env);
  running.process.input?.end();
  return running.ended();
}

/** Runs a line of shell in which `cstore` is the program. */
export async function shell(line: string): Promise<Ended> {
  const words = [PROGRAM.program, ...PROGRAM.words].map((word) => `'${word}'`).join(" ");
  const said = { stdout: "", stderr: "" };
  const end = await new Promise((resolve) => {
    NodeProcess.start({
      command: { program: "bash", words: ["-c", `cstore() { ${words} "$@"; }\n${line}`] },
      words: [],
      output: (text, stream) => {
        said[stream] += text;
      },
      ended: resolve,
    });
  });
  return { code: typeof end === "number" ? end : null, ...said };
}
