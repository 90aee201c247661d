/**
 * Commands from clients: those that pass the check can be walked and applied.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ByteWriter, encodeText, viewOf } from "../../../src/base/bytes.ts";
import { ValidationError } from "../../../src/base/errors.ts";
import {
  BATCH_BODY_SIZE_MAX,
  COLLECTION_NAME_SIZE_MAX,
  DOCUMENT_SIZE_MAX,
  KEY_SIZE_MAX,
  OPERATIONS_PER_REQUEST_MAX,
} from "../../../src/base/limits.ts";
import { DocumentStateMachine } from "../../../src/database/document_state_machine.ts";
import { zlibCompressor } from "../../../src/platform/compression.ts";
import {
  BATCH_HEADER_SIZE,
  prepareBatch,
  sealBatch,
} from "../../../src/protocol/encoding/batch_codec.ts";
import { encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import { checkCbor } from "../../../src/protocol/encoding/cbor_gate.ts";
import {
  beginCommand,
  COMMAND_HEADER_SIZE,
  COMMAND_KINDS,
  checkClientCommand,
  type DocumentOperation,
  encodeCollectionName,
  endCommand,
  NO_SESSION,
  OperationCursor,
  readCommandHeader,
  writeDocumentsCommand,
} from "../../../src/protocol/encoding/command.ts";
import { checkKey, encodeKey } from "../../../src/protocol/encoding/document_key.ts";
import { NO_RESULTS } from "../../../src/raft/state_machine.ts";
import { fuzzRandom, mutate, rounds, seeded } from "../fuzz_seed.ts";

const IDENTITY = { sessionId: 5, requestNumber: 6, acknowledgedBelow: 4 };
const DOCUMENT = encodeCbor({ id: "a", list: [1, 2.5, null], inner: { when: new Date(1_001) } });
const NO_BYTES = new Uint8Array(0);

const OPERATIONS: readonly DocumentOperation[] = [
  { kind: "INSERT", key: encodeKey("a"), document: DOCUMENT },
  { kind: "PUT", key: encodeKey(1.5), document: encodeCbor({ x: 1.5 }), ifVersion: 3 },
  { kind: "MERGE", key: encodeKey(""), document: DOCUMENT, returnDocument: true },
  { kind: "REMOVE", key: encodeKey(-1), document: NO_BYTES, ifVersion: 0, returnDocument: true },
];

function command(
  operations = OPERATIONS,
  collection: Uint8Array = encodeText("things"),
): Uint8Array {
  const writer = new ByteWriter();
  writeDocumentsCommand(writer, IDENTITY, { collection, operations });
  return writer.copy();
}

function check(bytes: Uint8Array): string {
  return checkClientCommand(bytes, viewOf(bytes), { start: 0, end: bytes.byteLength });
}

/** Changes a valid command in place and checks it. */
function checkChanged(change: (view: DataView, bytes: Uint8Array) => void): string {
  const bytes = command();
  change(viewOf(bytes), bytes);
  return check(bytes);
}

/** Walks the operations as the state machine does, holding each to its bounds. */
function walk(bytes: Uint8Array): DocumentOperation[] {
  const cursor = new OperationCursor();
  const operations: DocumentOperation[] = [];
  cursor.start(viewOf(bytes), 0);
  let end = cursor.nameEnd;
  expect(cursor.nameStart).toBeLessThan(cursor.nameEnd);
  while (cursor.next()) {
    const { kind, keyStart, keyEnd, documentStart, documentEnd, ifVersion } = cursor;
    expect(keyStart).toBe(end + 8 + (ifVersion === undefined ? 0 : 8));
    expect(keyEnd).toBeGreaterThan(keyStart);
    expect(documentStart).toBe(keyEnd);
    expect(documentEnd).toBeGreaterThanOrEqual(documentStart);
    expect(documentEnd).toBeLessThanOrEqual(bytes.byteLength);
    expect(checkKey(bytes, keyStart, keyEnd)).toBe("");
    if (kind === "NONE") throw new Error("an operation of no kind");
    if (kind === "REMOVE") expect(documentEnd).toBe(documentStart);
    else expect(checkCbor(bytes, documentStart, documentEnd)).toBe("");
    const document = bytes.slice(documentStart, documentEnd);
    const key = bytes.slice(keyStart, keyEnd);
    operations.push({ kind, key, document, ifVersion, returnDocument: cursor.returnsDocument });
    end = documentEnd;
  }
  expect(end).toBe(bytes.byteLength);
  return operations;
}

/** Puts the command into a batch and applies it: the check was the last one. */
function apply(bytes: Uint8Array): void {
  const { count } = readCommandHeader(viewOf(bytes), 0);
  const batch = new Uint8Array(BATCH_HEADER_SIZE + bytes.byteLength);
  batch.set(bytes, BATCH_HEADER_SIZE);
  const compression = { codec: "none", compressor: zlibCompressor } as const;
  const place = { term: 1, index: 1, firstSequence: 1 };
  const sealed = sealBatch(prepareBatch(batch, { count, timeMs: 1 }, compression), place);
  new DocumentStateMachine(zlibCompressor, 1).apply({ ...place, count, bytes: sealed }, NO_RESULTS);
}

