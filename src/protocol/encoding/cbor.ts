/**
 * The one CBOR encoder with its settings, and our own strict decoder.
 *
 * cbor-x encodes; it never decodes here, because its decoder can be hung by 20 bytes of records or
 * packed tables. The decoder below reads exactly what {@link checkCbor} lets pass.
 *
 * @module
 */

import { Encoder } from "cbor-x/encode";
import { assert } from "../../base/assert.ts";
import { plainBytes, viewOf } from "../../base/bytes.ts";
import { ProtocolError, ValidationError } from "../../base/errors.ts";
import { PATH_LENGTH_MAX } from "../../base/limits.ts";
import { checkCbor } from "./cbor_gate.ts";
import { findUnstorable, hasKnownObjects, isPlain } from "./storable.ts";

const ENCODER = new Encoder({ useRecords: false, tagUint8Array: false });
const TEXT_DECODER = new TextDecoder("utf-8", { ignoreBOM: true });
const SHORT_TEXT_SIZE = 24;
/** Milliseconds between 1970 and the first or the last date of the calendar. */
const DATE_MS_MAX = 8.64e15;
/** The largest finite number of 16 bits. */
const HALF_FLOAT_MAX = 65_504;
/** What a document may hold. */
const STORED =
  "Use null, booleans, finite numbers, bigint within 64 bits, strings, bytes, dates, arrays, objects";

/**
 * The bytes of a value. Fields that are `undefined` are left out. Throws ValidationError for values
 * that cstore does not store, with their path: functions, numbers that are not finite, integers
 * above 64 bits, texts with a lone surrogate, instances of any class but Date and Uint8Array.
 */
export function encodeCbor(value: unknown): Uint8Array {
  if (!hasKnownObjects(value)) throw notStored(value, "value not allowed");
  return encodePlain(value, notStored);
}

/**
 * The bytes of a value made out of stored ones, with the texts of refusals by rules 1: sessions
 * keep them, so they are state. Throws ValidationError.
 */
export function encodeByFirstRules(value: unknown): Uint8Array {
  return encodePlain(
    value,
    (_, reason) => new ValidationError(`Cannot store the value: ${reason}`, { remedy: STORED }),
  );
}

function encodePlain(
  value: unknown,
  refused: (value: unknown, reason: string) => ValidationError,
): Uint8Array {
  const bytes = encode(value);
  const refusal = checkCbor(bytes, 0, bytes.byteLength);
  if (refusal === "") return withoutReplacement(bytes, value, refused);
  // The encoder takes arrays of another realm for iterators.
  const isForm = refusal === "undefined not allowed" || refusal === "indefinite length not allowed";
  if (!isForm) throw refused(value, refusal);
  const again = encode(withoutUndefined(value));
  const second = checkCbor(again, 0, again.byteLength);
  if (second !== "") throw refused(value, second);
  assert(again.byteLength <= bytes.byteLength, "no value grows when fields are left out");
  return withoutReplacement(again, value, refused);
}

/**
 * The encoder writes a lone surrogate of a short text as it is, which the gate refuses, but puts
 * U+FFFD (ef bf bd) for it in a long one. The value is inspected again only if those bytes occur.
 */
function withoutReplacement(
  bytes: Uint8Array,
  value: unknown,
  refused: (value: unknown, reason: string) => ValidationError,
): Uint8Array {
  for (let at = bytes.indexOf(0xbd, 2); at !== -1; at = bytes.indexOf(0xbd, at + 1)) {
    if (bytes[at - 1] !== 0xbf || bytes[at - 2] !== 0xef) continue;
    if (!isWellFormed(value)) throw refused(value, "text is not valid UTF-8");
    return bytes;
  }
  return bytes;
}

/** Whether no text in a value, which has been encoded before, holds a lone surrogate. */
function isWellFormed(value: unknown): boolean {
  if (typeof value === "string") return value.isWellFormed();
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return true;
  if (Array.isArray(value)) return value.every(isWellFormed);
  return Object.entries(value).every(([key, item]) => key.isWellFormed() && isWellFormed(item));
}

function encode(value: unknown): Uint8Array {
  try {
    return ENCODER.encode(value);
  } catch (cause) {
    throw notStored(value, "it is of unknown type", cause);
  }
}

/** `refusal`: what the bytes showed, where the value itself shows nothing. */
function notStored(value: unknown, refusal: string, cause?: unknown): ValidationError {
  const { path, reason } = findUnstorable(value) ?? { path: "", reason: refusal };
  const where = path === "" ? "" : ` at "${path.slice(0, PATH_LENGTH_MAX)}"`;
  return new ValidationError(`Cannot store the value${where}: ${reason}`, {
    ...(cause !== undefined && { cause }),
    ...(path !== "" && { fields: { path } }),
    remedy: STORED,
  });
}

function withoutUndefined(value: unknown): unknown {
  if (Array.isArray(value)) return Array.from(value, (item) => withoutUndefined(item ?? null));
  if (value === null || typeof value !== "object") return value;
  if (!isPlain(value)) return value;
  const kept = Object.entries(value).filter(([, item]) => item !== undefined);
  // Unlike an assignment this keeps a field `__proto__`, which the gate then refuses.
  return Object.fromEntries(kept.map(([key, item]) => [key, withoutUndefined(item)]));
}

