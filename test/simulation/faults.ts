/**
 * Everything that can go wrong, one function a kind. A fault draws what it needs from the world's
 * random numbers and plans its own end.
 *
 * @module
 */

import type { LogBase } from "../../src/storage/wal/log_table.ts";
import type { Host, HostCluster } from "./host.ts";
import type { SimulatedNetwork } from "./network.ts";
import type { Operator } from "./operator.ts";
import type { SimulatedClient } from "./workload.ts";

/** Kinds that a run may draw. */
export const FAULT_KINDS = [
  "kill",
  "powerCut",
  "powerCutAll",
  "pause",
  "isolate",
  "cutOneWay",
  "clog",
  "reset",
  "syncStall",
  "syncFail",
  "clockJump",
  "promote",
  "snapshot",
  "powerCutMajority",
  "churn",
  "promoteTwice",
  "promoteCut",
  "sleepyLeader",
  "lagKill",
  "divergentTail",
  "loss",
  "halfOpen",
  "blackHole",
  "lateBytes",
  "diskFull",
  "slowDisk",
  "rot",
  "misdirectedWrite",
  "grow",
  "shrink",
  "replace",
  "demote",
  "recoverWiped",
  "lagSnapshot",
  "starve",
  "longLines",
  "thinLines",
  "resetAll",
] as const;

/** Kinds that break what the log builds on: they run only when they are named. */
export const OPT_IN_KINDS = ["syncLie"] as const;

/** One of {@link FAULT_KINDS} or {@link OPT_IN_KINDS}. */
export type FaultKind = (typeof FAULT_KINDS)[number] | (typeof OPT_IN_KINDS)[number];

/** The cluster that faults happen to. */
export interface FaultTarget extends HostCluster {
  /** Clients of collections that every node writes, if there are any. */
  readonly masters: object | undefined;
  readonly network: SimulatedNetwork;
  readonly operator: Operator;
  readonly clients: readonly SimulatedClient[];
  kill(host: Host): void;
  cutPower(host: Host): void;
  isolate(host: Host): void;
}

/** What a fault has to work with. */
export interface FaultScene {
  readonly simulation: FaultTarget;
  /** Whom it hits, if it hits one. */
  readonly victim: Host;
  /** Ids of all nodes but the victim. */
  readonly others: readonly string[];
  /** A whole number below `bound`. */
  below(bound: number): number;
  chance(probability: number): boolean;
  /** Does something later: usually the fault's end. */
  later(ms: number, run: () => void): void;
  /** Another victim. */
  drawVictim(): Host;
}

type Inflict = (scene: FaultScene) => void;

