/**
 * Texts in the order of a collation: in sorts, pages, changes, transactions and indexes; in a
 * database of this process and in a cluster.
 *
 * @module
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Collection } from "../../../src/mod.ts";
import { rejection } from "../../node/test_cluster.ts";
import { embedded, type Home, remote } from "./homes.ts";

interface Word {
  readonly id: string;
  readonly text?: string | number | readonly string[];
  readonly n?: number;
}

const TEXTS = ["Zahn", "arzt", "Ärzte", "aße", "Asse", "zahn", "1", "Éa", "ea"];
const DICTIONARY = ["1", "arzt", "Ärzte", "Asse", "aße", "ea", "Éa", "zahn", "Zahn"];
const strongest = { strength: 3 } as const;

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

  async function words(): Promise<Collection<Word>> {
    count += 1;
    const collection = home.database.collection<Word>(`w${count}`);
    await collection.insertMany(TEXTS.map((text, n) => ({ id: `${n}`, text, n })));
    return collection;
  }

  const textsOf = (found: readonly Word[]) => found.map(({ text }) => text);

  test("sorts: up, down, and without an order of texts", async () => {
    const collection = await words();
    const sort = { text: 1 } as const;
    expect(textsOf(await collection.find({}, { sort, collation: strongest }))).toEqual(DICTIONARY);
    const down = await collection.find({}, { sort: { text: -1 }, collation: strongest });
    expect(textsOf(down)).toEqual(DICTIONARY.toReversed());
    expect(textsOf(await collection.find({}, { sort }))).toEqual(TEXTS.toSorted());
    const letters = { collation: { strength: 1 }, sort: { text: 1, n: 1 } } as const;
    const equal = textsOf(await collection.find({ text: /ahn$/ }, letters));
    expect(equal).toEqual(["Zahn", "zahn"]);
    const some = { sort, collation: strongest, skip: 2, limit: 3 } as const;
    expect(textsOf(await collection.find({}, some))).toEqual(DICTIONARY.slice(2, 5));
  });

  test("other values keep their places", async () => {
    const collection = await words();
    await collection.insertMany([{ id: "x", text: 5 }, { id: "y" }, { id: "z", text: ["b", "A"] }]);
    const found = await collection.find({}, { sort: { text: 1 }, collation: strongest });
    expect(found.map(({ id }) => id).slice(0, 2)).toEqual(["y", "x"]);
    expect(found.at(-1)?.id).toBe("z");
  });

  test("pages follow each other in the order", async () => {
    const collection = await words();
    const seen: unknown[] = [];
    let after: string | undefined;
    do {
      const options = { sort: { text: 1 }, collation: strongest, limit: 2, after } as const;
      const page = await collection.findPage({}, options);
      seen.push(...textsOf(page.documents));
      after = page.next;
    } while (after !== undefined);
    expect(seen).toEqual(DICTIONARY);
  });

  test("pages leave no document out whose text or id is equal in the collation", async () => {
    const ids = ["a", "A", "á", "b", "B", "é", "e\u0301"];
    for (const sort of [{ text: 1 }, { text: 1, id: -1 }, { id: 1 }] as const) {
      for (const strength of [1, 2, 3] as const) {
        count += 1;
        const collection = home.database.collection<Word>(`p${count}`);
        await collection.insertMany(ids.map((id) => ({ id, text: "same" })));
        await collection.createIndex("t", { keys: ["text", "id"], collation: { strength } });
        const seen: string[] = [];
        let after: string | undefined;
        do {
          const page = await collection.findPage(
            {},
            { sort, collation: { strength }, limit: 2, after },
          );
          seen.push(...page.documents.map(({ id }) => id));
          after = page.next;
        } while (after !== undefined);
        const exact = "id" in sort && sort.id === -1 ? ids.toSorted().toReversed() : ids.toSorted();
        expect([sort, strength, seen]).toEqual([sort, strength, exact]);
      }
    }
  });

  test("a token of another collation is refused", async () => {
    const collection = await words();
    const options = { sort: { text: 1 }, limit: 2 } as const;
    const { next: after } = await collection.findPage({}, { ...options, collation: strongest });
    for (const other of [{}, { collation: { strength: 2 } }] as const) {
      const error = await rejection(collection.findPage({}, { ...options, ...other, after }));
      expect(error.code).toBe("QUERY");
    }
  });

  test("an index is made again from its listing", async () => {
    const collection = await words();
    await collection.createIndex("t", { keys: "text", collation: { strength: 2 } });
    await collection.createIndex("n", { keys: "n" });
    const before = await collection.listIndexes();
    for (const { name, ready, expireAfterMs, ...options } of before) {
      await collection.dropIndex(name);
      const expiry = expireAfterMs === null ? {} : { expireAfterMs };
      await collection.createIndex(name, { ...options, ...expiry } as never);
      expect(ready).toBe(true);
    }
    expect(await collection.listIndexes()).toEqual(before);
  });

  test("the first in the order is changed, also within a transaction that wrote", async () => {
    const collection = await words();
    const options = { sort: { text: 1 }, collation: strongest } as const;
    const filter = { text: /^[^1]/ };
    const taken = await collection.findOneAndUpdate(filter, { $set: { n: -1 } }, options);
    expect(taken?.text).toBe("arzt");
    await home.database.transaction(async (transaction) => {
      const within = transaction.collection<Word>(collection.name);
      await within.put({ id: "new", text: "Äpfel" });
      const found = await within.find(filter, options);
      expect(textsOf(found)).toEqual(["Äpfel", ...DICTIONARY.slice(1)]);
      const first = await within.findOneAndUpdate(filter, { $set: { n: -2 } }, options);
      expect(first?.text).toBe("Äpfel");
    });
  });

  test("an index serves the order that it has, and no other", async () => {
    const collection = await words();
    await collection.createIndex("t", { keys: "text", collation: strongest });
    await collection.createIndex("plain", { keys: "text" });
    const sort = { text: 1 } as const;
    const plan = (collation?: { strength: 1 | 2 | 3 }) =>
      collection.explain({}, { sort, ...(collation && { collation }) });
    expect(await plan(strongest)).toMatchObject({ plan: "index", index: "t", sorts: false });
    expect(await plan({ strength: 2 })).toMatchObject({ sorts: true });
    expect(await plan()).toMatchObject({ plan: "index", index: "plain", sorts: false });
    expect(textsOf(await collection.find({}, { sort, collation: strongest }))).toEqual(DICTIONARY);
    const info = await collection.listIndexes();
    expect(info.map(({ collation }) => collation)).toEqual([{ version: 1, strength: 3 }, null]);
    // Conditions compare exactly, whatever index narrows the search down.
    await collection.dropIndex("plain");
    for (const text of [...TEXTS, "ZAHN", "Arzt"]) {
      const found = await collection.find({ text }, { hint: "t" });
      expect(textsOf(found)).toEqual(TEXTS.includes(text) ? [text] : []);
    }
    expect((await collection.find({ text: { $gt: "a" } })).length).toBe(
      TEXTS.filter((text) => text > "a").length,
    );
  });

  test("a unique one refuses what is equal at its strength", async () => {
    const collection = await words();
    const broken = await rejection(
      collection.createIndex("t", { keys: "text", unique: true, collation: { strength: 2 } }),
    );
    expect(broken).toMatchObject({ code: "DUPLICATE_KEY" });
    expect(broken.message).toContain("ahn");
    await collection.remove("5");
    await collection.createIndex("t", {
      ...{ keys: "text", unique: true, collation: { strength: 2 } },
    });
    const zahn = await rejection(collection.insert({ id: "z", text: "ZAHN" }));
    expect(zahn.remedy).toContain('has a value that counts as "ZAHN"');
    for (const text of ["ZAHN", "ÄRZTE", "A\u0308rzte", "Aße"]) {
      expect([text, (await rejection(collection.insert({ id: text, text }))).code]).toEqual([
        text,
        "DUPLICATE_KEY",
      ]);
    }
    await collection.insert({ id: "arzte", text: "arzte" });
  });

  test.each([{ locale: "en" }, { strength: 4 }, {}, "en", { strength: 2, locale: "sv" }])(
    "%j is refused, not ignored",
    async (given) => {
      const collation = given as never;
      const collection = await words();
      const calls = [
        () => collection.find({}, { sort: { text: 1 }, collation }),
        () => collection.findPage({}, { collation }),
        () => collection.createIndex("t", { keys: "text", collation }),
        () => collection.findOneAndUpdate({}, { n: 1 }, { collation }),
      ];
      for (const call of calls) expect((await rejection(call())).code).toBe("QUERY");
      expect(await collection.listIndexes()).toEqual([]);
    },
  );

  test("an index has a collation, or ignores case", async () => {
    const collection = await words();
    const both = { keys: "text", collation: strongest, ignoreCase: true } as const;
    expect((await rejection(collection.createIndex("t", both))).code).toBe("QUERY");
  });
});
