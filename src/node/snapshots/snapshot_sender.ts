/**
 * Sends snapshots to nodes that the log cannot bring up to date any more: piece by piece, as many
 * under way to each as its line needs to be full, at a bounded rate, so that the cluster's own work
 * goes on beside it.
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

/** Pieces under way to one peer: a long line holds more of them, a thin one is full with two. */
const CHUNKS_MIN = 2;
const CHUNKS_MAX = 16;
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
  /** The peer has the file up to here. */
  receivedBytes: number;
  /** The next piece begins here: `receivedBytes <= nextOffset <= file.size`. */
  nextOffset: number;
  /** Where it began last, and the end of what had been sent before. */
  begunAt: number;
  sentBefore: number;
  /** Pieces under way, oldest first. */
  readonly underWay: Piece[];
  /** Pieces that may be under way. */
  window: number;
  /** Shortest time from a piece to the answer. */
  roundTripMs: number;
  isWaiting: boolean;
  cancelSilence: CancelTimer;
  cancelNext: CancelTimer;
}

interface Piece {
  readonly end: number;
  readonly sentMs: number;
  /** What the peer had when it was sent. */
  readonly receivedBytes: number;
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
      ...{
        receivedBytes: 0,
        nextOffset: 0,
        begunAt: -1,
        sentBefore: 0,
        underWay: [],
        isWaiting: false,
      },
      ...{ window: CHUNKS_MIN, roundTripMs: Number.POSITIVE_INFINITY },
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
    const offset = Math.min(message.offset, transfer.file.size);
    const { receivedBytes, nextOffset, begunAt } = transfer;
    if (offset > receivedBytes && offset <= nextOffset) this.#received(transfer, offset);
    // The first answer says where to begin. One that says the same again lacks the next piece, and
    // so do those that follow it.
    else if (offset !== receivedBytes || offset !== begunAt) this.#beginAt(transfer, offset);
    this.#sendNext(transfer);
  }

  /** The connection to a peer broke: the transfer goes on from there at the next contact. */
  lost(peer: string): void {
    const transfer = this.#transfers.get(peer);
    if (transfer !== undefined) this.#end(transfer, false);
  }

  view(peer: string): TransferView | undefined {
    const transfer = this.#transfers.get(peer);
    if (transfer === undefined) return undefined;
    const { file, receivedBytes } = transfer;
    return { index: file.base.index, sentBytes: receivedBytes, sizeBytes: file.size };
  }

  /** This node does not lead any more, or stops. */
  stop(): void {
    for (const transfer of [...this.#transfers.values()]) this.#end(transfer, false);
  }

  #envelope({ peer, term, file }: Transfer) {
    const { checksum } = file;
    return { from: this.#parts.id, to: peer, term, index: file.base.index, checksum };
  }

  #beginAt(transfer: Transfer, offset: number): void {
    transfer.sentBefore = Math.max(transfer.sentBefore, transfer.nextOffset);
    transfer.receivedBytes = offset;
    transfer.nextOffset = offset;
    transfer.begunAt = offset;
    transfer.underWay.length = 0;
  }

  /** Allows twice what arrives in a round trip, so that a line that carries more shows it. */
  #received(transfer: Transfer, offset: number): void {
    const { underWay } = transfer;
    const nowMs = this.#parts.clock.nowMs();
    transfer.receivedBytes = offset;
    while (underWay.length > 0 && underWay[0]!.end <= offset) {
      const { end, sentMs, receivedBytes } = underWay[0]!;
      underWay.shift();
      // The answer may be to what was sent the first time.
      if (end <= transfer.sentBefore) continue;
      const tookMs = Math.max(1, nowMs - sentMs);
      transfer.roundTripMs = Math.min(transfer.roundTripMs, tookMs);
      const bytes = ((offset - receivedBytes) / tookMs) * transfer.roundTripMs;
      const chunks = Math.ceil((2 * bytes) / SNAPSHOT_CHUNK_SIZE);
      transfer.window = Math.max(CHUNKS_MIN, Math.min(CHUNKS_MAX, chunks));
    }
  }

  #sendNext(transfer: Transfer): void {
    const { clock, rate } = this.#parts;
    const { file, nextOffset, underWay, window, isWaiting } = transfer;
    if (isWaiting || nextOffset >= file.size || underWay.length >= window) return;
    const waitMs = rate.delayMs(clock.nowMs(), SNAPSHOT_CHUNK_SIZE);
    transfer.isWaiting = true;
    transfer.cancelNext = clock.setTimer(waitMs, () => {
      transfer.isWaiting = false;
      this.#sendChunk(transfer);
      this.#sendNext(transfer);
    });
  }

  #sendChunk(transfer: Transfer): void {
    const { receivedBytes, nextOffset: offset } = transfer;
    const bytes = transfer.file.read(offset, SNAPSHOT_CHUNK_SIZE);
    transfer.nextOffset = offset + bytes.byteLength;
    const sentMs = this.#parts.clock.nowMs();
    transfer.underWay.push({ end: transfer.nextOffset, sentMs, receivedBytes });
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
