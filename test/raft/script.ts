/**
 * Scripts over a {@link Cluster}: commands in, a trace out. The commands are in `testdata/*.txt`;
 * `----` ends the commands of a block and begins their expected output, up to an empty line.
 *
 * A message is printed when it arrives or is lost, a state change when its Ready is taken. `wire`
 * shows the messages that have not arrived yet.
 *
 * @module
 */

import { assert } from "../../src/base/assert.ts";
import type { RaftConfig } from "../../src/raft/config.ts";
import type { ArrivedSnapshot } from "../../src/raft/follower.ts";
import type { RaftMessage } from "../../src/raft/message.ts";
import type { RaftEvent, Ready } from "../../src/raft/ready.ts";
import type { Entry, EntryId, NodeId } from "../../src/raft/types.ts";
import {
  Cluster,
  configurationFrom,
  configurationWords,
  type MessageFilter,
  type TestNode,
  textOf,
} from "./cluster.ts";

/** Commands, and their output when the file was last rewritten. */
export interface Block {
  /** Comment lines before the commands, kept as they are. */
  readonly comments: readonly string[];
  readonly commands: readonly string[];
  readonly expected: string;
}

/** Reads a script. */
export function parseScript(text: string): readonly Block[] {
  const blocks: Block[] = [];
  let comments: string[] = [];
  let commands: string[] = [];
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at]!;
    if (line === "----") {
      const end = lines.indexOf("", at);
      const stop = end === -1 ? lines.length : end;
      blocks.push({ comments, commands, expected: lines.slice(at + 1, stop).join("\n") });
      [comments, commands] = [[], []];
      at = stop;
    } else if (line.startsWith("#") || line === "") {
      comments.push(line);
    } else {
      commands.push(line);
    }
  }
  assert(commands.length === 0, "the last commands of a script are followed by ----");
  return blocks;
}

/** Writes a script with its present output. */
export function formatScript(blocks: readonly Block[]): string {
  const parts = blocks.map(({ comments, commands, expected }) => {
    const lines = [...comments, ...commands, "----", ...(expected === "" ? [] : [expected])];
    return `${lines.join("\n")}\n`;
  });
  return parts.join("\n");
}

function id(entry: EntryId): string {
  return `${entry.term}:${entry.index}`;
}

function formatEntries(entries: readonly Entry[]): string {
  return `[${entries.map((entry) => `${id(entry)} ${textOf(entry)}`).join(", ")}]`;
}

/** One message on one line. */
export function formatMessage(message: RaftMessage): string {
  const head = `${message.from}->${message.to} ${message.type} t${message.term}`;
  switch (message.type) {
    case "VOTE_REQUEST": {
      const kind = message.preVote ? " pre-vote" : message.transfer ? " transfer" : "";
      return `${head} last=${id(message.last)}${kind}`;
    }
    case "VOTE_RESPONSE": {
      const answer = message.granted ? "granted" : "refused";
      return `${head} ${answer}${message.preVote ? " pre-vote" : ""}`;
    }
    case "APPEND_ENTRIES": {
      const { previous, commitIndex, entries } = message;
      return `${head} after=${id(previous)} commit=${commitIndex} ${formatEntries(entries)}`;
    }
    case "APPEND_ENTRIES_RESPONSE":
      if (!message.rejected) return `${head} ok=${message.index}`;
      return `${head} rejected=${message.index} hint=${id(message.hint)}`;
    case "HEARTBEAT":
      return `${head} commit=${message.commitIndex} round=${message.readRound}`;
    case "HEARTBEAT_RESPONSE":
      return `${head} round=${message.readRound}`;
    case "READ_INDEX":
      return `${head} context=${message.context}`;
    case "READ_INDEX_RESPONSE":
      return `${head} context=${message.context} index=${message.index}`;
    case "TIMEOUT_NOW":
      return `${head} last=${id(message.last)}`;
  }
}

