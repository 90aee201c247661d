// What a member says may be wrong, by a bug or by a disk that lied. Nothing of it throws, moves a
// cursor, or is taken in half. A member that lies about a fork can still stop another node.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { CursorMessage, OperationsMessage } from "../../src/multi_master/message.ts";
import type { Operation, PackedOperation } from "../../src/multi_master/operation/operation.ts";
import { faultOf } from "../../src/multi_master/operation/operation_check.ts";
import { seen } from "../../src/multi_master/operation/version_vector.ts";
import {
  checksumOf,
  codec,
  DOCS,
  keyOf,
  TestCluster,
  type TestNode,
  WAIT_TICKS,
} from "./cluster.ts";

function types(node: TestNode): readonly string[] {
  return node.events.map(({ type }) => type);
}

/** The first operation of n2, with whatever is wrong with it. */
function operationOf(cluster: TestCluster, wrong: object = {}): Operation {
  const right = {
    ...{ origin: "n2/1", sequence: 1, version: 1, context: new Map() },
    stamp: { wallMs: cluster.nowMs, count: 0 },
    changes: [
      {
        ...{ collection: DOCS, key: keyOf("d") },
        content: { kind: "document", body: codec.encode({ by: "n2" }) } as const,
      },
    ],
  };
  const operation = { ...right, ...wrong } as Omit<Operation, "chain">;
  let chain = 0;
  try {
    chain = checksumOf(operation, 0);
  } catch {
    // It has no form of which a checksum could be made.
  }
  return { ...operation, chain, ...("chain" in wrong ? { chain: wrong.chain as number } : {}) };
}

function deliver(cluster: TestCluster, ...operations: readonly PackedOperation[]): void {
  const message: OperationsMessage = {
    ...{ type: "OPERATIONS", from: "n2", to: "n1", origin: "n2/1", version: 1 },
    operations,
  };
  cluster.deliver(message);
  cluster.work(cluster.node(1));
}

function cursor(more: Partial<CursorMessage> = {}): CursorMessage {
  return {
    ...{ type: "CURSOR", from: "n2", to: "n1", origin: "n2/1", version: 1 },
    ...{ cursor: new Map(), chains: new Map(), isPull: false, round: 0, wallMs: 0 },
    ...more,
  };
}

