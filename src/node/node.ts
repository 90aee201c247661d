/**
 * Node: one running process of a cluster. Starts its parts in order, passes on what happens between
 * them, drains, and stops them in reverse.
 *
 * @module
 */

import { ClosedError, CStoreError } from "../base/errors.ts";
import { partLogger } from "../base/log.ts";
import { describeChange } from "../cluster/leader_watch.ts";
import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import type { Platform } from "../platform/platform.ts";
import type { Hello } from "../protocol/wire/handshake.ts";
import type { PromoteReply } from "../protocol/wire/reply.ts";
import type { NodeStatus } from "../protocol/wire/status.ts";
import type { RaftMessage } from "../raft/message.ts";
import type { RaftEvent } from "../raft/ready.ts";
import type { DriverHooks } from "../replication/raft/driver_parts.ts";
import { validateEntries } from "../replication/raft/entry_validation.ts";
import type { RaftDriver } from "../replication/raft/raft_driver.ts";
import type { SegmentLog } from "../storage/wal/segment_log.ts";
import type { NetworkHooks } from "../transport/network_hooks.ts";
import type { NetworkManager } from "../transport/network_manager.ts";
import type { ReservedPort } from "../transport/reserved_port.ts";
import { assemble, type NodeParts } from "./assemble.ts";
import type { NodeConfig } from "./config/node_config.ts";
import { checkListen, settleConfig } from "./config/resolve_config.ts";
import { checkCodec, checkLeases, checkRules, checkRuntime } from "./features.ts";
import type { MasterPart } from "./masters/master_part.ts";
import { readTail, saveDiscarded } from "./recovery/discarded_entries.ts";
import { checkBegun, type OpenedStorage } from "./recovery/open_storage.ts";
import { openOrRepair } from "./recovery/self_repair.ts";
import { reservePort } from "./reserve_port.ts";

