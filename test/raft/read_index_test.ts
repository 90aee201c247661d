/**
 * Read barriers on the leader: rounds, and the reads that each of them confirms.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { addRead, confirmedRound, releaseReads } from "../../src/raft/read_index.ts";
import { leaderUnderTest, StateUnderTest, settledLeader } from "./state.ts";

const FIVE = "n1 n2 n3 n4 n5";

/** Messages as `TO TYPE NUMBER`, with the round, or the index of the read. */
function wordsOf(node: StateUnderTest): readonly string[] {
  return node.takeSent().map((message) => {
    if (message.type === "HEARTBEAT") return `${message.to} round ${message.readRound}`;
    if (message.type === "READ_INDEX_RESPONSE") {
      return `${message.to} read ${message.context} at ${message.index}`;
    }
    return message.type;
  });
}

test("a node that does not lead notes no read", () => {
  const node = new StateUnderTest();
  addRead(node.state, "n2", 5);
  const { pendingReads, waitingReads, readRound, messages } = node.state;
  expect({ pendingReads, waitingReads, readRound, messages }).toEqual({
    pendingReads: [],
    waitingReads: [],
    readRound: 0,
    messages: [],
  });
});

// While handing over, the next leader may be committing already.
test("a leader that hands over notes no read", () => {
  const node = settledLeader();
  node.state.transferee = "n2";
  addRead(node.state, "n2", 5);
  expect(node.state.pendingReads).toEqual([]);
  expect(wordsOf(node)).toEqual([]);
});

test("each read begins a round of its own, with a heartbeat to every peer", () => {
  const node = settledLeader({ members: "n1 n2 ~n3" });
  addRead(node.state, "n3", 5);
  addRead(node.state, "n1", 6);
  expect(wordsOf(node)).toEqual(["n2 round 1", "n3 round 1", "n2 round 2", "n3 round 2"]);
  expect(node.state.pendingReads).toEqual([
    { context: 5, from: "n3", index: 1, round: 1 },
    { context: 6, from: "n1", index: 1, round: 2 },
  ]);
});

test("before the first commit of the term reads wait without a round", () => {
  const node = leaderUnderTest();
  addRead(node.state, "n2", 5);
  const { waitingReads, pendingReads, readRound } = node.state;
  expect({ waitingReads, pendingReads, readRound }).toEqual({
    waitingReads: [{ context: 5, from: "n2" }],
    pendingReads: [],
    readRound: 0,
  });
});

// The oldest reads go first; those of a round that is not confirmed stay.
test("a confirmed round answers its reads and those before it", () => {
  const node = settledLeader({ members: FIVE });
  for (const [from, context] of [
    ["n2", 5],
    ["n1", 6],
    ["n3", 7],
  ] as const) {
    addRead(node.state, from, context);
  }
  node.takeSent();
  node.state.progress.get("n3")!.readRound = 2;
  releaseReads(node.state);
  expect(wordsOf(node)).toEqual([]);
  node.state.progress.get("n4")!.readRound = 2;
  releaseReads(node.state);
  expect(wordsOf(node)).toEqual(["n2 read 5 at 1"]);
  expect(node.state.reads).toEqual([{ context: 6, index: 1 }]);
  expect(node.state.pendingReads).toEqual([{ context: 7, from: "n3", index: 1, round: 3 }]);
});

// Their sender had voted for no later leader when it asked, nor has this one.
test.each([
  { members: "n1 n2 n3", from: "n2", isAtOnce: true },
  { members: "n1 n2", from: "n2", isAtOnce: true },
  { members: "n1 n2 ~n3", from: "n3", isAtOnce: false },
  { members: "n1 n2 n3", from: "n9", isAtOnce: false },
  { members: FIVE, from: "n2", isAtOnce: false },
  { members: "n2 n3", from: "n2", isAtOnce: false },
  { members: "n1 n2 -n3 +n4", from: "n2", isAtOnce: true },
  { members: "n1 n2 -n3 +n4", from: "n4", isAtOnce: false },
])("$members: a question of $from is the quorum's answer: $isAtOnce", (row) => {
  const node = settledLeader({ members: row.members });
  addRead(node.state, row.from, 5);
  expect(node.state.pendingReads).toHaveLength(row.isAtOnce ? 0 : 1);
  const words = wordsOf(node);
  if (row.isAtOnce) expect(words).toEqual([`${row.from} read 5 at 1`]);
  else expect(words.filter((word) => word.includes("read"))).toEqual([]);
  expect(confirmedRound(node.state)).toBe(0);
});

test("a leader alone serves at once", () => {
  const node = settledLeader({ members: "n1" });
  addRead(node.state, "n1", 5);
  expect(node.state.reads).toEqual([{ context: 5, index: 1 }]);
  expect(node.state.pendingReads).toEqual([]);
});

test.each([
  { members: "n1 n2 n3", rounds: [9, 0, 0], confirmed: 0 },
  { members: "n1 n2 n3", rounds: [9, 4, 0], confirmed: 4 },
  { members: "n1 n2 n3", rounds: [9, 4, 6], confirmed: 6 },
  { members: "n1", rounds: [9], confirmed: 9 },
  { members: "n1 n2 ~n3", rounds: [9, 4, 8], confirmed: 4 },
  { members: "n2 n3", rounds: [9, 4, 6], confirmed: 4 },
  { members: "n1 -n2 +n3", rounds: [9, 4, 6], confirmed: 4 },
])("$members with rounds $rounds have confirmed $confirmed", ({ members, rounds, confirmed }) => {
  const node = settledLeader({ members });
  node.state.readRound = rounds[0]!;
  for (const [at, round] of rounds.entries()) {
    const progress = node.state.progress.get(`n${at + 1}`);
    if (at > 0 && progress !== undefined) progress.readRound = round;
  }
  expect(confirmedRound(node.state)).toBe(confirmed);
});

test("a voter that is not tracked has confirmed nothing", () => {
  const node = settledLeader();
  node.state.readRound = 9;
  node.state.progress.delete("n2");
  node.state.progress.delete("n3");
  expect(confirmedRound(node.state)).toBe(0);
});
