/**
 * Checksums: the digests that xxHash publishes, and one digest whatever the pieces are.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { encodeText } from "../../../src/base/bytes.ts";
import { checksum32, checksum64 } from "../../../src/protocol/encoding/checksum.ts";

/** Ranges above this size are hashed in pieces of it. */
const PIECE_SIZE = 1024 * 1024;

function bytesOf(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >> 8)) & 0xff);
}

describe("checksums", () => {
  // The digests of xxHash's own documentation. A change of seed or algorithm breaks every file.
  test.each<readonly [string, number, number, bigint]>([
    ["", 0, 0x02cc5d05, 0xef46db3751d8e999n],
    ["", 1, 0x0b2cb792, 0xd5afba1336a3be4bn],
    ["abc", 0, 0x32d153ff, 0x44bc2cf5ad770999n],
  ])("%j with seed %d", (...[text, seed, small, large]) => {
    expect(checksum32(encodeText(text), seed)).toBe(small);
    expect(checksum64(encodeText(text), BigInt(seed))).toBe(large);
  });

  test("the seed is 0 unless it is given", () => {
    const bytes = bytesOf(100);
    expect(checksum32(bytes)).toBe(checksum32(bytes, 0));
    expect(checksum64(bytes)).toBe(checksum64(bytes, 0n));
    const large = bytesOf(PIECE_SIZE + 1);
    expect(checksum64(large)).toBe(checksum64(large, 0n));
  });

  test("a digest of 32 bits is unsigned", () => {
    const digests = Array.from({ length: 64 }, (_, size) => checksum32(bytesOf(size)));
    expect(digests).toEqual(
      Array.from({ length: 64 }, (_, size) => Bun.hash.xxHash32(bytesOf(size))),
    );
    expect(digests.some((digest) => digest > 0x7fff_ffff)).toBe(true);
  });

  // Mutation that this finds: a piece that is left out or hashed twice.
  test.each([PIECE_SIZE - 1, PIECE_SIZE, PIECE_SIZE + 1, 2 * PIECE_SIZE, 2 * PIECE_SIZE + 77])(
    "%d bytes have the digest of the whole",
    (size) => {
      const bytes = bytesOf(size);
      expect(checksum64(bytes)).toBe(Bun.hash.xxHash64(bytes));
      expect(checksum64(bytes, 7n)).toBe(Bun.hash.xxHash64(bytes, 7n));
    },
  );
});
