/**
 * `parseNodeConfig`: the one place for defaults, ranges and relations of a node's options.
 *
 * @module
 */

import {
  checkAddress,
  checkId,
  EMBEDDED_ADDRESS,
  type Endpoint,
  isWildcard,
  parseEndpoint,
  writeEndpoint,
} from "../../base/address.ts";
import { ConfigError } from "../../base/errors.ts";
import { SEGMENT_SIZE_BYTES, VOTERS_MAX } from "../../base/limits.ts";
import { NodeDiscovery } from "../../cluster/node_discovery.ts";
import type {
  ConflictConfig,
  ConflictResolver,
} from "../../multi_master/operation/conflict_rule.ts";
import type { NodeAddress } from "../../protocol/encoding/cluster_command.ts";
import type { CollectionMode } from "../../protocol/encoding/collection_settings.ts";
import { DEFAULT_CONFLICT, readConflict } from "../../protocol/encoding/conflict_settings.ts";

/** Configuration of a node; every field is set. */
export interface NodeConfig {
  readonly id: string;
  /**
   * Where to listen. Undefined: at this node's address among the members; nowhere at all
   * when `isEmbedded`.
   */
  readonly listen: Endpoint | undefined;
  /** Where to listen when nothing else says so: set at the start of a node that joined. */
  readonly fallback?: Endpoint | undefined;
  /** HOST:PORT under which other nodes reach a node that joins; its listening address if unset. */
  readonly advertise: string | undefined;
  /** Alone in its process, without a network. */
  readonly isEmbedded: boolean;
  readonly dataDirectory: string;
  /** The first voters, in order of id; empty on a node that joins or knows its cluster already. */
  readonly members: readonly NodeAddress[];
  /** Where to ask for the cluster to join, while the folder is empty. */
  readonly join: readonly string[];
  /** Joins as a learner that stays one. */
  readonly isStandby: boolean;
  /** 16 hex digits; undefined: follows from the members. */
  readonly clusterId: string | undefined;
  readonly syncMode: "SYNC" | "ASYNC";
  readonly heartbeatMs: number;
  readonly electionTimeoutMs: number;
  /** Longest wait for a commit before a request is answered with `DeadlineError`. */
  readonly requestTimeoutMs: number;
  readonly compression: "auto" | "zstd" | "none";
  readonly segmentSizeBytes: number;
  /** Log bytes since the last snapshot that make a new one due. */
  readonly snapshotLogBytes: number;
  readonly sessionTimeoutMs: number;
  /** Whether a damaged folder is begun anew with the other members' consent. */
  readonly repair: "auto" | "never";
  /** Rate at which files are read in the background to find damage; 0: never. */
  readonly scrubBytesPerSecond: number;
  /** A sync that takes longer makes a leader hand over, and keeps others from leading. */
  readonly diskStallMs: number;
  /**
   * Serve linearizable reads on the leader's lease instead of asking a quorum: faster, and right as
   * long as the nodes' monotonic clocks run alike. The same on every node.
   */
  readonly leaseReads: boolean;
  /** Rate at which snapshots, and to learners the log, are sent to nodes that are behind. */
  readonly snapshotBytesPerSecond: number;
  /**
   * Whose disks a write of a collection waits for that every node writes, unless it says so: this
   * node's (unless set), those of most members (also where `syncMode` is set to SYNC), or of all.
   */
  readonly ack: "one" | "majority" | "all";
  /** Who writes new collections, unless they say it; agreed when the cluster begins. */
  readonly mode: CollectionMode;
  /** How conflicts are settled in new collections that every node writes, unless they say it. */
  readonly conflict: ConflictConfig;
  /** Resolvers of collections whose rule is `custom`, by name; the same on every node. */
  readonly resolvers: Readonly<Record<string, ConflictResolver>>;
}

/** Options as users write them. */
export type NodeOptions = Partial<Omit<NodeConfig, "listen" | "members">> & {
  readonly id: string;
  readonly listen?: string | undefined;
  readonly members?: readonly NodeAddress[];
};

const DEFAULTS = {
  dataDirectory: "./data",
  clusterId: undefined,
  isEmbedded: false,
  advertise: undefined,
  join: [],
  isStandby: false,
  repair: "auto",
  scrubBytesPerSecond: 8 * 1024 * 1024,
  diskStallMs: 1000,
  leaseReads: false,
  snapshotBytesPerSecond: 16 * 1024 * 1024,
  syncMode: "SYNC",
  mode: "MASTER_SLAVE",
  conflict: DEFAULT_CONFLICT,
  resolvers: {},
  ack: "one",
  heartbeatMs: 40,
  electionTimeoutMs: 200,
  requestTimeoutMs: 5000,
  compression: "auto",
  segmentSizeBytes: SEGMENT_SIZE_BYTES,
  snapshotLogBytes: 4 * SEGMENT_SIZE_BYTES,
  sessionTimeoutMs: 600_000,
} as const;

const RANGES: Readonly<Record<string, readonly [number, number]>> = {
  heartbeatMs: [5, 10_000],
  electionTimeoutMs: [25, 60_000],
  requestTimeoutMs: [10, 600_000],
  segmentSizeBytes: [64 * 1024, 1024 * 1024 * 1024],
  snapshotBytesPerSecond: [64 * 1024, 1024 ** 4],
  scrubBytesPerSecond: [0, 1024 ** 4],
  diskStallMs: [50, 600_000],
  snapshotLogBytes: [64 * 1024, 1024 ** 4],
  sessionTimeoutMs: [1000, 7 * 24 * 3_600_000],
};

