/**
 * Writes records into segments, one after the other, and syncs them. The next segment is filled
 * with zeros ahead of time, unless segments fill so fast that the zeros would cost more than they
 * save. A new file counts as durable only after its directory was synced, too.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import type { CancelTimer } from "../../platform/clock.ts";
import type { OpenFile } from "../../platform/file_system.ts";
import type { Platform } from "../../platform/platform.ts";
import type { LogIdentity } from "../identity.ts";
import {
  createSegment,
  fillWithZeros,
  SEGMENT_DATA_START,
  type Segment,
  segmentName,
} from "./segment.ts";
import { type NewRecord, RECORD_HEADER_SIZE, recordSize, writeRecord } from "./segment_record.ts";

const SPARE_NAME = "spare.tmp";

/**
 * Zeros make the syncs of single writes twice as fast, and double what a log under full load
 * writes, whose large syncs gain nothing: a spare is filled when a segment has lasted this long.
 */
const SPARE_AFTER_MS = 5_000;

/** A record before it gets its number and chain. */
export interface PendingRecord {
  readonly kind: NewRecord["kind"];
  readonly body: Uint8Array;
}

/** The place of a written record's body. */
export interface WrittenRecord {
  /** `syncedThrough < number <= lastNumber` of the writer. */
  readonly number: number;
  /** `segmentNumber <= segmentNumber` of the writer. */
  readonly segmentNumber: number;
  /** Byte of the body: `SEGMENT_DATA_START + RECORD_HEADER_SIZE <= bodyAt < end of the segment`. */
  readonly bodyAt: number;
}

/** The place at which the writer starts. */
export interface WriterStart {
  /** `number of the last record on disk < nextNumber`. */
  readonly nextNumber: number;
  readonly nextChain: bigint;
  /** `number of the last segment on disk < nextSegmentNumber`. */
  readonly nextSegmentNumber: number;
}

/** Options of a {@link SegmentWriter}. */
export interface SegmentWriterOptions {
  readonly directory: string;
  /** Bytes of a segment; a record that is longer than that gets a longer one. */
  readonly segmentSize: number;
  readonly identity: LogIdentity;
  /** Records at the head of every segment, so that older segments can be removed. */
  readonly headRecords: () => readonly PendingRecord[];
  /** Index of the last entry before a new segment: `lastIndex() <= last index of the log`. */
  readonly lastIndex: () => number;
}

/** The writing end of a log. */
export class SegmentWriter {
  readonly #platform: Platform;
  readonly #options: SegmentWriterOptions;
  #segment: Segment | undefined;
  /** `number of each written record < #nextNumber`. */
  #nextNumber: number;
  #nextChain: bigint;
  /** `segmentNumber < #nextSegmentNumber`. */
  #nextSegmentNumber: number;
  /** Full segments whose last writes are not synced yet. */
  #unsynced: Segment[] = [];
  #isDirectoryDirty = false;
  #spare: "none" | "preparing" | "ready" = "none";
  #isClosed = false;
  #rolledAtMs = Number.NEGATIVE_INFINITY;
  #cancelSpare: CancelTimer = () => undefined;
  #staging: Uint8Array = new Uint8Array(4096);

  constructor(platform: Platform, options: SegmentWriterOptions, start: WriterStart) {
    this.#platform = platform;
    this.#options = options;
    this.#nextNumber = start.nextNumber;
    this.#nextChain = start.nextChain;
    this.#nextSegmentNumber = start.nextSegmentNumber;
  }

  /** Number of the last record written. */
  get lastNumber(): number {
    return this.#nextNumber - 1;
  }

  /** Number of the segment that is written to: `segmentNumber < #nextSegmentNumber`. */
  get segmentNumber(): number {
    return this.#segment?.header.segmentNumber ?? 0;
  }

