/**
 * Base of all databases: their calls are carried out by a client, which may still be on its way.
 *
 * @module
 */

import type { Change as DocumentChange, WatchOptions } from "../api/changes.ts";
import type {
  AnyDocument,
  Collection,
  CollectionOptions,
  CollectionSettingsOptions,
  Item,
} from "../api/collection.ts";
import type { ConflictList, ConflictOptions } from "../api/conflict.ts";
import type { Database } from "../api/database.ts";
import type { Transaction, TransactionOptions } from "../api/transaction.ts";
import type { Validators } from "../api/validator.ts";
import type { Client } from "./connection/client.ts";
import { DatabaseCalls } from "./database_calls.ts";

/** A database but for how it is opened and closed. */
export abstract class DatabaseBase implements Database {
  /** The calls of {@link Database} over a client. */
  protected readonly calls: DatabaseCalls;

  protected constructor(client: () => Client | Promise<Client>, validators?: Validators) {
    this.calls = new DatabaseCalls(client, validators);
  }

  abstract open(): Promise<void>;
  abstract close(): Promise<void>;

  collection<T extends Item = AnyDocument>(
    name: string,
    options?: CollectionOptions,
  ): Collection<T> {
    return this.calls.collection<T>(name, options);
  }

  createCollection(name: string, settings?: CollectionSettingsOptions): Promise<boolean> {
    return this.calls.createCollection(name, settings);
  }

  dropCollection(name: string): Promise<boolean> {
    return this.calls.dropCollection(name);
  }

  listCollections(): Promise<string[]> {
    return this.calls.listCollections();
  }

  /** Documents that several nodes have changed without knowing of each other. */
  conflicts<T = unknown>(collection: string, options?: ConflictOptions): Promise<ConflictList<T>> {
    return this.calls.conflicts<T>(collection, options);
  }

  transaction<R>(
    run: (transaction: Transaction) => Promise<R>,
    options?: TransactionOptions,
  ): Promise<R> {
    return this.calls.transaction(run, options);
  }

  // biome-ignore lint/suspicious/noExplicitAny: a subclass may give back nothing.
  beginGlobalTransaction(options?: TransactionOptions): Promise<any> {
    return this.calls.transactions.begin(options);
  }

  commitGlobalTransaction(id?: string): Promise<void> {
    return this.calls.transactions.commit(id);
  }

  async rollbackGlobalTransaction(id?: string): Promise<void> {
    this.calls.transactions.rollback(id);
  }

  watch<T = unknown>(options?: WatchOptions): AsyncIterable<DocumentChange<T>> {
    return this.calls.watch<T>(options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
