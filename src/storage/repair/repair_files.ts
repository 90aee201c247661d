/**
 * Carries a repair out. The kept log is written anew beside the old one and verified. Then the old
 * log's directory is renamed and the new one takes its place: at every moment the data directory is
 * either as it was, or refused by a start, or repaired. Nothing is deleted.
 *
 * ```
 * wal.repaired.tmp/   the new log, being written
 * wal.repaired/       the new log, complete
 * wal.damaged/        the old log, as it was; wal.2.damaged/ after another repair
 * snapshots/NAME.damaged
 * ```
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteWriter } from "../../base/bytes.ts";
import { CorruptionError } from "../../base/errors.ts";
import type { FileSystem } from "../../platform/file_system.ts";
import type { Platform } from "../../platform/platform.ts";
import {
  BATCH_HEADER_SIZE,
  prepareBatch,
  sealBatch,
  UNCOMPRESSED,
  verifyBatch,
} from "../../protocol/encoding/batch_codec.ts";
import { decodeUntrustedCbor } from "../../protocol/encoding/cbor.ts";
import { beginCommand, endCommand, NO_SESSION } from "../../protocol/encoding/command.ts";
import type { Member } from "../../raft/configuration.ts";
import type { LogBase, LogIndex } from "../../raft/types.ts";
import type { LogIdentity } from "../identity.ts";
import { readSnapshot } from "../snapshot_store.ts";
import { readBytesAt } from "../wal/entry_reader.ts";
import { headRecords, LogRebuild } from "../wal/log_rebuild.ts";
import { LogTable } from "../wal/log_table.ts";
import { type PendingRecord, SegmentWriter } from "../wal/segment_writer.ts";
import { inspectSegments, MarkFile, REPAIRED_SUFFIX, segmentPath } from "../wal/wal_open.ts";
import { type LogSurvey, surveyLog } from "./log_survey.ts";
import { type FoundSnapshot, judgeRepair, type RepairPlan } from "./wal_repair.ts";

/** Kind of the block of a snapshot that holds the members (`database/snapshot_codec.ts`). */
const STATE_BLOCK = 1;
/** Bytes of entries that are written between two syncs. */
const CHUNK_SIZE = 4 * 1024 * 1024;
/**
 * Sequence numbers that a repair leaves out: more than the lost entries can have used. So a version
 * or a session's id from one of them is never used again.
 */
export const SEQUENCE_GAP = 2 ** 30;
/** Sequence numbers of one command. */
const COMMAND_COUNT_MAX = 0xffff;

/** A node's data directory. */
export interface RepairedFolder {
  readonly directory: string;
  readonly identity: LogIdentity;
}

/** A data directory whose log is written anew. */
interface RewrittenFolder extends RepairedFolder {
  readonly segmentSizeBytes: number;
}

/** A plan and the survey that it was made from. */
export interface Examination {
  readonly plan: RepairPlan;
  readonly survey: LogSurvey;
}

/** Reads a data directory and plans its repair. Changes nothing; the caller holds the lock. */
export async function examineFolder(
  platform: Platform,
  folder: RepairedFolder,
): Promise<Examination> {
  const { directory, identity } = folder;
  const survey = surveyLog(platform.files, { directory: `${directory}/wal`, identity });
  const snapshots = await readSnapshots(platform, folder);
  const plan = judgeRepair(survey, snapshots, identity);
  assert(plan.damages.length === survey.damages.length, "the plan names each damage");
  assert(plan.damagedSnapshots.length <= snapshots.length, "a damaged snapshot was found");
  return { plan, survey };
}

async function readSnapshots(
  { files, clock }: Platform,
  { directory, identity }: RepairedFolder,
): Promise<FoundSnapshot[]> {
  const found: FoundSnapshot[] = [];
  for (const name of files.list(`${directory}/snapshots`)) {
    if (!/^\d{16}\.snapshot$/.test(name)) continue;
    const path = `${directory}/snapshots/${name}`;
    const indexTold = Number.parseInt(name, 10);
    let voters: readonly string[] = [];
    const visit = (block: Uint8Array): void => {
      if (block[0] === STATE_BLOCK) voters = votersOf(block.subarray(1));
    };
    const pause = (): Promise<void> => new Promise((resolve) => clock.soon(resolve));
    try {
      const { clusterId } = identity;
      const position = await readSnapshot(files, path, { clusterId, pause, visit });
      found.push({ path, position, indexTold, problem: "", byte: 0, voters });
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      const { message: problem, byte } = error;
      found.push({ path, position: undefined, indexTold, problem, byte, voters: [] });
    }
  }
  return found;
}

