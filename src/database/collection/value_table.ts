/**
 * From an indexed value to the documents that have it, where they are few: a hash table beside the
 * ordered tree, which needs many misses of the processor's cache for what takes a few here. It
 * counts entries by the hash of their key, so it knows when there are none; where there are many,
 * or one of them was lost sight of, it leaves the answer to the tree. Open addressing over typed
 * arrays, in shards that grow one by one, so that no write waits for a large table to be made anew.
 *
 * @module
 */

import type { Location } from "./document_slab.ts";

const SHARDS = 256;
const FIRST_CAPACITY = 8;
/** Entries of one hash whose documents are known; with more only their number is. */
export const VALUE_ENTRIES_MAX = 16;
/** In place of a location or a node: not known. */
const UNKNOWN = -1;

class Shard {
  hashes = new Int32Array(FIRST_CAPACITY);
  /** Entries with that hash; 0 = the slot is free. */
  counts = new Int32Array(FIRST_CAPACITY);
  /** Location of one entry; of several the first node of their chain; or `UNKNOWN`. */
  places = new Float64Array(FIRST_CAPACITY);
  used = 0;
  /** Nodes of chains: a location, and the number of the next node or `UNKNOWN`. */
  locations = new Float64Array(FIRST_CAPACITY);
  next = new Int32Array(FIRST_CAPACITY);
  /** Nodes that were ever used; below it some may be free. */
  nodes = 0;
  free = UNKNOWN;
}

/** The table of one index. */
export class ValueTable {
  readonly #seed: number;
  readonly #shards: (Shard | undefined)[] = new Array(SHARDS);

  /** The seed is secret to the process: a client cannot choose values that collide. */
  constructor(seed: number) {
    this.#seed = seed;
  }

  /** Hash of a key, to be given to the other calls. */
  hash(key: string): number {
    let h = this.#seed;
    for (let i = 0; i < key.length; i += 1) {
      h = Math.imul(h ^ key.charCodeAt(i), 0x5bd1e995);
      h ^= h >>> 13;
    }
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    return h ^ (h >>> 15);
  }

  /**
   * Calls `visit` for each document that may have the key, until it returns true; keys with the
   * same hash share their documents. False when the table does not know them: nothing was visited.
   */
  visit(hash: number, visit: (location: Location) => boolean): boolean {
    const shard = this.#shards[hash & (SHARDS - 1)];
    if (shard === undefined) return true;
    const slot = slotOf(shard, hash);
    const count = shard.counts[slot]!;
    if (count === 0) return true;
    const place = shard.places[slot]!;
    if (place === UNKNOWN) return false;
    if (count === 1) {
      visit(place);
      return true;
    }
    for (let node = place; node !== UNKNOWN; node = shard.next[node]!) {
      if (visit(shard.locations[node]!)) break;
    }
    return true;
  }

  /** Entries with that hash. */
  count(hash: number): number {
    const shard = this.#shards[hash & (SHARDS - 1)];
    return shard === undefined ? 0 : shard.counts[slotOf(shard, hash)]!;
  }

  /** One more entry. */
  add(hash: number, location: Location): void {
    const number = hash & (SHARDS - 1);
    this.#shards[number] ??= new Shard();
    const shard = this.#shards[number];
    if ((shard.used + 1) * 4 > shard.hashes.length * 3) grow(shard);
    const slot = slotOf(shard, hash);
    const count = shard.counts[slot]!;
    shard.counts[slot] = count + 1;
    if (count === 0) {
      shard.used += 1;
      shard.hashes[slot] = hash;
      shard.places[slot] = location;
    } else if (count >= VALUE_ENTRIES_MAX) {
      forget(shard, slot, count);
    } else if (shard.places[slot] !== UNKNOWN) {
      const place = shard.places[slot]!;
      const rest = count === 1 ? newNode(shard, place, UNKNOWN) : place;
      shard.places[slot] = newNode(shard, location, rest);
    }
  }

  /** The document of an entry lies elsewhere now; without `from` it is not known where it was. */
  move(hash: number, from: Location | undefined, to: Location): void {
    const shard = this.#shardOf(hash);
    const slot = slotOf(shard, hash);
    const count = shard.counts[slot]!;
    const place = shard.places[slot]!;
    if (count === 1) {
      shard.places[slot] = to;
      return;
    }
    if (place === UNKNOWN) return;
    const node = from === undefined ? UNKNOWN : nodeOf(shard, place, from);
    if (node === UNKNOWN) forget(shard, slot, count);
    else shard.locations[node] = to;
  }

