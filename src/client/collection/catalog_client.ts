/**
 * Collections and indexes by their names, over a {@link Client}.
 *
 * @module
 */

import type { IndexInfo, IndexOptions } from "../../api/collection.ts";
import type { ConflictList, ConflictOptions } from "../../api/conflict.ts";
import { readCollation } from "../../base/collation.ts";
import { ConfigError, CStoreError, DuplicateKeyError, QueryError } from "../../base/errors.ts";
import { INDEX_ENTRIES_MAX, INDEX_KEY_LENGTH_MAX } from "../../base/limits.ts";
import { orderKey } from "../../base/order_key.ts";
import { POLL_INTERVAL_MS } from "../../base/timing.ts";
import { type Fields, fieldOf, shortText } from "../../base/value.ts";
import { sleep } from "../../platform/clock.ts";
import {
  type CatalogAnswer,
  type CatalogRequest,
  decodeCatalogAnswer,
  expiryOf,
  type IndexDefinition,
} from "../../protocol/encoding/catalog_command.ts";
import { decodeUntrustedCbor, encodeCbor } from "../../protocol/encoding/cbor.ts";
import { beginCommand, encodeCollectionName, endCommand } from "../../protocol/encoding/command.ts";
import { decodeKey, encodeKey } from "../../protocol/encoding/document_key.ts";
import type { ReadLevel } from "../../protocol/wire/client_message.ts";
import {
  type CollectionInfo,
  decodeCatalogReply,
  decodeConflictsReply,
} from "../../protocol/wire/reply.ts";
import { parsePath, valueAt } from "../../query/path.ts";
import { indexedAs } from "../../query/sort.ts";
import type { Client } from "../connection/client.ts";
import { ask, type QueryTarget, queryPages, wireFilter } from "./query_client.ts";

/** Values that a search for two equal ones remembers. */
const SEEN_MAX = 1_000_000;

/** All collections, without their indexes; or one, with them. */
export async function listCollections(
  client: Client,
  collection?: string,
  how: { readonly level?: ReadLevel; readonly timeoutMs?: number } = {},
): Promise<readonly CollectionInfo[]> {
  const { level = "linearizable", timeoutMs } = how;
  const target = { collection: "", idField: "id", level, timeoutMs };
  const payload = await ask(client, target as QueryTarget, { action: "catalog", collection });
  return decodeCatalogReply(payload).collections;
}

const CONFLICTS_LISTED = 100;

/** Documents in conflict, as any node knows them. */
export async function listConflicts<T>(
  client: Client,
  collection: string,
  { id, limit = CONFLICTS_LISTED, timeoutMs }: ConflictOptions,
): Promise<ConflictList<T>> {
  encodeCollectionName(collection);
  const target = { collection, idField: "id", level: "stale", timeoutMs } as const;
  const key = id === undefined ? undefined : encodeKey(id);
  const request = { action: "conflicts", collection, limit, ...(key && { key }) } as const;
  const { total, conflicts } = decodeConflictsReply(await ask(client, target, request));
  const read = (bytes: Uint8Array): T => decodeUntrustedCbor(bytes) as T;
  return {
    total,
    conflicts: conflicts.map((one) => ({
      id: decodeKey(one.key),
      document: one.document === null ? undefined : read(one.document),
      siblings: one.siblings.map(({ document, nodeId, writtenMs }) => {
        return { document: read(document), nodeId, writtenMs };
      }),
      failure: one.failure ?? undefined,
    })),
  };
}

/** Indexes of a collection; none for one that does not exist. */
export async function listIndexes(client: Client, collection: string): Promise<IndexInfo[]> {
  const [{ indexes = [] } = {}] = await listCollections(client, collection);
  return indexes.map(({ definition, isReady }) => ({
    name: definition.name,
    keys: Object.fromEntries(definition.paths.map(({ path, order }) => [path, order])),
    unique: definition.isUnique,
    sparse: definition.isSparse,
    ignoreCase: definition.ignoresCase,
    where: definition.where ?? null,
    collation: definition.collation ?? null,
    expireAfterMs: expiryOf(definition) ?? null,
    ready: isReady,
  }));
}

/** Options of an index on documents of any type. */
export type WrittenIndexOptions = Omit<IndexOptions, "keys" | "where"> & {
  readonly keys: string | readonly string[] | object;
  readonly where?: object;
};

