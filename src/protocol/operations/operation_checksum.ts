/**
 * Checksum of an operation that any node may write: of its name, its time, what its writer had and
 * what it changes, seeded with the checksum of the operation before it. So two operations of one
 * number differ in it, and so do all that follow them.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { encodeText, viewOf } from "../../base/bytes.ts";
import type { Change, Operation } from "../../multi_master/operation/operation.ts";
import type { VersionVector } from "../../multi_master/operation/version_vector.ts";
import { encodeCbor } from "../encoding/cbor.ts";
import { checksum32 } from "../encoding/checksum.ts";

/** Numbers of an operation, and of a change. */
const OPERATION_SIZE = 40;
const CHANGE_SIZE = 28;
const IS_BASE = 0x8000_0000;
/** Bytes that are copied to be hashed at once; more are hashed where they are. */
const COPY_SIZE_MAX = 4096;
/** Texts whose checksum is kept: origins, of which there are few. */
const TEXTS_MAX = 1024;

/** Checksums of operations; it keeps those of their parts that come again. */
export class OperationChecksum {
  readonly #bytes = new Uint8Array(COPY_SIZE_MAX);
  readonly #view = viewOf(this.#bytes);
  /** Bytes that wait to be hashed, and the checksum of those before. */
  #end = 0;
  #sum = 0;
  readonly #vectors = new WeakMap<VersionVector, number>();
  /** The last vector: operations that follow each other share it. */
  #last: { readonly vector: VersionVector; readonly sum: number } | undefined;
  /** The first bytes of the buffer, by their number: views are dear. */
  readonly #starts: (Uint8Array | undefined)[] = [];
  readonly #texts = new Map<string, number>();

  /** xxh32 of an operation; `previous` is that of the one before, 0 for the first. */
  of(operation: Omit<Operation, "chain">, previous: number): number {
    const { origin, sequence, stamp, context, version, request, changes } = operation;
    const view = this.#view;
    view.setFloat64(0, sequence, true);
    view.setFloat64(8, stamp.wallMs, true);
    view.setUint32(16, stamp.count, true);
    view.setFloat64(20, version, true);
    view.setUint32(28, this.#text(origin), true);
    view.setUint32(32, this.#vector(context), true);
    view.setUint32(36, changes.length, true);
    [this.#sum, this.#end] = [previous, OPERATION_SIZE];
    if (request !== undefined) {
      const { session, number, answered, isRepeat } = request;
      this.#add(encodeText(`${number} ${answered} ${isRepeat} ${session}`));
    }
    for (const change of changes) this.#change(change);
    this.#flush();
    const sum = this.#sum;
    assert(sum >>> 0 === sum, "a checksum has 32 bits");
    return sum;
  }

  #change({ collection, key, content, isBase, seen, removals }: Change): void {
    if (this.#end + CHANGE_SIZE > COPY_SIZE_MAX) this.#flush();
    const [view, at] = [this.#view, this.#end];
    const size = content.kind === "removed" ? 0 : content.body.byteLength + 1;
    assert(key.byteLength > 0 && size >= 0, "a change names a document");
    view.setFloat64(at, collection, true);
    view.setUint32(at + 8, key.byteLength + (isBase === true ? IS_BASE : 0), true);
    view.setUint32(at + 12, size, true);
    view.setUint32(at + 16, seen === undefined ? 0 : this.#vector(seen.cursor), true);
    view.setFloat64(at + 20, seen?.version ?? 0, true);
    this.#end += CHANGE_SIZE;
    this.#add(key);
    if (content.kind === "document") {
      this.#add(content.body);
      if (content.marks !== undefined) this.#add(encodeCbor(content.marks));
    }
    assert(removals === undefined || removals.length > 0, "removals that are named are some");
    if (removals !== undefined) this.#add(encodeCbor(removals));
  }

  #add(bytes: Uint8Array): void {
    if (this.#end + bytes.byteLength > COPY_SIZE_MAX) {
      this.#flush();
      if (bytes.byteLength > COPY_SIZE_MAX) {
        this.#sum = checksum32(bytes, this.#sum);
        return;
      }
    }
    this.#bytes.set(bytes, this.#end);
    this.#end += bytes.byteLength;
    assert(this.#end <= COPY_SIZE_MAX, "what waits has room");
  }

  #flush(): void {
    const end = this.#end;
    if (end === 0) return;
    this.#starts[end] ??= this.#bytes.subarray(0, end);
    const bytes = this.#starts[end];
    assert(bytes.byteLength === end, "all that waits is hashed");
    this.#sum = checksum32(bytes, this.#sum);
    this.#end = 0;
  }

  /** Whatever the order of its entries. */
  #vector(vector: VersionVector): number {
    if (this.#last?.vector === vector) return this.#last.sum;
    const sum = this.#vectors.get(vector) ?? this.#newVector(vector);
    this.#last = { vector, sum };
    return sum;
  }

  #newVector(vector: VersionVector): number {
    const sorted = [...vector].sort(([a], [b]) => (a < b ? -1 : 1));
    assert(sorted.length === vector.size, "a vector has each origin once");
    const sum = checksum32(encodeText(sorted.map((entry) => entry.join(" ")).join()));
    this.#vectors.set(vector, sum);
    return sum;
  }

  #text(text: string): number {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    const sum = checksum32(encodeText(text));
    if (this.#texts.size < TEXTS_MAX) this.#texts.set(text, sum);
    assert(this.#texts.size <= TEXTS_MAX, "kept checksums are bounded");
    return sum;
  }
}
