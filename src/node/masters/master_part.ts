/**
 * A node's part in the collections that every node writes. It begins when the agreement, which goes
 * through the log of consensus, names the incarnation that this node writes under; until there is
 * such a collection, nothing happens.
 *
 * @module
 */

import { CStoreError, OverloadedError, StorageError } from "../../base/errors.ts";
import { partLogger } from "../../base/log.ts";
import { POLL_INTERVAL_MS, RETRY_AFTER_MS } from "../../base/timing.ts";
import { isFields } from "../../base/value.ts";
import { VersionTable } from "../../database/collection/version_table.ts";
import type { DocumentStateMachine } from "../../database/document_state_machine.ts";
import { EMPTY_SEED } from "../../multi_master/config.ts";
import { MultiMaster } from "../../multi_master/multi_master.ts";
import type { Agreement } from "../../multi_master/operation/agreement.ts";
import { dueChange, NO_AGREEMENT } from "../../multi_master/operation/agreement_change.ts";
import type { Origin } from "../../multi_master/operation/dot.ts";
import type { MultiMasterEvent } from "../../multi_master/ready.ts";
import type { Platform } from "../../platform/platform.ts";
import { randomId } from "../../platform/random.ts";
import { clusterBatch } from "../../protocol/encoding/cluster_command.ts";
import { encodeChange, encodeMode } from "../../protocol/operations/agreement_codec.ts";
import { OperationChecksum } from "../../protocol/operations/operation_checksum.ts";
import { VERSION_CODEC } from "../../protocol/operations/version_codec.ts";
import { decodeMultiMasterMessage } from "../../protocol/wire/multi_master_message.ts";
import type { MessageRoute, ReplicationMessage } from "../../protocol/wire/replication_message.ts";
import { MultiMasterDriver } from "../../replication/multi_master/multi_master_driver.ts";
import type { RaftDriver } from "../../replication/raft/raft_driver.ts";
import { readAgreementFile, writeAgreementFile } from "../../storage/operations/agreement_file.ts";
import type { SegmentLog } from "../../storage/wal/segment_log.ts";
import type { NetworkManager } from "../../transport/network_manager.ts";
import type { NodeConfig } from "../config/node_config.ts";
import { ShownDocuments } from "./shown_documents.ts";

/** A node tells the leader the incarnation that it wants to write under. */
const ORIGIN = "MASTER_ORIGIN";
/** How far clocks of nodes may stand apart, in ms. */
const DRIFT_MAX_MS = 500;
/** Ticks of housekeeping between two requests for missing operations: half a second. */
const PULL_TICKS = 5;
/** Ticks after which an operation that waits for another one is reported: ten seconds. */
const WAIT_TICKS = 100;
/** Bytes of operations in one message, and on their way to a node that has not answered. */
const MESSAGE_BYTES = 256 * 1024;
const WINDOW_BYTES = 4 * 1024 * 1024;
const NAME_LENGTH_MAX = 200;

/** Parts that it works with. */
export interface MasterPartParts {
  readonly platform: Platform;
  readonly config: NodeConfig;
  readonly log: SegmentLog;
  readonly machine: DocumentStateMachine;
  readonly network: NetworkManager | undefined;
  readonly driver: RaftDriver;
  /** The members' ids. */
  members(): readonly string[];
  /** The disk failed: the node cannot go on. */
  failed(cause: unknown): void;
}

interface Running {
  readonly master: MultiMaster;
  readonly driver: MultiMasterDriver;
  readonly shown: ShownDocuments;
}

/** One node's part. */
export class MasterPart {
  readonly #parts: MasterPartParts;
  readonly #logger = partLogger("node");
  readonly #origin: Origin;
  /** Whether it is another one than on the disk. */
  readonly #isRenewed: boolean;
  /** As it stands on this node's disk. */
  #kept: Agreement;
  #isWriting = false;
  #isStopped = false;
  #running: Running | undefined;
  /** The incarnations that members asked for; on the leader. */
  readonly #wanted = new Map<string, Origin>();
  /** The entry of the last change that this node proposed. */
  #proposedIndex = 0;
  #nextFloorMs = 0;
  #unlisten: (() => void)[] = [];
  /** For this one the documents that are shown were looked at. */
  #checked: Agreement | undefined;

