/**
 * Whether an operation from outside has the form of one: checked whole, before anything of it is
 * taken in.
 *
 * @module
 */

import { KEY_SIZE_MAX, OPERATIONS_PER_REQUEST_MAX, VOTERS_MAX } from "../../base/limits.ts";
import { isCount } from "../../base/value.ts";
import type { Dot } from "./dot.ts";
import { isStamp } from "./hybrid_clock.ts";
import type {
  Change,
  Content,
  Mark,
  Operation,
  Packed,
  PackedChange,
  PackedOperation,
  RequestName,
  Source,
} from "./operation.ts";
import type { VersionVector } from "./version_vector.ts";

/** Origins in one vector: present ones, and past ones that are not retired yet. */
const VECTOR_SIZE_MAX = 1024 + VOTERS_MAX;
const ORIGIN_LENGTH_MAX = 256;
const UINT32_MAX = 0xffff_ffff;

/**
 * What is wrong with an operation; undefined if nothing is.
 *
 * @param hasKnownContext whether its context was checked before.
 */
export function faultOf(operation: PackedOperation, hasKnownContext = false): string | undefined {
  if (!isDot(operation)) return "its name is no dot";
  if (!isStamp(operation.stamp)) return "its stamp is no time";
  if (!hasKnownContext && !isVector(operation.context)) return "its context is no version vector";
  if (operation.context.has(operation.origin)) return "its context names its own origin";
  if (!isCount(operation.version)) return "its version is no number";
  if (!isUint32(operation.chain)) return "its chain is no checksum";
  const { request, changes } = operation;
  if (request !== undefined && !isRequest(request)) return "its request has no name";
  if (!Array.isArray(changes) || changes.length === 0) return "it changes nothing";
  if (changes.length > OPERATIONS_PER_REQUEST_MAX) return "it changes too many documents";
  for (const change of changes) {
    const fault = changeFault(change);
    if (fault !== undefined) return fault;
  }
  return hasTwice(changes) ? "it changes a document twice" : undefined;
}

/** Whether the contents that deltas have made are contents. */
export function hasContents({ changes }: Operation): boolean {
  return changes.every(({ content }) => isContent(content));
}

/** Whether each entry of a vector is an origin with the number of an operation. */
export function isVector(vector: VersionVector): boolean {
  if (!(vector instanceof Map) || vector.size > VECTOR_SIZE_MAX) return false;
  for (const [origin, sequence] of vector) {
    if (!isOrigin(origin) || !isCount(sequence) || sequence === 0) return false;
  }
  return true;
}

/** Whether a message holds operations, whatever is in them. */
export function areOperations(operations: readonly PackedOperation[]): boolean {
  return Array.isArray(operations) && operations.every(isObject);
}

/** Whether two of them name the same document. */
export function hasTwice(changes: readonly Pick<Change, "collection" | "key">[]): boolean {
  if (changes.length < 2) return false;
  const names = new Set(changes.map(({ collection, key }) => `${collection}:${key.join()}`));
  return names.size < changes.length;
}

function isRequest(request: RequestName): boolean {
  if (!isObject(request) || typeof request.session !== "string") return false;
  if (!isCount(request.answered)) return false;
  return isCount(request.number) && typeof request.isRepeat === "boolean";
}

function changeFault(change: PackedChange): string | undefined {
  if (!isObject(change)) return "a change has no collection";
  const { collection, key, content, packed, isBase, seen, removals } = change;
  if (!isCount(collection)) return "a change has no collection";
  const isKey = key instanceof Uint8Array && key.byteLength > 0 && key.byteLength <= KEY_SIZE_MAX;
  if (!isKey) return "a change has no key";
  const isOne =
    content === undefined ? isPacked(packed) : packed === undefined && isContent(content);
  if (!isOne) return "a change has no content, or two";
  if (isBase !== undefined && typeof isBase !== "boolean") return "a change is half a base";
  const isToken = seen === undefined || (isObject(seen) && isCount(seen.version));
  if (!isToken || (seen !== undefined && !isVector(seen.cursor))) {
    return "a change has seen no version vector";
  }
  if (removals === undefined) return undefined;
  const areDots = Array.isArray(removals) && removals.length > 0 && removals.every(isDot);
  return areDots ? undefined : "a change follows removals without names";
}

function isContent(content: Content): boolean {
  if (!isObject(content)) return false;
  if (content.kind === "removed") return true;
  if (content.kind !== "document" || !(content.body instanceof Uint8Array)) return false;
  const { marks } = content;
  if (marks === undefined) return true;
  if (!isObject(marks)) return false;
  if (marks.rest !== undefined && !isSource(marks.rest)) return false;
  return Array.isArray(marks.parts) && marks.parts.every(isMark);
}

function isPacked(packed: Packed | undefined): boolean {
  if (packed === undefined || !isObject(packed)) return false;
  const { base, size, delta } = packed;
  return isCount(base) && base > 0 && isCount(size) && delta instanceof Uint8Array;
}

function isMark(mark: Mark): boolean {
  if (!isObject(mark) || typeof mark.field !== "string") return false;
  return isSource(mark) && (mark.count === undefined || Number.isFinite(mark.count));
}

function isSource(source: Source): boolean {
  return isObject(source) && isDot(source.dot) && isStamp(source.stamp);
}

function isDot(dot: Dot): boolean {
  if (!isObject(dot)) return false;
  const { origin, sequence } = dot;
  return isOrigin(origin) && isCount(sequence) && sequence > 0;
}

function isOrigin(origin: unknown): boolean {
  return typeof origin === "string" && origin.length > 0 && origin.length <= ORIGIN_LENGTH_MAX;
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null;
}

function isUint32(value: unknown): boolean {
  return isCount(value) && value <= UINT32_MAX;
}
