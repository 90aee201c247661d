/**
 * Takes local snapshots of the state machine and cuts the log behind them.
 *
 * @module
 */

import { LOG_RETAIN_BYTES } from "../../base/limits.ts";
import type { DocumentStateMachine } from "../../database/document_state_machine.ts";
import { freezeState } from "../../database/snapshot_codec.ts";
import type { SnapshotStore } from "../../storage/snapshot_store.ts";
import type { ReplicatedLog } from "../../storage/wal/iwal_manager.ts";
import type { LogBase } from "../../storage/wal/log_table.ts";

/** Parts that the snapshotter works on. */
export interface SnapshotParts {
  readonly machine: DocumentStateMachine;
  readonly log: ReplicatedLog;
  readonly store: SnapshotStore;
  /** Entries up to here are on this node's own disk. */
  durableIndex(): number;
  /** Lowest index that a voter still needs; the log is kept for it up to a bound. */
  neededIndex(): number;
  /** Whether the state machine holds one state: not while another is being read into it. */
  isWhole(): boolean;
  /** A snapshot could not be written. The log is whole, so the node goes on. */
  failed(cause: unknown): void;
  /** None has failed since. */
  succeeded(): void;
}

/** Decides when, and does it, one at a time. */
export class Snapshotter {
  readonly #parts: SnapshotParts;
  readonly #logBytes: number;
  #isRunning = false;
  #isStopped = false;
  #bytesAtLast = 0;
  /** Where the log may be cut once the other members hold the entries in front of it. */
  #cut: LogBase | undefined;
  #dueBytes: number;
  #running: Promise<void> = Promise.resolve();

  constructor(parts: SnapshotParts, logBytes: number) {
    this.#parts = parts;
    this.#logBytes = logBytes;
    this.#dueBytes = logBytes;
    // Bytes that earlier processes wrote behind the newest snapshot count, too.
    this.#bytesAtLast = -parts.log.bytesBehind(parts.machine.appliedIndex);
  }

  /** More of the log was applied; `writtenBytes` counts what this process wrote to it so far. */
  applied(writtenBytes: number): void {
    if (writtenBytes - this.#bytesAtLast < this.#dueBytes) return;
    if (this.#isRunning || this.#isStopped) return;
    this.#bytesAtLast = writtenBytes;
    this.#running = this.take().then(
      () => this.#parts.succeeded(),
      (cause: unknown) => this.#parts.failed(cause),
    );
  }

  /** Writes a snapshot of the present state now, unless one is being written. */
  async take(): Promise<void> {
    const { machine, store } = this.#parts;
    if (this.#isRunning || !this.#parts.isWhole()) return;
    // A snapshot beyond the own durable log would leave a hole behind a power cut.
    if (machine.appliedIndex > this.#parts.durableIndex()) return;
    try {
      await this.#write(async ({ older }) => {
        if (older === undefined || this.#isStopped) return;
        this.#cut = older;
        await this.cutWhenFree();
      });
    } finally {
      // Large states are written less often, so that snapshots stay a fifth of all bytes written.
      this.#dueBytes = Math.max(this.#logBytes, 4 * store.newestSize());
    }
  }

  /** Writes the present state, then cuts the log, with nothing else of this kind meanwhile. */
  async #write(
    cut: (written: {
      readonly position: LogBase;
      readonly older: LogBase | undefined;
    }) => Promise<void>,
  ): Promise<void> {
    const { machine, store } = this.#parts;
    this.#isRunning = true;
    const frozen = freezeState(machine);
    try {
      const { position } = frozen;
      await cut({ position, older: await store.write(position, frozen.blocks()) });
    } finally {
      frozen.thaw();
      this.#isRunning = false;
    }
  }

  /**
   * Cuts the log behind the older snapshot as soon as no member needs the entries in front of it.
   */
  async cutWhenFree(): Promise<void> {
    const { log } = this.#parts;
    const cut = this.#cut;
    if (cut === undefined || this.#isStopped) return;
    const isHeldBack = cut.index >= this.#parts.neededIndex();
    if (isHeldBack && log.sizeBytes <= LOG_RETAIN_BYTES) return;
    this.#cut = undefined;
    await log.compactTo(cut);
  }

  /**
   * Writes a snapshot of the present state and cuts the log right behind it: damage in front of it
   * harms no more. Returns whether it did.
   */
  async cutBehind(index: number): Promise<boolean> {
    const { machine, log } = this.#parts;
    await this.#running;
    if (this.#isRunning || this.#isStopped || !this.#parts.isWhole()) return false;
    if (machine.appliedIndex < index || machine.appliedIndex > this.#parts.durableIndex()) {
      return false;
    }
    await this.#write(async ({ position }) => {
      if (!this.#isStopped) await log.compactTo(position);
    });
    return true;
  }

  /** Begins no more snapshots; resolves when the running one ended. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }
}
