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
  IndexOptions,
  Item,
  NewDocument,
  UpdateResult,
  Versioned,
  WriteOptions,
} from "../../api/collection.ts";
import type { Condition, FindOptions, Query } from "../../api/query.ts";
import type { TransactionCollection } from "../../api/transaction.ts";
import { ValidationError } from "../../base/errors.ts";
import type { DocumentId } from "../../protocol/encoding/document_key.ts";
import { ForwardingCollection, type ReadOptions } from "../collection/collection_base.ts";
import type { GlobalTransactions } from "./global_transactions.ts";

/** One handle. Without an open transaction every call goes straight on. */
export class RoutedCollection<T extends Item> extends ForwardingCollection<T> {
  readonly name: string;
  protected readonly idField: string;
  readonly #plain: Collection<T>;
  readonly #transactions: GlobalTransactions;
  readonly #options: CollectionOptions | undefined;

  constructor(
    plain: Collection<T>,
    transactions: GlobalTransactions,
    options: CollectionOptions | undefined,
  ) {
    super();
    this.name = plain.name;
    this.idField = options?.idField ?? "id";
    this.#plain = plain;
    this.#transactions = transactions;
    this.#options = options;
  }

  protected override target(): Collection<T> {
    return this.#plain;
  }

  override async insert(document: NewDocument<T>): Promise<T> {
    return (this.#view() ?? this.#plain).insert(document);
  }

  override async insertMany(documents: readonly NewDocument<T>[]): Promise<T[]> {
    return (this.#view() ?? this.#plain).insertMany(documents);
  }

  override async put(document: NewDocument<T>, options?: WriteOptions): Promise<number> {
    return this.#outside("put", "save").put(document, options);
  }

  override async putMany(documents: readonly NewDocument<T>[]): Promise<void> {
    return (this.#view() ?? this.#plain).putMany(documents);
  }

  override async save(document: NewDocument<T>): Promise<T> {
    return (this.#view() ?? this.#plain).save(document);
  }

  override update(
    id: DocumentId,
    change: Change<T>,
    options?: WriteOptions,
  ): Promise<T | undefined>;
  override update(filter: Query<T>, change: Change<T>, options?: ChangeOptions): Promise<T[]>;
  override async update(
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

  override async updateOne(
    filter: Query<T>,
    change: Change<T>,
    options?: { readonly upsert?: boolean },
  ): Promise<UpdateResult> {
    const view = options?.upsert === true ? undefined : this.#view();
    if (view !== undefined) return view.updateOne(filter, change);
    const plain = this.#outside("updateOne with upsert", "findOne and save");
    return plain.updateOne(filter, change, options);
  }

  override async updateMany(filter: Query<T>, change: Change<T>): Promise<UpdateResult> {
    return (this.#view() ?? this.#plain).updateMany(filter, change);
  }

  override remove(id: DocumentId, options?: WriteOptions): Promise<T | undefined>;
  override remove(filter: Query<T>): Promise<T[]>;
  override async remove(
    target: DocumentId | Query<T>,
    options?: WriteOptions,
  ): Promise<T | undefined | T[]> {
    const view = this.#view();
    if (view === undefined) return this.#plain.remove(target as DocumentId, options);
    refuseVersion(options);
    return view.remove(target as DocumentId);
  }

  override async deleteMany(filter: Query<T>): Promise<number> {
    return (this.#view() ?? this.#plain).deleteMany(filter);
  }

  override async clear(): Promise<void> {
    return this.#outside("clear", "deleteMany").clear();
  }

  override async delete(id: DocumentId, options?: WriteOptions): Promise<boolean> {
    const view = this.#view();
    if (view === undefined) return this.#plain.delete(id, options);
    refuseVersion(options);
    return view.delete(id);
  }

  override findById(id: DocumentId, options?: ReadOptions): Promise<T | undefined> {
    if (this.#transactions.size === 0) return this.#plain.findById(id, options);
    return this.#read((view) => view.findById(id));
  }

  override async findVersioned(
    id: DocumentId,
    options?: ReadOptions,
  ): Promise<Versioned<T> | undefined> {
    return this.#outside("findVersioned", "findById").findVersioned(id, options);
  }

  override find(condition?: Condition<T>, options?: FindOptions): Promise<T[]> {
    if (this.#transactions.size === 0) return this.#plain.find(condition, options);
    return this.#read((view) => view.find(filterOf(condition), options));
  }

  override iterate(condition?: Condition<T>, options?: FindOptions): AsyncIterable<T> {
    return this.#outside("iterate", "find").iterate(condition, options);
  }

  override count(condition?: Condition<T>, options?: ReadOptions): Promise<number> {
    if (this.#transactions.size === 0) return this.#plain.count(condition, options);
    return this.#read((view) => view.count(filterOf(condition)));
  }

  override async distinct(path: string, condition?: Condition<T>): Promise<unknown[]> {
    return this.#outside("distinct", "find").distinct(path, condition);
  }

  override async createIndex(name: string, options: IndexOptions): Promise<void> {
    return this.#outside("createIndex", "commit first").createIndex(name, options);
  }

  override async dropIndex(name: string): Promise<void> {
    return this.#outside("dropIndex", "commit first").dropIndex(name);
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
