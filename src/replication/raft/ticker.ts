/**
 * Gives consensus its ticks with as few timers as it can: ticks that would only be counted are
 * passed over together. They have a fixed origin, so that they do not drift; what a stall of this
 * process swallowed is not made up for, because messages that wait come first.
 *
 * @module
 */

import type { CancelTimer, Clock } from "../../platform/clock.ts";

/** A timer that fires that little too early, in ticks, is in time: clocks round. */
const EARLY_TICKS = 0.01;

/** Receives the ticks. */
export interface TickTarget {
  /** Coming ticks that would only be counted: as many may be passed over. */
  idleTicks(): number;
  skip(count: number): void;
  tick(): void;
  /** A timer fired, so many milliseconds late, after its ticks. */
  fired(nowMs: number, lateMs: number): void;
}

/** How long ticks are. */
export interface TickerOptions {
  readonly tickMs: number;
  /** A timer that is later than this many ticks shows that this process was stalled. */
  readonly stallTicks: number;
}

/** Runs from `start` to `stop`. */
export class Ticker {
  readonly #clock: Clock;
  readonly #options: TickerOptions;
  readonly #target: TickTarget;
  /** Time up to which ticks were counted. */
  #countedMs = 0;
  #firesAtMs = Number.POSITIVE_INFINITY;
  #cancel: CancelTimer = () => undefined;
  #isRunning = false;

  constructor(clock: Clock, options: TickerOptions, target: TickTarget) {
    this.#clock = clock;
    this.#options = options;
    this.#target = target;
  }

  start(): void {
    this.#isRunning = true;
    this.#countedMs = this.#clock.nowMs();
    this.retime();
  }

  stop(): void {
    this.#isRunning = false;
    this.#cancel();
  }

  /** Before an input: counts the ticks that have passed, but for those that would do something. */
  catchUp(nowMs: number): void {
    const elapsed = this.#elapsed(nowMs);
    if (elapsed <= 0) return;
    const count = Math.min(elapsed, this.#target.idleTicks());
    if (count <= 0) return;
    this.#target.skip(count);
    this.#countedMs += count * this.#options.tickMs;
  }

  /** After an input: the next tick that does something may come sooner than the timer. */
  retime(): void {
    if (!this.#isRunning) return;
    const atMs = this.#countedMs + (this.#target.idleTicks() + 1) * this.#options.tickMs;
    if (atMs >= this.#firesAtMs) return;
    this.#cancel();
    this.#firesAtMs = atMs;
    const delayMs = Math.max(0, atMs - this.#clock.nowMs());
    this.#cancel = this.#clock.setTimer(delayMs, () => this.#fire());
  }

  #elapsed(nowMs: number): number {
    return Math.floor((nowMs - this.#countedMs) / this.#options.tickMs + EARLY_TICKS);
  }

  #fire(): void {
    if (!this.#isRunning) return;
    const { tickMs, stallTicks } = this.#options;
    const nowMs = this.#clock.nowMs();
    const lateMs = Math.max(0, nowMs - this.#firesAtMs);
    const isStalled = lateMs > stallTicks * tickMs;
    this.#firesAtMs = Number.POSITIVE_INFINITY;
    if (isStalled) {
      // Whatever was due waits another while, in which messages are read.
      this.#target.skip(Math.max(0, this.#target.idleTicks() - stallTicks));
      this.#countedMs = nowMs;
    } else {
      this.catchUp(nowMs);
      for (let left = this.#elapsed(nowMs); left > 0; left -= 1) this.#target.tick();
      this.#countedMs += Math.max(0, this.#elapsed(nowMs)) * tickMs;
    }
    this.#target.fired(nowMs, lateMs);
    this.retime();
  }
}
