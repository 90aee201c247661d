/**
 * Messages between nodes that all take writes: a closed union on `type`.
 *
 * @module
 */

import type { Origin } from "./dot.ts";
import type { Operation } from "./operation.ts";
import type { VersionVector } from "./version_vector.ts";

interface Envelope {
  readonly from: string;
  readonly to: string;
  /** The sender's incarnation. */
  readonly origin: Origin;
}

/** Operations of any origins, each after all that its writer had seen. */
export interface OperationsMessage extends Envelope {
  readonly type: "OPERATIONS";
  readonly operations: readonly Operation[];
}

/** The operations on the sender's disk. */
export interface CursorMessage extends Envelope {
  readonly type: "CURSOR";
  readonly cursor: VersionVector;
  /** Whether it asks for all that it lacks; otherwise it answers {@link OperationsMessage}. */
  readonly isPull: boolean;
  /** Operations whose removals the sender may have forgotten. */
  readonly stable: VersionVector;
  /** Version of the members that the sender knows. */
  readonly membersVersion: number;
}

/** The receiver is no member, or was away for longer than the others keep what it lacks. */
export interface ReseedMessage extends Envelope {
  readonly type: "RESEED";
  /** The incarnation that is meant: a later one has begun again already. */
  readonly incarnation: Origin;
  /** Operations that are kept for no member any more. */
  readonly stable: VersionVector;
  /** Version of the members by which the sender judges. */
  readonly membersVersion: number;
}

/** Everything that is said. */
export type MultiMasterMessage = OperationsMessage | CursorMessage | ReseedMessage;
