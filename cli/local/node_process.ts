/**
 * One process of this program, or of another one, on this machine: started, listened to, signalled
 * and ended in one way, by `cstore dev`, the benchmarks and the tests. Those that still run when this
 * process exits are killed; a signal that ends it at once gives no time for that.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import type { Writable } from "node:stream";
import { sleep, systemClock } from "../../src/platform/clock.ts";

/** A program and its first words. */
export interface ProgramCommand {
  readonly program: string;
  readonly words: readonly string[];
}

/** How to start this program again: the executable, or the runtime and the source. */
export function ownCommand(): ProgramCommand {
  const program = process.execPath;
  const versions: Readonly<Record<string, string | undefined>> = process.versions;
  if (import.meta.url.includes("$bunfs")) return { program, words: [] };
  const main = new URL("../main.ts", import.meta.url).pathname;
  const entry = import.meta.url.endsWith(".ts") ? main : (process.argv[1] ?? main);
  if (versions["deno"] !== undefined) {
    return { program, words: ["run", "-A", "--node-modules-dir=manual", "--no-lock", entry] };
  }
  return { program, words: [entry] };
}

/** How to start a process. */
export interface ProcessOptions {
  readonly command: ProgramCommand;
  readonly words: readonly string[];
  /** In place of this process's own environment. */
  readonly env?: NodeJS.ProcessEnv;
  readonly directory?: string;
  /** Takes what the process writes; without it stdout is not read. */
  readonly output?: (text: string, stream: "stdout" | "stderr") => void;
  /** Whether {@link NodeProcess.input} is read. */
  readonly hasInput?: boolean;
  /** Called once, behind the last output, with the exit code or the signal. */
  readonly ended?: (how: ProcessEnd) => void;
}

/** Exit code or signal; null where the runtime knows neither. */
export type ProcessEnd = number | NodeJS.Signals | null;

const POLL_MS = 2;
const END_POLLS_MAX = 250;

/** A process that was started here. */
export class NodeProcess {
  static readonly #running = new Set<NodeProcess>();
  readonly #child: ChildProcess;
  #end: ProcessEnd | undefined;

  private constructor(options: ProcessOptions) {
    const { command, words, env, directory, output, hasInput = false } = options;
    this.#child = spawn(command.program, [...command.words, ...words], {
      stdio: [hasInput ? "pipe" : "ignore", output === undefined ? "ignore" : "pipe", "pipe"],
      ...(env !== undefined && { env }),
      ...(directory !== undefined && { cwd: directory }),
    });
    for (const stream of ["stdout", "stderr"] as const) {
      const decoder = new TextDecoder();
      this.#child[stream]?.on("data", (chunk: Uint8Array) => {
        output?.(decoder.decode(chunk, { stream: true }), stream);
      });
    }
    this.#child.on("error", () => this.#finish(null, options));
    this.#child.on("close", (code, signal) => this.#finish(signal ?? code, options));
  }

  /** Starts a process. A program that does not exist ends at once, with null. */
  static start(options: ProcessOptions): NodeProcess {
    if (NodeProcess.#running.size === 0) process.once("exit", NodeProcess.#killAll);
    const started = new NodeProcess(options);
    NodeProcess.#running.add(started);
    return started;
  }

  static readonly #killAll = (): void => {
    for (const running of NodeProcess.#running) running.signal("SIGKILL");
  };

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Undefined while the process runs. */
  get end(): ProcessEnd | undefined {
    return this.#end;
  }

  /** Standard input of a process that was started with it. */
  get input(): Writable | null {
    return this.#child.stdin;
  }

  /**
   * Whether the process is gone. The kernel's answer counts, too: the runtime's own event was seen
   * to stay out now and then, and waiting for it alone could last for ever.
   */
  get hasEnded(): boolean {
    const { pid, exitCode, signalCode } = this.#child;
    if (this.#end !== undefined || pid === undefined) return true;
    if (typeof exitCode === "number" || typeof signalCode === "string") return true;
    try {
      process.kill(pid, 0);
      return false;
    } catch {
      return true; // No such process.
    }
  }

  /** By process number: some runtimes' own `kill` does nothing after its first call. */
  signal(signal: NodeJS.Signals): void {
    try {
      if (!this.hasEnded && this.pid !== undefined) process.kill(this.pid, signal);
    } catch (cause) {
      // Gone in between, which is what the caller finds out next.
      if (!(cause instanceof Error && "code" in cause && cause.code === "ESRCH")) throw cause;
    }
  }

  /**
   * Ends the process; resolves when it is gone. One that does not end within `patienceMs` is
   * killed: then `isLate` is true.
   */
  async stop(
    signal: "SIGTERM" | "SIGKILL",
    patienceMs = 5000,
  ): Promise<{ readonly isLate: boolean }> {
    this.signal("SIGCONT");
    this.signal(signal);
    const killMs = systemClock.nowMs() + patienceMs;
    let isLate = false;
    while (!this.hasEnded) {
      if (!isLate && systemClock.nowMs() > killMs) {
        isLate = true;
        this.signal("SIGKILL");
      }
      await sleep(systemClock, POLL_MS);
    }
    // The exit code comes a moment later, if the runtime gives one at all.
    for (let polls = 0; this.#end === undefined && polls < END_POLLS_MAX; polls += 1) {
      await sleep(systemClock, POLL_MS);
    }
    this.#forget();
    return { isLate };
  }

  #finish(how: ProcessEnd, options: ProcessOptions): void {
    if (this.#end !== undefined) return;
    this.#end = how;
    this.#forget();
    options.ended?.(how);
  }

  #forget(): void {
    NodeProcess.#running.delete(this);
    if (NodeProcess.#running.size === 0) process.off("exit", NodeProcess.#killAll);
  }
}
