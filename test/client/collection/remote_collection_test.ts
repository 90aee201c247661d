/**
 * What a collection promises, over the network and in the caller's process alike.
 *
 * @module
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Collection } from "../../../src/api/collection.ts";
import type { Database } from "../../../src/api/database.ts";
import { WALDatabase } from "../../../src/node/embedded/wal_database.ts";
import type { DocumentId } from "../../../src/protocol/encoding/document_key.ts";
import { freshFolder, rejection, TestCluster } from "../../node/test_cluster.ts";

type Loose = { id?: DocumentId; [field: string]: unknown };

const folder = freshFolder();
const embedded = new WALDatabase({ name: "test", root: folder.path });
let cluster: TestCluster;
let remote: Database;

beforeAll(async () => {
  cluster = await TestCluster.start(1);
  remote = await cluster.connect();
  await embedded.open();
});

afterAll(async () => {
  await embedded.close();
  await cluster.stop();
  folder.remove();
});

describe.each(["remote", "embedded"] as const)("a %s collection", (where) => {
  let number = 0;

  function fresh(options = {}): Collection<Loose> {
    number += 1;
    const database = where === "remote" ? remote : embedded;
    return database.collection(`c${number}`, options);
  }

  test("insert refuses what exists, put and save replace it, remove gives it back", async () => {
    const c = fresh();
    expect(await c.insert({ id: "a", n: 1 })).toEqual({ id: "a", n: 1 });
    expect((await rejection(c.create({ id: "a", n: 2 }))).code).toBe("DUPLICATE_KEY");
    const version = await c.put({ id: "a", n: 3 });
    expect(await c.save({ id: "a", n: 4 })).toEqual({ id: "a", n: 4 });
    expect((await c.findVersioned("a"))?.version).toBeGreaterThan(version);
    expect(await c.removeWithId("a")).toEqual({ id: "a", n: 4 });
    expect(await c.remove("a")).toBeUndefined();
    expect(await c.delete("a")).toBe(false);
    await c.put({ id: "a" });
    expect(await c.delete("a")).toBe(true);
    expect(await c.findById("a")).toBeUndefined();
    expect(await c.count()).toBe(0);
  });

  test("insertMany writes all or none", async () => {
    const c = fresh();
    await c.put({ id: 5 });
    const documents = Array.from({ length: 10 }, (_, id) => ({ id }));
    expect((await rejection(c.insertMany(documents))).code).toBe("DUPLICATE_KEY");
    expect(await c.count()).toBe(1);
    expect((await rejection(c.insertMany([{ id: 20 }, { id: 20 }]))).code).toBe("DUPLICATE_KEY");
    expect((await rejection(c.insertMany([{ id: 20 }, { id: 21, n: Number.NaN }]))).code).toBe(
      "VALIDATION",
    );
    expect(await c.count()).toBe(1);
    expect(await c.insertMany([])).toEqual([]);
    expect(await c.insertMany([{ id: 30 }, { id: 31 }])).toEqual([{ id: 30 }, { id: 31 }]);
    expect(await c.count()).toBe(3);
  });

  test("more than a request holds is refused, and the client goes on", async () => {
    const c = fresh();
    const text = "x".repeat(2500);
    const large = Array.from({ length: 9000 }, (_, id) => ({ id, text }));
    const many = Array.from({ length: 10_001 }, (_, id) => ({ id }));
    const [one, two, three] = [c.insertMany(large), c.insertMany(many), c.put({ id: 1 })];
    expect((await rejection(one)).code).toBe("VALIDATION");
    expect((await rejection(two)).code).toBe("VALIDATION");
    await three;
    const huge = c.put({ id: 2, text: "x".repeat(12_000_000) });
    expect((await rejection(huge)).code).toBe("VALIDATION");
    expect(await c.count()).toBe(1);
  });

  test("ifVersion guards put, update, remove and delete; 0 means new", async () => {
    const c = fresh();
    const first = await c.put({ id: 1, n: 1 }, { ifVersion: 0 });
    const conflict = await rejection(c.put({ id: 1, n: 2 }, { ifVersion: 0 }));
    expect(conflict).toMatchObject({ code: "VERSION_CONFLICT", actualVersion: first });
    const second = await c.put({ id: 1, n: 2 }, { ifVersion: first });
    for (const wrong of [
      c.update(1, { n: 3 }, { ifVersion: first }),
      c.remove(1, { ifVersion: first }),
      c.delete(1, { ifVersion: first }),
    ]) {
      expect((await rejection(wrong)).code).toBe("VERSION_CONFLICT");
    }
    expect(await c.update(1, { m: 3 }, { ifVersion: second })).toEqual({ id: 1, n: 2, m: 3 });
    const { version = 0 } = (await c.findVersioned(1)) ?? {};
    expect(await c.delete(1, { ifVersion: version })).toBe(true);
    // A removed and inserted document never gets an old version again.
    expect(await c.put({ id: 1 }, { ifVersion: 0 })).toBeGreaterThan(version);
  });

  // Written into the frame that other requests of the turn share.
  test.each([-1, 1.5, Number.NaN, 2 ** 53])("ifVersion %d is refused, others pass", async (bad) => {
    const c = fresh();
    const good = c.put({ id: 1 });
    const wrong = rejection(c.put({ id: 2 }, { ifVersion: bad }));
    const also = c.put({ id: 3 });
    expect((await wrong).code).toBe("VALIDATION");
    await Promise.all([good, also]);
    expect(await c.count()).toBe(2);
  });

  test("update merges maps, replaces arrays, and never changes the id", async () => {
    const c = fresh();
    await c.put({ id: 1, deep: { a: 1, b: { c: 2 } }, list: [1, 2] });
    const change = { deep: { b: { d: 3 } }, list: [9] };
    const merged = { id: 1, deep: { a: 1, b: { c: 2, d: 3 } }, list: [9] };
    expect(await c.update(1, change)).toEqual(merged);
    expect(await c.updateWithId(7, { n: 1 })).toBeUndefined();
    expect((await rejection(c.update(1, { id: 2 }))).code).toBe("VALIDATION");
    expect(await c.findById(1)).toEqual(merged);
  });

  test("ids: numbers and texts are different, and every text is one", async () => {
    const c = fresh();
    const long = "k".repeat(1023);
    const ids = [1, "1", 0, -1, 1.5, 2 ** 53, "", "__proto__", "a.b", "$x", "ä", "a\0b", long];
    for (const [n, id] of ids.entries()) await c.insert({ id, n });
    expect(await c.count()).toBe(ids.length);
    for (const [n, id] of ids.entries()) expect(await c.findById(id)).toEqual({ id, n });
    expect(await c.findById(-0)).toEqual({ id: 0, n: 2 });
    for (const id of [Number.NaN, Number.POSITIVE_INFINITY, "\ud800", `${long}k`, {}, [], true]) {
      expect((await rejection(c.put({ id: id as never }))).code).toBe("VALIDATION");
      expect((await rejection(c.findById(id as never))).code).toBe("VALIDATION");
    }
  });

  test("a document without an id gets a UUID that sorts by time", async () => {
    const c = fresh();
    const one = await c.insert({ n: 1 });
    const two = await c.insert({ n: 2 });
    const form = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
    expect(one.id).toMatch(form);
    expect(String(one.id) < String(two.id)).toBe(true);
    expect(await c.findById(one.id ?? "")).toEqual(one);
  });

  test("an id may stand in another field", async () => {
    const c = fresh({ idField: "sku" });
    await c.put({ sku: "x", id: "plain" });
    expect(await c.findById("x")).toEqual({ sku: "x", id: "plain" });
    expect(await c.findById("plain")).toBeUndefined();
  });

  test("what is given and what comes back are private copies", async () => {
    const c = fresh();
    const given = { id: 1, list: [1], bytes: Uint8Array.of(1, 2, 3) };
    const writing = c.insert(given);
    given.list.push(2);
    given.bytes[0] = 99;
    await writing;
    const found = await c.findById(1);
    expect(found).toEqual({ id: 1, list: [1], bytes: Uint8Array.of(1, 2, 3) });
    const kept = found as { list: number[]; bytes: Uint8Array } | undefined;
    kept?.list.push(3);
    kept?.bytes.fill(0);
    expect(await c.findById(1)).toEqual({ id: 1, list: [1], bytes: Uint8Array.of(1, 2, 3) });
  });

  test("insert gives back a copy whose insides are not the caller's", async () => {
    const c = fresh();
    const given = { id: 1, inner: { n: 1 } };
    const copy = await c.insert(given);
    (copy["inner"] as { n: number }).n = 2;
    expect(given.inner.n).toBe(1);
  });

  test.each([undefined, null, 1, "text", [1]])("%j is no document", async (value) => {
    expect((await rejection(fresh().put(value as never))).code).toBe("VALIDATION");
  });

  test("names of collections have bounds", () => {
    const database = where === "remote" ? remote : embedded;
    for (const name of ["", "x".repeat(121), "\ud800"]) {
      expect(() => database.collection(name)).toThrow(
        expect.objectContaining({ code: "VALIDATION" }),
      );
    }
  });
});
