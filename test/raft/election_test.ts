/**
 * Votes: given, refused, counted.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import {
  answerDeferred,
  answerVote,
  campaign,
  handleVoteResponse,
  idleFollowerTicks,
  isSticky,
  isUpToDate,
  ownVotePersisted,
  tickFollower,
} from "../../src/raft/election.ts";
import { followLeader } from "../../src/raft/follower.ts";
import type { VoteRequest, VoteResponse } from "../../src/raft/message.ts";
import { type StateOptions, StateUnderTest, settledLeader } from "./state.ts";

test.each([
  { candidate: "1:5", own: "1:5", is: true },
  { candidate: "1:6", own: "1:5", is: true },
  { candidate: "1:4", own: "1:5", is: false },
  { candidate: "2:1", own: "1:5", is: true },
  { candidate: "1:9", own: "2:5", is: false },
])("a log that ends with $candidate is up to date beside $own: $is", ({ candidate, own, is }) => {
  const idOf = (words: string) => {
    const [term = 0, index = 0] = words.split(":").map(Number);
    return { term, index };
  };
  expect(isUpToDate(idOf(candidate), idOf(own))).toBe(is);
});

/** A request of n2, with an empty log, to n1 in term 4. */
function requestOf(fields: Partial<VoteRequest> = {}): VoteRequest {
  const envelope = { from: "n2", to: "n1", term: 4 };
  const last = { term: 0, index: 0 };
  return { type: "VOTE_REQUEST", ...envelope, last, preVote: false, transfer: false, ...fields };
}

/** A follower in term 4 without a vote or a leader. */
function voterOf(options: StateOptions = {}): StateUnderTest {
  return new StateUnderTest({ hardState: { term: 4, vote: undefined }, ...options });
}

describe("a live leader", () => {
  test.each([
    { name: "a follower of nobody", leader: undefined, elapsed: 0, transfer: false, is: false },
    { name: "in time", leader: "n3", elapsed: 9, transfer: false, is: true },
    { name: "after T", leader: "n3", elapsed: 10, transfer: false, is: false },
    { name: "for a transfer", leader: "n3", elapsed: 0, transfer: true, is: false },
  ])("is protected: $name: $is", ({ leader, elapsed, transfer, is }) => {
    const { state } = voterOf();
    state.leader = leader;
    state.electionElapsed = elapsed;
    expect(isSticky(state, requestOf({ transfer }))).toBe(is);
  });

  // Seed 2633: a voter that had been paused refused its old leader's campaign for seconds.
  test("is not protected from its own campaign", () => {
    const { state } = voterOf();
    state.leader = "n2";
    expect(isSticky(state, requestOf({ from: "n2" }))).toBe(false);
    expect(isSticky(state, requestOf({ from: "n3" }))).toBe(true);
  });

  test("is not protected once it is forgotten; a leader itself is", () => {
    const { state } = voterOf();
    state.leader = "n3";
    state.isLeaderForgotten = true;
    expect(isSticky(state, requestOf())).toBe(false);
    const leader = settledLeader().state;
    leader.electionElapsed = 12;
    expect(isSticky(leader, requestOf())).toBe(true);
    expect(isSticky(settledLeader().state, requestOf({ transfer: true }))).toBe(false);
  });
});

