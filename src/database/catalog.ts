/**
 * Carries out CATALOG commands: changes of collections and their indexes, by
 * name (`catalog_command.ts`).
 *
 * @module
 */

import { unreachable } from "../base/assert.ts";
import { CStoreError, NotFoundError, QueryError, ValidationError } from "../base/errors.ts";
import { COLLECTIONS_MAX, INDEXES_MAX } from "../base/limits.ts";
import type { RulesVersion } from "../base/rules_version.ts";
import { equalValues } from "../base/value.ts";
import type { ConflictConfig } from "../multi_master/operation/conflict_rule.ts";
import {
  type CatalogAnswer,
  type CatalogRequest,
  type IndexDefinition,
  readCatalogRequest,
  readIndexReady,
} from "../protocol/encoding/catalog_command.ts";
import { type CollectionSettings, readSettings } from "../protocol/encoding/collection_settings.ts";
import type { NewCollections } from "../protocol/operations/agreement_codec.ts";
import { readIndexDefinition } from "./collection/collection_index.ts";
import type { CollectionStore } from "./collection/collection_store.ts";

/** The collections that a catalog command works on. */
export interface CatalogState {
  readonly collections: Map<string, CollectionStore>;
  readonly rules: RulesVersion;
  /** How collections come into being whose settings say nothing of it. */
  readonly newCollections: NewCollections;
  /** Agrees upon a collection that every node writes; gives its number. */
  agree(rule: ConflictConfig): number;
  /** Such a collection is gone. */
  disagree(collectionId: number): void;
  /** Makes a store that is not part of the state yet. */
  make(name: string): CollectionStore;
  /** A collection is gone: nothing may remember it. */
  dropped(): void;
}

/** Executes a CATALOG command. Gives its answer, or why it is refused. */
export function executeCatalog(
  state: CatalogState,
  request: unknown,
  sequence: number,
): CatalogAnswer | CStoreError {
  try {
    const read = readCatalogRequest(request, state.rules);
    if (read.action === "nextIds") return { changed: false, ids: nextIds(state, read) };
    return { changed: change(state, read, sequence) };
  } catch (error) {
    if (error instanceof CStoreError) return error;
    throw error;
  }
}

/** All documents are in an index: it serves from now on, or is gone if it cannot be. */
export function settleIndex(state: CatalogState, request: unknown): void {
  const { collection, index } = readIndexReady(request);
  const store = state.collections.get(collection);
  // Where every node writes, the documents of one say nothing of the others'.
  store?.indexes.settle(index, { isOfState: store.collectionId === 0 });
}

function change(
  state: CatalogState,
  request: Exclude<CatalogRequest<unknown>, { readonly action: "nextIds" }>,
  sequence: number,
): boolean {
  const { collection: name } = request;
  const store = state.collections.get(name);
  switch (request.action) {
    case "createCollection":
      return createCollection(state, name, request.settings);
    case "dropCollection":
      if (store === undefined) return false;
      store.indexes.clear();
      state.collections.delete(name);
      if (store.collectionId > 0) state.disagree(store.collectionId);
      state.dropped();
      return true;
    case "createIndex": {
      const definition = readIndexDefinition(request.index, state.rules);
      return createIndex(
        store ?? create(state, name, settingsOf(state, undefined)),
        definition,
        sequence,
      );
    }
    case "dropIndex": {
      const { index } = request;
      if (store?.indexes.drop(index) === true) return true;
      throw new NotFoundError(`Cannot drop index "${index}": "${name}" has none of that name`, {
        fields: { collection: name, index },
      });
    }
    default:
      return unreachable(request);
  }
}

function createCollection(
  state: CatalogState,
  name: string,
  given: Partial<CollectionSettings> | undefined,
): boolean {
  const settings = settingsOf(state, given);
  const known = state.collections.get(name)?.settings;
  if (known === undefined) {
    create(state, name, settings);
    return true;
  }
  const isSame = given === undefined || equalValues(known as never, settings as never);
  if (isSame) return false;
  throw new ValidationError(`Cannot make "${name}": it is there already, with other settings`, {
    remedy: "Settings hold until the collection is dropped: copy its documents into a new one",
    fields: { collection: name },
  });
}

/** What was given, in the mode of new collections where it names none. */
function settingsOf(
  state: CatalogState,
  given: Partial<CollectionSettings> | undefined,
): CollectionSettings {
  const { mode, conflict } = state.newCollections;
  const wanted = given?.mode ?? mode;
  const isByAll = wanted === "MULTI_MASTER";
  return readSettings(isByAll ? { conflict, ...given, mode: wanted } : given, state.rules);
}

function nextIds(
  state: CatalogState,
  { collection: name, count }: { readonly collection: string; readonly count: number },
): readonly number[] {
  const store = state.collections.get(name);
  const ids = store?.settings.ids === "autoIncrement" ? store.takeIds(count) : undefined;
  if (ids !== undefined) return ids;
  throw new ValidationError(`Cannot give out ids of "${name}": it makes none, or has no more`, {
    fields: { collection: name },
  });
}

function create(state: CatalogState, name: string, settings: CollectionSettings): CollectionStore {
  if (state.collections.size >= COLLECTIONS_MAX) {
    throw new ValidationError(`Cannot create more than ${COLLECTIONS_MAX} collections`);
  }
  const store = state.make(name);
  store.settings = settings;
  if (settings.conflict !== undefined) store.collectionId = state.agree(settings.conflict);
  state.collections.set(name, store);
  return store;
}

function createIndex(
  store: CollectionStore,
  definition: IndexDefinition,
  sequence: number,
): boolean {
  if (store.collectionId > 0 && definition.isUnique) {
    throw new ValidationError(
      `Cannot make index "${definition.name}" unique: nodes that write apart cannot keep a value to one document`,
      {
        remedy: "Use the value as the id, or a MASTER_SLAVE collection",
        fields: { collection: store.name, index: definition.name },
      },
    );
  }
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
