/**
 * Dotted paths into documents of a type, and the types of the values that they lead to.
 *
 * A path is followed four levels deep; what lies deeper is any text, so that documents which hold
 * documents of their own type have paths, too. Documents of no declared type have every path.
 *
 * @module
 */

/** Values that no path leads into. */
type Leaf =
  | string
  | number
  | bigint
  | boolean
  | symbol
  | null
  | undefined
  | Date
  | Uint8Array
  | RegExp
  | ((...args: never) => unknown);

type Below = [never, 0, 1, 2, 3];

/** Whether nothing is known of a type: `unknown`, `any`, or an object with any field. */
export type IsOpen<T> = unknown extends T ? true : string extends keyof T ? true : false;

/** The paths of a document: `"address.city"`, `"tags.0"`, and `"items.price"` through an array. */
export type Path<T, Depth extends number = 4> =
  true extends IsOpen<T>
    ? string
    : T extends Leaf
      ? never
      : T extends readonly (infer Item)[]
        ?
            | `${number}`
            | Deeper<`${number}`, Item, Depth>
            | (Depth extends 0 ? string : Path<Item, Below[Depth]>)
        : { [K in keyof T & string]: K | Deeper<K, T[K], Depth> }[keyof T & string];

type Deeper<Head extends string, Value, Depth extends number> =
  true extends IsOpen<Value>
    ? `${Head}.${string}`
    : NonNullable<Value> extends Leaf
      ? never
      : Depth extends 0
        ? `${Head}.${string}`
        : `${Head}.${Path<NonNullable<Value>, Below[Depth]>}`;

/** The type of the value at a path; of an array on the way, that of its items. */
export type PathValue<T, P extends string> =
  true extends IsOpen<T>
    ? unknown
    : P extends keyof T
      ? T[P]
      : P extends `${infer Head}.${infer Rest}`
        ? Known<ValueBehind<NonNullable<T>, Head, Rest>>
        : Known<Field<NonNullable<T>, P>>;

type ValueBehind<T, Head extends string, Rest extends string> = T extends Leaf
  ? never
  : T extends readonly (infer Item)[]
    ? Head extends `${number}`
      ? PathValue<NonNullable<Item>, Rest>
      : PathValue<NonNullable<Item>, `${Head}.${Rest}`>
    : Head extends keyof T
      ? PathValue<NonNullable<T[Head]>, Rest>
      : never;

type Field<T, K extends string> = T extends Leaf
  ? never
  : T extends readonly (infer Item)[]
    ? K extends `${number}`
      ? Item
      : Field<NonNullable<Item>, K>
    : K extends keyof T
      ? T[K]
      : never;

/** Where types end, anything may be. */
type Known<V> = [V] extends [never] ? unknown : V;

/** An item of an array, or the value itself. */
export type ItemOf<V> = V extends readonly (infer Item)[] ? Item : V;

/** Different values at a path: of arrays the items. */
export type DistinctValue<V> = true extends IsOpen<V> ? unknown : ItemOf<Exclude<V, undefined>>;
