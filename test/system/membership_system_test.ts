/**
 * Real processes whose members change: a cluster begun with one node and joined by others, nodes
 * replaced, removed and recovered, states compared.
 *
 * @module
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { freePorts } from "../../cli/local/local_cluster.ts";
import type { ClusterPicture } from "../../src/cluster/cluster_view.ts";
import { freshFolder, waitFor } from "../node/test_cluster.ts";
import { type Ended, Running, run } from "./program.ts";

const folder = freshFolder();
const nodes: Seat[] = [];
let first: Seat;

/** A node process, and what it said of itself. */
interface Seat {
  readonly id: string;
  readonly address: string;
  readonly data: string;
  process: Running;
}

beforeAll(async () => {
  const [port] = await freePorts(1);
  const address = `127.0.0.1:${port}`;
  const place = ["--id", "n1", "--address", address, "--data", `${folder.path}/n1`];
  const begun = await json(["cluster", "init", ...place, "--json"]);
  expect(begun).toMatchObject({ clusterId: expect.stringMatching(/^[0-9a-f]{16}$/), id: "n1" });
  first = await start(`${folder.path}/n1`);
  expect([first.id, first.address]).toEqual(["n1", address]);
  await waitForMembers({ n1: "voter" });
});

afterAll(async () => {
  for (const { process } of nodes) await process.stop();
  folder.remove();
});

/** Starts a node and waits until it listens. */
async function start(data: string, words: readonly string[] = []): Promise<Seat> {
  const process = new Running(["node", "--data", data, ...words]);
  await process.says(/listens on .*\n/);
  const [, id = "", address = ""] = /node (\S+) listens on (\S+),/.exec(process.stderr) ?? [];
  const seat = { id, address, data, process };
  nodes.push(seat);
  return seat;
}

