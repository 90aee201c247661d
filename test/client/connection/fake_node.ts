/**
 * A node that answers as a test says: for what no real node can be made to do on time.
 *
 * @module
 */

import * as net from "node:net";
import { ByteWriter } from "../../../src/base/bytes.ts";
import type { CStoreError } from "../../../src/base/errors.ts";
import { type CommandHeader, readCommandHeader } from "../../../src/protocol/encoding/command.ts";
import {
  beginReplies,
  type RequestView,
  readRequest,
  writeError,
  writeWritten,
} from "../../../src/protocol/wire/client_message.ts";
import { FrameDecoder } from "../../../src/protocol/wire/frame_decoder.ts";
import { encodeFrame } from "../../../src/protocol/wire/frame_header.ts";
import { encodeHello } from "../../../src/protocol/wire/handshake.ts";
import { encodeLeaderNews } from "../../../src/protocol/wire/leader_message.ts";
import { helloOf } from "../../node/raw_connection.ts";

/** One request that arrived. */
export interface Received {
  readonly request: RequestView;
  /** Of a COMMAND. */
  readonly command: CommandHeader | undefined;
  written(version: number, committed?: boolean): void;
  fail(error: CStoreError): void;
  hangUp(): void;
}

/** Listens on a port of its own. */
export class FakeNode {
  readonly id: string;
  readonly received: Received[] = [];
  /** Answers each request as it comes; by default nobody answers. */
  onRequest: (received: Received) => void = () => undefined;
  /** Term and committed sequence number of every reply. */
  state = { term: 1, committedSequence: 0 };
  /** The cluster that it says it belongs to. */
  clusterId = "00000000000000aa";
  /** Connections so far. */
  accepted = 0;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();

  private constructor(id: string) {
    this.id = id;
    this.#server = net.createServer((socket) => this.#accept(socket));
  }

  static async start(id: string): Promise<FakeNode> {
    const node = new FakeNode(id);
    await new Promise<void>((resolve) => node.#server.listen(0, "127.0.0.1", resolve));
    return node;
  }

  get address(): string {
    const address = this.#server.address();
    return `127.0.0.1:${typeof address === "object" ? address?.port : 0}`;
  }

  /** Tells every client who leads. */
  announce(
    term: number,
    leader: { readonly id: string; readonly address: string },
    members: readonly string[] = [],
  ): void {
    const { id: nodeId, address } = leader;
    const body = encodeLeaderNews({ term, nodeId, address, members });
    for (const socket of this.#sockets) socket.write(encodeFrame("LEADER", 0, body));
  }

  hangUp(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    this.hangUp();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(socket: net.Socket): void {
    this.accepted += 1;
    this.#sockets.add(socket);
    const decoder = new FrameDecoder();
    decoder.allowLargeFrames();
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", () => undefined); // "close" follows.
    socket.on("data", (chunk: Uint8Array) =>
      decoder.push(chunk, ({ kind, body }) => {
        if (kind === "HELLO") {
          const hello = helloOf({ role: "peer", nodeId: this.id, clusterId: this.clusterId });
          socket.write(encodeFrame("WELCOME", 0, encodeHello(hello)));
        } else if (kind === "REQUESTS") this.#onRequests(socket, body.slice());
      }),
    );
  }

  #onRequests(socket: net.Socket, body: Uint8Array): void {
    const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
    for (let at = 0; at < body.byteLength; ) {
      const request = readRequest(view, at);
      const received = this.#receive(socket, view, request);
      this.received.push(received);
      this.onRequest(received);
      at = request.end;
    }
  }

  #receive(socket: net.Socket, view: DataView, request: RequestView): Received {
    const { requestId } = request;
    const reply = (write: (writer: ByteWriter) => void): void => {
      const writer = new ByteWriter(256);
      beginReplies(writer, this.state);
      write(writer);
      socket.write(encodeFrame("REPLIES", 0, writer.copy()));
    };
    return {
      request,
      command: request.kind === "COMMAND" ? readCommandHeader(view, request.start) : undefined,
      written: (firstVersion, committed = true) =>
        reply((writer) =>
          writeWritten(writer, { firstRequestId: requestId, count: 1, firstVersion, committed }),
        ),
      fail: (error) => reply((writer) => writeError(writer, requestId, error)),
      hangUp: () => socket.destroy(),
    };
  }
}
