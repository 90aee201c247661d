/**
 * Transactions that are begun and ended by calls of their own. Calls on the database's collections
 * in between belong to the open one.
 *
 * @module
 */

import { TRANSACTION_TIMEOUT_MS, type TransactionOptions } from "../../api/transaction.ts";
import {
  AmbiguousTransactionError,
  NotFoundError,
  TransactionTimeoutError,
} from "../../base/errors.ts";
import { RunningTransaction, type TransactionParts } from "./transaction.ts";

interface OpenTransaction {
  readonly running: RunningTransaction;
  /** On the monotonic clock. */
  readonly deadlineMs: number;
}

/** The open ones of a database handle. */
export class GlobalTransactions {
  readonly #parts: TransactionParts;
  readonly #open = new Map<string, OpenTransaction>();

  constructor(parts: TransactionParts) {
    this.#parts = parts;
  }

  get size(): number {
    return this.#open.size;
  }

  async begin(options: TransactionOptions = {}): Promise<string> {
    const client = await this.#parts.client();
    const running = new RunningTransaction(client, this.#parts, options);
    const timeoutMs = options.timeoutMs ?? TRANSACTION_TIMEOUT_MS;
    const deadlineMs = client.platform.clock.nowMs() + timeoutMs;
    this.#open.set(running.id, { running, deadlineMs });
    return running.id;
  }

  async commit(id?: string): Promise<void> {
    const { running, deadlineMs } = this.#take(id, "commit");
    try {
      checkTime(running, deadlineMs);
      await running.commit();
    } catch (error) {
      // The next one knows of the validator.
      await running.learnsValidator(error);
      throw error;
    } finally {
      running.end();
    }
  }

  rollback(id?: string): void {
    this.#take(id, "abort").running.end();
  }

  /**
   * The one that is open. Throws AmbiguousTransactionError when several are,
   * TransactionTimeoutError when it has timed out: later calls must not take effect outside of it.
   */
  current(): RunningTransaction | undefined {
    const [first, second] = this.#open.values();
    if (first === undefined) return undefined;
    if (second !== undefined) {
      throw new AmbiguousTransactionError(
        `Cannot tell to which of ${this.#open.size} open transactions this belongs`,
      );
    }
    checkTime(first.running, first.deadlineMs);
    return first.running;
  }

  #take(id: string | undefined, action: "commit" | "abort"): OpenTransaction {
    const [only, second] = this.#open.keys();
    if (id === undefined && second !== undefined) {
      throw new AmbiguousTransactionError(`Cannot tell which transaction to ${action}: name it`);
    }
    const name = id ?? only ?? "";
    const open = this.#open.get(name);
    if (open === undefined) throw new NotFoundError(`No active transaction to ${action}`);
    this.#open.delete(name);
    return open;
  }
}

function checkTime({ id, client }: RunningTransaction, deadlineMs: number): void {
  if (client.platform.clock.nowMs() < deadlineMs) return;
  throw new TransactionTimeoutError(`Transaction ${id} is rolled back: it timed out`);
}
