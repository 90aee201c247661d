/**
 * A bound on bytes a second, kept by waiting before each piece.
 *
 * @module
 */

/** Counts bytes that were let through; the caller waits and gives the time. */
export class RateLimit {
  readonly #bytesPerSecond: number;
  #nextAtMs = 0;

  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Milliseconds to wait before a piece of that size may go, which is counted as gone. */
  delayMs(nowMs: number, size: number): number {
    const waitMs = Math.max(0, this.#nextAtMs - nowMs);
    this.#nextAtMs = nowMs + waitMs + (size / this.#bytesPerSecond) * 1000;
    return waitMs;
  }
}
