/**
 * What consensus asks of the thing it replicates.
 *
 * @module
 */

import type { Entry, LogIndex } from "./types.ts";

/**
 * Applies committed entries. Synchronous and deterministic: it never awaits, reads no clock, and
 * gives the same result on every node.
 *
 * @typeParam R where the results of one entry go, in the order of its commands
 */
export interface StateMachine<R> {
  /** Index of the last applied entry. */
  readonly appliedIndex: LogIndex;
  /** Runs to completion; `entry.index` is `appliedIndex + 1`. */
  apply(entry: Entry, results: R): void;
}
