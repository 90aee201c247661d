/**
 * Which JavaScript values are stored: an allow-list of types and prototypes, because an encoder
 * takes the fields of any object, and an instance keeps most of itself elsewhere.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { DOCUMENT_DEPTH_MAX } from "../../base/limits.ts";

/** A part of a value that is not stored. */
export interface Unstorable {
  /** Dotted path from the value; empty for the value itself. */
  readonly path: string;
  readonly reason: string;
}

const TOO_DEEP = "nested too deep, or cyclic";
const NOT_UTF8 = "text is not valid UTF-8";
/** Integers of one sign. */
const INTEGERS = 2n ** 64n;

/**
 * Whether every object in a value is an array, bytes, a date or a plain object. Texts and numbers
 * are left to whoever sees the encoded bytes.
 */
export function hasKnownObjects(value: unknown, depth = 0): boolean {
  if (typeof value !== "object" || value === null) return typeof value !== "function";
  if (depth > DOCUMENT_DEPTH_MAX) return false;
  assert(depth <= DOCUMENT_DEPTH_MAX, "the walk ends where documents end");
  if (Array.isArray(value)) {
    for (const item of value) if (!hasKnownObjects(item, depth + 1)) return false;
    return true;
  }
  if (!isPlain(value)) return value instanceof Uint8Array || value instanceof Date;
  for (const name in value) {
    const item = (value as { readonly [name: string]: unknown })[name];
    if (typeof item === "string" || typeof item === "number") continue;
    if (!hasKnownObjects(item, depth + 1)) return false;
  }
  return true;
}

/** Made by braces, by JSON.parse, or without a prototype; also by those of another realm. */
export function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return true;
  return (
    Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, "isPrototypeOf")
  );
}

/** The first part of a value that is not stored, and why. */
export function findUnstorable(value: unknown, depth = 0): Unstorable | undefined {
  assert(depth <= DOCUMENT_DEPTH_MAX + 1, "the walk ends where documents end");
  assert(depth >= 0, "the walk begins at the value itself");
  const reason = reasonOf(value, depth);
  if (reason !== "") return { path: "", reason };
  if (typeof value !== "object" || value === null) return undefined;
  if (value instanceof Uint8Array || value instanceof Date) return undefined;
  for (const [name, item] of Object.entries(value)) {
    const refusal = nameReason(name);
    const found = refusal === "" ? findUnstorable(item, depth + 1) : { path: "", reason: refusal };
    // The path to what is too deep is too long to help.
    if (found?.reason === TOO_DEEP) return found;
    if (found === undefined) continue;
    const at = name.toWellFormed();
    return { ...found, path: found.path === "" ? at : `${at}.${found.path}` };
  }
  return undefined;
}

function nameReason(name: string): string {
  if (name === "__proto__") return "key __proto__ is not allowed";
  return name.isWellFormed() ? "" : NOT_UTF8;
}

/** Why a value by itself is not stored; empty if it is, as far as its parts are. */
function reasonOf(value: unknown, depth: number): string {
  switch (typeof value) {
    case "function":
    case "symbol":
      return `a ${typeof value}`;
    case "number":
      return Number.isFinite(value) ? "" : "number is not finite";
    case "bigint":
      return -INTEGERS <= value && value < INTEGERS ? "" : "an integer of more than 64 bits";
    case "string":
      return value.isWellFormed() ? "" : NOT_UTF8;
    case "object":
      return value === null ? "" : objectReason(value, depth);
    default:
      return "";
  }
}

function objectReason(value: object, depth: number): string {
  if (depth > DOCUMENT_DEPTH_MAX) return TOO_DEEP;
  assert(depth <= DOCUMENT_DEPTH_MAX, "what is too deep was refused");
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "an invalid date" : "";
  if (Array.isArray(value) || value instanceof Uint8Array || isPlain(value)) return "";
  if (value instanceof Promise) return "a promise: await it first";
  return `an instance of ${value.constructor?.name || "a class"}`;
}