  constructor(parts: MasterPartParts) {
    this.#parts = parts;
    const { platform, config, log } = parts;
    const kept = readAgreementFile(platform.files, config.dataDirectory);
    this.#kept = kept?.agreement ?? NO_AGREEMENT;
    // What was cut off the end of the log may have left this node: its numbers are not used again.
    const isWhole = kept !== undefined && log.report.tornBytes === 0;
    this.#isRenewed = kept !== undefined && !isWhole;
    this.#origin = isWhole ? kept.origin : `${config.id}/${randomId(platform.random)}`;
  }

  /** Whether this node takes part. */
  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Decides and carries out; undefined while this node does not take part. */
  get running(): Running | undefined {
    return this.#running;
  }

  /** Goes on with what is on the disk. Rejects with StorageError. */
  async start(): Promise<void> {
    const { network, log, platform, config } = this.#parts;
    if (this.#isRenewed) {
      // Before anything else: the next start finds a whole log.
      const kept = { origin: this.#origin, agreement: this.#kept };
      await writeAgreementFile(platform.files, config.dataDirectory, kept);
    }
    log.listen({
      synced: (through) => this.#running?.driver.synced(through),
      failed: (cause) => this.#running?.driver.failed(logFailed(cause)),
    });
    if (network !== undefined) {
      this.#unlisten = [
        network.on("nodeConnected", ({ nodeId }) => this.#running?.driver.setPeer(nodeId, true)),
        network.on("nodeDisconnected", ({ nodeId }) =>
          this.#running?.driver.setPeer(nodeId, false),
        ),
      ];
    }
    this.#tryBegin();
    this.applied();
  }

  stop(): void {
    this.#isStopped = true;
    for (const unlisten of this.#unlisten) unlisten();
    this.#running?.driver.failed(new StorageError("Cannot go on: the node stops"));
  }

  /** Why this node takes no writes of such collections now; undefined if it does. */
  refusal(): CStoreError | undefined {
    if (this.#running?.master.isReady === true) return undefined;
    const why =
      this.#running === undefined
        ? "its incarnation is not agreed upon yet, which takes a majority of the nodes"
        : "it does not have yet what the other nodes have forgotten removals by";
    return new OverloadedError(`Cannot write on this node: ${why}`, RETRY_AFTER_MS.masters, {
      remedy: "Wait, or write on another node",
    });
  }

  /** More entries were applied: perhaps the agreement has changed, or the state was replaced. */
  applied(): void {
    const { agreement } = this.#parts.machine.masters;
    if (agreement.collections.size === 0 && this.#kept.version === 0) return;
    if (agreement !== this.#checked) this.#running?.shown.check();
    this.#checked = agreement;
    if (agreement.version > this.#kept.version && !this.#isWriting) void this.#keep();
  }

  /** Called often. */
  tick(): void {
    const { machine, driver, config, network, platform } = this.#parts;
    this.#running?.driver.tick();
    const { agreement } = machine.masters;
    if (agreement.collections.size === 0 && agreement.version === 0) return;
    const isWanted = agreement.origins.get(config.id) !== this.#origin;
    if (driver.isLeader) this.#lead();
    else if (isWanted && this.#isKept(agreement) && driver.view.leader !== undefined) {
      const timestamp = platform.clock.wallMs();
      const message = { type: ORIGIN, sourceNodeId: config.id, timestamp, checksum: "" };
      void network?.sendMessage(driver.view.leader, { ...message, data: { origin: this.#origin } });
    }
  }

  /** A message of another node that is not of consensus. */
  onNodeMessage({ type, sourceNodeId, data }: ReplicationMessage): void {
    if (type !== ORIGIN || !isFields(data)) return;
    const { origin } = data;
    if (typeof origin !== "string" || origin.length > NAME_LENGTH_MAX) return;
    // The name of its writer stands in it: see `nodeOf`.
    if (origin.startsWith(`${sourceNodeId}/`)) this.#wanted.set(sourceNodeId, origin);
  }

  /** A message about operations. Throws ProtocolError for bytes that are none. */
  receive(body: Uint8Array, route: MessageRoute): void {
    // Bytes that are none end the connection, whether or not this node takes part yet.
    if (this.#running === undefined) decodeMultiMasterMessage(body, route);
    else this.#running.driver.receive(body, route);
  }

  /** To be proposed when a cluster begins, before there is a collection. */
  beginning(timeMs: number): ReturnType<typeof clusterBatch> | undefined {
    if (this.#parts.config.mode !== "MULTI_MASTER") return undefined;
    const body = encodeMode("MULTI_MASTER");
    return clusterBatch("AGREEMENT", Math.floor(timeMs), (writer) => writer.raw(body));
  }

  #lead(): void {
    const { machine, driver, config, platform } = this.#parts;
    if (!driver.view.hasCommittedOwnTerm || driver.appliedIndex < this.#proposedIndex) return;
    const { agreement } = machine.masters;
    if (this.#isKept(agreement)) this.#wanted.set(config.id, this.#origin);
    const nowMs = platform.clock.nowMs();
    const isFloorDue = nowMs >= this.#nextFloorMs;
    const members = new Set(this.#parts.members());
    const change = dueChange(agreement, {
      has: (node) => members.has(node),
      wanted: this.#wanted,
      progress: () => (isFloorDue ? this.#running?.master.progress() : undefined),
    });
    if (change === undefined) return;
    if (change.action === "floor") this.#nextFloorMs = nowMs + POLL_INTERVAL_MS.floor;
    const body = encodeChange(change);
    const wallMs = Math.floor(platform.clock.wallMs());
    driver.proposeBatch(clusterBatch("AGREEMENT", wallMs, (writer) => writer.raw(body)));
    this.#proposedIndex = driver.view.lastIndex;
  }

  /** Whether this node goes on with this agreement after a restart: its incarnation is on disk. */
  #isKept({ version }: Agreement): boolean {
    return this.#kept.version > 0 && this.#kept.version <= version;
  }

  /** Writes the newest agreement, and goes by it once it is on disk. */
  async #keep(): Promise<void> {
    const { machine, platform, config } = this.#parts;
    this.#isWriting = true;
    try {
      while (!this.#isStopped && machine.masters.agreement.version > this.#kept.version) {
        const { agreement } = machine.masters;
        const kept = { origin: this.#origin, agreement };
        await writeAgreementFile(platform.files, config.dataDirectory, kept);
        if (this.#isStopped) return;
        this.#kept = agreement;
        this.#running?.master.setAgreement(agreement);
        this.#running?.driver.agreed();
        this.#tryBegin();
        this.#tellLinks();
      }
    } catch (cause) {
      this.#parts.failed(cause);
    } finally {
      this.#isWriting = false;
    }
  }

  #tryBegin(): void {
    const { config, log } = this.#parts;
    if (this.#running !== undefined || this.#isStopped) return;
    if (this.#kept.origins.get(config.id) !== this.#origin) return;
    const { operations } = log;
    // A damaged file was begun anew: the log may rest on an agreement that is still to come.
    for (const { version } of operations.operations()) if (version > this.#kept.version) return;
    const running = this.#begin();
    this.#running = running;
    this.#tellLinks();
    this.#logger.info("this node takes writes as {origin}", { origin: this.#origin });
  }

  /** Which of the members in the agreement, perhaps new ones, can be reached. */
  #tellLinks(): void {
    const { network } = this.#parts;
    for (const { node, isUp } of this.#running?.master.peers ?? []) {
      const isConnected = network?.isConnected(node) === true;
      if (isConnected !== isUp) this.#running?.driver.setPeer(node, isConnected);
    }
  }

  #begin(): Running {
    const { config, log, machine, network, platform } = this.#parts;
    const { operations } = log;
    const sums = new OperationChecksum();
    const store = new VersionTable(platform.random.below(2 ** 31));
    const master = new MultiMaster(
      {
        ...{ node: config.id, origin: this.#origin, driftMaxMs: DRIFT_MAX_MS },
        ...{ pullTicks: PULL_TICKS, waitTicks: WAIT_TICKS },
        ...{ messageBytes: MESSAGE_BYTES, windowBytes: WINDOW_BYTES },
        ...{ resolvers: new Map(), codec: VERSION_CODEC },
        checksum: (operation, previous) => sums.of(operation, previous),
      },
      this.#kept,
      { store, seed: EMPTY_SEED, operations: operations.operations(), log: operations },
    );
    const shown = new ShownDocuments({ machine, store, master });
    shown.check();
    const driver = new MultiMasterDriver({
      ...{ clock: platform.clock, master, operations },
      members: () => this.#parts.members().length,
      requestSync: () => log.requestSync(),
      send: (to, body) => network?.sendMaster(to, body),
      tell: (events) => this.#tell(events),
      show: (changes) => shown.show(changes),
    });
    return { master, driver, shown };
  }

  #tell(events: readonly MultiMasterEvent[]): void {
    for (const event of events) this.#logger.warn("{type}", { ...event });
  }
}

function logFailed(cause: unknown): CStoreError {
  return cause instanceof CStoreError ? cause : new StorageError("Cannot write the log", { cause });
}
