/**
 * A cluster of real processes on this machine: for `cstore dev`, the benchmarks and system tests.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type NodeStatus, UnreachableError } from "../../src/mod.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import { exit, onStopSignal, type StopSignal } from "../../src/platform/process.ts";
import { NodeProcess, ownCommand, type ProcessEnd, type ProgramCommand } from "./node_process.ts";

const ERRORS_KEPT = 200;

/** A node of the cluster. */
export interface LocalNode {
  readonly id: string;
  readonly address: string;
  readonly dataDirectory: string;
  /** The running process; undefined when it was stopped. */
  process: NodeProcess | undefined;
}

/** How to start the cluster. */
export interface LocalClusterOptions {
  readonly nodes: number;
  /** First port; the system chooses when absent. */
  readonly port?: number | undefined;
  /** Folder for the nodes' data; a fresh one that is removed afterwards when absent. */
  readonly data?: string | undefined;
  readonly extra?: readonly string[];
  /** Another build of this program; this one unless set. */
  readonly program?: ProgramCommand;
  /** A node's process ended by itself. */
  readonly onExit?: (node: LocalNode, how: ProcessEnd) => void;
}

/** Signals that end a program together with its clusters. */
export const STOP_SIGNALS: readonly StopSignal[] = ["SIGINT", "SIGTERM", "SIGHUP"];
/** Exit code of a process that a signal ended: this and the signal's number. */
const SIGNALLED = 128;

/** From now on a stop signal ends the clusters that run, and then this process. */
export function endClustersOnSignal(): void {
  let isEnding = false;
  onStopSignal((signal) => {
    const code = SIGNALLED + constants.signals[signal];
    if (isEnding) exit(code);
    isEnding = true;
    void LocalCluster.stopAll().finally(() => exit(code));
  }, STOP_SIGNALS);
}

/** Node processes that end with this one. */
export class LocalCluster {
  static readonly #running = new Set<LocalCluster>();
  readonly nodes: readonly LocalNode[];
  readonly data: string;
  readonly #options: LocalClusterOptions;
  readonly #isOwnData: boolean;
  readonly #errors: string[] = [];
  #isStopping = false;

  private constructor(options: LocalClusterOptions, nodes: readonly LocalNode[], data: string) {
    this.#options = options;
    this.#isOwnData = options.data === undefined;
    this.nodes = nodes;
    this.data = data;
  }

  /** Starts the processes; resolves when a leader serves. */
  static async start(options: LocalClusterOptions): Promise<LocalCluster> {
    const data = options.data ?? mkdtempSync(join(tmpdir(), "cstore-"));
    const ports = options.port === undefined ? await freePorts(options.nodes) : undefined;
    const nodes = Array.from({ length: options.nodes }, (_, i): LocalNode => {
      const id = `n${i + 1}`;
      const port = ports?.[i] ?? (options.port ?? 0) + i;
      return {
        id,
        address: `127.0.0.1:${port}`,
        dataDirectory: `${data}/${id}`,
        process: undefined,
      };
    });
    const cluster = new LocalCluster(options, nodes, data);
    LocalCluster.#running.add(cluster);
    try {
      for (const node of nodes) cluster.startNode(node);
      await cluster.waitForLeader();
      // A node that cannot start - its port is in use, say - is no cluster of this size.
      if (nodes.some((node) => node.process === undefined)) throw cluster.#noLeader();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  /** Stops every cluster that was started here. */
  static async stopAll(): Promise<void> {
    await Promise.allSettled([...LocalCluster.#running].map((cluster) => cluster.stop()));
  }

  get addresses(): string {
    return this.nodes.map((node) => node.address).join(",");
  }

  /** Lines that the nodes wrote to stderr, newest last. */
  get errors(): readonly string[] {
    return this.#errors;
  }

  node(id: string): LocalNode {
    const found = this.nodes.find((node) => node.id === id);
    if (found === undefined) throw new RangeError(`the cluster has no node "${id}"`);
    return found;
  }

  startNode(node: LocalNode): void {
    const members = this.nodes.map(({ id, address }) => `${id}=${address}`).join(",");
    const args = ["node", "--id", node.id, "--listen", node.address, "--data", node.dataDirectory];
    const child = NodeProcess.start({
      command: this.#options.program ?? ownCommand(),
      words: [...args, "--cluster", members, ...(this.#options.extra ?? [])],
      output: (text, stream) => {
        if (stream !== "stderr") return;
        this.#errors.push(`${node.id}: ${text.trimEnd()}`);
        if (this.#errors.length > ERRORS_KEPT) this.#errors.shift();
      },
      ended: (how) => {
        if (node.process === child) node.process = undefined;
        if (!this.#isStopping) this.#options.onExit?.(node, how);
      },
    });
    node.process = child;
  }

  /** Sends a signal; after SIGKILL and SIGTERM resolves when the process is gone. */
  async signal(
    node: LocalNode,
    signal: "SIGKILL" | "SIGTERM" | "SIGSTOP" | "SIGCONT",
  ): Promise<void> {
    const child = node.process;
    if (signal === "SIGSTOP" || signal === "SIGCONT") {
      child?.signal(signal);
      return;
    }
    await child?.stop(signal);
    if (node.process === child) node.process = undefined;
  }

  /** Status of one node; undefined when it does not answer. */
  async status(node: LocalNode, timeoutMs = 500): Promise<NodeStatus | undefined> {
    try {
      const database = await connect(node.address, { timeoutMs });
      try {
        return await database.status();
      } finally {
        await database.close();
      }
    } catch {
      return undefined; // Not answering is the answer.
    }
  }

  /** Resolves with the leader once it takes writes. */
  async waitForLeader(timeoutMs = 20_000): Promise<LocalNode> {
    const endMs = systemClock.nowMs() + timeoutMs;
    while (systemClock.nowMs() < endMs) {
      for (const node of this.nodes) {
        const { process: child } = node;
        if (child === undefined) continue;
        const status = await this.status(node);
        // Another program may answer at the address.
        const isOwn = status?.pid === child.pid && node.process === child;
        if (isOwn && status?.role === "leader" && status.commitIndex > 1) return node;
      }
      if (this.nodes.every((node) => node.process === undefined)) break;
      await sleep(systemClock, 20);
    }
    throw this.#noLeader();
  }

  #noLeader(): UnreachableError {
    const lines = this.#errors.flatMap((text) => text.split("\n"));
    const said = lines.findLast((line) => line.includes("error: "));
    const why = said?.replace(/^.*?error: /, "").replace(/ \[[A-Z_]+\]$/, "");
    return new UnreachableError(`Cannot start the cluster: ${why ?? "it has no leader"}`);
  }

  /** Ends every process, politely first, and removes the data folder if it made that. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    LocalCluster.#running.delete(this);
    await Promise.all(this.nodes.map((node) => this.signal(node, "SIGTERM")));
    if (this.#isOwnData) rmSync(this.data, { recursive: true, force: true });
  }
}

/** Ports that are free right now. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once("error", reject);
          server.listen(0, "127.0.0.1", () => {
            const address = server.address();
            resolve(typeof address === "object" && address !== null ? address.port : 0);
          });
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
