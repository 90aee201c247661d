/**
 * The interface of a collection, and what its calls take and give.
 *
 * @module
 */

import type { CollectionSettings } from "../protocol/encoding/collection_settings.ts";
import type { DocumentId } from "../protocol/encoding/document_key.ts";
import type { Acknowledgement, ReadLevel } from "../protocol/wire/client_message.ts";
import type { Explanation } from "../protocol/wire/reply.ts";
import type { Change } from "./change.ts";
import type { DistinctValue, ItemOf, Path, PathValue } from "./path.ts";
import type {
  CollationOptions,
  Condition,
  FindOptions,
  Found,
  Projection,
  Query,
  ReadOptions,
  Sort,
} from "./query.ts";

export type { Explanation } from "../protocol/wire/reply.ts";

/** Any document: an object. Its id stands in the field that the collection names. */
export type Item = object;

/** A document of no declared type. */
export type AnyDocument = { [field: string]: unknown };

/** How a collection is used through one handle. */
export interface CollectionOptions {
  /** Name of the id field; `id` unless set. */
  readonly idField?: string;
  /**
   * How fresh reads are; `linearizable` unless set. Of a collection that every node writes: `stale`,
   * as the node shows it, and no other.
   */
  readonly read?: ReadLevel;
  /** Longest wait of a request, in milliseconds. */
  readonly timeoutMs?: number;
  /** See {@link WriteOptions.ack}; for all writes of the handle. */
  readonly ack?: Acknowledgement;
  /** Calls never belong to a global transaction that is open. */
  readonly isOutsideTransactions?: boolean;
}

/** A document whose id may be omitted: the collection's rule then makes one. */
export type NewDocument<T> =
  | T
  | (T extends { readonly id: infer Id } ? Omit<T, "id"> & { readonly id?: Id } : never);

/** How a change of fields is made. */
export interface ChangeOptions {
  /**
   * False: the fields replace the present ones. Otherwise objects are merged, and only other values
   * are replaced.
   */
  readonly merge?: boolean;
}

/** Conditions of a write. */
export interface WriteOptions extends ChangeOptions {
  /** Write only if the document has this version now; 0: only if it does not exist. */
  readonly ifVersion?: number;
  /**
   * Of a collection that every node writes: whose disks the write waits for; as the handle or the
   * node is set unless given. With fewer in time it rejects with NotConfirmedError.
   */
  readonly ack?: Acknowledgement;
}

/** What happens when no document is there to be changed. */
export interface UpsertOptions {
  /** Makes one. */
  readonly upsert?: boolean;
}

/** How {@link Collection.findOneAndUpdate} chooses, and what it gives back. */
export interface FindOneAndUpdateOptions<T> extends UpsertOptions {
  readonly sort?: Sort<T>;
  readonly collation?: CollationOptions | undefined;
  /** The document as it is then (unless set), or as it was before. */
  readonly returnDocument?: "before" | "after";
}

/** One operation of {@link Collection.bulkWrite}. */
export type BulkOperation<T> =
  | { readonly insertOne: { readonly document: NewDocument<T> } }
  | { readonly updateOne: BulkUpdate<T> & UpsertOptions }
  | { readonly updateMany: BulkUpdate<T> }
  | {
      readonly replaceOne: {
        readonly filter: Query<T>;
        readonly replacement: NewDocument<T>;
      } & UpsertOptions;
    }
  | { readonly deleteOne: { readonly filter: Query<T> } }
  | { readonly deleteMany: { readonly filter: Query<T> } };

interface BulkUpdate<T> {
  readonly filter: Query<T>;
  readonly update: Change<T>;
}

/** Effects of {@link Collection.bulkWrite}, summed up. */
export interface BulkResult {
  readonly inserted: number;
  readonly matched: number;
  readonly modified: number;
  readonly deleted: number;
  /** Ids of the documents that upserts made, in their order. */
  readonly upsertedIds: readonly DocumentId[];
}

/** Which page {@link Collection.findPage} gives. */
export interface PageOptions<T> extends ReadOptions {
  /** Paths with 1 or -1; the id's order unless set. */
  readonly sort?: Sort<T>;
  readonly collation?: CollationOptions | undefined;
  /** Documents of a page; 100 unless set. */
  readonly limit?: number;
  /** The token of the page before. */
  readonly after?: string | undefined;
}

/** A page of documents. */
export interface ResultPage<T> {
  readonly documents: T[];
  /** The token for the next page; undefined when this is the last. */
  readonly next: string | undefined;
}

/** Settings of a collection, fixed when it is made. */
export type CollectionSettingsOptions = Partial<CollectionSettings>;

