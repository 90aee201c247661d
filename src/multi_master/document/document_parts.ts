/**
 * The parts of a document that is settled field by field: those of one version, those that survive
 * among several, and those that a write leaves.
 *
 * @module
 */

import { identical } from "../../base/identical.ts";
import { orderKey } from "../../base/order_key.ts";
import { compareValues, type Fields, type Value } from "../../base/value.ts";
import type { ConflictConfig } from "../operation/conflict_rule.ts";
import { compareDots, type Dot, dotName } from "../operation/dot.ts";
import type { DocumentVersion, Mark, Marks, Part, Source } from "../operation/operation.ts";
import { type Causality, compareVersions, knows, knowsDot } from "./document_versions.ts";

/** A version with its parts. */
export interface PartedVersion {
  readonly version: DocumentVersion;
  readonly parts: readonly Part[];
}

/** The parts of a version whose body is `body`. */
export function partsOf(
  { dot, stamp, content, isPruned }: DocumentVersion,
  body: Fields,
  config: ConflictConfig,
): readonly Part[] {
  const marks = content.kind === "document" ? content.marks : undefined;
  const own = isPruned === true ? { dot, stamp, isSettled: true } : { dot, stamp };
  const rest = marks?.rest ?? own;
  const marked = byField(marks?.parts ?? []);
  return Object.keys(body).flatMap((field) => {
    const of = marked.get(field) ?? [];
    const value = body[field];
    if (isCounter(value, config)) return countParts(field, { value, own, marks: of });
    const isMarked = of.find(({ item }) => item === undefined);
    const whole: Source = isMarked ?? rest;
    if (!isSet(value, config)) return [partOf({ field, kind: "value", value }, whole)];
    const marks = groupBy(
      of.filter((mark) => mark !== isMarked),
      ({ item }) => orderKey(item),
    );
    // Twice in the array is once in the set.
    const elements = new Map(value.map((item) => [orderKey(item), item]));
    const items = [...elements].flatMap(([key, item]) => {
      const sources = marks.get(key) ?? [rest];
      return sources.map((source) => partOf({ field, kind: "item", value: item }, source));
    });
    return [partOf({ field, kind: "value", value: [] }, whole), ...items];
  });
}

/** What {@link partsOf} needs beside the body to give these parts of a version again. */
export function marksOf(parts: readonly Part[], own: Source): Marks | undefined {
  const rest = mostFrequent(parts) ?? own;
  const isRest = ({ dot }: Part): boolean => compareDots(dot, rest.dot) === 0;
  const counts = parts.filter(({ kind }) => kind === "count");
  const fields = new Set(counts.map(({ field }) => field));
  // A number that this version alone counts needs no mark.
  const alone = new Set(
    [...fields].filter((name) => {
      const shares = counts.filter(({ field }) => field === name);
      const [share] = shares;
      const isOwn = share !== undefined && compareDots(share.dot, own.dot) === 0;
      return shares.length === 1 && isOwn && share.isApart !== true;
    }),
  );
  const values = groupBy(parts, valueKey);
  const marked = parts.filter((part) => {
    if (part.kind === "count") return !alone.has(part.field);
    // An element that several added at the same time has all of them.
    return !isRest(part) || (values.get(valueKey(part)) ?? []).length > 1;
  });
  const isOwn = compareDots(rest.dot, own.dot) === 0;
  if (isOwn && marked.length === 0) return undefined;
  return { ...(isOwn ? {} : { rest }), parts: marked.map(markOf) };
}

/**
 * The parts that survive, by name and time. A part survives if every version either holds it or was
 * written without knowing it. Equal values count as the same part if one comes from a pruned
 * version: that has lost the record of where its parts came from, on each node in its own time.
 *
 * Two requests that two nodes carried out in opposite order each follow the other one: a field that
 * nothing is left of for that has the parts that no version replaced as such.
 */
export function joinParts(
  versions: readonly PartedVersion[],
  causality: Causality,
): readonly Part[] {
  const [first] = versions;
  if (first === undefined) return [];
  if (versions.length === 1) return [...first.parts].sort(compareParts);
  const held = versions.map(({ parts }) => new Set(parts.map(partKey)));
  const values = versions.map(({ parts }) => groupBy(parts, valueKey));
  const all = new Map<string, Part>();
  for (const { parts } of versions) for (const part of parts) all.set(partKey(part), part);
  const survives = (key: string, part: Part, isStrict: boolean): boolean =>
    versions.every(({ version, parts }, i) => {
      if (held[i]!.has(key)) return true;
      // A sum holds more than what one request added.
      const isSum = part.kind === "count" && part.isApart !== true;
      const isKnown = (isSum || isStrict ? knowsDot : knows)(version, part.dot, causality);
      if (!isKnown) return true;
      const same = part.kind === "count" ? [] : (values[i]?.get(valueKey(part)) ?? []);
      if (same.some((other) => other.isSettled === true || part.isSettled === true)) return true;
      return parts.some((other) => isRepeat(other, part, causality));
    });
  const left = [...all].filter(([key, part]) => survives(key, part, false)).map(([, part]) => part);
  const fields = new Set(left.map(({ field }) => field));
  for (const [key, part] of all) {
    if (!fields.has(part.field) && survives(key, part, true)) left.push(part);
  }
  return withoutRepeatedParts(left, causality).sort(compareParts);
}

