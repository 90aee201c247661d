/**
 * The commands of consensus: members, bindings, ends of sessions; refusals of malformed bodies.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ByteWriter } from "../../../src/base/bytes.ts";
import { ProtocolError } from "../../../src/base/errors.ts";
import {
  BATCH_HEADER_SIZE,
  type PreparedBatch,
  sealBatch,
  verifyBatch,
} from "../../../src/protocol/encoding/batch_codec.ts";
import { checksum64 } from "../../../src/protocol/encoding/checksum.ts";
import {
  bindingsIn,
  clusterBatch,
  clusterIdOf,
  digestBatch,
  documentsBatch,
  expiredIn,
  FIRST_PLACE,
  firstBatch,
  firstMembers,
  indexReadyBatch,
  isAboutMembers,
  MEMBER_ROLES,
  MEMBERS_MAX,
  membershipBatch,
  membersIn,
  noopBatch,
  readBindings,
  readMembers,
  readSessionIds,
  writeBindings,
  writeSessionIds,
} from "../../../src/protocol/encoding/cluster_command.ts";
import {
  COMMAND_HEADER_SIZE,
  type DocumentOperation,
} from "../../../src/protocol/encoding/command.ts";
import { encodeKey } from "../../../src/protocol/encoding/document_key.ts";
import type { Member } from "../../../src/raft/configuration.ts";
import { fuzzRandom, mutate, rounds, seeded } from "../fuzz_seed.ts";

const PLACE = { term: 3, index: 7, firstSequence: 20 };

function member(i: number): Member {
  const role = MEMBER_ROLES[i % MEMBER_ROLES.length] ?? "voter";
  const incarnation = i % 2 === 0 ? "" : "8899aabbccddeeff";
  return {
    id: `n${String(i).padStart(2, "0")}`,
    address: `127.0.0.1:${7000 + i}`,
    role,
    incarnation,
  };
}

function members(count: number): Member[] {
  return Array.from({ length: count }, (_, i) => member(i));
}

function bodyOf(given: readonly Member[]): Uint8Array {
  return membershipBatch(given, 5).bytes.slice(BATCH_HEADER_SIZE + COMMAND_HEADER_SIZE);
}

function written(write: (writer: ByteWriter) => void): Uint8Array {
  const writer = new ByteWriter();
  write(writer);
  return writer.copy();
}

/** The command in a batch, and the fields of the sealed header. */
function shown(batch: PreparedBatch): readonly unknown[] {
  const { codec, rawSize, count, timeMs } = verifyBatch(sealBatch(batch, PLACE));
  return [hex(batch.bytes.subarray(BATCH_HEADER_SIZE)), { codec, rawSize, count, timeMs }];
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** The header of a command without a session that counts once. */
function commandHeader(size: string, kind: string): string {
  return `${size}000000${kind}000100${"00".repeat(24)}`;
}

describe("batches", () => {
  const NONE = { codec: "none", count: 1 } as const;

  test.each<readonly [string, PreparedBatch, string, object]>([
    ["NOOP", noopBatch(), commandHeader("20", "04"), { ...NONE, rawSize: 32, timeMs: 0 }],
    ["DIGEST", digestBatch(7.9), commandHeader("20", "08"), { ...NONE, rawSize: 32, timeMs: 7 }],
    [
      "INDEX_READY",
      indexReadyBatch({ collection: "c", index: "i" }, 7.9),
      `${commandHeader("38", "0b")}b900026a636f6c6c656374696f6e616365696e6465786169`,
      { ...NONE, rawSize: 56, timeMs: 7 },
    ],
    [
      "MEMBERSHIP",
      membershipBatch([{ id: "b", address: "h:2", role: "standby", incarnation: "x" }], 7),
      `${commandHeader("30", "05")}0100000001006203${"00683a3202010078"}`,
      { ...NONE, rawSize: 48, timeMs: 7 },
    ],
  ])("%s", (...[, batch, command, fields]) => {
    expect(shown(batch)).toEqual([command, fields]);
  });

  test("DOCUMENTS: each operation counts, and the time is whole", () => {
    const remove = (id: string): DocumentOperation => {
      return { kind: "REMOVE", key: encodeKey(id), document: new Uint8Array(0) };
    };
    const operations = [remove("a"), remove("b")];
    const header = `360000000100${"0200"}${"00".repeat(24)}`;
    const body = "0163" + "0400020000000000" + "0361" + "0400020000000000" + "0362";
    const fields = { codec: "none", count: 2, rawSize: 54, timeMs: 7 };
    expect(shown(documentsBatch({ collection: "c", operations }, 7.9))).toEqual([
      header + body,
      fields,
    ]);
  });
});

describe("the first entry", () => {
  const NODES = [
    { id: "n2", address: "h:2" },
    { id: "n1", address: "h:1" },
  ];

  test("every node of the list is a voter whose incarnation is not known yet", () => {
    expect(firstMembers(NODES)).toEqual([
      { id: "n2", address: "h:2", role: "voter", incarnation: "" },
      { id: "n1", address: "h:1", role: "voter", incarnation: "" },
    ]);
  });

  test("it is entry 1 of term 1, whatever the order of the list is", () => {
    const bytes = firstBatch(NODES);
    const place = { term: 1, index: 1, firstSequence: 1, count: 1, timeMs: 0 };
    expect(FIRST_PLACE).toEqual({ term: 1, index: 1, firstSequence: 1 });
    expect(verifyBatch(bytes)).toMatchObject(place);
    expect(membersIn(bytes, 1)?.map(({ id }) => id)).toEqual(["n1", "n2"]);
    expect(firstBatch([...NODES].reverse())).toEqual(bytes);
  });

  test("the cluster's id is its checksum in 16 digits", () => {
    const id = checksum64(firstBatch(NODES)).toString(16).padStart(16, "0");
    expect(clusterIdOf(NODES)).toBe(id);
    const ids = Array.from({ length: 64 }, (_, i) => clusterIdOf([{ id: `n${i}`, address: "" }]));
    expect(ids.filter((each) => !/^[0-9a-f]{16}$/.test(each))).toEqual([]);
    expect(ids.some((each) => each.startsWith("0"))).toBe(true);
  });
});

describe("members", () => {
  test.each([0, 1, 3, MEMBERS_MAX])(
    "%d members of all roles are read as they were written",
    (count) => {
      const given = members(count);
      expect(readMembers(bodyOf(given))).toEqual(given);
      expect(readMembers(bodyOf([...given].reverse()))).toEqual(given);
      const bytes = sealBatch(membershipBatch(given, 5), PLACE);
      expect(membersIn(bytes, 1)).toEqual(given);
      expect([isAboutMembers(bytes, 1), bindingsIn(bytes, 1), expiredIn(bytes, 1)]).toEqual([
        true,
        [],
        [],
      ]);
    },
  );

  test("too many, one twice, an unknown role, a cut and a byte too many are refused", () => {
    const three = bodyOf(members(3));
    const wrong = [
      bodyOf(members(MEMBERS_MAX + 1)),
      bodyOf([member(1), member(1)]),
      bodyOf([{ ...member(1), role: "king" as "voter" }]),
      written((writer) => writer.u32(2 ** 32 - 1)),
      Uint8Array.of(...three, 0),
      ...Array.from(three, (_, size) => three.subarray(0, size)),
    ];
    for (const body of wrong) expect(() => readMembers(body)).toThrow(ProtocolError);
  });

  test.each<readonly [string, Uint8Array, string]>([
    ["too many", bodyOf(members(MEMBERS_MAX + 1)), "Cannot read 65 members"],
    ["one twice", bodyOf([member(1), member(1)]), "Cannot read members: an id occurs twice"],
    [
      "an unknown role",
      bodyOf([{ ...member(1), role: "king" as "voter" }]),
      'Cannot read the role of member "n01"',
    ],
  ])("%s: the refusal says so", (_name, body, message) => {
    expect(() => readMembers(body)).toThrow(new ProtocolError(message));
  });

  test(seeded("damage gives other members or a ProtocolError"), () => {
    const random = fuzzRandom();
    const body = bodyOf(members(5));
    for (let round = 0; round < rounds(10_000); round += 1) {
      const damaged = mutate(random, body);
      try {
        expect(readMembers(damaged).length).toBeLessThanOrEqual(MEMBERS_MAX);
      } catch (error) {
        expect(error).toBeInstanceOf(ProtocolError);
      }
    }
  });
});

describe("bindings and sessions", () => {
  test("bindings are read as they were written, at most one for each member", () => {
    const bindings = members(MEMBERS_MAX).map(({ id }) => ({ id, incarnation: `of ${id}` }));
    const body = written((writer) => writeBindings(writer, bindings));
    expect(readBindings(body)).toEqual(bindings);
    const batch = clusterBatch("BIND", 0, (writer) => writeBindings(writer, bindings));
    expect(bindingsIn(sealBatch(batch, PLACE), 1)).toEqual(bindings);
    const more = written((writer) => writeBindings(writer, [...bindings, ...bindings]));
    const huge = written((writer) => writer.u32(2 ** 32 - 1));
    const wrong = [more, huge, body.subarray(0, -1), Uint8Array.of(...body, 0)];
    for (const other of wrong) expect(() => readBindings(other)).toThrow(ProtocolError);
  });

  test("session ids are read as they were written; a count beyond the bytes is refused", () => {
    const ids = [1, 2, 2 ** 53 - 1];
    const body = written((writer) => writeSessionIds(writer, ids));
    expect(readSessionIds(body)).toEqual(ids);
    const batch = clusterBatch("EXPIRE_SESSIONS", 0, (writer) => writeSessionIds(writer, ids));
    expect(expiredIn(sealBatch(batch, PLACE), 1)).toEqual(ids);
    const huge = written((writer) => writer.u32(2 ** 32 - 1).u64(1));
    for (const other of [huge, body.subarray(0, -1), Uint8Array.of(...body, 0)]) {
      expect(() => readSessionIds(other)).toThrow(ProtocolError);
    }
  });

  test("members and bindings of empty texts are read", () => {
    const empty: Member = { id: "", address: "", role: "voter", incarnation: "" };
    expect(readMembers(bodyOf([empty]))).toEqual([empty]);
    const bindings = [{ id: "", incarnation: "" }];
    expect(readBindings(written((writer) => writeBindings(writer, bindings)))).toEqual(bindings);
  });

  test("counts above the bounds are refused by number", () => {
    const bindings = written((writer) => writer.u32(MEMBERS_MAX + 1));
    expect(() => readBindings(bindings)).toThrow(new ProtocolError("Cannot read 65 bindings"));
    for (const count of [2, 8, 2 ** 32 - 1]) {
      const ids = written((writer) => writer.u32(count).u64(1));
      const message = `Cannot read ${count} session ids`;
      expect(() => readSessionIds(ids)).toThrow(new ProtocolError(message));
    }
  });

  test("bindings and ids have exactly these bytes", () => {
    const bindings = [{ id: "a", incarnation: "xy" }];
    expect(hex(written((writer) => writeBindings(writer, bindings)))).toBe(
      "01000000010061" + "02007879",
    );
    expect(hex(written((writer) => writeSessionIds(writer, [1, 258])))).toBe(
      "02000000" + "0100000000000000" + "0201000000000000",
    );
  });

  // The kind stands in the 69th byte: bytes too short for a command have no kind.
  test("a batch without a whole command, and a compressed one, are about no members", () => {
    const short = new Uint8Array(BATCH_HEADER_SIZE + COMMAND_HEADER_SIZE - 1);
    short[BATCH_HEADER_SIZE + 4] = 5;
    expect([membersIn(short, 1), isAboutMembers(short, 1)]).toEqual([undefined, false]);
    const empty = sealBatch(
      clusterBatch("MEMBERSHIP", 0, () => undefined),
      PLACE,
    );
    expect(empty).toHaveLength(BATCH_HEADER_SIZE + COMMAND_HEADER_SIZE);
    expect(() => membersIn(empty, 1)).toThrow(ProtocolError);
    const { bytes } = membershipBatch(members(3), 0);
    const bodyChecksum = checksum64(bytes.slice(BATCH_HEADER_SIZE));
    const fields = { codec: "zstd", rawSize: 4096, count: 1, timeMs: 0, bodyChecksum } as const;
    const packed = sealBatch({ bytes: bytes.slice(), ...fields }, PLACE);
    expect([membersIn(packed, 1), isAboutMembers(packed, 1)]).toEqual([undefined, false]);
  });

  test("bindings are about members, ends of sessions are not", () => {
    const bind = sealBatch(
      clusterBatch("BIND", 0, (writer) => writeBindings(writer, [])),
      PLACE,
    );
    expect([isAboutMembers(bind, 1), membersIn(bind, 1), expiredIn(bind, 1)]).toEqual([
      true,
      undefined,
      [],
    ]);
    const ends = clusterBatch("EXPIRE_SESSIONS", 0, (writer) => writeSessionIds(writer, [4]));
    const bytes = sealBatch(ends, PLACE);
    expect([isAboutMembers(bytes, 1), bindingsIn(bytes, 1), expiredIn(bytes, 1)]).toEqual([
      false,
      [],
      [4],
    ]);
  });

  test("other batches are about no members", () => {
    const noop = sealBatch(noopBatch(), PLACE);
    expect([membersIn(noop, 1), isAboutMembers(noop, 1), bindingsIn(noop, 1)]).toEqual([
      undefined,
      false,
      [],
    ]);
    // A batch of several operations is none of consensus, whatever its bytes are.
    const bytes = sealBatch(membershipBatch(members(3), 0), PLACE);
    expect([membersIn(bytes, 2), isAboutMembers(bytes, 2)]).toEqual([undefined, false]);
  });
});
