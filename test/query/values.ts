/** Values and documents at random, small enough that conditions often meet. */
import fc from "fast-check";
import type { Fields, Value } from "../../src/base/value.ts";

const NAMES = ["a", "b", "c", "constructor", ""] as const;

export const scalars: fc.Arbitrary<Value> = fc.oneof(
  fc.constantFrom<Value>(null, true, false, 0, 1, 2, -1, 1.5, "", "a", "b", "a\u0000", "\uffff"),
  fc.integer({ min: -3, max: 3 }),
  fc.constantFrom<Value>(2n ** 60n, 2n ** 60n + 1n, -(2n ** 53n) - 1n, 2n),
  fc.constantFrom<Value>(new Date(0), new Date(1), new Date(-1)),
);

const documents = fc.letrec<{ value: Value; fields: Fields }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    scalars,
    fc.array(tie("value"), { maxLength: 3 }) as fc.Arbitrary<Value>,
    tie("fields"),
  ),
  fields: fc.dictionary(fc.constantFrom(...NAMES), tie("value"), { maxKeys: 3 }),
}));

export const values: fc.Arbitrary<Value> = documents.value;
export const fields: fc.Arbitrary<Fields> = documents.fields;
