/**
 * Node: builds everything in plain code, top to bottom; starts in order, drains, stops in reverse.
 *
 * @module
 */

import {
  ClosedError,
  CStoreError,
  HandshakeError,
  NoQuorumError,
  UnreachableError,
} from "../base/errors.ts";
import { SESSIONS_MAX } from "../base/limits.ts";
import { partLogger } from "../base/log.ts";
import { VERSION } from "../base/version.ts";
import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import type { CancelTimer } from "../platform/clock.ts";
import { hasCodec, zlibCompressor } from "../platform/compression.ts";
import type { Platform } from "../platform/platform.ts";
import { cpuMs, processId, residentBytes, runtimeName } from "../platform/process.ts";
import type { Endpoint } from "../platform/sockets.ts";
import { batchCommands, decodeBatchHeader } from "../protocol/batch_codec.ts";
import {
  clusterBatch,
  FIRST_PLACE,
  type Member,
  writeSessionIds,
} from "../protocol/cluster_command.ts";
import type { Hello } from "../protocol/handshake.ts";
import type { RaftMessage } from "../raft/message.ts";
import { majority } from "../raft/quorum.ts";
import type { RaftEvent } from "../raft/ready.ts";
import type { ProposedRequest } from "../replication/open_batch.ts";
import { RaftDriver } from "../replication/raft_driver.ts";
import type { FileWALManager } from "../storage/file_wal_manager.ts";
import { NetworkManager, parseEndpoint } from "../transport/network_manager.ts";
import { Bindings, FEATURE_EMPTY_LOG } from "./bindings.ts";
import { ReplyCollector } from "./client_channel.ts";
import { ClientServer } from "./client_server.ts";
import { checkCodec, codecOf, type NodeConfig } from "./config.ts";
import { Handover, type HandoverResult } from "./handover.ts";
import { saveLostTail } from "./lost_tail.ts";
import { type OpenedStorage, openStorage, uncommittedEntries } from "./open_storage.ts";
import { RequestHandler } from "./request_handler.ts";
import { Snapshotter } from "./snapshotter.ts";
import { healthOf, type MemberStatus, type NodeStatus } from "./status.ts";

