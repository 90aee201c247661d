/**
 * The members of a cluster with their roles, as an entry of the log sets them. A configuration
 * counts from the moment it is appended, committed or not (thesis §4.1); an entry that is truncated
 * takes its configuration back with it.
 *
 * One voter is added or removed at a time, or several at once through joint consensus (paper §6):
 * between the two configurations a majority of the old and a majority of the new voters must agree.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import type { LogIndex, NodeId } from "./types.ts";

/**
 * `voter`: counts. `learner`: gets the log, does not count, and is made a voter when it has caught
 * up. `standby`: a learner that stays one. Only in joint consensus: `incoming`, a voter of the new
 * configuration alone, and `outgoing`, a voter of the old one alone, which leaves with it.
 */
export type MemberRole = "voter" | "learner" | "standby" | "incoming" | "outgoing";

/** One node of a configuration. */
export interface Member {
  readonly id: NodeId;
  /** HOST:PORT */
  readonly address: string;
  readonly role: MemberRole;
  /** The data directory that it was added with; empty when that was not known yet. */
  readonly incarnation: string;
}

/** An immutable list of members, in order of id. */
export class Configuration {
  readonly members: readonly Member[];
  /** Voters; in joint consensus those of the new configuration. */
  readonly voters: readonly NodeId[];
  /** Voters of the old configuration; empty outside joint consensus. */
  readonly outgoing: readonly NodeId[];
  /** All nodes that may vote, sorted: the voters of both configurations. */
  readonly electorate: readonly NodeId[];
  readonly #ids: ReadonlySet<NodeId>;

