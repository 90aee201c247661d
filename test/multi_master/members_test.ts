// What changes of members must not do to those that stay: stop their exchange, keep them from
// writing, or let anything that one had come back.

import { expect, test } from "bun:test";
import type { MultiMasterMessage } from "../../src/multi_master/message.ts";
import { proposeFloor, withFloor } from "../../src/multi_master/operation/agreement.ts";
import { DOCS, keyOf, TestCluster, type TestNode, touches } from "./cluster.ts";

function told(node: TestNode) {
  return node.events.find((event) => event.type === "RESEED_NEEDED");
}

test("members: one evicted, one away: the healthy ones go on exchanging (F21)", () => {
  const cluster = new TestCluster(4);
  cluster.put(1, "first", {});
  cluster.put(2, "second", {});
  cluster.pass(3);
  cluster.put(4, "d", { by: "n4" });
  cluster.settle(touches("n2", "n3")); // Only n1 has it.
  cluster.replaceOrigin(cluster.node(4), undefined);
  // n3 is down: the end of n4 cannot be agreed.
  for (const number of [1, 2]) cluster.learn(cluster.node(number));
  cluster.put(1, "x", { by: "n1" });
  cluster.pass(20, touches("n3", "n4"));
  expect(cluster.body(2, "x")).toEqual({ by: "n1" });
  expect(cluster.body(2, "d")).toEqual({ by: "n4" });
  // n3 is back, and all agree upon the end.
  cluster.learnAll();
  cluster.pass(10, touches("n4"));
  expect(cluster.agreement.closed.get("n4/1") ?? "retired").toBe("retired");
  expect(new Set(cluster.texts().slice(0, 3)).size).toBe(1);
});

test("members: what an evicted one sends late stays refused while its end is open (F21)", () => {
  const cluster = new TestCluster(4);
  cluster.put(4, "d", { by: "n4" });
  const late = cluster.network.splice(0);
  cluster.replaceOrigin(cluster.node(4), undefined);
  cluster.learn(cluster.node(1));
  for (const message of late) if (message.to === "n1") cluster.deliver(message);
  cluster.work(cluster.node(1));
  expect(cluster.body(1, "d")).toBeUndefined();
  expect(cluster.node(1).events.map(({ type }) => type)).toEqual(["MESSAGE_REFUSED"]);
});

test("members: an own write made before is not held up by what an evicted one left behind (F21b)", () => {
  const cluster = new TestCluster(4);
  cluster.put(1, "first", {});
  cluster.put(2, "second", {});
  cluster.pass(3);
  for (let i = 0; i < 70; i += 1) cluster.put(4, `d${i}`, { i });
  const held = cluster.network.splice(0);
  cluster.nowMs += 50;
  cluster.put(1, "old", { by: "n1" }); // Made without n4's.
  cluster.network = held;
  cluster.settle(touches("n2", "n3"));
  cluster.replaceOrigin(cluster.node(4), undefined);
  for (const number of [1, 2]) cluster.learn(cluster.node(number));
  cluster.pass(10, touches("n3", "n4"));
  expect(cluster.body(2, "old")).toEqual({ by: "n1" });
  expect(cluster.body(2, "d69")).toEqual({ i: 69 });
});

test("members: who has written nothing writes after a change while another is down (F22)", () => {
  const cluster = new TestCluster(4);
  cluster.put(1, "d", { by: "n1" });
  cluster.pass(3);
  cluster.replaceOrigin(cluster.node(4), undefined);
  cluster.learnAll();
  cluster.pass(5, touches("n3", "n4"));
  expect([1, 2].map((number) => cluster.node(number).master.isReady)).toEqual([true, true]);
  cluster.put(2, "e", { by: "n2" });
  cluster.pass(2, touches("n3", "n4"));
  expect(cluster.body(1, "e")).toEqual({ by: "n2" });
});

