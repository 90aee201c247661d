/**
 * Changes of one document that a query finds, operations in bulk, and pages: in a database of this
 * process, in a cluster, and in a collection with a validator.
 *
 * @module
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Collection, TransactionCollection, Validator } from "../../../src/mod.ts";
import { decodeUntrustedCbor } from "../../../src/protocol/encoding/cbor.ts";
import { rejection } from "../../node/test_cluster.ts";
import { embedded, type Home, remote } from "./homes.ts";

interface Task {
  readonly id: string;
  readonly state: string;
  readonly rank: number;
  readonly by?: string;
}

const anything: Validator = {
  "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) },
};
const validators = { anything };

const HOMES = [
  ["embedded", embedded, false],
  ["a cluster", remote, false],
  ["a cluster, with a validator", remote, true],
] as const;

describe.each(HOMES)("%s", (_name, open, isValidated) => {
  let home: Home;
  let count = 0;

  beforeAll(async () => {
    home = await open(validators);
  }, 60_000);
  afterAll(() => home.close());

  async function tasks(...documents: Task[]): Promise<Collection<Task>> {
    count += 1;
    const name = `t${count}`;
    if (isValidated) await home.database.createCollection(name, { validator: "anything" });
    const collection = home.database.collection<Task>(name);
    await collection.insertMany(documents);
    return collection;
  }

  const a = { id: "a", state: "todo", rank: 2 };
  const b = { id: "b", state: "todo", rank: 1 };

  test("findOneAndUpdate: in order, as it was or as it is", async () => {
    const collection = await tasks(a, b);
    const change = { $set: { state: "doing" } };
    const found = await collection.findOneAndUpdate({ state: "todo" }, change, {
      sort: { rank: 1 },
      returnDocument: "before",
    });
    expect(found).toEqual(b);
    const next = await collection.findOneAndUpdate({ state: "todo" }, change);
    expect(next).toEqual({ ...a, state: "doing" });
    expect(await collection.findOneAndUpdate({ state: "todo" }, change)).toBeUndefined();
    expect(await collection.count({ state: "doing" })).toBe(2);
  });

  test("a word of returnDocument that is none is refused, and nothing changes", async () => {
    const collection = await tasks(a);
    const options = { returnDocument: "After" as "after" };
    const call = collection.findOneAndUpdate({}, { $set: { state: "doing" } }, options);
    expect(await rejection(call)).toMatchObject({ code: "VALIDATION" });
    expect(await collection.findById("a")).toEqual(a);
  });

  test.each([
    ...[-1, 0, Number.NaN, Number.POSITIVE_INFINITY, "5s"].map((timeoutMs) => ({ timeoutMs })),
    ...[{ read: "stlae" }, { read: 1 }, { signal: 5 }, { signal: {} }],
  ])("no option of a read: %j", async (given) => {
    const options = given as object;
    const collection = await tasks(a);
    const calls = [
      ...[() => collection.find({}, options), () => collection.findById("a", options)],
      ...[() => collection.findVersioned("a", options), () => collection.count({}, options)],
      ...[() => collection.distinct("id", {}, options), () => collection.findPage({}, options)],
      ...[
        () => collection.explain({}, options),
        () => Array.fromAsync(collection.iterate({}, options)),
      ],
    ];
    for (const call of calls) expect(await rejection(call())).toMatchObject({ code: "VALIDATION" });
    const within = home.database.transaction(async (transaction) => {
      await transaction.collection<Task>(collection.name).find({}, options);
    });
    expect(await rejection(within)).toMatchObject({ code: "VALIDATION" });
  });

  test("findOneAndUpdate: each of many callers gets a document of its own", async () => {
    const all = Array.from({ length: 12 }, (_, i) => ({ id: `t${i}`, state: "todo", rank: i }));
    const collection = await tasks(...all);
    const take = () => collection.findOneAndUpdate({ state: "todo" }, { $set: { state: "doing" } });
    const taken = await Promise.all(Array.from({ length: 12 }, take));
    expect(new Set(taken.map((task) => task?.id)).size).toBe(12);
    expect(await take()).toBeUndefined();
  });

  test("findOneAndUpdate and update by id: with upsert one is made", async () => {
    const collection = await tasks();
    const change = { $inc: { rank: 1 }, $setOnInsert: { state: "new" } };
    const made = await collection.findOneAndUpdate({ id: "x" }, change, { upsert: true });
    expect(made).toEqual({ id: "x", rank: 1, state: "new" });
    expect(await collection.update("x", change, { upsert: true })).toEqual({ ...made!, rank: 2 });
    expect(await collection.update("y", { state: "plain" }, { upsert: true })).toEqual({
      id: "y",
      state: "plain",
    } as Task);
    const before = await collection.findOneAndUpdate({ id: "z" }, change, {
      upsert: true,
      returnDocument: "before",
    });
    expect([before, await collection.count()]).toEqual([undefined, 3]);
    const both = collection.update("x", change, { upsert: true, ifVersion: 3 });
    expect((await rejection(both)).code).toBe("VALIDATION");
  });

  test("replaceOne: the whole document, whose id stays", async () => {
    const collection = await tasks(a, { ...b, by: "me" });
    const replaced = await collection.replaceOne({ by: "me" }, { state: "done", rank: 9 } as Task);
    expect(replaced).toEqual({ matched: 1, modified: 1 });
    expect(await collection.findById("b")).toEqual({ id: "b", state: "done", rank: 9 });
    const other = collection.replaceOne({ id: "a" }, { ...b });
    expect((await rejection(other)).code).toBe("VALIDATION");
    expect(await collection.replaceOne({ id: "c" }, { ...a, id: "c" })).toEqual({
      ...{ matched: 0, modified: 0 },
    });
    const made = await collection.replaceOne({ id: "c" }, { state: "n", rank: 0 } as Task, {
      upsert: true,
    });
    expect(made).toEqual({ matched: 0, modified: 0, upsertedId: "c" });
    expect(await collection.count()).toBe(3);
  });

  test("replaceOne: what is no document is refused, and the document stays", async () => {
    const collection = await tasks(a);
    const wrong: unknown[] = [
      ...[undefined, null, "abc", 5, [1, 2], new Map([["state", "x"]]), Promise.resolve(b)],
      { $set: { rank: 1 } },
    ];
    for (const replacement of wrong) {
      const one = collection.replaceOne({ id: "a" }, replacement as Task);
      expect((await rejection(one)).code).toBe("VALIDATION");
      const bulk = collection.bulkWrite([
        { replaceOne: { filter: { id: "a" }, replacement: replacement as Task } },
      ]);
      expect((await rejection(bulk)).code).toBe("VALIDATION");
    }
    expect(await collection.findById("a")).toEqual(a);
  });

  test("a filter that is undefined is refused, here and in a transaction", async () => {
    const collection = await tasks(a, b);
    const none = undefined as never;
    const change = { $set: { rank: 9 } };
    const { database } = home;
    const within = (run: (view: TransactionCollection<Task>) => Promise<unknown>) =>
      database.transaction((tx) => run(tx.collection<Task>(collection.name)));
    const calls = [
      () => collection.updateOne(none, change),
      () => collection.findOneAndUpdate(none, change),
      () => collection.replaceOne(none, b),
      () => collection.deleteOne(none),
      () => within((view) => view.updateOne(none, change)),
      () => within((view) => view.findOneAndUpdate(none, change)),
      () => within((view) => view.replaceOne(none, b)),
      () => within((view) => view.deleteOne(none)),
      () => collection.bulkWrite([{ deleteOne: { filter: none } }]),
      () => collection.bulkWrite([{ updateMany: { filter: none, update: change } }]),
      () => collection.bulkWrite([{ insertOne: {} as never }]),
      () => collection.bulkWrite([null as never]),
      () => collection.bulkWrite(none),
    ];
    for (const call of calls) {
      expect(["QUERY", "VALIDATION"]).toContain((await rejection(call())).code);
    }
    expect(await collection.find({}, { sort: { id: 1 } })).toEqual([a, b]);
  });

  test("many callers take tasks in an order: each gets one, none a conflict", async () => {
    const all = Array.from({ length: 60 }, (_, i) => ({ id: `q${i}`, state: "todo", rank: i }));
    const collection = await tasks(...all);
    const take = () =>
      collection.findOneAndUpdate(
        { state: "todo" },
        { $set: { state: "doing" } },
        {
          sort: { rank: 1 },
        },
      );
    const taken = await Promise.all(Array.from({ length: 60 }, take));
    expect(new Set(taken.map((task) => task?.id)).size).toBe(60);
  }, 60_000);

  test("upserts by a unique value from many callers make one document", async () => {
    const collection = (await tasks()) as unknown as Collection<{
      id: string;
      e: string;
      n: number;
    }>;
    await collection.createIndex("e", { keys: "e", unique: true });
    const call = () => collection.updateOne({ e: "x" }, { $inc: { n: 1 } }, { upsert: true });
    await Promise.all(Array.from({ length: 8 }, call));
    expect(await collection.find()).toMatchObject([{ e: "x", n: 8 }]);
  }, 60_000);

  test("findPage: values that are too long for a token are refused, not the token", async () => {
    const collection = await tasks(
      { ...a, state: "x".repeat(60_000) },
      { ...b, state: `${"x".repeat(60_000)}y` },
    );
    const first = await collection.findPage({}, { sort: { state: 1 }, limit: 1 });
    const second = await collection.findPage({}, { sort: { state: 1 }, after: first.next });
    expect(second.documents.map(({ id }) => id)).toEqual(["b"]);
    await collection.update("a", { state: "x".repeat(200_000) });
    const long = collection.findPage({}, { sort: { state: 1 }, limit: 1 });
    expect((await rejection(long)).remedy).toBe("Sort by a shorter value");
  });

  test("deleteOne: one of those that match", async () => {
    const collection = await tasks(a, b);
    expect(await collection.deleteOne({ state: "todo" })).toBe(true);
    expect(await collection.deleteOne({ state: "done" })).toBe(false);
    expect(await collection.count()).toBe(1);
  });

  test("bulkWrite: in order, all or none", async () => {
    const collection = await tasks(a);
    const result = await collection.bulkWrite([
      { insertOne: { document: b } },
      { updateOne: { filter: { id: "b" }, update: { $inc: { rank: 5 } } } },
      { updateOne: { filter: { id: "u" }, update: { $set: { rank: 7 } }, upsert: true } },
      { updateMany: { filter: { rank: { $gt: 5 } }, update: { $set: { state: "high" } } } },
      { replaceOne: { filter: { id: "a" }, replacement: { ...a, state: "new" } } },
      { deleteOne: { filter: { id: "u" } } },
      { deleteMany: { filter: { state: "nothing" } } },
    ]);
    expect(result).toEqual({
      ...{ inserted: 1, matched: 4, modified: 4, deleted: 1 },
      upsertedIds: ["u"],
    });
    expect(await collection.find({}, { sort: { id: 1 } })).toEqual([
      { ...a, state: "new" },
      { ...b, rank: 6, state: "high" },
    ]);
    const refused = collection.bulkWrite([
      { deleteMany: { filter: {} } },
      { insertOne: { document: a } },
      { insertOne: { document: a } },
    ]);
    expect((await rejection(refused)).code).toBe("DUPLICATE_KEY");
    expect(await collection.count()).toBe(2);
    const unknown = collection.bulkWrite([{ upsertOne: {} } as never]);
    expect((await rejection(unknown)).message).toContain("upsertOne");
  });

  test("findPage: every document once, whatever is written in between", async () => {
    const all = Array.from({ length: 25 }, (_, i) => ({ id: `p${i}`, state: "s", rank: i % 4 }));
    const collection = await tasks(...all);
    const seen: string[] = [];
    let after: string | undefined;
    for (let page = 0; page < 20; page += 1) {
      const found = await collection.findPage(
        { state: "s" },
        { sort: { rank: -1 }, limit: 4, after },
      );
      for (const { id } of found.documents) seen.push(id);
      after = found.next;
      // Before the place of the next page, and removed behind it.
      await collection.insert({ id: `before${page}`, state: "s", rank: 9 });
      if (page === 1) await collection.delete(seen[0] ?? "");
      if (after === undefined) break;
    }
    expect(after).toBeUndefined();
    expect(
      seen.slice(0, 4).every((id) => (all.find((one) => one.id === id)?.rank ?? 0) === 3),
    ).toBe(true);
    expect([...seen].sort()).toEqual(all.map(({ id }) => id).sort());
  });

  test("findPage: values of all kinds, and none at all, have their place", async () => {
    const collection = (await tasks()) as unknown as Collection<{ id: number; v?: unknown }>;
    const values = [3, "a", null, undefined, true, [2], { x: 1 }, new Date(5), 3, -1, "a"];
    await collection.insertMany(values.map((v, id) => (v === undefined ? { id } : { id, v })));
    const whole = await collection.find({}, { sort: { v: 1, id: 1 } });
    const seen: number[] = [];
    for (let after: string | undefined; ; ) {
      const page = await collection.findPage({}, { sort: { v: 1 }, limit: 2, after });
      seen.push(...page.documents.map(({ id }) => id));
      after = page.next;
      if (after === undefined) break;
    }
    expect(seen).toEqual(whole.map(({ id }) => id));
  });

  test("findPage: a token of another order, or none at all, is refused", async () => {
    const collection = await tasks(a, b);
    const { next } = await collection.findPage({}, { limit: 1 });
    expect(decodeUntrustedCbor(new Uint8Array(Buffer.from(next ?? "", "base64url")))).toEqual([
      ["id"],
      ["a"],
    ]);
    for (const [after, sort] of [
      [next, { rank: 1 }],
      ["nonsense", {}],
      ["", {}],
      ["x".repeat(100_000), {}],
    ] as const) {
      const error = await rejection(collection.findPage({}, { after: after ?? "", sort }));
      expect([error.code, error.remedy]).toEqual(["QUERY", expect.stringContaining("token")]);
    }
    const none = await rejection(collection.findPage({}, { limit: 0 }));
    expect(none.code).toBe("QUERY");
  });

  test("a read that is aborted rejects with the signal's reason", async () => {
    const collection = await tasks(a, b);
    const reason = new Error("enough");
    const options = { signal: AbortSignal.abort(reason) };
    const reads = [
      collection.find({}, options),
      collection.find(() => true, options),
      collection.findById("a", options),
      collection.findVersioned("a", options),
      collection.count({}, options),
      collection.count({ rank: 1 }, options),
      collection.distinct("rank", {}, options),
      collection.findPage({}, options),
    ];
    for (const read of reads) expect(await rejection(read)).toBe(reason as never);
    const later = new AbortController();
    expect(await collection.find({}, { signal: later.signal, timeoutMs: 5000 })).toHaveLength(2);
  });
});

describe("inside a transaction", () => {
  test("the same calls see the transaction's own writes", async () => {
    const home = await embedded(validators);
    const collection = home.database.collection<Task>("t");
    await collection.insert({ id: "a", state: "todo", rank: 1 });
    await home.database.transaction(async (tx) => {
      const view = tx.collection<Task>("t");
      const stored = await view.findVersioned("a");
      expect(stored?.version).toBeGreaterThan(0);
      await view.update("a", { rank: 2 });
      expect(await view.findVersioned("a")).toEqual({
        document: { id: "a", state: "todo", rank: 2 },
        version: 0,
      });
      const change = { $set: { state: "doing" } };
      expect(await view.findOneAndUpdate({ rank: 2 }, change)).toMatchObject({ state: "doing" });
      expect(await view.update("b", change, { upsert: true })).toEqual({
        ...{ id: "b", state: "doing" },
      } as Task);
      const made = await view.replaceOne({ id: "c" }, { state: "s", rank: 3 } as Task, {
        upsert: true,
      });
      expect(made.upsertedId).toBe("c");
      expect(await view.deleteOne({ id: "b" })).toBe(true);
    });
    expect((await collection.find({}, { sort: { id: 1 } })).map(({ id }) => id)).toEqual([
      "a",
      "c",
    ]);
    await home.close();
  });
});
