/**
 * Plans the repair of a damaged data directory: the entries that are kept and those that are lost.
 * Pure: a survey in, a plan out.
 *
 * The repaired log is a prefix of the log behind a whole snapshot: every entry from the one at
 * which the state can be restored up to the last one, none left out. Of several whole runs of
 * records the one that leads furthest is kept; entries behind a hole are given up, and named.
 *
 * The hard state must not go back. If the last one may be lost, a later term begins in which this
 * node votes for itself, so that no other candidate gets that vote. That suffices for the only
 * voter of a cluster. Promises to other voters, in a vote or in an answer to an entry, cannot be
 * kept that way. So with several voters only a repair that loses nothing is carried out.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import type { HardState, LogBase, LogIndex } from "../../raft/types.ts";
import type { LogIdentity } from "../identity.ts";
import { EMPTY_BASE } from "../wal/log_table.ts";
import type { KnownVoters, LogDamage, LogRun, LogSurvey } from "./log_survey.ts";

/** Cluster id of a log for one user: it has no state beside it, and no votes. */
const NO_CLUSTER = "0".repeat(16);

/** A snapshot file. */
export interface FoundSnapshot {
  readonly path: string;
  /** The entry that it ends with; undefined when it is damaged. */
  readonly position: LogBase | undefined;
  /** Index in its name. */
  readonly indexTold: LogIndex;
  /** The reason why it is damaged; empty when it is whole. */
  readonly problem: string;
  readonly byte: number;
  readonly voters: readonly string[];
}

/** Entries that are lost, or may be. */
export interface LostEntries {
  /** The entry behind the last kept one: `last.index < firstIndex`. */
  readonly firstIndex: LogIndex;
  /** The last one that any readable byte names; `lastIndex < firstIndex` when none is named. */
  readonly lastIndex: LogIndex;
  readonly firstSequence: number;
  /** `firstSequence - 1 <= lastSequence`. */
  readonly lastSequence: number;
  /** Whether more entries may have followed: the end of the log is lost. */
  readonly isOpen: boolean;
  /** Lost entries that can still be read, but do not follow the kept ones. */
  readonly readable: readonly { readonly first: LogIndex; readonly last: LogIndex }[];
}

/** The plan of a repair: `base.index <= snapshot.index <= commitIndex <= last.index`. */
export interface RepairPlan {
  readonly damages: readonly LogDamage[];
  readonly damagedSnapshots: readonly FoundSnapshot[];
  /** The whole snapshot that a start loads; undefined: the state is built from entry 1 on. */
  readonly snapshot: LogBase | undefined;
  /** Whether the log's files stay as they are: at most snapshots are damaged. */
  readonly isLogKept: boolean;
  /** The log begins behind this entry: `base.index <= last.index`. */
  readonly base: LogBase;
  /** The last entry that is kept. */
  readonly last: LogBase;
  /** The run that holds the kept entries; undefined when none is kept. */
  readonly run: LogRun | undefined;
  /** `base.index <= commitIndex <= last.index`. */
  readonly commitIndex: LogIndex;
  readonly hardState: HardState;
  /** Undefined when nothing is lost. */
  readonly lost: LostEntries | undefined;
  /** Whether an entry behind the last one takes the sequence numbers that lost entries may have. */
  readonly isRaised: boolean;
  /** Voters beside this node, as far as they are known. */
  readonly otherVoters: readonly string[];
  /** The reason why the plan is not carried out; empty when it is. */
  readonly refusal: string;
}

