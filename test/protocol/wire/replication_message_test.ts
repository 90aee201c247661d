/**
 * Messages between nodes and the handshake before them: there and back, forged and damaged.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { viewOf } from "../../../src/base/bytes.ts";
import {
  ConfigError,
  CorruptionError,
  HandshakeError,
  OverloadedError,
  ProtocolError,
  ValidationError,
} from "../../../src/base/errors.ts";
import { FRAME_BODY_SIZE_MAX } from "../../../src/base/limits.ts";
import { sealBatch } from "../../../src/protocol/encoding/batch_codec.ts";
import { encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import { checksum64 } from "../../../src/protocol/encoding/checksum.ts";
import { noopBatch } from "../../../src/protocol/encoding/cluster_command.ts";
import { FrameDecoder } from "../../../src/protocol/wire/frame_decoder.ts";
import { decodeFrameHeader } from "../../../src/protocol/wire/frame_header.ts";
import {
  checkSameCluster,
  decodeConnectionError,
  decodeHello,
  encodeConnectionError,
  encodeHello,
  type Hello,
} from "../../../src/protocol/wire/handshake.ts";
import {
  asConsensus,
  consensusIn,
  isConsensusType,
  RAFT_MESSAGE_TYPES,
  type ReplicationMessage,
  ReplicationProtocol,
} from "../../../src/protocol/wire/replication_message.ts";
import type { AppendEntries, RaftMessage } from "../../../src/raft/message.ts";
import type { Entry } from "../../../src/raft/types.ts";
import { fuzzRandom, mutate, rounds, seeded } from "../fuzz_seed.ts";

const ROUTE = { from: "n1", to: "n2" };
const BIG = Number.MAX_SAFE_INTEGER;

function entry(term: number, index: number): Entry {
  const place = { term, index, firstSequence: index };
  return { ...place, count: 1, bytes: sealBatch(noopBatch(), place) };
}

function append(entries: readonly Entry[], term = 5): AppendEntries {
  const previous = { term: 3, index: 10 };
  return { ...ROUTE, type: "APPEND_ENTRIES", term, previous, commitIndex: 9, entries };
}

const last = { term: 4, index: BIG };
const MESSAGES: readonly RaftMessage[] = [
  { ...ROUTE, type: "VOTE_REQUEST", term: 5, last, preVote: false, transfer: true },
  { ...ROUTE, type: "VOTE_REQUEST", term: BIG, last, preVote: true, transfer: false },
  { ...ROUTE, type: "VOTE_RESPONSE", term: 5, granted: true, preVote: false },
  { ...ROUTE, type: "VOTE_RESPONSE", term: 5, granted: false, preVote: true },
  append([]),
  append([entry(3, 11), entry(4, 12), entry(5, 13)]),
  { ...ROUTE, type: "APPEND_ENTRIES_RESPONSE", term: 5, rejected: false, index: 7, hint: last },
  { ...ROUTE, type: "APPEND_ENTRIES_RESPONSE", term: 5, rejected: true, index: 7, hint: last },
  { ...ROUTE, type: "HEARTBEAT", term: 5, commitIndex: 8, readRound: 9, heldIndex: 7 },
  { ...ROUTE, type: "HEARTBEAT_RESPONSE", term: 5, readRound: 9 },
  { ...ROUTE, type: "READ_INDEX", term: 5, context: 77 },
  { ...ROUTE, type: "READ_INDEX_RESPONSE", term: 5, context: 77, index: 6 },
  { ...ROUTE, type: "TIMEOUT_NOW", term: 5, last },
];

/** The body of the one frame. */
function bodyOf(frame: Uint8Array): Uint8Array {
  const bodies: Uint8Array[] = [];
  const decoder = new FrameDecoder();
  decoder.allowLargeFrames();
  decoder.push(frame, ({ kind, body }) => {
    expect(kind).toBe("REPLICATION");
    bodies.push(body.slice());
  });
  expect(bodies).toHaveLength(1);
  return bodies[0]!;
}

function decode(body: Uint8Array): RaftMessage {
  return ReplicationProtocol.decodeRaft(body, ROUTE);
}

