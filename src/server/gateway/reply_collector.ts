/**
 * One client of a node: requests in, replies out. The replies ready in one turn leave in one
 * REPLIES body, and single writes with consecutive ids and versions share one reply.
 *
 * @module
 */

import { ByteWriter } from "../../base/bytes.ts";
import type { CStoreError } from "../../base/errors.ts";
import {
  beginReplies,
  WRITTEN_COUNT_MAX,
  writeError,
  writeResult,
  writeWritten,
} from "../../protocol/wire/client_message.ts";
import type { Replies } from "../request_gate.ts";

const BODY_GOAL = 1024 * 1024;
/** Answers of one client that may be in the making at a time. */
const TURNS_MAX = 16;

/** Where finished bodies go. */
export interface ReplyOutput {
  /** Bytes left free in front of each body, for a frame's header. */
  readonly headerSize: number;
  /** Takes over a buffer: the header's room, then the body of a REPLIES frame. */
  deliver(bytes: Uint8Array): void;
  /** Whether the client has taken so much of it that a large reply may follow. */
  hasRoom(): boolean;
  /** Term and committed sequence number that head each body. */
  state(): { readonly term: number; readonly committedSequence: number };
}

/** Collects the replies of a turn. */
export class ReplyCollector implements Replies {
  readonly #output: ReplyOutput;
  #writer: ByteWriter | undefined;
  #lastSize = 256;
  #isFlushQueued = false;
  #inFlight = 0;
  #runFirstId = 0;
  #runFirstVersion = 0;
  #runCount = 0;
  #runCommitted = true;
  #hasRoom = true;
  /** Answers that are begun when the client has taken what it was sent. */
  #held: (() => void)[] = [];
  /** Answers that are made, and wait for the same. */
  #made: (() => void)[] = [];
  /** Answers that take several turns to make. */
  #turns = 0;

  constructor(output: ReplyOutput) {
    this.#output = output;
  }

  /** Requests that are not answered yet. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Whether answers wait for room. */
  get isHolding(): boolean {
    return this.#held.length > 0;
  }

  get isFull(): boolean {
    return !this.#hasRoom || this.#made.length > 0;
  }

  started(): void {
    this.#inFlight += 1;
  }

  whenRoom(answer: () => void): void {
    if (this.#mayBegin && !this.isHolding) answer();
    else this.#held.push(answer);
  }

  whenTurn(answer: (ended: () => void) => void): void {
    this.whenRoom(() => {
      this.#turns += 1;
      answer(() => {
        this.#turns -= 1;
        this.#begin();
      });
    });
  }

  whenTaken(give: () => void): void {
    if (this.#hasRoom && this.#made.length === 0) give();
    else this.#made.push(give);
  }

  /** Gives and makes the answers for which there is room by now. */
  goOn(): void {
    this.#hasRoom = this.#output.hasRoom();
    while (this.#hasRoom && this.#made.length > 0) this.#made.shift()?.();
    this.#begin();
  }

  /** The connection is gone. */
  end(): void {
    this.#held = [];
    this.#made = [];
  }

  get #mayBegin(): boolean {
    return this.#hasRoom && this.#made.length === 0 && this.#turns < TURNS_MAX;
  }

  #begin(): void {
    while (this.#mayBegin && this.#held.length > 0) this.#held.shift()?.();
  }

  written(requestId: number, version: number, committed: boolean): void {
    this.#inFlight -= 1;
    const continues =
      this.#runCount > 0 &&
      this.#runCount < WRITTEN_COUNT_MAX &&
      requestId === this.#runFirstId + this.#runCount &&
      version === this.#runFirstVersion + this.#runCount &&
      committed === this.#runCommitted;
    if (continues) {
      this.#runCount += 1;
      return;
    }
    this.#endRun();
    this.#runFirstId = requestId;
    this.#runFirstVersion = version;
    this.#runCommitted = committed;
    this.#runCount = 1;
    if (!this.#isFlushQueued) this.#queueFlush();
  }

  result(requestId: number, payload: Uint8Array): void {
    this.#inFlight -= 1;
    this.#endRun();
    writeResult(this.#body(), requestId, payload);
    this.#wrote();
  }

  failed(requestId: number, error: CStoreError): void {
    this.#inFlight -= 1;
    this.#endRun();
    writeError(this.#body(), requestId, error);
    this.#wrote();
  }

  #wrote(): void {
    if (this.#body().size > BODY_GOAL) this.#flush();
    else if (!this.#isFlushQueued) this.#queueFlush();
  }

  #queueFlush(): void {
    this.#isFlushQueued = true;
    queueMicrotask(() => {
      this.#isFlushQueued = false;
      this.#flush();
    });
  }

  #body(): ByteWriter {
    if (this.#writer !== undefined) return this.#writer;
    const writer = new ByteWriter(this.#lastSize);
    writer.reserve(this.#output.headerSize);
    beginReplies(writer, this.#output.state());
    this.#writer = writer;
    return writer;
  }

  #endRun(): void {
    if (this.#runCount === 0) return;
    const count = this.#runCount;
    this.#runCount = 0;
    writeWritten(this.#body(), {
      firstRequestId: this.#runFirstId,
      count,
      firstVersion: this.#runFirstVersion,
      committed: this.#runCommitted,
    });
  }

  #flush(): void {
    this.#endRun();
    const writer = this.#writer;
    if (writer === undefined) return;
    this.#writer = undefined;
    this.#lastSize = Math.max(256, Math.min(BODY_GOAL, writer.size * 2));
    this.#output.deliver(writer.written());
    this.#hasRoom = this.#output.hasRoom();
  }
}
