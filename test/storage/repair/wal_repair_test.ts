/**
 * Repairs of damaged folders: what is kept is what the log held there, the plan names the rest, and
 * nothing is deleted, wherever it is broken off.
 *
 * The folder is a real one of a single node: state machine, snapshots, and a log cut behind the
 * older one. "Opens" means what a node does at its start.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { CorruptionError } from "../../../src/base/errors.ts";
import { freezeState } from "../../../src/database/snapshot_codec.ts";
import { parseNodeConfig } from "../../../src/node/config/node_config.ts";
import { openStorage } from "../../../src/node/recovery/open_storage.ts";
import { SeededRandom } from "../../../src/platform/random.ts";
import { decodeBatchHeader } from "../../../src/protocol/encoding/batch_codec.ts";
import {
  clusterIdOf,
  firstBatch,
  type NodeAddress,
} from "../../../src/protocol/encoding/cluster_command.ts";
import type { HardState, LogBase } from "../../../src/raft/types.ts";
import { openDataDirectory, readIdentity } from "../../../src/storage/data_directory.ts";
import { surveyLog } from "../../../src/storage/repair/log_survey.ts";
import {
  type Examination,
  examineFolder,
  finishRepair,
  isRepairUnfinished,
  repairFolder,
  SEQUENCE_GAP,
} from "../../../src/storage/repair/repair_files.ts";
import { isWhole, type RepairPlan } from "../../../src/storage/repair/wal_repair.ts";
import { SnapshotStore } from "../../../src/storage/snapshot_store.ts";
import { FileWALManager } from "../../../src/storage/wal/file_wal_manager.ts";
import { decodeSegmentHeader } from "../../../src/storage/wal/segment.ts";
import { scanSegment } from "../../../src/storage/wal/segment_scan.ts";
import { applyEntry, consensus, Machine } from "../../database/machine.ts";
import type { SimulatedDisk } from "../fake_disk.ts";
import { createLog, diskOf, errorOf, platformOn, settle, walEntry } from "../log_fixture.ts";

const FOLDER = "data/n1";
const WAL = `${FOLDER}/wal`;
const SNAPSHOTS = `${FOLDER}/snapshots`;
const ALONE: readonly NodeAddress[] = [{ id: "n1", address: "h:1" }];
const THREE: readonly NodeAddress[] = ["n1", "n2", "n3"].map((id) => ({ id, address: `${id}:1` }));
const LAST = 30;

interface Folder {
  readonly disk: SimulatedDisk;
  /** Documents after each entry, by index. */
  readonly states: readonly string[];
}

interface FolderOptions {
  readonly nodes?: readonly NodeAddress[];
  readonly snapshotsAt?: readonly number[];
  /** The log is not cut behind the older snapshot: a voter still needs it. */
  readonly isHeldBack?: boolean;
}

/** Entries 1 to 30, of which the members are the first; a new term in the middle. */
async function nodeFolder({
  nodes = ALONE,
  snapshotsAt = [8, 16],
  isHeldBack = false,
}: FolderOptions = {}): Promise<Folder> {
  const disk = diskOf(5);
  const platform = platformOn(disk);
  const expected = { clusterId: clusterIdOf(nodes), nodeId: "n1" };
  const { identity, release } = await openDataDirectory(platform, FOLDER, expected);
  const options = { directory: WAL, identity, segmentSizeBytes: 2048, owner: "consensus" } as const;
  const log = await FileWALManager.open(platform, options);
  const store = new SnapshotStore(platform, SNAPSHOTS, identity.clusterId);
  await platform.files.syncDirectory(FOLDER);
  const machine = new Machine();
  const states = [machine.dump()];
  const body = firstBatch(nodes).subarray(64 + 32);
  for (let index = 1; index <= LAST; index += 1) {
    if (index === 1) machine.apply(consensus("MEMBERSHIP", (writer) => writer.raw(body)));
    else machine.one(["PUT", index % 7, { index, text: "x".repeat(index * 5) }]);
    states.push(machine.dump());
    const entry = machine.entries.at(-1)!;
    log.write({ hardState: hardStateAt(index), entries: [entry], commitIndex: index - 1 });
    await log.flush();
    if (!snapshotsAt.includes(index)) continue;
    const frozen = freezeState(machine.state);
    const older = await store.write(frozen.position, frozen.blocks());
    frozen.thaw();
    if (older !== undefined && !isHeldBack) await log.compactTo(older);
  }
  await log.close();
  release();
  await settle();
  disk.killProcess();
  disk.files.remove(`${WAL}/spare.tmp`);
  return { disk, states };
}

