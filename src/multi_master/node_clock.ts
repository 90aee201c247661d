/**
 * The clock by which a node stamps and judges: its own, corrected by those of most members, and
 * never behind what it has seen.
 *
 * @module
 */

import { HybridClock } from "./operation/hybrid_clock.ts";
import type { Stamp } from "./operation/operation.ts";
import { PeerClocks } from "./peer_clocks.ts";
import type { MultiMasterEvent } from "./ready.ts";

type ClockState = "OWN_CLOCK_BEHIND" | "OWN_CLOCK_AHEAD" | "OWN_CLOCK_RIGHT";

/** The clock of one node, with what is wrong with it. */
export class NodeClock {
  readonly #driftMaxMs: number;
  readonly #hybrid: HybridClock;
  readonly #peers: PeerClocks;
  #wallMs = 0;
  #state: ClockState = "OWN_CLOCK_RIGHT";
  #areStampsAhead = false;
  #events: MultiMasterEvent[] = [];

  /** @param last the largest stamp on this node's disk. */
  constructor(last: Stamp, driftMaxMs: number) {
    this.#driftMaxMs = driftMaxMs;
    this.#hybrid = new HybridClock(last);
    this.#peers = new PeerClocks(driftMaxMs);
  }

  /** The largest stamp given or seen. */
  get last(): Stamp {
    return this.#hybrid.last;
  }

  /** What this node's own clock showed last, ms since 1970. */
  get wallMs(): number {
    return this.#wallMs;
  }

  /** By how much the time that counts is ahead of this node's own clock. */
  get offsetMs(): number {
    return this.#peers.offsetMs;
  }

  /** The time that counts when this node's clock shows `wallMs`; both ms since 1970. */
  time(wallMs: number): number {
    this.#wallMs = wallMs;
    const timeMs = this.#peers.time(wallMs);
    this.#judge();
    return timeMs;
  }

  /** A stamp above all others that it gave or saw. */
  stamp(wallMs: number): Stamp {
    const timeMs = this.time(wallMs);
    const stamp = this.#hybrid.next(timeMs);
    const aheadMs = stamp.wallMs - timeMs;
    const isAhead = aheadMs > this.#driftMaxMs;
    if (isAhead && !this.#areStampsAhead) this.#events.push({ type: "OWN_STAMPS_AHEAD", aheadMs });
    this.#areStampsAhead = isAhead;
    return stamp;
  }

  /** Takes note of another node's stamp. */
  observe(stamp: Stamp): void {
    this.#hybrid.observe(stamp);
  }

  /** A member said its time. */
  heard(node: string, theirMs: number, wallMs: number): void {
    this.#peers.heard(node, theirMs, wallMs);
    this.time(wallMs);
  }

  /** Only the clocks of members count. */
  keep(isMember: (node: string) => boolean): void {
    this.#peers.keep(isMember);
  }

  /** What is wrong, or right again, since the last call. */
  takeEvents(): readonly MultiMasterEvent[] {
    const events = this.#events;
    if (events.length > 0) this.#events = [];
    return events;
  }

  #judge(): void {
    const byMs = this.#peers.offsetMs;
    const state: ClockState =
      byMs === 0 ? "OWN_CLOCK_RIGHT" : byMs > 0 ? "OWN_CLOCK_BEHIND" : "OWN_CLOCK_AHEAD";
    if (state === this.#state) return;
    this.#state = state;
    this.#events.push(
      state === "OWN_CLOCK_RIGHT" ? { type: state } : { type: state, byMs: Math.abs(byMs) },
    );
  }
}
