/**
 * The client's way to one node: requests out, replies in. Over TCP, or straight to a node in the
 * same process.
 *
 * @module
 */

import type { Endpoint } from "../../base/address.ts";
import { ByteWriter, EMPTY_BYTES } from "../../base/bytes.ts";
import {
  type CStoreError,
  HandshakeError,
  ProtocolError,
  UnreachableError,
} from "../../base/errors.ts";
import { CLIENT_DIAL_MS, CLIENT_END_MS } from "../../base/timing.ts";
import { PROTOCOL_VERSION, VERSION } from "../../base/version.ts";
import type { CancelTimer } from "../../platform/clock.ts";
import type { Platform } from "../../platform/platform.ts";
import {
  encodeFrame,
  FRAME_HEADER_SIZE,
  type Frame,
  sealFrame,
} from "../../protocol/wire/frame_header.ts";
import {
  decodeConnectionError,
  decodeHello,
  encodeHello,
  type Hello,
} from "../../protocol/wire/handshake.ts";
import { decodeLeaderNews, type LeaderNews } from "../../protocol/wire/leader_message.ts";
import { PeerConnection } from "../../transport/peer_connection.ts";

const CONNECT_TIMEOUT_MS = 1000;
/** A connection that lasted so long was a good one. */
const STEADY_MS = 1000;
const BODY_GOAL = 1024 * 1024;
const FRAME_SIZE_MIN = 512;

/** Receives a channel's events. */
export interface ChannelHandlers {
  up(): void;
  down(): void;
  /** The node named the leader and the members. */
  leader(news: LeaderNews): void;
  /** Body of a REPLIES frame, valid during the call. */
  replies(body: Uint8Array): void;
  failed(error: CStoreError): void;
  /** The cluster that the client talks to; empty until a node named it. */
  cluster(): string;
  /** A node belongs to that cluster. */
  joined(clusterId: string): void;
}

/** A frame in the making; its bytes stay readable after it was sent. */
export interface OutgoingFrame {
  readonly writer: ByteWriter;
}

/** Collects the frames of a turn, and delivers them at the turn's end. */
class OutgoingFrames {
  readonly #headerSize: number;
  readonly #deliver: (bytes: Uint8Array) => void;
  #frame: OutgoingFrame | undefined;
  #lastSize = FRAME_SIZE_MIN;

  constructor(headerSize: number, deliver: (bytes: Uint8Array) => void) {
    this.#headerSize = headerSize;
    this.#deliver = deliver;
  }

