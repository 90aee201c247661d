/**
 * RaftConsensusManager: the driver of a node's Raft behind the public names. It runs over any log
 * and any network of the public interfaces, with the very code that the nodes run.
 *
 * @module
 */

import { ByteWriter } from "../../base/bytes.ts";
import {
  ClosedError,
  type CStoreError,
  DeadlineError,
  ValidationError,
} from "../../base/errors.ts";
import { checkConfig, type KnownNames } from "../../base/known_options.ts";
import { RateLimit } from "../../base/rate_limit.ts";
import { type Clock, sleep, systemClock } from "../../platform/clock.ts";
import { zlibCompressor } from "../../platform/compression.ts";
import { type Random, systemRandom } from "../../platform/random.ts";
import { FIRST_PLACE, firstBatch, firstMembers } from "../../protocol/encoding/cluster_command.ts";
import { asConsensus, consensusIn } from "../../protocol/wire/replication_message.ts";
import { Configuration } from "../../raft/configuration.ts";
import type { RaftMessage } from "../../raft/message.ts";
import type { PeerView } from "../../raft/raft.ts";
import type { RaftEvent } from "../../raft/ready.ts";
import type { StateMachine } from "../../raft/state_machine.ts";
import type { Entry, NodeId, Term } from "../../raft/types.ts";
import type { ReplicatedLog, WALEntry } from "../../storage/wal/iwal_manager.ts";
import { MemoryWALManager } from "../../storage/wal/memory_wal_manager.ts";
import { writeEntryCommand } from "../../storage/wal/wal_entry_codec.ts";
import type { INetworkManager } from "../../transport/inetwork_manager.ts";
import { NO_HOOKS } from "../raft/driver_parts.ts";
import { loggedConfigurations } from "../raft/logged_configurations.ts";
import type { ReplyTarget } from "../raft/open_batch.ts";
import { Pace } from "../raft/pace.ts";
import { RaftDriver } from "../raft/raft_driver.ts";
import type {
  AppendAnswer,
  AppendQuestion,
  ConsensusManager,
  ConsensusRole,
  VoteAnswer,
  VoteQuestion,
} from "./consensus_manager.ts";
import { EntryLogMachine } from "./entry_log_machine.ts";
import { listenTo } from "./network_listener.ts";
import { type Answer, OpenQuestions } from "./open_questions.ts";

/** Options of a {@link RaftConsensusManager}. */
export interface ConsensusOptions {
  /** Every voter, this node too; the same list on each. Alone unless set. */
  readonly members?: readonly NodeId[];
  /** In memory unless set. Consensus owns it from now on. */
  readonly log?: ReplicatedLog;
  readonly stateMachine?: StateMachine;
  readonly heartbeatMs?: number;
  readonly electionTimeoutMs?: number;
  readonly requestTimeoutMs?: number;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** Events, with the listener's argument. */
export interface ConsensusEvents {
  leaderElected: NodeId;
  stateChanged: ConsensusRole;
}

const CONSENSUS_OPTIONS: KnownNames = new Set<keyof ConsensusOptions>([
  ...(["members", "log", "stateMachine", "heartbeatMs", "electionTimeoutMs"] as const),
  ...(["requestTimeoutMs", "clock", "random"] as const),
]);
const DISK_STALL_MS = 1000;
const CATCH_UP_BYTES_PER_SECOND = 32 * 1024 * 1024;

/** One node's consensus. */
export class RaftConsensusManager implements ConsensusManager {
  readonly nodeId: NodeId;
  readonly #network: INetworkManager;
  readonly #clock: Clock;
  readonly #members: readonly NodeId[];
  readonly #driver: RaftDriver;
  readonly #machine: StateMachine;
  readonly #log: ReplicatedLog;
  readonly #timeoutMs: number;
  readonly #leaderListeners = new Set<(leaderId: NodeId) => void>();
  readonly #stateListeners = new Set<(state: ConsensusRole) => void>();
  /** Questions that came through the public methods. */
  readonly #asked: OpenQuestions;
  readonly #stopListening: () => void;
  #isStopped = false;

