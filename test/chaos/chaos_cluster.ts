/**
 * Node processes, each behind a proxy and on a disk with a switch. Nodes and clients know the
 * proxies' addresses only.
 *
 * @module
 */

import { execFile } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { NodeProcess, type ProcessEnd } from "../../cli/local/node_process.ts";
import { CStoreError } from "../../src/base/errors.ts";
import { connect } from "../../src/client/remote_database.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import type { NodeStatus } from "../../src/protocol/wire/status.ts";
import { type DiskFaults, setDiskFaults } from "./faulty_files.ts";
import type { LinkFaults } from "./link_faults.ts";
import { SmallDisk } from "./small_disk.ts";
import { TcpProxy } from "./tcp_proxy.ts";

const SOW = fileURLToPath(new URL("../simulation/sow.ts", import.meta.url));
const SMALL_STORAGE = fileURLToPath(new URL("./small_storage.ts", import.meta.url));
const PROGRAM = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
const ENTRY = fileURLToPath(new URL("./faulty_node.ts", import.meta.url));
const START_TIMEOUT_MS = 30_000;
/** Longest wait for a node to end after SIGTERM. */
const STOP_TIMEOUT_MS = 15_000;
const LAST_WORDS_LENGTH_MAX = 2000;
const DAMAGE = /folder is damaged|\[CORRUPTION\]/;
const PORT_TAKEN = "Cannot listen on ";
const PORT_TRIES_MAX = 100;
/** How a node ends that its disk stopped. */
const DISK_EXIT_CODE = 74;
/** How a node ends that was removed from the cluster. */
const REMOVED_EXIT_CODE = 4;
/** Room on the small disk while nothing is wrong with it, at least. */
const SMALL_DISK_BYTES = 512 * 1024 * 1024;

/** One place in the cluster, with or without a running process. */
export interface ChaosNode {
  readonly id: string;
  readonly proxy: TcpProxy;
  /** It stands in the list that the cluster began with; others join. */
  readonly isFounder: boolean;
  readonly dataDirectory: string;
  readonly switchFile: string;
  child: NodeProcess | undefined;
  /** Where the process listens, or last did. */
  port: number;
  isListening: boolean;
  /** A fault has the node to itself. */
  isTaken: boolean;
  /** The process may end by itself now, naming its disk as the reason. */
  mayEnd: boolean;
  /** It has no folder yet: who it asks may be broken, too, and then it gives up. */
  isJoining: boolean;
  /** It is to be removed, upon which its process ends by itself. */
  isLeaving: boolean;
  /** Its data are on a disk of their own. */
  smallDisk: SmallDisk | undefined;
  /** End of what the process last wrote. */
  lastWords: string;
}

/** How to start a cluster. */
export interface ClusterOptions {
  readonly nodes: number;
  /** For data and logs; is made. */
  readonly directory: string;
  readonly links: LinkFaults;
  /** Put the last node's data on a small disk, where mounting is allowed. */
  readonly wantsSmallDisk: boolean;
  /** Segments, snapshots and the kept log are small. */
  readonly hasSmallLimits: boolean;
  /** Name of a planted bug (`test/simulation/plants.ts`), to see that the run finds it. */
  readonly plant?: string | undefined;
}

/** A cluster of processes. */
export class ChaosCluster {
  /** The members, and those that are to become members. */
  readonly nodes: ChaosNode[] = [];
  /** What went wrong with processes. */
  readonly failures: string[] = [];
  readonly #options: ClusterOptions;
  /** The list that the first nodes are started with. */
  #founders = "";
  #made = 0;
  #isStopping = false;

  private constructor(options: ClusterOptions) {
    this.#options = options;
  }

