/**
 * Collections that every node writes, on real nodes over sockets and files.
 *
 * @module
 */

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { freePorts } from "../../cli/local/local_cluster.ts";
import type { Collection } from "../../src/api/collection.ts";
import { NotConfirmedError } from "../../src/base/errors.ts";
import type { RemoteDatabase } from "../../src/client/remote_database.ts";
import { backupBlocks } from "../../src/client/state_export.ts";
import type { ConflictResolver } from "../../src/multi_master/operation/conflict_rule.ts";
import { recoverAsNewCluster } from "../../src/node/recovery/unsafe_recover.ts";
import { restoreBackup, writeBackup } from "../../src/node/snapshots/backup.ts";
import { systemPlatform } from "../../src/platform/platform.ts";
import { encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import type { DocumentOperation } from "../../src/protocol/encoding/command.ts";
import { encodeKey } from "../../src/protocol/encoding/document_key.ts";
import {
  documentsCommand,
  joined,
  openSession,
  putOf,
  RawConnection,
  requestBytes,
} from "./raw_connection.ts";
import { rejection, type Seat, type Settings, TestCluster, waitFor } from "./test_cluster.ts";

setDefaultTimeout(120_000);

let cluster: TestCluster | undefined;

afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

async function start(count = 3, settings: Settings = {}): Promise<TestCluster> {
  cluster = await TestCluster.start(count, settings);
  return cluster;
}

/** A client of each node. */
function clients(of: TestCluster): Promise<RemoteDatabase[]> {
  return Promise.all(of.seats.map((seat) => of.connect(seat.address)));
}

const ORDERS = { mode: "MULTI_MASTER", conflict: { strategy: "field-merge" } } as const;

interface Order {
  readonly id: string;
  readonly [field: string]: unknown;
}

/** Kills all nodes but one. */
async function leaveAlone(three: TestCluster, left: Seat): Promise<readonly Seat[]> {
  const others = three.seats.filter((seat) => seat !== left);
  for (const seat of others) await three.kill(seat);
  return others;
}

async function untilAll(
  handles: readonly Collection<Order>[],
  id: string,
  document: object | undefined,
): Promise<void> {
  for (const handle of handles) {
    await waitFor(`${id} on each node`, async () => {
      return Bun.deepEquals(await handle.findById(id), document);
    });
  }
}

describe("a collection that every node writes", () => {
  test("is written on each node, and read on every other one", async () => {
    const three = await start();
    const all = await clients(three);
    const handles = all.map((database) => database.collection<Order>("orders"));
    expect(await all[0]!.createCollection("orders", ORDERS)).toBe(true);
    expect(await all[1]!.createCollection("orders", ORDERS)).toBe(false);
    for (const [at, handle] of handles.entries()) await handle.put({ id: `d${at}`, at });
    for (const at of [0, 1, 2]) await untilAll(handles, `d${at}`, { id: `d${at}`, at });
    await handles[0]!.update("d1", { more: 1 });
    expect(await handles[1]!.delete("d2")).toBe(true);
    await untilAll(handles, "d1", { id: "d1", at: 1, more: 1 });
    await untilAll(handles, "d2", undefined);
    for (const handle of handles) expect(await handle.count()).toBe(2);
    expect(await handles[2]!.find({ more: 1 })).toEqual([{ id: "d1", at: 1, more: 1 }]);
  });

  test("a node that is left alone goes on, for old and new clients, and all agree later", async () => {
    const three = await start();
    const [first] = await clients(three);
    await first!.createCollection("orders", ORDERS);
    await first!.collection<Order>("orders").put({ id: "a", stock: 1, note: "old" });
    const left = three.seat("n3");
    const third = await three.connect(left.address);
    await untilAll([third.collection<Order>("orders")], "a", { id: "a", stock: 1, note: "old" });
    const others = await leaveAlone(three, left);
    const alone = third.collection<Order>("orders");
    await alone.update("a", { note: "alone" });
    const fresh = await three.connect(left.address);
    const orders = fresh.collection<Order>("orders");
    await orders.insert({ id: "b" });
    expect(await orders.findById("a")).toEqual({ id: "a", stock: 1, note: "alone" });
    expect((await rejection(orders.insert({ id: "b" }))).code).toBe("DUPLICATE_KEY");
    await three.kill(left);
    for (const seat of others) await three.startNode(seat);
    await first!.collection<Order>("orders").update("a", { stock: 2 });
    await three.startNode(left);
    const handles = (await clients(three)).map((database) => database.collection<Order>("orders"));
    await untilAll(handles, "a", { id: "a", stock: 2, note: "alone" });
    await untilAll(handles, "b", { id: "b" });
  });

  test("a node that restarts alone goes on from its own disk", async () => {
    const three = await start();
    const [first] = await clients(three);
    await first!.createCollection("orders", ORDERS);
    await first!.collection<Order>("orders").put({ id: "a" }, { ack: "all" });
    const left = three.seat("n2");
    await leaveAlone(three, left);
    await three.kill(left);
    await three.startNode(left);
    const orders = (await three.connect(left.address)).collection<Order>("orders");
    expect(await orders.findById("a")).toEqual({ id: "a" });
    await orders.put({ id: "b" });
    expect(await orders.count()).toBe(2);
  });
});

describe("acknowledgements", () => {
  test("an unknown one, and all of a collection of the leader's, are refused", async () => {
    const database = await (await start(1)).connect();
    await database.createCollection("plain");
    for (const ack of ["MAJORITY", 2, "all"] as unknown as "one"[]) {
      const ofCall = database.collection<Order>("plain").put({ id: "a" }, { ack });
      const ofHandle = database.collection<Order>("plain", { ack }).put({ id: "a" });
      for (const write of [ofCall, ofHandle]) {
        expect((await rejection(write)).code).toBe("VALIDATION");
      }
    }
    expect(await database.collection("plain").count()).toBe(0);
  });

  test("all and majority wait for other disks; with too few in time the write says so", async () => {
    const three = await start();
    const [first] = await clients(three);
    await first!.createCollection("orders", ORDERS);
    const orders = first!.collection<Order>("orders", { timeoutMs: 1500 });
    await orders.put({ id: "a" }, { ack: "all" });
    await three.kill(three.seat("n3"));
    await orders.put({ id: "b" }, { ack: "majority" });
    const refused = await rejection(orders.put({ id: "c" }, { ack: "all" }));
    expect(refused).toBeInstanceOf(NotConfirmedError);
    expect(refused.fields).toMatchObject({ acknowledgements: 2, of: 3 });
    expect(await orders.findById("c")).toEqual({ id: "c" });
    await three.startNode(three.seat("n3"));
    const third = (await three.connect(three.seat("n3").address)).collection<Order>("orders");
    await untilAll([third], "c", { id: "c" });
  });
});

describe("conflicts", () => {
  test("are listed with what each node wrote, and end with the next write", async () => {
    const three = await start();
    const [first, second] = await clients(three);
    const conflict = { strategy: "siblings" } as const;
    await first!.createCollection("notes", { mode: "MULTI_MASTER", conflict });
    const one = first!.collection<Order>("notes");
    const two = second!.collection<Order>("notes");
    await one.put({ id: "warm" }, { ack: "all" });
    const id = await waitFor("two writes at once", async () => {
      const name = `d${Math.floor(performance.now())}`;
      await Promise.all([one.put({ id: name, by: 1 }), two.put({ id: name, by: 2 })]);
      await one.put({ id: "after" }, { ack: "all" });
      await two.put({ id: "after" }, { ack: "all" });
      return (await first!.conflicts("notes", { id: name })).conflicts.length > 0 && name;
    });
    const { total, conflicts } = await second!.conflicts<Order>("notes");
    expect(total).toBe(1);
    const [found] = conflicts;
    expect(found!.id).toBe(id);
    expect(found!.siblings.map(({ document }) => document["by"]).sort()).toEqual([1, 2]);
    expect(found!.document).toEqual(found!.siblings.at(-1)!.document);
    await one.put({ id, by: 3 }, { ack: "all" });
    expect(await second!.conflicts("notes")).toEqual({ total: 0, conflicts: [] });
    expect(await first!.conflicts("none")).toEqual({ total: 0, conflicts: [] });
  });
});

test("a resolver of the program's own makes one document of several", async () => {
  const cheapest: ConflictResolver = (siblings) => {
    return siblings.toSorted((a, b) => Number(a.body["price"]) - Number(b.body["price"]))[0]!.body;
  };
  const three = await start(3, { resolvers: { cheapest } });
  const [first, second] = await clients(three);
  const conflict = { strategy: "custom", resolver: "cheapest" } as const;
  await first!.createCollection("offers", { mode: "MULTI_MASTER", conflict });
  const one = first!.collection<Order>("offers");
  const two = second!.collection<Order>("offers");
  await one.put({ id: "warm" }, { ack: "all" });
  await waitFor("two writes at once", async () => {
    const id = `d${Math.floor(performance.now())}`;
    await Promise.all([one.put({ id, price: 5 }), two.put({ id, price: 9 })]);
    await one.put({ id: "after" }, { ack: "all" });
    await two.put({ id: "after" }, { ack: "all" });
    if ((await first!.conflicts("offers", { id })).conflicts.length === 0) return false;
    for (const handle of [one, two]) expect(await handle.findById(id)).toEqual({ id, price: 5 });
    return true;
  });
});

test("documents that expire are hidden, and dropped once every node has them", async () => {
  const three = await start();
  const [first] = await clients(three);
  await first!.createCollection("orders", ORDERS);
  const orders = first!.collection<Order>("orders");
  await orders.createIndex("age", { keys: ["at"], expireAfterMs: 0 });
  await orders.put({ id: "old", at: new Date(Date.now() - 60_000) }, { ack: "all" });
  await orders.put({ id: "new", at: new Date(Date.now() + 600_000) }, { ack: "all" });
  expect(await orders.findById("old")).toBeUndefined();
  expect(await orders.find({})).toMatchObject([{ id: "new" }]);
  await waitFor("the document to be dropped on all nodes", () => {
    return three.nodes.every((node) => node.machine.collectionOrEmpty("orders").count === 1);
  });
});

describe("what needs one order for all is refused", () => {
  test("when the collection is made, or the call", async () => {
    const one = await start(1);
    const database = await one.connect();
    const made = (settings: object) => rejection(database.createCollection("x", settings));
    const auto = await made({ mode: "MULTI_MASTER", ids: "autoIncrement" });
    expect(auto.message).toContain("cannot count ids together");
    expect((await made({ conflict: { strategy: "counter" } })).remedy).toContain("MULTI_MASTER");
    for (const conflict of [
      { strategy: "newest" },
      { strategy: "custom" },
      { strategy: "node-priority" },
      { strategy: "set", removal: "never" },
      { strategy: "set", resolver: "r" },
    ]) {
      expect((await made({ mode: "MULTI_MASTER", conflict })).code).toBe("VALIDATION");
    }
    await database.createCollection("orders", ORDERS);
    const orders = database.collection<Order>("orders");
    const unique = await rejection(orders.createIndex("u", { keys: ["n"], unique: true }));
    expect(unique.remedy).toContain("as the id");
    await orders.put({ id: "a" });
    const conditional = await rejection(orders.put({ id: "a" }, { ifVersion: 1 }));
    expect([conditional.code, conditional.fields.mode]).toEqual(["WRONG_MODE", "MULTI_MASTER"]);
    const read = await rejection(orders.findById("a", { read: "linearizable" }));
    expect(read.code).toBe("WRONG_MODE");
    const changes = database.watch({ collection: "orders" })[Symbol.asyncIterator]();
    expect((await rejection(changes.next())).code).toBe("WRONG_MODE");
    await database.collection<Order>("plain").put({ id: "a" });
    const all = await rejection(
      database.collection<Order>("plain").put({ id: "a" }, { ack: "all" }),
    );
    expect(all.message).toContain("a majority");
  });
});

test("a cluster whose new collections every node writes", async () => {
  const three = await start(3, { mode: "MULTI_MASTER" });
  const [first, second] = await clients(three);
  await first!.collection<Order>("made").put({ id: "a" });
  await untilAll([second!.collection<Order>("made")], "a", { id: "a" });
  await first!.createCollection("led", { mode: "MASTER_SLAVE" });
  await first!.collection<Order>("led").put({ id: "a" }, { ifVersion: 0 });
  const modes = three.nodes.map(({ machine }) => machine.masters.newCollections.mode);
  expect(modes).toEqual(["MULTI_MASTER", "MULTI_MASTER", "MULTI_MASTER"]);
});

test("searches that change one document compare it with what their node shows", async () => {
  const one = await start(1);
  const database = await one.connect();
  await database.createCollection("orders", ORDERS);
  const orders = database.collection<Order>("orders");
  expect(await orders.updateOne({ id: "a" }, { $set: { n: 1 } }, { upsert: true })).toMatchObject({
    upsertedId: "a",
  });
  const before = await orders.findOneAndUpdate(
    { id: "a" },
    { $set: { n: 2 } },
    { returnDocument: "before" },
  );
  expect(before).toEqual({ id: "a", n: 1 });
  await orders.replaceOne({ id: "a" }, { id: "a", whole: true });
  expect(await orders.find({})).toEqual([{ id: "a", whole: true }]);
  expect(await orders.deleteMany({ whole: true })).toBe(1);
});

describe("writes on the wire", () => {
  /** A connection to a node with the collection "orders", in which "a" is. */
  async function shake(): Promise<RawConnection> {
    const one = await start(1);
    const database = await one.connect();
    await database.createCollection("orders", ORDERS);
    await database.collection<Order>("orders").put({ id: "a" });
    return RawConnection.shake(one.seats[0]!.address);
  }

  function write(
    operations: readonly DocumentOperation[],
    { head = [0, 0], number = 1 }: { readonly head?: readonly number[]; readonly number?: number },
  ): Uint8Array {
    const identity = { sessionId: 77, requestNumber: number, acknowledgedBelow: 1 };
    const command = documentsCommand("orders", operations, identity);
    return requestBytes("WRITE", { requestId: number }, joined(Uint8Array.from(head), command));
  }

  function insertOf(id: string): DocumentOperation {
    return { kind: "INSERT", key: encodeKey(id), document: encodeCbor({ id }).slice() };
  }

  test("a repeat that this node knows is answered, and not carried out again", async () => {
    const connection = await shake();
    connection.request(write([insertOf("b")], {}));
    expect(await connection.reply(1)).toMatchObject({ kind: "result" });
    connection.request(write([insertOf("b")], { head: [0, 1] }));
    expect(await connection.reply(1)).toMatchObject({ kind: "result" });
    connection.close();
  });

  test("of a repeat it gives nothing that it does not know any more", async () => {
    const connection = await shake();
    const remove = (id: string): DocumentOperation => {
      return { kind: "REMOVE", key: encodeKey(id), document: new Uint8Array(0) };
    };
    connection.request(write([remove("a"), remove("none")], {}));
    expect(await connection.reply(1)).toMatchObject({ kind: "result" });
    connection.request(write([remove("a"), remove("none")], { head: [0, 1] }));
    const repeated = await connection.reply(1);
    expect(repeated).toMatchObject({ kind: "error", error: { code: "UNKNOWN_OUTCOME" } });
    connection.close();
  });

  test("a repeat that it does not know, and would refuse or change nothing, is in doubt", async () => {
    const connection = await shake();
    const absent = { kind: "REMOVE", key: encodeKey("none"), document: new Uint8Array(0) } as const;
    for (const [number, operation, first] of [
      [1, insertOf("a"), { kind: "error", error: { code: "DUPLICATE_KEY" } }],
      [2, absent, { kind: "result" }],
    ] as const) {
      connection.request(write([operation], { number }));
      expect(await connection.reply(number)).toMatchObject(first);
      connection.request(write([operation], { number: number + 10, head: [0, 1] }));
      const repeated = await connection.reply(number + 10);
      expect(repeated).toMatchObject({ kind: "error", error: { code: "UNKNOWN_OUTCOME" } });
    }
    connection.close();
  });

  test("a head that is none is refused, and so is a command of consensus", async () => {
    const connection = await shake();
    for (const [number, head] of [
      [1, [4, 0]],
      [2, [0, 4]],
    ] as const) {
      connection.request(write([insertOf("c")], { number, head }));
      expect(await connection.reply(number)).toMatchObject({ error: { code: "VALIDATION" } });
    }
    connection.request(requestBytes("WRITE", { requestId: 3 }, Uint8Array.of(0)));
    expect(await connection.reply(3)).toMatchObject({ error: { code: "VALIDATION" } });
    const opening = joined(Uint8Array.of(0, 0), openSession());
    connection.request(requestBytes("WRITE", { requestId: 4 }, opening));
    expect(await connection.reply(4)).toMatchObject({ error: { code: "VALIDATION" } });
    connection.request(write([putOf("d", encodeCbor({ id: "e" }).slice())], { number: 5 }));
    expect(await connection.reply(5)).toMatchObject({ error: { code: "VALIDATION" } });
    connection.close();
  });
});

describe("a new cluster", () => {
  /** What a node gives that runs alone in a folder. */
  async function ordersIn(place: {
    readonly id: string;
    readonly address: string;
    readonly dataDirectory: string;
  }): Promise<Collection<Order>> {
    const { id, address: listen, dataDirectory } = place;
    const seat = await cluster!.addSeat(id, {});
    await cluster!.startNode(seat, { id, dataDirectory, listen, members: [] });
    const database = await cluster!.connect(listen);
    return database.collection<Order>("orders");
  }

  test("begins with a backup that was taken under writes, and goes on", async () => {
    const three = await start();
    const database = await three.connect();
    await database.createCollection("orders", ORDERS);
    const orders = database.collection<Order>("orders");
    for (let i = 0; i < 50; i += 1) await orders.put({ id: `d${i}`, i });
    await orders.delete("d7");
    await orders.put({ id: "d8", i: 8 }, { ack: "all" });
    const { clusterId } = await database.status();
    const source = { clusterId: String(clusterId), blocks: backupBlocks(database.client) };
    const platform = systemPlatform();
    const file = `${three.folder.path}/backup`;
    expect(await writeBackup(platform, source, file)).toMatchObject({ documents: 49 });
    const [port] = await freePorts(1);
    const dataDirectory = `${three.folder.path}/r1`;
    const first = { id: "r1", address: `127.0.0.1:${port}`, dataDirectory };
    expect(await restoreBackup(platform, file, first)).toMatchObject({ documents: 49 });
    const restored = await ordersIn(first);
    await restored.put({ id: "more" });
    expect(await restored.count()).toBe(50);
    expect(await restored.findById("d7")).toBeUndefined();
    expect(await restored.findById("d8")).toEqual({ id: "d8", i: 8 });
  });

  test("is made of one survivor, with all that its disk holds", async () => {
    const three = await start();
    const database = await three.connect();
    await database.createCollection("orders", ORDERS);
    await database.collection<Order>("orders").put({ id: "a" }, { ack: "all" });
    const left = three.seat("n2");
    const alone = await three.connect(left.address);
    await leaveAlone(three, left);
    await alone.collection<Order>("orders").put({ id: "b" });
    await three.kill(left);
    await recoverAsNewCluster(systemPlatform(), left.dataDirectory);
    const orders = await ordersIn(left);
    await orders.put({ id: "c" });
    const found = await orders.find({}, { sort: { id: 1 } });
    expect(found).toEqual([{ id: "a" }, { id: "b" }, { id: "c" }]);
  });
});
