/**
 * The gate against hostile bytes: its refusals with their reasons, and its linear time.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ProtocolError } from "../../../src/base/errors.ts";
import { DOCUMENT_DEPTH_MAX } from "../../../src/base/limits.ts";
import {
  decodeCbor,
  decodeUntrustedCbor,
  encodeCbor,
} from "../../../src/protocol/encoding/cbor.ts";
import { checkCbor, isUtf8 } from "../../../src/protocol/encoding/cbor_gate.ts";

function hex(digits: string): Uint8Array {
  return new Uint8Array(Buffer.from(digits.replaceAll(" ", ""), "hex"));
}

function check(bytes: Uint8Array): string {
  return checkCbor(bytes, 0, bytes.byteLength);
}

function accepts(decoder: TextDecoder, bytes: Uint8Array): boolean {
  try {
    decoder.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** Checks, and holds the gate to its promise of linear time. */
function checkFast(bytes: Uint8Array): string {
  const before = process.cpuUsage();
  const refusal = check(bytes);
  const { user, system } = process.cpuUsage(before);
  // 1 MB takes about 1 ms; the bound leaves room for a slow machine, not for a quadratic walk. Time
  // of the processor, because the clock also counts what other processes do.
  expect((user + system) / 1000).toBeLessThan(500);
  return refusal;
}

function nested(depth: number, inner: string): Uint8Array {
  const bytes = new Uint8Array(depth + 1).fill(0x81);
  bytes[depth] = Number.parseInt(inner, 16);
  return bytes;
}

const TAG = "tag not allowed";
const CUT = "truncated";
const SIMPLE = "value not allowed";
const NOT_FINITE = "number is not finite";
const INDEFINITE = "indefinite length not allowed";
const UTF8 = "text is not valid UTF-8";