/** How each kind is done. */
export const INFLICT: Readonly<Record<FaultKind, Inflict>> = {
  kill({ simulation, victim, below, later }) {
    simulation.kill(victim);
    later(50 + below(3000), () => simulation.start(victim));
  },
  powerCut({ simulation, victim, below, later }) {
    simulation.cutPower(victim);
    later(50 + below(3000), () => simulation.start(victim));
  },
  powerCutAll({ simulation, below, later }) {
    for (const host of simulation.hosts) simulation.cutPower(host);
    for (const host of simulation.hosts) later(50 + below(1000), () => simulation.start(host));
  },
  powerCutMajority({ simulation, victim, others, below, chance, later }) {
    for (const host of simulation.hosts) {
      if (host !== victim && others.length > 1 && chance(0.4)) continue;
      simulation.cutPower(host);
      later(50 + below(1500), () => simulation.start(host));
    }
  },
  churn: (scene) => churn(scene, scene.victim, 2 + scene.below(8)),
  pause({ victim, below, later }) {
    const { process } = victim;
    if (process === undefined) return;
    process.isPaused = true;
    later(50 + below(3000), () => process.resume());
  },
  /** Other programs have the processors nearly all the time. */
  starve(scene) {
    const { simulation, victim, below, chance } = scene;
    const leftMs = 300 + below(3000);
    for (const host of chance(0.5) ? simulation.hosts : [victim]) starve(scene, host, leftMs);
  },
  clockJump({ simulation, victim, below }) {
    // Operations of a clock that was ahead wait for that time: no longer than a run does.
    const most = simulation.masters === undefined ? 3_600_000 : 15_000;
    if (victim.process !== undefined) victim.process.skewMs += below(2 * most) - most;
  },

  promote({ simulation, victim }) {
    promote(simulation.leader, victim);
  },
  promoteTwice({ simulation, victim, below, later, drawVictim }) {
    const { leader } = simulation;
    const target = drawVictim();
    promote(leader, victim);
    later(below(200) / 100, () => promote(leader, target));
    // A voter that dies in between must not forget whom it voted for.
    later(below(500) / 100, () => {
      const voter = simulation.hosts[below(simulation.hosts.length)]!;
      simulation.kill(voter);
      later(1 + below(20), () => simulation.start(voter));
    });
  },
  promoteCut({ simulation, victim, below, later }) {
    promote(simulation.leader, victim);
    later(below(500) / 100, () => simulation.isolate(victim));
    later(100 + below(1500), () => simulation.network.heal());
  },
  sleepyLeader: (scene) => sleep(scene, scene.simulation.leader ?? scene.victim),
  /** One follower falls behind, then has to elect the next leader. */
  lagKill({ simulation, below, later, drawVictim }) {
    const { leader, network } = simulation;
    if (leader === undefined) return;
    network.slow(leader.id, drawVictim().id, 50 + below(400));
    later(20 + below(400), () => {
      simulation.kill(leader);
      later(200 + below(1500), () => simulation.start(leader));
    });
    later(100 + below(1500), () => network.heal());
  },
  divergentTail(scene) {
    if (scene.simulation.leader !== undefined) divergeTail(scene, scene.simulation.leader);
  },
  snapshot({ victim }) {
    victim.node?.takeSnapshot().catch(() => undefined);
  },

  isolate({ simulation, victim, below, later }) {
    simulation.isolate(victim);
    later(100 + below(3000), () => simulation.network.heal());
  },
  cutOneWay({ simulation: { network }, victim, others, below, chance, later }) {
    for (const other of others) {
      if (chance(0.5)) network.cut(victim.id, other);
      else network.cut(other, victim.id);
    }
    later(100 + below(3000), () => network.heal());
  },
  clog({ simulation: { network }, victim, others, below, later }) {
    for (const other of others) network.slow(victim.id, other, 20 + below(400));
    later(100 + below(3000), () => network.heal());
  },
  loss({ simulation: { network }, victim, others, below, later }) {
    for (const other of others) {
      network.lose(victim.id, other, below(60) / 100);
      network.lose(other, victim.id, below(60) / 100);
    }
    later(100 + below(3000), () => network.heal());
  },
  reset({ simulation: { network }, victim, others }) {
    for (const other of others) network.reset(victim.id, other);
  },
  halfOpen({ simulation: { network }, victim, others, chance }) {
    for (const other of others) {
      if (chance(0.5)) network.halfOpen(victim.id, other);
      else network.halfOpen(other, victim.id);
    }
  },
  blackHole({ simulation: { network }, victim, others, chance }) {
    for (const other of others) {
      if (chance(0.7)) network.blackHole(victim.id, other);
      if (chance(0.7)) network.blackHole(other, victim.id);
    }
  },
  lateBytes({ simulation: { network }, victim, others, below }) {
    for (const other of others) network.makeLate(victim.id, other, 20 + below(1500));
  },

  /** All lines are as long as those between continents. */
  longLines({ simulation: { network, hosts }, below, later }) {
    const delayMs = 20 + below(130);
    for (const [from, to] of directions(hosts)) {
      network.slow(from, to, delayMs + below(delayMs / 2));
    }
    later(500 + below(5000), () => network.heal());
  },
  /** A line that carries a batch in a second has bytes of it all the time. */
  thinLines({ simulation: { network, hosts }, below, later }) {
    const bytesPerSecond = 20_000 + below(300_000);
    for (const [from, to] of directions(hosts)) network.thin(from, to, bytesPerSecond);
    later(500 + below(5000), () => network.heal());
  },
  resetAll: (scene) => resetAll(scene, 2 + scene.below(6)),

  syncStall({ victim, below, later }) {
    victim.isStalling = true;
    later(50 + below(2500), () => {
      victim.isStalling = false;
      victim.disk.releaseStalled();
    });
  },
  syncFail({ victim }) {
    victim.failNextSync = true;
  },
  slowDisk({ victim, below, later }) {
    victim.syncMs = [1, 1 + below(60)];
    later(100 + below(3000), () => {
      victim.syncMs = undefined;
    });
  },
  /** The node has to end; until there is room again it cannot come back either. */
  diskFull({ victim, below, later }) {
    const { disk } = victim;
    disk.capacityBytes = disk.usedBytes() + below(30_000);
    later(100 + below(3000), () => {
      disk.capacityBytes = Number.POSITIVE_INFINITY;
    });
  },
  /** A byte changes on the platter while the node is down. */
  rot({ simulation, victim, below, later }) {
    if (!simulation.mayDamage(victim)) return;
    simulation.kill(victim);
    rotSomewhere(victim, below);
    later(50 + below(1000), () => simulation.start(victim));
  },
  /** It shows only when the page cache is gone. */
  misdirectedWrite({ simulation, victim, below, later }) {
    if (!simulation.mayDamage(victim)) return;
    victim.disk.misdirectNext = true;
    later(200 + below(2000), () => {
      simulation.cutPower(victim);
      later(50 + below(1000), () => simulation.start(victim));
    });
  },
  grow({ simulation, chance }) {
    simulation.operator.grow(chance(0.1));
  },
  shrink({ simulation, victim }) {
    simulation.operator.shrink(victim);
  },
  replace({ simulation, victim }) {
    simulation.operator.replace(victim);
  },
  demote({ simulation, victim, below }) {
    simulation.operator.demote(victim, below(2000));
  },
  recoverWiped({ simulation, victim }) {
    simulation.operator.recoverWiped(victim);
  },
  lagSnapshot: (scene) => lagBehindSnapshot(scene),

  /** The disk says that it synced, and did not, until the power fails. */
  syncLie({ simulation, victim, below, later }) {
    victim.isLying = true;
    later(100 + below(2000), () => {
      simulation.cutPower(victim);
      victim.isLying = false;
      later(50 + below(1000), () => simulation.start(victim));
    });
  },
};

