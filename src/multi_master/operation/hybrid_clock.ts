/**
 * A clock that never goes back and follows the largest time it has seen, so that a write made after
 * another was seen has the larger stamp although its node's clock is behind (Kulkarni et al., 2014,
 * "Logical Physical Clocks").
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { isCount } from "../../base/value.ts";
import type { Stamp } from "./operation.ts";

/** Stamps of one millisecond; the next one belongs to the next. */
const COUNT_MAX = 0xffff;

/** The smallest stamp. */
export const NO_STAMP: Stamp = { wallMs: 0, count: 0 };

/** Below 0, 0 or above 0. */
export function compareStamps(a: Stamp, b: Stamp): number {
  return a.wallMs - b.wallMs || a.count - b.count;
}

/** Whether something from outside is a time. */
export function isStamp(stamp: Stamp): boolean {
  if (typeof stamp !== "object" || stamp === null) return false;
  return isCount(stamp.wallMs) && isCount(stamp.count) && stamp.count <= COUNT_MAX;
}

/** The clock of one node. */
export class HybridClock {
  #last: Stamp;

  /** @param last the largest stamp on this node's disk: the clock goes on behind it. */
  constructor(last: Stamp = NO_STAMP) {
    this.#last = last;
  }

  /** The largest stamp given or seen. */
  get last(): Stamp {
    return this.#last;
  }

  /** A stamp above all others that this clock gave or saw. `wallMs` is the node's clock. */
  next(wallMs: number): Stamp {
    const last = this.#last;
    this.#last = wallMs > last.wallMs ? { wallMs, count: 0 } : after(last);
    assert(compareStamps(this.#last, last) > 0, "a stamp is larger than the one before it");
    return this.#last;
  }

  /** Takes note of another node's stamp. */
  observe(stamp: Stamp): void {
    if (compareStamps(stamp, this.#last) > 0) this.#last = stamp;
  }
}

function after({ wallMs, count }: Stamp): Stamp {
  return count < COUNT_MAX ? { wallMs, count: count + 1 } : { wallMs: wallMs + 1, count: 0 };
}

/** 2020-01-01, in ms since 1970. */
const FIRST_MS = 1_577_836_800_000;
/** Versions of one millisecond. */
const COUNTS = 4096;

/**
 * A stamp as one number, the version that readers of a document see: later stamps have greater
 * ones, but for more than 4096 of one millisecond. Exact until the year 2089.
 */
export function versionOfStamp({ wallMs, count }: Stamp): number {
  return Math.max(0, wallMs - FIRST_MS) * COUNTS + Math.min(count, COUNTS - 1);
}
