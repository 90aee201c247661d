/**
 * ReplicatedWALDatabase: a node of a cluster in the caller's process, behind the same interface as
 * `WALDatabase`. Writes and linearizable reads go to the leader, wherever it is.
 *
 * @module
 */

import type { Validators } from "../../api/validator.ts";
import { parseEndpoint, writeEndpoint } from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import { ClosedError, ConfigError, DeadlineError } from "../../base/errors.ts";
import { checkConfig, type KnownNames } from "../../base/known_options.ts";
import { POLL_INTERVAL_MS } from "../../base/timing.ts";
import { readWhole } from "../../client/collection/query_client.ts";
import { Client } from "../../client/connection/client.ts";
import { DatabaseBase } from "../../client/database_base.ts";
import { backupBlocks } from "../../client/state_export.ts";
import type { ConflictResolver } from "../../multi_master/operation/conflict_rule.ts";
import { sleep } from "../../platform/clock.ts";
import { type Platform, systemPlatform } from "../../platform/platform.ts";
import type { NodeStatus } from "../../protocol/wire/status.ts";
import {
  REPLICATION_OPTIONS,
  type ReplicationConfig,
} from "../../replication/wal/wal_replication_manager.ts";
import { databaseFolder, type NodeConfig, parseNodeConfig } from "../config/node_config.ts";
import { Node } from "../node.ts";
import { type BackupReport, writeBackup } from "../snapshots/backup.ts";

/** A node and its cluster. */
export interface ClusterConfig {
  readonly nodeId: string;
  /** 127.0.0.1 unless set. */
  readonly host?: string;
  readonly port: number;
  readonly nodes: readonly {
    readonly id: string;
    readonly address: string;
    readonly port?: number;
  }[];
  readonly replication: ReplicationConfig;
}

/** Where a replicated database lives. */
export interface ReplicatedDatabaseConfig {
  readonly name: string;
  /** `./data` unless set. */
  readonly root?: string;
  readonly cluster: ClusterConfig;
  /** By the names under which collections ask for them. */
  readonly validators?: Validators;
  /** For collections whose conflict rule is `custom`, by the names that they ask for. */
  readonly resolvers?: Readonly<Record<string, ConflictResolver>>;
  readonly platform?: Platform;
}

const DATABASE_OPTIONS: KnownNames = new Set([
  ...["name", "root", "cluster", "validators", "resolvers", "platform"],
]);
const MEMBER_OPTIONS: KnownNames = new Set(["id", "address", "port"]);
const CLUSTER_OPTIONS: KnownNames = new Set(["nodeId", "host", "port", "nodes", "replication"]);

/** A node in this process, and a database over its cluster. Opens itself on first use. */
export class ReplicatedWALDatabase extends DatabaseBase {
  readonly #nodeConfig: NodeConfig;
  readonly #platform: Platform;
  #opening: Promise<Client> | undefined;
  #client: Client | undefined;
  #node: Node | undefined;
  #isClosed = false;

