/**
 * The scan of a segment's records: where it ends, and why.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import {
  encodeSegmentHeader,
  SEGMENT_DATA_START,
  type SegmentHeader,
} from "../../../src/storage/wal/segment.ts";
import {
  RECORD_HEADER_SIZE,
  recordSize,
  writeRecord,
} from "../../../src/storage/wal/segment_record.ts";
import {
  type ScannedRecord,
  type SegmentScan,
  scanSegment,
  syncedThroughFrom,
} from "../../../src/storage/wal/segment_scan.ts";
import { IDENTITY } from "../log_fixture.ts";

const HEADER: SegmentHeader = {
  segmentNumber: 3,
  firstRecord: 10,
  previousChain: 0x0102030405060708n,
  salt: 0xa1a2a3a4a5a6a7a8n,
  lastIndex: 9,
};

/** A segment with records of the given body sizes, each written when the one before was synced. */
function segmentOf(sizes: readonly number[], room = 4096): Uint8Array {
  const bytes = new Uint8Array(room);
  bytes.set(encodeSegmentHeader(HEADER, IDENTITY));
  let at = SEGMENT_DATA_START;
  let previousChain = HEADER.previousChain;
  sizes.forEach((size, i) => {
    const number = HEADER.firstRecord + i;
    const body = new Uint8Array(size).fill(i + 1);
    const fields = {
      kind: "BATCH",
      number,
      previousChain,
      syncedThrough: number - 1,
      commitIndex: i,
    };
    previousChain = writeRecord(bytes, at, {
      fields: { ...fields, kind: "BATCH" },
      body,
      salt: HEADER.salt,
    });
    at += recordSize(size);
  });
  return bytes;
}

function scanned(bytes: Uint8Array): SegmentScan & { readonly records: readonly ScannedRecord[] } {
  const records: ScannedRecord[] = [];
  return { ...scanSegment(bytes, HEADER, (record) => records.push(record)), records };
}

describe("a scan", () => {
  test("shows all records in order, with number, place and body", () => {
    const found = scanned(segmentOf([10, 0, 200]));
    expect(found).toMatchObject({
      recordCount: 3,
      nextNumber: 13,
      syncedThrough: 11,
      commitIndex: 2,
    });
    expect(found.end).toBe(SEGMENT_DATA_START + 128 + 64 + 320);
    expect(found.records.map(({ at, body }) => [at, body.byteLength, body[0]])).toEqual([
      [512, 10, 1],
      [640, 0, undefined],
      [704, 200, 3],
    ]);
  });

  test("ends at the end of the file as at zeros", () => {
    const full = segmentOf([10, 0, 200], SEGMENT_DATA_START + 512);
    expect(scanned(full)).toMatchObject({ recordCount: 3, end: 1024 });
    expect(scanned(segmentOf([]))).toMatchObject({
      ...{ recordCount: 0, end: 512, nextNumber: 10, syncedThrough: 0, commitIndex: 0 },
      reason: "the record header's checksum does not match",
    });
    // A body that takes the file's last byte is whole.
    expect(scanned(segmentOf([64], 640))).toMatchObject({ recordCount: 1, end: 640 });
  });

  test.each([
    ["the record header's checksum does not match", 512 + 8],
    ["the record body's checksum does not match", 512 + 64],
  ])("stops where %s", (reason, byte) => {
    const bytes = segmentOf([10, 10, 10]);
    bytes[byte]! ^= 1;
    const found = scanned(bytes);
    expect(found).toMatchObject({ recordCount: 0, end: 512, reason, nextNumber: 10 });
    // The records behind still tell what was synced when they were written.
    expect(found.syncedThrough).toBe(11);
  });

  test("stops at a record that is cut off", () => {
    const bytes = segmentOf([10, 300]).subarray(0, 640 + RECORD_HEADER_SIZE + 299);
    expect(scanned(bytes)).toMatchObject({ recordCount: 1, reason: "the record is cut off" });
  });

  // [chain not checked]
  test("stops where the chain breaks or a number is not the next", () => {
    const bytes = segmentOf([10, 10]);
    const [first, second] = [bytes.slice(512, 640), bytes.slice(640, 768)];
    bytes.set(second, 512);
    expect(scanned(bytes).reason).toBe("record 11 stands at the place of 10");
    bytes.set(first, 512);
    const fields = {
      kind: "BATCH",
      number: 11,
      previousChain: 1n,
      syncedThrough: 0,
      commitIndex: 0,
    };
    writeRecord(bytes, 640, {
      fields: { ...fields, kind: "BATCH" },
      body: new Uint8Array(10),
      salt: HEADER.salt,
    });
    expect(scanned(bytes).reason).toBe("the chain to the record before is broken");
  });

  test("believes the commit index of valid records only", () => {
    const bytes = segmentOf([10, 10, 10]);
    bytes[640 + 64]! ^= 1;
    expect(scanned(bytes)).toMatchObject({ recordCount: 1, commitIndex: 0, syncedThrough: 11 });
  });
});

describe("the watermark behind a place", () => {
  test("is the highest of all headers there, at every multiple of 64 bytes", () => {
    const bytes = segmentOf([10, 300, 10]);
    expect(syncedThroughFrom(bytes, SEGMENT_DATA_START, HEADER.salt)).toBe(11);
    expect(syncedThroughFrom(bytes, SEGMENT_DATA_START + 512, HEADER.salt)).toBe(11);
    expect(syncedThroughFrom(bytes, SEGMENT_DATA_START + 576, HEADER.salt)).toBe(0);
    expect(syncedThroughFrom(bytes, SEGMENT_DATA_START, HEADER.salt + 1n)).toBe(0);
    // A header that ends with the file counts, one that is cut off does not.
    const at = SEGMENT_DATA_START + 512;
    const end = at + RECORD_HEADER_SIZE;
    expect(syncedThroughFrom(bytes.subarray(0, end), at, HEADER.salt)).toBe(11);
    expect(syncedThroughFrom(bytes.subarray(0, end - 1), at, HEADER.salt)).toBe(0);
  });

  test("does not fall when a later record names an older one", () => {
    const bytes = segmentOf([10, 10]);
    const fields = { kind: "BATCH", number: 11, previousChain: 1n } as const;
    writeRecord(bytes, SEGMENT_DATA_START + 128, {
      fields: { ...fields, syncedThrough: 3, commitIndex: 0 },
      body: new Uint8Array(10).fill(2),
      salt: HEADER.salt,
    });
    expect(syncedThroughFrom(bytes, SEGMENT_DATA_START, HEADER.salt)).toBe(9);
    expect(scanned(bytes)).toMatchObject({ syncedThrough: 9, recordCount: 1 });
  });
});

test("the largest commit index of the records counts, not the last one", () => {
  const bytes = segmentOf([10]);
  const chain = scanned(bytes).nextChain;
  const fields = { kind: "BATCH", number: 11, previousChain: chain, syncedThrough: 2 } as const;
  const body = new Uint8Array(10);
  const at = SEGMENT_DATA_START + 128;
  const second = { fields: { ...fields, commitIndex: 8 }, body, salt: HEADER.salt };
  const next = writeRecord(bytes, at, second);
  const third = { ...fields, number: 12, previousChain: next, commitIndex: 3 };
  writeRecord(bytes, at + 128, { fields: third, body, salt: HEADER.salt });
  expect(scanned(bytes)).toMatchObject({ recordCount: 3, commitIndex: 8, syncedThrough: 9 });
});
