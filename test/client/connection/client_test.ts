/**
 * The client against nodes that misbehave on cue: repeats, sessions, the window, routing, the end.
 *
 * @module
 */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { ByteWriter } from "../../../src/base/bytes.ts";
import {
  type CStoreError,
  DuplicateRequestError,
  NoQuorumError,
  NotLeaderError,
  OverloadedError,
  SessionExpiredError,
  UnknownOutcomeError,
  ValidationError,
  VersionConflictError,
} from "../../../src/base/errors.ts";
import { SESSION_WINDOW_MAX } from "../../../src/base/limits.ts";
import { ChannelList } from "../../../src/client/connection/channel_list.ts";
import { connect, type RemoteDatabase } from "../../../src/client/remote_database.ts";
import { sleep, systemClock } from "../../../src/platform/clock.ts";
import { systemPlatform } from "../../../src/platform/platform.ts";
import { rejection, waitFor } from "../../node/test_cluster.ts";
import { FakeNode, type Received } from "./fake_node.ts";

const SESSION_ID = 70;
/** Number of the first write: before it come the session, and who writes the collection. */
const FIRST = 3;
let node: FakeNode;
let other: FakeNode;
let databases: RemoteDatabase[];

beforeEach(async () => {
  node = await FakeNode.start("n1");
  other = await FakeNode.start("n2");
  databases = [];
});

afterEach(async () => {
  for (const database of databases) await database.close();
  await node.stop();
  await other.stop();
});

async function open(
  options: Parameters<typeof connect>[1] = {},
  addresses = node.address,
): Promise<RemoteDatabase> {
  const database = await connect(addresses, { timeoutMs: 5000, ...options });
  databases.push(database);
  return database;
}

/** Opens sessions by itself; everything else is for `next`. */
function withSessions(next: (received: Received) => void): (received: Received) => void {
  let sessionId = SESSION_ID;
  return (received) => {
    // The client may ask who writes a collection: a help only.
    if (received.request.kind === "QUERY") return received.fail(new ValidationError("not here"));
    if (received.command?.kind !== "OPEN_SESSION") return next(received);
    received.written(sessionId);
    sessionId += 1;
  };
}

function documents(at: FakeNode): Received[] {
  return at.received.filter(({ command }) => command?.kind === "DOCUMENTS");
}

