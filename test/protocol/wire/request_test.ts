/**
 * Payloads of requests: what each becomes, and what is refused.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ByteWriter, encodeText, viewOf } from "../../../src/base/bytes.ts";
import { CStoreError, ProtocolError, ValidationError } from "../../../src/base/errors.ts";
import { encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import {
  beginRequest,
  endRequest,
  type RequestKind,
  readRequest,
} from "../../../src/protocol/wire/client_message.ts";
import { decodeRequest, isCommand, type Request } from "../../../src/protocol/wire/request.ts";
import { fuzzRandom, mutate, rounds, seeded } from "../fuzz_seed.ts";

const HEAD = { requestId: 5, deadlineMs: 700 };
const FIND = { action: "find", collection: "c" };
const DEFAULTS = {
  filter: {},
  sort: {},
  projection: {},
  idField: "id",
  hint: "",
  skip: 0,
  limit: 0,
};
const JOIN = { action: "join", id: "n4", incarnation: "00112233445566aa" };

/** A body with one request, and another request of zeros behind it. */
function bodyOf(kind: RequestKind, payload: Uint8Array): Uint8Array {
  const writer = new ByteWriter();
  const start = beginRequest(writer, kind, HEAD);
  writer.raw(payload);
  endRequest(writer, start);
  return writer.raw(new Uint8Array(300)).copy();
}

function decoded(kind: RequestKind, payload: Uint8Array): Request {
  const body = bodyOf(kind, payload);
  return decodeRequest(body, readRequest(viewOf(body), 0));
}

function query(level: number, fields: unknown): Request {
  return decoded("QUERY", Buffer.concat([Uint8Array.of(level), encodeCbor(fields as never)]));
}

function cluster(fields: unknown): Request {
  return decoded("CLUSTER", encodeCbor(fields as never));
}

describe("kinds", () => {
  test("a command stays where it is in its frame", () => {
    const body = bodyOf("COMMAND", Uint8Array.of(1, 2, 3));
    const view = readRequest(viewOf(body), 0);
    expect(isCommand(view)).toBe(true);
    expect(decodeRequest(body, view)).toEqual(view as unknown as Request);
    expect([view.start, view.end]).toEqual([14, 17]);
  });

  test("reads, status and promotion", () => {
    const target = Uint8Array.of(1, 1, 0x63, 9, 8);
    for (const kind of ["READ", "COUNT"] as const) {
      const collection = encodeText("c");
      const read = { level: "leader" as const, collection, key: Uint8Array.of(9, 8) };
      expect(decoded(kind, target)).toEqual({ ...HEAD, kind, target: read });
    }
    expect(decoded("STATUS", new Uint8Array(0))).toEqual({ ...HEAD, kind: "STATUS" });
    const name = new ByteWriter().text("n2").copy();
    expect(decoded("PROMOTE", name)).toEqual({ ...HEAD, kind: "PROMOTE", nodeId: "n2" });
    expect(() => decoded("PROMOTE", name.subarray(0, 3))).toThrow(ProtocolError);
  });
});

describe("queries", () => {
  test.each<readonly [unknown, unknown]>([
    [FIND, { ...FIND, ...DEFAULTS, pageSize: 0 }],
    [
      { ...FIND, filter: { a: 1 }, sort: { a: 1 }, skip: 2, limit: 3, hint: "h", pageSize: 4 },
      {
        ...FIND,
        ...DEFAULTS,
        filter: { a: 1 },
        sort: { a: 1 },
        skip: 2,
        limit: 3,
        hint: "h",
        pageSize: 4,
      },
    ],
    [
      { ...FIND, action: "count" },
      { ...DEFAULTS, action: "count", collection: "c" },
    ],
    [
      { ...FIND, action: "explain" },
      { ...DEFAULTS, action: "explain", collection: "c" },
    ],
    [
      { action: "next", cursor: 7 },
      { action: "next", cursor: 7 },
    ],
    [
      { action: "close", cursor: "7" },
      { action: "close", cursor: 0 },
    ],
    [{ action: "backupNext" }, { action: "backupNext", cursor: 0 }],
    [{ action: "backup", more: 1 }, { action: "backup" }],
    [{ action: "watch" }, { action: "watch", since: undefined, waitMs: 0, collection: "" }],
    [
      { action: "watch", since: 3, waitMs: 4, collection: "c" },
      { action: "watch", since: 3, waitMs: 4, collection: "c" },
    ],
    [
      { action: "log", after: 1, term: 0 },
      { action: "log", after: 1, term: 0 },
    ],
    [{ action: "catalog" }, { action: "catalog", collection: undefined }],
    [
      { action: "catalog", collection: "c" },
      { action: "catalog", collection: "c" },
    ],
  ])("%j is read", (given, read) => {
    expect(query(2, given)).toEqual({
      ...HEAD,
      kind: "QUERY",
      level: "stale",
      query: read as never,
    });
  });

  test.each<readonly [unknown, string]>([
    [[], "not a map"],
    [{ action: "destroy" }, "the action is unknown"],
    [{ action: "find" }, "no collection is named"],
    [{ ...FIND, filter: 1 }, "filter, sort and projection are maps"],
    [{ ...FIND, sort: [] }, "filter, sort and projection are maps"],
    [{ ...FIND, projection: "a" }, "filter, sort and projection are maps"],
    [{ ...FIND, hint: 1 }, "hint and idField are texts"],
    [{ ...FIND, idField: null }, "hint and idField are texts"],
    [{ ...FIND, skip: -1 }, "skip and limit are whole numbers"],
    [{ ...FIND, limit: 0.5 }, "skip and limit are whole numbers"],
    [{ ...FIND, limit: 2 ** 60 }, "skip and limit are whole numbers"],
    [{ action: "watch", since: -1 }, "since and waitMs are whole numbers"],
    [{ action: "watch", waitMs: "1" }, "since and waitMs are whole numbers"],
    [{ action: "watch", collection: 1 }, "since and waitMs are whole numbers"],
    [{ action: "log", after: 1 }, "after and term are whole numbers"],
    [{ ...FIND, filter: { a: "x".repeat(257 * 1024) } }, "not a map of at most 262144 bytes"],
    [{ ...FIND, filtr: { a: 1 } }, 'the field "filtr" is unknown'],
    [{ ...FIND, action: "count", Limit: 1 }, 'the field "Limit" is unknown'],
    [{ action: "watch", sinc: 3 }, 'the field "sinc" is unknown'],
  ])("%j is refused", (given, message) => {
    expect(() => query(0, given)).toThrow(ValidationError);
    expect(() => query(0, given)).toThrow(message);
  });

  test("a level that is unknown, and none", () => {
    expect(() => query(3, FIND)).toThrow("the read level is unknown");
    expect(() => decoded("QUERY", new Uint8Array(0))).toThrow("the read level is unknown");
  });
});

