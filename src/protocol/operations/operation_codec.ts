/**
 * One operation of a collection that every node writes, as bytes: the same in the log and in
 * messages, so it is encoded once. Integers are unsigned, little-endian; a text has its length in
 * 16 bits before it; a vector is a count (2), and for each origin its text and a number (8).
 *
 * | bytes | field                                                             |
 * | ----: | ----------------------------------------------------------------- |
 * |     1 | format: 1                                                         |
 * |     1 | flags: 1 has a request, 2 it is a repeat                          |
 * |  text | origin                                                            |
 * |     8 | sequence                                                          |
 * |     8 | stamp: ms                                                         |
 * |     2 | stamp: count                                                      |
 * |     4 | chain                                                             |
 * |     8 | version of the agreement                                          |
 * |     * | context: a vector                                                 |
 * |     * | request: session (text), number (8), answered (8); if flagged     |
 * |     2 | changes, each of the fields below                                 |
 * |     1 | flags: 1 removed, 2 packed, 4 marks, 8 base, 16 seen, 32 removals |
 * |     4 | collection                                                        |
 * |   2 * | key: size, bytes                                                  |
 * |   4 * | of a document: size, body                                         |
 * |  16 *  | of a packed one: base (8), size of the body (4), size, delta      |
 * |   4 * | marks: size, CBOR; if flagged                                     |
 * |     * | seen: version (8), cursor (a vector); if flagged                  |
 * |   2 * | removals: count, for each its origin (text) and sequence (8); if flagged |
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteReader, ByteWriter, equalBytes } from "../../base/bytes.ts";
import { ProtocolError } from "../../base/errors.ts";
import { OPERATIONS_PER_REQUEST_MAX } from "../../base/limits.ts";
import type { Dot } from "../../multi_master/operation/dot.ts";
import type {
  Content,
  Marks,
  PackedChange,
  PackedOperation,
} from "../../multi_master/operation/operation.ts";
import type { VersionVector } from "../../multi_master/operation/version_vector.ts";
import { decodeUntrustedCbor, encodeCbor } from "../encoding/cbor.ts";

const FORMAT = 1;
const HAS_REQUEST = 1;
const IS_REPEAT = 2;
const IS_REMOVED = 1;
const IS_PACKED = 2;
const HAS_MARKS = 4;
const IS_BASE = 8;
const HAS_SEEN = 16;
const HAS_REMOVALS = 32;
/** A change is a document, a removal, packed, or a document with marks. */
const FORM_MASK = IS_REMOVED | IS_PACKED | HAS_MARKS;
const FORMS: ReadonlySet<number> = new Set([0, IS_REMOVED, IS_PACKED, HAS_MARKS]);
/** Bytes of the shortest entry of a vector, and of a dot. */
const ENTRY_SIZE_MIN = 10;
/** Bytes of the shortest operation with its size. */
const OPERATION_SIZE_MIN = 42;
/** Bytes of the shortest change. */
const CHANGE_SIZE_MIN = 7;

/** An operation's bytes: of a packed change the packed form. */
export function encodeOperation(operation: PackedOperation): Uint8Array {
  const { origin, sequence, stamp, chain, version, context, request, changes } = operation;
  assert(changes.length <= OPERATIONS_PER_REQUEST_MAX, "the changes fit their count");
  const writer = new ByteWriter(256);
  const flags = request === undefined ? 0 : HAS_REQUEST + (request.isRepeat ? IS_REPEAT : 0);
  writer.u8(FORMAT).u8(flags).text(origin).u64(sequence);
  writer.u64(stamp.wallMs).u16(stamp.count).u32(chain).u64(version);
  writeVector(writer, context);
  if (request !== undefined) {
    writer.text(request.session).u64(request.number).u64(request.answered);
  }
  writer.u16(changes.length);
  for (const change of changes) writeChange(writer, change);
  assert(writer.size > changes.length * CHANGE_SIZE_MIN, "each change has its fields");
  return writer.copy();
}

