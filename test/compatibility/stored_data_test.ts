/**
 * Files that released formats consist of, written by the build that `testdata/README.md` names:
 * every later build reads them, and comes to the same state.
 *
 * @module
 */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { fromTaggedJson } from "../../cli/tagged_json.ts";
import { NEWEST_RULES } from "../../src/base/rules_version.ts";
import { DocumentStateMachine } from "../../src/database/document_state_machine.ts";
import { StateRestorer } from "../../src/database/snapshot_codec.ts";
import { FrozenDigest } from "../../src/database/state_digest.ts";
import { connect, type RemoteDatabase, WALDatabase } from "../../src/mod.ts";
import { parseNodeConfig } from "../../src/node/config/node_config.ts";
import { Node } from "../../src/node/node.ts";
import { openStorage } from "../../src/node/recovery/open_storage.ts";
import { readBackup, restoreBackup } from "../../src/node/snapshots/backup.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { zlibCompressor } from "../../src/platform/compression.ts";
import { systemPlatform } from "../../src/platform/platform.ts";
import { NO_RESULTS } from "../../src/raft/state_machine.ts";
import { Applier } from "../../src/replication/raft/applier.ts";
import { SnapshotStore } from "../../src/storage/snapshot_store.ts";
import { freshFolder } from "../node/test_cluster.ts";

const DATA = join(import.meta.dir, "testdata/0.1.0");
const platform = systemPlatform();
const { digest, clusterId, members, archiveEnd } = JSON.parse(
  readFileSync(join(DATA, "expected.json"), "utf8"),
);

let folder: ReturnType<typeof freshFolder>;
beforeEach(() => {
  folder = freshFolder();
});
afterEach(() => folder.remove());

/** Lays a folder out as it was; the zeros at the end of preallocated files were left out. */
function unpack(name: string): string {
  const path = join(folder.path, name);
  const packed = JSON.parse(gunzipSync(readFileSync(join(DATA, `${name}.json.gz`))).toString());
  for (const [file, { size, bytes }] of Object.entries<{ size: number; bytes: string }>(packed)) {
    const target = join(path, file);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, Buffer.from(bytes, "base64"));
    truncateSync(target, size);
  }
  return path;
}

function digestOf(machine: DocumentStateMachine): unknown {
  const frozen = new FrozenDigest(machine);
  const work = frozen.digest();
  let step = work.next();
  while (step.done !== true) step = work.next();
  frozen.thaw();
  const collections = step.value.collections.map(({ ranges: _, ...rest }) => rest);
  return { ...step.value, collections };
}

/** The documents of the export, by id. */
function exported(): Map<unknown, Record<string, unknown>> {
  const lines = readFileSync(join(DATA, "export.jsonl"), "utf8").trimEnd().split("\n");
  const documents = lines.map((line) => fromTaggedJson(line, "export") as Record<string, unknown>);
  return new Map(documents.map((document) => [document["id"], document]));
}

test.each([
  ["leader_folder", members[0].id],
  ["follower_folder", members[1].id],
])("%s: snapshot and log lead to the state of then", async (name, id) => {
  const dataDirectory = unpack(name);
  const { log, machine, directory, configurations } = await openStorage(
    platform,
    parseNodeConfig({ id, dataDirectory }),
  );
  try {
    expect(directory.identity.clusterId).toBe(clusterId);
    const places = configurations.at(-1)?.configuration.members;
    expect(places?.map((member) => ({ id: member.id, address: member.address }))).toEqual(members);
    expect(machine.appliedIndex).toBeLessThan(digest.position.index);
    const hooks = { resultsFor: () => NO_RESULTS, applied: () => undefined };
    const applier = new Applier({ log, machine }, systemClock, hooks);
    const { index } = digest.position;
    applier.advance(index);
    await new Promise<void>((resolve) => applier.whenApplied(index, resolve));
    expect(digestOf(machine)).toEqual(digest);
  } finally {
    await log.close();
    directory.release();
  }
});

test("snapshot: a file on its own is loaded whole", async () => {
  const snapshots = join(folder.path, "snapshots");
  mkdirSync(snapshots);
  copyFileSync(join(DATA, "snapshot"), join(snapshots, "0000000000000053.snapshot"));
  const machine = new DocumentStateMachine(zlibCompressor, 1);
  const restorer = new StateRestorer(machine);
  const store = new SnapshotStore(platform, snapshots, clusterId);
  expect(await store.load((block) => restorer.block(block))).toMatchObject({ index: 53, term: 2 });
  restorer.end();
  expect(machine.documentCount).toBe(61);
});

