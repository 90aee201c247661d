/**
 * Values as texts that sort, compared by UTF-16 code units, as the values do: keys of collection
 * indexes. A value's text never begins another's, so texts of several values can be joined.
 *
 * Type unit (rank + 1), then: number, date: the float64 with its sign bit flipped (all bits if it
 * is negative) as four units, then how much a bigint exceeds that float (0x8000 = nothing);
 * string, bytes: the units with 0 written as 0 1, then 0 0. A boolean has one unit of 0 or 1. An
 * array: its items, each after a 1, then 0. An object: its names in order, each after a 1, then 0,
 * then the values.
 *
 * @module
 */

import { type Fields, fieldOf, isFields, timeOf, typeRank, type Value } from "./value.ts";

const FLOAT = new DataView(new ArrayBuffer(8));

/** The key text of a value; reversed, so that it sorts the other way round, when descending. */
export function orderKey(value: Value, isDescending = false): string {
  const text = ascendingKey(value);
  return isDescending ? reversed(text) : text;
}

/** The common beginning of all key texts of values of that type. */
export function typeKey(value: Value, isDescending = false): string {
  const unit = typeRank(value) + 1;
  return String.fromCharCode(isDescending ? 0xffff - unit : unit);
}

function ascendingKey(value: Value): string {
  const type = String.fromCharCode(typeRank(value) + 1);
  switch (typeof value) {
    case "boolean":
      return type + (value ? "\u0001" : "\u0000");
    case "number":
      return type + floatKey(value, 0);
    case "bigint":
      return type + bigintKey(value);
    case "string":
      return type + ended(value);
    default:
      if (value instanceof Date) return type + floatKey(timeOf(value), 0);
      if (value instanceof Uint8Array) return type + ended(latinText(value));
      if (Array.isArray(value))
        return type + listKey(value.map((item: Value) => ascendingKey(item)));
      return isFields(value) ? type + fieldsKey(value) : type;
  }
}

function listKey(items: readonly string[]): string {
  return `${items.map((item) => `\u0001${item}`).join("")}\u0000`;
}

function fieldsKey(fields: Fields): string {
  const names = Object.keys(fields).sort();
  const values = names.map((name) => ascendingKey(fieldOf(fields, name)));
  return listKey(names.map(ended)) + values.join("");
}

function ended(text: string): string {
  const escaped = text.includes("\u0000") ? text.replaceAll("\u0000", "\u0000\u0001") : text;
  return `${escaped}\u0000\u0000`;
}

/** One unit for each byte. */
export function latinText(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.byteLength; at += 1) text += String.fromCharCode(bytes[at]!);
  return text;
}

/** The bytes that {@link latinText} made a text of. */
export function bytesOfLatin(text: string): Uint8Array {
  return Uint8Array.from(text, (unit) => unit.charCodeAt(0));
}

function floatKey(value: number, excess: number): string {
  FLOAT.setFloat64(0, value === 0 ? 0 : value);
  const flip = value < 0 ? 0xffff : 0;
  const sign = value < 0 ? 0 : 0x8000;
  return String.fromCharCode(
    FLOAT.getUint16(0) ^ flip ^ sign,
    FLOAT.getUint16(2) ^ flip,
    FLOAT.getUint16(4) ^ flip,
    FLOAT.getUint16(6) ^ flip,
    0x8000 + excess,
  );
}

function bigintKey(value: bigint): string {
  const float = Number(value);
  return floatKey(float, Number(value - BigInt(float)));
}

function reversed(text: string): string {
  let result = "";
  for (let at = 0; at < text.length; at += 1) {
    result += String.fromCharCode(0xffff - text.charCodeAt(at));
  }
  return result;
}
