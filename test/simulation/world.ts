/**
 * Virtual time: one heap of events, one seed. Nothing happens between two events but what the first
 * one queued as microtasks.
 *
 * @module
 */

import { drainMicrotasks } from "bun:jsc";
import type { CancelTimer, Clock } from "../../src/platform/clock.ts";
import { SeededRandom } from "../../src/platform/random.ts";

/** The name of an event, and who may be changed by it; made once for all events of a kind. */
export interface Label {
  /** Process that the event belongs to; "fault" and "end" are nobody's. */
  readonly owner: string;
  /** The name's characters, mixed. */
  readonly hash: number;
}

interface Event {
  atMs: number;
  order: number;
  readonly label: Label;
  /** Nothing happens to a process that is gone; one that is paused hears of it later. */
  readonly process: SimulatedProcess | undefined;
  run: (() => void) | undefined;
}

/** Wall time at the start of every run, in ms since 1970. */
const WALL_START_MS = 1_700_000_000_000;

/** Events between two turns of the real runtime, in which it reports rejections nobody handled. */
const EVENTS_PER_TURN = 64;

/** Name and owner: "n1:timer" belongs to n1. */
export function labelOf(name: string): Label {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i += 1) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  const colon = name.indexOf(":");
  return { owner: colon < 0 ? name : name.slice(0, colon), hash };
}

/** The simulated outside world's time and order. */
export class World {
  readonly random: SeededRandom;
  #heap: Event[] = [];
  #nowMs = 0;
  #order = 0;
  #hash = 0x811c9dc5;
  readonly #labels = new Map<string, Label>();
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

  /** Runs `run` after `delayMs`, in order of time and then of calling. */
  schedule(delayMs: number, name: string, run: () => void): CancelTimer {
    let label = this.#labels.get(name);
    if (label === undefined) {
      label = labelOf(name);
      this.#labels.set(name, label);
    }
    return this.add(delayMs, label, { run });
  }

  /** The same with a label that is at hand, and perhaps for a process. */
  add(
    delayMs: number,
    label: Label,
    what: { readonly process?: SimulatedProcess; readonly run: () => void },
  ): CancelTimer {
    const atMs = this.#nowMs + Math.max(0, delayMs);
    const event: Event = { atMs, order: 0, label, process: what.process, run: what.run };
    this.#push(event);
    return () => {
      event.run = undefined;
    };
  }

  /** An event that was held back happens now. */
  addAgain(event: Event): void {
    event.atMs = this.#nowMs;
    this.#push(event);
  }

  /** Runs events until `untilMs` or until `isOver`; `after` is called with each one's owner. */
  async run(
    untilMs: number,
    after: (owner: string) => void,
    isOver: () => boolean = () => false,
  ): Promise<void> {
    // What the caller began goes as far as it can before the first event.
    drainMicrotasks();
    while (this.#heap.length > 0 && this.#heap[0]!.atMs <= untilMs && !isOver()) {
      const event = this.#pop();
      const { run, process, label } = event;
      if (run === undefined || process?.isAlive === false) continue;
      if (process?.isPaused === true) {
        process.hold(event);
        continue;
      }
      this.#nowMs = Math.max(this.#nowMs, event.atMs);
      this.events += 1;
      this.#hash = Math.imul(this.#hash ^ label.hash, 0x01000193);
      this.#hash = Math.imul(this.#hash ^ (this.#nowMs * 1000), 0x01000193);
      run();
      drainMicrotasks();
      after(label.owner);
      if (this.events % EVENTS_PER_TURN === 0) await turn();
    }
    await turn();
    this.#nowMs = Math.max(this.#nowMs, isOver() ? this.#nowMs : untilMs);
  }

  #push(event: Event): void {
    event.order = this.#order;
    this.#order += 1;
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

/** How a process's clocks differ from the world's. */
export interface ClockFault {
  /** Its milliseconds in one of the world's. */
  readonly rate: number;
  /** What its monotonic clock shows at the world's start. */
  readonly originMs: number;
}

const TRUE_CLOCK: ClockFault = { rate: 1, originMs: 0 };

/** One process: its events stop when it is killed and wait while it is paused. */
export class SimulatedProcess {
  readonly name: string;
  readonly #world: World;
  readonly #clock: ClockFault;
  isAlive = true;
  isPaused = false;
  /** Added to the wall clock. */
  skewMs = 0;
  #held: Event[] = [];
  readonly #labels = new Map<string, Label>();

  constructor(world: World, name: string, clock = TRUE_CLOCK) {
    this.#world = world;
    this.name = name;
    this.#clock = clock;
  }

  /** Something happens to this process after `delayMs` of the world's time. */
  after(delayMs: number, name: string, run: () => void): CancelTimer {
    let label = this.#labels.get(name);
    if (label === undefined) {
      label = labelOf(`${this.name}:${name}`);
      this.#labels.set(name, label);
    }
    return this.#world.add(delayMs, label, { process: this, run });
  }

  /** Keeps an event until the process goes on. */
  hold(event: Event): void {
    this.#held.push(event);
  }

  resume(): void {
    this.isPaused = false;
    for (const event of this.#held.splice(0)) this.#world.addAgain(event);
  }

  kill(): void {
    this.isAlive = false;
    this.#held = [];
  }

  clock(): Clock {
    const { rate, originMs } = this.#clock;
    const world = this.#world;
    return {
      nowMs: () => originMs + world.nowMs * rate,
      wallMs: () => WALL_START_MS + world.nowMs * rate + this.skewMs,
      setTimer: (delayMs, callback) => this.after(delayMs / rate, "timer", callback),
      soon: (callback) => {
        this.after(0, "soon", callback);
      },
    };
  }
}
