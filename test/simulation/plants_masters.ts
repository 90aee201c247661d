/**
 * Planted bugs in what nodes decide that all take writes.
 *
 * @module
 */

import type { Plant } from "./plant.ts";

/** Each is caught by a scenario or by the random runs of `test/multi_master`. */
export const MULTI_MASTER_PLANTS: readonly Plant[] = [
  {
    name: "own-operation-early",
    about: "an own operation leaves before it is on disk",
    file: "multi_master/multi_master.ts",
    find: "const messages = this.#messages;",
    replace: "const messages = [...this.#messages, ...this.#push(operations)];",
    scenario: "multi-master: an own",
  },
  {
    name: "context-unchecked",
    about: "an operation is taken in before those that its writer had seen",
    file: "multi_master/multi_master.ts",
    find: "if (sequence > expected || !this.#hasSeen(operation.context)) {",
    replace: "if (sequence > expected) {",
    scenario: "multi-master: 300",
  },
  {
    name: "drift-unchecked",
    about: "operations of a clock that is ahead are taken in (X7)",
    file: "multi_master/multi_master.ts",
    find: "if (aheadMs > this.#config.driftMaxMs) {",
    replace: "if (aheadMs > 1e12) {",
    scenario: "X7:",
  },
  {
    name: "removal-forgotten-alone",
    about: "a removal is forgotten when the own disk has it (X8)",
    file: "multi_master/multi_master.ts",
    find: "const floor = meet(this.#durable, ...cursors);",
    replace: "const floor = this.#durable;",
    scenario: "X8:",
  },
  {
    name: "removal-forgotten-early",
    about: "a removal is forgotten while an operation ignorant of it may be under way (X8)",
    file: "multi_master/multi_master.ts",
    find: "barrier: join(...cursors)",
    replace: "barrier: new Map()",
    scenario: "X8: a removal",
  },
  {
    name: "evicted-heard",
    about: "operations of an incarnation that is over are taken in behind its end (X8)",
    file: "multi_master/multi_master.ts",
    find: "if (sequence <= endOf(this.#members, origin)) return false;",
    replace: "if (sequence > 0) return false;",
    scenario: "X8: its operations",
  },
  {
    name: "reseed-of-another",
    about: "a node begins again although an earlier incarnation of it was meant",
    file: "multi_master/multi_master.ts",
    find: "const isMeant = incarnation === this.#config.origin;",
    replace: "const isMeant = incarnation !== undefined;",
    scenario: "multi-master: 300",
  },
  {
    name: "cursor-of-earlier-incarnation",
    about: "what a node's earlier incarnation had counts for the present one",
    file: "multi_master/multi_master.ts",
    find: "this.#peers.clear();",
    replace: "",
    scenario: "multi-master: 300",
  },
  {
    name: "unknown-end-is-seen",
    about: "of an incarnation whose end is not agreed yet nothing is waited for",
    file: "multi_master/multi_master.ts",
    find: "Math.min(sequence, end ?? sequence)",
    replace: "Math.min(sequence, isOpen(this.#members, origin) ? sequence : (end ?? 0))",
    scenario: "multi-master: 300",
  },
  {
    name: "new-incarnation-writes-at-once",
    about: "a new incarnation writes before it has what the others have forgotten",
    file: "multi_master/multi_master.ts",
    find: "return forgotten !== undefined && includes(this.#durable, forgotten);",
    replace: "return forgotten === undefined || true;",
    scenario: "multi-master: a new incarnation",
  },
  {
    name: "concurrent-removals-kept",
    about: "a document that several nodes have removed is kept for ever",
    file: "multi_master/multi_master.ts",
    find: "isRemoved(versions, config.conflictOf(collection));",
    replace: "versions.length === 1 && isRemoved(versions, config.conflictOf(collection));",
    scenario: "multi-master: removals",
  },
  {
    name: "context-of-known-versions",
    about: "a write's context leaves out the removals that its node has forgotten",
    file: "multi_master/multi_master.ts",
    find: "context: new Map(this.#cursor), changes };",
    replace:
      "context: join(...documents.flatMap((d) => this.versions(d.collection, d.key)).map((v) => join(v.context, new Map([[v.dot.origin, v.dot.sequence]])))), changes };",
    scenario: "multi-master: 300",
  },
  {
    name: "newest-arrival-wins",
    about: "of concurrent versions the one that arrived last counts (X4)",
    file: "multi_master/document_versions.ts",
    find: "return [...kept, added].sort(compareVersions);",
    replace: "return [...kept, added];",
    scenario: "X4:",
  },
  {
    name: "counts-overwritten",
    about: "a number holds what its last writer counted, not what all have added (X4)",
    file: "multi_master/conflict_resolver.ts",
    find: 'return [...counts.filter((part) => !isOwn(part)), partOf(written, "count", own)];',
    replace: 'return [partOf(written, "count", written.value)];',
    scenario: "X4: counter",
  },
  {
    name: "removed-items-return",
    about: "an element of a set that one node removed comes back from another (X4)",
    file: "multi_master/document_versions.ts",
    find: "versions.every((version, i) => held[i]!.has(key) || !knows(version, dot));",
    replace: "versions.some((version, i) => held[i]!.has(key) || !knows(version, dot));",
    scenario: "X4: set",
  },
];
