// Scenarios of disks, folders and sessions, with whole nodes. The numbers are those of the list of
// regression scenarios in docs/testing.md.

import { describe, expect, test } from "bun:test";
import { CorruptionError, type CStoreError } from "../../src/base/errors.ts";
import { NO_SESSION } from "../../src/protocol/encoding/command.ts";
import type { FateDecision } from "../storage/fake_disk.ts";
import type { Host } from "./host.ts";
import { RawClient } from "./raw_client.ts";
import { Simulation } from "./simulator.ts";

const LOAD = { keys: 4, timeoutMs: 3000, thinkMs: 8, inFlight: 2 };
const TIMEOUT_MS = 60_000;

interface Register {
  id: string;
  value: string;
}

async function finish(simulation: Simulation): Promise<void> {
  await simulation.heal(LOAD.keys);
  simulation.judge();
}

/** Paths below a folder of a node's disk. */
function filesOf(host: Host, folder: string): string[] {
  const path = `/data/${host.id}/${folder}`;
  return host.disk.files.list(path).map((name) => `${path}/${name}`);
}

function segmentsOf(host: Host): string[] {
  return filesOf(host, "wal").filter((path) => path.endsWith(".segment"));
}

/** Bytes before the zeros that a file is filled up with. */
function usedSize(bytes: Uint8Array): number {
  let end = bytes.byteLength;
  while (end > 0 && bytes[end - 1] === 0) end -= 1;
  return end;
}

function damage(host: Host, path: string, change: (bytes: Uint8Array, size: number) => void): void {
  const bytes = host.disk.readFile(path);
  change(bytes, usedSize(bytes));
  host.disk.writeFile(path, bytes);
}

describe("S21", () => {
  const fates: Record<string, FateDecision | undefined> = {
    dropped: () => "dropped",
    zeroed: () => "zeroed",
    garbled: () => "garbled",
    kept: () => "kept",
    "left to chance": undefined,
  };

  for (const [name, decide] of Object.entries(fates)) {
    test(
      `S21: all nodes lose power at once and unsynced sectors are ${name}: nothing acknowledged is lost`,
      async () => {
        const simulation = new Simulation({ seed: 21, nodes: 3 });
        await simulation.boot();
        simulation.addClients(3, LOAD);
        for (let round = 0; round < 4; round += 1) {
          await simulation.advance(300 + simulation.world.random.below(100));
          for (const host of simulation.hosts) simulation.cutPower(host, decide);
          for (const host of simulation.hosts) simulation.start(host);
          await simulation.untilLeader();
        }
        await finish(simulation);

        expect(simulation.hosts.map((host) => host.refusal)).toEqual([
          undefined,
          undefined,
          undefined,
        ]);
      },
      TIMEOUT_MS,
    );
  }
});

// What was written while a sync ran is covered by the next one alone, and that one never ends here.
test(
  "S21: all nodes lose power while their syncs hang: nothing acknowledged is lost",
  async () => {
    const simulation = new Simulation({ seed: 212, nodes: 3 });
    await simulation.boot();
    simulation.addClients(4, { ...LOAD, thinkMs: 2, inFlight: 4 });
    for (let round = 0; round < 8; round += 1) {
      await simulation.advance(60 + simulation.world.random.below(1000) / 100);
      for (const host of simulation.hosts) host.isStalling = true;
      await simulation.advance(5);
      for (const host of simulation.hosts) host.disk.releaseStalled();
      await simulation.advance(5);
      for (const host of simulation.hosts) {
        simulation.cutPower(host, () => "dropped");
        host.isStalling = false;
        simulation.start(host);
      }
      await simulation.untilLeader();
    }
    await finish(simulation);
  },
  TIMEOUT_MS,
);

