/**
 * The log for archives elsewhere: committed entries behind the last one that they have, as they
 * stand in the log. The node keeps nothing for them meanwhile.
 *
 * @module
 */

import { CompactedError, ValidationError } from "../base/errors.ts";
import { PAGE_SIZE_GOAL } from "../base/limits.ts";
import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import { encodeCbor } from "../protocol/encoding/cbor.ts";
import type { QueryRequest } from "../protocol/wire/request.ts";
import type { ReplicatedLog } from "../storage/wal/iwal_manager.ts";
import type { QueryReply } from "./query_reply.ts";

/**
 * Answers with an array of sealed batches: those behind entry `after`, which must have the term
 * `term`; none when there are no more. Throws CompactedError when they are not kept any more,
 * ValidationError when that entry is none of this log.
 */
export function answerLog(
  parts: { readonly machine: DocumentStateMachine; readonly log: ReplicatedLog },
  request: Extract<QueryRequest, { readonly action: "log" }>,
  reply: QueryReply,
): void {
  const { machine, log } = parts;
  const { after, term } = request;
  if (after < log.base.index) {
    throw new CompactedError(
      `Cannot read the log behind entry ${after}: it is kept from entry ${log.base.index + 1} on`,
    );
  }
  const { appliedIndex } = machine;
  if (after > appliedIndex || log.term(after) !== term) {
    throw new ValidationError(
      `Cannot read the log behind entry ${after} of term ${term}: this log has no such entry`,
    );
  }
  const from = after + 1;
  const entries =
    from > appliedIndex
      ? []
      : (log.entries(from, appliedIndex, PAGE_SIZE_GOAL) ?? log.readFromDisk(from, PAGE_SIZE_GOAL));
  const committed = entries.filter(({ index }) => index <= appliedIndex);
  reply.result(encodeCbor(committed.map(({ bytes }) => bytes)));
}
