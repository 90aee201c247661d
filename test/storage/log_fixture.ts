/**
 * What the tests of the log share: a platform over a simulated disk, sealed batches, and a log
 * opened on them.
 *
 * @module
 */

import { ByteWriter } from "../../src/base/bytes.ts";
import type { Clock } from "../../src/platform/clock.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { type Platform, systemPlatform } from "../../src/platform/platform.ts";
import { SeededRandom } from "../../src/platform/random.ts";
import {
  BATCH_HEADER_SIZE,
  prepareBatch,
  sealBatch,
} from "../../src/protocol/encoding/batch_codec.ts";
import { checksum64 } from "../../src/protocol/encoding/checksum.ts";
import type { Entry, EntryPlace } from "../../src/raft/types.ts";
import { openDataDirectory } from "../../src/storage/data_directory.ts";
import type { LogIdentity } from "../../src/storage/identity.ts";
import type { WALEntry } from "../../src/storage/wal/iwal_manager.ts";
import { MemoryWALManager } from "../../src/storage/wal/memory_wal_manager.ts";
import { type FileWALOptions, SegmentLog } from "../../src/storage/wal/segment_log.ts";
import { writeEntryCommand } from "../../src/storage/wal/wal_entry_codec.ts";
import { type DiskOptions, SimulatedDisk } from "./fake_disk.ts";

/** A log in files. */
export type OpenedLog = SegmentLog;

/** The owner of the log that the tests write. */
export const IDENTITY: LogIdentity = {
  clusterId: "00112233445566aa",
  nodeId: "n1",
  incarnation: "8899aabbccddeeff",
};
export const LOG_FOLDER = "data/wal";

const PLAIN = {
  codec: "none",
  compressor: {
    compress: () => undefined,
    decompress: (_codec: string, stored: Uint8Array) => stored,
  },
} as const;

/** A clock that stands; callbacks of `soon` run all the same. */
export const standingClock: Clock = {
  nowMs: () => 0,
  wallMs: () => 1_700_000_000_000,
  setTimer: () => () => {},
  soon: (callback) => void setImmediate(callback),
};

/** A disk with an empty folder `data`. */
export function diskOf(seed: number, options: Partial<DiskOptions> = {}): SimulatedDisk {
  const disk = new SimulatedDisk({ random: new SeededRandom(seed), ...options });
  disk.makeFolder("data");
  return disk;
}

/** The platform of the process that runs on `disk` now. */
export function platformOn(disk: SimulatedDisk, seed = 1): Platform {
  const { network } = systemPlatform();
  return { clock: standingClock, random: new SeededRandom(seed), files: disk.files, network };
}

/** A file system as a plain object, so that a test can replace one of its functions. */
export function boundFiles(files: FileSystem): FileSystem {
  return {
    makeDirectory: (path) => files.makeDirectory(path),
    list: (path) => files.list(path),
    exists: (path) => files.exists(path),
    open: (path, mode) => files.open(path, mode),
    rename: (from, to) => files.rename(from, to),
    remove: (path) => files.remove(path),
    syncDirectory: (path) => files.syncDirectory(path),
    lock: (path) => files.lock(path),
  };
}

/** Small segments, so that few entries make several; consensus owns the log. */
export function openLog(
  disk: SimulatedDisk,
  options: Partial<FileWALOptions> & { readonly seed?: number } = {},
): Promise<SegmentLog> {
  const { seed, ...rest } = options;
  return SegmentLog.open(platformOn(disk, seed), {
    directory: LOG_FOLDER,
    identity: IDENTITY,
    segmentSizeBytes: 4096,
    owner: "consensus",
    ...rest,
  });
}

/** What `SegmentLog.create` does, but with segments that are quickly filled with zeros. */
export async function createLog(disk: SimulatedDisk, path = "data/n1"): Promise<SegmentLog> {
  const platform = platformOn(disk);
  const expected = { clusterId: "0".repeat(16), nodeId: "wal" };
  const { identity, release } = await openDataDirectory(platform, path, expected);
  return SegmentLog.open(platform, {
    directory: `${path}/wal`,
    identity,
    segmentSizeBytes: 64 * 1024,
    onClose: release,
  });
}

