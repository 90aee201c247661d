/**
 * Requests and replies between clients and nodes. A REQUESTS frame holds one or more requests, a
 * REPLIES frame one or more replies: what is ready in one turn shares a frame. Integers are
 * unsigned, little-endian; a text is its size (2 bytes) and UTF-8.
 *
 * Request: size of what follows (4 bytes), kind (1), reserved 0 (1), requestId (4, chosen by the
 * client, free again after the reply), deadlineMs (4, from receipt), then by kind:
 *
 * | kind        | number | payload                                                           |
 * | ----------- | -----: | ----------------------------------------------------------------- |
 * | COMMAND     |      1 | one command (`command.ts`)                                        |
 * | READ        |      2 | level (1: 0 linearizable, 1 leader, 2 stale), collection name size (1), name, key |
 * | COUNT       |      3 | level (1), collection name size (1), name                         |
 * | STATUS      |      4 | -                                                                 |
 * | PROMOTE     |      5 | node id as text                                                   |
 * | CLUSTER     |      6 | CBOR map with `action`: see docs/protocol.md                      |
 * | QUERY       |      7 | level (1), CBOR map with `action`: see docs/protocol.md           |
 * | WRITE       |      8 | acknowledgements (1: 0 as the node is set, else 1 + the position in `ACKNOWLEDGEMENTS`), flags (1: `FLAG_REPEAT`, `FLAG_CONDITIONAL`), a command DOCUMENTS or TRANSACTION |
 *
 * A REPLIES body starts with the node's term (8) and committed sequence number (8); then replies:
 *
 * | kind    | number | fields                                                                |
 * | ------- | -----: | --------------------------------------------------------------------- |
 * | WRITTEN |      1 | flags (1: 1 = committed), count (2), first requestId (4), first version (8): `count` requests with consecutive ids, each with one operation, written with consecutive versions |
 * | RESULT  |      2 | flags (1), requestId (4), size (4), payload                           |
 * | ERROR   |      3 | requestId (4), an error (`error_message.ts`)                          |
 *
 * Payload of a RESULT: to COMMAND, WRITE and READ, for each operation an outcome (1 byte: 1 written
 * or found, 2 absent), version (8), document size (4), document; to COUNT a number (8); to STATUS,
 * PROMOTE and CLUSTER a CBOR map.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteReader, type ByteWriter } from "../../base/bytes.ts";
import { type CStoreError, ProtocolError, ValidationError } from "../../base/errors.ts";
import { FRAME_BODY_SIZE_MAX } from "../../base/limits.ts";
import { readErrorMessage, writeErrorMessage } from "./error_message.ts";

/** Request kinds by number. */
export const REQUEST_KINDS = [
  "NONE",
  "COMMAND",
  "READ",
  "COUNT",
  "STATUS",
  "PROMOTE",
  "CLUSTER",
  "QUERY",
  "WRITE",
] as const;
/** One of {@link REQUEST_KINDS}. */
export type RequestKind = Exclude<(typeof REQUEST_KINDS)[number], "NONE">;

/** How fresh a read must be; the number on the wire is the position. */
export const READ_LEVELS = ["linearizable", "leader", "stale"] as const;
/** One of {@link READ_LEVELS}. */
export type ReadLevel = (typeof READ_LEVELS)[number];

/** Advice for a read that no quorum answers. */
export const READ_STALE =
  'Any node answers at the level "stale" (`--read stale`), perhaps with older documents';

/** Whose disks must have a write of a collection that every node writes; see WRITE. */
export const ACKNOWLEDGEMENTS = ["one", "majority", "all"] as const;
/** One of {@link ACKNOWLEDGEMENTS}. */
export type Acknowledgement = (typeof ACKNOWLEDGEMENTS)[number];

/** Bytes before the command of a WRITE. */
export const WRITE_HEADER_SIZE = 2;
/** Flag of a WRITE: it was sent before, to whichever node. */
export const FLAG_REPEAT = 1;
/** Flag of a WRITE: conditions on versions are compared with what the node shows. */
export const FLAG_CONDITIONAL = 2;

