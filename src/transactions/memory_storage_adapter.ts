/**
 * A store in memory that takes part in two-phase commits.
 *
 * @module
 */

import type {
  ChangeRecord,
  ITransactionalStorageAdapter,
} from "./itransactional_storage_adapter.ts";
import { StagedChanges } from "./staged_changes.ts";

/** Documents by collection and key, gone with the process. */
export class TransactionalAdapterMemory implements ITransactionalStorageAdapter {
  readonly name: string;
  readonly #staged = new StagedChanges();

  /** @param name names the store in the coordinator's log. */
  constructor(name: string) {
    this.name = name;
  }

  isTransactional(): boolean {
    return true;
  }

  /** A copy of a committed document; undefined when there is none. */
  get(collection: string, key: unknown): unknown {
    return this.#staged.get(collection, key);
  }

  async writeInTransaction(transactionId: string, change: ChangeRecord): Promise<void> {
    this.#staged.add(transactionId, change);
  }

  async prepareCommit(transactionId: string): Promise<boolean> {
    return this.#staged.prepare(transactionId);
  }

  async finalizeCommit(transactionId: string): Promise<void> {
    this.#staged.finalize(transactionId);
  }

  async rollback(transactionId: string): Promise<void> {
    this.#staged.drop(transactionId);
  }

  async listPrepared(): Promise<readonly string[]> {
    return this.#staged.preparedIds();
  }
}
