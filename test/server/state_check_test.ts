/**
 * What a node refuses of commands before they are logged, by its state: sizes by collection, and
 * what the rules of the log do not know.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ByteWriter, encodeText, viewOf } from "../../src/base/bytes.ts";
import {
  DOCUMENT_SIZE_DEFAULT,
  DOCUMENT_SIZE_MAX,
  EARLY_REQUEST_SIZE_MAX,
} from "../../src/base/limits.ts";
import { CollectionStore } from "../../src/database/collection/collection_store.ts";
import { encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import {
  beginCommand,
  type CollectionOperations,
  checkClientCommand,
  endCommand,
  NO_SESSION,
  writeDocumentsCommand,
  writeTransactionCommand,
} from "../../src/protocol/encoding/command.ts";
import { encodeKey } from "../../src/protocol/encoding/document_key.ts";
import { refusalNow } from "../../src/server/state_check.ts";

/** A state by those rules, in which only `large` was made for large documents. */
function machine(rules: number) {
  const large = new CollectionStore("large", 1);
  large.settings = { ids: "uuidv7", validator: "", documentSizeMax: DOCUMENT_SIZE_MAX };
  return {
    rules,
    collectionOrEmpty: (name: string) => (name === "large" ? large : new CollectionStore(name, 1)),
  };
}

/** A write of a document of about that size. */
function part(collection: string, size: number): CollectionOperations {
  const document = encodeCbor({ id: "a", bytes: new Uint8Array(size) }).slice();
  const operations = [{ kind: "PUT", key: encodeKey("a"), document } as const];
  return { collection: encodeText(collection), operations };
}

function refusal(rules: number, write: (writer: ByteWriter) => void): string {
  const writer = new ByteWriter(1024);
  // It stands behind another one in its frame.
  writer.raw(new Uint8Array(3));
  write(writer);
  const body = writer.copy();
  const range = { start: 3, end: body.byteLength };
  expect(checkClientCommand(body, viewOf(body), range)).toBe("");
  return refusalNow(machine(rules), { body, view: viewOf(body), ...range })?.message ?? "";
}

const documents = (part: CollectionOperations) => (writer: ByteWriter) =>
  writeDocumentsCommand(writer, NO_SESSION, part);
const transaction =
  (...writes: CollectionOperations[]) =>
  (writer: ByteWriter) =>
    writeTransactionCommand(writer, NO_SESSION, { conditions: encodeCbor({}).slice(), writes });
const catalog = (request: object) => (writer: ByteWriter) => {
  const start = beginCommand(writer, "CATALOG", { ...NO_SESSION, count: 1 });
  writer.raw(encodeCbor(request));
  endCommand(writer, start);
};

describe("sizes", () => {
  const [large, usual] = [DOCUMENT_SIZE_MAX - 100, DOCUMENT_SIZE_DEFAULT];
  const most = `at most ${DOCUMENT_SIZE_DEFAULT} bytes`;

  test.each([
    ["a usual document", documents(part("c", usual - 100)), ""],
    ["one above it", documents(part("c", usual)), most],
    ["a large one where it may be", documents(part("large", large)), ""],
    ["a large one elsewhere", documents(part("c", large)), most],
    ["in a transaction", transaction(part("large", large), part("d", 9)), ""],
    ["in a transaction, elsewhere", transaction(part("large", 9), part("d", usual)), most],
    ["a transaction of usual ones", transaction(part("c", usual / 2), part("d", usual / 2)), ""],
  ])("%s", (_name, write, expected) => {
    const found = refusal(3, write);
    if (expected === "") expect(found).toBe("");
    else expect(found).toContain(expected);
  });

  test("by rules 2 a request has the size that members of earlier builds take", () => {
    const several = Array.from({ length: 5 }, (_, i) => part(`c${i}`, 900_000));
    expect(refusal(3, transaction(...several))).toBe("");
    expect(refusal(2, transaction(...several))).toContain(`at most ${EARLY_REQUEST_SIZE_MAX}`);
    expect(refusal(2, transaction(...several.slice(1)))).toBe("");
  });
});

test.each([
  [{ action: "createCollection", collection: "c", settings: { documentSizeMax: 5000 } }],
  [{ action: "createIndex", collection: "c", index: { name: "a", where: { a: 1 } } }],
  [{ action: "createIndex", collection: "c", index: { name: "a", collation: { strength: 1 } } }],
])("rules 2 know no field of %j: it is refused, not left out", (request) => {
  expect(refusal(2, catalog(request))).toMatch(/know no (documentSizeMax|where|collation)/);
  expect(refusal(3, catalog(request))).toBe("");
});

test.each([
  [{ action: "createCollection", collection: "c", settings: { validator: "v" } }],
  [{ action: "createIndex", collection: "c", index: { name: "a" } }],
  [{ action: "dropIndex", collection: "c", index: "where" }],
])("what rules 2 know is let in: %j", (request) => {
  expect(refusal(2, catalog(request))).toBe("");
});
