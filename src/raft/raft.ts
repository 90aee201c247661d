/**
 * Raft: one node's consensus, decided. Inputs are ticks, messages, proposals and completions of the
 * disk; the output is a {@link Ready}. It knows no clock, file, socket, promise or random source.
 *
 * Sources: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (paper), and
 * Ongaro's dissertation (thesis).
 *
 * @module
 */

import { assert, unreachable } from "../base/assert.ts";
import { assertRaftConfig, type Pace, type RaftConfig } from "./config.ts";
import type { Configuration } from "./configuration.ts";
import {
  answerDeferred,
  answerVote,
  campaign,
  handleVoteResponse,
  idleFollowerTicks,
  isSticky,
  ownVotePersisted,
  tickFollower,
} from "./election.ts";
import {
  type ArrivedSnapshot,
  handleAppendEntries,
  handleHeartbeat,
  handleTimeoutNow,
  installSnapshot,
} from "./follower.ts";
import {
  handleAppendEntriesResponse,
  handleHeartbeatResponse,
  idleLeaderTicks,
  ownEntriesPersisted,
  type Proposal,
  payAppends,
  peerUnreachable,
  propose,
  proposeConfiguration,
  sendHeartbeat,
  skipLeaderTicks,
  snapshotEnded,
  successorOf,
  supplyEntries,
  tickLeader,
  transferLeadership,
} from "./leader.ts";
import type { RaftMessage, ReadIndexRequest } from "./message.ts";
import { RaftState } from "./raft_state.ts";
import { addRead, confirmedRound } from "./read_index.ts";
import type { PeerView, RaftView, Ready } from "./ready.ts";
import type {
  Entry,
  EntrySource,
  HardState,
  LogIndex,
  LogReader,
  NodeId,
  Role,
  Term,
} from "./types.ts";

export type { PeerView, RaftView } from "./ready.ts";

/** Terms that a message may be ahead of the node's own: no honest node is further ahead. */
export const TERM_STEP_MAX = 1_000_000;

/** One Raft node. */
export class Raft {
  readonly #state: RaftState;
  /** Of the last Ready that was taken: `#persistedNumber <= #readyNumber`. */
  #readyNumber = 0;
  /** Of the last Ready that is on disk. */
  #persistedNumber = 0;
  /** Term and vote of the last Ready; its term is at most the present one. */
  #handedOut: HardState;
  /** Commit index of the last Ready: `#handedCommit <= committed`. */
  #handedCommit: LogIndex;
  /** Own votes that wait for the disk: the Ready's number and the term. */
  #ownVotes: { readonly number: number; readonly term: Term }[] = [];

  constructor(config: RaftConfig, reader: LogReader) {
    assertRaftConfig(config);
    this.#state = new RaftState(config, reader);
    this.#handedOut = config.hardState;
    this.#handedCommit = config.commitIndex;
  }

  get view(): RaftView {
    const state = this.#state;
    const { log } = state;
    const { configuration, index } = state.history.latest;
    assert(index <= log.lastIndex, "the configuration's entry is in the log");
    assert(log.durableIndex <= log.lastIndex, "only entries of the log are durable");
    // Read for every reply: one object, made at once.
    return {
      id: state.id,
      role: state.role,
      term: state.term,
      vote: state.vote,
      leader: state.leader,
      firstIndex: log.firstIndex,
      lastIndex: log.lastIndex,
      durableIndex: log.durableIndex,
      commitIndex: log.committed,
      heldIndex: state.heldIndex,
      transferee: state.transferee,
      hasCommittedOwnTerm: state.hasCommittedOwnTerm,
      configuration,
      configurationIndex: index,
    };
  }

  get role(): Role {
    return this.#state.role;
  }

  get term(): Term {
    return this.#state.term;
  }

  /** Whether leadership is being handed over: nothing can be proposed meanwhile. */
  get isTransferring(): boolean {
    return this.#state.transferee !== undefined;
  }

  get commitIndex(): LogIndex {
    return this.#state.log.committed;
  }

  get lastIndex(): LogIndex {
    return this.#state.log.lastIndex;
  }

  get configuration(): Configuration {
    return this.#state.configuration;
  }

  /**
   * The last heartbeat round that a quorum has confirmed, if the leader may count on its lease from
   * when that round was sent; 0 when it may not.
   */
  get leaseRound(): number {
    const state = this.#state;
    const mayLead = state.role === "leader" && state.hasCommittedOwnTerm && !state.isLeaseVoid;
    return mayLead && state.config.hasLeases ? confirmedRound(state) : 0;
  }