  open(): OutgoingFrame {
    const open = this.#frame;
    if (open !== undefined && open.writer.size <= BODY_GOAL) return open;
    if (open !== undefined) this.flush();
    const writer = new ByteWriter(this.#lastSize);
    writer.reserve(this.#headerSize);
    const frame = { writer };
    this.#frame = frame;
    queueMicrotask(() => {
      if (this.#frame === frame) this.flush();
    });
    return frame;
  }

  flush(): void {
    const writer = this.#frame?.writer;
    this.#frame = undefined;
    if (writer === undefined) return;
    this.#lastSize = Math.max(FRAME_SIZE_MIN, Math.min(BODY_GOAL, Math.ceil(writer.size * 1.25)));
    this.#deliver(writer.written());
  }
}

/** A way to a node. */
export interface NodeChannel {
  readonly address: string;
  /** Empty until the node has said its name. */
  readonly nodeId: string;
  readonly isUp: boolean;
  /** Queues one whole request; the requests of a turn leave together. */
  send(request: Uint8Array): void;
  /** The frame that leaves at the end of this turn, to write whole requests into. */
  frame(): OutgoingFrame;
  /** Dials now instead of waiting for the next attempt. */
  wake(): void;
  close(): void;
}

/** A channel over TCP, kept up until it is closed. */
export class TcpChannel implements NodeChannel {
  readonly address: string;
  readonly #endpoint: Endpoint;
  readonly #platform: Platform;
  readonly #handlers: ChannelHandlers;
  #nodeId = "";
  #connection: PeerConnection | undefined;
  #isUp = false;
  #isDialing = false;
  #isClosed = false;
  /** Dials since the node last answered, or was connected for a while. */
  #attempt = 0;
  #upSinceMs = 0;
  #cancelRetry: CancelTimer | undefined;
  readonly #frames = new OutgoingFrames(FRAME_HEADER_SIZE, (bytes) => this.#deliver(bytes));
  #pings = new Map<number, () => void>();
  #pingNumber = 0;

  constructor(
    node: { readonly address: string; readonly endpoint: Endpoint },
    platform: Platform,
    handlers: ChannelHandlers,
  ) {
    this.address = node.address;
    this.#endpoint = node.endpoint;
    this.#platform = platform;
    this.#handlers = handlers;
    this.#dial();
  }

  get nodeId(): string {
    return this.#nodeId;
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  send(request: Uint8Array): void {
    this.frame().writer.raw(request);
  }

  frame(): OutgoingFrame {
    return this.#frames.open();
  }

  /** Resolves when the node answered a PING frame. */
  ping(): Promise<void> {
    const connection = this.#connection;
    if (connection === undefined || !this.#isUp) {
      return Promise.reject(new UnreachableError(`Cannot ping ${this.address}: not connected`));
    }
    this.#pingNumber = (this.#pingNumber + 1) >>> 0;
    const number = this.#pingNumber;
    connection.send(encodeFrame("PING", number, EMPTY_BYTES));
    return new Promise((resolve) => this.#pings.set(number, resolve));
  }

  wake(): void {
    if (this.#cancelRetry === undefined) return;
    this.#cancelRetry();
    this.#cancelRetry = undefined;
    this.#dial();
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelRetry?.();
    this.#frames.flush();
    // A node that stands still must not hold the program that is done with it.
    if (this.#isUp) this.#connection?.end(CLIENT_END_MS);
    else this.#connection?.destroy();
  }

  #deliver(frame: Uint8Array): void {
    if (!this.#isUp) return;
    sealFrame(frame, "REQUESTS", 0);
    this.#connection?.sendNow([frame]);
  }

  #dial(): void {
    if (this.#isClosed || this.#isDialing || this.#connection !== undefined) return;
    this.#isDialing = true;
    this.#platform.network.connect(this.#endpoint, CONNECT_TIMEOUT_MS).then(
      (socket) => {
        this.#isDialing = false;
        if (this.#isClosed) socket.destroy();
        else this.#shakeHands(new PeerConnection(socket, this.#platform.clock));
      },
      (error: unknown) => {
        this.#isDialing = false;
        if (!(error instanceof UnreachableError)) throw error;
        this.#handlers.failed(error);
        this.#retry();
      },
    );
  }

  #retry(): void {
    if (this.#isClosed) return;
    const delayMs = CLIENT_DIAL_MS[Math.min(this.#attempt, CLIENT_DIAL_MS.length - 1)] ?? 400;
    this.#attempt += 1;
    this.#cancelRetry = this.#platform.clock.setTimer(delayMs, () => {
      this.#cancelRetry = undefined;
      this.#dial();
    });
  }

  #shakeHands(connection: PeerConnection): void {
    this.#connection = connection;
    connection.start({
      frame: (frame) => this.#onFrame(connection, frame),
      drained: () => undefined,
      closed: () => this.#onClosed(),
    });
    connection.send(encodeFrame("HELLO", 0, encodeHello(clientHello(this.#handlers.cluster()))));
  }

  #onFrame(connection: PeerConnection, frame: Frame): void {
    switch (frame.kind) {
      case "REPLIES":
        this.#attempt = 0;
        this.#handlers.replies(frame.body);
        return;
      case "WELCOME":
        this.#onWelcome(connection, decodeHello(frame.body));
        return;
      case "LEADER":
        this.#handlers.leader(decodeLeaderNews(frame.body));
        return;
      case "PONG":
        this.#pings.get(frame.requestId)?.();
        this.#pings.delete(frame.requestId);
        return;
      case "ERROR":
        this.#handlers.failed(decodeConnectionError(frame.body));
        connection.destroy();
        return;
      case "GOODBYE":
        connection.destroy();
        return;
      default:
        throw new ProtocolError(`Cannot accept a ${frame.kind} frame from a node`);
    }
  }

  #onWelcome(connection: PeerConnection, welcome: Hello): void {
    const cluster = this.#handlers.cluster();
    if (cluster !== "" && welcome.clusterId !== cluster) {
      const found = `it belongs to cluster ${welcome.clusterId}, not ${cluster}`;
      this.#handlers.failed(
        new HandshakeError(`Cannot connect to ${this.address}: ${found}`, {
          remedy: "Name nodes of one cluster only",
        }),
      );
      connection.destroy();
      return;
    }
    this.#handlers.joined(welcome.clusterId);
    connection.handshakeDone();
    this.#nodeId = welcome.nodeId;
    this.#isUp = true;
    this.#upSinceMs = this.#platform.clock.nowMs();
    this.#handlers.up();
  }

  #onClosed(): void {
    const wasUp = this.#isUp;
    const upMs = this.#platform.clock.nowMs() - this.#upSinceMs;
    // One that hangs up again and again is not dialled without a pause.
    if (wasUp && upMs > STEADY_MS) this.#attempt = 0;
    this.#isUp = false;
    this.#connection = undefined;
    this.#pings.clear();
    if (wasUp) this.#handlers.down();
    if (wasUp && this.#attempt === 0) {
      this.#attempt = 1;
      this.#dial();
    } else {
      this.#retry();
    }
  }
}

function clientHello(clusterId: string): Hello {
  return {
    role: "client",
    address: "",
    clusterId,
    nodeId: "",
    expects: "",
    incarnation: "",
    bootId: "",
    term: 0,
    isLeader: false,
    version: `${VERSION}/${PROTOCOL_VERSION}`,
    features: [],
  };
}

/** The node's end of a channel inside the process. */
export interface LocalEnd {
  submit(body: Uint8Array): void;
}

/** A channel to a node in this process. */
export class LocalChannel implements NodeChannel {
  readonly address = "local";
  readonly nodeId: string;
  readonly isUp = true;
  readonly #frames: OutgoingFrames;

  constructor(nodeId: string, end: LocalEnd) {
    this.nodeId = nodeId;
    this.#frames = new OutgoingFrames(0, (body) => end.submit(body));
  }

  send(request: Uint8Array): void {
    this.frame().writer.raw(request);
  }

  frame(): OutgoingFrame {
    return this.#frames.open();
  }

  wake(): void {}

  close(): void {}
}
