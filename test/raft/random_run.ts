/**
 * One random run: a seed decides every tick, delivery, loss, repeat, delay, crash, cut, sync, read
 * and hand-over. Afterwards everything is healed, and the cluster must come to agree.
 *
 * @module
 */

import { assert } from "../../src/base/assert.ts";
import { Configuration, type Member, type MemberRole } from "../../src/raft/configuration.ts";
import type { ArrivedSnapshot } from "../../src/raft/follower.ts";
import type { RaftMessage } from "../../src/raft/message.ts";
import type { EntryId, LogIndex, NodeId } from "../../src/raft/types.ts";
import { Cluster, configurationIn, type TestNode } from "./cluster.ts";
import { Invariants } from "./invariants.ts";

/** More under way than this is lost: a wire is not endless. */
const WIRE_MAX = 80;
/** Messages that are held up for long: over elections, crashes and restarts. */
const LATE_MAX = 40;
/** Ticks after healing within which a leader must have brought all nodes up to date. */
const HEALING_TICKS = 300;

/** Counts of a run, which show that it does something. */
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
  | "arrive"
  | "members"
  | "lose";

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
  compact: 6,
  snapshot: 8,
  arrive: 10,
  members: 6,
  lose: 4,
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
  "lose",
];

/** A snapshot on its way. */
interface Transfer {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly snapshot: ArrivedSnapshot;
  /** Start of the sender that it belongs to. */
  readonly start: number;
}

function memberAs(id: NodeId, role: MemberRole): Member {
  return { id, address: "", role, incarnation: "" };
}

