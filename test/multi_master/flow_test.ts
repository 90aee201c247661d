// Streams between nodes: in windows, where they were, from memory or from disk; and states that are
// frozen while writes go on.

import { describe, expect, test } from "bun:test";
import { EMPTY_SEED } from "../../src/multi_master/config.ts";
import type { MultiMasterMessage } from "../../src/multi_master/message.ts";
import type { MultiMasterReady } from "../../src/multi_master/ready.ts";
import { codec, DOCS, keyOf, TestCluster, type TestNode, touches } from "./cluster.ts";

function operationsIn(network: readonly MultiMasterMessage[], to: string): number {
  return network.reduce((sum, message) => {
    return (
      sum + (message.to === to && message.type === "OPERATIONS" ? message.operations.length : 0)
    );
  }, 0);
}

/** Delivers everything that is under way once: what it leads to waits for the next round. */
function round(cluster: TestCluster): void {
  for (const message of cluster.network.splice(0)) {
    cluster.deliver(message);
    cluster.work(cluster.nodes.find(({ id }) => id === message.to)!);
  }
}

test("flow: catching up takes a window of operations each round trip (G6)", () => {
  const cluster = new TestCluster(2);
  for (let i = 0; i < 5000; i += 1) {
    cluster.put(1, `k${i % 100}`, { i });
    cluster.network = [];
  }
  cluster.node(1).master.setPeer("n2", false);
  cluster.node(1).master.setPeer("n2", true);
  let rounds = 0;
  for (cluster.work(cluster.node(1)); cluster.network.length > 0; rounds += 1) round(cluster);
  expect(cluster.node(2).master.cursor.get("n1/1")).toBe(5000);
  // 64 KiB in flight are about 600 operations; 64 a round trip would be 156 rounds.
  expect(rounds).toBeLessThan(40);
});

test("flow: to a node that is away nothing is sent, and it goes on where it was (G7)", () => {
  const cluster = new TestCluster(3);
  cluster.put(1, "a", {});
  cluster.pass(2);
  cluster.node(1).master.setPeer("n3", false);
  let sent = 0;
  for (let i = 0; i < 1000; i += 1) {
    cluster.put(1, "a", { i });
    sent += operationsIn(cluster.network, "n3");
    cluster.settle(touches("n3"));
  }
  expect(sent).toBe(0);
  expect(cluster.node(1).master.peers).toMatchObject([
    { node: "n2", isUp: true, lag: 0 },
    { node: "n3", isUp: false, lag: 1000 },
  ]);
  cluster.node(1).master.setPeer("n3", true);
  cluster.work(cluster.node(1));
  cluster.settle();
  expect(cluster.body(3, "a")).toEqual({ i: 999 });
});

test("flow: no more than a window is on its way to a peer that does not answer", () => {
  const cluster = new TestCluster(2);
  let sent = 0;
  for (let i = 0; i < 2000; i += 1) {
    cluster.put(1, "a", { i });
    sent += operationsIn(cluster.network.splice(0), "n2");
  }
  expect(sent).toBeGreaterThan(100);
  expect(sent).toBeLessThan(1000);
  cluster.pass(3);
  expect(cluster.body(2, "a")).toEqual({ i: 1999 });
});

test("flow: an operation that is larger than the window travels, alone", () => {
  const cluster = new TestCluster(2);
  const text = "x".repeat(200_000);
  cluster.put(1, "large", { text });
  cluster.put(1, "small", { v: 1 });
  cluster.pass(2);
  expect(cluster.bodies("large")).toEqual([{ text }, { text }]);
  expect(cluster.bodies("small")).toEqual([{ v: 1 }, { v: 1 }]);
});

test("flow: operations that are not in memory are asked for, and sent when they are here", () => {
  const cluster = new TestCluster(2);
  const first = cluster.node(1);
  first.disk.isSlow = true;
  cluster.put(1, "a", { v: 1 });
  expect(operationsIn(cluster.network, "n2")).toBe(0);
  expect(first.loads).toEqual([{ origin: "n1/1", sequence: 1 }]);
  cluster.pass(2);
  expect(cluster.body(2, "a")).toBeUndefined();
  first.disk.isSlow = false;
  first.master.loaded();
  cluster.work(first);
  cluster.settle();
  expect(cluster.body(2, "a")).toEqual({ v: 1 });
});

