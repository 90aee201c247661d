/**
 * Collections and indexes by their names, over a {@link Client}.
 *
 * @module
 */

import type { IndexInfo, IndexOptions } from "../../api/collection.ts";
import { DuplicateKeyError, QueryError } from "../../base/errors.ts";
import { sleep } from "../../platform/clock.ts";
import type { CollectionSettings } from "../../protocol/encoding/collection_settings.ts";
import { encodeCollectionName } from "../../protocol/encoding/command.ts";
import type { Client } from "../connection/client.ts";
import { changeCatalog, readCatalog } from "./query_client.ts";

/** Between two looks at whether an index serves. */
const LOOK_MS = 20;

interface WireIndex {
  readonly isReady: boolean;
  readonly definition: {
    readonly name: string;
    readonly paths: readonly { readonly path: string; readonly order: 1 | -1 }[];
    readonly isUnique: boolean;
    readonly isSparse: boolean;
    readonly ignoresCase: boolean;
    readonly expiresAfterMs: number;
  };
}

/** A collection as the cluster tells of it. */
export interface CollectionInfo {
  readonly name: string;
  readonly count: number;
  /** Bytes of memory for its documents. */
  readonly bytes: number;
  readonly indexes?: readonly WireIndex[];
  /** Only of one that was made with some. */
  readonly settings?: CollectionSettings;
}

/** All collections, without their indexes; or one, with them. */
export async function listCollections(
  client: Client,
  collection?: string,
): Promise<readonly CollectionInfo[]> {
  const catalog = (await readCatalog(client, collection)) as {
    readonly collections: CollectionInfo[];
  };
  return catalog.collections;
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
    expireAfterMs: definition.expiresAfterMs,
    ready: isReady,
  }));
}

/** Makes an index and waits until it serves. */
export async function createIndex(
  client: Client,
  collection: string,
  index: { readonly name: string; readonly options: IndexOptions },
): Promise<void> {
  const { name, options } = index;
  const { keys, unique = false, sparse = false, ignoreCase = false, expireAfterMs = 0 } = options;
  encodeCollectionName(collection);
  const list = typeof keys === "string" ? [keys] : keys;
  const paths = Array.isArray(list)
    ? (list as readonly string[]).map((path) => ({ path, order: 1 }))
    : Object.entries(list).map(([path, order]) => ({ path, order }));
  const definition = {
    name,
    paths,
    isUnique: unique,
    isSparse: sparse,
    ignoresCase: ignoreCase,
    expiresAfterMs: expireAfterMs,
  };
  await changeCatalog(client, { action: "createIndex", collection, index: definition });
  while (true) {
    const found = (await listIndexes(client, collection)).find((one) => one.name === name);
    if (found?.ready === true) return;
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
    await sleep(client.platform.clock, LOOK_MS);
  }
}
