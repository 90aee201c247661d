/**
 * One random run: a seed decides every tick, delivery, loss, repeat, delay, crash, cut, sync, read
 * and hand-over. Afterwards everything is healed, and the cluster must come to agree.
 *
 * @module
 */

import { assert } from "../../src/base/assert.ts";
import type { RaftMessage } from "../../src/raft/message.ts";
import type { LogIndex } from "../../src/raft/types.ts";
import { Cluster, type TestNode } from "./cluster.ts";
import { Invariants } from "./invariants.ts";

/** More under way than this is lost: a wire is not endless. */
const WIRE_MAX = 80;
/** Messages that are held up for long: over elections, crashes and restarts. */
const LATE_MAX = 40;
/** Ticks after healing within which a leader must have brought everybody up to date. */
const HEALING_TICKS = 300;

/** What a run came to, to see that runs do something. */
export interface RunReport {
  readonly committed: number;
  readonly elections: number;
  readonly readsDone: number;
  readonly crashes: number;
}

/** How hard a run is. */
export interface RunOptions {
  readonly seed: number;
  readonly nodeCount: number;
  readonly steps: number;
}

/** A sequence of numbers from a seed (mulberry32). */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 2_654_435_761) >>> 0;
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** In [0, bound). */
  below(bound: number): number {
    return Math.floor(this.next() * bound);
  }

  chance(part: number): boolean {
    return this.next() < part;
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from[this.below(from.length)];
  }
}

type Action =
  | "tick"
  | "deliver"
  | "drop"
  | "repeat"
  | "delay"
  | "late"
  | "propose"
  | "persist"
  | "hold"
  | "crash";
type RareAction =
  | "restart"
  | "cut"
  | "heal"
  | "transfer"
  | "read"
  | "forget"
  | "break"
  | "compact"
  | "snapshot"
  | "members";

/** How often each thing happens beside the others, in a run where all of them do. */
const WEIGHTS: Readonly<Record<Action | RareAction, number>> = {
  tick: 130,
  deliver: 260,
  drop: 8,
  repeat: 8,
  delay: 14,
  late: 5,
  propose: 16,
  persist: 50,
  hold: 8,
  crash: 4,
  restart: 14,
  cut: 5,
  heal: 6,
  transfer: 4,
  read: 12,
  forget: 3,
  break: 3,
  compact: 3,
  snapshot: 8,
  members: 6,
};

/** Kinds of trouble that a run may be without, so that the others get further. */
const OPTIONAL: readonly (Action | RareAction)[] = [
  "drop",
  "repeat",
  "delay",
  "hold",
  "crash",
  "cut",
  "transfer",
  "forget",
  "break",
  "compact",
  "members",
];

/** Runs to the end or throws at the first state that must not be. */
export class RandomRun {
  readonly #options: RunOptions;
  readonly #dice: Dice;
  readonly #cluster: Cluster;
  readonly #invariants: Invariants;
  readonly #actions: (Action | RareAction)[] = [];
  readonly #late: RaftMessage[] = [];
  #proposed = 0;
  #readsAsked = 0;
  #crashes = 0;

  constructor(options: RunOptions) {
    this.#options = options;
    const dice = new Dice(options.seed);
    this.#dice = dice;
    const config = {
      heartbeatTicks: 1 + dice.below(2),
      jitterTicks: 1 + dice.below(4),
      appendBytesMax: dice.pick([8, 40, 1_000]) ?? 40,
      inflightMessagesMax: 1 + dice.below(4),
      inflightBytesMax: dice.pick([10, 100, 10_000]) ?? 100,
      seed: options.seed,
    };
    this.#cluster = new Cluster({ nodeCount: options.nodeCount, config });
    this.#invariants = new Invariants(this.#cluster);
    const without = new Set(OPTIONAL.filter(() => dice.chance(0.3)));
    for (const [action, weight] of Object.entries(WEIGHTS)) {
      const name = action as Action | RareAction;
      for (let n = 0; n < weight && !without.has(name); n += 1) this.#actions.push(name);
    }
  }

  run(): RunReport {
    for (let step = 0; step < this.#options.steps; step += 1) {
      this.#act(this.#dice.pick(this.#actions) ?? "tick");
      this.#invariants.check();
      while (this.#cluster.wire.length > WIRE_MAX) this.#removeMessage();
    }
    this.#heal();
    const { committed, elections, readsDone } = this.#invariants;
    return { committed: committed.length, elections, readsDone, crashes: this.#crashes };
  }

  #node(): TestNode | undefined {
    return this.#dice.pick(this.#cluster.nodes.filter((node) => node.isAlive));
  }

  #leader(): TestNode | undefined {
    const leads = (node: TestNode) => node.isAlive && node.raft.role === "leader";
    return this.#dice.pick(this.#cluster.nodes.filter(leads));
  }

