/**
 * The changes in a batch of the log, in order.
 *
 * @module
 */

import { viewOf } from "../base/bytes.ts";
import { type Fields, isFields } from "../base/value.ts";
import {
  batchCommands,
  type Compressor,
  decodeBatchHeader,
} from "../protocol/encoding/batch_codec.ts";
import { decodeCbor } from "../protocol/encoding/cbor.ts";
import {
  COMMAND_HEADER_SIZE,
  OperationCursor,
  type OperationKind,
  readCommandHeader,
} from "../protocol/encoding/command.ts";
import type { Entry } from "../raft/types.ts";

const TEXT_DECODER = new TextDecoder("utf-8", { ignoreBOM: true });

/** One operation of the log. Bytes are views of the batch. */
export interface LoggedOperation {
  readonly sequence: number;
  readonly timeMs: number;
  readonly collection: string;
  /** DROP: the collection with all documents. */
  readonly kind: OperationKind | "DROP";
  readonly key: Uint8Array;
  /** As in the operation; empty for DROP. */
  readonly document: Uint8Array;
}

const NOTHING = new Uint8Array(0);

/** Operations on documents, and dropped collections, whether they had an effect or not. */
export function* operationsIn(entry: Entry, compressor: Compressor): Generator<LoggedOperation> {
  const header = decodeBatchHeader(entry.bytes);
  const bytes = batchCommands(entry.bytes, header, compressor);
  const view = viewOf(bytes);
  const cursor = new OperationCursor();
  const { timeMs } = header;
  let sequence = header.firstSequence;
  for (let at = 0; at < bytes.byteLength; ) {
    const command = readCommandHeader(view, at);
    const end = at + command.size;
    const body = at + COMMAND_HEADER_SIZE;
    let next = sequence;
    for (const [nameAt, partEnd] of parts(view, { kind: command.kind, body, end })) {
      cursor.startAt(view, nameAt, partEnd);
      const collection = TEXT_DECODER.decode(bytes.subarray(cursor.nameStart, cursor.nameEnd));
      while (cursor.next()) {
        const key = bytes.subarray(cursor.keyStart, cursor.keyEnd);
        const document = bytes.subarray(cursor.documentStart, cursor.documentEnd);
        yield { sequence: next, timeMs, collection, kind: cursor.kind, key, document };
        next += 1;
      }
    }
    if (command.kind === "CATALOG") {
      const request = decodeCbor(bytes.subarray(body, end));
      const { action, collection } = (isFields(request) ? request : {}) as Fields;
      if (action === "dropCollection" && typeof collection === "string") {
        const name = collection;
        yield { sequence, timeMs, collection: name, kind: "DROP", key: NOTHING, document: NOTHING };
      }
    }
    sequence += command.count;
    at = end;
  }
}

/** Where the operations on each collection begin, with its name, and end. */
function* parts(
  view: DataView,
  command: { readonly kind: string; readonly body: number; readonly end: number },
): Generator<readonly [number, number]> {
  const { kind, body, end } = command;
  if (kind === "DOCUMENTS") yield [body, end];
  if (kind !== "TRANSACTION") return;
  for (let at = body + 4 + view.getUint32(body, true); at < end; ) {
    const next = at + 4 + view.getUint32(at, true);
    yield [at + 4, next];
    at = next;
  }
}
