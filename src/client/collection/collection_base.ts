/**
 * Base of every implementation of {@link Collection}: searches that are made of `find`, calls that
 * are made of others, and a collection that hands every other call on.
 *
 * @module
 */

import type { Change } from "../../api/change.ts";
import type {
  BulkOperation,
  BulkResult,
  ChangeOptions,
  Collection,
  Explanation,
  FindOneAndUpdateOptions,
  IndexInfo,
  IndexOptions,
  Item,
  NewDocument,
  PageOptions,
  PathOperand,
  RangeBounds,
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
import type { DocumentId } from "../../protocol/encoding/document_key.ts";
import { queryAt } from "./query_client.ts";

/** Searches that are made of `find`. Every `C` takes in queries. */
export abstract class Searches<T extends Item, C extends Condition<T>> {
  abstract find<const P extends Projection<T> = never>(
    condition?: C,
    options?: FindOptions<T, P>,
  ): Promise<Found<T, P>[]>;

  async findOne<const P extends Projection<T> = never>(
    condition?: C,
    options?: FindOptions<T, P>,
  ): Promise<Found<T, P> | undefined> {
    return (await this.find<P>(condition, { ...options, limit: 1 }))[0];
  }

  findBy<P extends Path<T>>(
    path: P,
    value: PathOperand<T, P>,
    options?: FindOptions<T>,
  ): Promise<T[]> {
    return this.#whole(queryAt<T>(path, { $eq: value }) as C, options);
  }

  findRange<P extends Path<T>>(
    path: P,
    bounds: RangeBounds<PathOperand<T, P>>,
    options?: FindOptions<T>,
  ): Promise<T[]> {
    const given = Object.entries(bounds).filter(([, bound]) => bound !== undefined);
    const condition = Object.fromEntries(given.map(([name, bound]) => [`$${name}`, bound]));
    const query = queryAt<T>(path, condition) as C;
    return this.#whole(query, { ...sortedBy<T>(path, 1), ...options });
  }

  /** A projection whose paths are not known leaves documents of the same type. */
  #whole(condition: C, options: FindOptions<T> | undefined): Promise<T[]> {
    return this.find(condition, options as FindOptions<T, never>);
  }
}

/** Options that sort by one path. */
export function sortedBy<T>(path: string, direction: 1 | -1): FindOptions<T, never> {
  const sort: object = { [path]: direction };
  return { sort };
}

/** A collection but for the calls that are made of others. */
export abstract class CollectionBase<T extends Item>
  extends Searches<T, Condition<T>>
  implements Collection<T>
{
  abstract readonly name: string;
  /** Name of the field that holds the id. */
  protected abstract readonly idField: string;

  abstract insert(document: NewDocument<T>): Promise<T>;
  abstract insertMany(documents: readonly NewDocument<T>[]): Promise<T[]>;
  abstract put(document: NewDocument<T>, options?: WriteOptions): Promise<number>;
  abstract putMany(documents: readonly NewDocument<T>[]): Promise<void>;
  abstract save(document: NewDocument<T>): Promise<T>;
  abstract update(
    id: DocumentId,
    change: Change<T>,
    options?: WriteOptions & UpsertOptions,
  ): Promise<T | undefined>;
  abstract update(filter: Query<T>, change: Change<T>, options?: ChangeOptions): Promise<T[]>;
  abstract updateOne(
    filter: Query<T>,
    change: Change<T>,
    options?: UpsertOptions,
  ): Promise<UpdateResult>;
  abstract findOneAndUpdate(
    filter: Query<T>,
    change: Change<T>,
    options?: FindOneAndUpdateOptions<T>,
  ): Promise<T | undefined>;
  abstract replaceOne(
    filter: Query<T>,
    document: NewDocument<T>,
    options?: UpsertOptions,
  ): Promise<UpdateResult>;
  abstract deleteOne(filter: Query<T>): Promise<boolean>;
  abstract bulkWrite(operations: readonly BulkOperation<T>[]): Promise<BulkResult>;
  abstract findPage(filter?: Query<T>, options?: PageOptions<T>): Promise<ResultPage<T>>;
  abstract updateMany(filter: Query<T>, change: Change<T>): Promise<UpdateResult>;
  abstract remove(id: DocumentId, options?: WriteOptions): Promise<T | undefined>;
  abstract remove(filter: Query<T>): Promise<T[]>;
  abstract deleteMany(filter: Query<T>): Promise<number>;
  abstract delete(id: DocumentId, options?: WriteOptions): Promise<boolean>;
  abstract findById(id: DocumentId, options?: ReadOptions): Promise<T | undefined>;
  abstract findVersioned(id: DocumentId, options?: ReadOptions): Promise<Versioned<T> | undefined>;
  abstract iterate<const P extends Projection<T> = never>(
    condition?: Condition<T>,
    options?: FindOptions<T, P>,
  ): AsyncIterable<Found<T, P>>;
  abstract count(condition?: Condition<T>, options?: ReadOptions): Promise<number>;
  abstract distinct<P extends Path<T>>(
    path: P,
    condition?: Condition<T>,
    options?: ReadOptions,
  ): Promise<DistinctValue<PathValue<T, P>>[]>;
  abstract explain(filter: Query<T>, options?: FindOptions<T>): Promise<Explanation>;
  abstract createIndex(name: string, options: IndexOptions<T>): Promise<void>;
  abstract dropIndex(name: string): Promise<void>;
  abstract listIndexes(): Promise<IndexInfo[]>;

  create(document: NewDocument<T>): Promise<T> {
    return this.insert(document);
  }

  updateWithId(id: DocumentId, change: Change<T>): Promise<T | undefined> {
    return this.update(id, change);
  }

  removeWithId(id: DocumentId): Promise<T | undefined> {
    return this.remove(id);
  }

  async clear(): Promise<void> {
    await this.deleteMany({});
  }

  first(): Promise<T | undefined> {
    return this.#endOf(this.idField, 1);
  }

  last(): Promise<T | undefined> {
    return this.#endOf(this.idField, -1);
  }

  lowest(path: Path<T>): Promise<T | undefined> {
    return this.#endOf(path, 1);
  }

  greatest(path: Path<T>): Promise<T | undefined> {
    return this.#endOf(path, -1);
  }

  #endOf(path: string, direction: 1 | -1): Promise<T | undefined> {
    return this.findOne(queryAt<T>(path, { $exists: true }), sortedBy<T>(path, direction));
  }
}

