/**
 * Bounds-checked little-endian access to bytes. Integers of 64 bits are read and written as safe
 * JavaScript integers: a larger one on the wire or on disk is refused, never rounded.
 *
 * @module
 */

import { assert } from "./assert.ts";
import { ProtocolError } from "./errors.ts";

// U+FEFF at the start of a text is a character of it, not a byte order mark.
const TEXT_DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const TEXT_ENCODER = new TextEncoder();
const TWO_32 = 2 ** 32;
/** Up to this size a loop is cheaper than a call into the runtime. */
const LOOP_SIZE_MAX = 24;
/**
 * An array of so few bytes is read and written by index, and copied where others are viewed: the
 * first view of it would move its bytes to another kind of memory, which costs ten times as much.
 */
const SMALL_SIZE_MAX = 512;
/** Where the bits of eight bytes become a number. */
const WORD = new DataView(new ArrayBuffer(8));

/** Bytes of nothing. */
export const EMPTY_BYTES: Uint8Array = new Uint8Array(0);

/** UTF-8 bytes of a text. */
export function encodeText(text: string): Uint8Array {
  return TEXT_ENCODER.encode(text);
}

/**
 * The same bytes as a plain Uint8Array. Sockets and zlib give Buffers, whose `slice` is a view:
 * writing into such a "copy" damages the source.
 */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  if (bytes.constructor === Uint8Array) return bytes;
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The bytes of a range, to be looked at now: a view, or a copy where that is cheaper. */
export function rangeOf(bytes: Uint8Array, start: number, end = bytes.byteLength): Uint8Array {
  return end - start <= SMALL_SIZE_MAX ? bytes.slice(start, end) : bytes.subarray(start, end);
}

/** A view for integers over exactly these bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * Reads an unsigned 64-bit integer; NaN when it exceeds 2^53 - 1. The caller decides what
 * that means.
 */
export function readU64(view: DataView, offset: number): number {
  const high = view.getUint32(offset + 4, true);
  if (high >= 0x20_0000) return Number.NaN;
  return high * TWO_32 + view.getUint32(offset, true);
}

/** Writes a safe non-negative integer as 64 bits. */
export function writeU64(view: DataView, offset: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, () => `${value} is an unsigned safe integer`);
  view.setUint32(offset, value % TWO_32, true);
  view.setUint32(offset + 4, Math.floor(value / TWO_32), true);
}

/** Reads an unsigned 32-bit integer without a view; the caller has checked that it is there. */
export function u32At(bytes: Uint8Array, at: number): number {
  const low = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16);
  return low + bytes[at + 3]! * 0x100_0000;
}

/** Writes an unsigned 32-bit integer without a view. */
export function putU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

/** Eight bytes of an array as {@link WORD}. */
function loadWord(bytes: Uint8Array, at: number): DataView {
  for (let i = 0; i < 8; i += 1) WORD.setUint8(i, bytes[at + i]!);
  return WORD;
}

/** {@link WORD} as eight bytes of an array. */
function storeWord(bytes: Uint8Array, at: number): void {
  for (let i = 0; i < 8; i += 1) bytes[at + i] = WORD.getUint8(i);
}

/** Writes 64 bits without a view. */
export function putBig64(bytes: Uint8Array, at: number, value: bigint): void {
  WORD.setBigUint64(0, value, true);
  storeWord(bytes, at);
}

/** Whether two byte ranges hold the same bytes. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.byteLength !== b.byteLength) return false;
  for (let i = 0; i < a.byteLength; i += 1) if (a[i] !== b[i]) return false;
  return true;
}

/** Lower-case hexadecimal digits. */
export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

/**
 * Reads untrusted bytes from front to back. Every read that leaves the range is a ProtocolError.
 */
export class ByteReader {
  readonly bytes: Uint8Array;
  #offset: number;

  constructor(bytes: Uint8Array, offset = 0) {
    this.bytes = bytes;
    this.#offset = offset;
  }

  get offset(): number {
    return this.#offset;
  }

  get remaining(): number {
    return this.bytes.byteLength - this.#offset;
  }

