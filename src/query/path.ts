/**
 * Dotted paths into documents. A path walks into arrays: `a.b` of `{a: [{b: 1}, {b: 2}]}` finds 1
 * and 2, and `a.0.b` finds 1.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { QueryError, ValidationError } from "../base/errors.ts";
import { PATH_LENGTH_MAX, PATH_SEGMENTS_MAX, PATH_VISITS_MAX } from "../base/limits.ts";
import {
  FIRST_RULES,
  NEWEST_RULES,
  type RulesVersion,
  THIRD_RULES,
} from "../base/rules_version.ts";
import { equalValues, type Fields, fieldOf, isFields, type Value } from "../base/value.ts";

/** A position in an array, as a segment of a path. */
export const POSITION: RegExp = /^(0|[1-9]\d*)$/;

/** Whether a path names dots inside of names: from the third rules on. */
export function hasEscapes(path: string): boolean {
  return path.includes("\\.");
}

/**
 * The segments of a path. In a path with `\.`, that is a dot of a name, and `\\` a backslash.
 * Throws QueryError.
 */
export function parsePath(path: string, rules: RulesVersion = NEWEST_RULES): readonly string[] {
  if (path.length > PATH_LENGTH_MAX) {
    throw new QueryError(`Cannot use a path of more than ${PATH_LENGTH_MAX} characters`);
  }
  const isEscaped = rules >= THIRD_RULES && hasEscapes(path);
  const segments = isEscaped ? escapedSegments(path) : path.split(".");
  if (segments.length > PATH_SEGMENTS_MAX) {
    throw new QueryError(`Cannot use a path of more than ${PATH_SEGMENTS_MAX} segments`);
  }
  if (segments.includes("__proto__")) {
    throw new QueryError(`Cannot use the path "${path}": no document has a field __proto__`);
  }
  return segments;
}

function escapedSegments(path: string): readonly string[] {
  const names = [""];
  for (let at = 0; at < path.length; at += 1) {
    const [character, next] = [path[at]!, path[at + 1]];
    const isPair = character === "\\" && (next === "\\" || next === ".");
    if (isPair) at += 1;
    if (character === "." && !isPair) names.push("");
    else names[names.length - 1] += isPair ? next : character;
  }
  assert(names.length <= path.length + 1, "each name but one follows a dot");
  return names;
}

/** The path that {@link parsePath} reads as these names. */
export function joinPath(names: readonly string[]): string {
  const last = names.length - 1;
  const needsEscapes = names.some((name, at) => {
    return name.includes(".") || (at < last && name.endsWith("\\"));
  });
  if (!needsEscapes) return names.join(".");
  return names.map((name) => name.replace(/[\\.]/g, "\\$&")).join(".");
}

/**
 * Whether a filter finds exactly what an index at the path holds. An index takes `01` for a
 * position whatever the rules are, and no filter names a field whose name begins with `$`.
 */
export function isSameInFilters(path: string, rules: RulesVersion): boolean {
  const isStrict = rules > FIRST_RULES && path.split(".").some((part) => /^0\d+$/.test(part));
  return !isStrict && !path.startsWith("$") && !(rules >= THIRD_RULES && hasEscapes(path));
}

/** Runs `work`; the fields of what it refuses name the path, or the one further inside. */
export function atPath<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const isQuery = error instanceof QueryError;
    if (!isQuery && !(error instanceof ValidationError)) throw error;
    if (error.fields.path !== undefined) throw error;
    const details = { cause: error, remedy: error.remedy, fields: { ...error.fields, path } };
    throw new (isQuery ? QueryError : ValidationError)(error.message, details);
  }
}

/**
 * Calls `found` with each value at a path until it returns true; with `undefined` where the path
 * ends in nothing. Whether it returned true.
 */
export function someAt(
  document: Fields,
  path: readonly string[],
  found: (value: Value) => boolean,
): boolean {
  return walk(document, 0, { path, found, isStrict: false, visits: 0 });
}

/** The same, where `01` is the name of a field and no position in an array. */
export function someStrictlyAt(
  document: Fields,
  path: readonly string[],
  found: (value: Value) => boolean,
): boolean {
  return walk(document, 0, { path, found, isStrict: true, visits: 0 });
}

interface Search {
  readonly path: readonly string[];
  readonly found: (value: Value) => boolean;
  readonly isStrict: boolean;
  visits: number;
}

function walk(value: Value, at: number, search: Search): boolean {
  const { path, found } = search;
  search.visits += 1;
  if (search.visits > PATH_VISITS_MAX) {
    throw new QueryError(`Cannot follow "${path.join(".")}": it leads to too many values`);
  }
  if (at === path.length) return found(value);
  const segment = path[at]!;
  if (Array.isArray(value)) {
    const items = value as readonly Value[];
    const isPosition = (search.isStrict ? POSITION : /^\d+$/).test(segment);
    if (isPosition && walk(items[Number(segment)], at + 1, search)) return true;
    // An array without objects holds nothing at the path, not even a missing field.
    return items.some((item) => isFields(item) && walk(item, at, search));
  }
  if (!isFields(value)) return found(undefined);
  return walk(fieldOf(value, segment), at + 1, search);
}

/** The first value at a path, for sorting and projections; `undefined` when there is none. */
export function valueAt(document: Fields, path: readonly string[]): Value {
  let first: Value;
  someAt(document, path, (value) => {
    first = value;
    return true;
  });
  return first;
}

/**
 * The values at a path with arrays spread out, for a multi-value index; at least one, and no more
 * than `most` and one.
 */
export function spreadAt(
  document: Fields,
  path: readonly string[],
  most = Number.POSITIVE_INFINITY,
): { readonly values: readonly Value[]; readonly hasArray: boolean } {
  const values: Value[] = [];
  let hasArray = false;
  someAt(document, path, (value) => {
    hasArray ||= Array.isArray(value);
    const items = Array.isArray(value) && value.length > 0 ? (value as readonly Value[]) : [value];
    for (const item of items) {
      values.push(item);
      if (values.length > most) return true;
    }
    return false;
  });
  if (values.length === 0) values.push(undefined);
  assert(values.length <= most + 1, "the search ends with the first value too many");
  return { values, hasArray: hasArray || values.length > 1 };
}

/** Adds the values at a path, arrays spread out, that are not among those found yet. */
export function addDistinct(found: Value[], document: Fields, path: readonly string[]): void {
  for (const value of spreadAt(document, path).values) {
    // An empty array has no item.
    if (Array.isArray(value) && value.length === 0) continue;
    if (value !== undefined && !found.some((one) => equalValues(one, value))) found.push(value);
  }
}
