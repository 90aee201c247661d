/**
 * Writing on every node: decides what one node does with its own operations and with those of
 * others. Synchronous, without clock, files or sockets.
 *
 * Each origin's operations are a stream without gaps, so a version vector says exactly what a node
 * has (its cursor). An operation is taken in after all that its writer had; so a node that has one
 * has what led to it. An origin pushes its operations to all members; a node that finds something
 * missing requests it from the sender, and each requests what it lacks from the others in turn.
 *
 * Removals are forgotten in rounds that the members agree upon: once every member's disk holds them
 * **and** this node has all that any member had by then. Otherwise an operation that was made in
 * ignorance of the removal could arrive after it is forgotten, and the document would be back.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import type { FrozenSeed, MultiMasterConfig, MultiMasterStart } from "./config.ts";
import { Documents } from "./document/documents.ts";
import type { VisibleChange } from "./document/written_document.ts";
import { Intake } from "./intake.ts";
import { Mailbox } from "./mailbox.ts";
import {
  type CursorMessage,
  isCursor,
  type MultiMasterMessage,
  type OperationsMessage,
  type ReseedMessage,
} from "./message.ts";
import { NodeClock } from "./node_clock.ts";
import {
  type Agreement,
  assertFollows,
  coversToken,
  isRetired,
  lacksRetired,
  type MemberProgress,
  operationsBehind,
} from "./operation/agreement.ts";
import type { CollectionId, Dot, Origin } from "./operation/dot.ts";
import type { Operation, RequestName, SeenToken } from "./operation/operation.ts";
import { areOperations, hasTwice } from "./operation/operation_check.ts";
import { includes, seen, type VersionVector } from "./operation/version_vector.ts";
import type { Peer, PeerView } from "./peer.ts";
import { Progress } from "./progress.ts";
import type { MultiMasterEvent, MultiMasterReady } from "./ready.ts";
import type { ReadResult, WriteRequest, WriteResult } from "./requests.ts";
import { Sender } from "./sender.ts";

/** One node's part. */
export class MultiMaster {
  readonly #config: MultiMasterConfig;
  readonly #documents: Documents;
  readonly #clock: NodeClock;
  readonly #progress: Progress;
  readonly #intake: Intake;
  readonly #mailbox: Mailbox;
  readonly #sender: Sender;
  readonly #store: MultiMasterStart["store"];
  #agreement: Agreement;
  #forgotten: { readonly round: number; readonly floor: VersionVector };
  /** The last own operation that was written before the present agreement was known. */
  #writtenBefore = 0;
  #ticks = 0;
  #isStopped = false;
  /** Members from which missing operations were requested since the last tick. */
  readonly #pulled = new Set<string>();
  /** Who gets an answer, once what it sent is on disk. */
  readonly #answers = new Map<string, { afterReady: number; isPull: boolean }>();
  #operations: Operation[] = [];
  #changes: VisibleChange[] = [];
  #events: MultiMasterEvent[] = [];

