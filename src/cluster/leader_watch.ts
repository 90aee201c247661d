/**
 * The leaders that a node has followed: why it gave one up, and for how long it had none.
 *
 * @module
 */

import type { RaftEvent } from "../raft/ready.ts";
import type { NodeId, Term } from "../raft/types.ts";

/** Why a leader was given up, as this node saw it. */
export type LeaderLoss =
  | "its connections closed"
  | "it was silent"
  | "it had no quorum"
  | "it handed over"
  | "it stepped down"
  | "the others elected another";

/** A leader in the place of another, or the same one elected again. */
export interface LeaderChange {
  readonly leader: NodeId;
  readonly term: Term;
  readonly before: NodeId;
  readonly why: LeaderLoss;
  /** Time without a leader, in milliseconds; the silence of the last one is part of it. */
  readonly gapMs: number;
}

/** One line for the log. */
export function describeChange({ leader, term, before, why, gapMs }: LeaderChange): string {
  const head = `${leader} leads in term ${term} after ${before}: ${why}`;
  // Who noticed nothing does not know.
  return gapMs === 0 ? head : `${head}; nobody led for ${Math.round(gapMs)} ms`;
}

/** Watches the events of one node's consensus. */
export class LeaderWatch {
  readonly #tickMs: number;
  #leader: NodeId | undefined;
  #term: Term = 0;
  #lostMs: number | undefined;
  #why: LeaderLoss | undefined;
  #leads = false;
  /** To whom this leader handed over. */
  #transferee: NodeId | undefined;
  #changes = 0;

  /** `tickMs`: milliseconds of a tick. */
  constructor(tickMs: number) {
    this.#tickMs = tickMs;
  }

  /** Changes since the node began. */
  get changes(): number {
    return this.#changes;
  }

  /** Returns the change that the event completes. */
  event(event: RaftEvent, nowMs: number): LeaderChange | undefined {
    switch (event.type) {
      case "LEADER_LOST":
        this.#lost(nowMs - event.silentTicks * this.#tickMs, lossOf(event.why));
        return undefined;
      case "QUORUM_LOST":
        this.#lost(nowMs, "it had no quorum");
        return undefined;
      case "TRANSFER_STARTED":
        this.#lostMs = nowMs;
        return undefined;
      case "TRANSFER_ENDED":
        if (event.done) this.#transferee = event.to;
        else this.#lostMs = undefined;
        return undefined;
      case "ROLE_CHANGED": {
        // A leader that ends by itself stays in its term: its disk hangs, or it was removed.
        const isOwnWill = this.#leads && event.leader === undefined && event.term === this.#term;
        if (isOwnWill) this.#lost(nowMs, "it stepped down");
        this.#leads = event.role === "leader";
        return this.#follows(event.leader, event.term, nowMs);
      }
      default:
        return undefined;
    }
  }

  #lost(sinceMs: number, why: LeaderLoss | undefined): void {
    this.#lostMs ??= sinceMs;
    this.#why ??= why;
  }

  #follows(leader: NodeId | undefined, term: Term, nowMs: number): LeaderChange | undefined {
    if (leader === undefined) {
      this.#lostMs ??= nowMs;
      return undefined;
    }
    const before = this.#leader;
    if (leader === this.#transferee) this.#lost(nowMs, "it handed over");
    const change: Omit<LeaderChange, "before"> = {
      ...{ leader, term, gapMs: nowMs - (this.#lostMs ?? nowMs) },
      why: this.#why ?? "the others elected another",
    };
    const isNews = leader !== before || term !== this.#term;
    [this.#leader, this.#term] = [leader, term];
    [this.#lostMs, this.#why, this.#transferee] = [undefined, undefined, undefined];
    if (before === undefined || !isNews) return undefined;
    this.#changes += 1;
    return { ...change, before };
  }
}

function lossOf(why: (RaftEvent & { type: "LEADER_LOST" })["why"]): LeaderLoss | undefined {
  if (why === "superseded") return undefined;
  if (why === "handed over") return "it handed over";
  return why === "gone" ? "its connections closed" : "it was silent";
}
