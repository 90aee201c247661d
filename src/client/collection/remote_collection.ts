/**
 * A collection over a {@link Client}: values to bytes and back.
 *
 * @module
 */

import type {
  Change,
  ChangeOptions,
  CollectionOptions,
  Explanation,
  IndexInfo,
  IndexOptions,
  Item,
  NewDocument,
  UpdateResult,
  Versioned,
  WriteOptions,
} from "../../api/collection.ts";
import type { Condition, FindOptions, Query } from "../../api/query.ts";
import {
  TRANSACTION_TIMEOUT_MS,
  type Transaction,
  type TransactionOptions,
} from "../../api/transaction.ts";
import { EMPTY_BYTES } from "../../base/bytes.ts";
import {
  DuplicateKeyError,
  ProtocolError,
  TransactionConflictError,
  ValidationError,
  VersionConflictError,
} from "../../base/errors.ts";
import { checkCallOptions } from "../../base/known_options.ts";
import { ATTEMPTS_MAX } from "../../base/timing.ts";
import type { Fields, Value } from "../../base/value.ts";
import { decodeCbor, encodeCbor } from "../../protocol/encoding/cbor.ts";
import { type DocumentOperation, encodeCollectionName } from "../../protocol/encoding/command.ts";
import { type DocumentId, encodeKey } from "../../protocol/encoding/document_key.ts";
import { type ReadLevel, readLevelNumber } from "../../protocol/wire/client_message.ts";
import { addDistinct, parsePath } from "../../query/path.ts";
import { isOperatorUpdate, type UpdateOperators } from "../../query/update.ts";
import type { Client } from "../connection/client.ts";
import {
  CHANGE_OPTIONS,
  COLLECTION_OPTIONS,
  FIND_OPTIONS,
  INDEX_OPTIONS,
  READ_OPTIONS,
  UPSERT_OPTIONS,
  WRITE_OPTIONS,
} from "./call_options.ts";
import { changeCatalog, createIndex, listIndexes } from "./catalog_client.ts";
import { begunDocument } from "./changed_document.ts";
import { CollectionBase } from "./collection_base.ts";
import type { CollectionRules } from "./collection_rules.ts";
import { CollectionWriter, copyOf } from "./collection_writer.ts";
import { type DecodedResult, resultsOf } from "./decoded_results.ts";
import type { LocalReads } from "./local_reads.ts";
import {
  countAll,
  fieldPaths,
  type QueryTarget,
  queryAll,
  queryCount,
  queryPages,
  queryPlan,
  readWhole,
  wireFilter,
  wireOptions,
} from "./query_client.ts";
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
  readonly #read: ReadLevel;
  readonly #timeoutMs: number | undefined;
  readonly #checked: ValidatedUpdates<T>;

  constructor(name: string, backend: CollectionBackend, options: CollectionOptions = {}) {
    super();
    checkCallOptions("collection", options, COLLECTION_OPTIONS);
    this.name = name;
    this.#backend = backend;
    this.#nameBytes = encodeCollectionName(name);
    this.idField = options.idField ?? "id";
    if (/[.$]/.test(this.idField) || this.idField === "") {
      throw new ValidationError(`Cannot use the id field "${this.idField}": it is one plain name`);
    }
    this.#read = options.read ?? "linearizable";
    this.#timeoutMs = options.timeoutMs;
    this.#writer = new CollectionWriter(name, backend, {
      idField: this.idField,
      timeoutMs: options.timeoutMs,
    });
    this.#checked = new ValidatedUpdates<T>({
      name,
      idField: this.idField,
      timeoutMs: options.timeoutMs ?? TRANSACTION_TIMEOUT_MS,
      platform: async () => (await backend.client()).platform,
      findVersioned: (id) => this.findVersioned(id, { read: "linearizable" }),
      put: async (document, ifVersion) => {
        return copyOf(await this.#writer.put("PUT", [document], { ifVersion, keepsIds: true }));
      },
      ids: (filter) => this.#ids(filter),
      transaction: (run, how) => backend.transaction(run, how),
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
    const { ifVersion } = options;
    return (await this.#writer.put("PUT", [document], { ifVersion })).version;
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
    options?: WriteOptions,
  ): Promise<T | undefined>;
  override update(filter: Query<T>, change: Change<T>, options?: ChangeOptions): Promise<T[]>;
  override async update(
    target: DocumentId | Query<T>,
    change: Change<T>,
    options: WriteOptions = {},
  ): Promise<T | T[] | undefined> {
    const known = typeof target === "object" ? CHANGE_OPTIONS : WRITE_OPTIONS;
    checkCallOptions("update", options, known);
    if (typeof target === "object") return this.#updateAll(target, change, options);
    const { ifVersion, merge } = options;
    return this.#either(
      async () => {
        const changing = this.#writer.changeOf(target, change, { merge });
        const operation = { ...changing, ifVersion, returnDocument: true };
        return this.#document(await this.#writer.write([operation]))?.document;
      },
      (checked) => checked.update(target, change, options),
    );
  }

  override async updateOne(
    filter: Query<T>,
    change: Change<T>,
    options: { readonly upsert?: boolean } = {},
  ): Promise<UpdateResult> {
    checkCallOptions("updateOne", options, UPSERT_OPTIONS);
    const { upsert = false } = options;
    return this.#either(
      () => this.#updateOne(filter, change, upsert),
      (checked) => checked.updateOne(filter, change, upsert),
    );
  }

  async #updateOne(filter: Query<T>, change: Change<T>, isUpsert: boolean): Promise<UpdateResult> {
    // Between the search and the change another may come first: then it is searched for anew.
    for (let attempt = 0; attempt < ATTEMPTS_MAX.update; attempt += 1) {
      // Other clients may want the first one, too: after a miss the search widens and takes any.
      const candidates = await this.#ids(filter, attempt === 0 ? 1 : 100);
      const { random } = (await this.#backend.client()).platform;
      const found = candidates[candidates.length > 1 ? random.below(candidates.length) : 0];
      if (found === undefined) {
        if (!isUpsert) return { matched: 0, modified: 0 };
        const upsertedId = await this.#upsert(filter, change);
        if (upsertedId !== undefined) return { matched: 0, modified: 0, upsertedId };
        if (attempt > 2) {
          throw new DuplicateKeyError(
            `Cannot make the document in "${this.name}": one with its id is there, and does not match`,
          );
        }
        continue;
      }
      const { results, version } = await this.#writer.write([
        this.#writer.changeOf(found, change, { filter }),
      ]);
      if (version > 0 || results?.[0]?.found === true) return { matched: 1, modified: 1 };
    }
    throw new TransactionConflictError(
      `Cannot update in "${this.name}": others change the same documents all the time`,
    );
  }

  override async updateMany(filter: Query<T>, change: Change<T>): Promise<UpdateResult> {
    return this.#either(
      async () => {
        const { length: matched } = await this.#changeAll(filter, change, {
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
      return (await this.#removeAll(target, true)).map(({ document }) => document as T);
    }
    const { ifVersion } = options;
    const key = encodeKey(target);
    const operation = {
      kind: "REMOVE",
      key,
      document: EMPTY_BYTES,
      ifVersion,
      returnDocument: true,
    } as const;
    return this.#document(await this.#writer.write([operation]))?.document;
  }

  override async deleteMany(filter: Query<T>): Promise<number> {
    return (await this.#removeAll(filter, false)).length;
  }

  override async delete(id: DocumentId, options: WriteOptions = {}): Promise<boolean> {
    checkCallOptions("delete", options, WRITE_OPTIONS);
    const { ifVersion } = options;
    const operation = {
      kind: "REMOVE",
      key: encodeKey(id),
      document: EMPTY_BYTES,
      ifVersion,
    } as const;
    const { results } = await this.#writer.write([operation]);
    return results === undefined || results[0]?.found === true;
  }

  override async findById(
    id: DocumentId,
    options: { readonly read?: ReadLevel } = {},
  ): Promise<T | undefined> {
    checkCallOptions("findById", options, READ_OPTIONS);
    const here = this.#backend.local?.()?.read(this.name, encodeKey(id));
    if (here !== undefined) return here.document as T | undefined;
    return (await this.findVersioned(id, options))?.document;
  }

  override async findVersioned(
    id: DocumentId,
    options: { readonly read?: ReadLevel } = {},
  ): Promise<Versioned<T> | undefined> {
    checkCallOptions("findVersioned", options, READ_OPTIONS);
    const key = encodeKey(id);
    const client = await this.#backend.client();
    const level = options.read ?? this.#read;
    return new Promise((resolve, reject) => {
      client.submit(
        {
          kind: "READ",
          target: level === "stale" ? "any" : "leader",
          timeoutMs: this.#timeoutMs,
          write: (writer) => {
            writer.u8(readLevelNumber(level)).u8(this.#nameBytes.byteLength);
            writer.raw(this.#nameBytes).raw(key);
          },
        },
        (answer) => resolve(this.#document({ results: resultsOf(answer) })),
        reject,
      );
    });
  }

  override async find(condition: Condition<T> = {}, options: FindOptions = {}): Promise<T[]> {
    checkCallOptions("find", options, FIND_OPTIONS);
    if (typeof condition === "function") {
      return readWhole(await this.#backend.client(), async () => {
        const found: T[] = [];
        for await (const document of this.iterate(condition, options)) found.push(document);
        return found;
      });
    }
    const query = { ...wireOptions(options), filter: condition };
    const local = this.#backend.local?.();
    if (local !== undefined) {
      const here = local.find(this.name, { ...query, idField: this.idField });
      if (here !== undefined) return here.map(({ document }) => document as T);
    }
    const client = await this.#backend.client();
    const { documents } = await queryAll<T>(client, this.#target(options.read), query);
    return documents.map(({ document }) => document);
  }

  override async *iterate(
    condition: Condition<T> = {},
    options: FindOptions = {},
  ): AsyncGenerator<T, void, undefined> {
    checkCallOptions("iterate", options, FIND_OPTIONS);
    const client = await this.#backend.client();
    const isLocal = typeof condition === "function";
    const sent = wireOptions(options);
    // Documents that pass a function are counted here.
    const query = isLocal
      ? { ...sent, filter: {}, skip: 0, limit: 0, pageSize: LOCAL_PAGE }
      : { ...sent, filter: condition };
    const { skip = 0, limit = 0 } = options;
    let passed = 0;
    for await (const page of queryPages<T>(client, this.#target(options.read), query)) {
      for (const { document } of page.documents) {
        if (isLocal) {
          if (!condition(document)) continue;
          passed += 1;
          if (passed <= skip) continue;
        }
        yield document;
        if (isLocal && limit > 0 && passed >= skip + limit) return;
      }
    }
  }

  override async count(
    condition: Condition<T> = {},
    options: { readonly read?: ReadLevel } = {},
  ): Promise<number> {
    checkCallOptions("count", options, READ_OPTIONS);
    if (typeof condition === "function") return (await this.find(condition, options)).length;
    const client = await this.#backend.client();
    const target = this.#target(options.read);
    if (Object.keys(condition).length > 0) {
      return queryCount(client, target, { filter: condition });
    }
    return countAll(client, target, this.#nameBytes);
  }

  override async distinct(path: string, condition: Condition<T> = {}): Promise<unknown[]> {
    const segments = parsePath(path);
    const found: Value[] = [];
    for await (const document of this.iterate(condition, { sort: { [path]: 1 } })) {
      addDistinct(found, document as Fields, segments);
    }
    return found;
  }

  override async explain(filter: Query<T>, options: FindOptions = {}): Promise<Explanation> {
    checkCallOptions("explain", options, FIND_OPTIONS);
    const client = await this.#backend.client();
    const query = { ...wireOptions(options), filter };
    return queryPlan(client, this.#target(options.read), query);
  }

  override async createIndex(name: string, options: IndexOptions): Promise<void> {
    checkCallOptions("createIndex", options, INDEX_OPTIONS);
    await createIndex(await this.#backend.client(), this.name, { name, options });
  }

  override async dropIndex(name: string): Promise<void> {
    const request = { action: "dropIndex", collection: this.name, index: name } as const;
    await changeCatalog(await this.#backend.client(), request);
  }

  override async listIndexes(): Promise<IndexInfo[]> {
    return listIndexes(await this.#backend.client(), this.name);
  }

  #target(level: ReadLevel = this.#read): QueryTarget {
    const [collection, idField, timeoutMs] = [this.name, this.idField, this.#timeoutMs];
    return { collection, idField, level, timeoutMs };
  }

  /** Ids of documents that match. */
  async #ids(filter: Query<T>, limit = 0): Promise<DocumentId[]> {
    const client = await this.#backend.client();
    const projection = { [this.idField]: 1 } as const;
    const query = { filter, limit, projection };
    const { documents } = await queryAll<Fields>(client, this.#target("linearizable"), query);
    return documents.map(({ document }) => document[this.idField] as DocumentId);
  }

  /** Makes the document that an update asks for; undefined when there is one meanwhile. */
  async #upsert(filter: Query<T>, change: Change<T>): Promise<DocumentId | undefined> {
    const begun = begunDocument(filter);
    const given = begun[this.idField] as DocumentId | undefined;
    const id = given ?? (await this.#backend.rules.newId(this.name));
    const insert = { [this.idField]: id, ...begun };
    const fields: UpdateOperators = change;
    const update = isOperatorUpdate(fields) ? fields : { $set: fieldPaths(fields) };
    const order = { update, idField: this.idField, insert };
    const document = encodeCbor(order).slice();
    const operation = { kind: "UPDATE", key: encodeKey(id), document, ifVersion: 0 } as const;
    try {
      await this.#writer.write([operation]);
      return id;
    } catch (error) {
      if (error instanceof VersionConflictError) return undefined;
      throw error;
    }
  }

  #updateAll(filter: Query<T>, change: Change<T>, options: ChangeOptions): Promise<T[]> {
    return this.#either(
      async () => {
        const how = { ...options, returnDocument: true };
        const changed = await this.#changeAll(filter, change, how);
        return changed.map(({ document }) => document as T);
      },
      (checked) => checked.updateAll(filter, change, options),
    );
  }

  async #changeAll(
    filter: Query<T>,
    change: Change<T>,
    { merge, returnDocument }: ChangeOptions & { readonly returnDocument: boolean },
  ): Promise<DecodedResult[]> {
    const operations = (await this.#ids(filter)).map((id) => {
      return { ...this.#writer.changeOf(id, change, { filter, merge }), returnDocument };
    });
    return this.#writer.writeAll(operations);
  }

  async #removeAll(filter: Query<T>, returnDocument: boolean): Promise<DecodedResult[]> {
    const document = encodeCbor({ filter: wireFilter(filter) }).slice();
    const operations = (await this.#ids(filter)).map((id): DocumentOperation => {
      return { kind: "REMOVE", key: encodeKey(id), document, returnDocument };
    });
    return this.#writer.writeAll(operations);
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
