/**
 * Committed entries to the state machine, in order, in slices that give others a turn; and the
 * waits for an index to be applied.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import type { Clock } from "../../platform/clock.ts";
import type { ApplyResults, StateMachine } from "../../raft/state_machine.ts";
import type { Entry, LogIndex } from "../../raft/types.ts";
import type { ReplicatedLog } from "../../storage/wal/iwal_manager.ts";

/** A slice ends after the entry that passes this time. */
const SLICE_MS = 5;
const READ_BYTES = 1024 * 1024;

/** Feeds a state machine. */
export class Applier {
  readonly #log: ReplicatedLog;
  readonly #machine: StateMachine;
  readonly #clock: Clock;
  readonly #hooks: {
    resultsFor(entry: Entry): ApplyResults;
    applied(index: LogIndex): void;
  };
  #commitIndex: LogIndex = 0;
  #isSliceQueued = false;
  #isStopped = false;
  #isPaused = false;
  #waiters: { readonly index: LogIndex; run(): void }[] = [];

  constructor(
    target: { readonly log: ReplicatedLog; readonly machine: StateMachine },
    clock: Clock,
    hooks: { resultsFor(entry: Entry): ApplyResults; applied(index: LogIndex): void },
  ) {
    this.#log = target.log;
    this.#machine = target.machine;
    this.#clock = clock;
    this.#hooks = hooks;
  }

  get commitIndex(): LogIndex {
    return this.#commitIndex;
  }

  /** Everything up to `index` is committed. */
  advance(index: LogIndex): void {
    assert(index >= this.#commitIndex, "the commit index does not go back");
    this.#commitIndex = index;
    if (!this.#isSliceQueued) this.#slice();
  }

  /** Calls back, at once if possible, when `index` is applied. */
  whenApplied(index: LogIndex, run: () => void): void {
    if (!this.#isPaused && this.#machine.appliedIndex >= index) run();
    else this.#waiters.push({ index, run });
  }

  /** Nothing is applied until {@link resume}: the state is being replaced. */
  pause(): void {
    this.#isPaused = true;
  }

  /** The state machine was moved on to a snapshot. */
  resume(): void {
    this.#isPaused = false;
    this.#wake();
    this.#hooks.applied(this.#machine.appliedIndex);
    if (!this.#isSliceQueued) this.#slice();
  }

  stop(): void {
    this.#isStopped = true;
    this.#waiters = [];
  }

  #slice(): void {
    const startMs = this.#clock.nowMs();
    if (this.#isPaused) return;
    const before = this.#machine.appliedIndex;
    while (this.#machine.appliedIndex < this.#commitIndex && !this.#isStopped) {
      for (const entry of this.#nextEntries()) {
        this.#machine.apply(entry, this.#hooks.resultsFor(entry));
        if (this.#clock.nowMs() - startMs > SLICE_MS) break;
      }
      if (this.#clock.nowMs() - startMs > SLICE_MS) break;
    }
    if (this.#machine.appliedIndex < this.#commitIndex && !this.#isStopped) {
      this.#isSliceQueued = true;
      this.#clock.soon(() => {
        this.#isSliceQueued = false;
        this.#slice();
      });
    }
    if (this.#machine.appliedIndex === before) return;
    this.#wake();
    this.#hooks.applied(this.#machine.appliedIndex);
  }

  #nextEntries(): readonly Entry[] {
    const from = this.#machine.appliedIndex + 1;
    const cached = this.#log.entries(from, this.#commitIndex, READ_BYTES);
    const found = cached ?? this.#log.readFromDisk(from, READ_BYTES);
    const entries = found.filter((entry) => entry.index <= this.#commitIndex);
    assert(entries[0]?.index === from, "the log holds what is committed and not applied");
    return entries;
  }

  #wake(): void {
    const index = this.#machine.appliedIndex;
    if (this.#waiters.length === 0) return;
    const ready = this.#waiters.filter((waiter) => waiter.index <= index);
    this.#waiters = this.#waiters.filter((waiter) => waiter.index > index);
    for (const waiter of ready) waiter.run();
  }
}
