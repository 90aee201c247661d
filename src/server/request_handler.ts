/**
 * Client requests: checks at the edge, then proposal or read, then reply.
 *
 * @module
 */

import { unreachable } from "../base/assert.ts";
import { ByteWriter } from "../base/bytes.ts";
import { CStoreError, DeadlineError, NoQuorumError, ValidationError } from "../base/errors.ts";
import { ANSWER_SIZE_MAX } from "../base/limits.ts";
import { POLL_INTERVAL_MS } from "../base/timing.ts";
import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import { answerTooLarge, wrongMode } from "../database/refusals.ts";
import type { Clock } from "../platform/clock.ts";
import type { Random } from "../platform/random.ts";
import { encodeCbor } from "../protocol/encoding/cbor.ts";
import { COMMAND_KINDS, checkClientCommand } from "../protocol/encoding/command.ts";
import { writeOperationResult } from "../protocol/encoding/operation_result.ts";
import {
  type Acknowledgement,
  READ_STALE,
  type ReadTarget,
} from "../protocol/wire/client_message.ts";
import type { ClusterReply, PromoteReply } from "../protocol/wire/reply.ts";
import type { ClusterRequest, Request } from "../protocol/wire/request.ts";
import type { NodeStatus } from "../protocol/wire/status.ts";
import type { ProposedRequest, ReplyTarget } from "../replication/raft/open_batch.ts";
import type { ReplicatedLog } from "../storage/wal/iwal_manager.ts";
import { EarlyAcknowledgement } from "./early_acknowledgement.ts";
import { type MastersBackend, MastersService } from "./masters_service.ts";
import type { Replies } from "./query_reply.ts";
import { QueryService } from "./query_service.ts";
import { refusalNow } from "./state_check.ts";

const TEXT = new TextDecoder("utf-8", { ignoreBOM: true });
const NO_DEADLINE_MS = 600_000;
/** A read without a quorum is refused so long before its deadline, or a tenth of it. */
const LATE_MARGIN_MS = 100;

type CommandRequest = Extract<Request, { readonly kind: "COMMAND" }>;
type ReadRequest = Extract<Request, { readonly kind: "READ" | "COUNT" }>;
type QueryCall = Extract<Request, { readonly kind: "QUERY" }>;

/** The node, as requests act on it. */
export interface RequestBackend {
  readonly clock: Clock;
  readonly machine: DocumentStateMachine;
  readonly log: ReplicatedLog;
  readonly random: Random;
  readonly syncMode: "SYNC" | "ASYNC";
  /** Whose disks a write of a collection waits for that every node writes, unless it says so. */
  readonly ack: Acknowledgement;
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
  status(): NodeStatus;
  /** Hands leadership over. */
  promote(nodeId: string): Promise<PromoteReply>;
  /** Collections that every node writes; undefined while this node does not take part. */
  masters(): MastersBackend | undefined;
  /** Why this node takes no writes of such collections now. */
  mastersRefusal(): CStoreError | undefined;
  /** Answers a question about the cluster, or changes it. */
  cluster(request: ClusterRequest): Promise<ClusterReply>;
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
  readonly #masters: MastersService;
  readonly #payload = new ByteWriter(256);
  readonly #waitingReads = new Set<WaitingRead>();
  #isWatching = false;
  /** Time at which the frame that is being handled arrived. */
  #nowMs = 0;

  constructor(backend: RequestBackend) {
    this.#backend = backend;
    this.#queries = new QueryService(backend);
    this.#early = new EarlyAcknowledgement(backend);
    this.#masters = new MastersService(backend);
  }

  /** A frame arrived: its requests' deadlines count from now. */
  beginFrame(): void {
    this.#nowMs = this.#backend.clock.nowMs();
  }

