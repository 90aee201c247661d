/**
 * WALEntry <-> the commands of a batch, in both directions: entries written through `IWALManager`
 * are commands of their own kind, and commands on documents read as entries.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { type ByteWriter, viewOf } from "../../base/bytes.ts";
import { decodeCbor, encodeCbor } from "../../protocol/encoding/cbor.ts";
import { checksum64 } from "../../protocol/encoding/checksum.ts";
import {
  beginCommand,
  COMMAND_HEADER_SIZE,
  type CommandHeader,
  endCommand,
  NO_SESSION,
  OperationCursor,
  readCommandHeader,
} from "../../protocol/encoding/command.ts";
import { decodeKey } from "../../protocol/encoding/document_key.ts";
import type { WALEntry } from "./iwal_manager.ts";

const TEXT_DECODER = new TextDecoder();

/** The fields that are stored: sequence number and checksum follow from the place and the bytes. */
function storedFields(entry: WALEntry): Omit<WALEntry, "sequenceNumber" | "checksum"> {
  const { sequenceNumber: _position, checksum: _checksum, ...fields } = entry;
  return fields;
}

/** Appends an entry as a command; returns its bytes without the command's header, as a view. */
export function writeEntryCommand(writer: ByteWriter, entry: WALEntry): Uint8Array {
  const start = beginCommand(writer, "WAL_ENTRY", { ...NO_SESSION, count: 1 });
  assert(start + COMMAND_HEADER_SIZE === writer.size, "a header comes before the body");
  const body = encodeCbor(storedFields(entry));
  writer.raw(body);
  assert(start + COMMAND_HEADER_SIZE + body.byteLength === writer.size, "the body is whole");
  endCommand(writer, start);
  return body;
}

/** 16 hex digits. */
export function entryChecksum(body: Uint8Array): string {
  return checksum64(body).toString(16).padStart(16, "0");
}

/** The place in the log of a batch's commands. */
export interface CommandsPlace {
  /** `firstSequence <= sequence number of each command`. */
  readonly firstSequence: number;
  readonly term: number;
  readonly timeMs: number;
}

/**
 * Reads the commands of a verified batch as entries: one for each operation on a document, one for
 * each command of another kind, however many sequence numbers that takes.
 */
export function readEntryCommands(commands: Uint8Array, place: CommandsPlace): WALEntry[] {
  const view = viewOf(commands);
  const entries: WALEntry[] = [];
  let sequenceNumber = place.firstSequence;
  for (let at = 0; at < commands.byteLength; ) {
    const header = readCommandHeader(view, at);
    assert(header.size >= COMMAND_HEADER_SIZE, "a command has a header");
    assert(at + header.size <= commands.byteLength, "a command ends inside the batch");
    const found = readCommand(commands, view, { header, at, place, sequenceNumber });
    assert(found.length <= header.count, "each entry has a sequence number of its own");
    for (const entry of found) entries.push(entry);
    sequenceNumber += header.count;
    at += header.size;
  }
  assert(entries.length <= sequenceNumber - place.firstSequence, "each entry has its own number");
  return entries;
}

interface CommandAt {
  readonly header: CommandHeader;
  /** Byte of the header: `at + header.size <= size of the batch's commands`. */
  readonly at: number;
  readonly place: CommandsPlace;
  /** Of its first entry: `place.firstSequence <= sequenceNumber`. */
  readonly sequenceNumber: number;
}

function readCommand(commands: Uint8Array, view: DataView, command: CommandAt): WALEntry[] {
  const { header, at } = command;
  assert(at + header.size <= commands.byteLength, "a command ends inside the batch");
  assert(command.sequenceNumber >= command.place.firstSequence, "numbers do not go back");
  const body = commands.subarray(at + COMMAND_HEADER_SIZE, at + header.size);
  if (header.kind === "WAL_ENTRY") {
    const stored = decodeCbor(body) as Omit<WALEntry, "sequenceNumber" | "checksum">;
    const { sequenceNumber } = command;
    return [{ ...stored, sequenceNumber, checksum: entryChecksum(body) }];
  }
  if (header.kind === "DOCUMENTS") return readDocuments(commands, view, command);
  const operation = header.kind === "NOOP" ? "NOOP" : "CONFIG";
  return [withChecksum(command, { collectionName: "*", operation, data: { key: header.kind } })];
}

const OPERATIONS = {
  INSERT: "INSERT",
  PUT: "STORE",
  MERGE: "UPDATE",
  UPDATE: "UPDATE",
  REMOVE: "DELETE",
} as const;

function readDocuments(commands: Uint8Array, view: DataView, command: CommandAt): WALEntry[] {
  const cursor = new OperationCursor();
  cursor.start(view, command.at);
  const collectionName = TEXT_DECODER.decode(commands.subarray(cursor.nameStart, cursor.nameEnd));
  const entries: WALEntry[] = [];
  while (cursor.next()) {
    assert(cursor.kind !== "NONE", "the operation's kind is known");
    assert(cursor.keyStart <= cursor.keyEnd, "a key does not end before it begins");
    assert(cursor.documentEnd <= commands.byteLength, "an operation ends inside the batch");
    const key = decodeKey(commands.subarray(cursor.keyStart, cursor.keyEnd));
    const document = commands.subarray(cursor.documentStart, cursor.documentEnd);
    const data = document.byteLength === 0 ? { key } : { key, newValue: decodeCbor(document) };
    const operation = OPERATIONS[cursor.kind];
    const sequenceNumber = command.sequenceNumber + entries.length;
    entries.push(withChecksum({ ...command, sequenceNumber }, { collectionName, operation, data }));
  }
  assert(entries.length === command.header.count, "each operation takes one sequence number");
  return entries;
}

function withChecksum(
  command: CommandAt,
  fields: Pick<WALEntry, "collectionName" | "operation" | "data">,
): WALEntry {
  const { sessionId, requestNumber } = command.header;
  assert(command.sequenceNumber >= command.place.firstSequence, "numbers do not go back");
  const entry: WALEntry = {
    transactionId: sessionId === 0 ? "" : `${sessionId}-${requestNumber}`,
    sequenceNumber: command.sequenceNumber,
    timestamp: command.place.timeMs,
    type: "DATA",
    ...fields,
    checksum: "",
    term: command.place.term,
  };
  entry.checksum = entryChecksum(encodeCbor(storedFields(entry)));
  return entry;
}
