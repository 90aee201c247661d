/**
 * Commands: the content of a batch, one request each. A client sends the very bytes that are
 * logged. Integers are unsigned, little-endian. Header, 32 bytes:
 *
 * | offset | size | field             | meaning                                               |
 * | -----: | ---: | ----------------- | ----------------------------------------------------- |
 * |      0 |    4 | size              | bytes of the whole command, header included           |
 * |      4 |    1 | kind              | one of `COMMAND_KINDS`                                |
 * |      5 |    1 | flags             | 0                                                     |
 * |      6 |    2 | count             | sequence numbers that it takes, at least 1            |
 * |      8 |    8 | sessionId         | 0 = without a session: a repeat is applied again      |
 * |     16 |    8 | requestNumber     | of the session, from 1                                |
 * |     24 |    8 | acknowledgedBelow | all lower request numbers were answered               |
 *
 * Body of DOCUMENTS: size of the collection name (1 byte), the name in UTF-8, then `count`
 * operations:
 *
 * | offset | size | field        | meaning                                                    |
 * | -----: | ---: | ------------ | ---------------------------------------------------------- |
 * |      0 |    1 | kind         | one of `OPERATION_KINDS`                                   |
 * |      1 |    1 | flags        | 1 = `ifVersion` follows, 2 = give the document back, 4 = the collection's validator has passed the document |
 * |      2 |    2 | keySize      | bytes of the key                                           |
 * |      4 |    4 | documentSize | bytes of the document (CBOR map); may be 0 for REMOVE      |
 * |      8 |    8 | ifVersion    | only with flag 1; 0 = the document must not exist          |
 * |        |      | key          | see `document_key.ts`                                      |
 * |        |      | document     | of REMOVE a condition; of UPDATE see `operation_executor.ts` |
 *
 * Body of CATALOG and INDEX_READY: a CBOR map (`catalog.ts`). Body of TRANSACTION: size of the
 * conditions (4), conditions (CBOR), then for each collection: size of the rest (4), and name and
 * operations as in DOCUMENTS. A condition is [collection, key, version]: the document must have
 * that version (0: not exist); or [collection, null, number]: the collection has no later change.
 *
 * @module
 */

import { assert, unreachable } from "../../base/assert.ts";
import { type ByteWriter, encodeText, readU64, viewOf, writeU64 } from "../../base/bytes.ts";
import { ValidationError } from "../../base/errors.ts";
import {
  BATCH_BODY_SIZE_MAX,
  CATALOG_SIZE_MAX,
  COLLECTION_NAME_SIZE_MAX,
  DOCUMENT_SIZE_MAX,
  OPERATIONS_PER_REQUEST_MAX,
} from "../../base/limits.ts";
import { checkCbor, isUtf8 } from "./cbor_gate.ts";
import { checkKey, holdsKey } from "./document_key.ts";

/** Bytes of a command's header. */
export const COMMAND_HEADER_SIZE = 32;
/** Bytes of an operation's header without `ifVersion`. */
export const OPERATION_HEADER_SIZE = 8;
/** Largest value of the byte before a collection's name. */
const NAME_SIZE_FIELD_MAX = 0xff;
/** Largest value of an operation's `keySize`. */
const KEY_SIZE_FIELD_MAX = 0xffff;

/** Why a document is refused that nobody could find under its key. */
export const NO_KEY = "no field of the document holds its key: the id is one of its fields";

/** Kinds of commands; the number in the log is the position in this list. */
export const COMMAND_KINDS = [
  "NONE",
  "DOCUMENTS",
  "OPEN_SESSION",
  "EXPIRE_SESSIONS",
  "NOOP",
  "MEMBERSHIP",
  "BIND",
  "WAL_ENTRY",
  "DIGEST",
  "CATALOG",
  "TRANSACTION",
  "INDEX_READY",
  "RULES",
  "AGREEMENT",
] as const;

/** One of {@link COMMAND_KINDS}. */
export type CommandKind = (typeof COMMAND_KINDS)[number];

/** Kinds of operations; the number in the log is the position in this list. */
export const OPERATION_KINDS = ["NONE", "INSERT", "PUT", "MERGE", "REMOVE", "UPDATE"] as const;

/** One of {@link OPERATION_KINDS}. */
export type OperationKind = (typeof OPERATION_KINDS)[number];

/** Operation flag: `ifVersion` follows the header. */
export const FLAG_IF_VERSION = 1;
/** Operation flag: the result carries the document as it is afterwards, or as it was if removed. */
export const FLAG_RETURN_DOCUMENT = 2;
/** Operation flag: the collection's validator has passed the document. */
export const FLAG_CHECKED = 4;

