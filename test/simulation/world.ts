/**
 * Virtual time: one heap of events, one seed. Nothing happens between two events but what the first
 * one queued as microtasks.
 *
 * @module
 */

import { drainMicrotasks } from "bun:jsc";
import type { CancelTimer, Clock } from "../../src/platform/clock.ts";
import { SeededRandom } from "../../src/platform/random.ts";

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly name: string;
  run: (() => void) | undefined;
}

/** Wall time at the start of every run, in ms since 1970. */
const WALL_START_MS = 1_700_000_000_000;

/** Events between two turns of the real runtime, in which it reports rejections nobody handled. */
const EVENTS_PER_TURN = 64;

/** The simulated outside world's time and order. */
export class World {
  readonly random: SeededRandom;
  #heap: Event[] = [];
  #nowMs = 0;
  #order = 0;
  #hash = 0x811c9dc5;
  /** Names come again and again: their characters are mixed once. */
  readonly #nameHashes = new Map<string, number>();
  events = 0;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  /** A number that two runs of one seed share: every event's name and time went into it. */
  get hash(): number {
    return this.#hash >>> 0;
  }

  #observe(name: string): void {
    let known = this.#nameHashes.get(name);
    if (known === undefined) {
      known = 0x811c9dc5;
      for (let i = 0; i < name.length; i += 1)
        known = Math.imul(known ^ name.charCodeAt(i), 0x01000193);
      this.#nameHashes.set(name, known);
    }
    this.#hash = Math.imul(this.#hash ^ known, 0x01000193);
    this.#hash = Math.imul(this.#hash ^ Math.round(this.#nowMs * 1000), 0x01000193);
  }

  /** Runs `run` after `delayMs`, in order of time and then of calling. */
  schedule(delayMs: number, name: string, run: () => void): CancelTimer {
    const event: Event = {
      atMs: this.#nowMs + Math.max(0, delayMs),
      order: this.#order,
      name,
      run,
    };
    this.#order += 1;
    this.#push(event);
    return () => {
      event.run = undefined;
    };
  }

  /** Runs events until `untilMs` or until `isOver`; `after` is called with each one's name. */
  async run(
    untilMs: number,
    after: (name: string) => void,
    isOver: () => boolean = () => false,
  ): Promise<void> {
    while (this.#heap.length > 0 && this.#heap[0]!.atMs <= untilMs && !isOver()) {
      const event = this.#pop();
      if (event.run === undefined) continue;
      this.#nowMs = Math.max(this.#nowMs, event.atMs);
      this.events += 1;
      this.#observe(event.name);
      event.run();
      drainMicrotasks();
      after(event.name);
      if (this.events % EVENTS_PER_TURN === 0) await turn();
    }
    await turn();
    this.#nowMs = Math.max(this.#nowMs, isOver() ? this.#nowMs : untilMs);
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): Event {
    const heap = this.#heap;
    const top = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return top;
    let at = 0;
    while (true) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return top;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** A turn of the real runtime. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** One process: its events stop when it is killed and wait while it is paused. */
export class SimulatedProcess {
  readonly name: string;
  readonly #world: World;
  isAlive = true;
  isPaused = false;
  /** Added to the wall clock. */
  skewMs = 0;
  #held: { readonly name: string; readonly run: () => void }[] = [];

  constructor(world: World, name: string) {
    this.#world = world;
    this.name = name;
  }

  /** Something happens to this process after `delayMs`. */
  after(delayMs: number, name: string, run: () => void): CancelTimer {
    let isCancelled = false;
    const cancel = this.#world.schedule(delayMs, `${this.name}:${name}`, () => {
      if (!isCancelled)
        this.deliver(name, () => {
          if (!isCancelled) run();
        });
    });
    return () => {
      isCancelled = true;
      cancel();
    };
  }

  resume(): void {
    this.isPaused = false;
    const held = this.#held;
    this.#held = [];
    for (const { name, run } of held) this.after(0, name, run);
  }

  kill(): void {
    this.isAlive = false;
    this.#held = [];
  }

  clock(): Clock {
    return {
      nowMs: () => this.#world.nowMs,
      wallMs: () => WALL_START_MS + this.#world.nowMs + this.skewMs,
      setTimer: (delayMs, callback) => this.after(delayMs, "timer", callback),
      soon: (callback) => {
        this.after(0, "soon", callback);
      },
    };
  }

  /** Something happens to this process now; while it is paused, it waits. */
  deliver(name: string, run: () => void): void {
    if (!this.isAlive) return;
    if (this.isPaused) this.#held.push({ name, run });
    else run();
  }
}
