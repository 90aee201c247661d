/**
 * Why requests are refused, as errors and as stored results; and results to whoever waits.
 *
 * @module
 */

import { unreachable } from "../base/assert.ts";
import { ByteReader, ByteWriter } from "../base/bytes.ts";
import {
  type CStoreError,
  DuplicateKeyError,
  DuplicateRequestError,
  errorFromNumber,
  errorNumber,
  OverloadedError,
  SessionExpiredError,
  TransactionConflictError,
  UncheckedError,
  ValidationError,
  VersionConflictError,
  withoutStack,
} from "../base/errors.ts";
import { RESULT_SIZE_MAX } from "../base/limits.ts";
import type { DocumentId } from "../protocol/encoding/document_key.ts";
import type { ApplyResults } from "../raft/state_machine.ts";
import type { CollectionStore } from "./collection/collection_store.ts";
import type { Admission, SessionRequest, StoredResult } from "./session_table.ts";

/** An insert met a document. */
export function duplicateKey(store: { readonly name: string }, id: DocumentId): CStoreError {
  const shown = JSON.stringify(id).slice(0, 200);
  return new DuplicateKeyError(
    `Cannot insert into "${store.name}": a document has the id ${shown} already`,
  );
}

/** The collection has a validator, and the operation does not say that it passed. */
export function unchecked(store: CollectionStore): CStoreError {
  const { name, settings } = store;
  return new UncheckedError(
    `Cannot write into "${name}": it takes only what the validator "${settings.validator}" has passed`,
  );
}

/** A transaction had read what is not so any more. */
export function transactionConflict(collection: string): CStoreError {
  return new TransactionConflictError(
    `Cannot commit the transaction: what it read in "${collection}" was changed meanwhile`,
  );
}

/** The documents to give back exceed the bound. */
export function resultTooLarge(): CStoreError {
  return new ValidationError(
    `Cannot execute: the documents to give back exceed ${RESULT_SIZE_MAX} bytes`,
  );
}

/** `ifVersion` named another version. */
export function versionConflict(expected: number, actual: number): CStoreError {
  const found = actual === 0 ? "there is no document" : `the document has version ${actual}`;
  const message = `Cannot write: ifVersion is ${expected}, but ${found}`;
  return withoutStack(() => new VersionConflictError(message, actual));
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
      // The client's next request acknowledges what stands in the way.
      return new OverloadedError(`Cannot execute ${name}: too many requests are unanswered`, 5);
    default:
      return unreachable(verdict);
  }
}

/** A refusal as it is stored with the session. */
export function refusal(error: CStoreError): StoredResult {
  const writer = new ByteWriter(128).u16(errorNumber(error.code));
  writer.u64(error instanceof VersionConflictError ? error.actualVersion : 0);
  return { kind: "refused", refusal: writer.text(error.message).copy() };
}

/** The error that a stored refusal stands for. */
export function refusalError(bytes: Uint8Array): CStoreError {
  const reader = new ByteReader(bytes);
  const number = reader.u16();
  const actualVersion = reader.u64();
  return errorFromNumber(number, { message: reader.text(), actualVersion });
}

/** Tells a result to whoever waits for the command. */
export function giveResult(ordinal: number, result: StoredResult, results: ApplyResults): void {
  if (result.kind === "written") results.written(ordinal, result.version);
  else if (result.kind === "payload") results.result(ordinal, result.payload);
  else results.refused(ordinal, refusalError(result.refusal));
}
