/**
 * Queries as functions: `{age: {$gte: 18}, "tags": "a"}` becomes a test of a document. Closures
 * only, no source text. The rules where stores differ:
 *
 * - a scalar also matches an array that holds it; `$eq` with an array compares the whole array or an
 *   element of it;
 * - `{a: null}` also matches a document without `a`; `{a: {$in: [null]}}` does not;
 * - `{a: {b: 1}}` without operators requires the fields that it names, and ignores others;
 * - `$gt` and the like compare within one type; numbers and bigints are one;
 * - `$ne`, `$nin`, `$nor` and `$not` are the opposite of what they negate, for arrays too.
 *
 * @module
 */

import { QueryError } from "../base/errors.ts";
import { QUERY_DEPTH_MAX, QUERY_ITEMS_MAX, QUERY_NODES_MAX } from "../base/limits.ts";
import { orderKey } from "../base/order_key.ts";
import {
  compareValues,
  equalValues,
  type Fields,
  isFields,
  TYPE_NAMES,
  typeRank,
  type Value,
} from "../base/value.ts";
import { atPath, parsePath, someAt } from "./path.ts";
import { compilePattern, type MatchCost } from "./pattern.ts";

/** A query as a caller writes it; see docs/queries.md. */
export interface Filter {
  readonly [path: string]: unknown;
}

/** Whether a document matches. */
export type Matcher = (document: Fields) => boolean;

type Test = (value: Value) => boolean;

/** A condition on one path that every matching document meets, for the planner. */
export interface Condition {
  readonly path: string;
  readonly operator: "$eq" | "$in" | "$gt" | "$gte" | "$lt" | "$lte";
  readonly operand: Value;
}

const TYPE_ALIASES: ReadonlyMap<string, string> = new Map([
  ["bool", "boolean"],
  ["double", "number"],
  ["int", "number"],
  ["long", "number"],
  ["bigint", "number"],
  ["binData", "bytes"],
]);

class Compiler {
  readonly #cost: MatchCost;
  #nodes = 0;
  #items = 0;

  constructor(cost: MatchCost) {
    this.#cost = cost;
  }

  filter(filter: unknown, depth: number): Matcher {
    this.#count(depth);
    if (!isFields(filter)) throw new QueryError("Cannot read the query: it is not an object");
    const tests = Object.entries(filter).map(([name, operand]) => {
      if (!name.startsWith("$")) return this.#onField(name, operand, depth + 1);
      return this.#logical(name, operand, depth + 1);
    });
    if (tests.length === 1) return tests[0]!;
    return (document) => tests.every((test) => test(document));
  }

