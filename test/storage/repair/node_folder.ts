/**
 * A data directory of a single node, as repairs find it: state machine, snapshots, and a log cut
 * behind the older one. "Opens" means what a node does at its start.
 *
 * @module
 */

import { expect } from "bun:test";
import { CorruptionError } from "../../../src/base/errors.ts";
import { freezeState } from "../../../src/database/snapshot_codec.ts";
import { parseNodeConfig } from "../../../src/node/config/node_config.ts";
import { openStorage } from "../../../src/node/recovery/open_storage.ts";
import { decodeBatchHeader } from "../../../src/protocol/encoding/batch_codec.ts";
import {
  clusterIdOf,
  firstBatch,
  type NodeAddress,
} from "../../../src/protocol/encoding/cluster_command.ts";
import type { HardState, LogBase } from "../../../src/raft/types.ts";
import { openDataDirectory, readIdentity } from "../../../src/storage/data_directory.ts";
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
import { decodeSegmentHeader } from "../../../src/storage/wal/segment.ts";
import { SegmentLog } from "../../../src/storage/wal/segment_log.ts";
import { scanSegment } from "../../../src/storage/wal/segment_scan.ts";
import { applyEntry, consensus, Machine } from "../../database/machine.ts";
import type { SimulatedDisk } from "../fake_disk.ts";
import { diskOf, platformOn, settle } from "../log_fixture.ts";

export { isRepairUnfinished, isWhole, type RepairPlan };

export const FOLDER = "data/n1";
export const WAL = `${FOLDER}/wal`;
export const SNAPSHOTS = `${FOLDER}/snapshots`;
const ALONE: readonly NodeAddress[] = [{ id: "n1", address: "h:1" }];
export const THREE: readonly NodeAddress[] = ["n1", "n2", "n3"].map((id) => ({
  id,
  address: `${id}:1`,
}));
export const LAST = 30;

export interface Folder {
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
export async function nodeFolder({
  nodes = ALONE,
  snapshotsAt = [8, 16],
  isHeldBack = false,
}: FolderOptions = {}): Promise<Folder> {
  const disk = diskOf(5);
  const platform = platformOn(disk);
  const expected = { clusterId: clusterIdOf(nodes), nodeId: "n1" };
  const { identity, release } = await openDataDirectory(platform, FOLDER, expected);
  const options = { directory: WAL, identity, segmentSizeBytes: 2048, owner: "consensus" } as const;
  const log = await SegmentLog.open(platform, options);
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
export async function opened(disk: SimulatedDisk, nodes = ALONE): Promise<Opened | Error> {
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

export interface Opened {
  readonly hardState: HardState;
  readonly lastIndex: number;
  readonly base: LogBase;
  readonly nextSequence: number;
  readonly dump: string;
  readonly voters: readonly string[];
}

export function folderOn(disk: SimulatedDisk, path = FOLDER) {
  const identity = readIdentity(disk.files, path);
  if (identity === undefined) throw new Error("the folder has its identity");
  return { directory: path, identity, segmentSizeBytes: 2048 };
}

export function examine(disk: SimulatedDisk, files = disk.files): Promise<Examination> {
  return examineFolder({ ...platformOn(disk), files }, folderOn(disk));
}

/** What `cstore wal repair --accept-data-loss` does. */
export async function repair(disk: SimulatedDisk, files = disk.files): Promise<RepairPlan> {
  if (isRepairUnfinished(disk.files, FOLDER)) await finishRepair(disk.files, FOLDER);
  const examination = await examine(disk);
  const { plan } = examination;
  if (plan.refusal !== "" || isWhole(plan)) return plan;
  await repairFolder({ ...platformOn(disk), files }, folderOn(disk), examination);
  await settle();
  disk.killProcess();
  return plan;
}

export interface Placed {
  readonly path: string;
  readonly at: number;
  readonly size: number;
  readonly kind: string;
  readonly index: number;
}

export function recordsOn(disk: SimulatedDisk): Placed[] {
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

export function segmentsOn(disk: SimulatedDisk): string[] {
  const names = disk.files.list(WAL).filter((name) => name.endsWith(".segment"));
  return names.map((name) => `${WAL}/${name}`);
}

/** Every file with its bytes, wherever it stands. */
export function contentOf(disk: SimulatedDisk): Map<string, string> {
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
export async function expectRepaired(
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

/** Opens the log alone, for further writes. */
export function reopen(disk: SimulatedDisk): Promise<SegmentLog> {
  const { identity } = folderOn(disk);
  const options = { directory: WAL, identity, segmentSizeBytes: 2048, owner: "consensus" } as const;
  return SegmentLog.open(platformOn(disk), options);
}

/** Writes a snapshot of one block. */
export async function snapshotAt(
  disk: SimulatedDisk,
  position: LogBase,
  block = new Uint8Array([4]),
): Promise<void> {
  const { clusterId } = folderOn(disk).identity;
  const store = new SnapshotStore(platformOn(disk), SNAPSHOTS, clusterId);
  await store.write(position, [block]);
}
