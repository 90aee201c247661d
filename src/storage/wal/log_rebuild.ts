/**
 * Rebuilds the table of a log from its records, taken in file order, and encodes the records of
 * this node that stand between the batches.
 *
 * The oldest kept file may begin in the middle of the log: entries before its first batch were
 * removed with older files, and it may hold batches that later ones supersede. So a batch that does
 * not follow is no damage yet; only at the end must every entry behind the HEAD be there.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteReader, ByteWriter } from "../../base/bytes.ts";
import { ProtocolError, StorageError } from "../../base/errors.ts";
import { decodeBatchHeader } from "../../protocol/encoding/batch_codec.ts";
import { isAboutMembers } from "../../protocol/encoding/cluster_command.ts";
import { decodeOperationBatch } from "../../protocol/operations/operation_batch.ts";
import type { Entry, HardState, LogIndex } from "../../raft/types.ts";
import { OperationTable } from "../operations/operation_table.ts";
import { hiddenBeforeIn } from "./entry_writer.ts";
import { EMPTY_BASE, type LogBase, type LogTable } from "./log_table.ts";
import { RECORD_HEADER_SIZE } from "./segment_record.ts";
import type { PendingRecord } from "./segment_writer.ts";
import { damagedRecord, type RecoveredRecord } from "./wal_open.ts";

/** Bytes of the body of a HEAD. */
const HEAD_SIZE = 24;
/** Bytes of the body of a TAIL. */
const TAIL_SIZE = 8;

/** Takes records and builds a table and a hard state. */
export class LogRebuild {
  readonly table: LogTable;
  hardState: HardState = { term: 0, vote: undefined };
  /** Entries about members and bindings, by rising index: they count before they are applied. */
  clusterEntries: Entry[] = [];
  /** Operations before it are hidden. */
  hiddenBefore = 0;
  /** The entry that the log may begin after; its index does not go back. */
  #head: LogBase = EMPTY_BASE;
  /** The last record whose predecessors are in no file. */
  #gap: RecoveredRecord | undefined;
  #hasTail = false;

  /** Operations of collections that every node writes. */
  readonly operations: OperationTable;

  constructor(table: LogTable, operations = new OperationTable(0)) {
    this.table = table;
    this.operations = operations;
  }

  /** Applies one verified record. */
  take(record: RecoveredRecord): void {
    switch (record.header.kind) {
      case "HARD_STATE":
        this.hardState = decodeHardState(record.body);
        return;
      case "HEAD":
        this.#takeHead(record.body);
        return;
      case "TAIL":
        this.#takeTail(record);
        return;
      case "CHECKPOINT":
        this.hiddenBefore = Math.max(this.hiddenBefore, hiddenBeforeIn(record.body));
        return;
      case "BATCH":
        this.#takeBatch(record);
        return;
      case "OPERATIONS":
        this.#takeOperations(record);
        return;
    }
  }

  /**
   * Checks that no entry is missing behind the head. `lastIndex` is the last entry before the
   * oldest file. Returns the reason why the log is refused, and the record that shows it; undefined
   * when the log is whole.
   */
  problem(lastIndex: LogIndex): { text: string; record: RecoveredRecord | undefined } | undefined {
    const first = this.#head.index + 1;
    assert(this.table.base.index <= this.table.lastIndex(), "a table does not end before its base");
    if (this.table.base.index > this.#head.index) {
      return { text: `entries from ${first} on are in no file`, record: this.#gap };
    }
    if (!this.#hasTail && lastIndex > this.#head.index) {
      return { text: `entries ${first} to ${lastIndex} are in no file`, record: undefined };
    }
    return undefined;
  }

  #takeHead(body: Uint8Array): void {
    const head = decodeBase(body);
    if (head.index < this.#head.index) return;
    this.#head = head;
    this.table.compactTo(head);
    assert(this.table.firstIndex() > head.index, "the table begins behind the head");
    const last = this.table.lastIndex();
    const isKept = ({ index }: Entry): boolean => index > head.index && index <= last;
    this.clusterEntries = this.clusterEntries.filter(isKept);
    assert((this.clusterEntries.at(-1)?.index ?? 0) <= last, "an entry is noted while it is kept");
  }

  #takeTail(record: RecoveredRecord): void {
    const index = new ByteReader(record.body).u64();
    this.#hasTail = true;
    dropFrom(this.clusterEntries, index);
    if (index > this.table.lastIndex()) return;
    if (index > this.table.base.index) this.table.truncateFrom(index);
    else this.#startBehind(index - 1, undefined, record);
    assert(this.table.lastIndex() < index, "no entry of the dropped tail is kept");
  }

