/**
 * Documents above 1 MiB, in collections that were made for them: through every call, over a restart
 * and in a snapshot; and what bounds them.
 *
 * @module
 */

import { afterEach, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DOCUMENT_SIZE_DEFAULT, DOCUMENT_SIZE_MAX } from "../../src/base/limits.ts";
import type { Collection, Database } from "../../src/mod.ts";
import { WALDatabase } from "../../src/mod.ts";
import { encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import { run } from "../system/program.ts";
import { expectSame } from "./load.ts";
import { freshFolder, rejection, TestCluster, waitFor } from "./test_cluster.ts";

interface Large {
  readonly id: string;
  readonly n: number;
  readonly bytes: Uint8Array;
}

const LARGE = { documentSizeMax: DOCUMENT_SIZE_MAX };

/** A document of exactly so many encoded bytes. */
function sized(id: string, size: number, fill = 7): Large {
  const document = (length: number): Large => ({
    id,
    n: 0,
    bytes: new Uint8Array(length).fill(fill),
  });
  const bare = encodeCbor(document(size - 30)).byteLength - (size - 30);
  const found = document(size - bare);
  if (encodeCbor(found).byteLength !== size)
    throw new RangeError("the size is one that can be met");
  return found;
}

/** A document without its bytes, which are compared at once: one by one takes seconds. */
function told(document: Large | undefined): unknown {
  if (document === undefined) return undefined;
  const { bytes, ...rest } = document;
  return { ...rest, size: bytes.byteLength, hash: Bun.hash(bytes) };
}

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function started(count: number): Promise<TestCluster> {
  const cluster = await TestCluster.start(count);
  ends.push(() => cluster.stop());
  return cluster;
}

async function embedded(): Promise<{ database: WALDatabase; path: string }> {
  const folder = freshFolder();
  const database = new WALDatabase({ name: "d", root: folder.path });
  await database.open();
  ends.push(
    () => folder.remove(),
    () => database.close(),
  );
  return { database, path: folder.path };
}

const HOMES = [
  ["embedded", async () => (await embedded()).database],
  ["a cluster", async () => (await started(3)).connect()],
] as const satisfies readonly (readonly [string, () => Promise<Database>])[];

describe.each(HOMES)("%s", (_name, open) => {
  test("the largest document goes through every call", async () => {
    const database = await open();
    await database.createCollection("large", LARGE);
    expect(await database.createCollection("large", LARGE)).toBe(false);
    const collection: Collection<Large> = database.collection("large");
    const [a, b] = [sized("a", DOCUMENT_SIZE_MAX), sized("b", DOCUMENT_SIZE_MAX - 9, 8)];
    const seen: string[] = [];
    const watched = (async () => {
      for await (const change of database.watch<Large>({ since: 0, collection: "large" })) {
        if (change.type === "insert") expect(told(change.document)).toEqual(told(a));
        if (seen.push(change.type) === 5) return;
      }
    })();
    await collection.insert(a);
    await collection.put(b);
    expect(told(await collection.findById("a"))).toEqual(told(a));
    const all = await collection.find({}, { sort: { id: 1 } });
    expect(all.map(told)).toEqual([a, b].map(told));
    const page = await collection.findPage({}, { sort: { n: 1 }, limit: 5 });
    expect(page.documents.map(told)).toEqual([a, b].map(told));
    const many = await Promise.all(Array.from({ length: 8 }, () => collection.findById("b")));
    expect(many.map(told)).toEqual(many.map(() => told(b)));
    expect(await collection.update("b", { $set: { n: 2 } })).toMatchObject({ n: 2 });
    const before = await collection.findOneAndUpdate(
      { id: "b" },
      { n: 3 },
      { returnDocument: "before" },
    );
    expect(told(before)).toEqual(told({ ...b, n: 2 }));
    await database.transaction(async (transaction) => {
      const within = transaction.collection<Large>("large");
      expect(told(await within.findById("a"))).toEqual(told(a));
      await within.put({ ...a, n: 5 });
    });
    expect(await collection.count({ n: { $gte: 3 } })).toBe(2);
    await watched;
    expect(seen).toEqual(["insert", "put", "update", "update", "put"]);
    await collection.remove("a");
    expect(await collection.count()).toBe(1);
  }, 60_000);

  test("larger ones are refused, wherever they come from", async () => {
    const database = await open();
    await database.createCollection("large", LARGE);
    await database.createCollection("small", { documentSizeMax: 1024 });
    const cases = [
      ["large", DOCUMENT_SIZE_MAX],
      ["usual", DOCUMENT_SIZE_DEFAULT],
      ["small", 1024],
    ] as const;
    for (const [name, most] of cases) {
      const collection: Collection<Large> = database.collection(name);
      await collection.put(sized("most", most));
      const error = await rejection(collection.put(sized("more", most + 1)));
      expect([name, error.code]).toEqual([name, "VALIDATION"]);
      expect(error.message).toContain(`at most ${most} bytes`);
      const grown = await rejection(collection.update("most", { $set: { more: 1 } } as never));
      expect([name, grown.code]).toEqual([name, "VALIDATION"]);
      const merged = await rejection(collection.update("most", { more: 1 } as never));
      expect([name, merged.code]).toEqual([name, "VALIDATION"]);
      const within = database.transaction(async (transaction) => {
        await transaction.collection<Large>(name).put(sized("more", most + 1));
      });
      expect((await rejection(within)).code).toBe("VALIDATION");
      expect(told(await collection.findById("most"))).toEqual(told(sized("most", most)));
      expect(await collection.count()).toBe(1);
    }
    const other = await rejection(database.createCollection("usual", LARGE));
    expect(other.message).toContain("with other settings");
  }, 60_000);
});

test("they survive a restart and a backup, and what they leave is given back", async () => {
  const { database, path } = await embedded();
  await database.createCollection("large", LARGE);
  const collection: Collection<Large> = database.collection("large");
  for (let round = 0; round < 6; round += 1) {
    for (const id of ["a", "b", "c"]) await collection.put({ ...sized(id, 5_000_000), n: round });
  }
  await database.backup(join(path, "b.backup"));
  await database.close();
  const last = { ...sized("c", 5_000_000), n: 5 };
  await WALDatabase.restore({ name: "r", root: path }, join(path, "b.backup"));
  for (const name of ["d", "r"]) {
    const again = new WALDatabase({ name, root: path });
    ends.push(() => again.close());
    expect(told(await again.collection<Large>("large").findById("c"))).toEqual(told(last));
    await again.collection<Large>("large").put(sized("d", DOCUMENT_SIZE_MAX));
    expect(await again.collection("large").count()).toBe(4);
  }
}, 60_000);

test.each(["the log", "a snapshot"])(
  "a new member gets them, by %s",
  async (way) => {
    const cluster = await started(1);
    const database = await cluster.connect();
    await database.createCollection("large", LARGE);
    const collection: Collection<Large> = database.collection("large");
    for (let i = 0; i < 6; i += 1) await collection.put(sized(`${i % 3}`, DOCUMENT_SIZE_MAX, i));
    const [first] = cluster.seats;
    if (way === "a snapshot") {
      const index = (): number => first?.node?.status().firstIndex ?? 0;
      const start = index();
      await waitFor("the log to be cut", async () => {
        await collection.put(sized("0", DOCUMENT_SIZE_MAX, 9));
        await first?.node?.takeSnapshot();
        return index() > start + 4;
      });
    }
    const second = await cluster.join("n2");
    await expectSame(cluster);
    expect(second.node?.machine.documentCount).toBe(3);
    // What was replaced is given back: each document has a slab of its own.
    for (const node of cluster.nodes) {
      expect(node.machine.documentBytes).toBeLessThan(8 * DOCUMENT_SIZE_MAX);
    }
  },
  60_000,
);

test("cstore export and import carry them", async () => {
  const cluster = await started(1);
  const database = await cluster.connect();
  await database.createCollection("large", LARGE);
  for (const name of ["copy", "copied"]) await database.createCollection(name, LARGE);
  const text = "\u0001".repeat(DOCUMENT_SIZE_MAX - 100);
  await database.collection("large").put({ id: "a", text });
  const file = join(cluster.folder.path, "large.ndjson");
  const array = join(cluster.folder.path, "large.json");
  const address = ["--address", cluster.addresses];
  for (const words of [
    ["export", "large", file],
    ["import", "copy", file],
    ["import", "plain", file],
    ["import", "copied", array],
  ]) {
    if (words[2] === array) writeFileSync(array, `[${readFileSync(file, "utf8").trim()}]`);
    const { code, stderr } = await run([...words, ...address, "--timeout", "30s"]);
    const isPlain = words[1] === "plain";
    expect([words[0], code]).toEqual([words[0], isPlain ? 1 : 0]);
    if (isPlain) expect(stderr).toContain("documentSizeMax");
  }
  for (const name of ["copy", "copied"]) {
    const [found] = await database.collection<{ id: string; text: string }>(name).find();
    expect([name, found?.text === text]).toEqual([name, true]);
  }
}, 60_000);
