/**
 * What must hold in every state of every run (paper figure 3), checked while a run goes on. The
 * checker sees more than any node does: all disks, all logs, everything ever committed.
 *
 * @module
 */

import { assert } from "../../src/base/assert.ts";
import type { RaftMessage } from "../../src/raft/message.ts";
import { isQuorum } from "../../src/raft/quorum.ts";
import type { Ready } from "../../src/raft/ready.ts";
import type { Entry, LogIndex, NodeId, Term } from "../../src/raft/types.ts";
import { type Cluster, type TestNode, textOf } from "./cluster.ts";

interface Seen {
  starts: number;
  term: Term;
  commitIndex: LogIndex;
  readsChecked: number;
}

/** Watches one cluster from its first step on. */
export class Invariants {
  readonly #cluster: Cluster;
  /** Everything that any node ever called committed; index 1 stands at 0. */
  readonly committed: Entry[] = [];
  /** Term of the leader that committed it: an older leader that comes late may lack it. */
  readonly #committedIn: Term[] = [];
  readonly #leaders = new Map<Term, NodeId>();
  /** For each entry ever written: its text and the term before it. */
  readonly #written = new Map<string, string>();
  readonly #votes = new Map<string, NodeId>();
  readonly #seen = new Map<NodeId, Seen>();
  /** For each read under way: what was committed when it began. */
  readonly #reads = new Map<number, LogIndex>();
  readsDone = 0;
  elections = 0;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    cluster.watcher = {
      onReady: (node, ready) => this.#checkReady(node, ready),
      onPersisted: () => {},
    };
  }

  /** A read was asked for: it must see everything that is committed now. */
  readBegins(context: number): void {
    this.#reads.set(context, this.committed.length);
  }

  /** Checks the state of all nodes after a step. */
  check(): void {
    for (const node of this.#cluster.nodes) if (node.isAlive) this.#checkNode(node);
  }

  #checkNode(node: TestNode): void {
    const { role, term } = node.raft;
    const before = this.#seen.get(node.id);
    const isSameRun = before?.starts === node.starts;
    const seen = isSameRun
      ? before
      : { starts: node.starts, term: 0, commitIndex: 0, readsChecked: 0 };
    assert(term >= seen.term, () => `the term of ${node.id} went back`);
    assert(node.commitIndex >= seen.commitIndex, () => `the commit index of ${node.id} went back`);
    if (role === "leader") this.#checkLeader(node);
    this.#checkCommits(node, isSameRun ? seen.commitIndex : node.log.firstIndex() - 1);
    this.#checkReads(node, seen.readsChecked);
    const readsChecked = node.reads.length;
    const { starts, commitIndex } = node;
    this.#seen.set(node.id, { starts, term, commitIndex, readsChecked });
  }

  /** Election safety (§5.2) and leader completeness (§5.4). */
  #checkLeader(node: TestNode): void {
    const { term } = node.raft;
    const known = this.#leaders.get(term);
    if (known === node.id) return;
    assert(known === undefined, () => `${known} and ${node.id} both lead term ${term}`);
    this.#leaders.set(term, node.id);
    this.elections += 1;
    const { hardState } = node.durable;
    assert(hardState.term >= term, () => `${node.id} leads term ${term}, which it can forget`);
    for (const entry of this.committed) {
      const isOwed = (this.#committedIn[entry.index - 1] ?? 0) < term;
      if (entry.index < node.log.firstIndex() || !isOwed) continue;
      assert(node.log.term(entry.index) === entry.term, () => {
        return `leader ${node.id} of term ${term} lacks the committed ${entry.term}:${entry.index}`;
      });
    }
  }

  /** State machine safety (§5.4.3), and a majority of disks under everything committed. */
  #checkCommits(node: TestNode, checkedTo: LogIndex): void {
    for (let index = checkedTo + 1; index <= node.commitIndex; index += 1) {
      if (index < node.log.firstIndex()) continue;
      const entry = node.log.at(index);
      const known = this.committed[index - 1];
      if (known === undefined) {
        assert(index === this.committed.length + 1, "commits have no gap");
        this.#checkDurable(node, entry);
        this.committed.push(entry);
        this.#committedIn.push(node.raft.term);
        continue;
      }
      const isSame = known.term === entry.term && textOf(known) === textOf(entry);
      assert(isSame, () => `${node.id} commits another entry at ${index}`);
    }
  }

  #checkDurable(node: TestNode, entry: Entry): void {
    const holds = (id: NodeId): boolean => {
      const { log } = this.#cluster.node(id).durable;
      return entry.index < log.firstIndex() || log.term(entry.index) === entry.term;
    };
    const { configuration } = node.raft;
    assert(isQuorum(configuration, holds), () => {
      const ids = configuration.ids.filter(holds).join(" ");
      return `${entry.term}:${entry.index} is committed and on the disks of ${ids} only`;
    });
  }

  /** A read barrier is never older than what was committed when it began (thesis §6.4). */
  #checkReads(node: TestNode, from: number): void {
    for (const { context, index } of node.reads.slice(from)) {
      const atLeast = this.#reads.get(context);
      assert(atLeast !== undefined, () => `read ${context} was never asked for`);
      assert(index >= atLeast, () => `read ${context} sees ${index}, ${atLeast} was committed`);
      this.readsDone += 1;
    }
  }

  #checkReady(node: TestNode, ready: Ready): void {
    for (const entry of ready.entries) this.#checkWritten(node, entry);
    for (const message of ready.messages) this.#checkSentAtOnce(node, message);
    for (const message of ready.messagesAfterPersist) this.#checkPromise(message);
    assert(ready.commitIndex <= node.log.lastIndex(), "only what is written is committed");
  }

  /** Log matching (§5.3): the same id means the same entry after the same entry. */
  #checkWritten(node: TestNode, entry: Entry): void {
    const id = `${entry.term}:${entry.index}`;
    const own = `${textOf(entry)} after term ${node.log.term(entry.index - 1)}`;
    const known = this.#written.get(id) ?? own;
    assert(known === own, () => `${node.id} writes ${id} as "${own}", it was "${known}"`);
    this.#written.set(id, own);
  }

  /** Nothing that leaves before the sync may promise what the sync brings. */
  #checkSentAtOnce(node: TestNode, message: RaftMessage): void {
    if (message.type === "VOTE_RESPONSE" && message.granted && !message.preVote) {
      const { term, vote } = node.durable.hardState;
      assert(term === message.term && vote === message.to, "a vote leaves only from the disk");
    }
    if (message.type === "APPEND_ENTRIES_RESPONSE" && !message.rejected) {
      const last = node.durable.log.lastIndex();
      assert(message.index <= last, "an append is acknowledged only from the disk");
    }
  }

  /** One vote a node and term, also over restarts (§5.2). */
  #checkPromise(message: RaftMessage): void {
    if (message.type !== "VOTE_RESPONSE" || !message.granted || message.preVote) return;
    const key = `${message.from} in term ${message.term}`;
    const known = this.#votes.get(key) ?? message.to;
    assert(known === message.to, () => `${key} votes for ${known} and for ${message.to}`);
  }
}
