/**
 * Documents of operations that no member has: those of an incarnation that is over, behind its end.
 * What others have written since is not overwritten: the rule of the collection decides, as if the
 * two had met.
 *
 * @module
 */

import { equalBytes } from "../../base/bytes.ts";
import { latinText } from "../../base/order_key.ts";
import type { Agreement } from "../operation/agreement.ts";
import type { CollectionId } from "../operation/dot.ts";

import type { DocumentVersion, Operation } from "../operation/operation.ts";
import type { VersionVector } from "../operation/version_vector.ts";
import { type Resolving, resolve } from "./conflict_resolver.ts";
import { addVersion, type Causality, versionOf } from "./document_versions.ts";
import type { WrittenDocument } from "./written_document.ts";

/** What is to be done with lost operations. */
export interface Salvage {
  /** To be written as any others are. */
  readonly documents: readonly WrittenDocument[];
  /** Documents in which what is here stays. */
  readonly kept: readonly Pick<WrittenDocument, "collection" | "key">[];
}

/** What a salvage looks at. */
export interface SalvageParts {
  readonly agreement: Agreement;
  readonly floor: VersionVector;
  versions(collection: CollectionId, key: Uint8Array): readonly DocumentVersion[];
  /** Undefined: there is no such collection any more. */
  resolving(collection: CollectionId): Resolving | undefined;
}

interface Lost extends Pick<WrittenDocument, "collection" | "key"> {
  versions: readonly DocumentVersion[];
}

/** Says what of lost operations is to be written; they are given in their order. */
export function salvage(operations: readonly Operation[], parts: SalvageParts): Salvage {
  const lost = lostDocuments(operations, parts.agreement);
  const origins = new Set(operations.map(({ origin }) => origin));
  // Nobody has seen what was lost, even if the agreement says that later operations follow all of
  // that origin.
  const causality: Causality = {
    retiredAt: (origin) =>
      origins.has(origin) ? undefined : parts.agreement.retired.get(origin)?.version,
    sameRequest: () => undefined,
  };
  const documents: WrittenDocument[] = [];
  const kept: Pick<WrittenDocument, "collection" | "key">[] = [];
  for (const { collection, key, versions } of lost) {
    const found = parts.resolving(collection);
    if (found === undefined) {
      kept.push({ collection, key });
      continue;
    }
    const resolving = { ...found, causality };
    const here: readonly DocumentVersion[] = parts
      .versions(collection, key)
      .map((version) => complete(version, parts));
    const met = versions.reduce((all, one) => addVersion(all, one, causality), here);
    const [before, body] = [resolve(here, resolving).body, resolve(met, resolving).body];
    const isSame =
      before === undefined || body === undefined ? before === body : equalBytes(before, body);
    if (isSame) kept.push({ collection, key });
    else documents.push({ collection, key, body });
  }
  return { documents, kept };
}

/** A settled version without its context follows all up to the floor and the ends. */
function complete(version: DocumentVersion, { agreement, floor }: SalvageParts): DocumentVersion {
  if (version.version > 0) return version;
  const context = new Map(floor);
  for (const [origin, end] of agreement.closed) context.set(origin, end ?? 0);
  for (const [origin, { end }] of agreement.retired) context.set(origin, end);
  context.delete(version.dot.origin);
  return { ...version, context, version: agreement.version };
}

function lostDocuments(operations: readonly Operation[], agreement: Agreement): readonly Lost[] {
  const causality: Causality = {
    retiredAt: (origin) => agreement.retired.get(origin)?.version,
    sameRequest: () => undefined,
  };
  const lost = new Map<string, Lost>();
  for (const operation of operations) {
    for (const change of operation.changes) {
      const { collection, key } = change;
      const name = `${collection}:${latinText(key)}`;
      const document = lost.get(name) ?? { collection, key, versions: [] };
      const added = versionOf(operation, change);
      document.versions = addVersion(document.versions, added, causality);
      lost.set(name, document);
    }
  }
  return [...lost.values()];
}