describe("a pre-vote that came too early", () => {
  const early = requestOf({ from: "n2", term: 5, preVote: true, last: { term: 9, index: 9 } });
  const answers = (node: StateUnderTest): unknown[] =>
    node.takeSent().map((message) => {
      return message.type === "VOTE_RESPONSE" ? `${message.to} ${message.granted}` : message.type;
    });
  function follower(): StateUnderTest {
    const node = voterOf();
    node.state.becomeFollower(4, "n3");
    return node;
  }

  test("is answered when the leader turns out to be gone, once", () => {
    const node = follower();
    answerVote(node.state, early);
    expect(answers(node)).toEqual(["n2 false"]);
    node.state.isLeaderForgotten = true;
    answerDeferred(node.state);
    answerDeferred(node.state);
    expect(answers(node)).toEqual(["n2 true"]);
  });

  test("is answered when this node's own wait for the leader is over, and not before", () => {
    const node = follower();
    const { electionTicks } = node.state.pace;
    node.state.electionWait = 2 * electionTicks;
    node.state.electionElapsed = electionTicks - 3;
    answerVote(node.state, early);
    expect(answers(node)).toEqual(["n2 false"]);
    expect(idleFollowerTicks(node.state)).toBe(2);
    for (const expected of [[], [], ["n2 true"], []]) {
      tickFollower(node.state);
      expect(answers(node)).toEqual(expected);
    }
  });

  test("is not answered when the leader was heard since, or the term has passed", () => {
    const heard = follower();
    answerVote(heard.state, early);
    followLeader(heard.state, "n3");
    const passed = follower();
    answerVote(passed.state, early);
    passed.state.becomeFollower(5, "n3");
    for (const node of [heard, passed]) {
      node.takeSent();
      node.state.isLeaderForgotten = true;
      answerDeferred(node.state);
      expect(answers(node)).toEqual([]);
    }
  });

  // Such a copy once made both followers of a healthy leader campaign.
  test("a late copy of the question by which the leader was elected does nothing", () => {
    const node = voterOf({ log: [1, 1] });
    node.state.becomeFollower(4, "n3");
    node.state.electionWait = 1000;
    const late = { from: "n3", term: 4, preVote: true, last: { term: 0, index: 0 } };
    answerVote(node.state, requestOf(late));
    expect(answers(node)).toEqual(["n3 false"]);
    expect(node.state.electionWait).toBe(1000);
  });

  // All whole followers hear it at the same moment.
  test("one that this log beats leaves the ranks apart", () => {
    const members = "n1 n2 n3 n4 n5";
    const waits = ["n2", "n3", "n4"].map((id) => {
      const node = voterOf({ log: [1, 1], members, id });
      node.state.electionWait = 1000;
      const short = { from: "n1", to: id, term: 5, preVote: true, last: { term: 0, index: 0 } };
      answerVote(node.state, requestOf(short));
      return node.state.electionWait;
    });
    const { rankTicks, jitterTicks } = voterOf().state.config;
    for (const [at, wait] of waits.entries()) {
      expect(wait).toBeGreaterThanOrEqual(1 + at * rankTicks);
      expect(wait).toBeLessThanOrEqual(1 + at * rankTicks + jitterTicks);
    }
  });

  test("one that this log beats makes a voter without a leader campaign soon", () => {
    const short = { ...early, last: { term: 0, index: 0 } };
    const node = voterOf({ log: [1, 1] });
    node.state.electionWait = 1000;
    answerVote(node.state, short);
    expect(answers(node)).toEqual(["n2 false"]);
    expect(node.state.electionWait).toBeLessThanOrEqual(1 + node.state.config.jitterTicks);
    const led = voterOf({ log: [1, 1] });
    led.state.becomeFollower(4, "n3");
    led.state.electionWait = 1000;
    answerVote(led.state, short);
    expect(led.state.electionWait).toBe(1000);
  });
});

describe("an answer", () => {
  interface Row {
    readonly name: string;
    readonly request: Partial<VoteRequest>;
    readonly vote?: string;
    readonly leader?: string;
    readonly elapsed?: number;
    readonly quiet?: number;
    readonly log?: readonly number[];
    readonly granted: boolean;
    readonly term: number;
  }
  const rows: readonly Row[] = [
    { name: "the first of the term", request: {}, granted: true, term: 4 },
    { name: "again to the same node", request: {}, vote: "n2", granted: true, term: 4 },
    { name: "to a second one", request: {}, vote: "n3", granted: false, term: 4 },
    { name: "in a newer term, not adopted", request: { term: 5 }, granted: false, term: 4 },
    {
      name: "after T, of a term that has a leader",
      request: {},
      leader: "n3",
      elapsed: 10,
      granted: false,
      term: 4,
    },
    {
      name: "while a lease may run",
      request: {},
      quiet: 1,
      granted: false,
      term: 4,
    },
    {
      name: "to a log that is behind",
      request: { last: { term: 3, index: 1 } },
      log: [3, 3],
      granted: false,
      term: 4,
    },
    {
      name: "to a log that is as long",
      request: { last: { term: 3, index: 2 } },
      log: [3, 3],
      granted: true,
      term: 4,
    },
    {
      name: "before a pre-vote's term",
      request: { preVote: true, term: 5 },
      granted: true,
      term: 5,
    },
    {
      name: "to a pre-vote for the present term",
      request: { preVote: true, term: 4 },
      granted: false,
      term: 4,
    },
    {
      name: "to a pre-vote, whoever got the vote",
      request: { preVote: true, term: 5 },
      vote: "n3",
      granted: true,
      term: 5,
    },
    {
      name: "to a pre-vote against a live leader",
      request: { preVote: true, term: 5 },
      leader: "n3",
      granted: false,
      term: 4,
    },
    {
      name: "to a pre-vote after T",
      request: { preVote: true, term: 5 },
      leader: "n3",
      elapsed: 10,
      granted: true,
      term: 5,
    },
    {
      name: "to a pre-vote while a lease may run",
      request: { preVote: true, term: 5 },
      quiet: 1,
      granted: false,
      term: 4,
    },
  ];
  test.each([...rows])("$name: granted $granted in term $term", (row) => {
    const { request, vote, leader, elapsed = 0, quiet = 0, granted, term } = row;
    const node = voterOf({ log: row.log ?? [], hardState: { term: 4, vote } });
    const { state } = node;
    state.leader = leader;
    state.electionElapsed = elapsed;
    state.quietTicks = quiet;
    const asked = requestOf(request);
    answerVote(state, asked);

    const { preVote } = asked;
    const answer = { type: "VOTE_RESPONSE", from: "n1", to: "n2", term, granted, preVote } as const;
    expect(node.takeSent()).toEqual(preVote ? [answer] : []);
    expect(node.takePromises()).toEqual(preVote ? [] : [answer]);
    expect(state.term).toBe(4);
    expect(state.vote).toBe(granted && !preVote ? "n2" : vote);
  });

  // A vote that is given restarts the wait, or the voter would campaign against its own choice.
  test.each([
    { request: {}, elapsed: 0 },
    { request: { preVote: true, term: 5 }, elapsed: 7 },
    { request: { term: 5 }, elapsed: 7 },
  ])("to $request leaves $elapsed ticks of the wait", ({ request, elapsed }) => {
    const { state } = voterOf();
    state.electionElapsed = 7;
    state.electionWait = 0;
    answerVote(state, requestOf(request));
    expect(state.electionElapsed).toBe(elapsed);
    expect(state.electionWait >= 10).toBe(elapsed === 0);
  });
});

