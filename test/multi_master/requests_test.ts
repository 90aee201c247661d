// What clients do: send again, read before they write, and carry what they have seen to others.

import { describe, expect, test } from "bun:test";
import type { Fields } from "../../src/base/value.ts";
import { Bases, wholeOperations } from "../../src/multi_master/document/bases.ts";
import type { ConflictStrategy } from "../../src/multi_master/operation/conflict_rule.ts";
import { codec, DOCS, keyOf, TestCluster } from "./cluster.ts";

const FIRST = { session: "s", number: 1, answered: 0, isRepeat: false };
const AGAIN = { session: "s", number: 1, answered: 0, isRepeat: true };

describe("a request that was sent again to another node has one effect (G1)", () => {
  /** n1 carries out the request and is cut off; n2 carries it out once more. */
  function twice(strategy: ConflictStrategy, before: Fields, wanted: Fields): TestCluster {
    const cluster = new TestCluster(3, { strategy });
    cluster.put(1, "d", before);
    cluster.pass(3);
    cluster.put(1, "d", wanted, { request: FIRST });
    cluster.network = [];
    cluster.put(2, "d", wanted, { request: AGAIN });
    return cluster;
  }

  test.each([
    ["counter", { n: 10 }, { n: 11 }],
    ["set", { tags: ["a"] }, { tags: ["a", "b"] }],
    ["siblings", { v: 0 }, { v: 1 }],
    ["last-write-wins", { v: 0 }, { v: 1 }],
    ["field-merge", { v: 0, w: 0 }, { v: 1, w: 0 }],
  ] as const)("%s", (strategy, before, wanted) => {
    const cluster = twice(strategy, before, wanted);
    cluster.pass(8);
    expect(cluster.bodies("d")).toEqual(Array(3).fill(wanted));
    for (const number of [1, 2, 3]) expect(cluster.read(number, "d").isConflict).toBe(false);
    expect(new Set(cluster.texts()).size).toBe(1);
  });

  test("counter: what both nodes add afterwards counts once each", () => {
    const cluster = twice("counter", { n: 10 }, { n: 11 });
    cluster.put(1, "d", { n: 12 });
    cluster.put(2, "d", { n: 16 });
    cluster.network = [];
    cluster.put(3, "d", { n: 110 });
    cluster.pass(8);
    // 10, the request's 1, then 1, 5 and 100.
    expect(cluster.bodies("d")).toEqual(Array(3).fill({ n: 117 }));
    cluster.put(2, "d", { n: 118 });
    cluster.pass(8);
    cluster.put(1, "d", { n: 119 });
    cluster.pass(8);
    expect(cluster.bodies("d")).toEqual(Array(3).fill({ n: 119 }));
  });

  test.each(["field-merge", "max", "set", "last-write-wins"] as const)(
    "%s: two requests that two nodes carried out in opposite order leave the document whole",
    (strategy) => {
      const cluster = new TestCluster(3, { strategy });
      cluster.put(1, "d", { v: 0, id: "d" });
      cluster.pass(3);
      const [first, second] = [
        { v: 1, id: "d" },
        { v: 2, id: "d" },
      ];
      const other = { session: "t", number: 1, answered: 0 };
      cluster.put(1, "d", first, { request: FIRST });
      cluster.put(1, "d", second, { request: { ...other, isRepeat: false } });
      cluster.network = [];
      cluster.put(2, "d", second, { request: { ...other, isRepeat: true } });
      cluster.put(2, "d", first, { request: AGAIN });
      cluster.network = [];
      cluster.pass(8);
      const [one, ...others] = cluster.bodies("d");
      expect([first, second] as unknown[]).toContainEqual(one);
      expect(others).toEqual([one, one]);
    },
  );

  test("set: what the one took away stays away when the other is heard", () => {
    const cluster = twice("set", { tags: ["a"] }, { tags: ["a", "b"] });
    cluster.put(1, "d", { tags: ["a"] });
    cluster.pass(8);
    expect(cluster.bodies("d")).toEqual(Array(3).fill({ tags: ["a"] }));
  });

  test("a document that was changed since is not taken back by the late one", () => {
    const cluster = twice("last-write-wins", { v: 0 }, { v: 1 });
    cluster.put(1, "d", { v: 2 });
    cluster.network = [];
    // Late by the clock, too.
    cluster.nowMs += 5000;
    cluster.pass(8);
    expect(cluster.bodies("d")).toEqual(Array(3).fill({ v: 2 }));
  });

  test.each(["last-write-wins", "siblings", "field-merge", "counter", "set", "max"] as const)(
    "%s: a document that was removed since is not brought back by the late one",
    (strategy) => {
      const cluster = twice(strategy, { n: 1 }, { n: 2 });
      cluster.put(1, "d", undefined);
      cluster.network = [];
      cluster.nowMs += 5000;
      cluster.pass(8);
      expect(cluster.bodies("d")).toEqual([undefined, undefined, undefined]);
    },
  );

  test("on one node it is known, also when it came from another", () => {
    const cluster = new TestCluster(2, { strategy: "counter" });
    const { origin, sequence } = cluster.put(1, "d", { n: 1 }, { request: FIRST });
    const known = { kind: "known", dot: { origin, sequence }, afterReady: 0 };
    expect(cluster.tryPut(1, "d", { n: 2 }, { request: AGAIN })).toEqual(known as never);
    cluster.settle();
    expect(cluster.tryPut(2, "d", { n: 2 }, { request: AGAIN })).toEqual(known as never);
    expect(cluster.bodies("d")).toEqual([{ n: 1 }, { n: 1 }]);
  });

  test("it is known after a restart, and until its client has the answer", () => {
    const cluster = new TestCluster(2);
    cluster.put(1, "d", { v: 1 }, { request: FIRST });
    cluster.restart(cluster.node(1));
    expect(cluster.tryPut(1, "d", { v: 1 }, { request: AGAIN }).kind).toBe("known");
    // Every member has it, and the client may still wait.
    cluster.pass(5);
    for (const node of cluster.nodes) node.disk.replace(cluster.seedOf(node), node.disk);
    cluster.restart(cluster.node(2));
    expect(cluster.tryPut(2, "d", { v: 1 }, { request: AGAIN }).kind).toBe("known");
    cluster.put(1, "e", {}, { request: { ...FIRST, number: 2, answered: 1 } });
    cluster.pass(5);
    expect(
      cluster.seedOf(cluster.node(2)).requests.noted.map(({ request }) => request.number),
    ).toEqual([2]);
    for (const { master } of cluster.nodes) master.endSession("s");
    expect(cluster.seedOf(cluster.node(2)).requests).toEqual({ noted: [], repeated: [] });
  });
});

