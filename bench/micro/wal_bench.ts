/**
 * The log by itself: `writeEntry` of 128-byte operations by 1, 64 and 512 writers, each of which
 * waits until its operation is durable before it writes the next.
 *
 * @module
 */

import { join } from "node:path";
import {
  FileWALManager,
  type IWALManager,
  MemoryWALManager,
  type WALEntry,
} from "../../src/mod.ts";
import { type MicroGroup, type MicroTask, runMicro } from "./micro_runner.ts";

const VALUE = "v".repeat(128);
const WRITERS = [1, 64, 512] as const;
/** Operations that each writer makes in one sample, one after the other. */
const ROUNDS = 8;

function entryOf(key: number): WALEntry {
  return {
    transactionId: "",
    sequenceNumber: 0,
    timestamp: 1_700_000_000_000,
    type: "DATA",
    collectionName: "bench",
    operation: "INSERT",
    data: { key, newValue: VALUE },
    checksum: "",
  };
}

async function writeOneByOne(log: IWALManager, writer: number): Promise<void> {
  for (let round = 0; round < ROUNDS; round += 1) {
    await log.writeEntry(entryOf(writer * ROUNDS + round));
  }
}

function writing(
  log: IWALManager,
  writers: number,
  about: { readonly kind: string; readonly opsPerSecondMin: number },
): MicroTask {
  const task: MicroTask = {
    name: `${about.kind}, 128-byte operations, ${writers} in flight`,
    operations: writers * ROUNDS,
    run: async () => {
      const all = Array.from({ length: writers }, (_, writer) => writeOneByOne(log, writer));
      await Promise.all(all);
    },
  };
  if (writers < 512) return task;
  return { ...task, target: { opsPerSecondMin: about.opsPerSecondMin } };
}

/** Durable and in memory. */
export const WAL_BENCH: MicroGroup = {
  name: "log append",
  async open(directory) {
    const durable = await FileWALManager.create(join(directory, "log"));
    const memory = new MemoryWALManager();
    const onDisk = { kind: "synced before the answer", opsPerSecondMin: 90_000 };
    const inMemory = { kind: "in memory", opsPerSecondMin: 450_000 };
    return {
      tasks: [
        ...WRITERS.map((writers) => writing(durable, writers, onDisk)),
        ...WRITERS.map((writers) => writing(memory, writers, inMemory)),
      ],
      async close() {
        await durable.close();
        await memory.close();
      },
    };
  },
};

if (import.meta.main) await runMicro([WAL_BENCH]);
