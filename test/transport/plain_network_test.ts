/**
 * NetworkManager as a program's own network: it listens when it is made, carries messages of
 * the program whatever their type, answers where it was called, and gives up on nobody in time.
 *
 * @module
 */

import { afterEach, expect, test } from "bun:test";
import { freePorts } from "../../cli/local/local_cluster.ts";
import {
  type INetworkManager,
  NetworkManager,
  RaftConsensusManager,
  type ReplicationMessage,
} from "../../src/mod.ts";

let open: NetworkManager[] = [];
afterEach(async () => {
  for (const network of open) await network.close();
  open = [];
});

async function pair(): Promise<{ a: NetworkManager; b: NetworkManager; port: number }> {
  const [one, two] = (await freePorts(2)) as [number, number];
  const [a, b] = [new NetworkManager("a", one), new NetworkManager("b", two)];
  open = [a, b];
  return { a, b, port: two };
}

function message(type: string, data: unknown, messageId = "m"): ReplicationMessage {
  return { type, sourceNodeId: "a", timestamp: 1, data, checksum: "", messageId };
}

async function until(look: () => boolean): Promise<void> {
  while (!look()) await Bun.sleep(2);
}

test("messages of every type arrive with their data, id and the checksum of their frame", async () => {
  const { a, b, port } = await pair();
  const got: ReplicationMessage[] = [];
  b.onMessage((one) => got.push(one));
  await a.connect("b", "localhost", port);
  const types = ["WAL_ENTRY", "HEARTBEAT", "VOTE_REQUEST", "APPEND_ENTRIES", "ELECTION"];
  for (const type of types) await a.sendMessage("b", message(type, { of: type }, `id ${type}`));
  await a.broadcastMessage(message("HEARTBEAT", null, "all"));
  await until(() => got.length === 6);
  expect(got.map(({ type, data, messageId }) => [type, data, messageId])).toEqual([
    ...types.map((type) => [type, { of: type }, `id ${type}`]),
    ["HEARTBEAT", null, "all"],
  ]);
  for (const { checksum, sourceNodeId } of got) {
    expect([checksum, sourceNodeId]).toEqual([expect.stringMatching(/^[0-9a-f]{16}$/), "a"]);
  }
});

test("a message without an id gets one", async () => {
  const { a, b, port } = await pair();
  const got: (string | undefined)[] = [];
  b.onMessage(({ messageId }) => got.push(messageId));
  await a.connect("b", "localhost", port);
  const { messageId: _, ...bare } = message("ACK", 1);
  await a.sendMessage("b", bare);
  await a.sendMessage("b", bare);
  await until(() => got.length === 2);
  expect(new Set(got).size).toBe(2);
});

test("whoever was connected to answers on that connection, and broadcasts there", async () => {
  const { a, b, port } = await pair();
  const got: unknown[] = [];
  a.onMessage(({ type, sourceNodeId, data }) => got.push([type, sourceNodeId, data]));
  await a.connect("b", "localhost", port);
  await until(() => b.isConnected("a"));
  expect(b.getConnectedNodes()).toEqual(["a"]);
  await b.sendMessage("a", message("ANSWER", { n: 1 }));
  await b.broadcastMessage(message("ANSWER", { n: 2 }));
  await until(() => got.length === 2);
  expect(got).toEqual([
    ["ANSWER", "b", { n: 1 }],
    ["ANSWER", "b", { n: 2 }],
  ]);
});

test("what cannot be sent rejects with its place", async () => {
  const { a, port } = await pair();
  await a.connect("b", "localhost", port);
  const bad = [
    () => 1,
    new Map(),
    1n << 70n,
    { deep: [new URL("http://a")] },
    "x".repeat(29 << 20),
  ];
  for (const data of bad) {
    const sent = a.sendMessage("b", message("ACK", data));
    await expect(sent).rejects.toMatchObject({ code: "VALIDATION" });
  }
});

