/**
 * How many pieces of a snapshot are under way on lines of several kinds.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { RateLimit } from "../../../src/base/rate_limit.ts";
import { SnapshotSender } from "../../../src/node/snapshots/snapshot_sender.ts";
import {
  SNAPSHOT_CHUNK_SIZE,
  type SnapshotMessage,
} from "../../../src/protocol/wire/snapshot_message.ts";
import type { OutgoingSnapshot } from "../../../src/storage/snapshot_files.ts";
import { FakeClock } from "../../transport/fake_socket.ts";

const MIB = 1024 * 1024;
const SIZE = 24 * MIB + 5;
const CHECKSUM = 7n;

interface Line {
  readonly roundTripMs: number;
  readonly bytesPerSecond: number;
  readonly ratePerSecond: number;
  /** Pieces that do not arrive, by their number. */
  readonly lost?: readonly number[];
  readonly beginsAt?: number;
}

/** Sends a snapshot to a receiver behind a line; returns what that took. */
function send({ roundTripMs, bytesPerSecond, ratePerSecond, lost = [], beginsAt = 0 }: Line) {
  const clock = new FakeClock();
  const pieces: number[] = [];
  let [sentBytes, received, freeMs, underWayMax] = [0, beginsAt, 0, 0];
  let isDelivered: boolean | undefined;
  const answer = (): void => {
    const offset = received;
    const status = offset === SIZE ? "done" : "receiving";
    const envelope = { from: "n2", to: "n1", term: 1, index: 9, checksum: CHECKSUM };
    clock.setTimer(roundTripMs / 2, () => {
      sender.progress({ ...envelope, type: "SNAPSHOT_PROGRESS", offset, status });
    });
  };
  const arrive = (message: SnapshotMessage): void => {
    if (message.type !== "SNAPSHOT_CHUNK") return answer();
    if (message.offset === received) received += message.bytes.byteLength;
    answer();
  };
  const sender = new SnapshotSender({
    ...{ id: "n1", clock, rate: new RateLimit(ratePerSecond) },
    open: () =>
      ({
        ...{ size: SIZE, checksum: CHECKSUM, base: { index: 9, term: 1, sequence: 1 } },
        read: (from: number, size: number) => new Uint8Array(Math.min(size, SIZE - from)),
        close: () => undefined,
      }) as unknown as OutgoingSnapshot,
    send: (message) => {
      const size = message.type === "SNAPSHOT_CHUNK" ? message.bytes.byteLength : 0;
      sentBytes += size;
      if (message.type === "SNAPSHOT_CHUNK") {
        pieces.push(message.offset);
        underWayMax = Math.max(underWayMax, message.offset + size - received);
        if (lost.includes(pieces.length)) return;
      }
      freeMs = Math.max(freeMs, clock.nowMs()) + (size / bytesPerSecond) * 1000;
      clock.setTimer(freeMs - clock.nowMs() + roundTripMs / 2, () => arrive(message));
    },
    ended: (_, delivered) => {
      isDelivered = delivered;
    },
  });
  const startMs = clock.nowMs();
  sender.start("n2", 1);
  while (isDelivered === undefined && clock.nowMs() < startMs + 600_000) clock.advance(1);
  const tookMs = clock.nowMs() - startMs;
  return { isDelivered, pieces, sentBytes, underWayMax, perSecond: (SIZE * 1000) / tookMs };
}

describe("a snapshot", () => {
  test("fills a long line up to the configured rate", () => {
    const near = { bytesPerSecond: 1000 * MIB, ratePerSecond: 16 * MIB };
    for (const roundTripMs of [1, 50, 100]) {
      const { isDelivered, perSecond, sentBytes } = send({ ...near, roundTripMs });
      expect({ isDelivered, sentBytes }).toEqual({ isDelivered: true, sentBytes: SIZE });
      // The first round trips find out what the line carries.
      expect(perSecond).toBeGreaterThan(0.6 * 16 * MIB);
      expect(perSecond).toBeLessThanOrEqual(1.05 * 16 * MIB);
    }
  });

  test("leaves a thin line free for the rest: two pieces are under way", () => {
    const thin = { roundTripMs: 10, bytesPerSecond: 1.25e6, ratePerSecond: 16 * MIB };
    const { isDelivered, perSecond, underWayMax } = send(thin);
    expect(isDelivered).toBe(true);
    expect(perSecond).toBeGreaterThan(0.95 * 1.25e6);
    expect(underWayMax).toBeLessThanOrEqual(3 * SNAPSHOT_CHUNK_SIZE);
  });

  test("never has more than 4 MiB under way", () => {
    const { underWayMax } = send({ roundTripMs: 400, bytesPerSecond: 1e9, ratePerSecond: 1e9 });
    expect(underWayMax).toBe(16 * SNAPSHOT_CHUNK_SIZE);
  });

  test("goes on from the piece that is missing, and from what the receiver has", () => {
    const line = { roundTripMs: 50, bytesPerSecond: 100 * MIB, ratePerSecond: 16 * MIB };
    const whole = send({ ...line, lost: [5, 30] });
    expect(whole.isDelivered).toBe(true);
    expect(whole.sentBytes).toBeLessThan(SIZE + 40 * SNAPSHOT_CHUNK_SIZE);
    const rest = send({ ...line, beginsAt: 20 * MIB });
    expect(rest.pieces[0]).toBe(20 * MIB);
    expect(rest.sentBytes).toBe(SIZE - 20 * MIB);
  });
});
