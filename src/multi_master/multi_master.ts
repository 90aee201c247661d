/**
 * Writing on every node: decides what one node does with its own operations and with those of
 * others. Synchronous, without clock, files or sockets.
 *
 * Each origin's operations are a stream without gaps, so a version vector says exactly what a node
 * has (its cursor). An operation is taken in after all that its writer had seen; so a node that
 * has one has what led to it. An origin pushes its operations to all members; a node that finds
 * something missing requests it from the sender, and each requests what it lacks from the others
 * in turn.
 *
 * Removals are forgotten in rounds: once every member's disk holds them **and** this node has all
 * that any member had when that was known. Otherwise an operation that was made in ignorance of the
 * removal could arrive after it is forgotten, and the document would be back.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import {
  areEndsKnown,
  endOf,
  isOpen,
  type Members,
  type MultiMasterConfig,
  type OperationReader,
  type Seed,
  type WrittenDocument,
} from "./config.ts";
import { contentAfter, isRemoved, type Resolution, resolve } from "./conflict_resolver.ts";
import { compareDots, type Origin, type OriginSequence } from "./dot.ts";
import { compareStamps, HybridClock } from "./hybrid_clock.ts";
import type {
  CursorMessage,
  MultiMasterMessage,
  OperationsMessage,
  ReseedMessage,
} from "./message.ts";
import type { Change, DocumentVersion, Operation } from "./operation.ts";
import { newPeer, type Peer } from "./peer.ts";
import type { MultiMasterEvent, MultiMasterReady } from "./ready.ts";
import { type StoredDocument, VersionStore } from "./version_store.ts";
import { includes, join, meet, seen, type VersionVector } from "./version_vector.ts";

/** Operations in one message. */
const OPERATIONS_MAX = 64;

/** A Ready that is on its way to the disk. */
interface Underway {
  readonly number: number;
  readonly cursor: VersionVector;
  readonly operations: readonly Operation[];
}

/** One node's part. */
export class MultiMaster {
  readonly #config: MultiMasterConfig;
  readonly #log: OperationReader;
  readonly #store: VersionStore;
  readonly #clock: HybridClock;
  #members: Members;
  readonly #peers = new Map<string, Peer>();
  /** All that was taken in, on disk or on its way there. */
  #cursor: Map<Origin, OriginSequence>;
  /** The operations on disk. */
  #durable: VersionVector;
  /** Origins whose operations are too far ahead of this node's clock. */
  readonly #quarantined = new Set<Origin>();
  #ticks = 0;
  #isStopped = false;
  /** Members from which missing operations were requested since the last tick. */
  readonly #pulled = new Set<string>();
  #isClockAhead = false;
  /** The removals that are to be forgotten, and what this node must have before. */
  #round: { readonly floor: VersionVector; readonly barrier: VersionVector } | undefined;
  #stable: VersionVector;

  #messages: MultiMasterMessage[] = [];
  #operations: Operation[] = [];
  readonly #answers = new Map<string, { isPull: boolean }>();
  #events: MultiMasterEvent[] = [];
  #readyNumber = 0;
  readonly #underway: Underway[] = [];

  constructor(
    config: MultiMasterConfig,
    start: { readonly members: Members; readonly seed: Seed; readonly log: OperationReader },
  ) {
    this.#config = config;
    this.#log = start.log;
    this.#members = start.members;
    const isGone = ({ collection, versions }: StoredDocument) =>
      isRemoved(versions, config.conflictOf(collection));
    this.#store = new VersionStore(isGone, start.seed.documents);
    this.#clock = new HybridClock(start.seed.lastStamp);
    this.#cursor = new Map(start.seed.cursor);
    this.#durable = start.seed.cursor;
    this.#stable = start.seed.stable;
    this.#checkMembership();
  }

  /** The operations taken in of each origin. */
  get cursor(): VersionVector {
    return this.#cursor;
  }