/** A collection that hands every call on to another one. */
export abstract class ForwardingCollection<T extends Item> extends CollectionBase<T> {
  /** The collection that carries a call out. */
  protected abstract target(): Collection<T>;

  override async insert(document: NewDocument<T>): Promise<T> {
    return this.target().insert(document);
  }

  override async insertMany(documents: readonly NewDocument<T>[]): Promise<T[]> {
    return this.target().insertMany(documents);
  }

  override async put(document: NewDocument<T>, options?: WriteOptions): Promise<number> {
    return this.target().put(document, options);
  }

  override async putMany(documents: readonly NewDocument<T>[]): Promise<void> {
    return this.target().putMany(documents);
  }

  override async save(document: NewDocument<T>): Promise<T> {
    return this.target().save(document);
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
    // Each of the overloads takes what the caller gave.
    return this.target().update(target as DocumentId, change, options);
  }

  override async updateOne(
    filter: Query<T>,
    change: Change<T>,
    options?: UpsertOptions,
  ): Promise<UpdateResult> {
    return this.target().updateOne(filter, change, options);
  }

  override async findOneAndUpdate(
    filter: Query<T>,
    change: Change<T>,
    options?: FindOneAndUpdateOptions<T>,
  ): Promise<T | undefined> {
    return this.target().findOneAndUpdate(filter, change, options);
  }

  override async replaceOne(
    filter: Query<T>,
    document: NewDocument<T>,
    options?: UpsertOptions,
  ): Promise<UpdateResult> {
    return this.target().replaceOne(filter, document, options);
  }

  override async deleteOne(filter: Query<T>): Promise<boolean> {
    return this.target().deleteOne(filter);
  }

  override async bulkWrite(operations: readonly BulkOperation<T>[]): Promise<BulkResult> {
    return this.target().bulkWrite(operations);
  }

  override async findPage(filter?: Query<T>, options?: PageOptions<T>): Promise<ResultPage<T>> {
    return this.target().findPage(filter, options);
  }

  override async updateMany(filter: Query<T>, change: Change<T>): Promise<UpdateResult> {
    return this.target().updateMany(filter, change);
  }

  override remove(id: DocumentId, options?: WriteOptions): Promise<T | undefined>;
  override remove(filter: Query<T>): Promise<T[]>;
  override async remove(
    target: DocumentId | Query<T>,
    options?: WriteOptions,
  ): Promise<T | undefined | T[]> {
    return this.target().remove(target as DocumentId, options);
  }

  override async deleteMany(filter: Query<T>): Promise<number> {
    return this.target().deleteMany(filter);
  }

  override async delete(id: DocumentId, options?: WriteOptions): Promise<boolean> {
    return this.target().delete(id, options);
  }

  override async findById(id: DocumentId, options?: ReadOptions): Promise<T | undefined> {
    return this.target().findById(id, options);
  }

  override async findVersioned(
    id: DocumentId,
    options?: ReadOptions,
  ): Promise<Versioned<T> | undefined> {
    return this.target().findVersioned(id, options);
  }

  override async find<const P extends Projection<T> = never>(
    condition?: Condition<T>,
    options?: FindOptions<T, P>,
  ): Promise<Found<T, P>[]> {
    return this.target().find(condition, options);
  }

  override iterate<const P extends Projection<T> = never>(
    condition?: Condition<T>,
    options?: FindOptions<T, P>,
  ): AsyncIterable<Found<T, P>> {
    return this.target().iterate(condition, options);
  }

  override async count(condition?: Condition<T>, options?: ReadOptions): Promise<number> {
    return this.target().count(condition, options);
  }

  override async distinct<P extends Path<T>>(
    path: P,
    condition?: Condition<T>,
    options?: ReadOptions,
  ): Promise<DistinctValue<PathValue<T, P>>[]> {
    return this.target().distinct(path, condition, options);
  }

  override async explain(filter: Query<T>, options?: FindOptions<T>): Promise<Explanation> {
    return this.target().explain(filter, options);
  }

  override async createIndex(name: string, options: IndexOptions<T>): Promise<void> {
    return this.target().createIndex(name, options);
  }

  override async dropIndex(name: string): Promise<void> {
    return this.target().dropIndex(name);
  }

  override async listIndexes(): Promise<IndexInfo[]> {
    return this.target().listIndexes();
  }
}