describe("a write follows what its client has read (G2)", () => {
  function two(strategy: ConflictStrategy) {
    const cluster = new TestCluster(2, { strategy });
    cluster.put(1, "d", { v: 0 });
    cluster.pass(4);
    const cursor = cluster.node(1).master.token;
    cluster.put(1, "d", { by: "A" }, { seen: cursor });
    return { cluster, cursor };
  }

  test("siblings: two clients of one node that read the same version are both kept", () => {
    const { cluster, cursor } = two("siblings");
    cluster.put(1, "d", { by: "B" }, { seen: cursor });
    const bodies = cluster.read(1, "d").siblings.map(({ body }) => body);
    expect(bodies).toEqual([{ by: "A" }, { by: "B" }]);
    cluster.pass(6);
    expect(new Set(cluster.texts()).size).toBe(1);
    expect(cluster.read(2, "d").siblings).toHaveLength(2);
    // Who has read both ends the conflict.
    cluster.put(2, "d", { by: "C" }, { seen: cluster.node(2).master.token });
    cluster.pass(6);
    expect(cluster.bodies("d")).toEqual([{ by: "C" }, { by: "C" }]);
    expect(cluster.read(1, "d").isConflict).toBe(false);
  });

  test.each(["counter", "set", "field-merge", "max", "min"] as const)(
    "%s: a document that has changed since is refused, to be read again",
    (strategy) => {
      const { cluster, cursor } = two(strategy);
      expect(cluster.tryPut(1, "d", { by: "B" }, { seen: cursor })).toMatchObject({
        kind: "refused",
        refusal: { reason: "STALE_READ" },
      });
      expect(cluster.body(1, "d")).toEqual({ by: "A" });
    },
  );

  test("what was read before removals were forgotten is refused", () => {
    const { cluster, cursor } = two("siblings");
    cluster.put(1, "d", undefined);
    cluster.pass(6);
    expect(cluster.node(1).master.documents.removed).toBe(0);
    expect(cluster.tryPut(1, "d", { by: "B" }, { seen: cursor })).toMatchObject({
      refusal: { reason: "STALE_READ" },
    });
  });

  test("what another node has and this one lacks is waited for", () => {
    const cluster = new TestCluster(3, { strategy: "siblings" });
    cluster.put(2, "d", { x: 1 });
    const { token } = cluster.node(2).master;
    cluster.settle(({ to }) => to === "n1");
    expect(cluster.tryPut(1, "d", { w: 1 }, { seen: token })).toMatchObject({
      refusal: { reason: "NOT_COVERED" },
    });
    cluster.pass(3);
    expect(cluster.tryPut(1, "d", { w: 1 }, { seen: token }).kind).toBe("written");
  });

  test("a removal that came since refuses it, for others may forget that first", () => {
    for (const removal of ["remove-wins", "update-wins"] as const) {
      const cluster = new TestCluster(2, { strategy: "siblings", removal });
      cluster.put(1, "d", { v: 1 });
      cluster.pass(4);
      const { token } = cluster.node(1).master;
      cluster.put(2, "d", undefined);
      cluster.settle();
      expect(cluster.tryPut(1, "d", { v: 2 }, { seen: token })).toMatchObject({
        refusal: { reason: "STALE_READ" },
      });
    }
  });

  test("what an incarnation wrote that is retired since refuses it", () => {
    const cluster = new TestCluster(3, { strategy: "siblings" });
    cluster.put(1, "d", { v: 1 });
    cluster.pass(3);
    const { token } = cluster.node(1).master;
    cluster.put(2, "d", { v: 2 });
    cluster.pass(3);
    cluster.renew(cluster.node(2), cluster.node(1), true);
    cluster.learnAll();
    cluster.pass(12);
    expect(cluster.agreement.retired.has("n2/1")).toBe(true);
    expect(cluster.tryPut(1, "d", { v: 3 }, { seen: token }).kind).toBe("refused");
  });

  test("a function is given what is here, so that two changes do not lose each other", () => {
    const cluster = new TestCluster(2, { strategy: "last-write-wins" });
    const { master } = cluster.node(1);
    const add = (): void => {
      const body = (before: Uint8Array | undefined): Uint8Array => {
        const n = before === undefined ? 0 : (codec.decode(before)["n"] as number);
        return codec.encode({ n: n + 1 });
      };
      master.write({ documents: [{ collection: DOCS, key: keyOf("d"), body }] }, cluster.nowMs);
    };
    for (let i = 0; i < 5; i += 1) add();
    cluster.work(cluster.node(1));
    cluster.pass(2);
    expect(cluster.bodies("d")).toEqual([{ n: 5 }, { n: 5 }]);
  });
});

