/**
 * A leader's knowledge of one peer, and whether more may be sent to it.
 *
 * `probe`: where the logs agree is not known; one append an answer. `replicate`: appends are
 * pipelined up to the window. `snapshot`: the entries that the peer needs are gone from the log, so
 * a snapshot is on its way to it, and nothing else until that has ended.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { Inflights } from "./inflights.ts";
import type { EntryId, LogIndex } from "./types.ts";

/** How a leader feeds a peer. */
export type ProgressState = "probe" | "replicate" | "snapshot";

/** A leader's view of one peer: `match < next <= lastIndex + 1` of the leader's log. */
export class Progress {
  state: ProgressState = "probe";
  /**
   * Highest index known to be durable on the peer with the leader's entry; `0 <= match < next`, and
   * it never goes back.
   */
  match: LogIndex = 0;
  /** The next append begins here: `match < next <= lastIndex + 1`. */
  next: LogIndex;
  /** Probe: an append is under way and no answer came yet. */
  isProbeSent = false;
  /** Waiting for entries that are read from disk. */
  isCatchingUp = false;
  /** A message of the peer arrived since the last quorum check. */
  isRecentlyActive = false;
  /** Highest read round that the peer confirmed; at most the leader's own. */
  readRound = 0;
  /**
   * Commit index last sent, so that a change is sent without waiting for the heartbeat;
   * `0 <= sentCommit <= committed` of the leader's log.
   */
  sentCommit: LogIndex = 0;
  readonly inflights: Inflights;

  constructor(next: LogIndex, window: { readonly messagesMax: number; readonly bytesMax: number }) {
    this.next = next;
    this.inflights = new Inflights(window.messagesMax, window.bytesMax);
    assert(this.match < next, "a peer is probed behind its match");
  }

  get isPaused(): boolean {
    if (this.isCatchingUp || this.state === "snapshot") return true;
    return this.state === "probe" ? this.isProbeSent : this.inflights.isFull;
  }

  becomeProbe(): void {
    this.#restartAs("probe");
  }

  becomeReplicate(): void {
    this.#restartAs("replicate");
  }

  becomeSnapshot(): void {
    this.#restartAs("snapshot");
  }

  /** Forgets what is under way: the next append follows the entries that the peer surely holds. */
  #restartAs(state: ProgressState): void {
    assert(this.match < this.next, "appends begin behind the match");
    this.state = state;
    this.next = this.match + 1;
    this.isProbeSent = false;
    this.isCatchingUp = false;
    this.inflights.clear();
  }

  /** An append left: in replicate state the next one follows without waiting. */
  sent(lastIndex: LogIndex, size: number): void {
    assert(lastIndex >= this.next - 1, "an append begins at the peer's next entry");
    if (this.state === "probe") {
      this.isProbeSent = true;
      return;
    }
    if (lastIndex < this.next) return;
    this.next = lastIndex + 1;
    this.inflights.add(lastIndex, size);
    assert(this.match < this.next, "sent entries follow the match");
  }

  /** The peer verified everything up to `index`. Returns whether that is news. */
  acknowledged(index: LogIndex): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    assert(this.match < this.next, "the next append follows the acknowledged entries");
    return true;
  }

  /**
   * The peer refused an append after `rejectedIndex`. Returns whether the answer is fresh; an
   * answer to an earlier append must not move `next` back again.
   */
  rejected(rejectedIndex: LogIndex, hint: EntryId): boolean {
    if (this.state === "replicate") {
      if (rejectedIndex <= this.match) return false;
      this.becomeProbe();
      return true;
    }
    if (this.state === "snapshot" || this.next - 1 !== rejectedIndex) return false;
    this.next = Math.max(Math.min(rejectedIndex, hint.index + 1), this.match + 1);
    assert(this.next > this.match, "entries that matched once match for good");
    assert(this.next <= rejectedIndex + 1, "a refusal does not move the next append on");
    this.isProbeSent = false;
    return true;
  }
}
