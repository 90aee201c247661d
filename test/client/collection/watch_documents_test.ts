/**
 * A change stream gives the document as each update left it, also when it was changed since.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { TestCluster } from "../../node/test_cluster.ts";

interface Counter {
  readonly id: string;
  readonly n: number;
}

test("updates one after the other: each with its own document", async () => {
  const cluster = await TestCluster.start(3);
  const database = await cluster.connect();
  const counters = database.collection<Counter>("counters");
  const begun = await counters.put({ id: "a", n: 0 });
  for (let i = 0; i < 5; i += 1) await counters.update("a", { $inc: { n: 1 } });
  await counters.update("a", { n: 100 });
  await counters.delete("a");
  const seen: unknown[] = [];
  for await (const change of database.watch<Counter>({ since: begun, collection: "counters" })) {
    seen.push([change.type, change.document?.n]);
    if (change.type === "remove") break;
  }
  expect(seen).toEqual([...[1, 2, 3, 4, 5, 100].map((n) => ["update", n]), ["remove", undefined]]);
  await cluster.stop();
}, 60_000);
