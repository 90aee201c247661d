/**
 * A collection whose calls belong to the global transaction that is open, if one is.
 *
 * @module
 */

import type { Change } from "../../api/change.ts";
import type {
  BulkOperation,
  BulkResult,
  ChangeOptions,
  Collection,
  CollectionOptions,
  FindOneAndUpdateOptions,
  IndexOptions,
  Item,
  NewDocument,
  PageOptions,
  ResultPage,
  UpdateResult,
  UpsertOptions,
  Versioned,
  WriteOptions,
} from "../../api/collection.ts";
import type { DistinctValue, Path, PathValue } from "../../api/path.ts";
import type {
  Condition,
  FindOptions,
  Found,
  Projection,
  Query,
  ReadOptions,
} from "../../api/query.ts";
import type { TransactionCollection } from "../../api/transaction.ts";
import { ValidationError } from "../../base/errors.ts";
import type { DocumentId } from "../../protocol/encoding/document_key.ts";
import { ForwardingCollection } from "../collection/collection_base.ts";
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
    options?: WriteOptions & UpsertOptions,
  ): Promise<T | undefined>;
  override update(filter: Query<T>, change: Change<T>, options?: ChangeOptions): Promise<T[]>;
  override async update(
    target: DocumentId | Query<T>,
    change: Change<T>,
    options?: WriteOptions & UpsertOptions,
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
    options?: UpsertOptions,
  ): Promise<UpdateResult> {
    return (this.#view() ?? this.#plain).updateOne(filter, change, options);
  }

  override async findOneAndUpdate(
    filter: Query<T>,
    change: Change<T>,
    options?: FindOneAndUpdateOptions<T>,
  ): Promise<T | undefined> {
    return (this.#view() ?? this.#plain).findOneAndUpdate(filter, change, options);
  }

  override async replaceOne(
    filter: Query<T>,
    document: NewDocument<T>,
    options?: UpsertOptions,
  ): Promise<UpdateResult> {
    return (this.#view() ?? this.#plain).replaceOne(filter, document, options);
  }

  override async deleteOne(filter: Query<T>): Promise<boolean> {
    return (this.#view() ?? this.#plain).deleteOne(filter);
  }

  override async bulkWrite(operations: readonly BulkOperation<T>[]): Promise<BulkResult> {
    return (this.#view() ?? this.#plain).bulkWrite(operations);
  }

  override async findPage(filter?: Query<T>, options?: PageOptions<T>): Promise<ResultPage<T>> {
    return this.#outside("findPage", "find").findPage(filter, options);
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
    if (this.#transactions.size === 0) return this.#plain.findVersioned(id, options);
    return this.#read((view) => view.findVersioned(id));
  }

  override find<const P extends Projection<T> = never>(
    condition?: Condition<T>,
    options?: FindOptions<T, P>,
  ): Promise<Found<T, P>[]> {
    if (this.#transactions.size === 0) return this.#plain.find(condition, options);
    return this.#read((view) => view.find(filterOf(condition), options));
  }

  override iterate<const P extends Projection<T> = never>(
    condition?: Condition<T>,
    options?: FindOptions<T, P>,
  ): AsyncIterable<Found<T, P>> {
    return this.#outside("iterate", "find").iterate(condition, options);
  }

  override count(condition?: Condition<T>, options?: ReadOptions): Promise<number> {
    if (this.#transactions.size === 0) return this.#plain.count(condition, options);
    return this.#read((view) => view.count(filterOf(condition)));
  }

  override async distinct<P extends Path<T>>(
    path: P,
    condition?: Condition<T>,
    options?: ReadOptions,
  ): Promise<DistinctValue<PathValue<T, P>>[]> {
    return this.#outside("distinct", "find").distinct(path, condition, options);
  }

  override async createIndex(name: string, options: IndexOptions<T>): Promise<void> {
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