describe("consensus", () => {
  test.each(MESSAGES)("message: $type comes back", (message) => {
    const body = bodyOf(ReplicationProtocol.encodeRaft(message));
    expect(ReplicationProtocol.isRaft(body)).toBe(true);
    expect(decode(body)).toEqual(message);
    expect(body[0]).toBe(RAFT_MESSAGE_TYPES.indexOf(message.type));
  });

  // [message, its body]: field by field, so that no two fields can change places.
  const id = { term: 2, index: 3 };
  const head = { ...ROUTE, term: 5 };
  test.each<readonly [RaftMessage, string]>([
    [{ ...head, type: "VOTE_REQUEST", last: id, preVote: false, transfer: false }, "0100 05 02 03"],
    [{ ...head, type: "VOTE_REQUEST", last: id, preVote: true, transfer: false }, "0101 05 02 03"],
    [{ ...head, type: "VOTE_REQUEST", last: id, preVote: false, transfer: true }, "0102 05 02 03"],
    [{ ...head, type: "VOTE_REQUEST", last: id, preVote: true, transfer: true }, "0103 05 02 03"],
    [{ ...head, type: "VOTE_RESPONSE", granted: false, preVote: false }, "0200 05"],
    [{ ...head, type: "VOTE_RESPONSE", granted: false, preVote: true }, "0201 05"],
    [{ ...head, type: "VOTE_RESPONSE", granted: true, preVote: false }, "0202 05"],
    [
      { ...head, type: "APPEND_ENTRIES", previous: id, commitIndex: 4, entries: [] },
      "0300 05 02 03 04 00000000",
    ],
    [
      { ...head, type: "APPEND_ENTRIES_RESPONSE", rejected: false, index: 1, hint: id },
      "0400 05 01 02 03",
    ],
    [
      { ...head, type: "APPEND_ENTRIES_RESPONSE", rejected: true, index: 1, hint: id },
      "0401 05 01 02 03",
    ],
    [
      { ...head, type: "HEARTBEAT", commitIndex: 1, readRound: 2, heldIndex: 3 },
      "0500 05 01 02 03",
    ],
    [{ ...head, type: "HEARTBEAT_RESPONSE", readRound: 1 }, "0600 05 01"],
    [{ ...head, type: "READ_INDEX", context: 1 }, "0700 05 01"],
    [{ ...head, type: "READ_INDEX_RESPONSE", context: 1, index: 2 }, "0800 05 01 02"],
    [{ ...head, type: "TIMEOUT_NOW", last: id }, "0900 05 02 03"],
  ])("message: %j has exactly these bytes", (message, digits) => {
    const expected = digits.replace(/ (\w\w)(?= |$)/g, "$100000000000000").replaceAll(" ", "");
    const frame = ReplicationProtocol.encodeRaft(message);
    const header = { kind: "REPLICATION", requestId: 0 };
    expect(decodeFrameHeader(frame, FRAME_BODY_SIZE_MAX)).toMatchObject(header);
    const body = bodyOf(frame);
    expect(Buffer.from(body).toString("hex")).toBe(expected);
    expect(decode(body)).toEqual(message);
  });

  test("message: every type is tried here", () => {
    const types = new Set<string>(MESSAGES.map(({ type }) => type));
    expect(RAFT_MESSAGE_TYPES.filter((type) => type !== "GENERIC" && !types.has(type))).toEqual([]);
  });

  test("message: its sender is the connection's, whatever it says", () => {
    const frame = ReplicationProtocol.encodeRaft({ ...MESSAGES[0]!, from: "evil", to: "n9" });
    expect(decode(bodyOf(frame))).toMatchObject(ROUTE);
  });

  test.each(MESSAGES)("message: $type, every cut and a byte too many are refused", (message) => {
    const body = bodyOf(ReplicationProtocol.encodeRaft(message));
    for (let cut = 0; cut < body.byteLength; cut += 1) {
      expect(() => decode(body.subarray(0, cut))).toThrow(ProtocolError);
    }
    expect(() => decode(new Uint8Array([...body, 0]))).toThrow(ProtocolError);
  });

  test("message: unknown types and flags are refused", () => {
    const body = bodyOf(ReplicationProtocol.encodeRaft(MESSAGES[8]!));
    for (const type of [0, RAFT_MESSAGE_TYPES.length, 255]) {
      expect(() => decode(new Uint8Array([type, ...body.subarray(1)]))).toThrow("unknown");
    }
    expect(() => decode(new Uint8Array([body[0]!, 4, ...body.subarray(2)]))).toThrow("unknown");
  });
});