  constructor(nodeId: NodeId, network: INetworkManager, options: ConsensusOptions = {}) {
    checkConfig("consensus", options, CONSENSUS_OPTIONS);
    this.nodeId = nodeId;
    this.#network = network;
    this.#clock = options.clock ?? systemClock;
    this.#members = [...(options.members ?? [nodeId])].sort();
    this.#timeoutMs = options.requestTimeoutMs ?? 5000;
    this.#asked = new OpenQuestions(this.#clock, this.#timeoutMs);
    const log = options.log ?? new MemoryWALManager({ clock: this.#clock });
    this.#log = log;
    if (log.lastIndex() === 0) this.#writeFirstEntry(log);
    this.#machine = options.stateMachine ?? new EntryLogMachine(zlibCompressor, log.base.index);
    const members = firstMembers(this.#members.map((id) => ({ id, address: "" })));
    const times = {
      heartbeatMs: options.heartbeatMs ?? 40,
      electionTimeoutMs: options.electionTimeoutMs ?? 200,
    };
    this.#driver = new RaftDriver(
      {
        ...{ clock: this.#clock, log, machine: this.#machine, compressor: zlibCompressor },
        random: options.random ?? systemRandom(),
        catchUpRate: new RateLimit(CATCH_UP_BYTES_PER_SECOND),
        send: (message) => this.#send(message),
        pace: new Pace({ ...times, isFixed: false }),
      },
      {
        id: nodeId,
        configurations: loggedConfigurations(
          { index: log.base.index, configuration: new Configuration(members) },
          log.clusterEntries,
        ),
        ...times,
        ...{ syncMode: "SYNC", codec: "none", hasLeases: false, diskStallMs: DISK_STALL_MS },
      },
    );
    this.#stopListening = listenTo(network, (message) => {
      const data = this.#isStopped ? undefined : consensusIn(message);
      if (data?.to === nodeId) this.#driver.step(data);
    });
    this.#driver.start({
      ...NO_HOOKS,
      event: (event) => this.#onEvent(event),
      snapshotNeeded: (peer) => this.#driver.snapshotEnded(peer, false),
      failed: () => void this.stop(),
    });
    if (this.#members.length === 1) this.#driver.campaign();
  }

  get currentTerm(): Term {
    return this.#driver.view.term;
  }

  get state(): ConsensusRole {
    return roleName(this.#driver.view.role);
  }

  get leaderId(): NodeId {
    return this.#driver.view.leader ?? "";
  }

  /** The state machine that committed entries go to. */
  get machine(): StateMachine {
    return this.#machine;
  }

  get log(): ReplicatedLog {
    return this.#log;
  }

  /** Index up to which the log is committed. */
  get commitIndex(): number {
    return this.#driver.view.commitIndex;
  }

  /** A leader's view of each voter; empty on other nodes. */
  peers(): readonly PeerView[] {
    return this.#driver.peers();
  }

  isLeader(): boolean {
    return this.#driver.isLeader;
  }

  requestVote(request: VoteQuestion): Promise<VoteAnswer>;
  requestVote(
    ...request: readonly [
      term: Term,
      candidateId: NodeId,
      lastLogIndex?: number,
      lastLogTerm?: Term,
    ]
  ): Promise<boolean>;
  async requestVote(
    first: VoteQuestion | Term,
    candidateId: NodeId = "",
    ...last: readonly [lastLogIndex?: number, lastLogTerm?: Term]
  ): Promise<VoteAnswer | boolean> {
    if (typeof first === "object") return this.#vote(first);
    const [lastLogIndex = 0, lastLogTerm = 0] = last;
    const request = { term: first, candidateId, lastLogIndex, lastLogTerm };
    return (await this.#vote(request)).voteGranted;
  }

  async #vote(request: VoteQuestion): Promise<VoteAnswer> {
    const { candidateId, term, lastLogIndex: index, lastLogTerm } = request;
    checkWhole([term, index, lastLogTerm]);
    const refused = { term: this.currentTerm, voteGranted: false };
    if (!this.#isPeer(candidateId)) return refused;
    const last = { term: lastLogTerm, index };
    const answer = await this.#ask("VOTE_RESPONSE", {
      type: "VOTE_REQUEST",
      from: candidateId,
      to: this.nodeId,
      term,
      last,
      preVote: false,
      transfer: false,
    });
    if (answer?.type !== "VOTE_RESPONSE") return refused;
    return { term: answer.term, voteGranted: answer.granted };
  }

