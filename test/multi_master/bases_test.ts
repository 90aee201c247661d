/** Large documents that leave as changes of earlier ones. */

import { expect, test } from "bun:test";
import { ValidationError } from "../../src/base/errors.ts";
import type { Value } from "../../src/base/value.ts";
import { BASE_BYTES_MAX, Bases, wholeOperations } from "../../src/multi_master/document/bases.ts";
import type { Change, Operation } from "../../src/multi_master/operation/operation.ts";
import { encodeOperation, packedOperation } from "../../src/protocol/operations/operation_codec.ts";
import { codec, DOCS, keyOf, TestCluster, touches } from "./cluster.ts";

const TAGS = Array.from({ length: 5000 }, (_, i) => `tag-${i}`);

function written(cluster: TestCluster, number: number): Operation {
  const operation = cluster.written.filter(({ origin }) => origin === `n${number}/1`).at(-1);
  if (operation === undefined) throw new Error("nothing was written");
  return operation;
}

test("bases: one tag into a set of 5,000 leaves as that tag", () => {
  const cluster = new TestCluster(3, { strategy: "set" });
  cluster.put(1, "d", { tags: TAGS });
  cluster.settle();
  expect(encodeOperation(written(cluster, 1)).byteLength).toBeGreaterThan(40_000);
  cluster.put(1, "d", { tags: [...TAGS, "new"] });
  cluster.settle();
  const operation = written(cluster, 1);
  expect(operation.changes[0]?.packed?.delta.byteLength).toBeLessThan(300);
  expect(encodeOperation(operation).byteLength).toBeLessThan(500);
  for (const number of [1, 2, 3]) {
    expect(cluster.body(number, "d")?.["tags"]).toHaveLength(5001);
  }
  // Another node's first write is whole: its base would be its own.
  cluster.put(2, "d", { tags: TAGS });
  cluster.settle();
  expect(written(cluster, 2).changes[0]?.packed).toBeUndefined();
});

test("bases: whole documents by rules without parts, and small ones, leave as they are", () => {
  for (const [strategy, size] of [
    ["last-write-wins", 5000],
    ["set", 20],
  ] as const) {
    const cluster = new TestCluster(2, { strategy });
    for (const more of ["x", "y"]) cluster.put(1, "d", { tags: [...TAGS.slice(0, size), more] });
    cluster.settle();
    expect(written(cluster, 1).changes[0]?.packed).toBeUndefined();
  }
});

test("bases: a node that restarts and one that begins with its state build upon the same ones", () => {
  const cluster = new TestCluster(3, { strategy: "set" });
  cluster.put(1, "d", { tags: TAGS });
  cluster.settle();
  const first = cluster.node(1);
  first.disk.replace(cluster.seedOf(first), first.disk);
  cluster.restart(first);
  cluster.renew(cluster.node(3), cluster.node(2), true);
  cluster.put(1, "d", { tags: [...TAGS, "new"] });
  cluster.pass(3);
  expect(written(cluster, 1).changes[0]?.packed?.base).toBe(1);
  expect(new Set(cluster.texts()).size).toBe(1);
  expect(cluster.body(3, "d")?.["tags"]).toHaveLength(5001);
});

