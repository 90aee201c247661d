/**
 * Orders and projections of documents.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { QueryError } from "../../src/base/errors.ts";
import type { Fields } from "../../src/base/value.ts";
import {
  compareBy,
  compileProjection,
  type ProjectionSpec,
  type SortSpec,
  sortParts,
} from "../../src/query/sort.ts";

/** A spec of that many paths. */
function paths<T>(count: number, flag: T): Record<string, T> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`p${i}`, flag]));
}

describe("orders", () => {
  test("the parts come in the order of the spec", () => {
    expect(sortParts({ "a.b": 1, c: -1 })).toEqual([
      { name: "a.b", path: ["a", "b"], direction: 1, collation: undefined },
      { name: "c", path: ["c"], direction: -1, collation: undefined },
    ]);
    expect(sortParts({})).toEqual([]);
  });

  test("documents sort by several paths, and a missing field as null", () => {
    const documents = [{ a: 1, b: { c: 1 } }, { a: 1, b: { c: 2 } }, { b: { c: 0 } }, { a: 0 }];
    const sorted = [...documents].sort(compareBy({ a: 1, "b.c": -1 }));
    expect(sorted).toEqual([documents[2]!, documents[3]!, documents[1]!, documents[0]!]);
  });

  test.each<readonly [SortSpec, Fields, Fields, number]>([
    [{ a: 1 }, { a: 1 }, { a: 2 }, -1],
    [{ a: 1 }, { a: 2 }, { a: 1 }, 1],
    [{ a: -1 }, { a: 1 }, { a: 2 }, 1],
    [{ a: -1 }, { a: 2 }, { a: 1 }, -1],
    [{ a: 1 }, { a: 1, b: 1 }, { a: 1, b: 2 }, 0],
    [{ a: 1, b: 1 }, { a: 1, b: 1 }, { a: 1, b: 2 }, -1],
    [{ a: 1, b: -1 }, { a: 1, b: 1 }, { a: 1, b: 2 }, 1],
    [{ a: 1 }, {}, { a: null }, 0],
    [{ a: 1 }, {}, { a: 0 }, -1],
    [{}, { a: 1 }, { a: 2 }, 0],
  ])("%j: %j and %j", (...[spec, a, b, order]) => {
    expect(Math.sign(compareBy(spec)(a, b))).toBe(order);
    expect(Math.sign(compareBy(spec)(b, a))).toBe(order === 0 ? 0 : -order);
  });

  test.each([0, 2, "1", null, true, -2])("the direction %j is refused", (direction) => {
    expect(() => compareBy({ a: direction as 1 })).toThrow(
      new QueryError('Cannot sort by "a": the direction is 1 or -1'),
    );
  });

  test("more paths than the limit are refused", () => {
    expect(sortParts(paths(100, 1))).toHaveLength(100);
    expect(() => sortParts(paths(101, 1))).toThrow(
      new QueryError("Cannot use more than 100 paths to sort by or to project"),
    );
  });
});

describe("projections", () => {
  const document: Fields = {
    id: 1,
    a: 1,
    b: { c: 1, d: [{ e: 1, f: 2 }, 3, { f: 4 }], g: null },
    h: [],
  };

  test.each<readonly [ProjectionSpec, Fields]>([
    [{}, document],
    [{ a: 1 }, { id: 1, a: 1 }],
    [
      { a: 1, id: 1 },
      { id: 1, a: 1 },
    ],
    [{ a: 1, id: 0 }, { a: 1 }],
    [{ id: 1 }, { id: 1 }],
    [{ id: 0 }, { a: 1, b: document["b"], h: [] }],
    [{ b: 1 }, { id: 1, b: document["b"] }],
    [{ "b.c": 1 }, { id: 1, b: { c: 1 } }],
    [
      { "b.c": 1, "b.g": 1 },
      { id: 1, b: { c: 1, g: null } },
    ],
    [
      { "b.c": 1, b: 1 },
      { id: 1, b: document["b"] },
    ],
    [{ "b.d.e": 1 }, { id: 1, b: { d: [{ e: 1 }, {}] } }],
    [{ "b.x": 1 }, { id: 1, b: {} }],
    [{ "a.x": 1 }, { id: 1 }],
    [{ "h.x": 1 }, { id: 1, h: [] }],
    [{ nothing: 1 }, { id: 1 }],
    [{ nothing: 1, id: 0 }, {}],
    [{ b: 0 }, { id: 1, a: 1, h: [] }],
    [
      { "b.d.e": 0, id: 0 },
      { a: 1, b: { c: 1, d: [{ f: 2 }, 3, { f: 4 }], g: null }, h: [] },
    ],
    [
      { "b.d": 0, "b.g": 0, h: 0 },
      { id: 1, a: 1, b: { c: 1 } },
    ],
    [
      { "a.x": 0, b: 0 },
      { id: 1, a: 1, h: [] },
    ],
    [{ nothing: 0 }, document],
  ])("%j", (spec, expected) => {
    expect(compileProjection(spec, "id")(document)).toEqual(expected);
  });

  test("the document is left as it is, and a field that is gone is no field", () => {
    const before = structuredClone(document);
    const kept = compileProjection({ a: 0 }, "id")(document);
    expect(Object.hasOwn(kept, "a")).toBe(false);
    expect(document).toEqual(before);
  });

  test("another field may hold the id", () => {
    expect(compileProjection({ a: 1 }, "h")(document)).toEqual({ a: 1, h: [] });
  });

  test.each<readonly [unknown]>([
    [{ a: 1, b: 0 }],
    [{ a: 0, b: 1 }],
    [{ a: 0, id: 1 }],
    [{ a: 2 }],
    [{ a: "1" }],
    [{ a: true }],
    [{ id: 2 }],
  ])("%j is refused", (spec) => {
    expect(() => compileProjection(spec as ProjectionSpec, "id")).toThrow(
      new QueryError(
        "Cannot read the projection: it takes 1 for fields to keep or 0 for fields to leave out",
      ),
    );
  });

  test("more paths than the limit, and paths that are none, are refused", () => {
    compileProjection(paths(100, 1), "id");
    expect(() => compileProjection(paths(101, 0), "id")).toThrow("more than 100 paths");
    expect(() => compileProjection({ "a.__proto__": 1 }, "id")).toThrow("field __proto__");
  });
});
