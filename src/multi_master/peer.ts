/**
 * Another member, as a node knows it: what it has, and what is on its way to it.
 *
 * @module
 */

import type { Origin } from "./operation/dot.ts";
import type { PackedOperation } from "./operation/operation.ts";
import { includes, join, NOTHING_SEEN, type VersionVector } from "./operation/version_vector.ts";

/** A message that the other disk has not answered. */
interface InFlight {
  readonly last: VersionVector;
  readonly bytes: number;
}

/** A member, as operators see it. */
export interface PeerView {
  readonly node: string;
  readonly isUp: boolean;
  /** The operations on its disk, as last heard. */
  readonly cursor: VersionVector;
  /** Operations on this node's disk that it is not known to have. */
  readonly lag: number;
}

/** State of another member, in its present incarnation. */
export class Peer {
  readonly node: string;
  readonly origin: Origin;
  isUp = true;
  /** The operations on its disk. */
  cursor: VersionVector = NOTHING_SEEN;
  /** Its cursor when all that was sent to it has arrived. */
  sent: VersionVector = NOTHING_SEEN;
  /** Its cursor at its last pull. */
  asked: VersionVector | undefined;
  /** Whether it wants operations of all origins, until none are left. */
  wantsAll = false;
  /** It needs operations that this node has deleted, and was told so. */
  isBehind = false;
  /** Version of the agreement and round of the floor that it knew; 0 and -1 until it speaks. */
  version = 0;
  round = -1;
  #inFlight: InFlight[] = [];
  #bytesInFlight = 0;

  constructor(node: string, origin: Origin) {
    this.node = node;
    this.origin = origin;
  }

  get bytesInFlight(): number {
    return this.#bytesInFlight;
  }

  /** Operations leave for it. */
  send(operations: readonly PackedOperation[], bytes: number): void {
    const last = new Map<Origin, number>();
    for (const { origin, sequence } of operations) last.set(origin, sequence);
    this.sent = join(this.sent, last);
    this.#inFlight.push({ last, bytes });
    this.#bytesInFlight += bytes;
  }

  /** Its disk has these. */
  acknowledge(cursor: VersionVector): void {
    this.cursor = join(this.cursor, cursor);
    this.#inFlight = this.#inFlight.filter(({ last, bytes }) => {
      if (!includes(this.cursor, last)) return true;
      this.#bytesInFlight -= bytes;
      return false;
    });
  }

  /** What was on its way is lost, or may be. */
  sendAgain(): void {
    this.sent = this.cursor;
    this.#inFlight = [];
    this.#bytesInFlight = 0;
  }
}

/** What a byte of a document costs that is sent as a change, in bytes of one that is sent whole. */
const WHOLE_SHARE = 4;

/** Bytes of documents in an operation, and something for the rest of it. */
export function sizeOf({ changes }: PackedOperation): number {
  let size = 64;
  for (const { key, content, packed } of changes) {
    size += 32 + key.byteLength;
    // Who takes it in makes the whole document of it.
    if (packed !== undefined) size += packed.delta.byteLength + packed.size / WHOLE_SHARE;
    if (packed !== undefined || content?.kind !== "document") continue;
    size += content.body.byteLength + 48 * (content.marks?.parts.length ?? 0);
  }
  return size;
}
