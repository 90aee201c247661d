/**
 * Commands field by field: exact bytes, each refusal with its whole text, walks over operations.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ByteWriter, encodeText, viewOf } from "../../../src/base/bytes.ts";
import { ValidationError } from "../../../src/base/errors.ts";
import {
  BATCH_BODY_SIZE_MAX,
  CATALOG_SIZE_MAX,
  COLLECTION_NAME_SIZE_MAX,
  DOCUMENT_SIZE_MAX,
  OPERATIONS_PER_REQUEST_MAX,
} from "../../../src/base/limits.ts";
import { encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import {
  acknowledgeIn,
  beginCommand,
  COMMAND_HEADER_SIZE,
  type CommandKind,
  checkClientCommand,
  type DocumentOperation,
  encodeCollectionName,
  endCommand,
  isPlainPut,
  NO_SESSION,
  OPERATION_HEADER_SIZE,
  OperationCursor,
  readCommandHeader,
  writeDocumentsCommand,
  writeTransactionCommand,
} from "../../../src/protocol/encoding/command.ts";
import { encodeKey } from "../../../src/protocol/encoding/document_key.ts";

const IDENTITY = {
  sessionId: 0x1_0000_0203,
  requestNumber: 0x2_0000_0405,
  acknowledgedBelow: 0x1_0000_0607,
};
const NO_BYTES = new Uint8Array(0);
const EMPTY_MAP = Uint8Array.of(0xa0);
const NAME = encodeText("ab");
const PUT: DocumentOperation = { kind: "PUT", key: encodeKey("k"), document: EMPTY_MAP };
const FULL: DocumentOperation = {
  kind: "REMOVE",
  key: encodeKey("key"),
  document: Uint8Array.of(0xa1, 0x61, 0x61, 0x01),
  ifVersion: 0x3_0000_0809,
  returnDocument: true,
  isChecked: true,
};

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function hexBytes(digits: string): Uint8Array {
  return new Uint8Array(Buffer.from(digits.replaceAll(" ", ""), "hex"));
}

function written(write: (writer: ByteWriter) => void): Uint8Array {
  const writer = new ByteWriter();
  write(writer);
  return writer.copy();
}

function documents(
  operations: readonly DocumentOperation[],
  collection: Uint8Array = NAME,
): Uint8Array {
  return written((writer) => writeDocumentsCommand(writer, IDENTITY, { collection, operations }));
}

function transaction(
  parts: readonly (readonly DocumentOperation[])[],
  conditions: Uint8Array = Uint8Array.of(0x80),
): Uint8Array {
  const writes = parts.map((operations) => ({ collection: NAME, operations }));
  return written((writer) => writeTransactionCommand(writer, IDENTITY, { conditions, writes }));
}

function command(kind: CommandKind, count: number, body: Uint8Array): Uint8Array {
  return written((writer) => {
    const start = beginCommand(writer, kind, { ...NO_SESSION, count });
    writer.raw(body);
    endCommand(writer, start);
  });
}

/** Checks the command alone, and between other bytes: the answers must agree. */
function check(bytes: Uint8Array): string {
  const range = { start: 0, end: bytes.byteLength };
  const alone = checkClientCommand(bytes, viewOf(bytes), range);
  const around = new Uint8Array(bytes.byteLength + 19).fill(0xff);
  around.set(bytes, 11);
  const shifted = { start: 11, end: 11 + bytes.byteLength };
  expect(checkClientCommand(around, viewOf(around), shifted)).toBe(alone);
  return alone;
}

function changed(bytes: Uint8Array, change: (view: DataView) => void): string {
  const copy = bytes.slice();
  change(viewOf(copy));
  return check(copy);
}

