/**
 * Builds the parts of a node, each finished before the next: a part is given those below it,
 * never a promise of one above. Upward news goes through the hooks that `Node` hands over when it
 * starts them.
 *
 * @module
 */

import { type Endpoint, parseEndpoint, writeEndpoint } from "../base/address.ts";
import { RateLimit } from "../base/rate_limit.ts";
import { Bindings } from "../cluster/bindings.ts";
import { Handover } from "../cluster/handover.ts";
import { LeaderWatch } from "../cluster/leader_watch.ts";
import { Members } from "../cluster/members.ts";
import { MembershipChanges } from "../cluster/membership_changes.ts";
import { PeerWatch } from "../cluster/peer_watch.ts";
import { RollbackGuard } from "../cluster/rollback_guard.ts";
import { RulesUpgrade } from "../cluster/rules_upgrade.ts";
import { zlibCompressor } from "../platform/compression.ts";
import type { Platform } from "../platform/platform.ts";
import { Pace } from "../replication/raft/pace.ts";
import { TICK_MS } from "../replication/raft/raft_config.ts";
import { RaftDriver } from "../replication/raft/raft_driver.ts";
import { NativeGateway } from "../server/gateway/native_gateway.ts";
import { RequestGate } from "../server/request_gate.ts";
import { StateVerifier } from "../server/state_verifier.ts";
import { NetworkManager } from "../transport/network_manager.ts";
import type { ReservedPort } from "../transport/reserved_port.ts";
import { Backend } from "./backend.ts";
import type { NodeConfig } from "./config/node_config.ts";
import { codecOf } from "./features.ts";
import { Housekeeping } from "./housekeeping.ts";
import { MasterPart } from "./masters/master_part.ts";
import { StatusReport } from "./node_status.ts";
import { outlookOf } from "./outlook.ts";
import { Alarms } from "./recovery/alarms.ts";
import { DiskMonitor, reasonOf } from "./recovery/disk_monitor.ts";
import type { OpenedStorage } from "./recovery/open_storage.ts";
import { SnapshotTransfer } from "./snapshots/snapshot_transfer.ts";
import { Snapshotter } from "./snapshots/snapshotter.ts";
import { TimeoutAlarm } from "./timeout_alarm.ts";

/** Parts that a node is built from. */
export interface NodeBase {
  readonly platform: Platform;
  readonly config: NodeConfig;
  readonly opened: OpenedStorage;
  /** The port of a node that begins; undefined when the folder knows where to listen. */
  readonly reserved: ReservedPort | undefined;
  /** The node cannot go on. */
  failed(cause: unknown): void;
}

/** Consensus, the network below it and the members around it. */
interface Consensus {
  readonly network: NetworkManager | undefined;
  readonly driver: RaftDriver;
  readonly pace: Pace;
  readonly leaderWatch: LeaderWatch;
  readonly bindings: Bindings;
  readonly members: Members;
  readonly handover: Handover;
  readonly rules: RulesUpgrade;
  readonly rollbackGuard: RollbackGuard;
  /** Where other nodes reach this one; the port is known once the network listens. */
  ownAddress(): string;
}

/** Disk, snapshots and changes of the members. */
interface Upkeep {
  readonly alarms: Alarms;
  readonly transfer: SnapshotTransfer;
  readonly snapshotter: Snapshotter;
  readonly diskMonitor: DiskMonitor;
  readonly changes: MembershipChanges;
  readonly peerWatch: PeerWatch;
  readonly masters: MasterPart;
}

/** The doors and what answers behind them. */
interface Service {
  readonly status: StatusReport;
  readonly verifier: StateVerifier;
  readonly housekeeping: Housekeeping;
  readonly gate: RequestGate;
  readonly gateway: NativeGateway;
}

/** All parts of a node. */
export type NodeParts = Consensus & Upkeep & Service;

/** Builds every part; nothing runs yet. */
export function assemble(base: NodeBase): NodeParts {
  const rate = new RateLimit(base.config.snapshotBytesPerSecond);
  const consensus = buildConsensus(base, rate);
  const upkeep = buildUpkeep(base, consensus, rate);
  return { ...consensus, ...upkeep, ...buildService(base, { ...consensus, ...upkeep }) };
}

function buildConsensus(base: NodeBase, catchUpRate: RateLimit): Consensus {
  const { platform, config, opened } = base;
  const { clock, random } = platform;
  const { id, heartbeatMs, electionTimeoutMs, syncMode, diskStallMs } = config;
  const { log, machine, configurations, directory } = opened;
  const network = buildNetwork(base);
  const pace = new Pace({
    ...{ heartbeatMs, electionTimeoutMs, isFixed: config.leaseReads },
    outlook: outlookOf({
      ...{ clock, network, machine },
      voters: () => driver.view.configuration.voters,
    }),
  });
  const driver: RaftDriver = new RaftDriver(
    {
      ...{ clock, random, log, machine, compressor: zlibCompressor, catchUpRate },
      send: (message) => network?.sendRaft(message),
      pace,
    },
    {
      ...{ id, configurations, heartbeatMs, electionTimeoutMs, syncMode, diskStallMs },
      codec: codecOf(config),
      hasLeases: config.leaseReads,
    },
  );
  const own = { id, incarnation: directory.identity.incarnation };
  const bindings = new Bindings(own, driver, machine.memberTable);
  bindings.logged(opened.clusterEntries);
  const members = new Members({ id, clock, network, driver });
  const handover = new Handover(driver, clock, id);
  const rules = new RulesUpgrade({ id, machine, driver, members });
  const rollbackGuard = new RollbackGuard({
    ...{ platform, identity: directory.identity, driver, bindings, network },
    directory: config.dataDirectory,
  });
  const ownAddress = (): string => listenAddress(config, network);
  return {
    ...{ network, driver, pace, leaderWatch: new LeaderWatch(TICK_MS), bindings, members },
    ...{ handover, rules, rollbackGuard, ownAddress },
  };
}

