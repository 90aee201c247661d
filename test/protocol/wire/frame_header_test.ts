/**
 * Frame headers: exact bytes, every field at its place, and each refusal with its whole text.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { encodeText, viewOf } from "../../../src/base/bytes.ts";
import { ProtocolError } from "../../../src/base/errors.ts";
import { FRAME_BODY_SIZE_MAX } from "../../../src/base/limits.ts";
import { checksum32, checksum64 } from "../../../src/protocol/encoding/checksum.ts";
import {
  decodeFrameHeader,
  encodeFrame,
  FRAME_HEADER_SIZE,
  FRAME_KINDS,
  type FrameKind,
  frameBodyMatches,
  sealFrame,
} from "../../../src/protocol/wire/frame_header.ts";

const BODY = encodeText("body");

/** A header with changed fields and a checksum that is right for them. */
function forged(change: (view: DataView) => void): Uint8Array {
  const bytes = encodeFrame("PING", 1, BODY);
  change(viewOf(bytes));
  viewOf(bytes).setUint32(0, checksum32(bytes.subarray(4, FRAME_HEADER_SIZE)), true);
  return bytes;
}

function decode(bytes: Uint8Array): unknown {
  return decodeFrameHeader(bytes, FRAME_BODY_SIZE_MAX);
}

describe("headers", () => {
  test("the fields stand where the table says", () => {
    const frame = encodeFrame("PONG", 0x0807_0605, BODY);
    const view = viewOf(frame);
    expect(Buffer.from(frame.subarray(4, 16)).toString("hex")).toBe(
      "4353" + "0105" + "04000000" + "05060708",
    );
    expect(view.getBigUint64(16, true)).toBe(checksum64(BODY));
    expect(view.getUint32(0, true)).toBe(checksum32(frame.slice(4, 24)));
    expect(frame.subarray(24)).toEqual(BODY);
  });

  test.each(FRAME_KINDS.slice(1))("%s is read as it was written", (kind: FrameKind) => {
    for (const requestId of [0, 1, 0x8000_0000, 0xffff_ffff]) {
      const bodyChecksum = checksum64(BODY);
      const header = { kind, bodySize: 4, requestId, bodyChecksum };
      expect(decode(encodeFrame(kind, requestId, BODY))).toEqual(header);
    }
  });

  test("the header is read from the first 24 bytes, whatever follows", () => {
    const frame = encodeFrame("HELLO", 3, BODY);
    expect(decode(new Uint8Array([...frame, ...new Uint8Array(40).fill(0xff)]))).toEqual(
      decode(frame),
    );
    expect(decode(frame.subarray(0, 24))).toEqual(decode(frame));
  });

  test("a frame without a body has room for its header only", () => {
    const frame = new Uint8Array(FRAME_HEADER_SIZE);
    sealFrame(frame, "PING", 0);
    expect(decode(frame)).toMatchObject({ kind: "PING", bodySize: 0 });
    expect(() => sealFrame(new Uint8Array(FRAME_HEADER_SIZE - 1), "PING", 0)).toThrow();
    expect(() => sealFrame(frame, "PING", 2 ** 32)).toThrow();
  });

  test("a body of another content does not match", () => {
    const header = decodeFrameHeader(encodeFrame("PING", 1, BODY), 4);
    expect(frameBodyMatches(header, BODY)).toBe(true);
    expect(frameBodyMatches(header, encodeText("bodY"))).toBe(false);
  });
});

describe("refusals", () => {
  const PREFIX = "Cannot read frame header: ";

  test.each<readonly [string, (view: DataView) => void, string]>([
    [
      "version 0",
      (view) => view.setUint8(6, 0),
      `${PREFIX}protocol version 0 is unknown, this node speaks 1`,
    ],
    [
      "version 2",
      (view) => view.setUint8(6, 2),
      `${PREFIX}protocol version 2 is unknown, this node speaks 1`,
    ],
    ["kind 0", (view) => view.setUint8(7, 0), `${PREFIX}kind 0 is unknown`],
    ["kind 11", (view) => view.setUint8(7, 11), `${PREFIX}kind 11 is unknown`],
    [
      "a body too large",
      (view) => view.setUint32(8, FRAME_BODY_SIZE_MAX + 1, true),
      `Cannot read frame: ${FRAME_BODY_SIZE_MAX + 1} bytes exceed ${FRAME_BODY_SIZE_MAX} bytes`,
    ],
    [
      "another magic",
      (view) => view.setUint16(4, 0x5342, true),
      `${PREFIX}wrong magic, these are not cstore frames`,
    ],
  ])("%s", (_name, change, message) => {
    expect(() => decode(forged(change))).toThrow(new ProtocolError(message));
  });

  test("a checksum that does not match is refused, the largest body is not", () => {
    const frame = encodeFrame("PING", 1, BODY);
    frame[12]! ^= 1;
    expect(() => decode(frame)).toThrow(new ProtocolError(`${PREFIX}its checksum does not match`));
    const largest = forged((view) => view.setUint32(8, FRAME_BODY_SIZE_MAX, true));
    expect(decode(largest)).toMatchObject({ bodySize: FRAME_BODY_SIZE_MAX });
  });

  test.each<readonly [string, string]>([
    ["GET ", "this looks like HTTP"],
    ["POST", "this looks like HTTP"],
    ["PUT ", "this looks like HTTP"],
    ["HEAD", "this looks like HTTP"],
    ["OPTI", "this looks like HTTP"],
    ["DELE", "this looks like HTTP"],
    ["\x16\x03\x01\x00", "this looks like TLS"],
    ["\x16\x02\x01\x00", "these are not cstore frames"],
    ["\x15\x03\x01\x00", "these are not cstore frames"],
    ["xGET", "these are not cstore frames"],
    ["    GET ", "these are not cstore frames"],
  ])("%j: %s", (start, guess) => {
    const bytes = Buffer.from(start.padEnd(FRAME_HEADER_SIZE, "\0"), "latin1");
    const remedy = "Connect to this port with the cstore protocol only";
    expect(() => decode(bytes)).toThrow(new ProtocolError(`${PREFIX}wrong magic, ${guess}`));
    expect(() => decode(bytes)).toThrow(expect.objectContaining({ remedy }));
  });
});