  appendEntries(request: AppendQuestion): Promise<AppendAnswer>;
  appendEntries(
    ...request: readonly [
      term: Term,
      leaderId: NodeId,
      prevLogIndex: number,
      prevLogTerm: Term,
      entries: readonly (Entry | WALEntry)[],
      leaderCommit: number,
    ]
  ): Promise<AppendAnswer>;
  async appendEntries(
    first: AppendQuestion | Term,
    leaderId: NodeId = "",
    ...rest: readonly [
      prevLogIndex?: number,
      prevLogTerm?: Term,
      entries?: readonly (Entry | WALEntry)[],
      leaderCommit?: number,
    ]
  ): Promise<AppendAnswer> {
    if (typeof first === "object" && first !== null && "term" in first) return this.#append(first);
    if (typeof first !== "number") {
      throw new ValidationError("Cannot append: a request begins with the leader's term");
    }
    const [prevLogIndex = 0, prevLogTerm = 0, given = [], leaderCommit = 0] = rest;
    const entries = given.filter((entry): entry is Entry => {
      return typeof entry === "object" && entry !== null && "bytes" in entry;
    });
    if (entries.length < given.length) {
      throw new ValidationError("Cannot append: the entries of a log are batches", {
        remedy: "Hand entries of your own in with replicateEntry",
      });
    }
    return this.#append({
      ...{ term: first, leaderId, prevLogIndex, prevLogTerm },
      ...{ entries, leaderCommit },
    });
  }

  async #append(request: AppendQuestion): Promise<AppendAnswer> {
    const { leaderId, term, prevLogIndex: index, prevLogTerm, entries, leaderCommit } = request;
    checkWhole([term, index, prevLogTerm, leaderCommit]);
    const refused = { term: this.currentTerm, success: false, matchIndex: 0 };
    if (!this.#isPeer(leaderId)) return refused;
    const answer = await this.#ask("APPEND_ENTRIES_RESPONSE", {
      type: "APPEND_ENTRIES",
      from: leaderId,
      to: this.nodeId,
      term,
      previous: { term: prevLogTerm, index },
      entries,
      commitIndex: leaderCommit,
    });
    if (answer?.type !== "APPEND_ENTRIES_RESPONSE") return refused;
    const success = !answer.rejected;
    return { term: answer.term, success, matchIndex: success ? answer.index : 0 };
  }

  async electLeader(): Promise<NodeId> {
    const endMs = this.#clock.nowMs() + this.#timeoutMs;
    this.#driver.campaign();
    while (this.#clock.nowMs() < endMs && !this.#isStopped) {
      if (this.leaderId !== "") return this.leaderId;
      await sleep(this.#clock, 5);
    }
    throw new DeadlineError(`Cannot elect a leader within ${this.#timeoutMs} ms`);
  }

  replicateEntry(entry: WALEntry): Promise<boolean> {
    if (this.#isStopped)
      return Promise.reject(new ClosedError("Cannot replicate: consensus stopped"));
    const writer = new ByteWriter(256);
    writeEntryCommand(writer, entry);
    const bytes = writer.written();
    return new Promise((resolve, reject) => {
      const target: ReplyTarget = {
        written: (_id, version) => {
          entry.sequenceNumber = version;
          entry.term = this.currentTerm;
          resolve(true);
        },
        result: () => resolve(true),
        failed: (_id, error) => reject(error),
      };
      const deadlineMs = this.#clock.nowMs() + this.#timeoutMs;
      const place = { bytes, start: 0, end: bytes.byteLength, count: 1 };
      const error = this.#driver.propose({
        ...place,
        target,
        requestId: 0,
        deadlineMs,
        early: false,
      });
      if (error !== undefined) reject(error);
    });
  }

  async transferLeadership(to: NodeId): Promise<void> {
    if (!this.isLeader()) throw this.#driver.notLeader();
    this.#driver.transferLeadership(to);
    const endMs = this.#clock.nowMs() + this.#timeoutMs;
    while (this.leaderId !== to && this.#clock.nowMs() < endMs) await sleep(this.#clock, 2);
    if (this.leaderId !== to) throw new DeadlineError(`Cannot hand leadership to "${to}" in time`);
  }

  /** The same as {@link onLeaderElected} and {@link onStateChanged}, by the event's name. */
  on<K extends keyof ConsensusEvents>(
    event: K,
    listener: (value: ConsensusEvents[K]) => void,
  ): () => void {
    if (event === "leaderElected") {
      return this.onLeaderElected(listener as (leaderId: NodeId) => void);
    }
    return this.onStateChanged(listener as (state: ConsensusRole) => void);
  }

  onLeaderElected(listener: (leaderId: NodeId) => void): () => void {
    this.#leaderListeners.add(listener);
    return () => this.#leaderListeners.delete(listener);
  }

  onStateChanged(listener: (state: ConsensusRole) => void): () => void {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  }

  /** Stops taking part. The log stays open: it belongs to the caller that gave it. */
  async stop(): Promise<void> {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#stopListening();
    const closed = (): CStoreError => new ClosedError("Cannot answer: consensus was stopped");
    this.#driver.stop(closed);
    this.#asked.close();
  }

  #isPeer(id: NodeId): boolean {
    return id !== this.nodeId && this.#members.includes(id);
  }

  /** The same first entry on every node, as a cluster of the executable makes it. */
  #writeFirstEntry(log: ReplicatedLog): void {
    const bytes = firstBatch(this.#members.map((id) => ({ id, address: "" })));
    const hardState = { term: FIRST_PLACE.term, vote: undefined };
    log.write({ hardState, entries: [{ ...FIRST_PLACE, count: 1, bytes }], commitIndex: 1 });
    log.requestSync();
  }

  #send(message: RaftMessage): void {
    if (this.#asked.answer(message)) return;
    const timestamp = this.#clock.wallMs();
    const envelope = { sourceNodeId: this.nodeId, timestamp, messageId: "", checksum: "" };
    const data = asConsensus(message);
    // It rejects when the own port could not be opened, of which the network told its listeners.
    this.#network
      .sendMessage(message.to, { ...envelope, type: message.type, data })
      .catch(() => undefined);
  }

  /** Hands a message in and waits for the answer to its sender; undefined when none comes. */
  #ask(type: Answer["type"], message: RaftMessage): Promise<Answer | undefined> {
    const answer = this.#asked.ask(type, message.from);
    this.#driver.step(message);
    return answer;
  }

  #onEvent(event: RaftEvent): void {
    if (event.type !== "ROLE_CHANGED") return;
    for (const listener of this.#stateListeners) listener(roleName(event.role));
    if (event.leader === undefined) return;
    for (const listener of this.#leaderListeners) listener(event.leader);
  }
}

/** Throws ValidationError. */
function checkWhole(numbers: readonly number[]): void {
  if (numbers.every((number) => Number.isSafeInteger(number) && number >= 0)) return;
  throw new ValidationError("Cannot ask: terms and indexes are whole numbers, and not negative");
}

function roleName(role: string): ConsensusRole {
  if (role === "leader") return "LEADER";
  return role === "follower" ? "FOLLOWER" : "CANDIDATE";
}
