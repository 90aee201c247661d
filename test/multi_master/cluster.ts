/**
 * Nodes that all take writes, over a network that does what a test says. Each has a disk that keeps
 * what was synced. Nothing happens unless a test makes it happen.
 */

import { encodeText } from "../../src/base/bytes.ts";
import type { Fields } from "../../src/base/value.ts";
import { VersionTable } from "../../src/database/collection/version_table.ts";
import { EMPTY_SEED, type ReadOperations, type Seed } from "../../src/multi_master/config.ts";
import type { Resolution } from "../../src/multi_master/document/conflict_resolver.ts";
import type { StoredDocument } from "../../src/multi_master/document/version_store.ts";
import type { MultiMasterMessage } from "../../src/multi_master/message.ts";
import { MultiMaster } from "../../src/multi_master/multi_master.ts";
import {
  type Agreement,
  areEndsKnown,
  FIRST_FLOOR,
  proposeFloor,
  withFloor,
} from "../../src/multi_master/operation/agreement.ts";
import type {
  ConflictConfig,
  ConflictResolver,
} from "../../src/multi_master/operation/conflict_rule.ts";
import {
  type CollectionId,
  type Dot,
  type Origin,
  originOf,
} from "../../src/multi_master/operation/dot.ts";
import type {
  DocumentVersion,
  Operation,
  PackedOperation,
  RequestName,
  SeenToken,
} from "../../src/multi_master/operation/operation.ts";
import { covers, seen } from "../../src/multi_master/operation/version_vector.ts";
import { sizeOf } from "../../src/multi_master/peer.ts";
import type { MultiMasterEvent, MultiMasterReady } from "../../src/multi_master/ready.ts";
import type { WriteResult } from "../../src/multi_master/requests.ts";
import { OperationChecksum } from "../../src/protocol/operations/operation_checksum.ts";
import {
  encodeOperation,
  OperationDecoder,
} from "../../src/protocol/operations/operation_codec.ts";
import { contentDelta, VERSION_CODEC } from "../../src/protocol/operations/version_codec.ts";
import {
  decodeMultiMasterMessage,
  encodeMultiMasterMessage,
} from "../../src/protocol/wire/multi_master_message.ts";

export const START_MS = 1_700_000_000_000;
export const DRIFT_MAX_MS = 500;
export const WAIT_TICKS = 20;
/** The collection that tests write to. */
export const DOCS: CollectionId = 1;

export const codec = VERSION_CODEC;
/** Packs whatever it can, however small. */
const EAGER: typeof codec = {
  ...codec,
  deltaSizeMin: 0,
  delta: (base, next) => contentDelta(base, next, Number.POSITIVE_INFINITY),
};

const checksums = new OperationChecksum();

/** Checksum of an operation after that of the one before. */
export function checksumOf(operation: Omit<Operation, "chain">, previous: number): number {
  return checksums.of(operation, previous);
}

export function keyOf(key: string): Uint8Array {
  return encodeText(key);
}

/** A write of one document: on node n1 the number is 1. */
type Put = [
  number: number,
  key: string,
  body: Fields | undefined,
  more?: { readonly seen?: SeenToken; readonly request?: RequestName },
];

/** A state with its documents. */
interface DiskSeed extends Seed {
  readonly documents: readonly StoredDocument[];
}

/** What a node keeps when it loses power: the state it began with, and streams of operations. */
class Disk {
  seed: DiskSeed = { ...EMPTY_SEED, documents: [] };
  readonly streams = new Map<Origin, PackedOperation[]>();
  /** Whether reads are answered later. */
  isSlow = false;
  /** Of the streams' operations, which was written when. */
  #order: PackedOperation[] = [];

