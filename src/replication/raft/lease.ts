/**
 * A leader's lease (thesis §6.4.1): a node that confirmed a heartbeat grants no vote for an
 * election timeout, so for that long after a quorum's heartbeats were sent no other node
 * leads. Reads then need no round of messages. It rests on monotonic clocks that run alike, so
 * it is opt-in.
 *
 * @module
 */

/** Clocks may run that much apart. */
const DRIFT_BOUND = 1.25;

/** Remembers when each heartbeat round was sent. */
export class Lease {
  readonly #durationMs: number;
  #rounds: { readonly round: number; readonly sentMs: number }[] = [];

  constructor(electionTimeoutMs: number) {
    this.#durationMs = electionTimeoutMs / DRIFT_BOUND;
  }

  /** A heartbeat of that round leaves, not before `nowMs`. */
  sent(round: number, nowMs: number): void {
    const last = this.#rounds.at(-1)?.round ?? 0;
    if (round > last) this.#rounds.push({ round, sentMs: nowMs });
  }

  /** Whether the lease that the confirmation of `round` gave still holds. */
  holds(round: number, nowMs: number): boolean {
    if (round === 0) return false;
    while ((this.#rounds[1]?.round ?? Number.POSITIVE_INFINITY) <= round) this.#rounds.shift();
    const confirmed = this.#rounds[0];
    if (confirmed === undefined || confirmed.round > round) return false;
    return nowMs < confirmed.sentMs + this.#durationMs;
  }

  /** Another term or role: heartbeats sent before count no more. */
  forget(): void {
    this.#rounds = [];
  }
}
