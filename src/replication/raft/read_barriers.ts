/**
 * Reads that wait for a quorum to confirm the leader. All that arrive in one turn share a barrier;
 * one that is not answered in time is requested again under a new number. The answer to an earlier
 * request still counts: on a long line each comes after the next request.
 *
 * @module
 */

import type { ReadState } from "../../raft/types.ts";

/** A read that waits. `run` is called once the state may be read. */
export interface WaitingBarrier {
  run(): void;
}

/** A read of one barrier or of several: it runs once. */
interface Waiter {
  readonly waiting: WaitingBarrier;
  isCovered: boolean;
}

interface Barrier {
  readonly waiters: readonly Waiter[];
  readonly askedMs: number;
  isAskedAgain: boolean;
}

/** Requests whose answers are waited for: of older ones the answer is given up. */
const ASKED_MAX = 64;

/** Barriers under way. */
export class ReadBarriers {
  #queued: Waiter[] = [];
  /** By number, the oldest first. */
  readonly #asked = new Map<number, Barrier>();
  #context: number;

  /** Contexts start at a number that no earlier start of this process used. */
  constructor(firstContext: number) {
    this.#context = firstContext;
  }

  /** Reads that wait. */
  get size(): number {
    let size = this.#queued.length;
    for (const { isAskedAgain, waiters } of this.#asked.values()) {
      if (!isAskedAgain) size += waiters.filter(({ isCovered }) => !isCovered).length;
    }
    return size;
  }

  add(waiting: WaitingBarrier): void {
    this.#queued.push({ waiting, isCovered: false });
  }

  get hasQueued(): boolean {
    return this.#queued.length > 0;
  }

  /** Requests one barrier for everything queued. `ask` returns whether an answer may come. */
  ask(nowMs: number, ask: (context: number) => boolean): void {
    this.#queued = this.#queued.filter(({ isCovered }) => !isCovered);
    if (this.#queued.length === 0) return;
    this.#context += 1;
    if (!ask(this.#context)) return;
    this.#asked.set(this.#context, {
      ...{ waiters: this.#queued, askedMs: nowMs, isAskedAgain: false },
    });
    this.#queued = [];
    const [oldest] = this.#asked.keys();
    // Only what was asked again is given up: its reads stand in a later barrier, too.
    if (this.#asked.size > ASKED_MAX && oldest !== undefined) {
      if (this.#asked.get(oldest)?.isAskedAgain === true) this.#asked.delete(oldest);
    }
  }

  /** The reads that a finished barrier covers. */
  finish(read: ReadState): readonly WaitingBarrier[] {
    const barrier = this.#asked.get(read.context);
    this.#asked.delete(read.context);
    const covered = barrier?.waiters.filter(({ isCovered }) => !isCovered) ?? [];
    for (const waiter of covered) waiter.isCovered = true;
    return covered.map(({ waiting }) => waiting);
  }

  /** Queues again reads requested before `beforeMs`: the request or its answer may be lost. */
  retry(beforeMs: number): void {
    for (const [context, barrier] of this.#asked) {
      if (barrier.askedMs > beforeMs || barrier.isAskedAgain) continue;
      const left = barrier.waiters.filter(({ isCovered }) => !isCovered);
      if (left.length === 0) this.#asked.delete(context);
      barrier.isAskedAgain = true;
      this.#queued.push(...left);
    }
  }
}
