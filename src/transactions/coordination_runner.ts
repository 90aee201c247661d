/**
 * Carries out what `two_phase_commit.ts` decides: calls to participants, records in the log.
 *
 * @module
 */

import { ClosedError, UnknownOutcomeError } from "../base/errors.ts";
import { BACKOFF_MS } from "../base/timing.ts";
import type { Clock } from "../platform/clock.ts";
import type { ITransactionalStorageAdapter } from "./itransactional_storage_adapter.ts";
import type { RecordedChange, TransactionLog } from "./transaction_log.ts";
import {
  advanceCoordination,
  type Coordination,
  type CoordinationEffect,
  type CoordinationEvent,
  type CoordinationStep,
  type Decision,
} from "./two_phase_commit.ts";

/** Parts that a runner works with. */
export interface CoordinationParts {
  readonly clock: Clock;
  log(): Promise<TransactionLog>;
  adapter(name: string): ITransactionalStorageAdapter | undefined;
  isClosed(): boolean;
  /** The decision to commit is on record. */
  committed(changes: readonly RecordedChange[]): void;
}

/** A transaction that is being ended. */
interface Running {
  state: Coordination;
  readonly changes: readonly RecordedChange[];
  readonly decided: (decision: Decision) => void;
  readonly done: () => void;
  readonly failed: (cause: unknown) => void;
  /** The last call to each participant; the next one waits for it. */
  readonly calls: Map<string, Promise<void>>;
}

/** Transactions that are being ended. */
export class CoordinationRunner {
  readonly #parts: CoordinationParts;
  readonly #running = new Map<string, Running>();
  /** Ends the waits between two attempts. */
  readonly #pauses = new Set<() => void>();

  constructor(parts: CoordinationParts) {
    this.#parts = parts;
  }

  get size(): number {
    return this.#running.size;
  }

  ids(): readonly string[] {
    return [...this.#running.keys()];
  }

  has(id: string): boolean {
    return this.#running.has(id);
  }

  /** Carries a step out, and all that follows. */
  run(
    { next, effects }: CoordinationStep,
    changes: readonly RecordedChange[],
  ): { readonly decided: Promise<Decision>; readonly done: Promise<void> } {
    const decided = deferred<Decision>();
    const done = deferred<void>();
    this.#running.set(next.id, {
      state: next,
      changes,
      decided: decided.resolve,
      done: done.resolve,
      failed: decided.reject,
      calls: new Map(),
    });
    if (next.decision !== undefined) decided.resolve(next.decision);
    for (const effect of effects) this.#carryOut(next.id, effect);
    return { decided: decided.promise, done: done.promise };
  }

  hear(id: string, event: CoordinationEvent): void {
    const running = this.#running.get(id);
    if (running === undefined) return;
    const { next, effects } = advanceCoordination(running.state, event);
    running.state = next;
    if (event.type === "DECIDED") {
      if (event.decision === "COMMIT") this.#parts.committed(running.changes);
      running.decided(event.decision);
    }
    for (const effect of effects) this.#carryOut(id, effect);
  }

  #carryOut(id: string, effect: CoordinationEffect): void {
    const running = this.#running.get(id);
    if (running === undefined) return;
    if (effect.type === "DECIDE") void this.#decide(id, effect.decision);
    else if (effect.type === "FORGET") void this.#forget(id, running);
    else {
      const before = running.calls.get(effect.participant) ?? Promise.resolve();
      const call = before.then(() => this.#call(id, effect.type, effect.participant));
      running.calls.set(effect.participant, call);
    }
  }

  async #decide(id: string, wanted: Decision): Promise<void> {
    try {
      const decision = await (await this.#parts.log()).decide(id, wanted);
      this.hear(id, { type: "DECIDED", decision });
    } catch (cause) {
      // Whether it is on record only the log can tell: a recovery asks it.
      const running = this.#running.get(id);
      this.#running.delete(id);
      running?.failed(inDoubt(id, cause));
    }
  }

  async #forget(id: string, { done }: Running): Promise<void> {
    // A record too many does no harm: a recovery notifies the participants again.
    await this.#parts
      .log()
      .then((log) => log.forget(id))
      .catch(() => undefined);
    this.#running.delete(id);
    done();
  }

  /** One call of a participant; a settlement is repeated until it is carried out. */
  async #call(
    id: string,
    type: "PREPARE" | "FINALIZE" | "ROLL_BACK",
    participant: string,
  ): Promise<void> {
    if (type === "PREPARE") {
      const isYes = await this.#vote(id, participant);
      this.hear(id, { type: "VOTED", participant, isYes });
      return;
    }
    let waitMs: number = BACKOFF_MS.twoPhaseCommit.first;
    while (!this.#parts.isClosed()) {
      if (await this.#settle(id, type, participant)) {
        this.hear(id, { type: "SETTLED", participant });
        return;
      }
      await this.#pause(waitMs);
      waitMs = Math.min(2 * waitMs, BACKOFF_MS.twoPhaseCommit.max);
    }
  }

  /** Whether a participant has carried the decision out; what it throws is a no. */
  async #settle(id: string, type: "FINALIZE" | "ROLL_BACK", name: string): Promise<boolean> {
    const adapter = this.#parts.adapter(name);
    if (adapter === undefined) return false;
    try {
      if (type === "FINALIZE") await adapter.finalizeCommit(id);
      else await adapter.rollback(id);
      return true;
    } catch {
      return false;
    }
  }

  /** Ends early when the manager is closed. */
  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        cancel();
        this.#pauses.delete(end);
        resolve();
      };
      const cancel = this.#parts.clock.setTimer(delayMs, end);
      this.#pauses.add(end);
    });
  }

  /** Transactions that are being ended are left to a recovery. */
  close(): void {
    for (const end of this.#pauses) end();
    const closed = new ClosedError("The manager is closed");
    for (const [id, { failed, done }] of this.#running) {
      failed(inDoubt(id, closed));
      done();
    }
    this.#running.clear();
  }

  /** An exception is a no. */
  async #vote(id: string, participant: string): Promise<boolean> {
    try {
      const isYes = (await this.#parts.adapter(participant)?.prepareCommit(id)) === true;
      if (isYes) await (await this.#parts.log()).prepared(id, participant);
      return isYes;
    } catch {
      return false;
    }
  }
}

/** A promise, and what settles it. */
function deferred<T>(): {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (cause: unknown) => void;
} {
  let resolve: (value: T) => void = () => undefined;
  let reject: (cause: unknown) => void = () => undefined;
  const promise = new Promise<T>((fulfil, refuse) => {
    resolve = fulfil;
    reject = refuse;
  });
  return { promise, resolve, reject };
}

function inDoubt(id: string, cause: unknown): UnknownOutcomeError {
  return new UnknownOutcomeError(`Cannot tell how transaction ${id} ended: its log failed`, {
    cause,
    remedy: "Open the manager again: performRecovery settles it",
  });
}
