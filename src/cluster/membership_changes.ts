/**
 * Changes of the members, on the leader: requested by an operator or by a node that wants to join,
 * and the promotion of learners that have caught up.
 *
 * A learner is made a voter when it was brought from one end of the log to the next within an
 * election timeout (thesis §4.2.1), its folder is bound to its id, and it is up.
 *
 * @module
 */

import { checkAddress, checkId } from "../base/address.ts";
import { unreachable } from "../base/assert.ts";
import {
  type CStoreError,
  DeadlineError,
  MembershipError,
  NoQuorumError,
  OverloadedError,
  ValidationError,
} from "../base/errors.ts";
import { VOTERS_MAX } from "../base/limits.ts";
import { RETRY_AFTER_MS } from "../base/timing.ts";
import type { Clock } from "../platform/clock.ts";
import { MEMBERS_MAX } from "../protocol/encoding/cluster_command.ts";
import type { JoinReply, MembersReply } from "../protocol/wire/reply.ts";
import type { JoinRequest, MembershipRequest } from "../protocol/wire/request.ts";
import { Configuration, type Member } from "../raft/configuration.ts";
import { majority } from "../raft/quorum.ts";
import type { RaftDriver } from "../replication/raft/raft_driver.ts";
import type { Bindings } from "./bindings.ts";
import type { Handover } from "./handover.ts";
import type { Members } from "./members.ts";

/** Parts that the changes are made with. */
export interface ChangeParts {
  readonly id: string;
  readonly clusterId: string;
  readonly clock: Clock;
  readonly electionTimeoutMs: number;
  /** Longest wait for a change to be committed. */
  readonly requestTimeoutMs: number;
  readonly driver: RaftDriver;
  readonly bindings: Bindings;
  readonly members: Members;
  readonly handover: Handover;
  transferTo(id: string): TransferView | undefined;
  /** Where others reach this node; empty when it does not listen. */
  ownAddress(): string;
}

/** A stretch of the log that a learner is being brought over. */
interface Round {
  readonly target: number;
  readonly startMs: number;
  /** How long the last one took; undefined before the first ended. */
  readonly lastMs: number | undefined;
}

interface Waiter {
  readonly index: number;
  readonly term: number;
  readonly deadlineMs: number;
  resolve(): void;
  reject(error: CStoreError): void;
}

/** Makes changes one at a time. */
export class MembershipChanges {
  readonly #parts: ChangeParts;
  readonly #rounds = new Map<string, Round>();
  #waiters: Waiter[] = [];

  constructor(parts: ChangeParts) {
    this.#parts = parts;
  }

  /** Carries out a request; resolves when its change is committed. */
  async execute(request: MembershipRequest): Promise<MembersReply | JoinReply> {
    if (!this.#parts.bindings.isSettled) {
      // A node is removed by its folder: without that it could never be notified.
      throw new OverloadedError(
        "Cannot change the members yet: their folders are not known",
        RETRY_AFTER_MS.membership,
      );
    }
    switch (request.action) {
      case "join":
        return this.#join(request);
      case "add":
        return this.#add(request);
      case "remove":
        return this.#remove(request.id);
      case "replace":
        return this.#replace(request.id, request.by);
      case "recover":
        return this.#recover(request.id);
      case "role":
        return this.#setRole(request.id, request.role);
      default:
        return unreachable(request);
    }
  }

