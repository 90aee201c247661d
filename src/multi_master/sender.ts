/**
 * What leaves for the other members. Own operations are pushed; those of others are sent to who
 * asks. Several messages are on their way to a peer at once, up to a window of bytes; an
 * acknowledged message frees its bytes. A disconnected peer is sent nothing; when it returns,
 * sending resumes from its cursor.
 *
 * @module
 */

import type { OperationReader } from "./config.ts";
import type { Mailbox } from "./mailbox.ts";
import { type Agreement, endOf, isRetired } from "./operation/agreement.ts";
import { compareDots, type Dot, type Origin, type OriginSequence } from "./operation/dot.ts";
import { compareStamps } from "./operation/hybrid_clock.ts";
import type { PackedOperation } from "./operation/operation.ts";
import { includes, seen, type VersionVector } from "./operation/version_vector.ts";
import { Peer, type PeerView, sizeOf } from "./peer.ts";

/** What a sender needs to know. */
export interface SenderParts {
  readonly node: string;
  readonly origin: Origin;
  readonly messageBytes: number;
  readonly windowBytes: number;
  readonly log: OperationReader;
  readonly mailbox: Mailbox;
  agreement(): Agreement;
  durable(): VersionVector;
}

/** Operations of one origin that a peer lacks, the next first. */
interface Lane {
  readonly origin: Origin;
  readonly last: number;
  operations: readonly PackedOperation[];
  at: number;
}

/** The other members, and what is sent to them. */
export class Sender {
  readonly #parts: SenderParts;
  readonly #peers = new Map<string, Peer>();
  #loads: Dot[] = [];
  /** Origins whose operations are being read from the disk. */
  readonly #loading = new Set<Origin>();

  constructor(parts: SenderParts) {
    this.#parts = parts;
  }

  get peers(): ReadonlyMap<string, Peer> {
    return this.#peers;
  }

