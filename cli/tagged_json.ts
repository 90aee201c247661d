/**
 * Documents as JSON without loss: what JSON has no word for is an object with one tag, `$date` (ISO
 * 8601), `$bigint` (decimal) or `$bytes` (base64). An object that only looks like one of them is in
 * `$literal`.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import type { AnyDocument } from "../src/mod.ts";
import { UsageError } from "./output.ts";

type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

const TAGS: ReadonlySet<string> = new Set(["$date", "$bigint", "$bytes", "$literal"]);

/** A value as one line of JSON. */
export function toTaggedJson(value: unknown): string {
  return JSON.stringify(tagged(value));
}

function tagged(value: unknown): Json {
  if (typeof value === "bigint") return { $bigint: String(value) };
  if (value instanceof Date) {
    return { $date: Number.isNaN(value.getTime()) ? "invalid" : value.toISOString() };
  }
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("base64") };
  if (Array.isArray(value)) return value.map(tagged);
  if (typeof value !== "object" || value === null) return value as Json;
  const entries = Object.entries(value).map(([name, item]) => [name, tagged(item)] as const);
  const plain = Object.fromEntries(entries);
  const isLikeTag = entries.length === 1 && TAGS.has(entries[0]![0]);
  return isLikeTag ? { $literal: plain } : plain;
}

/** A value from JSON with tags. Throws UsageError; `what` names it. */
export function fromTaggedJson(text: string, what: string): unknown {
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : "";
    throw new UsageError(`The ${what} is not JSON: ${reason}`);
  }
  return untagged(value, what);
}

function untagged(value: Json, what: string): unknown {
  if (Array.isArray(value)) return value.map((item: Json) => untagged(item, what));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value);
  const [tag, text] = entries.length === 1 ? entries[0]! : ["", ""];
  if (tag === "$literal" && typeof text === "object" && text !== null) return fields(text, what);
  if (typeof text === "string") {
    if (tag === "$date") return dateOf(text, what);
    if (tag === "$bytes") return new Uint8Array(Buffer.from(text, "base64"));
    if (tag === "$bigint") {
      if (!/^-?\d{1,20}$/.test(text))
        throw new UsageError(`The ${what} has a bad $bigint: ${text}`);
      return BigInt(text);
    }
  }
  return fields(value, what);
}

function fields(value: object, what: string): AnyDocument {
  const entries = Object.entries(value).map(([name, item]) => [name, untagged(item as Json, what)]);
  return Object.fromEntries(entries);
}

function dateOf(text: string, what: string): Date {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) throw new UsageError(`The ${what} has a bad $date: ${text}`);
  return date;
}

/** An object from an argument; `-` reads it from stdin. Throws UsageError. */
export function readObject(text: string | undefined, what: string, example: string): AnyDocument {
  if (text === undefined) {
    throw new UsageError(`Give the ${what} as JSON`, `For example: ${example}`);
  }
  const value = fromTaggedJson(text === "-" ? readFileSync(0, "utf8") : text, what);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UsageError(`The ${what} is not a JSON object`);
  }
  return value as AnyDocument;
}
