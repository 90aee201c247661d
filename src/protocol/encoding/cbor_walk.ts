/**
 * Steps over CBOR that passed the gate, without decoding it.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";

/** Head of a CBOR item: its major type, its number, and where the head ends. */
export interface ItemHead {
  readonly major: number;
  /** Length, count or whole number, for heads that hold one. */
  readonly value: number;
  readonly end: number;
}

/** Reads the head at `at`. */
export function readHead(bytes: Uint8Array, at: number): ItemHead {
  const first = bytes[at]!;
  const info = first & 31;
  const extra = info < 24 ? 0 : 1 << (info - 24);
  assert(extra <= 8, "a checked head has at most eight bytes behind its first");
  assert(at + extra < bytes.byteLength, "a checked item is whole");
  let value = info < 24 ? info : 0;
  for (let i = 1; i <= extra; i += 1) value = value * 256 + bytes[at + i]!;
  return { major: first >> 5, value, end: at + 1 + extra };
}

/** End of the item at `at`; the gate bounded the depth. */
export function skipItem(bytes: Uint8Array, at: number): number {
  const { major, value, end } = readHead(bytes, at);
  if (major === 2 || major === 3) {
    assert(end + value <= bytes.byteLength, "a checked text ends inside of the bytes");
    return end + value;
  }
  if (major === 6) return skipItem(bytes, end);
  if (major !== 4 && major !== 5) return end;
  let next = end;
  const items = major === 5 ? value * 2 : value;
  assert(items <= bytes.byteLength - end, "every checked item has at least a byte");
  for (let i = 0; i < items; i += 1) next = skipItem(bytes, next);
  assert(next <= bytes.byteLength, "the last item ends inside of the bytes");
  return next;
}
