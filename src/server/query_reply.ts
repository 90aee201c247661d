/**
 * How requests about data are answered, whatever happens to them.
 *
 * @module
 */

import { AssertionError } from "../base/assert.ts";
import { CStoreError, QueryError } from "../base/errors.ts";
import { ANSWER_SIZE_MAX } from "../base/limits.ts";
import { answerTooLarge } from "../database/refusals.ts";
import type { ReplyTarget } from "../replication/raft/open_batch.ts";

/** Where a door wants the replies to the requests of one client. */
export interface Replies extends ReplyTarget {
  /** A request was taken in; exactly one reply to it follows. */
  started(): void;
  /**
   * Calls `answer`, which may make a large reply, now or as soon as the client has taken enough of
   * what it was sent before; never if its connection ends.
   */
  whenRoom(answer: () => void): void;
  /**
   * The same for an answer that takes several turns to make, of which a client has few at a time;
   * `ended` is called when it is given.
   */
  whenTurn(answer: (ended: () => void) => void): void;
  /** Whether the client has so much before it that answers wait. */
  readonly isFull: boolean;
  /** Calls `give`, for an answer that is made, before those that wait to be made. */
  whenTaken(give: () => void): void;
}

/** Target and deadline of an answer. */
export interface QueryReply {
  /** On the monotonic clock. */
  readonly deadlineMs: number;
  result(payload: Uint8Array): void;
  failed(error: CStoreError): void;
}

/**
 * The answer for an error. What a query made go wrong is its own fault and must not end the node: a
 * client would take it to the next one. A broken invariant of ours does end it.
 */
export function asAnswer(error: unknown): CStoreError {
  if (error instanceof CStoreError) return error;
  if (error instanceof AssertionError || !(error instanceof Error)) throw error;
  return new QueryError(`Cannot answer the request: ${error.message}`, { cause: error });
}

/** Refuses answers that fit no frame. */
export function bounded(reply: QueryReply): QueryReply {
  const { deadlineMs } = reply;
  return {
    deadlineMs,
    failed: (error) => reply.failed(error),
    result: (payload) => {
      if (payload.byteLength <= ANSWER_SIZE_MAX) reply.result(payload);
      else reply.failed(answerTooLarge());
    },
  };
}
