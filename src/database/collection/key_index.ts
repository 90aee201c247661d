/**
 * From key bytes to a document's location: open addressing over typed arrays, in shards that grow
 * one by one, so that no insert waits for a large table to be built anew.
 *
 * @module
 */

import type { DocumentSlabs, Location } from "./document_slab.ts";

const SHARDS = 256;
const FIRST_CAPACITY = 8;
/** Most keys that {@link KeyIndex.lookAhead} takes. */
export const LOOK_AHEAD_MAX = 16;

/** Part of a buffer. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

class Shard {
  /** Hash of each slot; meaningful where a location stands. */
  hashes = new Int32Array(FIRST_CAPACITY);
  /** Location + 1; 0 = free. */
  places = new Float64Array(FIRST_CAPACITY);
  used = 0;
}

/** Index of one collection. */
export class KeyIndex {
  readonly #slabs: DocumentSlabs;
  readonly #seed: number;
  readonly #shards: (Shard | undefined)[] = new Array(SHARDS);
  readonly #ahead = new Float64Array(LOOK_AHEAD_MAX);
  #size = 0;

  /** The seed is secret to the process: a client cannot choose keys that collide. */
  constructor(slabs: DocumentSlabs, seed: number) {
    this.#slabs = slabs;
    this.#seed = seed;
  }

  get size(): number {
    return this.#size;
  }

  /** Hash of a key, to be given to the other calls. */
  hash(bytes: Uint8Array, range: ByteRange): number {
    let h = this.#seed;
    for (let i = range.start; i < range.end; i += 1) {
      h = Math.imul(h ^ bytes[i]!, 0x5bd1e995);
      h ^= h >>> 13;
    }
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    return h ^ (h >>> 15);
  }

  /** The key's location; -1 when it is not there. */
  find(hash: number, bytes: Uint8Array, range: ByteRange): Location {
    const shard = this.#shards[hash & (SHARDS - 1)];
    if (shard === undefined) return -1;
    const { hashes, places } = shard;
    const mask = hashes.length - 1;
    for (let slot = (hash >>> 8) & mask; places[slot] !== 0; slot = (slot + 1) & mask) {
      if (hashes[slot] !== hash) continue;
      const location = places[slot]! - 1;
      if (this.#slabs.keyEquals(location, bytes, range)) return location;
    }
    return -1;
  }

  /**
   * Reads the slots and records of many keys, so that their cache misses overlap: group prefetching
   * (Chen, Ailamaki, Gibbons, Mowry 2004, "Improving Hash Join Performance through Prefetching").
   */
  lookAhead(wanted: Int32Array, count: number): void {
    const ahead = this.#ahead;
    for (let i = 0; i < count; i += 1) {
      const hash = wanted[i]!;
      const shard = this.#shards[hash & (SHARDS - 1)];
      ahead[i] = -1;
      if (shard === undefined) continue;
      const slot = (hash >>> 8) & (shard.hashes.length - 1);
      if (shard.hashes[slot] === hash) ahead[i] = shard.places[slot]! - 1;
    }
    let touched = 0;
    for (let i = 0; i < count; i += 1) {
      const location = ahead[i]!;
      if (location >= 0) touched ^= this.#slabs.touch(location);
    }
    // Written, so that no compiler may leave the reads out.
    ahead[0] = touched;
  }

  /** Adds a key that is not there. */
  insert(hash: number, location: Location): void {
    const number = hash & (SHARDS - 1);
    this.#shards[number] ??= new Shard();
    const shard = this.#shards[number];
    if ((shard.used + 1) * 4 > shard.hashes.length * 3) grow(shard);
    place(shard, hash, location);
    shard.used += 1;
    this.#size += 1;
  }

  /** Points a key that is there to another location. */
  move(hash: number, from: Location, to: Location): void {
    const shard = this.#shardOf(hash);
    shard.places[slotOf(shard, hash, from)] = to + 1;
  }

  /** Takes a key out, closing the gap behind it. */
  remove(hash: number, location: Location): void {
    const shard = this.#shardOf(hash);
    const { hashes, places } = shard;
    const mask = hashes.length - 1;
    let gap = slotOf(shard, hash, location);
    let slot = (gap + 1) & mask;
    while (places[slot] !== 0) {
      const home = (hashes[slot]! >>> 8) & mask;
      // The entry may fill the gap unless its home lies behind the gap.
      if (((slot - home) & mask) >= ((slot - gap) & mask)) {
        hashes[gap] = hashes[slot]!;
        places[gap] = places[slot]!;
        gap = slot;
      }
      slot = (slot + 1) & mask;
    }
    places[gap] = 0;
    shard.used -= 1;
    this.#size -= 1;
  }

  #shardOf(hash: number): Shard {
    const shard = this.#shards[hash & (SHARDS - 1)];
    if (shard === undefined) throw new RangeError("the key is in the index");
    return shard;
  }
}

function slotOf(shard: Shard, hash: number, location: Location): number {
  const mask = shard.hashes.length - 1;
  let slot = (hash >>> 8) & mask;
  while (shard.places[slot] !== location + 1) {
    if (shard.places[slot] === 0) throw new RangeError("the location is in the index");
    slot = (slot + 1) & mask;
  }
  return slot;
}

function place(shard: Shard, hash: number, location: Location): void {
  const mask = shard.hashes.length - 1;
  let slot = (hash >>> 8) & mask;
  while (shard.places[slot] !== 0) slot = (slot + 1) & mask;
  shard.hashes[slot] = hash;
  shard.places[slot] = location + 1;
}

function grow(shard: Shard): void {
  const { hashes, places } = shard;
  shard.hashes = new Int32Array(hashes.length * 2);
  shard.places = new Float64Array(hashes.length * 2);
  for (let slot = 0; slot < hashes.length; slot += 1) {
    if (places[slot] !== 0) place(shard, hashes[slot]!, places[slot]! - 1);
  }
}
