/**
 * Which records of the log hold the operations of each origin, and the newest of them in memory up
 * to a bound.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { StorageError } from "../../base/errors.ts";
import type { ReadOperations } from "../../multi_master/config.ts";
import type { PackedOperation } from "../../multi_master/operation/operation.ts";
import type { VersionVector } from "../../multi_master/operation/version_vector.ts";

/** Place of a record's body on disk. */
export interface RecordPlace {
  readonly segmentNumber: number;
  readonly at: number;
  readonly size: number;
}

/** One record, with the first and last operation in it of each origin. */
export interface OperationRecord {
  readonly place: RecordPlace;
  readonly ranges: ReadonlyMap<string, Range>;
  /** While they are in memory. */
  readonly operations: readonly PackedOperation[] | undefined;
}

interface Range {
  readonly first: number;
  readonly last: number;
}

interface Kept extends OperationRecord {
  operations: readonly PackedOperation[] | undefined;
}

/** The operations of one origin that are kept: from `first` on, without a gap. */
interface Stream {
  records: Kept[];
  first: number;
  last: number;
}

/** Index over the operations in a log. */
export class OperationTable {
  readonly #cacheBytesMax: number;
  readonly #streams = new Map<string, Stream>();
  /** In the order of the log; the first holds a kept operation. */
  #records: Kept[] = [];
  /** Those in memory that are counted, the oldest first. */
  #cached: Kept[] = [];
  #cacheBytes = 0;
  /**
   * The records of each origin that were loaded last, in memory beside the others: who sends needs
   * the next operation of several origins at once.
   */
  readonly #loaded = new Map<string, readonly Kept[]>();

  constructor(cacheBytesMax: number) {
    this.#cacheBytesMax = cacheBytesMax;
  }

  /**
   * All records from the first that holds a kept operation on, in the order of the log; some behind
   * it may hold none.
   */
  get records(): readonly OperationRecord[] {
    return this.#records;
  }

  /** The last operation of an origin in the log; 0 without any. */
  last(origin: string): number {
    return this.#streams.get(origin)?.last ?? 0;
  }

  /** Number of the segment of the first of {@link records}; undefined without any. */
  oldestSegment(): number | undefined {
    return this.#records[0]?.place.segmentNumber;
  }

