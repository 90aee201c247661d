/**
 * The faults that a run draws from, and the one that draws them. Each fault takes what it needs,
 * waits, and heals what it did.
 *
 * @module
 */

import { sleep, systemClock } from "../../src/platform/clock.ts";
import type { ChaosNode } from "./chaos_cluster.ts";
import { CLIENTS, type LinkFault, type LinkFaultKind } from "./link_faults.ts";
import { replaceMember } from "./membership.ts";
import type { FaultWorld, Scene } from "./scene.ts";

/** Injects the fault and heals it; tells nothing if it is not possible now. */
type Inject = (scene: Scene) => Promise<void>;

/** Kinds by name, with how often each is drawn. */
const FAULTS = {
  kill: { weight: 4, inject: kill },
  stop: { weight: 4, inject: stop },
  restart: { weight: 2, inject: restart },
  killAll: { weight: 1, inject: killAll },
  cut: { weight: 3, inject: (scene) => oneLink(scene, "cut") },
  delay: { weight: 3, inject: (scene) => oneLink(scene, "delay") },
  blackHole: { weight: 3, inject: (scene) => oneLink(scene, "blackHole") },
  halfOpen: { weight: 3, inject: (scene) => oneLink(scene, "halfOpen") },
  isolate: { weight: 3, inject: isolate },
  slowDisk: { weight: 3, inject: slowDisk },
  fullDisk: { weight: 2, inject: fullDisk },
  smallDisk: { weight: 2, inject: smallDisk },
  promote: { weight: 3, inject: promote },
  membership: { weight: 3, inject: replaceMember },
} as const satisfies Readonly<Record<string, { weight: number; inject: Inject }>>;

/** A kind of fault. */
export type FaultKind = keyof typeof FAULTS;

/** Every kind there is. */
export const FAULT_KINDS = Object.keys(FAULTS) as readonly FaultKind[];

/** Faults at the same time at most. */
const TOGETHER_MAX = 3;
/** Time in which a process that met a full disk has ended. */
const SETTLE_MS = 500;

/** Draws and injects faults until it is stopped. */
export class FaultScheduler {
  readonly counts: Partial<Record<FaultKind, number>> = {};
  readonly failures: string[] = [];
  readonly #world: FaultWorld;
  readonly #kinds: readonly FaultKind[];
  readonly #gapMs: number;
  readonly #running = new Set<Promise<void>>();
  readonly #waits = new Set<() => void>();
  #isStopped = false;
  #loop: Promise<void> | undefined;

  constructor(world: FaultWorld, options: { kinds: readonly FaultKind[]; gapMs: number }) {
    this.#world = world;
    this.#kinds = options.kinds;
    this.#gapMs = options.gapMs;
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** Heals everything. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const wake of [...this.#waits]) wake();
    await this.#loop;
    await Promise.all(this.#running);
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      await this.#wait(this.#world.random.below(this.#gapMs * 2));
      if (this.#isStopped || this.#running.size >= TOGETHER_MAX) continue;
      const kind = this.#draw();
      const running: Promise<void> = this.#inject(kind).finally(() => {
        this.#running.delete(running);
      });
      this.#running.add(running);
    }
  }

