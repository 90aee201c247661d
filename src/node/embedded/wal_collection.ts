/**
 * WALCollection: one collection with a database of its own, in this process.
 *
 * @module
 */

import type { AnyDocument, Collection, CollectionOptions, Item } from "../../api/collection.ts";
import type { TransactionCollection, TransactionOptions } from "../../api/transaction.ts";
import type { Validator } from "../../api/validator.ts";
import { ForwardingCollection } from "../../client/collection/collection_base.ts";
import type { Platform } from "../../platform/platform.ts";
import type { CollectionSettings } from "../../protocol/encoding/collection_settings.ts";
import { WALDatabase } from "./wal_database.ts";

/** Where a collection lives. */
export interface WALCollectionConfig extends CollectionOptions {
  readonly name: string;
  /** Folder of all databases; `./data` unless set. */
  readonly root?: string;
  /** Name of the database, a folder below `root`; the collection's name unless set. */
  readonly dbName?: string;
  /** Where ids of documents without one come from; uuidv7 unless set. Settled the first time. */
  readonly ids?: CollectionSettings["ids"];
  /** Validator that every document must pass. Settled the first time. */
  readonly validator?: Validator;
  /** Bytes of the largest document, encoded: 1 MiB unless set, up to 16. Settled the first time. */
  readonly documentSizeMax?: number;
  readonly platform?: Platform;
}

/** A durable collection. Opens itself on first use; acknowledged writes survive `kill -9`. */
export class WALCollection<T extends Item = AnyDocument> extends ForwardingCollection<T> {
  readonly name: string;
  protected readonly idField: string;
  readonly #database: WALDatabase;
  readonly #documents: Collection<T>;
  readonly #options: CollectionOptions;

  constructor(config: WALCollectionConfig) {
    super();
    const { name, root, dbName, platform, ids, validator, documentSizeMax, ...options } = config;
    const place = { ...(root !== undefined && { root }), ...(platform && { platform }) };
    const settings = {
      ...(ids && { ids }),
      ...(validator && { validator: name }),
      ...(documentSizeMax && { documentSizeMax }),
    };
    this.name = name;
    this.idField = options.idField ?? "id";
    this.#database = new WALDatabase({
      name: dbName ?? name,
      ...place,
      ...((ids ?? validator ?? documentSizeMax) && { collections: { [name]: settings } }),
      ...(validator && { validators: { [name]: validator } }),
    });
    this.#documents = this.#database.collection<T>(name, options);
    this.#options = options;
  }

  /** Recovers the data. Rejects with LockedError, CorruptionError, StorageError. */
  initialize(): Promise<void> {
    return this.#database.open();
  }

  /** Closes the files. */
  close(): Promise<void> {
    return this.#database.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Until it is ended, calls on this collection belong to the transaction. */
  beginTransaction(options?: TransactionOptions): Promise<string> {
    return this.#database.beginGlobalTransaction(options);
  }

  commitTransaction(id?: string): Promise<void> {
    return this.#database.commitGlobalTransaction(id);
  }

  rollbackTransaction(id?: string): Promise<void> {
    return this.#database.rollbackGlobalTransaction(id);
  }

  /** All of it or nothing; called again when something that it had read was changed. */
  withTransaction<R>(
    run: (collection: TransactionCollection<T>) => Promise<R>,
    options?: TransactionOptions,
  ): Promise<R> {
    return this.#database.transaction((tx) => {
      return run(tx.collection<T>(this.name, this.#options));
    }, options);
  }

  protected override target(): Collection<T> {
    return this.#documents;
  }
}
