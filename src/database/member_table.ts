/**
 * Members of the cluster as the state machine knows them: the nodes, the data folder that each id
 * belongs to, the folders that have left for good, and the addresses of the nodes that left.
 *
 * @module
 */

import type { Binding } from "../protocol/encoding/cluster_command.ts";
import type { Member } from "../raft/configuration.ts";

/** Folders that left and are still known by name; the oldest are forgotten. */
const RETIRED_MAX = 1000;
/** Nodes that left and are still known by address; the first to leave are forgotten. */
const DEPARTED_MAX = 16;

/** A node that was removed: it may not know that, nor any present member. */
export interface Departed {
  readonly id: string;
  /** HOST:PORT */
  readonly address: string;
  /** When it was removed: milliseconds since 1970, by the leader's clock. */
  readonly timeMs: number;
}

/** The part of the table that a snapshot keeps. */
export interface MemberTableState {
  readonly members: readonly Member[];
  readonly bindings: readonly Binding[];
  /** Incarnations, oldest first. */
  readonly retired: readonly string[];
  /** In order of their leaving. */
  readonly departed: readonly Departed[];
}

/** Members, bindings and retired folders. */
export class MemberTable {
  #members: readonly Member[] = [];
  #bindings = new Map<string, string>();
  #retired = new Set<string>();
  #departed: readonly Departed[] = [];

  get members(): readonly Member[] {
    return this.#members;
  }

  /** Node id -> incarnation. */
  get bindings(): ReadonlyMap<string, string> {
    return this.#bindings;
  }

  get departed(): readonly Departed[] {
    return this.#departed;
  }

  /** Whether that folder was removed, or replaced under its id: it never comes back. */
  isRetired(incarnation: string): boolean {
    return this.#retired.has(incarnation);
  }

  /**
   * Replaces the members; what they say of their folders replaces the bindings. `timeMs`: see
   * {@link Departed}.
   */
  set(members: readonly Member[], timeMs: number): void {
    const before = this.#bindings;
    const gone = this.#members.map(({ id, address }) => ({ id, address, timeMs }));
    this.#departed = [...this.#departed, ...gone]
      .filter(({ id }) => !members.some((member) => member.id === id))
      .slice(-DEPARTED_MAX);
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
      departed: this.#departed,
    };
  }

  restore(state: MemberTableState): void {
    this.#members = state.members;
    this.#bindings = new Map(state.bindings.map(({ id, incarnation }) => [id, incarnation]));
    this.#retired = new Set(state.retired);
    this.#departed = state.departed;
  }
}
