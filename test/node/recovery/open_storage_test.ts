/**
 * Opening a node's folder: who writes the first entry, and who waits for it.
 *
 * @module
 */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { parseNodeConfig } from "../../../src/node/config/node_config.ts";
import { type OpenedStorage, openStorage } from "../../../src/node/recovery/open_storage.ts";
import { systemPlatform } from "../../../src/platform/platform.ts";
import { freshFolder } from "../test_cluster.ts";

const platform = systemPlatform();
let folder: ReturnType<typeof freshFolder>;

beforeEach(() => {
  folder = freshFolder();
});
afterEach(() => folder.remove());

function config() {
  const members = ["n1", "n2", "n3"].map((id, i) => ({ id, address: `127.0.0.1:${7001 + i}` }));
  return parseNodeConfig({ id: "n1", dataDirectory: `${folder.path}/n1`, members });
}

async function close({ log, directory }: OpenedStorage): Promise<void> {
  await log.close();
  directory.release();
}

test("an empty folder with a static list begins with the members of the list", async () => {
  const opened = await openStorage(platform, config());
  expect(opened.log.lastIndex()).toBe(1);
  await close(opened);
  const again = await openStorage(platform, config());
  expect(again.log.lastIndex()).toBe(1);
  await close(again);
});

// Found by the simulator (seed 62689506 at 76988dc): a folder that the others had replaced voted,
// was started again before it had an entry, and began at term 1: the vote was forgotten.
test("a folder that joined and has no entry yet keeps its term and vote", async () => {
  const joined = { clusterId: "00000000000000aa", incarnation: "00000000000000bb" };
  const opened = await openStorage(platform, config(), joined);
  expect(opened.log.lastIndex()).toBe(0);
  const hardState = { term: 5, vote: "n2" };
  opened.log.write({ hardState, entries: [], commitIndex: 0 });
  await opened.log.flush();
  await close(opened);
  const named = { ...config(), clusterId: joined.clusterId };
  const again = await openStorage(platform, named);
  expect(again.log.lastIndex()).toBe(0);
  expect(again.log.hardState).toEqual(hardState);
  await close(again);
});
