/**
 * Reads of a database whose only node is in this process: straight from the state machine. A node
 * without peers answers a write after it has applied it, so such a read sees every write before it.
 *
 * @module
 */

import { type Fields, isFields } from "../../base/value.ts";
import type { LocalReads } from "../../client/collection/local_reads.ts";
import { wireFilter } from "../../client/collection/query_client.ts";
import { QueryRun } from "../../database/collection/query_run.ts";
import { lookUp } from "../../database/collection/value_lookup.ts";
import type { DocumentStateMachine } from "../../database/document_state_machine.ts";
import type { Clock } from "../../platform/clock.ts";
import { decodeCbor } from "../../protocol/encoding/cbor.ts";
import { readQueryFields } from "../../protocol/wire/request.ts";
import type { RaftDriver } from "../../replication/raft/raft_driver.ts";
import { specOf } from "../../server/query_service.ts";

/** Gives reads while the node leads: it was open before, and no other node ever leads. */
export function localReadsOf(parts: {
  readonly machine: DocumentStateMachine;
  readonly driver: RaftDriver;
  readonly clock: Clock;
}): () => LocalReads | undefined {
  const { machine, driver, clock } = parts;
  const reads: LocalReads = {
    read(collection, key) {
      const store = machine.collectionOrEmpty(collection);
      const location = store.locate(key);
      if (location === -1 || store.isOver(location, machine.timeAt(clock.wallMs()))) {
        return { version: 0, document: undefined };
      }
      const document = decodeCbor(store.document(location));
      return { version: store.version(location), document };
    },
    find(collection, query) {
      const { filter, sort, skip, projection, hint, idField = "id", limit = 0 } = query;
      const store = machine.collectionOrEmpty(collection);
      const isWhole = (sort ?? skip ?? projection ?? hint) === undefined;
      const isPlain = isWhole && isFields(filter) && Number.isSafeInteger(limit) && limit >= 0;
      const found = isPlain && lookUp(store, { filter: filter as Fields, idField, limit });
      if (found) return found;
      const fields = { ...query, collection, filter: wireFilter(filter) } as Fields;
      const spec = specOf(readQueryFields(fields));
      const nowMs = machine.timeAt(clock.wallMs());
      return new QueryRun(store, { ...spec, nowMs }, "now").now();
    },
  };
  return () => (driver.isLeader ? reads : undefined);
}
