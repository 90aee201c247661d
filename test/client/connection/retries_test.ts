/**
 * When a client sends again, against nodes that misbehave on cue: never in floods, never too late.
 *
 * @module
 */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { ByteWriter } from "../../../src/base/bytes.ts";
import { type CStoreError, NotLeaderError, OverloadedError } from "../../../src/base/errors.ts";
import { documentsRequest } from "../../../src/client/collection/collection_writer.ts";
import { Client } from "../../../src/client/connection/client.ts";
import type {
  ClientOptions,
  ClientRequest,
} from "../../../src/client/connection/client_options.ts";
import { EarliestTimer } from "../../../src/client/connection/earliest_timer.ts";
import type { Answer } from "../../../src/client/connection/pending_requests.ts";
import { type Clock, sleep, systemClock } from "../../../src/platform/clock.ts";
import { encodeCollectionName } from "../../../src/protocol/encoding/command.ts";
import { waitFor } from "../../node/test_cluster.ts";
import { FakeNode, type Received } from "./fake_node.ts";

const NOBODY = { id: "", address: "" };
let n1: FakeNode;
let n2: FakeNode;
let clients: Client[];

beforeEach(async () => {
  n1 = await FakeNode.start("n1");
  n2 = await FakeNode.start("n2");
  clients = [];
});

afterEach(async () => {
  for (const client of clients) client.close();
  await n1.stop();
  await n2.stop();
});

async function open(nodes: readonly FakeNode[], options: ClientOptions = {}): Promise<Client> {
  const addresses = nodes.map(({ address }) => address);
  const client = await Client.connect(addresses, { timeoutMs: 5000, ...options });
  clients.push(client);
  await waitFor("all channels", () => client.connected.length === nodes.length);
  return client;
}

const countOf = (target: ClientRequest["target"], timeoutMs?: number): ClientRequest => ({
  kind: "COUNT",
  target,
  timeoutMs,
  write: (writer: ByteWriter) => writer.u8(0).u8(0),
});

function submit(client: Client, request: ClientRequest): Promise<Answer | CStoreError> {
  return new Promise((resolve) => client.submit(request, resolve, resolve));
}

const counts = (node: FakeNode): number =>
  node.received.filter(({ request }) => request.kind === "COUNT").length;

const refuse = (leader: { id: string; address: string }) => (received: Received) =>
  received.fail(new NotLeaderError("", leader));

describe("how often", () => {
  test("a node that hangs, and names a leader out of reach, gets each request once", async () => {
    const client = await open([n1]);
    n1.announce(3, { id: "n9", address: "127.0.0.1:1" });
    const waiting: Promise<unknown>[] = [];
    for (let i = 0; i < 40; i += 1) {
      waiting.push(submit(client, countOf("leader", 300)));
      await sleep(systemClock, 6);
    }
    await Promise.all(waiting);
    expect(counts(n1)).toBe(40);
  });

  test.each([
    ["nobody leads", () => [NOBODY, NOBODY]],
    [
      "they name each other",
      () => [
        { id: "n2", address: n2.address },
        { id: "n1", address: n1.address },
      ],
    ],
  ])("%s: other answers do not make it more often", async (_name, makeLeaders) => {
    const [of1, of2] = makeLeaders();
    // Target "any" is level 2 here, and is answered.
    let asked = 0;
    const serve = (leader: { id: string; address: string }) => (received: Received) => {
      if (received.request.kind !== "COUNT") return refuse(leader)(received);
      if (received.request.deadlineMs !== 1000) return received.written(1);
      asked += 1;
      refuse(leader)(received);
    };
    n1.onRequest = serve(of1!);
    n2.onRequest = serve(of2!);
    const client = await open([n1, n2], { timeoutMs: 2000 });
    let isOver = false;
    const waiting = submit(client, countOf("leader", 1000)).finally(() => {
      isOver = true;
    });
    while (!isOver) {
      await submit(client, countOf("any"));
      await sleep(systemClock, 2);
    }
    expect(await waiting).toBeInstanceOf(NotLeaderError);
    expect(asked).toBeLessThan(40);
  });
});

