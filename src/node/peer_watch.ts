/**
 * What a node tells its peers of itself, and what it concludes from theirs: who restarted, who is
 * gone, whom this node's folder keeps out.
 *
 * @module
 */

import {
  type CStoreError,
  HandshakeError,
  RemovedError,
  UnreachableError,
} from "../base/errors.ts";
import { partLogger } from "../base/log.ts";
import { hasCodec } from "../platform/compression.ts";
import { FIRST_PLACE } from "../protocol/cluster_command.ts";
import type { Hello } from "../protocol/handshake.ts";
import { majority } from "../raft/quorum.ts";
import type { RaftDriver } from "../replication/raft_driver.ts";
import type { LogIdentity } from "../storage/segment.ts";
import { type Bindings, FEATURE_EMPTY_LOG } from "./bindings.ts";
import { FEATURE_LEASE_READS } from "./config.ts";

/** What the watch acts on. */
export interface PeerWatchParts {
  readonly identity: LogIdentity;
  readonly hasLeases: boolean;
  readonly bindings: Bindings;
  driver(): RaftDriver;
  /** Where other nodes reach this one. */
  ownAddress(): string;
  /** A node that may be no member as far as this one knows: it is answered all the same. */
  reach(nodeId: string, address: string): void;
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
  readonly #logger = partLogger("node");

  constructor(parts: PeerWatchParts) {
    this.#parts = parts;
  }

  /** The fields of the own handshake that change while the node runs. */
  hello(): Partial<Hello> {
    const { clusterId, incarnation } = this.#parts.identity;
    const { term, role, lastIndex } = this.#parts.driver().view;
    const codecs = hasCodec("zstd") ? ["zstd", "deflate-raw"] : ["deflate-raw"];
    const address = this.#parts.ownAddress();
    const features = [...codecs];
    if (lastIndex <= FIRST_PLACE.index) features.push(FEATURE_EMPTY_LOG);
    if (this.#parts.hasLeases) features.push(FEATURE_LEASE_READS);
    return { clusterId, address, incarnation, term, isLeader: role === "leader", features };
  }

  /** A peer's process was seen. */
  seen(hello: Hello): void {
    this.#parts.bindings.seen(hello);
    if (hello.role === "peer") this.#parts.reach(hello.nodeId, hello.address);
    this.#refusedBy.delete(hello.nodeId);
    const driver = this.#parts.driver();
    const known = this.#bootIds.get(hello.nodeId);
    this.#bootIds.set(hello.nodeId, hello.bootId);
    if (known === undefined) return;
    const isRestarted = known !== hello.bootId;
    const hasStepped = !hello.isLeader && hello.term === driver.view.term;
    if (isRestarted || hasStepped) driver.peerGone(hello.nodeId);
  }

  /** A dial failed or was refused. */
  failed(nodeId: string, error: CStoreError): void {
    const { identity, bindings, fatal } = this.#parts;
    const driver = this.#parts.driver();
    driver.peerUnreachable(nodeId);
    this.#parts.lost(nodeId);
    if (error instanceof RemovedError) fatal(error);
    if (error instanceof UnreachableError && error.isRefused) driver.peerGone(nodeId);
    if (!(error instanceof HandshakeError)) return;
    const { message: reason } = error;
    this.#logger.warn("node {nodeId} refuses this one: {reason}", { nodeId, reason });
    const isAboutFolder = reason.includes(identity.incarnation);
    if (!isAboutFolder || bindings.isOwnBound) return;
    // One that lags may not know yet that this folder was let in: a majority settles it.
    this.#refusedBy.add(nodeId);
    const { voters } = driver.view.configuration;
    // Nor does one that has just joined know yet who they are: the leader, who let it in, does.
    if (voters.length > 0 && this.#refusedBy.size >= majority(voters.length)) fatal(error);
  }

  /** Whether a connected peer would still be let in. */
  isStillAdmitted(hello: Hello): boolean {
    try {
      this.#parts.bindings.admit(hello);
      return true;
    } catch (error) {
      if (error instanceof HandshakeError || error instanceof RemovedError) return false;
      throw error;
    }
  }
}
