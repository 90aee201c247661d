// Scenarios of elections, reads, hand-overs and broken links, with whole nodes. The numbers are
// those of the list of regression scenarios in docs/testing.md.

import { describe, expect, test } from "bun:test";
import type { RaftMessage } from "../../src/raft/message.ts";
import type { Operation } from "./checkers/history.ts";
import type { Host } from "./host.ts";
import { Simulation } from "./simulator.ts";

const ELECTION_TIMEOUT_MS = 200;
const LIGHT = { keys: 3, timeoutMs: 3000, thinkMs: 10, inFlight: 2 };
const TIMEOUT_MS = 60_000;

interface Register {
  id: string;
  value: string;
}

/** The two that do not lead, of three. */
function others(simulation: Simulation, leader: Host): [Host, Host] {
  const [a, b] = simulation.hosts.filter((host) => host !== leader);
  return [a!, b!];
}

function commitOf(host: Host): number {
  return host.node!.driver.view.commitIndex;
}

function termOf(host: Host): number {
  return host.node!.driver.view.term;
}

/** Longest time in which no write was acknowledged, from `sinceMs` to now. */
function longestGap(simulation: Simulation, sinceMs: number): number {
  const isAcknowledged = (o: Operation): boolean => o.outcome === "ok" && o.kind !== "get";
  const ends = simulation.history.filter(isAcknowledged).map((o) => o.endMs);
  const times = [sinceMs, ...ends.filter((ms) => ms > sinceMs), simulation.world.nowMs];
  times.sort((a, b) => a - b);
  return Math.max(...times.slice(1).map((ms, at) => ms - times[at]!));
}

/** Writes acknowledged since `sinceMs`. */
function acknowledgedSince(simulation: Simulation, sinceMs: number): number {
  return simulation.history.filter(
    (o) => o.outcome === "ok" && o.kind !== "get" && o.startMs >= sinceMs,
  ).length;
}

async function finish(simulation: Simulation, keys = LIGHT.keys): Promise<void> {
  await simulation.heal(keys);
  simulation.judge();
}

// The vote is in the page cache, its reply has not left: the sync has not ended.
test("S3: a voter that dies between its vote and the reply votes for nobody else", async () => {
  const simulation = new Simulation({ seed: 3, nodes: 3 });
  const leader = await simulation.boot();
  const [a, b] = others(simulation, leader);
  simulation.kill(leader);
  const voteOf = (host: Host): string | undefined => host.node?.driver.view.vote;
  const voted = (voter: Host, other: Host): boolean => voteOf(voter) === other.id;
  await simulation.until("somebody votes", () => voted(a, b) || voted(b, a));
  const [voter, candidate] = voted(a, b) ? [a, b] : [b, a];
  const term = termOf(voter);
  expect(candidate.node?.isLeader).toBe(false);
  simulation.kill(voter);
  simulation.kill(candidate);

  simulation.start(voter);
  await simulation.until("it is back", () => voter.node !== undefined);
  expect(voter.node!.driver.view).toMatchObject({ term, vote: candidate.id });
  const request: RaftMessage = {
    type: "VOTE_REQUEST",
    from: leader.id,
    to: voter.id,
    term,
    last: { term, index: 1_000_000 },
    preVote: false,
    transfer: true,
  };
  voter.node!.driver.step(request);
  await simulation.advance(20);

  expect(voter.node!.driver.view).toMatchObject({ term, vote: candidate.id });
  simulation.start(leader);
  simulation.start(candidate);
  await simulation.untilLeader();
}, 300_000);

test(
  "S4: after any power cut the term on a disk is as high as its last entry's",
  async () => {
    const simulation = new Simulation({ seed: 4, nodes: 3 });
    await simulation.boot();
    simulation.addClients(2, LIGHT);
    for (let round = 0; round < 12; round += 1) {
      await simulation.advance(100);
      const leader = await simulation.untilLeader();
      const [follower, other] = others(simulation, leader);
      leader.node!.promote(other.id).catch(() => undefined);
      // Somewhere in the change of terms: the append that brings the new one may be on its way.
      await simulation.advance(simulation.world.random.below(300) / 100);
      simulation.cutPower(follower);
      simulation.start(follower);
      await simulation.until("it is back", () => follower.node !== undefined);
      const { log } = follower.node!;
      expect(log.hardState.term).toBeGreaterThanOrEqual(log.term(log.lastIndex()) ?? 0);
    }
    await finish(simulation);
  },
  TIMEOUT_MS,
);

