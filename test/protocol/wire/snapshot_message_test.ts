/**
 * Messages about snapshots: exact bytes, and damaged bytes that are refused or another message.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ProtocolError } from "../../../src/base/errors.ts";
import { FRAME_BODY_SIZE_MAX } from "../../../src/base/limits.ts";
import { decodeFrameHeader, FRAME_HEADER_SIZE } from "../../../src/protocol/wire/frame_header.ts";
import {
  decodeSnapshotMessage,
  encodeSnapshotMessage,
  isSnapshotMessage,
  SNAPSHOT_CHUNK_SIZE,
  type SnapshotMessage,
} from "../../../src/protocol/wire/snapshot_message.ts";
import { fuzz, fuzzRandom, mutate, rounds, seeded } from "../fuzz_seed.ts";

const ROUTE = { from: "n1", to: "n2" };
const number = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const head = { term: number, index: number, checksum: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) };

const offer = fc
  .record({ ...head, baseTerm: number, nextSequence: number, size: number })
  .map(({ baseTerm, nextSequence, size, ...rest }): SnapshotMessage => {
    const base = { index: rest.index, term: baseTerm, nextSequence };
    return { ...ROUTE, ...rest, type: "SNAPSHOT_OFFER", base, size };
  });
const chunk = fc
  .record({ ...head, offset: number, bytes: fc.uint8Array({ maxLength: 300 }) })
  .map((rest): SnapshotMessage => ({ ...ROUTE, ...rest, type: "SNAPSHOT_CHUNK" }));
const status = fc.constantFrom("receiving", "done", "refused");
const progress = fc
  .record({ ...head, offset: number, status })
  .map((rest): SnapshotMessage => ({ ...ROUTE, ...rest, type: "SNAPSHOT_PROGRESS" }));
const message = fc.oneof(offer, chunk, progress);

function bodyOf(sent: SnapshotMessage): Uint8Array {
  return encodeSnapshotMessage(sent).subarray(FRAME_HEADER_SIZE);
}

describe("snapshot messages", () => {
  test(seeded("any message is read as it was written"), () => {
    fc.assert(
      fc.property(message, (sent) => {
        const body = bodyOf(sent);
        expect(isSnapshotMessage(body)).toBe(true);
        expect(decodeSnapshotMessage(body, ROUTE)).toEqual(sent);
      }),
      fuzz(500),
    );
  });

  test(seeded("damage gives another message or a ProtocolError"), () => {
    const random = fuzzRandom();
    const samples = fc.sample(message, { numRuns: 50, seed: 1 }).map(bodyOf);
    for (let round = 0; round < rounds(20_000); round += 1) {
      const body = mutate(random, samples[round % samples.length] ?? new Uint8Array(0));
      try {
        const read = decodeSnapshotMessage(body, ROUTE);
        expect(Buffer.from(bodyOf(read)).equals(body)).toBe(true);
      } catch (error) {
        expect(error).toBeInstanceOf(ProtocolError);
      }
    }
  });

  test("numbers beyond 2^53 - 1, and every cut, are refused", () => {
    const base = { index: 1, term: 1, nextSequence: 1 };
    const sent = { ...ROUTE, term: 1, index: 1, checksum: 1n } as const;
    const whole = bodyOf({ ...sent, type: "SNAPSHOT_OFFER", base, size: 1 });
    for (let size = 0; size < whole.byteLength; size += 1) {
      expect(() => decodeSnapshotMessage(whole.subarray(0, size), ROUTE)).toThrow(ProtocolError);
    }
    for (const at of [2, 10, 18, 26, 34]) {
      const body = whole.slice();
      body.fill(255, at, at + 8);
      expect(() => decodeSnapshotMessage(body, ROUTE)).toThrow(ProtocolError);
    }
    const { checksum } = decodeSnapshotMessage(whole.slice().fill(255, 42, 50), ROUTE);
    expect(checksum).toBe(2n ** 64n - 1n);
  });

  // Bytes of each message, field by field, so that no two fields can change places.
  test.each<readonly [string, SnapshotMessage, string]>([
    [
      "an offer",
      {
        ...ROUTE,
        type: "SNAPSHOT_OFFER",
        term: 1,
        index: 2,
        base: { index: 2, term: 3, nextSequence: 4 },
        size: 5,
        checksum: 6n,
      },
      "1000 0100000000000000 0200000000000000 0300000000000000 0400000000000000 0500000000000000 0600000000000000",
    ],
    [
      "a chunk",
      {
        ...ROUTE,
        type: "SNAPSHOT_CHUNK",
        term: 1,
        index: 2,
        checksum: 3n,
        offset: 4,
        bytes: Uint8Array.of(7, 8),
      },
      "1100 0100000000000000 0200000000000000 0300000000000000 0400000000000000 02000000 0708",
    ],
    ...(["receiving", "done", "refused"] as const).map(
      (status, number) =>
        [
          `progress: ${status}`,
          {
            ...ROUTE,
            type: "SNAPSHOT_PROGRESS",
            term: 1,
            index: 2,
            checksum: 3n,
            offset: 4,
            status,
          },
          `1200 0100000000000000 0200000000000000 0300000000000000 0400000000000000 0${number}`,
        ] as const,
    ),
  ])("%s has exactly these bytes", (_name, sent, digits) => {
    const body = bodyOf(sent);
    const frame = encodeSnapshotMessage(sent);
    const header = { kind: "REPLICATION", requestId: 0, bodySize: body.byteLength };
    expect(decodeFrameHeader(frame, FRAME_BODY_SIZE_MAX)).toMatchObject(header);
    expect(Buffer.from(body).toString("hex")).toBe(digits.replaceAll(" ", ""));
    expect(decodeSnapshotMessage(body, ROUTE)).toEqual(sent);
    expect(() => decodeSnapshotMessage(Uint8Array.of(...body, 0), ROUTE)).toThrow(
      new ProtocolError("Cannot read a message: 1 bytes follow its end"),
    );
    const ofMasters = { ...sent, isMasters: true } as const;
    expect(decodeSnapshotMessage(body.slice().fill(1, 1, 2), ROUTE)).toEqual(ofMasters);
    expect(bodyOf(ofMasters)[1]).toBe(1);
    expect(() => decodeSnapshotMessage(body.slice().fill(2, 1, 2), ROUTE)).toThrow(
      new ProtocolError("Cannot read snapshot message: its flags are unknown"),
    );
  });

  test("unknown types and statuses are refused", () => {
    const sent = { ...ROUTE, term: 1, index: 2, checksum: 3n, offset: 4 } as const;
    const body = bodyOf({ ...sent, type: "SNAPSHOT_PROGRESS", status: "done" });
    const unknown = new ProtocolError(
      "Cannot read snapshot message: its type or status is unknown",
    );
    for (const type of [0, 15, 19, 255]) {
      expect(() => decodeSnapshotMessage(body.slice().fill(type, 0, 1), ROUTE)).toThrow(unknown);
    }
    expect(() => decodeSnapshotMessage(body.slice().fill(3, 34), ROUTE)).toThrow(unknown);
  });

  test("types from 16 on are about snapshots", () => {
    const types = [0, 9, 15, 16, 17, 18, 255];
    const answers = types.map((type) => isSnapshotMessage(Uint8Array.of(type, 0)));
    expect(answers).toEqual([false, false, false, true, true, true, true]);
    expect(isSnapshotMessage(new Uint8Array(0))).toBe(false);
  });

  test("a chunk of the largest size fits a frame, and is not copied when it is read", () => {
    expect(SNAPSHOT_CHUNK_SIZE).toBe(262_144);
    const bytes = new Uint8Array(SNAPSHOT_CHUNK_SIZE);
    const sent = { ...ROUTE, term: 1, index: 1, checksum: 1n, offset: 5, bytes } as const;
    const body = bodyOf({ ...sent, type: "SNAPSHOT_CHUNK" });
    expect(body.byteLength).toBeLessThan(FRAME_BODY_SIZE_MAX);
    const read = decodeSnapshotMessage(body, ROUTE);
    if (read.type !== "SNAPSHOT_CHUNK") throw new RangeError("it was a chunk");
    expect(read.bytes.buffer).toBe(body.buffer);
  });
});