test("bases: a write that is still on its way to the disk when a floor passes its base", () => {
  const cluster = new TestCluster(3, { strategy: "set" });
  const first = cluster.node(1);
  const isToFirst = ({ to }: { readonly to: string }): boolean => to === "n1";
  cluster.put(1, "d", { tags: TAGS });
  cluster.settle();
  cluster.put(2, "e", { tags: ["x"] });
  const late = cluster.network.filter(isToFirst);
  cluster.pass(1, isToFirst, [1]);
  // It has not heard of that floor: it takes in another's write, and writes itself.
  for (const message of late) cluster.deliver(message);
  cluster.take(first);
  const body = codec.encode({ tags: [...TAGS, "new"] });
  first.master.write({ documents: [{ collection: DOCS, key: keyOf("d"), body }] }, cluster.nowMs);
  cluster.take(first);
  first.master.setAgreement(cluster.agreement);
  cluster.settle(isToFirst);
  // The disk is done with the other's write; the next floor would pass the base once more.
  cluster.sync(first, 1);
  for (const node of cluster.nodes) {
    node.master.tick(cluster.nowMs);
    cluster.take(node);
  }
  cluster.settle(isToFirst);
  cluster.agreeOnFloor([1]);
  cluster.sync(first);
  cluster.pass(4);
  expect(written(cluster, 1).changes[0]?.packed?.base).toBe(1);
  expect(cluster.body(3, "d")?.["tags"]).toHaveLength(5001);
  expect(new Set(cluster.texts()).size).toBe(1);
});

test("bases: what a retired incarnation wrote is in the state, and not read once more", () => {
  const cluster = new TestCluster(3, { strategy: "set" });
  const first = cluster.node(1);
  for (const more of ["x", "y"]) cluster.put(3, "d", { tags: [...TAGS, more] });
  cluster.settle();
  cluster.replaceOrigin(cluster.node(3), undefined);
  cluster.learnAll();
  for (let i = 0; i < 4; i += 1) {
    cluster.put(1, "e", { tags: [`${i}`] });
    cluster.pass(2, touches("n3"));
  }
  expect(cluster.agreement.retired.has("n3/1")).toBe(true);
  first.disk.replace(cluster.seedOf(first), first.disk);
  // Its log was cut between the two.
  expect(first.disk.streams.get("n3/1")?.shift()?.changes[0]?.packed).toBeUndefined();
  expect(first.disk.streams.get("n3/1")?.[0]?.changes[0]?.packed).toBeDefined();
  cluster.restart(first);
  expect(cluster.text(first)).toBe(cluster.text(cluster.node(2)));
  expect(cluster.body(1, "d")?.["tags"]).toHaveLength(5001);
});

function change(size: number): Change {
  const content = { kind: "document", body: codec.encode({ v: "x".repeat(size) }) } as const;
  return { collection: DOCS, key: keyOf(`k${size}`), content };
}

function packOne(bases: Bases, one: Change, floor = 0): Change {
  return bases.pack([one], "n1/1", floor)[0]!;
}

function operation(sequence: number, changes: readonly Change[]): Operation {
  const plain = { stamp: { wallMs: 1, count: 0 }, context: new Map(), version: 1, chain: 0 };
  return { ...plain, origin: "n1/1", sequence, changes };
}

test("bases: kept until two floors have passed, and used until one is agreed", () => {
  const bases = new Bases(codec, []);
  const pass = (last: number): void => bases.pass(new Map([["n1/1", last]]), () => false);
  bases.note(operation(7, [packOne(bases, change(2000), 0)]));
  const again = packOne(bases, change(2000), 6);
  expect(again.packed?.base).toBe(7);
  expect(packOne(bases, change(2000), 7).packed).toBeUndefined();
  const sent = packedOperation(operation(8, [again]));
  expect(sent.changes[0]?.content).toBeUndefined();
  pass(6);
  pass(7);
  expect(bases.unpack(sent).changes[0]?.content).toEqual(again.content);
  pass(8);
  expect(() => bases.unpack(sent)).toThrow(ValidationError);
});

test("bases: another base is refused, and so is a delta that fits another document", () => {
  const bases = new Bases(codec, []);
  bases.note(operation(7, [packOne(bases, change(2000), 0)]));
  const { packed = { base: 0, size: 0, delta: new Uint8Array(0) } } = packOne(
    bases,
    change(2000),
    0,
  );
  const { content: _whole, ...rest } = change(2000);
  const sent = (base: number, fields: object) => {
    const delta = codec.encode(fields as never);
    return { ...operation(8, []), changes: [{ ...rest, packed: { ...packed, base, delta } }] };
  };
  expect(packed.base).toBe(7);
  for (const one of [
    sent(6, {}),
    sent(7, {}),
    sent(7, { b: { a: [[0, 9]] } }),
    sent(7, { b: 1 }),
  ]) {
    expect(() => bases.unpack(one)).toThrow(ValidationError);
  }
});

