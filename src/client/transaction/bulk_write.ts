/**
 * `bulkWrite`: operations of several kinds, in their order.
 *
 * @module
 */

import type { BulkOperation, BulkResult, Item } from "../../api/collection.ts";
import type { TransactionCollection } from "../../api/transaction.ts";
import { ValidationError } from "../../base/errors.ts";
import { checkCallOptions, type KnownNames } from "../../base/known_options.ts";
import { isFields } from "../../base/value.ts";
import type { DocumentId } from "../../protocol/encoding/document_key.ts";

/** The fields of each kind of operation. */
const FIELDS: Readonly<Record<string, KnownNames>> = {
  insertOne: new Set(["document"]),
  updateOne: new Set(["filter", "update", "upsert"]),
  updateMany: new Set(["filter", "update"]),
  replaceOne: new Set(["filter", "replacement", "upsert"]),
  deleteOne: new Set(["filter"]),
  deleteMany: new Set(["filter"]),
};

/**
 * Carries operations out in a transaction's view of a collection. Throws ValidationError for an
 * unknown one, before any is carried out.
 */
export async function runBulk<T extends Item>(
  view: TransactionCollection<T>,
  operations: readonly BulkOperation<T>[],
): Promise<BulkResult> {
  if (!Array.isArray(operations)) {
    throw new ValidationError("Cannot carry out the operations: they are no array");
  }
  for (const operation of operations) checkOperation(operation);
  const sum = { inserted: 0, matched: 0, modified: 0, deleted: 0 };
  const upsertedIds: DocumentId[] = [];
  for (const operation of operations) {
    if ("insertOne" in operation) {
      await view.insert(operation.insertOne.document);
      sum.inserted += 1;
    } else if ("deleteOne" in operation) {
      sum.deleted += (await view.deleteOne(operation.deleteOne.filter)) ? 1 : 0;
    } else if ("deleteMany" in operation) {
      sum.deleted += await view.deleteMany(operation.deleteMany.filter);
    } else {
      const { matched, modified, upsertedId } = await change(view, operation);
      sum.matched += matched;
      sum.modified += modified;
      if (upsertedId !== undefined) upsertedIds.push(upsertedId);
    }
  }
  return { ...sum, upsertedIds };
}

type Changing<T> = Extract<
  BulkOperation<T>,
  { updateOne: unknown } | { updateMany: unknown } | { replaceOne: unknown }
>;

function change<T extends Item>(view: TransactionCollection<T>, operation: Changing<T>) {
  if ("updateMany" in operation) {
    const { filter, update } = operation.updateMany;
    return view.updateMany(filter, update);
  }
  if ("updateOne" in operation) {
    const { filter, update, upsert = false } = operation.updateOne;
    return view.updateOne(filter, update, { upsert });
  }
  const { filter, replacement, upsert = false } = operation.replaceOne;
  return view.replaceOne(filter, replacement, { upsert });
}

function checkOperation(operation: unknown): void {
  const given = isFields(operation) ? Object.entries(operation) : [];
  const [[name = "", fields] = [], second] = given;
  const known = Object.hasOwn(FIELDS, name) ? FIELDS[name] : undefined;
  if (known === undefined || second !== undefined || !isFields(fields)) {
    throw new ValidationError(
      `Cannot carry out ${JSON.stringify(given.map(([one]) => one))}: an operation has one name`,
      { remedy: `Known: ${Object.keys(FIELDS).join(", ")}` },
    );
  }
  checkCallOptions(name, fields, known);
  for (const field of known) {
    if (field === "upsert" || fields[field] !== undefined) continue;
    throw new ValidationError(`Cannot carry out ${name}: it has no ${field}`);
  }
}
