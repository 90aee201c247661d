/**
 * Invariants of every state of every run (paper figure 3), checked while a run goes on. The
 * checker sees more than any node does: all disks, all logs, everything ever committed.
 *
 * @module
 */

import { assert } from "../../src/base/assert.ts";
import type { Configuration } from "../../src/raft/configuration.ts";
import type { RaftMessage } from "../../src/raft/message.ts";
import type { Ready } from "../../src/raft/ready.ts";
import type { Entry, LogIndex, NodeId, Term } from "../../src/raft/types.ts";
import {
  type Cluster,
  configurationIn,
  configurationWords,
  type TestNode,
  textOf,
} from "./cluster.ts";

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
  /** Votes that are on disk, by data directory and term. */
  readonly #votes = new Map<string, NodeId>();
  readonly #seen = new Map<NodeId, Seen>();
  /** For each read under way: the commit index when it began. */
  readonly #reads = new Map<number, LogIndex>();
  readsDone = 0;
  elections = 0;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    cluster.watcher = {
      onReady: (node, ready) => this.#checkReady(node, ready),
      onDurable: (node) => this.#checkVote(node),
    };
    this.#takeOver();
  }

  /** A cluster may start with a history: its commits and votes were not observed. */
  #takeOver(): void {
    for (const node of this.#cluster.nodes) {
      this.#checkVote(node);
      for (const entry of node.log.all()) {
        if (entry.index > node.commitIndex || entry.index <= this.committed.length) continue;
        assert(entry.index === this.committed.length + 1, "what was committed before is kept");
        this.committed.push(entry);
        this.#committedIn.push(entry.term);
      }
    }
  }

  /** A read was requested: it must see every entry that is committed now. */
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
    if (!isSameRun) this.#checkConfiguration(node);
    if (role === "leader") this.#checkLeader(node);
    const { leader } = node.raft.view;
    const known = this.#leaders.get(term) ?? leader;
    assert(leader === undefined || leader === known, () => `${node.id} follows ${leader}`);
    if (role === "leader") this.#checkMatches(node);
    if (role !== "follower") this.#checkMayCampaign(node);
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
    const isVoter = (id: NodeId): boolean => this.#votes.get(this.#ballot(id, term)) === node.id;
    const configuration = this.#configurationOf(node);
    assert(isMajority(configuration, isVoter), () => {
      const ids = configuration.ids.filter(isVoter).join(" ");
      return `${node.id} leads term ${term} with the votes of ${ids} only`;
    });
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
    const configuration = this.#configurationOf(node);
    assert(isMajority(configuration, holds), () => {
      const ids = configuration.ids.filter(holds).join(" ");
      return `${entry.term}:${entry.index} is committed and on the disks of ${ids} only`;
    });
  }

  /** The last configuration in the written log counts, committed or not (thesis §4.1). */
  #configurationOf(node: TestNode): Configuration {
    return node.configurationAt(node.log.lastIndex());
  }

  #checkConfiguration(node: TestNode): void {
    const own = configurationWords(this.#configurationOf(node));
    const counted = configurationWords(node.raft.configuration);
    assert(counted === own, () => `${node.id} counts with [${counted}], its log says [${own}]`);
  }

  /** A match of a leader is durable on the peer, unless a newer leader was elected. */
  #checkMatches(node: TestNode): void {
    for (const { id, match } of node.raft.peers()) {
      const { hardState, log } = this.#cluster.node(id).durable;
      if (match === 0 || hardState.term > node.raft.term || match < log.firstIndex()) continue;
      const isThere = match < node.log.firstIndex() || log.term(match) === node.log.term(match);
      assert(match <= log.lastIndex() && isThere, () => {
        return `${node.id} believes that ${id} has ${match}, which it has not`;
      });
    }
  }

  /** Only voters campaign and lead, and nodes whose removal is not known to be committed. */
  #checkMayCampaign(node: TestNode): void {
    const { id, commitIndex } = node;
    if (node.configurationAt(Math.max(commitIndex, node.log.firstIndex() - 1)).mayVote(id)) return;
    const open = node.log.all().filter((entry) => entry.index > commitIndex);
    const mayVote = open.some((entry) => configurationIn(entry)?.mayVote(id) === true);
    assert(mayVote, () => `${id} is ${node.raft.role} and no voter, as it knows`);
  }

  /** A read barrier is never before the commit index of its beginning (thesis §6.4). */
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
    assert(ready.commitIndex <= node.log.lastIndex(), "only what is written is committed");
    const { restored, entries } = ready;
    if (restored !== undefined) {
      const known = this.committed[restored.index - 1];
      assert(known?.term === restored.term, () => `${node.id} restores what is not committed`);
    }
    if (restored !== undefined || entries.length > 0) this.#checkConfiguration(node);
    const isLeader = node.raft.role === "leader";
    for (const entry of entries) {
      if (isLeader && entry.term === node.raft.term) this.#checkChange(node, entry);
    }
    const isCommit = ready.commitIndex > this.committed.length;
    const isOwn = node.log.term(ready.commitIndex) === node.raft.term;
    assert(isOwn || !isCommit, () => `${node.id} counts for an entry of an older term (§5.4.2)`);
    // Here, not after the step: the end of joint consensus may be proposed with the same step.
    this.#checkCommits(node, Math.max(this.committed.length, node.log.firstIndex() - 1));
  }

  /** One change at a time, and none before the leader's own first entry (thesis §4.1). */
  #checkChange(node: TestNode, change: Entry): void {
    if (configurationIn(change) === undefined) return;
    const open = node.log.all().filter(({ index }) => index > node.commitIndex);
    const other = open.find((entry) => entry !== change && configurationIn(entry) !== undefined);
    assert(other === undefined, () => `${node.id} changes the members twice at once`);
    const term = node.log.term(node.commitIndex);
    assert(term === change.term, () => `${node.id} changes the members before its first commit`);
    const before = node.configurationAt(change.index - 1);
    const after = node.configurationAt(change.index);
    assert(doQuorumsMeet(before, after), () => {
      const words = [before, after].map(configurationWords).join("] to [");
      return `majorities need not meet from [${words}]`;
    });
  }

  /** Log matching (§5.3): the same id means the same entry after the same entry. */
  #checkWritten(node: TestNode, entry: Entry): void {
    const id = `${entry.term}:${entry.index}`;
    const own = `${textOf(entry)} after term ${node.log.term(entry.index - 1)}`;
    const known = this.#written.get(id) ?? own;
    assert(known === own, () => `${node.id} writes ${id} as "${own}", it was "${known}"`);
    this.#written.set(id, own);
  }

  /** No message that leaves before the sync may promise state that the sync makes durable. */
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

  /** One vote per data directory and term, also over restarts (§5.2). */
  #checkVote(node: TestNode): void {
    const { term, vote } = node.durable.hardState;
    if (vote === undefined) return;
    const ballot = this.#ballot(node.id, term);
    const known = this.#votes.get(ballot) ?? vote;
    assert(known === vote, () => `${ballot} votes for ${known} and for ${vote}`);
    this.#votes.set(ballot, vote);
  }

  #ballot(id: NodeId, term: Term): string {
    return `${id}/${this.#cluster.node(id).wipes} in term ${term}`;
  }
}

/** A majority of the voters; in joint consensus of the old and of the new ones. */
function isMajority({ members }: Configuration, holds: (id: NodeId) => boolean): boolean {
  const isJoint = members.some(({ role }) => role === "incoming" || role === "outgoing");
  const groups = isJoint ? (["incoming", "outgoing"] as const) : (["voter"] as const);
  return groups.every((own) => {
    const group = members.filter(({ role }) => role === "voter" || role === own);
    return group.filter(({ id }) => holds(id)).length * 2 > group.length;
  });
}

/** Whether no majority of the one can do without a node of each majority of the other. */
function doQuorumsMeet(one: Configuration, other: Configuration): boolean {
  const ids = [...new Set([...one.ids, ...other.ids])];
  // A set and the rest of the nodes are the largest two that have nothing in common.
  for (let chosen = 0; chosen < 2 ** ids.length; chosen += 1) {
    const isChosen = (id: NodeId) => (chosen & (1 << ids.indexOf(id))) !== 0;
    if (isMajority(one, isChosen) && isMajority(other, (id) => !isChosen(id))) return false;
  }
  return true;
}
