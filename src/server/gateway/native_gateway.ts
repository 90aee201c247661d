/**
 * The clients that are connected to a node: their requests in, their replies and news out.
 *
 * @module
 */

import { EMPTY_BYTES } from "../../base/bytes.ts";
import { ProtocolError } from "../../base/errors.ts";
import { CLIENT_OUT_BYTES_MAX, REQUESTS_IN_FLIGHT_PER_CONNECTION_MAX } from "../../base/limits.ts";
import type { Clock } from "../../platform/clock.ts";
import { encodeFrame, FRAME_HEADER_SIZE, sealFrame } from "../../protocol/wire/frame_header.ts";
import { encodeLeaderNews, type LeaderNews } from "../../protocol/wire/leader_message.ts";
import type { ConnectionHandlers, PeerConnection } from "../../transport/peer_connection.ts";
import type { RequestGate } from "../request_gate.ts";
import { ReplyCollector, type ReplyOutput } from "./reply_collector.ts";

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
    const replies = new ReplyCollector(this.#outputOf(connection));
    let isPaused = false;
    // A client that has too much unanswered is not read until there is room: TCP slows it down.
    const watch = (): void => {
      if (replies.inFlight > REQUESTS_IN_FLIGHT_PER_CONNECTION_MAX) {
        if (!isPaused) connection.pause();
        isPaused = true;
        clock.setTimer(1, watch);
      } else if (isPaused) {
        isPaused = false;
        connection.resume();
      }
    };
    this.#clients.add(connection);
    clock.soon(() => connection.send(this.#leaderFrame()));
    return {
      frame: (frame) => {
        if (frame.kind !== "REQUESTS") {
          throw new ProtocolError(`Cannot accept a ${frame.kind} frame from a client`);
        }
        gate.handle(frame.body, replies);
        if (!isPaused) watch();
      },
      drained: () => undefined,
      closed: () => this.#clients.delete(connection),
    };
  }

  /** A client inside this process: its requests in, the bodies of REPLIES frames out. */
  openLocal(onReplies: (body: Uint8Array) => void): { submit(body: Uint8Array): void } {
    const { gate } = this.#parts;
    const replies = new ReplyCollector({
      headerSize: 0,
      deliver: (bytes) => onReplies(bytes),
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

  #outputOf(connection: PeerConnection): ReplyOutput {
    return {
      headerSize: FRAME_HEADER_SIZE,
      deliver: (bytes) => {
        sealFrame(bytes, "REPLIES", 0);
        connection.send(bytes);
        if (connection.unsentBytes > CLIENT_OUT_BYTES_MAX) connection.destroy();
      },
      state: () => this.#parts.replyState(),
    };
  }

  #leaderFrame(): Uint8Array {
    return encodeFrame("LEADER", 0, encodeLeaderNews(this.#parts.leader()));
  }
}
