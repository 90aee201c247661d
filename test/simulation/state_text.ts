/**
 * A node's whole state as text: a comparison that owes nothing to the nodes' own digests.
 *
 * @module
 */

import type { Node } from "../../src/node/node.ts";

/** Everything in a node's state, as text: equal states have equal texts. */
export function stateText(node: Node): string {
  const parts: string[] = [];
  for (const store of node.machine.collections()) {
    const frozen = store.freeze(store.momentAt(node.machine.appliedSequence));
    const documents = [...store.frozenRecords(frozen)].map(
      ({ key, document, version }) => `${hex(key)}:${version}:${hex(document)}`,
    );
    store.thaw(frozen);
    parts.push(store.name, ...documents.sort());
  }
  parts.push(hex(node.machine.sessions.encode()));
  return parts.join("\n");
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
