/**
 * The state of a node at a glance, for status reports and for the driver.
 *
 * @module
 */

import type { Configuration } from "./configuration.ts";
import type { ProgressState } from "./progress.ts";
import type { LogIndex, NodeId, Role, Term } from "./types.ts";

/** A leader's view of one member, for status. */
export interface PeerView {
  readonly id: NodeId;
  /** The member's disk holds the leader's log up to here: `0 <= match < next`. */
  readonly match: LogIndex;
  /** The next append begins here: `match < next <= lastIndex + 1`. */
  readonly next: LogIndex;
  readonly state: ProgressState;
}

/** The node's state at a glance. */
export interface RaftView {
  readonly id: NodeId;
  readonly role: Role;
  readonly term: Term;
  readonly vote: NodeId | undefined;
  readonly leader: NodeId | undefined;
  /** `1 <= firstIndex <= lastIndex + 1`. */
  readonly firstIndex: LogIndex;
  /** `firstIndex - 1 <= lastIndex`. */
  readonly lastIndex: LogIndex;
  /** `0 <= durableIndex <= lastIndex`. */
  readonly durableIndex: LogIndex;
  /** `firstIndex - 1 <= commitIndex <= lastIndex`. */
  readonly commitIndex: LogIndex;
  /** Every voter holds the log up to here, as far as this node knows; a leader's <= lastIndex. */
  readonly heldIndex: LogIndex;
  readonly transferee: NodeId | undefined;
  readonly hasCommittedOwnTerm: boolean;
  /** The configuration that counts. */
  readonly configuration: Configuration;
  /** The entry that set it: `0 <= configurationIndex <= lastIndex`. */
  readonly configurationIndex: LogIndex;
}
