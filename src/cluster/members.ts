/**
 * The members as a node lives with them: a link to each, how far each is, and their status.
 *
 * @module
 */

import { EMBEDDED_ADDRESS, parseEndpoint } from "../base/address.ts";
import type { Departed } from "../database/member_table.ts";
import type { Clock } from "../platform/clock.ts";
import { MEMBERS_MAX } from "../protocol/encoding/cluster_command.ts";
import type { HealthState, MemberStatus } from "../protocol/wire/status.ts";
import { type Configuration, type Member, NO_MEMBERS } from "../raft/configuration.ts";
import type { RaftDriver } from "../replication/raft/raft_driver.ts";
import type { NetworkManager } from "../transport/network_manager.ts";

const SUSPECT_AFTER_MS = 500;
const OWN_LINK = { isUp: true, rttMs: 0, silenceMs: 0 };
const DOWN_AFTER_MS = 2000;

/** Time after which a removed node is dialled no more: 72 hours. */
const DEPARTED_MS = 72 * 3_600_000;

/** Parts that the members are observed through. */
export interface MembersParts {
  readonly id: string;
  readonly clock: Clock;
  readonly network: NetworkManager | undefined;
  readonly driver: RaftDriver;
}

/** How far a learner is, and why it is not a voter yet. */
export type ProgressOf = (
  id: string,
) => { readonly percent: number; readonly reason: string } | undefined;

/** Links and status of the members. */
export class Members {
  readonly #parts: MembersParts;
  /** The term in which this node led last, and when it began to. */
  #ledTerm = 0;
  #ledSinceMs: number;
  /** When each peer last had everything, on the monotonic clock. */
  readonly #caughtUpMs = new Map<string, number>();
  /** Linked to without being members, as far as this node knows; with their addresses. */
  readonly #strangers = new Map<string, string>();
  /** Strangers that were removed, and are dialled until `DEPARTED_MS` has passed. */
  readonly #departed = new Set<string>();
  /** Removed nodes at whose address another node answers. */
  readonly #supplanted = new Set<string>();
  #configuration: Configuration = NO_MEMBERS;

  constructor(parts: MembersParts) {
    this.#parts = parts;
    this.#ledSinceMs = parts.clock.nowMs();
  }

  /** Another configuration counts: links to new members are made, those to old ones end. */
  update(configuration: Configuration): void {
    const { network, id: ownId } = this.#parts;
    for (const { id, address } of this.#configuration.members) {
      if (configuration.member(id)?.address === address) continue;
      this.#caughtUpMs.delete(id);
      void network?.disconnect(id);
    }
    this.#configuration = configuration;
    for (const id of configuration.ids) this.#supplanted.delete(id);
    for (const [id, address] of this.#strangers) {
      const member = configuration.member(id);
      if (member === undefined) continue;
      this.#strangers.delete(id);
      // A link that is up stays: messages that wait in it would be lost with it.
      const known = dialable(member.address);
      if (known !== "" && known !== address) void network?.disconnect(id);
    }
    for (const { id, address } of configuration.members) {
      const known = dialable(address);
      if (id !== ownId && known !== "") network?.addPeer(id, parseEndpoint(known));
    }
  }