test("to connect to nobody rejects in time, and keeps no link", async () => {
  const [one, dead] = (await freePorts(2)) as [number, number];
  const a = new NetworkManager("a", one, { connectTimeoutMs: 200 });
  open = [a];
  await expect(a.connect("b", "localhost", dead)).rejects.toMatchObject({
    code: "UNREACHABLE",
    message: expect.stringContaining("within 200 ms"),
  });
  expect([a.getConnectedNodes(), a.linkHealth("b")]).toEqual([[], undefined]);
});

test("a port that is taken shows in the first call", async () => {
  const [port] = (await freePorts(1)) as [number];
  const first = new NetworkManager("a", port);
  await first.listen();
  const second = new NetworkManager("b", port);
  open = [first, second];
  const calls = [
    () => second.listen(),
    () => second.connect("a", "localhost", port),
    () => second.sendMessage("a", message("ACK", 1)),
  ];
  for (const call of calls) await expect(call()).rejects.toMatchObject({ code: "UNREACHABLE" });
});

// A port that was being opened when it was closed stayed open.
test("closed is closed: the port is free, and what waited ends at once", async () => {
  const [port, nobody] = (await freePorts(2)) as [number, number];
  for (let round = 0; round < 5; round += 1) {
    const early = new NetworkManager("a", port);
    await early.close();
  }
  const next = new NetworkManager("a", port, { connectTimeoutMs: 60_000 });
  open = [next];
  await next.listen();
  await expect(next.connect("a", "localhost", port)).rejects.toMatchObject({ code: "CONFIG" });
  const waiting = next.connect("b", "localhost", nobody).catch((error: object) => error);
  await Bun.sleep(20);
  await next.disconnect("b");
  expect(await waiting).toMatchObject({ code: "CLOSED" });
  const second = next.connect("b", "localhost", nobody).catch((error: object) => error);
  await Bun.sleep(20);
  await next.close();
  expect(await second).toMatchObject({ code: "CLOSED" });
  await expect(next.listen()).rejects.toMatchObject({ code: "CLOSED" });
  await expect(next.connect("b", "localhost", nobody)).rejects.toMatchObject({ code: "CLOSED" });
});

test("consensus over a port that is taken goes on without it, and the network tells", async () => {
  const [port] = (await freePorts(1)) as [number];
  const first = new NetworkManager("a", port);
  await first.listen();
  const second = new NetworkManager("n1", port);
  open = [first, second];
  const told: Error[] = [];
  second.on("error", ({ error }) => told.push(error));
  const members = ["n1", "n2", "n3"];
  const consensus = new RaftConsensusManager("n1", second, { members });
  expect(await consensus.requestVote(1, "n2")).toBeBoolean();
  await Bun.sleep(400);
  await consensus.stop();
  expect(told).toHaveLength(1);
});

test("consensus by arguments: a vote is true or false, and a message of one's own is no vote", async () => {
  const [port] = (await freePorts(1)) as [number];
  const network: INetworkManager = new NetworkManager("n1", port);
  open = [network as NetworkManager];
  const raft = new RaftConsensusManager("n1", network, { members: ["n1", "n2", "n3"] });
  try {
    expect(await raft.requestVote(5, "stranger", 9, 9)).toBe(false);
    expect(await raft.requestVote(5, "n2", 9, 4)).toBe(true);
    expect(await raft.requestVote(5, "n3", 9, 4)).toBe(false);
    const answer = await raft.appendEntries(6, "n2", 0, 0, [], 0);
    expect(answer).toMatchObject({ term: 6, success: true });
    const entry = { sequenceNumber: 1 } as never;
    await expect(raft.appendEntries(6, "n2", 0, 0, [entry], 0)).rejects.toMatchObject({
      code: "VALIDATION",
    });
    const seen: string[] = [];
    const stop = raft.on("leaderElected", (id) => seen.push(id));
    stop();
    expect(seen).toEqual([]);
  } finally {
    await raft.stop();
  }
});
