/**
 * The versions of all documents of a node.
 *
 * @module
 */

import { addVersion } from "./document_versions.ts";
import type { DocumentVersion, Operation } from "./operation.ts";
import { covers, type VersionVector } from "./version_vector.ts";

/** One document with its versions, as it travels in a seed. */
export interface StoredDocument {
  readonly collection: string;
  readonly key: string;
  readonly versions: readonly DocumentVersion[];
}

/** Versions by collection and key. */
export class VersionStore {
  readonly #documents = new Map<string, StoredDocument>();
  /** Names of documents that are not there, and are kept to tell others. */
  readonly #removed = new Set<string>();
  readonly #isGone: (document: StoredDocument) => boolean;

  /** @param isGone whether a document's versions amount to none. */
  constructor(
    isGone: (document: StoredDocument) => boolean,
    documents: Iterable<StoredDocument> = [],
  ) {
    this.#isGone = isGone;
    for (const document of documents) this.#put(document);
  }

  /** The versions of a document, the newest last; none if it was never written. */
  versions(collection: string, key: string): readonly DocumentVersion[] {
    return this.#documents.get(nameOf(collection, key))?.versions ?? [];
  }

  /** Takes an operation's writes in. A repeat changes nothing. */
  apply({ origin, sequence, stamp, context, changes }: Operation): void {
    for (const { collection, key, content } of changes) {
      const added = { dot: { origin, sequence }, context, stamp, content };
      const versions = addVersion(this.versions(collection, key), added);
      this.#put({ collection, key, versions });
    }
  }

  /** Every document, the removed ones included. */
  documents(): IterableIterator<StoredDocument> {
    return this.#documents.values();
  }

  /** Documents that are kept only to tell others that they were removed. */
  get tombstones(): number {
    return this.#removed.size;
  }

  /** Forgets the documents that are not there, if `floor` covers all their versions. */
  forget(floor: VersionVector): void {
    for (const name of this.#removed) {
      const versions = this.#documents.get(name)?.versions ?? [];
      if (!versions.every(({ dot }) => covers(floor, dot))) continue;
      this.#removed.delete(name);
      this.#documents.delete(name);
    }
  }

  /**
   * One text for all that a reader can see, equal on nodes that agree. Removals are left out: each
   * node forgets them in its own time.
   */
  text(): string {
    const rows = [...this.#documents]
      .filter(([name]) => !this.#removed.has(name))
      .map(([name, { versions }]) => [name, versions.map(versionText)])
      .sort(([a], [b]) => ((a as string) < (b as string) ? -1 : 1));
    return JSON.stringify(rows, plain);
  }

  #put(document: StoredDocument): void {
    const name = nameOf(document.collection, document.key);
    this.#documents.set(name, document);
    if (this.#isGone(document)) this.#removed.add(name);
    else this.#removed.delete(name);
  }
}

function nameOf(collection: string, key: string): string {
  return JSON.stringify([collection, key]);
}

function versionText({ dot, stamp, content }: DocumentVersion): unknown {
  return { dot, stamp, content };
}

/** bigints and bytes have no form of their own in JSON. */
function plain(_name: string, value: unknown): unknown {
  if (typeof value === "bigint") return { bigint: String(value) };
  return value instanceof Uint8Array ? { bytes: [...value] } : value;
}