function hardStateAt(index: number): HardState | undefined {
  if (index === 1) return { term: 1, vote: undefined };
  return index === 5 ? { term: 2, vote: "n1" } : undefined;
}

/** What a start of the node finds, or why it refuses. */
async function opened(disk: SimulatedDisk, nodes = ALONE): Promise<Opened | Error> {
  const config = parseNodeConfig({
    id: "n1",
    isEmbedded: nodes.length === 1,
    dataDirectory: FOLDER,
    segmentSizeBytes: 64 * 1024,
    members: nodes,
  });
  try {
    const { log, machine, directory } = await openStorage(platformOn(disk), config);
    const replayed = new Machine();
    const state = Object.assign(replayed, { state: machine });
    for (let index = machine.appliedIndex + 1; index <= log.lastIndex(); index += 1) {
      applyEntry(machine, log.readFromDisk(index, 1)[0]!);
    }
    const { hardState, base } = log;
    const nextSequence = log.sequenceAfter(log.lastIndex());
    const result = { hardState, lastIndex: log.lastIndex(), base, nextSequence };
    const dump = state.dump();
    await log.close();
    directory.release();
    disk.killProcess();
    return { ...result, dump, voters: machine.memberTable.members.map(({ id }) => id) };
  } catch (error) {
    disk.killProcess();
    if (error instanceof CorruptionError) return error;
    throw error;
  }
}

interface Opened {
  readonly hardState: HardState;
  readonly lastIndex: number;
  readonly base: LogBase;
  readonly nextSequence: number;
  readonly dump: string;
  readonly voters: readonly string[];
}

function folderOn(disk: SimulatedDisk, path = FOLDER) {
  const identity = readIdentity(disk.files, path);
  if (identity === undefined) throw new Error("the folder has its identity");
  return { directory: path, identity, segmentSizeBytes: 2048 };
}

function examine(disk: SimulatedDisk): Promise<Examination> {
  return examineFolder(platformOn(disk), folderOn(disk));
}

/** What `cstore wal repair --accept-data-loss` does. */
async function repair(disk: SimulatedDisk): Promise<RepairPlan> {
  if (isRepairUnfinished(disk.files, FOLDER)) await finishRepair(disk.files, FOLDER);
  const examination = await examine(disk);
  const { plan } = examination;
  if (plan.refusal !== "" || isWhole(plan)) return plan;
  await repairFolder(platformOn(disk), folderOn(disk), examination);
  await settle();
  disk.killProcess();
  return plan;
}

interface Placed {
  readonly path: string;
  readonly at: number;
  readonly size: number;
  readonly kind: string;
  readonly index: number;
}

function recordsOn(disk: SimulatedDisk): Placed[] {
  const placed: Placed[] = [];
  for (const path of segmentsOn(disk)) {
    const bytes = disk.readFile(path);
    const header = decodeSegmentHeader(bytes, undefined);
    if ("refusal" in header) throw new Error(header.refusal);
    scanSegment(bytes, header, ({ header: { kind }, at, body }) => {
      const index = kind === "BATCH" ? decodeBatchHeader(body).index : 0;
      placed.push({ path, at, size: body.byteLength, kind, index });
    });
  }
  return placed;
}

function segmentsOn(disk: SimulatedDisk): string[] {
  const names = disk.files.list(WAL).filter((name) => name.endsWith(".segment"));
  return names.map((name) => `${WAL}/${name}`);
}

/** Every file with its bytes, wherever it stands. */
function contentOf(disk: SimulatedDisk): Map<string, string> {
  const content = new Map<string, string>();
  const visit = (path: string): void => {
    for (const name of disk.files.list(path)) {
      const own = `${path}/${name}`;
      if (/\/(wal|snapshots|lost)[^/]*$/.test(own) && !own.endsWith("mark")) visit(own);
      else content.set(own, Buffer.from(disk.readFile(own)).toString("latin1"));
    }
  };
  visit(FOLDER);
  return content;
}

