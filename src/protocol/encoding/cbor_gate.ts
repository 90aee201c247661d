/**
 * Allow-list walk over untrusted CBOR before anything stores or decodes it. Iterative, without
 * allocation, linear in the number of bytes.
 *
 * Allowed: integers of at most 64 bits, byte strings, valid UTF-8 text, arrays, maps with text
 * keys, tag 1 (a date) on a finite number, false, true, null, finite floats. Everything else is
 * refused: indefinite lengths, other tags, `undefined`, simple values, NaN and infinities, a key
 * `__proto__`, nesting deeper than `DOCUMENT_DEPTH_MAX`. A duplicate key in a map is kept; every
 * reader takes the last one.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { DOCUMENT_DEPTH_MAX } from "../../base/limits.ts";

/** The reason of a refusal; empty for allowed bytes. */
export type CborRefusal =
  | ""
  | "truncated"
  | "nested too deep"
  | "tag not allowed"
  | "key is not a text"
  | "key __proto__ is not allowed"
  | "indefinite length not allowed"
  | "text is not valid UTF-8"
  | "value not allowed"
  | "undefined not allowed"
  | "number is not finite"
  | "date is beyond the calendar"
  | "bytes follow the value";

const PROTO = [0x5f, 0x5f, 0x70, 0x72, 0x6f, 0x74, 0x6f, 0x5f, 0x5f];

/** Items still to come at each depth; a map counts two an entry. Never used across calls. */
const LEFT = new Float64Array(DOCUMENT_DEPTH_MAX + 2);
const IS_MAP = new Uint8Array(DOCUMENT_DEPTH_MAX + 2);

/** Checks that `bytes[start, end)` is one allowed value. */
export function checkCbor(bytes: Uint8Array, start: number, end: number): CborRefusal {
  assert(start <= end, "a range does not end before its start");
  assert(end <= bytes.byteLength, "a range ends inside of the bytes");
  let at = start;
  let depth = 0;
  LEFT[0] = 1;
  IS_MAP[0] = 0;
  while (true) {
    while (LEFT[depth] === 0) {
      assert(at <= end, "no value crosses the end of the range");
      if (depth === 0) return at === end ? "" : "bytes follow the value";
      depth -= 1;
    }
    if (at >= end) return "truncated";
    const isKey = IS_MAP[depth] === 1 && LEFT[depth]! % 2 === 0;
    LEFT[depth]! -= 1;
    const first = bytes[at]!;
    const major = first >> 5;
    const info = first & 31;
    if (isKey && major !== 3) return "key is not a text";
    if (info > 27) return info === 31 ? "indefinite length not allowed" : "value not allowed";
    const extra = info < 24 ? 0 : 1 << (info - 24);
    if (at + 1 + extra > end) return "truncated";
    if (major === 7) {
      const refusal = checkSimple(bytes, at, info);
      if (refusal !== "") return refusal;
      at += 1 + extra;
      continue;
    }
    if (major === 6) {
      if (first !== 0xc1) return "tag not allowed";
      const size = taggedNumberSize(bytes, at + 1, end);
      if (size === 0) return "tag not allowed";
      if (!isInCalendar(bytes, at + 1)) return "date is beyond the calendar";
      at += 1 + size;
      continue;
    }
    const size = info < 24 ? info : readSize(bytes, at + 1, extra);
    at += 1 + extra;
    if (major <= 1) continue;
    if (size > end - at) return "truncated";
    if (major <= 3) {
      if (major === 3) {
        if (!isUtf8(bytes, at, at + size)) return "text is not valid UTF-8";
        if (isKey && size === PROTO.length && isProto(bytes, at))
          return "key __proto__ is not allowed";
      }
      at += size;
      continue;
    }
    depth += 1;
    if (depth > DOCUMENT_DEPTH_MAX) return "nested too deep";
    LEFT[depth] = major === 5 ? size * 2 : size;
    IS_MAP[depth] = major === 5 ? 1 : 0;
  }
}