  /** Begins a segment filled with zeros; called once, before anything is appended. */
  async start(state: {
    readonly syncedThrough: number;
    readonly commitIndex: number;
  }): Promise<void> {
    assert(this.#nextNumber > state.syncedThrough, "record numbers go on");
    await this.#prepareSpare();
    this.#roll(state.syncedThrough, state.commitIndex);
    await this.sync();
  }

  /** Writes records with as few writes as possible. They are durable after the next sync. */
  append(
    records: readonly PendingRecord[],
    state: { readonly syncedThrough: number; readonly commitIndex: number },
  ): WrittenRecord[] {
    assert(!this.#isClosed, "an open log is written to");
    assert(state.syncedThrough < this.#nextNumber, "no record is durable before it is written");
    const first = this.#nextNumber;
    const written: WrittenRecord[] = [];
    let next = 0;
    while (next < records.length) {
      let size = recordSize(records[next]!.body.byteLength);
      if (!this.#current().fits(size)) this.#roll(state.syncedThrough, state.commitIndex);
      let end = next + 1;
      while (end < records.length) {
        const more = recordSize(records[end]!.body.byteLength);
        if (!this.#current().fits(size + more)) break;
        size += more;
        end += 1;
      }
      assert(end <= records.length, "a run ends inside the records");
      this.#write(records.slice(next, end), { size, ...state, written });
      next = end;
    }
    assert(written.length === records.length, "each record has its place");
    assert(first + written.length <= this.#nextNumber, "each record has a number of its own");
    return written;
  }

  /** Makes everything written so far durable, also the names of new segments. */
  sync(): Promise<void> {
    const isOneFile = this.#unsynced.length === 0 && !this.#isDirectoryDirty;
    return isOneFile ? this.#current().file.sync() : this.#syncAll();
  }

  async #syncAll(): Promise<void> {
    const full = this.#unsynced;
    const newest = full.at(-1)?.header.segmentNumber ?? 0;
    assert(newest < this.segmentNumber, "a full segment lies before the current one");
    this.#unsynced = [];
    const isDirectoryDirty = this.#isDirectoryDirty;
    this.#isDirectoryDirty = false;
    const current = this.#current();
    for (const segment of full) await segment.file.sync();
    await current.file.sync();
    if (isDirectoryDirty) await this.#platform.files.syncDirectory(this.#options.directory);
    for (const segment of full) segment.file.close();
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelSpare();
    for (const segment of this.#unsynced) segment.file.close();
    this.#segment?.file.close();
  }

  #current(): Segment {
    assert(this.#segment !== undefined, "the writer was started");
    return this.#segment;
  }

  #write(
    records: readonly PendingRecord[],
    run: {
      readonly size: number;
      readonly syncedThrough: number;
      readonly commitIndex: number;
      readonly written: WrittenRecord[];
    },
  ): void {
    const segment = this.#current();
    const start = segment.end;
    if (run.size > this.#staging.byteLength) this.#staging = new Uint8Array(run.size * 2);
    const staging = this.#staging.subarray(0, run.size).fill(0);
    let at = 0;
    for (const { kind, body } of records) {
      const number = this.#nextNumber;
      assert(at < run.size, "a record begins inside its run");
      const { syncedThrough, commitIndex } = run;
      const fields = { kind, number, previousChain: this.#nextChain, syncedThrough, commitIndex };
      this.#nextChain = writeRecord(staging, at, { fields, body, salt: segment.header.salt });
      this.#nextNumber += 1;
      const { segmentNumber } = segment.header;
      run.written.push({ number, segmentNumber, bodyAt: start + at + RECORD_HEADER_SIZE });
      at += recordSize(body.byteLength);
    }
    assert(at === run.size, "the sizes of the records add up");
    segment.append(staging);
    assert(segment.end === start + run.size, "the segment grows by the run");
  }

  /** Switches to the next segment and repeats there what must not be lost with older ones. */
  #roll(syncedThrough: number, commitIndex: number): void {
    const { files, random } = this.#platform;
    const { directory, segmentSize, identity } = this.#options;
    const segmentNumber = this.#nextSegmentNumber;
    const path = `${directory}/${segmentName(segmentNumber)}`;
    if (this.#spare === "ready") {
      files.rename(`${directory}/${SPARE_NAME}`, path);
      this.#spare = "none";
    }
    const high = BigInt(random.below(2 ** 32));
    const salt = (high << 32n) | BigInt(random.below(2 ** 32));
    const firstRecord = this.#nextNumber;
    const lastIndex = this.#options.lastIndex();
    const previousChain = this.#nextChain;
    const header = { segmentNumber, firstRecord, previousChain, salt, lastIndex };
    const full = this.#segment;
    this.#segment = createSegment(files, path, { header, identity, size: segmentSize });
    if (full !== undefined) this.#unsynced.push(full);
    assert(segmentNumber > (full?.header.segmentNumber ?? 0), "segment numbers rise");
    assert(firstRecord > syncedThrough, "a new segment begins with an unsynced record");
    this.#nextSegmentNumber += 1;
    this.#isDirectoryDirty = true;
    const heads = this.append(this.#options.headRecords(), { syncedThrough, commitIndex });
    assert(this.#nextNumber === firstRecord + heads.length, "the head comes first in a segment");
    assert(this.segmentNumber < this.#nextSegmentNumber, "the next segment has another number");
    this.#planSpare();
  }

  #planSpare(): void {
    const { clock } = this.#platform;
    const nowMs = clock.nowMs();
    assert(nowMs >= this.#rolledAtMs, "the monotonic clock does not go back");
    const isFast = nowMs - this.#rolledAtMs < SPARE_AFTER_MS;
    this.#rolledAtMs = nowMs;
    this.#cancelSpare();
    if (!isFast) void this.#prepareSpare();
    else this.#cancelSpare = clock.setTimer(SPARE_AFTER_MS, () => void this.#prepareSpare());
  }

  /** Fills the next segment. Without a spare a segment grows as it is written: syncs are slower. */
  async #prepareSpare(): Promise<void> {
    if (this.#spare !== "none" || this.#isClosed) return;
    this.#spare = "preparing";
    const { files, clock } = this.#platform;
    const path = `${this.#options.directory}/${SPARE_NAME}`;
    let file: OpenFile | undefined;
    try {
      files.remove(path);
      file = files.open(path, "write");
      const pause = (): Promise<void> => new Promise((resolve) => clock.soon(resolve));
      await fillWithZeros(file, Math.max(this.#options.segmentSize, SEGMENT_DATA_START), pause);
      file.close();
      this.#spare = this.#isClosed ? "none" : "ready";
    } catch {
      // The error of a full disk is reported when the segment is needed. Until then the zeros must
      // not take the space that the segment needs.
      this.#spare = "none";
      this.#discard(path, file);
    }
  }

  #discard(path: string, file: OpenFile | undefined): void {
    try {
      file?.close();
      this.#platform.files.remove(path);
    } catch {
      // A spare that stays does no harm: the next one begins with removing it.
    }
  }
}