/** News for the owner of a node. */
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
  readonly #parts: NodeParts;
  readonly #logger = partLogger("node");
  #isStopped = false;
  /** Entries that this node had answered early and had to give up (ASYNC), since it started. */
  lostEntries = 0;
  #boundCount = 0;
  #checkedBindings: ReadonlyMap<string, string> = new Map();

  private constructor(
    platform: Platform,
    config: NodeConfig,
    built: { opened: OpenedStorage; hooks: NodeHooks; reserved: ReservedPort | undefined },
  ) {
    this.config = config;
    this.#platform = platform;
    this.#hooks = built.hooks;
    this.#opened = built.opened;
    const failed = (cause: unknown): void => this.#fatal(cause);
    const { opened, reserved } = built;
    this.#parts = assemble({ platform, config, opened, reserved, failed });
  }

  /** Recovers the folder, joins the cluster, and returns a node that serves. */
  static async open(platform: Platform, config: NodeConfig, hooks: NodeHooks = {}): Promise<Node> {
    checkRuntime(config);
    const reserved = await reservePort(platform, config);
    try {
      const { config: settled, joined } = await settleConfig(platform, config, reserved?.endpoint);
      const opened = await openOrRepair(platform, settled, joined);
      try {
        checkBegun(opened);
        const node = new Node(platform, settled, { opened, hooks, reserved });
        await node.#start();
        return node;
      } catch (error) {
        await opened.log.close();
        opened.directory.release();
        throw error;
      }
    } catch (error) {
      await reserved?.close();
      throw error;
    }
  }

  get clusterId(): string {
    return this.#opened.directory.identity.clusterId;
  }

  get machine(): DocumentStateMachine {
    return this.#opened.machine;
  }

  get log(): SegmentLog {
    return this.#opened.log;
  }

  get driver(): RaftDriver {
    return this.#parts.driver;
  }

  get network(): NetworkManager | undefined {
    return this.#parts.network;
  }

  /** Its part in collections that every node writes. */
  get masters(): MasterPart {
    return this.#parts.masters;
  }

  get isLeader(): boolean {
    return this.#parts.driver.isLeader;
  }

  /** Opens a client's end inside this process: the same requests and replies, without a socket. */
  openLocal(onReplies: (body: Uint8Array) => void): { submit(body: Uint8Array): void } {
    return this.#parts.gateway.openLocal(onReplies);
  }

  /** Makes a node the leader; resolves when it has committed. Only on the leader. */
  promote(nodeId: string): Promise<PromoteReply> {
    return this.#parts.handover.promote(nodeId);
  }

  /** Raises the rules of the log to the newest. Only on the leader. Throws MembershipError. */
  async raiseRules(): Promise<void> {
    await this.#parts.rules.raise(this.#platform.clock.wallMs());
  }

  /** Writes a snapshot now. */
  takeSnapshot(): Promise<void> {
    return this.#parts.snapshotter.take();
  }

  status(): NodeStatus {
    return this.#parts.status.write();
  }

  /** Hands leadership over if this node leads, stops serving, closes everything. */
  async stop(): Promise<void> {
    if (this.#isStopped) return;
    await this.#parts.handover.leave();
    await this.#close(() => new ClosedError("Cannot answer: the node is stopping"));
  }

  async #start(): Promise<void> {
    const { network, driver, members, diskMonitor, peerWatch, housekeeping } = this.#parts;
    const known = this.#opened.configurations.at(-1)?.configuration.member(this.config.id);
    checkListen(this.config, known?.address ?? "");
    await this.#parts.masters.start();
    await network?.listen(this.#networkHooks());
    driver.start(this.#driverHooks());
    const { configuration } = driver.view;
    members.update(configuration);
    diskMonitor.membersChanged(configuration);
    peerWatch.begin();
    if (configuration.voters.length === 1) driver.campaign();
    housekeeping.start();
    diskMonitor.start();
  }

  async #close(makeError: () => CStoreError): Promise<void> {
    const { driver, transfer, verifier, gateway, diskMonitor, snapshotter, network } = this.#parts;
    this.#isStopped = true;
    this.#parts.housekeeping.stop();
    this.#parts.peerWatch.stop();
    driver.stop(makeError);
    const masters = this.#parts.masters.stop();
    transfer.stop();
    verifier.stop();
    gateway.sayGoodbye();
    await diskMonitor.stop();
    await snapshotter.stop();
    await masters;
    await network?.close();
    await this.#parts.rollbackGuard.stop();
    try {
      await this.#opened.log.close();
    } finally {
      this.#opened.directory.release();
    }
  }

  #driverHooks(): DriverHooks {
    const { driver, bindings, members, diskMonitor, gateway, transfer } = this.#parts;
    return {
      event: (event) => this.#onEvent(event),
      applied: (index) => this.#onApplied(index),
      beforeTruncate: (from) => this.#beforeTruncate(from),
      logging: (entries) => bindings.logged(entries),
      diskStalled: (isStalled) => diskMonitor.diskStalled(isStalled),
      membersChanged: (configuration) => {
        members.update(configuration);
        diskMonitor.membersChanged(configuration);
        gateway.tellLeader();
      },
      snapshotNeeded: (peer) => transfer.sender.start(peer, driver.view.term),
      restored: () => transfer.restore(),
      failed: (cause) => this.#fatal(cause),
    };
  }

  #networkHooks(): NetworkHooks {
    const { bindings, gateway, transfer, peerWatch, rules, rollbackGuard, masters } = this.#parts;
    return {
      identity: () => peerWatch.hello(),
      admit: (hello) => {
        bindings.admit(hello);
        rollbackGuard.admit(hello);
        checkCodec(this.config, hello);
        checkLeases(this.config, hello);
        checkRules(this.machine.rules, this.config, hello);
      },
      onClient: (connection) => gateway.serve(connection),
      onRaftMessage: (message, from) => this.#onRaftMessage(message, from),
      onSnapshotMessage: (message) => {
        if (message.isMasters === true) masters.onSnapshotMessage(message);
        else transfer.onMessage(message);
      },
      onNodeMessage: (message) => {
        rollbackGuard.onMessage(message);
        masters.onNodeMessage(message);
      },
      onMasterMessage: (body, route) => masters.receive(body, route),
      onPeerSeen: (hello, isWelcome) => {
        rules.seen(hello);
        peerWatch.seen(hello, isWelcome);
      },
      onPeerSpeaks: (nodeId) => this.#parts.driver.peerSpeaks(nodeId),
      onPeerTakes: (nodeId) => this.#parts.driver.peerTakes(nodeId),
      onPeerFailed: (nodeId, error) => peerWatch.failed(nodeId, error),
    };
  }

  /** Throws ProtocolError for a batch that does not unpack: once committed it is too late. */
  #onRaftMessage(message: RaftMessage, from: Hello): void {
    const { bindings, driver, peerWatch, rollbackGuard } = this.#parts;
    // A question counts as an answer, too: see read_index.ts.
    const isAnswer = message.type.endsWith("_RESPONSE") || message.type === "READ_INDEX";
    if (isAnswer && !bindings.counts(from)) return;
    if (message.type === "APPEND_ENTRIES_RESPONSE") rollbackGuard.acknowledged(from);
    if (message.type === "VOTE_REQUEST" && !peerWatch.mayVote) return;
    if (message.type === "APPEND_ENTRIES") validateEntries(message.entries);
    driver.step(message);
  }

  #onEvent(event: RaftEvent): void {
    const { handover, transfer, changes, gateway, rules, leaderWatch } = this.#parts;
    this.#hooks.onEvent?.(event);
    handover.event(event);
    const change = leaderWatch.event(event, this.#platform.clock.nowMs());
    if (change !== undefined) this.#logger.warn(describeChange(change), { ...change });
    if (event.type === "QUORUM_LOST") {
      this.#logger.error("no quorum answers: this node leads no more in term {term}", { ...event });
    }
    if (event.type === "MESSAGE_REFUSED") {
      this.#logger.error("a message from {from} was refused: {reason}", { ...event });
    } else {
      this.#logger.info("{type}", { ...event });
    }
    if (event.type !== "ROLE_CHANGED") return;
    if (event.role !== "leader") {
      transfer.sender.stop();
      changes.stop();
      rules.stop();
    }
    gateway.tellLeader();
  }

  #onApplied(index: number): void {
    const { handover, changes, snapshotter, peerWatch, network, rules, masters } = this.#parts;
    handover.applied();
    changes.applied(index);
    rules.applied();
    masters.applied();
    snapshotter.applied(this.#opened.log.writtenBytes);
    peerWatch.applied();
    const { bindings } = this.#opened.machine.memberTable;
    if (bindings === this.#checkedBindings && bindings.size === this.#boundCount) return;
    this.#checkedBindings = bindings;
    this.#boundCount = bindings.size;
    network?.recheckPeers((hello) => peerWatch.isStillAdmitted(hello));
  }

  /** In ASYNC mode entries were answered before they were committed: keep what must be given up. */
  #beforeTruncate(fromIndex: number): void {
    if (this.config.syncMode !== "ASYNC") return;
    const entries = readTail(this.#opened.log, fromIndex);
    this.lostEntries += entries.length;
    saveDiscarded(this.#platform.files, this.config.dataDirectory, entries);
    this.#logger.error("{count} entries from {fromIndex} on are lost; they are kept in lost/", {
      count: entries.length,
      fromIndex,
    });
  }

  #fatal(cause: unknown): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    const error = cause instanceof CStoreError ? cause : new ClosedError("Cannot go on", { cause });
    this.#logger.fatal("the node stops: {reason}", { reason: error.message });
    const { driver, masters, transfer, housekeeping, peerWatch, network } = this.#parts;
    driver.stop(() => new ClosedError("Cannot answer: the node has failed"));
    const isIdle = masters.stop();
    transfer.stop();
    housekeeping.stop();
    peerWatch.stop();
    const finish = (): void => {
      this.#opened.directory.release();
      this.#hooks.onFatal?.(error);
    };
    Promise.allSettled([network?.close(), isIdle, this.#opened.log.close()]).then(finish, finish);
  }
}
