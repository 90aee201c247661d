/**
 * How the commands of `cstore cluster` are declared.
 *
 * @module
 */

import { ADDRESS, type CommandSpec, JSON_FLAG, TIMEOUT } from "./command_spec.ts";
import type { RawOptions } from "./options.ts";

const STATUS: CommandSpec = {
  usage: "cluster status",
  about: "Show leader, quorum and every member; exit code 5 without a led quorum",
  options: [
    ADDRESS,
    JSON_FLAG,
    ["--watch", "Repeat every second"],
    ["--wide", "More columns: membership, commit index, process, version"],
    TIMEOUT,
  ],
  examples: ["cstore cluster status", "cstore cluster status --address 127.0.0.1:7001 --json"],
  run: async (_words, options) =>
    (await import("./commands/cluster_command.ts")).clusterStatus(options),
};

const MEMBERS: CommandSpec = {
  usage: "cluster members",
  about: "List the members and their roles",
  options: [ADDRESS, JSON_FLAG, TIMEOUT],
  examples: ["cstore cluster members", "cstore cluster members --json"],
  run: async (_words, options) =>
    (await import("./commands/cluster_command.ts")).clusterMembers(options),
};

const PROMOTE: CommandSpec = {
  usage: "cluster promote [node]",
  about: "Make NODE the leader without losing or failing a request",
  options: [ADDRESS, JSON_FLAG, TIMEOUT],
  examples: ["cstore cluster promote n2"],
  run: async (words, options) =>
    (await import("./commands/cluster_command.ts")).clusterPromote(words[0], options),
};

const INIT: CommandSpec = {
  usage: "cluster init",
  about: "Make a folder the first node of a new cluster, which others can join",
  options: [
    ["--id <name>", "The node's id (default n1)"],
    ["--address <address>", "HOST:PORT under which the others will reach it"],
    ["--data <dir>", "Its folder (default ./cstore-data)"],
    JSON_FLAG,
  ],
  examples: ["cstore cluster init --id n1 --address 10.0.0.1:7001 --data /var/lib/cstore"],
  run: async (_words, options) =>
    (await import("./commands/member_command.ts")).clusterInit(options),
};

const ADD: CommandSpec = change({
  usage: "cluster add [id] [address]",
  about: "Make a node a member before it starts; it votes when it has caught up",
  options: [["--standby", "It gets the log, but never votes"]],
  examples: ["cstore cluster add n4 10.0.0.4:7001"],
});

const REMOVE: CommandSpec = change({
  usage: "cluster remove [id]",
  about: "Take a node out of the cluster for good",
  examples: ["cstore cluster remove n4"],
});

const REPLACE: CommandSpec = change({
  usage: "cluster replace [old] [new]",
  about: "Let the standby NEW vote in place of OLD, which leaves, in one change",
  examples: ["cstore cluster replace n3 n4"],
});

const RECOVER: CommandSpec = change({
  usage: "cluster recover [id]",
  about: "Let a node whose folder is lost begin anew with an empty one",
  examples: ["cstore cluster recover n3"],
});

const ROLE: CommandSpec = change({
  usage: "cluster role [id] [role]",
  about: "Make a member a voter or a standby",
  examples: ["cstore cluster role n4 standby", "cstore cluster role n4 voter"],
});

const VERIFY: CommandSpec = {
  usage: "cluster verify",
  about: "Compare the members' states at one entry; code 1 if they differ, 3 if one is missing",
  options: [["--deep", "Find the first document that differs"], ADDRESS, JSON_FLAG, TIMEOUT],
  examples: ["cstore cluster verify", "cstore cluster verify --deep --json"],
  run: async (_words, options) =>
    (await import("./commands/verify_command.ts")).clusterVerify(options),
};

const UNSAFE_RECOVER: CommandSpec = {
  usage: "cluster unsafe-recover [...dirs]",
  about: "After the loss of a quorum: begin a new cluster with what one survivor has",
  options: [["--yes", "Do it; without it only what would be lost is shown"], JSON_FLAG],
  examples: [
    "cstore cluster unsafe-recover ./n2 ./n3        # stopped nodes: show what each holds",
    "cstore cluster unsafe-recover ./n2 ./n3 --yes",
  ],
  run: async (words, options) =>
    (await import("./commands/unsafe_recover_command.ts")).clusterUnsafeRecover(words, options),
};

const UPGRADE: CommandSpec = {
  usage: "cluster upgrade [action]",
  about: "status: show the rules of the log; enable: raise them to the newest of this build",
  options: [ADDRESS, JSON_FLAG, TIMEOUT],
  examples: ["cstore cluster upgrade status", "cstore cluster upgrade enable"],
  run: async (words, options) =>
    (await import("./commands/upgrade_command.ts")).clusterUpgrade(words[0], options),
};

/** A change of the members, requested from the leader. */
function change(
  spec: Pick<CommandSpec, "usage" | "about" | "examples"> & Partial<Pick<CommandSpec, "options">>,
): CommandSpec {
  const action = /^cluster ([a-z]+)/.exec(spec.usage)?.[1] ?? "";
  return {
    ...spec,
    options: [...(spec.options ?? []), ADDRESS, JSON_FLAG, TIMEOUT],
    run: async (words: readonly string[], options: RawOptions) =>
      (await import("./commands/member_command.ts")).clusterChange([action, ...words], options),
  };
}

/** In the order of the help. */
export const CLUSTER_COMMANDS: readonly CommandSpec[] = [
  STATUS,
  MEMBERS,
  PROMOTE,
  INIT,
  ADD,
  REMOVE,
  REPLACE,
  RECOVER,
  ROLE,
  VERIFY,
  UPGRADE,
  UNSAFE_RECOVER,
];
