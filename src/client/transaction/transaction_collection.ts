/**
 * A collection as a transaction sees it: with its own writes.
 *
 * @module
 */

import type { Change } from "../../api/change.ts";
import type {
  BulkOperation,
  BulkResult,
  ChangeOptions,
  CollectionOptions,
  FindOneAndUpdateOptions,
  Item,
  NewDocument,
  UpdateResult,
  UpsertOptions,
  Versioned,
} from "../../api/collection.ts";
import type { DistinctValue, Path, PathValue } from "../../api/path.ts";
import type { FindOptions, Found, Projection, Query } from "../../api/query.ts";
import type { TransactionCollection } from "../../api/transaction.ts";
import { readCollation } from "../../base/collation.ts";
import { DuplicateKeyError, ValidationError } from "../../base/errors.ts";
import { checkCallOptions, type KnownNames } from "../../base/known_options.ts";
import { latinText } from "../../base/order_key.ts";
import { type Fields, fieldOf, isFields, type Value } from "../../base/value.ts";
import { decodeUntrustedCbor } from "../../protocol/encoding/cbor.ts";
import { encodeCollectionName } from "../../protocol/encoding/command.ts";
import { type DocumentId, encodeKey } from "../../protocol/encoding/document_key.ts";
import { compileFilter } from "../../query/matcher.ts";
import { addDistinct, parsePath } from "../../query/path.ts";
import { compareBy, compileProjection } from "../../query/sort.ts";
import type { UpdateOperators } from "../../query/update.ts";
import {
  CHANGE_OPTIONS,
  COLLECTION_OPTIONS,
  checkReadOptions,
  checkReturned,
  FIND_OPTIONS,
  FOUND_OPTIONS,
  UPSERT_OPTIONS,
} from "../collection/call_options.ts";
import { begunDocument, changedDocument } from "../collection/changed_document.ts";
import { Searches, sortedBy } from "../collection/collection_base.ts";
import type {
  CollectionRules,
  PreparedDocument,
  RuledCollection,
} from "../collection/collection_rules.ts";
import { checkReplacement } from "../collection/found_changes.ts";
import {
  EVERYTHING,
  queryAll,
  queryAt,
  type WireQuery,
  wireFilter,
  wireOptions,
} from "../collection/query_client.ts";
import type { Client } from "../connection/client.ts";
import { runBulk } from "./bulk_write.ts";

/** Of changes by id. */
const CHANGE_BY_ID_OPTIONS: KnownNames = new Set(["merge", "upsert"]);

/** The pending write of one document. */
export interface Write {
  /** NOTHING: it was inserted and removed again, so it must not exist, and is not written. */
  readonly kind: "INSERT" | "PUT" | "REMOVE" | "NOTHING";
  readonly key: Uint8Array;
  /** Empty for REMOVE and NOTHING. */
  readonly document: Uint8Array;
  readonly isChecked?: boolean;
}

/** The transaction that a collection belongs to. */
export interface TransactionState {
  readonly client: Client;
  readonly rules: CollectionRules;
  /** Throws ClosedError when the transaction is over. */
  check(): void;
  /** The transaction's writes to a collection. */
  writesTo(collection: string): ReadonlyMap<string, Write>;
  write(collection: string, write: Write): void;
  /** Notes a read. Throws TransactionConflictError when an earlier read gave another version. */
  noteRead(collection: string, key: Uint8Array, version: number): void;
  noteSearch(collection: string, sequence: number): void;
}

function isFilter<T>(target: DocumentId | Query<T>): target is Query<T> {
  return isFields(target);
}

