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
import { ATTEMPTS_MAX } from "../../base/timing.ts";
import { type Fields, fieldOf } from "../../base/value.ts";
import { encodeCbor } from "../../protocol/encoding/cbor.ts";
import type { DocumentOperation } from "../../protocol/encoding/command.ts";
import { type DocumentId, encodeKey } from "../../protocol/encoding/document_key.ts";
import { isOperatorUpdate, type UpdateOperators } from "../../query/update.ts";
import type { Client } from "../connection/client.ts";
import { begunDocument } from "./changed_document.ts";
import type { CollectionRules } from "./collection_rules.ts";
import type { CollectionWriter } from "./collection_writer.ts";
import type { DecodedResult } from "./decoded_results.ts";
import { fieldPaths, type WireQuery, wireFilter } from "./query_client.ts";

/** Documents that a search takes in after a miss: other clients may want the first one, too. */
const CANDIDATES = 100;

/** The collection, as far as it is needed here. */
export interface FoundChangesParts {
  readonly name: string;
  readonly idField: string;
  readonly writer: CollectionWriter;
  readonly rules: CollectionRules;
  client(): Client | Promise<Client>;
  /** Documents that match, as a linearizable read gives them. */
  search(query: WireQuery): Promise<readonly Versioned<Fields>[]>;
}

/** How a document is chosen. */
interface Choice<T> {
  readonly filter: Query<T>;
  readonly sort?: object | undefined;
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
    const { sort, upsert = false, returnDocument = "after" } = options;
    const isBefore = returnDocument === "before";
    return this.#attempt<T | undefined>(
      { filter, sort, isWhole: isBefore },
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
    const given = fieldOf(replacement as Fields, idField);
    return this.#attempt<UpdateResult>(
      { filter, isWhole: false },
      async ({ document, version }) => {
        const id = fieldOf(document, idField);
        if (given !== undefined && given !== null && given !== id) {
          throw new ValidationError(`Cannot change the id of a document in "${name}"`);
        }
        const whole = { ...replacement, [idField]: id };
        const how = { ifVersion: version, keepsIds: true };
        const isDone = await unlessChanged(() => writer.put("PUT", [whole], how));
        return isDone && { value: { matched: 1, modified: 1 } };
      },
      async () => {
        if (!isUpsert) return { value: { matched: 0, modified: 0 } };
        const begun = fieldOf(begunDocument(filter), idField);
        const id = given ?? begun ?? (await this.#parts.rules.newId(name));
        const whole = { ...replacement, [idField]: id };
        const isDone = await unlessChanged(() => writer.put("PUT", [whole], { ifVersion: 0 }));
        const upsertedId = id as DocumentId;
        return isDone && { value: { matched: 0, modified: 0, upsertedId } };
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
   * TransactionConflictError when others always come first, and with DuplicateKeyError when a
   * document is in the way that does not match.
   */
  async #attempt<R>(
    { filter, sort, isWhole }: Choice<T>,
    change: (found: Versioned<Fields>) => Promise<Outcome<R> | undefined>,
    none: () => Promise<Outcome<R> | undefined>,
  ): Promise<R> {
    const { idField, name } = this.#parts;
    const projection = isWhole ? undefined : ({ [idField]: 1 } as const);
    let misses = 0;
    for (let attempt = 0; attempt < ATTEMPTS_MAX.update; attempt += 1) {
      const limit = attempt === 0 || sort !== undefined ? 1 : CANDIDATES;
      const query = { filter, limit, projection, ...(sort && { sort: sort as never }) };
      const candidates = await this.#parts.search(query);
      const { random } = (await this.#parts.client()).platform;
      const found = candidates[candidates.length > 1 ? random.below(candidates.length) : 0];
      const outcome = found === undefined ? await none() : await change(found);
      if (outcome !== undefined) return outcome.value;
      misses += found === undefined ? 1 : 0;
      if (misses > 2) {
        throw new DuplicateKeyError(
          `Cannot make the document in "${name}": one with its id is there, and does not match`,
        );
      }
    }
    throw new TransactionConflictError(
      `Cannot update in "${name}": others change the same documents all the time`,
    );
  }

  #changeOf({ document }: Versioned<Fields>, change: Change<T>, filter: Query<T>) {
    const id = fieldOf(document, this.#parts.idField) as DocumentId;
    return this.#parts.writer.changeOf(id, change as object, { filter });
  }

  /** The result of an operation; undefined when its document does not match any more. */
  async #write(operation: DocumentOperation): Promise<Outcome<T | undefined> | undefined> {
    return unlessChanged(async () => {
      const { results, version } = await this.#parts.writer.write([operation]);
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

/** The result of a write; undefined when its `ifVersion` did not hold. */
async function unlessChanged<R>(write: () => Promise<R>): Promise<R | undefined> {
  try {
    return await write();
  } catch (error) {
    if (error instanceof VersionConflictError) return undefined;
    throw error;
  }
}
