/**
 * The documents of one node: what a write makes of them, what an operation makes of them, and what
 * is settled once every member has it.
 *
 * @module
 */

import { putU32 } from "../../base/bytes.ts";
import type { Fields } from "../../base/value.ts";
import { type Agreement, isRetired } from "../operation/agreement.ts";
import {
  type ConflictConfig,
  type ConflictResolver,
  isByParts,
  removalOf,
} from "../operation/conflict_rule.ts";
import type { CollectionId, Dot, Origin, OriginSequence } from "../operation/dot.ts";
import type {
  Change,
  Content,
  DocumentVersion,
  Operation,
  SeenToken,
  Stamp,
} from "../operation/operation.ts";
import {
  covers,
  includes,
  NOTHING_SEEN,
  seen,
  type VersionVector,
} from "../operation/version_vector.ts";
import { type Base, Bases, type DeltaCodec } from "./bases.ts";
import {
  contentAfter,
  type DocumentCodec,
  isRemoved,
  type Resolution,
  type Resolving,
  resolve,
} from "./conflict_resolver.ts";
import {
  addVersion,
  type Causality,
  hasSeen,
  isPlain,
  plainVersion,
  versionOf,
} from "./document_versions.ts";
import { RequestTable, type SeedRequests } from "./request_table.ts";
import { type Salvage, salvage } from "./salvage.ts";
import type { StoredDocument, VersionStore } from "./version_store.ts";
import type { VisibleChange, WriteRefusal, WrittenDocument } from "./written_document.ts";

/** What documents need beside their store. */
export interface DocumentParts {
  readonly store: VersionStore;
  readonly codec: DocumentCodec & DeltaCodec;
  readonly resolvers: ReadonlyMap<string, ConflictResolver>;
  /** When a document expires, ms since 1970. */
  readonly expiryOf?: ((collection: CollectionId, body: Fields) => number | undefined) | undefined;
  /** The present one. */
  agreement(): Agreement;
  /** Whether this node's disk has all that a client has seen. */
  covers(token: SeenToken): boolean;
}

/** What documents begin with beside their store. */
export interface SeedParts {
  readonly requests: SeedRequests;
  readonly bases: readonly Base[];
}

const NEVER = { stamp: undefined };
const NONE: readonly DocumentVersion[] = Object.freeze<DocumentVersion[]>([]);

/** What the changes of one operation have in common. */
export interface WriteSource {
  readonly dot: Dot;
  readonly stamp: Stamp;
  readonly isRepeat: boolean;
  readonly timeMs: number;
}

interface Unsettled {
  readonly sequence: OriginSequence;
  readonly collection: CollectionId;
  readonly key: Uint8Array;
}

/** The documents of one node. */
export class Documents {
  readonly #parts: DocumentParts;
  readonly #requests: RequestTable;
  readonly #bases: Bases;
  readonly #causality: Causality;
  /** What has to be looked at when every member has it: by origin, in the order of numbers. */
  readonly #unsettled = new Map<Origin, { readonly queue: Unsettled[]; head: number }>();
  #removed = 0;
  /** All operations at or below it are settled. */
  #floor: VersionVector = NOTHING_SEEN;

