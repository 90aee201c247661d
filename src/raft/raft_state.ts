/**
 * The mutable state of one Raft node and the transitions that every role shares. The roles
 * (`follower.ts`, `election.ts`, `leader.ts`) are functions over it.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import type { Pace, RaftConfig } from "./config.ts";
import { type Configuration, ConfigurationHistory, isSameNode } from "./configuration.ts";
import { RaftLog } from "./log.ts";
import type { RaftMessage, RaftMessageBody, VoteRequest } from "./message.ts";
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
  /** The commit index when the read arrived: `index <= committed`. */
  readonly index: LogIndex;
  /** Confirmed once a quorum answered a heartbeat of this round or a later one; <= `readRound`. */
  readonly round: number;
}

/** A read that arrived before the leader committed an entry of its own term. */
export interface WaitingRead {
  readonly context: number;
  readonly from: NodeId;
}

/** The state that a decision reads or changes. */
export class RaftState {
  readonly config: RaftConfig;
  readonly log: RaftLog;
  readonly history: ConfigurationHistory;
  /** The other members of the configuration, sorted, so that equal inputs give equal Readies. */
  peers: readonly NodeId[] = [];
  /** The driver keeps this node from campaigning: its state is not whole, or it was stalled. */
  isHeldBack = false;
  term: Term;
  vote: NodeId | undefined;
  role: Role = "follower";
  leader: NodeId | undefined;
  /** Ticks since the last message of the leader, the last vote or the last campaign. */
  electionElapsed = 0;
  /** Ticks after which this node campaigns. */
  electionWait: number;
  /** Ticks between messages of the leader, and how much they vary: moving averages. */
  /** Waits in force: those of the configuration, or longer ones. */
  pace: Pace;
  #arrivalMean = 0;
  #arrivalDeviation = 0;
  /** Longest wait for a leader's message lately. */
  #arrivalPeak = 0;
  /** Stickiness is lifted until the next message of the current term's leader. */
  isLeaderForgotten = false;
  /** A pre-vote that was refused for the sake of the leader, which may turn out to be gone. */
  deferredPreVote: VoteRequest | undefined;
  readonly votes = new Map<NodeId, boolean>();

  readonly progress = new Map<NodeId, Progress>();
  /** Ticks since the last heartbeat: `0 <= heartbeatElapsed < heartbeatTicks` between ticks. */
  heartbeatElapsed = 0;
  /** Ticks since the start in which no vote is granted, for leases that may still run. */
  quietTicks: number;
  /** A successor was sent `TIMEOUT_NOW` in this term: no lease holds any more. */
  isLeaseVoid = false;
  /** This leader has sent nothing yet: what is proposed first travels with its first entry. */
  owesAppends = false;
  /** Ticks since the last quorum check: `0 <= quorumElapsed < electionTicks` between ticks. */
  quorumElapsed = 0;
  transferee: NodeId | undefined;
  /** Ticks since the hand-over began: `0 <= transferElapsed < electionTicks` between ticks. */
  transferElapsed = 0;
  /** The last heartbeat round that began; it never goes back. */
  readRound = 0;
  /**
   * Every voter's disk holds the log up to here, as far as this node knows; it never goes back. The
   * next leader has to serve the slowest voter, so followers keep their logs by it, too. On a
   * leader `heldIndex <= lastIndex`; a follower may not have all those entries yet.
   */
  heldIndex: LogIndex = 0;
  /**
   * The greatest commit index that a leader announced, also if this node does not have the entry
   * yet; it never goes back, and only a node with `toldCommit <= lastIndex` campaigns.
   */
  toldCommit: LogIndex = 0;
  /** In order of round and index. */
  pendingReads: PendingRead[] = [];
  waitingReads: WaitingRead[] = [];
  /**
   * Index and size in bytes of own proposals, oldest first: `committed < index <= lastIndex`. The
   * sizes add up to `uncommittedBytes`.
   */
  uncommitted: { readonly index: LogIndex; readonly size: number }[] = [];
  uncommittedBytes = 0;

  messages: RaftMessage[] = [];
  messagesAfterPersist: RaftMessage[] = [];
  reads: ReadState[] = [];
  catchUps: CatchUp[] = [];
  snapshotPeers: NodeId[] = [];
  events: RaftEvent[] = [];
  #random: number;
  /** Term of the last `ROLE_CHANGED` event; <= `term`. */
  #announcedTerm: Term = 0;