/** The session of a request, and the number of the request in that session. */
export interface RequestIdentity {
  readonly sessionId: number;
  readonly requestNumber: number;
  readonly acknowledgedBelow: number;
}

/** The identity of a command without a session. */
export const NO_SESSION: RequestIdentity = {
  sessionId: 0,
  requestNumber: 0,
  acknowledgedBelow: 0,
};

/** One operation on a document, as a caller writes it. */
export interface DocumentOperation {
  readonly kind: Exclude<OperationKind, "NONE">;
  readonly key: Uint8Array;
  /** CBOR map; of REMOVE empty, or the condition that the document must meet. */
  readonly document: Uint8Array;
  readonly ifVersion?: number | undefined;
  readonly returnDocument?: boolean;
  /** Whether the collection's validator has passed the document. */
  readonly isChecked?: boolean;
}

/** A command's header. */
export interface CommandHeader extends RequestIdentity {
  readonly kind: CommandKind;
  /** `COMMAND_HEADER_SIZE <= size <= BATCH_BODY_SIZE_MAX` */
  readonly size: number;
  readonly count: number;
}

/** Appends a header whose size {@link endCommand} patches; returns the command's start. */
export function beginCommand(
  writer: ByteWriter,
  kind: CommandKind,
  identity: RequestIdentity & { readonly count: number },
): number {
  const start = writer.size;
  writer.reserve(4);
  writer.u8(COMMAND_KINDS.indexOf(kind)).u8(0).u16(identity.count);
  writer.u64(identity.sessionId).u64(identity.requestNumber).u64(identity.acknowledgedBelow);
  assert(writer.size === start + COMMAND_HEADER_SIZE, "the fields fill the header");
  return start;
}

/** Sets `acknowledgedBelow` of the command at `start`, if it belongs to a session. */
export function acknowledgeIn(bytes: Uint8Array, start: number, below: number): void {
  assert(start + COMMAND_HEADER_SIZE <= bytes.byteLength, "the command has a whole header");
  const view = viewOf(bytes);
  if (readU64(view, start + 8) === 0) return;
  assert(below <= readU64(view, start + 16), "a request does not acknowledge itself");
  writeU64(view, start + 24, below);
}

/** Completes the command that began at `start`. */
export function endCommand(writer: ByteWriter, start: number): void {
  assert(start + COMMAND_HEADER_SIZE <= writer.size, "the command has a whole header");
  writer.patchU32(start, writer.size - start);
}

/** Appends a whole DOCUMENTS command. Limits are checked by {@link checkClientCommand}. */
export function writeDocumentsCommand(
  writer: ByteWriter,
  identity: RequestIdentity,
  request: CollectionOperations,
): void {
  const { sessionId, requestNumber, acknowledgedBelow } = identity;
  const count = request.operations.length;
  const header = { sessionId, requestNumber, acknowledgedBelow, count };
  const start = beginCommand(writer, "DOCUMENTS", header);
  writeOperations(writer, request);
  endCommand(writer, start);
}

/** Operations on one collection, as callers write them. */
export interface CollectionOperations {
  readonly collection: Uint8Array;
  readonly operations: readonly DocumentOperation[];
}

function writeOperations(writer: ByteWriter, request: CollectionOperations): void {
  const { collection, operations } = request;
  assert(collection.byteLength <= NAME_SIZE_FIELD_MAX, "the name's size fits its field");
  writer.u8(collection.byteLength).raw(collection);
  for (const operation of operations) {
    const start = writer.size;
    assert(operation.key.byteLength <= KEY_SIZE_FIELD_MAX, "the key's size fits its field");
    const hasVersion = operation.ifVersion !== undefined;
    const back = operation.returnDocument === true ? FLAG_RETURN_DOCUMENT : 0;
    const checked = operation.isChecked === true ? FLAG_CHECKED : 0;
    writer.u8(OPERATION_KINDS.indexOf(operation.kind));
    writer.u8((hasVersion ? FLAG_IF_VERSION : 0) | back | checked);
    writer.u16(operation.key.byteLength).u32(operation.document.byteLength);
    if (operation.ifVersion !== undefined) writer.u64(operation.ifVersion);
    writer.raw(operation.key).raw(operation.document);
    assert(
      writer.size - operation.key.byteLength - operation.document.byteLength ===
        start + OPERATION_HEADER_SIZE + (hasVersion ? 8 : 0),
      "an operation is its header, its key and its document",
    );
  }
}

/**
 * Appends a whole TRANSACTION command: size of the conditions (4), the conditions as CBOR, then for
 * each collection the size of the rest (4), and its name and operations as in DOCUMENTS.
 */
