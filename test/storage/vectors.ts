/**
 * The vectors of docs/disk_format.md, as the code makes them.
 *
 * @module
 */

import { sealBatch } from "../../src/protocol/encoding/batch_codec.ts";
import { clusterBatch } from "../../src/protocol/encoding/cluster_command.ts";
import { hardStateRecord, headRecord, tailRecord } from "../../src/storage/wal/log_rebuild.ts";
import { encodeSegmentHeader } from "../../src/storage/wal/segment.ts";
import { recordSize, writeRecord } from "../../src/storage/wal/segment_record.ts";
import type { PendingRecord } from "../../src/storage/wal/segment_writer.ts";
import { MarkFile } from "../../src/storage/wal/wal_open.ts";
import { diskOf, IDENTITY } from "./log_fixture.ts";

const SALT = 0x0102030405060708n;
const CHAIN = 0x1112131415161718n;

/** A record as the document describes it, and its chain value. */
export function vectorRecord({ kind, body }: PendingRecord): {
  readonly bytes: Uint8Array;
  readonly chain: string;
} {
  const bytes = new Uint8Array(recordSize(body.byteLength));
  const fields = { kind, number: 7, previousChain: CHAIN, syncedThrough: 6, commitIndex: 5 };
  const chain = writeRecord(bytes, 0, { fields, body, salt: SALT });
  return { bytes, chain: chain.toString(16) };
}

/** The NOOP batch. */
export function vectorBatch(): Uint8Array {
  const batch = clusterBatch("NOOP", 1_700_000_000_000, () => {});
  return sealBatch(batch, { term: 3, index: 6, firstSequence: 9 });
}

/** The hard state. */
export function vectorHardState(): PendingRecord {
  return hardStateRecord({ term: 3, vote: "n1" });
}

function segmentHeader(): Uint8Array {
  const place = { segmentNumber: 2, firstRecord: 7, lastIndex: 5 };
  return encodeSegmentHeader({ ...place, previousChain: CHAIN, salt: SALT }, IDENTITY);
}

function markSlots(): Uint8Array {
  const disk = diskOf(1);
  const mark = new MarkFile(disk.files, "data");
  mark.write(7);
  mark.write(9);
  const bytes = disk.readFile("data/mark");
  return new Uint8Array([...bytes.subarray(0, 16), ...bytes.subarray(512, 528)]);
}

export const VECTORS: Readonly<Record<string, () => Uint8Array>> = {
  "segment header": segmentHeader,
  "hard state record": () => vectorRecord(vectorHardState()).bytes,
  "batch record": () => vectorRecord({ kind: "BATCH", body: vectorBatch() }).bytes,
  "head body": () => headRecord({ index: 5, term: 2, nextSequence: 9 }).body,
  "tail body": () => tailRecord(4).body,
  batch: vectorBatch,
  "mark slots": markSlots,
};
