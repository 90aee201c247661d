/**
 * A socket and a clock that do only what a test says.
 *
 * @module
 */

import type { CancelTimer, Clock } from "../../src/platform/clock.ts";
import type { Socket, SocketHandlers } from "../../src/platform/sockets.ts";

/** Time that stands still until it is moved. */
export class FakeClock implements Clock {
  #nowMs = 1_000;
  readonly #timers = new Set<{ readonly atMs: number; readonly callback: () => void }>();

  get timerCount(): number {
    return this.#timers.size;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, callback: () => void): CancelTimer {
    const timer = { atMs: this.#nowMs + delayMs, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  soon(callback: () => void): void {
    this.setTimer(0, callback);
  }

  /** Moves on and runs what is due, in order. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    while (true) {
      const [next] = [...this.#timers].sort((a, b) => a.atMs - b.atMs);
      if (next === undefined || next.atMs > endMs) break;
      this.#timers.delete(next);
      this.#nowMs = next.atMs;
      next.callback();
    }
    this.#nowMs = endMs;
  }
}

/** One end of a connection; the test is the other one. */
export class FakeSocket implements Socket {
  readonly remoteAddress = "10.0.0.1:5";
  unsentBytes = 0;
  /** Every write, as it came. */
  readonly writes: Uint8Array[] = [];
  /** What a real socket would have answered with an error that kills the connection. */
  writesAfterEnd = 0;
  endCount = 0;
  isDestroyed = false;
  isPaused = false;
  #handlers: SocketHandlers | undefined;

  attach(handlers: SocketHandlers): void {
    this.#handlers = handlers;
  }

  write(bytes: Uint8Array): boolean {
    if (this.endCount > 0 || this.isDestroyed) this.writesAfterEnd += 1;
    this.writes.push(bytes);
    return true;
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  end(): void {
    this.endCount += 1;
  }

  destroy(): void {
    if (this.isDestroyed) return;
    this.isDestroyed = true;
    this.#handlers?.close();
  }

  /** Bytes from the other side. */
  receive(chunk: Uint8Array): void {
    this.#handlers?.data(chunk);
  }

  /** The other side closed. */
  hangUp(): void {
    this.#handlers?.close();
  }
}
