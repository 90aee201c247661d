/**
 * Raft nodes whose every step is a call of the test: ticks, the delivery of each message, the end
 * of each sync, crashes and restarts are all explicit, and the same calls give the same run.
 *
 * A node carries out a Ready as a driver must: the entries are written at once, `messages` leave at
 * once, and `messagesAfterPersist` leave only when the sync that covers the Ready has ended.
 *
 * @module
 */

import { assert } from "../../src/base/assert.ts";
import type { RaftConfig } from "../../src/raft/config.ts";
import {
  Configuration,
  type LoggedConfiguration,
  type MemberRole,
  NO_MEMBERS,
} from "../../src/raft/configuration.ts";
import type { ArrivedSnapshot } from "../../src/raft/follower.ts";
import type { Proposal } from "../../src/raft/leader.ts";
import type { RaftMessage, RaftMessageBody } from "../../src/raft/message.ts";
import { Raft } from "../../src/raft/raft.ts";
import type { CatchUp, RaftEvent, Ready } from "../../src/raft/ready.ts";
import type {
  Entry,
  EntrySource,
  HardState,
  LogBase,
  LogIndex,
  LogReader,
  NodeId,
  ReadState,
  Term,
} from "../../src/raft/types.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Deliveries after which a cluster that still talks counts as one that never settles. */
const DELIVERIES_MAX = 20_000;

/** Something to propose, whose bytes are its text. */
export function source(text: string, count = 1): EntrySource {
  const bytes = encoder.encode(text);
  return { count, size: bytes.byteLength, seal: () => bytes };
}

/** The text that was proposed. */
export function textOf(entry: Entry): string {
  return decoder.decode(entry.bytes);
}

const ROLE_MARKS: Readonly<Record<string, MemberRole>> = {
  "~": "learner",
  "!": "standby",
  "+": "incoming",
  "-": "outgoing",
};

/**
 * Reads `n1 n2 ~n3 ~n4@b`: voters by name, the other roles with a mark in front, the data
 * directory behind an `@` where one is known.
 */
export function configurationFrom(words: string): Configuration {
  const members = words
    .split(" ")
    .filter((word) => word !== "")
    .map((word) => {
      const role = ROLE_MARKS[word[0] ?? ""];
      const [id = "", incarnation = ""] = (role === undefined ? word : word.slice(1)).split("@");
      return { id, address: "", role: role ?? "voter", incarnation } as const;
    });
  return new Configuration(members);
}

/** The inverse of {@link configurationFrom}. */
export function configurationWords(configuration: Configuration): string {
  const marks = Object.entries(ROLE_MARKS);
  const words = configuration.members.map(({ id, role, incarnation }) => {
    const mark = marks.find(([, marked]) => marked === role)?.[0] ?? "";
    return `${mark}${id}${incarnation === "" ? "" : `@${incarnation}`}`;
  });
  return words.join(" ");
}

const parsed = new WeakMap<Entry, Configuration | undefined>();

/** The configuration that an entry sets, if it does. */
export function configurationIn(entry: Entry): Configuration | undefined {
  if (!parsed.has(entry)) {
    const words = /^config (.*)$/.exec(textOf(entry))?.[1];
    parsed.set(entry, words === undefined ? undefined : configurationFrom(words));
  }
  return parsed.get(entry);
}

/** Entries of these terms at indexes 1, 2, 3 ...; their text is their id, as in the figures. */
export function entriesOf(...terms: readonly Term[]): readonly Entry[] {
  return terms.map((term, at) => entryAt(term, at + 1));
}

/** One entry with one operation, in a log whose entries have one operation each. */
export function entryAt(term: Term, index: LogIndex, text = `${term}:${index}`): Entry {
  return { term, index, firstSequence: index, count: 1, bytes: encoder.encode(text) };
}

/** A log in memory: `LogReader` as the storage gives it, with the head cut at will. */
export class MemoryLog implements LogReader {
  #first: LogIndex = 1;
  /** Term and next sequence number of the entry before the first. */
  #base = { term: 0, sequenceAfter: 1 };
  #entries: Entry[] = [];
  /** Entries below this index have to be read from disk. */
  cachedFrom: LogIndex = 0;

