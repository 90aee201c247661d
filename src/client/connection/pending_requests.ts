/**
 * Requests that wait for their reply, by number, in a ring: the numbers are dense and the window is
 * bounded, so no map is needed.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import type { ByteWriter } from "../../base/bytes.ts";
import { type CStoreError, DeadlineError, ValidationError } from "../../base/errors.ts";
import { BATCH_BODY_SIZE_MAX, SESSION_WINDOW_MAX } from "../../base/limits.ts";
import { acknowledgeIn } from "../../protocol/encoding/command.ts";
import {
  beginRequest,
  endRequest,
  FLAG_REPEAT,
  READ_STALE,
  REQUEST_HEADER_SIZE,
  type RequestHeader,
  type RequestKind,
  WRITE_HEADER_SIZE,
} from "../../protocol/wire/client_message.ts";
import type { NodeChannel } from "./node_channel.ts";

/** Largest request, with its header: a larger one fits no batch, and perhaps no frame. */
const REQUEST_SIZE_MAX = BATCH_BODY_SIZE_MAX + 1024;

/** Writes a request behind those in the frame. Throws what `body` does, and ValidationError. */
export function writeWhole(
  writer: ByteWriter,
  head: RequestHeader & { readonly kind: RequestKind },
  body: () => void,
): void {
  const start = beginRequest(writer, head.kind, head);
  body();
  endRequest(writer, start);
  const size = writer.size - start;
  if (size <= REQUEST_SIZE_MAX) return;
  throw new ValidationError(
    `Cannot send a request of ${size} bytes: at most ${REQUEST_SIZE_MAX} are allowed`,
    { remedy: "Write the documents in portions; each portion is written whole or not at all" },
  );
}

/** Parts of the answer to a request. */
export interface Answer {
  /** Version of a single write; of a session its id. */
  readonly version: number;
  /** Payload of a RESULT, a view valid during the call; undefined for a plain write. */
  readonly payload: Uint8Array | undefined;
  readonly committed: boolean;
  /** The node that gave a RESULT. */
  readonly channel?: NodeChannel;
}

/** One request under way. */
export interface PendingRequest {
  /** Also its request id on the wire. */
  readonly number: number;
  readonly kind: RequestKind;
  /** The frame that holds the whole request, from `start` to `end`: kept for sending it again. */
  readonly frame: { readonly writer: ByteWriter };
  readonly start: number;
  readonly end: number;
  /** On the monotonic clock. */
  readonly deadlineMs: number;
  /** Whether a repeat is harmless: reads, and writes of a session. */
  readonly isRepeatable: boolean;
  /** Where it may go: the leader, or any node. */
  readonly target: "leader" | "any";
  /** The only node that it may go to. */
  readonly via: NodeChannel | undefined;
  /** Times that it was sent without getting an answer: while above 0 its outcome is in doubt. */
  unanswered: number;
  /** The connection it was sent on last; undefined while it is to be sent again. */
  sentOn: unknown;
  /** Not sent again before, without news; on the monotonic clock. */
  notBeforeMs: number;
  /** The last refusal that was no final answer. */
  lastError: CStoreError | undefined;
  /** Answered before it was committed (ASYNC): by which term, as which version. */
  early: { readonly term: number; readonly version: number } | undefined;
  resolve(answer: Answer): void;
  reject(error: CStoreError): void;
}

/** The window of unanswered requests. */
export class PendingRequests {
  readonly #ring: (PendingRequest | undefined)[] = new Array(SESSION_WINDOW_MAX);
  #lowest = 1;
  #next = 1;
  #count = 0;

  /** All lower numbers are answered. */
  get lowest(): number {
    return this.#lowest;
  }

  get count(): number {
    return this.#count;
  }

  /** Whether one more request may begin. */
  get hasRoom(): boolean {
    return this.#next - this.#lowest < SESSION_WINDOW_MAX;
  }

  /** The number of the next request. */
  get next(): number {
    return this.#next;
  }

