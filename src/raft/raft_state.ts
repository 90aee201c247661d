/**
 * The mutable state of one Raft node and the transitions that every role shares. The roles
 * (`follower.ts`, `candidate.ts`, `leader.ts`) are functions over it.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import type { RaftConfig } from "./config.ts";
import { type Configuration, ConfigurationHistory, isSameNode } from "./configuration.ts";
import { RaftLog } from "./log.ts";
import type { RaftMessage, RaftMessageBody } from "./message.ts";
import { Progress } from "./progress.ts";
import type { CatchUp, RaftEvent } from "./ready.ts";
import type {
  Entry,
  LogBase,
  LogIndex,
  LogReader,
  NodeId,
  ReadState,
  Role,
  Term,
} from "./types.ts";

/** A read barrier under way on the leader. */
export interface PendingRead {
  readonly context: number;
  readonly from: NodeId;
  readonly index: LogIndex;
  /** Confirmed once a quorum answered a heartbeat of this round or a later one. */
  readonly round: number;
}

/** A read that came before the leader committed an entry of its own term. */
export interface WaitingRead {
  readonly context: number;
  readonly from: NodeId;
}

/** Everything that a decision reads or changes. */
export class RaftState {
  readonly config: RaftConfig;
  readonly log: RaftLog;
  readonly history: ConfigurationHistory;
  /** Everybody else in the configuration, sorted, so that the same inputs give the same Ready. */
  peers: readonly NodeId[] = [];
  /** The driver keeps this node from campaigning: its state is not whole, or it was stalled. */
  isHeldBack = false;
  term: Term;
  vote: NodeId | undefined;
  role: Role = "follower";
  leader: NodeId | undefined;
  electionElapsed = 0;
  electionWait: number;
  /** Ticks between signs of life of the leader, and how much they vary: moving averages. */
  #arrivalMean = 0;
  #arrivalDeviation = 0;
  /** Stickiness is lifted until the next sign of life of the current term's leader. */
  isLeaderForgotten = false;
  readonly votes = new Map<NodeId, boolean>();

  readonly progress = new Map<NodeId, Progress>();
  heartbeatElapsed = 0;
  /** Ticks since the start in which no vote is granted, for leases that may still run. */
  quietTicks: number;
  /** A successor was told to campaign at once in this term: no lease holds any more. */
  isLeaseVoid = false;
  quorumElapsed = 0;
  transferee: NodeId | undefined;
  transferElapsed = 0;
  readRound = 0;
  /**
   * Every voter's disk holds the log up to here, as far as this node was told. Whoever leads next
   * has to serve the slowest voter, so followers keep their logs by it, too.
   */
  heldIndex: LogIndex = 0;
  /** Committed, as a leader said, also if this node does not have it yet. */
  toldCommit: LogIndex = 0;
  pendingReads: PendingRead[] = [];
  waitingReads: WaitingRead[] = [];
  /** Index and size of own proposals that are not committed yet, oldest first. */
  uncommitted: { readonly index: LogIndex; readonly size: number }[] = [];
  uncommittedBytes = 0;

  messages: RaftMessage[] = [];
  messagesAfterPersist: RaftMessage[] = [];
  reads: ReadState[] = [];
  catchUps: CatchUp[] = [];
  snapshotPeers: NodeId[] = [];
  events: RaftEvent[] = [];
  #random: number;
  /** Term of the last change of role or leader that was told. */
  #toldTerm: Term = 0;

  constructor(config: RaftConfig, reader: LogReader) {
    this.config = config;
    this.log = new RaftLog(reader, config.commitIndex);
    this.history = new ConfigurationHistory(config.configurations);
    this.history.commit(config.commitIndex);
    this.term = config.hardState.term;
    this.vote = config.hardState.vote;
    this.#random = (config.seed ^ 0x9e3779b9) >>> 0 || 1;
    this.electionWait = this.firstWait();
    this.quietTicks = config.hasLeases ? config.electionTicks : 0;
    this.#configurationChanged();
  }

  get id(): NodeId {
    return this.config.id;
  }

  /** The configuration that counts: the last one in the log, committed or not. */
  get configuration(): Configuration {
    return this.history.latest.configuration;
  }