/** A repaired folder opens with what the plan keeps, and with nothing else. */
async function expectRepaired(
  folder: Folder,
  disk: SimulatedDisk,
  plan: RepairPlan,
): Promise<void> {
  const result = await opened(disk);
  if (result instanceof Error) throw result;
  const { last, lost, hardState } = plan;
  expect(result.lastIndex).toBe(last.index + (lost === undefined ? 0 : 1));
  expect(result.dump).toBe(folder.states[last.index]!);
  expect(result.base).toEqual(plan.base);
  expect(result.base.term > 0).toBe(result.base.index > 0);
  expect(result.hardState).toEqual(hardState);
  expect(result.voters).toEqual(["n1"]);
  const raised = lost === undefined ? 0 : SEQUENCE_GAP;
  expect(result.nextSequence).toBe(last.nextSequence + raised);
}

describe("a log of a single node", () => {
  // Mutations that this finds: a hole that is kept, an entry more or less than there is, a
  // snapshot's entries counted as lost, a term that goes back.
  test("one damaged record: what is behind the snapshot is kept up to the damage", async () => {
    const folder = await nodeFolder();
    const records = recordsOn(folder.disk);
    expect(records.filter(({ index }) => index > 16).length).toBe(LAST - 16);
    for (const record of records) {
      for (const offset of [9, 64 + record.size - 1]) {
        const disk = folder.disk.clone();
        disk.rot(record.path, record.at + offset);
        expect(await opened(disk.clone())).toBeInstanceOf(CorruptionError);
        const plan = await repair(disk);
        expect(plan.refusal).toBe("");
        expect(plan.damages).toMatchObject([{ file: record.path, byte: record.at }]);
        expectLoss(plan, { record, isHeader: offset < 64 });
        await expectRepaired(folder, disk, plan);
      }
    }
  }, 60_000);

  function expectLoss(
    plan: RepairPlan,
    { record, isHeader }: { readonly record: Placed; readonly isHeader: boolean },
  ): void {
    if (record.index > 16) {
      expect(plan.last.index).toBe(record.index - 1);
      const { lost } = plan;
      const isLast = record.index === LAST;
      // Nothing but its number is known of a record whose header is gone.
      const lastTold = isLast && isHeader ? LAST - 1 : LAST;
      expect(lost).toMatchObject({ firstIndex: record.index, lastIndex: lastTold, isOpen: isLast });
      expect([lost?.firstSequence, lost?.lastSequence]).toEqual([record.index, lastTold]);
      expect(lost?.readable).toEqual(isLast ? [] : [{ first: record.index + 1, last: LAST }]);
      return;
    }
    const isEntry = record.kind === "BATCH";
    // The older snapshot stays usable as long as nothing behind it is damaged.
    if (isEntry) expect(plan.base.index).toBe(record.index <= 8 ? 8 : 16);
    if (isEntry || !isHeader) expect(plan.last.index).toBe(LAST);
    if (!isEntry && !isHeader && record.kind === "HEAD") expect(plan.lost).toBeUndefined();
  }

  test("several damaged records: the first one behind the snapshot decides", async () => {
    const folder = await nodeFolder();
    const at = (index: number) => recordsOn(folder.disk).find((one) => one.index === index)!;
    const disk = folder.disk.clone();
    for (const index of [11, 14, 22, 27]) disk.rot(at(index).path, at(index).at + 64);
    const plan = await repair(disk);
    expect(plan.damages.length).toBe(4);
    expect(plan.last.index).toBe(21);
    expect(plan.lost?.readable).toEqual([
      { first: 23, last: 26 },
      { first: 28, last: LAST },
    ]);
    await expectRepaired(folder, disk, plan);
  });

  test("damage before the older snapshot: the log still reaches back to it", async () => {
    const folder = await nodeFolder({ isHeldBack: true });
    for (const index of [1, 3, 8, 9]) {
      const disk = folder.disk.clone();
      const record = recordsOn(disk).find((one) => one.index === index)!;
      disk.rot(record.path, record.at + 64);
      const plan = await repair(disk);
      expect([plan.base.index, plan.last.index]).toEqual([index > 8 ? 16 : 8, LAST]);
      await expectRepaired(folder, disk, plan);
    }
  });

  test("a segment's header: its records tell that nothing is lost", async () => {
    const folder = await nodeFolder();
    for (const path of segmentsOn(folder.disk).slice(0, -1)) {
      const disk = folder.disk.clone();
      disk.rot(path, 20);
      expect(await opened(disk.clone())).toBeInstanceOf(CorruptionError);
      const plan = await repair(disk);
      expect([plan.lost, plan.last.index]).toEqual([undefined, LAST]);
      await expectRepaired(folder, disk, plan);
    }
  });

  test("a missing segment: entries in the snapshot are not lost, others are", async () => {
    const folder = await nodeFolder();
    for (const path of segmentsOn(folder.disk)) {
      const inside = recordsOn(folder.disk).filter((one) => one.path === path && one.index > 16);
      const disk = folder.disk.clone();
      disk.deleteFile(path);
      const plan = await repair(disk);
      const expected = inside[0] === undefined ? LAST : inside[0].index - 1;
      expect(plan.last.index).toBe(expected);
      await expectRepaired(folder, disk, plan);
    }
  });

  test("everything of the log is gone: the snapshot is left", async () => {
    const folder = await nodeFolder();
    const { disk } = folder;
    for (const path of segmentsOn(disk)) disk.deleteFile(path);
    const plan = await repair(disk);
    expect(plan.last.index).toBe(16);
    expect(plan.lost).toMatchObject({ firstIndex: 17, isOpen: true, readable: [] });
    await expectRepaired(folder, disk, plan);
  });

  test("garbage over whole areas: never a hole, always a state that once was", async () => {
    const folder = await nodeFolder();
    const segments = segmentsOn(folder.disk);
    for (let round = 0; round < 40; round += 1) {
      const disk = folder.disk.clone();
      const path = segments[round % segments.length]!;
      const size = disk.readFile(path).byteLength;
      const from = (round * 389) % size;
      for (let byte = from; byte < Math.min(size, from + 700); byte += 3)
        disk.rot(path, byte, 0x5a);
      const plan = await repair(disk);
      if (isWhole(plan)) expect(await opened(disk)).not.toBeInstanceOf(Error);
      else await expectRepaired(folder, disk, plan);
    }
  }, 60_000);
});

