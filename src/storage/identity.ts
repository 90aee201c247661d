/**
 * The cluster and the data directory that a log belongs to.
 *
 * @module
 */

/** The owner of a log. */
export interface LogIdentity {
  /** 16 hex digits. */
  readonly clusterId: string;
  readonly nodeId: string;
  /** 16 hex digits; each data directory of a node has another one. */
  readonly incarnation: string;
  /** Whether the directory was made to join a cluster: its state is incomplete at first. */
  readonly isJoined?: boolean;
}
