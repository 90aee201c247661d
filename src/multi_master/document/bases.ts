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
/** A node keeps those of a few floors. */
const KEPT_BYTES_MAX = 4 * BASE_BYTES_MAX;

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

  /** An own change as it leaves. `floor` is the agreed one of its origin. */
  pack(change: Change, origin: Origin, floor: OriginSequence): Change {
    const { content } = change;
    if (content.kind !== "document" || sizeOf(content) < this.#codec.deltaSizeMin) return change;
    const kept = this.#origins.get(origin);
    const base = kept?.byName.get(nameOf(change));
    const bytes = (kept?.bytes ?? 0) - (base === undefined ? 0 : sizeOf(base.content));
    const isBase = bytes + sizeOf(content) <= BASE_BYTES_MAX;
    const isUsed = base !== undefined && base.sequence > floor;
    const delta = isUsed ? this.#codec.delta(base.content, content) : undefined;
    return {
      ...change,
      ...(isUsed && delta !== undefined ? { packed: { base: base.sequence, delta } } : {}),
      ...(isBase ? { isBase } : {}),
    };
  }

  /**
   * An operation with its documents whole. Throws ValidationError if a base is not here, is
   * another one, or if its origin lets others keep too much.
   */
  unpack(operation: PackedOperation): Operation {
    const { origin, changes } = operation;
    const kept = this.#origins.get(origin);
    if (kept !== undefined && kept.bytes > KEPT_BYTES_MAX) {
      throw new ValidationError(`Cannot take in operations of ${origin}: it names too many bases`);
    }
    if (isWholeOperation(operation)) return operation;
    const whole = changes.map((change): Change => {
      if (isWhole(change)) return change;
      const base = kept?.byName.get(nameOf(change));
      if (base?.sequence !== change.packed.base) {
        throw new ValidationError(
          `Cannot take in a change: its base ${change.packed.base} is not here`,
        );
      }
      return { ...change, content: this.#codec.patch(base.content, change.packed.delta) };
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
          kept.bytes -= sizeOf(base.content);
        } else kept.byName.set(name, { ...base, isPassed: true });
      }
      if (kept.byName.size === 0 || isRetired(origin)) this.#origins.delete(origin);
    }
  }

  #keep(base: Base): void {
    const { origin, content } = base;
    const kept = this.#origins.get(origin) ?? { byName: new Map<string, Base>(), bytes: 0 };
    this.#origins.set(origin, kept);
    const name = nameOf(base);
    const before = kept.byName.get(name);
    assert(before === undefined || before.sequence < base.sequence, "bases follow each other");
    kept.byName.set(name, base);
    kept.bytes += sizeOf(content) - (before === undefined ? 0 : sizeOf(before.content));
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

function sizeOf({ body, marks }: DocumentContent): number {
  return body.byteLength + 48 * (marks?.parts.length ?? 0);
}
