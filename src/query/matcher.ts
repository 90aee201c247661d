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
import { FIRST_RULES, NEWEST_RULES, type RulesVersion } from "../base/rules_version.ts";
import { equalValues, type Fields, isFields, type Value } from "../base/value.ts";
import { atPath, parsePath, someAt, someStrictlyAt } from "./path.ts";
import { compilePattern, type MatchCost } from "./pattern.ts";
import {
  bitsTest,
  checkOperand,
  exactly,
  holds,
  ordered,
  remainderTest,
  type Test,
  typeTest,
} from "./value_tests.ts";

/** A query as a caller writes it; see docs/queries.md. */
export interface Filter {
  readonly [path: string]: unknown;
}

/** Whether a document matches. */
export type Matcher = (document: Fields) => boolean;

/** A test of the values at a path: one passes; or several such tests, each of which holds. */
interface PathTest {
  readonly test: Test;
  readonly nested?: readonly PathTest[];
  /** Turns the answer round. */
  readonly isNegated: boolean;
}

/** A condition on one path that every matching document meets, for the planner. */
export interface Condition {
  readonly path: string;
  readonly operator: "$eq" | "$in" | "$gt" | "$gte" | "$lt" | "$lte";
  readonly operand: Value;
}

class Compiler {
  readonly #cost: MatchCost;
  readonly #rules: RulesVersion;
  #nodes = 0;
  #items = 0;

  constructor(cost: MatchCost, rules: RulesVersion) {
    this.#cost = cost;
    this.#rules = rules;
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
    if (name === "$not" && this.#rules > FIRST_RULES) {
      throw new QueryError("Cannot read the query: $not stands at a field", {
        remedy: "Write {field: {$not: {...}}}, or {$nor: [{...}]} for a whole query",
      });
    }
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
    const path = parsePath(name, this.#rules);
    const read = atPath(name, () => this.#tests(operand, depth));
    const some = this.#rules > FIRST_RULES ? someStrictlyAt : someAt;
    const tests = read.map((part): Matcher => {
      const { test, isNegated } = part;
      if (part.nested !== undefined) {
        return (document) => holdsFor(part, (one) => some(document, path, one));
      }
      if (isNegated) return (document) => !some(document, path, test);
      return (document) => some(document, path, test);
    });
    if (tests.length === 1) return tests[0]!;
    return (document) => tests.every((test) => test(document));
  }

  /** The tests that the values at a path must pass. */
  #tests(operand: unknown, depth: number): PathTest[] {
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

  #operator(name: string, all: Fields, depth: number): PathTest {
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
        return this.#not(operand, depth);
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
        return this.#allOf(operand, depth);
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
      const pattern = this.#patternIn(item);
      if (pattern !== undefined) others.push(pattern);
      else keys.add(orderKey(item as Value));
    }
    const isOne: Test = (value) => {
      if (value === undefined) return false;
      return keys.has(orderKey(value)) || others.some((test) => test(value));
    };
    return (value) => isOne(value) || holds(value, isOne);
  }

  /** The opposite of the operand as a condition on the same path. */
  #not(operand: unknown, depth: number): PathTest {
    if (this.#rules === FIRST_RULES) return negated(this.#all(operand, depth));
    return { test: () => false, nested: this.#tests(operand, depth), isNegated: true };
  }

  /** All tests of an operand, of one value. */
  #all(operand: unknown, depth: number): Test {
    const tests = this.#tests(operand, depth);
    return (value) => tests.every((part) => holdsFor(part, (test) => test(value)));
  }

  /** Each item as a condition of its own: other values at the path may meet the others. */
  #allOf(operand: Value, depth: number): PathTest {
    if (!Array.isArray(operand)) throw new QueryError("Cannot read the query: $all takes a list");
    this.#nodes += operand.length;
    this.#count(0);
    const tests = (operand as readonly Value[]).map((item) => {
      if (isFields(item) && "$elemMatch" in item) return this.#element(item["$elemMatch"], depth);
      return this.#patternIn(item) ?? this.#equal(item);
    });
    if (tests.length === 0) return plain(() => false);
    if (this.#rules === FIRST_RULES) return plain((value) => tests.every((test) => test(value)));
    return { test: () => false, nested: tests.map(plain), isNegated: false };
  }

  /** A pattern as an item of a list: as itself, or as it comes over the wire. */
  #patternIn(item: Value | RegExp): Test | undefined {
    if (item instanceof RegExp) return this.#pattern(item.source, item.flags);
    if (this.#rules === FIRST_RULES || !isFields(item) || !("$regex" in item)) return undefined;
    return this.#regex(item["$regex"], item["$options"]);
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

/**
 * Compiles a query; matching adds to `cost`. `rules` other than the newest are those of a log.
 * Throws QueryError, as does the matcher.
 */
export function compileFilter(
  filter: unknown,
  cost: MatchCost = { steps: 0 },
  rules: RulesVersion = NEWEST_RULES,
): Matcher {
  return new Compiler(cost, rules).filter(filter, 0);
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

/** Whether an operator joins whole queries. */
export function isLogical(name: string): boolean {
  return name === "$and" || name === "$or" || name === "$nor";
}

/** Whether the values at a path meet a test; `some` tells whether one of them passes. */
function holdsFor(part: PathTest, some: (test: Test) => boolean): boolean {
  const { test, nested, isNegated } = part;
  const isMet = nested === undefined ? some(test) : nested.every((one) => holdsFor(one, some));
  return isMet !== isNegated;
}

function plain(test: Test): PathTest {
  return { test, isNegated: false };
}

function negated(test: Test): PathTest {
  return { test, isNegated: true };
}

function unknownOperator(name: string): QueryError {
  return new QueryError(`Cannot read the query: operator "${name}" is unknown`, {
    remedy: "docs/queries.md lists the operators",
  });
}
