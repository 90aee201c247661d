/**
 * Writing on every node: decides what one node does with its own operations and with those of
 * others. Synchronous, without clock, files or sockets.
 *
 * Each origin's operations are a stream without gaps, so a version vector says exactly what a node
 * has (its cursor). An operation is taken in after all that its writer had seen; so whoever has one
 * has what led to it. An origin pushes its operations to all members; who finds something missing
 * asks the sender, and each asks the others in turn, for what it lacks.
 *
 * Removals are forgotten in rounds: once every member's disk holds them **and** this node has all
 * that any member had when that was known. Otherwise an operation that was made in ignorance of the
 * removal could arrive after it is forgotten, and the document would be back.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import type { Fields } from "../query/value.ts";
import {
  type ConflictConfig,
  type ConflictResolver,
  contentAfter,
  type Resolution,
  resolve,
} from "./conflict_resolver.ts";
import { compareStamps, HybridClock } from "./hybrid_clock.ts";
import type {
  CursorMessage,
  MultiMasterMessage,
  OperationsMessage,
  ReseedMessage,
} from "./message.ts";
import type { MultiMasterEvent, MultiMasterReady } from "./ready.ts";
import {
  type Change,
  compareDots,
  type DocumentVersion,
  type Operation,
  type Origin,
  type OriginSequence,
  type Stamp,
} from "./types.ts";
import { type StoredDocument, VersionStore } from "./version_store.ts";
import { includes, join, meet, NOTHING_SEEN, seen, type VersionVector } from "./version_vector.ts";

/** Operations in one message. */
const OPERATIONS_MAX = 64;

/** How one node takes part. */
export interface MultiMasterConfig {
  readonly node: string;
  /** This node's incarnation: a new one after any part of its log was lost. */
  readonly origin: Origin;
  /** How far another node's stamp may be ahead of this node's clock, in ms. */
  readonly driftMaxMs: number;
  /** Ticks between two times of asking the members for what is lacking. */
  readonly pullTicks: number;
  /** The rule of a collection. */
  readonly conflictOf: (collection: string) => ConflictConfig;
  /** Resolvers of collections with a `custom` rule, by name. */
  readonly resolvers: ReadonlyMap<string, ConflictResolver>;
}

/** Who takes part, agreed upon through consensus. */
export interface Members {
  /** Grows with each change. */
  readonly version: number;
  /** Node id to its present incarnation. */
  readonly origins: ReadonlyMap<string, Origin>;
  /** Last operation that counts of each incarnation that is over. */
  readonly closed: VersionVector;
}

/** What a node begins with: what its disk holds, or another member's state. */
export interface Seed {
  readonly cursor: VersionVector;
  readonly documents: Iterable<StoredDocument>;
  /** The largest stamp in it. */
  readonly lastStamp: Stamp;
  /** Every member's disk held these: they need not be kept for anybody. */
  readonly stable: VersionVector;
}

/** The operations on this node's disk. */
export interface OperationReader {
  /** At least one and at most `countMax` operations from `from` on, which is behind `stable`. */
  read(origin: Origin, from: OriginSequence, countMax: number): readonly Operation[];
}

/** One document to write. */
export interface WrittenDocument {
  readonly collection: string;
  readonly key: string;
  /** `undefined` removes it. */
  readonly body: Fields | undefined;
}

/** What is known of another member, in its present incarnation. */
interface Peer {
  readonly origin: Origin | undefined;
  /** What its disk holds. */
  cursor: VersionVector;
  /** What it has when all that was sent to it has arrived. */
  sent: VersionVector;
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
  /** What the disk holds. */
  #durable: VersionVector;
  /** Origins whose operations are too far ahead of this node's clock. */
  readonly #quarantined = new Set<Origin>();
  #ticks = 0;
  #isStopped = false;
  /** The removals that are to be forgotten, and what this node must have before. */
  #round: { readonly floor: VersionVector; readonly barrier: VersionVector } | undefined;
  #stable: VersionVector;