describe("repeats", () => {
  test("a lost connection: the same session and number, until it is answered", async () => {
    let tries = 0;
    node.onRequest = withSessions((received) => {
      tries += 1;
      if (tries < 4) received.hangUp();
      else received.written(9);
    });
    const database = await open();
    expect(await database.collection("c").put({ id: 1 })).toBe(9);
    const headers = documents(node).map(({ command }) => command);
    expect(headers).toHaveLength(4);
    for (const header of headers) expect(header).toEqual(headers[0]);
    expect(headers[0]).toMatchObject({ sessionId: SESSION_ID, requestNumber: FIRST });
  });

  test.each([
    ["UNKNOWN_OUTCOME", () => new UnknownOutcomeError("leadership was lost")],
    ["OVERLOADED", () => new OverloadedError("full", 5)],
    ["NO_QUORUM", () => new NoQuorumError("alone")],
    ["NOT_LEADER without a leader", () => new NotLeaderError("", { id: "", address: "" })],
  ])("%s: the same number again", async (_name, makeError) => {
    let tries = 0;
    node.onRequest = withSessions((received) => {
      tries += 1;
      if (tries < 3) received.fail(makeError());
      else received.written(9);
    });
    const database = await open();
    expect(await database.collection("c").put({ id: 1 })).toBe(9);
    const numbers = documents(node).map(({ command }) => command?.requestNumber);
    expect(numbers).toEqual([FIRST, FIRST, FIRST]);
  });

  test("OVERLOADED: not before the time that it names; what comes later is not held up", async () => {
    const askedFirst: number[] = [];
    node.onRequest = withSessions((received) => {
      const isFirst = received.command?.requestNumber === FIRST;
      if (isFirst) askedFirst.push(systemClock.nowMs());
      if (isFirst && askedFirst.length === 1) received.fail(new OverloadedError("full", 150));
      else received.written(9);
    });
    const database = await open();
    const first = database.collection("c").put({ id: 1 });
    await waitFor("the first to be refused", () => askedFirst.length === 1);
    await database.collection("c").put({ id: 2 });
    expect(askedFirst).toHaveLength(1);
    await first;
    expect(askedFirst).toHaveLength(2);
    expect(askedFirst[1]! - askedFirst[0]!).toBeGreaterThanOrEqual(145);
  });

  test("a cluster that nobody leads is asked less and less often", async () => {
    node.onRequest = withSessions((received) =>
      received.fail(new NotLeaderError("", { id: "", address: "" })),
    );
    const database = await open({ timeoutMs: 1000 });
    await rejection(database.collection("c").put({ id: 1 }));
    // Every 10 ms would make 100.
    expect(documents(node).length).toBeLessThan(30);
    expect(documents(node).length).toBeGreaterThan(5);
  });

  test("a node that names a leader out of reach is not asked in a circle", async () => {
    const gone = { id: "n9", address: "127.0.0.1:1" };
    node.onRequest = withSessions((received) => received.fail(new NotLeaderError("", gone)));
    const database = await open({ timeoutMs: 1000 });
    await rejection(database.collection("c").put({ id: 1 }));
    expect(documents(node).length).toBeLessThan(30);
  });

  test("nodes that name each other are not asked in a circle", async () => {
    const name = (id: string, address: string) =>
      withSessions((received: Received) => received.fail(new NotLeaderError("", { id, address })));
    node.onRequest = name("n2", other.address);
    other.onRequest = name("n1", node.address);
    const database = await open({ timeoutMs: 1000 }, `${node.address},${other.address}`);
    await rejection(database.collection("c").put({ id: 1 }));
    const asked = documents(node).length + documents(other).length;
    expect(asked).toBeLessThan(30);
    expect(documents(node).length).toBeGreaterThan(2);
    expect(documents(other).length).toBeGreaterThan(2);
  });

  test("a client with nothing under way sets no timers", async () => {
    node.onRequest = withSessions((received) => received.written(9));
    const { clock, ...rest } = systemPlatform();
    let timers = 0;
    const setTimer: typeof clock.setTimer = (...args) => {
      timers += 1;
      return clock.setTimer(...args);
    };
    const database = await open({ platform: { ...rest, clock: { ...clock, setTimer } } });
    await database.collection("c").put({ id: 1 });
    const before = timers;
    await sleep(clock, 150);
    expect(timers).toBe(before);
  });

  test("a final answer is final", async () => {
    node.onRequest = withSessions((received) => received.fail(new VersionConflictError("no", 5)));
    const database = await open();
    const error = await rejection(database.collection("c").put({ id: 1 }, { ifVersion: 1 }));
    expect(error).toMatchObject({ code: "VERSION_CONFLICT", actualVersion: 5 });
    expect(documents(node)).toHaveLength(1);
  });

  test("acknowledgedBelow stays at the oldest request without an answer", async () => {
    const held: Received[] = [];
    node.onRequest = withSessions((received) => {
      if (received.command?.requestNumber === FIRST) held.push(received);
      else received.written(100 + (received.command?.requestNumber ?? 0));
    });
    const database = await open();
    const collection = database.collection("c");
    const first = collection.put({ id: 1 });
    await waitFor("the first to arrive", () => held.length === 1);
    for (let i = 0; i < 3; i += 1) await collection.put({ id: 2 });
    const below = documents(node).map(({ command }) => command?.acknowledgedBelow);
    expect(below).toEqual([FIRST, FIRST, FIRST, FIRST]);
    held[0]?.written(50);
    expect(await first).toBe(50);
    await collection.put({ id: 3 });
    expect(documents(node).at(-1)?.command).toMatchObject({
      requestNumber: FIRST + 4,
      acknowledgedBelow: FIRST + 4,
    });
  });
});

