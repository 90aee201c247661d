/**
 * Paths into documents: which values they find, in which order, and where they stop.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { QueryError, ValidationError } from "../../src/base/errors.ts";
import type { Fields, Value } from "../../src/base/value.ts";
import { compileFilter } from "../../src/query/matcher.ts";
import { atPath, joinPath, parsePath, someAt, spreadAt, valueAt } from "../../src/query/path.ts";
import { CompiledUpdate, type UpdateOperators } from "../../src/query/update.ts";

/** All values at a path, in the order in which they are found. */
function allAt(document: Fields, path: string): Value[] {
  const found: Value[] = [];
  const isFound = someAt(document, path.split("."), (value) => {
    found.push(value);
    return false;
  });
  expect(isFound).toBe(false);
  return found;
}

describe("reading a path", () => {
  test.each<readonly [string, readonly string[]]>([
    ["a", ["a"]],
    ["a.b.0", ["a", "b", "0"]],
    ["", [""]],
    ["a..b", ["a", "", "b"]],
    ["x".repeat(512), ["x".repeat(512)]],
    [Array(32).fill("a").join("."), Array(32).fill("a")],
    ["__proto", ["__proto"]],
  ])("%j is read", (path, segments) => {
    expect(parsePath(path)).toEqual(segments);
  });

  test.each<readonly [string, string]>([
    ["x".repeat(513), "Cannot use a path of more than 512 characters"],
    [Array(33).fill("a").join("."), "Cannot use a path of more than 32 segments"],
    ["__proto__", 'Cannot use the path "__proto__": no document has a field __proto__'],
    ["a.__proto__.b", 'Cannot use the path "a.__proto__.b": no document has a field __proto__'],
  ])("%j is refused", (path, message) => {
    expect(() => parsePath(path)).toThrow(new QueryError(message));
  });
});

describe("values at a path", () => {
  test.each<readonly [string, Fields, readonly Value[]]>([
    ["a", { a: 1 }, [1]],
    ["a", { a: null }, [null]],
    ["a", {}, [undefined]],
    ["a.b", { a: { b: 1 } }, [1]],
    ["a.b", { a: {} }, [undefined]],
    ["a.b", { a: 1 }, [undefined]],
    ["a.b", {}, [undefined]],
    ["a", { a: [1, 2] }, [[1, 2]]],
    ["a.b", { a: [{ b: 1 }, { b: 2 }] }, [1, 2]],
    ["a.b", { a: [{ b: 1 }, 5, {}] }, [1, undefined]],
    ["a.b", { a: [] }, []],
    ["a.b", { a: [1, [{ b: 1 }]] }, []],
    ["a.0", { a: [1, 2] }, [1]],
    ["a.1", { a: [1, 2] }, [2]],
    ["a.2", { a: [1, 2] }, [undefined]],
    ["a.0.b", { a: [{ b: 1 }, { b: 2 }] }, [1]],
    ["a.0", { a: [{ "0": 5 }, 2] }, [{ "0": 5 }, 5]],
    ["a.0", { a: { "0": 5 } }, [5]],
    ["a.01", { a: [1, 2] }, [2]],
    ["a.x0", { a: [1, 2] }, []],
    ["a.b.c", { a: [{ b: [{ c: 1 }, { c: 2 }] }, { b: { c: 3 } }] }, [1, 2, 3]],
    ["constructor", {}, [undefined]],
    ["a.length", { a: [1] }, []],
  ])("%j in %j", (path, document, values) => {
    expect(allAt(document, path)).toEqual([...values]);
    expect(valueAt(document, path.split("."))).toEqual(values[0]);
  });

  test("a search ends with the first value that is accepted", () => {
    const seen: Value[] = [];
    const isFound = someAt({ a: [{ b: 1 }, { b: 2 }, { b: 3 }] }, ["a", "b"], (value) => {
      seen.push(value);
      return value === 2;
    });
    expect([isFound, seen]).toEqual([true, [1, 2]]);
    expect(someAt({ a: [{ "0": 1 }] }, ["a", "0"], () => true)).toBe(true);
  });

  // A value for the document, one for the array, and two for each of its items.
  test("a path that leads to too many values is refused", () => {
    const document = (items: number): Fields => ({ a: Array(items).fill({ b: 1 }) });
    expect(allAt(document(49_999), "a.b")).toHaveLength(49_999);
    expect(() => allAt(document(50_000), "a.b")).toThrow(
      new QueryError('Cannot follow "a.b": it leads to too many values'),
    );
  });
});

