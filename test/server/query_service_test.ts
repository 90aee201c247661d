/**
 * Queries of a node over a real state: pages, cursors, counts, plans, the catalog and backups.
 *
 * @module
 */

import { beforeEach, describe, expect, test } from "bun:test";
import { ByteReader } from "../../src/base/bytes.ts";
import type { CStoreError } from "../../src/base/errors.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { SeededRandom } from "../../src/platform/random.ts";
import { decodeCbor } from "../../src/protocol/encoding/cbor.ts";
import { readOperationResults } from "../../src/protocol/encoding/operation_result.ts";
import type { QueryRequest } from "../../src/protocol/wire/request.ts";
import { QueryService, specOf } from "../../src/server/query_service.ts";
import { Machine } from "../database/machine.ts";

const ALL = { filter: {}, sort: {}, projection: {}, idField: "id", hint: "", skip: 0, limit: 0 };
const FIND = { action: "find", collection: "c", ...ALL, pageSize: 2 } as const;

let service: QueryService;
beforeEach(() => {
  const machine = new Machine();
  for (const id of ["a", "b", "c", "d", "e"]) machine.one(["PUT", id, { id, n: id.charCodeAt(0) }]);
  const parts = { clock: systemClock, random: new SeededRandom(1), machine: machine.state };
  const none = { masters: () => undefined, mastersRefusal: () => undefined };
  service = new QueryService({ ...parts, ...none, log: {} as never });
});

/** The payload that a request is answered with. */
function answer(request: QueryRequest): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    service.answer(request, {
      deadlineMs: systemClock.nowMs() + 10_000,
      result: (payload) => resolve(payload.slice()),
      failed: (error: CStoreError) => reject(error),
    });
  });
}

/** A page: its cursor and the ids on it. */
async function page(request: QueryRequest): Promise<{ cursor: number; ids: unknown[] }> {
  const reader = new ByteReader(await answer(request));
  const cursor = reader.u64();
  expect(reader.u64()).toBe(5);
  const results = readOperationResults(reader.take(reader.remaining));
  const ids = results.map(({ document }) => (decodeCbor(document!) as { id: string }).id);
  return { cursor, ids: ids.sort() };
}

describe("cursors", () => {
  test("pages follow each other until there are no more", async () => {
    const sorted = { ...FIND, sort: { id: 1 } } as const;
    const first = await page(sorted);
    expect(first.ids).toEqual(["a", "b"]);
    const second = await page({ action: "next", cursor: first.cursor });
    expect(second).toEqual({ cursor: first.cursor, ids: ["c", "d"] });
    expect(await page({ action: "next", cursor: first.cursor })).toEqual({ cursor: 0, ids: ["e"] });
    const gone = answer({ action: "next", cursor: first.cursor });
    await expect(gone).rejects.toMatchObject({ code: "CURSOR_LOST" });
  });

  test("one that is closed, or was never given out, is lost", async () => {
    const { cursor } = await page(FIND);
    expect(await answer({ action: "close", cursor })).toEqual(new Uint8Array(0));
    for (const number of [cursor, 0, 12_345]) {
      const lost = answer({ action: "next", cursor: number });
      await expect(lost).rejects.toMatchObject({ code: "CURSOR_LOST" });
    }
  });
});

test("counts and plans", async () => {
  const filter = { n: { $gte: 99 } };
  const counted = new ByteReader(await answer({ ...FIND, filter, action: "count" }));
  expect([counted.u64(), counted.u64()]).toEqual([3, 5]);
  const plan = decodeCbor(await answer({ ...FIND, filter, action: "explain" }));
  expect(plan).toMatchObject({ plan: "scan", index: "" });
});

test("the catalog lists all collections, or one with its indexes", async () => {
  const all = decodeCbor(await answer({ action: "catalog", collection: undefined }));
  expect(all).toMatchObject({ sequence: 5, collections: [{ name: "c", count: 5 }] });
  const one = decodeCbor(await answer({ action: "catalog", collection: "c" }));
  expect(one).toMatchObject({ collections: [{ name: "c", indexes: [] }] });
  expect(decodeCbor(await answer({ action: "catalog", collection: "x" }))).toMatchObject({
    collections: [],
  });
});

test("a backup gives blocks until its cursor is 0", async () => {
  let reader = new ByteReader(await answer({ action: "backup" }));
  const cursor = reader.u64();
  expect(cursor).toBeGreaterThan(0);
  let blocks = 0;
  for (let at = cursor; at !== 0; blocks += 1) {
    expect(reader.u32()).toBe(reader.remaining);
    reader = new ByteReader(await answer({ action: "backupNext", cursor }));
    at = reader.u64();
  }
  expect(blocks).toBeGreaterThan(1);
  const gone = answer({ action: "backupNext", cursor });
  await expect(gone).rejects.toMatchObject({ code: "CURSOR_LOST" });
});

test("a query that cannot be understood is refused with its reason", async () => {
  const refused = answer({ ...FIND, filter: { n: { $no: 1 } } });
  await expect(refused).rejects.toMatchObject({ code: "QUERY" });
});

test("the fields of a query are those of its run", () => {
  const given = { ...ALL, collection: "c", filter: { n: 1 }, sort: { n: -1 }, skip: 2, limit: 3 };
  const { collection: _, ...expected } = given;
  expect(specOf(given)).toEqual(expected as never);
});
