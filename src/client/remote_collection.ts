/**
 * A collection over a {@link Client}: values to bytes and back.
 *
 * @module
 */

import { ByteReader, EMPTY_BYTES } from "../base/bytes.ts";
import { ProtocolError, ValidationError } from "../base/errors.ts";
import { decodeUntrustedCbor, encodeCbor } from "../protocol/cbor.ts";
import {
  type ReadLevel,
  readLevelNumber,
  readOperationResults,
} from "../protocol/client_message.ts";
import { type DocumentOperation, encodeCollectionName } from "../protocol/command.ts";
import { type DocumentId, encodeKey } from "../protocol/document_key.ts";
import type { Client } from "./client.ts";
import type { Collection, CollectionOptions, Item, Versioned, WriteOptions } from "./database.ts";
import type { Answer } from "./pending_requests.ts";

/** Where a collection gets its client and ids from. */
export interface CollectionBackend {
  /** Waits until the database is open. */
  client(): Client | Promise<Client>;
  /** An id for a document without one. */
  newId(): string;
}

interface DecodedResult {
  readonly found: boolean;
  readonly version: number;
  readonly document: unknown;
}

/** One collection of a cluster. */
export class RemoteCollection<T extends Item> implements Collection<T> {
  readonly name: string;
  readonly #backend: CollectionBackend;
  readonly #nameBytes: Uint8Array;
  readonly #idField: string;
  readonly #read: ReadLevel;
  readonly #timeoutMs: number | undefined;

  constructor(name: string, backend: CollectionBackend, options: CollectionOptions = {}) {
    this.name = name;
    this.#backend = backend;
    this.#nameBytes = encodeCollectionName(name);
    this.#idField = options.idField ?? "id";
    this.#read = options.read ?? "linearizable";
    this.#timeoutMs = options.timeoutMs;
  }

  async insert(document: T): Promise<T> {
    const operation = this.#operation("INSERT", document);
    await this.#write([operation]);
    return copyOf(operation);
  }

  create(document: T): Promise<T> {
    return this.insert(document);
  }