/** What a value at a path, or an item of an array there, may be compared with. */
export type PathOperand<T, P extends string> = PathValue<T, P> | ItemOf<PathValue<T, P>> | null;

/** Bounds of {@link Collection.findRange}. */
export interface RangeBounds<V = unknown> {
  readonly gt?: V;
  readonly gte?: V;
  readonly lt?: V;
  readonly lte?: V;
}

/** An index as a caller describes it. */
export interface IndexOptions<T = { readonly [field: string]: unknown }> {
  /** One path, or several with `1` or `-1` for their order. */
  readonly keys: Path<T> | readonly Path<T>[] | Sort<T>;
  /** Refuses a second document with the same values. */
  readonly unique?: boolean;
  /** Leaves documents out that have none of the paths. */
  readonly sparse?: boolean;
  /** Texts count in lower case. */
  readonly ignoreCase?: boolean;
  /** How texts are ordered, and which are equal: for sorts with the same, and for `unique`. */
  readonly collation?: CollationOptions;
  /**
   * Only documents that match are in the index: a unique one then lets others have equal values. It
   * serves queries that say so, too.
   */
  readonly where?: Query<T>;
  /**
   * Removes documents so long after the date at the index's one path, in milliseconds; 0: at the
   * date itself.
   */
  readonly expireAfterMs?: number;
}

/** An index as it is. */
export interface IndexInfo {
  readonly name: string;
  readonly keys: Readonly<Record<string, 1 | -1>>;
  readonly unique: boolean;
  readonly sparse: boolean;
  readonly ignoreCase: boolean;
  /** Null: texts are ordered by their UTF-16 code units. */
  readonly collation: Required<CollationOptions> | null;
  /** The query of a partial index; null: all documents are in it. */
  readonly where: { readonly [path: string]: unknown } | null;
  /** Null: documents do not expire. */
  readonly expireAfterMs: number | null;
  /** False while it is being made. */
  readonly ready: boolean;
}

/** Effect of an update. */
export interface UpdateResult {
  /** Documents that matched. */
  readonly matched: number;
  /** Documents that were written. */
  readonly modified: number;
  /** Id of the document that was made because none matched. */
  readonly upsertedId?: DocumentId;
}

/** A document and its version. */
export interface Versioned<T> {
  readonly document: T;
  /** Sequence number of the operation that wrote it. */
  readonly version: number;
}

/**
 * Documents by id. Every promise of a write resolves when the write is committed and applied
 * (SYNC), or durable on the leader (ASYNC). All may reject with DeadlineError, SessionExpiredError,
 * ValidationError, ClosedError.
 */