test("backup: its documents are those of the export", async () => {
  const file = join(DATA, "backup");
  expect(await readBackup(platform, file)).toMatchObject({ documents: 62 });
  const expected = exported();
  for (const id of ["after the backup", "t3"]) expected.delete(id);
  const { things, both, fractions } = await restored({});
  things.delete("t3");
  expect(things).toEqual(expected);
  expect(both).toEqual([{ id: "both", n: 1 }]);
  expect(fractions).toEqual([
    { id: -1.5, v: "fraction" },
    { id: 7, v: "seven" },
  ]);
});

test("archive: the backup and the log behind it are the documents of the export", async () => {
  const archive = unpack("archive");
  const { things, both } = await restored({ recovery: { archive, index: archiveEnd.index } });
  expect(things).toEqual(exported());
  expect(both).toEqual([{ id: "both", n: 2 }]);
});

async function restored(recovery: object) {
  const dataDirectory = join(folder.path, "restored");
  const place = { id: "r1", address: "127.0.0.1:1", dataDirectory };
  await restoreBackup(platform, join(DATA, "backup"), { ...place, ...recovery });
  const listen = "127.0.0.1:0";
  const node = await Node.open(platform, parseNodeConfig({ id: "r1", dataDirectory, listen }));
  const database = await connect(`cstore://127.0.0.1:${node.network?.endpoint?.port}`);
  try {
    const find = (name: string) => database.collection(name).find({}, { sort: { id: 1 } });
    expect((await database.listCollections()).sort()).toEqual([
      "by number",
      "left",
      "numbered",
      "right",
      "things",
    ]);
    const indexes = await database.collection("things").listIndexes();
    expect(indexes.map(({ name }) => name).sort()).toEqual(["age", "name", "pair"]);
    const things = new Map((await find("things")).map((document) => [document["id"], document]));
    return { things, both: await find("left"), fractions: await find("by number") };
  } finally {
    await database.close();
    await node.stop();
  }
}

test("rules: a state of then follows the first until its operator raises them", async () => {
  const dataDirectory = join(folder.path, "restored");
  const place = { id: "r1", address: "127.0.0.1:1", dataDirectory };
  await restoreBackup(platform, join(DATA, "backup"), place);
  const config = parseNodeConfig({ id: "r1", dataDirectory, listen: "127.0.0.1:0" });
  const run = async <R>(use: (database: RemoteDatabase) => Promise<R>): Promise<R> => {
    const node = await Node.open(platform, config);
    const database = await connect(`cstore://127.0.0.1:${node.network?.endpoint?.port}`);
    try {
      return await use(database);
    } finally {
      await database.close();
      await node.stop();
    }
  };
  const isOldRule = async (database: RemoteDatabase): Promise<boolean> => {
    const things = database.collection("rules");
    await things.put({ id: "a", n: null });
    return things.update("a", { $inc: { n: 1 } }).then(
      () => true,
      () => false,
    );
  };
  await run(async (database) => {
    expect(await database.cluster({ action: "rules" })).toMatchObject({
      rules: 1,
      newest: NEWEST_RULES,
    });
    expect((await database.status()).rules).toBe(1);
    expect(await isOldRule(database)).toBe(true);
    const raised = await database.cluster({ action: "upgrade" });
    expect(raised).toMatchObject({
      rules: NEWEST_RULES,
      members: [{ id: "r1", newest: NEWEST_RULES, isUp: true }],
    });
    expect(await isOldRule(database)).toBe(false);
  });
  await run(async (database) => {
    expect(await database.cluster({ action: "upgrade" })).toMatchObject({ rules: NEWEST_RULES });
    expect(await isOldRule(database)).toBe(false);
  });
});

test("embedded folder: documents, indexes, settings and numbers go on", async () => {
  const database = new WALDatabase({ name: "shop", root: unpack("embedded_folder") });
  try {
    expect(await database.collection("orders").find({ n: 4 })).toEqual([{ id: "o1", n: 4 }]);
    expect((await database.collection("orders").explain({ n: 9 })).index).toBe("n");
    expect(await database.collection("numbered").insert({ v: 2 })).toEqual({ id: 1, v: 2 });
    const [expiry] = await database.collection("sessions").listIndexes();
    expect(expiry).toMatchObject({ name: "expiry", expireAfterMs: 1000, ready: true });
    await expect(database.collection("orders").insert({ id: "o3" })).rejects.toMatchObject({
      code: "UNCHECKED",
    });
  } finally {
    await database.close();
  }
});
