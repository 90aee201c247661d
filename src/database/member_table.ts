/**
 * Members of the cluster as the state machine knows them: who they are, which data folder each id
 * belongs to, and which folders have left for good.
 *
 * @module
 */

import type { Binding } from "../protocol/cluster_command.ts";
import type { Member } from "../raft/configuration.ts";

/** Folders that left and are still known by name; the oldest are forgotten. */
const RETIRED_MAX = 1000;

/** What a snapshot keeps of the table. */
export interface MemberTableState {
  readonly members: readonly Member[];
  readonly bindings: readonly Binding[];
  /** Incarnations, oldest first. */
  readonly retired: readonly string[];
}

/** Members, bindings and retired folders. */
export class MemberTable {
  #members: readonly Member[] = [];
  #bindings = new Map<string, string>();
  #retired = new Set<string>();

  get members(): readonly Member[] {
    return this.#members;
  }

  /** Node id -> incarnation. */
  get bindings(): ReadonlyMap<string, string> {
    return this.#bindings;
  }

  /** Whether that folder was removed, or replaced under its id: it never comes back. */
  isRetired(incarnation: string): boolean {
    return this.#retired.has(incarnation);
  }

  /** Replaces the members; what they say of their folders replaces the bindings. */
  set(members: readonly Member[]): void {
    const before = this.#bindings;
    this.#members = members;
    this.#bindings = new Map();
    for (const { id, incarnation } of members) {
      if (incarnation !== "") this.#bindings.set(id, incarnation);
    }
    const kept = new Set(this.#bindings.values());
    for (const incarnation of before.values()) {
      if (!kept.has(incarnation)) this.#retired.add(incarnation);
    }
    for (const incarnation of this.#retired) {
      if (this.#retired.size <= RETIRED_MAX) break;
      this.#retired.delete(incarnation);
    }
  }

  /** Binds ids that are not bound yet, and are members, to their folders. */
  bind(bindings: readonly Binding[]): void {
    for (const { id, incarnation } of bindings) {
      const isMember = this.#members.some((member) => member.id === id);
      if (isMember && !this.#bindings.has(id) && !this.#retired.has(incarnation)) {
        this.#bindings.set(id, incarnation);
      }
    }
  }

  state(): MemberTableState {
    return {
      members: this.#members,
      bindings: [...this.#bindings].map(([id, incarnation]) => ({ id, incarnation })),
      retired: [...this.#retired],
    };
  }

  restore(state: MemberTableState): void {
    this.#members = state.members;
    this.#bindings = new Map(state.bindings.map(({ id, incarnation }) => [id, incarnation]));
    this.#retired = new Set(state.retired);
  }
}
