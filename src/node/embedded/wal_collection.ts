/**
 * WALCollection: one collection with a database of its own, in this process.
 *
 * @module
 */

import type {
  AnyDocument,
  Change,
  ChangeOptions,
  Collection,
  CollectionOptions,
  Explanation,
  IndexInfo,
  IndexOptions,
  Item,
  NewDocument,
  RangeBounds,
  UpdateResult,
  Versioned,
  WriteOptions,
} from "../../api/collection.ts";
import type { Condition, FindOptions, Query } from "../../api/query.ts";
import type { TransactionCollection, TransactionOptions } from "../../api/transaction.ts";
import type { Validator } from "../../api/validator.ts";
import type { Platform } from "../../platform/platform.ts";
import type { CollectionSettings } from "../../protocol/encoding/collection_settings.ts";
import type { DocumentId } from "../../protocol/encoding/document_key.ts";
import type { ReadLevel } from "../../protocol/wire/client_message.ts";
import { WALDatabase } from "./wal_database.ts";

/** Where a collection lives. */
export interface WALCollectionConfig extends CollectionOptions {
  readonly name: string;
  /** Folder of all databases; `./data` unless set. */
  readonly root?: string;
  /** Name of the database, a folder below `root`; the collection's name unless set. */
  readonly dbName?: string;
  /** Where ids of documents without one come from; uuidv7 unless set. Settled the first time. */
  readonly ids?: CollectionSettings["ids"];
  /** What every document must pass. Settled the first time. */
  readonly validator?: Validator;
  readonly platform?: Platform;
}

/** A durable collection. Opens itself on first use; what was answered survives `kill -9`. */
export class WALCollection<T extends Item = AnyDocument> implements Collection<T> {
  readonly name: string;
  readonly #database: WALDatabase;
  readonly #documents: Collection<T>;
  readonly #options: CollectionOptions;

