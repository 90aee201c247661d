/**
 * The outgoing link to one peer: dial, handshake, send, and dial again with backoff and jitter.
 * Each node sends on the link it dialled and receives on those dialled by others, so two nodes need
 * not agree on which of them connects.
 *
 * @module
 */

import type { Endpoint } from "../base/address.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import {
  type CStoreError,
  HandshakeError,
  ProtocolError,
  UnreachableError,
} from "../base/errors.ts";
import { BACKOFF_MS } from "../base/timing.ts";
import type { CancelTimer } from "../platform/clock.ts";
import type { Platform } from "../platform/platform.ts";
import { encodeFrame, type Frame } from "../protocol/wire/frame_header.ts";
import {
  decodeConnectionError,
  decodeHello,
  encodeHello,
  type Hello,
} from "../protocol/wire/handshake.ts";
import { MessageQueue, type QueuePolicy } from "./message_queue.ts";
import { PeerConnection } from "./peer_connection.ts";

const CONNECT_TIMEOUT_MS = 1000;
/** Below the half second of silence after which a node's health is in doubt. */
const PING_INTERVAL_MS = 250;
/** Without any answer for so long the connection is taken for dead and dialled again. */
const SILENCE_MAX_MS = 2000;
/** Between two signs of life to a peer whose message has begun and is not whole. */
const SIGN_INTERVAL_MS = 40;
const RTTS_KEPT = 4;
/** Number of the PING that says: bytes of your message come in. Its PONG tells no round trip. */
export const SIGN_NUMBER = 0;
/** Bytes handed to the socket at most, so that urgent frames wait behind little. */
const SOCKET_BYTES_GOAL = 1024 * 1024;

/** Receives a link's events. */
export interface LinkHandlers {
  up(welcome: Hello): void;
  down(): void;
  /** A dial failed. `isRefused`: no process listens there, or this node is refused. */
  failed(error: CStoreError): void;
  /** Own side of the handshake, made anew for each dial. */
  hello(): Hello;
  /** The peer answers on this connection. Throws ProtocolError where it may not. */
  message(frame: Frame): void;
  /** Checks the answer. Throws HandshakeError. */
  admit(welcome: Hello): void;
}

/** What is known of a link. */
export type LinkHealth = Pick<PeerLink, "isUp" | "rttMs" | "leastRttMs" | "silenceMs">;

/** A link that is kept up until it is closed. */
export class PeerLink {
  readonly nodeId: string;
  readonly endpoint: Endpoint;
  readonly queue = new MessageQueue();
  readonly #platform: Platform;
  readonly #handlers: LinkHandlers;
  #connection: PeerConnection | undefined;
  #isUp = false;
  #isClosed = false;
  #backoffMs = 0;
  #cancelRetry: CancelTimer | undefined;
  #cancelPing: CancelTimer | undefined;
  #isFlushQueued = false;
  #pingNumber = 0;
  /** The PING whose answer is waited for, and when it was sent. */
  #timed: { readonly number: number; readonly sentMs: number } | undefined;
  #lastHeardMs = 0;
  #rttMs = 0;
  #lastRttsMs: readonly number[] = [];
  #rttCount = 0;
  #rttSum = 0;
  #bytesBefore = 0;
  #pingDueMs = 0;
  #signedMs = 0;
  #helloMs = 0;

