/**
 * Alarms: what an operator should know of a node that goes on all the same.
 *
 * @module
 */

import { partLogger } from "../../base/log.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Alarm, AlarmKind } from "../../protocol/wire/status.ts";

/** The alarms of one node, one of each kind. */
export class Alarms {
  readonly #clock: Clock;
  readonly #raised = new Map<AlarmKind, Alarm>();
  readonly #logger = partLogger("node");

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  raise(kind: AlarmKind, detail: string): void {
    const sinceMs = this.#raised.get(kind)?.sinceMs ?? Math.floor(this.#clock.wallMs());
    this.#raised.set(kind, { kind, sinceMs, detail });
    this.#logger.error("{kind}: {detail}", { kind, detail });
  }

  clear(kind: AlarmKind): void {
    if (this.#raised.delete(kind)) this.#logger.info("{kind} has ended", { kind });
  }

  list(): Alarm[] {
    return [...this.#raised.values()];
  }
}
