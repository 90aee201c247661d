// The table of versions against a plain map: the same versions, whatever was written, settled,
// frozen or dropped in between.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { encodeText } from "../../../src/base/bytes.ts";
import { VersionTable } from "../../../src/database/collection/version_table.ts";
import type { DocumentVersion } from "../../../src/multi_master/operation/operation.ts";

const KEYS = ["a", "b", "c", "d"].map(encodeText);

function version(origin: string, sequence: number, more: object = {}): DocumentVersion {
  return {
    ...{ dot: { origin, sequence }, stamp: { wallMs: 1_700_000_000_000 + sequence, count: 7 } },
    ...{ context: new Map([["o", sequence]]), version: 3, chain: 0xffff_fff0 + (sequence % 9) },
    content: { kind: "document", body: encodeText(`${origin} ${sequence}`) },
    ...more,
  };
}

/** What is compared: everything but the context of a version that is settled. */
function shown(versions: readonly DocumentVersion[]): unknown {
  return versions.map(({ context, version: known, ...rest }) => rest);
}

describe("version table", () => {
  test("a version comes back as it was put, in a record or as an object", () => {
    const table = new VersionTable(1);
    const plain = version("n1/1", 1);
    const removed = version("n1/1", 2, { content: { kind: "removed" } });
    const marked = version("n1/1", 3, {
      content: { kind: "document", body: encodeText("x"), marks: { parts: [] } },
    });
    const late = version("n2/1", 1, { stamp: { wallMs: 2 ** 48 - 1, count: 0xffff } });
    const seenLess = version("n2/1", 2, { seen: { version: 3, cursor: new Map([["n1/1", 1]]) } });
    const follows = version("n2/1", 3, { removals: [{ origin: "n1/1", sequence: 2 }] });
    for (const one of [
      [plain],
      [removed],
      [marked],
      [late],
      [seenLess],
      [follows],
      [plain, late],
    ]) {
      table.update(1, KEYS[0]!, () => one);
      expect(table.versions(1, KEYS[0]!)).toEqual(one);
    }
    expect(table.versions(2, KEYS[0]!)).toEqual([]);
    expect(table.size).toBe(1);
    table.update(1, KEYS[0]!, () => []);
    expect([table.size, table.versions(1, KEYS[0]!).length]).toEqual([0, 0]);
  });

  test("operations of one origin share their context, and each has its own", () => {
    const table = new VersionTable(1);
    const [one, other] = [new Map([["n2/1", 5]]), new Map([["n2/1", 9]])];
    const contexts = [one, one, one, other, other, one];
    for (const [i, context] of contexts.entries()) {
      table.update(1, encodeText(`k${i}`), () => [version("n1/1", i + 1, { context })]);
    }
    const found = contexts.map((_, i) => table.versions(1, encodeText(`k${i}`))[0]?.context);
    expect(found).toEqual(contexts);
    table.settle(new Map([["n1/1", 4]]));
    const after = contexts.map((_, i) => table.versions(1, encodeText(`k${i}`))[0]?.context.size);
    expect(after).toEqual([0, 0, 0, 0, 1, 1]);
  });

  test("a version that comes out of the order of its origin keeps its context", () => {
    const table = new VersionTable(1);
    const late = version("n1/1", 3, { context: new Map([["n2/1", 1]]) });
    table.update(1, KEYS[0]!, () => [version("n1/1", 9, { context: new Map([["n2/1", 8]]) })]);
    table.update(1, KEYS[1]!, () => [late]);
    expect(table.versions(1, KEYS[1]!)).toEqual([late]);
  });

  test("dropping a collection leaves the others, and their objects", () => {
    const table = new VersionTable(1);
    const pair = [version("n1/1", 1), version("n2/1", 1)];
    for (const collection of [1, 2]) table.update(collection, KEYS[0]!, () => pair);
    table.drop(1);
    table.update(3, KEYS[0]!, () => [version("n1/1", 2), version("n2/1", 2)]);
    expect(table.versions(1, KEYS[0]!)).toEqual([]);
    expect(table.versions(2, KEYS[0]!)).toEqual(pair);
    table.drop(9);
    expect(table.size).toBe(2);
  });

  test("random writes, frozen moments and compaction against a map", () => {
    const step = fc.record({
      key: fc.nat(KEYS.length - 1),
      origin: fc.constantFrom("n1/1", "n2/1", "n3/7"),
      count: fc.constantFrom(0, 1, 1, 1, 2),
      size: fc.constantFrom(1, 50, 40_000),
      isRemoved: fc.boolean(),
      act: fc.constantFrom("put", "put", "put", "freeze", "thaw", "settle"),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const table = new VersionTable(7);
        const model = new Map<number, readonly DocumentVersion[]>();
        const moments: { frozen: ReturnType<VersionTable["freeze"]>; state: typeof model }[] = [];
        for (const [at, { key, origin, count, size, isRemoved, act }] of steps.entries()) {
          if (act === "freeze") moments.push({ frozen: table.freeze(), state: new Map(model) });
          else if (act === "thaw") expectMoment(moments.pop());
          else if (act === "settle") table.settle(new Map([[origin, at]]));
          else {
            const body = new Uint8Array(size).fill(at);
            const content = isRemoved ? { kind: "removed" } : { kind: "document", body };
            const versions = Array.from({ length: count }, (_, i) => {
              return version(i === 0 ? origin : "n9/1", at + 1, { content });
            });
            table.update(1, KEYS[key]!, () => versions);
            model.set(key, versions);
          }
        }
        for (const moment of moments) expectMoment(moment);
        for (const [key, versions] of model) {
          expect(shown(table.versions(1, KEYS[key]!))).toEqual(shown(versions));
        }
      }),
      { numRuns: 60 },
    );
  });
});

function expectMoment(
  moment:
    | {
        frozen: ReturnType<VersionTable["freeze"]>;
        state: Map<number, readonly DocumentVersion[]>;
      }
    | undefined,
): void {
  if (moment === undefined) return;
  const found = new Map(
    [...moment.frozen.documents()].map(({ key, versions }) => [key.join(), shown(versions)]),
  );
  moment.frozen.release();
  const expected = [...moment.state].filter(([, versions]) => versions.length > 0);
  expect(found).toEqual(
    new Map(expected.map(([key, versions]) => [KEYS[key]!.join(), shown(versions)])),
  );
}
