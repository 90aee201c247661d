/**
 * Reads the files of a running node, slowly and again and again, so that rotten bytes are noticed
 * while other nodes still have the data, and not at the next start.
 *
 * The scrubber reads the segments before the one that is written to, and the snapshots. A file that
 * is removed meanwhile is no damage. Bytes in the page cache are read from there; bytes that were
 * not used for a while come from the disk.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteReader } from "../../base/bytes.ts";
import { ClosedError, CorruptionError, ProtocolError, StorageError } from "../../base/errors.ts";
import type { CancelTimer } from "../../platform/clock.ts";
import type { OpenFile } from "../../platform/file_system.ts";
import type { Platform } from "../../platform/platform.ts";
import { decodeBatchHeader } from "../../protocol/encoding/batch_codec.ts";
import type { LogIndex } from "../../raft/types.ts";
import type { LogIdentity } from "../identity.ts";
import { readSnapshot } from "../snapshot_store.ts";
import {
  decodeSegmentHeader,
  SEGMENT_DATA_START,
  SEGMENT_HEADER_SIZE,
  type SegmentHeader,
  segmentNumberOf,
} from "../wal/segment.ts";
import { segmentPath } from "../wal/wal_open.ts";
import { type WalkEnd, type WalkStep, walkSegment } from "./segment_walk.ts";

const BYTES_PER_SECOND = 8 * 1024 * 1024;
const PASS_INTERVAL_MS = 24 * 60 * 60 * 1000;
/** Reports of one file in one pass: a file that is bad throughout must not flood the log. */
const PLACES_PER_FILE_MAX = 16;

/** One damaged place. */
export interface ScrubDamage {
  readonly file: string;
  readonly byte: number;
  readonly problem: string;
  /**
   * Entries at that place, `first <= last`; undefined for snapshots, and where they are unknown.
   */
  readonly entries: { readonly first: LogIndex; readonly last: LogIndex } | undefined;
}

/** Options of a {@link Scrubber}. */
export interface ScrubOptions {
  readonly logDirectory: string;
  readonly snapshotDirectory: string;
  readonly identity: LogIdentity;
  /** Bytes read in a second; default 8 MiB. */
  readonly bytesPerSecond?: number;
  /** From the beginning of one pass to the next; a pass that takes longer is not interrupted. */
  readonly passIntervalMs?: number;
  /** Called for each damaged place, in every pass anew. Must not throw. */
  readonly damaged: (damage: ScrubDamage) => void;
}

/** The progress. Numbers count from the start of the process. */
export interface ScrubStatus {
  readonly isRunning: boolean;
  readonly bytesScrubbed: number;
  readonly fullPasses: number;
  /** Wall time at which the last full pass ended; 0 before the first. */
  readonly lastPassMs: number;
  /** Places found in the last full pass: `lastPassDamages <= damages`. */
  readonly lastPassDamages: number;
  readonly damages: number;
}

/** Reads the files of one node in the background. */
export class Scrubber {
  readonly #platform: Platform;
  readonly #options: ScrubOptions;
  #isRunning = false;
  #pass: Promise<void> = Promise.resolve();
  #cancelTimer: CancelTimer = () => undefined;
  #wake: () => void = () => undefined;
  #bytesScrubbed = 0;
  #fullPasses = 0;
  #lastPassMs = 0;
  #lastPassDamages = 0;
  #damages = 0;
  #dueMs = 0;

  constructor(platform: Platform, options: ScrubOptions) {
    this.#platform = platform;
    this.#options = options;
  }

