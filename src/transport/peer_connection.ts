/**
 * One TCP connection: frames in, frames out, deadlines, counters. The frames of one turn leave with
 * one write.
 *
 * @module
 */

import { CStoreError, ProtocolError } from "../base/errors.ts";
import {
  FRAME_BYTES_MIN,
  FRAME_TIMEOUT_MS,
  HANDSHAKE_TIMEOUT_MS,
  LIFE_SIZE_MIN,
} from "../base/limits.ts";
import type { CancelTimer, Clock } from "../platform/clock.ts";
import type { Socket } from "../platform/sockets.ts";
import { FrameDecoder } from "../protocol/wire/frame_decoder.ts";
import { encodeFrame, type Frame } from "../protocol/wire/frame_header.ts";
import { encodeConnectionError } from "../protocol/wire/handshake.ts";

/** Frames up to this size are joined before they are written. */
const JOIN_SIZE_MAX = 64 * 1024;

/** Receives a connection's events. */
export interface ConnectionHandlers {
  /** A whole, verified frame; its body is valid during the call. May throw ProtocolError. */
  frame(frame: Frame): void;
  /** Bytes of a large frame that is not whole yet have come. */
  began?(): void;
  /** Everything that was written has left, after `isCongested` was true. */
  drained(): void;
  /** The connection is over. `cause` is set if this side ended it because of an error. */
  closed(cause: CStoreError | undefined): void;
}

/** A connection, from either side. */
export class PeerConnection {
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #decoder = new FrameDecoder();
  #handlers: ConnectionHandlers | undefined;
  #outgoing: Uint8Array[] = [];
  #isFlushQueued = false;
  #isClosed = false;
  /** Nothing more is written; the socket sends what it has. */
  #isEnding = false;
  #isPaused = false;
  #cause: CStoreError | undefined;
  #cancelFrameTimer: CancelTimer | undefined;
  #cancelHandshakeTimer: CancelTimer | undefined;
  #cancelEndTimer: CancelTimer | undefined;
  #bytesIn = 0;
  #bytesOut = 0;

  constructor(socket: Socket, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
  }

  get remoteAddress(): string {
    return this.#socket.remoteAddress;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get bytesIn(): number {
    return this.#bytesIn;
  }

  get bytesOut(): number {
    return this.#bytesOut;
  }