  /** Throws ConfigError. */
  constructor(config: ReplicatedDatabaseConfig) {
    super(() => this.#client ?? this.#ready(), config.validators);
    checkConfig("the database", config, DATABASE_OPTIONS);
    checkConfig("the cluster", config.cluster, CLUSTER_OPTIONS);
    for (const node of config.cluster.nodes) checkConfig("a node", node, MEMBER_OPTIONS);
    this.#platform = config.platform ?? systemPlatform();
    this.#nodeConfig = nodeConfigOf(config);
  }

  /** Starts the node; it serves as soon as the cluster has a leader. */
  override async open(): Promise<void> {
    await this.#ready();
  }

  /** Whether this node leads. */
  isLeader(): boolean {
    return this.#node?.isLeader ?? false;
  }

  /** Resolves with the leader's id. Rejects with DeadlineError. */
  async waitForLeader(timeoutMs = 10_000): Promise<string> {
    await this.#ready();
    const { clock } = this.#platform;
    const endMs = clock.nowMs() + timeoutMs;
    while (clock.nowMs() < endMs) {
      const { leader } = this.#running().status();
      if (leader !== "") return leader;
      await sleep(clock, POLL_INTERVAL_MS.leader);
    }
    throw new DeadlineError(`Cannot find a leader within ${timeoutMs} ms`);
  }

  /** This node's view of the cluster. */
  async getClusterStatus(): Promise<NodeStatus> {
    await this.#ready();
    return this.#running().status();
  }

  /** Hands leadership to a node, without losing or failing a request. Only on the leader. */
  async transferLeadership(to: string): Promise<void> {
    await this.#ready();
    await this.#running().promote(to);
  }

  /**
   * Writes the cluster's whole state, as it is at one entry of the log, to a file of this process;
   * reads it back, and then gives it its name. Rejects with ConfigError if there is such a file.
   */
  async backup(file: string): Promise<BackupReport> {
    const client = await this.#ready();
    assert(this.#node !== undefined, "an open database has its node");
    const { clusterId } = this.#node;
    return readWhole(client, () => {
      return writeBackup(this.#platform, { clusterId, blocks: backupBlocks(client) }, file);
    });
  }

  /** Hands leadership over if this node leads, and stops it. */
  override async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#opening?.catch(() => undefined);
    this.#client?.close();
    this.#client = undefined;
    await this.#node?.stop();
  }

  #running(): Node {
    if (this.#node === undefined || this.#isClosed) {
      throw new ClosedError("Cannot use the database: it is closed");
    }
    return this.#node;
  }

  #ready(): Promise<Client> {
    if (this.#isClosed)
      return Promise.reject(new ClosedError("Cannot use the database: it is closed"));
    this.#opening ??= this.#start();
    return this.#opening;
  }

  async #start(): Promise<Client> {
    const { members, id, requestTimeoutMs } = this.#nodeConfig;
    const node = await Node.open(this.#platform, this.#nodeConfig);
    this.#node = node;
    const own = members.find((member) => member.id === id)?.address ?? "";
    const others = members.filter((member) => member.id !== id).map((member) => member.address);
    this.#client = await Client.connect([own, ...others], {
      platform: this.#platform,
      clusterId: node.clusterId,
      timeoutMs: 2 * requestTimeoutMs,
    });
    return this.#client;
  }
}

function nodeConfigOf(config: ReplicatedDatabaseConfig): NodeConfig {
  const { name, root, cluster } = config;
  const { nodeId, host = "127.0.0.1", port, nodes, replication } = cluster;
  const { mode } = replication;
  if (!MODES.has(mode)) {
    throw new ConfigError(
      `Cannot use replication mode "${mode}": it is one of ${[...MODES].join(", ")}`,
    );
  }
  const isByAll = mode === "MULTI_MASTER";
  if (!isByAll && (replication.conflict !== undefined || replication.ack !== undefined)) {
    throw new ConfigError("Cannot use conflict or ack: they belong to the mode MULTI_MASTER");
  }
  checkReplication(replication);
  const members = nodes.map((node) => {
    const { host: name, port: number } = parseEndpoint(node.address, node.port);
    return { id: node.id, address: writeEndpoint({ host: name, port: number }) };
  });
  return parseNodeConfig({
    id: nodeId,
    listen: writeEndpoint({ host, port }),
    dataDirectory: databaseFolder({ root, name, nodeId }),
    members,
    ...optional("syncMode", replication.syncMode),
    ...optional("requestTimeoutMs", replication.asyncTimeout),
    ...optional("heartbeatMs", replication.heartbeatInterval),
    ...optional("electionTimeoutMs", replication.electionTimeout),
    ...optional("compression", replication.compression),
    ...optional("resolvers", config.resolvers),
    ...optional("ack", replication.ack),
    ...(isByAll && { mode, ...optional("conflict", replication.conflict) }),
  });
}

const MODES: ReadonlySet<string> = new Set([
  ...["MASTER_SLAVE", "LEADER_FOLLOWER", "MASTER", "SLAVE", "MULTI_MASTER"],
]);

/** The lowest number of each field that is one. */
const REPLICATION_MIN: Readonly<Record<string, number>> = {
  ...{ asyncTimeout: 10, heartbeatInterval: 5, electionTimeout: 25, maxRetries: 0 },
};

/** Refuses fields by the names that the caller wrote. Throws ConfigError. */
function checkReplication(replication: ReplicationConfig): void {
  for (const [name, value] of Object.entries(replication)) {
    if (!REPLICATION_OPTIONS.has(name)) {
      const known = [...REPLICATION_OPTIONS].join(", ");
      throw new ConfigError(`Cannot use replication.${name}: it is unknown`, {
        remedy: `Known: ${known}`,
      });
    }
    const min = REPLICATION_MIN[name];
    const isNumber = Number.isSafeInteger(value) && (value as number) >= (min ?? 0);
    if (min === undefined || value === undefined || isNumber) continue;
    throw new ConfigError(
      `Cannot use replication.${name} = ${value}: it is a whole number, at least ${min}`,
    );
  }
}

function optional<K extends string, V>(key: K, value: V | undefined): { [key in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [key in K]: V });
}
