/**
 * Time. Everything above sees it only through {@link Clock}, so that the simulator can own it.
 *
 * @module
 */

/** Stops a timer; harmless after it fired. */
export type CancelTimer = () => void;

/** Monotonic and wall time, and timers. */
export interface Clock {
  /** Milliseconds, with fractions, that never go back. For durations and deadlines. */
  nowMs(): number;
  /** Milliseconds since 1970. For stamps that people read; never for decisions. */
  wallMs(): number;
  /** Calls back once, not before `delayMs`. The caller cancels it when it closes. */
  setTimer(delayMs: number, callback: () => void): CancelTimer;
  /** Calls back after everything that is ready to run has run: gives others a turn. */
  soon(callback: () => void): void;
}

/** The machine's clock. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  setTimer(delayMs, callback) {
    // Fractions would be cut off, and the timer be early.
    const timer = setTimeout(callback, Math.ceil(delayMs));
    return () => clearTimeout(timer);
  },
  soon(callback) {
    setImmediate(callback);
  },
};

/** Resolves after `delayMs`. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.setTimer(delayMs, resolve);
  });
}