describe("changes of the members", () => {
  test.each<readonly [unknown, unknown]>([
    [JOIN, { ...JOIN, address: "", standby: false, repairs: undefined }],
    [
      { ...JOIN, address: "h:1", standby: true, repairs: "ff" },
      { ...JOIN, address: "h:1", standby: true, repairs: "ff" },
    ],
    [
      { action: "add", id: "n4", address: "h:1", standby: 1 },
      { action: "add", id: "n4", address: "h:1", standby: false },
    ],
    [
      { action: "remove", id: "n4" },
      { action: "remove", id: "n4" },
    ],
    [
      { action: "recover", id: "n4" },
      { action: "recover", id: "n4" },
    ],
    [
      { action: "replace", id: "a", by: "b" },
      { action: "replace", id: "a", by: "b" },
    ],
    [
      { action: "role", id: "a", role: "x" },
      { action: "role", id: "a", role: "x" },
    ],
    [{ action: "verify", id: 1 }, { action: "verify" }],
    [
      { action: "digest", index: 9 },
      { action: "digest", index: 9 },
    ],
    [
      { action: "documents", index: 9, collection: "", range: 255 },
      { action: "documents", index: 9, collection: "", range: 255 },
    ],
  ])("%j is read", (given, read) => {
    expect(cluster(given)).toEqual({ ...HEAD, kind: "CLUSTER", cluster: read as never });
  });

  test.each<readonly [unknown, string]>([
    [1, "not a map"],
    [{}, '"action" must be a text'],
    [{ action: "destroy" }, 'Cannot do "destroy": it is unknown'],
    [{ action: "join", id: "n4" }, '"incarnation" must be a text'],
    [{ action: "remove" }, '"id" must be a text'],
    [{ action: "remove", id: "" }, '"id" must be a text'],
    [{ action: "remove", id: "x".repeat(301) }, '"id" must be a text'],
    [{ action: "add", id: "n4" }, '"address" must be a text'],
    [{ action: "replace", id: "a" }, '"by" must be a text'],
    [{ action: "role", id: "a" }, '"role" must be a text'],
    [{ action: "digest", index: -1 }, '"index" must be a whole number'],
    [{ action: "documents", index: 1, range: 1 }, "no collection is named"],
    [{ action: "documents", index: 1, collection: "c" }, '"range" must be a whole number'],
    [{ action: "remove", id: "a", more: "x".repeat(17_000) }, "not a map of at most 16384 bytes"],
  ])("%j is refused", (given, message) => {
    expect(() => cluster(given)).toThrow(ValidationError);
    expect(() => cluster(given)).toThrow(message);
  });
});

test(seeded("requests: mutations give a request or an error of cstore, nothing else"), () => {
  const random = fuzzRandom();
  const bodies = [
    bodyOf("QUERY", Buffer.concat([Uint8Array.of(1), encodeCbor({ ...FIND, filter: { a: 1 } })])),
    bodyOf("CLUSTER", encodeCbor(JOIN)),
    bodyOf("READ", Uint8Array.of(1, 1, 0x63, 9, 8)),
    bodyOf("QUERY", new Uint8Array(0)),
  ];
  let refused = 0;
  for (let round = 0; round < rounds(500); round += 1) {
    const body = mutate(random, bodies[round % bodies.length]!);
    try {
      decodeRequest(body, readRequest(viewOf(body), 0));
    } catch (error) {
      if (!(error instanceof CStoreError)) throw error;
      refused += 1;
    }
  }
  expect(refused).toBeGreaterThan(0);
});
