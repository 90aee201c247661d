/**
 * The databases that run in the caller's process: opened, closed, killed and opened again.
 *
 * @module
 */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync, rmSync } from "node:fs";
import { freePorts } from "../../../cli/local/local_cluster.ts";
import { ReplicatedWALDatabase } from "../../../src/node/embedded/replicated_wal_database.ts";
import { WALDatabase } from "../../../src/node/embedded/wal_database.ts";
import { systemClock } from "../../../src/platform/clock.ts";
import { systemPlatform } from "../../../src/platform/platform.ts";
import { openDataDirectory } from "../../../src/storage/data_directory.ts";
import { MortalPlatform } from "../mortal_platform.ts";
import { freshFolder, rejection } from "../test_cluster.ts";

let folder: ReturnType<typeof freshFolder>;

async function using(
  database: WALDatabase,
  run: (database: WALDatabase) => Promise<unknown>,
): Promise<void> {
  try {
    await run(database);
  } finally {
    await database.close();
  }
}

beforeEach(() => {
  folder = freshFolder();
});

afterEach(() => folder.remove());

describe("WALDatabase", () => {
  test("opens itself, keeps its data over close, and refuses use after it", async () => {
    const config = { name: "app", root: folder.path };
    const first = new WALDatabase(config);
    await first.collection("c").insertMany([{ id: 1 }, { id: 2 }]);
    await Promise.all([first.close(), first.close()]);
    expect((await rejection(first.collection("c").put({ id: 3 }))).code).toBe("CLOSED");
    const second = new WALDatabase(config);
    expect(await second.collection("c").count()).toBe(2);
    await second.close();
  });

  test("what was acknowledged before a kill is there", async () => {
    const platform = new MortalPlatform();
    const killed = new WALDatabase({ name: "app", root: folder.path, platform });
    for (let i = 0; i < 20; i += 1) await killed.collection("c").put({ id: i });
    await new Promise<void>((resolve) => systemClock.soon(resolve));
    await platform.kill();
    const database = new WALDatabase({ name: "app", root: folder.path });
    expect(await database.collection("c").count()).toBe(20);
    await database.close();
  });

  test("a second one on the same folder is refused, another name is not", async () => {
    const first = new WALDatabase({ name: "app", root: folder.path });
    await first.open();
    const second = new WALDatabase({ name: "app", root: folder.path });
    expect((await rejection(second.open())).code).toBe("LOCKED");
    await second.close();
    const other = new WALDatabase({ name: "other", root: folder.path });
    await other.open();
    await other.close();
    await first.close();
  });

  test("a first start that crashed before it wrote anything is gone on with", async () => {
    const config = { name: "app", root: folder.path };
    const home = `${folder.path}/app/n1`;
    await using(new WALDatabase(config), (database) => database.open());
    for (const name of readdirSync(home)) {
      if (name !== "identity") rmSync(`${home}/${name}`, { recursive: true });
    }
    await using(new WALDatabase(config), (database) => database.collection("c").put({ id: 1 }));
    await using(new WALDatabase(config), async (database) => {
      expect(await database.collection("c").count()).toBe(1);
    });
  });

  test("a folder that has joined a cluster, and has no log yet, is refused", async () => {
    const home = `${folder.path}/app/n1`;
    const expected = { clusterId: "a".repeat(16), nodeId: "n1", incarnation: "b".repeat(16) };
    (await openDataDirectory(systemPlatform(), home, expected)).release();
    const database = new WALDatabase({ name: "app", root: folder.path });
    expect((await rejection(database.open())).code).toBe("CONFIG");
    await database.close();
  });

  test("backup and restore: paths that are none, a file that is there or is missing", async () => {
    const database = new WALDatabase({ name: "app", root: folder.path });
    await database.collection("c").put({ id: 1 });
    const file = `${folder.path}/backup`;
    for (const path of ["", `${folder.path}/`, `${folder.path}/no/such`, `${folder.path}/app`]) {
      expect((await rejection(database.backup(path))).code).toBe("CONFIG");
    }
    const both = await Promise.allSettled([database.backup(file), database.backup(file)]);
    expect(both.filter(({ status }) => status === "fulfilled").length).toBe(1);
    expect((await rejection(database.backup(file))).code).toBe("CONFIG");
    expect(readdirSync(folder.path).sort()).toEqual(["app", "backup"]);
    const config = { name: "again", root: folder.path };
    expect((await rejection(WALDatabase.restore(config, `${file}2`))).code).toBe("CONFIG");
    await WALDatabase.restore(config, file);
    expect((await rejection(WALDatabase.restore(config, file))).code).toBe("CONFIG");
    await database.close();
    await using(new WALDatabase(config), async (again) => {
      expect(await again.collection("c").findById(1)).toEqual({ id: 1 });
    });
  });

  test("closed before it was used: nothing is made", async () => {
    const database = new WALDatabase({ name: "app", root: folder.path });
    await database.close();
    expect((await rejection(database.open())).code).toBe("CLOSED");
  });
});

