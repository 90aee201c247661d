/**
 * docs/disk_format.md against the code: its vectors, numbers and tables.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DISK_FORMAT_VERSION } from "../../src/base/version.ts";
import { BATCH_HEADER_SIZE, verifyBatch } from "../../src/protocol/encoding/batch_codec.ts";
import { decodeSegmentHeader, SEGMENT_HEADER_SIZE } from "../../src/storage/wal/segment.ts";
import {
  RECORD_HEADER_SIZE,
  RECORD_KINDS,
  readRecordHeader,
} from "../../src/storage/wal/segment_record.ts";
import { readMark } from "../../src/storage/wal/wal_open.ts";
import { diskOf, IDENTITY } from "./log_fixture.ts";
import { VECTORS, vectorBatch, vectorHardState, vectorRecord } from "./vectors.ts";

const TEXT = readFileSync(join(import.meta.dir, "../../docs/disk_format.md"), "utf8");

/** The vectors in the document: a paragraph `Vector NAME: ...:`, then a block of hex digits. */
function vectors(): Map<string, string> {
  const pattern = /^Vector ([a-z ]+):(?:[^`]|`[^`]+`)*?:\n\n```hex check\n([0-9a-f\s]+)```$/gm;
  const found = [...TEXT.matchAll(pattern)];
  return new Map(found.map(([, name = "", hex = ""]) => [name, hex.replace(/\s/g, "")]));
}

function section(heading: string): string {
  return TEXT.split(/^## /m).find((part) => part.startsWith(heading)) ?? "";
}

function bytesOf(name: string): Uint8Array {
  return Uint8Array.from(Buffer.from(vectors().get(name) ?? "", "hex"));
}

test("the document shows all vectors, and each is what the code writes", () => {
  const shown = vectors();
  expect([...shown.keys()].sort()).toEqual(Object.keys(VECTORS).sort());
  for (const [name, make] of Object.entries(VECTORS)) {
    expect([name, shown.get(name)]).toEqual([name, Buffer.from(make()).toString("hex")]);
  }
});

test("the code reads what the document shows", () => {
  const place = { segmentNumber: 2, firstRecord: 7, lastIndex: 5 };
  const salt = 0x0102030405060708n;
  const header = { ...place, previousChain: 0x1112131415161718n, salt };
  expect(decodeSegmentHeader(bytesOf("segment header"), IDENTITY)).toEqual(header);
  for (const [name, kind] of [
    ["hard state record", "HARD_STATE"],
    ["batch record", "BATCH"],
  ] as const) {
    expect(readRecordHeader(bytesOf(name), 0, salt)).toMatchObject({
      kind,
      number: 7,
      previousChain: header.previousChain,
      syncedThrough: 6,
      commitIndex: 5,
    });
  }
  const place6 = { term: 3, index: 6, firstSequence: 9, count: 1, timeMs: 1_700_000_000_000 };
  expect(verifyBatch(bytesOf("batch"))).toMatchObject(place6);
  const disk = diskOf(1);
  const slots = bytesOf("mark slots");
  for (const [slot, mark] of [7, 9].entries()) {
    const file = new Uint8Array(1024);
    file.set(slots.subarray(slot * 16, slot * 16 + 16), slot * 512);
    disk.writeFile("data/mark", file);
    expect(readMark(disk.files, "data")).toBe(mark);
    // A slot's checksum is its own: the same bytes in the other one are nothing.
    disk.writeFile("data/mark", new Uint8Array([...file.subarray(512), ...file.subarray(0, 512)]));
    expect(readMark(disk.files, "data")).toBe(0);
  }
});

test("the chain values in the document are right", () => {
  const { chain } = vectorRecord(vectorHardState());
  expect(section("Record")).toContain(`its chain value is ${chain}`);
  const batch = vectorRecord({ kind: "BATCH", body: vectorBatch() });
  expect(section("Record")).toContain(`its chain value is ${batch.chain}`);
});

test("the kinds and the version are those of the code", () => {
  const rows = [...section("Record").matchAll(/^\| (\d+) \| ([A-Z_]+) \|/gm)];
  const shown = rows.map(([, number, name]) => [Number(number), name]);
  expect(shown).toEqual(RECORD_KINDS.map((name, number) => [number, name]).slice(1));
  expect(TEXT).toStartWith(`# Disk format, version ${DISK_FORMAT_VERSION}\n`);
});

describe("the tables cover every byte once", () => {
  test.each([
    ["Segment", SEGMENT_HEADER_SIZE],
    ["Record", RECORD_HEADER_SIZE],
    ["Batch", BATCH_HEADER_SIZE],
  ])("%s", (heading, size) => {
    let next = 0;
    for (const [, offset, bytes] of section(heading).matchAll(/^\| (\d+) \| (\d+) \| \w+ \|/gm)) {
      expect(Number(offset)).toBe(next);
      next += Number(bytes);
    }
    expect(next).toBe(size);
  });
});
