/**
 * The result of a read among versions that were written concurrently. A resolver is a function of
 * the versions alone, called at each read: it never writes, so nodes that resolve the same conflict
 * do not make new ones.
 *
 * @module
 */

import { identical } from "../../base/identical.ts";
import { DOCUMENT_DEPTH_MAX } from "../../base/limits.ts";
import { type Fields, isFields } from "../../base/value.ts";
import {
  type ConflictConfig,
  type ConflictResolver,
  isByParts,
  removalOf,
  type Sibling,
} from "../operation/conflict_rule.ts";
import { compareDots, type Dot, nodeOf } from "../operation/dot.ts";
import type { Content, DocumentVersion, Part, Source } from "../operation/operation.ts";
import {
  bodyOfParts,
  byField,
  joinParts,
  marksOf,
  type PartedVersion,
  partsAfter,
  partsOf,
} from "./document_parts.ts";
import { type Causality, knows, knowsDot, withoutRepeats } from "./document_versions.ts";

const NO_SIBLINGS: readonly Sibling[] = Object.freeze<Sibling[]>([]);

/** Turns documents into bytes and back; a document's numbers are finite. */
export interface DocumentCodec {
  /** Whether bytes from outside are a document: only such are decoded. */
  isDocument(body: Uint8Array): boolean;
  encode(body: Fields): Uint8Array;
  decode(body: Uint8Array): Fields;
}

/** What resolving needs beside the versions. */
export interface Resolving {
  readonly config: ConflictConfig;
  readonly codec: DocumentCodec;
  readonly causality: Causality;
  /** Resolvers of collections with a `custom` rule, by name. */
  readonly resolvers: ReadonlyMap<string, ConflictResolver>;
}

/** Result of a read. */
export interface Resolution {
  /** The document, encoded; `undefined`: there is no such document. */
  readonly body: Uint8Array | undefined;
  /** Whether versions stand beside each other until the next write. */
  readonly isConflict: boolean;
  /** All concurrent documents, where there are several. */
  readonly siblings: readonly Sibling[];
  /** Why the collection's own resolver was not used; then the newest document is shown. */
  readonly failure: string | undefined;
}

/** Resolves a document's versions to the result of a read. */
export function resolve(versions: readonly DocumentVersion[], resolving: Resolving): Resolution {
  const [sole] = versions;
  // Without concurrency a reader sees exactly what was written.
  if (versions.length < 2) {
    const body = sole?.content.kind === "document" ? sole.content.body : undefined;
    return { body, isConflict: false, siblings: NO_SIBLINGS, failure: undefined };
  }
  const isConflict = withoutRepeats(versions, resolving.causality).length > 1;
  const live = liveVersions(versions, resolving);
  const siblings = live.map((version) => siblingOf(version, resolving));
  const seen = { isConflict, siblings, failure: undefined };
  const [first] = live;
  if (first === undefined) return { ...seen, body: undefined };
  if (live.length === 1) return { ...seen, body: bytesOf(first) };
  if (isByParts(resolving.config)) {
    const parts = joinParts(parted(live, resolving), resolving.causality);
    return { ...seen, body: resolving.codec.encode(bodyOfParts(parts, resolving.config)) };
  }
  if (resolving.config.strategy === "custom") return custom(live, siblings, resolving);
  return { ...seen, body: bytesOf(strongest(live, resolving.config)) };
}

/** What a write must know of itself. */
export interface WrittenContent extends Source {
  /** The document as its writer wants it; `undefined` removes it. */
  readonly body: Uint8Array | undefined;
  /** Whether additions of that operation are counted by themselves. */
  readonly isApart: (dot: Dot) => boolean;
}

/** The content of the version that follows `versions`. */
export function contentAfter(
  versions: readonly DocumentVersion[],
  resolving: Resolving,
  written: WrittenContent,
): Content {
  const { body, dot, stamp } = written;
  if (body === undefined) return { kind: "removed" };
  if (!isByParts(resolving.config)) return { kind: "document", body };
  const { codec, config, causality } = resolving;
  const current = joinParts(parted(liveVersions(versions, resolving), resolving), causality);
  const before = byField(current);
  const fields = codec.decode(body);
  const isApart = (part: Part): boolean => written.isApart(part.dot);
  const parts = Object.keys(fields).flatMap((field) => {
    const one = { field, value: fields[field], dot, stamp, isApart };
    return partsAfter(before.get(field) ?? [], config, one);
  });
  const marks = marksOf(parts, { dot, stamp });
  return { kind: "document", body, ...(marks === undefined ? {} : { marks }) };
}

/** Whether a document's versions amount to none. */
export function isRemoved(versions: readonly DocumentVersion[], resolving: Resolving): boolean {
  const [sole] = versions;
  if (versions.length === 1) return sole?.content.kind === "removed";
  return liveVersions(versions, resolving).length === 0;
}

