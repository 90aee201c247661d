/**
 * Batches: sealed once, verified everywhere; wrong sizes of compressed bodies are refused.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { deflateRawSync, zstdCompressSync } from "node:zlib";
import { viewOf, writeU64 } from "../../../src/base/bytes.ts";
import { ProtocolError } from "../../../src/base/errors.ts";
import { BATCH_BODY_SIZE_MAX, COMPRESSION_SIZE_MIN } from "../../../src/base/limits.ts";
import { zlibCompressor } from "../../../src/platform/compression.ts";
import {
  BATCH_HEADER_SIZE,
  type BatchCodec,
  batchCommands,
  batchSizeAt,
  decodeBatchHeader,
  isCompressed,
  prepareBatch,
  sealBatch,
  verifyBatch,
} from "../../../src/protocol/encoding/batch_codec.ts";
import { checksum32, checksum64 } from "../../../src/protocol/encoding/checksum.ts";
import { fuzzRandom, mutate, rounds, seeded } from "../fuzz_seed.ts";

const PLACE = { term: 3, index: 9, firstSequence: 40 };
const PACKED = ["zstd", "deflate-raw"] as const;

function bodyOf(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (i * i) % 7);
}

function seal(body: Uint8Array, codec: BatchCodec): Uint8Array {
  const bytes = new Uint8Array(BATCH_HEADER_SIZE + body.byteLength);
  bytes.set(body, BATCH_HEADER_SIZE);
  const compression = { codec, compressor: zlibCompressor };
  return sealBatch(prepareBatch(bytes, { count: 2, timeMs: 1_234 }, compression), PLACE);
}

/** A batch whose header claims `rawSize`, with both checksums right: only the body contradicts it. */
function forge(codec: BatchCodec, stored: Uint8Array, rawSize: number): Uint8Array {
  const bytes = new Uint8Array(BATCH_HEADER_SIZE + stored.byteLength);
  bytes.set(stored, BATCH_HEADER_SIZE);
  const bodyChecksum = checksum64(stored);
  return sealBatch({ bytes, codec, rawSize, count: 1, timeMs: 0, bodyChecksum }, PLACE);
}

/** Verifies, then unpacks. */
function open(bytes: Uint8Array): Uint8Array {
  return batchCommands(bytes, verifyBatch(bytes), zlibCompressor);
}

describe("whole batches", () => {
  test.each(["none", ...PACKED] as const)("batch: %s gives the same commands back", (codec) => {
    for (const size of [0, 1, COMPRESSION_SIZE_MIN - 1, COMPRESSION_SIZE_MIN, 100_000]) {
      const bytes = seal(bodyOf(size), codec);
      const header = verifyBatch(bytes);
      const isPacked = codec !== "none" && size >= COMPRESSION_SIZE_MIN;
      expect(header).toMatchObject({ ...PLACE, count: 2, timeMs: 1_234, rawSize: size });
      expect(header.codec).toBe(isPacked ? codec : "none");
      if (isPacked) expect(header.storedSize).toBeLessThan(size);
      expect(open(bytes)).toEqual(bodyOf(size));
      expect(Object.getPrototypeOf(open(Buffer.from(bytes)))).toBe(Uint8Array.prototype);
    }
  });

  test("batch: bytes that do not shrink are stored as they are", () => {
    const random = fuzzRandom();
    const noise = Uint8Array.from({ length: 8_192 }, () => random.below(256));
    for (const codec of PACKED) {
      const bytes = seal(noise, codec);
      expect(verifyBatch(bytes)).toMatchObject({ codec: "none", storedSize: 8_192 });
      expect(open(bytes)).toEqual(noise);
    }
  });
});

