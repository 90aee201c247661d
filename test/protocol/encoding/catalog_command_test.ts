/**
 * Changes of the catalog: what is read from an untrusted body, and what is refused.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ProtocolError, ValidationError } from "../../../src/base/errors.ts";
import { COLLECTION_NAME_SIZE_MAX, OPERATIONS_PER_REQUEST_MAX } from "../../../src/base/limits.ts";
import { NEWEST_RULES } from "../../../src/base/rules_version.ts";
import {
  decodeCatalogAnswer,
  readCatalogRequest,
  readIndexReady,
} from "../../../src/protocol/encoding/catalog_command.ts";
import { encodeCbor } from "../../../src/protocol/encoding/cbor.ts";

const collection = "c";

describe("requests", () => {
  test.each<readonly [unknown, unknown]>([
    [
      { action: "createCollection", collection, x: 1 },
      { action: "createCollection", collection },
    ],
    [
      { action: "dropCollection", collection },
      { action: "dropCollection", collection },
    ],
    [
      { action: "createIndex", collection, index: { any: 1 } },
      { action: "createIndex", collection, index: { any: 1 } },
    ],
    [
      { action: "dropIndex", collection, index: "i" },
      { action: "dropIndex", collection, index: "i" },
    ],
    [
      { action: "dropIndex", collection, index: {} },
      { action: "dropIndex", collection, index: "" },
    ],
    [
      { action: "nextIds", collection, count: 1 },
      { action: "nextIds", collection, count: 1 },
    ],
    [
      { action: "nextIds", collection, count: OPERATIONS_PER_REQUEST_MAX },
      { action: "nextIds", collection, count: OPERATIONS_PER_REQUEST_MAX },
    ],
  ])("%j is read", (given, read) => {
    expect(readCatalogRequest(given, NEWEST_RULES)).toEqual(read as never);
  });

  test.each<readonly [unknown, string]>([
    [undefined, "the request is not a map"],
    [[], "the request is not a map"],
    [{ action: "dropCollection" }, "the collection's name is missing"],
    [{ action: "dropCollection", collection: 1 }, "the collection's name is missing"],
    [
      { action: "dropCollection", collection: "x".repeat(COLLECTION_NAME_SIZE_MAX + 1) },
      "the collection's name is missing",
    ],
    [{ action: "explode", collection }, 'action "explode" is unknown'],
    [{ action: { toString: 1 }, collection }, 'action "" is unknown'],
    ...[0, -1, 0.5, "1", OPERATIONS_PER_REQUEST_MAX + 1].map(
      (count): readonly [unknown, string] => [
        { action: "nextIds", collection, count },
        `1 to ${OPERATIONS_PER_REQUEST_MAX} at a time`,
      ],
    ),
  ])("%j is refused", (given, message) => {
    expect(() => readCatalogRequest(given, NEWEST_RULES)).toThrow(ValidationError);
    expect(() => readCatalogRequest(given, NEWEST_RULES)).toThrow(message);
  });

  test("an index that is ready: texts, and nothing else", () => {
    const { index } = { index: "i" };
    expect(readIndexReady({ collection, index })).toEqual({ collection, index });
    expect(readIndexReady({ collection: 5, index: [] })).toEqual({ collection: "", index: "" });
    expect(() => readIndexReady(7)).toThrow(ValidationError);
  });
});

describe("answers", () => {
  test.each([
    { changed: true },
    { changed: false, ids: [] },
    { changed: true, ids: [1, 2 ** 53 - 1] },
  ])("%j is read", (answer) => {
    expect(decodeCatalogAnswer(encodeCbor({ ...answer, more: 1 }))).toEqual(answer);
  });

  test.each<readonly [unknown]>([
    [{}],
    [[]],
    [{ changed: 1 }],
    [{ changed: true, ids: 1 }],
    [{ changed: true, ids: [0.5] }],
  ])("%j is refused", (answer) => {
    expect(() => decodeCatalogAnswer(encodeCbor(answer as never))).toThrow(ProtocolError);
  });
});
