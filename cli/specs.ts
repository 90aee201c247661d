/**
 * All commands of the executable, in the order of the help.
 *
 * @module
 */

import { CLUSTER_COMMANDS } from "./cluster_specs.ts";
import { ADDRESS, type CommandSpec, JSON_FLAG } from "./command_spec.ts";
import { DATA_COMMANDS } from "./data_specs.ts";
import { NODE } from "./node_specs.ts";

const DEV: CommandSpec = {
  usage: "dev",
  about: "Run a whole cluster on this machine until Ctrl-C",
  options: [
    ["--nodes <n>", "Nodes (default 3)"],
    ["--port <n>", "First port (default 7001)"],
    ["--data <dir>", "Keep the data here (default: a fresh folder that is removed)"],
  ],
  examples: ["cstore dev", "cstore dev --nodes 5 --data ./data"],
  run: async (_words, options) => (await import("./commands/dev_command.ts")).runDev(options),
};

const WAL: CommandSpec = {
  usage: "wal <action> <dir>",
  about: "Look into a node's log, or repair it: inspect, verify, repair; code 65 if it is damaged",
  options: [
    ["--accept-data-loss", "repair: do it; without it only what would be lost is shown"],
    JSON_FLAG,
  ],
  examples: [
    "cstore wal verify ./data/n1",
    "cstore wal inspect ./data/n1 --json",
    "cstore wal repair ./data/n1",
  ],
  run: async (words, options) => (await import("./commands/wal_command.ts")).runWal(words, options),
};

const MODE: CommandSpec["options"][number] = [
  "--mode <mode>",
  "master-slave: the leader writes; multi-master: every node does (default master-slave)",
];

const THROUGHPUT: CommandSpec = {
  usage: "bench throughput",
  about:
    "Measure operations a second and latency, on a cluster of its own unless --address is given",
  options: [
    ["--nodes <n>", "Nodes of the own cluster (default 3)"],
    ADDRESS,
    ["--clients <n>", "Connections; with multi-master over all nodes in turn (default 1)"],
    ["--in-flight <n>", "Requests under way over all clients (default 64)"],
    ["--rate <n>", "Operations a second from a fixed schedule, or max (default max)"],
    ["--value-bytes <n>", "Bytes of a document (default 128)"],
    ["--duration <time>", "Measured time (default 10s)"],
    ["--warmup <time>", "Time before it (default 1s)"],
    ["--read-ratio <r>", "Share of linearizable reads, 0 to 1 (default 0)"],
    MODE,
    ["--ack <disks>", "With multi-master: a write waits for one, majority or all (default one)"],
    ["--sync-mode <mode>", "sync or async, for the own cluster (default sync)"],
    ["--compression <mode>", "auto, zstd or none, for the own cluster (default auto)"],
    ["--data <dir>", "Folder for the own cluster's data (default: a fresh one)"],
    JSON_FLAG,
  ],
  examples: [
    "cstore bench throughput --in-flight 512",
    "cstore bench throughput --rate 5000 --duration 30s --json",
    "cstore bench throughput --mode multi-master --clients 3 --in-flight 512",
  ],
  run: async (_words, options) =>
    (await import("./commands/bench_command.ts")).benchThroughput(options),
};

const FAILOVER: CommandSpec = {
  usage: "bench failover",
  about: "Kill, pause or replace the leader under load and time what clients see",
  options: [
    MODE,
    ["--rounds <n>", "Rounds (default 10)"],
    ["--fault <kind>", "kill, pause or promote; with multi-master kill (default kill)"],
    ["--nodes <n>", "Nodes (default 3)"],
    ["--rate <n>", "Writes a second; with multi-master at each node (default 500)"],
    ["--data <dir>", "Folder for the cluster's data (default: a fresh one)"],
    JSON_FLAG,
  ],
  examples: ["cstore bench failover", "cstore bench failover --fault promote --rounds 20 --json"],
  run: async (_words, options) =>
    (await import("./commands/bench_command.ts")).benchFailover(options),
};

/** Every command. */
export const COMMANDS: readonly CommandSpec[] = [
  ...[NODE, DEV, ...CLUSTER_COMMANDS, ...DATA_COMMANDS],
  ...[WAL, THROUGHPUT, FAILOVER],
];
