/**
 * The interface that every cstore database gives: embedded, replicated in this process, or remote.
 *
 * @module
 */

import type { ReadLevel } from "../protocol/client_message.ts";
import type { DocumentId } from "../protocol/document_key.ts";

/** Any document: an object. Its id stands in the field that the collection names. */
export type Item = object;

/** How a collection is used through one handle. */
export interface CollectionOptions {
  /** Name of the id field; `id` unless set. */
  readonly idField?: string;
  /** How fresh reads are; `linearizable` unless set. */
  readonly read?: ReadLevel;
  /** Longest wait of a request, in milliseconds. */
  readonly timeoutMs?: number;
}

/** Conditions of a write. */
export interface WriteOptions {
  /** Write only if the document has this version now; 0: only if it does not exist. */
  readonly ifVersion?: number;
}

/** A document and its version. */
export interface Versioned<T> {
  readonly document: T;
  /** Sequence number of the operation that wrote it. */
  readonly version: number;
}

/**
 * Documents by id. Every promise of a write resolves when the write is committed and applied
 * (SYNC),
 * or durable on the leader (ASYNC). All may reject with DeadlineError, SessionExpiredError,
 * ValidationError, ClosedError.
 */
export interface Collection<T extends Item> {
  readonly name: string;
  /** Inserts and gives back a private copy, with its id. Rejects with DuplicateKeyError. */
  insert(document: T): Promise<T>;
  /** The same as {@link insert}. */
  create(document: T): Promise<T>;
  /** Inserts all or none: one batch. */
  insertMany(documents: readonly T[]): Promise<T[]>;
  /**
   * Inserts or replaces by id. Resolves with the new version. Rejects with VersionConflictError.
   */
  put(document: T, options?: WriteOptions): Promise<number>;
  /** Inserts or replaces by id and gives back a private copy. */
  save(document: T): Promise<T>;
  /** Merges into the document; undefined when there is none. Arrays are replaced, not merged. */
  update(id: DocumentId, change: Partial<T>, options?: WriteOptions): Promise<T | undefined>;
  /** The same as {@link update}. */
  updateWithId(id: DocumentId, change: Partial<T>): Promise<T | undefined>;
  /** Removes and gives back the document; undefined when there was none. */
  remove(id: DocumentId, options?: WriteOptions): Promise<T | undefined>;
  /** The same as {@link remove}. */
  removeWithId(id: DocumentId): Promise<T | undefined>;
  /** Removes; whether there was one. */
  delete(id: DocumentId, options?: WriteOptions): Promise<boolean>;
  /** A private copy, or undefined. */
  findById(id: DocumentId, options?: { readonly read?: ReadLevel }): Promise<T | undefined>;
  /** With the version, for {@link WriteOptions}. */
  findVersioned(
    id: DocumentId,
    options?: { readonly read?: ReadLevel },
  ): Promise<Versioned<T> | undefined>;
  count(options?: { readonly read?: ReadLevel }): Promise<number>;
}

/** A database. */
export interface Database {
  /** Makes the database ready. Every other call waits for it, too. */
  open(): Promise<void>;
  /** A handle; the collection comes into being with its first document. */
  collection<T extends Item>(name: string, options?: CollectionOptions): Collection<T>;
  /** Stops and frees everything; data stay. */
  close(): Promise<void>;
}
