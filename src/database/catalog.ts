/**
 * What a CATALOG command changes: collections and their indexes, by name. Its body is a map with
 * `action` and what that needs:
 *
 * | action           | fields                                                   |
 * | ---------------- | -------------------------------------------------------- |
 * | createCollection | collection, settings (`collection_settings.ts`)          |
 * | dropCollection   | collection                                               |
 * | createIndex      | collection, index (a definition: `collection_index.ts`)  |
 * | dropIndex        | collection, index (its name)                             |
 * | nextIds          | collection, count                                        |
 *
 * The answer is a map with `changed`, and for nextIds with `ids`: numbers that nobody else gets. The
 * body of INDEX_READY, which only a leader proposes, has the fields collection and index.
 *
 * @module
 */

import { CStoreError, NotFoundError, QueryError, ValidationError } from "../base/errors.ts";
import {
  COLLECTION_NAME_SIZE_MAX,
  COLLECTIONS_MAX,
  INDEXES_MAX,
  OPERATIONS_PER_REQUEST_MAX,
} from "../base/limits.ts";
import { equalValues, type Fields, isFields, type Value } from "../base/value.ts";
import { readSettings } from "../protocol/encoding/collection_settings.ts";
import { encodeCollectionName } from "../protocol/encoding/command.ts";
import { type IndexDefinition, readIndexDefinition } from "./collection/collection_index.ts";
import type { CollectionStore } from "./collection/collection_store.ts";

/** The collections that a catalog command works on. */
export interface CatalogState {
  readonly collections: Map<string, CollectionStore>;
  /** Makes a store that is not part of the state yet. */
  make(name: string): CollectionStore;
  /** A collection is gone: nothing may remember it. */
  dropped(): void;
}

/** What a CATALOG command is answered with. */
export interface CatalogAnswer {
  readonly changed: boolean;
  readonly ids?: readonly number[];
}

/** Executes a CATALOG command. Gives its answer, or why it is refused. */
export function executeCatalog(
  state: CatalogState,
  request: unknown,
  sequence: number,
): CatalogAnswer | CStoreError {
  try {
    const fields = fieldsOf(request);
    if (fields["action"] === "nextIds") return { changed: false, ids: nextIds(state, fields) };
    return { changed: change(state, fields, sequence) };
  } catch (error) {
    if (error instanceof CStoreError) return error;
    throw error;
  }
}

/** All documents are in an index: it serves from now on, or is gone if it cannot be. */
export function settleIndex(state: CatalogState, request: unknown): void {
  const { collection, index } = fieldsOf(request);
  state.collections.get(textOf(collection))?.indexes.settle(textOf(index));
}

function fieldsOf(request: unknown): Fields {
  if (isFields(request)) return request;
  throw new ValidationError("Cannot change the catalog: the request is not a map");
}

function change(state: CatalogState, request: Fields, sequence: number): boolean {
  const name = nameOf(request["collection"]);
  const store = state.collections.get(name);
  switch (request["action"]) {
    case "createCollection":
      return createCollection(state, name, request["settings"]);
    case "dropCollection":
      if (store === undefined) return false;
      store.indexes.clear();
      state.collections.delete(name);
      state.dropped();
      return true;
    case "createIndex": {
      const definition = readIndexDefinition(request["index"]);
      return createIndex(store ?? create(state, name), definition, sequence);
    }
    case "dropIndex": {
      const index = textOf(request["index"]);
      if (store?.indexes.drop(index) === true) return true;
      throw new NotFoundError(`Cannot drop index "${index}": "${name}" has none of that name`, {
        fields: { collection: name, index },
      });
    }
    default:
      throw new ValidationError(
        `Cannot change the catalog: action "${textOf(request["action"])}" is unknown`,
      );
  }
}

function createCollection(state: CatalogState, name: string, given: Value): boolean {
  const settings = readSettings(given);
  const known = state.collections.get(name)?.settings;
  if (known === undefined) {
    create(state, name).settings = settings;
    return true;
  }
  const isSame = given === undefined || equalValues(known as never, settings as never);
  if (isSame) return false;
  throw new ValidationError(`Cannot make "${name}": it is there already, with other settings`, {
    remedy: "Settings hold until the collection is dropped: copy its documents into a new one",
    fields: { collection: name },
  });
}

function nextIds(state: CatalogState, request: Fields): readonly number[] {
  const name = nameOf(request["collection"]);
  const count = request["count"];
  const store = state.collections.get(name);
  const isCount = typeof count === "number" && Number.isSafeInteger(count);
  if (!isCount || count < 1 || count > OPERATIONS_PER_REQUEST_MAX) {
    throw new ValidationError(`Cannot give out ids: 1 to ${OPERATIONS_PER_REQUEST_MAX} at a time`);
  }
  const ids = store?.settings.ids === "autoIncrement" ? store.takeIds(count) : undefined;
  if (ids !== undefined) return ids;
  throw new ValidationError(`Cannot give out ids of "${name}": it makes none, or has no more`);
}

/** A text, or an empty one: what is no text must not be asked to make one of itself. */
function textOf(value: Value): string {
  return typeof value === "string" ? value : "";
}

function nameOf(value: Value): string {
  if (typeof value === "string" && value.length <= COLLECTION_NAME_SIZE_MAX) {
    encodeCollectionName(value);
    return value;
  }
  throw new ValidationError("Cannot change the catalog: the collection's name is missing");
}

function create(state: CatalogState, name: string): CollectionStore {
  if (state.collections.size >= COLLECTIONS_MAX) {
    throw new ValidationError(`Cannot create more than ${COLLECTIONS_MAX} collections`);
  }
  const store = state.make(name);
  state.collections.set(name, store);
  return store;
}

function createIndex(
  store: CollectionStore,
  definition: IndexDefinition,
  sequence: number,
): boolean {
  const known = store.indexes.get(definition.name);
  if (known !== undefined) {
    const isSame = equalValues(known.definition as never, definition as never);
    if (isSame) return false;
    throw new QueryError(`Cannot make index "${definition.name}": another one has that name`, {
      fields: { collection: store.name, index: definition.name },
    });
  }
  if (store.indexes.count >= INDEXES_MAX) {
    throw new ValidationError(`Cannot make more than ${INDEXES_MAX} indexes of a collection`);
  }
  store.addIndex(definition, sequence - 1);
  return true;
}
