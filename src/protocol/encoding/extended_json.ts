/**
 * Documents as JSON without loss, by MongoDB's Extended JSON v2: what JSON has no word for is an
 * object with one tag. Written is the relaxed form, read are both forms and the older ones of its
 * tools:
 *
 * | value                            | written                                | read, too                  |
 * | -------------------------------- | -------------------------------------- | -------------------------- |
 * | date, years 1970 to 9999         | `{"$date": "2026-01-01T00:00:00Z"}`    | milliseconds as a number   |
 * | any other date                   | `{"$date": {"$numberLong": "..."}}`    | ISO 8601 with a zone       |
 * | integer beyond 2^53              | `{"$numberLong": "..."}`               | the digits alone           |
 * | the same, beyond 63 bits         | `{"$bigint": "..."}`                   | the digits alone           |
 * | bytes                            | `{"$binary": {"base64", "subType"}}`   | `$binary`, `$type`; `$bytes` |
 * | whole number that is a float     | `{"$numberDouble": "..."}`             |                            |
 * | a number                         | as it is                               | `$numberInt`, `$numberLong` |
 * | object that looks like a tag     | `{"$literal": {...}}`                  |                            |
 * | `$oid`, `$uuid`                  | -                                      | as text                    |
 *
 * Values that cstore does not hold (`$numberDecimal`, `$timestamp`, `$regularExpression` and the
 * like) are refused.
 *
 * @module
 */

import { parse } from "lossless-json";
import { assert } from "../../base/assert.ts";
import { ValidationError } from "../../base/errors.ts";
import { PATH_LENGTH_MAX } from "../../base/limits.ts";
import { type Fields, isFields, type Value } from "../../base/value.ts";

type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** A run of digits that a float may not hold: such texts take the slow way. */
const LONG_DIGITS = /\d{16}/;
/** Numbers of one sign that 64 bits hold. */
const INTEGERS = 2n ** 64n;
const LONG_MAX = 2n ** 63n;
const INT_MAX = 2n ** 31n;
/** Dates outside are written as numbers: the first of 1970, and the last of 9999. */
const DATE_TEXT_MS_MAX = 253_402_300_799_999;
/** The last date of the calendar. */
const DATE_MS_MAX = 8.64e15;
const DATE_TEXT =
  /^([+-]\d{6}|\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)$/;
const DAY_MS = 86_400_000;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const OBJECT_ID = /^[0-9a-f]{24}$/i;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** Longest piece of a refused value that a message shows. */
const SHOWN_MAX = 60;

/** Tags of values that cstore does not hold. */
const FOREIGN: ReadonlySet<string> = new Set([
  ...["$numberDecimal", "$timestamp", "$regularExpression", "$code", "$symbol", "$dbPointer"],
  ...["$minKey", "$maxKey", "$undefined"],
]);
/** Tags of values that are read. */
const KNOWN: ReadonlySet<string> = new Set([
  ...["$date", "$numberInt", "$numberLong", "$numberDouble", "$bigint", "$binary", "$bytes"],
  ...["$oid", "$uuid", "$literal"],
]);

/** Where a value stands in its document. */
interface Place {
  /** Dotted path; empty for the whole. */
  readonly path: string;
  /** The whole, as messages call it. */
  readonly what: string;
}

/** A value as one line of JSON. */
export function toExtendedJson(value: unknown): string {
  return JSON.stringify(written(value as Value));
}

/**
 * A value from JSON. Throws ValidationError, whose message and fields name the path; `what` is the
 * whole, as the message calls it.
 */
export function fromExtendedJson(text: string, what = "value"): unknown {
  const json = parseJson(text, what);
  try {
    return read(json, { path: "", what });
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new ValidationError(`The ${what} is not JSON: it is nested too deep`, { cause });
  }
}

function written(value: Value): Json {
  if (typeof value === "bigint") return writtenInteger(value);
  if (typeof value === "number") return writtenNumber(value);
  if (value instanceof Date) return { $date: writtenDate(value.getTime()) };
  if (value instanceof Uint8Array) {
    return { $binary: { base64: Buffer.from(value).toString("base64"), subType: "00" } };
  }
  if (Array.isArray(value)) return (value as readonly Value[]).map(written);
  if (!isFields(value)) return value as Json;
  const entries = Object.entries(value).map(([name, item]) => [name, written(item)] as const);
  const plain = Object.fromEntries(entries);
  return looksLikeTag(Object.keys(value)) ? { $literal: plain } : plain;
}

function writtenInteger(value: bigint): Json {
  assert(value >= -INTEGERS, "a stored integer has at most 64 bits and a sign");
  assert(value < INTEGERS, "a stored integer has at most 64 bits");
  const isLong = -LONG_MAX <= value && value < LONG_MAX;
  return isLong ? { $numberLong: String(value) } : { $bigint: String(value) };
}

