/**
 * Result of a change of a document, where the caller works it out.
 *
 * @module
 */

import { QueryError, ValidationError } from "../../base/errors.ts";
import { equalValues, type Fields, fieldOf, isFields, type Value } from "../../base/value.ts";
import { joinPath, parsePath } from "../../query/path.ts";
import { CompiledUpdate, isOperatorUpdate, type UpdateOperators } from "../../query/update.ts";

/** How a change is made. */
export interface ChangeContext {
  readonly idField: string;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
  /** Whether the document is a new one. */
  readonly isInsert: boolean;
  /** Fields replace the present ones, instead of being merged into them. */
  readonly replaces: boolean;
}

/** The document after fields were merged in or operators applied. Throws ValidationError. */
export function changedDocument(
  before: Fields,
  change: UpdateOperators,
  how: ChangeContext,
): Fields {
  const { idField, nowMs, isInsert, replaces } = how;
  if (!isFields(change)) throw new ValidationError("Cannot update: the change is no object");
  const id = fieldOf(before, idField);
  const after = isOperatorUpdate(change)
    ? new CompiledUpdate(change).apply(before, { nowMs, isInsert })
    : replaces
      ? assigned(before, change as Fields)
      : merged(before, change as Fields);
  if (equalValues(fieldOf(after, idField), id)) return after;
  throw new ValidationError(`Cannot change the id of a document, which is in "${idField}"`);
}

/**
 * First form of an upsert's document: the values that the filter names for its paths, the id among
 * them, so that the filter finds it. Throws QueryError when they contradict each other.
 */
export function begunDocument(filter: object): Fields {
  const given = new Map<string, Value>();
  collectValues(filter as Fields, "", given);
  const paths = [...given.keys()];
  const made = [...given].filter(([path, value]) => {
    // An object without conditions is made by those on what is in it.
    if (isEmpty(value) && paths.some((other) => other.startsWith(`${path}.`))) return false;
    return !paths.some((other) => isInside(given, { path, value, other }));
  });
  const context = { nowMs: 0, isInsert: true };
  return new CompiledUpdate({ $set: Object.fromEntries(made) }).apply({}, context);
}

/** The values that a query, whose paths begin with `prefix`, names. */
function collectValues(filter: Fields, prefix: string, given: Map<string, Value>): void {
  for (const [name, operand] of Object.entries(filter)) {
    const isAlone = name === "$or" && Array.isArray(operand) && operand.length === 1;
    if (name === "$and" || isAlone) {
      for (const part of operand as readonly Fields[]) collectValues(part, prefix, given);
    } else if (!name.startsWith("$")) collectAt(prefix + name, operand, given);
  }
}

function collectAt(path: string, operand: Value, given: Map<string, Value>): void {
  const names = isFields(operand) ? Object.keys(operand) : [];
  if (isFields(operand) && names.length > 0 && !names.some((name) => name.startsWith("$"))) {
    // Names inside of an object are no paths.
    for (const [name, inner] of Object.entries(operand)) {
      collectAt(joinPath([...parsePath(path), name]), inner as Value, given);
    }
    return;
  }
  for (const value of valuesOf(operand)) {
    const known = given.get(path);
    if (known !== undefined && isEmpty(value) && isFields(known)) continue;
    const isOther = known !== undefined && !(isEmpty(known) && isFields(value));
    if (isOther && !equalValues(known, value)) throw contradiction(path);
    given.set(path, value);
  }
}

/** Whether an object that the filter names whole, at `other`, has the value; throws for another. */
function isInside(
  given: ReadonlyMap<string, Value>,
  { path, value, other }: { readonly path: string; readonly value: Value; readonly other: string },
): boolean {
  const whole = given.get(other);
  const [segments, above] = [parsePath(path), parsePath(other)];
  const isBelow =
    segments.length > above.length && above.every((name, at) => segments[at] === name);
  if (!isBelow || !isFields(whole) || isEmpty(whole)) return false;
  const names = segments.slice(above.length);
  const held = names.reduce<Value>(
    (at, name) => (isFields(at) ? fieldOf(at, name) : undefined),
    whole,
  );
  if (!equalValues(held, value)) throw contradiction(path);
  return true;
}

function contradiction(path: string): QueryError {
  return new QueryError(`Cannot make the document: "${path}" cannot have two values at once`, {
    fields: { path },
  });
}

function isEmpty(value: Value): boolean {
  return isFields(value) && Object.keys(value).length === 0;
}

/** The values that a condition requires; none when it leaves a choice. */
function valuesOf(operand: Value | RegExp): readonly Value[] {
  if (operand instanceof RegExp) return [];
  if (!isFields(operand) || Object.keys(operand).length === 0) return [operand];
  const only = [operand["$all"], operand["$in"]].flatMap((list) => {
    const isOne = Array.isArray(list) && list.length === 1;
    const [item] = isOne ? (list as readonly (Value | RegExp)[]) : [];
    if (item === undefined || item instanceof RegExp) return [];
    const isCondition = isFields(item) && Object.keys(item)[0]?.startsWith("$") === true;
    return isCondition ? [] : [item];
  });
  return "$eq" in operand ? [operand["$eq"], ...only] : only;
}

/** Each field that the change has is as it says; `undefined` changes nothing. */
function assigned(base: Fields, change: Fields): Fields {
  const given = Object.entries(change).filter(([, value]) => value !== undefined);
  return { ...base, ...Object.fromEntries(given) };
}

/** Objects are merged, everything else is replaced; `undefined` changes nothing. */
function merged(base: Fields, change: Fields): Fields {
  const result: { [name: string]: Value } = { ...base };
  for (const [name, value] of Object.entries(change)) {
    const before = fieldOf(base, name);
    if (value === undefined) continue;
    result[name] = isFields(before) && isFields(value) ? merged(before, value) : value;
  }
  return result;
}
