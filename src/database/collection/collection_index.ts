/**
 * An index over the documents of one collection: an ordered tree of entries, each the key text of
 * the indexed values followed by the document's key, pointing to where the document lies. Where an
 * indexed path leads to an array there is an entry for each of its items. A table beside it finds
 * the documents of a value that few have.
 *
 * An index is part of the state, but only its definition is logged and in snapshots; its entries
 * are made again from the documents.
 *
 * @module
 */

import sortedBtree from "sorted-btree";
import { readCollation } from "../../base/collation.ts";
import { QueryError, ValidationError } from "../../base/errors.ts";
import { INDEX_ENTRIES_MAX, INDEX_KEY_LENGTH_MAX, INDEX_PATHS_MAX } from "../../base/limits.ts";
import { orderKey, typeKey } from "../../base/order_key.ts";
import { FIRST_RULES, type RulesVersion, THIRD_RULES } from "../../base/rules_version.ts";
import { type Fields, isFields, shortText, type Value } from "../../base/value.ts";
import type { IndexDefinition, IndexPath } from "../../protocol/encoding/catalog_command.ts";
import { compileFilter, type Matcher } from "../../query/matcher.ts";
import { hasEscapes, isSameInFilters, parsePath, spreadAt } from "../../query/path.ts";
import { indexedAs } from "../../query/sort.ts";
import type { Location } from "./document_slab.ts";
import { VALUE_ENTRIES_MAX, ValueTable } from "./value_table.ts";

// The package is CommonJS: one runtime gives the class, another the module around it.
const loaded = sortedBtree as typeof sortedBtree & { readonly default?: typeof sortedBtree };
const BTree = loaded.default ?? sortedBtree;

/** An ordered tree of entries: the part of the package's that is used. */
export interface IndexTree {
  readonly size: number;
  set(entry: string, location: Location): boolean;
  delete(entry: string): boolean;
  /** A copy that shares its nodes until one of the two changes them. */
  clone(): IndexTree;
  keys(): IterableIterator<string>;
  entries(from?: string): IterableIterator<[string, Location]>;
  entriesReversed(
    to: string,
    reused: undefined,
    skipsHighest: boolean,
  ): IterableIterator<[string, Location]>;
  forRange(
    from: string,
    to: string,
    includesTo: boolean,
    visit: (entry: string, location: Location) => { break?: boolean } | undefined,
  ): unknown;
}

/** Reads a definition from untrusted fields, by the rules of the log. Throws QueryError. */
export function readIndexDefinition(value: unknown, rules: RulesVersion): IndexDefinition {
  const fields = value as Partial<IndexDefinition> | null | undefined;
  const { name, paths, isUnique, isSparse, ignoresCase, expiresAfterMs = 0 } = fields ?? {};
  const isNamed = typeof name === "string" && name !== "" && name.length <= 120;
  if (!isNamed || !Array.isArray(paths) || paths.length === 0 || paths.length > INDEX_PATHS_MAX) {
    throw new QueryError(`Cannot make the index: it has a name and 1 to ${INDEX_PATHS_MAX} paths`);
  }
  const read = paths.map((part: Partial<IndexPath> | null): IndexPath => {
    const { path, order } = part ?? {};
    if (typeof path !== "string" || path === "" || (order !== 1 && order !== -1)) {
      throw new QueryError("Cannot make the index: each part has a path, and an order of 1 or -1");
    }
    parsePath(path);
    if (rules >= THIRD_RULES && hasEscapes(path)) {
      throw new QueryError("Cannot make the index: its paths name no dots inside of names");
    }
    return { path, order };
  });
  const isTime = Number.isSafeInteger(expiresAfterMs) && expiresAfterMs >= 0;
  const isAtDate = rules > FIRST_RULES && fields?.expiresAtDate === true && expiresAfterMs === 0;
  const isExpiring = expiresAfterMs > 0 || isAtDate;
  if (!isTime || (isExpiring && read.length > 1)) {
    throw new QueryError("Cannot make the index: documents expire by the date at its one path");
  }
  const isSame = rules === FIRST_RULES || isSameInFilters(read[0]?.path ?? "", rules);
  if (isExpiring && !isSame) {
    throw new QueryError("Cannot let documents expire by a path with $, or with a number like 01");
  }
  const where = readWhere(fields?.where, rules, isExpiring);
  const collation = rules < THIRD_RULES ? undefined : readCollation(fields?.collation);
  if (collation !== undefined && ignoresCase === true) {
    throw new QueryError("Cannot make the index: it has a collation, or it ignores case");
  }
  return {
    name,
    expiresAfterMs,
    paths: read,
    isUnique: isUnique === true,
    isSparse: isSparse === true,
    ignoresCase: ignoresCase === true,
    ...(isAtDate && { expiresAtDate: true }),
    ...(where && { where }),
    ...(collation && { collation }),
  };
}

