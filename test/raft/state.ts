/**
 * One node's state without a driver: the functions of the roles are called directly, and the test
 * decides when the tail is written and when it is durable.
 *
 * @module
 */

import type { RaftConfig } from "../../src/raft/config.ts";
import { becomeLeader, payAppends } from "../../src/raft/leader.ts";
import type { RaftMessage } from "../../src/raft/message.ts";
import { RaftState } from "../../src/raft/raft_state.ts";
import type { HardState, NodeId, Term } from "../../src/raft/types.ts";
import { Cluster, configurationFrom, entriesOf, MemoryLog } from "./cluster.ts";

/** The start of a node; without options it is n1 of three voters, with nothing on its disk. */
export interface StateOptions {
  readonly id?: NodeId;
  readonly members?: string;
  /** Terms of the entries on its disk. */
  readonly log?: readonly Term[];
  readonly hardState?: HardState;
  readonly config?: Partial<RaftConfig>;
}

/** A state and the log that its entries are written to. */
export class StateUnderTest {
  readonly state: RaftState;
  readonly disk: MemoryLog;
  #writes = 0;

  constructor(options: StateOptions = {}) {
    const { id = "n1", members = "n1 n2 n3", log = [], config = {} } = options;
    const term = log.at(-1) ?? 0;
    this.disk = new MemoryLog(entriesOf(...log));
    this.state = new RaftState(
      {
        ...new Cluster({ nodeCount: 3 }).configOf(id, 1),
        configurations: [{ index: 0, configuration: configurationFrom(members) }],
        hardState: options.hardState ?? { term, vote: undefined },
        ...config,
      },
      this.disk,
    );
  }

  /** Writes the tail, as the driver does before anything else. */
  write(): number {
    const { restored, entries } = this.state.log.takeTail();
    if (restored !== undefined) this.disk.restartBehind(restored);
    this.disk.write(entries);
    this.#writes += 1;
    this.state.log.persisting(this.#writes);
    return this.#writes;
  }

  /** Writes the tail and makes it durable. */
  sync(): void {
    this.state.log.persisted(this.write());
  }

  /** Takes the messages that may leave at once. */
  takeSent(): readonly RaftMessage[] {
    const { messages } = this.state;
    this.state.messages = [];
    return messages;
  }

  /** Takes the messages that wait for the disk. */
  takePromises(): readonly RaftMessage[] {
    const { messagesAfterPersist } = this.state;
    this.state.messagesAfterPersist = [];
    return messagesAfterPersist;
  }

  takeEvents(): RaftState["events"] {
    const { events } = this.state;
    this.state.events = [];
    return events;
  }
}

/** A node that has just won the election of term 1, or of `hardState.term`; nothing is sent yet. */
export function leaderUnderTest(options: StateOptions = {}): StateUnderTest {
  const id = options.id ?? "n1";
  const term = options.hardState?.term ?? (options.log?.at(-1) ?? 0) + 1;
  const node = new StateUnderTest({ ...options, hardState: { term, vote: id } });
  node.state.role = "candidate";
  becomeLeader(node.state);
  payAppends(node.state);
  return node;
}

/** A leader of term 1 whose first entry is durable here, committed, and held by all its peers. */
export function settledLeader(options: StateOptions = {}): StateUnderTest {
  const node = leaderUnderTest(options);
  const { state } = node;
  node.sync();
  for (const progress of state.progress.values()) {
    progress.acknowledged(state.log.lastIndex);
    progress.becomeReplicate();
  }
  state.commitTo(state.log.lastIndex);
  state.uncommitted = [];
  state.uncommittedBytes = 0;
  node.takeSent();
  node.takePromises();
  node.takeEvents();
  return node;
}