/** The versions that take part in what is read. */
function liveVersions(
  versions: readonly DocumentVersion[],
  { config, causality }: Pick<Resolving, "config" | "causality">,
): readonly DocumentVersion[] {
  const once = withoutRepeats(versions, causality);
  const isCounted = (one: DocumentVersion): boolean =>
    once.includes(one) || (isByParts(config) && holdsOthers(one, versions, causality));
  const counted = versions.filter(isCounted);
  const isLive = ({ content }: DocumentVersion): boolean => content.kind !== "removed";
  const removed = !counted.every(isLive);
  // A repeat by itself does not bring a document back.
  if (!counted.some(isLive)) return [];
  // What is settled field by field leaves out repeated parts: a repeat says what it follows.
  const live = (isByParts(config) ? versions : counted).filter(isLive);
  switch (removalOf(config)) {
    case "update-wins":
      return live;
    case "as-written":
      if (!removed) return live;
      return strongest(counted, config).content.kind === "removed" ? [] : live;
    case "remove-wins":
      if (removed) return [];
      return live.filter((version) => {
        const removals = live.flatMap((other) => other.removals ?? []);
        return removals.every((removal) => knows(version, removal, causality));
      });
  }
}

/** Whether a version holds parts that its own request did not write and no sibling knows. */
function holdsOthers(
  version: DocumentVersion,
  versions: readonly DocumentVersion[],
  causality: Causality,
): boolean {
  const { dot, content } = version;
  if (content.kind === "removed" || content.marks === undefined) return false;
  const { rest, parts } = content.marks;
  const own = causality.sameRequest(dot) ?? [dot];
  const siblings = versions.filter((one) => one !== version);
  const isOther = (source: Source): boolean =>
    own.every((one) => compareDots(one, source.dot) !== 0) &&
    !siblings.some((one) => knowsDot(one, source.dot, causality));
  return (rest !== undefined && isOther(rest)) || parts.some(isOther);
}

/** Of versions by time, that which counts: the newest, or that of the strongest node. */
function strongest(
  versions: readonly DocumentVersion[],
  { strategy, priorities = [] }: ConflictConfig,
): DocumentVersion {
  const newest = versions[versions.length - 1]!;
  if (strategy !== "node-priority") return newest;
  const rank = ({ dot }: DocumentVersion): number => {
    const at = priorities.indexOf(nodeOf(dot.origin));
    return at < 0 ? priorities.length : at;
  };
  return versions.reduce((best, other) => (rank(other) <= rank(best) ? other : best));
}

function bytesOf({ content }: DocumentVersion): Uint8Array | undefined {
  return content.kind === "document" ? content.body : undefined;
}

function parted(
  versions: readonly DocumentVersion[],
  { codec, config }: Resolving,
): readonly PartedVersion[] {
  return versions.flatMap((version) => {
    const body = bytesOf(version);
    if (body === undefined) return [];
    return [{ version, parts: partsOf(version, codec.decode(body), config) }];
  });
}

function siblingOf(version: DocumentVersion, { codec }: Resolving): Sibling {
  const body = bytesOf(version);
  return {
    body: body === undefined ? {} : codec.decode(body),
    nodeId: nodeOf(version.dot.origin),
    writtenMs: version.stamp.wallMs,
  };
}

/** Runs a registered resolver twice, on copies: one that is not a function is found out. */
function custom(
  live: readonly DocumentVersion[],
  siblings: readonly Sibling[],
  { config, resolvers, codec }: Resolving,
): Resolution {
  const newest = live[live.length - 1]!;
  const failed = (failure: string): Resolution => {
    return { isConflict: true, siblings, body: bytesOf(newest), failure };
  };
  const { resolver = "" } = config;
  const run = resolvers.get(resolver);
  if (run === undefined) return failed(`No resolver "${resolver}" is known`);
  try {
    const body = run(structuredClone(siblings));
    if (!isDocument(body)) return failed(`Resolver "${resolver}" gives no document`);
    const again = run(structuredClone(siblings));
    const isSame = isDocument(again) && identical(body, again);
    if (!isSame) return failed(`Resolver "${resolver}" gives two answers to one question`);
    return { isConflict: true, siblings, body: codec.encode(body), failure: undefined };
  } catch (error) {
    return failed(`Resolver "${resolver}" failed: ${String(error)}`);
  }
}

function isDocument(value: unknown): value is Fields {
  return isFields(value) && isStorable(value, 0);
}

/** Whether something is a value that a field may hold, and so are its parts. */
function isStorable(value: unknown, depth: number): boolean {
  if (depth > DOCUMENT_DEPTH_MAX) return false;
  switch (typeof value) {
    case "function":
    case "symbol":
    case "undefined":
      return false;
    case "object":
      break;
    default:
      return true;
  }
  if (value === null || value instanceof Date || value instanceof Uint8Array) return true;
  if (Array.isArray(value)) return value.every((item) => isStorable(item, depth + 1));
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  return Object.values(value).every((item) => isStorable(item, depth + 1));
}
