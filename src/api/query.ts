/**
 * Queries and how found documents are given back, as callers write them.
 *
 * @module
 */

import type { ReadLevel } from "../protocol/wire/client_message.ts";
import type { IsOpen, ItemOf, Path, PathValue } from "./path.ts";

/** Condition on a field: a value, an item of its array, a pattern, or operators. */
export type FieldQuery<V> =
  true extends IsOpen<V>
    ? unknown
    : Comparand<Exclude<V, undefined>> | FieldOperators<Exclude<V, undefined>>;

/** A value that a field or an item of it may be equal to. */
type Comparand<V> =
  | V
  | ItemOf<V>
  | null
  | (ItemOf<V> extends infer I ? (I extends string ? RegExp : never) : never)
  | PartOf<V>;

type PartOf<V> = V extends readonly unknown[] | Date | Uint8Array
  ? never
  : V extends object
    ? { readonly [K in keyof V]?: FieldQuery<V[K]> }
    : never;

/** A value of an order: comparisons take in values of the field's own kind. */
type Ordered<V> = Exclude<V | ItemOf<V>, undefined>;

/** Operators on a field; which there are follows from what the field holds. */
export type FieldOperators<V> = {
  readonly $eq?: Comparand<V>;
  readonly $ne?: Comparand<V>;
  readonly $gt?: Ordered<V>;
  readonly $gte?: Ordered<V>;
  readonly $lt?: Ordered<V>;
  readonly $lte?: Ordered<V>;
  readonly $in?: readonly Comparand<V>[];
  readonly $nin?: readonly Comparand<V>[];
  readonly $exists?: boolean;
  /** Name or names of types, as `queries.md` lists them. */
  readonly $type?: string | number | readonly (string | number)[];
  readonly $not?: FieldOperators<V> | RegExp;
} & (HasItem<V, string> extends true
  ? { readonly $regex?: string | RegExp; readonly $options?: string }
  : unknown) &
  (HasItem<V, number | bigint> extends true
    ? {
        readonly $mod?: readonly [divisor: number, remainder: number];
        readonly $bitsAllSet?: Bits;
        readonly $bitsAllClear?: Bits;
        readonly $bitsAnySet?: Bits;
        readonly $bitsAnyClear?: Bits;
      }
    : unknown) &
  (Extract<V, readonly unknown[]> extends never
    ? unknown
    : {
        readonly $size?: number;
        readonly $all?: readonly (Comparand<V> | { readonly $elemMatch: ItemQuery<ItemOf<V>> })[];
        readonly $elemMatch?: ItemQuery<ItemOf<V>>;
      });

/** Positions of bits, or a mask. */
type Bits = number | readonly number[];

type HasItem<V, Kind> = Extract<V | ItemOf<V>, Kind> extends never ? false : true;

/** A condition on an item of an array. */
type ItemQuery<I> =
  true extends IsOpen<I>
    ? { readonly [path: string]: unknown }
    : I extends object
      ? Query<I> | FieldOperators<I>
      : FieldOperators<I>;

/** A query on documents of a type: their fields, dotted paths, and `$and`, `$or`, `$nor`. */
export type Query<T> =
  true extends IsOpen<T>
    ? { readonly [path: string]: unknown }
    : { readonly [P in Path<T>]?: FieldQuery<PathValue<T, P>> } & {
        readonly $and?: readonly Query<T>[];
        readonly $or?: readonly Query<T>[];
        readonly $nor?: readonly Query<T>[];
      };

/** A condition on documents: a query, or a function, which is called in this process only. */
export type Condition<T> = Query<T> | ((document: T) => boolean);

/** Paths with 1 (ascending) or -1 (descending), the most important first. */
export type Sort<T> = { readonly [P in Path<T>]?: 1 | -1 };

/** Paths with 1 (only these, and the id) or 0 (all but these). */
export type Projection<T> = { readonly [P in Path<T>]?: 0 | 1 };

/** What a projection leaves of a document; its id, in the field `id`, stays unless it is 0. */
export type Projected<T, P> =
  true extends IsOpen<T>
    ? T
    : 1 extends P[keyof P]
      ? Kept<T, PathsWith<P, 1> | (P extends { readonly id: 0 } ? never : "id")>
      : Left<T, PathsWith<P, 0>>;

type PathsWith<P, Flag> = { [K in keyof P & string]: P[K] extends Flag ? K : never }[keyof P &
  string];
type Head<P extends string> = P extends `${infer H}.${string}` ? H : P;
type Rest<P extends string, K extends string> = P extends `${K}.${infer R}` ? R : never;

type Kept<T, P extends string> = T extends readonly (infer I)[]
  ? Kept<I, P>[]
  : T extends object
    ? true extends IsOpen<T>
      ? T
      : {
          [K in keyof T as K extends Head<P> ? K : never]: K extends P
            ? T[K]
            : Kept<T[K], Rest<P, K & string>>;
        }
    : T;

type Left<T, P extends string> = T extends readonly (infer I)[]
  ? Left<I, P>[]
  : T extends object
    ? true extends IsOpen<T> | ([P] extends [never] ? true : false)
      ? T
      : { [K in keyof T as K extends P ? never : K]: Left<T[K], Rest<P, K & string>> }
    : T;

/** An order of texts for people, the same on every machine: see `docs/queries.md`. */
export interface CollationOptions {
  /** What counts: 1: letters, 2: and accents, 3: and case. */
  readonly strength: 1 | 2 | 3;
  /** Of the order's tables. */
  readonly version?: 1;
}

/** How one read is made. */
export interface ReadOptions {
  /** How fresh it is. */
  readonly read?: ReadLevel | undefined;
  /** Longest wait for each answer, in milliseconds. */
  readonly timeoutMs?: number | undefined;
  /** Ends the wait: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** How documents are found. */
export interface FindOptions<T = { readonly [field: string]: unknown }, P = Projection<T>>
  extends ReadOptions {
  readonly sort?: Sort<T> | undefined;
  readonly collation?: CollationOptions | undefined;
  readonly skip?: number | undefined;
  readonly limit?: number | undefined;
  /** Paths with 1 for what stays, or with 0 for what goes. */
  readonly projection?: (P & { readonly [K in Exclude<keyof P, Path<T>>]: never }) | undefined;
  /** Name of the index to use. */
  readonly hint?: string | undefined;
}

/** A found document: whole, or what a projection that is known leaves of it. */
export type Found<T, P> = [P] extends [never] ? T : Projection<T> extends P ? T : Projected<T, P>;