test(
  "S10: a node with a smaller term returns just as the leader dies, and the other one leads",
  async () => {
    const simulation = new Simulation({ seed: 10, nodes: 3 });
    const first = await simulation.boot();
    const [away, second] = others(simulation, first);
    simulation.kill(away);
    for (const [from, to] of [
      [first, second],
      [second, first],
      [first, second],
    ] as const) {
      await simulation.settle(from.node!.promote(to.id));
      await simulation.untilLeader();
    }
    const registers = (await simulation.connect()).collection<Register>("registers");
    await simulation.settle(registers.put({ id: "k0", value: "kept" }));
    const term = termOf(second);

    simulation.kill(second);
    simulation.start(away);
    const next = await simulation.untilLeader(3000);

    expect(next).toBe(first);
    expect(termOf(next)).toBeGreaterThan(term);
    expect((await simulation.settle(registers.findById("k0")))?.value).toBe("kept");
  },
  TIMEOUT_MS,
);

test(
  "S11: a follower that was alone for 1,000 timeouts disturbs nobody when it is back",
  async () => {
    const simulation = new Simulation({ seed: 11, nodes: 3 });
    const leader = await simulation.boot();
    const [alone] = others(simulation, leader);
    const term = termOf(leader);
    simulation.addClients(1, { ...LIGHT, thinkMs: 250, inFlight: 1 });
    simulation.isolate(alone);

    await simulation.advance(1000 * ELECTION_TIMEOUT_MS);
    expect(termOf(alone)).toBe(term);
    simulation.network.heal();
    await simulation.advance(3000);

    expect(simulation.leader).toBe(leader);
    expect(simulation.hosts.map(termOf)).toEqual([term, term, term]);
    const settled = simulation.history.filter((o) => o.endMs > o.startMs);
    expect(settled.filter((o) => o.outcome === "unknown")).toEqual([]);
    expect(acknowledgedSince(simulation, 0)).toBeGreaterThan(200);
    await finish(simulation);
  },
  TIMEOUT_MS,
);

// Heartbeat answers from before a pause of 3 s come in after it, and with them the confirmation of
// reads that were asked for when somebody else led already.
test(
  "S17: old heartbeat answers confirm no read of a leader that slept through its replacement",
  async () => {
    const simulation = new Simulation({ seed: 17, nodes: 3 });
    const leader = await simulation.boot();
    const registers = (await simulation.connect()).collection<Register>("registers");
    await simulation.settle(registers.put({ id: "own", value: "old" }));
    for (const { id } of others(simulation, leader)) simulation.network.slow(id, leader.id, 120);
    simulation.addClients(2, LIGHT);
    await simulation.advance(60);

    leader.process!.isPaused = true;
    await simulation.until("another leads", () => simulation.leader !== leader);
    const next = await simulation.untilLeader();
    await simulation.settle(registers.put({ id: "own", value: "new" }));
    const acknowledged = commitOf(next);
    await simulation.advance(3000);
    expect(leader.node!.isLeader).toBe(true);
    expect(leader.node!.machine.appliedIndex).toBeLessThan(acknowledged);

    const servedAt: number[] = [];
    const read = (): void => {
      const run = (): void => void servedAt.push(leader.node!.machine.appliedIndex);
      leader.node!.driver.readBarrier({ run });
    };
    for (let asked = 0; asked < 3; asked += 1) read();
    leader.process!.resume();
    for (let asked = 0; asked < 5; asked += 1) {
      read();
      await simulation.advance(1);
    }
    await simulation.advance(500);
    simulation.network.heal();
    await simulation.until("all reads are served", () => servedAt.length === 8);

    expect(Math.min(...servedAt)).toBeGreaterThanOrEqual(acknowledged);
    await finish(simulation);
  },
  TIMEOUT_MS,
);

test(
  "S18: a new leader reads nothing before an entry of its own term is committed",
  async () => {
    const simulation = new Simulation({ seed: 18, nodes: 3 });
    const leader = await simulation.boot();
    const registers = (await simulation.connect()).collection<Register>("registers");
    await simulation.settle(registers.put({ id: "k0", value: "acknowledged" }));
    const acknowledged = commitOf(leader);
    const [a, b] = others(simulation, leader);
    simulation.kill(leader);

    await simulation.until("another leads", () => simulation.leader !== undefined);
    const next = simulation.leader!;
    expect(next.node!.driver.view.hasCommittedOwnTerm).toBe(false);
    expect(commitOf(next)).toBeLessThan(acknowledged);
    // The other one answers heartbeats, so that reads are confirmed, but its disk takes no entry.
    const other = next === a ? b : a;
    other.isStalling = true;
    const servedAt: number[] = [];
    next.node!.driver.readBarrier({
      run: () => void servedAt.push(next.node!.machine.appliedIndex),
    });
    await simulation.advance(150);
    expect(servedAt).toEqual([]);
    expect(next.node!.isLeader).toBe(true);
    other.isStalling = false;
    other.disk.releaseStalled();
    await simulation.until("the read is served", () => servedAt.length > 0);

    expect(servedAt[0]).toBeGreaterThanOrEqual(acknowledged);
    expect([a, b]).toContain(next);
    expect((await simulation.settle(registers.findById("k0")))?.value).toBe("acknowledged");
  },
  TIMEOUT_MS,
);

