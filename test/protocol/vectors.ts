/**
 * The bytes that docs/protocol.md shows, made by the code.
 *
 * @module
 */

import { ByteWriter, encodeText } from "../../src/base/bytes.ts";
import { HandshakeError, NotLeaderError } from "../../src/base/errors.ts";
import {
  BATCH_HEADER_SIZE,
  prepareBatch,
  sealBatch,
} from "../../src/protocol/encoding/batch_codec.ts";
import { encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import {
  clusterIdOf,
  firstBatch,
  membershipBatch,
} from "../../src/protocol/encoding/cluster_command.ts";
import {
  beginCommand,
  type DocumentOperation,
  endCommand,
  NO_SESSION,
  type RequestIdentity,
  writeDocumentsCommand,
} from "../../src/protocol/encoding/command.ts";
import { encodeKey } from "../../src/protocol/encoding/document_key.ts";
import { writeOperationResult } from "../../src/protocol/encoding/operation_result.ts";
import {
  beginReplies,
  beginRequest,
  endRequest,
  type RequestKind,
  writeError,
  writeResult,
  writeWritten,
} from "../../src/protocol/wire/client_message.ts";
import { encodeFrame } from "../../src/protocol/wire/frame_header.ts";
import { encodeConnectionError, encodeHello } from "../../src/protocol/wire/handshake.ts";
import { encodeLeaderNews } from "../../src/protocol/wire/leader_message.ts";
import { ReplicationProtocol } from "../../src/protocol/wire/replication_message.ts";
import {
  encodeSnapshotMessage,
  type SnapshotMessage,
} from "../../src/protocol/wire/snapshot_message.ts";
import type { RaftMessage } from "../../src/raft/message.ts";

const IDENTITY = { sessionId: 9, requestNumber: 3, acknowledgedBelow: 2 };
const ROUTE = { from: "n1", to: "n2" };
const STATE = { term: 7, committedSequence: 41 };
const MEMBERS = [
  { id: "n1", address: "127.0.0.1:7001" },
  { id: "n2", address: "127.0.0.1:7002" },
  { id: "n3", address: "127.0.0.1:7003" },
];
const NO_COMPRESSOR = {
  codec: "none",
  compressor: { compress: () => undefined, decompress: (_: string, stored: Uint8Array) => stored },
} as const;

function written(write: (writer: ByteWriter) => void): Uint8Array {
  const writer = new ByteWriter();
  write(writer);
  return writer.copy();
}

function documents(
  identity: RequestIdentity,
  operations: readonly DocumentOperation[],
): Uint8Array {
  const collection = encodeText("things");
  return written((writer) => writeDocumentsCommand(writer, identity, { collection, operations }));
}

function putCommand(): Uint8Array {
  const document = encodeCbor({ n: 1 });
  return documents(IDENTITY, [{ kind: "PUT", key: encodeKey("a"), document }]);
}

function request(kind: RequestKind, payload: Uint8Array): Uint8Array {
  return written((writer) => {
    const start = beginRequest(writer, kind, { requestId: 3, deadlineMs: 5_000 });
    writer.raw(payload);
    endRequest(writer, start);
  });
}

function replies(write: (writer: ByteWriter) => void): Uint8Array {
  return written((writer) => {
    beginReplies(writer, STATE);
    write(writer);
  });
}

function batch(): Uint8Array {
  const commands = putCommand();
  const bytes = new Uint8Array([...new Uint8Array(BATCH_HEADER_SIZE), ...commands]);
  const fields = { count: 1, timeMs: 1_700_000_000_000 };
  const place = { term: 7, index: 5, firstSequence: 42 };
  return sealBatch(prepareBatch(bytes, fields, NO_COMPRESSOR), place);
}

function raft(message: RaftMessage): Uint8Array {
  return ReplicationProtocol.encodeRaft(message).slice(24);
}

function snapshot(message: SnapshotMessage): Uint8Array {
  return encodeSnapshotMessage(message).slice(24);
}

function membershipCommand(): Uint8Array {
  const batch = membershipBatch(
    [
      { id: "n2", address: "127.0.0.1:7002", role: "learner", incarnation: "" },
      { id: "n1", address: "127.0.0.1:7001", role: "voter", incarnation: "8899aabbccddeeff" },
    ],
    0,
  );
  return batch.bytes.slice(BATCH_HEADER_SIZE);
}

function clientHello(): Uint8Array {
  return encodeHello({
    role: "client",
    address: "",
    clusterId: "",
    nodeId: "",
    expects: "",
    incarnation: "",
    bootId: "",
    term: 0,
    isLeader: false,
    version: "0.1.0/1",
    features: [],
  });
}

function openSession(): Uint8Array {
  return written((writer) => {
    endCommand(writer, beginCommand(writer, "OPEN_SESSION", { ...NO_SESSION, count: 1 }));
  });
}

/** A snapshot file as messages name it. */
const FILE = { ...ROUTE, term: 7, index: 40, checksum: 0x1112131415161718n };
const READ_PAYLOAD = [0, 6, ...encodeText("things"), ...encodeKey("a")];
const NOT_LEADER = new NotLeaderError("m", { id: "n2", address: "127.0.0.1:7002" });

/** By the name that stands in the document. */
export const VECTORS: Readonly<Record<string, () => Uint8Array>> = {
  "frame: PING, request id 7, no body": () => encodeFrame("PING", 7, new Uint8Array(0)),
  "frame: PONG, request id 7, body `abc`": () => encodeFrame("PONG", 7, encodeText("abc")),
  "HELLO body of a client": clientHello,
  "ERROR body: HANDSHAKE, `no`, remedy `go`": () =>
    encodeConnectionError(new HandshakeError("no", { remedy: "go" })),
  "LEADER body: term 7, `n2`, `127.0.0.1:7002`, one member, that one": () =>
    encodeLeaderNews({
      term: 7,
      nodeId: "n2",
      address: "127.0.0.1:7002",
      members: ["127.0.0.1:7002"],
    }),
  "key: string `a`": () => encodeKey("a"),
  "key: string ``": () => encodeKey(""),
  "key: number 0": () => encodeKey(0),
  "key: number 1": () => encodeKey(1),
  "key: number -1": () => encodeKey(-1),
  "document: `{ n: 1 }` by our encoder": () => encodeCbor({ n: 1 }),
  "document: `{ d: date 1001 ms }` by our encoder": () => encodeCbor({ d: new Date(1_001) }),
  "command: OPEN_SESSION": openSession,
  "command: session 9, request 3, below 2, PUT `a` in `things`": putCommand,
  "command: no session, REMOVE 1 in `things`, ifVersion 6, give back": () =>
    documents(NO_SESSION, [
      {
        kind: "REMOVE",
        key: encodeKey(1),
        document: new Uint8Array(0),
        ifVersion: 6,
        returnDocument: true,
      },
    ]),
  "request: COMMAND, id 3, 5000 ms": () => request("COMMAND", openSession()),
  "request: READ linearizable, `a` in `things`": () =>
    request("READ", Uint8Array.from(READ_PAYLOAD)),
  "request: COUNT linearizable, `things`": () =>
    request("COUNT", Uint8Array.from(READ_PAYLOAD.slice(0, 8))),
  "request: PROMOTE `n2`": () =>
    request(
      "PROMOTE",
      written((writer) => writer.text("n2")),
    ),
  'request: CLUSTER, `{ action: "remove", id: "n3" }`': () =>
    request("CLUSTER", encodeCbor({ action: "remove", id: "n3" })),
  "command: MEMBERSHIP of voter `n1` and learner `n2`": membershipCommand,
  "replies: WRITTEN, 2 from id 3, versions 40 and 41": () =>
    replies((writer) => {
      const run = { firstRequestId: 3, count: 2, firstVersion: 40, committed: true };
      writeWritten(writer, run);
    }),
  "replies: RESULT to id 3, found, version 40, `{}`": () =>
    replies((writer) => {
      const result = { found: true, version: 40, document: Uint8Array.of(0xa0) };
      const payload = written((inner) => writeOperationResult(inner, result));
      writeResult(writer, 3, payload);
    }),
  "replies: ERROR to id 3, NOT_LEADER, message `m`": () =>
    replies((writer) => writeError(writer, 3, NOT_LEADER)),
  "batch: term 7, index 5, sequence 42, the PUT above": batch,
  "VOTE_REQUEST: term 7, last 6:4, pre-vote": () =>
    raft({
      ...ROUTE,
      type: "VOTE_REQUEST",
      term: 7,
      last: { term: 6, index: 4 },
      preVote: true,
      transfer: false,
    }),
  "HEARTBEAT: term 7, commit 4, round 12, held 3": () =>
    raft({ ...ROUTE, type: "HEARTBEAT", term: 7, commitIndex: 4, readRound: 12, heldIndex: 3 }),
  "APPEND_ENTRIES: term 7, previous 6:4, commit 4, no entries": () =>
    raft({
      ...ROUTE,
      type: "APPEND_ENTRIES",
      term: 7,
      previous: { term: 6, index: 4 },
      commitIndex: 4,
      entries: [],
    }),
  "SNAPSHOT_OFFER: term 7, index 40, term 6, sequence 90, 300 bytes, checksum 1112131415161718":
    () => {
      const base = { index: 40, term: 6, nextSequence: 90 };
      return snapshot({ ...FILE, type: "SNAPSHOT_OFFER", base, size: 300 });
    },
  "SNAPSHOT_CHUNK: the same file, from 2 on, `abc`": () =>
    snapshot({ ...FILE, type: "SNAPSHOT_CHUNK", offset: 2, bytes: encodeText("abc") }),
  "SNAPSHOT_PROGRESS: the same file, 5 bytes, receiving": () =>
    snapshot({ ...FILE, type: "SNAPSHOT_PROGRESS", offset: 5, status: "receiving" }),
  "cluster: entry 1 of n1, n2, n3": () => firstBatch(MEMBERS),
  "cluster: its id": () => new Uint8Array(Buffer.from(clusterIdOf(MEMBERS), "hex")),
};
