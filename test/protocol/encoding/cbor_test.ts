/**
 * CBOR: exact bytes of the encoder, exact values of the decoder, at every boundary of a head.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { runInNewContext } from "node:vm";
import { ProtocolError, ValidationError } from "../../../src/base/errors.ts";
import {
  decodeCbor,
  decodeUntrustedCbor,
  encodeCbor,
} from "../../../src/protocol/encoding/cbor.ts";

function hexOf(value: unknown): string {
  return Buffer.from(encodeCbor(value)).toString("hex");
}

function bytes(digits: string): Uint8Array {
  return new Uint8Array(Buffer.from(digits.replaceAll(" ", ""), "hex"));
}

// Both directions of each row: our encoder writes these bytes, our decoder reads this value.
const VALUES: readonly (readonly [unknown, string])[] = [
  [0, "00"],
  [23, "17"],
  [24, "1818"],
  [255, "18ff"],
  [256, "190100"],
  [65_535, "19ffff"],
  [65_536, "1a00010000"],
  [2 ** 32 - 1, "1affffffff"],
  [2n ** 63n, "1b8000000000000000"],
  [2n ** 64n - 1n, "1bffffffffffffffff"],
  [-1, "20"],
  [-24, "37"],
  [-25, "3818"],
  [-256, "38ff"],
  [-257, "390100"],
  [-65_537, "3a00010000"],
  [1.5, "fb3ff8000000000000"],
  [-0.1, "fbbfb999999999999a"],
  [2 ** 53, "fb4340000000000000"],
  [true, "f5"],
  [false, "f4"],
  [null, "f6"],
  ["", "60"],
  ["a", "6161"],
  ["\u00e4", "62c3a4"],
  [Uint8Array.of(), "40"],
  [Uint8Array.of(1, 2), "420102"],
  [[], "80"],
  [[1, [2]], "82018102"],
  [{}, "b90000"],
  [{ a: 1 }, "b900016161" + "01"],
  [new Date(0), "c1" + "1a00000000"],
  [new Date(1_001), "c1fb3ff004189374bc6a"],
  [new Date(-1), "c1fbbf50624dd2f1a9fc"],
];

class Point {
  readonly #x = 1;
  y = undefined;
  get x(): number {
    return this.#x;
  }
}

describe("values and bytes", () => {
  test.each(VALUES.map(([value, digits]) => [digits, value] as const))("%s", (digits, value) => {
    expect(hexOf(value)).toBe(digits);
    expect(decodeCbor(bytes(digits))).toEqual(value);
    expect(decodeUntrustedCbor(bytes(digits))).toEqual(value);
  });

  // Heads that our encoder does not write, but others do.
  test.each<readonly [string, unknown]>([
    ["1b 00000000ffffffff", 2 ** 32 - 1],
    ["1b 0000000100000002", 2 ** 32 + 2],
    ["1b 001fffffffffffff", Number.MAX_SAFE_INTEGER],
    ["1b 0020000000000000", 2n ** 53n],
    ["3b 0000000100000002", -(2 ** 32) - 3],
    ["3b 001ffffffffffffe", -Number.MAX_SAFE_INTEGER],
    ["3b 001fffffffffffff", -(2n ** 53n)],
    ["3b 0020000000000000", -(2n ** 53n) - 1n],
    ["18 05", 5],
    ["19 0005", 5],
    ["1a 00000005", 5],
    ["58 01 07", Uint8Array.of(7)],
    ["59 0001 07", Uint8Array.of(7)],
    ["78 01 61", "a"],
    ["79 0001 61", "a"],
    ["98 01 01", [1]],
    ["b8 01 61 61 01", { a: 1 }],
    ["a2 61 61 01 61 62 82 02 03", { a: 1, b: [2, 3] }],
    ["a1 78 01 61 01", { a: 1 }],
    ["f9 0000", 0],
    ["f9 0001", 2 ** -24],
    ["f9 03ff", 1023 * 2 ** -24],
    ["f9 0400", 2 ** -14],
    ["f9 3c00", 1],
    ["f9 3c01", 1 + 2 ** -10],
    ["f9 bc00", -1],
    ["f9 c500", -5],
    ["f9 7bff", 65_504],
    ["f9 fbff", -65_504],
    ["fa 3fc00000", 1.5],
    ["fa c2c80000", -100],
    ["fb bff8000000000000", -1.5],
    ["c1 1a 00000002", new Date(2_000)],
    ["c1 f9 3e00", new Date(1_500)],
    ["82 f9 3c00 fa 3fc00000", [1, 1.5]],
    ["82 fb 3ff8000000000000 01", [1.5, 1]],
    ["82 1b 0000000000000001 02", [1, 2]],
    ["82 1a 00000001 02", [1, 2]],
    ["82 19 0001 02", [1, 2]],
  ])("%s is read", (digits, value) => {
    expect(decodeUntrustedCbor(bytes(digits))).toEqual(value);
  });

  // Short texts are read by hand up to 24 bytes, longer ones by the runtime.
  test.each([0, 1, 23, 24, 25, 26, 255, 256])("a text of %d characters comes back", (size) => {
    for (const end of ["", "\u007f", "\u0080", "\u00e4", "\u{1f980}", "\ufeff"]) {
      const text = `\ufeff${"x".repeat(size)}${end}`;
      expect(decodeCbor(encodeCbor(text))).toBe(text);
      expect(decodeCbor(encodeCbor({ [text]: text }))).toEqual({ [text]: text });
    }
  });

  test("decoded bytes are a copy of the source, not a view", () => {
    const source = bytes("82 07 42 0102");
    const [, copy] = decodeCbor(source) as [number, Uint8Array];
    expect(copy).toEqual(Uint8Array.of(1, 2));
    expect(copy.buffer).not.toBe(source.buffer);
    expect(copy.buffer.byteLength).toBe(2);
  });
});

describe("undefined", () => {
  test("fields are left out at every depth, items and holes become null", () => {
    const value = { a: undefined, b: { c: undefined, d: [undefined, { e: undefined }] }, f: 1 };
    expect(hexOf(value)).toBe(hexOf({ b: { d: [null, {}] }, f: 1 }));
    expect(hexOf([undefined])).toBe("81f6");
    expect(hexOf(Array(2))).toBe("82f6f6");
  });

  test("dates, bytes and null beside an undefined field stay what they are", () => {
    const rest = { b: new Date(1_500), c: Uint8Array.of(1), d: null, e: "x", f: false, g: 0 };
    expect(hexOf({ a: undefined, ...rest })).toBe(hexOf(rest));
  });

  test("an object without a prototype is an object of fields", () => {
    const value = Object.assign(Object.create(null), { a: undefined, b: 1 });
    expect(hexOf(value)).toBe(hexOf({ b: 1 }));
  });

  test("an instance of a class is refused: such an object is not taken apart", () => {
    expect(() => encodeCbor({ a: new Point() })).toThrow(/at "a": an instance of Point/);
  });
});

describe("refused values", () => {
  function refusalOf(value: unknown): unknown {
    try {
      encodeCbor(value);
    } catch (error) {
      const { message, remedy, fields } = error as ValidationError;
      const { path } = fields;
      return { isValidation: error instanceof ValidationError, message, remedy, path };
    }
    return undefined;
  }

  const remedy =
    "Use null, booleans, finite numbers, bigint within 64 bits, strings, bytes, dates, arrays, objects";

  const long = `${"x".repeat(100)}\udc00`;
  const utf8 = "text is not valid UTF-8";

  // [what, value, path, reason]
  test.each<readonly [string, unknown, string, string]>([
    ["undefined", undefined, "", "undefined not allowed"],
    ["NaN", Number.NaN, "", "number is not finite"],
    ["NaN beside undefined", { a: undefined, b: Number.NaN }, "b", "number is not finite"],
    ["NaN in a list", { a: [1, { b: Number.NaN }] }, "a.1.b", "number is not finite"],
    ["a short lone surrogate", "\ud800", "", utf8],
    ["a long lone surrogate", long, "", utf8],
    ["one beside undefined", { a: undefined, b: long }, "b", utf8],
    ["one in a list", [1, [long]], "1.0", utf8],
    ["one in a key", { a: { [long]: 1 } }, `a.${"x".repeat(100)}\ufffd`, utf8],
    ["one behind half", ["\u00bd", long], "1", utf8],
    ["one behind a whole one", ["\ufffd", long], "1", utf8],
    ["one before a whole one", [long, "\ufffd"], "0", utf8],
    ["an invalid date", { a: new Date(Number.NaN) }, "a", "an invalid date"],
    ["a large integer", { a: 2n ** 64n }, "a", "an integer of more than 64 bits"],
    ["a small integer", { a: -(2n ** 64n) - 1n }, "a", "an integer of more than 64 bits"],
    ["a method", { a: { b() {} } }, "a.b", "a function"],
    ["a symbol", [Symbol("a")], "0", "a symbol"],
    ["a promise", { a: Promise.resolve(1) }, "a", "a promise: await it first"],
    ["a URL", { a: [new URL("http://a")] }, "a.0", "an instance of URL"],
    ["a boxed text", { a: Object("x") }, "a", "an instance of String"],
    ["a boxed number", { a: Object(1) }, "a", "an instance of Number"],
    ["a boxed boolean", { a: Object(true) }, "a", "an instance of Boolean"],
    ["a boxed bigint", { a: Object(1n) }, "a", "an instance of BigInt"],
    ["a WeakMap", { a: new WeakMap() }, "a", "an instance of WeakMap"],
    ["a Map", { a: new Map([["b", 1]]) }, "a", "an instance of Map"],
    ["a format", { a: new Intl.NumberFormat() }, "a", "an instance of NumberFormat"],
    ["a signal", { a: new AbortController().signal }, "a", "an instance of AbortSignal"],
    ["headers", { a: new Headers({ b: "c" }) }, "a", "an instance of Headers"],
    ["a blob", { a: new Blob(["b"]) }, "a", "an instance of Blob"],
    ["an error", { a: new TypeError("b") }, "a", "an instance of TypeError"],
    ["words of 32 bits", { a: new Uint32Array(1) }, "a", "an instance of Uint32Array"],
    ["a buffer", { a: new ArrayBuffer(1) }, "a", "an instance of ArrayBuffer"],
    ["an object with accessors", { a: new Point() }, "a", "an instance of Point"],
    ["an object of another's fields", { a: Object.create({ b: 1 }) }, "a", "an instance of Object"],
    [
      "a field __proto__",
      JSON.parse('{"a": {"__proto__": 1}}'),
      "a.__proto__",
      "key __proto__ is not allowed",
    ],
  ])("%s", (...[, value, path, reason]) => {
    const where = path === "" ? "" : ` at "${path}"`;
    const message = `Cannot store the value${where}: ${reason}`;
    expect(refusalOf(value)).toEqual({
      isValidation: true,
      message,
      remedy,
      path: path || undefined,
    });
  });

  test("iterators are refused, whatever made them", () => {
    for (const iterator of [[1].values(), new Set([1]).values(), "a".matchAll(/a/g)]) {
      expect(() => encodeCbor({ a: iterator })).toThrow(/at "a": an instance of/);
    }
  });

  test("what is too deep is named without its path", () => {
    const cycle: unknown[] = [];
    cycle.push({ cycle });
    const message = "Cannot store the value: nested too deep, or cyclic";
    expect(refusalOf(cycle)).toMatchObject({ isValidation: true, message, path: undefined });
  });

  test("plain objects of another realm, bytes and dates of subclasses are stored", () => {
    const foreign = runInNewContext("({ a: { b: [1] } })") as object;
    expect(decodeCbor(encodeCbor(foreign))).toEqual({ a: { b: [1] } });
    expect(decodeCbor(encodeCbor([Buffer.from("ab")]))).toEqual([Uint8Array.of(0x61, 0x62)]);
  });

  // U+FFFD is ef bf bd in UTF-8: the encoder writes it for a lone surrogate, but texts may hold it.
  test("U+FFFD itself, and its bytes in other values, are stored", () => {
    const long = `${"x".repeat(100)}\ufffd`;
    const replacement = Uint8Array.of(0xef, 0xbf, 0xbd);
    const value = { a: "\ufffd", [long]: long, b: replacement, c: [null, 1, true, new Date(0)] };
    expect(decodeCbor(encodeCbor(value))).toEqual(value);
    const parts = [Uint8Array.of(0xbd), Uint8Array.of(0xbf, 0xbd), Uint8Array.of(0xef, 0, 0xbd)];
    expect(decodeCbor(encodeCbor(parts))).toEqual(parts);
  });
});

describe("refused bytes", () => {
  test("the gate's reason is part of the message", () => {
    expect(() => decodeUntrustedCbor(bytes("f7"))).toThrow(
      new ProtocolError("Cannot read CBOR: undefined not allowed"),
    );
    expect(() => decodeUntrustedCbor(bytes("00 00"))).toThrow(ProtocolError);
  });

  test("a caller that left out the gate stops on an assertion", () => {
    for (const digits of ["", "18", "42 01", "62 61", "82 01", "00 00", "f9 7c00", "1b 00", "f8"]) {
      expect(() => decodeCbor(bytes(digits))).toThrow();
    }
  });
});
