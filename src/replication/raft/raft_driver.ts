/**
 * One Raft, one log, one network, one state machine: takes inputs, lets the core decide, carries
 * out what it decided. One turn at a time; a turn ends before the next input is looked at.
 *
 * @module
 */

import { CStoreError, type NotLeaderError } from "../../base/errors.ts";
import { BETWEEN_LEADERS_BYTES_MAX, REQUEST_BYTES_IN_FLIGHT_MAX } from "../../base/limits.ts";
import { type PreparedBatch, prepareBatch } from "../../protocol/encoding/batch_codec.ts";
import { membershipBatch } from "../../protocol/encoding/cluster_command.ts";
import type { Configuration } from "../../raft/configuration.ts";
import type { ArrivedSnapshot } from "../../raft/follower.ts";
import type { RaftMessage } from "../../raft/message.ts";
import { isQuorum } from "../../raft/quorum.ts";
import { type PeerView, Raft, type RaftView } from "../../raft/raft.ts";
import type { RaftEvent, Ready } from "../../raft/ready.ts";
import { NO_RESULTS } from "../../raft/state_machine.ts";
import type { LogIndex, NodeId } from "../../raft/types.ts";
import type { ReplicatedLog } from "../../storage/wal/iwal_manager.ts";
import { Applier } from "./applier.ts";
import { DiskWatch, giveWay } from "./disk_watch.ts";
import {
  type DriverHooks,
  type DriverOptions,
  type DriverParts,
  type HoldReason,
  logIsFull,
  NO_HOOKS,
  notLeader,
  tooManyBytes,
} from "./driver_parts.ts";
import { EntrySupply } from "./entry_supply.ts";
import { Lease } from "./lease.ts";
import { type OpenBatch, type ProposedRequest, sourceOf } from "./open_batch.ts";
import { ProposalTable } from "./proposal_table.ts";
import { lostLeaderTicks, pacedTicks, raftConfig, TICK_MS } from "./raft_config.ts";
import { ReadBarriers, type WaitingBarrier } from "./read_barriers.ts";
import { ReadyRunner } from "./ready_runner.ts";
import { RequestQueue } from "./request_queue.ts";
import { Ticker } from "./ticker.ts";

/** Ticks between checks of waiting reads and requests. */
const SWEEP_TICKS = 5;

/** Drives one Raft. */
export class RaftDriver {
  readonly #parts: DriverParts;
  readonly #options: DriverOptions;
  /** Set by {@link start}: nothing happens before. */
  #hooks: DriverHooks = NO_HOOKS;
  readonly #raft: Raft;
  readonly #runner: ReadyRunner;
  readonly #applier: Applier;
  readonly #proposals = new ProposalTable(NO_RESULTS);
  readonly #reads: ReadBarriers;
  readonly #waiting = new RequestQueue();
  /** Until then requests wait for the next leader. */
  #betweenUntilMs = 0;
  #lastStampMs = 0;
  #isTurnQueued = false;
  #isInTurn = false;
  #isStopped = false;
  readonly #ticker: Ticker;
  readonly #lease: Lease;
  readonly #supply: EntrySupply;
  /** When the turn began: not after anything that it sends. */
  #turnMs = 0;
  readonly #holds = new Set<HoldReason>();
  readonly #disk: DiskWatch;
  #nextSweepMs = 0;
  #toldMembers: Configuration;
  readonly #heardMs = new Map<NodeId, number>();

