/**
 * Collections and indexes by their names, over a {@link Client}.
 *
 * @module
 */

import type { IndexInfo, IndexOptions } from "../../api/collection.ts";
import { ConfigError, DuplicateKeyError, QueryError } from "../../base/errors.ts";
import { POLL_INTERVAL_MS } from "../../base/timing.ts";
import { sleep } from "../../platform/clock.ts";
import {
  type CatalogAnswer,
  type CatalogRequest,
  decodeCatalogAnswer,
  expiryOf,
} from "../../protocol/encoding/catalog_command.ts";
import { encodeCbor } from "../../protocol/encoding/cbor.ts";
import { beginCommand, encodeCollectionName, endCommand } from "../../protocol/encoding/command.ts";
import { type CollectionInfo, decodeCatalogReply } from "../../protocol/wire/reply.ts";
import type { Client } from "../connection/client.ts";
import { ask, type QueryTarget } from "./query_client.ts";

/** All collections, without their indexes; or one, with them. */
export async function listCollections(
  client: Client,
  collection?: string,
): Promise<readonly CollectionInfo[]> {
  const target = { collection: "", idField: "id", level: "linearizable", timeoutMs: undefined };
  const payload = await ask(client, target as QueryTarget, { action: "catalog", collection });
  return decodeCatalogReply(payload).collections;
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
    expireAfterMs: expiryOf(definition) ?? null,
    ready: isReady,
  }));
}

/** Options of an index on documents of any type. */
export type WrittenIndexOptions = Omit<IndexOptions, "keys"> & {
  readonly keys: string | readonly string[] | object;
};

/** Makes an index and waits until it serves. */
export async function createIndex(
  client: Client,
  collection: string,
  index: { readonly name: string; readonly options: WrittenIndexOptions },
): Promise<void> {
  const { name, options } = index;
  const { keys, unique = false, sparse = false, ignoreCase = false, expireAfterMs } = options;
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
  };
  const isMade = await changeCatalog(client, {
    action: "createIndex",
    collection,
    index: definition,
  });
  while (true) {
    const found = (await listIndexes(client, collection)).find((one) => one.name === name);
    if (found?.ready === true && found.expireAfterMs === (expireAfterMs ?? null)) return;
    if (found?.ready === true) {
      if (isMade) await changeCatalog(client, { action: "dropIndex", collection, index: name });
      throw oldRules(name);
    }
    if (found === undefined) {
      if (!unique) {
        throw new QueryError(
          `Cannot make index "${name}": it was dropped, or documents hold more than it takes`,
        );
      }
      throw new DuplicateKeyError(
        `Cannot make the unique index ${name}: several documents have the same value`,
      );
    }
    await sleep(client.platform.clock, POLL_INTERVAL_MS.indexServes);
  }
}

function oldRules(name: string): ConfigError {
  return new ConfigError(
    `Cannot let documents expire by index "${name}" at their date: the cluster follows older rules`,
    { remedy: "Run `cstore cluster upgrade enable`, and make the index again" },
  );
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
