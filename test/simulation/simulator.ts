/**
 * A whole cluster in one process under virtual time: the shipped nodes and clients, with only
 * `src/platform` replaced. One seed decides everything.
 *
 * @module
 */

import { AssertionError } from "../../src/base/assert.ts";
import { CorruptionError, CStoreError } from "../../src/base/errors.ts";
import { Client } from "../../src/client/client.ts";
import { RemoteDatabase } from "../../src/client/remote_database.ts";
import { parseNodeConfig } from "../../src/node/config.ts";
import { Node } from "../../src/node/node.ts";
import type { Platform } from "../../src/platform/platform.ts";
import { SeededRandom } from "../../src/platform/random.ts";
import { type FateDecision, SimulatedDisk } from "../storage/fake_disk.ts";
import { ClusterChecker, Violation } from "./checkers/cluster.ts";
import { findVersionViolation, findViolation, type Operation } from "./checkers/history.ts";
import { FAULT_KINDS, type FaultKind, INFLICT } from "./faults.ts";
import { type LinkFaults, SimulatedNetwork } from "./network.ts";
import { SimulatedClient, type WorkloadOptions } from "./workload.ts";
import { type ClockFault, SimulatedProcess, World } from "./world.ts";

export type { FaultKind } from "./faults.ts";

/** How a run is set up. Everything that is not set is drawn from the seed. */
export interface SimulationOptions {
  readonly seed: number;
  readonly nodes?: number;
  readonly clients?: number;
  readonly faults?: readonly FaultKind[];
  readonly durationMs?: number;
  readonly compression?: "none" | "zstd";
}

/** What a run gave. */
export interface SimulationResult {
  readonly seed: number;
  readonly simulatedMs: number;
  readonly events: number;
  readonly faults: Readonly<Partial<Record<FaultKind, number>>>;
  readonly operations: number;
  readonly acknowledged: number;
  readonly hash: number;
  readonly violation: { readonly checker: string; readonly message: string } | undefined;
}

/** What a healed cluster may take, in virtual time, to serve again and to come to one state. */
const HEAL_MS = 20_000;
/** Sizes of clusters that a seed draws from. */
const CLUSTER_SIZES = [1, 2, 3, 3, 3, 3, 3, 5, 5, 7] as const;
const FIRST_PORT = 7001;
/** How long before a fault clients begin to hurry, and how long they do. */
const HURRY_BEFORE_MS = 20;
const HURRY_MS = 25;
const FAST_SYNC_MS = [0.05, 0.55] as const;

/** One machine, with or without a running node. */
export interface Host {
  readonly id: string;
  readonly disk: SimulatedDisk;
  process: SimulatedProcess | undefined;
  node: Node | undefined;
  /** Why it must not be started again; undefined while it may. */
  refusal: CStoreError | undefined;
  isStalling: boolean;
  failNextSync: boolean;
  /** Its disk says that it synced, and does not. */
  isLying: boolean;
  /** Shortest and longest sync while its disk is slow. */
  syncMs: readonly [number, number] | undefined;
  clock: ClockFault;
}

/** A cluster, its clients and its faults. */
export class Simulation {
  readonly world: World;
  readonly network: SimulatedNetwork;
  readonly history: Operation[] = [];
  readonly faults: Partial<Record<FaultKind, number>> = {};
  readonly hosts: readonly Host[];
  readonly checker = new ClusterChecker();
  readonly #options: SimulationOptions;
  readonly #compression: "none" | "zstd";
  readonly #damaged = new Set<Host>();
  /** Shortest and longest sync of a disk without a fault. */
  #syncMs: readonly [number, number] = FAST_SYNC_MS;
  readonly clients: SimulatedClient[] = [];
  #clientCount = 0;
  #violation: Violation | undefined;