  /**
   * A node was seen that is no member as far as this one knows: the log that says so may be on its
   * way from that very node, which waits for answers.
   */
  reach(id: string, address: string): void {
    const { network, id: ownId } = this.#parts;
    if (network === undefined || id === ownId || address === "") return;
    if (this.#configuration.has(id) || network.linkHealth(id) !== undefined) return;
    if (this.#strangers.size >= MEMBERS_MAX) return;
    this.#strangers.set(id, address);
    network.addPeer(id, parseEndpoint(address));
  }

  /**
   * Dials nodes that were removed, and drops the links to other removed ones. One that was cut off
   * meanwhile may know no present member: it sees the dialling node, contacts it, and learns that
   * it was removed. It may have been started again after that without a trace here, so only time
   * ends it.
   */
  reachDeparted(departed: readonly Departed[], wallMs: number): void {
    const { network } = this.#parts;
    const sought = departed.filter(({ id, address, timeMs }) => {
      const isTaken = this.#configuration.members.some((member) => member.address === address);
      const isSought = !isTaken && !this.#supplanted.has(id) && !this.#configuration.has(id);
      return isSought && wallMs - timeMs < DEPARTED_MS;
    });
    for (const id of this.#departed) {
      if (sought.some((node) => node.id === id)) continue;
      this.#departed.delete(id);
      if (this.#strangers.delete(id)) void network?.disconnect(id);
    }
    for (const { id, address } of sought) {
      if (address === "" || network?.linkHealth(id) !== undefined) continue;
      this.#departed.add(id);
      this.reach(id, address);
    }
  }

  /** Another node answers at a node's address. Returns whether the node is one that was removed. */
  noteSupplanted(id: string): boolean {
    if (this.#departed.has(id)) this.#supplanted.add(id);
    return this.#departed.has(id);
  }

  get configuration(): Configuration {
    return this.#configuration;
  }

  /** Where the members listen, as far as that is known. */
  get addresses(): readonly string[] {
    const { members } = this.#configuration;
    return members.map(({ address }) => dialable(address)).filter((text) => text !== "");
  }

  /** Empty when it is not known. */
  addressOf(id: string): string {
    return dialable(this.#configuration.member(id)?.address ?? "");
  }

  /** Whether there was contact with a node within the last while. */
  isUp(id: string): boolean {
    if (id === this.#parts.id) return true;
    const link = this.#parts.network?.linkHealth(id);
    return link?.isUp === true && healthOf(link) === "healthy";
  }

  /** Notes the peers that have everything; only a leader knows. */
  observe(nowMs: number): void {
    const { driver } = this.#parts;
    const { commitIndex, term } = driver.view;
    if (term !== this.#ledTerm) {
      // What an earlier leadership saw says nothing of the time since.
      this.#caughtUpMs.clear();
      [this.#ledTerm, this.#ledSinceMs] = [term, nowMs];
    }
    for (const peer of driver.peers()) {
      if (peer.match >= commitIndex) this.#caughtUpMs.set(peer.id, nowMs);
    }
  }

  status(progressOf: ProgressOf): MemberStatus[] {
    return this.#configuration.members.map((member) => this.#statusOf(member, progressOf));
  }

  #statusOf(member: Member, progressOf: ProgressOf): MemberStatus {
    const { id: ownId, network, clock, driver } = this.#parts;
    const { leader, role, lastIndex } = driver.view;
    const isSelf = member.id === ownId;
    const link = isSelf ? OWN_LINK : network?.linkHealth(member.id);
    const peer = driver.peers().find(({ id }) => id === member.id);
    const isBehind = peer !== undefined && peer.match < lastIndex;
    // A new leader learns from the first answer how far a member is.
    const isUnknown = peer === undefined || (peer.match === 0 && isVoterOf(member));
    const nowMs = clock.nowMs();
    // Before it is known, a node is behind since it was last heard, or since this one leads.
    const unknownMs = Math.max(link?.silenceMs ?? 0, nowMs - this.#ledSinceMs);
    const behindMs = nowMs - (this.#caughtUpMs.get(member.id) ?? nowMs - unknownMs);
    const isLed = role === "leader" || leader !== undefined;
    const isVoter = this.#configuration.mayVote(member.id);
    const progress = role === "leader" && !isVoter ? progressOf(member.id) : undefined;
    return {
      id: member.id,
      address: member.address,
      role: leader === member.id ? "leader" : !isVoter ? "learner" : isLed ? "follower" : "unknown",
      membership: member.role,
      caughtUpPercent: progress?.percent ?? null,
      waitsFor: progress?.reason ?? null,
      state: link === undefined ? "down" : healthOf(link),
      matchIndex: peer?.match ?? null,
      lagBatches: isUnknown ? null : lastIndex - peer.match,
      lagMs: isUnknown ? null : isBehind ? behindMs : 0,
      rttMs: link === undefined || !link.isUp ? null : link.rttMs,
    };
  }
}

/** A learner may have nothing yet; a voter has something. */
function isVoterOf({ role }: Member): boolean {
  return role === "voter" || role === "outgoing";
}

/** A database that was embedded has no address, until the log names the one it has as a node. */
function dialable(address: string): string {
  return address === EMBEDDED_ADDRESS ? "" : address;
}

/** Health from the link to a node: how long it has been silent, and whether a connection is up. */
export function healthOf(link: {
  readonly isUp: boolean;
  readonly silenceMs: number;
}): HealthState {
  if (link.silenceMs > DOWN_AFTER_MS) return "down";
  if (!link.isUp) return link.silenceMs > SUSPECT_AFTER_MS ? "down" : "suspect";
  return link.silenceMs > SUSPECT_AFTER_MS ? "suspect" : "healthy";
}