describe("snapshots", () => {
  test("a damaged one is moved aside; the other and the log give everything", async () => {
    const folder = await nodeFolder();
    for (const name of folder.disk.files.list(SNAPSHOTS)) {
      const disk = folder.disk.clone();
      disk.rot(`${SNAPSHOTS}/${name}`, 60);
      const plan = await repair(disk);
      expect([plan.lost, plan.isLogKept, plan.last.index]).toEqual([undefined, true, LAST]);
      expect(disk.files.list(SNAPSHOTS)).toContain(`${name}.damaged`);
      await expectRepaired(folder, disk, plan);
    }
  });

  test("both damaged, and the log is cut: nothing can be kept, nothing is touched", async () => {
    const { disk } = await nodeFolder();
    for (const name of disk.files.list(SNAPSHOTS)) disk.rot(`${SNAPSHOTS}/${name}`, 60);
    const before = contentOf(disk);
    const plan = await repair(disk);
    expect(plan.refusal).toContain("no snapshot and no first entry is left");
    expect(contentOf(disk)).toEqual(before);
  });

  test("the newer one damaged, and the log between the two: back to the older one", async () => {
    const folder = await nodeFolder();
    const { disk } = folder;
    disk.rot(`${SNAPSHOTS}/0000000000000016.snapshot`, 60);
    const record = recordsOn(disk).find(({ index }) => index === 12)!;
    disk.rot(record.path, record.at + 64);
    const plan = await repair(disk);
    expect(plan.last.index).toBe(11);
    expect(plan.lost).toMatchObject({ firstIndex: 12, lastIndex: LAST });
    await expectRepaired(folder, disk, plan);
  });

  test("all damaged, and the log is whole from entry 1 on: nothing is lost", async () => {
    const folder = await nodeFolder({ snapshotsAt: [8] });
    const { disk } = folder;
    disk.rot(`${SNAPSHOTS}/0000000000000008.snapshot`, 60);
    expect(await opened(disk.clone())).toBeInstanceOf(CorruptionError);
    const plan = await repair(disk);
    expect([plan.lost, plan.last.index]).toEqual([undefined, LAST]);
    await expectRepaired(folder, disk, plan);
  });

  test("the first record is damaged and there is no snapshot: nothing can be kept", async () => {
    const { disk } = await nodeFolder({ snapshotsAt: [] });
    const first = recordsOn(disk).find(({ index }) => index === 1)!;
    disk.rot(first.path, first.at);
    const before = contentOf(disk);
    expect((await repair(disk)).refusal).toContain("no snapshot and no first entry is left");
    expect(contentOf(disk)).toEqual(before);
  });
});

