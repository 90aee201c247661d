/**
 * Settings of collections - validators, defaults, ids that the cluster gives out - and what the
 * handles make of them, embedded and in a cluster.
 *
 * @module
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { z } from "zod";
import type { Database } from "../../../src/api/database.ts";
import type { Validators } from "../../../src/api/validator.ts";
import {
  TransactionConflictError,
  UncheckedError,
  ValidationError,
  VersionConflictError,
} from "../../../src/base/errors.ts";
import { connect } from "../../../src/client/remote_database.ts";
import { WALCollection } from "../../../src/node/embedded/wal_collection.ts";
import { WALDatabase } from "../../../src/node/embedded/wal_database.ts";
import { freshFolder, rejection, TestCluster } from "../test_cluster.ts";

interface User {
  id?: string | number;
  email: string;
  role?: string;
  visits?: number;
}

const VALIDATORS: Validators = {
  user: z.strictObject({
    id: z.union([z.string(), z.number()]),
    email: z.email().toLowerCase(),
    role: z.enum(["member", "admin"]).default("member"),
    visits: z.number().max(10).optional(),
  }),
  stripping: z.object({ email: z.string() }),
  renaming: z.object({ id: z.string().transform((id) => `u-${id}`), n: z.number() }),
  odd: {
    "~standard": {
      version: 1,
      vendor: "cstore",
      validate: (value) => {
        const { answer } = value as { answer: string };
        const answers: Readonly<Record<string, unknown>> = {
          "no issues": { value, issues: null },
          "empty issues": { issues: [] },
          "odd issues": { issues: [undefined] },
          "a text": "yes",
        };
        return answers[answer] as never;
      },
    },
  },
  mutating: {
    "~standard": {
      version: 1,
      vendor: "cstore",
      validate: (value) => {
        (value as { inner: { list: number[] } }).inner.list.push(2);
        return { value };
      },
    },
  },
  patient: {
    "~standard": {
      version: 1,
      vendor: "cstore",
      validate: async (value) => {
        await Promise.resolve();
        const { email } = value as User;
        return email === "" ? { issues: [{ message: "no address" }] } : { value };
      },
    },
  },
};

interface Home {
  /** A new handle on the same data, without what others have learnt. */
  handle(validators?: Validators): Promise<Database>;
  close(): Promise<void>;
}

async function embedded(): Promise<Home> {
  const folder = freshFolder();
  let database: Database | undefined;
  return {
    handle: async (validators = VALIDATORS) => {
      // Only one process at a time has the folder: reopening is also what a restart is.
      await database?.close();
      database = new WALDatabase({ name: "app", root: folder.path, validators });
      return database;
    },
    close: async () => {
      await database?.close();
      folder.remove();
    },
  };
}

async function cluster(): Promise<Home> {
  const nodes = await TestCluster.start(3);
  const handles: Database[] = [];
  return {
    handle: async (validators = VALIDATORS) => {
      const database = await connect(nodes.addresses, { validators });
      handles.push(database);
      return database;
    },
    close: async () => {
      for (const database of handles) await database.close();
      await nodes.stop();
    },
  };
}

const HOMES: readonly (readonly [string, () => Promise<Home>])[] = [
  ["WALDatabase", embedded],
  ["a cluster of three", cluster],
];

