/**
 * Encoded documents in slabs: append-only blocks of bytes, so that a million documents are a few
 * hundred objects to the garbage collector. A document that is replaced or removed stays where it
 * is and is marked with the sequence number that superseded it; a snapshot can therefore read the
 * state of an earlier moment while writes go on, and compaction later moves live documents out of
 * slabs that are mostly dead. Record: documentSize (4), keySize (2), unused (2), version (8,
 * float64), supersededBy (8, float64, 0 = alive, negative = moved, see `freeze`), key, document.
 * A large record has a slab of its own.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { EMPTY_BYTES, viewOf } from "../../base/bytes.ts";
import { SLAB_SIZE } from "../../base/limits.ts";

/** Bytes before the key. */
const HEADER_SIZE = 24;
/** A slab with less alive than this share is worth moving. */
const COMPACT_BELOW = 0.5;
/** Bytes that one step of compaction looks at, at least; less is left to a later step. */
const COMPACT_STEP_SIZE = 32 * 1024;

/** Records above this size have a slab of their own. */
const SHARED_SIZE_MAX = SLAB_SIZE / 2;

/** Slab number times `SLAB_SIZE` plus byte offset. */
export type Location = number;

interface Slab {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  end: number;
  aliveBytes: number;
  /** Everything alive was moved out, and only frozen moments still read it. */
  isRetired: boolean;
}

/** A moment that is read while writes go on. */
export interface FrozenSlabs {
  /** Sequence number of the last operation that it shows. */
  readonly sequence: number;
  /** Ends of the slabs at that moment. */
  readonly ends: readonly number[];
  /** Its number; later moments have higher ones. */
  readonly moment: number;
}

/** One document as bytes: a view into its slab. */
export interface SlabRecord {
  readonly key: Uint8Array;
  readonly document: Uint8Array;
  readonly version: number;
  readonly location: Location;
}

/** A key, as a part of `bytes`. */
export interface KeyPlace {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/** Learns where a record stands now. */
export type Moved = (from: Location, to: Location, key: KeyPlace) => void;

/** A place in a slab. */
export interface Reserved {
  bytes: Uint8Array;
  view: DataView;
  /** Where it begins, and of a document that is there, where it ends. */
  at: number;
  end: number;
  location: Location;
}

/** Storage of one collection's documents. */
export class DocumentSlabs {
  readonly #slabs: (Slab | undefined)[] = [];
  #current: Slab | undefined;
  #currentNumber = -1;
  /** Number of the last frozen moment, and those that are not thawed. */
  #moment = 0;
  readonly #moments = new Set<number>();
  /** Slabs that wait for the moments up to a number. */
  #retired: { readonly number: number; readonly moment: number }[] = [];
  #held = 0;
  #bytes = 0;
  #compacting: { number: number; at: number } | undefined;
  /** One object for all places: they are asked for with each write. */
  readonly #reserved: Reserved = {
    ...{ bytes: EMPTY_BYTES, view: viewOf(EMPTY_BYTES), at: 0, end: 0, location: 0 },
  };
  /** Bytes written or superseded since the last step. */
  #churn = 0;
  /** Bytes of earlier steps that compaction has not worked for yet. */
  #backlog = 0;

  /** Bytes of all slabs. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Appends a document; `source[start, end)` holds the key and right behind it the document. */
  append(
    source: Uint8Array,
    range: { readonly start: number; readonly keySize: number; readonly end: number },
    version: number,
  ): Location {
    this.#churn += HEADER_SIZE + range.end - range.start;
    return this.#append(source, range, version);
  }