  #takeBatch(record: RecoveredRecord): void {
    const { term, index, firstSequence, count } = decodeBatchHeader(record.body);
    this.#hasTail = true;
    if (index <= this.#head.index) return;
    const { table, clusterEntries } = this;
    const follows =
      index > table.base.index &&
      index <= table.lastIndex() + 1 &&
      table.sequenceAfter(index - 1) === firstSequence;
    if (!follows) this.#startBehind(index - 1, firstSequence, record);
    assert(table.sequenceAfter(index - 1) === firstSequence, "the batch continues the numbers");
    const bytes = record.body.slice();
    const at = record.at + RECORD_HEADER_SIZE;
    const { segmentNumber } = record;
    assert(index > this.#head.index, "a batch up to the head is left out");
    const entry = { term, index, firstSequence, count, bytes };
    table.append(entry, { segmentNumber, at, size: bytes.byteLength });
    assert(table.lastIndex() === index, "a batch supersedes its index and higher ones");
    dropFrom(clusterEntries, index);
    if (isAboutMembers(bytes, count)) clusterEntries.push(entry);
  }

  #takeOperations(record: RecoveredRecord): void {
    const body = record.body.slice();
    const at = record.at + RECORD_HEADER_SIZE;
    const place = { segmentNumber: record.segmentNumber, at, size: body.byteLength };
    try {
      const operations = decodeOperationBatch(body);
      // One without operations makes those before it void.
      if (operations.length > 0) this.operations.append(operations, place);
      else this.operations.restart();
    } catch (error) {
      if (error instanceof ProtocolError || error instanceof StorageError) {
        throw damagedRecord(record, error.message);
      }
      throw error;
    }
    assert(record.at < at, "a body stands behind its header");
    assert(place.size === record.header.bodySize, "the body is whole");
  }

  /**
   * Empties the table: entries up to `index` are in no file so far; a later HEAD may allow that.
   */
  #startBehind(index: LogIndex, nextSequence: number | undefined, record: RecoveredRecord): void {
    this.#gap = record;
    if (index !== this.#head.index) {
      this.table.startBehind({ index, term: 0, nextSequence: nextSequence ?? 0 });
      return;
    }
    if (nextSequence !== undefined && nextSequence !== this.#head.nextSequence) {
      throw damagedRecord(record, `entry ${index + 1} does not follow entry ${index}`);
    }
    this.table.startBehind(this.#head);
    assert(this.table.lastIndex() === index, "the table is empty behind the head");
  }
}

/** Drops the entries with that index or a higher one. */
function dropFrom(entries: Entry[], index: LogIndex): void {
  const before = entries.length;
  while ((entries.at(-1)?.index ?? 0) >= index) entries.pop();
  assert(entries.length <= before, "entries are only dropped");
}

/** The records at the head of a new file: they must not be lost with older files. */
export function headRecords(hardState: HardState, base: LogBase): PendingRecord[] {
  const records: PendingRecord[] = [];
  if (hardState.term > 0) records.push(hardStateRecord(hardState));
  if (base !== EMPTY_BASE) records.push(headRecord(base));
  return records;
}

/** HARD_STATE: term (8 bytes), then the vote as text; empty for none. */
export function hardStateRecord(hardState: HardState): PendingRecord {
  const body = new ByteWriter(64).u64(hardState.term).text(hardState.vote ?? "");
  return { kind: "HARD_STATE", body: body.copy() };
}

function decodeHardState(body: Uint8Array): HardState {
  const reader = new ByteReader(body);
  const term = reader.u64();
  const vote = reader.text();
  return { term, vote: vote === "" ? undefined : vote };
}

/** HEAD: index, term and next sequence number of the entry that the log may begin after. */
export function headRecord(base: LogBase): PendingRecord {
  const body = new ByteWriter(HEAD_SIZE).u64(base.index).u64(base.term).u64(base.nextSequence);
  assert(body.size === HEAD_SIZE, "a head has its size");
  return { kind: "HEAD", body: body.copy() };
}

function decodeBase(body: Uint8Array): LogBase {
  const reader = new ByteReader(body);
  return { index: reader.u64(), term: reader.u64(), nextSequence: reader.u64() };
}

/** TAIL: index of the first entry that was dropped. */
export function tailRecord(index: LogIndex): PendingRecord {
  const body = new ByteWriter(TAIL_SIZE).u64(index);
  assert(body.size === TAIL_SIZE, "a tail has its size");
  return { kind: "TAIL", body: body.copy() };
}
