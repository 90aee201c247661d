/**
 * A node's part in the collections that every node writes. It begins when the agreement, which goes
 * through the log of consensus, names the incarnation that this node writes under; until there is
 * such a collection, nothing happens.
 *
 * @module
 */

import {
  CorruptionError,
  CStoreError,
  OverloadedError,
  StorageError,
  UnknownOutcomeError,
} from "../../base/errors.ts";
import { partLogger } from "../../base/log.ts";
import type { RateLimit } from "../../base/rate_limit.ts";
import { POLL_INTERVAL_MS, RETRY_AFTER_MS } from "../../base/timing.ts";
import { isFields } from "../../base/value.ts";
import { VersionTable } from "../../database/collection/version_table.ts";
import type { DocumentStateMachine } from "../../database/document_state_machine.ts";
import type { Seed } from "../../multi_master/config.ts";
import type { MultiMaster } from "../../multi_master/multi_master.ts";
import type { Agreement } from "../../multi_master/operation/agreement.ts";
import { dueChange } from "../../multi_master/operation/agreement_change.ts";
import type { Origin } from "../../multi_master/operation/dot.ts";
import type { MultiMasterEvent } from "../../multi_master/ready.ts";
import type { Platform } from "../../platform/platform.ts";
import { clusterBatch } from "../../protocol/encoding/cluster_command.ts";
import { encodeChange, encodeMode } from "../../protocol/operations/agreement_codec.ts";
import { decodeMultiMasterMessage } from "../../protocol/wire/multi_master_message.ts";
import type { MessageRoute, ReplicationMessage } from "../../protocol/wire/replication_message.ts";
import type { SnapshotMessage } from "../../protocol/wire/snapshot_message.ts";
import type { MastersStatus } from "../../protocol/wire/status.ts";
import { MultiMasterDriver } from "../../replication/multi_master/multi_master_driver.ts";
import type { RaftDriver } from "../../replication/raft/raft_driver.ts";
import type { SegmentLog } from "../../storage/wal/segment_log.ts";
import type { NetworkManager } from "../../transport/network_manager.ts";
import type { NodeConfig } from "../config/node_config.ts";
import { type AlarmBoard, MastersAlarms } from "./masters_alarms.ts";
import { newCore } from "./masters_core.ts";
import { MastersDisk } from "./masters_disk.ts";
import { MastersTransfer } from "./masters_transfer.ts";
import { ShownDocuments } from "./shown_documents.ts";

/** A node tells the leader the incarnation that it wants to write under. */
const ORIGIN = "MASTER_ORIGIN";
/** A node asks another one for its state. */
const SEED = "MASTER_SEED";
const NAME_LENGTH_MAX = 200;

/** Parts that it works with. */
export interface MasterPartParts {
  readonly platform: Platform;
  readonly config: NodeConfig;
  readonly clusterId: string;
  readonly log: SegmentLog;
  readonly machine: DocumentStateMachine;
  readonly network: NetworkManager | undefined;
  readonly driver: RaftDriver;
  /** Rate of everything that is sent to nodes which are behind. */
  readonly rate: RateLimit;
  readonly alarms: AlarmBoard;
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
  readonly #disk: MastersDisk;
  readonly #transfer: MastersTransfer;
  readonly #alarms: MastersAlarms;
  /** When each peer last had all operations, on the monotonic clock. */
  readonly #wholeMs = new Map<string, number>();
  #isStopped = false;
  /** Work on the disk, one at a time, and how much of it is left. */
  #working: Promise<void> = Promise.resolve();
  #works = 0;
  #isKeeping = false;
  #running: Running | undefined;
  /** The incarnations that members asked for; on the leader. */
  readonly #wanted = new Map<string, Origin>();
  /** The entry of the last change that this node proposed. */
  #proposedIndex = 0;
  #proposedTerm = 0;
  #nextFloorMs = 0;
  #nextAskMs = 0;
  #nextExpiryMs = 0;
  /** Counts requests for a state: each goes to another member. */
  #asked = 0;
  #unlisten: (() => void)[] = [];
  /** How often this node had to begin again with another one's state since it started. */
  startedOver = 0;
  /** For this one the documents that are shown were looked at. */
  #checked: Agreement | undefined;