describe("ReplicatedWALDatabase", () => {
  async function trio(prefix = ""): Promise<ReplicatedWALDatabase[]> {
    const ports = await freePorts(3);
    const nodes = ports.map((port, i) => ({
      id: `node-${i + 1}`,
      address: `${prefix}localhost:${port}`,
    }));
    return ports.map(
      (port, i) =>
        new ReplicatedWALDatabase({
          name: "app",
          root: folder.path,
          cluster: {
            nodeId: `node-${i + 1}`,
            port,
            nodes,
            replication: { mode: "MASTER_SLAVE", syncMode: "SYNC", asyncTimeout: 5000 },
          },
        }),
    );
  }

  test("three of them with the configuration as people write it", async () => {
    const databases = await trio();
    await Promise.all(databases.map((database) => database.open()));
    const [one, two, three] = databases;
    if (one === undefined || two === undefined || three === undefined) throw new RangeError("3");
    const leader = await one.waitForLeader();
    expect(await two.waitForLeader()).toBe(leader);
    await one.collection("c").put({ id: 1 });
    expect(await two.collection("c").findById(1)).toEqual({ id: 1 });
    await three.collection("c").put({ id: 2 });
    expect(await one.collection("c").count()).toBe(2);
    expect(databases.filter((database) => database.isLeader())).toHaveLength(1);
    const leading = databases.find((database) => database.isLeader());
    const next = leader === "node-1" ? "node-2" : "node-1";
    await leading?.transferLeadership(next);
    expect(await leading?.waitForLeader()).toBe(next);
    expect((await one.getClusterStatus()).members).toHaveLength(3);
    await two.close();
    await one.collection("c").put({ id: 3 });
    expect(await three.collection("c").count()).toBe(3);
    await Promise.all(databases.map((database) => database.close()));
    expect((await rejection(one.waitForLeader())).code).toBe("CLOSED");
  });

  test("an IPv6 address in the list", () => {
    const cluster = {
      nodeId: "a",
      host: "::1",
      port: 7001,
      nodes: [
        { id: "a", address: "[::1]:7001" },
        { id: "b", address: "[::1]", port: 7002 },
      ],
      replication: { mode: "MASTER_SLAVE", syncMode: "SYNC" },
    } as const;
    const make = (): unknown =>
      new ReplicatedWALDatabase({ name: "app", root: folder.path, cluster });
    expect(make).not.toThrow();
  });

  test.each([
    ["a mode that is not there", { mode: "MASTERLESS", syncMode: "SYNC" }, {}],
    ["a sync mode that is not there", { mode: "MASTER_SLAVE", syncMode: "MAYBE" }, {}],
    [
      "an own id that is not in the list",
      { mode: "MASTER_SLAVE", syncMode: "SYNC" },
      { nodeId: "z" },
    ],
    ["an id twice", { mode: "MASTER_SLAVE", syncMode: "SYNC" }, { twice: true }],
  ])("%s is CONFIG at once", (_name, replication, change: { nodeId?: string; twice?: boolean }) => {
    const a = { id: "a", address: "localhost:7001" };
    const nodes = change.twice === true ? [a, { ...a, address: "localhost:7002" }] : [a];
    const cluster = { nodeId: change.nodeId ?? "a", port: 7001, nodes, replication };
    const make = (): unknown => new ReplicatedWALDatabase({ name: "app", cluster } as never);
    expect(make).toThrow(expect.objectContaining({ code: "CONFIG" }));
  });
});
