/**
 * Orders and projections of documents.
 *
 * @module
 */

import { type Collation, collationKey } from "../base/collation.ts";
import { QueryError } from "../base/errors.ts";
import { QUERY_PATHS_MAX } from "../base/limits.ts";
import { NEWEST_RULES, type RulesVersion } from "../base/rules_version.ts";
import { compareValues, type Fields, fieldOf, isFields, type Value } from "../base/value.ts";
import { parsePath, valueAt } from "./path.ts";

/** Paths with 1 (ascending) or -1 (descending), the most important first. */
export type SortSpec = Readonly<Record<string, 1 | -1>>;

/** Paths with 1 (only these, and the id) or 0 (all but these). */
export type ProjectionSpec = Readonly<Record<string, 0 | 1>>;

/** One part of an order. */
export interface SortPart {
  readonly name: string;
  readonly path: readonly string[];
  readonly direction: 1 | -1;
  readonly collation: Collation | undefined;
}

/** How the parts of an order are read. */
export interface SortOptions {
  readonly rules?: RulesVersion;
  /** Of texts, but for ids: those are different where they are not equal. */
  readonly collation?: Collation | undefined;
  readonly idField?: string;
}

/** The parts of an order. Throws QueryError. */
export function sortParts(spec: SortSpec, options: SortOptions = {}): readonly SortPart[] {
  const { rules = NEWEST_RULES, collation: own, idField = "id" } = options;
  checkPaths(spec);
  return Object.entries(spec).map(([name, direction]) => {
    if (direction !== 1 && direction !== -1) {
      throw new QueryError(`Cannot sort by "${name}": the direction is 1 or -1`);
    }
    const collation = name === idField ? undefined : own;
    return { name, path: parsePath(name, rules), direction, collation };
  });
}

/** What a value is sorted by: a text by its key in the collation, if there is one. */
export function sortedAs(value: Value, collation: Collation | undefined): Value {
  if (collation === undefined || typeof value !== "string") return value;
  return collationKey(value, collation);
}

function checkPaths(spec: object): void {
  if (Object.keys(spec).length <= QUERY_PATHS_MAX) return;
  throw new QueryError(`Cannot use more than ${QUERY_PATHS_MAX} paths to sort by or to project`);
}

/** What a value counts as in the index. */
export function indexedAs(
  value: Value,
  {
    ignoresCase,
    collation,
  }: { readonly ignoresCase: boolean; readonly collation?: Collation | undefined },
): Value {
  if (typeof value !== "string") return value;
  return ignoresCase ? value.toLowerCase() : sortedAs(value, collation);
}

/** Compares documents in an order. Throws QueryError for an invalid one. */
export function compareBy(
  spec: SortSpec,
  options: SortOptions = {},
): (a: Fields, b: Fields) => number {
  const parts = sortParts(spec, options);
  return (a, b) => {
    for (const { path, direction, collation } of parts) {
      const order = compareValues(
        sortedAs(valueAt(a, path), collation),
        sortedAs(valueAt(b, path), collation),
      );
      if (order !== 0) return order * direction;
    }
    return 0;
  };
}

/** Makes the projected copy of a document. Throws QueryError for a mixture of 0 and 1. */
export function compileProjection(
  spec: ProjectionSpec,
  idField: string,
): (document: Fields) => Fields {
  checkPaths(spec);
  const entries = Object.entries(spec).filter(([name]) => name !== idField);
  const isWrong = Object.values(spec).some((flag) => flag !== 0 && flag !== 1);
  const isKeeping = entries.some(([, flag]) => flag === 1) || spec[idField] === 1;
  if (isWrong || (isKeeping && entries.some(([, flag]) => flag === 0))) {
    throw new QueryError(
      "Cannot read the projection: it takes 1 for fields to keep or 0 for fields to leave out",
    );
  }
  const paths = entries.map(([name]) => parsePath(name));
  if (isKeeping) {
    if (spec[idField] !== 0) paths.unshift([idField]);
    return (document) => (keep(document, paths) as Fields | undefined) ?? {};
  }
  if (spec[idField] === 0) paths.push([idField]);
  return (document) => drop(document, paths) as Fields;
}

function keep(value: Value, paths: readonly (readonly string[])[]): Value {
  if (paths.some((path) => path.length === 0)) return value;
  if (Array.isArray(value)) {
    return (value as readonly Value[]).filter(isFields).map((item) => keep(item, paths));
  }
  if (!isFields(value)) return undefined;
  const kept: { [name: string]: Value } = {};
  for (const name of Object.keys(value)) {
    const rest = paths.filter((path) => path[0] === name).map((path) => path.slice(1));
    if (rest.length === 0) continue;
    const part = keep(fieldOf(value, name), rest);
    if (part !== undefined) kept[name] = part;
  }
  return kept;
}

function drop(value: Value, paths: readonly (readonly string[])[]): Value {
  if (Array.isArray(value)) return (value as readonly Value[]).map((item) => drop(item, paths));
  if (!isFields(value)) return value;
  const kept: { [name: string]: Value } = {};
  for (const name of Object.keys(value)) {
    const rest = paths.filter((path) => path[0] === name).map((path) => path.slice(1));
    if (rest.some((path) => path.length === 0)) continue;
    const field = fieldOf(value, name);
    kept[name] = rest.length === 0 ? field : drop(field, rest);
  }
  return kept;
}