describe("operations that are broken", () => {
  const stamp = { wallMs: 1, count: 0 };
  const bare = { collection: DOCS, key: keyOf("d") };
  const change = { ...bare, content: { kind: "removed" } };
  const packed = { base: 1, size: 1, delta: new Uint8Array(1) };
  test.each([
    ["its stamp is no time", { stamp: { wallMs: Number.NaN, count: 0 } }],
    ["its stamp is no time", { stamp: { wallMs: 1, count: 70_000 } }],
    ["its stamp is no time", { stamp: null }],
    ["its name is no dot", { sequence: 0 }],
    ["its name is no dot", { sequence: 1.5 }],
    ["its name is no dot", { origin: "" }],
    ["its context is no version vector", { context: {} }],
    ["its context is no version vector", { context: new Map([["n3/1", -1]]) }],
    ["its context names its own origin", { context: new Map([["n2/1", 1]]) }],
    ["its version is no number", { version: "1" }],
    ["its chain is no checksum", { chain: -1 }],
    [
      "its request has no name",
      { request: { session: 1, number: 1, answered: 0, isRepeat: true } },
    ],
    ["it changes nothing", { changes: [] }],
    ["it changes a document twice", { changes: [change, change] }],
    ["a change has no key", { changes: [{ ...change, key: new Uint8Array(0) }] }],
    ["a change has no key", { changes: [{ ...change, key: new Uint8Array(2000) }] }],
    ["a change has no collection", { changes: [{ ...change, collection: "docs" }] }],
    ["a change has no content, or two", { changes: [{ ...change, content: { kind: "whole" } }] }],
    [
      "a change has no content, or two",
      {
        changes: [
          {
            ...change,
            content: {
              ...{ kind: "document", body: codec.encode({ c: 1 }) },
              marks: {
                parts: [
                  { field: "c", count: Number.NaN, stamp, dot: { origin: "n2/1", sequence: 1 } },
                ],
              },
            },
          },
        ],
      },
    ],
    ["a change has no content, or two", { changes: [{ ...change, packed }] }],
    ["a change has no content, or two", { changes: [{ ...bare, packed: { ...packed, base: 0 } }] }],
    ["a change has no content, or two", { changes: [{ ...bare, packed: null }] }],
    ["a change is half a base", { changes: [{ ...change, isBase: 1 }] }],
    ["a change has seen no version vector", { changes: [{ ...change, seen: [] }] }],
    ["a change has seen no version vector", { changes: [{ ...change, seen: null }] }],
    [
      "a change has seen no version vector",
      { changes: [{ ...change, seen: { version: 1, cursor: {} } }] },
    ],
    ["a change follows removals without names", { changes: [{ ...change, removals: [{}] }] }],
    ["a change follows removals without names", { changes: [{ ...change, removals: [] }] }],
  ])("%s (F27)", (fault, wrong) => {
    const cluster = new TestCluster(3);
    // A good change in front of a bad one: nothing of it is seen.
    const operation = operationOf(cluster, wrong);
    expect(faultOf(operation)).toBe(fault);
    deliver(cluster, operation);
    const { master } = cluster.node(1);
    expect([seen(master.cursor, "n2/1"), cluster.body(1, "d")]).toEqual([0, undefined]);
    expect(types(cluster.node(1))).toEqual(["MESSAGE_REFUSED"]);
    // The right one is taken in afterwards.
    deliver(cluster, operationOf(cluster));
    expect(cluster.body(1, "d")).toEqual({ by: "n2" });
  });

  test("anything at all in a field is a fault or an operation, never an exception", () => {
    const cluster = new TestCluster(2);
    const names = ["origin", "sequence", "stamp", "context", "version", "chain", "request"];
    const field = fc.constantFrom(...names, "changes");
    fc.assert(
      fc.property(field, fc.anything({ withMap: true, withNullPrototype: true }), (name, value) => {
        const operation = { ...operationOf(cluster), [name]: value } as Operation;
        expect(["string", "undefined"]).toContain(typeof faultOf(operation));
      }),
    );
    fc.assert(
      fc.property(fc.anything({ withMap: true }), (value) => {
        const changes = [value] as unknown as Operation["changes"];
        expect(["string", "undefined"]).toContain(
          typeof faultOf({ ...operationOf(cluster), changes }),
        );
      }),
    );
  });
});

test("hostile: a cursor that claims more of a node than it wrote stops nobody (F25)", () => {
  const cluster = new TestCluster(3);
  cluster.put(1, "d", {});
  cluster.settle();
  cluster.deliver(cursor({ cursor: new Map([["n1/1", 99]]), wallMs: cluster.nowMs }));
  cluster.work(cluster.node(1));
  expect(cluster.node(1).master.isStopped).toBe(false);
  expect(types(cluster.node(1))).toEqual(["MESSAGE_REFUSED"]);
  // It asks for the proof.
  expect(cluster.network).toMatchObject([{ type: "CURSOR", to: "n2", isPull: true }]);
  cluster.put(1, "e", { by: "n1" });
  cluster.pass(3);
  expect(cluster.bodies("e")).toEqual(Array(3).fill({ by: "n1" }));
});

test("hostile: a claim that is true is proved by the operation, and then the node stops (F25)", () => {
  const cluster = new TestCluster(2);
  cluster.put(1, "d", { v: 1 });
  cluster.put(1, "d", { v: 2 });
  cluster.settle();
  cluster.node(1).disk.tear(1);
  cluster.restart(cluster.node(1));
  cluster.pass(2);
  expect(types(cluster.node(1))).toContain("OWN_ORIGIN_AHEAD");
  expect(cluster.node(1).master.isStopped).toBe(true);
});

test.each([
  { cursor: {} as never },
  { cursor: new Map([["n2/1", Number.NaN]]) },
  { chains: undefined as never },
  { wallMs: Number.POSITIVE_INFINITY },
  { version: -1 },
  { round: "1" as never },
])("hostile: a broken cursor changes nothing: %p", (wrong) => {
  const cluster = new TestCluster(2);
  cluster.deliver(cursor(wrong));
  cluster.work(cluster.node(1));
  expect(types(cluster.node(1))).toEqual(["MESSAGE_REFUSED"]);
  expect(cluster.node(1).master.peers).toMatchObject([{ cursor: new Map() }]);
});

