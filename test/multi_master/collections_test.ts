// Collections are made and dropped through consensus, while operations are under way.

import { expect, test } from "bun:test";
import { assertFollows } from "../../src/multi_master/operation/agreement.ts";
import { codec, DOCS, keyOf, TestCluster, type TestNode } from "./cluster.ts";

const OTHER = 2;

function write(
  cluster: TestCluster,
  node: TestNode,
  ...documents: readonly (readonly [number, string, object])[]
) {
  const result = node.master.write(
    {
      documents: documents.map(([collection, key, body]) => ({
        ...{ collection, key: keyOf(key) },
        body: codec.encode(body as never),
      })),
    },
    cluster.nowMs,
  );
  cluster.work(node);
  return result;
}

function read(node: TestNode, collection: number, key: string) {
  const { body } = node.master.read(collection, keyOf(key));
  return body === undefined ? undefined : codec.decode(body);
}

test("collections: an operation waits for the agreement that its writer knew, whole (F24)", () => {
  const cluster = new TestCluster(2);
  const [first, second] = cluster.nodes as [TestNode, TestNode];
  cluster.setCollection(OTHER, { strategy: "counter" });
  cluster.learn(first);
  write(cluster, first, [DOCS, "1", { v: 1 }], [OTHER, "2", { c: 2 }]);
  cluster.pass(3, undefined, [2]);
  expect([read(second, DOCS, "1"), read(second, OTHER, "2")]).toEqual([undefined, undefined]);
  expect([second.master.cursor.size, second.disk.streams.size]).toEqual([0, 0]);
  expect(second.events).toEqual([]);
  cluster.learn(second);
  cluster.pass(2);
  expect([read(second, DOCS, "1"), read(second, OTHER, "2")]).toEqual([{ v: 1 }, { c: 2 }]);
});

test("collections: what is under way to a dropped one does not fill the next of its name (F31)", () => {
  const cluster = new TestCluster(2);
  const [first, second] = cluster.nodes as [TestNode, TestNode];
  write(cluster, first, [DOCS, "d", { old: true }]);
  const late = cluster.network.splice(0);
  // Dropped and made again: another number.
  cluster.setCollection(DOCS, undefined);
  cluster.setCollection(OTHER, { strategy: "last-write-wins" });
  for (const node of cluster.nodes) cluster.learn(node);
  cluster.network = late;
  cluster.pass(3);
  for (const node of [first, second]) {
    expect([read(node, DOCS, "d"), read(node, OTHER, "d")]).toEqual([undefined, undefined]);
  }
  expect(second.master.cursor).toEqual(first.master.cursor);
});

test("collections: of an operation that meets a dropped one the rest is taken in", () => {
  const cluster = new TestCluster(2);
  const [first, second] = cluster.nodes as [TestNode, TestNode];
  cluster.setCollection(OTHER, { strategy: "last-write-wins" });
  for (const node of cluster.nodes) cluster.learn(node);
  write(cluster, first, [DOCS, "1", { v: 1 }], [OTHER, "2", { v: 2 }]);
  const late = cluster.network.splice(0);
  cluster.setCollection(OTHER, undefined);
  cluster.learn(second);
  cluster.network = late;
  cluster.settle();
  expect([read(second, DOCS, "1"), read(second, OTHER, "2")]).toEqual([{ v: 1 }, undefined]);
  cluster.learn(first);
  cluster.pass(4);
  expect(read(first, OTHER, "2")).toBeUndefined();
  expect(new Set(cluster.texts()).size).toBe(1);
});

test("collections: one that was dropped while a node was down is dropped there, too", () => {
  const cluster = new TestCluster(2);
  const second = cluster.node(2);
  cluster.put(1, "d", { v: 1 });
  cluster.put(1, "gone", undefined);
  cluster.pass(1, undefined, [1, 2]);
  second.disk.replace(cluster.seedOf(second), second.disk);
  cluster.setCollection(DOCS, undefined);
  cluster.restart(second);
  expect([cluster.seedOf(second).documents.length, second.master.documents.removed]).toEqual([
    0, 0,
  ]);
  const first = cluster.node(1);
  expect(first.master.documents.removed).toBe(1);
  cluster.learn(first);
  expect(first.master.documents.removed).toBe(0);
});

test("collections: a write to one that is not there is refused", () => {
  const cluster = new TestCluster(2);
  expect(write(cluster, cluster.node(1), [OTHER, "1", {}])).toEqual({
    kind: "refused",
    refusal: { reason: "NO_COLLECTION", collection: OTHER },
  });
});

test("collections: a rule stays as it was made (F1, F2, F23)", () => {
  const cluster = new TestCluster(2, { strategy: "last-write-wins" });
  const { agreement } = cluster;
  for (const rule of [
    { strategy: "set" },
    { strategy: "last-write-wins", removal: "remove-wins" },
  ]) {
    cluster.agreement = agreement;
    cluster.setCollection(DOCS, rule as never);
    expect(() => assertFollows(cluster.agreement, agreement)).toThrow("the rule of collection 1");
    expect(() => cluster.node(1).master.setAgreement(cluster.agreement)).toThrow("the rule");
  }
});