function formatEvent(event: RaftEvent): string {
  switch (event.type) {
    case "ROLE_CHANGED":
      return `becomes ${event.role} in term ${event.term}, leader ${event.leader ?? "-"}`;
    case "LEADER_LOST":
      return `gives up ${event.leader}, ${event.why}, silent for ${event.silentTicks}`;
    case "ELECTION_STARTED":
      return `asks for ${event.preVote ? "pre-votes" : "votes"} in term ${event.term}`;
    case "QUORUM_LOST":
      return `lost its quorum in term ${event.term}`;
    case "TRANSFER_STARTED":
      return `hands over to ${event.to}`;
    case "TRANSFER_ENDED":
      return `hand-over to ${event.to} ${event.done ? "done" : "given up"}`;
    case "LOG_TRUNCATED":
      return `drops its log from ${event.fromIndex} on`;
    case "MESSAGE_REFUSED":
      return `refuses ${event.from}: ${event.reason}`;
  }
}

const CONFIG_WORDS: Readonly<Record<string, keyof RaftConfig>> = {
  "append-bytes": "appendBytesMax",
  "election-ticks": "electionTicks",
  "heartbeat-ticks": "heartbeatTicks",
  "rank-ticks": "rankTicks",
  "window-bytes": "inflightBytesMax",
  "window-messages": "inflightMessagesMax",
};

/** Runs commands one after the other. */
export class ScriptRunner {
  #cluster = new Cluster({ nodeCount: 1 });
  #lines: string[] = [];
  #isQuiet = false;
  readonly #commits = new Map<NodeId, number>();
  readonly #members = new Map<NodeId, string>();
  /** Snapshots on their way, by their target. */
  readonly #snapshots = new Map<NodeId, ArrivedSnapshot>();

  /** Runs the commands of a block and returns their output. */
  run(commands: readonly string[]): string {
    this.#lines = [];
    for (const command of commands) {
      const [name = "", ...words] = command.split(/\s+/);
      this.#run(name, words);
    }
    return this.#lines.length === 0 ? "ok" : this.#lines.join("\n");
  }

  #print(line: string): void {
    if (!this.#isQuiet) this.#lines.push(line);
  }

