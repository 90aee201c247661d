/**
 * Executes operations on collections that every node writes: from the documents as this node shows
 * them it makes those that are to be written, all or none.
 *
 * @module
 */

import { QueryError, ValidationError } from "../base/errors.ts";
import { READ_SIZE_MAX, REQUEST_STEPS_MAX, RESULT_SIZE_MAX } from "../base/limits.ts";
import { latinText } from "../base/order_key.ts";
import type { RulesVersion } from "../base/rules_version.ts";
import type { Fields } from "../base/value.ts";
import { decodeCbor } from "../protocol/encoding/cbor.ts";
import { documentSizeMax } from "../protocol/encoding/collection_settings.ts";
import type { OperationCursor } from "../protocol/encoding/command.ts";
import { decodeKey, holdsKey } from "../protocol/encoding/document_key.ts";
import { compileFilter } from "../query/matcher.ts";
import type { CollectionStore } from "./collection/collection_store.ts";
import { mergeDocuments } from "./collection/merge_documents.ts";
import { lostKey, mayPass, updatedDocument } from "./operation_executor.ts";
import {
  documentTooLarge,
  duplicateKey,
  resultTooLarge,
  unchecked,
  versionConflict,
  wrongMode,
} from "./refusals.ts";

/** What became of one operation. */
export interface Effect {
  /** False: there was no document that it was meant for, and nothing is written. */
  readonly found: boolean;
  /** The document, where the operation gives it back. */
  readonly document: Uint8Array | undefined;
}

/** A document that is to be written; without a body it is removed. */
export interface Made {
  readonly collection: number;
  readonly key: Uint8Array;
  readonly body: Uint8Array | undefined;
}

/** What requests are executed with. */
export interface MastersExecutorParts {
  /** A document as this node shows it. */
  read(collection: number, key: Uint8Array): Uint8Array | undefined;
  /** The version of such a document. */
  version(collection: number, key: Uint8Array): number;
  /** Whether conditions on versions may be compared with what this node shows. */
  readonly isConditional: boolean;
  /** ms since 1970, for updates that write the time. */
  readonly nowMs: number;
  readonly rules: RulesVersion;
}

/** One request. */
export class MastersExecutor {
  readonly #parts: MastersExecutorParts;
  /** By collection and key: the last one counts. */
  readonly #made = new Map<string, Made>();
  readonly effects: Effect[] = [];
  readonly #cost = { steps: 0 };
  #readBytes = 0;
  #returnedBytes = 0;

  constructor(parts: MastersExecutorParts) {
    this.#parts = parts;
  }