describe("S22", () => {
  async function withDeadFollower(
    seed: number,
  ): Promise<{ simulation: Simulation; victim: Host; leader: Host }> {
    const simulation = new Simulation({ seed, nodes: 3 });
    const leader = await simulation.boot();
    const victim = simulation.hosts.find((host) => host !== leader)!;
    simulation.addClients(2, LOAD);
    await simulation.advance(600);
    return { simulation, leader, victim };
  }

  const rot: Record<string, (bytes: Uint8Array, size: number) => void> = {
    "a flipped bit": (bytes, size) => {
      // Between records there are zeros that no checksum covers.
      let at = Math.floor(size / 2);
      while (bytes[at] === 0) at += 1;
      bytes[at]! ^= 0x10;
    },
    "a zeroed sector": (bytes, size) => {
      const sector = Math.floor(size / 2 / 512) * 512;
      bytes.fill(0, sector, sector + 512);
    },
    "a damaged head": (bytes) => {
      bytes[9]! ^= 0xff;
    },
  };

  /** Nothing is decided, cut or renamed without a quorum of the others; with one it begins anew. */
  async function expectRepair(
    simulation: Simulation,
    victim: Host,
    damaged: readonly string[],
  ): Promise<void> {
    const contents = damaged.map((path) => victim.disk.readFile(path));
    const names = [...segmentsOf(victim), ...filesOf(victim, "snapshots")];
    const others = simulation.hosts.filter((host) => host !== victim);
    for (const host of others) simulation.kill(host);
    simulation.start(victim);
    await simulation.until("it refuses", () => victim.refusal !== undefined, 150_000);

    expect(victim.refusal).toBeInstanceOf(CorruptionError);
    expect(victim.node).toBeUndefined();
    const found = [...segmentsOf(victim), ...filesOf(victim, "snapshots")];
    expect(names.filter((name) => !found.includes(name))).toEqual([]);
    expect(damaged.map((path) => victim.disk.readFile(path))).toEqual(contents);

    for (const host of others) simulation.start(host);
    await finish(simulation);
    expect(victim.refusal).toBeUndefined();
    expect(victim.node!.status().alarms).toEqual([]);
    const kept = damaged.map((path) => victim.disk.readFile(`${path}.damaged-1`));
    expect(kept).toEqual(contents);
  }

  for (const [name, change] of Object.entries(rot)) {
    test(
      `S22: a node whose log has ${name} is repaired by the others, and nothing acknowledged is lost`,
      async () => {
        const { simulation, victim } = await withDeadFollower(22);
        simulation.kill(victim);
        const path = segmentsOf(victim).at(-1)!;
        damage(victim, path, change);
        await expectRepair(simulation, victim, [path]);
      },
      TIMEOUT_MS,
    );
  }

  async function withSnapshots(
    seed: number,
  ): Promise<{ simulation: Simulation; victim: Host; snapshots: string[] }> {
    const { simulation, victim } = await withDeadFollower(seed);
    for (let round = 0; round < 3; round += 1) {
      await simulation.settle(victim.node!.takeSnapshot());
      await simulation.advance(300);
    }
    expect(victim.node!.log.base.index).toBeGreaterThan(0);
    simulation.kill(victim);
    return { simulation, victim, snapshots: filesOf(victim, "snapshots") };
  }

  test(
    "S22: a node whose newest snapshot rots begins with the older one",
    async () => {
      const { simulation, victim, snapshots } = await withSnapshots(221);
      expect(snapshots.length).toBe(2);
      damage(victim, snapshots[1]!, (bytes, size) => {
        bytes[Math.floor(size / 2)]! ^= 1;
      });
      simulation.start(victim);
      await finish(simulation);
      expect(victim.refusal).toBeUndefined();
    },
    TIMEOUT_MS,
  );

  test(
    "S22: a node without any good snapshot is repaired by the others",
    async () => {
      const { simulation, victim, snapshots } = await withSnapshots(222);
      for (const path of snapshots) {
        damage(victim, path, (bytes, size) => {
          bytes[Math.floor(size / 2)]! ^= 1;
        });
      }
      await expectRepair(simulation, victim, snapshots);
    },
    TIMEOUT_MS,
  );
});

// Found by seed 6667: its list of members was still empty.
test(
  "repair: a node that joined and finds its first snapshot damaged is repaired by those it asked",
  async () => {
    const simulation = new Simulation({ seed: 223, nodes: 3 });
    await simulation.boot();
    simulation.addClients(2, LOAD);
    await simulation.advance(600);
    for (const host of simulation.hosts) simulation.inject("snapshot", host);
    await simulation.advance(600);
    const joined = simulation.operator.grow()!;
    const hasFiles = (): boolean => joined.disk.files.exists(`/data/${joined.id}/snapshots`);
    const received = (): string[] => {
      return filesOf(joined, "snapshots").filter((path) => path.endsWith(".snapshot"));
    };
    await simulation.until("it runs", () => joined.node !== undefined);
    expect(joined.node!.driver.view.configuration.ids).toEqual([]);
    const peers = joined.disk.readFile(`/data/${joined.id}/peers`);
    await simulation.until("it has a snapshot", () => hasFiles() && received().length > 0);
    simulation.kill(joined);
    // As it is when the node dies before what the snapshot says of the members is noted.
    joined.disk.writeFile(`/data/${joined.id}/peers`, peers);
    for (const path of received()) {
      damage(joined, path, (bytes, size) => {
        bytes[Math.floor(size / 2)]! ^= 1;
      });
    }
    simulation.start(joined);
    await finish(simulation);
    expect(joined.refusal).toBeUndefined();
  },
  TIMEOUT_MS,
);

