/**
 * Queries with and without indexes against a list that is filtered and sorted, while documents are
 * written, replaced, removed and taken back.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { compareValues, type Fields, type Value } from "../../src/base/value.ts";
import { CollectionStore, type Undo } from "../../src/database/collection/collection_store.ts";
import { QueryRun, type QuerySpec } from "../../src/database/collection/query_run.ts";
import type { IndexDefinition } from "../../src/protocol/encoding/catalog_command.ts";
import { decodeCbor, encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import { type DocumentId, encodeKey } from "../../src/protocol/encoding/document_key.ts";
import { compileFilter, type Filter } from "../../src/query/matcher.ts";
import { compareBy } from "../../src/query/sort.ts";
import { scalars } from "../query/values.ts";

const IDS: readonly DocumentId[] = ["", "a", "a.b", "__proto__", "constructor", 0, 1, -1.5, "1"];

/** A store with its model. */
class Subject {
  readonly store = new CollectionStore("c", 7);
  readonly model = new Map<DocumentId, Fields>();
  sequence = 0;

  /** Whether it was written: an index may refuse it. */
  put(id: DocumentId, fields: Fields): boolean {
    const document = { ...fields, id };
    const key = encodeKey(id);
    const encoded = encodeCbor(document);
    const bytes = new Uint8Array([...key, ...encoded]);
    const source = { bytes, start: 0, keyEnd: key.byteLength, end: bytes.byteLength };
    if (this.store.indexProblem(source) !== undefined) return false;
    this.sequence += 1;
    this.store.put(this.#place(key), source, this.sequence);
    this.model.set(id, decodeCbor(encoded) as Fields);
    return true;
  }

  remove(id: DocumentId): void {
    const { hash, before } = this.#place(encodeKey(id));
    if (before === -1) return;
    this.sequence += 1;
    this.store.remove(hash, before, this.sequence);
    this.model.delete(id);
  }

  /** Writes and takes it back at once. */
  putAndUndo(id: DocumentId, fields: Fields): void {
    const kept = this.model.get(id);
    const key = encodeKey(id);
    const encoded = encodeCbor({ ...fields, id });
    const bytes = new Uint8Array([...key, ...encoded]);
    const source = { bytes, start: 0, keyEnd: key.byteLength, end: bytes.byteLength };
    if (this.store.indexProblem(source) !== undefined) return;
    this.sequence += 1;
    const undo: Undo = this.store.put(this.#place(key), source, this.sequence);
    this.store.undo(undo);
    if (kept === undefined) this.model.delete(id);
  }

  addIndex(definition: IndexDefinition): void {
    this.store.addIndex(definition, this.sequence);
    this.store.indexes.settle(definition.name, { isOfState: true });
  }

  run(spec: QuerySpec): Fields[] {
    const run = new QueryRun(this.store, spec, this.sequence);
    const found: Fields[] = [];
    for (const one of run.documents()) {
      if (one !== undefined) found.push(decodeCbor(one.document) as Fields);
    }
    run.end();
    return found;
  }

  /** What a list would give; undefined where the order of some is free. */
  expected({ filter, sort = {}, skip = 0, limit = 0 }: QuerySpec): Fields[] {
    const all = [...this.model.values()].filter(compileFilter(filter)).sort(compareBy(sort));
    return all.slice(skip, limit === 0 ? undefined : skip + limit);
  }

  #place(key: Uint8Array): { hash: number; before: number } {
    const range = { start: 0, end: key.byteLength };
    const hash = this.store.hash(key, range);
    return { hash, before: this.store.find(hash, key, range) };
  }
}

function byId(documents: readonly Fields[]): Fields[] {
  return [...documents].sort((a, b) => compareValues(a["id"], b["id"]));
}

function index(
  name: string,
  paths: readonly string[],
  more: Partial<IndexDefinition> = {},
): IndexDefinition {
  const parts = paths.map((path) =>
    path.startsWith("-")
      ? ({ path: path.slice(1), order: -1 } as const)
      : ({ path, order: 1 } as const),
  );
  const none = { isUnique: false, isSparse: false, ignoresCase: false, expiresAfterMs: 0 };
  return { name, paths: parts, ...none, ...more };
}

const DEFINITIONS: readonly IndexDefinition[] = [
  index("a", ["a"]),
  index("down", ["-a"]),
  index("both", ["a", "-b"]),
  index("nested", ["b.c"]),
  index("sparse", ["b"], { isSparse: true }),
  index("unique", ["c"], { isUnique: true, isSparse: true }),
  index("folded", ["a"], { ignoresCase: true }),
];

const value = fc.oneof(
  { weight: 4, arbitrary: scalars },
  { weight: 1, arbitrary: fc.array(scalars, { maxLength: 3 }) as fc.Arbitrary<Value> },
  {
    weight: 1,
    arbitrary: fc.record({ c: scalars }, { noNullPrototype: true }) as fc.Arbitrary<Value>,
  },
);
const fields = fc.record(
  { a: value, b: value, c: scalars },
  { requiredKeys: [], noNullPrototype: true },
) as fc.Arbitrary<Fields>;
const path = fc.constantFrom("a", "b", "b.c", "c", "id");
const bound = fc.constantFrom("$gt", "$gte", "$lt", "$lte", "$eq", "$ne");
const condition: fc.Arbitrary<Filter> = fc.oneof(
  fc.tuple(path, scalars).map(([name, operand]) => ({ [name]: operand })),
  fc.tuple(path, bound, scalars).map(([name, op, operand]) => ({ [name]: { [op]: operand } })),
  fc
    .tuple(path, bound, scalars, bound, scalars)
    .map(([name, op, x, other, y]) => ({ [name]: { [op]: x, [other]: y } })),
  fc
    .tuple(path, fc.array(scalars, { maxLength: 3 }))
    .map(([name, list]) => ({ [name]: { $in: list } })),
);
const filter: fc.Arbitrary<Filter> = fc.oneof(
  fc.constant({}),
  condition,
  fc.tuple(condition, condition).map(([one, two]) => ({ $and: [one, two] })),
  fc.tuple(condition, condition).map(([one, two]) => ({ $or: [one, two] })),
);
const direction = fc.constantFrom(1 as const, -1 as const);
const sort = fc.oneof(
  fc.constant({}),
  fc.tuple(fc.constantFrom("a", "b", "c", "id"), direction).map(([name, d]) => ({ [name]: d })),
  fc.tuple(direction, direction).map(([x, y]) => ({ a: x, b: y })),
);

type Step =
  | { readonly do: "put" | "undo"; readonly id: DocumentId; readonly fields: Fields }
  | { readonly do: "remove"; readonly id: DocumentId }
  | { readonly do: "index"; readonly definition: IndexDefinition }
  | { readonly do: "query"; readonly spec: QuerySpec };

const id = fc.constantFrom(...IDS);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant("put" as const), id, fields }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("undo" as const), id, fields }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("remove" as const), id }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("index" as const),
      definition: fc.constantFrom(...DEFINITIONS),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("query" as const),
      spec: fc.record({
        filter,
        sort,
        skip: fc.nat(2),
        limit: fc.nat(3),
      }) as fc.Arbitrary<QuerySpec>,
    }),
  },
);

