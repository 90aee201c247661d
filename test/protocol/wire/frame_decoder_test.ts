/**
 * Frames: all ways in which bytes may arrive, damaged bytes and forged headers.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { encodeText } from "../../../src/base/bytes.ts";
import { ProtocolError } from "../../../src/base/errors.ts";
import { FRAME_BODY_SIZE_MAX, HANDSHAKE_BODY_SIZE_MAX } from "../../../src/base/limits.ts";
import { checksum32 } from "../../../src/protocol/encoding/checksum.ts";
import { FrameDecoder } from "../../../src/protocol/wire/frame_decoder.ts";
import {
  decodeFrameHeader,
  encodeFrame,
  FRAME_HEADER_SIZE,
  FRAME_KINDS,
  type FrameKind,
} from "../../../src/protocol/wire/frame_header.ts";

interface Seen {
  readonly kind: FrameKind;
  readonly requestId: number;
  readonly body: string;
}

/** Feeds the chunks and copies every frame out. */
function feed(decoder: FrameDecoder, chunks: Iterable<Uint8Array>): Seen[] {
  const seen: Seen[] = [];
  for (const chunk of chunks) {
    decoder.push(chunk, ({ kind, requestId, body }) => {
      seen.push({ kind, requestId, body: Buffer.from(body).toString("latin1") });
    });
  }
  return seen;
}

function open(): FrameDecoder {
  const decoder = new FrameDecoder();
  decoder.allowLargeFrames();
  return decoder;
}

/** Three frames, one of them empty, in one piece. */
function sample(): { readonly bytes: Uint8Array; readonly frames: Seen[] } {
  const frames: Seen[] = [
    { kind: "REQUESTS", requestId: 7, body: "first" },
    { kind: "PING", requestId: 0xffff_ffff, body: "" },
    { kind: "REPLICATION", requestId: 0, body: "third, a little longer" },
  ];
  const bytes = Buffer.concat(
    frames.map(({ kind, requestId, body }) => encodeFrame(kind, requestId, encodeText(body))),
  );
  return { bytes: new Uint8Array(bytes), frames };
}

/** Changes header fields and makes the header's checksum right again: a forgery, no accident. */
function forge(change: (view: DataView) => void): Uint8Array {
  const bytes = encodeFrame("PING", 1, encodeText("body"));
  const view = new DataView(bytes.buffer);
  change(view);
  view.setUint32(0, checksum32(bytes.subarray(4, FRAME_HEADER_SIZE)), true);
  return bytes;
}

describe("arrival", () => {
  test("frames: every cut into two and three chunks gives the same frames", () => {
    const { bytes, frames } = sample();
    for (let a = 0; a <= bytes.byteLength; a += 1) {
      for (let b = a; b <= bytes.byteLength; b += 1) {
        const chunks = [bytes.subarray(0, a), bytes.subarray(a, b), bytes.subarray(b)];
        expect(feed(open(), chunks)).toEqual(frames);
      }
    }
  });

  test("frames: one byte at a time gives the same frames", () => {
    const { bytes, frames } = sample();
    const decoder = open();
    const seen = feed(
      decoder,
      [...bytes].map((byte) => Uint8Array.of(byte)),
    );
    expect(seen).toEqual(frames);
    expect(decoder.isInsideFrame).toBe(false);
  });

  test("frames: a thousand in one chunk arrive in order", () => {
    const frames = Array.from({ length: 1000 }, (_, i) =>
      encodeFrame("PING", i, encodeText(`${i}`)),
    );
    const seen = feed(open(), [Buffer.concat(frames)]);
    expect(seen.map(({ body }) => body)).toEqual(frames.map((_, i) => `${i}`));
  });

  test("frames: a cut at any byte gives only the frames before it, and is known as a part", () => {
    const { bytes, frames } = sample();
    const ends = [24 + 5, 24 + 5 + 24, bytes.byteLength];
    for (let cut = 0; cut <= bytes.byteLength; cut += 1) {
      const decoder = open();
      const seen = feed(decoder, [bytes.subarray(0, cut)]);
      expect(seen).toEqual(frames.slice(0, ends.filter((end) => end <= cut).length));
      expect(decoder.isInsideFrame).toBe(cut !== 0 && !ends.includes(cut));
    }
  });

  // The body of a small frame is a view. As a Buffer its `slice` would be a view as well, and code
  // that works on a copy would write into the frame: see document_key_test.ts.
  test("frames: bodies are plain byte arrays whatever the chunk is", () => {
    const { bytes } = sample();
    for (const step of [1, 30, bytes.byteLength]) {
      const decoder = open();
      for (let at = 0; at < bytes.byteLength; at += step) {
        decoder.push(Buffer.from(bytes).subarray(at, at + step), ({ body }) => {
          expect(Object.getPrototypeOf(body)).toBe(Uint8Array.prototype);
        });
      }
    }
  });
});

