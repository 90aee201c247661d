/**
 * The plan of a repair: a survey and snapshots in, the kept and the lost entries out.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import type { LogBase } from "../../../src/raft/types.ts";
import type { LogIdentity } from "../../../src/storage/identity.ts";
import type { LogDamage, LogRun, LogSurvey } from "../../../src/storage/repair/log_survey.ts";
import {
  type FoundSnapshot,
  isWhole,
  judgeRepair,
  type RepairPlan,
} from "../../../src/storage/repair/wal_repair.ts";
import { hardStateRecord, headRecord, LogRebuild } from "../../../src/storage/wal/log_rebuild.ts";
import { EMPTY_BASE, LogTable } from "../../../src/storage/wal/log_table.ts";
import type { PendingRecord } from "../../../src/storage/wal/segment_writer.ts";
import { IDENTITY } from "../log_fixture.ts";
import { batchRecord } from "../segment_fixture.ts";

const USER: LogIdentity = { ...IDENTITY, clusterId: "0".repeat(16) };
const DAMAGE: LogDamage = { file: "wal/1", byte: 512, problem: "bad", record: 4 };

/** Entries of term 1 from `first` to `last`, and the hard state if it is known. */
function run(
  first: number,
  last: number,
  more: { readonly head?: LogBase; readonly term?: number; readonly vote?: string } = {},
): LogRun {
  const { head, term = 1, vote } = more;
  const records: PendingRecord[] = head === undefined ? [] : [headRecord(head)];
  if (vote !== undefined) records.push(hardStateRecord({ term: 3, vote }));
  for (let index = first; index <= last; index += 1) records.push(batchRecord(index, term));
  const rebuild = new LogRebuild(new LogTable(0));
  for (const [i, { kind, body }] of records.entries()) {
    const header = {
      ...{ kind, stream: 0, number: i + 1, bodySize: body.byteLength, bodyChecksum: 0n },
      ...{ previousChain: 0n, syncedThrough: 0, commitIndex: 0 },
    };
    rebuild.take({ header, at: 1000 * (i + 1), body, segmentNumber: 1, path: "wal/1" });
  }
  return { rebuild, firstRecord: first, lastRecord: last, hasHardState: vote !== undefined };
}

function surveyOf(runs: readonly LogRun[], more: Partial<LogSurvey> = {}): LogSurvey {
  return {
    ...{ runs, damages: [], isEndLost: false, lastRecord: 50, lastSegmentNumber: 5 },
    ...{ lastIndexTold: 0, nextSequenceTold: 1, commitIndex: 0, termTold: 3 },
    ...{ voters: [{ index: 1, voters: ["n1"] }], voteTold: undefined, hasVoted: true },
    ...more,
  };
}

/** The position of a snapshot at an entry of two operations each. */
function at(index: number, term = 1): LogBase {
  return { index, term, nextSequence: index * 2 + 1 };
}

function snapshot(index: number, more: Partial<FoundSnapshot> = {}): FoundSnapshot {
  const place = { path: `snapshots/${index}`, position: at(index), indexTold: index };
  return { ...place, problem: "", byte: 0, voters: ["n1"], ...more };
}

function damagedSnapshot(index: number): FoundSnapshot {
  return snapshot(index, { position: undefined, problem: "cut off", byte: 7, voters: ["n9"] });
}

function judge(
  survey: LogSurvey,
  snapshots: readonly FoundSnapshot[] = [],
  identity = IDENTITY,
): RepairPlan {
  return judgeRepair(survey, snapshots, identity);
}