  /** The best next leader as far as a leader can tell: the other voter that holds the most. */
  get successor(): NodeId | undefined {
    return this.#state.role === "leader" ? successorOf(this.#state) : undefined;
  }

  /** Whether joint consensus is committed and its end is to be proposed by this leader. */
  get mayLeaveJoint(): boolean {
    const { role, history, log, hasCommittedOwnTerm, transferee } = this.#state;
    const { configuration, index } = history.latest;
    if (role !== "leader" || !configuration.isJoint || transferee !== undefined) return false;
    return hasCommittedOwnTerm && index <= log.committed;
  }

  /** A leader's view of each member, itself first; empty on other nodes. */
  peers(): readonly PeerView[] {
    return [...this.#state.progress].map(([id, p]) => {
      return { id, match: p.match, next: p.next, state: p.state };
    });
  }

  /** One unit of logical time has passed. */
  tick(): void {
    const state = this.#state;
    if (state.role === "leader") {
      tickLeader(state);
      return;
    }
    assert(state.leader !== state.id, "only a leader follows itself");
    tickFollower(state);
    assert(state.leader !== state.id, "nobody wins by the time alone");
  }

  /** Coming ticks that would only be counted, unless an input arrives before. */
  get idleTicks(): number {
    const state = this.#state;
    if (state.role === "leader") return idleLeaderTicks(state);
    return idleFollowerTicks(state);
  }

  /** As that many ticks, none of which does anything: at most {@link idleTicks}. */
  skipTicks(count: number): void {
    assert(count <= this.idleTicks, "a tick that does something is not skipped");
    if (this.#state.role === "leader") skipLeaderTicks(this.#state, count);
    else {
      this.#state.electionElapsed += count;
      this.#state.quietTicks = Math.max(0, this.#state.quietTicks - count);
    }
  }

  /** From now on these waits are in force; none is below the configured one. */
  setPace(pace: Pace): void {
    this.#state.setPace(pace);
  }

  /**
   * Bytes came from a peer, of a message that is not whole yet. From the leader they are a sign of
   * life as good as a heartbeat, which would have to wait behind them.
   */
  peerSpeaks(peer: NodeId): void {
    const state = this.#state;
    if (state.role !== "follower" || state.leader !== peer || state.isLeaderForgotten) return;
    state.electionElapsed = 0;
    assert(state.leader !== state.id, "a follower follows another node");
  }

  /** A peer lives and takes what it is sent: its answer stands behind that. */
  peerTakes(peer: NodeId): void {
    const progress = this.#state.progress.get(peer);
    if (this.#state.role === "leader" && progress !== undefined) progress.isRecentlyActive = true;
  }

  /** A peer's message arrived. Messages that no honest peer sends are refused, with an event. */
  step(message: RaftMessage): void {
    const state = this.#state;
    assert(message.to === state.id, "the driver delivers messages to their target");
    // The sender need not be a member: a node's own configuration may be older than the sender's
    // (thesis §4.1). The handshake keeps strangers out.
    if (message.from === state.id) {
      state.refuse(message.from, "it has this node's name");
      return;
    }
    if (message.term > state.term + TERM_STEP_MAX) {
      state.refuse(message.from, `term ${message.term} is out of reach`);
      return;
    }
    if (message.term < state.term) {
      this.#answerOldTerm(message);
      return;
    }
    if (message.term > state.term && !this.#adoptTerm(message)) return;
    this.#dispatch(message);
  }

  /**
   * Returns whether the message is to be handled further. A pre-vote changes no state; a campaign
   * against a live leader is refused before its term is looked at.
   */
  #adoptTerm(message: RaftMessage): boolean {
    const state = this.#state;
    assert(message.term > state.term, "only a newer term is adopted");
    if (message.type === "VOTE_REQUEST") {
      if (message.preVote || isSticky(state, message)) return true;
    } else if (message.type === "VOTE_RESPONSE" && message.preVote && message.granted) {
      return true;
    }
    const isFromLeader = message.type === "APPEND_ENTRIES" || message.type === "HEARTBEAT";
    state.becomeFollower(message.term, isFromLeader ? message.from : undefined);
    assert(state.term === message.term, "the newer term was adopted");
    return true;
  }

  /**
   * A leader or candidate of an old term learns the present one; other old messages are dropped.
   */
  #answerOldTerm(message: RaftMessage): void {
    const state = this.#state;
    assert(message.term < state.term, "only an old term is answered with the present one");
    if (message.type === "APPEND_ENTRIES" || message.type === "HEARTBEAT") {
      const body = { rejected: true, index: 0, hint: { term: 0, index: 0 } } as const;
      state.send(message.from, { type: "APPEND_ENTRIES_RESPONSE", ...body });
    } else if (message.type === "VOTE_REQUEST") {
      const body = { granted: false, preVote: message.preVote };
      state.send(message.from, { type: "VOTE_RESPONSE", ...body });
    }
  }

  #dispatch(message: RaftMessage): void {
    const state = this.#state;
    assert(message.term >= state.term, "messages of old terms were answered or dropped");
    switch (message.type) {
      case "VOTE_REQUEST":
        return answerVote(state, message);
      case "VOTE_RESPONSE":
        return handleVoteResponse(state, message);
      case "APPEND_ENTRIES":
        return handleAppendEntries(state, message);
      case "APPEND_ENTRIES_RESPONSE":
        return handleAppendEntriesResponse(state, message);
      case "HEARTBEAT":
        return handleHeartbeat(state, message);
      case "HEARTBEAT_RESPONSE":
        return handleHeartbeatResponse(state, message);
      case "READ_INDEX":
        return this.#handleReadIndex(message);
      case "READ_INDEX_RESPONSE":
        if (message.from !== state.leader) return;
        state.reads.push({ context: message.context, index: message.index });
        return;
      case "TIMEOUT_NOW":
        return handleTimeoutNow(state, message);
      default:
        return unreachable(message);
    }
  }

  #handleReadIndex(message: ReadIndexRequest): void {
    addRead(this.#state, message.from, message.context);
    // The follower can serve the read only when it knows of the commit: a heartbeat announces it.
    if (this.#state.progress.has(message.from)) sendHeartbeat(this.#state, message.from);
  }

  /** Appends a batch if this node leads. */
  propose(source: EntrySource): Proposal {
    return propose(this.#state, source);
  }

  /**
   * Requests a read barrier; the answer is in a later Ready's `reads`. `context` is a number that
   * this node never uses twice. Returns false when no leader is known: no answer will come.
   */
  requestRead(context: number): boolean {
    const state = this.#state;
    if (state.role === "leader") {
      if (state.transferee !== undefined) return false;
      addRead(state, state.id, context);
      return true;
    }
    if (state.leader === undefined) return false;
    assert(state.leader !== state.id, "a node that does not lead follows another");
    state.send(state.leader, { type: "READ_INDEX", context });
    return true;
  }

  /** Hands leadership to a voter. Returns whether the hand-over began. */
  transferLeadership(to: NodeId): boolean {
    return transferLeadership(this.#state, to);
  }

  /** Stops leading without a successor: the other nodes elect one. */
  stepDown(): void {
    const state = this.#state;
    if (state.role === "leader") state.becomeFollower(state.term, undefined);
  }

  /** Campaigns now, with a pre-vote first, as if the election timeout had passed. */
  campaign(): void {
    const state = this.#state;
    if (state.role === "leader" || !state.isPromotable) return;
    campaign(state, { preVote: true, transfer: false });
  }

  /**
   * The leader's process is gone for certain: stay in the term, lift stickiness, and campaign after
   * `waitTicks` unless another message of the leader arrives. Only the present leader counts.
   */
  forgetLeader(leader: NodeId, waitTicks: number): void {
    const state = this.#state;
    if (state.role === "leader" || state.leader !== leader) return;
    state.isLeaderForgotten = true;
    const wait = state.electionElapsed + Math.max(1, waitTicks);
    state.electionWait = Math.min(state.electionWait, wait);
    answerDeferred(state);
  }

  /** Random ticks for a wait of the driver, from the node's own sequence. */
  randomTicks(bound: number): number {
    return this.#state.random(bound);
  }

  /** Position among the voters that could follow the present leader. */
  get rank(): number {
    return Math.max(0, this.#state.rank);
  }

  /** The connection to a peer broke. */
  peerUnreachable(peer: NodeId): void {
    peerUnreachable(this.#state, peer);
  }

  /** Changes the members. Returns why that was refused; empty when it was appended. */
  proposeConfiguration(source: EntrySource, to: Configuration): string {
    return proposeConfiguration(this.#state, source, to);
  }

  /**
   * A leader's snapshot arrived and is durable. Returns whether it takes the place of the log; one
   * of an old term does not.
   */
  installSnapshot(snapshot: ArrivedSnapshot): boolean {
    const state = this.#state;
    if (snapshot.term < state.term || snapshot.term > state.term + TERM_STEP_MAX) return false;
    if (snapshot.term > state.term) state.becomeFollower(snapshot.term, snapshot.leader);
    return installSnapshot(state, snapshot);
  }

  /** A snapshot's way to a peer has ended, one way or the other. */
  snapshotEnded(peer: NodeId, isDelivered: boolean): void {
    snapshotEnded(this.#state, peer, isDelivered);
  }

  /** While held back a node does not campaign; it votes and follows. */
  holdBack(isHeldBack: boolean): void {
    this.#state.isHeldBack = isHeldBack;
  }

  /** Entries that a Ready's `catchUps` requested. */
  supplyEntries(peer: NodeId, entries: readonly Entry[]): void {
    supplyEntries(this.#state, peer, entries);
  }

  /** Everything decided since the last take; undefined when there is nothing to do. */
  takeReady(): Ready | undefined {
    const state = this.#state;
    payAppends(state);
    const hardState = this.#changedHardState();
    const commitIndex = state.log.committed;
    const isIdle =
      state.messages.length === 0 &&
      state.messagesAfterPersist.length === 0 &&
      state.reads.length === 0 &&
      state.catchUps.length === 0 &&
      state.snapshotPeers.length === 0 &&
      state.events.length === 0 &&
      !state.log.hasTail &&
      hardState === undefined &&
      commitIndex === this.#handedCommit;
    if (isIdle) return undefined;
    this.#readyNumber += 1;
    const number = this.#readyNumber;
    const { restored, truncateFrom, entries } = state.log.takeTail();
    const first = entries[0]?.index;
    assert(truncateFrom === undefined || first === truncateFrom, "new entries replace the tail");
    assert(
      truncateFrom === undefined || truncateFrom > this.#handedCommit,
      "no committed entry is superseded",
    );
    assert(
      restored === undefined || first === undefined || first === restored.index + 1,
      "the entries follow the snapshot",
    );
    assert(commitIndex >= this.#handedCommit, "the commit index never goes back");
    assert(this.#persistedNumber < number, "no Ready is on disk before it is taken");
    state.log.persisting(number);
    if (hardState?.vote === state.id) this.#ownVotes.push({ number, term: hardState.term });
    if (hardState !== undefined) this.#handedOut = hardState;
    this.#handedCommit = commitIndex;
    const { messages, messagesAfterPersist, reads, catchUps, snapshotPeers, events } = state;
    state.messages = [];
    state.messagesAfterPersist = [];
    state.reads = [];
    state.catchUps = [];
    state.snapshotPeers = [];
    state.events = [];
    const mustSync = hardState !== undefined || entries.length > 0 || restored !== undefined;
    // Made for every message: one object, made at once.
    return {
      number,
      messages,
      restored,
      hardState,
      truncateFrom,
      entries,
      mustSync,
      messagesAfterPersist,
      commitIndex,
      reads,
      catchUps,
      snapshotPeers,
      events,
    };
  }

  #changedHardState(): HardState | undefined {
    const { term, vote } = this.#state;
    assert(term >= this.#handedOut.term, "terms never go back");
    if (term === this.#handedOut.term && vote === this.#handedOut.vote) return undefined;
    return { term, vote };
  }

  /** That Ready, and all before it, are on disk. Numbers come in order. */
  persisted(number: number): void {
    assert(number > this.#persistedNumber, "completions come in order");
    assert(number <= this.#readyNumber, "only a Ready that was taken is on disk");
    this.#persistedNumber = number;
    const { log } = this.#state;
    log.persisted(number);
    assert(log.durableIndex <= log.lastIndex, "only entries of the log are durable");
    ownEntriesPersisted(this.#state);
    while (this.#ownVotes.length > 0 && this.#ownVotes[0]!.number <= number) {
      const { term } = this.#ownVotes[0]!;
      this.#ownVotes.shift();
      ownVotePersisted(this.#state, term);
    }
    const oldest = this.#ownVotes[0];
    assert(oldest === undefined || oldest.number > number, "a later vote waits for its own Ready");
  }
}
