/**
 * Messages of a snapshot transfer. The leader offers a file; the follower reports how many bytes of
 * that file it has; the leader sends the next chunk from there, one at a time. A transfer therefore
 * continues where it stopped, after a broken connection and after a restart. Body of a REPLICATION
 * frame, integers unsigned, little-endian; the frame's checksum covers a chunk, the file's own
 * checksums the whole. First byte: the type's number, second: 0; then:
 *
 * | type              | number | fields                                                          |
 * | ----------------- | -----: | --------------------------------------------------------------- |
 * | SNAPSHOT_OFFER    |     16 | term, index, entry's term, next sequence number, size, checksum (8 each) |
 * | SNAPSHOT_CHUNK    |     17 | term, index, checksum, offset (8 each), size (4), bytes          |
 * | SNAPSHOT_PROGRESS |     18 | term, index, checksum, offset (8 each), status (1: 0 receiving, 1 done, 2 refused) |
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteReader, ByteWriter } from "../../base/bytes.ts";
import { ProtocolError } from "../../base/errors.ts";
import type { LogBase } from "../../raft/types.ts";
import { FRAME_HEADER_SIZE, sealFrame } from "./frame_header.ts";
import type { MessageRoute } from "./replication_message.ts";

/** Flag of all of them: see {@link SnapshotMessage}. */
const IS_MASTERS = 1;
const OFFER = 16;
const CHUNK = 17;
const PROGRESS = 18;
const STATUSES = ["receiving", "done", "refused"] as const;
/** The most bytes of a file in one message. */
export const SNAPSHOT_CHUNK_SIZE = 256 * 1024;

/** Identity of a snapshot file: the index of its state, and the checksum over its blocks. */
export interface SnapshotName {
  readonly index: number;
  readonly checksum: bigint;
}

interface Envelope extends MessageRoute, SnapshotName {
  /** Of collections that every node writes, and not of the state machine. */
  readonly isMasters?: boolean;
  /** The leader's term. */
  readonly term: number;
}

/** A leader has a snapshot for a follower. */
export interface SnapshotOffer extends Envelope {
  readonly type: "SNAPSHOT_OFFER";
  /** `base.index === index` */
  readonly base: LogBase;
  /** Bytes of the file. */
  readonly size: number;
}

/** A piece of the file. */
export interface SnapshotChunk extends Envelope {
  readonly type: "SNAPSHOT_CHUNK";
  /** `0 <= offset <= offset + bytes.byteLength <= size` of the file. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Progress of the follower: the next chunk begins at `offset`. */
export interface SnapshotProgress extends Envelope {
  readonly type: "SNAPSHOT_PROGRESS";
  /** `0 <= offset <= size` of the file. */
  readonly offset: number;
  readonly status: (typeof STATUSES)[number];
}

/** All messages about snapshots. */
export type SnapshotMessage = SnapshotOffer | SnapshotChunk | SnapshotProgress;

/** Whether the body of a REPLICATION frame is about snapshots. */
export function isSnapshotMessage(body: Uint8Array): boolean {
  return (body[0] ?? 0) >= OFFER;
}

/** A whole frame. */
export function encodeSnapshotMessage(message: SnapshotMessage): Uint8Array {
  const extra = message.type === "SNAPSHOT_CHUNK" ? message.bytes.byteLength : 0;
  assert(extra <= SNAPSHOT_CHUNK_SIZE, "a chunk is no larger than the limit");
  const capacity = FRAME_HEADER_SIZE + 64 + extra;
  const writer = new ByteWriter(capacity);
  writer.reserve(FRAME_HEADER_SIZE);
  const { term, index, checksum } = message;
  const flags = message.isMasters === true ? IS_MASTERS : 0;
  switch (message.type) {
    case "SNAPSHOT_OFFER":
      assert(message.base.index === index, "the offered state is the one at the index");
      writer.u8(OFFER).u8(flags).u64(term).u64(index).u64(message.base.term);
      writer.u64(message.base.nextSequence).u64(message.size).big64(checksum);
      break;
    case "SNAPSHOT_CHUNK":
      writer.u8(CHUNK).u8(flags).u64(term).u64(index).big64(checksum).u64(message.offset);
      writer.u32(extra).raw(message.bytes);
      break;
    case "SNAPSHOT_PROGRESS":
      writer.u8(PROGRESS).u8(flags).u64(term).u64(index).big64(checksum).u64(message.offset);
      writer.u8(STATUSES.indexOf(message.status));
      break;
  }
  assert(writer.size <= capacity, "the writer did not grow");
  const frame = writer.written();
  sealFrame(frame, "REPLICATION", 0);
  return frame;
}

/** Reads an untrusted body; a chunk's bytes are a view of it. Throws ProtocolError. */
export function decodeSnapshotMessage(body: Uint8Array, route: MessageRoute): SnapshotMessage {
  const reader = new ByteReader(body);
  const type = reader.u8();
  const flags = reader.u8();
  if (flags > IS_MASTERS)
    throw new ProtocolError("Cannot read snapshot message: its flags are unknown");
  const message = readMessage(reader, type, route);
  reader.end();
  assert(reader.offset === body.byteLength, "the fields fill the body");
  return flags === IS_MASTERS ? { ...message, isMasters: true } : message;
}

function readMessage(reader: ByteReader, type: number, route: MessageRoute): SnapshotMessage {
  const head = { ...route, term: reader.u64(), index: reader.u64() };
  if (type === OFFER) {
    const base = { index: head.index, term: reader.u64(), nextSequence: reader.u64() };
    const size = reader.u64();
    return { ...head, type: "SNAPSHOT_OFFER", base, size, checksum: reader.big64() };
  }
  const checksum = reader.big64();
  const offset = reader.u64();
  if (type === CHUNK) {
    const bytes = reader.take(reader.u32());
    return { ...head, type: "SNAPSHOT_CHUNK", checksum, offset, bytes };
  }
  const status = type === PROGRESS ? STATUSES[reader.u8()] : undefined;
  if (status === undefined)
    throw new ProtocolError("Cannot read snapshot message: its type or status is unknown");
  return { ...head, type: "SNAPSHOT_PROGRESS", checksum, offset, status };
}