  constructor(members: readonly Member[]) {
    this.members = [...members].sort((a, b) => (a.id < b.id ? -1 : 1));
    const idsOf = (...roles: readonly MemberRole[]): readonly NodeId[] =>
      this.members.filter(({ role }) => roles.includes(role)).map(({ id }) => id);
    this.voters = idsOf("voter", "incoming");
    this.electorate = idsOf("voter", "incoming", "outgoing");
    const isJoint = idsOf("incoming", "outgoing").length > 0;
    this.outgoing = isJoint ? idsOf("voter", "outgoing") : [];
    this.#ids = new Set(this.members.map(({ id }) => id));
    assert(this.#ids.size === this.members.length, "members are distinct");
    assert(this.voters.length <= this.electorate.length, "every voter may vote");
    assert(this.electorate.length <= this.members.length, "only members may vote");
    assert(this.outgoing.length <= this.electorate.length, "every old voter may vote");
    assert(isJoint || this.electorate.length === this.voters.length, "outside, only voters vote");
  }

  get isJoint(): boolean {
    return this.outgoing.length > 0;
  }

  get ids(): readonly NodeId[] {
    return this.members.map(({ id }) => id);
  }

  has(id: NodeId): boolean {
    return this.#ids.has(id);
  }

  member(id: NodeId): Member | undefined {
    const found = this.members.find((member) => member.id === id);
    assert((found !== undefined) === this.#ids.has(id), "ids and members tell the same");
    return found;
  }

  mayVote(id: NodeId): boolean {
    return this.electorate.includes(id);
  }

  /** The configuration after joint consensus. */
  leaveJoint(): Configuration {
    const staying = this.members.filter(({ role }) => role !== "outgoing");
    const left = new Configuration(
      staying.map((member) => (member.role === "incoming" ? { ...member, role: "voter" } : member)),
    );
    assert(left.voters.length === this.voters.length, "the new voters stay, and only they vote");
    return left;
  }

  /** The configuration with a member added, or put in the place of the one with its id. */
  with(member: Member): Configuration {
    const next = new Configuration([...this.members.filter(({ id }) => id !== member.id), member]);
    const added = this.has(member.id) ? 0 : 1;
    assert(next.members.length === this.members.length + added, "one member is added or replaced");
    return next;
  }

  without(id: NodeId): Configuration {
    const next = new Configuration(this.members.filter((member) => member.id !== id));
    const removed = this.has(id) ? 1 : 0;
    assert(next.members.length === this.members.length - removed, "no other member goes");
    return next;
  }
}

/** No members: the configuration of a node that has not joined yet. It never campaigns. */
export const NO_MEMBERS = new Configuration([]);

/** Why one configuration may not follow another; empty when it may. */
export function changeProblem(from: Configuration, to: Configuration): string {
  if (to.voters.length === 0) return "a cluster has voters";
  const isMoving = to.members.some(({ role }) => role === "incoming" || role === "outgoing");
  if (isMoving && !to.isJoint) return "voters come and go only beside the old ones";
  if (from.isJoint) {
    const left = from.leaveJoint().voters.join(" ");
    const isLeaving = !to.isJoint && to.voters.join(" ") === left;
    return isLeaving ? "" : "joint consensus ends before anything else is changed";
  }
  if (to.isJoint) {
    const isFromHere = to.outgoing.join(" ") === from.voters.join(" ");
    return isFromHere ? "" : "joint consensus begins with the present voters";
  }
  const added = to.voters.filter((id) => !from.voters.includes(id)).length;
  const removed = from.voters.filter((id) => !to.voters.includes(id)).length;
  return added + removed <= 1 ? "" : "several voters change only through joint consensus";
}

/**
 * Whether a member is certain to be the node that it was, with what it has on its disk. A member
 * that does not vote may come with another data directory, as long as none is named (`recover`); a
 * voter is bound to the one that it began with, also where no configuration says so yet.
 */
export function isSameNode(from: Configuration, to: Configuration, id: NodeId): boolean {
  const before = from.member(id);
  const now = to.member(id);
  if (before === undefined || now === undefined) return false;
  const isSameFolder = before.incarnation === now.incarnation;
  if (!to.mayVote(id)) return isSameFolder && now.incarnation !== "";
  return isSameFolder || (before.incarnation === "" && from.mayVote(id));
}

/** A configuration and the entry that set it. */
export interface LoggedConfiguration {
  /** `0 <= index <= lastIndex` of the log; 0 for the configuration that a cluster begins with. */
  readonly index: LogIndex;
  readonly configuration: Configuration;
}

/** The configurations that may still count: the newest committed one, and those behind it. */
export class ConfigurationHistory {
  /** In order: each index is greater than the one before it, and only the first is committed. */
  #logged: LoggedConfiguration[];

  /** In order of index, as a node finds them in its snapshot and log. */
  constructor(logged: readonly LoggedConfiguration[]) {
    // A node that is joining finds no committed one: those in its log may still be truncated.
    const none = { index: 0, configuration: NO_MEMBERS };
    this.#logged = logged[0]?.index === 0 ? [...logged] : [none, ...logged];
    for (const [at, { index }] of this.#logged.entries()) {
      const before = this.#logged[at - 1];
      assert(before === undefined || before.index < index, "configurations are found in order");
    }
  }

  /** The one that counts. */
  get latest(): LoggedConfiguration {
    return this.#logged[this.#logged.length - 1]!;
  }

  /** Whether any configuration that may still count lets that node vote. */
  mayVote(id: NodeId): boolean {
    return this.#logged.some(({ configuration }) => configuration.mayVote(id));
  }

  /** An entry with a configuration was appended. */
  add(index: LogIndex, configuration: Configuration): void {
    assert(index > this.latest.index, "configurations are logged in order");
    this.#logged.push({ index, configuration });
  }

  /** The log was truncated from `index` on. Returns whether a configuration went with it. */
  truncate(index: LogIndex): boolean {
    const kept = this.#logged.filter((logged) => logged.index < index);
    const isChanged = kept.length < this.#logged.length;
    assert(kept.length > 0, "a committed configuration is never truncated");
    this.#logged = kept;
    assert(this.latest.index < index, "no configuration of the truncated entries is left");
    return isChanged;
  }

  /** Configurations before the newest committed one cannot come back. */
  commit(index: LogIndex): void {
    if (this.#logged.length === 1) return;
    const newest = this.#logged.findLastIndex((logged) => logged.index <= index);
    if (newest > 0) this.#logged.splice(0, newest);
    assert(this.#logged[0]!.index <= index, "the oldest configuration that counts is committed");
  }

  /** A snapshot took the place of the log. */
  restore(index: LogIndex, configuration: Configuration): void {
    assert(index > this.#logged[0]!.index, "a snapshot is newer than the committed configuration");
    this.#logged = [{ index, configuration }];
  }
}