  append(operation: Operation): void {
    const stream = this.streams.get(operation.origin) ?? [];
    this.streams.set(operation.origin, stream);
    const expected = this.last(operation.origin) + 1;
    if (operation.sequence !== expected) {
      throw new Error(`${operation.origin} has a hole before ${operation.sequence}`);
    }
    // As it stands in a log.
    const packed = new OperationDecoder().decode(encodeOperation(operation));
    stream.push(packed);
    this.#order.push(packed);
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

  read(origin: Origin, from: number, bytesMax: number): ReadOperations {
    const stream = this.streams.get(origin) ?? [];
    const at = from - (stream[0]?.sequence ?? Number.POSITIVE_INFINITY);
    if (at < 0 || at >= stream.length) return { kind: "gone" };
    if (this.isSlow) return { kind: "loading" };
    const operations: PackedOperation[] = [];
    for (let bytes = 0; bytes < bytesMax && at + operations.length < stream.length; ) {
      const next = stream[at + operations.length]!;
      operations.push(next);
      bytes += sizeOf(next);
    }
    return { kind: "operations", operations };
  }

  /** Begins anew with a state, and with the streams of its giver behind what is forgotten. */
  replace(seed: DiskSeed, giver: Disk): void {
    this.seed = seed;
    const streams = [...giver.streams];
    this.streams.clear();
    for (const [origin, stream] of streams) {
      const floor = seen(seed.forgotten.floor, origin);
      const kept = stream.filter(({ sequence }) => sequence > floor);
      if (kept.length > 0) this.streams.set(origin, kept);
    }
    this.#order = [];
  }

  /** The operations behind the state, each after all that its writer had. */
  replay(): readonly PackedOperation[] {
    const behind = [...this.streams.values()]
      .flat()
      .filter((one) => !covers(this.seed.cursor, one));
    return behind.sort((a, b) => {
      return a.stamp.wallMs - b.stamp.wallMs || a.stamp.count - b.stamp.count;
    });
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
  /** Version of the agreement that it knows. */
  version = 1;
  /** Operations that it asked its disk for. */
  readonly loads: Dot[] = [];
  /** Taken, and not on disk yet. */
  readonly underway: MultiMasterReady[] = [];

  constructor(id: string, cluster: TestCluster) {
    this.id = id;
    this.origin = originOf(id, "1");
    this.master = this.start(cluster);
  }

  start(cluster: TestCluster): MultiMaster {
    this.underway.length = 0;
    const { resolvers, agreement } = cluster;
    this.version = agreement.version;
    const store = new VersionTable(1);
    const { documents, ...seed } = this.disk.seed;
    for (const { collection, key, versions } of documents)
      store.update(collection, key, () => versions);
    this.master = new MultiMaster(
      {
        ...{ node: this.id, origin: this.origin, driftMaxMs: DRIFT_MAX_MS },
        ...{ pullTicks: 1, waitTicks: WAIT_TICKS, messageBytes: 4096, windowBytes: 64 * 1024 },
        ...{ resolvers, checksum: checksumOf, expiryOf: cluster.expiryOf },
        codec: cluster.packsAll ? EAGER : codec,
      },
      agreement,
      { store, seed, operations: this.disk.replay(), log: this.disk },
    );
    return this.master;
  }
}

/** Nodes n1, n2 ... and what is under way between them. */
export class TestCluster {
  readonly resolvers = new Map<string, ConflictResolver>();
  /** A document with a field "until" expires then. */
  readonly expiryOf = (_collection: CollectionId, body: Fields): number | undefined =>
    body["until"] as number | undefined;
  readonly nodes: readonly TestNode[];
  agreement: Agreement;
  /** Sent and not delivered. */
  network: MultiMasterMessage[] = [];
  nowMs = START_MS;
  /** Every operation that was on its origin's disk, those apart that are on none any more. */
  written: Operation[] = [];
  /** Whether there are such: others may have built upon them. */
  hasLost = false;

  /** Whether every document that can be is sent as a change of another. */
  readonly packsAll: boolean;

  constructor(
    count: number,
    conflict: ConflictConfig = { strategy: "last-write-wins" },
    packsAll = false,
  ) {
    this.packsAll = packsAll;
    const ids = Array.from({ length: count }, (_, i) => `n${i + 1}`);
    this.agreement = {
      version: 1,
      origins: new Map(ids.map((id) => [id, originOf(id, "1")])),
      closed: new Map(),
      retired: new Map(),
      floor: FIRST_FLOOR,
      collections: new Map([[DOCS, conflict]]),
    };
    this.nodes = ids.map((id) => new TestNode(id, this));
  }

  get conflict(): ConflictConfig {
    return this.agreement.collections.get(DOCS)!;
  }

  /** n1 is node 1. */
  node(number: number): TestNode {
    return this.nodes[number - 1]!;
  }

  /** Writes one document on a node and syncs its disk; what it sends is under way then. */
  put(...write: Put): Operation {
    const result = this.tryPut(...write);
    if (result.kind !== "written") throw new Error(`Not written: ${JSON.stringify(result)}`);
    return result.operation;
  }

  tryPut(...[number, key, body, more = {}]: Put): WriteResult {
    const node = this.node(number);
    const encoded = body === undefined ? undefined : codec.encode(body);
    const { seen: hadSeen, request } = more;
    const document = { collection: DOCS, key: keyOf(key), body: encoded };
    const documents = [hadSeen === undefined ? document : { ...document, seen: hadSeen }];
    const result = node.master.write(
      request === undefined ? { documents } : { documents, request },
      this.nowMs + node.skewMs,
    );
    this.work(node);
    return result;
  }

  read(number: number, key: string): Resolution {
    return this.node(number).master.read(DOCS, keyOf(key));
  }

  body(number: number, key: string): Fields | undefined {
    const { body } = this.read(number, key);
    return body === undefined ? undefined : codec.decode(body);
  }

  bodies(key: string): readonly (Fields | undefined)[] {
    return this.nodes.map((_, i) => this.body(i + 1, key));
  }

  /** Carries out what a node has decided, sync included. */
  work(node: TestNode): void {
    while (this.take(node)) this.sync(node);
    this.sync(node);
  }

  /** Takes what a node has decided; its disk is still busy. */
  take(node: TestNode): boolean {
    const ready = node.master.takeReady();
    if (ready === undefined) return false;
    this.network.push(...ready.messages.map(overTheWire));
    node.events.push(...ready.events);
    node.loads.push(...ready.loads);
    node.underway.push(ready);
    return true;
  }

  /** The disk is done with what was taken, or with the first of it. */
  sync(node: TestNode, count = node.underway.length): void {
    for (const ready of node.underway.splice(0, count)) {
      for (const operation of structuredClone(ready.operations)) {
        node.disk.append(operation);
        if (operation.origin === node.origin) this.written.push(operation);
      }
      node.master.persisted(ready.number);
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

  /**
   * Lets time pass for all, `times` times, with everything delivered between. Whoever can proposes
   * a floor; the members learn of it, the deaf ones apart.
   */
  pass(
    times: number,
    isCut: (message: MultiMasterMessage) => boolean = () => false,
    deaf: readonly number[] = [],
  ): void {
    for (let i = 0; i < times; i += 1) {
      this.nowMs += 100;
      for (const node of this.nodes) {
        node.master.tick(this.nowMs + node.skewMs);
        this.work(node);
      }
      this.settle(isCut);
      this.agreeOnFloor(deaf);
    }
  }

  /** One round of forgetting, if some node knows enough for it. */
  agreeOnFloor(deaf: readonly number[] = []): boolean {
    for (const { master, id, origin } of this.nodes) {
      if (this.agreement.origins.get(id) !== origin) continue;
      const progress = master.progress();
      const proposal = progress && proposeFloor(this.agreement, progress);
      if (proposal === undefined) continue;
      this.agreement = withFloor(this.agreement, proposal);
      const { origins } = this.agreement;
      for (const [at, node] of this.nodes.entries()) {
        if (origins.get(node.id) === node.origin && !deaf.includes(at + 1)) this.learn(node);
      }
      return true;
    }
    return false;
  }

  /** A node learns what is agreed. When all have, what they wait for is agreed. */
  learn(node: TestNode): void {
    if (node.version < this.agreement.version) {
      node.version = this.agreement.version;
      node.master.setAgreement(this.agreement);
      this.work(node);
    }
    if (areEndsKnown(this.agreement)) return;
    const { origins, version } = this.agreement;
    const others = this.nodes.filter(({ id, origin }) => origins.get(id) === origin);
    if (others.some((other) => other.version < version)) return;
    // What is taken in counts when it is on disk.
    for (const other of others) this.work(other);
    const ends = [...this.agreement.closed].map(([origin, end]): [Origin, number] => {
      return [origin, end ?? this.endOf(origin, others)];
    });
    this.agreement = { ...this.agreement, version: version + 1, closed: new Map(ends) };
  }

  /** All learn, until nothing is to be agreed any more. */
  learnAll(): void {
    for (let i = 0; i < 3; i += 1) for (const node of this.nodes) this.learn(node);
  }

  /** Takes a node out of the members, or gives it another origin; the others learn later. */
  replaceOrigin(node: TestNode, origin: Origin | undefined): void {
    const origins = new Map(this.agreement.origins);
    const closed = new Map(this.agreement.closed).set(node.origin, undefined);
    if (origin === undefined) origins.delete(node.id);
    else origins.set(node.id, origin);
    this.agreement = { ...this.agreement, version: this.agreement.version + 1, origins, closed };
  }

  /** Makes or drops a collection; the nodes learn later. */
  setCollection(id: CollectionId, conflict: ConflictConfig | undefined): void {
    const collections = new Map(this.agreement.collections);
    if (conflict === undefined) collections.delete(id);
    else collections.set(id, conflict);
    this.agreement = { ...this.agreement, version: this.agreement.version + 1, collections };
  }

  /** The state of a node, as another begins with it. */
  seedOf(node: TestNode): DiskSeed {
    this.work(node);
    const frozen = node.master.freeze();
    const documents = [...frozen.documents()];
    frozen.release();
    const { cursor, version, chains, lastStamp, forgotten, requests, bases } = frozen;
    const state = { cursor, version, chains, lastStamp, forgotten, requests, bases, documents };
    return structuredClone(state);
  }

  /**
   * A node takes a new incarnation. Operations that no disk has any more are lost.
   *
   * @param isAnew whether it begins with the state of `giver`, or goes on with its own disk.
   */
  renew(node: TestNode, giver: TestNode, isAnew: boolean): void {
    if (isAnew) node.disk.replace(this.seedOf(giver), giver.disk);
    const next = originOf(node.id, String(this.agreement.version + 1));
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

  /** One text for all that can be read on a node, equal on nodes that agree. */
  text(node: TestNode): string {
    const frozen = node.master.freeze();
    const rows = [...frozen.documents()]
      .filter(({ collection, versions }) => !node.master.documents.isRemoved(collection, versions))
      .map(({ key, versions }) => [new TextDecoder().decode(key), versions.map(shownOf)] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    frozen.release();
    return JSON.stringify(rows);
  }

  texts(): readonly string[] {
    return this.nodes.map((node) => this.text(node));
  }
}

/** What all nodes have of a version. */
export function shownOf({ dot, stamp, chain, content }: DocumentVersion): object {
  return { dot, stamp, chain, body: content.kind === "document" ? [...content.body] : null };
}

/** A message as another node reads it. */
function overTheWire(message: MultiMasterMessage): MultiMasterMessage {
  return decodeMultiMasterMessage(encodeMultiMasterMessage(message), message);
}

/** Whether a message is to or from one of these nodes. */
export function touches(...ids: readonly string[]) {
  return ({ from, to }: MultiMasterMessage) => ids.includes(from) || ids.includes(to);
}

/** Names an operation. */
export function nameOf({ origin, sequence }: Dot): string {
  return `${origin} ${sequence}`;
}