describe("bytes", () => {
  const HEADER = "0302000001000000 0504000002000000 0706000001000000";

  test("DOCUMENTS: header, name, and each operation with its flags", () => {
    const expected = [
      `46000000 01 00 0200 ${HEADER}`,
      "02 6162",
      "02 00 0200 01000000 036b a0",
      "04 07 0400 04000000 0908000003000000 036b6579 a1616101",
    ];
    expect(hex(documents([PUT, FULL]))).toBe(expected.join("").replaceAll(" ", ""));
  });

  test.each<readonly [Partial<DocumentOperation>, string]>([
    [{}, "00"],
    [{ ifVersion: 0 }, "01"],
    [{ returnDocument: true }, "02"],
    [{ returnDocument: false }, "00"],
    [{ isChecked: true }, "04"],
    [{ isChecked: false }, "00"],
    [{ ifVersion: 1, isChecked: true }, "05"],
  ])("the flags of %j are %s", (fields, flags) => {
    const bytes = documents([{ ...PUT, ...fields }]);
    expect(hex(bytes.subarray(36, 37))).toBe(flags);
  });

  test("TRANSACTION: conditions, then each part behind its size", () => {
    const expected = [
      `54000000 0a 00 0300 ${HEADER}`,
      "01000000 80",
      "19000000 02 6162 02 00 0200 01000000 036b a0 02 00 0200 01000000 036b a0",
      "0e000000 02 6162 02 00 0200 01000000 036b a0",
    ];
    expect(hex(transaction([[PUT, PUT], [PUT]]))).toBe(expected.join("").replaceAll(" ", ""));
  });

  test("TRANSACTION: one of conditions alone takes one sequence number", () => {
    expect(readCommandHeader(viewOf(transaction([])), 0).count).toBe(1);
    expect(readCommandHeader(viewOf(transaction([[PUT]])), 0).count).toBe(1);
    expect(readCommandHeader(viewOf(transaction([[PUT], [PUT]])), 0).count).toBe(2);
  });

  test("the header is read at any offset", () => {
    const bytes = documents([PUT, FULL]);
    const header = { ...IDENTITY, kind: "DOCUMENTS", size: bytes.byteLength, count: 2 } as const;
    expect(readCommandHeader(viewOf(bytes), 0)).toEqual(header);
    const behind = new Uint8Array([...new Uint8Array(5).fill(0xee), ...bytes]);
    expect(readCommandHeader(viewOf(behind), 5)).toEqual(header);
  });

  test("a second command is patched where it begins", () => {
    const bytes = written((writer) => {
      writer.raw(documents([PUT]));
      endCommand(writer, beginCommand(writer, "OPEN_SESSION", { ...NO_SESSION, count: 1 }));
    });
    expect(readCommandHeader(viewOf(bytes), 46)).toMatchObject({ kind: "OPEN_SESSION", size: 32 });
    expect(readCommandHeader(viewOf(bytes), 0)).toMatchObject({ kind: "DOCUMENTS", size: 46 });
  });
});

describe("acknowledgements", () => {
  test("a command of a session gets the new number, at its offset only", () => {
    const bytes = new Uint8Array([...new Uint8Array(3), ...documents([PUT])]);
    acknowledgeIn(bytes, 3, 0x1_0000_0b0a);
    const header = readCommandHeader(viewOf(bytes), 3);
    expect(header).toMatchObject({ ...IDENTITY, acknowledgedBelow: 0x1_0000_0b0a });
    const expected = new Uint8Array([...new Uint8Array(3), ...documents([PUT])]);
    expected.set([0x0a, 0x0b], 27);
    expect(bytes).toEqual(expected);
  });

  // Its session and request number look like zeros when they are read a byte beside their place.
  test("the smallest session counts, too", () => {
    const bytes = written((writer) => {
      const identity = { sessionId: 1, requestNumber: 256, acknowledgedBelow: 0, count: 1 };
      endCommand(writer, beginCommand(writer, "DOCUMENTS", identity));
    });
    acknowledgeIn(bytes, 0, 9);
    expect(readCommandHeader(viewOf(bytes), 0).acknowledgedBelow).toBe(9);
  });

  test("no session is the session 0, without numbers", () => {
    expect(NO_SESSION).toEqual({ sessionId: 0, requestNumber: 0, acknowledgedBelow: 0 });
  });

  test("a command without a session stays as it is", () => {
    const bytes = command("OPEN_SESSION", 1, NO_BYTES);
    acknowledgeIn(bytes, 0, 9);
    expect(bytes).toEqual(command("OPEN_SESSION", 1, NO_BYTES));
  });
});

