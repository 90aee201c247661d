import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { orderKey, typeKey } from "../../src/base/order_key.ts";
import { compareValues, type Value } from "../../src/base/value.ts";
import { values } from "../query/values.ts";

const SOME: readonly Value[] = [
  null,
  false,
  true,
  -1e300,
  -(2n ** 60n),
  -1,
  0,
  1,
  1.5,
  2n,
  2 ** 53,
  2n ** 53n + 1n,
  1e300,
  "",
  "a",
  "a\u0000",
  "a\u0000b",
  "a\u0001",
  "b",
  "\ud800\udc00",
  "\uffff",
  new Date(Number.NaN),
  new Date(-1),
  new Date(0),
  new Uint8Array([]),
  new Uint8Array([0]),
  new Uint8Array([0, 1]),
  new Uint8Array([1]),
  [],
  [1],
  [1, 0],
  [2],
  {},
  { a: 1 },
  { a: 2 },
  { b: 0 },
];

describe("order", () => {
  test("this list is in order, each value equal to itself only", () => {
    for (const [i, a] of SOME.entries()) {
      for (const [j, b] of SOME.entries()) {
        const pair = { a, b, sign: Math.sign(compareValues(a, b)) };
        expect(pair).toEqual({ a, b, sign: Math.sign(i - j) });
      }
    }
  });

  test("any three values are in one order", () => {
    fc.assert(
      fc.property(values, values, values, (a, b, c) => {
        expect(Math.sign(compareValues(a, b))).toBe(-Math.sign(compareValues(b, a)) + 0);
        if (compareValues(a, b) <= 0 && compareValues(b, c) <= 0) {
          expect(compareValues(a, c)).toBeLessThanOrEqual(0);
        }
      }),
      { numRuns: 3000 },
    );
  });

  test("2 and 2n are one value, and the order of fields does not count", () => {
    expect(compareValues(2, 2n)).toBe(0);
    expect(compareValues({ a: 1, b: 2 }, { b: 2, a: 1 })).toBe(0);
  });
});

describe("keys of a collection index", () => {
  const keyed = SOME;

  test("sort as the values do, and the other way round when descending", () => {
    for (const a of keyed) {
      for (const b of keyed) {
        const sign = Math.sign(compareValues(a, b));
        const [x, y] = [orderKey(a), orderKey(b)];
        expect({ a, b, sign: x < y ? -1 : x > y ? 1 : 0 }).toEqual({ a, b, sign });
        const [p, q] = [orderKey(a, true), orderKey(b, true)];
        expect({ a, b, down: p > q ? -1 : p < q ? 1 : 0 }).toEqual({ a, b, down: sign });
      }
    }
  });

  test("no key begins another, and each begins with that of its type", () => {
    fc.assert(
      fc.property(values, values, fc.boolean(), (a, b, isDescending) => {
        const [x, y] = [orderKey(a, isDescending), orderKey(b, isDescending)];
        expect(x.startsWith(typeKey(a, isDescending))).toBe(true);
        if (compareValues(a, b) === 0) expect(x).toBe(y);
        else expect(x.startsWith(y)).toBe(false);
      }),
      { numRuns: 3000 },
    );
  });
});
