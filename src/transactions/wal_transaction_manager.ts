/**
 * WALTransactionManager: transactions over several stores, all or nothing, by two-phase commit. It
 * carries out what `two_phase_commit.ts` decides.
 *
 * @module
 */

import type { Database } from "../api/database.ts";
import {
  ClosedError,
  NotFoundError,
  OverloadedError,
  TransactionConflictError,
  TransactionTimeoutError,
  ValidationError,
} from "../base/errors.ts";
import { partLogger } from "../base/log.ts";
import { type Platform, systemPlatform } from "../platform/platform.ts";
import { randomId } from "../platform/random.ts";
import { decodeUntrustedCbor, encodeCbor } from "../protocol/encoding/cbor.ts";
import type { IWALManager, WALEntry } from "../storage/wal/iwal_manager.ts";
import { SegmentLog } from "../storage/wal/segment_log.ts";
import { CoordinationRunner } from "./coordination_runner.ts";
import type {
  ChangeRecord,
  ITransactionalStorageAdapter,
} from "./itransactional_storage_adapter.ts";
import {
  CollectionTransactionLog,
  type RecordedChange,
  type TransactionDocument,
  type TransactionLog,
  type TransactionRecord,
  WALTransactionLog,
} from "./transaction_log.ts";
import { beginCoordination, type Decision, resumeCoordination } from "./two_phase_commit.ts";

const LOGGER = partLogger("node");
const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_RECOVERY_INTERVAL_MS = 1_000;
const DEFAULT_COLLECTION = "cstore.transactions";
/** Longest wait of a timer, in milliseconds. */
const TIMEOUT_MS_MAX = 2_147_483_647;
/** Transactions of one manager that are open or not settled. */
const TRANSACTIONS_MAX = 10_000;
/** How long a recovery waits for the participants of one transaction, in milliseconds. */
const SETTLE_WAIT_MS = 1_000;
/** After that the caller of a refused `beginTransaction` may try again. */
const RETRY_AFTER_MS = 1_000;

/** Where a manager keeps its records, and how long it waits. One of the first three is given. */
export interface WALTransactionManagerOptions {
  /** Folder of a log of its own. */
  readonly walPath?: string;
  /** A log that is open; the manager is its only writer, and does not close it. */
  readonly wal?: IWALManager;
  /**
   * A database: records are documents, so on a cluster they are entries of its log, and managers in
   * other processes settle what one leaves behind.
   */
  readonly database?: Database;
  /** The collection of that database; `cstore.transactions` unless set. */
  readonly collection?: string;
  /** Time of a transaction from `beginTransaction` on, in milliseconds; 30 s unless set. */
  readonly timeoutMs?: number;
  /** Time between two looks for what others left behind, in milliseconds; 1 s unless set. */
  readonly recoveryIntervalMs?: number;
  readonly platform?: Platform;
}

/** Result of a recovery. */
export interface TransactionRecovery {
  readonly committed: readonly string[];
  readonly rolledBack: readonly string[];
  /** Not settled: a participant of that name is not registered, or does not answer yet. */
  readonly inDoubt: readonly string[];
  /** Prepared in a store, and not in this manager's log: not touched. */
  readonly unknown: readonly string[];
}

/** One transaction that its owner has not ended. */
interface OpenTransaction {
  readonly participants: Set<string>;
  readonly changes: RecordedChange[];
  readonly deadlineMs: number;
  /** Stops the timer that rolls it back. */
  cancelTimer: () => void;
}

/** Coordinates transactions over registered stores. Opens itself on first use. */
export class WALTransactionManager {
  readonly #options: WALTransactionManagerOptions;
  readonly #platform: Platform;
  readonly #coordinator: string;
  readonly #adapters = new Map<string, ITransactionalStorageAdapter>();
  readonly #open = new Map<string, OpenTransaction>();
  /** Their records are on the way to the log. */
  readonly #beginning = new Set<string>();
  readonly #runner: CoordinationRunner;
  /** Rolled back because their time was over, and their owners do not know yet; the oldest go. */
  readonly #timedOut = new Set<string>();
  readonly #listeners = new Set<(change: ChangeRecord) => void>();
  /** Ends waits. */
  readonly #waits = new Set<() => void>();
  #opening: Promise<TransactionLog> | undefined;
  #wal: IWALManager | undefined;
  #cancelRecovery: () => void = () => undefined;
  #recovering: Promise<TransactionRecovery> | undefined;
  #isClosed = false;

