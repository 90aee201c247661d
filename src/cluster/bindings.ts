/**
 * Which data folder each node id belongs to. The first leader binds the ids of the voters that it
 * reaches, and no write is served before a majority is bound; from then on another folder under a
 * bound id is refused. Without this a wiped folder could help to elect a leader that lacks writes
 * it had acknowledged.
 *
 * @module
 */

import { type ErrorFields, HandshakeError, MembershipError, RemovedError } from "../base/errors.ts";
import type { MemberTable } from "../database/member_table.ts";
import type { PreparedBatch } from "../protocol/encoding/batch_codec.ts";
import {
  type Binding,
  bindingsIn,
  clusterBatch,
  membersIn,
  writeBindings,
} from "../protocol/encoding/cluster_command.ts";
import { FEATURE_EMPTY_LOG, type Hello } from "../protocol/wire/handshake.ts";
import type { Configuration } from "../raft/configuration.ts";
import { majority } from "../raft/quorum.ts";
import type { Entry } from "../raft/types.ts";

/** Consensus of this node, as far as bindings depend on it. */
export interface ConsensusView {
  readonly view: { readonly configuration: Configuration };
}

/** Keeps what handshakes showed, and decides what to bind. */
export class Bindings {
  readonly #own: Binding;
  readonly #consensus: ConsensusView;
  readonly #table: MemberTable;
  /** Incarnations that were seen with an empty log since this process began. */
  readonly #seen = new Map<string, string>();
  /** The same with any log: these count while no folder at all is bound. */
  readonly #met = new Map<string, string>();
  /** Bindings that stand in the log, also those that are not known to be committed. */
  readonly #logged = new Map<string, string>();
  #proposedFor = "";
  #isSettled = false;

  /** `consensus` knows the configuration that counts, `table` the bindings that are applied. */
  constructor(own: Binding, consensus: ConsensusView, table: MemberTable) {
    this.#own = own;
    this.#consensus = consensus;
    this.#table = table;
    this.#seen.set(own.id, own.incarnation);
    this.#met.set(own.id, own.incarnation);
  }

  /** Whether enough voters are bound for writes to be served. */
  get isSettled(): boolean {
    // Once they were, a change of members binds each member that it adds.
    this.#isSettled ||= this.#hasMajority();
    return this.#isSettled;
  }

