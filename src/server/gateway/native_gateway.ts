/**
 * The clients that are connected to a node: their requests in, their replies and news out.
 *
 * @module
 */

import { EMPTY_BYTES } from "../../base/bytes.ts";
import { ProtocolError } from "../../base/errors.ts";
import {
  CLIENT_OUT_BYTES_GOAL,
  CLIENT_OUT_BYTES_MAX,
  CLIENT_STALL_MS,
  CLIENT_TAKES_MIN,
  REQUESTS_IN_FLIGHT_PER_CONNECTION_MAX,
} from "../../base/limits.ts";
import type { Clock } from "../../platform/clock.ts";
import { encodeFrame, FRAME_HEADER_SIZE, sealFrame } from "../../protocol/wire/frame_header.ts";
import { encodeLeaderNews, type LeaderNews } from "../../protocol/wire/leader_message.ts";
import type { ConnectionHandlers, PeerConnection } from "../../transport/peer_connection.ts";
import type { RequestGate } from "../request_gate.ts";
import { ReplyCollector } from "./reply_collector.ts";

/** Time between two looks at a client that has too much before it, in milliseconds. */
const LOOK_MS = 1;

/** Services that the gateway needs from its node. */
export interface NativeGatewayParts {
  readonly clock: Clock;
  readonly gate: RequestGate;
  /** Term and committed sequence number that head every reply. */
  replyState(): { readonly term: number; readonly committedSequence: number };
  leader(): LeaderNews;
}

/** Serves connections of clients. */
export class NativeGateway {
  readonly #parts: NativeGatewayParts;
  readonly #clients = new Set<PeerConnection>();

  constructor(parts: NativeGatewayParts) {
    this.#parts = parts;
  }

  /** A client shook hands. Gives the handlers of its connection from now on. */
  serve(connection: PeerConnection): ConnectionHandlers {
    const { clock, gate } = this.#parts;
    const client = new ConnectedClient(connection, this.#parts);
    this.#clients.add(connection);
    clock.soon(() => connection.send(this.#leaderFrame()));
    return {
      frame: (frame) => {
        if (frame.kind !== "REQUESTS") {
          throw new ProtocolError(`Cannot accept a ${frame.kind} frame from a client`);
        }
        gate.handle(frame.body, client.replies);
        client.watch();
      },
      drained: () => undefined,
      closed: () => {
        this.#clients.delete(connection);
        client.replies.end();
      },
    };
  }

  /** A client inside this process: its requests in, the bodies of REPLIES frames out. */
  openLocal(onReplies: (body: Uint8Array) => void): { submit(body: Uint8Array): void } {
    const { gate } = this.#parts;
    const replies = new ReplyCollector({
      headerSize: 0,
      deliver: (bytes) => onReplies(bytes),
      hasRoom: () => true,
      state: () => this.#parts.replyState(),
    });
    return { submit: (body) => gate.handle(body, replies) };
  }

  /** Notifies every client of the leader and the members. */
  tellLeader(): void {
    if (this.#clients.size === 0) return;
    const frame = this.#leaderFrame();
    for (const client of this.#clients) client.send(frame);
  }

  /** Tells every client that this node leaves. */
  sayGoodbye(): void {
    for (const client of this.#clients) client.send(encodeFrame("GOODBYE", 0, EMPTY_BYTES));
  }

  #leaderFrame(): Uint8Array {
    return encodeFrame("LEADER", 0, encodeLeaderNews(this.#parts.leader()));
  }
}

/** Sees to it that a client takes its replies, and has not too many of them before it. */
class ConnectedClient {
  readonly replies: ReplyCollector;
  readonly #connection: PeerConnection;
  readonly #clock: Clock;
  #isWatched = false;
  #isPaused = false;
  /** Replies wait that the client has not taken. */
  #isFull = false;
  /** Bytes that it had taken at that time. */
  #taken = 0;
  #takenMs = 0;

  constructor(connection: PeerConnection, { clock, replyState }: NativeGatewayParts) {
    this.#connection = connection;
    this.#clock = clock;
    this.replies = new ReplyCollector({
      headerSize: FRAME_HEADER_SIZE,
      deliver: (bytes) => this.#deliver(bytes),
      hasRoom: () => !this.#isFull,
      state: () => replyState(),
    });
  }

  /** A client that has too much unanswered is not read until there is room: TCP slows it down. */
  watch(): void {
    if (this.#isWatched) return;
    // What goes on now may fill it again.
    this.#isWatched = true;
    this.#regulate();
    this.#isWatched = this.#isPaused || this.#isFull;
    if (!this.#isWatched) return;
    this.#clock.setTimer(LOOK_MS, () => {
      this.#isWatched = false;
      if (!this.#connection.isClosed) this.watch();
    });
  }

  #deliver(bytes: Uint8Array): void {
    sealFrame(bytes, "REPLIES", 0);
    this.#connection.send(bytes);
    const { unsentBytes } = this.#connection;
    if (unsentBytes > CLIENT_OUT_BYTES_MAX) this.#connection.destroy();
    if (unsentBytes <= CLIENT_OUT_BYTES_GOAL || this.#isFull) return;
    this.#isFull = true;
    this.#taken = this.#connection.bytesOut - unsentBytes;
    this.#takenMs = this.#clock.nowMs();
    this.watch();
  }

  #regulate(): void {
    const isBusy = this.replies.inFlight > REQUESTS_IN_FLIGHT_PER_CONNECTION_MAX;
    if (isBusy !== this.#isPaused) {
      this.#isPaused = isBusy;
      if (isBusy) this.#connection.pause();
      else this.#connection.resume();
    }
    if (!this.#isFull) return;
    const { unsentBytes, bytesOut } = this.#connection;
    const nowMs = this.#clock.nowMs();
    if (nowMs - this.#takenMs > CLIENT_STALL_MS) {
      const taken = bytesOut - unsentBytes;
      if (taken - this.#taken < CLIENT_TAKES_MIN) return this.#connection.destroy();
      this.#taken = taken;
      this.#takenMs = nowMs;
    }
    if (unsentBytes > CLIENT_OUT_BYTES_GOAL / 2) return;
    this.#isFull = false;
    this.replies.goOn();
  }
}
