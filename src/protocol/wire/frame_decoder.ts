/**
 * Chunks in, whole verified frames out. At most one partial frame is held, and memory for a body is
 * taken only after its header was verified.
 *
 * @module
 */

import { plainBytes, rangeOf } from "../../base/bytes.ts";
import { ProtocolError } from "../../base/errors.ts";
import { FRAME_BODY_SIZE_MAX, HANDSHAKE_BODY_SIZE_MAX } from "../../base/limits.ts";
import {
  decodeFrameHeader,
  FRAME_HEADER_SIZE,
  type Frame,
  type FrameHeader,
  frameBodyMatches,
} from "./frame_header.ts";

/** Reassembles the frames of one connection. Throws ProtocolError; then the connection is over. */
export class FrameDecoder {
  #bodySizeMax = HANDSHAKE_BODY_SIZE_MAX;
  readonly #headerBytes = new Uint8Array(FRAME_HEADER_SIZE);
  readonly #checkedBytes = this.#headerBytes.subarray(4);
  #headerFilled = 0;
  #header: FrameHeader | undefined;
  #body: Uint8Array | undefined;
  #bodyFilled = 0;

  /** After the handshake frames may be large. */
  allowLargeFrames(): void {
    this.#bodySizeMax = FRAME_BODY_SIZE_MAX;
  }

  /** Whether the last chunk ended inside a frame. */
  get isInsideFrame(): boolean {
    return this.#headerFilled > 0 || this.#header !== undefined;
  }

  /** Gives every frame that `source` completes to `onFrame`, in order. */
  push(source: Uint8Array, onFrame: (frame: Frame) => void): void {
    const chunk = plainBytes(source);
    let at = 0;
    while (at < chunk.byteLength) {
      if (this.#header !== undefined) {
        at = this.#fillBody(chunk, at, onFrame);
        continue;
      }
      at = this.#fillHeader(chunk, at);
      const header = this.#header as FrameHeader | undefined;
      if (header === undefined) return;
      const end = at + header.bodySize;
      if (end > chunk.byteLength) {
        this.#body = new Uint8Array(header.bodySize);
        this.#bodyFilled = 0;
        continue;
      }
      this.#header = undefined;
      emit(header, rangeOf(chunk, at, end), onFrame);
      at = end;
    }
  }

  #fillHeader(chunk: Uint8Array, from: number): number {
    let at = from;
    while (this.#headerFilled < FRAME_HEADER_SIZE && at < chunk.byteLength) {
      this.#headerBytes[this.#headerFilled] = chunk[at]!;
      this.#headerFilled += 1;
      at += 1;
    }
    if (this.#headerFilled === FRAME_HEADER_SIZE) {
      this.#headerFilled = 0;
      this.#header = decodeFrameHeader(this.#headerBytes, this.#bodySizeMax, this.#checkedBytes);
    }
    return at;
  }

  #fillBody(chunk: Uint8Array, at: number, onFrame: (frame: Frame) => void): number {
    const header = this.#header;
    const body = this.#body;
    if (header === undefined || body === undefined) return at;
    const size = Math.min(header.bodySize - this.#bodyFilled, chunk.byteLength - at);
    body.set(rangeOf(chunk, at, at + size), this.#bodyFilled);
    this.#bodyFilled += size;
    if (this.#bodyFilled === header.bodySize) {
      this.#header = undefined;
      this.#body = undefined;
      emit(header, body, onFrame);
    }
    return at + size;
  }
}

function emit(header: FrameHeader, body: Uint8Array, onFrame: (frame: Frame) => void): void {
  if (!frameBodyMatches(header, body)) {
    throw new ProtocolError(`Cannot read ${header.kind} frame: its body checksum does not match`);
  }
  onFrame({ kind: header.kind, requestId: header.requestId, body });
}
