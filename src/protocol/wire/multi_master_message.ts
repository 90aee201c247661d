/**
 * Messages between nodes that all take writes. Body of a REPLICATION frame; texts and vectors as in
 * `operation_codec.ts`. First byte: the type's number, second: flags, third on: the sender's
 * incarnation (text) and the version of the agreement that it knows (8); then:
 *
 * | type       | number | fields                                                               |
 * | ---------- | -----: | -------------------------------------------------------------------- |
 * | OPERATIONS |     32 | count (4), for each its size (4) and bytes                           |
 * | CURSOR     |     33 | flag 1: it asks; round (8), clock in ms (8), cursor (vector), and of the last operations a count (2), for each its origin (text) and checksum (4) |
 * | RESEED     |     34 | reason (1: 0 not-member, 1 behind, 2 forked), the incarnation that is meant (text) |
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteReader, ByteWriter } from "../../base/bytes.ts";
import { ProtocolError } from "../../base/errors.ts";
import type {
  CursorMessage,
  MultiMasterMessage,
  ReseedMessage,
} from "../../multi_master/message.ts";
import type { PackedOperation } from "../../multi_master/operation/operation.ts";
import {
  encodeOperation,
  readOperations,
  readVector,
  writeOperations,
  writeVector,
} from "../operations/operation_codec.ts";
import type { MessageRoute } from "./replication_message.ts";

const OPERATIONS = 32;
const CURSOR = 33;
const RESEED = 34;
const IS_PULL = 1;
const REASONS = ["not-member", "behind", "forked"] as const;
/** Bytes of the shortest checksum with its origin. */
const CHAIN_SIZE_MIN = 6;

/** Whether the body of a REPLICATION frame is about collections that every node writes. */
export function isMultiMasterMessage(body: Uint8Array): boolean {
  return (body[0] ?? 0) >= OPERATIONS;
}

/** The body of a frame. `bytesOf` gives the bytes of operations that were encoded before. */
export function encodeMultiMasterMessage(
  message: MultiMasterMessage,
  bytesOf: (operation: PackedOperation) => Uint8Array = encodeOperation,
): Uint8Array {
  const writer = new ByteWriter(256);
  switch (message.type) {
    case "OPERATIONS":
      begin(writer, message, [OPERATIONS, 0]);
      writeOperations(
        writer,
        message.operations.map((operation) => bytesOf(operation)),
      );
      break;
    case "CURSOR":
      begin(writer, message, [CURSOR, message.isPull ? IS_PULL : 0]);
      writer.u64(message.round).u64(message.wallMs);
      writeVector(writer, message.cursor);
      assert(message.chains.size <= message.cursor.size, "a checksum is that of a known origin");
      writer.u16(message.chains.size);
      for (const [origin, chain] of message.chains) writer.text(origin).u32(chain);
      break;
    case "RESEED":
      begin(writer, message, [RESEED, 0]).u8(REASONS.indexOf(message.reason));
      writer.text(message.incarnation);
      break;
  }
  return writer.copy();
}

/** Reads an untrusted body; operations hold views of it. Throws ProtocolError. */
export function decodeMultiMasterMessage(
  body: Uint8Array,
  { from, to }: MessageRoute,
): MultiMasterMessage {
  const reader = new ByteReader(body);
  const [type, flags, origin, version] = [reader.u8(), reader.u8(), reader.text(), reader.u64()];
  const message = readFields(reader, { type, flags, envelope: { from, to, origin, version } });
  reader.end();
  assert(reader.offset === body.byteLength, "the fields fill the body");
  return message;
}

type Envelope = Pick<ReseedMessage, "from" | "to" | "origin" | "version">;

interface Head {
  readonly type: number;
  readonly flags: number;
  readonly envelope: Envelope;
}

function begin(
  writer: ByteWriter,
  { origin, version }: Envelope,
  [type, flags]: readonly [number, number],
): ByteWriter {
  assert(type >= OPERATIONS && type <= RESEED, "the type's number is one of the list");
  writer.u8(type).u8(flags).text(origin).u64(version);
  assert(writer.size >= origin.length, "the head holds the sender's name");
  return writer;
}

function readFields(reader: ByteReader, { type, flags, envelope }: Head): MultiMasterMessage {
  const isKnown = flags === 0 || (type === CURSOR && flags === IS_PULL);
  if (!isKnown) throw new ProtocolError("Cannot read message: its flags are unknown");
  if (type === OPERATIONS) {
    return { ...envelope, type: "OPERATIONS", operations: readOperations(reader) };
  }
  if (type === CURSOR) return readCursor(reader, envelope, flags === IS_PULL);
  const reason = type === RESEED ? REASONS[reader.u8()] : undefined;
  if (reason === undefined) throw new ProtocolError("Cannot read message: its type is unknown");
  return { ...envelope, type: "RESEED", reason, incarnation: reader.text() };
}

function readCursor(reader: ByteReader, envelope: Envelope, isPull: boolean): CursorMessage {
  const [round, wallMs, cursor] = [reader.u64(), reader.u64(), readVector(reader)];
  const count = reader.u16();
  if (count > cursor.size || count * CHAIN_SIZE_MIN > reader.remaining) {
    throw new ProtocolError(`Cannot read message: it has no room for ${count} checksums`);
  }
  const chains = new Map<string, number>();
  for (let i = 0; i < count; i += 1) chains.set(reader.text(), reader.u32());
  assert(chains.size <= count, "no more checksums than were said");
  return { ...envelope, type: "CURSOR", isPull, round, wallMs, cursor, chains };
}
