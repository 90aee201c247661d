/**
 * One sync in flight serves everything that was written before it was issued. Later writes are
 * covered by the next sync, which is issued as soon as this one ends.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";

/** The log that is synced. */
export interface SyncTarget {
  /** Number of the last record written so far; it does not go back. */
  lastRecord(): number;
  /** Makes everything written so far durable. */
  sync(): Promise<void>;
  /** Called when everything up to that record is durable. */
  synced(throughRecord: number): void;
  /** Called when a sync failed: the content of the disk is unknown, and nothing is retried. */
  failed(cause: unknown): void;
}

/** Issues syncs, one at a time. */
export class GroupCommit {
  readonly #target: SyncTarget;
  #isSyncing = false;
  #hasFailed = false;
  /** Highest record that a sync was requested for: `#wanted <= lastRecord()`, rising. */
  #wanted: number;
  /** Highest durable record: `#done <= lastRecord()`, rising. */
  #done: number;

  constructor(target: SyncTarget, syncedThrough: number) {
    assert(syncedThrough <= target.lastRecord(), "no record is durable before it is written");
    this.#target = target;
    this.#wanted = syncedThrough;
    this.#done = syncedThrough;
  }

  /** Highest record known to be durable. */
  get syncedThrough(): number {
    assert(this.#done <= this.#target.lastRecord(), "no record is durable before it is written");
    return this.#done;
  }

  get isSyncing(): boolean {
    return this.#isSyncing;
  }

  /** Requests that everything written so far becomes durable. */
  request(): void {
    const last = this.#target.lastRecord();
    assert(last >= this.#wanted, "record numbers do not go back");
    this.#wanted = last;
    if (!this.#isSyncing && !this.#hasFailed && this.#wanted > this.#done) this.#issue();
  }

  #issue(): void {
    const through = this.#target.lastRecord();
    assert(through > this.#done, "a sync makes at least one record durable");
    assert(through >= this.#wanted, "a sync covers all that it was requested for");
    this.#isSyncing = true;
    this.#target.sync().then(
      () => {
        this.#isSyncing = false;
        assert(through >= this.#done, "syncs end in order");
        assert(through <= this.#target.lastRecord(), "record numbers do not go back");
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

interface Waiter {
  readonly record: number;
  resolve(): void;
  reject(cause: unknown): void;
}

/** Who waits until records are durable. */
export class SyncWaiters {
  #waiters: Waiter[] = [];

  /** Resolves once that record is durable. */
  wait(record: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ record, resolve, reject });
    });
  }

  /** Records up to this one are durable. */
  wake(through: number): void {
    if (this.#waiters.length === 0) return;
    const before = this.#waiters.length;
    const done = this.#waiters.filter(({ record }) => record <= through);
    this.#waiters = this.#waiters.filter(({ record }) => record > through);
    assert(done.length + this.#waiters.length === before, "nobody is forgotten");
    for (const waiter of done) waiter.resolve();
  }

  fail(cause: unknown): void {
    const waiting = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiting) waiter.reject(cause);
    assert(waiting.length >= this.#waiters.length, "who waited hears of it");
  }
}