/** The query of a partial index. Throws QueryError. */
function readWhere(where: unknown, rules: RulesVersion, isExpiring: boolean): Fields | undefined {
  // Older rules know no such field, and left it out.
  if (where === undefined || rules < THIRD_RULES) return undefined;
  if (!isFields(where) || Object.keys(where).length === 0) {
    throw new QueryError("Cannot make the index: where is a query with a condition");
  }
  if (isExpiring) {
    throw new QueryError("Cannot make the index: documents expire whether where matches or not");
  }
  compileFilter(where, { steps: 0 }, THIRD_RULES);
  return where;
}

/** Units that are compared one by one: most keys differ in these, and a call costs more. */
const NEAR_UNITS = 12;

/** By UTF-16 code units. */
function compareTexts(a: string, b: string): number {
  const near = Math.min(a.length, b.length, NEAR_UNITS);
  for (let at = 0; at < near; at += 1) {
    const difference = a.charCodeAt(at) - b.charCodeAt(at);
    if (difference !== 0) return difference;
  }
  return a < b ? -1 : a === b ? 0 : 1;
}

/** The package's types for ranges are narrower than what it takes and gives. */
function newTree(): IndexTree {
  const tree: unknown = new BTree<string, Location>(undefined, compareTexts);
  return tree as IndexTree;
}

/** One index. */
export class CollectionIndex {
  readonly definition: IndexDefinition;
  readonly #paths: readonly (readonly string[])[];
  /** Whether a document is in a partial index. */
  readonly #holds: Matcher | undefined;
  readonly #tree: IndexTree = newTree();
  readonly #table: ValueTable;
  /** Entries that share their key with an entry of another document. */
  #duplicates = 0;
  /** Whether all documents are in it: before, no search uses it. */
  isReady = false;
  /** Keys of documents that it cannot hold; while it serves there are none. */
  readonly unfit = new Set<string>();

  /** Whether searches find all documents by it. */
  get isWhole(): boolean {
    return this.isReady && this.unfit.size === 0;
  }
  /** Whether a document ever had an array there: its entries sort otherwise than it. */
  isMultiple = false;

  /** `seed` hides the places of values; it is not part of the state. */
  constructor(definition: IndexDefinition, seed: number) {
    this.definition = definition;
    this.#table = new ValueTable(seed);
    this.#paths = definition.paths.map(({ path }) => parsePath(path, FIRST_RULES));
    const { where } = definition;
    this.#holds = where === undefined ? undefined : compileFilter(where, { steps: 0 }, THIRD_RULES);
  }

  /** Entries. */
  get size(): number {
    return this.#tree.size;
  }

  get hasDuplicates(): boolean {
    return this.#duplicates > 0;
  }

