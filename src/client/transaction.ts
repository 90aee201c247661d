/**
 * Transactions: what a function reads is noted, what it writes is kept here, and at its end both go
 * to the leader as one command, which takes effect whole if nothing that was read has changed.
 * Serializable by validation at one point of the log (Kung, Robinson 1981, "On Optimistic Methods
 * for Concurrency Control").
 *
 * @module
 */

import { encodeText } from "../base/bytes.ts";
import {
  ClosedError,
  DuplicateKeyError,
  NotFoundError,
  TransactionConflictError,
  ValidationError,
} from "../base/errors.ts";
import { sleep } from "../platform/clock.ts";
import { decodeUntrustedCbor, encodeCbor } from "../protocol/cbor.ts";
import {
  type DocumentOperation,
  encodeCollectionName,
  writeTransactionCommand,
} from "../protocol/command.ts";
import { type DocumentId, encodeKey } from "../protocol/document_key.ts";
import { compileFilter, type Filter } from "../query/matcher.ts";
import { latinText } from "../query/order_key.ts";
import { compareBy, compileProjection } from "../query/sort.ts";
import { CompiledUpdate, isOperatorUpdate, type UpdateOperators } from "../query/update.ts";
import { type Fields, fieldOf, isFields, type Value } from "../query/value.ts";
import type { Client } from "./client.ts";
import type { Change, CollectionOptions, FindOptions, Item } from "./database.ts";
import { queryAll, wireFilter } from "./query_client.ts";

const DEFAULT_TIMEOUT_MS = 30_000;
/** First wait before a transaction that met a conflict is tried again; it doubles. */
const BACKOFF_MS = 2;
const BACKOFF_MAX_MS = 200;

/** How a transaction runs. */
export interface TransactionOptions {
  /** Longest time for all attempts, in milliseconds; 30 s unless set. */
  readonly timeoutMs?: number;
  /** Refuses writes. What was read is checked at the end all the same. */
  readonly readOnly?: boolean;
}

/** What a transaction's function works with. It is of no use after the function has ended. */
export interface Transaction {
  readonly id: string;
  collection<T extends Item = Record<string, unknown>>(
    name: string,
    options?: CollectionOptions,
  ): TransactionCollection<T>;
  /** Notes what is written so far, under a name. */
  savepoint(name: string): void;
  /** Forgets what was written since a savepoint. Throws NotFoundError. */
  rollbackTo(name: string): void;
}

/** A collection as a transaction sees it: with its own writes. */
export interface TransactionCollection<T extends Item> {
  readonly name: string;
  insert(document: T): Promise<T>;
  /** Inserts or replaces by id. */
  save(document: T): Promise<T>;
  /** Merges fields, or applies update operators; undefined when there is no such document. */
  update(id: DocumentId, change: Change<T>): Promise<T | undefined>;
  remove(id: DocumentId): Promise<T | undefined>;
  findById(id: DocumentId): Promise<T | undefined>;
  find(filter?: Filter, options?: FindOptions): Promise<T[]>;
  findOne(filter?: Filter, options?: FindOptions): Promise<T | undefined>;
  count(filter?: Filter): Promise<number>;
}

/** What is to be written to one document. */
interface Write {
  /** NOTHING: it was inserted and removed again, so it must not exist, and is not written. */
  readonly kind: "INSERT" | "PUT" | "REMOVE" | "NOTHING";
  readonly key: Uint8Array;
  /** Empty for REMOVE and NOTHING. */
  readonly document: Uint8Array;
}

type Writes = Map<string, Map<string, Write>>;

/** What transactions need of their database. */
export interface TransactionParts {
  client(): Client | Promise<Client>;
  newId(): string;
}