  /** Starts the processes; resolves when all listen. */
  static async start(options: ClusterOptions): Promise<ChaosCluster> {
    mkdirSync(options.directory, { recursive: true });
    const cluster = new ChaosCluster(options);
    for (let i = 0; i < options.nodes; i += 1) cluster.#addPlace({ isFounder: true });
    const { nodes } = cluster;
    cluster.#addSmallDisk();
    process.once("exit", cluster.#endNow);
    try {
      for (const node of nodes) await node.proxy.reserve();
      cluster.#founders = nodes.map(({ id, proxy }) => `${id}=${proxy.address}`).join(",");
      await Promise.all(nodes.map((node) => cluster.startNode(node)));
      if (cluster.failures.length > 0) throw new Error(cluster.failures.join("; "));
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  /** Where clients connect to. */
  get addresses(): string {
    const members = this.nodes.filter(({ isJoining }) => !isJoining);
    return members.map(({ proxy }) => proxy.address).join(",");
  }

  /** A place for a node that is to join: start it, and it asks the others. */
  async addJoiner(): Promise<ChaosNode> {
    const node = this.#addPlace({ isFounder: false });
    await node.proxy.reserve();
    this.#addSmallDisk();
    return node;
  }

  /** For the newest node, unless there is one, or none is wanted. */
  #addSmallDisk(): void {
    const last = this.nodes.at(-1);
    if (!this.#options.wantsSmallDisk || last === undefined) return;
    if (this.nodes.some(({ smallDisk }) => smallDisk !== undefined)) return;
    last.smallDisk = SmallDisk.mount(last.dataDirectory, SMALL_DISK_BYTES);
  }

  /** Forgets a node that is no member any more, and ends its process. */
  async discard(node: ChaosNode): Promise<void> {
    await this.kill(node);
    await node.proxy.close();
    node.smallDisk?.unmount();
    this.nodes.splice(this.nodes.indexOf(node), 1);
  }

  #addPlace({ isFounder }: { readonly isFounder: boolean }): ChaosNode {
    const { directory, links } = this.#options;
    this.#made += 1;
    const id = `n${this.#made}`;
    const node: ChaosNode = {
      id,
      proxy: new TcpProxy(id, links),
      isFounder,
      dataDirectory: join(directory, id),
      switchFile: join(directory, `${id}.disk`),
      child: undefined,
      port: 0,
      isListening: false,
      isTaken: false,
      mayEnd: false,
      isJoining: !isFounder,
      isLeaving: false,
      smallDisk: undefined,
      lastWords: "",
    };
    this.nodes.push(node);
    return node;
  }

  /** Starts a node; resolves when it listens, or has ended. */
  async startNode(node: ChaosNode, more: readonly string[] = []): Promise<void> {
    if (node.child !== undefined) return;
    for (let tries = 0; tries < PORT_TRIES_MAX; tries += 1) {
      await this.#startProcess(node, more);
      // An outgoing connection of somebody else may hold the node's port for a while.
      if (!node.lastWords.includes(PORT_TAKEN)) return;
      await sleep(systemClock, 100);
    }
    this.failures.push(`${node.id} could not listen on its port ${node.port}`);
  }

  async #startProcess(node: ChaosNode, more: readonly string[]): Promise<void> {
    const words = ["--id", node.id, "--data", node.dataDirectory, ...this.#origin(node, more)];
    const { plant, hasSmallLimits } = this.#options;
    const preload = [
      ...(hasSmallLimits ? ["--preload", SMALL_STORAGE] : []),
      ...(plant === undefined ? [] : ["--preload", SOW]),
    ];
    const env = { NO_COLOR: "1", CSTORE_DISK_SWITCH: node.switchFile, CSTORE_PLANT: plant };
    const child = NodeProcess.start({
      command: { program: process.execPath, words: [...preload, ENTRY, "node"] },
      words,
      env: { ...process.env, ...env },
      output: (text, stream) => {
        if (stream === "stderr") this.#onWords(node, child, text);
      },
      ended: (how) => this.#onExit(node, child, how),
    });
    node.child = child;
    node.isListening = false;
    node.lastWords = "";
    this.#log(node, `process ${child.pid} starts\n`);
    const endMs = systemClock.nowMs() + START_TIMEOUT_MS;
    while (!node.isListening && child.end === undefined && node.child === child) {
      if (!node.isJoining && systemClock.nowMs() > endMs) {
        this.failures.push(`${node.id} did not listen within ${START_TIMEOUT_MS} ms`);
        return;
      }
      await sleep(systemClock, 5);
    }
    if (node.child === child && node.isListening) await node.proxy.attach(node.port);
  }

  /** Where it listens, and which cluster it belongs to. */
  #origin(node: ChaosNode, more: readonly string[]): readonly string[] {
    const place = ["--listen", "127.0.0.1:0", "--advertise", node.proxy.address];
    if (node.isFounder) return [...place, "--cluster", this.#founders];
    // Its folder knows the rest once it has joined.
    if (existsSync(join(node.dataDirectory, "identity"))) return place;
    return [...place, "--join", this.addresses, ...more];
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(node: ChaosNode): Promise<void> {
    await this.#end(node, "SIGKILL");
  }

  /** SIGTERM: the node ends in good order. */
  async terminate(node: ChaosNode): Promise<void> {
    await this.#end(node, "SIGTERM");
  }

  /** SIGSTOP or SIGCONT. */
  pause(node: ChaosNode, isPaused: boolean): void {
    node.child?.signal(isPaused ? "SIGSTOP" : "SIGCONT");
  }

  /** Makes a disk slow or full by its switch, or sound again. */
  setDisk(node: ChaosNode, faults: DiskFaults | undefined): void {
    setDiskFaults(node.switchFile, faults);
    this.#log(node, `disk: ${JSON.stringify(faults ?? "sound")}\n`);
  }

  /** Leaves so many bytes on the node's small disk; undefined: enough. */
  setRoom(node: ChaosNode, bytes: number | undefined): void {
    node.smallDisk?.leave(bytes ?? SMALL_DISK_BYTES);
    this.#log(node, `small disk: room for ${bytes ?? SMALL_DISK_BYTES} bytes\n`);
  }

  /** Status of one node, past its proxy; undefined when it does not answer. */
  async status(node: ChaosNode, timeoutMs = 500): Promise<NodeStatus | undefined> {
    if (node.child === undefined || !node.isListening) return undefined;
    try {
      const database = await connect(`127.0.0.1:${node.port}`, { timeoutMs });
      try {
        const status = await database.status();
        return status.id === node.id ? status : undefined;
      } finally {
        await database.close();
      }
    } catch (error) {
      if (!(error instanceof CStoreError)) throw error;
      return undefined; // Not answering is the answer.
    }
  }

  /** The node that says it leads, in the highest term. */
  async leader(): Promise<ChaosNode | undefined> {
    const answers = await Promise.all(
      this.nodes.map(async (node) => ({ node, status: await this.status(node) })),
    );
    const leaders = answers.filter(({ status }) => status?.role === "leader");
    leaders.sort((a, b) => (b.status?.term ?? 0) - (a.status?.term ?? 0));
    return leaders[0]?.node;
  }

  /** Ends every process in good order and has the program verify what they leave behind. */
  async verifyLogs(): Promise<void> {
    await this.#terminateAll();
    for (const { id, dataDirectory } of this.nodes) {
      const complaint = await complaintOf(["wal", "verify", dataDirectory]);
      if (complaint !== "") this.failures.push(`the log of ${id} is damaged: ${complaint}`);
    }
  }

  /** What `cstore cluster verify` finds wrong with the members' states; "" if nothing. */
  verifyStates(): Promise<string> {
    return complaintOf(["cluster", "verify", "--deep", "--address", this.addresses]);
  }

  /** Ends every process, and takes away what is not to stay. */
  async stop(): Promise<void> {
    await this.#terminateAll();
    for (const node of this.nodes) await node.proxy.close();
    for (const node of this.nodes) node.smallDisk?.unmount();
    process.off("exit", this.#endNow);
  }

  async #terminateAll(): Promise<void> {
    this.#isStopping = true;
    for (const node of this.nodes) this.pause(node, false);
    await Promise.all(this.nodes.map((node) => this.terminate(node)));
  }

  /** When this process ends in the middle: nothing of the cluster must outlive it. */
  readonly #endNow = (): void => {
    for (const { smallDisk } of this.nodes) smallDisk?.unmount();
  };

  async #end(node: ChaosNode, signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const { child } = node;
    if (child === undefined) return;
    node.child = undefined; // Its end is expected from here on.
    this.#log(node, `${signal}\n`);
    const { isLate } = await child.stop(signal, STOP_TIMEOUT_MS);
    if (isLate) {
      this.failures.push(`${node.id} did not end within ${STOP_TIMEOUT_MS} ms of ${signal}`);
    }
    await node.proxy.detach();
  }

  #onWords(node: ChaosNode, child: NodeProcess, words: string): void {
    this.#log(node, words);
    // No fault of ours damages what was written: a node that finds damage has a bug, also if it
    // begins anew with the others' help.
    for (const line of words.split("\n")) {
      if (DAMAGE.test(line)) this.failures.push(`${node.id} finds its folder damaged: ${line}`);
    }
    if (node.child !== child) return;
    node.lastWords = `${node.lastWords}${words}`.slice(-LAST_WORDS_LENGTH_MAX);
    const match = /listens on 127\.0\.0\.1:(\d+),/.exec(node.lastWords);
    if (node.isListening || match?.[1] === undefined) return;
    node.port = Number(match[1]);
    node.isListening = true;
  }