  constructor(options: SimulationOptions) {
    this.#options = options;
    this.world = new World(options.seed);
    this.network = new SimulatedNetwork(this.world);
    const { random } = this.world;
    const count = options.nodes ?? CLUSTER_SIZES[random.below(CLUSTER_SIZES.length)]!;
    this.#compression = options.compression ?? (random.chance(0.3) ? "zstd" : "none");
    this.hosts = Array.from({ length: count }, (_, i) => this.#newHost(`n${i + 1}`));
  }

  get members(): { id: string; address: string }[] {
    return this.hosts.map(({ id }, i) => ({ id, address: `127.0.0.1:${FIRST_PORT + i}` }));
  }

  get addresses(): string[] {
    return this.members.map((member) => member.address);
  }

  /** The running leader of the highest term, if any. */
  get leader(): Host | undefined {
    const leaders = this.hosts.filter((host) => host.node?.isLeader === true);
    return leaders.sort(
      (a, b) => (b.node?.driver.view.term ?? 0) - (a.node?.driver.view.term ?? 0),
    )[0];
  }

  host(id: string): Host {
    const found = this.hosts.find((host) => host.id === id);
    if (found === undefined) throw new RangeError(`no host ${id}`);
    return found;
  }

  /** Boots a host's node from what its disk holds. */
  start(host: Host): void {
    if (host.process?.isAlive === true || host.refusal !== undefined) return;
    const process = new SimulatedProcess(this.world, host.id, host.clock);
    host.process = process;
    const platform = this.platformOf(process, host.disk);
    const config = parseNodeConfig({
      id: host.id,
      listen: this.members.find((member) => member.id === host.id)?.address,
      dataDirectory: `/data/${host.id}`,
      members: this.members,
      compression: this.#compression,
      segmentSizeBytes: 64 * 1024,
      snapshotLogBytes: 64 * 1024,
      requestTimeoutMs: 2000,
    });
    const onFatal = (error: CStoreError): void => {
      if (host.process !== process) return;
      if (error instanceof CorruptionError) host.refusal = error;
      this.kill(host);
      // A supervisor would start it again.
      if (host.refusal === undefined)
        this.world.schedule(500, `${host.id}:supervisor`, () => this.start(host));
    };
    Node.open(platform, config, { onFatal }).then(
      (node) => {
        if (process.isAlive) host.node = node;
      },
      (error: unknown) => {
        if (!process.isAlive) return;
        if (error instanceof AssertionError || !(error instanceof CStoreError)) this.#fail(error);
        else onFatal(error);
      },
    );
  }

  platformOf(process: SimulatedProcess, disk: SimulatedDisk): Platform {
    const random = new SeededRandom(this.world.random.u32());
    return { clock: process.clock(), random, files: disk.files, network: this.network.of(process) };
  }

  /** SIGKILL: the page cache stays. */
  kill(host: Host): void {
    const { process } = host;
    if (process === undefined || !process.isAlive) return;
    process.kill();
    host.node = undefined;
    host.disk.killProcess();
    this.network.processGone(process, 0);
  }

  /** The machine loses power: what was not synced is gone, kept or garbled; peers notice late. */
  cutPower(host: Host, decide?: FateDecision): void {
    const { process } = host;
    const wasAlive = process?.isAlive === true;
    if (process !== undefined && wasAlive) {
      process.kill();
      host.node = undefined;
      this.network.processGone(process, this.world.random.below(1500));
    }
    host.disk.cutPower(decide);
  }

  /** The disk is replaced by an empty one. */
  wipe(host: Host): void {
    this.kill(host);
    host.disk.deleteFile("/data");
    host.refusal = undefined;
  }

  addClients(count: number, options: WorkloadOptions): void {
    for (let i = 0; i < count; i += 1) {
      this.#clientCount += 1;
      const process = new SimulatedProcess(this.world, `c${this.#clientCount}`);
      const disk = new SimulatedDisk({ random: this.world.random });
      const parts = {
        platform: this.platformOf(process, disk),
        random: new SeededRandom(this.world.random.u32()),
        history: this.history,
      };
      const client = new SimulatedClient(this.#clientCount, parts, options);
      this.clients.push(client);
      void client.start(this.addresses);
    }
  }

  /** A client for a scenario's own operations, on a machine of its own. */
  async connect(timeoutMs = 5000): Promise<RemoteDatabase> {
    this.#clientCount += 1;
    const process = new SimulatedProcess(this.world, `c${this.#clientCount}`);
    const disk = new SimulatedDisk({ random: this.world.random });
    const platform = this.platformOf(process, disk);
    return new RemoteDatabase(
      await this.settle(Client.connect(this.addresses, { platform, timeoutMs })),
    );
  }

  /** Starts all nodes; returns the leader once everybody has applied the bindings of all. */
  async boot(): Promise<Host> {
    for (const host of this.hosts) this.start(host);
    const count = this.hosts.length;
    await this.until("all nodes are bound", () =>
      this.hosts.every((host) => host.node?.machine.memberTable.bindings.size === count),
    );
    return this.untilLeader();
  }

  /** Lets time pass until a leader of the highest term has committed in it. */
  async untilLeader(withinMs = 10_000): Promise<Host> {
    const ready = (): Host | undefined => {
      const { leader } = this;
      const isReady = leader?.node?.driver.view.hasCommittedOwnTerm === true;
      const isPaused = leader?.process?.isPaused === true;
      return isReady && !isPaused ? leader : undefined;
    };
    await this.until("somebody leads", () => ready() !== undefined, withinMs);
    return ready()!;
  }

  /** Lets time pass until something holds; fails if it does not in time. */
  async until(what: string, holds: () => boolean, withinMs = 10_000): Promise<void> {
    await this.advance(withinMs, holds);
    if (!holds()) throw new Violation("scenario", `not within ${withinMs} ms: ${what}`);
  }

  /** Lets time pass until a promise is settled, and gives what it gives. */
  async settle<T>(promise: Promise<T>, withinMs = 10_000): Promise<T> {
    let isSettled = false;
    const done = (): void => {
      isSettled = true;
    };
    promise.then(done, done);
    await this.until("an answer", () => isSettled, withinMs);
    return promise;
  }

  /** Cuts one node off from the others in both directions; clients still reach it. */
  isolate(host: Host): void {
    for (const { id } of this.hosts) {
      if (id === host.id) continue;
      this.network.cut(host.id, id);
      this.network.cut(id, host.id);
    }
  }

  /** Lets time pass; checks after every event. Throws the first violation. */
  async advance(ms: number, isOver?: () => boolean): Promise<void> {
    const hostOf = new Map(this.hosts.map((host) => [host.id, host]));
    const clients = new Set(this.clients.map((client) => client.name));
    // An event of a process changes only that process; what concerns several is looked at
    // everywhere.
    const after = (owner: string): void => {
      try {
        const host = hostOf.get(owner);
        if (host !== undefined) this.#look(host);
        else if (!clients.has(owner)) for (const each of this.hosts) this.#look(each);
      } catch (error) {
        this.#fail(error);
      }
    };
    const stop = (): boolean => this.#violation !== undefined || (isOver?.() ?? false);
    const onBug = (error: unknown): void => this.#fail(error);
    process.on("uncaughtException", onBug);
    process.on("unhandledRejection", onBug);
    try {
      await this.world.run(this.world.nowMs + ms, after, stop);
    } catch (error) {
      this.#fail(error);
    } finally {
      process.off("uncaughtException", onBug);
      process.off("unhandledRejection", onBug);
    }
    if (this.#violation !== undefined) throw this.#violation;
  }

  /** The whole run of a seed: faults under load, then healing, then the verdict on the history. */
  async run(): Promise<SimulationResult> {
    const { random } = this.world;
    const durationMs = this.#options.durationMs ?? 4000 + random.below(8000);
    let violation: SimulationResult["violation"];
    try {
      this.#drawSurroundings();
      for (const host of this.hosts) this.start(host);
      const clients = this.#options.clients ?? 1 + random.below(4);
      const load = this.#drawLoad(clients);
      this.addClients(clients, load);
      await this.advance(500);
      this.#scheduleFaults(durationMs);
      await this.advance(durationMs);
      await this.heal(load.keys);
      this.judge();
    } catch (error) {
      const found =
        error instanceof Violation
          ? error
          : new Violation("crash", String(error instanceof Error ? error.stack : error));
      violation = { checker: found.checker, message: found.message };
    }
    for (const client of this.clients) client.close();
    for (const host of this.hosts) host.process?.kill();
    return {
      seed: this.#options.seed,
      simulatedMs: this.world.nowMs,
      events: this.world.events,
      faults: this.faults,
      operations: this.history.length,
      acknowledged: this.history.filter((operation) => operation.outcome === "ok").length,
      hash: this.world.hash,
      violation,
    };
  }

  /** Ends all faults and requires that the cluster serves, and that all nodes come to one state. */
  async heal(keys: number): Promise<void> {
    this.network.heal();
    for (const client of this.clients) client.stop();
    for (const host of this.hosts) {
      host.isStalling = false;
      host.failNextSync = false;
      host.isLying = false;
      host.syncMs = undefined;
      host.disk.capacityBytes = Number.POSITIVE_INFINITY;
      host.disk.releaseStalled();
      if (host.process !== undefined) host.process.skewMs = 0;
      host.process?.resume();
      this.start(host);
    }
    await this.advance(HEAL_MS, () => this.clients.every((client) => client.isIdle));
    const reader = this.clients[0];
    if (reader !== undefined) {
      let read = 0;
      for (let k = 0; k < keys; k += 1) {
        void reader.readUntilAnswered(`k${k}`).then(() => {
          read += 1;
        });
      }
      await this.advance(HEAL_MS, () => read === keys);
      if (read < keys)
        throw new Violation(
          "liveness",
          `${read} of ${keys} keys can be read again: ${this.#positions()}`,
        );
    }
    await this.advance(HEAL_MS, () => this.#isConverged());
    if (!this.#isConverged()) throw new Violation("convergence", this.#positions());
    this.#compareStates();
  }

  /** The verdict on what clients saw. */
  judge(): void {
    const broken = findViolation(this.history);
    if (broken !== undefined) throw new Violation("linearizability", broken);
    const versions = findVersionViolation(this.history);
    if (versions !== undefined) throw new Violation("versions", versions);
  }

  #look(host: Host): void {
    if (host.node !== undefined) this.checker.look(host.id, host.node);
  }

  #isConverged(): boolean {
    const expected = this.hosts.filter((host) => host.refusal === undefined);
    const indexes = expected.map((host) => host.node?.machine.appliedIndex ?? -1);
    return indexes.every((index) => index === indexes[0] && index > 0);
  }

  #positions(): string {
    return this.hosts
      .map(
        ({ id, node }) =>
          `${id} ${node?.driver.view.role ?? "down"} term ${node?.driver.view.term} applied ${node?.machine.appliedIndex}`,
      )
      .join(", ");
  }

  #compareStates(): void {
    const digests = this.hosts
      .filter((host) => host.node !== undefined)
      .map((host) => ({ id: host.id, digest: digestOf(host.node) }));
    for (const { id, digest } of digests) {
      if (digest !== digests[0]?.digest)
        throw new Violation("equal states", `${id} differs from ${digests[0]?.id}`);
    }
  }

  #newHost(id: string): Host {
    const { random } = this.world;
    const host: Host = {
      id,
      process: undefined,
      node: undefined,
      refusal: undefined,
      isStalling: false,
      failNextSync: false,
      isLying: false,
      syncMs: undefined,
      clock: { rate: 1, originMs: 0 },
      disk: new SimulatedDisk({
        random: new SeededRandom(random.u32()),
        schedule: (complete) => {
          const [low, high] = host.syncMs ?? this.#syncMs;
          const ms = low + ((high - low) * random.below(100)) / 100;
          host.process?.after(ms, "sync", complete);
        },
      }),
    };
    host.disk.faults.sync = () => {
      if (host.failNextSync) {
        host.failNextSync = false;
        return "failed";
      }
      if (host.isLying) return "lied";
      return host.isStalling ? "stalled" : "done";
    };
    return host;
  }