describe("values spread out", () => {
  test.each<readonly [Fields, readonly Value[], boolean]>([
    [{ a: 1 }, [1], false],
    [{}, [undefined], false],
    [{ a: null }, [null], false],
    [{ a: [] }, [[]], true],
    [{ a: [1] }, [1], true],
    [{ a: [1, [2, 3]] }, [1, [2, 3]], true],
  ])("at a of %j", (document, values, hasArray) => {
    expect(spreadAt(document, ["a"])).toStrictEqual({ values: [...values], hasArray });
  });

  test.each<readonly [Fields, readonly Value[], boolean]>([
    [{ a: [] }, [undefined], false],
    [{ a: [{ b: 1 }] }, [1], false],
    [{ a: [{ b: 1 }, { b: 2 }] }, [1, 2], true],
    [{ a: [{ b: [1, 2] }, { b: 3 }] }, [1, 2, 3], true],
    [{ a: { b: [4] } }, [4], true],
  ])("at a.b of %j", (document, values, hasArray) => {
    expect(spreadAt(document, ["a", "b"])).toStrictEqual({ values: [...values], hasArray });
  });

  test("one value more than the bound is given, so that the caller sees that it is crossed", () => {
    const document = { a: [1, 2, 3, 4, 5] };
    const counts = [0, 1, 3, 4, 5, 6].map((most) => spreadAt(document, ["a"], most).values.length);
    expect(counts).toEqual([1, 2, 4, 5, 5, 5]);
    const behind = { a: [{ b: [1, 2] }, { b: [3, 4] }] };
    expect(spreadAt(behind, ["a", "b"], 2).values).toEqual([1, 2, 3]);
    expect(spreadAt(behind, ["a", "b"], 1).values).toEqual([1, 2]);
    expect(spreadAt(behind, ["a", "b"], 0).values).toEqual([1]);
  });
});

describe("What is refused names the path", () => {
  function pathOf(work: () => unknown): string | undefined {
    try {
      work();
    } catch (error) {
      if (error instanceof QueryError || error instanceof ValidationError) return error.fields.path;
      throw error;
    }
    throw new Error("nothing was refused");
  }

  test.each<readonly [string, unknown, string | undefined]>([
    ["a size", { "a.b": { $size: "x" } }, "a.b"],
    ["a condition under $or", { $or: [{ a: 1 }, { c: { $mod: 3 } }] }, "c"],
    ["a condition of elements", { list: { $elemMatch: { price: { $in: 1 } } } }, "price"],
    ["the elements themselves", { list: { $elemMatch: 1 } }, "list"],
    ["an operator at the top", { $xor: [] }, undefined],
  ])("in a query: %s", (_what, filter, path) => {
    expect(pathOf(() => compileFilter(filter))).toBe(path);
  });

  test.each<readonly [string, UpdateOperators, string | undefined]>([
    ["an operand", { $set: { ok: 1 }, $pop: { "a.b": 3 } }, "a.b"],
    ["a new name", { $rename: { old: 5 } }, "old"],
    ["no fields", { $set: 5 } as never, undefined],
  ])("in an update: %s", (_what, operators, path) => {
    expect(pathOf(() => new CompiledUpdate(operators))).toBe(path);
  });

  test("where the document stands against the update", () => {
    const context = { nowMs: 0, isInsert: false };
    const update = new CompiledUpdate({ $set: { "a.b": 1 } });
    expect(pathOf(() => update.apply({ a: 5 }, context))).toBe("a.b");
    expect(pathOf(() => update.apply({ a: [5] }, context))).toBe("a.b");
  });

  test("the message, the remedy and what is no refusal stay", () => {
    const remedy = "docs/queries.md lists the operators";
    const unknown = () => compileFilter({ a: { $near: 1 } });
    expect(unknown).toThrow('Cannot read the query: operator "$near" is unknown');
    expect(unknown).toThrow(expect.objectContaining({ remedy }));
    const fault = new RangeError("a fault of the code");
    const failing = () =>
      atPath("a", () => {
        throw fault;
      });
    expect(failing).toThrow(fault);
  });
});

describe("dots of names", () => {
  test.each<readonly [string, readonly string[]]>([
    ["a\\.b", ["a.b"]],
    ["a\\.b.c", ["a.b", "c"]],
    ["x.a\\.b\\.c.d", ["x", "a.b.c", "d"]],
    ["\\.a", [".a"]],
    ["a\\\\.b", ["a\\", "b"]],
    ["a\\.b\\\\", ["a.b\\"]],
    ["a\\.b..c", ["a.b", "", "c"]],
    [".a\\.b.", ["", "a.b", ""]],
    ["a\\b.c", ["a\\b", "c"]],
    ["a\\.", ["a."]],
    ["a\\..b", ["a.", "b"]],
    ["a.\\.", ["a", "."]],
    ["\\.\\.", [".."]],
  ])("%s", (path, segments) => {
    expect(parsePath(path)).toEqual(segments);
  });

  test("joinPath is the way back, for any names", () => {
    const name = fc.string({
      unit: fc.constantFrom("a", ".", "\\", "b"),
      minLength: 1,
      maxLength: 4,
    });
    fc.assert(
      fc.property(fc.array(name, { minLength: 1, maxLength: 4 }), (names) => {
        expect(parsePath(joinPath(names))).toEqual(names);
      }),
    );
  });

  test("by older rules a backslash is part of a name", () => {
    expect(parsePath("a\\.b", 2)).toEqual(["a\\", "b"]);
  });
});