  #hasMajority(): boolean {
    const { bindings } = this.#table;
    const { voters } = this.#consensus.view.configuration;
    const count = voters.filter((voter) => bindings.has(voter)).length;
    return voters.length > 0 && count >= majority(voters.length);
  }

  /** Whether a folder has left the cluster: it never comes back. */
  isRetired(incarnation: string): boolean {
    return this.#table.isRetired(incarnation);
  }

  /** Whether this node's own folder is bound: then refusals by peers do not count. */
  get isOwnBound(): boolean {
    return this.#table.bindings.get(this.#own.id) === this.#own.incarnation;
  }

  /**
   * Entries reach the log. A binding in them counts from now on, committed or not: this node may
   * never learn that it was committed, and a refusal too many harms less than a vote from a
   * wiped folder.
   */
  logged(entries: Iterable<Entry>): void {
    for (const { bytes, count } of entries) {
      for (const { id, incarnation } of bindingsIn(bytes, count)) {
        if (!this.#logged.has(id)) this.#logged.set(id, incarnation);
      }
      const members = membersIn(bytes, count);
      if (members === undefined) continue;
      this.#logged.clear();
      for (const { id, incarnation } of members) {
        if (incarnation !== "") this.#logged.set(id, incarnation);
      }
    }
  }

  /** The folder that an id belongs to, as far as the log says; empty when it says nothing. */
  incarnationOf(id: string): string {
    return this.#table.bindings.get(id) ?? this.#logged.get(id) ?? "";
  }

  /**
   * Whether a node's answers count: votes and acknowledgements of a folder that this node does not
   * know under that id are worth nothing. What the old folder still says counts no more as soon as
   * the log names another one: consensus has begun to look where that one stands.
   */
  counts(hello: Hello): boolean {
    const named = this.#consensus.view.configuration.member(hello.nodeId)?.incarnation ?? "";
    return this.#isKnown(hello) && (named === "" || named === hello.incarnation);
  }

  #isKnown(hello: Hello): boolean {
    const incarnation = this.incarnationOf(hello.nodeId);
    return incarnation === "" || incarnation === hello.incarnation;
  }

  /**
   * Refuses a folder that does not belong to the cluster. One that holds more than nothing is let
   * in under an id that belonged to another: this node may lack the entry that let it in, and that
   * node may be the leader which has it. Throws HandshakeError, RemovedError.
   */
  admit(hello: Hello): void {
    if (hello.role !== "peer") return;
    if (this.#table.isRetired(hello.incarnation)) {
      throw new RemovedError(
        `Cannot let node "${hello.nodeId}" in: its data folder ${hello.incarnation} was removed from the cluster`,
        { fields: folderOf(hello) },
      );
    }
    const isEmpty = hello.features.includes(FEATURE_EMPTY_LOG);
    const { members, bindings } = this.#table;
    const hasGoneOn = bindings.size > 0 && !this.#consensus.view.configuration.has(hello.nodeId);
    if (isEmpty && hasGoneOn && members.length > 0) {
      throw new MembershipError(
        `Cannot let node "${hello.nodeId}" in: its data folder ${hello.incarnation} is empty, and that id was removed from the cluster`,
        { remedy: "Start it with --join and an id of its own", fields: folderOf(hello) },
      );
    }
    if (this.#isKnown(hello) || !isEmpty) return;
    const incarnation = this.incarnationOf(hello.nodeId);
    throw new HandshakeError(
      `Cannot let node "${hello.nodeId}" in: its data folder is ${hello.incarnation}, but the id belongs to ${incarnation}`,
      {
        remedy:
          "Start the node with its own data folder; if that is lost, `cstore cluster recover ID` lets it begin anew",
        fields: folderOf(hello),
      },
    );
  }

  /** A handshake showed a node. */
  seen(hello: Hello): void {
    if (hello.role !== "peer" || !this.#consensus.view.configuration.has(hello.nodeId)) return;
    this.#met.set(hello.nodeId, hello.incarnation);
    if (hello.features.includes(FEATURE_EMPTY_LOG)) this.#seen.set(hello.nodeId, hello.incarnation);
  }

  /**
   * The batch that a leader should propose now; undefined when there is nothing to bind, or not
   * enough voters were seen for a first binding. The same batch is not proposed twice in a term.
   * `isCaughtUp`: all committed entries are applied here. A cluster without bindings then never
   * served a write, so any folder may be the first: those with empty logs may be gone.
   */
  next(at: {
    readonly term: number;
    readonly timeMs: number;
    readonly isCaughtUp: boolean;
  }): PreparedBatch | undefined {
    const { term, timeMs, isCaughtUp } = at;
    const { bindings: bound, members } = this.#table;
    const folders = isCaughtUp && bound.size === 0 ? this.#met : this.#seen;
    const missing = members.flatMap(({ id }) => {
      const incarnation = folders.get(id);
      const isFree = incarnation !== undefined && !this.#table.isRetired(incarnation);
      return isFree && !bound.has(id) ? [{ id, incarnation }] : [];
    });
    if (missing.length === 0) return undefined;
    const { voters } = this.#consensus.view.configuration;
    const isKnown = (voter: string): boolean =>
      bound.has(voter) || missing.some(({ id }) => id === voter);
    if (voters.filter(isKnown).length < majority(voters.length)) return undefined;
    const key = `${term} ${missing.map(({ id }) => id).join(" ")}`;
    if (key === this.#proposedFor) return undefined;
    this.#proposedFor = key;
    return clusterBatch("BIND", Math.floor(timeMs), (writer) => writeBindings(writer, missing));
  }
}

/** The folder that an error is about. */
function folderOf({ nodeId, incarnation }: Hello): ErrorFields {
  return { nodeId, incarnation };
}