describe("S19", () => {
  async function underLoad(seed: number): Promise<{ simulation: Simulation; leader: Host }> {
    const simulation = new Simulation({ seed, nodes: 3 });
    const leader = await simulation.boot();
    simulation.addClients(3, { keys: 4, timeoutMs: 5000, thinkMs: 3, inFlight: 2 });
    await simulation.advance(300);
    return { simulation, leader };
  }

  test(
    "S19: leadership moves between racing writes, and none of them fails",
    async () => {
      const { simulation, leader } = await underLoad(19);
      const sinceMs = simulation.world.nowMs;
      let from = leader;
      for (let round = 0; round < 6; round += 1) {
        const [to] = others(simulation, from);
        expect(await simulation.settle(from.node!.promote(to.id))).toMatchObject({ to: to.id });
        from = await simulation.untilLeader();
        expect(from).toBe(to);
        await simulation.advance(100);
      }

      expect(longestGap(simulation, sinceMs)).toBeLessThan(50);
      await finish(simulation, 4);
      expect(simulation.history.filter((o) => o.outcome === "unknown")).toEqual([]);
    },
    TIMEOUT_MS,
  );

  test(
    "S19: a target that crashes costs at most one election timeout",
    async () => {
      const { simulation, leader } = await underLoad(191);
      const [target] = others(simulation, leader);
      const sinceMs = simulation.world.nowMs;
      leader.node!.promote(target.id).catch(() => undefined);
      simulation.kill(target);
      await simulation.advance(1000);

      expect(longestGap(simulation, sinceMs)).toBeLessThanOrEqual(ELECTION_TIMEOUT_MS + 20);
      await finish(simulation, 4);
    },
    TIMEOUT_MS,
  );

  test(
    "S19: a source that is cut off while it hands over costs no acknowledged write",
    async () => {
      for (const [seed, afterMs] of [
        [192, 0],
        [193, 0.5],
        [194, 1.5],
      ] as const) {
        const { simulation, leader } = await underLoad(seed);
        const [target] = others(simulation, leader);
        const sinceMs = simulation.world.nowMs;
        leader.node!.promote(target.id).catch(() => undefined);
        await simulation.advance(afterMs);
        simulation.isolate(leader);
        await simulation.advance(1000);

        // The others wait for a leader that is silent: at most twice the minimum.
        expect(longestGap(simulation, sinceMs)).toBeLessThanOrEqual(2 * ELECTION_TIMEOUT_MS);
        await finish(simulation, 4);
      }
    },
    TIMEOUT_MS,
  );
});

describe("S25", () => {
  const faults: Record<string, (simulation: Simulation, leader: Host) => void> = {
    "the leader hears nobody": (simulation, leader) => {
      for (const { id } of others(simulation, leader)) simulation.network.cut(id, leader.id);
    },
    "nobody hears the leader": (simulation, leader) => {
      for (const { id } of others(simulation, leader)) simulation.network.cut(leader.id, id);
    },
    "a follower is a black hole": (simulation, leader) => {
      simulation.isolate(others(simulation, leader)[0]);
    },
    "followers do not reach each other, and one does not hear the leader": (simulation, leader) => {
      const [a, b] = others(simulation, leader);
      simulation.network.cut(a.id, b.id);
      simulation.network.cut(b.id, a.id);
      simulation.network.cut(leader.id, a.id);
    },
    "only the leader learns that its connections ended": (simulation, leader) => {
      for (const { id } of others(simulation, leader)) simulation.network.halfOpen(leader.id, id);
    },
    "only the followers learn that their connections ended": (simulation, leader) => {
      for (const { id } of others(simulation, leader)) simulation.network.halfOpen(id, leader.id);
    },
  };

  for (const [name, inflict] of Object.entries(faults)) {
    test(
      `S25: ${name}: a majority serves, and its leader stays`,
      async () => {
        const simulation = new Simulation({ seed: 25, nodes: 3 });
        const leader = await simulation.boot();
        simulation.addClients(2, LIGHT);
        await simulation.advance(300);
        const isAsymmetric = name.startsWith("followers do not");

        inflict(simulation, leader);
        await simulation.advance(3000);
        const sinceMs = simulation.world.nowMs;
        const before = simulation.leader;
        const term = before === undefined ? 0 : termOf(before);
        await simulation.advance(5000);

        expect(acknowledgedSince(simulation, sinceMs)).toBeGreaterThan(100);
        if (!isAsymmetric) {
          expect(simulation.leader).toBe(before);
          expect(termOf(simulation.leader!)).toBe(term);
        }
        expect(longestGap(simulation, sinceMs)).toBeLessThan(1000);
        await finish(simulation);
      },
      TIMEOUT_MS,
    );
  }
});
