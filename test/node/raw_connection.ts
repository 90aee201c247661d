/**
 * A connection that sends whatever a test wants, and keeps every frame that comes back.
 *
 * @module
 */

import * as net from "node:net";
import { ByteWriter } from "../../src/base/bytes.ts";
import type { CStoreError } from "../../src/base/errors.ts";
import { NEWEST_RULES } from "../../src/base/rules_version.ts";
import { PROTOCOL_VERSION, VERSION } from "../../src/base/version.ts";
import {
  beginCommand,
  type DocumentOperation,
  encodeCollectionName,
  endCommand,
  NO_SESSION,
  type RequestIdentity,
  writeDocumentsCommand,
} from "../../src/protocol/encoding/command.ts";
import { encodeKey } from "../../src/protocol/encoding/document_key.ts";
import {
  beginRequest,
  endRequest,
  type RequestKind,
  readReplies,
} from "../../src/protocol/wire/client_message.ts";
import { FrameDecoder } from "../../src/protocol/wire/frame_decoder.ts";
import { encodeFrame, type FrameKind } from "../../src/protocol/wire/frame_header.ts";
import {
  decodeConnectionError,
  decodeHello,
  encodeHello,
  FEATURE_RULES,
  type Hello,
} from "../../src/protocol/wire/handshake.ts";
import { waitFor } from "./test_cluster.ts";

/** A frame that came back. */
export interface SeenFrame {
  readonly kind: FrameKind;
  readonly requestId: number;
  readonly body: Uint8Array;
}

/** What one request was answered. */
export type Reply =
  | { readonly kind: "written"; readonly version: number; readonly committed: boolean }
  | { readonly kind: "result"; readonly payload: Uint8Array }
  | { readonly kind: "error"; readonly error: CStoreError };

/** The HELLO of a client; fields can be replaced to lie. */
export function helloOf(fields: Partial<Hello> = {}): Hello {
  return {
    role: "client",
    address: "",
    clusterId: "",
    nodeId: "",
    expects: "",
    incarnation: "",
    bootId: "",
    term: 0,
    isLeader: false,
    version: `${VERSION}/${PROTOCOL_VERSION}`,
    features: [`${FEATURE_RULES}${NEWEST_RULES}`],
    ...fields,
  };
}

/** One whole request, as it stands in a REQUESTS body. */
export function requestBytes(
  kind: RequestKind,
  head: { readonly requestId: number; readonly deadlineMs?: number },
  payload: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const writer = new ByteWriter(payload.byteLength + 64);
  const { requestId, deadlineMs = 0 } = head;
  const start = beginRequest(writer, kind, { requestId, deadlineMs });
  writer.raw(payload);
  endRequest(writer, start);
  return writer.copy();
}

/** One COMMAND payload. */
export function documentsCommand(
  collection: string,
  operations: readonly DocumentOperation[],
  identity: RequestIdentity = NO_SESSION,
): Uint8Array {
  const writer = new ByteWriter(1024);
  const name = encodeCollectionName(collection);
  writeDocumentsCommand(writer, identity, { collection: name, operations });
  return writer.copy();
}

/** Payload that opens a session. */
export function openSession(): Uint8Array {
  const writer = new ByteWriter(64);
  endCommand(writer, beginCommand(writer, "OPEN_SESSION", { ...NO_SESSION, count: 1 }));
  return writer.copy();
}

/** A PUT of raw document bytes. */
export function putOf(id: string | number, document: Uint8Array): DocumentOperation {
  return { kind: "PUT", key: encodeKey(id), document };
}

/** Puts pieces together. */
export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}

/** Bytes from hex digits; spaces are skipped. */
export function hex(text: string): Uint8Array {
  const digits = text.replace(/\s/g, "");
  return Uint8Array.from({ length: digits.length / 2 }, (_, i) =>
    Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16),
  );
}

/** One TCP connection without manners. */
export class RawConnection {
  readonly frames: SeenFrame[] = [];
  readonly #socket: net.Socket;
  readonly #decoder = new FrameDecoder();
  readonly #replies = new Map<number, Reply>();
  isClosed = false;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    this.#decoder.allowLargeFrames();
    socket.on("data", (chunk: Uint8Array) => {
      this.#decoder.push(chunk, ({ kind, requestId, body }) =>
        this.#onFrame({ kind, requestId, body: body.slice() }),
      );
    });
    socket.on("error", () => undefined); // "close" follows.
    socket.on("close", () => {
      this.isClosed = true;
    });
  }

  /** Connects and says nothing. */
  static open(address: string): Promise<RawConnection> {
    const [host = "", port = ""] = address.split(":");
    return new Promise((resolve, reject) => {
      const socket = net.connect({ host, port: Number(port), noDelay: true });
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(new RawConnection(socket));
      });
    });
  }

  /** Connects and shakes hands. */
  static async shake(address: string, fields: Partial<Hello> = {}): Promise<RawConnection> {
    const connection = await RawConnection.open(address);
    connection.send(encodeFrame("HELLO", 0, encodeHello(helloOf(fields))));
    await connection.frame("WELCOME");
    return connection;
  }

  send(bytes: Uint8Array): void {
    if (!this.isClosed) this.#socket.write(bytes);
  }

  /** Sends a frame without a request id. */
  sendFrame(kind: FrameKind, body: Uint8Array): void {
    this.send(encodeFrame(kind, 0, body));
  }

  /** Sends one frame of requests. */
  request(...requests: readonly Uint8Array[]): void {
    this.send(encodeFrame("REQUESTS", 0, joined(...requests)));
  }

  /** Sends one command and waits for its answer. */
  async command(requestId: number, payload: Uint8Array): Promise<Reply> {
    this.request(requestBytes("COMMAND", { requestId }, payload));
    return this.reply(requestId);
  }

  /** Waits for the answer to a request, and forgets it. */
  async reply(requestId: number): Promise<Reply> {
    const reply = await waitFor(`the reply to request ${requestId}`, () => {
      return this.#replies.get(requestId) ?? (this.isClosed && "closed");
    });
    this.#replies.delete(requestId);
    if (reply === "closed") throw new Error("the connection was closed instead of an answer");
    return reply;
  }

  /** Waits for a frame of a kind. */
  frame(kind: FrameKind): Promise<SeenFrame> {
    return waitFor(`a ${kind} frame`, () => this.frames.find((frame) => frame.kind === kind));
  }

  /** What the other side said of itself. */
  async welcome(): Promise<Hello> {
    return decodeHello((await this.frame("WELCOME")).body);
  }

  /** Waits for an ERROR frame and the end that must follow it. */
  async refusal(): Promise<CStoreError> {
    const { body } = await this.frame("ERROR");
    await this.closed();
    return decodeConnectionError(body);
  }

  async closed(): Promise<void> {
    await waitFor("the end of the connection", () => this.isClosed);
  }

  /** Stops reading: what the other side sends stays with it. */
  pause(): void {
    this.#socket.pause();
  }

  close(): void {
    this.#socket.destroy();
  }

  #onFrame(frame: SeenFrame): void {
    this.frames.push(frame);
    if (frame.kind !== "REPLIES") return;
    readReplies(frame.body, {
      state: () => undefined,
      written: ({ firstRequestId, count, firstVersion, committed }) => {
        for (let i = 0; i < count; i += 1) {
          const version = firstVersion + i;
          this.#replies.set(firstRequestId + i, { kind: "written", version, committed });
        }
      },
      result: (requestId, payload) =>
        this.#replies.set(requestId, { kind: "result", payload: payload.slice() }),
      error: (requestId, error) => this.#replies.set(requestId, { kind: "error", error }),
    });
  }
}
