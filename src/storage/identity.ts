/**
 * Which cluster and which data folder a log belongs to.
 *
 * @module
 */

/** Whose log it is. */
export interface LogIdentity {
  /** 16 hex digits. */
  readonly clusterId: string;
  readonly nodeId: string;
  /** 16 hex digits. */
  readonly incarnation: string;
  /** The folder was made to join a cluster: what it holds at first is not the whole. */
  readonly isJoined?: boolean;
}
