/**
 * The picture of a cluster: what every member says of itself, joined with what the leader knows.
 *
 * @module
 */

import type { MastersStatus, NodeStatus } from "../protocol/wire/status.ts";
import { majority } from "../raft/quorum.ts";

/** One row of the table. */
export interface MemberRow {
  readonly id: string;
  readonly address: string;
  readonly pid: number | null;
  readonly role: string;
  /** voter, learner, standby; in joint consensus incoming and outgoing. */
  readonly membership: string;
  readonly state: "healthy" | "suspect" | "down";
  readonly term: number | null;
  readonly commitIndex: number | null;
  readonly appliedIndex: number | null;
  readonly lagBatches: number | null;
  readonly lagMs: number | null;
  readonly rttMs: number | null;
  readonly version: string | null;
  /** How far a learner is, and why it does not vote yet; only the leader knows. */
  readonly caughtUpPercent: number | null;
  readonly waitsFor: string | null;
  /** It reads a snapshot in and serves no reads meanwhile. */
  readonly isRestoring: boolean | null;
  /** Silence after which its leader counts as lost, in milliseconds, and what that follows from. */
  readonly electionMs: number | null;
  readonly electionReason: string | null;
  /** Changes of the leader that it has seen since it began. */
  readonly leaderChanges: number | null;
  /** Alarms of this member for the operator. */
  readonly alarms: NodeStatus["alarms"];
  /** Its part in collections that every node writes; null where there are none. */
  readonly masters: MastersStatus | null;
}

/** The whole cluster. */
export interface ClusterPicture {
  readonly clusterId: string;
  readonly term: number;
  /** Node id; empty while there is no leader. */
  readonly leader: string;
  readonly syncMode: string;
  /** Quorum of the voters; while a change is under way (`isJoint`) of the new ones. */
  readonly quorum: {
    readonly voters: number;
    readonly reachable: number;
    readonly canLose: number;
  };
  /** Whether a majority of the voters is reachable, of the old and of the new ones. */
  readonly hasQuorum: boolean;
  /** Two configurations count until the change that is under way ends. */
  readonly isJoint: boolean;
  readonly members: readonly MemberRow[];
}

/** The leader of the highest term among the nodes that answered. */
export function leaderAmong(known: ReadonlyMap<string, NodeStatus>): NodeStatus | undefined {
  const leaders = [...known.values()].filter(({ role }) => role === "leader");
  return leaders.sort((a, b) => b.term - a.term)[0];
}

/** Which voters can be reached, and how many more may fail. */
export function quorumOf(
  members: readonly MemberRow[],
): Pick<ClusterPicture, "quorum" | "hasQuorum" | "isJoint"> {
  const isJoint = members.some(
    ({ membership }) => membership === "incoming" || membership === "outgoing",
  );
  const next = countVoters(members, "incoming");
  const old = countVoters(members, "outgoing");
  const canLose = Math.min(next.canLose, old.canLose);
  const { voters, reachable } = next;
  const quorum = { voters, reachable, canLose: Math.max(0, canLose) };
  return { quorum, hasQuorum: canLose >= 0, isJoint };
}

/** `canLose` is below 0 without a majority. */
export function countVoters(
  members: readonly MemberRow[],
  also: "incoming" | "outgoing",
): { readonly voters: number; readonly reachable: number; readonly canLose: number } {
  const voters = members.filter(({ membership }) => membership === "voter" || membership === also);
  // One that answers here may be cut off from the leader, which needs it.
  const reachable = voters.filter(({ state }) => state === "healthy").length;
  return { voters: voters.length, reachable, canLose: reachable - majority(voters.length) };
}

/** One member, by its own answer if there is one and by what the leader sees of it. */
export function rowOf(
  member: NodeStatus["members"][number],
  own: NodeStatus | undefined,
  leader: NodeStatus | undefined,
): MemberRow {
  const seen = leader?.members.find((other) => other.id === member.id);
  const isVoter = !["learner", "standby"].includes(member.membership);
  const heard = seen?.state ?? "healthy";
  return {
    id: member.id,
    address: member.address,
    pid: own?.pid ?? null,
    role: own === undefined ? "unknown" : isVoter ? own.role : "learner",
    membership: member.membership,
    state: own === undefined ? "down" : heard === "down" ? "suspect" : heard,
    term: own?.term ?? null,
    commitIndex: own?.commitIndex ?? null,
    appliedIndex: own?.appliedIndex ?? null,
    lagBatches: seen?.lagBatches ?? null,
    lagMs: seen?.lagMs === null || seen?.lagMs === undefined ? null : Math.round(seen.lagMs),
    rttMs: seen?.rttMs === null || seen?.rttMs === undefined ? null : Number(seen.rttMs.toFixed(3)),
    version: own?.version ?? null,
    caughtUpPercent: seen?.caughtUpPercent ?? null,
    waitsFor: seen?.waitsFor ?? null,
    isRestoring: own?.isRestoring ?? null,
    electionMs: own?.electionMs ?? null,
    electionReason: own?.electionReason ?? null,
    leaderChanges: own?.leaderChanges ?? null,
    alarms: own?.alarms ?? [],
    masters: own?.masters ?? null,
  };
}

/** Whether a quorum is there and led. */
export function isHealthy(picture: ClusterPicture): boolean {
  return picture.leader !== "" && picture.hasQuorum;
}
