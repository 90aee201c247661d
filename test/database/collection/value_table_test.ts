/**
 * The table of an index's values against a naive model, and searches by it where hashes collide.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { CollectionStore, type Undo } from "../../../src/database/collection/collection_store.ts";
import type { Location } from "../../../src/database/collection/document_slab.ts";
import { lookUp } from "../../../src/database/collection/value_lookup.ts";
import { VALUE_ENTRIES_MAX, ValueTable } from "../../../src/database/collection/value_table.ts";
import { encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import { encodeKey } from "../../../src/protocol/encoding/document_key.ts";
import { fuzz, fuzzRandom, rounds } from "../../protocol/fuzz_seed.ts";

function found(table: ValueTable, hash: number): Location[] | undefined {
  const locations: Location[] = [];
  const isKnown = table.visit(hash, (location) => {
    locations.push(location);
    return false;
  });
  return isKnown ? locations.sort((a, b) => a - b) : undefined;
}

// Few hashes, all in two shards, and neighbours in their slots.
const HASHES = [0, 256, 512, 0x4000, 0x8000, 1, 257, -256, -512];
const STEP = fc.record({
  what: fc.constantFrom("add", "add", "add", "move", "moveBlindly", "remove", "learn", "learnPart"),
  which: fc.nat(HASHES.length - 1),
  pick: fc.nat(),
});

test("table: what it knows is what the model has; it gives up only where it may", () => {
  fc.assert(
    fc.property(fc.array(STEP, { minLength: 200, maxLength: 400 }), (steps) => {
      const table = new ValueTable(7);
      const model = new Map(HASHES.map((hash) => [hash, [] as Location[]]));
      const lost = new Set<number>();
      let fresh = 0;
      for (const { what, which, pick } of steps) {
        const hash = HASHES[which]!;
        const entries = model.get(hash)!;
        const at = pick % Math.max(1, entries.length);
        fresh += 1;
        if (what === "add") {
          entries.push(fresh);
          table.add(hash, fresh);
          if (entries.length > VALUE_ENTRIES_MAX) lost.add(hash);
        } else if (entries.length === 0) continue;
        else if (what === "remove") {
          table.remove(hash, entries[at]!);
          entries.splice(at, 1);
          if (entries.length === 0) lost.delete(hash);
        } else if (what === "learn") {
          table.learn(hash, entries);
          if (entries.length <= VALUE_ENTRIES_MAX) lost.delete(hash);
        } else if (what === "learnPart") {
          // The rest belongs to another key with the hash.
          table.learn(hash, entries.slice(1));
        } else {
          table.move(hash, what === "move" ? entries[at] : undefined, fresh);
          entries[at] = fresh;
          if (entries.length === 1) lost.delete(hash);
          else if (what === "moveBlindly") lost.add(hash);
        }
        for (const [one, locations] of model) {
          expect(table.count(one)).toBe(locations.length);
          const expected = lost.has(one) ? undefined : locations.toSorted((a, b) => a - b);
          expect(found(table, one)).toEqual(expected);
        }
      }
    }),
    fuzz(60),
  );
});

test("table: thousands of values, added, moved and removed again", () => {
  const table = new ValueTable(3);
  const hashes = Array.from({ length: 20_000 }, (_, i) => table.hash(`value ${i >> 1}`));
  for (const [i, hash] of hashes.entries()) table.add(hash, i);
  for (const [i, hash] of hashes.entries()) if (i % 3 === 0) table.move(hash, i, 100_000 + i);
  const at = (i: number): number => (i % 3 === 0 ? 100_000 + i : i);
  for (let i = 0; i < hashes.length; i += 2) {
    expect(found(table, hashes[i]!)).toEqual([at(i), at(i + 1)].sort((a, b) => a - b));
  }
  for (const [i, hash] of hashes.entries()) table.remove(hash, at(i));
  expect(hashes.every((hash) => table.count(hash) === 0)).toBe(true);
});

describe("lookUp", () => {
  const SEED = 5;
  const definition = {
    ...{ name: "v", paths: [{ path: "v", order: 1 as const }] },
    ...{ isUnique: false, isSparse: false, ignoresCase: false, expiresAfterMs: 0 },
  };
  let sequence = 0;

  function filled(documents: readonly { id: string; v: unknown }[]): CollectionStore {
    const store = new CollectionStore("c", SEED);
    store.indexes.restore(definition, true);
    for (const document of documents) put(store, document);
    return store;
  }

  function drop(store: CollectionStore, id: string): Undo {
    const key = encodeKey(id);
    const location = store.locate(key);
    sequence += 1;
    return store.remove(store.hash(key, { start: 0, end: key.byteLength }), location, sequence);
  }

  function put(store: CollectionStore, document: { id: string; v: unknown; pad?: string }): Undo {
    const key = encodeKey(document.id);
    const encoded = encodeCbor(document);
    const bytes = new Uint8Array([...key, ...encoded]);
    const hash = store.hash(key, { start: 0, end: key.byteLength });
    sequence += 1;
    const source = { bytes, start: 0, keyEnd: key.byteLength, end: bytes.byteLength };
    return store.put({ hash, before: store.locate(key) }, source, sequence);
  }

  function ids(store: CollectionStore, v: unknown, limit = 0): string[] | undefined {
    const list = lookUp(store, { filter: { v } as never, idField: "id", limit });
    return list?.map(({ document }) => (document as { id: string }).id).sort();
  }

  test("what is written, removed, taken back and moved by compaction is found by its value", () => {
    const random = fuzzRandom();
    for (let round = 0; round < rounds(4); round += 1) {
      const store = filled([]);
      const model = new Map<string, number>();
      const pad = "x".repeat(20_000);
      for (let step = 0; step < 1500; step += 1) {
        const id = `d${random.below(60)}`;
        const v = random.below(random.below(2) === 0 ? 3 : 40);
        const isGone = random.below(4) === 0 && model.has(id);
        const change = isGone ? drop(store, id) : put(store, { id, v, pad });
        if (random.below(5) === 0) store.undo(change);
        else if (isGone) model.delete(id);
        else model.set(id, v);
        store.compactStep();
        const sought = random.below(40);
        const expected = [...model].filter(([, value]) => value === sought).map(([name]) => name);
        expect(ids(store, sought)).toEqual(expected.sort());
        expect(ids(store, sought, 1)?.length).toBe(Math.min(1, expected.length));
      }
    }
  });

  test("two values with the same hash are told apart, alone and together", () => {
    const store = filled([]);
    const index = [...store.indexes.all()][0]!;
    const table = new ValueTable(SEED);
    const seen = new Map<number, number>();
    let pair: readonly [number, number] | undefined;
    for (let v = 0; pair === undefined; v += 1) {
      const hash = table.hash(index.keyOf(v, 1));
      const other = seen.get(hash);
      if (other !== undefined) pair = [other, v];
      seen.set(hash, v);
    }
    const [one, other] = pair;
    put(store, { id: "a", v: one });
    expect([ids(store, one), ids(store, other)]).toEqual([["a"], []]);
    put(store, { id: "b", v: other });
    expect([ids(store, one), ids(store, other)]).toEqual([["a"], ["b"]]);
    expect([ids(store, one, 1), ids(store, other, 1)]).toEqual([["a"], ["b"]]);
    expect(index.isTaken(index.keyOf(one, 1), "other")).toBe(true);
    put(store, { id: "a", v: other });
    expect([ids(store, one), ids(store, other)]).toEqual([[], ["a", "b"]]);
    expect(index.isTaken(index.keyOf(one, 1), "other")).toBe(false);
  });

  test("many documents with a value are found by the tree, and by the table when few are left", () => {
    const many = Array.from({ length: 40 }, (_, i) => ({ id: `d${i}`, v: "same" }));
    const store = filled(many);
    expect(ids(store, "same")?.length).toBe(40);
    expect(ids(store, "same", 3)?.length).toBe(3);
    for (let i = 5; i < 40; i += 1) put(store, { id: `d${i}`, v: `other ${i}` });
    const five = ["d0", "d1", "d2", "d3", "d4"];
    expect(ids(store, "same")).toEqual(five);
    // Known again by now: a change of one of them is seen.
    put(store, { id: "d2", v: "changed" });
    expect(ids(store, "same")).toEqual(["d0", "d1", "d3", "d4"]);
    expect(ids(store, "same", 1)?.length).toBe(1);
    expect(ids(store, "none")).toEqual([]);
    expect(ids(store, "changed")).toEqual(["d2"]);
  });
});