export function writeTransactionCommand(
  writer: ByteWriter,
  identity: RequestIdentity,
  request: {
    readonly conditions: Uint8Array;
    readonly writes: readonly CollectionOperations[];
  },
): void {
  const { conditions, writes } = request;
  const count = writes.reduce((sum, { operations }) => sum + operations.length, 0);
  const start = beginCommand(writer, "TRANSACTION", { ...identity, count: Math.max(1, count) });
  writer.u32(conditions.byteLength).raw(conditions);
  for (const write of writes) {
    const at = writer.size;
    writer.reserve(4);
    writeOperations(writer, write);
    const size = writer.size - at - 4;
    assert(size > write.collection.byteLength, "a part begins with the name and its size");
    writer.patchU32(at, size);
  }
  endCommand(writer, start);
}

/** Bytes of a collection name. Throws ValidationError. */
export function encodeCollectionName(name: string): Uint8Array {
  if (typeof name !== "string") {
    throw new ValidationError(`Cannot use a ${typeof name} as the name of a collection`);
  }
  const bytes = encodeText(name);
  assert(bytes.byteLength >= name.length, "UTF-8 has at least a byte for each UTF-16 code unit");
  if (
    bytes.byteLength === 0 ||
    bytes.byteLength > COLLECTION_NAME_SIZE_MAX ||
    !name.isWellFormed()
  ) {
    throw new ValidationError(
      `Cannot use the collection name "${name.slice(0, 40)}": it must have 1 to ${COLLECTION_NAME_SIZE_MAX} bytes`,
    );
  }
  return bytes;
}

/** Reads the header at `at`, where one whole command begins that was checked before. */
export function readCommandHeader(view: DataView, at: number): CommandHeader {
  assert(at + COMMAND_HEADER_SIZE <= view.byteLength, "the command has a whole header");
  const kind = COMMAND_KINDS[view.getUint8(at + 4)];
  const size = view.getUint32(at, true);
  assert(kind !== undefined, "the command's kind is known");
  assert(kind !== "NONE", "the command has a kind");
  assert(size >= COMMAND_HEADER_SIZE, "the command's size includes its header");
  assert(at + size <= view.byteLength, "the command ends inside of the bytes");
  return {
    kind,
    size,
    count: view.getUint16(at + 6, true),
    sessionId: readU64(view, at + 8),
    requestNumber: readU64(view, at + 16),
    acknowledgedBelow: readU64(view, at + 24),
  };
}

/** Whether a checked command is one unconditional PUT that returns no document. */
export function isPlainPut(view: DataView, start: number): boolean {
  assert(start + COMMAND_HEADER_SIZE <= view.byteLength, "the command has a whole header");
  if (COMMAND_KINDS[view.getUint8(start + 4)] !== "DOCUMENTS") return false;
  if (view.getUint16(start + 6, true) !== 1) return false;
  const at = start + COMMAND_HEADER_SIZE + 1 + view.getUint8(start + COMMAND_HEADER_SIZE);
  assert(at + OPERATION_HEADER_SIZE <= view.byteLength, "a checked command has its operations");
  const isConditional = (view.getUint8(at + 1) & (FLAG_IF_VERSION | FLAG_RETURN_DOCUMENT)) !== 0;
  return OPERATION_KINDS[view.getUint8(at)] === "PUT" && !isConditional;
}

/** Walks over the operations of a DOCUMENTS command without allocating. */
export class OperationCursor {
  kind: OperationKind = "NONE";
  ifVersion: number | undefined;
  returnsDocument = false;
  isChecked = false;
  /** `nameEnd < keyStart < keyEnd` */
  keyStart = 0;
  /** `keyEnd === documentStart` */
  keyEnd = 0;
  /** `documentStart <= documentEnd`; equal for an operation without a document. */
  documentStart = 0;
  /** The next operation starts here, or the command ends. */
  documentEnd = 0;
  /** `nameStart < nameEnd < keyStart` */
  nameStart = 0;
  nameEnd = 0;
  #view: DataView | undefined;
  /** Start of the next operation: `nameEnd <= at <= end`. */
  #at = 0;
  /** End of the operations: `end <= view.byteLength`. */
  #end = 0;

  /** Starts at the command's first operation. */
  start(view: DataView, commandStart: number): void {
    assert(commandStart + COMMAND_HEADER_SIZE <= view.byteLength, "the command has its header");
    const end = commandStart + view.getUint32(commandStart, true);
    assert(commandStart + COMMAND_HEADER_SIZE < end, "a name follows the command's header");
    this.startAt(view, commandStart + COMMAND_HEADER_SIZE, end);
  }

