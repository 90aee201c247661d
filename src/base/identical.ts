/**
 * Whether two values are the same to the last bit. `equalValues` of `base` takes 1 and 1n for the
 * same, and NaN for any number.
 *
 * @module
 */

import { isFields, type Value } from "./value.ts";

/** Whether two values are the same, their types included; the order of fields does not matter. */
export function identical(a: Value, b: Value): boolean {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) {
    return Object.is(a, b);
  }
  if (a instanceof Date || b instanceof Date) {
    return a instanceof Date && b instanceof Date && Object.is(a.getTime(), b.getTime());
  }
  if (a instanceof Uint8Array || b instanceof Uint8Array) {
    return a instanceof Uint8Array && b instanceof Uint8Array && areSame(a, b, Object.is);
  }
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && areSame<Value>(a, b, identical);
  }
  if (!isFields(a) || !isFields(b)) return false;
  const names = Object.keys(a);
  if (names.length !== Object.keys(b).length) return false;
  return names.every((name) => Object.hasOwn(b, name) && identical(a[name], b[name]));
}

function areSame<T>(
  a: ArrayLike<T>,
  b: ArrayLike<T>,
  isSame: (one: T, other: T) => boolean,
): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i += 1) if (!isSame(a[i]!, b[i]!)) return false;
  return true;
}