  /** Handles one request; the frame is valid during the call. */
  handle(frame: RequestFrame, request: Request, replies: Replies): void {
    const { requestId } = request;
    switch (request.kind) {
      case "COMMAND":
        return this.#command(frame, request, replies);
      case "READ":
      case "COUNT":
        return this.#read(request, replies);
      case "STATUS":
        return replies.result(requestId, encodeCbor(this.#backend.status()));
      case "PROMOTE":
        return answerLater(this.#backend.promote(request.nodeId), requestId, replies);
      case "CLUSTER":
        return answerLater(this.#backend.cluster(request.cluster), requestId, replies);
      case "QUERY":
        return this.#query(request, replies);
      case "WRITE":
        return this.#masters.write(frame, request, {
          deadlineMs: this.#deadline(request),
          replies,
        });
      default:
        return unreachable(request);
    }
  }

  #deadline(request: { readonly deadlineMs: number }): number {
    const limitMs = Math.min(request.deadlineMs || NO_DEADLINE_MS, NO_DEADLINE_MS);
    return this.#nowMs + Math.min(limitMs, this.#backend.requestTimeoutMs);
  }

  #command(frame: RequestFrame, request: CommandRequest, target: ReplyTarget): void {
    const { requestId, start, end } = request;
    const { body, view } = frame;
    const refusal = checkClientCommand(body, view, request);
    if (refusal !== "") {
      target.failed(requestId, new ValidationError(`Cannot execute the request: ${refusal}`));
      return;
    }
    const problem =
      this.#masters.refusal({ body, view, start, end }) ??
      refusalNow(this.#backend.machine, { body, view, start, end });
    if (problem !== undefined) return target.failed(requestId, problem);
    const count = view.getUint16(start + 6, true);
    const early = this.#early.mayAnswer(body, view, start);
    const isCatalog = COMMAND_KINDS[view.getUint8(start + 4)] === "CATALOG";
    const hearer = isCatalog ? this.#early.watched(target) : target;
    const deadlineMs = this.#deadline(request);
    const asked = { requestId, deadlineMs, early, target: hearer, bytes: body, start, end, count };
    const error = this.#backend.propose(asked);
    if (error !== undefined) hearer.failed(requestId, error);
  }

  #read(request: ReadRequest, target: Replies): void {
    const { target: read } = request;
    const { level } = read;
    const deadlineMs = this.#deadline(request);
    // The frame's bytes are gone when the barrier is through.
    const kept = { level, collection: read.collection.slice(), key: read.key.slice() };
    const fail = (error: CStoreError): void => target.failed(request.requestId, error);
    const served = (): void => {
      target.whenRoom(() => {
        if (this.#isInTime(deadlineMs, fail)) this.#answerRead(request, kept, target);
      });
    };
    const wrong = level === "stale" ? undefined : this.#wrongMode(TEXT.decode(read.collection));
    if (wrong !== undefined) return fail(wrong);
    if (level === "linearizable") {
      const late = (): void => fail(this.#readTooLate());
      return this.#waitForBarrier(deadlineMs, { served, late });
    }
    const error = this.#backend.refuseRead(level);
    if (error === undefined) served();
    else fail(error);
  }

  /** Of a collection that every node writes there is no one newest state. */
  #wrongMode(name: string): CStoreError | undefined {
    const store = this.#backend.machine.collectionOrEmpty(name);
    return store.collectionId > 0 ? wrongMode(store) : undefined;
  }

  /** An answer that waited for room may come too late. */
  #isInTime(deadlineMs: number, fail: (error: CStoreError) => void): boolean {
    if (this.#backend.clock.nowMs() < deadlineMs) return true;
    fail(new DeadlineError("Cannot answer in time"));
    return false;
  }

  #query(request: QueryCall, target: Replies): void {
    const { requestId, level, query } = request;
    const fail = (error: CStoreError): void => target.failed(requestId, error);
    const deadlineMs = this.#deadline(request);
    const make = (isCurrent: boolean, ended: () => void): void => {
      const end = (give: () => void): void => {
        give();
        ended();
      };
      const reply = {
        deadlineMs,
        result: (payload: Uint8Array): void => {
          // It may stand in a buffer that is used again.
          const kept = target.isFull ? payload.slice() : payload;
          target.whenTaken(() => end(() => target.result(requestId, kept)));
        },
        failed: (error: CStoreError): void => end(() => fail(error)),
      };
      if (!this.#isInTime(deadlineMs, reply.failed)) return;
      if (isCurrent) this.#queries.answerCurrent(query, reply);
      else this.#queries.answer(query, reply);
    };
    const served = (isCurrent: boolean): void => {
      // A change stream may wait long, with nothing in its hands.
      if (query.action === "watch") make(isCurrent, () => undefined);
      else target.whenTurn((ended) => make(isCurrent, ended));
    };
    // A cursor shows the moment at which it was begun, wherever this node stands now.
    if ("cursor" in query) return served(false);
    const { action } = query;
    const isOfDocuments = action === "find" || action === "count";
    // Changes of such a collection are in no log that all nodes share.
    const isRefused = action === "watch" || (isOfDocuments && level !== "stale");
    const wrong = isRefused ? this.#wrongMode(query.collection) : undefined;
    if (wrong !== undefined) return fail(wrong);
    if (level === "linearizable") {
      const late = (): void => fail(this.#readTooLate());
      return this.#waitForBarrier(deadlineMs, { served: () => served(true), late });
    }
    const error = this.#backend.refuseRead(level);
    if (error === undefined) served(false);
    else fail(error);
  }

  /** No quorum confirmed the leader, or there is none. */
  #readTooLate(): CStoreError {
    const refusal = this.#backend.refuseRead("leader");
    const isAlone = refusal instanceof NoQuorumError;
    const message = isAlone ? refusal.message : "Cannot read in time: no quorum confirmed a leader";
    return new NoQuorumError(message, { remedy: `Bring a voter back. ${READ_STALE}` });
  }

  #waitForBarrier(deadlineMs: number, outcome: { served(): void; late(): void }): void {
    // The refusal is to reach the client before it gives up by itself.
    const marginMs = Math.min(LATE_MARGIN_MS, (deadlineMs - this.#nowMs) / 10);
    const waiting: WaitingRead = { deadlineMs: deadlineMs - marginMs, late: outcome.late };
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
    this.#backend.clock.setTimer(POLL_INTERVAL_MS.waitingReads, () => {
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

  #answerRead(request: ReadRequest, read: ReadTarget, target: ReplyTarget): void {
    const { machine } = this.#backend;
    const payload = this.#payload;
    payload.rewind(0);
    const nowMs = machine.timeAt(this.#backend.clock.wallMs());
    if (request.kind === "COUNT") {
      const count = machine.count(read.collection, nowMs);
      if (count === undefined) return this.#countOneByOne(request, read, target);
      payload.u64(count);
    } else writeOperationResult(payload, machine.read(read.collection, read.key, nowMs));
    // Merged documents may be larger than what anybody wrote.
    if (payload.size <= ANSWER_SIZE_MAX) target.result(request.requestId, payload.written());
    else target.failed(request.requestId, answerTooLarge());
  }

  #countOneByOne(request: ReadRequest, read: ReadTarget, target: ReplyTarget): void {
    const { requestId } = request;
    const collection = TEXT.decode(read.collection);
    this.#queries.answer(
      { ...ALL_DOCUMENTS, action: "count", collection },
      {
        deadlineMs: this.#deadline(request),
        result: (payload) => target.result(requestId, payload),
        failed: (error) => target.failed(requestId, error),
      },
    );
  }
}

/** A query that matches every document of a collection. */
const ALL_DOCUMENTS = {
  ...{ idField: "id", filter: {}, sort: {}, projection: {}, hint: "" },
  ...{ skip: 0, limit: 0 },
} as const;

function answerLater(
  answer: Promise<PromoteReply | ClusterReply>,
  requestId: number,
  target: ReplyTarget,
): void {
  answer.then(
    (reply) => target.result(requestId, encodeCbor(reply)),
    (error: unknown) => {
      if (!(error instanceof CStoreError)) throw error;
      target.failed(requestId, error);
    },
  );
}
