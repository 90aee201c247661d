/**
 * Takes in a snapshot that a leader sends: collects the file, verifies it, makes it durable, and
 * only then lets consensus know.
 *
 * @module
 */

import { CStoreError, ProtocolError } from "../../base/errors.ts";
import type { CancelTimer } from "../../platform/clock.ts";
import type { Platform } from "../../platform/platform.ts";
import type {
  SnapshotChunk,
  SnapshotMessage,
  SnapshotOffer,
  SnapshotProgress,
} from "../../protocol/wire/snapshot_message.ts";
import { TERM_STEP_MAX } from "../../raft/raft.ts";
import type { LogBase } from "../../raft/types.ts";
import { IncomingSnapshot } from "../../storage/snapshot_files.ts";
import type { SnapshotStore } from "../../storage/snapshot_store.ts";

/** Interval of the replies that keep a transfer alive while a long file is verified. */
const KEEP_ALIVE_MS = 1000;

/** Services that the receiver needs from its node. `T` is what the first block says. */
export interface ReceiverParts<T> {
  readonly id: string;
  readonly platform: Platform;
  readonly store: SnapshotStore;
  readonly clusterId: string;
  /** The present term and commit index. */
  position(): { readonly term: number; readonly commitIndex: number };
  /** Reads the first block. Throws CorruptionError or ProtocolError. */
  readFirst(block: Uint8Array): T;
  /** Whether an earlier snapshot is still being read into the state machine. */
  isRestoring(): boolean;
  send(message: SnapshotMessage): void;
  /** It is whole, durable and has its name. Resolves when it was taken or is gone. */
  arrived(snapshot: {
    readonly leader: string;
    readonly term: number;
    readonly base: LogBase;
    readonly first: T;
  }): Promise<void>;
  failed(cause: CStoreError): void;
}

interface Receiving {
  readonly from: string;
  readonly term: number;
  readonly base: LogBase;
  readonly file: IncomingSnapshot;
  isVerifying: boolean;
}

/** The snapshot that this node receives; one at a time. */
export class SnapshotReceiver<T> {
  readonly #parts: ReceiverParts<T>;
  #receiving: Receiving | undefined;
  #cancelKeepAlive: CancelTimer = () => undefined;
  #isStopped = false;

  constructor(parts: ReceiverParts<T>) {
    this.#parts = parts;
  }

  /** A leader offers a snapshot. */
  offer(offer: SnapshotOffer): void {
    const { term, commitIndex } = this.#parts.position();
    if (offer.term < term || offer.term > term + TERM_STEP_MAX || this.#isStopped) return;
    if (offer.index <= commitIndex) {
      this.#answer(offer, { offset: 0, status: "done" });
      return;
    }
    if (this.#parts.isRestoring() || this.#receiving?.isVerifying === true) {
      this.#answer(offer, { offset: 0, status: "refused" });
      return;
    }
    this.#guard(offer, () => {
      const { platform, store } = this.#parts;
      this.#receiving?.file.close(false);
      this.#receiving = undefined;
      const { index, checksum, size } = offer;
      const file = new IncomingSnapshot(platform, store.directory, { index, checksum, size });
      const { from, base } = offer;
      this.#receiving = { from, term: offer.term, base, file, isVerifying: false };
      this.#goOn(offer, this.#receiving);
    });
  }

  /** A piece of it. */
  chunk(chunk: SnapshotChunk): void {
    const receiving = this.#receiving;
    if (receiving === undefined || chunk.from !== receiving.from || receiving.isVerifying) return;
    if (chunk.checksum !== receiving.file.id.checksum || this.#isStopped) return;
    this.#guard(chunk, () => {
      receiving.file.write(chunk.offset, chunk.bytes);
      this.#goOn(chunk, receiving);
    });
  }

  /** Stops; the bytes that arrived stay for the next attempt. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelKeepAlive();
    if (this.#receiving?.isVerifying === false) this.#receiving.file.close(false);
    this.#receiving = undefined;
  }

  #goOn(message: SnapshotMessage, receiving: Receiving): void {
    this.#answer(message, { offset: receiving.file.received, status: "receiving" });
    if (!receiving.file.isWhole) return;
    receiving.isVerifying = true;
    this.#keepAlive(message, receiving);
    this.#finish(receiving).then(
      () => this.#settle(message, "done"),
      (cause: unknown) => {
        if (this.#isStopped) return;
        if (!(cause instanceof CStoreError)) throw cause;
        this.#refuse(message, cause);
      },
    );
  }

  async #finish(receiving: Receiving): Promise<void> {
    const { clusterId, store } = this.#parts;
    let found: { readonly first: T } | undefined;
    const base = await receiving.file.verify(clusterId, (block) => {
      found = { first: this.#parts.readFirst(block) };
    });
    if (this.#isStopped || found === undefined) return;
    const { from, term } = receiving;
    if (base.term > term) {
      const what = `its last entry has term ${base.term}, and its leader term ${term}`;
      throw new ProtocolError(`Cannot take the snapshot of "${from}": ${what}`);
    }
    await receiving.file.adopt(base, store.pathOf(base.index));
    if (this.#isStopped) return;
    const { first } = found as { readonly first: T };
    await this.#parts.arrived({ leader: receiving.from, term: receiving.term, base, first });
  }

  #keepAlive(message: SnapshotMessage, receiving: Receiving): void {
    this.#cancelKeepAlive = this.#parts.platform.clock.setTimer(KEEP_ALIVE_MS, () => {
      this.#answer(message, { offset: receiving.file.received, status: "receiving" });
      this.#keepAlive(message, receiving);
    });
  }

  #settle(message: SnapshotMessage, status: SnapshotProgress["status"]): void {
    this.#cancelKeepAlive();
    this.#receiving = undefined;
    if (!this.#isStopped) this.#answer(message, { offset: 0, status });
  }

  /** A full disk or a damaged file costs this attempt, not the node. */
  #guard(message: SnapshotMessage, act: () => void): void {
    try {
      act();
    } catch (cause) {
      if (!(cause instanceof CStoreError)) throw cause;
      this.#refuse(message, cause);
    }
  }

  #refuse(message: SnapshotMessage, cause: CStoreError): void {
    this.#receiving?.file.close(true);
    this.#settle(message, "refused");
    this.#parts.failed(cause);
  }

  #answer(
    message: SnapshotMessage,
    answer: { readonly offset: number; readonly status: SnapshotProgress["status"] },
  ): void {
    const { index, checksum, term, from } = message;
    const route = { from: this.#parts.id, to: from };
    this.#parts.send({ ...route, type: "SNAPSHOT_PROGRESS", term, index, checksum, ...answer });
  }
}