  /** How far a learner is, and what it waits for. */
  progressOf(id: string): { readonly percent: number; readonly reason: string } | undefined {
    const { driver, members } = this.#parts;
    const member = members.configuration.member(id);
    const peer = driver.peers().find((other) => other.id === id);
    if (member === undefined || peer === undefined) return undefined;
    const { lastIndex } = driver.view;
    const transfer = this.#parts.transferTo(id);
    const share = transfer && transfer.sentBytes / Math.max(1, transfer.sizeBytes);
    const percent = Math.floor(100 * (share ?? peer.match / Math.max(1, lastIndex)));
    return { percent: Math.min(100, percent), reason: this.#reason(member, transfer) };
  }

  #reason(member: Member, transfer: TransferView | undefined): string {
    const { bindings, members, electionTimeoutMs } = this.#parts;
    if (!members.isUp(member.id)) return "no contact";
    if (bindings.incarnationOf(member.id) === "") return "its folder is not known yet";
    if (transfer !== undefined) return `a snapshot of ${transfer.sizeBytes} bytes is on its way`;
    if (member.role === "standby") return "it stays a learner";
    const { voters } = members.configuration;
    if (voters.length >= VOTERS_MAX) return `there are ${VOTERS_MAX} voters already`;
    const lastMs = this.#rounds.get(member.id)?.lastMs;
    if (lastMs === undefined) return "it is catching up";
    if (lastMs <= electionTimeoutMs) return "its promotion is under way";
    return `the last round took ${Math.round(lastMs)} ms, more than ${electionTimeoutMs} ms`;
  }

  /** Looks after learners; called now and then on the leader. */
  tick(nowMs: number): void {
    const { driver, members } = this.#parts;
    this.#expire(nowMs);
    this.#tellAddress();
    const learners = members.configuration.members.filter(({ role }) => role === "learner");
    for (const id of this.#rounds.keys()) {
      if (!learners.some((learner) => learner.id === id)) this.#rounds.delete(id);
    }
    const peers = driver.peers();
    for (const learner of learners) {
      const match = peers.find(({ id }) => id === learner.id)?.match ?? 0;
      if (!this.#isCaughtUp(learner.id, match, nowMs)) continue;
      const isBound = this.#parts.bindings.incarnationOf(learner.id) !== "";
      if (isBound && members.isUp(learner.id)) this.#promote(learner);
    }
  }

  /** A database that was embedded has no address; as a node it has, and others are to know it. */
  #tellAddress(): void {
    const { driver, members, id, ownAddress } = this.#parts;
    const { configuration } = members;
    const own = configuration.member(id);
    const address = ownAddress();
    if (own === undefined || address === "" || !own.address.endsWith(":0")) return;
    // An address to listen on that is none to dial.
    if (address.startsWith("0.0.0.0:") || address.startsWith("[::]:")) return;
    // Refused while another change is under way: the next call tries again.
    driver.proposeMembers(this.#bound(configuration.with({ ...own, address })));
  }

  /** More was applied: changes that wait may be committed. */
  applied(index: number): void {
    if (this.#waiters.length === 0) return;
    const { driver } = this.#parts;
    const done = this.#waiters.filter((waiter) => waiter.index <= index);
    this.#waiters = this.#waiters.filter((waiter) => waiter.index > index);
    for (const waiter of done) {
      const term = driver.termOf(waiter.index);
      // An entry that was cut already was committed; within one term it was this leader's.
      const isOwn =
        term === waiter.term || (term === undefined && driver.view.term === waiter.term);
      if (isOwn) waiter.resolve();
      else if (term === undefined) waiter.reject(unknownChange());
      else waiter.reject(new MembershipError("Cannot change the members: another leader came"));
    }
  }

  #expire(nowMs: number): void {
    const late = this.#waiters.filter((waiter) => waiter.deadlineMs <= nowMs);
    if (late.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => waiter.deadlineMs > nowMs);
    for (const waiter of late) {
      waiter.reject(unknownChange());
    }
  }

  /** This node does not lead any more. What was proposed may still be committed. */
  stop(): void {
    this.#rounds.clear();
    this.#expire(Number.POSITIVE_INFINITY);
  }

  #isCaughtUp(id: string, match: number, nowMs: number): boolean {
    const { lastIndex } = this.#parts.driver.view;
    const round = this.#rounds.get(id);
    if (round === undefined || match === 0) {
      this.#rounds.set(id, { target: lastIndex, startMs: nowMs, lastMs: undefined });
      return false;
    }
    if (match >= round.target) {
      const lastMs = nowMs - round.startMs;
      this.#rounds.set(id, { target: lastIndex, startMs: nowMs, lastMs });
    }
    const lastMs = this.#rounds.get(id)?.lastMs;
    return lastMs !== undefined && lastMs <= this.#parts.electionTimeoutMs;
  }