/** Bytes before a request's payload. */
export const REQUEST_HEADER_SIZE = 14;
const REPLIES_HEADER_SIZE = 16;
const WRITTEN_SIZE = 16;
const RESULT_HEADER_SIZE = 10;
const ERROR_HEADER_SIZE = 5;
/** Writes of one WRITTEN reply. */
export const WRITTEN_COUNT_MAX = 0xffff;
const WRITTEN = 1;
const RESULT = 2;
const ERROR = 3;
const FLAG_COMMITTED = 1;

/** One request; `start` and `end` bound its payload in the frame's body. */
export interface RequestView {
  readonly kind: RequestKind;
  readonly requestId: number;
  readonly deadlineMs: number;
  readonly start: number;
  readonly end: number;
}

/** What stands before a request: its number, and the milliseconds that its caller waits. */
export interface RequestHeader {
  readonly requestId: number;
  readonly deadlineMs: number;
}

/** Starts a request and gives where it began, for {@link endRequest}. */
export function beginRequest(
  writer: ByteWriter,
  kind: RequestKind,
  request: RequestHeader,
): number {
  const start = writer.size;
  writer.u32(0).u8(REQUEST_KINDS.indexOf(kind)).u8(0).u32(request.requestId);
  writer.u32(request.deadlineMs);
  assert(writer.size === start + REQUEST_HEADER_SIZE, "a request's header has its size");
  return start;
}

/** Completes the request that began at `start`. */
export function endRequest(writer: ByteWriter, start: number): void {
  assert(writer.size >= start + REQUEST_HEADER_SIZE, "a request ends behind its header");
  writer.patchU32(start, writer.size - start - 4);
}

/** Reads the request at `at` of an untrusted body. Throws ProtocolError. */
export function readRequest(view: DataView, at: number): RequestView {
  assert(at <= view.byteLength, "a request begins inside its frame");
  const room = view.byteLength - at;
  if (room < REQUEST_HEADER_SIZE) throw new ProtocolError("Cannot read request: it is cut off");
  const end = at + 4 + view.getUint32(at, true);
  const kind = REQUEST_KINDS[view.getUint8(at + 4)];
  if (end > view.byteLength || end < at + REQUEST_HEADER_SIZE) {
    throw new ProtocolError("Cannot read request: its size does not fit the frame");
  }
  if (kind === undefined || kind === "NONE" || view.getUint8(at + 5) !== 0) {
    throw new ProtocolError(`Cannot read request: kind ${view.getUint8(at + 4)} is unknown`);
  }
  const requestId = view.getUint32(at + 6, true);
  const deadlineMs = view.getUint32(at + 10, true);
  const start = at + REQUEST_HEADER_SIZE;
  assert(at < start, "a payload stands behind its header");
  assert(start <= end, "a payload does not end before it begins");
  assert(end <= view.byteLength, "a request ends inside its frame");
  return { kind, requestId, deadlineMs, start, end };
}

/** Starts the body of a REPLIES frame. */
export function beginReplies(
  writer: ByteWriter,
  state: { readonly term: number; readonly committedSequence: number },
): void {
  const start = writer.size;
  writer.u64(state.term).u64(state.committedSequence);
  assert(writer.size === start + REPLIES_HEADER_SIZE, "the header of replies has its size");
}

/** Replies of one write each. */
export interface WrittenRun {
  readonly firstRequestId: number;
  readonly count: number;
  readonly firstVersion: number;
  readonly committed: boolean;
}

/** Appends a WRITTEN reply. */
export function writeWritten(writer: ByteWriter, run: WrittenRun): void {
  const start = writer.size;
  assert(run.count <= WRITTEN_COUNT_MAX, "a run of writes fits its count");
  writer
    .u8(WRITTEN)
    .u8(run.committed ? FLAG_COMMITTED : 0)
    .u16(run.count);
  writer.u32(run.firstRequestId).u64(run.firstVersion);
  assert(writer.size === start + WRITTEN_SIZE, "a WRITTEN reply has its size");
}

