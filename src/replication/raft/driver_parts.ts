/**
 * The parts of a driver of Raft, and the hooks that it calls.
 *
 * @module
 */

import { NotLeaderError, OverloadedError, withoutStack } from "../../base/errors.ts";
import type { RateLimit } from "../../base/rate_limit.ts";
import { RETRY_AFTER_MS } from "../../base/timing.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Random } from "../../platform/random.ts";
import type { BatchCodec, Compressor } from "../../protocol/encoding/batch_codec.ts";
import type { Configuration, LoggedConfiguration } from "../../raft/configuration.ts";
import type { RaftMessage } from "../../raft/message.ts";
import type { RaftEvent } from "../../raft/ready.ts";
import type { StateMachine } from "../../raft/state_machine.ts";
import type { Entry, LogBase, LogIndex, NodeId } from "../../raft/types.ts";
import type { ReplicatedLog } from "../../storage/wal/iwal_manager.ts";
import type { Pace } from "./pace.ts";

/**
 * Why a node does not campaign: its state is being replaced, its disk hangs, it does not know
 * yet whether its id was removed from the cluster, or it joined and does not hold its own
 * admission yet.
 */
export type HoldReason = "restoring" | "disk" | "beginning" | "joining";

/** Options of a driver. */
export interface DriverOptions {
  readonly id: NodeId;
  /** The configurations in the snapshot and the log, in order. */
  readonly configurations: readonly LoggedConfiguration[];
  readonly heartbeatMs: number;
  readonly electionTimeoutMs: number;
  readonly syncMode: "SYNC" | "ASYNC";
  readonly codec: BatchCodec;
  /** Serve linearizable reads on a lease where one holds. The same on every node. */
  readonly hasLeases: boolean;
  /** A sync that takes longer is a stalled disk's. */
  readonly diskStallMs: number;
}

/** The parts that the driver moves. */
export interface DriverParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: ReplicatedLog;
  readonly machine: StateMachine;
  readonly compressor: Compressor;
  /** Rate of entries that learners are sent from the disk. */
  readonly catchUpRate: RateLimit;
  send(message: RaftMessage): void;
  /** How long the node waits. */
  readonly pace: Pace;
}

/** Receives the driver's events. */
export interface DriverHooks {
  event(event: RaftEvent): void;
  /** More entries were applied. */
  applied(index: LogIndex): void;
  /** A conflicting tail is about to be superseded: it is still readable now. */
  beforeTruncate(fromIndex: LogIndex): void;
  /** Entries are about to be written, committed or not. */
  logging(entries: readonly Entry[]): void;
  /** The disk has kept a sync waiting for too long, or does so no more. */
  diskStalled(isStalled: boolean): void;
  /** Another configuration counts now. */
  membersChanged(configuration: Configuration): void;
  /** A peer needs a snapshot; `snapshotEnded` is to follow. */
  snapshotNeeded(peer: NodeId): void;
  /**
   * A snapshot took the place of the log. Nothing is applied until `stateRestored` says that the
   * state machine holds it, too.
   */
  restored(base: LogBase): void;
  /** The log failed: the node cannot go on. */
  failed(cause: unknown): void;
}

/** Hooks of a driver that was not started. */
export const NO_HOOKS: DriverHooks = {
  event: () => undefined,
  applied: () => undefined,
  beforeTruncate: () => undefined,
  logging: () => undefined,
  diskStalled: () => undefined,
  membersChanged: () => undefined,
  snapshotNeeded: () => undefined,
  restored: () => undefined,
  failed: () => undefined,
};

/** The refusal of a leader whose log is not committed. */
export function logIsFull(): OverloadedError {
  return new OverloadedError(
    "Cannot log the request: the log is not committed",
    RETRY_AFTER_MS.uncommittedBytes,
  );
}

/** The refusal of a leader with too many requests. */
export function tooManyBytes(): OverloadedError {
  return new OverloadedError(
    "Cannot take the request: too many bytes wait to be committed",
    RETRY_AFTER_MS.requestBytes,
  );
}

/** The refusal of a node that does not lead; `leader` may be itself, a moment ago. */
export function notLeader(
  nodeId: NodeId,
  leader: { readonly id: NodeId; readonly address: string },
): NotLeaderError {
  const id = leader.id === nodeId ? "" : leader.id;
  const who = id === "" ? "no leader is known" : `"${id}" leads`;
  const { address } = leader;
  const message = `Cannot serve on node "${nodeId}": ${who}`;
  return withoutStack(() => new NotLeaderError(message, { id, address }));
}