describe("counters are finite, and what one writes alone one reads", () => {
  const counter = { strategy: "counter" } as const;

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    "%p is no document's number (F5)",
    (n) => {
      expect(() => codec.encode({ n })).toThrow("number is not finite");
    },
  );

  test("fractions that follow each other are read as they were written (F6)", () => {
    const cluster = new TestCluster(2, counter);
    for (let i = 0; i < 200; i += 1) {
      const n = ((i * 104_729) % 1000) / 10;
      cluster.put(1 + (i % 2), "d", { n });
      cluster.settle();
      expect(cluster.bodies("d")).toEqual([{ n }, { n }]);
    }
  });
});

test("set: an element that stands twice in the array costs no more with each write", () => {
  const cluster = new TestCluster(2, { strategy: "set" });
  const sizes: number[] = [];
  for (let i = 0; i < 8; i += 1) {
    const operation = cluster.put(1 + (i % 2), "d", { tags: ["a", "b", "a"], i });
    cluster.settle();
    sizes.push(JSON.stringify(operation.changes[0]?.content).length);
  }
  expect(Math.max(...sizes.slice(2))).toBeLessThan(sizes[1]! * 1.2);
  expect(cluster.body(2, "d")?.["tags"]).toEqual(["a", "b", "a"]);
});

