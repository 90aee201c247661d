/**
 * The versions of one document that no other one has seen: one, or several that were written
 * concurrently (siblings). Joining them is a union without the versions that were seen, so the
 * result depends neither on the order nor on the number of deliveries, whatever a resolver says
 * later (Almeida, Shoker and Baquero, 2018, "Delta state replicated data types", section 7).
 *
 * @module
 */

import { orderKey } from "../base/order_key.ts";
import { compareDots, type Dot } from "./dot.ts";
import { compareStamps } from "./hybrid_clock.ts";
import type { DocumentVersion, Part } from "./operation.ts";
import { covers } from "./version_vector.ts";

/** The siblings with one more version; the same array if that one was seen already. */
export function addVersion(
  versions: readonly DocumentVersion[],
  added: DocumentVersion,
): readonly DocumentVersion[] {
  if (versions.some((version) => knows(version, added.dot))) return versions;
  const kept = versions.filter((version) => !covers(added.context, version.dot));
  return [...kept, added].sort(compareVersions);
}

/** The parts that every sibling holds or has not seen, in the order of their names and dots. */
export function joinParts(versions: readonly DocumentVersion[]): readonly Part[] {
  const parts = new Map<string, Part>();
  for (const version of versions) {
    for (const part of partsOf(version)) parts.set(partKey(part), part);
  }
  const held = versions.map((version) => new Set(partsOf(version).map(partKey)));
  const survives = (key: string, { dot }: Part) =>
    versions.every((version, i) => held[i]!.has(key) || !knows(version, dot));
  return [...parts]
    .filter(([key, part]) => survives(key, part))
    .map(([, part]) => part)
    .sort(compareParts);
}

/** By stamp, then by dot: the last one is the newest. */
export function compareVersions(
  a: Pick<DocumentVersion, "stamp" | "dot">,
  b: Pick<DocumentVersion, "stamp" | "dot">,
): number {
  return compareStamps(a.stamp, b.stamp) || compareDots(a.dot, b.dot);
}

function knows({ context, dot }: DocumentVersion, other: Dot): boolean {
  return covers(context, other) || compareDots(dot, other) === 0;
}

/** A whole document, of a collection that had another rule, counts as its fields. */
function partsOf({ content, dot, stamp }: DocumentVersion): readonly Part[] {
  if (content.kind === "parts") return content.parts;
  if (content.kind === "removed") return [];
  const { body } = content;
  return Object.keys(body).map((field): Part => {
    return { field, kind: "value", dot, stamp, value: body[field] };
  });
}

/** Parts of one operation differ in field and kind; items of one field in their value. */
function partKey({ field, kind, dot, value }: Part): string {
  const item = kind === "item" ? orderKey(value) : "";
  return JSON.stringify([field, kind, dot.origin, dot.sequence, item]);
}

function compareParts(a: Part, b: Part): number {
  if (a.field !== b.field) return a.field < b.field ? -1 : 1;
  return compareVersions(a, b) || (partKey(a) < partKey(b) ? -1 : 1);
}
