// Reads on leases, with whole nodes: what a leader serves when another one may have taken over
// without its knowledge.

import { expect, test } from "bun:test";
import { NO_SESSION } from "../../src/protocol/encoding/command.ts";
import type { Host } from "./host.ts";
import { RawClient } from "./raw_client.ts";
import { Simulation } from "./simulator.ts";

const TIMEOUT_MS = 60_000;

/** The two that do not lead, of three. */
function others(simulation: Simulation, leader: Host): [Host, Host] {
  const [a, b] = simulation.hosts.filter((host) => host !== leader);
  return [a!, b!];
}

/** What the old leader served, and what had been acknowledged when it was asked. */
class Reads {
  readonly #simulation: Simulation;
  readonly #leader: Host;
  #writer: RawClient | undefined;
  #acknowledged = 0;
  /** Reads that were served at once, on a lease. */
  onLease = 0;
  /** Reads that were asked for when somebody else had answered a write. */
  late = 0;
  readonly stale: string[] = [];

  constructor(simulation: Simulation, leader: Host) {
    this.#simulation = simulation;
    this.#leader = leader;
  }

  /** Reads from the old leader all the time, and writes to a new one once there is one. */
  async run(forMs: number): Promise<void> {
    const { world } = this.#simulation;
    const endMs = world.nowMs + forMs;
    while (world.nowMs < endMs) {
      this.#write();
      this.#read();
      await this.#simulation.advance(0.5);
    }
  }

  #write(): void {
    const next = this.#simulation.hosts.find((h) => h !== this.#leader && h.node?.isLeader);
    if (next?.node === undefined) return;
    if (this.#writer === undefined) {
      this.#writer = new RawClient(next);
      this.#writer.put(NO_SESSION, { id: "k", value: "new" }, { id: 1, deadlineMs: 5000 });
    }
    if (typeof this.#writer.answers.get(1) === "number" && this.#acknowledged === 0) {
      this.#acknowledged = next.node.driver.view.commitIndex;
    }
  }

  #read(): void {
    const { node } = this.#leader;
    if (node === undefined) return;
    const asked = this.#acknowledged;
    if (asked > 0) this.late += 1;
    const askedMs = this.#simulation.world.nowMs;
    const run = (): void => {
      const { appliedIndex } = node.machine;
      if (this.#simulation.world.nowMs === askedMs && node.isLeader) this.onLease += 1;
      if (appliedIndex < asked) this.stale.push(`${appliedIndex} instead of ${asked}`);
    };
    node.driver.readBarrier({ run });
  }
}

async function quietCluster(seed: number): Promise<{ simulation: Simulation; leader: Host }> {
  const simulation = new Simulation({ seed, nodes: 3, leaseReads: true });
  const leader = await simulation.boot();
  await simulation.advance(1000);
  return { simulation, leader };
}

test(
  "leases: none holds from the moment in which a successor is told to campaign",
  async () => {
    const { simulation, leader } = await quietCluster(63);
    const [next, third] = others(simulation, leader);
    const reads = new Reads(simulation, leader);
    await reads.run(20);
    expect(reads.onLease).toBeGreaterThan(10);
    for (const { id } of [next, third]) simulation.network.slow(id, leader.id, 150);
    leader.node!.promote(next.id).catch(() => undefined);
    await reads.run(400);

    expect(reads.late).toBeGreaterThan(10);
    expect(reads.stale).toEqual([]);
    simulation.network.heal();
    await simulation.untilLeader();
  },
  TIMEOUT_MS,
);

test(
  "leases: they count from when the heartbeats left, not from when the answers came",
  async () => {
    const { simulation, leader } = await quietCluster(64);
    const reads = new Reads(simulation, leader);
    for (const { id } of others(simulation, leader)) simulation.network.slow(id, leader.id, 150);
    await reads.run(600);
    for (const { id } of others(simulation, leader)) simulation.network.cut(leader.id, id);
    await reads.run(600);

    expect(reads.late).toBeGreaterThan(10);
    expect(reads.stale).toEqual([]);
    simulation.network.heal();
    await simulation.untilLeader();
  },
  TIMEOUT_MS,
);

test(
  "leases: a voter that has just started does not help to replace a leader that has one",
  async () => {
    const { simulation, leader } = await quietCluster(65);
    const [deaf, voter] = others(simulation, leader);
    const reads = new Reads(simulation, leader);
    simulation.network.cut(leader.id, deaf.id);
    simulation.network.cut(deaf.id, leader.id);
    await reads.run(600);
    expect(simulation.leader).toBe(leader);
    for (let round = 0; round < 3; round += 1) {
      // It confirms a heartbeat, forgets that it did, and hears the other one only.
      await reads.run(100);
      simulation.kill(voter);
      simulation.network.cut(leader.id, voter.id);
      simulation.start(voter);
      await simulation.until("it is back", () => voter.node !== undefined);
      // Sooner than the other one's own timer would have it.
      for (let asked = 0; asked < 10; asked += 1) {
        await reads.run(5);
        deaf.node!.driver.campaign();
      }
      await reads.run(500);
      simulation.network.link(leader.id, voter.id).heal();
      await reads.run(300);
    }

    expect(reads.onLease).toBeGreaterThan(100);
    expect(reads.stale).toEqual([]);
    simulation.network.heal();
    await simulation.untilLeader();
  },
  TIMEOUT_MS,
);