describe("headers", () => {
  const BYTES = [
    "4342 01 00 03000000 03000000",
    "0300000000000000 0900000000000000 2800000000000000",
    "02000000 00000000 d204000000000000",
  ];

  test("batch: the fields stand where the table says", () => {
    const bytes = seal(bodyOf(3), "none");
    const hex = Buffer.from(bytes.subarray(4, 56)).toString("hex");
    expect(hex).toBe(BYTES.join("").replaceAll(" ", ""));
    const view = viewOf(bytes);
    expect(view.getUint32(0, true)).toBe(checksum32(bytes.slice(4, BATCH_HEADER_SIZE)));
    expect(view.getBigUint64(56, true)).toBe(checksum64(bodyOf(3)));
    expect(bytes.subarray(BATCH_HEADER_SIZE)).toEqual(bodyOf(3));
  });

  test("batch: every field comes back", () => {
    const bodyChecksum = checksum64(bodyOf(3));
    const sizes = { codec: "none", rawSize: 3, storedSize: 3 } as const;
    const header = { ...PLACE, ...sizes, count: 2, timeMs: 1_234, bodyChecksum };
    expect(decodeBatchHeader(seal(bodyOf(3), "none"))).toEqual(header);
  });

  test("batch: its size is in its header, also when it follows others", () => {
    const bytes = seal(bodyOf(100), "none");
    expect(batchSizeAt(bytes, 0)).toBe(BATCH_HEADER_SIZE + 100);
    const behind = new Uint8Array([...new Uint8Array(7).fill(0xee), ...bytes]);
    expect(batchSizeAt(behind, 7)).toBe(BATCH_HEADER_SIZE + 100);
    expect(batchSizeAt(behind.subarray(0, 7 + BATCH_HEADER_SIZE), 7)).toBe(BATCH_HEADER_SIZE + 100);
    for (const end of [7, 8, 7 + BATCH_HEADER_SIZE - 1]) {
      expect(batchSizeAt(behind.subarray(0, end), 7)).toBe(BATCH_HEADER_SIZE);
    }
  });

  test.each(["none", ...PACKED] as const)(
    "batch: %s, the header says whether it is compressed",
    (codec) => {
      expect(isCompressed(seal(bodyOf(5_000), codec))).toBe(codec !== "none");
    },
  );

  // A compressor need not know bodies that are stored as they are.
  test("batch: a body that is stored as it is needs no compressor", () => {
    const none = {
      compress: () => undefined,
      decompress: (): Uint8Array => {
        throw new RangeError("it is not compressed");
      },
    };
    const bytes = seal(bodyOf(100), "none");
    expect(batchCommands(bytes, verifyBatch(bytes), none)).toEqual(bodyOf(100));
  });

  test("batch: a body of the largest size is prepared and read", () => {
    const bytes = seal(new Uint8Array(BATCH_BODY_SIZE_MAX), "none");
    expect(verifyBatch(bytes)).toMatchObject({ rawSize: BATCH_BODY_SIZE_MAX });
    expect(() => seal(new Uint8Array(BATCH_BODY_SIZE_MAX + 1), "none")).toThrow("batch body");
  });

  test("batch: fewer bytes than a header are refused by number", () => {
    expect(() => decodeBatchHeader(new Uint8Array(63))).toThrow(
      new ProtocolError("Cannot read batch: 63 bytes are less than its header"),
    );
  });
});

describe("T37: damage", () => {
  // Mutations that this finds: either checksum that is not compared.
  test.each(["none", ...PACKED] as const)(
    "batch: %s, one flipped bit in any byte is refused",
    (codec) => {
      const bytes = seal(bodyOf(5_000), codec);
      for (let at = 0; at < bytes.byteLength; at += 1) {
        const damaged = bytes.slice();
        damaged[at]! ^= 1 << (at % 8);
        expect(() => verifyBatch(damaged)).toThrow(ProtocolError);
      }
    },
  );

  test("batch: every cut and every byte too many is refused", () => {
    const bytes = seal(bodyOf(100), "none");
    for (let end = 0; end < bytes.byteLength; end += 1) {
      expect(() => verifyBatch(bytes.subarray(0, end))).toThrow(ProtocolError);
    }
    expect(() => verifyBatch(new Uint8Array([...bytes, 0]))).toThrow("were declared");
  });

  const RANGE = "Cannot read batch: a number in its header is out of range";
  test.each<readonly [string, (view: DataView) => void, string]>([
    ["another magic", (view) => view.setUint16(4, 0x5343, true), "format 1 is unknown"],
    ["another format", (view) => view.setUint8(6, 2), "format 2 is unknown"],
    ["an unknown codec", (view) => view.setUint8(7, 3), "codec 3 is unknown"],
    [
      "a raw size above the bound",
      (view) => view.setUint32(8, BATCH_BODY_SIZE_MAX + 1, true),
      RANGE,
    ],
    ["a raw size of 2^32 - 1", (view) => view.setUint32(8, 0xffff_ffff, true), RANGE],
    ["a raw size that differs", (view) => view.setUint32(8, 101, true), RANGE],
    ["a stored size that is smaller", (view) => view.setUint32(12, 99, true), RANGE],
    ["a stored size that is larger", (view) => view.setUint32(12, 101, true), RANGE],
    ["a term above 2^53", (view) => view.setUint32(20, 0x20_0000, true), "above 2^53 - 1"],
    ["an index above 2^53", (view) => view.setUint32(28, 0xffff_ffff, true), "above 2^53 - 1"],
    ["a sequence above 2^53", (view) => view.setUint32(36, 0x20_0000, true), "above 2^53 - 1"],
    ["a time above 2^53", (view) => view.setUint32(52, 0x20_0000, true), "above 2^53 - 1"],
    ["the largest term", (view) => writeU64(view, 16, Number.MAX_SAFE_INTEGER), RANGE],
    ["the largest index", (view) => writeU64(view, 24, Number.MAX_SAFE_INTEGER), RANGE],
    ["the largest sequence", (view) => writeU64(view, 32, Number.MAX_SAFE_INTEGER), RANGE],
    ["the largest time", (view) => writeU64(view, 48, Number.MAX_SAFE_INTEGER), RANGE],
    ["no operations", (view) => view.setUint32(40, 0, true), RANGE],
    ["reserved bytes", (view) => view.setUint32(44, 1, true), "codec 0 is unknown"],
  ])("batch: %s is refused though the checksum is right", (_name, change, message) => {
    const bytes = seal(bodyOf(100), "none");
    change(viewOf(bytes));
    viewOf(bytes).setUint32(0, checksum32(bytes.subarray(4, BATCH_HEADER_SIZE)), true);
    expect(() => decodeBatchHeader(bytes)).toThrow(ProtocolError);
    expect(() => decodeBatchHeader(bytes)).toThrow(message);
  });

  test(seeded("batch: mutations give ProtocolError and nothing else"), () => {
    const random = fuzzRandom();
    const samples = (["none", ...PACKED] as const).map((codec) => seal(bodyOf(4_200), codec));
    for (let i = 0; i < rounds(3_000); i += 1) {
      const sample = samples[i % samples.length]!;
      const damaged = mutate(random, sample);
      if (Buffer.compare(damaged, sample) === 0) continue;
      expect(() => verifyBatch(damaged)).toThrow(ProtocolError);
    }
  });
});