  /** Throws ValidationError unless exactly one place for the records is given. */
  constructor(options: WALTransactionManagerOptions) {
    const { walPath, wal, database } = options;
    if ([walPath, wal, database].filter((place) => place !== undefined).length !== 1) {
      throw new ValidationError("Cannot make a manager: give one of walPath, wal, database");
    }
    this.#options = options;
    this.#platform = options.platform ?? systemPlatform();
    this.#coordinator = randomId(this.#platform.random);
    this.#runner = new CoordinationRunner({
      clock: this.#platform.clock,
      log: () => this.#ready(),
      adapter: (name) => this.#adapters.get(name),
      isClosed: () => this.#isClosed,
      committed: (changes) => this.#tell(changes),
    });
  }

  get storageAdapterCount(): number {
    return this.#adapters.size;
  }

  get activeTransactionCount(): number {
    return this.#open.size + this.#runner.size;
  }

  getActiveTransactionIds(): string[] {
    return [...this.#open.keys(), ...this.#runner.ids()];
  }

  /** Adds a store; after a restart before {@link performRecovery}. Throws ValidationError. */
  registerStorageAdapter(adapter: ITransactionalStorageAdapter): void {
    if (!adapter.isTransactional()) {
      throw new ValidationError(`Cannot register "${adapter.name}": it is not transactional`);
    }
    if (this.#adapters.has(adapter.name)) {
      throw new ValidationError(`Cannot register "${adapter.name}": the name is taken`);
    }
    this.#adapters.set(adapter.name, adapter);
  }

  unregisterStorageAdapter(name: string): void {
    this.#adapters.delete(name);
  }

  /** Called with each change of a committed transaction, in the order of commits. */
  addChangeListener(listener: (change: ChangeRecord) => void): void {
    this.#listeners.add(listener);
  }

  removeChangeListener(listener: (change: ChangeRecord) => void): void {
    this.#listeners.delete(listener);
  }

  /** Resolves with the transaction's id. When it times out it is rolled back. */
  async beginTransaction(options: { readonly timeoutMs?: number } = {}): Promise<string> {
    await this.#ready();
    if (this.activeTransactionCount >= TRANSACTIONS_MAX) {
      throw new OverloadedError(`${TRANSACTIONS_MAX} transactions are open`, RETRY_AFTER_MS);
    }
    const { clock } = this.#platform;
    const timeoutMs = options.timeoutMs ?? this.#options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    if (!(timeoutMs >= 0 && timeoutMs <= TIMEOUT_MS_MAX)) {
      throw new ValidationError(`Cannot begin: timeoutMs is 0 to ${TIMEOUT_MS_MAX}`);
    }
    const id = randomId(this.#platform.random);
    const transaction: OpenTransaction = {
      participants: new Set(),
      changes: [],
      deadlineMs: clock.nowMs() + timeoutMs,
      cancelTimer: () => undefined,
    };
    transaction.cancelTimer = clock.setTimer(timeoutMs, () => this.#onTimeout(id, transaction));
    this.#open.set(id, transaction);
    return id;
  }

  /**
   * Hands a copy of a change to a store. Rejects with NotFoundError, TransactionTimeoutError, and
   * with ValidationError for values that cstore does not store.
   */
  async write(id: string, adapterName: string, change: ChangeRecord): Promise<void> {
    const transaction = this.#known(id, "write");
    const adapter = this.#adapters.get(adapterName);
    if (adapter === undefined) throw new NotFoundError(`No adapter "${adapterName}" is registered`);
    // Later changes of the object by the caller are no part of the transaction.
    const copy = decodeUntrustedCbor(encodeCbor(change).slice()) as ChangeRecord;
    transaction.participants.add(adapterName);
    await adapter.writeInTransaction(id, copy);
    if (this.#open.get(id) !== transaction) {
      // It timed out meanwhile, or its owner ended it: the change noted just now goes, too.
      await this.#rollBack(id, [adapterName]);
      throw timedOut(id);
    }
    transaction.changes.push({ ...copy, participant: adapterName });
  }

  /**
   * Commits everywhere, or nowhere. Resolves when all stores show it, or when the decision is on
   * record and the time limit has passed: then the rest follows by itself. Rejects with
   * TransactionConflictError ("failed to prepare"), TransactionTimeoutError: nothing was committed;
   * UnknownOutcomeError: the log failed, and a recovery will tell.
   */
  async commitTransaction(id: string): Promise<void> {
    const { participants, changes, deadlineMs, cancelTimer } = this.#known(id, "commit");
    const { clock } = this.#platform;
    cancelTimer();
    this.#open.delete(id);
    if (participants.size === 0) return;
    const leftMs = Math.max(0, deadlineMs - clock.nowMs());
    const names = [...participants];
    const record: TransactionRecord = {
      id,
      participants: names,
      coordinator: this.#coordinator,
      deadlineMs: Math.floor(clock.wallMs() + leftMs),
      decision: undefined,
    };
    const log = await this.#ready();
    this.#beginning.add(id);
    try {
      await log.begin(record, changes);
    } catch (error) {
      this.#beginning.delete(id);
      // No participant is prepared, so none commits it: the stores roll their changes back.
      await this.#rollBack(id, names);
      throw error;
    }
    const ended = this.#runner.run(beginCoordination(id, names), changes);
    this.#beginning.delete(id);
    let isLate = false;
    const cancel = clock.setTimer(leftMs, () => {
      isLate = true;
      this.#runner.hear(id, { type: "TIMED_OUT" });
    });
    const decision = await ended.decided.finally(cancel);
    if (decision === "ROLLBACK") {
      if (isLate) throw timedOut(id);
      throw new TransactionConflictError(`Transaction ${id} failed to prepare: rolled back`);
    }
    await this.#within(deadlineMs - clock.nowMs(), ended.done);
  }

  /** Undoes what the transaction has written. Rejects with NotFoundError. */
  async rollbackTransaction(id: string): Promise<void> {
    const transaction = this.#open.get(id);
    if (transaction === undefined) throw noTransaction("abort");
    this.#open.delete(id);
    await this.#undo(id, transaction);
  }

  /**
   * Settles transactions left behind: by this manager before a restart, or by others whose deadline
   * has passed. It runs at the first use and from time to time; here it runs now.
   */
  performRecovery(): Promise<TransactionRecovery> {
    this.#recovering ??= this.#recover().finally(() => {
      this.#recovering = undefined;
    });
    return this.#recovering;
  }

  async #recover(): Promise<TransactionRecovery> {
    const log = await this.#ready();
    // The prepared ones are listed first: a record comes before that, so none can be missed.
    const prepared = await this.#prepared();
    const records = await log.unfinished();
    const result = {
      committed: [] as string[],
      rolledBack: [] as string[],
      inDoubt: [] as string[],
      unknown: [] as string[],
    };
    const wallMs = this.#platform.clock.wallMs();
    const mine = ({ id }: TransactionRecord) => this.#runner.has(id) || this.#beginning.has(id);
    const isDue = (record: TransactionRecord) =>
      record.coordinator === this.#coordinator ||
      // A decision may be carried out by any manager, and twice.
      record.decision !== undefined ||
      record.deadlineMs <= wallMs ||
      this.#options.database === undefined;
    for (const record of records) {
      if (mine(record) || !isDue(record)) continue;
      const decision = await this.#settle(record);
      if (decision === undefined) result.inDoubt.push(record.id);
      else if (decision === "COMMIT") result.committed.push(record.id);
      else result.rolledBack.push(record.id);
    }
    const known = new Set([...records.map(({ id }) => id), ...this.getActiveTransactionIds()]);
    // Each was on record before it was prepared: the others are another log's, or have ended.
    result.unknown.push(...prepared.filter((id) => !known.has(id) && !this.#beginning.has(id)));
    return result;
  }

  /** Entries of the manager's own log. None when its records are in a database. */
  async getWALEntries(fromSequence?: number): Promise<WALEntry[]> {
    await this.#ready();
    return this.#wal?.readEntries(fromSequence) ?? [];
  }

  getCurrentWALSequence(): number {
    return this.#wal?.getCurrentSequence() ?? 0;
  }

  async flushWAL(): Promise<void> {
    await this.#ready();
    await this.#wal?.flush();
  }

  /** Rolls back open ones, leaves those being committed to a recovery, closes its own log. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#cancelRecovery();
    const open = [...this.#open];
    this.#open.clear();
    await Promise.all(open.map(([id, transaction]) => this.#undo(id, transaction)));
    this.#runner.close();
    for (const end of this.#waits) end();
    const log = await this.#opening?.catch(() => undefined);
    await log?.close();
  }

  #ready(): Promise<TransactionLog> {
    if (this.#isClosed)
      return Promise.reject(new ClosedError("Cannot use the manager: it is closed"));
    this.#opening ??= this.#start();
    return this.#opening;
  }

  async #start(): Promise<TransactionLog> {
    const log = await this.#openLog();
    this.#recoverAfter(0);
    return log;
  }

  async #openLog(): Promise<TransactionLog> {
    const { walPath, wal, database, collection = DEFAULT_COLLECTION } = this.#options;
    if (database !== undefined) {
      const options = { isOutsideTransactions: true };
      const records = database.collection<TransactionDocument>(collection, options);
      return new CollectionTransactionLog(records);
    }
    this.#wal = wal ?? (await SegmentLog.create(walPath ?? "", this.#platform));
    const now = () => Math.floor(this.#platform.clock.wallMs());
    return WALTransactionLog.open(this.#wal, wal === undefined, now);
  }

  #recoverAfter(delayMs: number): void {
    this.#cancelRecovery = this.#platform.clock.setTimer(delayMs, () => {
      const again = () => {
        const nextMs = this.#options.recoveryIntervalMs ?? DEFAULT_RECOVERY_INTERVAL_MS;
        if (!this.#isClosed) this.#recoverAfter(nextMs);
      };
      // Unsettled ones are tried again; `performRecovery` reports the reason to its caller.
      this.performRecovery().then(again, again);
    });
  }

  /** A store that does not tell has no part in the report. */
  async #prepared(): Promise<readonly string[]> {
    const ids: string[] = [];
    const lists = [...this.#adapters.values()].map(async (adapter) => {
      ids.push(...((await adapter.listPrepared?.()) ?? []));
    });
    const all = Promise.allSettled(lists).then(() => undefined);
    await this.#within(SETTLE_WAIT_MS, all);
    return ids;
  }

  /** Undefined: a participant is not there, or did not answer. */
  async #settle({ id, participants, decision }: TransactionRecord): Promise<Decision | undefined> {
    if (participants.some((name) => !this.#adapters.has(name))) return undefined;
    const ended = this.#runner.run(resumeCoordination(id, participants, decision), []);
    const settled = await ended.decided;
    const isDone = await this.#within(SETTLE_WAIT_MS, ended.done);
    return isDone ? settled : undefined;
  }

  #tell(changes: readonly RecordedChange[]): void {
    for (const { participant: _, ...change } of changes) {
      for (const listener of this.#listeners) this.#hearChange(listener, change);
    }
  }

  /** An exception of a listener must not stand in the way of a decision. */
  #hearChange(listener: (change: ChangeRecord) => void, change: ChangeRecord): void {
    try {
      listener(change);
    } catch (error) {
      LOGGER.error("a change listener failed: {error}", { error });
    }
  }

  /** Whether a promise resolves in time, and before the manager is closed. */
  #within(timeoutMs: number, promise: Promise<void>): Promise<boolean> {
    return new Promise((resolve) => {
      const end = (isDone: boolean) => {
        cancel();
        this.#waits.delete(late);
        resolve(isDone);
      };
      const late = () => end(false);
      const cancel = this.#platform.clock.setTimer(Math.max(0, timeoutMs), late);
      this.#waits.add(late);
      void promise.then(() => end(true));
    });
  }

  async #undo(id: string, { participants, cancelTimer }: OpenTransaction): Promise<void> {
    cancelTimer();
    await this.#rollBack(id, [...participants]);
  }

  /** No participant is prepared: changes that a store does not undo now end with its process. */
  async #rollBack(id: string, names: readonly string[]): Promise<void> {
    await Promise.allSettled(names.map(async (name) => this.#adapters.get(name)?.rollback(id)));
  }

  #onTimeout(id: string, transaction: OpenTransaction): void {
    this.#open.delete(id);
    this.#timedOut.add(id);
    const [oldest = id] = this.#timedOut;
    if (this.#timedOut.size > TRANSACTIONS_MAX) this.#timedOut.delete(oldest);
    void this.#undo(id, transaction);
  }

  #known(id: string, action: string): OpenTransaction {
    const transaction = this.#open.get(id);
    if (transaction !== undefined) return transaction;
    if (this.#timedOut.delete(id)) throw timedOut(id);
    throw noTransaction(action);
  }
}

function noTransaction(action: string): NotFoundError {
  return new NotFoundError(`No active transaction to ${action}`);
}

function timedOut(id: string): TransactionTimeoutError {
  return new TransactionTimeoutError(`Transaction ${id} was rolled back: it timed out`);
}
