/**
 * Warns of configured times that the measured round trip contradicts: a leader cannot hear its
 * quorum in time, or no write can be confirmed.
 *
 * @module
 */

import type { Clock } from "../platform/clock.ts";
import type { Pace } from "../replication/raft/pace.ts";
import type { Alarms } from "./recovery/alarms.ts";

/** A round trip of a moment is no alarm, nor its end. */
const STEADY_MS = 10_000;
/** A pre-vote and a vote take a round trip each, and answers may come half of one late. */
const ELECTION_ROUND_TRIPS = 3;
/** What to set: one round trip of margin. */
const REMEDY_ROUND_TRIPS = 4;
/** To the leader and back, there to a quorum and back, and as much again. */
const REQUEST_ROUND_TRIPS = 4;
/** Heartbeats in an election timeout. */
const HEARTBEATS = 5;
const STEP_MS = 50;

/** Times in milliseconds. */
export interface Timeouts {
  /** Silence after which a leader is given up, as it is in force. */
  readonly electionMs: number;
  readonly requestTimeoutMs: number;
  /** To the farthest voter that is connected. */
  readonly rttMs: number;
}

/** What is wrong with the times, and what to do; undefined: nothing. */
export function contradictionOf(times: Timeouts): string | undefined {
  const { electionMs, requestTimeoutMs, rttMs } = times;
  const options: string[] = [];
  if (electionMs < ELECTION_ROUND_TRIPS * rttMs) {
    const heartbeatMs = roundUp((REMEDY_ROUND_TRIPS * rttMs) / HEARTBEATS);
    options.push(`--election-timeout ${HEARTBEATS * heartbeatMs}ms --heartbeat ${heartbeatMs}ms`);
  }
  if (requestTimeoutMs < REQUEST_ROUND_TRIPS * rttMs) {
    options.push(`--request-timeout ${roundUp(REQUEST_ROUND_TRIPS * rttMs)}ms`);
  }
  if (options.length === 0) return undefined;
  const seen = `the round trip to the farthest voter is ${Math.round(rttMs)} ms`;
  return `${seen}: start each node with ${options.join(" ")} or more`;
}

function roundUp(ms: number): number {
  return Math.ceil(ms / STEP_MS) * STEP_MS;
}

/** Looks at one node's times and round trips. */
export class TimeoutAlarm {
  readonly #clock: Clock;
  readonly #pace: Pace;
  readonly #alarms: Alarms;
  readonly #requestTimeoutMs: number;
  #isRaised = false;
  /** When what is seen began to differ from what is raised. */
  #differsMs: number | undefined;

  constructor(
    { clock, pace, alarms }: { clock: Clock; pace: Pace; alarms: Alarms },
    requestTimeoutMs: number,
  ) {
    [this.#clock, this.#pace, this.#alarms] = [clock, pace, alarms];
    this.#requestTimeoutMs = requestTimeoutMs;
  }

  tick(): void {
    const { waits, rttMs } = this.#pace;
    const requestTimeoutMs = this.#requestTimeoutMs;
    const detail = contradictionOf({ electionMs: waits.electionMs, requestTimeoutMs, rttMs });
    if ((detail !== undefined) === this.#isRaised) {
      this.#differsMs = undefined;
      return;
    }
    const nowMs = this.#clock.nowMs();
    this.#differsMs ??= nowMs;
    if (nowMs - this.#differsMs < STEADY_MS) return;
    this.#differsMs = undefined;
    this.#isRaised = detail !== undefined;
    if (detail === undefined) this.#alarms.clear("TIMEOUT_SHORT");
    else this.#alarms.raise("TIMEOUT_SHORT", detail);
  }
}
