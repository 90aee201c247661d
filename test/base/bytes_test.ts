/**
 * Bytes: integers that are exact or refused, and no read or write outside of the range.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import {
  ByteReader,
  ByteWriter,
  encodeText,
  equalBytes,
  plainBytes,
  readU64,
  toHex,
  viewOf,
  writeU64,
} from "../../src/base/bytes.ts";
import { ProtocolError } from "../../src/base/errors.ts";

describe("64 bits", () => {
  const bytes = new Uint8Array(24);
  const view = viewOf(bytes.subarray(5, 21));

  test.each([0, 1, 255, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 52, Number.MAX_SAFE_INTEGER])(
    "u64: %i comes back",
    (value) => {
      writeU64(view, 3, value);
      expect(readU64(view, 3)).toBe(value);
      expect(viewOf(bytes).getBigUint64(8, true)).toBe(BigInt(value));
    },
  );

  // Mutation that this finds: a bound one too high. 2^53 would be rounded without a word.
  test.each([2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n])(
    "u64: %p is refused",
    (value) => {
      view.setBigUint64(0, value, true);
      expect(readU64(view, 0)).toBeNaN();
      expect(() => new ByteReader(bytes, 5).u64()).toThrow(ProtocolError);
    },
  );

  test.each([-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY])(
    "u64: %p is not written",
    (value) => {
      expect(() => writeU64(view, 0, value)).toThrow("unsigned safe integer");
    },
  );
});

describe("reader and writer", () => {
  test("all types come back in order, through growth", () => {
    const writer = new ByteWriter(1);
    writer
      .u8(255)
      .u16(65_535)
      .u32(2 ** 32 - 1)
      .u64(2 ** 53 - 1)
      .f64(-0.1);
    writer
      .text("ä\ufeff\u{1f980}")
      .text("\ufeff")
      .text("")
      .raw(Uint8Array.of(1, 2, 3));
    const reader = new ByteReader(writer.copy());
    expect([reader.u8(), reader.u16(), reader.u32()]).toEqual([255, 65_535, 2 ** 32 - 1]);
    expect([reader.u64(), reader.f64()]).toEqual([2 ** 53 - 1, -0.1]);
    // U+FEFF is a character like others: a reader that takes it for a mark loses it.
    expect([reader.text(), reader.text(), reader.text()]).toEqual([
      "ä\ufeff\u{1f980}",
      "\ufeff",
      "",
    ]);
    expect(reader.take(3)).toEqual(Uint8Array.of(1, 2, 3));
    expect([reader.remaining, reader.offset]).toEqual([0, writer.size]);
    reader.end();
  });

  test("a read past the end is refused, and moves nothing", () => {
    for (const read of ["u8", "u16", "u32", "u64", "f64", "text"] as const) {
      const size = { u8: 1, u16: 2, u32: 4, u64: 8, f64: 8, text: 2 }[read];
      for (let room = 0; room < size; room += 1) {
        const reader = new ByteReader(new Uint8Array(room + 3), 3);
        expect(() => reader[read]()).toThrow(ProtocolError);
        expect(reader.remaining).toBe(room);
      }
    }
    expect(() => new ByteReader(new Uint8Array(3)).take(4)).toThrow(ProtocolError);
    expect(() => new ByteReader(new Uint8Array(3)).take(2 ** 32)).toThrow(ProtocolError);
  });

  test("a text that is cut or not UTF-8 is refused", () => {
    for (const raw of [
      [2, 0, 0x61],
      [1, 0, 0xff],
      [3, 0, 0xed, 0xa0, 0x80],
      [255, 255],
    ]) {
      expect(() => new ByteReader(Uint8Array.from(raw)).text()).toThrow(ProtocolError);
    }
  });

  test("bytes that nobody asked for are refused", () => {
    const reader = new ByteReader(new Uint8Array(2));
    reader.u8();
    expect(() => reader.end()).toThrow("1 bytes follow");
  });

  test("a range of a larger buffer is not left", () => {
    const whole = Uint8Array.of(9, 1, 2, 9);
    const reader = new ByteReader(whole.subarray(1, 3));
    expect(reader.u16()).toBe(0x0201);
    expect(() => reader.u8()).toThrow(ProtocolError);
  });

  test("patches, copies and rewinds", () => {
    const writer = new ByteWriter(4).u32(1).u32(2);
    writer.patchU32(4, 7);
    expect(() => writer.patchU32(5, 7)).toThrow("only what was written");
    const copy = writer.copy();
    writer.rewind(4);
    expect(writer.written()).toEqual(Uint8Array.of(1, 0, 0, 0));
    expect(() => writer.rewind(5)).toThrow("goes back only");
    expect(copy).toEqual(Uint8Array.of(1, 0, 0, 0, 7, 0, 0, 0));
    expect(new ByteWriter(0).u64(3).written()).toHaveLength(8);
    expect(() => writer.text("x".repeat(65_536))).toThrow("shorter than 64 KiB");
  });
});

describe("small tools", () => {
  test("equalBytes compares content and length", () => {
    expect(equalBytes(Uint8Array.of(1, 2), Buffer.from([1, 2]))).toBe(true);
    expect(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 3))).toBe(false);
    expect(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 2, 0))).toBe(false);
    expect(toHex(Uint8Array.of(0, 15, 255))).toBe("000fff");
    expect(encodeText("ä")).toEqual(Uint8Array.of(0xc3, 0xa4));
  });

  test("plainBytes: the same bytes, but `slice` copies", () => {
    const buffer = Buffer.from([1, 2, 3]).subarray(1);
    const plain = plainBytes(buffer);
    expect([...plain]).toEqual([2, 3]);
    plain.slice()[0] = 9;
    expect(buffer[0]).toBe(2);
    plain[0] = 9;
    expect(buffer[0]).toBe(9);
    expect(plainBytes(plain)).toBe(plain);
  });
});
