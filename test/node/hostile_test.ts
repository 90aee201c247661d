/**
 * Hostile inputs against a running node: whatever arrives, the node answers as documented, stays
 * up, goes on serving others, and takes no memory for what was only claimed.
 *
 * @module
 */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import type { Collection, Item } from "../../src/api/collection.ts";
import { ByteWriter, encodeText } from "../../src/base/bytes.ts";
import {
  DOCUMENT_DEPTH_MAX,
  FRAME_BODY_SIZE_MAX,
  FRAME_TIMEOUT_MS,
  HANDSHAKE_BODY_SIZE_MAX,
  HANDSHAKE_TIMEOUT_MS,
} from "../../src/base/limits.ts";
import type { RemoteDatabase } from "../../src/client/remote_database.ts";
import { decodeCbor, encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import { checksum32, checksum64 } from "../../src/protocol/encoding/checksum.ts";
import { encodeCollectionName } from "../../src/protocol/encoding/command.ts";
import { encodeKey } from "../../src/protocol/encoding/document_key.ts";
import { readOperationResults } from "../../src/protocol/encoding/operation_result.ts";
import { encodeFrame, FRAME_HEADER_SIZE } from "../../src/protocol/wire/frame_header.ts";
import { encodeHello } from "../../src/protocol/wire/handshake.ts";
import {
  documentsCommand,
  helloOf,
  hex,
  joined,
  openSession,
  putOf,
  RawConnection,
  type Reply,
  requestBytes,
} from "./raw_connection.ts";
import { TestCluster, waitFor } from "./test_cluster.ts";

const MIB = 1024 * 1024;
const NOTHING = new Uint8Array(0);

let cluster: TestCluster;
let witness: RemoteDatabase;
let documents: Collection<Item>;
let address = "";
let rssBefore = 0;
let writes = 0;

beforeAll(async () => {
  cluster = await TestCluster.start(1);
  address = cluster.seats[0]?.address ?? "";
  witness = await cluster.connect();
  documents = witness.collection("witness");
  await documents.put({ id: "before", n: 1 });
  rssBefore = process.memoryUsage.rss();
});

// Every row ends like this: nobody else noticed anything.
afterEach(async () => {
  writes += 1;
  await documents.put({ id: `after-${writes}`, n: writes });
  expect(await documents.findById("before")).toEqual({ id: "before", n: 1 });
  expect(cluster.seats[0]?.fatal).toBeUndefined();
  expect(process.memoryUsage.rss() - rssBefore).toBeLessThan(400 * MIB);
  expect(({} as { x?: unknown }).x).toBeUndefined();
});

afterAll(async () => {
  await cluster.stop();
});

function platform(): TestCluster["seats"][number]["platform"] {
  const seat = cluster.seats[0];
  if (seat === undefined) throw new RangeError("the cluster has a node");
  return seat.platform;
}

/** Connections of strangers: all but the witness' one. */
function strangers(): number {
  return platform().incoming.size - 1;
}

async function shake(): Promise<RawConnection> {
  return RawConnection.shake(address);
}

/** Puts raw document bytes; gives the answer, after which the connection must still work. */
async function putRaw(document: Uint8Array, id = "raw"): Promise<Reply> {
  const connection = await shake();
  const reply = await connection.command(1, documentsCommand("hostile", [putOf(id, document)]));
  expect((await connection.command(2, openSession())).kind).toBe("written");
  connection.close();
  return reply;
}

/** A map with its id as one more field: nothing is stored under a key that it does not hold. */
function keyed(map: Uint8Array, id: string): Uint8Array {
  const more = map.slice();
  more[map[0] === 0xb9 ? 2 : 0]! += 1;
  return joined(more, encodeCbor("id").slice(), encodeCbor(id).slice());
}

async function expectRefused(document: Uint8Array, why: RegExp): Promise<void> {
  const before = await documents.count();
  const reply = await putRaw(document, "refused");
  expect(reply.kind).toBe("error");
  if (reply.kind === "error") {
    expect(reply.error.code).toBe("VALIDATION");
    expect(reply.error.message).toMatch(why);
  }
  expect(await readRaw("refused")).toBeUndefined();
  expect(await documents.count()).toBe(before);
}

/** The stored bytes of a document. */
async function readRaw(id: string | number): Promise<Uint8Array | undefined> {
  const connection = await shake();
  const name = encodeCollectionName("hostile");
  const writer = new ByteWriter(64).u8(0).u8(name.byteLength).raw(name).raw(encodeKey(id));
  connection.request(requestBytes("READ", { requestId: 1 }, writer.copy()));
  const reply = await connection.reply(1);
  connection.close();
  if (reply.kind !== "result") throw new Error("a read is answered with a result");
  return readOperationResults(reply.payload)[0]?.document?.slice();
}

/** A header that is right in itself, with any size, version and kind. */
function headerOf(fields: {
  readonly kind?: number;
  readonly version?: number;
  readonly bodySize?: number;
  readonly body?: Uint8Array;
}): Uint8Array {
  const { kind = 6, version = 1, body = NOTHING } = fields;
  const bytes = new Uint8Array(FRAME_HEADER_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint16(4, 0x5343, true);
  view.setUint8(6, version);
  view.setUint8(7, kind);
  view.setUint32(8, fields.bodySize ?? body.byteLength, true);
  view.setBigUint64(16, checksum64(body), true);
  view.setUint32(0, checksum32(bytes.subarray(4)), true);
  return bytes;
}

function commandFrame(id: string): Uint8Array {
  const put = documentsCommand("hostile", [putOf(id, encodeCbor({ id }).slice())]);
  return encodeFrame("REQUESTS", 0, requestBytes("COMMAND", { requestId: 1 }, put));
}

describe("row 1: another protocol on the port", () => {
  const inputs: readonly (readonly [string, Uint8Array, RegExp])[] = [
    ["HTTP", encodeText("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), /looks like HTTP/],
    ["TLS", hex(`160301 0200 0100 01fc 0303 ${"ab".repeat(32)}`), /looks like TLS/],
    ["random bytes", hex("9f3c".repeat(40)), /not cstore frames/],
    ["zeros", new Uint8Array(1000), /not cstore frames/],
  ];
  for (const [name, bytes, message] of inputs) {
    test(`row 1: ${name} is answered with a PROTOCOL error that names it, and the end`, async () => {
      const connection = await RawConnection.open(address);
      connection.send(bytes);
      const error = await connection.refusal();
      expect(error.code).toBe("PROTOCOL");
      expect(error.message).toMatch(message);
    });
  }
});

test("row 3: who connects and says nothing is cut off at the handshake's limit", async () => {
  const connection = await RawConnection.open(address);
  await waitFor("the connection", () => strangers() === 1);
  platform().clock.advance(HANDSHAKE_TIMEOUT_MS - 500);
  expect(connection.isClosed).toBe(false);
  platform().clock.advance(501);
  expect((await connection.refusal()).message).toContain("handshake");
  await waitFor("its end", () => strangers() === 0);
});

test("row 4: one byte a second does not keep a frame alive, before and after the handshake", async () => {
  const early = await RawConnection.open(address);
  const late = await shake();
  const frame = commandFrame("drip");
  await waitFor("both", () => strangers() === 2);
  early.send(encodeFrame("HELLO", 0, encodeHello(helloOf())).subarray(0, 30));
  for (let i = 0; i < FRAME_TIMEOUT_MS / 1000 && !late.isClosed; i += 1) {
    late.send(frame.subarray(i, i + 1));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(late.isClosed).toBe(false);
    platform().clock.advance(1000);
  }
  expect((await early.refusal()).message).toContain("handshake");
  expect((await late.refusal()).message).toContain(`${FRAME_TIMEOUT_MS} ms`);
  expect(await readRaw("drip")).toBeUndefined();
});

// A timer that is not stopped would end every quiet connection.
test("row 4: silence between frames is no fault", async () => {
  const connection = await shake();
  connection.send(commandFrame("quiet"));
  expect((await connection.reply(1)).kind).toBe("written");
  platform().clock.advance(10 * FRAME_TIMEOUT_MS);
  connection.send(commandFrame("quiet"));
  expect((await connection.reply(1)).kind).toBe("written");
  connection.close();
});

describe("row 5: sizes that are claimed", () => {
  for (const bodySize of [FRAME_BODY_SIZE_MAX + 1, 2 ** 31, 2 ** 32 - 1]) {
    test(`row 5: ${bodySize} bytes are refused at the header`, async () => {
      const connection = await shake();
      const before = process.memoryUsage.rss();
      connection.send(headerOf({ bodySize }));
      const error = await connection.refusal();
      expect([error.code, error.message]).toEqual([
        "PROTOCOL",
        expect.stringContaining(`${bodySize} bytes exceed ${FRAME_BODY_SIZE_MAX}`),
      ]);
      expect(process.memoryUsage.rss() - before).toBeLessThan(64 * MIB);
    });
  }

  test("row 5: before the handshake the limit is lower", async () => {
    const connection = await RawConnection.open(address);
    connection.send(headerOf({ kind: 1, bodySize: HANDSHAKE_BODY_SIZE_MAX + 1 }));
    expect((await connection.refusal()).message).toContain(`exceed ${HANDSHAKE_BODY_SIZE_MAX}`);
  });

  test("row 5: an empty frame of requests asks nothing, an empty HELLO is refused", async () => {
    const connection = await shake();
    connection.send(headerOf({ bodySize: 0 }));
    expect((await connection.command(1, openSession())).kind).toBe("written");
    connection.close();
    const stranger = await RawConnection.open(address);
    stranger.send(headerOf({ kind: 1, bodySize: 0 }));
    expect((await stranger.refusal()).code).toBe("PROTOCOL");
  });

  test.each([0, 1, 9, 100_000, 2 ** 31, 2 ** 32 - 1])(
    "row 5: a request that claims %d bytes ends the connection",
    async (size) => {
      const connection = await shake();
      const request = requestBytes("STATUS", { requestId: 1 });
      new DataView(request.buffer).setUint32(0, size, true);
      connection.request(request);
      expect((await connection.refusal()).code).toBe("PROTOCOL");
    },
  );

  test.each([0, 31, 33, 2 ** 31, 2 ** 32 - 1])(
    "row 5: a command that claims %d bytes is refused, the connection goes on",
    async (size) => {
      const connection = await shake();
      const command = openSession();
      new DataView(command.buffer).setUint32(0, size, true);
      const reply = await connection.command(1, command);
      expect(reply).toMatchObject({ kind: "error", error: { code: "VALIDATION" } });
      expect((await connection.command(2, openSession())).kind).toBe("written");
      connection.close();
    },
  );
});

test("row 5: an empty query in front of another request is refused, the connection goes on", async () => {
  // History: the size of the next request, 0x100, was read as the level of the query.
  const connection = await shake();
  const query = requestBytes("QUERY", { requestId: 1 });
  connection.request(query, requestBytes("STATUS", { requestId: 2 }, new Uint8Array(246)));
  const reply = await connection.reply(1);
  expect(reply).toMatchObject({ kind: "error", error: { code: "VALIDATION" } });
  expect((await connection.command(3, openSession())).kind).toBe("written");
  connection.close();
});

test("row 6: a frame cut at every byte applies nothing and leaves no connection behind", async () => {
  const frame = commandFrame("cut");
  const connections = await Promise.all(Array.from(frame, () => shake()));
  for (const [size, connection] of connections.entries()) {
    connection.send(frame.subarray(0, size));
    connection.close();
  }
  await waitFor("all of them to be gone", () => strangers() === 0);
  expect(await readRaw("cut")).toBeUndefined();
});

test("row 6: a handshake cut at every byte leaves no connection behind", async () => {
  const hello = encodeFrame("HELLO", 0, encodeHello(helloOf()));
  for (let size = 0; size < hello.byteLength; size += 7) {
    const connection = await RawConnection.open(address);
    connection.send(hello.subarray(0, size));
    connection.close();
  }
  await waitFor("all of them to be gone", () => strangers() === 0);
});

test("row 7: single bytes, and a thousand frames in one write, are answered as ever", async () => {
  const connection = await shake();
  for (const byte of commandFrame("byte by byte")) connection.send(Uint8Array.of(byte));
  expect((await connection.reply(1)).kind).toBe("written");
  const frames = Array.from({ length: 1000 }, (_, i) => {
    const put = documentsCommand("thousand", [putOf(i, encodeCbor({ i }).slice())]);
    return encodeFrame("REQUESTS", 0, requestBytes("COMMAND", { requestId: 10 + i }, put));
  });
  connection.send(joined(...frames));
  const versions = new Set<number>();
  for (let i = 0; i < 1000; i += 1) {
    const reply = await connection.reply(10 + i);
    if (reply.kind === "written") versions.add(reply.version);
  }
  expect(versions.size).toBe(1000);
  expect(await witness.collection("thousand").count()).toBe(1000);
  connection.close();
});

test("row 8: a bit flipped anywhere in a frame is found, and nothing of it is applied", async () => {
  const frame = commandFrame("flipped");
  await Promise.all(
    Array.from(frame, async (byte, at) => {
      const connection = await shake();
      const flipped = frame.slice();
      flipped[at] = byte ^ (1 << (at % 8));
      connection.send(flipped);
      // A frame that seems longer than it is would wait for the rest.
      const error = await connection.refusal();
      expect(error.code).toBe("PROTOCOL");
    }),
  );
  expect(await readRaw("flipped")).toBeUndefined();
});

describe("row 9: unknown versions, kinds and flags", () => {
  test.each([
    ["version 0", { version: 0 }, /version 0 is unknown/],
    ["version 2", { version: 2 }, /version 2 is unknown/],
    ["kind 0", { kind: 0 }, /kind 0 is unknown/],
    ["kind 11", { kind: 11 }, /kind 11 is unknown/],
    ["kind 255", { kind: 255 }, /kind 255 is unknown/],
    ["a second HELLO", { kind: 1 }, /HELLO/],
    ["a WELCOME", { kind: 2 }, /WELCOME/],
    ["REPLIES", { kind: 7 }, /REPLIES/],
    ["REPLICATION", { kind: 8 }, /REPLICATION/],
    ["LEADER", { kind: 9 }, /LEADER/],
    ["GOODBYE", { kind: 10 }, /GOODBYE/],
  ] as const)(
    "row 9: %s from a client is PROTOCOL, and the end",
    async (_name, fields, message) => {
      const connection = await shake();
      connection.send(headerOf(fields));
      const error = await connection.refusal();
      expect(error.code).toBe("PROTOCOL");
      expect(error.message).toMatch(message);
    },
  );

  test.each([2, 3, 4, 5, 6, 8, 10])("row 9: kind %d before HELLO is PROTOCOL", async (kind) => {
    const connection = await RawConnection.open(address);
    connection.send(headerOf({ kind }));
    expect((await connection.refusal()).code).toBe("PROTOCOL");
  });

  test.each([
    [4, 0],
    [4, 9],
    [4, 255],
    [5, 1],
    [5, 128],
  ])("row 9: a request with %d set to %d is PROTOCOL, and the end", async (at, value) => {
    const connection = await shake();
    const request = requestBytes("STATUS", { requestId: 1 });
    request[at] = value;
    connection.request(request);
    expect((await connection.refusal()).code).toBe("PROTOCOL");
  });

  // Command: 4 kind, 5 flags. Operation, behind the name "c": 0 kind, 1 flags.
  test.each([
    ["command kind 0", 4, 0],
    ["command kind 3, the cluster's own", 4, 3],
    ["command kind 5, the cluster's own", 4, 5],
    ["command kind 6, the cluster's own", 4, 6],
    ["command kind 8", 4, 8],
    ["command flags", 5, 1],
    ["operation kind 0", 34, 0],
    ["command kind 11, the cluster's own", 4, 11],
    ["command kind 12", 4, 12],
    ["command kind 13, the cluster's own", 4, 13],
    ["operation kind 6", 34, 6],
    ["operation flags", 35, 8],
  ] as const)("row 9: %s is VALIDATION, and the connection goes on", async (_name, at, value) => {
    const connection = await shake();
    const command = documentsCommand("c", [putOf("x", encodeCbor({ id: "x" }).slice())]);
    command[at] = value;
    const reply = await connection.command(1, command);
    expect(reply).toMatchObject({ kind: "error", error: { code: "VALIDATION" } });
    expect((await connection.command(2, openSession())).kind).toBe("written");
    connection.close();
  });
});

describe("row 13: CBOR that lies about lengths", () => {
  test.each([
    ["a map of 4 Gi pairs", "baffffffff"],
    ["a map of 2^64 - 1 pairs", "bbffffffffffffffff"],
    ["an array of 4 Gi items", "a161619affffffff"],
    ["a text of 4 GiB", "a161617affffffff"],
    ["bytes of 2^64 - 1", "a161615bffffffffffffffff"],
    ["one item too few", "a161618201"],
    ["a text one byte longer than the rest", "a161616261"],
    ["bytes behind the map", "a000"],
    ["nothing at all", ""],
    ["only a head", "b9"],
    ["an indefinite map", "bf616101ff"],
    ["an array instead of a map", "8101"],
    ["a number instead of a map", "01"],
  ])("row 13: %s is VALIDATION", async (_name, bytes) => {
    const before = process.memoryUsage.rss();
    await expectRefused(hex(bytes), /document/);
    expect(process.memoryUsage.rss() - before).toBeLessThan(64 * MIB);
  });
});

describe("row 14: nesting", () => {
  /** A map that holds arrays in arrays, `depth` levels in all. */
  function nested(depth: number): Uint8Array {
    return joined(hex("a16161"), new Uint8Array(depth - 2).fill(0x81), hex("80"));
  }

  test("row 14: the deepest allowed document is stored as it came", async () => {
    const document = keyed(nested(DOCUMENT_DEPTH_MAX), "deep");
    expect((await putRaw(document, "deep")).kind).toBe("written");
    expect(await readRaw("deep")).toEqual(document);
  });

  test.each([DOCUMENT_DEPTH_MAX + 1, 200_000])("row 14: %d levels are refused", async (depth) => {
    await expectRefused(nested(depth), /deep|nest|level/i);
  });

  test("row 14: 200,000 maps in maps are refused", async () => {
    const levels = new Uint8Array(600_000);
    for (let at = 0; at < levels.byteLength; at += 3) levels.set([0xa1, 0x61, 0x61], at);
    await expectRefused(joined(levels, hex("01")), /deep|nest|level/i);
  });
});

// 331 bytes made 268 million elements of a decoder that follows such tags.
test("row 15: packed tables, shared references and cycles are refused before they unfold", async () => {
  const bomb = joined(hex("a16161"), ...Array.from({ length: 24 }, () => hex("d833 82 8201e0e0")));
  const shared = hex("a16161 d81c 82 d81d00 d81d00");
  const cycle = hex("a16161 d81c 81 d81d00");
  for (const document of [bomb, shared, cycle]) await expectRefused(document, /tag/i);
});

test("row 16: a big integer of a megabyte is refused without being read", async () => {
  const size = 1_000_000;
  const head = new ByteWriter(16).raw(hex("a16161 c2 5a"));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, size, false);
  const document = joined(head.copy(), length, new Uint8Array(size).fill(0xff));
  await expectRefused(document, /tag/i);
  await expectRefused(hex("a16161 c249010000000000000000"), /tag/i);
});

describe("row 17: tags other than dates", () => {
  test.each([
    ["a date as text", "c0 6161"],
    ["a regular expression", "d81b 82 66526567457870 61 28"],
    ["an error", "d81b 82 654572726f72 6178"],
    ["a set", "d90102 8101"],
    ["a map with any keys", "d90103 a10102"],
    ["a record", "d9dfff 8401816161 00 01"],
    ["an unknown tag", "d9ffff 01"],
    ["a 64-bit tag", "dbffffffffffffffff 01"],
    ["a typed array on a map", "d840 a166627566666572 1affffffff"],
    ["self-described CBOR", "d9d9f7 a0"],
    ["a date on a text", "c1 6161"],
    ["a date that is not finite", "c1 f97e00"],
    ["a date with a long head", "d801 00"],
  ])("row 17: %s is VALIDATION", async (_name, bytes) => {
    await expectRefused(joined(hex("a16161"), hex(bytes)), /document is refused/);
  });
});

describe("row 18: keys", () => {
  test("row 18: __proto__ is refused at any depth, in every kind of write", async () => {
    await expectRefused(hex("a1 69 5f5f70726f746f5f5f a1 6178 01"), /__proto__/);
    await expectRefused(hex("a1 6161 a1 69 5f5f70726f746f5f5f a1 6178 01"), /__proto__/);
    const connection = await shake();
    const document = hex("a1 69 5f5f70726f746f5f5f a1 6178 01");
    for (const kind of ["INSERT", "MERGE"] as const) {
      const operation = { kind, key: encodeKey("before"), document };
      const reply = await connection.command(1, documentsCommand("witness", [operation]));
      expect(reply).toMatchObject({ kind: "error", error: { code: "VALIDATION" } });
    }
    connection.close();
  });

  test("row 18: constructor, prototype and the empty key are plain data", async () => {
    const plain = { id: "plain", constructor: { prototype: { x: 1 } }, prototype: 2, "": 3 };
    await documents.put(plain);
    expect(await documents.findById("plain")).toEqual(plain);
    const merged = await documents.update("plain", { constructor: { name: "n" } } as never);
    expect(Object(merged)["constructor"]).toEqual({ prototype: { x: 1 }, name: "n" });
  });

  test("row 18: a key of a megabyte is stored if the document fits, else refused", async () => {
    const key = "k".repeat(1_000_000);
    await documents.put({ id: "long key", [key]: 1 });
    expect(Object.keys((await documents.findById("long key")) ?? {})).toEqual(["id", key]);
    await documents.remove("long key");
    const tooLong = documents.put({ id: "longer", ["k".repeat(MIB)]: 1 });
    await expect(tooLong).rejects.toMatchObject({ code: "VALIDATION" });
  });

  test.each(["a10102", "a1f601", "a1416101", "a1810101"])(
    "row 18: a key that is no text is refused: %s",
    async (bytes) => {
      await expectRefused(hex(bytes), /key/);
    },
  );

  test("row 18: ids and collections with such names are names like others", async () => {
    for (const name of ["__proto__", "constructor", "toString", "../../etc", "a/b", "a\0b"]) {
      const collection = witness.collection(name);
      await collection.put({ id: name, n: 1 });
      expect(await collection.findById(name)).toEqual({ id: name, n: 1 });
      expect(await collection.count()).toBe(1);
      expect(await collection.findById("valueOf")).toBeUndefined();
    }
  });
});

describe("row 19: values with one written rule each", () => {
  test.each([
    ["bad UTF-8", "a161 61 62 c328"],
    ["an overlong form", "a1 6161 62 c080"],
    ["a lone surrogate", "a1 6161 63 eda080"],
    ["NaN", "a1 6161 f97e00"],
    ["a 64-bit NaN", "a1 6161 fb7ff8000000000000"],
    ["infinity", "a1 6161 f97c00"],
    ["undefined", "a1 6161 f7"],
    ["a simple value", "a1 6161 f0"],
  ])("row 19: %s is refused", async (_name, bytes) => {
    await expectRefused(hex(bytes), /document is refused/);
  });

  test.each([
    ["a key twice: every reader takes the last", "a2 6161 01 6161 02", { a: 2 }],
    ["-0", "a1 6161 f98000", { a: -0 }],
    ["2^53 + 1", "a1 6161 1b0020000000000001", { a: 9_007_199_254_740_993n }],
    ["2^64 - 1", "a1 6161 1bffffffffffffffff", { a: 18_446_744_073_709_551_615n }],
    ["a head longer than needed", "b90001 6161 1900 01", { a: 1 }],
  ])("row 19: %s is stored as it came", async (_name, bytes, value) => {
    const document = keyed(hex(bytes), "kept");
    expect((await putRaw(document, "kept")).kind).toBe("written");
    const stored = await readRaw("kept");
    expect(stored).toEqual(document);
    expect(decodeCbor(stored ?? NOTHING)).toEqual({ ...value, id: "kept" });
  });

  test("row 19: what our own encoder does with them is written, too", async () => {
    const odd = { id: "odd", zero: -0, none: undefined, list: [undefined] };
    await documents.put(odd as never);
    expect(await documents.findById("odd")).toEqual({ id: "odd", zero: 0, list: [null] });
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, "\ud800", 2n ** 64n]) {
      await expect(documents.put({ id: "bad", bad })).rejects.toMatchObject({ code: "VALIDATION" });
    }
  });
});

describe("row 31: a request that comes twice", () => {
  test("row 31: the same bytes get the same answer and are applied once", async () => {
    const connection = await shake();
    const opened = await connection.command(1, openSession());
    const sessionId = opened.kind === "written" ? opened.version : 0;
    const identity = { sessionId, requestNumber: 1, acknowledgedBelow: 1 };
    const document = encodeCbor({ id: "once" }).slice();
    const insert = documentsCommand(
      "once",
      [{ kind: "INSERT", key: encodeKey("once"), document }],
      identity,
    );
    const first = await connection.command(2, insert);
    expect(first.kind).toBe("written");
    expect(await connection.command(3, insert)).toEqual(first);
    const other = await shake();
    expect(await other.command(4, insert)).toEqual(first);
    // Both in one turn, in one frame.
    const second = documentsCommand(
      "once",
      [
        {
          kind: "INSERT",
          key: encodeKey("second"),
          document: encodeCbor({ id: "second" }).slice(),
        },
      ],
      { ...identity, requestNumber: 2 },
    );
    other.request(
      requestBytes("COMMAND", { requestId: 5 }, second),
      requestBytes("COMMAND", { requestId: 6 }, second),
    );
    expect(await other.reply(6)).toEqual(await other.reply(5));
    expect(await witness.collection("once").count()).toBe(2);
    connection.close();
    other.close();
  });

  test("row 31: other bytes under a used number are refused, and so is an old number", async () => {
    const connection = await shake();
    const opened = await connection.command(1, openSession());
    const sessionId = opened.kind === "written" ? opened.version : 0;
    const put = (id: string, requestNumber: number, acknowledgedBelow: number): Uint8Array =>
      documentsCommand("twice", [putOf(id, encodeCbor({ id }).slice())], {
        sessionId,
        requestNumber,
        acknowledgedBelow,
      });
    expect((await connection.command(2, put("a", 1, 1))).kind).toBe("written");
    const other = await connection.command(3, put("b", 1, 1));
    expect(other).toMatchObject({ kind: "error", error: { code: "DUPLICATE_REQUEST" } });
    expect((await connection.command(4, put("c", 2, 2))).kind).toBe("written");
    const old = await connection.command(5, put("a", 1, 1));
    expect(old).toMatchObject({ kind: "error", error: { code: "DUPLICATE_REQUEST" } });
    const foreign = documentsCommand("twice", [putOf("d", encodeCbor({ id: "d" }).slice())], {
      sessionId: 2 ** 52,
      requestNumber: 1,
      acknowledgedBelow: 1,
    });
    const unknown = await connection.command(6, foreign);
    expect(unknown).toMatchObject({ kind: "error", error: { code: "SESSION_EXPIRED" } });
    const far = await connection.command(7, put("e", 2 + 4096, 2));
    expect(far).toMatchObject({ kind: "error", error: { code: "OVERLOADED" } });
    expect(await witness.collection("twice").count()).toBe(2);
    connection.close();
  });
});