  u8(): number {
    return this.bytes[this.#take(1)]!;
  }

  u16(): number {
    const at = this.#take(2);
    return this.bytes[at]! | (this.bytes[at + 1]! << 8);
  }

  u32(): number {
    return u32At(this.bytes, this.#take(4));
  }

  /** A 64-bit integer; above 2^53 - 1 a ProtocolError. */
  u64(): number {
    const at = this.#take(8);
    const high = u32At(this.bytes, at + 4);
    if (high >= 0x20_0000) throw new ProtocolError("Cannot read an integer above 2^53 - 1");
    return high * TWO_32 + u32At(this.bytes, at);
  }

  /** 64 bits that are no number to count with, such as a checksum. */
  big64(): bigint {
    return loadWord(this.bytes, this.#take(8)).getBigUint64(0, true);
  }

  f64(): number {
    return loadWord(this.bytes, this.#take(8)).getFloat64(0, true);
  }

  /** A view of the next bytes; not a copy. */
  take(size: number): Uint8Array {
    const start = this.#take(size);
    return this.bytes.subarray(start, start + size);
  }

  /** A copy of the next bytes. */
  copy(size: number): Uint8Array {
    const start = this.#take(size);
    return plainBytes(this.bytes).slice(start, start + size);
  }

  /** A text with its length in 16 bits before it. */
  text(): string {
    const size = this.u16();
    const start = this.#take(size);
    const raw = rangeOf(this.bytes, start, start + size);
    try {
      return TEXT_DECODER.decode(raw);
    } catch (cause) {
      throw new ProtocolError("Cannot read a text: it is not valid UTF-8", { cause });
    }
  }

  /** Refuses bytes behind the last field. */
  end(): void {
    if (this.remaining !== 0) {
      throw new ProtocolError(`Cannot read a message: ${this.remaining} bytes follow its end`);
    }
  }

  #take(size: number): number {
    const start = this.#offset;
    if (size > this.bytes.byteLength - start) {
      throw new ProtocolError(`Cannot read ${size} bytes: only ${this.remaining} are left`);
    }
    this.#offset = start + size;
    return start;
  }
}

/** Writes front to back into a buffer that grows. */
export class ByteWriter {
  #bytes: Uint8Array;
  #size = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
  }

  get size(): number {
    return this.#size;
  }

  u8(value: number): this {
    const at = this.reserve(1);
    this.#bytes[at] = value;
    return this;
  }

  u16(value: number): this {
    const at = this.reserve(2);
    this.#bytes[at] = value;
    this.#bytes[at + 1] = value >>> 8;
    return this;
  }

  u32(value: number): this {
    const at = this.reserve(4);
    putU32(this.#bytes, at, value);
    return this;
  }

  u64(value: number): this {
    assert(Number.isSafeInteger(value) && value >= 0, () => `${value} is an unsigned safe integer`);
    const at = this.reserve(8);
    putU32(this.#bytes, at, value % TWO_32);
    putU32(this.#bytes, at + 4, Math.floor(value / TWO_32));
    return this;
  }

  big64(value: bigint): this {
    const at = this.reserve(8);
    putBig64(this.#bytes, at, value);
    return this;
  }

  f64(value: number): this {
    const at = this.reserve(8);
    WORD.setFloat64(0, value, true);
    storeWord(this.#bytes, at);
    return this;
  }

  raw(bytes: Uint8Array): this {
    const size = bytes.byteLength;
    const at = this.reserve(size);
    if (size > LOOP_SIZE_MAX) this.#bytes.set(bytes, at);
    else for (let i = 0; i < size; i += 1) this.#bytes[at + i] = bytes[i]!;
    return this;
  }

  /** A text with its length in 16 bits before it. */
  text(value: string): this {
    const raw = encodeText(value);
    assert(raw.byteLength <= 0xffff, "a text on the wire is shorter than 64 KiB");
    return this.u16(raw.byteLength).raw(raw);
  }

  /** Overwrites 32 bits written before. */
  patchU32(offset: number, value: number): void {
    assert(offset + 4 <= this.#size, "only what was written is patched");
    putU32(this.#bytes, offset, value);
  }

  /** Makes room for `size` bytes and gives their offset. Their content is not defined. */
  reserve(size: number): number {
    const start = this.#size;
    const end = start + size;
    if (end > this.#bytes.byteLength) this.#grow(end);
    this.#size = end;
    return start;
  }

  /** The bytes under the writer, valid until the next write. */
  buffer(): Uint8Array {
    return this.#bytes;
  }

  /** The written bytes, to be used until the next write. */
  written(): Uint8Array {
    const isFull = this.#size === this.#bytes.byteLength;
    return isFull ? this.#bytes : rangeOf(this.#bytes, 0, this.#size);
  }

  /** A copy of the written bytes. */
  copy(): Uint8Array {
    return this.#bytes.slice(0, this.#size);
  }

  /** Forgets the bytes written behind `size`, and keeps the buffer. */
  rewind(size: number): void {
    assert(size <= this.#size, "a writer goes back only");
    this.#size = size;
  }

  #grow(needed: number): void {
    const grown = new Uint8Array(Math.max(needed, this.#bytes.byteLength * 2));
    grown.set(this.#bytes.subarray(0, this.#size));
    this.#bytes = grown;
  }
}