  views(): readonly PeerView[] {
    return [...this.#peers.values()].map(({ node, isUp, cursor }) => {
      let lag = 0;
      for (const [origin, last] of this.#parts.durable()) {
        lag += Math.max(0, last - seen(cursor, origin));
      }
      return { node, isUp, cursor, lag };
    });
  }

  /** Takes note of the members. What is known of those that stay is kept. */
  setMembers(): void {
    const agreement = this.#parts.agreement();
    for (const [node, { origin }] of this.#peers) {
      if (agreement.origins.get(node) !== origin) this.#peers.delete(node);
    }
    for (const [node, origin] of agreement.origins) {
      if (node !== this.#parts.node && !this.#peers.has(node)) {
        this.#peers.set(node, new Peer(node, origin));
      }
    }
    for (const peer of this.#peers.values()) {
      peer.cursor = this.counted(peer.cursor);
      peer.sendAgain();
    }
  }

  /** A peer's connection came up or went. */
  setPeer(node: string, isUp: boolean): void {
    const peer = this.#peers.get(node);
    if (peer === undefined) return;
    peer.isUp = isUp;
    peer.wantsAll = false;
    peer.asked = undefined;
    peer.sendAgain();
    if (isUp) this.pump(peer);
  }

  /** The part of a cursor that counts: nothing behind the end of an incarnation that is over. */
  counted(cursor: VersionVector): VersionVector {
    const agreement = this.#parts.agreement();
    const counted = new Map<Origin, number>();
    for (const [origin, sequence] of cursor) {
      if (isRetired(agreement, origin)) continue;
      counted.set(origin, Math.min(sequence, endOf(agreement, origin)));
    }
    return counted;
  }

  /**
   * A peer says what its disk has. What is on its way to it is sent again only if it asks, and has
   * got nothing since it asked last.
   */
  onCursor(peer: Peer, cursor: VersionVector, isPull: boolean): void {
    peer.acknowledge(cursor);
    peer.isBehind = false;
    if (isPull) {
      // What it had and has no more is sent again, and counts as missing.
      peer.cursor = cursor;
      const isStuck = peer.asked === undefined || includes(peer.asked, cursor);
      if (isStuck) peer.sendAgain();
      peer.asked = cursor;
      peer.wantsAll = true;
    }
    this.pump(peer);
  }

  /** Operations that were asked for are in memory. */
  loaded(): void {
    this.#loading.clear();
    this.pumpAll();
  }

  /** More operations are on disk. */
  pumpAll(): void {
    for (const peer of this.#peers.values()) this.pump(peer);
  }

  /** Numbers of own operations behind `floor` that no member is known to have, up to `last`. */
  unacknowledged(
    floor: OriginSequence,
    last: OriginSequence,
  ): { readonly first: OriginSequence; readonly last: OriginSequence } | undefined {
    const has = (peer: Peer): number => seen(peer.cursor, this.#parts.origin);
    const first = Math.max(floor, ...[...this.#peers.values()].map(has)) + 1;
    return first > last ? undefined : { first, last };
  }

  /** Operations that the disk is asked for. */
  takeLoads(): readonly Dot[] {
    const loads = this.#loads;
    this.#loads = [];
    return loads;
  }

  /** Sends a peer what it lacks, as far as the window goes. */
  pump(peer: Peer): void {
    const { windowBytes, messageBytes } = this.#parts;
    if (!peer.isUp || peer.isBehind || peer.bytesInFlight >= windowBytes) return;
    const lanes = this.#lanes(peer);
    while (peer.bytesInFlight < windowBytes) {
      const operations: PackedOperation[] = [];
      let bytes = 0;
      let isWaiting = false;
      while (bytes < messageBytes) {
        const next = this.#next(peer, lanes);
        if (next === "waiting") isWaiting = true;
        if (next === "waiting" || next === undefined) break;
        operations.push(next);
        bytes += sizeOf(next);
      }
      if (operations.length > 0) {
        peer.send(operations, bytes);
        this.#parts.mailbox.operations(peer.node, operations);
      }
      if (isWaiting) return;
      if (operations.length === 0) {
        peer.wantsAll = false;
        return;
      }
    }
  }

  #lanes(peer: Peer): Lane[] {
    const agreement = this.#parts.agreement();
    const lanes: Lane[] = [];
    for (const [origin, last] of this.#parts.durable()) {
      const isWanted = peer.wantsAll || origin === this.#parts.origin;
      if (!isWanted || seen(peer.sent, origin) >= last) continue;
      // It has forgotten that origin already, by a later agreement.
      const isForgotten = peer.version > agreement.version && !peer.cursor.has(origin);
      if (isForgotten && agreement.closed.has(origin)) continue;
      lanes.push({ origin, last, operations: [], at: 0 });
    }
    return lanes;
  }

  /**
   * The next operation in the order of stamps: one in which each follows all that its writer had.
   */
  #next(peer: Peer, lanes: Lane[]): PackedOperation | "waiting" | undefined {
    let best: { readonly lane: Lane; readonly operation: PackedOperation } | undefined;
    for (const lane of lanes) {
      const operation = this.#head(peer, lane);
      if (operation === "waiting") return "waiting";
      if (operation === undefined) continue;
      const isFirst = best === undefined || isBefore(operation, best.operation);
      if (isFirst) best = { lane, operation };
    }
    if (best !== undefined) best.lane.at += 1;
    return best?.operation;
  }

  #head(peer: Peer, lane: Lane): PackedOperation | "waiting" | undefined {
    const head = lane.operations[lane.at];
    if (head !== undefined) return head.sequence <= lane.last ? head : undefined;
    const from = (lane.operations.at(-1)?.sequence ?? seen(peer.sent, lane.origin)) + 1;
    if (from > lane.last) return undefined;
    if (this.#loading.has(lane.origin)) return "waiting";
    const read = this.#parts.log.read(lane.origin, from, this.#parts.messageBytes);
    switch (read.kind) {
      case "operations":
        lane.operations = read.operations;
        lane.at = 0;
        return read.operations[0];
      case "loading":
        this.#loading.add(lane.origin);
        this.#loads.push({ origin: lane.origin, sequence: from });
        return "waiting";
      case "gone": {
        // Nothing is known of it yet: it may have what is cut off.
        if (peer.version === 0) return "waiting";
        const { node, origin: incarnation } = peer;
        this.#parts.mailbox.reseed(node, { reason: "behind", incarnation });
        peer.isBehind = true;
        return "waiting";
      }
    }
  }
}

function isBefore(a: PackedOperation, b: PackedOperation): boolean {
  return (compareStamps(a.stamp, b.stamp) || compareDots(a, b)) < 0;
}
