/**
 * What clients learn of the catalog, of a whole node.
 *
 * @module
 */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { listCollections } from "../../../src/client/collection/catalog_client.ts";
import { CollectionRules } from "../../../src/client/collection/collection_rules.ts";
import type { RemoteDatabase } from "../../../src/client/remote_database.ts";
import { TestCluster } from "../../node/test_cluster.ts";

let cluster: TestCluster;
let database: RemoteDatabase;

beforeAll(async () => {
  cluster = await TestCluster.start(1);
  database = await cluster.connect();
});

afterAll(async () => {
  await cluster.stop();
});

test("collections are listed with their modes, all or one", async () => {
  await database.createCollection("plain");
  await database.createCollection("all", { mode: "MULTI_MASTER" });
  const names = (await listCollections(database.client)).map(({ name }) => name);
  expect(names.sort()).toEqual(["all", "plain"]);
  const [one] = await listCollections(database.client, "all", { level: "stale" });
  expect(one?.settings?.mode).toBe("MULTI_MASTER");
  expect(await listCollections(database.client, "none")).toEqual([]);
});

test("rules are learned once; a collection that is to come into being is made", async () => {
  const rules = new CollectionRules({
    client: () => database.client,
    newId: () => "new",
    validators: {},
  });
  expect(rules.isLearned("fresh")).toBe(false);
  expect(await rules.look("fresh")).toBe(false);
  await rules.make("fresh");
  expect(rules.isLearned("fresh")).toBe(true);
  expect(rules.isByAll("fresh")).toBe(false);
  expect(await rules.look("all")).toBe(true);
  expect(rules.isByAll("all")).toBe(true);
  expect(await rules.newId("all")).toBe("new");
  expect(await database.conflicts("all")).toEqual({ total: 0, conflicts: [] });
});
