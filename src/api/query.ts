/**
 * Queries and how found documents are given back, as callers write them.
 *
 * @module
 */

import type { ReadLevel } from "../protocol/wire/client_message.ts";
import type { ProjectionSpec, SortSpec } from "../query/sort.ts";

/** Condition on a field: a value, an item of its array, a pattern, or operators. */
export type FieldQuery<V> =
  | V
  | null
  | (V extends string ? RegExp : never)
  | (V extends readonly (infer E)[] ? E | (E extends string ? RegExp : never) : never)
  | (V extends object ? FieldsOf<V> : never)
  | { readonly [operator: `$${string}`]: unknown };

type FieldsOf<V> = { readonly [K in keyof V]?: V[K] };

/** A query on documents of a type: their fields, dotted paths, and operators such as `$or`. */
export type Query<T> = { readonly [K in keyof T]?: FieldQuery<T[K]> } & {
  readonly [path: `${string}.${string}` | `$${string}`]: unknown;
};

/** A condition on documents: a query, or a function, which is called in this process only. */
export type Condition<T> = Query<T> | ((document: T) => boolean);

/** How documents are found. */
export interface FindOptions {
  readonly sort?: SortSpec | undefined;
  readonly skip?: number | undefined;
  readonly limit?: number | undefined;
  /** Paths with 1 for what stays, or with 0 for what goes. */
  readonly projection?: ProjectionSpec | undefined;
  /** Name of the index to use. */
  readonly hint?: string | undefined;
  readonly read?: ReadLevel | undefined;
}