/** A log in memory. */
export function memoryLog(): MemoryWALManager {
  return new MemoryWALManager({ clock: standingClock });
}

export function walEntry(value: unknown, fields: Partial<WALEntry> = {}): WALEntry {
  return {
    transactionId: "t",
    sequenceNumber: 0,
    timestamp: 1,
    type: "DATA",
    collectionName: "c",
    operation: "INSERT",
    data: { key: 1, newValue: value },
    checksum: "",
    ...fields,
  };
}

/** A sealed batch of `values.length` operations at the given place. */
export function entryAt(place: EntryPlace, values: readonly unknown[] = ["x"]): Entry {
  const writer = new ByteWriter(64 * 1024);
  writer.reserve(BATCH_HEADER_SIZE);
  for (const value of values) writeEntryCommand(writer, walEntry(value));
  const count = values.length;
  const batch = prepareBatch(writer.copy(), { count, timeMs: 1_700_000_000_000 }, PLAIN);
  return { ...place, count, bytes: sealBatch(batch, place) };
}

/** The error that a promise ends with; undefined when it does not. */
export async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
    return undefined;
  } catch (cause) {
    return cause;
  }
}

/** Lets everything run that is ready to run. */
export async function settle(turns = 3): Promise<void> {
  for (let i = 0; i < turns; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** What a log holds, as a text that two equal logs share. */
export function describeLog(log: SegmentLog): string {
  const { hardState, base } = log;
  const ids: string[] = [];
  for (let index = log.firstIndex(); index <= log.lastIndex(); index += 1) {
    const [entry] = log.readFromDisk(index, 1);
    if (entry === undefined) throw new Error(`entry ${index} is kept but not there`);
    ids.push(`${entry.term}:${index}:${checksum64(entry.bytes).toString(16).slice(0, 6)}`);
  }
  const vote = hardState.vote ?? "-";
  const next = log.sequenceAfter(base.index);
  const start = `${base.term}:${base.index}:${next}`;
  return `term ${hardState.term} vote ${vote} base ${start} [${ids.join(" ")}]`;
}

/**
 * A closed log with several segments, votes, batches, superseded ones and a head: everything in it
 * was synced. The disk keeps nothing back.
 */
export async function closedLog(options: Partial<FileWALOptions> = {}): Promise<{
  readonly disk: SimulatedDisk;
  readonly state: string;
}> {
  const disk = diskOf(7);
  const log = await openLog(disk, { segmentSizeBytes: 1024, ...options });
  const at = (term: number, index: number): Entry =>
    entryAt({ term, index, firstSequence: index * 2 - 1 }, [`${term}:${index}`, "y"]);
  const vote = { term: 1, vote: "n1" };
  for (let index = 1; index <= 5; index += 1) {
    const hardState = index === 1 ? vote : undefined;
    log.write({ hardState, entries: [at(1, index)], commitIndex: index - 1 });
    await log.flush();
  }
  // A new leader's entries take the place of the last two.
  const entries = [at(2, 4), at(2, 5), at(2, 6)];
  log.write({ hardState: { term: 2, vote: "n2" }, entries, commitIndex: 3 });
  await log.flush();
  await log.compactTo({ index: 2, term: 1, nextSequence: 5 });
  log.write({ hardState: { term: 3, vote: undefined }, entries: [at(3, 7)], commitIndex: 6 });
  await log.close();
  await settle();
  const state = describeLog(log);
  disk.killProcess();
  disk.files.remove(`${LOG_FOLDER}/spare.tmp`);
  return { disk, state };
}

/** Opens a copy of a disk: what the log holds, or the error that refuses it. */
export async function reopened(disk: SimulatedDisk): Promise<string | Error> {
  try {
    const log = await openLog(disk, { segmentSizeBytes: 1024 });
    return describeLog(log);
  } catch (cause) {
    if (cause instanceof Error) return cause;
    throw cause;
  }
}
