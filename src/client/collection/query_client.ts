/**
 * Queries and changes of the catalog over a {@link Client}.
 *
 * @module
 */

import type { Versioned } from "../../api/collection.ts";
import type { Query, ReadOptions } from "../../api/query.ts";
import { ByteReader, EMPTY_BYTES } from "../../base/bytes.ts";
import { CursorLostError, QueryError, UnreachableError } from "../../base/errors.ts";
import { ATTEMPTS_MAX } from "../../base/timing.ts";
import { isFields, type Value } from "../../base/value.ts";
import { decodeUntrustedCbor, encodeCbor } from "../../protocol/encoding/cbor.ts";
import { readOperationResults } from "../../protocol/encoding/operation_result.ts";
import { type ReadLevel, readLevelNumber } from "../../protocol/wire/client_message.ts";
import { decodeExplanation, type Explanation } from "../../protocol/wire/reply.ts";
import type { QueryRequestFields } from "../../protocol/wire/request.ts";
import type { Filter } from "../../query/matcher.ts";
import { joinPath } from "../../query/path.ts";
import type { ProjectionSpec, SortSpec } from "../../query/sort.ts";
import type { Client } from "../connection/client.ts";
import type { Answer } from "../connection/pending_requests.ts";

/** The common fields of all queries of a collection. */
export interface QueryTarget {
  readonly collection: string;
  readonly idField: string;
  readonly level: ReadLevel;
  readonly timeoutMs: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A query as it goes over the wire. */
export interface WireQuery {
  readonly filter: Filter;
  readonly sort?: SortSpec | undefined;
  readonly skip?: number | undefined;
  readonly limit?: number | undefined;
  readonly projection?: ProjectionSpec | undefined;
  readonly hint?: string | undefined;
  /** Documents of one answer. */
  readonly pageSize?: number | undefined;
  /** Values at the paths of `sort`: only documents behind them. */
  readonly after?: readonly Value[] | undefined;
  readonly collation?: object | undefined;
}

/** Found documents, and up to which operation they are the state. */
export interface Page<T> {
  readonly documents: readonly Versioned<T>[];
  /** 0: there are no more. */
  readonly cursor: number;
  readonly sequence: number;
}

/**
 * A filter that can be sent: patterns become `$regex`. Throws QueryError for functions and for
 * `undefined`, which would silently match everything.
 */
export function wireFilter(filter: unknown, path = ""): unknown {
  if (filter instanceof RegExp) {
    return { $regex: filter.source, $options: filter.flags.replace("g", "") };
  }
  if (filter === undefined || typeof filter === "function") {
    throw new QueryError(`Cannot send the query: what "${path}" is compared with is ${filter}`);
  }
  if (Array.isArray(filter)) return filter.map((item, at) => wireFilter(item, `${path}.${at}`));
  if (!isFields(filter)) return filter;
  const parts = Object.entries(filter).map(([name, value]) => {
    if ((name === "$eq" || name === "$ne") && value instanceof RegExp) {
      throw new QueryError(`Cannot send the query: ${name} takes no pattern; use $not`);
    }
    return [name, wireFilter(value, path === "" ? name : `${path}.${name}`)];
  });
  return Object.fromEntries(parts);
}

/** A query that every document matches. */
export const EVERYTHING: object = Object.freeze({});

/** A query with a condition on one path. */
export function queryAt<T>(path: string, condition: unknown): Query<T> {
  // A path may lead deeper than the names of T's fields, so types cannot follow it.
  const query: { readonly [path: string]: unknown } = { [path]: condition };
  return query as Query<T>;
}

/** A query for what matches all of the queries. */
export function allOf<T>(...queries: readonly Query<T>[]): Query<T> {
  return queryAt<T>("$and", queries);
}

/** The part of the options that goes over the wire. */
export function wireOptions(options: WrittenOptions): Omit<WireQuery, "filter"> {
  const { sort, skip, limit, projection, hint, collation } = options;
  const parts = { sort: sort as SortSpec, projection: projection as ProjectionSpec };
  return { ...parts, skip, limit, hint, collation };
}

/** Options of a query on documents of any type. */
interface WrittenOptions {
  readonly sort?: object | undefined;
  readonly skip?: number | undefined;
  readonly limit?: number | undefined;
  readonly projection?: object | undefined;
  readonly hint?: string | undefined;
  readonly collation?: object | undefined;
}

/** Fields of a change; a value may be anything that CBOR carries. */
type FieldsToSend = { readonly [name: string]: unknown };

/** Fields as paths, so that `$set` merges objects as a plain change does. */
export function fieldPaths(fields: FieldsToSend, above: readonly string[] = []): FieldsToSend {
  const flat: { [path: string]: unknown } = {};
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const names = [...above, name];
    if (isFields(value) && Object.keys(value).length > 0) {
      Object.assign(flat, fieldPaths(value as never, names));
    } else flat[joinPath(names)] = value;
  }
  return flat;
}