  constructor(entries: readonly Entry[] = []) {
    this.write(entries);
  }

  firstIndex(): LogIndex {
    return this.#first;
  }

  lastIndex(): LogIndex {
    return this.#first + this.#entries.length - 1;
  }

  term(index: LogIndex): Term | undefined {
    if (index === this.#first - 1) return this.#base.term;
    return this.#entries[index - this.#first]?.term;
  }

  sequenceAfter(index: LogIndex): number {
    if (index === this.#first - 1) return this.#base.sequenceAfter;
    const entry = this.at(index);
    return entry.firstSequence + entry.count;
  }

  at(index: LogIndex): Entry {
    const entry = this.#entries[index - this.#first];
    assert(entry !== undefined, () => `entry ${index} is kept`);
    return entry;
  }

  entries(from: LogIndex, to: LogIndex, bytesMax: number): readonly Entry[] | undefined {
    if (from < this.cachedFrom) return undefined;
    return this.readFromDisk(from, to, bytesMax);
  }

  readFromDisk(from: LogIndex, to: LogIndex, bytesMax: number): readonly Entry[] {
    const found = [this.at(from)];
    let bytes = this.at(from).bytes.byteLength;
    for (let index = from + 1; index <= Math.min(to, this.lastIndex()); index += 1) {
      bytes += this.at(index).bytes.byteLength;
      if (bytes > bytesMax) break;
      found.push(this.at(index));
    }
    return found;
  }

  /** Appends; entries at and after the first one's index are superseded. */
  write(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    assert(first.index >= this.#first, "what is compacted is never written again");
    assert(first.index <= this.lastIndex() + 1, "a log has no gap");
    this.#entries.length = first.index - this.#first;
    for (const entry of entries) {
      assert(entry.index === this.lastIndex() + 1, "entries are written in order");
      this.#entries.push(entry);
    }
  }

  /** Drops everything up to `through`, as after a snapshot. */
  compact(through: LogIndex): void {
    if (through < this.#first) return;
    this.#base = { term: this.at(through).term, sequenceAfter: this.sequenceAfter(through) };
    this.#entries = this.#entries.slice(through - this.#first + 1);
    this.#first = through + 1;
  }

  /** Starts over, empty, behind a snapshot. */
  restartBehind(base: LogBase): void {
    this.#base = { term: base.term, sequenceAfter: base.nextSequence };
    this.#first = base.index + 1;
    this.#entries = [];
  }

  all(): readonly Entry[] {
    return this.#entries;
  }

  copy(): MemoryLog {
    const log = new MemoryLog();
    log.#first = this.#first;
    log.#base = this.#base;
    log.#entries = [...this.#entries];
    return log;
  }
}

/** A Ready that was written and whose sync has not ended. */
interface Unsynced {
  readonly number: number;
  readonly restored: LogBase | undefined;
  readonly hardState: HardState | undefined;
  readonly entries: readonly Entry[];
  readonly commitIndex: LogIndex;
  readonly messagesAfterPersist: readonly RaftMessage[];
}

/** The state that a node finds again after a crash. */
export interface Durable {
  hardState: HardState;
  log: MemoryLog;
  /** Commit index that stands in the newest record. */
  commitIndex: LogIndex;
  /** The snapshot's configuration, once the log is cut. */
  configuration?: LoggedConfiguration;
}

/** Watches a cluster: each part of each Ready, each delivery, each sync. */
export interface Watcher {
  onReady?(node: TestNode, ready: Ready): void;
  onPersisted?(node: TestNode, number: number): void;
  /** One more write would survive a crash. */
  onDurable?(node: TestNode): void;
}

/** One node: the core, its writes, and the part of them that would survive a crash. */
export class TestNode {
  readonly id: NodeId;
  readonly #cluster: Cluster;
  raft: Raft;
  /** Everything written, durable or not. */
  log: MemoryLog;
  durable: Durable;
  unsynced: Unsynced[] = [];
  /** While set, no sync ends by itself: see {@link persist}. */
  isDiskHeld = false;
  /** While set, entries that a peer needs from disk are not read by themselves. */
  isReadHeld = false;
  /** While set, joint consensus is not ended by itself. */
  isLeaveHeld = false;
  isAlive = true;
  /** Handed out as committed since the last start. */
  commitIndex: LogIndex;
  reads: ReadState[] = [];
  catchUps: CatchUp[] = [];
  /** Peers that need a snapshot and were not sent one yet: see {@link sendSnapshot}. */
  snapshotPeers: NodeId[] = [];
  events: RaftEvent[] = [];
  /** Those of snapshots that took the place of the log. */
  readonly restoredConfigurations: LoggedConfiguration[] = [];
  /** The configuration before the first entry of the written log. */
  #baseConfiguration: LoggedConfiguration | undefined;
  starts = 0;
  /** Data directories that were lost. */
  wipes = 0;

  constructor(cluster: Cluster, id: NodeId, durable: Durable) {
    this.#cluster = cluster;
    this.id = id;
    this.durable = durable;
    this.log = durable.log.copy();
    this.commitIndex = durable.commitIndex;
    this.raft = this.#start();
  }

  #start(): Raft {
    this.log = this.durable.log.copy();
    this.commitIndex = this.durable.commitIndex;
    this.starts += 1;
    const { hardState, commitIndex } = this.durable;
    const config = this.#cluster.configOf(this.id, this.starts);
    // The configuration of the snapshot of a cut log, and those in the log behind it.
    const base = this.durable.configuration ?? config.configurations[0];
    this.#baseConfiguration = base;
    const configurations = base === undefined ? [] : [base];
    for (const entry of this.log.all()) {
      const configuration = config.configurationOf(entry);
      if (configuration !== undefined) configurations.push({ index: entry.index, configuration });
    }
    return new Raft({ ...config, configurations, hardState, commitIndex }, this.log);
  }

  /** Proposes a change of members. Returns why it is refused; empty when it is appended. */
  proposeMembers(configuration: Configuration): string {
    const text = `config ${configurationWords(configuration)}`;
    return this.do((raft) => raft.proposeConfiguration(source(text), configuration));
  }

  /** Brings a peer to the state at `index`, as the transfer of a snapshot ends; or fails to. */
  sendSnapshot(peer: TestNode, index: LogIndex, isDelivered = true): void {
    const snapshot = this.beginSnapshot(peer.id, index);
    if (isDelivered) peer.takeSnapshot(snapshot);
    this.do((raft) => raft.snapshotEnded(peer.id, isDelivered));
  }

  /** The snapshot at `index` for a peer, as its transfer begins. */
  beginSnapshot(peer: NodeId, index: LogIndex): ArrivedSnapshot {
    assert(index <= this.commitIndex, "a snapshot holds what is committed");
    this.snapshotPeers = this.snapshotPeers.filter((id) => id !== peer);
    const term = this.log.term(index);
    assert(term !== undefined, "the snapshot's entry is known");
    const base = { index, term, nextSequence: this.log.sequenceAfter(index) };
    const configuration = this.configurationAt(index);
    return { leader: this.id, term: this.raft.term, base, configuration };
  }

  /** A snapshot is whole and durable here. Returns whether it took the place of the log. */
  takeSnapshot(snapshot: ArrivedSnapshot): boolean {
    return this.do((raft) => {
      const isTaken = raft.installSnapshot(snapshot);
      const { base, configuration } = snapshot;
      if (isTaken) this.restoredConfigurations.push({ index: base.index, configuration });
      return isTaken;
    });
  }

  /** The configuration as of an entry. */
  configurationAt(index: LogIndex): Configuration {
    let found = this.#baseConfiguration?.configuration;
    for (const entry of this.log.all()) {
      if (entry.index <= index) found = configurationIn(entry) ?? found;
    }
    return found ?? NO_MEMBERS;
  }

  /** Runs an input of the core and carries out the Readies that follow. */
  do<T>(input: (raft: Raft) => T): T {
    assert(this.isAlive, () => `"${this.id}" runs`);
    const result = input(this.raft);
    this.carryOut();
    return result;
  }

  tick(ticks = 1): void {
    for (let done = 0; done < ticks; done += 1) this.do((raft) => raft.tick());
  }

  propose(text: string, count = 1): Proposal {
    return this.do((raft) => raft.propose(source(text, count)));
  }

  campaign(): void {
    this.do((raft) => raft.campaign());
  }

  /** Hands the core a message as if `from` had sent it. */
  step(from: NodeId, term: Term, body: RaftMessageBody): void {
    this.do((raft) => raft.step({ ...body, from, to: this.id, term } as RaftMessage));
  }

  /** Takes the messages of this node that are still on the wire. */
  sent(): readonly RaftMessage[] {
    return this.#cluster.take({ from: this.id });
  }

  /** Takes Readies until there is nothing to do, writing and sending as a driver does. */
  carryOut(): void {
    for (;;) {
      const ready = this.raft.takeReady();
      if (ready === undefined) {
        // As a driver must: the leader ends joint consensus once it is committed.
        if (!this.raft.mayLeaveJoint || this.isLeaveHeld) return;
        this.proposeMembers(this.raft.configuration.leaveJoint());
        continue;
      }
      if (ready.restored !== undefined) this.#restartBehind(ready.restored);
      this.log.write(ready.entries);
      this.commitIndex = ready.commitIndex;
      this.reads.push(...ready.reads);
      this.events.push(...ready.events);
      this.catchUps.push(...ready.catchUps);
      this.snapshotPeers.push(...ready.snapshotPeers);
      const { number, restored, hardState, entries, commitIndex, messagesAfterPersist } = ready;
      const write = { number, restored, hardState, entries, commitIndex, messagesAfterPersist };
      this.unsynced.push(write);
      this.#cluster.watcher.onReady?.(this, ready);
      this.#cluster.wire.push(...ready.messages);
      if (!this.isReadHeld) this.#readFromDisk();
      if (!this.isDiskHeld) this.#syncTo(number);
    }
  }

  #restartBehind(base: LogBase): void {
    this.log.restartBehind(base);
    this.#baseConfiguration = this.#restoredConfiguration(base);
  }

  #restoredConfiguration(base: LogBase): LoggedConfiguration {
    const known = this.restoredConfigurations.find(({ index }) => index === base.index);
    assert(known !== undefined, "a snapshot says who the members are");
    return known;
  }

  /** A sync ends that covers the oldest `count` Readies. */
  persist(count = this.unsynced.length): void {
    const last = this.unsynced[Math.min(count, this.unsynced.length) - 1];
    if (last === undefined) return;
    this.#syncTo(last.number);
    this.carryOut();
  }

  #syncTo(number: number): void {
    const done = this.unsynced.filter((write) => write.number <= number);
    this.unsynced = this.unsynced.filter((write) => write.number > number);
    for (const write of done) this.#makeDurable(write);
    this.#cluster.watcher.onPersisted?.(this, number);
    this.raft.persisted(number);
    for (const write of done) this.#cluster.wire.push(...write.messagesAfterPersist);
  }