  /** One entry less. */
  remove(hash: number, location: Location): void {
    const shard = this.#shardOf(hash);
    const slot = slotOf(shard, hash);
    const count = shard.counts[slot]!;
    if (count === 1) {
      closeGap(shard, slot);
      return;
    }
    shard.counts[slot] = count - 1;
    if (shard.places[slot] === UNKNOWN) return;
    if (!unlink(shard, slot, location)) forget(shard, slot, count);
    else if (count === 2) {
      const last = shard.places[slot]!;
      shard.places[slot] = shard.locations[last]!;
      freeNode(shard, last);
    }
  }

  /** Notes a key's locations in the tree, if those are all entries with the hash. */
  learn(hash: number, locations: readonly Location[]): void {
    const shard = this.#shardOf(hash);
    const slot = slotOf(shard, hash);
    const isWhole = shard.counts[slot] === locations.length;
    if (!isWhole || locations.length > VALUE_ENTRIES_MAX || shard.places[slot] !== UNKNOWN) return;
    if (locations.length === 1) {
      shard.places[slot] = locations[0]!;
      return;
    }
    let chain = UNKNOWN;
    for (const location of locations) chain = newNode(shard, location, chain);
    shard.places[slot] = chain;
  }

  #shardOf(hash: number): Shard {
    const shard = this.#shards[hash & (SHARDS - 1)];
    if (shard === undefined || shard.counts[slotOf(shard, hash)] === 0) {
      throw new RangeError("the value is in the table");
    }
    return shard;
  }
}

/** The hash's slot, or the free one where it would stand. */
function slotOf({ hashes, counts }: Shard, hash: number): number {
  const mask = hashes.length - 1;
  let slot = (hash >>> 8) & mask;
  while (counts[slot] !== 0 && hashes[slot] !== hash) slot = (slot + 1) & mask;
  return slot;
}

function newNode(shard: Shard, location: Location, next: number): number {
  let node = shard.free;
  if (node === UNKNOWN) {
    node = shard.nodes;
    shard.nodes += 1;
    if (node === shard.next.length) growNodes(shard);
  } else shard.free = shard.next[node]!;
  shard.locations[node] = location;
  shard.next[node] = next;
  return node;
}

function freeNode(shard: Shard, node: number): void {
  shard.next[node] = shard.free;
  shard.free = node;
}

function nodeOf(shard: Shard, first: number, location: Location): number {
  let node = first;
  while (node !== UNKNOWN && shard.locations[node] !== location) node = shard.next[node]!;
  return node;
}

/** Takes a location out of a slot's chain; false when it is not in it. */
function unlink(shard: Shard, slot: number, location: Location): boolean {
  let before = UNKNOWN;
  let node = shard.places[slot]!;
  while (node !== UNKNOWN && shard.locations[node] !== location) {
    before = node;
    node = shard.next[node]!;
  }
  if (node === UNKNOWN) return false;
  if (before === UNKNOWN) shard.places[slot] = shard.next[node]!;
  else shard.next[before] = shard.next[node]!;
  freeNode(shard, node);
  return true;
}

/** Where a slot's documents lie is not known any more; `count`: how many were. */
function forget(shard: Shard, slot: number, count: number): void {
  const place = shard.places[slot]!;
  shard.places[slot] = UNKNOWN;
  if (count === 1 || place === UNKNOWN) return;
  for (let node = place; node !== UNKNOWN; ) {
    const next = shard.next[node]!;
    freeNode(shard, node);
    node = next;
  }
}

function closeGap(shard: Shard, start: number): void {
  const { hashes, counts, places } = shard;
  const mask = hashes.length - 1;
  let gap = start;
  for (let slot = (gap + 1) & mask; counts[slot] !== 0; slot = (slot + 1) & mask) {
    const home = (hashes[slot]! >>> 8) & mask;
    // An entry may fill the gap unless its home lies behind the gap.
    if (((slot - home) & mask) < ((slot - gap) & mask)) continue;
    hashes[gap] = hashes[slot]!;
    counts[gap] = counts[slot]!;
    places[gap] = places[slot]!;
    gap = slot;
  }
  counts[gap] = 0;
  shard.used -= 1;
}

function grow(shard: Shard): void {
  const { hashes, counts, places } = shard;
  shard.hashes = new Int32Array(hashes.length * 2);
  shard.counts = new Int32Array(hashes.length * 2);
  shard.places = new Float64Array(hashes.length * 2);
  for (let at = 0; at < hashes.length; at += 1) {
    if (counts[at] === 0) continue;
    const slot = slotOf(shard, hashes[at]!);
    shard.hashes[slot] = hashes[at]!;
    shard.counts[slot] = counts[at]!;
    shard.places[slot] = places[at]!;
  }
}

function growNodes(shard: Shard): void {
  const { locations, next } = shard;
  shard.locations = new Float64Array(locations.length * 2);
  shard.locations.set(locations);
  shard.next = new Int32Array(next.length * 2);
  shard.next.set(next);
}
