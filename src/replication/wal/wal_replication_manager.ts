/**
 * WALReplicationManager: entries in at any node, out at all of them. On the leader an entry goes
 * into the log; on another node it is sent to the leader, and the answer comes back.
 *
 * @module
 */

import {
  ConfigError,
  type CStoreError,
  DeadlineError,
  NotLeaderError,
  ProtocolError,
} from "../../base/errors.ts";
import { checkConfig, type KnownNames } from "../../base/known_options.ts";
import type { ConflictConfig } from "../../multi_master/operation/conflict_rule.ts";
import { type Clock, sleep, systemClock } from "../../platform/clock.ts";
import { randomId, systemRandom } from "../../platform/random.ts";
import type { NodeId } from "../../raft/types.ts";
import type { IWALManager, WALEntry } from "../../storage/wal/iwal_manager.ts";
import type { INetworkManager } from "../../transport/inetwork_manager.ts";
import type { ConsensusRole } from "./consensus_manager.ts";
import { EntryLogMachine } from "./entry_log_machine.ts";
import { listenTo } from "./network_listener.ts";
import type { RaftConsensusManager } from "./raft_consensus_manager.ts";
import { WALStream } from "./wal_stream.ts";

/** How replication stands, seen from one node. */
export interface ReplicationStatus {
  readonly mode: "MASTER_SLAVE";
  readonly role: ConsensusRole;
  readonly connectedNodes: readonly NodeId[];
  /** When the last entry was committed here, ms since 1970; 0 before the first. */
  readonly lastReplicationTime: number;
  /** Entries (batches) in the log that are not committed. */
  readonly pendingEntries: number;
  /** Entries (batches) that the slowest peer lacks; 0 on nodes that do not lead. */
  readonly replicationLag: number;
}

/** Events, with the listener's argument. */
export interface ReplicationEvents {
  /** An entry is committed; emitted on every node, in order. */
  entryReplicated: WALEntry;
  /** Another node handed an entry in. */
  entryReceived: { readonly entry: WALEntry; readonly from: NodeId };
  replicationError: CStoreError;
  roleChanged: ConsensusRole;
}

interface Reply {
  readonly id: string;
  readonly sequenceNumber: number;
  readonly error: string;
}

const TIMEOUT_MS = 5000;
const DEFAULTS: ReplicationConfig = { mode: "MASTER_SLAVE" };
/** Names of the fields of a {@link ReplicationConfig}. */
export const REPLICATION_OPTIONS: KnownNames = new Set<keyof ReplicationConfig>([
  ...(["mode", "syncMode", "asyncTimeout", "heartbeatInterval", "electionTimeout"] as const),
  ...(["maxRetries", "compression", "conflict", "ack"] as const),
]);

function isConsensus(source: RaftConsensusManager | IWALManager): source is RaftConsensusManager {
  return "replicateEntry" in source;
}

/** Replication without consensus: see {@link WALStream}. */
export interface ReplicationConfig {
  /** The mode of new collections in a database: see `CollectionSettings.mode`. */
  readonly mode: "MASTER_SLAVE" | "LEADER_FOLLOWER" | "MASTER" | "SLAVE" | "MULTI_MASTER";
  /** MULTI_MASTER: how conflicts are settled in new collections; `last-write-wins` unless set. */
  readonly conflict?: ConflictConfig;
  /** MULTI_MASTER: whose disks a write waits for, unless it says so. */
  readonly ack?: "one" | "majority" | "all";
  /** SYNC: on a majority's disks. ASYNC: on the leader's disk, or this node's. */
  readonly syncMode?: "SYNC" | "ASYNC";
  /** Longest wait for a commit or for acknowledgements, in milliseconds; 5000 unless set. */
  readonly asyncTimeout?: number;
  readonly heartbeatInterval?: number;
  readonly electionTimeout?: number;
  /**
   * Times that an entry of a {@link WALReplicationManager} without consensus is sent again; 3
   * unless set. A database needs none: it repeats requests until `asyncTimeout` has passed.
   */
  readonly maxRetries?: number;
  readonly compression?: "auto" | "zstd" | "none";
}