const HOUSEKEEPING_MS = 100;
const SESSION_SWEEP_MS = 5000;

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
  readonly #handler: RequestHandler;
  readonly #handover: Handover;
  readonly #snapshotter: Snapshotter;
  readonly #logger = partLogger("node");
  readonly #clients: ClientServer;
  readonly #bootIds = new Map<string, string>();
  /** When each peer last had everything, on the monotonic clock. */
  readonly #caughtUpMs = new Map<string, number>();
  readonly #startMs: number;
  #cancelHousekeeping: CancelTimer | undefined;
  #nextSessionSweepMs = 0;
  #isStopped = false;
  /** Entries that this node had answered early and had to give up (ASYNC), since it started. */
  lostEntries = 0;
  #boundCount = 0;

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
    const { directory, log, machine, snapshots } = built.opened;
    const { clock, random } = platform;
    const voters = config.members.map((member) => member.id);
    const own = { id: config.id, incarnation: directory.identity.incarnation };
    this.#bindings = new Bindings(own, voters, () => machine.bindings);
    this.#bindings.logged(uncommittedEntries(log, machine));
    this.#network = config.listen === undefined ? undefined : this.#buildNetwork(config.listen);
    const { heartbeatMs, electionTimeoutMs, syncMode } = config;
    this.#driver = new RaftDriver(
      {
        clock,
        random,
        log,
        machine,
        compressor: zlibCompressor,
        send: (message) => this.#network?.sendRaft(message),
      },
      { id: config.id, voters, heartbeatMs, electionTimeoutMs, syncMode, codec: codecOf(config) },
      {
        event: (event) => this.#onEvent(event),
        applied: () => this.#onApplied(),
        beforeTruncate: (from) => this.#beforeTruncate(from),
        logging: (entries) => this.#bindings.logged(entries),
        failed: (cause) => this.#fatal(cause),
      },
    );
    this.#handover = new Handover(this.#driver, clock, config);
    this.#handler = new RequestHandler({
      clock,
      machine,
      syncMode,
      requestTimeoutMs: config.requestTimeoutMs,
      propose: (request) => this.#propose(request),
      readBarrier: (run) => this.#driver.readBarrier({ run }),
      refuseLeaderRead: () => {
        const mayRead = this.#driver.isLeader && this.#driver.hasFreshQuorum();
        return mayRead ? undefined : this.#notLeader();
      },
      status: () => ({ ...this.status() }),
      promote: (nodeId) => this.#handover.promote(nodeId),
    });
    this.#clients = this.#buildClientServer();
    this.#snapshotter = new Snapshotter(
      {
        machine,
        log,
        store: snapshots,
        durableIndex: () => this.#driver.view.durableIndex,
        neededIndex: () => this.#neededIndex(),
        failed: (cause) =>
          this.#logger.error("a snapshot could not be written: {reason}", {
            reason: cause instanceof Error ? cause.message : String(cause),
          }),
      },
      config.snapshotLogBytes,
    );
  }

  /** Recovers the folder, joins the cluster, and returns a node that serves. */
  static async open(platform: Platform, config: NodeConfig, hooks: NodeHooks = {}): Promise<Node> {
    const opened = await openStorage(platform, config);
    try {
      const node = new Node(platform, config, { opened, hooks });
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
    return { submit: (body) => this.#handler.handle(body, replies) };
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
      members: this.config.members.map((member) => this.#memberStatus(member)),
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
    for (const member of this.config.members) {
      if (member.id !== this.config.id) network?.addPeer(member.id, parseEndpoint(member.address));
    }
    if (this.config.members.length === 1) this.#driver.campaign();
    this.#housekeeping();
  }

  async #close(makeError: () => CStoreError): Promise<void> {
    this.#isStopped = true;
    this.#cancelHousekeeping?.();
    this.#driver.stop(makeError);
    this.#clients.sayGoodbye();
    await this.#snapshotter.stop();
    await this.#network?.close();
    try {
      await this.#opened.log.close();
    } finally {
      this.#opened.directory.release();
    }
  }

  #buildClientServer(): ClientServer {
    return new ClientServer({
      clock: this.#platform.clock,
      handler: this.#handler,
      replyState: () => this.#replyState(),
      leader: () => {
        const { term, leader: nodeId = "" } = this.#driver.view;
        return { term, nodeId, address: this.#addressOf(nodeId) };
      },
    });
  }

  #buildNetwork(listen: Endpoint): NetworkManager {
    const { host, port } = listen;
    return new NetworkManager(this.config.id, port, {
      host,
      platform: this.#platform,
      hooks: {
        identity: () => this.#identity(),
        admit: (hello) => {
          this.#bindings.admit(hello);
          checkCodec(this.config, hello);
        },
        onClient: (connection) => this.#clients.serve(connection),
        onRaftMessage: (message) => this.#onRaftMessage(message),
        onPeerSeen: (hello) => this.#onPeerSeen(hello),
        onPeerFailed: (nodeId, error) => this.#onPeerFailed(nodeId, error),
      },
    });
  }

  /** Throws ProtocolError for a batch that does not unpack: once committed it is too late. */
  #onRaftMessage(message: RaftMessage): void {
    if (message.type === "APPEND_ENTRIES") {
      for (const { bytes } of message.entries) {
        const header = decodeBatchHeader(bytes);
        if (header.codec !== "none") batchCommands(bytes, header, zlibCompressor);
      }
    }
    this.#driver.step(message);
  }

  #identity(): Partial<Hello> {
    const { identity } = this.#opened.directory;
    const { term, role, lastIndex } = this.#driver.view;
    const codecs = hasCodec("zstd") ? ["zstd", "deflate-raw"] : ["deflate-raw"];
    return {
      clusterId: identity.clusterId,
      incarnation: identity.incarnation,
      term,
      isLeader: role === "leader",
      features: lastIndex <= FIRST_PLACE.index ? [...codecs, FEATURE_EMPTY_LOG] : codecs,
    };
  }

  #onPeerSeen(hello: Hello): void {
    this.#bindings.seen(hello);
    const known = this.#bootIds.get(hello.nodeId);
    this.#bootIds.set(hello.nodeId, hello.bootId);
    const isRestarted = known !== undefined && known !== hello.bootId;
    const hasStepped =
      known !== undefined && !hello.isLeader && hello.term === this.#driver.view.term;
    if (isRestarted || hasStepped) this.#driver.peerGone(hello.nodeId);
  }

  #onPeerFailed(nodeId: string, error: CStoreError): void {
    this.#driver.peerUnreachable(nodeId);
    if (error instanceof UnreachableError && error.isRefused) this.#driver.peerGone(nodeId);
    if (!(error instanceof HandshakeError)) return;
    this.#logger.warn("node {nodeId} refuses this one: {reason}", {
      nodeId,
      reason: error.message,
    });
    const isAboutFolder = error.message.includes(this.#opened.directory.identity.incarnation);
    if (isAboutFolder && !this.#bindings.isOwnBound) this.#fatal(error);
  }

  #replyState(): { term: number; committedSequence: number } {
    const { term, commitIndex } = this.#driver.view;
    return { term, committedSequence: this.#opened.log.sequenceAfter(commitIndex) - 1 };
  }

  #propose(request: ProposedRequest): CStoreError | undefined {
    if (!this.#driver.isLeader) return this.#notLeader();
    if (!this.#bindings.isSettled) {
      return new NoQuorumError(
        "Cannot serve yet: the nodes of the cluster are not bound to their folders",
      );
    }
    return this.#driver.propose(request);
  }

  #notLeader(): CStoreError {
    const error = this.#driver.notLeader();
    const { members } = this.config;
    if (error.leaderId === "") {
      const up = 1 + (this.#network?.getConnectedNodes().length ?? 0);
      const needed = majority(members.length);
      if (up < needed) {
        return new NoQuorumError(
          `Cannot serve: ${up} of ${members.length} voters are reachable, ${needed} are needed`,
        );
      }
    }
    return this.#driver.notLeader(this.#addressOf(error.leaderId));
  }

  #addressOf(nodeId: string): string {
    return this.config.members.find((member) => member.id === nodeId)?.address ?? "";
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
    this.#clients.tellLeader();
  }

  #onApplied(): void {
    this.#handover.applied();
    this.#snapshotter.applied(this.#opened.log.writtenBytes);
    const { size } = this.#opened.machine.bindings;
    if (size === this.#boundCount) return;
    this.#boundCount = size;
    this.#network?.recheckPeers((hello) => this.#isStillAdmitted(hello));
  }

  #isStillAdmitted(hello: Hello): boolean {
    try {
      this.#bindings.admit(hello);
      return true;
    } catch (error) {
      if (error instanceof HandshakeError) return false;
      throw error;
    }
  }

  /** In ASYNC mode entries were answered before they were committed: keep what must be given up. */
  #beforeTruncate(fromIndex: number): void {
    if (this.config.syncMode !== "ASYNC") return;
    const entries = this.#driver.tail(fromIndex);
    this.lostEntries += entries.length;
    saveLostTail(this.#platform.files, this.config.dataDirectory, entries);
    this.#logger.error("{count} entries from {fromIndex} on are lost; they are kept in lost/", {
      count: entries.length,
      fromIndex,
    });
  }

  /** Lowest index that some voter may lack. A follower keeps it, too: it may lead next. */
  #neededIndex(): number {
    if (this.config.members.length === 1) return Number.POSITIVE_INFINITY;
    return this.#driver.view.heldIndex + 1;
  }

  #housekeeping(): void {
    this.#cancelHousekeeping = this.#platform.clock.setTimer(HOUSEKEEPING_MS, () =>
      this.#housekeeping(),
    );
    if (!this.#driver.isLeader) return;
    const nowMs = this.#platform.clock.nowMs();
    const { term, commitIndex, hasCommittedOwnTerm } = this.#driver.view;
    for (const peer of this.#driver.peers()) {
      if (peer.match >= commitIndex) this.#caughtUpMs.set(peer.id, nowMs);
    }
    if (!hasCommittedOwnTerm) return;
    const wallMs = this.#platform.clock.wallMs();
    const binding = this.#bindings.next(term, wallMs);
    if (binding !== undefined) this.#driver.proposeBatch(binding);
    if (nowMs >= this.#nextSessionSweepMs) this.#expireSessions(nowMs, wallMs);
  }

  #expireSessions(nowMs: number, wallMs: number): void {
    this.#nextSessionSweepMs = nowMs + SESSION_SWEEP_MS;
    const { machine } = this.#opened;
    const beforeMs = Math.max(0, Math.floor(wallMs) - this.config.sessionTimeoutMs);
    const expired = machine.sessions.expired(beforeMs, SESSIONS_MAX).slice(0, 1000);
    if (expired.length === 0) return;
    const batch = clusterBatch("EXPIRE_SESSIONS", Math.floor(wallMs), (writer) =>
      writeSessionIds(writer, expired),
    );
    this.#driver.proposeBatch(batch);
  }

  #memberStatus(member: Member): MemberStatus {
    const { leader, role, lastIndex } = this.#driver.view;
    const isSelf = member.id === this.config.id;
    const link = isSelf
      ? { isUp: true, rttMs: 0, silenceMs: 0 }
      : this.#network?.linkHealth(member.id);
    const peer = this.#driver.peers().find(({ id }) => id === member.id);
    const isBehind = peer !== undefined && peer.match < lastIndex;
    const sinceMs = this.#caughtUpMs.get(member.id) ?? this.#startMs;
    return {
      id: member.id,
      address: member.address,
      role:
        leader === member.id
          ? "leader"
          : role === "leader" || leader !== undefined
            ? "follower"
            : "unknown",
      state: link === undefined ? "down" : healthOf(link),
      matchIndex: peer?.match ?? null,
      lagBatches: peer === undefined ? null : lastIndex - peer.match,
      lagMs: peer === undefined ? null : isBehind ? this.#platform.clock.nowMs() - sinceMs : 0,
      rttMs: link === undefined || !link.isUp ? null : link.rttMs,
    };
  }

  #fatal(cause: unknown): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    const error = cause instanceof CStoreError ? cause : new ClosedError("Cannot go on", { cause });
    this.#logger.fatal("the node stops: {reason}", { reason: error.message });
    this.#driver.stop(() => new ClosedError("Cannot answer: the node has failed"));
    this.#cancelHousekeeping?.();
    const finish = (): void => {
      this.#opened.directory.release();
      this.#hooks.onFatal?.(error);
    };
    Promise.allSettled([this.#network?.close(), this.#opened.log.close()]).then(finish, finish);
  }
}