/** Every direction between two nodes. */
export function directions(hosts: readonly Host[]): (readonly [from: string, to: string])[] {
  return hosts.flatMap(({ id: from }) =>
    hosts.flatMap(({ id: to }) => (from === to ? [] : [[from, to] as const])),
  );
}

/** A process runs for a moment, then waits for its next turn. */
function starve(scene: FaultScene, host: Host, leftMs: number): void {
  const { below, later } = scene;
  const { process } = host;
  if (process === undefined || leftMs <= 0) return;
  const [waitMs, runMs] = [below(150), 1 + below(20)];
  process.isPaused = true;
  later(waitMs, () => {
    process.resume();
    later(runMs, () => starve(scene, host, leftMs - waitMs - runMs));
  });
}

function resetAll(scene: FaultScene, rounds: number): void {
  const { simulation, below, later } = scene;
  for (const [from, to] of directions(simulation.hosts)) simulation.network.reset(from, to);
  if (rounds > 0) later(200 + below(1500), () => resetAll(scene, rounds - 1));
}

/**
 * One node is away until the others have cut their logs, so that only a snapshot can bring it back.
 * Sender, receiver or both may die while it travels.
 */
function lagBehindSnapshot({ simulation, victim, below, chance, later }: FaultScene): void {
  const stayers = simulation.hosts.filter((host) => host !== victim);
  const takeSnapshots = (): Map<Host, LogBase> => {
    const taken = new Map<Host, LogBase>();
    for (const host of stayers) {
      const { node } = host;
      if (node === undefined) continue;
      taken.set(host, node.machine.position);
      node.takeSnapshot().catch(() => undefined);
    }
    return taken;
  };
  simulation.kill(victim);
  const awayMs = 150 + below(800);
  let older = new Map<Host, LogBase>();
  later(awayMs / 2, () => {
    older = takeSnapshots();
    for (const client of simulation.clients) client.hurry(awayMs / 4);
  });
  later(awayMs, () => takeSnapshots());
  // A log that is longer than what is kept for one that is away is cut without regard to it.
  later(awayMs + 100, () => {
    for (const [host, base] of older) cutLog(host, base);
    simulation.start(victim);
  });
  const dyingMs = awayMs + 100 + below(300);
  const dying = [victim, simulation.leader ?? victim].filter(() => chance(0.4));
  for (const host of dying) {
    later(dyingMs, () => {
      if (chance(0.5)) simulation.kill(host);
      else simulation.cutPower(host);
      later(10 + below(800), () => simulation.start(host));
    });
  }
}

