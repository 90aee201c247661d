/**
 * The facts that a node tells its peers of itself, and its conclusions from theirs: restarted
 * peers, dead peers, and those that refuse this node's folder.
 *
 * @module
 */

import {
  CStoreError,
  HandshakeError,
  MembershipError,
  RemovedError,
  RolledBackError,
  UnreachableError,
} from "../base/errors.ts";
import { partLogger } from "../base/log.ts";
import { NEWEST_RULES } from "../base/rules_version.ts";
import type { CancelTimer, Clock } from "../platform/clock.ts";
import { hasCodec } from "../platform/compression.ts";
import { FIRST_PLACE } from "../protocol/encoding/cluster_command.ts";
import {
  FEATURE_EMPTY_LOG,
  FEATURE_LEASE_MS,
  FEATURE_LEASE_READS,
  FEATURE_RULES,
  type Hello,
} from "../protocol/wire/handshake.ts";
import { majority } from "../raft/quorum.ts";
import type { RaftDriver } from "../replication/raft/raft_driver.ts";
import type { LogIdentity } from "../storage/identity.ts";
import type { Bindings } from "./bindings.ts";
import type { Members } from "./members.ts";

/** A node that starts waits so long for the others before it campaigns and votes. */
const BEGIN_WAIT_MS = 1000;

/** Parts that the watch acts on. */
export interface PeerWatchParts {
  readonly identity: LogIdentity;
  readonly clock: Clock;
  /** Election timeout on which leases rest, in milliseconds; undefined without leases. */
  readonly leaseMs: number | undefined;
  readonly bindings: Bindings;
  readonly driver: Pick<RaftDriver, "view" | "hold" | "release" | "peerGone" | "peerUnreachable">;
  /** Where other nodes reach this one. */
  ownAddress(): string;
  /** Links to nodes that may be no members as far as this one knows. */
  readonly members: Pick<Members, "reach" | "noteSupplanted">;
  /** The connection to a peer broke. */
  lost(nodeId: string): void;
  /** This node does not belong to the cluster. */
  fatal(error: CStoreError): void;
}

/** Handshakes, seen from one node. */
export class PeerWatch {
  readonly #parts: PeerWatchParts;
  readonly #bootIds = new Map<string, string>();
  /** Members that say that this node's id belongs to another folder. */
  readonly #refusedBy = new Set<string>();
  /** Voters that neither let this node in nor were found absent yet. */
  #unheard: Set<string> | undefined;
  /** Highest entry that was durable here since the process began. */
  #durableIndex = 0;
  /** The log holds the static list and nothing else. */
  #isFresh = false;
  #cancelBegin: CancelTimer = () => undefined;
  /** This folder joined and does not hold its own admission yet. */
  #isJoining = false;
  readonly #logger = partLogger("node");

  constructor(parts: PeerWatchParts) {
    this.#parts = parts;
  }

