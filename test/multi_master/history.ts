/**
 * Small histories of one document: who wrote what, after having seen which of the writes before.
 * In the order of their times, a millisecond apart.
 */

import type { Fields } from "../../src/base/value.ts";
import {
  contentAfter,
  type Resolution,
  type Resolving,
  resolve,
} from "../../src/multi_master/document/conflict_resolver.ts";
import { addVersion, type Causality } from "../../src/multi_master/document/document_versions.ts";
import type {
  ConflictConfig,
  ConflictResolver,
} from "../../src/multi_master/operation/conflict_rule.ts";
import { originOf } from "../../src/multi_master/operation/dot.ts";
import type { DocumentVersion } from "../../src/multi_master/operation/operation.ts";
import { join } from "../../src/multi_master/operation/version_vector.ts";
import { codec } from "./cluster.ts";

/** One write; `after` are positions of writes that its writer had seen, from 0 on. */
export interface Write {
  readonly node: string;
  /** `undefined` removes the document. */
  readonly body: Fields | undefined;
  readonly after?: readonly number[];
  /** ms; its position unless given. */
  readonly at?: number;
}

const PLAIN: Causality = { retiredAt: () => undefined, sameRequest: () => undefined };

export function resolvingOf(
  config: ConflictConfig,
  resolvers: ReadonlyMap<string, ConflictResolver> = new Map(),
): Resolving {
  return { config, codec, causality: PLAIN, resolvers };
}

export function versionsOf(
  config: ConflictConfig,
  writes: readonly Write[],
): readonly DocumentVersion[] {
  const made: DocumentVersion[] = [];
  for (const [position, { node, body, after = [], at = position }] of writes.entries()) {
    const known = after.map((i) => made[i]!);
    const before = siblingsOf(known);
    const origin = originOf(node, "1");
    const dot = { origin, sequence: position + 1 };
    const stamp = { wallMs: at, count: 0 };
    const context = new Map(
      join(...known.map((one) => join(one.context, new Map([[one.dot.origin, one.dot.sequence]])))),
    );
    context.delete(origin);
    const encoded = body === undefined ? undefined : codec.encode(body);
    const written = { dot, stamp, body: encoded, isApart: () => false };
    const content = contentAfter(before, resolvingOf(config), written);
    const removals = before.flatMap((one) =>
      one.content.kind === "removed" ? [...(one.removals ?? []), one.dot] : (one.removals ?? []),
    );
    const follows = config.removal === "remove-wins" && removals.length > 0 ? { removals } : {};
    made.push({ dot, stamp, context, version: 1, chain: 0, content, ...follows });
  }
  return made;
}

export function siblingsOf(versions: readonly DocumentVersion[]): readonly DocumentVersion[] {
  return versions.reduce<readonly DocumentVersion[]>((all, one) => addVersion(all, one, PLAIN), []);
}

/** What a reader sees in the end. */
export function seenAfter(
  config: ConflictConfig,
  writes: readonly Write[],
  resolvers?: ReadonlyMap<string, ConflictResolver>,
): Resolution & { readonly document: Fields | undefined } {
  const versions = siblingsOf(versionsOf(config, writes));
  const resolution = resolve(versions, resolvingOf(config, resolvers));
  const { body } = resolution;
  return { ...resolution, document: body === undefined ? undefined : codec.decode(body) };
}

export function bodyAfter(config: ConflictConfig, writes: readonly Write[]): Fields | undefined {
  return seenAfter(config, writes).document;
}
