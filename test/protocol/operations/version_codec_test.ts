/** A content as a change of another: what is made of it is that content, to the last byte. */

import { describe, expect, test } from "bun:test";
import { ValidationError } from "../../../src/base/errors.ts";
import type { Value } from "../../../src/base/value.ts";
import type { DocumentContent, Mark } from "../../../src/multi_master/operation/operation.ts";
import { SeededRandom } from "../../../src/platform/random.ts";
import { encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import {
  contentDelta,
  contentFrom,
  VERSION_CODEC,
} from "../../../src/protocol/operations/version_codec.ts";

const ALWAYS = Number.POSITIVE_INFINITY;

function contentOf(fields: object, parts?: readonly Mark[]): DocumentContent {
  const content = { kind: "document", body: encodeCbor(fields) } as const;
  return parts === undefined ? content : { ...content, marks: { parts } };
}

function randomValue(random: SeededRandom, depth: number): Value {
  const dice = random.below(depth > 0 ? 9 : 6);
  if (dice === 0) return null;
  if (dice === 1) return random.chance(0.5);
  if (dice === 2) return random.below(5) - 0.5;
  if (dice === 3) return "abc".slice(random.below(3));
  if (dice === 4) return new Date(random.below(3));
  if (dice === 5) return new Uint8Array(random.below(3));
  if (dice < 8)
    return Array.from({ length: random.below(6) }, () => randomValue(random, depth - 1));
  return randomFields(random, depth - 1);
}

function randomFields(random: SeededRandom, depth: number): Record<string, Value> {
  const fields: Record<string, Value> = {};
  for (const name of ["a", "b", "v", "f", "1"]) {
    if (random.chance(0.6)) fields[name] = randomValue(random, depth);
  }
  return fields;
}

test("content delta: any content comes from any other, unless the order of fields does not", () => {
  const random = new SeededRandom(7);
  let made = 0;
  for (let i = 0; i < 3000; i += 1) {
    const [base, next] = [contentOf(randomFields(random, 3)), contentOf(randomFields(random, 3))];
    const delta = contentDelta(base, next, ALWAYS);
    if (delta === undefined) continue;
    made += 1;
    expect(contentFrom(base, delta)).toEqual(next);
  }
  expect(made).toBeGreaterThan(1000);
});

describe("content delta: lists", () => {
  const tags = Array.from({ length: 1000 }, (_, i) => `tag-${i}`);
  test.each([
    ["one more", [...tags, "new"]],
    ["one less", tags.filter((tag) => tag !== "tag-500")],
    ["one in the middle", tags.toSpliced(500, 1, "new")],
    ["none but the last", tags.slice(999)],
  ])("%s", (_, next) => {
    const [base, wanted] = [contentOf({ tags }), contentOf({ tags: next })];
    const delta = contentDelta(base, wanted, ALWAYS) ?? new Uint8Array(1000);
    expect(delta.byteLength).toBeLessThan(80);
    expect(contentFrom(base, delta)).toEqual(wanted);
  });

  test("turned round it is sent whole", () => {
    const delta = contentDelta(contentOf({ tags }), contentOf({ tags: tags.toReversed() }));
    expect(delta).toBeUndefined();
  });
});

test("content delta: marks come and go with their document", () => {
  const mark = (n: number): Mark => {
    return {
      field: "t",
      item: n,
      dot: { origin: "n1/1", sequence: n },
      stamp: { wallMs: n, count: 0 },
    };
  };
  const marks = Array.from({ length: 50 }, (_, i) => mark(i + 1));
  const plain = contentOf({ t: [1] });
  const source = { dot: { origin: "n1/1", sequence: 4 }, stamp: { wallMs: 4, count: 0 } };
  const rest: DocumentContent = { ...plain, marks: { rest: source, parts: [mark(3)] } };
  const all = [plain, contentOf({ t: [1] }, []), contentOf({ t: [1] }, marks), rest];
  for (const base of all) {
    for (const next of all) {
      const delta = contentDelta(base, next, ALWAYS);
      if (delta !== undefined) expect(contentFrom(base, delta)).toEqual(next);
    }
  }
  const more = contentDelta(
    contentOf({ t: [1] }, marks),
    contentOf({ t: [1] }, [...marks, mark(51)]),
  );
  expect(more?.byteLength).toBeLessThan(150);
});

test("content delta: bytes that fit another base, or none, are refused or make a document", () => {
  const random = new SeededRandom(11);
  const base = contentOf({ a: 1, v: [1, 2, 3], f: { b: 2 } });
  let refused = 0;
  for (let i = 0; i < 5000; i += 1) {
    const change = randomFields(random, 4);
    try {
      const made = contentFrom(base, encodeCbor({ b: change, m: randomValue(random, 2) }));
      expect(made.body).toBeInstanceOf(Uint8Array);
    } catch (error) {
      expect(error).toBeInstanceOf(ValidationError);
      refused += 1;
    }
  }
  expect(refused).toBeGreaterThan(1000);
});

test("content delta: runs that repeat a list do not make a longer one", () => {
  const base = contentOf({ v: Array.from({ length: 1000 }, (_, i) => i) });
  const runs = Array.from({ length: 1000 }, () => [0, 1000]);
  const bomb = encodeCbor({ b: { f: { v: { a: runs } }, g: [] }, m: null });
  expect(() => contentFrom(base, bomb)).toThrow(ValidationError);
});

test("version codec: a document is a map, whole and nothing else", () => {
  const map = encodeCbor({ a: 1 });
  expect([map, encodeCbor({})].map((body) => VERSION_CODEC.isDocument(body))).toEqual([true, true]);
  const others = [encodeCbor([1]), encodeCbor(new Date(5)), encodeCbor("a"), encodeCbor(null)];
  const broken = [new Uint8Array(0), map.subarray(0, map.byteLength - 1), new Uint8Array([0xa1])];
  for (const body of [...others, ...broken]) expect(VERSION_CODEC.isDocument(body)).toBe(false);
});