  #draw(): FaultKind {
    const total = this.#kinds.reduce((sum, kind) => sum + FAULTS[kind].weight, 0);
    let at = this.#world.random.below(total);
    for (const kind of this.#kinds) {
      at -= FAULTS[kind].weight;
      if (at < 0) return kind;
    }
    throw new Error("there is no kind of fault to draw");
  }

  async #inject(kind: FaultKind): Promise<void> {
    const taken: ChaosNode[] = [];
    const scene: Scene = {
      ...this.#world,
      tell: (line) => {
        this.counts[kind] = (this.counts[kind] ?? 0) + 1;
        this.#world.tell(`${kind}: ${line}`);
      },
      fail: (failure) => void this.failures.push(`${kind}: ${failure}`),
      wait: (ms) => this.#wait(ms),
      take: async (wanted) => {
        const node = await this.#take(wanted);
        if (node !== undefined) taken.push(node);
        return node;
      },
      between: (low, high) => low + this.#world.random.below(Math.max(1, high - low)),
    };
    try {
      await FAULTS[kind].inject(scene);
    } finally {
      for (const node of taken) node.isTaken = false;
    }
  }

  /** The leader half of the time, unless one is wanted. */
  async #take(wanted: ChaosNode | undefined): Promise<ChaosNode | undefined> {
    const { cluster, random } = this.#world;
    const isAny = wanted === undefined;
    const chosen = isAny && random.chance(0.5) ? await cluster.leader() : wanted;
    const free = cluster.nodes.filter((node) => !node.isTaken);
    const taken = cluster.nodes.length - free.length;
    // A majority is left most of the time, so that there is something to lose.
    if (taken + 1 > (cluster.nodes.length - 1) / 2 && !random.chance(0.1)) return undefined;
    const other = isAny ? free[random.below(free.length)] : undefined;
    const node = chosen?.isTaken === false ? chosen : other;
    if (node !== undefined) node.isTaken = true;
    return node;
  }

  async #wait(ms: number): Promise<void> {
    if (this.#isStopped) return;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        cancel();
        this.#waits.delete(wake);
        resolve();
      };
      const cancel = systemClock.setTimer(ms, wake);
      this.#waits.add(wake);
    });
  }
}

async function kill(scene: Scene): Promise<void> {
  const node = await scene.take();
  if (node?.child === undefined) return;
  const downMs = scene.between(0, 2500);
  scene.tell(`${node.id} for ${downMs} ms`);
  await scene.cluster.kill(node);
  await scene.wait(downMs);
  await scene.cluster.startNode(node);
}

async function stop(scene: Scene): Promise<void> {
  const node = await scene.take();
  if (node?.child === undefined) return;
  const stillMs = scene.between(50, 3500);
  scene.tell(`${node.id} for ${stillMs} ms`);
  scene.cluster.pause(node, true);
  await scene.wait(stillMs);
  scene.cluster.pause(node, false);
}

async function restart(scene: Scene): Promise<void> {
  const node = await scene.take();
  if (node?.child === undefined) return;
  scene.tell(node.id);
  await scene.cluster.terminate(node);
  await scene.wait(scene.between(0, 500));
  await scene.cluster.startNode(node);
}

/** Every node that no other fault has. */
async function killAll(scene: Scene): Promise<void> {
  const free = scene.cluster.nodes.filter((node) => !node.isTaken && node.child !== undefined);
  if (free.length < 2) return;
  for (const node of free) node.isTaken = true;
  try {
    scene.tell(free.map((node) => node.id).join(" "));
    await Promise.all(free.map((node) => scene.cluster.kill(node)));
    await scene.wait(scene.between(0, 1000));
    await Promise.all(free.map((node) => scene.cluster.startNode(node)));
  } finally {
    for (const node of free) node.isTaken = false;
  }
}

/** One direction of one link; in every fourth case the link from clients to a node, or back. */
async function oneLink(scene: Scene, kind: LinkFaultKind): Promise<void> {
  const { cluster, random } = scene;
  const ids = cluster.nodes.map((node) => node.id);
  const leader = random.chance(0.5) ? (await cluster.leader())?.id : undefined;
  const one = leader ?? ids[random.below(ids.length)] ?? "";
  const others = ids.filter((id) => id !== one);
  const other = random.chance(0.25) ? CLIENTS : (others[random.below(others.length)] ?? CLIENTS);
  const isAway = random.chance(0.5);
  const fault: LinkFault = {
    kind,
    from: isAway ? one : other,
    to: isAway ? other : one,
    delayMs: kind === "delay" ? scene.between(20, 500) : 0,
    resets: kind === "blackHole" && random.chance(0.5),
  };
  await hold(scene, [fault]);
}

