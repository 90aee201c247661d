/**
 * What must hold after every event, whatever the faults: at most one leader a term (election
 * safety), one entry an index (state machine safety, log matching), and numbers that never go back.
 *
 * @module
 */

import { equalBytes } from "../../../src/base/bytes.ts";
import type { Node } from "../../../src/node/node.ts";
import type { Entry } from "../../../src/raft/types.ts";

/** A property that was broken. */
export class Violation extends Error {
  readonly checker: string;

  constructor(checker: string, message: string) {
    super(`${checker}: ${message}`);
    this.checker = checker;
  }
}

interface Seen {
  term: number;
  commitIndex: number;
  appliedIndex: number;
}

/** Remembers what was seen and compares. */
export class ClusterChecker {
  readonly #leaders = new Map<number, string>();
  /** The batch that was applied first at each index. */
  readonly #applied: (Entry | undefined)[] = [];
  readonly #seen = new Map<Node, Seen>();
  highestApplied = 0;

  /** Looks at one running node. */
  look(id: string, node: Node): void {
    const view = node.driver.view;
    if (view.role === "leader") {
      const other = this.#leaders.get(view.term) ?? id;
      if (other !== id)
        throw new Violation("election safety", `${other} and ${id} lead in term ${view.term}`);
      this.#leaders.set(view.term, id);
    }
    const seen = this.#seen.get(node) ?? { term: 0, commitIndex: 0, appliedIndex: -1 };
    const { appliedIndex } = node.machine;
    if (view.term < seen.term)
      throw new Violation("monotonic term", `${id}: ${seen.term} to ${view.term}`);
    if (view.commitIndex < seen.commitIndex || appliedIndex < seen.appliedIndex) {
      throw new Violation(
        "monotonic commit",
        `${id}: commit ${seen.commitIndex} to ${view.commitIndex}, applied ${seen.appliedIndex} to ${appliedIndex}`,
      );
    }
    if (appliedIndex > view.commitIndex) {
      throw new Violation(
        "applied is committed",
        `${id}: applied ${appliedIndex}, commit ${view.commitIndex}`,
      );
    }
    if (
      view.term !== seen.term ||
      view.commitIndex !== seen.commitIndex ||
      appliedIndex !== seen.appliedIndex
    ) {
      this.#compareApplied(id, node, seen.appliedIndex);
      this.#seen.set(node, { term: view.term, commitIndex: view.commitIndex, appliedIndex });
    }
  }

  #compareApplied(id: string, node: Node, from: number): void {
    const { appliedIndex } = node.machine;
    for (
      let index = Math.max(1, from + 1, node.log.firstIndex());
      index <= appliedIndex;
      index += 1
    ) {
      const entry = node.log.entries(index, index, 1)?.[0];
      if (entry === undefined) continue;
      const first = this.#applied[index];
      if (first === undefined) this.#applied[index] = entry;
      else if (!isSameEntry(first, entry)) {
        throw new Violation(
          "state machine safety",
          `entry ${index} is ${nameOf(first)} elsewhere, ${nameOf(entry)} on ${id}`,
        );
      }
    }
    this.highestApplied = Math.max(this.highestApplied, appliedIndex);
  }
}

/** A batch is the same bytes on every node. */
function isSameEntry(a: Entry, b: Entry): boolean {
  if (a.term !== b.term || a.firstSequence !== b.firstSequence) return false;
  return equalBytes(a.bytes, b.bytes);
}

function nameOf({ term, firstSequence, bytes }: Entry): string {
  return `${term}/${firstSequence}/${Bun.hash(bytes)}`;
}