describe("wrong claims about the body", () => {
  const raw = bodyOf(100_000);
  const pack = {
    zstd: (bytes: Uint8Array): Uint8Array => zstdCompressSync(bytes),
    "deflate-raw": (bytes: Uint8Array): Uint8Array => deflateRawSync(bytes),
  };

  test.each(PACKED)("%s: the raw size is exact", (codec) => {
    const stored = pack[codec](raw);
    expect(open(forge(codec, stored, raw.byteLength))).toEqual(raw);
    for (const rawSize of [stored.byteLength, 50_000, 99_999, 100_001, BATCH_BODY_SIZE_MAX]) {
      expect(() => open(forge(codec, stored, rawSize))).toThrow(ProtocolError);
    }
  });

  // zstd gives short output for truncated input without an error. Mutation that this finds: a
  // result whose size is not compared.
  test.each(PACKED)(
    "%s: a body cut at any byte is refused, or gives all of the raw body",
    (codec) => {
      const stored = pack[codec](raw);
      for (let end = 0; end < stored.byteLength; end += 1) {
        let opened: Uint8Array;
        try {
          opened = open(forge(codec, stored.subarray(0, end), raw.byteLength));
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
          continue;
        }
        // The part that is cut off may be an end mark without content: then the body is complete.
        expect(Buffer.compare(opened, raw)).toBe(0);
      }
    },
  );

  test.each(PACKED)("%s: a bomb is stopped at the declared size", (codec) => {
    const bomb = pack[codec](new Uint8Array(64 * 1024 * 1024));
    const before = process.cpuUsage();
    for (const rawSize of [bomb.byteLength, BATCH_BODY_SIZE_MAX]) {
      expect(() => open(forge(codec, bomb, rawSize))).toThrow(ProtocolError);
    }
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1000).toBeLessThan(1_000);
  });

  test.each(PACKED)("%s: noise, and the other codec's bytes, are refused", (codec) => {
    const other = pack[codec === "zstd" ? "deflate-raw" : "zstd"](raw);
    expect(() => open(forge(codec, other, raw.byteLength))).toThrow(ProtocolError);
    expect(() => open(forge(codec, new Uint8Array(50).fill(0xff), 1_000))).toThrow(ProtocolError);
    expect(() => open(forge(codec, new Uint8Array(0), 1_000))).toThrow(ProtocolError);
  });

  test("zstd: a frame that claims 2^40 bytes is refused at once", () => {
    const claims = Buffer.from("28b52ffdc00000000000010000000000010000", "hex");
    expect(() => open(forge("zstd", claims, 1_000_000))).toThrow(ProtocolError);
  });

  // Mutation that this finds: a declared size that is not bounded before room is taken for it.
  test.each([BATCH_BODY_SIZE_MAX + 1, 2 ** 31, 2 ** 32 - 1])(
    "a raw size of %i is refused by its header",
    (size) => {
      expect(() => open(forge("zstd", pack.zstd(raw), size))).toThrow("out of range");
    },
  );

  test("a compressed body larger than the raw one is refused by its header", () => {
    expect(() => open(forge("zstd", pack.zstd(raw), 10))).toThrow("out of range");
  });
});
