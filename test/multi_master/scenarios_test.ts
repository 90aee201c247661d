// What several nodes that all take writes must survive, by name: the histories that lose or revive
// documents in other systems. Nothing is random here; `random_test.ts` is.

import { describe, expect, test } from "bun:test";
import type { Fields } from "../../src/base/value.ts";
import type { MultiMasterMessage } from "../../src/multi_master/message.ts";
import { originOf } from "../../src/multi_master/operation/dot.ts";
import { codec, DOCS, keyOf, TestCluster, type TestNode, touches } from "./cluster.ts";

const STRATEGIES = [
  "last-write-wins",
  "field-merge",
  "counter",
  "set",
  "max",
  "min",
  "siblings",
  "node-priority",
  "custom",
] as const;

const UPDATE_WINS = { strategy: "last-write-wins", removal: "update-wins" } as const;

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length < 2) return [[...items]];
  return items.flatMap((item, i) =>
    permutations([...items.slice(0, i), ...items.slice(i + 1)]).map((rest) => [item, ...rest]),
  );
}

function eventTypes(node: TestNode): readonly string[] {
  return node.events.map(({ type }) => type);
}

// Three nodes change one document before they hear of each other. A fourth hears of the three
// changes in each of the six orders, each of them twice.
describe("X4: three concurrent edits", () => {
  for (const strategy of STRATEGIES) {
    test(`X4: ${strategy}: every order and repetition gives the same bytes`, () => {
      const conflict = { strategy, resolver: "longest", priorities: ["n2"] };
      const seenTexts = new Set<string>();
      const seenBodies = new Set<string>();
      for (const order of permutations([1, 2, 3])) {
        const cluster = new TestCluster(4, conflict);
        cluster.resolvers.set("longest", longest);
        cluster.put(1, "d", { title: "first", count: 10, tags: ["x", "y"] });
        cluster.settle();
        cluster.network = [];
        cluster.put(1, "d", { title: "by n1", count: 11, tags: ["x", "y", "n1"] });
        cluster.put(2, "d", { title: "first", count: 15, tags: ["y"] });
        cluster.put(3, "d", { title: "by n3, longer", count: 9, tags: ["x", "y", "n3"] });
        const toFourth = cluster.network.filter(({ to }) => to === "n4");
        expect(toFourth.map(({ from }) => from)).toEqual(["n1", "n2", "n3"]);
        for (const from of [...order, ...order]) cluster.deliver(toFourth[from - 1]!);
        cluster.work(cluster.node(4));
        seenTexts.add(cluster.text(cluster.node(4)));
        seenBodies.add(JSON.stringify(cluster.body(4, "d")));
      }
      expect(seenTexts.size).toBe(1);
      expect([...seenBodies].map((body) => JSON.parse(body))).toEqual([MERGED[strategy]]);
    });
  }
});

const BY_N3 = { title: "by n3, longer", count: 9, tags: ["x", "y", "n3"] };
const MERGED: Readonly<Record<(typeof STRATEGIES)[number], Fields>> = {
  "last-write-wins": BY_N3,
  siblings: BY_N3,
  "field-merge": BY_N3,
  // 10, then +1, +5 and -1.
  counter: { ...BY_N3, count: 15 },
  // n2 removed "x"; n1 and n3 added an element each.
  set: { ...BY_N3, tags: ["n1", "n3", "y"] },
  max: { ...BY_N3, count: 15, tags: ["y"] },
  min: { count: 9, tags: ["x", "y", "n1"], title: "by n1" },
  "node-priority": { title: "first", count: 15, tags: ["y"] },
  custom: BY_N3,
};

function longest(siblings: readonly { readonly body: Fields }[]): Fields {
  return siblings
    .map(({ body }) => body)
    .reduce((a, b) => (String(b["title"]).length > String(a["title"]).length ? b : a));
}

