/**
 * MessageQueue: the bounded outgoing queue to one peer. Small urgent frames never wait behind bulk
 * data, and of some kinds only the newest is worth sending.
 *
 * @module
 */

import { PEER_OUT_BYTES_MAX } from "../base/limits.ts";
import { isConsensusType } from "../protocol/wire/replication_message.ts";

/**
 * `latest`: urgent, a newer one of the same kind replaces it. `urgent`: small, before all bulk.
 * `bulk`: in order; when the queue is full it is dropped, and the sender's protocol sends it again.
 */
export type QueuePolicy = "latest" | "urgent" | "bulk";

/** Frames waiting for one peer. */
export class MessageQueue {
  readonly #bytesMax: number;
  /** One frame of a kind. */
  #latest: { readonly kind: string; frame: Uint8Array }[] = [];
  #urgent: Uint8Array[] = [];
  #bulk: Uint8Array[] = [];
  #bytes = 0;
  #dropped = 0;

  constructor(options: { readonly bytesMax?: number } = {}) {
    this.#bytesMax = options.bytesMax ?? PEER_OUT_BYTES_MAX;
  }

  /** Frames that wait. */
  get size(): number {
    return this.#latest.length + this.#urgent.length + this.#bulk.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Frames that were dropped because the queue was full. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Returns whether the frame was taken. */
  enqueue(kind: string, policy: QueuePolicy, frame: Uint8Array): boolean {
    const isLatest = policy === "latest";
    const older = isLatest ? this.#latest.find((latest) => latest.kind === kind) : undefined;
    const growth = frame.byteLength - (older?.frame.byteLength ?? 0);
    if (this.#bytes + growth > this.#bytesMax) {
      this.#dropped += 1;
      return false;
    }
    this.#bytes += growth;
    if (older !== undefined) older.frame = frame;
    else if (isLatest) this.#latest.push({ kind, frame });
    else if (policy === "urgent") this.#urgent.push(frame);
    else this.#bulk.push(frame);
    return true;
  }

  /**
   * Takes urgent frames first, then bulk, until `bytesMax` is reached; at least one if any waits.
   */
  take(bytesMax: number): Uint8Array[] {
    const taken = this.#latest.map(({ frame }) => frame);
    this.#latest = [];
    for (const frame of this.#urgent) taken.push(frame);
    this.#urgent = [];
    let size = 0;
    for (const frame of taken) size += frame.byteLength;
    let count = 0;
    while (count < this.#bulk.length && (size < bytesMax || taken.length === 0)) {
      const frame = this.#bulk[count]!;
      taken.push(frame);
      size += frame.byteLength;
      count += 1;
    }
    if (count > 0) this.#bulk.splice(0, count);
    this.#bytes -= size;
    return taken;
  }

  /** Forgets everything: the connection is gone, and so is its order. */
  clear(): void {
    this.#latest = [];
    this.#urgent = [];
    this.#bulk = [];
    this.#bytes = 0;
  }
}

/** How each kind of message queues: see {@link QueuePolicy}. */
export function policyOf(type: string): QueuePolicy {
  if (type === "APPEND_ENTRIES") return "bulk";
  if (type === "HEARTBEAT" || type === "HEARTBEAT_RESPONSE") return "latest";
  return isConsensusType(type) ? "urgent" : "bulk";
}
