/**
 * Sends snapshots to nodes that the log cannot bring up to date any more: piece by piece, one piece
 * under way to each, at a bounded rate, so that the cluster's own work goes on beside it.
 *
 * @module
 */

import type { RateLimit } from "../../base/rate_limit.ts";
import type { TransferView } from "../../cluster/membership_changes.ts";
import type { CancelTimer, Clock } from "../../platform/clock.ts";
import {
  SNAPSHOT_CHUNK_SIZE,
  type SnapshotMessage,
  type SnapshotProgress,
} from "../../protocol/wire/snapshot_message.ts";
import type { OutgoingSnapshot } from "../../storage/snapshot_files.ts";

/** A receiver that says nothing for so long is given up until its next sign of life. */
const SILENCE_MAX_MS = 10_000;

/** Services that the sender needs from its node. */
export interface SenderParts {
  readonly id: string;
  readonly clock: Clock;
  /** Rate of everything that is sent to nodes which are behind. */
  readonly rate: RateLimit;
  /** The newest snapshot; undefined when there is none that can be read. */
  open(): OutgoingSnapshot | undefined;
  send(message: SnapshotMessage): void;
  ended(peer: string, isDelivered: boolean): void;
}

interface Transfer {
  readonly peer: string;
  readonly term: number;
  readonly file: OutgoingSnapshot;
  sentBytes: number;
  cancelSilence: CancelTimer;
  cancelNext: CancelTimer;
}

/** The snapshots that this node sends. */
export class SnapshotSender {
  readonly #parts: SenderParts;
  readonly #transfers = new Map<string, Transfer>();

  constructor(parts: SenderParts) {
    this.#parts = parts;
  }

  /** Offers the newest snapshot to a peer. */
  start(peer: string, term: number): void {
    if (this.#transfers.has(peer)) return;
    const file = this.#parts.open();
    if (file === undefined) {
      this.#parts.clock.soon(() => this.#parts.ended(peer, false));
      return;
    }
    const nothing = (): void => undefined;
    const transfer: Transfer = {
      peer,
      term,
      file,
      sentBytes: 0,
      cancelSilence: nothing,
      cancelNext: nothing,
    };
    this.#transfers.set(peer, transfer);
    this.#watch(transfer);
    const { base, size } = file;
    this.#parts.send({ ...this.#envelope(transfer), type: "SNAPSHOT_OFFER", base, size });
  }

  /** A receiver says what it has. */
  progress(message: SnapshotProgress): void {
    const transfer = this.#transfers.get(message.from);
    if (transfer === undefined || message.checksum !== transfer.file.checksum) return;
    if (message.status !== "receiving") {
      this.#end(transfer, message.status === "done");
      return;
    }
    this.#watch(transfer);
    transfer.sentBytes = Math.min(message.offset, transfer.file.size);
    if (transfer.sentBytes < transfer.file.size) this.#sendSoon(transfer);
  }

  /** The connection to a peer broke: the transfer goes on from there at the next contact. */
  lost(peer: string): void {
    const transfer = this.#transfers.get(peer);
    if (transfer !== undefined) this.#end(transfer, false);
  }

  view(peer: string): TransferView | undefined {
    const transfer = this.#transfers.get(peer);
    if (transfer === undefined) return undefined;
    const { file, sentBytes } = transfer;
    return { index: file.base.index, sentBytes, sizeBytes: file.size };
  }

  /** This node does not lead any more, or stops. */
  stop(): void {
    for (const transfer of [...this.#transfers.values()]) this.#end(transfer, false);
  }

  #envelope({ peer, term, file }: Transfer) {
    const { checksum } = file;
    return { from: this.#parts.id, to: peer, term, index: file.base.index, checksum };
  }

  #sendSoon(transfer: Transfer): void {
    const { clock, rate } = this.#parts;
    const waitMs = rate.delayMs(clock.nowMs(), SNAPSHOT_CHUNK_SIZE);
    transfer.cancelNext();
    transfer.cancelNext = clock.setTimer(waitMs, () => this.#sendChunk(transfer));
  }

  #sendChunk(transfer: Transfer): void {
    const offset = transfer.sentBytes;
    const bytes = transfer.file.read(offset, SNAPSHOT_CHUNK_SIZE);
    this.#parts.send({ ...this.#envelope(transfer), type: "SNAPSHOT_CHUNK", offset, bytes });
  }

  #watch(transfer: Transfer): void {
    transfer.cancelSilence();
    transfer.cancelSilence = this.#parts.clock.setTimer(SILENCE_MAX_MS, () =>
      this.#end(transfer, false),
    );
  }

  #end(transfer: Transfer, isDelivered: boolean): void {
    if (!this.#transfers.delete(transfer.peer)) return;
    transfer.cancelSilence();
    transfer.cancelNext();
    transfer.file.close();
    this.#parts.ended(transfer.peer, isDelivered);
  }
}
