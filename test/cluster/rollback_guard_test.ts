/**
 * A data folder that went back in time neither votes nor acknowledges.
 *
 * @module
 */

import { afterEach, describe, expect, test } from "bun:test";
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { RolledBackError } from "../../src/base/errors.ts";
import { PeerWatch, type PeerWatchParts } from "../../src/cluster/peer_watch.ts";
import { RollbackGuard, type RollbackGuardParts } from "../../src/cluster/rollback_guard.ts";
import { systemPlatform } from "../../src/platform/platform.ts";
import type { Hello } from "../../src/protocol/wire/handshake.ts";
import { Configuration } from "../../src/raft/configuration.ts";
import { readAcknowledged, writeAcknowledged } from "../../src/storage/acknowledged_file.ts";
import { freshFolder, type Seat, TestCluster, waitFor } from "../node/test_cluster.ts";
import { IDENTITY } from "../storage/log_fixture.ts";

const folder = freshFolder();
const platform = systemPlatform();
const NAME = `${folder.path}/acknowledged`;
afterEach(() => rmSync(NAME, { force: true }));

const members = ["n1", "n2", "n3"].map((id) => {
  return { id, address: "", role: "voter", incarnation: "" } as const;
});

/** The guard of n1, which leads in term 3; `match` of n2. */
function guard(options: { role?: string; match?: number; commitIndex?: number } = {}) {
  const { role = "leader", match = 0, commitIndex = 100 } = options;
  const sent: { to: string; data: unknown }[] = [];
  const view = {
    role,
    term: 3,
    leader: "n1",
    commitIndex,
    configuration: new Configuration(members),
  };
  const peers = [
    { id: "n1", match: 120 },
    { id: "n2", match },
  ];
  const parts = {
    platform,
    directory: folder.path,
    identity: { clusterId: "c", nodeId: "n1", incarnation: "one" },
    driver: { view, peers: () => peers },
    bindings: { incarnationOf: (id: string) => ({ n1: "one", n2: "two" })[id] ?? "" },
    network: {
      bootId: "b-n1",
      sendMessage: async (to: string, message: { data: unknown }) => {
        sent.push({ to, data: message.data });
      },
    },
  };
  return { guard: new RollbackGuard(parts as unknown as RollbackGuardParts), sent };
}

function hello(fields: Partial<Hello>): Hello {
  const base = { role: "peer", nodeId: "n2", incarnation: "two", bootId: "new", term: 3 };
  return { ...base, durableIndex: 50, ...fields } as Hello;
}

const known = { id: "n2", incarnation: "two", bootId: "old", index: 51 };

describe("a handshake", () => {
  test.each<readonly [string, Partial<Hello>, boolean]>([
    ["one entry short", {}, true],
    ["exactly there", { durableIndex: 51 }, false],
    ["another folder", { incarnation: "three" }, false],
    ["the same process", { bootId: "old" }, false],
    ["another node", { nodeId: "n3" }, false],
    ["a client", { role: "client" }, false],
    ["a build that does not say it", { durableIndex: undefined as never }, false],
  ])("%s", async (_name, fields, isRefused) => {
    await writeAcknowledged(platform.files, folder.path, [known]);
    const { guard: checked } = guard();
    const admit = () => checked.admit(hello(fields));
    if (isRefused) expect(admit).toThrow(RolledBackError);
    else expect(admit).not.toThrow();
  });

  test("what was acknowledged to this leader in its term counts, committed or not", () => {
    const { guard: leader } = guard({ match: 60, commitIndex: 10 });
    leader.acknowledged(hello({ bootId: "old" }));
    expect(() => leader.admit(hello({ durableIndex: 59 }))).toThrow("acknowledged entry 60");
    expect(() => leader.admit(hello({ durableIndex: 60 }))).not.toThrow();
    // A leader of term 4 may have replaced what this one does not know to be committed.
    expect(() => leader.admit(hello({ durableIndex: 59, term: 4 }))).not.toThrow();
    expect(() => leader.admit(hello({ durableIndex: 59, bootId: "old" }))).not.toThrow();
  });
});

test("a snapshot takes the log's place: the handshake still says what was durable", () => {
  const driver = { view: { term: 3, role: "follower", lastIndex: 9, durableIndex: 9 } };
  const watch = new PeerWatch({
    ...{ identity: IDENTITY, driver, leaseMs: undefined },
    ownAddress: () => "",
  } as unknown as PeerWatchParts);
  expect(watch.hello().durableIndex).toBe(9);
  driver.view = { ...driver.view, lastIndex: 40, durableIndex: 0 };
  expect(watch.hello().durableIndex).toBe(9);
  driver.view = { ...driver.view, durableIndex: 40 };
  expect(watch.hello().durableIndex).toBe(40);
});

