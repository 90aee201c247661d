/**
 * Document versions of collections that every node writes, as bytes in slabs. A document with one
 * version, which is nearly all of them, is one record; others are objects, and their record names
 * them.
 *
 * The document part of a record: flags (1), origin's number (2), checksum (4), ms of the stamp (6),
 * count of the stamp (2), body; of an object: flags (1), its number (4). The record's version is
 * the number of the operation. The context is not in it: operations of one origin share theirs
 * until it hears of others, so a list by origin has each one once, as long as it is needed.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { putU32, u32At, viewOf } from "../../base/bytes.ts";
import type {
  FrozenVersions,
  StoredDocument,
  VersionStore,
} from "../../multi_master/document/version_store.ts";
import type { Content, DocumentVersion } from "../../multi_master/operation/operation.ts";
import type { VersionVector } from "../../multi_master/operation/version_vector.ts";
import { DocumentSlabs, type FrozenSlabs, type Location, type Moved } from "./document_slab.ts";
import { KeyIndex } from "./key_index.ts";

const IS_REMOVED = 1;
const IS_OBJECT = 2;
/** Every later operation has seen it. */
const IS_SETTLED = 4;
/** See `DocumentVersion`. */
const IS_PRUNED = 8;
const HEADER_SIZE = 15;
const OBJECT_SIZE = 5;
const TWO_32 = 0x1_0000_0000;
const ORIGINS_MAX = 0xffff;
const NOTHING: VersionVector = new Map<string, number>([]);
const NONE: readonly DocumentVersion[] = Object.freeze<DocumentVersion[]>([]);
const SETTLED = { context: NOTHING, version: 0 };

interface Collection {
  readonly slabs: DocumentSlabs;
  readonly index: KeyIndex;
  readonly moved: Moved;
}

/** The context of an origin's operations, from one on until the next of the list. */
interface ContextFrom extends Pick<DocumentVersion, "context" | "version"> {
  readonly from: number;
}

/** What is needed to read a record. */
interface Moment {
  readonly floor: VersionVector;
  readonly contexts: readonly (readonly ContextFrom[])[];
}

/** The versions of all documents of a node. */
export class VersionTable implements VersionStore {
  readonly #seed: number;
  readonly #collections = new Map<number, Collection>();
  readonly #origins: string[] = [];
  readonly #numbers = new Map<string, number>();
  readonly #contexts: ContextFrom[][] = [];
  readonly #objects: (readonly DocumentVersion[] | undefined)[] = [];
  #free: number[] = [];
  /** Numbers of objects that a frozen moment may still name. */
  #retired: number[] = [];
  #frozen = 0;
  #floor: VersionVector = NOTHING;
  /** Counts writes: slabs mark by it what a frozen moment shows. */
  #clock = 1;

  /** @param seed is secret to the process: see {@link KeyIndex}. */
  constructor(seed: number) {
    this.#seed = seed;
  }