  constructor(config: RaftConfig, reader: LogReader) {
    this.config = config;
    this.pace = config;
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
   * A node that lacks committed entries cannot win, except under an obsolete configuration: a new
   * data directory under an old name receives the entries of times when that name voted, perhaps
   * alone.
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
      assert(entry.index <= this.log.lastIndex, "the entry was appended");
      this.history.add(entry.index, configuration);
      this.#configurationChanged();
    }
  }

  /** The log was truncated; a configuration that goes with it never counted. */
  noteTruncated(fromIndex: LogIndex): void {
    assert(fromIndex > this.log.committed, "no committed entry is truncated");
    this.events.push({ type: "LOG_TRUNCATED", fromIndex });
    if (this.history.truncate(fromIndex)) this.#configurationChanged();
  }

  /** A snapshot takes the place of the log. */
  restore(base: LogBase, configuration: Configuration): void {
    this.log.restore(base);
    this.history.restore(base.index, configuration);
    assert(this.history.latest.index === this.log.committed, "the snapshot's configuration counts");
    this.#configurationChanged();
  }

  #configurationChanged(): void {
    const { ids } = this.configuration;
    assert(this.history.latest.index <= this.log.lastIndex, "its entry is in the log");
    this.peers = ids.filter((id) => id !== this.id);
    const own = this.configuration.has(this.id) ? 1 : 0;
    assert(this.peers.length === ids.length - own, "each other member is a peer");
    if (this.role === "leader") this.trackMembers();
  }

  /** Entries acknowledged by another data directory of that id do not count for this one (T16). */
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
    assert(this.progress.size === this.peers.length + 1, "the leader and each peer are tracked");
    if (this.transferee !== undefined && !this.configuration.mayVote(this.transferee)) {
      this.endTransfer(false);
    }
  }

  /** Moves the commit index on; configurations before a committed one cannot come back. */
  commitTo(index: LogIndex): boolean {
    if (!this.log.commitTo(index)) return false;
    assert(this.log.committed === index, "the commit index is reached");
    this.history.commit(index);
    return true;
  }

  endTransfer(done: boolean): void {
    const to = this.transferee;
    if (to === undefined) return;
    assert(to !== this.id, "a leader does not hand over to itself");
    this.transferee = undefined;
    this.events.push({ type: "TRANSFER_ENDED", to, done });
  }

  /** Whether a leader's message arrived within the minimum election timeout (thesis §4.2.3). */
  get hasLiveLeader(): boolean {
    if (this.role === "leader") return true;
    if (this.leader === undefined || this.isLeaderForgotten) return false;
    return this.electionElapsed < this.pace.electionTicks;
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
    const value = this.#random % bound;
    assert(value < bound, "a random number is below its bound");
    return value;
  }

  /** Position among the voters that could follow the present leader. */
  get rank(): number {
    const { electorate } = this.configuration;
    const rank = electorate.filter((voter) => voter !== this.leader).indexOf(this.id);
    assert(rank < electorate.length, "each rank belongs to a voter");
    return rank;
  }

  /** A leader's message arrived after this many ticks (Jacobson 1988: mean and mean deviation). */
  noteArrival(ticks: number): void {
    const error = ticks - this.#arrivalMean;
    this.#arrivalMean += error / 8;
    this.#arrivalDeviation += (Math.abs(error) - this.#arrivalDeviation) / 4;
    const { arrivalHalfLifeTicks } = this.config;
    this.#arrivalPeak = Math.max(ticks, this.#arrivalPeak * 0.5 ** (ticks / arrivalHalfLifeTicks));
  }

  /** Ticks to wait beyond the drawn ones while a leader's messages arrive irregularly. */
  get patience(): number {
    const { adaptiveTicksMax } = this.config;
    const { electionTicks } = this.pace;
    if (adaptiveTicksMax === 0 || this.leader === undefined || this.isLeaderForgotten) return 0;
    const spread = 3 * this.#arrivalMean + 4 * this.#arrivalDeviation;
    const usual = Math.ceil(Math.max(spread, 2 * this.#arrivalPeak));
    const patience = Math.max(0, Math.min(adaptiveTicksMax, usual) - electionTicks);
    assert(patience <= adaptiveTicksMax, "the longest wait is bounded");
    return patience;
  }

  /** From now on these waits are in force. */
  setPace(pace: Pace): void {
    assert(pace.electionTicks >= this.config.electionTicks, "no wait is below the configured one");
    assert(pace.rankTicks >= this.config.rankTicks, "nor that between candidates");
    if (pace.electionTicks === this.pace.electionTicks && pace.rankTicks === this.pace.rankTicks) {
      return;
    }
    const isLonger = pace.electionTicks > this.pace.electionTicks;
    this.pace = pace;
    this.quorumElapsed = Math.min(this.quorumElapsed, pace.electionTicks - 1);
    this.transferElapsed = Math.min(this.transferElapsed, pace.electionTicks - 1);
    if (!isLonger || this.role !== "follower" || this.isLeaderForgotten) return;
    this.electionWait = Math.max(this.electionWait, this.firstWait());
    assert(this.electionWait >= pace.electionTicks, "the running wait is as long as the others");
  }

  /** T + rank + jitter: ranks keep two followers from campaigning at once. */
  firstWait(): number {
    const { jitterTicks } = this.config;
    const { electionTicks, rankTicks } = this.pace;
    const wait = electionTicks + Math.max(0, this.rank) * rankTicks + this.random(jitterTicks);
    assert(wait >= electionTicks, "no node campaigns within the minimum election timeout");
    return wait;
  }

  /** Shortens the running wait as if the first in rank had campaigned in vain. */
  campaignSoon(): void {
    const rankTicks = Math.max(0, this.rank - 1) * this.pace.rankTicks;
    const wait = this.electionElapsed + 1 + rankTicks + this.random(this.config.jitterTicks);
    this.electionWait = Math.min(this.electionWait, wait);
    assert(this.electionWait <= wait, "no wait becomes longer");
  }

  /** Short, apart from the other ranks' waits. */
  repeatWait(): number {
    const { jitterTicks } = this.config;
    const { rankTicks } = this.pace;
    const wait = (1 + Math.max(0, this.rank)) * rankTicks + this.random(jitterTicks);
    assert(wait >= rankTicks, "each rank waits for the ranks before it");
    return wait;
  }

  /** Uniform in [T, 2T), drawn anew after every round without a winner (paper §5.2). */
  laterWait(): number {
    const { electionTicks } = this.pace;
    const wait = electionTicks + this.random(electionTicks);
    assert(wait >= electionTicks, "no node campaigns within the minimum election timeout");
    assert(wait < 2 * electionTicks, "a later round begins within two election timeouts");
    return wait;
  }

  /**
   * Promises - a vote given, entries taken - wait for the disk; the rest leaves at once. A campaign
   * with entries that are not durable is such a promise: voters rely on them, and a vote that comes
   * after a restart without them would count in the same term.
   */
  send(to: NodeId, body: RaftMessageBody, term = this.term): void {
    assert(to !== this.id, "a node does not write to itself");
    assert(term >= this.term, "no message has an old term");
    const message = { ...body, from: this.id, to, term } as RaftMessage;
    const isPromise =
      (body.type === "VOTE_RESPONSE" && !body.preVote) ||
      (body.type === "VOTE_REQUEST" && !body.preVote && !this.log.isDurable) ||
      (body.type === "APPEND_ENTRIES_RESPONSE" && !body.rejected);
    (isPromise ? this.messagesAfterPersist : this.messages).push(message);
  }

  /**
   * Announces to one peer that this node leads, and the commit index up to what the peer is known
   * to hold (T45).
   */
  sendHeartbeat(peer: NodeId): void {
    assert(this.leader === this.id, "only the leader sends heartbeats");
    assert(this.progress.size > this.peers.length, "the leader and each peer are tracked");
    let held = this.log.committed;
    for (const { match } of this.progress.values()) held = Math.min(held, match);
    this.heldIndex = Math.max(this.heldIndex, held);
    const commitIndex = Math.min(this.progress.get(peer)?.match ?? 0, this.log.committed);
    const { readRound, heldIndex } = this;
    this.send(peer, { type: "HEARTBEAT", commitIndex, readRound, heldIndex });
  }

  /** Follows `leader` (undefined: none yet) in `term`, which is at least the present one. */
  becomeFollower(term: Term, leader: NodeId | undefined): void {
    assert(term >= this.term, "terms never go back");
    const isNewTerm = term > this.term;
    if (isNewTerm) {
      this.term = term;
      this.vote = undefined;
    }
    // A newer term alone is no sign of a leader: a follower that adopts one goes on waiting, or a
    // node that cannot win could keep those that can from campaigning (T24).
    const goesOnWaiting = this.role === "follower" && leader === undefined;
    this.#leaveRole(isNewTerm);
    this.setRole("follower", leader);
    assert(this.term === term, "the term was adopted");
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
    assert(role !== "leader" || leader === this.id, "a leader follows itself");
    assert(role !== "candidate" || this.vote === this.id, "a candidate votes for itself");
    assert(this.#announcedTerm <= this.term, "terms never go back");
    // The same leader in another term is news too: it never answers requests of the term before.
    const isElectedAgain = leader !== undefined && this.term !== this.#announcedTerm;
    const isNews = role !== this.role || leader !== this.leader || isElectedAgain;
    if (leader !== this.leader) this.#noteLoss(role);
    this.role = role;
    this.leader = leader;
    if (isNews) this.#announcedTerm = this.term;
    if (isNews) this.events.push({ type: "ROLE_CHANGED", role, term: this.term, leader });
  }

  #noteLoss(role: Role): void {
    const { leader, electionElapsed: silentTicks } = this;
    if (leader === undefined || leader === this.id) return;
    assert(role !== "leader", "who wins had given its leader up when it campaigned");
    const usual = role === "candidate" ? "handed over" : "superseded";
    const why = role === "pre-candidate" ? "silent" : usual;
    this.events.push({
      ...{ type: "LEADER_LOST", leader, silentTicks },
      why: this.isLeaderForgotten ? "gone" : why,
    });
  }

  refuse(from: NodeId, reason: string): void {
    this.events.push({ type: "MESSAGE_REFUSED", from, reason });
  }
}
