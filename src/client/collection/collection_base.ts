/**
 * Base of every implementation of {@link Collection}: searches that are made of `find`, calls that
 * are made of others, and a collection that hands every other call on.
 *
 * @module
 */

import type {
  Change,
  ChangeOptions,
  Collection,
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
import type { DocumentId } from "../../protocol/encoding/document_key.ts";
import type { ReadLevel } from "../../protocol/wire/client_message.ts";
import { queryAt } from "./query_client.ts";

/** How fresh one read is. */
export interface ReadOptions {
  readonly read?: ReadLevel;
}

/** Searches that are made of `find`. Every `C` takes in queries. */
export abstract class Searches<T extends Item, C extends Condition<T>> {
  abstract find(condition?: C, options?: FindOptions): Promise<T[]>;

  async findOne(condition?: C, options: FindOptions = {}): Promise<T | undefined> {
    return (await this.find(condition, { ...options, limit: 1 }))[0];
  }

  findBy(path: string, value: unknown, options?: FindOptions): Promise<T[]> {
    return this.find(queryAt<T>(path, { $eq: value }) as C, options);
  }

  findRange(path: string, bounds: RangeBounds, options: FindOptions = {}): Promise<T[]> {
    const given = Object.entries(bounds).filter(([, bound]) => bound !== undefined);
    const condition = Object.fromEntries(given.map(([name, bound]) => [`$${name}`, bound]));
    const query = queryAt<T>(path, condition) as C;
    return this.find(query, { sort: { [path]: 1 }, ...options });
  }
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
    options?: WriteOptions,
  ): Promise<T | undefined>;
  abstract update(filter: Query<T>, change: Change<T>, options?: ChangeOptions): Promise<T[]>;
  abstract updateOne(
    filter: Query<T>,
    change: Change<T>,
    options?: { readonly upsert?: boolean },
  ): Promise<UpdateResult>;
  abstract updateMany(filter: Query<T>, change: Change<T>): Promise<UpdateResult>;
  abstract remove(id: DocumentId, options?: WriteOptions): Promise<T | undefined>;
  abstract remove(filter: Query<T>): Promise<T[]>;
  abstract deleteMany(filter: Query<T>): Promise<number>;
  abstract delete(id: DocumentId, options?: WriteOptions): Promise<boolean>;
  abstract findById(id: DocumentId, options?: ReadOptions): Promise<T | undefined>;
  abstract findVersioned(id: DocumentId, options?: ReadOptions): Promise<Versioned<T> | undefined>;
  abstract override find(condition?: Condition<T>, options?: FindOptions): Promise<T[]>;
  abstract iterate(condition?: Condition<T>, options?: FindOptions): AsyncIterable<T>;
  abstract count(condition?: Condition<T>, options?: ReadOptions): Promise<number>;
  abstract distinct(path: string, condition?: Condition<T>): Promise<unknown[]>;
  abstract explain(filter: Query<T>, options?: FindOptions): Promise<Explanation>;
  abstract createIndex(name: string, options: IndexOptions): Promise<void>;
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
    return this.lowest(this.idField);
  }

  last(): Promise<T | undefined> {
    return this.greatest(this.idField);
  }

  lowest(path: string): Promise<T | undefined> {
    return this.findOne(queryAt<T>(path, { $exists: true }), { sort: { [path]: 1 } });
  }

  greatest(path: string): Promise<T | undefined> {
    return this.findOne(queryAt<T>(path, { $exists: true }), { sort: { [path]: -1 } });
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
    options?: WriteOptions,
  ): Promise<T | undefined>;
  override update(filter: Query<T>, change: Change<T>, options?: ChangeOptions): Promise<T[]>;
  override async update(
    target: DocumentId | Query<T>,
    change: Change<T>,
    options?: WriteOptions,
  ): Promise<T | undefined | T[]> {
    // Each of the overloads takes what the caller gave.
    return this.target().update(target as DocumentId, change, options);
  }

  override async updateOne(
    filter: Query<T>,
    change: Change<T>,
    options?: { readonly upsert?: boolean },
  ): Promise<UpdateResult> {
    return this.target().updateOne(filter, change, options);
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

  override async find(condition?: Condition<T>, options?: FindOptions): Promise<T[]> {
    return this.target().find(condition, options);
  }

  override iterate(condition?: Condition<T>, options?: FindOptions): AsyncIterable<T> {
    return this.target().iterate(condition, options);
  }

  override async count(condition?: Condition<T>, options?: ReadOptions): Promise<number> {
    return this.target().count(condition, options);
  }

  override async distinct(path: string, condition?: Condition<T>): Promise<unknown[]> {
    return this.target().distinct(path, condition);
  }

  override async explain(filter: Query<T>, options?: FindOptions): Promise<Explanation> {
    return this.target().explain(filter, options);
  }

  override async createIndex(name: string, options: IndexOptions): Promise<void> {
    return this.target().createIndex(name, options);
  }

  override async dropIndex(name: string): Promise<void> {
    return this.target().dropIndex(name);
  }

  override async listIndexes(): Promise<IndexInfo[]> {
    return this.target().listIndexes();
  }
}
