/**
 * The index over the log against a naive model: an array of entries behind a base.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Entry } from "../../../src/raft/types.ts";
import { EMPTY_BASE, type LogBase, LogTable } from "../../../src/storage/wal/log_table.ts";

const CACHE_BYTES = 100;

/** The same thing, slowly. */
class Model {
  base: LogBase = EMPTY_BASE;
  entries: Entry[] = [];

  get last(): number {
    return this.base.index + this.entries.length;
  }

  after(index: number): number {
    const entry = this.entries.find((one) => one.index === index);
    return entry === undefined ? this.base.nextSequence : entry.firstSequence + entry.count;
  }

  append(entry: Entry): void {
    this.entries = [...this.entries.filter(({ index }) => index < entry.index), entry];
  }

  compactTo(base: LogBase): void {
    if (base.index < this.base.index) return;
    const end = this.entries.find(({ index }) => index === base.index);
    const continues =
      base.index === this.base.index ||
      (end?.term === base.term && end.firstSequence + end.count === base.nextSequence);
    this.entries = continues ? this.entries.filter(({ index }) => index > base.index) : [];
    this.base = base;
  }
}

function expectEqual(table: LogTable, model: Model): void {
  expect([table.firstIndex(), table.lastIndex()]).toEqual([model.base.index + 1, model.last]);
  expect(table.base).toEqual(model.base);
  expect(table.term(model.base.index)).toBe(model.base.term);
  expect(table.term(model.last + 1)).toBeUndefined();
  expect(table.sequenceAfter(model.base.index)).toBe(model.base.nextSequence);
  expect(table.oldestSegment()).toBe(model.entries[0]?.index);
  let cachedFrom = model.last + 1;
  for (const entry of model.entries) {
    const { index, term, firstSequence, count, bytes } = entry;
    expect([table.term(index), table.sequenceAfter(index)]).toEqual([term, firstSequence + count]);
    expect(table.position(index).size).toBe(bytes.byteLength);
    for (const sequence of [firstSequence, firstSequence + count - 1]) {
      expect(table.indexOfSequence(sequence)).toBe(index);
    }
    const cached = table.entries(index, model.last, 0);
    // The memory holds a suffix of the log.
    if (cached === undefined) expect(cachedFrom).toBe(model.last + 1);
    else {
      expect(cached).toEqual([entry]);
      cachedFrom = Math.min(cachedFrom, index);
    }
  }
  expect(table.indexOfSequence(model.after(model.last))).toBe(0);
  const cached = model.entries.filter(({ index }) => index >= cachedFrom);
  const size = cached.reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
  if (cached.length > 1) expect(size).toBeLessThanOrEqual(CACHE_BYTES);
  if (cached.length === 0) return;
  expect(table.entries(cachedFrom, model.last, Number.POSITIVE_INFINITY)).toEqual(cached);
}

// [skipped supersession] [cache without bound]
test("appends, supersessions, truncations and compactions leave what the model holds", () => {
  const step = fc.record({
    what: fc.constantFrom("append", "append", "append", "supersede", "truncate", "compact", "jump"),
    at: fc.nat(1_000),
    count: fc.integer({ min: 1, max: 5 }),
    size: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 50, max: 150 })),
  });
  const property = fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
    const table = new LogTable(CACHE_BYTES);
    const model = new Model();
    let term = 1;
    for (const { what, at, count, size } of steps) {
      const some = model.base.index + 1 + (at % (model.entries.length + 1));
      if (what === "append" || what === "supersede") {
        if (what === "supersede") term += 1;
        const index = what === "append" ? model.last + 1 : some;
        const firstSequence = model.after(index - 1);
        const bytes = new Uint8Array(size);
        const entry = { term, index, firstSequence, count, bytes };
        table.append(entry, { segmentNumber: index, at: 0, size });
        model.append(entry);
      } else if (what === "truncate" && some <= model.last) {
        table.truncateFrom(some);
        model.entries = model.entries.filter(({ index }) => index < some);
      } else if (what === "compact" || what === "jump") {
        const isJump = what === "jump";
        const index = isJump ? model.last + (at % 3) : some - 1;
        const entry = model.entries.find((one) => one.index === index);
        const known = { term: entry?.term ?? model.base.term, nextSequence: model.after(index) };
        const base = isJump
          ? { index, term: term + 1, nextSequence: 1_000 + at }
          : { index, ...known };
        if (base.index === model.base.index) continue;
        table.compactTo(base);
        model.compactTo(base);
      }
      expectEqual(table, model);
    }
  });
  fc.assert(property, { numRuns: 400, seed: 3 });
});

describe("entries", () => {
  const table = new LogTable(1_000);
  for (let index = 1; index <= 4; index += 1) {
    const bytes = new Uint8Array(100);
    const entry = { term: 1, index, firstSequence: index, count: 1, bytes };
    table.append(entry, { segmentNumber: 1, at: 0, size: 100 });
  }

  test.each([
    [1, 4, 1_000, [1, 2, 3, 4]],
    [2, 3, 1_000, [2, 3]],
    [1, 4, 250, [1, 2]],
    [1, 4, 0, [1]],
    [3, 4, 1, [3]],
    [5, 4, 100, []],
  ])("from %i to %i", (from, to, ...rest) => {
    const [bytesMax, expected] = rest;
    expect(table.entries(from, to, bytesMax)?.map(({ index }) => index)).toEqual(expected);
  });
});

describe("refuses", () => {
  const at = (index: number, firstSequence: number): Entry => {
    return { term: 1, index, firstSequence, count: 2, bytes: new Uint8Array(1) };
  };
  const place = { segmentNumber: 1, at: 0, size: 1 };
  const table = new LogTable(10);
  table.append(at(1, 1), place);

  test.each([
    ["a hole", at(3, 3)],
    ["sequence numbers that do not continue", at(2, 2)],
    ["sequence numbers that do not fit the superseded entry's", at(1, 2)],
  ])("%s", (_what, entry) => {
    expect(() => table.append(entry, place)).toThrow("entry");
  });
});

// Paper figure 13, step 7: the log is kept behind a snapshot only when it holds its last entry.
test("a head of another history drops what does not continue it", () => {
  const table = new LogTable(1_000);
  for (let index = 1; index <= 4; index += 1) {
    const entry = { term: 1, index, firstSequence: index, count: 1, bytes: new Uint8Array(1) };
    table.append(entry, { segmentNumber: 1, at: 0, size: 1 });
  }
  table.compactTo({ index: 2, term: 2, nextSequence: 3 });
  expect([table.firstIndex(), table.lastIndex(), table.term(2)]).toEqual([3, 2, 2]);
});
