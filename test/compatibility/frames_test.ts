/**
 * Frames of every kind that the build of `testdata/README.md` wrote: every later build of the same
 * protocol version reads them, and understands the same. Replies with an error are not among them:
 * they got fields and a remedy after it.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { viewOf } from "../../src/base/bytes.ts";
import { readOperationResults } from "../../src/protocol/encoding/operation_result.ts";
import { REQUEST_KINDS, readReplies, readRequest } from "../../src/protocol/wire/client_message.ts";
import { FrameDecoder } from "../../src/protocol/wire/frame_decoder.ts";
import { FRAME_KINDS, type Frame } from "../../src/protocol/wire/frame_header.ts";
import { decodeConnectionError, decodeHello } from "../../src/protocol/wire/handshake.ts";
import { decodeLeaderNews } from "../../src/protocol/wire/leader_message.ts";
import {
  RAFT_MESSAGE_TYPES,
  ReplicationProtocol,
} from "../../src/protocol/wire/replication_message.ts";
import {
  decodeSnapshotMessage,
  isSnapshotMessage,
} from "../../src/protocol/wire/snapshot_message.ts";

interface Recorded {
  readonly name: string;
  /** Hex digits of the whole frame. */
  readonly frame: string;
  readonly decoded: Readonly<Record<string, unknown>>;
}

const ROUTE = { from: "n1", to: "n2" };
const RECEIPT = { timestamp: 5, messageId: "x" };
const FILE = join(import.meta.dir, "testdata/0.1.0/frames.json");
const recorded: readonly Recorded[] = JSON.parse(readFileSync(FILE, "utf8"));

/** As the fixture writes values that JSON has no form for. */
function plain(value: unknown): unknown {
  const text = JSON.stringify(value, (_key, inner) => {
    if (inner instanceof Uint8Array) return `hex:${Buffer.from(inner).toString("hex")}`;
    return typeof inner === "bigint" ? `bigint:${inner}` : inner;
  });
  return JSON.parse(text);
}

function readFrame(hex: string): Frame {
  let found: Frame | undefined;
  const decoder = new FrameDecoder();
  decoder.push(Uint8Array.from(Buffer.from(hex, "hex")), ({ kind, requestId, body }) => {
    found = { kind, requestId, body: body.slice() };
  });
  if (found === undefined) throw new Error("the decoder gave no frame");
  return found;
}

function readRecordedReplies(body: Uint8Array): unknown {
  const seen: unknown[] = [];
  let operations: unknown;
  readReplies(body, {
    state: (term, committedSequence) => seen.push({ term, committedSequence }),
    written: (run) => seen.push(run),
    result: (id, payload) => {
      seen.push({ id, payload });
      if (id === 6) operations = readOperationResults(payload);
    },
    error: () => seen.push("an error"),
  });
  return { seen, operations };
}

function readReplication(body: Uint8Array): unknown {
  if (isSnapshotMessage(body)) return decodeSnapshotMessage(body, ROUTE);
  if (ReplicationProtocol.isRaft(body)) return ReplicationProtocol.decodeRaft(body, ROUTE);
  return ReplicationProtocol.decode(body, ROUTE, RECEIPT);
}

function understood({ kind, body }: Frame): unknown {
  switch (kind) {
    case "HELLO":
    case "WELCOME":
      return decodeHello(body);
    case "ERROR": {
      const { code, message, remedy } = decodeConnectionError(body);
      return { code, message, remedy };
    }
    case "LEADER":
      return decodeLeaderNews(body);
    case "REPLICATION":
      return readReplication(body);
    case "REQUESTS": {
      const request = readRequest(viewOf(body), 0);
      return { ...request, payload: body.subarray(request.start, request.end) };
    }
    case "REPLIES":
      return readRecordedReplies(body);
    default:
      return {};
  }
}

test.each(recorded.map(({ name, frame, decoded }) => [name, frame, decoded] as const))(
  "%s means what it meant",
  (_name, frame, decoded) => {
    expect(plain(understood(readFrame(frame)))).toEqual(decoded);
  },
);

test("every kind of frame, message and request of then is recorded", () => {
  const kinds = new Set(recorded.map(({ frame }) => readFrame(frame).kind));
  expect(FRAME_KINDS.filter((kind) => kind !== "NONE" && !kinds.has(kind))).toEqual([]);
  const types = new Set(recorded.map(({ decoded }) => decoded["type"]));
  expect(RAFT_MESSAGE_TYPES.filter((type) => type !== "GENERIC" && !types.has(type))).toEqual([]);
  const requests = new Set(recorded.map(({ name }) => name.replace("REQUESTS ", "")));
  // WRITE came later: its bytes are vectors of docs/protocol.md.
  const later = new Set(["NONE", "WRITE"]);
  expect(REQUEST_KINDS.filter((kind) => !later.has(kind) && !requests.has(kind))).toEqual([]);
});