  constructor(config: MultiMasterConfig, agreement: Agreement, start: MultiMasterStart) {
    const { node, origin, codec, resolvers, messageBytes, windowBytes } = config;
    const { store, seed, log } = start;
    this.#config = config;
    this.#agreement = agreement;
    this.#store = store;
    this.#clock = new NodeClock(seed.lastStamp, config.driftMaxMs);
    this.#progress = new Progress(seed.cursor, seed.chains);
    this.#forgotten = seed.forgotten;
    this.#intake = new Intake(config, () => this.#documents.bases);
    this.#mailbox = new Mailbox({ node, origin, agreement: () => this.#agreement });
    this.#sender = new Sender({
      ...{ node, origin, messageBytes, windowBytes, log, mailbox: this.#mailbox },
      agreement: () => this.#agreement,
      durable: () => this.#progress.durable,
    });
    this.#documents = new Documents(
      {
        ...{ store, codec, resolvers, expiryOf: config.expiryOf },
        agreement: () => this.#agreement,
        covers: (token) => this.covers(token) === "yes",
      },
      seed,
    );
    this.#documents.forget(seed.forgotten.floor);
    for (const packed of operationsBehind(start.operations, seed, agreement)) {
      const operation = this.#documents.bases.unpack(packed);
      this.#clock.observe(operation.stamp);
      this.#progress.take(operation, origin);
      this.#documents.apply(operation);
    }
    this.#progress.persisted(this.#progress.next());
    const lacks = lacksRetired(agreement, seed.version, this.#progress.cursor);
    this.#applyAgreement();
    if (lacks) this.#stop("behind");
  }

  /** Whether a request was carried out. */
  isKnown(request: RequestName): boolean {
    return this.#documents.requests.find(request) !== undefined;
  }

  /** The operations taken in of each origin. */
  get cursor(): VersionVector {
    return this.#progress.cursor;
  }

  /**
   * What a client has seen that is answered now: no more than is on disk, for a crash gives the
   * numbers of the rest to other operations.
   */
  get token(): SeenToken {
    return { version: this.#agreement.version, cursor: this.#progress.durable };
  }

  /** Whether it waits for a member's state and takes nothing in. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /**
   * Whether it may write: it has all whose removals others may have forgotten. A new incarnation
   * must not write beside a removal that it lacks.
   */
  get isReady(): boolean {
    return !this.#isStopped && this.#progress.isDurable(this.#agreement.floor.floor);
  }

  /** What it holds: versions, digests, and what of lost operations is to be written again. */
  get documents(): Pick<Documents, "versions" | "isRemoved" | "removed" | "digest" | "salvage"> {
    return this.#documents;
  }

  /** Every member's disk holds these, and no operation that was made in ignorance of them comes. */
  get forgotten(): VersionVector {
    return this.#forgotten.floor;
  }

  /** The other members: what their disks have, and how far they are behind. */
  get peers(): readonly PeerView[] {
    return this.#sender.views();
  }

  /**
   * Reads a document as its versions resolve, unless it has expired.
   *
   * @param wallMs this node's clock, ms since 1970; the last one it was told unless given.
   */
  read(collection: CollectionId, key: Uint8Array, wallMs = this.#clock.wallMs): ReadResult {
    const versions = this.#documents.versions(collection, key);
    const afterReady = this.#progress.readyOfAll(versions);
    const timeMs = wallMs + this.#clock.offsetMs;
    const shown = this.#documents.resolution(collection, versions, timeMs);
    const { body, isConflict, siblings, failure } = shown;
    return { body, isConflict, siblings, failure, afterReady };
  }

  /** Whether this node shows what a client has seen: yes, once it has come, or never again. */
  covers(token: SeenToken): "yes" | "wait" | "lost" {
    return coversToken(token, this.#agreement, this.#progress.durable);
  }

  /** A state to begin with, here or on another node. */
  freeze(): FrozenSeed {
    const frozen = this.#store.freeze();
    const hasAll = includes(this.#progress.durable, this.#progress.cursor);
    const isTaken = this.#operations.length === 0;
    return {
      cursor: new Map(this.#progress.cursor),
      version: this.#agreement.version,
      chains: new Map(this.#progress.chains),
      lastStamp: this.#clock.last,
      forgotten: this.#forgotten,
      requests: this.#documents.requests.seed(),
      bases: this.#documents.bases.seed(),
      afterReady: hasAll ? 0 : this.#progress.number + (isTaken ? 0 : 1),
      documents: () => frozen.documents(),
      release: () => frozen.release(),
    };
  }

  /**
   * Writes documents, all of them or none. The bytes must not be changed afterwards. An error that
   * a body's function throws is passed on, and nothing is written.
   *
   * @param wallMs this node's clock, ms since 1970.
   * @throws AssertionError if it is not ready, for no document, and for one that stands twice.
   */
  write({ documents, request }: WriteRequest, wallMs: number): WriteResult {
    assert(this.isReady, "a node writes when it is ready");
    assert(documents.length > 0, "an operation writes something");
    assert(!hasTwice(documents), "an operation writes a document once");
    const known = request === undefined ? undefined : this.#documents.requests.find(request);
    if (known !== undefined) {
      const afterReady = this.#progress.readyOf(known.origin, known.sequence);
      return { kind: "known", dot: known, afterReady };
    }
    for (const document of documents) {
      const refusal = this.#documents.refusal(document);
      if (refusal !== undefined) return { kind: "refused", refusal };
    }
    const { origin } = this.#config;
    const dot = { origin, sequence: seen(this.#progress.cursor, origin) + 1 };
    const stamp = this.#clock.stamp(wallMs);
    const timeMs = wallMs + this.#clock.offsetMs;
    const source = { dot, stamp, timeMs, isRepeat: request?.isRepeat === true };
    const changes = this.#documents.changes(documents, source);
    const [context, { sequence }] = [this.#progress.contextOf(origin), dot];
    const { version } = this.#agreement;
    const plain = { origin, sequence, stamp, changes, context, version, chain: 0 };
    const unchained = request === undefined ? plain : { ...plain, request };
    unchained.chain = this.#config.checksum(unchained, this.#progress.chains.get(origin) ?? 0);
    this.#take(unchained);
    return { kind: "written", operation: unchained, afterReady: this.#progress.number + 1 };
  }

  /**
   * Drops a document that has expired longer ago than clocks stand apart, without an operation.
   * False if that is not so, or if every member does not have it yet.
   *
   * @param wallMs this node's clock, ms since 1970.
   */
  expire(collection: CollectionId, key: Uint8Array, wallMs: number): boolean {
    const beforeMs = this.#clock.time(wallMs) - this.#config.driftMaxMs;
    return this.#documents.expire(collection, key, beforeMs);
  }

  /** Takes in a message, which is checked whole. `wallMs` is this node's clock, ms since 1970. */
  step(message: MultiMasterMessage, wallMs: number): void {
    if (this.#isStopped || message.to !== this.#config.node) return;
    const { from, origin } = message;
    if (origin === undefined || this.#agreement.origins.get(from) !== origin) {
      this.#refuse(from, `${origin} is not a member`);
      this.#reseed({ node: from, origin }, "not-member");
      return;
    }
    if (message.type === "RESEED") this.#onReseed(message);
    else if (message.type === "OPERATIONS") this.#onOperations(message, wallMs);
    else this.#onCursor(message, wallMs);
  }

  /** Time passes. `wallMs` is this node's clock, ms since 1970. */
  tick(wallMs: number): void {
    if (this.#isStopped) return;
    this.#ticks += 1;
    this.#clock.time(wallMs);
    this.#pulled.clear();
    this.#intake.tick(this.#ticks);
    if (this.#ticks % this.#config.pullTicks !== 0) return;
    const others = [...this.#sender.peers.values()].filter(({ isUp }) => isUp);
    // All learn what this node has; one, in turn, gets a request, or all would send the same.
    const asked = (this.#ticks / this.#config.pullTicks) % others.length;
    for (const [at, { node }] of others.entries()) this.#sendCursor(node, at === asked);
  }

  /** A peer's connection came up or went. Peers count as connected until this says otherwise. */
  setPeer(node: string, isUp: boolean): void {
    this.#sender.setPeer(node, isUp);
    if (isUp && this.#sender.peers.has(node) && !this.#isStopped) this.#sendCursor(node, true);
  }

  /**
   * A client is gone for good: those of its requests that every member has are known no more. To be
   * called on every node once all of its operations are there; one that comes later stays known.
   */
  endSession(session: string): void {
    this.#documents.requests.endSession(session);
  }

  /**
   * Takes note of what was agreed. An earlier version changes nothing.
   *
   * @throws AssertionError if a collection's rule has changed, or a floor has sunk.
   */
  setAgreement(agreement: Agreement): void {
    if (agreement.version <= this.#agreement.version) return;
    assertFollows(agreement, this.#agreement);
    for (const id of this.#agreement.collections.keys()) {
      if (!agreement.collections.has(id)) this.#documents.drop(id);
    }
    this.#agreement = agreement;
    this.#applyAgreement();
  }

  /** How far the members are, this node among them, as far as it knows; none once it stopped. */
  progress(): readonly MemberProgress[] | undefined {
    if (this.#isStopped) return undefined;
    const [{ origin }, { version }] = [this.#config, this.#agreement];
    const own = { origin, cursor: this.#progress.durable, round: this.#forgotten.round, version };
    return [own, ...this.#sender.peers.values()];
  }

  /** The work to be done; undefined if there is none. */
  takeReady(): MultiMasterReady | undefined {
    const events = [...this.#events, ...this.#clock.takeEvents(), ...this.#intake.takeEvents()];
    const [messages, loads] = [this.#mailbox.take(), this.#sender.takeLoads()];
    const [operations, changes] = [this.#operations, this.#changes];
    if (operations.length + messages.length + events.length + loads.length === 0) return undefined;
    [this.#operations, this.#changes, this.#events] = [[], [], []];
    return { number: this.#progress.next(), messages, operations, changes, loads, events };
  }

  /** A Ready and all before it are on disk. */
  persisted(number: number): void {
    this.#progress.persisted(number);
    if (this.#isStopped) return;
    for (const [node, { afterReady, isPull }] of this.#answers) {
      if (afterReady > number) continue;
      this.#answers.delete(node);
      this.#sendCursor(node, isPull);
    }
    this.#forget();
    this.#sender.pumpAll();
  }

  /** Operations that were asked for are in memory. */
  loaded(): void {
    if (!this.#isStopped) this.#sender.loaded();
  }

  #take(operation: Operation): void {
    this.#progress.take(operation, this.#config.origin);
    this.#operations.push(operation);
    for (const change of this.#documents.apply(operation)) this.#changes.push(change);
  }

  #onOperations(message: OperationsMessage, wallMs: number): void {
    const { from, operations } = message;
    if (!areOperations(operations)) return this.#refuse(from, "a message has no operations");
    const timeMs = this.#clock.time(wallMs);
    const blocked = new Set<Origin>();
    let [isPull, hasTaken] = [false, false];
    for (const operation of operations) {
      if (blocked.has(operation.origin)) continue;
      const { cursor, chains } = this.#progress;
      const state = { agreement: this.#agreement, cursor, chains, timeMs };
      const verdict = this.#intake.judge(operation, state, this.#ticks);
      if (verdict.kind === "known") continue;
      const isOwn = operation.origin === this.#config.origin;
      if (isOwn && (verdict.kind === "take" || verdict.kind === "fork")) {
        this.#onOwnOperation(operation, verdict.kind === "fork");
        return;
      }
      if (verdict.kind === "take") {
        this.#clock.observe(operation.stamp);
        this.#take(verdict.operation);
        hasTaken = true;
        continue;
      }
      blocked.add(operation.origin);
      if (verdict.kind === "refuse") this.#refuse(from, verdict.reason);
      else if (verdict.kind === "fork") this.#onFork(message, operation);
      // Once between two ticks: it may be that the sender has no more to give.
      else isPull ||= verdict.isPull && !this.#pulled.has(from);
    }
    if (isPull) this.#pulled.add(from);
    const before = this.#answers.get(from);
    const afterReady = hasTaken ? this.#progress.number + 1 : (before?.afterReady ?? 0);
    isPull ||= before?.isPull === true;
    // What is here already may still be on its way to the disk.
    if (afterReady > 0) this.#answers.set(from, { afterReady, isPull });
    else this.#sendCursor(from, isPull);
  }

  #onOwnOperation({ origin, sequence }: Dot, isFork: boolean): void {
    const type = isFork ? "ORIGIN_FORKED" : "OWN_ORIGIN_AHEAD";
    this.#events.push({ type, origin, sequence });
    this.#stop(isFork ? "forked" : "ahead");
  }

  /**
   * The origin must begin again: who had its operation first keeps that one. Who hands on an
   * operation of another may have damaged it.
   */
  #onFork({ from, origin: sender }: OperationsMessage, { origin, sequence }: Dot): void {
    if (sender === origin) this.#events.push({ type: "ORIGIN_FORKED", origin, sequence });
    if (sender === origin) this.#reseed({ node: from, origin }, "forked");
    this.#refuse(from, `operation ${sequence} of ${origin} has another content here`);
  }

  #onCursor(message: CursorMessage, wallMs: number): void {
    const { from, cursor, chains, isPull, version, round } = message;
    const peer = this.#sender.peers.get(from);
    if (peer === undefined || !isCursor(message)) return this.#refuse(from, "a cursor is broken");
    this.#clock.heard(from, message.wallMs, wallMs);
    if (this.#isForked(peer, cursor, chains)) return;
    const { origin } = this.#config;
    const [claimed, own] = [seen(cursor, origin), seen(this.#progress.cursor, origin)];
    let counted = this.#sender.counted(cursor);
    if (claimed > own) {
      // It may be so, or not: who has the operation can send it.
      this.#refuse(from, `it has operation ${claimed} of this node, which made ${own}`);
      if (!this.#pulled.has(from)) this.#sendCursor(from, true);
      this.#pulled.add(from);
      counted = new Map(counted).set(origin, own);
    }
    peer.version = version;
    peer.round = round;
    this.#sender.onCursor(peer, counted, isPull);
  }

  /** Whether the two nodes have come as far by other operations. */
  #isForked(peer: Peer, cursor: VersionVector, chains: ReadonlyMap<Origin, number>): boolean {
    for (const [origin, chain] of chains) {
      const sequence = seen(cursor, origin);
      if (sequence === 0) continue;
      const isLast = seen(this.#progress.cursor, origin) === sequence;
      if (!isLast || this.#progress.chains.get(origin) === chain) continue;
      this.#events.push({ type: "ORIGIN_FORKED", origin, sequence });
      // Of two nodes that built upon two operations of one number, the first by name goes on.
      const isOther = origin !== peer.origin && this.#config.node > peer.node;
      if (origin === this.#config.origin || isOther) this.#stop("forked");
      else if (origin === peer.origin) this.#reseed(peer, "forked");
      return true;
    }
    return false;
  }

  #sendCursor(to: string, isPull: boolean): void {
    const { durable: cursor, durableChains: chains } = this.#progress;
    const [{ round }, { wallMs }] = [this.#forgotten, this.#clock];
    this.#mailbox.cursor(to, { cursor, chains, isPull, round, wallMs });
  }

  #applyAgreement(): void {
    const unacknowledged = this.#unacknowledged();
    this.#writtenBefore = seen(this.#progress.cursor, this.#config.origin);
    this.#progress.retire((origin) => isRetired(this.#agreement, origin));
    this.#sender.setMembers();
    this.#clock.keep((node) => this.#sender.peers.has(node));
    const { closed, origins } = this.#agreement;
    const isMember = origins.get(this.#config.node) === this.#config.origin;
    const isBehindEnd = ([origin, end]: [Origin, number | undefined]): boolean =>
      end !== undefined && seen(this.#progress.cursor, origin) > end;
    const hasMore = [...closed].some(isBehindEnd);
    if (!isMember) this.#stop("not-member", unacknowledged);
    else if (hasMore) this.#stop("behind", unacknowledged);
    else this.#forget();
  }

  /** Forgets what the agreed floor allows, once this node has all that was made in ignorance. */
  #forget(): void {
    const { round, floor, barrier } = this.#agreement.floor;
    if (this.#forgotten.round === round) return;
    if (seen(this.#progress.durable, this.#config.origin) < this.#writtenBefore) return;
    if (!includes(this.#progress.durable, this.#sender.counted(barrier))) return;
    this.#forgotten = { round, floor };
    this.#documents.forget(floor);
    this.#documents.bases.pass(floor, (origin) => isRetired(this.#agreement, origin));
  }

  #stop(reason: ReseedMessage["reason"] | "ahead", unacknowledged = this.#unacknowledged()): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#mailbox.take();
    this.#sender.takeLoads();
    this.#answers.clear();
    this.#events.push({ type: "RESEED_NEEDED", reason, unacknowledged });
  }

  #unacknowledged(): ReturnType<Sender["unacknowledged"]> {
    const { origin } = this.#config;
    const last = seen(this.#progress.cursor, origin);
    return this.#sender.unacknowledged(seen(this.#forgotten.floor, origin), last);
  }

  /** A sender with an older view of the members does not know yet that this node is one. */
  #onReseed({ incarnation, version, reason }: ReseedMessage): void {
    if (incarnation !== this.#config.origin || version < this.#agreement.version) return;
    // By an agreement that is not known here yet this node may have what it is said to lack.
    if (reason === "behind" && version > this.#agreement.version) return;
    const isMember = this.#agreement.origins.get(this.#config.node) === incarnation;
    const isSame = version === this.#agreement.version;
    // A member that has what the others keep no more got a request for old operations by mistake.
    const hasAll = includes(this.#progress.cursor, this.#agreement.floor.floor);
    const isMistake = isMember && isSame && (reason === "not-member" || hasAll);
    if (reason === "forked" || !isMistake) this.#stop(reason);
  }

  #reseed(to: Pick<Peer, "node" | "origin">, reason: ReseedMessage["reason"]): void {
    this.#mailbox.reseed(to.node, { reason, incarnation: to.origin });
  }

  #refuse(from: string, reason: string): void {
    this.#events.push({ type: "MESSAGE_REFUSED", from, reason });
  }
}