function votersOf(state: Uint8Array): readonly string[] {
  const { members } = decodeUntrustedCbor(state) as { readonly members: readonly Member[] };
  return members.flatMap(({ id, role }) => (role === "learner" || role === "standby" ? [] : id));
}

/** The files and directories that were moved aside. */
export interface RepairOutcome {
  readonly moved: readonly { readonly from: string; readonly to: string }[];
}

/** Carries a plan out. The caller holds the directory's lock and accepts the loss. */
export async function repairFolder(
  platform: Platform,
  folder: RewrittenFolder,
  { plan, survey }: Examination,
): Promise<RepairOutcome> {
  assert(plan.refusal === "", "a plan that is refused is not carried out");
  assert(plan.base.index <= plan.commitIndex, "the entries before the log are committed");
  assert(plan.commitIndex <= plan.last.index, "no lost entry counts as committed");
  const { files } = platform;
  const { directory } = folder;
  const moved: { from: string; to: string }[] = [];
  const wal = `${directory}/wal`;
  if (!plan.isLogKept) {
    await buildLog(platform, folder, { plan, survey });
    files.remove(`${wal}${REPAIRED_SUFFIX}`);
    files.rename(`${wal}${REPAIRED_SUFFIX}.tmp`, `${wal}${REPAIRED_SUFFIX}`);
    await files.syncDirectory(directory);
    moved.push(setAside(files, wal));
    // The old name must be gone durably before the new log can get it.
    await files.syncDirectory(directory);
    await finishRepair(files, directory);
  }
  for (const { path } of plan.damagedSnapshots) moved.push(setAside(files, path));
  assert(moved.length >= plan.damagedSnapshots.length, "each damaged snapshot is moved aside");
  if (plan.damagedSnapshots.length > 0) await files.syncDirectory(`${directory}/snapshots`);
  return { moved };
}

/** Whether a repair was interrupted between the two renames. */
export function isRepairUnfinished(files: FileSystem, directory: string): boolean {
  const wal = `${directory}/wal`;
  return files.exists(`${wal}${REPAIRED_SUFFIX}`) && !files.exists(wal);
}

/** Puts the new log in the place of the old one, which was moved aside. */
export async function finishRepair(files: FileSystem, directory: string): Promise<void> {
  files.rename(`${directory}/wal${REPAIRED_SUFFIX}`, `${directory}/wal`);
  await files.syncDirectory(directory);
}

/** Renames a damaged file or directory; an earlier one is never replaced. */
function setAside(files: FileSystem, from: string): { from: string; to: string } {
  let to = `${from}.damaged`;
  for (let copy = 2; files.exists(to); copy += 1) to = `${from}.${copy}.damaged`;
  assert(to.length > from.length, "the damaged file gets another name");
  files.rename(from, to);
  return { from, to };
}

async function buildLog(
  platform: Platform,
  folder: RewrittenFolder,
  { plan, survey }: Examination,
): Promise<void> {
  const { files } = platform;
  const { identity, segmentSizeBytes: segmentSize } = folder;
  const directory = `${folder.directory}/wal${REPAIRED_SUFFIX}.tmp`;
  files.remove(directory);
  files.makeDirectory(directory);
  await files.syncDirectory(folder.directory);
  let lastIndex = plan.base.index;
  const writer = new SegmentWriter(
    platform,
    {
      directory,
      segmentSize,
      identity,
      headRecords: () => headRecords(plan.hardState, plan.base),
      lastIndex: () => lastIndex,
    },
    {
      nextNumber: survey.lastRecord + 1,
      nextChain: 0n,
      nextSegmentNumber: survey.lastSegmentNumber + 1,
    },
  );
  const state = { syncedThrough: survey.lastRecord, commitIndex: plan.commitIndex };
  try {
    await writer.start(state);
    assert(writer.segmentNumber > survey.lastSegmentNumber, "segment numbers go on");
    for (const chunk of keptRecords(files, `${folder.directory}/wal`, { plan, survey })) {
      const written = writer.append(chunk.records, state);
      assert(written.length === chunk.records.length, "each kept entry has its place");
      assert(chunk.lastIndex >= lastIndex, "entries are written in order");
      lastIndex = chunk.lastIndex;
      await writer.sync();
    }
  } finally {
    writer.close();
  }
  assert(lastIndex === lastIndexOf(plan), "every kept entry is written");
  assert(writer.lastNumber > survey.lastRecord, "record numbers go on");
  files.remove(`${directory}/spare.tmp`);
  const mark = new MarkFile(files, directory);
  mark.write(writer.lastNumber);
  mark.close();
  verifyLog(files, { directory, identity }, plan);
}

/** Last index of the repaired log. */
function lastIndexOf({ last, isRaised }: RepairPlan): LogIndex {
  const index = last.index + (isRaised ? 1 : 0);
  assert(index >= last.index, "the raising entry lies behind the last one");
  return index;
}

