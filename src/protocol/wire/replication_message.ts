/**
 * All messages between nodes, and their codec. One REPLICATION frame is one message; the frame
 * ensures its integrity. Source and target come from the handshake of the connection, never from
 * the message's bytes, so that no node can speak for another. Integers are unsigned,
 * little-endian. First byte: the type's number; second byte: flags; then by type:
 *
 * | type                    | number | fields                                                      |
 * | ----------------------- | -----: | ----------------------------------------------------------- |
 * | (generic)               |      0 | CBOR map {type, timestamp, messageId, data}                 |
 * | VOTE_REQUEST            |      1 | flags 1 pre-vote, 2 transfer; term, last term, last index (8 each) |
 * | VOTE_RESPONSE           |      2 | flags 1 pre-vote, 2 granted; term (8)                       |
 * | APPEND_ENTRIES          |      3 | term, previous term, previous index, commit index (8 each), entries (4), then each batch (`batch_codec.ts`) |
 * | APPEND_ENTRIES_RESPONSE |      4 | flags 1 rejected; term, index, hint term, hint index (8 each) |
 * | HEARTBEAT               |      5 | term, commit index, read round (8 each)                     |
 * | HEARTBEAT_RESPONSE      |      6 | term, read round (8 each)                                   |
 * | READ_INDEX              |      7 | term, context (8 each)                                      |
 * | READ_INDEX_RESPONSE     |      8 | term, context, index (8 each)                               |
 * | TIMEOUT_NOW             |      9 | term, last term, last index (8 each)                        |
 *
 * @module
 */

import { assert, unreachable } from "../../base/assert.ts";
import { ByteReader, ByteWriter } from "../../base/bytes.ts";
import { ProtocolError, ValidationError } from "../../base/errors.ts";
import { FRAME_BODY_SIZE_MAX } from "../../base/limits.ts";
import type { AppendEntries, RaftMessage } from "../../raft/message.ts";
import type { Entry } from "../../raft/types.ts";
import { BATCH_HEADER_SIZE, batchSizeAt, verifyBatch } from "../encoding/batch_codec.ts";
import { decodeUntrustedCbor, encodeCbor } from "../encoding/cbor.ts";
import { checksum64 } from "../encoding/checksum.ts";
import { FRAME_HEADER_SIZE, sealFrame } from "./frame_header.ts";

/** The types of consensus messages by number; 0 is a generic message. */
export const RAFT_MESSAGE_TYPES = [
  "GENERIC",
  "VOTE_REQUEST",
  "VOTE_RESPONSE",
  "APPEND_ENTRIES",
  "APPEND_ENTRIES_RESPONSE",
  "HEARTBEAT",
  "HEARTBEAT_RESPONSE",
  "READ_INDEX",
  "READ_INDEX_RESPONSE",
  "TIMEOUT_NOW",
] as const;

const FLAG_ONE = 1;
const FLAG_TWO = 2;
const TYPE_LENGTH_MAX = 64;
const CHECKSUM_DIGITS = 16;

/** A message between nodes. */
export interface ReplicationMessage {
  readonly type:
    | ("WAL_ENTRY" | "SYNC_REQUEST" | "SYNC_RESPONSE" | "ACK" | "ELECTION" | RaftMessage["type"])
    | (string & {});
  readonly sourceNodeId: string;
  readonly targetNodeId?: string;
  /** Time of sending, or of receipt for messages of consensus, ms since 1970. */
  readonly timestamp: number;
  /** Any value that CBOR can carry; of a message of consensus a {@link RaftMessage}. */
  // biome-ignore lint/suspicious/noExplicitAny: programs read fields of their own messages from it.
  readonly data: any;
  /** xxh64 of the frame's body that it came in, as 16 hex digits; empty before it is sent. */
  readonly checksum: string;
  /** Made when it is sent without one. */
  readonly messageId?: string;
}

/** Marks data that consensus made, or that was read as such: no other reaches it. */
const CONSENSUS: unique symbol = Symbol("consensus");

/** A message of consensus, so that {@link consensusIn} knows it. */
export function asConsensus<M extends RaftMessage>(message: M): M {
  return Object.defineProperty(message, CONSENSUS, { value: true });
}

/** The message of consensus that a message carries; undefined if its data is a program's own. */
export function consensusIn({ data }: ReplicationMessage): RaftMessage | undefined {
  const isMarked = typeof data === "object" && data !== null && CONSENSUS in data;
  return isMarked ? (data as RaftMessage) : undefined;
}

/** The sender and the receiver of a message, as the handshake established them. */
export interface MessageRoute {
  readonly from: string;
  readonly to: string;
}

/** Whether a type belongs to consensus. */
export function isConsensusType(type: string): type is RaftMessage["type"] {
  const number = (RAFT_MESSAGE_TYPES as readonly string[]).indexOf(type);
  return number > 0;
}

