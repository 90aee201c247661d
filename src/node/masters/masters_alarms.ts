/**
 * Alarms of the collections that every node writes: what an operator should look at, from the
 * events of the node's part.
 *
 * @module
 */

import type { MultiMasterEvent } from "../../multi_master/ready.ts";
import type { AlarmKind } from "../../protocol/wire/status.ts";

/** Where alarms are raised and cleared. */
export interface AlarmBoard {
  raise(kind: AlarmKind, detail: string): void;
  clear(kind: AlarmKind): void;
}

/** What stands open of each kind, by what it is about. */
export class MastersAlarms {
  readonly #board: AlarmBoard;
  readonly #open = new Map<AlarmKind, Map<string, string>>();

  constructor(board: AlarmBoard) {
    this.#board = board;
  }

  event(event: MultiMasterEvent): void {
    switch (event.type) {
      case "CLOCK_SKEW": {
        const { origin, aheadMs } = event;
        const detail = `the clock of ${origin} is ${aheadMs} ms ahead: its operations wait`;
        return this.#raise("CLOCK_SKEW", origin, detail);
      }
      case "CLOCK_SKEW_ENDED":
        return this.#clear("CLOCK_SKEW", event.origin);
      case "OWN_CLOCK_AHEAD":
      case "OWN_CLOCK_BEHIND": {
        const where = event.type === "OWN_CLOCK_AHEAD" ? "ahead of" : "behind";
        const detail = `this node's clock is ${event.byMs} ms ${where} the others': set it`;
        return this.#raise("CLOCK_SKEW", "own clock", detail);
      }
      case "OWN_CLOCK_RIGHT":
        return this.#clear("CLOCK_SKEW", "own clock");
      case "OWN_STAMPS_AHEAD": {
        const detail = `this node's stamps are ${event.aheadMs} ms ahead: others take its operations in when that time has come`;
        return this.#raise("CLOCK_SKEW", "own stamps", detail);
      }
      case "OPERATION_WAITS": {
        const { operation, missing } = event;
        const detail = `operation ${operation.sequence} of ${operation.origin} waits for ${missing.sequence} of ${missing.origin}, which no member sends`;
        return this.#raise("OPERATION_WAITS", operation.origin, detail);
      }
      case "OPERATION_WAITS_ENDED":
        return this.#clear("OPERATION_WAITS", event.origin);
      case "ORIGIN_FORKED": {
        const detail = `${event.origin} gave number ${event.sequence} to two operations: its disk has lost what it had synced`;
        return this.#raise("ORIGIN_FORKED", event.origin, detail);
      }
      case "OWN_ORIGIN_AHEAD":
      case "RESEED_NEEDED":
      case "MESSAGE_REFUSED":
        return;
    }
  }

  #raise(kind: AlarmKind, about: string, detail: string): void {
    const open = this.#open.get(kind) ?? new Map<string, string>();
    this.#open.set(kind, open.set(about, detail));
    this.#board.raise(kind, [...open.values()].join("; "));
  }

  #clear(kind: AlarmKind, about: string): void {
    const open = this.#open.get(kind);
    if (open?.delete(about) !== true) return;
    if (open.size === 0) this.#board.clear(kind);
    else this.#board.raise(kind, [...open.values()].join("; "));
  }
}
