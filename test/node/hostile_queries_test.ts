/**
 * Requests about data that are well-formed on the wire and mean harm, or meet bad luck: no node
 * ends, no replica differs, nothing is lost without a word.
 *
 * @module
 */

import { afterEach, beforeEach, expect, test } from "bun:test";
import net from "node:net";
import { parseEndpoint } from "../../src/base/address.ts";
import type { RemoteDatabase } from "../../src/client/remote_database.ts";
import { encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import { beginCommand, endCommand } from "../../src/protocol/encoding/command.ts";
import { rejection, TestCluster, waitFor } from "./test_cluster.ts";

/** A map that cannot be made a text or a number. */
const STUBBORN = { valueOf: 1, toString: 1 };

let cluster: TestCluster;
let database: RemoteDatabase;

beforeEach(async () => {
  cluster = await TestCluster.start(3);
  database = await cluster.connect();
  await database.collection("c").insert({ id: "a", l: [1] });
});

afterEach(() => cluster.stop());

function query(fields: Readonly<Record<string, unknown>>): Promise<Uint8Array> {
  const body = encodeCbor(fields).slice();
  return database.client.execute({
    kind: "QUERY",
    target: "leader",
    write: (writer) => {
      writer.u8(0).raw(body);
    },
  });
}

function catalog(fields: Readonly<Record<string, unknown>>): Promise<Uint8Array> {
  const body = encodeCbor(fields).slice();
  return database.client.execute({
    kind: "COMMAND",
    target: "leader",
    write: (writer, identity) => {
      const start = beginCommand(writer, "CATALOG", { ...identity, count: 1 });
      writer.raw(body);
      endCommand(writer, start);
    },
  });
}

/** Passes bytes on to a node, until its connections are reset. */
async function startRelay(
  target: string,
): Promise<{ address: string; reset(): void; close(): void }> {
  const { host, port } = parseEndpoint(target);
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    const out = net.connect(port, host);
    for (const one of [socket, out]) {
      sockets.add(one);
      one.on("error", () => undefined); // "close" follows.
      one.on("close", () => [socket, out].map((other) => other.destroy()));
    }
    socket.pipe(out);
    out.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port: own } = server.address() as net.AddressInfo;
  const reset = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    address: `127.0.0.1:${own}`,
    reset,
    close: () => {
      reset();
      server.close();
    },
  };
}

/** All nodes run, apply and agree. */
async function expectWhole(): Promise<void> {
  const collection = database.collection<{ id: string }>("c");
  await collection.put({ id: "after" });
  const index = (await cluster.leader()).node!.machine.appliedIndex;
  expect(cluster.nodes.length).toBe(3);
  for (const { machine } of cluster.nodes) {
    await waitFor("a node that goes on", () => machine.appliedIndex >= index);
  }
  expect((await collection.findById("after"))?.id).toBe("after");
}

test("values that make no text: refused wherever they stand", async () => {
  const collection = database.collection("c");
  const attempts: (() => Promise<unknown>)[] = [
    () => collection.update("a", { $pull: { l: { $type: STUBBORN } } }),
    () => collection.deleteMany({ l: { $mod: [STUBBORN, 1] } }),
    () => collection.find({ l: { $type: [STUBBORN] } }),
    () => collection.find({ l: { $regex: "a", $options: STUBBORN } }),
    () => catalog({ action: STUBBORN, collection: "c" }),
    () => catalog({ action: "dropCollection", collection: STUBBORN }),
    () => catalog({ action: "dropIndex", collection: "c", index: STUBBORN }),
    () =>
      catalog({ action: "createIndex", collection: "c", index: { name: "x", paths: [STUBBORN] } }),
    () => query({ action: STUBBORN }),
    () => query({ action: "next", cursor: STUBBORN }),
    () => query({ action: "find", collection: "c", filter: { l: { $mod: [STUBBORN, STUBBORN] } } }),
    () => query({ action: "watch", since: STUBBORN }),
  ];
  for (const attempt of attempts) {
    const { code } = await rejection(attempt());
    expect(["QUERY", "VALIDATION", "NOT_FOUND", "CURSOR_LOST"]).toContain(code);
  }
  await query({ action: "find", collection: "c", pageSize: STUBBORN });
  await expectWhole();
  // The refused commands stand in the log: whoever reads it for a stream is not harmed.
  for await (const change of database.watch({ since: 0 })) if (change.id === "after") break;
}, 300_000);

test("large arrays, paths and answers: bounded, and the nodes go on", async () => {
  const collection = database.collection<{ id: string; l?: unknown; n?: number; x?: number[] }>(
    "c",
  );
  await collection.createIndex("l", { keys: "l" });
  const long = Array.from({ length: 300_000 }, () => 1);
  await collection.put({ id: "long", l: long });
  await collection.update("long", { $push: { x: { $each: long, $position: 0 } } });
  let deep: unknown = 1;
  for (let i = 0; i < 25; i += 1) deep = [{ "0": deep, x: 1 }];
  const path = Array.from({ length: 30 }, () => "0").join(".");
  await rejection(
    collection.put({ id: "deep", l: deep }).then(() => collection.find({ [`l.${path}`]: 2 })),
  );
  const pad = "x".repeat(900_000);
  for (let i = 0; i < 12; i += 1) await collection.save({ id: `pad${i}`, n: 0, pad } as never);
  const since = (await collection.findVersioned("pad11"))!.version;
  for (let i = 0; i < 12; i += 1) await collection.update(`pad${i}`, { $inc: { n: 1 } });
  let seen = 0;
  for await (const { type } of database.watch({ since, collection: "c" })) {
    expect(type).toBe("update");
    seen += 1;
    if (seen === 12) break;
  }
  await expectWhole();
}, 300_000);

test("a cursor's page that is lost on the way is not left out", async () => {
  const leader = await cluster.leader();
  const relay = await startRelay(leader.address);
  const behind = await cluster.connect(relay.address);
  const pad = "x".repeat(2000);
  const collection = database.collection("many");
  for (let at = 0; at < 3000; at += 500) {
    await collection.insertMany(Array.from({ length: 500 }, (_, i) => ({ id: at + i, pad })));
  }
  const ids = new Set<unknown>();
  let pages = 0;
  const error = await rejection(
    (async () => {
      for await (const { id } of behind.collection<{ id: number }>("many").iterate()) {
        ids.add(id);
        if (ids.size === 100) {
          pages += 1;
          relay.reset();
        }
      }
    })(),
  ).catch(() => undefined);
  // Either it says that it cannot go on, or it has all.
  expect(pages).toBe(1);
  expect(error?.code === "CURSOR_LOST" || ids.size === 3000).toBe(true);
  relay.close();
}, 300_000);

test("a cursor is asked at its own node, whoever leads and whatever cursors others have", async () => {
  const collection = database.collection<{ id: number; pad: string }>("many");
  const pad = "x".repeat(2000);
  for (let at = 0; at < 2000; at += 500) {
    await collection.insertMany(Array.from({ length: 500 }, (_, i) => ({ id: at + i, pad })));
  }
  const seen: number[] = [];
  for await (const { id } of collection.iterate({ id: { $gte: 0 } })) {
    seen.push(id);
    if (seen.length !== 100) continue;
    const leader = await cluster.leader();
    const other = cluster.nodes.find(({ config }) => config.id !== leader.id);
    await database.promote(other!.config.id);
    // The new leader has a cursor of its own.
    for await (const _ of collection.iterate()) break;
  }
  expect(new Set(seen).size).toBe(2000);
  expect(seen).toHaveLength(2000);
  await expectWhole();
}, 300_000);
