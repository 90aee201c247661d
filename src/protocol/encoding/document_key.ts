/**
 * Document keys as bytes: a type byte, then the value. `1` and `"1"` are different keys.
 *
 * | type byte | value                                                                        |
 * | --------: | ---------------------------------------------------------------------------- |
 * |         2 | number: float64, big-endian, sign bit flipped (negative: all bits flipped), so that bytes sort as numbers; -0 is 0 |
 * |         3 | string: UTF-8                                                                |
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { encodeText, viewOf } from "../../base/bytes.ts";
import { ValidationError } from "../../base/errors.ts";
import { KEY_SIZE_MAX } from "../../base/limits.ts";
import { halfFloat } from "./cbor.ts";
import { isUtf8 } from "./cbor_gate.ts";
import { readHead, skipItem } from "./cbor_walk.ts";

const NUMBER = 2;
const STRING = 3;
/** Bytes of the key of a number: the type and a float64. */
const NUMBER_KEY_SIZE = 9;
/** Heads of CBOR: a text, a map, a map with 16 bits of count as the encoder here writes it. */
const TEXT = 0x60;
const MAP = 0xa0;
const MAP_OF_16_BITS = 0xb9;
/** Sizes below stand in the head itself. */
const SHORT = 24;
const TEXT_DECODER = new TextDecoder("utf-8", { ignoreBOM: true });

/** A document's id, as applications use it. */
export type DocumentId = string | number;

/** The bytes of an id. Throws ValidationError. */
export function encodeKey(id: DocumentId): Uint8Array {
  if (typeof id === "number") return encodeNumber(id);
  if (typeof id !== "string") {
    throw new ValidationError(`Cannot use an id of type ${typeof id}: use a string or a number`);
  }
  const key = encodeShortText(id) ?? encodeLongText(id);
  if (key.byteLength > KEY_SIZE_MAX) {
    throw new ValidationError(
      `Cannot use an id of ${key.byteLength} bytes: it has at most ${KEY_SIZE_MAX}`,
    );
  }
  assert(key.byteLength > id.length, "UTF-8 has at least a byte for each UTF-16 code unit");
  return key;
}

/** ASCII ids are the common case, and much faster by hand than through TextEncoder. */
function encodeShortText(id: string): Uint8Array | undefined {
  if (id.length > 40) return undefined;
  const key = new Uint8Array(1 + id.length);
  key[0] = STRING;
  for (let i = 0; i < id.length; i += 1) {
    const code = id.charCodeAt(i);
    if (code >= 0x80) return undefined;
    key[i + 1] = code;
  }
  return key;
}

function encodeLongText(id: string): Uint8Array {
  if (!id.isWellFormed()) throw new ValidationError("Cannot use an id with a lone surrogate");
  const text = encodeText(id);
  const key = new Uint8Array(1 + text.byteLength);
  key[0] = STRING;
  key.set(text, 1);
  return key;
}

function encodeNumber(id: number): Uint8Array {
  if (!Number.isFinite(id)) throw new ValidationError(`Cannot use the id ${id}: it is not finite`);
  const key = new Uint8Array(NUMBER_KEY_SIZE);
  key[0] = NUMBER;
  viewOf(key).setFloat64(1, id === 0 ? 0 : id);
  if (id < 0) for (let i = 1; i < 9; i += 1) key[i]! ^= 0xff;
  else key[1]! ^= 0x80;
  return key;
}

/** The id that a checked key stands for. */
export function decodeKey(key: Uint8Array): DocumentId {
  assert(key.byteLength <= KEY_SIZE_MAX, "the size of the key was checked");
  if (key[0] === STRING) return TEXT_DECODER.decode(key.subarray(1));
  assert(key.byteLength === NUMBER_KEY_SIZE, "the size of a number key was checked");
  const bytes = new Uint8Array(key.subarray(1)); // Not `slice`: that of a Buffer is a view.
  if (bytes[0]! & 0x80) bytes[0]! ^= 0x80;
  else for (let i = 0; i < 8; i += 1) bytes[i]! ^= 0xff;
  return viewOf(bytes).getFloat64(0);
}