  /** Whether it waits for a member's state and takes nothing in. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /**
   * Whether it may write. A new incarnation may lack removals that the others have forgotten, and
   * must not write beside them: it waits until all members have answered it, and it has all that
   * they had forgotten by then.
   */
  get isReady(): boolean {
    if (this.#isStopped) return false;
    if (seen(this.#durable, this.#config.origin) > 0 || this.#members.version === 1) return true;
    return this.#others().every((node) => {
      const { forgotten } = this.#peer(node);
      return forgotten !== undefined && includes(this.#durable, forgotten);
    });
  }

  /** Every member's disk holds these: no member will request them again. */
  get stable(): VersionVector {
    return this.#stable;
  }

  /** Removals that are not forgotten yet. */
  get tombstones(): number {
    return this.#store.tombstones;
  }

  /**
   * The versions of a document. Those that were taken in last may not be on disk yet: an answer
   * that shows them leaves after the next Ready is persisted.
   */
  versions(collection: string, key: string): readonly DocumentVersion[] {
    return this.#store.versions(collection, key);
  }

  /** One text for all that can be read here, equal on nodes that agree. */
  text(): string {
    return this.#store.text();
  }

  /** Reads a document as its versions resolve; see {@link versions}. */
  read(collection: string, key: string): Resolution {
    const { conflictOf, resolvers } = this.#config;
    return resolve(this.versions(collection, key), conflictOf(collection), resolvers);
  }

  /**
   * A state to begin with, here or on another node; to be called while nothing is on its way to
   * the disk. Another node needs the operations behind `stable` with it: it may be the last to
   * hold them.
   */
  seed(): Seed {
    assert(this.#underway.length === 0 && this.#operations.length === 0, "the disk has it all");
    return {
      cursor: new Map(this.#cursor),
      documents: [...this.#store.documents()],
      lastStamp: this.#clock.last,
      stable: this.#stable,
    };
  }

  /**
   * Writes documents, all of them or none. Each version follows all that this node has of its
   * document. Answered once the next Ready is persisted. The bodies belong to it from then on.
   *
   * @param wallMs this node's clock, ms since 1970.
   */
  write(documents: readonly WrittenDocument[], wallMs: number): Operation {
    assert(this.isReady, "a node writes when it is ready");
    assert(documents.length > 0, "an operation writes something");
    const names = documents.map(({ collection, key }) => JSON.stringify([collection, key]));
    assert(new Set(names).size === names.length, "an operation writes a document once");
    const { origin } = this.#config;
    const dot = { origin, sequence: seen(this.#cursor, origin) + 1 };
    const stamp = this.#clock.next(wallMs);
    const changes = documents.map(({ collection, key, body }): Change => {
      const versions = this.#store.versions(collection, key);
      const conflict = this.#config.conflictOf(collection);
      const content = contentAfter(versions, conflict, { dot, stamp, body });
      return { collection, key, content };
    });
    this.#watchOwnClock(stamp.wallMs - wallMs);
    const operation = { ...dot, stamp, context: new Map(this.#cursor), changes };
    this.#take(operation);
    return operation;
  }

  /** Takes in a message. `wallMs` is this node's clock. */
  step(message: MultiMasterMessage, wallMs: number): void {
    if (this.#isStopped || message.to !== this.#config.node) return;
    if (message.type === "RESEED") {
      this.#onReseed(message);
      return;
    }
    const { from, origin } = message;
    if (this.#members.origins.get(from) !== origin) {
      this.#refuse(from, `${origin} is not a member`);
      this.#reseed(from, origin);
      return;
    }
    if (message.type === "OPERATIONS") this.#onOperations(message, wallMs);
    else this.#onCursor(message);
  }

  /** Time passes. */
  tick(): void {
    if (this.#isStopped) return;
    this.#ticks += 1;
    this.#pulled.clear();
    if (this.#ticks % this.#config.pullTicks !== 0) return;
    const others = this.#others();
    // All learn what this node has; one, in turn, gets a request, or all would send the same.
    const asked = (this.#ticks / this.#config.pullTicks) % others.length;
    for (const [at, peer] of others.entries()) {
      this.#messages.push(this.#cursorMessage(peer, at === asked));
    }
    this.#forgetRemovals();
  }

  /** Takes note of a change of members. Operations of an origin that is over end at `closed`. */
  setMembers(members: Members): void {
    if (members.version <= this.#members.version) return;
    this.#members = members;
    // Their earlier cursors may count operations that do not count any more.
    this.#peers.clear();
    this.#round = undefined;
    this.#checkMembership();
  }

  /** The work to be done; undefined if there is none. */
  takeReady(): MultiMasterReady | undefined {
    const operations = this.#operations;
    const messages = this.#messages;
    const events = this.#events;
    if (operations.length + messages.length + events.length + this.#answers.size === 0) return;
    this.#operations = [];
    this.#messages = [];
    this.#events = [];
    this.#readyNumber += 1;
    const cursor = new Map(this.#cursor);
    this.#underway.push({ number: this.#readyNumber, cursor, operations });
    const messagesAfterPersist: MultiMasterMessage[] = this.#isStopped
      ? []
      : this.#push(operations);
    for (const [peer, { isPull }] of this.#answers) {
      messagesAfterPersist.push({ ...this.#cursorMessage(peer, isPull), cursor });
    }
    this.#answers.clear();
    return { number: this.#readyNumber, messages, operations, messagesAfterPersist, events };
  }

  /** A Ready and all before it are on disk. */
  persisted(number: number): void {
    const done = this.#underway.filter((ready) => ready.number <= number);
    for (const { cursor } of this.#underway.splice(0, done.length)) this.#durable = cursor;
  }

  #take(operation: Operation): void {
    this.#cursor.set(operation.origin, operation.sequence);
    this.#store.apply(operation);
    this.#operations.push(operation);
  }

  /** Own operations go to every member that has all before them. */
  #push(operations: readonly Operation[]): MultiMasterMessage[] {
    const own = operations.filter(({ origin }) => origin === this.#config.origin);
    const [first] = own;
    if (first === undefined) return [];
    const messages: MultiMasterMessage[] = [];
    for (const to of this.#others()) {
      const { sent } = this.#peer(to);
      if (seen(sent, first.origin) !== first.sequence - 1) continue;
      for (let at = 0; at < own.length; at += OPERATIONS_MAX) {
        messages.push(this.#operationsMessage(to, own.slice(at, at + OPERATIONS_MAX)));
      }
    }
    return messages;
  }

  #onOperations({ from, operations }: OperationsMessage, wallMs: number): void {
    let isPull = false;
    for (const operation of operations) {
      const { origin, sequence } = operation;
      const expected = seen(this.#cursor, origin) + 1;
      if (sequence < expected || this.#isBeyondEnd(operation, from)) continue;
      if (!this.#isWelcome(operation, wallMs)) break;
      if (sequence > expected || !this.#hasSeen(operation.context)) {
        // Once between two ticks: it may be that the sender has no more to give.
        isPull = !this.#pulled.has(from);
        break;
      }
      this.#clock.observe(operation.stamp);
      this.#take(operation);
    }
    if (isPull) this.#pulled.add(from);
    const answer = this.#answers.get(from);
    this.#answers.set(from, { isPull: isPull || answer?.isPull === true });
  }

  #isBeyondEnd({ origin, sequence }: Operation, from: string): boolean {
    if (sequence <= endOf(this.#members, origin)) return false;
    this.#refuse(from, `operation ${sequence} of ${origin} is behind its end`);
    return true;
  }

  #isWelcome({ origin, sequence, stamp }: Operation, wallMs: number): boolean {
    if (origin === this.#config.origin) {
      this.#onOwnAhead(sequence);
      return false;
    }
    const aheadMs = stamp.wallMs - wallMs;
    if (aheadMs > this.#config.driftMaxMs) {
      if (!this.#quarantined.has(origin))
        this.#events.push({ type: "CLOCK_SKEW", origin, aheadMs });
      this.#quarantined.add(origin);
      return false;
    }
    if (this.#quarantined.delete(origin)) this.#events.push({ type: "CLOCK_SKEW_ENDED", origin });
    return true;
  }

  /** A part of its log is lost: the next number would be given out twice. */
  #onOwnAhead(sequence: OriginSequence): void {
    this.#events.push({ type: "OWN_ORIGIN_AHEAD", sequence });
    this.#stop();
  }

  /** Others will make this node's operations wait: the event asks for a repair of the clock. */
  #watchOwnClock(aheadMs: number): void {
    const isAhead = aheadMs > this.#config.driftMaxMs;
    if (isAhead && !this.#isClockAhead) this.#events.push({ type: "OWN_CLOCK_SKEW", aheadMs });
    this.#isClockAhead = isAhead;
  }

  /** Nothing behind the end of an ended incarnation is waited for, once that end is known. */
  #hasSeen(context: VersionVector): boolean {
    const { closed } = this.#members;
    for (const [origin, sequence] of context) {
      const end = isOpen(this.#members, origin) ? undefined : closed.get(origin);
      if (seen(this.#cursor, origin) < Math.min(sequence, end ?? sequence)) return false;
    }
    return true;
  }

  /**
   * Sends operations that the other side lacks: after a pull, of all origins, and those on their
   * way already only if it has got nothing since its last pull; else own operations, once all that
   * was sent has arrived.
   */
  #onCursor({ from, cursor, isPull, stable, membersVersion }: CursorMessage): void {
    const own = seen(cursor, this.#config.origin);
    if (own > seen(this.#cursor, this.#config.origin)) {
      this.#onOwnAhead(own);
      return;
    }
    // Until it knows the members as they are, its operations may come from a former member.
    if (membersVersion < this.#members.version) return;
    const peer = this.#peer(from);
    peer.cursor = join(peer.cursor, cursor);
    peer.forgotten ??= stable;
    if (isPull) {
      const isStuck = peer.asked !== undefined && includes(peer.asked, cursor);
      if (isStuck || peer.asked === undefined) peer.sent = cursor;
      peer.asked = cursor;
    }
    if (includes(peer.cursor, peer.sent)) this.#sendMissing(from, peer, isPull);
  }

  #sendMissing(to: string, { origin: incarnation, cursor }: Peer, isAll: boolean): void {
    const missing: Operation[] = [];
    for (const [origin, last] of this.#durable) {
      const from = seen(cursor, origin) + 1;
      if (from > last || (!isAll && origin !== this.#config.origin)) continue;
      if (from <= seen(this.#stable, origin)) {
        if (incarnation !== undefined) this.#reseed(to, incarnation);
        return;
      }
      missing.push(...this.#log.read(origin, from, Math.min(OPERATIONS_MAX, last - from + 1)));
    }
    if (missing.length === 0) return;
    // The order of stamps is one in which each operation follows all that its writer had seen.
    missing.sort((a, b) => compareStamps(a.stamp, b.stamp) || compareDots(a, b));
    this.#messages.push(this.#operationsMessage(to, missing.slice(0, OPERATIONS_MAX)));
  }

  #operationsMessage(to: string, operations: readonly Operation[]): OperationsMessage {
    const peer = this.#peer(to);
    const last = operations.map(({ origin, sequence }): [Origin, number] => [origin, sequence]);
    peer.sent = join(peer.sent, new Map(last));
    return { ...this.#envelope(to), type: "OPERATIONS", operations };
  }

  #cursorMessage(to: string, isPull: boolean): CursorMessage {
    const known = { stable: this.#stable, membersVersion: this.#members.version };
    return { ...this.#envelope(to), type: "CURSOR", cursor: this.#durable, isPull, ...known };
  }

  #envelope(to: string) {
    return { from: this.#config.node, to, origin: this.#config.origin };
  }

  #others(): readonly string[] {
    return [...this.#members.origins.keys()].filter((node) => node !== this.#config.node);
  }

  #peer(node: string): Peer {
    let peer = this.#peers.get(node);
    if (peer === undefined) {
      peer = newPeer(this.#members.origins.get(node));
      this.#peers.set(node, peer);
    }
    return peer;
  }

  /** One round of forgetting: first what every member has, then what this node must have before. */
  #forgetRemovals(): void {
    const cursors = this.#others().map((node) => this.#peer(node).cursor);
    if (this.#round !== undefined && includes(this.#durable, this.#round.barrier)) {
      this.#stable = join(this.#stable, this.#round.floor);
      this.#store.forget(this.#stable);
      this.#round = undefined;
    }
    if (this.#round !== undefined || !areEndsKnown(this.#members)) return;
    const floor = meet(this.#durable, ...cursors);
    this.#round = { floor, barrier: join(...cursors) };
  }

  #checkMembership(): void {
    const { closed, origins } = this.#members;
    const isMember = origins.get(this.#config.node) === this.#config.origin;
    const hasMore = [...closed].some(([origin, end]) => {
      return (
        end !== undefined && !isOpen(this.#members, origin) && seen(this.#cursor, origin) > end
      );
    });
    if (!isMember || hasMore) this.#stop();
  }

  #stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#messages = [];
    this.#answers.clear();
    this.#events.push({ type: "RESEED_NEEDED", unsent: this.#unsent() });
  }

  /** Own operations that no member is known to have, on disk or on their way there. */
  #unsent(): readonly Operation[] {
    const { origin } = this.#config;
    const held = [...this.#peers.values()].map(({ cursor }) => seen(cursor, origin));
    const unsent: Operation[] = [];
    let from = Math.max(seen(this.#stable, origin), ...held) + 1;
    for (const last = seen(this.#durable, origin); from <= last; ) {
      const read = this.#log.read(origin, from, last - from + 1);
      assert(read.length > 0, "a log gives at least one operation");
      unsent.push(...read);
      from += read.length;
    }
    const later = [...this.#underway.flatMap(({ operations }) => operations), ...this.#operations];
    return [...unsent, ...later.filter((operation) => operation.origin === origin)];
  }

  /** A sender with an older view of the members does not know yet that this node is one. */
  #onReseed({ incarnation, membersVersion, stable }: ReseedMessage): void {
    const isMeant = incarnation === this.#config.origin;
    if (!isMeant || membersVersion < this.#members.version) return;
    // A member that has what the others keep no more got a request for old operations by mistake.
    const isMember = this.#members.origins.get(this.#config.node) === incarnation;
    const hasAll = membersVersion === this.#members.version && includes(this.#cursor, stable);
    if (!isMember || !hasAll) this.#stop();
  }

  #reseed(to: string, incarnation: Origin): void {
    const known = { stable: this.#stable, membersVersion: this.#members.version };
    this.#messages.push({ ...this.#envelope(to), type: "RESEED", incarnation, ...known });
  }

  #refuse(from: string, reason: string): void {
    this.#events.push({ type: "MESSAGE_REFUSED", from, reason });
  }
}