describe("what a deadline says", () => {
  test("never answered: unknown outcome", async () => {
    node.onRequest = withSessions(() => undefined);
    const database = await open({ timeoutMs: 300 });
    expect((await rejection(database.collection("c").put({ id: 1 }))).code).toBe("DEADLINE");
  });

  // Nothing was logged, and the caller may know it.
  test("always refused before the log: the refusal", async () => {
    node.onRequest = withSessions((received) => received.fail(new NoQuorumError("alone")));
    const database = await open({ timeoutMs: 300 });
    // A try that is under way at the very end is in doubt, rightly.
    await waitFor("the refusal", async () => {
      const { code } = await rejection(database.collection("c").put({ id: 1 }));
      return code === "NO_QUORUM";
    });
  });

  test("refused after a send that was never answered: unknown outcome", async () => {
    let tries = 0;
    node.onRequest = withSessions((received) => {
      tries += 1;
      if (tries === 1) received.hangUp();
      else received.fail(new NoQuorumError("alone"));
    });
    const database = await open({ timeoutMs: 500 });
    expect((await rejection(database.collection("c").put({ id: 1 }))).code).toBe("DEADLINE");
  });
});

describe("sessions", () => {
  test("SESSION_EXPIRED reaches the caller, and the next write opens a new session", async () => {
    let isExpired = true;
    node.onRequest = withSessions((received) => {
      if (isExpired) received.fail(new SessionExpiredError("gone"));
      else received.written(9);
    });
    const database = await open();
    const collection = database.collection("c");
    expect((await rejection(collection.put({ id: 1 }))).code).toBe("SESSION_EXPIRED");
    isExpired = false;
    expect(await collection.put({ id: 2 })).toBe(9);
    expect(documents(node).at(-1)?.command?.sessionId).toBe(SESSION_ID + 1);
  });

  test("a late refusal of the old session leaves the new one alone", async () => {
    const old: Received[] = [];
    node.onRequest = withSessions((received) => {
      if (received.command?.sessionId === SESSION_ID) old.push(received);
      else received.written(9);
    });
    const database = await open();
    const collection = database.collection("c");
    const refused = [rejection(collection.put({ id: 1 })), rejection(collection.put({ id: 2 }))];
    await waitFor("both", () => old.length === 2);
    old[0]?.fail(new SessionExpiredError("gone"));
    await refused[0];
    await collection.put({ id: 3 });
    old[1]?.fail(new SessionExpiredError("gone"));
    await refused[1];
    await collection.put({ id: 4 });
    const sessions = documents(node).map(({ command }) => command?.sessionId);
    expect(sessions).toEqual([SESSION_ID, SESSION_ID, SESSION_ID + 1, SESSION_ID + 1]);
    const opened = node.received.filter(({ command }) => command?.kind === "OPEN_SESSION");
    expect(opened).toHaveLength(2);
  });

  test("one session serves all writes that wait for it", async () => {
    let version = 0;
    node.onRequest = withSessions((received) => {
      version += 1;
      received.written(version);
    });
    const database = await open();
    const writes = Array.from({ length: 50 }, (_, i) => database.collection("c").put({ id: i }));
    await Promise.all(writes);
    expect(node.received.filter(({ command }) => command?.kind === "OPEN_SESSION")).toHaveLength(1);
  });
});

test("the window: no more under way than a session remembers, the rest waits its turn", async () => {
  const held: Received[] = [];
  node.onRequest = withSessions((received) => held.push(received));
  const database = await open({ timeoutMs: 20_000 });
  const count = SESSION_WINDOW_MAX + 500;
  const writes = Array.from({ length: count }, (_, i) => database.collection("c").put({ id: i }));
  await waitFor("a full window", () => held.length >= SESSION_WINDOW_MAX - 1);
  const highest = Math.max(...held.map(({ command }) => command?.requestNumber ?? 0));
  const lowest = Math.min(...held.map(({ command }) => command?.requestNumber ?? 0));
  expect(highest - lowest).toBeLessThan(SESSION_WINDOW_MAX);
  expect(database.client.inFlight).toBe(count);
  node.onRequest = (received) => received.written(received.command?.requestNumber ?? 0);
  for (const received of held) received.written(received.command?.requestNumber ?? 0);
  expect(new Set(await Promise.all(writes)).size).toBe(count);
});

test("a request that cannot be written fails alone: the frame carries others", async () => {
  node.onRequest = withSessions((received) => received.written(7));
  const database = await open();
  const collection = database.collection("c");
  await collection.put({ id: 0 });
  const before = collection.put({ id: 1 });
  const broken = database.client.execute({
    kind: "STATUS",
    target: "any",
    write: (writer) => {
      writer.u64(5);
      throw new ValidationError("Cannot write this");
    },
  });
  const after = collection.put({ id: 2 });
  expect((await rejection(broken)).message).toBe("Cannot write this");
  expect(await Promise.all([before, after])).toEqual([7, 7]);
  expect(node.accepted).toBe(1);
});