  #makeDurable(write: Unsynced): void {
    if (write.restored !== undefined) {
      this.durable.log.restartBehind(write.restored);
      this.durable.configuration = this.#restoredConfiguration(write.restored);
    }
    this.durable.log.write(write.entries);
    this.durable.hardState = write.hardState ?? this.durable.hardState;
    const { log } = this.durable;
    const known = Math.max(write.commitIndex, log.firstIndex() - 1);
    this.durable.commitIndex = Math.min(known, log.lastIndex());
    this.#cluster.watcher.onDurable?.(this);
  }

  /** Reads the entries that peers wait for from disk. */
  readFromDisk(): void {
    this.#readFromDisk();
    this.carryOut();
  }

  #readFromDisk(): void {
    const wanted = this.catchUps;
    this.catchUps = [];
    for (const { peer, from, bytesMax } of wanted) {
      const isKept = from >= this.log.firstIndex() && from <= this.log.lastIndex();
      const entries = isKept ? this.log.readFromDisk(from, this.log.lastIndex(), bytesMax) : [];
      this.raft.supplyEntries(peer, entries);
    }
  }

  /** Stops at once. The oldest `survivors` of the unsynced writes reached the disk anyway. */
  crash(survivors = 0): void {
    for (const write of this.unsynced.slice(0, survivors)) this.#makeDurable(write);
    this.unsynced = [];
    this.catchUps = [];
    this.snapshotPeers = [];
    this.isAlive = false;
  }

  /** The data directory is lost: the next start finds nothing, not even a configuration. */
  wipe(): void {
    assert(!this.isAlive, "a data directory is lost after a crash");
    const configuration = { index: 0, configuration: NO_MEMBERS };
    const hardState = { term: 0, vote: undefined };
    this.durable = { hardState, log: new MemoryLog(), commitIndex: 0, configuration };
    this.wipes += 1;
  }

  restart(): void {
    assert(!this.isAlive, "a node is restarted after a crash");
    this.reads = [];
    this.raft = this.#start();
    this.isAlive = true;
  }

  /** Cuts the head of the log, as after a snapshot of everything up to `through`. */
  compact(through: LogIndex): void {
    assert(through <= this.commitIndex, "only what is committed is in a snapshot");
    assert(through <= this.durable.log.lastIndex(), "only what is durable is in a snapshot");
    if (through < this.log.firstIndex()) return;
    const configuration = { index: through, configuration: this.configurationAt(through) };
    this.#baseConfiguration = configuration;
    this.durable.configuration = configuration;
    this.log.compact(through);
    this.durable.log.compact(through);
    this.durable.commitIndex = Math.max(this.durable.commitIndex, through);
  }

  /** The written log as `term:index` words, with the head that was cut left out. */
  get logIds(): string {
    return this.log
      .all()
      .map(({ term, index }) => `${term}:${index}`)
      .join(" ");
  }

  /** Texts of the committed entries, the new leaders' empty ones left out. */
  get committedTexts(): readonly string[] {
    const all = this.log.all().filter((entry) => entry.index <= this.commitIndex);
    return all.map(textOf).filter((text) => text !== "noop");
  }
}

