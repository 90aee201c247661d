/**
 * The interface of a transaction, and of a collection inside one.
 *
 * @module
 */

import type { DocumentId } from "../protocol/encoding/document_key.ts";
import type { Change } from "./change.ts";
import type {
  AnyDocument,
  BulkOperation,
  BulkResult,
  ChangeOptions,
  CollectionOptions,
  FindOneAndUpdateOptions,
  Item,
  NewDocument,
  PathOperand,
  RangeBounds,
  UpdateResult,
  UpsertOptions,
  Versioned,
} from "./collection.ts";
import type { DistinctValue, Path, PathValue } from "./path.ts";
import type { FindOptions, Found, Projection, Query } from "./query.ts";

/** Time of a transaction that names none, in milliseconds. */
export const TRANSACTION_TIMEOUT_MS = 30_000;

/** How a transaction runs. */
export interface TransactionOptions {
  /** Longest time for all attempts, in milliseconds; 30 s unless set. 0: one attempt. */
  readonly timeoutMs?: number;
  /** Refuses writes. What was read is checked at the end all the same. */
  readonly readOnly?: boolean;
}

/**
 * Handle that a transaction's function works with. It is of no use after the function has ended.
 */
export interface Transaction {
  readonly id: string;
  collection<T extends Item = AnyDocument>(
    name: string,
    options?: CollectionOptions,
  ): TransactionCollection<T>;
  /** Notes the writes so far, under a name. */
  savepoint(name: string): void;
  /** Forgets the writes since a savepoint. Throws NotFoundError. */
  rollbackTo(name: string): void;
}

/** A collection as a transaction sees it: with its own writes. */
export interface TransactionCollection<T extends Item> {
  readonly name: string;
  insert(document: NewDocument<T>): Promise<T>;
  insertMany(documents: readonly NewDocument<T>[]): Promise<T[]>;
  /** Inserts or replaces by id. */
  save(document: NewDocument<T>): Promise<T>;
  /** Inserts or replaces by id; the version comes with the commit, and nothing is given back. */
  put(document: NewDocument<T>): Promise<void>;
  putMany(documents: readonly NewDocument<T>[]): Promise<void>;
  /** Merges fields, or applies update operators; undefined when there is no such document. */
  update(
    id: DocumentId,
    change: Change<T>,
    options?: ChangeOptions & UpsertOptions,
  ): Promise<T | undefined>;
  /** Changes all documents that match, and gives them back as they are then. */
  update(filter: Query<T>, change: Change<T>, options?: ChangeOptions): Promise<T[]>;
  /** Changes the first document that matches; `upsert` makes one if none does. */
  updateOne(filter: Query<T>, change: Change<T>, options?: UpsertOptions): Promise<UpdateResult>;
  /** Changes the first document that matches, and gives it back. */
  findOneAndUpdate(
    filter: Query<T>,
    change: Change<T>,
    options?: FindOneAndUpdateOptions<T>,
  ): Promise<T | undefined>;
  /** Puts a document in the place of the first one that matches, whose id it gets. */
  replaceOne(
    filter: Query<T>,
    document: NewDocument<T>,
    options?: UpsertOptions,
  ): Promise<UpdateResult>;
  updateMany(filter: Query<T>, change: Change<T>): Promise<UpdateResult>;
  remove(id: DocumentId): Promise<T | undefined>;
  /** Removes all documents that match, and gives them back. */
  remove(filter: Query<T>): Promise<T[]>;
  /** Removes; whether there was one. */
  delete(id: DocumentId): Promise<boolean>;
  deleteMany(filter: Query<T>): Promise<number>;
  /** Removes the first document that matches; whether there was one. */
  deleteOne(filter: Query<T>): Promise<boolean>;
  /** Carries operations out in their order. */
  bulkWrite(operations: readonly BulkOperation<T>[]): Promise<BulkResult>;
  findById(id: DocumentId): Promise<T | undefined>;
  /**
   * With its version; that of a document which the transaction itself has written is 0, because it
   * comes with the commit.
   */
  findVersioned(id: DocumentId): Promise<Versioned<T> | undefined>;
  find<const P extends Projection<T> = never>(
    filter?: Query<T>,
    options?: FindOptions<T, P>,
  ): Promise<Found<T, P>[]>;
  findOne<const P extends Projection<T> = never>(
    filter?: Query<T>,
    options?: FindOptions<T, P>,
  ): Promise<Found<T, P> | undefined>;
  findBy<P extends Path<T>>(
    path: P,
    value: PathOperand<T, P>,
    options?: FindOptions<T>,
  ): Promise<T[]>;
  findRange<P extends Path<T>>(
    path: P,
    bounds: RangeBounds<PathOperand<T, P>>,
    options?: FindOptions<T>,
  ): Promise<T[]>;
  /** The documents one by one; all of them are read first. */
  iterate<const P extends Projection<T> = never>(
    filter?: Query<T>,
    options?: FindOptions<T, P>,
  ): AsyncGenerator<Found<T, P>, void, undefined>;
  /** The different values at a path, of arrays their items, in order. */
  distinct<P extends Path<T>>(
    path: P,
    filter?: Query<T>,
  ): Promise<DistinctValue<PathValue<T, P>>[]>;
  count(filter?: Query<T>): Promise<number>;
}
