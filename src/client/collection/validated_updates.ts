/**
 * Changes of documents in a collection with a validator: each is read, changed and shown to the
 * validator here, and written if it has not changed since. So they run as transactions.
 *
 * @module
 */

import type { Change } from "../../api/change.ts";
import type { ChangeOptions, Item, Versioned, WriteOptions } from "../../api/collection.ts";
import type { Query } from "../../api/query.ts";
import type {
  Transaction,
  TransactionCollection,
  TransactionOptions,
} from "../../api/transaction.ts";
import { VersionConflictError } from "../../base/errors.ts";
import type { Fields } from "../../base/value.ts";
import type { Platform } from "../../platform/platform.ts";
import type { DocumentId } from "../../protocol/encoding/document_key.ts";
import type { UpdateOperators } from "../../query/update.ts";
import { changedDocument } from "./changed_document.ts";
import { allOf, queryAt } from "./query_client.ts";

/** Documents that one transaction changes. */
const DOCUMENTS_AT_ONCE = 500;

/** The collection, as far as it is needed here. */
export interface ValidatedParts<T extends Item> {
  readonly name: string;
  readonly idField: string;
  /** Longest time for all attempts, in milliseconds. */
  readonly timeoutMs: number;
  platform(): Promise<Platform>;
  findVersioned(id: DocumentId): Promise<Versioned<T> | undefined>;
  /** Writes a document that was shown to the validator. Rejects with VersionConflictError. */
  put(document: T, ifVersion: number): Promise<T>;
  ids(filter: Query<T>): Promise<DocumentId[]>;
  transaction<R>(
    run: (transaction: Transaction) => Promise<R>,
    options: TransactionOptions,
  ): Promise<R>;
}

/** The changes of one collection. */
export class ValidatedUpdates<T extends Item> {
  readonly #parts: ValidatedParts<T>;

  constructor(parts: ValidatedParts<T>) {
    this.#parts = parts;
  }

  async update(id: DocumentId, change: Change<T>, options: WriteOptions): Promise<T | undefined> {
    const { ifVersion, ...how } = options;
    if (ifVersion === undefined) return this.run((view) => view.update(id, change, how));
    const { idField, findVersioned, put } = this.#parts;
    const found = await findVersioned(id);
    const version = found?.version ?? 0;
    if (ifVersion !== version) {
      throw new VersionConflictError(
        `Cannot write: ifVersion is ${ifVersion}, but the version is ${version}`,
        version,
      );
    }
    if (found === undefined) return undefined;
    const context = { idField, nowMs: await this.#nowMs(), isInsert: false };
    const after = changedDocument(found.document as Fields, change as UpdateOperators, {
      ...context,
      replaces: how.merge === false,
    });
    return put(after as T, ifVersion);
  }

  /** Changes all that match, in portions; gives them back as they are then. */
  async updateAll(filter: Query<T>, change: Change<T>, options: ChangeOptions): Promise<T[]> {
    const { idField, ids } = this.#parts;
    const found = await ids(filter);
    const changed: T[] = [];
    for (let at = 0; at < found.length; at += DOCUMENTS_AT_ONCE) {
      const among = queryAt<T>(idField, { $in: found.slice(at, at + DOCUMENTS_AT_ONCE) });
      const part = await this.run((view) => view.update(allOf(among, filter), change, options));
      for (const document of part) changed.push(document);
    }
    return changed;
  }

  async #nowMs(): Promise<number> {
    return Math.floor((await this.#parts.platform()).clock.wallMs());
  }

  /** Runs calls as one transaction. */
  run<R>(run: (view: TransactionCollection<T>) => Promise<R>): Promise<R> {
    const { name, idField, timeoutMs, transaction } = this.#parts;
    return transaction((tx) => run(tx.collection<T>(name, { idField })), { timeoutMs });
  }
}