/**
 * Asks for documents, page by page, until there are no more or the caller stops. All pages come
 * from the node that gave the first, whoever leads meanwhile: they show one moment. Throws
 * CursorLostError when that node is gone.
 */
export async function* queryPages<T>(
  client: Client,
  target: QueryTarget,
  query: WireQuery,
): AsyncGenerator<Page<T>, void> {
  let cursor = 0;
  const pages = new Pages(client, target);
  try {
    let page = pageOf<T>(await pages.ask(queryFields(target, query)));
    while (true) {
      cursor = page.cursor;
      yield page;
      if (cursor === 0) return;
      page = pageOf<T>(await pages.ask({ action: "next", cursor }));
    }
  } finally {
    // A caller that stops early frees the node's memory; this request may fail without harm.
    if (cursor !== 0) pages.ask({ action: "close", cursor }).catch(() => undefined);
  }
}

/**
 * Runs a read of many pages, and runs it anew when its cursor was lost on the way: as often as the
 * time of one request allows, a few times at least.
 */
export async function readWhole<R>(
  client: Client,
  read: () => Promise<R>,
  timeoutMs = client.timeoutMs,
): Promise<R> {
  const { clock } = client.platform;
  const endMs = clock.nowMs() + timeoutMs;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await read();
    } catch (error) {
      const isOver = attempt >= ATTEMPTS_MAX.query && clock.nowMs() >= endMs;
      if (!(error instanceof CursorLostError) || isOver) throw error;
    }
  }
}

/** All documents that a query finds, as at one moment. */
export function queryAll<T>(
  client: Client,
  target: QueryTarget,
  query: WireQuery,
): Promise<{ readonly documents: readonly Versioned<T>[]; readonly sequence: number }> {
  const read = async () => {
    const documents: Versioned<T>[] = [];
    let sequence = -1;
    for await (const page of queryPages<T>(client, target, query)) {
      documents.push(...page.documents);
      if (sequence === -1) sequence = page.sequence;
    }
    return { documents, sequence };
  };
  return readWhole(client, read, target.timeoutMs);
}

/** How many documents match. */
export async function queryCount(
  client: Client,
  target: QueryTarget,
  query: WireQuery,
): Promise<number> {
  const answer = await ask(client, target, {
    ...queryFields(target, query),
    action: "count" as const,
  });
  return new ByteReader(answer).u64();
}

/** How many documents a collection has. */
export async function countAll(
  client: Client,
  target: QueryTarget,
  name: Uint8Array,
): Promise<number> {
  const { level, timeoutMs, signal } = target;
  const asked = client.execute({
    kind: "COUNT",
    target: level === "stale" ? "any" : "leader",
    timeoutMs,
    write: (writer) => {
      writer.u8(readLevelNumber(level)).u8(name.byteLength).raw(name);
    },
  });
  const payload = await unlessAborted(asked, signal);
  return new ByteReader(payload).u64();
}

/** How a query would be answered. */
export async function queryPlan(
  client: Client,
  target: QueryTarget,
  query: WireQuery,
): Promise<Explanation> {
  const fields = { ...queryFields(target, query), action: "explain" } as const;
  return decodeExplanation(await ask(client, target, fields));
}

function queryFields(target: QueryTarget, query: WireQuery): QueryRequestFields {
  const { collection, idField } = target;
  return { action: "find", collection, idField, ...query, filter: wireFilter(query.filter) };
}

/** Sends a QUERY request; resolves with the payload of its result. */
export function ask(
  client: Client,
  target: QueryTarget,
  fields: QueryRequestFields,
): Promise<Uint8Array> {
  return new Pages(client, target).ask(fields);
}

/** Options of reads that a write rests on: as fresh as the collection's mode allows. */
export const FRESH: ReadOptions = Object.freeze({});

/** What is known of collections' modes. */
export interface KnownModes {
  isByAll(name: string): boolean;
  /** Whether a call failed because the mode was not known, which it is now. */
  learnsMode(name: string, error: unknown): Promise<boolean>;
}

