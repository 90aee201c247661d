/**
 * What a repair of a damaged folder keeps, and what is lost with it. Pure: a survey in, a plan out.
 *
 * What remains is a prefix of the log behind a whole snapshot: from the entry at which the state
 * can be restored, every entry up to the last one, none left out. Of several whole runs of records
 * the one is kept that leads furthest; what stands behind a hole is given up, and named.
 *
 * The hard state must not go back. If the last one may be lost, a later term begins and this node's
 * vote in it is its own, so that it is given to nobody else. That does for a voter who is alone:
 * what the others of a cluster were promised, in a vote or in an answer to an entry, cannot be kept
 * that way. So with several voters only a repair that loses nothing is carried out.
 *
 * @module
 */

import type { HardState, LogBase, LogIndex } from "../../raft/types.ts";
import type { LogIdentity } from "../identity.ts";
import type { KnownVoters, LogDamage, LogRun, LogSurvey } from "./log_survey.ts";

/** Cluster id of a log for one user: it has no state beside it, and no votes. */
const NO_CLUSTER = "0".repeat(16);

import { EMPTY_BASE } from "../wal/log_table.ts";

/** A snapshot's file. */
export interface FoundSnapshot {
  readonly path: string;
  /** Where it stands; undefined when it is damaged. */
  readonly position: LogBase | undefined;
  /** Where its name says that it stands. */
  readonly indexTold: LogIndex;
  /** Why it is not whole; empty when it is. */
  readonly problem: string;
  readonly byte: number;
  readonly voters: readonly string[];
}

/** Entries that stood there, or may have. */
export interface LostEntries {
  readonly firstIndex: LogIndex;
  /** The last one that anything tells of; below `firstIndex` when nothing does. */
  readonly lastIndex: LogIndex;
  readonly firstSequence: number;
  readonly lastSequence: number;
  /** More may have followed: the end of the log is lost. */
  readonly isOpen: boolean;
  /** Of these, what can still be read where it stands, but does not follow what is kept. */
  readonly readable: readonly { readonly first: LogIndex; readonly last: LogIndex }[];
}

/** What to keep. */
export interface RepairPlan {
  readonly damages: readonly LogDamage[];
  readonly damagedSnapshots: readonly FoundSnapshot[];
  /** The whole snapshot that a start takes; undefined: the state is made from entry 1 on. */
  readonly snapshot: LogBase | undefined;
  /** The log's files stay as they are: only snapshots are damaged, if anything is. */
  readonly isLogKept: boolean;
  /** The log begins behind this entry. */
  readonly base: LogBase;
  /** The last entry that is kept. */
  readonly last: LogBase;
  /** Where the entries between stand; undefined when none is kept. */
  readonly run: LogRun | undefined;
  readonly commitIndex: LogIndex;
  readonly hardState: HardState;
  /** Undefined when nothing is lost. */
  readonly lost: LostEntries | undefined;
  /** An entry behind the last one gives its numbers of operations to none that was lost. */
  readonly isRaised: boolean;
  /** Who may vote beside this node, as far as anything tells. */
  readonly otherVoters: readonly string[];
  /** Why this is not carried out; empty when it is. */
  readonly refusal: string;
}

/** Judges a folder. */
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
  return { ...plan, refusal: refusalOf(plan) };
}

/** Whether a start succeeds as it is, and there is nothing to be moved aside. */
export function isWhole(plan: Pick<RepairPlan, "isLogKept" | "damagedSnapshots">): boolean {
  return plan.isLogKept && plan.damagedSnapshots.length === 0;
}

function refusalOf(plan: Omit<RepairPlan, "refusal">): string {
  if (isWhole(plan)) return "";
  if (plan.last.index === 0) return "no snapshot and no first entry is left to begin with";
  if (plan.lost === undefined || plan.otherVoters.length === 0) return "";
  return `${plan.otherVoters.join(", ")} may vote, too: what this node told them may be among what is lost`;
}

/** Where a log for one user begins; only a HEAD tells the term of the entry before the first. */
function firstBase(survey: LogSurvey): LogBase {
  const base = survey.runs[0]?.rebuild.table.base;
  return base === undefined || base.term === 0 ? EMPTY_BASE : base;
}

/** Where a start restores the state. */
function newestWhole(snapshots: readonly FoundSnapshot[]): LogBase {
  const whole = snapshots.flatMap(({ position }) => position ?? []);
  return whole.toSorted((a, b) => b.index - a.index)[0] ?? EMPTY_BASE;
}

/** The run that leads furthest from the entry at which the state is restored. */
function bestRun(
  runs: readonly LogRun[],
  start: LogBase,
): { readonly kept: LogRun | undefined; readonly isLast: boolean } {
  const usable = runs.filter((run) => leadsTo(run, start));
  const furthest = Math.max(0, ...usable.map((run) => lastOf(run).index));
  const kept = usable.findLast((run) => lastOf(run).index === furthest);
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

/** As much of the log as the kept snapshots may need. */
function baseFor(run: LogRun, start: LogBase, snapshots: readonly FoundSnapshot[]): LogBase {
  const { base } = run.rebuild.table;
  if (base.index === 0 || base.term > 0) return base;
  const whole = snapshots.flatMap(({ position }) => position ?? []);
  const older = whole.filter((one) => one.index <= start.index && leadsTo(run, one));
  return older.toSorted((a, b) => a.index - b.index)[0] ?? start;
}

function lastOf({ rebuild: { table } }: LogRun): LogBase {
  const index = table.lastIndex();
  return { index, term: table.term(index) ?? 0, nextSequence: table.sequenceAfter(index) };
}

function lostBehind(
  survey: LogSurvey,
  snapshots: readonly FoundSnapshot[],
  last: LogBase,
): LostEntries {
  const ends = survey.runs.map(lastOf);
  const told = snapshots.map(({ indexTold }) => indexTold);
  const { lastIndexTold, nextSequenceTold, commitIndex } = survey;
  const lastIndex = Math.max(
    lastIndexTold,
    commitIndex,
    ...ends.map(({ index }) => index),
    ...told,
  );
  const readable = survey.runs.flatMap((run) => {
    const first = Math.max(last.index + 1, run.rebuild.table.firstIndex());
    const end = run.rebuild.table.lastIndex();
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

/** A term in which nothing was promised yet, so that no vote can be given a second time. */
function nextHardState(
  survey: LogSurvey,
  snapshots: readonly FoundSnapshot[],
  log: { readonly nodeId: string; readonly isEntryLog: boolean },
): HardState {
  if (log.isEntryLog) return { term: 0, vote: undefined };
  const terms = snapshots.map(({ position }) => position?.term ?? 0);
  return { term: Math.max(survey.termTold, ...terms) + 1, vote: log.nodeId };
}

/**
 * Everybody else who is named as a voter by the latest members that are kept, or by any that came
 * after them, or who got this node's last vote.
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