test("hostile: an operation that waits for one that nobody has is told (F26)", () => {
  const cluster = new TestCluster(3);
  deliver(cluster, operationOf(cluster, { context: new Map([["n3/1", 1_000_000]]) }));
  expect(cluster.node(1).events).toEqual([]);
  // Others go on meanwhile.
  cluster.put(3, "x", { by: "n3" });
  cluster.pass(WAIT_TICKS + 1);
  expect(cluster.body(1, "x")).toEqual({ by: "n3" });
  const operation = { origin: "n2/1", sequence: 1 };
  const missing = { origin: "n3/1", sequence: 1_000_000 };
  expect(cluster.node(1).events).toEqual([{ type: "OPERATION_WAITS", operation, missing }]);
});

test("hostile: what waited and comes is told to have ended (F26)", () => {
  const cluster = new TestCluster(3);
  cluster.put(3, "x", { by: "n3" });
  cluster.settle(({ from, to }) => from === "n3" && to === "n1");
  cluster.put(2, "y", { by: "n2" });
  const isCut = ({ from, to, type }: { from: string; to: string; type: string }): boolean =>
    to === "n1" && type === "OPERATIONS" && from === "n3";
  const second = cluster.node(2).disk.streams.get("n2/1")!;
  for (let i = 0; i <= WAIT_TICKS; i += 1) {
    deliver(cluster, ...second);
    cluster.network = [];
    cluster.node(1).master.tick(cluster.nowMs);
  }
  cluster.work(cluster.node(1));
  expect(types(cluster.node(1))).toEqual(["OPERATION_WAITS"]);
  cluster.pass(3, isCut);
  expect(cluster.body(1, "y")).toEqual({ by: "n2" });
  expect(types(cluster.node(1))).toEqual(["OPERATION_WAITS", "OPERATION_WAITS_ENDED"]);
});

test("hostile: a number that was given twice is noticed, and who gave it begins again (F28)", () => {
  const cluster = new TestCluster(3);
  const first = cluster.node(1);
  cluster.put(1, "a", { v: 0 });
  cluster.put(1, "d", { by: "first" });
  cluster.settle();
  // A disk that lied: the end of the log is gone, and nothing shows it.
  first.disk.tear(1);
  cluster.restart(first);
  cluster.put(1, "d", { by: "second" });
  cluster.put(1, "e", { by: "third" });
  cluster.pass(2);
  expect(first.master.isStopped).toBe(true);
  expect(cluster.nodes.some((node) => types(node).includes("ORIGIN_FORKED"))).toBe(true);
  cluster.renew(first, cluster.node(2), true);
  cluster.learnAll();
  cluster.pass(6);
  expect(new Set(cluster.texts()).size).toBe(1);
  expect(cluster.bodies("d")).toEqual(Array(3).fill({ by: "first" }));
});

test("hostile: a fork that both sides have built upon is noticed by their cursors (F28)", () => {
  const cluster = new TestCluster(3);
  cluster.put(1, "d", { by: "first" });
  cluster.settle(({ to }) => to === "n3");
  cluster.node(1).disk.tear(1);
  cluster.restart(cluster.node(1));
  cluster.put(1, "d", { by: "second" });
  cluster.settle(({ to }) => to === "n2");
  // n2 has one first operation of n1, n3 another; n1 is not heard any more.
  expect([cluster.body(2, "d"), cluster.body(3, "d")]).toEqual([{ by: "first" }, { by: "second" }]);
  cluster.pass(2, ({ from, to }) => from === "n1" || to === "n1");
  expect([2, 3].map((number) => cluster.node(number).master.isStopped)).toEqual([false, true]);
  expect(types(cluster.node(3))).toContain("ORIGIN_FORKED");
  for (const number of [1, 3]) {
    cluster.renew(cluster.node(number), cluster.node(2), true);
    cluster.learnAll();
    cluster.pass(6);
  }
  expect(cluster.bodies("d")).toEqual(Array(3).fill({ by: "first" }));
  expect(new Set(cluster.texts()).size).toBe(1);
});

