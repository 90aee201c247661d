/**
 * Which writes are answered before they are committed (ASYNC): those that no state can refuse. An
 * answer that the state machine takes back would be a lost write.
 *
 * @module
 */

import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import {
  COMMAND_HEADER_SIZE,
  COMMAND_KINDS,
  FLAG_IF_VERSION,
  FLAG_RETURN_DOCUMENT,
  OPERATION_KINDS,
} from "../protocol/command.ts";
import type { ReplyTarget } from "../replication/open_batch.ts";

/** What the decision is made from. */
export interface EarlyParts {
  readonly machine: DocumentStateMachine;
  readonly syncMode: "SYNC" | "ASYNC";
  /** The term in which this node leads. */
  term(): number;
}

/** Decides for one node. */
export class EarlyAnswers {
  readonly #parts: EarlyParts;
  /** Changes of the catalog that were proposed in a term and whose end is not known. */
  #underway = { term: 0, count: 0 };

  constructor(parts: EarlyParts) {
    this.#parts = parts;
  }

  /**
   * Whether the command may be answered early. `commands`: the bytes that it stands in, which were
   * checked.
   */
  may(commands: Uint8Array, view: DataView, start: number): boolean {
    const { syncMode } = this.#parts;
    if (syncMode !== "ASYNC" || !isPlainPut(view, start)) return false;
    const nameAt = start + COMMAND_HEADER_SIZE;
    const name = commands.subarray(nameAt + 1, nameAt + 1 + view.getUint8(nameAt));
    return this.#isSettled() && this.#parts.machine.takesAnything(name);
  }

  /** Whether no index or validator can come that the state does not have yet. */
  #isSettled(): boolean {
    const term = this.#parts.term();
    // An entry of this term is applied: so is all that earlier leaders have logged.
    if (this.#parts.machine.position.term !== term) return false;
    return this.#underway.count === 0 || this.#underway.term !== term;
  }

  /** A change of the catalog is proposed: until its end is known nothing is answered early. */
  watched(target: ReplyTarget): ReplyTarget {
    if (this.#parts.syncMode !== "ASYNC") return target;
    const term = this.#parts.term();
    if (this.#underway.term !== term) this.#underway = { term, count: 0 };
    const underway = this.#underway;
    underway.count += 1;
    return {
      written: (...args) => target.written(...args),
      result: (requestId, payload) => {
        underway.count -= 1;
        target.result(requestId, payload);
      },
      failed: (requestId, error) => {
        // It may still be in the log: then only the next term can tell.
        if (error.retry !== "unknown-outcome") underway.count -= 1;
        target.failed(requestId, error);
      },
    };
  }
}

/** One document, whatever was there. */
function isPlainPut(view: DataView, start: number): boolean {
  if (COMMAND_KINDS[view.getUint8(start + 4)] !== "DOCUMENTS") return false;
  if (view.getUint16(start + 6, true) !== 1) return false;
  const at = start + COMMAND_HEADER_SIZE + 1 + view.getUint8(start + COMMAND_HEADER_SIZE);
  const flags = view.getUint8(at + 1);
  const isConditional = (flags & (FLAG_IF_VERSION | FLAG_RETURN_DOCUMENT)) !== 0;
  return OPERATION_KINDS[view.getUint8(at)] === "PUT" && !isConditional;
}
