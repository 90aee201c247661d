/**
 * The values that documents hold, their types and their one total order: null < booleans < numbers
 * < strings (by UTF-16 code units) < dates < bytes < arrays < objects. Numbers and bigints are one
 * type. A missing field sorts as null.
 *
 * @module
 */

/** A value that a field may hold. `undefined` stands for a field that is not there. */
export type Value =
  | undefined
  | null
  | boolean
  | number
  | bigint
  | string
  | Date
  | Uint8Array
  | readonly Value[]
  | Fields;

/** An object of fields: a document or one nested in it. */
export interface Fields {
  readonly [name: string]: Value;
}

/** The types of values, in their order; the position is the rank. */
export const TYPE_NAMES = [
  "null",
  "boolean",
  "number",
  "string",
  "date",
  "bytes",
  "array",
  "object",
] as const;

/** Rank of a value's type: its position in {@link TYPE_NAMES}. */
export function typeRank(value: Value): number {
  switch (typeof value) {
    case "boolean":
      return 1;
    case "number":
    case "bigint":
      return 2;
    case "string":
      return 3;
    case "object":
      if (value === null) return 0;
      if (value instanceof Date) return 4;
      if (value instanceof Uint8Array) return 5;
      return Array.isArray(value) ? 6 : 7;
    default:
      return 0;
  }
}

/** Whether a value is an object of fields. */
export function isFields(value: unknown): value is Fields {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Date) &&
    !(value instanceof Uint8Array) &&
    !(value instanceof RegExp)
  );
}

/** A field of an object; `undefined` when it has none of its own. */
export function fieldOf(fields: Fields, name: string): Value {
  return Object.hasOwn(fields, name) ? fields[name] : undefined;
}

/** Below 0, 0 or above 0, as `a` sorts before, with or after `b`. */
export function compareValues(a: Value, b: Value): number {
  const rank = typeRank(a);
  const other = typeRank(b);
  if (rank !== other) return rank - other;
  switch (rank) {
    case 0:
      return 0;
    case 4:
      return compareTimes(timeOf(a as Date), timeOf(b as Date));
    case 5:
      return compareLists(a as Uint8Array, b as Uint8Array, (x, y) => x - y);
    case 6:
      return compareLists(a as readonly Value[], b as readonly Value[], compareValues);
    case 7:
      return compareFields(a as Fields, b as Fields);
    default:
      // Booleans, numbers with bigints, and strings compare as JavaScript does.
      return (a as number) < (b as number) ? -1 : (a as number) > (b as number) ? 1 : 0;
  }
}

/** Whether two values are the same. The order of an object's fields does not matter. */
export function equalValues(a: Value, b: Value): boolean {
  return compareValues(a, b) === 0;
}

/** ms since 1970; a date beyond the calendar sorts before all others. */
export function timeOf(date: Date): number {
  const ms = date.getTime();
  return Number.isNaN(ms) ? Number.NEGATIVE_INFINITY : ms;
}

function compareTimes(a: number, b: number): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function compareLists<T>(
  a: ArrayLike<T>,
  b: ArrayLike<T>,
  compare: (x: T, y: T) => number,
): number {
  const size = Math.min(a.length, b.length);
  for (let i = 0; i < size; i += 1) {
    const order = compare(a[i]!, b[i]!);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

function compareFields(a: Fields, b: Fields): number {
  const names = Object.keys(a).sort();
  const others = Object.keys(b).sort();
  return (
    compareLists(names, others, (x, y) => (x < y ? -1 : x > y ? 1 : 0)) ||
    compareLists(names, names, (name) => compareValues(fieldOf(a, name), fieldOf(b, name)))
  );
}

/** Characters of a value that a message shows. */
const SHORT_TEXT_MAX = 120;

/** Whether a value is a whole number of at least 0 that a number holds exactly. */
export function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/** A value as a short text for a message: JSON where there is one. */
export function shortText(value: unknown): string {
  const text = JSON.stringify(value, (_name, inner) => {
    if (inner instanceof Uint8Array) return `${inner.byteLength} bytes`;
    return typeof inner === "bigint" ? String(inner) : inner;
  });
  return (text ?? "nothing").slice(0, SHORT_TEXT_MAX);
}