/** The reason why `bytes[start, end)` is no key; empty for a key. */
export function checkKey(bytes: Uint8Array, start: number, end: number): string {
  assert(start <= end, "a range does not end before its start");
  assert(end <= bytes.byteLength, "a range ends inside of the bytes");
  const size = end - start;
  if (size < 1 || size > KEY_SIZE_MAX) return `a key has 1 to ${KEY_SIZE_MAX} bytes`;
  const type = bytes[start]!;
  if (type === STRING) {
    return isUtf8(bytes, start + 1, end) ? "" : "the key is not valid UTF-8";
  }
  if (type !== NUMBER || size !== NUMBER_KEY_SIZE) return "the key's type is unknown";
  const id = decodeKey(bytes.subarray(start, end)) as number;
  return Number.isFinite(id) && !Object.is(id, -0) ? "" : "the key is not a finite number";
}

/** Bytes from `start` to before `end`. */
interface ByteRange {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/**
 * Whether a document that passed the gate holds its key: some field of it, which is the id of
 * whoever wrote it, has the key's value.
 */
export function holdsKey(document: ByteRange, key: ByteRange): boolean {
  const { bytes } = document;
  assert(key.start < key.end, "the key is not empty");
  assert(key.end - key.start <= KEY_SIZE_MAX, "the key passed its check");
  assert(key.end <= key.bytes.byteLength, "the key ends inside of its bytes");
  assert(document.start < document.end, "a document is a map, which has a head");
  assert(document.end <= bytes.byteLength, "the document ends inside of its bytes");
  if (isFirstField(document, key)) return true;
  const isText = key.bytes[key.start] === STRING;
  const id = isText ? undefined : decodeKey(key.bytes.subarray(key.start, key.end));
  const { value: count, end } = readHead(bytes, document.start);
  assert(2 * count <= document.end - end, "every field has two bytes, at least");
  let at = end;
  for (let field = 0; field < count; field += 1) {
    at = skipItem(bytes, at);
    assert(at < document.end, "a value follows every name");
    if (isText ? isTextAt(bytes, at, key) : numberAt(bytes, at) === id) return true;
    at = skipItem(bytes, at);
  }
  assert(at === document.end, "the fields fill the document");
  return false;
}

/**
 * Whether the first field has a short name, and a short text for its value, which is the key's.
 * Most documents begin with their id, and each put passes here on every node: no object is made.
 */
function isFirstField(document: ByteRange, key: ByteRange): boolean {
  const { bytes } = document;
  const size = key.end - key.start - 1;
  const head = bytes[document.start]!;
  if (head !== MAP_OF_16_BITS && head >= MAP + SHORT) return false;
  const name = document.start + (head === MAP_OF_16_BITS ? 3 : 1);
  assert(name <= document.end, "the head of a map is inside of it");
  if (name === document.end) return false;
  const nameHead = bytes[name]!;
  if (key.bytes[key.start] !== STRING || size >= SHORT || (nameHead & 0xe0) !== TEXT) return false;
  const value = name + 1 + (nameHead & 31);
  assert(size >= 0, "a key has a byte for its type");
  if ((nameHead & 31) >= SHORT || bytes[value] !== TEXT + size) return false;
  assert(value + size < document.end, "a checked text ends inside of its document");
  return isSameText(bytes, value + 1, key);
}

function isTextAt(bytes: Uint8Array, at: number, key: ByteRange): boolean {
  const size = key.end - key.start - 1;
  assert(size >= 0, "a key has a byte for its type");
  const { major, value, end } = readHead(bytes, at);
  if (major !== 3 || value !== size) return false;
  assert(end + size <= bytes.byteLength, "a checked text ends inside of the bytes");
  return isSameText(bytes, end, key);
}

/** Whether the bytes from `at` on are the key's text. */
function isSameText(bytes: Uint8Array, at: number, key: ByteRange): boolean {
  const size = key.end - key.start - 1;
  assert(at + size <= bytes.byteLength, "a checked text ends inside of the bytes");
  assert(key.end <= key.bytes.byteLength, "the key ends inside of its bytes");
  for (let i = 0; i < size; i += 1) {
    if (bytes[at + i] !== key.bytes[key.start + 1 + i]) return false;
  }
  return true;
}

/** The number at `at`; undefined for another value. */
function numberAt(bytes: Uint8Array, at: number): number | undefined {
  const { major, value, end } = readHead(bytes, at);
  assert(at < end, "a head has at least a byte");
  if (major === 0) return value;
  if (major === 1) return -1 - value;
  const size = end - at - 1;
  assert(size <= 8, "a head has at most eight bytes behind its first");
  if (major !== 7 || size < 2) return undefined;
  const view = viewOf(bytes);
  if (size === 2) return halfFloat(view.getUint16(at + 1));
  return size === 8 ? view.getFloat64(at + 1) : view.getFloat32(at + 1);
}
