/**
 * States of the collections that every node writes, from a node that has one to a node that begins
 * with it: one that was away for too long, or whose disk has lost something.
 *
 * @module
 */

import type { RateLimit } from "../../base/rate_limit.ts";
import type { Platform } from "../../platform/platform.ts";
import type { SnapshotMessage } from "../../protocol/wire/snapshot_message.ts";
import { OutgoingSnapshot, removeInstallMark } from "../../storage/snapshot_files.ts";
import type { SnapshotStore } from "../../storage/snapshot_store.ts";
import { SnapshotReceiver } from "../snapshots/snapshot_receiver.ts";
import { SnapshotSender } from "../snapshots/snapshot_sender.ts";

/** States have no term: whoever has one may send it. */
const TERM = 1;

/** Services that transfers need. */
export interface MastersTransferParts {
  readonly id: string;
  readonly platform: Platform;
  readonly store: SnapshotStore;
  readonly clusterId: string;
  readonly rate: RateLimit;
  /** Whether this node waits for a state. */
  isSeeding(): boolean;
  send(message: SnapshotMessage): void;
  /** A state is here, verified, and has its name. */
  arrived(): Promise<void>;
  /** One could not be taken in. */
  failed(cause: unknown): void;
}

/** The states that this node sends and receives. */
export class MastersTransfer {
  readonly #sender: SnapshotSender;
  readonly #receiver: SnapshotReceiver<undefined>;

  constructor(parts: MastersTransferParts) {
    const { id, platform, store, clusterId, rate } = parts;
    const { clock, files } = platform;
    const send = (message: SnapshotMessage): void => parts.send({ ...message, isMasters: true });
    this.#sender = new SnapshotSender({
      ...{ id, clock, rate, send },
      open: () => {
        const path = store.newest();
        return path === undefined ? undefined : new OutgoingSnapshot(files, path, clusterId);
      },
      ended: () => undefined,
    });
    this.#receiver = new SnapshotReceiver({
      ...{ id, platform, store, clusterId, send },
      position: () => {
        return { term: TERM, commitIndex: parts.isSeeding() ? 0 : Number.MAX_SAFE_INTEGER };
      },
      readFirst: () => undefined,
      isRestoring: () => false,
      arrived: async () => {
        await removeInstallMark(files, store.directory);
        await parts.arrived();
      },
      failed: (cause) => parts.failed(cause),
    });
  }

  /** Sends the newest state to a node. */
  start(peer: string): void {
    this.#sender.start(peer, TERM);
  }

  /** The connection to a node broke. */
  lost(peer: string): void {
    this.#sender.lost(peer);
  }

  onMessage(message: SnapshotMessage): void {
    if (message.type === "SNAPSHOT_OFFER") this.#receiver.offer(message);
    else if (message.type === "SNAPSHOT_CHUNK") this.#receiver.chunk(message);
    else this.#sender.progress(message);
  }

  stop(): void {
    this.#sender.stop();
    this.#receiver.stop();
  }
}
