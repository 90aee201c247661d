/**
 * Which writes are answered before they are committed (ASYNC): those that no state can refuse. An
 * answer that the state machine takes back would be a lost write.
 *
 * @module
 */

import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import { sessionRequest } from "../database/plain_put.ts";
import type { Clock } from "../platform/clock.ts";
import {
  COMMAND_HEADER_SIZE,
  isPlainPut,
  readCommandHeader,
} from "../protocol/encoding/command.ts";
import type { ReplyTarget } from "../replication/raft/open_batch.ts";

/** Parts that the decision depends on. */
export interface EarlyParts {
  readonly machine: DocumentStateMachine;
  readonly syncMode: "SYNC" | "ASYNC";
  readonly clock: Clock;
  readonly sessionTimeoutMs: number;
  /** The term in which this node leads. */
  term(): number;
  /** The last entry that this node proposed by itself: it may end sessions. */
  lastOwnProposal(): number;
}

/** Decides for one node. */
export class EarlyAcknowledgement {
  readonly #parts: EarlyParts;
  /** Changes of the catalog that were proposed in a term and whose end is not known. */
  #underway = { term: 0, count: 0 };

  constructor(parts: EarlyParts) {
    this.#parts = parts;
  }

  /**
   * Whether the command may be answered early. `commands`: the bytes that it stands in, which
   * were checked.
   */
  mayAnswer(commands: Uint8Array, view: DataView, start: number): boolean {
    const { syncMode } = this.#parts;
    if (syncMode !== "ASYNC" || !isPlainPut(view, start)) return false;
    const nameAt = start + COMMAND_HEADER_SIZE;
    const name = commands.subarray(nameAt + 1, nameAt + 1 + view.getUint8(nameAt));
    const isTaken = this.#isSettled() && this.#parts.machine.takesAnything(name);
    return isTaken && this.#isAdmitted(view, start);
  }

  /** Whether its session will take the command: it is known, and will be for long. */
  #isAdmitted(view: DataView, start: number): boolean {
    const { machine, clock, sessionTimeoutMs } = this.#parts;
    const request = sessionRequest(view, start, readCommandHeader(view, start));
    if (request.sessionId === 0) return true;
    const sinceMs = machine.timeAt(clock.wallMs()) - sessionTimeoutMs / 2;
    return (
      machine.appliedIndex >= this.#parts.lastOwnProposal() &&
      machine.sessions.isSafe(request, sinceMs)
    );
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
