/**
 * Entries for a peer that is far behind, from the disk. A voter counts, so it catches up as fast as
 * it can; a learner must not disturb the others.
 *
 * @module
 */

import type { Clock } from "../../platform/clock.ts";
import type { Entry, LogIndex } from "../../raft/types.ts";
import type { ReplicatedLog } from "../../storage/wal/iwal_manager.ts";
import type { DriverParts } from "./driver_parts.ts";

/** Reads for one driver. */
export class EntrySupply {
  readonly #log: ReplicatedLog;
  readonly #clock: Clock;
  readonly #rate: DriverParts["catchUpRate"];

  constructor({ log, clock, catchUpRate }: DriverParts) {
    this.#log = log;
    this.#clock = clock;
    this.#rate = catchUpRate;
  }

  /** Gives entries behind `from`, of about so many bytes, in another turn; none if they are gone. */
  give(
    request: { readonly from: LogIndex; readonly bytesMax: number; readonly isVoter: boolean },
    take: (entries: readonly Entry[]) => void,
  ): void {
    const { from, bytesMax, isVoter } = request;
    const log = this.#log;
    const waitMs = isVoter ? 0 : this.#rate.delayMs(this.#clock.nowMs(), bytesMax);
    const supply = (): void => {
      const isKept = from >= log.firstIndex() && from <= log.lastIndex();
      take(isKept ? log.readFromDisk(from, bytesMax) : []);
    };
    if (waitMs === 0) this.#clock.soon(supply);
    else this.#clock.setTimer(waitMs, supply);
  }
}
