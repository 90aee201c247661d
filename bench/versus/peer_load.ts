/**
 * The load that every product gets: a closed loop of puts with random keys, a fixed number in
 * flight, latencies from sending to the answer.
 *
 * @module
 */

import { type LatencyMs, latencyMs, newHistogram } from "../../cli/measure/report.ts";
import { systemClock } from "../../src/platform/clock.ts";

/** Keys to choose from. */
export const KEY_COUNT = 100_000;
/** Bytes of a value. */
export const VALUE_SIZE = 128;
/** The value of every write. */
export const VALUE = "v".repeat(VALUE_SIZE);

/** A random key. */
export function randomKey(): string {
  return `key-${String(Math.floor(Math.random() * KEY_COUNT)).padStart(8, "0")}`;
}

/** Connections to a product, with a fixed number of slots. */
export interface PeerClient {
  /** How many independent writers it has. */
  readonly slots: number;
  /** Puts that one call of `put` makes and acknowledges together. */
  readonly group: number;
  /** Begins a group on a free slot; `done` is called once, when all of it is acknowledged. */
  put(slot: number, done: (isWritten: boolean) => void): void;
  close(): void;
}

/** A running product. */
export interface RunningPeer {
  readonly name: string;
  /** Ways to drive it at that many in flight; none where it makes no sense. */
  modes(inFlight: number): readonly PeerMode[];
  stop(): Promise<void>;
}

/** One way to drive a product. */
export interface PeerMode {
  readonly setting: string;
  open(): Promise<PeerClient>;
}

/** Results of a measurement. */
export interface PeerFigures {
  readonly opsPerSecond: number;
  readonly latencyMs: LatencyMs;
  readonly operations: number;
  readonly failed: number;
  /** CPU cores that the load process used. */
  readonly clientCores: number;
}

/** Loads a product for `warmupMs`, then measures for `durationMs`. */
export async function loadPeer(
  mode: PeerMode,
  time: { readonly warmupMs: number; readonly durationMs: number },
): Promise<PeerFigures> {
  const client = await mode.open();
  try {
    await drive(client, time.warmupMs);
    return await drive(client, time.durationMs);
  } finally {
    client.close();
  }
}

function drive(client: PeerClient, durationMs: number): Promise<PeerFigures> {
  const histogram = newHistogram();
  const startMs = systemClock.nowMs();
  const cpu = process.cpuUsage();
  const endMs = startMs + durationMs;
  let operations = 0;
  let failed = 0;
  let running = client.slots;
  return new Promise((resolve) => {
    const end = (): void => {
      running -= 1;
      if (running > 0) return;
      const seconds = (systemClock.nowMs() - startMs) / 1000;
      const used = process.cpuUsage(cpu);
      resolve({
        opsPerSecond: Math.round(operations / seconds),
        latencyMs: latencyMs(histogram),
        operations,
        failed,
        clientCores: Math.round((used.user + used.system) / 1e4 / seconds) / 100,
      });
    };
    const next = (slot: number, fromMs: number): void => {
      if (fromMs >= endMs) {
        end();
        return;
      }
      client.put(slot, (isWritten) => {
        const nowMs = systemClock.nowMs();
        const microseconds = Math.min(60_000_000, Math.round((nowMs - fromMs) * 1000));
        histogram.recordValueWithCount(Math.max(1, microseconds), client.group);
        if (isWritten) operations += client.group;
        else failed += client.group;
        next(slot, nowMs);
      });
    };
    for (let slot = 0; slot < client.slots; slot += 1) next(slot, systemClock.nowMs());
  });
}
