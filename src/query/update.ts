/**
 * Update operators: `{$set: {a: 1}, $inc: {"b.c": 2}}` applied to a document. Deterministic: the
 * time of `$currentDate` comes from the caller, so every node makes the same document.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { QueryError, ValidationError } from "../base/errors.ts";
import { COMPARISONS_MAX } from "../base/limits.ts";
import { FIRST_RULES, NEWEST_RULES, type RulesVersion } from "../base/rules_version.ts";
import {
  compareValues,
  equalValues,
  type Fields,
  isFields,
  typeRank,
  type Value,
} from "../base/value.ts";
import { compileFilter, type Filter, isLogical } from "./matcher.ts";
import { atPath, POSITION, parsePath } from "./path.ts";
import { compareBy, type SortSpec } from "./sort.ts";

/** Operators with the paths that they change; see docs/queries.md. */
export interface UpdateOperators {
  readonly [operator: string]: unknown;
}

/** The circumstances of an update. */
export interface UpdateContext {
  /** The time for `$currentDate`, in ms since 1970. */
  readonly nowMs: number;
  /** The update creates the document: `$setOnInsert` applies. */
  readonly isInsert: boolean;
}

type Mutable = { [name: string]: Value };
/** A value, or none at all. */
type Changed = Value | typeof GONE;
type Change = (current: Value, context: UpdateContext) => Changed;

interface Step {
  readonly path: readonly string[];
  readonly change: Change;
  /** A path that leads nowhere is left alone instead of being created. */
  readonly isOnExisting: boolean;
  readonly isOnlyForInsert: boolean;
}

interface Rename {
  readonly from: readonly string[];
  readonly to: readonly string[];
}

/** The result of a change that removes its field. */
const GONE: unique symbol = Symbol("gone");

/** Whether a change is written with operators. Throws QueryError for operators beside fields. */
export function isOperatorUpdate(change: UpdateOperators): boolean {
  const names = Object.keys(change);
  const operators = names.filter((name) => name.startsWith("$"));
  if (operators.length === 0) return false;
  if (operators.length === names.length) return true;
  throw new QueryError("Cannot read the update: it mixes operators and fields");
}

/** An update that was read and checked. */
export class CompiledUpdate {
  readonly #steps: Step[] = [];
  readonly #renames: Rename[] = [];
  readonly #isStrict: boolean;

  /** `rules` other than the newest are those of a log. Throws QueryError. */
  constructor(operators: UpdateOperators, rules: RulesVersion = NEWEST_RULES) {
    this.#isStrict = rules > FIRST_RULES;
    const paths: string[] = [];
    for (const [operator, fields] of Object.entries(operators)) {
      if (!isFields(fields)) {
        throw new QueryError(`Cannot read the update: ${operator} takes an object of fields`);
      }
      for (const [path, operand] of Object.entries(fields)) {
        paths.push(path);
        const segments = parsePath(path, rules);
        atPath(path, () => {
          if (operator === "$rename") paths.push(this.#rename(segments, operand, rules));
          else this.#steps.push(stepOf(operator, segments, { operand, rules }));
        });
      }
    }
    checkApart(paths, rules);
  }

  #rename(from: readonly string[], operand: Value, rules: RulesVersion): string {
    if (typeof operand !== "string") {
      throw new QueryError("Cannot read the update: $rename takes the new name as a text");
    }
    this.#renames.push({ from, to: parsePath(operand, rules) });
    return operand;
  }

