/**
 * The batch that this turn's requests go into, with the reply target of each of its commands.
 *
 * @module
 */

import { ByteWriter, viewOf } from "../../base/bytes.ts";
import type { CStoreError } from "../../base/errors.ts";
import {
  BATCH_HEADER_SIZE,
  type PreparedBatch,
  sealBatch,
} from "../../protocol/encoding/batch_codec.ts";
import { type RequestIdentity, readCommandHeader } from "../../protocol/encoding/command.ts";
import type { EntrySource } from "../../raft/types.ts";

/** Receives a request's end; exactly one of the calls is made, once. */
export interface ReplyTarget {
  /**
   * One operation was written (or a session opened). `committed` is false for early
   * answers (ASYNC).
   */
  written(requestId: number, version: number, committed: boolean): void;
  /** The operations' results, encoded. */
  result(requestId: number, payload: Uint8Array): void;
  failed(requestId: number, error: CStoreError): void;
}

/** A request's command and its reply target. */
export interface ProposedRequest {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  /** Sequence numbers that the command takes. */
  readonly count: number;
  readonly target: ReplyTarget;
  readonly requestId: number;
  /** On the monotonic clock. */
  readonly deadlineMs: number;
  /** May be answered before it is committed (ASYNC). */
  readonly early: boolean;
}

/** A thin line may take longer for such a command than a request waits: it is found again. */
const LARGE_SIZE_MIN = 64 * 1024;

/** A large command, by its request and its place. */
interface Large {
  readonly request: RequestIdentity;
  readonly command: number;
}

/** Collects commands. Parallel arrays: one object a command would cost more than the command. */
export class OpenBatch {
  readonly #writer: ByteWriter;
  readonly targets: (ReplyTarget | undefined)[] = [];
  readonly requestIds: number[] = [];
  readonly deadlines: number[] = [];
  /** Offset of each early command's sequence number from the batch's first; -1 = not early. */
  readonly earlyOffsets: number[] = [];
  /** Large commands: the request of each, and its place. */
  readonly #large: Large[] = [];
  count = 0;

  constructor(capacity: number) {
    this.#writer = new ByteWriter(capacity);
    this.#writer.reserve(BATCH_HEADER_SIZE);
  }

  /** Bytes of commands. */
  get bodySize(): number {
    return this.#writer.size - BATCH_HEADER_SIZE;
  }

  get isEmpty(): boolean {
    return this.targets.length === 0;
  }

  /** Every request of it was answered: its deadline has passed. */
  get isForNobody(): boolean {
    return !this.isEmpty && this.targets.every((target) => target === undefined);
  }

  add(request: ProposedRequest): void {
    const { bytes, start, end } = request;
    const large = largeRequest(request);
    if (large !== undefined) this.#large.push({ request: large, command: this.targets.length });
    this.#writer.raw(start === 0 && end === bytes.byteLength ? bytes : bytes.subarray(start, end));
    this.targets.push(request.target);
    this.requestIds.push(request.requestId);
    this.deadlines.push(request.deadlineMs);
    this.earlyOffsets.push(request.early ? this.count : -1);
    this.count += request.count;
  }

  /**
   * Takes over a large request that is here, and whose first waiter was answered that its time is
   * over: it is not carried again. False if there is none.
   */
  rejoin({ target, requestId, deadlineMs }: ProposedRequest, named: RequestIdentity): boolean {
    const isSame = ({ request, command }: Large): boolean =>
      request.sessionId === named.sessionId &&
      request.requestNumber === named.requestNumber &&
      this.targets[command] === undefined;
    const found = this.#large.find(isSame);
    if (found === undefined) return false;
    this.targets[found.command] = target;
    this.requestIds[found.command] = requestId;
    this.deadlines[found.command] = deadlineMs;
    return true;
  }

  /** The header's room and the commands. */
  bytes(): Uint8Array {
    return this.#writer.written();
  }

  /** Ends every request that was not answered yet. */
  fail(makeError: () => CStoreError): void {
    for (let i = 0; i < this.targets.length; i += 1) this.failOne(i, makeError);
  }

  failOne(command: number, makeError: () => CStoreError): void {
    const target = this.targets[command];
    if (target === undefined) return;
    this.targets[command] = undefined;
    target.failed(this.requestIds[command]!, makeError());
  }

  /** Ends the requests whose deadline has passed; they may be carried out all the same. */
  expire(nowMs: number, makeError: () => CStoreError): void {
    for (let i = 0; i < this.targets.length; i += 1) {
      if (this.deadlines[i]! <= nowMs) this.failOne(i, makeError);
    }
  }
}

/** What a large command of a session is named by; undefined for others. */
export function largeRequest({ bytes, start, end }: ProposedRequest): RequestIdentity | undefined {
  if (end - start < LARGE_SIZE_MIN) return undefined;
  const request = readCommandHeader(viewOf(bytes), start);
  return request.sessionId === 0 ? undefined : request;
}

/** A batch that is complete but for its place, as consensus takes it. */
export function sourceOf(batch: PreparedBatch): EntrySource {
  return {
    count: batch.count,
    size: batch.bytes.byteLength,
    seal: (place) => sealBatch(batch, place),
  };
}
