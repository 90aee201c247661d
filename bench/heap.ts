/**
 * Cost of a million documents in an embedded database: memory of the process above an empty one,
 * and how long the event loop stands still while documents are written over that heap.
 *
 * @module
 */

import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { machine, median } from "../cli/measure/report.ts";
import { LOG_CACHE_BYTES } from "../src/base/limits.ts";
import { WALDatabase } from "../src/mod.ts";
import { sleep, systemClock } from "../src/platform/clock.ts";
import { encodeCbor } from "../src/protocol/encoding/cbor.ts";

const LOAD_BATCH = 1000;
const IN_FLIGHT = 512;
/** The goals. */
const MEMORY_RATIO = 1.6;
const STALL_MS = 20;

const { values } = parseArgs({
  options: {
    documents: { type: "string", default: "1000000" },
    duration: { type: "string", default: "10" },
    json: { type: "boolean", default: false },
  },
});

interface Item {
  readonly id: string;
  readonly n: number;
  readonly pad: string;
}

/** 128 bytes encoded. */
function documentOf(n: number): Item {
  return { id: `d${String(n).padStart(8, "0")}`, n, pad: "x".repeat(98) };
}

/** Memory that the program holds, buffers included, and that the process has of the system. */
async function memory(): Promise<{ readonly heldBytes: number; readonly residentBytes: number }> {
  await sleep(systemClock, 2000);
  for (let i = 0; i < 3; i += 1) Bun.gc(true);
  const { heapUsed, rss } = process.memoryUsage();
  return { heldBytes: heapUsed, residentBytes: rss };
}

/** The longest time between two turns of the event loop, every 100 ms anew. */
function watchStalls(): { stop(): readonly number[] } {
  const longest: number[] = [];
  let last = systemClock.nowMs();
  let current = 0;
  let since = last;
  let isOver = false;
  const turn = (): void => {
    const now = systemClock.nowMs();
    current = Math.max(current, now - last);
    last = now;
    if (now - since >= 100) {
      longest.push(current);
      current = 0;
      since = now;
    }
    if (!isOver) setImmediate(turn);
  };
  turn();
  return {
    stop: () => {
      isOver = true;
      return longest;
    },
  };
}

async function run(): Promise<void> {
  const count = Number(values.documents);
  const folder = await mkdtemp(join(tmpdir(), "cstore-heap-"));
  const database = new WALDatabase({ name: "heap", root: folder });
  const all = database.collection<Item>("all");
  await all.insert(documentOf(0));
  const empty = await memory();
  for (let from = 1; from < count; from += LOAD_BATCH) {
    const size = Math.min(LOAD_BATCH, count - from);
    await all.insertMany(Array.from({ length: size }, (_, i) => documentOf(from + i)));
  }
  const encodedBytes = count * encodeCbor(documentOf(count - 1)).byteLength;
  const full = await memory();
  // The newest entries of the log are kept whatever the documents are.
  const cacheBytes = Math.min(LOG_CACHE_BYTES, encodedBytes);
  const takenBytes = full.heldBytes - empty.heldBytes - cacheBytes;

  const stalls = watchStalls();
  const endMs = systemClock.nowMs() + Number(values.duration) * 1000;
  let writes = 0;
  const writer = async (seed: number): Promise<void> => {
    for (let n = seed; systemClock.nowMs() < endMs; n = (n * 48_271 + 11) % count) {
      await all.put(documentOf(n));
      writes += 1;
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, (_, i) => writer(1 + i * 1999)));
  const longest = [...stalls.stop()].sort((a, b) => a - b);
  await database.close();
  rmSync(folder, { recursive: true, force: true });

  const ratio = takenBytes / encodedBytes;
  const report = {
    documents: count,
    encodedMiB: Math.round(encodedBytes / 2 ** 20),
    takenMiB: Math.round(takenBytes / 2 ** 20),
    logCacheMiB: Math.round(cacheBytes / 2 ** 20),
    residentMiB: Math.round((full.residentBytes - empty.residentBytes) / 2 ** 20),
    ratio: Number(ratio.toFixed(2)),
    writesPerSecond: Math.round(writes / Number(values.duration)),
    stallMedianMs: Number(median(longest).toFixed(1)),
    stallP99Ms: Number((longest[Math.floor(longest.length * 0.99)] ?? 0).toFixed(1)),
    stallMaxMs: Number((longest.at(-1) ?? 0).toFixed(1)),
    machine: machine(),
  };
  if (values.json) {
    process.stdout.write(`${JSON.stringify(report)}\n`);
    return;
  }
  const goal = (isReached: boolean) => (isReached ? "reached" : "not reached");
  process.stdout.write(
    `${count} documents, ${report.encodedMiB} MiB encoded: held in ${report.takenMiB} MiB, ` +
      `${report.ratio}x (goal ${MEMORY_RATIO}x: ${goal(ratio <= MEMORY_RATIO)}), beside ` +
      `${report.logCacheMiB} MiB of log; resident ${report.residentMiB} MiB more than empty\n` +
      `${report.writesPerSecond} writes/s over it: longest stall of each 100 ms: median ` +
      `${report.stallMedianMs}, 99 % ${report.stallP99Ms}, longest ${report.stallMaxMs} ms ` +
      `(goal ${STALL_MS} ms: ${goal(report.stallMaxMs <= STALL_MS)})\n`,
  );
}

await run();
