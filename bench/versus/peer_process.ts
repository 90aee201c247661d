/**
 * Server processes of the products that cstore is compared with: found, started, and ended with
 * this program.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { NodeProcess } from "../../cli/local/node_process.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";

/** A product whose program is not on this machine. */
export class MissingPeerError extends Error {
  readonly peer: string;
  /** How to install the product. */
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
  readonly #children = new Set<NodeProcess>();
  readonly #errors: string[] = [];

  start(program: string, words: readonly string[]): NodeProcess {
    const output = (text: string, stream: "stdout" | "stderr"): void => {
      if (stream !== "stderr") return;
      this.#errors.push(text.trimEnd());
      if (this.#errors.length > 50) this.#errors.shift();
    };
    const child = NodeProcess.start({ command: { program, words: [] }, words, output });
    this.#children.add(child);
    return child;
  }

  /** Ends one of them as a power cut does. */
  async kill(child: NodeProcess | undefined): Promise<void> {
    if (child === undefined || !this.#children.delete(child)) return;
    await child.stop("SIGKILL");
  }

  /** Polls until the answer is yes. Throws when a process ended or the time is up. */
  async waitUntil(what: string, isTrue: () => Promise<boolean>): Promise<void> {
    const endMs = systemClock.nowMs() + 20_000;
    while (!(await isTrue().catch(() => false))) {
      const isOver = systemClock.nowMs() > endMs;
      if (isOver || [...this.#children].some((child) => child.hasEnded)) {
        throw new Error(`${what}: not reached\n${this.#errors.slice(-5).join("\n")}`);
      }
      await sleep(systemClock, 50);
    }
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#children].map((child) => child.stop("SIGKILL")));
  }
}