/** The folder of a database's node. Throws ConfigError for a name that leads elsewhere. */
export function databaseFolder(place: {
  readonly root?: string | undefined;
  readonly name: string;
  readonly nodeId: string;
}): string {
  const { root = "./data", name, nodeId } = place;
  if (/^[^/\\\0]+$/.test(name) && name !== "." && name !== "..") return `${root}/${name}/${nodeId}`;
  throw new ConfigError(`Cannot use the name ${JSON.stringify(name)}: it names a folder`, {
    remedy: 'Use a name without "/", "\\" and NUL, and not "." or ".."',
  });
}

type Settings = Omit<NodeConfig, "listen" | "members">;

/** Checks options and fills in defaults. Throws {@link ConfigError}. */
export function parseNodeConfig(input: NodeOptions): NodeConfig {
  for (const name of Object.keys(input)) {
    if (!(name in DEFAULTS) && name !== "id" && name !== "listen" && name !== "members") {
      throw new ConfigError(`Cannot use option "${name}": it is unknown`);
    }
  }
  const set = Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined));
  // `set` has no fields but the options', whose values are checked below.
  const config: Settings = { ...DEFAULTS, id: input.id, ...(set as Partial<Settings>) };
  checkId(config.id);
  const ack = input.ack ?? (input.syncMode === "SYNC" ? "majority" : "one");
  checkChoice("ack", ack, ["one", "majority", "all"]);
  checkChoice("syncMode", config.syncMode, ["SYNC", "ASYNC"]);
  checkChoice("mode", config.mode, ["MASTER_SLAVE", "MULTI_MASTER"]);
  const conflict = readConflict(config.conflict);
  for (const [name, resolver] of Object.entries(config.resolvers)) {
    if (typeof resolver !== "function") {
      throw new ConfigError(`Cannot use the resolver "${name}": it is no function`);
    }
  }
  checkChoice("repair", config.repair, ["auto", "never"]);
  checkChoice("compression", config.compression, ["auto", "zstd", "none"]);
  for (const [name, [low, high]] of Object.entries(RANGES)) {
    const value = config[name as keyof typeof config];
    if (typeof value !== "number" || !(value >= low && value <= high)) {
      throw new ConfigError(`Cannot use ${name} = ${String(value)}: it must be ${low} to ${high}`);
    }
  }
  if (config.electionTimeoutMs < 5 * config.heartbeatMs) {
    throw new ConfigError(
      `Cannot use electionTimeoutMs = ${config.electionTimeoutMs}: it must be at least 5 heartbeats of ${config.heartbeatMs} ms`,
    );
  }
  if (config.requestTimeoutMs < config.electionTimeoutMs) {
    throw new ConfigError("Cannot use requestTimeoutMs: it must not be below electionTimeoutMs");
  }
  if (config.clusterId !== undefined && !/^[0-9a-f]{16}$/.test(config.clusterId)) {
    throw new ConfigError(`Cannot use clusterId "${config.clusterId}": it has 16 hex digits`);
  }
  // Tells of a seed that cannot be used before anything is made.
  new NodeDiscovery(config.join);
  const members = checkMembers(input.members ?? [], config.id);
  const listen = input.listen === undefined ? undefined : parseEndpoint(input.listen);
  if (config.advertise !== undefined) checkAddress(config.advertise);
  if (config.join.length > 0 && config.advertise === undefined && isWildcard(listen?.host ?? "")) {
    throw new ConfigError(
      "Cannot join: the others do not know under which host to reach this node",
      {
        remedy: "Give --advertise HOST:PORT, or --listen with a host that they can dial",
      },
    );
  }
  return Object.freeze({ ...config, ack, conflict, members, listen });
}

function checkChoice(name: string, value: string, allowed: readonly string[]): void {
  if (allowed.includes(value)) return;
  throw new ConfigError(`Cannot use ${name} = "${value}": it is one of ${allowed.join(", ")}`);
}

function checkMembers(given: readonly NodeAddress[], id: string): readonly NodeAddress[] {
  const members = given.map((member) => {
    checkId(member.id);
    if (member.address !== EMBEDDED_ADDRESS) checkAddress(member.address);
    const { host, port } = parseEndpoint(member.address);
    return { id: member.id, address: writeEndpoint({ host, port }) };
  });
  if (members.length === 0) return members;
  if (members.length > VOTERS_MAX) {
    throw new ConfigError(`Cannot use ${members.length} nodes: a cluster has 1 to ${VOTERS_MAX}`);
  }
  for (const field of ["id", "address"] as const) {
    const values = members.map((member) => member[field]);
    const twice = values.find((value, at) => values.indexOf(value) !== at);
    if (twice !== undefined && members.length > 1) {
      throw new ConfigError(`Cannot use the list of nodes: ${field} "${twice}" stands in it twice`);
    }
  }
  if (!members.some((member) => member.id === id)) {
    throw new ConfigError(`Cannot use the list of nodes: "${id}" is not in it`, {
      remedy: "The list names every node of the cluster, this one too, and is the same on each",
    });
  }
  return members.sort((a, b) => (a.id < b.id ? -1 : 1));
}
