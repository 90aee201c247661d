/**
 * Consensus without disk and network: three cores in one process, whose messages are handed over at
 * once and whose syncs end at once. The cost of deciding remains.
 *
 * @module
 */

import { assert } from "../../src/base/assert.ts";
import { sealBatch } from "../../src/protocol/encoding/batch_codec.ts";
import { firstMembers, noopBatch } from "../../src/protocol/encoding/cluster_command.ts";
import { Configuration } from "../../src/raft/configuration.ts";
import type { RaftMessage } from "../../src/raft/message.ts";
import { Raft } from "../../src/raft/raft.ts";
import type { Entry, EntrySource, LogIndex, LogReader, Term } from "../../src/raft/types.ts";
import { configurationOf } from "../../src/replication/raft/logged_configurations.ts";
import { type MicroGroup, type MicroTask, runMicro } from "./micro_runner.ts";

const IDS = ["n1", "n2", "n3"] as const;
/** Entries that a log keeps at least; older ones go, so that memory stays bounded. */
const KEPT = 4096;
/** Proposals in one sample. */
const PROPOSALS = 256;
const OPERATIONS = 64;
const BODY = new Uint8Array(64 * 128);

/** The entries that a Raft has written, cut at the head. */
class KeptLog implements LogReader {
  #base = { index: 0, term: 0, nextSequence: 1 };
  #entries: Entry[] = [];

  firstIndex(): LogIndex {
    return this.#base.index + 1;
  }

  lastIndex(): LogIndex {
    return this.#base.index + this.#entries.length;
  }

  term(index: LogIndex): Term | undefined {
    if (index === this.#base.index) return this.#base.term;
    return this.#entries[index - this.#base.index - 1]?.term;
  }

  sequenceAfter(index: LogIndex): number {
    const entry = this.#entries[index - this.#base.index - 1];
    return entry === undefined ? this.#base.nextSequence : entry.firstSequence + entry.count;
  }

  entries(from: LogIndex, to: LogIndex): readonly Entry[] | undefined {
    if (from <= this.#base.index) return undefined;
    return this.#entries.slice(from - this.#base.index - 1, to - this.#base.index);
  }

  write(entries: readonly Entry[]): void {
    for (const entry of entries) {
      assert(entry.index === this.lastIndex() + 1, "this log has no conflicts");
      this.#entries.push(entry);
    }
    if (this.#entries.length < 2 * KEPT) return;
    const index = this.#base.index + KEPT;
    const base = { index, term: this.term(index) ?? 0, nextSequence: this.sequenceAfter(index) };
    this.#entries.splice(0, KEPT);
    this.#base = base;
  }
}

interface BenchNode {
  readonly id: string;
  readonly raft: Raft;
  readonly log: KeptLog;
}

function noop(): EntrySource {
  const batch = noopBatch();
  return { count: 1, size: batch.bytes.byteLength, seal: (place) => sealBatch(batch, place) };
}

const NODES = IDS.map((id) => ({ id, address: "" }));

function startNode(id: string): BenchNode {
  const log = new KeptLog();
  const config = {
    id,
    configurations: [{ index: 0, configuration: new Configuration(firstMembers(NODES)) }],
    configurationOf,
    heartbeatTicks: 2,
    electionTicks: 20,
    adaptiveTicksMax: 0,
    arrivalHalfLifeTicks: 1000,
    hasLeases: false,
    rankTicks: 4,
    jitterTicks: 4,
    appendBytesMax: 1024 * 1024,
    inflightMessagesMax: 64,
    inflightBytesMax: 16 * 1024 * 1024,
    uncommittedBytesMax: 64 * 1024 * 1024,
    seed: 1,
    noop,
    hardState: { term: 0, vote: undefined },
    commitIndex: 0,
  };
  return { id, raft: new Raft(config, log), log };
}

/** Three nodes whose messages are carried until there are none. */
class BenchCluster {
  readonly nodes: readonly BenchNode[] = IDS.map(startNode);
  readonly #mail: RaftMessage[] = [];

  constructor() {
    this.leader.raft.campaign();
    this.settle();
    assert(this.leader.raft.role === "leader", "the only candidate is elected");
  }

  get leader(): BenchNode {
    return this.nodes[0]!;
  }

  settle(): void {
    do {
      for (const node of this.nodes) this.#carryOut(node);
      for (const message of this.#mail.splice(0)) {
        this.nodes.find((node) => node.id === message.to)?.raft.step(message);
      }
    } while (this.#mail.length > 0 || this.nodes.some((node) => this.#carryOut(node)));
  }

  #carryOut({ raft, log }: BenchNode): boolean {
    let isActive = false;
    for (let ready = raft.takeReady(); ready !== undefined; ready = raft.takeReady()) {
      isActive = true;
      this.#mail.push(...ready.messages);
      log.write(ready.entries);
      raft.persisted(ready.number);
      this.#mail.push(...ready.messagesAfterPersist);
    }
    return isActive;
  }
}

const SOURCE: EntrySource = { count: OPERATIONS, size: BODY.byteLength, seal: () => BODY };

function proposing(cluster: BenchCluster, together: number): MicroTask {
  return {
    name: `propose and commit on 3 nodes, ${together} at a time`,
    operations: PROPOSALS,
    run: () => {
      const { raft, log } = cluster.leader;
      for (let done = 0; done < PROPOSALS; done += together) {
        for (let i = 0; i < together; i += 1) raft.propose(SOURCE);
        cluster.settle();
      }
      assert(raft.commitIndex === log.lastIndex(), "everything is committed");
    },
  };
}

/** Steps of consensus. */
export const RAFT_BENCH: MicroGroup = {
  name: "raft",
  async open() {
    const cluster = new BenchCluster();
    const tick: MicroTask = {
      name: "tick of 3 nodes with heartbeats",
      operations: PROPOSALS,
      run: () => {
        for (let i = 0; i < PROPOSALS; i += 1) {
          for (const { raft } of cluster.nodes) raft.tick();
          cluster.settle();
        }
      },
    };
    const tasks = [proposing(cluster, 1), proposing(cluster, 4), tick];
    return { tasks, close: async () => {} };
  },
};

if (import.meta.main) await runMicro([RAFT_BENCH]);