  #promote(learner: Member): void {
    const { driver, members } = this.#parts;
    const { voters, isJoint } = members.configuration;
    if (isJoint || voters.length >= VOTERS_MAX) return;
    // Refused while another change is under way: the next call tries again.
    driver.proposeMembers(this.#bound(members.configuration.with({ ...learner, role: "voter" })));
  }

  /** The same members, each with the folder that its id belongs to. */
  #bound(configuration: Configuration): Configuration {
    const { bindings } = this.#parts;
    return new Configuration(
      configuration.members.map((member) => ({
        ...member,
        incarnation: member.incarnation || bindings.incarnationOf(member.id),
      })),
    );
  }

  async #join(request: JoinRequest): Promise<JoinReply> {
    const { id, incarnation, repairs } = request;
    // An answer was lost, and its folder was removed since: the node begins again with a new one.
    if (this.#parts.bindings.isRetired(incarnation)) {
      throw new MembershipError(`Cannot join as "${id}": that folder was removed meanwhile`, {
        remedy: "Start the node again",
      });
    }
    const known = this.#parts.members.configuration.member(id);
    const staysStandby = repairs !== undefined && known?.role === "standby";
    const role = request.standby === true || staysStandby ? "standby" : "learner";
    const isKnown = known !== undefined && this.#parts.bindings.incarnationOf(id) === incarnation;
    const isVoter = this.#parts.members.configuration.mayVote(id);
    const isRepair = repairs === this.#parts.bindings.incarnationOf(id);
    if (known !== undefined && isRepair) return this.#repair(known, incarnation);
    if (known !== undefined && !isKnown && isVoter) {
      throw new MembershipError(`Cannot join as "${id}": a voter with another folder has that id`, {
        remedy: `Choose another id, or run \`cstore cluster recover ${id}\` first if its folder is lost`,
      });
    }
    // A node that repeats its request for a repair may know no better than the members do.
    const address = request.address === "" && known ? known.address : request.address;
    if (address === "") throw new ValidationError(`Cannot join as "${id}": no address is given`);
    const newcomer = { id, address, incarnation };
    if (isKnown) await this.#untilCommitted();
    else await this.#admit({ ...newcomer, role });
    return { ...this.#result(), clusterId: this.#parts.clusterId };
  }

  /** A voter's folder is damaged: it goes on as a learner with a new one. */
  async #repair(known: Member, incarnation: string): Promise<JoinReply> {
    const { configuration } = this.#parts.members;
    const { id } = known;
    this.#checkNotLast(id, "repair");
    const next = configuration.without(id);
    const missing = this.#missingQuorum(next);
    // It asks again in a moment, when more of the others may be up.
    if (missing !== "") throw new NoQuorumError(missing);
    await this.#propose(this.#bound(next).with({ ...asLearner(known), incarnation }));
    return { ...this.#result(), clusterId: this.#parts.clusterId };
  }

  async #add(
    request: Extract<MembershipRequest, { readonly action: "add" }>,
  ): Promise<MembersReply> {
    const { id, address } = request;
    const role = request.standby === true ? "standby" : "learner";
    if (this.#parts.members.configuration.has(id)) {
      throw new MembershipError(`Cannot add "${id}": it is a member already`);
    }
    await this.#admit({ id, address, role, incarnation: "" });
    return this.#result();
  }

  async #admit(member: Member): Promise<void> {
    const { configuration } = this.#parts.members;
    checkId(member.id);
    checkAddress(member.address);
    const twin = configuration.members.find(
      ({ id, address }) => address === member.address && id !== member.id,
    );
    if (twin !== undefined) {
      throw new MembershipError(`Cannot add "${member.id}": "${twin.id}" has its address`);
    }
    if (configuration.members.length >= MEMBERS_MAX && !configuration.has(member.id)) {
      throw new MembershipError(`Cannot have more than ${MEMBERS_MAX} members`);
    }
    await this.#change(configuration.with(member));
  }

  async #remove(id: string): Promise<MembersReply> {
    const { configuration } = this.#parts.members;
    this.#known(id);
    this.#checkNotLast(id, "remove");
    await this.#leaveFirst(id);
    const next = configuration.without(id);
    this.#checkQuorum(next);
    await this.#change(next);
    return this.#result();
  }

  async #replace(oldId: string, newId: string): Promise<MembersReply> {
    const { configuration } = this.#parts.members;
    const old = this.#known(oldId);
    const successor = this.#known(newId);
    if (old.role !== "voter" || configuration.mayVote(newId)) {
      throw new MembershipError(
        `Cannot replace "${oldId}" by "${newId}": the first must be a voter, the second a learner`,
      );
    }
    const progress = this.progressOf(newId);
    if (!this.#isReady(newId)) {
      throw new MembershipError(
        `Cannot replace "${oldId}" by "${newId}": it is ${progress?.percent ?? 0} % caught up, ${progress?.reason ?? "it is not followed"}`,
        { remedy: "Wait until `cstore cluster status` shows that it has caught up" },
      );
    }
    await this.#leaveFirst(oldId);
    const joint = configuration
      .with({ ...successor, role: "incoming" })
      .with({ ...old, role: "outgoing" });
    this.#checkQuorum(joint.leaveJoint());
    await this.#change(joint);
    await this.#untilSimple();
    return this.#result();
  }

  /** Whether a learner has the entries committed a moment ago, and is up. */
  #isReady(id: string): boolean {
    const { driver, members, bindings } = this.#parts;
    const match = driver.peers().find((peer) => peer.id === id)?.match ?? 0;
    const isNear = match > 0 && match >= driver.view.commitIndex - NEAR_ENTRIES;
    return isNear && members.isUp(id) && bindings.incarnationOf(id) !== "";
  }

  async #recover(id: string): Promise<MembersReply> {
    const { configuration } = this.#parts.members;
    const member = this.#known(id);
    if (id === this.#parts.id) throw new MembershipError(`Cannot recover "${id}": it leads`);
    this.#checkNotLast(id, "recover");
    const rest = configuration.without(id);
    this.#checkQuorum(rest);
    const next = this.#bound(rest).with({ ...asLearner(member), incarnation: "" });
    await this.#propose(next);
    return this.#result();
  }

  async #setRole(id: string, role: string): Promise<MembersReply> {
    const { configuration } = this.#parts.members;
    const member = this.#known(id);
    if (role !== "voter" && role !== "standby") {
      throw new ValidationError(`Cannot give the role "${role}": it is voter or standby`);
    }
    const isVoter = configuration.mayVote(id);
    if (role === "voter" && isVoter) return this.#result();
    if (role === "standby" && isVoter) {
      if (configuration.voters.length === 1) {
        throw new MembershipError(`Cannot make "${id}" a learner: it is the only voter`);
      }
      await this.#leaveFirst(id);
    }
    const next = configuration.with({ ...member, role: role === "voter" ? "learner" : "standby" });
    this.#checkQuorum(next);
    await this.#change(next);
    return this.#result();
  }

  #checkNotLast(id: string, action: string): void {
    const { configuration } = this.#parts.members;
    if (configuration.voters.length > 1 || !configuration.mayVote(id)) return;
    throw new MembershipError(`Cannot ${action} "${id}": it is the only voter`);
  }

  #known(id: string): Member {
    const member = this.#parts.members.configuration.member(id);
    if (member === undefined) throw new MembershipError(`Cannot find "${id}" among the members`);
    return member;
  }

  /** A leader that is to go hands over first; its successor receives the request for the change. */
  async #leaveFirst(id: string): Promise<void> {
    const { handover, driver, members } = this.#parts;
    if (id !== this.#parts.id) return;
    const successor = driver.successor;
    if (successor === undefined) {
      throw new MembershipError(
        `Cannot remove "${id}": it leads, and no other voter can take over`,
      );
    }
    await handover.promote(successor);
    throw driver.notLeader(members.addressOf(successor));
  }

  /** A change must not leave a cluster that cannot commit anything. */
  #checkQuorum(next: Configuration): void {
    const missing = this.#missingQuorum(next);
    if (missing === "") return;
    throw new MembershipError(missing, { remedy: "Bring voters back or add new ones first" });
  }

  /** Why the remaining voters are no quorum; empty when enough of them are up. */
  #missingQuorum(next: Configuration): string {
    const up = next.voters.filter((id) => this.#parts.members.isUp(id)).length;
    const needed = majority(next.voters.length);
    if (up >= needed) return "";
    return `Cannot change the members: only ${up} of the ${next.voters.length} voters left are up, ${needed} are needed`;
  }

  async #change(configuration: Configuration): Promise<void> {
    await this.#propose(this.#bound(configuration));
  }

  async #propose(configuration: Configuration): Promise<void> {
    const { driver } = this.#parts;
    if (!driver.isLeader) throw driver.notLeader();
    const problem = driver.proposeMembers(configuration);
    if (problem !== "")
      throw new OverloadedError(`Cannot change the members: ${problem}`, RETRY_AFTER_MS.membership);
    const { term, configurationIndex: index } = driver.view;
    await this.#untilApplied(index, term);
  }

  /** Resolves when the entry of that term is committed and applied here. */
  #untilApplied(index: number, term: number): Promise<void> {
    const { clock, requestTimeoutMs } = this.#parts;
    const deadlineMs = clock.nowMs() + requestTimeoutMs;
    return new Promise((resolve, reject) => {
      this.#waiters.push({ index, term, deadlineMs, resolve, reject });
    });
  }

  /** An entry that is only logged may be lost with this leader: its caller gets no answer yet. */
  async #untilCommitted(): Promise<void> {
    const { driver } = this.#parts;
    const { configurationIndex: index } = driver.view;
    const term = driver.termOf(index);
    if (driver.appliedIndex < index && term !== undefined) await this.#untilApplied(index, term);
  }

  /** Joint consensus ends by itself; this waits for it. */
  async #untilSimple(): Promise<void> {
    const { driver } = this.#parts;
    const { configuration, configurationIndex, term } = driver.view;
    const index = configuration.isJoint ? configurationIndex + 1 : configurationIndex;
    if (driver.appliedIndex < index) await this.#untilApplied(index, term);
  }

  #result(): MembersReply {
    const { configuration, configurationIndex } = this.#parts.driver.view;
    const members = configuration.members.map(({ id, address, role }) => ({ id, address, role }));
    return { index: configurationIndex, isJoint: configuration.isJoint, members };
  }
}

/** The member without its vote; a standby stays one. */
function asLearner(member: Member): Member {
  return { ...member, role: member.role === "standby" ? "standby" : "learner" };
}

function unknownChange(): CStoreError {
  return new DeadlineError("Cannot tell whether the members changed: it is not committed yet", {
    remedy: "Look at `cstore cluster status`, and repeat the command if need be",
  });
}

/** A learner that is so few entries behind is taken for caught up by `replace`. */
const NEAR_ENTRIES = 1000;

/** How far a transfer is. */
export interface TransferView {
  readonly index: number;
  readonly sentBytes: number;
  readonly sizeBytes: number;
}
