/**
 * Tests of one value: the leaves of a query. Each also takes an array that holds such a value.
 *
 * @module
 */

import { QueryError } from "../base/errors.ts";
import {
  compareValues,
  equalValues,
  type Fields,
  TYPE_NAMES,
  typeRank,
  type Value,
} from "../base/value.ts";

/** A test of one value. */
export type Test = (value: Value) => boolean;

const TYPE_ALIASES: ReadonlyMap<string, string> = new Map([
  ["bool", "boolean"],
  ["double", "number"],
  ["int", "number"],
  ["long", "number"],
  ["bigint", "number"],
  ["binData", "bytes"],
]);

/** Whether an array holds an item that passes. */
export function holds(value: Value, test: Test): boolean {
  return Array.isArray(value) && (value as readonly Value[]).some(test);
}

/** The value, or an item of it, equals the object. */
export function exactly(operand: Fields): Test {
  const isSame: Test = (value) => equalValues(value, operand);
  return (value) => isSame(value) || holds(value, isSame);
}

/** Compared with the operand, within its type. */
export function ordered(operand: Value, accepts: (order: number) => boolean): Test {
  checkOperand(operand);
  const rank = typeRank(operand);
  const passes: Test = (value) => {
    if (value === undefined) return rank === 0 && accepts(0);
    return typeRank(value) === rank && accepts(compareValues(value, operand));
  };
  return (value) => passes(value) || holds(value, passes);
}

/** Throws QueryError for what no document can hold. */
export function checkOperand(operand: unknown): void {
  const isKnown = ["string", "number", "boolean", "bigint", "undefined", "object"];
  if (!isKnown.includes(typeof operand)) {
    throw new QueryError(`Cannot read the query: a ${typeof operand} is no value`);
  }
}

/** `$type` */
export function typeTest(operand: Value): Test {
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

/** `$mod` */
export function remainderTest(operand: Value): Test {
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

/** `$bitsAllSet` and the like. */
export function bitsTest(name: string, operand: Value): Test {
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
