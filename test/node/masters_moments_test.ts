/**
 * Nodes that begin again, or get their indexes, at the worst moment: collections that every node
 * writes, on real nodes.
 *
 * @module
 */

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { RemoteDatabase } from "../../src/client/remote_database.ts";
import type { Node } from "../../src/node/node.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import { encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import { encodeKey } from "../../src/protocol/encoding/document_key.ts";
import { type Settings, TestCluster, waitFor } from "./test_cluster.ts";

setDefaultTimeout(120_000);

interface Order {
  readonly id: string;
  readonly [field: string]: unknown;
}

const ORDERS = { mode: "MULTI_MASTER", conflict: { strategy: "field-merge" } } as const;

let three: TestCluster;

afterEach(async () => {
  await three.stop();
});

/** Three nodes with the collection "orders", and a client of each. */
async function start(settings: Settings = {}): Promise<RemoteDatabase[]> {
  three = await TestCluster.start(3, settings);
  const all = await Promise.all(three.seats.map(({ address }) => three.connect(address)));
  await all[0]!.createCollection("orders", ORDERS);
  await all[0]!.collection<Order>("orders").put({ id: "a" }, { ack: "all" });
  return all;
}

function nodeOf(id: string): Node {
  const node = three.nodes.find(({ config }) => config.id === id);
  if (node === undefined) throw new RangeError(`${id} does not run`);
  return node;
}

/** Writes on a node, at once. */
function write(node: Node, document: Order): Promise<unknown> {
  const collection = node.machine.collectionOrEmpty("orders").collectionId;
  const key = encodeKey(document.id);
  const documents = [{ collection, key, body: encodeCbor(document).slice() }];
  const { running } = node.masters;
  return running!.driver.write({ documents }, { ack: "one", timeoutMs: 3000 });
}

function tell(node: Node, message: { readonly from: string; type: string; data?: object }): void {
  const { from, type, data = {} } = message;
  node.masters.onNodeMessage({ type, sourceNodeId: from, timestamp: 0, checksum: "", data });
}

/** Another node says that this one must begin again with another one's state. */
function outdate(node: Node, from: string): void {
  const { origins, version } = node.machine.masters.agreement;
  const [origin, incarnation] = [origins.get(from)!, origins.get(node.config.id)!];
  const route = { type: "RESEED", from, to: node.config.id, reason: "forked" } as const;
  const { running } = node.masters;
  running!.master.step({ ...route, origin, incarnation, version }, Math.floor(Date.now()));
}

async function untilReady(node: Node, startedOver: number): Promise<void> {
  await waitFor(`${node.config.id} to take writes`, () => {
    return node.masters.startedOver === startedOver && node.masters.status()?.state === "ready";
  });
}

describe("an index", () => {
  test("serves on all nodes, and finds also what only one node had and it cannot hold", async () => {
    await start();
    const big = "x".repeat(5000);
    for (const id of ["n1", "n2"]) await three.kill(three.seat(id));
    const alone = await three.connect(three.seat("n3").address);
    await alone.collection<Order>("orders").update("a", { big });
    await three.kill(three.seat("n3"));
    for (const id of ["n1", "n2"]) await three.startNode(three.seat(id));
    const first = await three.connect(three.seat("n1").address);
    await first.collection<Order>("orders").createIndex("big", { keys: ["big"] });
    await three.startNode(three.seat("n3"));
    for (const { address } of three.seats) {
      const orders = (await three.connect(address)).collection<Order>("orders");
      await waitFor("the document", async () => (await orders.find({ big })).length === 1);
    }
    for (const { config, machine } of three.nodes) {
      await waitFor(`the index on ${config.id}`, () => {
        const { indexes } = machine.collectionOrEmpty("orders");
        return [...indexes.all()].some(({ isReady }) => isReady);
      });
    }
  });

  test("finds a document that nobody wrote so: the merge of two", async () => {
    const all = await start();
    await all[0]!.collection<Order>("orders").createIndex("ab", { keys: ["a", "b"] });
    await Promise.all([
      write(nodeOf("n1"), { id: "a", a: [1, 2] }),
      write(nodeOf("n2"), { id: "a", b: [3, 4] }),
    ]);
    for (const database of all) {
      const orders = database.collection<Order>("orders");
      await waitFor("both fields", async () => {
        return Bun.deepEquals(await orders.findById("a"), { id: "a", a: [1, 2], b: [3, 4] });
      });
      expect(await orders.find({ a: 1 })).toHaveLength(1);
    }
  });
});