// pgactive drops a change of a row that it does not have yet, and the nodes differ for ever.
test("X5: a change that arrives before the insert that it follows is not lost", () => {
  const cluster = new TestCluster(3, { strategy: "field-merge" });
  cluster.put(1, "d", { name: "made by n1" });
  const toThird = cluster.network.filter(({ to }) => to === "n3");
  cluster.settle(touches("n3"));
  cluster.put(2, "d", { ...cluster.body(2, "d"), changed: "by n2" });
  cluster.settle(({ from, to }) => to === "n3" && from === "n1");

  expect(cluster.body(3, "d")).toEqual({ name: "made by n1", changed: "by n2" });
  for (const message of toThird) cluster.deliver(message);
  cluster.work(cluster.node(3));

  expect(cluster.body(3, "d")).toEqual({ name: "made by n1", changed: "by n2" });
  cluster.pass(3);
  expect(new Set(cluster.texts()).size).toBe(1);
  expect(cluster.read(3, "d").isConflict).toBe(false);
});

// PouchDB: each of three devices resolves a conflict by a write of its own, these writes conflict
// again, and so on without end.
test("X6: a resolver that runs on three nodes at once makes no revision", () => {
  const cluster = new TestCluster(3, { strategy: "custom", resolver: "all" });
  cluster.resolvers.set("all", (siblings: readonly { readonly body: Fields }[]) => ({
    by: siblings.map(({ body }) => body["by"]).sort(),
  }));
  for (const number of [1, 2, 3]) cluster.put(number, "d", { by: `n${number}` });
  cluster.settle();
  const before = cluster.texts();

  for (let round = 0; round < 20; round += 1) {
    expect(cluster.bodies("d")).toEqual(Array(3).fill({ by: ["n1", "n2", "n3"] }));
    cluster.pass(1);
  }

  expect(cluster.texts()).toEqual(before);
  expect(cluster.nodes.map(({ disk }) => [...disk.streams.values()].flat().length)).toEqual([
    3, 3, 3,
  ]);
  // A write that has seen all of them ends the conflict, once and everywhere.
  cluster.put(2, "d", { by: "settled" });
  cluster.settle();
  expect(cluster.bodies("d")).toEqual(Array(3).fill({ by: "settled" }));
  expect(cluster.read(1, "d").isConflict).toBe(false);
});

test("X7: operations of a clock that is an hour ahead wait, with an alarm, and nothing is lost", () => {
  const cluster = new TestCluster(3);
  cluster.node(2).skewMs = 3_600_000;
  cluster.put(1, "d", { by: "n1" });
  cluster.put(2, "d", { by: "n2, an hour ahead" });
  cluster.put(2, "other", { by: "n2" });
  cluster.settle();
  cluster.pass(5);

  expect([cluster.body(1, "d"), cluster.body(3, "d")]).toEqual([{ by: "n1" }, { by: "n1" }]);
  expect(cluster.body(1, "other")).toBeUndefined();
  const skew = { type: "CLOCK_SKEW", origin: originOf("n2", "1"), aheadMs: 3_600_000 };
  for (const number of [1, 3]) expect(cluster.node(number).events).toEqual([skew] as never);
  // The others go on meanwhile, and n2 hears them.
  cluster.put(3, "third", { by: "n3" });
  cluster.settle();
  expect(cluster.bodies("third")).toEqual(Array(3).fill({ by: "n3" }));

  cluster.nowMs += 3_600_000;
  cluster.node(2).skewMs = 0;
  cluster.pass(6);
  expect(new Set(cluster.texts()).size).toBe(1);
  expect(cluster.bodies("other")).toEqual(Array(3).fill({ by: "n2" }));
  expect(eventTypes(cluster.node(1))).toEqual(["CLOCK_SKEW", "CLOCK_SKEW_ENDED"]);
});