describe("valid commands", () => {
  test("command: what is written is what is read", () => {
    const bytes = command();
    expect(check(bytes)).toBe("");
    expect(readCommandHeader(viewOf(bytes), 0)).toEqual({
      ...IDENTITY,
      kind: "DOCUMENTS",
      size: bytes.byteLength,
      count: OPERATIONS.length,
    });
    const expected = OPERATIONS.map((operation) => ({
      ...operation,
      ifVersion: operation.ifVersion,
      returnDocument: operation.returnDocument ?? false,
    }));
    expect(walk(bytes)).toEqual(expected);
    apply(bytes);
  });

  test("command: it is checked in the middle of other bytes", () => {
    const bytes = command();
    const shifted = new Uint8Array(bytes.byteLength + 20).fill(0xff);
    shifted.set(bytes, 7);
    const range = { start: 7, end: 7 + bytes.byteLength };
    expect(checkClientCommand(shifted, viewOf(shifted), range)).toBe("");
    const longer = { ...range, end: range.end + 1 };
    expect(checkClientCommand(shifted, viewOf(shifted), longer)).toContain("size");
  });

  test("command: limits are reached and not crossed", () => {
    const put = (key: Uint8Array, document: Uint8Array): DocumentOperation => ({
      kind: "PUT",
      key,
      document,
    });
    const text = (size: number): Uint8Array => encodeCbor({ id: "a", t: "x".repeat(size) });
    const largest = text(DOCUMENT_SIZE_MAX - text(100_000).byteLength + 100_000);
    expect(largest).toHaveLength(DOCUMENT_SIZE_MAX);
    expect(check(command([put(encodeKey("a"), largest)]))).toBe("");
    const larger = text(DOCUMENT_SIZE_MAX - text(100_000).byteLength + 100_001);
    expect(check(command([put(encodeKey("a"), larger)]))).toContain("at most");

    const key = new Uint8Array(KEY_SIZE_MAX + 1).fill(3);
    const long = encodeCbor({ id: "\u0003".repeat(KEY_SIZE_MAX - 1) });
    expect(check(command([put(key.subarray(1), long)]))).toBe("");
    expect(check(command([put(key, long)]))).toContain("1 to 1024 bytes");

    const name = new Uint8Array(COLLECTION_NAME_SIZE_MAX + 1).fill(0x61);
    expect(check(command(OPERATIONS, name.subarray(1)))).toBe("");
    expect(check(command(OPERATIONS, name))).toContain("collection name");
    expect(check(command(OPERATIONS, NO_BYTES))).toContain("collection name");

    const many = new Array(OPERATIONS_PER_REQUEST_MAX + 1).fill(OPERATIONS[0]);
    expect(check(command(many.slice(1)))).toBe("");
    expect(check(command(many))).toContain("1 to 10000 operations");
    expect(check(command([]))).toContain("1 to 10000 operations");
    // 65,537 wraps to 1 in the 16 bits of the count: the bytes behind give it away.
    expect(check(command(new Array(65_537).fill(OPERATIONS[0])))).toContain("follow");
  });

  // It passed the check and then broke the batch's own bound: the node stopped on an assertion.
  test("command: one larger than a batch is refused", () => {
    const put = (size: number): DocumentOperation => {
      const document = encodeCbor({ id: "a", t: "x".repeat(size) });
      return { kind: "PUT", key: encodeKey("a"), document };
    };
    const most = new Array(4).fill(put(1_000_000));
    expect(check(command(most))).toBe("");
    const room = BATCH_BODY_SIZE_MAX - command([...most, put(100_000)]).byteLength + 100_000;
    const largest = command([...most, put(room)]);
    expect(largest).toHaveLength(BATCH_BODY_SIZE_MAX);
    expect(check(largest)).toBe("");
    expect(check(command([...most, put(room + 1)]))).toContain("at most");
  });

  test("command: sessions are opened and log entries written, nothing else of other kinds", () => {
    for (const kind of COMMAND_KINDS.slice(1)) {
      const writer = new ByteWriter();
      const start = beginCommand(writer, kind, { ...NO_SESSION, count: 1 });
      if (kind === "WAL_ENTRY") writer.raw(DOCUMENT);
      endCommand(writer, start);
      const isAllowed = kind === "OPEN_SESSION" || kind === "WAL_ENTRY";
      if (kind === "DOCUMENTS") expect(check(writer.copy())).toContain("name is missing");
      else expect(check(writer.copy()) === "").toBe(isAllowed);
      if (isAllowed) expect(check(new Uint8Array([...writer.written(), 0]))).not.toBe("");
    }
  });

  test("names: 1 to 120 bytes of whole characters", () => {
    expect(encodeCollectionName("ä")).toEqual(encodeText("ä"));
    for (const name of ["", "\ud800", "x".repeat(121), "ä".repeat(61)]) {
      expect(() => encodeCollectionName(name)).toThrow(ValidationError);
    }
  });
});