describe("a node that begins again", () => {
  test("while it writes its state goes on, with another one's", async () => {
    const all = await start();
    const node = nodeOf("n3");
    const unknown = write(node, { id: "b" }).then(
      () => "",
      (error: { readonly code?: string }) => error.code,
    );
    tell(node, { from: "n2", type: "MASTER_SEED" });
    for (let i = 0; i < 3; i += 1) await Promise.resolve();
    outdate(node, "n1");
    node.masters.tick();
    expect(await unknown).toBe("UNKNOWN_OUTCOME");
    await untilReady(node, 1);
    const orders = all[2]!.collection<Order>("orders");
    await orders.put({ id: "c" }, { ack: "all" });
    expect(await orders.findById("a")).toEqual({ id: "a" });
  });

  test("with a state made while a write is on its way gives a whole one to the next", async () => {
    const all = await start();
    const orders = all[0]!.collection<Order>("orders");
    const [n1, n2] = [nodeOf("n1"), nodeOf("n2")];
    const written = write(n1, { id: "b" });
    tell(n1, { from: "n2", type: "MASTER_SEED" });
    await written;
    await sleep(systemClock, 500);
    await three.kill(three.seat("n3"));
    outdate(n2, "n1");
    await untilReady(n2, 1);
    await orders.put({ id: "c" }, { ack: "majority" });
    const n3 = await three.startNode(three.seat("n3"));
    await untilReady(n3, 0);
    await waitFor("n3 to know the others", () => {
      const isKnown = n3.machine.masters.agreement.version === n2.machine.masters.agreement.version;
      const streams = [n3, n2].flatMap(({ masters }) => masters.status()?.streams ?? []);
      return isKnown && streams.every(({ isUp, operations }) => isUp && operations === 0);
    });
    await three.kill(three.seat("n1"));
    outdate(n3, "n2");
    await untilReady(n3, 1);
    const third = (await three.connect(three.seat("n3").address)).collection<Order>("orders");
    expect((await third.find()).map(({ id }) => id).sort()).toEqual(["a", "b", "c"]);
  });
});

test("a document that merges made larger than a frame is an error, and the node goes on", async () => {
  const all = await start();
  const settings = { ...ORDERS, documentSizeMax: 16 * 1024 * 1024 };
  await all[0]!.createCollection("large", settings);
  const large = all[0]!.collection<Order>("large");
  await large.put({ id: "a" }, { ack: "all" });
  const key = encodeKey("a");
  const text = "x".repeat(12 * 1024 * 1024);
  const writes = three.nodes.map((node, at) => {
    const collection = node.machine.collectionOrEmpty("large").collectionId;
    const body = encodeCbor({ id: "a", [`f${at}`]: text }).slice();
    const { running } = node.masters;
    const documents = [{ collection, key, body }];
    return running!.driver.write({ documents }, { ack: "one", timeoutMs: 3000 });
  });
  await Promise.all(writes);
  await waitFor("all three fields", async () => {
    const found = await large.findById("a").then(
      () => "found",
      (error: { readonly code: string }) => error.code,
    );
    return found === "QUERY";
  });
  await large.put({ id: "a" }, { ack: "all" });
  expect(await large.findById("a")).toEqual({ id: "a" });
});

test("a member that was away gets from the log what it lacks, however much that is", async () => {
  const all = await start({ snapshotLogBytes: 64 * 1024 });
  await three.kill(three.seat("n3"));
  const orders = all[0]!.collection<Order>("orders");
  const random = (): string =>
    Buffer.from(crypto.getRandomValues(new Uint8Array(3000))).toString("hex");
  for (let round = 0; round < 10; round += 1) {
    for (let i = 0; i < 20; i += 1) await orders.put({ id: `d${i % 4}`, round, text: random() });
    await sleep(systemClock, 100);
  }
  const n3 = await three.startNode(three.seat("n3"));
  const third = (await three.connect(three.seat("n3").address)).collection<Order>("orders");
  await waitFor("all of it on n3", async () => (await third.count({ round: 9 })) === 4);
  expect(n3.masters.startedOver).toBe(0);
});

test("a member that joins gets what each node writes, and writes itself", async () => {
  const all = await start();
  const { address } = await three.join("n4");
  const orders = (await three.connect(address)).collection<Order>("orders");
  await waitFor("n4 to take writes", () => nodeOf("n4").masters.status()?.state === "ready");
  await all[0]!.collection<Order>("orders").put({ id: "b" });
  await waitFor("b on n4", async () => (await orders.findById("b")) !== undefined);
  await orders.put({ id: "c" }, { ack: "all" });
  for (const database of all) {
    expect(await database.collection<Order>("orders").findById("c")).toEqual({ id: "c" });
  }
});

test("what a node asked another leader for, long ago, ends no incarnation", async () => {
  await start();
  const leader = (await three.leader()).id;
  const [next, other] = three.seats.filter(({ id }) => id !== leader);
  const wish = { origin: `${other!.id}/stale` };
  tell(nodeOf(next!.id), { from: other!.id, type: "MASTER_ORIGIN", data: wish });
  const database = await three.connect(next!.address);
  await database.promote(next!.id);
  await waitFor("the next to lead", () => nodeOf(next!.id).isLeader);
  await database.collection<Order>("orders").put({ id: "b" }, { ack: "all" });
  await sleep(systemClock, 1000);
  expect(nodeOf(other!.id).masters.startedOver).toBe(0);
  const { origins } = nodeOf(next!.id).machine.masters.agreement;
  expect(origins.get(other!.id)).not.toBe(wish.origin);
});
