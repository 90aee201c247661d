/**
 * Messages between nodes that all take writes: a closed union on `type`.
 *
 * @module
 */

import { isCount } from "../base/value.ts";
import type { Origin } from "./operation/dot.ts";
import type { PackedOperation } from "./operation/operation.ts";
import { isVector } from "./operation/operation_check.ts";
import type { VersionVector } from "./operation/version_vector.ts";

interface Envelope {
  readonly from: string;
  readonly to: string;
  /** The sender's incarnation. */
  readonly origin: Origin;
  /** Version of the agreement that the sender knows. */
  readonly version: number;
}

/** Operations of any origins, each after all that its writer had. */
export interface OperationsMessage extends Envelope {
  readonly type: "OPERATIONS";
  readonly operations: readonly PackedOperation[];
}

/** The operations on the sender's disk. */
export interface CursorMessage extends Envelope {
  readonly type: "CURSOR";
  readonly cursor: VersionVector;
  /**
   * Checksum of the last operation in the cursor, of each origin of which none is on its way to the
   * disk.
   */
  readonly chains: ReadonlyMap<Origin, number>;
  /** Whether it asks for all that it lacks; otherwise it answers {@link OperationsMessage}. */
  readonly isPull: boolean;
  /** Round of the floor up to which the sender has forgotten. */
  readonly round: number;
  /** The sender's clock, ms since 1970. */
  readonly wallMs: number;
}

/**
 * The receiver begins again with another member's state. `not-member`: its incarnation is over.
 * `behind`: it lacks what the others keep no more. `forked`: it gave a number to two operations.
 */
export interface ReseedMessage extends Envelope {
  readonly type: "RESEED";
  readonly reason: "not-member" | "behind" | "forked";
  /** The incarnation that is meant: a later one has begun again already. */
  readonly incarnation: Origin;
}

/** Everything that is said. */
export type MultiMasterMessage = OperationsMessage | CursorMessage | ReseedMessage;

/** Whether a cursor from outside has the form of one. */
export function isCursor({ cursor, chains, wallMs, version, round }: CursorMessage): boolean {
  if (!isVector(cursor) || !(chains instanceof Map)) return false;
  return isCount(wallMs) && isCount(version) && isCount(round);
}