describe("plain puts", () => {
  test.each<readonly [string, Uint8Array, boolean]>([
    ["one PUT", documents([PUT]), true],
    ["a checked PUT", documents([{ ...PUT, isChecked: true }]), true],
    ["two PUTs", documents([PUT, PUT]), false],
    ["a PUT with a version", documents([{ ...PUT, ifVersion: 0 }]), false],
    ["a PUT that gives back", documents([{ ...PUT, returnDocument: true }]), false],
    ["an INSERT", documents([{ ...PUT, kind: "INSERT" }]), false],
    ["a REMOVE", documents([{ ...PUT, kind: "REMOVE" }]), false],
    ["a PUT with a long name", documents([PUT], new Uint8Array(100).fill(0x61)), true],
    ["a transaction of one PUT", transaction([[PUT]]), false],
    ["a catalog command", command("CATALOG", 1, EMPTY_MAP), false],
  ])("%s", (_name, bytes, isPlain) => {
    expect(isPlainPut(viewOf(bytes), 0)).toBe(isPlain);
    const behind = new Uint8Array([...new Uint8Array(7).fill(0xee), ...bytes]);
    expect(isPlainPut(viewOf(behind), 7)).toBe(isPlain);
  });
});

describe("walks", () => {
  interface Seen {
    readonly kind: string;
    readonly key: string;
    readonly document: string;
    readonly ifVersion: number | undefined;
    readonly flags: readonly boolean[];
  }

  function walk(cursor: OperationCursor, bytes: Uint8Array): Seen[] {
    const seen: Seen[] = [];
    while (cursor.next()) {
      seen.push({
        kind: cursor.kind,
        key: hex(bytes.subarray(cursor.keyStart, cursor.keyEnd)),
        document: hex(bytes.subarray(cursor.documentStart, cursor.documentEnd)),
        ifVersion: cursor.ifVersion,
        flags: [cursor.returnsDocument, cursor.isChecked],
      });
    }
    return seen;
  }

  const FIRST: Seen = {
    kind: "PUT",
    key: "036b",
    document: "a0",
    ifVersion: undefined,
    flags: [false, false],
  };
  const SECOND: Seen = {
    kind: "REMOVE",
    key: "036b6579",
    document: "a1616101",
    ifVersion: 0x3_0000_0809,
    flags: [true, true],
  };

  test("before its start a cursor has no operations", () => {
    const cursor = new OperationCursor();
    expect(cursor.next()).toBe(false);
    expect(cursor).toMatchObject({ kind: "NONE", returnsDocument: false, isChecked: false });
    const { keyStart, keyEnd, documentStart, documentEnd, nameStart, nameEnd } = cursor;
    const offsets = [keyStart, keyEnd, documentStart, documentEnd, nameStart, nameEnd];
    expect(offsets).toEqual([0, 0, 0, 0, 0, 0]);
  });

  test("operations come one after the other, and none behind the last one", () => {
    const bytes = documents([PUT, FULL, PUT]);
    const around = new Uint8Array([...new Uint8Array(9), ...bytes, ...bytes]);
    const cursor = new OperationCursor();
    cursor.start(viewOf(around), 9);
    expect([cursor.nameStart, cursor.nameEnd]).toEqual([42, 44]);
    expect(walk(cursor, around)).toEqual([FIRST, SECOND, FIRST]);
    expect(cursor.next()).toBe(false);
    cursor.start(viewOf(around), 9 + bytes.byteLength);
    expect(walk(cursor, around)).toEqual([FIRST, SECOND, FIRST]);
  });

  test("a part of a transaction is walked from its name to its end", () => {
    const bytes = transaction([[PUT], [FULL, PUT]]);
    const cursor = new OperationCursor();
    cursor.startAt(viewOf(bytes), 41, 55);
    expect([cursor.nameStart, cursor.nameEnd]).toEqual([42, 44]);
    expect(walk(cursor, bytes)).toEqual([FIRST]);
    cursor.startAt(viewOf(bytes), 59, bytes.byteLength);
    expect(walk(cursor, bytes)).toEqual([SECOND, FIRST]);
  });
});

