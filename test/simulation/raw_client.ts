/**
 * A client that chooses its request numbers, so that a request can be sent twice, late or to
 * another node.
 *
 * @module
 */

import { ByteWriter } from "../../src/base/bytes.ts";
import type { CStoreError } from "../../src/base/errors.ts";
import { encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import {
  beginCommand,
  endCommand,
  NO_SESSION,
  type RequestIdentity,
  writeDocumentsCommand,
} from "../../src/protocol/encoding/command.ts";
import { encodeKey } from "../../src/protocol/encoding/document_key.ts";
import { beginRequest, endRequest, readReplies } from "../../src/protocol/wire/client_message.ts";
import type { Host } from "./host.ts";

/** Hand-made requests to one node, and what came back. */
export class RawClient {
  readonly answers = new Map<number, number | CStoreError>();
  readonly #end: { submit(body: Uint8Array): void };

  constructor(host: Host) {
    this.#end = host.node!.openLocal((body) =>
      readReplies(body, {
        state: () => undefined,
        written: ({ firstRequestId, firstVersion, count }) => {
          for (let i = 0; i < count; i += 1) this.answers.set(firstRequestId + i, firstVersion + i);
        },
        result: () => undefined,
        error: (requestId, error) => this.answers.set(requestId, error),
      }),
    );
  }

  openSession(requestId: number): void {
    this.#submit(requestId, 5000, (writer) =>
      endCommand(writer, beginCommand(writer, "OPEN_SESSION", { ...NO_SESSION, count: 1 })),
    );
  }

  put(
    identity: RequestIdentity,
    document: { readonly id: string; readonly value: string },
    call: { readonly id: number; readonly deadlineMs: number },
  ): void {
    const operation = {
      kind: "PUT",
      key: encodeKey(document.id),
      document: encodeCbor(document).slice(),
    } as const;
    const collection = new TextEncoder().encode("registers");
    this.#submit(call.id, call.deadlineMs, (writer) =>
      writeDocumentsCommand(writer, identity, { collection, operations: [operation] }),
    );
  }

  #submit(requestId: number, deadlineMs: number, write: (writer: ByteWriter) => void): void {
    const writer = new ByteWriter(256);
    const start = beginRequest(writer, "COMMAND", { requestId, deadlineMs });
    write(writer);
    endRequest(writer, start);
    this.#end.submit(writer.copy());
  }
}
