/**
 * Nodes that all take writes, over a network that does what a test says. Each has a disk that keeps
 * what was synced. Nothing happens unless a test makes it happen.
 */

import type { Fields } from "../../src/base/value.ts";
import {
  areEndsKnown,
  type Members,
  type Seed,
  type WrittenDocument,
} from "../../src/multi_master/config.ts";
import type { ConflictConfig } from "../../src/multi_master/conflict_resolver.ts";
import { type Origin, originOf } from "../../src/multi_master/dot.ts";
import { NO_STAMP } from "../../src/multi_master/hybrid_clock.ts";
import type { MultiMasterMessage } from "../../src/multi_master/message.ts";
import { MultiMaster } from "../../src/multi_master/multi_master.ts";
import type { Operation } from "../../src/multi_master/operation.ts";
import type { MultiMasterEvent, MultiMasterReady } from "../../src/multi_master/ready.ts";
import { VersionStore } from "../../src/multi_master/version_store.ts";
import { covers, NOTHING_SEEN, seen } from "../../src/multi_master/version_vector.ts";

export const START_MS = 1_700_000_000_000;
export const DRIFT_MAX_MS = 500;
const EMPTY_SEED: Seed = {
  cursor: NOTHING_SEEN,
  documents: [],
  lastStamp: NO_STAMP,
  stable: NOTHING_SEEN,
};

/** What a node keeps when it loses power: the state it began with, and streams of operations. */
class Disk {
  seed: Seed = EMPTY_SEED;
  readonly streams = new Map<Origin, Operation[]>();
  /** Of the streams' operations, which was written when. */
  #order: Operation[] = [];

  append(operation: Operation): void {
    const stream = this.streams.get(operation.origin) ?? [];
    this.streams.set(operation.origin, stream);
    const expected = this.last(operation.origin) + 1;
    if (operation.sequence !== expected) {
      throw new Error(`${operation.origin} has a hole before ${operation.sequence}`);
    }
    stream.push(operation);
    this.#order.push(operation);
  }

  /** Loses what was written last, however many streams that was in. */
  tear(count: number): void {
    for (let i = 0; i < count; i += 1) {
      const operation = this.#order.pop();
      // What the state on the disk has seen was synced long ago.
      if (operation === undefined || covers(this.seed.cursor, operation)) return;
      this.streams.get(operation.origin)?.pop();
    }
  }

  last(origin: Origin): number {
    const last = this.streams.get(origin)?.at(-1)?.sequence ?? 0;
    return Math.max(last, seen(this.seed.cursor, origin));
  }

  read(origin: Origin, from: number, countMax: number): readonly Operation[] {
    const stream = this.streams.get(origin) ?? [];
    const at = from - (stream[0]?.sequence ?? Number.POSITIVE_INFINITY);
    if (at < 0 || at >= stream.length) throw new Error(`${origin} ${from} is not on this disk`);
    return stream.slice(at, at + countMax);
  }

  /** Begins anew with a state, and with the streams of its giver behind what is stable. */
  replace(seed: Seed, giver: Disk): void {
    this.seed = seed;
    const streams = [...giver.streams];
    this.streams.clear();
    for (const [origin, stream] of streams) {
      const kept = stream.filter(({ sequence }) => sequence > seen(seed.stable, origin));
      if (kept.length > 0) this.streams.set(origin, kept);
    }
    this.#order = [];
  }

  /** What a node that starts from this disk begins with. */
  recover(): Seed {
    const store = new VersionStore(() => false, this.seed.documents);
    const cursor = new Map(this.seed.cursor);
    let { lastStamp } = this.seed;
    for (const [origin, stream] of this.streams) {
      for (const operation of stream) {
        // What the state holds already may be held as forgotten.
        if (operation.sequence <= seen(cursor, origin)) continue;
        store.apply(operation);
        cursor.set(origin, operation.sequence);
        const { stamp } = operation;
        const isLater = stamp.wallMs - lastStamp.wallMs || stamp.count - lastStamp.count;
        if (isLater > 0) lastStamp = stamp;
      }
    }
    return { ...this.seed, cursor, documents: [...store.documents()], lastStamp };
  }
}

/** One node with its disk. */
export class TestNode {
  readonly id: string;
  readonly disk = new Disk();
  readonly events: MultiMasterEvent[] = [];
  /** Added to the time of all. */
  skewMs = 0;
  origin: Origin;
  master: MultiMaster;
  /** Version of the members that it knows. */
  membersVersion = 1;
  /** Taken, and not on disk yet. */
  readonly underway: MultiMasterReady[] = [];

  constructor(id: string, cluster: TestCluster) {
    this.id = id;
    this.origin = originOf(id, "1");
    this.master = this.start(cluster);
  }

  start(cluster: TestCluster): MultiMaster {
    this.underway.length = 0;
    const { conflict, resolvers, members } = cluster;
    this.membersVersion = members.version;
    this.master = new MultiMaster(
      {
        node: this.id,
        origin: this.origin,
        driftMaxMs: DRIFT_MAX_MS,
        pullTicks: 1,
        conflictOf: () => conflict,
        resolvers,
      },
      { members, seed: this.disk.recover(), log: this.disk },
    );
    return this.master;
  }
}

/** Nodes n1, n2 ... and what is under way between them. */
export class TestCluster {
  readonly conflict: ConflictConfig;
  readonly resolvers = new Map();
  readonly nodes: readonly TestNode[];
  members: Members;
  /** Sent and not delivered. */
  network: MultiMasterMessage[] = [];
  nowMs = START_MS;
  /** Every operation that was on its origin's disk, those apart that are on none any more. */
  written: Operation[] = [];
  /** Whether there are such: others may have built upon them. */
  hasLost = false;

