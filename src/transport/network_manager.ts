/**
 * NetworkManager: the listener, the links to peers by node id, the handshake, and admission.
 *
 * @module
 */

import { type Endpoint, parseEndpoint } from "../base/address.ts";
import {
  ClosedError,
  ConfigError,
  type CStoreError,
  HandshakeError,
  OverloadedError,
  ProtocolError,
  UnreachableError,
} from "../base/errors.ts";
import { checkConfig } from "../base/known_options.ts";
import { CONNECTIONS_MAX } from "../base/limits.ts";
import { RETRY_AFTER_MS } from "../base/timing.ts";
import { PROTOCOL_VERSION, VERSION } from "../base/version.ts";
import { type Platform, systemPlatform } from "../platform/platform.ts";
import { randomId } from "../platform/random.ts";
import type { Listener, Socket } from "../platform/sockets.ts";
import { encodeFrame, type Frame } from "../protocol/wire/frame_header.ts";
import {
  checkSameCluster,
  decodeHello,
  encodeHello,
  type Hello,
} from "../protocol/wire/handshake.ts";
import { isMultiMasterMessage } from "../protocol/wire/multi_master_message.ts";
import {
  consensusIn,
  type MessageRoute,
  type ReplicationMessage,
  ReplicationProtocol,
} from "../protocol/wire/replication_message.ts";
import {
  decodeSnapshotMessage,
  encodeSnapshotMessage,
  isSnapshotMessage,
  type SnapshotMessage,
} from "../protocol/wire/snapshot_message.ts";
import type { RaftMessage } from "../raft/message.ts";
import type { INetworkManager, NetworkEvents, NetworkMetrics } from "./inetwork_manager.ts";
import { policyOf } from "./message_queue.ts";
import type { NetworkHooks } from "./network_hooks.ts";
import { NETWORK_OPTIONS, type NetworkManagerOptions } from "./network_options.ts";
import { type ConnectionHandlers, PeerConnection } from "./peer_connection.ts";
import { type LinkHealth, PeerLink, SIGN_NUMBER } from "./peer_link.ts";

const CONNECT_TIMEOUT_MS = 2000;
/** The kind of these messages in the queue to a peer. */
const MASTER_MESSAGE = "MULTI_MASTER";

function closed(): ClosedError {
  return new ClosedError("Cannot use the network: it is closed");
}

type Listeners = { [K in keyof NetworkEvents]: Set<(value: NetworkEvents[K]) => void> };