  #onExit(node: ChaosNode, child: NodeProcess, how: ProcessEnd): void {
    this.#log(node, `process ${child.pid} ended: ${how}\n`);
    if (node.child !== child) return;
    node.child = undefined;
    void node.proxy.detach();
    if (this.#isStopping || node.isJoining || node.lastWords.includes(PORT_TAKEN)) return;
    if (node.mayEnd && how === DISK_EXIT_CODE) return;
    if (node.isLeaving && how === REMOVED_EXIT_CODE) return;
    this.failures.push(`${node.id} ended by itself with ${how}: ${firstError(node.lastWords)}`);
  }

  #log(node: ChaosNode, text: string): void {
    appendFileSync(join(this.#options.directory, `${node.id}.log`), `${stamp()} ${text}`);
  }
}

function stamp(): string {
  return new Date().toISOString();
}

/** What the node said of its end. */
function firstError(text: string): string {
  const lines = text.trimEnd().split("\n");
  return lines.find((line) => line.startsWith("error: ")) ?? lines.at(-1) ?? "";
}

/** What the program says if it exits with anything but 0. */
function complaintOf(words: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    execFile(process.execPath, [PROGRAM, ...words], (error, stdout, stderr) => {
      if (error === null) resolve("");
      else resolve(`exit code ${error.code}: ${stdout}${stderr}`.trim());
    });
  });
}
