/**
 * Entries as commands, and commands of every kind as entries.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ByteWriter, encodeText } from "../../../src/base/bytes.ts";
import { decodeCbor, encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import { checksum64 } from "../../../src/protocol/encoding/checksum.ts";
import {
  beginCommand,
  type CommandKind,
  type DocumentOperation,
  endCommand,
  NO_SESSION,
  writeDocumentsCommand,
  writeTransactionCommand,
} from "../../../src/protocol/encoding/command.ts";
import { encodeKey } from "../../../src/protocol/encoding/document_key.ts";
import type { WALEntry } from "../../../src/storage/wal/iwal_manager.ts";
import {
  entryChecksum,
  readEntryCommands,
  writeEntryCommand,
} from "../../../src/storage/wal/wal_entry_codec.ts";
import { walEntry } from "../log_fixture.ts";

const PLACE = { firstSequence: 40, term: 3, timeMs: 77 };
const IDENTITY = { sessionId: 9, requestNumber: 2, acknowledgedBelow: 1 };

function read(write: (writer: ByteWriter) => void): WALEntry[] {
  const writer = new ByteWriter(256);
  write(writer);
  return readEntryCommands(writer.copy(), PLACE);
}

/**
 * An entry of consensus or of a client, as it is shown: its checksum is that of its other fields.
 */
function shown(fields: Partial<WALEntry> & Pick<WALEntry, "operation" | "data">): WALEntry {
  const { transactionId = "", collectionName = "*", operation, data } = fields;
  const type = "DATA" as const;
  const own = { transactionId, timestamp: 77, type, collectionName, operation, data, term: 3 };
  return { ...own, sequenceNumber: 40, checksum: hex(encodeCbor(own)) };
}

function hex(body: Uint8Array): string {
  return checksum64(body).toString(16).padStart(16, "0");
}

describe("an entry", () => {
  test("is a command whose body is its CBOR without number and checksum", () => {
    const writer = new ByteWriter(256);
    const body = writeEntryCommand(writer, walEntry("x", { sequenceNumber: 9, checksum: "old" }));
    const { sequenceNumber: _number, checksum: _checksum, ...stored } = walEntry("x");
    expect(decodeCbor(body)).toEqual(stored);
    const bytes = writer.copy();
    expect(bytes.byteLength).toBe(32 + body.byteLength);
    expect(bytes.subarray(32)).toEqual(body);
    expect(new DataView(bytes.buffer).getUint32(0, true)).toBe(bytes.byteLength);
    expect([bytes[4], bytes[6], bytes[7]]).toEqual([7, 1, 0]);
  });

  test("comes back with the number of its place and the checksum of its bytes", () => {
    const entries = [walEntry(1), walEntry([2], { type: "COMMIT", term: 8, nodeId: "n2" })];
    const bodies: Uint8Array[] = [];
    const found = read((writer) => {
      for (const entry of entries) bodies.push(writeEntryCommand(writer, entry).slice());
    });
    expect(found).toEqual(
      entries.map((entry, i) => ({ ...entry, sequenceNumber: 40 + i, checksum: hex(bodies[i]!) })),
    );
  });

  test("its checksum has 16 digits, zeros in front included", () => {
    let isPadded = false;
    for (let n = 0; n < 200; n += 1) {
      const body = new Uint8Array([n, n >> 4]);
      expect(entryChecksum(body)).toBe(hex(body));
      isPadded ||= entryChecksum(body).startsWith("0");
    }
    expect(isPadded).toBe(true);
  });
});

describe("commands that are no entries", () => {
  function documents(writer: ByteWriter, operations: readonly DocumentOperation[]): void {
    writeDocumentsCommand(writer, IDENTITY, { collection: encodeText("größe"), operations });
  }

  test("operations on documents are entries of their own, numbered on", () => {
    const document = encodeCbor({ a: 1 });
    const operations: DocumentOperation[] = [
      { kind: "INSERT", key: encodeKey("a"), document },
      { kind: "PUT", key: encodeKey(7), document, ifVersion: 3 },
      { kind: "MERGE", key: encodeKey("a"), document },
      { kind: "UPDATE", key: encodeKey("b"), document },
      { kind: "REMOVE", key: encodeKey(-1.5), document: new Uint8Array(0) },
    ];
    const common = { collectionName: "größe", transactionId: "9-2" };
    const newValue = { a: 1 };
    const expected = [
      shown({ ...common, operation: "INSERT", data: { key: "a", newValue } }),
      shown({ ...common, operation: "STORE", data: { key: 7, newValue } }),
      shown({ ...common, operation: "UPDATE", data: { key: "a", newValue } }),
      shown({ ...common, operation: "UPDATE", data: { key: "b", newValue } }),
      shown({ ...common, operation: "DELETE", data: { key: -1.5 } }),
    ];
    expect(read((writer) => documents(writer, operations))).toEqual(
      expected.map((entry, i) => ({ ...entry, sequenceNumber: 40 + i })),
    );
  });

  test.each([
    ["NOOP", "NOOP"],
    ["MEMBERSHIP", "CONFIG"],
    ["BIND", "CONFIG"],
    ["CATALOG", "CONFIG"],
  ] as const)("%s is one entry %s", (kind, operation) => {
    const found = read((writer) => {
      endCommand(writer, beginCommand(writer, kind, { ...NO_SESSION, count: 1 }));
    });
    expect(found).toEqual([shown({ operation, data: { key: kind } })]);
  });

  // History: a repair writes commands without effect that take 65535 numbers each, and a reader of
  // such a log stopped at an assertion; so did a reader of a transaction.
  test("a command takes all its sequence numbers, also when it is shown as one entry", () => {
    const noop = (writer: ByteWriter, kind: CommandKind, count: number): void =>
      endCommand(writer, beginCommand(writer, kind, { ...NO_SESSION, count }));
    const found = read((writer) => {
      noop(writer, "NOOP", 0xffff);
      const key = encodeKey("a");
      const operations: DocumentOperation[] = [
        { kind: "PUT", key, document: encodeCbor({}) },
        { kind: "REMOVE", key, document: new Uint8Array(0) },
      ];
      writeTransactionCommand(writer, IDENTITY, {
        conditions: encodeCbor([]),
        writes: [{ collection: encodeText("c"), operations }],
      });
      noop(writer, "NOOP", 1);
    });
    expect(found.map(({ sequenceNumber, data }) => [sequenceNumber, data.key])).toEqual([
      [40, "NOOP"],
      [40 + 0xffff, "TRANSACTION"],
      [42 + 0xffff, "NOOP"],
    ]);
  });

  test("no commands are no entries", () => {
    expect(read(() => undefined)).toEqual([]);
  });
});