describe("appended batches", () => {
  // Mutations that these find: a gap, an older or a future term that is not compared.
  test.each<readonly [string, readonly Entry[]]>([
    ["a gap behind the previous entry", [entry(4, 12)]],
    ["an entry twice", [entry(4, 11), entry(4, 11)]],
    ["a gap between", [entry(4, 11), entry(4, 13)]],
    ["the wrong order", [entry(4, 12), entry(4, 11)]],
    ["an older term than the previous entry", [entry(2, 11)]],
    ["a falling term", [entry(4, 11), entry(3, 12)]],
    ["a term of the future", [entry(6, 11)]],
  ])("append: %s is refused", (_name, entries) => {
    const body = bodyOf(ReplicationProtocol.encodeRaft(append(entries)));
    expect(() => decode(body)).toThrow("does not follow");
  });

  test("append: one flipped bit in any byte of a batch is refused", () => {
    const body = bodyOf(ReplicationProtocol.encodeRaft(append([entry(4, 11)])));
    for (let at = 38; at < body.byteLength; at += 1) {
      const damaged = body.slice();
      damaged[at]! ^= 0x10;
      expect(() => decode(damaged)).toThrow(ProtocolError);
    }
  });

  test.each([0, 2, 2 ** 31, 2 ** 32 - 1])("append: a count of %i is refused", (count) => {
    const body = bodyOf(ReplicationProtocol.encodeRaft(append([entry(4, 11)])));
    viewOf(body).setUint32(34, count, true);
    expect(() => decode(body)).toThrow(ProtocolError);
  });

  // The chunk of a socket is a Buffer, whose `slice` is a view: the log would hold the chunk.
  test("append: entries are copies, also of a Buffer", () => {
    const body = Buffer.from(bodyOf(ReplicationProtocol.encodeRaft(append([entry(4, 11)]))));
    const message = decode(body) as AppendEntries;
    body.fill(0);
    expect(message.entries[0]?.bytes).toEqual(entry(4, 11).bytes);
    expect(message.entries[0]?.bytes.buffer.byteLength).toBe(entry(4, 11).bytes.byteLength);
  });
});

