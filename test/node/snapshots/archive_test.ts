/**
 * Log archives behind backups, and states of any moment in them.
 *
 * @module
 */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { freePorts } from "../../../cli/local/local_cluster.ts";
import { backupBlocks, logBatches } from "../../../src/client/state_export.ts";
import { connect, type RemoteDatabase } from "../../../src/mod.ts";
import { parseNodeConfig } from "../../../src/node/config/node_config.ts";
import { Node } from "../../../src/node/node.ts";
import {
  archiveStart,
  type Recovery,
  restoreBackup,
  writeBackup,
} from "../../../src/node/snapshots/backup.ts";
import { LogArchive } from "../../../src/node/snapshots/log_archive.ts";
import { systemPlatform } from "../../../src/platform/platform.ts";
import { decodeBatchHeader } from "../../../src/protocol/encoding/batch_codec.ts";
import { freshFolder, rejection, type Settings, TestCluster } from "../test_cluster.ts";

const platform = systemPlatform();
let cluster: TestCluster;
let folder: ReturnType<typeof freshFolder>;
let file: string;
let dir: string;
let restores = 0;

interface Pair {
  id: string;
  n: number;
}

beforeEach(() => {
  folder = freshFolder();
  file = `${folder.path}/backup`;
  dir = `${folder.path}/archive`;
});

afterEach(async () => {
  await cluster.stop();
  folder.remove();
});

async function begun(options: Settings = {}): Promise<RemoteDatabase> {
  cluster = await TestCluster.start(3, options);
  const database = await cluster.connect();
  await database.collection("left").createIndex("n", { keys: "n" });
  await database.collection("left").put({ id: "both", n: 0 });
  await database.collection("right").put({ id: "both", n: 0 });
  await backUp(database, file);
  return database;
}

async function backUp(database: RemoteDatabase, path: string): Promise<void> {
  const { clusterId } = await database.status();
  const source = { clusterId: String(clusterId), blocks: backupBlocks(database.client) };
  await writeBackup(platform, source, path);
}

/** Copies all there is now. */
async function copyTo(archive: LogArchive, database: RemoteDatabase): Promise<void> {
  while (true) {
    const batches = await logBatches(database.client, archive.end);
    if (batches.length === 0) return;
    await archive.append(batches);
  }
}

/** Both documents in a new cluster that was restored so. */
async function restored(recovery: Recovery): Promise<readonly (Pair | undefined)[]> {
  restores += 1;
  const [port] = await freePorts(1);
  const address = `127.0.0.1:${port}`;
  const dataDirectory = `${folder.path}/restored${restores}`;
  await restoreBackup(platform, file, { id: "r1", address, dataDirectory, recovery });
  const config = parseNodeConfig({ id: "r1", dataDirectory, listen: address });
  const node = await Node.open(platform, config);
  const other = await connect(`cstore://${address}`);
  try {
    const names = ["left", "right"];
    expect((await other.collection("left").explain({ n: 1 })).index).toBe("n");
    return await Promise.all(names.map((name) => other.collection<Pair>(name).findById("both")));
  } finally {
    await other.close();
    await node.stop();
  }
}

test("a state of any moment, through a failover and a restart of the archive", async () => {
  const database = await begun();
  const start = await archiveStart(platform, file);
  let archive = await LogArchive.open(platform, dir, start);
  const moments: { readonly index: number; readonly timeMs: number; readonly n: number }[] = [];
  for (let n = 1; n <= 6; n += 1) {
    await database.transaction(async (tx) => {
      await tx.collection<Pair>("left").save({ id: "both", n });
      await tx.collection<Pair>("right").save({ id: "both", n });
    });
    await copyTo(archive, database);
    moments.push({ index: archive.end.index, timeMs: Date.now(), n });
    await Bun.sleep(5);
    if (n === 3) {
      await archive.close();
      await cluster.kill(await cluster.leader());
      archive = await LogArchive.open(platform, dir);
    }
  }
  const { index: last } = archive.end;
  await archive.close();
  for (const { index, timeMs, n } of [moments[0]!, moments[2]!, moments[4]!]) {
    const pair = { id: "both", n };
    expect(await restored({ archive: dir, index })).toEqual([pair, pair]);
    expect(await restored({ archive: dir, timeMs })).toEqual([pair, pair]);
  }
  for (const goal of [{ index: 1 }, { timeMs: start.base.index }]) {
    const recovery = { archive: dir, ...goal };
    const place = { id: "r1", address: "127.0.0.1:1", dataDirectory: `${folder.path}/none` };
    const error = await rejection(restoreBackup(platform, file, { ...place, recovery }));
    expect(error.message).toContain("before the backup");
  }
  const newest = { id: "both", n: 6 };
  expect(await restored({ archive: dir })).toEqual([newest, newest]);
  const target = { id: "r1", address: "127.0.0.1:1", dataDirectory: `${folder.path}/none` };
  for (const goal of [{ index: last + 1 }, { timeMs: Date.now() }]) {
    const recovery = { archive: dir, ...goal };
    const error = await rejection(restoreBackup(platform, file, { ...target, recovery }));
    expect(error.code).toBe("CONFIG");
    expect(error.message).toContain(`entry ${last}`);
  }
}, 300_000);

