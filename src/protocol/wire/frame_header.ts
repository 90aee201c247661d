/**
 * The frame header: 24 bytes before every body on the wire. Integers are unsigned, little-endian.
 *
 * | offset | size | field          | meaning                                             |
 * | -----: | ---: | -------------- | --------------------------------------------------- |
 * |      0 |    4 | headerChecksum | xxh32 of bytes 4..24, seed 0                        |
 * |      4 |    2 | magic          | 0x5343                                              |
 * |      6 |    1 | version        | 1                                                   |
 * |      7 |    1 | kind           | one of `FRAME_KINDS`                                |
 * |      8 |    4 | bodySize       | bytes after the header, at most `FRAME_BODY_SIZE_MAX` |
 * |     12 |    4 | requestId      | chosen by the sender, echoed by the reply; 0 = none |
 * |     16 |    8 | bodyChecksum   | xxh64 of the body, seed 0                           |
 *
 * The header has its own checksum so that `bodySize` can be trusted before the body has arrived.
 * A frame is valid if and only if (1) headerChecksum matches, (2) magic, version and kind are
 * known, (3) bodySize is within bounds, and (4) bodyChecksum matches the body.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteReader, putBig64, putU32, rangeOf } from "../../base/bytes.ts";
import { ProtocolError } from "../../base/errors.ts";
import { FRAME_BODY_SIZE_MAX } from "../../base/limits.ts";
import { PROTOCOL_VERSION } from "../../base/version.ts";
import { checksum32, checksum64 } from "../encoding/checksum.ts";

/** Bytes of the header. */
export const FRAME_HEADER_SIZE = 24;
/** Largest `requestId`: it has 32 bits. */
const REQUEST_ID_MAX = 0xffff_ffff;
/** "CS" in memory order. */
export const FRAME_MAGIC = 0x5343;

/** Kinds of frames; the number on the wire is the position in this list. */
export const FRAME_KINDS = [
  "NONE",
  "HELLO",
  "WELCOME",
  "ERROR",
  "PING",
  "PONG",
  "REQUESTS",
  "REPLIES",
  "REPLICATION",
  "LEADER",
  "GOODBYE",
] as const;

/** One of {@link FRAME_KINDS}. */
export type FrameKind = (typeof FRAME_KINDS)[number];

const KIND_NUMBERS = new Map<FrameKind, number>(FRAME_KINDS.map((kind, number) => [kind, number]));

/** A verified header. */
export interface FrameHeader {
  readonly kind: FrameKind;
  /** Bytes after the header: `0 <= bodySize <= FRAME_BODY_SIZE_MAX`. */
  readonly bodySize: number;
  readonly requestId: number;
  readonly bodyChecksum: bigint;
}

/** A verified frame. The body is a view that is valid only until the next bytes arrive. */
export interface Frame {
  readonly kind: FrameKind;
  readonly requestId: number;
  readonly body: Uint8Array;
}

/**
 * Reads a header from untrusted bytes; `checked` are those that its checksum covers. Throws
 * {@link ProtocolError}; never asserts on input.
 */
export function decodeFrameHeader(
  source: Uint8Array,
  bodySizeMax: number,
  checked = source.subarray(4, FRAME_HEADER_SIZE),
): FrameHeader {
  assert(source.byteLength >= FRAME_HEADER_SIZE, "the caller waited for a whole header");
  assert(bodySizeMax <= FRAME_BODY_SIZE_MAX, "no caller allows bodies above the limit");
  const header = new ByteReader(source);
  const checksum = header.u32();
  if (header.u16() !== FRAME_MAGIC) throw wrongProtocol(source);
  if (checksum !== checksum32(checked)) {
    throw new ProtocolError("Cannot read frame header: its checksum does not match");
  }
  const version = header.u8();
  if (version !== PROTOCOL_VERSION) {
    throw new ProtocolError(
      `Cannot read frame header: protocol version ${version} is unknown, this node speaks ${PROTOCOL_VERSION}`,
    );
  }
  const kind = FRAME_KINDS[header.u8()];
  if (kind === undefined || kind === "NONE") {
    throw new ProtocolError(`Cannot read frame header: kind ${source[7]} is unknown`);
  }
  const bodySize = header.u32();
  if (bodySize > bodySizeMax) {
    throw new ProtocolError(`Cannot read frame: ${bodySize} bytes exceed ${bodySizeMax} bytes`);
  }
  const [requestId, bodyChecksum] = [header.u32(), header.big64()];
  assert(header.offset === FRAME_HEADER_SIZE, "the fields fill the header");
  return { kind, bodySize, requestId, bodyChecksum };
}

/** Browsers and TLS clients may be connected to the wrong port: the message names what arrived. */
function wrongProtocol(source: Uint8Array): ProtocolError {
  const start = String.fromCharCode(...source.subarray(0, 4));
  const guess = /^(GET|POST|PUT|HEAD|OPTI|DELE)/.test(start)
    ? "this looks like HTTP"
    : source[0] === 0x16 && source[1] === 3
      ? "this looks like TLS"
      : "these are not cstore frames";
  return new ProtocolError(`Cannot read frame header: wrong magic, ${guess}`, {
    remedy: "Connect to this port with the cstore protocol only",
  });
}

/** Whether the body has the checksum of the header. */
export function frameBodyMatches(header: FrameHeader, body: Uint8Array): boolean {
  assert(body.byteLength === header.bodySize, "the caller waited for the whole body");
  return checksum64(body) === header.bodyChecksum;
}

/**
 * Writes the header of the frame that fills `frame`: 24 bytes of room, then the body. Both
 * checksums are computed here, so the body must be complete.
 */
export function sealFrame(frame: Uint8Array, kind: FrameKind, requestId: number): void {
  const bodySize = frame.byteLength - FRAME_HEADER_SIZE;
  assert(frame.byteLength >= FRAME_HEADER_SIZE, "a frame begins with room for its header");
  assert(bodySize <= FRAME_BODY_SIZE_MAX, () => `a frame of ${bodySize} bytes`);
  assert(requestId <= REQUEST_ID_MAX, "a request id fits its field");
  frame[4] = FRAME_MAGIC & 0xff;
  frame[5] = FRAME_MAGIC >>> 8;
  frame[6] = PROTOCOL_VERSION;
  frame[7] = KIND_NUMBERS.get(kind) ?? 0;
  putU32(frame, 8, bodySize);
  putU32(frame, 12, requestId);
  putBig64(frame, 16, checksum64(rangeOf(frame, FRAME_HEADER_SIZE)));
  putU32(frame, 0, checksum32(rangeOf(frame, 4, FRAME_HEADER_SIZE)));
}

/** A whole frame around a body that exists already. */
export function encodeFrame(kind: FrameKind, requestId: number, body: Uint8Array): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER_SIZE + body.byteLength);
  frame.set(body, FRAME_HEADER_SIZE);
  sealFrame(frame, kind, requestId);
  return frame;
}