  #messages: MultiMasterMessage[] = [];
  #operations: Operation[] = [];
  readonly #answers = new Map<string, { isPull: boolean }>();
  #events: MultiMasterEvent[] = [];
  #readyNumber = 0;
  readonly #underway: { readonly number: number; readonly cursor: VersionVector }[] = [];

  constructor(
    config: MultiMasterConfig,
    start: { readonly members: Members; readonly seed: Seed; readonly log: OperationReader },
  ) {
    this.#config = config;
    this.#log = start.log;
    this.#members = start.members;
    this.#store = new VersionStore(start.seed.documents);
    this.#clock = new HybridClock(start.seed.lastStamp);
    this.#cursor = new Map(start.seed.cursor);
    this.#durable = start.seed.cursor;
    this.#stable = start.seed.stable;
  }

  /** What was taken in of each origin. */
  get cursor(): VersionVector {
    return this.#cursor;
  }

  /** Whether it waits for a member's state and takes nothing in. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Every member's disk holds these: nobody will ask for them again. */
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

  /** What a reader sees of a document; see {@link versions}. */
  read(collection: string, key: string): Resolution {
    const { conflictOf, resolvers } = this.#config;
    return resolve(this.versions(collection, key), conflictOf(collection), resolvers);
  }

  /**
   * A state to begin with, here or on another node; asked for while nothing is on its way to the
   * disk. Another node needs the operations behind `stable` with it: it may be the last to hold
   * them.
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
   * document. Answered once the next Ready is persisted.
   *
   * @param wallMs this node's clock, ms since 1970.
   */
  write(documents: readonly WrittenDocument[], wallMs: number): Operation {
    assert(!this.#isStopped, "a node that waits for a member's state writes nothing");
    assert(documents.length > 0, "an operation writes something");
    const { origin } = this.#config;
    const dot = { origin, sequence: seen(this.#cursor, origin) + 1 };
    const stamp = this.#clock.next(wallMs);
    const changes = documents.map(({ collection, key, body }): Change => {
      const versions = this.#store.versions(collection, key);
      const conflict = this.#config.conflictOf(collection);
      const content = contentAfter(versions, conflict, { dot, stamp, body });
      return { collection, key, content };
    });
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
    if (this.#ticks % this.#config.pullTicks !== 0) return;
    const others = this.#others();
    // All learn what this node has; one, in turn, is asked for what it lacks, or all would send it.
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
    for (const [node, { origin }] of this.#peers) {
      if (members.origins.get(node) !== origin) this.#peers.delete(node);
    }
    this.#round = undefined;
    const isMember = members.origins.get(this.#config.node) === this.#config.origin;
    if (!isMember || this.#hasMoreThanCounts()) this.#stop();
  }

  /** What is to be done; undefined if nothing is. */
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
    this.#underway.push({ number: this.#readyNumber, cursor });
    const messagesAfterPersist: MultiMasterMessage[] = this.#isStopped
      ? []
      : this.#push(operations);
    for (const [peer, { isPull }] of this.#answers) {
      messagesAfterPersist.push({ ...this.#cursorMessage(peer, isPull), cursor });
    }
    this.#answers.clear();
    return { number: this.#readyNumber, messages, operations, messagesAfterPersist, events };
  }

  /** That Ready and all before it are on disk. */
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
      if (sequence < expected) continue;
      if (!this.#isWelcome(operation, { from, wallMs })) break;
      if (sequence > expected || !this.#hasSeen(operation.context)) {
        isPull = true;
        break;
      }
      this.#clock.observe(operation.stamp);
      this.#take(operation);
    }
    const answer = this.#answers.get(from);
    this.#answers.set(from, { isPull: isPull || answer?.isPull === true });
  }

  #isWelcome(operation: Operation, by: { from: string; wallMs: number }): boolean {
    const { origin, sequence, stamp } = operation;
    if (origin === this.#config.origin) {
      this.#events.push({ type: "OWN_ORIGIN_AHEAD", sequence });
      return false;
    }
    if (!this.#isOpen(origin) && sequence > seen(this.#members.closed, origin)) {
      this.#refuse(by.from, `operation ${sequence} of ${origin} is behind its end`);
      return false;
    }
    const aheadMs = stamp.wallMs - by.wallMs;
    if (aheadMs > this.#config.driftMaxMs) {
      if (!this.#quarantined.has(origin))
        this.#events.push({ type: "CLOCK_SKEW", origin, aheadMs });
      this.#quarantined.add(origin);
      return false;
    }
    if (this.#quarantined.delete(origin)) this.#events.push({ type: "CLOCK_SKEW_ENDED", origin });
    return true;
  }

  /** Of an incarnation that is over, nothing behind its end is waited for. */
  #hasSeen(context: VersionVector): boolean {
    for (const [origin, sequence] of context) {
      const end = this.#isOpen(origin) ? undefined : this.#members.closed.get(origin);
      if (seen(this.#cursor, origin) < Math.min(sequence, end ?? sequence)) return false;
    }
    return true;
  }

  #isOpen(origin: Origin): boolean {
    for (const member of this.#members.origins.values()) if (member === origin) return true;
    return false;
  }

  /** Sends what the other side lacks, once all that was sent has arrived, or when it asks. */
  #onCursor({ from, cursor, isPull }: CursorMessage): void {
    const peer = this.#peer(from);
    peer.cursor = join(peer.cursor, cursor);
    if (isPull) peer.sent = peer.cursor;
    if (includes(peer.cursor, peer.sent)) this.#sendMissing(from, peer);
  }

  #sendMissing(to: string, { origin: incarnation, cursor }: Peer): void {
    const missing: Operation[] = [];
    for (const [origin, last] of this.#durable) {
      const from = seen(cursor, origin) + 1;
      if (from > last) continue;
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
    return { ...this.#envelope(to), type: "CURSOR", cursor: this.#durable, isPull };
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
      const origin = this.#members.origins.get(node);
      peer = { origin, cursor: NOTHING_SEEN, sent: NOTHING_SEEN };
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
    if (this.#round !== undefined || !this.#areEndsKnown()) return;
    const floor = meet(this.#durable, ...cursors);
    this.#round = { floor, barrier: join(this.#members.closed, ...cursors) };
  }

  /** What is still under way of an incarnation that is over is known when its end is agreed. */
  #areEndsKnown(): boolean {
    const { closed } = this.#members;
    return [...this.#cursor.keys()].every((origin) => this.#isOpen(origin) || closed.has(origin));
  }

  #hasMoreThanCounts(): boolean {
    const ends = [...this.#members.closed];
    return ends.some(([origin, end]) => !this.#isOpen(origin) && seen(this.#cursor, origin) > end);
  }

  #stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#messages = [];
    this.#answers.clear();
    this.#events.push({ type: "RESEED_NEEDED", unsent: this.#unsent() });
  }

  #unsent(): readonly Operation[] {
    const { origin } = this.#config;
    const held = [...this.#peers.values()].map(({ cursor }) => seen(cursor, origin));
    const from = Math.max(seen(this.#stable, origin), ...held) + 1;
    const count = seen(this.#durable, origin) - from + 1;
    return count > 0 ? this.#log.read(origin, from, count) : [];
  }

  /** Who judges by older members than this node's does not know yet that it is one. */
  #onReseed({ incarnation, membersVersion }: ReseedMessage): void {
    const isMeant = incarnation === this.#config.origin;
    if (isMeant && membersVersion >= this.#members.version) this.#stop();
  }

  #reseed(to: string, incarnation: Origin): void {
    const membersVersion = this.#members.version;
    this.#messages.push({ ...this.#envelope(to), type: "RESEED", incarnation, membersVersion });
  }

  #refuse(from: string, reason: string): void {
    this.#events.push({ type: "MESSAGE_REFUSED", from, reason });
  }
}
