/**
 * The types of queries, changes and results. The compiler runs this test: each line behind a
 * `@ts-expect-error` must be refused, every other one accepted.
 *
 * @module
 */

import { test } from "bun:test";
import { expectTypeOf } from "expect-type";
import type { AnyDocument, Collection, Database, DocumentChange } from "../../src/mod.ts";

interface Address {
  readonly city: string;
  readonly zip?: number;
}

interface Person {
  readonly id: string;
  readonly name: string;
  readonly age: number;
  readonly balance?: bigint;
  readonly isActive: boolean;
  readonly born?: Date;
  readonly photo?: Uint8Array;
  readonly tags: readonly string[];
  readonly address: Address;
  readonly homes?: readonly Address[];
  readonly nickname: string | null;
  readonly extra?: Readonly<Record<string, unknown>>;
  readonly unread?: unknown;
}

/** Holds documents of its own kind. */
interface Tree {
  readonly id: number;
  readonly label: string;
  readonly children?: readonly Tree[];
}

declare const people: Collection<Person>;
declare const trees: Collection<Tree>;
declare const things: Collection<AnyDocument>;
declare const database: Database;

/** Never called: the compiler reads it. */
export const queries = (): readonly unknown[] => [
  people.find({ name: "Ada" }),
  people.find({ name: /^A/ }),
  people.find({ name: { $regex: "^A", $options: "i" } }),
  people.find({ age: { $gt: 30, $lte: 40 }, isActive: true }),
  people.find({ age: { $in: [1, 2, null] }, balance: { $gt: 5n } }),
  people.find({ born: { $lt: new Date() } }),
  people.find({ tags: "red" }),
  people.find({ tags: ["red", "blue"] }),
  people.find({ tags: /^r/ }),
  people.find({ tags: { $all: ["red"], $size: 2 } }),
  people.find({ tags: { $elemMatch: { $gt: "a" } } }),
  people.find({ "tags.0": "red" }),
  people.find({ address: { city: "London", zip: 1 } }),
  people.find({ address: { city: { $gt: "L" } } }),
  people.find({ "address.city": "London" }),
  people.find({ "address.zip": { $exists: false } }),
  people.find({ "homes.city": "London" }),
  people.find({ "homes.0.zip": { $mod: [2, 0] } }),
  people.find({ homes: { $elemMatch: { city: "London", zip: { $gt: 1 } } } }),
  people.find({ nickname: null }),
  people.find({ "extra.anything": { $gt: 1 } }),
  people.find({ "unread.anything.below": { $gt: 1 } }),
  people.find({ $or: [{ name: "Ada" }, { age: { $not: { $gt: 3 } } }], $nor: [{ age: 1 }] }),
  people.find((person) => person.age > 30),
  trees.find({ "children.children.label": "leaf" }),
  trees.find({ "children.children.children.children.children.label": "deep" }),
  things.find({ anything: { $gt: 1 }, "a.b": [1] }),
  // @ts-expect-error: no such field
  people.find({ nmae: "Ada" }),
  // @ts-expect-error: another type
  people.find({ name: 5 }),
  // @ts-expect-error: another type
  people.find({ age: "30" }),
  // @ts-expect-error: another type in an operator
  people.find({ age: { $gt: "30" } }),
  // @ts-expect-error: an operator for texts
  people.find({ age: { $regex: "3" } }),
  // @ts-expect-error: an operator for numbers
  people.find({ name: { $mod: [2, 0] } }),
  // @ts-expect-error: an operator for arrays
  people.find({ name: { $size: 2 } }),
  // @ts-expect-error: no such operator
  people.find({ age: { $gth: 30 } }),
  // @ts-expect-error: no such path
  people.find({ "address.town": "London" }),
  // @ts-expect-error: another type at a path
  people.find({ "address.city": 5 }),
  // @ts-expect-error: another type in an operator of an object's field
  people.find({ address: { city: { $gt: 5 } } }),
  // @ts-expect-error: another type of item
  people.find({ tags: 5 }),
  // @ts-expect-error: no such field of an item
  people.find({ homes: { $elemMatch: { town: "London" } } }),
  // @ts-expect-error: no such field in a branch
  people.find({ $or: [{ nmae: "Ada" }] }),
  // @ts-expect-error: another type in a list
  people.find({ age: { $in: ["1"] } }),
  // @ts-expect-error: no such operator of a whole query
  people.find({ $xor: [] }),
];

/** Never called. */
export const options = (): readonly unknown[] => [
  people.find({}, { sort: { "address.city": 1, age: -1 }, limit: 3 }),
  people.createIndex("a", { keys: "address.city" }),
  people.createIndex("a", { keys: ["name", "homes.zip"] }),
  people.createIndex("a", { keys: { name: 1, age: -1 }, unique: true }),
  people.findBy("address.city", "London"),
  people.findRange("age", { gt: 3, lte: 5 }),
  people.greatest("age"),
  people.findPage({ age: 3 }, { sort: { name: 1 }, limit: 10 }),
  // @ts-expect-error: no such path
  people.find({}, { sort: { nmae: 1 } }),
  // @ts-expect-error: no such direction
  people.find({}, { sort: { name: 2 } }),
  // @ts-expect-error: no such path
  people.find({}, { projection: { name: 1, agee: 1 } }),
  // @ts-expect-error: no such option
  people.find({}, { lmit: 3 }),
  // @ts-expect-error: no such path
  people.createIndex("a", { keys: "nmae" }),
  // @ts-expect-error: no such path
  people.createIndex("a", { keys: { "address.town": 1 } }),
  // @ts-expect-error: another type
  people.findBy("age", "3"),
  // @ts-expect-error: another type
  people.findRange("age", { gt: "3" }),
  // @ts-expect-error: no such path
  people.lowest("agee"),
  // @ts-expect-error: no such path
  people.distinct("tgas"),
];

