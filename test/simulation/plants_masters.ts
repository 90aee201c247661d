/**
 * Planted bugs in what nodes decide that all take writes.
 *
 * @module
 */

import type { Plant } from "./plants.ts";

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
    find: "barrier: join(this.#members.closed, ...cursors)",
    replace: "barrier: NOTHING_SEEN",
    scenario: "X8: a removal",
  },
  {
    name: "evicted-heard",
    about: "operations of an incarnation that is over are taken in behind its end (X8)",
    file: "multi_master/multi_master.ts",
    find: "if (!this.#isOpen(origin) && sequence > seen(this.#members.closed, origin)) {",
    replace: "if (sequence < 0) {",
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
    find: "if (members.origins.get(node) !== origin) this.#peers.delete(node);",
    replace: "if (!members.origins.has(node) && origin) this.#peers.delete(node);",
    scenario: "multi-master: 300",
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