describe("names", () => {
  test.each(["a", "\u00e4", "x".repeat(120), "\u00e4".repeat(60)])("%j is a name", (name) => {
    expect(encodeCollectionName(name)).toEqual(encodeText(name));
  });

  test.each(["", "x".repeat(121), `${"x".repeat(119)}\u00e4`, "a\ud800"])(
    "%j is no name",
    (name) => {
      expect(() => encodeCollectionName(name)).toThrow(ValidationError);
      expect(() => encodeCollectionName(name)).toThrow(
        `Cannot use the collection name "${name.slice(0, 40)}": it must have 1 to 120 bytes`,
      );
    },
  );

  test.each<readonly [unknown, string]>([
    [1, "number"],
    [null, "object"],
    [undefined, "undefined"],
  ])("%j is refused by its type", (name, type) => {
    expect(() => encodeCollectionName(name as string)).toThrow(
      new ValidationError(`Cannot use a ${type} as the name of a collection`),
    );
  });
});

describe("commands of clients", () => {
  const KEYED = { ...PUT, document: encodeCbor({ id: "k" }) };
  const name = (size: number): Uint8Array => new Uint8Array(size).fill(0x61);
  const text = (size: number): Uint8Array => encodeCbor("x".repeat(size));
  const catalog = (size: number): Uint8Array => text(size - 3);
  const document = (size: number): Uint8Array => encodeCbor({ t: "x".repeat(size - 15), id: "k" });
  const puts = (count: number): readonly DocumentOperation[] => Array(count).fill(KEYED);

  test.each<readonly [string, Uint8Array]>([
    ["OPEN_SESSION", command("OPEN_SESSION", 1, NO_BYTES)],
    ["WAL_ENTRY", command("WAL_ENTRY", 1, encodeCbor([1, "x"]))],
    ["CATALOG", command("CATALOG", 1, EMPTY_MAP)],
    ["the largest CATALOG", command("CATALOG", 1, catalog(CATALOG_SIZE_MAX))],
    ["one operation", documents([KEYED])],
    ["operations of all kinds", documents([KEYED, FULL, { ...KEYED, kind: "MERGE" }])],
    ["an UPDATE", documents([{ ...KEYED, kind: "UPDATE" }])],
    ["a REMOVE without a document", documents([{ ...KEYED, kind: "REMOVE", document: NO_BYTES }])],
    ["a name of 1 byte", documents([KEYED], name(1))],
    ["a name of 120 bytes", documents([KEYED], name(COLLECTION_NAME_SIZE_MAX))],
    ["the largest document", documents([{ ...KEYED, document: document(DOCUMENT_SIZE_MAX) }])],
    ["the most operations", documents(puts(OPERATIONS_PER_REQUEST_MAX))],
    ["a transaction", transaction([[KEYED, FULL], [KEYED]])],
    ["conditions alone", transaction([])],
    ["the most operations of a transaction", transaction([puts(9_999), [KEYED]])],
  ])("%s", (_name, bytes) => {
    expect(check(bytes)).toBe("");
  });

  const tooMany = `a request holds 1 to ${OPERATIONS_PER_REQUEST_MAX} operations`;
  const badName = `a collection name has 1 to ${COLLECTION_NAME_SIZE_MAX} bytes`;
  const largeDocument = document(DOCUMENT_SIZE_MAX + 1);
  const big = { ...KEYED, document: document(1_000_000) };
  const manyBig = Array.from({ length: 19 }, () => big);

  test.each<readonly [string, Uint8Array, string]>([
    ["OPEN_SESSION twice", command("OPEN_SESSION", 2, NO_BYTES), "OPEN_SESSION has no body"],
    ["OPEN_SESSION and more", command("OPEN_SESSION", 1, EMPTY_MAP), "OPEN_SESSION has no body"],
    ["WAL_ENTRY twice", command("WAL_ENTRY", 2, EMPTY_MAP), "a WAL_ENTRY counts once"],
    ["WAL_ENTRY without a body", command("WAL_ENTRY", 1, NO_BYTES), "truncated"],
    [
      "WAL_ENTRY and a byte",
      command("WAL_ENTRY", 1, text(0x20).subarray(1)),
      "bytes follow the value",
    ],
    ["CATALOG twice", command("CATALOG", 2, EMPTY_MAP), "a CATALOG counts once"],
    ["CATALOG without a body", command("CATALOG", 1, NO_BYTES), "truncated"],
    [
      "a CATALOG too large",
      command("CATALOG", 1, catalog(CATALOG_SIZE_MAX + 3)),
      `a CATALOG has at most ${CATALOG_SIZE_MAX} bytes`,
    ],
    [
      "MEMBERSHIP",
      command("MEMBERSHIP", 1, EMPTY_MAP),
      "clients may not send commands of this kind",
    ],
    ["NOOP", command("NOOP", 1, NO_BYTES), "clients may not send commands of this kind"],
    ["no operations", documents([]), tooMany],
    ["10,001 operations", documents(puts(OPERATIONS_PER_REQUEST_MAX + 1)), tooMany],
    ["10,001 operations of a transaction", transaction([puts(10_000), [KEYED]]), tooMany],
    ["a name of 0 bytes", documents([KEYED], NO_BYTES), badName],
    ["a name of 121 bytes", documents([KEYED], name(COLLECTION_NAME_SIZE_MAX + 1)), badName],
    ["no name", command("DOCUMENTS", 1, NO_BYTES), "the collection name is missing"],
    ["a cut name", command("DOCUMENTS", 1, Uint8Array.of(2, 0x61)), badName],
    [
      "a name that is not UTF-8",
      documents([KEYED], Uint8Array.of(0x61, 0xff)),
      "the collection name is not valid UTF-8",
    ],
    [
      "a name and no operation",
      command("DOCUMENTS", 1, Uint8Array.of(1, 0x61)),
      "an operation is cut off",
    ],
    ["an empty document", documents([{ ...KEYED, document: NO_BYTES }]), "a document is a map"],
    [
      "a document that is a list",
      documents([{ ...KEYED, document: Uint8Array.of(0x80) }]),
      "a document is a map",
    ],
    [
      "a condition that is a list",
      documents([{ ...FULL, document: Uint8Array.of(0x80) }]),
      "a document is a map",
    ],
    [
      "a hostile document",
      documents([{ ...KEYED, document: Uint8Array.of(0xa1, 0, 0) }]),
      "the document is refused: key is not a text",
    ],
    [
      "a document under another key",
      documents([{ ...KEYED, document: encodeCbor({ id: "other", n: [{ id: "k" }] }) }]),
      "no field of the document holds its key: the id is one of its fields",
    ],
    [
      "a document of a number under the text of it",
      documents([{ ...KEYED, key: encodeKey("1"), document: encodeCbor({ id: 1 }) }]),
      "no field of the document holds its key: the id is one of its fields",
    ],
    [
      "an insert in a transaction without its key",
      transaction([[{ ...KEYED, kind: "INSERT", document: EMPTY_MAP }]]),
      "no field of the document holds its key: the id is one of its fields",
    ],
    ["a key of no bytes", documents([{ ...KEYED, key: NO_BYTES }]), "a key has 1 to 1024 bytes"],
    [
      "a key of no type",
      documents([{ ...KEYED, key: Uint8Array.of(9, 0x61) }]),
      "the key's type is unknown",
    ],
    [
      "a document too large",
      documents([{ ...KEYED, document: largeDocument }]),
      `a document has at most ${DOCUMENT_SIZE_MAX} bytes, this one has ${DOCUMENT_SIZE_MAX + 1}`,
    ],
    [
      "a command too large",
      documents(manyBig),
      `a command has at most ${BATCH_BODY_SIZE_MAX} bytes, this one has 19000225`,
    ],
    [
      "hostile conditions",
      transaction([[KEYED]], Uint8Array.of(0xf7)),
      "the transaction's conditions are refused: undefined not allowed",
    ],
    [
      "conditions of no bytes",
      transaction([[KEYED]], NO_BYTES),
      "the transaction's conditions are refused: truncated",
    ],
    [
      "a part without operations",
      transaction([[KEYED], []]),
      "a part of the transaction has no operations",
    ],
    [
      "a part with a hostile operation",
      transaction([[{ ...KEYED, document: NO_BYTES }]]),
      "a document is a map",
    ],
    [
      "a transaction of no bytes",
      command("TRANSACTION", 1, NO_BYTES),
      "the transaction is cut off",
    ],
    [
      "a transaction of 4 bytes",
      command("TRANSACTION", 1, new Uint8Array(4)),
      "the transaction's conditions are refused: truncated",
    ],
    ["a part of 1 byte", command("TRANSACTION", 1, hexBytes("01000000 80 01000000 01")), badName],
    [
      "a part of no size",
      command("TRANSACTION", 1, hexBytes("01000000 80 00000000")),
      "the transaction is cut off",
    ],
    ["a name alone, of 0 bytes", command("DOCUMENTS", 1, Uint8Array.of(0)), badName],
    [
      "an operation's header alone",
      command("DOCUMENTS", 1, hexBytes("01 61 02 00 0000 00000000")),
      "a key has 1 to 1024 bytes",
    ],
    [
      "a transaction of 3 bytes",
      command("TRANSACTION", 1, new Uint8Array(3)),
      "the transaction is cut off",
    ],
  ])("refused: %s", (_name, bytes, refusal) => {
    expect(check(bytes)).toBe(refusal);
  });

  const ONE = documents([KEYED]);
  const TWO = documents([KEYED, KEYED]);
  const FIRST = COMMAND_HEADER_SIZE + 1 + NAME.byteLength;
  const above = "a number exceeds 2^53 - 1";

  test.each<readonly [string, Uint8Array, (view: DataView) => void, string]>([
    [
      "a size too small",
      ONE,
      (view) => view.setUint32(0, 45, true),
      "the command's size does not match",
    ],
    [
      "a size too large",
      ONE,
      (view) => view.setUint32(0, 47, true),
      "the command's size does not match",
    ],
    ["flags", ONE, (view) => view.setUint8(5, 1), "the command's flags are unknown"],
    [
      "the kind NONE",
      ONE,
      (view) => view.setUint8(4, 0),
      "clients may not send commands of this kind",
    ],
    [
      "an unknown kind",
      ONE,
      (view) => view.setUint8(4, 13),
      "clients may not send commands of this kind",
    ],
    ["a session above 2^53", ONE, (view) => view.setUint8(14, 0x20), above],
    ["a request above 2^53", ONE, (view) => view.setUint8(22, 0x20), above],
    ["an acknowledgement above 2^53", ONE, (view) => view.setUint8(30, 0x20), above],
    [
      "a count too small",
      TWO,
      (view) => view.setUint16(6, 1, true),
      "operations follow the last one",
    ],
    ["a count too large", TWO, (view) => view.setUint16(6, 3, true), "an operation is cut off"],
    ["an operation NONE", ONE, (view) => view.setUint8(FIRST, 0), "an operation is unknown"],
    ["an unknown operation", ONE, (view) => view.setUint8(FIRST, 6), "an operation is unknown"],
    ["unknown flags", ONE, (view) => view.setUint8(FIRST + 1, 8), "an operation is unknown"],
    [
      "a document too short",
      ONE,
      (view) => view.setUint32(FIRST + 4, 0, true),
      "a document is a map",
    ],
    [
      "a document too long",
      ONE,
      (view) => view.setUint32(FIRST + 4, 9, true),
      "an operation is cut off",
    ],
    [
      "a document of 2^32 - 1",
      ONE,
      (view) => view.setUint32(FIRST + 4, 0xffff_ffff, true),
      "an operation is cut off",
    ],
    [
      "a key too long",
      ONE,
      (view) => view.setUint16(FIRST + 2, 4, true),
      "an operation is cut off",
    ],
    [
      "a version too little room",
      ONE,
      (view) => view.setUint8(FIRST + 1, 1),
      "an operation is cut off",
    ],
    [
      "a conditions' size of 2^32 - 1",
      transaction([]),
      (view) => view.setUint32(32, 0xffff_ffff, true),
      "the transaction is cut off",
    ],
    [
      "a conditions' size one too large",
      transaction([]),
      (view) => view.setUint32(32, 2, true),
      "the transaction is cut off",
    ],
    [
      "a part one too large",
      transaction([[KEYED]]),
      (view) => view.setUint32(37, 22, true),
      "the transaction is cut off",
    ],
    [
      "a part one too small",
      transaction([[KEYED]]),
      (view) => view.setUint32(37, 20, true),
      "an operation is cut off",
    ],
    [
      "a transaction's count too small",
      transaction([[KEYED], [KEYED]]),
      (view) => view.setUint16(6, 1, true),
      "operations follow the last one",
    ],
    [
      "a transaction's count too large",
      transaction([[KEYED]]),
      (view) => view.setUint16(6, 2, true),
      "an operation is cut off",
    ],
    [
      "conditions that count twice",
      transaction([]),
      (view) => view.setUint16(6, 2, true),
      "an operation is cut off",
    ],
  ])("refused: %s", (...[, bytes, change, refusal]) => {
    expect(changed(bytes, change)).toBe(refusal);
  });

  test("a request of a session has a number, one without a session needs none", () => {
    const withNumber = (sessionId: number, requestNumber: number): Uint8Array => {
      const identity = { sessionId, requestNumber, acknowledgedBelow: 0 };
      const request = { collection: NAME, operations: [KEYED] };
      return written((writer) => writeDocumentsCommand(writer, identity, request));
    };
    const refusal = "a request of a session has a number of at least 1";
    const answers = [check(withNumber(1, 1)), check(withNumber(0, 0)), check(withNumber(0, 1))];
    expect(answers).toEqual(["", "", ""]);
    expect(check(withNumber(1, 0))).toBe(refusal);
  });

  test("ifVersion: 2^53 - 1 passes, 2^53 does not", () => {
    const bytes = documents([{ ...KEYED, ifVersion: Number.MAX_SAFE_INTEGER }]);
    expect(check(bytes)).toBe("");
    const at = FIRST + OPERATION_HEADER_SIZE;
    expect(changed(bytes, (view) => view.setUint8(at + 6, 0x20))).toBe(
      "ifVersion exceeds 2^53 - 1",
    );
  });

  // Each cut is made whole again by its size, so that it is judged by its content.
  test("a command that ends inside of anything is refused at every byte", () => {
    for (const bytes of [documents([KEYED, FULL]), transaction([[KEYED], [FULL, KEYED]])]) {
      for (let end = 0; end < bytes.byteLength; end += 1) {
        const cut = bytes.slice(0, end);
        if (end >= 4) viewOf(cut).setUint32(0, end, true);
        const short = "the command is shorter than its header";
        if (end < COMMAND_HEADER_SIZE) expect(check(cut)).toBe(short);
        else expect(check(cut)).not.toBe("");
      }
    }
  });

  test("the largest command is one batch", () => {
    const most = manyBig.slice(1);
    const room = BATCH_BODY_SIZE_MAX - documents([...most, KEYED]).byteLength + 8;
    const last = (size: number): DocumentOperation => ({ ...KEYED, document: document(size) });
    const largest = documents([...most, last(room)]);
    expect(largest).toHaveLength(BATCH_BODY_SIZE_MAX);
    expect(check(largest)).toBe("");
    expect(check(documents([...most, last(room + 1)]))).toBe(
      `a command has at most ${BATCH_BODY_SIZE_MAX} bytes, this one has ${BATCH_BODY_SIZE_MAX + 1}`,
    );
  });
});
