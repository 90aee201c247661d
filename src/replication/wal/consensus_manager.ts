/**
 * Consensus, as the layers above use it.
 *
 * @module
 */

import type { Entry, NodeId, Term } from "../../raft/types.ts";
import type { WALEntry } from "../../storage/wal/iwal_manager.ts";

/** Role of a node, in capitals as programs of the public API know it. */
export type ConsensusRole = "FOLLOWER" | "CANDIDATE" | "LEADER";

/** RequestVote as the paper's figure 2 writes it. */
export interface VoteQuestion {
  readonly term: Term;
  readonly candidateId: NodeId;
  readonly lastLogIndex: number;
  readonly lastLogTerm: Term;
}

/** The answer to a {@link VoteQuestion}; given only when the vote is on the disk. */
export interface VoteAnswer {
  readonly term: Term;
  readonly voteGranted: boolean;
}

/** AppendEntries as the paper's figure 2 writes it. */
export interface AppendQuestion {
  readonly term: Term;
  readonly leaderId: NodeId;
  readonly prevLogIndex: number;
  readonly prevLogTerm: Term;
  readonly entries: readonly Entry[];
  readonly leaderCommit: number;
}

/** The answer to an {@link AppendQuestion}; success only when the entries are on the disk. */
export interface AppendAnswer {
  readonly term: Term;
  readonly success: boolean;
  /** On success the last index that is known to equal the leader's log. */
  readonly matchIndex: number;
}

/** Drives one node's consensus. */
export interface ConsensusManager {
  readonly nodeId: NodeId;
  readonly currentTerm: Term;
  readonly state: ConsensusRole;
  /** Empty while no leader is known. */
  readonly leaderId: NodeId;
  isLeader(): boolean;
  requestVote(request: VoteQuestion): Promise<VoteAnswer>;
  appendEntries(request: AppendQuestion): Promise<AppendAnswer>;
  /** Campaigns now; resolves with the leader that comes of it. Rejects with DeadlineError. */
  electLeader(): Promise<NodeId>;
  /**
   * Resolves with true when the entry is committed and applied here; its sequence number is filled
   * in. Rejects with NotLeaderError, OverloadedError (nothing happened), UnknownOutcomeError.
   */
  replicateEntry(entry: WALEntry): Promise<boolean>;
  transferLeadership(to: NodeId): Promise<void>;
  onLeaderElected(listener: (leaderId: NodeId) => void): () => void;
  onStateChanged(listener: (state: ConsensusRole) => void): () => void;
  stop(): Promise<void>;
}