/** A node hears nothing, or is not heard, or both; clients may still reach it. */
async function isolate(scene: Scene): Promise<void> {
  const { cluster, random } = scene;
  const leader = random.chance(0.5) ? await cluster.leader() : undefined;
  const node = leader ?? cluster.nodes[random.below(cluster.nodes.length)];
  if (node === undefined) return;
  const others = cluster.nodes.map(({ id }) => id).filter((id) => id !== node.id);
  if (random.chance(0.3)) others.push(CLIENTS);
  const ways = random.below(3);
  const resets = random.chance(0.5);
  const faults = others.flatMap((other): LinkFault[] => {
    const away: LinkFault = { kind: "blackHole", from: node.id, to: other, resets };
    const home: LinkFault = { kind: "blackHole", from: other, to: node.id, resets };
    return ways === 0 ? [away] : ways === 1 ? [home] : [away, home];
  });
  await hold(scene, faults);
}

async function hold(scene: Scene, faults: readonly LinkFault[]): Promise<void> {
  const lastsMs = scene.between(100, 4000);
  const names = faults.map(({ from, to, delayMs = 0, resets }) => {
    return `${from}>${to}${delayMs > 0 ? ` ${delayMs} ms` : ""}${resets === true ? " reset" : ""}`;
  });
  scene.tell(`${names.join(", ")} for ${lastsMs} ms`);
  const heals = faults.map((fault) => scene.links.begin(fault));
  await scene.wait(lastsMs);
  for (const heal of heals) heal();
}

async function slowDisk(scene: Scene): Promise<void> {
  const node = await scene.take();
  if (node === undefined) return;
  const syncDelayMs = scene.between(30, 1500);
  const lastsMs = scene.between(500, 4000);
  scene.tell(`${node.id} ${syncDelayMs} ms a sync for ${lastsMs} ms`);
  scene.cluster.setDisk(node, { syncDelayMs });
  await scene.wait(lastsMs);
  scene.cluster.setDisk(node, undefined);
}

/** The node may end; it is started again when there is room. */
async function fullDisk(scene: Scene): Promise<void> {
  const node = await scene.take();
  if (node?.child === undefined) return;
  const lastsMs = scene.between(200, 3000);
  const isDown = scene.random.chance(0.25);
  scene.tell(`${node.id} for ${lastsMs} ms${isDown ? ", started while it is full" : ""}`);
  node.mayEnd = true;
  scene.cluster.setDisk(node, { isFull: true });
  if (isDown) {
    await scene.cluster.kill(node);
    await scene.cluster.startNode(node);
  }
  await scene.wait(lastsMs);
  scene.cluster.setDisk(node, undefined);
  // What was refused a moment ago may end the process only now.
  await sleep(systemClock, SETTLE_MS);
  await scene.cluster.startNode(node);
  node.mayEnd = false;
}

/** Little or no room on a disk of its own; half of the time the node must start there. */
async function smallDisk(scene: Scene): Promise<void> {
  const { cluster, random } = scene;
  const wanted = cluster.nodes.find((node) => node.smallDisk !== undefined);
  if (wanted === undefined) return;
  const node = await scene.take(wanted);
  if (node?.child === undefined) return;
  const lastsMs = scene.between(200, 4000);
  const room = random.chance(0.5) ? 0 : random.below(8 * 1024 * 1024);
  const isDown = random.chance(0.5);
  scene.tell(
    `${node.id} has room for ${room} bytes for ${lastsMs} ms${isDown ? ", started there" : ""}`,
  );
  node.mayEnd = true;
  if (isDown) await cluster.kill(node);
  cluster.setRoom(node, room);
  if (isDown) await cluster.startNode(node);
  await scene.wait(lastsMs);
  cluster.setRoom(node, undefined);
  await sleep(systemClock, SETTLE_MS);
  await cluster.startNode(node);
  node.mayEnd = false;
}

async function promote(scene: Scene): Promise<void> {
  const { nodes } = scene.cluster;
  const node = nodes[scene.random.below(nodes.length)];
  if (node === undefined) return;
  scene.tell(node.id);
  await scene.promote(node.id);
}
