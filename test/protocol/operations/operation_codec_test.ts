/** Operations as bytes, and what is made of bytes that are none. */

import { describe, expect, test } from "bun:test";
import { toHex } from "../../../src/base/bytes.ts";
import { CStoreError, ProtocolError } from "../../../src/base/errors.ts";
import type { PackedOperation } from "../../../src/multi_master/operation/operation.ts";
import { faultOf } from "../../../src/multi_master/operation/operation_check.ts";
import { SeededRandom } from "../../../src/platform/random.ts";
import { encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import {
  encodeOperation,
  OperationDecoder,
  packedOperation,
} from "../../../src/protocol/operations/operation_codec.ts";

const BODY = encodeCbor({ a: 1 });
const KEY = new Uint8Array([1, 2]);
const DOT = { origin: "n2/1", sequence: 4 };
const STAMP = { wallMs: 1_700_000_000_000, count: 3 };
const SEEN = { version: 2, cursor: new Map([["n3/1", 5]]) };

const PLAIN: PackedOperation = {
  ...{ origin: "n1/1", sequence: 7, stamp: STAMP, chain: 0xdeadbeef, version: 9 },
  context: new Map([["n2/1", 4]]),
  changes: [{ collection: 1, key: KEY, content: { kind: "document", body: BODY } }],
};

const RICH: PackedOperation = {
  ...PLAIN,
  request: { session: "s", number: 3, answered: 2, isRepeat: true },
  changes: [
    { collection: 1, key: KEY, content: { kind: "removed" }, seen: SEEN, removals: [DOT] },
    {
      ...{ collection: 4_000_000_000, key: new Uint8Array(1024), isBase: true },
      content: {
        ...{ kind: "document", body: BODY },
        marks: {
          rest: { dot: DOT, stamp: STAMP },
          parts: [{ field: "a", dot: DOT, stamp: STAMP, count: 2 }],
        },
      },
    },
    { collection: 2, key: KEY, packed: { base: 6, size: 9, delta: BODY }, isBase: true },
  ],
};

describe("operation codec", () => {
  test.each([
    ["plain", PLAIN],
    ["with everything", RICH],
  ])("%s: what is read is what was written", (_, operation) => {
    const read = new OperationDecoder().decode(encodeOperation(operation));
    expect(read).toEqual(operation);
    expect(faultOf(read)).toBeUndefined();
  });

  test("the bytes of a plain one stay as they are", () => {
    expect(toHex(encodeOperation(PLAIN))).toBe(
      [
        ...["0100", "04006e312f31", "0700000000000000", "0068e5cf8b010000", "0300", "efbeadde"],
        ...["0900000000000000", "0100", "04006e322f31", "0400000000000000"],
        ...["0100", "00", "01000000", "02000102", "06000000", toHex(BODY)],
      ].join(""),
    );
  });

  test("a packed change leaves without its content", () => {
    const whole = {
      ...RICH,
      changes: [{ ...RICH.changes[2]!, content: { kind: "document", body: BODY } }],
    };
    const read = new OperationDecoder().decode(encodeOperation(whole as PackedOperation));
    expect(read).toEqual(packedOperation(whole as PackedOperation));
    expect(read.changes[0]?.content).toBeUndefined();
  });

  test("operations that follow each other share a context", () => {
    const decoder = new OperationDecoder();
    const [one, two] = [PLAIN, { ...PLAIN, sequence: 8 }].map((operation) =>
      decoder.decode(encodeOperation(operation)),
    );
    const other = decoder.decode(encodeOperation({ ...PLAIN, context: new Map([["n2/1", 5]]) }));
    expect(two?.context).toBe(one?.context as never);
    expect(other.context).not.toBe(one?.context as never);
  });
});

describe("operation codec: bytes that are no operation", () => {
  test("cut anywhere: refused", () => {
    const bytes = encodeOperation(RICH);
    for (let size = 0; size < bytes.byteLength; size += 1) {
      expect(() => new OperationDecoder().decode(bytes.subarray(0, size))).toThrow(ProtocolError);
    }
  });

  test("changed anywhere: refused, or an operation", () => {
    const random = new SeededRandom(3);
    const good = encodeOperation(RICH);
    let refused = 0;
    for (let i = 0; i < 20_000; i += 1) {
      const bytes = good.slice();
      for (let n = random.below(3); n >= 0; n -= 1) {
        bytes[random.below(bytes.byteLength)] = random.below(256);
      }
      try {
        const read = new OperationDecoder().decode(bytes);
        expect(typeof faultOf(read)).not.toBe("object");
      } catch (error) {
        expect(error).toBeInstanceOf(CStoreError);
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(2000);
  });

  test.each([
    ["another format", [2]],
    ["more entries than there is room for", [1, 0, 0, 0, ...Array(30).fill(0), 255, 255]],
  ])("%s", (_, bytes) => {
    expect(() => new OperationDecoder().decode(new Uint8Array(bytes))).toThrow(ProtocolError);
  });
});
