/**
 * Which values are stored: the two walks agree, and name the same values.
 *
 * @module
 */

import { expect, test } from "bun:test";
import fc from "fast-check";
import { findUnstorable, hasKnownObjects } from "../../../src/protocol/encoding/storable.ts";
import { values } from "../../query/values.ts";
import { fuzz, seeded } from "../fuzz_seed.ts";

const strange = fc.constantFrom<unknown>(
  ...[new Map(), new URL("http://a"), Promise.resolve(), Object("x"), () => 1, new Float64Array(1)],
);

test(seeded("values of documents are stored"), () => {
  fc.assert(
    fc.property(values, (value) => {
      expect(hasKnownObjects(value)).toBe(true);
      expect(findUnstorable(value)).toBeUndefined();
    }),
    fuzz(2_000),
  );
});

// Mutations that this finds: an item that is not looked into, a path without its last segment.
test(seeded("one strange value, wherever it stands, is found at its path"), () => {
  const path = fc.array(fc.constantFrom<string | number>("a", "b", 0), { maxLength: 5 });
  fc.assert(
    fc.property(values, strange, path, (value, odd, segments) => {
      const whole = segments.reduceRight<unknown>((inner, segment) => {
        return typeof segment === "number" ? [inner, value] : { [segment]: inner, z: value };
      }, odd);
      expect(hasKnownObjects(whole)).toBe(false);
      expect(findUnstorable(whole)?.path).toBe(segments.join("."));
    }),
    fuzz(2_000),
  );
});
