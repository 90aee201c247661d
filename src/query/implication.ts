/**
 * Whether every document that matches one query matches another. Some implications are not seen:
 * then a partial index is not used.
 *
 * @module
 */

import { equalValues, type Fields, isFields, type Value } from "../base/value.ts";
import { compileFilter, type Filter } from "./matcher.ts";
import { parsePath } from "./path.ts";

/** One condition that a document must meet. */
interface Atom {
  /** Empty for an operator that joins queries. */
  readonly path: string;
  readonly operator: string;
  readonly operand: Value;
}

/** Conditions that a present value settles: one that passes alone passes in an array, too. */
const SETTLED: ReadonlySet<string> = new Set([
  ...["$eq", "$gt", "$gte", "$lt", "$lte", "$in", "$exists", "$type"],
]);

/** Whether what matches `filter` matches `wanted`, too: each of its conditions is among those. */
export function implies(filter: Filter, wanted: Filter): boolean {
  const given = atomsOf(filter);
  return atomsOf(wanted).every((want) => given.some((one) => settles(one, want)));
}

function atomsOf(filter: Filter): readonly Atom[] {
  return Object.entries(filter).flatMap(([path, condition]): readonly Atom[] => {
    const operand = condition as Value;
    if (path === "$and") return (operand as readonly Filter[]).flatMap(atomsOf);
    if (path.startsWith("$")) return [{ path: "", operator: path, operand }];
    const names = isFields(operand) ? Object.keys(operand) : [];
    // A pattern and its options are one condition.
    if (!names.some((name) => name.startsWith("$")) || names.includes("$regex")) {
      return [{ path, operator: isFields(operand) ? "" : "$eq", operand }];
    }
    const all = operand as Fields;
    return names.map((operator) => ({ path, operator, operand: all[operator] }));
  });
}

function settles(given: Atom, want: Atom): boolean {
  if (given.path !== want.path) return false;
  if (given.operator === want.operator && equalValues(given.operand, want.operand)) return true;
  if (given.operator !== "$eq" || !SETTLED.has(want.operator) || want.path === "") return false;
  const { operand } = given;
  const isValue = operand !== null && operand !== undefined && typeof operand !== "object";
  if (!isValue || want.operand === false) return false;
  const document = documentWith(parsePath(given.path), operand);
  return compileFilter({ [want.path]: { [want.operator]: want.operand } })(document);
}

function documentWith(path: readonly string[], value: Value): Fields {
  const made = [...path].reverse().reduce((inner: Value, name) => ({ [name]: inner }), value);
  return made as Fields;
}
