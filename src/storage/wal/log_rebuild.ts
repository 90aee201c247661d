/**
 * Rebuilds the picture of a log from its records, taken in file order; and the records of this node
 * that stand between the batches.
 *
 * The oldest kept file may begin in the middle: entries before its first batch went with older
 * files, and it may hold batches that later ones supersede. So a batch that does not follow is no
 * damage yet; only at the end must everything behind the HEAD be there.
 *
 * @module
 */

import { ByteReader, ByteWriter } from "../../base/bytes.ts";
import { decodeBatchHeader } from "../../protocol/encoding/batch_codec.ts";
import { isAboutMembers } from "../../protocol/encoding/cluster_command.ts";
import type { Entry, HardState, LogIndex } from "../../raft/types.ts";
import { EMPTY_BASE, type LogBase, type LogTable } from "./log_table.ts";
import { RECORD_HEADER_SIZE } from "./segment_record.ts";
import type { PendingRecord } from "./segment_writer.ts";
import { damagedRecord, type RecoveredRecord } from "./wal_open.ts";

/** Takes records, gives a table and a hard state. */
export class LogRebuild {
  readonly table: LogTable;
  hardState: HardState = { term: 0, vote: undefined };
  /** Entries about members and bindings: they count before they are applied. */
  clusterEntries: Entry[] = [];
  #head: LogBase = EMPTY_BASE;
  /** The last record whose predecessors are in no file. */
  #gap: RecoveredRecord | undefined;
  #hasTail = false;

  constructor(table: LogTable) {
    this.table = table;
  }

  /** Takes one valid record into the picture. */
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
        return;
      case "BATCH":
        this.#takeBatch(record);
        return;
    }
  }

  /**
   * Checks that nothing is missing behind the head. `lastIndex` is the last entry before the oldest
   * file. Returns why the log is refused, and the record that shows it; undefined when it is whole.
   */
  problem(lastIndex: LogIndex): { text: string; record: RecoveredRecord | undefined } | undefined {
    const first = this.#head.index + 1;
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
    const last = this.table.lastIndex();
    const isKept = ({ index }: Entry): boolean => index > head.index && index <= last;
    this.clusterEntries = this.clusterEntries.filter(isKept);
  }

  #takeTail(record: RecoveredRecord): void {
    const index = new ByteReader(record.body).u64();
    this.#hasTail = true;
    while ((this.clusterEntries.at(-1)?.index ?? 0) >= index) this.clusterEntries.pop();
    if (index > this.table.lastIndex()) return;
    if (index > this.table.base.index) this.table.truncateFrom(index);
    else this.#startBehind(index - 1, undefined, record);
  }

  #takeBatch(record: RecoveredRecord): void {
    const { term, index, firstSequence, count } = decodeBatchHeader(record.body);
    this.#hasTail = true;
    if (index <= this.#head.index) return;
    const { table } = this;
    const follows =
      index > table.base.index &&
      index <= table.lastIndex() + 1 &&
      table.sequenceAfter(index - 1) === firstSequence;
    if (!follows) this.#startBehind(index - 1, firstSequence, record);
    const bytes = record.body.slice();
    const at = record.at + RECORD_HEADER_SIZE;
    const { segmentNumber } = record;
    const entry = { term, index, firstSequence, count, bytes };
    table.append(entry, { segmentNumber, at, size: bytes.byteLength });
    this.#noteCluster(entry);
  }

  #noteCluster(entry: Entry): void {
    const noted = this.clusterEntries;
    // A batch supersedes whatever has its index or a higher one.
    while ((noted.at(-1)?.index ?? 0) >= entry.index) noted.pop();
    if (isAboutMembers(entry.bytes, entry.count)) noted.push(entry);
  }

  /** What is before `index` is unknown; a later record may make that good. */
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
  }
}

/** What must not be lost with older files, for the head of a new one. */
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
  const body = new ByteWriter(24).u64(base.index).u64(base.term).u64(base.nextSequence);
  return { kind: "HEAD", body: body.copy() };
}

function decodeBase(body: Uint8Array): LogBase {
  const reader = new ByteReader(body);
  return { index: reader.u64(), term: reader.u64(), nextSequence: reader.u64() };
}

/** TAIL: index of the first entry that is gone. */
export function tailRecord(index: LogIndex): PendingRecord {
  return { kind: "TAIL", body: new ByteWriter(8).u64(index).copy() };
}
