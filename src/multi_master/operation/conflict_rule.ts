/**
 * How a collection settles conflicts: chosen when it is made, and the same for good.
 *
 * @module
 */

import type { Fields } from "../../base/value.ts";

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

/**
 * What becomes of a document that one node removed while another changed it. `update-wins`: it is
 * there. `remove-wins`: it is not, and no change that was made in ignorance of the removal comes
 * back. `as-written`: the removal is a write like any other, settled by time or by priority.
 */
export type RemovalRule = "update-wins" | "remove-wins" | "as-written";

/** The rule of one collection. */
export interface ConflictConfig {
  readonly strategy: ConflictStrategy;
  /** For `custom`: the name that the resolver was registered under. */
  readonly resolver?: string;
  /** For `node-priority`: node ids, the strongest first; others come behind them. */
  readonly priorities?: readonly string[];
  /**
   * Unless set, `as-written` for `last-write-wins` and `node-priority`, else `update-wins`.
   */
  readonly removal?: RemovalRule;
}

/** One of the concurrent documents, as a resolver sees it; the newest comes last. */
export interface Sibling {
  readonly body: Fields;
  readonly nodeId: string;
  /** ms since 1970, by the hybrid clock of the writer. */
  readonly writtenMs: number;
}

/**
 * Makes one document of several. It must depend on nothing but them, and gives what a document may
 * be: an object of values.
 */
export type ConflictResolver = (siblings: readonly Sibling[]) => Fields;

const BY_PARTS: ReadonlySet<ConflictStrategy> = new Set([
  ...(["field-merge", "counter", "set", "max", "min"] as const),
]);
const AS_WRITTEN: ReadonlySet<ConflictStrategy> = new Set(["last-write-wins", "node-priority"]);

/** Whether documents are settled field by field. */
export function isByParts({ strategy }: ConflictConfig): boolean {
  return BY_PARTS.has(strategy);
}

/** What becomes of a document that was removed and changed at the same time. */
export function removalOf({ strategy, removal }: ConflictConfig): RemovalRule {
  return removal ?? (AS_WRITTEN.has(strategy) ? "as-written" : "update-wins");
}
