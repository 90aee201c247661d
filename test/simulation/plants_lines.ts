/**
 * Planted bugs in what a node knows of long lines, thin lines, resets and busy processors.
 *
 * @module
 */

import type { Plant } from "./plant.ts";

/** Each breaks one rule of `scenario_lines_test.ts`. */
export const LINE_PLANTS: readonly Plant[] = [
  {
    name: "round-trip-unknown",
    about: "the election timeout knows nothing of the round trip",
    file: "replication/raft/pace.ts",
    find: "ROUND_TRIPS * this.#rttMs + electionTimeoutMs / 2",
    replace: "0 * this.#rttMs",
    scenario: "lines: after a kill",
  },
  {
    name: "only-whole-messages-live",
    about: "bytes of a message that is not whole yet are no sign of life",
    file: "transport/network_manager.ts",
    find: "this.#hooks.onPeerSpeaks?.(nodeId);",
    replace: "",
    scenario: "lines: a batch",
  },
  {
    name: "round-trip-unknown-to-silence",
    about: "a new connection takes longer than the silence for which a leader is given up",
    file: "replication/raft/pace.ts",
    find: "Math.max(electionTimeoutMs, farMs) +",
    replace: "Math.min(electionTimeoutMs, farMs) +",
    scenario: "lines: resets",
  },
  {
    name: "stall-is-silence",
    about: "time in which a process did not run counts as its leader's silence",
    file: "replication/raft/ticker.ts",
    find: "const isStalled = lateMs > stallTicks * tickMs;",
    replace: "const isStalled = lateMs < 0;",
    scenario: "lines: processes",
  },
  {
    name: "read-question-of-anyone",
    about: "a question confirms a read although its sender and the leader are no quorum",
    file: "raft/read_index.ts",
    find: "(id) => id === state.id || id === from)",
    replace: "(id) => id !== from || id === from)",
    scenario: "lines: a follower",
  },
  {
    name: "waiting-requests-stay",
    about: "requests that wait for the next leader are not sent on when another node leads",
    file: "replication/raft/raft_driver.ts",
    find: "if (!this.isBetweenLeaders) this.#waiting.fail(() => this.notLeader());",
    replace: "",
    scenario: "lines: a write that waits at a follower",
  },
  {
    name: "first-entry-alone",
    about: "a new leader sends its first entry before what waited for it",
    file: "raft/leader.ts",
    find: "state.owesAppends = true;",
    replace: "broadcastAppend(state);",
    scenario: "lines: a write that waits at the next leader",
  },
];
