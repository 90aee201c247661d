/**
 * Snapshots that come and go between this node and others, and the moment when one that came takes
 * the place of the log and of the state.
 *
 * @module
 */

import { partLogger } from "../../base/log.ts";
import type { RateLimit } from "../../base/rate_limit.ts";
import type {
  DocumentStateMachine,
  RestoredCluster,
} from "../../database/document_state_machine.ts";
import { readClusterState, StateRestorer } from "../../database/snapshot_codec.ts";
import type { Platform } from "../../platform/platform.ts";
import type { SnapshotMessage } from "../../protocol/wire/snapshot_message.ts";
import { Configuration } from "../../raft/configuration.ts";
import type { LogBase } from "../../raft/types.ts";
import type { RaftDriver } from "../../replication/raft/raft_driver.ts";
import type { DataDirectory } from "../../storage/data_directory.ts";
import { OutgoingSnapshot, removeInstallMark } from "../../storage/snapshot_files.ts";
import type { SnapshotStore } from "../../storage/snapshot_store.ts";
import type { SegmentLog } from "../../storage/wal/segment_log.ts";
import type { NetworkManager } from "../../transport/network_manager.ts";
import type { NodeConfig } from "../config/node_config.ts";
import { SnapshotReceiver } from "./snapshot_receiver.ts";
import { SnapshotSender } from "./snapshot_sender.ts";

/** The open storage of a node, as far as snapshots touch it. */
export interface TransferStorage {
  readonly directory: DataDirectory;
  readonly log: SegmentLog;
  readonly machine: DocumentStateMachine;
  readonly snapshots: SnapshotStore;
}

/** Parts that the exchange works with. */
export interface TransferParts {
  readonly config: NodeConfig;
  readonly platform: Platform;
  readonly opened: TransferStorage;
  /** Rate of everything that is sent to nodes which are behind. */
  readonly rate: RateLimit;
  readonly driver: RaftDriver;
  readonly network: NetworkManager | undefined;
  /** The state could not be replaced: the node cannot go on. */
  failed(cause: unknown): void;
}

/** Both directions. */
export class SnapshotTransfer {
  readonly sender: SnapshotSender;
  readonly #receiver: SnapshotReceiver<RestoredCluster>;
  readonly #parts: TransferParts;
  readonly #logger = partLogger("snapshot");
  #isRestoring = false;
  #isStopped = false;

  constructor(parts: TransferParts) {
    this.#parts = parts;
    const { config, platform, opened, driver, network } = parts;
    const { id } = config;
    const { clusterId } = opened.directory.identity;
    const send = (message: SnapshotMessage): void => network?.sendSnapshot(message);
    this.sender = new SnapshotSender({
      id,
      clock: platform.clock,
      rate: parts.rate,
      open: () => this.#openNewest(),
      send,
      ended: (peer, isDelivered) => driver.snapshotEnded(peer, isDelivered),
    });
    this.#receiver = new SnapshotReceiver({
      id,
      platform,
      store: opened.snapshots,
      clusterId,
      position: () => driver.view,
      isRestoring: () => this.#isRestoring,
      send,
      readFirst: (block) => readClusterState(block),
      arrived: async ({ leader, term, base, first }) => {
        const configuration = new Configuration(first.members.members);
        const isTaken = driver.installSnapshot({ leader, term, base, configuration });
        if (!isTaken) await this.#discard(base);
      },
      failed: (cause) => {
        this.#logger.error("a snapshot could not be taken in: {reason}", { reason: cause.message });
      },
    });
  }

  /** Whether the state is being replaced: nothing may be read from it. */
  get isRestoring(): boolean {
    return this.#isRestoring;
  }

  onMessage(message: SnapshotMessage): void {
    if (message.type === "SNAPSHOT_OFFER") this.#receiver.offer(message);
    else if (message.type === "SNAPSHOT_CHUNK") this.#receiver.chunk(message);
    else this.sender.progress(message);
  }

  /** The log stands behind a snapshot now: the state machine is to follow. */
  restore(): void {
    this.#isRestoring = true;
    this.#replaceState().catch((cause: unknown) => {
      if (!this.#isStopped) this.#parts.failed(cause);
    });
  }

  stop(): void {
    this.#isStopped = true;
    this.sender.stop();
    this.#receiver.stop();
  }

  async #replaceState(): Promise<void> {
    const { machine, snapshots, log } = this.#parts.opened;
    await log.flush();
    await this.#forgetMark();
    const restorer = new StateRestorer(machine);
    await snapshots.load((block) => {
      if (!this.#isStopped) restorer.block(block);
    });
    if (this.#isStopped) return;
    restorer.end();
    this.#isRestoring = false;
    this.#parts.driver.stateRestored();
  }

  /** One that the log does not lead to must not look like the end of a log that was lost. */
  async #discard(base: LogBase): Promise<void> {
    const { platform, opened } = this.#parts;
    const { log, snapshots } = opened;
    if (log.term(base.index) !== base.term) {
      platform.files.remove(snapshots.pathOf(base.index));
      await platform.files.syncDirectory(snapshots.directory);
    }
    await this.#forgetMark();
  }

  async #forgetMark(): Promise<void> {
    const { platform, opened } = this.#parts;
    await removeInstallMark(platform.files, opened.snapshots.directory);
  }

  #openNewest(): OutgoingSnapshot | undefined {
    const { platform, opened } = this.#parts;
    const path = opened.snapshots.newest();
    if (path === undefined) return undefined;
    try {
      return new OutgoingSnapshot(platform.files, path, opened.directory.identity.clusterId);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      this.#logger.error("the newest snapshot cannot be sent: {reason}", { reason });
      return undefined;
    }
  }
}
