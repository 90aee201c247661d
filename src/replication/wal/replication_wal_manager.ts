/**
 * ReplicationWALManager: an IWALManager whose `writeEntry` resolves when the entry is replicated.
 * It wraps a log; nothing is written there before consensus has placed it.
 *
 * @module
 */

import { StorageError } from "../../base/errors.ts";
import type { NodeId } from "../../raft/types.ts";
import { FileWALManager } from "../../storage/wal/file_wal_manager.ts";
import type {
  IWALManager,
  RecoveryReport,
  ReplicatedLog,
  WALCheckpoint,
  WALEntry,
} from "../../storage/wal/iwal_manager.ts";
import type { INetworkManager } from "../../transport/inetwork_manager.ts";
import type { ConsensusRole } from "./consensus_manager.ts";
import { type ConsensusOptions, RaftConsensusManager } from "./raft_consensus_manager.ts";
import { type ReplicationStatus, WALReplicationManager } from "./wal_replication_manager.ts";

/** Parts of a replicated log. */
export interface ReplicationWALOptions extends Omit<ConsensusOptions, "log" | "stateMachine"> {
  readonly nodeId: NodeId;
  /** The local log; consensus owns it from now on. */
  readonly wal: IWALManager & ReplicatedLog;
  readonly networkManager: INetworkManager;
}

/** A log on a majority of nodes. */
export class ReplicationWALManager extends FileWALManager {
  readonly consensus: RaftConsensusManager;
  readonly replication: WALReplicationManager;
  readonly #wal: IWALManager & ReplicatedLog;

  constructor(options: ReplicationWALOptions) {
    // Every call goes to the given log: a log of that path is never opened.
    super({ walPath: "" });
    const { nodeId, wal, networkManager, ...rest } = options;
    this.#wal = wal;
    this.consensus = new RaftConsensusManager(nodeId, networkManager, { ...rest, log: wal });
    this.replication = new WALReplicationManager(this.consensus, networkManager, options.clock);
  }

  /** Resolves when a majority has it on disk and it is applied here or on the leader. */
  override writeEntry(entry: WALEntry): Promise<void> {
    return this.replication.streamWALEntry(entry);
  }

  /** Committed entries only. */
  override async readEntries(fromSequence = 1): Promise<WALEntry[]> {
    const entries = await this.#wal.readEntries(fromSequence);
    const last = this.getCurrentSequence();
    return entries.filter((entry) => entry.sequenceNumber <= last);
  }

  /** Forgets committed entries before a sequence number. */
  override async truncate(beforeSequence: number): Promise<void> {
    await this.#wal.truncate(Math.min(beforeSequence, this.getCurrentSequence() + 1));
  }

  override async truncateAfter(): Promise<void> {
    throw new StorageError("Cannot drop entries: consensus owns this log");
  }

  override async writeBatch(entries: WALEntry[]): Promise<void> {
    for (const entry of entries) await this.writeEntry(entry);
  }

  override flush(): Promise<void> {
    return this.#wal.flush();
  }

  override recover(): Promise<RecoveryReport> {
    return this.#wal.recover();
  }

  override createCheckpoint(): Promise<WALCheckpoint> {
    return this.#wal.createCheckpoint();
  }

  /** The last committed sequence number. */
  override getCurrentSequence(): number {
    return this.#wal.sequenceAfter(this.consensus.commitIndex) - 1;
  }

  getRole(): ConsensusRole {
    return this.consensus.state;
  }

  getReplicationStatus(): ReplicationStatus {
    return this.replication.getReplicationStatus();
  }

  /** Leads from now on, by an election: the leader hands over, or this node campaigns. */
  async promoteToLeader(): Promise<void> {
    if (!this.consensus.isLeader()) await this.consensus.electLeader();
  }

  onEntryReplicated(listener: (entry: WALEntry) => void): () => void {
    return this.replication.on("entryReplicated", listener);
  }

  onRoleChanged(listener: (role: ConsensusRole) => void): () => void {
    return this.replication.on("roleChanged", listener);
  }

  override async close(): Promise<void> {
    await this.replication.close();
    await this.consensus.stop();
    await this.#wal.close();
  }
}
