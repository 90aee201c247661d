import { expect, test } from "bun:test";
import { Simulation } from "./simulator.ts";

// Found by seed 5264: followers cut their logs without regard to the other voters, so that a node
// that was away for two snapshots could be served by no later leader. Since snapshots travel that
// costs one; still every node that may lead keeps what the slowest voter needs, up to a bound.
test("retention: a voter that was away finds what it missed at whoever leads", async () => {
  const simulation = new Simulation({ seed: 5264, nodes: 3 });
  const leader = await simulation.boot();
  const [away, next] = simulation.hosts.filter((host) => host !== leader);
  simulation.kill(away!);
  simulation.addClients(2, { keys: 4, timeoutMs: 2000, thinkMs: 6, inFlight: 2 });
  for (let round = 0; round < 3; round += 1) {
    await simulation.advance(700);
    for (const host of [leader, next!]) simulation.inject("snapshot", host);
  }
  await simulation.settle(leader.node!.promote(next!.id));
  simulation.kill(leader);
  await simulation.advance(200);

  simulation.start(away!);
  await simulation.untilLeader();
  await simulation.advance(2000);
  await simulation.heal(4);
  simulation.judge();

  expect(simulation.history.length).toBeGreaterThan(200);
}, 300_000);
