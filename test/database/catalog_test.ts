/**
 * CATALOG commands on a real state: what each changes, answers and refuses.
 *
 * @module
 */

import { beforeEach, expect, test } from "bun:test";
import { NEWEST_RULES } from "../../src/base/rules_version.ts";
import { executeCatalog, settleIndex } from "../../src/database/catalog.ts";
import { CollectionStore } from "../../src/database/collection/collection_store.ts";
import { NO_MASTERS } from "../../src/database/masters.ts";

const INDEX = {
  ...{ name: "n", paths: [{ path: "n", order: 1 }], isUnique: false, isSparse: false },
  ...{ ignoresCase: false, expiresAfterMs: 0 },
};

let collections: Map<string, CollectionStore>;
let dropped: number;
beforeEach(() => {
  collections = new Map();
  dropped = 0;
});

function execute(request: unknown) {
  const state = {
    collections,
    rules: NEWEST_RULES,
    ...NO_MASTERS,
    agree: () => 1,
    disagree: () => undefined,
    make: (name: string) => new CollectionStore(name, 1),
    dropped: () => {
      dropped += 1;
    },
  };
  return executeCatalog(state, request, 10);
}

const create = (settings?: object) => ({ action: "createCollection", collection: "c", settings });

test("a collection is made once, and a second time with the same settings changes nothing", () => {
  expect(execute(create())).toEqual({ changed: true });
  expect(execute(create())).toEqual({ changed: false });
  expect(execute(create({ ids: "uuidv7" }))).toEqual({ changed: false });
  expect(execute(create({ ids: "autoIncrement" }))).toMatchObject({
    code: "VALIDATION",
    fields: { collection: "c" },
  });
});

test("a dropped collection is gone, one that is not there is not changed", () => {
  execute(create());
  const drop = { action: "dropCollection", collection: "c" };
  expect([execute(drop), execute(drop), dropped]).toEqual([
    { changed: true },
    { changed: false },
    1,
  ]);
});

test("indexes are made with their collection, kept apart by name, and dropped", () => {
  const make = { action: "createIndex", collection: "c", index: INDEX };
  expect(execute(make)).toEqual({ changed: true });
  expect(execute(make)).toEqual({ changed: false });
  const other = { ...make, index: { ...INDEX, isUnique: true } };
  const fields = { collection: "c", index: "n" };
  expect(execute(other)).toMatchObject({ code: "QUERY", fields });
  settleIndex({ collections } as never, { collection: "c", index: "n" });
  expect(collections.get("c")?.indexes.get("n")?.isReady).toBe(true);
  const drop = { action: "dropIndex", collection: "c", index: "n" };
  expect(execute(drop)).toEqual({ changed: true });
  expect(execute(drop)).toMatchObject({ code: "NOT_FOUND", fields });
});

test("numbers are given out once, by collections that make them", () => {
  execute(create({ ids: "autoIncrement" }));
  const next = { action: "nextIds", collection: "c", count: 3 };
  expect(execute(next)).toEqual({ changed: false, ids: [0, 1, 2] });
  expect(execute({ ...next, count: 1 })).toEqual({ changed: false, ids: [3] });
  expect(execute({ ...next, collection: "d" })).toMatchObject({ code: "VALIDATION" });
});

test.each([
  [5, "not a map"],
  [{ action: "createCollection" }, "name is missing"],
  [{ action: "createCollection", collection: "" }, "1 to 120 bytes"],
  [{ action: "nextIds", collection: "c", count: 0 }, "1 to 10000"],
  [{ action: "fly", collection: "c" }, 'action "fly" is unknown'],
  [{ action: "createIndex", collection: "c", index: { name: "n" } }, "1 to 8 paths"],
])("%j is refused", (request, text) => {
  expect((execute(request) as Error).message).toContain(text);
  expect(collections.size).toBe(0);
});
