/**
 * How `cstore node` is declared.
 *
 * @module
 */

import type { CommandSpec } from "./command_spec.ts";

/** One node in the foreground. */
export const NODE: CommandSpec = {
  usage: "node",
  about: "Run one node of a cluster",
  options: [
    ["--join <list>", "Join the cluster of these nodes: HOST:PORT, dns:HOST:PORT or srv:NAME"],
    ["--cluster <list>", "Begin with these nodes, the same list on each: ID=HOST:PORT[,...]"],
    ["--id <name>", "This node's id (default: the folder's; with --join a random one)"],
    ["--data <dir>", "Folder for this node's data (default ./cstore-data)"],
    ["--listen <address>", "HOST:PORT to listen on (default: own address)"],
    ["--advertise <address>", "HOST:PORT that others dial (default: as --listen)"],
    ["--standby", "With --join: get the log, but never vote"],
    [
      "--sync-mode <mode>",
      "sync: answer when a majority has it on disk; async: when the leader has (default sync)",
    ],
    [
      "--mode <mode>",
      "New collections are written by the leader (master-slave) or every node (multi-master); counts when the cluster begins",
    ],
    [
      "--conflict <strategy>",
      "With multi-master: how conflicts are settled, unless a collection says",
    ],
    ["--resolvers <file>", "With multi-master: a module that exports resolvers by their names"],
    ["--ack <disks>", "With multi-master: a write waits for one, majority or all (default one)"],
    [
      "--compression <mode>",
      "auto, zstd or none (default auto: on unless all nodes are on loopback)",
    ],
    ["--heartbeat <time>", "Time between heartbeats (default 40ms)"],
    ["--election-timeout <time>", "Silence after which a leader is replaced (default 200ms)"],
    ["--request-timeout <time>", "Longest wait for a commit (default 5s)"],
    [
      "--snapshot-rate <size>",
      "Bytes a second to bring new nodes up to date with, together (default 16MiB)",
    ],
    ["--scrub-rate <size>", "Bytes a second to look for damage with; 0: never (default 8MiB)"],
    ["--disk-stall <time>", "A sync that takes longer makes a leader hand over (default 1s)"],
    [
      "--lease-reads <mode>",
      "on: linearizable reads on the leader's lease, if clocks run alike; the same on every node",
    ],
    ["--repair <mode>", "auto: with damaged files begin anew, if the others agree; or never"],
    ["--log-level <level>", "debug, info, warning, error or fatal (default warning)"],
    ["--config <file>", "TOML or JSON file with these options in camel case"],
    ["--print-config", "Print the resulting settings and exit"],
  ],
  examples: [
    "cstore node --join 10.0.0.1:7001 --listen 10.0.0.4:7001 --data /var/lib/cstore",
    "cstore node --data /var/lib/cstore        # again, later: the folder knows the rest",
    "cstore node --id n1 --data ./n1 --cluster n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003",
  ],
  run: async (_words, options) => (await import("./commands/node_command.ts")).runNode(options),
};
