/**
 * How long silence must last before it means something: on a quiet machine with near peers as long
 * as configured, longer where the line is long or this process gets no processor. A dead process
 * is found by its closed connection, so what is longer costs only the pauses of whole machines.
 *
 * Safety does not depend on it (paper, section 5.6): a node that waits longer campaigns later,
 * holds on to its leader longer (thesis, section 4.2.3), and a leader counts its quorum over a
 * longer time.
 *
 * @module
 */

/** What makes answers come late, in milliseconds. */
export interface Outlook {
  /** Round trip to the farthest voter that is connected. */
  readonly rttMs: number;
  /** Largest piece of work that a node may have to do at once. */
  readonly workMs: number;
}

/** What is configured, in milliseconds. */
export interface PaceOptions {
  readonly electionTimeoutMs: number;
  readonly heartbeatMs: number;
  /** Leases rest on voters that wait exactly as long as they promised. */
  readonly isFixed: boolean;
  /** What the node knows of its lines and its work; absent: nothing. */
  readonly outlook?: () => Outlook;
}

/** Waits in force, in milliseconds. */
export interface Waits {
  /** T: silence after which a leader, or its quorum, counts as lost. */
  readonly electionMs: number;
  /** By so much later each next candidate begins: the one before it has won by then. */
  readonly rankMs: number;
  /** What T follows from. */
  readonly reason: "configured" | "round trips" | "late timers" | "large documents";
}

/** No wait is longer: whoever pauses for longer loses its office. */
export const ELECTION_MS_MAX = 5000;
/** What was seen counts half after so long. */
const HALF_LIFE_MS = 5000;
/** A pre-vote and a vote take a round trip each; answers may be late by half of one. */
const ROUND_TRIPS = 3;
/** The request for the vote of the candidate before is there after one and a half. */
const RANK_ROUND_TRIPS = 2;
/** A processor that came so late once may come later the next time. */
const LAG_FACTOR = 4;

/** The latest but two counts: a process that stood still once or twice does not wait for turns. */
const LATE_COUNT = 3;

/** Sees round trips and delays, and says how long to wait. */
export class Pace {
  readonly #options: PaceOptions;
  #rttMs = 0;
  #lastRttMs = 0;
  /** The latest timers lately, the latest one first. */
  #late: readonly number[] = Array(LATE_COUNT).fill(0);
  #workMs = 0;
  #seenMs = 0;

  constructor(options: PaceOptions) {
    this.#options = options;
  }

  /** A timer of this process came so late, in milliseconds. */
  see(nowMs: number, lateMs: number): void {
    const { rttMs, workMs } = this.#options.outlook?.() ?? { rttMs: 0, workMs: 0 };
    const share = 0.5 ** (Math.max(0, nowMs - this.#seenMs) / HALF_LIFE_MS);
    this.#seenMs = Math.max(this.#seenMs, nowMs);
    const late = [...this.#late.map((ms) => ms * share), lateMs];
    this.#late = late.sort((a, b) => b - a).slice(0, LATE_COUNT);
    this.#rttMs = Math.max(this.#rttMs * share, rttMs);
    this.#lastRttMs = rttMs;
    this.#workMs = workMs;
  }

  /** Round trip to the farthest voter that is connected, as last seen, in milliseconds. */
  get rttMs(): number {
    return this.#lastRttMs;
  }

  get waits(): Waits {
    const { electionTimeoutMs, heartbeatMs, isFixed } = this.#options;
    if (isFixed) return { electionMs: electionTimeoutMs, rankMs: 0, reason: "configured" };
    // A heartbeat late is what the configured time is for.
    const lagMs = LAG_FACTOR * Math.max(0, (this.#late.at(-1) ?? 0) - heartbeatMs);
    const farMs = ROUND_TRIPS * this.#rttMs + electionTimeoutMs / 2;
    const wantedMs = Math.max(electionTimeoutMs, farMs) + Math.max(lagMs, this.#workMs);
    const electionMs = Math.max(electionTimeoutMs, Math.min(ELECTION_MS_MAX, wantedMs));
    const rankMs = Math.min(RANK_ROUND_TRIPS * this.#rttMs, electionMs);
    const more = Math.max(lagMs, this.#workMs, farMs - electionTimeoutMs);
    if (more <= 0) return { electionMs, rankMs, reason: "configured" };
    if (more === lagMs) return { electionMs, rankMs, reason: "late timers" };
    return {
      electionMs,
      rankMs,
      reason: more === this.#workMs ? "large documents" : "round trips",
    };
  }
}
