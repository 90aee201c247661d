/**
 * One suite over both databases: whatever runs in one process runs in a cluster.
 *
 * @module
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Change as DocumentChange } from "../../../src/api/changes.ts";
import type { Collection } from "../../../src/api/collection.ts";
import type { Database } from "../../../src/api/database.ts";
import type { Query } from "../../../src/api/query.ts";
import type { TransactionCollection } from "../../../src/api/transaction.ts";
import { TransactionConflictError } from "../../../src/base/errors.ts";
import { WALDatabase } from "../../../src/node/embedded/wal_database.ts";
import { freshFolder, rejection, type Seat, TestCluster, waitFor } from "../test_cluster.ts";

interface Account {
  id: string;
  balance: number;
}

interface Person {
  id?: string | number;
  name?: string;
  age?: number;
  tags?: string[];
  address?: { city?: string; zip?: string };
}

interface Home {
  readonly database: Database;
  close(): Promise<void>;
}

async function embedded(): Promise<Home> {
  const folder = freshFolder();
  const database = new WALDatabase({ name: "app", root: folder.path });
  return {
    database,
    close: async () => {
      await database.close();
      folder.remove();
    },
  };
}

async function cluster(): Promise<Home> {
  const nodes = await TestCluster.start(3);
  return { database: await nodes.connect(), close: () => nodes.stop() };
}

function ending(): { readonly signal: AbortSignal; abort(): void } {
  const controller = new AbortController();
  return { signal: controller.signal, abort: () => controller.abort() };
}

const HOMES: readonly (readonly [string, () => Promise<Home>])[] = [
  ["WALDatabase", embedded],
  ["a cluster of three", cluster],
];

for (const [name, open] of HOMES) {
  describe(name, () => {
    let home: Home;
    let collections = 0;

    beforeAll(async () => {
      home = await open();
    });

    afterAll(() => home.close());

    function fresh<T extends object = Person>(): Collection<T> {
      collections += 1;
      return home.database.collection<T>(`c${collections}`);
    }

    async function people(count = 30): Promise<Collection<Person>> {
      const collection = fresh();
      const documents = Array.from({ length: count }, (_, i) => {
        return { id: `p${i}`, name: `n${i % 10}`, age: i, tags: [`t${i % 3}`] };
      });
      await collection.insertMany(documents);
      return collection;
    }

    test("misspelt options are refused by their names, whichever call they are given to", async () => {
      const collection = await people(2);
      const { database } = home;
      const wrong = (options: object): never => options as never;
      const calls: Record<string, () => Promise<unknown>> = {
        lmit: () => collection.find({}, wrong({ lmit: 1 })),
        sorted: () => collection.findOne({}, wrong({ sorted: { age: 1 } })),
        reed: () => collection.findById("p0", wrong({ reed: "stale" })),
        level: () => collection.count({}, wrong({ level: "stale" })),
        ifversion: () =>
          collection.put({ id: "p0", name: "", age: 0, tags: [] }, wrong({ ifversion: 1 })),
        mrege: () => collection.update("p0", { age: 1 }, wrong({ mrege: false })),
        upsrt: () => collection.updateOne({ age: 1 }, { age: 1 }, wrong({ upsrt: true })),
        version: () => collection.remove("p0", wrong({ version: 1 })),
        expireAfterSeconds: () =>
          collection.createIndex("x", wrong({ keys: "age", expireAfterSeconds: 1 })),
        timeout: () => database.transaction(async () => 1, wrong({ timeout: 1 })),
        from: () =>
          database
            .watch(wrong({ from: 1 }))
            [Symbol.asyncIterator]()
            .next(),
        id: () => database.createCollection("c", wrong({ id: "autoIncrement" })),
        idfield: async () => database.collection("c", wrong({ idfield: "x" })),
        ifVersion: () => collection.update({ age: 1 }, { age: 1 }, wrong({ ifVersion: 7 })),
        merg: () =>
          database.transaction((transaction) =>
            transaction.collection(collection.name).update("p0", {}, wrong({ merg: false })),
          ),
        upserts: () =>
          database.transaction(async (transaction) => {
            const inside = transaction.collection(collection.name);
            return Reflect.apply(inside.updateOne, inside, [{}, {}, { upserts: true }]);
          }),
        idFeild: () =>
          database.transaction(async (transaction) =>
            transaction.collection("c", wrong({ idFeild: "x" })),
          ),
      };
      for (const [name, call] of Object.entries(calls)) {
        const error: { code?: string; message?: string } = await call().then(
          () => ({}),
          (one: object) => one,
        );
        expect([name, error.code]).toEqual([name, "VALIDATION"]);
        expect(error.message).toContain(`"${name}"`);
      }
      expect(await collection.count()).toBe(2);
    });

    test("too many documents for one request, and too large ones: refused with the way out", async () => {
      const collection = fresh<{ id: string; pad: string }>();
      const many = (count: number, size: number): { id: string; pad: string }[] =>
        Array.from({ length: count }, (_, i) => ({ id: `d${i}`, pad: "x".repeat(size) }));
      const remedy = expect.stringContaining("in portions");
      for (const documents of [many(10_001, 1), many(100, 250_000)]) {
        await expect(collection.insertMany(documents)).rejects.toMatchObject({ remedy });
        await expect(collection.putMany(documents)).rejects.toMatchObject({
          code: "VALIDATION",
          remedy,
        });
      }
      expect(await collection.count()).toBe(0);
      await collection.insertMany(many(10_000, 1));
      expect(await collection.count()).toBe(10_000);
    });

    test("find: conditions, order, part, projection, functions", async () => {
      const collection = await people();
      expect((await collection.find({ age: { $gte: 25 } })).length).toBe(5);
      expect((await collection.find((person) => person.age === 7)).map(({ id }) => id)).toEqual([
        "p7",
      ]);
      const page = await collection.find({}, { sort: { age: -1 }, skip: 1, limit: 2 });
      expect(page.map(({ age }) => age)).toEqual([28, 27]);
      expect(await collection.find({ age: 3 }, { projection: { name: 1 } })).toEqual([
        { id: "p3", name: "n3" },
      ]);
      expect(await collection.findOne({ age: 1000 })).toBeUndefined();
      expect(await collection.count({ tags: "t0" })).toBe(10);
      expect(await collection.count()).toBe(30);
      expect((await collection.findBy("name", "n4")).length).toBe(3);
      const range = await collection.findRange("age", { gt: 3, lte: 5 });
      expect(range.map(({ age }) => age)).toEqual([4, 5]);
      expect((await collection.distinct("tags")).sort()).toEqual(["t0", "t1", "t2"]);
      expect([
        (await collection.lowest("age"))?.age,
        (await collection.greatest("age"))?.age,
      ]).toEqual([0, 29]);
      expect((await collection.find({ name: /^N1/i })).length).toBe(3);
    });

    test("find: an empty collection, and one that nobody wrote to", async () => {
      const collection = fresh();
      expect(await collection.find()).toEqual([]);
      expect(await collection.count({ age: 1 })).toBe(0);
      expect(await collection.listIndexes()).toEqual([]);
    });

    test("find: a query's fields and their types are those of the documents", async () => {
      const collection = await people(3);
      const nested = fresh<{ id: string; tags: string[]; home: { city: string; zip: number } }>();
      await nested.insert({ id: "a", tags: ["x", "y"], home: { city: "Rome", zip: 1 } });
      for (const query of [
        { tags: "x" },
        { tags: /^y/ },
        { home: { city: "Rome" } },
        { "home.city": "Rome", $or: [{ id: "a" }, { id: "b" }] },
        { id: { $in: ["a"] } },
      ] satisfies Query<{ id: string; tags: string[]; home: { city: string; zip: number } }>[]) {
        expect(await nested.count(query)).toBe(1);
      }
      // @ts-expect-error no document has such a field
      expect(await collection.count({ agee: 1 })).toBe(0);
      // @ts-expect-error an age is a number
      expect(await collection.count({ age: "1" })).toBe(0);
    });

    test("find: what cannot be understood is refused, and undefined is not everything", async () => {
      const collection = await people(3);
      for (const filter of [
        { a: { $no: 1 } },
        { a: undefined },
        { $where: "1" },
        { a: () => true },
      ]) {
        expect((await rejection(collection.find(filter as never))).code).toBe("QUERY");
      }
      expect((await rejection(collection.deleteMany({ id: undefined } as never))).code).toBe(
        "QUERY",
      );
      expect((await rejection(collection.find({}, { sort: { name: 2 as 1 } }))).code).toBe("QUERY");
      expect((await rejection(collection.find({}, { limit: -1 }))).code).toBe("VALIDATION");
      expect((await rejection(collection.find({}, { hint: "no" }))).code).toBe("QUERY");
      expect(await collection.count()).toBe(3);
    });

    test("iterate: all of one moment, page by page, while others write", async () => {
      const collection = fresh<{ id: number; pad: string }>();
      const pad = "x".repeat(1000);
      for (let at = 0; at < 4000; at += 1000) {
        await collection.insertMany(Array.from({ length: 1000 }, (_, i) => ({ id: at + i, pad })));
      }
      const seen = new Set<number>();
      for await (const { id } of collection.iterate()) {
        if (seen.size % 1000 === 0) {
          await collection.insertMany([{ id: 10_000 + seen.size, pad: "" }]);
          await collection.delete(3999 - seen.size);
        }
        seen.add(id);
      }
      expect(seen.size).toBe(4000);
      expect([...seen].every((id) => id < 4000)).toBe(true);
      for await (const _ of collection.iterate()) break;
      expect(await collection.count()).toBe(4000);
    });

    test("updates: by id, by condition, with operators, as an upsert", async () => {
      const collection = await people(6);
      expect(await collection.update("p1", { address: { city: "Rome" } })).toMatchObject({
        age: 1,
      });
      expect(await collection.update("p1", { address: { zip: "1" } })).toMatchObject({
        address: { city: "Rome", zip: "1" },
      });
      expect(
        await collection.update("p1", { $inc: { age: 10 }, $push: { tags: "x" } }),
      ).toMatchObject({
        age: 11,
        tags: ["t1", "x"],
      });
      expect(await collection.update("nobody", { age: 1 })).toBeUndefined();
      expect((await collection.update({ age: { $lt: 4 } }, { name: "young" })).length).toBe(3);
      expect(await collection.updateMany({ name: "young" }, { $unset: { tags: "" } })).toEqual({
        matched: 3,
        modified: 3,
      });
      expect(await collection.updateOne({ name: "nobody" }, { $set: { age: 9 } })).toEqual({
        matched: 0,
        modified: 0,
      });
      const upsert = { $set: { age: 50 }, $setOnInsert: { tags: ["new"] } };
      const made = await collection.updateOne({ name: "Zoe" }, upsert, { upsert: true });
      expect(await collection.findById(made.upsertedId!)).toMatchObject({
        name: "Zoe",
        age: 50,
        tags: ["new"],
      });
      expect(await collection.updateOne({ name: "Zoe" }, upsert, { upsert: true })).toEqual({
        matched: 1,
        modified: 1,
      });
      expect((await rejection(collection.update("p1", { $set: { id: "other" } }))).code).toBe(
        "VALIDATION",
      );
      expect((await rejection(collection.update("p1", { $inc: { name: 1 } as object }))).code).toBe(
        "VALIDATION",
      );
      expect((await rejection(collection.update("p1", { $no: { name: 1 } } as object))).code).toBe(
        "QUERY",
      );
    });

    test("a queue of work: each taker gets one, and an upsert keeps what it was looked for by", async () => {
      const collection = fresh<{ id: number; state: string }>();
      await collection.insertMany(Array.from({ length: 60 }, (_, id) => ({ id, state: "ready" })));
      const takes = Array.from({ length: 40 }, () => {
        return collection.updateOne({ state: "ready" }, { $set: { state: "taken" } });
      });
      expect((await Promise.all(takes)).every(({ matched }) => matched === 1)).toBe(true);
      expect(await collection.count({ state: "taken" })).toBe(40);
      const nested = fresh<{ id?: string; n?: number; p?: { q: number } }>();
      for (let i = 0; i < 2; i += 1) {
        await nested.updateOne({ "p.q": 7 }, { $inc: { n: 1 } }, { upsert: true });
      }
      expect(await nested.find({}, { projection: { id: 0 } })).toEqual([
        { p: { q: 7 }, n: 2 } as never,
      ]);
    });

    test("watch: a signal ends it while it waits", async () => {
      const abort = new AbortController();
      const watching = home.database.watch({ signal: abort.signal })[Symbol.asyncIterator]();
      const next = watching.next();
      abort.abort();
      expect(await next).toEqual({ done: true, value: undefined });
    });

    test("transactions: put, one by one, and different values, own writes among them", async () => {
      const collection = fresh<{ id: string; tags: string[]; n: number }>();
      await collection.insertMany([
        { id: "a", tags: ["x", "y"], n: 1 },
        { id: "b", tags: ["y"], n: 2 },
        { id: "c", tags: [], n: 3 },
      ]);
      await home.database.transaction(async (tx) => {
        const inside = tx.collection<{ id: string; tags: string[]; n: number }>(collection.name);
        expect(await inside.distinct("tags")).toEqual(["x", "y"]);
        await inside.put({ id: "b", tags: ["z"], n: 4 });
        await inside.remove("c");
        expect(await inside.distinct("tags")).toEqual(["x", "y", "z"]);
        expect(await inside.distinct("n", { n: { $gt: 1 } })).toEqual([4]);
        const seen: string[] = [];
        for await (const { id } of inside.iterate({}, { sort: { n: -1 } })) seen.push(id);
        expect(seen).toEqual(["b", "a"]);
      });
      expect((await collection.findById("b"))?.n).toBe(4);
      expect(await collection.distinct("tags")).toEqual(["x", "y", "z"]);
    });

    test("transactions: what a function throws over two moments is not the end", async () => {
      const collection = fresh<Account>();
      await collection.insertMany([
        { id: "a", balance: 50 },
        { id: "b", balance: 50 },
      ]);
      let attempts = 0;
      await home.database.transaction(async (tx) => {
        attempts += 1;
        const view = tx.collection<Account>(collection.name);
        const a = await view.findById("a");
        if (attempts === 1)
          await collection.putMany([
            { id: "a", balance: 10 },
            { id: "b", balance: 90 },
          ]);
        const b = await view.findById("b");
        if (a!.balance + b!.balance !== 100) throw new Error("the sum is wrong");
      });
      expect(attempts).toBe(2);
    });

    test("updates that come at once are each one step", async () => {
      const collection = fresh<{ id: string; n: number }>();
      await collection.insert({ id: "n", n: 0 });
      await Promise.all(
        Array.from({ length: 50 }, () =>
          collection.updateOne({ n: { $gte: 0 } }, { $inc: { n: 1 } }),
        ),
      );
      expect((await collection.findById("n"))?.n).toBe(50);
    });

    test("removal by condition, and clear", async () => {
      const collection = await people();
      expect((await collection.remove({ age: { $lt: 3 } })).length).toBe(3);
      expect(await collection.deleteMany({ age: 3 })).toBe(1);
      expect(await collection.deleteMany({ age: { $gte: 20 } })).toBe(10);
      await collection.clear();
      expect(await collection.count()).toBe(0);
    });

    test("indexes: made on documents, used, kept, dropped", async () => {
      const collection = await people(2500);
      await collection.createIndex("age", { keys: "age" });
      await collection.createIndex("age", { keys: "age" });
      await collection.createIndex("both", { keys: { name: 1, age: -1 } });
      expect((await collection.explain({ age: 3 })).index).toBe("age");
      expect(await collection.explain({ name: "n1" }, { sort: { age: -1 } })).toMatchObject({
        index: "both",
        sorts: false,
      });
      expect((await collection.find({ age: { $in: [1, 2] } })).length).toBe(2);
      await collection.update("p1", { age: 5000 });
      await collection.delete("p2");
      expect((await collection.find({ age: { $gte: 2499 } })).map(({ id }) => id).sort()).toEqual([
        "p1",
        "p2499",
      ]);
      expect((await rejection(collection.createIndex("age", { keys: "name" }))).code).toBe("QUERY");
      expect((await collection.listIndexes()).map(({ name }) => name)).toEqual(["age", "both"]);
      await collection.dropIndex("age");
      expect((await collection.explain({ age: 3 })).plan).toBe("scan");
      expect((await rejection(collection.dropIndex("age"))).code).toBe("NOT_FOUND");
    });

    test("documents expire by a date, through the log, and others stay", async () => {
      const collection = fresh<{ id: number; at?: Date | string }>();
      const now = Date.now();
      await collection.insertMany([
        ...Array.from({ length: 700 }, (_, id) => ({ id, at: new Date(now - 120_000 - id) })),
        { id: 1000, at: new Date(now + 60_000) },
        { id: 1001 },
        { id: 1002, at: "1970-01-01" },
      ]);
      const wrong = collection.createIndex("two", { keys: ["at", "id"], expireAfterMs: 1000 });
      expect((await rejection(wrong)).code).toBe("QUERY");
      let removed = 0;
      const { signal, abort } = ending();
      const watching = (async () => {
        const changes = home.database.watch({ collection: collection.name, signal });
        for await (const { type } of changes) if (type === "remove") removed += 1;
      })();
      for (const [at, order] of ([1, -1] as const).entries()) {
        await collection.createIndex(`at${order}`, { keys: { at: order }, expireAfterMs: 60_000 });
        await waitFor("the removal", async () => removed === 700 + at);
        expect(await collection.count()).toBe(3);
        await collection.dropIndex(`at${order}`);
        await collection.save({ id: 2000, at: new Date(5) });
        expect(await collection.count()).toBe(4);
      }
      abort();
      await watching;
      const ids = (await collection.find({}, { sort: { id: 1 } })).map(({ id }) => id);
      expect(ids).toEqual([1000, 1001, 1002, 2000]);
    });

    test("expired documents are gone at once, before they are removed", async () => {
      const collection = fresh<{ id: number; at?: Date; n?: number }>();
      await collection.createIndex("at", { keys: "at", expireAfterMs: 1000 });
      await collection.createIndex("n", { keys: "n" });
      const past = new Date(Date.now() - 60_000);
      const live = { id: 5000, at: new Date(Date.now() + 60_000), n: 1 };
      await collection.insert(live);
      // More than are removed at a time; the leader looks once a second.
      const over = Array.from({ length: 6000 }, (_, id) => ({ id: id % 5000, at: past, n: 1 }));
      await collection.insertMany(over.slice(0, 5000));
      expect(await collection.count()).toBe(1);
      await collection.putMany(over.slice(5000));
      expect(await collection.count()).toBe(1);
      await collection.putMany(over.slice(0, 10));
      expect(await collection.findById(1)).toBeUndefined();
      expect(await collection.findVersioned(1)).toBeUndefined();
      expect(await collection.find({ n: 1 })).toEqual([live]);
      expect(await collection.find({ n: 1 }, { limit: 5, sort: { at: 1 } })).toEqual([live]);
      expect(await collection.find({ id: { $in: [1, 2] } })).toEqual([]);
      expect(await collection.count({ at: { $lt: new Date() } })).toBe(0);
      const found: unknown[] = [];
      for await (const document of collection.iterate()) found.push(document);
      expect(found).toEqual([live]);

      await collection.putMany(over.slice(0, 10));
      expect(await collection.update(1, { n: 2 })).toBeUndefined();
      expect(await collection.update(2, { $set: { n: 2 } })).toBeUndefined();
      expect(await collection.insert({ id: 3, n: 3 })).toEqual({ id: 3, n: 3 });
      const version = await collection.put({ id: 4, n: 4 }, { ifVersion: 0 });
      expect(version).toBeGreaterThan(0);
      const upserted = await collection.updateOne({ id: 5 }, { n: 5 }, { upsert: true });
      expect(upserted.upsertedId).toBe(5);
      expect(await collection.findById(5)).toEqual({ id: 5, n: 5 });
      await collection.putMany(over.slice(6, 8));
      await home.database.transaction(async (tx) => {
        const view = tx.collection<{ id: number; at?: Date; n?: number }>(collection.name);
        expect(await view.findById(6)).toBeUndefined();
        await view.insert({ id: 6, n: 6 });
      });
      expect((await collection.find({}, { sort: { id: 1 } })).map(({ id }) => id)).toEqual([
        3, 4, 5, 6, 5000,
      ]);
    });

    test("unique indexes: refused over equal values, then kept by every way to write", async () => {
      const collection: Collection<Person> = await people(20);
      expect(
        (await rejection(collection.createIndex("u", { keys: "name", unique: true }))).code,
      ).toBe("DUPLICATE_KEY");
      expect(await collection.listIndexes()).toEqual([]);
      await collection.createIndex("u", { keys: "age", unique: true });
      const attempts = [
        collection.insert({ id: "x", age: 3 }),
        collection.save({ id: "p1", age: 3 }),
        collection.update("p1", { age: 3 }),
        collection.update("p1", { $set: { age: 3 } }),
        collection.insertMany([
          { id: "y", age: 100 },
          { id: "z", age: 100 },
        ]),
        home.database.transaction((tx) =>
          tx.collection<Person>(collection.name).save({ id: "x", age: 3 }),
        ),
      ];
      for (const attempt of attempts) {
        const error = await rejection(attempt);
        expect(error.code).toBe("DUPLICATE_KEY");
        expect(error.message).toContain("unique index u already contains");
      }
      expect(await collection.count()).toBe(20);
      const inserts = Array.from({ length: 10 }, (_, i) =>
        collection.insert({ id: `i${i}`, age: 777 }),
      );
      const results = await Promise.allSettled(inserts);
      expect(results.filter(({ status }) => status === "fulfilled").length).toBe(1);
    });

    test("collections: made, listed, dropped", async () => {
      const { database } = home;
      expect(await database.createCollection("made")).toBe(true);
      expect(await database.createCollection("made")).toBe(false);
      expect(await database.listCollections()).toContain("made");
      await database.collection("made").insert({ id: 1 });
      expect(await database.dropCollection("made")).toBe(true);
      expect(await database.dropCollection("made")).toBe(false);
      expect(await database.collection("made").count()).toBe(0);
    });

    test("watch: every change that took effect, once, in order, and from any place", async () => {
      const { database } = home;
      const collection = fresh<{ id: string; n: number }>();
      const seen: DocumentChange[] = [];
      let isWatching = false;
      const watching = (async () => {
        const options = { collection: collection.name, onPosition: () => (isWatching = true) };
        for await (const change of database.watch(options)) {
          seen.push(change);
          if (change.type === "drop") break;
        }
      })();
      await waitFor("the stream", () => isWatching);
      const made = await collection.insert({ id: "a", n: 1 });
      await rejection(collection.insert({ id: "a", n: 2 }));
      await collection.update("a", { n: 3 });
      await collection.update("a", { $inc: { n: 1 } });
      await collection.update("nobody", { n: 3 });
      await collection.delete("nobody");
      await database.transaction(async (tx) => {
        await tx.collection<{ id: string; n: number }>(collection.name).save({ id: "b", n: 5 });
        await tx.collection<{ id: string; n: number }>(collection.name).remove("a");
      });
      await fresh().insert({ id: "elsewhere" });
      await Promise.all(
        Array.from({ length: 100 }, (_, i) => collection.put({ id: `x${i}`, n: i })),
      );
      await database.dropCollection(collection.name);
      await watching;

      expect(made.id).toBe("a");
      expect(seen.slice(0, 5).map(({ type, id }) => [type, id])).toEqual([
        ["insert", "a"],
        ["update", "a"],
        ["update", "a"],
        ["put", "b"],
        ["remove", "a"],
      ]);
      expect(seen[0]).toMatchObject({ document: { id: "a", n: 1 } });
      expect(seen[2]).toMatchObject({ change: { $inc: { n: 1 } } });
      expect(seen.length).toBe(106);
      const numbers = seen.map(({ sequence }) => sequence);
      expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
      expect(new Set(numbers).size).toBe(106);

      const again: DocumentChange[] = [];
      const since = seen[3]!.sequence;
      for await (const change of database.watch({ since, collection: collection.name })) {
        again.push(change);
        if (change.type === "drop") break;
      }
      expect(again.map(({ sequence }) => sequence)).toEqual(numbers.slice(4));

      const ahead = database.watch({ since: numbers.at(-1)! + 1_000_000 });
      const error = await rejection(ahead[Symbol.asyncIterator]().next());
      expect(error.code).toBe("NOT_FOUND");
    });

    // An embedded database answers these without a plan: the answer must be that of a scan.
    test("find: documents with one value at an indexed path are the same as without the index", async () => {
      const plain = fresh<{ id: string; g?: unknown }>();
      const indexed = fresh<{ id: string; g?: unknown }>();
      const values = [1, 1n, 2, "1", "", "a", "ab", "a\u0000", true, false, null, -0, 0.5];
      const documents = values.flatMap((g, i) => [0, 1].map((copy) => ({ id: `${i}-${copy}`, g })));
      const lists = [{ id: "list", g: [1, "a", 1] }, { id: "nested", g: { a: 1 } }, { id: "none" }];
      await indexed.createIndex("g", { keys: { g: -1 } });
      for (const batch of [documents, lists]) {
        await plain.insertMany(batch);
        await indexed.insertMany(batch);
        for (const value of [...values, 0, 3, "b", "A"]) {
          for (const limit of [undefined, 1, 3]) {
            const ids = async (collection: typeof plain) =>
              (await collection.find({ g: value }, limit === undefined ? {} : { limit }))
                .map(({ id }) => id)
                .sort();
            const [found, expected] = [await ids(indexed), await ids(plain)];
            expect(found.length).toBe(expected.length);
            if (limit === undefined) expect(found).toEqual(expected);
          }
        }
      }
      // An index that knows texts in lower case finds more than is asked for.
      const folded = fresh<{ id: string; g: string }>();
      await folded.createIndex("g", { keys: "g", ignoreCase: true });
      await folded.insertMany(["A", "a", "B"].map((g) => ({ id: g, g })));
      expect((await folded.find({ g: "A" })).map(({ id }) => id)).toEqual(["A"]);
      for (const limit of [-1, 1.5, Number.NaN]) {
        expect((await rejection(indexed.find({ g: 1 }, { limit }))).code).toBe("VALIDATION");
      }
    });

    test("global transactions: what is done between begin and commit is one transaction", async () => {
      const { database } = home;
      const one = fresh<Account>();
      const two = fresh<Account>();
      await one.insertMany([
        { id: "a", balance: 5 },
        { id: "b", balance: 7 },
      ]);
      const state = async () => [
        (await one.find({}, { sort: { id: 1 } })).map(({ id, balance }) => `${id} ${balance}`),
        await two.count(),
      ];
      const before = await state();
      await database.beginGlobalTransaction();
      await one.update("a", { $inc: { balance: 1 } });
      await one.updateMany({ balance: { $gt: 6 } }, { $set: { balance: 0 } });
      await two.insertMany([
        { id: "x", balance: 1 },
        { id: "y", balance: 2 },
      ]);
      expect(await two.delete("y")).toBe(true);
      // Its own writes show, in every way of reading.
      expect(await state()).toEqual([["a 6", "b 0"], 1]);
      expect((await one.findRange("balance", { gte: 6 })).map(({ id }) => id)).toEqual(["a"]);
      expect((await one.lowest("balance"))?.id).toBe("b");
      await database.rollbackGlobalTransaction();
      expect(await state()).toEqual(before);

      const id = await database.beginGlobalTransaction();
      await one.remove({ balance: 7 });
      await two.save({ id: "x", balance: 1 });
      expect(await one.count()).toBe(1);
      const others = await database.transaction((tx) => tx.collection<Account>(one.name).count());
      expect(others).toBe(2);
      await database.commitGlobalTransaction(id);
      expect(await state()).toEqual([["a 5"], 1]);
      await one.put({ id: "c", balance: 3 });
      expect(await one.count()).toBe(2);
    });

    test("global transactions: what cannot be done is refused, and nothing takes effect", async () => {
      const { database } = home;
      const one = fresh<Account>();
      await one.insert({ id: "a", balance: 5 });
      const code = async (promise: Promise<unknown>) => (await rejection(promise)).code;
      expect(await code(database.commitGlobalTransaction())).toBe("NOT_FOUND");
      expect((await rejection(database.rollbackGlobalTransaction())).message).toBe(
        "No active transaction to abort",
      );

      const first = await database.beginGlobalTransaction();
      expect(await code(one.put({ id: "b", balance: 1 }))).toBe("VALIDATION");
      expect(await code(one.update("a", { balance: 1 }, { ifVersion: 1 }))).toBe("VALIDATION");
      expect(await code(one.clear())).toBe("VALIDATION");
      expect(await code(one.find(() => true))).toBe("VALIDATION");
      const second = await database.beginGlobalTransaction();
      expect(await code(one.insert({ id: "b", balance: 1 }))).toBe("AMBIGUOUS_TRANSACTION");
      expect(await code(database.commitGlobalTransaction())).toBe("AMBIGUOUS_TRANSACTION");
      await database.rollbackGlobalTransaction(second);

      // What it has read is changed by somebody else before it commits.
      expect((await one.findById("a"))?.balance).toBe(5);
      await database.transaction((tx) =>
        tx.collection<Account>(one.name).update("a", { $inc: { balance: 1 } }),
      );
      await one.insert({ id: "b", balance: 1 });
      expect(await code(database.commitGlobalTransaction(first))).toBe("CONFLICT");
      expect(await one.count()).toBe(1);

      // What is refused half-way leaves nothing behind for the commit.
      await database.beginGlobalTransaction();
      const twice = [
        { id: "x", balance: 1 },
        { id: "x", balance: 2 },
      ];
      expect(await code(one.insertMany(twice))).toBe("DUPLICATE_KEY");
      await one.insert({ id: "y", balance: "none" } as never);
      expect(await code(one.updateMany({}, { $inc: { balance: 1 } }))).toBe("VALIDATION");
      await one.delete("y");
      await database.commitGlobalTransaction();
      expect(await one.find()).toEqual([{ id: "a", balance: 6 }]);

      // The catalog would not come back with a rollback; what has not the path is not its lowest.
      await database.beginGlobalTransaction();
      expect(await code(database.dropCollection(one.name))).toBe("VALIDATION");
      expect(await code(database.createCollection("new"))).toBe("VALIDATION");
      await one.insert({ id: "c" } as Account);
      expect((await one.lowest("balance"))?.id).toBe("a");
      await database.rollbackGlobalTransaction();

      // A call that nobody waited for must not report what is not in the commit.
      await database.beginGlobalTransaction();
      await one.save({ id: "d", balance: 1 });
      const late = rejection(one.update("a", { balance: 99 }));
      await database.commitGlobalTransaction();
      expect((await late).code).toBe("CLOSED");
      expect((await one.findById("a"))?.balance).toBe(6);
      await one.delete("d");

      // Nothing that follows a transaction whose time is over may slip out of it.
      await database.beginGlobalTransaction({ timeoutMs: 0 });
      expect(await code(one.insert({ id: "b", balance: 1 }))).toBe("TRANSACTION_TIMEOUT");
      expect(await code(database.commitGlobalTransaction())).toBe("TRANSACTION_TIMEOUT");
      expect(await one.count()).toBe(1);
    });

    test("transactions: all or nothing, own writes visible, nothing visible to others before", async () => {
      const { database } = home;
      const one = fresh<Account>();
      const two = fresh<Account>();
      await one.insert({ id: "a", balance: 5 });
      await database.transaction(async (tx) => {
        const view = tx.collection<Account>(one.name);
        await view.insert({ id: "b", balance: 1 });
        await view.update("a", { $inc: { balance: 1 } });
        await tx.collection<Account>(two.name).save({ id: "c", balance: 9 });
        expect(
          (await view.find({}, { sort: { id: 1 } })).map(({ id, balance }) => [id, balance]),
        ).toEqual([
          ["a", 6],
          ["b", 1],
        ]);
        expect(await one.count()).toBe(1);
        tx.savepoint("here");
        await view.remove("a");
        expect(await view.findById("a")).toBeUndefined();
        tx.rollbackTo("here");
      });
      expect([await one.count(), await two.count()]).toEqual([2, 1]);
      const failed = database.transaction(async (tx) => {
        await tx.collection<Account>(one.name).remove("a");
        await tx.collection<Account>(two.name).insert({ id: "c", balance: 0 });
      });
      expect((await rejection(failed)).code).toBe("DUPLICATE_KEY");
      const thrown = database.transaction(async (tx) => {
        await tx.collection<Account>(one.name).remove("a");
        throw new Error("mine");
      });
      expect((await rejection(thrown)).message).toBe("mine");
      expect(await one.findById("a")).toEqual({ id: "a", balance: 6 });
      const reader = database.transaction((tx) => tx.collection(one.name).insert({}), {
        readOnly: true,
      });
      expect((await rejection(reader)).code).toBe("VALIDATION");
    });

    test("transactions: what was inserted and removed again must not have been there", async () => {
      const collection = fresh<Account>();
      await collection.insert({ id: "x", balance: 7 });
      const attempts = [
        async (view: TransactionCollection<Account>) => {
          await view.insert({ id: "x", balance: 1 });
          await view.remove("x");
        },
        async (view: TransactionCollection<Account>) => {
          await view.insert({ id: "x", balance: 1 });
          await view.remove("x");
          await view.insert({ id: "x", balance: 2 });
        },
      ];
      for (const attempt of attempts) {
        const run = home.database.transaction((tx) => attempt(tx.collection(collection.name)), {
          timeoutMs: 0,
        });
        expect(["CONFLICT", "DUPLICATE_KEY"]).toContain((await rejection(run)).code);
      }
      expect(await collection.find()).toEqual([{ id: "x", balance: 7 }]);
    });

    test("transactions: two looks at one collection are of one moment, also without writes", async () => {
      const collection = fresh<Account>();
      await collection.insert({ id: "a", balance: 0 });
      let attempts = 0;
      const seen = await home.database.transaction(async (tx) => {
        attempts += 1;
        const view = tx.collection<Account>(collection.name);
        const before = await view.find();
        if (attempts === 1) await collection.update("a", { balance: 1 });
        return [before, await view.find()].map(([account]) => account?.balance);
      });
      expect([attempts, seen]).toEqual([2, [1, 1]]);
    });

    test("many documents of realistic size, and conditions of many ids", async () => {
      const collection = fresh<{ id: string; pad: string; n?: number }>();
      const pad = "x".repeat(10_000);
      for (let at = 0; at < 900; at += 100) {
        await collection.insertMany(
          Array.from({ length: 100 }, (_, i) => ({ id: `d${at + i}`, pad })),
        );
      }
      expect(await collection.updateMany({}, { $inc: { n: 1 } })).toEqual({
        matched: 900,
        modified: 900,
      });
      const ids = Array.from({ length: 600 }, (_, i) => `d${i}`);
      expect(await collection.updateMany({ id: { $in: ids } }, { $set: { n: 5 } })).toMatchObject({
        matched: 600,
      });
      expect((await collection.update({ n: 5 }, { n: 6 })).length).toBe(600);
      expect((await collection.remove({ n: 6 })).length).toBe(600);
      expect(await collection.deleteMany({})).toBe(300);
    });

    test("transactions: no lost update, however many come at once", async () => {
      const collection = fresh<Account>();
      await collection.insert({ id: "a", balance: 0 });
      await Promise.all(
        Array.from({ length: 20 }, () =>
          home.database.transaction(async (tx) => {
            const view = tx.collection<Account>(collection.name);
            const found = await view.findById("a");
            await view.save({ id: "a", balance: (found?.balance ?? 0) + 1 });
          }),
        ),
      );
      expect((await collection.findById("a"))?.balance).toBe(20);
    });

    test("transactions: no write skew, by id and by search", async () => {
      const doctors = fresh<{ id: string; isOnCall: boolean }>();
      for (const isSearching of [false, true]) {
        await doctors.save({ id: "a", isOnCall: true });
        await doctors.save({ id: "b", isOnCall: true });
        const leave = (id: string) =>
          home.database.transaction(async (tx) => {
            const view = tx.collection<{ id: string; isOnCall: boolean }>(doctors.name);
            const all = isSearching
              ? await view.find({ isOnCall: true })
              : [(await view.findById("a"))!, (await view.findById("b"))!];
            if (all.filter(({ isOnCall }) => isOnCall).length < 2) return;
            await view.update(id, { isOnCall: false });
          });
        await Promise.all([leave("a"), leave("b")]);
        expect(await doctors.count({ isOnCall: true })).toBe(1);
      }
    });

    test("transactions: what was searched for and comes meanwhile is a conflict", async () => {
      const collection = fresh<{ id: number; kind: string }>();
      let attempts = 0;
      await home.database.transaction(async (tx) => {
        attempts += 1;
        const view = tx.collection<{ id: number; kind: string }>(collection.name);
        const found = await view.find({ kind: "x" });
        if (attempts === 1) await collection.insert({ id: 100, kind: "x" });
        await view.save({ id: 1, kind: `seen ${found.length}` });
      });
      expect(attempts).toBe(2);
      expect((await collection.findById(1))?.kind).toBe("seen 1");
      const dropped = home.database.transaction(
        async (tx) => {
          const view = tx.collection<{ id: number; kind: string }>(collection.name);
          await view.find();
          await home.database.dropCollection(collection.name);
          await view.save({ id: 1, kind: "late" });
        },
        { timeoutMs: 0 },
      );
      expect(await rejection(dropped)).toBeInstanceOf(TransactionConflictError);
    });

    test("transactions: sums seen by readers are constant while money moves", async () => {
      const collection = fresh<Account>();
      const ids = ["a", "b", "c", "d", "e"];
      await collection.insertMany(ids.map((id) => ({ id, balance: 100 })));
      const sums: number[] = [];
      const read = async (): Promise<void> => {
        const all = await home.database.transaction(
          async (tx) => {
            const view = tx.collection<Account>(collection.name);
            return Promise.all(ids.map((id) => view.findById(id)));
          },
          { readOnly: true },
        );
        sums.push(all.reduce((sum, account) => sum + (account?.balance ?? 0), 0));
      };
      const move = (i: number): Promise<void> =>
        home.database.transaction(async (tx) => {
          const view = tx.collection<Account>(collection.name);
          const [from, to] = [ids[i % 5]!, ids[(i * 3 + 1) % 5]!];
          if (from === to) return;
          await view.update(from, { $inc: { balance: -i } });
          await view.update(to, { $inc: { balance: i } });
        });
      for (let i = 0; i < 12; i += 1) await Promise.all([move(i), move(i + 7), read()]);
      expect(sums).toEqual(sums.map(() => 500));
    });
  });
}

test("indexes and documents are there after a kill and a restart", async () => {
  const folder = freshFolder();
  const first = new WALDatabase({ name: "app", root: folder.path });
  const collection = first.collection<Person>("people");
  await collection.insertMany(Array.from({ length: 100 }, (_, i) => ({ id: i, age: i % 10 })));
  await collection.createIndex("age", { keys: "age" });
  await collection.createIndex("id", { keys: "id", unique: true });
  await collection.updateMany({ age: 3 }, { $set: { age: 30 } });
  await first.close();
  const second = new WALDatabase({ name: "app", root: folder.path });
  const again = second.collection<Person>("people");
  expect((await again.explain({ age: 30 })).index).toBe("age");
  expect((await again.find({ age: 30 })).length).toBe(10);
  expect((await rejection(again.insert({ id: 5 }))).code).toBe("DUPLICATE_KEY");
  await second.close();
  folder.remove();
});

test("watch: it goes on after a failover, and what was cut off is COMPACTED", async () => {
  const cluster = await TestCluster.start(3, { snapshotLogBytes: 256 * 1024 });
  const database = await cluster.connect();
  const collection = database.collection<{ id: number; pad: string }>("c");
  const seen: number[] = [];
  let isWatching = false;
  const watching = (async () => {
    for await (const { id, type } of database.watch({ onPosition: () => (isWatching = true) })) {
      if (type === "put") seen.push(id as number);
      if (seen.length === 40) break;
    }
  })();
  await waitFor("the stream", () => isWatching);
  let killed: Seat | undefined;
  for (let i = 0; i < 40; i += 1) {
    if (i === 20) {
      killed = await cluster.leader();
      await cluster.kill(killed);
    }
    await collection.put({ id: i, pad: "" });
  }
  await watching;
  expect(seen).toEqual(Array.from({ length: 40 }, (_, i) => i));

  // The log is kept for a voter that is away.
  await cluster.startNode(killed!);
  const pad = "x".repeat(50_000);
  const isCut = async (): Promise<boolean> => {
    await collection.put({ id: 100, pad });
    return (await cluster.leader()).node!.log.base.index > 20;
  };
  await waitFor("the log is cut", isCut);
  const late = database.watch({ since: 1 })[Symbol.asyncIterator]();
  expect((await rejection(late.next())).code).toBe("COMPACTED");
  await cluster.stop();
}, 300_000);