/** Decodes untrusted bytes: gate first, then decode. Throws ProtocolError. */
export function decodeUntrustedCbor(bytes: Uint8Array): unknown {
  const refusal = checkCbor(bytes, 0, bytes.byteLength);
  if (refusal !== "") throw new ProtocolError(`Cannot read CBOR: ${refusal}`);
  return decodeCbor(bytes);
}

/** Decodes bytes that passed the gate. Text, bytes and objects are private copies. */
export function decodeCbor(bytes: Uint8Array): unknown {
  const decoder = new Decoder(bytes);
  const value = decoder.value();
  assert(decoder.at === bytes.byteLength, "the gate saw exactly one value");
  return value;
}

class Decoder {
  /** Offset of the next byte to read: `0 <= at <= bytes.byteLength`. */
  at = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#bytes = plainBytes(bytes);
    this.#view = viewOf(bytes);
  }

  value(): unknown {
    assert(this.at < this.#bytes.byteLength, "a value begins inside of the bytes");
    const first = this.#bytes[this.at]!;
    this.at += 1;
    const info = first & 31;
    switch (first >> 5) {
      case 0:
        return this.#integer(info);
      case 1:
        return this.#negative(info);
      case 2:
        return this.#take(this.#length(info)).slice();
      case 3:
        return this.#text(this.#length(info));
      case 4:
        return this.#array(this.#length(info));
      case 5:
        return this.#map(this.#length(info));
      case 6:
        return this.#date();
      default:
        return this.#simple(info);
    }
  }

  #length(info: number): number {
    return Number(this.#integer(info));
  }

  #integer(info: number): number | bigint {
    if (info < 24) return info;
    const at = this.at;
    assert(at < this.#bytes.byteLength, "the gate saw the bytes of the integer");
    if (info === 24) {
      this.at += 1;
      return this.#bytes[at]!;
    }
    if (info === 25) {
      this.at += 2;
      return this.#view.getUint16(at);
    }
    if (info === 26) {
      this.at += 4;
      return this.#view.getUint32(at);
    }
    this.at += 8;
    assert(this.at <= this.#bytes.byteLength, "the gate saw the whole integer");
    const high = this.#view.getUint32(at);
    if (high < 0x20_0000) return high * 2 ** 32 + this.#view.getUint32(at + 4);
    return this.#view.getBigUint64(at);
  }

  #negative(info: number): number | bigint {
    const value = this.#integer(info);
    if (typeof value === "bigint") return -1n - value;
    return value === Number.MAX_SAFE_INTEGER ? -1n - BigInt(value) : -1 - value;
  }

  #date(): Date {
    // 1.001 s * 1000 is less than 1001 ms, and Date cuts.
    const ms = Math.round(Number(this.value()) * 1000);
    assert(Math.abs(ms) <= DATE_MS_MAX, "the gate let only dates of the calendar pass");
    return new Date(ms);
  }

  #take(size: number): Uint8Array {
    const start = this.at;
    const end = start + size;
    assert(end <= this.#bytes.byteLength, "the gate saw the whole byte string");
    this.at = end;
    return this.#bytes.subarray(start, end);
  }

  #text(size: number): string {
    const start = this.at;
    const end = start + size;
    assert(end <= this.#bytes.byteLength, "the gate saw the whole text");
    this.at = end;
    if (size > SHORT_TEXT_SIZE) return TEXT_DECODER.decode(this.#bytes.subarray(start, end));
    let text = "";
    for (let i = start; i < end; i += 1) {
      const byte = this.#bytes[i]!;
      if (byte >= 0x80) return TEXT_DECODER.decode(this.#bytes.subarray(start, end));
      text += String.fromCharCode(byte);
    }
    return text;
  }

  #array(size: number): unknown[] {
    assert(
      size <= this.#bytes.byteLength - this.at,
      "every item of an array has at least one byte",
    );
    const items: unknown[] = [];
    for (let i = 0; i < size; i += 1) items.push(this.value());
    return items;
  }

  #map(size: number): Record<string, unknown> {
    assert(
      2 * size <= this.#bytes.byteLength - this.at,
      "every field of a map has at least two bytes",
    );
    const fields: Record<string, unknown> = {};
    for (let i = 0; i < size; i += 1) {
      this.at += 1;
      const key = this.#text(this.#length(this.#bytes[this.at - 1]! & 31));
      fields[key] = this.value();
    }
    return fields;
  }

  #simple(info: number): unknown {
    const at = this.at;
    switch (info) {
      case 20:
        return false;
      case 21:
        return true;
      case 22:
        return null;
      case 25:
        this.at += 2;
        return halfFloat(this.#view.getUint16(at));
      case 26:
        this.at += 4;
        return this.#view.getFloat32(at);
      default:
        assert(info === 27, "the gate let pass only these simple values");
        this.at += 8;
        assert(this.at <= this.#bytes.byteLength, "the gate saw the whole float");
        return this.#view.getFloat64(at);
    }
  }
}

/** IEEE 754 binary16; the gate excluded infinities and NaN. */
export function halfFloat(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 0x3ff;
  const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  assert(size <= HALF_FLOAT_MAX, "the gate refused infinities and NaN");
  return bits & 0x8000 ? -size : size;
}