describe("X8: a node that was away while removals were forgotten", () => {
  /** n3 has the document and goes away; the others remove it, evict n3, and forget the removal. */
  function evicted(): TestCluster {
    const cluster = new TestCluster(3, UPDATE_WINS);
    cluster.put(1, "d", { by: "n1" });
    cluster.put(3, "mine", { by: "n3" });
    cluster.settle();
    cluster.put(2, "d", undefined);
    cluster.settle(touches("n3"));
    // As long as it is a member, the removal is kept for it, however long that takes.
    cluster.pass(50, touches("n3"));
    expect(cluster.node(1).master.documents.removed).toBe(1);

    // Written while away: acknowledged by its own disk, and nobody else has it.
    cluster.put(3, "d", { by: "n3, in ignorance of the removal" });
    cluster.network = [];
    const [first, second, third] = cluster.nodes as [TestNode, TestNode, TestNode];
    cluster.replaceOrigin(third, undefined);
    for (const node of [first, second, first, second]) cluster.learn(node);
    cluster.pass(10, touches("n3"));
    expect([first, second].map(({ master }) => master.documents.removed)).toEqual([0, 0]);
    expect(cluster.body(3, "d")).toEqual({ by: "n3, in ignorance of the removal" });
    return cluster;
  }

  test("X8: it must begin again, and what was removed stays removed", () => {
    const cluster = evicted();
    const third = cluster.node(3);
    cluster.pass(5);

    expect(third.master.isStopped).toBe(true);
    expect([cluster.body(1, "d"), cluster.body(2, "d")]).toEqual([undefined, undefined]);
    const told = third.events.find(({ type }) => type === "RESEED_NEEDED");
    // Nothing is dropped in silence: what only it had is named.
    expect(told).toMatchObject({ unacknowledged: { first: 2, last: 2 } });

    cluster.renew(third, cluster.node(1), true);
    cluster.learnAll();
    cluster.pass(3);
    cluster.put(3, "again", { by: "n3" });
    cluster.pass(5);

    expect(cluster.bodies("d")).toEqual([undefined, undefined, undefined]);
    expect(cluster.bodies("mine")).toEqual(Array(3).fill({ by: "n3" }));
    expect(cluster.bodies("again")).toEqual(Array(3).fill({ by: "n3" }));
    expect(new Set(cluster.texts()).size).toBe(1);
  });

  test("X8: its operations are refused although a member's own hand them on", () => {
    const cluster = evicted();
    const [, , third] = cluster.nodes as [TestNode, TestNode, TestNode];
    const operations = (third.disk.streams.get(third.origin) ?? []).slice(1);
    expect(operations).toHaveLength(1);
    const forged: MultiMasterMessage = {
      type: "OPERATIONS",
      from: "n2",
      to: "n1",
      origin: originOf("n2", "1"),
      version: cluster.agreement.version,
      operations,
    };
    cluster.deliver(forged);
    cluster.work(cluster.node(1));

    expect(cluster.body(1, "d")).toBeUndefined();
    expect(eventTypes(cluster.node(1))).toEqual(["MESSAGE_REFUSED"]);
  });

  test("X8: a removal is kept while an operation made in ignorance of it may be under way", () => {
    const cluster = new TestCluster(3, UPDATE_WINS);
    cluster.put(1, "d", { by: "n1" });
    cluster.settle();
    // n3 changes the document; nobody hears of it for a while. Then it hears of the removal.
    cluster.put(3, "d", { by: "n3" });
    const late = cluster.network.splice(0);
    cluster.put(2, "d", undefined);
    const isLate = ({ from, type }: MultiMasterMessage) => from === "n3" && type === "OPERATIONS";
    cluster.settle(isLate);
    cluster.pass(10, isLate);
    // All disks have the removal, and still n1 keeps it.
    expect(cluster.node(1).master.documents.removed).toBe(1);

    for (const message of late) cluster.deliver(message);
    for (const node of cluster.nodes) cluster.work(node);
    cluster.pass(10);
    expect(new Set(cluster.texts()).size).toBe(1);
    expect(cluster.bodies("d")).toEqual(Array(3).fill({ by: "n3" }));
  });
});

// An operation that leaves before its sync, a crash, and its number given to another operation:
// others take that one for known, and it is lost.
test("multi-master: an own operation leaves after it is on disk", () => {
  const cluster = new TestCluster(2);
  const first = cluster.node(1);
  const body = codec.encode({ by: "first" });
  const documents = [{ collection: DOCS, key: keyOf("d"), body }];
  first.master.write({ documents }, cluster.nowMs);
  cluster.take(first);
  cluster.settle();
  expect(cluster.body(2, "d")).toBeUndefined();

  cluster.restart(first);
  cluster.put(1, "d", { by: "second" });
  cluster.pass(2);
  expect(cluster.bodies("d")).toEqual([{ by: "second" }, { by: "second" }]);
});