/** Makes an index and waits until it serves. */
export async function createIndex(
  client: Client,
  collection: string,
  index: {
    readonly name: string;
    readonly options: WrittenIndexOptions;
    /** Field with the documents' ids. */
    readonly idField: string;
  },
): Promise<void> {
  const { name, options, idField } = index;
  const {
    keys,
    unique = false,
    sparse = false,
    ignoreCase = false,
    expireAfterMs,
    where: givenWhere,
    collation: givenCollation,
  } = options;
  // A listing of indexes shows what is not there as null.
  const [where, collation] = [givenWhere ?? undefined, readCollation(givenCollation)];
  encodeCollectionName(collection);
  const list = typeof keys === "string" ? [keys] : keys;
  const paths = Array.isArray(list)
    ? (list as readonly string[]).map((path) => ({ path, order: 1 as const }))
    : Object.entries(list).map(([path, order]) => ({ path, order }));
  const definition = {
    name,
    paths,
    isUnique: unique,
    isSparse: sparse,
    ignoresCase: ignoreCase,
    expiresAfterMs: expireAfterMs ?? 0,
    ...(expireAfterMs === 0 && ({ expiresAtDate: true } as const)),
    ...(where !== undefined && { where: wireFilter(where) as Fields }),
    ...(collation !== undefined && { collation }),
  };
  const isMade = await changeCatalog(client, {
    action: "createIndex",
    collection,
    index: definition,
  });
  while (true) {
    const found = (await listIndexes(client, collection)).find((one) => one.name === name);
    if (found === undefined) throw await whyGone(client, { collection, idField }, definition);
    if (found.ready) {
      // Older rules left out of the definition what they do not know.
      const isExpiring = found.expireAfterMs === (expireAfterMs ?? null);
      const isPartial = (found.where === null) === (where === undefined);
      const isOrdered = (found.collation === null) === (collation === undefined);
      if (isExpiring && isPartial && isOrdered) return;
      if (isMade) await changeCatalog(client, { action: "dropIndex", collection, index: name });
      const what = isPartial ? "order texts" : "hold only some documents";
      throw oldRules(name, isExpiring ? what : "let documents expire");
    }
    await sleep(client.platform.clock, POLL_INTERVAL_MS.indexServes);
  }
}

function oldRules(name: string, what: string): ConfigError {
  return new ConfigError(`Cannot let index "${name}" ${what}: the cluster follows older rules`, {
    remedy: "Run `cstore cluster upgrade enable`, and make the index again",
  });
}

/** Why an index that was being made is not there: two documents with one value are looked for. */
async function whyGone(
  client: Client,
  place: { readonly collection: string; readonly idField: string },
  definition: IndexDefinition,
): Promise<CStoreError> {
  const { name, isUnique } = definition;
  const fields = { collection: place.collection, index: name };
  if (!isUnique) {
    const message = `Cannot make index "${name}": it was dropped, or documents hold more than it takes`;
    return new QueryError(message, {
      remedy: `A document takes at most ${INDEX_ENTRIES_MAX} values of ${INDEX_KEY_LENGTH_MAX} characters each`,
      fields,
    });
  }
  const pair = await equalPair(client, place, definition).catch((error: unknown) => {
    // Too many to sort, or nobody answers: the refusal is known all the same.
    if (error instanceof CStoreError) return undefined;
    throw error;
  });
  const which = pair === undefined ? "several documents have" : `${pair.documents} have`;
  const value = pair === undefined ? "the same value" : `the value ${pair.value}`;
  return new DuplicateKeyError(`Cannot make the unique index ${name}: ${which} ${value}`, {
    remedy: "Change all of them but one, and make it again",
    fields,
  });
}

/** Two documents with the same values, as texts for a message; undefined where none are found. */
async function equalPair(
  client: Client,
  { collection, idField }: { readonly collection: string; readonly idField: string },
  definition: IndexDefinition,
): Promise<{ readonly documents: string; readonly value: string } | undefined> {
  const target = {
    collection,
    idField: "id",
    level: "linearizable",
    timeoutMs: undefined,
  } as const;
  const { paths, where = {} } = definition;
  const read = paths.map(({ path }) => parsePath(path));
  /** Ids by the order keys of the values. */
  const seen = new Map<string, string>();
  for await (const page of queryPages<Fields>(client, target, { filter: where })) {
    for (const { document } of page.documents) {
      const values = read.map((path) => valueAt(document, path));
      const key = values.map((value) => orderKey(indexedAs(value, definition), false)).join("");
      const shown = values.map((value) => shortText(value)).join(", ");
      const id = shortText(fieldOf(document, idField));
      const other = seen.get(key);
      if (other !== undefined) return { documents: `${other} and ${id}`, value: shown };
      if (seen.size === SEEN_MAX) return undefined;
      seen.set(key, id);
    }
  }
  return undefined;
}

/** Changes the catalog; whether anything changed. */
export async function changeCatalog(client: Client, request: CatalogRequest): Promise<boolean> {
  return (await sendCatalog(client, request)).changed;
}

/** Reserves numbers that are ids of no document, and that no other client gets. */
export async function nextIds(
  client: Client,
  collection: string,
  count: number,
): Promise<readonly number[]> {
  return (await sendCatalog(client, { action: "nextIds", collection, count })).ids ?? [];
}

async function sendCatalog(client: Client, request: CatalogRequest): Promise<CatalogAnswer> {
  const body = encodeCbor(request).slice();
  const payload = await client.execute({
    kind: "COMMAND",
    target: "leader",
    write: (writer, identity) => {
      const start = beginCommand(writer, "CATALOG", { ...identity, count: 1 });
      writer.raw(body);
      endCommand(writer, start);
    },
  });
  return decodeCatalogAnswer(payload);
}
