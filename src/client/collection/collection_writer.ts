/**
 * The writes of a collection: operations to bytes, by the rules of the collection.
 *
 * @module
 */

import { EMPTY_BYTES } from "../../base/bytes.ts";
import { ValidationError, WrongModeError } from "../../base/errors.ts";
import { OPERATIONS_PER_REQUEST_MAX } from "../../base/limits.ts";
import { ATTEMPTS_MAX, POLL_INTERVAL_MS } from "../../base/timing.ts";
import { type Fields, isFields } from "../../base/value.ts";
import { sleep } from "../../platform/clock.ts";
import { decodeCbor, encodeCbor } from "../../protocol/encoding/cbor.ts";
import {
  type CollectionOperations,
  type DocumentOperation,
  encodeCollectionName,
  writeDocumentsCommand,
} from "../../protocol/encoding/command.ts";
import { type DocumentId, encodeKey } from "../../protocol/encoding/document_key.ts";
import {
  ACKNOWLEDGEMENTS,
  type Acknowledgement,
  FLAG_CONDITIONAL,
} from "../../protocol/wire/client_message.ts";
import { isOperatorUpdate } from "../../query/update.ts";
import type { Client } from "../connection/client.ts";
import type { ClientRequest } from "../connection/client_options.ts";
import type { Answer } from "../connection/pending_requests.ts";
import type { CollectionRules } from "./collection_rules.ts";
import { batchesOf, type DecodedResult, resultsOf } from "./decoded_results.ts";
import { fieldPaths, wireFilter } from "./query_client.ts";

/** Documents as they were written. */
export interface WrittenDocuments {
  /** Version of the first. */
  readonly version: number;
  readonly operations: readonly DocumentOperation[];
}

/** How a request is written. */
export interface WriteHow {
  readonly ack?: Acknowledgement | undefined;
  /** Conditions on versions hold for the node that takes it: of our own, not of a caller's. */
  readonly isConditional?: boolean;
}

/** What a request gave. */
export interface WriteAnswer {
  /** Of a single write; 0 where it met no document. */
  readonly version: number;
  readonly results: DecodedResult[] | undefined;
}

/** Writes of one handle. */
export class CollectionWriter {
  readonly #name: string;
  readonly #nameBytes: Uint8Array;
  readonly #backend: { client(): Client | Promise<Client>; readonly rules: CollectionRules };
  readonly #idField: string;
  readonly #timeoutMs: number | undefined;
  readonly #ack: Acknowledgement | undefined;

  constructor(
    name: string,
    backend: { client(): Client | Promise<Client>; readonly rules: CollectionRules },
    options: {
      readonly idField: string;
      readonly timeoutMs: number | undefined;
      readonly ack?: Acknowledgement | undefined;
    },
  ) {
    this.#name = name;
    this.#nameBytes = encodeCollectionName(name);
    this.#backend = backend;
    this.#idField = options.idField;
    this.#timeoutMs = options.timeoutMs;
    this.#ack = options.ack;
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
    options: WriteHow & {
      readonly ifVersion?: number | undefined;
      readonly keepsIds?: boolean;
    } = {},
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
      return { version: (await this.write(operations, options)).version, operations };
    } catch (error) {
      const isSeen = operations[0]?.isChecked === true;
      if (isSeen || !(await rules.learnsValidator(this.#name, error))) throw error;
      return this.put(kind, documents, options);
    }
  }

  /** One request. */
  async write(operations: readonly DocumentOperation[], how: WriteHow = {}): Promise<WriteAnswer> {
    for (const { ifVersion } of operations) {
      if (ifVersion === undefined || (Number.isSafeInteger(ifVersion) && ifVersion >= 0)) continue;
      throw new ValidationError(`Cannot use ifVersion ${ifVersion}: it is a whole number`);
    }
    const ack = how.ack ?? this.#ack;
    if (ack !== undefined && !ACKNOWLEDGEMENTS.includes(ack)) {
      throw new ValidationError(
        `Cannot wait for "${ack}": ack is one of ${ACKNOWLEDGEMENTS.join(", ")}`,
      );
    }
    const client = await this.#backend.client();
    const { rules } = this.#backend;
    // Where no session can be opened, a node may take the write all the same.
    const isInDoubt = !client.askForSession() || ack !== undefined;
    if (isInDoubt && !rules.isLearned(this.#name)) {
      await rules.look(this.#name, this.#timeoutMs ?? client.timeoutMs);
    }
    // The mode decides whether the call is one: a collection that is to come into being has none.
    if (ack !== undefined && !rules.isLearned(this.#name)) await rules.make(this.#name);
    return this.#send(operations, { ...how, ack }, { client, attempts: ATTEMPTS_MAX.mode });
  }

  #send(
    operations: readonly DocumentOperation[],
    how: WriteHow,
    { client, attempts }: { readonly client: Client; readonly attempts: number },
  ): Promise<WriteAnswer> {
    const write = { collection: this.#nameBytes, operations, timeoutMs: this.#timeoutMs };
    const { rules } = this.#backend;
    const isByAll = rules.isByAll(this.#name);
    if (!isByAll && how.ack === "all") throw onlyMajority(this.#name);
    return new Promise((resolve, reject) => {
      client.submit(
        isByAll ? writeRequest({ ...write, ...how }) : documentsRequest(write),
        (answer) => resolve(answerOf(answer)),
        (error) => {
          if (!(error instanceof WrongModeError) || attempts <= 1) return reject(error);
          const left = { client, attempts: attempts - 1 };
          const send = (): Promise<WriteAnswer> => this.#send(operations, how, left);
          this.#again(client, error, send).then(resolve, reject);
        },
      );
    });
  }

  /** A collection was taken for one of the other mode: nothing was done yet. */
  async #again(
    client: Client,
    error: WrongModeError,
    send: () => Promise<WriteAnswer>,
  ): Promise<WriteAnswer> {
    if (!(await this.#backend.rules.learnsMode(this.#name, error))) throw error;
    await sleep(client.platform.clock, POLL_INTERVAL_MS.mode);
    return send();
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

/** The same as a request that any node takes. */
export function writeRequest(write: DocumentsWrite & WriteHow): ClientRequest {
  const { ack, isConditional } = write;
  const number = ack === undefined ? 0 : 1 + ACKNOWLEDGEMENTS.indexOf(ack);
  return {
    kind: "WRITE",
    target: "any",
    timeoutMs: write.timeoutMs,
    write: (writer, identity) => {
      writer.u8(number).u8(isConditional === true ? FLAG_CONDITIONAL : 0);
      writeDocumentsCommand(writer, identity, write);
    },
  };
}

function answerOf(answer: Answer): WriteAnswer {
  const results = resultsOf(answer);
  const [first] = results ?? [];
  return { version: first?.found === true ? first.version : answer.version, results };
}

function onlyMajority(collection: string): ValidationError {
  return new ValidationError(
    `Cannot wait for all nodes: "${collection}" is written by the leader, and a majority is what it waits for`,
    { fields: { collection } },
  );
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