  constructor(config: WALCollectionConfig) {
    const { name, root, dbName, platform, ids, validator, ...options } = config;
    const place = { ...(root !== undefined && { root }), ...(platform && { platform }) };
    const settings = { ...(ids && { ids }), ...(validator && { validator: name }) };
    this.name = name;
    this.#database = new WALDatabase({
      name: dbName ?? name,
      ...place,
      ...((ids ?? validator) && { collections: { [name]: settings } }),
      ...(validator && { validators: { [name]: validator } }),
    });
    this.#documents = this.#database.collection<T>(name, options);
    this.#options = options;
  }

  /** Recovers the data. Rejects with LockedError, CorruptionError, StorageError. */
  initialize(): Promise<void> {
    return this.#database.open();
  }

  /** Closes the files. */
  close(): Promise<void> {
    return this.#database.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Until it is ended, what is done with this collection belongs to the transaction. */
  beginTransaction(options?: TransactionOptions): Promise<string> {
    return this.#database.beginGlobalTransaction(options);
  }

  commitTransaction(id?: string): Promise<void> {
    return this.#database.commitGlobalTransaction(id);
  }

  rollbackTransaction(id?: string): Promise<void> {
    return this.#database.rollbackGlobalTransaction(id);
  }

  /** All of it or nothing; called again when something that it had read was changed. */
  withTransaction<R>(
    run: (collection: TransactionCollection<T>) => Promise<R>,
    options?: TransactionOptions,
  ): Promise<R> {
    return this.#database.transaction((tx) => {
      return run(tx.collection<T>(this.name, this.#options));
    }, options);
  }

  insert(document: NewDocument<T>): Promise<T> {
    return this.#documents.insert(document);
  }

  create(document: NewDocument<T>): Promise<T> {
    return this.#documents.create(document);
  }

  insertMany(documents: readonly NewDocument<T>[]): Promise<T[]> {
    return this.#documents.insertMany(documents);
  }

  put(document: NewDocument<T>, options?: WriteOptions): Promise<number> {
    return this.#documents.put(document, options);
  }

  putMany(documents: readonly NewDocument<T>[]): Promise<void> {
    return this.#documents.putMany(documents);
  }

  save(document: NewDocument<T>): Promise<T> {
    return this.#documents.save(document);
  }

  update(id: DocumentId, change: Change<T>, options?: WriteOptions): Promise<T | undefined>;
  update(filter: Query<T>, change: Change<T>, options?: ChangeOptions): Promise<T[]>;
  update(
    target: DocumentId | Query<T>,
    change: Change<T>,
    options?: WriteOptions,
  ): Promise<T | undefined | T[]> {
    // Each of the overloads takes what the caller gave.
    return this.#documents.update(target as DocumentId, change, options);
  }

  updateWithId(id: DocumentId, change: Change<T>): Promise<T | undefined> {
    return this.#documents.updateWithId(id, change);
  }

  updateOne(
    filter: Query<T>,
    change: Change<T>,
    options?: { readonly upsert?: boolean },
  ): Promise<UpdateResult> {
    return this.#documents.updateOne(filter, change, options);
  }

  updateMany(filter: Query<T>, change: Change<T>): Promise<UpdateResult> {
    return this.#documents.updateMany(filter, change);
  }

  remove(id: DocumentId, options?: WriteOptions): Promise<T | undefined>;
  remove(filter: Query<T>): Promise<T[]>;
  remove(target: DocumentId | Query<T>, options?: WriteOptions): Promise<T | undefined | T[]> {
    // Each of the overloads takes what the caller gave.
    return this.#documents.remove(target as DocumentId, options);
  }

  deleteMany(filter: Query<T>): Promise<number> {
    return this.#documents.deleteMany(filter);
  }

  clear(): Promise<void> {
    return this.#documents.clear();
  }

  removeWithId(id: DocumentId): Promise<T | undefined> {
    return this.#documents.removeWithId(id);
  }

  delete(id: DocumentId, options?: WriteOptions): Promise<boolean> {
    return this.#documents.delete(id, options);
  }

  findById(id: DocumentId, options?: { readonly read?: ReadLevel }): Promise<T | undefined> {
    return this.#documents.findById(id, options);
  }

  findVersioned(
    id: DocumentId,
    options?: { readonly read?: ReadLevel },
  ): Promise<Versioned<T> | undefined> {
    return this.#documents.findVersioned(id, options);
  }

  find(condition?: Condition<T>, options?: FindOptions): Promise<T[]> {
    return this.#documents.find(condition, options);
  }

  findOne(condition?: Condition<T>, options?: FindOptions): Promise<T | undefined> {
    return this.#documents.findOne(condition, options);
  }

  findBy(path: string, value: unknown, options?: FindOptions): Promise<T[]> {
    return this.#documents.findBy(path, value, options);
  }

  findRange(path: string, bounds: RangeBounds, options?: FindOptions): Promise<T[]> {
    return this.#documents.findRange(path, bounds, options);
  }

  iterate(condition?: Condition<T>, options?: FindOptions): AsyncIterable<T> {
    return this.#documents.iterate(condition, options);
  }

  count(condition?: Condition<T>, options?: { readonly read?: ReadLevel }): Promise<number> {
    return this.#documents.count(condition, options);
  }

  distinct(path: string, condition?: Condition<T>): Promise<unknown[]> {
    return this.#documents.distinct(path, condition);
  }

  first(): Promise<T | undefined> {
    return this.#documents.first();
  }

  last(): Promise<T | undefined> {
    return this.#documents.last();
  }

  lowest(path: string): Promise<T | undefined> {
    return this.#documents.lowest(path);
  }

  greatest(path: string): Promise<T | undefined> {
    return this.#documents.greatest(path);
  }

  explain(filter: Query<T>, options?: FindOptions): Promise<Explanation> {
    return this.#documents.explain(filter, options);
  }

  createIndex(name: string, options: IndexOptions): Promise<void> {
    return this.#documents.createIndex(name, options);
  }

  dropIndex(name: string): Promise<void> {
    return this.#documents.dropIndex(name);
  }

  listIndexes(): Promise<IndexInfo[]> {
    return this.#documents.listIndexes();
  }
}