/** Reads of one handle: as fresh as is wanted, or as the mode allows where nothing is said. */
export class CollectionReads {
  readonly #collection: {
    readonly name: string;
    readonly idField: string;
    readonly rules: KnownModes;
  };
  readonly #handle: ReadOptions;

  constructor(
    collection: { readonly name: string; readonly idField: string; readonly rules: KnownModes },
    handle: ReadOptions,
  ) {
    this.#collection = collection;
    this.#handle = handle;
  }

  target(options: ReadOptions): QueryTarget {
    const { name, idField, rules } = this.#collection;
    const level = this.#wanted(options) ?? (rules.isByAll(name) ? "stale" : "linearizable");
    const { timeoutMs = this.#handle.timeoutMs, signal } = options;
    return { collection: name, idField, level, timeoutMs, signal };
  }

  async reading<R>(options: ReadOptions, run: (target: QueryTarget) => Promise<R>): Promise<R> {
    try {
      return await run(this.target(options));
    } catch (error) {
      if (!(await this.#mayAgain(options, error))) throw error;
      return run(this.target(options));
    }
  }

  /** See {@link queryPages}. */
  async *pages<D>(
    client: Client,
    options: ReadOptions,
    query: WireQuery,
  ): AsyncGenerator<Page<D>, void> {
    const pages = queryPages<D>(client, this.target(options), query);
    let page: IteratorResult<Page<D>, void>;
    try {
      page = await pages.next();
    } catch (error) {
      if (!(await this.#mayAgain(options, error))) throw error;
      yield* queryPages<D>(client, this.target(options), query);
      return;
    }
    try {
      for (; page.done !== true; page = await pages.next()) yield page.value;
    } finally {
      await pages.return();
    }
  }

  #wanted(options: ReadOptions): ReadLevel | undefined {
    return options === FRESH ? undefined : (options.read ?? this.#handle.read);
  }

  async #mayAgain(options: ReadOptions, error: unknown): Promise<boolean> {
    if (this.#wanted(options) !== undefined) return false;
    return this.#collection.rules.learnsMode(this.#collection.name, error);
  }
}

/** Requests of one read; those of its cursor go to the node that gave it. */
export class Pages {
  readonly #client: Client;
  readonly #target: QueryTarget;
  #node: Answer["channel"];

  constructor(client: Client, target: QueryTarget) {
    this.#client = client;
    this.#target = target;
  }

  /** Rejects with CursorLostError when the cursor's node cannot be asked. */
  ask(fields: QueryRequestFields): Promise<Uint8Array> {
    const { level, timeoutMs, signal } = this.#target;
    const body = encodeCbor(fields).slice();
    // A page that was lost on the way is gone: a cursor's request is not repeated.
    const isRepeatable = !("cursor" in fields);
    if (!isRepeatable && this.#node?.isUp !== true) {
      return Promise.reject(cursorLost("the node with its cursor cannot be reached"));
    }
    const asked = new Promise<Uint8Array>((resolve, reject) => {
      this.#client.submit(
        {
          kind: "QUERY",
          target: level === "stale" ? "any" : "leader",
          via: isRepeatable ? undefined : this.#node,
          timeoutMs,
          isRepeatable,
          write: (writer) => {
            writer.u8(readLevelNumber(level)).raw(body);
          },
        },
        (answer) => {
          this.#node = answer.channel;
          resolve(answer.payload?.slice() ?? EMPTY_BYTES);
        },
        (error) => {
          const isLost = !isRepeatable && error instanceof UnreachableError;
          reject(isLost ? cursorLost(error.message) : error);
        },
      );
    });
    return unlessAborted(asked, signal);
  }
}

/** The promise; rejects with the signal's reason as soon as that is aborted. */
export function unlessAborted<R>(promise: Promise<R>, signal: AbortSignal | undefined): Promise<R> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    const done = (): void => signal.removeEventListener("abort", abort);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
    promise.finally(done).then(resolve, reject);
  });
}

function cursorLost(why: string): CursorLostError {
  return new CursorLostError(`Cannot go on with the query: ${why}`);
}

function pageOf<T>(payload: Uint8Array): Page<T> {
  const reader = new ByteReader(payload);
  const cursor = reader.u64();
  const sequence = reader.u64();
  const documents = readOperationResults(reader.take(reader.remaining)).map((result) => {
    const document = decodeUntrustedCbor(result.document ?? EMPTY_BYTES) as T;
    return { document, version: result.version };
  });
  return { documents, cursor, sequence };
}
