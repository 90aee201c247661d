/**
 * The interface between consensus and the replicated state.
 *
 * @module
 */

import type { CStoreError } from "../base/errors.ts";
import type { Entry, LogIndex } from "./types.ts";

/** Receives the results of one batch; `command` counts the batch's commands from 0. */
export interface ApplyResults {
  /** One operation was written as that version (or a session was opened with that id). */
  written(command: number, version: number): void;
  /** The operations' results, encoded (`client_message.ts`). */
  result(command: number, payload: Uint8Array): void;
  refused(command: number, error: CStoreError): void;
}

/** For entries without a waiting caller on this node. */
export const NO_RESULTS: ApplyResults = {
  written: () => undefined,
  result: () => undefined,
  refused: () => undefined,
};

/**
 * Applies committed entries. Synchronous and deterministic: it never awaits, reads no clock, and
 * gives the same result on every node.
 */
export interface StateMachine {
  /** Index of the last applied entry: `0 <= appliedIndex <= committed`. */
  readonly appliedIndex: LogIndex;
  /** Runs to completion; `entry.index` is `appliedIndex + 1`. */
  apply(entry: Entry, results: ApplyResults): void;
}
