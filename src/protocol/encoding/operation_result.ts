/**
 * The result of one operation or read, as replies carry it and sessions keep it.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteReader, type ByteWriter } from "../../base/bytes.ts";
import { ProtocolError } from "../../base/errors.ts";

/** Bytes of a result before its document: outcome (1), version (8), size of the document (4). */
const RESULT_HEADER_SIZE = 13;

/** The outcome of one operation or of one read. */
export interface OperationResult {
  /** False for a document that does not exist. */
  readonly found: boolean;
  /** Sequence number of the operation that wrote the document; of a removal, its own. */
  readonly version: number;
  /** Encoded document; undefined when none was requested or found. */
  readonly document: Uint8Array | undefined;
}

/** Appends one operation's result to a RESULT payload. */
export function writeOperationResult(writer: ByteWriter, result: OperationResult): void {
  const { found, version, document } = result;
  const start = writer.size;
  const documentSize = document?.byteLength ?? 0;
  writer
    .u8(found ? 1 : 2)
    .u64(version)
    .u32(documentSize);
  if (document !== undefined) writer.raw(document);
  assert(
    writer.size === start + RESULT_HEADER_SIZE + documentSize,
    "a result is its header and its document",
  );
}

/** Reads a RESULT payload to COMMAND or READ. Documents are views. Throws ProtocolError. */
export function readOperationResults(payload: Uint8Array): OperationResult[] {
  const reader = new ByteReader(payload);
  const results: OperationResult[] = [];
  while (reader.remaining > 0) {
    const outcome = reader.u8();
    const version = reader.u64();
    const size = reader.u32();
    const document = size === 0 ? undefined : reader.take(size);
    if (outcome !== 1 && outcome !== 2) throw new ProtocolError(`Cannot read outcome ${outcome}`);
    results.push({ found: outcome === 1, version, document });
  }
  assert(reader.offset === payload.byteLength, "the results fill the payload");
  assert(
    results.length * RESULT_HEADER_SIZE <= payload.byteLength,
    "every result has a header in the payload",
  );
  return results;
}
