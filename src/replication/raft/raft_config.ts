/**
 * Settings of the core from those of a node: milliseconds become ticks.
 *
 * @module
 */

import { noopBatch } from "../../protocol/encoding/cluster_command.ts";
import type { Pace, RaftConfig } from "../../raft/config.ts";
import type { DriverOptions, DriverParts } from "./driver_parts.ts";
import { configurationOf } from "./logged_configurations.ts";
import { sourceOf } from "./open_batch.ts";
import { ELECTION_MS_MAX, type Waits } from "./pace.ts";

/** Length of a tick of the core, in milliseconds. */
export const TICK_MS = 5;
const APPEND_BYTES_MAX = 1024 * 1024;
const INFLIGHT_MESSAGES_MAX = 64;
const INFLIGHT_BYTES_MAX = 16 * 1024 * 1024;
const UNCOMMITTED_BYTES_MAX = 64 * 1024 * 1024;
const RANK_TICKS = 4;
const JITTER_TICKS = 4;
/** A long wait for a heartbeat counts half after so many milliseconds. */
const ARRIVAL_HALF_LIFE_MS = 5000;

/** Configuration that the core is started with. */
export function raftConfig(parts: DriverParts, options: DriverOptions): RaftConfig {
  const { log, machine, random } = parts;
  const { id, configurations, heartbeatMs, electionTimeoutMs, hasLeases } = options;
  return {
    id,
    configurations,
    configurationOf,
    heartbeatTicks: Math.max(1, Math.round(heartbeatMs / TICK_MS)),
    electionTicks: Math.round(electionTimeoutMs / TICK_MS),
    // Leases rest on voters that wait exactly as long as they promised.
    adaptiveTicksMax: hasLeases ? 0 : ELECTION_MS_MAX / TICK_MS,
    arrivalHalfLifeTicks: ARRIVAL_HALF_LIFE_MS / TICK_MS,
    hasLeases,
    rankTicks: RANK_TICKS,
    jitterTicks: JITTER_TICKS,
    appendBytesMax: APPEND_BYTES_MAX,
    inflightMessagesMax: INFLIGHT_MESSAGES_MAX,
    inflightBytesMax: INFLIGHT_BYTES_MAX,
    uncommittedBytesMax: UNCOMMITTED_BYTES_MAX,
    seed: random.below(2 ** 32),
    noop: () => sourceOf(noopBatch()),
    hardState: log.hardState,
    commitIndex: Math.max(log.recoveredCommit, machine.appliedIndex),
  };
}

/** Waits of a node as ticks of the core. */
export function pacedTicks({ electionMs, rankMs }: Waits): Pace {
  return {
    electionTicks: Math.round(electionMs / TICK_MS),
    rankTicks: Math.max(RANK_TICKS, Math.ceil(rankMs / TICK_MS)),
  };
}

/** Ticks between the campaigns of a lost leader's followers, and random ones on top. */
const LOST_RANK_TICKS = 3;
const LOST_JITTER_TICKS = 2;

/** Ticks that a lost leader's follower waits before it campaigns: none for the first in rank. */
export function lostLeaderTicks(
  raft: { readonly rank: number; randomTicks(bound: number): number },
  rankMs: number,
): number {
  const { rank } = raft;
  const rankTicks = Math.max(LOST_RANK_TICKS, Math.ceil(rankMs / TICK_MS));
  return rank === 0 ? 0 : rank * rankTicks + raft.randomTicks(LOST_JITTER_TICKS);
}