describe("S23", () => {
  test(
    "S23: a sync that fails once ends the process, and nothing of its batch counts",
    async () => {
      const simulation = new Simulation({ seed: 23, nodes: 3 });
      await simulation.boot();
      simulation.addClients(3, LOAD);
      for (let round = 0; round < 4; round += 1) {
        await simulation.advance(400);
        const leader = await simulation.untilLeader();
        const victim = round % 2 === 0 ? leader : simulation.hosts.find((h) => h !== leader)!;
        const { process } = victim;
        victim.failNextSync = true;
        await simulation.until("the process ends", () => process?.isAlive === false);
        await simulation.untilLeader();
        expect(simulation.leader).not.toBe(victim);
        // What the failed sync did not save is gone for good at the next power cut.
        if (round >= 2) simulation.cutPower(victim);
        simulation.start(victim);
      }
      await finish(simulation);
      expect(simulation.hosts.every((host) => host.refusal === undefined)).toBe(true);
    },
    TIMEOUT_MS,
  );

  test(
    "S23: a node whose disk is full stops, the others go on, and with room it is back",
    async () => {
      const simulation = new Simulation({ seed: 231, nodes: 3 });
      const victim = await simulation.boot();
      simulation.addClients(3, LOAD);
      await simulation.advance(200);
      const { process } = victim;
      victim.disk.capacityBytes = victim.disk.usedBytes();
      await simulation.until("the process ends", () => process?.isAlive === false, 30_000);
      await simulation.untilLeader();
      const before = simulation.history.filter((o) => o.outcome === "ok").length;
      await simulation.advance(2000);
      expect(simulation.history.filter((o) => o.outcome === "ok").length).toBeGreaterThan(before);
      expect(simulation.leader).not.toBe(victim);

      victim.disk.capacityBytes = Number.POSITIVE_INFINITY;
      await finish(simulation);
      expect(victim.refusal).toBeUndefined();
      expect(victim.node).toBeDefined();
    },
    TIMEOUT_MS,
  );
});

// A write is acknowledged on n1 and n2; n2's folder is wiped; n1 dies. n3 and the empty n2 are a
// majority of the list, but not of the folders that were bound: they must not go on without n1.
test(
  "identity: a wiped folder does not help to elect a leader without acknowledged writes",
  async () => {
    const simulation = new Simulation({ seed: 16, nodes: 3 });
    const n1 = await simulation.boot();
    const [n2, n3] = simulation.hosts.filter((host) => host !== n1) as [Host, Host];
    const registers = (await simulation.connect(30_000)).collection<Register>("registers");
    simulation.isolate(n3);
    await simulation.settle(registers.put({ id: "k0", value: "acknowledged" }));
    simulation.wipe(n2);
    simulation.kill(n1);
    simulation.network.heal();
    simulation.start(n2);
    const read = registers.findById("k0");

    await simulation.advance(10_000);
    expect(simulation.leader).toBeUndefined();
    expect(n3.node!.machine.appliedIndex).toBeGreaterThan(0);

    simulation.start(n1);
    expect((await simulation.settle(read))?.value).toBe("acknowledged");
    await simulation.untilLeader();
    await simulation.settle(registers.put({ id: "k0", value: "later" }));
    expect(simulation.leader).not.toBe(n2);
    expect(n3.node!.machine.documentCount).toBe(1);
  },
  TIMEOUT_MS,
);

// r6 is refused as overloaded and r7 is committed: a table that keeps only the last number would
// answer the repeated r6 as done.
test(
  "sessions: a request that was refused is executed later, behind ones that came after it",
  async () => {
    const simulation = new Simulation({ seed: 67, nodes: 3 });
    const leader = await simulation.boot();
    const client = new RawClient(leader);
    client.openSession(1);
    await simulation.until("a session", () => client.answers.has(1));
    const session = { sessionId: client.answers.get(1) as number, acknowledgedBelow: 6 };
    const answer = (id: number): number | CStoreError | undefined => client.answers.get(id);
    const large = "x".repeat(1_000_000);

    // While nothing can be committed, requests that nobody will wait for fill the node.
    simulation.isolate(leader);
    let filling = 100;
    while (answer(filling) === undefined) {
      filling += 1;
      client.put(NO_SESSION, { id: "filler", value: large }, { id: filling, deadlineMs: 1 });
      await simulation.advance(0);
    }
    client.put(
      { ...session, requestNumber: 6 },
      { id: "six", value: large },
      { id: 6, deadlineMs: 5000 },
    );
    client.put(
      { ...session, requestNumber: 7 },
      { id: "seven", value: "7" },
      { id: 7, deadlineMs: 5000 },
    );
    await simulation.advance(1);
    expect(answer(6)).toMatchObject({ code: "OVERLOADED" });
    expect(answer(7)).toBeUndefined();
    simulation.network.heal();
    await simulation.until("r7 is committed", () => answer(7) !== undefined);
    expect(answer(7)).toBeNumber();

    client.answers.delete(6);
    client.put(
      { ...session, requestNumber: 6 },
      { id: "six", value: large },
      { id: 6, deadlineMs: 5000 },
    );
    await simulation.until("r6 is answered", () => answer(6) !== undefined);

    expect(answer(6)).toBeGreaterThan(answer(7) as number);
    const registers = (await simulation.connect()).collection<Register>("registers");
    expect((await simulation.settle(registers.findById("six")))?.value).toBe(large);
    expect((await simulation.settle(registers.findById("seven")))?.value).toBe("7");
  },
  TIMEOUT_MS,
);