describe("refusals", () => {
  // Mutations that these find: an allow-list with one tag more, a check of keys only at the top.
  test.each([
    ["bignum", "c2 49 010000000000000000", TAG],
    ["negative bignum", "c3 41 01", TAG],
    ["text date", "c0 6a 323032362d30312d3031", TAG],
    ["date in a longer head", "d8 01 00", TAG],
    ["date on a text", "c1 61 61", TAG],
    ["date on an empty text", "c1 60", TAG],
    ["date on empty bytes", "c1 40", TAG],
    ["date on bytes", "c1 41 00", TAG],
    ["date on an empty array", "c1 80", TAG],
    ["date on an empty map", "c1 a0", TAG],
    ["date on false", "c1 f4", TAG],
    ["date on a simple value in 2 bytes", "c1 f8 20", TAG],
    ["date on single infinity", "c1 fa 7f800000", TAG],
    ["date on a reserved head", `c1 1c ${"00".repeat(16)}`, TAG],
    ["date on an indefinite length", "c1 1f", TAG],
    ["date on a cut integer", "c1 18", TAG],
    ["date on a cut half float", "c1 f9 3e", TAG],
    ["date on a date", "c1 c1 00", TAG],
    ["date on nothing", "c1", TAG],
    ["date on NaN", "c1 f9 7e00", TAG],
    ["date on infinity", "c1 fb 7ff0000000000000", TAG],
    ["date on a cut number", "c1 fb 7f", TAG],
    ["packed table", "d8 33 82 81 01 c6 00", TAG],
    ["packed reference", "c6 00", TAG],
    ["shared value", "d8 1c 81 d8 1d 00", TAG],
    ["shared reference", "d8 1d 00", TAG],
    ["record definition", "d9 dfff 84 1a 7fffffff 81 61 61 01 02", TAG],
    ["record by tag", "d9 dffe 82 81 61 61 01", TAG],
    ["shared structures", "da 53687264 00", TAG],
    ["bytes of a map", "d8 40 a1 66 627566666572 1a ffffffff", TAG],
    ["constructor call", "d8 1b 82 66 526567457870 66 28612b292b24", TAG],
    ["set", "d9 0102 81 01", TAG],
    ["map with any keys", "d9 0103 a1 01 02", TAG],
    ["float array", "d8 55 44 0000803f", TAG],
    ["regular expression", "d8 23 61 61", TAG],
    ["tag of 8 bytes", "db ffffffffffffffff 00", TAG],
    ["indefinite array", "9f 01 ff", INDEFINITE],
    ["indefinite map", "bf 61 61 01 ff", INDEFINITE],
    ["indefinite text", "7f 61 61 ff", INDEFINITE],
    ["indefinite bytes", "5f 41 01 ff", INDEFINITE],
    ["a break", "ff", INDEFINITE],
    ["a break in a map", "a1 61 61 ff", INDEFINITE],
    ["reserved head", "1c", SIMPLE],
    ["reserved head of a tag", "dd 00", SIMPLE],
    ["undefined", "f7", "undefined not allowed"],
    ["undefined in a map", "a1 61 61 f7", "undefined not allowed"],
    ["simple value 0", "e0", SIMPLE],
    ["simple value 19", "f3", SIMPLE],
    ["simple value in 2 bytes", "f8 ff", SIMPLE],
    ["false in 2 bytes", "f8 14", SIMPLE],
    ["half NaN", "f9 7e00", NOT_FINITE],
    ["half NaN with a payload", "f9 7d01", NOT_FINITE],
    ["half NaN of all bits", "f9 ffff", NOT_FINITE],
    ["half infinity", "f9 7c00", NOT_FINITE],
    ["half -infinity", "f9 fc00", NOT_FINITE],
    ["single NaN", "fa 7fc00000", NOT_FINITE],
    ["single infinity", "fa 7f800000", NOT_FINITE],
    ["double NaN", "fb 7ff8000000000000", NOT_FINITE],
    ["double NaN with a payload", "fb fff0000000000001", NOT_FINITE],
    ["double -infinity", "fb fff0000000000000", NOT_FINITE],
    ["number key", "a1 01 02", "key is not a text"],
    ["bytes key", "a1 41 61 02", "key is not a text"],
    ["tagged key", "a1 c1 00 02", "key is not a text"],
    ["key of the innermost map", `${"81".repeat(63)} a1 01 02`, "key is not a text"],
    ["second key not a text", "a2 61 61 01 02 03", "key is not a text"],
    ["key of an inner map", "81 a1 f6 00", "key is not a text"],
    ["__proto__", "a1 69 5f5f70726f746f5f5f a0", "key __proto__ is not allowed"],
    ["__proto__, long head", "a1 78 09 5f5f70726f746f5f5f a0", "key __proto__ is not allowed"],
    ["inner __proto__", "a1 61 61 a1 69 5f5f70726f746f5f5f 01", "key __proto__ is not allowed"],
    ["array of 2^64 - 1", "9b ffffffffffffffff", CUT],
    ["map of 2^32 - 1", "ba ffffffff", CUT],
    ["map of 2^63", "bb 8000000000000000", CUT],
    ["text of 2^32 - 1", "7a ffffffff 61", CUT],
    ["bytes of 2^64 - 1", "5b ffffffffffffffff 00", CUT],
    ["array one too long", "83 01 02", CUT],
    ["map without its last value", "a2 61 61 01 61 62", CUT],
    ["nothing", "", CUT],
    ["two values", "01 02", "bytes follow the value"],
    ["zeros behind", "a0 00", "bytes follow the value"],
    ["overlong slash", "62 c0af", UTF8],
    ["overlong 3 bytes", "63 e0 80 af", UTF8],
    ["overlong 4 bytes", "64 f0 80 80 af", UTF8],
    ["high surrogate", "63 eda080", UTF8],
    ["low surrogate", "63 edb080", UTF8],
    ["surrogate pair", "66 eda080 edb080", UTF8],
    ["above U+10FFFF", "64 f4908080", UTF8],
    ["5 byte form", "65 f888808080", UTF8],
    ["continuation alone", "61 80", UTF8],
    ["cut character", "62 e282", UTF8],
    ["cut character before more", "82 62 e282 61 ac", UTF8],
    ["bad key", "a1 61 ff 01", UTF8],
  ])("gate: %s", (_name, digits, refusal) => {
    expect(check(hex(digits))).toBe(refusal);
    expect(() => decodeUntrustedCbor(hex(digits))).toThrow(refusal);
  });

  test("gate: depth 64 is allowed, 65 and 200,000 are not", () => {
    expect(check(nested(DOCUMENT_DEPTH_MAX, "01"))).toBe("");
    expect(check(nested(DOCUMENT_DEPTH_MAX - 1, "80"))).toBe("");
    expect(check(nested(DOCUMENT_DEPTH_MAX, "80"))).toBe("nested too deep");
    expect(check(nested(DOCUMENT_DEPTH_MAX + 1, "01"))).toBe("nested too deep");
    expect(checkFast(nested(200_000, "01"))).toBe("nested too deep");
    const maps = hex(`${"a16161".repeat(65)}01`);
    expect(check(maps)).toBe("nested too deep");
    expect(check(maps.subarray(3))).toBe("");
  });

  // The walk reuses its stack: the rest of a refused input must not leak into the next one.
  test("gate: a refusal in the depth leaves nothing behind", () => {
    const good = encodeCbor({ a: [1, { b: "c" }], d: { e: null } });
    for (const bad of [nested(60, "ff"), hex("a1 61 61 a1 01"), hex("9a 00ffffff")]) {
      expect(check(bad)).not.toBe("");
      expect(check(good)).toBe("");
    }
  });

  test("gate: every cut of a value is refused as a cut, a walk from any byte ends with an answer", () => {
    const bytes = encodeCbor({
      text: "plain and \u{1f980}",
      list: [1, -2, 300, 70_000, 2 ** 40, 1.5, null, true, false],
      when: new Date(1_234),
      bytes: new Uint8Array(30),
      inner: { deep: { deeper: [[[]]] } },
    });
    expect(check(bytes)).toBe("");
    for (let end = 0; end < bytes.byteLength; end += 1) {
      expect([CUT, TAG]).toContain(checkCbor(bytes, 0, end));
    }
    for (let start = 1; start < bytes.byteLength; start += 1) {
      expect(checkCbor(bytes, start, bytes.byteLength)).toBeString();
    }
  });

  test("gate: bytes outside of the range are not looked at", () => {
    const bytes = hex("ff a1 61 61 01 ff");
    expect(checkCbor(bytes, 1, 5)).toBe("");
    expect(checkCbor(bytes, 1, 4)).toBe(CUT);
    expect(checkCbor(bytes, 1, 6)).toBe("bytes follow the value");
    expect(checkCbor(hex("00 64 61 62 63 64"), 1, 5)).toBe(CUT);
    expect(checkCbor(hex("a1 01"), 0, 1)).toBe(CUT);
    expect(checkCbor(hex("81 ff"), 0, 1)).toBe(CUT);
    expect(checkCbor(hex("18 05"), 0, 1)).toBe(CUT);
    expect(checkCbor(hex("fb 3ff8000000000000"), 0, 8)).toBe(CUT);
    expect(checkCbor(hex("c1 00"), 0, 1)).toBe(TAG);
    expect(checkCbor(hex("c1 1a 00000000"), 0, 5)).toBe(TAG);
    expect(isUtf8(hex("e2 82 ac"), 0, 2)).toBe(false);
    expect(isUtf8(hex("ff e2 82 ac ff"), 1, 4)).toBe(true);
  });
});