  /** Bytes that the other side has not taken yet. */
  get unsentBytes(): number {
    let queued = 0;
    for (const frame of this.#outgoing) queued += frame.byteLength;
    return queued + this.#socket.unsentBytes;
  }

  /** Starts reading. The handshake must be done in time: see {@link handshakeDone}. */
  start(handlers: ConnectionHandlers): void {
    this.#handlers = handlers;
    this.#cancelHandshakeTimer = this.#clock.setTimer(HANDSHAKE_TIMEOUT_MS, () =>
      this.fail(new ProtocolError(`Cannot finish the handshake within ${HANDSHAKE_TIMEOUT_MS} ms`)),
    );
    this.#socket.attach({
      data: (chunk) => this.#onData(chunk),
      drain: () => handlers.drained(),
      close: () => this.#onClose(),
    });
  }

  /** From now on frames may be large, and silence is no error. */
  handshakeDone(): void {
    this.#cancelHandshakeTimer?.();
    this.#cancelHandshakeTimer = undefined;
    this.#decoder.allowLargeFrames();
  }

  /** Sets the handlers of the connection from now on. */
  handOver(handlers: ConnectionHandlers): void {
    this.#handlers = handlers;
  }

  /**
   * Queues a whole frame, which must not change afterwards; it leaves at the end of this turn.
   * After `end` or `fail` it is dropped: a write to an ended socket would lose frames on their way.
   */
  send(frame: Uint8Array): void {
    if (this.#isClosed || this.#isEnding) return;
    this.#outgoing.push(frame);
    if (this.#isFlushQueued) return;
    this.#isFlushQueued = true;
    queueMicrotask(() => this.flush());
  }

  /** The same, and they leave now, behind the queued ones. */
  sendNow(frames: readonly Uint8Array[]): void {
    if (this.#isClosed || this.#isEnding) return;
    for (const frame of frames) this.#outgoing.push(frame);
    this.flush();
  }

  /** Writes the queued frames, now. */
  flush(): void {
    this.#isFlushQueued = false;
    if (this.#isClosed || this.#outgoing.length === 0) return;
    const frames = this.#outgoing;
    this.#outgoing = [];
    if (frames.length === 1) this.#write(frames[0]!);
    else for (const bytes of joinSmall(frames)) this.#write(bytes);
  }

  #write(bytes: Uint8Array): void {
    this.#bytesOut += bytes.byteLength;
    this.#socket.write(bytes);
  }

  /** Stops reading; the deadline of a frame that has begun stands still. */
  pause(): void {
    this.#isPaused = true;
    this.#stopFrameTimer();
    this.#socket.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#watchPartialFrame();
    this.#socket.resume();
  }

  /** Tells the other side why, then closes. */
  fail(error: CStoreError): void {
    if (this.#isClosed || this.#isEnding) return;
    this.#cause = error;
    this.send(encodeFrame("ERROR", 0, encodeConnectionError(error)));
    this.#endWithin(HANDSHAKE_TIMEOUT_MS);
  }

  /** Sends the queued frames, then closes; after `timeoutMs` whether the other side took them or not. */
  end(timeoutMs = FRAME_TIMEOUT_MS): void {
    if (this.#isClosed || this.#isEnding) return;
    this.#endWithin(timeoutMs);
  }

  #endWithin(timeoutMs: number): void {
    this.flush();
    this.#isEnding = true;
    this.#stopFrameTimer();
    this.#cancelHandshakeTimer?.();
    this.#socket.end();
    // A peer that never reads must not keep the socket.
    this.#cancelEndTimer = this.#clock.setTimer(timeoutMs, () => this.#socket.destroy());
  }

  /** Closes now. */
  destroy(): void {
    this.#socket.destroy();
  }

  readonly #onFrame = (frame: Frame): void => {
    this.#stopFrameTimer();
    if (this.#cause === undefined && !this.#isClosed) this.#handlers?.frame(frame);
  };

  #onData(chunk: Uint8Array): void {
    if (this.#isClosed || this.#cause !== undefined) return;
    this.#bytesIn += chunk.byteLength;
    try {
      this.#decoder.push(chunk, this.#onFrame);
    } catch (cause) {
      if (!(cause instanceof CStoreError)) throw cause;
      this.fail(cause);
      return;
    }
    if (!this.#decoder.isInsideFrame) return;
    this.#watchPartialFrame();
    if (this.#decoder.begunSize >= LIFE_SIZE_MIN) this.#handlers?.began?.();
  }

  /** A frame that began must go on, or one byte a second would hold the connection. */
  #watchPartialFrame(): void {
    if (!this.#decoder.isInsideFrame || this.#isPaused || this.#isEnding) return;
    if (this.#cancelFrameTimer !== undefined) return;
    const before = this.#bytesIn;
    this.#cancelFrameTimer = this.#clock.setTimer(FRAME_TIMEOUT_MS, () => {
      this.#cancelFrameTimer = undefined;
      if (this.#bytesIn - before >= FRAME_BYTES_MIN) return this.#watchPartialFrame();
      this.fail(new ProtocolError(`Cannot read frame: it took more than ${FRAME_TIMEOUT_MS} ms`));
    });
  }

  #stopFrameTimer(): void {
    this.#cancelFrameTimer?.();
    this.#cancelFrameTimer = undefined;
  }

  #onClose(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#outgoing = [];
    this.#stopFrameTimer();
    this.#cancelHandshakeTimer?.();
    this.#cancelEndTimer?.();
    this.#handlers?.closed(this.#cause);
  }
}

/** One write for small frames that stand together; large ones are not copied. */
function* joinSmall(frames: readonly Uint8Array[]): Generator<Uint8Array> {
  let run: Uint8Array[] = [];
  let size = 0;
  for (const frame of frames) {
    if (size + frame.byteLength > JOIN_SIZE_MAX && run.length > 0) {
      yield join(run, size);
      run = [];
      size = 0;
    }
    run.push(frame);
    size += frame.byteLength;
  }
  if (run.length > 0) yield join(run, size);
}

function join(frames: readonly Uint8Array[], size: number): Uint8Array {
  const only = frames[0];
  if (frames.length === 1 && only !== undefined) return only;
  const joined = new Uint8Array(size);
  let at = 0;
  for (const frame of frames) {
    joined.set(frame, at);
    at += frame.byteLength;
  }
  return joined;
}