/** The form in which an operation is logged and sent. */
export function packedOperation(operation: PackedOperation): PackedOperation {
  const changes = operation.changes.map((change): PackedChange => {
    const { packed, content: _whole, ...rest } = change;
    return packed === undefined ? change : { ...rest, packed };
  });
  assert(changes.length === operation.changes.length, "each change has a form");
  return { ...operation, changes };
}

/** A count, and for each origin its text and a number. */
export function writeVector(writer: ByteWriter, vector: VersionVector): void {
  assert(vector.size <= 0xffff, "a vector's size fits its field");
  writer.u16(vector.size);
  for (const [origin, sequence] of vector) writer.text(origin).u64(sequence);
  assert(writer.size > vector.size * ENTRY_SIZE_MIN, "each entry has its fields");
}

/** Throws ProtocolError. */
export function readVector(reader: ByteReader): VersionVector {
  const dots = readDots(reader);
  const vector = new Map(dots.map(({ origin, sequence }) => [origin, sequence]));
  assert(vector.size <= dots.length, "an origin has one number");
  return vector;
}

/** Reads operations; those that follow each other share equal contexts. */
export class OperationDecoder {
  #bytes = new Uint8Array(0);
  #context: VersionVector = new Map<string, number>();

  /**
   * Reads the untrusted bytes of one operation; bodies and keys are views of them. Its fields are
   * of the right types; whether they say something possible is not looked at. Throws ProtocolError.
   */
  decode(bytes: Uint8Array): PackedOperation {
    const reader = new ByteReader(bytes);
    const format = reader.u8();
    if (format !== FORMAT) throw new ProtocolError(`Cannot read operation: format ${format}`);
    const flags = reader.u8();
    if (flags > (HAS_REQUEST | IS_REPEAT) || flags === IS_REPEAT) {
      throw new ProtocolError("Cannot read operation: its flags are unknown");
    }
    const origin = reader.text();
    const sequence = reader.u64();
    const stamp = { wallMs: reader.u64(), count: reader.u16() };
    const [chain, version, context] = [reader.u32(), reader.u64(), this.#readContext(reader)];
    const plain = { origin, sequence, stamp, chain, version, context };
    if ((flags & HAS_REQUEST) === 0) return { ...plain, changes: readChanges(reader) };
    const [session, number, answered] = [reader.text(), reader.u64(), reader.u64()];
    const request = { session, number, answered, isRepeat: (flags & IS_REPEAT) !== 0 };
    return { ...plain, request, changes: readChanges(reader) };
  }

  #readContext(reader: ByteReader): VersionVector {
    const start = reader.offset;
    const context = readVector(reader);
    const bytes = reader.bytes.subarray(start, reader.offset);
    if (equalBytes(bytes, this.#bytes)) return this.#context;
    this.#bytes = bytes.slice();
    this.#context = context;
    assert(this.#bytes.byteLength === reader.offset - start, "the context is read whole");
    return context;
  }
}

/** A count (4), and for each operation its size (4) and bytes. */
export function writeOperations(writer: ByteWriter, operations: readonly Uint8Array[]): void {
  writer.u32(operations.length);
  for (const bytes of operations) writer.u32(bytes.byteLength).raw(bytes);
  assert(writer.size >= 4 * (operations.length + 1), "each operation has its size");
}

/** Reads such a list; operations hold views of the bytes. Throws ProtocolError. */
export function readOperations(reader: ByteReader): readonly PackedOperation[] {
  const count = reader.u32();
  if (count * OPERATION_SIZE_MIN > reader.remaining) {
    throw new ProtocolError(`Cannot read operations: there is no room for ${count}`);
  }
  const decoder = new OperationDecoder();
  const operations: PackedOperation[] = [];
  for (let i = 0; i < count; i += 1) operations.push(decoder.decode(reader.take(reader.u32())));
  assert(operations.length === count, "each operation is read");
  assert(reader.offset >= count * OPERATION_SIZE_MIN, "none is shorter than the shortest");
  return operations;
}

function writeChange(writer: ByteWriter, change: PackedChange): void {
  const { collection, key, content, packed, isBase, seen, removals } = change;
  const start = writer.size;
  assert(key.byteLength <= 0xffff, "a key's size fits its field");
  const isRemoved = content?.kind === "removed";
  const marks = packed === undefined && content?.kind === "document" ? content.marks : undefined;
  const flags =
    (isRemoved ? IS_REMOVED : 0) |
    (packed === undefined ? 0 : IS_PACKED) |
    (marks === undefined ? 0 : HAS_MARKS) |
    (isBase === true ? IS_BASE : 0) |
    (seen === undefined ? 0 : HAS_SEEN) |
    (removals === undefined ? 0 : HAS_REMOVALS);
  writer.u8(flags).u32(collection).u16(key.byteLength).raw(key);
  if (packed !== undefined)
    writer.u64(packed.base).u32(packed.size).u32(packed.delta.byteLength).raw(packed.delta);
  else if (content?.kind === "document") writer.u32(content.body.byteLength).raw(content.body);
  if (marks !== undefined) {
    const bytes = encodeCbor(marks);
    writer.u32(bytes.byteLength).raw(bytes);
  }
  if (seen !== undefined) writeVector(writer.u64(seen.version), seen.cursor);
  assert(writer.size >= start + CHANGE_SIZE_MIN, "a change is no shorter than the shortest");
  if (removals === undefined) return;
  writer.u16(removals.length);
  for (const { origin, sequence } of removals) writer.text(origin).u64(sequence);
  assert(removals.length <= 0xffff, "the removals fit their count");
}

/** The last field. */
function readChanges(reader: ByteReader): readonly PackedChange[] {
  const count = countOf(reader, CHANGE_SIZE_MIN);
  const changes = Array.from({ length: count }, () => readChange(reader));
  reader.end();
  assert(changes.length === count, "each change is read");
  assert(reader.offset === reader.bytes.byteLength, "the fields fill the bytes");
  return changes;
}

function readChange(reader: ByteReader): PackedChange {
  const start = reader.offset;
  const flags = reader.u8();
  if (flags >= 2 * HAS_REMOVALS || !FORMS.has(flags & FORM_MASK)) {
    throw new ProtocolError("Cannot read operation: flags of a change are unknown");
  }
  const [collection, key] = [reader.u32(), reader.take(reader.u16())];
  const what =
    (flags & IS_PACKED) === 0
      ? { content: readContent(reader, flags) }
      : { packed: { base: reader.u64(), size: reader.u32(), delta: reader.take(reader.u32()) } };
  const seen =
    (flags & HAS_SEEN) === 0 ? undefined : { version: reader.u64(), cursor: readVector(reader) };
  const removals = (flags & HAS_REMOVALS) === 0 ? undefined : readDots(reader);
  assert(reader.offset >= start + CHANGE_SIZE_MIN, "a change is no shorter than the shortest");
  if (flags <= HAS_MARKS && what.content !== undefined) {
    return { collection, key, content: what.content };
  }
  return {
    ...{ collection, key, ...what },
    ...((flags & IS_BASE) === 0 ? {} : { isBase: true }),
    ...(seen === undefined ? {} : { seen }),
    ...(removals === undefined ? {} : { removals }),
  };
}

function readContent(reader: ByteReader, flags: number): Content {
  if ((flags & IS_REMOVED) !== 0) return { kind: "removed" };
  const body = reader.take(reader.u32());
  if ((flags & HAS_MARKS) === 0) return { kind: "document", body };
  // What is in them is checked with the operation.
  const marks = decodeUntrustedCbor(reader.take(reader.u32())) as Marks;
  return { kind: "document", body, marks };
}

function readDots(reader: ByteReader): readonly Dot[] {
  const count = countOf(reader, ENTRY_SIZE_MIN);
  const dots: Dot[] = [];
  for (let i = 0; i < count; i += 1) dots.push({ origin: reader.text(), sequence: reader.u64() });
  assert(dots.length === count, "each entry is read");
  return dots;
}

/** A count of things that are in the rest of the bytes: nothing is allocated for a lie. */
function countOf(reader: ByteReader, sizeMin: number): number {
  const count = reader.u16();
  if (count * sizeMin > reader.remaining) {
    throw new ProtocolError(`Cannot read operation: it has no room for ${count} entries`);
  }
  assert(count * sizeMin <= reader.remaining, "what was counted is there");
  return count;
}
