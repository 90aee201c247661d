/**
 * Requests and replies: there and back, and damaged.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ByteWriter, encodeText, viewOf } from "../../../src/base/bytes.ts";
import {
  type CStoreError,
  DeadlineError,
  NotLeaderError,
  OverloadedError,
  ProtocolError,
  QueryError,
  VersionConflictError,
} from "../../../src/base/errors.ts";
import {
  type OperationResult,
  readOperationResults,
  writeOperationResult,
} from "../../../src/protocol/encoding/operation_result.ts";
import {
  beginReplies,
  beginRequest,
  endRequest,
  READ_LEVELS,
  REQUEST_HEADER_SIZE,
  REQUEST_KINDS,
  readLevelNumber,
  readReadTarget,
  readReplies,
  readRequest,
  type WrittenRun,
  writeError,
  writeResult,
  writeWritten,
} from "../../../src/protocol/wire/client_message.ts";
import { fuzzRandom, mutate, rounds, seeded } from "../fuzz_seed.ts";

/** Everything that a REPLIES body says, in order. */
function collect(body: Uint8Array): unknown[] {
  const seen: unknown[] = [];
  readReplies(body, {
    state: (term, committedSequence) => seen.push({ term, committedSequence }),
    written: (run) => seen.push(run),
    result: (requestId, payload) => seen.push({ requestId, payload: payload.slice() }),
    error: (requestId, error) => seen.push({ requestId, ...fieldsOf(error) }),
  });
  return seen;
}

function fieldsOf(error: CStoreError): object {
  return { ...error, code: error.code, message: error.message };
}

const RUN: WrittenRun = { firstRequestId: 3, count: 500, firstVersion: 2 ** 50, committed: true };

function sampleReplies(): Uint8Array {
  const writer = new ByteWriter();
  beginReplies(writer, { term: 7, committedSequence: 2 ** 52 });
  writeWritten(writer, RUN);
  writeResult(writer, 4, Uint8Array.of(1, 2, 3));
  const leader = { id: "n2", address: "127.0.0.1:7002" };
  writeError(writer, 5, new NotLeaderError("n1 does not lead", leader));
  writeWritten(writer, { ...RUN, count: 1, committed: false });
  writeError(writer, 6, new OverloadedError("full", 250));
  writeError(writer, 7, new VersionConflictError("changed", 99));
  writeError(writer, 0xffff_ffff, new DeadlineError("late"));
  writeResult(writer, 8, new Uint8Array(0));
  return writer.copy();
}

/** Two requests in one body. */
function sampleRequests(): Uint8Array {
  const writer = new ByteWriter();
  const first = beginRequest(writer, "READ", { requestId: 9, deadlineMs: 1_000 });
  writer.u8(readLevelNumber("leader")).u8(1).raw(encodeText("c")).raw(Uint8Array.of(3, 0x61));
  endRequest(writer, first);
  const second = beginRequest(writer, "STATUS", { requestId: 0xffff_ffff, deadlineMs: 0 });
  endRequest(writer, second);
  return writer.copy();
}

describe("requests", () => {
  test("requests: several in one body come back with their bounds", () => {
    const body = sampleRequests();
    const first = readRequest(viewOf(body), 0);
    expect(first).toMatchObject({ kind: "READ", requestId: 9, deadlineMs: 1_000 });
    const second = readRequest(viewOf(body), first.end);
    expect(second).toMatchObject({ kind: "STATUS", requestId: 0xffff_ffff, deadlineMs: 0 });
    expect([second.start, second.end]).toEqual([body.byteLength, body.byteLength]);
    expect(readReadTarget(body, first.start, first.end)).toEqual({
      level: "leader",
      collection: encodeText("c"),
      key: Uint8Array.of(3, 0x61),
    });
  });

  test("requests: every kind has its number, and other numbers are refused", () => {
    for (const [number, kind] of REQUEST_KINDS.entries()) {
      if (kind === "NONE") continue;
      const writer = new ByteWriter();
      endRequest(writer, beginRequest(writer, kind, { requestId: 1, deadlineMs: 2 }));
      expect(writer.buffer()[4]).toBe(number);
      expect(readRequest(viewOf(writer.copy()), 0).kind).toBe(kind);
    }
    for (const number of [0, REQUEST_KINDS.length, 255]) {
      const body = sampleRequests();
      body[4] = number;
      expect(() => readRequest(viewOf(body), 0)).toThrow(`kind ${number} is unknown`);
    }
    const reserved = sampleRequests();
    reserved[5] = 1;
    expect(() => readRequest(viewOf(reserved), 0)).toThrow(ProtocolError);
  });

  // Mutation that this finds: an end that is not compared with the body's.
  test.each([0, 1, 9, 40, 2 ** 31, 2 ** 32 - 1])("requests: a size of %i is refused", (size) => {
    const body = sampleRequests().subarray(0, 18);
    viewOf(body).setUint32(0, size, true);
    expect(() => readRequest(viewOf(body), 0)).toThrow("does not fit");
  });

  test("requests: every cut of the last one is refused", () => {
    const body = sampleRequests();
    const { end } = readRequest(viewOf(body), 0);
    for (let cut = 0; cut < REQUEST_HEADER_SIZE; cut += 1) {
      const view = viewOf(body.subarray(0, end + cut));
      expect(() => readRequest(view, end)).toThrow("cut off");
    }
  });

  test("reads: levels, and what is cut or unknown", () => {
    for (const [number, level] of READ_LEVELS.entries()) {
      expect(readLevelNumber(level)).toBe(number);
      expect(readReadTarget(Uint8Array.of(number, 0), 0, 2).level).toBe(level);
    }
    expect(() => readReadTarget(Uint8Array.of(3, 0), 0, 2)).toThrow("unknown read level");
    expect(() => readReadTarget(Uint8Array.of(0), 0, 1)).toThrow(ProtocolError);
    expect(() => readReadTarget(Uint8Array.of(0, 5, 1, 2), 0, 4)).toThrow(ProtocolError);
    expect(() => readReadTarget(Uint8Array.of(0, 2, 1, 2), 0, 3)).toThrow(ProtocolError);
  });
});

