/** Operations that are logged together, as bytes. */

import { expect, test } from "bun:test";
import { toHex } from "../../../src/base/bytes.ts";
import { ProtocolError } from "../../../src/base/errors.ts";
import { SeededRandom } from "../../../src/platform/random.ts";
import {
  decodeOperationBatch,
  encodeOperationBatch,
} from "../../../src/protocol/operations/operation_batch.ts";
import { encodeOperation } from "../../../src/protocol/operations/operation_codec.ts";

const OPERATION = {
  ...{ origin: "n1/1", sequence: 1, stamp: { wallMs: 5, count: 0 }, chain: 9, version: 4 },
  context: new Map<string, number>(),
  changes: [{ collection: 1, key: new Uint8Array([7]), content: { kind: "removed" } }],
} as const;
const ALL = [OPERATION, { ...OPERATION, sequence: 2 }];

test("operation batch: what is read is what was written", () => {
  expect(decodeOperationBatch(encodeOperationBatch(ALL.map(encodeOperation)))).toEqual(ALL);
  expect(decodeOperationBatch(encodeOperationBatch([]))).toEqual([]);
});

test("operation batch: the bytes of an empty one stay as they are", () => {
  expect(toHex(encodeOperationBatch([]))).toBe("0100000069d9d60800000000");
});

test("operation batch: cut or changed anywhere it is refused", () => {
  const good = encodeOperationBatch(ALL.map(encodeOperation));
  for (let size = 0; size < good.byteLength; size += 1) {
    expect(() => decodeOperationBatch(good.subarray(0, size))).toThrow(ProtocolError);
  }
  const random = new SeededRandom(3);
  for (let i = 0; i < 2000; i += 1) {
    const bytes = good.slice();
    bytes[random.below(bytes.byteLength)]! ^= 1 + random.below(255);
    expect(() => decodeOperationBatch(bytes)).toThrow(ProtocolError);
  }
});