describe("a campaign", () => {
  test("with a pre-vote changes neither term nor vote", () => {
    const node = voterOf({ log: [1, 3], hardState: { term: 4, vote: "n3" } });
    node.state.electionElapsed = 12;
    node.state.leader = "n3";
    node.state.votes.set("n2", true);
    campaign(node.state, { preVote: true, transfer: false });

    const { term, vote, role, leader, electionElapsed, votes } = node.state;
    expect([term, vote, role, leader, electionElapsed]).toEqual([
      4,
      "n3",
      "pre-candidate",
      undefined,
      0,
    ]);
    expect([...votes]).toEqual([["n1", true]]);
    const body = { last: { term: 3, index: 2 }, preVote: true, transfer: false } as const;
    expect(node.takeSent()).toEqual([
      { type: "VOTE_REQUEST", from: "n1", to: "n2", term: 5, ...body },
      { type: "VOTE_REQUEST", from: "n1", to: "n3", term: 5, ...body },
    ]);
    expect(node.takeEvents()).toEqual([
      { type: "LEADER_LOST", leader: "n3", silentTicks: 12, why: "silent" },
      { type: "ROLE_CHANGED", role: "pre-candidate", term: 4, leader: undefined },
      { type: "ELECTION_STARTED", term: 5, preVote: true },
    ]);
  });

  test("in earnest takes the next term; the own vote waits for the disk", () => {
    const node = voterOf({ hardState: { term: 4, vote: "n3" } });
    campaign(node.state, { preVote: false, transfer: true });

    const { term, vote, role, votes } = node.state;
    expect({ term, vote, role, votes: votes.size }).toEqual({
      term: 5,
      vote: "n1",
      role: "candidate",
      votes: 0,
    });
    const last = { term: 0, index: 0 };
    const body = { term: 5, last, preVote: false, transfer: true } as const;
    expect(node.takeSent()).toEqual([
      { type: "VOTE_REQUEST", from: "n1", to: "n2", ...body },
      { type: "VOTE_REQUEST", from: "n1", to: "n3", ...body },
    ]);
  });

  test("asks the voters of both configurations, and no learners", () => {
    const node = voterOf({ members: "n1 -n2 +n3 ~n4 !n5" });
    campaign(node.state, { preVote: true, transfer: false });
    expect(node.takeSent().map(({ to }) => to)).toEqual(["n2", "n3"]);
  });

  // T = 10, a rank takes 1 tick, and n1 is of rank 0: the short wait is 1 tick.
  test.each([
    { preVote: true, isForgotten: true, waits: [1, 1] },
    { preVote: true, isForgotten: false, waits: [10, 19] },
    { preVote: false, isForgotten: true, waits: [10, 19] },
  ])("pre-vote $preVote, leader forgotten $isForgotten: repeated within $waits", (row) => {
    const { state } = voterOf();
    state.isLeaderForgotten = row.isForgotten;
    state.electionWait = 99;
    campaign(state, { preVote: row.preVote, transfer: false });
    expect(state.electionWait).toBeGreaterThanOrEqual(row.waits[0]!);
    expect(state.electionWait).toBeLessThanOrEqual(row.waits[1]!);
  });

  test("of a single voter wins the pre-vote at once, and the vote when it is on disk", () => {
    const { state } = voterOf({ members: "n1" });
    campaign(state, { preVote: true, transfer: false });
    expect({ role: state.role, term: state.term }).toEqual({ role: "candidate", term: 5 });
    ownVotePersisted(state, 4);
    expect(state.role).toBe("candidate");
    ownVotePersisted(state, 5);
    expect(state.role).toBe("leader");
  });
});

