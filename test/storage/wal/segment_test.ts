/**
 * Segment headers and the scan of a segment's records.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  SEGMENT_DATA_START,
  SEGMENT_HEADER_SIZE,
  type SegmentHeader,
  segmentName,
  segmentNumberOf,
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

describe("a segment's header", () => {
  test("comes back", () => {
    expect(decodeSegmentHeader(encodeSegmentHeader(HEADER, IDENTITY), IDENTITY)).toEqual(HEADER);
    expect(decodeSegmentHeader(encodeSegmentHeader(HEADER, IDENTITY), undefined)).toEqual(HEADER);
  });

  test("no bit of it may change, and the salt stands there twice", () => {
    const bytes = encodeSegmentHeader(HEADER, IDENTITY);
    for (let bit = 0; bit < SEGMENT_HEADER_SIZE * 8; bit += 1) {
      const copy = bytes.slice();
      copy[bit >> 3]! ^= 1 << (bit & 7);
      const refused = decodeSegmentHeader(copy, IDENTITY);
      if (!("refusal" in refused)) throw new Error(`bit ${bit} went unnoticed`);
      expect(refused.isWhole).toBe(false);
      expect(refused.salts).toContain(HEADER.salt);
    }
  });

  test.each([
    { ...IDENTITY, clusterId: "0000000000000000" },
    { ...IDENTITY, nodeId: "n2" },
    { ...IDENTITY, incarnation: "0000000000000000" },
  ])("of another identity is whole, but refused", (identity) => {
    const refused = decodeSegmentHeader(encodeSegmentHeader(HEADER, identity), IDENTITY);
    expect(refused).toMatchObject({ isWhole: true });
    expect(decodeSegmentHeader(encodeSegmentHeader(HEADER, identity), undefined)).toEqual(HEADER);
  });

  test("cut off it is refused", () => {
    const bytes = encodeSegmentHeader(HEADER, IDENTITY).subarray(0, 127);
    expect(decodeSegmentHeader(bytes, IDENTITY)).toMatchObject({ isWhole: false });
  });

  test("names sort by number and lead back to it", () => {
    expect(segmentName(12)).toBe("0000000012.segment");
    expect(segmentNumberOf("0000000012.segment")).toBe(12);
    for (const name of ["12.segment", "0000000012.segment.torn", "spare.tmp", "mark"]) {
      expect(segmentNumberOf(name)).toBeUndefined();
    }
  });
});

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
    expect(scanned(segmentOf([]))).toMatchObject({ recordCount: 0, end: 512, nextNumber: 10 });
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
