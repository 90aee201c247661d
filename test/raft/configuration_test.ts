/**
 * Configurations, the changes that are allowed between two of them, and which one counts.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import {
  Configuration,
  ConfigurationHistory,
  changeProblem,
  isSameNode,
  NO_MEMBERS,
} from "../../src/raft/configuration.ts";
import { configurationFrom, configurationWords } from "./cluster.ts";

function viewOf({ ids, voters, outgoing, electorate, isJoint }: Configuration) {
  return { ids, voters, outgoing, electorate, isJoint };
}

describe("members", () => {
  test("they are in order of id, whatever order they are given in", () => {
    const shuffled = configurationFrom("n3 ~n5 n1 !n4 n2 n9 n7 n8 n6");
    expect(configurationWords(shuffled)).toBe("n1 n2 n3 !n4 ~n5 n6 n7 n8 n9");
  });

  test("outside of joint consensus the voters alone vote", () => {
    expect(viewOf(configurationFrom("n1 n2 ~n3 !n4"))).toEqual({
      ids: ["n1", "n2", "n3", "n4"],
      voters: ["n1", "n2"],
      outgoing: [],
      electorate: ["n1", "n2"],
      isJoint: false,
    });
  });

  // One role of joint consensus is enough: a voter may only come, or only go.
  test.each([
    { words: "n1 +n2", voters: ["n1", "n2"], outgoing: ["n1"], electorate: ["n1", "n2"] },
    { words: "n1 -n2", voters: ["n1"], outgoing: ["n1", "n2"], electorate: ["n1", "n2"] },
    {
      words: "n1 +n2 -n3 ~n4",
      voters: ["n1", "n2"],
      outgoing: ["n1", "n3"],
      electorate: ["n1", "n2", "n3"],
    },
  ])("$words is joint consensus of two groups of voters", ({ words, ...groups }) => {
    const { ids, ...view } = viewOf(configurationFrom(words));
    expect(view).toEqual({ ...groups, isJoint: true });
  });

  test("without members there are no voters", () => {
    const none = { ids: [], voters: [], outgoing: [], electorate: [], isJoint: false };
    expect(viewOf(NO_MEMBERS)).toEqual(none);
  });

  test("members are found by id", () => {
    const configuration = configurationFrom("n1 ~n2@b");
    const n2 = { id: "n2", address: "", role: "learner", incarnation: "b" } as const;
    expect(configuration.member("n2")).toEqual(n2);
    expect(configuration.member("n3")).toBeUndefined();
    expect(["n1", "n2", "n3"].map((id) => configuration.has(id))).toEqual([true, true, false]);
    expect(["n1", "n2", "n3"].map((id) => configuration.mayVote(id))).toEqual([true, false, false]);
  });

  test("two members of one id are a bug", () => {
    const n1 = { id: "n1", address: "", role: "voter", incarnation: "" } as const;
    expect(() => new Configuration([n1, n1])).toThrow("members are distinct");
  });

  test.each([
    { from: "n1 +n2 -n3 ~n4 !n5", left: "n1 n2 ~n4 !n5" },
    { from: "n1 -n2", left: "n1" },
    { from: "n1 +n2@b", left: "n1 n2@b" },
  ])("the end of joint consensus: $from becomes $left", ({ from, left }) => {
    expect(configurationWords(configurationFrom(from).leaveJoint())).toBe(left);
  });

  test("a member is added, replaced and removed", () => {
    const configuration = configurationFrom("n1 n3");
    const n2 = { id: "n2", address: "", role: "learner", incarnation: "" } as const;
    const n3 = { id: "n3", address: "", role: "standby", incarnation: "c" } as const;
    expect(configurationWords(configuration.with(n2))).toBe("n1 ~n2 n3");
    expect(configurationWords(configuration.with(n3))).toBe("n1 !n3@c");
    expect(configurationWords(configuration.without("n1"))).toBe("n3");
    expect(configurationWords(configuration.without("n2"))).toBe("n1 n3");
  });
});

const NO_VOTERS = "a cluster has voters";
const ALONE = "voters come and go only beside the old ones";
const FIRST_LEAVE = "joint consensus ends before anything else is changed";
const OTHER_VOTERS = "joint consensus begins with the present voters";
const SEVERAL = "several voters change only through joint consensus";

// The exact rule that refuses is compared: a change that breaks two is refused by the first.
test.each([
  { from: "n1 n2 n3", to: "~n1", problem: NO_VOTERS },
  { from: "n1 n2 n3", to: "n1 n2 n3", problem: "" },
  { from: "n1 n2 n3", to: "n1 n2 n3 n4", problem: "" },
  { from: "n1 n2 n3", to: "n1 n2", problem: "" },
  { from: "n1 n2 n3", to: "n1 n2 ~n3", problem: "" },
  { from: "n1 n2 n3", to: "n1 n2 n3 ~n4 ~n5 !n6", problem: "" },
  { from: "n1 n2 n3 ~n4 ~n5", to: "n1 n2 n3", problem: "" },
  { from: "n1 n2 n3", to: "n1 n2 n4", problem: SEVERAL },
  { from: "n1 n2 n3", to: "n1", problem: SEVERAL },
  { from: "n1", to: "n1 n2 n3", problem: SEVERAL },
  { from: "n1 n2 n3", to: "n1 n2 -n3 +n4", problem: "" },
  { from: "n1 n2 n3", to: "n1 n2 n3 +n4", problem: "" },
  { from: "n1 n2 n3", to: "n1 n2 -n3", problem: "" },
  { from: "n1 n2 n3", to: "n1 n2 +n3 -n4", problem: OTHER_VOTERS },
  { from: "n1 n2 n3", to: "n1 n2 +n4", problem: OTHER_VOTERS },
  { from: "n1 n2", to: "+n3", problem: ALONE },
  { from: "n1 n2 -n3 +n4", to: "n1 n2 n4", problem: "" },
  { from: "n1 n2 -n3 +n4", to: "n1 n2 n4 ~n3", problem: "" },
  { from: "n1 n2 -n3 +n4", to: "n1 n2 n3", problem: FIRST_LEAVE },
  { from: "n1 n2 -n3 +n4", to: "n1 n2", problem: FIRST_LEAVE },
  { from: "n1 n2 -n3 +n4", to: "n1 n2 -n3 +n4", problem: FIRST_LEAVE },
  { from: "n1 n2 +n3", to: "n1 n2 n3 +n4", problem: FIRST_LEAVE },
])("change of $from to $to: '$problem'", ({ from, to, problem }) => {
  expect(changeProblem(configurationFrom(from), configurationFrom(to))).toBe(problem);
});

// A voter without a named directory is bound to it all the same; a learner without one is not.
test.each([
  { from: "n1", to: "n2", is: false },
  { from: "n2", to: "n1", is: false },
  { from: "n1", to: "n1", is: true },
  { from: "n1@a", to: "n1@a", is: true },
  { from: "n1@a", to: "n1@b", is: false },
  { from: "n1", to: "n1@b", is: true },
  { from: "n1@a", to: "n1", is: false },
  { from: "~n1", to: "n1@b", is: false },
  { from: "~n1", to: "n1", is: true },
  { from: "~n1@a", to: "n1@a", is: true },
  { from: "~n1", to: "~n1", is: false },
  { from: "~n1@a", to: "~n1@a", is: true },
  { from: "~n1@a", to: "~n1@b", is: false },
  { from: "n1", to: "~n1@b", is: false },
  { from: "n1@a", to: "~n1@a", is: true },
])("$from and $to are the same node: $is", ({ from, to, is }) => {
  expect(isSameNode(configurationFrom(from), configurationFrom(to), "n1")).toBe(is);
});

describe("history", () => {
  const A = configurationFrom("n1");
  const B = configurationFrom("n1 n2");
  const C = configurationFrom("n1 n2 n3");

  /** A at 0, B at 5, C at 9. */
  function historyOfThree(): ConfigurationHistory {
    const history = new ConfigurationHistory([{ index: 0, configuration: A }]);
    history.add(5, B);
    history.add(9, C);
    return history;
  }

  test("the latest counts, and any that may still count lets a node vote", () => {
    const history = historyOfThree();
    expect(history.latest).toEqual({ index: 9, configuration: C });
    history.add(10, A);
    expect(["n1", "n2", "n3", "n4"].map((id) => history.mayVote(id))).toEqual([
      true,
      true,
      true,
      false,
    ]);
  });

  // A joining node has no committed configuration: those that it finds may be truncated.
  test("a node that found only uncommitted ones falls back to no members", () => {
    const history = new ConfigurationHistory([{ index: 5, configuration: B }]);
    expect(history.latest).toEqual({ index: 5, configuration: B });
    expect(history.truncate(5)).toBe(true);
    expect(history.latest).toEqual({ index: 0, configuration: NO_MEMBERS });
    expect(new ConfigurationHistory([]).latest).toEqual({ index: 0, configuration: NO_MEMBERS });
  });

  test.each([
    { from: 4, isChanged: true, latest: 0 },
    { from: 5, isChanged: true, latest: 0 },
    { from: 6, isChanged: true, latest: 5 },
    { from: 9, isChanged: true, latest: 5 },
    { from: 10, isChanged: false, latest: 9 },
  ])("truncated from $from on: the one at $latest counts", ({ from, isChanged, latest }) => {
    const history = historyOfThree();
    expect(history.truncate(from)).toBe(isChanged);
    expect(history.latest.index).toBe(latest);
  });

  test("the first configuration is never truncated", () => {
    expect(() => historyOfThree().truncate(0)).toThrow("never truncated");
  });

  // With everything behind it truncated, the oldest that is left shows what the commit dropped.
  test.each([
    { committed: 4, oldest: "n1" },
    { committed: 5, oldest: "n1 n2" },
    { committed: 8, oldest: "n1 n2" },
    { committed: 9, oldest: "n1 n2 n3" },
    { committed: 20, oldest: "n1 n2 n3" },
  ])("committed up to $committed: nothing before $oldest can come back", (row) => {
    const history = historyOfThree();
    history.commit(row.committed);
    history.truncate(row.committed + 1);
    expect(configurationWords(history.latest.configuration)).toBe(row.oldest);
    for (const { id } of C.members) {
      expect(history.mayVote(id)).toBe(row.oldest.split(" ").includes(id));
    }
  });

  test("a snapshot's configuration is the only one", () => {
    const history = historyOfThree();
    history.restore(20, A);
    expect(history.latest).toEqual({ index: 20, configuration: A });
    expect(history.mayVote("n3")).toBe(false);
  });

  test("configurations out of order are a bug", () => {
    expect(() => historyOfThree().add(9, A)).toThrow("in order");
    const found = [5, 5].map((index) => ({ index, configuration: A }));
    expect(() => new ConfigurationHistory(found)).toThrow("in order");
  });
});
