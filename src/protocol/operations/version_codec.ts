/**
 * Documents of collections that every node writes, as bytes and as changes of each other.
 *
 * A large document as changes of an earlier one: of each field that differs its value, of arrays
 * the runs of elements that stay. So a tag more in a set of thousands is sent as that tag.
 *
 * A change of a value is one of `{ v: value }`, of an object `{ f: changes by field, g: fields that
 * went }`, of an array `{ a: parts }`, where a part is `[from, count]`, elements that stay, in
 * their order, or `{ v: element }`. A change of a content is `{ b, m }`: of the body, and of the
 * marks or `null` for none.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ValidationError } from "../../base/errors.ts";
import { identical } from "../../base/identical.ts";
import { orderKey } from "../../base/order_key.ts";
import { type Fields, isCount, isFields, type Value } from "../../base/value.ts";
import type { DeltaCodec } from "../../multi_master/document/bases.ts";
import type { DocumentCodec } from "../../multi_master/document/conflict_resolver.ts";
import type { DocumentContent, Marks } from "../../multi_master/operation/operation.ts";
import { decodeCbor, encodeCbor } from "../encoding/cbor.ts";
import { checkCbor } from "../encoding/cbor_gate.ts";

/** A change is worth its trouble up to this share of the content. */
const SHARE_MAX = 0.5;
/** Major type of a CBOR map: a document is one. */
const MAP = 5;
/** Smaller documents cost less than the looking for what changed. */
const DELTA_SIZE_MIN = 1024;
/** Elements between the common beginning and end of two lists that are compared with each other. */
const MIDDLE_MAX = 4096;
const MISFIT = "Cannot take in a change of a document: it fits another one";

/** How `next` comes from `base`; undefined if it is as well sent whole. */
export function contentDelta(
  base: DocumentContent,
  next: DocumentContent,
  shareMax = SHARE_MAX,
): Uint8Array | undefined {
  const body = delta(decodeCbor(base.body) as Value, decodeCbor(next.body) as Value);
  const marks = next.marks === undefined ? null : delta(marksOf(base), marksOf(next));
  const bytes = encoded({ b: body, m: marks });
  if (bytes === undefined) return undefined;
  const whole = next.body.byteLength + encodeCbor(marksOf(next)).byteLength;
  assert(whole >= next.body.byteLength, "marks stand beside the body");
  if (bytes.byteLength > whole * shareMax) return undefined;
  // The order of fields may be one that does not come out, and checksums are made of all bytes.
  const made = contentFrom(base, bytes);
  const isSame =
    identical(made.body, next.body) &&
    identical(encodeCbor(made.marks ?? null), encodeCbor(next.marks ?? null));
  return isSame ? bytes : undefined;
}

/**
 * The content that a delta makes of its base. Throws ValidationError for one that fits another
 * base, or none.
 */
export function contentFrom(base: DocumentContent, bytes: Uint8Array): DocumentContent {
  if (!VERSION_CODEC.isDocument(bytes)) throw new ValidationError(MISFIT);
  const { b, m } = decodeCbor(bytes) as Fields;
  const body = patched(decodeCbor(base.body) as Value, b);
  if (!isFields(body)) throw new ValidationError(MISFIT);
  const content = { kind: "document", body: encodeCbor(body) } as const;
  if (m === null) return content;
  const marks = patched(marksOf(base), m);
  if (!isFields(marks) || !Array.isArray(marks["parts"])) throw new ValidationError(MISFIT);
  // What is in them is checked with the operation.
  const { rest, parts } = marks as unknown as Marks;
  return { ...content, marks: rest === undefined ? { parts } : { rest, parts } };
}

/** Undefined where it nests deeper than a document may: it is deeper than what it changes. */
function encoded(change: Fields): Uint8Array | undefined {
  try {
    return encodeCbor(change);
  } catch (error) {
    if (error instanceof ValidationError) return undefined;
    throw error;
  }
}

function marksOf({ marks = { parts: [] } }: DocumentContent): Value {
  return marks as unknown as Value;
}

