// Scenarios of members, snapshots on their way, leases and stalled disks, with whole nodes. The
// numbers are those of the list of regression scenarios in docs/testing.md; those of them that need
// exact messages are in test/raft/scenarios_test.ts.

import { describe, expect, test } from "bun:test";
import { RemovedError } from "../../src/base/errors.ts";
import type { RemoteDatabase } from "../../src/client/remote_database.ts";
import type { Member } from "../../src/raft/configuration.ts";
import type { Host } from "./host.ts";
import { Simulation } from "./simulator.ts";

const LIGHT = { keys: 3, timeoutMs: 3000, thinkMs: 10, inFlight: 2 };
const TIMEOUT_MS = 60_000;
const CHUNK_BYTES = 256 * 1024;

interface Register {
  id: string;
  value: string;
}

/** The two that do not lead, of three. */
function others(simulation: Simulation, leader: Host): [Host, Host] {
  const [a, b] = simulation.hosts.filter((host) => host !== leader);
  return [a!, b!];
}

async function finish(simulation: Simulation): Promise<void> {
  await simulation.heal(LIGHT.keys);
  simulation.judge();
}

function acknowledgedSince(simulation: Simulation, sinceMs: number): number {
  return simulation.history.filter(
    (o) => o.outcome === "ok" && o.kind !== "get" && o.startMs >= sinceMs,
  ).length;
}

function memberOf(simulation: Simulation, host: Host): Member | undefined {
  return simulation.configuration?.member(host.id);
}

test(
  "S12: a removed node that did not hear of it disturbs nobody, is told when it asks, and stops",
  async () => {
    const simulation = new Simulation({ seed: 12, nodes: 5, leaseReads: false });
    const leader = await simulation.boot();
    simulation.addClients(2, LIGHT);
    const removed = simulation.hosts.find((host) => host !== leader)!;
    simulation.isolate(removed);
    await simulation.advance(300);
    simulation.operator.shrink(removed);
    await simulation.until("it is removed", () => memberOf(simulation, removed) === undefined);
    const { term } = leader.node!.driver.view;

    // Its own log still says that it is a voter.
    await simulation.advance(5000);
    expect(removed.node!.driver.view.configuration.mayVote(removed.id)).toBe(true);
    simulation.network.heal();
    await simulation.until("it stops", () => removed.refusal !== undefined);

    expect(removed.refusal).toBeInstanceOf(RemovedError);
    expect(simulation.leader).toBe(leader);
    expect(leader.node!.driver.view.term).toBe(term);
    await finish(simulation);
    expect(simulation.configuration!.voters.length).toBe(4);
  },
  TIMEOUT_MS,
);

test(
  "S14: the leader that promoted a learner dies before anybody else knows: the rest elects",
  async () => {
    const simulation = new Simulation({ seed: 14, nodes: 2, leaseReads: false });
    const leader = await simulation.boot();
    const rest = simulation.hosts.find((host) => host !== leader)!;
    simulation.addClients(2, LIGHT);
    const joined = simulation.operator.grow()!;
    const knows = ({ node }: Host): boolean =>
      node?.driver.view.configuration.mayVote(joined.id) === true;
    await simulation.until("it is promoted", () => knows(leader));
    expect(knows(joined)).toBe(false);
    simulation.kill(leader);

    await simulation.advance(3000);
    // Either nobody knows of the promotion, and the old leader is needed; or both do.
    if (knows(rest) || knows(joined)) expect(simulation.leader).toBeDefined();
    simulation.start(leader);
    await simulation.untilLeader();
    await finish(simulation);
    expect(simulation.configuration!.voters.length).toBe(3);
  },
  TIMEOUT_MS,
);

test(
  "S16: an empty folder under a known id is refused; recovered, it learns and votes again",
  async () => {
    const simulation = new Simulation({ seed: 16, nodes: 3, leaseReads: false });
    const leader = await simulation.boot();
    const [victim] = others(simulation, leader);
    simulation.addClients(2, LIGHT);
    await simulation.advance(500);
    const before = memberOf(simulation, victim);
    const incarnation = leader.node!.machine.memberTable.bindings.get(victim.id);
    simulation.wipe(victim);
    simulation.start(victim);
    await simulation.advance(3000);

    expect(before?.role).toBe("voter");
    expect(leader.node!.machine.memberTable.bindings.get(victim.id)).toBe(incarnation);
    const applied = victim.node?.machine.documentCount ?? 0;
    expect(applied).toBe(0);

    simulation.operator.recoverWiped(victim);
    await simulation.until("it is back", () => victim.node?.machine.documentCount !== undefined);
    await finish(simulation);
    expect(memberOf(simulation, victim)?.role).toBe("voter");
    const { bindings } = simulation.leader!.node!.machine.memberTable;
    expect(bindings.get(victim.id)).not.toBe(incarnation);
    expect(simulation.leader!.node!.machine.memberTable.isRetired(incarnation!)).toBe(true);
  },
  TIMEOUT_MS,
);

