/**
 * The first node of a new cluster: its folder, its identity, and folders that are refused.
 *
 * @module
 */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { initializeCluster } from "../../../src/node/recovery/initialize.ts";
import { systemPlatform } from "../../../src/platform/platform.ts";
import { readIdentity } from "../../../src/storage/data_directory.ts";
import { freshFolder } from "../test_cluster.ts";

const platform = systemPlatform();
let folder: ReturnType<typeof freshFolder>;
beforeEach(() => {
  folder = freshFolder();
});
afterEach(() => folder.remove());

test("a new folder gets a cluster of its own, and is refused from then on", async () => {
  const first = { id: "n1", address: "127.0.0.1:7001", dataDirectory: `${folder.path}/n1` };
  const { clusterId } = await initializeCluster(platform, first);
  expect(readIdentity(platform.files, first.dataDirectory)).toMatchObject({
    clusterId,
    nodeId: "n1",
  });
  const again = initializeCluster(platform, first);
  await expect(again).rejects.toMatchObject({ code: "CONFIG" });
  const other = { ...first, dataDirectory: `${folder.path}/n2` };
  expect((await initializeCluster(platform, other)).clusterId).not.toBe(clusterId);
});

test.each([
  [{ id: "../n1" }, "node id"],
  [{ address: "127.0.0.1:0" }, "it has no port"],
])("%j is refused, and nothing is made", async (wrong, text) => {
  const first = { id: "n1", address: "127.0.0.1:7001", dataDirectory: `${folder.path}/n1` };
  await expect(initializeCluster(platform, { ...first, ...wrong })).rejects.toThrow(text);
  expect(platform.files.exists(first.dataDirectory)).toBe(false);
});