test("an archive takes what follows, of its cluster and with its backup, and nothing else", async () => {
  const database = await begun();
  const start = await archiveStart(platform, file);
  const archive = await LogArchive.open(platform, dir, start);
  expect((await rejection(LogArchive.open(platform, dir))).code).toBe("LOCKED");
  for (let n = 1; n <= 5; n += 1) await database.collection("left").put({ id: "both", n });
  const batches = await logBatches(database.client, archive.end);
  expect(batches.length).toBeGreaterThanOrEqual(5);
  expect((await rejection(archive.append(batches.slice(1)))).code).toBe("CORRUPTION");
  const damaged = batches[0]!.slice();
  damaged[damaged.length - 1]! ^= 1;
  expect((await rejection(archive.append([damaged]))).code).toBe("PROTOCOL");
  await archive.append(batches.slice(0, 2));
  expect((await rejection(archive.append(batches.slice(0, 2)))).code).toBe("CORRUPTION");
  await archive.append(batches.slice(2));
  expect(archive.end.index).toBe(decodeBatchHeader(batches.at(-1)!).index);
  await archive.close();

  const end = archive.end;
  for (const after of [
    { ...end, index: end.index + 1000 },
    { ...end, term: end.term + 1 },
  ]) {
    expect((await rejection(logBatches(database.client, after))).code).toBe("VALIDATION");
  }
  const later = `${folder.path}/later`;
  await database.collection("left").put({ id: "both", n: 6 });
  await backUp(database, later);
  const laterStart = await archiveStart(platform, later);
  expect((await rejection(LogArchive.open(platform, dir, laterStart))).code).toBe("CONFIG");
  const other = { ...start, clusterId: "f".repeat(16) };
  expect((await rejection(LogArchive.open(platform, dir, other))).code).toBe("CONFIG");
  expect((await rejection(LogArchive.open(platform, `${dir}2`))).code).toBe("CONFIG");
  const wrongBackup = { id: "r1", address: "127.0.0.1:1", dataDirectory: `${folder.path}/none` };
  const recovery = { archive: dir };
  const error = await rejection(restoreBackup(platform, later, { ...wrongBackup, recovery }));
  expect(error.code).toBe("CONFIG");

  const [segment] = readdirSync(`${dir}/wal`).filter((name) => name.endsWith(".segment"));
  const path = `${dir}/wal/${segment}`;
  const bytes = readFileSync(path);
  bytes[bytes.indexOf(Buffer.from(batches[0]!.subarray(0, 64))) + 70]! ^= 1;
  writeFileSync(path, bytes);
  expect((await rejection(restoreBackup(platform, file, { ...wrongBackup, recovery }))).code).toBe(
    "CORRUPTION",
  );
}, 300_000);

test("an archive that comes too late is told so", async () => {
  const database = await begun({ snapshotLogBytes: 256 * 1024, segmentSizeBytes: 128 * 1024 });
  const start = await archiveStart(platform, file);
  const archive = await LogArchive.open(platform, dir, start);
  const text = "x".repeat(2000);
  let error: { code: string } | undefined;
  for (let round = 0; round < 60 && error === undefined; round += 1) {
    const documents = Array.from({ length: 100 }, (_, i) => ({ id: i, round, text }));
    await database.collection("left").putMany(documents);
    error = await logBatches(database.client, archive.end).then(
      () => undefined,
      (cause: { code: string }) => cause,
    );
  }
  expect(error?.code).toBe("COMPACTED");
  await archive.close();
}, 300_000);