/** Makes the plan for a data directory. */
export function judgeRepair(
  survey: LogSurvey,
  snapshots: readonly FoundSnapshot[],
  identity: LogIdentity,
): RepairPlan {
  const isEntryLog = identity.clusterId === NO_CLUSTER;
  const log = { nodeId: identity.nodeId, isEntryLog };
  const start = isEntryLog ? firstBase(survey) : newestWhole(snapshots);
  const { kept, isLast } = bestRun(survey.runs, start);
  const last = kept === undefined ? start : lastOf(kept);
  assert(start.index <= last.index, "the kept entries reach the end of the snapshot");
  assert(start.nextSequence <= last.nextSequence, "sequence numbers do not go back");
  const isWholeEnd = kept !== undefined && isLast && !survey.isEndLost;
  const hasAll = isWholeEnd && (kept.hasHardState || isEntryLog || survey.damages.length === 0);
  const plan = {
    damages: survey.damages,
    damagedSnapshots: snapshots.filter(({ position }) => position === undefined),
    snapshot: isEntryLog || start.index === 0 ? undefined : start,
    isLogKept: survey.damages.length === 0 && (kept !== undefined || survey.runs.length === 0),
    base: kept === undefined ? start : baseFor(kept, start, snapshots),
    last,
    run: kept,
    commitIndex: Math.max(start.index, Math.min(survey.commitIndex, last.index)),
    hardState: hasAll ? kept.rebuild.hardState : nextHardState(survey, snapshots, log),
    lost: hasAll ? undefined : lostBehind(survey, snapshots, last),
    isRaised: !hasAll && !isEntryLog,
    otherVoters: votersBeside(survey, snapshots, { ...log, index: last.index }),
  };
  assert(plan.base.index <= start.index, "the log reaches back to the snapshot");
  assert(start.index <= plan.commitIndex, "a snapshot holds committed entries");
  assert(plan.commitIndex <= last.index, "no lost entry counts as committed");
  return { ...plan, refusal: refusalOf(plan) };
}

/** Whether a start succeeds without a repair, and no file has to be moved aside. */
export function isWhole(plan: Pick<RepairPlan, "isLogKept" | "damagedSnapshots">): boolean {
  return plan.isLogKept && plan.damagedSnapshots.length === 0;
}

function refusalOf(plan: Omit<RepairPlan, "refusal">): string {
  if (isWhole(plan)) return "";
  if (plan.last.index === 0) return "no snapshot and no first entry is left to begin with";
  if (plan.lost === undefined || plan.otherVoters.length === 0) return "";
  return `${plan.otherVoters.join(", ")} may vote, too: a promise to them may be lost`;
}

/** The base of a log for one user; only a HEAD tells the term of the entry before the first. */
function firstBase(survey: LogSurvey): LogBase {
  const base = survey.runs[0]?.rebuild.table.base;
  return base === undefined || base.term === 0 ? EMPTY_BASE : base;
}

/** The position of the snapshot that a start loads. */
function newestWhole(snapshots: readonly FoundSnapshot[]): LogBase {
  const whole = snapshots.flatMap(({ position }) => position ?? []);
  const newest = whole.toSorted((a, b) => b.index - a.index)[0] ?? EMPTY_BASE;
  assert((whole[0] ?? EMPTY_BASE).index <= newest.index, "no whole snapshot is newer");
  return newest;
}

/** The run that leads furthest from the entry at which the state is restored. */
function bestRun(
  runs: readonly LogRun[],
  start: LogBase,
): { readonly kept: LogRun | undefined; readonly isLast: boolean } {
  const usable = runs.filter((run) => leadsTo(run, start));
  const furthest = Math.max(0, ...usable.map((run) => lastOf(run).index));
  const kept = usable.findLast((run) => lastOf(run).index === furthest);
  assert(kept === undefined || start.index <= furthest, "the kept run reaches the snapshot");
  assert(usable.length <= runs.length, "a usable run is one of the runs");
  return { kept, isLast: kept !== undefined && kept === runs.at(-1) };
}

/** Whether a run holds that very entry, or begins right behind it. */
function leadsTo(run: LogRun, { index, term, nextSequence }: LogBase): boolean {
  const { table } = run.rebuild;
  if (index < table.base.index || index > table.lastIndex()) return false;
  if (table.sequenceAfter(index) !== nextSequence) return false;
  // The term before a run's first entry is known only if a HEAD tells it.
  return table.term(index) === term || (index === table.base.index && table.base.term === 0);
}

