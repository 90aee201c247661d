/**
 * Changes of documents that a query finds: a search, then a write that holds only if the
 * document still matches, or still has the version that was read. Where another write came first,
 * the search begins anew.
 *
 * @module
 */

import type { Change } from "../../api/change.ts";
import type {
  ChangeOptions,
  FindOneAndUpdateOptions,
  Item,
  NewDocument,
  UpdateResult,
  Versioned,
} from "../../api/collection.ts";
import type { Query } from "../../api/query.ts";
import {
  DuplicateKeyError,
  TransactionConflictError,
  ValidationError,
  VersionConflictError,
} from "../../base/errors.ts";
import { ATTEMPTS_MAX, BACKOFF_MS } from "../../base/timing.ts";
import { type Fields, fieldOf, isFields } from "../../base/value.ts";
import { sleep } from "../../platform/clock.ts";
import { encodeCbor } from "../../protocol/encoding/cbor.ts";
import type { DocumentOperation } from "../../protocol/encoding/command.ts";
import { type DocumentId, encodeKey } from "../../protocol/encoding/document_key.ts";
import { isOperatorUpdate, type UpdateOperators } from "../../query/update.ts";
import type { Client } from "../connection/client.ts";
import { begunDocument } from "./changed_document.ts";
import type { CollectionRules } from "./collection_rules.ts";
import { type CollectionWriter, copyOf } from "./collection_writer.ts";
import type { DecodedResult } from "./decoded_results.ts";
import { fieldPaths, type WireQuery, wireFilter } from "./query_client.ts";

/** Documents that a search takes in, more with each miss. */
const CANDIDATES_PER_ATTEMPT = 20;
const CANDIDATES_MAX = 200;
/** Times that a document may be neither found nor made. */
const MISSES_MAX = 2;

/** The collection, as far as it is needed here. */
export interface FoundChangesParts {
  readonly name: string;
  readonly idField: string;
  readonly writer: CollectionWriter;
  readonly rules: CollectionRules;
  /** Longest time for all attempts, in milliseconds; that of a request unless set. */
  readonly timeoutMs: number | undefined;
  client(): Client | Promise<Client>;
  /** Documents that match, as a linearizable read gives them. */
  search(query: WireQuery): Promise<readonly Versioned<Fields>[]>;
}

/** How a document is chosen. */
interface Choice<T> {
  readonly filter: Query<T>;
  readonly sort?: object | undefined;
  readonly collation?: object | undefined;
  /** Whether more than the id is needed. */
  readonly isWhole: boolean;
}

/** What one attempt made of it. */
interface Outcome<R> {
  readonly value: R;
}

/** Changes of one collection. */
export class FoundChanges<T extends Item> {
  readonly #parts: FoundChangesParts;

  constructor(parts: FoundChangesParts) {
    this.#parts = parts;
  }

