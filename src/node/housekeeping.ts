/**
 * Periodic work of a node: makes indexes, looks at its times; as leader binds folders, promotes
 * learners, ends old sessions.
 *
 * @module
 */

import { SESSIONS_MAX } from "../base/limits.ts";
import { POLL_INTERVAL_MS } from "../base/timing.ts";
import type { Bindings } from "../cluster/bindings.ts";
import type { Members } from "../cluster/members.ts";
import type { MembershipChanges } from "../cluster/membership_changes.ts";
import type { RollbackGuard } from "../cluster/rollback_guard.ts";
import type { RulesUpgrade } from "../cluster/rules_upgrade.ts";
import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import { dueRemovals } from "../database/expiry.ts";
import { buildIndexes, isBuilding } from "../database/index_building.ts";
import type { CancelTimer, Clock } from "../platform/clock.ts";
import {
  clusterBatch,
  documentsBatch,
  indexReadyBatch,
  writeSessionIds,
} from "../protocol/encoding/cluster_command.ts";
import type { RaftDriver } from "../replication/raft/raft_driver.ts";
import type { MasterPart } from "./masters/master_part.ts";
import type { Snapshotter } from "./snapshots/snapshotter.ts";
import type { TimeoutAlarm } from "./timeout_alarm.ts";

const SESSIONS_PER_SWEEP = 1000;
const EXPIRED_PER_BATCH = 500;

/** The parts that housekeeping works on. */
export interface HousekeepingParts {
  readonly clock: Clock;
  readonly driver: RaftDriver;
  readonly machine: DocumentStateMachine;
  readonly bindings: Bindings;
  readonly members: Members;
  readonly changes: MembershipChanges;
  readonly rules: RulesUpgrade;
  readonly rollbackGuard: RollbackGuard;
  readonly sessionTimeoutMs: number;
  readonly snapshotter: Snapshotter;
  readonly timeoutAlarm: TimeoutAlarm;
  readonly masters: MasterPart;
  /** The log could not be cut: the node cannot go on. */
  failed(cause: unknown): void;
}

/** Runs until it is stopped. */
export class Housekeeping {
  readonly #parts: HousekeepingParts;
  #cancel: CancelTimer = () => undefined;
  #cancelBuild: CancelTimer = () => undefined;
  #isBuilding = false;
  #nextReadyMs = 0;
  #nextSessionSweepMs = 0;
  #nextExpiryMs = 0;

  constructor(parts: HousekeepingParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#cancel = this.#parts.clock.setTimer(POLL_INTERVAL_MS.housekeeping, () => this.start());
    const { snapshotter, failed } = this.#parts;
    snapshotter.cutWhenFree().catch(failed);
    this.#parts.rollbackGuard.tick(this.#parts.clock.nowMs());
    this.#parts.timeoutAlarm.tick();
    this.#parts.masters.tick();
    if (this.#parts.driver.isLeader) this.#lead();
    else this.#parts.members.reachDeparted([], 0);
    if (!this.#isBuilding && isBuilding(this.#parts.machine.collections())) this.#build();
  }

  stop(): void {
    this.#cancel();
    this.#cancelBuild();
  }

  /** Makes indexes little by little; the leader says when one has all documents. */
  #build(): void {
    const { machine, driver, clock } = this.#parts;
    const nowMs = clock.nowMs();
    const done = buildIndexes(machine.collections());
    this.#isBuilding = isBuilding(machine.collections());
    if (driver.isLeader && driver.view.hasCommittedOwnTerm && nowMs >= this.#nextReadyMs) {
      for (const index of done) {
        // It is logged again if this entry does not become part of the log.
        this.#nextReadyMs = nowMs + POLL_INTERVAL_MS.indexReady;
        driver.proposeBatch(indexReadyBatch(index, clock.wallMs()));
      }
    }
    if (this.#isBuilding)
      this.#cancelBuild = clock.setTimer(POLL_INTERVAL_MS.indexBuild, () => this.#build());
  }

  #lead(): void {
    const { clock, driver, machine, bindings, members, changes, rules } = this.#parts;
    const nowMs = clock.nowMs();
    const { term, hasCommittedOwnTerm, commitIndex } = driver.view;
    members.observe(nowMs);
    if (!hasCommittedOwnTerm) return;
    changes.tick(nowMs);
    const wallMs = clock.wallMs();
    members.reachDeparted(machine.memberTable.departed, wallMs);
    const isCaughtUp = driver.appliedIndex >= commitIndex;
    const binding = bindings.next({ term, timeMs: wallMs, isCaughtUp });
    if (binding !== undefined) {
      const beginning = rules.beginning(wallMs);
      if (beginning !== undefined) driver.proposeBatch(beginning);
      const isNew = machine.memberTable.bindings.size === 0;
      const mode = isNew ? this.#parts.masters.beginning(wallMs) : undefined;
      if (mode !== undefined) driver.proposeBatch(mode);
      driver.proposeBatch(binding);
    }
    if (nowMs >= this.#nextSessionSweepMs) this.#expireSessions(nowMs, wallMs);
    if (nowMs >= this.#nextExpiryMs && isCaughtUp) this.#expireDocuments(nowMs, wallMs);
  }

  /** A portion at a time; it is applied before the next one is looked for. */
  #expireDocuments(nowMs: number, wallMs: number): void {
    const { machine, driver } = this.#parts;
    const at = { nowMs: machine.timeAt(wallMs), rules: machine.rules };
    const due = dueRemovals(machine.collections(), at, EXPIRED_PER_BATCH);
    if (due === undefined) this.#nextExpiryMs = nowMs + POLL_INTERVAL_MS.documentExpiry;
    else driver.proposeBatch(documentsBatch(due, wallMs));
  }

  #expireSessions(nowMs: number, wallMs: number): void {
    this.#nextSessionSweepMs = nowMs + POLL_INTERVAL_MS.sessionExpiry;
    const { machine, driver, sessionTimeoutMs } = this.#parts;
    const beforeMs = Math.max(0, Math.floor(wallMs) - sessionTimeoutMs);
    const expired = machine.sessions.expired(beforeMs, SESSIONS_MAX).slice(0, SESSIONS_PER_SWEEP);
    if (expired.length === 0) return;
    const batch = clusterBatch("EXPIRE_SESSIONS", Math.floor(wallMs), (writer) =>
      writeSessionIds(writer, expired),
    );
    driver.proposeBatch(batch);
  }
}