// Found by seed 101903: the node had joined, so it knew its own address from nowhere; its second
// request, after the first answer was lost, was refused for it.
test(
  "repair: a node that joined is repaired although the first answer to it was lost",
  async () => {
    const simulation = new Simulation({ seed: 101_903, nodes: 3, leaseReads: false });
    const leader = await simulation.boot();
    simulation.addClients(2, LIGHT);
    const joined = simulation.operator.grow()!;
    await simulation.until("it votes", () => memberOf(simulation, joined)?.role === "voter");
    simulation.kill(joined);
    const folder = `/data/${joined.id}/wal`;
    const [segment] = joined.disk.files.list(folder).filter((name) => name.endsWith(".segment"));
    joined.disk.flip(`${folder}/${segment}`, 9, 0xff);
    simulation.start(joined);
    await simulation.until("they agree", () => memberOf(simulation, joined)?.role === "learner");
    simulation.kill(joined);
    await simulation.until("they agree for good", () => {
      const { appliedIndex } = leader.node!.machine;
      return appliedIndex >= leader.node!.driver.view.configurationIndex;
    });
    simulation.start(joined);

    await simulation.until("it votes", () => memberOf(simulation, joined)?.role === "voter");
    expect(joined.refusal).toBeUndefined();
    await finish(simulation);
  },
  TIMEOUT_MS,
);

// Found by seed 201085: the old folder's acknowledgements came in when the log named the new one
// already, and the leader believed that the new one had what the old one had.
test(
  "repair: what the old folder acknowledged late counts for nothing",
  async () => {
    // What is under way when a process dies arrives or not, by chance.
    for (let seed = 201_085; seed < 201_091; seed += 1) {
      const simulation = new Simulation({ seed, nodes: 3, leaseReads: false });
      const leader = await simulation.boot();
      const [victim, other] = others(simulation, leader);
      simulation.addClients(2, LIGHT);
      await simulation.advance(300);
      simulation.network.slow(victim.id, leader.id, 120);
      await simulation.advance(200);
      simulation.kill(victim);
      const folder = `/data/${victim.id}/wal`;
      const [segment] = victim.disk.files.list(folder).filter((name) => name.endsWith(".segment"));
      victim.disk.flip(`${folder}/${segment}`, 9, 0xff);
      simulation.network.heal();
      // The change is logged, and not committed until everything that was under way has come in.
      other.isStalling = true;
      simulation.start(victim);
      await simulation.until("they agree", () => memberOf(simulation, victim)?.role === "learner");
      await simulation.advance(200);
      other.isStalling = false;
      other.disk.releaseStalled();

      await simulation.until("it votes", () => memberOf(simulation, victim)?.role === "voter");
      await finish(simulation);
    }
  },
  TIMEOUT_MS,
);