  /**
   * Whether this node may become leader: its state is whole, and it is a voter, or its removal is
   * not known to be committed. Until then it may be the only one that can be elected (thesis
   * §4.2.2): the voter that is left may lack the very entry that makes it the only one.
   *
   * Who lacks what is committed cannot be elected, unless by the members of long ago: a new folder
   * under an old name reads of times when that name voted, perhaps alone.
   */
  get isPromotable(): boolean {
    if (this.isHeldBack || this.log.lastIndex < this.toldCommit) return false;
    return this.history.mayVote(this.id);
  }

  /** Entries were appended; a configuration among them counts from now on. */
  noteAppended(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const configuration = this.config.configurationOf(entry);
      if (configuration === undefined) continue;
      if (this.role === "leader") this.#forgetReplaced(configuration);
      this.history.add(entry.index, configuration);
      this.#configurationChanged();
    }
  }

  /** The log was truncated; a configuration that goes with it never counted. */
  noteTruncated(fromIndex: LogIndex): void {
    this.events.push({ type: "LOG_TRUNCATED", fromIndex });
    if (this.history.truncate(fromIndex)) this.#configurationChanged();
  }

  /** A snapshot takes the place of the log. */
  restore(base: LogBase, configuration: Configuration): void {
    this.log.restore(base);
    this.history.restore(base.index, configuration);
    this.#configurationChanged();
  }

  #configurationChanged(): void {
    const { ids } = this.configuration;
    this.peers = ids.filter((id) => id !== this.id);
    if (this.role === "leader") this.trackMembers();
  }

  /** What another folder acknowledged under the same id is no part of this one (T16). */
  #forgetReplaced(next: Configuration): void {
    for (const id of this.progress.keys()) {
      if (id !== this.id && !isSameNode(this.configuration, next, id)) this.progress.delete(id);
    }
  }

  /** Keeps a leader's view of each member: new ones are probed, removed ones are forgotten. */
  trackMembers(): void {
    const { config, log } = this;
    const window = { messagesMax: config.inflightMessagesMax, bytesMax: config.inflightBytesMax };
    for (const id of this.progress.keys()) {
      if (id !== this.id && !this.configuration.has(id)) this.progress.delete(id);
    }
    for (const id of [this.id, ...this.peers]) {
      if (this.progress.has(id)) continue;
      const progress = new Progress(log.lastIndex + 1, window);
      // A new member has an election timeout to answer before it counts as silent.
      progress.isRecentlyActive = true;
      this.progress.set(id, progress);
    }
    if (this.transferee !== undefined && !this.configuration.mayVote(this.transferee)) {
      this.endTransfer(false);
    }
  }

  /** Moves the commit index on; configurations before a committed one cannot come back. */
  commitTo(index: LogIndex): boolean {
    if (!this.log.commitTo(index)) return false;
    this.history.commit(index);
    return true;
  }

  endTransfer(done: boolean): void {
    const to = this.transferee;
    if (to === undefined) return;
    this.transferee = undefined;
    this.events.push({ type: "TRANSFER_ENDED", to, done });
  }

  /** Whether a leader was heard within the minimum election timeout (thesis §4.2.3). */
  get hasLiveLeader(): boolean {
    if (this.role === "leader") return true;
    if (this.leader === undefined || this.isLeaderForgotten) return false;
    return this.electionElapsed < this.config.electionTicks;
  }

  /**
   * Whether an entry of the own term is committed: before that nothing may be read or counted on.
   */
  get hasCommittedOwnTerm(): boolean {
    return this.log.term(this.log.committed) === this.term;
  }

  /** Next number in [0, bound): xorshift32, so that a seed decides every wait. */
  random(bound: number): number {
    let x = this.#random;
    x ^= (x << 13) >>> 0;
    x ^= x >>> 17;
    x ^= (x << 5) >>> 0;
    this.#random = x >>> 0;
    return this.#random % bound;
  }

  /** Position among the voters that could follow the present leader. */
  get rank(): number {
    const { electorate } = this.configuration;
    return electorate.filter((voter) => voter !== this.leader).indexOf(this.id);
  }

  /** The leader was heard after this many ticks (Jacobson 1988: mean and mean deviation). */
  noteArrival(ticks: number): void {
    const error = ticks - this.#arrivalMean;
    this.#arrivalMean += error / 8;
    this.#arrivalDeviation += (Math.abs(error) - this.#arrivalDeviation) / 4;
  }

  /** Ticks to wait beyond the drawn ones while a leader's signs of life come irregularly. */
  get patience(): number {
    const { adaptiveTicksMax, electionTicks } = this.config;
    if (adaptiveTicksMax === 0 || this.leader === undefined || this.isLeaderForgotten) return 0;
    const usual = Math.ceil(3 * this.#arrivalMean + 4 * this.#arrivalDeviation);
    return Math.max(0, Math.min(adaptiveTicksMax, usual) - electionTicks);
  }

  /** T + rank + jitter: ranks keep two followers from campaigning at once. */
  firstWait(): number {
    const { electionTicks, rankTicks, jitterTicks } = this.config;
    return electionTicks + Math.max(0, this.rank) * rankTicks + this.random(jitterTicks);
  }

  /** Short, apart from the other ranks' waits. */
  repeatWait(): number {
    const { rankTicks, jitterTicks } = this.config;
    return (1 + Math.max(0, this.rank)) * rankTicks + this.random(jitterTicks);
  }

  /** Uniform in [T, 2T), drawn anew after every round without a winner (paper §5.2). */
  laterWait(): number {
    return this.config.electionTicks + this.random(this.config.electionTicks);
  }

  /**
   * Promises - a vote given, entries taken - wait for the disk; the rest leaves at once. A campaign
   * with entries that are not durable is such a promise: voters rely on them, and a vote that comes
   * after a restart without them would count in the same term.
   */
  send(to: NodeId, body: RaftMessageBody, term = this.term): void {
    assert(to !== this.id, "a node does not write to itself");
    const message = { ...body, from: this.id, to, term } as RaftMessage;
    const isPromise =
      (body.type === "VOTE_RESPONSE" && !body.preVote) ||
      (body.type === "VOTE_REQUEST" && !body.preVote && !this.log.isDurable) ||
      (body.type === "APPEND_ENTRIES_RESPONSE" && !body.rejected);
    (isPromise ? this.messagesAfterPersist : this.messages).push(message);
  }

  /**
   * Tells one peer that this node leads, and what is committed of what it is known to hold (T45).
   */
  sendHeartbeat(peer: NodeId): void {
    let held = this.log.committed;
    for (const { match } of this.progress.values()) held = Math.min(held, match);
    this.heldIndex = Math.max(this.heldIndex, held);
    const commitIndex = Math.min(this.progress.get(peer)?.match ?? 0, this.log.committed);
    const { readRound, heldIndex } = this;
    this.send(peer, { type: "HEARTBEAT", commitIndex, readRound, heldIndex });
  }

  /** Follows `leader` (or nobody yet) in `term`, which is never lower than the present one. */
  becomeFollower(term: Term, leader: NodeId | undefined): void {
    assert(term >= this.term, "terms never go back");
    const isNewTerm = term > this.term;
    if (isNewTerm) {
      this.term = term;
      this.vote = undefined;
    }
    // A newer term alone is no sign of a leader: a follower that hears of one goes on waiting, or a
    // node that cannot win could keep those that can from campaigning (T24).
    const goesOnWaiting = this.role === "follower" && leader === undefined;
    this.#leaveRole(isNewTerm);
    this.setRole("follower", leader);
    if (goesOnWaiting) return;
    this.electionElapsed = 0;
    this.electionWait = leader === undefined ? this.laterWait() : this.firstWait();
  }

  /** Drops everything that belongs to a role that ends now. */
  #leaveRole(isNewTerm: boolean): void {
    this.votes.clear();
    this.progress.clear();
    this.pendingReads = [];
    this.waitingReads = [];
    this.uncommitted = [];
    this.uncommittedBytes = 0;
    this.endTransfer(isNewTerm);
  }

  setRole(role: Role, leader: NodeId | undefined): void {
    // The same leader in another term is news too: what was asked of it before is never answered.
    const isElectedAgain = leader !== undefined && this.term !== this.#toldTerm;
    const isNews = role !== this.role || leader !== this.leader || isElectedAgain;
    this.role = role;
    this.leader = leader;
    if (isNews) this.#toldTerm = this.term;
    if (isNews) this.events.push({ type: "ROLE_CHANGED", role, term: this.term, leader });
  }

  refuse(from: NodeId, reason: string): void {
    this.events.push({ type: "MESSAGE_REFUSED", from, reason });
  }
}