  updateOne(filter: Query<T>, change: Change<T>, isUpsert: boolean): Promise<UpdateResult> {
    return this.#attempt<UpdateResult>(
      { filter, isWhole: false },
      async (found) => {
        const isDone = await this.#write(this.#changeOf(found, change, filter));
        return isDone === undefined ? undefined : { value: { matched: 1, modified: 1 } };
      },
      async () => {
        if (!isUpsert) return { value: { matched: 0, modified: 0 } };
        const made = await this.#upsert(filter, change);
        return made && { value: { matched: 0, modified: 0, upsertedId: made.id } };
      },
    );
  }

  findOneAndUpdate(
    filter: Query<T>,
    change: Change<T>,
    options: FindOneAndUpdateOptions<T>,
  ): Promise<T | undefined> {
    const { sort, collation, upsert = false, returnDocument = "after" } = options;
    const isBefore = returnDocument === "before";
    return this.#attempt<T | undefined>(
      { filter, sort, collation, isWhole: isBefore },
      async (found) => {
        const changing = this.#changeOf(found, change, filter);
        const { document, version: ifVersion } = found;
        if (!isBefore) return this.#write({ ...changing, returnDocument: true });
        return (await this.#write({ ...changing, ifVersion })) && { value: document as T };
      },
      async () => {
        const made = upsert ? await this.#upsert(filter, change) : { document: undefined };
        return made && { value: isBefore ? undefined : (made.document as T | undefined) };
      },
    );
  }

  replaceOne(
    filter: Query<T>,
    replacement: NewDocument<T>,
    isUpsert: boolean,
  ): Promise<UpdateResult> {
    const { idField, writer, name } = this.#parts;
    checkReplacement(replacement, name);
    const given = fieldOf(replacement as Fields, idField);
    return this.#attempt<UpdateResult>(
      { filter, isWhole: false },
      async ({ document, version }) => {
        const id = fieldOf(document, idField);
        if (given !== undefined && given !== null && given !== id) {
          throw new ValidationError(`Cannot change the id of a document in "${name}"`);
        }
        const whole = { ...replacement, [idField]: id };
        const how = { ifVersion: version, keepsIds: true, isConditional: true };
        const isDone = await unlessChanged(() => writer.put("PUT", [whole], how));
        return isDone && { value: { matched: 1, modified: 1 } };
      },
      async () => {
        if (!isUpsert) return { value: { matched: 0, modified: 0 } };
        const begun = fieldOf(begunDocument(filter), idField);
        const id = given ?? begun ?? (await this.#parts.rules.newId(name));
        const whole = { ...replacement, [idField]: id };
        const made = await unlessChanged(() =>
          writer.put("PUT", [whole], { ifVersion: 0, isConditional: true }),
        );
        // A validator may have given it another id.
        const upsertedId = made && (fieldOf(copyOf<Fields>(made), idField) as DocumentId);
        return made && { value: { matched: 0, modified: 0, upsertedId: upsertedId as DocumentId } };
      },
    );
  }

  /** Ids of all documents that match. */
  async ids(filter: Query<T>): Promise<DocumentId[]> {
    const { idField, search } = this.#parts;
    const found = await search({ filter, projection: { [idField]: 1 } });
    return found.map(({ document }) => document[idField] as DocumentId);
  }

  /** Changes all that match and still do when it is their turn, in batches. */
  async changeAll(
    filter: Query<T>,
    change: Change<T>,
    { merge, returnDocument }: ChangeOptions & { readonly returnDocument: boolean },
  ): Promise<DecodedResult[]> {
    const { writer } = this.#parts;
    const operations = (await this.ids(filter)).map((id) => {
      return { ...writer.changeOf(id, change as object, { filter, merge }), returnDocument };
    });
    return writer.writeAll(operations);
  }

  /** Removes all that match and still do when it is their turn, in batches. */
  async removeAll(filter: Query<T>, returnDocument: boolean): Promise<DecodedResult[]> {
    const document = encodeCbor({ filter: wireFilter(filter) }).slice();
    const operations = (await this.ids(filter)).map((id): DocumentOperation => {
      return { kind: "REMOVE", key: encodeKey(id), document, returnDocument };
    });
    return this.#parts.writer.writeAll(operations);
  }

  deleteOne(filter: Query<T>): Promise<boolean> {
    const document = encodeCbor({ filter: wireFilter(filter) }).slice();
    return this.#attempt<boolean>(
      { filter, isWhole: false },
      async (found) => {
        const key = encodeKey(fieldOf(found.document, this.#parts.idField) as DocumentId);
        const isDone = await this.#write({ kind: "REMOVE", key, document });
        return isDone && { value: true };
      },
      async () => ({ value: false }),
    );
  }

  /**
   * Runs `change` on a found document, or `none`, until one of them has an outcome. Rejects with
   * TransactionConflictError when others came first until the time was over, and with what was in
   * the way of a new document that is not found.
   */
  async #attempt<R>(
    { filter, sort, collation, isWhole }: Choice<T>,
    change: (found: Versioned<Fields>) => Promise<Outcome<R> | undefined>,
    none: () => Promise<Outcome<R> | undefined>,
  ): Promise<R> {
    const { idField, name } = this.#parts;
    const projection = isWhole ? undefined : ({ [idField]: 1 } as const);
    const client = await this.#parts.client();
    const { clock, random } = client.platform;
    const endMs = clock.nowMs() + (this.#parts.timeoutMs ?? client.timeoutMs);
    let misses = 0;
    for (let attempt = 0; ; attempt += 1) {
      // Other clients may want the first one, too: with each miss more of the next ones are tried.
      const limit = Math.min(1 + attempt * CANDIDATES_PER_ATTEMPT, CANDIDATES_MAX);
      const order = { ...(sort && { sort: sort as never }), collation };
      const query = { filter, limit, projection, ...order };
      const candidates = await this.#parts.search(query);
      const found = candidates[candidates.length > 1 ? random.below(candidates.length) : 0];
      try {
        const outcome = found === undefined ? await none() : await change(found);
        if (outcome !== undefined) return outcome.value;
      } catch (error) {
        // A unique index has a document that was made meanwhile: it may be the wanted one.
        const isMade = found === undefined && error instanceof DuplicateKeyError;
        if (!isMade || misses > 1) throw error;
      }
      misses += found === undefined ? 1 : 0;
      if (misses > MISSES_MAX) {
        throw new DuplicateKeyError(
          `Cannot make the document in "${name}": one with its id is there, and does not match`,
        );
      }
      if (attempt >= ATTEMPTS_MAX.update && clock.nowMs() >= endMs) {
        throw new TransactionConflictError(
          `Cannot update in "${name}": others change the same documents all the time`,
        );
      }
      const { first, max } = BACKOFF_MS.transaction;
      await sleep(clock, random.below(Math.min(max, first * 2 ** Math.min(attempt, 10))));
    }
  }

  #changeOf({ document }: Versioned<Fields>, change: Change<T>, filter: Query<T>) {
    const id = fieldOf(document, this.#parts.idField) as DocumentId;
    return this.#parts.writer.changeOf(id, change as object, { filter });
  }

  /** The result of an operation; undefined when its document does not match any more. */
  async #write(operation: DocumentOperation): Promise<Outcome<T | undefined> | undefined> {
    return unlessChanged(async () => {
      const { results, version } = await this.#parts.writer.write([operation], {
        isConditional: true,
      });
      const isDone = version > 0 || results?.[0]?.found === true;
      return isDone ? { value: results?.[0]?.document as T | undefined } : undefined;
    });
  }

  /** Makes the document that an update asks for; undefined when there is one meanwhile. */
  async #upsert(
    filter: Query<T>,
    change: Change<T>,
  ): Promise<{ readonly id: DocumentId; readonly document: unknown } | undefined> {
    const { idField, rules, name } = this.#parts;
    const begun = begunDocument(filter);
    const given = begun[idField] as DocumentId | undefined;
    const id = given ?? (await rules.newId(name));
    const insert = { [idField]: id, ...begun };
    const fields = change as UpdateOperators;
    const update = isOperatorUpdate(fields) ? fields : { $set: fieldPaths(fields) };
    const document = encodeCbor({ update, idField, insert }).slice();
    const operation = { kind: "UPDATE", key: encodeKey(id), document, ifVersion: 0 } as const;
    const made = await this.#write({ ...operation, returnDocument: true });
    return made && { id, document: made.value };
  }
}

/** Throws ValidationError for a replacement that is no document: spread, it would be empty. */
export function checkReplacement(replacement: unknown, collection: string): void {
  const isDocument = isFields(replacement) && isPlainObject(replacement);
  if (!isDocument) {
    throw new ValidationError(
      `Cannot replace a document in "${collection}": a document is an object`,
    );
  }
  const operator = Object.keys(replacement).find((name) => name.startsWith("$"));
  if (operator === undefined) return;
  throw new ValidationError(
    `Cannot replace a document in "${collection}": "${operator}" changes one`,
    {
      remedy: "Use updateOne for operators",
    },
  );
}

function isPlainObject(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** The result of a write; undefined when its `ifVersion` did not hold. */
async function unlessChanged<R>(write: () => Promise<R>): Promise<R | undefined> {
  try {
    return await write();
  } catch (error) {
    if (error instanceof VersionConflictError) return undefined;
    throw error;
  }
}
