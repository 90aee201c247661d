/**
 * Results of the operations of a write, with decoded documents.
 *
 * @module
 */

import { decodeUntrustedCbor } from "../../protocol/encoding/cbor.ts";
import type { DocumentOperation } from "../../protocol/encoding/command.ts";
import { readOperationResults } from "../../protocol/encoding/operation_result.ts";
import type { Answer } from "../connection/pending_requests.ts";

/** Result of one operation. */
export interface DecodedResult {
  /** False: there was no such document. */
  readonly found: boolean;
  readonly version: number;
  /** A private copy; undefined when none was requested or found. */
  readonly document: unknown;
}

/**
 * The operations' results with decoded documents: private copies, taken while the payload is valid.
 */
export function resultsOf(answer: Answer): DecodedResult[] | undefined {
  if (answer.payload === undefined) return undefined;
  return readOperationResults(answer.payload).map(({ found, version, document }) => {
    return { found, version, document: document && decodeUntrustedCbor(document) };
  });
}

/** Operations of one request when many documents are changed. */
const BATCH_OPERATIONS = 500;
const BATCH_BYTES = 1024 * 1024;

/** Cuts operations into requests of a moderate size. */
export function* batchesOf(
  operations: readonly DocumentOperation[],
): Generator<DocumentOperation[], void> {
  let batch: DocumentOperation[] = [];
  let bytes = 0;
  for (const operation of operations) {
    const size = operation.key.byteLength + operation.document.byteLength + 16;
    if (batch.length === BATCH_OPERATIONS || (bytes + size > BATCH_BYTES && batch.length > 0)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(operation);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}