/** The parts of the version that follows, when its writer wants the field to be `value`. */
export function partsAfter(
  before: readonly Part[],
  config: ConflictConfig,
  written: { readonly field: string; readonly value: Value } & Source & {
      /** Its own additions that are counted by themselves; see {@link countsAfter}. */
      readonly isApart: (part: Part) => boolean;
    },
): readonly Part[] {
  const { value } = written;
  if (isCounter(value, config)) return countsAfter(before, { ...written, value });
  if (isSet(value, config)) return itemsAfter(before, { ...written, value });
  if (before.length === 0) return [partOf({ field: written.field, kind: "value", value }, written)];
  const winner = winnerOf(before, config);
  const isSame = winner.kind === "value" && identical(winner.value, value);
  // A write that has seen all versions ends the conflict: what lost does not come back.
  return [isSame ? winner : partOf({ field: written.field, kind: "value", value }, written)];
}

/** The value that the parts of one field make. */
function fieldValue(parts: readonly Part[], config: ConflictConfig): Value {
  const newest = newestOf(parts);
  if (newest.kind === "count") return sum(parts.filter(({ kind }) => kind === "count"));
  const isArray = newest.kind === "item" || (config.strategy === "set" && isSetMark(newest));
  return isArray ? itemsOf(parts) : winnerOf(parts, config).value;
}

/** The document that its parts make, its fields sorted by name. */
export function bodyOfParts(parts: readonly Part[], config: ConflictConfig): Fields {
  return Object.fromEntries(
    [...byField(parts)].map(([field, group]) => [field, fieldValue(group, config)]),
  );
}

/** Parts of each field. */
export function byField<T extends { readonly field: string }>(
  parts: readonly T[],
): ReadonlyMap<string, readonly T[]> {
  return groupBy(parts, ({ field }) => field);
}

function groupBy<T>(
  all: readonly T[],
  keyOf: (one: T) => string,
): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const key = keyOf(one);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [one]);
    else group.push(one);
  }
  return groups;
}

function isCounter(value: Value, { strategy }: ConflictConfig): value is number {
  return strategy === "counter" && typeof value === "number";
}

function isSet(value: Value, { strategy }: ConflictConfig): value is readonly Value[] {
  return strategy === "set" && Array.isArray(value);
}

function countParts(
  field: string,
  { value, own, marks }: { value: number; own: Source; marks: readonly Mark[] },
): readonly Part[] {
  const shares = marks.filter(({ count }) => count !== undefined);
  if (shares.length === 0) return [partOf({ field, kind: "count", value }, own)];
  return shares.map((mark) => ({
    ...partOf({ field, kind: "count", value: mark.count }, mark),
    ...(mark.isApart === true ? { isApart: true } : {}),
  }));
}

function markOf({ field, kind, dot, stamp, value, isApart, isSettled }: Part): Mark {
  const source = isSettled === true ? { dot, stamp, isSettled } : { dot, stamp };
  if (kind === "item") return { field, item: value, ...source };
  if (kind === "value") return { field, ...source };
  const mark = { field, count: value as number, dot, stamp };
  return isApart === true ? { ...mark, isApart } : mark;
}

function mostFrequent(parts: readonly Part[]): Source | undefined {
  let best: { source: Source; times: number } | undefined;
  const times = new Map<string, { source: Source; times: number }>();
  for (const { kind, dot, stamp, isSettled } of parts) {
    if (kind === "count") continue;
    const name = dotName(dot);
    const source = isSettled === true ? { dot, stamp, isSettled } : { dot, stamp };
    const seen = times.get(name) ?? { source, times: 0 };
    seen.times += 1;
    times.set(name, seen);
    if (best === undefined || seen.times > best.times) best = seen;
  }
  return best?.source;
}

/**
 * The writer's own count takes up the difference; those of others stay as they are. What it added
 * for a request that was sent before stays apart, for another node may have added the same.
 */