  /**
   * Adds a record. An origin that goes on behind a gap begins anew there: the node has taken over
   * another one's state. Throws StorageError for a number that is in the log.
   */
  append(operations: readonly PackedOperation[], place: RecordPlace): void {
    const ranges = this.rangesOf(operations);
    const record: Kept = { place, ranges, operations };
    assert(operations.length < place.size, "each operation takes bytes");
    for (const [origin, { first, last }] of ranges) this.#extend(origin, record, { first, last });
    this.#records.push(record);
    this.#keep(record);
    assert(this.#records.length >= this.#cached.length, "what is in memory is kept");
  }

  /** What such a record would hold. Throws StorageError as {@link append}. */
  rangesOf(operations: readonly PackedOperation[]): ReadonlyMap<string, Range> {
    const ranges = new Map<string, Range>();
    for (const { origin, sequence } of operations) {
      const range = ranges.get(origin);
      const before = range?.last ?? this.last(origin);
      const isNext = range === undefined ? sequence > before : sequence === before + 1;
      if (!isNext) {
        throw new StorageError(`Cannot log operation ${sequence} of ${origin} behind ${before}`);
      }
      ranges.set(origin, { first: range?.first ?? sequence, last: sequence });
    }
    assert(ranges.size <= operations.length, "each origin has an operation");
    return ranges;
  }

  /** Operations of an origin from one on, of about that many bytes of records. */
  read(origin: string, from: number, bytesMax: number): ReadOperations {
    const stream = this.#streams.get(origin);
    if (stream === undefined || from < stream.first || from > stream.last) return { kind: "gone" };
    const operations: PackedOperation[] = [];
    let bytes = 0;
    for (let at = indexOf(stream, origin, from); at < stream.records.length; at += 1) {
      const record = stream.records[at]!;
      if (operations.length > 0 && bytes + record.place.size > bytesMax) break;
      if (record.operations === undefined) break;
      bytes += record.place.size;
      for (const one of record.operations) {
        if (one.origin === origin && one.sequence >= from) operations.push(one);
      }
    }
    if (operations.length === 0) return { kind: "loading" };
    assert(from + operations.length - 1 <= stream.last, "none behind the last one is given");
    assert(operations[0]?.sequence === from, "the first one is the wanted one");
    return { kind: "operations", operations };
  }

  /** The record that holds an operation which is not in memory. */
  wanted(origin: string, sequence: number): OperationRecord | undefined {
    const stream = this.#streams.get(origin);
    if (stream === undefined || sequence < stream.first || sequence > stream.last) return undefined;
    const record = stream.records[indexOf(stream, origin, sequence)];
    assert(sequence <= stream.last, "the wanted operation is kept");
    assert(stream.first <= sequence, "it was not cut");
    return record?.operations === undefined ? record : undefined;
  }

  /** What stands in records is in memory again, until others of that origin are. */
  fill(
    origin: string,
    found: readonly {
      readonly record: OperationRecord;
      readonly operations: readonly PackedOperation[];
    }[],
  ): void {
    const stream = this.#streams.get(origin);
    assert(found.length > 0, "something is filled in");
    const loaded: Kept[] = [];
    for (const { record, operations } of found) {
      const first = Math.max(record.ranges.get(origin)?.first ?? 0, stream?.first ?? 0);
      const kept = stream?.records[indexOf(stream, origin, first)];
      if (kept !== record || kept.operations !== undefined) continue;
      assert(kept.ranges.size <= operations.length, "each origin has an operation");
      kept.operations = operations;
      loaded.push(kept);
    }
    const before = this.#loaded.get(origin) ?? [];
    this.#loaded.set(origin, loaded);
    const inUse = new Set([...this.#loaded.values()].flat());
    for (const record of before) if (!inUse.has(record)) record.operations = undefined;
    assert(this.#loaded.size <= this.#streams.size, "some of each origin");
  }

  /** Forgets all records: the node begins again with another one's state. */
  restart(): void {
    this.#streams.clear();
    this.#drop(this.#records.splice(0));
    this.#loaded.clear();
    assert(this.#cached.length <= this.#records.length, "nothing is in memory that is not kept");
  }

  /** Operations at or below it are needed no more. */
  cut(floor: VersionVector): void {
    for (const [origin, stream] of this.#streams) {
      const last = Math.min(floor.get(origin) ?? 0, stream.last);
      if (last < stream.first) continue;
      stream.first = last + 1;
      const isOver = ({ ranges }: Kept): boolean => (ranges.get(origin)?.last ?? 0) <= last;
      stream.records.splice(0, countOf(stream.records, isOver));
      assert(stream.first <= stream.last + 1, "a stream does not end before it begins");
    }
    const isNeeded = ({ ranges }: Kept): boolean =>
      [...ranges].some(([origin, { last }]) => last >= (this.#streams.get(origin)?.first ?? 0));
    const isOver = (record: Kept): boolean => !isNeeded(record);
    this.#drop(this.#records.splice(0, countOf(this.#records, isOver)));
    assert(this.#streams.size >= Math.min(1, this.#records.length), "a record is of some stream");
  }

  #extend(origin: string, record: Kept, range: Range): void {
    const stream = this.#streams.get(origin);
    assert(range.first <= range.last, "a range does not end before it begins");
    if (stream === undefined || range.first !== stream.last + 1) {
      this.#streams.set(origin, { records: [record], ...range });
      return;
    }
    stream.records.push(record);
    stream.last = range.last;
    assert(stream.first <= stream.last, "a stream has an operation");
  }

  #keep(record: Kept): void {
    this.#cached.push(record);
    this.#cacheBytes += memoryOf(record);
    assert(memoryOf(record) <= this.#cacheBytes, "what is in memory is counted");
    let dropped = 0;
    while (this.#cacheBytes > this.#cacheBytesMax && dropped < this.#cached.length - 1) {
      this.#forget(this.#cached[dropped]!);
      dropped += 1;
    }
    this.#cached.splice(0, dropped);
    const isBound = this.#cacheBytes <= this.#cacheBytesMax || this.#cached.length === 1;
    assert(isBound, "one record alone may exceed the bound");
  }

  #forget(record: Kept): void {
    if (record.operations === undefined) return;
    assert(memoryOf(record) <= this.#cacheBytes, "what is in memory was counted");
    record.operations = undefined;
    this.#cacheBytes -= memoryOf(record);
  }

  #drop(records: readonly Kept[]): void {
    const gone = new Set(records);
    assert(gone.size === records.length, "a record goes once");
    for (const [origin, loaded] of this.#loaded) {
      for (const record of loaded) if (gone.has(record)) record.operations = undefined;
      if (loaded.some((record) => gone.has(record))) {
        this.#loaded.set(
          origin,
          loaded.filter((record) => !gone.has(record)),
        );
      }
    }
    for (const record of records) this.#forget(record);
    // In the order of the log, both.
    this.#cached.splice(
      0,
      countOf(this.#cached, (record) => gone.has(record)),
    );
    assert(this.#cached.length <= this.#records.length, "what is in memory is kept");
  }
}

/** Its operations, and their bytes beside them. */
function memoryOf({ place }: OperationRecord): number {
  return 2 * place.size;
}

/** Where in the stream an operation stands. */
function indexOf({ records }: Stream, origin: string, sequence: number): number {
  let [low, high] = [0, records.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((records[middle]!.ranges.get(origin)?.last ?? 0) < sequence) low = middle + 1;
    else high = middle;
  }
  assert(low < records.length, "an operation of the stream is in a record");
  const range = records[low]!.ranges.get(origin);
  assert((range?.first ?? 0) <= sequence, "the record does not begin behind it");
  assert(sequence <= (range?.last ?? 0), "the record does not end before it");
  return low;
}

/** How many at the beginning meet the condition. */
function countOf<T>(items: readonly T[], condition: (item: T) => boolean): number {
  const first = items.findIndex((item) => !condition(item));
  const count = first === -1 ? items.length : first;
  assert(count <= items.length, "no more than there are");
  return count;
}
