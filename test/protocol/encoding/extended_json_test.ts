/**
 * Extended JSON: every document comes back as it was, both published forms are read, and what is
 * not a value by the rules is refused with its place.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ValidationError } from "../../../src/base/errors.ts";
import { decodeCbor, encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import { fromExtendedJson, toExtendedJson } from "../../../src/protocol/encoding/extended_json.ts";
import { fields } from "../../query/values.ts";
import { fuzz, seeded } from "../fuzz_seed.ts";

function storedHex(value: unknown): string {
  return Buffer.from(encodeCbor(value)).toString("hex");
}

const numbers = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.integer(),
  fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n - 1n }),
  fc.constantFrom<number | bigint>(-0, 0, 2 ** 53, 2 ** 53 + 2, -(2 ** 63), 2 ** 64, 1e300, 5e-324),
);
const names = fc.constantFrom(
  ...["a", "", "$date", "$literal", "$binary", "$type", "$numberLong", "$oid", "$x", "constructor"],
);
const value = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    numbers,
    fc.string({ unit: "grapheme" }),
    fc.constantFrom<unknown>(null, true, "$date", "1", "2026-02-30T00:00:00Z"),
    fc.date({ noInvalidDate: true }),
    fc.uint8Array({ maxLength: 9 }),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(names, tie("value"), { maxKeys: 3 }),
  ),
})).value;

// Mutations that this finds: an object of one tag that is not wrapped, a whole float as an integer.
test(seeded("every document that is stored comes back with the same bytes"), () => {
  fc.assert(
    fc.property(fc.dictionary(names, value, { maxKeys: 4 }), (document) => {
      const stored = decodeCbor(encodeCbor(document));
      const text = toExtendedJson(stored);
      expect(text).not.toContain("\n");
      expect(storedHex(fromExtendedJson(text))).toBe(storedHex(stored));
    }),
    fuzz(5_000),
  );
  fc.assert(
    fc.property(fields, (document) => {
      const text = toExtendedJson(decodeCbor(encodeCbor(document)));
      expect(storedHex(fromExtendedJson(text))).toBe(storedHex(decodeCbor(encodeCbor(document))));
    }),
    fuzz(2_000),
  );
});

test.each<readonly [unknown, string]>([
  [{ a: 1, b: "x", c: null, d: [true] }, '{"a":1,"b":"x","c":null,"d":[true]}'],
  [2n ** 53n, '{"$numberLong":"9007199254740992"}'],
  [-(2n ** 63n), '{"$numberLong":"-9223372036854775808"}'],
  [2n ** 63n, '{"$bigint":"9223372036854775808"}'],
  [2 ** 60, '{"$numberDouble":"1152921504606847000"}'],
  [-0, '{"$numberDouble":"-0.0"}'],
  [1.5, "1.5"],
  [new Date(0), '{"$date":"1970-01-01T00:00:00.000Z"}'],
  [new Date(-1), '{"$date":{"$numberLong":"-1"}}'],
  [new Date(8.64e15), '{"$date":{"$numberLong":"8640000000000000"}}'],
  [Uint8Array.of(1, 2), '{"$binary":{"base64":"AQI=","subType":"00"}}'],
  [{ $date: "x" }, '{"$literal":{"$date":"x"}}'],
  [{ $literal: 1 }, '{"$literal":{"$literal":1}}'],
  [{ $oid: "x" }, '{"$literal":{"$oid":"x"}}'],
  [{ $date: "x", a: 1 }, '{"$date":"x","a":1}'],
  [{ $binary: "x", $type: "00" }, '{"$literal":{"$binary":"x","$type":"00"}}'],
])("%p is written as %s", (given, text) => {
  expect(toExtendedJson(given)).toBe(text);
  expect(fromExtendedJson(text)).toEqual(given);
});

// Canonical, relaxed and older forms, as the published rules and mongoexport write them.
test.each<readonly [string, unknown]>([
  ["9007199254740993", 9007199254740993n],
  ["-9007199254740993", -9007199254740993n],
  ["18446744073709551615", 18446744073709551615n],
  ["9007199254740991", 9007199254740991],
  ["1234567890123456789.5", Number("1234567890123456789.5")],
  ["12345678901234567890e3", Number("12345678901234567890e3")],
  ['{"text": "1234567890123456789", "n": 7}', { text: "1234567890123456789", n: 7 }],
  ['{"$numberLong": "5"}', 5],
  ['{"$numberLong": "-9223372036854775808"}', -9223372036854775808n],
  ['{"$numberLong": 5}', 5],
  ['{"$numberInt": "-2147483648"}', -2147483648],
  ['{"$numberDouble": "1.5"}', 1.5],
  ['{"$numberDouble": "1e3"}', 1000],
  ['{"$numberDouble": 2.5}', 2.5],
  ['{"$date": "2026-02-28T23:59:59Z"}', new Date("2026-02-28T23:59:59Z")],
  ['{"$date": "2024-02-29T12:00:00.123456+02:00"}', new Date("2024-02-29T10:00:00.123Z")],
  ['{"$date": "2026-01-01T00:00-0530"}', new Date("2026-01-01T05:30:00Z")],
  ['{"$date": "-000001-01-01T00:00:00Z"}', new Date("-000001-01-01T00:00:00Z")],
  ['{"$date": {"$numberLong": "-1"}}', new Date(-1)],
  ['{"$date": 1700000000000}', new Date(1_700_000_000_000)],
  ['{"$oid": "507F1F77bcf86cd799439011"}', "507f1f77bcf86cd799439011"],
  ['{"$uuid": "01234567-89AB-cdef-0123-456789abcdef"}', "01234567-89ab-cdef-0123-456789abcdef"],
  ['{"$binary": {"base64": "AQI=", "subType": "04"}}', Uint8Array.of(1, 2)],
  ['{"$binary": "AQI=", "$type": "00"}', Uint8Array.of(1, 2)],
  ['{"$binary": {"subType": "0", "base64": ""}}', new Uint8Array(0)],
  ['{"$bytes": "AQI="}', Uint8Array.of(1, 2)],
  ['{"$bigint": "18446744073709551615"}', 18446744073709551615n],
  ['{"$literal": {"$date": "x"}}', { $date: "x" }],
  ['{"$date": "x", "a": 1}', { $date: "x", a: 1 }],
  ['{"$unknown": 1}', { $unknown: 1 }],
  ['{"a": 1, "a": 1234567890123456789}', { a: 1234567890123456789n }],
])("%s is read", (text, expected) => {
  expect(fromExtendedJson(text)).toEqual(expected as never);
});

describe("refused, with the place and the value", () => {
  test.each<readonly [string, string, string]>([
    ['{"a": {"$date": "2026-02-30T00:00:00Z"}}', "2026-02-30T00:00:00Z", "a"],
    ['{"a": [{"$date": "5"}]}', '"5" is no date', "a.0"],
    ['{"a": {"$date": "2026-01-01T00:00:00"}}', "is no date with a time and a zone", "a"],
    ['{"a": {"$date": "2026-01-01"}}', "is no date with a time and a zone", "a"],
    ['{"a": {"$date": "2026-01-01T24:00:00Z"}}', "is no date", "a"],
    ['{"a": {"$date": "2026-01-01T00:00:00+24:00"}}', "is no date", "a"],
    ['{"a": {"$date": "2026-13-01T00:00:00Z"}}', "is no date", "a"],
    ['{"a": {"$date": {"$numberLong": "8640000000000001"}}}', "is no date", "a"],
    ['{"a": {"$date": true}}', "true is no date", "a"],
    ['{"a": {"$binary": {"base64": "A", "subType": "00"}}}', '"A" is no base64', "a"],
    ['{"a": {"$bytes": "AQ=?"}}', "is no base64", "a"],
    ['{"a": {"$bytes": "AR=="}}', "is no base64", "a"],
    ['{"a": {"$binary": {"base64": ""}}}', "$binary holds base64 and subType", "a"],
    ['{"a": {"$binary": 5}}', "$binary holds base64 and subType", "a"],
    ['{"a": {"$numberLong": "9223372036854775808"}}', "$numberLong does not hold", "a"],
    ['{"a": {"$numberInt": "2147483648"}}', "$numberInt does not hold", "a"],
    ['{"a": {"$numberInt": "1.5"}}', "$numberInt holds digits", "a"],
    ['{"a": {"$numberInt": ""}}', "$numberInt holds digits", "a"],
    ['{"a": {"$numberDouble": "Infinity"}}', "$numberDouble holds a finite number", "a"],
    ['{"a": {"$numberDouble": ""}}', "$numberDouble holds a finite number", "a"],
    ['{"a": {"$oid": "5"}}', '"5" is no $oid', "a"],
    ['{"a": {"$uuid": "0123"}}', "is no $uuid", "a"],
    ['{"a": {"$bigint": "18446744073709551616"}}', "$bigint does not hold", "a"],
    ['{"a": {"$numberDecimal": "1.5"}}', "a numberDecimal is no value that cstore holds", "a"],
    ['{"a": {"$timestamp": {"t": 1, "i": 1}}}', "a timestamp is no value", "a"],
    ['{"a": {"$regularExpression": {"pattern": "a", "options": ""}}}', "is no value", "a"],
    ['{"a": {"$undefined": true}}', "is no value", "a"],
    ['{"a": [1, 1e999]}', "the number is beyond what a float holds", "a.1"],
    ['{"a": {"$literal": [1]}}', "$literal holds an object", "a"],
    ["18446744073709551616", "more than 64 bits", ""],
    ["-18446744073709551617", "more than 64 bits", ""],
    ["{bad", "The line is not JSON", ""],
    ["", "The line is not JSON", ""],
    ['{"a": 1234567890123456789', "The line is not JSON", ""],
    [`${"[".repeat(200_000)}1234567890123456789`, "The line is not JSON", ""],
  ])("%s", (text, message, path) => {
    const error = ((): unknown => {
      try {
        return fromExtendedJson(text, "line");
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(error).toBeInstanceOf(ValidationError);
    expect((error as ValidationError).message).toContain(message);
    expect((error as ValidationError).message.length).toBeLessThan(300);
    expect((error as ValidationError).fields).toEqual(path === "" ? {} : { path });
  });
});
