/**
 * One sync in flight serves everything that was written before it was issued; what is written
 * meanwhile is covered by the next one, which is issued as soon as this one ends.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";

/** What syncs are about. */
export interface SyncTarget {
  /** Number of the last record written so far. */
  lastRecord(): number;
  /** Makes everything written so far durable. */
  sync(): Promise<void>;
  /** Everything up to that record is durable. */
  synced(throughRecord: number): void;
  /** The sync failed: what is on disk is unknown, and nothing may be retried. */
  failed(cause: unknown): void;
}

/** Issues syncs, one at a time. */
export class GroupCommit {
  readonly #target: SyncTarget;
  #isSyncing = false;
  #hasFailed = false;
  #wanted = 0;
  #done = 0;

  constructor(target: SyncTarget, syncedThrough: number) {
    this.#target = target;
    this.#wanted = syncedThrough;
    this.#done = syncedThrough;
  }

  /** Highest record known to be durable. */
  get syncedThrough(): number {
    return this.#done;
  }

  get isSyncing(): boolean {
    return this.#isSyncing;
  }

  /** Asks that everything written so far becomes durable. */
  request(): void {
    this.#wanted = this.#target.lastRecord();
    if (!this.#isSyncing && !this.#hasFailed && this.#wanted > this.#done) this.#issue();
  }

  #issue(): void {
    const through = this.#target.lastRecord();
    this.#isSyncing = true;
    this.#target.sync().then(
      () => {
        this.#isSyncing = false;
        assert(through >= this.#done, "syncs end in order");
        this.#done = through;
        if (this.#wanted > this.#done) this.#issue();
        this.#target.synced(through);
      },
      (cause: unknown) => {
        this.#isSyncing = false;
        this.#hasFailed = true;
        this.#target.failed(cause);
      },
    );
  }
}