/** Fields that differ: documents are settled by them, so what is inside of one goes as a whole. */
function delta(base: Value, next: Value): Value {
  if (!isFields(base) || !isFields(next)) return { v: next };
  const changed: Record<string, Value> = {};
  for (const [field, value] of Object.entries(next)) {
    const before = Object.hasOwn(base, field) ? base[field] : undefined;
    if (before !== undefined && identical(before, value)) continue;
    const areLists = Array.isArray(before) && Array.isArray(value);
    changed[field] = areLists ? { a: parts(before, value) } : { v: value };
  }
  const gone = Object.keys(base).filter((field) => !Object.hasOwn(next, field));
  assert(!gone.some((field) => Object.hasOwn(changed, field)), "a field goes or changes");
  return { f: changed, g: gone };
}

/** Elements that stay in their order are runs; others are written. */
function parts(base: readonly Value[], next: readonly Value[]): readonly Value[] {
  const most = Math.min(base.length, next.length);
  let start = 0;
  while (start < most && identical(base[start]!, next[start]!)) start += 1;
  let same = 0;
  while (
    same < most - start &&
    identical(base[base.length - 1 - same]!, next[next.length - 1 - same]!)
  )
    same += 1;
  const end = base.length - same;
  const found: Value[] = start > 0 ? [[0, start]] : [];
  found.push(...middle(base.slice(start, end), next.slice(start, next.length - same), start));
  if (same > 0) found.push([end, same]);
  assert(found.length <= next.length, "each element is in one part");
  assert(start + same <= base.length, "runs are of elements that are there");
  return found;
}

/** Parts of what is neither the common beginning nor the common end; `offset` is its place. */
function middle(base: readonly Value[], next: readonly Value[], offset: number): Value[] {
  const places = new Map<string, number>();
  const isLooked = base.length <= MIDDLE_MAX && next.length <= MIDDLE_MAX;
  if (isLooked) for (const [at, value] of base.entries()) places.set(orderKey(value), at);
  const found: Value[] = [];
  let [from, end] = [0, 0];
  const endRun = (): void => {
    if (end > from) found.push([offset + from, end - from]);
    from = end;
  };
  for (const value of next) {
    const at = (isLooked ? places.get(orderKey(value)) : undefined) ?? -1;
    const stays = at >= end && identical(base[at]!, value);
    if (!stays || at > end) endRun();
    if (!stays) found.push({ v: value });
    else if (at > end) [from, end] = [at, at + 1];
    else end += 1;
  }
  endRun();
  assert(found.length <= next.length, "each element is in one part");
  assert(end <= base.length, "runs are of elements that are there");
  return found;
}

function patched(base: Value | undefined, change: Value | undefined): Value {
  if (!isFields(change)) throw new ValidationError(MISFIT);
  const { v, f, g, a } = change;
  if (v !== undefined) return v;
  if (Array.isArray(a) && Array.isArray(base)) return joined(base, a);
  if (!isFields(f) || !Array.isArray(g) || !isFields(base)) throw new ValidationError(MISFIT);
  const gone = new Set<Value>(g);
  const left: Record<string, Value> = {};
  for (const [field, value] of Object.entries(base)) if (!gone.has(field)) left[field] = value;
  for (const [field, one] of Object.entries(f)) left[field] = patched(left[field], one);
  const most = Object.keys(base).length + Object.keys(f).length;
  assert(Object.keys(left).length <= most, "no field comes from elsewhere");
  return left;
}

/** Runs follow each other in the base, so the result holds no more than the base and the delta. */
function joined(base: readonly Value[], parts: readonly Value[]): readonly Value[] {
  const items: Value[] = [];
  let end = 0;
  for (const part of parts) {
    if (isFields(part) && part["v"] !== undefined) {
      items.push(part["v"]);
      continue;
    }
    const [from, count] = Array.isArray(part) ? part : [];
    if (!isCount(from) || !isCount(count) || from < end || from + count > base.length) {
      throw new ValidationError(MISFIT);
    }
    end = from + count;
    for (let at = from; at < end; at += 1) items.push(base[at]!);
  }
  assert(items.length <= base.length + parts.length, "the result is no larger than what made it");
  assert(end <= base.length, "runs are of elements that are there");
  return items;
}

/** The codec of all nodes. */
export const VERSION_CODEC: DocumentCodec & DeltaCodec = {
  isDocument: (body) => (body[0] ?? 0) >> 5 === MAP && checkCbor(body, 0, body.byteLength) === "",
  encode: (body) => encodeCbor(body),
  decode: (body) => decodeCbor(body) as Fields,
  deltaSizeMin: DELTA_SIZE_MIN,
  delta: (base, next) => contentDelta(base, next),
  patch: (base, delta) => contentFrom(base, delta),
};
