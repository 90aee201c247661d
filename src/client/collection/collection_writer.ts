/**
 * The writes of a collection: operations to bytes, by the rules of the collection.
 *
 * @module
 */

import { EMPTY_BYTES } from "../../base/bytes.ts";
import { ValidationError } from "../../base/errors.ts";
import { OPERATIONS_PER_REQUEST_MAX } from "../../base/limits.ts";
import { type Fields, isFields } from "../../base/value.ts";
import { decodeCbor, encodeCbor } from "../../protocol/encoding/cbor.ts";
import {
  type CollectionOperations,
  type DocumentOperation,
  encodeCollectionName,
  writeDocumentsCommand,
} from "../../protocol/encoding/command.ts";
import { type DocumentId, encodeKey } from "../../protocol/encoding/document_key.ts";
import { isOperatorUpdate } from "../../query/update.ts";
import type { Client } from "../connection/client.ts";
import type { ClientRequest } from "../connection/client_options.ts";
import type { CollectionRules } from "./collection_rules.ts";
import { batchesOf, type DecodedResult, resultsOf } from "./decoded_results.ts";
import { fieldPaths, wireFilter } from "./query_client.ts";

/** Documents as they were written. */
export interface WrittenDocuments {
  /** Version of the first. */
  readonly version: number;
  readonly operations: readonly DocumentOperation[];
}

/** Writes of one handle. */
export class CollectionWriter {
  readonly #name: string;
  readonly #nameBytes: Uint8Array;
  readonly #backend: { client(): Client | Promise<Client>; readonly rules: CollectionRules };
  readonly #idField: string;
  readonly #timeoutMs: number | undefined;

  constructor(
    name: string,
    backend: { client(): Client | Promise<Client>; readonly rules: CollectionRules },
    options: { readonly idField: string; readonly timeoutMs: number | undefined },
  ) {
    this.#name = name;
    this.#nameBytes = encodeCollectionName(name);
    this.#backend = backend;
    this.#idField = options.idField;
    this.#timeoutMs = options.timeoutMs;
  }

  /** The operation that changes a document, if it still matches. */
  changeOf(
    id: DocumentId,
    change: object,
    { filter, merge }: { readonly filter?: object; readonly merge?: boolean | undefined },
  ): DocumentOperation {
    if (!isFields(change)) throw new ValidationError("Cannot update: the change is no object");
    const fields: Fields = change;
    const key = encodeKey(id);
    const isOperators = isOperatorUpdate(fields);
    const changed = isOperators ? undefined : fields[this.#idField];
    if (changed !== undefined && changed !== id) {
      throw new ValidationError(`Cannot change the id of a document in "${this.#name}"`);
    }
    const replaces = merge === false && !isOperators;
    if (!isOperators && filter === undefined && !replaces) {
      return { kind: "MERGE", key, document: encodeCbor(change).slice() };
    }
    const what = replaces
      ? { assign: fields }
      : { update: isOperators ? fields : { $set: fieldPaths(fields) } };
    const order = {
      ...what,
      idField: this.#idField,
      ...(filter && { filter: wireFilter(filter) }),
    };
    return { kind: "UPDATE", key, document: encodeCbor(order).slice() };
  }

  /** Executes operations in batches; gives the results of those that met a document. */
  async writeAll(operations: readonly DocumentOperation[]): Promise<DecodedResult[]> {
    const done: DecodedResult[] = [];
    const left = [...batchesOf(operations)].reverse();
    for (let batch = left.pop(); batch !== undefined; batch = left.pop()) {
      try {
        const { results, version } = await this.write(batch);
        const one = { found: version > 0, version, document: undefined };
        for (const result of results ?? [one]) if (result.found) done.push(result);
      } catch (error) {
        // Nothing of it was done: with fewer documents the bounds of a request may do.
        const isTooLarge = error instanceof ValidationError && batch.length > 1;
        if (!isTooLarge) throw error;
        const half = batch.length >> 1;
        left.push(batch.slice(half), batch.slice(0, half));
      }
    }
    return done;
  }

  /** Writes documents by the rules of the collection: one batch. */
  async put(
    kind: "INSERT" | "PUT",
    documents: readonly object[],
    options: { readonly ifVersion?: number | undefined; readonly keepsIds?: boolean } = {},
  ): Promise<WrittenDocuments> {
    checkCount(documents.length);
    const { rules } = this.#backend;
    const { ifVersion, keepsIds = false } = options;
    const collection = { name: this.#name, idField: this.#idField, keepsIds };
    const preparing = rules.prepare(collection, documents);
    const prepared = preparing instanceof Promise ? await preparing : preparing;
    const operations = prepared.map(({ key, document, isChecked }) => {
      return { kind, key, document, ifVersion, isChecked };
    });
    try {
      return { version: (await this.write(operations)).version, operations };
    } catch (error) {
      const isSeen = operations[0]?.isChecked === true;
      if (isSeen || !(await rules.learnsValidator(this.#name, error))) throw error;
      return this.put(kind, documents, options);
    }
  }

  /** One request. */
  async write(
    operations: readonly DocumentOperation[],
  ): Promise<{ version: number; results: DecodedResult[] | undefined }> {
    for (const { ifVersion } of operations) {
      if (ifVersion === undefined || (Number.isSafeInteger(ifVersion) && ifVersion >= 0)) continue;
      throw new ValidationError(`Cannot use ifVersion ${ifVersion}: it is a whole number`);
    }
    const client = await this.#backend.client();
    return new Promise((resolve, reject) => {
      client.submit(
        documentsRequest({ collection: this.#nameBytes, operations, timeoutMs: this.#timeoutMs }),
        (answer) => resolve({ version: answer.version, results: resultsOf(answer) }),
        reject,
      );
    });
  }
}

/** Throws ValidationError, before anything is encoded. */
function checkCount(count: number): void {
  if (count <= OPERATIONS_PER_REQUEST_MAX) return;
  throw new ValidationError(
    `Cannot write ${count} documents at once: a request holds 1 to ${OPERATIONS_PER_REQUEST_MAX}`,
    { remedy: "Write them in portions; each portion is written whole or not at all" },
  );
}

/**
 * The document as it was stored, sharing nothing with what the caller gave. The node has taken the
 * bytes, so they passed the gate.
 */
export function copyOf<T>({ operations }: WrittenDocuments): T {
  return decodeCbor(operations[0]?.document ?? EMPTY_BYTES) as T;
}

/** Operations on documents of one collection. */
export interface DocumentsWrite extends CollectionOperations {
  readonly timeoutMs?: number | undefined;
}

/** A DOCUMENTS command as a request. */
export function documentsRequest(write: DocumentsWrite): ClientRequest {
  return {
    kind: "COMMAND",
    target: "leader",
    timeoutMs: write.timeoutMs,
    write: (writer, identity) => writeDocumentsCommand(writer, identity, write),
  };
}