/** Moves entries between nodes. */
export class WALReplicationManager {
  readonly #raft: RaftConsensusManager | undefined;
  readonly #streams: WALStream | undefined;
  readonly #network: INetworkManager;
  readonly #clock: Clock;
  readonly #listeners: {
    [K in keyof ReplicationEvents]: Set<(value: ReplicationEvents[K]) => void>;
  } = {
    entryReplicated: new Set(),
    entryReceived: new Set(),
    replicationError: new Set(),
    roleChanged: new Set(),
  };
  readonly #waiting = new Map<string, (reply: Reply) => void>();
  readonly #stops: (() => void)[];
  #number = 0;
  #lastReplicationMs = 0;

  /** Over consensus, which decides one order; or between logs of their own, each in its order. */
  constructor(
    source: RaftConsensusManager | IWALManager,
    network: INetworkManager,
    ...[how = systemClock]: readonly [how?: Clock | ReplicationConfig]
  ) {
    this.#network = network;
    const config = "nowMs" in how ? DEFAULTS : how;
    checkConfig("the replication", config, REPLICATION_OPTIONS);
    this.#clock = "nowMs" in how ? how : systemClock;
    this.#raft = isConsensus(source) ? source : undefined;
    this.#streams = isConsensus(source) ? undefined : this.#newStream(source, config);
    this.#stops = [
      listenTo(network, ({ type, sourceNodeId, data }) =>
        this.#onMessage(type, sourceNodeId, data),
      ),
    ];
    const raft = this.#raft;
    if (raft === undefined) return;
    this.#stops.push(raft.onStateChanged((state) => this.#emit("roleChanged", state)));
    if (!(raft.machine instanceof EntryLogMachine)) return;
    this.#stops.push(raft.machine.onEntry((entry) => this.#replicated(entry)));
  }

  #replicated(entry: WALEntry): void {
    this.#lastReplicationMs = this.#clock.wallMs();
    this.#emit("entryReplicated", entry);
  }

  #newStream(wal: IWALManager, config: ReplicationConfig): WALStream {
    const { syncMode = "SYNC", asyncTimeout = TIMEOUT_MS, maxRetries = 3 } = config;
    return new WALStream({
      ...{ wal, network: this.#network, clock: this.#clock },
      config: { syncMode, asyncTimeout, maxRetries },
      stream: randomId(systemRandom()),
      replicated: (entry) => this.#replicated(entry),
      received: (entry, from) => {
        this.#emit("entryReceived", { entry, from });
        this.#replicated(entry);
      },
      failed: (error) => this.#emit("replicationError", error),
    });
  }

  /** Throws ConfigError without one. */
  get #consensus(): RaftConsensusManager {
    if (this.#raft !== undefined) return this.#raft;
    throw new ConfigError(
      "Cannot do this without consensus: this manager streams a log of its own",
    );
  }

  /**
   * Resolves when the entry is committed; its sequence number is filled in. Rejects with
   * NotLeaderError while there is no leader, DeadlineError when its outcome stayed unknown.
   */
  async streamWALEntry(entry: WALEntry): Promise<void> {
    if (this.#streams !== undefined) return await this.#streams.stream(entry);
    if (this.#consensus.isLeader()) {
      await this.#consensus.replicateEntry(entry);
      return;
    }
    const leader = this.#consensus.leaderId;
    if (leader === "") {
      throw new NotLeaderError("Cannot replicate the entry: no leader is known", {
        id: "",
        address: "",
      });
    }
    entry.sequenceNumber = await this.#forward(leader, entry);
  }

  /** Takes an entry from another node; only the leader does. */
  async receiveWALEntry(entry: WALEntry, from: NodeId): Promise<void> {
    if (this.#streams !== undefined) return await this.#streams.receive(entry, from);
    this.#emit("entryReceived", { entry, from });
    await this.#consensus.replicateEntry(entry);
  }

  /**
   * Resolves when `nodeId` has everything that this leader's log holds now; without consensus,
   * when each has what the other streamed since it was made, from a sequence number on.
   */
  async syncWithNode(nodeId: NodeId, fromSequence = 1): Promise<void> {
    if (this.#streams !== undefined) return await this.#streams.sync(nodeId, fromSequence);
    const goal = this.#consensus.log.lastIndex();
    const endMs = this.#clock.nowMs() + TIMEOUT_MS;
    while (this.#clock.nowMs() < endMs) {
      if (!this.#consensus.isLeader()) {
        const id = this.#consensus.leaderId;
        throw new NotLeaderError(`Cannot sync with "${nodeId}": this node does not lead`, {
          id,
          address: "",
        });
      }
      const peer = this.#consensus.peers().find((candidate) => candidate.id === nodeId);
      if (peer !== undefined && peer.match >= goal) return;
      await sleep(this.#clock, 5);
    }
    throw new DeadlineError(`Cannot sync with "${nodeId}" within ${TIMEOUT_MS} ms`);
  }

  getReplicationStatus(): ReplicationStatus {
    if (this.#raft === undefined) {
      return {
        ...{ mode: "MASTER_SLAVE", role: "FOLLOWER", pendingEntries: 0, replicationLag: 0 },
        connectedNodes: this.#network.getConnectedNodes(),
        lastReplicationTime: this.#lastReplicationMs,
      };
    }
    const last = this.#consensus.log.lastIndex();
    const matches = this.#consensus.peers().map((peer) => peer.match);
    return {
      mode: "MASTER_SLAVE",
      role: this.#consensus.state,
      connectedNodes: this.#network.getConnectedNodes(),
      lastReplicationTime: this.#lastReplicationMs,
      pendingEntries: last - this.#consensus.commitIndex,
      replicationLag: matches.length === 0 ? 0 : last - Math.min(...matches),
    };
  }

  on<K extends keyof ReplicationEvents>(
    event: K,
    listener: (value: ReplicationEvents[K]) => void,
  ): () => void {
    this.#listeners[event].add(listener);
    return () => this.#listeners[event].delete(listener);
  }

  async close(): Promise<void> {
    for (const stop of this.#stops) stop();
    this.#waiting.clear();
    this.#streams?.close();
  }

  #emit<K extends keyof ReplicationEvents>(event: K, value: ReplicationEvents[K]): void {
    for (const listener of this.#listeners[event]) listener(value);
  }

  #forward(leader: NodeId, entry: WALEntry): Promise<number> {
    this.#number += 1;
    const id = `${this.#consensus.nodeId}-${this.#number}`;
    return new Promise((resolve, reject) => {
      const cancel = this.#clock.setTimer(TIMEOUT_MS, () => {
        this.#waiting.delete(id);
        reject(
          new DeadlineError(`Cannot tell what became of the entry: "${leader}" did not answer`),
        );
      });
      this.#waiting.set(id, (reply) => {
        cancel();
        this.#waiting.delete(id);
        if (reply.error === "") resolve(reply.sequenceNumber);
        else reject(new ProtocolError(`Cannot replicate the entry: ${reply.error}`));
      });
      this.#sendMessage(leader, "WAL_ENTRY", { id, entry });
    });
  }

  #sendMessage(to: NodeId, type: "WAL_ENTRY" | "ACK", data: unknown): void {
    const timestamp = this.#clock.wallMs();
    const envelope = {
      sourceNodeId: this.#consensus.nodeId,
      timestamp,
      messageId: "",
      checksum: "",
    };
    this.#network
      .sendMessage(to, { ...envelope, type, data })
      .catch((error: CStoreError) => this.#emit("replicationError", error));
  }

  #onMessage(type: string, from: NodeId, data: unknown): void {
    if (this.#streams !== undefined) {
      this.#streams.onMessage(type, from, data);
      return;
    }
    if (type === "ACK" && isReply(data)) this.#waiting.get(data.id)?.(data);
    if (type !== "WAL_ENTRY" || !isForwarded(data)) return;
    const { id, entry } = data;
    this.receiveWALEntry(entry, from).then(
      () => this.#sendMessage(from, "ACK", { id, sequenceNumber: entry.sequenceNumber, error: "" }),
      (error: CStoreError) => {
        this.#emit("replicationError", error);
        this.#sendMessage(from, "ACK", { id, sequenceNumber: 0, error: error.message });
      },
    );
  }
}

function isReply(data: unknown): data is Reply {
  const reply = data as Partial<Reply> | null;
  return (
    typeof reply?.id === "string" &&
    typeof reply.error === "string" &&
    typeof reply.sequenceNumber === "number"
  );
}

function isForwarded(data: unknown): data is { id: string; entry: WALEntry } {
  const forwarded = data as { id?: unknown; entry?: unknown } | null;
  return (
    typeof forwarded?.id === "string" &&
    typeof forwarded.entry === "object" &&
    forwarded.entry !== null
  );
}
