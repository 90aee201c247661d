/**
 * Operations that are logged together: the body of an OPERATIONS record.
 *
 * | bytes | field                                |
 * | ----: | ------------------------------------ |
 * |     1 | format: 1                            |
 * |     3 | reserved: 0                          |
 * |     4 | xxh32 of all that follows            |
 * |     4 | operations, for each of which follow |
 * |     4 | its size                             |
 * |     * | its bytes                            |
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteReader, ByteWriter } from "../../base/bytes.ts";
import { ProtocolError } from "../../base/errors.ts";
import type { PackedOperation } from "../../multi_master/operation/operation.ts";
import { checksum32 } from "../encoding/checksum.ts";
import { readOperations, writeOperations } from "./operation_codec.ts";

const FORMAT = 1;
/** Bytes before the count: what the checksum does not cover. */
const HEAD_SIZE = 8;

/** The body of a record, of operations that are encoded. */
export function encodeOperationBatch(operations: readonly Uint8Array[]): Uint8Array {
  const size = operations.reduce((sum, { byteLength }) => sum + byteLength + 4, HEAD_SIZE + 4);
  const writer = new ByteWriter(size).u8(FORMAT).u8(0).u16(0).u32(0);
  writeOperations(writer, operations);
  assert(writer.size === size, "each operation has its room");
  writer.patchU32(4, checksum32(writer.written().subarray(HEAD_SIZE)));
  return writer.written();
}

/** The operations of a record; they hold views of its bytes. Throws ProtocolError. */
export function decodeOperationBatch(bytes: Uint8Array): readonly PackedOperation[] {
  const reader = new ByteReader(bytes);
  if (reader.u32() !== FORMAT) throw new ProtocolError("Cannot read operations: format unknown");
  if (reader.u32() !== checksum32(bytes.subarray(HEAD_SIZE))) {
    throw new ProtocolError("Cannot read operations: the checksum does not match");
  }
  const operations = readOperations(reader);
  reader.end();
  assert(reader.offset === bytes.byteLength, "the operations fill the bytes");
  return operations;
}
