/** Messages between nodes that all take writes, as bytes. */

import { describe, expect, test } from "bun:test";
import { toHex } from "../../../src/base/bytes.ts";
import { CStoreError, ProtocolError } from "../../../src/base/errors.ts";
import type { MultiMasterMessage } from "../../../src/multi_master/message.ts";
import { SeededRandom } from "../../../src/platform/random.ts";
import { encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import {
  decodeMultiMasterMessage,
  encodeMultiMasterMessage,
  isMultiMasterMessage,
} from "../../../src/protocol/wire/multi_master_message.ts";

const ENVELOPE = { from: "n1", to: "n2", origin: "n1/3", version: 4 };
const OPERATION = {
  ...{ origin: "n1/3", sequence: 1, stamp: { wallMs: 5, count: 0 }, chain: 9, version: 4 },
  context: new Map<string, number>(),
  changes: [
    {
      ...{ collection: 1, key: new Uint8Array([7]) },
      content: { kind: "document", body: encodeCbor({ n: 1 }) },
    },
  ],
} as const;

const MESSAGES: readonly MultiMasterMessage[] = [
  { ...ENVELOPE, type: "OPERATIONS", operations: [] },
  { ...ENVELOPE, type: "OPERATIONS", operations: [OPERATION, { ...OPERATION, sequence: 2 }] },
  {
    ...{ ...ENVELOPE, type: "CURSOR", isPull: true, round: 3, wallMs: 1_700_000_000_000 },
    cursor: new Map([
      ["n1/3", 7],
      ["n2/1", 8],
    ]),
    chains: new Map([["n1/3", 0xffff_ffff]]),
  },
  {
    ...{ ...ENVELOPE, type: "CURSOR", isPull: false, round: 0, wallMs: 0 },
    ...{ cursor: new Map(), chains: new Map() },
  },
  { ...ENVELOPE, type: "RESEED", reason: "forked", incarnation: "n2/1" },
];

describe("multi-master messages", () => {
  test.each(MESSAGES.map((message) => [message.type, message] as const))(
    "%s: what is read is what was written",
    (_, message) => {
      const body = encodeMultiMasterMessage(message);
      expect(isMultiMasterMessage(body)).toBe(true);
      expect(decodeMultiMasterMessage(body, { from: "n1", to: "n2" })).toEqual(message);
    },
  );

  test("the bytes of a request to begin again stay as they are", () => {
    const body = encodeMultiMasterMessage(MESSAGES[4]!);
    expect(toHex(body)).toBe("220004006e312f3304000000000000000204006e322f31");
  });

  test("operations that were encoded before are sent as they are", () => {
    const known = new Uint8Array(60);
    const body = encodeMultiMasterMessage(MESSAGES[1]!, () => known);
    expect(body.byteLength).toBeGreaterThan(2 * known.byteLength);
    expect(() => decodeMultiMasterMessage(body, { from: "n1", to: "n2" })).toThrow("format 0");
  });
});

describe("multi-master messages: bytes that are none", () => {
  const read = (body: Uint8Array) => decodeMultiMasterMessage(body, { from: "n1", to: "n2" });

  test("cut anywhere: refused", () => {
    for (const message of MESSAGES) {
      const body = encodeMultiMasterMessage(message);
      for (let size = 0; size < body.byteLength; size += 1) {
        expect(() => read(body.subarray(0, size))).toThrow(ProtocolError);
      }
    }
  });

  test("changed anywhere: refused, or a message", () => {
    const random = new SeededRandom(5);
    let refused = 0;
    for (let i = 0; i < 10_000; i += 1) {
      const body = encodeMultiMasterMessage(MESSAGES[i % MESSAGES.length]!);
      body[random.below(body.byteLength)] = random.below(256);
      try {
        expect(read(body).from).toBe("n1");
      } catch (error) {
        expect(error).toBeInstanceOf(CStoreError);
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(1000);
  });

  test.each([
    ["an unknown type", "230004006e312f33040000000000000000"],
    ["unknown flags", "220104006e312f3304000000000000000204006e322f31"],
    ["an unknown reason", "220004006e312f3304000000000000000904006e322f31"],
    ["bytes behind its end", "220004006e312f3304000000000000000204006e322f3100"],
    ["more operations than there is room for", "200004006e312f330400000000000000ffffffff"],
  ])("%s", (_, hex) => {
    expect(() => read(new Uint8Array(Buffer.from(hex, "hex")))).toThrow(ProtocolError);
  });
});
