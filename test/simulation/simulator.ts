/**
 * A whole cluster in one process under virtual time: the shipped nodes and clients, with only
 * `src/platform` replaced. One seed decides everything.
 *
 * @module
 */

import { AssertionError } from "../../src/base/assert.ts";
import { CorruptionError, CStoreError, RemovedError } from "../../src/base/errors.ts";
import { Client } from "../../src/client/connection/client.ts";
import { RemoteDatabase } from "../../src/client/remote_database.ts";
import { parseNodeConfig } from "../../src/node/config/node_config.ts";
import { Node } from "../../src/node/node.ts";
import type { Platform } from "../../src/platform/platform.ts";
import { SeededRandom } from "../../src/platform/random.ts";
import type { Configuration } from "../../src/raft/configuration.ts";
import type { RaftView } from "../../src/raft/raft.ts";
import { readIdentity } from "../../src/storage/data_directory.ts";
import { type FateDecision, SimulatedDisk } from "../storage/fake_disk.ts";
import { ClusterChecker, Violation } from "./checkers/cluster.ts";
import { findVersionViolation, findViolation, type Operation } from "./checkers/history.ts";
import { FAULT_KINDS, type FaultKind, INFLICT } from "./faults.ts";
import type { Host } from "./host.ts";
import type { LinkFaults } from "./link.ts";
import { MastersLoad } from "./masters_load.ts";
import { SimulatedNetwork } from "./network.ts";
import { Operator } from "./operator.ts";
import { stateText } from "./state_text.ts";
import { SimulatedClient, type WorkloadOptions } from "./workload.ts";
import { SimulatedProcess, World } from "./world.ts";

export type { FaultKind } from "./faults.ts";

/** How a run is set up. Everything that is not set is drawn from the seed. */
export interface SimulationOptions {
  readonly seed: number;
  readonly nodes?: number;
  readonly clients?: number;
  readonly faults?: readonly FaultKind[];
  readonly durationMs?: number;
  readonly compression?: "none" | "zstd";
  readonly leaseReads?: boolean;
  /** Whether there are collections, too, that every node writes. */
  readonly masters?: boolean;
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

/** A cluster, its clients and its faults. */
export class Simulation {
  readonly world: World;
  readonly network: SimulatedNetwork;
  readonly history: Operation[] = [];
  readonly faults: Partial<Record<FaultKind, number>> = {};
  readonly hosts: Host[] = [];
  /** Of one cluster: a recovered one is another. */
  checker = new ClusterChecker();
  readonly operator: Operator;
  readonly leaseReads: boolean;
  /** Clients of collections that every node writes. */
  readonly masters: MastersLoad | undefined;
  readonly #options: SimulationOptions;
  readonly #compression: "none" | "zstd";
  readonly #damaged = new Set<Host>();
  readonly #firstMembers: readonly { readonly id: string; readonly address: string }[];
  /** Shortest and longest sync of a disk without a fault. */
  #syncMs: readonly [number, number] = FAST_SYNC_MS;
  readonly clients: SimulatedClient[] = [];
  #clientCount = 0;
  readonly #hostOf = new Map<string, Host>();
  /** Processes whose events change no node. */
  readonly #clientNames = new Set<string>();
  #isHealing = false;
  /** Folders that any node knew as a member's. */
  readonly #bound = new Set<string>();
  readonly #boundCounts = new WeakMap<ReadonlyMap<string, string>, number>();
  #violation: Violation | undefined;

  constructor(options: SimulationOptions) {
    this.#options = options;
    this.world = new World(options.seed);
    this.network = new SimulatedNetwork(this.world);
    const { random } = this.world;
    const count = options.nodes ?? CLUSTER_SIZES[random.below(CLUSTER_SIZES.length)]!;
    this.#compression = options.compression ?? (random.chance(0.3) ? "zstd" : "none");
    // Not drawn before what earlier seeds drew.
    this.leaseReads = options.leaseReads ?? options.seed % 4 === 3;
    const hasMasters = options.masters ?? options.seed % 4 === 1;
    for (let i = 0; i < count; i += 1) this.#newHost({ isFirst: true, isStandby: false });
    this.#firstMembers = this.hosts.map(({ id, address }) => ({ id, address }));
    this.operator = new Operator(this);
    this.masters = hasMasters ? new MastersLoad(this) : undefined;
  }

