/**
 * The versions of one document that no other one has seen: one, or several that were written
 * concurrently (siblings). Joining them is a union without the versions that were seen, so the
 * result depends neither on the order nor on the number of deliveries, whatever a resolver says
 * later (Almeida, Shoker and Baquero, 2018, "Delta state replicated data types", section 7).
 *
 * @module
 */

import { compareDots, type Dot, type Origin } from "../operation/dot.ts";
import { compareStamps } from "../operation/hybrid_clock.ts";
import type { Change, DocumentVersion, Operation, SeenToken } from "../operation/operation.ts";
import { NOTHING_SEEN } from "../operation/version_vector.ts";

/** What a node knows of origins and requests. */
export interface Causality {
  /** The version of the agreement from which on operations follow all of that origin. */
  retiredAt(origin: Origin): number | undefined;
  /** Other operations that one request made on other nodes; with the dot itself. */
  sameRequest(dot: Dot): readonly Dot[] | undefined;
}

/** The version of a document that an operation writes. */
export function versionOf(operation: Operation, change: Change): DocumentVersion {
  const { origin, sequence, stamp, context, version, chain } = operation;
  const { content, seen: hadSeen, removals } = change;
  const dot = { origin, sequence };
  const made = { dot, stamp, context, version, chain, content };
  if (hadSeen === undefined && removals === undefined) return made;
  return {
    ...made,
    ...(hadSeen === undefined ? {} : { seen: hadSeen }),
    ...(removals === undefined ? {} : { removals }),
  };
}

/** Whether the writer of a version had seen an operation, as such or as another of its request. */
export function knows(version: DocumentVersion, dot: Dot, causality: Causality): boolean {
  const same = causality.sameRequest(dot);
  if (same === undefined) return knowsDot(version, dot, causality);
  return same.some((other) => knowsDot(version, other, causality));
}

/** Whether the writer of a version had seen that very operation, or is it. */
export function knowsDot(version: DocumentVersion, dot: Dot, causality: Causality): boolean {
  const { origin, sequence } = version.dot;
  if (dot.origin === origin && (version.seen === undefined || dot.sequence === sequence)) {
    return dot.sequence <= sequence;
  }
  const cursor = version.seen?.cursor ?? version.context;
  return hasSeen({ version: version.seen?.version ?? version.version, cursor }, dot, causality);
}

/** Whether what was seen holds an operation. */
export function hasSeen({ version, cursor }: SeenToken, dot: Dot, causality: Causality): boolean {
  const last = cursor.get(dot.origin);
  if (last !== undefined) return dot.sequence <= last;
  return version >= (causality.retiredAt(dot.origin) ?? Number.POSITIVE_INFINITY);
}

/** The siblings with one more version; the same array if that one was seen already. */
export function addVersion(
  versions: readonly DocumentVersion[],
  added: DocumentVersion,
  causality: Causality,
): readonly DocumentVersion[] {
  const [sole] = versions;
  if (sole === undefined) return [added];
  if (versions.length === 1 && knowsDot(added, sole.dot, causality)) {
    return compareDots(added.dot, sole.dot) === 0 ? versions : [added];
  }
  if (versions.some((version) => knowsDot(version, added.dot, causality))) return versions;
  const kept = versions.filter(({ dot }) => !knowsDot(added, dot, causality));
  return kept.length === 0 ? [added] : [...kept, added].sort(compareVersions);
}

/**
 * The siblings without those that only repeat what another one wrote or follows: their request was
 * carried out on two nodes before these met. All of them, where each repeats another.
 */
export function withoutRepeats(
  versions: readonly DocumentVersion[],
  causality: Causality,
): readonly DocumentVersion[] {
  const left = versions.filter((version) => {
    const mates = causality.sameRequest(version.dot);
    if (mates === undefined) return true;
    const isOther = (dot: Dot): boolean => compareDots(dot, version.dot) !== 0;
    return !versions.some((other) => {
      if (other === version) return false;
      const isMate = mates.some((mate) => compareDots(mate, other.dot) === 0);
      if (isMate) return compareVersions(other, version) < 0;
      return mates.some((mate) => isOther(mate) && knowsDot(other, mate, causality));
    });
  });
  return left.length === 0 ? versions : left;
}

/** By stamp, then by dot: the last one is the newest. */
export function compareVersions(
  a: Pick<DocumentVersion, "stamp" | "dot">,
  b: Pick<DocumentVersion, "stamp" | "dot">,
): number {
  return compareStamps(a.stamp, b.stamp) || compareDots(a.dot, b.dot);
}

/** Whether a version needs nothing but its document to be kept. */
export function isPlain({ content, seen: hadSeen, removals }: DocumentVersion): boolean {
  if (hadSeen !== undefined || removals !== undefined) return false;
  return content.kind === "document" && content.marks === undefined;
}

/** What is left of a version that every later operation has seen. */
export function plainVersion(version: DocumentVersion): DocumentVersion {
  const { dot, stamp, chain, content, isPruned: isBefore } = version;
  const plain = { dot, stamp, chain, context: NOTHING_SEEN, version: 0 };
  if (content.kind === "removed") return { ...plain, content };
  // Who added what to a number is needed as long as there is one.
  const parts = content.marks?.parts ?? [];
  const counts = parts.filter(({ count }) => count !== undefined);
  const marks = counts.length === 0 ? {} : { marks: { parts: counts } };
  const document = {
    ...plain,
    content: { kind: "document", body: content.body, ...marks },
  } as const;
  const isPruned = content.marks?.rest !== undefined || counts.length < parts.length;
  return isPruned || isBefore === true ? { ...document, isPruned: true } : document;
}
