import { expect, test } from "bun:test";
import { rotten } from "./plants.ts";
import { type FaultKind, Simulation, simulate } from "./simulator.ts";

const SEEDS = Number(process.env["CSTORE_SIMULATION_SEEDS"] ?? "24");
const FRESH = Number(process.env["CSTORE_SIMULATION_FRESH"] ?? "300");

async function expectClean(seed: number, faults?: readonly FaultKind[]): Promise<void> {
  const result = await simulate({ seed, ...(faults && { faults }) });
  expect({ seed, violation: result.violation }).toEqual({ seed, violation: undefined });
  expect(result.acknowledged).toBeGreaterThan(0);
}

for (let seed = 1; seed <= SEEDS; seed += 1) {
  test(`simulation: seed ${seed} keeps every promise`, () => expectClean(seed), 120_000);
}

test("simulation: fresh seeds keep every promise", async () => {
  const first = Date.now() % 1_000_000_000;
  process.stdout.write(`fresh seeds from ${first}\n`);
  for (let seed = first; seed < first + FRESH; seed += 1) await expectClean(seed);
}, 1_200_000);

// A seed must mean the same run every time, or a failure could not be replayed.
test("simulation: the same seed gives the same events", async () => {
  const first = await simulate({ seed: 7, durationMs: 3000 });
  const second = await simulate({ seed: 7, durationMs: 3000 });
  const other = await simulate({ seed: 8, durationMs: 3000 });

  expect(second).toEqual(first);
  expect(other.hash).not.toBe(first.hash);
}, 300_000);

// Found by seed 143: the folder of the snapshots was made but its name was never synced, so a power
// cut took it away after the log had been cut behind the snapshots in it.
test("simulation: a power cut after snapshots leaves the folder that they are in", async () => {
  const simulation = new Simulation({ seed: 143, nodes: 3, clients: 3, faults: [] });
  for (const host of simulation.hosts) simulation.start(host);
  simulation.addClients(3, { keys: 4, timeoutMs: 2000, thinkMs: 2, inFlight: 4 });
  await simulation.advance(3000);
  for (let round = 0; round < 3; round += 1) {
    for (const host of simulation.hosts) simulation.inject("snapshot", host);
    await simulation.advance(1000);
  }
  expect(simulation.hosts.every((host) => (host.node?.log.base.index ?? 0) > 0)).toBe(true);
  simulation.inject("powerCutAll");
  await simulation.advance(2000);
  await simulation.heal(4);
  simulation.judge();
  expect(simulation.hosts.map((host) => host.refusal)).toEqual([undefined, undefined, undefined]);
}, 300_000);

test("simulation: each planted bug still fits the source", () => {
  expect(rotten()).toEqual([]);
});
