/**
 * Requests that are taken in and not proposed yet: closed batches, and the open one that further
 * requests join until there is room for it in flight.
 *
 * @module
 */

import type { CStoreError } from "../../base/errors.ts";
import { OpenBatch, type ProposedRequest } from "./open_batch.ts";
import { deadlinePassed } from "./proposal_table.ts";

const SMALLEST_BATCH_SIZE = 512;

/** In order of arrival. */
export class RequestQueue {
  #open = new OpenBatch(SMALLEST_BATCH_SIZE);
  #closed: OpenBatch[] = [];
  #bytes = 0;
  #lastBatchSize = SMALLEST_BATCH_SIZE;

  /** Bytes of the requests that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#closed.length === 0 && this.#open.isEmpty;
  }

  /** `batchBytes`: size at which a batch is closed. */
  add(request: ProposedRequest, batchBytes: number): void {
    const size = request.end - request.start;
    if (!this.#open.isEmpty && this.#open.bodySize + size > batchBytes) {
      this.#closed.push(this.#open);
      this.#open = new OpenBatch(this.#lastBatchSize);
    }
    this.#open.add(request);
    this.#bytes += size;
  }

  /** The next batch to propose, if somebody waits for any of it; undefined when nothing waits. */
  take(): OpenBatch | undefined {
    let batch = this.#next();
    while (batch?.isForNobody) batch = this.#next();
    return batch;
  }

  #next(): OpenBatch | undefined {
    let batch = this.#closed.shift();
    if (batch === undefined) {
      if (this.#open.isEmpty) return undefined;
      batch = this.#open;
      // The next one will be about as large: a buffer that fits is not copied as it grows.
      this.#lastBatchSize = Math.max(SMALLEST_BATCH_SIZE, Math.ceil(batch.bodySize * 1.25));
      this.#open = new OpenBatch(this.#lastBatchSize);
    }
    this.#bytes -= batch.bodySize;
    return batch;
  }

  /** Refuses everything that waits. Nothing of it was proposed: it may safely go elsewhere. */
  fail(makeError: () => CStoreError): void {
    const waiting = [...this.#closed, this.#open];
    this.#closed = [];
    this.#open = new OpenBatch(this.#lastBatchSize);
    this.#bytes = 0;
    for (const batch of waiting) batch.fail(makeError);
  }

  /** Answers requests whose deadline has passed. */
  expire(nowMs: number): void {
    for (const batch of [...this.#closed, this.#open]) batch.expire(nowMs, deadlinePassed);
  }
}
