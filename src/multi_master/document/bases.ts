/**
 * The last versions of large documents that each origin wrote. Its next write of the document
 * leaves as a change of that version, its base; so every member keeps it as long as such a change
 * may come.
 *
 * How long that is: a writer takes no base at or below the agreed floor, and forgets by a floor
 * once all that it wrote before it knew of it is on its disk. The next floor but one is agreed when
 * every member has done so, and a node forgets by it once it has what all members had then. So a
 * base that two floors have passed is asked for no more.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ValidationError } from "../../base/errors.ts";
import type { CollectionId, Origin, OriginSequence } from "../operation/dot.ts";
import type {
  Change,
  DocumentContent,
  Operation,
  PackedOperation,
} from "../operation/operation.ts";
import { seen, type VersionVector } from "../operation/version_vector.ts";

/** Bytes of bases that one origin may let the others keep. */
export const BASE_BYTES_MAX = 16 * 1024 * 1024;
/**
 * Bytes that no floor has passed here: an honest origin counts at least those among its own, for a
 * member is at most one floor behind it.
 */
const UNPASSED_BYTES_MAX = 2 * BASE_BYTES_MAX;
/** About the bytes of a mark. */
const MARK_SIZE = 48;
/** Memory of a base beside its document and key. */
const BASE_OVERHEAD = 512;

/** Turns documents into changes of others and back. */
export interface DeltaCodec {
  /** From this size on, in bytes, documents are sent as changes. */
  readonly deltaSizeMin: number;
  /** How `next` comes from `base`; undefined if it is as well sent whole. */
  delta(base: DocumentContent, next: DocumentContent): Uint8Array | undefined;
  /** Throws ValidationError for a delta of something else. */
  patch(base: DocumentContent, delta: Uint8Array): DocumentContent;
}

/** One base, as it travels in a seed. */
export interface Base {
  readonly origin: Origin;
  readonly sequence: OriginSequence;
  readonly collection: CollectionId;
  readonly key: Uint8Array;
  readonly content: DocumentContent;
  /** A floor has passed it. */
  readonly isPassed: boolean;
}

interface OriginBases {
  readonly byName: Map<string, Base>;
  bytes: number;
  /** Of those that no floor has passed. */
  unpassedBytes: number;
}

/** The bases that a node keeps. */
export class Bases {
  readonly #codec: DeltaCodec;
  readonly #origins = new Map<Origin, OriginBases>();

  constructor(codec: DeltaCodec, seed: Iterable<Base>) {
    this.#codec = codec;
    for (const base of seed) this.#keep(base);
  }