  #removeMessage(): RaftMessage | undefined {
    return this.#cluster.wire.splice(this.#dice.below(this.#cluster.wire.length), 1)[0];
  }

  #act(action: Action | RareAction): void {
    const dice = this.#dice;
    const node = this.#node();
    switch (action) {
      case "deliver":
        return this.#deliver();
      case "drop":
        this.#removeMessage();
        return;
      case "repeat": {
        const message = dice.pick(this.#cluster.wire);
        if (message !== undefined) this.#cluster.wire.push(message);
        return;
      }
      case "delay":
        return this.#delay();
      case "late": {
        const message = this.#late.splice(dice.below(this.#late.length), 1)[0];
        if (message !== undefined) this.#cluster.arrive(message);
        return;
      }
      case "restart":
        dice.pick(this.#cluster.nodes.filter((one) => !one.isAlive))?.restart();
        return;
      case "cut":
        return this.#cut();
      case "heal":
        return this.#cluster.heal();
      default:
        if (node !== undefined) this.#actOn(node, action);
    }
  }

  #actOn(node: TestNode, action: Action | RareAction): void {
    const dice = this.#dice;
    const { leader } = node.raft.view;
    const other = dice.pick(this.#cluster.nodes)?.id ?? node.id;
    switch (action) {
      case "tick":
        return node.tick();
      case "propose":
        return this.#propose();
      case "persist":
        return node.persist(1 + dice.below(3));
      case "hold":
        node.isDiskHeld = dice.chance(0.6);
        node.isReadHeld = dice.chance(0.3);
        if (!node.isReadHeld) node.readFromDisk();
        return;
      case "crash":
        this.#crashes += 1;
        return node.crash(dice.below(node.unsynced.length + 1));
      case "transfer":
        this.#leader()?.do((raft) => raft.transferLeadership(other));
        return;
      case "read":
        return this.#read(node);
      case "forget":
        if (leader !== undefined) node.do((raft) => raft.forgetLeader(leader, 1 + dice.below(3)));
        return;
      case "break":
        return node.do((raft) => raft.peerUnreachable(other));
      case "compact":
        node.log.cachedFrom = dice.below(node.log.lastIndex() + 2);
        return this.#compact(node);
      case "snapshot":
        return this.#sendSnapshots(this.#leader(), dice.chance(0.7));
      case "members":
        return this.#changeMembers(this.#leader());
      default:
    }
  }

  /** Mostly no further than every disk agrees; sometimes so far that others need a snapshot. */
  #compact(node: TestNode): void {
    const own = Math.min(node.commitIndex, node.durable.log.lastIndex());
    const through = this.#dice.chance(0.4) ? own : Math.min(own, this.#agreedOnDisks());
    const isOwn = node.durable.log.term(through) === this.#invariants.committed[through - 1]?.term;
    if (isOwn && through >= node.log.firstIndex()) node.compact(through);
  }

  #sendSnapshots(leader: TestNode | undefined, isDelivered: boolean): void {
    for (const id of leader?.snapshotPeers ?? []) {
      const peer = this.#cluster.node(id);
      const index = leader?.commitIndex ?? 0;
      leader?.sendSnapshot(peer, index, isDelivered && peer.isAlive);
    }
  }

  /** One voter comes or goes, changes its part, or two change places through joint consensus. */
  #changeMembers(leader: TestNode | undefined): void {
    const dice = this.#dice;
    const id = dice.pick(this.#cluster.nodes)?.id;
    if (leader === undefined || id === undefined) return;
    const { configuration } = leader.raft;
    const member = configuration.member(id);
    const other = configuration.members.find(({ role }) => role === "learner");
    const plain = { id, address: "", incarnation: "" };
    if (member?.role === "voter" && other !== undefined && dice.chance(0.4)) {
      const incoming = configuration.with({ ...other, role: "incoming" });
      leader.proposeMembers(incoming.with({ ...plain, role: "outgoing" }));
    } else if (member === undefined || member.role === "voter") {
      const isRemoved = member !== undefined && dice.chance(0.5);
      const next = isRemoved
        ? configuration.without(id)
        : configuration.with({ ...plain, role: "learner" });
      if (next.voters.length > 0) leader.proposeMembers(next);
    } else {
      leader.proposeMembers(configuration.with({ ...plain, role: "voter" }));
    }
  }

  /** Holds a message up, or a copy of it. */
  #delay(): void {
    const { wire } = this.#cluster;
    const message = this.#dice.chance(0.5) ? this.#removeMessage() : this.#dice.pick(wire);
    if (message !== undefined && this.#late.length < LATE_MAX) this.#late.push(message);
  }

  /** Mostly oldest first, sometimes any: wires reorder little, but they may. */
  #deliver(): void {
    const { wire } = this.#cluster;
    if (wire.length === 0) return;
    const at = this.#dice.chance(0.7) ? 0 : this.#dice.below(wire.length);
    const message = wire.splice(at, 1)[0];
    if (message !== undefined) this.#cluster.arrive(message);
  }

  #propose(): void {
    const leader = this.#leader();
    const count = this.#dice.chance(0.3) ? 6 : 1;
    for (let n = 0; n < count && leader !== undefined; n += 1) {
      this.#proposed += 1;
      leader.propose(`p${this.#proposed}`, 1 + this.#dice.below(3));
    }
  }

  #read(node: TestNode): void {
    this.#readsAsked += 1;
    this.#invariants.readBegins(this.#readsAsked);
    node.do((raft) => raft.requestRead(this.#readsAsked));
  }

  /** One link in one direction, or a whole node: best the leader, which then writes alone. */
  #cut(): void {
    const leader = this.#leader();
    if (leader !== undefined && this.#dice.chance(0.5)) return this.#cluster.isolate(leader.id);
    const from = this.#dice.pick(this.#cluster.nodes)?.id ?? "n1";
    const to = this.#dice.pick(this.#cluster.nodes)?.id ?? "n1";
    if (from === to) this.#cluster.isolate(from);
    else this.#cluster.cut(from, to);
  }

  /** How far every disk holds what is committed: no node needs entries from before this. */
  #agreedOnDisks(): LogIndex {
    let agreed = this.#invariants.committed.length;
    for (const { durable } of this.#cluster.nodes) {
      let index = durable.log.firstIndex();
      const isAgreed = () =>
        durable.log.term(index) !== undefined &&
        durable.log.term(index) === this.#invariants.committed[index - 1]?.term;
      while (isAgreed()) index += 1;
      agreed = Math.min(agreed, index - 1);
    }
    return agreed;
  }

  /** All nodes run, all links and disks work: a leader must come and bring everybody level. */
  #heal(): void {
    this.#cluster.heal();
    for (const node of this.#cluster.nodes) {
      node.isDiskHeld = false;
      node.isReadHeld = false;
      if (!node.isAlive) node.restart();
      node.readFromDisk();
      node.persist();
    }
    let isProposed = false;
    for (let tick = 0; tick < HEALING_TICKS; tick += 1) {
      this.#cluster.tick();
      this.#invariants.check();
      const { leader } = this.#cluster;
      this.#sendSnapshots(leader, true);
      this.#cluster.stabilize();
      if (leader?.raft.role !== "leader" || !this.#isEverybodyIn(leader)) continue;
      if (!isProposed) {
        const proposal = this.#cluster.leader?.propose("last");
        isProposed = proposal?.accepted === true;
        this.#cluster.stabilize();
      } else if (this.#isLevel()) {
        return;
      }
    }
    throw new Error(`no agreement within ${HEALING_TICKS} ticks: ${this.#describe()}`);
  }

  /** All nodes are voters, or one more is being made one. */
  #isEverybodyIn(leader: TestNode): boolean {
    const { configuration } = leader.raft;
    const missing = this.#cluster.nodes.find(({ id }) => !configuration.voters.includes(id));
    if (missing === undefined) return !configuration.isJoint;
    const voter = { id: missing.id, address: "", role: "voter", incarnation: "" } as const;
    leader.proposeMembers(configuration.with(voter));
    this.#cluster.stabilize();
    return false;
  }

  #isLevel(): boolean {
    const leader = this.#cluster.leader;
    if (leader === undefined) return false;
    const { lastIndex } = leader.raft;
    const isLevel = this.#cluster.nodes.every((node) => node.commitIndex === lastIndex);
    if (!isLevel) return false;
    const last = this.#invariants.committed.length;
    assert(last === lastIndex, "what all nodes committed is everything");
    return true;
  }

  #describe(): string {
    const lines = this.#cluster.nodes.map((node) => {
      const { role, term, leader, lastIndex, commitIndex } = node.raft.view;
      return `${node.id} ${role} ${term} of ${leader}, last ${lastIndex}, commit ${commitIndex}`;
    });
    return lines.join("; ");
  }
}
