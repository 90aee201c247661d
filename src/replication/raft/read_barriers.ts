/**
 * Reads that wait for a quorum to confirm the leader. All that arrive in one turn share a barrier;
 * one that is not answered in time is requested again under a new number.
 *
 * @module
 */

import type { ReadState } from "../../raft/types.ts";

/** A read that waits. `run` is called once the state may be read. */
export interface WaitingBarrier {
  run(): void;
}

interface Barrier {
  readonly waiting: readonly WaitingBarrier[];
  readonly askedMs: number;
}

/** Barriers under way. */
export class ReadBarriers {
  #queued: WaitingBarrier[] = [];
  readonly #asked = new Map<number, Barrier>();
  #context: number;

  /** Contexts start at a number that no earlier start of this process used. */
  constructor(firstContext: number) {
    this.#context = firstContext;
  }

  get size(): number {
    let size = this.#queued.length;
    for (const barrier of this.#asked.values()) size += barrier.waiting.length;
    return size;
  }

  add(waiting: WaitingBarrier): void {
    this.#queued.push(waiting);
  }

  get hasQueued(): boolean {
    return this.#queued.length > 0;
  }

  /** Requests one barrier for everything queued. `ask` returns whether an answer may come. */
  ask(nowMs: number, ask: (context: number) => boolean): void {
    if (this.#queued.length === 0) return;
    this.#context += 1;
    if (!ask(this.#context)) return;
    this.#asked.set(this.#context, { waiting: this.#queued, askedMs: nowMs });
    this.#queued = [];
  }

  /** The reads that a finished barrier covers. */
  finish(read: ReadState): readonly WaitingBarrier[] {
    const barrier = this.#asked.get(read.context);
    this.#asked.delete(read.context);
    return barrier?.waiting ?? [];
  }

  /** Queues again reads requested before `beforeMs`: the request or its answer was lost. */
  retry(beforeMs: number): void {
    for (const [context, barrier] of this.#asked) {
      if (barrier.askedMs > beforeMs) continue;
      this.#asked.delete(context);
      this.#queued.push(...barrier.waiting);
    }
  }
}