test("a whole folder is left alone, also with an unsynced tail", async () => {
  const { disk } = await nodeFolder();
  const before = contentOf(disk);
  const { plan } = await examine(disk);
  expect([isWhole(plan), plan.refusal, plan.lost]).toEqual([true, "", undefined]);
  expect(contentOf(disk)).toEqual(before);
  // Bytes behind the last record, which no record tells of: a start sets them aside by itself.
  const tail = recordsOn(disk).at(-1)!;
  const bytes = disk.readFile(tail.path);
  disk.writeFile(tail.path, new Uint8Array([...bytes, ...new Array(100).fill(7)]));
  expect(isWhole((await examine(disk)).plan)).toBe(true);
  expect(await opened(disk)).not.toBeInstanceOf(Error);
});

// Whatever is flipped: a start succeeds if and only if the examination finds nothing to repair.
test("the examination and the start agree about each byte of the log", async () => {
  const { disk } = await nodeFolder();
  let damaged = 0;
  for (const path of segmentsOn(disk)) {
    const size = disk.readFile(path).byteLength;
    for (let byte = 1; byte < size; byte += 41) {
      const copy = disk.clone();
      copy.rot(path, byte);
      const { plan } = await examine(copy);
      const result = await opened(copy);
      expect([path, byte, isWhole(plan)]).toEqual([path, byte, !(result instanceof Error)]);
      if (result instanceof Error) damaged += 1;
    }
  }
  expect(damaged).toBeGreaterThan(50);
}, 60_000);

test("the old log is kept as it was, and a second repair keeps both", async () => {
  const folder = await nodeFolder();
  const { disk } = folder;
  const damage = (index: number): void => {
    const record = recordsOn(disk).find((one) => one.index === index)!;
    disk.rot(record.path, record.at + 64);
  };
  damage(25);
  const before = contentOf(disk);
  await repair(disk);
  for (const [path, bytes] of before) {
    const now = path.startsWith(`${WAL}/`) ? path.replace(WAL, `${WAL}.damaged`) : path;
    expect(contentOf(disk).get(now)).toBe(bytes);
  }
  damage(20);
  const plan = await repair(disk);
  expect(plan.last.index).toBe(19);
  expect(disk.files.list(WAL)).toEqual([...segmentsOn(disk).map((path) => path.slice(12)), "mark"]);
  await expectRepaired(folder, disk, plan);
  const names = disk.files.list(FOLDER).filter((name) => name.startsWith("wal"));
  expect(names).toEqual(["wal", "wal.2.damaged", "wal.damaged"]);
});

test("the term goes on, and numbers of operations are never given twice", async () => {
  const folder = await nodeFolder();
  const { disk } = folder;
  const record = recordsOn(disk).find(({ index }) => index === 29)!;
  disk.rot(record.path, record.at + 64);
  const plan = await repair(disk);
  expect(plan.hardState).toEqual({ term: 3, vote: "n1" });
  const records = recordsOn(disk);
  const numbers = surveyLog(disk.files, { directory: WAL, identity: folderOn(disk).identity }).runs;
  expect(numbers[0]!.firstRecord).toBeGreaterThan(records.length);
  const result = (await opened(disk)) as Opened;
  expect(result.nextSequence).toBe(29 + SEQUENCE_GAP);
});