  async insertMany(documents: readonly T[]): Promise<T[]> {
    if (documents.length === 0) return [];
    const prepared = documents.map((document) => this.#operation("INSERT", document));
    await this.#write(prepared);
    return prepared.map((operation) => copyOf<T>(operation));
  }

  async put(document: T, options: WriteOptions = {}): Promise<number> {
    const operation = this.#operation("PUT", document);
    return (await this.#write([{ ...operation, ifVersion: options.ifVersion }])).version;
  }

  async save(document: T): Promise<T> {
    const operation = this.#operation("PUT", document);
    await this.#write([operation]);
    return copyOf(operation);
  }

  async update(
    id: DocumentId,
    change: Partial<T>,
    options: WriteOptions = {},
  ): Promise<T | undefined> {
    const changed = (change as Readonly<Record<string, unknown>>)[this.#idField];
    if (changed !== undefined && changed !== id) {
      throw new ValidationError(`Cannot change the id of a document in "${this.name}"`);
    }
    const document = encodeCbor(change).slice();
    const { ifVersion } = options;
    const operation = {
      kind: "MERGE",
      key: encodeKey(id),
      document,
      ifVersion,
      returnDocument: true,
    } as const;
    return this.#document(await this.#write([operation]))?.document;
  }

  updateWithId(id: DocumentId, change: Partial<T>): Promise<T | undefined> {
    return this.update(id, change);
  }

  async remove(id: DocumentId, options: WriteOptions = {}): Promise<T | undefined> {
    const { ifVersion } = options;
    const key = encodeKey(id);
    const operation = {
      kind: "REMOVE",
      key,
      document: EMPTY_BYTES,
      ifVersion,
      returnDocument: true,
    } as const;
    return this.#document(await this.#write([operation]))?.document;
  }

  removeWithId(id: DocumentId): Promise<T | undefined> {
    return this.remove(id);
  }

  async delete(id: DocumentId, options: WriteOptions = {}): Promise<boolean> {
    const { ifVersion } = options;
    const operation = {
      kind: "REMOVE",
      key: encodeKey(id),
      document: EMPTY_BYTES,
      ifVersion,
    } as const;
    const { results } = await this.#write([operation]);
    return results === undefined || results[0]?.found === true;
  }

  async findById(
    id: DocumentId,
    options: { readonly read?: ReadLevel } = {},
  ): Promise<T | undefined> {
    return (await this.findVersioned(id, options))?.document;
  }

  async findVersioned(
    id: DocumentId,
    options: { readonly read?: ReadLevel } = {},
  ): Promise<Versioned<T> | undefined> {
    const key = encodeKey(id);
    const client = await this.#backend.client();
    const level = options.read ?? this.#read;
    return new Promise((resolve, reject) => {
      client.submit(
        {
          kind: "READ",
          target: level === "stale" ? "any" : "leader",
          timeoutMs: this.#timeoutMs,
          write: (writer) => {
            writer.u8(readLevelNumber(level)).u8(this.#nameBytes.byteLength);
            writer.raw(this.#nameBytes).raw(key);
          },
        },
        (answer) => resolve(this.#document({ results: resultsOf(answer) })),
        reject,
      );
    });
  }

  async count(options: { readonly read?: ReadLevel } = {}): Promise<number> {
    const client = await this.#backend.client();
    const level = options.read ?? this.#read;
    return new Promise((resolve, reject) => {
      client.submit(
        {
          kind: "COUNT",
          target: level === "stale" ? "any" : "leader",
          timeoutMs: this.#timeoutMs,
          write: (writer) => {
            writer.u8(readLevelNumber(level)).u8(this.#nameBytes.byteLength).raw(this.#nameBytes);
          },
        },
        (answer) => resolve(new ByteReader(answer.payload ?? EMPTY_BYTES).u64()),
        reject,
      );
    });
  }

  /** The operation that writes a document, under an id of its own if it has none. */
  #operation(kind: "INSERT" | "PUT", document: T): DocumentOperation {
    if (typeof document !== "object" || document === null || Array.isArray(document)) {
      throw new ValidationError(`Cannot write into "${this.name}": a document is an object`);
    }
    const given = (document as Readonly<Record<string, unknown>>)[this.#idField];
    const id = given ?? this.#backend.newId();
    const whole = { ...document, [this.#idField]: id };
    return { kind, key: encodeKey(id as DocumentId), document: encodeCbor(whole).slice() };
  }

  async #write(
    operations: readonly DocumentOperation[],
  ): Promise<{ version: number; results: DecodedResult[] | undefined }> {
    for (const { ifVersion } of operations) {
      if (ifVersion === undefined || (Number.isSafeInteger(ifVersion) && ifVersion >= 0)) continue;
      throw new ValidationError(`Cannot use ifVersion ${ifVersion}: it is a whole number`);
    }
    const client = await this.#backend.client();
    return new Promise((resolve, reject) => {
      client.submitWrite(
        { collection: this.#nameBytes, operations, timeoutMs: this.#timeoutMs },
        (answer) => resolve({ version: answer.version, results: resultsOf(answer) }),
        reject,
      );
    });
  }

  #document(answer: { readonly results: DecodedResult[] | undefined }): Versioned<T> | undefined {
    const result = answer.results?.[0];
    if (result?.found !== true) return undefined;
    if (result.document === undefined) {
      throw new ProtocolError("Cannot read the document: the answer carries none");
    }
    return { document: result.document as T, version: result.version };
  }
}

/** The document as it was stored, sharing nothing with what the caller gave. */
function copyOf<T>(operation: DocumentOperation): T {
  return decodeUntrustedCbor(operation.document) as T;
}

/**
 * The operations' results with decoded documents: private copies, taken while the payload is
 * valid.
 */
function resultsOf(answer: Answer): DecodedResult[] | undefined {
  if (answer.payload === undefined) return undefined;
  return readOperationResults(answer.payload).map(({ found, version, document }) => {
    return { found, version, document: document && decodeUntrustedCbor(document) };
  });
}
