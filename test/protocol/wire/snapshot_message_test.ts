/**
 * Messages about snapshots: what is written is read again, what was damaged on the way is refused
 * or is another message, and nothing else happens.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ProtocolError } from "../../../src/base/errors.ts";
import { FRAME_BODY_SIZE_MAX } from "../../../src/base/limits.ts";
import { FRAME_HEADER_SIZE } from "../../../src/protocol/wire/frame_header.ts";
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

  test("a chunk of the largest size fits a frame, and is not copied when it is read", () => {
    const bytes = new Uint8Array(SNAPSHOT_CHUNK_SIZE);
    const sent = { ...ROUTE, term: 1, index: 1, checksum: 1n, offset: 5, bytes } as const;
    const body = bodyOf({ ...sent, type: "SNAPSHOT_CHUNK" });
    expect(body.byteLength).toBeLessThan(FRAME_BODY_SIZE_MAX);
    const read = decodeSnapshotMessage(body, ROUTE);
    if (read.type !== "SNAPSHOT_CHUNK") throw new RangeError("it was a chunk");
    expect(read.bytes.buffer).toBe(body.buffer);
  });
});
