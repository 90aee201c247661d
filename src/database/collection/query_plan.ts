/**
 * How a query is answered: by ids, by ranges of one index, or by looking at every document. An
 * index only narrows the search down; each document that it leads to is tested by the whole query.
 *
 * @module
 */

import { isSameCollation } from "../../base/collation.ts";
import { QueryError } from "../../base/errors.ts";
import { typeKey } from "../../base/order_key.ts";
import { typeRank, type Value } from "../../base/value.ts";
import type { IndexPath } from "../../protocol/encoding/catalog_command.ts";
import type { DocumentId } from "../../protocol/encoding/document_key.ts";
import { implies } from "../../query/implication.ts";
import { type Condition, conditionsOf, type Filter } from "../../query/matcher.ts";
import { hasEscapes } from "../../query/path.ts";
import type { SortPart } from "../../query/sort.ts";
import type { CollectionIndex } from "./collection_index.ts";

/** Ranges that one query may need of an index. */
const RANGES_MAX = 10_000;
/** Ranks of the types whose key texts are exact; those of arrays and objects are not. */
const EXACT_RANK_MAX = 5;

/** Entries from `from` on that sort before `to`. */
export interface KeyRange {
  readonly from: string;
  readonly to: string;
}

/** How documents are found. */
export type QueryPlan =
  | { readonly kind: "ids"; readonly ids: readonly DocumentId[]; readonly isSorted: boolean }
  | { readonly kind: "scan"; readonly isSorted: boolean }
  | {
      readonly kind: "index";
      readonly index: CollectionIndex;
      readonly ranges: readonly KeyRange[];
      /** From the last entry to the first. */
      readonly isReversed: boolean;
      /** The entries are in the order that the query asks for. */
      readonly isSorted: boolean;
      /** The query asks for an order, and the entries have it. */
      readonly isOrdering: boolean;
      /** How much the ranges narrow the search down, to compare plans. */
      readonly score: number;
    };

/** The parts of a query that its plan depends on. */
export interface PlanRequest {
  readonly filter: Filter;
  readonly sort: readonly SortPart[];
  readonly idField: string;
  /** Name of the index to use, or an empty text. */
  readonly hint: string;
}

/** Chooses a plan. Throws QueryError for a hint that cannot be followed. */
export function planQuery(request: PlanRequest, indexes: Iterable<CollectionIndex>): QueryPlan {
  const { filter, sort, idField, hint } = request;
  const conditions = conditionsOf(filter);
  const isSorted = sort.length === 0;
  const ids = idsOf(conditions, idField);
  if (hint === "" && ids !== undefined) {
    return { kind: "ids", ids, isSorted: isSorted || ids.length < 2 };
  }
  const plans = [...indexes]
    .filter((index) => {
      const { where, paths } = index.definition;
      const isImplied = where === undefined || implies(filter, where);
      if (!index.isWhole || !isImplied || paths.some(({ path }) => hasEscapes(path))) return false;
      if (hint !== "") return index.definition.name === hint;
      // Without a condition on its first path it serves only an order.
      const first = index.definition.paths[0]?.path;
      return !isSorted || conditions.some(({ path }) => path === first);
    })
    .flatMap((index) => planIndex(index, conditions, sort));
  const best = plans.sort((a, b) => rating(b) - rating(a))[0];
  if (best !== undefined && (hint !== "" || rating(best) > 0)) return best;
  if (hint === "") return { kind: "scan", isSorted };
  throw new QueryError(`Cannot use index "${hint}": there is none, or it does not fit the query`, {
    fields: { index: hint },
  });
}

type IndexPlan = Extract<QueryPlan, { kind: "index" }>;

/** Conditions count most; an order that need not be made counts more than a scan. */
function rating({ score, isOrdering, index }: IndexPlan): number {
  const isUnique = index.definition.isUnique && score > 0;
  return score * 4 + (isOrdering ? 1 : 0) + (isUnique ? 1 : 0);
}

function idsOf(conditions: readonly Condition[], idField: string): DocumentId[] | undefined {
  for (const { path, operator, operand } of conditions) {
    if (path !== idField) continue;
    const wanted = operator === "$eq" ? [operand] : operator === "$in" ? operand : undefined;
    if (!Array.isArray(wanted)) continue;
    const isId = (id: unknown): id is DocumentId =>
      typeof id === "string" || (typeof id === "number" && Number.isFinite(id));
    const values = wanted as readonly unknown[];
    if (values.every(isId)) return [...new Set(values)];
  }
  return undefined;
}

