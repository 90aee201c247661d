/**
 * Interfaces of a store that a transaction can change together with others.
 *
 * @module
 */

/** One change within a transaction. */
export interface ChangeRecord {
  readonly type: "insert" | "update" | "delete";
  readonly collection: string;
  readonly key: unknown;
  readonly oldValue?: unknown;
  readonly newValue?: unknown;
  /** ms since 1970. */
  readonly timestamp: number;
}

/**
 * A participant of two-phase commit. All calls may be repeated after a crash, and again after that:
 * a participant that has done its part already has nothing to do.
 */
export interface ITransactionalResource {
  /**
   * Makes the transaction's part durable, so that it can be finalized whatever happens; false when
   * it cannot. True binds: from then on only the coordinator decides.
   */
  prepareCommit(transactionId: string): Promise<boolean>;
  /** Makes the part visible, and forgets the transaction. Repeated until it resolves. */
  finalizeCommit(transactionId: string): Promise<void>;
  /** Undoes the part, prepared or not, and forgets the transaction. Repeated until it resolves. */
  rollback(transactionId: string): Promise<void>;
  /** Transactions that are prepared and neither finalized nor rolled back, for reports. */
  listPrepared?(): Promise<readonly string[]>;
}

/** A store that takes part in transactions of a `WALTransactionManager`. */
export interface ITransactionalStorageAdapter extends ITransactionalResource {
  /**
   * Names the store in the coordinator's log: the same after every restart. Managers that share a
   * log must mean the same store by it, or one finalizes what another has prepared.
   */
  readonly name: string;
  isTransactional(): boolean;
  /** Notes a change, invisible before `finalizeCommit`. It need not survive a crash yet. */
  writeInTransaction(transactionId: string, change: ChangeRecord): Promise<void>;
  close?(): Promise<void>;
}
