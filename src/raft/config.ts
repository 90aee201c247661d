/**
 * Settings of the core, in ticks. Ranges and relations are asserted: options from users are checked
 * in `node/config.ts`.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import type { Configuration, LoggedConfiguration } from "./configuration.ts";
import type { Entry, EntrySource, HardState, LogIndex, NodeId } from "./types.ts";

/** The settings of one Raft node, and the state that it found on its disk. */
export interface RaftConfig {
  readonly id: NodeId;
  /** Configurations in the snapshot and the log, in order; empty on a node that has not joined. */
  readonly configurations: readonly LoggedConfiguration[];
  /** The configuration that an entry sets; undefined for all others. */
  readonly configurationOf: (entry: Entry) => Configuration | undefined;
  /** Ticks between heartbeats. */
  readonly heartbeatTicks: number;
  /** T: ticks of silence after which a leader counts as lost; at least 5 heartbeats. */
  readonly electionTicks: number;
  /** Ticks that each rank waits longer, so that votes do not split. */
  readonly rankTicks: number;
  /** Random ticks on top, in [0, jitterTicks). */
  readonly jitterTicks: number;
  /**
   * Longest first wait, in ticks, that irregular heartbeats of the leader may lead to; 0: they
   * change nothing. Stickiness and the leader's quorum check use the {@link Pace} alone.
   */
  readonly adaptiveTicksMax: number;
  /** Ticks after which a long wait for a heartbeat counts half. */
  readonly arrivalHalfLifeTicks: number;
  /**
   * Whether leaders serve reads on a lease (thesis §6.4.1): every heartbeat is a read round, and a
   * node that has just started grants no vote for T, because it may have promised a leader.
   */
  readonly hasLeases: boolean;
  /** Largest sum of entry bytes in one message; one larger entry is sent alone. */
  readonly appendBytesMax: number;
  /** Unacknowledged appends to one peer; beyond either limit it gets no more. */
  readonly inflightMessagesMax: number;
  /** Bytes of the entries in unacknowledged appends to one peer. */
  readonly inflightBytesMax: number;
  /** Proposed and uncommitted bytes, beyond which proposals are refused. */
  readonly uncommittedBytesMax: number;
  /** Starts the sequence of random ticks. */
  readonly seed: number;
  /** Makes the entry that a new leader appends (thesis §3.6.2). */
  readonly noop: () => EntrySource;
  /** State found on disk. */
  readonly hardState: HardState;
  /** Known to be committed: `firstIndex - 1 <= commitIndex <= lastIndex` of the log on disk. */
  readonly commitIndex: LogIndex;
}

/** Waits that may grow beyond the configured ones. */
export interface Pace {
  /** As {@link RaftConfig.electionTicks}. */
  readonly electionTicks: number;
  /** As {@link RaftConfig.rankTicks}. */
  readonly rankTicks: number;
}

/** Stops on settings that would make elections unsound or endless. */
export function assertRaftConfig(config: RaftConfig): void {
  assert(config.heartbeatTicks >= 1, "a heartbeat takes at least a tick");
  assert(config.electionTicks >= 5 * config.heartbeatTicks, "election timeout >= 5 heartbeats");
  assert(config.jitterTicks >= 1, "a random wait has at least one value");
  assert(config.rankTicks >= 0, "waits are not negative");
  assert(config.appendBytesMax > 0, "an append has room for an entry");
  assert(config.inflightMessagesMax > 0, "an append fits the window");
}
