/**
 * Documents, and what transactions want to make of them: what the memory and the file adapter have
 * in common.
 *
 * @module
 */

import { ValidationError } from "../base/errors.ts";
import { orderKey } from "../base/order_key.ts";
import type { Value } from "../base/value.ts";
import { decodeUntrustedCbor, encodeCbor } from "../protocol/encoding/cbor.ts";
import type { ChangeRecord } from "./itransactional_storage_adapter.ts";

/** One change as it is kept: what the document is to be; without `document` it is removed. */
export interface StagedChange {
  readonly collection: string;
  readonly key: unknown;
  readonly document?: unknown;
}

/** Committed documents as bytes, and staged changes by transaction. */
export class StagedChanges {
  readonly #documents = new Map<string, { readonly place: StagedChange; bytes: Uint8Array }>();
  readonly #staged = new Map<string, StagedChange[]>();
  readonly #prepared = new Set<string>();
  /** Documents of prepared transactions, and by which one. */
  readonly #locks = new Map<string, string>();

  get(collection: string, key: unknown): unknown {
    const found = this.#documents.get(nameOf({ collection, key }));
    return found === undefined ? undefined : decodeUntrustedCbor(found.bytes);
  }

  add(transactionId: string, { collection, key, type, newValue }: ChangeRecord): void {
    if (this.#prepared.has(transactionId)) {
      throw new ValidationError(`Cannot write in transaction ${transactionId}: it is prepared`);
    }
    const document = type === "delete" ? undefined : copy(newValue);
    const change = { collection, key, ...(document === undefined ? {} : { document }) };
    const staged = this.#staged.get(transactionId) ?? [];
    staged.push(change);
    this.#staged.set(transactionId, staged);
  }

  /** False when a document is in another prepared transaction, or nothing is known of this one. */
  prepare(transactionId: string): boolean {
    const staged = this.#staged.get(transactionId);
    if (staged === undefined) return false;
    const names = staged.map(nameOf);
    if (names.some((name) => (this.#locks.get(name) ?? transactionId) !== transactionId)) {
      return false;
    }
    for (const name of names) this.#locks.set(name, transactionId);
    this.#prepared.add(transactionId);
    return true;
  }

  /** The intended changes of a transaction. */
  changesOf(transactionId: string): readonly StagedChange[] {
    return this.#staged.get(transactionId) ?? [];
  }

  /** A transaction that was found prepared. */
  restorePrepared(transactionId: string, changes: readonly StagedChange[]): void {
    this.#staged.set(transactionId, [...changes]);
    this.prepare(transactionId);
  }

  finalize(transactionId: string): void {
    if (this.#prepared.has(transactionId)) this.put(this.changesOf(transactionId));
    this.drop(transactionId);
  }

  put(changes: readonly StagedChange[]): void {
    for (const change of changes) {
      const name = nameOf(change);
      if (change.document === undefined) this.#documents.delete(name);
      else {
        const bytes = encodeCbor(change.document).slice();
        this.#documents.set(name, { place: { ...change, document: undefined }, bytes });
      }
    }
  }

  drop(transactionId: string): void {
    for (const change of this.changesOf(transactionId)) {
      const name = nameOf(change);
      if (this.#locks.get(name) === transactionId) this.#locks.delete(name);
    }
    this.#staged.delete(transactionId);
    this.#prepared.delete(transactionId);
  }

  preparedIds(): readonly string[] {
    return [...this.#prepared];
  }

  /** All committed documents. */
  all(): readonly StagedChange[] {
    return [...this.#documents.values()].map(({ place, bytes }) => ({
      ...place,
      document: decodeUntrustedCbor(bytes),
    }));
  }
}

function copy(value: unknown): unknown {
  return decodeUntrustedCbor(encodeCbor(value).slice());
}

function nameOf({ collection, key }: { collection: string; key: unknown }): string {
  return `${orderKey(collection)}${orderKey(key as Value)}`;
}