function buildNetwork(base: NodeBase): NetworkManager | undefined {
  const { config, opened, reserved } = base;
  if (config.isEmbedded) return undefined;
  const { host, port } = reserved?.endpoint ?? config.listen ?? ownEndpoint(config, opened);
  const { clock, random, files, network } = base.platform;
  const platform = { clock, random, files, network: reserved?.network ?? network };
  return new NetworkManager(config.id, port, { host, platform, waitsForHooks: true });
}

function ownEndpoint(config: NodeConfig, opened: OpenedStorage): Endpoint {
  const own = opened.configurations.at(-1)?.configuration.member(config.id);
  if (own === undefined && config.fallback !== undefined) return config.fallback;
  return parseEndpoint(own?.address ?? "127.0.0.1:0");
}

function listenAddress(config: NodeConfig, network: NetworkManager | undefined): string {
  const { host = "127.0.0.1", port = 0 } = network?.endpoint ?? {};
  return config.advertise ?? writeEndpoint({ host, port });
}

function buildUpkeep(base: NodeBase, consensus: Consensus, rate: RateLimit): Upkeep {
  const { platform, config, opened, failed } = base;
  const { driver, network, bindings, members, handover, ownAddress } = consensus;
  const { clock } = platform;
  const { id, electionTimeoutMs, requestTimeoutMs } = config;
  const { machine, directory } = opened;
  const { identity } = directory;
  const alarms = new Alarms(clock);
  const transfer = new SnapshotTransfer({
    ...{ config, platform, opened, rate, driver, network, failed },
  });
  const snapshotter = buildSnapshotter({ base, consensus, transfer, alarms });
  const diskMonitor = new DiskMonitor({ platform, config, identity, machine, alarms, snapshotter });
  const changes = new MembershipChanges({
    ...{ id, clock, electionTimeoutMs, requestTimeoutMs, driver, bindings, members, handover },
    clusterId: identity.clusterId,
    transferTo: (peer) => transfer.sender.view(peer),
    ownAddress: () => (config.isEmbedded ? "" : ownAddress()),
  });
  const peerWatch = new PeerWatch({
    ...{ identity, clock, bindings, driver, members },
    leaseMs: config.leaseReads ? electionTimeoutMs : undefined,
    ownAddress: () => members.addressOf(id) || ownAddress(),
    lost: (peer) => transfer.sender.lost(peer),
    fatal: failed,
  });
  const masters = new MasterPart({
    ...{ platform, config, log: opened.log, machine, network, driver, failed, rate },
    ...{ alarms, clusterId: identity.clusterId },
    members: () => members.configuration.ids,
  });
  return { alarms, transfer, snapshotter, diskMonitor, changes, peerWatch, masters };
}

function buildSnapshotter(parts: {
  readonly base: NodeBase;
  readonly consensus: Consensus;
  readonly transfer: SnapshotTransfer;
  readonly alarms: Alarms;
}): Snapshotter {
  const { transfer, alarms } = parts;
  const { driver, members } = parts.consensus;
  const { machine, log, snapshots: store } = parts.base.opened;
  // Lowest index that some voter may lack. A follower keeps it, too: it may lead next.
  const neededIndex = (): number => {
    const isAlone = members.configuration.members.length === 1;
    return isAlone ? Number.POSITIVE_INFINITY : driver.view.heldIndex + 1;
  };
  return new Snapshotter(
    {
      ...{ machine, log, store, neededIndex },
      durableIndex: () => driver.view.durableIndex,
      isWhole: () => !transfer.isRestoring,
      failed: (cause) => alarms.raise("SNAPSHOT_FAILED", reasonOf(cause)),
      succeeded: () => alarms.clear("SNAPSHOT_FAILED"),
    },
    parts.base.config.snapshotLogBytes,
  );
}

function buildService(base: NodeBase, parts: Consensus & Upkeep): Service {
  const { platform, config, opened, failed } = base;
  const { machine, log } = opened;
  const { clock, random } = platform;
  const { sessionTimeoutMs, requestTimeoutMs } = config;
  const { driver, members, network, transfer } = parts;
  const status = new StatusReport(base, parts);
  const verifier = new StateVerifier(clock, machine);
  const shared = { ...parts, clock, random, machine };
  const timeoutAlarm = new TimeoutAlarm(shared, requestTimeoutMs);
  const housekeeping = new Housekeeping({ ...shared, sessionTimeoutMs, timeoutAlarm, failed });
  const gate = new RequestGate(
    new Backend({ ...shared, config, network, exchange: transfer, verifier, status }),
  );
  const gateway = new NativeGateway({
    clock,
    gate,
    replyState: () => {
      const { term, commitIndex } = driver.view;
      return { term, committedSequence: log.sequenceAfter(commitIndex) - 1 };
    },
    leader: () => {
      const { term, leader: nodeId = "" } = driver.view;
      const { addresses } = members;
      return { term, nodeId, address: members.addressOf(nodeId), members: addresses };
    },
  });
  return { status, verifier, housekeeping, gate, gateway };
}
