/**
 * Key index, slabs and their collection against a Map, with undo, compaction and frozen moments.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { SLAB_SIZE } from "../../../src/base/limits.ts";
import { CollectionStore, type Undo } from "../../../src/database/collection/collection_store.ts";
import { DocumentSlabs, type FrozenSlabs } from "../../../src/database/collection/document_slab.ts";
import { KeyIndex } from "../../../src/database/collection/key_index.ts";
import type { SeededRandom } from "../../../src/platform/random.ts";
import { decodeKey, encodeKey } from "../../../src/protocol/encoding/document_key.ts";
import { fuzzRandom, rounds, seeded } from "../../protocol/fuzz_seed.ts";

interface Stored {
  readonly version: number;
  readonly size: number;
}

/** One frozen moment and what it must show. */
interface Moment {
  readonly frozen: FrozenSlabs;
  readonly expected: ReadonlyMap<string | number, Stored>;
}

/** A document whose bytes follow from its version, so that every mix-up shows. */
function documentOf({ version, size }: Stored): Uint8Array {
  return new Uint8Array(size).fill(version % 251);
}

/** The store, and beside it a Map that does the same. */
class Pair {
  readonly store: CollectionStore;
  readonly model = new Map<string | number, Stored>();
  readonly moments: Moment[] = [];
  sequence = 0;

  constructor(seed = 1) {
    this.store = new CollectionStore("c", seed);
  }

  put(id: string | number, size: number): Undo {
    const key = encodeKey(id);
    this.sequence += 1;
    const stored = { version: this.sequence, size };
    const bytes = new Uint8Array([...key, ...documentOf(stored)]);
    const range = { start: 0, end: key.byteLength };
    const hash = this.store.hash(key, range);
    const before = this.store.find(hash, key, range);
    this.model.set(id, stored);
    const source = { bytes, start: 0, keyEnd: key.byteLength, end: bytes.byteLength };
    return this.store.put({ hash, before }, source, this.sequence);
  }

  remove(id: string | number): Undo {
    const key = encodeKey(id);
    const range = { start: 0, end: key.byteLength };
    this.sequence += 1;
    const hash = this.store.hash(key, range);
    this.model.delete(id);
    return this.store.remove(hash, this.store.find(hash, key, range), this.sequence);
  }

  /** Some changes that are taken back again; the model goes back too. */
  refused(changes: () => readonly Undo[]): void {
    const before = new Map(this.model);
    for (const change of changes().toReversed()) this.store.undo(change);
    this.model.clear();
    for (const [id, stored] of before) this.model.set(id, stored);
  }

  freeze(): void {
    this.moments.push({
      frozen: this.store.freeze(this.sequence),
      expected: new Map(this.model),
    });
  }

  thaw(): void {
    const moment = this.moments.shift();
    if (moment === undefined) return;
    this.expectMoment(moment);
    this.store.thaw(moment.frozen);
  }

  expectMoment({ frozen, expected }: Moment): void {
    const seen = new Map<string | number, Stored>();
    let count = 0;
    for (const { key, document, version } of this.store.frozenRecords(frozen)) {
      const stored = { version, size: document.byteLength };
      seen.set(decodeKey(key), stored);
      expect(Buffer.compare(document, documentOf(stored))).toBe(0);
      count += 1;
    }
    expect(count).toBe(expected.size);
    expect(seen).toEqual(new Map(expected));
  }

  expectSame(ids: Iterable<string | number>): void {
    expect(this.store.count).toBe(this.model.size);
    for (const id of ids) {
      const key = encodeKey(id);
      const range = { start: 0, end: key.byteLength };
      const location = this.store.find(this.store.hash(key, range), key, range);
      const stored = this.model.get(id);
      expect(this.store.version(location)).toBe(stored?.version ?? 0);
      if (stored === undefined) continue;
      expect(Buffer.compare(this.store.document(location), documentOf(stored))).toBe(0);
    }
  }
}

const STRANGE = ["__proto__", "", ".", "a.b", "..", "constructor", "\0", "\ufeff", 0, 1, "1", -1.5];
const IDS = [...STRANGE, ...Array.from({ length: 300 }, (_, i) => `id${i}`)];

