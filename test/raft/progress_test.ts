/**
 * A leader's view of one peer: each transition, with all that it changes.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { Progress } from "../../src/raft/progress.ts";

const WINDOW = { messagesMax: 2, bytesMax: 100 };

/** A peer that is known to hold `match`; its next append begins at `next`. */
function peerAt(state: Progress["state"], match: number, next: number): Progress {
  const progress = new Progress(next, WINDOW);
  progress.match = match;
  progress.state = state;
  return progress;
}

function viewOf(progress: Progress) {
  const { state, match, next, isProbeSent, isCatchingUp, isPaused } = progress;
  const { count } = progress.inflights;
  return { state, match, next, isProbeSent, isCatchingUp, isPaused, count };
}

/** A view with nothing under way. */
const IDLE = { isProbeSent: false, isCatchingUp: false, isPaused: false, count: 0 };

test("a new peer is probed, holds nothing, and has confirmed nothing", () => {
  const progress = new Progress(5, WINDOW);
  expect(viewOf(progress)).toEqual({ state: "probe", match: 0, next: 5, ...IDLE });
  const { isRecentlyActive, readRound, sentCommit } = progress;
  expect({ isRecentlyActive, readRound, sentCommit }).toEqual({
    isRecentlyActive: false,
    readRound: 0,
    sentCommit: 0,
  });
});

// Whatever was under way is forgotten: only the entries that the peer surely holds are skipped.
test.each([
  { become: "becomeProbe", state: "probe", isPaused: false },
  { become: "becomeReplicate", state: "replicate", isPaused: false },
  { become: "becomeSnapshot", state: "snapshot", isPaused: true },
] as const)("$become: the next append follows the match, with an empty window", (row) => {
  const progress = peerAt("replicate", 3, 5);
  progress.sent(6, 10);
  progress.isProbeSent = true;
  progress.isCatchingUp = true;
  progress[row.become]();
  const { state, isPaused } = row;
  expect(viewOf(progress)).toEqual({ ...IDLE, state, match: 3, next: 4, isPaused });
});

test("probe: one append pauses the peer and does not move it on", () => {
  const progress = peerAt("probe", 3, 5);
  progress.sent(6, 10);
  const paused = { ...IDLE, isProbeSent: true, isPaused: true };
  expect(viewOf(progress)).toEqual({ ...paused, state: "probe", match: 3, next: 5 });
});

test("replicate: appends move the peer on until the window is full", () => {
  const progress = peerAt("replicate", 3, 4);
  progress.sent(4, 10);
  expect(viewOf(progress)).toEqual({ ...IDLE, state: "replicate", match: 3, next: 5, count: 1 });
  progress.sent(7, 10);
  const full = { ...IDLE, isPaused: true, count: 2 };
  expect(viewOf(progress)).toEqual({ ...full, state: "replicate", match: 3, next: 8 });
});

// An append without entries is not acknowledged as anything new, so it must not take up the window.
test("replicate: an append without entries is not under way", () => {
  const progress = peerAt("replicate", 3, 4);
  progress.sent(3, 0);
  expect(viewOf(progress)).toEqual({ ...IDLE, state: "replicate", match: 3, next: 4 });
});

test("replicate: waiting for the disk pauses the peer", () => {
  const progress = peerAt("replicate", 3, 4);
  progress.isCatchingUp = true;
  expect(progress.isPaused).toBe(true);
});

test.each([
  { index: 3, isNews: false, match: 4, next: 6 },
  { index: 4, isNews: false, match: 4, next: 6 },
  { index: 5, isNews: true, match: 5, next: 6 },
  { index: 6, isNews: true, match: 6, next: 7 },
])("acknowledged $index of match 4 and next 6: news $isNews", ({ index, isNews, match, next }) => {
  const progress = peerAt("replicate", 4, 6);
  expect(progress.acknowledged(index)).toBe(isNews);
  expect(viewOf(progress)).toEqual({ ...IDLE, state: "replicate", match, next });
});

// A refusal of an append before the match is old: the peer has proved since that it holds more.
test.each([
  { state: "replicate", at: 3, hint: 1, isFresh: false, after: "replicate", next: 6 },
  { state: "replicate", at: 4, hint: 1, isFresh: true, after: "probe", next: 4 },
  { state: "replicate", at: 7, hint: 1, isFresh: true, after: "probe", next: 4 },
  { state: "probe", at: 4, hint: 1, isFresh: false, after: "probe", next: 6 },
  { state: "probe", at: 6, hint: 1, isFresh: false, after: "probe", next: 6 },
  { state: "probe", at: 5, hint: 1, isFresh: true, after: "probe", next: 4 },
  { state: "probe", at: 5, hint: 3, isFresh: true, after: "probe", next: 4 },
  { state: "probe", at: 5, hint: 4, isFresh: true, after: "probe", next: 5 },
  { state: "probe", at: 5, hint: 5, isFresh: true, after: "probe", next: 5 },
  { state: "probe", at: 5, hint: 9, isFresh: true, after: "probe", next: 5 },
  { state: "snapshot", at: 5, hint: 1, isFresh: false, after: "snapshot", next: 6 },
] as const)("$state with match 3 and next 6 rejected at $at, hint $hint: next $next", (row) => {
  const progress = peerAt(row.state, 3, 6);
  progress.isProbeSent = true;
  expect(progress.rejected(row.at, { term: 1, index: row.hint })).toBe(row.isFresh);
  const { state, next, isProbeSent } = progress;
  expect({ state, next, isProbeSent }).toEqual({
    state: row.after,
    next: row.next,
    isProbeSent: !row.isFresh,
  });
});
