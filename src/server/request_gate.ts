/**
 * The one way in: every door (the native protocol, a client inside this process) hands its requests
 * to {@link RequestGate.handle}. The rules for all doors stand here, so that no door can leave them
 * out; no other module imports the handlers behind it.
 *
 * @module
 */

import { viewOf } from "../base/bytes.ts";
import { CStoreError } from "../base/errors.ts";
import { type RequestView, readRequest } from "../protocol/wire/client_message.ts";
import { decodeRequest, isCommand, type Request } from "../protocol/wire/request.ts";
import type { Replies } from "./query_reply.ts";

export type { Replies } from "./query_reply.ts";

import { type RequestBackend, type RequestFrame, RequestHandler } from "./request_handler.ts";

/** Takes the requests of all doors of a node. */
export class RequestGate {
  readonly #handler: RequestHandler;

  constructor(backend: RequestBackend) {
    this.#handler = new RequestHandler(backend);
  }

  /** Handles the body of a REQUESTS frame; it is valid during the call. Throws ProtocolError. */
  handle(body: Uint8Array, replies: Replies): void {
    const view = viewOf(body);
    this.#handler.beginFrame();
    for (let at = 0; at < body.byteLength; ) {
      const request = readRequest(view, at);
      replies.started();
      this.#pass({ body, view }, request, replies);
      at = request.end;
    }
  }

  #pass(frame: RequestFrame, view: RequestView, replies: Replies): void {
    // Most requests are commands: they stay in their frame, and cost no object here.
    if (isCommand(view)) {
      this.#handler.handle(frame, view, replies);
      return;
    }
    let request: Request;
    try {
      request = decodeRequest(frame.body, view);
    } catch (error) {
      // A map or head that cannot be read is answered; any other payload that no client writes
      // ends the connection.
      const isMap = view.kind === "CLUSTER" || view.kind === "QUERY" || view.kind === "WRITE";
      if (!isMap || !(error instanceof CStoreError)) throw error;
      replies.failed(view.requestId, error);
      return;
    }
    this.#handler.handle(frame, request, replies);
  }
}