describe("nothing is damaged", () => {
  test("the plan keeps everything as it is", () => {
    const whole = run(1, 5, { vote: "n1" });
    const plan = judge(surveyOf([whole], { commitIndex: 4, lastIndexTold: 5 }), [snapshot(3)]);
    expect(plan).toEqual({
      ...{ damages: [], damagedSnapshots: [], snapshot: at(3), isLogKept: true },
      ...{ base: EMPTY_BASE, last: at(5), run: whole, commitIndex: 4 },
      ...{ hardState: { term: 3, vote: "n1" }, lost: undefined, isRaised: false },
      ...{ otherVoters: [], refusal: "" },
    });
    expect(isWhole(plan)).toBe(true);
  });

  test("a folder without anything is whole, too", () => {
    const plan = judge(surveyOf([], { voters: [], hasVoted: false, termTold: 0 }));
    expect(plan).toMatchObject({
      ...{ isLogKept: true, snapshot: undefined, base: EMPTY_BASE, last: EMPTY_BASE },
      refusal: "",
    });
    expect(isWhole(plan)).toBe(true);
  });

  test("a log with a hard state and no entry yet stays as it is", () => {
    const votes = run(1, 0, { vote: "n2" });
    const plan = judge(surveyOf([votes]));
    expect([plan.isLogKept, plan.run, plan.last]).toEqual([true, votes, EMPTY_BASE]);
    expect([plan.lost, plan.hardState]).toEqual([undefined, { term: 3, vote: "n2" }]);
  });

  // Without damage the hard state is what the log says, also where that is nothing.
  test("a log without a hard state has lost none", () => {
    const plan = judge(surveyOf([run(1, 2)], { hasVoted: false }));
    expect([plan.lost, plan.isRaised]).toEqual([undefined, false]);
    expect(plan.hardState).toEqual({ term: 0, vote: undefined });
  });

  test("a commit index counts as far as entries are kept, and at least the snapshot", () => {
    const commits = [1, 4, 9].map((commitIndex) => {
      return judge(surveyOf([run(1, 5)], { commitIndex }), [snapshot(3)]).commitIndex;
    });
    expect(commits).toEqual([3, 4, 5]);
  });
});

describe("which run is kept", () => {
  const damages = [DAMAGE];

  test("the one that holds the snapshot's entry and leads furthest", () => {
    const [first, second] = [run(1, 4), run(3, 9)];
    const plan = judge(surveyOf([first, second], { damages }), [snapshot(3)]);
    expect([plan.run, plan.last, plan.base]).toEqual([second, at(9), at(3)]);
    // Of two that lead equally far the later one.
    const again = judge(surveyOf([run(3, 9), second], { damages }), [snapshot(3)]);
    expect(again.run).toBe(second);
  });

  test.each<[string, LogRun, boolean]>([
    ["holds the entry at its end", run(1, 5), true],
    ["begins right behind the entry", run(6, 8), true],
    ["begins one later", run(7, 8), false],
    ["ends one before", run(1, 4), false],
    ["has the entry in another term", run(1, 8, { term: 2 }), false],
    ["has a head at the entry", run(6, 8, { head: at(5) }), true],
    ["has a head at the entry of another term", run(6, 8, { head: at(5, 2) }), false],
  ])("one that %s", (...row) => {
    const [, candidate, isKept] = row;
    const plan = judge(surveyOf([candidate], { damages }), [snapshot(5)]);
    expect(plan.run).toBe(isKept ? candidate : undefined);
    expect(plan.last).toEqual(at(isKept ? candidate.rebuild.table.lastIndex() : 5));
  });

  test("one whose sequence numbers differ is not", () => {
    const other = snapshot(5, { position: { ...at(5), nextSequence: 12 } });
    expect(judge(surveyOf([run(1, 8)], { damages }), [other]).run).toBeUndefined();
  });

  test("the log goes back to the oldest snapshot that it fits, or to its own head", () => {
    const snapshots = [snapshot(3), snapshot(5), snapshot(4)];
    const base = (candidate: LogRun, found = snapshots): LogBase =>
      judge(surveyOf([candidate], { damages }), found).base;
    expect(base(run(4, 8))).toEqual(at(3));
    expect(base(run(5, 8))).toEqual(at(4));
    expect(base(run(6, 8))).toEqual(at(5));
    expect(base(run(1, 8))).toEqual(EMPTY_BASE);
    expect(base(run(3, 8, { head: at(2) }))).toEqual(at(2));
    const other = snapshot(3, { position: { ...at(3), nextSequence: 8 } });
    expect(base(run(4, 8), [other, snapshot(5)])).toEqual(at(5));
    expect(base(run(4, 8), [damagedSnapshot(3), snapshot(5)])).toEqual(at(5));
    expect(base(run(7, 8))).toEqual(at(5));
  });

  test("the newest whole snapshot decides, in whatever order they are found", () => {
    const found = [snapshot(3), snapshot(5), snapshot(4), damagedSnapshot(7)];
    const plan = judge(surveyOf([run(1, 8)], { damages }), found);
    expect([plan.snapshot, plan.damagedSnapshots]).toEqual([at(5), [found[3]!]]);
  });
});

