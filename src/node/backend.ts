/**
 * Carries out the requests of a node's clients, and refuses some before anything is logged.
 *
 * @module
 */

import { type CStoreError, NoQuorumError, OverloadedError, withoutStack } from "../base/errors.ts";
import { RETRY_AFTER_MS } from "../base/timing.ts";
import type { Bindings } from "../cluster/bindings.ts";
import type { Handover } from "../cluster/handover.ts";
import type { Members } from "../cluster/members.ts";
import type { MembershipChanges } from "../cluster/membership_changes.ts";
import type { RulesUpgrade } from "../cluster/rules_upgrade.ts";
import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import { versionOfStamp } from "../multi_master/operation/hybrid_clock.ts";
import type { Clock } from "../platform/clock.ts";
import type { Random } from "../platform/random.ts";
import { encodeCbor } from "../protocol/encoding/cbor.ts";
import { digestBatch } from "../protocol/encoding/cluster_command.ts";
import { seedBlocks } from "../protocol/operations/seed_codec.ts";
import type { Acknowledgement } from "../protocol/wire/client_message.ts";
import type { ClusterReply, PromoteReply } from "../protocol/wire/reply.ts";
import type { ClusterRequest } from "../protocol/wire/request.ts";
import type { NodeStatus } from "../protocol/wire/status.ts";
import { isQuorum } from "../raft/quorum.ts";
import type { ProposedRequest } from "../replication/raft/open_batch.ts";
import type { RaftDriver } from "../replication/raft/raft_driver.ts";
import type { MastersBackend } from "../server/masters_service.ts";
import type { RequestBackend } from "../server/request_handler.ts";
import type { StateVerifier } from "../server/state_verifier.ts";
import type { ReplicatedLog } from "../storage/wal/iwal_manager.ts";
import type { NetworkManager } from "../transport/network_manager.ts";
import type { NodeConfig } from "./config/node_config.ts";
import type { MasterPart } from "./masters/master_part.ts";
import type { StatusReport } from "./node_status.ts";
import type { SnapshotTransfer } from "./snapshots/snapshot_transfer.ts";

/** Parts that requests act on. */
export interface BackendParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly config: NodeConfig;
  readonly machine: DocumentStateMachine;
  readonly driver: RaftDriver;
  readonly network: NetworkManager | undefined;
  readonly bindings: Bindings;
  readonly members: Members;
  readonly handover: Handover;
  readonly changes: MembershipChanges;
  readonly rules: RulesUpgrade;
  readonly exchange: SnapshotTransfer;
  readonly verifier: StateVerifier;
  readonly status: StatusReport;
  readonly masters: MasterPart;
}

/** Serves requests on one node. */
export class Backend implements RequestBackend {
  readonly clock: Clock;
  readonly machine: DocumentStateMachine;
  readonly log: ReplicatedLog;
  readonly random: Random;
  readonly syncMode: "SYNC" | "ASYNC";
  readonly ack: Acknowledgement;
  readonly requestTimeoutMs: number;
  readonly sessionTimeoutMs: number;
  readonly #parts: BackendParts;

  constructor(parts: BackendParts) {
    this.#parts = parts;
    this.clock = parts.clock;
    this.machine = parts.machine;
    this.log = parts.driver.log;
    this.random = parts.random;
    this.syncMode = parts.config.syncMode;
    this.ack = parts.config.ack;
    this.requestTimeoutMs = parts.config.requestTimeoutMs;
    this.sessionTimeoutMs = parts.config.sessionTimeoutMs;
  }

  propose(request: ProposedRequest): CStoreError | undefined {
    const { driver, bindings } = this.#parts;
    if (!driver.isLeader && !driver.isBetweenLeaders) return this.#notLeader();
    if (!bindings.isSettled) {
      return new NoQuorumError(
        "Cannot serve yet: the nodes of the cluster are not bound to their folders",
      );
    }
    return driver.propose(request);
  }

  term(): number {
    return this.#parts.driver.view.term;
  }

