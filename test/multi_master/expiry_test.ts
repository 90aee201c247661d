// Documents that expire: hidden at once, and dropped by each node in its own time.

import { expect, test } from "bun:test";
import { checksum64 } from "../../src/protocol/encoding/checksum.ts";
import { DOCS, DRIFT_MAX_MS, keyOf, START_MS, TestCluster } from "./cluster.ts";

const UNTIL = START_MS + 10_000;

function digests(cluster: TestCluster): readonly string[] {
  return cluster.nodes.map(({ master }) => {
    const { count, xor, sum } = master.documents.digest(DOCS, (bytes) => checksum64(bytes));
    return [count, xor, sum].join();
  });
}

test("expiry: a document is hidden from its time on, also where nobody has dropped it", () => {
  const cluster = new TestCluster(2);
  cluster.put(1, "d", { v: 1, until: UNTIL });
  cluster.pass(2);
  const seen = (wallMs: number): boolean =>
    cluster.node(2).master.read(DOCS, keyOf("d"), wallMs).body !== undefined;
  expect([seen(UNTIL - 1), seen(UNTIL)]).toEqual([true, false]);
});

test("expiry: it is dropped once every member has it and its time and the drift have passed", () => {
  const cluster = new TestCluster(2);
  cluster.put(1, "d", { v: 1, until: UNTIL });
  const { master } = cluster.node(1);
  const late = UNTIL + DRIFT_MAX_MS + 1;
  // Nobody else has it yet.
  expect(master.expire(DOCS, keyOf("d"), late)).toBe(false);
  cluster.pass(4);
  cluster.nowMs = late;
  cluster.pass(2);
  expect(master.expire(DOCS, keyOf("d"), late - 1)).toBe(false);
  expect(master.documents.versions(DOCS, keyOf("d"))).toHaveLength(1);
  expect(master.expire(DOCS, keyOf("d"), late)).toBe(true);
  expect(master.documents.versions(DOCS, keyOf("d"))).toHaveLength(0);
  expect(cluster.node(1).disk.last("n1/1")).toBe(1);
  // One has dropped it and the other has not: they agree, and on what is written next.
  expect(new Set(digests(cluster)).size).toBe(1);
  cluster.put(2, "d", { v: 2 });
  cluster.pass(3);
  expect(cluster.bodies("d")).toEqual([{ v: 2 }, { v: 2 }]);
  expect(new Set(digests(cluster)).size).toBe(1);
});

test("expiry: a counter begins anew after its time, on every node", () => {
  const cluster = new TestCluster(3, { strategy: "counter" });
  cluster.put(1, "d", { c: 5, until: UNTIL });
  cluster.pass(3);
  cluster.nowMs = UNTIL + DRIFT_MAX_MS + 1;
  cluster.pass(2);
  cluster.node(1).master.expire(DOCS, keyOf("d"), cluster.nowMs);
  cluster.put(1, "d", { c: 1 });
  cluster.network = [];
  cluster.put(2, "d", { c: 2 });
  cluster.pass(4);
  expect(cluster.bodies("d")).toEqual(Array(3).fill({ c: 3 }));
});

test("digest: equal on nodes that agree, and different for one byte, one removal or one version", () => {
  const cluster = new TestCluster(2, { strategy: "siblings" });
  for (let i = 0; i < 20; i += 1) cluster.put(1 + (i % 2), `k${i % 7}`, { i });
  cluster.pass(3);
  const before = digests(cluster);
  expect(new Set(before).size).toBe(1);
  const seen: string[] = [before[0]!];
  for (const body of [{ i: 0 }, undefined]) {
    cluster.put(1, "k0", body);
    cluster.network = [];
    seen.push(digests(cluster)[0]!);
  }
  cluster.put(2, "k1", { by: "n2" });
  cluster.put(1, "k1", { by: "n1" });
  cluster.pass(5);
  const after = digests(cluster);
  expect(new Set(after).size).toBe(1);
  expect(new Set([...seen, after[0]]).size).toBe(4);
});