/** Frames between nodes over TCP. */
export class NetworkManager implements INetworkManager {
  readonly nodeId: string;
  readonly #platform: Platform;
  readonly #endpoint: Endpoint;
  readonly #connectTimeoutMs: number;
  #hooks: NetworkHooks = {};
  #opening: Promise<void> | undefined;
  readonly #bootId: string;
  readonly #links = new Map<string, PeerLink>();
  /** Open connections that others made; with the handshake once it is done. */
  readonly #incoming = new Map<PeerConnection, Hello | undefined>();
  readonly #listeners: Listeners = {
    nodeConnected: new Set(),
    nodeDisconnected: new Set(),
    nodeError: new Set(),
    error: new Set(),
    message: new Set(),
  };
  /** Calls of `connect` that wait. */
  readonly #connecting = new Map<(error: CStoreError | undefined) => void, string>();
  #listener: Listener | undefined;
  #isClosed = false;
  #messageNumber = 0;
  #sent = 0;
  #received = 0;
  #dropped = 0;
  #bytesReceived = 0;

  constructor(nodeId: string, port: number, options: NetworkManagerOptions = {}) {
    checkConfig("the network", options, NETWORK_OPTIONS);
    this.nodeId = nodeId;
    this.#platform = options.platform ?? systemPlatform();
    this.#endpoint = { host: options.host ?? "127.0.0.1", port };
    this.#bootId = randomId(this.#platform.random);
    this.#connectTimeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
    // What goes wrong shows in the first call, too.
    if (options.waitsForHooks === true) return;
    this.#open().catch((error: CStoreError) => this.#emit("error", { error }));
  }

  /** Random per process start. */
  get bootId(): string {
    return this.#bootId;
  }

  /** Where this node listens; the port is the real one after {@link listen}. */
  get endpoint(): Endpoint {
    return this.#listener?.endpoint ?? this.#endpoint;
  }

  /**
   * Opens the port. `hooks` are called from now on. Rejects with UnreachableError when the port is
   * in use.
   */
  async listen(hooks: NetworkHooks = {}): Promise<void> {
    this.#hooks = hooks;
    await this.#open();
  }

  #open(): Promise<void> {
    if (this.#isClosed) return Promise.reject(closed());
    this.#opening ??= this.#platform.network
      .listen(this.#endpoint, (socket) => this.#accept(socket))
      .then(async (listener) => {
        if (this.#isClosed) await listener.close();
        else this.#listener = listener;
      });
    return this.#opening;
  }

  /** Whether this is the whole of a program's network: no node's hooks decide beside it. */
  get #isPlain(): boolean {
    return this.#hooks.onRaftMessage === undefined;
  }

  /** Keeps a link to a peer from now on, without waiting for it. */
  addPeer(nodeId: string, endpoint: Endpoint): void {
    if (this.#links.has(nodeId) || nodeId === this.nodeId) return;
    const link = new PeerLink({ nodeId, endpoint }, this.#platform, {
      hello: () => this.#hello("peer", nodeId),
      message: (frame) => {
        if (!this.#isPlain) throw new ProtocolError("Cannot accept messages on an outgoing link");
        this.#onReplication(frame, { from: nodeId, to: this.nodeId }, undefined);
      },
      admit: (welcome) => this.#admit(welcome, nodeId),
      up: (welcome) => {
        this.#emit("nodeConnected", { nodeId });
        this.#hooks.onPeerSeen?.(welcome, true);
      },
      down: () => this.#emit("nodeDisconnected", { nodeId }),
      failed: (error) => {
        this.#emit("nodeError", { nodeId, error });
        this.#hooks.onPeerFailed?.(nodeId, error);
      },
    });
    this.#links.set(nodeId, link);
    link.dial();
  }

  async connect(nodeId: string, address: string, port?: number): Promise<void> {
    await this.#opening;
    const endpoint = parseEndpoint(address, port);
    if (this.#isClosed) throw closed();
    if (nodeId === this.nodeId) throw new ConfigError("Cannot connect a node to itself");
    this.addPeer(nodeId, endpoint);
    if (this.#links.get(nodeId)?.isUp === true) return;
    const error = await this.#untilUp(nodeId);
    if (error === undefined) return;
    await this.disconnect(nodeId);
    throw error;
  }

  /** Resolves when a link is up, or with the reason why it is not within the time for that. */
  #untilUp(nodeId: string): Promise<CStoreError | undefined> {
    let reason = "nobody answered";
    return new Promise((resolve) => {
      const end = (error: CStoreError | undefined): void => {
        for (const stop of stops) stop();
        this.#connecting.delete(end);
        resolve(error);
      };
      this.#connecting.set(end, nodeId);
      const late = (): void => {
        const waitedMs = this.#connectTimeoutMs;
        const message = `Cannot connect to "${nodeId}" within ${waitedMs} ms: ${reason}`;
        end(new UnreachableError(message, { remedy: "Check its address, and that it listens" }));
      };
      const stops = [
        this.#platform.clock.setTimer(this.#connectTimeoutMs, late),
        this.on("nodeConnected", (event) => {
          if (event.nodeId === nodeId) end(undefined);
        }),
        this.on("nodeError", (event) => {
          if (event.nodeId === nodeId) reason = event.error.message;
        }),
      ];
    });
  }

  async disconnect(nodeId: string): Promise<void> {
    this.#giveUp((one) => one === nodeId);
    this.#links.get(nodeId)?.close();
    this.#links.delete(nodeId);
  }

  #giveUp(isMeant: (nodeId: string) => boolean): void {
    for (const [end, nodeId] of [...this.#connecting]) if (isMeant(nodeId)) end(closed());
  }

  /** Closes every connection with a peer that fails `admit` now. */
  recheckPeers(isAdmitted: (hello: Hello) => boolean): void {
    for (const [connection, hello] of this.#incoming) {
      if (hello?.role === "peer" && !isAdmitted(hello)) connection.destroy();
    }
  }

  getConnectedNodes(): string[] {
    const linked = [...this.#links.values()].filter((link) => link.isUp).map((link) => link.nodeId);
    return [...new Set([...linked, ...this.#answerable().keys()])];
  }

  isConnected(nodeId: string): boolean {
    return this.#links.get(nodeId)?.isUp === true || this.#answerable().has(nodeId);
  }

  /** Connections that peers made and that may be answered on: a node answers on its own links. */
  #answerable(): Map<string, PeerConnection> {
    const found = new Map<string, PeerConnection>();
    if (!this.#isPlain) return found;
    for (const [connection, hello] of this.#incoming) {
      if (hello?.role === "peer") found.set(hello.nodeId, connection);
    }
    return found;
  }

  /** State of a link; undefined for unknown nodes. */
  linkHealth(nodeId: string): LinkHealth | undefined {
    return this.#links.get(nodeId);
  }

  /** Queues a message of consensus. Best effort. */
  sendRaft(message: RaftMessage): void {
    this.#send(message.to, message.type, () => ReplicationProtocol.encodeRaft(message));
  }

  /** Queues a message about a snapshot. Best effort. */
  sendSnapshot(message: SnapshotMessage): void {
    this.#send(message.to, message.type, () => encodeSnapshotMessage(message));
  }

  /** Queues a message about collections that every node writes. Best effort. */
  sendMaster(nodeId: string, body: Uint8Array): void {
    this.#send(nodeId, MASTER_MESSAGE, () => encodeFrame("REPLICATION", 0, body));
  }

  /** A message for a node that is not connected is dropped before it is encoded. */
  #send(nodeId: string, type: string, encode: () => Uint8Array): void {
    const link = this.#links.get(nodeId);
    if (link?.isUp === true) this.#count(link.send(type, policyOf(type), encode()));
    else this.#dropped += 1;
  }

  /** Rejects with ValidationError for a message that cannot be sent. */
  async sendMessage(nodeId: string, message: ReplicationMessage): Promise<void> {
    await this.#opening;
    const consensus = consensusIn(message);
    if (consensus !== undefined) {
      this.sendRaft({ ...consensus, from: this.nodeId, to: nodeId });
      return;
    }
    const messageId = message.messageId || this.#nextMessageId();
    const frame = ReplicationProtocol.encode({ ...message, messageId });
    const link = this.#links.get(nodeId);
    if (link?.isUp === true) {
      this.#count(link.send(message.type, "bulk", frame));
      return;
    }
    const connection = this.#answerable().get(nodeId);
    connection?.send(frame);
    this.#count(connection !== undefined);
  }

  async broadcastMessage(message: ReplicationMessage): Promise<void> {
    const known = new Set([...this.#links.keys(), ...this.#answerable().keys()]);
    for (const nodeId of known) await this.sendMessage(nodeId, message);
  }

  onMessage(listener: (message: ReplicationMessage) => void): () => void {
    return this.on("message", listener);
  }

  on<K extends keyof NetworkEvents>(
    event: K,
    listener: (value: NetworkEvents[K]) => void,
  ): () => void {
    this.#listeners[event].add(listener);
    return () => this.#listeners[event].delete(listener);
  }

  getMetrics(): NetworkMetrics {
    let bytesSent = 0;
    let rttCount = 0;
    let rttSum = 0;
    for (const link of this.#links.values()) {
      bytesSent += link.bytesSent;
      rttCount += link.rttTotal.count;
      rttSum += link.rttTotal.sumMs;
    }
    return {
      messagesSent: this.#sent,
      messagesReceived: this.#received,
      messagesDropped: this.#dropped,
      bytesSent,
      bytesReceived: this.#bytesReceived,
      averageLatency: rttCount === 0 ? 0 : rttSum / rttCount,
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#giveUp(() => true);
    for (const link of this.#links.values()) link.close();
    for (const connection of this.#incoming.keys()) connection.end();
    // A port that is being opened is closed there; one that could not be opened was reported.
    await this.#opening?.catch(() => undefined);
    await this.#listener?.close();
  }

  #emit<K extends keyof NetworkEvents>(event: K, value: NetworkEvents[K]): void {
    for (const listener of this.#listeners[event]) listener(value);
  }

  #count(isTaken: boolean): void {
    if (isTaken) this.#sent += 1;
    else this.#dropped += 1;
  }

  #nextMessageId(): string {
    this.#messageNumber += 1;
    return `${this.nodeId}-${this.#bootId}-${this.#messageNumber}`;
  }

  #hello(role: Hello["role"], expects: string): Hello {
    return {
      clusterId: "",
      nodeId: this.nodeId,
      address: "",
      incarnation: "",
      term: 0,
      isLeader: false,
      features: [],
      ...this.#hooks.identity?.(),
      role,
      expects,
      bootId: this.#bootId,
      version: `${VERSION}/${PROTOCOL_VERSION}`,
    };
  }

  #admit(other: Hello, expected: string): void {
    const own = this.#hello("peer", expected);
    checkSameCluster(own, other);
    if (expected !== "" && other.nodeId !== expected) {
      throw new HandshakeError(
        `Cannot connect "${own.nodeId}" and "${expected}": node "${other.nodeId}" answers at its address`,
      );
    }
    if (other.role === "peer" && other.nodeId === own.nodeId) {
      throw new HandshakeError(`Cannot connect: both nodes are called "${own.nodeId}"`);
    }
    this.#hooks.admit?.(other);
  }

  #accept(socket: Socket): void {
    const connection = new PeerConnection(socket, this.#platform.clock);
    this.#incoming.set(connection, undefined);
    connection.start({
      frame: (frame) => this.#onFirstFrame(connection, frame),
      drained: () => undefined,
      closed: (cause) => this.#onIncomingClosed(connection, cause),
    });
    if (this.#isClosed) connection.destroy();
    else if (this.#incoming.size > CONNECTIONS_MAX) {
      connection.fail(
        new OverloadedError(
          `Cannot accept more than ${CONNECTIONS_MAX} connections`,
          RETRY_AFTER_MS.connections,
        ),
      );
    }
  }

  #onIncomingClosed(connection: PeerConnection, cause: CStoreError | undefined): void {
    this.#bytesReceived += connection.bytesIn;
    this.#incoming.delete(connection);
    if (cause !== undefined) this.#emit("error", { error: cause });
  }

  #onFirstFrame(connection: PeerConnection, frame: Frame): void {
    if (frame.kind !== "HELLO")
      throw new ProtocolError("Cannot accept anything before a HELLO frame");
    const hello = decodeHello(frame.body);
    if (hello.expects !== "" && hello.expects !== this.nodeId) {
      throw new HandshakeError(
        `Cannot connect to "${hello.expects}": node "${this.nodeId}" answers at this address`,
      );
    }
    this.#admit(hello, "");
    const handlers =
      hello.role === "client"
        ? this.#clientHandlers(connection)
        : this.#peerHandlers(connection, hello);
    connection.handshakeDone();
    connection.send(encodeFrame("WELCOME", 0, encodeHello(this.#hello("peer", hello.nodeId))));
    connection.handOver(handlers);
    if (hello.role === "peer") this.#hooks.onPeerSeen?.(hello, false);
  }

  #clientHandlers(connection: PeerConnection): ConnectionHandlers {
    const handlers = this.#hooks.onClient?.(connection);
    if (handlers === undefined) throw new HandshakeError("Cannot serve clients on this port");
    return {
      frame: (frame) => {
        if (frame.kind === "PING")
          connection.send(encodeFrame("PONG", frame.requestId, frame.body.slice()));
        else handlers.frame(frame);
      },
      drained: () => handlers.drained(),
      closed: (cause) => {
        this.#onIncomingClosed(connection, cause);
        handlers.closed(cause);
      },
    };
  }

  #peerHandlers(connection: PeerConnection, hello: Hello): ConnectionHandlers {
    this.#incoming.set(connection, hello);
    const route = { from: hello.nodeId, to: this.nodeId };
    return {
      frame: (frame) => {
        if (frame.kind === "REPLICATION") return this.#onReplication(frame, route, hello);
        if (frame.kind !== "PING") {
          throw new ProtocolError(`Cannot accept a ${frame.kind} frame from a node`);
        }
        if (frame.requestId === SIGN_NUMBER) this.#onSign(hello.nodeId);
        connection.send(encodeFrame("PONG", frame.requestId, frame.body.slice()));
      },
      began: () => this.#onBytes(hello.nodeId),
      drained: () => undefined,
      closed: (cause) => this.#onIncomingClosed(connection, cause),
    };
  }

  /** A message of that peer has begun: a sign of its life, and this node gives one back. */
  #onBytes(nodeId: string): void {
    this.#hooks.onPeerSpeaks?.(nodeId);
    this.#links.get(nodeId)?.answer();
  }

  #onSign(nodeId: string): void {
    if (this.#links.get(nodeId)?.heard() === true) this.#hooks.onPeerTakes?.(nodeId);
  }

  #onReplication(frame: Frame, route: MessageRoute, hello: Hello | undefined): void {
    this.#received += 1;
    if (isMultiMasterMessage(frame.body)) {
      this.#hooks.onMasterMessage?.(frame.body, route);
      return;
    }
    if (isSnapshotMessage(frame.body)) {
      this.#hooks.onSnapshotMessage?.(decodeSnapshotMessage(frame.body, route));
      return;
    }
    const { onRaftMessage, onNodeMessage } = this.#hooks;
    const isRaft = ReplicationProtocol.isRaft(frame.body);
    if (isRaft && hello !== undefined) {
      onRaftMessage?.(ReplicationProtocol.decodeRaft(frame.body, route), hello);
    }
    const isNews = this.#listeners.message.size > 0 || (!isRaft && onNodeMessage !== undefined);
    if (!isNews) return;
    const checksum = ReplicationProtocol.checksum(frame.body);
    const timestamp = this.#platform.clock.wallMs();
    const receipt = { timestamp, messageId: this.#nextMessageId(), checksum };
    const message = ReplicationProtocol.decode(frame.body, route, receipt);
    if (!isRaft) onNodeMessage?.(message);
    this.#emit("message", message);
  }
}
