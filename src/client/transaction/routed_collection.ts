/**
 * A collection whose calls belong to the global transaction that is open, if one is.
 *
 * @module
 */

import type {
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
import type { TransactionCollection } from "../../api/transaction.ts";
import { ValidationError } from "../../base/errors.ts";
import type { DocumentId } from "../../protocol/encoding/document_key.ts";
import type { ReadLevel } from "../../protocol/wire/client_message.ts";
import { queryAt } from "../collection/query_client.ts";
import type { GlobalTransactions } from "./global_transactions.ts";

/** One handle. Without an open transaction every call goes straight on. */
export class RoutedCollection<T extends Item> implements Collection<T> {
  readonly name: string;
  readonly #plain: Collection<T>;
  readonly #transactions: GlobalTransactions;
  readonly #options: CollectionOptions | undefined;
  readonly #idField: string;

  constructor(
    plain: Collection<T>,
    transactions: GlobalTransactions,
    options: CollectionOptions | undefined,
  ) {
    this.name = plain.name;
    this.#plain = plain;
    this.#transactions = transactions;
    this.#options = options;
    this.#idField = options?.idField ?? "id";
  }

  async insert(document: NewDocument<T>): Promise<T> {
    return (this.#view() ?? this.#plain).insert(document);
  }

  async create(document: NewDocument<T>): Promise<T> {
    return this.insert(document);
  }

  async insertMany(documents: readonly NewDocument<T>[]): Promise<T[]> {
    return (this.#view() ?? this.#plain).insertMany(documents);
  }

  async put(document: NewDocument<T>, options?: WriteOptions): Promise<number> {
    return this.#outside("put", "save").put(document, options);
  }

  async putMany(documents: readonly NewDocument<T>[]): Promise<void> {
    return (this.#view() ?? this.#plain).putMany(documents);
  }

  async save(document: NewDocument<T>): Promise<T> {
    return (this.#view() ?? this.#plain).save(document);
  }

  update(id: DocumentId, change: Change<T>, options?: WriteOptions): Promise<T | undefined>;
  update(filter: Query<T>, change: Change<T>, options?: ChangeOptions): Promise<T[]>;
  async update(
    target: DocumentId | Query<T>,
    change: Change<T>,
    options?: WriteOptions,
  ): Promise<T | undefined | T[]> {
    const view = this.#view();
    // Each of the overloads takes what the caller gave.
    if (view === undefined) return this.#plain.update(target as DocumentId, change, options);
    refuseVersion(options);
    return view.update(target as DocumentId, change, options);
  }

  async updateWithId(id: DocumentId, change: Change<T>): Promise<T | undefined> {
    return this.update(id, change);
  }

  async updateOne(
    filter: Query<T>,
    change: Change<T>,
    options?: { readonly upsert?: boolean },
  ): Promise<UpdateResult> {
    const view = options?.upsert === true ? undefined : this.#view();
    if (view !== undefined) return view.updateOne(filter, change);
    return this.#outside("updateOne with upsert", "findOne and save").updateOne(
      filter,
      change,
      options,
    );
  }

  async updateMany(filter: Query<T>, change: Change<T>): Promise<UpdateResult> {
    return (this.#view() ?? this.#plain).updateMany(filter, change);
  }

  remove(id: DocumentId, options?: WriteOptions): Promise<T | undefined>;
  remove(filter: Query<T>): Promise<T[]>;
  async remove(
    target: DocumentId | Query<T>,
    options?: WriteOptions,
  ): Promise<T | undefined | T[]> {
    const view = this.#view();
    if (view === undefined) return this.#plain.remove(target as DocumentId, options);
    refuseVersion(options);
    return view.remove(target as DocumentId);
  }

  async deleteMany(filter: Query<T>): Promise<number> {
    return (this.#view() ?? this.#plain).deleteMany(filter);
  }

  async clear(): Promise<void> {
    return this.#outside("clear", "deleteMany").clear();
  }

  async removeWithId(id: DocumentId): Promise<T | undefined> {
    return this.remove(id);
  }

  async delete(id: DocumentId, options?: WriteOptions): Promise<boolean> {
    const view = this.#view();
    if (view === undefined) return this.#plain.delete(id, options);
    refuseVersion(options);
    return view.delete(id);
  }

  findById(id: DocumentId, options?: { readonly read?: ReadLevel }): Promise<T | undefined> {
    if (this.#transactions.size === 0) return this.#plain.findById(id, options);
    return this.#read((view) => view.findById(id));
  }

  async findVersioned(
    id: DocumentId,
    options?: { readonly read?: ReadLevel },
  ): Promise<Versioned<T> | undefined> {
    return this.#outside("findVersioned", "findById").findVersioned(id, options);
  }

  find(condition?: Condition<T>, options?: FindOptions): Promise<T[]> {
    if (this.#transactions.size === 0) return this.#plain.find(condition, options);
    return this.#read((view) => view.find(filterOf(condition), options));
  }

  findOne(condition?: Condition<T>, options?: FindOptions): Promise<T | undefined> {
    if (this.#transactions.size === 0) return this.#plain.findOne(condition, options);
    return this.#read((view) => view.findOne(filterOf(condition), options));
  }

  async findBy(path: string, value: unknown, options?: FindOptions): Promise<T[]> {
    return (this.#view() ?? this.#plain).findBy(path, value, options);
  }

  async findRange(path: string, bounds: RangeBounds, options?: FindOptions): Promise<T[]> {
    return (this.#view() ?? this.#plain).findRange(path, bounds, options);
  }

  iterate(condition?: Condition<T>, options?: FindOptions): AsyncIterable<T> {
    return this.#outside("iterate", "find").iterate(condition, options);
  }

  count(condition?: Condition<T>, options?: { readonly read?: ReadLevel }): Promise<number> {
    if (this.#transactions.size === 0) return this.#plain.count(condition, options);
    return this.#read((view) => view.count(filterOf(condition)));
  }

  async distinct(path: string, condition?: Condition<T>): Promise<unknown[]> {
    return this.#outside("distinct", "find").distinct(path, condition);
  }

  async first(): Promise<T | undefined> {
    return this.lowest(this.#idField);
  }

  async last(): Promise<T | undefined> {
    return this.greatest(this.#idField);
  }

  async lowest(path: string): Promise<T | undefined> {
    const view = this.#view();
    if (view === undefined) return this.#plain.lowest(path);
    return view.findOne(queryAt<T>(path, { $exists: true }), { sort: { [path]: 1 } });
  }

  async greatest(path: string): Promise<T | undefined> {
    const view = this.#view();
    if (view === undefined) return this.#plain.greatest(path);
    return view.findOne(queryAt<T>(path, { $exists: true }), { sort: { [path]: -1 } });
  }

  explain(filter: Query<T>, options?: FindOptions): Promise<Explanation> {
    return this.#plain.explain(filter, options);
  }

  async createIndex(name: string, options: IndexOptions): Promise<void> {
    return this.#outside("createIndex", "commit first").createIndex(name, options);
  }

  async dropIndex(name: string): Promise<void> {
    return this.#outside("dropIndex", "commit first").dropIndex(name);
  }

  listIndexes(): Promise<IndexInfo[]> {
    return this.#plain.listIndexes();
  }

  /** The collection within the open transaction; undefined when none is open. */
  #view(): TransactionCollection<T> | undefined {
    return this.#transactions.current()?.collection<T>(this.name, this.#options);
  }

  async #read<R>(read: (view: TransactionCollection<T>) => Promise<R>): Promise<R> {
    const view = this.#view();
    if (view === undefined) throw new ValidationError("Cannot read: the transaction has ended");
    return read(view);
  }

  /** For what a transaction cannot do. Throws ValidationError while one is open. */
  #outside(what: string, instead: string): Collection<T> {
    if (this.#transactions.size === 0) return this.#plain;
    throw new ValidationError(`Cannot call ${what} within a transaction`, {
      remedy: `Use ${instead}`,
    });
  }
}

function filterOf<T>(condition: Condition<T> | undefined): Query<T> | undefined {
  if (typeof condition !== "function") return condition;
  throw new ValidationError("Cannot use a function as a condition within a transaction", {
    remedy: "Write the condition as a query",
  });
}

function refuseVersion(options: WriteOptions | undefined): void {
  if (options?.ifVersion === undefined) return;
  throw new ValidationError("Cannot use ifVersion within a transaction", {
    remedy: "Read the document in the transaction: its commit fails if it was changed",
  });
}