describe("how soon", () => {
  test("a leader that a refusal names takes what waits as well", async () => {
    let leads = false;
    let isRefusedByN2 = false;
    const answered: number[] = [];
    n1.onRequest = (received) =>
      refuse(leads ? { id: "n2", address: n2.address } : NOBODY)(received);
    n2.onRequest = (received) => {
      if (!leads) {
        isRefusedByN2 = true;
        return refuse(NOBODY)(received);
      }
      answered.push(received.request.requestId);
      received.written(1);
    };
    const client = await open([n1, n2]);
    const waiting = submit(client, countOf("leader"));
    await waitFor("long waits", () => counts(n1) + counts(n2) > 5);
    isRefusedByN2 = false;
    while (!isRefusedByN2) await sleep(systemClock, 1);
    await sleep(systemClock, 5);
    // It waits 50 to 100 ms; the next goes to n1, and from there to n2, both in order of age.
    leads = true;
    await Promise.all([submit(client, countOf("leader")), waiting]);
    expect(answered).toEqual([1, 2]);
  });

  test("OVERLOADED names more time than is left: another try all the same", async () => {
    let tries = 0;
    n1.onRequest = (received) => {
      tries += 1;
      if (tries === 1) received.fail(new OverloadedError("full", 10_000));
      else received.written(1);
    };
    const client = await open([n1]);
    const answer = await submit(client, countOf("leader", 600));
    expect(answer).toMatchObject({ version: 1 });
    expect(tries).toBe(2);
  });

  test("ASYNC: an early answer behind a slow request is confirmed soon after it", async () => {
    let slow: Received | undefined;
    n1.onRequest = (received) => {
      if (received.command?.kind === "OPEN_SESSION") return received.written(70);
      if (received.request.kind === "COUNT") {
        slow = received;
        return;
      }
      received.written(9, false);
      n1.state = { term: 1, committedSequence: 8 };
    };
    const lost: unknown[] = [];
    const client = await open([n1], { timeoutMs: 60_000, onLost: (write) => lost.push(write) });
    const waiting = submit(client, countOf("leader"));
    const collection = encodeCollectionName("c");
    await new Promise((resolve, reject) =>
      client.submit(documentsRequest({ collection, operations: [] }), resolve, reject),
    );
    await sleep(systemClock, 250);
    slow?.written(1);
    await waiting;
    n1.state = { term: 1, committedSequence: 9 };
    await waitFor("the confirmation", () => client.inFlight === 0);
    expect(lost).toEqual([]);
  });
});

describe("several ways", () => {
  test("a leader that has moved is found at its new address", async () => {
    n2.onRequest = (received) => received.written(1);
    n1.onRequest = refuse({ id: "n2", address: n2.address });
    const gone = await FakeNode.start("n2");
    const client = await open([n1, gone]);
    await gone.stop();
    expect(await submit(client, countOf("leader"))).toMatchObject({ version: 1 });
  });

  test("of two ways to the leader the one that is up counts", async () => {
    const second = await FakeNode.start("n1");
    second.onRequest = (received) => received.written(1);
    const client = await open([n1, second, n2]);
    n2.announce(2, { id: "n1", address: second.address });
    await waitFor("the news", () => client.leader.nodeId === "n1");
    await n1.stop();
    await waitFor("the end of one", () => client.connected.length === 2);
    const waiting = Array.from({ length: 20 }, () => submit(client, countOf("leader")));
    for (const answer of await Promise.all(waiting)) expect(answer).toMatchObject({ version: 1 });
    expect(counts(n2)).toBe(0);
    await second.stop();
    n1 = await FakeNode.start("n1");
  });

  test("a node that hangs up at every request is not asked without a pause", async () => {
    n1.onRequest = (received) => received.hangUp();
    const client = await open([n1]);
    await submit(client, countOf("leader", 1000));
    expect(n1.accepted).toBeLessThan(20);
  });

  test("another node that comes and goes ends no waits", async () => {
    n1.onRequest = (received) => received.fail(new OverloadedError("full", 2000));
    const client = await open([n1, n2]);
    const waiting = submit(client, countOf("leader", 4000));
    await waitFor("the refusal", () => counts(n1) === 1);
    for (let i = 0; i < 10; i += 1) {
      n2.hangUp();
      await sleep(systemClock, 20);
    }
    expect(counts(n1) + counts(n2)).toBe(1);
    client.close();
    await waiting;
  });

  test("a client that is closed while it tells of the end tells each request once", async () => {
    n1.onRequest = () => undefined;
    const client = await open([n1]);
    const ended: number[] = [];
    for (const number of [1, 2, 3]) {
      const end = (): void => {
        ended.push(number);
        client.close();
      };
      client.submit({ ...countOf("leader"), isRepeatable: false }, end, end);
    }
    await waitFor("all to arrive", () => counts(n1) === 3);
    n1.hangUp();
    await waitFor("the end", () => ended.length > 0);
    expect(ended.sort()).toEqual([1, 2, 3]);
    expect(client.inFlight).toBe(0);
  });
});