test("multi-master: a node that lost a part of its log hears of it and takes no number twice", () => {
  const cluster = new TestCluster(2);
  const first = cluster.node(1);
  cluster.put(1, "d", { by: "first" });
  cluster.put(1, "e", { by: "first" });
  cluster.settle();
  first.disk.tear(1);
  cluster.restart(first);
  cluster.pass(2);

  expect(eventTypes(first)).toContain("OWN_ORIGIN_AHEAD");
  expect(first.master.isReady).toBe(false);
  cluster.renew(first, cluster.node(2), false);
  cluster.learnAll();
  cluster.pass(4);
  cluster.put(1, "e", { by: "again" });
  cluster.pass(4);
  expect(new Set(cluster.texts()).size).toBe(1);
  expect(cluster.bodies("d")).toEqual(Array(2).fill({ by: "first" }));
  expect(cluster.bodies("e")).toEqual(Array(2).fill({ by: "again" }));
});

// A node that lost the end of its log has lost a removal with it, which others have forgotten: what
// it writes beside that would stand alone on some nodes and beside the removal on others.
test("multi-master: a new incarnation writes when it has what the others have forgotten", () => {
  const cluster = new TestCluster(3, { strategy: "last-write-wins", removal: "remove-wins" });
  cluster.put(2, "d", { by: "n2" });
  cluster.pass(2);
  const third = cluster.node(3);
  // n1 forgets the removal; n2 has not heard yet that it may.
  cluster.put(2, "d", undefined);
  cluster.pass(6, undefined, [2]);
  expect([1, 2].map((number) => cluster.node(number).master.documents.removed)).toEqual([0, 1]);
  third.disk.tear(1);
  cluster.renew(third, cluster.node(1), false);
  expect(third.master.isReady).toBe(false);
  cluster.learnAll();
  cluster.pass(6);
  // It cannot be given the removal any more, and begins with a state that has it.
  if (third.master.isStopped) {
    cluster.renew(third, cluster.node(1), true);
    cluster.learnAll();
    cluster.pass(6);
  }
  cluster.put(3, "d", { by: "n3" });
  cluster.pass(6);
  expect(cluster.bodies("d")).toEqual(Array(3).fill({ by: "n3" }));
  expect(new Set(cluster.texts()).size).toBe(1);
});

test("multi-master: removals of one document by several nodes are forgotten, too", () => {
  const cluster = new TestCluster(3);
  cluster.put(1, "d", { by: "n1" });
  cluster.pass(1);
  cluster.put(1, "d", undefined);
  cluster.put(2, "d", undefined);
  cluster.pass(8);
  expect(cluster.nodes.map(({ master }) => master.documents.removed)).toEqual([0, 0, 0]);
  expect(cluster.read(1, "d").isConflict).toBe(false);
});

test("multi-master: a node that must begin again names what only it has, on disk or on its way", () => {
  const cluster = new TestCluster(2);
  cluster.put(1, "a", { by: "n1" });
  cluster.network = [];
  const { master } = cluster.node(1);
  const write = (key: string) => {
    const documents = [{ collection: DOCS, key: keyOf(key), body: codec.encode({}) }];
    return master.write({ documents }, cluster.nowMs);
  };
  write("b");
  cluster.take(cluster.node(1));
  write("c");
  cluster.replaceOrigin(cluster.node(1), undefined);
  cluster.learn(cluster.node(1));
  const told = cluster.node(1).events.find(({ type }) => type === "RESEED_NEEDED");
  const unacknowledged = { first: 1, last: 3 };
  expect(told).toEqual({ type: "RESEED_NEEDED", reason: "not-member", unacknowledged });
  // What was answered, or will be, is still made durable.
  expect(cluster.node(1).disk.last(originOf("n1", "1"))).toBe(3);
  // A restart does not let it go on.
  cluster.restart(cluster.node(1));
  expect(cluster.node(1).master.isStopped).toBe(true);
});
