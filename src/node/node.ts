/**
 * Node: builds everything in plain code, top to bottom; starts in order, drains, stops in reverse.
 *
 * @module
 */

import type { Endpoint } from "../base/address.ts";
import { parseEndpoint, writeEndpoint } from "../base/address.ts";
import { ClosedError, CStoreError } from "../base/errors.ts";
import { partLogger } from "../base/log.ts";
import { RateLimit } from "../base/rate_limit.ts";
import { VERSION } from "../base/version.ts";
import { Bindings } from "../cluster/bindings.ts";
import { Handover, type HandoverResult } from "../cluster/handover.ts";
import { Members } from "../cluster/members.ts";
import { MembershipChanges } from "../cluster/membership_changes.ts";
import { PeerWatch } from "../cluster/peer_watch.ts";
import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import { zlibCompressor } from "../platform/compression.ts";
import type { Platform } from "../platform/platform.ts";
import { cpuMs, processId, residentBytes, runtimeName } from "../platform/process.ts";
import type { Hello } from "../protocol/wire/handshake.ts";
import type { NodeStatus } from "../protocol/wire/status.ts";
import type { Configuration } from "../raft/configuration.ts";
import type { RaftMessage } from "../raft/message.ts";
import type { RaftEvent } from "../raft/ready.ts";
import { checkEntries } from "../replication/raft/entry_validation.ts";
import { RaftDriver } from "../replication/raft/raft_driver.ts";
import { ClientServer } from "../server/gateway/native_gateway.ts";
import { ReplyCollector } from "../server/gateway/reply_collector.ts";
import { RequestGate } from "../server/request_gate.ts";
import { StateVerifier } from "../server/state_verifier.ts";
import type { FileWALManager } from "../storage/wal/file_wal_manager.ts";
import { NetworkManager } from "../transport/network_manager.ts";
import { Backend } from "./backend.ts";
import type { NodeConfig } from "./config/node_config.ts";
import { settleConfig } from "./config/resolve_config.ts";
import { checkCodec, checkLeases, codecOf } from "./features.ts";
import { Housekeeping } from "./housekeeping.ts";
import { readTail, saveLostTail } from "./recovery/discarded_entries.ts";
import { SelfCare } from "./recovery/disk_monitor.ts";
import type { OpenedStorage } from "./recovery/open_storage.ts";
import { openOrRepair } from "./recovery/self_repair.ts";
import { SnapshotExchange } from "./snapshots/snapshot_transfer.ts";
import { Snapshotter } from "./snapshots/snapshotter.ts";

/** What the owner of a node hears. */
export interface NodeHooks {
  /** The node cannot go on: its disk failed, or it does not belong to the cluster. */
  readonly onFatal?: (error: CStoreError) => void;
  readonly onEvent?: (event: RaftEvent) => void;
}

/** One running node. */
export class Node {
  readonly config: NodeConfig;
  readonly #platform: Platform;
  readonly #hooks: NodeHooks;
  readonly #opened: OpenedStorage;
  readonly #driver: RaftDriver;
  readonly #network: NetworkManager | undefined;
  readonly #bindings: Bindings;
  readonly #peerWatch: PeerWatch;
  readonly #members: Members;
  readonly #changes: MembershipChanges;
  readonly #exchange: SnapshotExchange;
  readonly #housekeeping: Housekeeping;
  readonly #verifier: StateVerifier;
  readonly #care: SelfCare;
  readonly #gate: RequestGate;
  readonly #handover: Handover;
  readonly #snapshotter: Snapshotter;
  readonly #logger = partLogger("node");
  readonly #clients: ClientServer;
  readonly #startMs: number;
  readonly #catchUpRate: RateLimit;
  #isStopped = false;
  /** Entries that this node had answered early and had to give up (ASYNC), since it started. */
  lostEntries = 0;
  #boundCount = 0;
  #checkedBindings: ReadonlyMap<string, string> = new Map();