  add(request: PendingRequest): void {
    assert(request.number === this.#next && this.hasRoom, "requests are numbered without gaps");
    this.#ring[request.number % SESSION_WINDOW_MAX] = request;
    this.#next += 1;
    this.#count += 1;
  }

  /** The request that an id on the wire stands for; undefined when it was answered. */
  get(requestId: number): PendingRequest | undefined {
    const request = this.#ring[requestId % SESSION_WINDOW_MAX];
    return request !== undefined && (request.number & 0xffff_ffff) >>> 0 === requestId
      ? request
      : undefined;
  }

  /** The one with the lowest number. */
  oldest(): PendingRequest | undefined {
    return this.#ring[this.#lowest % SESSION_WINDOW_MAX];
  }

  /**
   * When the next deadline passes or the next wait ends; or `confirmMs`, if something was
   * answered early.
   */
  dueMs(confirmMs: number): number {
    let dueMs = Number.POSITIVE_INFINITY;
    for (const { deadlineMs, notBeforeMs, sentOn, early } of this.all()) {
      dueMs = Math.min(dueMs, deadlineMs);
      if (sentOn === undefined) dueMs = Math.min(dueMs, notBeforeMs);
      if (early !== undefined) dueMs = Math.min(dueMs, confirmMs);
    }
    return dueMs;
  }

  /** Requests that wait to be sent again wait until `atMs` at most. */
  hasten(atMs: number): void {
    for (const request of this.all()) request.notBeforeMs = Math.min(request.notBeforeMs, atMs);
  }

  /** Takes an answered request out. Returns whether it was still in. */
  remove(request: PendingRequest): boolean {
    if (this.#ring[request.number % SESSION_WINDOW_MAX] !== request) return false;
    this.#ring[request.number % SESSION_WINDOW_MAX] = undefined;
    this.#count -= 1;
    while (
      this.#lowest < this.#next &&
      this.#ring[this.#lowest % SESSION_WINDOW_MAX] === undefined
    ) {
      this.#lowest += 1;
    }
    return true;
  }

  /** Answered early, and only to be settled by asking again: the oldest, and all of other terms. */
  unconfirmed(term: number): PendingRequest[] {
    const early = [...this.all()].filter((request) => request.early !== undefined);
    return early.filter((request, at) => at === 0 || request.early?.term !== term);
  }

  /** In order of number. */
  *all(): Generator<PendingRequest> {
    for (let number = this.#lowest; number < this.#next; number += 1) {
      const request = this.#ring[number % SESSION_WINDOW_MAX];
      if (request?.number === number) yield request;
    }
  }
}

/**
 * A request's bytes, to be sent again: a copy, those sent before may be on their way still. What
 * was acknowledged meanwhile goes with it: kept results may be all that stands in its way.
 */
export function bytesAgain(request: PendingRequest, lowest: number): Uint8Array {
  const bytes = request.frame.writer.buffer().slice(request.start, request.end);
  if (request.kind === "COMMAND") acknowledgeIn(bytes, REQUEST_HEADER_SIZE, lowest);
  if (request.kind === "WRITE") {
    // Who refused it has not carried it out.
    if (request.unanswered > 0) bytes[REQUEST_HEADER_SIZE + 1]! |= FLAG_REPEAT;
    acknowledgeIn(bytes, REQUEST_HEADER_SIZE + WRITE_HEADER_SIZE, lowest);
  }
  return bytes;
}

/**
 * The error of a request whose deadline has passed: its last refusal, or that it was never sent; in
 * doubt is only what may have been written.
 */
export function tooLate(request: PendingRequest, unreachable: () => CStoreError): CStoreError {
  const { kind, unanswered, lastError } = request;
  const isRead = kind === "READ" || kind === "COUNT" || kind === "QUERY" || kind === "STATUS";
  if (unanswered === 0 || (isRead && lastError !== undefined)) return lastError ?? unreachable();
  if (!isRead) {
    const message = "Cannot tell what became of the request: no answer in time";
    return new DeadlineError(message, { cause: lastError });
  }
  return new DeadlineError("Cannot read: no answer in time", {
    remedy: `Raise the deadline. ${READ_STALE}`,
  });
}