/** Which messages are meant; a field that is left out means all. */
export interface MessageFilter {
  readonly from?: NodeId;
  readonly to?: NodeId;
  readonly type?: RaftMessage["type"];
}

function isMeant(message: RaftMessage, filter: MessageFilter): boolean {
  return (
    (filter.from === undefined || filter.from === message.from) &&
    (filter.to === undefined || filter.to === message.to) &&
    (filter.type === undefined || filter.type === message.type)
  );
}

/** How a cluster begins. */
export interface ClusterOptions {
  /** Nodes are n1, n2, n3 ... */
  readonly nodeCount: number;
  /** Instead of the defaults of {@link Cluster.configOf}. */
  readonly config?: Partial<RaftConfig>;
  /** Terms of the entries that a node finds on its disk. */
  readonly logs?: Readonly<Record<NodeId, readonly Term[]>>;
  /** Term and vote that a node finds; else the term of its last entry. */
  readonly hardStates?: Readonly<Record<NodeId, HardState>>;
  readonly commitIndex?: LogIndex;
  /** The members that all but the joining nodes know from the start; else all are voters. */
  readonly members?: string;
  /** Nodes that know of no members yet. */
  readonly joining?: readonly NodeId[];
}

/** Nodes and the wire between them. */
export class Cluster {
  readonly nodes: readonly TestNode[];
  /** Sent and not delivered, oldest first. */
  wire: RaftMessage[] = [];
  watcher: Watcher = {};
  /** Whether a message may arrive; true unless a test replaces it. */
  isAdmitted: (message: RaftMessage) => boolean = () => true;
  readonly #options: ClusterOptions;
  readonly #cuts = new Set<string>();

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.nodes = this.#ids().map((id) => {
      const terms = options.logs?.[id] ?? [];
      const term = terms.at(-1) ?? 0;
      const hardState = options.hardStates?.[id] ?? { term, vote: undefined };
      const log = new MemoryLog(entriesOf(...terms));
      return new TestNode(this, id, { hardState, log, commitIndex: options.commitIndex ?? 0 });
    });
  }

  #ids(): readonly NodeId[] {
    return Array.from({ length: this.#options.nodeCount }, (_, at) => `n${at + 1}`);
  }

  /** Small round numbers: a heartbeat each tick, T = 10 ticks, n1 waits 10, n2 11, n3 12. */
  configOf(id: NodeId, start: number): RaftConfig {
    const ids = this.#ids();
    const { members = ids.join(" "), joining = [] } = this.#options;
    const first = { index: 0, configuration: configurationFrom(members) };
    return {
      id,
      configurations: joining.includes(id) ? [] : [first],
      configurationOf: configurationIn,
      heartbeatTicks: 1,
      electionTicks: 10,
      adaptiveTicksMax: 0,
      arrivalHalfLifeTicks: 1000,
      hasLeases: false,
      rankTicks: 1,
      jitterTicks: 1,
      appendBytesMax: 1_000,
      inflightMessagesMax: 8,
      inflightBytesMax: 10_000,
      uncommittedBytesMax: 100_000,
      noop: () => source("noop"),
      hardState: { term: 0, vote: undefined },
      commitIndex: 0,
      ...this.#options.config,
      seed: (this.#options.config?.seed ?? 1) + ids.indexOf(id) * 7_919 + start * 104_729,
    };
  }

  node(id: NodeId): TestNode {
    const node = this.nodes.find((candidate) => candidate.id === id);
    assert(node !== undefined, () => `"${id}" is a node of this cluster`);
    return node;
  }

  /** The leader of the highest term, if there is one. */
  get leader(): TestNode | undefined {
    const leaders = this.nodes.filter((node) => node.isAlive && node.raft.role === "leader");
    return leaders.sort((a, b) => b.raft.term - a.raft.term)[0];
  }

  /** Removes messages from the wire. */
  take(filter: MessageFilter = {}): readonly RaftMessage[] {
    const taken = this.wire.filter((message) => isMeant(message, filter));
    this.wire = this.wire.filter((message) => !isMeant(message, filter));
    return taken;
  }

  /** Delivers the messages on the wire; answers stay there. Returns the number that arrived. */
  deliver(filter: MessageFilter = {}): number {
    let arrived = 0;
    for (const message of this.take(filter)) if (this.arrive(message)) arrived += 1;
    return arrived;
  }

  /** One message reaches its target, unless that is down or cut off. */
  arrive(message: RaftMessage): boolean {
    const node = this.node(message.to);
    if (!node.isAlive || this.#cuts.has(`${message.from}-${message.to}`)) return false;
    if (!this.isAdmitted(message)) return false;
    node.do((raft) => raft.step(message));
    return true;
  }

  drop(filter: MessageFilter = {}): number {
    return this.take(filter).length;
  }

  /** Delivers until the wire is empty. */
  stabilize(): void {
    let delivered = 0;
    while (this.wire.length > 0) {
      delivered += this.wire.length;
      assert(delivered <= DELIVERIES_MAX, "a cluster without ticks falls silent");
      this.deliver();
    }
  }

  /** Nothing goes from one to the other any more. */
  cut(from: NodeId, to: NodeId): void {
    this.#cuts.add(`${from}-${to}`);
  }

  /** Cuts one node off from all others, both ways. */
  isolate(id: NodeId): void {
    for (const other of this.nodes) {
      if (other.id === id) continue;
      this.cut(id, other.id);
      this.cut(other.id, id);
    }
  }

  heal(): void {
    this.#cuts.clear();
  }

  /** Ticks every running node; after each tick everything is delivered. */
  tick(ticks = 1): void {
    for (let done = 0; done < ticks; done += 1) {
      for (const node of this.nodes) if (node.isAlive) node.tick();
      this.stabilize();
    }
  }

  /** Makes `id` the leader, with an entry of its term committed everywhere. */
  elect(id: NodeId): TestNode {
    const node = this.node(id);
    node.campaign();
    this.stabilize();
    assert(node.raft.role === "leader", () => `"${id}" was elected`);
    // The followers learn of the commit with the next sign of life.
    node.tick();
    this.stabilize();
    return node;
  }
}

/** A cluster of `nodeCount` with leader n1 in term 1 and its first entry committed everywhere. */
export function clusterWithLeader(nodeCount: number, config: Partial<RaftConfig> = {}): Cluster {
  const cluster = new Cluster({ nodeCount, config });
  cluster.elect("n1");
  return cluster;
}
