/**
 * Recognises a data folder that went back in time: one that was restored from a copy, or whose
 * machine was set back to a snapshot. Such a voter has forgotten entries that it acknowledged, and
 * with its vote a majority could elect a leader without them.
 *
 * The leader tells every member twice a second how far each of them is known to hold the log, and
 * all keep that on their disks. A node that shakes hands says where its log ends. When that lies
 * below what another process on the same folder acknowledged, the node is refused. What the same
 * process acknowledged is left out, because its handshake may have been on its way meanwhile.
 *
 * Only committed entries count: a later leader may rightly replace others. A leader also looks at
 * what was acknowledged to it in its own term, committed or not, because it counts on that.
 *
 * @module
 */

import { CStoreError, RolledBackError } from "../base/errors.ts";
import { partLogger } from "../base/log.ts";
import { POLL_INTERVAL_MS } from "../base/timing.ts";
import type { Platform } from "../platform/platform.ts";
import type { Hello } from "../protocol/wire/handshake.ts";
import type { ReplicationMessage } from "../protocol/wire/replication_message.ts";
import type { RaftDriver } from "../replication/raft/raft_driver.ts";
import {
  type Acknowledged,
  acknowledgedIn,
  readAcknowledged,
  writeAcknowledged,
} from "../storage/acknowledged_file.ts";
import type { LogIdentity } from "../storage/identity.ts";
import type { NetworkManager } from "../transport/network_manager.ts";
import type { Bindings } from "./bindings.ts";

/** The message from a leader. */
const TYPE = "ACKNOWLEDGED";

/** Parts that the guard observes and tells. */
export interface RollbackGuardParts {
  readonly platform: Pick<Platform, "clock" | "files">;
  /** The node's data directory. */
  readonly directory: string;
  readonly identity: LogIdentity;
  readonly driver: Pick<RaftDriver, "view" | "peers">;
  readonly bindings: Pick<Bindings, "incarnationOf">;
  readonly network: Pick<NetworkManager, "bootId" | "sendMessage"> | undefined;
}

/** Keeps what each member acknowledged, and refuses those that have forgotten some of it. */
export class RollbackGuard {
  readonly #parts: RollbackGuardParts;
  readonly #logger = partLogger("node");
  /** By id of the member. */
  readonly #known = new Map<string, Acknowledged>();
  /** The process behind each member's last answer. */
  readonly #bootIds = new Map<string, string>();
  #nextMs = 0;
  #isChanged = false;
  #isWriting = false;
  #writing: Promise<void> = Promise.resolve();

  constructor(parts: RollbackGuardParts) {
    this.#parts = parts;
    const found = readAcknowledged(parts.platform.files, parts.directory);
    if (found === undefined) {
      this.#logger.warn("{directory}/acknowledged is damaged and is begun anew", { ...parts });
    }
    for (const member of found ?? []) this.#known.set(member.id, member);
    const { nodeId } = parts.identity;
    if (parts.network !== undefined) this.#bootIds.set(nodeId, parts.network.bootId);
  }

  /** Throws RolledBackError for a node whose log ends before what its folder acknowledged. */
  admit(hello: Hello): void {
    const { role, nodeId, incarnation, durableIndex } = hello;
    if (role !== "peer" || durableIndex === undefined) return;
    const held = Math.max(this.#heldBefore(hello), this.#matchedBefore(hello));
    if (durableIndex < held) {
      throw new RolledBackError(
        `Cannot let node "${nodeId}" in: its log ends at entry ${durableIndex}, but its data folder ${incarnation} has acknowledged entry ${held}: the folder is an older copy`,
        {
          remedy: `Keep the folder and do not start it again. While the other nodes have a majority: \`cstore cluster recover ${nodeId}\`, then start the node with an empty folder`,
          fields: { nodeId, incarnation },
        },
      );
    }
  }

  #heldBefore({ nodeId, incarnation, bootId }: Hello): number {
    const known = this.#known.get(nodeId);
    const isOther = known?.incarnation !== incarnation || known.bootId === bootId;
    return known === undefined || isOther ? 0 : known.index;
  }