/** Appends a RESULT reply. */
export function writeResult(writer: ByteWriter, requestId: number, payload: Uint8Array): void {
  const start = writer.size;
  assert(payload.byteLength <= FRAME_BODY_SIZE_MAX, "a result fits a frame");
  writer.u8(RESULT).u8(FLAG_COMMITTED).u32(requestId).u32(payload.byteLength).raw(payload);
  assert(
    writer.size === start + RESULT_HEADER_SIZE + payload.byteLength,
    "a RESULT reply is its header and its payload",
  );
}

/** Appends an ERROR reply. */
export function writeError(writer: ByteWriter, requestId: number, error: CStoreError): void {
  const start = writer.size;
  writer.u8(ERROR).u32(requestId);
  writeErrorMessage(writer, error);
  assert(writer.size > start + ERROR_HEADER_SIZE, "an ERROR reply holds an error");
}

/** What a client does with each reply of a frame. */
export interface ReplyHandlers {
  state(term: number, committedSequence: number): void;
  written(run: WrittenRun): void;
  /** The payload is a view of the frame. */
  result(requestId: number, payload: Uint8Array): void;
  error(requestId: number, error: CStoreError): void;
}

/** Reads the body of a REPLIES frame. Throws ProtocolError. */
export function readReplies(body: Uint8Array, handlers: ReplyHandlers): void {
  const reader = new ByteReader(body);
  if (body.byteLength < REPLIES_HEADER_SIZE)
    throw new ProtocolError("Cannot read replies: cut off");
  handlers.state(reader.u64(), reader.u64());
  assert(reader.offset === REPLIES_HEADER_SIZE, "replies follow the header");
  while (reader.remaining > 0) {
    const before = reader.offset;
    const kind = reader.u8();
    if (kind === WRITTEN) {
      const committed = (reader.u8() & FLAG_COMMITTED) !== 0;
      const count = reader.u16();
      handlers.written({
        committed,
        count,
        firstRequestId: reader.u32(),
        firstVersion: reader.u64(),
      });
    } else if (kind === RESULT) {
      reader.u8();
      const requestId = reader.u32();
      handlers.result(requestId, reader.take(reader.u32()));
    } else if (kind === ERROR) {
      const requestId = reader.u32();
      handlers.error(requestId, readErrorMessage(reader));
    } else {
      throw new ProtocolError(`Cannot read reply: kind ${kind} is unknown`);
    }
    assert(reader.offset >= before + ERROR_HEADER_SIZE, "every reply has a kind and an id");
    assert(reader.offset <= body.byteLength, "a reply ends inside its frame");
  }
}

/** The number of a read level. Throws ValidationError. */
export function readLevelNumber(level: ReadLevel): number {
  const number = READ_LEVELS.indexOf(level);
  if (number !== -1) return number;
  throw new ValidationError(`Cannot read with the level "${String(level)}"`, {
    remedy: `Use one of ${READ_LEVELS.join(", ")}`,
  });
}

/** What a READ or COUNT asks for, as views of the frame. */
export interface ReadTarget {
  readonly level: ReadLevel;
  readonly collection: Uint8Array;
  readonly key: Uint8Array;
}

/** Reads the payload of a READ or COUNT. Throws ProtocolError. */
export function readReadTarget(body: Uint8Array, start: number, end: number): ReadTarget {
  assert(start <= end, "a payload does not end before it begins");
  assert(end <= body.byteLength, "a payload ends inside its frame");
  const reader = new ByteReader(body.subarray(start, end));
  const level = READ_LEVELS[reader.u8()];
  if (level === undefined) throw new ProtocolError("Cannot read request: unknown read level");
  const collection = reader.take(reader.u8());
  const key = reader.take(reader.remaining);
  assert(
    key.byteLength + collection.byteLength + 2 === end - start,
    "level, name and key are the whole payload",
  );
  return { level, collection, key };
}
