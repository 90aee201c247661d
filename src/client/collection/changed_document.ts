/**
 * Result of a change of a document, where the caller works it out.
 *
 * @module
 */

import { ValidationError } from "../../base/errors.ts";
import { equalValues, type Fields, fieldOf, isFields, type Value } from "../../base/value.ts";
import { conditionsOf, type Filter } from "../../query/matcher.ts";
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

/** First form of an upsert's document: the values that the filter asks for, its id among them. */
export function begunDocument(filter: object): Fields {
  const equal = conditionsOf(filter as Filter).filter(({ operator }) => operator === "$eq");
  const given = Object.fromEntries(equal.map(({ path, operand }) => [path, operand]));
  return new CompiledUpdate({ $set: given }).apply({}, { nowMs: 0, isInsert: true });
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