async function kill({ process }: Seat, signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<Ended> {
  process.process.signal(signal);
  return await process.ended();
}

/** Addresses of nodes that run. */
function at(): string[] {
  const up = nodes.filter(({ process }) => process.process.end === undefined);
  return ["--address", up.map(({ address }) => address).join(",")];
}

async function json(words: readonly string[]): Promise<Record<string, unknown>> {
  const { stdout, stderr, code } = await run(words);
  expect([code, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout);
}

async function picture(): Promise<ClusterPicture> {
  return JSON.parse((await run(["cluster", "status", "--json", ...at()])).stdout);
}

/** Waits until the leader lists exactly these members in these roles. */
async function waitForMembers(expected: Readonly<Record<string, string>>): Promise<void> {
  await waitFor(`members ${JSON.stringify(expected)}`, async () => {
    const { members, leader } = await picture();
    const found = Object.fromEntries(members.map(({ id, membership }) => [id, membership]));
    return leader !== "" && Bun.deepEquals(found, expected);
  });
}

async function count(): Promise<number> {
  return Number((await run(["doc", "count", "kept", ...at()])).stdout);
}

async function expectEqualStates(members: number): Promise<void> {
  const verified = await json(["cluster", "verify", "--json", ...at()]);
  const states = verified["members"] as { digest: string; documents: number }[];
  expect(verified["equal"]).toBe(true);
  expect(states).toHaveLength(members);
  expect(new Set(states.map(({ digest }) => digest)).size).toBe(1);
  for (const { documents } of states) expect(documents).toBe(await count());
}

describe("growing", () => {
  let second: Seat;
  let third: Seat;

  test("a node joins with nothing but an address, and votes when it has caught up", async () => {
    for (let i = 0; i < 6; i += 1) await json(["doc", "put", "kept", `{"n":${i}}`, ...at()]);
    second = await start(`${folder.path}/second`, ["--join", first.address]);
    third = await start(`${folder.path}/third`, ["--join", first.address]);
    expect(second.id).toMatch(/^n-[0-9a-f]{6}$/);
    await waitForMembers({ n1: "voter", [second.id]: "voter", [third.id]: "voter" });
    const { quorum, hasQuorum, isJoint } = await picture();
    expect({ quorum, hasQuorum, isJoint }).toEqual({
      quorum: { voters: 3, reachable: 3, canLose: 1 },
      hasQuorum: true,
      isJoint: false,
    });
    await expectEqualStates(3);
  });

  test("its folder knows the rest at the next start", async () => {
    expect((await kill(second, "SIGTERM")).code).toBe(0);
    const again = await start(second.data);
    expect([again.id, again.address]).toEqual([second.id, second.address]);
    await waitFor("three voters", async () => (await picture()).quorum.reachable === 3);
    expect((await kill(again)).code).toBe(null);
    // What a supervisor repeats is the same line as the first time.
    const third = await start(second.data, ["--join", first.address]);
    expect([third.id, third.address]).toEqual([second.id, second.address]);
    await waitFor("three voters", async () => (await picture()).quorum.reachable === 3);
  });

  test("add names a node before it starts; a voter's id is not given to another folder", async () => {
    const [port] = await freePorts(1);
    const address = `127.0.0.1:${port}`;
    const added = await json(["cluster", "add", "n4", address, "--json", ...at()]);
    expect(added).toMatchObject({
      action: "add" as const,
      index: expect.any(Number),
      isJoint: false,
    });
    const waiting = (await picture()).members.find(({ id }) => id === "n4");
    expect(waiting).toMatchObject({ membership: "learner", state: "down", role: "unknown" });
    expect(waiting).toMatchObject({ caughtUpPercent: 0, waitsFor: "no contact" });
    const text = await run(["cluster", "status", ...at()]);
    expect([text.code, text.stdout]).toEqual([
      0,
      expect.stringContaining("n4: 0 % caught up, no contact"),
    ]);
    const twice = await run(["cluster", "add", "n4", address, ...at()]);
    expect([twice.code, twice.stderr]).toEqual([1, expect.stringContaining("a member already")]);
    await start(`${folder.path}/n4`, ["--id", "n4", "--listen", address, "--join", first.address]);
    await waitFor("four voters", async () => (await picture()).quorum.voters === 4);
    const place = ["--id", "n4", "--data", `${folder.path}/other`, "--join", first.address];
    const other = await run(["node", ...place]);
    expect([other.code, other.stderr]).toEqual([1, expect.stringContaining("another folder")]);
  });

  test("cluster members lists who takes part", async () => {
    const { members, leader } = await json(["cluster", "members", "--json", ...at()]);
    expect(leader).toBe("n1");
    expect(members).toContainEqual({ id: "n4", address: expect.any(String), membership: "voter" });
    expect((await run(["cluster", "members", ...at()])).stdout).toMatch(/^n4 .* voter$/m);
  });
});

describe("shrinking", () => {
  test("a voter becomes a standby and a voter again", async () => {
    const standby = await run(["cluster", "role", "n4", "standby", ...at()]);
    expect([standby.code, standby.stdout]).toEqual([0, expect.stringMatching(/^n4 is a standby/)]);
    expect((await picture()).quorum.voters).toBe(3);
    const voter = await run(["cluster", "role", "n4", "voter", ...at()]);
    expect(voter.stdout).toContain("It votes as soon as it has caught up");
    await waitFor("four voters", async () => (await picture()).quorum.voters === 4);
    const wrong = await run(["cluster", "role", "n4", "king", ...at()]);
    expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining("voter or standby")]);
  });

  test("a node that was removed ends with code 4, and its folder is refused", async () => {
    const { process, data } = nodes.findLast(({ id }) => id === "n4") ?? first;
    const removed = await run(["cluster", "remove", "n4", ...at()]);
    expect([removed.code, removed.stdout]).toEqual([0, expect.stringMatching(/^removed n4, /)]);
    const ended = await process.ended();
    expect([ended.code, ended.stderr]).toEqual([4, expect.stringContaining("[REMOVED]")]);
    const again = await run(["node", "--data", data]);
    expect([again.code, again.stderr]).toEqual([4, expect.stringContaining("[REMOVED]")]);
    const unknown = await run(["cluster", "remove", "n4", "--json", ...at()]);
    expect(unknown.code).toBe(1);
    expect(JSON.parse(unknown.stdout).error).toMatchObject({ code: "MEMBERSHIP" });
    expect((await picture()).quorum).toEqual({ voters: 3, reachable: 3, canLose: 1 });
  });

  test("what would leave no quorum is refused and changes nothing", async () => {
    const [victim, other] = (await picture()).members.filter(({ role }) => role === "follower");
    const seat = nodes.findLast(({ id }) => id === victim?.id) ?? first;
    await kill(seat);
    await waitFor("it to be down for the leader", async () => {
      const refused = await run(["cluster", "remove", other?.id ?? "", ...at()]);
      if (refused.code === 0)
        throw new Error("removing a live voter beside a dead one went through");
      return refused.stderr.includes("only 1 of the 2 voters left are up");
    });
    const again = await start(seat.data);
    expect(again.id).toBe(seat.id);
    await waitFor("three voters", async () => (await picture()).quorum.reachable === 3);
  });
});