test("members: a new incarnation writes while a minority is down (H1)", () => {
  const cluster = new TestCluster(5);
  for (let i = 1; i <= 5; i += 1) cluster.put(i, `k${i}`, {});
  cluster.pass(5);
  const first = cluster.node(1);
  first.disk.tear(1);
  cluster.renew(first, cluster.node(2), false);
  for (let round = 0; round < 3; round += 1) {
    for (const number of [1, 2, 3, 4]) cluster.learn(cluster.node(number)); // n5 is down.
  }
  cluster.pass(5, touches("n5"));
  expect(first.master.isReady).toBe(true);
  cluster.put(1, "again", { by: "n1" });
  cluster.pass(2, touches("n5"));
  expect(cluster.body(3, "again")).toEqual({ by: "n1" });
});

test("members: a floor that was made for an earlier agreement does not count", () => {
  const cluster = new TestCluster(3);
  cluster.put(1, "d", { by: "n1" });
  cluster.settle();
  cluster.nowMs += 100;
  for (const node of cluster.nodes) {
    node.master.tick(cluster.nowMs);
    cluster.work(node);
  }
  cluster.settle();
  const proposal = proposeFloor(cluster.agreement, cluster.node(1).master.progress() ?? [])!;
  expect(withFloor(cluster.agreement, proposal).floor.round).toBe(1);
  // n3 loses the end of its log, and with it what the floor says that its disk holds.
  cluster.renew(cluster.node(3), cluster.node(3), false);
  expect(withFloor(cluster.agreement, proposal)).toBe(cluster.agreement);
});

test("members: an evicted one names nothing that the others have (F20)", () => {
  const cluster = new TestCluster(3);
  for (let i = 0; i < 10; i += 1) cluster.put(3, `k${i}`, { i });
  cluster.settle();
  cluster.replaceOrigin(cluster.node(3), undefined);
  cluster.learnAll();
  expect(told(cluster.node(3))).toMatchObject({ unacknowledged: undefined });
});

test("members: an evicted one names what only it has, in two numbers (F20)", () => {
  const cluster = new TestCluster(3);
  for (let i = 0; i < 3; i += 1) cluster.put(3, `k${i}`, { i });
  cluster.settle();
  for (let i = 0; i < 5000; i += 1) cluster.put(3, "k", { i });
  cluster.network = [];
  cluster.replaceOrigin(cluster.node(3), undefined);
  cluster.learnAll();
  expect(told(cluster.node(3))).toMatchObject({ unacknowledged: { first: 4, last: 5003 } });
});

test("members: one that was evicted while away is refused with its old folder (H4)", () => {
  const cluster = new TestCluster(3);
  for (let i = 1; i <= 3; i += 1) cluster.put(i, `k${i}`, {});
  cluster.pass(5);
  cluster.replaceOrigin(cluster.node(3), undefined);
  for (let round = 0; round < 3; round += 1) {
    for (const number of [1, 2]) cluster.learn(cluster.node(number));
  }
  cluster.put(1, "k3", undefined);
  cluster.pass(8, touches("n3"));
  expect(cluster.node(1).master.documents.removed).toBe(0);
  cluster.put(3, "k3", { back: true });
  cluster.pass(3);
  expect(cluster.body(1, "k3")).toBeUndefined();
  expect(cluster.node(3).master.isStopped).toBe(true);
});

test("members: an incarnation that is over is forgotten once all have what it wrote", () => {
  const cluster = new TestCluster(3);
  for (let i = 1; i <= 3; i += 1) cluster.put(i, `k${i}`, { by: `n${i}` });
  cluster.pass(3);
  for (let round = 0; round < 30; round += 1) {
    const node = cluster.node(1 + (round % 3));
    cluster.renew(node, node, false);
    cluster.learnAll();
    cluster.pass(4);
    cluster.put(1 + (round % 3), `k${1 + (round % 3)}`, { round });
    cluster.pass(2);
  }
  // Thirty incarnations: the vectors know the present ones only.
  expect(cluster.agreement.closed.size).toBeLessThanOrEqual(1);
  for (const { master } of cluster.nodes) expect(master.cursor.size).toBeLessThanOrEqual(5);
  expect(new Set(cluster.texts()).size).toBe(1);
});

