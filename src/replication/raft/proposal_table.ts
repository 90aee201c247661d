/**
 * Batches that are proposed and wait to be committed and applied, by index; and the answers to
 * their waiters.
 *
 * @module
 */

import { type CStoreError, DeadlineError, UnknownOutcomeError } from "../../base/errors.ts";
import type { ApplyResults } from "../../raft/state_machine.ts";
import type { Entry, LogIndex, Term } from "../../raft/types.ts";
import type { OpenBatch } from "./open_batch.ts";

interface Proposed {
  readonly term: Term;
  readonly firstSequence: number;
  readonly size: number;
  readonly batch: OpenBatch;
}

/** Routes results of the entry that is being applied to the batch's waiters. */
class RoutedResults implements ApplyResults {
  batch: OpenBatch | undefined;

  written(command: number, version: number): void {
    const target = this.#take(command);
    if (target !== undefined) target.written(this.#id(command), version, true);
  }

  result(command: number, payload: Uint8Array): void {
    this.#take(command)?.result(this.#id(command), payload);
  }

  refused(command: number, error: CStoreError): void {
    this.#take(command)?.failed(this.#id(command), error);
  }

  #take(command: number): OpenBatch["targets"][number] {
    const targets = this.batch?.targets;
    const target = targets?.[command];
    if (targets !== undefined) targets[command] = undefined;
    return target;
  }

  #id(command: number): number {
    return this.batch?.requestIds[command] ?? 0;
  }
}

/** Proposals under way. */
export class ProposalTable {
  readonly #proposed = new Map<LogIndex, Proposed>();
  readonly #routed = new RoutedResults();
  readonly #ignored: ApplyResults;
  #bytes = 0;

  constructor(ignored: ApplyResults) {
    this.#ignored = ignored;
  }

  /** Batches that are not applied yet. */
  get size(): number {
    return this.#proposed.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(entry: Entry, batch: OpenBatch): void {
    const { term, firstSequence } = entry;
    const size = entry.bytes.byteLength;
    this.#proposed.set(entry.index, { term, firstSequence, size, batch });
    this.#bytes += size;
  }

  /** Batches above the commit index. */
  countAbove(commitIndex: LogIndex): number {
    let count = 0;
    for (const index of this.#proposed.keys()) if (index > commitIndex) count += 1;
    return count;
  }

  /** Where the results of a committed entry go. */
  resultsFor(entry: Entry): ApplyResults {
    const proposed = this.#proposed.get(entry.index);
    if (proposed === undefined) return this.#ignored;
    this.#proposed.delete(entry.index);
    this.#bytes -= proposed.size;
    if (proposed.term !== entry.term) {
      proposed.batch.fail(() => lost(entry.index));
      return this.#ignored;
    }
    this.#routed.batch = proposed.batch;
    return this.#routed;
  }

  /** The batch is on this node's disk: answers the requests that may be answered early (ASYNC). */
  answerEarly(throughIndex: LogIndex): void {
    for (const [index, { batch, firstSequence }] of this.#proposed) {
      if (index > throughIndex) return;
      for (const [command, offset] of batch.earlyOffsets.entries()) {
        const target = offset === -1 ? undefined : batch.targets[command];
        if (target === undefined) continue;
        batch.targets[command] = undefined;
        target.written(batch.requestIds[command]!, firstSequence + offset, false);
      }
    }
  }

  /** Leadership is lost: proposed batches may be committed or not. */
  failAll(): void {
    for (const [index, { batch }] of this.#proposed) batch.fail(() => lost(index));
    this.#proposed.clear();
    this.#bytes = 0;
  }

  expire(nowMs: number): void {
    for (const { batch } of this.#proposed.values()) batch.expire(nowMs, deadlinePassed);
  }
}

function lost(index: LogIndex): CStoreError {
  return new UnknownOutcomeError(
    `Cannot tell whether entry ${index} was committed: leadership was lost while waiting`,
  );
}

/** The answer to a request whose deadline passed after it was taken in. */
export function deadlinePassed(): CStoreError {
  return new DeadlineError("Cannot answer in time: the request is logged but not yet committed");
}