  #append(
    source: Uint8Array,
    range: { readonly start: number; readonly keySize: number; readonly end: number },
    version: number,
  ): Location {
    const documentSize = range.end - range.start - range.keySize;
    const { bytes, at, location } = this.#reserve(range.keySize, documentSize, version);
    bytes.set(source.subarray(range.start, range.end), at);
    return location;
  }

  /**
   * Writes the document over the record that it replaces: no garbage, nothing to compact. False
   * when it does not fit there exactly, or when a frozen moment still needs the old one.
   */
  overwrite(
    location: Location,
    source: { readonly bytes: Uint8Array; readonly keyEnd: number; readonly end: number },
    version: number,
  ): boolean {
    if (this.#moments.size > 0) return false;
    const slab = this.#slabOf(location);
    const at = location % SLAB_SIZE;
    if (slab.view.getUint32(at, true) !== source.end - source.keyEnd) return false;
    slab.view.setFloat64(at + 8, version, true);
    const start = at + HEADER_SIZE + slab.view.getUint16(at + 4, true);
    slab.bytes.set(source.bytes.subarray(source.keyEnd, source.end), start);
    return true;
  }

  version(location: Location): number {
    return this.#slabOf(location).view.getFloat64((location % SLAB_SIZE) + 8, true);
  }

  /** Makes room for a record and gives where its key and document are to be written. */
  reserve(keySize: number, documentSize: number, version: number): Reserved {
    this.#churn += HEADER_SIZE + keySize + documentSize;
    return this.#reserve(keySize, documentSize, version);
  }

  #reserve(keySize: number, documentSize: number, version: number): Reserved {
    const size = HEADER_SIZE + keySize + documentSize;
    const number = this.#roomFor(size);
    const slab = this.#slabs[number];
    assert(slab !== undefined, "a slab with room is there");
    const at = slab.end;
    slab.view.setUint32(at, documentSize, true);
    slab.view.setUint16(at + 4, keySize, true);
    slab.view.setFloat64(at + 8, version, true);
    slab.view.setFloat64(at + 16, 0, true);
    slab.end = at + size;
    slab.aliveBytes += size;
    const reserved = this.#reserved;
    [reserved.bytes, reserved.view] = [slab.bytes, slab.view];
    reserved.at = at + HEADER_SIZE;
    reserved.location = number * SLAB_SIZE + at;
    return reserved;
  }

  /** Where a record's document stands: valid until the next call. */
  place(location: Location): Reserved {
    const slab = this.#slabOf(location);
    const start = (location % SLAB_SIZE) + HEADER_SIZE;
    const reserved = this.#reserved;
    [reserved.bytes, reserved.view] = [slab.bytes, slab.view];
    reserved.at = start + slab.view.getUint16(start - HEADER_SIZE + 4, true);
    reserved.end = reserved.at + slab.view.getUint32(start - HEADER_SIZE, true);
    reserved.location = location;
    return reserved;
  }

  /** Reads a little of the record at `location`: brings it into the processor's cache. */
  touch(location: Location): number {
    const { bytes } = this.#slabOf(location);
    const at = location % SLAB_SIZE;
    return bytes[at]! ^ (bytes[at + 64] ?? 0);
  }

  /** Whether the record at `location` has exactly this key. */
  keyEquals(
    location: Location,
    source: Uint8Array,
    range: { start: number; end: number },
  ): boolean {
    const slab = this.#slabOf(location);
    const at = location % SLAB_SIZE;
    const size = range.end - range.start;
    if (slab.view.getUint16(at + 4, true) !== size) return false;
    const { bytes } = slab;
    const keyAt = at + HEADER_SIZE;
    for (let i = 0; i < size; i += 1) {
      if (bytes[keyAt + i] !== source[range.start + i]) return false;
    }
    return true;
  }

  /** The document's bytes: a view, valid until the slab is compacted. */
  document(location: Location): Uint8Array {
    const slab = this.#slabOf(location);
    const at = location % SLAB_SIZE;
    const start = at + HEADER_SIZE + slab.view.getUint16(at + 4, true);
    return slab.bytes.subarray(start, start + slab.view.getUint32(at, true));
  }

  /** The document's key: a view, valid until the slab is compacted. */
  key(location: Location): Uint8Array {
    const slab = this.#slabOf(location);
    const start = (location % SLAB_SIZE) + HEADER_SIZE;
    return slab.bytes.subarray(start, start + slab.view.getUint16(start - HEADER_SIZE + 4, true));
  }

  /** Marks a record as gone since that operation. */
  supersede(location: Location, sequence: number): void {
    const slab = this.#slabOf(location);
    const at = location % SLAB_SIZE;
    assert(slab.view.getFloat64(at + 16, true) === 0, "a record is superseded once");
    slab.view.setFloat64(at + 16, sequence, true);
    slab.aliveBytes -= recordSize(slab, at);
    this.#churn += recordSize(slab, at);
  }

  /** Takes a mark back, when a request is rolled back. */
  revive(location: Location): void {
    const slab = this.#slabOf(location);
    const at = location % SLAB_SIZE;
    assert(slab.view.getFloat64(at + 16, true) !== 0, "only a superseded record is revived");
    slab.view.setFloat64(at + 16, 0, true);
    slab.aliveBytes += recordSize(slab, at);
  }

  /**
   * Keeps this moment readable until {@link thaw}. Compaction goes on: a record that it moves is
   * marked with the negative of the first moment that must not see the old place, and the slab
   * stays as long as an older moment is read. Locations of that moment stay good, too.
   */
  freeze(sequence: number): FrozenSlabs {
    this.#moment += 1;
    this.#moments.add(this.#moment);
    const ends = this.#slabs.map((slab) => (slab === undefined || slab.isRetired ? 0 : slab.end));
    return { sequence, ends, moment: this.#moment };
  }

  thaw(frozen: FrozenSlabs): void {
    assert(this.#moments.delete(frozen.moment), "every thaw has its freeze");
    const oldest = Math.min(...this.#moments);
    const isFree = ({ moment }: { readonly moment: number }): boolean => moment < oldest;
    for (const { number } of this.#retired.filter(isFree)) this.#drop(number);
    this.#retired = this.#retired.filter((slab) => !isFree(slab));
  }

  /** Nothing is moved until {@link release}. */
  hold(): void {
    this.#held += 1;
  }

  release(): void {
    assert(this.#held > 0, "every release has its hold");
    this.#held -= 1;
  }

  #drop(number: number): void {
    this.#bytes -= this.#slabs[number]?.bytes.byteLength ?? 0;
    this.#slabs[number] = undefined;
  }

  /**
   * The records that were alive at the frozen moment, or only those that are so still. Views: use
   * them before the next step.
   */
  *frozenRecords(frozen: FrozenSlabs, which?: "present"): Generator<SlabRecord> {
    for (const [number, end] of frozen.ends.entries()) {
      const slab = this.#slabs[number];
      if (slab === undefined) continue;
      for (let at = 0; at < end; at += recordSize(slab, at)) {
        const gone = slab.view.getFloat64(at + 16, true);
        const wasThere = gone > frozen.sequence || -gone > frozen.moment;
        const isWanted = gone === 0 || (which !== "present" && wasThere);
        if (isWanted) yield recordAt(slab, number * SLAB_SIZE, at);
      }
    }
  }

  /**
   * Moves live documents out of the emptiest slabs; `moved` receives each new place. It looks at as
   * many bytes as were written and superseded since, because with less dead bytes would pile up for
   * ever, and at up to as many again for the backlog of the time in which it was held back.
   */
  compactStep(moved: Moved): void {
    const churn = this.#churn;
    this.#churn = 0;
    this.#backlog += churn;
    if (this.#held > 0 || this.#backlog < COMPACT_STEP_SIZE) return;
    let budget = Math.min(this.#backlog, Math.max(2 * churn, COMPACT_STEP_SIZE));
    this.#backlog -= budget;
    while (budget > 0) {
      this.#compacting ??= this.#worthCompacting();
      const job = this.#compacting;
      if (job === undefined) {
        this.#backlog = 0;
        return;
      }
      budget = this.#compact(job, budget, moved);
    }
  }

  /** Works on one slab until it is empty or the budget is used up; gives the rest of the budget. */
  #compact(job: { number: number; at: number }, budget: number, moved: Moved): number {
    const slab = this.#slabs[job.number];
    assert(slab !== undefined && slab !== this.#current, "a full slab is compacted");
    let left = budget;
    while (job.at < slab.end && left > 0) {
      const at = job.at;
      const size = recordSize(slab, at);
      job.at += size;
      left -= size;
      if (slab.view.getFloat64(at + 16, true) !== 0) continue;
      const start = at + HEADER_SIZE;
      const keySize = slab.view.getUint16(at + 4, true);
      const range = { start, keySize, end: at + size };
      const to = this.#append(slab.bytes, range, slab.view.getFloat64(at + 8, true));
      slab.view.setFloat64(at + 16, -(this.#moment + 1), true);
      slab.aliveBytes -= size;
      const key = { bytes: slab.bytes, start, end: start + keySize };
      moved(job.number * SLAB_SIZE + at, to, key);
    }
    if (job.at < slab.end) return left;
    assert(slab.aliveBytes === 0, "everything alive was moved");
    this.#compacting = undefined;
    if (this.#moments.size === 0) this.#drop(job.number);
    else {
      slab.isRetired = true;
      this.#retired.push({ number: job.number, moment: this.#moment });
    }
    return left;
  }

  #worthCompacting(): { number: number; at: number } | undefined {
    let best = -1;
    let bestShare = COMPACT_BELOW;
    for (const [number, slab] of this.#slabs.entries()) {
      if (slab === undefined || slab === this.#current || slab.isRetired) continue;
      const share = slab.aliveBytes / slab.bytes.byteLength;
      if (share >= bestShare) continue;
      best = number;
      bestShare = share;
    }
    return best === -1 ? undefined : { number: best, at: 0 };
  }

  #slabOf(location: Location): Slab {
    const slab = this.#slabs[Math.floor(location / SLAB_SIZE)];
    assert(slab !== undefined, "a location points into a slab");
    return slab;
  }

  /** The number of a slab with room for a record of that size. */
  #roomFor(size: number): number {
    if (size > SHARED_SIZE_MAX) return this.#newSlab(size);
    const current = this.#current;
    if (current !== undefined && current.end + size <= current.bytes.byteLength) {
      return this.#currentNumber;
    }
    // The first slabs are small, so that an empty collection costs little.
    const wanted = this.#slabs.length < 8 ? 4096 << this.#slabs.length : SLAB_SIZE;
    this.#currentNumber = this.#newSlab(Math.max(wanted, size));
    this.#current = this.#slabs[this.#currentNumber];
    return this.#currentNumber;
  }

  #newSlab(size: number): number {
    const bytes = new Uint8Array(size);
    const slab = { bytes, view: viewOf(bytes), end: 0, aliveBytes: 0, isRetired: false };
    const free = this.#slabs.indexOf(undefined);
    const number = free === -1 ? this.#slabs.length : free;
    this.#slabs[number] = slab;
    this.#bytes += size;
    return number;
  }
}

function recordSize(slab: Slab, at: number): number {
  return HEADER_SIZE + slab.view.getUint16(at + 4, true) + slab.view.getUint32(at, true);
}

function recordAt(slab: Slab, base: Location, at: number): SlabRecord {
  const keyEnd = at + HEADER_SIZE + slab.view.getUint16(at + 4, true);
  const end = at + recordSize(slab, at);
  const key = slab.bytes.subarray(at + HEADER_SIZE, keyEnd);
  const document = slab.bytes.subarray(keyEnd, end);
  return { key, document, version: slab.view.getFloat64(at + 8, true), location: base + at };
}