// Mutations that this finds: the old folder renamed before the new log is complete or durable, a
// start that makes a new log where the old one was just renamed, names that overtake each other.
test.each([
  ["with snapshots", [8, 16]],
  ["without", []],
])(
  "broken off or without power at any step, %s: refused or repaired",
  async (_what, snapshotsAt) => {
    const folder = await nodeFolder({ snapshotsAt });
    const record = recordsOn(folder.disk).find(({ index }) => index === 25)!;
    folder.disk.rot(record.path, record.at + 64);
    if (snapshotsAt.length > 0) folder.disk.rot(`${SNAPSHOTS}/0000000000000016.snapshot`, 60);
    const damaged = Buffer.from(folder.disk.readFile(record.path)).toString("latin1");
    const seen = new Set<boolean>();
    for (let operations = 1, how = ""; how !== "ended"; operations += 1) {
      for (let round = 0; round < 3; round += 1) {
        const random = new SeededRandom(operations * 100 + round);
        const disk = folder.disk.clone({ random });
        const halted = disk.haltAfter(operations);
        const ended = repair(disk).then(
          () => "ended",
          () => "failed",
        );
        how = await Promise.race([ended, halted.then(() => "halted")]);
        await settle();
        disk.killProcess();
        if (how === "ended") break;
        if (round > 0) disk.cutPower();
        seen.add(isRepairUnfinished(disk.files, FOLDER));
        const start = await opened(disk.clone());
        if (start instanceof Error) expect(start).toBeInstanceOf(CorruptionError);
        else expect([start.lastIndex, start.dump]).toEqual([25, folder.states[24]!]);
        await repair(disk);
        const result = await opened(disk);
        if (result instanceof Error) throw result;
        expect([result.lastIndex, result.dump]).toEqual([25, folder.states[24]!]);
        expect([...contentOf(disk).values()]).toContain(damaged);
      }
    }
    expect(seen).toEqual(new Set([false, true]));
  },
);

test("records that were never synced are a tail, beside damage, too", async () => {
  const folder = await nodeFolder();
  const { disk } = folder;
  // Without the mark, only a later record could tell that the last one was synced.
  disk.deleteFile(`${WAL}/mark`);
  const last = recordsOn(disk).at(-1)!;
  disk.rot(last.path, last.at + 64);
  expect(isWhole((await examine(disk.clone())).plan)).toBe(true);
  expect(((await opened(disk.clone())) as Opened).lastIndex).toBe(LAST - 1);

  const record = recordsOn(disk).find(({ index }) => index === 10)!;
  disk.rot(record.path, record.at + 64);
  const plan = await repair(disk);
  expect(plan.damages).toMatchObject([{ file: record.path, byte: record.at }]);
  expect([plan.last.index, plan.lost]).toEqual([LAST - 1, undefined]);
  await expectRepaired(folder, disk, plan);
});

test.each([
  ["term", { term: 9, nextSequence: 17 }],
  ["number of operations", { term: 1, nextSequence: 18 }],
])(
  "a snapshot of another history: its %s does not fit the log behind it",
  async (_what, fields) => {
    const { disk } = await nodeFolder();
    const store = new SnapshotStore(platformOn(disk), SNAPSHOTS, folderOn(disk).identity.clusterId);
    await store.write({ index: 16, ...fields }, [new Uint8Array([4])]);
    const record = recordsOn(disk).find(({ index }) => index === 25)!;
    disk.rot(record.path, record.at + 64);
    const { plan } = await examine(disk);
    expect([plan.last.index, plan.run]).toEqual([16, undefined]);
    expect(plan.lost).toMatchObject({ firstIndex: 17, lastIndex: LAST });
  },
);

test("a disk that fills up, or fails to sync: the folder stays as it was", async () => {
  const { disk } = await nodeFolder();
  const record = recordsOn(disk).find(({ index }) => index === 25)!;
  disk.rot(record.path, record.at + 64);
  const before = contentOf(disk);
  const own = (path: string): boolean => path.includes("wal.repaired");
  const full = disk.clone();
  full.faults = { write: (path) => (own(path) ? new Error("ENOSPC") : undefined) };
  const unsynced = disk.clone();
  unsynced.faults = { sync: (path) => (own(path) ? "failed" : "done") };
  for (const copy of [full, unsynced]) {
    expect(await errorOf(repair(copy))).toBeInstanceOf(Error);
    await settle();
    copy.killProcess();
    copy.faults = {};
    const after = contentOf(copy);
    for (const [path, bytes] of before) expect(after.get(path)).toBe(bytes);
    expect((await repair(copy)).last.index).toBe(24);
  }
});

