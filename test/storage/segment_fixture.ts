/**
 * Segments made record by record, for tests of what reads them.
 *
 * @module
 */

import { sealBatch } from "../../src/protocol/encoding/batch_codec.ts";
import { membershipBatch } from "../../src/protocol/encoding/cluster_command.ts";
import type { MemberRole } from "../../src/raft/configuration.ts";
import type { LogIdentity } from "../../src/storage/identity.ts";
import {
  encodeSegmentHeader,
  SEGMENT_DATA_START,
  segmentName,
} from "../../src/storage/wal/segment.ts";
import { recordSize, writeRecord } from "../../src/storage/wal/segment_record.ts";
import type { PendingRecord } from "../../src/storage/wal/segment_writer.ts";
import type { SimulatedDisk } from "./fake_disk.ts";
import { entryAt, IDENTITY, LOG_FOLDER } from "./log_fixture.ts";

/** The salt of segments unless another one is given. */
export const SALT = 0xa1a2a3a4a5a6a7a8n;

/** A segment to write. */
export interface SegmentShape {
  readonly number: number;
  /** Number of its first record. */
  readonly first: number;
  readonly records: readonly PendingRecord[];
  /** Chain value of the record before the first. */
  readonly chain?: bigint;
  readonly lastIndex?: number;
  readonly commitIndex?: number;
  /** `syncedThrough` of its records; one less than their numbers by default. */
  readonly synced?: number;
  /** Bytes of the file, at least. */
  readonly size?: number;
  readonly salt?: bigint;
  readonly identity?: LogIdentity;
}

/** A segment on a disk. */
export interface WrittenSegment {
  readonly path: string;
  /** Byte of each record, and of the place behind the last one. */
  readonly places: readonly number[];
  /** Chain value of the last record. */
  readonly chain: bigint;
}

/** Writes a segment into the folder of the log. */
export function writeSegment(disk: SimulatedDisk, shape: SegmentShape): WrittenSegment {
  const { number: segmentNumber, first, records, chain: previousChain = 0n } = shape;
  const { lastIndex = 0, salt = SALT, identity = IDENTITY } = shape;
  const sizes = records.map(({ body }) => recordSize(body.byteLength));
  const end = sizes.reduce((sum, size) => sum + size, SEGMENT_DATA_START);
  const bytes = new Uint8Array(Math.max(end, shape.size ?? 0));
  const header = { segmentNumber, firstRecord: first, previousChain, salt, lastIndex };
  bytes.set(encodeSegmentHeader(header, identity));
  const places = [SEGMENT_DATA_START];
  let chain = previousChain;
  for (const [i, { kind, body }] of records.entries()) {
    const number = first + i;
    const { synced: syncedThrough = number - 1, commitIndex = 0 } = shape;
    const fields = { kind, number, previousChain: chain, syncedThrough, commitIndex };
    chain = writeRecord(bytes, places[i]!, { fields, body, salt });
    places.push(places[i]! + sizes[i]!);
  }
  const path = `${LOG_FOLDER}/${segmentName(segmentNumber)}`;
  disk.writeFile(path, bytes);
  return { path, places, chain };
}

/** A batch of two operations. */
export function batchRecord(index: number, term = 1, firstSequence = index * 2 - 1): PendingRecord {
  const { bytes } = entryAt({ term, index, firstSequence }, ["x", "y"]);
  return { kind: "BATCH", body: bytes };
}

/** A batch that makes these the members; it takes one sequence number. */
export function membersRecord(
  roles: Readonly<Record<string, MemberRole>>,
  place: { readonly index: number; readonly term: number; readonly firstSequence: number },
): PendingRecord {
  const members = Object.entries(roles).map(([id, role]) => {
    return { id, address: `${id}:1`, role, incarnation: "" };
  });
  return { kind: "BATCH", body: sealBatch(membershipBatch(members, 5), place) };
}

/** A note without effect. */
export const NOTE: PendingRecord = { kind: "CHECKPOINT", body: new Uint8Array(10).fill(1) };