describe("time", () => {
  const MB = 1024 * 1024;
  test.each([
    ["a bignum", new Uint8Array(MB).fill(0xc2, 0, 1), TAG],
    ["zeros", new Uint8Array(MB), "bytes follow the value"],
    ["array heads", new Uint8Array(MB).fill(0x81), "nested too deep"],
    ["array heads of 23", new Uint8Array(MB).fill(0x97), "nested too deep"],
    ["map heads", new Uint8Array(MB).fill(0xb7), "key is not a text"],
    ["breaks", new Uint8Array(MB).fill(0xff), INDEFINITE],
  ])("gate: 1 MB of %s", (_name, bytes, refusal) => {
    expect(checkFast(bytes)).toBe(refusal);
  });

  test("gate: 1 MB of empty maps, of texts and of two-byte characters", () => {
    const head = [0x9a, 0x00, 0x0f, 0xff, 0xfb];
    for (const item of [0xa0, 0x60, 0x80, 0x00]) {
      const bytes = new Uint8Array(MB).fill(item);
      bytes.set(head);
      expect(checkFast(bytes)).toBe("");
    }
    const text = new Uint8Array(MB + 1);
    text.set([0x7a, 0x00, 0x0f, 0xff, 0xfc]);
    for (let at = 5; at < text.byteLength; at += 2) text.set([0xc3, 0xa4], at);
    expect(checkFast(text)).toBe("");
  });
});