  /** The documents that are to be written, each once. */
  get made(): readonly Made[] {
    return [...this.#made.values()];
  }

  /** Executes operations on one collection; throws what refuses one of them. */
  run(store: CollectionStore, cursor: OperationCursor, bytes: Uint8Array): void {
    while (cursor.next()) {
      const effect = this.#operate(store, cursor, bytes);
      this.#returnedBytes += effect.document?.byteLength ?? 0;
      if (this.#returnedBytes > RESULT_SIZE_MAX) throw resultTooLarge();
      this.effects.push(effect);
    }
  }

  #operate(store: CollectionStore, cursor: OperationCursor, bytes: Uint8Array): Effect {
    const document = bytes.subarray(cursor.documentStart, cursor.documentEnd);
    const most = documentSizeMax(store.settings);
    if (document.byteLength > most) {
      throw documentTooLarge({ name: store.name, most }, document.byteLength);
    }
    if (store.settings.validator !== "" && !mayPass(cursor)) throw unchecked(store);
    const key = bytes.slice(cursor.keyStart, cursor.keyEnd);
    const before = this.#current(store, key);
    const { ifVersion } = cursor;
    if (ifVersion !== undefined)
      this.#compare(store, key, { ifVersion, isThere: before !== undefined });
    const after = this.#after(store, cursor, { key, before, document });
    if (after === before) return { found: false, document: undefined };
    const made = after === undefined ? undefined : this.#checked(store, key, after);
    this.#made.set(nameOf(store, key), { collection: store.collectionId, key, body: made });
    return { found: true, document: cursor.returnsDocument ? (made ?? before) : undefined };
  }

  /** What is there then; `before` itself: nothing is written. */
  #after(
    store: CollectionStore,
    { kind }: OperationCursor,
    { key, before, document }: Source,
  ): Uint8Array | undefined {
    switch (kind) {
      case "INSERT":
        if (before !== undefined) throw duplicateKey(store, decodeKey(key));
        return document;
      case "PUT":
        return document;
      case "MERGE":
        return before && mergeDocuments(before, document);
      case "UPDATE": {
        const order = decodeCbor(document) as Fields;
        const current = before && this.#read(before);
        if (current !== undefined && !this.#isMeant(order["filter"], current)) return before;
        const { nowMs, rules } = this.#parts;
        return updatedDocument(order, current, { key, nowMs, rules }) ?? before;
      }
      case "REMOVE": {
        if (before === undefined || document.byteLength === 0) return undefined;
        const { filter } = decodeCbor(document) as Fields;
        return this.#isMeant(filter, this.#read(before)) ? undefined : before;
      }
      case "NONE":
        return before;
    }
  }

  /** A condition of one node's own: another node may change the document at the same time. */
  #compare(
    store: CollectionStore,
    key: Uint8Array,
    { ifVersion, isThere }: { readonly ifVersion: number; readonly isThere: boolean },
  ): void {
    const { isConditional } = this.#parts;
    if (!isConditional || this.#made.has(nameOf(store, key))) throw wrongMode(store);
    const found = isThere ? this.#parts.version(store.collectionId, key) : 0;
    if (found === ifVersion) return;
    throw versionConflict(ifVersion, found, { collection: store.name, id: decodeKey(key) });
  }

  #current(store: CollectionStore, key: Uint8Array): Uint8Array | undefined {
    const made = this.#made.get(nameOf(store, key));
    return made === undefined ? this.#parts.read(store.collectionId, key) : made.body;
  }

  /** A document that may be written; a copy. */
  #checked(store: CollectionStore, key: Uint8Array, document: Uint8Array): Uint8Array {
    const most = documentSizeMax(store.settings);
    if (document.byteLength > most) {
      throw documentTooLarge({ name: store.name, most }, document.byteLength);
    }
    const bytes = new Uint8Array(key.byteLength + document.byteLength);
    bytes.set(key);
    bytes.set(document, key.byteLength);
    const source = { bytes, start: 0, keyEnd: key.byteLength, end: bytes.byteLength };
    const found = { bytes, start: source.keyEnd, end: source.end };
    if (!holdsKey(found, { bytes, start: 0, end: source.keyEnd })) throw lostKey(store);
    const problem = store.indexProblem(source);
    if (problem !== undefined) throw problem;
    return bytes.subarray(key.byteLength);
  }

  #isMeant(filter: unknown, document: Fields): boolean {
    if (filter === undefined) return true;
    const isMatch = compileFilter(filter, this.#cost, this.#parts.rules)(document);
    if (this.#cost.steps <= REQUEST_STEPS_MAX) return isMatch;
    throw new QueryError("Cannot execute: the patterns of one request take too many steps");
  }

  #read(document: Uint8Array): Fields {
    this.#readBytes += document.byteLength;
    if (this.#readBytes <= READ_SIZE_MAX) return decodeCbor(document) as Fields;
    throw new ValidationError(
      `Cannot execute: one request reads at most ${READ_SIZE_MAX} bytes of documents`,
      { remedy: "Change fewer documents at once" },
    );
  }
}

interface Source {
  readonly key: Uint8Array;
  readonly before: Uint8Array | undefined;
  readonly document: Uint8Array;
}

function nameOf({ collectionId }: CollectionStore, key: Uint8Array): string {
  return `${collectionId} ${latinText(key)}`;
}