/** Runs a function until it commits, fails, or has no more time. */
export async function runTransaction<R>(
  parts: TransactionParts,
  run: (transaction: Transaction) => Promise<R>,
  options: TransactionOptions = {},
): Promise<R> {
  const client = await parts.client();
  const { clock, random } = client.platform;
  const deadlineMs = clock.nowMs() + (options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  for (let waitMs = BACKOFF_MS; ; waitMs = Math.min(2 * waitMs, BACKOFF_MAX_MS)) {
    const attempt = new RunningTransaction(client, parts, options);
    try {
      const result = await run(attempt).catch(async (error: unknown) => {
        // What it threw may come of two moments that it saw: then it is called again.
        await attempt.checkReads();
        throw error;
      });
      await attempt.commit();
      return result;
    } catch (error) {
      const isLate = clock.nowMs() + waitMs >= deadlineMs;
      if (!(error instanceof TransactionConflictError) || isLate) throw error;
    } finally {
      attempt.end();
    }
    await sleep(clock, waitMs * (0.5 + random.below(1000) / 1000));
  }
}

/** One attempt. */
class RunningTransaction implements Transaction {
  readonly id: string;
  readonly client: Client;
  readonly newId: () => string;
  readonly #isReadOnly: boolean;
  #writes: Writes = new Map();
  readonly #savepoints = new Map<string, Writes>();
  /** Version of each document that was read, by collection and key. */
  readonly #versions = new Map<string, { readonly condition: readonly unknown[] }>();
  /** Sequence number of the state in which each collection was searched first. */
  readonly #searches = new Map<string, number>();
  /** Times that anything was read. */
  #looks = 0;
  #isEnded = false;

  constructor(client: Client, parts: TransactionParts, options: TransactionOptions) {
    this.id = parts.newId();
    this.client = client;
    this.newId = () => parts.newId();
    this.#isReadOnly = options.readOnly === true;
  }

  collection<T extends Item>(name: string, options?: CollectionOptions): TransactionCollection<T> {
    return new CollectionView<T>(this, name, options);
  }

  savepoint(name: string): void {
    this.#savepoints.set(name, copyOf(this.#writes));
  }

  rollbackTo(name: string): void {
    const kept = this.#savepoints.get(name);
    if (kept === undefined) throw new NotFoundError(`Cannot find the savepoint "${name}"`);
    this.#writes = copyOf(kept);
  }

  end(): void {
    this.#isEnded = true;
  }

  /** Throws ClosedError when the transaction is over. */
  check(): void {
    if (this.#isEnded) throw new ClosedError("Cannot use the transaction: it is over");
  }

  /** What the transaction writes to a collection. */
  writesTo(collection: string): ReadonlyMap<string, Write> {
    return this.#writes.get(collection) ?? new Map();
  }

  write(collection: string, write: Write): void {
    this.check();
    if (this.#isReadOnly) {
      throw new ValidationError("Cannot write: the transaction is for reading only");
    }
    const writes = this.#writes.get(collection) ?? new Map<string, Write>();
    writes.set(latinText(write.key), write);
    this.#writes.set(collection, writes);
  }

  /** Notes what was read. Throws TransactionConflictError when it was something else before. */
  noteRead(collection: string, key: Uint8Array, version: number): void {
    this.#looks += 1;
    const name = `${collection}\u0000${latinText(key)}`;
    const known = this.#versions.get(name);
    if (known !== undefined && known.condition[2] !== version) throw changed(collection);
    this.#versions.set(name, { condition: [collection, key, version] });
  }

  noteSearch(collection: string, sequence: number): void {
    this.#looks += 1;
    const first = this.#searches.get(collection) ?? sequence;
    this.#searches.set(collection, Math.min(first, sequence));
  }

  /** Throws TransactionConflictError when something that was read is not so any more. */
  async checkReads(): Promise<void> {
    if (this.#looks < 2) return;
    this.#writes = new Map();
    await this.commit();
  }

  async commit(): Promise<void> {
    this.check();
    const reads = [...this.#versions.values()].map(({ condition }) => condition);
    const searches = [...this.#searches].map(([name, sequence]) => [name, null, sequence]);
    const absent = [...this.#writes].flatMap(([name, list]) => {
      return [...list.values()].flatMap(({ kind, key }) => {
        return kind === "NOTHING" ? [[name, key, 0]] : [];
      });
    });
    const writes = [...this.#writes]
      .map(([name, list]) => {
        const operations = [...list.values()].flatMap((write): DocumentOperation[] => {
          return write.kind === "NOTHING" ? [] : [{ ...write, kind: write.kind }];
        });
        return { collection: encodeText(name), operations };
      })
      .filter(({ operations }) => operations.length > 0);
    // One look alone is of one moment anyway.
    if (writes.length === 0 && absent.length === 0 && this.#looks < 2) return;
    const conditions = encodeCbor([...reads, ...searches, ...absent]).slice();
    await this.client.execute({
      kind: "COMMAND",
      target: "leader",
      write: (writer, identity) =>
        writeTransactionCommand(writer, identity, { conditions, writes }),
    });
  }
}

function copyOf(writes: Writes): Writes {
  return new Map([...writes].map(([name, list]) => [name, new Map(list)]));
}

function changed(collection: string): TransactionConflictError {
  return new TransactionConflictError(
    `Cannot go on with the transaction: what it read in "${collection}" was changed meanwhile`,
  );
}

class CollectionView<T extends Item> implements TransactionCollection<T> {
  readonly name: string;
  readonly #transaction: RunningTransaction;
  readonly #idField: string;

  constructor(transaction: RunningTransaction, name: string, options: CollectionOptions = {}) {
    this.#transaction = transaction;
    encodeCollectionName(name);
    this.name = name;
    this.#idField = options.idField ?? "id";
  }

  async insert(document: T): Promise<T> {
    const { key, encoded } = this.#encoded(document);
    const known = this.#transaction.writesTo(this.name).get(latinText(key));
    if (known?.kind === "INSERT" || known?.kind === "PUT") {
      throw new DuplicateKeyError(
        `Cannot insert into "${this.name}": a document has that id already`,
      );
    }
    // What the transaction itself removed may be there again.
    const kind = known?.kind === "REMOVE" ? "PUT" : "INSERT";
    this.#transaction.write(this.name, { kind, key, document: encoded });
    return decodeUntrustedCbor(encoded) as T;
  }

  async save(document: T): Promise<T> {
    const { key, encoded } = this.#encoded(document);
    this.#put(key, encoded);
    return decodeUntrustedCbor(encoded) as T;
  }

  async update(id: DocumentId, change: Change<T>): Promise<T | undefined> {
    const current = await this.findById(id);
    if (current === undefined) return undefined;
    const fields = change as UpdateOperators;
    const before = current as Fields;
    const after = isOperatorUpdate(fields)
      ? new CompiledUpdate(fields).apply(before, {
          nowMs: Math.floor(this.#transaction.client.platform.clock.wallMs()),
          isInsert: false,
        })
      : merged(before, fields as Fields);
    if (fieldOf(after, this.#idField) !== id) {
      throw new ValidationError(`Cannot change the id of a document in "${this.name}"`);
    }
    const encoded = encodeCbor(after).slice();
    this.#put(encodeKey(id), encoded);
    return decodeUntrustedCbor(encoded) as T;
  }

  async remove(id: DocumentId): Promise<T | undefined> {
    const current = await this.findById(id);
    if (current === undefined) return undefined;
    const key = encodeKey(id);
    const own = this.#transaction.writesTo(this.name).get(latinText(key));
    const kind = own?.kind === "INSERT" ? "NOTHING" : "REMOVE";
    this.#transaction.write(this.name, { kind, key, document: new Uint8Array(0) });
    return current;
  }

  async findById(id: DocumentId): Promise<T | undefined> {
    this.#transaction.check();
    const key = encodeKey(id);
    const own = this.#transaction.writesTo(this.name).get(latinText(key));
    if (own !== undefined) {
      const isGone = own.kind === "REMOVE" || own.kind === "NOTHING";
      return isGone ? undefined : (decodeUntrustedCbor(own.document) as T);
    }
    const query = { filter: { [this.#idField]: id } };
    const { documents } = await queryAll<T>(this.#transaction.client, this.#target(), query);
    const [found] = documents;
    this.#transaction.noteRead(this.name, key, found?.version ?? 0);
    return found?.document;
  }

  async find(filter: Filter = {}, options: FindOptions = {}): Promise<T[]> {
    this.#transaction.check();
    const { client } = this.#transaction;
    const { sort, skip, limit, projection, hint } = options;
    const writes = this.#transaction.writesTo(this.name);
    const isOwn = writes.size > 0;
    const query = isOwn ? { filter, hint } : { filter, sort, skip, limit, projection, hint };
    const { documents, sequence } = await queryAll<T>(client, this.#target(), query);
    this.#transaction.noteSearch(this.name, sequence);
    const found = documents.map(({ document }) => document);
    return isOwn ? this.#withOwn(found, writes, { filter, options }) : found;
  }

  async findOne(filter?: Filter, options?: FindOptions): Promise<T | undefined> {
    return (await this.find(filter, { ...options, limit: 1 }))[0];
  }

  async count(filter?: Filter): Promise<number> {
    return (await this.find(filter, { projection: { [this.#idField]: 1 } })).length;
  }

  /** What was found, as the transaction's own writes leave it. */
  #withOwn(
    found: readonly T[],
    writes: ReadonlyMap<string, Write>,
    query: { readonly filter: Filter; readonly options: FindOptions },
  ): T[] {
    const { sort = {}, skip = 0, limit = 0, projection = {} } = query.options;
    const matches = compileFilter(wireFilter(query.filter));
    const others = (found as readonly Fields[]).filter((document) => {
      const key = encodeKey(fieldOf(document, this.#idField) as DocumentId);
      return !writes.has(latinText(key));
    });
    const own = [...writes.values()]
      .filter(({ kind }) => kind === "INSERT" || kind === "PUT")
      .map(({ document }) => decodeUntrustedCbor(document) as Fields)
      .filter(matches);
    const all = [...others, ...own].sort(compareBy(sort));
    const part = all.slice(skip, limit === 0 ? undefined : skip + limit);
    if (Object.keys(projection).length === 0) return part as unknown as T[];
    return part.map(compileProjection(projection, this.#idField)) as unknown as T[];
  }

  #put(key: Uint8Array, document: Uint8Array): void {
    // A document that is new by this transaction stays one that must not exist yet.
    const own = this.#transaction.writesTo(this.name).get(latinText(key));
    const isNew = own?.kind === "INSERT" || own?.kind === "NOTHING";
    const kind = isNew ? "INSERT" : "PUT";
    this.#transaction.write(this.name, { kind, key, document });
  }

  #encoded(document: T): { readonly key: Uint8Array; readonly encoded: Uint8Array } {
    if (!isFields(document)) {
      throw new ValidationError(`Cannot write into "${this.name}": a document is an object`);
    }
    const id = fieldOf(document, this.#idField) ?? this.#transaction.newId();
    const encoded = encodeCbor({ ...(document as Fields), [this.#idField]: id }).slice();
    return { key: encodeKey(id as DocumentId), encoded };
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

/** Objects are merged, everything else is replaced; `undefined` changes nothing. */
function merged(base: Fields, change: Fields): Fields {
  const result: { [name: string]: Value } = { ...base };
  for (const [name, value] of Object.entries(change)) {
    const before = fieldOf(base, name);
    if (value === undefined) continue;
    result[name] = isFields(before) && isFields(value) ? merged(before, value) : value;
  }
  return result;
}