for (const [name, open] of HOMES) {
  describe(name, () => {
    let home: Home;

    beforeAll(async () => {
      home = await open();
    });

    afterAll(() => home.close());

    test("validator: what it refuses is not written, what it adds is", async () => {
      const db = await home.handle();
      expect(await db.createCollection("users", { validator: "user" })).toBe(true);
      expect(await db.createCollection("users", { validator: "user" })).toBe(false);
      expect(await db.createCollection("users")).toBe(false);
      const other = await rejection(db.createCollection("users", { validator: "other" }));
      expect(other).toBeInstanceOf(ValidationError);
      const users = db.collection<User>("users");
      const made = await users.insert({ id: "a", email: "Ann@Example.org" });
      expect(made).toEqual({ id: "a", email: "ann@example.org", role: "member" });
      expect(await users.findById("a")).toEqual(made);
      for (const write of [
        users.insert({ id: "b", email: "nobody" }),
        users.insertMany([
          { id: "c", email: "c@example.org" },
          { id: "d", email: "none" },
        ]),
        users.put({ id: "b", email: "b@example.org", role: "king" }),
        users.save({ id: "b", email: "x@example.org", other: 1 } as User),
        users.putMany([{ id: "b", email: "x" }]),
      ]) {
        const error = await rejection(write);
        expect(error).toBeInstanceOf(ValidationError);
        expect(error.message).toContain("users");
      }
      expect(await users.count()).toBe(1);
      expect((await rejection(users.insert({ email: "x" }))).message).toContain("email: ");
    });

    test("validator: changes are shown to it, too, and versions still count", async () => {
      const db = await home.handle();
      await db.createCollection("changed", { validator: "user" });
      const users = db.collection<User>("changed");
      await users.insertMany([
        { id: 1, email: "a@example.org", visits: 9 },
        { id: 2, email: "b@example.org", visits: 1 },
        { id: 3, email: "c@example.org", visits: 1 },
      ]);
      const version = (await users.findVersioned(1))!.version;
      expect((await users.update(1, { $inc: { visits: 1 } }))?.visits).toBe(10);
      expect(await rejection(users.update(1, { $inc: { visits: 1 } }))).toBeInstanceOf(
        ValidationError,
      );
      const late = users.update(1, { role: "admin" }, { ifVersion: version });
      expect(await rejection(late)).toBeInstanceOf(VersionConflictError);
      const present = { ifVersion: (await users.findVersioned(1))!.version };
      const same = { email: "a@example.org" };
      expect((await users.update(1, same, present))?.visits).toBe(10);
      expect(await users.update(9, { role: "admin" })).toBeUndefined();
      expect(await users.update(9, { role: "admin" }, { ifVersion: 0 })).toBeUndefined();
      const moved = await rejection(users.update(1, { id: 7 } as Partial<User>));
      expect(moved).toBeInstanceOf(ValidationError);

      expect((await users.update({ visits: 1 }, { role: "admin" })).map(({ id }) => id)).toEqual([
        2, 3,
      ]);
      expect(await users.updateMany({ role: "admin" }, { $inc: { visits: 2 } })).toEqual({
        matched: 2,
        modified: 2,
      });
      // One of them would have too many: none of its batch is changed.
      const tooMany = users.updateMany({}, { $inc: { visits: 1 } });
      expect(await rejection(tooMany)).toBeInstanceOf(ValidationError);
      expect((await users.find({}, { sort: { id: 1 } })).map(({ visits }) => visits)).toEqual([
        10, 3, 3,
      ]);
      expect(await users.updateOne({ visits: 3 }, { $set: { visits: 4 } })).toEqual({
        matched: 1,
        modified: 1,
      });
      const upsert = { upsert: true };
      const made = await users.updateOne(
        { email: "New@example.org" },
        { $setOnInsert: { visits: 5 }, $set: { role: "admin" } },
        upsert,
      );
      expect(await users.findById(made.upsertedId!)).toEqual({
        id: made.upsertedId!,
        email: "new@example.org",
        visits: 5,
        role: "admin",
      });
      const refused = users.updateOne({ email: "bad" }, { visits: 1 }, upsert);
      expect(await rejection(refused)).toBeInstanceOf(ValidationError);
      expect((await users.remove({ visits: 5 })).length).toBe(1);
    });

    test("validator: many changes at once meet it one after the other", async () => {
      const db = await home.handle();
      await db.createCollection("busy", { validator: "user" });
      const users = db.collection<User>("busy");
      await users.insert({ id: "a", email: "a@example.org", visits: 0 });
      const calls = Array.from({ length: 14 }, () => users.update("a", { $inc: { visits: 1 } }));
      const ends = await Promise.allSettled(calls);
      const done = ends.filter(({ status }) => status === "fulfilled").length;
      for (const end of ends) {
        if (end.status === "fulfilled") continue;
        const isKnown =
          end.reason instanceof ValidationError || end.reason instanceof TransactionConflictError;
        expect(isKnown).toBe(true);
      }
      expect((await users.findById("a"))?.visits).toBe(done);
      expect(done).toBeLessThanOrEqual(10);
      expect(done).toBeGreaterThan(0);
    });

    test("validator: it may take its time, and may leave the id out", async () => {
      const db = await home.handle();
      await db.createCollection("patient", { validator: "patient" });
      const patient = db.collection<User>("patient");
      expect((await rejection(patient.insert({ email: "" }))).message).toContain("no address");
      await patient.insert({ id: "a", email: "x" });
      await db.createCollection("stripped", { validator: "stripping" });
      const stripped = db.collection<User>("stripped");
      const made = await stripped.insert({ email: "x", visits: 3 });
      expect(Object.keys(made).sort()).toEqual(["email", "id"]);
      expect(await stripped.findById(made.id!)).toEqual(made);
    });

    test("validator: a handle that does not know of it learns, or is refused", async () => {
      const first = await home.handle();
      await first.createCollection("shared", { validator: "user" });
      const fresh = await home.handle();
      const users = fresh.collection<User>("shared");
      expect((await users.insert({ id: "a", email: "A@example.org" })).email).toBe("a@example.org");
      const other = await home.handle();
      const again = other.collection<User>("shared");
      expect(await again.updateMany({ id: "a" }, { visits: 2 })).toEqual({
        matched: 1,
        modified: 1,
      });
      const bare = await home.handle({});
      const plain = bare.collection<User>("shared");
      const writes: readonly (() => Promise<unknown>)[] = [
        () => plain.insert({ id: "b", email: "b@example.org" }),
        () => plain.insert({ email: "b@example.org" }),
        () => plain.update("a", { visits: 3 }),
        () => plain.update("a", { $set: { visits: 3 } }),
        () => plain.updateMany({}, { visits: 3 }),
        () => bare.transaction((tx) => tx.collection<User>("shared").update("a", { visits: 3 })),
      ];
      for (const write of writes) {
        expect(await rejection(write())).toBeInstanceOf(UncheckedError);
      }
      expect(await plain.find()).toEqual([
        { id: "a", email: "a@example.org", role: "member", visits: 2 },
      ]);
      expect(await plain.delete("a")).toBe(true);
    });

    test("validator: many first writes at once are all shown to it", async () => {
      const first = await home.handle();
      await first.createCollection("rush", { validator: "user" });
      const users = (await home.handle()).collection<User>("rush");
      const writes: Promise<unknown>[] = [];
      for (let i = 0; i < 120; i += 1) {
        writes.push(users.put({ id: `k${i}`, email: "A@example.org" }));
        if (i % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
      }
      await Promise.all(writes);
      expect(await users.count({ email: "a@example.org" })).toBe(120);
    });

    test("validator: it makes ids of new documents only, and odd answers are refused", async () => {
      const db = await home.handle();
      for (const name of ["renaming", "odd", "mutating"]) {
        await db.createCollection(name, { validator: name });
      }
      const renamed = db.collection<{ id: string; n: number }>("renaming");
      expect(await renamed.insert({ id: "1", n: 1 })).toEqual({ id: "u-1", n: 1 });
      const writes = [
        () => renamed.update("u-1", { n: 2 }),
        () => renamed.updateMany({}, { n: 2 }),
        () => renamed.updateOne({ n: 1 }, { $set: { n: 2 } }),
      ];
      for (const write of writes) {
        expect((await rejection(write())).message).toContain("changes the id");
      }
      expect(await renamed.find()).toEqual([{ id: "u-1", n: 1 }]);
      const odd = db.collection<{ answer: unknown }>("odd");
      for (const answer of ["nothing", "no issues", "empty issues", "odd issues", "a text"]) {
        expect(await rejection(odd.insert({ answer }))).toBeInstanceOf(ValidationError);
      }
      const given = { inner: { list: [1] } };
      const made = await db.collection<typeof given>("mutating").insert(given);
      expect(made.inner.list).toEqual([1, 2]);
      expect(given).toEqual({ inner: { list: [1] } });
    });

    test("validator: within transactions, also for one that did not know of it", async () => {
      const first = await home.handle();
      await first.createCollection("tx", { validator: "user" });
      const db = await home.handle();
      let attempts = 0;
      await db.transaction(async (tx) => {
        attempts += 1;
        await tx.collection<User>("tx").save({ id: "a", email: "A@example.org" });
        await tx.collection("log").insert({ id: `a${attempts}` });
      });
      expect(attempts).toBe(2);
      expect(await db.collection<User>("tx").findById("a")).toEqual({
        id: "a",
        email: "a@example.org",
        role: "member",
      });
      expect(await db.collection("log").count()).toBe(1);
      const refused = db.transaction(async (tx) => {
        await tx.collection("log").insert({ id: "no" });
        await tx.collection<User>("tx").update("a", { visits: 99 });
      });
      expect(await rejection(refused)).toBeInstanceOf(ValidationError);
      expect(await db.collection("log").count()).toBe(1);
      await db.beginGlobalTransaction();
      await db.collection<User>("tx").insert({ id: "b", email: "B@example.org" });
      await db.commitGlobalTransaction();
      expect((await db.collection<User>("tx").findById("b"))?.email).toBe("b@example.org");
    });

    test("autoIncrement: numbers from 0 that go on after a restart and pass those in use", async () => {
      const db = await home.handle();
      await db.createCollection("numbered", { ids: "autoIncrement" });
      const numbered = db.collection<User>("numbered");
      expect((await numbered.insert({ email: "a" })).id).toBe(0);
      expect((await numbered.save({ email: "b" })).id).toBe(1);
      await numbered.insertMany([
        { id: 3, email: "given" },
        { id: "x", email: "given" },
      ]);
      const many = await numbered.insertMany([
        { email: "c" },
        { id: 9, email: "d" },
        { email: "e" },
      ]);
      expect(many.map(({ id }) => id)).toEqual([2, 9, 4]);
      const again = (await home.handle()).collection<User>("numbered");
      expect((await again.insert({ email: "f" })).id).toBe(5);
      const ids = await Promise.all(
        Array.from({ length: 50 }, async () => (await again.insert({ email: "g" })).id as number),
      );
      expect(new Set(ids).size).toBe(50);
      expect(ids.toSorted((a, b) => a - b)).toEqual([6, 7, 8, ...span(10, 57)]);
      expect((await again.first())?.id).toBe(0);
      expect((await again.remove({ id: "x" })).length).toBe(1);
      expect((await again.last())?.id).toBe(56);
    });

    test("autoIncrement: in transactions; what is rolled back leaves a gap", async () => {
      const db = await home.handle();
      await db.createCollection("counted", { ids: "autoIncrement" });
      const insert = (): Promise<unknown> =>
        db.transaction(
          async (tx) => (await tx.collection<User>("counted").insert({ email: "" })).id,
        );
      expect([await insert(), await insert()]).toEqual([0, 1]);
      const failed = db.transaction(async (tx) => {
        await tx.collection<User>("counted").insert({ email: "" });
        throw new Error("no");
      });
      expect((await rejection(failed)).message).toBe("no");
      expect(await insert()).toBe(3);
    });

    test("autoIncrement: upserts, and a dense beginning that is given", async () => {
      const db = await home.handle();
      await db.createCollection("dense", { ids: "autoIncrement" });
      const dense = db.collection<{ id?: string | number; name: string }>("dense");
      const given = Array.from({ length: 3000 }, (_, id) => ({ id, name: "given" }));
      await dense.insertMany(given);
      const { id } = await dense.insert({ name: "next" });
      expect(id).toBeGreaterThanOrEqual(3000);
      expect((await dense.insert({ name: "next" })).id).toBe(Number(id) + 1);
      const made = await dense.updateOne({ name: "x" }, { $set: { name: "x" } }, { upsert: true });
      expect(made.upsertedId).toBe(Number(id) + 2);
      await db.createCollection("both", { ids: "autoIncrement", validator: "user" });
      const both = db.collection<User>("both");
      const upsert = { upsert: true };
      const result = await both.updateOne({ email: "a@example.org" }, { visits: 1 }, upsert);
      expect(typeof result.upsertedId).toBe("number");
    });

    test("autoIncrement: a collection that was made anew begins again", async () => {
      const db = await home.handle();
      await db.createCollection("renewed", { ids: "autoIncrement" });
      await db.collection<User>("renewed").insert({ email: "a" });
      await db.dropCollection("renewed");
      await db.createCollection("renewed", { ids: "autoIncrement" });
      expect((await db.collection<User>("renewed").insert({ email: "a" })).id).toBe(0);
      await db.dropCollection("renewed");
      expect(typeof (await db.collection<User>("renewed").insert({ email: "a" })).id).toBe(
        "string",
      );
    });

    test("settings: what is none is refused", async () => {
      const db = await home.handle();
      for (const settings of [{ ids: "other" }, { validator: 7 }, { validator: "x".repeat(121) }]) {
        const error = await rejection(db.createCollection("none", settings as never));
        expect(error).toBeInstanceOf(ValidationError);
      }
      expect(await db.listCollections()).not.toContain("none");
    });

    test("update: without merging, fields take the place of what was there", async () => {
      const db = await home.handle();
      const plain = db.collection<{ id: string; a?: unknown; b?: number }>("plain");
      await plain.insert({ id: "x", a: { c: 1, d: 2 }, b: 1 });
      expect(await plain.update("x", { a: { c: 3 } })).toEqual({
        id: "x",
        a: { c: 3, d: 2 },
        b: 1,
      });
      const bare = { merge: false };
      expect(await plain.update("x", { a: { e: 4 } }, bare)).toEqual({
        id: "x",
        a: { e: 4 },
        b: 1,
      });
      expect(await plain.update({ b: 1 }, { a: { f: 5 } }, bare)).toEqual([
        { id: "x", a: { f: 5 }, b: 1 },
      ]);
      const moved = await rejection(plain.update("x", { id: "y" }, bare));
      expect(moved).toBeInstanceOf(ValidationError);
      await db.transaction(async (tx) => {
        const view = tx.collection<{ id: string; a?: unknown }>("plain");
        expect(await view.update("x", { a: { g: 6 } }, bare)).toEqual({
          id: "x",
          a: { g: 6 },
          b: 1,
        } as never);
      });
      expect((await plain.findById("x"))?.a).toEqual({ g: 6 });
    });
  });
}

function span(from: number, count: number): number[] {
  return Array.from({ length: count - from }, (_, i) => from + i);
}

test("WALCollection: its validator and its ids hold from the first time on", async () => {
  const folder = freshFolder();
  const validator = z.object({ email: z.string(), role: z.string().default("member") });
  const config = { name: "users", root: folder.path, ids: "autoIncrement", validator } as const;
  {
    await using users = new WALCollection<User>(config);
    expect(await users.insert({ email: "a" })).toEqual({ id: 0, email: "a", role: "member" });
    expect(await rejection(users.insert({} as User))).toBeInstanceOf(ValidationError);
  }
  {
    await using users = new WALCollection<User>(config);
    // What was refused had its number already.
    expect((await users.insert({ email: "b" })).id).toBe(2);
    expect((await users.first())?.email).toBe("a");
    expect((await users.last())?.email).toBe("b");
  }
  await using bare = new WALCollection<User>({ name: "users", root: folder.path });
  expect(await rejection(bare.insert({ email: "c" }))).toBeInstanceOf(UncheckedError);
  await bare.close();
  folder.remove();
});