describe("S20", () => {
  interface Lagging {
    readonly simulation: Simulation;
    readonly leader: Host;
    readonly away: Host;
    readonly database: RemoteDatabase;
  }

  /** A snapshot of several pieces, behind which every log was cut while one node was away. */
  async function lagging(seed: number): Promise<Lagging> {
    const simulation = new Simulation({ seed, nodes: 3, leaseReads: false });
    const leader = await simulation.boot();
    const [away] = others(simulation, leader);
    simulation.addClients(1, { ...LIGHT, thinkMs: 50 });
    simulation.kill(away);
    const database = await simulation.connect();
    await fill(simulation, database, 60);
    await snapshotAndCut(simulation, away);
    return { simulation, leader, away, database };
  }

  async function fill(simulation: Simulation, db: RemoteDatabase, count: number): Promise<void> {
    const large = db.collection<Register>("large");
    const value = "x".repeat(20_000);
    for (let i = 0; i < count; i += 1) {
      await simulation.settle(
        large.put({ id: `d${i}`, value: `${simulation.world.nowMs}${value}` }),
      );
    }
  }

  /** Two snapshots: a log is cut behind the older one. */
  async function snapshotAndCut(simulation: Simulation, away: Host): Promise<void> {
    for (const host of simulation.hosts) {
      if (host === away || host.node === undefined) continue;
      const { node } = host;
      const position = node.machine.position;
      await simulation.settle(node.takeSnapshot());
      await simulation.advance(100);
      await simulation.settle(node.takeSnapshot());
      await simulation.settle(node.log.compactTo(position));
      expect(node.log.base.index).toBeGreaterThanOrEqual(position.index);
    }
  }

  /** Bytes of a snapshot that has begun to arrive. */
  function arrived({ id, disk }: Host): number {
    const folder = `/data/${id}/snapshots`;
    const name = disk.files.list(folder).find((file) => file.endsWith(".partial"));
    return name === undefined ? 0 : disk.readFile(`${folder}/${name}`).byteLength;
  }

  async function untilHalfway({ simulation, leader, away }: Lagging): Promise<void> {
    simulation.network.slow(leader.id, away.id, 20);
    simulation.start(away);
    await simulation.until("it is on its way", () => arrived(away) >= 2 * CHUNK_BYTES);
  }

  test(
    "S20: a receiver that dies in the middle goes on from where it was",
    async () => {
      const scene = await lagging(20);
      const { simulation, away } = scene;
      await untilHalfway(scene);
      const before = arrived(away);
      simulation.kill(away);
      simulation.start(away);
      let lowest = before;
      await simulation.until("it is whole", () => {
        const bytes = arrived(away);
        if (bytes > 0) lowest = Math.min(lowest, bytes);
        return (away.node?.log.base.index ?? 0) > 0;
      });

      expect(before).toBeGreaterThan(0);
      expect(lowest).toBe(before);
      await finish(simulation);
    },
    TIMEOUT_MS,
  );

  test(
    "S20: a receiver that loses power in the middle takes nothing garbled for a part of it",
    async () => {
      for (const fate of ["dropped", "zeroed", "garbled", "kept"] as const) {
        const scene = await lagging(201);
        const { simulation, away } = scene;
        await untilHalfway(scene);
        simulation.cutPower(away, () => fate);
        simulation.start(away);
        await simulation.advance(1000);
        await finish(simulation);
      }
    },
    TIMEOUT_MS,
  );

  test(
    "S20: a sender that dies in the middle is followed by another one",
    async () => {
      const scene = await lagging(202);
      const { simulation, leader } = scene;
      await untilHalfway(scene);
      simulation.kill(leader);
      const next = await simulation.untilLeader();

      expect(next).not.toBe(leader);
      await finish(simulation);
    },
    TIMEOUT_MS,
  );

  test(
    "S20: newer snapshots while one is on its way, and the log cut behind them",
    async () => {
      const scene = await lagging(203);
      const { simulation, away, database } = scene;
      await untilHalfway(scene);
      for (let round = 0; round < 2; round += 1) {
        await fill(simulation, database, 3);
        await snapshotAndCut(simulation, away);
      }

      await finish(simulation);
      expect(away.node!.log.base.index).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );

  test(
    "S20: logs that are cut to their ends still bring up one that is behind, without new entries",
    async () => {
      const scene = await lagging(204);
      const { simulation, leader, away } = scene;
      for (const client of simulation.clients) client.stop();
      await simulation.until("all is quiet", () => simulation.clients.every((c) => c.isIdle));
      await simulation.advance(300);
      await snapshotAndCut(simulation, away);
      expect(leader.node!.log.base.index).toBe(leader.node!.log.lastIndex());
      const { lastIndex } = leader.node!.driver.view;

      simulation.start(away);
      await simulation.until("it has caught up", () => {
        return away.node?.machine.appliedIndex === lastIndex && !away.node.status().isRestoring;
      });
      expect(leader.node!.driver.view.lastIndex).toBe(lastIndex);
      await finish(simulation);
    },
    TIMEOUT_MS,
  );
});

test(
  "S24: the leader's disk hangs and the network lives: another leads soon, and nothing comes back",
  async () => {
    const simulation = new Simulation({ seed: 24, nodes: 3, leaseReads: false });
    const leader = await simulation.boot();
    simulation.addClients(3, LIGHT);
    await simulation.advance(300);
    const { diskStallMs, electionTimeoutMs } = leader.node!.config;
    leader.isStalling = true;

    await simulation.until(
      "another leads",
      () => simulation.leader !== undefined && simulation.leader !== leader,
      diskStallMs + 3 * electionTimeoutMs,
    );
    const next = await simulation.untilLeader();
    const sinceMs = simulation.world.nowMs;
    await simulation.advance(2000);
    expect(next).not.toBe(leader);
    expect(leader.node!.isLeader).toBe(false);
    expect(acknowledgedSince(simulation, sinceMs)).toBeGreaterThan(100);

    // Its syncs end late: what they cover was answered by others, or by nobody.
    leader.isStalling = false;
    leader.disk.releaseStalled();
    await simulation.advance(1000);
    await finish(simulation);
  },
  TIMEOUT_MS,
);

describe("leases", () => {
  test(
    "leases: a leader that slept through its replacement serves nothing old",
    async () => {
      const simulation = new Simulation({ seed: 61, nodes: 3, leaseReads: true });
      await simulation.boot();
      simulation.addClients(4, { ...LIGHT, thinkMs: 4 });
      for (let round = 0; round < 6; round += 1) {
        await simulation.advance(300);
        const leader = await simulation.untilLeader();
        // Half of the clients know the sleeper only.
        for (const host of others(simulation, leader)) {
          for (const client of simulation.clients) {
            if (!client.isOdd) continue;
            simulation.network.cut(client.name, host.id);
            simulation.network.cut(host.id, client.name);
          }
        }
        leader.process!.isPaused = true;
        await simulation.until("another leads", () => {
          return simulation.hosts.some((host) => host !== leader && host.node?.isLeader === true);
        });
        await simulation.advance(300);
        leader.process!.resume();
        await simulation.advance(100);
        simulation.network.heal();
      }
      await finish(simulation);
      const reads = simulation.history.filter((o) => o.kind === "get" && o.outcome === "ok");
      expect(reads.length).toBeGreaterThan(500);
    },
    TIMEOUT_MS,
  );

  test(
    "leases: clocks that drift within the bound, and leaders that are cut off, serve nothing old",
    async () => {
      const simulation = new Simulation({ seed: 62, nodes: 3, leaseReads: true });
      const rates = [0.9, 1, 1.1];
      for (const [i, host] of simulation.hosts.entries()) {
        host.clock = { rate: rates[i]!, originMs: 1000 * i };
      }
      await simulation.boot();
      simulation.addClients(4, { ...LIGHT, thinkMs: 4 });
      for (let round = 0; round < 6; round += 1) {
        await simulation.advance(300);
        const leader = await simulation.untilLeader();
        simulation.isolate(leader);
        await simulation.advance(800);
        simulation.network.heal();
        await simulation.advance(200);
        const next = await simulation.untilLeader();
        const target = simulation.hosts[round % 3]!;
        next.node!.promote(target.id).catch(() => undefined);
      }
      await finish(simulation);
    },
    TIMEOUT_MS,
  );
});

// Found by seed 700187: folders were bound only while their logs were empty, so a cluster whose
// nodes had all restarted between its first election and its first binding served nothing, for
// ever.
test(
  "bootstrap: a cluster that lost power before any folder was bound begins again",
  async () => {
    const simulation = new Simulation({ seed: 26, nodes: 3, leaseReads: false });
    for (const host of simulation.hosts) simulation.start(host);
    const hasElected = (): boolean =>
      simulation.hosts.every((host) => (host.node?.driver.view.durableIndex ?? 0) >= 2);
    await simulation.until("the first entry of a leader is everywhere", hasElected);
    const bound = simulation.hosts.map((host) => host.node!.machine.memberTable.bindings.size);
    expect(bound).toEqual([0, 0, 0]);

    for (const host of simulation.hosts) simulation.cutPower(host);
    expect(simulation.hosts.map(({ node }) => node)).toEqual([undefined, undefined, undefined]);
    await simulation.boot();
    simulation.addClients(2, LIGHT);
    await simulation.advance(500);
    await finish(simulation);
    expect(acknowledgedSince(simulation, 0)).toBeGreaterThan(0);
  },
  TIMEOUT_MS,
);

// Found by seed 336873478.
test(
  "departure: a node that was cut off while it and all whom it knew were removed is told, and stops",
  async () => {
    const simulation = new Simulation({ seed: 27, nodes: 3, leaseReads: false });
    const [cutOff, ...others] = simulation.hosts;
    await simulation.boot();
    simulation.addClients(2, LIGHT);
    const successors: Host[] = [];
    for (let i = 0; i < 3; i += 1) {
      const joined = simulation.operator.grow()!;
      if (i > 0) simulation.isolate(cutOff!);
      const isVoter = (): boolean => memberOf(simulation, joined)?.role === "voter";
      await simulation.until("one joined", isVoter);
      if (i > 0) successors.push(joined);
      else others.push(joined);
    }
    // Who came last is not known to the one that is cut off; everybody else goes.
    for (const host of [cutOff!, ...others]) {
      simulation.operator.shrink(host);
      await simulation.until("one left", () => memberOf(simulation, host) === undefined);
    }
    expect(simulation.configuration!.ids).toEqual(successors.map(({ id }) => id));
    const { configuration } = cutOff!.node!.driver.view;
    expect(successors.some(({ id }) => configuration.has(id))).toBe(false);
    expect(cutOff!.refusal).toBe(undefined);

    simulation.network.heal();
    await simulation.until("it stops", () => cutOff!.refusal !== undefined);
    expect(cutOff!.refusal).toBeInstanceOf(RemovedError);
    await finish(simulation);
  },
  TIMEOUT_MS,
);