  constructor(parts: MasterPartParts) {
    this.#parts = parts;
    this.#alarms = new MastersAlarms(parts.alarms);
    const { platform, config, log, clusterId, network, rate } = parts;
    this.#disk = new MastersDisk({
      ...{ platform, clusterId, log, directory: config.dataDirectory, nodeId: config.id },
      logBytes: config.snapshotLogBytes,
    });
    this.#transfer = new MastersTransfer({
      ...{ id: config.id, platform, clusterId, rate, store: this.#disk.store },
      isSeeding: () => this.#disk.isSeeding,
      send: (message) => network?.sendSnapshot(message),
      arrived: () =>
        this.#work(async () => {
          await this.#takeState();
          await this.#tryBegin();
        }),
      failed: (cause) => this.#logger.error("a state could not be taken in: {cause}", { cause }),
    });
  }

  /** Decides and carries out; undefined while this node does not take part. */
  get running(): Running | undefined {
    return this.#running;
  }

  /** For the node's status; undefined where there are no such collections. */
  status(): MastersStatus | undefined {
    const { machine, platform } = this.#parts;
    if (machine.masters.agreement.version === 0) return undefined;
    const { isSeeding, origin } = this.#disk;
    const master = this.#running?.master;
    const nowMs = platform.clock.nowMs();
    const begun = master?.isReady === true ? "ready" : "behind";
    return {
      state: isSeeding ? "seeding" : master === undefined ? "joining" : begun,
      origin,
      streams: (master?.peers ?? []).map(({ node: to, isUp, lag: operations }) => {
        const sinceMs = this.#wholeMs.get(to) ?? nowMs;
        return { to, isUp, operations, lagMs: operations === 0 ? 0 : Math.round(nowMs - sinceMs) };
      }),
    };
  }

  /** Goes on with what is on the disk. Rejects with StorageError. */
  async start(): Promise<void> {
    const { network, log } = this.#parts;
    await this.#disk.start();
    log.listen({
      synced: (through) => this.#running?.driver.synced(through),
      failed: (cause) => this.#running?.driver.failed(logFailed(cause)),
    });
    if (network !== undefined) {
      const up = (nodeId: string): void => this.#running?.driver.setPeer(nodeId, true);
      const down = (nodeId: string): void => {
        this.#running?.driver.setPeer(nodeId, false);
        this.#transfer.lost(nodeId);
      };
      this.#unlisten = [
        network.on("nodeConnected", ({ nodeId }) => up(nodeId)),
        network.on("nodeDisconnected", ({ nodeId }) => down(nodeId)),
      ];
    }
    await this.#tryBegin();
    this.applied();
  }

  /** Resolves when nothing of it is under way on the disk any more. */
  stop(): Promise<void> {
    this.#isStopped = true;
    for (const unlisten of this.#unlisten) unlisten();
    this.#transfer.stop();
    this.#running?.driver.failed(new StorageError("Cannot go on: the node stops"));
    return this.#working;
  }

  /** Why this node takes no writes of such collections now; undefined if it does. */
  refusal(): CStoreError | undefined {
    if (this.#running?.master.isReady === true) return undefined;
    const why = this.#disk.isSeeding
      ? "it waits for another node's state"
      : this.#running === undefined
        ? "its incarnation is not agreed upon yet, which takes a majority of the nodes"
        : "it does not have yet what the other nodes have forgotten removals by";
    return new OverloadedError(`Cannot write on this node: ${why}`, RETRY_AFTER_MS.masters, {
      remedy: "Wait, or write on another node",
    });
  }

  /** More entries were applied: perhaps the agreement has changed, or the state was replaced. */
  applied(): void {
    const { agreement } = this.#parts.machine.masters;
    if (agreement.version === 0 && this.#disk.agreement.version === 0) return;
    if (agreement !== this.#checked) this.#running?.shown.check();
    this.#checked = agreement;
    if (agreement.version > this.#disk.agreement.version && !this.#isKeeping) this.#keep();
  }

  /** A state that is damaged costs the attempt only. */
  async #takeState(): Promise<void> {
    try {
      await this.#disk.seeded();
    } catch (cause) {
      if (!(cause instanceof CorruptionError)) throw cause;
      this.#logger.error("a state could not be taken in: {cause}", { cause });
    }
  }

  /** Called often. */
  tick(): void {
    const { machine, driver, platform } = this.#parts;
    const { agreement } = machine.masters;
    if (this.#running !== undefined) this.#upkeep(this.#running);
    if (agreement.version === 0) return;
    const nowMs = platform.clock.nowMs();
    if (this.#disk.isSeeding && nowMs >= this.#nextAskMs) {
      this.#nextAskMs = nowMs + POLL_INTERVAL_MS.seed;
      this.#askForState();
    }
    if (driver.isLeader) return this.#lead();
    // Who leads next is asked anew.
    this.#wanted.clear();
    if (this.#mayOpen(agreement) && driver.view.leader !== undefined) {
      this.#tell(driver.view.leader, ORIGIN, { origin: this.#disk.origin });
    }
  }

  /** A message of another node that is not of consensus. */
  onNodeMessage({ type, sourceNodeId, data }: ReplicationMessage): void {
    if (type === SEED) return this.#sendState(sourceNodeId);
    if (type !== ORIGIN || !isFields(data) || !this.#parts.driver.isLeader) return;
    const { origin } = data;
    if (typeof origin !== "string" || origin.length > NAME_LENGTH_MAX) return;
    // The name of its writer stands in it: see `nodeOf`.
    if (origin.startsWith(`${sourceNodeId}/`)) this.#wanted.set(sourceNodeId, origin);
  }

  /** A piece of a state, or what belongs to it. */
  onSnapshotMessage(message: SnapshotMessage): void {
    this.#transfer.onMessage(message);
  }

  /** A message about operations. Throws ProtocolError for bytes that are none. */
  receive(body: Uint8Array, route: MessageRoute): void {
    // Bytes that are none end the connection, whether or not this node takes part yet.
    if (this.#running === undefined) decodeMultiMasterMessage(body, route);
    else this.#running.driver.receive(body, route);
  }

  /** To be proposed when a cluster begins, before there is a collection. */
  beginning(timeMs: number): ReturnType<typeof clusterBatch> | undefined {
    const { mode, conflict } = this.#parts.config;
    if (mode !== "MULTI_MASTER") return undefined;
    const body = encodeMode({ mode, conflict });
    return clusterBatch("AGREEMENT", Math.floor(timeMs), (writer) => writer.raw(body));
  }

  #upkeep({ master, driver, shown }: Running): void {
    if (driver.failure !== undefined) return this.#parts.failed(driver.failure);
    driver.tick();
    const { clock } = this.#parts.platform;
    const nowMs = clock.nowMs();
    if (nowMs >= this.#nextExpiryMs) {
      this.#nextExpiryMs = nowMs + POLL_INTERVAL_MS.documentExpiry;
      shown.dropExpired(Math.floor(clock.wallMs()));
    }
    for (const { node, lag } of master.peers) {
      if (lag === 0 || !this.#wholeMs.has(node)) this.#wholeMs.set(node, nowMs);
    }
    if (master.isStopped) this.#startOver();
    else if (this.#works === 0) void this.#work(() => this.#disk.writeIfDue(master, driver));
  }

  /** Whether this node wants to write under an incarnation that is not agreed yet. */
  #mayOpen(agreement: Agreement): boolean {
    const { origin, isSeeding, agreement: kept } = this.#disk;
    const isOpen = agreement.origins.get(this.#parts.config.id) === origin;
    // Its name is on the disk with the first agreement that is.
    return !isOpen && !isSeeding && kept.version > 0;
  }

  #askForState(): void {
    const { network, config } = this.#parts;
    const others = this.#parts.members().filter((id) => {
      return id !== config.id && network?.isConnected(id) === true;
    });
    const peer = others[this.#asked % others.length];
    this.#asked += 1;
    if (peer !== undefined) this.#tell(peer, SEED, {});
  }

  /** Sends the newest state, which the log goes on behind; a new one is written if it must be. */
  #sendState(peer: string): void {
    const running = this.#running;
    if (running === undefined || running.master.isStopped) return;
    const { master, driver } = running;
    const { agreement } = this.#parts.machine.masters;
    if (this.#disk.hasStateFor(agreement)) this.#transfer.start(peer);
    else if (this.#works === 0) void this.#work(() => this.#disk.writeForOthers(master, driver));
  }

  #tell(to: string, type: string, data: object): void {
    const { network, config, platform } = this.#parts;
    const timestamp = platform.clock.wallMs();
    const message = { type, sourceNodeId: config.id, timestamp, checksum: "", data };
    void network?.sendMessage(to, message);
  }

  #lead(): void {
    const { machine, driver, config, platform } = this.#parts;
    const { hasCommittedOwnTerm, term } = driver.view;
    const isUnderway = term === this.#proposedTerm && driver.appliedIndex < this.#proposedIndex;
    if (!hasCommittedOwnTerm || isUnderway) return;
    const { agreement } = machine.masters;
    if (this.#mayOpen(agreement)) this.#wanted.set(config.id, this.#disk.origin);
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
    this.#proposedTerm = term;
  }

  /** Writes the newest agreement, and goes by it once it is on disk. */
  #keep(): void {
    const { machine } = this.#parts;
    this.#isKeeping = true;
    void this.#work(async () => {
      this.#isKeeping = false;
      const { agreement } = machine.masters;
      if (agreement.version <= this.#disk.agreement.version) return;
      await this.#disk.keep(agreement);
      if (this.#isStopped) return;
      const running = this.#running;
      if (running?.master.isStopped === false) running.master.setAgreement(agreement);
      running?.driver.agreed();
      await this.#tryBegin();
      this.#tellLinks();
    });
  }

  /** This node's operations do not count any more, or it lacks what nobody keeps. */
  #startOver(): void {
    const running = this.#running;
    this.#running = undefined;
    this.startedOver += 1;
    this.#logger.error("this node begins again with another one's state", {});
    running?.driver.failed(
      new UnknownOutcomeError("Cannot tell what became of the write: its node begins again"),
    );
    void this.#work(() => this.#disk.startOver());
  }

  /** Does something on the disk once what was begun before is done. */
  #work(run: () => Promise<void>): Promise<void> {
    this.#works += 1;
    this.#working = this.#working.then(async () => {
      try {
        if (!this.#isStopped) await run();
      } catch (cause) {
        if (!this.#isStopped) this.#parts.failed(cause);
      } finally {
        this.#works -= 1;
      }
    });
    return this.#working;
  }

  async #tryBegin(): Promise<void> {
    const { config, log, platform } = this.#parts;
    const { agreement, origin, isSeeding } = this.#disk;
    if (this.#running !== undefined || this.#isStopped || isSeeding) return;
    if (agreement.origins.get(config.id) !== origin) return;
    // A damaged file was begun anew: the log may rest on an agreement that is still to come.
    for (const { version } of log.operations.operations()) if (version > agreement.version) return;
    const store = new VersionTable(platform.random.below(2 ** 31));
    const seed = await this.#disk.load(store);
    if (seed.version > agreement.version || this.#isStopped) return;
    this.#running = this.#begin(store, seed);
    this.#tellLinks();
    this.#logger.info("this node takes writes as {origin}", { origin });
  }

  /** Which of the members in the agreement, perhaps new ones, can be reached. */
  #tellLinks(): void {
    const { network } = this.#parts;
    for (const { node, isUp } of this.#running?.master.peers ?? []) {
      const isConnected = network?.isConnected(node) === true;
      if (isConnected !== isUp) this.#running?.driver.setPeer(node, isConnected);
    }
  }

  #begin(store: VersionTable, seed: Seed): Running {
    const { config, log, machine, network, platform } = this.#parts;
    const { operations } = log;
    const { origin, agreement } = this.#disk;
    let shown: ShownDocuments | undefined;
    const master = newCore({
      ...{ nodeId: config.id, origin, agreement, store, seed, log, resolvers: config.resolvers },
      expiryOf: (collection, document) => shown?.expiryOf(collection, document),
    });
    const documents = new ShownDocuments({ machine, store, master });
    shown = documents;
    documents.check();
    const driver = new MultiMasterDriver({
      ...{ clock: platform.clock, master, operations },
      members: () => this.#parts.members().length,
      requestSync: () => log.requestSync(),
      send: (to, body) => network?.sendMaster(to, body),
      tell: (events) => this.#note(events),
      show: (changes) => documents.show(changes),
    });
    return { master, driver, shown: documents };
  }

  #note(events: readonly MultiMasterEvent[]): void {
    for (const event of events) {
      this.#logger.warn("{type}", { ...event });
      this.#alarms.event(event);
    }
  }
}

function logFailed(cause: unknown): CStoreError {
  return cause instanceof CStoreError ? cause : new StorageError("Cannot write the log", { cause });
}