/** The documents of a collection, with what a transaction has written to it. */
export class CollectionView<T extends Item>
  extends Searches<T, Query<T>>
  implements TransactionCollection<T>
{
  readonly name: string;
  readonly #transaction: TransactionState;
  readonly #idField: string;

  constructor(transaction: TransactionState, name: string, options: CollectionOptions = {}) {
    super();
    checkReadOptions("collection", options, COLLECTION_OPTIONS);
    this.#transaction = transaction;
    encodeCollectionName(name);
    this.name = name;
    this.#idField = options.idField ?? "id";
  }

  async insert(document: NewDocument<T>): Promise<T> {
    const [inserted] = await this.insertMany([document]);
    return inserted as T;
  }

  async save(document: NewDocument<T>): Promise<T> {
    const [saved] = await this.#putAll([document]);
    return saved as T;
  }

  /** All or none: a refusal leaves nothing behind. */
  async insertMany(documents: readonly NewDocument<T>[]): Promise<T[]> {
    const prepared = await this.#transaction.rules.prepare(this.#ruled(), documents);
    const own = this.#transaction.writesTo(this.name);
    const writes = new Map<string, Write>();
    for (const insert of prepared) {
      const name = latinText(insert.key);
      const known = writes.get(name) ?? own.get(name);
      if (known?.kind === "INSERT" || known?.kind === "PUT") {
        throw new DuplicateKeyError(
          `Cannot insert into "${this.name}": a document has that id already`,
        );
      }
      // A document that the transaction itself removed may be there again.
      const kind = known?.kind === "REMOVE" ? "PUT" : "INSERT";
      writes.set(name, { kind, ...insert });
    }
    for (const write of writes.values()) this.#transaction.write(this.name, write);
    return [...writes.values()].map((write) => decodeUntrustedCbor(write.document) as T);
  }

  async put(document: NewDocument<T>): Promise<void> {
    await this.#putAll([document]);
  }

  async putMany(documents: readonly NewDocument<T>[]): Promise<void> {
    await this.#putAll(documents);
  }

  /** All or none: a refusal leaves nothing behind. */
  async #putAll(documents: readonly object[], keepsIds = false): Promise<T[]> {
    const collection = { ...this.#ruled(), keepsIds };
    const prepared = await this.#transaction.rules.prepare(collection, documents);
    for (const write of prepared) this.#put(write);
    return prepared.map(({ document }) => decodeUntrustedCbor(document) as T);
  }

  update(
    id: DocumentId,
    change: Change<T>,
    options?: ChangeOptions & UpsertOptions,
  ): Promise<T | undefined>;
  update(filter: Query<T>, change: Change<T>, options?: ChangeOptions): Promise<T[]>;
  async update(
    target: DocumentId | Query<T>,
    change: Change<T>,
    options?: ChangeOptions & UpsertOptions,
  ): Promise<T | undefined | T[]> {
    if (isFilter(target)) {
      checkCallOptions("update", options, CHANGE_OPTIONS);
      return this.#change(await this.find(target), change, options);
    }
    checkCallOptions("update", options, CHANGE_BY_ID_OPTIONS);
    if (options?.upsert === true) {
      if (options.merge !== undefined) {
        throw new ValidationError("Cannot update: upsert does not go with merge");
      }
      return this.findOneAndUpdate(queryAt<T>(this.#idField, target), change, { upsert: true });
    }
    const current = await this.findById(target as DocumentId);
    return current && (await this.#change([current], change, options))[0];
  }

  async updateOne(
    filter: Query<T>,
    change: Change<T>,
    options: UpsertOptions = {},
  ): Promise<UpdateResult> {
    checkCallOptions("updateOne", options, UPSERT_OPTIONS);
    wireFilter(filter);
    const { length } = await this.#change(await this.find(filter, { limit: 1 }), change);
    if (length > 0 || options.upsert !== true) return { matched: length, modified: length };
    const made = await this.#upsert(filter, change);
    return { matched: 0, modified: 0, upsertedId: this.#idOf(made) };
  }

  async findOneAndUpdate(
    filter: Query<T>,
    change: Change<T>,
    options: FindOneAndUpdateOptions<T> = {},
  ): Promise<T | undefined> {
    checkCallOptions("findOneAndUpdate", options, FOUND_OPTIONS);
    checkReturned(options.returnDocument);
    wireFilter(filter);
    const { sort, collation, upsert = false, returnDocument = "after" } = options;
    const [before] = await this.find(filter, { ...(sort && { sort }), collation, limit: 1 });
    if (before === undefined && !upsert) return undefined;
    const after =
      before === undefined
        ? await this.#upsert(filter, change)
        : (await this.#change([before], change))[0];
    return returnDocument === "before" ? before : after;
  }

  async #upsert(filter: Query<T>, change: Change<T>): Promise<T> {
    const nowMs = Math.floor(this.#transaction.client.platform.clock.wallMs());
    const how = { idField: this.#idField, nowMs, isInsert: true, replaces: false };
    const made = changedDocument(begunDocument(filter), change as UpdateOperators, how);
    return this.insert(made as NewDocument<T>);
  }

  async replaceOne(
    filter: Query<T>,
    document: NewDocument<T>,
    options: UpsertOptions = {},
  ): Promise<UpdateResult> {
    checkCallOptions("replaceOne", options, UPSERT_OPTIONS);
    wireFilter(filter);
    checkReplacement(document, this.name);
    const idField = this.#idField;
    const given = fieldOf(document as Fields, idField) ?? undefined;
    const [before] = await this.find(filter, { limit: 1 });
    if (before === undefined) {
      if (options.upsert !== true) return { matched: 0, modified: 0 };
      const id = given ?? fieldOf(begunDocument(filter), idField);
      const made = await this.insert({ ...document, ...(id !== undefined && { [idField]: id }) });
      return { matched: 0, modified: 0, upsertedId: this.#idOf(made) };
    }
    const id = this.#idOf(before);
    if (given !== undefined && given !== id) {
      throw new ValidationError(`Cannot change the id of a document in "${this.name}"`);
    }
    await this.#putAll([{ ...document, [idField]: id }], true);
    return { matched: 1, modified: 1 };
  }

  async deleteOne(filter: Query<T>): Promise<boolean> {
    wireFilter(filter);
    const [found] = await this.find(filter, { limit: 1 });
    if (found !== undefined) this.#drop(this.#idOf(found));
    return found !== undefined;
  }

  bulkWrite(operations: readonly BulkOperation<T>[]): Promise<BulkResult> {
    return runBulk(this, operations);
  }

  #idOf(document: T): DocumentId {
    return fieldOf(document as Fields, this.#idField) as DocumentId;
  }

  async updateMany(filter: Query<T>, change: Change<T>): Promise<UpdateResult> {
    const { length } = await this.update(filter, change);
    return { matched: length, modified: length };
  }

  async #change(
    documents: readonly T[],
    change: Change<T>,
    options: ChangeOptions = {},
  ): Promise<T[]> {
    const nowMs = Math.floor(this.#transaction.client.platform.clock.wallMs());
    const replaces = options.merge === false;
    const how = { idField: this.#idField, nowMs, isInsert: false, replaces };
    const changed = (documents as readonly Fields[]).map((before) => {
      return changedDocument(before, change as UpdateOperators, how);
    });
    return this.#putAll(changed, true);
  }

  remove(id: DocumentId): Promise<T | undefined>;
  remove(filter: Query<T>): Promise<T[]>;
  async remove(target: DocumentId | Query<T>): Promise<T | undefined | T[]> {
    if (!isFilter(target)) return this.#removeOne(target as DocumentId);
    const found = await this.find(target);
    for (const document of found) this.#drop(fieldOf(document as Fields, this.#idField));
    return found;
  }

  async delete(id: DocumentId): Promise<boolean> {
    return (await this.#removeOne(id)) !== undefined;
  }

  async deleteMany(filter: Query<T>): Promise<number> {
    return (await this.remove(filter)).length;
  }

  async #removeOne(id: DocumentId): Promise<T | undefined> {
    const current = await this.findById(id);
    if (current !== undefined) this.#drop(id);
    return current;
  }

  #drop(id: Value): void {
    const key = encodeKey(id as DocumentId);
    const own = this.#transaction.writesTo(this.name).get(latinText(key));
    const kind = own?.kind === "INSERT" ? "NOTHING" : "REMOVE";
    this.#transaction.write(this.name, { kind, key, document: new Uint8Array(0) });
  }

  async findById(id: DocumentId): Promise<T | undefined> {
    return (await this.findVersioned(id))?.document;
  }

  async findVersioned(id: DocumentId): Promise<Versioned<T> | undefined> {
    this.#transaction.check();
    const key = encodeKey(id);
    const own = this.#transaction.writesTo(this.name).get(latinText(key));
    if (own !== undefined) {
      const isGone = own.kind === "REMOVE" || own.kind === "NOTHING";
      return isGone ? undefined : { document: decodeUntrustedCbor(own.document) as T, version: 0 };
    }
    const query = { filter: { [this.#idField]: id } };
    const { documents } = await queryAll<T>(this.#transaction.client, this.#target(), query);
    const [found] = documents;
    this.#transaction.noteRead(this.name, key, found?.version ?? 0);
    return found;
  }

  override async find<const P extends Projection<T> = never>(
    filter: Query<T> = EVERYTHING as Query<T>,
    options: FindOptions<T, P> = {},
  ): Promise<Found<T, P>[]> {
    checkReadOptions("find", options, FIND_OPTIONS);
    this.#transaction.check();
    const { client } = this.#transaction;
    const writes = this.#transaction.writesTo(this.name);
    const isOwn = writes.size > 0;
    const { hint, ...others } = wireOptions(options);
    const query = isOwn ? { filter, hint } : { filter, hint, ...others };
    const target = { ...this.#target(), timeoutMs: options.timeoutMs, signal: options.signal };
    const { documents, sequence } = await queryAll<Found<T, P>>(client, target, query);
    this.#transaction.noteSearch(this.name, sequence);
    const found = documents.map(({ document }) => document);
    if (!isOwn) return found;
    return this.#withOwn(found as readonly Fields[], writes, { filter, ...others }) as Found<
      T,
      P
    >[];
  }

  async *iterate<const P extends Projection<T> = never>(
    filter: Query<T> = EVERYTHING as Query<T>,
    options: FindOptions<T, P> = {},
  ): AsyncGenerator<Found<T, P>, void, undefined> {
    yield* await this.find(filter, options);
  }

  async distinct<P extends Path<T>>(
    path: P,
    filter: Query<T> = EVERYTHING as Query<T>,
  ): Promise<DistinctValue<PathValue<T, P>>[]> {
    const segments = parsePath(path);
    const found: Value[] = [];
    const documents = await this.find(filter, sortedBy<T>(path, 1));
    for (const document of documents) addDistinct(found, document as Fields, segments);
    return found as DistinctValue<PathValue<T, P>>[];
  }

  async count(filter?: Query<T>): Promise<number> {
    const ids: object = { projection: { [this.#idField]: 1 } };
    return (await this.find(filter, ids as FindOptions<T, never>)).length;
  }

  /** The found documents, as the transaction's own writes leave them. */
  #withOwn(
    found: readonly Fields[],
    writes: ReadonlyMap<string, Write>,
    query: WireQuery,
  ): readonly Fields[] {
    const { sort = {}, skip = 0, limit = 0, projection = {} } = query;
    const collation = readCollation(query.collation);
    if (![skip, limit].every((count) => Number.isSafeInteger(count) && count >= 0)) {
      throw new ValidationError("Cannot query: skip and limit are whole numbers, and not negative");
    }
    const matches = compileFilter(wireFilter(query.filter));
    const others = found.filter((document) => {
      const key = encodeKey(fieldOf(document, this.#idField) as DocumentId);
      return !writes.has(latinText(key));
    });
    const own = [...writes.values()]
      .filter(({ kind }) => kind === "INSERT" || kind === "PUT")
      .map(({ document }) => decodeUntrustedCbor(document) as Fields)
      .filter(matches);
    const all = [...others, ...own].sort(compareBy(sort, { collation, idField: this.#idField }));
    const part = all.slice(skip, limit === 0 ? undefined : skip + limit);
    const isProjected = Object.keys(projection).length > 0;
    return isProjected ? part.map(compileProjection(projection, this.#idField)) : part;
  }

  #put(prepared: PreparedDocument): void {
    // A document that is new by this transaction stays one that must not exist yet.
    const own = this.#transaction.writesTo(this.name).get(latinText(prepared.key));
    const isNew = own?.kind === "INSERT" || own?.kind === "NOTHING";
    this.#transaction.write(this.name, { kind: isNew ? "INSERT" : "PUT", ...prepared });
  }

  #ruled(): RuledCollection {
    return { name: this.name, idField: this.#idField };
  }

  #target(): {
    readonly collection: string;
    readonly idField: string;
    readonly level: "linearizable";
    readonly timeoutMs: undefined;
  } {
    const [collection, idField] = [this.name, this.#idField];
    return { collection, idField, level: "linearizable", timeoutMs: undefined };
  }
}
