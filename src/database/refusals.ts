/**
 * Why requests are refused, as errors and as stored results; and the delivery of results.
 *
 * @module
 */

import { unreachable } from "../base/assert.ts";
import { ByteReader, ByteWriter } from "../base/bytes.ts";
import {
  type CStoreError,
  DuplicateKeyError,
  DuplicateRequestError,
  errorNumber,
  OverloadedError,
  QueryError,
  SessionExpiredError,
  TransactionConflictError,
  UncheckedError,
  ValidationError,
  VersionConflictError,
  WrongModeError,
  withoutStack,
} from "../base/errors.ts";
import { ANSWER_SIZE_MAX, DOCUMENT_SIZE_MAX, RESULT_SIZE_MAX } from "../base/limits.ts";
import { RETRY_AFTER_MS } from "../base/timing.ts";
import type { DocumentId } from "../protocol/encoding/document_key.ts";
import { errorFromNumber } from "../protocol/encoding/error_maker.ts";
import type { ApplyResults } from "../raft/state_machine.ts";
import type { CollectionStore } from "./collection/collection_store.ts";
import type { Admission, SessionRequest, StoredResult } from "./session_table.ts";

/** The store that a refused operation was meant for. */
interface NamedStore {
  readonly name: string;
}

/** An insert met a document. */
export function duplicateKey({ name: collection }: NamedStore, id: DocumentId): CStoreError {
  const shown = JSON.stringify(id).slice(0, 200);
  const message = `Cannot insert into "${collection}": a document has the id ${shown} already`;
  return withoutStack(() => new DuplicateKeyError(message, { fields: { collection, id } }));
}

/** The collection is written by every node: nothing of it goes through the log of consensus. */
export function wrongMode({ name: collection }: NamedStore): CStoreError {
  const message = `Cannot execute this on "${collection}": every node writes it (MULTI_MASTER)`;
  return withoutStack(
    () =>
      new WrongModeError(message, {
        remedy:
          "Leave out ifVersion and transactions, and read at the level stale; or use a MASTER_SLAVE collection",
        fields: { collection, mode: "MULTI_MASTER" },
      }),
  );
}

/** The collection has a validator, and the operation does not say that it passed. */
export function unchecked(store: CollectionStore): CStoreError {
  const { name: collection, settings } = store;
  const message = `Cannot write into "${collection}": it takes only what the validator "${settings.validator}" has passed`;
  return withoutStack(() => new UncheckedError(message, { fields: { collection } }));
}

/** The document, condition or change has more bytes than the collection takes. */
export function documentTooLarge(
  { name: collection, most }: NamedStore & { readonly most: number },
  size: number,
): CStoreError {
  const message = `Cannot write into "${collection}": a document has at most ${most} bytes, this one has ${size}`;
  const remedy = `A collection that is made with documentSizeMax takes up to ${DOCUMENT_SIZE_MAX}`;
  return withoutStack(() => new ValidationError(message, { remedy, fields: { collection } }));
}

/** A document that a transaction had read was changed since. */
export function transactionConflict(collection: string): CStoreError {
  const message = `Cannot commit the transaction: what it read in "${collection}" was changed meanwhile`;
  return withoutStack(() => new TransactionConflictError(message, { fields: { collection } }));
}

/** The documents to give back exceed the bound. */
export function resultTooLarge(): CStoreError {
  return new ValidationError(
    `Cannot execute: the documents to give back exceed ${RESULT_SIZE_MAX} bytes`,
  );
}

/** What is to be given back, of merged documents perhaps, fits no frame. */
export function answerTooLarge(): CStoreError {
  return new QueryError(`Cannot answer: the answer exceeds ${ANSWER_SIZE_MAX} bytes`);
}

/** `ifVersion` named another version. */
export function versionConflict(
  expected: number,
  actual: number,
  fields: { readonly collection: string; readonly id: DocumentId },
): CStoreError {
  const found = actual === 0 ? "there is no document" : `the document has version ${actual}`;
  const message = `Cannot write: ifVersion is ${expected}, but ${found}`;
  return withoutStack(() => new VersionConflictError(message, actual, { fields }));
}

/** Why a request that is not new is not executed. */
export function sessionRefusal(
  verdict: Exclude<Admission["verdict"], "new" | "repeat">,
  request: SessionRequest,
): CStoreError {
  const name = `request ${request.requestNumber} of session ${request.sessionId}`;
  switch (verdict) {
    case "unknown session":
      return new SessionExpiredError(`Cannot execute ${name}: the session is unknown or expired`);
    case "acknowledged":
      return new DuplicateRequestError(`Cannot execute ${name}: it was answered and acknowledged`);
    case "other bytes":
      return new DuplicateRequestError(
        `Cannot execute ${name}: the number was used with other bytes`,
      );
    case "window full":
      // The client's next request acknowledges answers and frees room.
      return new OverloadedError(
        `Cannot execute ${name}: too many requests are unanswered`,
        RETRY_AFTER_MS.sessionWindow,
      );
    default:
      return unreachable(verdict);
  }
}

/** A refusal as it is stored with the session. */
export function refusal(error: CStoreError): StoredResult {
  const writer = new ByteWriter(128).u16(errorNumber(error.code));
  writer.u64(error instanceof VersionConflictError ? error.actualVersion : 0);
  return { kind: "refused", refusal: writer.text(error.message).copy(), error };
}

/** The error that a stored refusal stands for. */
export function refusalError(bytes: Uint8Array): CStoreError {
  const reader = new ByteReader(bytes);
  const number = reader.u16();
  const actualVersion = reader.u64();
  const fields = number === errorNumber("VERSION_CONFLICT") ? { actualVersion } : {};
  return errorFromNumber(number, { message: reader.text(), fields });
}

/** Delivers a result to the waiter of the command. */
export function giveResult(ordinal: number, result: StoredResult, results: ApplyResults): void {
  if (result.kind === "written") results.written(ordinal, result.version);
  else if (result.kind === "payload") results.result(ordinal, result.payload);
  else results.refused(ordinal, result.error ?? refusalError(result.refusal));
}
