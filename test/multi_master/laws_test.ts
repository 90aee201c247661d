// What joining, meeting, stamps and resolvers must do whatever they are given.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { identical } from "../../src/base/identical.ts";
import type { Fields } from "../../src/base/value.ts";
import { isRemoved } from "../../src/multi_master/document/conflict_resolver.ts";
import { type ConflictConfig, removalOf } from "../../src/multi_master/operation/conflict_rule.ts";
import { compareStamps, HybridClock } from "../../src/multi_master/operation/hybrid_clock.ts";
import {
  includes,
  join,
  meet,
  NOTHING_SEEN,
  type VersionVector,
} from "../../src/multi_master/operation/version_vector.ts";
import { bodyAfter, resolvingOf, seenAfter } from "./history.ts";

const vectors = fc
  .array(fc.tuple(fc.constantFrom("a", "b", "c"), fc.integer({ min: 1, max: 4 })))
  .map((entries): VersionVector => new Map(entries));

function isEqual(a: VersionVector, b: VersionVector): boolean {
  return includes(a, b) && includes(b, a);
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

test("conflict rule: what becomes of a removal unless it is set", () => {
  expect(removalOf({ strategy: "last-write-wins" })).toBe("as-written");
  expect(removalOf({ strategy: "node-priority" })).toBe("as-written");
  for (const strategy of ["field-merge", "counter", "set", "siblings", "custom"] as const) {
    expect(removalOf({ strategy })).toBe("update-wins");
    expect(removalOf({ strategy, removal: "remove-wins" })).toBe("remove-wins");
  }
});

test("identical: to the last bit, the order of fields apart", () => {
  const same = [
    [Number.NaN, Number.NaN],
    [
      { a: 1, b: [1n] },
      { b: [1n], a: 1 },
    ],
    [new Date(5), new Date(5)],
    [new Uint8Array([1]), new Uint8Array([1])],
  ] as const;
  for (const [a, b] of same) expect(identical(a, b)).toBe(true);
  const values = [0, -0, 1, 1n, Number.NaN, "1", null, undefined, true, [], [1], [[1]], {}];
  const more = [...values, { a: 1 }, { b: 1 }, new Date(0), new Date(1), new Uint8Array([1])];
  for (const [i, a] of more.entries()) {
    for (const [k, b] of more.entries()) expect(identical(a, b)).toBe(i === k);
  }
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

describe("conflict resolver", () => {
  test("a document without versions is none", () => {
    expect(isRemoved([], resolvingOf({ strategy: "set" }))).toBe(true);
    expect(bodyAfter({ strategy: "set" }, [])).toBeUndefined();
  });

  const removedAndChanged = [
    { node: "n1", body: { x: 1 } },
    { node: "n1", body: undefined, after: [0] },
    { node: "n2", body: { x: 2 }, after: [0] },
  ];

  test("a document that is removed and written concurrently stays, or goes, as configured", () => {
    for (const strategy of ["last-write-wins", "field-merge"] as const) {
      const stays = { strategy, removal: "update-wins" } as const;
      expect(bodyAfter(stays, removedAndChanged)).toEqual({ x: 2 });
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
    // Alone, it is as it was written.
    expect(bodyAfter({ strategy: "set" }, writes.slice(0, 1))).toEqual({ tags: ["b", "a", "b"] });
    expect(bodyAfter({ strategy: "set" }, writes)).toEqual({ tags: [] });
  });

  test("a field's name may be any text", () => {
    const writes = [
      { node: "n1", body: { "": 1, constructor: 2 } as Fields },
      { node: "n2", body: { "": 3, toString: 4 } as unknown as Fields },
    ];
    const found = bodyAfter({ strategy: "field-merge" }, writes);
    expect(JSON.stringify(found)).toBe('{"":3,"constructor":2,"toString":4}');
  });

  test("custom: without a resolver that works the newest document is shown, and why", () => {
    const config: ConflictConfig = { strategy: "custom", resolver: "mine" };
    const writes = [
      { node: "n1", body: { x: 1 } },
      { node: "n2", body: { x: 2 } },
    ];
    let calls = 0;
    const failing = () => {
      throw new TypeError("no");
    };
    const changing = () => {
      calls += 1;
      return { calls };
    };
    // What `equalValues` takes for one: NaN and any number, 1 and 1n.
    const flickering = () => {
      calls += 1;
      return { f: calls % 2 === 0 ? Number.NaN : 5 };
    };
    const withFunction = () => ({ f: () => 1 }) as unknown as Fields;
    const withHole = () => ({ a: [{ b: undefined }] });
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
      [withFunction, 'Resolver "mine" gives no document'],
      [withHole, 'Resolver "mine" gives no document'],
      [flickering, 'Resolver "mine" gives two answers to one question'],
    ] as const) {
      const known = new Map(resolver === undefined ? [] : [["mine", resolver]]);
      const seen = seenAfter(config, writes, known);
      expect(seen).toMatchObject({ document: { x: 2 }, failure });
    }
    // It works on copies.
    const spoilt = seenAfter(config, writes, new Map([["mine", spoiling]]));
    expect(spoilt.document).toEqual({ x: 9 });
    const { siblings } = seenAfter({ strategy: "siblings" }, writes);
    expect(siblings.map(({ body }) => body)).toEqual([{ x: 1 }, { x: 2 }]);
  });
});
