/**
 * Changes of documents in a collection with a validator: each is read, changed and shown to the
 * validator here, and written if it is still what was read. Those of a filter run as transactions.
 *
 * @module
 */

import { TransactionConflictError, VersionConflictError } from "../base/errors.ts";
import { sleep } from "../platform/clock.ts";
import type { Platform } from "../platform/platform.ts";
import type { DocumentId } from "../protocol/document_key.ts";
import type { UpdateOperators } from "../query/update.ts";
import { type Fields, fieldOf } from "../query/value.ts";
import { begunDocument, changedDocument } from "./changed_document.ts";
import type {
  Change,
  ChangeOptions,
  Item,
  Query,
  UpdateResult,
  Versioned,
  WriteOptions,
} from "./database.ts";
import { queryAt } from "./query_client.ts";
import type { Transaction } from "./transaction.ts";
import type { TransactionCollection } from "./transaction_collection.ts";

/** Documents that one transaction changes. */
const DOCUMENTS_AT_ONCE = 500;
/** First wait before a change that was overtaken is tried again; it doubles. */
const BACKOFF_MS = 1;
const BACKOFF_MAX_MS = 50;

/** The collection, as far as it is needed here. */
export interface CheckedParts<T extends Item> {
  readonly name: string;
  readonly idField: string;
  /** Longest time for all attempts, in milliseconds. */
  readonly timeoutMs: number;
  platform(): Promise<Platform>;
  findVersioned(id: DocumentId): Promise<Versioned<T> | undefined>;
  /** Writes a document that was shown to the validator. Rejects with VersionConflictError. */
  put(document: T, ifVersion: number): Promise<T>;
  ids(filter: Query<T>): Promise<DocumentId[]>;
  transaction<R>(run: (transaction: Transaction) => Promise<R>): Promise<R>;
}

/** The changes of one collection. */
export class CheckedUpdates<T extends Item> {
  readonly #parts: CheckedParts<T>;

  constructor(parts: CheckedParts<T>) {
    this.#parts = parts;
  }

  async update(id: DocumentId, change: Change<T>, options: WriteOptions): Promise<T | undefined> {
    const { name, idField, findVersioned, put, platform, timeoutMs } = this.#parts;
    const replaces = options.merge === false;
    const { clock, random } = await platform();
    const deadlineMs = clock.nowMs() + timeoutMs;
    for (let waitMs = BACKOFF_MS; ; waitMs = Math.min(2 * waitMs, BACKOFF_MAX_MS)) {
      const found = await findVersioned(id);
      const { ifVersion = found?.version ?? 0 } = options;
      if (ifVersion !== (found?.version ?? 0)) {
        throw new VersionConflictError(
          `Cannot write: ifVersion is ${ifVersion}, but the version is ${found?.version ?? 0}`,
          found?.version ?? 0,
        );
      }
      if (found === undefined) return undefined;
      const how = { idField, nowMs: Math.floor(clock.wallMs()), isInsert: false, replaces };
      const after = changedDocument(found.document as Fields, change as UpdateOperators, how);
      try {
        return await put(after as T, ifVersion);
      } catch (error) {
        const isOvertaken = error instanceof VersionConflictError;
        if (!isOvertaken || options.ifVersion !== undefined) throw error;
      }
      if (clock.nowMs() + waitMs >= deadlineMs) {
        throw new TransactionConflictError(
          `Cannot update in "${name}": others change the same document all the time`,
        );
      }
      await sleep(clock, waitMs * (0.5 + random.below(1000) / 1000));
    }
  }

  /** Changes all that match, in portions; gives them back as they are then. */
  async updateAll(filter: Query<T>, change: Change<T>, options: ChangeOptions): Promise<T[]> {
    const { idField, ids } = this.#parts;
    const found = await ids(filter);
    const changed: T[] = [];
    for (let at = 0; at < found.length; at += DOCUMENTS_AT_ONCE) {
      const among = queryAt<T>(idField, { $in: found.slice(at, at + DOCUMENTS_AT_ONCE) });
      const part = await this.#run((view) =>
        view.update({ $and: [among, filter] } as unknown as Query<T>, change, options),
      );
      for (const document of part) changed.push(document);
    }
    return changed;
  }

  updateOne(filter: Query<T>, change: Change<T>, isUpsert: boolean): Promise<UpdateResult> {
    return this.#run(async (view) => {
      const result = await view.updateOne(filter, change);
      if (result.matched > 0 || !isUpsert) return result;
      const { idField, platform } = this.#parts;
      const nowMs = Math.floor((await platform()).clock.wallMs());
      const begun = begunDocument(filter);
      const how = { idField, nowMs, isInsert: true, replaces: false };
      const document = await view.insert(
        changedDocument(begun, change as UpdateOperators, how) as T,
      );
      const upsertedId = fieldOf(document as Fields, idField) as DocumentId;
      return { matched: 0, modified: 0, upsertedId };
    });
  }

  #run<R>(run: (view: TransactionCollection<T>) => Promise<R>): Promise<R> {
    const { name, idField, transaction } = this.#parts;
    return transaction((tx) => run(tx.collection<T>(name, { idField })));
  }
}
