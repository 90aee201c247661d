/**
 * Another member, as a node knows it.
 *
 * @module
 */

import type { Origin } from "./dot.ts";
import { NOTHING_SEEN, type VersionVector } from "./version_vector.ts";

/** State of another member, in its present incarnation. */
export interface Peer {
  readonly origin: Origin | undefined;
  /** The operations on its disk. */
  cursor: VersionVector;
  /** Its cursor when all that was sent to it has arrived. */
  sent: VersionVector;
  /** Its cursor at its last pull. */
  asked: VersionVector | undefined;
  /** Whether it has answered in this incarnation of this node, and what it had forgotten then. */
  forgotten: VersionVector | undefined;
}

/** A member that has said nothing yet. */
export function newPeer(origin: Origin | undefined): Peer {
  const nothing = { cursor: NOTHING_SEEN, sent: NOTHING_SEEN };
  return { origin, ...nothing, asked: undefined, forgotten: undefined };
}
