/**
 * Reads entries back: a batch from its place on disk, and the operations of a batch.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { CorruptionError, ProtocolError } from "../../base/errors.ts";
import type { FileSystem } from "../../platform/file_system.ts";
import {
  BATCH_HEADER_SIZE,
  batchCommands,
  type Compressor,
  decodeBatchHeader,
  verifyBatch,
} from "../../protocol/encoding/batch_codec.ts";
import type { Entry, EntryId, LogIndex } from "../../raft/types.ts";
import type { WALEntry } from "./iwal_manager.ts";
import type { BatchPosition, LogTable } from "./log_table.ts";
import { readEntryCommands } from "./wal_entry_codec.ts";

/** Reads an entry at its place. Throws CorruptionError when the bytes there are not that entry. */
export function readEntryAt(
  files: FileSystem,
  path: string,
  place: { readonly id: EntryId; readonly position: BatchPosition },
): Entry {
  const { id, position } = place;
  const { index } = id;
  const bytes = readBytesAt(files, path, position);
  try {
    const { term, firstSequence, count, ...found } = verifyBatch(bytes);
    if (found.index !== index || term !== id.term) {
      throw new ProtocolError(`entry ${found.index} of term ${term} stands there`);
    }
    assert(bytes.byteLength === BATCH_HEADER_SIZE + found.storedSize, "the batch is whole");
    return { term, index, firstSequence, count, bytes };
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause);
    const where = { file: path, byte: position.at };
    throw new CorruptionError(`Cannot read entry ${index}: ${problem}`, where);
  }
}

/** Bytes of a file; zeros where it has ended. */
export function readBytesAt(
  files: FileSystem,
  path: string,
  place: Pick<BatchPosition, "at" | "size">,
): Uint8Array {
  const file = files.open(path, "read");
  const bytes = new Uint8Array(place.size);
  const size = file.read(place.at, bytes);
  file.close();
  assert(size <= bytes.byteLength, "a read does not leave its target");
  return bytes;
}

/** The operations of a batch, without those before a sequence number. */
export function operationsIn(
  { bytes }: Pick<Entry, "bytes">,
  fromSequence: number,
  compressor: Compressor,
): readonly WALEntry[] {
  const header = decodeBatchHeader(bytes);
  const all = readEntryCommands(batchCommands(bytes, header, compressor), header);
  assert(all.length <= header.count, "each operation has a sequence number of its own");
  return all.filter(({ sequenceNumber }) => sequenceNumber >= fromSequence);
}

/** A log whose operations are read, piece by piece. */
export interface OperationSource {
  readonly table: LogTable;
  readonly compressor: Compressor;
  /** Entries from an index on, at least one. */
  read(index: LogIndex): readonly Entry[];
  /** Gives others a turn. */
  soon(): Promise<void>;
}

/** The operations from a sequence number on, without those before `firstShown`. */
export async function readOperations(
  { table, compressor, read, soon }: OperationSource,
  fromSequence: number,
  firstShown: number,
): Promise<WALEntry[]> {
  assert(fromSequence <= firstShown, "what is shown was asked for");
  let found: WALEntry[] = [];
  let { removals } = table;
  let index = table.indexOfSequence(fromSequence);
  while (index !== 0 && index <= table.lastIndex()) {
    const entries = read(index);
    assert(entries.length >= 1, "a reading goes on");
    for (const entry of entries) {
      assert(entry.index === index, "entries are read in order");
      for (const operation of operationsIn(entry, firstShown, compressor)) found.push(operation);
      index += 1;
    }
    await soon();
    if (table.removals === removals) continue;
    // Entries were removed meanwhile, at the head or at the tail: the reading starts again.
    removals = table.removals;
    index = table.indexOfSequence(fromSequence);
    found = [];
  }
  return found;
}