function step(pair: Pair, random: SeededRandom): void {
  const id = IDS[random.below(IDS.length)]!;
  const size = [1, 10, 100, 1_000, 5_000][random.below(5)]!;
  switch (random.below(12)) {
    case 0:
    case 1:
    case 2:
      if (pair.model.has(id)) pair.remove(id);
      return;
    case 3:
      pair.refused(() =>
        Array.from({ length: 1 + random.below(6) }, () => {
          const other = IDS[random.below(20)]!;
          const removes = pair.model.has(other) && random.chance(0.5);
          return removes ? pair.remove(other) : pair.put(other, size);
        }),
      );
      return;
    case 4:
      if (pair.moments.length < 3 && random.chance(0.2)) pair.freeze();
      return;
    case 5:
      if (random.chance(0.2)) pair.thaw();
      return;
    default:
      pair.put(id, size);
  }
}

describe("collection", () => {
  // Mutations that this finds: an undo in the wrong order, a gap that is not closed, a version of a
  // removed record, compaction that ignores a frozen moment.
  test(seeded("collection: behaves like a Map, also when taken back, compacted and frozen"), () => {
    const random = fuzzRandom();
    for (let run = 0; run < rounds(6); run += 1) {
      const pair = new Pair(random.u32());
      for (let steps = 0; steps < 4_000; steps += 1) {
        step(pair, random);
        pair.store.compactStep();
        if (steps % 500 === 0) pair.expectSame(IDS);
        if (steps % 500 === 250) for (const moment of pair.moments) pair.expectMoment(moment);
      }
      while (pair.moments.length > 0) pair.thaw();
      pair.expectSame(IDS);
      pair.freeze();
      pair.thaw();
    }
  });

  // The records that compaction had moved stayed alive in their old slab: a snapshot that began
  // then held them twice, and the next compaction moved them again and failed.
  test("collection: a freeze in the middle of a compaction shows each document once", () => {
    for (const steps of [1, 2, 5, 20, 40]) {
      const pair = new Pair();
      for (let i = 0; i < 600; i += 1) pair.put(`id${i}`, 10_000);
      for (let i = 0; i < 600; i += 1) if (i % 3 !== 0) pair.remove(`id${i}`);
      for (let i = 0; i < steps; i += 1) pair.store.compactStep();
      pair.freeze();
      for (let i = 0; i < 600; i += 6) pair.put(`id${i}`, 20);
      pair.store.compactStep();
      pair.thaw();
      for (let i = 0; i < 300; i += 1) {
        pair.put("more", 10_000);
        pair.store.compactStep();
      }
      pair.expectSame(Array.from({ length: 600 }, (_, i) => `id${i}`));
      pair.freeze();
      pair.thaw();
    }
  });

  // A fixed step a batch cannot keep up with batches larger than the step: memory grew for ever.
  test.each([1, 50, 400])("collection: %i overwrites a step keep memory bounded", (perStep) => {
    const pair = new Pair();
    for (let i = 0; i < 200; i += 1) pair.put(`id${i}`, 10_000);
    for (let written = 0; written < 10_000; written += perStep) {
      for (let i = 0; i < perStep; i += 1) pair.put(`id${(written + i * 7) % 200}`, 10_000);
      pair.store.compactStep();
    }
    expect(pair.store.bytes).toBeLessThan(2 * 200 * 10_000 + 5 * SLAB_SIZE);
    pair.expectSame(Array.from({ length: 200 }, (_, i) => `id${i}`));
  });

  test("collection: what was removed gives its memory back", () => {
    const pair = new Pair();
    for (let i = 0; i < 3_000; i += 1) pair.put(`id${i}`, 10_000);
    for (let i = 0; i < 3_000; i += 1) {
      pair.remove(`id${i}`);
      pair.store.compactStep();
    }
    expect(pair.store.count).toBe(0);
    expect(pair.store.bytes).toBeLessThan(2 * SLAB_SIZE);
  });

  test("collection: while a moment is frozen nothing moves, afterwards it does", () => {
    const pair = new Pair();
    for (let i = 0; i < 1_000; i += 1) pair.put(`id${i}`, 10_000);
    pair.freeze();
    pair.freeze();
    for (let i = 0; i < 1_000; i += 1) pair.remove(`id${i}`);
    const { bytes } = pair.store;
    for (let i = 0; i < 1_000; i += 1) pair.store.compactStep();
    expect(pair.store.bytes).toBe(bytes);
    pair.thaw();
    for (let i = 0; i < 1_000; i += 1) pair.store.compactStep();
    expect(pair.store.bytes).toBe(bytes);
    pair.thaw();
    for (let i = 0; i < 1_000; i += 1) pair.store.compactStep();
    expect(pair.store.bytes).toBeLessThan(2 * SLAB_SIZE);
  });

  // Moments that follow each other without a gap held compaction back for ever.
  test("collection: overlapping moments keep memory bounded, and each shows what was there", () => {
    const pair = new Pair();
    for (let i = 0; i < 200; i += 1) pair.put(`id${i}`, 10_000);
    pair.freeze();
    let most = 0;
    for (let written = 0; written < 20_000; written += 1) {
      pair.put(`id${(written * 7) % 200}`, 10_000);
      pair.store.compactStep();
      if (written % 100 !== 0) continue;
      pair.freeze();
      pair.thaw();
      most = Math.max(most, pair.store.bytes);
    }
    expect(most).toBeLessThan(4 * 200 * 10_000 + 6 * SLAB_SIZE);
    pair.thaw();
    pair.expectSame(Array.from({ length: 200 }, (_, i) => `id${i}`));
  });

  test("collection: the largest document with the largest key has room", () => {
    const pair = new Pair();
    for (let i = 0; i < 9; i += 1) pair.put(`${"k".repeat(1_022)}${i}`, 1024 * 1024);
    pair.expectSame([...pair.model.keys()]);
  });
});