test("bases: an origin lets others keep no more than its share", () => {
  const bases = new Bases(codec, []);
  const large = BASE_BYTES_MAX / 2 + 1;
  const first = packOne(bases, change(large), 0);
  bases.note(operation(1, [first]));
  const second = packOne(bases, change(large + 1), 0);
  expect([first.isBase, second.isBase]).toEqual([true, undefined]);
  for (let i = 2; i < 7; i += 1) {
    expect(bases.isOverFull("n1/1")).toBe(i > 4);
    bases.note(operation(i, [{ ...change(large + i), isBase: true }]));
  }
  // What a floor has passed counts no more: a node that restarts has it all in its log.
  bases.pass(new Map([["n1/1", 6]]), () => false);
  expect(bases.isOverFull("n1/1")).toBe(false);
});

test("bases: the documents of one operation share it", () => {
  const changes = Array.from({ length: 20 }, (_, i) => change(1_000_000 + i));
  const packed = new Bases(codec, []).pack(changes, "n1/1", 0);
  expect(packed.filter(({ isBase }) => isBase)).toHaveLength(16);
});

test("bases: a node that restarts from a log of many rounds goes on", () => {
  const cluster = new TestCluster(2, { strategy: "set" });
  for (let i = 0; i < 6; i += 1) {
    const tags = [`${i}`.repeat(8_000_000)];
    cluster.put(1, `large${i}`, { tags });
    cluster.pass(2);
  }
  for (const node of cluster.nodes) cluster.restart(node);
  cluster.put(1, "d", { tags: ["more"] });
  cluster.pass(3);
  expect(cluster.body(2, "d")).toEqual({ tags: ["more"] });
});

test("bases: a number that was given twice is noticed, though the next one is a change of it", () => {
  const cluster = new TestCluster(2, { strategy: "set" });
  const first = cluster.node(1);
  cluster.put(1, "d", { tags: TAGS.slice(0, 200) });
  cluster.settle();
  first.disk.tear(1);
  cluster.restart(first);
  cluster.network = [];
  cluster.put(1, "d", { tags: TAGS.slice(0, 400) });
  cluster.put(1, "d", { tags: TAGS.slice(0, 401) });
  cluster.network = [];
  cluster.pass(3);
  const events = cluster.nodes.flatMap((node) => node.events.map(({ type }) => type));
  expect(events).toContain("ORIGIN_FORKED");
  expect(first.master.isStopped).toBe(true);
});

test("bases: a document that is as deep as one may be is written again and again", () => {
  const cluster = new TestCluster(2, { strategy: "field-merge" });
  const nest = (depth: number, leaf: Value): Value => {
    return depth === 0 ? leaf : { n: nest(depth - 1, leaf) };
  };
  const big = "x".repeat(2000);
  for (const [depth, leaf] of [
    [40, 1],
    [40, 2],
    [62, 3],
    [62, 4],
  ] as const) {
    cluster.put(1, "d", { big, deep: nest(depth, leaf) });
    cluster.settle();
    expect(cluster.body(2, "d")).toEqual({ big, deep: nest(depth, leaf) });
  }
});

test("bases: a log is read as it was written", () => {
  const bases = new Bases(codec, []);
  const written: Operation[] = [];
  for (let i = 1; i < 5; i += 1) {
    const one = operation(i, [packOne(bases, change(2000), 0)]);
    bases.note(one);
    written.push(one);
  }
  const log = written.map(packedOperation);
  expect(log[3]?.changes[0]?.content).toBeUndefined();
  expect([...wholeOperations(new Bases(codec, []), log)]).toEqual(written);
});
