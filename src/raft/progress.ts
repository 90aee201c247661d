/**
 * What a leader knows of one peer, and whether it may send it more.
 *
 * `probe`: where the logs agree is not known; one append an answer. `replicate`: appends are
 * pipelined up to the window. `snapshot`: what it needs is gone from the log, so it is being sent a
 * snapshot, and nothing else until that ended.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { Inflights } from "./inflights.ts";
import type { EntryId, LogIndex } from "./types.ts";

/** How a leader feeds a peer. */
export type ProgressState = "probe" | "replicate" | "snapshot";

/** A leader's view of one peer. */
export class Progress {
  state: ProgressState = "probe";
  /** Highest index known to be durable on the peer with the leader's entry. */
  match: LogIndex = 0;
  next: LogIndex;
  /** Probe: an append is under way and no answer came yet. */
  isProbeSent = false;
  /** Waiting for entries that are read from disk. */
  isCatchingUp = false;
  /** Heard from since the last quorum check. */
  isRecentlyActive = false;
  /** Highest read round that the peer confirmed. */
  readRound = 0;
  /** Commit index last sent, so that a change is told without waiting for the heartbeat. */
  sentCommit: LogIndex = 0;
  readonly inflights: Inflights;

  constructor(next: LogIndex, window: { readonly messagesMax: number; readonly bytesMax: number }) {
    this.next = next;
    this.inflights = new Inflights(window.messagesMax, window.bytesMax);
  }

  get isPaused(): boolean {
    if (this.isCatchingUp || this.state === "snapshot") return true;
    return this.state === "probe" ? this.isProbeSent : this.inflights.isFull;
  }

  becomeProbe(): void {
    this.state = "probe";
    this.next = this.match + 1;
    this.isProbeSent = false;
    this.isCatchingUp = false;
    this.inflights.clear();
  }

  becomeReplicate(): void {
    this.state = "replicate";
    this.next = this.match + 1;
    this.isProbeSent = false;
    this.isCatchingUp = false;
    this.inflights.clear();
  }

  becomeSnapshot(): void {
    this.becomeProbe();
    this.state = "snapshot";
  }

  /** An append left: in replicate state the next one follows without waiting. */
  sent(lastIndex: LogIndex, size: number): void {
    if (this.state === "probe") {
      this.isProbeSent = true;
      return;
    }
    if (lastIndex < this.next) return;
    this.next = lastIndex + 1;
    this.inflights.add(lastIndex, size);
  }

  /** The peer verified everything up to `index`. Returns whether that is news. */
  acknowledged(index: LogIndex): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    return true;
  }

  /**
   * The peer refused an append after `rejectedIndex`. Returns whether the answer is fresh; an
   * answer
   * to an earlier append must not move `next` back again.
   */
  rejected(rejectedIndex: LogIndex, hint: EntryId): boolean {
    if (this.state === "replicate") {
      if (rejectedIndex <= this.match) return false;
      this.becomeProbe();
      return true;
    }
    if (this.state === "snapshot" || this.next - 1 !== rejectedIndex) return false;
    this.next = Math.max(Math.min(rejectedIndex, hint.index + 1), this.match + 1);
    assert(this.next > this.match, "what matched once goes on matching");
    this.isProbeSent = false;
    return true;
  }
}