describe("generic messages", () => {
  const RECEIPT = { timestamp: 99, messageId: "local" };
  const MESSAGE = {
    type: "WAL_ENTRY",
    sourceNodeId: "liar",
    timestamp: 1_234,
    messageId: "n1-1",
    checksum: "",
    data: { a: [1, null, new Date(5)] },
  };

  function decodeAny(body: Uint8Array): unknown {
    return ReplicationProtocol.decode(body, ROUTE, RECEIPT);
  }

  function generic(value: unknown): Uint8Array {
    return new Uint8Array([0, 0, ...encodeCbor(value)]);
  }

  test("generic: it comes back, under the connection's name", () => {
    const body = bodyOf(ReplicationProtocol.encode(MESSAGE));
    expect(ReplicationProtocol.isRaft(body)).toBe(false);
    const route = { sourceNodeId: "n1", targetNodeId: "n2" };
    expect(decodeAny(body)).toEqual({ ...MESSAGE, ...route });
    const checksum = ReplicationProtocol.checksum(body);
    expect(checksum).toBe(checksum64(body).toString(16).padStart(16, "0"));
    const read = ReplicationProtocol.decode(body, ROUTE, { ...RECEIPT, checksum });
    expect(read).toEqual({ ...MESSAGE, ...route, checksum });
  });

  test("generic: consensus comes as an envelope, with the receiver's time", () => {
    const data = MESSAGES[8]!;
    const envelope = { sourceNodeId: "n1", timestamp: 0, messageId: "", checksum: "" };
    const frame = ReplicationProtocol.encode({
      ...envelope,
      type: "HEARTBEAT",
      data: asConsensus({ ...data }),
    });
    expect(decodeAny(bodyOf(frame))).toMatchObject({ ...RECEIPT, type: "HEARTBEAT", data });
  });

  // Mutation that this finds: a generic message that may pass for one of consensus.
  test("generic: a program's own message of a type of consensus never reaches consensus", () => {
    const data = { type: "HEARTBEAT", from: "n1", to: "n2", term: 9, commitIndex: 9, readRound: 1 };
    const read = decodeAny(generic({ type: "HEARTBEAT", timestamp: 1, messageId: "m", data }));
    expect(read).toMatchObject({ type: "HEARTBEAT", messageId: "m", data });
    expect(consensusIn(read as ReplicationMessage)).toBeUndefined();
    const raft = ReplicationProtocol.encodeRaft(MESSAGES[8]!);
    expect(consensusIn(decodeAny(bodyOf(raft)) as ReplicationMessage)).toEqual(MESSAGES[8]);
  });

  test.each<readonly [string, unknown]>([
    ["null", null],
    ["a list", [1]],
    ["a number", 1],
    ["no type", { timestamp: 1, messageId: "" }],
    ["no time", { type: "ACK", messageId: "" }],
    ["no id", { type: "ACK", timestamp: 1 }],
    ["a long type", { type: "x".repeat(65), timestamp: 1, messageId: "" }],
    ["a time as text", { type: "ACK", timestamp: "1", messageId: "" }],
  ])("generic: %s is refused", (_name, value) => {
    expect(() => decodeAny(generic(value))).toThrow("its envelope is not whole");
  });

  test("generic: its body is two zeros and a map", () => {
    const frame = ReplicationProtocol.encode(MESSAGE);
    const header = { kind: "REPLICATION", requestId: 0 };
    expect(decodeFrameHeader(frame, FRAME_BODY_SIZE_MAX)).toMatchObject(header);
    const { type, timestamp, messageId, data } = MESSAGE;
    expect(bodyOf(frame)).toEqual(generic({ type, timestamp, messageId, data }));
  });

  test("generic: a type of 64 characters is taken, one of 65 is refused", () => {
    const longest = { ...MESSAGE, type: "x".repeat(64) };
    const route = { sourceNodeId: "n1", targetNodeId: "n2" };
    const body = bodyOf(ReplicationProtocol.encode(longest));
    expect(decodeAny(body)).toMatchObject({ ...longest, ...route, checksum: expect.any(String) });
    expect(() => ReplicationProtocol.encode({ ...MESSAGE, type: "x".repeat(65) })).toThrow(
      new ValidationError("Cannot send a message: its type has more than 64 characters"),
    );
  });

  test("generic: a body as large as a frame is sent, one byte more is refused", () => {
    const sized = (size: number): Uint8Array => {
      return ReplicationProtocol.encode({ ...MESSAGE, data: new Uint8Array(size) });
    };
    const overhead = sized(100_000).byteLength - 100_000 - 24;
    const largest = FRAME_BODY_SIZE_MAX - overhead;
    expect(sized(largest)).toHaveLength(24 + FRAME_BODY_SIZE_MAX);
    expect(() => sized(largest + 1)).toThrow(
      new ValidationError(
        `Cannot send a message of ${FRAME_BODY_SIZE_MAX - 1} bytes: it does not fit a frame`,
      ),
    );
  });

  test("generic: bodies of 0, 1 and 2 bytes are refused by what they lack", () => {
    const empty = new ProtocolError("Cannot read replication message: it is empty");
    for (const body of [new Uint8Array(0), Uint8Array.of(0), Uint8Array.of(5)]) {
      expect(() => decodeAny(body)).toThrow(empty);
    }
    expect(() => decodeAny(Uint8Array.of(0, 0))).toThrow("Cannot read CBOR: truncated");
    expect(() => decodeAny(Uint8Array.of(5, 0))).toThrow("Cannot read 8 bytes");
  });

  test("generic: an empty body and hostile CBOR are refused", () => {
    expect(() => decodeAny(new Uint8Array(0))).toThrow(ProtocolError);
    expect(() => decodeAny(Uint8Array.of(0))).toThrow(ProtocolError);
    expect(() => decodeAny(Uint8Array.of(0, 0, 0xc2, 0x41, 1))).toThrow("tag not allowed");
    expect(isConsensusType("GENERIC")).toBe(false);
    expect(isConsensusType("toString")).toBe(false);
  });

  test(seeded("messages: mutations give messages or ProtocolError, nothing else"), () => {
    const random = fuzzRandom();
    const bodies = [
      ...MESSAGES.map((message) => bodyOf(ReplicationProtocol.encodeRaft(message))),
      bodyOf(ReplicationProtocol.encode(MESSAGE)),
    ];
    let refused = 0;
    for (let i = 0; i < rounds(40_000); i += 1) {
      try {
        decodeAny(mutate(random, bodies[i % bodies.length]!));
      } catch (error) {
        expect(error).toBeInstanceOf(ProtocolError);
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(rounds(40_000) / 4);
  });
});

const HELLO: Hello = {
  role: "peer",
  address: "",
  clusterId: "0011223344556677",
  nodeId: "n1",
  expects: "n2",
  incarnation: "abc",
  bootId: "def",
  term: 5,
  isLeader: true,
  version: "0.1.0/1",
  features: ["zstd", "deflate-raw"],
};

describe("handshake", () => {
  test("hello: it comes back", () => {
    expect(decodeHello(encodeHello(HELLO))).toEqual(HELLO);
  });

  test("hello: every field must be there and of its type", () => {
    for (const name of Object.keys(HELLO)) {
      const { [name]: _, ...rest } = HELLO as unknown as Record<string, unknown>;
      expect(() => decodeHello(encodeCbor(rest))).toThrow(name);
      for (const bad of [null, ["x", 1], {}, -1, 2 ** 60, 1.5, "x".repeat(201)]) {
        expect(() => decodeHello(encodeCbor({ ...HELLO, [name]: bad }))).toThrow(name);
      }
    }
    const many = { ...HELLO, features: new Array(65).fill("x") };
    expect(() => decodeHello(encodeCbor(many))).toThrow("features");
    for (const value of [null, [], "x", 1]) {
      expect(() => decodeHello(encodeCbor(value))).toThrow(ProtocolError);
    }
  });

  test(seeded("hello: mutations give a hello or ProtocolError, nothing else"), () => {
    const random = fuzzRandom();
    const error = encodeConnectionError(new ConfigError("wrong", { remedy: "right" }));
    for (let i = 0; i < rounds(20_000); i += 1) {
      try {
        if (i % 2 === 0) decodeHello(mutate(random, encodeHello(HELLO)));
        else decodeConnectionError(mutate(random, error));
      } catch (cause) {
        expect(cause).toBeInstanceOf(ProtocolError);
      }
    }
  });

  test("errors: class, message and the handshake's remedy come back", () => {
    const refusal = new HandshakeError("not you", { remedy: "go away" });
    const back = decodeConnectionError(encodeConnectionError(refusal));
    expect(back).toBeInstanceOf(HandshakeError);
    expect([back.message, back.remedy]).toEqual(["not you", "go away"]);
    const full = decodeConnectionError(encodeConnectionError(new OverloadedError("full", 1_000)));
    expect(full).toBeInstanceOf(OverloadedError);
    const local = new CorruptionError("bad", { file: "f", byte: 1 });
    expect(decodeConnectionError(encodeConnectionError(local))).toBeInstanceOf(ProtocolError);
    const long = new ProtocolError("\u{1f980}".repeat(50_000));
    expect(encodeConnectionError(long).byteLength).toBeLessThan(16_384);
  });

  test("cluster: other ids are refused both ways, clients may leave it open", () => {
    const other = { ...HELLO, nodeId: "n2", clusterId: "ffff" };
    const client: Hello = { ...HELLO, role: "client", nodeId: "", clusterId: "" };
    expect(() => checkSameCluster(HELLO, other)).toThrow(/0011223344556677 and ffff/);
    expect(() => checkSameCluster(other, HELLO)).toThrow(HandshakeError);
    expect(() => checkSameCluster(HELLO, { ...other, clusterId: "" })).toThrow(HandshakeError);
    expect(() => checkSameCluster(HELLO, { ...client, clusterId: "ffff" })).toThrow("client");
    checkSameCluster(HELLO, client);
    checkSameCluster(client, HELLO);
    checkSameCluster(HELLO, { ...HELLO, nodeId: "n2" });
  });
});

test("generic: a message that fits no frame is refused with a typed error", () => {
  const envelope = { sourceNodeId: "a", timestamp: 1, messageId: "m", checksum: "" };
  const large = { ...envelope, type: "SYNC_REQUEST", data: new Uint8Array(29 * 1024 * 1024) };
  expect(() => ReplicationProtocol.encode(large)).toThrow(ValidationError);
  expect(() => ReplicationProtocol.encode({ ...envelope, type: "x".repeat(65), data: 1 })).toThrow(
    ValidationError,
  );
});