describe("damage", () => {
  // Mutation that this finds: a checksum that is not compared.
  test("frames: no flipped bit gets through", () => {
    const bytes = encodeFrame("REPLIES", 3, encodeText("some bytes of a body"));
    for (let bit = 0; bit < bytes.byteLength * 8; bit += 1) {
      const damaged = bytes.slice();
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      expect(() => feed(open(), [damaged])).toThrow(ProtocolError);
      const split = [...damaged].map((byte) => Uint8Array.of(byte));
      expect(() => feed(open(), split)).toThrow(ProtocolError);
    }
  });

  test("frames: a frame behind a damaged one is not given", () => {
    const damaged = encodeFrame("PING", 1, encodeText("x"));
    damaged[FRAME_HEADER_SIZE]! ^= 1;
    const seen: number[] = [];
    const chunk = Buffer.concat([damaged, encodeFrame("PING", 2, encodeText("y"))]);
    expect(() => open().push(chunk, (frame) => seen.push(frame.requestId))).toThrow("checksum");
    expect(seen).toEqual([]);
  });

  test.each([FRAME_BODY_SIZE_MAX + 1, 2 ** 31, 2 ** 32 - 1])(
    "frames: a declared body of %i bytes is refused before it has room",
    (size) => {
      const forged = forge((view) => view.setUint32(8, size, true));
      const before = process.memoryUsage().arrayBuffers;
      expect(() => feed(open(), [forged])).toThrow(`${size} bytes exceed`);
      expect(() => feed(open(), [forged.subarray(0, 24)])).toThrow(ProtocolError);
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(FRAME_BODY_SIZE_MAX);
    },
  );

  test("frames: a body behind a declared size of 0 bytes is refused", () => {
    const forged = forge((view) => view.setUint32(8, 0, true));
    expect(() => feed(open(), [forged])).toThrow(ProtocolError);
  });

  // Mutation that this finds: a bound that is never tightened before the handshake.
  test("frames: before the handshake the bound is lower", () => {
    const fits = encodeFrame("HELLO", 0, new Uint8Array(HANDSHAKE_BODY_SIZE_MAX));
    expect(feed(new FrameDecoder(), [fits])).toHaveLength(1);
    const large = encodeFrame("HELLO", 0, new Uint8Array(HANDSHAKE_BODY_SIZE_MAX + 1));
    expect(() => feed(new FrameDecoder(), [large])).toThrow("exceed");
    expect(feed(open(), [large])).toHaveLength(1);
    const largest = encodeFrame("REQUESTS", 0, new Uint8Array(FRAME_BODY_SIZE_MAX));
    expect(feed(open(), [largest])).toHaveLength(1);
  });

  test("frames: other versions, kinds and magics are refused by name", () => {
    for (const version of [0, 2, 255]) {
      const forged = forge((view) => view.setUint8(6, version));
      expect(() => feed(open(), [forged])).toThrow(`protocol version ${version} is unknown`);
    }
    for (const kind of [0, FRAME_KINDS.length, 255]) {
      const forged = forge((view) => view.setUint8(7, kind));
      expect(() => feed(open(), [forged])).toThrow(`kind ${kind} is unknown`);
    }
    expect(() => feed(open(), [forge((view) => view.setUint16(4, 0x4353, true))])).toThrow("magic");
  });

  test.each([
    ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP"],
    ["POST /x HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP"],
    ["OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP"],
    ["\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefghijklmnopqrstuvwxyz", "TLS"],
    ["SSH-2.0-OpenSSH_9.6 and more text", "not cstore frames"],
  ])("frames: %j is recognized", (text, guess) => {
    const bytes = Buffer.from(text, "latin1");
    expect(() => feed(open(), [bytes])).toThrow(guess);
    expect(() => feed(open(), [bytes.subarray(0, 9), bytes.subarray(9)])).toThrow(guess);
  });

  test("header: it is read at any offset of a larger buffer", () => {
    const frame = encodeFrame("LEADER", 9, encodeText("abc"));
    const shifted = new Uint8Array(frame.byteLength + 13);
    shifted.set(frame, 13);
    const header = decodeFrameHeader(shifted.subarray(13), 3);
    expect(header).toMatchObject({ kind: "LEADER", requestId: 9, bodySize: 3 });
    expect(() => decodeFrameHeader(frame, 2)).toThrow("3 bytes exceed 2 bytes");
  });
});
