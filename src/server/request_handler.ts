/**
 * Client requests: checks at the edge, then proposal or read, then reply.
 *
 * @module
 */

import { unreachable } from "../base/assert.ts";
import { ByteReader, ByteWriter } from "../base/bytes.ts";
import { CStoreError, DeadlineError, ValidationError } from "../base/errors.ts";
import { type Fields, isFields } from "../base/value.ts";
import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import type { Clock } from "../platform/clock.ts";
import type { Random } from "../platform/random.ts";
import { decodeUntrustedCbor, encodeCbor } from "../protocol/encoding/cbor.ts";
import { COMMAND_KINDS, checkClientCommand } from "../protocol/encoding/command.ts";
import { writeOperationResult } from "../protocol/encoding/operation_result.ts";
import {
  READ_LEVELS,
  type ReadTarget,
  type RequestView,
  readReadTarget,
} from "../protocol/wire/client_message.ts";
import type { ProposedRequest, ReplyTarget } from "../replication/raft/open_batch.ts";
import type { ReplicatedLog } from "../storage/wal/iwal_manager.ts";
import { EarlyAcknowledgement } from "./early_acknowledgement.ts";
import { QueryService } from "./query_service.ts";

const NO_DEADLINE_MS = 600_000;
const READ_SWEEP_MS = 25;
const CLUSTER_REQUEST_SIZE_MAX = 16 * 1024;
const QUERY_SIZE_MAX = 256 * 1024;

/** What the handler asks of its node. */
export interface RequestBackend {
  readonly clock: Clock;
  readonly machine: DocumentStateMachine;
  readonly log: ReplicatedLog;
  readonly random: Random;
  readonly syncMode: "SYNC" | "ASYNC";
  readonly sessionTimeoutMs: number;
  /** The term in which this node leads, or follows. */
  term(): number;
  /** The last entry that this node proposed by itself. */
  lastOwnProposal(): number;
  /** Longest deadline that a client may ask for, in milliseconds. */
  readonly requestTimeoutMs: number;
  /** Takes a command in, or says why not. */
  propose(request: ProposedRequest): CStoreError | undefined;
  readBarrier(run: () => void): void;
  /** Why a read without a barrier may not be served here now; undefined when it may. */
  refuseRead(level: "leader" | "stale"): CStoreError | undefined;
  status(): Record<string, unknown>;
  /** Hands leadership over; resolves with from, to and the stall. */
  promote(nodeId: string): Promise<Record<string, unknown>>;
  /** Answers a question about the cluster, or changes it. */
  cluster(request: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>>;
}

/** The body of a REQUESTS frame. */
export interface RequestFrame {
  readonly body: Uint8Array;
  readonly view: DataView;
}

/** A read that waits for a quorum. */
interface WaitingRead {
  readonly deadlineMs: number;
  late(): void;
}

/** Serves the requests of all clients of a node. */
export class RequestHandler {
  readonly #backend: RequestBackend;
  readonly #queries: QueryService;
  readonly #early: EarlyAcknowledgement;
  readonly #payload = new ByteWriter(256);
  readonly #waitingReads = new Set<WaitingRead>();
  #isWatching = false;
  /** Time at which the frame that is being handled arrived. */
  #nowMs = 0;

  constructor(backend: RequestBackend) {
    this.#backend = backend;
    this.#queries = new QueryService(backend);
    this.#early = new EarlyAcknowledgement(backend);
  }

  /** A frame arrived: its requests' deadlines count from now. */
  beginFrame(): void {
    this.#nowMs = this.#backend.clock.nowMs();
  }

  /** Handles one request; the frame is valid during the call. Throws ProtocolError. */
  handle(frame: RequestFrame, request: RequestView, replies: ReplyTarget): void {
    const { body } = frame;
    switch (request.kind) {
      case "COMMAND":
        return this.#command(frame, request, replies);
      case "READ":
      case "COUNT":
        return this.#read(body, request, replies);
      case "STATUS":
        return replies.result(request.requestId, encodeCbor(this.#backend.status()));
      case "PROMOTE":
        return this.#promote(body, request, replies);
      case "CLUSTER":
        return this.#cluster(body, request, replies);
      case "QUERY":
        return this.#query(body, request, replies);
      default:
        return unreachable(request.kind);
    }
  }

  #deadline(request: RequestView): number {
    const limitMs = Math.min(request.deadlineMs || NO_DEADLINE_MS, NO_DEADLINE_MS);
    return this.#nowMs + Math.min(limitMs, this.#backend.requestTimeoutMs);
  }

  #command(frame: RequestFrame, request: RequestView, target: ReplyTarget): void {
    const { requestId, start, end } = request;
    const { body, view } = frame;
    const refusal = checkClientCommand(body, view, request);
    if (refusal !== "") {
      target.failed(requestId, new ValidationError(`Cannot execute the request: ${refusal}`));
      return;
    }
    const count = view.getUint16(start + 6, true);
    const early = this.#early.mayAnswer(body, view, start);
    const isCatalog = COMMAND_KINDS[view.getUint8(start + 4)] === "CATALOG";
    const hearer = isCatalog ? this.#early.watched(target) : target;
    const deadlineMs = this.#deadline(request);
    const place = { bytes: body, start, end, count };
    const error = this.#backend.propose({ ...place, target: hearer, requestId, deadlineMs, early });
    if (error !== undefined) hearer.failed(requestId, error);
  }