describe("a cluster of several voters", () => {
  const folderOfThree = () => nodeFolder({ nodes: THREE });

  test("is refused when an entry may be lost, and named are the others", async () => {
    const { disk } = await folderOfThree();
    const record = recordsOn(disk).find(({ index }) => index === 25)!;
    disk.rot(record.path, record.at + 64);
    const before = contentOf(disk);
    const plan = await repair(disk);
    expect(plan.otherVoters).toEqual(["n2", "n3"]);
    expect(plan.refusal).toContain("n2, n3 may vote");
    expect(contentOf(disk)).toEqual(before);
  });

  test("is repaired when the snapshot has what is damaged: the vote stays as it was", async () => {
    const folder = await folderOfThree();
    const { disk } = folder;
    // In a segment before the last one: the head of each later one tells the vote.
    const record = recordsOn(disk).find(({ index }) => index === 9)!;
    disk.rot(record.path, record.at + 64);
    expect(await opened(disk.clone(), THREE)).toBeInstanceOf(CorruptionError);
    const plan = await repair(disk);
    expect([plan.refusal, plan.lost]).toEqual(["", undefined]);
    const result = (await opened(disk, THREE)) as Opened;
    expect(result).toMatchObject({ lastIndex: LAST, hardState: { term: 2, vote: "n1" } });
    expect(result.dump).toBe(folder.states[LAST]!);
    expect(result.nextSequence).toBe(LAST + 1);
  });

  test("is refused when nothing but the last vote may be lost", async () => {
    const { disk } = await nodeFolder({ nodes: THREE, snapshotsAt: [] });
    const vote = recordsOn(disk).findLast(({ kind }) => kind === "HARD_STATE")!;
    disk.rot(vote.path, vote.at + 64);
    const plan = await repair(disk);
    expect(plan.last.index).toBe(LAST);
    expect(plan.lost).toMatchObject({ firstIndex: LAST + 1, lastIndex: LAST, isOpen: false });
    expect(plan.refusal).toContain("may vote");
  });

  test("a vote for another node is taken for a sign of a cluster", async () => {
    const folder = await nodeFolder({ snapshotsAt: [] });
    const { disk } = folder;
    const { plan, survey } = await examine(disk);
    expect([plan.otherVoters, survey.voteTold]).toEqual([[], "n1"]);
    const log = await reopen(disk);
    log.write({ hardState: { term: 5, vote: "n2" }, entries: [], commitIndex: LAST });
    await log.close();
    disk.killProcess();
    const record = recordsOn(disk).find(({ index }) => index === 25)!;
    disk.rot(record.path, record.at + 64);
    expect((await examine(disk)).plan.otherVoters).toEqual(["n2"]);
  });
});

function reopen(disk: SimulatedDisk): Promise<FileWALManager> {
  const { identity } = folderOn(disk);
  const options = { directory: WAL, identity, segmentSizeBytes: 2048, owner: "consensus" } as const;
  return FileWALManager.open(platformOn(disk), options);
}

test("a log for one user: the operations before the damage are kept, and nothing is added", async () => {
  const disk = diskOf(5);
  const log = await createLog(disk, FOLDER);
  for (let n = 1; n <= 10; n += 1) await log.writeEntry(walEntry(n));
  await log.close();
  await settle();
  disk.killProcess();
  const record = recordsOn(disk).find(({ index }) => index === 7)!;
  disk.rot(record.path, record.at + 64);
  const plan = await repair(disk);
  expect([plan.refusal, plan.last.index, plan.isRaised]).toEqual(["", 6, false]);
  const again = await createLog(disk, FOLDER);
  const values = (await again.readEntries()).map(({ data }) => data.newValue as unknown);
  expect(values).toEqual([1, 2, 3, 4, 5, 6]);
  await again.close();
});

test("the fixture: a start gives every entry, and each changes the state", async () => {
  const folder = await nodeFolder();
  const result = (await opened(folder.disk)) as Opened;
  expect(result).toMatchObject({ lastIndex: LAST, hardState: { term: 2, vote: "n1" } });
  expect(result.base.index).toBe(8);
  expect(new Set(folder.states).size).toBe(LAST);
});