/** As digits a whole number beyond 2^53 would be an integer, and -0 would be 0. */
function writtenNumber(value: number): Json {
  if (Object.is(value, -0)) return { $numberDouble: "-0.0" };
  assert(Math.abs(value) <= Number.MAX_VALUE, "a stored number is finite");
  const isExact = !Number.isInteger(value) || Number.isSafeInteger(value);
  return isExact ? value : { $numberDouble: String(value) };
}

function writtenDate(ms: number): Json {
  assert(Math.abs(ms) <= DATE_MS_MAX, "a stored date is one of the calendar");
  if (ms >= 0 && ms <= DATE_TEXT_MS_MAX) return new Date(ms).toISOString();
  return { $numberLong: String(ms) };
}

/** Whether a reader would take the object for something else. */
function looksLikeTag(names: readonly string[]): boolean {
  if (names.length === 1) return isTag(names[0]!);
  return names.length === 2 && names.includes("$binary") && names.includes("$type");
}

function isTag(name: string): boolean {
  return KNOWN.has(name) || FOREIGN.has(name);
}

/** JSON whose integers are exact: those that a float does not hold are bigints. */
function parseJson(text: string, what: string): Json {
  try {
    if (!LONG_DIGITS.test(text)) return JSON.parse(text) as Json;
    const parseNumber = exactNumber;
    return parse(text, undefined, { parseNumber, onDuplicateKey: (two) => two.newValue }) as Json;
  } catch (cause) {
    if (cause instanceof ValidationError) throw cause;
    const reason = cause instanceof RangeError ? "it is nested too deep" : messageOf(cause);
    throw new ValidationError(`The ${what} is not JSON: ${reason}`, { cause });
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

function exactNumber(digits: string): number | bigint {
  const value = Number(digits);
  if (!/^-?\d+$/.test(digits) || Number.isSafeInteger(value)) return value;
  assert(Math.abs(value) > Number.MAX_SAFE_INTEGER, "a float holds every smaller integer");
  const whole = BigInt(digits);
  if (-INTEGERS <= whole && whole < INTEGERS) return whole;
  throw new ValidationError(`The integer ${shown(digits)} has more than 64 bits`);
}

function read(value: Json | bigint, at: Place): Value {
  if (Array.isArray(value)) {
    return (value as readonly Json[]).map((item, index) => read(item, inside(at, String(index))));
  }
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw refused(at, "the number is beyond what a float holds");
  }
  if (typeof value !== "object" || value === null) return value as Value;
  const fields = value as { readonly [name: string]: Json };
  const names = Object.keys(fields);
  const [name = ""] = names;
  if (names.length === 1 && isTag(name)) return readTag(name, fields[name]!, at);
  if (looksLikeTag(names)) return readBase64(fields["$binary"]!, at);
  return readFields(fields, at);
}

function readFields(fields: { readonly [name: string]: Json }, at: Place): Fields {
  const entries = Object.entries(fields);
  return Object.fromEntries(entries.map(([name, item]) => [name, read(item, inside(at, name))]));
}

function readTag(tag: string, value: Json, at: Place): Value {
  switch (tag) {
    case "$date":
      return readDate(value, at);
    case "$numberInt":
      return readNumber(value, at, { tag, size: INT_MAX });
    case "$numberLong":
      return readNumber(value, at, { tag, size: LONG_MAX });
    case "$bigint":
      return readNumber(value, at, { tag, size: INTEGERS });
    case "$numberDouble":
      return readDouble(value, at);
    case "$binary":
      return readBinary(value, at);
    case "$bytes":
      return readBase64(value, at);
    case "$oid":
      return readText(value, at, { tag, form: OBJECT_ID });
    case "$uuid":
      return readText(value, at, { tag, form: UUID });
    case "$literal":
      return readLiteral(value, at);
    default:
      throw refused(at, `a ${tag.slice(1)} is no value that cstore holds`);
  }
}

function readLiteral(value: Json, at: Place): Fields {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  if (isObject) return readFields(value as { readonly [name: string]: Json }, at);
  throw refused(at, `$literal holds an object, not ${shown(value)}`);
}

/** A whole number of at most so many bits and a sign, as digits or as it is. */
function readNumber(
  value: Json | bigint,
  at: Place,
  { tag, size }: { readonly tag: string; readonly size: bigint },
): number | bigint {
  const isDigits = typeof value === "string" && /^-?\d{1,20}$/.test(value);
  const isWhole = typeof value === "bigint" || Number.isSafeInteger(value);
  if (!isDigits && !isWhole) throw refused(at, `${tag} holds digits, not ${shown(value)}`);
  const whole = BigInt(value as string | number | bigint);
  if (whole < -size || whole >= size) throw refused(at, `${tag} does not hold ${shown(value)}`);
  assert(whole >= -size, "a smaller integer was refused");
  assert(whole < size, "a larger integer was refused");
  const number = Number(whole);
  return Number.isSafeInteger(number) ? number : whole;
}

function readDouble(value: Json, at: Place): number {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  if (typeof number === "number" && Number.isFinite(number)) {
    assert(Math.abs(number) <= Number.MAX_VALUE, "a finite number is within the floats");
    return number;
  }
  throw refused(at, `$numberDouble holds a finite number, not ${shown(value)}`);
}

function readText(
  value: Json,
  at: Place,
  { tag, form }: { readonly tag: string; readonly form: RegExp },
): string {
  if (typeof value === "string" && form.test(value)) {
    const text = value.toLowerCase();
    assert(text.length === value.length, "hex digits keep their number in lower case");
    return text;
  }
  throw refused(at, `${shown(value)} is no ${tag}`);
}

function readDate(value: Json | bigint, at: Place): Date {
  const nested = typeof value === "object" && value !== null && !Array.isArray(value);
  const { $numberLong } = nested ? (value as { readonly $numberLong?: Json }) : {};
  const isLong = nested && $numberLong !== undefined && Object.keys(value).length === 1;
  const ms = isLong
    ? Number(readNumber($numberLong, at, { tag: "$numberLong", size: LONG_MAX }))
    : typeof value === "string"
      ? dateMs(value)
      : Number.isSafeInteger(value)
        ? (value as number)
        : Number.NaN;
  const date = new Date(ms);
  if (!Number.isNaN(date.getTime())) {
    assert(Math.abs(date.getTime()) <= DATE_MS_MAX, "a date is one of the calendar");
    return date;
  }
  throw refused(at, `${shown(value)} is no date with a time and a zone`);
}

/** Milliseconds since 1970 of a date with a time and a zone; NaN for any other text. */
function dateMs(text: string): number {
  const [, year, month, day, hour, minute, second = "0", fraction = "0", zone] =
    DATE_TEXT.exec(text) ?? [];
  if (year === undefined || zone === undefined) return Number.NaN;
  const [h, m, s] = [Number(hour), Number(minute), Number(second)];
  if (h > 23 || m > 59 || s > 59 || year === "-000000") return Number.NaN;
  assert(h < 24, "a later hour was refused");
  assert(m < 60, "a later minute was refused");
  assert(s < 60, "a later second was refused");
  const date = new Date(0);
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  // A day that its month does not have rolls over.
  const isDay = date.getUTCMonth() === Number(month) - 1 && date.getUTCDate() === Number(day);
  assert(Number(day) <= 99, "a day has two digits");
  const [sign, hours, minutes] = /^([+-])(\d\d):?(\d\d)$/.exec(zone)?.slice(1) ?? ["+", "0", "0"];
  if (!isDay || Number(hours) > 23 || Number(minutes) > 59) return Number.NaN;
  const zoneMs = (Number(hours) * 60 + Number(minutes)) * 60_000 * (sign === "-" ? -1 : 1);
  assert(Math.abs(zoneMs) < DAY_MS, "a zone is less than a day off");
  date.setUTCHours(h, m, s, Math.trunc(Number(`0.${fraction}`) * 1000 + 1e-6));
  return date.getTime() - zoneMs;
}

function readBinary(value: Json, at: Place): Uint8Array {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    const { base64, subType, ...rest } = value as { readonly [name: string]: Json };
    const isType = typeof subType === "string" && /^[0-9a-f]{1,2}$/i.test(subType);
    if (isType && Object.keys(rest).length === 0) return readBase64(base64 ?? null, at);
  }
  throw refused(at, `$binary holds base64 and subType, not ${shown(value)}`);
}