  #logical(name: string, operand: unknown, depth: number): Matcher {
    if (name !== "$and" && name !== "$or" && name !== "$nor") throw unknownOperator(name);
    if (!Array.isArray(operand) || operand.length === 0) {
      throw new QueryError(`Cannot read the query: ${name} takes a list of conditions`);
    }
    const parts = operand.map((part) => this.filter(part, depth));
    if (name === "$and") return (document) => parts.every((part) => part(document));
    if (name === "$or") return (document) => parts.some((part) => part(document));
    return (document) => !parts.some((part) => part(document));
  }

  #onField(name: string, operand: unknown, depth: number): Matcher {
    const path = parsePath(name);
    const read = atPath(name, () => this.#tests(operand, depth));
    const tests = read.map(({ test, isNegated }): Matcher => {
      if (isNegated) return (document) => !someAt(document, path, test);
      return (document) => someAt(document, path, test);
    });
    if (tests.length === 1) return tests[0]!;
    return (document) => tests.every((test) => test(document));
  }

  /** The tests that the values at a path must pass. */
  #tests(operand: unknown, depth: number): { test: Test; isNegated: boolean }[] {
    this.#count(depth);
    if (operand instanceof RegExp) return [plain(this.#pattern(operand.source, operand.flags))];
    if (!isFields(operand)) return [plain(this.#equal(operand as Value))];
    const names = Object.keys(operand);
    if ("$options" in operand && !("$regex" in operand)) {
      throw new QueryError("Cannot read the query: $options belong to a $regex");
    }
    if (names.length === 0 || !names.some((name) => name.startsWith("$"))) {
      return [plain(this.#partial(operand, depth))];
    }
    return names
      .filter((name) => name !== "$options")
      .map((name) => this.#operator(name, operand, depth + 1));
  }

  #operator(name: string, all: Fields, depth: number): { test: Test; isNegated: boolean } {
    this.#count(depth);
    const operand = all[name];
    switch (name) {
      case "$eq":
        return plain(isFields(operand) ? exactly(operand) : this.#equal(operand));
      case "$ne":
        return negated(isFields(operand) ? exactly(operand) : this.#equal(operand));
      case "$gt":
        return plain(ordered(operand, (order) => order > 0));
      case "$gte":
        return plain(ordered(operand, (order) => order >= 0));
      case "$lt":
        return plain(ordered(operand, (order) => order < 0));
      case "$lte":
        return plain(ordered(operand, (order) => order <= 0));
      case "$in":
        return plain(this.#oneOf(name, operand));
      case "$nin":
        return negated(this.#oneOf(name, operand));
      case "$not":
        return negated(this.#all(operand, depth));
      case "$exists":
        return operand ? plain((value) => value !== undefined) : negated((v) => v !== undefined);
      case "$type":
        return plain(typeTest(operand));
      case "$regex":
        return plain(this.#regex(operand, all["$options"]));
      case "$mod":
        return plain(remainderTest(operand));
      case "$size":
        if (!Number.isSafeInteger(operand)) {
          throw new QueryError("Cannot read the query: $size takes a whole number");
        }
        return plain((value) => Array.isArray(value) && value.length === operand);
      case "$all":
        return plain(this.#allOf(operand, depth));
      case "$elemMatch":
        return plain(this.#element(operand, depth));
      case "$bitsAllSet":
      case "$bitsAnySet":
      case "$bitsAllClear":
      case "$bitsAnyClear":
        return plain(bitsTest(name, operand));
      default:
        throw unknownOperator(name);
    }
  }

  #equal(operand: Value): Test {
    checkOperand(operand);
    if ((operand as unknown) instanceof RegExp) {
      throw new QueryError("Cannot read the query: $eq and $ne take no pattern; use $not");
    }
    if (operand === null || operand === undefined) {
      return (value) => value === undefined || value === null || holds(value, (v) => v === null);
    }
    const isSame: Test =
      typeof operand === "string" || typeof operand === "boolean"
        ? (value) => value === operand
        : (value) => equalValues(value, operand);
    return (value) => isSame(value) || holds(value, isSame);
  }

  /** Objects with the named fields, whatever other fields they have. */
  #partial(fields: Fields, depth: number): Test {
    const matches = this.filter(fields, depth + 1);
    return (value) => {
      if (isFields(value)) return matches(value);
      return holds(value, (item) => isFields(item) && matches(item));
    };
  }

  #oneOf(name: string, operand: Value): Test {
    if (!Array.isArray(operand))
      throw new QueryError(`Cannot read the query: ${name} takes a list`);
    this.#items += operand.length;
    if (this.#items > QUERY_ITEMS_MAX) {
      throw new QueryError(
        `Cannot read the query: its lists have more than ${QUERY_ITEMS_MAX} items`,
      );
    }
    // Texts, numbers and the like are looked up; only what has no key of its own is compared.
    const keys = new Set<string>();
    const others: Test[] = [];
    for (const item of operand as readonly (Value | RegExp)[]) {
      if (item instanceof RegExp) others.push(this.#pattern(item.source, item.flags));
      else keys.add(orderKey(item));
    }
    const isOne: Test = (value) => {
      if (value === undefined) return false;
      return keys.has(orderKey(value)) || others.some((test) => test(value));
    };
    return (value) => isOne(value) || holds(value, isOne);
  }

  /** All tests of an operand of `$not`, at once. */
  #all(operand: unknown, depth: number): Test {
    const tests = this.#tests(operand, depth);
    return (value) => tests.every(({ test, isNegated }) => test(value) !== isNegated);
  }

  #allOf(operand: Value, depth: number): Test {
    if (!Array.isArray(operand)) throw new QueryError("Cannot read the query: $all takes a list");
    this.#nodes += operand.length;
    this.#count(0);
    const tests = (operand as readonly Value[]).map((item) => {
      return isFields(item) && "$elemMatch" in item
        ? this.#element(item["$elemMatch"], depth)
        : this.#equal(item);
    });
    return (value) => tests.length > 0 && tests.every((test) => test(value));
  }

  #element(operand: unknown, depth: number): Test {
    if (!isFields(operand)) {
      throw new QueryError("Cannot read the query: $elemMatch takes an object");
    }
    const names = Object.keys(operand);
    const isOnValues =
      names.length > 0 && names.every((name) => name.startsWith("$") && !isLogical(name));
    if (isOnValues) {
      const passes = this.#all(operand, depth);
      return (value) => Array.isArray(value) && (value as readonly Value[]).some(passes);
    }
    const matches = this.filter(operand, depth + 1);
    return (value) =>
      Array.isArray(value) && value.some((item: Value) => isFields(item) && matches(item));
  }

  #regex(operand: unknown, options: unknown): Test {
    if (operand instanceof RegExp) return this.#pattern(operand.source, operand.flags);
    const isText = typeof operand === "string";
    if (!isText || (options !== undefined && typeof options !== "string")) {
      throw new QueryError("Cannot read the query: $regex and $options are texts");
    }
    return this.#pattern(operand, options ?? "");
  }

  #pattern(source: string, flags: string): Test {
    const matches = compilePattern(source, flags, this.#cost);
    const passes: Test = (value) => typeof value === "string" && matches(value);
    return (value) => passes(value) || holds(value, passes);
  }

  #count(depth: number): void {
    this.#nodes += 1;
    if (depth > QUERY_DEPTH_MAX) {
      throw new QueryError(`Cannot read the query: it is nested deeper than ${QUERY_DEPTH_MAX}`);
    }
    if (this.#nodes > QUERY_NODES_MAX) {
      throw new QueryError(`Cannot read the query: it has more than ${QUERY_NODES_MAX} conditions`);
    }
  }
}

/** Compiles a query; matching adds to `cost`. Throws QueryError, as does the matcher. */
export function compileFilter(filter: unknown, cost: MatchCost = { steps: 0 }): Matcher {
  return new Compiler(cost).filter(filter, 0);
}

/** Conditions that every matching document meets: those at the top and in `$and`. */
export function conditionsOf(filter: Filter): readonly Condition[] {
  return Object.entries(filter).flatMap(([path, operand]): Condition[] => {
    if (path === "$and") return (operand as readonly Filter[]).flatMap(conditionsOf);
    if (path.startsWith("$") || operand instanceof RegExp) return [];
    if (!isFields(operand)) return [{ path, operator: "$eq", operand: operand as Value }];
    return Object.entries(operand).flatMap(([operator, value]) => {
      return isPlanned(operator) ? [{ path, operator, operand: value }] : [];
    });
  });
}

function isPlanned(operator: string): operator is Condition["operator"] {
  return ["$eq", "$in", "$gt", "$gte", "$lt", "$lte"].includes(operator);
}

function isLogical(name: string): boolean {
  return name === "$and" || name === "$or" || name === "$nor";
}

function plain(test: Test): { test: Test; isNegated: boolean } {
  return { test, isNegated: false };
}

function negated(test: Test): { test: Test; isNegated: boolean } {
  return { test, isNegated: true };
}

/** Whether an array holds an item that passes. */
function holds(value: Value, test: Test): boolean {
  return Array.isArray(value) && (value as readonly Value[]).some(test);
}

function exactly(operand: Fields): Test {
  const isSame: Test = (value) => equalValues(value, operand);
  return (value) => isSame(value) || holds(value, isSame);
}

function ordered(operand: Value, accepts: (order: number) => boolean): Test {
  checkOperand(operand);
  const rank = typeRank(operand);
  const passes: Test = (value) => {
    if (value === undefined) return rank === 0 && accepts(0);
    return typeRank(value) === rank && accepts(compareValues(value, operand));
  };
  return (value) => passes(value) || holds(value, passes);
}

function checkOperand(operand: unknown): void {
  const isKnown = ["string", "number", "boolean", "bigint", "undefined", "object"];
  if (!isKnown.includes(typeof operand)) {
    throw new QueryError(`Cannot read the query: a ${typeof operand} is no value`);
  }
}

function typeTest(operand: Value): Test {
  const names = (Array.isArray(operand) ? operand : [operand]) as readonly Value[];
  const wanted = names.slice(0, TYPE_NAMES.length + 1).map((name) => {
    if (typeof name !== "string") throw new QueryError("Cannot read the query: a type is a text");
    const known = TYPE_NAMES.indexOf((TYPE_ALIASES.get(name) ?? name) as "null");
    if (known === -1) throw new QueryError(`Cannot read the query: type "${name}" is unknown`);
    return known;
  });
  if (names.length > TYPE_NAMES.length)
    throw new QueryError("Cannot read the query: too many types");
  return (value) =>
    value !== undefined &&
    (wanted.includes(typeRank(value)) || holds(value, (item) => wanted.includes(typeRank(item))));
}

function remainderTest(operand: Value): Test {
  const pair = Array.isArray(operand) ? (operand as readonly Value[]) : [];
  const [divisor = 0, remainder = 0] = pair.map((part) => {
    return typeof part === "number" || typeof part === "bigint" ? Number(part) : Number.NaN;
  });
  const isWhole = Number.isSafeInteger(divisor) && Number.isSafeInteger(remainder);
  if (pair.length !== 2 || !isWhole || divisor === 0) {
    throw new QueryError("Cannot read the query: $mod takes a divisor and a remainder");
  }
  const passes: Test = (value) => {
    if (typeof value === "bigint") return value % BigInt(divisor) === BigInt(remainder);
    return typeof value === "number" && Math.trunc(value) % divisor === remainder;
  };
  return (value) => passes(value) || holds(value, passes);
}

function bitsTest(name: string, operand: Value): Test {
  const mask = maskOf(name, operand);
  const passes: Test = (value) => {
    const isWhole = typeof value === "bigint" || Number.isSafeInteger(value);
    if (!isWhole) return false;
    const bits = BigInt.asUintN(64, BigInt(value as number | bigint)) & mask;
    if (name === "$bitsAllSet") return bits === mask;
    if (name === "$bitsAnySet") return bits !== 0n;
    return name === "$bitsAllClear" ? bits === 0n : bits !== mask;
  };
  return (value) => passes(value) || holds(value, passes);
}

/** A mask from a whole number, or from a list of bit positions. */
function maskOf(name: string, operand: Value): bigint {
  const positions = Array.isArray(operand) ? (operand as readonly Value[]) : undefined;
  const isPosition = (at: Value): at is number => Number.isInteger(at) && Number(at) >= 0;
  if (positions?.every((at) => isPosition(at) && Number(at) < 64) === true) {
    return positions.reduce<bigint>((mask, at) => mask | (1n << BigInt(Number(at))), 0n);
  }
  const isMask = typeof operand === "bigint" || Number.isSafeInteger(operand);
  if (isMask && (operand as number) >= 0) return BigInt(operand as number | bigint);
  throw new QueryError(`Cannot read the query: ${name} takes a mask or a list of bits`);
}

function unknownOperator(name: string): QueryError {
  return new QueryError(`Cannot read the query: operator "${name}" is unknown`, {
    remedy: "docs/queries.md lists the operators",
  });
}