describe("ASYNC: what is committed is not called lost", () => {
  const collection = encodeCollectionName("c");
  const write = (client: Client): Promise<Answer> =>
    new Promise((resolve, reject) =>
      client.submit(
        documentsRequest({ collection, operations: [], timeoutMs: 600 }),
        resolve,
        reject,
      ),
    );

  function serveEarly(): void {
    let writes = 0;
    n1.onRequest = (received) => {
      if (received.command?.kind === "OPEN_SESSION") return received.written(70);
      if (received.request.kind === "COUNT") return;
      writes += 1;
      if (writes > 1) n1.state.committedSequence = 9;
      received.written(9, writes > 1);
    };
    n1.state = { term: 1, committedSequence: 8 };
  }

  test("behind a request that outlasts it, in a term that told of the commit", async () => {
    serveEarly();
    const lost: unknown[] = [];
    const client = await open([n1], { onLost: (found) => lost.push(found) });
    void submit(client, countOf("leader", 60_000));
    await write(client);
    n1.state = { term: 1, committedSequence: 9 };
    // Any reply tells; this one of a write that is answered at once.
    await write(client);
    await waitFor("the deadline", () => client.inFlight === 1);
    expect(lost).toEqual([]);
  });

  test("the same node leads again: it is asked at once", async () => {
    serveEarly();
    const lost: unknown[] = [];
    const client = await open([n1], { onLost: (found) => lost.push(found) });
    n1.announce(1, { id: "n1", address: n1.address });
    await write(client);
    n1.state = { term: 2, committedSequence: 8 };
    n1.announce(2, { id: "n1", address: n1.address });
    await waitFor("the confirmation", () => client.inFlight === 0);
    expect(lost).toEqual([]);
  });
});

describe("timers", () => {
  const timers: { delayMs: number; fire: () => void }[] = [];
  const clock: Clock = {
    ...systemClock,
    nowMs: () => 1000,
    setTimer: (delayMs, fire) => {
      const timer = { delayMs, fire };
      timers.push(timer);
      return () => timers.splice(timers.indexOf(timer), 1);
    },
  };

  beforeEach(() => {
    timers.length = 0;
  });

  test("one for many moments: the earliest", () => {
    let fired = 0;
    const timer = new EarliestTimer(clock, () => {
      fired += 1;
    });
    for (const atMs of [1500, 1200, 1300, 1200]) timer.by(atMs);
    expect(timers.map(({ delayMs }) => delayMs)).toEqual([200]);
    timers[0]!.fire();
    expect(fired).toBe(1);
    timer.by(900);
    expect(timers.at(-1)?.delayMs).toBe(0);
    timer.stop();
    timer.by(800);
    expect(timers).toEqual([]);
  });

  test("no wait is longer than runtimes can wait, and never is none at all", () => {
    const timer = new EarliestTimer(clock, () => undefined);
    timer.by(Number.POSITIVE_INFINITY);
    timer.by(Number.NaN);
    expect(timers).toEqual([]);
    timer.by(Number.MAX_SAFE_INTEGER);
    expect(timers.map(({ delayMs }) => delayMs)).toEqual([2 ** 31 - 1]);
  });

  test("no number as a timeout is no time", async () => {
    const client = await open([n1]);
    expect(await submit(client, countOf("leader", Number.NaN))).toMatchObject({ code: "DEADLINE" });
  });
});