describe("allowed bytes", () => {
  // docs/protocol.md: one rule for each.
  test("gate: a key that stands twice is kept, and the last one is read", () => {
    expect(check(hex("a2 61 61 01 61 61 02"))).toBe("");
    expect(decodeUntrustedCbor(hex("a2 61 61 01 61 61 02"))).toEqual({ a: 2 });
  });

  test("gate: -0, 2^53 + 1 and numbers in longer heads pass as they are", () => {
    expect(decodeUntrustedCbor(hex("f9 8000"))).toBe(-0);
    expect(decodeUntrustedCbor(hex("1b 0020000000000001"))).toBe(9_007_199_254_740_993n);
    expect(decodeUntrustedCbor(hex("3b ffffffffffffffff"))).toBe(-(2n ** 64n));
    expect(decodeUntrustedCbor(hex("3b 001ffffffffffffe"))).toBe(-Number.MAX_SAFE_INTEGER);
    expect(decodeUntrustedCbor(hex("3b 001fffffffffffff"))).toBe(-(2n ** 53n));
    expect(decodeUntrustedCbor(hex("1b 0000000000000001"))).toBe(1);
    expect(decodeUntrustedCbor(hex("5b 0000000000000001 07"))).toEqual(Uint8Array.of(7));
    expect(decodeUntrustedCbor(hex("fa 3fc00000"))).toBe(1.5);
    expect(decodeUntrustedCbor(hex("f9 0001"))).toBe(2 ** -24);
    expect(decodeUntrustedCbor(hex("f9 7bff"))).toBe(65_504);
  });

  test("gate: constructor, prototype, toString and an empty key are plain data", () => {
    const value = JSON.parse('{"constructor":{"prototype":1},"prototype":2,"toString":3,"":4}');
    const decoded = decodeUntrustedCbor(encodeCbor(value)) as Record<string, unknown>;
    expect(Object.entries(decoded)).toEqual(Object.entries(value));
    expect(Object.getPrototypeOf(decoded)).toBe(Object.prototype);
    expect(({} as Record<string, unknown>).prototype).toBeUndefined();
  });

  test.each([
    "c1 1b ffffffffffffffff",
    "c1 3b ffffffffffffffff",
    "c1 1b 000007dba8218001",
    "c1 3b 000007dba8218000",
    "c1 fb 429f6ea086000001",
    "c1 fb c29f6ea086000001",
    "c1 fb 7e37e43c8800759c",
    "c1 fa 54fb7505",
    "c1 fa d4fb7505",
    "c1 fa 7f7fffff",
  ])("gate: the date %s is beyond the calendar", (bytes) => {
    expect(check(hex(bytes))).toBe("date is beyond the calendar");
    expect(check(hex(`82 00 ${bytes}`))).toBe("date is beyond the calendar");
    expect(() => decodeUntrustedCbor(hex(bytes))).toThrow(ProtocolError);
  });

  // Seconds since 1970, in every form of a number.
  test.each<readonly [string, number]>([
    ["c1 00", 0],
    ["c1 17", 23],
    ["c1 18 18", 24],
    ["c1 18 64", 100],
    ["c1 19 0100", 256],
    ["c1 1a ffffffff", 2 ** 32 - 1],
    ["c1 1b 000007dba8218000", 8.64e12],
    ["c1 20", -1],
    ["c1 38 18", -25],
    ["c1 3b 000007dba8217fff", -8.64e12],
    ["c1 f9 3e00", 1.5],
    ["c1 f9 7bff", 65_504],
    ["c1 f9 fbff", -65_504],
    ["c1 fa 3fc00000", 1.5],
    ["c1 fa 54fb7504", 8_639_999_901_696],
    ["c1 fb 429f6ea086000000", 8.64e12],
    ["c1 fb c29f6ea086000000", -8.64e12],
  ])("gate: the date %s is %d seconds", (bytes, seconds) => {
    expect(decodeUntrustedCbor(hex(bytes))).toEqual(new Date(seconds * 1000));
    expect(check(hex(`82 18 ff ${bytes}`))).toBe("");
    expect(check(hex(`82 ${bytes} 00`))).toBe("");
  });

  test.each([
    "a1 69 615f70726f746f5f5f 01",
    "a1 69 5f5f71726f746f5f5f 01",
    "a1 69 5f5f70736f746f5f5f 01",
    "a1 69 5f5f70726f746f5f60 01",
    "a1 68 5f5f70726f746f5f 01",
    "a1 6a 5f5f70726f746f5f5f5f 01",
    "69 5f5f70726f746f5f5f",
    "a1 61 61 69 5f5f70726f746f5f5f",
  ])("gate: %s is not the key __proto__", (bytes) => {
    expect(check(hex(bytes))).toBe("");
  });

  // The edges of RFC 3629, each with the edges of the bytes behind it.
  test("gate: isUtf8 and the runtime agree on every kind of character", () => {
    const strict = new TextDecoder("utf-8", { fatal: true });
    const firsts = [0x7f, 0x80, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef];
    const more = [0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff];
    const seconds = [0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0];
    const ends = [0x41, 0x7f, 0x80, 0xbf, 0xc0];
    const disagreed: string[] = [];
    for (const first of [...firsts, ...more]) {
      for (const second of seconds) {
        for (const third of ends) {
          for (const fourth of ends) {
            const bytes = Uint8Array.of(first, second, third, fourth);
            for (let end = 1; end <= 4; end += 1) {
              const isValid = isUtf8(bytes, 0, end);
              if (isValid !== accepts(strict, bytes.subarray(0, end))) {
                disagreed.push(Buffer.from(bytes.subarray(0, end)).toString("hex"));
              }
            }
          }
        }
      }
    }
    expect(disagreed).toEqual([]);
  });

  test("gate: the first and the last date pass", () => {
    for (const ms of [-8.64e15, 8.64e15]) {
      expect(decodeUntrustedCbor(encodeCbor(new Date(ms)))).toEqual(new Date(ms));
    }
  });
});