  #read(body: Uint8Array, request: RequestView, target: ReplyTarget): void {
    const read = readReadTarget(body, request.start, request.end);
    const { level } = read;
    if (level !== "linearizable") {
      const error = this.#backend.refuseRead(level);
      if (error === undefined) this.#answerRead(request, read, target);
      else target.failed(request.requestId, error);
      return;
    }
    const deadlineMs = this.#deadline(request);
    // The frame's bytes are gone when the barrier is through.
    const kept = { level, collection: read.collection.slice(), key: read.key.slice() };
    this.#waitForBarrier(deadlineMs, {
      served: () => this.#answerRead(request, kept, target),
      late: () => target.failed(request.requestId, readTooLate()),
    });
  }

  #query(body: Uint8Array, request: RequestView, target: ReplyTarget): void {
    const { requestId, start, end } = request;
    const level = READ_LEVELS[body[start] ?? READ_LEVELS.length];
    const fail = (error: CStoreError): void => target.failed(requestId, error);
    let asked: Fields;
    try {
      if (level === undefined) throw new ValidationError("Cannot query: the read level is unknown");
      asked = readMap(body.slice(start + 1, end), QUERY_SIZE_MAX);
    } catch (error) {
      if (!(error instanceof CStoreError)) throw error;
      fail(error);
      return;
    }
    const deadlineMs = this.#deadline(request);
    const result = (payload: Uint8Array): void => target.result(requestId, payload);
    const reply = { deadlineMs, result, failed: fail };
    const { action } = asked;
    const isContinued = action === "next" || action === "close" || action === "backupNext";
    if (level !== "linearizable" || isContinued) {
      const error = isContinued ? undefined : this.#backend.refuseRead(level as "leader");
      if (error === undefined) this.#queries.answer(asked, reply);
      else fail(error);
      return;
    }
    this.#waitForBarrier(deadlineMs, {
      served: () => this.#queries.answer(asked, reply),
      late: () => fail(readTooLate()),
    });
  }

  #waitForBarrier(deadlineMs: number, outcome: { served(): void; late(): void }): void {
    const waiting: WaitingRead = { deadlineMs, late: outcome.late };
    this.#waitingReads.add(waiting);
    this.#watchReads();
    this.#backend.readBarrier(() => {
      if (this.#waitingReads.delete(waiting)) outcome.served();
    });
  }

  /** One timer for all reads that wait: one for each would cost more than the read. */
  #watchReads(): void {
    if (this.#isWatching) return;
    this.#isWatching = true;
    this.#backend.clock.setTimer(READ_SWEEP_MS, () => {
      this.#isWatching = false;
      const nowMs = this.#backend.clock.nowMs();
      for (const waiting of this.#waitingReads) {
        if (waiting.deadlineMs > nowMs) continue;
        this.#waitingReads.delete(waiting);
        waiting.late();
      }
      if (this.#waitingReads.size > 0) this.#watchReads();
    });
  }

  #answerRead(request: RequestView, read: ReadTarget, target: ReplyTarget): void {
    const { machine } = this.#backend;
    const payload = this.#payload;
    payload.rewind(0);
    const nowMs = machine.timeAt(this.#backend.clock.wallMs());
    if (request.kind === "COUNT") {
      const count = machine.count(read.collection, nowMs);
      if (count === undefined) return this.#countOneByOne(request, read, target);
      payload.u64(count);
    } else writeOperationResult(payload, machine.read(read.collection, read.key, nowMs));
    target.result(request.requestId, payload.written());
  }

  #countOneByOne(request: RequestView, read: ReadTarget, target: ReplyTarget): void {
    const { requestId } = request;
    const collection = new TextDecoder().decode(read.collection);
    this.#queries.answer(
      { action: "count", collection },
      {
        deadlineMs: this.#deadline(request),
        result: (payload) => target.result(requestId, payload),
        failed: (error) => target.failed(requestId, error),
      },
    );
  }

  #cluster(body: Uint8Array, request: RequestView, target: ReplyTarget): void {
    const { requestId, start, end } = request;
    const fail = (error: CStoreError): void => target.failed(requestId, error);
    let asked: Fields;
    try {
      asked = readMap(body.slice(start, end), CLUSTER_REQUEST_SIZE_MAX);
    } catch (error) {
      if (!(error instanceof CStoreError)) throw error;
      fail(error);
      return;
    }
    this.#backend.cluster(asked).then(
      (result) => target.result(requestId, encodeCbor(result)),
      (error: unknown) => {
        if (!(error instanceof CStoreError)) throw error;
        fail(error);
      },
    );
  }

  #promote(body: Uint8Array, request: RequestView, target: ReplyTarget): void {
    const nodeId = new ByteReader(body.subarray(request.start, request.end)).text();
    const { requestId } = request;
    this.#backend.promote(nodeId).then(
      (result) => target.result(requestId, encodeCbor(result)),
      (error: CStoreError) => target.failed(requestId, error),
    );
  }
}

/** The map in a CLUSTER or QUERY request. Throws ValidationError. */
function readMap(body: Uint8Array, sizeMax: number): Fields {
  const value = body.byteLength > sizeMax ? undefined : decodeUntrustedCbor(body);
  if (isFields(value)) return value;
  throw new ValidationError(`Cannot read the request: it is not a map of at most ${sizeMax} bytes`);
}

function readTooLate(): CStoreError {
  return new DeadlineError("Cannot read in time: no quorum confirmed the leader");
}