  /** The fields of the own handshake that change while the node runs. */
  hello(): Partial<Hello> {
    const { clusterId, incarnation } = this.#parts.identity;
    const { term, role, lastIndex } = this.#parts.driver.view;
    // While a snapshot takes the log's place nothing of it is durable for a moment.
    const durableIndex = Math.max(this.#durableIndex, this.#parts.driver.view.durableIndex);
    this.#durableIndex = durableIndex;
    const codecs = hasCodec("zstd") ? ["zstd", "deflate-raw"] : ["deflate-raw"];
    const address = this.#parts.ownAddress();
    const features = [...codecs, `${FEATURE_RULES}${NEWEST_RULES}`];
    if (lastIndex <= FIRST_PLACE.index) features.push(FEATURE_EMPTY_LOG);
    const { leaseMs } = this.#parts;
    if (leaseMs !== undefined) features.push(FEATURE_LEASE_READS, `${FEATURE_LEASE_MS}${leaseMs}`);
    const isLeader = role === "leader";
    return { clusterId, address, incarnation, term, isLeader, durableIndex, features };
  }

  /**
   * Called before anything else. A folder that joined does not campaign until it holds its own
   * admission: the log that it has so far may name voters that left since. And every node first
   * waits for contact with the other voters: the id of one that begins with a static list may have
   * been removed from the cluster, and a folder may have gone back in time.
   */
  begin(): void {
    const { identity, bindings, clock, driver } = this.#parts;
    this.#isJoining = identity.isJoined === true && !bindings.isOwnBound;
    if (this.#isJoining) driver.hold("joining");
    const { lastIndex, configuration } = driver.view;
    const others = configuration.voters.filter((id) => id !== identity.nodeId);
    if (others.length === 0) return;
    this.#isFresh = lastIndex === FIRST_PLACE.index;
    this.#unheard = new Set(others);
    driver.hold("beginning");
    this.#cancelBegin = clock.setTimer(BEGIN_WAIT_MS, () => this.#heardAll());
  }

  stop(): void {
    this.#cancelBegin();
  }

  /** Whether this node may vote: another one may hold that its folder has forgotten entries. */
  get mayVote(): boolean {
    return this.#unheard === undefined;
  }

  /** More was applied: perhaps this node's own admission. */
  applied(): void {
    if (!this.#isJoining || !this.#parts.bindings.isOwnBound) return;
    this.#isJoining = false;
    this.#parts.driver.release("joining");
  }

  #heard(nodeId: string): void {
    if (this.#unheard?.delete(nodeId) === true && this.#unheard.size === 0) this.#heardAll();
  }

  #heardAll(): void {
    if (this.#unheard === undefined) return;
    this.#unheard = undefined;
    this.#cancelBegin();
    this.#parts.driver.release("beginning");
  }

  /** A peer's process was seen; `isWelcome`: it let this node in. */
  seen(hello: Hello, isWelcome: boolean): void {
    if (isWelcome) this.#heard(hello.nodeId);
    this.#parts.bindings.seen(hello);
    if (hello.role === "peer") {
      // On a new connection nothing is under way: not the piece of a snapshot that the old one had.
      this.#parts.lost(hello.nodeId);
      this.#parts.members.reach(hello.nodeId, hello.address);
    }
    this.#refusedBy.delete(hello.nodeId);
    const { driver } = this.#parts;
    const known = this.#bootIds.get(hello.nodeId);
    this.#bootIds.set(hello.nodeId, hello.bootId);
    if (known === undefined) return;
    const isRestarted = known !== hello.bootId;
    const hasStepped = !hello.isLeader && hello.term === driver.view.term;
    if (isRestarted || hasStepped) driver.peerGone(hello.nodeId);
  }

  /** A dial failed or was refused. */
  failed(nodeId: string, error: CStoreError): void {
    const { identity, bindings, fatal, driver } = this.#parts;
    driver.peerUnreachable(nodeId);
    this.#parts.lost(nodeId);
    // Its own check of a node that was removed gives the same error, about the other's folder.
    const isOwnFolder = error.fields.incarnation === identity.incarnation;
    const isFinal = error instanceof RemovedError || error instanceof RolledBackError;
    if (isFinal && isOwnFolder) fatal(error);
    if (error instanceof UnreachableError) this.#heard(nodeId);
    if (error instanceof UnreachableError && error.isRefused) driver.peerGone(nodeId);
    // The list that this node begins with is of the past: it must not begin a second cluster.
    if (error instanceof MembershipError && this.#isFresh && !this.mayVote) fatal(error);
    if (!(error instanceof HandshakeError) || this.#parts.members.noteSupplanted(nodeId)) return;
    const { message: reason } = error;
    this.#logger.warn("node {nodeId} refuses this one: {reason}", { nodeId, reason });
    if (!isOwnFolder || bindings.isOwnBound) return;
    // One that lags may not know yet that this folder was let in: a majority settles it.
    this.#refusedBy.add(nodeId);
    const { voters } = driver.view.configuration;
    // Nor does one that has just joined know the members yet: the leader, which let it in, does.
    if (voters.length > 0 && this.#refusedBy.size >= majority(voters.length)) fatal(error);
  }

  /** Whether a connected peer would still be let in. */
  isStillAdmitted(hello: Hello): boolean {
    try {
      this.#parts.bindings.admit(hello);
      return true;
    } catch (error) {
      if (error instanceof CStoreError) return false;
      throw error;
    }
  }
}
