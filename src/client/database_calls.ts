/**
 * Calls that all databases carry out in the same way, once they have a client.
 *
 * @module
 */

import { uuidv7 } from "uuidv7";
import type { Change as DocumentChange, WatchOptions } from "../api/changes.ts";
import type {
  AnyDocument,
  Collection,
  CollectionOptions,
  CollectionSettingsOptions,
  Item,
} from "../api/collection.ts";
import type { ConflictList, ConflictOptions } from "../api/conflict.ts";
import type { Transaction, TransactionOptions } from "../api/transaction.ts";
import type { Validators } from "../api/validator.ts";
import { ValidationError } from "../base/errors.ts";
import { checkCallOptions } from "../base/known_options.ts";
import {
  CONFLICT_OPTIONS,
  checkTimeout,
  SETTINGS,
  TRANSACTION_OPTIONS,
  WATCH_OPTIONS,
} from "./collection/call_options.ts";
import { changeCatalog, listCollections, listConflicts } from "./collection/catalog_client.ts";
import { watchChanges } from "./collection/change_stream.ts";
import { CollectionRules } from "./collection/collection_rules.ts";
import type { LocalReads } from "./collection/local_reads.ts";
import { RemoteCollection } from "./collection/remote_collection.ts";
import type { Client } from "./connection/client.ts";
import { GlobalTransactions } from "./transaction/global_transactions.ts";
import { RoutedCollection } from "./transaction/routed_collection.ts";
import { runTransaction, type TransactionParts } from "./transaction/transaction.ts";

/** Calls on a database whose client may still be on its way. */
export class DatabaseCalls {
  readonly #parts: TransactionParts;

  /** Reads without a request, once the database is open. */
  local: () => LocalReads | undefined = () => undefined;

  /** Begun and ended by calls of their own. */
  readonly transactions: GlobalTransactions;

  constructor(client: () => Client | Promise<Client>, validators: Validators = {}) {
    const source = { client, newId: () => uuidv7() };
    this.#parts = { ...source, rules: new CollectionRules({ ...source, validators }) };
    this.transactions = new GlobalTransactions(this.#parts);
  }

  collection<T extends Item = AnyDocument>(
    name: string,
    options?: CollectionOptions,
  ): Collection<T> {
    const backend = {
      ...this.#parts,
      local: () => this.local(),
      transaction: <R>(
        run: (transaction: Transaction) => Promise<R>,
        how: TransactionOptions,
      ): Promise<R> => this.transaction(run, how),
    };
    const plain = new RemoteCollection<T>(name, backend, options);
    if (options?.isOutsideTransactions === true) return plain;
    return new RoutedCollection<T>(plain, this.transactions, options);
  }

  async createCollection(name: string, settings?: CollectionSettingsOptions): Promise<boolean> {
    this.#refuseWithin("createCollection");
    checkCallOptions("createCollection", settings, SETTINGS);
    this.#parts.rules.forget(name);
    const given = settings && { settings };
    const request = { action: "createCollection", collection: name, ...given } as const;
    return changeCatalog(await this.#parts.client(), request);
  }

  async dropCollection(name: string): Promise<boolean> {
    this.#refuseWithin("dropCollection");
    this.#parts.rules.forget(name);
    const request = { action: "dropCollection", collection: name } as const;
    return changeCatalog(await this.#parts.client(), request);
  }

  async conflicts<T>(collection: string, options: ConflictOptions = {}): Promise<ConflictList<T>> {
    checkCallOptions("conflicts", options, CONFLICT_OPTIONS);
    checkTimeout(options.timeoutMs);
    return listConflicts<T>(await this.#parts.client(), collection, options);
  }

  /** The catalog changes at once, and would not come back with a rollback. */
  #refuseWithin(what: string): void {
    if (this.transactions.size === 0) return;
    throw new ValidationError(`Cannot call ${what} within a transaction`);
  }

  async listCollections(): Promise<string[]> {
    return (await listCollections(await this.#parts.client())).map(({ name }) => name);
  }

  async *watch<T>(options: WatchOptions = {}): AsyncGenerator<DocumentChange<T>, void, undefined> {
    checkCallOptions("watch", options, WATCH_OPTIONS);
    yield* watchChanges<T>(await this.#parts.client(), options);
  }

  async transaction<R>(
    run: (transaction: Transaction) => Promise<R>,
    options?: TransactionOptions,
  ): Promise<R> {
    checkCallOptions("transaction", options, TRANSACTION_OPTIONS);
    // None: it is tried once.
    if (options?.timeoutMs !== 0) checkTimeout(options?.timeoutMs);
    return runTransaction(this.#parts, run, options);
  }
}
