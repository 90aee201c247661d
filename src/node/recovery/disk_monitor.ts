/**
 * Disk health of a node: stalls, the background search for damage, and its repair by a snapshot of
 * the state.
 *
 * @module
 */

import { partLogger } from "../../base/log.ts";
import type { DocumentStateMachine } from "../../database/document_state_machine.ts";
import type { Platform } from "../../platform/platform.ts";
import type { Configuration } from "../../raft/configuration.ts";
import type { LogIdentity } from "../../storage/identity.ts";
import { Scrubber, type ScrubDamage } from "../../storage/repair/scrubber.ts";
import type { NodeConfig } from "../config/node_config.ts";
import type { Snapshotter } from "../snapshots/snapshotter.ts";
import type { Alarms } from "./alarms.ts";
import { notePeers } from "./self_repair.ts";

/** The parts of a node that its disk monitor works with. */
export interface DiskMonitorParts {
  readonly platform: Platform;
  readonly config: NodeConfig;
  readonly identity: LogIdentity;
  readonly machine: DocumentStateMachine;
  readonly alarms: Alarms;
  readonly snapshotter: Snapshotter;
}

/** Watches the disk of one node. */
export class DiskMonitor {
  readonly #alarms: Alarms;
  readonly #parts: DiskMonitorParts;
  readonly #scrubber: Scrubber | undefined;
  readonly #logger = partLogger("node");
  #noting: Promise<void> = Promise.resolve();
  #isStopped = false;

  constructor(parts: DiskMonitorParts) {
    this.#parts = parts;
    const { platform, config, identity } = parts;
    this.#alarms = parts.alarms;
    const { scrubBytesPerSecond: bytesPerSecond, dataDirectory } = config;
    if (bytesPerSecond === 0) return;
    this.#scrubber = new Scrubber(platform, {
      logDirectory: `${dataDirectory}/wal`,
      snapshotDirectory: `${dataDirectory}/snapshots`,
      identity,
      bytesPerSecond,
      damaged: (damage) => this.#onDamage(damage),
    });
  }

  start(): void {
    this.#scrubber?.start();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#scrubber?.stop();
  }

  diskStalled(isStalled: boolean): void {
    const { diskStallMs } = this.#parts.config;
    if (!isStalled) this.#alarms.clear("DISK_STALL");
    else this.#alarms.raise("DISK_STALL", `a sync takes more than ${diskStallMs} ms`);
  }

  /** Notes where the other members are, for a start with a damaged log. */
  membersChanged(configuration: Configuration): void {
    const { platform, config } = this.#parts;
    const others = configuration.members.filter(({ id }) => id !== config.id);
    const addresses = others.map(({ address }) => address);
    // A node that joins knows no member yet, or the entries that named them were taken back.
    if (addresses.length === 0) return;
    // One after the other: they share the name under which the file is written aside.
    this.#noting = this.#noting
      .then(() => notePeers(platform, config.dataDirectory, addresses))
      .catch((cause: unknown) => {
        if (this.#isStopped) return;
        const reason = reasonOf(cause);
        this.#logger.warn("the members' addresses could not be noted: {reason}", { reason });
      });
  }

  /** Damage in a file is whole in the state: behind a new snapshot the file is not needed. */
  #onDamage({ file, byte, problem, entries }: ScrubDamage): void {
    this.#alarms.raise("CORRUPT", `${problem} (file "${file}", byte ${byte})`);
    const index = entries?.last ?? this.#parts.machine.appliedIndex;
    this.#parts.snapshotter.cutBehind(index).then(
      (isCut) => {
        if (isCut) this.#alarms.clear("CORRUPT");
      },
      (cause: unknown) => {
        if (!this.#isStopped) this.#alarms.raise("SNAPSHOT_FAILED", reasonOf(cause));
      },
    );
  }
}

/** The message of a thrown value. */
export function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