/** A whole frame. */
function encodeRaft(message: RaftMessage): Uint8Array {
  const size = frameSize(message);
  const writer = new ByteWriter(size);
  writer.reserve(FRAME_HEADER_SIZE);
  writer.u8(RAFT_MESSAGE_TYPES.indexOf(message.type)).u8(flagsOf(message)).u64(message.term);
  writeFields(writer, message);
  assert(writer.size === size, "the fields have the sizes of the table");
  const frame = writer.written();
  sealFrame(frame, "REPLICATION", 0);
  return frame;
}

/** Bytes of a message's fields behind its term, without entries. */
const FIELD_SIZES: Readonly<Record<RaftMessage["type"], number>> = {
  VOTE_REQUEST: 16,
  VOTE_RESPONSE: 0,
  APPEND_ENTRIES: 28,
  APPEND_ENTRIES_RESPONSE: 24,
  HEARTBEAT: 24,
  HEARTBEAT_RESPONSE: 8,
  READ_INDEX: 8,
  READ_INDEX_RESPONSE: 16,
  TIMEOUT_NOW: 16,
};

function frameSize(message: RaftMessage): number {
  let size = FRAME_HEADER_SIZE + 10 + FIELD_SIZES[message.type];
  if (message.type === "APPEND_ENTRIES") {
    for (const entry of message.entries) size += entry.bytes.byteLength;
  }
  return size;
}

function flagsOf(message: RaftMessage): number {
  switch (message.type) {
    case "VOTE_REQUEST":
      return (message.preVote ? FLAG_ONE : 0) | (message.transfer ? FLAG_TWO : 0);
    case "VOTE_RESPONSE":
      return (message.preVote ? FLAG_ONE : 0) | (message.granted ? FLAG_TWO : 0);
    case "APPEND_ENTRIES_RESPONSE":
      return message.rejected ? FLAG_ONE : 0;
    default:
      return 0;
  }
}

function writeFields(writer: ByteWriter, message: RaftMessage): void {
  switch (message.type) {
    case "VOTE_RESPONSE":
      return;
    case "VOTE_REQUEST":
    case "TIMEOUT_NOW":
      assert(message.last.term <= message.term, "no entry has a later term than its node");
      writer.u64(message.last.term).u64(message.last.index);
      return;
    case "APPEND_ENTRIES":
      writer.u64(message.previous.term).u64(message.previous.index).u64(message.commitIndex);
      writer.u32(message.entries.length);
      for (const entry of message.entries) writer.raw(entry.bytes);
      return;
    case "APPEND_ENTRIES_RESPONSE":
      writer.u64(message.index).u64(message.hint.term).u64(message.hint.index);
      return;
    case "HEARTBEAT":
      writer.u64(message.commitIndex).u64(message.readRound).u64(message.heldIndex);
      return;
    case "HEARTBEAT_RESPONSE":
      writer.u64(message.readRound);
      return;
    case "READ_INDEX":
      writer.u64(message.context);
      return;
    case "READ_INDEX_RESPONSE":
      writer.u64(message.context).u64(message.index);
      return;
    default:
      unreachable(message);
  }
}

/** Reads an untrusted body; batches are verified and copied. Throws ProtocolError. */
function decodeRaft(body: Uint8Array, route: MessageRoute): RaftMessage {
  const reader = new ByteReader(body);
  const type = RAFT_MESSAGE_TYPES[reader.u8()];
  const flags = reader.u8();
  if (type === undefined || type === "GENERIC" || flags > 3) {
    throw new ProtocolError(`Cannot read replication message: type ${body[0]} is unknown`);
  }
  const { from, to } = route;
  const message = readFields(reader, type, { from, to, term: reader.u64(), flags });
  reader.end();
  assert(reader.offset === body.byteLength, "the fields fill the body");
  return message;
}

function readFields(
  reader: ByteReader,
  type: RaftMessage["type"],
  head: MessageRoute & { readonly term: number; readonly flags: number },
): RaftMessage {
  const { from, to, term, flags } = head;
  const envelope = { from, to, term };
  const one = (flags & FLAG_ONE) !== 0;
  const two = (flags & FLAG_TWO) !== 0;
  switch (type) {
    case "VOTE_REQUEST":
      return { ...envelope, type, last: readId(reader), preVote: one, transfer: two };
    case "VOTE_RESPONSE":
      return { ...envelope, type, preVote: one, granted: two };
    case "APPEND_ENTRIES":
      return readAppend(reader, envelope);
    case "APPEND_ENTRIES_RESPONSE":
      return { ...envelope, type, rejected: one, index: reader.u64(), hint: readId(reader) };
    case "HEARTBEAT":
      return {
        ...envelope,
        type,
        commitIndex: reader.u64(),
        readRound: reader.u64(),
        heldIndex: reader.u64(),
      };
    case "HEARTBEAT_RESPONSE":
      return { ...envelope, type, readRound: reader.u64() };
    case "READ_INDEX":
      return { ...envelope, type, context: reader.u64() };
    case "READ_INDEX_RESPONSE":
      return { ...envelope, type, context: reader.u64(), index: reader.u64() };
    case "TIMEOUT_NOW":
      return { ...envelope, type, last: readId(reader) };
    default:
      return unreachable(type);
  }
}