  constructor(parts: DocumentParts, seed: SeedParts) {
    this.#parts = parts;
    this.#requests = new RequestTable(seed.requests);
    this.#bases = new Bases(parts.codec, seed.bases);
    this.#causality = {
      retiredAt: (origin) => parts.agreement().retired.get(origin)?.version,
      sameRequest: (dot) => this.#requests.sameRequest(dot),
    };
    const left: { readonly document: StoredDocument; readonly dot: Dot }[] = [];
    const { collections } = parts.agreement();
    const dropped = new Set<CollectionId>();
    for (const document of parts.store.documents()) {
      const { collection, versions } = document;
      if (!collections.has(collection)) dropped.add(collection);
      if (dropped.has(collection)) continue;
      if (this.isRemoved(collection, versions)) this.#removed += 1;
      if (versions.length === 1 && isPlain(versions[0]!)) continue;
      left.push(...versions.map(({ dot }) => ({ document, dot })));
    }
    for (const collection of dropped) parts.store.drop(collection);
    left.sort((a, b) => a.dot.sequence - b.dot.sequence);
    for (const { document, dot } of left) this.#wait(document, dot);
  }

  /** Documents that are kept only to tell others that they were removed. */
  get removed(): number {
    return this.#removed;
  }

  get requests(): RequestTable {
    return this.#requests;
  }

  get bases(): Bases {
    return this.#bases;
  }

  versions(collection: CollectionId, key: Uint8Array): readonly DocumentVersion[] {
    return this.#parts.store.versions(collection, key);
  }

  /** What some versions of a document of that collection resolve to at a time. */
  resolution(
    collection: CollectionId,
    versions: readonly DocumentVersion[],
    timeMs: number,
  ): Resolution {
    const resolution = resolve(versions, this.#resolving(this.#rule(collection)));
    const expiresMs = this.#expiryOf(collection, resolution.body);
    return expiresMs <= timeMs ? { ...resolution, body: undefined, siblings: [] } : resolution;
  }

  /**
   * Drops a document that expired before a time, without an operation: each node does so in its own
   * time. False if it has not, or if an operation that is older than its versions may still come.
   */
  expire(collection: CollectionId, key: Uint8Array, beforeMs: number): boolean {
    const versions = this.versions(collection, key);
    if (versions.length === 0 || !versions.every(({ dot }) => this.#isSettled(dot))) return false;
    const { body } = resolve(versions, this.#resolving(this.#rule(collection)));
    if (this.#expiryOf(collection, body) >= beforeMs) return false;
    this.#parts.store.update(collection, key, () => NONE);
    return true;
  }

  /**
   * One digest for a collection, equal on nodes that show the same: the XOR and the sum modulo 2^64
   * of the hashes of its documents with their versions' checksums. Left out is what each node
   * forgets in its own time: removals, and documents that expire.
   */
  digest(
    collection: CollectionId,
    hash: (bytes: Uint8Array) => bigint,
  ): { readonly count: number; readonly xor: bigint; readonly sum: bigint } {
    const resolving = this.#resolving(this.#rule(collection));
    let [count, xor, sum] = [0, 0n, 0n];
    for (const document of this.#parts.store.documents()) {
      const { key, versions } = document;
      if (document.collection !== collection || isRemoved(versions, resolving)) continue;
      const { body } = resolve(versions, resolving);
      if (this.#expiryOf(collection, body) < Number.POSITIVE_INFINITY) continue;
      const bytes = new Uint8Array(4 * versions.length + key.byteLength);
      for (const [at, { chain }] of versions.entries()) putU32(bytes, 4 * at, chain);
      bytes.set(key, 4 * versions.length);
      const hashed = hash(bytes);
      [count, xor, sum] = [count + 1, xor ^ hashed, BigInt.asUintN(64, sum + hashed)];
    }
    return { count, xor, sum };
  }

  /** Infinity: never, or there is no document. */
  #expiryOf(collection: CollectionId, body: Uint8Array | undefined): number {
    const { expiryOf, codec } = this.#parts;
    if (expiryOf === undefined || body === undefined) return Number.POSITIVE_INFINITY;
    return expiryOf(collection, codec.decode(body)) ?? Number.POSITIVE_INFINITY;
  }

  /** Whether all versions of a document amount to none. */
  isRemoved(collection: CollectionId, versions: readonly DocumentVersion[]): boolean {
    const config = this.#parts.agreement().collections.get(collection);
    return config === undefined || isRemoved(versions, this.#resolving(config));
  }

  /** Why a write cannot be; undefined if it can. */
  refusal(document: WrittenDocument): WriteRefusal | undefined {
    const { collection, key } = document;
    const config = this.#parts.agreement().collections.get(collection);
    if (config === undefined) return { reason: "NO_COLLECTION", collection };
    if (document.seen === undefined) return undefined;
    if (!this.#parts.covers(document.seen)) return { reason: "NOT_COVERED" };
    const stale = { reason: "STALE_READ", collection, key } as const;
    // What is forgotten may have been a removal that the reader does not know of.
    if (!includes(document.seen.cursor, this.#floor)) return stale;
    const { version, cursor } = document.seen;
    for (const [origin, retired] of this.#parts.agreement().retired) {
      if (retired.version > version && retired.end > seen(cursor, origin)) return stale;
    }
    const token = document.seen;
    const later = this.versions(collection, key).filter(
      ({ dot }) => !hasSeen(token, dot, this.#causality),
    );
    // Others may have forgotten the removal before the write comes.
    const isAboutRemovals = ({ content, removals }: DocumentVersion): boolean =>
      content.kind === "removed" || removals !== undefined;
    const isOlder = isByParts(config) ? later.length > 0 : later.some(isAboutRemovals);
    return isOlder ? stale : undefined;
  }

  /** The changes that a write amounts to, unless {@link refusal} says otherwise. */
  changes(documents: readonly WrittenDocument[], source: WriteSource): readonly Change[] {
    const changes = documents.map((document) => this.#change(document, source));
    const isPlain = ({ collection }: Change): boolean => !isByParts(this.#rule(collection));
    if (changes.every(isPlain)) return changes;
    const { origin } = source.dot;
    const floor = seen(this.#parts.agreement().floor.floor, origin);
    const packed = this.#bases.pack(changes, origin, floor);
    return packed.map((change, at) => (isPlain(change) ? changes[at]! : change));
  }

  #change(document: WrittenDocument, source: WriteSource): Change {
    const { collection, key } = document;
    const config = this.#rule(collection);
    const resolving = this.#resolving(config);
    const { body: wanted } = document;
    const areRemovalsKept = removalOf(config) === "remove-wins";
    // What is there does not matter to a whole document that replaces it.
    if (typeof wanted !== "function" && !areRemovalsKept && !isByParts(config)) {
      const content: Content =
        wanted === undefined ? { kind: "removed" } : { kind: "document", body: wanted };
      const { seen: token } = document;
      return token === undefined
        ? { collection, key, content }
        : { collection, key, content, seen: token };
    }
    const found = this.versions(collection, key);
    const hasExpired =
      this.#parts.expiryOf !== undefined &&
      this.#expiryOf(collection, resolve(found, resolving).body) <= source.timeMs;
    // A document that has expired is not there: a counter begins anew.
    const before = hasExpired ? NONE : found;
    const body = typeof wanted === "function" ? wanted(resolve(before, resolving).body) : wanted;
    const isOwn = ({ sequence, origin }: Dot): boolean =>
      sequence === source.dot.sequence && origin === source.dot.origin;
    const isApart = (dot: Dot): boolean =>
      isOwn(dot) ? source.isRepeat : this.#requests.isApart(dot);
    const { dot, stamp } = source;
    const content = contentAfter(before, resolving, { body, dot, stamp, isApart });
    const removals = areRemovalsKept ? this.#removalsOf(before) : [];
    return {
      ...{ collection, key, content },
      ...(document.seen === undefined ? {} : { seen: document.seen }),
      ...(removals.length === 0 ? {} : { removals }),
    };
  }

  /** What of operations that no member has is to be written again. */
  salvage(operations: readonly Operation[]): Salvage {
    const agreement = this.#parts.agreement();
    const isLost = ({ origin, sequence, request }: Operation): boolean => {
      const end = agreement.retired.get(origin)?.end ?? agreement.closed.get(origin);
      const isHere = sequence <= (end ?? 0);
      return !isHere && (request === undefined || this.#requests.find(request) === undefined);
    };
    return salvage(operations.filter(isLost), {
      agreement,
      floor: this.#floor,
      versions: (collection, key) => this.versions(collection, key),
      resolving: (collection) => {
        const config = agreement.collections.get(collection);
        return config === undefined ? undefined : this.#resolving(config);
      },
    });
  }

  /** Takes in an operation; tells what readers see of it. */
  apply(operation: Operation): readonly VisibleChange[] {
    this.#requests.note(operation);
    this.#bases.note(operation);
    const { collections } = this.#parts.agreement();
    const visible: VisibleChange[] = [];
    for (const change of operation.changes) {
      // A collection that is dropped by now takes nothing with it but its own part.
      const config = collections.get(change.collection);
      if (config !== undefined) visible.push(this.#applyChange(operation, change, config));
    }
    return visible;
  }

  /** Forgets a collection; to be called before the agreement without it counts. */
  drop(collection: CollectionId): void {
    for (const { collection: id, versions } of this.#parts.store.documents()) {
      if (id === collection && this.isRemoved(id, versions)) this.#removed -= 1;
    }
    this.#parts.store.drop(collection);
  }

  /** Every member has these operations, and this node all that were made in ignorance of them. */
  forget(floor: VersionVector): void {
    this.#floor = floor;
    for (const [origin, waiting] of this.#unsettled) {
      const { queue } = waiting;
      const isOver = isRetired(this.#parts.agreement(), origin);
      const last = isOver ? Number.POSITIVE_INFINITY : seen(floor, origin);
      while (waiting.head < queue.length && queue[waiting.head]!.sequence <= last) {
        this.#settle(queue[waiting.head]!);
        waiting.head += 1;
      }
      if (waiting.head === queue.length) this.#unsettled.delete(origin);
      else if (waiting.head > queue.length / 2) {
        queue.splice(0, waiting.head);
        waiting.head = 0;
      }
    }
    this.#parts.store.settle(floor);
    this.#requests.forget(
      (dot) => this.#isSettled(dot),
      ({ collection, key }) => this.versions(collection, key).length < 2,
    );
  }

  #applyChange(operation: Operation, change: Change, config: ConflictConfig): VisibleChange {
    const { collection, key } = change;
    const added = versionOf(operation, change);
    const resolving = this.#resolving(config);
    let [before, versions] = [NONE, NONE];
    this.#parts.store.update(collection, key, (found) => {
      before = found;
      versions = addVersion(found, added, this.#causality);
      return versions;
    });
    if (versions !== before) {
      if (before.length > 0 && isRemoved(before, resolving)) this.#removed -= 1;
      if (isRemoved(versions, resolving)) this.#removed += 1;
      this.#wait({ collection, key, versions }, added.dot);
    }
    const { body: after, isConflict } = resolve(versions, resolving);
    const { stamp } = versions.at(-1) ?? NEVER;
    return { collection, key, before: resolve(before, resolving).body, after, stamp, isConflict };
  }

  /** Notes a document that is not as small as it can be. */
  #wait({ collection, key, versions }: StoredDocument, { origin, sequence }: Dot): void {
    if (versions.length === 1 && isPlain(versions[0]!)) return;
    const one = { sequence, collection, key };
    const waiting = this.#unsettled.get(origin);
    if (waiting === undefined) {
      this.#unsettled.set(origin, { queue: [one], head: 0 });
      return;
    }
    const { queue } = waiting;
    let at = queue.length;
    while (at > waiting.head && queue[at - 1]!.sequence > sequence) at -= 1;
    if (at === queue.length) queue.push(one);
    else queue.splice(at, 0, one);
  }

  #settle({ collection, key }: Unsettled): void {
    const versions = this.versions(collection, key);
    const later = versions.find(({ dot }) => !this.#isSettled(dot));
    if (later !== undefined) {
      this.#wait({ collection, key, versions }, later.dot);
      return;
    }
    if (this.isRemoved(collection, versions)) {
      if (versions.length > 0) this.#removed -= 1;
      this.#parts.store.update(collection, key, () => NONE);
      return;
    }
    const [sole] = versions;
    if (versions.length === 1 && sole !== undefined && !isPlain(sole)) {
      this.#parts.store.update(collection, key, () => [plainVersion(sole)]);
    }
  }

  #isSettled(dot: Dot): boolean {
    return covers(this.#floor, dot) || isRetired(this.#parts.agreement(), dot.origin);
  }

  /** The removals that a write follows and that an operation under way may not know of. */
  #removalsOf(versions: readonly DocumentVersion[]): readonly Dot[] {
    const removals = versions.flatMap(({ dot, content, removals: earlier = [] }) =>
      content.kind === "removed" ? [...earlier, dot] : earlier,
    );
    return removals.filter((dot) => !this.#isSettled(dot));
  }

  #rule(collection: CollectionId): ConflictConfig {
    return this.#parts.agreement().collections.get(collection) ?? { strategy: "last-write-wins" };
  }

  #resolving(config: ConflictConfig): Resolving {
    const { codec, resolvers } = this.#parts;
    return { config, codec, resolvers, causality: this.#causality };
  }
}
