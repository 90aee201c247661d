/**
 * Writes records into segments, one after the other, and syncs them. The next segment is filled
 * with zeros ahead of time, unless segments fill so fast that the zeros would cost more than they
 * save; a new file counts as durable only after its folder was synced too.
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
import { type NewRecord, recordSize, writeRecord } from "./segment_record.ts";

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

/** Where a written record's body stands. */
export interface WrittenRecord {
  readonly number: number;
  readonly segmentNumber: number;
  readonly bodyAt: number;
}

/** Where the writer starts. */
export interface WriterStart {
  readonly nextNumber: number;
  readonly nextChain: bigint;
  readonly nextSegmentNumber: number;
}

/** How the writer is set up. */
export interface SegmentWriterOptions {
  readonly directory: string;
  readonly segmentSize: number;
  readonly identity: LogIdentity;
  /** Records that stand at the head of every segment, so that older ones can go. */
  readonly headRecords: () => readonly PendingRecord[];
  /** Index of the last entry before a new segment. */
  readonly lastIndex: () => number;
}

/** The writing end of a log. */
export class SegmentWriter {
  readonly #platform: Platform;
  readonly #options: SegmentWriterOptions;
  #segment: Segment | undefined;
  #nextNumber: number;
  #nextChain: bigint;
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

  get segmentNumber(): number {
    return this.#segment?.header.segmentNumber ?? 0;
  }

  /** Begins a segment filled with zeros; called once, before anything is appended. */
  async start(state: {
    readonly syncedThrough: number;
    readonly commitIndex: number;
  }): Promise<void> {
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
      this.#write(records.slice(next, end), { size, ...state, written });
      next = end;
    }
    return written;
  }

  /** Makes everything written so far durable, also the names of new segments. */
  sync(): Promise<void> {
    const isOneFile = this.#unsynced.length === 0 && !this.#isDirectoryDirty;
    return isOneFile ? this.#current().file.sync() : this.#syncAll();
  }

  async #syncAll(): Promise<void> {
    const full = this.#unsynced;
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
    if (run.size > this.#staging.byteLength) this.#staging = new Uint8Array(run.size * 2);
    const staging = this.#staging.subarray(0, run.size).fill(0);
    let at = 0;
    for (const { kind, body } of records) {
      const number = this.#nextNumber;
      const { syncedThrough, commitIndex } = run;
      const fields = { kind, number, previousChain: this.#nextChain, syncedThrough, commitIndex };
      this.#nextChain = writeRecord(staging, at, { fields, body, salt: segment.header.salt });
      this.#nextNumber += 1;
      const { segmentNumber } = segment.header;
      run.written.push({ number, segmentNumber, bodyAt: segment.end + at + 64 });
      at += recordSize(body.byteLength);
    }
    segment.append(staging);
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
    this.#nextSegmentNumber += 1;
    this.#isDirectoryDirty = true;
    this.append(this.#options.headRecords(), { syncedThrough, commitIndex });
    this.#planSpare();
  }

  #planSpare(): void {
    const { clock } = this.#platform;
    const nowMs = clock.nowMs();
    const isFast = nowMs - this.#rolledAtMs < SPARE_AFTER_MS;
    this.#rolledAtMs = nowMs;
    this.#cancelSpare();
    if (!isFast) void this.#prepareSpare();
    else this.#cancelSpare = clock.setTimer(SPARE_AFTER_MS, () => void this.#prepareSpare());
  }

  /** Without a spare, segments grow as they are written: slower syncs, nothing else. */
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
      // A full disk shows itself, with its error, when the segment is really needed. The zeros must
      // not take the place that the segment needs then.
      this.#spare = "none";
      this.#discard(path, file);
    }
  }

  #discard(path: string, file: OpenFile | undefined): void {
    try {
      file?.close();
      this.#platform.files.remove(path);
    } catch {
      // Nothing depends on it: the next spare begins with removing this one.
    }
  }
}
