/**
 * Whether a disk hangs, judged by the age of its running sync. The disk is part of a leader's
 * health: one whose sync hangs hands over, or steps down when no successor takes over in time; and
 * a node does not campaign while its disk hangs.
 *
 * @module
 */

import type { Raft } from "../../raft/raft.ts";

/** The present verdict on a driver's disk. */
export interface DiskVerdict {
  /** Set when the disk began to hang, or ended to. */
  readonly changedTo: boolean | undefined;
  /** The action of a leader; a follower only waits. */
  readonly leaderMust: "go on" | "hand over" | "step down";
}

/** Judges one disk. */
export class DiskWatch {
  readonly #stallMs: number;
  readonly #handoverMs: number;
  /** When the stall was noticed. */
  #stalledSinceMs: number | undefined;

  /** A sync is stalled after `stallMs`; a leader tries to hand over for `handoverMs`. */
  constructor(stallMs: number, handoverMs: number) {
    this.#stallMs = stallMs;
    this.#handoverMs = handoverMs;
  }

  get isStalled(): boolean {
    return this.#stalledSinceMs !== undefined;
  }

  /** `syncSinceMs`: when the running sync was issued; undefined while none runs. */
  judge(nowMs: number, syncSinceMs: number | undefined): DiskVerdict {
    const isStalled = syncSinceMs !== undefined && nowMs - syncSinceMs > this.#stallMs;
    const changedTo = isStalled === this.isStalled ? undefined : isStalled;
    if (changedTo !== undefined) this.#stalledSinceMs = isStalled ? nowMs : undefined;
    if (this.#stalledSinceMs === undefined) return { changedTo, leaderMust: "go on" };
    const isLate = nowMs - this.#stalledSinceMs > this.#handoverMs;
    return { changedTo, leaderMust: isLate ? "step down" : "hand over" };
  }
}

/** A leader whose disk stalls hands over, or steps down when it cannot. */
export function giveWay(
  raft: Pick<Raft, "stepDown" | "isTransferring" | "successor" | "transferLeadership">,
  leaderMust: "go on" | "hand over" | "step down",
): void {
  if (leaderMust === "step down") return raft.stepDown();
  if (leaderMust === "go on" || raft.isTransferring || raft.successor === undefined) return;
  raft.transferLeadership(raft.successor);
}
