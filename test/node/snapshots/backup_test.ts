/**
 * Backups under load, and new clusters made from them.
 *
 * @module
 */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { freePorts } from "../../../cli/local/local_cluster.ts";
import { backupBlocks } from "../../../src/client/state_export.ts";
import { connect } from "../../../src/mod.ts";
import { parseNodeConfig } from "../../../src/node/config/node_config.ts";
import { Node } from "../../../src/node/node.ts";
import { readBackup, restoreBackup, writeBackup } from "../../../src/node/snapshots/backup.ts";
import { systemPlatform } from "../../../src/platform/platform.ts";
import { freshFolder, rejection, TestCluster } from "../test_cluster.ts";

const platform = systemPlatform();
let cluster: TestCluster;
let folder: ReturnType<typeof freshFolder>;

beforeEach(async () => {
  folder = freshFolder();
  cluster = await TestCluster.start(3);
});

afterEach(async () => {
  await cluster.stop();
  folder.remove();
});

interface Pair {
  id: string;
  n: number;
}

test("a backup under writes shows one moment; a new cluster begins with it and goes on", async () => {
  const database = await cluster.connect();
  const left = database.collection<Pair>("left");
  const right = database.collection<Pair>("right");
  await left.createIndex("n", { keys: "n", unique: true });
  const pad = "x".repeat(500);
  await left.insertMany(Array.from({ length: 3000 }, (_, i) => ({ id: `l${i}`, n: i, pad })));
  await left.put({ id: "both", n: -1 });
  await right.put({ id: "both", n: -1 });
  let isWriting = true;
  // Two documents that are always changed together.
  const writing = (async () => {
    for (let n = 10_000; isWriting; n += 1) {
      await database.transaction(async (tx) => {
        await tx.collection<Pair>("left").save({ id: "both", n });
        await tx.collection<Pair>("right").save({ id: "both", n });
      });
    }
  })();
  const { clusterId } = await database.status();
  const source = () => ({ clusterId: String(clusterId), blocks: backupBlocks(database.client) });
  const file = `${folder.path}/backup`;
  const report = await writeBackup(platform, source(), file);
  isWriting = false;
  await writing;
  expect(report).toMatchObject({ clusterId, collections: 2, documents: 3002 });
  expect((await rejection(writeBackup(platform, source(), file))).code).toBe("CONFIG");
  expect(existsSync(`${file}.partial`)).toBe(false);

  const [port] = await freePorts(1);
  const address = `127.0.0.1:${port}`;
  const dataDirectory = `${folder.path}/restored`;
  const restored = await restoreBackup(platform, file, { id: "r1", address, dataDirectory });
  expect(restored.clusterId).not.toBe(clusterId);
  expect(
    (await rejection(restoreBackup(platform, file, { id: "r1", address, dataDirectory }))).code,
  ).toBe("CONFIG");
  const node = await Node.open(
    platform,
    parseNodeConfig({ id: "r1", dataDirectory, listen: address }),
  );
  const other = await connect(`cstore://${address}`);
  const copies = await Promise.all(
    ["left", "right"].map((name) => other.collection<Pair>(name).findById("both")),
  );
  expect(copies[0]).toEqual(copies[1]!);
  expect(await other.collection("left").count()).toBe(3001);
  expect(await other.collection<Pair>("left").explain({ n: 5 })).toMatchObject({ index: "n" });
  expect((await rejection(other.collection<Pair>("left").insert({ id: "z", n: 5 }))).code).toBe(
    "DUPLICATE_KEY",
  );
  const version = await other.collection<Pair>("left").put({ id: "new", n: -5 });
  expect(version).toBeGreaterThan((await left.findVersioned("both"))!.version);
  await other.close();
  await node.stop();
}, 300_000);

test("a damaged backup is refused wherever it is damaged, and leaves nothing behind", async () => {
  const database = await cluster.connect();
  await database.collection("c").insertMany([{ id: 1 }, { id: 2 }]);
  const { clusterId } = await database.status();
  const file = `${folder.path}/backup`;
  const blocks = backupBlocks(database.client);
  await writeBackup(platform, { clusterId: String(clusterId), blocks }, file);
  const whole = readFileSync(file);
  const target = { id: "r1", address: "127.0.0.1:1", dataDirectory: `${folder.path}/restored` };
  for (let at = 0; at < whole.byteLength; at += 13) {
    const damaged = new Uint8Array(whole);
    damaged[at]! ^= 0x40;
    writeFileSync(file, damaged);
    expect((await rejection(readBackup(platform, file))).code).toBe("CORRUPTION");
    writeFileSync(file, whole.subarray(0, at));
    expect((await rejection(restoreBackup(platform, file, target))).code).toBe("CORRUPTION");
  }
  expect(existsSync(target.dataDirectory)).toBe(false);
}, 300_000);