/** The base of the repaired log: it holds as many entries as the kept snapshots may need. */
function baseFor(run: LogRun, start: LogBase, snapshots: readonly FoundSnapshot[]): LogBase {
  const { base } = run.rebuild.table;
  assert(base.index <= start.index, "the kept run begins before the end of the snapshot");
  if (base.index === 0 || base.term > 0) return base;
  const whole = snapshots.flatMap(({ position }) => position ?? []);
  const older = whole.filter((one) => one.index <= start.index && leadsTo(run, one));
  const oldest = older.toSorted((a, b) => a.index - b.index)[0] ?? start;
  assert(base.index <= oldest.index, "the kept run reaches back to the oldest snapshot");
  assert(oldest.index <= start.index, "the oldest snapshot is not newer than the loaded one");
  return oldest;
}

function lastOf({ rebuild: { table } }: LogRun): LogBase {
  const index = table.lastIndex();
  assert(table.base.index <= index, "a table does not end before its base");
  return { index, term: table.term(index) ?? 0, nextSequence: table.sequenceAfter(index) };
}

function lostBehind(
  survey: LogSurvey,
  snapshots: readonly FoundSnapshot[],
  last: LogBase,
): LostEntries {
  const ends = survey.runs.map(lastOf);
  const named = snapshots.map(({ indexTold }) => indexTold);
  const { lastIndexTold, nextSequenceTold, commitIndex } = survey;
  const lastIndex = Math.max(
    lastIndexTold,
    commitIndex,
    ...ends.map(({ index }) => index),
    ...named,
  );
  const readable = survey.runs.flatMap((run) => {
    const first = Math.max(last.index + 1, run.rebuild.table.firstIndex());
    const end = run.rebuild.table.lastIndex();
    assert(end <= lastIndex, "a readable entry is known");
    return first <= end ? [{ first, last: end }] : [];
  });
  return {
    firstIndex: last.index + 1,
    lastIndex,
    firstSequence: last.nextSequence,
    lastSequence: Math.max(last.nextSequence, nextSequenceTold) - 1,
    isOpen: survey.isEndLost || lastIndex > Math.max(last.index, ...readable.map((r) => r.last)),
    readable,
  };
}

/** A term without any promise so far, so that no vote can be given a second time. */
function nextHardState(
  survey: LogSurvey,
  snapshots: readonly FoundSnapshot[],
  log: { readonly nodeId: string; readonly isEntryLog: boolean },
): HardState {
  if (log.isEntryLog) return { term: 0, vote: undefined };
  const terms = snapshots.map(({ position }) => position?.term ?? 0);
  const term = Math.max(survey.termTold, ...terms) + 1;
  assert(term > survey.termTold, "a new term begins");
  return { term, vote: log.nodeId };
}

/**
 * The other nodes that are voters in the latest kept configuration or in any later one, or that got
 * this node's last vote.
 */
function votersBeside(
  survey: LogSurvey,
  snapshots: readonly FoundSnapshot[],
  place: { readonly nodeId: string; readonly isEntryLog: boolean; readonly index: LogIndex },
): readonly string[] {
  const inSnapshots = snapshots.flatMap(({ position, voters }): KnownVoters[] => {
    return position === undefined ? [] : [{ index: position.index, voters }];
  });
  const known = [...survey.voters, ...inSnapshots];
  const kept = known.filter(({ index }) => index <= place.index);
  const latest = Math.max(0, ...kept.map(({ index }) => index));
  const named = known.filter(({ index }) => index >= latest).flatMap(({ voters }) => voters);
  if (survey.voteTold !== undefined) named.push(survey.voteTold);
  if (place.isEntryLog && survey.hasVoted) named.push("nodes that this log does not name");
  return [...new Set(named)].filter((id) => id !== place.nodeId).sort();
}