test("set: an element goes when each of its additions was taken away by who knew of it", () => {
  const cluster = new TestCluster(2, { strategy: "set" });
  cluster.put(1, "d", { tags: [] });
  cluster.pass(4);
  // Each adds, hears of the other's addition, and takes away: they know both.
  cluster.put(1, "d", { tags: ["a"] });
  cluster.put(2, "d", { tags: ["a"] });
  cluster.settle();
  cluster.put(1, "d", { tags: [], x: 1 });
  cluster.put(2, "d", { tags: [], y: 1 });
  cluster.pass(4);
  expect(cluster.bodies("d")).toEqual(Array(2).fill({ tags: [], x: 1, y: 1 }));
});

test("set: an element that two added stays when one who knew of one takes it away", () => {
  const cluster = new TestCluster(3, { strategy: "set" });
  cluster.put(1, "d", { tags: [] });
  cluster.pass(2);
  cluster.put(1, "d", { tags: ["a"] });
  cluster.settle(({ to }) => to === "n2");
  cluster.put(2, "d", { tags: ["a"] });
  // n3 hears both; n1 hears of n2 only later, and takes away what it knows.
  const toFirst = cluster.network.filter(({ to }) => to === "n1");
  cluster.settle(({ to }) => to === "n1");
  cluster.put(3, "d", { tags: ["a"], by: "n3" });
  cluster.network = [];
  cluster.put(1, "d", { tags: [] });
  cluster.network.push(...toFirst);
  cluster.pass(6);
  expect(cluster.bodies("d")).toEqual(Array(3).fill({ by: "n3", tags: ["a"] }));
});

describe("what a client has seen (G3)", () => {
  test("a read says when a crash can take back nothing of it", () => {
    const cluster = new TestCluster(2);
    cluster.put(1, "d", { v: 1 });
    const message = cluster.network.find(({ to, type }) => to === "n2" && type === "OPERATIONS")!;
    cluster.deliver(message);
    const second = cluster.node(2);
    const { afterReady } = second.master.read(DOCS, keyOf("d"));
    const ready = second.master.takeReady()!;
    expect(ready.number).toBe(afterReady);
    expect(second.master.read(DOCS, keyOf("d")).afterReady).toBe(afterReady);
    second.master.persisted(ready.number);
    expect(second.master.read(DOCS, keyOf("d")).afterReady).toBe(0);
  });

  test("another node covers it, or will, or never can", () => {
    const cluster = new TestCluster(3);
    cluster.put(1, "d", { v: 1 });
    cluster.settle(({ to }) => to === "n3");
    const { token } = cluster.node(1).master;
    const covers = (number: number): string => cluster.node(number).master.covers(token);
    expect([covers(1), covers(2), covers(3)]).toEqual(["yes", "yes", "wait"]);
    expect(cluster.node(1).master.covers({ ...token, version: 9 })).toBe("wait");

    cluster.put(1, "e", { v: 1 });
    cluster.network = [];
    const later = cluster.node(1).master.token;
    cluster.replaceOrigin(cluster.node(1), undefined);
    for (let round = 0; round < 3; round += 1) {
      for (const number of [2, 3]) cluster.learn(cluster.node(number));
    }
    cluster.pass(2, ({ from, to }) => from === "n1" || to === "n1");
    expect(cluster.node(2).master.covers(later)).toBe("lost");
    expect(cluster.node(3).master.covers(token)).toBe("yes");
  });
});

