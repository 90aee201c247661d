// Scenarios of what clients hold in their hands: sessions, acknowledgements, versions. The numbers
// are those of the list of regression scenarios in docs/testing.md.

import { describe, expect, test } from "bun:test";
import type { CStoreError } from "../../src/base/errors.ts";
import { recoverAsNewCluster } from "../../src/node/recovery/unsafe_recover.ts";
import { ClusterChecker } from "./checkers/cluster.ts";
import type { Host } from "./host.ts";
import { RawClient } from "./raw_client.ts";
import { Simulation } from "./simulator.ts";
import { SimulatedProcess } from "./world.ts";

const TIMEOUT_MS = 60_000;

interface Register {
  id: string;
  value: string;
}

describe("X1", () => {
  async function withSession(
    seed: number,
  ): Promise<{ simulation: Simulation; leader: Host; sessionId: number }> {
    const simulation = new Simulation({ seed, nodes: 3, leaseReads: false });
    const leader = await simulation.boot();
    const client = new RawClient(leader);
    client.openSession(1);
    await simulation.until("a session", () => client.answers.has(1));
    return { simulation, leader, sessionId: client.answers.get(1) as number };
  }

  /** Sends request 6 of the session to a node, and gives what it answers. */
  async function send(
    simulation: Simulation,
    host: Host,
    sessionId: number,
  ): Promise<number | CStoreError> {
    const client = new RawClient(host);
    const identity = { sessionId, requestNumber: 6, acknowledgedBelow: 6 };
    client.put(identity, { id: "six", value: "6" }, { id: 6, deadlineMs: 5000 });
    await simulation.until("an answer", () => client.answers.has(6));
    return client.answers.get(6)!;
  }

  test(
    "X1: a request that is sent again after a failover is applied once",
    async () => {
      const { simulation, leader, sessionId } = await withSession(1);
      const version = await send(simulation, leader, sessionId);
      simulation.kill(leader);
      const next = await simulation.untilLeader();
      const database = await simulation.connect();
      const registers = database.collection<Register>("registers");
      await simulation.settle(registers.put({ id: "other", value: "later" }));

      const again = await send(simulation, next, sessionId);

      expect(version).toBeNumber();
      expect(again).toBe(version);
      const found = await simulation.settle(registers.findVersioned("six"));
      expect(found?.version).toBe(version as number);
    },
    TIMEOUT_MS,
  );

  test(
    "X1: a request of a session that has expired is refused and never executed",
    async () => {
      const { simulation, leader, sessionId } = await withSession(11);
      await simulation.advance(leader.node!.config.sessionTimeoutMs + 60_000);
      const next = await simulation.untilLeader();

      const answer = await send(simulation, next, sessionId);

      expect(answer).toMatchObject({ code: "SESSION_EXPIRED" });
      for (const { node } of simulation.hosts) expect(node!.machine.documentCount).toBe(0);
    },
    TIMEOUT_MS,
  );
});

test(
  "X2: a single node that dies right after an answer has what it answered",
  async () => {
    for (const power of [false, true]) {
      const simulation = new Simulation({ seed: 2, nodes: 1, leaseReads: false });
      const host = await simulation.boot();
      for (let round = 0; round < 20; round += 1) {
        const client = new RawClient(host);
        client.openSession(1);
        await simulation.until("a session", () => client.answers.has(1));
        const sessionId = client.answers.get(1) as number;
        const identity = { sessionId, requestNumber: 1, acknowledgedBelow: 1 };
        client.put(identity, { id: "k", value: `v${round}` }, { id: 2, deadlineMs: 5000 });
        await simulation.until("an answer", () => client.answers.has(2));
        if (power) simulation.cutPower(host, () => "dropped");
        else simulation.kill(host);
        simulation.start(host);
        await simulation.untilLeader();

        const database = await simulation.connect();
        const registers = database.collection<Register>("registers");
        const found = await simulation.settle(registers.findVersioned("k"));
        expect(found?.document.value).toBe(`v${round}`);
        expect(found?.version).toBe(client.answers.get(2) as number);
        await database.close();
      }
    }
  },
  TIMEOUT_MS,
);

test(
  "X3: a cluster that was recovered without its quorum gives out no version again",
  async () => {
    const simulation = new Simulation({ seed: 3, nodes: 3, leaseReads: false });
    const leader = await simulation.boot();
    const survivor = simulation.hosts.find((host) => host !== leader)!;
    const before = (await simulation.connect()).collection<Register>("registers");
    await simulation.settle(before.put({ id: "known", value: "1" }));
    await simulation.advance(500);
    simulation.isolate(survivor);
    let lost = 0;
    for (let i = 0; i < 20; i += 1) {
      lost = await simulation.settle(before.put({ id: "lost", value: `${i}` }));
    }
    for (const host of simulation.hosts) simulation.kill(host);
    simulation.network.heal();

    const tool = new SimulatedProcess(simulation.world, "tool");
    survivor.process = tool;
    const platform = simulation.platformOf(tool, survivor.disk);
    await simulation.settle(recoverAsNewCluster(platform, `/data/${survivor.id}`));
    simulation.kill(survivor);
    survivor.isFirst = false;
    simulation.checker = new ClusterChecker();
    simulation.start(survivor);
    await simulation.untilLeader();
    const after = (await simulation.connect()).collection<Register>("registers");
    const next = await simulation.settle(after.put({ id: "lost", value: "new" }));

    expect((await simulation.settle(after.findById("known")))?.value).toBe("1");
    expect(next).toBeGreaterThan(lost);
  },
  TIMEOUT_MS,
);
