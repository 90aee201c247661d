/**
 * Which data folder each node id belongs to. The first leader binds the ids of the voters that it
 * reaches, and no write is served before a majority is bound; from then on another folder under a
 * bound id is refused. Without this a wiped folder could help to elect a leader that lacks writes
 * it
 * had acknowledged.
 *
 * @module
 */

import { viewOf } from "../base/bytes.ts";
import { HandshakeError } from "../base/errors.ts";
import { COMPRESSION_SIZE_MIN } from "../base/limits.ts";
import {
  BATCH_HEADER_SIZE,
  decodeBatchHeader,
  type PreparedBatch,
} from "../protocol/batch_codec.ts";
import {
  type Binding,
  clusterBatch,
  readBindings,
  writeBindings,
} from "../protocol/cluster_command.ts";
import { COMMAND_HEADER_SIZE, readCommandHeader } from "../protocol/command.ts";
import type { Hello } from "../protocol/handshake.ts";
import { majority } from "../raft/quorum.ts";
import type { Entry } from "../raft/types.ts";

/** In a HELLO: the node's log holds nothing but the membership. */
export const FEATURE_EMPTY_LOG = "empty-log";

/** Keeps what handshakes showed, and decides what to bind. */
export class Bindings {
  readonly #own: Binding;
  readonly #voters: readonly string[];
  /** Applied bindings: id -> incarnation. */
  readonly #bound: () => ReadonlyMap<string, string>;
  /** Incarnations that were seen with an empty log since this process began. */
  readonly #seen = new Map<string, string>();
  /** Bindings that stand in the log, also those that are not known to be committed. */
  readonly #logged = new Map<string, string>();
  #proposedFor = "";
  #isSettled = false;

  constructor(own: Binding, voters: readonly string[], bound: () => ReadonlyMap<string, string>) {
    this.#own = own;
    this.#voters = voters;
    this.#bound = bound;
    this.#seen.set(own.id, own.incarnation);
  }

  /** Whether enough voters are bound for writes to be served. */
  get isSettled(): boolean {
    // Bindings are never taken back.
    this.#isSettled ||= this.#hasMajority();
    return this.#isSettled;
  }

  #hasMajority(): boolean {
    const bound = this.#bound();
    const count = this.#voters.filter((voter) => bound.has(voter)).length;
    return count >= majority(this.#voters.length);
  }

  /** Whether this node's own folder is bound: then nobody may tell it that it does not belong. */
  get isOwnBound(): boolean {
    return this.#bound().get(this.#own.id) === this.#own.incarnation;
  }

  /**
   * Entries reach the log. A binding in them counts from now on, committed or not: this node may
   * never
   * learn that it was committed, and a refusal too many harms less than a vote from a wiped folder.
   */
  logged(entries: Iterable<Entry>): void {
    for (const entry of entries) {
      for (const { id, incarnation } of bindingsIn(entry)) this.#logged.set(id, incarnation);
    }
  }

  /** Refuses a node whose id belongs to another folder. Throws HandshakeError. */
  admit(hello: Hello): void {
    if (hello.role !== "peer") return;
    const incarnation = this.#bound().get(hello.nodeId) ?? this.#logged.get(hello.nodeId);
    if (incarnation === undefined || incarnation === hello.incarnation) return;
    throw new HandshakeError(
      `Cannot let node "${hello.nodeId}" in: its data folder is ${hello.incarnation}, but the id belongs to ${incarnation}`,
      {
        remedy: "Start the node with its own data folder; a lost folder cannot be replaced yet",
      },
    );
  }

  /** A handshake showed a node. */
  seen(hello: Hello): void {
    if (hello.role !== "peer" || !this.#voters.includes(hello.nodeId)) return;
    if (hello.features.includes(FEATURE_EMPTY_LOG)) this.#seen.set(hello.nodeId, hello.incarnation);
  }

  /**
   * The batch that a leader should propose now; undefined when there is nothing to bind, or not
   * enough voters were seen for a first binding. The same batch is not proposed twice in a term.
   */
  next(term: number, nowMs: number): PreparedBatch | undefined {
    const bound = this.#bound();
    const missing = this.#voters.filter((voter) => !bound.has(voter) && this.#seen.has(voter));
    if (missing.length === 0) return undefined;
    const known = this.#voters.filter((voter) => bound.has(voter)).length;
    if (known + missing.length < majority(this.#voters.length)) return undefined;
    const key = `${term} ${missing.join(" ")}`;
    if (key === this.#proposedFor) return undefined;
    this.#proposedFor = key;
    const bindings = missing.map((id) => ({ id, incarnation: this.#seen.get(id) ?? "" }));
    return clusterBatch("BIND", Math.floor(nowMs), (writer) => writeBindings(writer, bindings));
  }
}

/** The bindings that a batch makes; it holds nothing else then, and is never compressed. */
function bindingsIn(entry: Entry): readonly Binding[] {
  const { bytes } = entry;
  if (entry.count !== 1 || bytes.byteLength > COMPRESSION_SIZE_MIN) return [];
  const header = decodeBatchHeader(bytes);
  const commands = bytes.subarray(BATCH_HEADER_SIZE);
  if (header.codec !== "none" || readCommandHeader(viewOf(commands), 0).kind !== "BIND") return [];
  return readBindings(commands.subarray(COMMAND_HEADER_SIZE));
}
