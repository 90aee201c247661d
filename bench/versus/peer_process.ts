/**
 * Server processes of the products that cstore is compared with: found, started, and ended with
 * this program.
 *
 * @module
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import process from "node:process";
import { sleep, systemClock } from "../../src/platform/clock.ts";

/** A product whose program is not on this machine. */
export class MissingPeerError extends Error {
  readonly peer: string;
  /** What brings it here. */
  readonly install: string;

  constructor(peer: string, program: string, install: string) {
    super(`${peer} is left out: there is no program "${program}" (${install} installs it)`);
    this.peer = peer;
    this.install = install;
  }
}

/** Throws {@link MissingPeerError} unless the program starts. */
export function requireProgram(peer: string, program: string, install: string): void {
  const { error } = spawnSync(program, ["--version"], { stdio: "ignore", timeout: 10_000 });
  if (error !== undefined) throw new MissingPeerError(peer, program, install);
}

/** Processes of one product. */
export class PeerProcesses {
  readonly #children: ChildProcess[] = [];
  readonly #errors: string[] = [];
  readonly #killAll = (): void => {
    for (const child of this.#children) child.kill("SIGKILL");
  };

  constructor() {
    process.once("exit", this.#killAll);
  }

  start(program: string, words: readonly string[]): void {
    const child = spawn(program, words, { stdio: ["ignore", "ignore", "pipe"] });
    child.stderr?.on("data", (chunk: Uint8Array) => {
      this.#errors.push(String(chunk).trimEnd());
      if (this.#errors.length > 50) this.#errors.shift();
    });
    this.#children.push(child);
  }

  /** Asks until the answer is yes. Throws when a process ended or the time is over. */
  async waitUntil(what: string, isTrue: () => Promise<boolean>): Promise<void> {
    const endMs = systemClock.nowMs() + 20_000;
    while (!(await isTrue().catch(() => false))) {
      const isOver = systemClock.nowMs() > endMs;
      if (isOver || this.#children.some((child) => child.exitCode !== null)) {
        throw new Error(`${what}: not reached\n${this.#errors.slice(-5).join("\n")}`);
      }
      await sleep(systemClock, 50);
    }
  }

  async stop(): Promise<void> {
    process.off("exit", this.#killAll);
    const ends = this.#children
      .filter((child) => child.exitCode === null && child.signalCode === null)
      .map((child) => new Promise<void>((resolve) => child.once("exit", () => resolve())));
    this.#killAll();
    await Promise.all(ends);
  }
}
