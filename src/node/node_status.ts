/**
 * The status document of a node, for the command line and for monitoring.
 *
 * @module
 */

import { VERSION } from "../base/version.ts";
import type { LeaderWatch } from "../cluster/leader_watch.ts";
import type { Members } from "../cluster/members.ts";
import type { MembershipChanges } from "../cluster/membership_changes.ts";
import type { Platform } from "../platform/platform.ts";
import { cpuMs, processId, residentBytes, runtimeName } from "../platform/process.ts";
import type { NodeStatus } from "../protocol/wire/status.ts";
import type { Pace } from "../replication/raft/pace.ts";
import type { RaftDriver } from "../replication/raft/raft_driver.ts";
import type { NodeConfig } from "./config/node_config.ts";
import type { MasterPart } from "./masters/master_part.ts";
import type { Alarms } from "./recovery/alarms.ts";
import type { OpenedStorage } from "./recovery/open_storage.ts";
import type { SnapshotTransfer } from "./snapshots/snapshot_transfer.ts";

/** The parts whose state the document shows. */
export interface StatusParts {
  readonly driver: RaftDriver;
  readonly pace: Pace;
  readonly leaderWatch: LeaderWatch;
  readonly members: Members;
  readonly changes: MembershipChanges;
  readonly transfer: SnapshotTransfer;
  readonly alarms: Alarms;
  readonly masters: MasterPart;
}

/** Writes the status of one node. */
export class StatusReport {
  readonly #platform: Platform;
  readonly #config: NodeConfig;
  readonly #opened: OpenedStorage;
  readonly #parts: StatusParts;
  readonly #startMs: number;

  constructor(
    base: {
      readonly platform: Platform;
      readonly config: NodeConfig;
      readonly opened: OpenedStorage;
    },
    parts: StatusParts,
  ) {
    this.#platform = base.platform;
    this.#config = base.config;
    this.#opened = base.opened;
    this.#parts = parts;
    this.#startMs = base.platform.clock.nowMs();
  }

  /** The status now. */
  write(): NodeStatus {
    const { machine, log, directory } = this.#opened;
    const { driver, pace, leaderWatch, members, changes, transfer, alarms, masters } = this.#parts;
    const { view } = driver;
    const part = masters.status();
    return {
      clusterId: directory.identity.clusterId,
      id: this.#config.id,
      pid: processId(),
      version: VERSION,
      runtime: runtimeName(),
      role: view.role,
      term: view.term,
      leader: view.leader ?? "",
      syncMode: this.#config.syncMode,
      commitIndex: view.commitIndex,
      appliedIndex: machine.appliedIndex,
      firstIndex: view.firstIndex,
      lastIndex: view.lastIndex,
      committedSequence: log.sequenceAfter(view.commitIndex) - 1,
      rules: machine.rules,
      electionMs: Math.round(pace.waits.electionMs),
      electionReason: pace.waits.reason,
      leaderChanges: leaderWatch.changes,
      documents: machine.documentCount,
      documentBytes: machine.documentBytes,
      logBytes: log.sizeBytes,
      sessions: machine.sessions.size,
      rssBytes: residentBytes(),
      cpuMs: cpuMs(),
      uptimeMs: this.#platform.clock.nowMs() - this.#startMs,
      isRestoring: transfer.isRestoring,
      alarms: alarms.list(),
      members: members.status((id) => changes.progressOf(id)),
      ...(part !== undefined && { masters: part }),
    };
  }
}
