/**
 * Reads of a database whose only node is in this process: straight from the state machine. What a
 * node without peers has answered it has applied, so such a read sees every write before it.
 *
 * @module
 */

import type { LocalReads } from "../client/local_reads.ts";
import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import { QueryRun } from "../database/query_run.ts";
import { decodeCbor } from "../protocol/cbor.ts";
import type { Fields } from "../query/value.ts";
import type { RaftDriver } from "../replication/raft_driver.ts";
import { readSpec } from "./query_service.ts";

/** Gives reads while the node leads: it was open before, and nobody else ever leads. */
export function localReadsOf(parts: {
  readonly machine: DocumentStateMachine;
  readonly driver: RaftDriver;
}): () => LocalReads | undefined {
  const { machine, driver } = parts;
  const reads: LocalReads = {
    read(collection, key) {
      const store = machine.collectionOrEmpty(collection);
      const location = store.locate(key);
      if (location === -1) return { version: 0, document: undefined };
      const document = decodeCbor(store.document(location));
      return { version: store.version(location), document };
    },
    find(collection, fields) {
      const spec = readSpec(fields as Fields);
      return new QueryRun(machine.collectionOrEmpty(collection), spec, "now").now();
    },
  };
  return () => (driver.isLeader ? reads : undefined);
}