describe("routing", () => {
  test("a hint with an address that the client did not know is followed", async () => {
    const hint = { id: "n2", address: other.address };
    node.onRequest = (received) => received.fail(new NotLeaderError("not me", hint));
    other.onRequest = withSessions((received) => received.written(9));
    const database = await open();
    expect(await database.collection("c").put({ id: 1 })).toBe(9);
    expect(documents(node)).toHaveLength(0);
    await database.collection("c").put({ id: 2 });
    expect(documents(other)).toHaveLength(2);
  });

  test("news of a leader moves what waits at a node that no longer answers", async () => {
    node.onRequest = withSessions(() => undefined);
    other.onRequest = withSessions((received) => received.written(9));
    const database = await open({}, `${node.address},${other.address}`);
    await waitFor("both", () => database.client.connected.length === 2);
    node.announce(1, { id: "n1", address: node.address });
    await waitFor("the leader", () => database.client.leader.nodeId === "n1");
    const write = database.collection("c").put({ id: 1 });
    await waitFor("it to arrive", () => documents(node).length === 1);
    other.announce(2, { id: "n2", address: other.address });
    expect(await write).toBe(9);
    expect(documents(other)[0]?.command).toEqual(documents(node)[0]?.command);
    // An older term is no news.
    node.announce(1, { id: "n1", address: node.address });
    await database.collection("c").put({ id: 2 });
    expect(database.client.leader).toMatchObject({ term: 2, nodeId: "n2" });
    expect(documents(node)).toHaveLength(1);
  });
});

describe("members", () => {
  test("all nodes that it was given are gone: it goes to the members that it heard of", async () => {
    other.onRequest = withSessions((received) => received.written(9));
    const database = await open();
    node.announce(1, { id: "n1", address: node.address }, [node.address, other.address]);
    await sleep(systemClock, 50);
    expect(other.accepted).toBe(0);
    await node.stop();
    expect(await database.collection("c").put({ id: 1 })).toBe(9);
  });

  test("nobody leads: it asks all members", async () => {
    const nobody = new NotLeaderError("", { id: "", address: "" });
    node.onRequest = withSessions((received) => received.fail(nobody));
    other.onRequest = withSessions((received) => received.written(9));
    const database = await open();
    node.announce(1, { id: "", address: "" }, [node.address, other.address]);
    expect(await database.collection("c").put({ id: 1 })).toBe(9);
  });

  test("who is away is forgotten once it is no member, unless it was given", () => {
    const open = new Map<string, { isUp: boolean }>();
    const channels = new ChannelList((address) => {
      const close = () => open.delete(address);
      const channel = { address, nodeId: "", isUp: true, send() {}, wake() {}, close };
      open.set(address, channel);
      return {
        ...channel,
        get isUp() {
          return channel.isUp;
        },
        frame: () => ({ writer: new ByteWriter(1) }),
      };
    });
    const away = (address: string) => (open.get(address)!.isUp = false);
    channels.give("a:1");
    channels.learn({ term: 1, nodeId: "b", address: "b:1", members: ["b:1", "c:1"] });
    channels.reachMembers();
    expect([...open.keys()]).toEqual(["a:1", "b:1", "c:1"]);
    for (const address of ["a:1", "b:1"]) away(address);
    channels.learn({ term: 2, nodeId: "c", address: "c:1", members: ["d:1"] });
    expect([...open.keys()]).toEqual(["a:1", "c:1"]);
    expect(channels.all.map(({ address }) => address)).toEqual(["a:1", "c:1"]);
  });
});

