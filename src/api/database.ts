/**
 * The interface that every cstore database gives: embedded, replicated in this process, or remote.
 *
 * @module
 */

import type { Change as DocumentChange, WatchOptions } from "./changes.ts";
import type {
  AnyDocument,
  Collection,
  CollectionOptions,
  CollectionSettingsOptions,
  Item,
} from "./collection.ts";
import type { ConflictList, ConflictOptions } from "./conflict.ts";
import type { Transaction, TransactionOptions } from "./transaction.ts";

/** A database. */
export interface Database {
  /** Makes the database ready. Every other call waits for it, too. */
  open(): Promise<void>;
  /** A handle; the collection comes into being with its first document. */
  collection<T extends Item = AnyDocument>(
    name: string,
    options?: CollectionOptions,
  ): Collection<T>;
  /**
   * Makes an empty collection; false when there is one of that name. Settings hold as long as
   * the collection is there. Rejects with ValidationError when it is there with others than
   * those given.
   */
  createCollection(name: string, settings?: CollectionSettingsOptions): Promise<boolean>;
  /** Removes a collection with its documents and indexes; false when there is none. */
  dropCollection(name: string): Promise<boolean>;
  /** Names of all collections. */
  listCollections(): Promise<string[]>;
  /**
   * Documents of a collection that every node writes which several nodes have changed without
   * knowing of each other, as the node that answers knows them. The next write of a document ends
   * its conflict.
   */
  conflicts<T = unknown>(collection: string, options?: ConflictOptions): Promise<ConflictList<T>>;
  /**
   * Runs a function whose reads and writes take effect all at once or not at all, isolated from all
   * other writes: it is called again when a document that it had read was changed. Rejects with
   * what the function throws - nothing is written then - or with TransactionConflictError when
   * there is no more time.
   */
  transaction<R>(
    run: (transaction: Transaction) => Promise<R>,
    options?: TransactionOptions,
  ): Promise<R>;
  /**
   * Begins a transaction that is ended by a call of its own; resolves with its id. Until then what
   * is done with this database's collections belongs to it. Prefer {@link transaction}, which runs
   * again when something that was read has changed.
   */
  // biome-ignore lint/suspicious/noExplicitAny: a subclass may give back nothing.
  beginGlobalTransaction(options?: TransactionOptions): Promise<any>;
  /**
   * Makes all of it take effect, or nothing: rejects with TransactionConflictError,
   * TransactionTimeoutError, NotFoundError, and with AmbiguousTransactionError when several are
   * open and none is named.
   */
  commitGlobalTransaction(id?: string): Promise<void>;
  /** Forgets the transaction's writes. Rejects with NotFoundError, AmbiguousTransactionError. */
  rollbackGlobalTransaction(id?: string): Promise<void>;
  /**
   * Changes that take effect from now on, or behind `since`, in order and without gaps; it goes on
   * after a failover. Rejects with CompactedError when what it asks for is not kept any more.
   */
  watch<T = unknown>(options?: WatchOptions): AsyncIterable<DocumentChange<T>>;
  /** Stops and frees everything; data stay. */
  close(): Promise<void>;
}
