/**
 * The operations of collections that every node writes, in the log of the node: records of their
 * own beside those of consensus, in the same segments and under the same sync.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { CorruptionError, ProtocolError } from "../../base/errors.ts";
import type { OperationReader, ReadOperations } from "../../multi_master/config.ts";
import type { Dot } from "../../multi_master/operation/dot.ts";
import type { PackedOperation } from "../../multi_master/operation/operation.ts";
import type { VersionVector } from "../../multi_master/operation/version_vector.ts";
import {
  decodeOperationBatch,
  encodeOperationBatch,
} from "../../protocol/operations/operation_batch.ts";
import { encodeOperation, packedOperation } from "../../protocol/operations/operation_codec.ts";
import type { OperationRecord, OperationTable, RecordPlace } from "./operation_table.ts";

/** Bytes of operations at which a record is closed. */
const RECORD_SIZE_GOAL = 512 * 1024;
/** Bytes of records that are read from the disk at once. */
const LOAD_SIZE_GOAL = 256 * 1024;

interface Encoded {
  readonly operation: PackedOperation;
  readonly bytes: Uint8Array;
}

/** What the log of the node does for its operations. */
export interface OperationLogParts {
  readonly table: OperationTable;
  /** Writes records; gives where each body stands. */
  append(
    bodies: readonly Uint8Array[],
  ): readonly { readonly segmentNumber: number; readonly bodyAt: number }[];
  /** Number of the last record of the log. */
  lastRecord(): number;
  /** Reads a body from the disk. */
  read(place: RecordPlace): { readonly bytes: Uint8Array; readonly path: string };
}

/** The operations in a node's log. */
export class OperationLog implements OperationReader {
  readonly #parts: OperationLogParts;
  /** Bytes of operations that are in memory: messages carry them as they stand in the log. */
  readonly #bytes = new WeakMap<PackedOperation, Uint8Array>();

  /** Bytes of operations that were found in the log, and of those that were written since. */
  writtenBytes = 0;

  constructor(parts: OperationLogParts) {
    this.#parts = parts;
    for (const { place } of parts.table.records) this.writtenBytes += place.size;
  }

  /** All that is kept, each operation after all that its writer had. Throws CorruptionError. */
  *operations(): Generator<PackedOperation> {
    for (const record of [...this.#parts.table.records]) {
      yield* record.operations ?? this.#readRecord(record);
    }
  }

  /** The last operation of an origin in the log; 0 without any. */
  last(origin: string): number {
    return this.#parts.table.last(origin);
  }

  /** The bytes of an operation, as it is logged and sent. */
  bytesOf(operation: PackedOperation): Uint8Array {
    const known = this.#bytes.get(operation);
    if (known !== undefined) return known;
    const bytes = encodeOperation(operation);
    assert(bytes.byteLength > operation.origin.length, "the bytes hold the origin");
    this.#bytes.set(operation, bytes);
    return bytes;
  }

  /**
   * Writes operations, each whole or not at all: a power cut may leave the first of them. They are
   * durable when the sync that covers the returned record number ends. An origin may go on behind a
   * gap, once, at the first operation. Throws StorageError, before anything is written, for an
   * operation at or below the last one that is kept of its origin.
   */
  append(operations: readonly PackedOperation[]): number {
    this.#parts.table.rangesOf(operations);
    const groups = this.#groups(operations);
    const bodies = groups.map((group) => encodeOperationBatch(group.map(({ bytes }) => bytes)));
    const before = this.#parts.lastRecord();
    const written = this.#parts.append(bodies);
    for (const { byteLength } of bodies) this.writtenBytes += byteLength;
    assert(this.#parts.lastRecord() >= before + groups.length, "each record has a number");
    assert(written.length === groups.length, "each record has its place");
    for (const [i, { segmentNumber, bodyAt: at }] of written.entries()) {
      const place = { segmentNumber, at, size: bodies[i]!.byteLength };
      // Kept as they are read from the disk: without the documents that packed ones stand for.
      const kept = groups[i]!.map(({ operation, bytes }) => {
        const packed = packedOperation(operation);
        this.#bytes.set(packed, bytes);
        return packed;
      });
      this.#parts.table.append(kept, place);
    }
    return this.#parts.lastRecord();
  }

  read(origin: string, from: number, bytesMax: number): ReadOperations {
    return this.#parts.table.read(origin, from, bytesMax);
  }

  /** Brings an operation and those behind it into memory. Throws CorruptionError. */
  load({ origin, sequence }: Dot): void {
    const { table } = this.#parts;
    const found: { record: OperationRecord; operations: readonly PackedOperation[] }[] = [];
    let next = sequence;
    for (let size = 0; size < LOAD_SIZE_GOAL; ) {
      const record = table.wanted(origin, next);
      if (record === undefined) break;
      const operations = found.length === 0 ? this.#readRecord(record) : this.#tryRead(record);
      if (operations === undefined) break;
      found.push({ record, operations });
      size += record.place.size;
      next = (record.ranges.get(origin)?.last ?? next) + 1;
      assert(next > sequence, "the next one stands behind it");
    }
    if (found.length > 0) table.fill(origin, found);
  }

  /**
   * Makes void what was logged so far: the node begins again with another one's state. It counts
   * when the sync that covers the returned record ends.
   */
  restart(): number {
    const before = this.#parts.lastRecord();
    this.#parts.append([encodeOperationBatch([])]);
    this.#parts.table.restart();
    assert(this.#parts.lastRecord() > before, "the record has a number");
    assert(this.#parts.table.records.length === 0, "nothing is kept");
    return this.#parts.lastRecord();
  }

  /**
   * Operations at or below it are needed no more, neither by this node's state on disk nor by
   * another member. Their files go with the next compaction of the log. The cut itself is not
   * logged: after a restart those are back whose files are there.
   */
  cut(floor: VersionVector): void {
    this.#parts.table.cut(floor);
  }

  /** Undefined: it is damaged, which is told when it is asked for. */
  #tryRead(record: OperationRecord): readonly PackedOperation[] | undefined {
    try {
      return this.#readRecord(record);
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      return undefined;
    }
  }

  #readRecord({ place }: OperationRecord): readonly PackedOperation[] {
    const { bytes, path } = this.#parts.read(place);
    assert(bytes.byteLength === place.size, "the body is read whole");
    try {
      return decodeOperationBatch(bytes);
    } catch (cause) {
      if (!(cause instanceof ProtocolError)) throw cause;
      const where = { file: path, byte: place.at };
      throw new CorruptionError(`Cannot read operations of the log: ${cause.message}`, where);
    }
  }

  #groups(operations: readonly PackedOperation[]): readonly (readonly Encoded[])[] {
    const groups: Encoded[][] = [];
    let size = RECORD_SIZE_GOAL;
    for (const operation of operations) {
      if (size >= RECORD_SIZE_GOAL) {
        groups.push([]);
        size = 0;
      }
      const bytes = encodeOperation(operation);
      groups.at(-1)?.push({ operation, bytes });
      size += bytes.byteLength;
    }
    assert(groups.length <= operations.length, "no record is empty");
    assert(groups.flat().length === operations.length, "each operation is in one");
    return groups;
  }
}