describe("values", () => {
  function roundTrip(value: unknown): unknown {
    return decodeCbor(encodeCbor(value));
  }

  // 1001 ms = 1.001 s, and 1.001 * 1000 < 1001: the millisecond was lost.
  test("values: every millisecond of a date comes back", () => {
    for (let ms = -3_000; ms < 3_000; ms += 1) {
      expect((roundTrip(new Date(ms)) as Date).getTime()).toBe(ms);
    }
    for (const ms of [8.64e15, -8.64e15, 1_768_000_000_123, 253_402_300_799_999]) {
      expect((roundTrip(new Date(ms)) as Date).getTime()).toBe(ms);
    }
  });

  // A decoder that takes U+FEFF for a byte order mark gives another text than was stored.
  test("values: a text that begins with U+FEFF keeps it", () => {
    for (const text of ["\ufeff", "\ufeffabc", `\ufeff${"x".repeat(50)}`]) {
      expect(roundTrip(text)).toBe(text);
      expect(roundTrip({ [text]: text })).toEqual({ [text]: text });
    }
  });

  // Short texts were refused and long ones changed: one rule for both.
  test("values: a lone surrogate is refused, in short and long texts and in keys", () => {
    for (const size of [0, 10, 30, 70, 200, 5_000]) {
      const pad = "x".repeat(size);
      for (const text of [`${pad}\ud800`, `\udc00${pad}`, `\udc00\ud800${pad}`]) {
        expect(() => encodeCbor(text)).toThrow("UTF-8");
        expect(() => encodeCbor({ list: [{ text }] })).toThrow("UTF-8");
        expect(() => encodeCbor({ [text]: 1 })).toThrow("UTF-8");
      }
      const whole = `${pad}\ufffd\u{1f980}`;
      expect(roundTrip({ [whole]: whole })).toEqual({ [whole]: whole });
    }
  });

  // It was dropped without a word when another field was undefined.
  test("values: __proto__ is refused also beside an undefined field", () => {
    const value = { a: undefined };
    Object.defineProperty(value, "__proto__", { value: { b: 1 }, enumerable: true });
    expect(() => encodeCbor(value)).toThrow("__proto__");
  });

  test("values: undefined fields are left out, undefined items and holes become null", () => {
    // biome-ignore lint/suspicious/noSparseArray: the hole is the case.
    const value = { a: undefined, b: [undefined, 1], c: { d: undefined }, e: [1, , 2] };
    expect(roundTrip(value)).toEqual({ b: [null, 1], c: {}, e: [1, null, 2] });
    expect(() => encodeCbor(undefined)).toThrow("undefined");
  });

  test("values: -0 is stored as 0, a small bigint comes back as a number", () => {
    expect(Object.is(roundTrip(-0), 0)).toBe(true);
    expect(roundTrip(5n)).toBe(5);
    expect(roundTrip(2n ** 64n - 1n)).toBe(2n ** 64n - 1n);
    expect(roundTrip(-(2n ** 63n))).toBe(-(2n ** 63n));
  });

  test.each([
    ["NaN", Number.NaN],
    ["Infinity", { a: Number.POSITIVE_INFINITY }],
    ["invalid date", new Date(Number.NaN)],
    ["2^64", 2n ** 64n],
    ["Map", new Map([["a", 1]])],
    ["Set", new Set([1])],
    ["RegExp", /a/],
    ["Error", new Error("x")],
    ["function", { a: () => 1 }],
    ["symbol", Symbol("a")],
    ["Float32Array", new Float32Array(1)],
  ])("values: %s is refused, and the encoder works on", (_name, value) => {
    expect(() => encodeCbor(value)).toThrow(/Cannot (store|encode) the value/);
    expect(roundTrip({ ok: [1] })).toEqual({ ok: [1] });
  });

  test("values: cycles and depth are refused, and the encoder works on", () => {
    const cycle: unknown[] = [];
    cycle.push({ cycle });
    expect(() => encodeCbor(cycle)).toThrow("nested too deep");
    let deep: unknown = 1;
    for (let i = 0; i < 65; i += 1) deep = [deep];
    expect(() => encodeCbor(deep)).toThrow("nested too deep");
    expect(roundTrip({ ok: [1] })).toEqual({ ok: [1] });
  });

  test("values: maps with 23, 24, 256, 65,535 and 65,536 fields come back", () => {
    for (const count of [0, 23, 24, 255, 256, 65_535, 65_536]) {
      const value = Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, i]));
      expect(roundTrip(value)).toEqual(value);
    }
  });

  // `slice` of a Buffer is a view: a caller that kept the value would see the next frame in it.
  test("values: decoded bytes are private copies, whatever they are decoded from", () => {
    const source = Buffer.from(encodeCbor({ bytes: Uint8Array.of(1, 2, 3) }));
    const { bytes } = decodeCbor(source) as { bytes: Uint8Array };
    source.fill(0xff);
    expect([...bytes]).toEqual([1, 2, 3]);
    expect(Object.getPrototypeOf(bytes)).toBe(Uint8Array.prototype);
  });
});