  /** The changed document; the given one is left as it is. Throws ValidationError. */
  apply(document: Fields, context: UpdateContext): Fields {
    let changed = document;
    for (const step of this.#steps) {
      if (step.isOnlyForInsert && !context.isInsert) continue;
      changed = changeAt(changed, step, { at: 0, context, isStrict: this.#isStrict }) as Fields;
    }
    for (const { from, to } of this.#renames) {
      let moved: Changed = GONE;
      const take: Change = (current) => {
        moved = current;
        return GONE;
      };
      const taken = { path: from, change: take, isOnExisting: true, isOnlyForInsert: false };
      changed = changeAt(changed, taken, { at: 0, context, isStrict: this.#isStrict }) as Fields;
      if (moved === GONE || moved === undefined) continue;
      const put = { ...taken, path: to, change: () => moved as Value, isOnExisting: false };
      changed = changeAt(changed, put, { at: 0, context, isStrict: this.#isStrict }) as Fields;
    }
    return changed;
  }
}

interface UpdatePlace {
  /** Segments above. */
  readonly at: number;
  readonly context: UpdateContext;
  /** `01` is no position. */
  readonly isStrict: boolean;
}

/** Rebuilds the values along the path; all others are shared. */
function changeAt(value: Value, step: Step, place: UpdatePlace): Value {
  const { path, change, isOnExisting } = step;
  const { at, context, isStrict } = place;
  assert(at < path.length, "a change happens at the last segment or before it");
  const segment = path[at]!;
  const isLast = at === path.length - 1;
  const deeper = { ...place, at: at + 1 };
  if (Array.isArray(value)) {
    if (segment.length > 6 || !(isStrict ? POSITION : /^\d+$/).test(segment)) {
      throw refusedAt(path, `"${segment}" is no position`);
    }
    const position = Number(segment);
    const items = [...(value as readonly Value[])];
    if (position >= items.length && isOnExisting) return value;
    if (position > items.length + 1000) {
      throw refusedAt(path, `the array is too short`);
    }
    while (items.length < position) items.push(null);
    assert(position <= items.length, "the item follows the others without a gap");
    const next = isLast
      ? change(items[position], context)
      : changeAt(items[position], step, deeper);
    // A removed item of an array becomes null, so that the others keep their positions.
    items[position] = next === GONE ? null : next;
    return items;
  }
  if (value !== undefined && !isFields(value)) {
    if (isOnExisting) return value;
    throw refusedAt(path, `the parent of "${segment}" is no object`);
  }
  const fields = value ?? {};
  const has = Object.hasOwn(fields, segment);
  if (!has && isOnExisting) return value;
  const before = has ? fields[segment] : undefined;
  const next = isLast ? change(before, context) : changeAt(before, step, deeper);
  const copy: Mutable = { ...fields };
  if (next === GONE) delete copy[segment];
  else copy[segment] = next;
  return copy;
}

function refusedAt(segments: readonly string[], why: string): ValidationError {
  const path = segments.join(".");
  return new ValidationError(`Cannot update "${path}": ${why}`, { fields: { path } });
}

function stepOf(
  operator: string,
  path: readonly string[],
  { operand, rules }: { readonly operand: Value; readonly rules: RulesVersion },
): Step {
  const isOnExisting = ["$unset", "$pull", "$pullAll", "$pop"].includes(operator);
  const isOnlyForInsert = operator === "$setOnInsert";
  return { path, change: changeOf(operator, operand, rules), isOnExisting, isOnlyForInsert };
}

function changeOf(operator: string, operand: Value, rules: RulesVersion): Change {
  switch (operator) {
    case "$set":
    case "$setOnInsert":
      return () => operand;
    case "$unset":
      return () => GONE;
    case "$inc":
    case "$mul":
      // Null is a value, and no number.
      if (rules > FIRST_RULES) {
        return (current) => calculate(operator, current === undefined ? 0 : current, operand);
      }
      return (current) => calculate(operator, current ?? 0, operand);
    case "$min":
      return (current) =>
        current === undefined || compareValues(operand, current) < 0 ? operand : current;
    case "$max":
      return (current) =>
        current === undefined || compareValues(operand, current) > 0 ? operand : current;
    case "$currentDate":
      return (_current, { nowMs }) => new Date(nowMs);
    case "$push":
      return pushOf(operand, rules);
    case "$addToSet":
      return addOf(operand, rules);
    case "$pull":
      return pullOf(operand, rules);
    case "$pullAll": {
      if (!Array.isArray(operand)) throw listNeeded(operator);
      const gone = operand as readonly Value[];
      return (current) => {
        const list = listOf(operator, current);
        checkWork(operator, list.length * gone.length);
        return list.filter((item) => !gone.some((one) => equalValues(one, item)));
      };
    }
    case "$pop": {
      if (operand !== 1 && operand !== -1) {
        throw new QueryError("Cannot read the update: $pop takes 1 (last) or -1 (first)");
      }
      return (current) =>
        operand === 1 ? listOf(operator, current).slice(0, -1) : listOf(operator, current).slice(1);
    }
    default:
      throw new QueryError(`Cannot read the update: operator "${operator}" is unknown`, {
        remedy: "docs/queries.md lists the operators",
      });
  }
}

function calculate(operator: string, current: Value, operand: Value): Value {
  if (typeRank(operand) !== 2) {
    throw new QueryError(`Cannot read the update: ${operator} takes a number`);
  }
  if (typeRank(current) !== 2) {
    throw new ValidationError(
      `Cannot update: ${operator} needs a number, and the field holds none`,
    );
  }
  const isAdding = operator === "$inc";
  if (typeof current === "bigint" || typeof operand === "bigint") {
    const [a, b] = [wholeOf(operator, current), wholeOf(operator, operand)];
    return isAdding ? a + b : a * b;
  }
  const [a, b] = [current as number, operand as number];
  const result = isAdding ? a + b : a * b;
  if (!Number.isFinite(result)) {
    throw new ValidationError(`Cannot update: the result of ${operator} is not finite`);
  }
  return result;
}

function wholeOf(operator: string, value: Value): bigint {
  if (typeof value === "bigint") return value;
  if (Number.isSafeInteger(value)) return BigInt(value as number);
  throw new ValidationError(`Cannot update: ${operator} mixes a bigint and a fraction`);
}

function listOf(operator: string, value: Value): readonly Value[] {
  if (value === undefined) return [];
  if (Array.isArray(value)) return value as readonly Value[];
  throw new ValidationError(`Cannot update: ${operator} needs an array, and the field holds none`);
}

function checkWork(operator: string, comparisons: number): void {
  if (comparisons <= COMPARISONS_MAX) return;
  throw new ValidationError(`Cannot update: ${operator} would need ${comparisons} comparisons`);
}

function listNeeded(operator: string): QueryError {
  return new QueryError(`Cannot read the update: ${operator} takes a list`);
}

/** `$each` with its companions, or one item. */
function itemsOf(
  operator: string,
  operand: Value,
  rules: RulesVersion,
): { items: readonly Value[]; all: Fields } {
  if (!isFields(operand) || !("$each" in operand)) {
    const modifier = isFields(operand) && Object.keys(operand).find((name) => name.startsWith("$"));
    if (typeof modifier === "string" && rules > FIRST_RULES) {
      throw new QueryError(`Cannot read the update: ${operator} takes "${modifier}" beside $each`, {
        remedy: `Write {${operator}: {path: {$each: [...]}}} with its modifiers`,
      });
    }
    return { items: [operand], all: {} };
  }
  const items = operand["$each"];
  if (!Array.isArray(items)) throw listNeeded(`${operator} with $each`);
  const known = operator === "$push" ? ["$each", "$position", "$sort", "$slice"] : ["$each"];
  const unknown = Object.keys(operand).find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new QueryError(`Cannot read the update: ${operator} does not take "${unknown}"`);
  }
  return { items: items as readonly Value[], all: operand };
}

function pushOf(operand: Value, rules: RulesVersion): Change {
  const { items, all } = itemsOf("$push", operand, rules);
  const position = wholeNumber("$position", all["$position"]) ?? Number.POSITIVE_INFINITY;
  const slice = wholeNumber("$slice", all["$slice"]);
  const sort = all["$sort"];
  const order = sort === undefined ? undefined : itemOrder(sort, rules);
  return (current) => {
    const list = [...listOf("$push", current)];
    const at = position < 0 ? Math.max(0, list.length + position) : position;
    const all = [...list.slice(0, at), ...items, ...list.slice(at)];
    list.length = 0;
    for (const item of all) list.push(item);
    if (order !== undefined) list.sort(order);
    if (slice === undefined) return list;
    return slice >= 0 ? list.slice(0, slice) : list.slice(slice);
  };
}

function wholeNumber(name: string, value: Value): number | undefined {
  if (value === undefined || Number.isSafeInteger(value)) return value as number | undefined;
  throw new QueryError(`Cannot read the update: ${name} takes a whole number`);
}

/** `1`, `-1`, or fields of the items with their directions. */
function itemOrder(sort: Value, rules: RulesVersion): (a: Value, b: Value) => number {
  if (sort === 1) return compareValues;
  if (sort === -1) return (a, b) => compareValues(b, a);
  if (!isFields(sort)) throw new QueryError("Cannot read the update: $sort takes 1, -1 or fields");
  const compare = compareBy(sort as SortSpec, { rules });
  return (a, b) => compare(isFields(a) ? a : {}, isFields(b) ? b : {});
}

function addOf(operand: Value, rules: RulesVersion): Change {
  const { items } = itemsOf("$addToSet", operand, rules);
  return (current) => {
    const list = [...listOf("$addToSet", current)];
    checkWork("$addToSet", (list.length + items.length) * items.length);
    for (const item of items) if (!list.some((one) => equalValues(one, item))) list.push(item);
    return list;
  };
}

/** A condition on the items: a value, operators on a value, or fields of objects. */
function pullOf(operand: Value, rules: RulesVersion): Change {
  const isOperator = (name: string): boolean => {
    return name.startsWith("$") && (rules === FIRST_RULES || !isLogical(name));
  };
  const isOnFields = isFields(operand) && !Object.keys(operand).some(isOperator);
  const filter = isOnFields ? (operand as Filter) : { item: operand };
  const matches = compileFilter(filter, undefined, rules);
  const isPulled = (item: Value): boolean =>
    isOnFields ? isFields(item) && matches(item) : matches({ item });
  return (current) => listOf("$pull", current).filter((item) => !isPulled(item));
}

/** Two operators must not change the same field, or one inside the other. */
function checkApart(paths: readonly string[], rules: RulesVersion): void {
  // With the end of a name before every other character a path sorts directly before those in it.
  const keyed = new Map<string, string>();
  for (const path of paths) {
    const key = parsePath(path, rules).join("\u0000");
    const other = keyed.get(key);
    if (other !== undefined) throw overlap(other, path);
    keyed.set(key, path);
  }
  const sorted = [...keyed.keys()].sort();
  for (let i = 1; i < sorted.length; i += 1) {
    const [before, after] = [sorted[i - 1]!, sorted[i]!];
    if (!after.startsWith(`${before}\u0000`)) continue;
    throw overlap(keyed.get(before) ?? "", keyed.get(after) ?? "");
  }
}

function overlap(one: string, other: string): QueryError {
  return new QueryError(`Cannot read the update: "${one}" and "${other}" overlap`);
}