  #node(id: string | undefined): TestNode {
    assert(id !== undefined, "the command names a node");
    return this.#cluster.node(id);
  }

  #run(name: string, words: readonly string[]): void {
    const [first, second] = words;
    const count = Number(second ?? 1);
    switch (name) {
      case "add-nodes":
        return this.#addNodes(Number(first), words.slice(1));
      case "quiet":
        this.#isQuiet = first === "on";
        return;
      case "campaign":
        return this.#node(first).campaign();
      case "propose": {
        const proposal = this.#node(first).propose(second ?? "");
        if (!proposal.accepted) this.#print(`${first} refuses "${second}": ${proposal.refusal}`);
        return;
      }
      case "tick":
        return this.#node(first).tick(count);
      case "read-index": {
        const asked = this.#node(first).do((raft) => raft.requestRead(Number(second)));
        if (!asked) this.#print(`${first} knows nobody to ask for read ${second}`);
        return;
      }
      case "transfer": {
        const begun = this.#node(first).do((raft) => raft.transferLeadership(second ?? ""));
        if (!begun) this.#print(`${first} does not hand over to ${second}`);
        return;
      }
      case "forget-leader":
        return this.#forgetLeader(this.#node(first), count);
      case "unreachable":
        return this.#node(first).do((raft) => raft.peerUnreachable(second ?? ""));
      default:
        if (this.#runOnDisk(name, words) || this.#runOnMembers(name, words)) return;
        this.#runOnWire(name, words);
    }
  }

  /** Returns whether the command was about members or snapshots. */
  #runOnMembers(name: string, words: readonly string[]): boolean {
    const [first, second = "", third] = words;
    switch (name) {
      case "change-members": {
        const next = configurationFrom(words.slice(1).join(" "));
        const problem = this.#node(first).proposeMembers(next);
        if (problem !== "") this.#print(`${first} refuses that change: ${problem}`);
        return true;
      }
      case "hold-leave":
        this.#node(first).isLeaveHeld = true;
        return true;
      case "release-leave":
        this.#node(first).isLeaveHeld = false;
        this.#node(first).carryOut();
        return true;
      case "begin-snapshot": {
        const node = this.#node(first);
        const index = third === undefined ? node.commitIndex : Number(third);
        const snapshot = node.beginSnapshot(second, index);
        this.#snapshots.set(second, snapshot);
        const members = configurationWords(snapshot.configuration);
        this.#print(
          `${first}->${second} snapshot t${snapshot.term} ${id(snapshot.base)} [${members}]`,
        );
        return true;
      }
      case "take-snapshot":
        this.#takeSnapshot(this.#node(first));
        return true;
      case "end-snapshot":
        this.#node(first).do((raft) => raft.snapshotEnded(second, third === "delivered"));
        return true;
      default:
        return false;
    }
  }

  #takeSnapshot(node: TestNode): void {
    const snapshot = this.#snapshots.get(node.id);
    assert(snapshot !== undefined, () => `a snapshot is on its way to ${node.id}`);
    const at = this.#lines.length;
    this.#print(`${node.id} takes in the snapshot of ${snapshot.leader} at ${id(snapshot.base)}`);
    const isRestored = node.takeSnapshot(snapshot);
    if (!this.#isQuiet && !isRestored) this.#lines[at] += ", and keeps its log";
  }

  #forgetLeader(node: TestNode, waitTicks: number): void {
    const { leader } = node.raft.view;
    assert(leader !== undefined, () => `${node.id} knows a leader`);
    node.do((raft) => raft.forgetLeader(leader, waitTicks));
  }

  /** Returns whether the command was about a disk. */
  #runOnDisk(name: string, words: readonly string[]): boolean {
    const [first, second] = words;
    switch (name) {
      case "hold-disk":
        this.#node(first).isDiskHeld = true;
        return true;
      case "release-disk":
        this.#node(first).isDiskHeld = false;
        this.#node(first).persist();
        return true;
      case "persist":
        this.#node(first).persist(Number(second ?? 1));
        return true;
      case "crash":
        this.#node(first).crash(Number(second ?? 0));
        return true;
      case "wipe":
        this.#node(first).wipe();
        return true;
      case "restart": {
        const node = this.#node(first);
        node.restart();
        const { term, vote } = node.durable.hardState;
        this.#commits.set(node.id, node.commitIndex);
        this.#members.set(node.id, configurationWords(node.raft.configuration));
        this.#print(`${first} finds term=${term} vote=${vote ?? "-"} log=[${node.logIds}]`);
        return true;
      }
      case "compact":
        this.#node(first).compact(Number(second));
        return true;
      case "uncache":
        this.#node(first).log.cachedFrom = Number(second);
        return true;
      default:
        return false;
    }
  }

  #runOnWire(name: string, words: readonly string[]): void {
    const cluster = this.#cluster;
    switch (name) {
      case "deliver":
        for (const message of cluster.take(parseFilter(words))) this.#arrive(message);
        return;
      case "drop":
        for (const message of cluster.take(parseFilter(words))) this.#printLost(message);
        return;
      case "duplicate": {
        const copies = cluster.take(parseFilter(words));
        cluster.wire.push(...copies, ...copies);
        return;
      }
      case "keep-back": {
        const late = cluster.take(parseFilter(words));
        cluster.wire.push(...late);
        return;
      }
      case "reverse":
        cluster.wire.reverse();
        return;
      case "stabilize":
        return this.#stabilize();
      case "cut":
        return this.#cut(words[0]);
      case "isolate":
        return cluster.isolate(this.#node(words[0]).id);
      case "heal":
        return cluster.heal();
      default:
        return this.#show(name, words);
    }
  }

  #show(name: string, words: readonly string[]): void {
    const nodes = words.length === 0 ? this.#cluster.nodes : [this.#node(words[0])];
    switch (name) {
      case "status":
        for (const node of nodes) this.#lines.push(formatStatus(node));
        return;
      case "members":
        for (const node of nodes) {
          const { configuration, configurationIndex } = node.raft.view;
          const words = configurationWords(configuration);
          this.#lines.push(`${node.id} [${words}] since ${configurationIndex}`);
        }
        return;
      case "raft-log":
        for (const node of nodes) this.#lines.push(`${node.id} [${node.logIds}]`);
        return;
      case "progress":
        for (const peer of this.#node(words[0]).raft.peers()) {
          this.#lines.push(`${peer.id} ${peer.state} match=${peer.match} next=${peer.next}`);
        }
        return;
      case "wire":
        for (const message of this.#cluster.wire) this.#lines.push(formatMessage(message));
        return;
      default:
        throw new Error(`Cannot run "${name}": no such command`);
    }
  }

  #addNodes(nodeCount: number, words: readonly string[]): void {
    const config: Record<string, number> = {};
    const logs: Record<NodeId, number[]> = {};
    let who: { members?: string; joining?: readonly NodeId[] } = {};
    for (const word of words) {
      const [key = "", value = ""] = word.split("=");
      const name = CONFIG_WORDS[key];
      if (name !== undefined) config[name] = Number(value);
      else if (key === "members") who = { ...who, members: value.replaceAll(",", " ") };
      else if (key === "joining") who = { ...who, joining: value.split(",") };
      else logs[key] = value.split(",").map(Number);
    }
    this.#cluster = new Cluster({ nodeCount, config, logs, ...who });
    this.#commits.clear();
    this.#snapshots.clear();
    this.#members.clear();
    for (const node of this.#cluster.nodes) {
      this.#members.set(node.id, configurationWords(node.raft.configuration));
    }
    this.#cluster.watcher = {
      onReady: (node, ready) => this.#printReady(node, ready),
      onPersisted: (node, number) => {
        if (node.isDiskHeld) this.#print(`  ${node.id} synced #${number}`);
      },
    };
  }

  #printReady(node: TestNode, ready: Ready): void {
    const say = (text: string) => this.#print(`  ${node.id} ${text}`);
    for (const event of ready.events) say(formatEvent(event));
    const { hardState, entries, truncateFrom, catchUps, reads, restored } = ready;
    if (restored !== undefined) say(`starts over behind ${id(restored)}`);
    if (hardState !== undefined) say(`term=${hardState.term} vote=${hardState.vote ?? "-"}`);
    if (truncateFrom !== undefined) say(`supersedes from ${truncateFrom} on`);
    if (entries.length > 0) say(`writes ${formatEntries(entries)}`);
    const members = configurationWords(node.raft.configuration);
    if (members !== this.#members.get(node.id)) say(`counts with [${members}]`);
    this.#members.set(node.id, members);
    if (node.isDiskHeld && ready.mustSync) say(`waits for the sync of #${ready.number}`);
    for (const { peer, from } of catchUps) say(`reads from ${from} on for ${peer}`);
    if (ready.commitIndex > (this.#commits.get(node.id) ?? 0)) say(`commit=${ready.commitIndex}`);
    this.#commits.set(node.id, ready.commitIndex);
    for (const peer of ready.snapshotPeers) say(`has to send ${peer} a snapshot`);
    for (const { context, index } of reads) say(`may serve read ${context} at ${index}`);
  }

  #arrive(message: RaftMessage): void {
    const at = this.#lines.length;
    this.#print(formatMessage(message));
    if (!this.#cluster.arrive(message) && !this.#isQuiet) this.#lines[at] += " LOST";
  }

  #printLost(message: RaftMessage): void {
    this.#print(`${formatMessage(message)} LOST`);
  }

  #stabilize(): void {
    for (let rounds = 0; this.#cluster.wire.length > 0; rounds += 1) {
      assert(rounds < 1_000, "a cluster without ticks falls silent");
      for (const message of this.#cluster.take()) this.#arrive(message);
    }
  }

  #cut(link: string | undefined): void {
    const { from, to } = parseFilter(link === undefined ? [] : [link]);
    assert(from !== undefined && to !== undefined, "a cut names both ends");
    this.#cluster.cut(from, to);
  }
}

function formatStatus(node: TestNode): string {
  if (!node.isAlive) return `${node.id} down`;
  const { role, term, vote, leader, lastIndex, durableIndex } = node.raft.view;
  const state = `${role} term=${term} vote=${vote ?? "-"} leader=${leader ?? "-"}`;
  const durable = durableIndex === lastIndex ? "" : ` durable=${durableIndex}`;
  return `${node.id} ${state} last=${lastIndex}${durable} commit=${node.commitIndex}`;
}

/** `n1->n2`, `n1->`, `->n2`, then perhaps a message type; nothing means all. */
function parseFilter(words: readonly string[]): MessageFilter {
  const link = words.find((word) => word.includes("->"));
  const type = words.find((word) => !word.includes("->"));
  const [from = "", to = ""] = link?.split("->") ?? [];
  return {
    ...(from === "" ? {} : { from }),
    ...(to === "" ? {} : { to }),
    ...(type === undefined ? {} : { type: type as RaftMessage["type"] }),
  };
}