/** Never called. */
export const changes = (): readonly unknown[] => [
  people.update("1", { name: "Ada", address: { city: "Paris" } }),
  people.update("1", { $set: { name: "Ada", "address.zip": 5, "homes.0.city": "Rome" } }),
  people.update("1", { $inc: { age: 1, "address.zip": 2, balance: 1n } }),
  people.update("1", { $push: { tags: "red", homes: { city: "Rome" } } }),
  people.update("1", { $push: { tags: { $each: ["a", "b"], $slice: -3, $sort: 1 } } }),
  people.update("1", { $addToSet: { tags: { $each: ["a"] } } }),
  people.update("1", { $pull: { tags: "red", homes: { city: "Rome" } } }),
  people.update("1", { $pull: { tags: { $in: ["red"] } } }),
  people.update("1", { $pop: { tags: -1 }, $unset: { born: 1 }, $rename: { nickname: "nick" } }),
  people.update("1", { $currentDate: { born: true }, $min: { age: 3 } }),
  people.updateOne({ id: "1" }, { $setOnInsert: { age: 3 } }, { upsert: true }),
  people.bulkWrite([{ updateOne: { filter: { id: "1" }, update: { $inc: { age: 1 } } } }]),
  things.update("1", { $inc: { anything: 1 }, $push: { x: [1] } }),
  // @ts-expect-error: no such field
  people.update("1", { nmae: "Ada" }),
  // @ts-expect-error: another type
  people.update("1", { age: "3" }),
  // @ts-expect-error: no such field in an object
  people.update("1", { address: { town: "Paris" } }),
  // @ts-expect-error: no such path
  people.update("1", { $set: { nmae: "Ada" } }),
  // @ts-expect-error: another type
  people.update("1", { $set: { "address.city": 5 } }),
  // @ts-expect-error: no number there
  people.update("1", { $inc: { name: 1 } }),
  // @ts-expect-error: no number to add
  people.update("1", { $inc: { age: "1" } }),
  // @ts-expect-error: no array there
  people.update("1", { $push: { name: "x" } }),
  // @ts-expect-error: another type of item
  people.update("1", { $push: { tags: 5 } }),
  // @ts-expect-error: another type of items
  people.update("1", { $push: { tags: { $each: [5] } } }),
  // @ts-expect-error: no such operator
  people.update("1", { $increment: { age: 1 } }),
  // @ts-expect-error: another type in an operation
  people.bulkWrite([{ updateOne: { filter: { id: 1 }, update: { $inc: { age: 1 } } } }]),
];

/** Never called: code that knows no more than the kind. */
export const generic = <T extends Person>(
  some: Collection<T>,
  part: Partial<T>,
): readonly unknown[] => [some.update("1", part), some.find(), some.findById("1")];

/** Never called. */
export const results = async (): Promise<void> => {
  expectTypeOf(await people.find()).toEqualTypeOf<Person[]>();
  const named = await people.find({}, { projection: { name: 1, "address.city": 1 } });
  expectTypeOf(named[0]!.name).toEqualTypeOf<string>();
  expectTypeOf(named[0]!.address.city).toEqualTypeOf<string>();
  expectTypeOf(named[0]!).toHaveProperty("id");
  expectTypeOf(named[0]!).not.toHaveProperty("age");
  expectTypeOf(named[0]!.address).not.toHaveProperty("zip");
  const bare = await people.findOne({}, { projection: { tags: 0, "address.zip": 0 } });
  expectTypeOf(bare!).not.toHaveProperty("tags");
  expectTypeOf(bare!.address).toEqualTypeOf<{ readonly city: string }>();
  const extra = await people.find({}, { projection: { "extra.a": 1 } });
  expectTypeOf(extra[0]!.extra).toEqualTypeOf<Person["extra"]>();
  expectTypeOf(await people.distinct("tags")).toEqualTypeOf<string[]>();
  expectTypeOf(await people.distinct("address.zip")).toEqualTypeOf<number[]>();
  expectTypeOf(await things.distinct("x")).toEqualTypeOf<unknown[]>();
  expectTypeOf(await things.find({}, { projection: { x: 1 } })).toEqualTypeOf<AnyDocument[]>();
  for await (const change of database.watch<Person>()) {
    expectTypeOf(change).toEqualTypeOf<DocumentChange<Person>>();
    if (change.type === "insert") expectTypeOf(change.document).toEqualTypeOf<Person>();
  }
};

test("types are what the compiler finds", () => {
  // The gate's stage "types" checks the lines above; here only that they are still there.
  for (const part of [queries, options, changes, generic, results])
    expectTypeOf(part).toBeFunction();
});