  /** The keys of a document, each once. Throws ValidationError for too many, or too long ones. */
  keysOf(document: Fields): readonly string[] {
    const { paths, isSparse } = this.definition;
    if (this.#holds?.(document) === false) return [];
    const lists = this.#paths.map((path) => {
      const { values, hasArray } = spreadAt(document, path, INDEX_ENTRIES_MAX);
      if (hasArray) this.isMultiple = true;
      return values;
    });
    if (isSparse && lists.every((list) => list.every((value) => value === undefined))) return [];
    if (lists.filter((list) => list.length > 1).length > 1) {
      throw new ValidationError(
        `Cannot index the document in "${this.definition.name}": several of its paths hold arrays`,
      );
    }
    let keys = [""];
    for (const [at, list] of lists.entries()) {
      const parts = list.map((value) => this.keyOf(value, paths[at]!.order));
      keys = keys.flatMap((key) => parts.map((part) => key + part));
    }
    const distinct = keys.length === 1 ? keys : [...new Set(keys)];
    const tooLong = distinct.find((key) => key.length > INDEX_KEY_LENGTH_MAX);
    if (distinct.length > INDEX_ENTRIES_MAX || tooLong !== undefined) {
      const names = paths.map(({ path }) => path).join(", ");
      const what =
        tooLong === undefined
          ? `${distinct.length} values`
          : `a value of ${tooLong.length} characters, which begins with ${shortText(lists.flat().find((value) => this.keyOf(value, 1).length > INDEX_KEY_LENGTH_MAX))}`;
      throw new ValidationError(
        `Cannot index the document in "${this.definition.name}": at most ${INDEX_ENTRIES_MAX} values of ${INDEX_KEY_LENGTH_MAX} characters each`,
        { remedy: `At ${names} it holds ${what}`, fields: { index: this.definition.name } },
      );
    }
    return distinct;
  }

  /** The value of a document that gives a key; undefined where several paths make it. */
  valueOf(document: Fields, key: string): Value {
    const [path, second] = this.#paths;
    if (path === undefined || second !== undefined) return undefined;
    const order = this.definition.paths[0]?.order ?? 1;
    return spreadAt(document, path).values.find((value) => this.keyOf(value, order) === key);
  }

  /** The key text of one value. */
  keyOf(value: Value, order: 1 | -1): string {
    return orderKey(indexedAs(value, this.definition), order === -1);
  }

  /**
   * Visits the entries of a key in order, until `visit` breaks. No key's text is the beginning of
   * another's, so each entry that begins with it has that value.
   */
  forKey(
    key: string,
    visit: (entry: string, location: Location) => { break?: boolean } | undefined,
  ): void {
    this.#tree.forRange(key, `${key}\uffff\uffff`, true, (entry, location) => {
      return entry.startsWith(key) ? visit(entry, location) : { break: true };
    });
  }

  /**
   * Calls `visit` for documents among which are all that have the key, in no order, until it
   * returns true. False when they are too many for that: then `forKey` finds them.
   */
  visitFew(key: string, visit: (location: Location) => boolean): boolean {
    return this.#table.visit(this.#table.hash(key), visit);
  }

  /** Whether so few have the key that `visitFew` may find them once they are noted. */
  hasFew(key: string): boolean {
    return this.#table.count(this.#table.hash(key)) <= VALUE_ENTRIES_MAX;
  }

  /** All documents with the key, as `forKey` found them: `visitFew` may find them from now on. */
  noteAll(key: string, locations: readonly Location[]): void {
    if (locations.length > 0) this.#table.learn(this.#table.hash(key), locations);
  }

  /** Whether a document other than that one has the key. */
  isTaken(key: string, documentKey: string): boolean {
    return this.holderOf(key, documentKey) !== "";
  }

  /** Key of the first document other than that one which has the key; empty when none has. */
  holderOf(key: string, documentKey: string): string {
    if (this.#table.count(this.#table.hash(key)) === 0) return "";
    let holder = "";
    this.forKey(key, (entry) => {
      const isOwn = entry.length === key.length + documentKey.length && entry.endsWith(documentKey);
      if (isOwn) return undefined;
      holder = entry.slice(key.length);
      return { break: true };
    });
    return holder;
  }

  /** `place`: where the document lies, and where it lay if it was in the index already. */
  add(
    keys: readonly string[],
    documentKey: string,
    place: { readonly before?: Location; readonly after: Location },
  ): void {
    const { before, after: location } = place;
    for (const key of keys) {
      const hash = this.#table.hash(key);
      if (!this.#tree.set(key + documentKey, location)) {
        this.#table.move(hash, before, location);
        continue;
      }
      if (this.definition.isUnique && this.isTaken(key, documentKey)) this.#duplicates += 1;
      this.#table.add(hash, location);
    }
  }

  /** `location`: where the document lay. */
  remove(keys: readonly string[], documentKey: string, location: Location): void {
    for (const key of keys) {
      if (!this.#tree.delete(key + documentKey)) continue;
      this.#table.remove(this.#table.hash(key), location);
      if (this.definition.isUnique && this.isTaken(key, documentKey)) this.#duplicates -= 1;
    }
  }

  /** Places of documents whose date is before that time, in ms since 1970; `count` at most. */
  before(timeMs: number, count: number): Location[] {
    const order = this.definition.paths[0]?.order ?? 1;
    const date = new Date(timeMs);
    const [bound, type] = [this.keyOf(date, order), typeKey(date, order === -1)];
    const found: Location[] = [];
    const [from, to] = order === 1 ? [type, bound] : [bound, `${type}\uffff\uffff`];
    this.#tree.forRange(from, to, false, (entry, location) => {
      if (entry.startsWith(type) && !entry.startsWith(bound)) found.push(location);
      return found.length === count ? { break: true } : undefined;
    });
    return found;
  }

  /** The entries themselves: to be read before anything is written. */
  get tree(): IndexTree {
    return this.#tree;
  }

  /** The entries as they are now, whatever is written later: shares its nodes with the index. */
  snapshot(): IndexTree {
    return this.#tree.clone();
  }
}