describe("operations that only an evicted node has", () => {
  /** n3 writes to nobody's knowledge and is evicted; the others go on. */
  function lost(strategy: ConflictStrategy, bodies: readonly (Fields | undefined)[]) {
    const cluster = new TestCluster(3, { strategy });
    cluster.put(1, "d", { v: 0, n: 10 });
    cluster.pass(3);
    for (const body of bodies) {
      cluster.nowMs += 10;
      cluster.put(3, "d", body);
      cluster.put(3, "mine", { by: "n3" });
    }
    cluster.network = [];
    const third = cluster.node(3);
    cluster.replaceOrigin(third, undefined);
    for (let round = 0; round < 3; round += 1) {
      for (const number of [1, 2]) cluster.learn(cluster.node(number));
    }
    cluster.pass(2, ({ from, to }) => from === "n3" || to === "n3");
    cluster.pass(1);
    const told = third.events.find((event) => event.type === "RESEED_NEEDED");
    const { first, last } = told?.unacknowledged ?? { first: 1, last: 0 };
    const stream = third.disk.streams.get("n3/1")!;
    const operations = [...wholeOperations(new Bases(codec, []), stream)].slice(first - 1, last);
    return { cluster, operations };
  }

  function salvage({ cluster, operations }: ReturnType<typeof lost>) {
    const { master } = cluster.node(1);
    const { documents, kept } = master.documents.salvage(structuredClone(operations));
    if (documents.length > 0) master.write({ documents }, cluster.nowMs);
    cluster.work(cluster.node(1));
    cluster.settle();
    return kept.map(({ key }) => new TextDecoder().decode(key));
  }

  test("are written again, the last of each document", () => {
    const state = lost("last-write-wins", [{ v: 1 }, { v: 2 }]);
    expect(salvage(state)).toEqual([]);
    expect(state.cluster.body(2, "d")).toEqual({ v: 2 });
    expect(state.cluster.body(2, "mine")).toEqual({ by: "n3" });
  });

  test("never put an old document over a newer one (H2)", () => {
    const state = lost("last-write-wins", [{ v: 1 }]);
    state.cluster.put(1, "d", { v: 2 });
    expect(salvage(state)).toEqual(["d"]);
    expect(state.cluster.body(2, "d")).toEqual({ v: 2 });
  });

  test("count what they added once", () => {
    const state = lost("counter", [
      { v: 0, n: 11 },
      { v: 0, n: 14 },
    ]);
    state.cluster.put(2, "d", { v: 0, n: 110 });
    state.cluster.settle();
    salvage(state);
    expect(state.cluster.body(1, "d")).toEqual({ v: 0, n: 114 });
  });

  test("that have arrived all the same are passed over", () => {
    const cluster = new TestCluster(3, { strategy: "field-merge" });
    cluster.put(3, "d", { v: 1 });
    // n1 and n2 have it, and n3 never hears so; it is removed meanwhile.
    cluster.settle(({ to }) => to === "n3");
    cluster.put(1, "d", undefined);
    cluster.network = [];
    const third = cluster.node(3);
    cluster.replaceOrigin(third, undefined);
    cluster.learnAll();
    cluster.pass(6, ({ from, to }) => from === "n3" || to === "n3");
    const told = third.events.find((event) => event.type === "RESEED_NEEDED");
    expect(told?.unacknowledged).toEqual({ first: 1, last: 1 });
    const stream = third.disk.streams.get("n3/1") ?? [];
    const operations = [...wholeOperations(new Bases(codec, []), stream)];
    expect(cluster.node(1).master.documents.salvage(operations)).toEqual({
      documents: [],
      kept: [],
    });
  });

  test("for a request that another node carried out are passed over", () => {
    const cluster = new TestCluster(3, { strategy: "counter" });
    cluster.put(3, "d", { n: 1 }, { request: FIRST });
    cluster.network = [];
    cluster.put(1, "d", { n: 1 }, { request: AGAIN });
    cluster.settle(({ from, to }) => from === "n3" || to === "n3");
    cluster.replaceOrigin(cluster.node(3), undefined);
    for (let round = 0; round < 3; round += 1) {
      for (const number of [1, 2]) cluster.learn(cluster.node(number));
    }
    const stream = cluster.node(3).disk.streams.get("n3/1") ?? [];
    const operations = [...wholeOperations(new Bases(codec, []), stream)];
    expect(cluster.node(1).master.documents.salvage(operations).documents).toEqual([]);
  });

  test("that removed a document which others changed since leave it", () => {
    const state = lost("field-merge", [undefined]);
    state.cluster.put(1, "d", { v: 5, n: 10 });
    expect(salvage(state)).toEqual(["d"]);
    expect(state.cluster.body(2, "d")).toEqual({ v: 5, n: 10 });
  });
});