  constructor(count: number, conflict: ConflictConfig = { strategy: "last-write-wins" }) {
    this.conflict = conflict;
    const ids = Array.from({ length: count }, (_, i) => `n${i + 1}`);
    const origins = new Map(ids.map((id) => [id, originOf(id, "1")]));
    this.members = { version: 1, origins, closed: new Map() };
    this.nodes = ids.map((id) => new TestNode(id, this));
  }

  /** n1 is node 1. */
  node(number: number): TestNode {
    return this.nodes[number - 1]!;
  }

  /** Writes one document on a node and syncs its disk; what it sends is under way then. */
  put(number: number, key: string, body: Fields | undefined): Operation {
    return this.write(number, [{ collection: "docs", key, body }]);
  }

  write(number: number, documents: readonly WrittenDocument[]): Operation {
    const node = this.node(number);
    const operation = node.master.write(documents, this.nowMs + node.skewMs);
    this.work(node);
    return operation;
  }

  body(number: number, key: string): Fields | undefined {
    return this.node(number).master.read("docs", key).body;
  }

  bodies(key: string): readonly (Fields | undefined)[] {
    return this.nodes.map((_, i) => this.body(i + 1, key));
  }

  /** Carries out what a node has decided, sync included. */
  work(node: TestNode): void {
    this.take(node);
    this.sync(node);
  }

  /** Takes what a node has decided; its disk is still busy. */
  take(node: TestNode): void {
    const ready = node.master.takeReady();
    if (ready === undefined) return;
    this.network.push(...structuredClone(ready.messages));
    node.events.push(...ready.events);
    node.underway.push(ready);
  }

  /** The disk is done with all that was taken. */
  sync(node: TestNode): void {
    for (const ready of node.underway.splice(0)) {
      for (const operation of structuredClone(ready.operations)) {
        node.disk.append(operation);
        if (operation.origin === node.origin) this.written.push(operation);
      }
      node.master.persisted(ready.number);
      this.network.push(...structuredClone(ready.messagesAfterPersist));
    }
  }

  /** Loses power: what was not synced is gone. */
  restart(node: TestNode): void {
    node.start(this);
  }

  deliver(message: MultiMasterMessage): void {
    const node = this.nodes.find(({ id }) => id === message.to)!;
    node.master.step(structuredClone(message), this.nowMs + node.skewMs);
  }

  /** Delivers what is under way, and what follows from it, until nothing is. */
  settle(isCut: (message: MultiMasterMessage) => boolean = () => false): void {
    for (let steps = 0; this.network.length > 0; steps += 1) {
      if (steps > 100_000) throw new Error("The nodes never stop talking");
      const message = this.network.shift()!;
      if (isCut(message)) continue;
      this.deliver(message);
      this.work(this.nodes.find(({ id }) => id === message.to)!);
    }
  }

  /** Lets time pass for all, `times` times, with everything delivered between. */
  pass(times: number, isCut?: (message: MultiMasterMessage) => boolean): void {
    for (let i = 0; i < times; i += 1) {
      this.nowMs += 100;
      for (const node of this.nodes) {
        node.master.tick();
        this.work(node);
      }
      this.settle(isCut);
    }
  }

  /** A node learns who the members are. When all have, what they wait for is agreed. */
  learn(node: TestNode): void {
    if (node.membersVersion < this.members.version) {
      node.membersVersion = this.members.version;
      node.master.setMembers(this.members);
    }
    const others = this.nodes.filter(({ id, origin }) => this.members.origins.get(id) === origin);
    if (areEndsKnown(this.members)) return;
    if (others.some(({ membersVersion }) => membersVersion < this.members.version)) return;
    // What is taken in counts when it is on disk.
    for (const other of others) this.work(other);
    const over = [...this.members.closed.keys()];
    const closed = new Map(over.map((origin) => [origin, this.endOf(origin, others)]));
    this.members = { ...this.members, version: this.members.version + 1, closed };
  }

  /** All learn, until nothing is to be agreed any more. */
  learnAll(): void {
    for (let i = 0; i < 3; i += 1) for (const node of this.nodes) this.learn(node);
  }

  /** Takes a node out of the members, or gives it another origin; the others learn later. */
  replaceOrigin(node: TestNode, origin: Origin | undefined): void {
    const origins = new Map(this.members.origins);
    const closed = new Map(this.members.closed).set(node.origin, undefined);
    if (origin === undefined) origins.delete(node.id);
    else origins.set(node.id, origin);
    this.members = { version: this.members.version + 1, origins, closed };
  }

  /**
   * A node takes a new incarnation. Operations that no disk has any more are lost.
   *
   * @param isAnew whether it begins with the state of `giver`, or goes on with its own disk.
   */
  renew(node: TestNode, giver: TestNode, isAnew: boolean): void {
    if (isAnew) {
      this.work(giver);
      node.disk.replace(structuredClone(giver.master.seed()), giver.disk);
    }
    const next = originOf(node.id, String(this.members.version + 1));
    this.replaceOrigin(node, next);
    node.origin = next;
    this.restart(node);
  }

  /** Forgets what no disk has; others may have built upon it. */
  dropLost(): void {
    const kept = this.written.filter(({ origin, sequence }) => this.endOf(origin) >= sequence);
    if (kept.length < this.written.length) this.hasLost = true;
    this.written = kept;
  }

  /** The last operation of an origin that any of the nodes has on disk. */
  endOf(origin: Origin, among: readonly TestNode[] = this.nodes): number {
    return Math.max(...among.map(({ disk }) => disk.last(origin)));
  }
}

/** Whether a message is to or from one of these nodes. */
export function touches(...ids: readonly string[]) {
  return ({ from, to }: MultiMasterMessage) => ids.includes(from) || ids.includes(to);
}
