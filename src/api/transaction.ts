/**
 * The interface of a transaction, and of a collection inside one.
 *
 * @module
 */

import type { DocumentId } from "../protocol/encoding/document_key.ts";
import type {
  AnyDocument,
  Change,
  ChangeOptions,
  CollectionOptions,
  Item,
  NewDocument,
  RangeBounds,
  UpdateResult,
} from "./collection.ts";
import type { FindOptions, Query } from "./query.ts";

/** Time of a transaction that names none, in milliseconds. */
export const TRANSACTION_TIMEOUT_MS = 30_000;

/** How a transaction runs. */
export interface TransactionOptions {
  /** Longest time for all attempts, in milliseconds; 30 s unless set. */
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
  update(id: DocumentId, change: Change<T>, options?: ChangeOptions): Promise<T | undefined>;
  /** Changes all documents that match, and gives them back as they are then. */
  update(filter: Query<T>, change: Change<T>, options?: ChangeOptions): Promise<T[]>;
  /** Changes the first document that matches. */
  updateOne(filter: Query<T>, change: Change<T>): Promise<UpdateResult>;
  updateMany(filter: Query<T>, change: Change<T>): Promise<UpdateResult>;
  remove(id: DocumentId): Promise<T | undefined>;
  /** Removes all documents that match, and gives them back. */
  remove(filter: Query<T>): Promise<T[]>;
  /** Removes; whether there was one. */
  delete(id: DocumentId): Promise<boolean>;
  deleteMany(filter: Query<T>): Promise<number>;
  findById(id: DocumentId): Promise<T | undefined>;
  find(filter?: Query<T>, options?: FindOptions): Promise<T[]>;
  findOne(filter?: Query<T>, options?: FindOptions): Promise<T | undefined>;
  findBy(path: string, value: unknown, options?: FindOptions): Promise<T[]>;
  findRange(path: string, bounds: RangeBounds, options?: FindOptions): Promise<T[]>;
  /** The documents one by one; all of them are read first. */
  iterate(filter?: Query<T>, options?: FindOptions): AsyncGenerator<T, void, undefined>;
  /** The different values at a path, of arrays their items, in order. */
  distinct(path: string, filter?: Query<T>): Promise<unknown[]>;
  count(filter?: Query<T>): Promise<number>;
}
