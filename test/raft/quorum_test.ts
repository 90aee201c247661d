/**
 * Majorities, of one configuration and of two.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { isQuorum, majority, quorumValue, voteResult } from "../../src/raft/quorum.ts";
import { configurationFrom } from "./cluster.ts";

test.each([
  [1, 1],
  [2, 2],
  [3, 2],
  [4, 3],
  [5, 3],
  [6, 4],
  [7, 4],
])("majority of %i voters: %i", (voters, needed) => {
  expect(majority(voters)).toBe(needed);
});

/** Values by node, in the order n1, n2, n3 ... */
function valuesOf(...values: readonly number[]): (id: string) => number {
  return (id) => values[Number(id.slice(1)) - 1]!;
}

// Learners and standbys hold the log and do not count, however far they are.
test.each([
  { members: "n1", values: [7], value: 7 },
  { members: "n1 n2", values: [7, 3], value: 3 },
  { members: "n1 n2 n3", values: [9, 3, 5], value: 5 },
  { members: "n1 n2 n3 n4", values: [9, 3, 5, 7], value: 5 },
  { members: "n1 n2 n3 n4 n5", values: [10, 2, 9, 3, 5], value: 5 },
  { members: "n1 n2 n3 ~n4 !n5", values: [1, 2, 3, 99, 99], value: 2 },
  { members: "n1 n2 -n3 +n4", values: [5, 6, 9, 1], value: 5 },
  { members: "n1 n2 -n3 +n4", values: [5, 9, 1, 9], value: 5 },
  { members: "-n1 -n2 -n3 +n4", values: [4, 6, 5, 9], value: 5 },
  { members: "-n1 -n2 -n3 +n4", values: [4, 6, 5, 2], value: 2 },
])("quorum value of $members with $values: $value", ({ members, values, value }) => {
  expect(quorumValue(configurationFrom(members), valuesOf(...values))).toBe(value);
});

test("quorum value: values of two digits are compared as numbers", () => {
  const configuration = configurationFrom("n1 n2 n3");
  expect(quorumValue(configuration, valuesOf(10, 9, 100))).toBe(10);
});

test("quorum value: a configuration without voters has none", () => {
  expect(() => quorumValue(configurationFrom("~n1"), () => 1)).toThrow("a cluster has voters");
});

test.each([
  { members: "n1 n2 n3", holds: "n1", is: false },
  { members: "n1 n2 n3", holds: "n1 n3", is: true },
  { members: "n1 n2 n3 n4", holds: "n1 n3", is: false },
  { members: "n1 n2 -n3 +n4", holds: "n1 n3", is: false },
  { members: "n1 n2 -n3 +n4", holds: "n1 n4", is: false },
  { members: "n1 n2 -n3 +n4", holds: "n1 n3 n4", is: true },
  { members: "n1 n2 -n3 +n4", holds: "n1 n2", is: true },
])("$holds of $members are a quorum: $is", ({ members, holds, is }) => {
  const ids = holds.split(" ");
  expect(isQuorum(configurationFrom(members), (id) => ids.includes(id))).toBe(is);
});

// `+` granted, `-` refused, `.` open, in the order n1, n2, n3 ...
test.each([
  { members: "n1", answers: "+", result: "won" },
  { members: "n1", answers: "-", result: "lost" },
  { members: "n1", answers: ".", result: "pending" },
  { members: "n1 n2", answers: "+.", result: "pending" },
  { members: "n1 n2", answers: "+-", result: "lost" },
  { members: "n1 n2", answers: "++", result: "won" },
  { members: "n1 n2 n3", answers: "+-.", result: "pending" },
  { members: "n1 n2 n3", answers: "--.", result: "lost" },
  { members: "n1 n2 n3", answers: "+.+", result: "won" },
  { members: "n1 n2 n3", answers: "-+-", result: "lost" },
  { members: "n1 n2 n3 n4", answers: "++..", result: "pending" },
  { members: "n1 n2 n3 n4", answers: "++--", result: "lost" },
  { members: "n1 n2 n3 n4", answers: "-...", result: "pending" },
  { members: "n1 n2 n3 n4", answers: "+++-", result: "won" },
  { members: "n1 n2 n3 ~n4", answers: "+..+", result: "pending" },
  { members: "n1 n2 n3 ~n4", answers: "-..-", result: "pending" },
  { members: "n1 -n2 +n3", answers: "+..", result: "pending" },
  { members: "n1 -n2 +n3", answers: "++.", result: "pending" },
  { members: "n1 -n2 +n3", answers: "+.+", result: "pending" },
  { members: "n1 -n2 +n3", answers: "+-.", result: "lost" },
  { members: "n1 -n2 +n3", answers: "+.-", result: "lost" },
  { members: "n1 -n2 +n3", answers: "+++", result: "won" },
] as const)("vote of $members with answers $answers: $result", ({ members, answers, result }) => {
  const given = [...answers].flatMap((answer, at): readonly [string, boolean][] => {
    return answer === "." ? [] : [[`n${at + 1}`, answer === "+"]];
  });
  expect(voteResult(configurationFrom(members), new Map(given))).toBe(result);
});

test("vote: answers of strangers do not count", () => {
  const answers = new Map([
    ["n8", true],
    ["n9", true],
  ]);
  expect(voteResult(configurationFrom("n1 n2 n3"), answers)).toBe("pending");
});