function cutLog({ id, disk, node }: Host, base: LogBase): void {
  if (node === undefined || base.index <= node.log.base.index) return;
  const name = `${String(base.index).padStart(16, "0")}.snapshot`;
  const kept = disk.files.list(`/data/${id}/snapshots`).filter((file) => file.endsWith("snapshot"));
  // As long as a newer one is not there, this one may not be durable yet.
  if (!kept.includes(name) || !kept.some((other) => other > name)) return;
  node.log.compactTo(base).catch(() => undefined);
}

function promote(leader: Host | undefined, target: Host): void {
  leader?.node?.promote(target.id).catch(() => undefined);
}

/** Quick ends and starts, one after the other, mostly of whoever leads. */
function churn(scene: FaultScene, victim: Host, rounds: number): void {
  const { simulation, below, chance, later, drawVictim } = scene;
  if (chance(0.5)) simulation.kill(victim);
  else simulation.cutPower(victim);
  later(5 + below(200), () => simulation.start(victim));
  if (rounds > 0) later(20 + below(400), () => churn(scene, drawVictim(), rounds - 1));
}

/**
 * A leader that is cut off collects entries that nobody else has; the next one dies as soon as it
 * has committed something, so that the first one's longer log stands against a newer one.
 */
function divergeTail({ simulation, below, later }: FaultScene, first: Host): void {
  const { world, network } = simulation;
  const endMs = world.nowMs + 1500;
  const graceMs = below(8);
  simulation.isolate(first);
  const watch = (): void => {
    const next = simulation.leader;
    const isReady = next !== first && next?.node?.driver.view.hasCommittedOwnTerm === true;
    if (next === undefined || !isReady) {
      if (world.nowMs < endMs) world.schedule(1, "end:divergentTail", watch);
      else network.heal();
      return;
    }
    later(graceMs, () => {
      simulation.kill(next);
      network.heal();
      later(300 + below(2000), () => simulation.start(next));
    });
  };
  watch();
}

/** The leader sleeps, answers to it are late, and some clients reach nobody else. */
function sleep({ simulation, below, later }: FaultScene, leader: Host): void {
  const { network } = simulation;
  for (const host of simulation.hosts) {
    if (host === leader) continue;
    network.slow(host.id, leader.id, 20 + below(600));
    for (const client of simulation.clients) {
      if (client.isOdd) continue;
      network.cut(client.name, host.id);
      network.cut(host.id, client.name);
    }
  }
  const { process } = leader;
  const asleepMs = below(50);
  const wakeMs = asleepMs + 200 + below(1500);
  later(asleepMs, () => {
    if (process !== undefined) process.isPaused = true;
    // What others write meanwhile is what the sleeper does not know when it is asked.
    for (const client of simulation.clients) client.hurry(wakeMs - asleepMs + 100);
  });
  later(wakeMs, () => process?.resume());
  later(wakeMs + 50 + below(500), () => network.heal());
}

/**
 * Nothing else may know of the last records of a log when the power fails, too: see the remaining
 * risk in docs/disk_format.md.
 */
const ROT_SPARES_BYTES = 2048;

/** Flips one bit of what was synced: of the log or a snapshot, more rarely of the identity. */
function rotSomewhere({ id, disk }: Host, below: (bound: number) => number): void {
  const folder = `/data/${id}`;
  const places: { readonly path: string; readonly size: number }[] = [];
  const add = (path: string, spared: number): number => {
    const size = disk.usedSizeOf(path);
    if (size > spared) places.push({ path, size: size - spared });
    return Math.max(0, spared - size);
  };
  let spared = ROT_SPARES_BYTES;
  for (const name of [...disk.files.list(`${folder}/wal`)].reverse()) {
    if (name.endsWith(".segment")) spared = add(`${folder}/wal/${name}`, spared);
  }
  for (const name of disk.files.list(`${folder}/snapshots`)) {
    if (name.endsWith(".snapshot")) add(`${folder}/snapshots/${name}`, 0);
  }
  const hasIdentity = disk.files.list(folder).includes("identity");
  if (hasIdentity && below(8) === 0) add(`${folder}/identity`, 0);
  const place = places[below(places.length)];
  if (place !== undefined) disk.flip(place.path, below(place.size), 1 << below(8));
}