interface Chunk {
  readonly records: readonly PendingRecord[];
  /** Of the chunk's last entry: `base.index <= lastIndex <= lastIndexOf(plan)`, rising. */
  readonly lastIndex: LogIndex;
}

/** What the new log holds: all operations that can be read, then entries as {@link keptBatches}. */
function* keptRecords(
  files: FileSystem,
  directory: string,
  { plan, survey }: Examination,
): Generator<Chunk> {
  let records: PendingRecord[] = [];
  let size = 0;
  for (const { rebuild } of survey.runs) {
    for (const { place } of rebuild.operations.records) {
      const path = segmentPath(directory, place.segmentNumber);
      const body = readBytesAt(files, path, place);
      assert(body.byteLength === place.size, "the body is read whole");
      records.push({ kind: "OPERATIONS", body });
      size += body.byteLength;
      if (size < CHUNK_SIZE) continue;
      yield { records, lastIndex: plan.base.index };
      records = [];
      size = 0;
    }
  }
  yield { records, lastIndex: plan.base.index };
  yield* keptBatches(files, directory, plan);
}

/** The kept entries, and behind them the one that takes the sequence numbers of lost entries. */
function* keptBatches(files: FileSystem, directory: string, plan: RepairPlan): Generator<Chunk> {
  let records: PendingRecord[] = [];
  let size = 0;
  assert(plan.base.index <= plan.last.index, "the log does not end before its base");
  for (let index = plan.base.index + 1; index <= plan.last.index; index += 1) {
    const body = readBatch(files, directory, { plan, index });
    records.push({ kind: "BATCH", body });
    size += body.byteLength;
    if (size < CHUNK_SIZE) continue;
    yield { records, lastIndex: index };
    records = [];
    size = 0;
  }
  if (plan.isRaised) records.push({ kind: "BATCH", body: raisingBatch(plan.last, plan) });
  yield { records, lastIndex: lastIndexOf(plan) };
}

function readBatch(
  files: FileSystem,
  directory: string,
  { plan, index }: { readonly plan: RepairPlan; readonly index: number },
): Uint8Array {
  assert(plan.run !== undefined, "kept entries stand in a run");
  assert(index > plan.base.index, "a kept entry lies behind the base");
  assert(index <= plan.last.index, "a kept entry is not behind the last one");
  const { segmentNumber, at, size } = plan.run.rebuild.table.position(index);
  const bytes = readBytesAt(files, segmentPath(directory, segmentNumber), { at, size });
  const { index: found } = verifyBatch(bytes);
  assert(found === index, "an entry stands where the survey found it");
  return bytes;
}

/** An entry without effect that takes `SEQUENCE_GAP` sequence numbers. */
function raisingBatch(last: LogBase, plan: Pick<RepairPlan, "hardState">): Uint8Array {
  const writer = new ByteWriter(1024);
  writer.reserve(BATCH_HEADER_SIZE);
  let taken = 0;
  while (taken < SEQUENCE_GAP) {
    const count = Math.min(SEQUENCE_GAP - taken, COMMAND_COUNT_MAX);
    endCommand(writer, beginCommand(writer, "NOOP", { ...NO_SESSION, count }));
    taken += count;
  }
  assert(taken === SEQUENCE_GAP, "the commands take as many numbers as their batch");
  const fields = { count: SEQUENCE_GAP, timeMs: 0 };
  const batch = prepareBatch(writer.copy(), fields, UNCOMPRESSED);
  const { term } = plan.hardState;
  return sealBatch(batch, { term, index: last.index + 1, firstSequence: last.nextSequence });
}

/** Reads the new log as a start does: it must be the planned one. */
function verifyLog(
  files: FileSystem,
  log: { readonly directory: string; readonly identity: LogIdentity },
  plan: RepairPlan,
): void {
  const rebuild = new LogRebuild(new LogTable(0));
  const { dropped } = inspectSegments(files, log, (record) => rebuild.take(record));
  const { table, hardState } = rebuild;
  assert(dropped.length === 0, "no segment of the new log is set aside");
  assert(rebuild.problem(plan.base.index) === undefined, "no entry is missing in the new log");
  assert(table.base.index === plan.base.index, "the new log begins where the plan says");
  assert(table.lastIndex() === lastIndexOf(plan), "the new log ends where the plan says");
  assert(table.sequenceAfter(plan.last.index) === plan.last.nextSequence, "numbers are kept");
  assert(hardState.term === plan.hardState.term, "the new log has the planned term");
  assert(hardState.vote === plan.hardState.vote, "the new log has the planned vote");
}