describe("refusals", () => {
  const FIRST = COMMAND_HEADER_SIZE + 1 + "things".length;
  // Mutations that these find: each bound that is not checked.
  test.each<readonly [string, (view: DataView, bytes: Uint8Array) => void, string]>([
    ["a size too small", (view) => view.setUint32(0, 40, true), "size does not match"],
    ["a size of 2^32 - 1", (view) => view.setUint32(0, 0xffff_ffff, true), "size does not match"],
    ["a kind of none", (view) => view.setUint8(4, 0), "of this kind"],
    ["an unknown kind", (view) => view.setUint8(4, 99), "of this kind"],
    ["flags", (view) => view.setUint8(5, 1), "flags are unknown"],
    ["a count too small", (view) => view.setUint16(6, 3, true), "follow the last"],
    ["a count too large", (view) => view.setUint16(6, 5, true), "cut off"],
    ["a session above 2^53", (view) => view.setUint32(12, 0x20_0000, true), "exceeds"],
    ["a request above 2^53", (view) => view.setUint32(20, 0x20_0000, true), "exceeds"],
    ["an acknowledgement above 2^53", (view) => view.setUint32(28, 0x20_0000, true), "exceeds"],
    ["request 0 of a session", (view) => view.setUint32(16, 0, true), "at least 1"],
    ["a name that is too long", (view) => view.setUint8(32, 250), "collection name"],
    ["a name that is not UTF-8", (view) => view.setUint8(33, 0xff), "name is not valid"],
    ["an operation of none", (view) => view.setUint8(FIRST, 0), "unknown"],
    ["an unknown operation", (view) => view.setUint8(FIRST, 6), "unknown"],
    ["unknown operation flags", (view) => view.setUint8(FIRST + 1, 8), "unknown"],
    ["a key without bytes", (view) => view.setUint16(FIRST + 2, 0, true), "a key has"],
    ["a key of 65,535 bytes", (view) => view.setUint16(FIRST + 2, 0xffff, true), "cut off"],
    ["a document of 2^32 - 1", (view) => view.setUint32(FIRST + 4, 0xffff_ffff, true), "cut off"],
    ["a document of 2^31", (view) => view.setUint32(FIRST + 4, 2 ** 31, true), "cut off"],
    ["no document", (view) => view.setUint32(FIRST + 4, 0, true), "a document is a map"],
    ["a list", (view) => view.setUint8(FIRST + 10, 0x83), "a document is a map"],
    [
      "a removal with a list",
      (view) => {
        view.setUint8(FIRST, 4);
        view.setUint8(FIRST + 10, 0x83);
      },
      "a document is a map",
    ],
    ["a key of another type", (view) => view.setUint8(FIRST + 8, 1), "type is unknown"],
    ["a hostile document", (_, bytes) => bytes.fill(0xc2, FIRST + 14, FIRST + 15), "refused"],
  ])("command: %s", (_name, change, refusal) => {
    expect(checkChanged(change)).toContain(refusal);
  });

  test("command: ifVersion above 2^53 is refused", () => {
    const operation = { ...OPERATIONS[1]!, ifVersion: Number.MAX_SAFE_INTEGER };
    const bytes = command([operation]);
    expect(check(bytes)).toBe("");
    viewOf(bytes).setUint8(FIRST + 8 + 6, 0x20);
    expect(check(bytes)).toContain("ifVersion exceeds");
  });

  test("command: every cut is refused", () => {
    const bytes = command();
    for (let end = 0; end < bytes.byteLength; end += 1) {
      const cut = bytes.slice(0, end);
      expect(check(cut)).not.toBe("");
      if (end >= 4) viewOf(cut).setUint32(0, end, true);
      expect(check(cut)).not.toBe("");
    }
  });
});

/** Makes the size right again, so that the mutation is judged by what is in it. */
function withSize(bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength >= 4) viewOf(bytes).setUint32(0, bytes.byteLength, true);
  return bytes;
}

test(seeded("command: a mutation is refused, or walks within its bounds and applies"), () => {
  const random = fuzzRandom();
  const samples = [
    command(),
    command([OPERATIONS[3]!]),
    command(OPERATIONS.slice(0, 1), encodeText("x")),
    command([{ kind: "PUT", key: encodeKey(7), document: encodeCbor({ n: 7 }) }]),
  ];
  let passed = 0;
  for (let i = 0; i < rounds(60_000); i += 1) {
    const bytes = withSize(mutate(random, samples[i % samples.length]!));
    if (check(bytes) !== "") continue;
    passed += 1;
    const { kind, count } = readCommandHeader(viewOf(bytes), 0);
    if (kind === "DOCUMENTS") expect(walk(bytes)).toHaveLength(count);
    apply(bytes);
  }
  expect(passed).toBeGreaterThan(rounds(60_000) / 20);
});