function check(subject: Subject, spec: QuerySpec): void {
  const found = subject.run(spec);
  const sorted = compareBy(spec.sort ?? {});
  for (let i = 1; i < found.length; i += 1) {
    expect(sorted(found[i - 1]!, found[i]!)).toBeLessThanOrEqual(0);
  }
  const all = subject.expected({ filter: spec.filter });
  const unbounded = subject.run({ filter: spec.filter, sort: spec.sort ?? {} });
  expect(byId(unbounded)).toEqual(byId(all));
  const now = new QueryRun(subject.store, spec, "now").now();
  if (now !== undefined) expect(now.map(({ document }) => document)).toEqual(found);
  // Which of equal documents come first is free, but not what they are sorted by.
  const expected = subject.expected(spec);
  expect(found.length).toBe(expected.length);
  for (const [at, document] of found.entries()) {
    if (Object.keys(spec.sort ?? {}).length > 0) expect(sorted(document, expected[at]!)).toBe(0);
    expect(all).toContainEqual(document);
  }
}

/** Each index holds what one over the same documents would that was made now. */
function checkRebuilt(subject: Subject): void {
  for (const one of subject.store.indexes.all()) {
    const again = new Subject();
    for (const [key, document] of subject.model) again.put(key, document);
    again.addIndex(one.definition);
    const rebuilt = again.store.indexes.get(one.definition.name);
    expect([...one.snapshot().keys()]).toEqual([...(rebuilt?.snapshot().keys() ?? [])]);
    expect(one.hasDuplicates).toBe(false);
  }
}