export interface Collection<T extends Item> {
  readonly name: string;
  /** Inserts and gives back a private copy, with its id. Rejects with DuplicateKeyError. */
  insert(document: NewDocument<T>): Promise<T>;
  /** The same as {@link insert}. */
  create(document: NewDocument<T>): Promise<T>;
  /** Inserts all or none: one batch. */
  insertMany(documents: readonly NewDocument<T>[]): Promise<T[]>;
  /**
   * Inserts or replaces by id. Resolves with the new version. Rejects with VersionConflictError.
   */
  put(document: NewDocument<T>, options?: WriteOptions): Promise<number>;
  /** Inserts or replaces all by id, or none: one batch. */
  putMany(documents: readonly NewDocument<T>[]): Promise<void>;
  /** Inserts or replaces by id and gives back a private copy. */
  save(document: NewDocument<T>): Promise<T>;
  /**
   * Changes a document by its id: merges fields into it (arrays are replaced, not merged), or
   * applies update operators. Undefined when there is none; `upsert` makes one then. Rejects with
   * QueryError,
   * ValidationError, DuplicateKeyError, VersionConflictError; where a validator is, also with
   * UncheckedError, TransactionConflictError.
   */
  update(
    id: DocumentId,
    change: Change<T>,
    options?: WriteOptions & UpsertOptions,
  ): Promise<T | undefined>;
  /** Changes all documents that match, and gives them back as they are then. */
  update(filter: Query<T>, change: Change<T>, options?: ChangeOptions): Promise<T[]>;
  /** The same as {@link update}. */
  updateWithId(id: DocumentId, change: Change<T>): Promise<T | undefined>;
  /** Changes the first document that matches; `upsert` makes one if none does. */
  updateOne(filter: Query<T>, change: Change<T>, options?: UpsertOptions): Promise<UpdateResult>;
  /**
   * Changes one document that matches, the first in `sort`, and gives it back; undefined when none
   * does. No two callers get the same document unless it still matches after the change.
   */
  findOneAndUpdate(
    filter: Query<T>,
    change: Change<T>,
    options?: FindOneAndUpdateOptions<T>,
  ): Promise<T | undefined>;
  /** Puts a document in the place of one that matches, whose id it gets. */
  replaceOne(
    filter: Query<T>,
    document: NewDocument<T>,
    options?: UpsertOptions,
  ): Promise<UpdateResult>;
  /** Changes all documents that match, in batches: each batch whole, not all of them at once. */
  updateMany(filter: Query<T>, change: Change<T>): Promise<UpdateResult>;
  /** Removes and gives back the document; undefined when there was none. */
  remove(id: DocumentId, options?: WriteOptions): Promise<T | undefined>;
  /** Removes all documents that match, in batches, and gives them back. */
  remove(filter: Query<T>): Promise<T[]>;
  /** Removes one document that matches; whether there was one. */
  deleteOne(filter: Query<T>): Promise<boolean>;
  /**
   * Carries operations out in their order, all or none: one transaction. Rejects with what the
   * first refused one gives.
   */
  bulkWrite(operations: readonly BulkOperation<T>[]): Promise<BulkResult>;
  /** Removes all documents that match, in batches. Resolves with their number. */
  deleteMany(filter: Query<T>): Promise<number>;
  /** Removes all documents; the indexes stay. */
  clear(): Promise<void>;
  /** The same as {@link remove}. */
  removeWithId(id: DocumentId): Promise<T | undefined>;
  /** Removes; whether there was one. */
  delete(id: DocumentId, options?: WriteOptions): Promise<boolean>;
  /** A private copy, or undefined. */
  findById(id: DocumentId, options?: ReadOptions): Promise<T | undefined>;
  /** With the version, for {@link WriteOptions}. */
  findVersioned(id: DocumentId, options?: ReadOptions): Promise<Versioned<T> | undefined>;
  /** All documents that match, private copies. Rejects with QueryError. */
  find<const P extends Projection<T> = never>(
    condition?: Condition<T>,
    options?: FindOptions<T, P>,
  ): Promise<Found<T, P>[]>;
  /** The first that matches. */
  findOne<const P extends Projection<T> = never>(
    condition?: Condition<T>,
    options?: FindOptions<T, P>,
  ): Promise<Found<T, P> | undefined>;
  /**
   * One page of the documents that match, in the order of `sort` and then of their ids, and the
   * token with which the next page begins: behind the last document, wherever it stands by then. No
   * node keeps anything for it, and it is good for any time. An index of the paths in `sort` and
   * the id finds a page without looking at the others. Rejects with QueryError for a token of
   * another order.
   */
  findPage(filter?: Query<T>, options?: PageOptions<T>): Promise<ResultPage<T>>;
  /** Documents with that value at a path. */
  findBy<P extends Path<T>>(
    path: P,
    value: PathOperand<T, P>,
    options?: FindOptions<T>,
  ): Promise<T[]>;
  /** Documents whose value at a path lies within bounds, in its order. */
  findRange<P extends Path<T>>(
    path: P,
    bounds: RangeBounds<PathOperand<T, P>>,
    options?: FindOptions<T>,
  ): Promise<T[]>;
  /**
   * Documents one by one, as they are when this is called: writes that follow do not show. Rejects
   * with CursorLostError when the node that answers is gone.
   */
  iterate<const P extends Projection<T> = never>(
    condition?: Condition<T>,
    options?: FindOptions<T, P>,
  ): AsyncIterable<Found<T, P>>;
  /** Documents, or those that match. */
  count(condition?: Condition<T>, options?: ReadOptions): Promise<number>;
  /** Different values at a path, of arrays their items, in order. */
  distinct<P extends Path<T>>(
    path: P,
    condition?: Condition<T>,
    options?: ReadOptions,
  ): Promise<DistinctValue<PathValue<T, P>>[]>;
  /**
   * The document with the lowest id: about the first inserted, where the collection makes ids.
   * An index on the id finds it at once; without one all documents are looked at.
   */
  first(): Promise<T | undefined>;
  /** The document with the greatest id: see {@link first}. */
  last(): Promise<T | undefined>;
  /** The document with the lowest value at a path. */
  lowest(path: Path<T>): Promise<T | undefined>;
  /** The document with the greatest value at a path. */
  greatest(path: Path<T>): Promise<T | undefined>;
  /** How a query would be answered: by which index, if any. */
  explain(filter: Query<T>, options?: FindOptions<T>): Promise<Explanation>;
  /**
   * Makes an index; resolves when it serves. Rejects with DuplicateKeyError when it is unique and
   * the documents are not.
   */
  createIndex(name: string, options: IndexOptions<T>): Promise<void>;
  dropIndex(name: string): Promise<void>;
  listIndexes(): Promise<IndexInfo[]>;
}