  /** Entries that another process of a member acknowledged to this leader in its term. */
  #matchedBefore({ nodeId, bootId, term, incarnation }: Hello): number {
    const { driver, bindings } = this.#parts;
    const before = this.#bootIds.get(nodeId);
    const isSame = before === undefined || before === bootId;
    if (isSame || driver.view.role !== "leader" || term > driver.view.term) return 0;
    if (bindings.incarnationOf(nodeId) !== incarnation) return 0;
    return driver.peers().find(({ id }) => id === nodeId)?.match ?? 0;
  }

  /** A member's process acknowledged something. */
  acknowledged({ nodeId, bootId }: Hello): void {
    if (this.#bootIds.get(nodeId) !== bootId) this.#bootIds.set(nodeId, bootId);
  }

  /** Called often; the leader tells the members what it knows, twice a second. */
  tick(nowMs: number): void {
    if (nowMs < this.#nextMs) return;
    this.#nextMs = nowMs + POLL_INTERVAL_MS.acknowledged;
    const { driver, identity, network } = this.#parts;
    const { role, commitIndex, configuration } = driver.view;
    if (role !== "leader" || configuration.members.length < 2) return;
    const members = driver.peers().flatMap(({ id, match }) => {
      const incarnation = this.#parts.bindings.incarnationOf(id);
      const bootId = this.#bootIds.get(id) ?? "";
      const index = Math.min(match, commitIndex);
      const isKnown = incarnation !== "" && bootId !== "" && index > 0;
      return isKnown ? [{ id, incarnation, bootId, index }] : [];
    });
    this.#keep(members);
    for (const { id } of configuration.members) {
      if (id === identity.nodeId || network === undefined) continue;
      const message = { sourceNodeId: identity.nodeId, timestamp: nowMs, checksum: "" };
      void network.sendMessage(id, { ...message, type: TYPE, data: members });
    }
  }

  /** A message that is not of consensus arrived: only the leader's own counts. */
  onMessage({ type, sourceNodeId, data }: ReplicationMessage): void {
    if (type !== TYPE || sourceNodeId !== this.#parts.driver.view.leader) return;
    const members = acknowledgedIn(data);
    if (members !== undefined) this.#keep(members);
  }

  #keep(members: readonly Acknowledged[]): void {
    for (const member of members) {
      const known = this.#known.get(member.id);
      const isNews = known?.incarnation !== member.incarnation || member.index > known.index;
      if (!isNews) continue;
      this.#known.set(member.id, member);
      this.#isChanged = true;
    }
    this.#forgetStrangers();
    if (this.#isChanged && !this.#isWriting) this.#writing = this.#write();
  }

  /** Resolves when nothing is being written any more. */
  async stop(): Promise<void> {
    this.#isChanged = false;
    this.#nextMs = Number.POSITIVE_INFINITY;
    await this.#writing;
  }

  #forgetStrangers(): void {
    const { configuration } = this.#parts.driver.view;
    for (const id of this.#known.keys()) {
      if (configuration.members.length > 0 && !configuration.has(id)) this.#known.delete(id);
    }
  }

  /** One write at a time; what changed meanwhile is written next. */
  async #write(): Promise<void> {
    const { platform, directory } = this.#parts;
    this.#isWriting = true;
    try {
      while (this.#isChanged) {
        this.#isChanged = false;
        await writeAcknowledged(platform.files, directory, [...this.#known.values()]);
      }
    } catch (error) {
      if (!(error instanceof CStoreError)) throw error;
      // The node can go on: the next news is written again, and the log's own disk has its alarms.
      this.#logger.warn("cannot keep what the members acknowledged: {reason}", {
        reason: error.message,
      });
    } finally {
      this.#isWriting = false;
    }
  }
}
