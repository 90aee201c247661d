/**
 * Untrusted, decoded values as what they must be: for states and agreements, which are CBOR.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ProtocolError } from "../../base/errors.ts";
import { type Fields, isCount, isFields, type Value } from "../../base/value.ts";
import type { VersionVector } from "../../multi_master/operation/version_vector.ts";

/** Reads the values of one thing, which its errors name. All methods throw ProtocolError. */
export class FieldReader {
  readonly #what: string;

  /** @param what as in "Cannot read WHAT: a list is missing". */
  constructor(what: string) {
    this.#what = what;
  }

  broken(why: string): ProtocolError {
    const message = `Cannot read ${this.#what}: ${why}`;
    assert(message.length > why.length, "it says what cannot be read");
    return new ProtocolError(message);
  }

  map(value: unknown): Fields {
    if (!isFields(value)) throw this.broken("a map is missing");
    assert(Object.keys(value).length < Number.MAX_SAFE_INTEGER, "a map has so many fields");
    return value;
  }

  list(value: unknown): readonly Value[] {
    if (!Array.isArray(value)) throw this.broken("a list is missing");
    assert(value.length < Number.MAX_SAFE_INTEGER, "a list has so many items");
    return value;
  }

  /** Items of a list that have so many items themselves. */
  rows(value: unknown, length: number): readonly (readonly Value[])[] {
    return this.list(value).map((row) => {
      const items = this.list(row);
      if (items.length !== length) throw this.broken("a row has too few or too many items");
      assert(items.length === length, "a row has its items");
      return items;
    });
  }

  /** A text that is not empty. */
  text(value: Value): string {
    if (typeof value !== "string" || value === "") throw this.broken("a name is missing");
    assert(value.length < Number.MAX_SAFE_INTEGER, "a name has so many characters");
    return value;
  }

  /** A whole number from 0 on. */
  count(value: Value): number {
    if (!isCount(value)) throw this.broken("a number is missing");
    assert(value <= Number.MAX_SAFE_INTEGER, "a number is exact");
    return value;
  }

  /** Bytes, at least one. */
  bytes(value: Value): Uint8Array {
    const isSome = value instanceof Uint8Array && value.byteLength > 0;
    if (!isSome) throw this.broken("bytes are missing");
    assert(value.byteLength < Number.MAX_SAFE_INTEGER, "there are so many bytes");
    return value;
  }

  /** A list of [origin, number]. */
  vector(value: unknown): VersionVector {
    const found = this.rows(value, 2);
    const vector = new Map(
      found.map(([origin, last]) => [this.text(origin), this.count(last)] as const),
    );
    assert(vector.size <= found.length, "each origin has one row");
    return vector;
  }
}