function checkSimple(bytes: Uint8Array, at: number, info: number): CborRefusal {
  if (info >= 20 && info <= 22) return "";
  if (info === 23) return "undefined not allowed";
  assert(at < bytes.byteLength, "the head of the value was read");
  if (info === 25) return (bytes[at + 1]! & 0x7c) === 0x7c ? "number is not finite" : "";
  if (info === 26) {
    return (bytes[at + 1]! & 0x7f) === 0x7f && bytes[at + 2]! >= 0x80 ? "number is not finite" : "";
  }
  if (info === 27) {
    return (bytes[at + 1]! & 0x7f) === 0x7f && bytes[at + 2]! >= 0xf0 ? "number is not finite" : "";
  }
  return "value not allowed";
}

/** Seconds between 1970 and the first or the last date of the calendar. */
const CALENDAR_SECONDS = 8.64e12;
const FLOAT = new DataView(new ArrayBuffer(8));

/** Whether a date can be the number at `at`, in seconds since 1970. */
function isInCalendar(bytes: Uint8Array, at: number): boolean {
  const first = bytes[at]!;
  const info = first & 31;
  if (first >> 5 <= 1) {
    const value = info < 24 ? info : readSize(bytes, at + 1, 1 << (info - 24));
    return value + (first >> 5) <= CALENDAR_SECONDS;
  }
  // No half float is that large.
  if (info === 25) return true;
  const size = info === 26 ? 4 : 8;
  assert(at + size < bytes.byteLength, "the size of the tagged number was checked");
  for (let i = 0; i < size; i += 1) FLOAT.setUint8(i, bytes[at + 1 + i]!);
  return Math.abs(size === 4 ? FLOAT.getFloat32(0) : FLOAT.getFloat64(0)) <= CALENDAR_SECONDS;
}

/** Bytes of the integer or finite float at `at`; 0 for anything else. */
function taggedNumberSize(bytes: Uint8Array, at: number, end: number): number {
  assert(end <= bytes.byteLength, "a range ends inside of the bytes");
  if (at >= end) return 0;
  const first = bytes[at]!;
  const info = first & 31;
  if (info > 27) return 0;
  const size = info < 24 ? 1 : 1 + (1 << (info - 24));
  if (at + size > end) return 0;
  const major = first >> 5;
  if (major <= 1) return size;
  return major === 7 && info >= 25 && checkSimple(bytes, at, info) === "" ? size : 0;
}

function readSize(bytes: Uint8Array, at: number, extra: number): number {
  assert(at + extra <= bytes.byteLength, "the bytes of a size were checked");
  let size = 0;
  for (let i = 0; i < extra; i += 1) size = size * 256 + bytes[at + i]!;
  return size;
}

function isProto(bytes: Uint8Array, at: number): boolean {
  assert(at + PROTO.length <= bytes.byteLength, "the size of the key was checked");
  for (let i = 0; i < PROTO.length; i += 1) if (bytes[at + i] !== PROTO[i]) return false;
  return true;
}

/** Whether the range is well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates. */
export function isUtf8(bytes: Uint8Array, start: number, end: number): boolean {
  assert(start <= end, "a range does not end before its start");
  assert(end <= bytes.byteLength, "a range ends inside of the bytes");
  let at = start;
  while (at < end) {
    const first = bytes[at]!;
    if (first < 0x80) {
      at += 1;
      continue;
    }
    const size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || at + size > end) return false;
    const second = bytes[at + 1]!;
    if (second < lowestSecond(first) || second > highestSecond(first)) return false;
    for (let i = 2; i < size; i += 1) if (bytes[at + i]! >> 6 !== 2) return false;
    at += size;
  }
  assert(at === end, "the last character ends with the range");
  return true;
}

function lowestSecond(first: number): number {
  if (first === 0xe0) return 0xa0;
  return first === 0xf0 ? 0x90 : 0x80;
}

function highestSecond(first: number): number {
  if (first === 0xed) return 0x9f;
  return first === 0xf4 ? 0x8f : 0xbf;
}