  private constructor(
    platform: Platform,
    config: NodeConfig,
    built: { opened: OpenedStorage; hooks: NodeHooks },
  ) {
    this.config = config;
    this.#platform = platform;
    this.#hooks = built.hooks;
    this.#opened = built.opened;
    this.#startMs = platform.clock.nowMs();
    this.#catchUpRate = new RateLimit(config.snapshotBytesPerSecond);
    const { machine } = built.opened;
    const { clock, random } = platform;
    const { id } = config;
    this.#bindings = this.#buildBindings();
    this.#peerWatch = this.#buildPeerWatch();
    this.#network = this.#buildNetwork();
    this.#driver = this.#buildDriver();
    const driver = this.#driver;
    const network = this.#network;
    const failed = (cause: unknown): void => this.#fatal(cause);
    this.#members = new Members({
      id,
      clock,
      network,
      driver: () => driver,
      progressOf: (member) => this.#changes.progressOf(member),
    });
    this.#handover = new Handover(driver, clock, id);
    this.#exchange = new SnapshotExchange({
      config,
      platform,
      opened: built.opened,
      rate: this.#catchUpRate,
      driver,
      network,
      failed,
    });
    const bindings = this.#bindings;
    const members = this.#members;
    this.#changes = this.#buildChanges();
    const changes = this.#changes;
    this.#care = new SelfCare({
      platform,
      config,
      identity: this.#opened.directory.identity,
      machine,
      snapshotter: () => this.#snapshotter,
    });
    this.#verifier = new StateVerifier(clock, machine);
    const { sessionTimeoutMs } = config;
    const looked = { clock, random, driver, machine, bindings, members, changes };
    this.#housekeeping = new Housekeeping({
      ...looked,
      sessionTimeoutMs,
      cutLog: () => void this.#snapshotter.cutWhenFree().catch(failed),
    });
    const backend = new Backend({
      ...looked,
      config,
      network,
      handover: this.#handover,
      exchange: this.#exchange,
      verifier: this.#verifier,
      status: () => ({ ...this.status() }),
    });
    this.#gate = new RequestGate(backend);
    this.#clients = this.#buildClientServer();
    this.#snapshotter = this.#buildSnapshotter();
  }

  /** Recovers the folder, joins the cluster, and returns a node that serves. */
  static async open(platform: Platform, config: NodeConfig, hooks: NodeHooks = {}): Promise<Node> {
    const { config: settled, joined } = await settleConfig(platform, config);
    const opened = await openOrRepair(platform, settled, joined);
    try {
      const node = new Node(platform, settled, { opened, hooks });
      await node.#start();
      return node;
    } catch (error) {
      await opened.log.close();
      opened.directory.release();
      throw error;
    }
  }

  get clusterId(): string {
    return this.#opened.directory.identity.clusterId;
  }

  get machine(): DocumentStateMachine {
    return this.#opened.machine;
  }

  get log(): FileWALManager {
    return this.#opened.log;
  }

  get driver(): RaftDriver {
    return this.#driver;
  }

  get network(): NetworkManager | undefined {
    return this.#network;
  }

  get isLeader(): boolean {
    return this.#driver.isLeader;
  }

  /** Opens a client's end inside this process: the same requests and replies, without a socket. */
  openLocal(onReplies: (body: Uint8Array) => void): { submit(body: Uint8Array): void } {
    const replies = new ReplyCollector({
      headerSize: 0,
      deliver: (bytes) => onReplies(bytes),
      state: () => this.#replyState(),
    });
    return { submit: (body) => this.#gate.handle(body, replies) };
  }

  /** Makes a node the leader; resolves when it has committed. Only on the leader. */
  promote(nodeId: string): Promise<HandoverResult> {
    return this.#handover.promote(nodeId);
  }

  /** Writes a snapshot now. */
  takeSnapshot(): Promise<void> {
    return this.#snapshotter.take();
  }

  status(): NodeStatus {
    const { machine, log, directory } = this.#opened;
    const view = this.#driver.view;
    return {
      clusterId: directory.identity.clusterId,
      id: this.config.id,
      pid: processId(),
      version: VERSION,
      runtime: runtimeName(),
      role: view.role,
      term: view.term,
      leader: view.leader ?? "",
      syncMode: this.config.syncMode,
      commitIndex: view.commitIndex,
      appliedIndex: machine.appliedIndex,
      firstIndex: view.firstIndex,
      lastIndex: view.lastIndex,
      committedSequence: log.sequenceAfter(view.commitIndex) - 1,
      documents: machine.documentCount,
      documentBytes: machine.documentBytes,
      logBytes: log.sizeBytes,
      sessions: machine.sessions.size,
      rssBytes: residentBytes(),
      cpuMs: cpuMs(),
      uptimeMs: this.#platform.clock.nowMs() - this.#startMs,
      isRestoring: this.#exchange.isRestoring,
      alarms: this.#care.alarms.list(),
      members: this.#members.status(),
    };
  }

  /** Hands leadership over if this node leads, stops serving, closes everything. */
  async stop(): Promise<void> {
    if (this.#isStopped) return;
    await this.#handover.leave();
    await this.#close(() => new ClosedError("Cannot answer: the node is stopping"));
  }

  async #start(): Promise<void> {
    const network = this.#network;
    await network?.listen();
    this.#driver.start();
    const { configuration } = this.#driver.view;
    this.#members.update(configuration);
    this.#care.membersChanged(configuration);
    this.#peerWatch.begin();
    if (configuration.voters.length === 1) this.#driver.campaign();
    this.#housekeeping.start();
    this.#care.start();
  }

  async #close(makeError: () => CStoreError): Promise<void> {
    this.#isStopped = true;
    this.#housekeeping.stop();
    this.#peerWatch.stop();
    this.#driver.stop(makeError);
    this.#exchange.stop();
    this.#verifier.stop();
    this.#clients.sayGoodbye();
    await this.#care.stop();
    await this.#snapshotter.stop();
    await this.#network?.close();
    try {
      await this.#opened.log.close();
    } finally {
      this.#opened.directory.release();
    }
  }

  #buildBindings(): Bindings {
    const { directory, machine, clusterEntries } = this.#opened;
    const own = { id: this.config.id, incarnation: directory.identity.incarnation };
    const latest = (): Configuration => this.#driver.view.configuration;
    const bindings = new Bindings(own, latest, machine.memberTable);
    bindings.logged(clusterEntries);
    return bindings;
  }

  #buildPeerWatch(): PeerWatch {
    const { id, leaseReads: hasLeases } = this.config;
    return new PeerWatch({
      identity: this.#opened.directory.identity,
      clock: this.#platform.clock,
      hasLeases,
      bindings: this.#bindings,
      driver: () => this.#driver,
      ownAddress: () => this.#members.addressOf(id) || this.#listenAddress(),
      members: () => this.#members,
      lost: (peer) => this.#exchange.sender.lost(peer),
      fatal: (error) => this.#fatal(error),
    });
  }

  #buildChanges(): MembershipChanges {
    const { id, electionTimeoutMs, requestTimeoutMs } = this.config;
    return new MembershipChanges({
      id,
      clusterId: this.clusterId,
      clock: this.#platform.clock,
      electionTimeoutMs,
      requestTimeoutMs,
      driver: this.#driver,
      bindings: this.#bindings,
      members: this.#members,
      handover: this.#handover,
      transferTo: (peer) => this.#exchange.sender.view(peer),
      ownAddress: () => (this.config.isEmbedded ? "" : this.#listenAddress()),
    });
  }

  #buildSnapshotter(): Snapshotter {
    const { machine, log, snapshots } = this.#opened;
    return new Snapshotter(
      {
        machine,
        log,
        store: snapshots,
        durableIndex: () => this.#driver.view.durableIndex,
        neededIndex: () => this.#neededIndex(),
        isWhole: () => !this.#exchange.isRestoring,
        ...this.#care.snapshots(),
      },
      this.config.snapshotLogBytes,
    );
  }

  #buildClientServer(): ClientServer {
    return new ClientServer({
      clock: this.#platform.clock,
      gate: this.#gate,
      replyState: () => this.#replyState(),
      leader: () => {
        const { term, leader: nodeId = "" } = this.#driver.view;
        const { addresses: members } = this.#members;
        return { term, nodeId, address: this.#members.addressOf(nodeId), members };
      },
    });
  }

  #buildDriver(): RaftDriver {
    const { id, heartbeatMs, electionTimeoutMs, syncMode, diskStallMs } = this.config;
    const { leaseReads: hasLeases } = this.config;
    const { log, machine, configurations } = this.#opened;
    const { clock, random } = this.#platform;
    const times = { heartbeatMs, electionTimeoutMs };
    return new RaftDriver(
      {
        clock,
        random,
        log,
        machine,
        compressor: zlibCompressor,
        catchUpRate: this.#catchUpRate,
        send: (message) => this.#network?.sendRaft(message),
      },
      {
        id,
        configurations,
        ...times,
        syncMode,
        codec: codecOf(this.config),
        diskStallMs,
        hasLeases,
      },
      {
        event: (event) => this.#onEvent(event),
        applied: (index) => this.#onApplied(index),
        beforeTruncate: (from) => this.#beforeTruncate(from),
        logging: (entries) => this.#bindings.logged(entries),
        diskStalled: (isStalled) => this.#care.diskStalled(isStalled),
        membersChanged: (configuration) => {
          this.#members.update(configuration);
          this.#care.membersChanged(configuration);
          this.#clients.tellLeader();
        },
        snapshotNeeded: (peer) => this.#exchange.sender.start(peer, this.#driver.view.term),
        restored: () => this.#exchange.restore(),
        failed: (cause) => this.#fatal(cause),
      },
    );
  }

  #buildNetwork(): NetworkManager | undefined {
    if (this.config.isEmbedded) return undefined;
    const { host, port } = this.config.listen ?? this.#ownEndpoint();
    return new NetworkManager(this.config.id, port, {
      host,
      platform: this.#platform,
      hooks: {
        identity: () => this.#peerWatch.hello(),
        admit: (hello) => {
          this.#bindings.admit(hello);
          checkCodec(this.config, hello);
          checkLeases(this.config, hello);
        },
        onClient: (connection) => this.#clients.serve(connection),
        onRaftMessage: (message, from) => this.#onRaftMessage(message, from),
        onSnapshotMessage: (message) => this.#exchange.onMessage(message),
        onPeerSeen: (hello) => this.#peerWatch.seen(hello),
        onPeerFailed: (nodeId, error) => this.#peerWatch.failed(nodeId, error),
      },
    });
  }

  #listenAddress(): string {
    const { host = "127.0.0.1", port = 0 } = this.#network?.endpoint ?? {};
    return this.config.advertise ?? writeEndpoint({ host, port });
  }

  #ownEndpoint(): Endpoint {
    const { configurations } = this.#opened;
    const own = configurations.at(-1)?.configuration.member(this.config.id);
    if (own === undefined && this.config.fallback !== undefined) return this.config.fallback;
    return parseEndpoint(own?.address ?? "127.0.0.1:0");
  }

  /** Throws ProtocolError for a batch that does not unpack: once committed it is too late. */
  #onRaftMessage(message: RaftMessage, from: Hello): void {
    if (message.type.endsWith("_RESPONSE") && !this.#bindings.counts(from)) return;
    if (message.type === "APPEND_ENTRIES") checkEntries(message.entries);
    this.#driver.step(message);
  }

  #replyState(): { term: number; committedSequence: number } {
    const { term, commitIndex } = this.#driver.view;
    return { term, committedSequence: this.#opened.log.sequenceAfter(commitIndex) - 1 };
  }

  #onEvent(event: RaftEvent): void {
    this.#hooks.onEvent?.(event);
    this.#handover.event(event);
    if (event.type === "MESSAGE_REFUSED") {
      this.#logger.error("a message from {from} was refused: {reason}", { ...event });
    } else {
      this.#logger.info("{type}", { ...event });
    }
    if (event.type !== "ROLE_CHANGED") return;
    if (event.role !== "leader") {
      this.#exchange.sender.stop();
      this.#changes.stop();
    }
    this.#clients.tellLeader();
  }

  #onApplied(index: number): void {
    this.#handover.applied();
    this.#changes.applied(index);
    this.#snapshotter.applied(this.#opened.log.writtenBytes);
    this.#peerWatch.applied();
    const { bindings } = this.#opened.machine.memberTable;
    if (bindings === this.#checkedBindings && bindings.size === this.#boundCount) return;
    this.#checkedBindings = bindings;
    this.#boundCount = bindings.size;
    this.#network?.recheckPeers((hello) => this.#peerWatch.isStillAdmitted(hello));
  }

  /** In ASYNC mode entries were answered before they were committed: keep what must be given up. */
  #beforeTruncate(fromIndex: number): void {
    if (this.config.syncMode !== "ASYNC") return;
    const entries = readTail(this.#opened.log, fromIndex);
    this.lostEntries += entries.length;
    saveLostTail(this.#platform.files, this.config.dataDirectory, entries);
    this.#logger.error("{count} entries from {fromIndex} on are lost; they are kept in lost/", {
      count: entries.length,
      fromIndex,
    });
  }

  /** Lowest index that some voter may lack. A follower keeps it, too: it may lead next. */
  #neededIndex(): number {
    if (this.#members.configuration.members.length === 1) return Number.POSITIVE_INFINITY;
    return this.#driver.view.heldIndex + 1;
  }

  #fatal(cause: unknown): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    const error = cause instanceof CStoreError ? cause : new ClosedError("Cannot go on", { cause });
    this.#logger.fatal("the node stops: {reason}", { reason: error.message });
    this.#driver.stop(() => new ClosedError("Cannot answer: the node has failed"));
    this.#exchange.stop();
    this.#housekeeping.stop();
    this.#peerWatch.stop();
    const finish = (): void => {
      this.#opened.directory.release();
      this.#hooks.onFatal?.(error);
    };
    Promise.allSettled([this.#network?.close(), this.#opened.log.close()]).then(finish, finish);
  }
}
