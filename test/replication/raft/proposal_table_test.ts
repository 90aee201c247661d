/**
 * Bytes in flight on lines that carry much and little.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { CommitWindow, WINDOW_BYTES_MAX } from "../../../src/replication/raft/proposal_table.ts";

interface Batch {
  readonly proposedMs: number;
  readonly committedMs: number;
  readonly size: number;
  readonly bytesInFlight: number;
}

/** A leader with always more to propose, on a line that carries one batch after the other. */
function run(line: { bytesPerSecond: number; roundTripMs: number }, seconds: number) {
  const window = new CommitWindow();
  const underWay: Batch[] = [];
  let [nowMs, freeMs, bytes, carried, tookMs] = [0, 0, 0, 0, 0];
  while (nowMs < seconds * 1000) {
    while (underWay.length < 4 && bytes < window.bytesMax) {
      const size = window.batchBytes;
      bytes += size;
      freeMs = Math.max(nowMs, freeMs) + (size / line.bytesPerSecond) * 1000;
      const committedMs = freeMs + line.roundTripMs;
      underWay.push({ proposedMs: nowMs, committedMs, size, bytesInFlight: bytes });
    }
    const { size, proposedMs, committedMs, bytesInFlight } = underWay.shift()!;
    nowMs = committedMs;
    bytes -= size;
    carried += size;
    tookMs = nowMs - proposedMs;
    window.committed({ tookMs, bytesInFlight, rttMs: line.roundTripMs }, nowMs);
  }
  return { bytesMax: window.bytesMax, tookMs, perSecond: carried / seconds };
}

describe("the window", () => {
  test.each([
    ["a disk of this machine", 200e6, 0.2],
    ["another continent", 200e6, 300],
  ])("%s: nothing is held back", (_, bytesPerSecond, roundTripMs) => {
    expect(run({ bytesPerSecond, roundTripMs }, 10).bytesMax).toBe(WINDOW_BYTES_MAX);
  });

  test.each([
    ["10 Mbit/s", 1.25e6, 10],
    ["1 Mbit/s", 125e3, 10],
    ["10 Mbit/s and far", 1.25e6, 200],
  ])("%s: what is carried in about 200 ms", (_, bytesPerSecond, roundTripMs) => {
    const { tookMs, perSecond } = run({ bytesPerSecond, roundTripMs }, 30);
    expect(tookMs).toBeLessThan(roundTripMs + 500);
    expect(perSecond).toBeGreaterThan(0.85 * bytesPerSecond);
  });

  test("a disk that stalls once narrows it for a moment", () => {
    const window = new CommitWindow();
    for (let i = 0; i < 50; i += 1) {
      window.committed({ tookMs: 1, bytesInFlight: window.bytesMax, rttMs: 0 }, i);
    }
    expect(window.bytesMax).toBe(WINDOW_BYTES_MAX);
    window.committed({ tookMs: 900, bytesInFlight: WINDOW_BYTES_MAX, rttMs: 0 }, 900);
    expect(window.bytesMax).toBeLessThan(WINDOW_BYTES_MAX / 3);
    for (let i = 0; i < 50; i += 1) {
      window.committed({ tookMs: 2, bytesInFlight: window.bytesMax, rttMs: 0 }, 901 + i);
    }
    expect(window.bytesMax).toBe(WINDOW_BYTES_MAX);
  });

  test.each([460, 900, 3000])("a disk that takes %d ms for each sync is no thin line", (syncMs) => {
    const window = new CommitWindow();
    let narrowest = Number.POSITIVE_INFINITY;
    for (let nowMs = 0; nowMs < 600_000; nowMs += syncMs) {
      window.committed({ tookMs: syncMs, bytesInFlight: window.bytesMax, rttMs: 1 }, nowMs);
      if (nowMs > 120_000) narrowest = Math.min(narrowest, window.bytesMax);
    }
    expect(narrowest).toBe(WINDOW_BYTES_MAX);
  });

  test("a late commit of few bytes says nothing of the line", () => {
    const window = new CommitWindow();
    window.committed({ tookMs: 2, bytesInFlight: 500, rttMs: 1 }, 0);
    window.committed({ tookMs: 900, bytesInFlight: 500, rttMs: 1 }, 900);
    expect(window.bytesMax).toBe(WINDOW_BYTES_MAX);
  });

  test("a line that becomes longer is taken as it is after a few commits", () => {
    const window = new CommitWindow();
    window.committed({ tookMs: 10, bytesInFlight: 1000, rttMs: 0 }, 0);
    const long = { tookMs: 400, bytesInFlight: 100_000, rttMs: 399 };
    window.committed(long, 100);
    expect(window.bytesMax).toBeLessThan(100_000);
    for (let nowMs = 200; nowMs < 20_000; nowMs += 400) {
      window.committed({ ...long, bytesInFlight: window.bytesMax }, nowMs);
    }
    expect(window.bytesMax).toBe(WINDOW_BYTES_MAX);
  });
});
