/**
 * The result of a read among versions that were written concurrently. A resolver is a function of
 * the versions alone, called at each read: it never writes, so nodes that resolve the same conflict
 * do not make new ones.
 *
 * @module
 */

import { orderKey } from "../base/order_key.ts";
import { compareValues, equalValues, type Fields, type Value } from "../base/value.ts";
import { compareVersions, joinParts } from "./document_versions.ts";
import { nodeOf } from "./dot.ts";
import type { Content, DocumentVersion, Part } from "./operation.ts";

/**
 * How a collection settles conflicts.
 *
 * Whole documents: `last-write-wins`: the newest; `siblings`: the newest, with all of them beside
 * it; `node-priority`: that of the node that stands first in `priorities`; `custom`: what the
 * resolver of that name makes of them.
 *
 * Field by field, the newest value of each counts, except: `counter`: numbers are sums of what each
 * node added; `set`: arrays are sets, an element that was added while another node removed it
 * stays; `max`, `min`: the greatest or smallest of the concurrent values.
 */
export type ConflictStrategy =
  | "last-write-wins"
  | "field-merge"
  | "counter"
  | "set"
  | "max"
  | "min"
  | "siblings"
  | "node-priority"
  | "custom";

/** The rule of one collection: the same on all nodes. */
export interface ConflictConfig {
  readonly strategy: ConflictStrategy;
  /** For `custom`: the name that the resolver was registered under. */
  readonly resolver?: string;
  /** For `node-priority`: node ids, the strongest first; others come behind them. */
  readonly priorities?: readonly string[];
  /** Whether a document that was removed and written concurrently is there. Yes unless set. */
  readonly removal?: "update-wins" | "remove-wins";
}

/** One of the concurrent documents, as a resolver sees it; the newest comes last. */
export interface Sibling {
  readonly body: Fields;
  readonly nodeId: string;
  /** ms since 1970, by the hybrid clock of the writer. */
  readonly writtenMs: number;
}

/** Makes one document of several. It must depend on nothing but them. */
export type ConflictResolver = (siblings: readonly Sibling[]) => Fields;

/** Result of a read. */
export interface Resolution {
  /** `undefined`: there is no such document. */
  readonly body: Fields | undefined;
  /** Whether versions stand beside each other until the next write. */
  readonly isConflict: boolean;
  /** All concurrent documents. */
  readonly siblings: readonly Sibling[];
  /** Why the collection's own resolver was not used; then the newest document is shown. */
  readonly failure: string | undefined;
}

const BY_PARTS: ReadonlySet<ConflictStrategy> = new Set([
  "field-merge",
  "counter",
  "set",
  "max",
  "min",
]);

/** Resolves a document's versions to the result of a read. */
export function resolve(
  versions: readonly DocumentVersion[],
  config: ConflictConfig,
  resolvers: ReadonlyMap<string, ConflictResolver> = new Map(),
): Resolution {
  const live = liveVersions(versions, config);
  const siblings = live.map((version) => siblingOf(version, config));
  const isConflict = versions.length > 1;
  const seen = { isConflict, siblings, failure: undefined };
  if (live.length === 0) return { ...seen, body: undefined };
  if (BY_PARTS.has(config.strategy)) return { ...seen, body: bodyOf(joinParts(live), config) };
  if (config.strategy === "custom" && live.length > 1) {
    return { ...seen, ...custom(siblings, config, resolvers) };
  }
  return { ...seen, body: preferred(siblings, config).body };
}

/**
 * The content of the version that follows `versions`.
 *
 * @param body the document as its writer wants it; `undefined` removes it.
 */
export function contentAfter(
  versions: readonly DocumentVersion[],
  config: ConflictConfig,
  written: Pick<DocumentVersion, "dot" | "stamp"> & { readonly body: Fields | undefined },
): Content {
  const { body } = written;
  if (body === undefined) return { kind: "removed" };
  if (!BY_PARTS.has(config.strategy)) return { kind: "whole", body };
  const current = joinParts(liveVersions(versions, config));
  const parts = Object.keys(body).flatMap((field) => {
    const before = current.filter((part) => part.field === field);
    return partsAfter(before, config, { ...written, field, value: body[field] });
  });
  return { kind: "parts", parts };
}

/** Whether a document's versions amount to none. */
export function isRemoved(versions: readonly DocumentVersion[], config: ConflictConfig): boolean {
  return liveVersions(versions, config).length === 0;
}

function liveVersions(
  versions: readonly DocumentVersion[],
  { removal }: ConflictConfig,
): readonly DocumentVersion[] {
  const live = versions.filter(({ content }) => content.kind !== "removed");
  return removal === "remove-wins" && live.length < versions.length ? [] : live;
}

function siblingOf(version: DocumentVersion, config: ConflictConfig): Sibling {
  const { content, dot, stamp } = version;
  const body = content.kind === "whole" ? content.body : bodyOf(joinParts([version]), config);
  return { body, nodeId: nodeOf(dot.origin), writtenMs: stamp.wallMs };
}