  #fail(error: unknown): void {
    if (this.#violation !== undefined) return;
    this.#violation =
      error instanceof Violation
        ? error
        : new Violation(
            "crash",
            error instanceof Error ? (error.stack ?? error.message) : String(error),
          );
  }

  /** Sparse and dense loads: operations in a simulated second are what a run costs most. */
  #drawLoad(clients: number): WorkloadOptions {
    const { random } = this.world;
    const inFlight = 1 + random.below(4);
    const operationsPerSecond = 4 * 2 ** random.below(6);
    return {
      keys: 2 + random.below(4),
      timeoutMs: 1000 + random.below(3000),
      thinkMs: Math.ceil((1000 * clients * inFlight) / operationsPerSecond),
      inFlight,
      paddingLength: [0, 0, 200, 2000][random.below(4)]!,
    };
  }

  /** Clocks, networks and disks of several tempers: half of the seeds have good ones. */
  #drawSurroundings(): void {
    const { random } = this.world;
    if (random.chance(0.5)) {
      for (const host of this.hosts) {
        const rate = 1 + (random.below(2001) - 1000) / 20_000;
        host.clock = { rate, originMs: random.below(1_000_000) };
      }
    }
    if (random.chance(0.5)) this.#syncMs = random.chance(0.5) ? [0.5, 5] : [2, 30];
    if (random.chance(0.5)) {
      const faults: LinkFaults = this.network.faults;
      faults.delayMs = [[0.01, 0.1] as const, [0.2, 4] as const, [2, 12] as const][
        random.below(3)
      ]!;
      faults.splitShare = [0, 0.02, 0.3][random.below(3)]!;
      faults.tailShare = [0, 0.001, 0.02][random.below(3)]!;
      faults.tailMs = 5 + random.below(100);
    }
  }

  #scheduleFaults(durationMs: number): void {
    const { random } = this.world;
    // Each seed has its own selection: rare combinations come up that all faults at once would
    // hide.
    const chosen = this.#options.faults ?? FAULT_KINDS.filter(() => random.chance(0.45));
    if (chosen.length === 0) return;
    const count = 2 + random.below(10);
    for (let i = 0; i < count; i += 1) {
      const kind = chosen[random.below(chosen.length)];
      if (kind === undefined) continue;
      const atMs = random.below(durationMs);
      this.world.schedule(atMs, `fault:${kind}`, () => this.inject(kind));
      this.#hurryAt(atMs);
    }
  }

  /** Does one fault to a drawn victim, and its end later. */
  inject(kind: FaultKind, victim = this.#victim()): void {
    const { random } = this.world;
    this.faults[kind] = (this.faults[kind] ?? 0) + 1;
    INFLICT[kind]({
      simulation: this,
      victim,
      others: this.hosts.filter((host) => host !== victim).map((host) => host.id),
      below: (bound) => random.below(bound),
      chance: (probability) => random.chance(probability),
      later: (ms, run) => {
        this.world.schedule(ms, `end:${kind}`, run);
        this.#hurryAt(ms);
      },
      drawVictim: () => this.#victim(),
    });
  }

  /** What a fault or its end breaks is what is under way then: there should be something. */
  #hurryAt(delayMs: number): void {
    this.world.schedule(delayMs - HURRY_BEFORE_MS, "fault:hurry", () => {
      for (const client of this.clients) client.hurry(HURRY_MS);
    });
  }

  /**
   * Whether a disk may lose what was synced on it. No more of them than the cluster is built for,
   * and none twice.
   */
  mayDamage(host: Host): boolean {
    if (this.#damaged.has(host)) return false;
    if (2 * (this.#damaged.size + 1) >= this.hosts.length) return false;
    this.#damaged.add(host);
    return true;
  }

  /** Leaders suffer more often than their share. */
  #victim(): Host {
    const { random } = this.world;
    const { leader } = this;
    if (leader !== undefined && random.chance(0.5)) return leader;
    return this.hosts[random.below(this.hosts.length)]!;
  }
}

/** Everything in a node's state, as text: equal states have equal texts. */
function digestOf(node: Node | undefined): string {
  if (node === undefined) return "";
  const parts: string[] = [];
  for (const store of node.machine.collections()) {
    const frozen = store.freeze(node.machine.appliedSequence);
    const documents = [...store.frozenRecords(frozen)].map(
      ({ key, document, version }) => `${hex(key)}:${version}:${hex(document)}`,
    );
    store.thaw();
    parts.push(store.name, ...documents.sort());
  }
  parts.push(hex(node.machine.sessions.encode()));
  return parts.join("\n");
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** Runs one seed. */
export function simulate(options: SimulationOptions): Promise<SimulationResult> {
  return new Simulation(options).run();
}
