/**
 * What must hold after every event, whatever the faults: at most one leader a term (election
 * safety), one entry an index (state machine safety, log matching), and numbers that never go back.
 *
 * @module
 */

import type { Node } from "../../../src/node/node.ts";
import { decodeBatchHeader } from "../../../src/protocol/batch_codec.ts";

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
  /** Term and checksum of the batch applied at each index. */
  readonly #applied = new Map<number, string>();
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
      const name = `${entry.term}/${entry.firstSequence}/${decodeBatchHeader(entry.bytes).bodyChecksum}`;
      const other = this.#applied.get(index) ?? name;
      if (other !== name) {
        throw new Violation(
          "state machine safety",
          `entry ${index} is ${other} elsewhere, ${name} on ${id}`,
        );
      }
      this.#applied.set(index, name);
    }
    this.highestApplied = Math.max(this.highestApplied, appliedIndex);
  }
}