  constructor(parts: DriverParts, options: DriverOptions) {
    this.#parts = parts;
    this.#options = options;
    const { log, machine, clock, random } = parts;
    this.#raft = new Raft(raftConfig(parts, options), log);
    this.#toldMembers = this.#raft.configuration;
    this.#runner = new ReadyRunner(log, {
      send: (message) => this.#send(message),
      persisted: (number) => this.#raft.persisted(number),
    });
    this.#applier = new Applier({ log, machine }, clock, {
      resultsFor: (entry) => this.#proposals.resultsFor(entry),
      applied: (index) => this.#onApplied(index),
    });
    this.#reads = new ReadBarriers(random.below(2 ** 32) * 2 ** 20);
    this.#lease = new Lease(options.electionTimeoutMs);
    this.#supply = new EntrySupply(parts);
    this.#disk = new DiskWatch(options.diskStallMs, options.electionTimeoutMs);
    const stallTicks = Math.max(1, Math.round(options.heartbeatMs / TICK_MS));
    this.#ticker = new Ticker(
      clock,
      { tickMs: TICK_MS, stallTicks },
      {
        idleTicks: () => this.#idleTicks(),
        skip: (count) => this.#raft.skipTicks(count),
        tick: () => this.#raft.tick(),
        fired: (nowMs, lateMs) => this.#fired(nowMs, lateMs),
      },
    );
  }

  /** The last entry that {@link proposeBatch} appended. */
  lastOwnProposal: LogIndex = 0;

  get view(): RaftView {
    return this.#raft.view;
  }

  /** For readers of applied entries. */
  get log(): ReplicatedLog {
    return this.#parts.log;
  }

  get appliedIndex(): LogIndex {
    return this.#parts.machine.appliedIndex;
  }

  /** Term of a kept entry. */
  termOf(index: LogIndex): number | undefined {
    return this.#parts.log.term(index);
  }

  get isLeader(): boolean {
    return this.#raft.role === "leader";
  }

  /** The leader is gone for certain, the next one, perhaps this node, is due: requests may wait. */
  get isBetweenLeaders(): boolean {
    return !this.isLeader && this.#parts.clock.nowMs() < this.#betweenUntilMs;
  }

  peers(): readonly PeerView[] {
    return this.#raft.peers();
  }

  /** Applies the entries known to be committed, then lets time begin; calls `hooks` from now on. */
  start(hooks: DriverHooks): void {
    const { log } = this.#parts;
    this.#hooks = hooks;
    log.listen({
      synced: (through) => this.#onSynced(through),
      failed: (cause) => this.#fail(cause),
    });
    this.#applier.advance(this.#raft.commitIndex);
    this.#ticker.start();
  }

  /** A peer said something. */
  step(message: RaftMessage): void {
    if (this.#isStopped) return;
    const nowMs = this.#parts.clock.nowMs();
    this.#heardMs.set(message.from, nowMs);
    this.#ticker.catchUp(nowMs);
    this.#raft.step(message);
    this.#queueTurn();
  }

  /**
   * Takes a request in. Before anything is logged it may be refused: `NotLeaderError`,
   * `OverloadedError` through the returned value; later errors go to the target.
   */
  propose(request: ProposedRequest): CStoreError | undefined {
    const size = request.end - request.start;
    const hasRoom = this.#waiting.bytes + size <= BETWEEN_LEADERS_BYTES_MAX;
    const isTaken = this.isLeader || (this.isBetweenLeaders && hasRoom);
    if (this.#isStopped || !isTaken) return this.notLeader();
    if (this.#proposals.rejoin(request)) return undefined;
    if (this.#waiting.bytes + this.#proposals.bytes + size > REQUEST_BYTES_IN_FLIGHT_MAX) {
      return tooManyBytes();
    }
    this.#waiting.add(request, this.#proposals.batchBytes);
    this.#queueTurn();
    return undefined;
  }

  /** Appends a batch of consensus' own, without a waiter. Returns whether this node led. */
  proposeBatch(batch: PreparedBatch): boolean {
    const { accepted } = this.#raft.propose(sourceOf(batch));
    if (accepted) this.lastOwnProposal = this.#raft.view.lastIndex;
    this.#queueTurn();
    return accepted;
  }

  /** Runs `waiting` when a linearizable read may be served from the state machine. */
  readBarrier(waiting: WaitingBarrier): void {
    if (this.#lease.holds(this.#raft.leaseRound, this.#parts.clock.nowMs())) {
      this.#applier.whenApplied(this.#raft.commitIndex, () => waiting.run());
      return;
    }
    this.#reads.add(waiting);
    this.#queueTurn();
  }

  /** Runs `callback` when `index` is applied. */
  whenApplied(index: LogIndex, callback: () => void): void {
    this.#applier.whenApplied(index, callback);
  }

  /** Whether a quorum answered within the last election timeout, by the clock now. */
  hasFreshQuorum(): boolean {
    const { electionTimeoutMs, id } = this.#options;
    const sinceMs = this.#parts.clock.nowMs() - electionTimeoutMs;
    const isFresh = (voter: NodeId): boolean =>
      voter === id || (this.#heardMs.get(voter) ?? Number.NEGATIVE_INFINITY) >= sinceMs;
    return isQuorum(this.#raft.configuration, isFresh);
  }

  /** Changes the members. Returns why that is refused; empty when it was appended. */
  proposeMembers(configuration: Configuration): string {
    const batch = membershipBatch(configuration.members, this.#stamp());
    const problem = this.#raft.proposeConfiguration(sourceOf(batch), configuration);
    this.#queueTurn();
    return problem;
  }

  /** A leader's snapshot is whole and durable here. Returns whether it replaces the log. */
  installSnapshot(snapshot: ArrivedSnapshot): boolean {
    if (this.#isStopped) return false;
    const isRestored = this.#raft.installSnapshot(snapshot);
    this.#queueTurn();
    return isRestored;
  }

  /** The state machine holds the snapshot that took the place of the log: applying goes on. */
  stateRestored(): void {
    this.release("restoring");
    this.#applier.resume();
  }

  /** Keeps this node from campaigning for as long as the reason lasts. */
  hold(reason: HoldReason): void {
    this.#holds.add(reason);
    this.#raft.holdBack(true);
  }

  /** The reason is over; another one may last. */
  release(reason: HoldReason): void {
    this.#holds.delete(reason);
    this.#raft.holdBack(this.#holds.size > 0);
    this.#queueTurn();
  }

  /** The sending of a snapshot has ended. */
  snapshotEnded(peer: NodeId, isDelivered: boolean): void {
    this.#raft.snapshotEnded(peer, isDelivered);
    this.#queueTurn();
  }

  /** The best next leader: the other voter that has the most; only a leader knows. */
  get successor(): NodeId | undefined {
    return this.#raft.successor;
  }

  transferLeadership(to: NodeId): boolean {
    const began = this.#raft.transferLeadership(to);
    this.#queueTurn();
    return began;
  }

  campaign(): void {
    this.#raft.campaign();
    this.#queueTurn();
  }

  /** The process of a peer is gone for certain. */
  peerGone(peer: NodeId): void {
    // A lease counts on voters that wait for their timers.
    if (this.#options.hasLeases) return;
    const nowMs = this.#parts.clock.nowMs();
    this.#ticker.catchUp(nowMs);
    const isLeaders = this.#raft.view.leader === peer && !this.isLeader;
    if (isLeaders && this.#raft.configuration.mayVote(this.#options.id)) {
      this.#betweenUntilMs = nowMs + this.#parts.pace.waits.electionMs;
    }
    this.#raft.forgetLeader(peer, lostLeaderTicks(this.#raft, this.#parts.pace.waits.rankMs));
    this.#queueTurn();
  }

  /** Bytes of a message that is not whole yet came from a peer. */
  peerSpeaks(peer: NodeId): void {
    this.#ticker.catchUp(this.#parts.clock.nowMs());
    this.#raft.peerSpeaks(peer);
  }

  /** A peer lives, and takes what it is sent. */
  peerTakes(peer: NodeId): void {
    this.#heardMs.set(peer, this.#parts.clock.nowMs());
    this.#raft.peerTakes(peer);
  }

  /** The connection to a peer broke. */
  peerUnreachable(peer: NodeId): void {
    this.#raft.peerUnreachable(peer);
    this.#queueTurn();
  }

  /** `address` is the leader's, for callers that know it. */
  notLeader(address = ""): NotLeaderError {
    return notLeader(this.#options.id, { id: this.#raft.view.leader ?? "", address });
  }

  /** Ends everything: queued requests get that error, proposed ones an unknown outcome. */
  stop(makeError: () => CStoreError): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#ticker.stop();
    this.#applier.stop();
    this.#waiting.fail(makeError);
    this.#proposals.failAll();
  }

  #queueTurn(): void {
    if (this.#isTurnQueued || this.#isInTurn || this.#isStopped) return;
    this.#isTurnQueued = true;
    queueMicrotask(() => {
      this.#isTurnQueued = false;
      if (!this.#isStopped) this.#turn();
    });
  }

  #turn(): void {
    this.#isInTurn = true;
    const nowMs = this.#parts.clock.nowMs();
    this.#ticker.catchUp(nowMs);
    this.#turnMs = nowMs;
    try {
      this.#reads.ask(nowMs, (context) => this.#raft.requestRead(context));
      this.#proposeBatches();
      for (
        let ready = this.#raft.takeReady();
        ready !== undefined;
        ready = this.#raft.takeReady()
      ) {
        this.#run(ready);
        this.#proposeBatches();
      }
    } catch (cause) {
      // A decision is carried out only in part: going on would break promises.
      this.#fail(cause);
      if (!(cause instanceof CStoreError)) throw cause;
    } finally {
      this.#isInTurn = false;
    }
    this.#ticker.retime();
  }

  #send(message: RaftMessage): void {
    if (message.type === "HEARTBEAT") this.#lease.sent(message.readRound, this.#turnMs);
    this.#parts.send(message);
  }

  #run(ready: Ready): void {
    if (ready.restored !== undefined) {
      this.#hooks.beforeTruncate(this.#applier.commitIndex + 1);
      this.hold("restoring");
      this.#applier.pause();
    }
    if (ready.truncateFrom !== undefined) this.#hooks.beforeTruncate(ready.truncateFrom);
    if (ready.entries.length > 0) this.#hooks.logging(ready.entries);
    this.#runner.run(ready);
    if (ready.restored !== undefined) this.#hooks.restored(ready.restored);
    if (this.#raft.configuration !== this.#toldMembers) {
      this.#toldMembers = this.#raft.configuration;
      this.#hooks.membersChanged(this.#toldMembers);
    }
    for (const event of ready.events) this.#onEvent(event);
    for (const peer of ready.snapshotPeers) this.#hooks.snapshotNeeded(peer);
    this.#applier.advance(ready.commitIndex);
    for (const read of ready.reads) {
      const covered = this.#reads.finish(read);
      this.#applier.whenApplied(read.index, () => {
        for (const waiting of covered) waiting.run();
      });
    }
    for (const { peer, from, bytesMax } of ready.catchUps) {
      const isVoter = this.#raft.configuration.mayVote(peer);
      this.#supply.give({ from, bytesMax, isVoter }, (entries) => {
        if (this.#isStopped) return;
        this.#raft.supplyEntries(peer, entries);
        this.#queueTurn();
      });
    }
  }

  #proposeBatches(): void {
    // Consensus asks for the end of joint consensus once that is committed.
    if (this.#raft.mayLeaveJoint) this.proposeMembers(this.#raft.configuration.leaveJoint());
    this.#proposals.committed(this.#raft.commitIndex, this.#turnMs, this.#parts.pace.rttMs);
    while (this.#mayPropose()) {
      const batch = this.#waiting.take();
      if (batch === undefined) return;
      this.#proposeOne(batch);
    }
  }

  #mayPropose(): boolean {
    // During a hand-over requests wait here: they go to the new leader, or on if it fails.
    if (this.#raft.role !== "leader" || this.#raft.isTransferring) return false;
    if (this.#waiting.isEmpty) return false;
    if (this.#options.syncMode === "ASYNC") return true;
    return this.#proposals.hasRoom;
  }

  #proposeOne(batch: OpenBatch): void {
    const { codec } = this.#options;
    const { compressor } = this.#parts;
    const fields = { count: batch.count, timeMs: this.#stamp() };
    const prepared = prepareBatch(batch.bytes(), fields, { codec, compressor });
    const proposal = this.#raft.propose(sourceOf(prepared));
    if (proposal.accepted) {
      this.#proposals.add(proposal.entry, batch, this.#turnMs);
    } else {
      const isFull = proposal.refusal === "too many uncommitted bytes";
      batch.fail(() => (isFull ? logIsFull() : this.notLeader()));
    }
  }

  /** Wall time that never goes back. */
  #stamp(): number {
    this.#lastStampMs = Math.max(this.#lastStampMs, Math.floor(this.#parts.clock.wallMs()));
    return this.#lastStampMs;
  }

  #onSynced(through: number): void {
    if (this.#isStopped) return;
    this.#runner.synced(through);
    if (this.#options.syncMode === "ASYNC" && this.#raft.role === "leader") {
      this.#proposals.answerEarly(this.#raft.view.durableIndex);
    }
    this.#queueTurn();
  }

  #onApplied(index: LogIndex): void {
    this.#hooks.applied(index);
    if (!this.#isInTurn) this.#queueTurn();
  }

  #onEvent(event: RaftEvent): void {
    if (event.type === "ROLE_CHANGED") this.#lease.forget();
    if (event.type === "ROLE_CHANGED" && event.role !== "leader") {
      if (event.leader !== undefined) this.#betweenUntilMs = 0;
      this.#sendAway();
      this.#proposals.failAll();
    }
    this.#hooks.event(event);
  }

  /** Nothing that waits in front of the log was proposed: it may safely go elsewhere. */
  #sendAway(): void {
    if (!this.isBetweenLeaders) this.#waiting.fail(() => this.notLeader());
  }

  /** While something waits it is looked at now and then; else only when consensus has to act. */
  #idleTicks(): number {
    const { log } = this.#parts;
    const isIdle =
      this.#waiting.isEmpty &&
      this.#proposals.size === 0 &&
      this.#reads.size === 0 &&
      log.syncSinceMs === undefined &&
      !this.#disk.isStalled;
    return isIdle ? this.#raft.idleTicks : Math.min(this.#raft.idleTicks, SWEEP_TICKS - 1);
  }

  #fired(nowMs: number, lateMs: number): void {
    this.#parts.pace.see(nowMs, lateMs);
    this.#raft.setPace(pacedTicks(this.#parts.pace.waits));
    if (nowMs >= this.#nextSweepMs) this.#sweep(nowMs);
    this.#watchDisk(nowMs);
    this.#queueTurn();
  }

  #watchDisk(nowMs: number): void {
    const { changedTo, leaderMust } = this.#disk.judge(nowMs, this.#parts.log.syncSinceMs);
    if (changedTo !== undefined) {
      if (changedTo) this.hold("disk");
      else this.release("disk");
      this.#hooks.diskStalled(changedTo);
    }
    if (this.#raft.role === "leader") giveWay(this.#raft, leaderMust);
  }

  #sweep(nowMs: number): void {
    this.#nextSweepMs = nowMs + SWEEP_TICKS * TICK_MS;
    this.#proposals.expire(nowMs);
    this.#waiting.expire(nowMs);
    if (!this.isLeader) this.#sendAway();
    this.#reads.retry(nowMs - this.#parts.pace.waits.electionMs);
  }

  #fail(cause: unknown): void {
    if (this.#isStopped) return;
    this.stop(() => this.notLeader());
    this.#hooks.failed(cause);
  }
}