/** n2 answers n1. */
function responseOf(fields: Partial<VoteResponse>): VoteResponse {
  const envelope = { type: "VOTE_RESPONSE", from: "n2", to: "n1", term: 5 } as const;
  return { ...envelope, granted: true, preVote: false, ...fields };
}

describe("counting", () => {
  /** n1 campaigns from term 4 among five voters. */
  function candidateOf(preVote: boolean): StateUnderTest {
    const node = voterOf({ members: "n1 n2 n3 n4 n5" });
    campaign(node.state, { preVote, transfer: false });
    return node;
  }

  // A granted pre-vote has the term that would be campaigned for, a refused one the voter's own.
  test.each([
    { name: "a vote", preVote: false, response: {}, counted: true },
    { name: "a refusal", preVote: false, response: { granted: false }, counted: true },
    { name: "a vote of a later term", preVote: false, response: { term: 6 }, counted: false },
    { name: "a pre-vote for a vote", preVote: false, response: { preVote: true }, counted: false },
    { name: "a pre-vote", preVote: true, response: { preVote: true }, counted: true },
    {
      name: "a refused pre-vote",
      preVote: true,
      response: { preVote: true, granted: false, term: 4 },
      counted: true,
    },
    {
      name: "a refused pre-vote of the next term",
      preVote: true,
      response: { preVote: true, granted: false },
      counted: false,
    },
    {
      name: "a pre-vote of the present term",
      preVote: true,
      response: { preVote: true, term: 4 },
      counted: false,
    },
    { name: "a vote for a pre-vote", preVote: true, response: {}, counted: false },
  ])("$name counts: $counted", ({ preVote, response, counted }) => {
    const { state } = candidateOf(preVote);
    const message = responseOf(response);
    handleVoteResponse(state, message);
    expect(state.votes.get("n2")).toBe(counted ? message.granted : undefined);
  });

  test("a follower counts nothing", () => {
    const { state } = voterOf();
    handleVoteResponse(state, responseOf({ term: 4 }));
    handleVoteResponse(state, responseOf({ preVote: true }));
    expect(state.votes.size).toBe(0);
  });

  test("a won pre-vote leads to the campaign", () => {
    const { state } = candidateOf(true);
    handleVoteResponse(state, responseOf({ preVote: true }));
    expect(state.role).toBe("pre-candidate");
    handleVoteResponse(state, responseOf({ preVote: true, from: "n3" }));
    expect({ role: state.role, term: state.term, votes: state.votes.size }).toEqual({
      role: "candidate",
      term: 5,
      votes: 0,
    });
  });

  test("a majority of other votes does not elect before the own vote is on disk", () => {
    const { state } = candidateOf(false);
    for (const from of ["n2", "n3", "n4"]) handleVoteResponse(state, responseOf({ from }));
    expect(state.role).toBe("candidate");
    ownVotePersisted(state, 5);
    expect({ role: state.role, leader: state.leader }).toEqual({ role: "leader", leader: "n1" });
  });

  // The wait that was drawn for the round goes on, or each refusal would put the next round off.
  test("a lost round leaves a follower without a leader, with the same wait", () => {
    const { state } = candidateOf(false);
    state.electionWait = 77;
    state.electionElapsed = 3;
    for (const from of ["n2", "n3", "n4"]) {
      handleVoteResponse(state, responseOf({ from, granted: false }));
    }
    const { role, leader, term, vote, electionWait } = state;
    expect({ role, leader, term, vote, electionWait }).toEqual({
      role: "follower",
      leader: undefined,
      term: 5,
      vote: "n1",
      electionWait: 77,
    });
  });

  test("an own vote that is on disk counts in its term only, and only for a candidate", () => {
    const { state } = candidateOf(false);
    ownVotePersisted(state, 4);
    expect(state.votes.size).toBe(0);
    ownVotePersisted(state, 5);
    expect([...state.votes]).toEqual([["n1", true]]);
    const follower = voterOf().state;
    ownVotePersisted(follower, 4);
    expect(follower.votes.size).toBe(0);
  });
});