describe("what is lost", () => {
  const damages = [DAMAGE];

  test("the entries behind the last kept one, up to the last that anything names", () => {
    const kept = run(1, 4, { vote: "n1" });
    const behind = run(7, 9);
    const survey = surveyOf([kept, behind], {
      ...{ damages, lastIndexTold: 9, nextSequenceTold: 19, commitIndex: 6 },
    });
    const plan = judge(survey, [snapshot(2)]);
    expect(plan).toEqual({
      ...{ damages, damagedSnapshots: [], snapshot: at(2), isLogKept: false },
      ...{ base: EMPTY_BASE, last: at(4), run: kept, commitIndex: 4 },
      hardState: { term: 4, vote: "n1" },
      lost: {
        ...{ firstIndex: 5, lastIndex: 9, firstSequence: 9, lastSequence: 18 },
        ...{ isOpen: false, readable: [{ first: 7, last: 9 }] },
      },
      ...{ isRaised: true, otherVoters: [], refusal: "" },
    });
    expect(isWhole(plan)).toBe(false);
  });

  test.each<[string, Partial<LogSurvey>, readonly FoundSnapshot[], number, boolean]>([
    ["nothing", {}, [], 4, false],
    ["a record's header", { lastIndexTold: 6 }, [], 6, true],
    ["a commit index", { commitIndex: 7 }, [], 7, true],
    ["the name of a damaged snapshot", {}, [damagedSnapshot(8)], 8, true],
    ["the end of the log", { isEndLost: true }, [], 4, true],
  ])("as far as it is told by %s", (...row) => {
    const [, more, snapshots, lastIndex, isOpen] = row;
    const survey = surveyOf([run(1, 4)], { damages, ...more });
    expect(judge(survey, snapshots).lost).toEqual({
      ...{ firstIndex: 5, lastIndex, firstSequence: 9, lastSequence: 8, isOpen, readable: [] },
    });
  });

  test("readable entries begin behind the last kept one", () => {
    const runs = [run(1, 4), run(3, 4), run(2, 6, { term: 2 }), run(8, 8)];
    const plan = judge(surveyOf(runs, { damages }), [snapshot(4)]);
    expect(plan.last).toEqual(at(4));
    expect(plan.lost?.readable).toEqual([
      { first: 5, last: 6 },
      { first: 8, last: 8 },
    ]);
  });

  test("nothing, if the kept run is the last one and knows the hard state", () => {
    const kept = run(1, 4, { vote: "n1" });
    const lost = (survey: LogSurvey): boolean => judge(survey, [snapshot(2)]).lost !== undefined;
    expect(lost(surveyOf([run(1, 3), kept], { damages }))).toBe(false);
    expect(lost(surveyOf([kept, run(1, 3)], { damages }))).toBe(true);
    expect(lost(surveyOf([run(1, 4)], { damages }))).toBe(true);
    expect(lost(surveyOf([kept], { damages, isEndLost: true }))).toBe(true);
    expect(lost(surveyOf([], { damages }))).toBe(true);
    expect(judge(surveyOf([kept], { damages })).hardState).toEqual({ term: 3, vote: "n1" });
  });

  test("the new term is behind every term that anything names", () => {
    const term = (termTold: number, snapshots: readonly FoundSnapshot[]): number =>
      judge(surveyOf([run(1, 4)], { damages, termTold }), snapshots).hardState.term;
    expect(term(5, [])).toBe(6);
    expect(term(5, [damagedSnapshot(2)])).toBe(6);
    expect(term(0, [damagedSnapshot(2)])).toBe(1);
    expect(term(5, [snapshot(2), snapshot(9, { position: at(9, 8) })])).toBe(9);
  });

  test("without any run: the snapshot is all", () => {
    const plan = judge(surveyOf([], { damages, lastIndexTold: 4 }), [snapshot(6)]);
    expect(plan).toMatchObject({
      ...{ base: at(6), last: at(6), run: undefined, isLogKept: false, commitIndex: 6 },
      lost: { firstIndex: 7, lastIndex: 6, firstSequence: 13, lastSequence: 12, isOpen: false },
    });
  });

  test("a log that does not reach back to the snapshot is written anew", () => {
    const plan = judge(surveyOf([run(9, 9)]), [snapshot(6)]);
    expect([plan.isLogKept, plan.run, plan.base]).toEqual([false, undefined, at(6)]);
  });
});