describe("what is kept", () => {
  test("a leader keeps and tells committed entries of known folders, twice a second", async () => {
    const { guard: leader, sent } = guard({ match: 60 });
    leader.acknowledged(hello({ bootId: "b-n2" }));
    leader.tick(1000);
    leader.tick(1499);
    const kept = [
      { id: "n1", incarnation: "one", bootId: "b-n1", index: 100 },
      { id: "n2", incarnation: "two", bootId: "b-n2", index: 60 },
    ];
    expect(sent).toEqual([
      { to: "n2", data: kept },
      { to: "n3", data: kept },
    ]);
    leader.tick(1500);
    expect(sent).toHaveLength(4);
    await waitFor("the file", () => existsSync(NAME));
    expect(readAcknowledged(platform.files, folder.path)).toEqual(kept);
  });

  test("a follower takes it from its leader only, and never goes back", async () => {
    const { guard: follower } = guard({ role: "follower" });
    const from = (sourceNodeId: string, data: unknown) => {
      follower.onMessage({ type: "ACKNOWLEDGED", sourceNodeId, data, timestamp: 0, checksum: "" });
    };
    from("n3", [{ ...known, index: 90 }]);
    from("n1", [{ ...known, index: 1.5 }]);
    from("n1", { ...known });
    from("n1", [{ ...known, bootId: "x".repeat(201) }]);
    expect(() => follower.admit(hello({ durableIndex: 0 }))).not.toThrow();
    from("n1", [known]);
    from("n1", [{ ...known, index: 7 }]);
    expect(() => follower.admit(hello({}))).toThrow("acknowledged entry 51");
    await waitFor("the file", () => existsSync(NAME));
    expect(readAcknowledged(platform.files, folder.path)).toEqual([known]);
  });

  test("a damaged file is begun anew", async () => {
    await writeAcknowledged(platform.files, folder.path, [known]);
    const bytes = readFileSync(NAME);
    bytes[9] = (bytes[9] ?? 0) ^ 1;
    writeFileSync(NAME, bytes);
    expect(readAcknowledged(platform.files, folder.path)).toBeUndefined();
    expect(() => guard().guard.admit(hello({ durableIndex: 0 }))).not.toThrow();
  });
});

/** Copies a stopped node's folder, has writes acknowledged, and puts the copy in its place. */
async function setBack(cluster: TestCluster, seat: Seat): Promise<() => void> {
  const copy = `${seat.dataDirectory}-copy`;
  await cluster.stopNode(seat);
  cpSync(seat.dataDirectory, copy, { recursive: true });
  await cluster.startNode(seat);
  const database = await cluster.connect();
  const collection = await database.collection("c");
  await waitFor("the node's return", async () => {
    await collection.put({ id: "after", value: 1 });
    const leader = (await cluster.leader()).node;
    const peer = leader?.driver.peers().find(({ id }) => id === seat.id);
    return leader !== undefined && (peer?.match ?? 0) >= leader.driver.view.commitIndex;
  });
  const { commitIndex } = (await cluster.leader()).node?.driver.view ?? { commitIndex: 0 };
  await waitFor("the members' knowledge", () =>
    cluster.seats
      .filter((other) => other !== seat)
      .every((other) => {
        const found = readAcknowledged(platform.files, other.dataDirectory) ?? [];
        return found.some(({ id, index }) => id === seat.id && index >= commitIndex);
      }),
  );
  return () => {
    rmSync(seat.dataDirectory, { recursive: true });
    cpSync(copy, seat.dataDirectory, { recursive: true });
  };
}

describe("a folder that went back", () => {
  test("the others run: its node ends, and `recover` brings it back", async () => {
    const cluster = await TestCluster.start(3);
    try {
      const [seat] = (await cluster.followers()) as [Seat];
      const restore = await setBack(cluster, seat);
      await cluster.kill(seat);
      restore();
      await cluster.startNode(seat).catch(() => undefined);
      const error = await waitFor("its end", () => seat.fatal);
      expect([error.code, error.remedy]).toEqual([
        "ROLLED_BACK",
        expect.stringContaining("cluster recover"),
      ]);
      const database = await cluster.connect();
      await database.cluster({ action: "recover", id: seat.id });
      rmSync(seat.dataDirectory, { recursive: true });
      await cluster.startNode(seat);
      await waitFor("its vote", async () => {
        const { configuration } = (await cluster.leader()).node?.driver.view ?? {};
        return configuration?.voters.includes(seat.id) === true;
      });
      const collection = await database.collection("c");
      expect(await collection.findById("after")).toEqual({ id: "after", value: 1 });
    } finally {
      await cluster.stop();
    }
  }, 120_000);

  test("all restarted: it does not vote for a node that lacks acknowledged writes", async () => {
    const cluster = await TestCluster.start(3);
    try {
      const [seat, lagging] = (await cluster.followers()) as [Seat, Seat];
      const restore = await setBack(cluster, seat);
      // From here on only the leader and `seat` acknowledge.
      await cluster.kill(lagging);
      const database = await cluster.connect();
      const collection = await database.collection("c");
      for (let i = 0; i < 20; i += 1) await collection.put({ id: `w${i}`, value: i });
      const leader = await cluster.leader();
      await cluster.kill(seat);
      await cluster.kill(leader);
      restore();
      await cluster.startNode(lagging);
      await cluster.startNode(seat).catch(() => undefined);
      expect((await waitFor("its end", () => seat.fatal)).code).toBe("ROLLED_BACK");
      expect(lagging.node?.isLeader).toBe(false);
      await cluster.startNode(leader);
      await cluster.leader();
      expect(await collection.count()).toBe(21);
    } finally {
      await cluster.stop();
    }
  }, 120_000);
});
