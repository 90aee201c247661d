/**
 * What readers see of the collections that every node writes: their documents as their versions
 * resolve, in the stores that queries and indexes work on.
 *
 * @module
 */

import { latinText } from "../../base/order_key.ts";
import type { Fields } from "../../base/value.ts";
import type { CollectionStore } from "../../database/collection/collection_store.ts";
import { expiriesAt, expiryTime } from "../../database/collection/expiry_rule.ts";
import type { DocumentStateMachine } from "../../database/document_state_machine.ts";
import type { VersionStore } from "../../multi_master/document/version_store.ts";
import type { VisibleChange } from "../../multi_master/document/written_document.ts";
import type { MultiMaster } from "../../multi_master/multi_master.ts";
import type { CollectionId } from "../../multi_master/operation/dot.ts";
import { NO_STAMP, versionOfStamp } from "../../multi_master/operation/hybrid_clock.ts";
import type { Stamp } from "../../multi_master/operation/operation.ts";

/** Where documents come from and go to. */
export interface ShownParts {
  readonly machine: DocumentStateMachine;
  readonly store: VersionStore;
  readonly master: Pick<MultiMaster, "read" | "expire">;
}

/** Documents that are dropped at once by one index. */
const EXPIRED_AT_ONCE = 500;
const NO_KEYS: ReadonlyMap<string, Uint8Array> = new Map<string, Uint8Array>([]);

/** The stores that are kept up to date. */
export class ShownDocuments {
  readonly #parts: ShownParts;
  readonly #stores = new Map<CollectionId, CollectionStore>();
  /** Keys of the documents in conflict, by their text. */
  readonly #conflicts = new Map<CollectionId, Map<string, Uint8Array>>();

  constructor(parts: ShownParts) {
    this.#parts = parts;
  }

  /** Fills the stores that are new: of a new collection, or of a state that was replaced. */
  check(): void {
    for (const store of this.#parts.machine.collections()) {
      const { collectionId } = store;
      if (collectionId === 0 || this.#stores.get(collectionId) === store) continue;
      this.#stores.set(collectionId, store);
      this.#fill(store);
    }
  }

  /** Documents have changed, in this order; what they were changed to is on disk. */
  show(changes: readonly VisibleChange[]): void {
    for (const { collection, key, after: body, stamp, isConflict } of changes) {
      const store = this.#storeOf(collection);
      if (store === undefined) continue;
      put(store, key, { body, stamp });
      this.#noteConflict(collection, key, isConflict);
    }
  }

  /** When a document expires, in ms since 1970; undefined: never. */
  expiryOf(collection: CollectionId, document: Fields): number | undefined {
    const store = this.#stores.get(collection);
    return store && expiryTime(store.indexes, document);
  }

  /** Drops documents that have expired and that every member has, a portion of them. */
  dropExpired(wallMs: number): void {
    for (const [collection, store] of this.#stores) {
      for (const { index, beforeMs } of expiriesAt(store.indexes, wallMs)) {
        for (const location of index.before(beforeMs, EXPIRED_AT_ONCE)) {
          const key = store.key(location).slice();
          if (!this.#parts.master.expire(collection, key, wallMs)) continue;
          put(store, key, { body: undefined, stamp: undefined });
          this.#noteConflict(collection, key, false);
        }
      }
    }
  }

  /** Keys of the documents in conflict. */
  conflicts(collection: CollectionId): ReadonlyMap<string, Uint8Array> {
    return this.#conflicts.get(collection) ?? NO_KEYS;
  }

  /** Whether a document is in conflict. */
  isInConflict(collection: CollectionId, key: Uint8Array): boolean {
    return this.#conflicts.get(collection)?.has(latinText(key)) === true;
  }

  #noteConflict(collection: CollectionId, key: Uint8Array, isConflict: boolean): void {
    const known = this.#conflicts.get(collection);
    if (!isConflict) known?.delete(latinText(key));
    else if (known !== undefined) known.set(latinText(key), key);
    else this.#conflicts.set(collection, new Map([[latinText(key), key]]));
  }

  #storeOf(id: CollectionId): CollectionStore | undefined {
    const store = this.#stores.get(id);
    if (store === undefined) return undefined;
    if (this.#parts.machine.collectionOrEmpty(store.name) === store) return store;
    // Dropped, perhaps made anew under the same name.
    this.#stores.delete(id);
    return undefined;
  }

  /** What it shows already is of a state that this node has no more. */
  #fill(store: CollectionStore): void {
    const { collectionId } = store;
    this.#conflicts.delete(collectionId);
    for (const key of keysOf(store)) put(store, key, { body: undefined, stamp: undefined });
    for (const { collection, key, versions } of this.#parts.store.documents()) {
      if (collection !== collectionId) continue;
      const { body, isConflict } = this.#parts.master.read(collectionId, key, 0);
      this.#noteConflict(collectionId, key, isConflict);
      if (body !== undefined) put(store, key, { body, stamp: versions.at(-1)?.stamp });
    }
  }
}

function keysOf(store: CollectionStore): readonly Uint8Array[] {
  const frozen = store.freeze(store.changedAt);
  try {
    return [...store.frozenRecords(frozen)].map(({ key }) => key.slice());
  } finally {
    store.thaw(frozen);
  }
}

interface Shown {
  readonly body: Uint8Array | undefined;
  readonly stamp: Stamp | undefined;
}

function put(store: CollectionStore, key: Uint8Array, { body, stamp }: Shown): void {
  const range = { start: 0, end: key.byteLength };
  const hash = store.hash(key, range);
  const before = store.find(hash, key, range);
  const sequence = store.changedAt + 1;
  if (body !== undefined) {
    const bytes = new Uint8Array(key.byteLength + body.byteLength);
    bytes.set(key);
    bytes.set(body, key.byteLength);
    const version = versionOfStamp(stamp ?? NO_STAMP);
    const source = { bytes, start: 0, keyEnd: key.byteLength, end: bytes.byteLength, version };
    if (store.indexes.count === 0) store.putForGood({ hash, before }, source, sequence);
    else store.put({ hash, before }, source, sequence);
  } else if (before !== -1) store.remove(hash, before, sequence);
  store.compactStep();
}