describe("other voters", () => {
  const damages = [DAMAGE];
  const known = [
    { index: 1, voters: ["n1", "n2"] },
    { index: 3, voters: ["n1", "n3"] },
    { index: 6, voters: ["n4", "n1"] },
  ];

  function others(more: Partial<LogSurvey>, snapshots: readonly FoundSnapshot[] = []) {
    return judge(surveyOf([run(1, 4)], { damages, voters: known, ...more }), snapshots).otherVoters;
  }

  test("the latest kept members and any later ones, each once, in order", () => {
    expect(others({})).toEqual(["n3", "n4"]);
    expect(others({ voters: known.slice(0, 2) })).toEqual(["n3"]);
    expect(others({ voters: known.slice(0, 1) })).toEqual(["n2"]);
    expect(others({ voters: [...known, { index: 4, voters: ["n5", "n4"] }] })).toEqual([
      "n4",
      "n5",
    ]);
    expect(others({ voters: [] })).toEqual([]);
  });

  test("members of whole snapshots count from their entry on", () => {
    const voters = ["n7", "n1"];
    expect(others({}, [snapshot(2, { voters })])).toEqual(["n3", "n4"]);
    expect(others({}, [snapshot(4, { voters })])).toEqual(["n4", "n7"]);
    expect(others({}, [damagedSnapshot(4)])).toEqual(["n3", "n4"]);
  });

  test("the node that got this node's vote may", () => {
    expect(others({ voters: [], voteTold: "n8" })).toEqual(["n8"]);
    expect(others({ voters: [], voteTold: "n1" })).toEqual([]);
  });

  test("they refuse a repair that loses something, and no other", () => {
    const lossy = judge(surveyOf([run(1, 4)], { damages, voters: known }));
    expect(lossy.refusal).toBe("n3, n4 may vote, too: a promise to them may be lost");
    const lossless = surveyOf([run(1, 4, { vote: "n1" })], { damages, voters: known });
    expect(judge(lossless)).toMatchObject({ refusal: "", lost: undefined });
    expect(judge(surveyOf([run(1, 4)], { damages })).refusal).toBe("");
    // With damaged snapshots alone there is something to be moved aside.
    const whole = surveyOf([run(1, 4, { vote: "n1" })], { voters: known });
    const plan = judge(whole, [damagedSnapshot(2)]);
    expect([plan.isLogKept, isWhole(plan), plan.refusal]).toEqual([true, false, ""]);
  });

  test("without a snapshot and a first entry there is nothing to begin with", () => {
    const refusal = "no snapshot and no first entry is left to begin with";
    expect(judge(surveyOf([run(2, 4)], { damages })).refusal).toBe(refusal);
    expect(judge(surveyOf([], { damages })).refusal).toBe(refusal);
    expect(judge(surveyOf([run(1, 1)], { damages })).refusal).toBe("");
  });
});

describe("a log for one user", () => {
  const damages = [DAMAGE];
  const none = { voters: [], voteTold: undefined, hasVoted: false };

  test("keeps its first run, without a vote, a raised number or a snapshot", () => {
    const kept = run(1, 4);
    const plan = judge(surveyOf([kept, run(6, 9)], { damages, ...none }), [], USER);
    expect(plan).toMatchObject({
      ...{ base: EMPTY_BASE, last: at(4), run: kept, snapshot: undefined, isRaised: false },
      ...{ hardState: { term: 0, vote: undefined }, otherVoters: [], refusal: "" },
      lost: { firstIndex: 5, lastIndex: 9 },
    });
  });

  test("begins at its head, if a head tells the term", () => {
    const headed = run(4, 6, { head: at(3) });
    const plan = judge(surveyOf([headed], { damages, ...none }), [], USER);
    expect([plan.base, plan.last, plan.lost]).toEqual([at(3), at(6), undefined]);
    const headless = judge(surveyOf([run(4, 6)], { damages, ...none }), [], USER);
    expect([headless.base, headless.run]).toEqual([EMPTY_BASE, undefined]);
    expect(headless.refusal).toContain("no first entry");
  });

  test("with a vote in it has other voters that it does not name", () => {
    const survey = surveyOf([run(1, 4)], { damages, ...none, hasVoted: true, isEndLost: true });
    expect(judge(survey, [], USER).otherVoters).toEqual(["nodes that this log does not name"]);
    expect(judge(survey).otherVoters).toEqual([]);
  });
});