describe("replacing and recovering", () => {
  test("a standby takes a voter's place, then the leader itself leaves", async () => {
    const old = (await picture()).members.find(({ role }) => role === "follower");
    const oldSeat = nodes.findLast(({ id }) => id === old?.id) ?? first;
    const words = ["--id", "n5", "--standby", "--join", first.address];
    await start(`${folder.path}/n5`, words);
    await waitFor("it to have everything", async () => {
      const { members } = await picture();
      return members.find(({ id }) => id === "n5")?.caughtUpPercent === 100;
    });
    const replaced = await json(["cluster", "replace", oldSeat.id, "n5", "--json", ...at()]);
    expect(replaced).toMatchObject({ id: oldSeat.id, by: "n5", isJoint: false });
    expect((await oldSeat.process.ended()).code).toBe(4);
    expect((await picture()).members.map(({ id }) => id)).not.toContain(oldSeat.id);
    const removed = await run(["cluster", "remove", "n1", ...at()]);
    expect([removed.code, removed.stdout]).toEqual([0, expect.stringMatching(/^removed n1, /)]);
    expect((await first.process.ended()).code).toBe(4);
    const { quorum, leader } = await picture();
    expect(quorum).toEqual({ voters: 2, reachable: 2, canLose: 0 });
    expect(leader).not.toBe("n1");
    expect(await count()).toBe(6);
  });

  test("a node whose folder was wiped is let in again after recover", async () => {
    const { leader, members } = await picture();
    const seeds = members.map(({ address }) => address).join(",");
    const sixth = await start(`${folder.path}/n6`, ["--id", "n6", "--join", seeds]);
    await waitFor("three voters", async () => (await picture()).quorum.voters === 3);
    await kill(sixth);
    rmSync(sixth.data, { recursive: true });
    const place = ["--id", "n6", "--listen", sixth.address, "--join", seeds];
    const refused = await run(["node", "--data", sixth.data, ...place]);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("another folder")]);
    expect(refused.stderr).toContain("cstore cluster recover n6");
    const recovered = await run(["cluster", "recover", "n6", ...at()]);
    expect(recovered.code).toBe(0);
    expect(recovered.stdout).toContain(`--id n6 --listen ${sixth.address} --join `);
    expect((await picture()).quorum).toEqual({ voters: 2, reachable: 2, canLose: 0 });
    await start(sixth.data, place);
    await waitFor("three voters", async () => (await picture()).quorum.voters === 3);
    const running = await run(["cluster", "recover", leader, ...at()]);
    expect([running.code, running.stderr]).toEqual([1, expect.stringContaining("it is up")]);
    await expectEqualStates(3);
  });

  test("verify names a member that does not answer, and ends with 3", async () => {
    const sixth = nodes.findLast(({ id }) => id === "n6") ?? first;
    await kill(sixth);
    const verified = await run(["cluster", "verify", "--timeout", "3s", "--json", ...at()]);
    expect(verified.code).toBe(3);
    const { equal, members } = JSON.parse(verified.stdout);
    expect(equal).toBe(true);
    const silent = members.filter(({ digest }: { digest: string | null }) => digest === null);
    expect(silent).toMatchObject([{ id: "n6", problem: expect.stringContaining("UNREACHABLE") }]);
  });
});
