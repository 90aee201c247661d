// What joining, meeting, stamps and resolvers must do whatever they are given.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Fields } from "../../src/base/value.ts";
import {
  type ConflictConfig,
  contentAfter,
  resolve,
} from "../../src/multi_master/conflict_resolver.ts";
import { addVersion } from "../../src/multi_master/document_versions.ts";
import { originOf } from "../../src/multi_master/dot.ts";
import { compareStamps, HybridClock } from "../../src/multi_master/hybrid_clock.ts";
import type { DocumentVersion } from "../../src/multi_master/operation.ts";
import {
  compareVectors,
  includes,
  join,
  meet,
  NOTHING_SEEN,
  type VersionVector,
} from "../../src/multi_master/version_vector.ts";

const vectors = fc
  .array(fc.tuple(fc.constantFrom("a", "b", "c"), fc.integer({ min: 1, max: 4 })))
  .map((entries): VersionVector => new Map(entries));

function isEqual(a: VersionVector, b: VersionVector): boolean {
  return compareVectors(a, b) === "equal";
}

test("version vector: join is the least that includes both, meet the greatest that both include", () => {
  fc.assert(
    fc.property(vectors, vectors, vectors, (a, b, c) => {
      const joined = join(a, b);
      expect(includes(joined, a) && includes(joined, b)).toBe(true);
      if (includes(c, a) && includes(c, b)) expect(includes(c, joined)).toBe(true);
      const met = meet(a, b);
      expect(includes(a, met) && includes(b, met)).toBe(true);
      if (includes(a, c) && includes(b, c)) expect(includes(met, c)).toBe(true);
      expect(isEqual(join(a, meet(a, b)), a)).toBe(true);
    }),
  );
  expect(isEqual(meet(), NOTHING_SEEN)).toBe(true);
});

test("version vector: what is after one way is before the other way", () => {
  const mirror = { equal: "equal", before: "after", after: "before", concurrent: "concurrent" };
  fc.assert(
    fc.property(vectors, vectors, (a, b) => {
      expect(compareVectors(b, a)).toBe(mirror[compareVectors(a, b)] as never);
    }),
  );
  const [left, right] = [new Map([["a", 1]]), new Map([["b", 1]])];
  expect(compareVectors(left, right)).toBe("concurrent");
});

test("hybrid clock: each stamp is above all that were given or seen, whatever the wall clock does", () => {
  const times = fc.array(
    fc.record({ wallMs: fc.nat(50), seenMs: fc.nat(60), count: fc.nat(0xffff) }),
  );
  fc.assert(
    fc.property(times, (steps) => {
      const clock = new HybridClock();
      for (const { wallMs, seenMs, count } of steps) {
        const seen = { wallMs: seenMs, count };
        clock.observe(seen);
        const before = clock.last;
        const next = clock.next(wallMs);
        expect(compareStamps(next, before)).toBeGreaterThan(0);
        expect(compareStamps(next, seen)).toBeGreaterThan(0);
        expect(next.wallMs >= wallMs && next.count <= 0xffff).toBe(true);
      }
    }),
  );
});

/** Writes of several nodes, each after those that stand in `after`, by their position. */
function versionsOf(
  config: ConflictConfig,
  writes: readonly { node: string; body: Fields | undefined; after?: readonly number[] }[],
): readonly DocumentVersion[] {
  const made: DocumentVersion[] = [];
  for (const [at, { node, body, after = [] }] of writes.entries()) {
    const known = after.map((i) => made[i]!);
    const before = known.reduce<readonly DocumentVersion[]>(addVersion, []);
    const dot = { origin: originOf(node, "1"), sequence: at + 1 };
    const stamp = { wallMs: at, count: 0 };
    const context = join(
      ...known.map(({ context: seen, dot: { origin, sequence } }) =>
        join(seen, new Map([[origin, sequence]])),
      ),
    );
    made.push({ dot, stamp, context, content: contentAfter(before, config, { dot, stamp, body }) });
  }
  return made;
}

function bodyAfter(
  config: ConflictConfig,
  writes: Parameters<typeof versionsOf>[1],
): Fields | undefined {
  const all = versionsOf(config, writes);
  return resolve(all.reduce<readonly DocumentVersion[]>(addVersion, []), config).body;
}