test("members: what an earlier incarnation had does not count for the present one", () => {
  const cluster = new TestCluster(3);
  cluster.put(1, "d", { v: 1 });
  cluster.pass(2, undefined, [1, 2, 3]);
  const cursorOf = (node: string) =>
    cluster.node(1).master.peers.find((peer) => peer.node === node)?.cursor;
  expect(cursorOf("n3")?.get("n1/1")).toBe(1);
  const third = cluster.node(3);
  third.disk.tear(1);
  cluster.renew(third, third, false);
  cluster.learn(cluster.node(1));
  expect(cursorOf("n3")?.size).toBe(0);
  expect(cursorOf("n2")?.get("n1/1")).toBe(1);
});

test("members: what a retired one wrote is seen by who reads it after that", () => {
  const cluster = new TestCluster(3, { strategy: "field-merge" });
  cluster.put(3, "d", { a: 1 });
  cluster.pass(3);
  const before = cluster.node(1).master.token;
  cluster.replaceOrigin(cluster.node(3), undefined);
  for (let round = 0; round < 3; round += 1) {
    for (const number of [1, 2]) cluster.learn(cluster.node(number));
  }
  cluster.pass(6, touches("n3"));
  expect(cluster.agreement.retired.has("n3/1")).toBe(true);
  expect(cluster.tryPut(1, "d", { a: 2 }, { seen: before }).kind).toBe("written");
  const { token } = cluster.node(1).master;
  expect(cluster.tryPut(1, "d", { a: 3 }, { seen: token }).kind).toBe("written");
  expect(cluster.tryPut(1, "d", { a: 4 }, { seen: token }).kind).toBe("refused");
});

test("members: a state from before a retirement is not taken for complete", () => {
  const cluster = new TestCluster(3);
  cluster.put(1, "a", { v: 1 });
  cluster.pass(3);
  const third = cluster.node(3);
  const old = cluster.seedOf(third);
  cluster.put(2, "b", { by: "n2" });
  cluster.pass(3);
  cluster.renew(cluster.node(2), cluster.node(1), true);
  cluster.learnAll();
  cluster.pass(12);
  expect(cluster.agreement.retired.has("n2/1")).toBe(true);
  // n3's disk is put back.
  third.disk.streams.clear();
  third.disk.replace(old, third.disk);
  cluster.renew(third, third, false);
  expect(third.master.isStopped).toBe(true);
});

test("members: reads and requests of a retired one wait for nothing", () => {
  const cluster = new TestCluster(3);
  const request = { session: "s", number: 1, answered: 0, isRepeat: false };
  cluster.put(3, "d", { v: 1 }, { request });
  cluster.pass(3);
  cluster.replaceOrigin(cluster.node(3), undefined);
  for (let round = 0; round < 3; round += 1) {
    for (const number of [1, 2]) cluster.learn(cluster.node(number));
  }
  cluster.pass(6, touches("n3"));
  const { master } = cluster.node(1);
  expect(master.read(DOCS, keyOf("d")).afterReady).toBe(0);
  expect(cluster.tryPut(1, "d", { v: 1 }, { request })).toMatchObject({
    kind: "known",
    afterReady: 0,
  });
  master.endSession("s");
  expect(cluster.seedOf(cluster.node(1)).requests).toEqual({ noted: [], repeated: [] });
});

test("members: two that wrote concurrently before one's end are still a conflict after it", () => {
  const cluster = new TestCluster(3, { strategy: "counter" });
  const isCut = ({ type }: MultiMasterMessage): boolean => type === "OPERATIONS";
  cluster.put(1, "d", { a: 5 });
  cluster.put(2, "d", { b: 3 });
  cluster.settle(isCut);
  cluster.pass(6);
  cluster.renew(cluster.node(2), cluster.node(2), false);
  cluster.learnAll();
  cluster.pass(8);
  expect(cluster.agreement.retired.size).toBe(1);
  expect(cluster.bodies("d")).toEqual(Array(3).fill({ a: 5, b: 3 }));
  expect(cluster.read(2, "d").isConflict).toBe(true);
  cluster.put(3, "d", { c: 1 });
  cluster.pass(3);
  expect(cluster.bodies("d")).toEqual(Array(3).fill({ c: 1 }));
  expect(cluster.read(2, "d").isConflict).toBe(false);
});
