/**
 * A collection over a {@link Client}: values to bytes and back.
 *
 * @module
 */

import type { Change } from "../../api/change.ts";
import type {
  BulkOperation,
  BulkResult,
  ChangeOptions,
  CollectionOptions,
  Explanation,
  FindOneAndUpdateOptions,
  IndexInfo,
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
import {
  TRANSACTION_TIMEOUT_MS,
  type Transaction,
  type TransactionOptions,
} from "../../api/transaction.ts";
import { EMPTY_BYTES } from "../../base/bytes.ts";
import { ProtocolError, ValidationError } from "../../base/errors.ts";
import { checkCallOptions } from "../../base/known_options.ts";
import type { Fields, Value } from "../../base/value.ts";
import { decodeCbor } from "../../protocol/encoding/cbor.ts";
import { encodeCollectionName } from "../../protocol/encoding/command.ts";
import { type DocumentId, encodeKey } from "../../protocol/encoding/document_key.ts";
import { readLevelNumber } from "../../protocol/wire/client_message.ts";
import { addDistinct, parsePath } from "../../query/path.ts";
import type { Client } from "../connection/client.ts";
import {
  CHANGE_OPTIONS,
  COLLECTION_OPTIONS,
  checkReadOptions,
  checkReturned,
  FIND_OPTIONS,
  FOUND_OPTIONS,
  INDEX_OPTIONS,
  PAGE_OPTIONS,
  READ_OPTIONS,
  UPDATE_OPTIONS,
  UPSERT_OPTIONS,
  WRITE_OPTIONS,
} from "./call_options.ts";
import {
  changeCatalog,
  createIndex,
  listIndexes,
  type WrittenIndexOptions,
} from "./catalog_client.ts";
import { CollectionBase, sortedBy } from "./collection_base.ts";
import type { CollectionRules } from "./collection_rules.ts";
import { CollectionWriter, copyOf } from "./collection_writer.ts";
import { type DecodedResult, resultsOf } from "./decoded_results.ts";
import { FoundChanges } from "./found_changes.ts";
import type { LocalReads } from "./local_reads.ts";
import {
  CollectionReads,
  countAll,
  EVERYTHING,
  FRESH,
  type QueryTarget,
  queryAll,
  queryAt,
  queryCount,
  queryPlan,
  readWhole,
  unlessAborted,
  wireOptions,
} from "./query_client.ts";
import { resultPage } from "./result_page.ts";
import { ValidatedUpdates } from "./validated_updates.ts";

/** Documents of one answer when a function of the caller chooses among them. */
const LOCAL_PAGE = 1000;

/** Where a collection gets its client and ids from. */
export interface CollectionBackend {
  /** Waits until the database is open. */
  client(): Client | Promise<Client>;
  readonly rules: CollectionRules;
  transaction<R>(
    run: (transaction: Transaction) => Promise<R>,
    options: TransactionOptions,
  ): Promise<R>;
  /** Reads without a request, where the only node is in this process. */
  local?(): LocalReads | undefined;
}

/** One collection of a cluster. */
export class RemoteCollection<T extends Item> extends CollectionBase<T> {
  readonly name: string;
  readonly #backend: CollectionBackend;
  readonly #nameBytes: Uint8Array;
  readonly #writer: CollectionWriter;
  protected readonly idField: string;
  readonly #reads: CollectionReads;
  readonly #checked: ValidatedUpdates<T>;
  readonly #found: FoundChanges<T>;

  constructor(name: string, backend: CollectionBackend, options: CollectionOptions = {}) {
    super();
    checkReadOptions("collection", options, COLLECTION_OPTIONS);
    this.name = name;
    this.#backend = backend;
    this.#nameBytes = encodeCollectionName(name);
    this.idField = options.idField ?? "id";
    if (/[.$]/.test(this.idField) || this.idField === "") {
      throw new ValidationError(`Cannot use the id field "${this.idField}": it is one plain name`);
    }
    const { rules } = backend;
    this.#reads = new CollectionReads({ name, idField: this.idField, rules }, options);
    this.#writer = new CollectionWriter(name, backend, {
      idField: this.idField,
      timeoutMs: options.timeoutMs,
      ack: options.ack,
    });
    this.#checked = new ValidatedUpdates<T>({
      name,
      idField: this.idField,
      timeoutMs: options.timeoutMs ?? TRANSACTION_TIMEOUT_MS,
      platform: async () => (await backend.client()).platform,
      findVersioned: (id) => this.#reads.reading(FRESH, (target) => this.#readOne(id, target)),
      put: async (document, ifVersion) => {
        return copyOf(await this.#writer.put("PUT", [document], { ifVersion, keepsIds: true }));
      },
      ids: (filter) => this.#found.ids(filter),
      transaction: (run, how) => backend.transaction(run, how),
    });
    this.#found = new FoundChanges<T>({
      ...{ name, idField: this.idField, writer: this.#writer, rules: backend.rules },
      timeoutMs: options.timeoutMs,
      client: () => backend.client(),
      search: async (query) => {
        const client = await backend.client();
        const found = this.#reads.reading(FRESH, (target) =>
          queryAll<Fields>(client, target, query),
        );
        return (await found).documents;
      },
    });
  }

  override async insert(document: NewDocument<T>): Promise<T> {
    return copyOf(await this.#writer.put("INSERT", [document]));
  }

  override async insertMany(documents: readonly NewDocument<T>[]): Promise<T[]> {
    if (documents.length === 0) return [];
    const { operations } = await this.#writer.put("INSERT", documents);
    return operations.map(({ document }) => decodeCbor(document) as T);
  }

  override async put(document: NewDocument<T>, options: WriteOptions = {}): Promise<number> {
    checkCallOptions("put", options, WRITE_OPTIONS);
    const { ifVersion, ack } = options;
    return (await this.#writer.put("PUT", [document], { ifVersion, ack })).version;
  }

  override async putMany(documents: readonly NewDocument<T>[]): Promise<void> {
    if (documents.length > 0) await this.#writer.put("PUT", documents);
  }

  override async save(document: NewDocument<T>): Promise<T> {
    return copyOf(await this.#writer.put("PUT", [document]));
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
    options: WriteOptions & UpsertOptions = {},
  ): Promise<T | T[] | undefined> {
    const known = typeof target === "object" ? CHANGE_OPTIONS : UPDATE_OPTIONS;
    checkCallOptions("update", options, known);
    if (typeof target === "object") return this.#updateAll(target, change, options);
    const { ifVersion, merge, ack, upsert = false } = options;
    if (upsert) {
      if (ifVersion !== undefined || merge !== undefined) {
        throw new ValidationError("Cannot update: upsert goes with neither ifVersion nor merge");
      }
      return this.findOneAndUpdate(queryAt<T>(this.idField, target), change, { upsert });
    }
    return this.#either(
      async () => {
        const changing = this.#writer.changeOf(target, change as object, { merge });
        const operation = { ...changing, ifVersion, returnDocument: true };
        return this.#document(await this.#writer.write([operation], { ack }))?.document;
      },
      (checked) => checked.update(target, change, options),
    );
  }

  override async updateOne(
    filter: Query<T>,
    change: Change<T>,
    options: UpsertOptions = {},
  ): Promise<UpdateResult> {
    checkCallOptions("updateOne", options, UPSERT_OPTIONS);
    return this.#either(
      () => this.#found.updateOne(filter, change, options.upsert === true),
      (checked) => checked.run((view) => view.updateOne(filter, change, options)),
    );
  }

  override async findOneAndUpdate(
    filter: Query<T>,
    change: Change<T>,
    options: FindOneAndUpdateOptions<T> = {},
  ): Promise<T | undefined> {
    checkCallOptions("findOneAndUpdate", options, FOUND_OPTIONS);
    checkReturned(options.returnDocument);
    return this.#either(
      () => this.#found.findOneAndUpdate(filter, change, options),
      (checked) => checked.run((view) => view.findOneAndUpdate(filter, change, options)),
    );
  }

  override async replaceOne(
    filter: Query<T>,
    document: NewDocument<T>,
    options: UpsertOptions = {},
  ): Promise<UpdateResult> {
    checkCallOptions("replaceOne", options, UPSERT_OPTIONS);
    return this.#found.replaceOne(filter, document, options.upsert === true);
  }

  override async deleteOne(filter: Query<T>): Promise<boolean> {
    return this.#found.deleteOne(filter);
  }

  override async bulkWrite(operations: readonly BulkOperation<T>[]): Promise<BulkResult> {
    return this.#checked.run((view) => view.bulkWrite(operations));
  }

  override async updateMany(filter: Query<T>, change: Change<T>): Promise<UpdateResult> {
    return this.#either(
      async () => {
        const { length: matched } = await this.#found.changeAll(filter, change, {
          returnDocument: false,
        });
        return { matched, modified: matched };
      },
      async (checked) => {
        const { length: matched } = await checked.updateAll(filter, change, {});
        return { matched, modified: matched };
      },
    );
  }

  override remove(id: DocumentId, options?: WriteOptions): Promise<T | undefined>;
  override remove(filter: Query<T>): Promise<T[]>;
  override async remove(
    target: DocumentId | Query<T>,
    options: WriteOptions = {},
  ): Promise<T | T[] | undefined> {
    checkCallOptions("remove", options, WRITE_OPTIONS);
    if (typeof target === "object") {
      return (await this.#found.removeAll(target, true)).map(({ document }) => document as T);
    }
    const { ifVersion, ack } = options;
    const key = encodeKey(target);
    const operation = {
      kind: "REMOVE",
      key,
      document: EMPTY_BYTES,
      ifVersion,
      returnDocument: true,
    } as const;
    return this.#document(await this.#writer.write([operation], { ack }))?.document;
  }

  override async deleteMany(filter: Query<T>): Promise<number> {
    return (await this.#found.removeAll(filter, false)).length;
  }

  override async delete(id: DocumentId, options: WriteOptions = {}): Promise<boolean> {
    checkCallOptions("delete", options, WRITE_OPTIONS);
    const { ifVersion, ack } = options;
    const operation = {
      kind: "REMOVE",
      key: encodeKey(id),
      document: EMPTY_BYTES,
      ifVersion,
    } as const;
    const { results } = await this.#writer.write([operation], { ack });
    return results === undefined || results[0]?.found === true;
  }

  override async findById(id: DocumentId, options: ReadOptions = {}): Promise<T | undefined> {
    checkReadOptions("findById", options, READ_OPTIONS);
    options.signal?.throwIfAborted();
    const here = this.#backend.local?.()?.read(this.name, encodeKey(id));
    if (here !== undefined) return here.document as T | undefined;
    return (await this.findVersioned(id, options))?.document;
  }

  override async findVersioned(
    id: DocumentId,
    options: ReadOptions = {},
  ): Promise<Versioned<T> | undefined> {
    checkReadOptions("findVersioned", options, READ_OPTIONS);
    return this.#reads.reading(options, (target) => this.#readOne(id, target));
  }

  async #readOne(id: DocumentId, target: QueryTarget): Promise<Versioned<T> | undefined> {
    const key = encodeKey(id);
    const client = await this.#backend.client();
    const { level, timeoutMs, signal } = target;
    const asked = new Promise<Versioned<T> | undefined>((resolve, reject) => {
      client.submit(
        {
          kind: "READ",
          target: level === "stale" ? "any" : "leader",
          timeoutMs,
          write: (writer) => {
            writer.u8(readLevelNumber(level)).u8(this.#nameBytes.byteLength);
            writer.raw(this.#nameBytes).raw(key);
          },
        },
        (answer) => resolve(this.#document({ results: resultsOf(answer) })),
        reject,
      );
    });
    return unlessAborted(asked, signal);
  }

  override async find<const P extends Projection<T> = never>(
    condition: Condition<T> = EVERYTHING as Query<T>,
    options: FindOptions<T, P> = {},
  ): Promise<Found<T, P>[]> {
    checkReadOptions("find", options, FIND_OPTIONS);
    options.signal?.throwIfAborted();
    if (typeof condition === "function") {
      const read = async () => {
        const found: Found<T, P>[] = [];
        for await (const document of this.iterate(condition, options)) found.push(document);
        return found;
      };
      return readWhole(await this.#backend.client(), read, this.#reads.target(options).timeoutMs);
    }
    const query = { ...wireOptions(options), filter: condition };
    const local = this.#backend.local?.();
    if (local !== undefined) {
      const here = local.find(this.name, { ...query, idField: this.idField });
      if (here !== undefined) return here.map(({ document }) => document as Found<T, P>);
    }
    const client = await this.#backend.client();
    const { documents } = await this.#reads.reading(options, (target) =>
      queryAll<Found<T, P>>(client, target, query),
    );
    return documents.map(({ document }) => document);
  }

  override async *iterate<const P extends Projection<T> = never>(
    condition: Condition<T> = EVERYTHING as Query<T>,
    options: FindOptions<T, P> = {},
  ): AsyncGenerator<Found<T, P>, void, undefined> {
    checkReadOptions("iterate", options, FIND_OPTIONS);
    const client = await this.#backend.client();
    const isLocal = typeof condition === "function";
    const sent = wireOptions(options);
    // Documents that pass a function are counted here.
    const query = isLocal
      ? { ...sent, filter: {}, skip: 0, limit: 0, pageSize: LOCAL_PAGE }
      : { ...sent, filter: condition };
    const { skip = 0, limit = 0 } = options;
    let passed = 0;
    for await (const page of this.#reads.pages<Found<T, P>>(client, options, query)) {
      for (const { document } of page.documents) {
        if (isLocal) {
          if (!condition(document as T)) continue;
          passed += 1;
          if (passed <= skip) continue;
        }
        yield document;
        if (isLocal && limit > 0 && passed >= skip + limit) return;
      }
    }
  }

  override async findPage(
    filter: Query<T> = EVERYTHING as Query<T>,
    options: PageOptions<T> = {},
  ): Promise<ResultPage<T>> {
    checkReadOptions("findPage", options, PAGE_OPTIONS);
    const client = await this.#backend.client();
    const asked = { filter, options, idField: this.idField };
    return resultPage<T>(asked, (query) =>
      this.#reads.reading(options, (target) => queryAll<T>(client, target, query)),
    );
  }

  override async count(
    condition: Condition<T> = EVERYTHING as Query<T>,
    options: ReadOptions = {},
  ): Promise<number> {
    checkReadOptions("count", options, READ_OPTIONS);
    if (typeof condition === "function") return (await this.find(condition, options)).length;
    const client = await this.#backend.client();
    const isFiltered = Object.keys(condition).length > 0;
    return this.#reads.reading(options, (target) =>
      isFiltered
        ? queryCount(client, target, { filter: condition })
        : countAll(client, target, this.#nameBytes),
    );
  }

  override async distinct<P extends Path<T>>(
    path: P,
    condition: Condition<T> = EVERYTHING as Query<T>,
    options: ReadOptions = {},
  ): Promise<DistinctValue<PathValue<T, P>>[]> {
    checkReadOptions("distinct", options, READ_OPTIONS);
    const segments = parsePath(path);
    const found: Value[] = [];
    const ordered = { ...options, ...sortedBy<T>(path, 1) };
    for await (const document of this.iterate(condition, ordered)) {
      addDistinct(found, document as Fields, segments);
    }
    return found as DistinctValue<PathValue<T, P>>[];
  }

  override async explain(filter: Query<T>, options: FindOptions<T> = {}): Promise<Explanation> {
    checkReadOptions("explain", options, FIND_OPTIONS);
    const client = await this.#backend.client();
    const query = { ...wireOptions(options), filter };
    return queryPlan(client, this.#reads.target(options), query);
  }

  override async createIndex(name: string, options: IndexOptions<T>): Promise<void> {
    checkCallOptions("createIndex", options, INDEX_OPTIONS);
    const client = await this.#backend.client();
    const { idField } = this;
    const written = options as WrittenIndexOptions;
    await createIndex(client, this.name, { name, options: written, idField });
  }

  override async dropIndex(name: string): Promise<void> {
    const request = { action: "dropIndex", collection: this.name, index: name } as const;
    await changeCatalog(await this.#backend.client(), request);
  }

  override async listIndexes(): Promise<IndexInfo[]> {
    return listIndexes(await this.#backend.client(), this.name);
  }

  #updateAll(filter: Query<T>, change: Change<T>, options: ChangeOptions): Promise<T[]> {
    return this.#either(
      async () => {
        const how = { ...options, returnDocument: true };
        const changed = await this.#found.changeAll(filter, change, how);
        return changed.map(({ document }) => document as T);
      },
      (checked) => checked.updateAll(filter, change, options),
    );
  }

  #either<R>(
    plain: () => Promise<R>,
    checked: (updates: ValidatedUpdates<T>) => Promise<R>,
  ): Promise<R> {
    return this.#backend.rules.either(this.name, plain, () => checked(this.#checked));
  }

  #document(answer: { readonly results: DecodedResult[] | undefined }): Versioned<T> | undefined {
    const result = answer.results?.[0];
    if (result?.found !== true) return undefined;
    if (result.document === undefined) {
      throw new ProtocolError("Cannot read the document: the answer carries none");
    }
    return { document: result.document as T, version: result.version };
  }
}
