/**
 * The commands of consensus: members, bindings, ends of sessions. What a peer may send is refused
 * by name when it is none.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ByteWriter } from "../../../src/base/bytes.ts";
import { ProtocolError } from "../../../src/base/errors.ts";
import { BATCH_HEADER_SIZE, sealBatch } from "../../../src/protocol/encoding/batch_codec.ts";
import {
  bindingsIn,
  clusterBatch,
  expiredIn,
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
import { COMMAND_HEADER_SIZE } from "../../../src/protocol/encoding/command.ts";
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

  test("other batches are about nobody", () => {
    const noop = sealBatch(noopBatch(), PLACE);
    expect([membersIn(noop, 1), isAboutMembers(noop, 1), bindingsIn(noop, 1)]).toEqual([
      undefined,
      false,
      [],
    ]);
    // Several operations: no batch of consensus, whatever its bytes look like.
    const bytes = sealBatch(membershipBatch(members(3), 0), PLACE);
    expect([membersIn(bytes, 2), isAboutMembers(bytes, 2)]).toEqual([undefined, false]);
  });
});