function countsAfter(
  before: readonly Part[],
  written: { readonly field: string; readonly value: number } & Source & {
      readonly isApart: (part: Part) => boolean;
    },
): readonly Part[] {
  const counts = before.filter(({ kind }) => kind === "count");
  const total = sum(counts);
  if (counts.length > 0 && total === written.value) return counts;
  const added = clamp(written.value - total);
  const isOwn = (part: Part): boolean => part.dot.origin === written.dot.origin;
  const own = partOf({ field: written.field, kind: "count", value: 0 }, written);
  if (written.isApart(own)) return [...counts, { ...own, value: added, isApart: true }];
  const taken = counts.filter((part) => isOwn(part) && !written.isApart(part));
  const kept = counts.filter((part) => !taken.includes(part));
  return [...kept, { ...own, value: clamp(sum(taken) + added) }];
}

/** An empty array as a value marks the field as a set, also one without elements. */
function itemsAfter(
  before: readonly Part[],
  written: { readonly field: string; readonly value: readonly Value[] } & Source,
): readonly Part[] {
  const byKey = new Map(written.value.map((value) => [orderKey(value), value]));
  // All who added an element: one of them may be taken away by who does not know the others.
  const kept = before.filter(({ kind, value }) => kind === "item" && byKey.has(orderKey(value)));
  for (const { value } of kept) byKey.delete(orderKey(value));
  const { field } = written;
  const marks = before.filter(isSetMark);
  const mark =
    marks.length === 0 ? partOf({ field, kind: "value", value: [] }, written) : newestOf(marks);
  const added = [...byKey.values()].map((value) => partOf({ field, kind: "item", value }, written));
  return [mark, ...kept, ...added];
}

function partOf(
  what: Pick<Part, "field" | "kind" | "value">,
  { dot, stamp, isSettled }: Source,
): Part {
  return isSettled === true ? { ...what, dot, stamp, isSettled } : { ...what, dot, stamp };
}

function isSetMark({ kind, value }: Part): boolean {
  return kind === "value" && Array.isArray(value);
}

/** The kind that was written last decides what the field is. */
function newestOf(parts: readonly Part[]): Part {
  return parts.reduce((best, part) => (compareVersions(part, best) > 0 ? part : best));
}

/** Of concurrent values that which counts. */
function winnerOf(parts: readonly Part[], { strategy }: ConflictConfig): Part {
  const values = parts.filter(({ kind }) => kind === "value");
  const newest = newestOf(parts);
  if (values.length === 0 || newest.kind !== "value") return newest;
  if (strategy !== "max" && strategy !== "min") return newest;
  const sign = strategy === "max" ? 1 : -1;
  const order = (a: Part, b: Part): number =>
    sign * compareValues(a.value, b.value) || compareVersions(a, b);
  return values.reduce((best, part) => (order(part, best) > 0 ? part : best));
}

/** Each element once, sorted. */
function itemsOf(parts: readonly Part[]): readonly Value[] {
  const items = parts.filter(({ kind }) => kind === "item");
  const byKey = new Map(items.map(({ value }) => [orderKey(value), value]));
  return [...byKey].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value);
}

/** Added in the order of their dots, for sums of fractions depend on it; finite as their parts. */
function sum(counts: readonly Part[]): number {
  const sorted = counts.toSorted((a, b) => compareDots(a.dot, b.dot));
  return clamp(sorted.reduce((total, { value }) => total + (value as number), 0));
}

function clamp(value: number): number {
  return Math.min(Number.MAX_VALUE, Math.max(-Number.MAX_VALUE, value));
}

/** Of the additions that one request made on several nodes the first one counts. */
function withoutRepeatedParts(parts: readonly Part[], causality: Causality): Part[] {
  return parts.filter((part) => {
    if (part.isApart !== true) return true;
    return !parts.some(
      (other) => compareDots(other.dot, part.dot) < 0 && isRepeat(other, part, causality),
    );
  });
}

function isRepeat(other: Part, part: Part, causality: Causality): boolean {
  if (other.kind !== part.kind || other.field !== part.field) return false;
  if (other.isApart !== part.isApart) return false;
  const same: readonly Dot[] = causality.sameRequest(part.dot) ?? [];
  return same.some((one) => compareDots(one, other.dot) === 0);
}

/** Parts of one operation differ in field and kind; items of one field in their value. */
function partKey(part: Part): string {
  return `${dotName(part.dot)} ${valueKey(part)}`;
}

/** Equal for parts that say the same. */
function valueKey({ field, kind, value }: Part): string {
  return `${kind[0]}${field.length} ${field}${orderKey(value)}`;
}

function compareParts(a: Part, b: Part): number {
  if (a.field !== b.field) return a.field < b.field ? -1 : 1;
  return compareVersions(a, b) || (partKey(a) < partKey(b) ? -1 : 1);
}
