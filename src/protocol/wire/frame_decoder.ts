/**
 * Chunks in, whole verified frames out. At most one partial frame is held, and memory for a body is
 * taken only after its header was verified.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { plainBytes, rangeOf } from "../../base/bytes.ts";
import { ProtocolError } from "../../base/errors.ts";
import {
  FRAME_BODY_SIZE_MAX,
  FRAME_ROOM_SIZE,
  HANDSHAKE_BODY_SIZE_MAX,
} from "../../base/limits.ts";
import {
  decodeFrameHeader,
  FRAME_HEADER_SIZE,
  type Frame,
  type FrameHeader,
  frameBodyMatches,
} from "./frame_header.ts";

/** Reassembles the frames of one connection. A ProtocolError ends the connection. */
export class FrameDecoder {
  /** `HANDSHAKE_BODY_SIZE_MAX <= bodySizeMax <= FRAME_BODY_SIZE_MAX` */
  #bodySizeMax = HANDSHAKE_BODY_SIZE_MAX;
  readonly #headerBytes = new Uint8Array(FRAME_HEADER_SIZE);
  readonly #checkedBytes = this.#headerBytes.subarray(4);
  /** Bytes of the next header that arrived: `0 <= headerFilled < FRAME_HEADER_SIZE`. */
  #headerFilled = 0;
  #header: FrameHeader | undefined;
  #body: Uint8Array | undefined;
  /** Bytes of the body that arrived: `0 <= bodyFilled < header.bodySize`. */
  #bodyFilled = 0;

  /** After the handshake frames may be large. */
  allowLargeFrames(): void {
    this.#bodySizeMax = FRAME_BODY_SIZE_MAX;
    assert(this.#bodySizeMax >= HANDSHAKE_BODY_SIZE_MAX, "the bound of a body only rises");
  }

  /** Whether the last chunk ended inside a frame. */
  get isInsideFrame(): boolean {
    return this.#headerFilled > 0 || this.#header !== undefined;
  }

  /** Bytes of the body of the frame that has begun; 0 before its header is whole. */
  get begunSize(): number {
    const size = this.#header?.bodySize ?? 0;
    assert(size <= this.#bodySizeMax, "the header was refused above the bound");
    return size;
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
      assert(header.bodySize <= this.#bodySizeMax, "the header was refused above the bound");
      const end = at + header.bodySize;
      if (end > chunk.byteLength) {
        this.#body = new Uint8Array(Math.min(header.bodySize, FRAME_ROOM_SIZE));
        this.#bodyFilled = 0;
        continue;
      }
      this.#header = undefined;
      emit(header, rangeOf(chunk, at, end), onFrame);
      at = end;
    }
    assert(at === chunk.byteLength, "every byte of the chunk was taken");
  }

  #fillHeader(chunk: Uint8Array, from: number): number {
    assert(this.#headerFilled < FRAME_HEADER_SIZE, "a whole header was decoded before");
    let at = from;
    while (this.#headerFilled < FRAME_HEADER_SIZE && at < chunk.byteLength) {
      this.#headerBytes[this.#headerFilled] = chunk[at]!;
      this.#headerFilled += 1;
      at += 1;
    }
    assert(at > from, "at least one byte of the chunk was taken");
    assert(at <= chunk.byteLength, "only bytes of the chunk were taken");
    if (this.#headerFilled === FRAME_HEADER_SIZE) {
      this.#headerFilled = 0;
      this.#header = decodeFrameHeader(this.#headerBytes, this.#bodySizeMax, this.#checkedBytes);
    }
    return at;
  }

  #fillBody(chunk: Uint8Array, at: number, onFrame: (frame: Frame) => void): number {
    const header = this.#header;
    const held = this.#body;
    if (header === undefined || held === undefined) return at;
    assert(this.#bodyFilled < header.bodySize, "a whole body was given before");
    const size = Math.min(header.bodySize - this.#bodyFilled, chunk.byteLength - at);
    const body = this.#roomFor(held, this.#bodyFilled + size, header.bodySize);
    body.set(rangeOf(chunk, at, at + size), this.#bodyFilled);
    this.#bodyFilled += size;
    assert(this.#bodyFilled <= header.bodySize, "bytes of the next frame stay in the chunk");
    assert(at + size <= chunk.byteLength, "only bytes of the chunk were taken");
    if (this.#bodyFilled === header.bodySize) {
      this.#header = undefined;
      this.#body = undefined;
      emit(header, body, onFrame);
    }
    return at + size;
  }

  /** Room grows with the bytes that came: a header alone costs its sender more than this side. */
  #roomFor(held: Uint8Array, needed: number, bodySize: number): Uint8Array {
    assert(needed <= bodySize, "no more is taken than the header declares");
    if (needed <= held.byteLength) return held;
    const room = new Uint8Array(Math.min(bodySize, Math.max(needed, 2 * held.byteLength)));
    assert(room.byteLength >= needed, "what came has room");
    room.set(rangeOf(held, 0, this.#bodyFilled));
    this.#body = room;
    return room;
  }
}

function emit(header: FrameHeader, body: Uint8Array, onFrame: (frame: Frame) => void): void {
  assert(body.byteLength === header.bodySize, "the body is as large as its header declares");
  if (!frameBodyMatches(header, body)) {
    throw new ProtocolError(`Cannot read ${header.kind} frame: its body checksum does not match`);
  }
  onFrame({ kind: header.kind, requestId: header.requestId, body });
}