function planIndex(
  index: CollectionIndex,
  conditions: readonly Condition[],
  sort: readonly SortPart[],
): IndexPlan[] {
  const { definition } = index;
  let prefixes = [""];
  let score = 0;
  /** Leading paths that have one value each: any order begins behind them. */
  let fixed = 0;
  let ranges: KeyRange[] | undefined;
  for (const part of definition.paths) {
    const own = conditions.filter(({ path, operand }) => path === part.path && isExact(operand));
    const points = pointsOf(own);
    if (points === undefined || points.length * prefixes.length > RANGES_MAX) {
      ranges = rangesOf(index, { part, conditions: own, prefixes });
      if (ranges !== undefined) score += 1;
      break;
    }
    prefixes = prefixes.flatMap((prefix) => {
      return points.map((value) => prefix + index.keyOf(value, part.order));
    });
    score += points.length === 1 ? 3 : 2;
    if (prefixes.length === 1) fixed += 1;
  }
  if (definition.isSparse && !excludesMissing(definition.paths, conditions)) return [];
  const distinct = prefixes.length === 1 ? prefixes : [...new Set(prefixes)];
  const chosen = ranges ?? distinct.map((prefix) => ({ from: prefix, to: successor(prefix) }));
  const direction = chosen.length > 1 ? undefined : directionOf(index, { sort, fixed });
  const isOrdering = direction !== undefined;
  const isSorted = sort.length === 0 || isOrdering;
  const isReversed = direction === -1;
  return [{ kind: "index", index, ranges: chosen, isReversed, isSorted, isOrdering, score }];
}

function isExact(operand: Value): boolean {
  if (Array.isArray(operand)) {
    return (operand as readonly unknown[]).every((item) => {
      return !(item instanceof RegExp) && typeRank(item as Value) <= EXACT_RANK_MAX;
    });
  }
  return typeRank(operand) <= EXACT_RANK_MAX;
}

/** The values that a path may have; undefined when they cannot be listed. */
function pointsOf(conditions: readonly Condition[]): readonly Value[] | undefined {
  const equal = conditions.find(({ operator, operand }) => {
    return operator === "$eq" && !Array.isArray(operand);
  });
  if (equal !== undefined) return [equal.operand];
  const listed = conditions.find(({ operator }) => operator === "$in")?.operand;
  return Array.isArray(listed) ? (listed as readonly Value[]) : undefined;
}

/** The ranges that comparisons leave; undefined when there is no comparison. */
function rangesOf(
  index: CollectionIndex,
  search: {
    readonly part: IndexPath;
    readonly conditions: readonly Condition[];
    readonly prefixes: readonly string[];
  },
): KeyRange[] | undefined {
  const { part, conditions, prefixes } = search;
  const { ignoresCase, collation } = index.definition;
  if (ignoresCase || collation !== undefined) return undefined;
  const bounds = conditions.filter(({ operator, operand }) => {
    return operator !== "$eq" && operator !== "$in" && !Array.isArray(operand);
  });
  const first = bounds[0];
  if (first === undefined) return undefined;
  // Two bounds may be met by two items of one array.
  const used = index.isMultiple ? [first] : bounds;
  return prefixes.map((prefix) => {
    const type = prefix + typeKey(first.operand, part.order === -1);
    let range = { from: type, to: successor(type) };
    for (const { operator, operand } of used) {
      range = narrowed(range, boundsOf(prefix + index.keyOf(operand, part.order), operator, part));
    }
    return range;
  });
}

function boundsOf(
  key: string,
  operator: Condition["operator"],
  { order }: IndexPath,
): Partial<KeyRange> {
  const isUpward = (operator === "$gt" || operator === "$gte") === (order === 1);
  const includes = operator === "$gte" || operator === "$lte";
  if (isUpward) return { from: includes ? key : successor(key) };
  return { to: includes ? successor(key) : key };
}

function narrowed(range: KeyRange, bounds: Partial<KeyRange>): KeyRange {
  const { from = range.from, to = range.to } = bounds;
  const isLater = from > range.from;
  const isEarlier = to < range.to;
  return { from: isLater ? from : range.from, to: isEarlier ? to : range.to };
}

/** The first text that sorts behind all that begin with this one. */
function successor(text: string): string {
  let end = text.length;
  while (end > 0 && text.charCodeAt(end - 1) === 0xffff) end -= 1;
  if (end === 0) return "\uffff\uffff\uffff";
  const last = text.charCodeAt(end - 1);
  return text.slice(0, end - 1) + String.fromCharCode(last + 1);
}

/** 1 or -1 when the entries are in the requested order, forwards or backwards. */
function directionOf(
  index: CollectionIndex,
  order: { readonly sort: readonly SortPart[]; readonly fixed: number },
): 1 | -1 | undefined {
  const { sort, fixed } = order;
  const { paths, ignoresCase, isSparse, collation: own } = index.definition;
  if (index.isMultiple || ignoresCase || sort.length === 0) return undefined;
  const free = sort.filter(({ name }) => !paths.slice(0, fixed).some(({ path }) => path === name));
  if (isSparse && fixed === 0) return undefined;
  if (!free.every(({ collation }) => isSameCollation(collation, own))) return undefined;
  const directions = free.map(({ name, direction }, at) => {
    const part = paths[fixed + at];
    return part?.path === name ? direction * part.order : 0;
  });
  if (directions.every((direction) => direction === 1)) return 1;
  return directions.every((direction) => direction === -1) ? -1 : undefined;
}

/** Whether a document that has none of the paths cannot match: a sparse index lacks it. */
function excludesMissing(paths: readonly IndexPath[], conditions: readonly Condition[]): boolean {
  return conditions.some(({ path, operator, operand }) => {
    if (!paths.some((part) => part.path === path)) return false;
    return operator === "$in" || (operand !== null && operand !== undefined);
  });
}