  /** What another node's table begins with. */
  seed(): readonly Base[] {
    return [...this.#origins.values()].flatMap(({ byName }) => [...byName.values()]);
  }

  /** Whether an origin lets the others keep more than it may. */
  isOverFull(origin: Origin): boolean {
    return (this.#origins.get(origin)?.unpassedBytes ?? 0) > UNPASSED_BYTES_MAX;
  }

  /** Own changes of one operation as they leave. `floor` is the agreed one of their origin. */
  pack(changes: readonly Change[], origin: Origin, floor: OriginSequence): readonly Change[] {
    const kept = this.#origins.get(origin);
    let bytes = kept?.bytes ?? 0;
    return changes.map((change) => {
      const { content, key } = change;
      if (content.kind !== "document" || !this.#isLarge(content)) return change;
      const base = kept?.byName.get(nameOf(change));
      const after = bytes + sizeOf({ key, content }) - (base === undefined ? 0 : sizeOf(base));
      const isBase = after <= BASE_BYTES_MAX;
      if (isBase) bytes = after;
      const isUsed = base !== undefined && base.sequence > floor;
      const delta = isUsed ? this.#codec.delta(base.content, content) : undefined;
      const size = content.body.byteLength;
      return {
        ...change,
        ...(isUsed && delta !== undefined ? { packed: { base: base.sequence, size, delta } } : {}),
        ...(isBase ? { isBase } : {}),
      };
    });
  }

  /**
   * An operation with its documents whole. Throws ValidationError if a base is not here, or is
   * another one: then the two nodes know different operations of one number.
   */
  unpack(operation: PackedOperation): Operation {
    if (isWholeOperation(operation)) return operation;
    const kept = this.#origins.get(operation.origin);
    const whole = operation.changes.map((change): Change => {
      if (isWhole(change)) return change;
      const { base: sequence, size, delta } = change.packed;
      const base = kept?.byName.get(nameOf(change));
      if (base?.sequence !== sequence) {
        throw new ValidationError(`Cannot take in a change: its base ${sequence} is not here`);
      }
      const content = this.#codec.patch(base.content, delta);
      if (content.body.byteLength !== size) {
        throw new ValidationError(`Cannot take in a change: it makes no document of ${size} bytes`);
      }
      return { ...change, content };
    });
    return { ...operation, changes: whole };
  }

  /** Keeps what an operation says that its origin builds upon. */
  note({ origin, sequence, changes }: Operation): void {
    for (const { collection, key, content, isBase } of changes) {
      if (isBase !== true || content.kind !== "document") continue;
      this.#keep({ origin, sequence, collection, key, content, isPassed: false });
    }
  }

  /** A floor has passed these operations. */
  pass(floor: VersionVector, isRetired: (origin: Origin) => boolean): void {
    for (const [origin, kept] of this.#origins) {
      for (const [name, base] of kept.byName) {
        if (base.sequence > seen(floor, origin)) continue;
        if (base.isPassed) {
          kept.byName.delete(name);
          kept.bytes -= sizeOf(base);
        } else {
          kept.byName.set(name, { ...base, isPassed: true });
          kept.unpassedBytes -= sizeOf(base);
        }
      }
      if (kept.byName.size === 0 || isRetired(origin)) this.#origins.delete(origin);
    }
  }

  #isLarge({ body, marks }: DocumentContent): boolean {
    return body.byteLength + MARK_SIZE * (marks?.parts.length ?? 0) >= this.#codec.deltaSizeMin;
  }

  #keep(base: Base): void {
    const { origin, isPassed } = base;
    const none = { byName: new Map<string, Base>(), bytes: 0, unpassedBytes: 0 };
    const kept = this.#origins.get(origin) ?? none;
    this.#origins.set(origin, kept);
    const name = nameOf(base);
    const before = kept.byName.get(name);
    assert(before === undefined || before.sequence < base.sequence, "bases follow each other");
    kept.byName.set(name, base);
    const sizeBefore = before === undefined ? 0 : sizeOf(before);
    kept.bytes += sizeOf(base) - sizeBefore;
    kept.unpassedBytes += (isPassed ? 0 : sizeOf(base)) - (before?.isPassed ? 0 : sizeBefore);
  }
}

/** The operations behind a state, whole, in the order of the log. Throws ValidationError. */
export function* wholeOperations(
  bases: Bases,
  operations: Iterable<PackedOperation>,
): Generator<Operation> {
  for (const operation of operations) {
    const whole = bases.unpack(operation);
    bases.note(whole);
    yield whole;
  }
}

function isWholeOperation(operation: PackedOperation): operation is Operation {
  return operation.changes.every(isWhole);
}

function isWhole(change: PackedOperation["changes"][number]): change is Change {
  return change.content !== undefined;
}

function nameOf({ collection, key }: Pick<Change, "collection" | "key">): string {
  return `${collection}:${key.join()}`;
}

function sizeOf({ key, content }: Pick<Base, "key" | "content">): number {
  const { body, marks } = content;
  const marksSize = MARK_SIZE * (marks?.parts.length ?? 0);
  return body.byteLength + marksSize + 4 * key.byteLength + BASE_OVERHEAD;
}