function preferred(siblings: readonly Sibling[], config: ConflictConfig): Sibling {
  const newest = siblings[siblings.length - 1]!;
  if (config.strategy !== "node-priority") return newest;
  const priorities = config.priorities ?? [];
  const rank = ({ nodeId }: Sibling) => {
    const at = priorities.indexOf(nodeId);
    return at < 0 ? priorities.length : at;
  };
  return siblings.reduce((best, other) => (rank(other) <= rank(best) ? other : best));
}

/** Runs a registered resolver twice, on copies: one that is not a function is found out. */
function custom(
  siblings: readonly Sibling[],
  { resolver = "" }: ConflictConfig,
  resolvers: ReadonlyMap<string, ConflictResolver>,
): Pick<Resolution, "body" | "failure"> {
  const newest = siblings.at(-1)?.body;
  const run = resolvers.get(resolver);
  if (run === undefined) return { body: newest, failure: `No resolver "${resolver}" is known` };
  try {
    const body = run(structuredClone(siblings));
    if (!isPlainObject(body)) {
      return { body: newest, failure: `Resolver "${resolver}" gives no document` };
    }
    if (equalValues(body, run(structuredClone(siblings)))) return { body, failure: undefined };
    return { body: newest, failure: `Resolver "${resolver}" gives two answers to one question` };
  } catch (error) {
    return { body: newest, failure: `Resolver "${resolver}" failed: ${String(error)}` };
  }
}

function isPlainObject(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

interface WrittenField extends Pick<DocumentVersion, "dot" | "stamp"> {
  readonly field: string;
  readonly value: Value;
}

function partsAfter(
  before: readonly Part[],
  config: ConflictConfig,
  written: WrittenField,
): readonly Part[] {
  const { value } = written;
  const { strategy } = config;
  if (strategy === "counter" && typeof value === "number") return countsAfter(before, written);
  if (strategy === "set" && Array.isArray(value)) return itemsAfter(before, written, value);
  const same = before.length > 0 && equalValues(fieldValue(before, config), value);
  return same ? before : [partOf(written, "value", value)];
}

/** The writer's own count takes up the difference; those of others stay as they are. */
function countsAfter(before: readonly Part[], written: WrittenField): readonly Part[] {
  const counts = before.filter(({ kind }) => kind === "count");
  const added = (written.value as number) - sum(counts);
  if (counts.length > 0 && added === 0) return counts;
  const isOwn = (part: Part) => part.dot.origin === written.dot.origin;
  const own = sum(counts.filter(isOwn)) + added;
  return [...counts.filter((part) => !isOwn(part)), partOf(written, "count", own)];
}

/** An empty array as a value marks the field as a set, also one without elements. */
function itemsAfter(
  before: readonly Part[],
  written: WrittenField,
  values: readonly Value[],
): readonly Part[] {
  const byKey = new Map(values.map((value) => [orderKey(value), value]));
  const kept = before.filter(({ kind, value }) => kind === "item" && byKey.has(orderKey(value)));
  for (const { value } of kept) byKey.delete(orderKey(value));
  const mark = before.find(isSetMark) ?? partOf(written, "value", []);
  return [mark, ...kept, ...[...byKey.values()].map((value) => partOf(written, "item", value))];
}

function partOf({ field, dot, stamp }: WrittenField, kind: Part["kind"], value: Value): Part {
  return { field, kind, dot, stamp, value };
}

function isSetMark({ kind, value }: Part): boolean {
  return kind === "value" && Array.isArray(value);
}

/** The document that its parts make, its fields sorted by name. */
function bodyOf(parts: readonly Part[], config: ConflictConfig): Fields {
  const byField = new Map<string, Part[]>();
  for (const part of parts) {
    const group = byField.get(part.field);
    if (group === undefined) byField.set(part.field, [part]);
    else group.push(part);
  }
  return Object.fromEntries(
    [...byField].map(([field, group]) => [field, fieldValue(group, config)]),
  );
}

/** The kind that was written last decides what the field is. */
function fieldValue(parts: readonly Part[], { strategy }: ConflictConfig): Value {
  const newest = parts.reduce((best, part) => (compareVersions(part, best) > 0 ? part : best));
  if (newest.kind === "count") return sum(parts.filter(({ kind }) => kind === "count"));
  if (newest.kind === "item" || (strategy === "set" && isSetMark(newest))) return itemsOf(parts);
  const values = parts.filter(({ kind }) => kind === "value");
  if (strategy !== "max" && strategy !== "min") return newest.value;
  const sign = strategy === "max" ? 1 : -1;
  const order = (a: Part, b: Part) =>
    sign * compareValues(a.value, b.value) || compareVersions(a, b);
  return values.reduce((best, part) => (order(part, best) > 0 ? part : best)).value;
}

/** Each element once, sorted. */
function itemsOf(parts: readonly Part[]): readonly Value[] {
  const items = parts.filter(({ kind }) => kind === "item");
  const byKey = new Map(items.map(({ value }) => [orderKey(value), value]));
  return [...byKey].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value);
}

/** Added in the order of their dots: sums of fractions depend on it. */
function sum(counts: readonly Part[]): number {
  return counts.reduce((total, { value }) => total + (value as number), 0);
}