  /** Begins the first pass. */
  start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#pass = this.#pass.then(() => this.#run());
  }

  /** Resolves when no file is open any more. */
  async stop(): Promise<void> {
    this.#isRunning = false;
    this.#cancelTimer();
    this.#wake();
    await this.#pass;
  }

  status(): ScrubStatus {
    assert(this.#lastPassDamages <= this.#damages, "the damage of a pass counts in the total");
    return {
      isRunning: this.#isRunning,
      bytesScrubbed: this.#bytesScrubbed,
      fullPasses: this.#fullPasses,
      lastPassMs: this.#lastPassMs,
      lastPassDamages: this.#lastPassDamages,
      damages: this.#damages,
    };
  }

  async #run(): Promise<void> {
    const { clock } = this.#platform;
    const { passIntervalMs = PASS_INTERVAL_MS } = this.#options;
    while (this.#isRunning) {
      const nextMs = clock.nowMs() + passIntervalMs;
      const passes = this.#fullPasses;
      await this.#runPass();
      assert(this.#fullPasses <= passes + 1, "a pass counts at most once");
      // The next pass never follows at once: a pass over few bytes must not become a busy loop.
      await this.#sleep(Math.max(1, nextMs - clock.nowMs()));
    }
  }

  async #runPass(): Promise<void> {
    const { logDirectory, snapshotDirectory } = this.#options;
    const before = this.#damages;
    const names = this.#list(logDirectory);
    const numbers = names.flatMap((name) => segmentNumberOf(name) ?? []);
    for (const [i, number] of numbers.slice(0, -1).entries()) {
      if (!this.#isRunning) return;
      const path = segmentPath(logDirectory, number);
      const following = numbers[i + 1]!;
      assert(following > number, "names are listed in order of segments");
      await this.#scrub(path, (file) => this.#scrubSegment(file, number));
      if (following === number + 1) continue;
      const problem = `segment ${number + 1} is missing behind it`;
      this.#tell({ file: path, byte: 0, problem, entries: undefined });
    }
    for (const name of this.#list(snapshotDirectory)) {
      if (!this.#isRunning) return;
      if (!name.endsWith(".snapshot")) continue;
      await this.#scrub(`${snapshotDirectory}/${name}`, (file) => this.#scrubSnapshot(file.path));
    }
    if (!this.#isRunning) return;
    assert(this.#damages >= before, "damage is only added");
    this.#fullPasses += 1;
    this.#lastPassMs = this.#platform.clock.wallMs();
    this.#lastPassDamages = this.#damages - before;
  }

  #list(directory: string): readonly string[] {
    try {
      return this.#platform.files.list(directory);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.#tell({ file: directory, byte: 0, problem: error.message, entries: undefined });
      return [];
    }
  }

  /** Reads a file. If that fails, the file is damaged, unless it is gone or this was stopped. */
  async #scrub(path: string, read: (file: OpenFile) => Promise<void>): Promise<void> {
    const { files } = this.#platform;
    let file: OpenFile | undefined;
    try {
      file = files.open(path, "read");
      await read(file);
    } catch (error) {
      if (error instanceof ClosedError) return;
      if (!(error instanceof StorageError) && !(error instanceof CorruptionError)) throw error;
      const byte = error instanceof CorruptionError ? error.byte : 0;
      this.#tell({ file: path, byte, problem: error.message, entries: undefined });
    } finally {
      file?.close();
    }
  }

  async #scrubSegment(file: OpenFile, number: number): Promise<void> {
    const header = this.#readHeader(file, number);
    if ("refusal" in header) {
      const { refusal: problem } = header;
      this.#tell({ file: file.path, byte: 0, problem, entries: undefined });
      return;
    }
    assert(header.segmentNumber === number, "a header with another number is refused");
    const next = this.#successor(number);
    assert((next?.segmentNumber ?? number + 1) === number + 1, "the successor is the next segment");
    const finder = new DamageFinder(file.path, header.lastIndex);
    const walk = walkSegment(file, {
      salt: header.salt,
      first: { number: header.firstRecord, chain: header.previousChain },
      endNumber: next?.firstRecord ?? Number.POSITIVE_INFINITY,
    });
    let step = walk.next();
    while (step.done !== true) {
      if (step.value.kind === "read") await this.#pay(step.value.size);
      else finder.take(step.value);
      step = walk.next();
    }
    finder.end(step.value, next);
    assert(step.value.next.number >= header.firstRecord, "record numbers do not go back");
    for (const damage of finder.damages) this.#tell(damage);
  }

  /**
   * Header of the segment behind one: it tells where that one ends. Undefined when it cannot be
   * read; that is reported when its own turn comes.
   */
  #successor(number: number): SegmentHeader | undefined {
    const { files } = this.#platform;
    const path = segmentPath(this.#options.logDirectory, number + 1);
    if (!files.exists(path)) return undefined;
    const file = files.open(path, "read");
    const header = this.#readHeader(file, number + 1);
    file.close();
    if ("refusal" in header) return undefined;
    assert(header.segmentNumber === number + 1, "a header with another number is refused");
    return header;
  }

  #readHeader(file: OpenFile, number: number): ReturnType<typeof decodeSegmentHeader> {
    const bytes = new Uint8Array(SEGMENT_HEADER_SIZE);
    const size = file.read(0, bytes);
    assert(size <= bytes.byteLength, "a read does not leave its target");
    const header = decodeSegmentHeader(bytes.subarray(0, size), this.#options.identity);
    if ("refusal" in header || header.segmentNumber === number) return header;
    return { refusal: "the file's name and number differ", isWhole: true, salts: [] };
  }

  async #scrubSnapshot(path: string): Promise<void> {
    let size = 0;
    await readSnapshot(this.#platform.files, path, {
      clusterId: this.#options.identity.clusterId,
      visit: (block) => {
        size += block.byteLength;
      },
      pause: async () => {
        await this.#pay(size);
        size = 0;
      },
    });
  }

  #tell(damage: ScrubDamage): void {
    if (!this.#isRunning || !this.#platform.files.exists(damage.file)) return;
    const { entries } = damage;
    assert((entries?.first ?? 0) <= (entries?.last ?? 0), "a range does not end before it begins");
    this.#damages += 1;
    this.#options.damaged(damage);
  }

  /** Waits as long as the reading of these bytes may take. */
  async #pay(size: number): Promise<void> {
    const { bytesPerSecond = BYTES_PER_SECOND } = this.#options;
    this.#bytesScrubbed += size;
    const nowMs = this.#platform.clock.nowMs();
    this.#dueMs = Math.max(this.#dueMs, nowMs) + (size / bytesPerSecond) * 1000;
    assert(this.#dueMs >= nowMs, "the bytes are paid for now or later");
    if (this.#dueMs > nowMs) await this.#sleep(this.#dueMs - nowMs);
    // Only an error ends the reading of a snapshot that is under way.
    if (!this.#isRunning) throw new ClosedError("Cannot go on scrubbing: it was stopped");
  }

  #sleep(delayMs: number): Promise<void> {
    if (!this.#isRunning) return Promise.resolve();
    return new Promise((resolve) => {
      this.#wake = resolve;
      this.#cancelTimer = this.#platform.clock.setTimer(delayMs, resolve);
    });
  }
}

interface Place {
  readonly byte: number;
  readonly problem: string;
}

/** Finds the damaged places of one segment, and the entries at them. */
class DamageFinder {
  readonly damages: ScrubDamage[] = [];
  readonly #file: string;
  /** Damage behind the last batch: the next batch tells how far it reaches. */
  readonly #open: Place[] = [];
  /** The last known entry; it goes back only at a TAIL or a batch that supersedes others. */
  #lastIndex: LogIndex;

  /** `lastIndex` is the last entry of the segments before. */
  constructor(file: string, lastIndex: LogIndex) {
    this.#file = file;
    this.#lastIndex = lastIndex;
  }

  take(step: Exclude<WalkStep, { kind: "read" }>): void {
    assert(step.at >= SEGMENT_DATA_START, "a step lies behind the segment's header");
    if (step.kind === "unreadable") {
      this.#leaveOpen({ byte: step.at, problem: step.problem });
    } else if (step.header.kind === "BATCH") {
      this.#takeBatch(step);
    } else if (step.kind === "bad body") {
      const problem = `${step.problem} (${step.header.kind})`;
      this.#add({ byte: step.at, problem }, undefined);
    } else if (step.header.kind === "TAIL") {
      this.#close(this.#lastIndex);
      this.#lastIndex = new ByteReader(step.body).u64() - 1;
    }
  }

  /** At the end of the segment; `next` is the header of the one behind it. */
  end(end: WalkEnd, next: SegmentHeader | undefined): void {
    if (next !== undefined && end.next.number < next.firstRecord) {
      this.#leaveOpen({ byte: end.at, problem: end.problem });
    } else if (next !== undefined && end.next.chain !== next.previousChain) {
      const problem = `segment ${next.segmentNumber} does not follow`;
      this.#add({ byte: end.at, problem }, undefined);
    }
    assert(end.at >= SEGMENT_DATA_START, "a walk ends behind the segment's header");
    this.#close(next?.lastIndex ?? this.#lastIndex);
  }

  #takeBatch(step: Exclude<WalkStep, { kind: "read" | "unreadable" }>): void {
    const index = batchIndex(step.body);
    if (step.kind === "bad body" && index === undefined) {
      this.#leaveOpen({ byte: step.at, problem: step.problem });
      return;
    }
    if (index === undefined) {
      this.#add({ byte: step.at, problem: "a batch's header does not verify" }, undefined);
      return;
    }
    this.#close(index - 1);
    this.#lastIndex = index;
    if (step.kind === "bad body") {
      this.#add({ byte: step.at, problem: step.problem }, { first: index, last: index });
    }
  }

  #leaveOpen(place: Place): void {
    if (this.#open.length < PLACES_PER_FILE_MAX) this.#open.push(place);
    assert(this.#open.length <= PLACES_PER_FILE_MAX, "the open places are bounded");
  }

  /** Reports the open places: they lie between the last known entry and this one. */
  #close(last: LogIndex): void {
    const first = this.#lastIndex + 1;
    for (const place of this.#open.splice(0)) {
      this.#add(place, last >= first ? { first, last } : undefined);
    }
  }

  #add(place: Place, entries: ScrubDamage["entries"]): void {
    if (this.damages.length >= PLACES_PER_FILE_MAX) return;
    this.damages.push({ file: this.#file, ...place, entries });
    assert(this.damages.length <= PLACES_PER_FILE_MAX, "the reports of a file are bounded");
  }
}

/** Index in a batch's header; undefined when that does not verify. */
function batchIndex(body: Uint8Array): LogIndex | undefined {
  try {
    return decodeBatchHeader(body).index;
  } catch (error) {
    if (error instanceof ProtocolError) return undefined;
    throw error;
  }
}