  get addresses(): string[] {
    return this.hosts.map(({ address }) => address);
  }

  /** What the leader, or else whoever knows most, says of the members. */
  get configuration(): Configuration | undefined {
    return this.#bestView?.configuration;
  }

  get #bestView(): RaftView | undefined {
    const all = this.hosts.flatMap(({ node }) => (node === undefined ? [] : [node.driver.view]));
    // One that is about to join knows nobody yet.
    const views = all.filter((view) => view.configuration.members.length > 0);
    views.sort((a, b) => b.term - a.term || b.configurationIndex - a.configurationIndex);
    return this.leader?.node?.driver.view ?? views[0];
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
    if (host.process?.isAlive === true || host.refusal !== undefined || host.isHeld) return;
    const process = new SimulatedProcess(this.world, host.id, host.clock);
    host.process = process;
    const platform = this.platformOf(process, host.disk);
    const others = this.hosts.filter((other) => other !== host);
    const config = parseNodeConfig({
      id: host.id,
      listen: host.address,
      dataDirectory: `/data/${host.id}`,
      ...(host.isFirst
        ? { members: this.#firstMembers }
        : { join: others.map(({ address }) => address), isStandby: host.isStandby }),
      compression: this.#compression,
      segmentSizeBytes: 64 * 1024,
      snapshotLogBytes: 64 * 1024,
      requestTimeoutMs: 2000,
      leaseReads: this.leaseReads,
    });
    const onFatal = (error: CStoreError): void => {
      if (host.process !== process) return;
      if (error instanceof RemovedError) host.refusal = error;
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
        if (error instanceof AssertionError || !(error instanceof CStoreError)) {
          this.#fail(error);
          return;
        }
        // Damage that a running node finds may be repaired at its next start; this one could not.
        if (error instanceof CorruptionError) host.refusal = error;
        onFatal(error);
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

  /** A fresh machine, whose node joins the cluster when it is started. */
  addHost(isStandby = false): Host {
    const host = this.#newHost({ isFirst: false, isStandby });
    const usual = this.hosts[0]?.clock;
    host.clock = { rate: usual?.rate ?? 1, originMs: this.world.random.below(1_000_000) };
    return host;
  }

  addClients(count: number, options: WorkloadOptions): void {
    for (let i = 0; i < count; i += 1) {
      const process = this.newClientProcess();
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

  newClientProcess(): SimulatedProcess {
    this.#clientCount += 1;
    const process = new SimulatedProcess(this.world, `c${this.#clientCount}`);
    this.#clientNames.add(process.name);
    return process;
  }

  /** A client for a scenario's own operations, on a machine of its own. */
  async connect(timeoutMs = 5000): Promise<RemoteDatabase> {
    const process = this.newClientProcess();
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
    // An event of a process changes only that process; what concerns several is looked at
    // everywhere.
    const after = (owner: string): void => {
      try {
        const host = this.#hostOf.get(owner);
        if (host !== undefined) this.#look(host);
        else if (!this.#clientNames.has(owner)) for (const each of this.hosts) this.#look(each);
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
      this.masters?.start();
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
    this.masters?.close();
    for (const host of this.hosts) host.process?.kill();
    return {
      seed: this.#options.seed,
      simulatedMs: this.world.nowMs,
      events: this.world.events,
      faults: this.faults,
      operations: this.history.length + (this.masters?.begun ?? 0),
      acknowledged:
        this.history.filter((operation) => operation.outcome === "ok").length +
        (this.masters?.answered ?? 0),
      hash: this.world.hash,
      violation,
    };
  }

  /** Ends all faults and requires that the cluster serves, and that all nodes come to one state. */
  async heal(keys: number): Promise<void> {
    this.#isHealing = true;
    this.network.heal();
    for (const client of this.clients) client.stop();
    this.masters?.stop();
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
    this.#startDamaged();
    const isIdle = (): boolean => this.masters?.isIdle !== false;
    await this.advance(HEAL_MS, () => isIdle() && this.clients.every((client) => client.isIdle));
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
    // What the others could not agree to while they had no quorum, they can now.
    this.#startDamaged();
    await this.advance(HEAL_MS, () => this.operator.isIdle);
    if (!this.operator.isIdle) throw new Violation("liveness", `changes: ${this.#positions()}`);
    await this.advance(HEAL_MS, () => this.#isConverged());
    if (!this.#isConverged()) throw new Violation("convergence", this.#positions());
    await this.#meet();
    await this.#compareStates();
    this.#isHealing = false;
  }

  /** All members come to have the same of what every node writes, and nothing of it is lost. */
  async #meet(): Promise<void> {
    if (this.masters === undefined) return;
    // One whose identity is damaged waits for its operator.
    const members = (): Host[] =>
      this.hosts.filter(({ id, refusal }) => {
        return this.configuration?.has(id) === true && refusal === undefined;
      });
    const hasMet = (): boolean => this.masters?.hasMet(members()) === true;
    await this.advance(HEAL_MS, hasMet);
    if (!hasMet()) throw new Violation("masters", `they have not met: ${this.#mastersText()}`);
    const again = members().find((host) => {
      return !this.#damaged.has(host) && host.isFirst && (host.node?.masters.startedOver ?? 0) > 0;
    });
    if (again !== undefined) throw new Violation("masters", `${again.id} began again without need`);
    const [first] = members();
    // What only one disk had is gone with that disk, or with a node that was removed.
    const isWhole = this.hosts.every((host) => {
      return !this.#damaged.has(host) && !(host.refusal instanceof RemovedError);
    });
    if (first?.node !== undefined) this.masters.judge(first.node, isWhole);
  }

  #mastersText(): string {
    return this.hosts
      .map(({ id, node }) => {
        const master = node?.masters.running?.master;
        if (master === undefined) return `${id} takes no part`;
        const { version, cursor } = master.token;
        const state = master.isStopped ? "stopped" : master.isReady ? "ready" : "not ready";
        const has = [...cursor].map((entry) => entry.join(":")).sort();
        return `${id} ${state} by ${version} has ${has.join(" ")}`;
      })
      .join(", ");
  }

  #startDamaged(): void {
    for (const host of this.hosts) {
      const isDamaged = host.refusal instanceof CorruptionError;
      const isAsking = host.process?.isAlive === true && host.node === undefined;
      // An operator names the others: all that it knew may have left.
      if (isDamaged || isAsking) host.isFirst = false;
      if (isDamaged) host.refusal = undefined;
      if (isAsking) this.kill(host);
      this.start(host);
    }
  }

  /** The verdict on what clients saw. */
  judge(): void {
    const broken = findViolation(this.history);
    if (broken !== undefined) throw new Violation("linearizability", broken);
    const versions = findVersionViolation(this.history);
    if (versions !== undefined) throw new Violation("versions", versions);
  }

  #look(host: Host): void {
    const { id, node } = host;
    if (node === undefined) return;
    this.checker.look(id, node);
    const { bindings } = node.machine.memberTable;
    if (this.#boundCounts.get(bindings) === bindings.size) return;
    this.#boundCounts.set(bindings, bindings.size);
    for (const incarnation of bindings.values()) this.#bound.add(incarnation);
  }

  /** All members have applied the same, every learner is promoted, and whoever left has ended. */
  #isConverged(): boolean {
    const { leader, configuration } = this;
    if (leader === undefined || configuration === undefined || configuration.isJoint) return false;
    const expected = this.hosts.filter(({ refusal }) => refusal === undefined);
    const index = leader.node?.machine.appliedIndex ?? 0;
    if (index < leader.node!.driver.view.lastIndex) return false;
    const haveAll = expected.every(({ id, node }) => {
      const role = configuration.member(id)?.role;
      if (role === undefined && node !== undefined) {
        // Removed before anybody told it a thing: it knows nobody whom it could ask.
        const isUnheard = node.machine.appliedIndex === 0;
        return isUnheard || !this.#bound.has(this.#folderOf(id));
      }
      const isSettled = role === "voter" || role === "standby";
      return isSettled && node?.machine.appliedIndex === index;
    });
    // A node is at a snapshot's place as soon as it begins to read that into its state.
    return haveAll && expected.every(({ node }) => node?.status().isRestoring !== true);
  }

  /** Incarnation of a node's folder. One that is removed before it is bound is told nothing. */
  #folderOf(id: string): string {
    return readIdentity(this.host(id).disk.files, `/data/${id}`)?.incarnation ?? "";
  }

  #positions(): string {
    const { configuration } = this;
    return this.hosts
      .map(({ id, node, refusal }) => {
        const { role = "down", term } = node?.driver.view ?? {};
        const membership = configuration?.member(id)?.role ?? "no member";
        const why = refusal === undefined ? "" : ` (${refusal.code})`;
        return `${id} ${membership} ${role} term ${term} applied ${node?.machine.appliedIndex}${why}`;
      })
      .join(", ");
  }

  /** Twice: as the nodes themselves compare, and by every byte. */
  async #compareStates(): Promise<void> {
    for (const { id } of this.configuration?.members ?? []) {
      const { refusal } = this.host(id);
      if (refusal instanceof RemovedError)
        throw new Violation("membership", `${id} is a member, and was told that it is none`);
      // Without its identity nobody knows whose a folder is.
      if (refusal instanceof CorruptionError && !refusal.file.endsWith("/identity"))
        throw new Violation("repair", `${id} stays damaged: ${refusal.message}`);
    }
    const running = this.hosts.filter(({ id, node }) => {
      return node !== undefined && this.configuration?.has(id) === true;
    });
    const texts = running.map(({ id, node }) => ({ id, text: stateText(node!) }));
    for (const { id, text } of texts) {
      if (text !== texts[0]?.text)
        throw new Violation("equal states", `${id} differs from ${texts[0]?.id}`);
    }
    const difference = await this.settle(this.operator.verify(), HEAL_MS);
    if (difference !== undefined) throw new Violation("verify", difference);
  }

  #newHost(kind: { readonly isFirst: boolean; readonly isStandby: boolean }): Host {
    const { random } = this.world;
    const number = this.hosts.length + 1;
    const host: Host = {
      id: `n${number}`,
      address: `127.0.0.1:${FIRST_PORT + number - 1}`,
      ...kind,
      isHeld: false,
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
    this.hosts.push(host);
    this.#hostOf.set(host.id, host);
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
    const operationsPerSecond = 2 ** random.below(6);
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
        // What a fault has not done when everything is to be healed, it does not do any more.
        this.world.schedule(ms, `end:${kind}`, () => {
          if (!this.#isHealing) run();
        });
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
    // Whoever votes only by an entry that may still be lost is nobody to count on.
    const view = this.#bestView;
    const isSettled = view !== undefined && view.configurationIndex <= view.commitIndex;
    if (!isSettled || this.#damaged.has(host) || !this.canSpare(1)) return false;
    this.#damaged.add(host);
    return true;
  }

  /** Whether the voters that were never damaged stay a majority with so many others less. */
  canSpare(count: number): boolean {
    const voters = (this.configuration?.voters.length ?? 0) - this.operator.leavingCount;
    return 2 * (this.#damaged.size + count) < voters;
  }

  /** Leaders suffer more often than their share. */
  #victim(): Host {
    const { random } = this.world;
    const { leader } = this;
    if (leader !== undefined && random.chance(0.5)) return leader;
    return this.hosts[random.below(this.hosts.length)]!;
  }
}

/** Runs one seed. */
export function simulate(options: SimulationOptions): Promise<SimulationResult> {
  return new Simulation(options).run();
}