function readId(reader: ByteReader): { term: number; index: number } {
  return { term: reader.u64(), index: reader.u64() };
}

function readAppend(
  reader: ByteReader,
  envelope: MessageRoute & { readonly term: number },
): AppendEntries {
  const previous = readId(reader);
  const commitIndex = reader.u64();
  const count = reader.u32();
  const entries: Entry[] = [];
  for (let i = 0; i < count; i += 1) {
    const entry = readEntry(reader);
    const last = entries.at(-1) ?? previous;
    if (entry.index !== last.index + 1 || entry.term < last.term || entry.term > envelope.term) {
      throw new ProtocolError(
        `Cannot read append: entry ${entry.index} does not follow ${last.index}`,
      );
    }
    entries.push(entry);
  }
  const last = entries.at(-1) ?? previous;
  assert(entries.length === count, "every entry was read");
  assert(last.index === previous.index + count, "the indexes follow without a gap");
  return { ...envelope, type: "APPEND_ENTRIES", previous, commitIndex, entries };
}

function readEntry(reader: ByteReader): Entry {
  // A copy: a view would keep the whole network chunk in memory.
  const bytes = reader.copy(batchSizeAt(reader.bytes, reader.offset));
  const { term, index, firstSequence, count, storedSize } = verifyBatch(bytes);
  assert(bytes.byteLength === BATCH_HEADER_SIZE + storedSize, "the entry is one whole batch");
  return { term, index, firstSequence, count, bytes };
}

function encodeGeneric(message: ReplicationMessage): Uint8Array {
  const { type, timestamp, messageId = "", data } = message;
  if (type.length > TYPE_LENGTH_MAX) {
    throw new ValidationError(
      `Cannot send a message: its type has more than ${TYPE_LENGTH_MAX} characters`,
    );
  }
  assert(type.length <= TYPE_LENGTH_MAX, "a longer type was refused");
  const body = encodeCbor({ type, timestamp, messageId, data });
  if (body.byteLength > FRAME_BODY_SIZE_MAX - 2) {
    throw new ValidationError(
      `Cannot send a message of ${body.byteLength} bytes: it does not fit a frame`,
    );
  }
  const size = FRAME_HEADER_SIZE + 2 + body.byteLength;
  const writer = new ByteWriter(size);
  writer.reserve(FRAME_HEADER_SIZE);
  const frame = writer.u8(0).u8(0).raw(body).written();
  assert(frame.byteLength === size, "the frame is its header, two bytes and the value");
  sealFrame(frame, "REPLICATION", 0);
  return frame;
}

function decodeGeneric(
  body: Uint8Array,
  route: MessageRoute,
  checksum: string,
): ReplicationMessage {
  const value = decodeUntrustedCbor(body.subarray(2));
  const fields = (typeof value === "object" && value !== null ? value : {}) as Record<
    string,
    unknown
  >;
  const { type, timestamp, messageId, data } = fields;
  const isWhole =
    typeof type === "string" && typeof timestamp === "number" && typeof messageId === "string";
  if (!isWhole || type.length > TYPE_LENGTH_MAX) {
    throw new ProtocolError("Cannot read replication message: its envelope is not whole");
  }
  const envelope = { sourceNodeId: route.from, targetNodeId: route.to, timestamp, messageId };
  return { ...envelope, type, data, checksum };
}

/** xxh64 of a REPLICATION frame's body, as 16 hex digits. */
function bodyChecksum(body: Uint8Array): string {
  assert(body.byteLength <= FRAME_BODY_SIZE_MAX, "the body came in a frame");
  const checksum = checksum64(body).toString(16).padStart(CHECKSUM_DIGITS, "0");
  assert(checksum.length === CHECKSUM_DIGITS, "a checksum of 64 bits has 16 hex digits");
  return checksum;
}

/** Encodes and decodes every {@link ReplicationMessage}. */
export const ReplicationProtocol = {
  /** A whole REPLICATION frame. */
  encode(message: ReplicationMessage): Uint8Array {
    const consensus = consensusIn(message);
    return consensus === undefined ? encodeGeneric(message) : encodeRaft(consensus);
  },

  encodeRaft,
  decodeRaft,

  checksum: bodyChecksum,

  /** Whether a REPLICATION frame's body is a message of consensus. */
  isRaft(body: Uint8Array): boolean {
    return body[0] !== 0;
  },

  /** Reads the untrusted body of a REPLICATION frame. Throws ProtocolError. */
  decode(
    body: Uint8Array,
    route: MessageRoute,
    receipt: {
      readonly timestamp: number;
      readonly messageId: string;
      /** Of the body, as `checksum` gives it. */
      readonly checksum?: string;
    },
  ): ReplicationMessage {
    if (body.byteLength < 2)
      throw new ProtocolError("Cannot read replication message: it is empty");
    const { checksum = "" } = receipt;
    if (body[0] === 0) return decodeGeneric(body, route, checksum);
    const data = asConsensus(decodeRaft(body, route));
    const envelope = { sourceNodeId: route.from, targetNodeId: route.to, ...receipt };
    return { ...envelope, type: data.type, data, checksum };
  },
} as const;