  constructor(
    peer: { readonly nodeId: string; readonly endpoint: Endpoint },
    platform: Platform,
    handlers: LinkHandlers,
  ) {
    this.nodeId = peer.nodeId;
    this.endpoint = peer.endpoint;
    this.#platform = platform;
    this.#handlers = handlers;
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  /** Smoothed round trip of a ping, in milliseconds; 0 before the first. */
  get rttMs(): number {
    return this.#rttMs;
  }

  /**
   * Least of the last few round trips, in milliseconds; 0 before the first. A peer that stood still
   * is no long line.
   */
  get leastRttMs(): number {
    return this.#lastRttsMs.length === 0 ? 0 : Math.min(...this.#lastRttsMs);
  }

  get rttTotal(): { readonly count: number; readonly sumMs: number } {
    return { count: this.#rttCount, sumMs: this.#rttSum };
  }

  /** Time since the peer last answered, in milliseconds. */
  get silenceMs(): number {
    return this.#platform.clock.nowMs() - this.#lastHeardMs;
  }

  get bytesSent(): number {
    return this.#bytesBefore + (this.#connection?.bytesOut ?? 0);
  }

  /**
   * The peer gave a sign of life elsewhere: its answer here stands behind what it is sent. False
   * when the link is down.
   */
  heard(): boolean {
    if (this.#isUp) this.#lastHeardMs = this.#platform.clock.nowMs();
    return this.#isUp;
  }

  /** Tells the peer that this node lives: its message has begun, and the answer must wait. */
  answer(): void {
    const nowMs = this.#platform.clock.nowMs();
    if (!this.#isUp || nowMs - this.#signedMs < SIGN_INTERVAL_MS) return;
    this.#signedMs = nowMs;
    this.#connection?.send(encodeFrame("PING", SIGN_NUMBER, EMPTY_BYTES));
  }

  /** Dials now, unless a connection is up or on its way. */
  dial(): void {
    if (this.#isClosed || this.#connection !== undefined || this.#isDialing) return;
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    this.#isDialing = true;
    this.#platform.network.connect(this.endpoint, CONNECT_TIMEOUT_MS).then(
      (socket) => {
        this.#isDialing = false;
        if (this.#isClosed) socket.destroy();
        else this.#shakeHands(new PeerConnection(socket, this.#platform.clock));
      },
      (error: unknown) => {
        this.#isDialing = false;
        if (!(error instanceof UnreachableError)) throw error;
        this.#retryLater(error);
      },
    );
  }

  #isDialing = false;

  /** Queues a frame; returns false when it was dropped. */
  send(kind: string, policy: QueuePolicy, frame: Uint8Array): boolean {
    if (!this.#isUp) return false;
    const isTaken = this.queue.enqueue(kind, policy, frame);
    if (isTaken && !this.#isFlushQueued) {
      this.#isFlushQueued = true;
      queueMicrotask(() => this.#flush());
    }
    return isTaken;
  }

  /** Says goodbye to the link for good. */
  close(): void {
    this.#isClosed = true;
    this.#cancelRetry?.();
    this.#flush();
    this.#connection?.end();
    this.#dropped();
  }

  #shakeHands(connection: PeerConnection): void {
    this.#connection = connection;
    this.#helloMs = this.#platform.clock.nowMs();
    connection.start({
      frame: (frame) => this.#onFrame(connection, frame),
      drained: () => this.#flush(),
      closed: (cause) => this.#onClosed(cause),
    });
    connection.send(encodeFrame("HELLO", 0, encodeHello(this.#handlers.hello())));
  }

  #onFrame(connection: PeerConnection, frame: Frame): void {
    this.#lastHeardMs = this.#platform.clock.nowMs();
    switch (frame.kind) {
      case "WELCOME":
        if (this.#isUp) throw new ProtocolError("Cannot accept a second WELCOME");
        this.#onWelcome(connection, decodeHello(frame.body));
        return;
      case "PONG":
        this.#onPong(frame.requestId);
        return;
      case "ERROR": {
        const error = decodeConnectionError(frame.body);
        // The other side says that this node does not belong: not a broken line.
        this.#handlers.failed(error);
        connection.destroy();
        return;
      }
      case "REPLICATION":
        if (!this.#isUp) throw new ProtocolError("Cannot accept a message before a WELCOME");
        this.#handlers.message(frame);
        return;
      default:
        throw new ProtocolError(`Cannot accept a ${frame.kind} frame on an outgoing link`);
    }
  }

  #onWelcome(connection: PeerConnection, welcome: Hello): void {
    try {
      this.#handlers.admit(welcome);
    } catch (error) {
      if (!(error instanceof HandshakeError)) throw error;
      this.#handlers.failed(error);
      throw error;
    }
    connection.handshakeDone();
    this.#isUp = true;
    this.#backoffMs = 0;
    this.#noteRoundTrip(this.#platform.clock.nowMs() - this.#helloMs);
    this.#pingDueMs = this.#platform.clock.nowMs();
    this.#ping();
    this.#handlers.up(welcome);
  }

  #ping(): void {
    const connection = this.#connection;
    if (connection === undefined || !this.#isUp) return;
    const nowMs = this.#platform.clock.nowMs();
    // What came while this process did nothing has not been read yet.
    const stalledMs = Math.max(0, nowMs - this.#pingDueMs);
    if (nowMs - this.#lastHeardMs - stalledMs > SILENCE_MAX_MS) {
      connection.destroy();
      return;
    }
    this.#pingNumber = (this.#pingNumber + 1) >>> 0 || 1;
    // One after the other: on a long line the next PING leaves before the answer is here.
    this.#timed ??= { number: this.#pingNumber, sentMs: nowMs };
    connection.send(encodeFrame("PING", this.#pingNumber, EMPTY_BYTES));
    this.#pingDueMs = nowMs + PING_INTERVAL_MS;
    this.#cancelPing = this.#platform.clock.setTimer(PING_INTERVAL_MS, () => this.#ping());
  }

  #onPong(number: number): void {
    if (number !== this.#timed?.number) return;
    this.#noteRoundTrip(this.#platform.clock.nowMs() - this.#timed.sentMs);
    this.#timed = undefined;
  }

  #noteRoundTrip(rttMs: number): void {
    this.#rttMs = this.#rttCount === 0 ? rttMs : this.#rttMs * 0.8 + rttMs * 0.2;
    this.#lastRttsMs = [...this.#lastRttsMs, rttMs].slice(-RTTS_KEPT);
    this.#rttCount += 1;
    this.#rttSum += rttMs;
  }

  #flush(): void {
    this.#isFlushQueued = false;
    const connection = this.#connection;
    if (connection === undefined || !this.#isUp) return;
    if (this.queue.size === 0 || connection.unsentBytes > SOCKET_BYTES_GOAL) return;
    connection.sendNow(this.queue.take(SOCKET_BYTES_GOAL));
  }

  #onClosed(cause: CStoreError | undefined): void {
    const wasUp = this.#isUp;
    this.#dropped();
    if (this.#isClosed) return;
    if (wasUp) {
      // The first attempt is at once: its answer tells a dead process from a broken line.
      this.dial();
      return;
    }
    this.#retryLater(cause ?? new UnreachableError(`Cannot reach "${this.nodeId}": it hung up`));
  }

  #dropped(): void {
    const wasUp = this.#isUp;
    this.#bytesBefore += this.#connection?.bytesOut ?? 0;
    this.#connection = undefined;
    this.#isUp = false;
    this.#timed = undefined;
    this.#cancelPing?.();
    this.queue.clear();
    if (wasUp) this.#handlers.down();
  }

  #retryLater(error: CStoreError): void {
    if (this.#isClosed) return;
    this.#backoffMs = Math.min(
      BACKOFF_MS.peerDial.max,
      Math.max(BACKOFF_MS.peerDial.first, this.#backoffMs * 2),
    );
    const jitterMs = this.#platform.random.below(Math.ceil(this.#backoffMs / 2));
    const delayMs = this.#backoffMs / 2 + jitterMs;
    this.#cancelRetry = this.#platform.clock.setTimer(delayMs, () => this.dial());
    this.#handlers.failed(error);
  }
}
