/**
 * The base of all collections: which calls are made of which, and that a forwarding collection
 * hands on every call with all that it was given.
 *
 * @module
 */

import { expect, test } from "bun:test";
import type { Collection } from "../../../src/api/collection.ts";
import { ForwardingCollection } from "../../../src/client/collection/collection_base.ts";

interface Doc {
  id: string;
  n: number;
}

/** A collection that notes every call and gives the name of the call back. */
function recorded() {
  const calls: unknown[][] = [];
  const target = new Proxy(
    {},
    {
      get: (_target, name) => {
        return (...given: unknown[]) => {
          while (given.length > 0 && given.at(-1) === undefined) given.pop();
          calls.push([name, ...given]);
          return [name];
        };
      },
    },
  ) as Collection<Doc>;
  class Handle extends ForwardingCollection<Doc> {
    readonly name = "things";
    protected readonly idField = "id";
    protected override target(): Collection<Doc> {
      return target;
    }
  }
  return { calls, handle: new Handle() };
}

const DOC = { id: "a", n: 1 };

test.each([
  ["insert", [DOC]],
  ["insertMany", [[DOC]]],
  ["put", [DOC, { ifVersion: 3 }]],
  ["putMany", [[DOC]]],
  ["save", [DOC]],
  ["update", ["a", { n: 2 }, { ifVersion: 3 }]],
  ["updateOne", [{ n: 1 }, { n: 2 }, { upsert: true }]],
  ["updateMany", [{ n: 1 }, { n: 2 }]],
  ["remove", ["a", { ifVersion: 3 }]],
  ["deleteMany", [{ n: 1 }]],
  ["delete", ["a", { ifVersion: 3 }]],
  ["findById", ["a", { read: "stale" }]],
  ["findVersioned", ["a", { read: "stale" }]],
  ["find", [{ n: 1 }, { limit: 5 }]],
  ["iterate", [{ n: 1 }, { limit: 5 }]],
  ["count", [{ n: 1 }, { read: "stale" }]],
  ["distinct", ["n", { id: "a" }]],
  ["explain", [{ n: 1 }, { limit: 5 }]],
  ["createIndex", ["n", { keys: "n" }]],
  ["dropIndex", ["n"]],
  ["listIndexes", []],
] as const)("%s is handed on with all its arguments", async (name, given) => {
  const { calls, handle } = recorded();
  const call = handle[name] as (...words: readonly unknown[]) => unknown;
  expect(await call.apply(handle, [...given])).toEqual([name]);
  expect(calls).toEqual([[name, ...given]]);
});

const AT_N = { n: { $exists: true } };

test.each([
  ["create", [DOC], ["insert", DOC]],
  ["updateWithId", ["a", { n: 2 }], ["update", "a", { n: 2 }]],
  ["removeWithId", ["a"], ["remove", "a"]],
  ["clear", [], ["deleteMany", {}]],
  ["findOne", [{ n: 1 }, { skip: 2 }], ["find", { n: 1 }, { skip: 2, limit: 1 }]],
  ["findBy", ["n", 1, { limit: 2 }], ["find", { n: { $eq: 1 } }, { limit: 2 }]],
  ["findRange", ["n", { gte: 1, lt: undefined }], ["find", { n: { $gte: 1 } }, { sort: { n: 1 } }]],
  ["lowest", ["n"], ["find", AT_N, { sort: { n: 1 }, limit: 1 }]],
  ["greatest", ["n"], ["find", AT_N, { sort: { n: -1 }, limit: 1 }]],
  ["first", [], ["find", { id: { $exists: true } }, { sort: { id: 1 }, limit: 1 }]],
  ["last", [], ["find", { id: { $exists: true } }, { sort: { id: -1 }, limit: 1 }]],
] as const)("%s is made of another call", async (name, given, expected) => {
  const { calls, handle } = recorded();
  const call = handle[name] as (...words: readonly unknown[]) => Promise<unknown>;
  await call.apply(handle, [...given]);
  expect(calls).toEqual([[...expected]]);
});
