/**
 * A state machine with a log in front of it: requests in, results out.
 *
 * @module
 */

import { ByteWriter, encodeText } from "../../src/base/bytes.ts";
import type { CStoreError } from "../../src/base/errors.ts";
import { DocumentStateMachine } from "../../src/database/document_state_machine.ts";
import { zlibCompressor } from "../../src/platform/compression.ts";
import {
  BATCH_HEADER_SIZE,
  prepareBatch,
  sealBatch,
} from "../../src/protocol/encoding/batch_codec.ts";
import { decodeCbor, encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import { writeSessionIds } from "../../src/protocol/encoding/cluster_command.ts";
import {
  beginCommand,
  type DocumentOperation,
  endCommand,
  NO_SESSION,
  type RequestIdentity,
  writeDocumentsCommand,
} from "../../src/protocol/encoding/command.ts";
import { type DocumentId, encodeKey } from "../../src/protocol/encoding/document_key.ts";
import { readOperationResults } from "../../src/protocol/encoding/operation_result.ts";
import type { Entry } from "../../src/raft/types.ts";

/** One operation in words: `["PUT", "id", { a: 1 }, { ifVersion: 3 }]`. */
export type Operation = readonly [
  kind: DocumentOperation["kind"],
  id: DocumentId,
  fields?: object | undefined,
  options?: { readonly ifVersion?: number; readonly back?: boolean },
];

/** What came of one operation. */
export interface Outcome {
  readonly found: boolean;
  readonly version: number;
  readonly document?: unknown;
}

/** What came of one command. */
export type Result =
  | { readonly written: number }
  | { readonly outcomes: readonly Outcome[] }
  | { readonly error: string; readonly actualVersion?: number };

/** Writes one command. */
export type Command = { readonly count: number; readonly write: (writer: ByteWriter) => void };

/** A DOCUMENTS command. */
export function request(
  operations: readonly Operation[],
  options: { readonly collection?: string; readonly identity?: RequestIdentity } = {},
): Command {
  const write = (writer: ByteWriter): void =>
    writeDocumentsCommand(writer, options.identity ?? NO_SESSION, {
      collection: encodeText(options.collection ?? "c"),
      operations: operations.map(toOperation),
    });
  return { count: operations.length, write };
}

function toOperation([kind, id, fields, options]: Operation): DocumentOperation {
  const document = fields instanceof Uint8Array ? fields : encodeCbor(fields ?? {});
  return {
    kind,
    key: encodeKey(id),
    document: kind === "REMOVE" ? new Uint8Array(0) : document,
    ifVersion: options?.ifVersion,
    returnDocument: options?.back ?? false,
  };
}

/** An OPEN_SESSION command. */
export function openSession(): Command {
  return consensus("OPEN_SESSION", () => undefined);
}

/** An EXPIRE_SESSIONS command. */
export function expireSessions(...ids: readonly number[]): Command {
  return consensus("EXPIRE_SESSIONS", (writer) => writeSessionIds(writer, ids));
}

/** A RULES command. */
export function rules(version: number): Command {
  return consensus("RULES", (writer) => writer.u32(version));
}

/** Any command of consensus. */
export function consensus(
  kind: Parameters<typeof beginCommand>[1],
  writeBody: (writer: ByteWriter) => void,
): Command {
  return {
    count: 1,
    write: (writer) => {
      const start = beginCommand(writer, kind, { ...NO_SESSION, count: 1 });
      writeBody(writer);
      endCommand(writer, start);
    },
  };
}

/** Builds the entries of one log and applies them. */
export class Machine {
  readonly state: DocumentStateMachine;
  readonly entries: Entry[] = [];
  timeMs = 1_000;
  codec: "none" | "zstd" | "deflate-raw" = "none";
  #index = 0;
  #sequence = 1;

  constructor(seed = 1) {
    this.state = new DocumentStateMachine(zlibCompressor, seed);
  }

  /** The sequence number that the next operation gets. */
  get nextSequence(): number {
    return this.#sequence;
  }

  /** Applies all commands as one batch. */
  apply(...commands: readonly Command[]): Result[] {
    const entry = this.entry(...commands);
    this.entries.push(entry);
    return applyEntry(this.state, entry);
  }

  /** Applies one request in a batch of its own. */
  one(...operations: readonly Operation[]): Result {
    return this.apply(request(operations))[0]!;
  }

  /** Opens a session and gives its id. */
  openSession(): number {
    const [result] = this.apply(openSession());
    return (result as { written: number }).written;
  }

  /** The next entry of the log, with these commands. */
  entry(...commands: readonly Command[]): Entry {
    const writer = new ByteWriter();
    writer.reserve(BATCH_HEADER_SIZE);
    const count = commands.reduce((sum, command) => sum + command.count, 0);
    for (const command of commands) command.write(writer);
    const compression = { codec: this.codec, compressor: zlibCompressor };
    const prepared = prepareBatch(writer.copy(), { count, timeMs: this.timeMs }, compression);
    this.#index += 1;
    const place = { term: 1, index: this.#index, firstSequence: this.#sequence };
    this.#sequence += count;
    return { ...place, count, bytes: sealBatch(prepared, place) };
  }

  /** A document as it is now. */
  read(id: DocumentId, collection = "c"): Outcome {
    const { found, version, document } = this.state.read(
      encodeText(collection),
      encodeKey(id),
      this.timeMs,
    );
    if (document === undefined) return { found, version };
    return { found, version, document: decodeCbor(document) };
  }

  /** Documents, collections and versions as text, whatever the order in memory. */
  dump(): string {
    const lines: string[] = [];
    for (const store of this.state.collections()) {
      const frozen = store.freeze(this.state.appliedSequence);
      for (const { key, document, version } of store.frozenRecords(frozen)) {
        const parts = [Buffer.from(key).toString("hex"), Buffer.from(document).toString("hex")];
        lines.push(`${store.name} ${parts.join(" ")} ${version}`);
      }
      store.thaw(frozen);
      lines.push(`${store.name}: ${store.count}`);
    }
    return lines.sort().join("\n");
  }
}

/** Applies an entry and collects what came of its commands. */
export function applyEntry(state: DocumentStateMachine, entry: Entry): Result[] {
  const results: Result[] = [];
  state.apply(entry, {
    written: (command, written) => {
      results[command] = { written };
    },
    result: (command, payload) => {
      results[command] = { outcomes: readOperationResults(payload).map(toOutcome) };
    },
    refused: (command, error) => {
      results[command] = toError(error);
    },
  });
  return results;
}

function toOutcome(result: ReturnType<typeof readOperationResults>[number]): Outcome {
  const { found, version, document } = result;
  return document === undefined
    ? { found, version }
    : { found, version, document: decodeCbor(document) };
}

function toError(error: CStoreError): Result {
  if (!("actualVersion" in error)) return { error: error.code };
  return { error: error.code, actualVersion: error.actualVersion as number };
}
