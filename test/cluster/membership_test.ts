/**
 * Members that come, go and change their roles while clients write, with real nodes: no
 * acknowledged write is lost, and who is not a member any more takes no part.
 *
 * @module
 */

import { afterEach, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import type { Node } from "../../src/node/node.ts";
import { expectAll, expectSame, startWriter, type Writer } from "../node/load.ts";
import { rejection, type Seat, type Settings, TestCluster, waitFor } from "../node/test_cluster.ts";

type Database = Awaited<ReturnType<TestCluster["connect"]>>;

let cluster: TestCluster;

afterEach(async () => {
  await cluster.stop();
});

async function start(count: number, settings: Settings = {}): Promise<Database> {
  cluster = await TestCluster.start(count, settings);
  return cluster.connect();
}

function nodeOf(seat: Seat): Node {
  if (seat.node === undefined) throw new RangeError(`${seat.id} runs`);
  return seat.node;
}

/** Roles by id, as a node's own newest configuration has them. */
function rolesOn(seat: Seat): Record<string, string> {
  const { members } = nodeOf(seat).driver.view.configuration;
  return Object.fromEntries(members.map(({ id, role }) => [id, role]));
}

/** Waits until every running node knows exactly these roles. */
async function roles(expected: Readonly<Record<string, string>>): Promise<void> {
  const running = (): Seat[] => cluster.seats.filter((seat) => seat.node !== undefined);
  try {
    await waitFor("the roles", () => {
      return running().every((seat) => Bun.deepEquals(rolesOn(seat), expected));
    });
  } catch {
    expect(running().map(rolesOn)).toEqual(running().map(() => ({ ...expected })));
  }
}

/** A follower, by its place among them. */
async function follower(at = 0): Promise<Seat> {
  const seat = (await cluster.followers())[at];
  if (seat === undefined) throw new RangeError("there are followers");
  return seat;
}

async function moreWrites(writer: Writer, count = 50): Promise<void> {
  const before = writer.acknowledged.size;
  await waitFor("more writes", () => writer.acknowledged.size >= before + count);
}

/** Ends the load; everything that was acknowledged is there, on every node the same. */
async function expectUnharmed(database: Database, writer: Writer): Promise<void> {
  await writer.stop();
  expect(writer.failed).toEqual([]);
  await expectSame(cluster);
  await expectAll(database, "load", writer);
}

const THREE = { n1: "voter", n2: "voter", n3: "voter" } as const;

describe("joining", () => {
  test("a node joins with one address and is promoted by itself, under load", async () => {
    const first = startWriter(await start(1), "first");
    await moreWrites(first);
    for (const id of ["n2", "n3"]) await cluster.join(id);
    await roles(THREE);
    await first.stop();
    expect(first.failed).toEqual([]);
    const database = await cluster.connect();
    await expectAll(database, "first", first);
    const writer = startWriter(database, "load");
    await moreWrites(writer);
    // It counts: with it two of three voters go on without the third.
    const old = await cluster.leader();
    await cluster.kill(old);
    await moreWrites(writer);
    await cluster.startNode(old);
    await expectUnharmed(database, writer);
  });

  test("any member can be asked to let a node join, also one that does not lead", async () => {
    await start(3);
    const { address } = await follower(1);
    const seat = await cluster.addSeat("n4", { join: ["127.0.0.1:1", address] });
    await cluster.startNode(seat);
    await roles({ ...THREE, n4: "voter" });
  });

  test("a port that the system assigns: the node keeps it over a restart", async () => {
    await start(1);
    const seat = await cluster.join("n2", { listen: "127.0.0.1:0" });
    await roles({ n1: "voter", n2: "voter" });
    const addressOf = (): string | undefined =>
      nodeOf(seat).driver.view.configuration.member("n2")?.address;
    const address = addressOf();
    expect(address).not.toEndWith(":0");
    await cluster.kill(seat);
    await cluster.startNode(seat, { listen: undefined });
    await waitFor("the node to follow", () => nodeOf(seat).driver.view.leader === "n1");
    expect(addressOf()).toBe(address as string);
  });

  test("a standby has everything, stays a learner, and votes for nobody", async () => {
    const database = await start(2);
    const writer = startWriter(database, "load");
    const standby = await cluster.join("n3", { isStandby: true });
    await moreWrites(writer, 200);
    await waitFor("the standby to be level", () => {
      return nodeOf(standby).machine.documentCount >= 100;
    });
    await roles({ n1: "voter", n2: "voter", n3: "standby" });
    const status = nodeOf(await cluster.leader()).status();
    expect(status.members.find(({ id }) => id === "n3")).toMatchObject({
      role: "learner",
      membership: "standby",
      waitsFor: "it stays a learner",
    });
    await expectUnharmed(database, writer);
    const lone = await follower();
    const { id } = await cluster.leader();
    await cluster.kill(cluster.seat(id));
    const asked = await rejection(
      (await cluster.connect(lone.address, { timeoutMs: 1500 })).collection("load").put({ id: 1 }),
    );
    expect(["NO_QUORUM", "NOT_LEADER", "DEADLINE", "UNREACHABLE"]).toContain(asked.code);
    expect(nodeOf(lone).isLeader).toBe(false);
    expect(nodeOf(standby).isLeader).toBe(false);
  });

  test("asked for twice the same node joins once; another folder does not take a voter's id", async () => {
    const database = await start(3);
    const seat = await cluster.addSeat("n4", { join: ["unused:1"] });
    const asked = {
      action: "join" as const,
      id: "n4",
      address: seat.address,
      incarnation: "a".repeat(16),
    };
    const first = await database.cluster(asked);
    const again = await database.cluster(asked);
    expect(first["clusterId"]).toBe(nodeOf(await cluster.leader()).clusterId);
    expect(again).toEqual(first);
    // A learner that never came up may begin again with another folder.
    const { members } = await database.cluster({ ...asked, incarnation: "b".repeat(16) });
    expect(members).toHaveLength(4);
    for (const taken of ["n1", "n2", "n3"]) {
      const other = { ...asked, id: taken, incarnation: "c".repeat(16) };
      const error = await rejection(database.cluster(other));
      expect([error.code, error.message]).toEqual([
        "MEMBERSHIP",
        expect.stringMatching(/has that id|has its address/),
      ]);
    }
    // Found by seed 326913641: a request that was repeated after its folder had been removed made a
    // member of it, which every other node then refused.
    const late = await rejection(database.cluster(asked));
    expect([late.code, late.message]).toEqual([
      "MEMBERSHIP",
      expect.stringContaining("removed meanwhile"),
    ]);
  });

  // Told too early, a node would take a folder for a place that the next leader knows nothing of.
  test("asked for again before it is committed: the answer waits, too", async () => {
    await start(3);
    const leader = await cluster.leader();
    const database = await cluster.connect(leader.address, { timeoutMs: 3000 });
    for (const seat of await cluster.followers()) await cluster.kill(seat);
    const join = {
      action: "join" as const,
      id: "n4",
      address: "127.0.0.1:9",
      incarnation: "d".repeat(16),
    };
    const first = rejection(database.cluster(join));
    await waitFor("the change to be logged", () => rolesOn(leader)["n4"] === "learner");
    const again = await rejection(database.cluster(join));
    for (const { code } of [await first, again]) {
      expect(["DEADLINE", "NOT_LEADER", "NO_QUORUM"]).toContain(code);
    }
  });

  test("an address or id of another member is refused, and nothing changes", async () => {
    const database = await start(3);
    const { address } = await follower();
    const join = { action: "join" as const, incarnation: "c".repeat(16) };
    const twin = await rejection(database.cluster({ ...join, id: "n4", address }));
    expect([twin.code, twin.message]).toEqual([
      "MEMBERSHIP",
      expect.stringContaining("has its address"),
    ]);
    for (const wrong of ["no address", "host:0", "host:99999", "a b:1"]) {
      const error = await rejection(database.cluster({ ...join, id: "n4", address: wrong }));
      expect([wrong, error.code]).toEqual([wrong, "CONFIG"]);
    }
    for (const id of ["-x", "a b", "x".repeat(64), "é"]) {
      const error = await rejection(database.cluster({ ...join, id, address: "127.0.0.1:9" }));
      expect([id, error.code]).toEqual([id, "CONFIG"]);
    }
    await roles(THREE);
  });

  test("without a cluster to join: the folder stays empty, and the error says where", async () => {
    await start(1);
    const { platform } = await cluster.addSeat("n2", {});
    const seat = await cluster.addSeat("n3", { join: [] });
    const error = await rejection(cluster.startNode(seat));
    expect([error.code, error.message]).toEqual(["CONFIG", expect.stringContaining("no cluster")]);
    expect(platform.files.exists(`${seat.dataDirectory}/identity`)).toBe(false);
    expect(platform.files.exists(`${seat.dataDirectory}/LOCK`)).toBe(false);
  });
});

describe("changes", () => {
  test("remove a follower: it stops with RemovedError, and never comes back", async () => {
    const database = await start(3);
    const writer = startWriter(database, "load");
    await moreWrites(writer);
    const gone = await follower();
    const answer = await database.cluster({ action: "remove", id: gone.id });
    expect(answer["isJoint"]).toBe(false);
    const fatal = await waitFor("the removed node's end", () => gone.fatal);
    expect([fatal.code, fatal.message]).toEqual(["REMOVED", expect.stringContaining(gone.id)]);
    const left = { ...THREE } as Record<string, string>;
    delete left[gone.id];
    await roles(left);
    await moreWrites(writer);
    await cluster.startNode(gone);
    expect((await waitFor("its second end", () => gone.fatal)).code).toBe("REMOVED");
    // With an empty folder it may come back under its id.
    rmSync(gone.dataDirectory, { recursive: true });
    const { address } = await cluster.leader();
    await cluster.startNode(gone, { members: [], join: [address] });
    await roles(THREE);
    await expectUnharmed(database, writer);
  });

  test("remove the leader: it hands over, no write is lost, and it stops", async () => {
    const database = await start(3);
    const writer = startWriter(database, "load");
    await moreWrites(writer);
    const old = await cluster.leader();
    await database.cluster({ action: "remove", id: old.id });
    expect((await waitFor("the removed node's end", () => old.fatal)).code).toBe("REMOVED");
    await moreWrites(writer);
    expect((await cluster.leader()).id).not.toBe(old.id);
    await expectUnharmed(database, writer);
    expect(cluster.nodes).toHaveLength(2);
  });

  test("a node that was down while it was removed is refused when it comes", async () => {
    const database = await start(3);
    const gone = await follower();
    await cluster.kill(gone);
    await database.cluster({ action: "remove", id: gone.id });
    await cluster.startNode(gone);
    expect((await waitFor("its end", () => gone.fatal)).code).toBe("REMOVED");
    await database.collection("c").put({ id: 1 });
  });

  test("down to one voter and up again; the only voter stays", async () => {
    const database = await start(3);
    const { id } = await cluster.leader();
    for (const seat of await cluster.followers()) {
      await database.cluster({ action: "remove", id: seat.id });
    }
    await roles({ [id]: "voter" });
    await database.collection("c").put({ id: 1 });
    const refusals = [
      { action: "remove" as const },
      { action: "role" as const, role: "standby" },
    ] as const;
    for (const asked of refusals) {
      const error = await rejection(database.cluster({ ...asked, id }));
      expect([error.code, error.message]).toEqual([
        "MEMBERSHIP",
        expect.stringContaining("only voter"),
      ]);
    }
    await cluster.join("n4");
    await roles({ [id]: "voter", n4: "voter" });
    await database.collection("c").put({ id: 2 });
  });

  test("add, then start: the node is let in under the id that was named", async () => {
    const database = await start(3);
    const seat = await cluster.addSeat("n4", { join: [(await cluster.leader()).address] });
    await database.cluster({ action: "add", id: "n4", address: seat.address, standby: true });
    const twice = await rejection(
      database.cluster({ action: "add", id: "n4", address: "127.0.0.1:9" }),
    );
    expect([twice.code, twice.message]).toEqual(["MEMBERSHIP", expect.stringContaining("n4")]);
    await cluster.startNode(seat, { isStandby: true });
    await roles({ ...THREE, n4: "standby" });
    await waitFor("it to follow", () => nodeOf(seat).driver.view.leader !== undefined);
  });

  test("roles: a voter becomes a standby and a voter again, the leader too", async () => {
    const database = await start(3);
    const writer = startWriter(database, "load");
    await moreWrites(writer);
    for (const seat of [await follower(), await cluster.leader()]) {
      await database.cluster({ action: "role", id: seat.id, role: "standby" });
      await roles({ ...THREE, [seat.id]: "standby" });
      expect((await cluster.leader()).id).not.toBe(seat.id);
      await moreWrites(writer);
      await database.cluster({ action: "role", id: seat.id, role: "voter" });
      await roles(THREE);
    }
    const same = await database.cluster({ action: "role", id: "n1", role: "voter" });
    expect(same["members"]).toHaveLength(3);
    const wrong = await rejection(database.cluster({ action: "role", id: "n1", role: "leader" }));
    expect(wrong.code).toBe("VALIDATION");
    await expectUnharmed(database, writer);
  });

  test("replace a follower, then the leader, each by a standby", async () => {
    const database = await start(3);
    const writer = startWriter(database, "load");
    await moreWrites(writer);
    const expected: Record<string, string> = { ...THREE };
    for (const [old, id] of [
      [await follower(), "n4"],
      [await cluster.leader(), "n5"],
    ] as const) {
      await cluster.join(id, { isStandby: true });
      const asked = { action: "replace" as const, id: old.id, by: id };
      await waitFor("the change", async () => {
        const done = await database.cluster(asked).then(
          (answer) => answer,
          (error) => {
            // Until it has caught up, and while the next leader has not looked at it yet.
            expect([error.code, error.message]).toEqual([
              expect.stringMatching(/MEMBERSHIP|OVERLOADED/),
              expect.stringMatching(/Cannot replace|hand|under way|own term/),
            ]);
            return undefined;
          },
        );
        return done;
      });
      delete expected[old.id];
      expected[id] = "voter";
      expect((await waitFor("the end of the old one", () => old.fatal)).code).toBe("REMOVED");
      await roles(expected);
      await moreWrites(writer);
    }
    await expectUnharmed(database, writer);
  });

  test("replace: who is not a voter, or not a learner, is refused", async () => {
    const database = await start(3);
    await cluster.join("n4", { isStandby: true });
    await roles({ ...THREE, n4: "standby" });
    const pairs = [
      ["n1", "n2"],
      ["n4", "n1"],
      ["n4", "n4"],
      ["n1", "n1"],
      ["n9", "n4"],
      ["n1", "n9"],
    ] as const;
    for (const [id, by] of pairs) {
      const error = await rejection(database.cluster({ action: "replace", id, by }));
      expect([id, by, error.code]).toEqual([id, by, "MEMBERSHIP"]);
    }
    await roles({ ...THREE, n4: "standby" });
  });

  test("one change at a time: another one meanwhile is told to wait", async () => {
    const database = await start(3);
    const down = await cluster.followers();
    const add = (id: string) => ({
      action: "add" as const,
      id,
      address: `127.0.0.1:${id.slice(1)}`,
    });
    const all = await Promise.allSettled(
      ["n11", "n12", "n13", "n14"].map((id) => database.cluster(add(id))),
    );
    const refused = all.flatMap((one) => (one.status === "rejected" ? [one.reason] : []));
    expect(refused.length).toBeGreaterThan(0);
    for (const { code, message } of refused) {
      expect([code, message]).toEqual(["OVERLOADED", expect.stringContaining("under way")]);
    }
    const { voters } = nodeOf(await cluster.leader()).driver.view.configuration;
    expect(voters).toEqual(["n1", "n2", "n3"]);
    expect(down).toHaveLength(2);
  });

  test("a change that would leave no quorum is refused, and the cluster goes on", async () => {
    const database = await start(3);
    const [dead, alive] = [await follower(0), await follower(1)];
    await cluster.kill(dead);
    await waitFor("the dead one to be missed", () => {
      return cluster.nodes.some((node) =>
        node.status().members.some(({ id, state }) => id === dead.id && state === "down"),
      );
    });
    const refused = [
      { action: "remove" as const, id: alive.id },
      { action: "role" as const, id: alive.id, role: "standby" },
      { action: "recover" as const, id: alive.id },
    ];
    for (const asked of refused) {
      const error = await rejection(database.cluster(asked));
      expect([asked.action, error.code, error.message]).toEqual([
        asked.action,
        "MEMBERSHIP",
        expect.stringContaining("1 of the 2 voters left are up"),
      ]);
    }
    await database.collection("c").put({ id: 1 });
    expect(rolesOn(await cluster.leader())).toEqual(THREE);
    // The dead one may go, and then the other.
    await database.cluster({ action: "remove", id: dead.id });
    await database.cluster({ action: "remove", id: alive.id });
    await database.collection("c").put({ id: 2 });
  });

  test("unknown ids are named, and nothing changes", async () => {
    const database = await start(2);
    const asked = [
      { action: "remove" as const, id: "n9" },
      { action: "recover" as const, id: "n9" },
      { action: "role" as const, id: "n9", role: "standby" },
    ];
    for (const request of asked) {
      const error = await rejection(database.cluster(request));
      expect([error.code, error.message]).toEqual(["MEMBERSHIP", expect.stringContaining("n9")]);
    }
    await roles({ n1: "voter", n2: "voter" });
  });
});

describe("lost folders", () => {
  test("a wiped folder under its old id: refused before `recover`, then a learner, then a voter", async () => {
    const database = await start(3);
    const writer = startWriter(database, "load");
    await moreWrites(writer);
    const wiped = await follower();
    await cluster.kill(wiped);
    rmSync(wiped.dataDirectory, { recursive: true });
    await cluster.startNode(wiped);
    expect((await waitFor("its end", () => wiped.fatal)).code).toBe("HANDSHAKE");
    rmSync(wiped.dataDirectory, { recursive: true });
    await database.cluster({ action: "recover", id: wiped.id });
    const learner = { ...THREE, [wiped.id]: "learner" };
    expect(rolesOn(await cluster.leader())).toEqual(learner);
    await moreWrites(writer);
    const { address } = await cluster.leader();
    const asked = { members: [], join: [address] };
    await cluster.startNode(wiped, asked);
    await roles(THREE);
    await expectUnharmed(database, writer);
  });

  // The two made a second cluster under the same id, and answered writes that the first never saw.
  test("two wiped folders with the first list begin no second cluster beside one that went on", async () => {
    const database = await start(3);
    await database.collection("c").put({ id: 1 });
    await cluster.join("n4");
    await cluster.join("n5");
    await roles({ ...THREE, n4: "voter", n5: "voter" });
    const kept = await cluster.leader();
    const gone = cluster.seats.filter(({ id }) => id in THREE && id !== kept.id);
    for (const { id } of gone) {
      await waitFor("the removal", () =>
        database.cluster({ action: "remove", id }).then(
          () => true,
          (error) => error.code !== "OVERLOADED" && Promise.reject(error),
        ),
      );
    }
    await roles({ [kept.id]: "voter", n4: "voter", n5: "voter" });
    for (const seat of gone) {
      await waitFor("its end", () => seat.fatal);
      rmSync(seat.dataDirectory, { recursive: true });
    }
    await Promise.all(gone.map((seat) => cluster.startNode(seat)));
    for (const seat of gone) {
      const { code } = await waitFor("its end", () => seat.fatal);
      expect(code).toBe("MEMBERSHIP");
      expect(seat.node?.isLeader ?? false).toBe(false);
    }
    await database.collection("c").put({ id: 2 });
  });

  test("recover, and start with the list of members as at first", async () => {
    const database = await start(3);
    await database.collection("c").put({ id: 1 });
    const wiped = await follower();
    await cluster.kill(wiped);
    await database.cluster({ action: "recover", id: wiped.id });
    rmSync(wiped.dataDirectory, { recursive: true });
    await cluster.startNode(wiped);
    await roles(THREE);
    await expectSame(cluster);
    expect(nodeOf(wiped).machine.documentCount).toBe(1);
  });

  // Its log begins with the leader's old folder: it must hear that leader all the same.
  test("a new node catches up from a leader whose folder was replaced", async () => {
    const database = await start(3);
    const wiped = await follower();
    await cluster.kill(wiped);
    await database.cluster({ action: "recover", id: wiped.id });
    rmSync(wiped.dataDirectory, { recursive: true });
    const text = "x".repeat(20_000);
    for (let i = 0; i < 250; i += 1) await database.collection("c").put({ id: i, text });
    await cluster.startNode(wiped);
    await roles(THREE);
    await database.promote(wiped.id);
    const seat = await cluster.join("n4");
    await waitFor("its promotion", () => rolesOn(seat)["n4"] === "voter");
    expect((await cluster.leader()).id).toBe(wiped.id);
    await expectSame(cluster);
  });

  // The old folder has entries that the new one does not: it must not be believed any more.
  test("the old folder does not come back after `recover`", async () => {
    const database = await start(3);
    const lost = await follower();
    await cluster.kill(lost);
    await database.cluster({ action: "recover", id: lost.id });
    await cluster.startNode(lost);
    expect((await waitFor("its end", () => lost.fatal)).code).toBe("REMOVED");
    expect(rolesOn(await cluster.leader())).toEqual({ ...THREE, [lost.id]: "learner" });
  });

  test("the leader and the only voter cannot be recovered", async () => {
    const database = await start(2);
    const leader = await cluster.leader();
    const { id } = await follower();
    expect(
      (await rejection(database.cluster({ action: "recover", id: leader.id }))).message,
    ).toMatch(/it leads/);
    await database.cluster({ action: "remove", id });
    const error = await rejection(database.cluster({ action: "recover", id: leader.id }));
    expect(error.code).toBe("MEMBERSHIP");
  });
});

describe("restarts", () => {
  test("every node killed after changes finds the members in its folder", async () => {
    const database = await start(3);
    const writer = startWriter(database, "load");
    await moreWrites(writer);
    await cluster.join("n4");
    await cluster.join("n5", { isStandby: true });
    const expected = { ...THREE, n4: "voter", n5: "standby" } as Record<string, string>;
    await roles(expected);
    const gone = await follower();
    // The promotion of the joined node may be under way.
    await waitFor("the removal", () =>
      database.cluster({ action: "remove", id: gone.id }).then(
        () => true,
        (error) => {
          if (error.code !== "OVERLOADED") throw error;
          return false;
        },
      ),
    );
    delete expected[gone.id];
    await waitFor("its end", () => gone.fatal);
    await roles(expected);
    await writer.stop();
    await database.close();
    const left = cluster.seats.filter((seat) => seat !== gone);
    for (const seat of left) await cluster.kill(seat);
    // Neither a list of members nor an address to join.
    for (const seat of left) await cluster.startNode(seat, { members: [], join: [] });
    await roles(expected);
    const again = await cluster.connect();
    await again.collection("load").put({ id: "after" });
    await again.collection("load").remove("after");
    await expectAll(again, "load", writer);
    await expectSame(cluster);
  });

  test("a change that was not committed when all nodes died is made or forgotten by all", async () => {
    const database = await start(3);
    const others = await cluster.followers();
    const leader = await cluster.leader();
    for (const seat of others) await cluster.kill(seat);
    const change = database.cluster({ action: "add", id: "n4", address: "127.0.0.1:9" });
    const outcome = change.then(
      () => "done",
      (error) => String(error.code),
    );
    await waitFor("the change to be logged", () => {
      return leader.node?.driver.view.configuration.has("n4") === true;
    });
    await cluster.kill(leader);
    await database.close();
    expect(["CLOSED", "UNREACHABLE", "UNKNOWN_OUTCOME", "DEADLINE"]).toContain(await outcome);
    for (const seat of cluster.seats) await cluster.startNode(seat);
    const again = await cluster.connect();
    await again.collection("c").put({ id: 1 });
    const known = rolesOn(await cluster.leader());
    await roles(known);
    await expectSame(cluster);
    expect(Object.keys(known).filter((id) => id !== "n4")).toEqual(["n1", "n2", "n3"]);
  });
});