  /** Starts at the first operation of a collection whose name, with its size, is at `nameAt`. */
  startAt(view: DataView, nameAt: number, end: number): void {
    this.#view = view;
    this.#end = end;
    this.nameStart = nameAt + 1;
    this.nameEnd = this.nameStart + view.getUint8(nameAt);
    this.#at = this.nameEnd;
    assert(this.nameStart < this.nameEnd, "the collection's name is not empty");
    assert(this.nameEnd <= end, "the name ends inside of the operations");
    assert(end <= view.byteLength, "the operations end inside of the bytes");
  }

  /** Moves to the next operation; false after the last one. */
  next(): boolean {
    const view = this.#view;
    if (view === undefined || this.#at >= this.#end) return false;
    const at = this.#at;
    const flags = view.getUint8(at + 1);
    this.kind = OPERATION_KINDS[view.getUint8(at)] ?? "NONE";
    this.returnsDocument = (flags & FLAG_RETURN_DOCUMENT) !== 0;
    this.isChecked = (flags & FLAG_CHECKED) !== 0;
    const hasVersion = (flags & FLAG_IF_VERSION) !== 0;
    this.ifVersion = hasVersion ? readU64(view, at + OPERATION_HEADER_SIZE) : undefined;
    this.keyStart = at + OPERATION_HEADER_SIZE + (hasVersion ? 8 : 0);
    this.keyEnd = this.keyStart + view.getUint16(at + 2, true);
    this.documentStart = this.keyEnd;
    this.documentEnd = this.documentStart + view.getUint32(at + 4, true);
    this.#at = this.documentEnd;
    assert(this.keyStart < this.keyEnd, "the key is not empty");
    assert(this.documentEnd <= this.#end, "a checked operation ends inside of its command");
    return true;
  }
}

/**
 * Checks untrusted bytes as one command of a client. Returns the reason of a refusal, or an empty
 * text. Nothing behind it on the path to the state machine checks the bytes again.
 */
export function checkClientCommand(
  bytes: Uint8Array,
  view: DataView,
  range: { readonly start: number; readonly end: number },
): string {
  const { start, end } = range;
  assert(start <= end, "a range does not end before its start");
  assert(end <= bytes.byteLength, "a range ends inside of the bytes");
  assert(view.byteLength === bytes.byteLength, "the view is one of the same bytes");
  if (end - start < COMMAND_HEADER_SIZE) return "the command is shorter than its header";
  if (view.getUint32(start, true) !== end - start) return "the command's size does not match";
  if (end - start > BATCH_BODY_SIZE_MAX) {
    return `a command has at most ${BATCH_BODY_SIZE_MAX} bytes, this one has ${end - start}`;
  }
  if (view.getUint8(start + 5) !== 0) return "the command's flags are unknown";
  const kind = COMMAND_KINDS[view.getUint8(start + 4)];
  const count = view.getUint16(start + 6, true);
  for (const field of [8, 16, 24]) {
    if (Number.isNaN(readU64(view, start + field))) return "a number exceeds 2^53 - 1";
  }
  if (readU64(view, start + 8) !== 0 && readU64(view, start + 16) === 0) {
    return "a request of a session has a number of at least 1";
  }
  if (kind === "OPEN_SESSION") {
    return count === 1 && end - start === COMMAND_HEADER_SIZE ? "" : "OPEN_SESSION has no body";
  }
  if (kind === "WAL_ENTRY") {
    const refusal = checkCbor(bytes, start + COMMAND_HEADER_SIZE, end);
    return count === 1 ? refusal : "a WAL_ENTRY counts once";
  }
  const body = start + COMMAND_HEADER_SIZE;
  if (kind === "CATALOG") {
    if (end - body > CATALOG_SIZE_MAX) return `a CATALOG has at most ${CATALOG_SIZE_MAX} bytes`;
    const refusal = checkCbor(bytes, body, end);
    return count === 1 ? refusal : "a CATALOG counts once";
  }
  if (kind !== "DOCUMENTS" && kind !== "TRANSACTION") {
    return "clients may not send commands of this kind";
  }
  if (count === 0 || count > OPERATIONS_PER_REQUEST_MAX) {
    return `a request holds 1 to ${OPERATIONS_PER_REQUEST_MAX} operations`;
  }
  const found =
    kind === "DOCUMENTS"
      ? checkOperations(bytes, view, { start: body, end })
      : checkTransaction(bytes, view, { start: body, end });
  if (typeof found === "string") return found;
  assert(found <= end - body, "an operation has at least one byte");
  const isCounted = found === count || (kind === "TRANSACTION" && found === 0 && count === 1);
  if (isCounted) return "";
  return found < count ? "an operation is cut off" : "operations follow the last one";
}

/** The reason of a refusal, or the number of operations in the body. */
function checkTransaction(
  bytes: Uint8Array,
  view: DataView,
  body: { readonly start: number; readonly end: number },
): string | number {
  const { start, end } = body;
  assert(start <= end, "the body follows a whole header");
  if (end - start < 4) return "the transaction is cut off";
  const size = view.getUint32(start, true);
  if (size > end - start - 4) return "the transaction is cut off";
  let at = start + 4 + size;
  const refusal = checkCbor(bytes, start + 4, at);
  if (refusal !== "") return `the transaction's conditions are refused: ${refusal}`;
  let count = 0;
  while (at < end) {
    if (end - at < 5) return "the transaction is cut off";
    const partSize = view.getUint32(at, true);
    if (partSize > end - at - 4) return "the transaction is cut off";
    const found = checkOperations(bytes, view, { start: at + 4, end: at + 4 + partSize });
    if (typeof found === "string") return found;
    if (found === 0) return "a part of the transaction has no operations";
    count += found;
    at += 4 + partSize;
  }
  assert(at === end, "the last part ends with the transaction");
  return count;
}

/** The reason of a refusal, or the number of operations on the collection. */
function checkOperations(
  bytes: Uint8Array,
  view: DataView,
  body: { readonly start: number; readonly end: number },
): string | number {
  const { end } = body;
  assert(body.start <= end, "the body follows a whole header");
  const nameStart = body.start + 1;
  if (nameStart > end) return "the collection name is missing";
  const nameSize = view.getUint8(nameStart - 1);
  let at = nameStart + nameSize;
  if (nameSize === 0 || nameSize > COLLECTION_NAME_SIZE_MAX || at > end) {
    return `a collection name has 1 to ${COLLECTION_NAME_SIZE_MAX} bytes`;
  }
  if (!isUtf8(bytes, nameStart, at)) return "the collection name is not valid UTF-8";
  let count = 0;
  for (; at < end; count += 1) {
    if (end - at < OPERATION_HEADER_SIZE) return "an operation is cut off";
    const kind = OPERATION_KINDS[view.getUint8(at)];
    const flags = view.getUint8(at + 1);
    const keyStart = at + OPERATION_HEADER_SIZE + (flags & FLAG_IF_VERSION ? 8 : 0);
    const documentStart = keyStart + view.getUint16(at + 2, true);
    const documentSize = view.getUint32(at + 4, true);
    if (kind === undefined || kind === "NONE" || flags > 7) return "an operation is unknown";
    if (documentStart > end || documentSize > end - documentStart) return "an operation is cut off";
    if (flags & FLAG_IF_VERSION && Number.isNaN(readU64(view, at + OPERATION_HEADER_SIZE))) {
      return "ifVersion exceeds 2^53 - 1";
    }
    const refusal =
      checkKey(bytes, keyStart, documentStart) ||
      checkDocument(bytes, documentStart, { size: documentSize, kind });
    if (refusal !== "") return refusal;
    at = documentStart + documentSize;
    const isWhole = kind === "INSERT" || kind === "PUT";
    const document = { bytes, start: documentStart, end: at };
    if (isWhole && !holdsKey(document, { bytes, start: keyStart, end: documentStart })) {
      return NO_KEY;
    }
  }
  assert(at === end, "the last operation ends with the body");
  return count;
}

function checkDocument(
  bytes: Uint8Array,
  start: number,
  document: { readonly size: number; readonly kind: Exclude<OperationKind, "NONE"> },
): string {
  switch (document.kind) {
    case "REMOVE":
      return document.size === 0 ? "" : checkMap(bytes, start, document.size);
    case "INSERT":
    case "PUT":
    case "UPDATE":
    case "MERGE":
      return checkMap(bytes, start, document.size);
    default:
      return unreachable(document.kind);
  }
}

function checkMap(bytes: Uint8Array, start: number, size: number): string {
  if (size > DOCUMENT_SIZE_MAX) {
    return `a document has at most ${DOCUMENT_SIZE_MAX} bytes, this one has ${size}`;
  }
  assert(start + size <= bytes.byteLength, "the size of the document was checked");
  if (size === 0 || bytes[start]! >> 5 !== 5) return "a document is a map";
  const refusal = checkCbor(bytes, start, start + size);
  return refusal === "" ? "" : `the document is refused: ${refusal}`;
}