describe("ASYNC", () => {
  test("an early answer is confirmed by asking again, without other traffic", async () => {
    const lost: unknown[] = [];
    node.onRequest = withSessions((received) => {
      received.written(documents(node).length + 10, false);
      // Committed a moment later, which no reply says by itself.
      node.state = { term: 1, committedSequence: documents(node).length + 10 };
    });
    const database = await open({ timeoutMs: 1500, onLost: (write) => lost.push(write) });
    await Promise.all([1, 2, 3].map((id) => database.collection("c").put({ id })));
    await waitFor("the confirmation", () => database.client.inFlight === 0);
    expect(lost).toEqual([]);
  });

  test("what cannot be confirmed in time is reported, once", async () => {
    const lost: { version: number }[] = [];
    node.onRequest = withSessions((received) => received.written(11, false));
    const database = await open({ timeoutMs: 400, onLost: (write) => lost.push(write) });
    await database.collection("c").put({ id: 1 });
    await waitFor("the report", () => lost.length > 0);
    expect(lost).toMatchObject([{ version: 11, outcome: "unconfirmed" }]);
    expect(database.client.inFlight).toBe(0);
  });

  test("what a later leader refuses is lost; what it knows as answered is there", async () => {
    const lost: { outcome: string }[] = [];
    const refusals: CStoreError[] = [
      new VersionConflictError("another one", 5),
      new DuplicateRequestError("it was answered"),
    ];
    const early = new Set<number>();
    node.onRequest = withSessions((received) => {
      if (early.has(received.request.requestId)) return received.fail(refusals.shift()!);
      early.add(received.request.requestId);
      received.written(11, false);
    });
    const database = await open({ timeoutMs: 2000, onLost: (write) => lost.push(write) });
    for (const id of [1, 2]) {
      await database.collection("c").put({ id });
      await waitFor("its end", () => database.client.inFlight === 0);
    }
    expect(lost).toMatchObject([{ outcome: "lost" }]);
    expect(refusals).toEqual([]);
  });
});

describe("the end", () => {
  test("close rejects what waits, and what comes after", async () => {
    node.onRequest = withSessions(() => undefined);
    const database = await open();
    const collection = database.collection("c");
    const waiting = [rejection(collection.put({ id: 1 })), rejection(collection.count())];
    await waitFor("it to arrive", () => documents(node).length === 1);
    await database.close();
    await database.close();
    for (const error of await Promise.all(waiting)) expect(error.code).toBe("CLOSED");
    expect((await rejection(collection.put({ id: 2 }))).code).toBe("CLOSED");
    expect((await rejection(database.status())).code).toBe("CLOSED");
  });

  // Such a connection would be kept up for ever, and with it the process.
  test("news of a leader that arrives behind close makes no new connection", async () => {
    for (let i = 0; i < 10; i += 1) {
      const database = await open();
      node.announce(1 + i, { id: "n2", address: other.address });
      await database.close();
    }
    await sleep(systemClock, 100);
    expect(other.accepted).toBe(0);
  });

  test("a node that belongs to another cluster gets no request, when it comes back as one", async () => {
    node.onRequest = withSessions((received) => received.written(9));
    const database = await open({ timeoutMs: 400 });
    expect(await database.collection("c").put({ id: 1 })).toBe(9);
    const before = node.received.length;
    node.clusterId = "00000000000000bb";
    node.hangUp();
    await waitFor("it tries again", () => node.accepted > 1);
    const error = await rejection(database.collection("c").put({ id: 2 }));
    expect([error.code, error.message]).toEqual([
      "HANDSHAKE",
      expect.stringContaining("it belongs to cluster 00000000000000bb, not 00000000000000aa"),
    ]);
    expect(node.received).toHaveLength(before);
  });

  test("nodes of another cluster than the one asked for are refused", async () => {
    const error = await rejection(open({ clusterId: "00000000000000bb" }));
    expect([error.code, error.message]).toEqual([
      "HANDSHAKE",
      `Cannot connect to ${node.address}: it belongs to cluster 00000000000000aa, not 00000000000000bb`,
    ]);
  });

  test("nobody there: UNREACHABLE with every address, in time", async () => {
    const { address } = other;
    await other.stop();
    const error = await rejection(connect(`cstore://${address}`, { timeoutMs: 200 }));
    expect([error.code, error.message]).toEqual(["UNREACHABLE", expect.stringContaining(address)]);
    other = await FakeNode.start("n2");
  });

  test.each(["", "cstore://", "a:b:c", "127.0.0.1:99999", "host"])(
    "the address %j is refused",
    async (url) => {
      expect((await rejection(connect(url, { timeoutMs: 200 }))).code).toBe("CONFIG");
    },
  );
});