describe("queries", () => {
  test("give what a list gives, whatever the indexes, and these equal a rebuild", () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 40 }), (steps) => {
        const subject = new Subject();
        for (const one of steps) {
          switch (one.do) {
            case "put":
              subject.put(one.id, one.fields);
              break;
            case "undo":
              subject.putAndUndo(one.id, one.fields);
              break;
            case "remove":
              subject.remove(one.id);
              break;
            case "query":
              check(subject, one.spec);
              break;
            case "index":
              if (subject.store.indexes.get(one.definition.name) === undefined) {
                subject.addIndex(one.definition);
              }
          }
        }
        checkRebuilt(subject);
      }),
      { numRuns: 1500 },
    );
  }, 300_000);

  test("a unique index: the second of two equal values is refused, another document's not", () => {
    const subject = new Subject();
    subject.addIndex(index("u", ["a"], { isUnique: true }));
    expect(subject.put("x", { a: 1 })).toBe(true);
    expect(subject.put("y", { a: 1 })).toBe(false);
    expect(subject.put("x", { a: 1, b: 2 })).toBe(true);
    expect(subject.put("y", { a: [2, 3] })).toBe(true);
    expect(subject.put("z", { a: [3] })).toBe(false);
    subject.remove("x");
    expect(subject.put("z", { a: 1 })).toBe(true);
  });

  test("a unique index over documents that are not is refused, and gone", () => {
    const subject = new Subject();
    subject.put("x", { a: 1 });
    subject.put("y", { a: 1 });
    subject.store.addIndex(index("u", ["a"], { isUnique: true }), subject.sequence);
    expect(subject.store.indexes.settle("u", { isOfState: true })?.code).toBe("DUPLICATE_KEY");
    expect(subject.store.indexes.count).toBe(0);
    expect(subject.put("z", { a: 1 })).toBe(true);
  });

  test("writes while an index is made are in it", () => {
    const subject = new Subject();
    for (let i = 0; i < 2000; i += 1) subject.put(i, { a: i % 7 });
    subject.store.addIndex(index("i", ["a"]), subject.sequence);
    for (let i = 0; i < 2000; i += 3) {
      if (i % 2 === 0) subject.put(i, { a: 100 });
      else subject.remove(i);
      if (i % 300 === 0) subject.store.indexes.buildStep(100);
    }
    subject.store.indexes.settle("i", { isOfState: true });
    checkRebuilt(subject);
    expect(subject.run({ filter: { a: 100 } }).length).toBe(334);
  });

  test("a query shows one moment, whatever is written between its slices", () => {
    const subject = new Subject();
    subject.addIndex(index("a", ["a"]));
    for (let i = 0; i < 5000; i += 1) subject.put(i, { a: i, pad: "x".repeat(50) });
    for (const spec of [
      { filter: {} },
      { filter: { a: { $gte: 0 } } },
      { filter: {}, sort: { a: -1 } as const },
    ]) {
      const before = byId(subject.expected({ filter: spec.filter }));
      const run = new QueryRun(subject.store, spec, subject.sequence);
      const found: Fields[] = [];
      let slices = 0;
      for (const one of run.documents()) {
        if (one !== undefined) {
          found.push(decodeCbor(one.document) as Fields);
          continue;
        }
        slices += 1;
        for (let i = 0; i < 500; i += 1) subject.put((slices * 911 + i) % 6000, { a: -1 - i });
        subject.remove(slices);
        subject.store.compactStep();
      }
      run.end();
      expect(slices).toBeGreaterThan(1);
      expect(byId(found)).toEqual(before);
    }
  });
});

describe("plans", () => {
  const subject = new Subject();
  for (const definition of DEFINITIONS) subject.addIndex(definition);
  subject.addIndex(index("three", ["x", "y", "z"]));
  const plans: readonly [QuerySpec, string, boolean][] = [
    [{ filter: {} }, "scan", false],
    [{ filter: { id: 1 } }, "ids", false],
    [{ filter: { id: { $in: [1, "a"] } }, sort: { a: 1 } }, "ids", true],
    [{ filter: { c: 1 } }, "unique", false],
    [{ filter: { a: 1, b: { $gt: 2 } } }, "both", false],
    [{ filter: { a: 1 }, sort: { b: -1 } }, "both", false],
    [{ filter: { a: 1 }, sort: { b: 1 } }, "both", false],
    [{ filter: { a: { $gt: 1 } }, sort: { a: 1 } }, "a", false],
    [{ filter: {}, sort: { a: 1, b: -1 } }, "both", false],
    [{ filter: {}, sort: { a: -1, b: 1 } }, "both", false],
    [{ filter: {}, sort: { a: 1, b: 1 } }, "scan", true],
    [{ filter: { x: 1, y: { $in: [1, 2] }, z: { $lt: 5 } } }, "three", false],
    [{ filter: { b: null } }, "scan", false],
    [{ filter: { $or: [{ a: 1 }, { b: 1 }] } }, "scan", false],
    [{ filter: { a: { b: 1 } } }, "scan", false],
    [{ filter: { "b.c": [1] } }, "scan", false],
    [{ filter: { c: 1 }, hint: "a" }, "a", false],
  ];
  for (const [spec, expected, sorts] of plans) {
    test(JSON.stringify(spec), () => {
      const run = new QueryRun(subject.store, spec, subject.sequence);
      const { plan, index: name, sorts: isSorting } = run.explain();
      run.end();
      expect({ is: name === "" ? plan : name, sorts: isSorting }).toEqual({ is: expected, sorts });
    });
  }

  test("a hint that names no index is refused", () => {
    const make = () => new QueryRun(subject.store, { filter: {}, hint: "nothing" }, 0);
    expect(make).toThrow(/nothing/);
  });
});
