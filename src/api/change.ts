/**
 * Changes of documents, as callers write them.
 *
 * @module
 */

import type { IsOpen, ItemOf, Path, PathValue } from "./path.ts";
import type { FieldOperators, Query } from "./query.ts";

/** Fields to merge, or update operators such as `{ $inc: { visits: 1 } }`. */
export type Change<T> = Partial<T> | Partially<T> | UpdateOperators<T>;

/** Some fields of a document, and of the objects in it. */
export type Partially<T> = T extends readonly unknown[] | Date | Uint8Array
  ? T
  : T extends object
    ? { readonly [K in keyof T]?: Partially<T[K]> }
    : T;

type Values<T> = { readonly [P in Path<T>]?: PathValue<T, P> };

/** Values for the paths that hold a kind of value. */
type At<T, Kind, Operand> = {
  readonly [P in Path<T> as Holds<PathValue<T, P>, Kind> extends true ? P : never]?: Operand;
};

type Holds<V, Kind> = true extends IsOpen<V> ? true : Extract<V, Kind> extends never ? false : true;

/** Operands for the paths that hold arrays, by the array's items. */
type Arrays<T, Kind extends "push" | "add" | "pull" | "all"> = {
  readonly [P in Path<T> as Holds<PathValue<T, P>, readonly unknown[]> extends true
    ? P
    : never]?: ArrayOperand<PathItem<PathValue<T, P>>, Kind>;
};

type PathItem<V> = true extends IsOpen<V> ? unknown : ItemOf<Extract<V, readonly unknown[]>>;

type ArrayOperand<Item, Kind> = unknown extends Item
  ? unknown
  : Kind extends "push"
    ? Item | PushMany<Item>
    : Kind extends "add"
      ? Item | { readonly $each: readonly Item[] }
      : Kind extends "all"
        ? readonly Item[]
        : Item | FieldOperators<Item> | (Item extends object ? Query<Item> : never);

/** Items to push, and what becomes of the array. */
interface PushMany<Item> {
  readonly $each: readonly Item[];
  readonly $position?: number;
  readonly $slice?: number;
  readonly $sort?: 1 | -1 | { readonly [path: string]: 1 | -1 };
}

/** Update operators; their paths may be dotted. */
export interface UpdateOperators<T> {
  readonly $set?: Values<T>;
  /** Only where the update makes the document. */
  readonly $setOnInsert?: Values<T>;
  readonly $unset?: { readonly [P in Path<T>]?: unknown };
  readonly $inc?: At<T, number | bigint, number | bigint>;
  readonly $mul?: At<T, number | bigint, number | bigint>;
  readonly $min?: Values<T>;
  readonly $max?: Values<T>;
  readonly $rename?: { readonly [P in Path<T>]?: string };
  readonly $currentDate?: At<T, Date | number, true | { readonly $type: string }>;
  readonly $push?: Arrays<T, "push">;
  readonly $addToSet?: Arrays<T, "add">;
  readonly $pull?: Arrays<T, "pull">;
  readonly $pullAll?: Arrays<T, "all">;
  readonly $pop?: At<T, readonly unknown[], 1 | -1>;
}
