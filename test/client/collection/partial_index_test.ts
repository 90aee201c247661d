/**
 * Partial indexes, names with dots, and refusals that name values and documents: in a database of
 * this process and in a cluster.
 *
 * @module
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { AnyDocument } from "../../../src/mod.ts";
import { rejection } from "../../node/test_cluster.ts";
import { embedded, type Home, remote } from "./homes.ts";

interface User {
  readonly id: string;
  readonly email?: string;
  readonly age?: number;
}

describe.each([
  ["embedded", embedded],
  ["a cluster", remote],
] as const)("%s", (_name, open) => {
  let home: Home;
  let count = 0;

  beforeAll(async () => {
    home = await open();
  }, 60_000);
  afterAll(() => home.close());

  function users() {
    count += 1;
    return home.database.collection<User>(`u${count}`);
  }

  test("unique where there is a text: many may have an empty one, or none", async () => {
    const collection = users();
    const where = { email: { $gt: "" } };
    await collection.createIndex("email", { keys: "email", unique: true, where });
    await collection.insertMany([
      { id: "a", email: "" },
      { id: "b", email: "" },
      { id: "c" },
      { id: "d" },
      { id: "e", email: "e@x" },
    ]);
    const error = await rejection(collection.insert({ id: "f", email: "e@x" }));
    expect(error).toMatchObject({ code: "DUPLICATE_KEY", fields: { index: "email", id: "f" } });
    expect(error.remedy).toBe(
      'Document "e" has the value "e@x": give document "f" another one, or change that one',
    );
    // A document comes into the index, and leaves it.
    expect((await rejection(collection.update("a", { email: "e@x" }))).code).toBe("DUPLICATE_KEY");
    await collection.update("e", { email: "" });
    await collection.update("a", { email: "e@x" });
    expect(await collection.find({ email: "e@x" })).toEqual([{ id: "a", email: "e@x" }]);
    expect((await collection.find({ email: "" })).map(({ id }) => id).sort()).toEqual(["b", "e"]);
    expect((await collection.listIndexes())[0]).toMatchObject({ name: "email", where });
  });

  test("it serves queries that say what it holds, and no other", async () => {
    const collection = users();
    await collection.createIndex("age", { keys: "age", where: { email: { $exists: true } } });
    await collection.insertMany(
      Array.from({ length: 50 }, (_, i) => {
        return i % 2 === 0 ? { id: `u${i}`, age: i } : { id: `u${i}`, age: i, email: `${i}@x` };
      }),
    );
    const plan = async (query: object) => (await collection.explain(query)).plan;
    expect(await plan({ age: 7, email: { $exists: true } })).toBe("index");
    expect(await plan({ age: 7, email: "7@x" })).toBe("index");
    expect(await plan({ age: 7 })).toBe("scan");
    expect(await plan({ age: 7, email: { $exists: false } })).toBe("scan");
    expect((await rejection(collection.explain({ age: 7 }, { hint: "age" }))).code).toBe("QUERY");
    expect(await collection.find({ age: { $gte: 48 } }, { sort: { age: 1 } })).toHaveLength(2);
    expect(await collection.find({ age: 8 })).toHaveLength(1);
    expect(await collection.find({ age: { $gt: 45 }, email: { $exists: true } })).toHaveLength(2);
  });

  test("made over documents that are there; what breaks it is named", async () => {
    const collection = users();
    await collection.insertMany([
      { id: "a", age: 1, email: "x" },
      { id: "b", age: 1 },
      { id: "c", age: 1, email: "y" },
    ]);
    const unique = { keys: "age", unique: true } as const;
    const error = await rejection(
      collection.createIndex("age", { ...unique, where: { email: { $exists: true } } }),
    );
    expect([error.code, error.message]).toEqual([
      "DUPLICATE_KEY",
      'Cannot make the unique index age: "a" and "c" have the value 1',
    ]);
    await collection.insertMany([
      { id: "l1", email: `${"p".repeat(300)}1` },
      { id: "l2", email: `${"p".repeat(300)}2` },
      { id: "z1", email: "Z" },
      { id: "z2", email: "z" },
    ]);
    const folded = collection.createIndex("f", {
      ...{ keys: "email", unique: true, ignoreCase: true },
      where: { email: { $gt: "" } },
    });
    expect((await rejection(folded)).message).toMatch(/"z[12]" and "z[12]" have the value "[zZ]"/);
    await collection.createIndex("age", { ...unique, where: { email: "x" } });
    for (const where of [{}, { $nor: 5 }, { email: { $no: 1 } }]) {
      const wrong = collection.createIndex("w", { keys: "age", where: where as object });
      expect((await rejection(wrong)).code).toBe("QUERY");
    }
    const expiring = { keys: "age", where: { email: "x" }, expireAfterMs: 5 } as const;
    expect((await rejection(collection.createIndex("t", expiring))).code).toBe("QUERY");
  });

  test("documents are named by their own id field", async () => {
    const collection = home.database.collection<{ key: string; v: number }>("keyed", {
      idField: "key",
    });
    await collection.insertMany([
      { key: "k1", v: 1 },
      { key: "k2", v: 1 },
    ]);
    const error = await rejection(collection.createIndex("v", { keys: "v", unique: true }));
    expect(error.message).toContain('"k1" and "k2" have the value 1');
  });

  test("of several values in an array the shared one is named, bytes by their number", async () => {
    const collection = home.database.collection<{ id: string; v?: unknown }>("shared");
    await collection.createIndex("v", { keys: "v", unique: true });
    await collection.insert({ id: "a", v: ["x", "y"] });
    const shared = await rejection(collection.insert({ id: "b", v: ["w", "y"] }));
    expect(shared.remedy).toContain('"y"');
    expect(shared.remedy).not.toContain('"w"');
    await collection.insert({ id: "c", v: new Uint8Array(40) });
    const bytes = await rejection(collection.insert({ id: "d", v: new Uint8Array(40) }));
    expect(bytes.remedy).toContain("40 bytes");
  });

  test("a value that an index cannot take: path, size and document", async () => {
    const collection = users();
    await collection.createIndex("email", { keys: "email" });
    const error = await rejection(collection.insert({ id: "long", email: "y".repeat(3000) }));
    expect(error).toMatchObject({ code: "VALIDATION", fields: { id: "long", index: "email" } });
    expect(error.remedy).toContain("At email it holds a value of");
    expect(error.remedy).toContain('"yyyy');
  });

  test("names with dots: found, sorted and changed by an escaped path", async () => {
    const collection = home.database.collection("dots");
    await collection.insertMany([
      { id: 1, "a.b": 5, a: { b: 1 } },
      { id: 2, "a.b": 3, a: { b: 2 } },
      { id: 3, x: { "y.z": "deep" } },
    ]);
    const ids = async (query: AnyDocument, options = {}) =>
      (await collection.find(query, options)).map(({ id }) => id);
    expect(await ids({ "a\\.b": 5 })).toEqual([1]);
    expect(await ids({ "a.b": 1 })).toEqual([1]);
    expect(await ids({ "x.y\\.z": "deep" })).toEqual([3]);
    expect(await ids({ "a\\.b": { $gt: 0 } }, { sort: { "a\\.b": 1 } })).toEqual([2, 1]);
    expect(await collection.find({ id: 1 }, { projection: { "a\\.b": 1 } })).toEqual([
      { id: 1, "a.b": 5 },
    ]);
    await collection.update(1, { $inc: { "a\\.b": 1 }, $set: { "x.y\\.z": 9 } });
    expect(await collection.findById(1)).toEqual({
      ...{ id: 1, "a.b": 6, a: { b: 1 } },
      x: { "y.z": 9 },
    });
    expect(await collection.distinct("a\\.b")).toEqual([3, 6]);
    // Plain fields of a change, and of an upsert's filter, are names and no paths.
    await collection.updateOne({ id: 2 }, { "p.q": 1, "k\\": { b: 2 } });
    expect(await collection.findById(2)).toMatchObject({ "p.q": 1, "k\\": { b: 2 } });
    const made = { "a\\.b": { $eq: { "c.d": 1 } }, "a\\.b.c\\.d": 1, id: 9 };
    await collection.updateOne(made, { $set: { n: 1 } }, { upsert: true });
    expect(await collection.findById(9)).toEqual({ id: 9, "a.b": { "c.d": 1 }, n: 1 });
    const apart = { $set: { "e\\": 2, "e\\.f": 9 } };
    expect(await collection.update(9, apart)).toMatchObject({ "e\\": 2, "e.f": 9 });
    const same = { $set: { "q\\\\w\\.e": 1 }, $inc: { "q\\w\\.e": 1 } };
    expect((await rejection(collection.update(9, same))).message).toContain("overlap");
    const ending = { $set: { "Dr\\.": "x" } };
    expect(await collection.update(9, ending)).toMatchObject({ "Dr.": "x" });
    expect(await ids({ "Dr\\.": "x" })).toEqual([9]);
    const index = collection.createIndex("d", { keys: "a\\.b" });
    expect((await rejection(index)).code).toBe("QUERY");
  });
});