test("flow: who lacks what is cut off the logs begins with another's state", () => {
  const cluster = new TestCluster(3);
  for (let i = 0; i < 5; i += 1) cluster.put(1, "a", { i });
  cluster.pass(4);
  expect(cluster.agreement.floor.floor.get("n1/1")).toBe(5);
  for (const node of cluster.nodes) node.disk.replace(cluster.seedOf(node), node.disk);
  // n3's disk is replaced by an empty one.
  const third = cluster.node(3);
  third.disk.replace({ ...EMPTY_SEED, documents: [] }, third.disk);
  cluster.renew(third, third, false);
  cluster.learnAll();
  expect(third.master.isReady).toBe(false);
  cluster.pass(1);
  expect(third.events.find(({ type }) => type === "RESEED_NEEDED")).toMatchObject({
    reason: "behind",
  });
  expect(third.events.filter(({ type }) => type === "RESEED_NEEDED")).toHaveLength(1);
  cluster.renew(third, cluster.node(1), true);
  cluster.learnAll();
  expect(third.master.isReady).toBe(true);
  cluster.pass(4);
  expect(cluster.bodies("a")).toEqual(Array(3).fill({ i: 4 }));
});

describe("what a Ready tells of documents", () => {
  /** Takes one Ready without its sync. */
  function take(node: TestNode): MultiMasterReady {
    const ready = node.master.takeReady();
    if (ready === undefined) throw new Error("Nothing is to be done");
    return ready;
  }

  function write(cluster: TestCluster, body: object | undefined) {
    const encoded = body === undefined ? undefined : codec.encode(body as never);
    const documents = [{ collection: DOCS, key: keyOf("d"), body: encoded }];
    return cluster.node(1).master.write({ documents }, cluster.nowMs);
  }

  test("each change, before and after, in its order", () => {
    const cluster = new TestCluster(2);
    for (const body of [{ v: 1 }, { v: 2 }, undefined]) write(cluster, body);
    const { changes, number } = take(cluster.node(1));
    const [one, two] = [codec.encode({ v: 1 }), codec.encode({ v: 2 })];
    const document = { collection: DOCS, key: keyOf("d"), isConflict: false };
    expect(number).toBe(2);
    const wallMs = cluster.nowMs;
    expect(changes).toEqual([
      { ...document, before: undefined, after: one, stamp: { wallMs, count: 0 } },
      { ...document, before: one, after: two, stamp: { wallMs, count: 1 } },
      { ...document, before: two, after: undefined, stamp: { wallMs, count: 2 } },
    ]);
  });

  test("an operation of another that is older changes nothing that is read, and makes a conflict", () => {
    const cluster = new TestCluster(2, { strategy: "siblings" });
    cluster.put(2, "d", { by: "n2" });
    const late = cluster.network.splice(0);
    cluster.nowMs += 10;
    cluster.put(1, "d", { by: "n1" });
    for (const message of late) if (message.to === "n1") cluster.deliver(message);
    const body = codec.encode({ by: "n1" });
    expect(take(cluster.node(1)).changes).toEqual([
      {
        ...{ collection: DOCS, key: keyOf("d"), before: body, after: body, isConflict: true },
        stamp: { wallMs: cluster.nowMs, count: 0 },
      },
    ]);
  });
});

test("flow: a state that is read later has the contexts that were settled meanwhile", () => {
  const cluster = new TestCluster(2, { strategy: "max" });
  cluster.put(1, "a", { f: 1 });
  cluster.pass(4);
  cluster.put(2, "b", { f: 2 });
  cluster.settle();
  cluster.put(1, "c", { f: 3 });
  cluster.settle();
  const { master } = cluster.node(1);
  const context = master.documents.versions(DOCS, keyOf("c"))[0]?.context;
  const frozen = master.freeze();
  cluster.pass(6);
  const later = [...frozen.documents()].find(({ key }) => key[0] === keyOf("c")[0]);
  frozen.release();
  expect(context?.get("n2/1")).toBe(1);
  expect(later?.versions[0]?.context).toEqual(context!);
});

test("flow: a state is frozen while a Ready is on its way, and writes go on (F30)", () => {
  const cluster = new TestCluster(2);
  for (let i = 0; i < 20; i += 1) cluster.put(1, `k${i}`, { i });
  const { master } = cluster.node(1);
  const write = (key: string, body: object | undefined): void => {
    const encoded = body === undefined ? undefined : codec.encode(body as never);
    master.write(
      { documents: [{ collection: DOCS, key: keyOf(key), body: encoded }] },
      cluster.nowMs,
    );
  };
  write("k0", { i: "last of the state" });
  const frozen = master.freeze();
  expect(frozen.cursor.get("n1/1")).toBe(21);
  expect(frozen.afterReady).toBe(master.takeReady()!.number);
  write("k1", undefined);
  write("k2", { i: "later" });
  write("k20", { i: "new" });
  const shown = new Map(
    [...frozen.documents()].map(({ key, versions: [version] }) => {
      const content = version!.content;
      return [
        new TextDecoder().decode(key),
        content.kind === "document" ? codec.decode(content.body)["i"] : undefined,
      ];
    }),
  );
  frozen.release();
  const expected = new Map<string, unknown>(Array.from({ length: 20 }, (_, i) => [`k${i}`, i]));
  expect(shown as Map<string, unknown>).toEqual(expected.set("k0", "last of the state"));
  expect(() => frozen.release()).toThrow("released once");
});
