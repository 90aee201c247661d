// What a coordinator decides, event by event.

import { describe, expect, test } from "bun:test";
import {
  advanceCoordination,
  beginCoordination,
  type CoordinationEvent,
  type CoordinationStep,
  resumeCoordination,
} from "../../src/transactions/two_phase_commit.ts";

const yes = (participant: string): CoordinationEvent => ({
  type: "VOTED",
  participant,
  isYes: true,
});
const no = (participant: string): CoordinationEvent => ({
  type: "VOTED",
  participant,
  isYes: false,
});
const settled = (participant: string): CoordinationEvent => ({ type: "SETTLED", participant });
const COMMIT: CoordinationEvent = { type: "DECIDED", decision: "COMMIT" };
const ROLLBACK: CoordinationEvent = { type: "DECIDED", decision: "ROLLBACK" };

/** The effects of a step as texts: "PREPARE a". */
function texts({ effects }: CoordinationStep): readonly string[] {
  return effects.map((effect) => {
    if (effect.type === "FORGET") return "FORGET";
    return effect.type === "DECIDE"
      ? `DECIDE ${effect.decision}`
      : `${effect.type} ${effect.participant}`;
  });
}

/** The effects of each event, one after the other. */
function play(first: CoordinationStep, events: readonly CoordinationEvent[]): readonly string[][] {
  const all = [[...texts(first)]];
  let step = first;
  for (const event of events) {
    step = advanceCoordination(step.next, event);
    all.push([...texts(step)]);
  }
  return all;
}

describe("two-phase commit", () => {
  test("all say yes: the decision is on record before anybody finalizes", () => {
    const events = [yes("a"), yes("b"), COMMIT, settled("b"), settled("a")];
    expect(play(beginCoordination("t", ["a", "b"]), events)).toEqual([
      ["PREPARE a", "PREPARE b"],
      [],
      ["DECIDE COMMIT"],
      ["FINALIZE a", "FINALIZE b"],
      [],
      ["FORGET"],
    ]);
  });

  test("one says no, or nothing in time: all are rolled back, and later votes change nothing", () => {
    for (const end of [no("b"), { type: "TIMED_OUT" } as const]) {
      const events = [yes("a"), end, yes("b"), ROLLBACK, settled("a"), yes("a"), settled("b")];
      expect(play(beginCoordination("t", ["a", "b"]), events)).toEqual([
        ["PREPARE a", "PREPARE b"],
        [],
        ["DECIDE ROLLBACK"],
        [],
        ["ROLL_BACK a", "ROLL_BACK b"],
        [],
        [],
        ["FORGET"],
      ]);
    }
  });

  test("a yes that comes twice counts once; time that is over after the decision changes nothing", () => {
    const events = [yes("a"), yes("a"), yes("b"), { type: "TIMED_OUT" } as const, COMMIT, COMMIT];
    expect(play(beginCoordination("t", ["a", "b"]), events).slice(1)).toEqual([
      [],
      [],
      ["DECIDE COMMIT"],
      [],
      ["FINALIZE a", "FINALIZE b"],
      [],
    ]);
  });

  test("what the log says counts, not what was asked of it", () => {
    const begun = beginCoordination("t", ["a"]);
    expect(play(begun, [yes("a"), ROLLBACK]).at(-1)).toEqual(["ROLL_BACK a"]);
  });

  test("left behind: without a decision it is rolled back, with one that is carried out again", () => {
    expect(play(resumeCoordination("t", ["a"], undefined), [ROLLBACK])).toEqual([
      ["DECIDE ROLLBACK"],
      ["ROLL_BACK a"],
    ]);
    expect(play(resumeCoordination("t", ["a"], "COMMIT"), [settled("a")])).toEqual([
      ["FINALIZE a"],
      ["FORGET"],
    ]);
    expect(play(resumeCoordination("t", ["a"], "ROLLBACK"), [])).toEqual([["ROLL_BACK a"]]);
  });

  test("nobody takes part: there is a decision all the same", () => {
    expect(play(beginCoordination("t", []), [COMMIT])).toEqual([["DECIDE COMMIT"], ["FORGET"]]);
  });
});
