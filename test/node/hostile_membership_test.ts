/**
 * Hostile inputs about members and snapshots against a running cluster: requests that make no
 * sense, forged lists of members, snapshots that are none. What comes back is a typed error or the
 * end of the connection; the node goes on, and keeps nothing that has no bound.
 *
 * @module
 */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync, statSync } from "node:fs";
import { ByteWriter } from "../../src/base/bytes.ts";
import type { RemoteDatabase } from "../../src/client/remote_database.ts";
import type { Node } from "../../src/node/node.ts";
import { BATCH_HEADER_SIZE } from "../../src/protocol/encoding/batch_codec.ts";
import { encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import { membershipBatch, writeBindings } from "../../src/protocol/encoding/cluster_command.ts";
import {
  beginCommand,
  type CommandKind,
  endCommand,
  NO_SESSION,
} from "../../src/protocol/encoding/command.ts";
import { encodeHello } from "../../src/protocol/wire/handshake.ts";
import {
  encodeSnapshotMessage,
  type SnapshotMessage,
} from "../../src/protocol/wire/snapshot_message.ts";
import type { Member } from "../../src/raft/configuration.ts";
import { batchOf, forged, impersonate, settled } from "./impostor.ts";
import { helloOf, RawConnection, requestBytes } from "./raw_connection.ts";
import { type Seat, TestCluster, waitFor } from "./test_cluster.ts";

let cluster: TestCluster;
let database: RemoteDatabase;
let leader: Seat;
let victim: Seat;
let writes = 0;

beforeAll(async () => {
  cluster = await TestCluster.start(3);
  database = await cluster.connect();
});

beforeEach(async () => {
  leader = await cluster.leader();
  const [first] = await cluster.followers();
  if (first === undefined) throw new RangeError("three nodes run");
  victim = first;
  await write();
});

afterAll(async () => {
  await cluster.stop();
});

function nodeOf(seat: Seat): Node {
  if (seat.node === undefined) throw new RangeError(`${seat.id} runs`);
  return seat.node;
}

async function write(): Promise<void> {
  writes += 1;
  await database.collection("kept").put({ id: writes });
}

/** Every node runs, agrees with the others, and has the members that it had. */
async function expectUnharmed(): Promise<void> {
  await write();
  for (const seat of cluster.seats) expect(seat.fatal).toBeUndefined();
  await waitFor("all nodes to agree", () => {
    const applied = cluster.nodes.map((node) => node.machine.appliedIndex);
    return applied.length === 3 && new Set(applied).size === 1;
  });
  for (const node of cluster.nodes) {
    expect(node.machine.documentCount).toBe(writes);
    const { members } = node.driver.view.configuration;
    expect(members.map(({ id, role }) => [id, role])).toEqual([
      ["n1", "voter"],
      ["n2", "voter"],
      ["n3", "voter"],
    ]);
  }
}

describe("CLUSTER requests", () => {
  const texts = ["", "x".repeat(10_000), "\u0000", "n1\nn2", "../../etc", "ü".repeat(150)];
  const values = [...texts, 0, -1, 2 ** 53, 1.5, true, null, [], {}, [["n1"]], new Date(0)];
  const actions = ["join", "add", "remove", "replace", "recover", "role", "digest", "documents"];

  async function ask(connection: RawConnection, payload: Uint8Array): Promise<string> {
    connection.request(requestBytes("CLUSTER", { requestId: 5 }, payload));
    const reply = await connection.reply(5);
    return reply.kind === "error" ? reply.error.code : reply.kind;
  }

  test.each(actions)(
    "%s with fields of wrong types and sizes is refused by name",
    async (action) => {
      const connection = await RawConnection.shake(leader.address);
      for (const value of values) {
        const fields = { id: value, by: value, address: value, incarnation: value, role: value };
        const code = await ask(connection, encodeCbor({ action, ...fields }));
        expect([action, value, code]).toEqual([
          action,
          value,
          expect.stringMatching(/^(VALIDATION|CONFIG|MEMBERSHIP|NOT_FOUND)$/),
        ]);
      }
      expect(await ask(connection, encodeCbor({ action }))).toBe("VALIDATION");
      connection.close();
      await expectUnharmed();
    },
  );

  test("unknown actions, of any type, are refused", async () => {
    const connection = await RawConnection.shake(leader.address);
    const nested = { toString: 1, valueOf: 2 };
    for (const action of [...values, "JOIN", "constructor", "x".repeat(16_000), nested]) {
      expect([action, await ask(connection, encodeCbor({ action }))]).toEqual([
        action,
        "VALIDATION",
      ]);
    }
    connection.close();
    await expectUnharmed();
  });

  test("payloads that are no map, not CBOR, or too large", async () => {
    const connection = await RawConnection.shake(leader.address);
    const payloads = [
      new Uint8Array(0),
      Uint8Array.of(0xff),
      Uint8Array.of(0x80),
      Uint8Array.of(0x01),
      Uint8Array.of(0xbf),
      Uint8Array.of(0xf6),
      encodeCbor({ action: "remove" as const, id: "n1" }).slice(0, -1),
      encodeCbor({ action: "remove" as const, id: "n1", padding: "x".repeat(20_000) }).slice(),
    ];
    for (const payload of payloads) {
      expect(await ask(connection, payload)).toMatch(/^(VALIDATION|PROTOCOL)$/);
    }
    connection.close();
    await expectUnharmed();
  });

  test("a follower changes nothing, and says who leads", async () => {
    const connection = await RawConnection.shake(victim.address);
    const payload = encodeCbor({ action: "remove" as const, id: victim.id });
    expect(await ask(connection, payload)).toBe("NOT_LEADER");
    connection.close();
    await expectUnharmed();
  });

  test("a thousand at once: each is answered", async () => {
    const connection = await RawConnection.shake(leader.address);
    const payload = encodeCbor({ action: "remove" as const, id: "nobody" }).slice();
    const ids = Array.from({ length: 1000 }, (_, i) => i + 1);
    connection.request(...ids.map((requestId) => requestBytes("CLUSTER", { requestId }, payload)));
    for (const id of ids) expect((await connection.reply(id)).kind).toBe("error");
    connection.close();
    await expectUnharmed();
  });
});

describe("forged members", () => {
  function command(kind: CommandKind, write: (writer: ByteWriter) => void): Uint8Array {
    const writer = new ByteWriter();
    const start = beginCommand(writer, kind, { ...NO_SESSION, count: 1 });
    write(writer);
    endCommand(writer, start);
    return writer.copy();
  }

  function membership(members: readonly Partial<Member>[]): Uint8Array {
    const whole = members.map((member, i): Member => {
      const address = `127.0.0.1:${i + 1}`;
      return { id: `m${i}`, address, role: "voter", incarnation: "", ...member };
    });
    return membershipBatch(whole, 0).bytes.slice(BATCH_HEADER_SIZE);
  }

  const many = (count: number): Partial<Member>[] => Array.from({ length: count }, () => ({}));
  const bodies: readonly (readonly [string, () => Uint8Array])[] = [
    ["65 members", () => membership(many(65))],
    ["one twice", () => membership([{ id: "n1" }, { id: "n1" }])],
    ["an unknown role", () => membership([{ role: "king" as "voter" }])],
    ["nobody", () => membership([])],
    ["learners only", () => membership([{ role: "learner" }, { role: "standby" }])],
    ["an address that is none", () => membership([{ id: "n1" }, { address: "nowhere at all" }])],
    ["an empty id", () => membership([{ id: "" }])],
    ["an id of 60,000 bytes", () => membership([{ id: "x".repeat(60_000) }])],
    ["a count without members", () => command("MEMBERSHIP", (writer) => writer.u32(64))],
    ["a huge count", () => command("MEMBERSHIP", (writer) => writer.u32(2 ** 32 - 1))],
    ["bytes behind the members", () => command("MEMBERSHIP", (writer) => writer.u32(0).u8(1))],
    ["bindings that are cut off", () => command("BIND", (writer) => writer.u32(3).text("n1"))],
    ["a huge count of bindings", () => command("BIND", (writer) => writer.u32(2 ** 32 - 1))],
    [
      "a million bindings",
      () =>
        command("BIND", (writer) => {
          const one = { id: "n1", incarnation: "" };
          writeBindings(
            writer,
            Array.from({ length: 500_000 }, () => one),
          );
        }),
    ],
    ["sessions that are cut off", () => command("EXPIRE_SESSIONS", (writer) => writer.u32(9))],
  ];

  for (const [name, body] of bodies) {
    test(`${name}: the connection ends, the log stays as it is`, async () => {
      const { lastIndex, term } = nodeOf(victim).driver.view;
      const [last] = nodeOf(victim).log.readFromDisk(lastIndex, 1);
      if (last === undefined) throw new RangeError("the last entry is kept");
      const firstSequence = last.firstSequence + last.count;
      const commands = body();
      const place = { term, index: lastIndex + 1, firstSequence };
      const fields = { codec: "none", rawSize: commands.byteLength } as const;
      const entries = [batchOf(place, commands, fields)];
      const connection = await impersonate(victim, leader);
      const previous = { term: last.term, index: lastIndex };
      const append = { previous, commitIndex: lastIndex, entries };
      connection.send(forged({ type: "APPEND_ENTRIES", term, ...append }));
      expect((await connection.refusal()).code).toBe("PROTOCOL");
      await expectUnharmed();
    });
  }
});

describe("strangers", () => {
  test("a node nobody knows, at an address that is none: refused or let in, nothing more", async () => {
    const { clusterId } = nodeOf(victim);
    for (const address of ["nowhere", "a b:1", "host:99999", ":", "x".repeat(200), "\u0000:1"]) {
      const connection = await RawConnection.open(victim.address);
      const hello = { role: "peer", nodeId: "stranger", incarnation: "1".repeat(16) } as const;
      const fields = helloOf({ ...hello, clusterId, address });
      connection.sendFrame("HELLO", encodeHello(fields));
      await waitFor("an answer", () => connection.isClosed || connection.frames.length > 0);
      expect(["ERROR", "WELCOME"]).toContain(connection.frames[0]?.kind ?? "none");
      connection.close();
    }
    await expectUnharmed();
  });

  test("many of them are reached for within a bound", async () => {
    const { clusterId } = nodeOf(victim);
    for (let i = 0; i < 150; i += 1) {
      const nodeId = `stranger-${i}`;
      const incarnation = String(i).padStart(16, "0");
      const fields = {
        role: "peer",
        clusterId,
        nodeId,
        incarnation,
        address: "127.0.0.1:1",
      } as const;
      const connection = await RawConnection.shake(victim.address, fields);
      connection.close();
    }
    const { network } = nodeOf(victim);
    const ids = Array.from({ length: 150 }, (_, i) => `stranger-${i}`);
    const linked = ids.filter((id) => network?.linkHealth(id) !== undefined);
    expect(linked.length).toBeLessThanOrEqual(64);
    await expectUnharmed();
  });
});

describe("SNAPSHOT messages", () => {
  type Fields = Partial<{ -readonly [K in keyof SnapshotMessage]: SnapshotMessage[K] }> & {
    readonly type: SnapshotMessage["type"];
    readonly [field: string]: unknown;
  };

  function frame(fields: Fields): Uint8Array {
    const index = nodeOf(victim).driver.view.commitIndex + 1000;
    const { term } = nodeOf(victim).driver.view;
    const base = { index: fields.index ?? index, term, nextSequence: 5000 };
    const rest = { from: "", to: "", term, index, checksum: 7n, base, size: 1000, offset: 0 };
    const body = { bytes: new Uint8Array(10), status: "receiving" };
    return encodeSnapshotMessage({ ...rest, ...body, ...fields } as unknown as SnapshotMessage);
  }

  function partials(): string[] {
    const folder = `${victim.dataDirectory}/snapshots`;
    return readdirSync(folder).filter((name) => !name.endsWith(".snapshot"));
  }

  async function send(...frames: readonly Uint8Array[]): Promise<RawConnection> {
    const connection = await impersonate(victim, leader);
    for (const bytes of frames) connection.send(bytes);
    await settled(connection);
    return connection;
  }

  test("a flood of offers keeps one file, and takes no room for what was promised", async () => {
    const before = process.memoryUsage.rss();
    const offers = Array.from({ length: 2000 }, (_, i) => {
      const size = i % 2 === 0 ? 2 ** 53 - 1 : 2 ** 40;
      return frame({ type: "SNAPSHOT_OFFER", checksum: BigInt(i), size });
    });
    const connection = await send(...offers);
    expect(connection.isClosed).toBe(false);
    expect(partials()).toHaveLength(1);
    const [name = ""] = partials();
    expect(statSync(`${victim.dataDirectory}/snapshots/${name}`).size).toBe(0);
    expect(process.memoryUsage.rss() - before).toBeLessThan(100 * 1024 * 1024);
    connection.close();
    await expectUnharmed();
  });

  test("chunks without an offer, of another file, or at another place write nothing", async () => {
    const offer = frame({ type: "SNAPSHOT_OFFER", checksum: 11n });
    const chunk = (fields: object): Uint8Array =>
      frame({ type: "SNAPSHOT_CHUNK", checksum: 11n, ...fields });
    const connection = await send(
      chunk({ checksum: 12n }),
      offer,
      chunk({ checksum: 12n }),
      chunk({ offset: 1 }),
      chunk({ offset: 2 ** 53 - 1 }),
      chunk({ offset: 995 }),
      chunk({ bytes: new Uint8Array(1001) }),
      chunk({ bytes: new Uint8Array(0) }),
      chunk({}),
      chunk({}),
      chunk({ offset: 10, bytes: new Uint8Array(991) }),
    );
    const [name = ""] = partials();
    expect(statSync(`${victim.dataDirectory}/snapshots/${name}`).size).toBe(10);
    connection.close();
    await expectUnharmed();
  });

  test("sizes 0 and 1, and a file of noise: refused and removed", async () => {
    for (const size of [0, 1, 1000]) {
      const checksum = BigInt(100 + size);
      const bytes = new Uint8Array(size).fill(7);
      const chunks = size === 0 ? [] : [frame({ type: "SNAPSHOT_CHUNK", checksum, bytes })];
      const offer = frame({ type: "SNAPSHOT_OFFER", checksum, size });
      const connection = await send(offer, ...chunks);
      await waitFor("the file to go", () => partials().length === 0);
      connection.close();
    }
    await expectUnharmed();
  });

  test("terms out of reach, and indexes that are committed or absurd", async () => {
    const far = 2 ** 53 - 1;
    const { term } = nodeOf(victim).driver.view;
    const offers = [far, term + 2_000_000, 0].flatMap((other) => {
      return [1, far].map((index) =>
        frame({ type: "SNAPSHOT_OFFER", term: other, index, size: 0, checksum: 200n }),
      );
    });
    const progress = ["receiving", "done", "refused"].map((status) =>
      frame({ type: "SNAPSHOT_PROGRESS", offset: far, status, term: far }),
    );
    const connection = await send(...offers, ...progress);
    connection.close();
    await waitFor("the files to go", () => partials().length === 0);
    expect(nodeOf(victim).driver.view.term).toBe(term);
    await expectUnharmed();
  });

  test("the leader is not moved by progress of transfers that it does not make", async () => {
    victim = leader;
    const [follower] = await cluster.followers();
    if (follower === undefined) throw new RangeError("three nodes run");
    const connection = await impersonate(leader, follower);
    for (let i = 0; i < 500; i += 1) {
      for (const status of ["receiving", "done", "refused"]) {
        connection.send(frame({ type: "SNAPSHOT_PROGRESS", offset: i, status }));
      }
    }
    await settled(connection);
    connection.close();
    await expectUnharmed();
  });

  test("messages that are cut, padded or of an unknown type end the connection", async () => {
    const whole = frame({ type: "SNAPSHOT_CHUNK" }).slice(24);
    const status = frame({ type: "SNAPSHOT_PROGRESS" }).slice(24);
    status[status.byteLength - 1] = 3;
    const bodies = [
      whole.subarray(0, -1),
      whole.subarray(0, 30),
      whole.subarray(0, 1),
      Uint8Array.of(...whole, 0),
      status,
      Uint8Array.of(16, 2, ...new Uint8Array(48)),
      Uint8Array.of(19, 0, ...new Uint8Array(48)),
      Uint8Array.of(16, 0, ...new Uint8Array(48).fill(255)),
    ];
    for (const body of bodies) {
      const connection = await impersonate(victim, leader);
      connection.sendFrame("REPLICATION", body);
      expect((await connection.refusal()).code).toBe("PROTOCOL");
    }
    await expectUnharmed();
  });
});