describe("replies", () => {
  test("replies: all kinds come back, in order", () => {
    const seen = collect(sampleReplies());
    expect(seen).toMatchObject([
      { term: 7, committedSequence: 2 ** 52 },
      RUN,
      { requestId: 4, payload: Uint8Array.of(1, 2, 3) },
      { requestId: 5, code: "NOT_LEADER", leaderId: "n2", leaderAddress: "127.0.0.1:7002" },
      { ...RUN, count: 1, committed: false },
      { requestId: 6, code: "OVERLOADED", retryAfterMs: 250 },
      { requestId: 7, code: "VERSION_CONFLICT", actualVersion: 99 },
      { requestId: 0xffff_ffff, code: "DEADLINE", retry: "unknown-outcome" },
      { requestId: 8, payload: new Uint8Array(0) },
    ]);
  });

  test("replies: a message longer than the wire allows is cut, not a reason to fail", () => {
    const writer = new ByteWriter();
    beginReplies(writer, { term: 1, committedSequence: 0 });
    writeError(writer, 1, new DeadlineError(`${"\u{1f980}".repeat(1_500)}`));
    const [, error] = collect(writer.copy()) as [unknown, { message: string }];
    expect(error.message).toHaveLength(2_000);
  });

  test("replies: the fields of an error come back; what may not stand there is neither sent nor taken", () => {
    const long = `${"a".repeat(511)}😀`;
    const cut = `${"a".repeat(511)}\uFFFD`;
    const given = { index: long, path: long, id: Number.NaN, actualVersion: -5, byte: 0.5 };
    const writer = new ByteWriter();
    beginReplies(writer, { term: 1, committedSequence: 1 });
    writeError(writer, 1, new QueryError("no", { fields: given }));
    writeError(writer, 2, new QueryError("no", { fields: { id: -0.5, retryAfterMs: 1e300 } }));
    const [, first, second] = collect(writer.copy());
    expect(first).toMatchObject({ requestId: 1, fields: { index: cut, path: cut } });
    expect(Object.keys((first as CStoreError).fields)).toEqual(["index", "path"]);
    expect((second as CStoreError).fields).toEqual({ id: -0.5 });
  });

  test("replies: every cut gives what is whole before it, then ProtocolError", () => {
    const body = sampleReplies();
    const whole = collect(body).length;
    let longest = 0;
    for (let cut = 0; cut < body.byteLength; cut += 1) {
      try {
        const seen = collect(body.subarray(0, cut));
        expect(seen.length).toBeGreaterThanOrEqual(longest);
        longest = seen.length;
      } catch (error) {
        expect(error).toBeInstanceOf(ProtocolError);
      }
    }
    expect(longest).toBe(whole - 1);
  });

  test("replies: an unknown kind is refused", () => {
    for (const kind of [0, 4, 255]) {
      const body = new Uint8Array(17);
      body[16] = kind;
      expect(() => collect(body)).toThrow(`kind ${kind} is unknown`);
    }
  });
});

describe("results", () => {
  const results: OperationResult[] = [
    { found: true, version: 12, document: Uint8Array.of(0xa0) },
    { found: false, version: 13, document: undefined },
    { found: true, version: Number.MAX_SAFE_INTEGER, document: undefined },
  ];

  test("results: they come back", () => {
    const writer = new ByteWriter();
    for (const result of results) writeOperationResult(writer, result);
    expect(readOperationResults(writer.copy())).toEqual(results);
    expect(readOperationResults(new Uint8Array(0))).toEqual([]);
  });

  test("results: cuts and unknown outcomes are refused", () => {
    const writer = new ByteWriter();
    writeOperationResult(writer, results[0]!);
    const payload = writer.copy();
    for (let cut = 1; cut < payload.byteLength; cut += 1) {
      expect(() => readOperationResults(payload.subarray(0, cut))).toThrow(ProtocolError);
    }
    payload[0] = 3;
    expect(() => readOperationResults(payload)).toThrow("outcome 3");
  });
});

test(seeded("messages: mutations give values or ProtocolError, nothing else"), () => {
  const random = fuzzRandom();
  const writer = new ByteWriter();
  writeOperationResult(writer, { found: true, version: 1, document: Uint8Array.of(0xa0) });
  const readers: readonly (readonly [Uint8Array, (bytes: Uint8Array) => unknown])[] = [
    [sampleReplies(), collect],
    [writer.copy(), readOperationResults],
    [sampleRequests(), (bytes) => readReadTarget(bytes, 0, bytes.byteLength)],
    [
      sampleRequests(),
      (bytes) => {
        for (let at = 0; at < bytes.byteLength; ) {
          const { start, end } = readRequest(viewOf(bytes), at);
          expect(start).toBeLessThanOrEqual(end);
          expect(end).toBeLessThanOrEqual(bytes.byteLength);
          at = end;
        }
      },
    ],
  ];
  let refused = 0;
  for (let i = 0; i < rounds(40_000); i += 1) {
    const [sample, read] = readers[i % readers.length]!;
    try {
      read(mutate(random, sample));
    } catch (error) {
      expect(error).toBeInstanceOf(ProtocolError);
      refused += 1;
    }
  }
  expect(refused).toBeGreaterThan(1_000);
});
