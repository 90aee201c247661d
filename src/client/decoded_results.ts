/**
 * What came of the operations of a write, with decoded documents.
 *
 * @module
 */

import { decodeUntrustedCbor } from "../protocol/cbor.ts";
import { readOperationResults } from "../protocol/client_message.ts";
import type { Answer } from "./pending_requests.ts";

/** What came of one operation. */
export interface DecodedResult {
  /** False: there was no such document. */
  readonly found: boolean;
  readonly version: number;
  /** A private copy; undefined when none was asked for or found. */
  readonly document: unknown;
}

/**
 * The operations' results with decoded documents: private copies, taken while the payload is
 * valid.
 */
export function resultsOf(answer: Answer): DecodedResult[] | undefined {
  if (answer.payload === undefined) return undefined;
  return readOperationResults(answer.payload).map(({ found, version, document }) => {
    return { found, version, document: document && decodeUntrustedCbor(document) };
  });
}