function readBase64(value: Json, at: Place): Uint8Array {
  if (typeof value !== "string" || !BASE64.test(value)) {
    throw refused(at, `${shown(value)} is no base64`);
  }
  const bytes = Buffer.from(value, "base64");
  assert(value.length % 4 === 0, "base64 comes in groups of four characters");
  assert(bytes.byteLength * 4 >= (value.length - 4) * 3, "only the last group may be short");
  assert(bytes.byteLength * 4 <= value.length * 3, "four characters hold at most three bytes");
  // The last character may hold bits that belong to no byte.
  if (bytes.toString("base64") !== value) throw refused(at, `${shown(value)} is no base64`);
  return new Uint8Array(bytes);
}

function inside(at: Place, name: string): Place {
  const path = at.path === "" ? name : `${at.path}.${name}`;
  assert(path.length >= at.path.length, "a path grows with each step");
  return { ...at, path };
}

/** The beginning of a value, as a message shows it. */
function shown(value: unknown): string {
  const text =
    JSON.stringify(value, (_key, item) => (typeof item === "bigint" ? String(item) : item)) ?? "";
  const part = text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX).toWellFormed()}...` : text;
  assert(part.length <= SHOWN_MAX + 3, "a message shows a piece of bounded length");
  return part;
}

function refused({ path, what }: Place, why: string): ValidationError {
  const where = path === "" ? "" : ` at "${path.slice(0, PATH_LENGTH_MAX)}"`;
  const message = `Cannot read the ${what}${where}: ${why}`;
  assert(message.length > why.length, "the message names the whole");
  return new ValidationError(message, path === "" ? {} : { fields: { path } });
}
