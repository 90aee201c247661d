/**
 * Options of a client, and the requests that it sends.
 *
 * @module
 */

import type { ByteWriter } from "../../base/bytes.ts";
import {
  type CStoreError,
  DuplicateKeyError,
  DuplicateRequestError,
  HandshakeError,
  NotLeaderError,
  OverloadedError,
  QueryError,
  TransactionConflictError,
  UncheckedError,
  ValidationError,
  VersionConflictError,
  withoutStack,
} from "../../base/errors.ts";
import { CLIENT_QUEUE_MAX } from "../../base/limits.ts";
import { POLL_INTERVAL_MS, RETRY_AFTER_MS } from "../../base/timing.ts";
import { type Clock, sleep } from "../../platform/clock.ts";
import type { Platform } from "../../platform/platform.ts";
import type { Random } from "../../platform/random.ts";
import { beginCommand, endCommand, NO_SESSION } from "../../protocol/encoding/command.ts";
import type { RequestKind } from "../../protocol/wire/client_message.ts";
import type { NodeChannel } from "./node_channel.ts";
import type { Answer } from "./pending_requests.ts";

/** Options of {@link Client.connect}. */
export interface ClientOptions {
  /** Longest wait for an answer, in milliseconds; 10 s unless set. NaN is none at all. */
  readonly timeoutMs?: number;
  /** Refuse nodes of another cluster. */
  readonly clusterId?: string;
  readonly platform?: Platform;
  /** A write that was answered before it was committed (ASYNC) could not be confirmed later. */
  readonly onLost?: (write: LostWrite) => void;
}

/** A write without its confirmation. */
export interface LostWrite {
  readonly requestNumber: number;
  /** As it was answered; a later leader may have given it another one. */
  readonly version: number;
  /**
   * `lost`: a later leader refused it, so it is not there. `unconfirmed`: nobody could be asked any
   * more; most of such writes are there.
   */
  readonly outcome: "lost" | "unconfirmed";
}

/** What became of a write that was answered early and ended so; undefined: it is there. */
export function outcomeOf(error: CStoreError): LostWrite["outcome"] | undefined {
  // The session knows its number as one that was answered.
  if (error instanceof DuplicateRequestError) return undefined;
  const isRefused =
    error instanceof ValidationError ||
    error instanceof VersionConflictError ||
    error instanceof DuplicateKeyError ||
    error instanceof UncheckedError ||
    error instanceof QueryError;
  return isRefused ? "lost" : "unconfirmed";
}

/** A request as the layers above write it. */
export interface ClientRequest {
  readonly kind: RequestKind;
  readonly target: "leader" | "any";
  /** Only this node is asked, whoever leads: it holds what the request names. */
  readonly via?: NodeChannel | undefined;
  readonly timeoutMs?: number | undefined;
  /** False: it is not sent again after a lost connection, but rejected with UnreachableError. */
  readonly isRepeatable?: boolean;
  /** Writes the payload; `session` and `number` are known then. */
  write(
    writer: ByteWriter,
    identity: { sessionId: number; requestNumber: number; acknowledgedBelow: number },
  ): void;
}

/** A request that waits for a session, or for room in the window. */
export interface Queued {
  readonly request: ClientRequest;
  readonly deadlineMs: number;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: CStoreError) => void;
}

/** The longest time that a request can name on the wire. */
export const LEFT_MAX_MS = 2 ** 32 - 1;

/** Asks for a session. */
export const OPEN_SESSION: ClientRequest = {
  kind: "COMMAND",
  target: "leader",
  write: (writer) =>
    endCommand(writer, beginCommand(writer, "OPEN_SESSION", { ...NO_SESSION, count: 1 })),
};

/** Whether a request changes the cluster: it is sent on to the leader, but never repeated. */
export function isAboutCluster(kind: RequestKind): boolean {
  return kind === "PROMOTE" || kind === "CLUSTER";
}

/** Whether a request that was refused is sent again. */
export function isSentAgain(
  request: { readonly kind: RequestKind; readonly isRepeatable: boolean },
  error: CStoreError,
): boolean {
  if (isAboutCluster(request.kind)) return error instanceof NotLeaderError && error.leaderId !== "";
  if (request.kind === "STATUS") return false;
  // A transaction must read anew: its bytes would be refused again.
  if (error.retry === "safe") return !(error instanceof TransactionConflictError);
  return error.retry === "unknown-outcome" && request.isRepeatable;
}

/** The refusal of a request that a client has no room for. */
export function queueFull(): CStoreError {
  const message = `Cannot send: ${CLIENT_QUEUE_MAX} requests wait already`;
  return withoutStack(() => new OverloadedError(message, RETRY_AFTER_MS.clientQueue));
}

/** A session of writes that any node takes, which no other client has. */
export function randomSession(random: Random): number {
  return 1 + random.below(2 ** 32) * 2 ** 20 + random.below(2 ** 20);
}

/** Resolves when a node answers; rejects when one refuses, or none answers in time. */
export async function untilUp(
  clock: Clock,
  timeoutMs: number,
  channels: {
    isUp(): boolean;
    refusal(): CStoreError | undefined;
    late(): CStoreError;
  },
): Promise<void> {
  const endMs = clock.nowMs() + timeoutMs;
  while (!channels.isUp()) {
    const refusal = channels.refusal();
    if (refusal instanceof HandshakeError) throw refusal;
    if (clock.nowMs() >= endMs) throw channels.late();
    await sleep(clock, POLL_INTERVAL_MS.clientConnects);
  }
}