/** Runs to the end or throws at the first state that must not be. */
export class RandomRun {
  readonly #options: RunOptions;
  readonly #dice: Dice;
  readonly #cluster: Cluster;
  readonly #invariants: Invariants;
  readonly #actions: (Action | RareAction)[] = [];
  #late: RaftMessage[] = [];
  #transfers: Transfer[] = [];
  /** Nodes whose data directory is lost, and the change after which their ids may be used again. */
  readonly #lost = new Map<NodeId, EntryId>();
  /** The same, of those that began anew. */
  readonly #anew = new Map<NodeId, EntryId>();
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
    const ids = Array.from({ length: options.nodeCount }, (_, at) => `n${at + 1}`);
    // Sometimes only some nodes are members from the start, and the others have not joined.
    const memberCount = dice.chance(0.3) ? 1 + dice.below(options.nodeCount) : options.nodeCount;
    const who = { members: ids.slice(0, memberCount).join(" "), joining: ids.slice(memberCount) };
    this.#cluster = new Cluster({ nodeCount: options.nodeCount, config, ...who });
    this.#cluster.isAdmitted = (message) => this.#counts(message);
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
      this.#holdBackNew();
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
        return this.#restart(dice.pick(this.#cluster.nodes.filter((one) => !one.isAlive)));
      case "arrive":
        return this.#arriveSnapshot();
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
        node.isLeaveHeld = dice.chance(0.3);
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
        return this.#beginSnapshots(this.#leader());
      case "members":
        return this.#changeMembers(this.#leader());
      case "lose":
        return this.#loseFolder(this.#leader());
      default:
    }
  }

  /** Mostly no further than every disk agrees; sometimes so far that others need a snapshot. */
  #compact(node: TestNode): void {
    const own = Math.min(node.commitIndex, node.durable.log.lastIndex());
    const through = this.#dice.chance(0.6) ? own : Math.min(own, this.#agreedOnDisks());
    const isOwn = node.durable.log.term(through) === this.#invariants.committed[through - 1]?.term;
    if (isOwn && through >= node.log.firstIndex()) node.compact(through);
  }

  #beginSnapshots(leader: TestNode | undefined): void {
    for (const to of leader?.snapshotPeers ?? []) {
      if (leader === undefined || this.#transfers.some((other) => other.to === to)) continue;
      // Sometimes an older one that is still at hand.
      const span = leader.commitIndex - leader.log.firstIndex() + 2;
      const index = leader.commitIndex - (this.#dice.chance(0.5) ? 0 : this.#dice.below(span));
      const snapshot = leader.beginSnapshot(to, index);
      this.#transfers.push({ from: leader.id, to, snapshot, start: leader.starts });
    }
  }

  /** A snapshot arrives or fails; its sender is notified of that, of nothing, or wrongly. */
  #arriveSnapshot(): void {
    const dice = this.#dice;
    const transfer = dice.pick(this.#transfers);
    if (transfer === undefined) return;
    const peer = this.#cluster.node(transfer.to);
    const isDelivered = dice.chance(0.7) && peer.isAlive;
    if (isDelivered) peer.takeSnapshot(transfer.snapshot);
    if (isDelivered && dice.chance(0.2)) return;
    this.#endTransfer(transfer, isDelivered && dice.chance(0.9));
  }

  #endTransfer(transfer: Transfer, isDelivered: boolean): void {
    this.#transfers = this.#transfers.filter((other) => other !== transfer);
    const { from, to, start } = transfer;
    const sender = this.#cluster.node(from);
    if (!sender.isAlive || sender.starts !== start) return;
    sender.do((raft) => raft.snapshotEnded(to, isDelivered));
  }

  #changeMembers(leader: TestNode | undefined): void {
    const id = this.#dice.pick(this.#cluster.nodes)?.id;
    if (leader === undefined || id === undefined) return;
    const { configuration } = leader.raft;
    const kind = this.#dice.next();
    if (kind < 0.15) leader.proposeMembers(this.#wildChange());
    else if (kind < 0.4) leader.proposeMembers(this.#jointChange(configuration));
    else leader.proposeMembers(this.#simpleChange(configuration, id));
  }

  /** A change to random roles, which is mostly refused. */
  #wildChange(): Configuration {
    const { nodes } = this.#cluster;
    const roles = ["voter", "voter", "learner", "incoming", "outgoing", undefined] as const;
    const isPlain = this.#dice.chance(0.5);
    const members = nodes.flatMap(({ id }): Member[] => {
      const role = isPlain ? this.#dice.pick(roles.slice(0, 3)) : this.#dice.pick(roles);
      return role === undefined ? [] : [memberAs(id, role)];
    });
    return new Configuration(members);
  }

  /** One voter comes or goes, or changes its part. */
  #simpleChange(configuration: Configuration, id: NodeId): Configuration {
    const member = configuration.member(id);
    if (member?.role === "learner") return configuration.with({ ...member, role: "voter" });
    const isRemoved = member !== undefined && this.#dice.chance(0.5);
    return isRemoved ? configuration.without(id) : configuration.with(memberAs(id, "learner"));
  }

  /** Any voters for any others, through joint consensus. */
  #jointChange(configuration: Configuration): Configuration {
    const members = this.#cluster.nodes.map(({ id }): Member => {
      const isVoter = configuration.voters.includes(id);
      if (this.#dice.chance(0.5)) return memberAs(id, isVoter ? "voter" : "incoming");
      return memberAs(id, isVoter ? "outgoing" : "learner");
    });
    return new Configuration(members);
  }

  /**
   * A node that is down has lost its data directory. Another one may begin under its id, as a
   * learner, when the change that makes it one is committed; no message of the old one arrives
   * after that.
   */
  #loseFolder(leader: TestNode | undefined): void {
    const down = this.#dice.pick(this.#cluster.nodes.filter((one) => !one.isAlive));
    if (leader === undefined || down === undefined || this.#lost.has(down.id)) return;
    const next = leader.raft.configuration.with(memberAs(down.id, "learner"));
    if (leader.proposeMembers(next) !== "") return;
    const { configurationIndex: index, term } = leader.raft.view;
    this.#lost.set(down.id, { term, index });
    this.#silence(down.id);
  }

  #restart(node: TestNode | undefined): void {
    if (node === undefined) return;
    const change = this.#lost.get(node.id);
    if (change !== undefined && !this.#settleLoss(node, change)) return;
    node.restart();
  }

  /** Returns whether the id may be used again. */
  #settleLoss(node: TestNode, change: EntryId): boolean {
    const committed = this.#invariants.committed[change.index - 1];
    if (committed === undefined) return false;
    this.#lost.delete(node.id);
    const later = this.#invariants.committed.slice(change.index);
    const isVoterAgain = later.some((entry) => configurationIn(entry)?.mayVote(node.id) === true);
    const isChanged = committed.term === change.term && !isVoterAgain;
    if (!isChanged || this.#isVoterForSomebody(node.id)) return true;
    node.wipe();
    this.#anew.set(node.id, change);
    this.#silence(node.id);
    return true;
  }

  /**
   * Whether a message counts when data directories may be new: a node that does not know of a new
   * one must not count its votes and acknowledgements, because the old one may have held entries
   * that the new one lacks. Requests of a new data directory may reach every node.
   */
  #counts({ type, from, to }: RaftMessage): boolean {
    return !type.endsWith("_RESPONSE") || this.#knows(to, from);
  }

  /**
   * A new data directory under an old id receives the entries of times when that id voted, perhaps
   * alone: it must not campaign before it has the entry that adds it.
   */
  #holdBackNew(): void {
    for (const id of this.#anew.keys()) {
      this.#cluster.node(id).raft.holdBack(!this.#knows(id, id));
    }
  }

  /** Whether a node's log names the new data directory of another node, if there is one. */
  #knows(id: NodeId, other: NodeId): boolean {
    const change = this.#anew.get(other);
    if (change === undefined) return true;
    const { log } = this.#cluster.node(id);
    return change.index < log.firstIndex() || log.term(change.index) === change.term;
  }

  /** Nothing that was on its way from or to a node gets there. */
  #silence(id: NodeId): void {
    const isOthers = ({ from, to }: { from: NodeId; to: NodeId }) => from !== id && to !== id;
    this.#cluster.wire = this.#cluster.wire.filter(isOthers);
    this.#late = this.#late.filter(isOthers);
    for (const transfer of this.#transfers) {
      if (!isOthers(transfer)) this.#endTransfer(transfer, false);
    }
  }

  /** A change that makes it a voter again may be under way already. */
  #isVoterForSomebody(id: NodeId): boolean {
    return this.#cluster.nodes.some(({ log }) => {
      const open = log.all().filter(({ index }) => index > this.#invariants.committed.length);
      return open.some((entry) => configurationIn(entry)?.mayVote(id) === true);
    });
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

  /** The committed entries up to here are on every disk: no node needs them any more. */
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

  /**
   * All nodes run, all links and disks work: a leader must be elected and bring all nodes level.
   */
  #heal(): void {
    this.#cluster.heal();
    for (const transfer of this.#transfers) this.#endTransfer(transfer, false);
    for (const node of this.#cluster.nodes) {
      const isDown = !node.isAlive;
      // A data directory whose loss no committed change records was not lost.
      const change = isDown ? this.#lost.get(node.id) : undefined;
      if (change !== undefined) this.#settleLoss(node, change);
      if (isDown) node.restart();
      node.isDiskHeld = false;
      node.isReadHeld = false;
      node.isLeaveHeld = false;
      node.readFromDisk();
      node.persist();
      node.carryOut();
    }
    let isProposed = false;
    for (let tick = 0; tick < HEALING_TICKS; tick += 1) {
      this.#holdBackNew();
      this.#cluster.tick();
      this.#invariants.check();
      const { leader } = this.#cluster;
      for (const id of leader?.snapshotPeers ?? []) {
        leader?.sendSnapshot(this.#cluster.node(id), leader.commitIndex);
      }
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
    const isLearner = configuration.has(missing.id);
    leader.proposeMembers(
      configuration.with(memberAs(missing.id, isLearner ? "voter" : "learner")),
    );
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
