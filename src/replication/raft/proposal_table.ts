/**
 * Batches that are proposed and wait to be committed and applied, by index; the answers to their
 * waiters; and how many bytes of them may be in flight.
 *
 * @module
 */

import { type CStoreError, DeadlineError, UnknownOutcomeError } from "../../base/errors.ts";
import { BATCH_BODY_SIZE_GOAL, BATCHES_IN_FLIGHT_MAX } from "../../base/limits.ts";
import type { ApplyResults } from "../../raft/state_machine.ts";
import type { Entry, LogIndex, Term } from "../../raft/types.ts";
import { largeRequest, type OpenBatch, type ProposedRequest } from "./open_batch.ts";

/** Bytes in flight where nothing is late. */
export const WINDOW_BYTES_MAX = BATCHES_IN_FLIGHT_MAX * BATCH_BODY_SIZE_GOAL;
/** A line of 1 Mbit/s carries them in a quarter of a second. */
export const WINDOW_BYTES_MIN = 32 * 1024;
/** A commit that takes so much longer than the quickest one waited in a buffer. */
const QUEUE_MS = 200;
/** The quickest commit of one to two such times counts: a line may become longer. */
const BASE_PERIOD_MS = 60_000;
const GROWTH = 1.25;
/** A commit over a free line takes a round trip and a sync, until it is seen to take longer. */
const SYNC_MS = 250;
/** With half of the bytes a line takes half of the time: what takes as long does not wait there. */
const SAME_TIME = 0.8;

/** What a batch is measured by. */
export interface Commit {
  /** From the proposal to the commit. */
  readonly tookMs: number;
  /** Bytes that were proposed and not committed then, its own included. */
  readonly bytesInFlight: number;
  /** Round trip to the farthest voter, as last seen, in milliseconds. */
  readonly rttMs: number;
}

/**
 * How many bytes may be proposed and not committed: what the line to a quorum carries in about
 * 200 ms. More would only wait in its buffers, where requests whose deadline passes are carried all
 * the same. Where commits come in time the limit is that of the formats.
 */
export class CommitWindow {
  #bytesMax = WINDOW_BYTES_MAX;
  #baseMs = Number.POSITIVE_INFINITY;
  #baseBeforeMs = Number.POSITIVE_INFINITY;
  #periodEndMs = 0;
  /** Commits take long for another reason than a line: a slow disk, say. */
  #isSlow = false;
  /** The late commit of the most bytes since one was in time. */
  #late: Pick<Commit, "tookMs" | "bytesInFlight"> | undefined;

  /** Bytes that may be in flight. */
  get bytesMax(): number {
    return this.#bytesMax;
  }

  /** Bytes at which a batch is closed, so that several are in flight. */
  get batchBytes(): number {
    return this.#bytesMax / BATCHES_IN_FLIGHT_MAX;
  }

  committed({ tookMs, bytesInFlight, rttMs }: Commit, nowMs: number): void {
    if (nowMs >= this.#periodEndMs) {
      this.#baseBeforeMs = this.#baseMs;
      this.#baseMs = Number.POSITIVE_INFINITY;
      this.#periodEndMs = nowMs + BASE_PERIOD_MS;
    }
    const quickMs = this.#isSlow ? tookMs : Math.min(tookMs, rttMs + SYNC_MS);
    this.#baseMs = Math.min(this.#baseMs, quickMs);
    const baseMs = Math.min(this.#baseMs, this.#baseBeforeMs);
    if (tookMs <= baseMs + QUEUE_MS) {
      this.#late = undefined;
      this.#bytesMax = Math.min(WINDOW_BYTES_MAX, this.#bytesMax * GROWTH);
    } else if (bytesInFlight >= WINDOW_BYTES_MIN) this.#narrow({ tookMs, bytesInFlight }, baseMs);
  }

  #narrow(late: Pick<Commit, "tookMs" | "bytesInFlight">, baseMs: number): void {
    const { tookMs, bytesInFlight } = late;
    const before = this.#late ?? late;
    if (bytesInFlight <= before.bytesInFlight / 2 && tookMs >= before.tookMs * SAME_TIME) {
      this.#isSlow = true;
      this.#baseMs = tookMs;
      this.#baseBeforeMs = tookMs;
      this.#late = undefined;
      return;
    }
    this.#late = bytesInFlight >= before.bytesInFlight ? late : before;
    const carried = (bytesInFlight / tookMs) * (baseMs + QUEUE_MS);
    this.#bytesMax = Math.max(WINDOW_BYTES_MIN, Math.min(this.#bytesMax, carried));
  }
}

interface Proposed {
  readonly term: Term;
  readonly firstSequence: number;
  readonly size: number;
  readonly batch: OpenBatch;
  readonly proposedMs: number;
  /** Bytes in flight with it. */
  readonly bytesInFlight: number;
  /** It is not committed yet, as far as was told. */
  isInFlight: boolean;
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
  #inFlight = { count: 0, bytes: 0 };
  readonly #window = new CommitWindow();

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

  /** Batches that are not committed yet, and their bytes. */
  get inFlight(): { readonly count: number; readonly bytes: number } {
    return this.#inFlight;
  }

  /** Whether another batch may be proposed. */
  get hasRoom(): boolean {
    const { count, bytes } = this.#inFlight;
    return count === 0 || (count < BATCHES_IN_FLIGHT_MAX && bytes < this.#window.bytesMax);
  }

  /** Size at which a batch is closed. */
  get batchBytes(): number {
    return this.#window.batchBytes;
  }

  add(entry: Entry, batch: OpenBatch, proposedMs: number): void {
    const { term, firstSequence } = entry;
    const size = entry.bytes.byteLength;
    this.#inFlight.count += 1;
    this.#inFlight.bytes += size;
    const bytesInFlight = this.#inFlight.bytes;
    const fields = { term, firstSequence, size, batch, proposedMs, bytesInFlight };
    this.#proposed.set(entry.index, { ...fields, isInFlight: true });
    this.#bytes += size;
  }

  /** Whether a request that came again is under way already; then its new waiter is answered. */
  rejoin(request: ProposedRequest): boolean {
    const named = largeRequest(request);
    if (named === undefined) return false;
    for (const { batch } of this.#proposed.values()) {
      if (batch.rejoin(request, named)) return true;
    }
    return false;
  }

  /** Entries up to there are committed; `rttMs` to the farthest voter. */
  committed(throughIndex: LogIndex, nowMs: number, rttMs: number): void {
    for (const [index, proposed] of this.#proposed) {
      if (index > throughIndex) return;
      if (!proposed.isInFlight) continue;
      this.#land(proposed);
      const { proposedMs, bytesInFlight } = proposed;
      this.#window.committed({ tookMs: nowMs - proposedMs, bytesInFlight, rttMs }, nowMs);
    }
  }

  #land(proposed: Proposed): void {
    proposed.isInFlight = false;
    this.#inFlight.count -= 1;
    this.#inFlight.bytes -= proposed.size;
  }

  /** Where the results of a committed entry go. */
  resultsFor(entry: Entry): ApplyResults {
    const proposed = this.#proposed.get(entry.index);
    if (proposed === undefined) return this.#ignored;
    this.#proposed.delete(entry.index);
    this.#bytes -= proposed.size;
    if (proposed.isInFlight) this.#land(proposed);
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
    this.#inFlight = { count: 0, bytes: 0 };
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
  return new DeadlineError("Cannot answer in time: the request may still be committed");
}