  lastOwnProposal(): number {
    return this.#parts.driver.lastOwnProposal;
  }

  readBarrier(run: () => void): void {
    this.#parts.driver.readBarrier({ run });
  }

  refuseRead(level: "leader" | "stale"): CStoreError | undefined {
    const { exchange, driver } = this.#parts;
    if (exchange.isRestoring) {
      return new OverloadedError(
        "Cannot read here: a snapshot is being restored",
        RETRY_AFTER_MS.restoring,
      );
    }
    if (level === "stale") return undefined;
    // Before its own first entry is applied, a leader may lack what the one before acknowledged.
    const isCurrent = this.machine.position.term === driver.view.term;
    const mayServe = driver.isLeader && driver.hasFreshQuorum() && isCurrent;
    return mayServe ? undefined : this.#notLeader();
  }

  masters(): MastersBackend | undefined {
    const running = this.#parts.masters.running;
    if (running === undefined) return undefined;
    const { master, driver, shown } = running;
    const wallMs = (): number => Math.floor(this.clock.wallMs());
    return {
      read: (collection, key) => master.read(collection, key, wallMs()).body,
      version: (collection, key) => {
        const newest = master.documents.versions(collection, key).at(-1);
        return newest === undefined ? 0 : versionOfStamp(newest.stamp);
      },
      isKnown: (request) => master.isKnown(request),
      write: (request, wait) => driver.write(request, wait),
      conflicts: (collection, { key, limit }) => {
        const all = shown.conflicts(collection);
        const wanted = key === undefined ? [...all.values()].slice(0, limit) : [key];
        const listed = wanted.filter((one) => shown.isInConflict(collection, one));
        return {
          total: all.size,
          conflicts: listed.map((one) => {
            const { body, siblings, failure } = master.read(collection, one, wallMs());
            const list = siblings.map((sibling) => {
              return { ...sibling, document: encodeCbor(sibling.body).slice(), body: undefined };
            });
            return { key: one, document: body ?? null, siblings: list, failure: failure ?? null };
          }),
        };
      },
      state: async () => {
        const frozen = master.freeze();
        await driver.persisted(frozen.afterReady);
        return { blocks: () => seedBlocks(frozen), release: () => frozen.release() };
      },
    };
  }

  mastersRefusal(): CStoreError | undefined {
    return this.#parts.masters.refusal();
  }

  status(): NodeStatus {
    return this.#parts.status.write();
  }

  promote(nodeId: string): Promise<PromoteReply> {
    return this.#parts.handover.promote(nodeId);
  }

  async cluster(request: ClusterRequest): Promise<ClusterReply> {
    const { driver, changes, rules, verifier } = this.#parts;
    if (request.action === "digest" || request.action === "documents") {
      return verifier.answer(request);
    }
    if (!driver.isLeader) throw this.#notLeader();
    if (request.action === "rules") return rules.view();
    if (request.action === "upgrade") return rules.raise(this.clock.wallMs());
    if (request.action !== "verify") return changes.execute(request);
    if (!driver.proposeBatch(digestBatch(this.clock.wallMs()))) {
      throw new OverloadedError(
        "Cannot compare states during a hand-over",
        RETRY_AFTER_MS.handover,
      );
    }
    return { index: driver.view.lastIndex };
  }

  #notLeader(): CStoreError {
    const { driver, members, network, config } = this.#parts;
    const { leader = "" } = driver.view;
    const { configuration } = members;
    const isUp = (id: string): boolean => id === config.id || network?.isConnected(id) === true;
    if (
      (leader === "" || leader === config.id) &&
      configuration.voters.length > 0 &&
      !isQuorum(configuration, isUp)
    ) {
      const { voters } = configuration;
      const message = `Cannot serve: ${voters.filter(isUp).length} of ${voters.length} voters are reachable`;
      return withoutStack(() => new NoQuorumError(message));
    }
    return driver.notLeader(members.addressOf(leader));
  }
}
