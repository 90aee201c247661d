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

/** What to set at least, in milliseconds; 0: as it is. */
interface Remedy {
  readonly heartbeatMs: number;
  readonly requestTimeoutMs: number;
}

function remedyFor({ electionMs, requestTimeoutMs, rttMs }: Timeouts): Remedy {
  const isElectionShort = electionMs < ELECTION_ROUND_TRIPS * rttMs;
  const isRequestShort = requestTimeoutMs < REQUEST_ROUND_TRIPS * rttMs;
  const heartbeatMs = isElectionShort ? roundUp((REMEDY_ROUND_TRIPS * rttMs) / HEARTBEATS) : 0;
  // No request waits for less than an election.
  const neededMs = Math.max(roundUp(REQUEST_ROUND_TRIPS * rttMs), HEARTBEATS * heartbeatMs);
  const isShort = isRequestShort || requestTimeoutMs < HEARTBEATS * heartbeatMs;
  return { heartbeatMs, requestTimeoutMs: isShort ? neededMs : 0 };
}

/** What is wrong with the times, and what to do; undefined: nothing. */
export function contradictionOf(times: Timeouts): string | undefined {
  return describe(remedyFor(times), times.rttMs);
}

function describe({ heartbeatMs, requestTimeoutMs }: Remedy, rttMs: number): string | undefined {
  const electionMs = HEARTBEATS * heartbeatMs;
  const options = [
    ...(heartbeatMs > 0 ? [`--election-timeout ${electionMs}ms --heartbeat ${heartbeatMs}ms`] : []),
    ...(requestTimeoutMs > 0 ? [`--request-timeout ${requestTimeoutMs}ms`] : []),
  ];
  if (options.length === 0) return undefined;
  const seen = `the round trip to the farthest voter is ${Math.round(rttMs)} ms`;
  return `${seen}: start each node with ${options.join(" ")} or more`;
}

/** Whether one remedy asks for more than another. */
function isMore(one: Remedy, other: Remedy): boolean {
  return one.heartbeatMs > other.heartbeatMs || one.requestTimeoutMs > other.requestTimeoutMs;
}

function roundUp(ms: number): number {
  return Math.ceil(ms / STEP_MS) * STEP_MS;
}

const NOTHING: Remedy = { heartbeatMs: 0, requestTimeoutMs: 0 };

/** Looks at one node's times and round trips. */
export class TimeoutAlarm {
  readonly #clock: Clock;
  readonly #pace: Pace;
  readonly #alarms: Alarms;
  readonly #requestTimeoutMs: number;
  #raised = NOTHING;
  /** Since when more is needed than was raised, or nothing any more. */
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
    const { electionMs } = waits;
    const remedy = remedyFor({ electionMs, requestTimeoutMs: this.#requestTimeoutMs, rttMs });
    const isOver = !isMore(remedy, NOTHING) && isMore(this.#raised, NOTHING);
    if (!isOver && !isMore(remedy, this.#raised)) {
      this.#differsMs = undefined;
      return;
    }
    const nowMs = this.#clock.nowMs();
    this.#differsMs ??= nowMs;
    if (nowMs - this.#differsMs < STEADY_MS) return;
    this.#differsMs = undefined;
    this.#raised = remedy;
    const detail = describe(remedy, rttMs);
    if (detail === undefined) this.#alarms.clear("TIMEOUT_SHORT");
    else this.#alarms.raise("TIMEOUT_SHORT", detail);
  }
}
