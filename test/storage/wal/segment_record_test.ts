/**
 * Records and segment headers as bytes: what verifies, and what does not.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { checksum32 } from "../../../src/protocol/encoding/checksum.ts";
import {
  chainValue,
  type NewRecord,
  RECORD_HEADER_SIZE,
  RECORD_KINDS,
  readRecordHeader,
  recordBodyMatches,
  recordSize,
  writeRecord,
} from "../../../src/storage/wal/segment_record.ts";

const SALT = 0x1122334455667788n;
const FIELDS: NewRecord = {
  kind: "BATCH",
  number: 7,
  previousChain: 0xffee_ddcc_bbaa_9988n,
  syncedThrough: 5,
  commitIndex: 3,
};

function written(body: Uint8Array, fields: NewRecord = FIELDS, salt = SALT): Uint8Array {
  const bytes = new Uint8Array(recordSize(body.byteLength));
  writeRecord(bytes, 0, { fields, body, salt });
  return bytes;
}

describe("a record", () => {
  test("comes back with all its fields", () => {
    const number = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER - 1 });
    const property = fc.property(
      fc.constantFrom(...RECORD_KINDS.slice(1)),
      fc.tuple(number, number, number),
      fc.tuple(fc.bigInt(0n, 2n ** 64n - 1n), fc.bigInt(0n, 2n ** 64n - 1n), fc.uint8Array()),
      (kind, [own, synced, commitIndex], [previousChain, salt, body]) => {
        const syncedThrough = Math.min(own, synced);
        const fields = {
          kind: kind as NewRecord["kind"],
          number: own + 1,
          previousChain,
          syncedThrough,
          commitIndex,
        };
        const bytes = written(body, fields, salt);
        const header = readRecordHeader(bytes, 0, salt);
        const stream = kind === "OPERATIONS" ? 1 : 0;
        expect(header).toMatchObject({ ...fields, stream, bodySize: body.byteLength });
        expect(recordBodyMatches(body, header!, salt)).toBe(true);
        expect(bytes.byteLength % RECORD_HEADER_SIZE).toBe(0);
      },
    );
    fc.assert(property, { numRuns: 300, seed: 1 });
  });

  test.each([
    [0, 64],
    [1, 128],
    [64, 128],
    [65, 192],
  ])("a body of %i bytes takes %i", (body, size) => {
    expect(recordSize(body)).toBe(size);
  });

  // [skip header checksum]
  test("no bit of the header may change", () => {
    const bytes = written(new Uint8Array([1, 2, 3]));
    for (let bit = 0; bit < RECORD_HEADER_SIZE * 8; bit += 1) {
      const copy = bytes.slice();
      copy[bit >> 3]! ^= 1 << (bit & 7);
      expect(readRecordHeader(copy, 0, SALT)).toBeUndefined();
    }
  });

  // [skip body checksum]
  test("no bit of the body may change", () => {
    const body = new Uint8Array([1, 2, 3]);
    const header = readRecordHeader(written(body), 0, SALT)!;
    for (let bit = 0; bit < body.byteLength * 8; bit += 1) {
      const copy = body.slice();
      copy[bit >> 3]! ^= 1 << (bit & 7);
      expect(recordBodyMatches(copy, header, SALT)).toBe(false);
    }
  });

  test("bytes of another segment do not verify", () => {
    const body = new Uint8Array([1]);
    const bytes = written(body);
    expect(readRecordHeader(bytes, 0, SALT + 1n)).toBeUndefined();
    // The header's checksum takes 32 bits of the salt, the body's all 64.
    const high = SALT ^ (1n << 63n);
    expect(readRecordHeader(bytes, 0, high)).toBeDefined();
    expect(recordBodyMatches(body, readRecordHeader(bytes, 0, high)!, high)).toBe(false);
  });

  test("the chain covers the header, and through it the body and what was before", () => {
    const chains = [
      written(new Uint8Array([1])),
      written(new Uint8Array([2])),
      written(new Uint8Array([1]), { ...FIELDS, previousChain: 1n }),
      written(new Uint8Array([1]), { ...FIELDS, number: 8 }),
      written(new Uint8Array([1]), { ...FIELDS, commitIndex: 4 }),
    ].map((bytes) => chainValue(bytes, 0, SALT));
    expect(new Set(chains).size).toBe(chains.length);
    const target = new Uint8Array(128);
    const body = new Uint8Array([1]);
    expect(writeRecord(target, 0, { fields: FIELDS, body, salt: SALT })).toBe(chains[0]!);
  });

  test("an unknown kind, zeros and a cut header are no records", () => {
    expect(readRecordHeader(new Uint8Array(64), 0, SALT)).toBeUndefined();
    expect(readRecordHeader(written(new Uint8Array(1)).subarray(0, 63), 0, SALT)).toBeUndefined();
    const none = { ...FIELDS, kind: "NONE" as NewRecord["kind"] };
    expect(readRecordHeader(written(new Uint8Array(1), none), 0, SALT)).toBeUndefined();
  });

  // History: such a number was read as NaN, and a watermark of NaN lets no damage be seen.
  test("a number that no writer puts there is no record's", () => {
    for (const [at, field] of [
      [8, "number"],
      [40, "syncedThrough"],
      [48, "commitIndex"],
    ] as const) {
      const bytes = written(new Uint8Array(1));
      const view = new DataView(bytes.buffer);
      const patch = (value: bigint): void => {
        view.setBigUint64(at, value, true);
        view.setUint32(0, checksum32(bytes.subarray(4, 64), Number(SALT & 0xffff_ffffn)), true);
      };
      patch(2n ** 53n - 1n);
      expect(readRecordHeader(bytes, 0, SALT)?.[field]).toBe(Number.MAX_SAFE_INTEGER);
      patch(2n ** 53n);
      expect(readRecordHeader(bytes, 0, SALT)).toBeUndefined();
    }
  });

  test("stands anywhere in its bytes, up to their end", () => {
    const record = written(new Uint8Array([5]));
    const bytes = new Uint8Array(192);
    bytes.set(record, 64);
    expect(readRecordHeader(bytes, 64, SALT)).toEqual(readRecordHeader(record, 0, SALT));
    expect(readRecordHeader(bytes.subarray(0, 128), 64, SALT)).toBeDefined();
    expect(readRecordHeader(bytes.subarray(0, 127), 64, SALT)).toBeUndefined();
    expect(chainValue(bytes, 64, SALT)).toBe(chainValue(record, 0, SALT));
    const target = new Uint8Array(192);
    const chain = writeRecord(target, 64, {
      fields: FIELDS,
      body: new Uint8Array([5]),
      salt: SALT,
    });
    expect([target, chain]).toEqual([bytes, chainValue(record, 0, SALT)]);
    expect([target[127], target[128], target[129]]).toEqual([0, 5, 0]);
  });

  test("must lie inside the bytes that it is written into", () => {
    const record = { fields: FIELDS, body: new Uint8Array(10), salt: SALT };
    for (const size of [64 + 64 + 9, 64 + 9]) {
      const at = size - 64 - 9;
      expect(() => writeRecord(new Uint8Array(size), at, record)).toThrow(
        "the record lies inside the target",
      );
      expect(writeRecord(new Uint8Array(size + 1), at, record)).toBeTypeOf("bigint");
    }
  });

  test("a header without the magic is none, whatever its checksum", () => {
    for (const at of [4, 5]) {
      const bytes = written(new Uint8Array(1));
      bytes[at]! ^= 1;
      const checksum = checksum32(bytes.subarray(4, 64), Number(SALT & 0xffff_ffffn));
      new DataView(bytes.buffer).setUint32(0, checksum, true);
      expect(readRecordHeader(bytes, 0, SALT)).toBeUndefined();
    }
  });
});
