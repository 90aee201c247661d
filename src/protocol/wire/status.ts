/**
 * What a node says of itself, of the members as it sees them, and its alarms.
 *
 * @module
 */

import type { MemberRole } from "../../raft/configuration.ts";

/** How a node is doing, as another node sees it. */
export type HealthState = "healthy" | "suspect" | "down";

/** One member as the answering node sees it. */
export interface MemberStatus {
  readonly id: string;
  readonly address: string;
  readonly role: "leader" | "follower" | "learner" | "unknown";
  /** Its role in the configuration. */
  readonly membership: MemberRole;
  /** Of the log or of a snapshot on its way, for learners; only the leader knows. */
  readonly caughtUpPercent: number | null;
  /** Why a learner is not a voter yet; only the leader knows. */
  readonly waitsFor: string | null;
  readonly state: HealthState;
  /** Entries that it is behind the leader; only the leader knows. */
  readonly lagBatches: number | null;
  /** Time since it had everything; only the leader knows. */
  readonly lagMs: number | null;
  readonly matchIndex: number | null;
  readonly rttMs: number | null;
}

/** What a node says of itself. */
export interface NodeStatus {
  readonly clusterId: string;
  readonly id: string;
  readonly pid: number;
  readonly version: string;
  readonly runtime: string;
  readonly role: string;
  readonly term: number;
  /** Node id; empty while nobody leads. */
  readonly leader: string;
  readonly syncMode: "SYNC" | "ASYNC";
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly committedSequence: number;
  /** The rules by which it applies the log; absent from builds before rules had numbers. */
  readonly rules?: number;
  /** Silence after which it counts its leader, or its quorum, as lost; absent from older builds. */
  readonly electionMs?: number;
  /** What that follows from: "configured", "round trips", "late timers" or "large documents". */
  readonly electionReason?: string;
  /** Changes of the leader that it has seen since it began; absent from older builds. */
  readonly leaderChanges?: number;
  readonly documents: number;
  readonly documentBytes: number;
  readonly logBytes: number;
  readonly sessions: number;
  readonly rssBytes: number;
  readonly cpuMs: number;
  readonly uptimeMs: number;
  /** A snapshot is being read into the state: nothing is read from it meanwhile. */
  readonly isRestoring: boolean;
  /** What an operator should look at; the node goes on all the same. */
  readonly alarms: readonly Alarm[];
  readonly members: readonly MemberStatus[];
  /** Its part in collections that every node writes; absent where there are none. */
  readonly masters?: MastersStatus;
}

/** A node's part in collections that every node writes. */
export interface MastersStatus {
  /**
   * `ready`: it takes writes. `joining`: its incarnation is not agreed upon yet. `behind`: it lacks
   * what others have forgotten removals by. `seeding`: it waits for another node's state.
   */
  readonly state: "ready" | "joining" | "behind" | "seeding";
  /** The incarnation that it writes under. */
  readonly origin: string;
  /** What the disk of each other member lacks of the operations on this node's disk. */
  readonly streams: readonly StreamStatus[];
}

/** How far a member is behind a node. */
export interface StreamStatus {
  readonly to: string;
  readonly isUp: boolean;
  readonly operations: number;
  /** Time since it had all of them. */
  readonly lagMs: number;
}

/** What kinds there are. */
export type AlarmKind =
  | "CORRUPT"
  | "DISK_STALL"
  | "SNAPSHOT_FAILED"
  | "TIMEOUT_SHORT"
  | "CLOCK_SKEW"
  | "OPERATION_WAITS"
  | "ORIGIN_FORKED";

/** One alarm. */
export interface Alarm {
  readonly kind: AlarmKind;
  /** Wall time at which it was raised, in milliseconds since 1970. */
  readonly sinceMs: number;
  readonly detail: string;
}