test("hostile: bodies that are no documents, and messages that hold no operations", () => {
  const cluster = new TestCluster(3, { strategy: "counter" });
  const content = { kind: "document", body: new Uint8Array([0xff, 1, 2]) };
  deliver(
    cluster,
    operationOf(cluster, { changes: [{ collection: DOCS, key: keyOf("d"), content }] }),
  );
  for (const operations of [undefined, 5, [null], ["x"]]) {
    deliver(cluster, ...([] as Operation[]));
    cluster.deliver({
      ...{ type: "OPERATIONS", from: "n2", to: "n1", origin: "n2/1", version: 1 },
      operations: operations as never,
    });
  }
  deliver(cluster, operationOf(cluster, { context: undefined }));
  cluster.put(1, "d", { c: 1 });
  expect(seen(cluster.node(1).master.cursor, "n2/1")).toBe(0);
  expect(new Set(types(cluster.node(1)))).toEqual(new Set(["MESSAGE_REFUSED"]));
  cluster.restart(cluster.node(1));
  expect(cluster.body(1, "d")).toEqual({ c: 1 });
});

test("hostile: who is no member is not heard, whatever it leaves out", () => {
  const cluster = new TestCluster(3);
  const operations = [operationOf(cluster)];
  const message = { type: "OPERATIONS", from: "n9", to: "n1", version: 1, operations };
  cluster.deliver({ ...message, origin: undefined } as never);
  cluster.deliver({
    ...{ type: "RESEED", from: "n9", to: "n1", origin: "n9/1", version: 1 },
    ...{ reason: "forked", incarnation: "n1/1" },
  });
  cluster.work(cluster.node(1));
  expect([cluster.body(1, "d"), cluster.node(1).master.isStopped]).toEqual([undefined, false]);
});

test("hostile: who hands on a damaged operation does not stop its origin", () => {
  const cluster = new TestCluster(3);
  cluster.put(2, "d", { by: "n2" });
  cluster.settle(({ to }) => to === "n1");
  const [right] = cluster.node(3).disk.streams.get("n2/1") ?? [];
  const damaged = { ...right!, chain: (right!.chain + 1) >>> 0 };
  cluster.deliver({
    ...{ type: "OPERATIONS", from: "n3", to: "n1", origin: "n3/1", version: 1 },
    operations: [damaged],
  });
  cluster.pass(3);
  expect(cluster.nodes.map(({ master }) => master.isStopped)).toEqual([false, false, false]);
  expect(cluster.body(1, "d")).toEqual({ by: "n2" });
});

test("hostile: a cursor that claims the impossible does not end forgetting", () => {
  const cluster = new TestCluster(3);
  cluster.put(1, "d", {});
  cluster.pass(2);
  cluster.deliver(cursor({ cursor: new Map([["n3/1", 9e15]]), wallMs: cluster.nowMs }));
  cluster.put(1, "d", undefined);
  cluster.pass(8);
  expect(cluster.nodes.map(({ master }) => master.documents.removed)).toEqual([0, 0, 0]);
});

test("hostile: a disk that lost operations of others is sent them again", () => {
  const cluster = new TestCluster(3);
  cluster.put(1, "d", { v: 1 });
  cluster.pass(1, undefined, [1, 2, 3]);
  const third = cluster.node(3);
  third.disk.tear(1);
  cluster.restart(third);
  expect(cluster.body(3, "d")).toBeUndefined();
  cluster.pass(4);
  expect(cluster.body(3, "d")).toEqual({ v: 1 });
});

test("hostile: a request to begin again is for the incarnation that is meant", () => {
  const cluster = new TestCluster(2);
  const reseed = { type: "RESEED", from: "n2", to: "n1", origin: "n2/1" } as const;
  cluster.deliver({ ...reseed, version: 1, reason: "forked", incarnation: "n1/0" });
  cluster.deliver({ ...reseed, version: 0, reason: "behind", incarnation: "n1/1" });
  cluster.deliver({ ...reseed, version: 1, reason: "not-member", incarnation: "n1/1" });
  expect(cluster.node(1).master.isStopped).toBe(false);
});