describe("conflict resolver", () => {
  const removedAndChanged = [
    { node: "n1", body: { x: 1 } },
    { node: "n1", body: undefined, after: [0] },
    { node: "n2", body: { x: 2 }, after: [0] },
  ];

  test("a document that is removed and written concurrently stays, or goes, as configured", () => {
    for (const strategy of ["last-write-wins", "field-merge"] as const) {
      expect(bodyAfter({ strategy }, removedAndChanged)).toEqual({ x: 2 });
      const removal = "remove-wins";
      expect(bodyAfter({ strategy, removal }, removedAndChanged)).toBeUndefined();
    }
  });

  test("fields: changes of different fields are both kept, a field that was left out goes", () => {
    const writes = [
      { node: "n1", body: { a: 1, b: 1, c: 1 } },
      { node: "n1", body: { a: 2, b: 1, c: 1 }, after: [0] },
      { node: "n2", body: { a: 1, b: 2 }, after: [0] },
    ];
    expect(bodyAfter({ strategy: "field-merge" }, writes)).toEqual({ a: 2, b: 2 });
  });

  test("a collection whose rule has changed shows what was written before", () => {
    const before = versionsOf({ strategy: "last-write-wins" }, [{ node: "n1", body: { a: 1 } }]);
    expect(resolve(before, { strategy: "field-merge" }).body).toEqual({ a: 1 });
    const after = versionsOf({ strategy: "field-merge" }, [{ node: "n1", body: { a: 1 } }]);
    expect(resolve(after, { strategy: "last-write-wins" }).body).toEqual({ a: 1 });
  });

  test("counter: one that was removed begins anew, and what another added meanwhile counts", () => {
    const writes = [
      { node: "n1", body: { c: 5 } },
      { node: "n1", body: undefined, after: [0] },
      { node: "n1", body: { c: 3 }, after: [1] },
      { node: "n2", body: { c: 6 }, after: [0] },
    ];
    expect(bodyAfter({ strategy: "counter" }, writes)).toEqual({ c: 4 });
  });

  test("set: one that lost its last element is an empty set", () => {
    const writes = [
      { node: "n1", body: { tags: ["b", "a", "b"] } },
      { node: "n2", body: { tags: [] }, after: [0] },
    ];
    expect(bodyAfter({ strategy: "set" }, writes.slice(0, 1))).toEqual({ tags: ["a", "b"] });
    expect(bodyAfter({ strategy: "set" }, writes)).toEqual({ tags: [] });
  });

  test("a field's name may be any text", () => {
    const body = JSON.parse('{"__proto__": 1, "": 2, "constructor": 3}') as Fields;
    const found = bodyAfter({ strategy: "field-merge" }, [{ node: "n1", body }]);
    expect(JSON.stringify(found)).toBe('{"":2,"__proto__":1,"constructor":3}');
  });

  test("custom: without a resolver that works the newest document is shown, and why", () => {
    const config: ConflictConfig = { strategy: "custom", resolver: "mine" };
    const versions = versionsOf(config, [
      { node: "n1", body: { x: 1 } },
      { node: "n2", body: { x: 2 } },
    ]);
    let calls = 0;
    const failing = () => {
      throw new TypeError("no");
    };
    const changing = () => {
      calls += 1;
      return { calls };
    };
    const nothing = () => undefined as unknown as Fields;
    const later = () => Promise.resolve({}) as unknown as Fields;
    const spoiling = (siblings: readonly { body: Fields }[]) => {
      for (const { body } of siblings) (body as { x: number }).x = 9;
      return siblings[0]!.body;
    };
    for (const [resolver, failure] of [
      [undefined, 'No resolver "mine" is known'],
      [failing, 'Resolver "mine" failed: TypeError: no'],
      [changing, 'Resolver "mine" gives two answers to one question'],
      [nothing, 'Resolver "mine" gives no document'],
      [later, 'Resolver "mine" gives no document'],
    ] as const) {
      const known = new Map(resolver === undefined ? [] : [["mine", resolver]]);
      expect(resolve(versions, config, known)).toMatchObject({ body: { x: 2 }, failure });
    }
    // It works on copies.
    expect(resolve(versions, config, new Map([["mine", spoiling]])).body).toEqual({ x: 9 });
    expect(resolve(versions, { strategy: "siblings" }).siblings.map(({ body }) => body)).toEqual([
      { x: 1 },
      { x: 2 },
    ]);
  });
});