  get size(): number {
    let size = 0;
    for (const { index } of this.#collections.values()) size += index.size;
    return size;
  }

  /** Bytes of all slabs. */
  get bytes(): number {
    let bytes = 0;
    for (const { slabs } of this.#collections.values()) bytes += slabs.bytes;
    return bytes;
  }

  versions(collection: number, key: Uint8Array): readonly DocumentVersion[] {
    const table = this.#collections.get(collection);
    if (table === undefined) return NONE;
    const range = { start: 0, end: key.byteLength };
    const location = table.index.find(table.index.hash(key, range), key, range);
    return location < 0 ? NONE : this.#versionsAt(table.slabs, location);
  }

  update(
    collection: number,
    key: Uint8Array,
    change: (before: readonly DocumentVersion[]) => readonly DocumentVersion[],
  ): void {
    const { slabs, index, moved } = this.#tableOf(collection);
    const range = { start: 0, end: key.byteLength };
    const hash = index.hash(key, range);
    const before = index.find(hash, key, range);
    const known = before < 0 ? NONE : this.#versionsAt(slabs, before);
    const versions = change(known);
    if (versions === known) return;
    this.#clock += 1;
    if (before >= 0) {
      this.#releaseObject(slabs, before);
      slabs.supersede(before, this.#clock);
    }
    if (versions.length === 0) {
      if (before >= 0) index.remove(hash, before);
    } else {
      const location = this.#append(slabs, key, versions);
      if (before >= 0) index.move(hash, before, location);
      else index.insert(hash, location);
    }
    slabs.compactStep(moved);
  }

  settle(floor: VersionVector): void {
    this.#floor = floor;
    for (const [number, list] of this.#contexts.entries()) {
      const last = floor.get(this.#origins[number]!) ?? 0;
      let count = 0;
      while (count + 1 < list.length && list[count + 1]!.from <= last + 1) count += 1;
      list.splice(0, count);
    }
  }

  drop(collection: number): void {
    const table = this.#collections.get(collection);
    if (table === undefined) return;
    const frozen = table.slabs.freeze(this.#clock);
    for (const { location } of table.slabs.frozenRecords(frozen, "present")) {
      this.#releaseObject(table.slabs, location);
    }
    table.slabs.thaw(frozen);
    this.#collections.delete(collection);
  }

  *documents(): IterableIterator<StoredDocument> {
    const frozen = this.freeze();
    try {
      yield* frozen.documents();
    } finally {
      frozen.release();
    }
  }

  freeze(): FrozenVersions {
    this.#frozen += 1;
    const parts = [...this.#collections].map(([collection, { slabs }]) => {
      return { collection, slabs, frozen: slabs.freeze(this.#clock) };
    });
    // What is settled meanwhile is cut from these lists.
    const moment = { floor: this.#floor, contexts: this.#contexts.map((list) => [...list]) };
    let isReleased = false;
    const release = (): void => {
      assert(!isReleased, "a moment is released once");
      isReleased = true;
      for (const { slabs, frozen } of parts) slabs.thaw(frozen);
      this.#frozen -= 1;
      if (this.#frozen > 0) return;
      for (const number of this.#retired) this.#objects[number] = undefined;
      this.#free.push(...this.#retired);
      this.#retired = [];
    };
    return { documents: () => this.#frozenDocuments(parts, moment), release };
  }

  *#frozenDocuments(
    parts: readonly { collection: number; slabs: DocumentSlabs; frozen: FrozenSlabs }[],
    moment: Moment,
  ): IterableIterator<StoredDocument> {
    for (const { collection, slabs, frozen } of parts) {
      for (const { key, document, version } of slabs.frozenRecords(frozen)) {
        const place = { bytes: document, view: viewOf(document), at: 0, end: document.byteLength };
        const versions = this.#read(place, version, moment);
        yield { collection, key: key.slice(), versions };
      }
    }
  }

  #versionsAt(slabs: DocumentSlabs, location: Location): readonly DocumentVersion[] {
    const { bytes, view, at, end } = slabs.place(location);
    const moment = { floor: this.#floor, contexts: this.#contexts };
    return this.#read({ bytes, view, at, end }, slabs.version(location), moment);
  }

  #read(
    { bytes, view, at, end }: { bytes: Uint8Array; view: DataView; at: number; end: number },
    sequence: number,
    { floor, contexts }: Moment,
  ): readonly DocumentVersion[] {
    const flags = bytes[at]!;
    if ((flags & IS_OBJECT) !== 0) {
      const versions = this.#objects[u32At(bytes, at + 1)];
      assert(versions !== undefined, "a record names an object that is there");
      return versions;
    }
    const number = view.getUint16(at + 1, true);
    const origin = this.#origins[number]!;
    const wallMs = view.getUint32(at + 7, true) + view.getUint16(at + 11, true) * TWO_32;
    const isSettled = (flags & IS_SETTLED) !== 0 || sequence <= (floor.get(origin) ?? 0);
    const { context, version } = isSettled ? SETTLED : contextOf(contexts[number], sequence);
    const dot = { origin, sequence };
    const stamp = { wallMs, count: view.getUint16(at + 13, true) };
    const chain = view.getUint32(at + 3, true);
    const content: Content =
      (flags & IS_REMOVED) !== 0
        ? { kind: "removed" }
        : { kind: "document", body: bytes.subarray(at + HEADER_SIZE, end) };
    const one = { dot, stamp, context, version, chain, content };
    return [(flags & IS_PRUNED) === 0 ? one : { ...one, isPruned: true }];
  }

  #append(slabs: DocumentSlabs, key: Uint8Array, versions: readonly DocumentVersion[]): Location {
    const [sole] = versions;
    assert(sole !== undefined, "a document that is kept has a version");
    const number = versions.length === 1 ? this.#numberFor(sole) : undefined;
    const { content, stamp, chain, dot } = sole;
    const body = content.kind === "document" ? content.body : undefined;
    const size = number === undefined ? OBJECT_SIZE : HEADER_SIZE + (body?.byteLength ?? 0);
    const { bytes, view, at: start, location } = slabs.reserve(key.byteLength, size, dot.sequence);
    for (let i = 0; i < key.byteLength; i += 1) bytes[start + i] = key[i]!;
    const at = start + key.byteLength;
    if (number === undefined) {
      bytes[at] = IS_OBJECT;
      putU32(bytes, at + 1, this.#keepObject(versions));
      return location;
    }
    bytes[at] =
      (body === undefined ? IS_REMOVED : 0) |
      (this.#isSettled(sole) ? IS_SETTLED : 0) |
      (sole.isPruned === true ? IS_PRUNED : 0);
    view.setUint16(at + 1, number, true);
    view.setUint32(at + 3, chain, true);
    view.setUint32(at + 7, stamp.wallMs % TWO_32, true);
    view.setUint16(at + 11, Math.floor(stamp.wallMs / TWO_32), true);
    view.setUint16(at + 13, stamp.count, true);
    if (body !== undefined) bytes.set(body, at + HEADER_SIZE);
    return location;
  }

  /** The number of its origin, if the version fits a record by itself. */
  #numberFor(version: DocumentVersion): number | undefined {
    const { content, seen, removals, dot } = version;
    if (seen !== undefined || removals !== undefined) return undefined;
    if (content.kind === "document" && content.marks !== undefined) return undefined;
    if (version.stamp.wallMs >= TWO_32 * 0x1_0000) return undefined;
    let number = this.#numbers.get(dot.origin);
    if (number === undefined) {
      if (this.#origins.length >= ORIGINS_MAX) return undefined;
      number = this.#origins.push(dot.origin) - 1;
      this.#numbers.set(dot.origin, number);
      this.#contexts.push([]);
    }
    return this.#isSettled(version) || this.#noteContext(number, version) ? number : undefined;
  }

  #isSettled({ dot, context, version }: DocumentVersion): boolean {
    return (
      (context.size === 0 && version === 0) || dot.sequence <= (this.#floor.get(dot.origin) ?? 0)
    );
  }

  /** False if the list cannot say it: then it stands with the version. */
  #noteContext(number: number, { dot, context, version }: DocumentVersion): boolean {
    const list = this.#contexts[number]!;
    const last = list.at(-1);
    if (last !== undefined && dot.sequence < last.from) return false;
    if (last?.version === version && isSame(last.context, context)) return true;
    if (last?.from === dot.sequence) return false;
    list.push({ from: dot.sequence, context, version });
    return true;
  }

  #keepObject(versions: readonly DocumentVersion[]): number {
    const number = this.#free.pop() ?? this.#objects.length;
    this.#objects[number] = versions;
    return number;
  }

  #releaseObject(slabs: DocumentSlabs, location: Location): void {
    const { bytes, at } = slabs.place(location);
    if ((bytes[at]! & IS_OBJECT) === 0) return;
    const number = u32At(bytes, at + 1);
    if (this.#frozen > 0) {
      this.#retired.push(number);
      return;
    }
    this.#objects[number] = undefined;
    this.#free.push(number);
  }

  #tableOf(collection: number): Collection {
    let table = this.#collections.get(collection);
    if (table === undefined) {
      const slabs = new DocumentSlabs();
      const index = new KeyIndex(slabs, this.#seed);
      const moved: Moved = (from, to, key) => index.move(index.hash(key.bytes, key), from, to);
      table = { slabs, index, moved };
      this.#collections.set(collection, table);
    }
    return table;
  }
}

function contextOf(
  list: readonly ContextFrom[] = [],
  sequence: number,
): Pick<DocumentVersion, "context" | "version"> {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle]!.from <= sequence) low = middle + 1;
    else high = middle;
  }
  const { context, version } = list[low - 1] ?? SETTLED;
  return { context, version };
}

function isSame(a: VersionVector, b: VersionVector): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  for (const [origin, sequence] of a) if (b.get(origin) !== sequence) return false;
  return true;
}