describe("key index", () => {
  /** Keys whose whole hash is the same, found by trying. */
  function colliding(index: KeyIndex): readonly Uint8Array[] {
    const seen = new Map<number, Uint8Array>();
    const found: Uint8Array[] = [];
    for (let i = 0; found.length < 6; i += 1) {
      const key = encodeKey(`key${i}`);
      const hash = index.hash(key, { start: 0, end: key.byteLength });
      const other = seen.get(hash);
      if (other !== undefined) found.push(other, key);
      seen.set(hash, key);
    }
    return found;
  }

  // Mutation that this finds: `find` that trusts the hash and does not compare the key.
  test("index: keys with one hash are told apart", () => {
    const slabs = new DocumentSlabs();
    const index = new KeyIndex(slabs, 77);
    const keys = colliding(index);
    const places = keys.map((key, i) => {
      const range = { start: 0, end: key.byteLength };
      const hash = index.hash(key, range);
      expect(index.find(hash, key, range)).toBe(-1);
      const place = slabs.append(key, { start: 0, keySize: range.end, end: range.end }, i + 1);
      index.insert(hash, place);
      return { key, range, hash, place };
    });
    for (const { key, range, hash, place } of places) {
      expect(index.find(hash, key, range)).toBe(place);
    }
    const [first] = places;
    index.remove(first!.hash, first!.place);
    expect(index.find(first!.hash, first!.key, first!.range)).toBe(-1);
    for (const { key, range, hash, place } of places.slice(1)) {
      expect(index.find(hash, key, range)).toBe(place);
    }
  });

  // Removal closes the gap behind it, also around the end of the table.
  test(seeded("index: runs of neighbours survive any order of removal"), () => {
    const random = fuzzRandom();
    for (let run = 0; run < rounds(300); run += 1) {
      const slabs = new DocumentSlabs();
      const index = new KeyIndex(slabs, 1);
      const key = Uint8Array.of(3, 0x61);
      const range = { start: 0, end: 2 };
      const alive = new Map<number, number>();
      for (let steps = 0; steps < 60; steps += 1) {
        // One shard, few homes, near the end of the table.
        const hash = ((5 + random.below(4)) << 8) | (random.below(1_000) << 16);
        const place = alive.get(hash);
        if (place === undefined) {
          const at = slabs.append(key, { start: 0, keySize: 2, end: 2 }, steps + 1);
          index.insert(hash, at);
          alive.set(hash, at);
        } else {
          index.remove(hash, place);
          alive.delete(hash);
        }
        if (random.chance(0.4) && alive.size > 0) {
          const [gone, at] = [...alive][random.below(alive.size)]!;
          index.remove(gone, at);
          alive.delete(gone);
        }
        expect(index.size).toBe(alive.size);
        for (const [other, at] of alive) expect(index.find(other, key, range)).toBe(at);
      }
    }
  });

  test("index: another seed puts keys elsewhere", () => {
    const key = encodeKey("a");
    const range = { start: 0, end: key.byteLength };
    const hashes = [1, 2, 3].map((seed) =>
      new KeyIndex(new DocumentSlabs(), seed).hash(key, range),
    );
    expect(new Set(hashes).size).toBe(3);
  });
});
